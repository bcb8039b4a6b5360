/* What C lacks and every module uses: compiler annotations, array sizes, assertion, allocation that
 * cannot fail.
 *
 * Small allocations never return NULL: they end the program, because orrery survives a kill at any
 * instant by design and tests that path. So whatever an outsider can size has a named limit which is
 * checked at the door and answered with an ordinary error, and a library's own "no memory" is an
 * ordinary error too. */
#ifndef ORRERY_BASE_BASE_H
#define ORRERY_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first) __attribute__((format(printf, format_index, first)))
#define NORETURN __attribute__((noreturn))
#define CLEANUP(function) __attribute__((cleanup(function)))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* A broken assumption is a bug, not an error: it ends the program with a report, in release too. */
#define ASSERT(condition)                                                                          \
    ((condition) ? (void)0 : assertion_failed(#condition, __FILE__, __LINE__, __func__))

NORETURN void assertion_failed(const char *condition, const char *file, int line,
                               const char *function);

/* malloc, calloc, realloc and strdup that end the program instead of returning NULL. The caller owns
 * the result and frees it with free(). */
void *must_alloc(size_t size_bytes) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void *must_alloc_zeroed(size_t count, size_t size_bytes)
    __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));
void *must_realloc(void *pointer, size_t size_bytes)
    __attribute__((returns_nonnull, alloc_size(2)));
char *must_strdup(const char *string) __attribute__((malloc, returns_nonnull));

/* For CLEANUP(free_pointer) on any pointer variable. */
static inline void free_pointer(void *pointer_to_pointer) {
    extern void free(void *);
    free(*(void **)pointer_to_pointer);
}

#endif
