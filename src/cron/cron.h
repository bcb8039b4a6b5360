/* A schedule: a cron expression, compiled. The language and its rules are told in docs/cron.md; it
 * is the Open Cron Pattern Specification (1.0 and 1.1 final, 1.2 to 1.4 drafts), with Jenkins' `H`,
 * with "@every 90s" and with "@at 2027-01-01T09:00:00".
 *
 * A *slot* is an instant at which the schedule is due; all slots are whole seconds but those of an
 * "@every" with a fraction. Slots lie in the local years 1970 to 2199.
 *
 * `struct cron` is a plain value of 64 bytes without pointers: copy it, store it, share it. All
 * functions are pure and may be called from any thread; zones are borrowed for the call; none reads
 * a clock, and none but the builders of text allocates. */
#ifndef ORRERY_CRON_CRON_H
#define ORRERY_CRON_CRON_H

#include "base/text.h"
#include "clock/zone.h"

enum {
    CRON_TEXT_BYTES = 2048, /* the longest expression accepted, with its NUL */
};

/* What becomes of a fixed local time that the wall clock jumps over. */
enum dst_missing {
    DST_MISSING_SHIFT, /* due at the first instant after the gap, once for all such times in it */
    DST_MISSING_SKIP,  /* not due on that day */
};

/* Which one of a fixed local time's two instants, when the wall clock is set back over it. */
enum dst_repeated { DST_REPEATED_FIRST, DST_REPEATED_LAST, DST_REPEATED_BOTH };

/* A gap longer than this is a correction of the clock, not daylight saving: nothing in it is made
 * up for (cronie's rule, crond(8) "Daylight Saving Time and other time changes"). */
enum { DST_LONGEST_GAP_SECONDS = 3 * 3600 };

/* "shift", "skip"; "first", "last", "both". Parsing fails with ERROR_INVALID and lists the
 * choices. */
const char *dst_missing_name(enum dst_missing missing);
const char *dst_repeated_name(enum dst_repeated repeated);
MUST_CHECK bool dst_missing_parse(const char *name, enum dst_missing *out, struct error *err);
MUST_CHECK bool dst_repeated_parse(const char *name, enum dst_repeated *out, struct error *err);

struct cron_options {
    uint64_t hash_seed; /* what `H` is drawn from: a hash of the run's id */
    enum dst_missing dst_missing;
    enum dst_repeated dst_repeated;
};

enum cron_kind { CRON_FIELDS, CRON_EVERY, CRON_AT_INSTANT, CRON_AT_LOCAL };

/* The compiled form. Only cron/ looks inside.
 *
 * Sets are bit sets. `weekdays` has six lanes of seven bits: lane n-1 is the n-th such weekday of a
 * month (bit 0 Sunday), lane 5 the last; a plain weekday is in lanes 0 to 4. `years` (bit 0 is
 * 1970) holds only years in which some day matches, so a search that follows it never ends in
 * vain. */
struct cron {
    uint64_t seconds : 60;
    uint64_t kind : 2; /* enum cron_kind */
    uint64_t dst_missing : 1;
    uint64_t is_elapsed : 1; /* follows elapsed time: minute or hour begins with '*' */
    uint64_t minutes : 60;
    uint64_t dst_repeated : 2;
    uint64_t either_day : 1;  /* day of month OR day of week; else AND */
    uint64_t has_seconds : 1; /* written with a seconds field */
    uint64_t weekdays : 42;
    uint64_t nearest : 6;   /* nW: 1 to 31; LW: CRON_LAST_WEEKDAY; else 0 */
    uint64_t months : 13;   /* bits 1 to 12 */
    uint64_t days_open : 1; /* day of month begins with '*' or '?' */
    uint64_t weekdays_open : 1;
    uint64_t every_day : 1; /* all days of the months match */
    uint32_t hours;
    uint32_t days; /* bits 1 to 31; bit 0 is L */
    union {
        uint64_t years[4];
        int64_t period_us;  /* CRON_EVERY */
        int64_t at_seconds; /* CRON_AT_…: the instant, or the local time */
    };
};

/* Compiles an expression. `options` may be NULL: no seed, shift, first.
 *
 * Fails with ERROR_INVALID_CRON, field "schedule", the column, and a message such as "minute: 61 is
 * out of range 0-59 (column 1)"; or with ERROR_NEVER_FIRES ("never fires: February has no day 30")
 * if no local time at all matches. */
MUST_CHECK bool cron_parse(const char *text, const struct cron_options *options,
                           struct cron *out_cron, struct error *err);

/* The first slot strictly after `after`. False with ERROR_NEVER_FIRES if there is none before the
 * year 2200. */
MUST_CHECK bool cron_next(const struct cron *cron, const struct zone *zone, struct wall_time after,
                          struct wall_time *out_next, struct error *err);

/* The last slot strictly before `before`. False with ERROR_NEVER_FIRES if there is none since
 * 1970. */
MUST_CHECK bool cron_previous(const struct cron *cron, const struct zone *zone,
                              struct wall_time before, struct wall_time *out_previous,
                              struct error *err);

/* Whether this instant is a slot. */
bool cron_matches(const struct cron *cron, const struct zone *zone, struct wall_time at);

/* How many slots lie in (after, until]. The cost depends neither on their number nor on the length
 * of time, but for the zone's clock changes from before its present rule: some nanoseconds each. */
uint64_t cron_count(const struct cron *cron, const struct zone *zone, struct wall_time after,
                    struct wall_time until);

/* The n-th slot after `after`; 1 is the one that cron_next gives. False as cron_next. */
MUST_CHECK bool cron_nth(const struct cron *cron, const struct zone *zone, struct wall_time after,
                         uint64_t n, struct wall_time *out_slot, struct error *err);

/* Whether the two have the same slots in every zone because they are the same in all parts. */
bool cron_equal(const struct cron *a, const struct cron *b);

/* Whether it is "@at": one slot at most. */
bool cron_is_once(const struct cron *cron);

/* Whether it follows elapsed time, so that the dst_ policies do not apply to it: a wildcard in the
 * minute or hour field, "@every", "@at" with an offset. */
bool cron_is_elapsed(const struct cron *cron);

/* ---- Jitter (Temporal's rule: deterministic, and never past the next slot) ---- */

struct cron_jitter {
    uint64_t hash_seed;    /* a hash of the run's id */
    struct duration width; /* zero or less: none */
};

/* The instant at which `slot` is started: slot ≤ instant < slot + width, and before `next_slot`
 * (WALL_TIME_NONE: there is none). The same for the same arguments, for ever. */
struct wall_time cron_jitter_apply(const struct cron_jitter *jitter, struct wall_time slot,
                                   struct wall_time next_slot);

/* A hash of a run's id (or any bytes) for hash_seed. Stable: stored schedules depend on it. */
uint64_t cron_hash(const void *bytes, size_t size_bytes);

/* ---- In words ---- */

/* Appends an English sentence without a full stop: "At 02:30, on Monday to Friday". */
void cron_describe(const struct cron *cron, struct text *out);

/* What daylight saving does to a schedule at one change of the clock. */
enum cron_shift_kind {
    CRON_SHIFT_MOVED,   /* local times do not exist; due after the gap instead */
    CRON_SHIFT_SKIPPED, /* local times do not exist; not due */
    CRON_SHIFT_FIRST,   /* local times come twice; due the first time */
    CRON_SHIFT_LAST,    /* … the second time */
    CRON_SHIFT_BOTH,    /* … both times */
};
struct cron_shift {
    enum cron_shift_kind kind;
    int64_t local_seconds; /* the first local time concerned (see clock/zone.h) */
    uint64_t local_count;  /* how many local times of the schedule are */
    int32_t offset_before; /* seconds east, before the change and after it */
    int32_t offset_after;
    struct wall_time change; /* the instant of the change */
    struct wall_time slot;   /* MOVED, FIRST, LAST, BOTH: when the first of them is due */
};

/* Fills up to `most` shifts in (after, until], in order, and returns how many there are in all.
 * None for what follows elapsed time through every hour; what does so in some hours only has
 * SKIPPED and BOTH. */
size_t cron_shifts(const struct cron *cron, const struct zone *zone, struct wall_time after,
                   struct wall_time until, struct cron_shift *out_shifts, size_t most);

/* Appends the shift in English: "02:30 does not exist on 2027-03-14: due at 03:00 instead". */
void cron_shift_describe(const struct cron_shift *shift, struct text *out);

/* How an instant came to be a slot, or not, for whoever asks why. */
enum cron_decision_kind {
    CRON_DECISION_NO_SLOT, /* the expression does not match it */
    CRON_DECISION_MATCH,   /* it does, and daylight saving has no part in it */
    CRON_DECISION_MOVED,   /* due for local times that the gap just before it swallowed */
    CRON_DECISION_FIRST,   /* the local time comes twice; this is the first, and is due */
    CRON_DECISION_LAST,    /* … the last, and is due */
    CRON_DECISION_REPEAT,  /* … the other one, which is not due */
};
struct cron_decision {
    enum cron_decision_kind kind;
    int32_t offset_seconds;    /* the zone's, at the instant */
    int64_t local_seconds;     /* the wall clock at the instant */
    int64_t missing_local;     /* MOVED: the first local time that was missing */
    struct wall_time previous; /* the slots around it; WALL_TIME_NONE if there is none */
    struct wall_time next;
};
struct cron_decision cron_decide(const struct cron *cron, const struct zone *zone,
                                 struct wall_time at);

/* Appends the decision in English. */
void cron_decision_describe(const struct cron_decision *decision, struct text *out);

#endif
