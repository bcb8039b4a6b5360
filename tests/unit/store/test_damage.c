/* Stores that something has damaged: what is told, and that nothing is made worse. */
#include "../../store/world.h"
#include "place.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

/* Past the rules that the schema has. */
static void damage(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA foreign_keys = OFF;"
                                  "PRAGMA ignore_check_constraints = ON;",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

static struct error open_fails(const char *location, bool exclusive) {
    struct store_options options = {.location = location, .exclusive = exclusive};
    struct store *store;
    struct error err;
    assert_false(store_open(&options, &store, &err));
    assert_int_equal(err.kind, ERROR_STORE);
    return err;
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("'%s' has no '%s'", text, part);
    }
}

/* --- the file ---------------------------------------------------------------------------------------- */

static void a_damaged_store_says_so(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    world_close(&world);
    /* The header stays, the first page's tree is nonsense. */
    int fd = open(path, O_RDWR);
    char nonsense[3000];
    memset(nonsense, 0xa5, sizeof nonsense);
    assert_int_equal(pwrite(fd, nonsense, sizeof nonsense, 100), sizeof nonsense);
    close(fd);
    assert_contains(open_fails(path, true).message, "damaged");
}

static char *read_file(const char *path, size_t *out_bytes) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    char *content = must_alloc((size_t)status.st_size + 1);
    assert_int_equal(fread(content, 1, (size_t)status.st_size, file), status.st_size);
    content[status.st_size] = '\0';
    fclose(file);
    *out_bytes = (size_t)status.st_size;
    return content;
}

static void write_file(const char *path, const char *content, size_t bytes) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* https://sqlite.org/fileformat2.html#the_database_header */
static void a_damaged_header_is_told_with_the_files_name_and_nothing_is_changed(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    int64_t run_key = world_create_run(&world);
    world_close(&world);
    size_t bytes;
    char *sound = read_file(path, &bytes);
    const struct {
        size_t offset;
        size_t count;
        const char *words;
    } damages[] = {
        {0, 100, "not an orrery store"}, /* all of it */
        {0, 16, "not an orrery store"},  /* the magic string */
        {16, 2, "not an orrery store"},  /* the size of a page */
        {18, 2, "not an orrery store"},  /* how it is written and read: no way that there is */
        {20, 4, "not an orrery store"},  /* the room left in a page, the fractions of payload */
        {44, 4, "damaged"},              /* the format of the schema */
        {60, 4, "a newer orrery"},       /* the schema's version */
        {68, 4, "another program"},      /* whose file it is */
    };
    for (size_t i = 0; i < COUNT_OF(damages); i++) {
        char *damaged = must_alloc(bytes);
        memcpy(damaged, sound, bytes);
        memset(damaged + damages[i].offset, 0x55, damages[i].count);
        write_file(path, damaged, bytes);
        for (int exclusive = 0; exclusive < 2; exclusive++) {
            struct error err = open_fails(path, exclusive != 0);
            assert_contains(err.message, damages[i].words);
            assert_contains(err.message, path);
        }
        size_t bytes_after;
        char *after = read_file(path, &bytes_after);
        assert_int_equal(bytes_after, bytes);
        assert_memory_equal(after, damaged, bytes);
        free(after);
        free(damaged);
    }
    /* Whole again, it is the store that it was. */
    write_file(path, sound, bytes);
    free(sound);
    world_open(&world, path);
    assert_int_equal(world_get_run(&world, run_key).key, run_key);
    world_close(&world);
}

/* --- the rows ---------------------------------------------------------------------------------------- */

static void a_store_without_its_tag_is_damaged(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    damage(path, "DELETE FROM store");
    struct error err;
    assert_false(store_check(world.reader, &err));
    assert_contains(err.message, "damaged");
    world_close(&world);
}

static void a_key_whose_hash_is_cut_opens_nothing(void **state) {
    struct world world;
    world_open(&world, *state);
    struct api_key key = {.id = "0123456789abcdef", .owner = "carol", .revoked_at = WALL_TIME_NONE};
    memset(key.hash, 0xab, sizeof key.hash);
    struct store_write write = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    world_write(&world, &write);
    struct api_key read;
    struct error err;
    assert_true(store_get_api_key(world.reader, key.id, &world.arena, &read, &err));
    assert_memory_equal(read.hash, key.hash, sizeof key.hash);
    damage(*state, "UPDATE api_keys SET hash = substr(hash, 1, 31)");
    assert_true(store_get_api_key(world.reader, key.id, &world.arena, &read, &err));
    static const unsigned char nothing[sizeof key.hash];
    assert_memory_equal(read.hash, nothing, sizeof nothing);
    world_close(&world);
}

static void a_models_digest_that_is_cut_is_none(void **state) {
    struct world world;
    world_open(&world, *state);
    int64_t run_key = world_create_run(&world);
    struct execution execution = world_execution(&world, 5, EXECUTION_SUCCEEDED);
    execution.model_version = 3;
    execution.has_model_digest = true;
    memset(execution.model_digest, 0xab, sizeof execution.model_digest);
    world_record(&world, run_key, &execution);
    assert_true(world_get_execution(&world, execution.key).has_model_digest);
    damage(*state, "UPDATE model_files SET digest = substr(digest, 1, 31)");
    struct execution read = world_get_execution(&world, execution.key);
    assert_false(read.has_model_digest);
    assert_int_equal(read.model_version, 3);
    world_close(&world);
}

/* An owner is never empty: nobody but an administrator sees it. */
static void an_execution_whose_run_is_lost_is_nobodys(void **state) {
    struct world world;
    world_open(&world, *state);
    int64_t run_key = world_create_run(&world);
    int64_t key = world_record_finished(&world, run_key, 5, EXECUTION_SUCCEEDED);
    damage(*state, "DELETE FROM runs");
    struct execution execution;
    const char *owner;
    struct error err;
    assert_true(store_get_execution(world.reader, key, &world.arena, &execution, &owner, &err));
    assert_int_equal(execution.run_key, run_key);
    assert_string_equal(owner, "");
    world_close(&world);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_damaged_store_says_so),
        PLACE_TEST(a_damaged_header_is_told_with_the_files_name_and_nothing_is_changed),
        PLACE_TEST(a_store_without_its_tag_is_damaged),
        PLACE_TEST(a_key_whose_hash_is_cut_opens_nothing),
        PLACE_TEST(a_models_digest_that_is_cut_is_none),
        PLACE_TEST(an_execution_whose_run_is_lost_is_nobodys),
    };
    return cmocka_run_group_tests_name("store: damage", tests, NULL, NULL);
}
