#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_CHUNK_BYTES = 4096 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size_bytes;
    alignas(max_align_t) char data[];
};

void arena_init(struct arena *arena) { *arena = (struct arena){0}; }

static void free_chunks(struct arena_chunk *chunk) {
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
}

void arena_fini(struct arena *arena) {
    free_chunks(arena->chunks);
    arena_init(arena);
}

void arena_reset(struct arena *arena) {
    struct arena_chunk *kept = arena->chunks;
    if (kept == NULL) {
        return;
    }
    free_chunks(kept->older);
    kept->older = NULL;
    arena->next = kept->data;
    arena->end = kept->data + kept->size_bytes;
}

void *arena_alloc(struct arena *arena, size_t size_bytes) {
    ASSERT(size_bytes < SIZE_MAX / 2);
    size_t wanted = MAX_OF(size_bytes, (size_t)1);
    size_t rounded = (wanted + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if ((size_t)(arena->end - arena->next) < rounded) {
        size_t chunk_bytes = MAX_OF(rounded, (size_t)ARENA_CHUNK_BYTES);
        struct arena_chunk *chunk = must_alloc(sizeof *chunk + chunk_bytes);
        chunk->older = arena->chunks;
        chunk->size_bytes = chunk_bytes;
        arena->chunks = chunk;
        arena->next = chunk->data;
        arena->end = chunk->data + chunk_bytes;
    }
    void *result = arena->next;
    arena->next += rounded;
    return result;
}

void *arena_alloc_zeroed(struct arena *arena, size_t size_bytes) {
    return memset(arena_alloc(arena, size_bytes), 0, size_bytes);
}

char *arena_strndup(struct arena *arena, const char *string, size_t size_bytes) {
    char *copy = arena_alloc(arena, size_bytes + 1);
    memcpy(copy, string, size_bytes);
    copy[size_bytes] = '\0';
    return copy;
}

char *arena_strdup(struct arena *arena, const char *string) {
    return arena_strndup(arena, string, strlen(string));
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    char *result = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(result, (size_t)length + 1, format, again);
    va_end(again);
    return result;
}
