/* Inside cron/: local time. Which wall clock readings match the fields, with no thought of zones.
 * Local times are seconds as if UTC, as in clock/zone.h. Only for CRON_FIELDS. */
#ifndef ORRERY_CRON_PATTERN_H
#define ORRERY_CRON_PATTERN_H

#include "cron/cron.h"

enum {
    PATTERN_FIRST_YEAR = 1970,
    PATTERN_LAST_YEAR = 2199,
    CRON_LAST_WEEKDAY = 32, /* `nearest` for LW */
    WEEKDAY_LANES = 6,
    LAST_LANE = 5,
};

/* 2200-01-01 local: no match from here on. */
#define PATTERN_END INT64_C(7258118400)
/* No match. */
#define PATTERN_NONE INT64_MIN

/* The days of a month that match, bits 1 to 31. `first_weekday` is that of day 1, `length` the
 * month's. */
uint32_t pattern_month_days(const struct cron *cron, uint32_t first_weekday, uint32_t length);

/* Cuts `years` down to those in which some day matches. False if none is left. */
bool pattern_reduce_years(struct cron *cron);

/* The first matching local time ≥ `local`, or the last one ≤ `local`; PATTERN_NONE if there is
 * none. */
int64_t pattern_next(const struct cron *cron, int64_t local);
int64_t pattern_previous(const struct cron *cron, int64_t local);

/* Whether this local time matches. */
bool pattern_matches(const struct cron *cron, int64_t local);

/* How many matching local times are in [from, to). */
uint64_t pattern_count(const struct cron *cron, int64_t from, int64_t to);

/* ---- Years by type ----
 *
 * A year looks like one of fourteen, by the weekday of 1 January and whether it is a leap year.
 * Years of one type have the same calendar. */
enum { YEAR_TYPES = 14 };

/* How many years of the set are of this type and in [from, to), and the first of them. */
uint32_t pattern_years_of_type(const struct cron *cron, uint32_t type, int32_t from, int32_t to,
                               int32_t *out_first);

/* Takes the years of the same type as `year`, from `from` on, out of the set. */
void pattern_drop_years_like(struct cron *cron, int32_t year, int32_t from);

/* The year of a local time, and the first local time of a year. */
int32_t pattern_year_of(int64_t local);
int64_t pattern_year_start(int32_t year);

#endif
