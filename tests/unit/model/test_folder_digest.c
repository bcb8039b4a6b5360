#include "model/folder_digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
    char folder[64];
    struct arena arena;
};

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    strcpy(bed->folder, "/tmp/orrery-digest-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    *state = bed;
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", bed->folder);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    arena_fini(&bed->arena);
    free(bed);
    return 0;
}

static void put(struct bed *bed, const char *name, const char *bytes) {
    FILE *file = fopen(arena_printf(&bed->arena, "%s/%s", bed->folder, name), "we");
    assert_non_null(file);
    fputs(bytes, file);
    fclose(file);
}

static void make_folder(struct bed *bed, const char *name) {
    assert_int_equal(mkdir(arena_printf(&bed->arena, "%s/%s", bed->folder, name), 0700), 0);
}

struct finding {
    uint64_t stamp;
    unsigned char digest[MODEL_DIGEST_BYTES];
    size_t count;
};

static struct finding look(struct bed *bed) {
    static const unsigned char start[MODEL_DIGEST_BYTES] = {1};
    struct folder_files files;
    struct finding found;
    folder_files_list(bed->folder, &bed->arena, &files);
    found.stamp = folder_files_stamp(bed->folder, &files);
    found.count = files.count;
    folder_files_digest(bed->folder, &files, start, found.digest);
    return found;
}

static bool same(const struct finding *a, const struct finding *b) {
    return memcmp(a->digest, b->digest, MODEL_DIGEST_BYTES) == 0;
}

static void contents_and_names_count_and_nothing_else(void **state) {
    struct bed *bed = *state;
    put(bed, "b", "two");
    put(bed, "a", "one");
    make_folder(bed, "sub");
    put(bed, "sub/c", "three");
    struct finding first = look(bed);
    assert_int_equal(first.count, 3);
    struct finding again = look(bed);
    assert_true(same(&first, &again));
    assert_true(first.stamp == again.stamp);

    put(bed, "sub/c", "thre3");
    struct finding changed = look(bed);
    assert_false(same(&first, &changed));
    assert_true(first.stamp != changed.stamp);
    put(bed, "sub/c", "three");
    struct finding restored = look(bed);
    assert_true(same(&first, &restored));

    assert_int_equal(rename(arena_printf(&bed->arena, "%s/a", bed->folder),
                            arena_printf(&bed->arena, "%s/d", bed->folder)),
                     0);
    struct finding renamed = look(bed);
    assert_false(same(&first, &renamed));
}

static void what_python_and_editors_leave_does_not_count(void **state) {
    struct bed *bed = *state;
    put(bed, "a", "one");
    struct finding first = look(bed);
    make_folder(bed, "__pycache__");
    put(bed, "__pycache__/a.pyc", "x");
    put(bed, ".a.swp", "x");
    struct finding again = look(bed);
    assert_int_equal(again.count, 1);
    assert_true(same(&first, &again) && first.stamp == again.stamp);
}

/* "ab" and "c" in two files is not "a" and "bc". */
static void what_belongs_to_which_file_counts(void **state) {
    struct bed *bed = *state;
    put(bed, "a", "ab");
    put(bed, "b", "c");
    struct finding first = look(bed);
    put(bed, "a", "a");
    put(bed, "b", "bc");
    struct finding second = look(bed);
    assert_false(same(&first, &second));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(contents_and_names_count_and_nothing_else),
        TEST(what_python_and_editors_leave_does_not_count),
        TEST(what_belongs_to_which_file_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
