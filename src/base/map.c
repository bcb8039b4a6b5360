#include "base/map.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

void map_fini(struct map *map) {
    free(map->places);
    *map = (struct map){0};
}

static int64_t key_of(const void *thing) { return *(const int64_t *)thing; }

/* The finalizer of SplitMix64: keys are times, whose low bits alone would cluster. */
static size_t place_of(const struct map *map, int64_t key) {
    uint64_t hash = (uint64_t)key;
    hash = (hash ^ hash >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
    return (size_t)(hash ^ hash >> 31) & (map->capacity - 1);
}

/* The place that holds the key, or the empty place where it belongs. */
static void **find_place(const struct map *map, int64_t key) {
    size_t at = place_of(map, key);
    while (map->places[at] != NULL && key_of(map->places[at]) != key) {
        at = (at + 1) & (map->capacity - 1);
    }
    return &map->places[at];
}

void *map_get(const struct map *map, int64_t key) {
    return map->capacity == 0 ? NULL : *find_place(map, key);
}

static void grow(struct map *map) {
    struct map old = *map;
    map->capacity = old.capacity == 0 ? FIRST_CAPACITY : old.capacity * 2;
    map->places = must_alloc_zeroed(map->capacity, sizeof *map->places);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.places[i] != NULL) {
            *find_place(map, key_of(old.places[i])) = old.places[i];
        }
    }
    free(old.places);
}

void *map_put(struct map *map, void *thing) {
    ASSERT(thing != NULL && key_of(thing) != 0);
    if ((map->count + 1) * 4 > map->capacity * 3) {
        grow(map);
    }
    void **place = find_place(map, key_of(thing));
    void *before = *place;
    map->count += before == NULL ? 1 : 0;
    *place = thing;
    return before;
}

void *map_remove(struct map *map, int64_t key) {
    if (map->capacity == 0) {
        return NULL;
    }
    void **place = find_place(map, key);
    void *thing = *place;
    if (thing == NULL) {
        return NULL;
    }
    map->count--;
    /* Backward shift: what follows moves up as long as that brings it nearer to its own place, so no
     * tombstones are needed. */
    size_t mask = map->capacity - 1;
    size_t hole = (size_t)(place - map->places);
    for (size_t at = (hole + 1) & mask; map->places[at] != NULL; at = (at + 1) & mask) {
        size_t home = place_of(map, key_of(map->places[at]));
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->places[hole] = map->places[at];
            hole = at;
        }
    }
    map->places[hole] = NULL;
    return thing;
}
