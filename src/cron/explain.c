/* What daylight saving does to a schedule, and why an instant is a slot. */
#include "cron/cron.h"
#include "cron/pattern.h"

#include "clock/calendar.h"

/* Whether the zone's rules about missing and repeated local times apply at all. */
static bool has_fixed_times(const struct cron *cron) {
    return !cron->is_elapsed && (cron->kind == CRON_FIELDS || cron->kind == CRON_AT_LOCAL);
}

/* Whether a change of the clock can make a day other than its neighbours. What follows elapsed time
 * through all hours of the day just goes on; what is due every two hours loses a slot or has one
 * more. */
static bool feels_changes(const struct cron *cron) {
    return has_fixed_times(cron) || (cron->kind == CRON_FIELDS && cron->hours != 0xffffff);
}

/* How many local times of the schedule are in [from, to), and the first of them. */
static uint64_t local_times(const struct cron *cron, int64_t from, int64_t to, int64_t *out_first) {
    if (cron->kind == CRON_AT_LOCAL) {
        *out_first = cron->at_seconds;
        return cron->at_seconds >= from && cron->at_seconds < to;
    }
    *out_first = pattern_next(cron, from);
    return pattern_count(cron, from, to);
}

/* The change of the clock at the start of `span`. False if it does not concern the schedule. */
static bool shift_at(const struct cron *cron, const struct zone_span *span,
                     struct cron_shift *out) {
    int64_t jump_from = zone_span_local_end(span - 1);
    int64_t jump_to = zone_span_local_start(span);
    int64_t first = 0;
    uint64_t count =
        local_times(cron, MIN_OF(jump_from, jump_to), MAX_OF(jump_from, jump_to), &first);
    if (count == 0) {
        return false;
    }
    struct cron_shift shift = {
        .local_seconds = first,
        .local_count = count,
        .offset_before = span[-1].offset_seconds,
        .offset_after = span->offset_seconds,
        .change = wall_time_from_seconds(span->start),
        .slot = WALL_TIME_NONE,
    };
    if (jump_from < jump_to) {
        bool moved = cron->dst_missing == DST_MISSING_SHIFT &&
                     jump_to - jump_from <= DST_LONGEST_GAP_SECONDS;
        shift.kind = moved ? CRON_SHIFT_MOVED : CRON_SHIFT_SKIPPED;
        shift.slot = moved ? shift.change : WALL_TIME_NONE;
    } else {
        shift.kind = cron->dst_repeated == DST_REPEATED_FIRST  ? CRON_SHIFT_FIRST
                     : cron->dst_repeated == DST_REPEATED_LAST ? CRON_SHIFT_LAST
                                                               : CRON_SHIFT_BOTH;
        int32_t offset = shift.kind == CRON_SHIFT_LAST ? shift.offset_after : shift.offset_before;
        shift.slot = wall_time_from_seconds(first - offset);
    }
    *out = shift;
    return true;
}

size_t cron_shifts(const struct cron *cron, const struct zone *zone, struct wall_time after,
                   struct wall_time until, struct cron_shift *out_shifts, size_t most) {
    size_t count = 0;
    int64_t last = MIN_OF(wall_time_seconds(until), PATTERN_END);
    if (!feels_changes(cron)) {
        return 0;
    }
    const struct zone_span *span = zone_span_at(zone, MAX_OF(wall_time_seconds(after), 0)) + 1;
    for (; span->start <= last; span++) {
        struct cron_shift shift;
        if (shift_at(cron, span, &shift)) {
            if (count < most) {
                out_shifts[count] = shift;
            }
            count++;
        }
    }
    return count;
}

struct cron_decision cron_decide(const struct cron *cron, const struct zone *zone,
                                 struct wall_time at) {
    int64_t seconds = wall_time_seconds(at);
    const struct zone_span *span = zone_span_at(zone, seconds);
    struct cron_decision decision = {
        .kind = CRON_DECISION_NO_SLOT,
        .offset_seconds = zone_offset_at(zone, at),
        .previous = WALL_TIME_NONE,
        .next = WALL_TIME_NONE,
    };
    struct error ignored;
    decision.local_seconds = seconds + decision.offset_seconds;
    (void)!cron_previous(cron, zone, at, &decision.previous, &ignored);
    (void)!cron_next(cron, zone, at, &decision.next, &ignored);
    bool is_slot = cron_matches(cron, zone, at);
    if (!has_fixed_times(cron)) {
        decision.kind = is_slot ? CRON_DECISION_MATCH : CRON_DECISION_NO_SLOT;
        return decision;
    }
    int64_t local = decision.local_seconds;
    int64_t ignored_first;
    bool whole = at.us % US_PER_SECOND == 0;
    bool matches = whole && local_times(cron, local, local + 1, &ignored_first) != 0;
    if (is_slot && !matches) {
        struct cron_shift shift;
        decision.kind = CRON_DECISION_MOVED;
        decision.missing_local = shift_at(cron, span, &shift) ? shift.local_seconds : local;
        return decision;
    }
    if (!matches) {
        return decision;
    }
    bool is_first = local >= span->first_from;
    bool is_last = local < span->last_until;
    if (!is_slot) {
        decision.kind = CRON_DECISION_REPEAT;
    } else if (is_first && is_last) {
        decision.kind = CRON_DECISION_MATCH;
    } else {
        decision.kind = is_first ? CRON_DECISION_FIRST : CRON_DECISION_LAST;
    }
    return decision;
}

/* ---- In English ---- */

/* "02:30", or "02:30:15" where there are seconds. */
static void append_clock(struct text *out, int64_t local) {
    uint32_t second = (uint32_t)(local - floor_divide(local, SECONDS_PER_DAY) * SECONDS_PER_DAY);
    text_printf(out, "%02u:%02u", second / 3600, second / 60 % 60);
    if (second % 60 != 0) {
        text_printf(out, ":%02u", second % 60);
    }
}

static void append_date(struct text *out, int64_t local) {
    struct civil_date date = date_from_days((int32_t)floor_divide(local, SECONDS_PER_DAY));
    text_printf(out, "%04d-%02u-%02u", date.year, date.month, date.day);
}

static void append_offset(struct text *out, int32_t offset) {
    uint32_t size = (uint32_t)(offset < 0 ? -offset : offset);
    text_printf(out, "%c%02u:%02u", offset < 0 ? '-' : '+', size / 3600, size / 60 % 60);
}

void cron_shift_describe(const struct cron_shift *shift, struct text *out) {
    append_clock(out, shift->local_seconds);
    if (shift->local_count > 1) {
        text_printf(out, " and %llu later time%s", (unsigned long long)(shift->local_count - 1),
                    shift->local_count == 2 ? "" : "s");
    }
    bool many = shift->local_count > 1;
    bool is_missing = shift->kind == CRON_SHIFT_MOVED || shift->kind == CRON_SHIFT_SKIPPED;
    text_append(out, is_missing ? (many ? " do not exist on " : " does not exist on ")
                                : (many ? " come twice on " : " comes twice on "));
    append_date(out, shift->local_seconds);
    switch (shift->kind) {
    case CRON_SHIFT_MOVED:
        text_append(out, many ? ": due once, at " : ": due at ");
        append_clock(out, wall_time_seconds(shift->slot) + shift->offset_after);
        text_append(out, " instead");
        break;
    case CRON_SHIFT_SKIPPED:
        text_append(out, ": not due that day");
        break;
    case CRON_SHIFT_FIRST:
    case CRON_SHIFT_LAST:
        text_append(out, shift->kind == CRON_SHIFT_FIRST ? ": due the first time ("
                                                         : ": due the last time (");
        append_offset(out,
                      shift->kind == CRON_SHIFT_FIRST ? shift->offset_before : shift->offset_after);
        text_append(out, ")");
        break;
    case CRON_SHIFT_BOTH:
        text_append(out, ": due both times");
        break;
    }
}

void cron_decision_describe(const struct cron_decision *decision, struct text *out) {
    append_clock(out, decision->local_seconds);
    text_append(out, " on ");
    append_date(out, decision->local_seconds);
    text_append(out, " (");
    append_offset(out, decision->offset_seconds);
    text_append(out, ") ");
    switch (decision->kind) {
    case CRON_DECISION_NO_SLOT:
        text_append(out, "is not a time of the schedule");
        break;
    case CRON_DECISION_MATCH:
        text_append(out, "is a time of the schedule");
        break;
    case CRON_DECISION_MOVED:
        text_append(out, "is the first instant after the clock was set forward over ");
        append_clock(out, decision->missing_local);
        text_append(out, ", which did not exist");
        break;
    case CRON_DECISION_FIRST:
        text_append(out, "comes twice that day; this is the first time, and it counts");
        break;
    case CRON_DECISION_LAST:
        text_append(out, "comes twice that day; this is the last time, and it counts");
        break;
    case CRON_DECISION_REPEAT:
        text_append(out, "comes twice that day; the other time counts, not this one");
        break;
    }
}
