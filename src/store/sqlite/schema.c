#include "store/sqlite/schema.h"

#include "run/run.h"

#include <stdio.h>
#include <sys/random.h>

/* The numbers are in the file: a change here is a migration. */
_Static_assert(OVERLAP_SKIP == 0 && OVERLAP_QUEUE_ONE == 1 && OVERLAP_QUEUE_ALL == 2 &&
                   OVERLAP_CANCEL_RUNNING == 3 && OVERLAP_ALLOW == 4,
               "stored numbers");
_Static_assert(CATCHUP_LATEST == 0 && CATCHUP_ALL == 1 && CATCHUP_NONE == 2, "stored numbers");
_Static_assert(DST_MISSING_SHIFT == 0 && DST_MISSING_SKIP == 1, "stored numbers");
_Static_assert(DST_REPEATED_FIRST == 0 && DST_REPEATED_LAST == 1 && DST_REPEATED_BOTH == 2,
               "stored numbers");
_Static_assert(PRIORITY_MINIMUM == 0 && PRIORITY_DEFAULT == 5 && PRIORITY_MAXIMUM == 9,
               "stored numbers");
_Static_assert(EXECUTION_QUEUED == 0 && EXECUTION_RUNNING == 1 && EXECUTION_SUCCEEDED == 2 &&
                   EXECUTION_FAILED == 3 && EXECUTION_TIMED_OUT == 4 && EXECUTION_CANCELLED == 5 &&
                   EXECUTION_SKIPPED == 6 && EXECUTION_MISSED == 7,
               "stored numbers");
_Static_assert(TRIGGER_SCHEDULE == 0 && TRIGGER_MANUAL == 1 && TRIGGER_RETRY == 2 &&
                   TRIGGER_CATCHUP == 3 && TRIGGER_BACKFILL == 4,
               "stored numbers");

/* SQL for the readable views: an id as its UUID (base/identity.h), a time as RFC 3339. */
#define SHOWN_ID(key)                                                                              \
    "printf('%08x-%04x-7%03x-%04x-%012x', (" key " >> 10) / 1000 >> 16,"                           \
    " (" key " >> 10) / 1000 & 65535, (" key " >> 10) % 1000 << 2,"                                \
    " 32768 | ((" key " & 1023) << 4) | ((SELECT tag FROM store) >> 48),"                          \
    " (SELECT tag FROM store) & 281474976710655)"
#define SHOWN_TIME(time)                                                                           \
    "strftime('%Y-%m-%dT%H:%M:%S', " time " / 1000000, 'unixepoch')"                               \
    " || printf('.%06dZ', " time " % 1000000)"

/* clang-format off */
static const char version_1[] =
    /* One row. tag: 52 random bits, part of every UUID of this store. */
    "CREATE TABLE store (tag INTEGER NOT NULL) STRICT;"

    "CREATE TABLE owners (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
    "CREATE TABLE models (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"

    /* A version of a model that has run. digest: SHA-256 of its file, empty where there is none. */
    "CREATE TABLE model_files ("
    " key INTEGER PRIMARY KEY,"
    " model_key INTEGER NOT NULL REFERENCES models,"
    " version INTEGER NOT NULL,"
    " digest BLOB NOT NULL,"
    " UNIQUE (model_key, version, digest)) STRICT;"

    /* hash: BLAKE2b-256 of the whole key. */
    "CREATE TABLE api_keys ("
    " id TEXT PRIMARY KEY,"
    " hash BLOB NOT NULL CHECK (length(hash) = 32),"
    " owner_key INTEGER NOT NULL REFERENCES owners,"
    " admin INTEGER NOT NULL CHECK (admin IN (0, 1)),"
    " created_at INTEGER NOT NULL,"
    " revoked_at INTEGER) STRICT;"

    "CREATE TABLE runs ("
    " key INTEGER PRIMARY KEY,"
    " revision INTEGER NOT NULL,"
    " owner_key INTEGER NOT NULL REFERENCES owners,"
    " model_key INTEGER NOT NULL REFERENCES models,"
    " model_version INTEGER NOT NULL," /* 0: the newest */
    " enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),"
    " deleted_at INTEGER,"
    " schedule TEXT NOT NULL,"
    " zone_name TEXT NOT NULL,"
    " overlap INTEGER NOT NULL CHECK (overlap BETWEEN 0 AND 4),"
    " catchup INTEGER NOT NULL CHECK (catchup BETWEEN 0 AND 2),"
    " dst_missing INTEGER NOT NULL CHECK (dst_missing BETWEEN 0 AND 1),"
    " dst_repeated INTEGER NOT NULL CHECK (dst_repeated BETWEEN 0 AND 2),"
    " catchup_window_us INTEGER NOT NULL,"
    " jitter_us INTEGER NOT NULL,"
    " timeout_us INTEGER NOT NULL,"
    " retry_max_attempts INTEGER NOT NULL,"
    " retry_backoff_us INTEGER NOT NULL,"
    " retry_max_backoff_us INTEGER NOT NULL,"
    " start_at INTEGER,"
    " end_at INTEGER,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " name TEXT,"
    " description TEXT,"
    " parameters TEXT NOT NULL) STRICT;"
    /* Holds all that a listing's search needs, in the listing's order. */
    "CREATE INDEX runs_by_owner ON runs (owner_key, deleted_at, key, model_key);"

    "CREATE TABLE run_state ("
    " run_key INTEGER PRIMARY KEY REFERENCES runs,"
    " next_run INTEGER,"
    " last_run INTEGER,"
    " last_execution_key INTEGER) STRICT;"

    "CREATE TABLE run_counts ("
    " owner_key INTEGER NOT NULL REFERENCES owners,"
    " model_key INTEGER NOT NULL REFERENCES models,"
    " run_count INTEGER NOT NULL,"
    " PRIMARY KEY (owner_key, model_key)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE executions ("
    " key INTEGER PRIMARY KEY,"
    " run_key INTEGER NOT NULL REFERENCES runs,"
    " slot INTEGER NOT NULL,"
    " trigger INTEGER NOT NULL CHECK (trigger BETWEEN 0 AND 4),"
    " attempt INTEGER NOT NULL,"
    " queued_at INTEGER NOT NULL,"
    " model_key INTEGER NOT NULL REFERENCES models,"
    " previous_key INTEGER) STRICT;" /* no reference: the oldest may be removed before the newer */
    /* A slot is recorded once. The slot comes first, so that new entries go near the end. */
    "CREATE UNIQUE INDEX executions_by_slot ON executions (slot, run_key, attempt)"
    " WHERE trigger IN (0, 2, 3);"

    /* parameters: for this once, instead of the run's. */
    "CREATE TABLE active ("
    " execution_key INTEGER PRIMARY KEY REFERENCES executions,"
    " status INTEGER NOT NULL CHECK (status IN (0, 1)),"
    " started_at INTEGER,"
    " parameters TEXT) STRICT;"

    "CREATE TABLE outcomes ("
    " execution_key INTEGER PRIMARY KEY REFERENCES executions,"
    " status INTEGER NOT NULL CHECK (status BETWEEN 2 AND 7),"
    " started_at INTEGER,"
    " finished_at INTEGER,"
    " duration_us INTEGER NOT NULL,"
    " model_file_key INTEGER REFERENCES model_files,"
    " error_type TEXT,"
    " error_message TEXT,"
    " blocked_by INTEGER,"
    " missed_from INTEGER,"
    " missed_to INTEGER,"
    " missed_count INTEGER,"
    " result TEXT) STRICT;"

    "CREATE VIEW scheduled_runs AS SELECT"
    " " SHOWN_ID("r.key") " AS id,"
    " m.name AS model_name,"
    " r.schedule AS schedule,"
    " r.enabled AS enabled,"
    " r.parameters AS parameters,"
    " " SHOWN_TIME("r.created_at") " AS created_at,"
    " " SHOWN_TIME("r.updated_at") " AS updated_at,"
    " " SHOWN_TIME("s.last_run") " AS last_run,"
    " " SHOWN_TIME("s.next_run") " AS next_run,"
    " o.name AS owner,"
    " r.name AS name,"
    " r.description AS description,"
    " r.zone_name AS timezone,"
    " nullif(r.model_version, 0) AS model_version,"
    " " SHOWN_TIME("r.start_at") " AS start_at,"
    " " SHOWN_TIME("r.end_at") " AS end_at,"
    " CASE r.overlap WHEN 0 THEN 'skip' WHEN 1 THEN 'queue_one' WHEN 2 THEN 'queue_all'"
    "  WHEN 3 THEN 'cancel_running' ELSE 'allow' END AS overlap,"
    " CASE r.catchup WHEN 0 THEN 'latest' WHEN 1 THEN 'all' ELSE 'none' END AS catchup,"
    " r.catchup_window_us / 1e6 AS catchup_window_seconds,"
    " CASE r.dst_missing WHEN 0 THEN 'shift' ELSE 'skip' END AS dst_missing,"
    " CASE r.dst_repeated WHEN 0 THEN 'first' WHEN 1 THEN 'last' ELSE 'both' END AS dst_repeated,"
    " r.jitter_us / 1e6 AS jitter_seconds,"
    " r.timeout_us / 1e6 AS timeout_seconds,"
    " r.retry_max_attempts AS retry_max_attempts,"
    " r.retry_backoff_us / 1e6 AS retry_backoff_seconds,"
    " r.retry_max_backoff_us / 1e6 AS retry_max_backoff_seconds,"
    " r.revision AS revision,"
    " r.key AS key"
    " FROM runs r JOIN run_state s ON s.run_key = r.key"
    " JOIN models m ON m.key = r.model_key JOIN owners o ON o.key = r.owner_key"
    " WHERE r.deleted_at IS NULL;"

    "CREATE VIEW execution_history AS SELECT"
    " " SHOWN_ID("e.key") " AS execution_id,"
    " " SHOWN_ID("e.run_key") " AS run_id,"
    " m.name AS model_name,"
    " nullif(f.version, 0) AS model_version,"
    " nullif(lower(hex(f.digest)), '') AS model_digest,"
    " CASE e.trigger WHEN 0 THEN 'schedule' WHEN 1 THEN 'manual' WHEN 2 THEN 'retry'"
    "  WHEN 3 THEN 'catchup' ELSE 'backfill' END AS trigger,"
    " e.attempt AS attempt,"
    " CASE coalesce(o.status, a.status) WHEN 0 THEN 'queued' WHEN 1 THEN 'running'"
    "  WHEN 2 THEN 'succeeded' WHEN 3 THEN 'failed' WHEN 4 THEN 'timed_out'"
    "  WHEN 5 THEN 'cancelled' WHEN 6 THEN 'skipped' WHEN 7 THEN 'missed' END AS status,"
    " " SHOWN_TIME("e.slot") " AS scheduled_for,"
    " " SHOWN_TIME("e.queued_at") " AS queued_at,"
    " " SHOWN_TIME("coalesce(o.started_at, a.started_at)") " AS started_at,"
    " " SHOWN_TIME("o.finished_at") " AS finished_at,"
    " o.duration_us / 1e3 AS duration_ms,"
    " o.result AS result,"
    " o.error_type AS error_type,"
    " o.error_message AS error_message,"
    " CASE WHEN o.blocked_by IS NOT NULL THEN " SHOWN_ID("o.blocked_by") " END AS blocked_by,"
    " " SHOWN_TIME("o.missed_from") " AS missed_from,"
    " " SHOWN_TIME("o.missed_to") " AS missed_to,"
    " o.missed_count AS missed_count,"
    " e.key AS key"
    " FROM executions e JOIN models m ON m.key = e.model_key"
    " LEFT JOIN outcomes o ON o.execution_key = e.key"
    " LEFT JOIN active a ON a.execution_key = e.key"
    " LEFT JOIN model_files f ON f.key = o.model_file_key;";

static const char version_2[] =
    "DROP VIEW scheduled_runs;"
    "DROP VIEW execution_history;"

    "ALTER TABLE runs ADD COLUMN"
    " priority INTEGER NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9);"
    "ALTER TABLE runs ADD COLUMN paused_at INTEGER;"
    "ALTER TABLE runs ADD COLUMN note TEXT;"
    /* Wire names of kinds of errors, with ',' between them. */
    "ALTER TABLE runs ADD COLUMN retry_non_retryable TEXT NOT NULL DEFAULT '';"

    "ALTER TABLE run_state ADD COLUMN execution_count INTEGER NOT NULL DEFAULT 0;"
    "UPDATE run_state SET execution_count = counted.executions FROM"
    " (SELECT run_key, count(*) AS executions FROM executions GROUP BY run_key) AS counted"
    " WHERE counted.run_key = run_state.run_key;"
    /* settled_until: the newest slot that has its record. */
    "ALTER TABLE run_state ADD COLUMN settled_until INTEGER;"
    "UPDATE run_state SET settled_until = settled.slot FROM"
    " (SELECT e.run_key AS run_key, max(coalesce(o.missed_to, e.slot)) AS slot FROM executions e"
    " LEFT JOIN outcomes o ON o.execution_key = e.key WHERE e.trigger IN (0, 3) GROUP BY e.run_key)"
    " AS settled WHERE settled.run_key = run_state.run_key;"

    /* parameters: instead of the run's. next_slot: the first that is not recorded yet. */
    "CREATE TABLE backfills ("
    " key INTEGER PRIMARY KEY,"
    " run_key INTEGER NOT NULL REFERENCES runs,"
    " from_slot INTEGER NOT NULL,"
    " to_slot INTEGER NOT NULL,"
    " next_slot INTEGER,"
    " slot_count INTEGER NOT NULL,"
    " parallelism INTEGER NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " cancelled_at INTEGER,"
    " parameters TEXT) STRICT;"
    "CREATE INDEX backfills_by_run ON backfills (run_key);"

    /* A backfill's executions repeat slots that are recorded; among themselves they are single too. */
    "ALTER TABLE executions ADD COLUMN backfill_key INTEGER REFERENCES backfills;"
    "DROP INDEX executions_by_slot;"
    "CREATE UNIQUE INDEX executions_by_slot ON executions (slot, run_key, attempt)"
    " WHERE trigger IN (0, 2, 3) AND backfill_key IS NULL;"
    "CREATE UNIQUE INDEX executions_by_backfill ON executions (backfill_key, slot, attempt)"
    " WHERE backfill_key IS NOT NULL;"

    /* With what an execution runs, as its run was when it was recorded; parameters: null while the run has the
     * same. run_key: as its execution has it. */
    "ALTER TABLE active RENAME TO active_before;"
    "CREATE TABLE active ("
    " execution_key INTEGER PRIMARY KEY REFERENCES executions,"
    " run_key INTEGER NOT NULL,"
    " status INTEGER NOT NULL CHECK (status IN (0, 1)),"
    " started_at INTEGER,"
    " model_version INTEGER NOT NULL," /* 0: the newest */
    " timeout_us INTEGER NOT NULL,"
    " not_before INTEGER,"
    " parameters TEXT) STRICT;"
    "INSERT INTO active SELECT a.execution_key, r.key, a.status, a.started_at, r.model_version,"
    " r.timeout_us, NULL, a.parameters"
    " FROM active_before a JOIN executions e ON e.key = a.execution_key"
    " JOIN runs r ON r.key = e.run_key;"
    "DROP TABLE active_before;"

    /* What is not in the history any more. */
    "CREATE TABLE removed_totals ("
    " run_key INTEGER NOT NULL,"
    " status INTEGER NOT NULL CHECK (status BETWEEN 2 AND 7),"
    " execution_count INTEGER NOT NULL,"
    " duration_us INTEGER NOT NULL,"
    " missed_slots INTEGER NOT NULL,"
    " PRIMARY KEY (run_key, status)) STRICT, WITHOUT ROWID;"

    "CREATE VIEW run_backfills AS SELECT"
    " " SHOWN_ID("b.key") " AS id,"
    " " SHOWN_ID("b.run_key") " AS run_id,"
    " " SHOWN_TIME("b.from_slot") " AS \"from\","
    " " SHOWN_TIME("b.to_slot") " AS \"to\","
    " " SHOWN_TIME("b.next_slot") " AS next_slot,"
    " b.slot_count AS slot_count,"
    " b.parallelism AS parallelism,"
    " b.parameters AS parameters,"
    " " SHOWN_TIME("b.created_at") " AS created_at,"
    " " SHOWN_TIME("b.cancelled_at") " AS cancelled_at,"
    " b.key AS key"
    " FROM backfills b;"

    "CREATE VIEW scheduled_runs AS SELECT"
    " " SHOWN_ID("r.key") " AS id,"
    " m.name AS model_name,"
    " r.schedule AS schedule,"
    " r.enabled AS enabled,"
    " r.parameters AS parameters,"
    " " SHOWN_TIME("r.created_at") " AS created_at,"
    " " SHOWN_TIME("r.updated_at") " AS updated_at,"
    " " SHOWN_TIME("s.last_run") " AS last_run,"
    " " SHOWN_TIME("s.next_run") " AS next_run,"
    " o.name AS owner,"
    " r.name AS name,"
    " r.description AS description,"
    " r.zone_name AS timezone,"
    " nullif(r.model_version, 0) AS model_version,"
    " " SHOWN_TIME("r.start_at") " AS start_at,"
    " " SHOWN_TIME("r.end_at") " AS end_at,"
    " CASE r.overlap WHEN 0 THEN 'skip' WHEN 1 THEN 'queue_one' WHEN 2 THEN 'queue_all'"
    "  WHEN 3 THEN 'cancel_running' ELSE 'allow' END AS overlap,"
    " CASE r.catchup WHEN 0 THEN 'latest' WHEN 1 THEN 'all' ELSE 'none' END AS catchup,"
    " r.catchup_window_us / 1e6 AS catchup_window_seconds,"
    " CASE r.dst_missing WHEN 0 THEN 'shift' ELSE 'skip' END AS dst_missing,"
    " CASE r.dst_repeated WHEN 0 THEN 'first' WHEN 1 THEN 'last' ELSE 'both' END AS dst_repeated,"
    " r.jitter_us / 1e6 AS jitter_seconds,"
    " r.timeout_us / 1e6 AS timeout_seconds,"
    " r.retry_max_attempts AS retry_max_attempts,"
    " r.retry_backoff_us / 1e6 AS retry_backoff_seconds,"
    " r.retry_max_backoff_us / 1e6 AS retry_max_backoff_seconds,"
    " r.retry_non_retryable AS retry_non_retryable,"
    " r.priority AS priority,"
    " " SHOWN_TIME("r.paused_at") " AS paused_at,"
    " r.note AS note,"
    " r.revision AS revision,"
    " r.key AS key"
    " FROM runs r JOIN run_state s ON s.run_key = r.key"
    " JOIN models m ON m.key = r.model_key JOIN owners o ON o.key = r.owner_key"
    " WHERE r.deleted_at IS NULL;"

    "CREATE VIEW execution_history AS SELECT"
    " " SHOWN_ID("e.key") " AS execution_id,"
    " " SHOWN_ID("e.run_key") " AS run_id,"
    " m.name AS model_name,"
    " nullif(coalesce(f.version, a.model_version), 0) AS model_version,"
    " nullif(lower(hex(f.digest)), '') AS model_digest,"
    " CASE e.trigger WHEN 0 THEN 'schedule' WHEN 1 THEN 'manual' WHEN 2 THEN 'retry'"
    "  WHEN 3 THEN 'catchup' ELSE 'backfill' END AS trigger,"
    " e.attempt AS attempt,"
    " CASE coalesce(o.status, a.status) WHEN 0 THEN 'queued' WHEN 1 THEN 'running'"
    "  WHEN 2 THEN 'succeeded' WHEN 3 THEN 'failed' WHEN 4 THEN 'timed_out'"
    "  WHEN 5 THEN 'cancelled' WHEN 6 THEN 'skipped' WHEN 7 THEN 'missed' END AS status,"
    " " SHOWN_TIME("e.slot") " AS scheduled_for,"
    " " SHOWN_TIME("e.queued_at") " AS queued_at,"
    " " SHOWN_TIME("coalesce(o.started_at, a.started_at)") " AS started_at,"
    " " SHOWN_TIME("o.finished_at") " AS finished_at,"
    " o.duration_us / 1e3 AS duration_ms,"
    " o.result AS result,"
    " o.error_type AS error_type,"
    " o.error_message AS error_message,"
    " CASE WHEN o.blocked_by IS NOT NULL THEN " SHOWN_ID("o.blocked_by") " END AS blocked_by,"
    " " SHOWN_TIME("o.missed_from") " AS missed_from,"
    " " SHOWN_TIME("o.missed_to") " AS missed_to,"
    " o.missed_count AS missed_count,"
    " CASE WHEN e.backfill_key IS NOT NULL THEN " SHOWN_ID("e.backfill_key") " END AS backfill_id,"
    " " SHOWN_TIME("a.not_before") " AS not_before,"
    " e.key AS key"
    " FROM executions e JOIN models m ON m.key = e.model_key"
    " LEFT JOIN outcomes o ON o.execution_key = e.key"
    " LEFT JOIN active a ON a.execution_key = e.key"
    " LEFT JOIN model_files f ON f.key = o.model_file_key;";

static const char version_3[] =
    /* Results that are not in `outcomes` but in a file of their own beside the store. */
    "CREATE TABLE result_files ("
    " execution_key INTEGER PRIMARY KEY,"
    " size_bytes INTEGER NOT NULL) STRICT;";
/* clang-format on */

/* Entry n leads from version n to version n + 1. An entry that was released is never changed. */
static const char *const migrations[] = {version_1, version_2, version_3};

int64_t schema_newest_version(void) { return COUNT_OF(migrations); }

bool schema_read_version(struct sqlite_connection *connection, int64_t *out_version,
                         struct error *err) {
    int64_t application_id;
    int64_t version;
    int64_t table_count;
    if (!sqlite_query_integer(connection, "PRAGMA application_id", &application_id, err) ||
        !sqlite_query_integer(connection, "PRAGMA user_version", &version, err) ||
        !sqlite_query_integer(connection, "SELECT count(*) FROM sqlite_schema", &table_count,
                              err)) {
        return false;
    }
    bool empty = application_id == 0 && version == 0 && table_count == 0;
    if (!empty && application_id != SCHEMA_APPLICATION_ID) {
        return error_set(err, ERROR_STORE,
                         "the file is another program's SQLite database; give orrery a file of its "
                         "own");
    }
    if (version > schema_newest_version()) {
        return error_set(err, ERROR_STORE,
                         "a newer orrery has made it (its schema is version %lld, this program "
                         "knows up to %lld); use that orrery, or a backup from before",
                         (long long)version, (long long)schema_newest_version());
    }
    *out_version = version;
    return true;
}

/* A new store's tag. */
static bool insert_tag(struct sqlite_connection *connection, struct error *err) {
    uint64_t tag = 0;
    ssize_t got = getrandom(&tag, sizeof tag, 0);
    ASSERT(got == sizeof tag);
    char sql[80];
    snprintf(sql, sizeof sql, "INSERT INTO store (tag) VALUES (%llu)",
             (unsigned long long)(tag & ((UINT64_C(1) << 52) - 1)));
    return sqlite_execute(connection, sql, err);
}

static bool migrate_once(struct sqlite_connection *connection, int64_t version, struct error *err) {
    char stamp[96];
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %lld;",
             SCHEMA_APPLICATION_ID, (long long)version + 1);
    if (sqlite_execute(connection, "BEGIN IMMEDIATE", err) &&
        sqlite_execute(connection, migrations[version], err) &&
        (version > 0 || insert_tag(connection, err)) && sqlite_execute(connection, stamp, err) &&
        sqlite_execute(connection, "COMMIT", err)) {
        return true;
    }
    sqlite_rollback(connection);
    return false;
}

bool schema_migrate(struct sqlite_connection *connection, struct error *err) {
    int64_t version = 0;
    if (!schema_read_version(connection, &version, err)) {
        return false;
    }
    for (; version < schema_newest_version(); version++) {
        if (!migrate_once(connection, version, err)) {
            return error_prefix(err, "migrating to schema version %lld", (long long)version + 1);
        }
    }
    return true;
}
