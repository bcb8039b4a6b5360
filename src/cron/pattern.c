#include "cron/pattern.h"

#include "clock/calendar.h"

#include <string.h>

/* ---- A day's seconds ---- */

/* The lowest member ≥ `from`, or 64. */
static uint32_t set_next(uint64_t set, uint32_t from) {
    uint64_t rest = from > 63 ? 0 : set >> from << from;
    return rest == 0 ? 64 : (uint32_t)__builtin_ctzll(rest);
}

/* The highest member ≤ `to`, or 64. */
static uint32_t set_previous(uint64_t set, uint32_t to) {
    uint64_t rest = set << (63 - to) >> (63 - to);
    return rest == 0 ? 64 : 63 - (uint32_t)__builtin_clzll(rest);
}

static uint32_t set_lowest(uint64_t set) { return (uint32_t)__builtin_ctzll(set); }
static uint32_t set_highest(uint64_t set) { return 63 - (uint32_t)__builtin_clzll(set); }

static uint32_t clock_time(uint32_t hour, uint32_t minute, uint32_t second) {
    return hour * 3600 + minute * 60 + second;
}

static uint32_t first_of_day(const struct cron *cron) {
    return clock_time(set_lowest(cron->hours), set_lowest(cron->minutes),
                      set_lowest(cron->seconds));
}

static uint32_t last_of_day(const struct cron *cron) {
    return clock_time(set_highest(cron->hours), set_highest(cron->minutes),
                      set_highest(cron->seconds));
}

enum { NO_TIME = 86400 };

/* The first matching second of the day ≥ `from`, or NO_TIME. */
static uint32_t day_next(const struct cron *cron, uint32_t from) {
    uint32_t hour = from / 3600;
    uint32_t minute = from / 60 % 60;
    uint32_t second = from % 60;
    if (cron->hours >> hour & 1) {
        if (cron->minutes >> minute & 1) {
            uint32_t found = set_next(cron->seconds, second);
            if (found < 60) {
                return clock_time(hour, minute, found);
            }
        }
        uint32_t found = set_next(cron->minutes, minute + 1);
        if (found < 60) {
            return clock_time(hour, found, set_lowest(cron->seconds));
        }
    }
    uint32_t found = set_next(cron->hours, hour + 1);
    if (found < 24) {
        return clock_time(found, set_lowest(cron->minutes), set_lowest(cron->seconds));
    }
    return NO_TIME;
}

/* The last matching second of the day ≤ `to`, or NO_TIME. */
static uint32_t day_previous(const struct cron *cron, uint32_t to) {
    uint32_t hour = to / 3600;
    uint32_t minute = to / 60 % 60;
    uint32_t second = to % 60;
    if (cron->hours >> hour & 1) {
        if (cron->minutes >> minute & 1) {
            uint32_t found = set_previous(cron->seconds, second);
            if (found < 60) {
                return clock_time(hour, minute, found);
            }
        }
        uint32_t found = minute == 0 ? 64 : set_previous(cron->minutes, minute - 1);
        if (found < 60) {
            return clock_time(hour, found, set_highest(cron->seconds));
        }
    }
    uint32_t found = hour == 0 ? 64 : set_previous(cron->hours, hour - 1);
    if (found < 24) {
        return clock_time(found, set_highest(cron->minutes), set_highest(cron->seconds));
    }
    return NO_TIME;
}

static uint64_t members(uint64_t set) { return (uint64_t)__builtin_popcountll(set); }

static uint64_t members_below(uint64_t set, uint32_t below) {
    return members(set & ((UINT64_C(1) << below) - 1));
}

/* How many matching seconds a day has, and how many of them are before `second_of_day`. */
static uint64_t day_count(const struct cron *cron) {
    return members(cron->hours) * members(cron->minutes) * members(cron->seconds);
}

static uint64_t day_count_before(const struct cron *cron, uint32_t second_of_day) {
    uint32_t hour = second_of_day / 3600;
    uint32_t minute = second_of_day / 60 % 60;
    uint64_t per_minute = members(cron->seconds);
    uint64_t count = members_below(cron->hours, hour) * members(cron->minutes) * per_minute;
    if (cron->hours >> hour & 1) {
        count += members_below(cron->minutes, minute) * per_minute;
        if (cron->minutes >> minute & 1) {
            count += members_below(cron->seconds, second_of_day % 60);
        }
    }
    return count;
}

/* ---- A month's days ---- */

#define LANE_LOW UINT64_C(0x10204081) /* the lowest bit of each of the five lanes of 7 bits */

/* Bits d of the days d whose weekday is in its week's lane. Day d is the ((d - 1) / 7 + 1)-th of
 * its weekday, so lane n turned by the weekday of day 1 is week n of the month. */
static uint32_t weekday_days(uint64_t lanes, uint32_t first_weekday, uint32_t length) {
    uint64_t weeks = lanes & (LANE_LOW * 127);
    uint64_t kept = LANE_LOW * (127U >> first_weekday);
    uint64_t turned =
        (weeks >> first_weekday & kept) | (weeks << (7 - first_weekday) & (LANE_LOW * 127) & ~kept);
    uint64_t days = turned << 1;
    uint64_t last = lanes >> (LAST_LANE * 7);
    if (last != 0) {
        uint32_t weekday =
            (first_weekday + length) % 7; /* of the month's seventh day from the end */
        days |= ((last | last << 7) >> weekday & 127) << (length - 6);
    }
    return (uint32_t)days;
}

/* The weekday nearest to a day without leaving the month (draft 1.3 section 4.3), or none. */
static uint32_t nearest_days(uint32_t target, uint32_t first_weekday, uint32_t length) {
    if (target == CRON_LAST_WEEKDAY) {
        uint32_t weekday = (first_weekday + length - 1) % 7;
        return UINT32_C(1) << (weekday == 6 ? length - 1 : weekday == 0 ? length - 2 : length);
    }
    if (target > length) {
        return 0;
    }
    uint32_t weekday = (first_weekday + target - 1) % 7;
    if (weekday == 6) {
        target = target > 1 ? target - 1 : 3;
    } else if (weekday == 0) {
        target = target < length ? target + 1 : target - 2;
    }
    return UINT32_C(1) << target;
}

uint32_t pattern_month_days(const struct cron *cron, uint32_t first_weekday, uint32_t length) {
    uint32_t all = ((UINT32_C(1) << length) - 1) << 1;
    if (cron->every_day) {
        return all;
    }
    uint32_t days = cron->days & ~UINT32_C(1);
    days |= (cron->days & 1) << length;
    if (cron->nearest != 0) {
        days |= nearest_days((uint32_t)cron->nearest, first_weekday, length);
    }
    if (cron->weekdays_open) {
        return days & all;
    }
    uint32_t weekdays = weekday_days(cron->weekdays, first_weekday, length);
    return (cron->either_day ? days | weekdays : days & weekdays) & all;
}

/* ---- Years ---- */

enum { YEAR_WORDS = 4, YEAR_COUNT = PATTERN_LAST_YEAR - PATTERN_FIRST_YEAR + 1 };

/* Which years are of which type (leap years 7 to 13), as sets like cron->years. */
struct year_types {
    uint64_t years[YEAR_TYPES][YEAR_WORDS];
};

/* Computed when the program is loaded, before any thread is started, and constant from then on. */
static struct year_types year_types;

static uint32_t new_year_weekday(int32_t year) {
    return weekday_of_day(days_from_date(year, 1, 1));
}

static uint32_t type_of_year(int32_t year) {
    return new_year_weekday(year) + (year_is_leap(year) ? 7 : 0);
}

__attribute__((constructor)) static void compute_year_types(void) {
    for (uint32_t i = 0; i < YEAR_COUNT; i++) {
        int32_t year = PATTERN_FIRST_YEAR + (int32_t)i;
        year_types.years[type_of_year(year)][i / 64] |= UINT64_C(1) << i % 64;
    }
}

/* A year of the type: 2001 was a common year that began on a Monday, 2024 a leap year that did. */
static uint32_t type_month_length(uint32_t type, uint32_t month) {
    return month_length(type >= 7 ? 2024 : 2001, month);
}

/* The number of matching days in a year of this type; `stop_early`: 1 as soon as there is one. */
static uint32_t type_day_count(const struct cron *cron, uint32_t type, bool stop_early) {
    uint32_t weekday = type % 7;
    uint32_t count = 0;
    for (uint32_t month = 1; month <= 12; month++) {
        uint32_t length = type_month_length(type, month);
        if (cron->months >> month & 1) {
            count += (uint32_t)__builtin_popcount(pattern_month_days(cron, weekday, length));
            if (stop_early && count > 0) {
                return 1;
            }
        }
        weekday = (weekday + length) % 7;
    }
    return count;
}

/* True if every month, whatever its shape, has a matching day. */
static bool matches_every_month(const struct cron *cron) {
    const uint32_t days_of_all_months = UINT32_C(0x1fffffff); /* L and 1 to 28 */
    bool some_day = (cron->days & days_of_all_months) != 0 ||
                    (cron->nearest >= 1 && cron->nearest <= 28) ||
                    cron->nearest == CRON_LAST_WEEKDAY;
    const uint64_t lanes_of_all_months = (UINT64_C(1) << 28) - 1 + (UINT64_C(127) << 35);
    bool some_weekday = (cron->weekdays & lanes_of_all_months) != 0;
    if (cron->weekdays_open || cron->days_open) {
        return cron->weekdays_open ? some_day : some_weekday;
    }
    return cron->either_day && (some_day || some_weekday);
}

bool pattern_reduce_years(struct cron *cron) {
    uint64_t reduced[YEAR_WORDS] = {0};
    if (cron->months == 0) {
        return false;
    }
    if (cron->every_day || matches_every_month(cron)) {
        return (cron->years[0] | cron->years[1] | cron->years[2] | cron->years[3]) != 0;
    }
    for (uint32_t type = 0; type < YEAR_TYPES; type++) {
        if (type_day_count(cron, type, true) == 0) {
            continue;
        }
        for (size_t i = 0; i < YEAR_WORDS; i++) {
            reduced[i] |= cron->years[i] & year_types.years[type][i];
        }
    }
    memcpy(cron->years, reduced, sizeof reduced);
    return (reduced[0] | reduced[1] | reduced[2] | reduced[3]) != 0;
}

static bool has_year(const struct cron *cron, int32_t year) {
    uint32_t i = (uint32_t)(year - PATTERN_FIRST_YEAR);
    return i < YEAR_COUNT && (cron->years[i / 64] >> i % 64 & 1) != 0;
}

/* The first year ≥ `year` in the set, or 0. */
static int32_t next_year(const struct cron *cron, int32_t year) {
    uint32_t i = (uint32_t)(MAX_OF(year, PATTERN_FIRST_YEAR) - PATTERN_FIRST_YEAR);
    for (; i < YEAR_COUNT; i = (i / 64 + 1) * 64) {
        uint64_t rest = cron->years[i / 64] >> i % 64;
        if (rest != 0) {
            return PATTERN_FIRST_YEAR + (int32_t)(i + (uint32_t)__builtin_ctzll(rest));
        }
    }
    return 0;
}

/* The last year ≤ `year` in the set, or 0. */
static int32_t previous_year(const struct cron *cron, int32_t year) {
    int32_t i = MIN_OF(year, PATTERN_LAST_YEAR) - PATTERN_FIRST_YEAR;
    for (; i >= 0; i = i / 64 * 64 - 1) {
        uint64_t rest = cron->years[i / 64] << (63 - i % 64);
        if (rest != 0) {
            return PATTERN_FIRST_YEAR + i - __builtin_clzll(rest);
        }
    }
    return 0;
}

/* ---- From day to day ---- */

/* The first matching day of the year's months from `month` on, or the last up to it, as days since
 * the epoch; -1 if there is none (days before the epoch never match). */
static int32_t first_day_from(const struct cron *cron, int32_t year, uint32_t month) {
    uint32_t months = (uint32_t)cron->months >> month << month;
    while (months != 0) {
        month = (uint32_t)__builtin_ctz(months);
        months &= months - 1;
        int32_t first = days_from_date(year, month, 1);
        uint32_t days = pattern_month_days(cron, weekday_of_day(first), month_length(year, month));
        if (days != 0) {
            return first + __builtin_ctz(days) - 1;
        }
    }
    return -1;
}

static int32_t last_day_to(const struct cron *cron, int32_t year, uint32_t month) {
    uint32_t months = (uint32_t)cron->months & ((UINT32_C(2) << month) - 1);
    while (months != 0) {
        month = 31 - (uint32_t)__builtin_clz(months);
        months &= ~(UINT32_C(1) << month);
        int32_t first = days_from_date(year, month, 1);
        uint32_t days = pattern_month_days(cron, weekday_of_day(first), month_length(year, month));
        if (days != 0) {
            return first + 30 - __builtin_clz(days);
        }
    }
    return -1;
}

/* The matching days of the date's month. */
static uint32_t days_of_month(const struct cron *cron, struct civil_date date, int32_t day) {
    if (!has_year(cron, date.year) || (cron->months >> date.month & 1) == 0) {
        return 0;
    }
    uint32_t first_weekday = weekday_of_day(day - (int32_t)date.day + 1);
    return pattern_month_days(cron, first_weekday, month_length(date.year, date.month));
}

/* The first matching day after the date's month. */
static int32_t day_after_month(const struct cron *cron, struct civil_date date) {
    if (date.month < 12 && has_year(cron, date.year)) {
        int32_t day = first_day_from(cron, date.year, date.month + 1);
        if (day >= 0) {
            return day;
        }
    }
    int32_t year = next_year(cron, date.year + 1);
    return year == 0 ? -1 : first_day_from(cron, year, 1);
}

static int32_t day_before_month(const struct cron *cron, struct civil_date date) {
    if (date.month > 1 && has_year(cron, date.year)) {
        int32_t day = last_day_to(cron, date.year, date.month - 1);
        if (day >= 0) {
            return day;
        }
    }
    int32_t year = previous_year(cron, date.year - 1);
    return year == 0 ? -1 : last_day_to(cron, year, 12);
}

int64_t pattern_next(const struct cron *cron, int64_t local) {
    if (local >= PATTERN_END) {
        return PATTERN_NONE;
    }
    local = MAX_OF(local, 0);
    int32_t day = (int32_t)(local / SECONDS_PER_DAY);
    struct civil_date date = date_from_days(day);
    uint32_t days = days_of_month(cron, date, day);
    if (days >> date.day & 1) {
        uint32_t found = day_next(cron, (uint32_t)(local % SECONDS_PER_DAY));
        if (found != NO_TIME) {
            return day * SECONDS_PER_DAY + found;
        }
    }
    uint32_t later = date.day == 31 ? 0 : days >> (date.day + 1);
    int32_t next = later != 0 ? day + 1 + __builtin_ctz(later) : day_after_month(cron, date);
    return next < 0 ? PATTERN_NONE : next * SECONDS_PER_DAY + first_of_day(cron);
}

int64_t pattern_previous(const struct cron *cron, int64_t local) {
    if (local < 0) {
        return PATTERN_NONE;
    }
    local = MIN_OF(local, PATTERN_END - 1);
    int32_t day = (int32_t)(local / SECONDS_PER_DAY);
    struct civil_date date = date_from_days(day);
    uint32_t days = days_of_month(cron, date, day);
    if (days >> date.day & 1) {
        uint32_t found = day_previous(cron, (uint32_t)(local % SECONDS_PER_DAY));
        if (found != NO_TIME) {
            return day * SECONDS_PER_DAY + found;
        }
    }
    uint32_t earlier = days & ((UINT32_C(1) << date.day) - 1);
    int32_t previous = earlier != 0 ? day - (int32_t)date.day + 31 - __builtin_clz(earlier)
                                    : day_before_month(cron, date);
    return previous < 0 ? PATTERN_NONE : previous * SECONDS_PER_DAY + last_of_day(cron);
}

bool pattern_matches(const struct cron *cron, int64_t local) {
    if (local < 0 || local >= PATTERN_END) {
        return false;
    }
    int32_t day = (int32_t)(local / SECONDS_PER_DAY);
    uint32_t second_of_day = (uint32_t)(local % SECONDS_PER_DAY);
    if ((cron->hours >> second_of_day / 3600 & 1) == 0 ||
        (cron->minutes >> second_of_day / 60 % 60 & 1) == 0 ||
        (cron->seconds >> second_of_day % 60 & 1) == 0) {
        return false;
    }
    struct civil_date date = date_from_days(day);
    return (days_of_month(cron, date, day) >> date.day & 1) != 0;
}

/* ---- Counting ---- */

/* A word of the set {from … to - 1}. */
static uint64_t year_range_word(int32_t from, int32_t to, size_t word) {
    int32_t base = PATTERN_FIRST_YEAR + (int32_t)word * 64;
    int32_t low = MIN_OF(MAX_OF(from - base, 0), 64);
    int32_t high = MIN_OF(MAX_OF(to - base, 0), 64);
    uint64_t below_high = high == 64 ? UINT64_MAX : (UINT64_C(1) << high) - 1;
    uint64_t below_low = low == 64 ? UINT64_MAX : (UINT64_C(1) << low) - 1;
    return below_high & ~below_low;
}

uint32_t pattern_years_of_type(const struct cron *cron, uint32_t type, int32_t from, int32_t to,
                               int32_t *out_first) {
    uint32_t count = 0;
    for (size_t i = 0; i < YEAR_WORDS; i++) {
        uint64_t years = cron->years[i] & year_types.years[type][i] & year_range_word(from, to, i);
        if (count == 0 && years != 0) {
            *out_first = PATTERN_FIRST_YEAR + (int32_t)(i * 64) + __builtin_ctzll(years);
        }
        count += (uint32_t)members(years);
    }
    return count;
}

void pattern_drop_years_like(struct cron *cron, int32_t year, int32_t from) {
    const uint64_t *like = year_types.years[type_of_year(year)];
    for (size_t i = 0; i < YEAR_WORDS; i++) {
        cron->years[i] &= ~(like[i] & year_range_word(from, PATTERN_LAST_YEAR + 1, i));
    }
}

int32_t pattern_year_of(int64_t local) {
    return date_from_days((int32_t)floor_divide(local, SECONDS_PER_DAY)).year;
}

int64_t pattern_year_start(int32_t year) { return days_from_date(year, 1, 1) * SECONDS_PER_DAY; }

/* Matching days in the years of the set from `from` up to, not including, `to`: each type of year
 * is looked at once and its years are counted. */
static uint64_t count_days_of_years(const struct cron *cron, int32_t from, int32_t to) {
    uint64_t count = 0;
    for (uint32_t type = 0; from < to && type < YEAR_TYPES; type++) {
        int32_t ignored_first = 0;
        uint64_t years = pattern_years_of_type(cron, type, from, to, &ignored_first);
        if (years != 0) {
            count += years * type_day_count(cron, type, false);
        }
    }
    return count;
}

/* Matching days of the year before the date. */
static uint64_t count_days_in_year_before(const struct cron *cron, struct civil_date date,
                                          int32_t day) {
    if (!has_year(cron, date.year)) {
        return 0;
    }
    uint64_t count = 0;
    uint32_t weekday = new_year_weekday(date.year);
    for (uint32_t month = 1; month < date.month; month++) {
        uint32_t length = month_length(date.year, month);
        if (cron->months >> month & 1) {
            count += members(pattern_month_days(cron, weekday, length));
        }
        weekday = (weekday + length) % 7;
    }
    return count + members(days_of_month(cron, date, day) & ((UINT32_C(1) << date.day) - 1));
}

/* Matching local times in [from, to) that lie in one month. */
static uint64_t count_in_month(const struct cron *cron, struct civil_date date, int64_t from,
                               int64_t to) {
    int32_t first_day = (int32_t)(from / SECONDS_PER_DAY);
    int32_t last_day = (int32_t)(to / SECONDS_PER_DAY);
    uint32_t days = days_of_month(cron, date, first_day);
    uint32_t first = date.day;
    uint32_t last = first + (uint32_t)(last_day - first_day);
    uint64_t count = 0;
    if (last > first) {
        count = members(days & ((UINT32_C(1) << last) - 1) & ~((UINT32_C(1) << first) - 1)) *
                day_count(cron);
    }
    if (last < 32 && days >> last & 1) {
        count += day_count_before(cron, (uint32_t)(to % SECONDS_PER_DAY));
    }
    if (days >> first & 1) {
        count -= day_count_before(cron, (uint32_t)(from % SECONDS_PER_DAY));
    }
    return count;
}

uint64_t pattern_count(const struct cron *cron, int64_t from, int64_t to) {
    from = MIN_OF(MAX_OF(from, 0), PATTERN_END);
    to = MIN_OF(MAX_OF(to, 0), PATTERN_END);
    if (from >= to) {
        return 0;
    }
    int32_t from_day = (int32_t)(from / SECONDS_PER_DAY);
    int32_t to_day = (int32_t)(to / SECONDS_PER_DAY);
    struct civil_date from_date = date_from_days(from_day);
    if (to_day <
        from_day + (int32_t)(month_length(from_date.year, from_date.month) - from_date.day) + 1) {
        return count_in_month(cron, from_date, from, to);
    }
    struct civil_date to_date = date_from_days(to_day);
    uint64_t days = count_days_of_years(cron, from_date.year, to_date.year) +
                    count_days_in_year_before(cron, to_date, to_day) -
                    count_days_in_year_before(cron, from_date, from_day);
    uint64_t count = days * day_count(cron);
    if (days_of_month(cron, to_date, to_day) >> to_date.day & 1) {
        count += day_count_before(cron, (uint32_t)(to % SECONDS_PER_DAY));
    }
    if (days_of_month(cron, from_date, from_day) >> from_date.day & 1) {
        count -= day_count_before(cron, (uint32_t)(from % SECONDS_PER_DAY));
    }
    return count;
}
