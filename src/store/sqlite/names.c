#include "store/sqlite/names.h"

#include "store/sqlite/statements.h"

#include <string.h>

/* Finds the row, or makes it. Both statements take the same parameters. */
static bool find_or_insert(struct store_session *session, size_t find_index, size_t insert_index,
                           const struct sqlite_value *values, size_t value_count, int64_t *out_key,
                           struct error *err) {
    struct sqlite_connection *connection = &session->connection;
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_values(connection, find_index, &row, &found, err, values, value_count)) {
        return false;
    }
    if (found) {
        *out_key = sqlite_integer(row, 0);
        sqlite3_reset(row);
        return true;
    }
    if (!sqlite_run_values(connection, insert_index, err, values, value_count)) {
        return false;
    }
    *out_key = sqlite3_last_insert_rowid(connection->db);
    return true;
}

static bool intern_name(struct store_session *session, struct intern_cache *cache,
                        size_t find_index, size_t insert_index, const char *name, int64_t *out_key,
                        struct error *err) {
    size_t size_bytes = strlen(name);
    int64_t key = intern_cache_get(cache, name, size_bytes);
    if (key == 0) {
        if (!find_or_insert(session, find_index, insert_index, SQLITE_VALUES(value_text(name)),
                            &key, err)) {
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
        if (!find_or_insert(session, WRITE_FIND_MODEL_FILE, WRITE_INSERT_MODEL_FILE,
                            SQLITE_VALUES(value_integer(file.model_key),
                                          value_integer(file.version),
                                          value_blob(file.digest, file.digest_bytes)),
                            &key, err)) {
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
