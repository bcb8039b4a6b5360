#include "api/body.h"

#include <stdlib.h>
#include <string.h>

/* --- memory for the parser ---------------------------------------------------------------------- */

struct parser_memory {
    struct arena *arena;
    size_t used_bytes;
};

static void *memory_alloc(void *context, size_t size_bytes) {
    struct parser_memory *memory = context;
    if (size_bytes > BODY_PARSED_BYTES_MAXIMUM - memory->used_bytes) {
        return NULL;
    }
    memory->used_bytes += size_bytes;
    return arena_alloc(memory->arena, size_bytes);
}

static void *memory_realloc(void *context, void *pointer, size_t old_bytes, size_t size_bytes) {
    void *grown = memory_alloc(context, size_bytes);
    if (grown != NULL) {
        memcpy(grown, pointer, MIN_OF(old_bytes, size_bytes));
    }
    return grown;
}

static void memory_free(void *context, void *pointer) {
    (void)context;
    (void)pointer;
}

/* --- what a parser does not mind ---------------------------------------------------------------- */

static bool check_depth(const char *text, size_t size_bytes, struct error *err) {
    size_t depth = 0;
    for (const char *at = text; at < text + size_bytes; at++) {
        switch (*at) {
        case '{':
        case '[':
            if (++depth > BODY_DEPTH_MAXIMUM) {
                return error_set(err, ERROR_MALFORMED, "the body is nested deeper than %d levels",
                                 BODY_DEPTH_MAXIMUM);
            }
            break;
        case '}':
        case ']':
            depth -= depth > 0 ? 1 : 0;
            break;
        case '"':
            /* Past the string; an unterminated one is the parser's matter. */
            for (at++; at < text + size_bytes && *at != '"'; at++) {
                at += *at == '\\' ? 1 : 0;
            }
            break;
        default:
            break;
        }
    }
    return true;
}

static int compare_keys(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Keys hold no NUL: that is checked before. */
static bool check_keys(yyjson_val *object, struct arena *arena, struct error *err) {
    size_t count = yyjson_obj_size(object);
    if (count < 2) {
        return true;
    }
    const char **keys = arena_alloc(arena, count * sizeof *keys);
    size_t index = 0;
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        keys[index++] = yyjson_get_str(key);
    }
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0) {
            return error_set_field(err, ERROR_MALFORMED, keys[i], "the key '%.100s' comes twice",
                                   keys[i]);
        }
    }
    return true;
}

/* yyjson keeps all values in one row, in the order of the text; so no recursion is needed. */
static bool check_values(yyjson_doc *doc, struct arena *arena, struct error *err) {
    yyjson_val *first = yyjson_doc_get_root(doc);
    size_t count = yyjson_doc_get_val_count(doc);
    for (size_t i = 0; i < count; i++) {
        yyjson_val *value = first + i;
        if (yyjson_is_str(value)) {
            if (memchr(yyjson_get_str(value), '\0', yyjson_get_len(value)) != NULL) {
                return error_set(err, ERROR_MALFORMED,
                                 "a string in the body holds a NUL character");
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (yyjson_is_obj(first + i) && !check_keys(first + i, arena, err)) {
            return false;
        }
    }
    return true;
}

static bool fail_parse(const char *text, size_t size_bytes, const yyjson_read_err *failure,
                       struct error *err) {
    if (failure->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        return error_set(err, ERROR_TOO_LARGE, "the body has too many values");
    }
    if (size_bytes == 0 || failure->code == YYJSON_READ_ERROR_EMPTY_CONTENT) {
        return error_set(err, ERROR_MALFORMED, "the body is empty; a JSON object is expected");
    }
    size_t line = 1;
    size_t line_start = 0;
    size_t position = MIN_OF(failure->pos, size_bytes);
    for (size_t i = 0; i < position; i++) {
        if (text[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    return error_set(err, ERROR_MALFORMED, "the body is not JSON: %s (line %zu, column %zu)",
                     failure->msg, line, position - line_start + 1);
}

bool body_parse(const char *text, size_t size_bytes, struct arena *arena, struct body *out_body,
                struct error *err) {
    if (!check_depth(text, size_bytes, err)) {
        return false;
    }
    struct parser_memory memory = {.arena = arena};
    yyjson_alc allocator = {memory_alloc, memory_realloc, memory_free, &memory};
    yyjson_read_err failure;
    /* Not in situ: the text is still needed as it was written. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text, size_bytes, YYJSON_READ_NOFLAG,
                                       &allocator, &failure);
    if (doc == NULL) {
        return fail_parse(text, size_bytes, &failure, err);
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root)) {
        return error_set(err, ERROR_MALFORMED, "the body must be a JSON object, not %s",
                         yyjson_get_type_desc(root));
    }
    if (!check_values(doc, arena, err)) {
        return false;
    }
    *out_body = (struct body){.text = text, .size_bytes = size_bytes, .root = root};
    return true;
}

/* --- the text as it was written ------------------------------------------------------------------ */

/* All of these work on text that the parser has accepted. */

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++) {
        at += *at == '\\' ? 1 : 0;
    }
    return at + 1;
}

static const char *skip_value(const char *at) {
    size_t depth = 0;
    do {
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (depth == 0) {
            return at + strcspn(at, ",]} \t\r\n");
        }
        at++;
    } while (depth > 0);
    return at;
}

static const char *compact(const char *from, const char *end, struct arena *arena) {
    char *text = arena_alloc(arena, (size_t)(end - from) + 1);
    char *to = text;
    while (from < end) {
        if (*from == '"') {
            const char *after = skip_string(from);
            memcpy(to, from, (size_t)(after - from));
            to += after - from;
            from = after;
        } else if (*from == ' ' || *from == '\t' || *from == '\r' || *from == '\n') {
            from++;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return text;
}

const char *body_member_text(const struct body *body, const char *key, struct arena *arena) {
    /* The key may be written with escapes, so the member is found by its number. */
    size_t index = 0;
    bool found = false;
    yyjson_obj_iter iterator = yyjson_obj_iter_with(body->root);
    for (yyjson_val *name; (name = yyjson_obj_iter_next(&iterator)) != NULL; index++) {
        if (yyjson_equals_str(name, key)) {
            found = true;
            break;
        }
    }
    if (!found) {
        return NULL;
    }
    const char *at = skip_space(body->text) + 1;
    for (;; index--) {
        at = skip_space(skip_string(skip_space(at))) + 1;
        at = skip_space(at);
        const char *end = skip_value(at);
        if (index == 0) {
            return compact(at, end, arena);
        }
        at = skip_space(end) + 1;
    }
}

const char *body_text(const struct body *body, struct arena *arena) {
    const char *at = skip_space(body->text);
    return compact(at, skip_value(at), arena);
}
