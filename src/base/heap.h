/* Priority queue: a 4-ary heap with removal by handle; the least rank comes first. An element embeds a
 * `struct heap_handle`; the heap keeps its index there, so that an element can be moved or removed in
 * O(log n). 16 bytes an element. Equal ranks come in an order that is the same on every run with the same calls.
 * Owns none of the elements. */
#ifndef ORRERY_BASE_HEAP_H
#define ORRERY_BASE_HEAP_H

#include "base/base.h"

#define HEAP_ABSENT UINT32_MAX

/* heap_handle_init before first use. */
struct heap_handle {
    uint32_t index;
};

struct heap_item {
    int64_t rank;
    struct heap_handle *handle;
};

struct heap {
    struct heap_item *items;
    uint32_t count;
    uint32_t capacity;
};

/* A zeroed struct is a valid empty heap. */
void heap_fini(struct heap *heap);

static inline void heap_handle_init(struct heap_handle *handle) { handle->index = HEAP_ABSENT; }
static inline bool heap_contains(const struct heap_handle *handle) {
    return handle->index != HEAP_ABSENT;
}

/* Adds the element, or moves it if it is there already. */
void heap_put(struct heap *heap, struct heap_handle *handle, int64_t rank);

/* Removes it if it is there. */
void heap_remove(struct heap *heap, struct heap_handle *handle);

/* The item with the least rank, or NULL. */
static inline const struct heap_item *heap_first(const struct heap *heap) {
    return heap->count == 0 ? NULL : &heap->items[0];
}

#endif
