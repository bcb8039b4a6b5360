/* Bodies from strangers, as POST and PUT of a scheduled run read them. What decodes without a problem must come out
 * of the encoder as JSON that means the same. */
#include "api/decode.h"
#include "api/encode.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void check_problems(const struct problems *problems) {
    for (size_t i = 0; i < problems->count; i++) {
        ASSERT(problems->items[i].field[0] != '\0' || problems->items[i].kind != ERROR_INVALID ||
               problems->items[i].message[0] != '\0');
    }
    if (problems->count > 0) {
        struct text text;
        text_init(&text, 1 << 20);
        answer_append_error(&text, problems->items, problems->count, "id");
        yyjson_doc *doc = yyjson_read(text_string(&text), text.size_bytes, 0);
        ASSERT(doc != NULL);
        yyjson_doc_free(doc);
        text_fini(&text);
    }
}

static void check_encoding(const struct run *run, const struct body *body) {
    struct text text;
    text_init(&text, 1 << 30);
    run_to_json(&text, run, 1, NULL, 0);
    yyjson_doc *doc = yyjson_read(text_string(&text), text.size_bytes, YYJSON_READ_NUMBER_AS_RAW);
    ASSERT(doc != NULL);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *given = yyjson_obj_get(body->root, "parameters");
    if (given != NULL) {
        ASSERT(yyjson_equals(given, yyjson_obj_get(root, "parameters")));
    }
    ASSERT(strcmp(yyjson_get_str(yyjson_obj_get(root, "model_name")), run->model_name) == 0);
    ASSERT(strcmp(yyjson_get_str(yyjson_obj_get(root, "schedule")), run->schedule) == 0);
    yyjson_doc_free(doc);
    text_fini(&text);
}

static void decode(const struct body *body, bool is_new, struct arena *arena) {
    struct problems problems = {.arena = arena};
    struct run run = run_defaults();
    run.model_name = "m";
    run.schedule = "@daily";
    run_decode(body, is_new, &run, &problems);
    check_problems(&problems);
    if (problems.count == 0) {
        check_encoding(&run, body);
    }
}

static void decode_others(const struct body *body, struct arena *arena) {
    struct run run = run_defaults();
    struct backfill backfill;
    struct problems problems = {.arena = arena};
    run_decode_note(body, &run, &problems);
    check_problems(&problems);
    problems = (struct problems){.arena = arena};
    backfill_decode(body, &backfill, &problems);
    check_problems(&problems);
    ASSERT(problems.count > 0 || backfill.from.us < backfill.to.us);
}

/* A member's text, as it is and without white space, is what the parser made of it. */
static void check_text_of_member(const struct body *body, yyjson_val *key, struct arena *arena) {
    yyjson_val *value = yyjson_obj_iter_get_val(key);
    size_t span_bytes;
    const char *span = body_member_span(body, yyjson_get_str(key), &span_bytes);
    const char *compact = body_member_text(body, yyjson_get_str(key), arena);
    yyjson_doc *as_written = yyjson_read(span, span_bytes, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_doc *again = yyjson_read(compact, strlen(compact), YYJSON_READ_NUMBER_AS_RAW);
    ASSERT(as_written != NULL && yyjson_equals(yyjson_doc_get_root(as_written), value));
    ASSERT(again != NULL && yyjson_equals(yyjson_doc_get_root(again), value));
    yyjson_doc_free(as_written);
    yyjson_doc_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct arena arena = {0};
    struct error err;
    struct body body;
    char *text = must_alloc(size_bytes + 1);
    if (size_bytes > 0) {
        memcpy(text, bytes, size_bytes);
    }
    text[size_bytes] = '\0';
    if (body_parse(text, size_bytes, NULL, &body, &err)) {
        decode(&body, true, &arena);
        decode(&body, false, &arena);
        decode_others(&body, &arena);
        yyjson_obj_iter iterator = yyjson_obj_iter_with(body.root);
        for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
            check_text_of_member(&body, key, &arena);
        }
        body_fini(&body);
    } else {
        ASSERT(err.kind == ERROR_MALFORMED || err.kind == ERROR_TOO_LARGE);
    }
    free(text);
    arena_fini(&arena);
    return 0;
}
