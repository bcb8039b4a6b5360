/* For test_simulation: the simulated world, and its disk (simulation_disk.c), which checks what is written to it. */
#ifndef ORRERY_TESTS_SIMULATION_H
#define ORRERY_TESTS_SIMULATION_H

#include "schedule/plan.h"

enum { RUNS = 6, BACKFILLS = 8 };

#define SIM_ASSERT(sim, condition)                                                                 \
    ((condition) ? (void)0 : simulation_failed((sim), #condition, __FILE__, __LINE__))

struct row {
    int64_t run_key;
    int64_t key;
    struct wall_time slot;
    uint32_t attempt;
    enum execution_trigger trigger;
    enum execution_status status;
    int64_t backfill_key;
    uint32_t model_version; /* what its run was when it was recorded, as the next */
    struct duration timeout;
    struct wall_time not_before;
    bool dispatched;
};

/* What the disk holds of a run. */
struct stored_run {
    bool exists;
    struct run run; /* next_run, enabled and revision are the stored ones */
    struct timetable timetable;
    /* The judge's own: of the timetable's slots after this none has a record, and each is to get one. */
    struct wall_time owed_from;
};

enum letter_type { RECORD, START, FINISH, UPDATE, DELETE, BACKFILL, CANCEL_BACKFILL };

/* A write on its way to the disk, then its answer on its way back. */
struct letter {
    enum letter_type type;
    struct plan_record *record;
    struct plan_execution *execution;
    struct plan_execution *retry;
    int64_t key;
    int64_t run_key;
    size_t backfill; /* index */
    enum execution_status status;
    struct run update;
    struct wall_time changed_at;
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
    struct plan_options options;
    struct stored_run runs[RUNS];
    struct backfill
        backfills[BACKFILLS]; /* as stored; those from backfill_count on are not there yet */
    bool backfill_is_stored[BACKFILLS];
    size_t backfill_count;
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
    uint64_t backfilled_slots;
    uint64_t crashes;
    bool clock_stepped;
};

/* Ends the program, and says how to come here again. */
void simulation_failed(const struct simulation *sim, const char *condition, const char *file,
                       int line);

void push(struct queue *queue, struct letter letter);
struct letter pop(struct queue *queue);

/* What the disk holds. */
struct stored_run *stored(struct simulation *sim, int64_t run_key);
struct row *find_row(struct simulation *sim, int64_t key);

/* Carries out the oldest write; the answer goes into the mail. */
void write_one(struct simulation *sim, bool disk_fails);

#endif
