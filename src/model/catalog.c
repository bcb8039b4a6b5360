#include "model/catalog.h"

#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, ENTRIES_MAXIMUM = 1000000, DIGEST_HEX_BYTES = 2 * MODEL_DIGEST_BYTES + 1 };
#define FILE_BYTES_MAXIMUM ((size_t)1 << 30)

/* A file that was written to has another one. */
struct stamp {
    uint64_t device;
    uint64_t inode;
    int64_t size_bytes;
    int64_t modified_ns;
    int64_t changed_ns; /* also by writing and then setting the other back */
};

struct entry {
    int64_t key; /* of the path */
    struct entry *next;
    bool is_used; /* in this life of the process */
    struct stamp stamp;
    char *path;
    char *options; /* "": none */
    char *engine;
    char *signature; /* as JSON */
    unsigned char digest[MODEL_DIGEST_BYTES];
};

struct catalog {
    char *path;
    struct model_describer describer;
    struct map by_path;
    struct entry *entries;
    char *engine; /* that is at work; NULL: not known yet */
    bool is_changed;
};

/* FNV-1a. Two paths with the same key only displace each other. */
static int64_t key_of(const char *path) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *at = path; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    }
    return hash == 0 ? 1 : (int64_t)hash;
}

static int64_t ns_of(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static bool read_stamp(const char *path, struct stamp *out) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return false;
    }
    *out = (struct stamp){.device = status.st_dev,
                          .inode = status.st_ino,
                          .size_bytes = status.st_size,
                          .modified_ns = ns_of(&status.st_mtim),
                          .changed_ns = ns_of(&status.st_ctim)};
    return true;
}

static bool stamps_equal(const struct stamp *a, const struct stamp *b) {
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

static struct entry *find(const struct catalog *catalog, const char *path) {
    struct entry *entry = map_get(&catalog->by_path, key_of(path));
    return entry != NULL && strcmp(entry->path, path) == 0 ? entry : NULL;
}

static void entry_free(struct entry *entry) {
    free(entry->path);
    free(entry->options);
    free(entry->engine);
    free(entry->signature);
    free(entry);
}

/* Its strings are the catalog's from now on. What it displaces stays in the list, unused, and so is not written. */
static void put(struct catalog *catalog, const struct entry *what) {
    struct entry *entry = must_alloc(sizeof *entry);
    *entry = *what;
    entry->key = key_of(entry->path);
    entry->next = catalog->entries;
    catalog->entries = entry;
    struct entry *displaced = map_put(&catalog->by_path, entry);
    if (displaced != NULL) {
        displaced->is_used = false;
    }
}

/* --- describing ---------------------------------------------------------------------------------- */

static bool holds(const struct catalog *catalog, const struct entry *entry,
                  const struct stamp *stamp, const char *options) {
    return catalog->engine != NULL && strcmp(entry->engine, catalog->engine) == 0 &&
           stamps_equal(&entry->stamp, stamp) && strcmp(entry->options, options) == 0;
}

static bool take(struct entry *entry, struct arena *arena, struct model_description *out) {
    yyjson_doc *document = yyjson_read(entry->signature, strlen(entry->signature), 0);
    struct error ignored_err;
    bool ok =
        signature_from_json(yyjson_doc_get_root(document), arena, &out->signature, &ignored_err);
    yyjson_doc_free(document);
    if (ok) {
        memcpy(out->digest, entry->digest, MODEL_DIGEST_BYTES);
        out->engine = arena_strdup(arena, entry->engine);
        entry->is_used = true;
    }
    return ok;
}

static void remember(struct catalog *catalog, const char *path, const char *options,
                     const struct stamp *stamp, const struct model_description *description) {
    if (catalog->engine == NULL) {
        catalog->engine = must_strdup(description->engine);
    }
    struct text signature CLEANUP(text_fini);
    text_init(&signature, FILE_BYTES_MAXIMUM);
    signature_to_json(&description->signature, &signature);
    struct entry entry = {.is_used = true,
                          .stamp = *stamp,
                          .path = must_strdup(path),
                          .options = must_strdup(options),
                          .engine = must_strdup(description->engine),
                          .signature = must_strdup(text_string(&signature))};
    memcpy(entry.digest, description->digest, MODEL_DIGEST_BYTES);
    put(catalog, &entry);
    catalog->is_changed = true;
}

static bool describe(void *context, const char *model_name, uint32_t version, const char *path,
                     const char *options, struct arena *arena, struct model_description *out,
                     struct error *err) {
    struct catalog *catalog = context;
    const char *given_options = options == NULL ? "" : options;
    struct stamp stamp;
    struct stamp stamp_after;
    bool has_stamp = read_stamp(path, &stamp);
    struct entry *entry = has_stamp ? find(catalog, path) : NULL;
    if (entry != NULL && holds(catalog, entry, &stamp, given_options) && take(entry, arena, out)) {
        return true;
    }
    if (!catalog->describer.describe(catalog->describer.context, model_name, version, path, options,
                                     arena, out, err)) {
        return false;
    }
    if (has_stamp && read_stamp(path, &stamp_after) && stamps_equal(&stamp, &stamp_after) &&
        out->engine != NULL) {
        remember(catalog, path, given_options, &stamp, out);
    }
    return true;
}

struct model_describer catalog_describer(struct catalog *catalog) {
    return (struct model_describer){.describe = describe, .context = catalog};
}

/* --- the file ------------------------------------------------------------------------------------ */

static void append_entry(struct text *out, const struct entry *entry) {
    char digest[DIGEST_HEX_BYTES];
    sodium_bin2hex(digest, sizeof digest, entry->digest, MODEL_DIGEST_BYTES);
    text_append(out, "{\"path\":");
    text_append_json_string(out, entry->path);
    text_append(out, ",\"options\":");
    text_append_json_string(out, entry->options);
    text_append(out, ",\"engine\":");
    text_append_json_string(out, entry->engine);
    text_printf(out, ",\"stamp\":[%llu,%llu,%lld,%lld,%lld],\"digest\":\"%s\",\"signature\":",
                (unsigned long long)entry->stamp.device, (unsigned long long)entry->stamp.inode,
                (long long)entry->stamp.size_bytes, (long long)entry->stamp.modified_ns,
                (long long)entry->stamp.changed_ns, digest);
    text_append_json_string(out, entry->signature);
    text_append_char(out, '}');
}

static char *copy_string(yyjson_val *object, const char *key) {
    const char *string = yyjson_get_str(yyjson_obj_get(object, key));
    return must_strdup(string == NULL ? "" : string);
}

static void read_entry(struct catalog *catalog, yyjson_val *json) {
    yyjson_val *stamp = yyjson_obj_get(json, "stamp");
    const char *digest = yyjson_get_str(yyjson_obj_get(json, "digest"));
    size_t digest_bytes = 0;
    struct entry entry = {0};
    if (digest == NULL ||
        sodium_hex2bin(entry.digest, sizeof entry.digest, digest, strlen(digest), NULL,
                       &digest_bytes, NULL) != 0 ||
        digest_bytes != sizeof entry.digest) {
        return;
    }
    entry.stamp = (struct stamp){.device = yyjson_get_uint(yyjson_arr_get(stamp, 0)),
                                 .inode = yyjson_get_uint(yyjson_arr_get(stamp, 1)),
                                 .size_bytes = yyjson_get_sint(yyjson_arr_get(stamp, 2)),
                                 .modified_ns = yyjson_get_sint(yyjson_arr_get(stamp, 3)),
                                 .changed_ns = yyjson_get_sint(yyjson_arr_get(stamp, 4))};
    entry.path = copy_string(json, "path");
    entry.options = copy_string(json, "options");
    entry.engine = copy_string(json, "engine");
    entry.signature = copy_string(json, "signature");
    put(catalog, &entry);
}

static void read_file(struct catalog *catalog) {
    yyjson_doc *document = yyjson_read_file(catalog->path, 0, NULL, NULL);
    yyjson_val *root = yyjson_doc_get_root(document);
    yyjson_val *entries = yyjson_obj_get(root, "models");
    if (yyjson_get_uint(yyjson_obj_get(root, "version")) == VERSION &&
        yyjson_arr_size(entries) <= ENTRIES_MAXIMUM) {
        size_t index;
        size_t count;
        yyjson_val *json;
        yyjson_arr_foreach(entries, index, count, json) { read_entry(catalog, json); }
    }
    yyjson_doc_free(document);
}

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

static bool write_file(const char *path, const struct text *content) {
    int fd CLEANUP(close_fd) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t written_bytes = 0;
    while (fd >= 0 && written_bytes < content->size_bytes) {
        ssize_t count =
            write(fd, content->data + written_bytes, content->size_bytes - written_bytes);
        if (count < 0 && errno != EINTR) {
            return false;
        }
        written_bytes += count > 0 ? (size_t)count : 0;
    }
    return fd >= 0;
}

bool catalog_save(struct catalog *catalog, struct error *err) {
    if (!catalog->is_changed) {
        return true;
    }
    struct text content CLEANUP(text_fini);
    text_init(&content, FILE_BYTES_MAXIMUM);
    text_printf(&content, "{\"version\":%d,\"models\":[", VERSION);
    bool is_first = true;
    for (const struct entry *entry = catalog->entries; entry != NULL; entry = entry->next) {
        if (entry->is_used) {
            text_append(&content, is_first ? "\n" : ",\n");
            append_entry(&content, entry);
            is_first = false;
        }
    }
    text_append(&content, "]}\n");
    struct text staging CLEANUP(text_fini);
    text_init(&staging, FILE_BYTES_MAXIMUM);
    text_printf(&staging, "%s.new", catalog->path);
    if (!text_ok(&content) || !write_file(text_string(&staging), &content) ||
        rename(text_string(&staging), catalog->path) != 0) {
        error_set_errno(err, ERROR_IO, errno, "cannot write %s", catalog->path);
        unlink(text_string(&staging));
        return false;
    }
    catalog->is_changed = false;
    return true;
}

struct catalog *catalog_new(const char *path, struct model_describer describer) {
    struct catalog *catalog = must_alloc_zeroed(1, sizeof *catalog);
    catalog->path = must_strdup(path);
    catalog->describer = describer;
    read_file(catalog);
    return catalog;
}

void catalog_free(struct catalog *catalog) {
    if (catalog == NULL) {
        return;
    }
    while (catalog->entries != NULL) {
        struct entry *next = catalog->entries->next;
        entry_free(catalog->entries);
        catalog->entries = next;
    }
    map_fini(&catalog->by_path);
    free(catalog->engine);
    free(catalog->path);
    free(catalog);
}
