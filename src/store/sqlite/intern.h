/* For neighbours in sqlite/: a small cache from a name (any bytes) to the key of its row, so that a write need
 * not look up the same few names each time. Rows of names are never deleted, so an entry stays true; only a
 * transaction that is rolled back takes its new rows along, and then the cache is cleared. A newer name takes
 * the place of an older one. Belongs to the session's thread. */
#ifndef ORRERY_STORE_SQLITE_INTERN_H
#define ORRERY_STORE_SQLITE_INTERN_H

#include "base/base.h"

enum { INTERN_PLACES = 64, INTERN_BYTES_MAXIMUM = 512 };

struct intern_place {
    char *bytes; /* NULL: empty */
    size_t size_bytes;
    int64_t key;
};

struct intern_cache {
    struct intern_place places[INTERN_PLACES];
};

/* The key, or 0. */
int64_t intern_cache_get(const struct intern_cache *cache, const void *bytes, size_t size_bytes);
/* Longer names than INTERN_BYTES_MAXIMUM are not kept. */
void intern_cache_put(struct intern_cache *cache, const void *bytes, size_t size_bytes,
                      int64_t key);
void intern_cache_clear(struct intern_cache *cache);

#endif
