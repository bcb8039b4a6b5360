/* The repository's thread. It owns the list of watched models; others see snapshots, and ask for a scan with
 * model_repository_refresh. What changed is found by inotify(7): the folder above the repository (which may be
 * replaced as a whole), the repository, each model's folder and each version's. */
#include "model/repository.h"

#include "model/scan.h"
#include "observe/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* A burst of changes (a folder being copied) is scanned once it pauses for the first time, or after the second
 * time, whichever comes first. */
enum { SETTLE_MS = 30, SETTLE_MAXIMUM_MS = 500 };

enum { EVENT_BYTES = 65536, MODELS_MAXIMUM = 100000 };

static const uint32_t folder_changes = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                                       IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB |
                                       IN_ONLYDIR;
static const uint32_t name_changes =
    IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR;

/* A folder's name in the repository, whether it is a model or may become one. */
struct watched {
    char *name;
    struct model_entry *entry; /* NULL: not a model (yet) */
    int *watches;              /* of its folder and of its versions' */
    size_t watch_count;
    bool changed;
};

struct model_repository {
    char *folder;
    char *parent;
    const char *base_name; /* of folder, within it */
    struct model_describer describer;
    void (*notify)(void *context);
    void *notify_context;
    pthread_t thread;
    bool started;
    int inotify_fd;
    int wake_fd;

    /* the thread's */
    int parent_watch;
    int folder_watch;
    struct watched *watched; /* sorted by name */
    size_t watched_count;
    bool list_changed;
    bool replaced;
    struct watched *scanning;
    bool watch_failed;

    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t scanned;
    const struct model_snapshot *snapshot;
    uint64_t scans_asked;
    uint64_t scans_done;
    bool is_awaited; /* a caller waits for a scan */
    char **asked_names;
    size_t asked_name_count;
    bool ready;
    bool stopping;
};

/* --- names ------------------------------------------------------------------------------------- */

bool model_name_is_valid(const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length > MODEL_NAME_BYTES_MAXIMUM || name[0] == '.') {
        return false;
    }
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
           length;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct watched *)a)->name, ((const struct watched *)b)->name);
}

static struct watched *find_watched(struct model_repository *repository, const char *name) {
    struct watched wanted = {.name = (char *)(uintptr_t)name};
    return repository->watched_count == 0
               ? NULL
               : bsearch(&wanted, repository->watched, repository->watched_count, sizeof wanted,
                         compare_names);
}

/* --- watches ----------------------------------------------------------------------------------- */

static int add_watch(struct model_repository *repository, const char *path, uint32_t changes) {
    int watch = inotify_add_watch(repository->inotify_fd, path, changes);
    if (watch < 0 && (errno == ENOSPC || errno == ENOMEM) && !repository->watch_failed) {
        struct error err;
        error_set_errno(&err, ERROR_IO, errno,
                        "too many folders to watch; raise fs.inotify.max_user_watches");
        log_event(LOG_WARNING, "models_not_watched", LOG_FAILURE(&err));
        repository->watch_failed = true;
    }
    return watch;
}

/* For model_scan: the folders that it reads belong to the model being scanned. */
static void watch_scanned_folder(void *context, const char *path) {
    struct model_repository *repository = context;
    struct watched *watched = repository->scanning;
    int watch = add_watch(repository, path, folder_changes);
    if (watch >= 0) {
        watched->watches = must_realloc(watched->watches, (watched->watch_count + 1) * sizeof(int));
        watched->watches[watched->watch_count++] = watch;
    }
}

static bool has_watch(const struct watched *watched, int watch) {
    for (size_t i = 0; i < watched->watch_count; i++) {
        if (watched->watches[i] == watch) {
            return true;
        }
    }
    return false;
}

/* Folders that are one behind symbolic links share a watch. */
static void drop_watch(struct model_repository *repository, int watch) {
    for (size_t i = 0; i < repository->watched_count; i++) {
        if (has_watch(&repository->watched[i], watch)) {
            return;
        }
    }
    if (watch != repository->folder_watch && watch != repository->parent_watch) {
        inotify_rm_watch(repository->inotify_fd, watch);
    }
}

static void drop_watches(struct model_repository *repository, int *watches, size_t count) {
    for (size_t i = 0; i < count; i++) {
        drop_watch(repository, watches[i]);
    }
    free(watches);
}

static void watched_fini(struct watched *watched) {
    model_entry_unref(watched->entry);
    free(watched->watches);
    free(watched->name);
}

/* --- events ------------------------------------------------------------------------------------ */

static void mark_all(struct model_repository *repository) {
    repository->list_changed = true;
    repository->replaced = true;
    for (size_t i = 0; i < repository->watched_count; i++) {
        repository->watched[i].changed = true;
    }
}

static void mark_by_watch(struct model_repository *repository, int watch) {
    for (size_t i = 0; i < repository->watched_count; i++) {
        struct watched *watched = &repository->watched[i];
        watched->changed = watched->changed || has_watch(watched, watch);
    }
}

/* True if the event may have changed something. */
static bool take_event(struct model_repository *repository, const struct inotify_event *event) {
    if ((event->mask & IN_IGNORED) != 0) {
        return false;
    }
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        mark_all(repository);
        return true;
    }
    const char *name = event->len > 0 ? event->name : "";
    bool relevant = false;
    if (event->wd == repository->parent_watch && strcmp(name, repository->base_name) == 0) {
        mark_all(repository);
        relevant = true;
    }
    if (event->wd == repository->folder_watch) {
        repository->list_changed = true;
        relevant = true;
        if ((event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0) {
            mark_all(repository);
        }
        struct watched *watched = find_watched(repository, name);
        if (watched != NULL) {
            watched->changed = true;
        }
    } else if (event->wd != repository->parent_watch) {
        mark_by_watch(repository, event->wd);
        relevant = true;
    }
    return relevant;
}

static bool read_events(struct model_repository *repository) {
    _Alignas(struct inotify_event) char bytes[EVENT_BYTES];
    bool relevant = false;
    for (;;) {
        ssize_t size_bytes = read(repository->inotify_fd, bytes, sizeof bytes);
        if (size_bytes <= 0) {
            return relevant;
        }
        for (char *at = bytes; at < bytes + size_bytes;) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)at;
            relevant = take_event(repository, event) || relevant;
            at += sizeof *event + event->len;
        }
    }
}

/* Takes what others asked for: true if the thread is to end. */
static bool take_requests(struct model_repository *repository, uint64_t *out_scans_asked) {
    uint64_t ignored_count;
    ssize_t ignored = read(repository->wake_fd, &ignored_count, sizeof ignored_count);
    (void)ignored;
    pthread_mutex_lock(&repository->lock);
    bool stopping = repository->stopping;
    *out_scans_asked = repository->scans_asked;
    size_t count = repository->asked_name_count;
    char **names = repository->asked_names;
    repository->asked_names = NULL;
    repository->asked_name_count = 0;
    pthread_mutex_unlock(&repository->lock);
    for (size_t i = 0; i < count; i++) {
        repository->list_changed = true;
        struct watched *watched = find_watched(repository, names[i]);
        if (watched != NULL) {
            watched->changed = true;
        }
        free(names[i]);
    }
    free(names);
    return stopping;
}

/* --- scanning ---------------------------------------------------------------------------------- */

/* The valid names in the folder, sorted; their memory is the caller's. */
static size_t list_names(const char *folder, struct watched **out_names) {
    *out_names = NULL;
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return 0;
    }
    struct watched *names = NULL;
    size_t count = 0;
    size_t capacity = 0;
    struct dirent *item;
    while (count < MODELS_MAXIMUM &&
           (item = readdir(directory)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        if (!model_name_is_valid(item->d_name) ||
            (item->d_type != DT_DIR && item->d_type != DT_LNK && item->d_type != DT_UNKNOWN)) {
            continue;
        }
        if (count == capacity) {
            capacity = MAX_OF((size_t)64, capacity * 2);
            names = must_realloc(names, capacity * sizeof *names);
        }
        names[count++] = (struct watched){.name = must_strdup(item->d_name), .changed = true};
    }
    closedir(directory);
    if (count > 0) {
        qsort(names, count, sizeof *names, compare_names);
    }
    *out_names = names;
    return count;
}

static void open_folder(struct model_repository *repository) {
    int before = repository->folder_watch;
    repository->folder_watch = add_watch(repository, repository->folder, folder_changes);
    if (before >= 0 && before != repository->folder_watch) {
        drop_watch(repository, before);
    }
    repository->replaced = false;
}

/* Brings the list of names up to date. True if a model went away. */
static bool scan_names(struct model_repository *repository) {
    if (repository->replaced || repository->folder_watch < 0) {
        open_folder(repository);
    }
    repository->list_changed = false;
    struct watched *now;
    size_t count = list_names(repository->folder, &now);
    struct watched *before = repository->watched;
    size_t before_count = repository->watched_count;
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        while (k < before_count && compare_names(&before[k], &now[i]) < 0) {
            k++;
        }
        if (k < before_count && compare_names(&before[k], &now[i]) == 0) {
            free(now[i].name);
            now[i] = before[k];
            before[k].name = NULL; /* taken over */
            k++;
        }
    }
    repository->watched = now;
    repository->watched_count = count;
    bool lost = false;
    for (size_t i = 0; i < before_count; i++) {
        if (before[i].name != NULL) {
            lost = lost || before[i].entry != NULL;
            drop_watches(repository, before[i].watches, before[i].watch_count);
            before[i].watches = NULL;
            watched_fini(&before[i]);
        }
    }
    free(before);
    return lost;
}

/* True if it is not what it was. */
static bool scan_model(struct model_repository *repository, struct watched *watched) {
    struct folder_watcher watcher = {.watch = watch_scanned_folder, .context = repository};
    int *watches_before = watched->watches;
    size_t count_before = watched->watch_count;
    struct model_entry *before = watched->entry;
    watched->watches = NULL;
    watched->watch_count = 0;
    watched->changed = false;
    repository->scanning = watched;
    watched->entry =
        model_scan(repository->folder, watched->name, before, &repository->describer, &watcher);
    drop_watches(repository, watches_before, count_before);
    bool changed = watched->entry != before;
    model_entry_unref(before);
    return changed;
}

static void publish(struct model_repository *repository) {
    struct model_entry **entries =
        must_alloc_zeroed(repository->watched_count, sizeof(struct model_entry *));
    size_t count = 0;
    for (size_t i = 0; i < repository->watched_count; i++) {
        if (repository->watched[i].entry != NULL) {
            entries[count++] = repository->watched[i].entry;
        }
    }
    const struct model_snapshot *snapshot = model_snapshot_new(entries, count);
    free(entries);
    pthread_mutex_lock(&repository->lock);
    const struct model_snapshot *before = repository->snapshot;
    repository->snapshot = snapshot;
    pthread_mutex_unlock(&repository->lock);
    model_snapshot_unref(before);
}

static bool is_stopping(struct model_repository *repository) {
    pthread_mutex_lock(&repository->lock);
    bool stopping = repository->stopping;
    pthread_mutex_unlock(&repository->lock);
    return stopping;
}

/* What did not load in the first scan, which has little time, is looked at once more: model_scan knows whether it is
 * worth trying. */
static void mark_failed(struct model_repository *repository) {
    for (size_t i = 0; i < repository->watched_count; i++) {
        struct watched *watched = &repository->watched[i];
        const struct model *model = watched->entry == NULL ? NULL : &watched->entry->model;
        for (size_t k = 0; model != NULL && k < model->version_count; k++) {
            watched->changed = watched->changed || !model->versions[k].loads;
        }
    }
}

static void scan(struct model_repository *repository, uint64_t scans_asked) {
    bool first = !model_repository_is_ready(repository);
    bool changed = repository->list_changed && scan_names(repository);
    for (size_t i = 0; i < repository->watched_count && !is_stopping(repository); i++) {
        if (repository->watched[i].changed) {
            changed = scan_model(repository, &repository->watched[i]) || changed;
        }
    }
    if (changed || first) {
        publish(repository);
    }
    if (first) {
        mark_failed(repository);
    }
    pthread_mutex_lock(&repository->lock);
    repository->ready = true;
    repository->scans_done = scans_asked;
    pthread_cond_broadcast(&repository->scanned);
    pthread_mutex_unlock(&repository->lock);
    if ((changed || first) && repository->notify != NULL) {
        repository->notify(repository->notify_context);
    }
}

/* Waits for events, and when some came, until they pause; a request is not kept waiting. True: scan. */
static bool wait_for_changes(struct model_repository *repository) {
    struct pollfd wanted[] = {{.fd = repository->inotify_fd, .events = POLLIN},
                              {.fd = repository->wake_fd, .events = POLLIN}};
    poll(wanted, COUNT_OF(wanted), -1);
    bool relevant = read_events(repository);
    for (int waited_ms = 0; relevant && waited_ms < SETTLE_MAXIMUM_MS; waited_ms += SETTLE_MS) {
        if (poll(wanted, COUNT_OF(wanted), SETTLE_MS) == 0 || wanted[1].revents != 0) {
            break;
        }
        read_events(repository);
    }
    return relevant;
}

static void *run(void *context) {
    struct model_repository *repository = context;
    uint64_t scans_asked = 0;
    uint64_t scans_done = 0;
    bool stop = false;
    repository->parent_watch = add_watch(repository, repository->parent, name_changes);
    mark_all(repository);
    scan(repository, 0);
    scan(repository, 0);
    while (!stop) {
        bool relevant = wait_for_changes(repository);
        stop = take_requests(repository, &scans_asked);
        if (!stop && (relevant || scans_asked != scans_done)) {
            scan(repository, scans_asked);
            scans_done = scans_asked;
        }
    }
    return NULL;
}

/* --- for others -------------------------------------------------------------------------------- */

static bool make_folder(const char *folder, struct error *err) {
    struct stat status;
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        return error_set_errno(err, ERROR_IO, errno, "cannot make the models folder %s", folder);
    }
    if (stat(folder, &status) != 0 || !S_ISDIR(status.st_mode)) {
        return error_set(err, ERROR_IO, "the models folder %s is not a folder", folder);
    }
    return true;
}

/* An absolute path without resolving the last name, which may be a link that is switched over. */
static bool split_path(struct model_repository *repository, const char *folder, struct error *err) {
    char *copy CLEANUP(free_pointer) = must_strdup(folder);
    size_t length = strlen(copy);
    while (length > 1 && copy[length - 1] == '/') {
        copy[--length] = '\0';
    }
    char *slash = strrchr(copy, '/');
    const char *name = slash == NULL ? copy : slash + 1;
    if (slash != NULL) {
        *slash = '\0';
    }
    const char *above = slash == NULL ? "." : slash == copy ? "/" : copy;
    char parent[PATH_MAX];
    if (realpath(above, parent) == NULL) {
        return error_set_errno(err, ERROR_IO, errno, "cannot open %s", above);
    }
    size_t path_bytes = strlen(parent) + strlen(name) + 2;
    repository->parent = must_strdup(parent);
    repository->folder = must_alloc(path_bytes);
    snprintf(repository->folder, path_bytes, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name);
    repository->base_name = strrchr(repository->folder, '/') + 1;
    return true;
}

static void init_lock(struct model_repository *repository) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&repository->scanned, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&repository->lock, NULL);
}

bool model_repository_new(const char *folder, struct model_describer describer,
                          struct model_repository **out_repository, struct error *err) {
    struct model_repository *repository = must_alloc_zeroed(1, sizeof *repository);
    *repository = (struct model_repository){.describer = describer,
                                            .parent_watch = -1,
                                            .folder_watch = -1,
                                            .inotify_fd = -1,
                                            .wake_fd = -1};
    init_lock(repository);
    repository->snapshot = model_snapshot_new(NULL, 0);
    if (!make_folder(folder, err) || !split_path(repository, folder, err)) {
        model_repository_free(repository);
        return false;
    }
    repository->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    repository->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (repository->inotify_fd < 0 || repository->wake_fd < 0) {
        error_set_errno(err, ERROR_IO, errno, "cannot watch the models folder");
        model_repository_free(repository);
        return false;
    }
    *out_repository = repository;
    return true;
}

bool model_repository_start(struct model_repository *repository, void (*changed)(void *context),
                            void *context, struct error *err) {
    repository->notify = changed;
    repository->notify_context = context;
    int failure = pthread_create(&repository->thread, NULL, run, repository);
    if (failure != 0) {
        return error_set_errno(err, ERROR_IO, failure,
                               "cannot start the model repository's thread");
    }
    repository->started = true;
    pthread_setname_np(repository->thread, "models");
    return true;
}

static void wake(struct model_repository *repository) {
    ssize_t ignored = write(repository->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}

static void close_if_open(int fd) {
    if (fd >= 0) {
        close(fd);
    }
}

const char *model_repository_folder(const struct model_repository *repository) {
    return repository == NULL ? NULL : repository->folder;
}

void model_repository_free(struct model_repository *repository) {
    if (repository == NULL) {
        return;
    }
    if (repository->started) {
        pthread_mutex_lock(&repository->lock);
        repository->stopping = true;
        pthread_mutex_unlock(&repository->lock);
        wake(repository);
        pthread_join(repository->thread, NULL);
    }
    for (size_t i = 0; i < repository->watched_count; i++) {
        watched_fini(&repository->watched[i]);
    }
    for (size_t i = 0; i < repository->asked_name_count; i++) {
        free(repository->asked_names[i]);
    }
    free(repository->watched);
    free(repository->asked_names);
    model_snapshot_unref(repository->snapshot);
    close_if_open(repository->inotify_fd);
    close_if_open(repository->wake_fd);
    pthread_cond_destroy(&repository->scanned);
    pthread_mutex_destroy(&repository->lock);
    free(repository->folder);
    free(repository->parent);
    free(repository);
}

bool model_repository_is_ready(struct model_repository *repository) {
    pthread_mutex_lock(&repository->lock);
    bool ready = repository->ready;
    pthread_mutex_unlock(&repository->lock);
    return ready;
}

const struct model_snapshot *model_repository_snapshot(struct model_repository *repository) {
    pthread_mutex_lock(&repository->lock);
    const struct model_snapshot *snapshot = model_snapshot_ref(repository->snapshot);
    pthread_mutex_unlock(&repository->lock);
    return snapshot;
}

static struct timespec deadline_after(uint32_t limit_ms) {
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t ns = deadline.tv_nsec + (int64_t)(limit_ms % 1000) * 1000000;
    deadline.tv_sec += limit_ms / 1000 + ns / 1000000000;
    deadline.tv_nsec = ns % 1000000000;
    return deadline;
}

static void ask_for_scan(struct model_repository *repository, const char *name, uint32_t limit_ms) {
    struct timespec deadline = deadline_after(limit_ms);
    pthread_mutex_lock(&repository->lock);
    if (repository->is_awaited) { /* a folder that is slow to load holds up one caller, not all */
        pthread_mutex_unlock(&repository->lock);
        return;
    }
    repository->is_awaited = true;
    uint64_t mine = ++repository->scans_asked;
    repository->asked_names =
        must_realloc(repository->asked_names, (repository->asked_name_count + 1) * sizeof(char *));
    repository->asked_names[repository->asked_name_count++] = must_strdup(name);
    wake(repository);
    int failure = 0;
    while (repository->scans_done < mine && !repository->stopping && failure == 0) {
        failure = pthread_cond_timedwait(&repository->scanned, &repository->lock, &deadline);
    }
    repository->is_awaited = false;
    pthread_mutex_unlock(&repository->lock);
}

const struct model_snapshot *model_repository_refresh(struct model_repository *repository,
                                                      const char *name, uint32_t limit_ms) {
    char path[PATH_MAX];
    struct stat status;
    if (repository->started && model_name_is_valid(name) &&
        snprintf(path, sizeof path, "%s/%s", repository->folder, name) < (int)sizeof path &&
        stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        ask_for_scan(repository, name, limit_ms);
    }
    return model_repository_snapshot(repository);
}
