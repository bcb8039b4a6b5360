/* Memory runs out: at any single allocation. Where SQLite asked, the write is refused in words and the store goes on.
 * Where orrery asked, the process ends at once, by convention: then what it had acknowledged is in the store, exactly
 * once, and nothing needs to be mended.
 *
 * Each allocation fails in a child process of its own, which tells through a pipe what was acknowledged. Child after
 * child works on the same store. */
#include "../../store/world.h"
#include "observe/log.h"
#include "place.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    RUNS_PER_CHILD = 4,
    /* Of so many allocations one fails: all of them would take minutes (ORRERY_EVERY_ALLOCATION=1). */
    STRIDE_OF_SQLITE = 61,
    STRIDE_OF_ORRERY = 1,
    ALLOCATIONS_MAXIMUM = 100000,
    DONE = 3, /* the child's exit status when no allocation was left to fail */
};

/* --- allocations that fail -------------------------------------------------------------------------- */

enum asker { ASKER_NONE, ASKER_SQLITE, ASKER_ORRERY };

static atomic_int failing; /* an asker */
static atomic_int allocations_until_failure;
static atomic_bool has_failed;

static bool fails(enum asker asker) {
    if (atomic_load(&failing) != (int)asker ||
        atomic_fetch_sub(&allocations_until_failure, 1) != 0) {
        return false;
    }
    atomic_store(&has_failed, true);
    return true;
}

static sqlite3_mem_methods real_methods;

static void *sqlite_malloc(int size) {
    return fails(ASKER_SQLITE) ? NULL : real_methods.xMalloc(size);
}

static void *sqlite_realloc(void *memory, int size) {
    return fails(ASKER_SQLITE) ? NULL : real_methods.xRealloc(memory, size);
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return fails(ASKER_ORRERY) ? NULL : __real_malloc(size); }

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return fails(ASKER_ORRERY) ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size) {
    return fails(ASKER_ORRERY) ? NULL : __real_realloc(memory, size);
}

char *__real_strdup(const char *string);
char *__wrap_strdup(const char *string);
char *__wrap_strdup(const char *string) {
    return fails(ASKER_ORRERY) ? NULL : __real_strdup(string);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static int install(void **state) {
    (void)state;
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_methods);
    static sqlite3_mem_methods methods;
    methods = real_methods;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK ? 0 : -1;
}

/* --- the child -------------------------------------------------------------------------------------- */

/* What was acknowledged: a run, and how many of its two executions were recorded and how many of those ended. */
struct acknowledged {
    int64_t run_key;
    uint32_t recorded;
    uint32_t ended;
};

static bool write_run(struct world *world, struct acknowledged *out) {
    struct error err;
    struct run run = world_run(world);
    struct store_write create = {.kind = STORE_CREATE_RUN, .run = &run};
    if (!store_submit_and_wait(world->store, &create, &err)) {
        return false;
    }
    out->run_key = run.key;
    for (int i = 0; i < 2; i++) {
        struct execution execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
        struct store_record record = {.executions = {execution}, .execution_count = 1};
        struct store_write write = {.kind = STORE_RECORD, .run_key = run.key, .record = &record};
        bool ok = store_submit_and_wait(world->store, &write, &err);
        free(write.out_parameters);
        if (!ok) {
            continue;
        }
        out->recorded++;
        execution.run_key = run.key;
        execution.status = EXECUTION_SUCCEEDED;
        execution.finished_at = world_now(world);
        write = (struct store_write){.kind = STORE_FINISH, .execution = &execution};
        out->ended += store_submit_and_wait(world->store, &write, &err) ? 1 : 0;
        free(write.out_parameters);
    }
    return true;
}

/* Without assertions: this is not the process that the test runner runs in. An acknowledgement is told only when its
 * run is done with, or as far as it came when the process ends. */
static void work(const char *path, int fd) {
    struct world world = {.location = path, .now_us = INT64_C(1800000000) * US_PER_SECOND};
    struct store_options options = {.location = path, .exclusive = true};
    struct error err;
    if (!store_open(&options, &world.store, &err)) {
        return;
    }
    if (store_start(world.store, &err)) {
        int64_t greatest =
            MAX_OF(store_greatest_run_key(world.store), store_greatest_execution_key(world.store));
        identity_source_init(&world.keys, greatest);
        for (int i = 0; i < RUNS_PER_CHILD; i++) {
            struct acknowledged done = {0};
            if (write_run(&world, &done)) {
                ssize_t ignored = write(fd, &done, sizeof done);
                (void)ignored;
            }
        }
        store_stop(world.store);
    }
    store_close(world.store);
}

static int run_child(const char *path, enum asker asker, int allocations, int fd) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        atomic_store(&allocations_until_failure, allocations);
        atomic_store(&failing, (int)asker);
        work(path, fd);
        atomic_store(&failing, (int)ASKER_NONE);
        _exit(atomic_load(&has_failed) ? 0 : DONE);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGABRT);
        assert_int_equal(asker, ASKER_ORRERY);
        return 0;
    }
    return WEXITSTATUS(status);
}

/* --- what is there afterwards ------------------------------------------------------------------------ */

static void assert_whole(const char *path) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void assert_there(struct world *world, const struct acknowledged *done) {
    struct run_totals totals;
    struct error err;
    assert_int_equal(world_get_run(world, done->run_key).key, done->run_key);
    assert_true(store_get_run_totals(world->reader, done->run_key, &totals, &err));
    assert_int_equal(totals.count[EXECUTION_SUCCEEDED], done->ended);
    assert_int_equal(totals.count[EXECUTION_RUNNING], done->recorded - done->ended);
}

static void each_allocation_fails(const char *path, enum asker asker, int stride) {
    static struct acknowledged told[ALLOCATIONS_MAXIMUM];
    size_t count = 0;
    int status = 0;
    stride = getenv("ORRERY_EVERY_ALLOCATION") != NULL ? 1 : stride;
    int allocations = 0;
    for (; status != DONE && allocations < ALLOCATIONS_MAXIMUM; allocations += stride) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        status = run_child(path, asker, allocations, fds[1]);
        assert_true(status == 0 || status == DONE);
        close(fds[1]);
        struct acknowledged done;
        while (read(fds[0], &done, sizeof done) == (ssize_t)sizeof done) {
            assert_true(count < COUNT_OF(told));
            told[count++] = done;
        }
        close(fds[0]);
    }
    assert_int_equal(status, DONE);
    if (allocations <= 5 * stride) {
        fail_msg("after %d allocations there was none left to fail", allocations);
    }
    assert_whole(path);
    struct world world;
    world_open(&world, path);
    for (size_t i = 0; i < count; i++) {
        assert_there(&world, &told[i]);
        arena_reset(&world.arena);
    }
    world_close(&world);
}

/* --- the tests --------------------------------------------------------------------------------------- */

static int make_place(void **state) {
    *state = (char *)(uintptr_t)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

static void sqlite_without_memory_refuses_and_goes_on(void **state) {
    each_allocation_fails(*state, ASKER_SQLITE, STRIDE_OF_SQLITE);
}

static void a_process_without_memory_ends_and_leaves_a_whole_store(void **state) {
    each_allocation_fails(*state, ASKER_ORRERY, STRIDE_OF_ORRERY);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(sqlite_without_memory_refuses_and_goes_on),
        PLACE_TEST(a_process_without_memory_ends_and_leaves_a_whole_store),
    };
    log_set_level((enum log_level)(LOG_ERROR + 1)); /* each failure is one line */
    return cmocka_run_group_tests_name("store: memory", tests, install, NULL);
}
