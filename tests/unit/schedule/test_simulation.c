/* Years of schedules under a simulated clock, from a seed: a store that fails, a dispatcher that loses its mind,
 * a clock that jumps, changes and deletions in the middle, crashes at every step. After each write the ledger is
 * checked: every slot of every enabled run is settled exactly once, nothing runs without a record, nothing runs
 * twice, and at the end nothing is stuck.
 *
 * usage: test_simulation [FIRST_SEED [SEEDS]]. A failure prints its seed, which replays exactly. */
#include "simulation.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 1500, DEFAULT_SEEDS = 1000, SETTLE_STEPS = 40000 };

/* The plan's own assertions end the program, too: the seed has to come out. */
static char seed_line[64];
static void on_abort(int number) {
    ssize_t ignored = write(STDERR_FILENO, seed_line, sizeof seed_line);
    (void)ignored;
    (void)number;
}

static uint64_t draw(struct simulation *sim) {
    /* SplitMix64 */
    uint64_t z = sim->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool chance(struct simulation *sim, unsigned percent) { return draw(sim) % 100 < percent; }

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
    plan_execution_fini(&((struct simulation *)context)->plan, execution);
    free(execution);
}

static uint32_t effect_concurrency(void *context, const char *model_name) {
    (void)context;
    return model_name[0] == 'a' ? 1 : 2;
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

static uint32_t count_running_of(const struct simulation *sim, const char *owner) {
    uint32_t count = 0;
    for (size_t i = 0; i < sim->running_count; i++) {
        count += strcmp(sim->running_executions[i]->terms->owner, owner) == 0 ? 1 : 0;
    }
    return count;
}

static void effect_dispatch(void *context, struct plan_execution *execution) {
    struct simulation *sim = context;
    struct row *row = find_row(sim, execution->key);
    SIM_ASSERT(sim, row != NULL && row->status == EXECUTION_RUNNING && !row->dispatched);
    row->dispatched = true;
    /* It runs with what its run was when it was recorded, … */
    SIM_ASSERT(sim, row->model_version == execution->terms->model_version &&
                        row->timeout.us == execution->terms->timeout.us);
    /* … a retry not before its time, and never more at once than there is room for. */
    SIM_ASSERT(sim, sim->clock_stepped || wall_time_is_none(row->not_before) ||
                        row->not_before.us <= sim->now.us);
    SIM_ASSERT(sim, sim->running_count < sim->options.running_maximum);
    SIM_ASSERT(sim, sim->options.running_per_owner_maximum == 0 ||
                        count_running_of(sim, execution->terms->owner) <
                            sim->options.running_per_owner_maximum);
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
        effect_free(sim, letter.execution);
        if (letter.retry != NULL) {
            plan_retry_recorded(&sim->plan, letter.retry, sim->now);
        }
        break;
    case UPDATE:
        if (letter.failure == ERROR_NONE) {
            struct plan_entry *entry = entry_of(sim, &letter.update);
            plan_entry_set_stored(entry, &letter.update, letter.keeps_next_run);
            plan_put(&sim->plan, entry);
        }
        break;
    case DELETE:
        if (letter.failure == ERROR_NONE) {
            plan_remove(&sim->plan, letter.run_key, sim->now);
        }
        break;
    case BACKFILL:
        if (letter.failure == ERROR_NONE) {
            plan_put_backfill(&sim->plan, &sim->backfills[letter.backfill],
                              entry_of(sim, &letter.update));
        }
        break;
    case CANCEL_BACKFILL:
        if (letter.failure == ERROR_NONE) {
            plan_cancel_backfill(&sim->plan, sim->backfills[letter.backfill].run_key,
                                 sim->backfills[letter.backfill].key, sim->now);
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
    run->retry.non_retryable = chance(sim, 30) ? error_kind_bit(ERROR_TIMED_OUT) : 0;
    run->priority = (uint8_t)(draw(sim) % (PRIORITY_MAXIMUM + 1));
    run->model_version = (uint32_t)(draw(sim) % 3);
    run->timeout.us = (int64_t)(1 + draw(sim) % 600) * US_PER_SECOND;
    run->model_name = chance(sim, 50) ? "a model" : "model";
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
    run.owner = run_key % 2 == 0 ? "owner" : "other";
    draw_schedule(sim, &run);
    draw_policies(sim, &run);
    set_next_run(sim, &run);
    struct error err;
    bool ok = timetable_init(&stored_run->timetable, &run, &err);
    SIM_ASSERT(sim, ok);
    run.settled_until = sim->now; /* when it was created */
    stored_run->run = run;
    stored_run->exists = true;
    stored_run->owed_from = sim->now;
}

/* As the API does it: reads the row now, and the change reaches the disk later. */
static void change_run(struct simulation *sim) {
    struct stored_run *run = &sim->runs[draw(sim) % RUNS];
    if (!run->exists) {
        return;
    }
    struct letter letter = {
        .type = UPDATE, .run_key = run->run.key, .update = run->run, .changed_at = sim->now};
    if (chance(sim, 3)) {
        letter.type = DELETE;
    } else if (!wall_time_is_none(run->run.paused_at)) {
        letter.update.paused_at = WALL_TIME_NONE; /* resumed */
    } else if (run->run.enabled && chance(sim, 20)) {
        letter.update.paused_at = sim->now;
        letter.keeps_next_run = true;
    } else if (chance(sim, 50)) {
        draw_policies(sim, &letter.update);
        letter.keeps_next_run = true;
    } else {
        draw_schedule(sim, &letter.update);
        letter.update.enabled = chance(sim, 70);
        letter.update.paused_at = WALL_TIME_NONE;
    }
    push(&sim->writes, letter);
}

static void trigger_run(struct simulation *sim) {
    struct stored_run *run = &sim->runs[draw(sim) % RUNS];
    if (run->exists) {
        struct plan_entry *entry = entry_of(sim, &run->run);
        if (plan_is_current(&sim->plan, entry)) {
            plan_trigger(&sim->plan, entry, NULL, sim->now);
        } else {
            plan_entry_free(entry);
        }
    }
}

/* As the API does it: the range has slots by the run's timetable now. */
static void begin_backfill(struct simulation *sim) {
    struct stored_run *run = &sim->runs[draw(sim) % RUNS];
    if (!run->exists || sim->backfill_count == BACKFILLS) {
        return;
    }
    struct wall_time from = {sim->now.us - (int64_t)(draw(sim) % 7200) * US_PER_SECOND};
    struct wall_time first = timetable_next(&run->timetable, (struct wall_time){from.us - 1});
    struct wall_time to = {first.us + (int64_t)(1 + draw(sim) % 1800) * US_PER_SECOND};
    if (wall_time_is_none(first)) {
        return;
    }
    size_t index = sim->backfill_count++;
    sim->backfills[index] = (struct backfill){
        .key = (int64_t)index + 1,
        .run_key = run->run.key,
        .from = from,
        .to = to,
        .next_slot = first,
        .parallelism = (uint32_t)(1 + draw(sim) % 3),
        .cancelled_at = WALL_TIME_NONE,
    };
    push(&sim->writes,
         (struct letter){.type = BACKFILL, .run_key = run->run.key, .backfill = index});
}

static void cancel_backfill(struct simulation *sim) {
    if (sim->backfill_count == 0) {
        return;
    }
    size_t index = draw(sim) % sim->backfill_count;
    if (sim->backfill_is_stored[index] && wall_time_is_none(sim->backfills[index].cancelled_at)) {
        push(&sim->writes, (struct letter){.type = CANCEL_BACKFILL, .backfill = index});
    }
}

static void cancel_one(struct simulation *sim) {
    const struct row *row = &sim->rows[draw(sim) % sim->row_count];
    struct plan_execution *execution = plan_find_execution(&sim->plan, row->run_key, row->key);
    if (execution != NULL) {
        plan_cancel(&sim->plan, execution, sim->now);
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
                  ends[end].status == EXECUTION_SUCCEEDED ? NULL : &err,
                  (struct duration){(int64_t)(draw(sim) % 2000) * US_PER_MS}, sim->now);
    plan_check(&sim->plan);
}

static void drop_letters(struct simulation *sim, struct queue *queue) {
    for (size_t i = 0; i < queue->count; i++) {
        if (queue->letters[i].type == RECORD) {
            plan_record_free(&sim->plan, queue->letters[i].record);
        } else if (queue->letters[i].type == FINISH) {
            effect_free(sim, queue->letters[i].execution);
        }
    }
    queue->count = 0;
}

/* The run as it is stored, for the plan that does not have it. */
static struct plan_entry *dormant_of(struct simulation *sim, int64_t run_key) {
    return plan_has_run(&sim->plan, run_key) ? NULL : entry_of(sim, &stored(sim, run_key)->run);
}

static void start_plan(struct simulation *sim) {
    plan_init(&sim->plan, &sim->options,
              &(struct plan_effects){.context = sim,
                                     .new_key = effect_new_key,
                                     .random = effect_random,
                                     .concurrency = effect_concurrency,
                                     .make_execution = effect_make,
                                     .free_execution = effect_free,
                                     .record = effect_record,
                                     .start = effect_start,
                                     .dispatch = effect_dispatch,
                                     .cancel = effect_cancel,
                                     .finish = effect_finish});
    for (size_t i = 0; i < RUNS; i++) {
        const struct run *run = &sim->runs[i].run;
        if (sim->runs[i].exists && run->enabled && wall_time_is_none(run->paused_at)) {
            plan_put(&sim->plan, entry_of(sim, run));
            plan_correct_next_slot(&sim->plan, run->key, run->settled_until);
        }
    }
    for (size_t i = 0; i < sim->backfill_count; i++) {
        const struct backfill *backfill = &sim->backfills[i];
        if (sim->backfill_is_stored[i] && wall_time_is_none(backfill->cancelled_at) &&
            !wall_time_is_none(backfill->next_slot) && stored(sim, backfill->run_key)->exists) {
            plan_put_backfill(&sim->plan, backfill, dormant_of(sim, backfill->run_key));
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
        struct execution execution = {.key = row->key,
                                      .run_key = row->run_key,
                                      .model_name = "model",
                                      .model_version = row->model_version,
                                      .timeout = row->timeout,
                                      .not_before = row->not_before,
                                      .backfill_key = row->backfill_key,
                                      .trigger = row->trigger,
                                      .attempt = row->attempt,
                                      .status = row->status,
                                      .scheduled_for = row->slot};
        plan_adopt(&sim->plan, dormant_of(sim, row->run_key), &execution);
    }
    plan_begin(&sim->plan, sim->now);
    plan_check(&sim->plan);
}

/* kill -9: what was not on disk is gone; some time passes; a new process begins. */
static void crash(struct simulation *sim) {
    sim->crashes++;
    drop_letters(sim, &sim->writes);
    drop_letters(sim, &sim->mail);
    sim->running_count = 0;
    plan_fini(&sim->plan);
    if (chance(sim, 80)) {
        sim->now.us += (int64_t)(draw(sim) % 4000) * US_PER_SECOND;
    } else {
        /* The clock is set back meanwhile: a machine whose clock is wrong until it hears the time. */
        sim->now.us -= (int64_t)(draw(sim) % 7200) * US_PER_SECOND;
        sim->clock_stepped = true;
    }
    struct stored_run *moved = &sim->runs[draw(sim) % RUNS];
    if (moved->exists && moved->run.next_run.us > sim->now.us && chance(sim, 30)) {
        /* Stored when the zone was another: it is to be put right before it comes. */
        moved->run.next_run.us += (int64_t)(1 + draw(sim) % 7200) * US_PER_SECOND;
    }
    start_plan(sim);
}

static void step_clock(struct simulation *sim) {
    int64_t step_us = (int64_t)(draw(sim) % 7200) * US_PER_SECOND;
    if (chance(sim, 50)) {
        sim->now.us -= step_us;
        sim->clock_stepped = true; /* a time that had come may be still to come again */
        plan_clock_stepped(&sim->plan, -step_us, sim->now);
    } else {
        sim->now.us += step_us;
        plan_clock_stepped(&sim->plan, step_us, sim->now);
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
    } else if (what < 98 && sim->row_count > 0) {
        cancel_one(sim);
    } else if (what < 99) {
        if (chance(sim, 70)) {
            begin_backfill(sim);
        } else {
            cancel_backfill(sim);
        }
    }
    plan_tick(&sim->plan, sim->now);
    plan_check(&sim->plan);
}

/* Lets everything come to rest, with a disk and models that work. */
static void come_to_rest(struct simulation *sim) {
    for (int step = 0; step < SETTLE_STEPS; step++) {
        plan_tick(&sim->plan, sim->now);
        struct wall_time wake = plan_next_wake(&sim->plan);
        if (sim->writes.count > 0) {
            write_one(sim, false);
        } else if (sim->mail.count > 0) {
            deliver_one(sim);
        } else if (sim->running_count > 0) {
            end_one(sim);
        } else if (!wall_time_is_none(wake)) {
            sim->now.us = MAX_OF(sim->now.us, wake.us);
        } else {
            return;
        }
    }
    SIM_ASSERT(sim, false); /* it goes on for ever */
}

static void check_nothing_is_stuck(const struct simulation *sim) {
    for (size_t i = 0; i < sim->row_count; i++) {
        SIM_ASSERT(sim, execution_status_is_final(sim->rows[i].status));
    }
    SIM_ASSERT(sim, sim->plan.active_count == 0 && plan_running_count(&sim->plan) == 0);
}

/* First no schedule comes any more, so that what is under way ends by itself: executions, retries, queues, and
 * backfills to their last slot. Then all runs are deleted, and nothing is left of them. */
static void settle(struct simulation *sim) {
    while (sim->writes.count > 0) { /* changes that were read before would be stale */
        write_one(sim, false);
    }
    for (size_t i = 0; i < RUNS; i++) {
        struct letter letter = {.type = UPDATE,
                                .run_key = sim->runs[i].run.key,
                                .update = sim->runs[i].run,
                                .changed_at = sim->now};
        letter.update.enabled = false;
        letter.update.paused_at = WALL_TIME_NONE;
        if (sim->runs[i].exists) {
            push(&sim->writes, letter);
            write_one(sim, false);
        }
    }
    come_to_rest(sim);
    check_nothing_is_stuck(sim);
    for (size_t i = 0; i < sim->backfill_count; i++) {
        const struct backfill *backfill = &sim->backfills[i];
        SIM_ASSERT(sim, !sim->backfill_is_stored[i] || !stored(sim, backfill->run_key)->exists ||
                            !wall_time_is_none(backfill->cancelled_at) ||
                            wall_time_is_none(backfill->next_slot));
    }
    for (size_t i = 0; i < RUNS; i++) {
        if (sim->runs[i].exists) {
            push(&sim->writes, (struct letter){.type = DELETE,
                                               .run_key = sim->runs[i].run.key,
                                               .changed_at = sim->now});
        }
    }
    come_to_rest(sim);
    check_nothing_is_stuck(sim);
    SIM_ASSERT(sim, sim->plan.entries.count == 0 && sim->plan.terms.count == 0);
    SIM_ASSERT(sim, sim->plan.schedules.count == 0 && sim->plan.models.count == 0);
    SIM_ASSERT(sim, list_is_empty(&sim->plan.backfills));
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

struct totals {
    uint64_t slots;
    uint64_t backfilled;
    uint64_t crashes;
};

static void simulate(uint64_t seed, struct totals *totals) {
    struct simulation sim = {.seed = seed, .state = seed};
    snprintf(seed_line, sizeof seed_line, "simulation: seed %-40llu\n", (unsigned long long)seed);
    /* somewhere around the changes of the clock of 2026 to 2030 */
    sim.now.us = (INT64_C(1774000000) + (int64_t)(draw(&sim) % 126000000)) * US_PER_SECOND;
    static const uint32_t maxima[] = {2, 5, 8192};
    sim.options.running_maximum = maxima[draw(&sim) % COUNT_OF(maxima)];
    sim.options.running_per_owner_maximum = (uint32_t)(draw(&sim) % 3);
    for (int64_t key = 1; key <= RUNS; key++) {
        create_run(&sim, key);
    }
    start_plan(&sim);
    for (int step = 0; step < STEPS; step++) {
        make_one_step(&sim);
    }
    settle(&sim);
    totals->slots += sim.settled_slots;
    totals->backfilled += sim.backfilled_slots;
    totals->crashes += sim.crashes;
    end_simulation(&sim);
}

int main(int argument_count, char **arguments) {
    uint64_t first = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : DEFAULT_SEEDS;
    struct totals totals = {0};
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + count; seed++) {
        simulate(seed, &totals);
        if (isatty(STDERR_FILENO) && (seed - first) % 1000 == 999) {
            fprintf(stderr, "\rsimulation: %llu of %llu seeds",
                    (unsigned long long)(seed - first + 1), (unsigned long long)count);
        }
    }
    printf("simulation: %llu seeds from %llu: lost 0, twice 0, stuck 0 of %llu slots and %llu "
           "backfilled ones,"
           " in %llu crashes\n",
           (unsigned long long)count, (unsigned long long)first, (unsigned long long)totals.slots,
           (unsigned long long)totals.backfilled, (unsigned long long)totals.crashes);
    return 0;
}
