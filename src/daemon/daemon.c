#include "daemon/daemon.h"

#include "api/api.h"
#include "daemon/zone_watch.h"
#include "dispatch/dispatch.h"
#include "http/http.h"
#include "model/catalog.h"
#include "model/repository.h"
#include "observe/log.h"
#include "process/process.h"
#include "remote/remote.h"
#include "schedule/scheduler.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Descriptors that connections leave alone: of the process as a whole (the writer's files, timers, mailboxes, inotify,
 * what a checkpoint or the zones open for a moment); a worker's socket and those of its start; an HTTP thread's reader
 * and epoll. */
enum { DESCRIPTORS_KEPT = 64, DESCRIPTORS_PER_WORKER = 4, DESCRIPTORS_PER_HTTP_THREAD = 8 };

struct daemon {
    const struct settings *settings;
    int signal_fd;
    bool ignores_hangup; /* as under nohup(1) */
    bool restarts;       /* it was asked to begin anew, with the store that was laid ready */
    int models_fd;       /* an eventfd: the repository has published a snapshot */
    struct store *store;
    struct dispatcher *dispatcher;
    struct process_executor *commands;
    struct remote_executor *remote;
    struct model_repository *repository;
    struct catalog *catalog; /* the repository's thread has it while it runs */
    bool is_catalog_saved;   /* once, when the repository was first known */
    struct scheduler *scheduler;
    struct token_verifier *tokens; /* NULL: none are taken */
    struct api *api;
    struct http_server *http;
    struct identity_source run_keys;
    struct identity_source execution_keys;
};

/* Signals arrive in one place: they are blocked in every thread and read from a descriptor by the main one. */
static bool open_signals(struct daemon *daemon, struct error *err) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    struct sigaction hangup;
    daemon->ignores_hangup = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    daemon->models_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (daemon->signal_fd < 0 || daemon->models_fd < 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot create a descriptor");
    }
    return true;
}

static void save_catalog(struct daemon *daemon) {
    struct error err;
    if (!catalog_save(daemon->catalog, &err)) {
        log_event(LOG_WARNING, "catalog_not_saved", LOG_FAILURE(&err));
    }
}

/* Later changes are saved at the end: a start after a crash finds them out again. */
static void on_models_changed(void *context) {
    struct daemon *daemon = context;
    if (!daemon->is_catalog_saved) {
        save_catalog(daemon);
        daemon->is_catalog_saved = true;
    }
    ssize_t ignored = write(daemon->models_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}

static bool start_models(struct daemon *daemon, struct error *err) {
    const struct settings *settings = daemon->settings;
    struct dispatcher_options options = {
        .program = "/proc/self/exe",
        .onnxruntime_library = *settings->onnxruntime == '\0' ? NULL : settings->onnxruntime,
        .worker_count = (uint32_t)settings->workers,
        .worker_memory_bytes = (uint64_t)settings->worker_memory_bytes,
        .worker_cache_bytes = (uint64_t)settings->worker_cache_bytes,
        .session_threads = (uint32_t)settings->session_threads,
        .clock = clock_system(),
    };
    struct process_options process_options = {
        .program = options.program,
        .memory_bytes = options.worker_memory_bytes,
        .clock = options.clock,
    };
    const char *credentials = getenv("CREDENTIALS_DIRECTORY"); /* systemd.exec(5) */
    struct remote_options remote_options = {
        .secrets_folder = *settings->secrets != '\0' ? settings->secrets
                          : credentials != NULL      ? credentials
                                                     : "",
        .clock = options.clock,
    };
    if (!process_executor_new(&process_options, &daemon->commands, err) ||
        !remote_executor_new(&remote_options, &daemon->remote, err)) {
        return false;
    }
    options.executors[MODEL_BACKEND_HTTP] = remote_executor_interface(daemon->remote);
    options.executors[MODEL_BACKEND_OPENINFERENCE] = remote_executor_interface(daemon->remote);
    options.executors[MODEL_BACKEND_OPENAI] = remote_executor_interface(daemon->remote);
    options.executors[MODEL_BACKEND_PROCESS] = process_executor_interface(daemon->commands);
    if (!dispatcher_new(&options, &daemon->dispatcher, err)) {
        return false;
    }
    struct text catalog_path CLEANUP(text_fini);
    text_init(&catalog_path, PATH_MAX);
    text_printf(&catalog_path, "%s-models", settings->db);
    daemon->catalog =
        catalog_new(text_string(&catalog_path), dispatcher_describer(daemon->dispatcher));
    if (!model_repository_new(settings->models, catalog_describer(daemon->catalog),
                              &daemon->repository, err)) {
        return false;
    }
    dispatcher_set_repository(daemon->dispatcher, daemon->repository);
    process_executor_set_dispatcher(daemon->commands, daemon->dispatcher);
    remote_executor_set_dispatcher(daemon->remote, daemon->dispatcher);
    return dispatcher_start(daemon->dispatcher, err) &&
           model_repository_start(daemon->repository, on_models_changed, daemon, err);
}

static bool start_store(struct daemon *daemon, struct error *err) {
    const struct settings *settings = daemon->settings;
    struct store_options options = {.location = settings->db,
                                    .exclusive = true,
                                    .retention_age = settings->retention_age,
                                    .retention_count = (uint64_t)settings->retention_count,
                                    .retention_bytes = (uint64_t)settings->retention_bytes,
                                    .inline_result_bytes_maximum =
                                        (size_t)settings->result_inline_bytes};
    if (!store_open(&options, &daemon->store, err) || !store_start(daemon->store, err)) {
        return false;
    }
    identity_source_init(&daemon->run_keys, store_greatest_run_key(daemon->store));
    identity_source_init(&daemon->execution_keys, store_greatest_execution_key(daemon->store));
    return true;
}

/* How many connections may be open, so that they never use up the descriptors that the store, new workers and what is
 * read from disk need. */
static uint32_t connection_maximum(const struct settings *settings) {
    int64_t wanted = settings->connections;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return (uint32_t)wanted;
    }
    int64_t kept = DESCRIPTORS_KEPT + settings->workers * DESCRIPTORS_PER_WORKER +
                   settings->http_threads * DESCRIPTORS_PER_HTTP_THREAD;
    int64_t room = MAX_OF((int64_t)limit.rlim_cur - kept, settings->http_threads);
    if (wanted > room) {
        log_event(LOG_WARNING, "connections_capped", LOG_INTEGER("asked", wanted),
                  LOG_INTEGER("connections", room),
                  LOG_INTEGER("descriptor_limit", (int64_t)limit.rlim_cur));
    }
    return (uint32_t)MIN_OF(wanted, room);
}

static bool start_http(struct daemon *daemon, struct error *err) {
    const struct settings *settings = daemon->settings;
    if (*settings->token_secret_file != '\0' &&
        !token_verifier_new(settings->token_secret_file, &daemon->tokens, err)) {
        return false;
    }
    struct api_options api_options = {
        .store = daemon->store,
        .scheduler = daemon->scheduler,
        .dispatcher = daemon->dispatcher,
        .repository = daemon->repository,
        .run_keys = &daemon->run_keys,
        .execution_keys = &daemon->execution_keys,
        .clock = clock_system(),
        .tokens = daemon->tokens,
        .rate_limit = (uint32_t)settings->rate_limit,
    };
    if (!api_new(&api_options, &daemon->api, err)) {
        return false;
    }
    struct http_options options = {
        .listen = settings->listen,
        .thread_count = (uint32_t)settings->http_threads,
        .connection_maximum = connection_maximum(settings),
        .body_maximum_bytes = (size_t)settings->body_limit_bytes,
        .idle_timeout_s = (uint32_t)(settings->idle_timeout.us / US_PER_SECOND),
        .handle = api_handle,
        .refuse = api_refuse,
        .answered = api_answered,
        .context = daemon->api,
    };
    if (!http_server_new(&options, &daemon->http, err)) {
        return false;
    }
    log_event(LOG_INFO, "listening", LOG_STRING("address", http_server_address(daemon->http)));
    return true;
}

/* Whether the signals that have come end the daemon. SIGHUP is a terminal's end, unless `orrery restore` has laid a
 * backup beside the store: then it means to begin anew with that. */
static bool is_ended_by_signals(struct daemon *daemon) {
    struct signalfd_siginfo info;
    bool hangup = false;
    bool ends = false;
    while (read(daemon->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        hangup = hangup || info.ssi_signo == SIGHUP;
        ends = ends || info.ssi_signo != SIGHUP;
    }
    daemon->restarts = hangup && !ends && store_restore_is_staged(daemon->settings->db);
    return ends || daemon->restarts || (hangup && !daemon->ignores_hangup);
}

/* Waits for the descriptor or a signal that ends the daemon; true for the descriptor. */
static bool wait_unless_signalled(struct daemon *daemon, int fd) {
    struct pollfd wanted[] = {{.fd = daemon->signal_fd, .events = POLLIN},
                              {.fd = fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(wanted, COUNT_OF(wanted), -1);
        if (ready > 0 && wanted[0].revents != 0 && is_ended_by_signals(daemon)) {
            return false;
        }
        if (ready > 0 && wanted[1].revents != 0) {
            return true;
        }
    }
}

/* The models are known before the first slot fires; else a slot that is due at once would fail for want of a
 * model that is about to be found. False: a signal came first. */
static bool wait_for_models(struct daemon *daemon) {
    while (!model_repository_is_ready(daemon->repository)) {
        if (!wait_unless_signalled(daemon, daemon->models_fd)) {
            return false;
        }
        uint64_t ignored_count;
        ssize_t ignored = read(daemon->models_fd, &ignored_count, sizeof ignored_count);
        (void)ignored;
    }
    return true;
}

/* Until a signal comes, looks after the time zones. */
static void wait_for_signal(struct daemon *daemon) {
    int zones_fd = zone_watch_open(); /* -1 is a descriptor that poll(2) ignores */
    while (wait_unless_signalled(daemon, zones_fd)) {
        if (zone_watch_refresh(zones_fd)) {
            scheduler_zones_changed(daemon->scheduler);
        }
    }
    if (zones_fd >= 0) {
        close(zones_fd);
    }
}

static void restore_signals(struct daemon *daemon) {
    /* From here on a second signal ends the process at once; what is acknowledged is on disk. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    struct signalfd_siginfo ignored_info;
    while (read(daemon->signal_fd, &ignored_info, sizeof ignored_info) > 0) {
    }
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

/* In this order: nothing new comes from outside; what runs ends or is handed back; the store writes what it was
 * given; then whoever still waits for an answer gets one, and the connections close. Until then whoever connects is
 * told that the server is shutting down. */
static void stop(struct daemon *daemon) {
    struct monotonic_time deadline = clock_monotonic_now(clock_system());
    deadline.us += daemon->settings->drain_limit.us;
    if (daemon->api != NULL) {
        api_set_state(daemon->api, API_DRAINING);
    }
    if (daemon->http != NULL) {
        http_server_drain(daemon->http);
    }
    if (daemon->scheduler != NULL) {
        scheduler_stop(daemon->scheduler);
    }
    if (daemon->http != NULL) {
        api_wait_for_predictions(daemon->api, deadline);
    }
    if (daemon->dispatcher != NULL) {
        dispatcher_stop(daemon->dispatcher);
    }
    if (daemon->store != NULL) {
        store_stop(daemon->store);
    }
    scheduler_free(daemon->scheduler);
    http_server_free(daemon->http);
    api_free(daemon->api);
    token_verifier_free(daemon->tokens);
    model_repository_free(daemon->repository);
    if (daemon->catalog != NULL) {
        save_catalog(daemon);
    }
    catalog_free(daemon->catalog);
    dispatcher_free(daemon->dispatcher);
    process_executor_free(daemon->commands);
    remote_executor_free(daemon->remote);
    store_close(daemon->store);
    if (daemon->signal_fd >= 0) {
        close(daemon->signal_fd);
    }
    if (daemon->models_fd >= 0) {
        close(daemon->models_fd);
    }
}

static bool run(struct daemon *daemon, struct error *err) {
    struct scheduler_options options = {
        .clock = clock_system(),
        .dispatcher = NULL,
        .execution_keys = &daemon->execution_keys,
        .drain_limit = daemon->settings->drain_limit,
        .worker_count = (uint32_t)daemon->settings->workers,
        .running_maximum = (uint32_t)daemon->settings->running,
        .running_per_owner_maximum = (uint32_t)daemon->settings->running_per_owner,
    };
    if (!open_signals(daemon, err) || !start_store(daemon, err) || !start_models(daemon, err)) {
        return false;
    }
    options.store = daemon->store;
    options.dispatcher = daemon->dispatcher;
    options.repository = daemon->repository;
    if (!scheduler_new(&options, &daemon->scheduler, err) || !start_http(daemon, err)) {
        return false;
    }
    if (wait_for_models(daemon)) {
        if (!scheduler_start(daemon->scheduler, err)) {
            return false;
        }
        api_set_state(daemon->api, API_READY);
        log_event(LOG_INFO, "ready", LOG_STRING("db", daemon->settings->db),
                  LOG_STRING("models", daemon->settings->models));
        wait_for_signal(daemon);
    }
    log_event(LOG_INFO, "stopping");
    return true;
}

/* As many descriptors as the system allows. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

enum { COMMAND_LINE_BYTES = 128 << 10, ARGUMENTS_MAXIMUM = 256 };

/* The same program with the same arguments in the same process. Returns only if that fails. */
static bool begin_anew(struct error *err) {
    static char line[COMMAND_LINE_BYTES];
    char *arguments[ARGUMENTS_MAXIMUM + 1];
    size_t count = 0;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size_bytes = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (size_bytes <= 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot read the command line");
    }
    for (char *at = line; at < line + size_bytes && count < ARGUMENTS_MAXIMUM;
         at += strlen(at) + 1) {
        arguments[count++] = at;
    }
    arguments[count] = NULL;
    log_event(LOG_INFO, "restarting");
    execv("/proc/self/exe", arguments);
    return error_set_errno(err, ERROR_IO, errno, "cannot begin anew");
}

bool daemon_run(const struct settings *settings, struct error *err) {
    raise_descriptor_limit();
    /* Two arenas for all threads: memory comes back instead of being kept by each thread for itself. */
    mallopt(M_ARENA_MAX, 2);
    struct daemon daemon = {.settings = settings, .signal_fd = -1, .models_fd = -1};
    log_event(LOG_INFO, "starting", LOG_STRING("version", ORRERY_VERSION),
              LOG_INTEGER("pid", getpid()));
    bool ok = run(&daemon, err);
    if (daemon.signal_fd >= 0) {
        restore_signals(&daemon);
    }
    stop(&daemon);
    if (ok) {
        log_event(LOG_INFO, "stopped");
    }
    return ok && (!daemon.restarts || begin_anew(err));
}
