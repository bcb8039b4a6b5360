/* Hash map of things that begin with their key, an int64_t other than 0: open addressing, linear probing, 8
 * bytes a place, at most three quarters full. Owns none of them. One thread at a time. */
#ifndef ORRERY_BASE_MAP_H
#define ORRERY_BASE_MAP_H

#include "base/base.h"

struct map {
    void **places;   /* NULL: empty */
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* A zeroed struct is a valid empty map. */
void map_fini(struct map *map);

/* The thing or NULL. */
void *map_get(const struct map *map, int64_t key);

/* Adds it, in the place of another one with its key, which is returned; else NULL. */
void *map_put(struct map *map, void *thing);

/* Removes and returns the thing, or NULL. */
void *map_remove(struct map *map, int64_t key);

#endif
