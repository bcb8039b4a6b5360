#include "model/catalog.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char catalog_path[96];
static char model_path[2][96];
static struct arena arena;
static struct error err;
static struct model_description found;

/* The describer behind: a file's text is the name of its input; "broken" does not load. */
static int described_count;
static const char *engine = "1.0";

static bool describe(void *context, const char *model_name, uint32_t version, const char *path,
                     const char *options, struct arena *into, struct model_description *out,
                     struct error *out_err) {
    (void)context;
    (void)model_name;
    (void)version;
    (void)options;
    described_count++;
    char text[64] = "";
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size_bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    if (strcmp(text, "broken") == 0) {
        return error_set(out_err, ERROR_MODEL_UNAVAILABLE, "it is broken");
    }
    struct tensor_signature *input = arena_alloc_zeroed(into, sizeof *input);
    *input = (struct tensor_signature){.name = arena_strdup(into, text),
                                       .type = TENSOR_INT64,
                                       .shape = {.rank = 1, .dimensions = {-1}}};
    out->signature = (struct signature){.inputs = input, .input_count = 1};
    memset(out->digest, (int)size_bytes, sizeof out->digest);
    out->engine = engine;
    return true;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct catalog *start(void) {
    return catalog_new(catalog_path, (struct model_describer){.describe = describe});
}

/* How often the one behind was asked. */
static int ask(struct catalog *catalog, int model, const char *options) {
    struct model_describer describer = catalog_describer(catalog);
    int before = described_count;
    found = (struct model_description){0};
    assert_true(describer.describe(describer.context, "model", 1, model_path[model], options,
                                   &arena, &found, &err));
    return described_count - before;
}

static void stop(struct catalog *catalog) {
    assert_true(catalog_save(catalog, &err));
    catalog_free(catalog);
}

/* A first life in which both models are asked for. */
static void live_once(void) {
    struct catalog *catalog = start();
    assert_int_equal(ask(catalog, 0, NULL), 1);
    assert_int_equal(ask(catalog, 1, "{}"), 1);
    stop(catalog);
}

static int fresh(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/orrery-catalog-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(catalog_path, sizeof catalog_path, "%s/catalog", folder);
    for (int i = 0; i < 2; i++) {
        snprintf(model_path[i], sizeof model_path[i], "%s/model-%d", folder, i);
        write_file(model_path[i], i == 0 ? "first" : "second");
    }
    engine = "1.0";
    return 0;
}

static int forget(void **state) {
    (void)state;
    arena_fini(&arena);
    unlink(model_path[0]);
    unlink(model_path[1]);
    unlink(catalog_path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
    return 0;
}

static void after_a_start_one_model_is_described_and_the_others_are_known(void **state) {
    (void)state;
    live_once();
    struct catalog *catalog = start();
    assert_int_equal(ask(catalog, 0, NULL), 1); /* tells which engine is at work */
    assert_int_equal(ask(catalog, 1, "{}"), 0);
    assert_string_equal(found.signature.inputs[0].name, "second");
    assert_int_equal(found.signature.inputs[0].type, TENSOR_INT64);
    assert_int_equal(found.signature.inputs[0].shape.dimensions[0], -1);
    assert_int_equal(found.digest[31], 6);
    assert_string_equal(found.engine, "1.0");
    stop(catalog);
    struct stat status;
    assert_int_equal(stat(catalog_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void what_changed_is_described_again(void **state) {
    (void)state;
    live_once();
    write_file(model_path[1], "other!");
    struct catalog *catalog = start();
    ask(catalog, 0, NULL);
    assert_int_equal(ask(catalog, 1, "{}"), 1);
    assert_string_equal(found.signature.inputs[0].name, "other!");
    assert_int_equal(ask(catalog, 1, "{}"), 0);
    /* The same size, and the time of change set back. */
    struct stat status;
    assert_int_equal(stat(model_path[1], &status), 0);
    write_file(model_path[1], "third!");
    assert_int_equal(
        utimensat(AT_FDCWD, model_path[1], (struct timespec[]){status.st_atim, status.st_mtim}, 0),
        0);
    assert_int_equal(ask(catalog, 1, "{}"), 1);
    assert_string_equal(found.signature.inputs[0].name, "third!");
    stop(catalog);
}

static void other_options_or_another_engine_describe_again(void **state) {
    (void)state;
    live_once();
    struct catalog *catalog = start();
    ask(catalog, 0, NULL);
    assert_int_equal(ask(catalog, 1, "{\"intra_threads\":2}"), 1);
    assert_int_equal(ask(catalog, 1, "{\"intra_threads\":2}"), 0);
    stop(catalog);
    engine = "1.1";
    catalog = start();
    ask(catalog, 0, NULL);
    assert_int_equal(ask(catalog, 1, "{\"intra_threads\":2}"), 1);
    stop(catalog);
}

static void what_does_not_load_is_not_kept(void **state) {
    (void)state;
    write_file(model_path[1], "broken");
    struct catalog *catalog = start();
    ask(catalog, 0, NULL);
    struct model_describer describer = catalog_describer(catalog);
    int before = described_count;
    for (int i = 0; i < 2; i++) {
        assert_false(describer.describe(describer.context, "model", 1, model_path[1], NULL, &arena,
                                        &found, &err));
    }
    assert_int_equal(described_count - before, 2);
    stop(catalog);
}

static void what_is_not_asked_for_any_more_is_dropped(void **state) {
    (void)state;
    live_once();
    struct catalog *catalog = start();
    ask(catalog, 0, NULL);
    stop(catalog);
    catalog = start();
    ask(catalog, 0, NULL);
    assert_int_equal(ask(catalog, 1, "{}"), 1);
    stop(catalog);
}

static void a_broken_file_is_an_empty_one(void **state) {
    (void)state;
    static const char *const broken[] = {
        "",
        "no JSON",
        "[]",
        "{\"version\":2,\"models\":[]}",
        "{\"version\":1,\"models\":[1,{},{\"path\":1,\"digest\":\"00\"}]}",
    };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        write_file(catalog_path, broken[i]);
        struct catalog *catalog = start();
        assert_int_equal(ask(catalog, 0, NULL), 1);
        assert_int_equal(ask(catalog, 1, NULL), 1);
        catalog_free(catalog);
    }
    /* A signature that makes no sense is found out. */
    live_once();
    char text[4096] = "";
    FILE *file = fopen(catalog_path, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    char *at;
    while ((at = strstr(text, "INT64")) != NULL) {
        memcpy(at, "INT65", 5);
    }
    write_file(catalog_path, text);
    struct catalog *catalog = start();
    ask(catalog, 0, NULL);
    assert_int_equal(ask(catalog, 1, "{}"), 1);
    stop(catalog);
}

static void a_file_that_cannot_be_written_is_said(void **state) {
    (void)state;
    struct catalog *catalog =
        catalog_new("/nowhere/at/all", (struct model_describer){.describe = describe});
    assert_true(catalog_save(catalog, &err)); /* there is nothing to write */
    ask(catalog, 0, NULL);
    assert_false(catalog_save(catalog, &err));
    assert_int_equal(err.kind, ERROR_IO);
    catalog_free(catalog);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, forget)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(after_a_start_one_model_is_described_and_the_others_are_known),
        TEST(what_changed_is_described_again),
        TEST(other_options_or_another_engine_describe_again),
        TEST(what_does_not_load_is_not_kept),
        TEST(what_is_not_asked_for_any_more_is_dropped),
        TEST(a_broken_file_is_an_empty_one),
        TEST(a_file_that_cannot_be_written_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
