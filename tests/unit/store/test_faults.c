/* The disk fails: at every single operation in turn, and by being full. What was acknowledged is kept, what was
 * not is refused with a clear sentence, and the store works again by itself when the disk does.
 *
 * The faults come from a VFS of SQLite's (https://sqlite.org/vfs.html) that stands before the real one and fails
 * on demand; and, once, from the kernel. */
#include "../../store/world.h"
#include "observe/log.h"
#include "place.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the VFS that fails ------------------------------------------------------------------------------ */

enum fault { FAULT_NONE, FAULT_FULL, FAULT_WRITE, FAULT_SYNC, FAULT_MAP };

static atomic_int fault;
static atomic_int operations_until_fault; /* how many operations still succeed */
static atomic_int failed_operations;
static atomic_int fault_errno; /* with which an operation fails */

struct shim_file {
    sqlite3_file file; /* first */
    sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;

static sqlite3_file *real_of(sqlite3_file *file) { return ((struct shim_file *)file)->real; }

/* Whether this operation is to fail. Once one has failed, all further ones fail, until the fault is lifted:
 * disks that are full stay full for a while. */
static bool fails(enum fault kind) {
    enum fault now = (enum fault)atomic_load(&fault);
    bool concerned = now == kind || (now == FAULT_FULL && kind == FAULT_WRITE);
    if (!concerned || atomic_fetch_sub(&operations_until_fault, 1) > 0) {
        return false;
    }
    atomic_fetch_add(&failed_operations, 1);
    errno = atomic_load(&fault_errno);
    return true;
}

static int shim_close(sqlite3_file *file) {
    sqlite3_file *real = real_of(file);
    int code = real->pMethods->xClose(real);
    free(real);
    return code;
}
static int shim_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
    return real_of(file)->pMethods->xRead(real_of(file), bytes, count, offset);
}
static int shim_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
    sqlite3_file *real = real_of(file);
    if (fails(FAULT_WRITE)) {
        /* Half of it gets there, as on a real disk. */
        real->pMethods->xWrite(real, bytes, count / 2, offset);
        return atomic_load(&fault) == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real->pMethods->xWrite(real, bytes, count, offset);
}
static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int shim_sync(sqlite3_file *file, int flags) {
    if (fails(FAULT_SYNC)) {
        return SQLITE_IOERR_FSYNC;
    }
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}
static int shim_file_size(sqlite3_file *file, sqlite3_int64 *out_size) {
    return real_of(file)->pMethods->xFileSize(real_of(file), out_size);
}
static int shim_lock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xLock(real_of(file), level);
}
static int shim_unlock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
static int shim_check_reserved(sqlite3_file *file, int *out) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}
static int shim_control(sqlite3_file *file, int operation, void *argument) {
    return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}
static int shim_sector_size(sqlite3_file *file) {
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}
static int shim_characteristics(sqlite3_file *file) {
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}
static int shim_map(sqlite3_file *file, int page, int size, int extend, void volatile **out) {
    if (fails(FAULT_MAP)) {
        return SQLITE_IOERR_SHMSIZE;
    }
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}
static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}
static void shim_barrier(sqlite3_file *file) {
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}
static int shim_unmap(sqlite3_file *file, int delete) {
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2, /* without memory-mapped reads */
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_file_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector_size,
    .xDeviceCharacteristics = shim_characteristics,
    .xShmMap = shim_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_barrier,
    .xShmUnmap = shim_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *out_flags) {
    (void)vfs;
    struct shim_file *shim = (struct shim_file *)file;
    shim->file.pMethods = NULL;
    shim->real = must_alloc_zeroed(1, (size_t)real_vfs->szOsFile);
    int code = real_vfs->xOpen(real_vfs, name, shim->real, flags, out_flags);
    if (shim->real->pMethods == NULL) {
        free(shim->real);
        return code;
    }
    shim->file.pMethods = &shim_methods;
    return code;
}

static int install_shim(void **state) {
    (void)state;
    sqlite3_initialize();
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "failing";
    shim_vfs.szOsFile = sizeof(struct shim_file);
    shim_vfs.xOpen = shim_open;
    return sqlite3_vfs_register(&shim_vfs, 1);
}

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

/* --- the tests --------------------------------------------------------------------------------------- */

enum { ROUND_WRITES = 12 };

/* A few writes of each kind in one volley; notes which runs must be there afterwards. */
static void write_round(struct world *world, int64_t *kept_keys, size_t *kept_count,
                        uint32_t *out_failed) {
    struct run runs[ROUND_WRITES];
    struct store_write writes[ROUND_WRITES];
    struct volley volley = {0};
    for (size_t i = 0; i < ROUND_WRITES; i++) {
        runs[i] = world_run(world);
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(world, &volley, &writes[i]);
    }
    volley_wait(&volley, ROUND_WRITES);
    *out_failed = 0;
    for (size_t i = 0; i < ROUND_WRITES; i++) {
        if (writes[i].ok) {
            kept_keys[(*kept_count)++] = runs[i].key;
        } else {
            assert_int_equal(writes[i].err.kind, ERROR_STORE);
            assert_null(strstr(writes[i].err.message, "INSERT"));
            (*out_failed)++;
        }
    }
}

static void assert_kept(struct world *world, const int64_t *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        world_get_run(world, keys[i]);
    }
    arena_reset(&world->arena);
    struct run_filter filter = {.limit = 1};
    struct run *runs;
    size_t run_count;
    uint64_t total;
    struct error err;
    assert_true(
        store_list_runs(world->reader, &filter, &world->arena, &runs, &run_count, &total, &err));
    assert_int_equal(total, count); /* and nothing else */
}

/* Fails the first operation, then the second, and so on until a whole round passes without a fault. */
static void fail_each_operation(const char *path, enum fault kind) {
    static int64_t keys[200 * 3 * ROUND_WRITES];
    size_t count = 0;
    struct world world;
    world_open(&world, path);
    int operations = 0;
    for (; operations < 200; operations++) {
        uint32_t failed;
        atomic_store(&failed_operations, 0);
        atomic_store(&operations_until_fault, operations);
        atomic_store(&fault, kind);
        write_round(&world, keys, &count, &failed);
        atomic_store(&fault, FAULT_NONE);
        assert_kept(&world, keys, count);
        /* The disk is well again, and so is the store. */
        uint32_t failed_after;
        write_round(&world, keys, &count, &failed_after);
        assert_int_equal(failed_after, 0);
        if (atomic_load(&failed_operations) == 0) {
            break;
        }
        assert_true(failed > 0);
    }
    assert_in_range(operations, 1, 199);
    world_reopen(&world);
    assert_kept(&world, keys, count);
    world_close(&world);
}

static void a_full_disk_loses_nothing_and_passes(void **state) {
    fail_each_operation(*state, FAULT_FULL);
}

static void a_failing_write_loses_nothing_and_passes(void **state) {
    fail_each_operation(*state, FAULT_WRITE);
}

static void a_failing_flush_loses_nothing_and_passes(void **state) {
    fail_each_operation(*state, FAULT_SYNC);
}

static void a_full_disk_is_said_in_words(void **state) {
    struct world world;
    world_open(&world, *state);
    struct run run = world_run(&world);
    struct store_write write = {.kind = STORE_CREATE_RUN, .run = &run};
    struct error err;
    atomic_store(&operations_until_fault, 0);
    atomic_store(&fault, FAULT_FULL);
    assert_false(store_submit_and_wait(world.store, &write, &err));
    atomic_store(&fault, FAULT_NONE);
    assert_non_null(strstr(err.message, "the disk is full, nothing was stored"));
    world_write(&world, &write);
    world_close(&world);
}

/* The index of the log is a file, too, for which there may be no room; SQLite calls that an input/output error. */
static void no_room_for_the_logs_index_is_a_full_disk_too(void **state) {
    const struct {
        int with_errno;
        const char *words;
    } cases[] = {{ENOSPC, "the disk is full, nothing was stored; make room on the disk"},
                 {EDQUOT, "the disk is full, nothing was stored; make room on the disk"},
                 {EIO, "the disk fails"}};
    struct world world;
    world_open(&world, *state);
    int64_t run_key = world_create_run(&world);
    world_close(&world);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct store *store;
        struct error err;
        atomic_store(&operations_until_fault, 0);
        atomic_store(&fault_errno, cases[i].with_errno);
        atomic_store(&fault, FAULT_MAP);
        assert_false(store_open(&(struct store_options){.location = *state}, &store, &err));
        atomic_store(&fault, FAULT_NONE);
        assert_non_null(strstr(err.message, cases[i].words));
    }
    atomic_store(&fault_errno, 0);
    world_open(&world, *state);
    assert_int_equal(world_get_run(&world, run_key).key, run_key);
    world_close(&world);
}

/* A name that was new in a transaction which was rolled back is still new. */
static void names_of_a_failed_batch_are_forgotten(void **state) {
    struct world world;
    world_open(&world, *state);
    world_create_run(&world);
    struct run run = world_run(&world);
    run.owner = "an owner not heard of before";
    run.model_name = "a model not heard of before";
    struct store_write write = {.kind = STORE_CREATE_RUN, .run = &run};
    atomic_store(&operations_until_fault, 0);
    atomic_store(&fault, FAULT_WRITE);
    assert_int_equal(world_write_fails(&world, &write), ERROR_STORE);
    atomic_store(&fault, FAULT_NONE);
    struct run other = world_run(&world);
    other.owner = "somebody else";
    world_create(&world, &other);
    world_write(&world, &write);
    assert_string_equal(world_get_run(&world, run.key).owner, "an owner not heard of before");
    assert_string_equal(world_get_run(&world, run.key).model_name, "a model not heard of before");
    assert_string_equal(world_get_run(&world, other.key).owner, "somebody else");
    world_close(&world);
}

/* --- retention --------------------------------------------------------------------------------------- */

/* Executes some slots of the run; what was recorded is counted, and of that, what ended. */
static void execute_round(struct world *world, int64_t run_key, uint64_t *recorded,
                          uint64_t *ended) {
    for (size_t i = 0; i < ROUND_WRITES; i++) {
        struct error err;
        struct execution execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
        struct store_record record = {.executions = {execution}, .execution_count = 1};
        struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
        bool ok = store_submit_and_wait(world->store, &write, &err);
        free(write.out_parameters);
        *recorded += ok ? 1 : 0;
        execution.run_key = run_key;
        execution.status = EXECUTION_SUCCEEDED;
        execution.finished_at = world_now(world);
        write = (struct store_write){.kind = STORE_FINISH, .execution = &execution};
        *ended += ok && store_submit_and_wait(world->store, &write, &err) ? 1 : 0;
    }
}

static void assert_totals(struct world *world, int64_t run_key, uint64_t recorded, uint64_t ended) {
    struct run_totals totals;
    struct error err;
    assert_true(store_get_run_totals(world->reader, run_key, &totals, &err));
    assert_int_equal(totals.count[EXECUTION_SUCCEEDED], ended);
    assert_int_equal(totals.count[EXECUTION_RUNNING], recorded - ended);
}

/* Whatever operation fails, also one of removing: each execution is in the history or in the totals, once. */
static void retention_loses_and_doubles_nothing(const char *path, enum fault kind) {
    struct world world;
    world_open(&world, path);
    world.options.retention_count = 3;
    world_reopen(&world);
    int operations = 0;
    int harmless = 0;
    for (; operations < 300 && harmless < 3; operations++) {
        /* A run each time, since what could not be ended keeps all that is newer. */
        int64_t run_key = world_create_run(&world);
        uint64_t recorded = 0;
        uint64_t ended = 0;
        execute_round(&world, run_key, &recorded, &ended);
        atomic_store(&failed_operations, 0);
        atomic_store(&operations_until_fault, operations);
        atomic_store(&fault, kind);
        execute_round(&world, run_key, &recorded, &ended);
        atomic_store(&fault, FAULT_NONE);
        assert_totals(&world, run_key, recorded, ended);
        execute_round(&world, run_key, &recorded, &ended);
        world_reopen(&world);
        assert_totals(&world, run_key, recorded, ended);
        harmless = atomic_load(&failed_operations) == 0 ? harmless + 1 : 0;
    }
    assert_in_range(operations, 10, 299);
    world_close(&world);
}

static void retention_on_a_full_disk_loses_and_doubles_nothing(void **state) {
    retention_loses_and_doubles_nothing(*state, FAULT_FULL);
}

static void retention_with_failing_flushes_loses_and_doubles_nothing(void **state) {
    retention_loses_and_doubles_nothing(*state, FAULT_SYNC);
}

/* A backup that fails at any point leaves no file, and the next one is whole. */
static void a_backup_that_fails_leaves_nothing(void **state) {
    const char *path = *state;
    char file[300];
    char partial[320];
    snprintf(file, sizeof file, "%s.backup", path);
    snprintf(partial, sizeof partial, "%s.partial", file);
    struct world world;
    world_open(&world, path);
    for (int i = 0; i < 300; i++) {
        world_create_run(&world);
    }
    world_close(&world);
    int operations = 0;
    for (; operations < 300; operations++) {
        struct error err;
        atomic_store(&operations_until_fault, operations);
        atomic_store(&fault, FAULT_FULL);
        bool ok = store_backup(path, file, NULL, &err);
        atomic_store(&fault, FAULT_NONE);
        assert_int_equal(access(partial, F_OK), -1);
        assert_int_equal(access(file, F_OK), ok ? 0 : -1);
        if (ok) {
            break;
        }
        assert_non_null(strstr(err.message, "disk is full"));
    }
    assert_in_range(operations, 10, 299);
}

/* The kernel refuses to let any file grow further. */
static void the_kernels_limit_is_a_full_disk_too(void **state) {
    struct world world;
    world_open(&world, *state);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit unlimited;
    getrlimit(RLIMIT_FSIZE, &unlimited);
    struct rlimit small = {.rlim_cur = 2 << 20, .rlim_max = unlimited.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int64_t keys[2000];
    size_t count = 0;
    uint32_t failed = 0;
    while (failed == 0 && count < COUNT_OF(keys) - ROUND_WRITES) {
        write_round(&world, keys, &count, &failed);
    }
    assert_true(failed > 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    assert_kept(&world, keys, count);
    write_round(&world, keys, &count, &failed);
    assert_int_equal(failed, 0);
    world_reopen(&world);
    assert_kept(&world, keys, count);
    world_close(&world);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_full_disk_loses_nothing_and_passes),
        PLACE_TEST(a_failing_write_loses_nothing_and_passes),
        PLACE_TEST(a_failing_flush_loses_nothing_and_passes),
        PLACE_TEST(a_full_disk_is_said_in_words),
        PLACE_TEST(no_room_for_the_logs_index_is_a_full_disk_too),
        PLACE_TEST(names_of_a_failed_batch_are_forgotten),
        PLACE_TEST(retention_on_a_full_disk_loses_and_doubles_nothing),
        PLACE_TEST(retention_with_failing_flushes_loses_and_doubles_nothing),
        PLACE_TEST(a_backup_that_fails_leaves_nothing),
        PLACE_TEST(the_kernels_limit_is_a_full_disk_too),
    };
    log_set_level((enum log_level)(LOG_ERROR + 1)); /* each fault is one line */
    return cmocka_run_group_tests_name("store: faults", tests, install_shim, NULL);
}
