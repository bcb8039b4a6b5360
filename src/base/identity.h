/* Ids. Inside, an id is a positive 63-bit number: microseconds since the epoch times 2^10 plus a
 * counter, strictly increasing per source, so it is unique in a store, ordered by time, and a row's
 * primary key without a second index. Outside it is the UUIDv7 (RFC 9562 section 5.7) made of the
 * number and of the store's tag, 52 random bits that are drawn once per store:
 *
 *   unix_ts_ms (48) | 7 | rand_a: microseconds of the millisecond (10), 0 (2)
 *   | variant (2) | counter (10) | store tag (52)
 *
 * So an id of another store is never mistaken for one of this. Ids are names, not secrets: whoever
 * knows one still has to be its owner. */
#ifndef ORRERY_BASE_IDENTITY_H
#define ORRERY_BASE_IDENTITY_H

#include "base/base.h"

#include <stdatomic.h>

enum { UUID_TEXT_BYTES = 37 };

/* Formats `key` as lower-case UUID text with its NUL. */
void identity_format(int64_t key, uint64_t store_tag, char out[static UUID_TEXT_BYTES]);

/* True and the key, if the text is a UUID (either case) that identity_format makes of some key with
 * this tag. */
MUST_CHECK bool identity_parse(const char *text, uint64_t store_tag, int64_t *out_key);

/* A source of keys. Any thread; a zeroed source is valid. */
struct identity_source {
    _Atomic int64_t last_key;
};

/* Keys will be greater than this one (the greatest in the store). */
void identity_source_init(struct identity_source *source, int64_t greatest_key);

/* A new key, greater than all before, also when the clock went back. */
int64_t identity_next(struct identity_source *source, int64_t now_us);

/* The time a key was made. */
int64_t identity_us(int64_t key);
/* The least key that can have been made at that time. */
int64_t identity_least(int64_t us);

#endif
