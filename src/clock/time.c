#include "clock/time.h"

#include "clock/calendar.h"

#include <string.h>

enum {
    OLDEST_YEAR = 1970,
    NEWEST_YEAR = 2199,
    FRACTION_DIGITS = 9,
};

/* What RFC 3339 can write: the years 0000 to 9999. What lies outside is shown as the nearest
 * end. */
#define OLDEST_SHOWN_SECONDS INT64_C(-62167219200)
#define NEWEST_SHOWN_SECONDS INT64_C(253402300799)
#define LONGEST_DURATION_US (INT64_C(36525) * SECONDS_PER_DAY * US_PER_SECOND)

/* Writes `value` in exactly `digits` digits and returns the end. */
static char *put_number(char *out, uint32_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + digits;
}

/* "2026-11-23T02:00:00" of a local time in seconds. */
static char *put_date_and_time(char *out, int64_t local_seconds) {
    local_seconds = MAX_OF(local_seconds, OLDEST_SHOWN_SECONDS);
    local_seconds = MIN_OF(local_seconds, NEWEST_SHOWN_SECONDS);
    int64_t days = floor_divide(local_seconds, SECONDS_PER_DAY);
    uint32_t second_of_day = (uint32_t)(local_seconds - days * SECONDS_PER_DAY);
    struct civil_date date = date_from_days((int32_t)days);
    out = put_number(out, (uint32_t)date.year, 4);
    *out++ = '-';
    out = put_number(out, date.month, 2);
    *out++ = '-';
    out = put_number(out, date.day, 2);
    *out++ = 'T';
    out = put_number(out, second_of_day / 3600, 2);
    *out++ = ':';
    out = put_number(out, second_of_day / 60 % 60, 2);
    *out++ = ':';
    return put_number(out, second_of_day % 60, 2);
}

static char *put_fraction(char *out, struct wall_time time) {
    int64_t fraction_us = time.us % US_PER_SECOND;
    fraction_us += fraction_us < 0 ? US_PER_SECOND : 0;
    *out++ = '.';
    return put_number(out, (uint32_t)fraction_us, 6);
}

void wall_time_format(struct wall_time time, char out[static RFC3339_BYTES]) {
    char *end = put_date_and_time(out, wall_time_seconds(time));
    end = put_fraction(end, time);
    *end++ = 'Z';
    *end = '\0';
}

void wall_time_format_offset(struct wall_time time, int32_t offset_seconds,
                             char out[static RFC3339_BYTES]) {
    int32_t offset_minutes = (int32_t)floor_divide((int64_t)offset_seconds + 30, 60);
    char *end = put_date_and_time(out, wall_time_seconds(time) + (int64_t)offset_minutes * 60);
    if (time.us % US_PER_SECOND != 0) {
        end = put_fraction(end, time);
    }
    uint32_t size_minutes = (uint32_t)(offset_minutes < 0 ? -offset_minutes : offset_minutes);
    *end++ = offset_minutes < 0 ? '-' : '+';
    end = put_number(end, size_minutes / 60 % 100, 2);
    *end++ = ':';
    end = put_number(end, size_minutes % 60, 2);
    *end = '\0';
}

/* A text being read from the left: where we are, and where it began, for the error's column. */
struct reader {
    const char *start;
    const char *at;
    struct error *err;
};

static bool fail_expected(const struct reader *reader, const char *expected) {
    unsigned column = (unsigned)(reader->at - reader->start) + 1;
    unsigned char found = (unsigned char)*reader->at;
    if (found == '\0') {
        error_set(reader->err, ERROR_INVALID, "expected %s, found the end (column %u)", expected,
                  column);
    } else if (found > ' ' && found < 0x7f) {
        error_set(reader->err, ERROR_INVALID, "expected %s, found '%c' (column %u)", expected,
                  found, column);
    } else {
        error_set(reader->err, ERROR_INVALID, "expected %s, found byte 0x%02x (column %u)",
                  expected, found, column);
    }
    reader->err->column = column;
    return false;
}

static bool is_digit(char character) { return character >= '0' && character <= '9'; }

/* Reads exactly `digits` digits with a value from `least` to `most`. */
static bool read_number(struct reader *reader, int digits, uint32_t least, uint32_t most,
                        const char *expected, uint32_t *out) {
    const char *start = reader->at;
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        if (!is_digit(*reader->at)) {
            return fail_expected(reader, expected);
        }
        value = value * 10 + (uint32_t)(*reader->at++ - '0');
    }
    if (value < least || value > most) {
        reader->at = start;
        unsigned column = (unsigned)(start - reader->start) + 1;
        error_set(reader->err, ERROR_INVALID, "expected %s, found %.*s (column %u)", expected,
                  digits, start, column);
        reader->err->column = column;
        return false;
    }
    *out = value;
    return true;
}

static bool read_character(struct reader *reader, const char *one_of, const char *expected) {
    if (*reader->at == '\0' || strchr(one_of, *reader->at) == NULL) {
        return fail_expected(reader, expected);
    }
    reader->at++;
    return true;
}

/* "2026-11-23T02:00:00" and a fraction, as if it were UTC. */
static bool read_date_and_time(struct reader *reader, int64_t *out_seconds, uint32_t *out_us) {
    uint32_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    if (!read_number(reader, 4, OLDEST_YEAR, NEWEST_YEAR, "a year from 1970 to 2199", &year) ||
        !read_character(reader, "-", "'-'") ||
        !read_number(reader, 2, 1, 12, "a month from 01 to 12", &month) ||
        !read_character(reader, "-", "'-'")) {
        return false;
    }
    char expected_day[] = "a day from 01 to 31";
    uint32_t length = month_length((int32_t)year, month);
    put_number(expected_day + sizeof expected_day - 3, length, 2);
    if (!read_number(reader, 2, 1, length, expected_day, &day) ||
        !read_character(reader, "Tt ", "'T' between date and time") ||
        !read_number(reader, 2, 0, 23, "an hour from 00 to 23", &hour) ||
        !read_character(reader, ":", "':'") ||
        !read_number(reader, 2, 0, 59, "a minute from 00 to 59", &minute) ||
        !read_character(reader, ":", "':'") ||
        !read_number(reader, 2, 0, 60, "a second from 00 to 60", &second)) {
        return false;
    }
    uint32_t fraction_us = 0;
    if (*reader->at == '.') {
        reader->at++;
        uint32_t unit_us = 100000;
        int digits = 0;
        for (; is_digit(*reader->at) && digits < FRACTION_DIGITS; digits++, reader->at++) {
            fraction_us += (uint32_t)(*reader->at - '0') * unit_us;
            unit_us /= 10;
        }
        if (digits == 0) {
            return fail_expected(reader, "a digit of the fraction");
        }
    }
    if (second == 60) { /* a leap second has no instant of its own in POSIX time */
        second = 59;
        fraction_us = 999999;
    }
    *out_seconds = days_from_date((int32_t)year, month, day) * SECONDS_PER_DAY +
                   (int64_t)(hour * 3600 + minute * 60 + second);
    *out_us = fraction_us;
    return true;
}

static bool read_offset(struct reader *reader, int32_t *out_seconds) {
    if (*reader->at == 'Z' || *reader->at == 'z') {
        reader->at++;
        *out_seconds = 0;
        return true;
    }
    bool negative = *reader->at == '-';
    uint32_t hours = 0, minutes = 0;
    if (!read_character(reader, "+-", "'Z' or an offset such as +01:00") ||
        !read_number(reader, 2, 0, 23, "the offset's hours from 00 to 23", &hours) ||
        !read_character(reader, ":", "':'") ||
        !read_number(reader, 2, 0, 59, "the offset's minutes from 00 to 59", &minutes)) {
        return false;
    }
    int32_t size = (int32_t)(hours * 3600 + minutes * 60);
    *out_seconds = negative ? -size : size;
    return true;
}

bool wall_time_parse(const char *text, struct wall_time *out, struct error *err) {
    struct reader reader = {text, text, err};
    int64_t seconds;
    uint32_t fraction_us;
    int32_t offset_seconds;
    if (!read_date_and_time(&reader, &seconds, &fraction_us) ||
        !read_offset(&reader, &offset_seconds)) {
        return false;
    }
    if (*reader.at != '\0') {
        return fail_expected(&reader, "the end");
    }
    *out = (struct wall_time){(seconds - offset_seconds) * US_PER_SECOND + fraction_us};
    return true;
}

bool local_time_parse(const char *text, int64_t *out_local_seconds, bool *out_has_offset,
                      struct error *err) {
    struct reader reader = {text, text, err};
    int64_t seconds;
    uint32_t fraction_us;
    int32_t offset_seconds = 0;
    if (!read_date_and_time(&reader, &seconds, &fraction_us)) {
        return false;
    }
    bool has_offset = *reader.at != '\0';
    if (has_offset && !read_offset(&reader, &offset_seconds)) {
        return false;
    }
    if (*reader.at != '\0') {
        return fail_expected(&reader, "the end");
    }
    if (fraction_us != 0) {
        return error_set(err, ERROR_INVALID, "expected whole seconds, found a fraction or :60");
    }
    *out_local_seconds = seconds - offset_seconds;
    *out_has_offset = has_offset;
    return true;
}

struct duration_unit {
    const char *name;
    int64_t us;
};

/* Largest first, the order in which they may follow each other. */
static const struct duration_unit duration_units[] = {
    {"d", SECONDS_PER_DAY *US_PER_SECOND},
    {"h", 3600 * US_PER_SECOND},
    {"m", 60 * US_PER_SECOND},
    {"s", US_PER_SECOND},
    {"ms", US_PER_MS},
    {"us", 1},
};

void duration_format(struct duration duration, char out[static DURATION_BYTES]) {
    uint64_t rest = (uint64_t)duration.us;
    char *end = out;
    if (duration.us < 0) {
        *end++ = '-';
        rest = 0 - rest;
    }
    for (size_t i = 0; i < COUNT_OF(duration_units); i++) {
        uint64_t count = rest / (uint64_t)duration_units[i].us;
        rest %= (uint64_t)duration_units[i].us;
        if (count == 0) {
            continue;
        }
        int digits = 1;
        for (uint64_t left = count; left >= 10; left /= 10) {
            digits++;
        }
        end = put_number(end, (uint32_t)count, digits);
        size_t name_bytes = strlen(duration_units[i].name);
        memcpy(end, duration_units[i].name, name_bytes);
        end += name_bytes;
    }
    if (duration.us == 0) {
        *end++ = '0';
        *end++ = 's';
    }
    *end = '\0';
}

/* The unit at `at`, which is followed by a digit or the end; COUNT_OF(duration_units) if none. */
static size_t find_unit(const char *at) {
    size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz");
    for (size_t i = 0; i < COUNT_OF(duration_units); i++) {
        if (strlen(duration_units[i].name) == length &&
            memcmp(duration_units[i].name, at, length) == 0) {
            return i;
        }
    }
    return COUNT_OF(duration_units);
}

bool duration_parse(const char *text, struct duration *out, struct error *err) {
    struct reader reader = {text, text, err};
    int64_t total_us = 0;
    size_t next_unit = 0;
    do {
        const char *number = reader.at;
        int64_t value = 0;
        while (is_digit(*reader.at)) {
            value = value * 10 + (*reader.at++ - '0');
            value = MIN_OF(value, LONGEST_DURATION_US);
        }
        if (reader.at == number) {
            return fail_expected(&reader, "a whole number and a unit such as 90s or 1h30m");
        }
        size_t unit = find_unit(reader.at);
        if (unit == COUNT_OF(duration_units)) {
            return fail_expected(&reader, "a unit: d, h, m, s, ms or us");
        }
        if (unit < next_unit) {
            return fail_expected(&reader, "units from the largest to the smallest, each once");
        }
        if (value > (LONGEST_DURATION_US - total_us) / duration_units[unit].us) {
            reader.at = number;
            error_set(err, ERROR_INVALID, "expected at most 100 years (36525d) (column %u)",
                      (unsigned)(number - text) + 1);
            err->column = (uint32_t)(number - text) + 1;
            return false;
        }
        total_us += value * duration_units[unit].us;
        next_unit = unit + 1;
        reader.at += strlen(duration_units[unit].name);
    } while (*reader.at != '\0');
    *out = (struct duration){total_us};
    return true;
}
