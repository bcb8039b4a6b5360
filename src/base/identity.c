#include "base/identity.h"

#include "base/text.h"

#include <string.h>

enum { COUNTER_BITS = 10 };

#define TAG_MASK ((UINT64_C(1) << 52) - 1)

int64_t identity_us(int64_t key) { return key >> COUNTER_BITS; }

int64_t identity_least(int64_t us) { return us * (1 << COUNTER_BITS); }

void identity_format(int64_t key, uint64_t store_tag, char out[static UUID_TEXT_BYTES]) {
    uint64_t us = (uint64_t)identity_us(key);
    uint64_t counter = (uint64_t)key & ((1U << COUNTER_BITS) - 1);
    uint64_t ms = us / 1000;
    uint64_t high = ms << 16 | UINT64_C(0x7000) | (us % 1000) << 2;
    uint64_t low = UINT64_C(2) << 62 | counter << 52 | (store_tag & TAG_MASK);
    /* By hand: ids are formatted and checked several times in every request. */
    char *to = out;
    for (int digit = 0; digit < 32; digit++) {
        if (digit == 8 || digit == 12 || digit == 16 || digit == 20) {
            *to++ = '-';
        }
        uint64_t half = digit < 16 ? high : low;
        *to++ = "0123456789abcdef"[half >> (60 - 4 * (digit & 15)) & 0xf];
    }
    *to = '\0';
}

bool identity_parse(const char *text, uint64_t store_tag, int64_t *out_key) {
    uint64_t halves[2] = {0, 0};
    size_t digits = 0;
    for (size_t i = 0; i < UUID_TEXT_BYTES - 1; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') {
                return false;
            }
            continue;
        }
        int digit = hex_digit_value(text[i]);
        if (digit < 0) {
            return false;
        }
        halves[digits / 16] = halves[digits / 16] << 4 | (uint64_t)digit;
        digits++;
    }
    if (text[UUID_TEXT_BYTES - 1] != '\0') {
        return false;
    }
    uint64_t ms = halves[0] >> 16;
    uint64_t us_of_ms = halves[0] >> 2 & 0x3ff;
    uint64_t counter = halves[1] >> 52 & 0x3ff;
    if (us_of_ms > 999 || ms > (uint64_t)INT64_MAX / 1000 / (1 << COUNTER_BITS)) {
        return false;
    }
    int64_t key = (int64_t)((ms * 1000 + us_of_ms) << COUNTER_BITS | counter);
    /* All other bits are fixed, so the text must be what the key formats to. */
    char again[UUID_TEXT_BYTES];
    identity_format(key, store_tag, again);
    if (strcasecmp(again, text) != 0) {
        return false;
    }
    *out_key = key;
    return true;
}

void identity_source_init(struct identity_source *source, int64_t greatest_key) {
    atomic_store(&source->last_key, greatest_key);
}

int64_t identity_next(struct identity_source *source, int64_t now_us) {
    int64_t wanted = identity_least(now_us);
    int64_t last = atomic_load_explicit(&source->last_key, memory_order_relaxed);
    int64_t next;
    do {
        next = wanted > last ? wanted : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&source->last_key, &last, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return next;
}
