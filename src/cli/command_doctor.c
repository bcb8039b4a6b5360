/* orrery doctor: looks for what usually goes wrong, one line a check, and says what to do about it. */
#include "cli/cli.h"
#include "clock/clock.h"
#include "clock/zone.h"
#include "config/settings.h"
#include "dispatch/dispatch.h"
#include "model/repository.h"
#include "store/store.h"
#include "worker/worker.h"

#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

/* A machine whose clock says an earlier year than this program was made in has lost its clock. */
#define EARLIEST_SANE_SECONDS INT64_C(1767225600) /* 2026-01-01 */
enum { MODEL_SCAN_LIMIT_S = 60 };

enum finding { FINDING_OK, FINDING_WARNING, FINDING_FAILED };

struct checkup {
    const struct settings *settings;
    bool failed;
};

static void report(struct checkup *checkup, enum finding finding, const char *what,
                   const char *format, ...) PRINTF_LIKE(4, 5);

static void report(struct checkup *checkup, enum finding finding, const char *what,
                   const char *format, ...) {
    static const char *const labels[] = {
        [FINDING_OK] = "ok", [FINDING_WARNING] = "warning", [FINDING_FAILED] = "FAILED"};
    checkup->failed = checkup->failed || finding == FINDING_FAILED;
    printf("%-8s %-12s ", labels[finding], what);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void check_store(struct checkup *checkup) {
    const char *location = checkup->settings->db;
    struct store_options options = {.location = location};
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    struct error err;
    if (!store_open(&options, &store, &err)) {
        report(checkup, FINDING_FAILED, "store", "%s", err.message);
        return;
    }
    if (!store_reader_open(store, &reader, &err) || !store_check(reader, &err)) {
        report(checkup, FINDING_FAILED, "store", "%s: %s", location, err.message);
    } else {
        report(checkup, FINDING_OK, "store", "%s can be read and written", location);
    }
    store_reader_close(reader);
    store_close(store);
}

static void check_zones(struct checkup *checkup) {
    const struct zone *zone = NULL;
    struct error err;
    if (!zone_open("Europe/Berlin", &zone, &err)) {
        report(checkup, FINDING_FAILED, "time zones", "%s; install the package tzdata",
               err.message);
        return;
    }
    zone_unref(zone);
    report(checkup, FINDING_OK, "time zones", "tzdata %s", zone_database_version());
}

static void check_clock(struct checkup *checkup) {
    struct wall_time now = clock_wall_now(clock_system());
    char text[RFC3339_BYTES];
    wall_time_format(now, text);
    struct timex state = {0};
    if (wall_time_seconds(now) < EARLIEST_SANE_SECONDS) {
        report(checkup, FINDING_FAILED, "clock", "it is %s, which is before this program was made",
               text);
    } else if (adjtimex(&state) == TIME_ERROR || (state.status & STA_UNSYNC) != 0) {
        report(checkup, FINDING_WARNING, "clock",
               "%s; nobody keeps it right: install chrony or enable systemd-timesyncd", text);
    } else {
        report(checkup, FINDING_OK, "clock", "%s, synchronized", text);
    }
}

static const char *configured_library(const struct settings *settings) {
    return *settings->onnxruntime == '\0' ? NULL : settings->onnxruntime;
}

static void report_sandbox(struct checkup *checkup, const struct worker_probe *probe) {
    for (enum sandbox_part i = 0; i < SANDBOX_PART_COUNT; i++) {
        const char *name = sandbox_part_name(i);
        if (probe->sandbox[i] == '+') {
            report(checkup, FINDING_OK, "sandbox", "%s: in force", name);
        } else if (probe->sandbox[i] == '-') {
            report(checkup, FINDING_WARNING, "sandbox", "%s: this kernel lacks it, or has it off",
                   name);
        } else {
            report(checkup, FINDING_FAILED, "sandbox", "%s: not in force", name);
        }
    }
}

/* A worker tries itself what it must not be able to do. */
static bool check_worker(struct checkup *checkup) {
    const struct settings *settings = checkup->settings;
    struct worker_options options = {.program = "/proc/self/exe",
                                     .library = configured_library(settings),
                                     .models = settings->models,
                                     .memory_bytes = (uint64_t)settings->worker_memory_bytes};
    struct worker_probe probe;
    struct error err;
    if (!worker_probe(&options, &probe, &err)) {
        report(checkup, FINDING_FAILED, "worker", "%s", err.message);
        return false;
    }
    report_sandbox(checkup, &probe);
    if (probe.version[0] == '\0') {
        report(checkup, FINDING_FAILED, "runtime", "%s", probe.runtime.message);
        return false;
    }
    report(checkup, FINDING_OK, "runtime", "ONNX Runtime %s", probe.version);
    return true;
}

static void report_models(struct checkup *checkup, const struct model_snapshot *snapshot) {
    if (snapshot->model_count == 0) {
        report(checkup, FINDING_WARNING, "models",
               "none in %s; expected <name>/<version>/model.onnx", checkup->settings->models);
    }
    for (size_t i = 0; i < snapshot->model_count; i++) {
        const struct model *model = &snapshot->models[i];
        if (model->reason != NULL) {
            report(checkup, FINDING_FAILED, "model", "%s: %s", model->name, model->reason);
        }
        for (size_t k = 0; k < model->version_count; k++) {
            const struct model_version *version = &model->versions[k];
            report(checkup, version->loads ? FINDING_OK : FINDING_FAILED, "model",
                   "%s version %u %s", model->name, version->version,
                   version->loads ? "loads" : version->reason);
        }
    }
}

static void on_scanned(void *context) { sem_post(context); }

/* The same dispatcher and repository as the daemon's, for one scan. */
static void check_models(struct checkup *checkup) {
    struct dispatcher_options options = {
        .program = "/proc/self/exe",
        .onnxruntime_library = configured_library(checkup->settings),
        .worker_count = 1,
        .clock = clock_system(),
    };
    struct dispatcher *dispatcher = NULL;
    struct model_repository *repository = NULL;
    struct error err;
    sem_t scanned;
    sem_init(&scanned, 0, 0);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += MODEL_SCAN_LIMIT_S;
    bool started = dispatcher_new(&options, &dispatcher, &err) &&
                   model_repository_new(checkup->settings->models, dispatcher_describer(dispatcher),
                                        &repository, &err);
    if (started) {
        dispatcher_set_repository(dispatcher, repository);
        started = dispatcher_start(dispatcher, &err) &&
                  model_repository_start(repository, on_scanned, &scanned, &err);
    }
    if (!started) {
        report(checkup, FINDING_FAILED, "models", "%s", err.message);
    } else if (sem_timedwait(&scanned, &limit) != 0) {
        report(checkup, FINDING_FAILED, "models", "not all loaded within %d s", MODEL_SCAN_LIMIT_S);
    } else {
        const struct model_snapshot *snapshot = model_repository_snapshot(repository);
        report_models(checkup, snapshot);
        model_snapshot_unref(snapshot);
    }
    if (dispatcher != NULL) {
        dispatcher_stop(dispatcher);
    }
    model_repository_free(repository);
    dispatcher_free(dispatcher);
    sem_destroy(&scanned);
}

static int examine(const struct settings *settings) {
    struct checkup checkup = {.settings = settings};
    check_clock(&checkup);
    check_zones(&checkup);
    check_store(&checkup);
    if (check_worker(&checkup)) {
        check_models(&checkup);
    }
    return checkup.failed ? EXIT_FAILED : EXIT_DONE;
}

static int run(int argument_count, char **arguments) {
    const char *config = NULL;
    const char *db = NULL;
    const char *models = NULL;
    const char *onnxruntime = NULL;
    const struct option_row rows[] = {
        {.name = "--config", .out_value = &config},
        {.name = "--db", .out_value = &db},
        {.name = "--models", .out_value = &models},
        {.name = "--onnxruntime", .out_value = &onnxruntime},
    };
    struct error err;
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_doctor, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_doctor, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count > 0) {
        error_set(&err, ERROR_USAGE, "unexpected argument '%s'", arguments[1]);
        return cli_fail(&command_doctor, &err);
    }
    const struct settings_flag flags[] = {
        {"db", db}, {"models", models}, {"onnxruntime", onnxruntime}};
    struct settings settings;
    settings_init(&settings);
    int status = settings_load(&settings, config, flags, COUNT_OF(flags), &err)
                     ? examine(&settings)
                     : cli_fail(&command_doctor, &err);
    settings_fini(&settings);
    return status;
}

const struct command command_doctor = {
    .name = "doctor",
    .summary = "look for what usually goes wrong",
    .help =
        "Looks for what usually goes wrong and prints a line for each check: the clock, the time\n"
        "zones, the store, the sandbox of the workers, ONNX Runtime, every model. Exit status 1 if "
        "a check failed.\n\n"
        "usage: orrery doctor [OPTIONS]\n\n"
        "  --config FILE        the settings that `orrery serve` reads\n"
        "  --db FILE            the store [orrery.db]\n"
        "  --models DIR         the model repository [models]\n"
        "  --onnxruntime FILE   libonnxruntime.so to use\n\n"
        "Example:\n"
        "  orrery doctor --db data/orrery.db --models models\n",
    .run = run,
};
