/* What is SQLite's own: opening, locking, migrations, the views for people, a crash. */
#include "../../store/world.h"
#include "observe/log.h"
#include "place.h"
#include "store/sqlite/schema.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static void execute(const char *path, const char *sql) {
    sqlite3 *db;
    char *message = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", message, sql);
    }
    sqlite3_close(db);
}

enum { ROW_BYTES = 2000 };

/* The first row's columns, joined with "|". */
static int join_columns(void *context, int count, char **values, char **names) {
    (void)names;
    char *out = context;
    for (int i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, ROW_BYTES - used, "%s%s", i == 0 ? "" : "|",
                 values[i] == NULL ? "-" : values[i]);
    }
    return 0;
}

static void query(const char *path, const char *sql, char out[static ROW_BYTES]) {
    sqlite3 *db;
    out[0] = '\0';
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, join_columns, out, NULL), SQLITE_OK);
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

/* --- opening --------------------------------------------------------------------------------------- */

static void a_new_store_is_private_and_marked(void **state) {
    const char *path = *state;
    mode_t old_mask = umask(0);
    struct world world;
    world_open(&world, path);
    world_create_run(&world);
    const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        char name[300];
        struct stat status;
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        assert_int_equal(stat(name, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    umask(old_mask);
    world_close(&world);
    char row[ROW_BYTES];
    query(path, "SELECT * FROM pragma_application_id, pragma_user_version, pragma_journal_mode",
          row);
    assert_string_equal(row, "1869771385|3|wal");
    query(path,
          "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%STRICT%'"
          " AND name NOT LIKE 'sqlite_%'",
          row);
    assert_string_equal(row, "0");
}

static void a_missing_folder_is_made(void **state) {
    const char *path = *state;
    char folder[280];
    char inside[300];
    char deeper[300];
    snprintf(folder, sizeof folder, "%.*s/data", (int)(strrchr(path, '/') - path), path);
    snprintf(inside, sizeof inside, "%s/store.db", folder);
    snprintf(deeper, sizeof deeper, "%s/deeper/store.db", folder);
    struct world world;
    world_open(&world, inside);
    struct stat status;
    assert_int_equal(stat(folder, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    world_close(&world);
    char command[400];
    unlink(inside);
    snprintf(command, sizeof command, "%s.lock", inside);
    unlink(command);
    rmdir(folder);
    /* Two that are missing are somebody's mistake. */
    assert_contains(open_fails(deeper, true).message, "No such file or directory");
}

static void what_cannot_be_a_store_is_refused_with_the_reason(void **state) {
    (void)state;
    assert_contains(open_fails(":memory:", true).message, "memory");
    assert_contains(open_fails("", true).message, "file name");
    assert_contains(open_fails("postgresql://host/db", true).message, "SQLite only");
    assert_contains(open_fails("postgres://host/db", false).message, "SQLite only");
    assert_contains(open_fails("/", true).message, "directory");
    assert_contains(open_fails("/dev/null", true).message, "not a file");
}

static void a_file_of_another_kind_is_refused_and_left_alone(void **state) {
    const char *path = *state;
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++) {
        fputs("this is not a database, it is a poem\n", file);
    }
    fclose(file);
    assert_contains(open_fails(path, true).message, "not an orrery store");
    struct stat status;
    stat(path, &status);
    assert_int_equal(status.st_size, 37000);
}

static void another_programs_database_is_refused_and_left_alone(void **state) {
    const char *path = *state;
    execute(path, "CREATE TABLE users (name)");
    assert_contains(open_fails(path, true).message, "another program");
    char row[ROW_BYTES];
    query(path,
          "SELECT group_concat(name) FROM sqlite_schema UNION ALL SELECT journal_mode FROM"
          " pragma_journal_mode",
          row);
    assert_string_equal(row, "usersdelete");
}

static void a_database_with_a_version_of_its_own_is_another_programs(void **state) {
    const char *path = *state;
    execute(path, "PRAGMA user_version = 2"); /* still without a table */
    assert_contains(open_fails(path, true).message, "another program");
    char row[ROW_BYTES];
    query(path, "SELECT count(*) FROM sqlite_schema", row);
    assert_string_equal(row, "0");
}

static void a_newer_store_is_refused(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    world_close(&world);
    execute(path, "PRAGMA user_version = 99");
    struct error err = open_fails(path, true);
    assert_contains(err.message, "newer");
    assert_contains(err.message, "99");
    assert_contains(err.message, path);
}

static void every_failure_of_sqlites_is_a_sentence(void **state) {
    (void)state;
    const struct {
        int code;
        const char *words;
    } cases[] = {{SQLITE_FULL, "disk is full"},
                 {SQLITE_IOERR_WRITE, "disk fails"},
                 {SQLITE_READONLY_DIRECTORY, "cannot be written"},
                 {SQLITE_PERM, "cannot be written"},
                 {SQLITE_AUTH, "cannot be written"},
                 {SQLITE_CANTOPEN, "cannot be opened"},
                 {SQLITE_BUSY_SNAPSHOT, "another process"},
                 {SQLITE_LOCKED, "another process"},
                 {SQLITE_NOTADB, "not an orrery store"},
                 {SQLITE_CORRUPT_INDEX, "damaged"},
                 {SQLITE_NOMEM, "memory"},
                 {SQLITE_TOOBIG, "too large"},
                 {SQLITE_MISUSE, "a bug in orrery"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct error err;
        assert_false(sqlite_fail(NULL, cases[i].code, &err));
        assert_int_equal(err.kind, ERROR_STORE);
        assert_contains(err.message, cases[i].words);
    }
    sqlite3 *db;
    struct sqlite_connection connection = {0};
    struct error err;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    connection.db = db;
    assert_false(sqlite_execute(&connection, "SELEKT", &err));
    assert_contains(err.message, "a bug in orrery");
    sqlite3_close(db);
}

static void a_file_without_a_folder_in_its_name_lies_here(void **state) {
    const char *path = *state;
    char here[1000];
    char *folder = must_strdup(path);
    *strrchr(folder, '/') = '\0';
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    struct world world;
    world_open(&world, "store.db");
    world_create_run(&world);
    world_close(&world);
    struct error err;
    assert_true(store_backup("store.db", "store.backup", NULL, &err));
    assert_true(store_stage_restore("store.db", "store.backup", NULL, &err));
    assert_true(store_finish_restore("store.db", &err));
    assert_int_equal(chdir(here), 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    free(folder);
}

/* What a newer program has written, before this one was used again. */
static void a_kind_of_error_not_heard_of_stands_for_nothing(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    struct run run = world_run(&world);
    run.retry.non_retryable = error_kind_bit(ERROR_TIMED_OUT);
    world_create(&world, &run);
    execute(path, "UPDATE runs SET retry_non_retryable = 'TimedOut,ToBeInvented'");
    assert_int_equal(world_get_run(&world, run.key).retry.non_retryable, 0);
    world_close(&world);
}

/* --- locking --------------------------------------------------------------------------------------- */

static void a_second_daemon_is_refused_and_told_who_is_first(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    char pid[40];
    snprintf(pid, sizeof pid, "process id %d", (int)getpid());
    assert_contains(open_fails(path, true).message, pid);
    world_close(&world);
    world_open(&world, path); /* and the lock ends with its holder */
    world_close(&world);
}

static void a_process_id_is_believed_only_of_who_has_the_lock_open(void **state) {
    const char *path = *state;
    char name[300];
    snprintf(name, sizeof name, "%s.lock", path);
    struct world world;
    world_open(&world, path);
    const char *const contents[] = {"1\n", "2147483647\n", ""};
    for (size_t i = 0; i < COUNT_OF(contents); i++) {
        FILE *lock = fopen(name, "w");
        fputs(contents[i], lock);
        fclose(lock);
        int64_t pid = 0;
        struct error err;
        assert_false(store_find_daemon(path, &pid, &err));
        assert_contains(err.message, "cannot be seen from here");
    }
    assert_contains(open_fails(path, true).message, "another orrery");
    world_close(&world);
}

static void a_command_writes_beside_the_daemon(void **state) {
    const char *path = *state;
    struct world daemon;
    world_open(&daemon, path);
    struct store *store;
    struct error err;
    assert_true(store_open(&(struct store_options){.location = path}, &store, &err));
    assert_true(store_start(store, &err));
    struct volley volley = {0};
    struct run runs[200];
    struct store_write writes[200];
    for (size_t i = 0; i < COUNT_OF(runs); i++) { /* the daemon is busy meanwhile */
        runs[i] = world_run(&daemon);
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(&daemon, &volley, &writes[i]);
    }
    struct api_key key = {.id = "0123456789abcdef", .owner = "carol", .revoked_at = WALL_TIME_NONE};
    struct store_write write = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    assert_true(store_submit_and_wait(store, &write, &err));
    store_stop(store);
    store_close(store);
    struct api_key read;
    assert_true(store_get_api_key(daemon.reader, key.id, &daemon.arena, &read, &err));
    assert_string_equal(read.owner, "carol");
    volley_wait(&volley, COUNT_OF(runs));
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        assert_true(writes[i].ok);
    }
    world_close(&daemon);
}

static void a_command_does_not_migrate_under_a_daemon(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    execute(path, "PRAGMA user_version = 0"); /* as if the daemon were of an older version */
    assert_contains(open_fails(path, false).message, "process id");
    execute(path, "PRAGMA user_version = 2");
    world_close(&world);
}

/* --- older versions ----------------------------------------------------------------------------------- */

static char *read_source_file(const char *name) {
    const char *root = getenv("ORRERY_SOURCE_ROOT"); // NOLINT(concurrency-mt-unsafe)
    char path[500];
    snprintf(path, sizeof path, "%s/%s", root == NULL ? "." : root, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    char *content = must_alloc((size_t)status.st_size + 1);
    assert_int_equal(fread(content, 1, (size_t)status.st_size, file), status.st_size);
    content[status.st_size] = '\0';
    fclose(file);
    return content;
}

struct loaded {
    struct execution executions[4];
    size_t count;
};

static void collect_execution(const struct execution *execution, void *context) {
    struct loaded *loaded = context;
    assert_true(loaded->count < COUNT_OF(loaded->executions));
    loaded->executions[loaded->count++] = *execution;
}

/* What the file has is in tests/tables/store_version_1.sql. */
static void a_store_of_version_1_opens_and_keeps_everything(void **state) {
    const char *path = *state;
    char *sql = read_source_file("tests/tables/store_version_1.sql");
    execute(path, sql);
    free(sql);
    struct world world;
    world_open(&world, path);
    const int64_t alices_key = INT64_C(1843200001024000000);
    const int64_t bobs_key = INT64_C(1843200002048000000);
    struct run run = world_get_run(&world, alices_key);
    assert_string_equal(run.name, "nightly");
    assert_int_equal(run.model_version, 3);
    assert_int_equal(run.priority, PRIORITY_DEFAULT);
    assert_true(wall_time_is_none(run.paused_at));
    assert_null(run.note);
    assert_int_equal(run.retry.non_retryable, 0);
    assert_int_equal(world_get_run(&world, bobs_key).next_run.us, INT64_C(1800000310000000));
    /* No slot that it has recorded comes again, were the clock to go back: the newest of the schedule's own, also of one
     * that has not ended. */
    assert_int_equal(run.settled_until.us, INT64_C(1800000008000000));
    assert_int_equal(world_get_run(&world, bobs_key).settled_until.us, INT64_C(1800000009000000));

    struct execution *page;
    size_t count;
    int64_t next_cursor;
    struct error err;
    struct execution_filter filter = {
        .run_key = alices_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 10};
    assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                      &next_cursor, &err));
    assert_int_equal(count, 6);
    assert_int_equal(next_cursor, 0);
    assert_int_equal(page[0].status, EXECUTION_RUNNING);
    assert_int_equal(page[0].model_version, 3);
    assert_int_equal(page[3].status, EXECUTION_FAILED);
    struct execution ended = world_get_execution(&world, INT64_C(1843200011264000000));
    assert_int_equal(ended.model_version, 7);
    assert_true(ended.has_model_digest);
    assert_string_equal(ended.result, "{\"outputs\":[]}");
    assert_int_equal(ended.duration.us, 1234);
    assert_int_equal(world_get_execution(&world, INT64_C(1843200012288000000)).missed_count, 42);

    struct loaded loaded = {.count = 0};
    assert_true(store_load_active(world.reader, collect_execution, &loaded, &err));
    assert_int_equal(loaded.count, 2);
    assert_int_equal(loaded.executions[0].timeout.us, 42 * US_PER_SECOND);
    assert_int_equal(loaded.executions[0].model_version, 3);
    assert_true(wall_time_is_none(loaded.executions[0].not_before));
    struct store_write start = {
        .kind = STORE_START, .execution_key = loaded.executions[1].key, .started_at = {5}};
    world_write_gives(&world, &start, "{\"once\":1}");
    struct api_key key;
    assert_true(store_get_api_key(world.reader, "0123456789abcdef", &world.arena, &key, &err));
    assert_string_equal(key.owner, "carol");
    /* A slot stays single. */
    struct execution again = world_execution(&world, page[5].scheduled_for.us, EXECUTION_RUNNING);
    assert_int_equal(world_record_fails(&world, alices_key, &again), ERROR_CONFLICT);
    world_close(&world);

    char row[ROW_BYTES];
    query(path,
          "SELECT * FROM pragma_user_version, pragma_integrity_check,"
          " (SELECT count(*) FROM pragma_foreign_key_check),"
          " (SELECT group_concat(execution_count) FROM run_state)",
          row);
    assert_string_equal(row, "3|ok|0|6,3,1");
    query(path, "SELECT count(*), max(model_version), min(backfill_id) FROM execution_history",
          row);
    assert_string_equal(row, "10|7|-");
    query(path, "SELECT priority, note, paused_at FROM scheduled_runs WHERE owner = 'alice'", row);
    assert_string_equal(row, "5|-|-");
}

/* --- the views --------------------------------------------------------------------------------------- */

static void people_can_read_the_tables(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    struct run run = world_run(&world);
    run.created_at = (struct wall_time){INT64_C(1800000000000042)};
    run.parameters = "{}";
    world_create(&world, &run);
    int64_t key =
        world_record_finished(&world, run.key, INT64_C(1800000001500000), EXECUTION_FAILED);
    char id[UUID_TEXT_BYTES];
    char run_id[UUID_TEXT_BYTES];
    identity_format(run.key, store_tag(world.store), run_id);
    identity_format(key, store_tag(world.store), id);
    char expected[ROW_BYTES];
    char row[ROW_BYTES];
    snprintf(expected, sizeof expected,
             "%s|iris|0 * * * *|1|{}|2027-01-15T08:00:00.000042Z|alice|UTC|skip|latest|3600.0|-",
             run_id);
    query(path,
          "SELECT id, model_name, schedule, enabled, parameters, created_at, owner, timezone,"
          " overlap, catchup, catchup_window_seconds, start_at FROM scheduled_runs",
          row);
    assert_string_equal(row, expected);
    snprintf(expected, sizeof expected, "%s|%s|schedule|1|failed|2027-01-15T08:00:01.500000Z|-|-",
             id, run_id);
    query(path,
          "SELECT execution_id, run_id, trigger, attempt, status, scheduled_for, blocked_by,"
          " model_digest FROM execution_history",
          row);
    assert_string_equal(row, expected);
    /* An id of every bit pattern, against the one place that makes them. */
    for (int i = 0; i < 100; i++) {
        struct execution execution = world_execution(&world, i, EXECUTION_SKIPPED);
        execution.key = identity_next(&world.keys, world.now_us + i * INT64_C(123457));
        world_record(&world, run.key, &execution);
        char sql[200];
        snprintf(sql, sizeof sql, "SELECT execution_id FROM execution_history WHERE key = %lld",
                 (long long)execution.key);
        identity_format(execution.key, store_tag(world.store), id);
        query(path, sql, row);
        assert_string_equal(row, id);
    }
    world_close(&world);
}

static void the_views_use_the_names_of_the_domain(void **state) {
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    int64_t run_key = world_create_run(&world);
    char sql[300];
    char row[ROW_BYTES];
    for (int status = EXECUTION_QUEUED; status <= EXECUTION_MISSED; status++) {
        struct execution execution = world_execution(&world, status, (enum execution_status)status);
        world_record(&world, run_key, &execution);
        snprintf(sql, sizeof sql, "SELECT status FROM execution_history WHERE key = %lld",
                 (long long)execution.key);
        query(path, sql, row);
        assert_string_equal(row, execution_status_name((enum execution_status)status));
    }
    for (int trigger = TRIGGER_SCHEDULE; trigger <= TRIGGER_BACKFILL; trigger++) {
        struct execution execution = world_execution(&world, 100 + trigger, EXECUTION_QUEUED);
        execution.trigger = (enum execution_trigger)trigger;
        world_record(&world, run_key, &execution);
        snprintf(sql, sizeof sql, "SELECT trigger FROM execution_history WHERE key = %lld",
                 (long long)execution.key);
        query(path, sql, row);
        assert_string_equal(row, execution_trigger_name((enum execution_trigger)trigger));
    }
    for (int policy = OVERLAP_SKIP; policy <= OVERLAP_ALLOW; policy++) {
        struct run run = world_run(&world);
        run.overlap = (enum overlap_policy)policy;
        run.catchup = (enum catchup_policy)MIN_OF(policy, (int)CATCHUP_NONE);
        run.dst_missing = (enum dst_missing)MIN_OF(policy, (int)DST_MISSING_SKIP);
        run.dst_repeated = (enum dst_repeated)MIN_OF(policy, (int)DST_REPEATED_BOTH);
        world_create(&world, &run);
        char expected[200];
        snprintf(sql, sizeof sql,
                 "SELECT overlap, catchup, dst_missing, dst_repeated FROM scheduled_runs"
                 " WHERE key = %lld",
                 (long long)run.key);
        snprintf(expected, sizeof expected, "%s|%s|%s|%s", overlap_policy_name(run.overlap),
                 catchup_policy_name(run.catchup), dst_missing_name(run.dst_missing),
                 dst_repeated_name(run.dst_repeated));
        query(path, sql, row);
        assert_string_equal(row, expected);
    }
    world_close(&world);
}

/* --- a write that cannot be carried out ------------------------------------------------------------------- */

static void a_write_that_the_schema_refuses_is_not_the_stores_failure(void **state) {
    struct world world;
    world_open(&world, *state);
    struct run runs[3];
    struct store_write writes[3];
    struct volley volley = {0};
    log_set_level((enum log_level)(LOG_ERROR + 1));
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        runs[i] = world_run(&world);
        runs[i].owner = i == 1 ? "an owner not heard of before" : "alice";
        runs[i].priority = i == 1 ? 77 : PRIORITY_DEFAULT; /* a bug of the sender's */
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(&world, &volley, &writes[i]);
    }
    volley_wait(&volley, COUNT_OF(runs));
    struct run alone = runs[1];
    alone.key = world_key(&world);
    struct store_write write = {.kind = STORE_CREATE_RUN, .run = &alone};
    assert_int_equal(world_write_fails(&world, &write), ERROR_INTERNAL);
    log_set_level(LOG_INFO);
    assert_true(writes[0].ok);
    assert_false(writes[1].ok);
    assert_int_equal(writes[1].err.kind, ERROR_INTERNAL);
    assert_true(writes[2].ok);
    runs[1].priority = PRIORITY_MINIMUM;
    world_create(&world, &runs[1]);
    assert_string_equal(world_get_run(&world, runs[1].key).owner, runs[1].owner);
    world_close(&world);
}

/* --- a crash ----------------------------------------------------------------------------------------- */

enum { CRASH_WRITES = 20000 };

struct shared {
    _Atomic uint32_t acknowledged;
    int64_t run_keys[CRASH_WRITES]; /* of those that were acknowledged */
};

static struct shared *shared;

static void acknowledge(struct store_write *write) {
    ASSERT(write->ok);
    uint32_t index = atomic_load(&shared->acknowledged);
    shared->run_keys[index] = write->run->key;
    atomic_store(&shared->acknowledged, index + 1);
}

/* A process that writes as fast as it can until it is killed. */
static void write_until_killed(const char *path) {
    struct world world;
    world_open(&world, path);
    struct run *runs = must_alloc_zeroed(CRASH_WRITES, sizeof *runs);
    struct store_write *writes = must_alloc_zeroed(CRASH_WRITES, sizeof *writes);
    for (size_t i = 0; i < CRASH_WRITES; i++) {
        runs[i] = world_run(&world);
        writes[i] =
            (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i], .done = acknowledge};
        store_submit(world.store, &writes[i]);
    }
    for (;;) {
        pause();
    }
}

static void what_was_acknowledged_survives_a_kill(void **state) {
    const char *path = *state;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        write_until_killed(path);
    }
    while (atomic_load(&shared->acknowledged) < 2000) {
        assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
        usleep(100);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    uint32_t acknowledged = atomic_load(&shared->acknowledged);
    struct world world;
    world_open(&world, path); /* the lock of the dead is no lock */
    for (uint32_t i = 0; i < acknowledged; i++) {
        world_get_run(&world, shared->run_keys[i]);
        arena_reset(&world.arena);
    }
    char row[ROW_BYTES];
    query(path,
          "SELECT * FROM pragma_integrity_check, (SELECT count(*) FROM pragma_foreign_key_check)",
          row);
    assert_string_equal(row, "ok|0");
    query(path,
          "SELECT (SELECT count(*) FROM runs) = (SELECT count(*) FROM run_state)"
          " AND (SELECT count(*) FROM runs) = (SELECT sum(run_count) FROM run_counts)",
          row);
    assert_string_equal(row, "1");
    world_close(&world);
    munmap(shared, sizeof *shared);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_new_store_is_private_and_marked),
        PLACE_TEST(a_missing_folder_is_made),
        PLACE_TEST(what_cannot_be_a_store_is_refused_with_the_reason),
        PLACE_TEST(a_file_of_another_kind_is_refused_and_left_alone),
        PLACE_TEST(another_programs_database_is_refused_and_left_alone),
        PLACE_TEST(a_database_with_a_version_of_its_own_is_another_programs),
        PLACE_TEST(a_newer_store_is_refused),
        PLACE_TEST(every_failure_of_sqlites_is_a_sentence),
        PLACE_TEST(a_file_without_a_folder_in_its_name_lies_here),
        PLACE_TEST(a_kind_of_error_not_heard_of_stands_for_nothing),
        PLACE_TEST(a_second_daemon_is_refused_and_told_who_is_first),
        PLACE_TEST(a_process_id_is_believed_only_of_who_has_the_lock_open),
        PLACE_TEST(a_command_writes_beside_the_daemon),
        PLACE_TEST(a_command_does_not_migrate_under_a_daemon),
        PLACE_TEST(a_store_of_version_1_opens_and_keeps_everything),
        PLACE_TEST(people_can_read_the_tables),
        PLACE_TEST(the_views_use_the_names_of_the_domain),
        PLACE_TEST(a_write_that_the_schema_refuses_is_not_the_stores_failure),
        PLACE_TEST(what_was_acknowledged_survives_a_kill),
    };
    return cmocka_run_group_tests_name("store: sqlite", tests, NULL, NULL);
}
