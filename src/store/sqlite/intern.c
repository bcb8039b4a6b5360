#include "store/sqlite/intern.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a (RFC 9923), folded: the last bytes of a name reach the lower bits and the upper ones, but none between. */
static size_t place_of(const void *bytes, size_t size_bytes) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size_bytes; i++) {
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
    }
    return (size_t)(hash ^ hash >> 32) % INTERN_PLACES;
}

int64_t intern_cache_get(const struct intern_cache *cache, const void *bytes, size_t size_bytes) {
    const struct intern_place *place = &cache->places[place_of(bytes, size_bytes)];
    bool same = place->bytes != NULL && place->size_bytes == size_bytes &&
                memcmp(place->bytes, bytes, size_bytes) == 0;
    return same ? place->key : 0;
}

void intern_cache_put(struct intern_cache *cache, const void *bytes, size_t size_bytes,
                      int64_t key) {
    if (size_bytes > INTERN_BYTES_MAXIMUM) {
        return;
    }
    struct intern_place *place = &cache->places[place_of(bytes, size_bytes)];
    free(place->bytes);
    place->bytes = must_alloc(size_bytes);
    memcpy(place->bytes, bytes, size_bytes);
    place->size_bytes = size_bytes;
    place->key = key;
}

void intern_cache_clear(struct intern_cache *cache) {
    for (size_t i = 0; i < INTERN_PLACES; i++) {
        free(cache->places[i].bytes);
    }
    *cache = (struct intern_cache){0};
}
