#include "store/sqlite/names.h"

#include "store/sqlite/statements.h"

#include <string.h>

/* Finds the row, or makes it. Both statements take the same parameters, which are bound already. */
static bool find_or_insert(struct store_session *session, sqlite3_stmt *find, sqlite3_stmt *insert,
                           int64_t *out_key, struct error *err) {
    sqlite3 *db = session->connection.db;
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        *out_key = sqlite3_column_int64(find, 0);
        sqlite3_reset(find);
        return true;
    }
    sqlite3_reset(find);
    if (code != SQLITE_DONE) {
        return sqlite_fail(db, code, err);
    }
    if (!sqlite_run(&session->connection, insert, err)) {
        return false;
    }
    *out_key = sqlite3_last_insert_rowid(db);
    return true;
}

static bool intern_name(struct store_session *session, struct intern_cache *cache,
                        size_t find_index, size_t insert_index, const char *name, int64_t *out_key,
                        struct error *err) {
    size_t size_bytes = strlen(name);
    int64_t key = intern_cache_get(cache, name, size_bytes);
    if (key == 0) {
        sqlite3_stmt *find;
        sqlite3_stmt *insert;
        if (!sqlite_statement(&session->connection, find_index, &find, err) ||
            !sqlite_statement(&session->connection, insert_index, &insert, err)) {
            return false;
        }
        sqlite_bind_text(find, 1, name);
        sqlite_bind_text(insert, 1, name);
        if (!find_or_insert(session, find, insert, &key, err)) {
            return false;
        }
        intern_cache_put(cache, name, size_bytes, key);
    }
    *out_key = key;
    return true;
}

bool sqlite_intern_owner(struct store_session *session, const char *name, int64_t *out_key,
                         struct error *err) {
    return intern_name(session, &session->owners, WRITE_FIND_OWNER, WRITE_INSERT_OWNER, name,
                       out_key, err);
}

bool sqlite_intern_model(struct store_session *session, const char *name, int64_t *out_key,
                         struct error *err) {
    return intern_name(session, &session->models, WRITE_FIND_MODEL, WRITE_INSERT_MODEL, name,
                       out_key, err);
}

struct model_file {
    int64_t model_key;
    int64_t version;
    size_t digest_bytes;
    unsigned char digest[MODEL_DIGEST_BYTES];
};

bool sqlite_intern_model_file(struct store_session *session, const struct execution *execution,
                              int64_t *out_key, struct error *err) {
    if (execution->model_version == 0 && !execution->has_model_digest) {
        *out_key = 0;
        return true;
    }
    struct model_file file;
    memset(&file, 0, sizeof file); /* its bytes are the cache's key */
    file.version = execution->model_version;
    if (execution->has_model_digest) {
        file.digest_bytes = MODEL_DIGEST_BYTES;
        memcpy(file.digest, execution->model_digest, MODEL_DIGEST_BYTES);
    }
    if (!sqlite_intern_model(session, execution->model_name, &file.model_key, err)) {
        return false;
    }
    int64_t key = intern_cache_get(&session->model_files, &file, sizeof file);
    if (key == 0) {
        sqlite3_stmt *statements[2];
        if (!sqlite_statement(&session->connection, WRITE_FIND_MODEL_FILE, &statements[0], err) ||
            !sqlite_statement(&session->connection, WRITE_INSERT_MODEL_FILE, &statements[1], err)) {
            return false;
        }
        for (size_t i = 0; i < COUNT_OF(statements); i++) {
            sqlite_bind_integer(statements[i], 1, file.model_key);
            sqlite_bind_integer(statements[i], 2, file.version);
            sqlite_bind_blob(statements[i], 3, file.digest, file.digest_bytes);
        }
        if (!find_or_insert(session, statements[0], statements[1], &key, err)) {
            return false;
        }
        intern_cache_put(&session->model_files, &file, sizeof file, key);
    }
    *out_key = key;
    return true;
}

void sqlite_forget_names(struct store_session *session) {
    intern_cache_clear(&session->owners);
    intern_cache_clear(&session->models);
    intern_cache_clear(&session->model_files);
}
