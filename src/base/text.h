/* Text builder: a growing byte string with a maximum. The first failure (the maximum) is remembered
 * and later calls do nothing, so a builder is checked once, at the end, with text_ok.
 *
 * The bytes are always NUL-terminated. The builder owns them until text_take. One thread at a time. */
#ifndef ORRERY_BASE_TEXT_H
#define ORRERY_BASE_TEXT_H

#include "base/base.h"

struct text {
    char *data; /* NULL while empty */
    size_t size_bytes;
    size_t capacity_bytes;
    size_t maximum_bytes;
    bool overflowed;
};

void text_init(struct text *text, size_t maximum_bytes);
void text_fini(struct text *text);

/* Empties it and keeps the memory. */
void text_reset(struct text *text);

void text_append(struct text *text, const char *string);
void text_append_bytes(struct text *text, const void *bytes, size_t size_bytes);
void text_append_char(struct text *text, char character);
/* In decimal; quicker than text_printf. */
void text_append_integer(struct text *text, int64_t integer);
void text_printf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* Appends a JSON string literal, quotes included. Bytes that are not UTF-8 become U+FFFD (RFC 8259
 * section 8.1 wants UTF-8). */
void text_append_json_string(struct text *text, const char *string);

/* Room for `size_bytes` more at the end, to be filled by the caller and then claimed with
 * text_claim; NULL if that would pass the maximum. */
char *text_reserve(struct text *text, size_t size_bytes);
void text_claim(struct text *text, size_t size_bytes);

bool text_ok(const struct text *text);
const char *text_string(const struct text *text);

/* Hands the bytes over: the caller frees them; the builder is empty again. */
char *text_take(struct text *text);

/* The length in bytes of the well-formed UTF-8 sequence (RFC 3629) at the beginning of the string; 0: there is none. */
size_t utf8_sequence_bytes(const char *string);

/* The value of a hexadecimal digit of either case; -1 for any other character. */
int hex_digit_value(char character);

#endif
