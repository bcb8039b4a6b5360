/* The store against SQLite alone: how much of what the disk and SQLite give is left when every write is
 * answered only when it is durable. Both sides run in the same process run, on the same disk, with the same
 * pragmas and rows; the ratio says more than the figures.
 *
 *   bench_store [COUNT [bare-executions]]   rows per measurement, default 100000; only the one named */
#include "base/identity.h"
#include "clock/clock.h"
#include "store/sqlite/schema.h"
#include "store/store.h"

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BARE_BATCH = 2048, RUNS = 10000 };

static const int64_t base_us = INT64_C(1800000000) * US_PER_SECOND;

/* What a small model gives. */
static const char result_text[] =
    "{\"model_name\":\"iris\",\"model_version\":1,\"outputs\":[{\"name\":\"probabilities\","
    "\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[0.25,0.75]}]}";

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fprintf(stderr, "bench_store: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
}

static double now_s(void) { return (double)clock_monotonic_now(clock_system()).us / 1e6; }

/* What the process has computed since the last call, all threads: unlike the time it took, it does not depend
 * on how busy the machine and its disk are. */
static double take_cpu_s(void) {
    static double last_s;
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    double now_cpu_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    double taken_s = now_cpu_s - last_s;
    last_s = now_cpu_s;
    return taken_s;
}

static double measured_cpu_s; /* of the measurement that report tells of */

static void report(const char *what, uint32_t count, double seconds, double bare_rate) {
    double rate = count / seconds;
    printf("%-52s %8.0f /s %7.2f us CPU", what, rate, measured_cpu_s / count * 1e6);
    if (bare_rate > 0) {
        printf("  %5.2f of bare", rate / bare_rate);
    }
    printf("\n");
    fflush(stdout);
}

/* --- bare SQLite ------------------------------------------------------------------------------------ */

static struct run sample_run(int64_t key) {
    struct run run = run_defaults();
    run.key = key;
    run.owner = "alice";
    run.model_name = "iris";
    run.schedule = "0 * * * *";
    run.parameters = "{\"data\":[[5.1,3.5,1.4,0.2],[6.2,2.9,4.3,1.3]]}";
    run.created_at = run.updated_at = (struct wall_time){base_us};
    run.next_run = (struct wall_time){base_us + 3600 * US_PER_SECOND};
    return run;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code != SQLITE_OK) {
        fprintf(stderr, "bench_store: %s: %s\n", sqlite3_errmsg(db), sql);
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
    return statement;
}

static void step(sqlite3_stmt *statement) {
    int code = sqlite3_step(statement);
    ASSERT(code == SQLITE_DONE || code == SQLITE_ROW);
    sqlite3_reset(statement);
}

static sqlite3 *open_bare(const char *path) {
    sqlite3 *db;
    int code = sqlite3_open(path, &db);
    ASSERT(code == SQLITE_OK);
    code = sqlite3_exec(db,
                        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                        "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 8000;",
                        NULL, NULL, NULL);
    ASSERT(code == SQLITE_OK);
    return db;
}

/* Inserts the rows that STORE_CREATE_RUN makes. */
static double bare_runs(const char *path, uint32_t count, uint32_t batch) {
    sqlite3 *db = open_bare(path);
    sqlite3_exec(db,
                 "INSERT INTO owners VALUES (1, 'alice'); INSERT INTO models VALUES (1, 'iris')",
                 NULL, NULL, NULL);
    sqlite3_stmt *insert = prepare(
        db, "INSERT INTO runs VALUES (?1, 1, 1, 1, 0, 1, NULL, '0 * * * *', 'UTC', 0, 0, 0, 0,"
            " 3600000000, 0, 300000000, 1, 1000000, 600000000, NULL, NULL, 1800000000000000,"
            " 1800000000000000, NULL, NULL, ?2, 5, NULL, NULL, NULL, '')");
    sqlite3_stmt *insert_state =
        prepare(db, "INSERT INTO run_state VALUES (?1, ?2, NULL, NULL, 0)");
    struct run run = sample_run(1);
    take_cpu_s();
    double start = now_s();
    for (uint32_t i = 0; i < count; i++) {
        if (i % batch == 0) {
            sqlite3_exec(db, i == 0 ? "BEGIN" : "COMMIT; BEGIN", NULL, NULL, NULL);
        }
        int64_t key = (base_us + i) * 1024;
        sqlite3_bind_int64(insert, 1, key);
        sqlite3_bind_text(insert, 2, run.parameters, -1, SQLITE_STATIC);
        step(insert);
        sqlite3_bind_int64(insert_state, 1, key);
        sqlite3_bind_int64(insert_state, 2, run.next_run.us);
        step(insert_state);
    }
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    double seconds = now_s() - start;
    measured_cpu_s = take_cpu_s();
    sqlite3_finalize(insert);
    sqlite3_finalize(insert_state);
    sqlite3_close(db);
    return seconds;
}

/* The rows of an execution's whole life, in batches: what STORE_RECORD and STORE_FINISH leave behind. */
static double bare_executions(const char *path, uint32_t count) {
    sqlite3 *db = open_bare(path);
    sqlite3_exec(db, "INSERT INTO model_files VALUES (1, 1, 1, x'00')", NULL, NULL, NULL);
    sqlite3_stmt *insert = prepare(
        db, "INSERT INTO executions (key, run_key, slot, trigger, attempt, queued_at, model_key)"
            " VALUES (?1, ?2, ?3, 0, 1, ?3, 1)");
    sqlite3_stmt *move = prepare(db, "UPDATE run_state SET next_run = ?2, last_run = ?2,"
                                     " last_execution_key = ?3,"
                                     " execution_count = execution_count + 1 WHERE run_key = ?1");
    sqlite3_stmt *outcome = prepare(
        db, "INSERT INTO outcomes (execution_key, status, started_at, finished_at, duration_us,"
            " model_file_key, result) VALUES (?1, 2, ?2, ?2, 1000, 1, ?3)");
    take_cpu_s();
    double start = now_s();
    for (uint32_t i = 0; i < count; i++) {
        if (i % BARE_BATCH == 0) {
            sqlite3_exec(db, i == 0 ? "BEGIN" : "COMMIT; BEGIN", NULL, NULL, NULL);
        }
        int64_t key = (base_us + i) * 1024;
        int64_t run_key = (base_us + i % RUNS) * 1024;
        int64_t slot_us = base_us + i / RUNS * US_PER_SECOND;
        sqlite3_bind_int64(insert, 1, key);
        sqlite3_bind_int64(insert, 2, run_key);
        sqlite3_bind_int64(insert, 3, slot_us);
        step(insert);
        sqlite3_bind_int64(move, 1, run_key);
        sqlite3_bind_int64(move, 2, slot_us);
        sqlite3_bind_int64(move, 3, key);
        step(move);
        sqlite3_bind_int64(outcome, 1, key);
        sqlite3_bind_int64(outcome, 2, slot_us);
        sqlite3_bind_text(outcome, 3, result_text, -1, SQLITE_STATIC);
        step(outcome);
    }
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    double seconds = now_s() - start;
    measured_cpu_s = take_cpu_s();
    sqlite3_finalize(insert);
    sqlite3_finalize(move);
    sqlite3_finalize(outcome);
    sqlite3_close(db);
    return seconds;
}

/* --- the store -------------------------------------------------------------------------------------- */

/* Writes that are under way: each comes back, and goes out again for the next row. */
struct stream {
    struct store *store;
    uint32_t count;
    uint32_t submitted; /* the writer thread's, once begun */
    uint32_t answered;
    sem_t done;
};

struct slot {
    struct stream *stream;
    struct store_write write;
    struct run run;
    struct store_record record;
    struct execution execution;
};

static void next_run(struct slot *slot);
static void next_execution(struct slot *slot);

static void answered(struct slot *slot, void (*next)(struct slot *slot)) {
    struct stream *stream = slot->stream;
    must(slot->write.ok, &slot->write.err);
    free(slot->write.out_parameters);
    slot->write.out_parameters = NULL;
    stream->answered++;
    if (stream->submitted < stream->count) {
        next(slot);
    } else if (stream->answered == stream->count) {
        sem_post(&stream->done);
    }
}

static void run_answered(struct store_write *write) {
    answered(CONTAINER_OF(write, struct slot, write), next_run);
}

static void next_run(struct slot *slot) {
    struct stream *stream = slot->stream;
    slot->run = sample_run((base_us + stream->submitted++) * 1024);
    slot->write =
        (struct store_write){.kind = STORE_CREATE_RUN, .run = &slot->run, .done = run_answered};
    store_submit(stream->store, &slot->write);
}

static void finish_answered(struct store_write *write) {
    answered(CONTAINER_OF(write, struct slot, write), next_execution);
}

static void record_answered(struct store_write *write) {
    struct slot *slot = CONTAINER_OF(write, struct slot, write);
    must(write->ok, &write->err);
    free(write->out_parameters);
    slot->execution.status = EXECUTION_SUCCEEDED;
    slot->execution.finished_at = slot->execution.started_at;
    slot->execution.duration = (struct duration){1000};
    slot->execution.model_version = 1;
    slot->execution.has_model_digest = true;
    slot->execution.result = result_text;
    slot->write = (struct store_write){
        .kind = STORE_FINISH, .execution = &slot->execution, .done = finish_answered};
    store_submit(slot->stream->store, &slot->write);
}

static void next_execution(struct slot *slot) {
    struct stream *stream = slot->stream;
    uint32_t i = stream->submitted++;
    int64_t slot_us = base_us + i / RUNS * US_PER_SECOND;
    slot->execution = (struct execution){
        .key = (base_us + i) * 1024,
        .run_key = (base_us + i % RUNS) * 1024,
        .model_name = "iris",
        .trigger = TRIGGER_SCHEDULE,
        .attempt = 1,
        .status = EXECUTION_RUNNING,
        .scheduled_for = {slot_us},
        .queued_at = {slot_us},
        .started_at = {slot_us},
        .finished_at = WALL_TIME_NONE,
    };
    slot->record = (struct store_record){.executions = {slot->execution},
                                         .execution_count = 1,
                                         .advances = true,
                                         .next_run = {slot_us + US_PER_SECOND}};
    slot->write = (struct store_write){.kind = STORE_RECORD,
                                       .run_key = slot->execution.run_key,
                                       .expected_revision = 1,
                                       .record = &slot->record,
                                       .done = record_answered};
    store_submit(stream->store, &slot->write);
}

static double stream(struct store *store, uint32_t count, uint32_t outstanding,
                     void (*next)(struct slot *slot)) {
    struct stream stream = {.store = store, .count = count};
    sem_init(&stream.done, 0, 0);
    outstanding = MIN_OF(outstanding, count);
    struct slot *slots = must_alloc_zeroed(outstanding, sizeof *slots);
    take_cpu_s();
    double start = now_s();
    /* The writer thread must not begin with the counter while it is still ours: the store starts below. */
    for (uint32_t i = 0; i < outstanding; i++) {
        slots[i].stream = &stream;
        next(&slots[i]);
    }
    struct error err;
    must(store_start(store, &err), &err);
    while (sem_wait(&stream.done) != 0) {
    }
    double seconds = now_s() - start;
    measured_cpu_s = take_cpu_s();
    store_stop(store);
    sem_destroy(&stream.done);
    free(slots);
    return seconds;
}

static struct store *open_store(const char *path, uint64_t retention_bytes) {
    struct store *store;
    struct error err;
    struct store_options options = {
        .location = path, .exclusive = true, .retention_bytes = retention_bytes};
    must(store_open(&options, &store, &err), &err);
    return store;
}

static void remove_store(const char *path) {
    const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        unlink(name);
    }
}

/* A store with its tables and, where `with_runs`, the runs of the executions. */
static struct store *fresh_store(const char *path, bool with_runs) {
    remove_store(path);
    struct store *store = open_store(path, 0);
    if (with_runs) {
        stream(store, RUNS, 2048, next_run);
    }
    return store;
}

static void bench_runs(const char *path, uint32_t count) {
    /* One row a commit shows what a disk flush costs; few rows, as it is slow. */
    uint32_t few = MAX_OF(count / 50, 1U);
    store_close(fresh_store(path, false));
    double single_rate = few / bare_runs(path, few, 1);
    report("run rows, bare SQLite, each its own commit", few, few / single_rate, 0);
    store_close(fresh_store(path, false));
    double batch_rate = count / bare_runs(path, count, BARE_BATCH);
    report("run rows, bare SQLite, batches of 2048", count, count / batch_rate, 0);
    const uint32_t outstanding[] = {1, 64, 4096};
    for (size_t i = 0; i < COUNT_OF(outstanding); i++) {
        uint32_t part = outstanding[i] == 1 ? few : count;
        struct store *store = fresh_store(path, false);
        char what[80];
        snprintf(what, sizeof what, "STORE_CREATE_RUN, %u outstanding", outstanding[i]);
        report(what, part, stream(store, part, outstanding[i], next_run),
               outstanding[i] == 1 ? single_rate : batch_rate);
        store_close(store);
    }
}

static double bench_bare_executions(const char *path, uint32_t count) {
    store_close(fresh_store(path, true));
    double bare_s = bare_executions(path, count);
    report("execution rows, bare SQLite, batches of 2048", count, bare_s, 0);
    return bare_s;
}

static void bench_executions(const char *path, uint32_t count) {
    double bare_s = bench_bare_executions(path, count);
    const uint32_t outstanding[] = {64, 4096};
    for (size_t i = 0; i < COUNT_OF(outstanding); i++) {
        struct store *store = fresh_store(path, true);
        char what[80];
        snprintf(what, sizeof what, "STORE_RECORD, then STORE_FINISH, %u outstanding",
                 outstanding[i]);
        double seconds = stream(store, count, outstanding[i], next_execution);
        report(what, count, seconds, count / bare_s);
        store_close(store);
    }
    /* As it is after some months: for each execution that comes, one goes. */
    store_close(fresh_store(path, true));
    struct store *store = open_store(path, UINT64_C(1024) * RUNS);
    double seconds = stream(store, count, 4096, next_execution);
    report("the same while the oldest are removed", count, seconds, count / bare_s);
    store_close(store);
}

/* --- reading ---------------------------------------------------------------------------------------- */

static void bench_reads(const char *path, uint32_t count) {
    struct store *store = open_store(path, 0); /* as bench_executions left it */
    struct store_reader *reader;
    struct error err;
    must(store_reader_open(store, &reader, &err), &err);
    struct arena arena = {0};
    take_cpu_s();
    double start = now_s();
    for (uint32_t i = 0; i < count; i++) {
        struct run run;
        int64_t key = (base_us + i * UINT32_C(7919) % RUNS) * 1024;
        must(store_get_run(reader, key, &arena, &run, &err), &err);
        arena_reset(&arena);
    }
    double seconds = now_s() - start;
    measured_cpu_s = take_cpu_s();
    report("get a run by key, one reader", count, seconds, 0);

    uint32_t lists = MAX_OF(count / 100, 1U);
    start = now_s();
    for (uint32_t i = 0; i < lists; i++) {
        struct run_filter filter = {
            .owner = "alice", .limit = 100, .offset = (uint64_t)(i % 10) * 100};
        struct run *runs;
        size_t run_count;
        uint64_t total;
        must(store_list_runs(reader, &filter, &arena, &runs, &run_count, &total, &err), &err);
        ASSERT(run_count == 100 && total == RUNS);
        arena_reset(&arena);
    }
    seconds = now_s() - start;
    measured_cpu_s = take_cpu_s();
    report("list 100 of an owner's 10000 runs with the total", lists, seconds, 0);
    arena_fini(&arena);
    store_reader_close(reader);
    store_close(store);
}

int main(int argument_count, char **arguments) {
    uint32_t count = argument_count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 100000;
    const char *parent = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe)
    char folder[200];
    char path[216];
    snprintf(folder, sizeof folder, "%s/orrery-bench-XXXXXX", parent == NULL ? "/tmp" : parent);
    bool only_bare = argument_count == 3 && strcmp(arguments[2], "bare-executions") == 0;
    if (count == 0 || argument_count > (only_bare ? 3 : 2) || mkdtemp(folder) == NULL) {
        fprintf(stderr, "usage: bench_store [COUNT [bare-executions]]\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/store.db", folder);
    if (only_bare) {
        bench_bare_executions(path, count);
    } else {
        bench_runs(path, count);
        bench_executions(path, count);
        bench_reads(path, count);
    }
    remove_store(path);
    rmdir(folder);
    return 0;
}
