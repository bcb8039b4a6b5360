#include "clock/zone_rule.h"

#include "clock/calendar.h"

#include <string.h>

enum {
    SHORTEST_ABBREVIATION = 3, /* POSIX XBD 8.3 */
    MOST_OFFSET_HOURS = 24,
    MOST_RULE_HOURS = 167, /* RFC 9636 section 3.3.1 */
    DEFAULT_RULE_SECONDS = 2 * 3600,
};

/* The rest of the footer. It is not NUL-terminated: all reading goes through peek. */
struct cursor {
    const char *at;
    const char *end;
};

static char peek(const struct cursor *cursor) {
    if (cursor->at < cursor->end) {
        return *cursor->at;
    }
    return '\0';
}

static bool take(struct cursor *cursor, char expected) {
    if (peek(cursor) != expected || expected == '\0') {
        return false;
    }
    cursor->at++;
    return true;
}

static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* "CET", or "<+0330>" with anything alphanumeric and signs. */
static bool read_abbreviation(struct cursor *cursor, char out[static ZONE_ABBREVIATION_BYTES]) {
    bool quoted = take(cursor, '<');
    const char *start = cursor->at;
    while (is_letter(peek(cursor)) ||
           (quoted && (is_digit(peek(cursor)) || peek(cursor) == '+' || peek(cursor) == '-'))) {
        cursor->at++;
    }
    size_t length = (size_t)(cursor->at - start);
    if (length < SHORTEST_ABBREVIATION || length >= ZONE_ABBREVIATION_BYTES ||
        (quoted && !take(cursor, '>'))) {
        return false;
    }
    memcpy(out, start, length);
    out[length] = '\0';
    return true;
}

static bool read_number(struct cursor *cursor, uint32_t least, uint32_t most, uint32_t *out) {
    if (!is_digit(peek(cursor))) {
        return false;
    }
    uint32_t value = 0;
    for (int digits = 0; is_digit(peek(cursor)); digits++) {
        if (digits == 3) {
            return false;
        }
        value = value * 10 + (uint32_t)(*cursor->at++ - '0');
    }
    *out = value;
    return value >= least && value <= most;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(struct cursor *cursor, uint32_t most_hours, int32_t *out_seconds) {
    bool negative = take(cursor, '-');
    if (!negative) {
        (void)take(cursor, '+');
    }
    uint32_t hours, minutes = 0, seconds = 0;
    if (!read_number(cursor, 0, most_hours, &hours)) {
        return false;
    }
    if (take(cursor, ':')) {
        if (!read_number(cursor, 0, 59, &minutes) ||
            (take(cursor, ':') && !read_number(cursor, 0, 59, &seconds))) {
            return false;
        }
    }
    int32_t size = (int32_t)(hours * 3600 + minutes * 60 + seconds);
    *out_seconds = negative ? -size : size;
    return true;
}

static bool read_date(struct cursor *cursor, struct zone_rule_date *out) {
    *out = (struct zone_rule_date){.time_seconds = DEFAULT_RULE_SECONDS};
    if (!take(cursor, ',')) {
        return false;
    }
    bool read;
    if (take(cursor, 'M')) {
        out->kind = RULE_MONTH_WEEK;
        read = read_number(cursor, 1, 12, &out->month) && take(cursor, '.') &&
               read_number(cursor, 1, 5, &out->week) && take(cursor, '.') &&
               read_number(cursor, 0, 6, &out->weekday);
    } else if (take(cursor, 'J')) {
        out->kind = RULE_JULIAN;
        read = read_number(cursor, 1, 365, &out->day);
    } else {
        out->kind = RULE_DAY;
        read = read_number(cursor, 0, 365, &out->day);
    }
    return read && (!take(cursor, '/') || read_time(cursor, MOST_RULE_HOURS, &out->time_seconds));
}

bool zone_rule_parse(const char *text, size_t size_bytes, struct zone_rule *out) {
    struct cursor cursor = {text, text + size_bytes};
    struct zone_rule rule = {0};
    int32_t west_seconds;
    if (!read_abbreviation(&cursor, rule.standard_abbreviation) ||
        !read_time(&cursor, MOST_OFFSET_HOURS, &west_seconds)) {
        return false;
    }
    rule.standard_offset = -west_seconds;
    rule.has_daylight = cursor.at < cursor.end;
    if (rule.has_daylight) {
        if (!read_abbreviation(&cursor, rule.daylight_abbreviation)) {
            return false;
        }
        rule.daylight_offset = rule.standard_offset + 3600;
        if (peek(&cursor) != ',') {
            if (!read_time(&cursor, MOST_OFFSET_HOURS, &west_seconds)) {
                return false;
            }
            rule.daylight_offset = -west_seconds;
        }
        /* POSIX leaves a missing rule to the implementation; a TZif file has no use for that. */
        if (!read_date(&cursor, &rule.daylight_start) || !read_date(&cursor, &rule.daylight_end)) {
            return false;
        }
    }
    if (cursor.at != cursor.end) {
        return false;
    }
    *out = rule;
    return true;
}

/* The day, since the epoch, of a rule's date in a year. */
static int64_t day_of_date(const struct zone_rule_date *date, int32_t year) {
    int32_t new_year = days_from_date(year, 1, 1);
    switch (date->kind) {
    case RULE_JULIAN:
        return new_year + (int32_t)date->day - 1 + (year_is_leap(year) && date->day >= 60);
    case RULE_DAY:
        return new_year + (int32_t)date->day;
    case RULE_MONTH_WEEK:
        break;
    }
    int32_t first = days_from_date(year, date->month, 1);
    uint32_t day = (date->weekday + 7 - weekday_of_day(first)) % 7 + (date->week - 1) * 7;
    if (day >= month_length(year, date->month)) {
        day -= 7;
    }
    return first + (int32_t)day;
}

int64_t zone_rule_start(const struct zone_rule *rule, int32_t year) {
    return day_of_date(&rule->daylight_start, year) * SECONDS_PER_DAY +
           rule->daylight_start.time_seconds - rule->standard_offset;
}

int64_t zone_rule_end(const struct zone_rule *rule, int32_t year) {
    return day_of_date(&rule->daylight_end, year) * SECONDS_PER_DAY +
           rule->daylight_end.time_seconds - rule->daylight_offset;
}

bool zone_rule_is_daylight(const struct zone_rule *rule, int64_t seconds) {
    if (!rule->has_daylight) {
        return false;
    }
    /* The calendar repeats every 400 years, which are 146097 days: any instant is moved to the
     * years from 1970 on. A rule's hour reaches into the neighbouring years. */
    const int64_t cycle = INT64_C(146097) * SECONDS_PER_DAY;
    int64_t moved = seconds % cycle;
    moved += moved < 0 ? cycle : 0;
    int32_t year = date_from_days((int32_t)floor_divide(moved, SECONDS_PER_DAY)).year;
    for (int32_t y = year - 1; y <= year + 1; y++) {
        int64_t start = zone_rule_start(rule, y);
        int64_t end = zone_rule_end(rule, y);
        if (end < start) { /* south of the equator it ends in the year after */
            end = zone_rule_end(rule, y + 1);
        }
        if (moved >= start && moved < end) {
            return true;
        }
    }
    return false;
}
