#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t world_new_key(void *context, struct wall_time now) {
    (void)now;
    return ++((struct world *)context)->last_key;
}

static uint64_t world_random(void *context) { return ((struct world *)context)->random; }

static struct plan_execution *world_make(void *context, void *waiter) {
    (void)context;
    (void)waiter;
    return must_alloc_zeroed(1, sizeof(struct plan_execution));
}

static void world_free(void *context, struct plan_execution *execution) {
    plan_execution_fini(&((struct world *)context)->plan, execution);
    free(execution);
}

static uint32_t world_concurrency(void *context, const char *model_name) {
    (void)model_name;
    return ((struct world *)context)->concurrency;
}

static struct ledger_row *find_row(struct world *world, int64_t key) {
    for (size_t i = 0; i < world->ledger_count; i++) {
        if (world->ledger[i].key == key) {
            return &world->ledger[i];
        }
    }
    return NULL;
}

void world_add_row(struct world *world, const struct execution *execution) {
    assert_true(world->ledger_count < LEDGER_MAXIMUM);
    for (size_t i = 0; i < world->ledger_count; i++) {
        struct ledger_row *row = &world->ledger[i];
        bool same =
            row->run_key == execution->run_key && row->slot.us == execution->scheduled_for.us &&
            row->attempt == execution->attempt && row->trigger != TRIGGER_MANUAL &&
            execution->trigger != TRIGGER_MANUAL && row->backfill_key == execution->backfill_key;
        assert_false(same); /* no slot twice */
    }
    world->ledger[world->ledger_count++] = (struct ledger_row){
        .run_key = execution->run_key,
        .slot = execution->scheduled_for,
        .status = execution->status,
        .trigger = execution->trigger,
        .attempt = execution->attempt,
        .key = execution->key,
        .blocked_by = execution->blocked_by,
        .missed_count = execution->missed_count,
        .missed_to = execution->missed_to,
        .error_type = execution->error_type,
        .model_version = execution->model_version,
        .timeout = execution->timeout,
        .not_before = execution->not_before,
        .backfill_key = execution->backfill_key,
    };
}

static void store_answer(struct world *world, struct plan_record *record) {
    if (world->store_failure == ERROR_NONE) {
        for (size_t i = 0; i < record->execution_count; i++) {
            world_add_row(world, &record->executions[i]);
        }
        if (record->backfill_key != 0) {
            world->stored_backfill_next = record->backfill_next;
        }
        if (record->advances) {
            world->stored_next_run = record->next_run;
            world->stored_disabled = record->disables;
        }
    }
    plan_recorded(&world->plan, record, world->store_failure, world->now);
}

static void world_record(void *context, struct plan_record *record) {
    struct world *world = context;
    assert_true(world->pending_count < COUNT_OF(world->pending));
    world->pending[world->pending_count++] = record;
}

static void world_start(void *context, struct plan_execution *execution, struct wall_time now) {
    struct world *world = context;
    struct ledger_row *row = find_row(world, execution->key);
    assert_non_null(row);
    assert_int_equal(row->status, EXECUTION_QUEUED);
    row->status = EXECUTION_RUNNING;
    plan_started(&world->plan, execution, ERROR_NONE, now);
}

static void world_dispatch(void *context, struct plan_execution *execution) {
    struct world *world = context;
    struct ledger_row *row = find_row(world, execution->key);
    /* Nothing runs without a record of it on disk. */
    assert_non_null(row);
    assert_int_equal(row->status, EXECUTION_RUNNING);
    world->running[world->running_count++] = execution;
}

static void world_cancel(void *context, struct plan_execution *execution) {
    (void)execution;
    ((struct world *)context)->cancel_count++;
}

static void world_finish(void *context, struct plan_execution *execution,
                         enum execution_status status, const struct error *err,
                         struct plan_execution *retry) {
    struct world *world = context;
    (void)err;
    struct ledger_row *row = find_row(world, execution->key);
    assert_non_null(row);
    row->status = status;
    if (retry != NULL) {
        struct execution recorded = plan_describe_retry(retry, row->run_key, world->now);
        world_add_row(world, &recorded);
        plan_retry_recorded(&world->plan, retry, world->now);
    }
    world_free(world, execution);
}

struct wall_time time_at(const char *text) {
    struct wall_time time;
    struct error err;
    assert_true(wall_time_parse(text, &time, &err));
    return time;
}

void world_settle(struct world *world) {
    while (world->store_answers && world->pending_count > 0) {
        struct plan_record *record = world->pending[0];
        memmove(world->pending, world->pending + 1,
                --world->pending_count * sizeof world->pending[0]);
        store_answer(world, record);
    }
    plan_check(&world->plan);
}

/* Turns the clock to `now` in one go and lets the plan and the store do their work. */
void world_turn_to(struct world *world, struct wall_time now) {
    world->now = now;
    for (;;) {
        plan_tick(&world->plan, now);
        if (world->pending_count == 0 || !world->store_answers) {
            break;
        }
        world_settle(world);
        if (world->store_failure != ERROR_NONE) {
            break;
        }
    }
    plan_check(&world->plan);
}

/* Walks the clock to `now`, stopping at each time the plan wants to be woken. */
void world_walk_to(struct world *world, struct wall_time now) {
    for (;;) {
        struct wall_time wake = plan_next_wake(&world->plan);
        if (wall_time_is_none(wake) || wake.us > now.us) {
            break;
        }
        world_turn_to(world, (struct wall_time){MAX_OF(wake.us, world->now.us)});
    }
    world_turn_to(world, now);
}

void world_end_running(struct world *world, size_t index, enum execution_status status,
                       enum error_kind kind) {
    struct plan_execution *execution = world->running[index];
    memmove(&world->running[index], &world->running[index + 1],
            (--world->running_count - index) * sizeof world->running[0]);
    struct error err;
    error_set(&err, kind, "test");
    plan_finished(&world->plan, execution, status, status == EXECUTION_SUCCEEDED ? NULL : &err,
                  world->ran, world->now);
    world_turn_to(world, world->now);
}

struct run world_run(const char *schedule) {
    struct run run = run_defaults();
    run.key = 7;
    run.revision = 1;
    run.owner = "owner";
    run.model_name = "model";
    run.schedule = schedule;
    return run;
}

struct plan_entry *world_entry(const struct run *run) {
    struct plan_entry *entry;
    struct error err;
    assert_true(plan_entry_new(run, &entry, &err));
    return entry;
}

void world_begin(struct world *world) {
    plan_init(&world->plan, &world->options,
              &(struct plan_effects){.context = world,
                                     .new_key = world_new_key,
                                     .random = world_random,
                                     .concurrency = world_concurrency,
                                     .make_execution = world_make,
                                     .free_execution = world_free,
                                     .record = world_record,
                                     .start = world_start,
                                     .dispatch = world_dispatch,
                                     .cancel = world_cancel,
                                     .finish = world_finish});
}

struct world *world_new(const char *now) {
    struct world *world = must_alloc_zeroed(1, sizeof *world);
    world->now = time_at(now);
    world->store_answers = true;
    world->concurrency = 64;
    world->options.running_maximum = 8192;
    world_begin(world);
    return world;
}

void world_close(struct world *world) {
    for (size_t i = 0; i < world->pending_count; i++) {
        plan_record_free(&world->plan, world->pending[i]);
    }
    plan_fini(&world->plan);
    free(world);
}

/* A world with one run that is due every minute from 00:01, watched since 00:00. */
struct world *world_minutely(enum overlap_policy overlap, enum catchup_policy catchup) {
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("* * * * *");
    run.overlap = overlap;
    run.catchup = catchup;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    return world;
}
