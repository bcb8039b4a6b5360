/* The rule at the end of a TZif file (RFC 9636 section 3.3.1): a TZ string as POSIX has it (XBD
 * 8.3, "std offset dst offset, rule"), with version 3's extension that a rule's hour may be -167 to
 * 167. */
#ifndef ORRERY_CLOCK_ZONE_RULE_H
#define ORRERY_CLOCK_ZONE_RULE_H

#include "clock/zone.h"

/* One of the two dates a year on which the clock is changed. */
struct zone_rule_date {
    enum {
        RULE_JULIAN,     /* Jn: day 1 to 365, 29 February never counted */
        RULE_DAY,        /* n: day 0 to 365 */
        RULE_MONTH_WEEK, /* Mm.w.d: weekday d of week w of month m, week 5 the last */
    } kind;
    uint32_t month, week, weekday; /* of RULE_MONTH_WEEK */
    uint32_t day;                  /* of the others */
    int32_t time_seconds;          /* after midnight, on the clock that goes till then */
};

struct zone_rule {
    int32_t standard_offset; /* seconds east */
    int32_t daylight_offset;
    bool has_daylight;
    struct zone_rule_date daylight_start;
    struct zone_rule_date daylight_end;
    char standard_abbreviation[ZONE_ABBREVIATION_BYTES];
    char daylight_abbreviation[ZONE_ABBREVIATION_BYTES];
};

/* Parses a footer of `size_bytes` bytes (no newlines). False if it is not of the grammar. */
MUST_CHECK bool zone_rule_parse(const char *text, size_t size_bytes, struct zone_rule *out);

/* The instants, in seconds since the epoch, at which daylight saving starts and ends in a year.
 * Only for a rule that has it. */
int64_t zone_rule_start(const struct zone_rule *rule, int32_t year);
int64_t zone_rule_end(const struct zone_rule *rule, int32_t year);

/* Whether daylight saving holds at an instant. */
bool zone_rule_is_daylight(const struct zone_rule *rule, int64_t seconds);

#endif
