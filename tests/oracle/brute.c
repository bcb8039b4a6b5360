/* An independent judge of the cron engine: a walk over every minute (or second) of a stretch of
 * time, on which the C library says what the wall clock shows. Nothing here knows of spans, bit
 * sets or calendar formulas: random expressions are made as lists of entries, printed as text for
 * the engine, and matched entry by entry against the fields of struct tm.
 *
 * usage: brute [--seconds N] [--seed N] [--zone NAME] [--years N]
 *
 * Stretches are a week by the second, or --years (2) by the minute.
 *
 * Every pattern is compared in five ways: slots in a row forward (cron_next) and backward
 * (cron_previous), single instants (cron_matches), counts between instants (cron_count), and the
 * n-th slot. Half of the instants are near a change of the clock, and half of the hours that
 * expressions name are. */
#include "cron/cron.h"

#include "zone_names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

/* ---- Randomness from a seed ---- */

static uint64_t random_state;

static uint64_t random_next(void) {
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
static int pick(int least, int most) {
    return least + (int)(random_next() % (uint64_t)(most - least + 1));
}
static bool chance(int percent) { return pick(1, 100) <= percent; }

/* ---- Expressions as lists of entries ---- */

enum entry_kind { RANGE, LAST_DAY, NEAREST, LAST_WORKDAY, NTH, NTH_LAST };
struct entry {
    enum entry_kind kind;
    int from, to, step, nth;
};
struct field {
    int count;
    struct entry entries[4];
    bool star_first;  /* the first entry is a bare '*' */
    bool star_begins; /* the first character is '*' */
    char text[160];
};
struct expression {
    struct field second, minute, hour, day, month, weekday, year;
    bool both_days;
    enum dst_missing missing;
    enum dst_repeated repeated;
    char text[1200];
};

static const char *const months[] = {"JAN", "feb", "Mar", "APR", "may", "Jun",
                                     "JUL", "aug", "Sep", "OCT", "nov", "Dec"};
static const char *const weekdays[] = {"SUN", "mon", "Tue", "WED", "thu", "Fri", "SAT"};

static void print_value(char *out, int value, int least, int most) {
    if (most == 12 && chance(30)) {
        strcat(out, months[value - 1]);
    } else if (most == 7 && value < 7 && chance(30)) {
        strcat(out, weekdays[value]);
    } else {
        sprintf(out + strlen(out), chance(10) ? "%02d" : "%d", value);
    }
    (void)least;
}

static struct entry add_entry(struct field *field, int least, int most, int narrow) {
    struct entry entry = {RANGE, least, most, 1, 0};
    char *out = field->text;
    if (field->count > 0) {
        strcat(out, ",");
    }
    int form = pick(0, 99);
    if (form < narrow) { /* a single value */
        entry.from = entry.to = pick(least, most);
        print_value(out, entry.from, least, most);
    } else if (form < narrow + (100 - narrow) / 2) {
        entry.from = pick(least, most);
        entry.to = pick(entry.from, most);
        print_value(out, entry.from, least, most);
        strcat(out, "-");
        /* SUN as the end of a range means 7: only print numbers there */
        sprintf(out + strlen(out), "%d", entry.to);
        if (chance(40)) {
            entry.step = pick(1, (most - least) / 2 + 2);
            sprintf(out + strlen(out), "/%d", entry.step);
        }
    } else {
        strcat(out, "*");
        field->star_begins |= field->count == 0;
        if (chance(60)) {
            entry.step = pick(1, (most - least) / 2 + 2);
            sprintf(out + strlen(out), "/%d", entry.step);
        } else {
            field->star_first |= field->count == 0;
        }
    }
    field->entries[field->count++] = entry;
    return entry;
}

static void make_field(struct field *field, int least, int most, int star, int narrow) {
    *field = (struct field){0};
    if (chance(star)) {
        field->star_first = field->star_begins = true;
        field->entries[field->count++] = (struct entry){RANGE, least, most, 1, 0};
        strcpy(field->text, "*");
        return;
    }
    do {
        add_entry(field, least, most, narrow);
    } while (field->count < 3 && chance(35));
}

static void make_day_field(struct field *field) {
    make_field(field, 1, 31, 45, 60);
    if (chance(80)) {
        return;
    }
    *field = (struct field){.count = 1};
    switch (pick(0, 3)) {
    case 0:
        field->entries[0].kind = NEAREST;
        field->entries[0].from = chance(50) ? pick(1, 31) : chance(50) ? 1 : pick(28, 31);
        sprintf(field->text, "%dW", field->entries[0].from);
        break;
    case 1:
        field->entries[0].kind = LAST_WORKDAY;
        strcpy(field->text, "LW");
        break;
    default:
        field->entries[0].kind = LAST_DAY;
        strcpy(field->text, "L");
        if (chance(40)) {
            add_entry(field, 1, 31, 100);
        }
    }
}

static void make_weekday_field(struct field *field) {
    make_field(field, 0, 7, 45, 60);
    if (chance(80)) {
        return;
    }
    *field = (struct field){0};
    do {
        struct entry *entry = &field->entries[field->count];
        strcat(field->text, field->count++ > 0 ? "," : "");
        entry->kind = chance(30) ? NTH_LAST : NTH;
        entry->from = pick(0, 7);
        entry->nth = pick(1, 5);
        print_value(field->text, entry->from, 0, 7);
        if (entry->kind == NTH) {
            sprintf(field->text + strlen(field->text), "#%d", entry->nth);
        } else {
            strcat(field->text, chance(50) ? "L" : "#L");
        }
    } while (field->count < 3 && chance(30));
}

/* An hour, or a range of hours, around the one in which the clock is changed. */
static void make_hour_near(struct field *field, int hour) {
    *field = (struct field){.count = 1};
    struct entry *entry = &field->entries[0];
    entry->from = (hour + pick(-2, 3) + 24) % 24;
    entry->to = chance(50) ? entry->from : pick(entry->from, 23);
    entry->step = chance(60) ? 1 : pick(1, 3);
    if (entry->from == entry->to) {
        sprintf(field->text, "%d", entry->from);
    } else {
        sprintf(field->text, "%d-%d/%d", entry->from, entry->to, entry->step);
    }
}

static void make_expression(struct expression *e, int unit, int year, int hour_of_change) {
    make_field(&e->minute, 0, 59, 25, 70);
    make_field(&e->hour, 0, 23, 25, 60);
    if (chance(50)) {
        make_hour_near(&e->hour, hour_of_change);
    }
    make_day_field(&e->day);
    make_field(&e->month, 1, 12, 70, 60);
    make_weekday_field(&e->weekday);
    if (chance(40)) { /* every day, so that the day of the change is one */
        make_field(&e->day, 1, 31, 100, 0);
        make_field(&e->month, 1, 12, 100, 0);
        make_field(&e->weekday, 0, 7, 100, 0);
    }
    e->both_days = chance(25);
    bool has_seconds = unit == 1 || chance(15);
    bool has_year = has_seconds && chance(20);
    if (unit == 1) {
        make_field(&e->second, 0, 59, 10, 70);
    } else {
        e->second = (struct field){.count = 1, .entries = {{RANGE, 0, 0, 1, 0}}, .text = "0"};
    }
    e->year = (struct field){.count = 1, .entries = {{RANGE, 1970, 2199, 1, 0}}, .text = "*"};
    if (has_year && chance(70)) {
        int from = year - pick(0, 3);
        int to = year + pick(0, 3);
        from = MAX_OF(from, 1970);
        to = MIN_OF(to, 2199);
        e->year.entries[0] = (struct entry){RANGE, from, to, pick(1, 3), 0};
        sprintf(e->year.text, "%d-%d/%d", from, to, e->year.entries[0].step);
    }
    const char *blank = chance(20) ? " \t " : " ";
    snprintf(e->text, sizeof e->text, "%s%s%s%s%s%s%s%s%s%s%s%s%s%s",
             has_seconds ? e->second.text : "", has_seconds ? blank : "", e->minute.text, blank,
             e->hour.text, blank, e->day.text, blank, e->month.text, blank, e->both_days ? "+" : "",
             e->weekday.text, has_year ? blank : "", has_year ? e->year.text : "");
    e->missing = chance(60) ? DST_MISSING_SHIFT : DST_MISSING_SKIP;
    e->repeated = chance(40)   ? DST_REPEATED_FIRST
                  : chance(50) ? DST_REPEATED_LAST
                               : DST_REPEATED_BOTH;
}

/* ---- Matching, by the words of the specification ---- */

static int days_in_month(int year, int month) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return lengths[month - 1] + (month == 2 && leap);
}

static bool is_workday(int weekday) { return weekday >= 1 && weekday <= 5; }

/* The working day of the month that is nearest to the target. */
static int nearest_workday(int target, int length, int day, int weekday) {
    int best = 0;
    for (int d = 1; d <= length; d++) {
        int w = ((weekday + d - day) % 7 + 7) % 7;
        if (is_workday(w) && (best == 0 || abs(d - target) < abs(best - target))) {
            best = d;
        }
    }
    return best;
}

static bool entry_matches(const struct entry *entry, int value, const struct tm *tm) {
    int length = days_in_month(tm->tm_year + 1900, tm->tm_mon + 1);
    switch (entry->kind) {
    case RANGE:
        return value >= entry->from && value <= entry->to &&
               (value - entry->from) % entry->step == 0;
    case LAST_DAY:
        return tm->tm_mday == length;
    case NEAREST:
        return entry->from <= length &&
               tm->tm_mday == nearest_workday(entry->from, length, tm->tm_mday, tm->tm_wday);
    case LAST_WORKDAY:
        return tm->tm_mday == nearest_workday(length + 7, length, tm->tm_mday, tm->tm_wday);
    case NTH:
        return value == entry->from % 7 && (tm->tm_mday + 6) / 7 == entry->nth;
    case NTH_LAST:
        return value == entry->from % 7 && tm->tm_mday + 7 > length;
    }
    return false;
}

static bool field_matches(const struct field *field, int value, const struct tm *tm) {
    for (int i = 0; i < field->count; i++) {
        if (entry_matches(&field->entries[i], value, tm)) {
            return true;
        }
    }
    return false;
}

static bool date_matches(const struct expression *e, const struct tm *tm) {
    if (!field_matches(&e->month, tm->tm_mon + 1, tm) ||
        !field_matches(&e->year, tm->tm_year + 1900, tm)) {
        return false;
    }
    bool day = field_matches(&e->day, tm->tm_mday, tm);
    bool weekday = field_matches(&e->weekday, tm->tm_wday, tm) ||
                   (tm->tm_wday == 0 && field_matches(&e->weekday, 7, tm));
    bool or_rule = !e->both_days && !e->day.star_first && !e->weekday.star_first;
    return or_rule ? day || weekday : day && weekday;
}

/* ---- The stretch of time ---- */

struct shown { /* what the wall clock shows */
    int8_t second, minute, hour;
    int32_t day; /* local day number */
};
struct stretch {
    int64_t start; /* seconds since the epoch */
    int unit;      /* seconds of a step */
    int count;
    int64_t *local; /* of each step, in units */
    int64_t local_least;
    int local_count;
    int *first, *last; /* of each local unit: the first and last step that shows it, or -1 */
    int *gap_end;      /* of each that is missing: the step after the gap */
    int64_t *gap_size; /* and the gap's seconds */
    int changes[64];   /* the steps after which the wall clock does not just go on */
    int change_count;
};

static int64_t local_of(int64_t at) {
    time_t t = (time_t)at;
    struct tm tm;
    localtime_r(&t, &tm);
    return (int64_t)timegm(&tm);
}

static bool stretch_init(struct stretch *s, int64_t start, int unit, int count) {
    *s = (struct stretch){.start = start, .unit = unit, .count = count};
    s->local = malloc(sizeof *s->local * (size_t)count);
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int i = 0; i < count; i++) {
        int64_t local = local_of(start + (int64_t)i * unit);
        if (local % unit != 0) {
            free(s->local);
            return false; /* an offset with seconds: only walked in seconds */
        }
        s->local[i] = local / unit;
        least = MIN_OF(least, s->local[i]);
        most = MAX_OF(most, s->local[i]);
    }
    s->local_least = least;
    s->local_count = (int)(most - least + 1);
    s->first = malloc(sizeof(int) * (size_t)s->local_count);
    s->last = malloc(sizeof(int) * (size_t)s->local_count);
    s->gap_end = malloc(sizeof(int) * (size_t)s->local_count);
    s->gap_size = malloc(sizeof(int64_t) * (size_t)s->local_count);
    for (int i = 0; i < s->local_count; i++) {
        s->first[i] = s->last[i] = s->gap_end[i] = -1;
    }
    for (int i = 0; i < count; i++) {
        int64_t at = s->local[i] - least;
        if (s->first[at] < 0) {
            s->first[at] = i;
        }
        s->last[at] = i;
        if (i > 0 && s->local[i] != s->local[i - 1] + 1 && s->change_count < 64) {
            s->changes[s->change_count++] = i;
        }
        if (i > 0 && s->local[i] > s->local[i - 1] + 1) {
            for (int64_t l = s->local[i - 1] + 1; l < s->local[i]; l++) {
                s->gap_end[l - least] = i;
                s->gap_size[l - least] = (s->local[i] - s->local[i - 1] - 1) * unit;
            }
        }
    }
    return true;
}

static void stretch_fini(struct stretch *s) {
    free(s->local);
    free(s->first);
    free(s->last);
    free(s->gap_end);
    free(s->gap_size);
}

/* Marks every step that is a slot. */
static void mark_slots(const struct stretch *s, const struct expression *e, bool *slots) {
    bool seconds[60], minutes[60], hours[24];
    struct tm none = {.tm_mday = 1};
    for (int i = 0; i < 60; i++) {
        seconds[i] = field_matches(&e->second, i, &none);
        minutes[i] = field_matches(&e->minute, i, &none);
    }
    for (int i = 0; i < 24; i++) {
        hours[i] = field_matches(&e->hour, i, &none);
    }
    bool elapsed = e->minute.star_begins || e->hour.star_begins;
    memset(slots, 0, sizeof(bool) * (size_t)s->count);
    int64_t date_day = INT64_MIN;
    bool date_good = false;
    for (int i = 0; i < s->local_count; i++) {
        int64_t local = (s->local_least + i) * s->unit;
        int64_t day = local / 86400;
        int in_day = (int)(local - day * 86400);
        if (day != date_day) {
            time_t t = (time_t)(day * 86400);
            struct tm tm;
            gmtime_r(&t, &tm);
            date_good = date_matches(e, &tm);
            date_day = day;
        }
        if (!date_good || !hours[in_day / 3600] || !minutes[in_day / 60 % 60] ||
            !seconds[in_day % 60]) {
            continue;
        }
        if (elapsed) {
            for (int k = s->first[i]; k >= 0 && k <= s->last[i]; k++) {
                slots[k] |= s->local[k] == s->local_least + i;
            }
        } else if (s->first[i] >= 0) {
            slots[s->first[i]] |= e->repeated != DST_REPEATED_LAST;
            slots[s->last[i]] |= e->repeated != DST_REPEATED_FIRST;
        } else if (s->gap_end[i] >= 0 && e->missing == DST_MISSING_SHIFT &&
                   s->gap_size[i] <= DST_LONGEST_GAP_SECONDS) {
            slots[s->gap_end[i]] = true;
        }
    }
}

/* ---- Comparing ---- */

static uint64_t compared;
static const char *current_zone;

static struct wall_time at_step(const struct stretch *s, int step) {
    return wall_time_from_seconds(s->start + (int64_t)step * s->unit);
}

static bool complain(const struct stretch *s, const struct expression *e, const char *what,
                     int step, int64_t expected, int64_t found) {
    char text[RFC3339_BYTES];
    wall_time_format(at_step(s, step), text);
    printf("DIFFERENCE %s: '%s' %s %s in %s, at %s: expected %" PRId64 ", found %" PRId64 "\n",
           what, e->text, dst_missing_name(e->missing), dst_repeated_name(e->repeated),
           current_zone, text, expected, found);
    return false;
}

/* What is known of one pattern on the stretch. */
struct truth {
    const bool *slots;
    int *next;       /* of each step: the first slot from it on, or the stretch's end */
    int *previous;   /* … the last slot up to it, or -1 */
    uint32_t *count; /* … the slots up to it */
    int from, to;    /* steps in between are judged: what the ends show may come again outside */
};

static void truth_fill(struct truth *truth, const struct stretch *s) {
    int next = s->count;
    for (int i = s->count - 1; i >= 0; i--) {
        next = truth->slots[i] ? i : next;
        truth->next[i] = next;
    }
    int previous = -1;
    uint32_t count = 0;
    for (int i = 0; i < s->count; i++) {
        previous = truth->slots[i] ? i : previous;
        truth->previous[i] = previous;
        count += truth->slots[i];
        truth->count[i] = count;
    }
}

/* A step to ask about: anywhere, or within some hours of a change of the clock. */
static int pick_step(const struct stretch *s, const struct truth *truth) {
    int step = pick(truth->from, truth->to - 1);
    if (s->change_count > 0 && chance(60)) {
        int reach = (chance(70) ? 3 : 30) * 3600 / s->unit;
        step = s->changes[pick(0, s->change_count - 1)] + pick(-reach, reach);
    }
    step = MAX_OF(step, truth->from);
    return MIN_OF(step, truth->to - 1);
}

/* Slots in a row from a step on. */
static bool compare_forward(const struct stretch *s, const struct expression *e,
                            const struct cron *cron, const struct zone *zone,
                            const struct truth *truth, int step, int most) {
    struct error err;
    struct wall_time slot = at_step(s, step);
    for (int i = 0; i < most && step + 1 < truth->to; i++) {
        int expected = truth->next[step + 1];
        bool found = cron_next(cron, zone, slot, &slot, &err) && slot.us < at_step(s, truth->to).us;
        compared++;
        if (found != (expected < truth->to) || (found && slot.us != at_step(s, expected).us)) {
            return complain(s, e, "next", step, at_step(s, expected).us, found ? slot.us : -1);
        }
        step = expected;
    }
    return true;
}

static bool compare_backward(const struct stretch *s, const struct expression *e,
                             const struct cron *cron, const struct zone *zone,
                             const struct truth *truth, int step, int most) {
    struct error err;
    struct wall_time slot = at_step(s, step);
    for (int i = 0; i < most && step - 1 > truth->from; i++) {
        int expected = truth->previous[step - 1];
        bool found =
            cron_previous(cron, zone, slot, &slot, &err) && slot.us > at_step(s, truth->from).us;
        compared++;
        if (found != (expected > truth->from) || (found && slot.us != at_step(s, expected).us)) {
            return complain(s, e, "previous", step, at_step(s, expected).us, found ? slot.us : -1);
        }
        step = expected;
    }
    return true;
}

static bool compare_counts(const struct stretch *s, const struct expression *e,
                           const struct cron *cron, const struct zone *zone,
                           const struct truth *truth) {
    int a = pick_step(s, truth);
    int b = pick_step(s, truth);
    int low = MIN_OF(a, b);
    int high = MAX_OF(a, b);
    uint64_t count = truth->count[high] - truth->count[low];
    uint64_t found = cron_count(cron, zone, at_step(s, low), at_step(s, high));
    compared++;
    if (found != count) {
        return complain(s, e, "count", low, (int64_t)count, (int64_t)found);
    }
    if (count > 0 && chance(20)) {
        struct error err;
        struct wall_time slot = {0};
        int nth = truth->previous[high];
        compared++;
        if (!cron_nth(cron, zone, at_step(s, low), count, &slot, &err) ||
            slot.us != at_step(s, nth).us) {
            return complain(s, e, "nth", low, at_step(s, nth).us, slot.us);
        }
    }
    return true;
}

static bool compare(const struct stretch *s, const struct expression *e, const struct cron *cron,
                    const struct zone *zone, const struct truth *truth) {
    if (!compare_forward(s, e, cron, zone, truth, truth->from, 3000) ||
        !compare_backward(s, e, cron, zone, truth, truth->to, 3000)) {
        return false;
    }
    for (int i = 0; i < 100; i++) {
        int step = pick_step(s, truth);
        compared++;
        if (cron_matches(cron, zone, at_step(s, step)) != truth->slots[step]) {
            return complain(s, e, "matches", step, truth->slots[step], !truth->slots[step]);
        }
        if (!compare_forward(s, e, cron, zone, truth, step, 5) ||
            !compare_backward(s, e, cron, zone, truth, step, 5) ||
            !compare_counts(s, e, cron, zone, truth)) {
            return false;
        }
    }
    return true;
}

/* An instant near one at which the zone's clock is changed, if there is one within ten years. */
static int64_t near_change(int64_t from) {
    int64_t offset = local_of(from) - from;
    for (int day = 1; day < 3660; day++) {
        int64_t at = from + day * INT64_C(86400);
        if (local_of(at) - at != offset) {
            return at;
        }
    }
    return from;
}

/* One random pattern; 1 if there is a difference. */
static int run_pattern(const struct stretch *s, const struct zone *zone, int year, bool *slots,
                       struct truth *truth) {
    struct expression e;
    struct cron cron;
    struct error err;
    int change = s->change_count == 0 ? 0 : s->changes[pick(0, s->change_count - 1)];
    make_expression(&e, s->unit, year, (int)(s->local[change] * s->unit % 86400 / 3600));
    struct cron_options options = {0, e.missing, e.repeated};
    mark_slots(s, &e, slots);
    if (!cron_parse(e.text, &options, &cron, &err)) {
        if (err.kind == ERROR_NEVER_FIRES && memchr(slots, 1, (size_t)s->count) == NULL) {
            return 0;
        }
        printf("DIFFERENCE parse: '%s': %s\n", e.text, err.message);
        return 1;
    }
    truth_fill(truth, s);
    return compare(s, &e, &cron, zone, truth) ? 0 : 1;
}

static int run_stretch(const char *name, int patterns, int years) {
    struct error err;
    const struct zone *zone;
    current_zone = name;
    if (!zone_open(name, &zone, &err)) {
        printf("DIFFERENCE zone %s: %s\n", name, err.message);
        return 1;
    }
    setenv("TZ", name, 1);
    tzset();
    int unit = chance(50) ? 1 : 60;
    int year = unit == 1 ? pick(1970, 2197) : pick(1973, 2198 - years);
    if (chance(60)) {
        year = pick(1973, 2037);
    }
    year = MIN_OF(year, 2198 - years);
    int64_t start = (year - 1970) * INT64_C(31556952) / 60 * 60 + INT64_C(86400) * 3;
    struct stretch s;
    int count = unit == 1 ? 86400 * 7 : 1440 * 366 * years;
    if (unit == 1) {
        start = near_change(start) - 86400 * 4 / 60 * 60;
    }
    int failures = 0;
    if (stretch_init(&s, start, unit, count)) {
        bool *slots = malloc((size_t)count);
        struct truth truth = {.slots = slots,
                              .next = malloc(sizeof(int) * (size_t)count),
                              .previous = malloc(sizeof(int) * (size_t)count),
                              .count = malloc(sizeof(uint32_t) * (size_t)count),
                              .from = 2 * 86400 / unit,
                              .to = count - 2 * 86400 / unit};
        for (int i = 0; i < patterns; i++) {
            failures += run_pattern(&s, zone, year, slots, &truth);
        }
        free(slots);
        free(truth.next);
        free(truth.previous);
        free(truth.count);
        stretch_fini(&s);
    }
    zone_unref(zone);
    return failures;
}

/* Zones in which something odd happens; every third stretch is in one of these. */
static const char *const odd_zones[] = {
    "Africa/Cairo",     "Africa/Casablanca", "Africa/Monrovia",   "America/Caracas",
    "America/Havana",   "America/Nuuk",      "America/Santiago",  "America/St_Johns",
    "Antarctica/Casey", "Antarctica/Troll",  "Antarctica/Vostok", "Asia/Beirut",
    "Asia/Gaza",        "Asia/Pyongyang",    "Asia/Tehran",       "Australia/Lord_Howe",
    "Europe/Dublin",    "Pacific/Apia",      "Pacific/Kwajalein", "Pacific/Kiritimati",
};

int main(int argument_count, char **arguments) {
    int seconds = 3;
    int years = 2;
    const char *only = NULL;
    random_state = 1;
    for (int i = 1; i + 1 < argument_count; i += 2) {
        if (strcmp(arguments[i], "--seconds") == 0) {
            seconds = atoi(arguments[i + 1]);
        } else if (strcmp(arguments[i], "--seed") == 0) {
            random_state = strtoull(arguments[i + 1], NULL, 10);
        } else if (strcmp(arguments[i], "--years") == 0) {
            years = atoi(arguments[i + 1]);
        } else if (strcmp(arguments[i], "--zone") == 0) {
            only = arguments[i + 1];
        }
    }
    size_t zone_count = read_zone_names();
    if (zone_count == 0) {
        fprintf(stderr, "no zones\n");
        return 1;
    }
    int failures = 0;
    uint64_t stretches = 0;
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        const char *name = only != NULL ? only
                           : chance(33) ? odd_zones[random_next() % COUNT_OF(odd_zones)]
                                        : zone_names[random_next() % zone_count];
        failures += run_stretch(name, 40, years);
        stretches++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < seconds && failures < 20);
    printf("brute force: %" PRIu64 " stretches, %" PRIu64 " comparisons, %d differences\n",
           stretches, compared, failures);
    return failures == 0 ? 0 : 1;
}
