/* Years of schedules under a simulated clock, from a seed: a store that fails, a dispatcher that loses its mind,
 * a clock that jumps, changes and deletions in the middle, crashes at every step. After each write the ledger is
 * checked: every slot of every enabled run is settled exactly once, nothing runs without a record, nothing runs
 * twice, and at the end nothing is stuck.
 *
 * usage: test_simulation [FIRST_SEED [SEEDS]]. A failure prints its seed, which replays exactly. */
#include "schedule/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 6, STEPS = 1500, DEFAULT_SEEDS = 1000, SETTLE_STEPS = 20000 };

#define SIM_ASSERT(sim, condition)                                                                 \
    ((condition) ? (void)0 : simulation_failed((sim), #condition, __LINE__))

struct row {
    int64_t run_key;
    int64_t key;
    struct wall_time slot;
    uint32_t attempt;
    enum execution_trigger trigger;
    enum execution_status status;
    bool dispatched;
};

/* What the disk holds of a run. */
struct stored_run {
    bool exists;
    struct run run; /* next_run, enabled and revision are the stored ones */
    struct timetable timetable;
};

enum letter_type { RECORD, START, FINISH, UPDATE, DELETE };

/* A write on its way to the disk, then its answer on its way back. */
struct letter {
    enum letter_type type;
    struct plan_record *record;
    struct plan_execution *execution;
    struct plan_execution *retry;
    int64_t key;
    int64_t run_key;
    enum execution_status status;
    struct run update;
    bool keeps_next_run;
    enum error_kind failure;
};

struct queue {
    struct letter *letters;
    size_t count;
    size_t capacity;
};

struct simulation {
    uint64_t seed;
    uint64_t state;
    struct wall_time now;
    struct plan plan;
    struct stored_run runs[RUNS];
    struct row *rows;
    size_t row_count;
    size_t row_capacity;
    int64_t last_key;
    struct queue writes;
    struct queue mail;
    struct plan_execution **running_executions;
    size_t running_count;
    size_t running_capacity;
    uint64_t settled_slots;
    uint64_t crashes;
};

static void simulation_failed(const struct simulation *sim, const char *condition, int line) {
    fprintf(stderr, "simulation: seed %llu: line %d: not true: %s\n", (unsigned long long)sim->seed,
            line, condition);
    abort();
}

static uint64_t draw(struct simulation *sim) {
    /* SplitMix64 */
    uint64_t z = sim->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool chance(struct simulation *sim, unsigned percent) { return draw(sim) % 100 < percent; }

static void push(struct queue *queue, struct letter letter) {
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 16 : queue->capacity * 2;
        queue->letters = must_realloc(queue->letters, queue->capacity * sizeof letter);
    }
    queue->letters[queue->count++] = letter;
}

static struct letter pop(struct queue *queue) {
    struct letter first = queue->letters[0];
    memmove(queue->letters, queue->letters + 1, --queue->count * sizeof first);
    return first;
}

static struct stored_run *stored(struct simulation *sim, int64_t run_key) {
    return &sim->runs[run_key - 1];
}

/* --- the disk ------------------------------------------------------------------------------------ */

static struct row *find_row(struct simulation *sim, int64_t key) {
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
            row->attempt == execution->attempt) {
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
                                               .status = execution->status};
}

/* The promise itself: from the stored next slot to the last that this record settles, every slot of the
 * timetable is accounted for by exactly one of its executions. */
static void check_coverage(struct simulation *sim, const struct stored_run *run,
                           const struct plan_record *record) {
    struct wall_time before = {run->run.next_run.us - 1};
    uint64_t due = timetable_count(&run->timetable, before, record->last_slot);
    uint64_t settled = 0;
    for (size_t i = 0; i < record->execution_count; i++) {
        const struct execution *execution = &record->executions[i];
        settled += execution->status == EXECUTION_MISSED ? execution->missed_count : 1;
    }
    SIM_ASSERT(sim, record->first_slot.us == run->run.next_run.us);
    SIM_ASSERT(sim, settled == due || record->execution_count == 0);
    SIM_ASSERT(sim, record->next_run.us == timetable_next(&run->timetable, record->last_slot).us);
    sim->settled_slots += settled;
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
        if (is_taken(sim, &record->executions[i])) {
            return ERROR_CONFLICT;
        }
    }
    if (record->advances) {
        check_coverage(sim, run, record);
        run->run.next_run = record->next_run;
        run->run.enabled = run->run.enabled && !record->disables;
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
        struct execution retry = {.run_key = row->run_key,
                                  .key = letter->retry->key,
                                  .scheduled_for = letter->retry->slot,
                                  .attempt = letter->retry->attempt,
                                  .trigger = TRIGGER_RETRY,
                                  .status = EXECUTION_QUEUED};
        SIM_ASSERT(sim, !is_taken(sim, &retry));
        add_row(sim, &retry);
    }
}

static enum error_kind write_update(struct simulation *sim, struct letter *letter) {
    struct stored_run *run = stored(sim, letter->run_key);
    if (!run->exists) {
        return ERROR_NOT_FOUND;
    }
    if (run->run.revision != letter->update.revision) {
        return ERROR_STALE;
    }
    struct wall_time next_run =
        letter->keeps_next_run ? run->run.next_run : letter->update.next_run;
    run->run = letter->update;
    run->run.next_run = run->run.enabled ? next_run : WALL_TIME_NONE;
    run->run.revision++;
    letter->update.revision++;
    struct error err;
    timetable_fini(&run->timetable);
    bool ok = timetable_init(&run->timetable, &run->run, &err);
    SIM_ASSERT(sim, ok);
    return ERROR_NONE;
}

/* Carries out the oldest write; the answer goes into the mail. */
static void write_one(struct simulation *sim, bool disk_fails) {
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
            letter.failure = stored(sim, letter.run_key)->exists ? ERROR_NONE : ERROR_NOT_FOUND;
            stored(sim, letter.run_key)->exists = false;
            break;
        }
    }
    push(&sim->mail, letter);
}

/* --- the effects --------------------------------------------------------------------------------- */

static int64_t effect_new_key(void *context, struct wall_time now) {
    (void)now;
    return ++((struct simulation *)context)->last_key;
}

static uint64_t effect_random(void *context) { return draw(context); }

static struct plan_execution *effect_make(void *context, void *waiter) {
    (void)context;
    (void)waiter;
    return must_alloc_zeroed(1, sizeof(struct plan_execution));
}

static void effect_free(void *context, struct plan_execution *execution) {
    (void)context;
    free(execution);
}

static void effect_record(void *context, struct plan_record *record) {
    struct simulation *sim = context;
    push(&sim->writes, (struct letter){.type = RECORD, .record = record});
}

static void effect_start(void *context, struct plan_execution *execution, struct wall_time now) {
    (void)now;
    struct simulation *sim = context;
    push(&sim->writes,
         (struct letter){.type = START, .execution = execution, .key = execution->key});
}

static void effect_dispatch(void *context, struct plan_execution *execution) {
    struct simulation *sim = context;
    struct row *row = find_row(sim, execution->key);
    SIM_ASSERT(sim, row != NULL && row->status == EXECUTION_RUNNING && !row->dispatched);
    row->dispatched = true;
    if (sim->running_count == sim->running_capacity) {
        sim->running_capacity = sim->running_capacity == 0 ? 16 : sim->running_capacity * 2;
        sim->running_executions = must_realloc(
            sim->running_executions, sim->running_capacity * sizeof *sim->running_executions);
    }
    sim->running_executions[sim->running_count++] = execution;
}

static void effect_cancel(void *context, struct plan_execution *execution) {
    (void)context;
    (void)execution; /* the dispatcher takes its time, or has it ended already */
}

static void effect_finish(void *context, struct plan_execution *execution,
                          enum execution_status status, const struct error *err,
                          struct plan_execution *retry) {
    struct simulation *sim = context;
    SIM_ASSERT(sim, (err == NULL) == (status == EXECUTION_SUCCEEDED));
    push(&sim->writes, (struct letter){.type = FINISH,
                                       .execution = execution,
                                       .key = execution->key,
                                       .status = status,
                                       .retry = retry});
}

/* --- the mail ------------------------------------------------------------------------------------ */

static struct plan_entry *entry_of(struct simulation *sim, const struct run *run) {
    struct plan_entry *entry = NULL;
    struct error err;
    bool ok = plan_entry_new(run, &entry, &err);
    SIM_ASSERT(sim, ok);
    return entry;
}

static void deliver_one(struct simulation *sim) {
    struct letter letter = pop(&sim->mail);
    switch (letter.type) {
    case RECORD:
        plan_recorded(&sim->plan, letter.record, letter.failure, sim->now);
        break;
    case START:
        plan_started(&sim->plan, letter.execution, letter.failure, sim->now);
        break;
    case FINISH:
        if (letter.failure != ERROR_NONE) {
            push(&sim->writes, letter); /* kept until the disk takes it */
            break;
        }
        free(letter.execution);
        if (letter.retry != NULL) {
            plan_retry_recorded(&sim->plan, letter.retry, sim->now);
        }
        break;
    case UPDATE:
        if (letter.failure == ERROR_NONE) {
            struct plan_entry *entry = entry_of(sim, &letter.update);
            plan_entry_set_revision(entry, letter.update.revision, letter.keeps_next_run);
            plan_put(&sim->plan, entry);
        }
        break;
    case DELETE:
        if (letter.failure == ERROR_NONE) {
            plan_remove(&sim->plan, letter.run_key, sim->now);
        }
        break;
    }
    plan_check(&sim->plan);
}

/* --- what happens -------------------------------------------------------------------------------- */

static const char *const schedules[] = {
    "* * * * *",     "*/5 * * * *",        "0 * * * *",  "30 2 * * *", "0 0 29 2 *",
    "*/7 * * * * *", "15 1-3 * 3,10,11 0", "@every 90s", "0 12 1 * *",
};
static const char *const zones[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe",
                                    "America/New_York"};

static void draw_policies(struct simulation *sim, struct run *run) {
    run->overlap = (enum overlap_policy)(draw(sim) % 5);
    run->catchup = (enum catchup_policy)(draw(sim) % 3);
    run->catchup_window.us = (int64_t)(draw(sim) % 7200) * US_PER_SECOND;
    run->jitter.us = chance(sim, 50) ? 0 : (int64_t)(draw(sim) % 600) * US_PER_SECOND;
    run->retry.max_attempts = (uint32_t)(draw(sim) % 3);
    run->retry.backoff.us = (int64_t)(draw(sim) % 20) * US_PER_SECOND;
}

static void draw_schedule(struct simulation *sim, struct run *run) {
    run->schedule = schedules[draw(sim) % COUNT_OF(schedules)];
    run->zone_name = zones[draw(sim) % COUNT_OF(zones)];
}

static void set_next_run(struct simulation *sim, struct run *run) {
    struct timetable timetable;
    struct error err;
    bool ok = timetable_init(&timetable, run, &err);
    SIM_ASSERT(sim, ok);
    run->next_run = run->enabled ? timetable_next(&timetable, sim->now) : WALL_TIME_NONE;
    timetable_fini(&timetable);
}

static void create_run(struct simulation *sim, int64_t run_key) {
    struct stored_run *stored_run = stored(sim, run_key);
    struct run run = run_defaults();
    run.key = run_key;
    run.revision = 1;
    run.owner = "owner";
    run.model_name = "model";
    draw_schedule(sim, &run);
    draw_policies(sim, &run);
    set_next_run(sim, &run);
    struct error err;
    bool ok = timetable_init(&stored_run->timetable, &run, &err);
    SIM_ASSERT(sim, ok);
    stored_run->run = run;
    stored_run->exists = true;
}

/* As the API does it: reads the row now, and the change reaches the disk later. */
static void change_run(struct simulation *sim) {
    struct stored_run *run = &sim->runs[draw(sim) % RUNS];
    if (!run->exists) {
        return;
    }
    struct letter letter = {.type = UPDATE, .run_key = run->run.key, .update = run->run};
    if (chance(sim, 3)) {
        letter.type = DELETE;
    } else if (chance(sim, 50)) {
        draw_policies(sim, &letter.update);
        letter.keeps_next_run = true;
    } else {
        draw_schedule(sim, &letter.update);
        letter.update.enabled = chance(sim, 70);
        set_next_run(sim, &letter.update);
    }
    push(&sim->writes, letter);
}

static void trigger_run(struct simulation *sim) {
    struct stored_run *run = &sim->runs[draw(sim) % RUNS];
    if (run->exists) {
        plan_trigger(&sim->plan, entry_of(sim, &run->run), NULL, sim->now);
    }
}

static void end_one(struct simulation *sim) {
    size_t index = draw(sim) % sim->running_count;
    struct plan_execution *execution = sim->running_executions[index];
    sim->running_executions[index] = sim->running_executions[--sim->running_count];
    static const struct {
        enum execution_status status;
        enum error_kind kind;
    } ends[] = {
        {EXECUTION_SUCCEEDED, ERROR_NONE},        {EXECUTION_SUCCEEDED, ERROR_NONE},
        {EXECUTION_FAILED, ERROR_WORKER_CRASHED}, {EXECUTION_TIMED_OUT, ERROR_TIMED_OUT},
        {EXECUTION_FAILED, ERROR_MODEL_FAILED},   {EXECUTION_CANCELLED, ERROR_CANCELLED},
    };
    size_t end = draw(sim) % COUNT_OF(ends);
    struct error err;
    error_set(&err, ends[end].kind, "simulated");
    plan_finished(&sim->plan, execution, ends[end].status,
                  ends[end].status == EXECUTION_SUCCEEDED ? NULL : &err, sim->now);
    plan_check(&sim->plan);
}

static void drop_letters(struct queue *queue) {
    for (size_t i = 0; i < queue->count; i++) {
        if (queue->letters[i].type == RECORD) {
            free(queue->letters[i].record);
        } else if (queue->letters[i].type == FINISH) {
            free(queue->letters[i].execution);
        }
    }
    queue->count = 0;
}

static void start_plan(struct simulation *sim) {
    plan_init(&sim->plan, &(struct plan_effects){.context = sim,
                                                 .new_key = effect_new_key,
                                                 .random = effect_random,
                                                 .make_execution = effect_make,
                                                 .free_execution = effect_free,
                                                 .record = effect_record,
                                                 .start = effect_start,
                                                 .dispatch = effect_dispatch,
                                                 .cancel = effect_cancel,
                                                 .finish = effect_finish});
    for (size_t i = 0; i < RUNS; i++) {
        if (sim->runs[i].exists && sim->runs[i].run.enabled) {
            plan_put(&sim->plan, entry_of(sim, &sim->runs[i].run));
        }
    }
    size_t left = sim->row_count;
    for (size_t i = 0; i < left; i++) {
        struct row *row = &sim->rows[i];
        if (execution_status_is_final(row->status)) {
            continue;
        }
        if (!stored(sim, row->run_key)->exists) {
            row->status = EXECUTION_FAILED; /* as scheduler.c ends an orphan */
            continue;
        }
        struct plan_entry *dormant = plan_has_run(&sim->plan, row->run_key)
                                         ? NULL
                                         : entry_of(sim, &stored(sim, row->run_key)->run);
        struct execution execution = {.key = row->key,
                                      .run_key = row->run_key,
                                      .model_name = "model",
                                      .trigger = row->trigger,
                                      .attempt = row->attempt,
                                      .status = row->status,
                                      .scheduled_for = row->slot};
        plan_adopt(&sim->plan, dormant, &execution);
    }
    plan_begin(&sim->plan, sim->now);
    plan_check(&sim->plan);
}

/* kill -9: what was not on disk is gone; some time passes; a new process begins. */
static void crash(struct simulation *sim) {
    sim->crashes++;
    drop_letters(&sim->writes);
    drop_letters(&sim->mail);
    sim->running_count = 0;
    plan_fini(&sim->plan);
    sim->now.us += (int64_t)(draw(sim) % 4000) * US_PER_SECOND;
    start_plan(sim);
}

static void step_clock(struct simulation *sim) {
    int64_t step_us = (int64_t)(draw(sim) % 7200) * US_PER_SECOND;
    if (chance(sim, 50)) {
        sim->now.us -= step_us;
    } else {
        sim->now.us += step_us;
        plan_clock_stepped(&sim->plan, sim->now);
    }
}

static void pass_time(struct simulation *sim) {
    struct wall_time wake = plan_next_wake(&sim->plan);
    if (chance(sim, 60) && !wall_time_is_none(wake)) {
        sim->now.us = MAX_OF(sim->now.us, wake.us);
    } else {
        sim->now.us += (int64_t)(draw(sim) % 120) * US_PER_SECOND;
    }
}

static void make_one_step(struct simulation *sim) {
    unsigned what = (unsigned)(draw(sim) % 100);
    if (what < 30) {
        pass_time(sim);
    } else if (what < 55 && sim->writes.count > 0) {
        write_one(sim, chance(sim, 5));
    } else if (what < 80 && sim->mail.count > 0) {
        deliver_one(sim);
    } else if (what < 90 && sim->running_count > 0) {
        end_one(sim);
    } else if (what < 93) {
        change_run(sim);
    } else if (what < 95) {
        trigger_run(sim);
    } else if (what < 96) {
        step_clock(sim);
    } else if (what < 97) {
        crash(sim);
    }
    plan_tick(&sim->plan, sim->now);
    plan_check(&sim->plan);
}

/* Lets everything come to rest, with a disk and models that work: then nothing may be stuck. */
static void settle(struct simulation *sim) {
    for (size_t i = 0; i < RUNS; i++) {
        if (sim->runs[i].exists) {
            push(&sim->writes, (struct letter){.type = DELETE, .run_key = sim->runs[i].run.key});
        }
    }
    for (int step = 0; step < SETTLE_STEPS; step++) {
        if (sim->writes.count > 0) {
            write_one(sim, false);
        } else if (sim->mail.count > 0) {
            deliver_one(sim);
        } else if (sim->running_count > 0) {
            end_one(sim);
        } else {
            break;
        }
    }
    for (size_t i = 0; i < sim->row_count; i++) {
        SIM_ASSERT(sim, execution_status_is_final(sim->rows[i].status));
    }
    SIM_ASSERT(sim, sim->plan.active_count == 0 && sim->plan.entries.count == 0);
}

static void end_simulation(struct simulation *sim) {
    plan_fini(&sim->plan);
    for (size_t i = 0; i < RUNS; i++) {
        timetable_fini(&sim->runs[i].timetable);
    }
    free(sim->rows);
    free(sim->writes.letters);
    free(sim->mail.letters);
    free(sim->running_executions);
}

static void simulate(uint64_t seed, uint64_t *slots, uint64_t *crashes) {
    struct simulation sim = {.seed = seed, .state = seed};
    /* somewhere around the changes of the clock of 2026 to 2030 */
    sim.now.us = (INT64_C(1774000000) + (int64_t)(draw(&sim) % 126000000)) * US_PER_SECOND;
    for (int64_t key = 1; key <= RUNS; key++) {
        create_run(&sim, key);
    }
    start_plan(&sim);
    for (int step = 0; step < STEPS; step++) {
        make_one_step(&sim);
    }
    settle(&sim);
    *slots += sim.settled_slots;
    *crashes += sim.crashes;
    end_simulation(&sim);
}

int main(int argument_count, char **arguments) {
    uint64_t first = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : DEFAULT_SEEDS;
    uint64_t slots = 0;
    uint64_t crashes = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        simulate(seed, &slots, &crashes);
    }
    printf("simulation: %llu seeds from %llu, %llu slots settled once each, %llu crashes\n",
           (unsigned long long)count, (unsigned long long)first, (unsigned long long)slots,
           (unsigned long long)crashes);
    return 0;
}
