#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *text, size_t maximum_bytes) {
    *text = (struct text){.maximum_bytes = maximum_bytes};
}

void text_fini(struct text *text) {
    free(text->data);
    text_init(text, text->maximum_bytes);
}

void text_reset(struct text *text) {
    text->size_bytes = 0;
    text->overflowed = false;
    if (text->data != NULL) {
        text->data[0] = '\0';
    }
}

char *text_reserve(struct text *text, size_t size_bytes) {
    if (text->overflowed || size_bytes > text->maximum_bytes - text->size_bytes) {
        text->overflowed = true;
        return NULL;
    }
    size_t needed = text->size_bytes + size_bytes + 1;
    if (needed > text->capacity_bytes) {
        size_t grown = MAX_OF(needed, MAX_OF((size_t)64, text->capacity_bytes * 2));
        text->data = must_realloc(text->data, grown);
        text->capacity_bytes = grown;
    }
    return text->data + text->size_bytes;
}

void text_claim(struct text *text, size_t size_bytes) {
    text->size_bytes += size_bytes;
    ASSERT(text->size_bytes < text->capacity_bytes);
    text->data[text->size_bytes] = '\0';
}

void text_append_bytes(struct text *text, const void *bytes, size_t size_bytes) {
    char *room = text_reserve(text, size_bytes);
    if (room != NULL) {
        if (size_bytes > 0) {
            memcpy(room, bytes, size_bytes);
        }
        text_claim(text, size_bytes);
    }
}

void text_append(struct text *text, const char *string) {
    text_append_bytes(text, string, strlen(string));
}

void text_append_char(struct text *text, char character) { text_append_bytes(text, &character, 1); }

void text_append_integer(struct text *text, int64_t integer) {
    char digits[20]; /* of INT64_MIN, with its sign */
    char *start = digits + sizeof digits;
    uint64_t left = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
    do {
        *--start = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (integer < 0) {
        *--start = '-';
    }
    text_append_bytes(text, start, (size_t)(digits + sizeof digits - start));
}

void text_printf(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    char *room = text_reserve(text, (size_t)length);
    if (room != NULL) {
        vsnprintf(room, (size_t)length + 1, format, again);
        text_claim(text, (size_t)length);
    }
    va_end(again);
}

/* The string ends with NUL, which is no continuation byte, so reading stops in time. */
size_t utf8_sequence_bytes(const char *string) {
    const unsigned char *bytes = (const unsigned char *)string;
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        size_t size_bytes;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        if (bytes[0] < forms[i].first_low || bytes[0] > forms[i].first_high) {
            continue;
        }
        if (forms[i].size_bytes == 1) {
            return 1;
        }
        if (bytes[1] < forms[i].second_low || bytes[1] > forms[i].second_high) {
            return 0;
        }
        for (size_t k = 2; k < forms[i].size_bytes; k++) {
            if ((bytes[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].size_bytes;
    }
    return 0;
}

void text_append_json_string(struct text *text, const char *string) {
    text_append_char(text, '"');
    const unsigned char *from = (const unsigned char *)string;
    while (*from != '\0') {
        const unsigned char *plain = from;
        while (*plain >= 0x20 && *plain < 0x7f && *plain != '"' && *plain != '\\') {
            plain++;
        }
        text_append_bytes(text, from, (size_t)(plain - from));
        from = plain;
        size_t size_bytes = utf8_sequence_bytes((const char *)from);
        if (*from == '\0') {
            break;
        }
        if (*from == '"' || *from == '\\') {
            text_printf(text, "\\%c", *from);
            from++;
        } else if (size_bytes > 1) {
            text_append_bytes(text, from, size_bytes);
            from += size_bytes;
        } else if (size_bytes == 1) {
            text_printf(text, "\\u%04x", *from);
            from++;
        } else {
            text_append(text, "\xef\xbf\xbd");
            from++;
        }
    }
    text_append_char(text, '"');
}

bool text_ok(const struct text *text) { return !text->overflowed; }

const char *text_string(const struct text *text) { return text->data == NULL ? "" : text->data; }

char *text_take(struct text *text) {
    char *data = text->data == NULL ? must_strdup("") : text->data;
    text_init(text, text->maximum_bytes);
    return data;
}

int hex_digit_value(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return -1;
}
