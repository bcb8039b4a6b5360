#include "model/repository.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* No test waits this long unless it is about to fail. */
enum { PATIENCE_S = 20, SCAN_LIMIT_MS = PATIENCE_S * 1000 };

static char place[64];  /* a temporary folder … */
static char folder[96]; /* … and the repository in it */
static struct model_repository *repository;
static struct error err;

/* The fake describer: a file's text is its signature, a name; "broken" does not load. */
static _Atomic int described_count;
static char described_options[128]; /* the last; for who waited for the scan */

static bool describe(void *context, const char *model_name, uint32_t version, const char *path,
                     const char *options, struct arena *arena, struct model_description *out,
                     struct error *out_err) {
    (void)context;
    (void)model_name;
    (void)version;
    snprintf(described_options, sizeof described_options, "%s", options == NULL ? "" : options);
    atomic_fetch_add(&described_count, 1);
    char text[64] = "";
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size_bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    if (strcmp(text, "broken") == 0) {
        return error_set(out_err, ERROR_MODEL_UNAVAILABLE, "it is broken");
    }
    struct tensor_signature *input = arena_alloc_zeroed(arena, sizeof *input);
    input->name = arena_strdup(arena, text);
    out->signature = (struct signature){.inputs = input, .input_count = 1};
    memset(out->digest, (int)size_bytes, MODEL_DIGEST_BYTES);
    return true;
}

/* --- the folder -------------------------------------------------------------------------------- */

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_folder(const char *name) {
    assert_true(mkdir(path_of(name), 0755) == 0 || errno == EEXIST);
}

static void write_file(const char *name, const char *text) {
    FILE *file = fopen(path_of(name), "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_model(const char *name, const char *version, const char *text) {
    char path[128];
    make_folder(name);
    snprintf(path, sizeof path, "%s/%s", name, version);
    make_folder(path);
    snprintf(path, sizeof path, "%s/%s/model.onnx", name, version);
    write_file(path, text);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); // NOLINT(concurrency-mt-unsafe)
}

/* --- waiting for snapshots --------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int snapshot_count;

static void on_changed(void *context) {
    (void)context;
    pthread_mutex_lock(&lock);
    snapshot_count++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* What a model's version looks like: "text" of its file, "!reason", or "-" if there is none. Version 0: the
 * newest that loads. */
static void look(const char *name, uint32_t version, char *out, size_t out_bytes) {
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    const struct model *model;
    const struct model_version *found;
    if (model_resolve(snapshot, name, version, &model, &found, &err)) {
        snprintf(out, out_bytes, "%s", found->signature.inputs[0].name);
    } else {
        snprintf(out, out_bytes, "%s%.100s", err.kind == ERROR_UNKNOWN_MODEL ? "-" : "!",
                 err.kind == ERROR_UNKNOWN_MODEL ? "" : err.message);
    }
    model_snapshot_unref(snapshot);
}

/* Waits until the version looks so. */
static void await(const char *name, uint32_t version, const char *expected) {
    char seen[160];
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    for (int failure = 0; failure == 0;) {
        int count = snapshot_count;
        pthread_mutex_unlock(&lock);
        look(name, version, seen, sizeof seen);
        pthread_mutex_lock(&lock);
        if (strcmp(seen, expected) == 0) {
            pthread_mutex_unlock(&lock);
            return;
        }
        while (count == snapshot_count && failure == 0) {
            failure = pthread_cond_timedwait(&changed, &lock, &limit);
        }
    }
    pthread_mutex_unlock(&lock);
    fail_msg("model %s version %u is '%s', expected '%s'", name, version, seen, expected);
}

static void start(void) {
    struct model_describer describer = {.describe = describe};
    assert_true(model_repository_new(folder, describer, &repository, &err));
    assert_false(model_repository_is_ready(repository));
    int count = snapshot_count;
    assert_true(model_repository_start(repository, on_changed, NULL, &err));
    pthread_mutex_lock(&lock);
    while (snapshot_count == count) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    assert_true(model_repository_is_ready(repository));
}

static int fresh(void **state) {
    (void)state;
    snprintf(place, sizeof place, "/tmp/orrery-models-XXXXXX");
    assert_non_null(mkdtemp(place));
    snprintf(folder, sizeof folder, "%s/models", place);
    assert_int_equal(mkdir(folder, 0755), 0);
    atomic_store(&described_count, 0);
    return 0;
}

static int forget(void **state) {
    (void)state;
    model_repository_free(repository);
    repository = NULL;
    remove_tree(place);
    return 0;
}

/* --- what it promises -------------------------------------------------------------------------- */

static void models_that_are_there_at_the_start_are_found(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    put_model("iris", "12", "twelve");
    put_model("wine", "3", "three");
    start();
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    assert_int_equal(snapshot->model_count, 2);
    assert_string_equal(snapshot->models[0].name, "iris");
    assert_int_equal(snapshot->models[0].version_count, 2);
    assert_int_equal(snapshot->models[0].versions[0].version, 12);
    assert_int_equal(snapshot->models[0].versions[0].digest[5], 6);
    assert_string_equal(snapshot->models[1].name, "wine");
    assert_null(model_snapshot_find(snapshot, "rose"));
    model_snapshot_unref(snapshot);
}

static void the_folder_is_made_if_it_is_missing(void **state) {
    (void)state;
    assert_int_equal(rmdir(folder), 0);
    start();
    put_model("iris", "1", "one");
    await("iris", 0, "one");
}

static void other_names_are_ignored(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    put_model("iris", "01", "no");
    put_model("iris", "2x", "no");
    put_model("iris", "4294967296", "no");
    put_model(".hidden", "1", "no");
    put_model("with space", "1", "no");
    make_folder("empty");
    write_file("README", "no");
    start();
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    assert_int_equal(snapshot->model_count, 1);
    assert_int_equal(snapshot->models[0].version_count, 1);
    model_snapshot_unref(snapshot);
}

static void a_model_dropped_in_is_found_without_being_asked_for(void **state) {
    (void)state;
    start();
    put_model("iris", "1", "one");
    await("iris", 0, "one");
    put_model("iris", "2", "two");
    await("iris", 0, "two");
    await("iris", 1, "one");
    put_model("iris", "2", "two again");
    await("iris", 0, "two again");
}

static void a_model_moved_in_as_a_whole_is_found(void **state) {
    (void)state;
    start();
    char aside[160];
    snprintf(aside, sizeof aside, "%s/aside", place);
    put_model("iris", "7", "seven");
    await("iris", 7, "seven");
    assert_int_equal(rename(path_of("iris"), aside), 0);
    await("iris", 0, "-");
    assert_int_equal(rename(aside, path_of("wine")), 0);
    await("wine", 7, "seven");
    put_model("wine", "8", "eight");
    await("wine", 0, "eight");
}

static void a_removed_version_gives_way_to_the_one_before(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    put_model("iris", "2", "two");
    start();
    await("iris", 0, "two");
    remove_tree(path_of("iris/2"));
    await("iris", 0, "one");
    await("iris", 2, "-");
    assert_string_equal(err.message, "model 'iris' has no version 2; it has 1");
    assert_string_equal(err.field, "model_version");
    remove_tree(path_of("iris"));
    await("iris", 0, "-");
}

static void
a_version_that_does_not_load_is_listed_with_the_reason_and_does_not_serve(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    put_model("iris", "2", "broken");
    start();
    await("iris", 0, "one");
    await("iris", 2, "!model 'iris' version 2 does not load: it is broken");
    assert_int_equal(err.kind, ERROR_MODEL_UNAVAILABLE);
    put_model("iris", "1", "broken");
    await("iris", 0, "!model 'iris' version 2 does not load: it is broken");
    put_model("iris", "2", "two");
    await("iris", 0, "two");
    assert_int_equal(unlink(path_of("iris/2/model.onnx")), 0);
    await("iris", 2, "!model 'iris' version 2 does not load: there is no file model.onnx");
}

static void a_file_is_described_once_its_writer_has_closed_it(void **state) {
    (void)state;
    start();
    make_folder("iris");
    make_folder("iris/1");
    FILE *file = fopen(path_of("iris/1/model.onnx"), "we");
    assert_non_null(file);
    fputs("half ", file);
    fflush(file);
    await("iris", 0, "!model 'iris' version 1 does not load: model.onnx is still being written");
    assert_int_equal(atomic_load(&described_count), 0);
    fputs("whole", file);
    fclose(file);
    await("iris", 0, "half whole");
    assert_int_equal(atomic_load(&described_count), 1);
}

static void only_what_changed_is_described_again(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    put_model("iris", "2", "two");
    put_model("wine", "1", "wine");
    start();
    assert_int_equal(atomic_load(&described_count), 3);
    put_model("iris", "3", "three");
    await("iris", 0, "three");
    assert_int_equal(atomic_load(&described_count), 4);
    await("iris", 1, "one");
    await("wine", 0, "wine");
}

static void model_json_is_read_and_its_errors_are_shown(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    start();
    write_file("iris/model.json", "{\"max_concurency\": 2}");
    await("iris", 0,
          "!model 'iris' cannot be used: model.json: unknown key 'max_concurency'; known for "
          "backend onnx are ba");
    write_file("iris/model.json", "{\"max_concurrency\": 2, \"timeout\": \"5s\"}");
    await("iris", 0, "one");
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    assert_int_equal(snapshot->models[0].settings.max_concurrency, 2);
    assert_int_equal(snapshot->models[0].settings.timeout.us, 5 * US_PER_SECOND);
    model_snapshot_unref(snapshot);
    assert_int_equal(atomic_load(&described_count), 1);
}

static void other_options_of_the_session_describe_the_model_again(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    write_file("iris/model.json", "{\"intra_threads\": 2}");
    start();
    assert_int_equal(atomic_load(&described_count), 1);
    write_file("iris/model.json", "{\"intra_threads\": 3}");
    model_snapshot_unref(model_repository_refresh(repository, "iris", SCAN_LIMIT_MS));
    assert_string_equal(described_options, "{\"intra_threads\":3,\"graph_optimization\":\"all\"}");
    assert_int_equal(atomic_load(&described_count), 2);
    write_file("iris/model.json", "{\"intra_threads\": 3, \"max_concurrency\": 1}");
    model_snapshot_unref(model_repository_refresh(repository, "iris", SCAN_LIMIT_MS));
    assert_int_equal(atomic_load(&described_count), 2);
}

static void a_snapshot_lives_as_long_as_it_is_held(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    start();
    const struct model_snapshot *old = model_repository_snapshot(repository);
    remove_tree(path_of("iris"));
    await("iris", 0, "-");
    assert_string_equal(old->models[0].versions[0].signature.inputs[0].name, "one");
    model_repository_free(repository);
    repository = NULL;
    assert_string_equal(model_snapshot_find(old, "iris")->versions[0].signature.inputs[0].name,
                        "one");
    model_snapshot_unref(old);
}

static void a_refresh_finds_what_was_just_dropped_in(void **state) {
    (void)state;
    start();
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "model-%d", i);
        put_model(name, "1", name);
        const struct model_snapshot *snapshot =
            model_repository_refresh(repository, name, SCAN_LIMIT_MS);
        const struct model *model = model_snapshot_find(snapshot, name);
        assert_non_null(model);
        assert_true(model->versions[0].loads);
        model_snapshot_unref(snapshot);
    }
    model_snapshot_unref(model_repository_refresh(repository, "not-there", SCAN_LIMIT_MS));
    model_snapshot_unref(model_repository_refresh(repository, "../models", SCAN_LIMIT_MS));
}

static void the_whole_folder_may_be_replaced(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    start();
    char aside[160];
    snprintf(aside, sizeof aside, "%s/aside", place);
    assert_int_equal(rename(folder, aside), 0);
    await("iris", 0, "-");
    assert_int_equal(mkdir(folder, 0755), 0);
    put_model("wine", "1", "new");
    await("wine", 0, "new");
    remove_tree(folder);
    await("wine", 0, "-");
    assert_int_equal(rename(aside, folder), 0);
    await("iris", 0, "one");
    put_model("iris", "2", "two");
    await("iris", 0, "two");
}

static void the_folder_may_be_a_link_that_is_switched_over(void **state) {
    (void)state;
    char blue[160];
    char green[160];
    char fresh_link[160];
    snprintf(blue, sizeof blue, "%s/blue", place);
    snprintf(green, sizeof green, "%s/green", place);
    snprintf(fresh_link, sizeof fresh_link, "%s/link", place);
    put_model("iris", "1", "blue");
    assert_int_equal(rename(folder, blue), 0);
    assert_int_equal(mkdir(folder, 0755), 0);
    put_model("iris", "1", "green");
    assert_int_equal(rename(folder, green), 0);
    assert_int_equal(symlink(blue, folder), 0);
    start();
    await("iris", 0, "blue");
    assert_int_equal(symlink(green, fresh_link), 0);
    assert_int_equal(rename(fresh_link, folder), 0);
    await("iris", 0, "green");
    put_model("iris", "2", "greener");
    await("iris", 0, "greener");
}

static void a_thousand_models_are_found_and_one_change_describes_one(void **state) {
    (void)state;
    enum { MODELS = 1000 };
    for (int i = 0; i < MODELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%04d", i);
        put_model(name, "1", name);
    }
    start();
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    assert_int_equal(snapshot->model_count, MODELS);
    assert_string_equal(
        model_snapshot_find(snapshot, "m0777")->versions[0].signature.inputs[0].name, "m0777");
    model_snapshot_unref(snapshot);
    put_model("m0500", "2", "new");
    await("m0500", 0, "new");
    assert_int_equal(atomic_load(&described_count), MODELS + 1);
}

static void names_and_errors_of_unknown_models(void **state) {
    (void)state;
    put_model("iris", "1", "one");
    start();
    const struct model *model;
    const struct model_version *version;
    const struct model_snapshot *snapshot = model_repository_snapshot(repository);
    assert_false(model_resolve(snapshot, "rose", 0, &model, &version, &err));
    assert_int_equal(err.kind, ERROR_UNKNOWN_MODEL);
    assert_string_equal(err.field, "model_name");
    model_snapshot_unref(snapshot);
    assert_true(model_name_is_valid("a.b-c_9"));
    assert_false(model_name_is_valid(""));
    assert_false(model_name_is_valid(".."));
    assert_false(model_name_is_valid("a/b"));
    char longest[MODEL_NAME_BYTES_MAXIMUM + 2];
    memset(longest, 'a', sizeof longest);
    longest[MODEL_NAME_BYTES_MAXIMUM + 1] = '\0';
    assert_false(model_name_is_valid(longest));
    longest[MODEL_NAME_BYTES_MAXIMUM] = '\0';
    assert_true(model_name_is_valid(longest));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fresh, forget)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(models_that_are_there_at_the_start_are_found),
        TEST(the_folder_is_made_if_it_is_missing),
        TEST(other_names_are_ignored),
        TEST(a_model_dropped_in_is_found_without_being_asked_for),
        TEST(a_model_moved_in_as_a_whole_is_found),
        TEST(a_removed_version_gives_way_to_the_one_before),
        TEST(a_version_that_does_not_load_is_listed_with_the_reason_and_does_not_serve),
        TEST(a_file_is_described_once_its_writer_has_closed_it),
        TEST(only_what_changed_is_described_again),
        TEST(model_json_is_read_and_its_errors_are_shown),
        TEST(other_options_of_the_session_describe_the_model_again),
        TEST(a_snapshot_lives_as_long_as_it_is_held),
        TEST(a_refresh_finds_what_was_just_dropped_in),
        TEST(the_whole_folder_may_be_replaced),
        TEST(the_folder_may_be_a_link_that_is_switched_over),
        TEST(a_thousand_models_are_found_and_one_change_describes_one),
        TEST(names_and_errors_of_unknown_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
