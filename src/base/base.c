#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void assertion_failed(const char *condition, const char *file, int line, const char *function) {
    fprintf(stderr, "orrery: assertion failed: %s at %s:%d in %s\n", condition, file, line,
            function);
    abort();
}

static void *checked(void *pointer, size_t size_bytes) {
    if (pointer == NULL) {
        fprintf(stderr, "orrery: out of memory allocating %zu bytes\n", size_bytes);
        abort();
    }
    return pointer;
}

void *must_alloc(size_t size_bytes) {
    return checked(malloc(size_bytes == 0 ? 1 : size_bytes), size_bytes);
}

void *must_alloc_zeroed(size_t count, size_t size_bytes) {
    return checked(calloc(count == 0 ? 1 : count, size_bytes == 0 ? 1 : size_bytes), size_bytes);
}

void *must_realloc(void *pointer, size_t size_bytes) {
    return checked(realloc(pointer, size_bytes == 0 ? 1 : size_bytes), size_bytes);
}

char *must_strdup(const char *string) { return checked(strdup(string), strlen(string) + 1); }
