/* What the tests of stores share: a store in a place of its own, and short ways to write to it and to make
 * runs and executions. Failures of what a test takes for granted end the test. */
#ifndef ORRERY_TESTS_STORE_WORLD_H
#define ORRERY_TESTS_STORE_WORLD_H

#include "base/identity.h"
#include "store/store.h"

struct world {
    const char *location;
    struct store_options options; /* for world_reopen; location and exclusive are filled in */
    struct store *store;          /* open and started */
    struct store_reader *reader;
    struct arena arena;
    struct identity_source keys;
    int64_t now_us; /* each key takes a second */
};

void world_open(struct world *world, const char *location);
void world_close(struct world *world);
/* Closes and opens again, as after a restart. */
void world_reopen(struct world *world);

int64_t world_key(struct world *world);
struct wall_time world_now(const struct world *world);

/* A run of "alice" for model "iris", enabled, due in an hour; not stored. */
struct run world_run(struct world *world);
/* Stores it. Returns its key. */
int64_t world_create(struct world *world, const struct run *run);
int64_t world_create_run(struct world *world);
struct run world_get_run(struct world *world, int64_t key);

/* An execution of the slot, not stored: trigger schedule, attempt 1. Final ones have an outcome. */
struct execution world_execution(struct world *world, int64_t slot_us,
                                 enum execution_status status);
/* Records one; returns its key. */
int64_t world_record(struct world *world, int64_t run_key, const struct execution *execution);
/* Records and finishes one. */
int64_t world_record_finished(struct world *world, int64_t run_key, int64_t slot_us,
                              enum execution_status status);
struct execution world_get_execution(struct world *world, int64_t key);

/* Submits and waits; the parameters that come out are freed. `world_write_fails` returns the kind of error. */
void world_write(struct world *world, struct store_write *write);
/* Submits and waits; the parameters that come out have to be these. */
void world_write_gives(struct world *world, struct store_write *write, const char *parameters);
enum error_kind world_write_fails(struct world *world, struct store_write *write);
enum error_kind world_record_fails(struct world *world, int64_t run_key,
                                   const struct execution *execution);

/* Many writes at once, answered later. */
struct volley {
    _Atomic uint32_t answered;
};
void volley_submit(struct world *world, struct volley *volley, struct store_write *write);
void volley_wait(struct volley *volley, uint32_t count);

#endif
