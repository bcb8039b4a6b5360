/* ONNX Runtime itself, in this process: which models stay loaded, and when their leavings are too much. */
#include "worker/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
    struct runtime *runtime;
    char folder[64];
};

/* The library beside the program that is tested. */
static struct runtime *open_runtime(uint64_t cache_bytes) {
    char library[512];
    const char *program = getenv("ORRERY_PROGRAM");
    ASSERT(program != NULL);
    int length = (int)(strrchr(program, '/') - program);
    snprintf(library, sizeof library, "%.*s/libonnxruntime.so.1", length, program);
    struct runtime_options options = {
        .library = library, .cache_bytes = cache_bytes, .session_threads = 1};
    struct runtime *runtime;
    struct error err;
    if (!runtime_open(&options, &runtime, &err)) {
        fail_msg("%s", err.message);
    }
    return runtime;
}

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    strcpy(bed->folder, "/tmp/orrery-runtime-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    *state = bed;
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", bed->folder);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    free(bed);
    return 0;
}

/* A copy of a test's model. */
static const char *copy(const struct bed *bed, const char *model, const char *name) {
    static char path[128];
    char command[512];
    snprintf(path, sizeof path, "%s/%s", bed->folder, name);
    snprintf(command, sizeof command, "cp %s/tests/models/%s.onnx %s.new && mv %s.new %s",
             getenv("ORRERY_SOURCE_ROOT"), model, path, path, path);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    return path;
}

static struct runtime_model *load(struct runtime *runtime, const char *path) {
    struct runtime_model *model;
    struct error err;
    if (!runtime_load(runtime, path, NULL, NULL, &model, &err)) {
        fail_msg("%s", err.message);
    }
    return model;
}

static void a_model_is_loaded_once_and_again_when_its_file_is_another(void **state) {
    struct bed *bed = *state;
    struct runtime *runtime = open_runtime(UINT64_C(1) << 30);
    const char *path = copy(bed, "line", "model");
    struct runtime_model *first = load(runtime, path);
    assert_ptr_equal(load(runtime, path), first);
    assert_string_equal(runtime_signature(first)->inputs[0].name, "x");
    unsigned char digest[MODEL_DIGEST_BYTES];
    memcpy(digest, runtime_digest(first), sizeof digest);
    copy(bed, "picky", "model");
    struct runtime_model *second = load(runtime, path);
    assert_memory_not_equal(runtime_digest(second), digest, sizeof digest);
    assert_false(runtime_is_bloated(runtime));
}

static void only_the_one_in_use_stays_where_the_bound_is_nothing(void **state) {
    struct bed *bed = *state;
    struct runtime *runtime = open_runtime(0);
    char line[128];
    char picky[128];
    strcpy(line, copy(bed, "line", "line"));
    strcpy(picky, copy(bed, "picky", "picky"));
    load(runtime, line);
    assert_int_equal(runtime_loaded_count(runtime), 1);
    load(runtime, picky);
    assert_int_equal(runtime_loaded_count(runtime), 1);
}

static void those_not_used_for_longest_go_first(void **state) {
    struct bed *bed = *state;
    struct runtime *runtime = open_runtime(UINT64_C(1) << 30);
    char name[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "model-%d", i);
        load(runtime, copy(bed, "line", name));
    }
    assert_int_equal(runtime_loaded_count(runtime), 40);
    snprintf(name, sizeof name, "model-%d", 0);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", bed->folder, name);
    struct runtime_model *first = load(runtime, path);
    /* Without its file it can only come from memory. */
    assert_int_equal(unlink(path), 0);
    struct runtime_model *model;
    struct error err;
    assert_true(runtime_load(runtime, path, NULL, runtime_digest(first), &model, &err));
    assert_ptr_equal(model, first);
}

/* The test's own memory stands for what models left behind. */
static void what_replaced_models_left_behind_is_noticed(void **state) {
    struct bed *bed = *state;
    struct runtime *runtime = open_runtime(UINT64_C(256) << 20);
    const char *path = copy(bed, "line", "model");
    load(runtime, path);
    size_t size_bytes = (size_t)200 << 20;
    char *left_over = malloc(size_bytes);
    assert_non_null(left_over);
    memset(left_over, 1, size_bytes);
    /* Nothing was replaced yet: what is large may be in use. */
    load(runtime, copy(bed, "line", "other"));
    assert_false(runtime_is_bloated(runtime));
    path = copy(bed, "picky", "model");
    load(runtime, path);
    assert_true(runtime_is_bloated(runtime));
    free(left_over);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_model_is_loaded_once_and_again_when_its_file_is_another),
        TEST(only_the_one_in_use_stays_where_the_bound_is_nothing),
        TEST(those_not_used_for_longest_go_first),
        TEST(what_replaced_models_left_behind_is_noticed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fflush(NULL);
    /* As a worker does: ONNX Runtime keeps what it has until the end of the process. */
    _exit(failed);
}
