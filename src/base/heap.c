#include "base/heap.h"

#include <stdlib.h>

enum { ARITY = 4, FIRST_CAPACITY = 64 };

void heap_fini(struct heap *heap) {
    free(heap->items);
    *heap = (struct heap){0};
}

static bool is_before(const struct heap_item *a, const struct heap_item *b) {
    return a->rank < b->rank;
}

static void place(struct heap *heap, uint32_t index, struct heap_item item) {
    heap->items[index] = item;
    item.handle->index = index;
}

static void sift_up(struct heap *heap, uint32_t index, struct heap_item item) {
    while (index > 0) {
        uint32_t parent = (index - 1) / ARITY;
        if (!is_before(&item, &heap->items[parent])) {
            break;
        }
        place(heap, index, heap->items[parent]);
        index = parent;
    }
    place(heap, index, item);
}

static void sift_down(struct heap *heap, uint32_t index, struct heap_item item) {
    for (;;) {
        uint64_t first_child = (uint64_t)index * ARITY + 1;
        if (first_child >= heap->count) {
            break;
        }
        uint32_t best = (uint32_t)first_child;
        uint32_t end = (uint32_t)MIN_OF(first_child + ARITY, (uint64_t)heap->count);
        for (uint32_t child = best + 1; child < end; child++) {
            if (is_before(&heap->items[child], &heap->items[best])) {
                best = child;
            }
        }
        if (!is_before(&heap->items[best], &item)) {
            break;
        }
        place(heap, index, heap->items[best]);
        index = best;
    }
    place(heap, index, item);
}

/* Puts the item where it belongs, starting from a free place. */
static void settle(struct heap *heap, uint32_t index, struct heap_item item) {
    if (index > 0 && is_before(&item, &heap->items[(index - 1) / ARITY])) {
        sift_up(heap, index, item);
    } else {
        sift_down(heap, index, item);
    }
}

void heap_put(struct heap *heap, struct heap_handle *handle, int64_t rank) {
    struct heap_item item = {.rank = rank, .handle = handle};
    if (heap_contains(handle)) {
        settle(heap, handle->index, item);
        return;
    }
    if (heap->count == heap->capacity) {
        ASSERT(heap->capacity < UINT32_MAX / 4);
        heap->capacity = heap->capacity == 0 ? FIRST_CAPACITY : heap->capacity * 2;
        heap->items = must_realloc(heap->items, heap->capacity * sizeof *heap->items);
    }
    sift_up(heap, heap->count++, item);
}

void heap_remove(struct heap *heap, struct heap_handle *handle) {
    if (!heap_contains(handle)) {
        return;
    }
    uint32_t index = handle->index;
    heap_handle_init(handle);
    struct heap_item last = heap->items[--heap->count];
    if (index < heap->count) {
        settle(heap, index, last);
    }
    /* What was once needed for very many goes back when few are left. */
    if (heap->capacity > FIRST_CAPACITY && heap->count < heap->capacity / 4) {
        heap->capacity /= 2;
        heap->items = must_realloc(heap->items, heap->capacity * sizeof *heap->items);
    }
}
