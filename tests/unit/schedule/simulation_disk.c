#include "simulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void simulation_failed(const struct simulation *sim, const char *condition, const char *file,
                       int line) {
    fprintf(stderr, "simulation: seed %llu: %s:%d: not true: %s\n", (unsigned long long)sim->seed,
            file, line, condition);
    abort();
}

void push(struct queue *queue, struct letter letter) {
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 16 : queue->capacity * 2;
        queue->letters = must_realloc(queue->letters, queue->capacity * sizeof letter);
    }
    queue->letters[queue->count++] = letter;
}

struct letter pop(struct queue *queue) {
    struct letter first = queue->letters[0];
    memmove(queue->letters, queue->letters + 1, --queue->count * sizeof first);
    return first;
}

struct stored_run *stored(struct simulation *sim, int64_t run_key) {
    return &sim->runs[run_key - 1];
}

struct row *find_row(struct simulation *sim, int64_t key) {
    for (size_t i = sim->row_count; i-- > 0;) {
        if (sim->rows[i].key == key) {
            return &sim->rows[i];
        }
    }
    return NULL;
}

static bool is_taken(const struct simulation *sim, const struct execution *execution) {
    for (size_t i = 0; i < sim->row_count; i++) {
        const struct row *row = &sim->rows[i];
        if (execution->trigger != TRIGGER_MANUAL && row->trigger != TRIGGER_MANUAL &&
            row->run_key == execution->run_key && row->slot.us == execution->scheduled_for.us &&
            row->backfill_key == execution->backfill_key && row->attempt == execution->attempt) {
            return true;
        }
    }
    return false;
}

static void add_row(struct simulation *sim, const struct execution *execution) {
    if (sim->row_count == sim->row_capacity) {
        sim->row_capacity = sim->row_capacity == 0 ? 256 : sim->row_capacity * 2;
        sim->rows = must_realloc(sim->rows, sim->row_capacity * sizeof *sim->rows);
    }
    sim->rows[sim->row_count++] = (struct row){.run_key = execution->run_key,
                                               .key = execution->key,
                                               .slot = execution->scheduled_for,
                                               .attempt = execution->attempt,
                                               .trigger = execution->trigger,
                                               .status = execution->status,
                                               .backfill_key = execution->backfill_key,
                                               .model_version = execution->model_version,
                                               .timeout = execution->timeout,
                                               .not_before = execution->not_before};
}

static uint64_t count_slots(const struct stored_run *run, struct wall_time after,
                            struct wall_time until) {
    return after.us < until.us ? timetable_count(&run->timetable, after, until) : 0;
}

/* The promise itself, by a ledger of the judge's own: the slots that are owed come in turn, none is passed over, none
 * comes again, and each is accounted for by exactly one execution, or by a gap with the right count. */
static void check_coverage(struct simulation *sim, struct stored_run *run,
                           const struct plan_record *record) {
    uint64_t settled = 0;
    for (size_t i = 0; i < record->execution_count; i++) {
        const struct execution *execution = &record->executions[i];
        settled += execution->status == EXECUTION_MISSED ? execution->missed_count : 1;
        SIM_ASSERT(sim, execution->scheduled_for.us > run->owed_from.us);
    }
    SIM_ASSERT(sim, record->first_slot.us == run->run.next_run.us);
    SIM_ASSERT(sim, settled == count_slots(run, run->owed_from, record->last_slot));
    SIM_ASSERT(sim, record->next_run.us == timetable_next(&run->timetable, record->last_slot).us);
    run->owed_from.us = MAX_OF(run->owed_from.us, record->last_slot.us);
    sim->settled_slots += settled;
}

/* Each slot of a backfill in turn, by the timetable that the plan had of the run. */
static enum error_kind write_backfill_step(struct simulation *sim,
                                           const struct plan_record *record) {
    struct backfill *backfill = &sim->backfills[record->backfill_key - 1];
    if (!wall_time_is_none(backfill->cancelled_at)) {
        return ERROR_NOT_FOUND;
    }
    SIM_ASSERT(sim, !wall_time_is_none(backfill->next_slot));
    const struct timetable *timetable = &record->schedule->timetable;
    struct wall_time slot =
        timetable_next(timetable, (struct wall_time){backfill->next_slot.us - 1});
    bool has_slot = !wall_time_is_none(slot) && slot.us < backfill->to.us;
    SIM_ASSERT(sim, record->execution_count == (has_slot ? 1 : 0));
    SIM_ASSERT(sim, !has_slot || record->executions[0].scheduled_for.us == slot.us);
    struct wall_time next = has_slot ? timetable_next(timetable, slot) : WALL_TIME_NONE;
    bool has_next = !wall_time_is_none(next) && next.us < backfill->to.us;
    SIM_ASSERT(sim, record->backfill_next.us == (has_next ? next : WALL_TIME_NONE).us);
    backfill->next_slot = record->backfill_next;
    sim->backfilled_slots += record->execution_count;
    return ERROR_NONE;
}

static enum error_kind write_record(struct simulation *sim, struct plan_record *record) {
    struct stored_run *run = stored(sim, record->run_key);
    if (!run->exists) {
        return ERROR_NOT_FOUND;
    }
    if (record->revision != 0 && record->revision != run->run.revision) {
        return ERROR_STALE;
    }
    for (size_t i = 0; i < record->execution_count; i++) {
        const struct execution *execution = &record->executions[i];
        if (is_taken(sim, execution) ||
            (record->advances && execution->scheduled_for.us <= run->run.settled_until.us)) {
            return ERROR_CONFLICT;
        }
    }
    for (size_t i = 0; i < record->execution_count; i++) {
        /* It runs with the parameters that the run has now, and so with the model of the same revision. */
        const struct execution *execution = &record->executions[i];
        SIM_ASSERT(sim, execution_status_is_final(execution->status) ||
                            (execution->model_version == run->run.model_version &&
                             execution->timeout.us == run->run.timeout.us));
    }
    if (record->backfill_key != 0) {
        enum error_kind failure = write_backfill_step(sim, record);
        if (failure != ERROR_NONE) {
            return failure;
        }
    }
    if (record->advances) {
        SIM_ASSERT(sim, wall_time_is_none(run->run.paused_at));
        check_coverage(sim, run, record);
        run->run.next_run = record->next_run;
        run->run.settled_until.us = MAX_OF(run->run.settled_until.us, record->last_slot.us);
        run->run.enabled = run->run.enabled && !record->disables;
        run->run.revision += record->disables ? 1 : 0;
    }
    for (size_t i = 0; i < record->execution_count; i++) {
        add_row(sim, &record->executions[i]);
    }
    return ERROR_NONE;
}

static void write_finish(struct simulation *sim, const struct letter *letter) {
    struct row *row = find_row(sim, letter->key);
    SIM_ASSERT(sim, row != NULL && !execution_status_is_final(row->status));
    row->status = letter->status;
    if (letter->retry != NULL) {
        struct execution retry = plan_describe_retry(letter->retry, row->run_key, sim->now);
        SIM_ASSERT(sim, retry.model_version == row->model_version &&
                            retry.timeout.us == row->timeout.us &&
                            retry.backfill_key == row->backfill_key);
        SIM_ASSERT(sim, !is_taken(sim, &retry));
        add_row(sim, &retry);
    }
}

/* A change of when it is due: what had come gets its record, and no slot of the new timetable up to now is owed. */
static void settle_change(struct simulation *sim, struct stored_run *run, const struct run *before,
                          const struct run *after, struct wall_time changed_at) {
    struct run_settlement change = run_settle_change(before, after, changed_at);
    uint64_t owed = before->enabled ? count_slots(run, run->owed_from, changed_at) : 0;
    SIM_ASSERT(sim, change.gap.missed_count == owed);
    SIM_ASSERT(sim, owed == 0 || change.gap.missed_from.us ==
                                     timetable_next(&run->timetable, run->owed_from).us);
    if (owed > 0) {
        change.gap.key = ++sim->last_key;
        SIM_ASSERT(sim, !is_taken(sim, &change.gap));
        add_row(sim, &change.gap);
        sim->settled_slots += owed;
    }
    run->owed_from.us = MAX_OF(run->owed_from.us, changed_at.us);
    run->run.settled_until = change.settled_until;
    run->run.next_run = change.next_run;
}

static enum error_kind write_update(struct simulation *sim, struct letter *letter) {
    struct stored_run *run = stored(sim, letter->run_key);
    if (!run->exists) {
        return ERROR_NOT_FOUND;
    }
    if (run->run.revision != letter->update.revision) {
        return ERROR_STALE;
    }
    struct run before = run->run;
    run->run = letter->update;
    run->run.next_run = before.next_run;
    run->run.settled_until = before.settled_until;
    if (!letter->keeps_next_run) {
        settle_change(sim, run, &before, &run->run, letter->changed_at);
    }
    letter->update.next_run = run->run.next_run;
    run->run.revision++;
    letter->update.revision++;
    struct error err;
    timetable_fini(&run->timetable);
    bool ok = timetable_init(&run->timetable, &run->run, &err);
    SIM_ASSERT(sim, ok);
    return ERROR_NONE;
}

static enum error_kind write_delete(struct simulation *sim, const struct letter *letter) {
    struct stored_run *run = stored(sim, letter->run_key);
    if (!run->exists) {
        return ERROR_NOT_FOUND;
    }
    struct run before = run->run;
    settle_change(sim, run, &before, NULL, letter->changed_at);
    run->exists = false;
    return ERROR_NONE;
}

void write_one(struct simulation *sim, bool disk_fails) {
    struct letter letter = pop(&sim->writes);
    letter.failure = ERROR_STORE;
    if (!disk_fails) {
        letter.failure = ERROR_NONE;
        switch (letter.type) {
        case RECORD:
            letter.failure = write_record(sim, letter.record);
            break;
        case START: {
            struct row *row = find_row(sim, letter.key);
            SIM_ASSERT(sim, row != NULL && row->status == EXECUTION_QUEUED);
            row->status = EXECUTION_RUNNING;
            break;
        }
        case FINISH:
            write_finish(sim, &letter);
            break;
        case UPDATE:
            letter.failure = write_update(sim, &letter);
            break;
        case DELETE:
            letter.failure = write_delete(sim, &letter);
            break;
        case BACKFILL:
            letter.failure = stored(sim, letter.run_key)->exists ? ERROR_NONE : ERROR_NOT_FOUND;
            sim->backfill_is_stored[letter.backfill] = letter.failure == ERROR_NONE;
            letter.update = stored(sim, letter.run_key)->run;
            break;
        case CANCEL_BACKFILL:
            sim->backfills[letter.backfill].cancelled_at = sim->now;
            break;
        }
    }
    push(&sim->mail, letter);
}
