/* The scheduler's thread between a real store, real workers and a clock that stands until a test turns it. */
#ifndef ORRERY_TESTS_SCHEDULER_BED_H
#define ORRERY_TESTS_SCHEDULER_BED_H

#include "../../store/world.h"
#include "schedule/scheduler.h"

#include <semaphore.h>
#include <stdatomic.h>

#define MINUTE_US (60 * US_PER_SECOND)

struct bed {
    struct clock clock; /* its context is the bed */
    _Atomic int64_t monotonic_us;
    _Atomic int64_t wall_offset_us; /* how far the wall clock is ahead of the monotonic one */
    char models[64];
    sem_t scanned;
    struct dispatcher *dispatcher;
    struct model_repository *repository;
    struct world world; /* the store */
    struct identity_source execution_keys;
    struct scheduler *scheduler;
};

/* For cmocka's groups and tests. The models of a group: line, endless, picky. */
int bed_setup_models(void **state);
int bed_teardown_models(void **state);
int bed_setup(void **state);
int bed_teardown(void **state);
/* The dispatcher and the repository. */
void bed_start_models(struct bed *bed);
/* Not started. */
struct scheduler *bed_make_scheduler(struct bed *bed, int64_t drain_limit_us);
void bed_start_scheduler(struct bed *bed, int64_t drain_limit_us);

/* Ends the scheduler, the models and the store, and begins with them anew, as the next process would. */
void bed_restart(struct bed *bed, int64_t drain_limit_us);

/* Time goes by. */
void bed_pass(struct bed *bed, int64_t us);
/* Somebody turns the wall clock, or the machine sleeps: the monotonic clock stands. */
void bed_step(struct bed *bed, int64_t us);
struct wall_time bed_next_minute(const struct bed *bed);

/* Asks every few milliseconds; the time that it waits for is real. */
void bed_wait_until(bool (*condition)(struct bed *bed, const void *with), struct bed *bed,
                    const void *with);
/* Until the run has at least so many executions of that status. */
void bed_wait_for(struct bed *bed, int64_t run_key, enum execution_status status, size_t count);

/* A run that is due every minute; not stored. */
struct run bed_minutely(struct bed *bed, const char *model_name);
struct plan_entry *bed_entry_of(const struct run *run);
int64_t bed_create(struct bed *bed, struct run run);
/* The run's newest executions, as many as there are up to 100. */
size_t bed_read_history(struct bed *bed, int64_t run_key, struct execution **out);
size_t bed_count_all(struct bed *bed, int64_t run_key);
struct execution bed_newest(struct bed *bed, int64_t run_key);
/* SQL, on a connection of its own. */
void bed_execute(struct bed *bed, const char *sql);

/* Whoever waits for a trigger or a cancel. */
struct waiter {
    struct scheduler_trigger trigger;
    struct scheduler_cancel cancel;
    sem_t done;
    bool ok;
    enum error_kind kind;
    struct execution execution; /* without its strings */
    char result[256];
};

struct waiter *bed_send_trigger(struct bed *bed, const struct run *run, const char *parameters,
                                bool wait);
struct waiter *bed_send_cancel(struct bed *bed, int64_t run_key, int64_t execution_key);
/* What it was answered; frees it. */
struct waiter bed_take(struct waiter *waiter);

#endif
