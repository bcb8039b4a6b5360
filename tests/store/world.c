#include "world.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fail_msg("%s: %s", error_kind_wire_name(err->kind), err->message);
    }
}

static void attach(struct world *world) {
    struct error err;
    world->options.location = world->location;
    world->options.exclusive = true;
    must(store_open(&world->options, &world->store, &err), &err);
    must(store_start(world->store, &err), &err);
    must(store_reader_open(world->store, &world->reader, &err), &err);
}

static void detach(struct world *world) {
    store_reader_close(world->reader);
    store_stop(world->store);
    store_close(world->store);
    world->reader = NULL;
    world->store = NULL;
}

void world_open(struct world *world, const char *location) {
    *world = (struct world){.location = location, .now_us = INT64_C(1800000000) * US_PER_SECOND};
    attach(world);
    identity_source_init(&world->keys, MAX_OF(store_greatest_run_key(world->store),
                                              store_greatest_execution_key(world->store)));
}

void world_close(struct world *world) {
    detach(world);
    arena_fini(&world->arena);
}

void world_reopen(struct world *world) {
    detach(world);
    attach(world);
}

int64_t world_key(struct world *world) {
    world->now_us += US_PER_SECOND;
    return identity_next(&world->keys, world->now_us);
}

struct wall_time world_now(const struct world *world) {
    return (struct wall_time){world->now_us};
}

struct run world_run(struct world *world) {
    struct run run = run_defaults();
    run.key = world_key(world);
    run.owner = "alice";
    run.model_name = "iris";
    run.schedule = "0 * * * *";
    run.parameters = "{\"data\":[[1,2]]}";
    run.created_at = world_now(world);
    run.updated_at = world_now(world);
    run.next_run = (struct wall_time){world->now_us + 3600 * US_PER_SECOND};
    return run;
}

int64_t world_create(struct world *world, const struct run *run) {
    struct store_write write = {.kind = STORE_CREATE_RUN, .run = run};
    world_write(world, &write);
    assert_int_equal(write.out_revision, 1);
    return run->key;
}

int64_t world_create_run(struct world *world) {
    struct run run = world_run(world);
    return world_create(world, &run);
}

struct run world_get_run(struct world *world, int64_t key) {
    struct run run;
    struct error err;
    must(store_get_run(world->reader, key, &world->arena, &run, &err), &err);
    return run;
}

struct execution world_execution(struct world *world, int64_t slot_us,
                                 enum execution_status status) {
    bool started = status == EXECUTION_RUNNING ||
                   (execution_status_is_final(status) && status < EXECUTION_SKIPPED);
    int64_t key = world_key(world);
    return (struct execution){
        .key = key,
        .model_name = "iris",
        .trigger = TRIGGER_SCHEDULE,
        .attempt = 1,
        .status = status,
        .scheduled_for = {slot_us},
        .queued_at = world_now(world),
        .started_at = started ? world_now(world) : WALL_TIME_NONE,
        .finished_at = execution_status_is_final(status) ? world_now(world) : WALL_TIME_NONE,
        .not_before = WALL_TIME_NONE,
        .missed_from = WALL_TIME_NONE,
        .missed_to = WALL_TIME_NONE,
    };
}

int64_t world_record(struct world *world, int64_t run_key, const struct execution *execution) {
    struct store_record record = {.executions = {*execution}, .execution_count = 1};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);
    return execution->key;
}

int64_t world_record_finished(struct world *world, int64_t run_key, int64_t slot_us,
                              enum execution_status status) {
    struct execution execution = world_execution(world, slot_us, EXECUTION_RUNNING);
    world_record(world, run_key, &execution);
    execution.run_key = run_key;
    execution.status = status;
    execution.finished_at = world_now(world);
    struct store_write write = {.kind = STORE_FINISH, .execution = &execution};
    world_write(world, &write);
    return execution.key;
}

struct execution world_get_execution(struct world *world, int64_t key) {
    struct execution execution;
    const char *owner;
    struct error err;
    must(store_get_execution(world->reader, key, &world->arena, &execution, &owner, &err), &err);
    return execution;
}

void world_write(struct world *world, struct store_write *write) {
    struct error err;
    must(store_submit_and_wait(world->store, write, &err), &err);
    free(write->out_parameters);
    write->out_parameters = NULL;
}

void world_write_gives(struct world *world, struct store_write *write, const char *parameters) {
    struct error err;
    must(store_submit_and_wait(world->store, write, &err), &err);
    assert_non_null(write->out_parameters);
    assert_string_equal(write->out_parameters, parameters);
    free(write->out_parameters);
    write->out_parameters = NULL;
}

enum error_kind world_write_fails(struct world *world, struct store_write *write) {
    struct error err;
    assert_false(store_submit_and_wait(world->store, write, &err));
    assert_string_not_equal(err.message, "");
    free(write->out_parameters);
    write->out_parameters = NULL;
    return err.kind;
}

enum error_kind world_record_fails(struct world *world, int64_t run_key,
                                   const struct execution *execution) {
    struct store_record record = {.executions = {*execution}, .execution_count = 1};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    return world_write_fails(world, &write);
}

static void count_answer(struct store_write *write) {
    struct volley *volley = write->context;
    free(write->out_parameters);
    write->out_parameters = NULL;
    atomic_fetch_add(&volley->answered, 1);
}

void volley_submit(struct world *world, struct volley *volley, struct store_write *write) {
    write->done = count_answer;
    write->context = volley;
    store_submit(world->store, write);
}

void volley_wait(struct volley *volley, uint32_t count) {
    while (atomic_load(&volley->answered) < count) {
        sched_yield();
    }
}
