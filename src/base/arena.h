/* Arena: memory for the data of one request, one tick or one command. All that is parsed or built for
 * it lives there and goes at once. It is passed by hand, so a signature shows where a result lives.
 *
 * Allocation never returns NULL (see base.h). An arena belongs to one thread at a time. */
#ifndef ORRERY_BASE_ARENA_H
#define ORRERY_BASE_ARENA_H

#include "base/base.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    char *next;
    char *end;
};

/* Empty and ready; allocates nothing until first used. A zeroed struct is a valid empty arena. */
void arena_init(struct arena *arena);

/* Frees all of it; the arena is empty and usable again. */
void arena_fini(struct arena *arena);

/* Forgets all but keeps the newest chunk for reuse. */
void arena_reset(struct arena *arena);

/* Aligned for any type; not zeroed. */
void *arena_alloc(struct arena *arena, size_t size_bytes) __attribute__((returns_nonnull));
void *arena_alloc_zeroed(struct arena *arena, size_t size_bytes) __attribute__((returns_nonnull));

char *arena_strdup(struct arena *arena, const char *string) __attribute__((returns_nonnull));
char *arena_strndup(struct arena *arena, const char *string, size_t size_bytes)
    __attribute__((returns_nonnull));
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3)
    __attribute__((returns_nonnull));

#endif
