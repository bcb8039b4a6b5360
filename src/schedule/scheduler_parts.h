/* For neighbours in schedule/: the scheduler's state, and its two halves: what the plan wants of the world
 * (scheduler_effects.c), and what the world answers (scheduler.c). All of it belongs to the scheduler's thread. */
#ifndef ORRERY_SCHEDULE_SCHEDULER_PARTS_H
#define ORRERY_SCHEDULE_SCHEDULER_PARTS_H

#include "schedule/flight.h"

#include <pthread.h>
#include <stdlib.h>

struct scheduler {
    struct scheduler_options options;
    struct mailbox mailbox;
    int timer_fd;
    struct wall_time timer_at;
    pthread_t thread;
    bool started;
    struct plan plan;
    struct list_node unwritten; /* flights whose outcome the store did not take yet */
    struct wall_time write_again_at;
    struct wall_time last_wall;
    struct monotonic_time last_monotonic;
    struct scheduler_letter stop_letter;
    bool stopping;
    struct monotonic_time stop_deadline;
    uint32_t writes_out; /* records, starts and outcomes on their way to the store */
    struct wall_time now;
};

/* Any thread. */
void scheduler_send(struct scheduler *scheduler, struct scheduler_letter *letter,
                    enum letter_kind kind);

struct plan_effects scheduler_effects(struct scheduler *scheduler);

void answer_trigger(struct scheduler_trigger *trigger, const struct execution *execution,
                    const struct error *err);
void answer_cancel(struct scheduler_cancel *cancel, const struct execution *execution,
                   const struct error *err);
/* Everybody who waits for the flight. */
void answer_all(struct flight *flight, const struct execution *execution, const struct error *err);
/* Frees a flight that will not land. Whoever still waits for it hears that the server is going. */
void abandon_flight(struct flight *flight);
/* Hands the outcome to the store, together with the record of its retry if there is one. */
void write_outcome(struct scheduler *scheduler, struct flight *flight);
void record_step_free(struct record_step *step);

#endif
