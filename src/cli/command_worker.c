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
    const char *memory = "0";
    const struct option_row rows[] = {
        {.name = "--onnxruntime", .out_value = &library},
        {.name = "--memory", .out_value = &memory},
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
    return worker_main(library, strtoull(memory, NULL, 10));
}

const struct command command_worker = {
    .name = "worker",
    .help = "Runs models for `orrery serve`, which starts it; there is no use in starting it by "
            "hand.\n\n"
            "usage: orrery worker [--onnxruntime FILE] [--memory BYTES]\n\n"
            "Example:\n"
            "  orrery serve --workers 4\n",
    .run = run,
};
