#include "store/store.h"

#include "store/driver.h"
#include "store/results.h"
#include "store/shelf.h"
#include "store/writer.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct store {
    const struct store_driver *driver;
    struct store_session *session;
    struct store_facts facts;
    struct store_writer writer;
    struct shelf shelf;
};

/* Whether some driver of this build can have its store there; so far there is one. */
static bool check_location(const char *location, struct error *err) {
    if (strncmp(location, "postgresql://", 13) == 0 || strncmp(location, "postgres://", 11) == 0) {
        return error_set(
            err, ERROR_STORE,
            "this build of orrery stores in SQLite only and cannot use PostgreSQL; give "
            "a file name");
    }
    if (strcmp(location, ":memory:") == 0) {
        return error_set(err, ERROR_STORE,
                         "a store in memory would forget what it has promised to keep; give a file "
                         "name");
    }
    if (*location == '\0') {
        return error_set(err, ERROR_STORE, "the store needs a file name");
    }
    return true;
}

/* What is to be done about what the system says, for those who start orrery or copy its store. Returns false. */
static bool add_advice(struct error *err) {
    char advice[128] = "";
    switch (err->saved_errno) {
    case ENOSPC:
    case EDQUOT:
        snprintf(advice, sizeof advice, "; make room on the disk");
        break;
    case EROFS:
        snprintf(advice, sizeof advice,
                 "; mount the disk for writing, or give a file on another one");
        break;
    case EACCES:
    case EPERM:
        snprintf(advice, sizeof advice,
                 "; let the user with id %lld read and write there, or run orrery as another",
                 (long long)geteuid());
        break;
    case EIO:
        snprintf(advice, sizeof advice, "; look after the disk (dmesg, smartctl)");
        break;
    default:
        break;
    }
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, "%s", advice);
    return false;
}

bool store_open(const struct store_options *options, struct store **out_store, struct error *err) {
    const struct store_driver *driver = &sqlite_driver;
    if (!check_location(options->location, err)) {
        return false;
    }
    struct store *store = must_alloc_zeroed(1, sizeof *store);
    store->driver = driver;
    if (!driver->open(options, &store->session, &store->facts, err)) {
        free(store);
        return add_advice(err);
    }
    if (!store_writer_init(&store->writer, driver, store->session, options->location, err)) {
        driver->close(store->session);
        free(store);
        return false;
    }
    if (!shelf_init(&store->shelf, store->facts.path, options->inline_result_bytes_maximum,
                    &store->writer.mailbox, err)) {
        store_writer_fini(&store->writer);
        driver->close(store->session);
        free(store);
        return false;
    }
    *out_store = store;
    return true;
}

bool store_start(struct store *store, struct error *err) {
    return store_writer_start(&store->writer, err) &&
           (store->shelf.inline_bytes_maximum == 0 || shelf_start(&store->shelf, err));
}

void store_stop(struct store *store) {
    shelf_stop(&store->shelf);
    store_writer_stop(&store->writer);
}

void store_close(struct store *store) {
    if (store == NULL) {
        return;
    }
    shelf_fini(&store->shelf);
    store_writer_fini(&store->writer);
    store->driver->close(store->session);
    free(store);
}

uint64_t store_tag(const struct store *store) { return store->facts.tag; }

int64_t store_greatest_run_key(const struct store *store) { return store->facts.greatest_run_key; }

int64_t store_greatest_execution_key(const struct store *store) {
    return store->facts.greatest_execution_key;
}

/* --- reading ---------------------------------------------------------------------------------- */

bool store_reader_open(struct store *store, struct store_reader **out_reader, struct error *err) {
    return store->driver->reader_open(store->session, out_reader, err);
}

void store_reader_close(struct store_reader *reader) {
    if (reader != NULL) {
        reader->driver->reader_close(reader);
    }
}

bool store_reader_begin(struct store_reader *reader, struct error *err) {
    return reader->driver->reader_begin(reader, err);
}

void store_reader_end(struct store_reader *reader) { reader->driver->reader_end(reader); }

bool store_get_run(struct store_reader *reader, int64_t key, struct arena *arena,
                   struct run *out_run, struct error *err) {
    return reader->driver->get_run(reader, key, arena, out_run, err);
}

bool store_list_runs(struct store_reader *reader, const struct run_filter *filter,
                     struct arena *arena, struct run **out_runs, size_t *out_count,
                     uint64_t *out_total, struct error *err) {
    return reader->driver->list_runs(reader, filter, arena, out_runs, out_count, out_total, err);
}

bool store_get_execution(struct store_reader *reader, int64_t key, struct arena *arena,
                         struct execution *out_execution, const char **out_owner,
                         struct error *err) {
    return reader->driver->get_execution(reader, key, arena, out_execution, out_owner, err);
}

bool store_open_result(const struct store *store, int64_t execution_key, int *out_file,
                       uint64_t *out_size_bytes, struct error *err) {
    return results_open(store->shelf.folder, execution_key, out_file, out_size_bytes, err);
}

bool store_list_executions(struct store_reader *reader, const struct execution_filter *filter,
                           struct arena *arena, struct execution **out_executions,
                           size_t *out_count, int64_t *out_next_cursor, struct error *err) {
    return reader->driver->list_executions(reader, filter, arena, out_executions, out_count,
                                           out_next_cursor, err);
}

bool store_load_runs(struct store_reader *reader,
                     void (*each)(const struct run *run, void *context), void *context,
                     struct error *err) {
    return reader->driver->load_runs(reader, each, context, err);
}

bool store_load_active(struct store_reader *reader,
                       void (*each)(const struct execution *execution, void *context),
                       void *context, struct error *err) {
    return reader->driver->load_active(reader, each, context, err);
}

bool store_get_run_totals(struct store_reader *reader, int64_t run_key,
                          struct run_totals *out_totals, struct error *err) {
    return reader->driver->get_run_totals(reader, run_key, out_totals, err);
}

bool store_get_backfill(struct store_reader *reader, int64_t key, struct arena *arena,
                        struct backfill *out_backfill, const char **out_owner, struct error *err) {
    return reader->driver->get_backfill(reader, key, arena, out_backfill, out_owner, err);
}

bool store_list_backfills(struct store_reader *reader, int64_t run_key, int64_t before_key,
                          uint32_t limit, struct arena *arena, struct backfill **out_backfills,
                          size_t *out_count, struct error *err) {
    return reader->driver->list_backfills(reader, run_key, before_key, limit, arena, out_backfills,
                                          out_count, err);
}

bool store_count_backfill(struct store_reader *reader, int64_t key,
                          uint64_t out_count[EXECUTION_MISSED + 1], struct error *err) {
    return reader->driver->count_backfill(reader, key, out_count, err);
}

bool store_load_backfills(struct store_reader *reader,
                          void (*each)(const struct backfill *backfill, void *context),
                          void *context, struct error *err) {
    return reader->driver->load_backfills(reader, each, context, err);
}

bool store_get_api_key(struct store_reader *reader, const char *id, struct arena *arena,
                       struct api_key *out_key, struct error *err) {
    return reader->driver->get_api_key(reader, id, arena, out_key, err);
}

bool store_list_api_keys(struct store_reader *reader, struct arena *arena,
                         struct api_key **out_keys, size_t *out_count, struct error *err) {
    return reader->driver->list_api_keys(reader, arena, out_keys, out_count, err);
}

bool store_check(struct store_reader *reader, struct error *err) {
    return reader->driver->check(reader, err);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* A write that lacks what its kind needs is a bug of the sender's, found on the sender's thread. */
static void check_write(const struct store_write *write) {
    ASSERT(write->done != NULL);
    switch (write->kind) {
    case STORE_CREATE_RUN:
    case STORE_UPDATE_RUN:
        ASSERT(write->run != NULL && write->run->key > 0);
        break;
    case STORE_DELETE_RUN:
        ASSERT(write->run_key > 0);
        break;
    case STORE_RECORD:
        ASSERT(write->run_key > 0 && write->record != NULL);
        ASSERT(write->record->execution_count <= STORE_RECORD_MAXIMUM);
        ASSERT(write->record->finished == NULL ||
               execution_status_is_final(write->record->finished->status));
        break;
    case STORE_START:
        ASSERT(write->execution_key > 0);
        break;
    case STORE_FINISH:
        ASSERT(write->execution != NULL && execution_status_is_final(write->execution->status));
        break;
    case STORE_CREATE_BACKFILL:
    case STORE_CANCEL_BACKFILL:
        ASSERT(write->backfill != NULL && write->backfill->key > 0);
        break;
    case STORE_CREATE_API_KEY:
    case STORE_REVOKE_API_KEY:
        ASSERT(write->api_key != NULL);
        break;
    }
}

void store_submit(struct store *store, struct store_write *write) {
    check_write(write);
    write->result_file_bytes = 0;
    bool is_large = shelf_wants(&store->shelf, write);
    mailbox_send(is_large ? &store->shelf.mailbox : &store->writer.mailbox, &write->letter);
}

static void wake_waiter(struct store_write *write) { sem_post(write->context); }

bool store_submit_and_wait(struct store *store, struct store_write *write, struct error *err) {
    sem_t answered;
    int failed = sem_init(&answered, 0, 0);
    ASSERT(failed == 0);
    write->done = wake_waiter;
    write->context = &answered;
    store_submit(store, write);
    while (sem_wait(&answered) != 0) {
        /* a signal; wait on */
    }
    sem_destroy(&answered);
    if (!write->ok) {
        *err = write->err;
    }
    return write->ok;
}

/* --- copies ----------------------------------------------------------------------------------- */

bool store_backup(const char *location, const char *file,
                  void (*progress)(uint64_t done_pages, uint64_t all_pages), struct error *err) {
    return check_location(location, err) &&
           (sqlite_driver.backup(location, file, progress, err) || add_advice(err));
}

bool store_stage_restore(const char *location, const char *file,
                         void (*progress)(uint64_t done_pages, uint64_t all_pages),
                         struct error *err) {
    return check_location(location, err) &&
           (sqlite_driver.stage_restore(location, file, progress, err) || add_advice(err));
}

bool store_restore_is_staged(const char *location) {
    return sqlite_driver.restore_is_staged(location);
}

bool store_finish_restore(const char *location, struct error *err) {
    return sqlite_driver.finish_restore(location, err) || add_advice(err);
}

bool store_find_daemon(const char *location, int64_t *out_pid, struct error *err) {
    return check_location(location, err) && sqlite_driver.find_daemon(location, out_pid, err);
}
