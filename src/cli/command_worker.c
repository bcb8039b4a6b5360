#include "cli/cli.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <sys/socket.h>

/* A person who starts this by hand has no socket for it. */
static bool has_socket(void) {
    int type;
    socklen_t size = sizeof type;
    return getsockopt(WORKER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

static int run(int argument_count, char **arguments) {
    const char *library = NULL;
    const char *models = NULL;
    const char *memory = "0";
    const char *cache = "0";
    const char *threads = "1";
    const struct option_row rows[] = {
        {.name = "--onnxruntime", .out_value = &library},
        {.name = "--models", .out_value = &models},
        {.name = "--memory", .out_value = &memory},
        {.name = "--cache", .out_value = &cache},
        {.name = "--threads", .out_value = &threads},
    };
    struct error err;
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_worker, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_worker, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (!has_socket()) {
        error_set(&err, ERROR_USAGE, "it is started by `orrery serve`, with a socket");
        return cli_fail(&command_worker, &err);
    }
    struct worker_options options = {
        .library = library,
        .models = models,
        .memory_bytes = strtoull(memory, NULL, 10),
        .cache_bytes = strtoull(cache, NULL, 10),
        .session_threads = (uint32_t)strtoul(threads, NULL, 10),
    };
    return worker_main(&options);
}

const struct command command_worker = {
    .name = "worker",
    .help = "Runs models for `orrery serve`, which starts it; there is no use in starting it by "
            "hand.\n\n"
            "usage: orrery worker [--onnxruntime FILE] [--models DIR] [--memory BYTES]\n"
            "                     [--cache BYTES] [--threads N]\n\n"
            "Example:\n"
            "  orrery serve --workers 4\n",
    .run = run,
};
