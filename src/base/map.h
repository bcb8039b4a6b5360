/* Hash map from a positive 64-bit key to a pointer: open addressing, linear probing, 16 bytes a place, at
 * most three quarters full. Owns none of the values. One thread at a time. */
#ifndef ORRERY_BASE_MAP_H
#define ORRERY_BASE_MAP_H

#include "base/base.h"

struct map_place {
    int64_t key; /* 0: empty */
    void *value;
};

struct map {
    struct map_place *places;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* A zeroed struct is a valid empty map. */
void map_fini(struct map *map);

/* The value or NULL. */
void *map_get(const struct map *map, int64_t key);

/* Adds or replaces; returns what was there before, or NULL. The value must not be NULL. */
void *map_put(struct map *map, int64_t key, void *value);

/* Removes and returns the value, or NULL. */
void *map_remove(struct map *map, int64_t key);

#endif
