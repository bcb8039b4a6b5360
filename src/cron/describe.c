/* A schedule as an English sentence. It is made from the compiled sets, so that it says what will
 * happen and not what was typed: a range with a step and a star with one read the same. */
#include "cron/cron.h"

#include "clock/calendar.h"
#include "cron/pattern.h"

#include <string.h>

enum {
    MOST_LISTED = 7,      /* values of a set that are listed one by one */
    MOST_CLOCK_TIMES = 6, /* "At 09:00, 12:00 and 15:00" */
};

static const char *const month_names[] = {"",        "January",  "February", "March",  "April",
                                          "May",     "June",     "July",     "August", "September",
                                          "October", "November", "December"};
static const char *const weekday_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                            "Thursday", "Friday", "Saturday"};
static const char *const ordinals[] = {"first", "second", "third", "fourth", "fifth", "last"};

/* ---- Sets ---- */

static uint32_t lowest(uint64_t set) { return (uint32_t)__builtin_ctzll(set); }
static uint32_t highest(uint64_t set) { return 63 - (uint32_t)__builtin_clzll(set); }
static uint32_t members(uint64_t set) { return (uint32_t)__builtin_popcountll(set); }
static uint64_t below(uint32_t count) { return (UINT64_C(1) << count) - 1; }

/* The step of lowest, lowest + step … highest, if the set is that and has three members or more;
 * else 0. */
static uint32_t step_of(uint64_t set) {
    if (members(set) < 3) {
        return 0;
    }
    uint32_t first = lowest(set);
    uint32_t step = lowest(set & (set - 1)) - first;
    uint64_t made = 0;
    for (uint32_t value = first; value <= highest(set); value += step) {
        made |= UINT64_C(1) << value;
    }
    return made == set ? step : 0;
}

/* The n of a set {0, n, 2n …} that divides `range` evenly, so that "every n" is the whole truth;
 * else 0. */
static uint32_t even_step(uint64_t set, uint32_t range) {
    if (members(set) < 2 || lowest(set) != 0 || range % members(set) != 0) {
        return 0;
    }
    uint32_t step = range / members(set);
    for (uint32_t value = 0; value < range; value += step) {
        if ((set >> value & 1) == 0) {
            return 0;
        }
    }
    return step;
}

/* Appends the word between a list's entries: ", " or the last " and ". */
static void append_separator(struct text *out, uint32_t position, uint32_t count,
                             const char *last) {
    if (position > 0) {
        text_append(out, position + 1 == count ? last : ", ");
    }
}

static void append_value(struct text *out, uint32_t value, const char *const *names) {
    if (names != NULL) {
        text_append(out, names[value]);
    } else {
        text_printf(out, "%u", value);
    }
}

/* "1, 2 and 5", "9 to 17", "1, 5 to 9 and 20"; long progressions: "0, 7, 14 … 56". */
static void append_set(struct text *out, uint64_t set, const char *const *names) {
    uint32_t step = step_of(set);
    if (step > 1 && members(set) > MOST_LISTED) {
        for (uint32_t i = 0; i < 3; i++) {
            text_append(out, i == 0 ? "" : ", ");
            append_value(out, lowest(set) + i * step, names);
        }
        text_append(out, " … ");
        append_value(out, highest(set), names);
        return;
    }
    uint32_t runs = members(set & ~(set << 1));
    uint32_t entries = 0;
    for (uint64_t rest = set; rest != 0;) { /* a run of two is two entries */
        uint32_t length = lowest(~(rest >> lowest(rest)));
        entries += length == 2 ? 2 : 1;
        rest &= ~(below(length) << lowest(rest));
    }
    uint32_t position = 0;
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t first = lowest(set);
        uint32_t length = lowest(~(set >> first));
        append_separator(out, position++, entries, " and ");
        append_value(out, first, names);
        if (length == 2) {
            append_separator(out, position++, entries, " and ");
            append_value(out, first + 1, names);
        } else if (length > 2) {
            text_append(out, " to ");
            append_value(out, first + length - 1, names);
        }
        set &= ~(below(length) << first);
    }
}

/* "1st", "22nd" */
static void append_ordinal(struct text *out, uint32_t number) {
    bool teen = number >= 11 && number <= 13;
    const char *suffix = teen               ? "th"
                         : number % 10 == 1 ? "st"
                         : number % 10 == 2 ? "nd"
                         : number % 10 == 3 ? "rd"
                                            : "th";
    text_printf(out, "%u%s", number, suffix);
}

/* ---- Time of day ---- */

/* "At 09:00, 12:30 and 18:00", if there are few enough. */
static bool append_clock_times(const struct cron *cron, struct text *out) {
    uint32_t count = members(cron->hours) * members(cron->minutes) * members(cron->seconds);
    if (count > MOST_CLOCK_TIMES) {
        return false;
    }
    text_append(out, "At ");
    uint32_t position = 0;
    for (uint64_t hours = cron->hours; hours != 0; hours &= hours - 1) {
        for (uint64_t minutes = cron->minutes; minutes != 0; minutes &= minutes - 1) {
            for (uint64_t seconds = cron->seconds; seconds != 0; seconds &= seconds - 1) {
                append_separator(out, position++, count, " and ");
                text_printf(out, "%02u:%02u", lowest(hours), lowest(minutes));
                if (cron->seconds != 1) {
                    text_printf(out, ":%02u", lowest(seconds));
                }
            }
        }
    }
    return true;
}

static void append_seconds(const struct cron *cron, struct text *out) {
    uint32_t step = even_step(cron->seconds, 60);
    if (step == 1) {
        text_append(out, "Every second");
    } else if (step > 1) {
        text_printf(out, "Every %u seconds", step);
    } else {
        text_append(out, members(cron->seconds) == 1 ? "At second " : "At seconds ");
        append_set(out, cron->seconds, NULL);
    }
}

static void append_minutes(const struct cron *cron, struct text *out, bool begins) {
    uint32_t step = even_step(cron->minutes, 60);
    if (step == 1) {
        text_append(out, begins ? "Every minute" : " of every minute");
    } else if (step > 1) {
        text_append(out, begins ? "Every " : " of every ");
        if (begins) {
            text_printf(out, "%u minutes", step);
        } else {
            append_ordinal(out, step);
            text_append(out, " minute");
        }
    } else {
        text_append(out, begins ? "At minute" : " of minute");
        text_append(out, members(cron->minutes) == 1 ? " " : "s ");
        append_set(out, cron->minutes, NULL);
    }
}

static void append_hours(const struct cron *cron, struct text *out) {
    uint32_t step = even_step(cron->hours, 24);
    uint32_t first = lowest(cron->hours);
    uint32_t last = highest(cron->hours);
    bool is_run = last - first + 1 == members(cron->hours) && first != last;
    bool evenly = even_step(cron->minutes, 60) != 0;
    if (step == 1) {
        text_append(out, evenly ? "" : " of every hour");
    } else if (step > 1) {
        text_append(out, " of every ");
        append_ordinal(out, step);
        text_append(out, " hour");
    } else if (is_run && evenly) {
        text_printf(out, " from %02u:00 to %02u:59", first, last);
    } else {
        text_append(out, members(cron->hours) == 1 ? " of hour " : " of hours ");
        append_set(out, cron->hours, NULL);
    }
}

static void append_time_of_day(const struct cron *cron, struct text *out) {
    if (append_clock_times(cron, out)) {
        return;
    }
    uint32_t hours = even_step(cron->hours, 24);
    if (cron->seconds == 1 && cron->minutes == 1 && hours != 0) {
        text_printf(out, hours == 1 ? "Every hour" : "Every %u hours", hours);
        return;
    }
    bool with_seconds = cron->seconds != 1;
    if (with_seconds) {
        append_seconds(cron, out);
        if (cron->minutes == below(60)) {
            if (even_step(cron->seconds, 60) == 0) {
                text_append(out, " of every minute");
            }
            if (cron->hours != below(24)) {
                append_hours(cron, out);
            }
            return;
        }
    }
    append_minutes(cron, out, !with_seconds);
    append_hours(cron, out);
}

/* ---- Days ---- */

/* "on the 1st", "on days 1 to 15", "on the last day", … "of the month". */
static void append_days(const struct cron *cron, struct text *out) {
    uint32_t days = cron->days & ~UINT32_C(1);
    if (cron->nearest == CRON_LAST_WEEKDAY) {
        text_append(out, "on the last working day (Monday to Friday) of the month");
        return;
    }
    if (cron->nearest != 0) {
        text_append(out, "on the working day (Monday to Friday) nearest to the ");
        append_ordinal(out, (uint32_t)cron->nearest);
        text_append(out, " of the month");
        return;
    }
    if (members(days) == 1) {
        text_append(out, "on the ");
        append_ordinal(out, lowest(days));
    } else if (days != 0) {
        text_append(out, "on days ");
        append_set(out, days, NULL);
    }
    if (cron->days & 1) {
        text_append(out, days != 0 ? " and the last day" : "on the last day");
    }
    text_append(out, " of the month");
}

/* The n-ths of the weekday that match: bits 0 to 4, and 5 for the last. */
static uint32_t nths_of(const struct cron *cron, uint32_t weekday) {
    uint32_t nths = 0;
    for (uint32_t lane = 0; lane < WEEKDAY_LANES; lane++) {
        nths |= (uint32_t)(cron->weekdays >> (lane * 7 + weekday) & 1) << lane;
    }
    return nths;
}

/* "on Monday to Friday", "on the first Monday and the last Friday of the month". */
static void append_weekdays(const struct cron *cron, struct text *out) {
    uint64_t plain = 0;
    uint32_t entries = 0;
    for (uint32_t weekday = 0; weekday < 7; weekday++) {
        uint32_t nths = nths_of(cron, weekday);
        if ((nths & 31) == 31) {
            plain |= UINT64_C(1) << weekday;
        } else {
            entries += members(nths);
        }
    }
    text_append(out, "on ");
    if (plain == 127) {
        text_append(out, "every day of the week");
        return;
    }
    if (plain == 0x41) {
        text_append(out, "Saturday and Sunday");
    } else if (plain != 0) {
        append_set(out, plain, weekday_names);
    }
    uint32_t position = 0;
    for (uint32_t weekday = 0; weekday < 7; weekday++) {
        uint32_t nths = nths_of(cron, weekday);
        for (uint32_t n = 0; (nths & 31) != 31 && n < WEEKDAY_LANES; n++) {
            if (nths >> n & 1) {
                if (position == 0 && plain != 0) {
                    text_append(out, " and on ");
                }
                append_separator(out, position++, entries, " and ");
                text_printf(out, "the %s %s", ordinals[n], weekday_names[weekday]);
            }
        }
    }
    if (position > 0) {
        text_append(out, " of the month");
    }
}

static void append_dates(const struct cron *cron, struct text *out) {
    if (cron->every_day) {
        return;
    }
    text_append(out, ", ");
    if (cron->weekdays_open) {
        append_days(cron, out);
    } else if (cron->days_open) {
        append_weekdays(cron, out);
    } else {
        append_days(cron, out);
        text_append(out, cron->either_day ? " or " : ", but only ");
        append_weekdays(cron, out);
    }
}

/* ---- Years ---- */

static bool is_year(const struct cron *cron, uint32_t i) {
    return i <= PATTERN_LAST_YEAR - PATTERN_FIRST_YEAR && (cron->years[i / 64] >> i % 64 & 1) != 0;
}

/* Nothing if the years are all that the other fields allow. */
static void append_years(const struct cron *cron, struct text *out) {
    struct cron unlimited = *cron;
    memset(unlimited.years, 0xff, sizeof unlimited.years);
    unlimited.years[3] >>= 4 * 64 - (PATTERN_LAST_YEAR - PATTERN_FIRST_YEAR + 1);
    if (!pattern_reduce_years(&unlimited) ||
        memcmp(unlimited.years, cron->years, sizeof cron->years) == 0) {
        return;
    }
    uint32_t first = 0, last = 0, count = 0;
    for (uint32_t i = 0; i <= PATTERN_LAST_YEAR - PATTERN_FIRST_YEAR; i++) {
        if (is_year(cron, i)) {
            first = count++ == 0 ? i : first;
            last = i;
        }
    }
    text_append(out, ", in ");
    if (count == last - first + 1 && count > 2) {
        text_printf(out, "%u to %u", first + PATTERN_FIRST_YEAR, last + PATTERN_FIRST_YEAR);
    } else if (count > MOST_LISTED) {
        text_printf(out, "%u of the years from %u to %u", count, first + PATTERN_FIRST_YEAR,
                    last + PATTERN_FIRST_YEAR);
    } else {
        uint32_t position = 0;
        for (uint32_t i = first; i <= last; i++) {
            if (is_year(cron, i)) {
                append_separator(out, position++, count, " and ");
                text_printf(out, "%u", i + PATTERN_FIRST_YEAR);
            }
        }
    }
}

void cron_describe(const struct cron *cron, struct text *out) {
    if (cron->kind == CRON_EVERY) {
        char period[DURATION_BYTES];
        duration_format((struct duration){cron->period_us}, period);
        text_printf(out, "Every %s, counted from 1970-01-01T00:00:00Z", period);
        return;
    }
    if (cron_is_once(cron)) {
        char time[RFC3339_BYTES];
        wall_time_format_offset(wall_time_from_seconds(cron->at_seconds), 0, time);
        time[19] = '\0'; /* without the offset */
        text_printf(out, "Once, at %s%s", time, cron->kind == CRON_AT_INSTANT ? "Z" : "");
        return;
    }
    append_time_of_day(cron, out);
    append_dates(cron, out);
    if (cron->months != 0x1ffe) {
        text_append(out, ", in ");
        append_set(out, cron->months, month_names);
    }
    append_years(cron, out);
}
