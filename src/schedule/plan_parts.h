/* For neighbours in schedule/: how the parts of the plan call one another.
 *
 *   plan.c            entries, the tick, the end
 *   plan_terms.c      what runs have in common, each there once
 *   plan_room.c       who may start now, and who waits for room
 *   plan_fire.c       a slot is due: overlap and catch-up policies
 *   plan_execution.c  what becomes of an execution
 *   plan_backfill.c   slots of the past, beside the schedule
 *   plan_begin.c      what the last process left; clocks and zones that change
 *   plan_check.c      whether all of this is what it should be */
#ifndef ORRERY_SCHEDULE_PLAN_PARTS_H
#define ORRERY_SCHEDULE_PLAN_PARTS_H

#include "schedule/plan.h"

#include <stdlib.h>

/* --- plan_terms.c ------------------------------------------------------------------------------- */

/* Puts the plan's own in the place of the entry's, which are new. */
void terms_adopt(struct plan *plan, struct plan_entry *entry);
/* The plan's own that are as these but for the version and the timeout; takes over one reference of what it returns. */
struct plan_terms *terms_pinned(struct plan *plan, const struct plan_terms *terms,
                                const char *model_name, uint32_t model_version,
                                struct duration timeout);
/* The plan's own schedule that is as this one in another zone, whose reference it takes over. */
struct plan_schedule *schedule_in_zone(struct plan *plan, const struct plan_schedule *schedule,
                                       const struct zone *zone);
static inline struct plan_terms *terms_ref(struct plan_terms *terms) {
    terms->shared.references++;
    return terms;
}
static inline struct plan_schedule *schedule_ref(struct plan_schedule *schedule) {
    schedule->shared.references++;
    return schedule;
}
void terms_unref(struct plan *plan, struct plan_terms *terms);
void schedule_unref(struct plan *plan, struct plan_schedule *schedule);
/* Of an entry that is in the plan. */
void entry_free(struct plan *plan, struct plan_entry *entry);

/* --- plan_room.c -------------------------------------------------------------------------------- */

void group_init(struct plan_group *group, enum plan_place place, uint32_t limit);
void group_fini(struct plan_group *group);

/* The first of the terms' groups that is full, or NULL. */
struct plan_group *room_find_full(struct plan *plan, const struct plan_terms *terms);
void room_take(struct plan *plan, struct plan_execution *execution);
/* Harmless for one that has none. */
void room_give_back(struct plan *plan, struct plan_execution *execution);
void room_wait_for_slot(struct plan_group *full, struct plan_entry *entry, struct wall_time due);
void room_wait(struct plan_group *full, struct plan_execution *execution);
/* Takes it out of the heap that it waits in, if it does. */
void room_leave_for_slot(struct plan *plan, struct plan_entry *entry);
void room_leave(struct plan *plan, struct plan_execution *execution);
/* Lets in who waits, as far as there is room; at most `*steps`, which it counts down. */
void room_serve(struct plan *plan, uint32_t *steps, struct wall_time now);
bool room_is_awaited(const struct plan *plan);
/* Whether a backfill may start another without being in the way of anybody. */
bool room_is_plenty(const struct plan *plan, const struct plan_terms *terms);
/* An execution of the model took so long. */
void room_learn(struct plan *plan, struct plan_group *model, struct duration ran);

/* The rank of what is due at `at` in a heap of times. */
static inline int64_t time_rank(struct wall_time at, uint8_t priority) {
    /* Equal times go by priority. Times have 54 bits until the year 2500. */
    return at.us * (PRIORITY_MAXIMUM + 1) + (PRIORITY_MAXIMUM - priority);
}
static inline int64_t time_of_rank(int64_t rank) { return rank / (PRIORITY_MAXIMUM + 1); }

/* --- plan.c ------------------------------------------------------------------------------------- */

struct plan_entry *find_entry(const struct plan *plan, int64_t run_key);
/* When the slot is to start. */
struct wall_time entry_due_at(const struct plan_entry *entry, struct wall_time slot);
/* Puts the entry into the heap of due ones, or takes it out, by its state. */
void entry_reheap(struct plan *plan, struct plan_entry *entry);
/* Whether its next slot is to come, and waits for nothing of its own run. */
bool entry_is_due(const struct plan_entry *entry);
/* An entry that nothing refers to any more goes. */
void entry_release_if_idle(struct plan *plan, struct plan_entry *entry);
/* Puts `dormant` into the plan unless the run is there; then it is freed. Returns the plan's. */
struct plan_entry *entry_wake(struct plan *plan, struct plan_entry *dormant, int64_t run_key);

/* --- plan_fire.c -------------------------------------------------------------------------------- */

/* The entry's next slot is due: records what becomes of it, or lets it wait for room. */
void fire_or_wait(struct plan *plan, struct plan_entry *entry, struct wall_time now);
struct plan_record *record_new(struct plan_entry *entry);
/* Hands the record over. */
static inline void submit_record(struct plan *plan, struct plan_record *record) {
    plan->submitted_count++;
    plan->effects.record(plan->effects.context, record);
}
/* Hands the record over, which settles the schedule from its next slot up to `last_slot`. */
void record_advance(struct plan *plan, struct plan_entry *entry, struct plan_record *record,
                    struct wall_time last_slot);

/* --- plan_execution.c --------------------------------------------------------------------------- */

struct plan_execution *execution_make(struct plan *plan, struct plan_entry *entry,
                                      struct plan_terms *terms, enum execution_trigger trigger,
                                      struct wall_time slot, enum plan_phase phase, int64_t key,
                                      void *waiter);
/* What is written of it. */
struct execution execution_describe(int64_t run_key, const struct plan_execution *execution,
                                    struct wall_time now, enum execution_status status);
/* Adds the execution to the record, to run at once if there is room, else queued. */
void record_add_execution(struct plan *plan, struct plan_record *record,
                          struct plan_execution *execution, bool may_run, struct wall_time now);
/* The run's next execution in the ring, or NULL after the newest. */
struct plan_execution *execution_next(const struct plan_execution *execution);
/* Whether slots after it have to heed it: all but those of backfills. */
static inline bool execution_counts(const struct plan_execution *execution) {
    return execution->trigger != TRIGGER_BACKFILL;
}
/* The oldest that counts and has begun, or is about to; else NULL. */
struct plan_execution *find_running(const struct plan_entry *entry);
/* The oldest that counts, or NULL. */
struct plan_execution *find_in_the_way(const struct plan_entry *entry);
/* Starts the oldest of the run that waits, if it may. */
void execution_start_next(struct plan *plan, struct plan_entry *entry, struct wall_time now);
/* There may be room now for this one, which waited for it. */
void execution_begin(struct plan *plan, struct plan_execution *execution, struct wall_time now);
/* Cancels what runs and drops what waits, of those that count. */
void execution_cancel_all(struct plan *plan, struct plan_entry *entry);
void execution_cancel(struct plan *plan, struct plan_execution *execution, const char *why);
/* Takes it out of the plan; it still has to be freed. Returns its entry. */
struct plan_entry *execution_detach(struct plan *plan, struct plan_execution *execution);
/* After it has left its entry: the next that waits, the next slot that waited. */
void execution_after_detach(struct plan *plan, struct plan_entry *entry, struct wall_time now);

/* --- plan_begin.c ------------------------------------------------------------------------------- */

/* The entry's next slot is not what its schedule says any more: it is to be the first after `since`. */
void entry_outdate(struct plan *plan, struct plan_entry *entry, struct wall_time since);
/* Corrects next slots, as many as may be under way; at most `*steps`, which it counts down. */
void correct_outdated(struct plan *plan, uint32_t *steps);

/* --- plan_backfill.c ---------------------------------------------------------------------------- */

struct plan_backfill *backfill_find(const struct plan *plan, int64_t key);
/* Starts what there is plenty of room for. */
void backfill_serve(struct plan *plan, struct wall_time now);
void backfill_recorded(struct plan *plan, const struct plan_record *record,
                       enum error_kind failure);
void backfill_release_if_over(struct plan *plan, struct plan_backfill *backfill);
/* The run was deleted. */
void backfill_remove_of(struct plan *plan, int64_t run_key);

#endif
