/* From matching local times (pattern.h) to slots.
 *
 * A zone's time line is cut into spans of one offset. Three rules choose which pairs of span and
 * matching local time are slots:
 *
 *   every    each time that the wall clock shows it: what follows elapsed time
 *   first    only the first time that the wall clock shows it
 *   last     only the last time
 *
 * and under each a local time that the clock never shows, in a gap, may be made up for at the gap's
 * end. Under `first` (and `last`) local times and their instants are in the same order, so the next
 * slot is that of the next matching local time. `every` is the union of the two. */
#include "cron/cron.h"

#include "cron/pattern.h"

#include <string.h>

_Static_assert(sizeof(struct cron) == 64, "a compiled schedule is one cache line");

/* All slots lie in between: 1970 and 2200 in any zone. */
#define EARLIEST_SECONDS (-INT64_C(2) * 86400)
#define LATEST_SECONDS (PATTERN_END + INT64_C(2) * 86400)
#define LATEST_US (PATTERN_END * US_PER_SECOND)

/* From so many on, changes of the clock are counted by the type of the year. */
enum { MANY_CHANGES = 40 };

#define NO_SLOT INT64_MAX
#define NO_SLOT_BEFORE INT64_MIN

/* Whether what the clock jumps over after this span is due at the first instant of the next. */
static bool gap_is_made_up(const struct cron *cron, const struct zone_span *span) {
    return cron->dst_missing == DST_MISSING_SHIFT &&
           span[1].offset_seconds - span->offset_seconds <= DST_LONGEST_GAP_SECONDS;
}

/* A fixed time may lie in a gap that is not made up for on all its days ("30 2 * 3 SUN#L" in
 * Berlin): then hundreds of years would be searched in vain. But the changes of the clock in a year
 * depend on its type, so when one whole year was in vain, all of its type will be. */
struct vain_search {
    int32_t year;     /* of the last match in a gap; 0 before the first */
    bool is_whole;    /* the search of that year began at its end */
    struct cron cron; /* without the years that are in vain; set when the first is found */
};

/* The schedule is left unset: it is seldom needed, and this is done for every search. */
static void vain_search_init(struct vain_search *search) {
    search->year = 0;
    search->is_whole = false;
}

/* Notes that the match at `local` lies in a gap and is no slot. The schedule to go on with. */
static const struct cron *note_in_vain(struct vain_search *search, const struct cron *cron,
                                       const struct zone *zone, int64_t local) {
    int32_t year = pattern_year_of(local);
    int32_t before = search->year;
    if (year == before) {
        return cron;
    }
    bool was_whole = search->is_whole;
    search->is_whole = before != 0;
    search->year = year;
    if (!was_whole || before < zone_periodic_year(zone)) {
        return cron;
    }
    if (cron != &search->cron) {
        search->cron = *cron;
    }
    pattern_drop_years_like(&search->cron, before, zone_periodic_year(zone));
    return &search->cron;
}

/* The first slot after `after` (seconds) by the rule `first`; NO_SLOT if there is none. `span` is
 * that of `after`. */
static int64_t next_of_first(const struct cron *cron, const struct zone *zone,
                             const struct zone_span *span, int64_t after) {
    int64_t local = MAX_OF(after + span->offset_seconds + 1, span->first_from);
    struct vain_search search;
    vain_search_init(&search);
    for (;;) {
        local = pattern_next(cron, local);
        if (local == PATTERN_NONE) {
            return NO_SLOT;
        }
        if (local >= zone_span_local_end(span)) {
            span = zone_span_of_first(zone, local);
        }
        if (local < zone_span_local_end(span)) {
            return local - span->offset_seconds;
        }
        if (gap_is_made_up(cron, span)) {
            return span[1].start;
        }
        cron = note_in_vain(&search, cron, zone, local);
        span++;
        local = span->first_from;
    }
}

/* The same by the rule `last`. */
static int64_t next_of_last(const struct cron *cron, const struct zone *zone,
                            const struct zone_span *span, int64_t after) {
    /* When the clock is about to be set back over this local time, those since are yet to come. */
    int64_t local = MIN_OF(after + span->offset_seconds + 1, span->last_until);
    struct vain_search search;
    vain_search_init(&search);
    for (;;) {
        local = pattern_next(cron, local);
        if (local == PATTERN_NONE) {
            return NO_SLOT;
        }
        span = zone_span_of_last(zone, local);
        if (local >= zone_span_local_start(span)) {
            return local - span->offset_seconds;
        }
        if (gap_is_made_up(cron, span - 1)) {
            return span->start;
        }
        cron = note_in_vain(&search, cron, zone, local);
        local = MIN_OF(zone_span_local_start(span), span->last_until);
    }
}

/* The last slot up to and including `until` (seconds); NO_SLOT_BEFORE if there is none. */
static int64_t previous_of_first(const struct cron *cron, const struct zone *zone,
                                 const struct zone_span *span, int64_t until) {
    int64_t local = until + span->offset_seconds;
    if (local < span->first_from) { /* the clock was set back: what it shows has been shown */
        local = span->first_from - 1;
    }
    struct vain_search search;
    vain_search_init(&search);
    for (;;) {
        local = pattern_previous(cron, local);
        if (local == PATTERN_NONE) {
            return NO_SLOT_BEFORE;
        }
        span = zone_span_of_first(zone, local);
        if (local < zone_span_local_end(span)) {
            return local - span->offset_seconds;
        }
        if (gap_is_made_up(cron, span)) {
            return span[1].start;
        }
        cron = note_in_vain(&search, cron, zone, local);
        local = MAX_OF(span->first_from, zone_span_local_end(span)) - 1;
    }
}

static int64_t previous_of_last(const struct cron *cron, const struct zone *zone,
                                const struct zone_span *span, int64_t until) {
    int64_t local = MIN_OF(until + span->offset_seconds, span->last_until - 1);
    struct vain_search search;
    vain_search_init(&search);
    for (;;) {
        local = pattern_previous(cron, local);
        if (local == PATTERN_NONE) {
            return NO_SLOT_BEFORE;
        }
        span = zone_span_of_last(zone, local);
        if (local >= zone_span_local_start(span)) {
            return local - span->offset_seconds;
        }
        if (gap_is_made_up(cron, span - 1)) {
            return span->start;
        }
        cron = note_in_vain(&search, cron, zone, local);
        local = span[-1].last_until - 1;
    }
}

/* The next slot of a schedule of fields, after a whole second. */
static int64_t next_seconds(const struct cron *cron, const struct zone *zone, int64_t after) {
    after = MAX_OF(after, EARLIEST_SECONDS);
    if (after > LATEST_SECONDS) {
        return NO_SLOT;
    }
    const struct zone_span *span = zone_span_at(zone, after);
    switch ((enum dst_repeated)cron->dst_repeated) {
    case DST_REPEATED_FIRST:
        return next_of_first(cron, zone, span, after);
    case DST_REPEATED_LAST:
        return next_of_last(cron, zone, span, after);
    case DST_REPEATED_BOTH:
        break;
    }
    /* Within the span every match is a slot. */
    int64_t local = pattern_next(cron, after + span->offset_seconds + 1);
    if (local != PATTERN_NONE && local < zone_span_local_end(span)) {
        return local - span->offset_seconds;
    }
    int64_t first = next_of_first(cron, zone, span, after);
    int64_t last = next_of_last(cron, zone, span, after);
    return MIN_OF(first, last);
}

/* The last slot up to and including a whole second. */
static int64_t previous_seconds(const struct cron *cron, const struct zone *zone, int64_t until) {
    until = MIN_OF(until, LATEST_SECONDS);
    if (until < EARLIEST_SECONDS) {
        return NO_SLOT_BEFORE;
    }
    const struct zone_span *span = zone_span_at(zone, until);
    switch ((enum dst_repeated)cron->dst_repeated) {
    case DST_REPEATED_FIRST:
        return previous_of_first(cron, zone, span, until);
    case DST_REPEATED_LAST:
        return previous_of_last(cron, zone, span, until);
    case DST_REPEATED_BOTH:
        break;
    }
    int64_t first = previous_of_first(cron, zone, span, until);
    int64_t last = previous_of_last(cron, zone, span, until);
    return MAX_OF(first, last);
}

/* ---- "@at" and "@every" ---- */

/* The one or two instants of an "@at", in order; how many there are. */
static size_t at_slots(const struct cron *cron, const struct zone *zone, int64_t out[static 2]) {
    int64_t local = cron->at_seconds;
    if (cron->kind == CRON_AT_INSTANT) {
        out[0] = local;
        return 1;
    }
    const struct zone_span *first = zone_span_of_first(zone, local);
    if (local >= zone_span_local_end(first)) {
        out[0] = first[1].start;
        return gap_is_made_up(cron, first) ? 1 : 0;
    }
    const struct zone_span *last = zone_span_of_last(zone, local);
    int64_t first_slot = local - first->offset_seconds;
    int64_t last_slot = local - last->offset_seconds;
    out[0] = cron->dst_repeated == DST_REPEATED_LAST ? last_slot : first_slot;
    out[1] = last_slot;
    return cron->dst_repeated == DST_REPEATED_BOTH && first != last ? 2 : 1;
}

static bool at_next_us(const struct cron *cron, const struct zone *zone, int64_t after_us,
                       int64_t *out_us) {
    int64_t slots[2];
    size_t count = at_slots(cron, zone, slots);
    for (size_t i = 0; i < count; i++) {
        if (slots[i] * US_PER_SECOND > after_us) {
            *out_us = slots[i] * US_PER_SECOND;
            return true;
        }
    }
    return false;
}

static bool at_previous_us(const struct cron *cron, const struct zone *zone, int64_t before_us,
                           int64_t *out_us) {
    int64_t slots[2];
    for (size_t i = at_slots(cron, zone, slots); i > 0; i--) {
        if (slots[i - 1] * US_PER_SECOND < before_us) {
            *out_us = slots[i - 1] * US_PER_SECOND;
            return true;
        }
    }
    return false;
}

/* Slots are the multiples of the period since the epoch. */
static bool every_next_us(const struct cron *cron, int64_t after_us, int64_t *out_us) {
    int64_t slot_us = after_us < 0 ? 0 : (after_us / cron->period_us + 1) * cron->period_us;
    *out_us = slot_us;
    return slot_us < LATEST_US;
}

static bool every_previous_us(const struct cron *cron, int64_t before_us, int64_t *out_us) {
    before_us = MIN_OF(before_us, LATEST_US);
    if (before_us <= 0) {
        return false;
    }
    *out_us = (before_us - 1) / cron->period_us * cron->period_us;
    return true;
}

/* ---- The calls ---- */

bool cron_next(const struct cron *cron, const struct zone *zone, struct wall_time after,
               struct wall_time *out_next, struct error *err) {
    int64_t slot_us = 0;
    bool found;
    if (cron->kind == CRON_FIELDS) {
        int64_t slot = next_seconds(cron, zone, wall_time_seconds(after));
        found = slot != NO_SLOT;
        slot_us = found ? slot * US_PER_SECOND : 0;
    } else if (cron->kind == CRON_EVERY) {
        found = after.us < LATEST_US && every_next_us(cron, after.us, &slot_us);
    } else {
        found = at_next_us(cron, zone, after.us, &slot_us);
    }
    if (!found) {
        return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                               "never fires: no time of the schedule is left before the year 2200");
    }
    *out_next = (struct wall_time){slot_us};
    return true;
}

bool cron_previous(const struct cron *cron, const struct zone *zone, struct wall_time before,
                   struct wall_time *out_previous, struct error *err) {
    int64_t slot_us = 0;
    bool found;
    if (cron->kind == CRON_FIELDS) {
        /* The last whole second before: rounded up, minus one. */
        int64_t until = wall_time_seconds(before) - (before.us % US_PER_SECOND == 0);
        int64_t slot = previous_seconds(cron, zone, until);
        found = slot != NO_SLOT_BEFORE;
        slot_us = found ? slot * US_PER_SECOND : 0;
    } else if (cron->kind == CRON_EVERY) {
        found = every_previous_us(cron, before.us, &slot_us);
    } else {
        found = at_previous_us(cron, zone, before.us, &slot_us);
    }
    if (!found) {
        return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                               "never fired: no time of the schedule lies between 1970 and then");
    }
    *out_previous = (struct wall_time){slot_us};
    return true;
}

bool cron_matches(const struct cron *cron, const struct zone *zone, struct wall_time at) {
    if (at.us == INT64_MIN) {
        return false;
    }
    struct wall_time slot = WALL_TIME_NONE;
    struct error ignored;
    return cron_next(cron, zone, (struct wall_time){at.us - 1}, &slot, &ignored) &&
           slot.us == at.us;
}

/* The local times that no slot of the rule is at between a span and the next: [*out_from, *out_to),
 * empty unless the clock is set forward. */
static void gap_after(const struct cron *cron, const struct zone_span *span, int64_t *out_from,
                      int64_t *out_to) {
    if (cron->dst_repeated == DST_REPEATED_LAST) {
        *out_from = span->last_until;
        *out_to = MIN_OF(span[1].last_until, zone_span_local_start(span + 1));
    } else {
        *out_from = MAX_OF(span->first_from, zone_span_local_end(span));
        *out_to = span[1].first_from;
    }
}

/* What the change of the clock after a span adds to the count of matching local times (or takes
 * away). */
static int64_t count_at_change(const struct cron *cron, const struct zone_span *span) {
    int64_t from, to;
    gap_after(cron, span, &from, &to);
    if (from < to) {
        int64_t missing = (int64_t)pattern_count(cron, from, to);
        bool made_up = missing > 0 && gap_is_made_up(cron, span) && !pattern_matches(cron, to);
        return made_up - missing;
    }
    if (cron->dst_repeated == DST_REPEATED_BOTH) {
        return (int64_t)pattern_count(cron, zone_span_local_start(span + 1),
                                      zone_span_local_end(span));
    }
    return 0;
}

static int64_t count_at_changes(const struct cron *cron, const struct zone_span *first,
                                const struct zone_span *last) {
    int64_t count = 0;
    for (const struct zone_span *span = first; span < last; span++) {
        count += count_at_change(cron, span);
    }
    return count;
}

/* The span that a year begins in. */
static const struct zone_span *span_at_new_year(const struct zone *zone, int32_t year) {
    return zone_span_at(zone, pattern_year_start(year));
}

/* The same from span `first` to `last`. Where the zone's changes depend on the type of the year
 * alone, one year of each of the fourteen types is looked at, however many there are. */
static int64_t count_at_all_changes(const struct cron *cron, const struct zone *zone,
                                    const struct zone_span *first, const struct zone_span *last) {
    if (last - first <= MANY_CHANGES) {
        return count_at_changes(cron, first, last);
    }
    int32_t from = MAX_OF(pattern_year_of(MAX_OF(first->start, 0)) + 1, zone_periodic_year(zone));
    int32_t to = pattern_year_of(MAX_OF(last->start, 0));
    if (from >= to) {
        return count_at_changes(cron, first, last);
    }
    int64_t count = count_at_changes(cron, first, span_at_new_year(zone, from)) +
                    count_at_changes(cron, span_at_new_year(zone, to), last);
    for (uint32_t type = 0; type < YEAR_TYPES; type++) {
        int32_t year = 0;
        uint32_t years = pattern_years_of_type(cron, type, from, to, &year);
        if (years != 0) {
            count += years * count_at_changes(cron, span_at_new_year(zone, year),
                                              span_at_new_year(zone, year + 1));
        }
    }
    return count;
}

/* Slots of a schedule of fields with after < slot ≤ until, both whole seconds.
 *
 * The matching local times between the two wall clock readings, minus what is jumped over in
 * between. A gap that is made up for adds one, unless the local time at its end matches anyway.
 * Under `first` and `last` the readings are those up to which local times have had their turn;
 * under `every` what is shown twice is added. */
static uint64_t count_seconds(const struct cron *cron, const struct zone *zone, int64_t after,
                              int64_t until) {
    after = MAX_OF(after, EARLIEST_SECONDS);
    until = MIN_OF(until, LATEST_SECONDS);
    if (after >= until) {
        return 0;
    }
    const struct zone_span *first = zone_span_at(zone, after);
    const struct zone_span *last = zone_span_at(zone, until);
    int64_t from = after + first->offset_seconds + 1;
    int64_t to = until + last->offset_seconds + 1;
    if (cron->dst_repeated == DST_REPEATED_FIRST) {
        from = MAX_OF(from, first->first_from);
        to = MAX_OF(to, last->first_from);
    } else if (cron->dst_repeated == DST_REPEATED_LAST) {
        from = MIN_OF(from, first->last_until);
        to = MIN_OF(to, last->last_until);
    }
    int64_t count = from <= to ? (int64_t)pattern_count(cron, from, to)
                               : -(int64_t)pattern_count(cron, to, from);
    count += count_at_all_changes(cron, zone, first, last);
    return (uint64_t)count;
}

uint64_t cron_count(const struct cron *cron, const struct zone *zone, struct wall_time after,
                    struct wall_time until) {
    if (after.us >= until.us) {
        return 0;
    }
    if (cron->kind == CRON_FIELDS) {
        return count_seconds(cron, zone, wall_time_seconds(after), wall_time_seconds(until));
    }
    if (cron->kind == CRON_EVERY) {
        int64_t last_us = MIN_OF(until.us, LATEST_US - 1);
        int64_t up_to_last = last_us < 0 ? 0 : last_us / cron->period_us + 1;
        int64_t up_to_after = after.us < 0 ? 0 : MIN_OF(after.us, last_us) / cron->period_us + 1;
        return (uint64_t)(up_to_last - up_to_after);
    }
    int64_t slots[2];
    uint64_t count = 0;
    for (size_t i = at_slots(cron, zone, slots); i > 0; i--) {
        int64_t slot_us = slots[i - 1] * US_PER_SECOND;
        count += slot_us > after.us && slot_us <= until.us;
    }
    return count;
}

/* By bisection over the count: some forty of them for any n. */
bool cron_nth(const struct cron *cron, const struct zone *zone, struct wall_time after, uint64_t n,
              struct wall_time *out_slot, struct error *err) {
    ASSERT(n >= 1);
    if (n == 1) {
        return cron_next(cron, zone, after, out_slot, err);
    }
    struct wall_time low = {MAX_OF(after.us, EARLIEST_SECONDS * US_PER_SECOND)};
    struct wall_time high = {LATEST_SECONDS * US_PER_SECOND};
    if (cron_count(cron, zone, after, high) < n) {
        return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                               "never fires: the schedule has fewer than %llu times left before "
                               "the year 2200",
                               (unsigned long long)n);
    }
    while (high.us - low.us > 1) { /* count(low) < n ≤ count(high) */
        struct wall_time middle = {low.us + (high.us - low.us) / 2};
        if (cron_count(cron, zone, after, middle) < n) {
            low = middle;
        } else {
            high = middle;
        }
    }
    *out_slot = high;
    return true;
}

bool cron_equal(const struct cron *a, const struct cron *b) {
    uint64_t words[2][8]; /* every bit of it means something: there is no padding */
    _Static_assert(sizeof *a == sizeof words[0], "nothing else in it");
    memcpy(words[0], a, sizeof words[0]);
    memcpy(words[1], b, sizeof words[1]);
    return memcmp(words[0], words[1], sizeof words[0]) == 0;
}

bool cron_is_once(const struct cron *cron) {
    return cron->kind == CRON_AT_INSTANT || cron->kind == CRON_AT_LOCAL;
}

bool cron_is_elapsed(const struct cron *cron) { return cron->is_elapsed; }

/* ---- Jitter ---- */

/* The finalizer of MurmurHash3 over 64 bits: every bit of the input reaches every bit of the
 * output. */
static uint64_t mix(uint64_t value) {
    value = (value ^ value >> 33) * UINT64_C(0xff51afd7ed558ccd);
    value = (value ^ value >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

uint64_t cron_hash(const void *bytes, size_t size_bytes) {
    const unsigned char *from = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed */
    for (size_t i = 0; i < size_bytes; i++) {
        hash = (hash ^ from[i]) * UINT64_C(0x100000001b3);
    }
    return mix(hash);
}

struct wall_time cron_jitter_apply(const struct cron_jitter *jitter, struct wall_time slot,
                                   struct wall_time next_slot) {
    int64_t width_us = jitter->width.us;
    if (!wall_time_is_none(next_slot)) {
        width_us = MIN_OF(width_us, next_slot.us - slot.us);
    }
    if (width_us <= 0) {
        return slot;
    }
    uint64_t hash = mix(jitter->hash_seed ^ mix((uint64_t)slot.us));
    /* hash / 2^64 of the width: even, and below the width. */
    uint64_t part = (uint64_t)((unsigned __int128)hash * (uint64_t)width_us >> 64);
    return (struct wall_time){slot.us + (int64_t)part};
}
