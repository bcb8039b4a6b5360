/* The world that a plan acts on in tests: a clock that is turned by hand, a store that is an array and answers at once or
 * on demand, a dispatcher that runs until it is told to end. */
#ifndef ORRERY_TESTS_PLAN_WORLD_H
#define ORRERY_TESTS_PLAN_WORLD_H

#include "schedule/plan.h"

enum { LEDGER_MAXIMUM = 4096 };

struct ledger_row {
    int64_t run_key;
    struct wall_time slot;
    enum execution_status status;
    enum execution_trigger trigger;
    uint32_t attempt;
    int64_t key;
    int64_t blocked_by;
    uint64_t missed_count;
    struct wall_time missed_to;
    const char *error_type;
    uint32_t model_version;
    struct duration timeout;
    struct wall_time not_before;
    int64_t backfill_key;
};

/* The world that the plan acts on: a store that is an array, and a dispatcher that runs until told to end. */
struct world {
    struct plan plan;
    struct plan_options options;
    uint32_t concurrency; /* of every model */
    struct duration ran;  /* how long the executions take that world_end_running ends */
    struct wall_time now;
    int64_t last_key;
    struct ledger_row ledger[LEDGER_MAXIMUM];
    size_t ledger_count;
    struct plan_record *pending[LEDGER_MAXIMUM]; /* records that the store has not answered yet */
    size_t pending_count;
    bool store_answers;
    enum error_kind store_failure; /* what it answers with */
    struct plan_execution *running[LEDGER_MAXIMUM];
    size_t running_count;
    size_t cancel_count;
    uint64_t random;
    struct wall_time stored_next_run;
    bool stored_disabled;
    struct wall_time stored_backfill_next;
};

struct wall_time time_at(const char *text);
/* Answers what the store has not answered yet. */
void world_settle(struct world *world);
/* Turns the clock to `now` in one go and lets the plan and the store do their work. */
void world_turn_to(struct world *world, struct wall_time now);
/* Walks the clock to `now`, stopping at each time the plan wants to be woken. */
void world_walk_to(struct world *world, struct wall_time now);
void world_end_running(struct world *world, size_t index, enum execution_status status,
                       enum error_kind kind);
struct run world_run(const char *schedule);
struct plan_entry *world_entry(const struct run *run);
struct world *world_new(const char *now);
/* Begins with a plan of these options, after the one before was ended with plan_fini. */
void world_begin(struct world *world);
void world_close(struct world *world);
/* A world with one run that is due every minute from 00:01, watched since 00:00. */
struct world *world_minutely(enum overlap_policy overlap, enum catchup_policy catchup);
void world_add_row(struct world *world, const struct execution *execution);

#endif
