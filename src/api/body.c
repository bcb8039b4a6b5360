#include "api/body.h"

#include <stdlib.h>
#include <string.h>

/* --- memory for the parser ---------------------------------------------------------------------- */

/* Every byte is counted, for this body and for all. */
struct body_memory {
    struct body_budget *budget; /* or NULL */
    size_t used_bytes;
    bool is_crowded; /* other bodies were in the way */
};

static bool charge(struct body_memory *memory, size_t size_bytes) {
    if (size_bytes > BODY_PARSED_BYTES_MAXIMUM - memory->used_bytes) {
        return false;
    }
    struct body_budget *budget = memory->budget;
    if (budget != NULL &&
        atomic_fetch_add(&budget->used_bytes, size_bytes) + size_bytes > budget->maximum_bytes) {
        atomic_fetch_sub(&budget->used_bytes, size_bytes);
        memory->is_crowded = true;
        return false;
    }
    memory->used_bytes += size_bytes;
    return true;
}

static void discharge(struct body_memory *memory, size_t size_bytes) {
    memory->used_bytes -= size_bytes;
    if (memory->budget != NULL) {
        atomic_fetch_sub(&memory->budget->used_bytes, size_bytes);
    }
}

/* The parser does not tell how much it frees, so each piece begins with its size. */
enum { PIECE_HEADER_BYTES = _Alignof(max_align_t) };
_Static_assert(PIECE_HEADER_BYTES >= sizeof(size_t), "room for the size");

static size_t piece_bytes(const char *piece) {
    size_t size_bytes;
    memcpy(&size_bytes, piece, sizeof size_bytes);
    return size_bytes;
}

static void *finish_piece(char *piece, size_t size_bytes) {
    memcpy(piece, &size_bytes, sizeof size_bytes);
    return piece + PIECE_HEADER_BYTES;
}

static void *memory_alloc(void *context, size_t size_bytes) {
    size_bytes += PIECE_HEADER_BYTES;
    return charge(context, size_bytes) ? finish_piece(must_alloc(size_bytes), size_bytes) : NULL;
}

static void *memory_realloc(void *context, void *pointer, size_t old_bytes, size_t size_bytes) {
    (void)old_bytes;
    char *piece = (char *)pointer - PIECE_HEADER_BYTES;
    size_t had_bytes = piece_bytes(piece);
    size_bytes += PIECE_HEADER_BYTES;
    if (size_bytes > had_bytes && !charge(context, size_bytes - had_bytes)) {
        return NULL;
    }
    if (size_bytes < had_bytes) {
        discharge(context, had_bytes - size_bytes);
    }
    return finish_piece(must_realloc(piece, size_bytes), size_bytes);
}

static void memory_free(void *context, void *pointer) {
    if (pointer != NULL) {
        char *piece = (char *)pointer - PIECE_HEADER_BYTES;
        discharge(context, piece_bytes(piece));
        free(piece);
    }
}

void body_fini(struct body *body) {
    yyjson_doc_free(body->doc);
    if (body->memory != NULL) {
        ASSERT(body->memory->used_bytes == 0);
    }
    free(body->memory);
    *body = (struct body){0};
}

/* --- what a parser does not mind ---------------------------------------------------------------- */

static int compare_keys(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

enum { FEW_KEYS = 32 };

/* Keys hold no NUL: that is checked before. */
static bool check_keys(yyjson_val *object, struct error *err) {
    const char *few[FEW_KEYS];
    size_t count = yyjson_obj_size(object);
    const char **many CLEANUP(free_pointer) =
        count > FEW_KEYS ? must_alloc(count * sizeof *many) : NULL;
    const char **keys = many == NULL ? few : many;
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

static bool check_string(yyjson_val *value, struct error *err) {
    if (memchr(yyjson_get_str(value), '\0', yyjson_get_len(value)) != NULL) {
        return error_set(err, ERROR_MALFORMED, "a string in the body holds a NUL character");
    }
    return true;
}

/* yyjson keeps all values in one row, in the order of the text, and a list or an object knows where it ends; so no
 * recursion is needed. */
static bool check_values(yyjson_doc *doc, struct error *err) {
    yyjson_val *first = yyjson_doc_get_root(doc);
    yyjson_val *end = first + yyjson_doc_get_val_count(doc);
    yyjson_val *ends[BODY_DEPTH_MAXIMUM + 1] = {
        end}; /* of what the value lies in, outermost first */
    size_t depth = 0;
    size_t objects = 0;
    for (yyjson_val *value = first; value < end; value++) {
        while (value == ends[depth]) {
            depth--;
        }
        if (yyjson_is_str(value)) {
            if (!check_string(value, err)) {
                return false;
            }
        } else if (yyjson_is_ctn(value)) {
            if (depth == BODY_DEPTH_MAXIMUM) {
                return error_set(err, ERROR_MALFORMED, "the body is nested deeper than %d levels",
                                 BODY_DEPTH_MAXIMUM);
            }
            ends[++depth] = unsafe_yyjson_get_next(value);
            objects += yyjson_is_obj(value) ? 1 : 0;
        }
    }
    /* Once no string holds a NUL. */
    for (yyjson_val *value = first; objects > 0; value++) {
        if (yyjson_is_obj(value)) {
            objects--;
            if (!check_keys(value, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool fail_parse(const char *text, size_t size_bytes, const yyjson_read_err *failure,
                       bool is_crowded, struct error *err) {
    if (failure->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        if (is_crowded) {
            return error_set(err, ERROR_UNAVAILABLE,
                             "too many large bodies are being read at once; try again");
        }
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

static bool parse(struct body *body, struct error *err) {
    struct body_memory *memory = body->memory;
    yyjson_alc allocator = {memory_alloc, memory_realloc, memory_free, memory};
    yyjson_read_err failure;
    /* Not in situ: the text is still needed as it was written. */
    body->doc = yyjson_read_opts((char *)(uintptr_t)body->text, body->size_bytes,
                                 YYJSON_READ_NUMBER_AS_RAW, &allocator, &failure);
    if (body->doc == NULL) {
        return fail_parse(body->text, body->size_bytes, &failure, memory->is_crowded, err);
    }
    body->root = yyjson_doc_get_root(body->doc);
    if (!yyjson_is_obj(body->root)) {
        return error_set(err, ERROR_MALFORMED, "the body must be a JSON object, not %s",
                         yyjson_is_raw(body->root) ? "number" : yyjson_get_type_desc(body->root));
    }
    return check_values(body->doc, err);
}

bool body_parse(const char *text, size_t size_bytes, struct body_budget *budget,
                struct body *out_body, struct error *err) {
    struct body body = {.text = text,
                        .size_bytes = size_bytes,
                        .memory = must_alloc_zeroed(1, sizeof *body.memory)};
    body.memory->budget = budget;
    if (!parse(&body, err)) {
        body_fini(&body);
        return false;
    }
    *out_body = body;
    return true;
}

bool body_integer(yyjson_val *value, uint64_t *out) {
    if (!yyjson_is_raw(value)) {
        return false;
    }
    const char *digits = yyjson_get_raw(value);
    uint64_t number = 0;
    for (size_t i = 0; i < yyjson_get_len(value); i++) {
        if (digits[i] < '0' || digits[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(digits[i] - '0'), &number)) {
            return false;
        }
    }
    *out = number;
    return true;
}

/* --- the text as it was written ------------------------------------------------------------------ */

/* All of these work on text that the parser has accepted. */

enum { IS_SPACE = 1, IS_QUOTE = 2, IS_BRACKET = 4, ENDS_NUMBER = 8, IS_END = 15 };

static const unsigned char classes[256] = {
    [' '] = IS_SPACE | ENDS_NUMBER,
    ['\t'] = IS_SPACE | ENDS_NUMBER,
    ['\r'] = IS_SPACE | ENDS_NUMBER,
    ['\n'] = IS_SPACE | ENDS_NUMBER,
    ['"'] = IS_QUOTE,
    ['{'] = IS_BRACKET,
    ['['] = IS_BRACKET,
    ['}'] = IS_BRACKET | ENDS_NUMBER,
    [']'] = IS_BRACKET | ENDS_NUMBER,
    [','] = ENDS_NUMBER,
    ['\0'] = IS_END,
};

/* To the first byte of these classes, at the latest to the end. (strcspn would do, but for the address sanitizer, which
 * measures all of its text with each call.) */
static const char *skip_until(const char *at, unsigned wanted) {
    while ((classes[(unsigned char)*at] & wanted) == 0) {
        at++;
    }
    return at;
}

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n') {
        at++;
    }
    return at;
}

static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++) {
        at += *at == '\\' ? 1 : 0;
    }
    return at + 1;
}

static const char *skip_value(const char *at) {
    if (*at != '"' && *at != '{' && *at != '[') {
        return skip_until(at, ENDS_NUMBER);
    }
    size_t depth = 0;
    do {
        at = skip_until(at, IS_QUOTE | IS_BRACKET);
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        if (*at == '{' || *at == '[') {
            depth++;
        } else {
            depth--;
        }
        at++;
    } while (depth > 0);
    return at;
}

static const char *compact(const char *from, const char *end, struct arena *arena) {
    char *text = arena_alloc(arena, (size_t)(end - from) + 1);
    char *to = text;
    while (from < end) {
        /* What is neither a string nor white space goes as it is. */
        const char *plain_end = skip_until(from, IS_QUOTE | IS_SPACE);
        size_t plain_bytes = (size_t)(MIN_OF(plain_end, end) - from);
        memcpy(to, from, plain_bytes);
        to += plain_bytes;
        from += plain_bytes;
        if (from < end && *from == '"') {
            const char *after = skip_string(from);
            memcpy(to, from, (size_t)(after - from));
            to += after - from;
            from = after;
        }
        from = from < end ? skip_space(from) : end;
    }
    *to = '\0';
    return text;
}

const char *body_member_span(const struct body *body, const char *key, size_t *out_bytes) {
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
            *out_bytes = (size_t)(end - at);
            return at;
        }
        at = skip_space(end) + 1;
    }
}

const char *body_member_text(const struct body *body, const char *key, struct arena *arena) {
    size_t size_bytes;
    const char *span = body_member_span(body, key, &size_bytes);
    return span == NULL ? NULL : compact(span, span + size_bytes, arena);
}
