#include "base/json_check.h"

#include <string.h>

struct scan {
    const unsigned char *start;
    const unsigned char *at;
    const unsigned char *end;
    unsigned char is_object[JSON_DEPTH_MAXIMUM / 8]; /* a bit a level: else it is a list */
    size_t depth;
    struct error *err;
};

static bool fail(const struct scan *scan, const char *what) {
    return error_set(scan->err, ERROR_MALFORMED, "%s at byte %zu", what,
                     (size_t)(scan->at - scan->start) + 1);
}

/* The byte that is next; 0, which is nowhere allowed, at the end. */
static unsigned char next(const struct scan *scan) { return scan->at < scan->end ? *scan->at : 0; }

static void skip_space(struct scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
        scan->at++;
    }
}

static bool skip_literal(struct scan *scan, const char *literal) {
    size_t length = strlen(literal);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, literal, length) != 0) {
        return fail(scan, "no JSON value");
    }
    scan->at += length;
    return true;
}

static bool is_digit(unsigned char byte) { return byte >= '0' && byte <= '9'; }

static bool skip_digits(struct scan *scan) {
    if (!is_digit(next(scan))) {
        return fail(scan, "a number lacks a digit");
    }
    while (is_digit(next(scan))) {
        scan->at++;
    }
    return true;
}

static bool skip_number(struct scan *scan) {
    if (next(scan) == '-') {
        scan->at++;
    }
    if (next(scan) == '0') {
        scan->at++;
    } else if (!skip_digits(scan)) {
        return false;
    }
    if (next(scan) == '.') {
        scan->at++;
        if (!skip_digits(scan)) {
            return false;
        }
    }
    if (next(scan) == 'e' || next(scan) == 'E') {
        scan->at++;
        if (next(scan) == '+' || next(scan) == '-') {
            scan->at++;
        }
        return skip_digits(scan);
    }
    return true;
}

/* A character of more than one byte (RFC 3629 section 4). */
static bool skip_wide_character(struct scan *scan) {
    unsigned char first = *scan->at;
    size_t more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    if (first < 0xC2 || first > 0xF4 || (size_t)(scan->end - scan->at) <= more) {
        return fail(scan, "no UTF-8");
    }
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (scan->at[1] < low || scan->at[1] > high) {
        return fail(scan, "no UTF-8");
    }
    for (size_t i = 2; i <= more; i++) {
        if ((scan->at[i] & 0xC0) != 0x80) {
            return fail(scan, "no UTF-8");
        }
    }
    scan->at += more + 1;
    return true;
}

static int digit_value(unsigned char byte) {
    return is_digit(byte)               ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

/* After "\u". */
static bool read_unit(struct scan *scan, unsigned *out_unit) {
    unsigned unit = 0;
    for (int i = 0; i < 4; i++) {
        int value = digit_value(next(scan));
        if (value < 0) {
            return fail(scan, "no four hexadecimal digits");
        }
        unit = unit * 16 + (unsigned)value;
        scan->at++;
    }
    *out_unit = unit;
    return true;
}

/* Surrogates come in pairs: alone they stand for no character. */
static bool skip_unicode(struct scan *scan) {
    unsigned unit;
    if (!read_unit(scan, &unit)) {
        return false;
    }
    if (unit < 0xD800 || unit > 0xDFFF) {
        return true;
    }
    unsigned low = 0;
    if (unit > 0xDBFF || scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u') {
        return fail(scan, "half a surrogate pair");
    }
    scan->at += 2;
    return read_unit(scan, &low) &&
           ((low >= 0xDC00 && low <= 0xDFFF) || fail(scan, "half a surrogate pair"));
}

static bool skip_escape(struct scan *scan) {
    scan->at++;
    unsigned char kind = next(scan);
    if (kind == 'u') {
        scan->at++;
        return skip_unicode(scan);
    }
    if (kind == 0 || strchr("\"\\/bfnrt", kind) == NULL) {
        return fail(scan, "an unknown escape");
    }
    scan->at++;
    return true;
}

static bool skip_string(struct scan *scan) {
    scan->at++;
    for (;;) {
        while (scan->at < scan->end && *scan->at >= 0x20 && *scan->at < 0x80 && *scan->at != '"' &&
               *scan->at != '\\') {
            scan->at++;
        }
        unsigned char byte = next(scan);
        if (byte == '"') {
            scan->at++;
            return true;
        }
        if (byte < 0x20) {
            return fail(scan, scan->at == scan->end ? "a string without an end"
                                                    : "a control character in a string");
        }
        if (byte == '\\' ? !skip_escape(scan) : !skip_wide_character(scan)) {
            return false;
        }
    }
}

static bool is_in_object(const struct scan *scan) {
    size_t level = scan->depth - 1;
    return (scan->is_object[level / 8] & (1U << level % 8)) != 0;
}

static bool open_level(struct scan *scan, bool is_object) {
    if (scan->depth == JSON_DEPTH_MAXIMUM) {
        return fail(scan, "nested too deeply");
    }
    unsigned char bit = (unsigned char)(1U << scan->depth % 8);
    unsigned char *place = &scan->is_object[scan->depth / 8];
    *place = (unsigned char)(is_object ? *place | bit : *place & ~bit);
    scan->depth++;
    scan->at++;
    skip_space(scan);
    return true;
}

static bool skip_name(struct scan *scan) {
    if (next(scan) != '"') {
        return fail(scan, "no name of a member");
    }
    if (!skip_string(scan)) {
        return false;
    }
    skip_space(scan);
    if (next(scan) != ':') {
        return fail(scan, "no colon after a name");
    }
    scan->at++;
    skip_space(scan);
    return true;
}

static bool skip_scalar(struct scan *scan) {
    switch (next(scan)) {
    case '"':
        return skip_string(scan);
    case 't':
        return skip_literal(scan, "true");
    case 'f':
        return skip_literal(scan, "false");
    case 'n':
        return skip_literal(scan, "null");
    default:
        return next(scan) == '-' || is_digit(next(scan)) ? skip_number(scan)
                                                         : fail(scan, "no JSON value");
    }
}

/* After a value: closes what ends here, and stops before the next value. `out_done`: it was the last. */
static bool go_on(struct scan *scan, bool *out_done) {
    for (;;) {
        skip_space(scan);
        if (scan->depth == 0) {
            *out_done = true;
            return scan->at == scan->end || fail(scan, "something behind the value");
        }
        bool in_object = is_in_object(scan);
        if (next(scan) == ',') {
            scan->at++;
            skip_space(scan);
            return !in_object || skip_name(scan);
        }
        if (next(scan) != (in_object ? '}' : ']')) {
            return fail(scan, "no comma and no end");
        }
        scan->at++;
        scan->depth--;
    }
}

/* One value that is no list and no object, or the beginning of one: `out_is_open` says that a value has to follow. */
static bool begin_value(struct scan *scan, bool *out_is_open) {
    unsigned char kind = next(scan);
    *out_is_open = false;
    if (kind != '[' && kind != '{') {
        return skip_scalar(scan);
    }
    if (!open_level(scan, kind == '{')) {
        return false;
    }
    if (next(scan) == (kind == '{' ? '}' : ']')) {
        scan->at++;
        scan->depth--;
        return true;
    }
    *out_is_open = true;
    return kind == '[' || skip_name(scan);
}

bool json_check(const char *bytes, size_t size_bytes, struct error *err) {
    struct scan scan = {.start = (const unsigned char *)bytes, .err = err};
    scan.at = scan.start;
    scan.end = scan.start + size_bytes;
    skip_space(&scan);
    for (bool done = false; !done;) {
        bool is_open;
        if (!begin_value(&scan, &is_open) || (!is_open && !go_on(&scan, &done))) {
            return false;
        }
    }
    return true;
}
