#include "cli/cli.h"
#include "process/launch.h"

#include <stdlib.h>
#include <string.h>

/* The operands are paths that may be read, "--", and the command. */
static int run(int argument_count, char **arguments) {
    const char *parent = "0";
    const char *folder = ".";
    const char *model = ".";
    const char *temporary = NULL;
    const char *memory = "0";
    bool has_network = false;
    const struct option_row rows[] = {
        {.name = "--parent", .out_value = &parent},
        {.name = "--folder", .out_value = &folder},
        {.name = "--model", .out_value = &model},
        {.name = "--temporary", .out_value = &temporary},
        {.name = "--memory", .out_value = &memory},
        {.name = "--network", .out_flag = &has_network},
    };
    struct error err;
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_launch, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_launch, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    int separator = 1;
    while (separator <= operand_count && strcmp(arguments[separator], "--") != 0) {
        separator++;
    }
    if (separator >= operand_count) {
        error_set(&err, ERROR_USAGE, "it is started by `orrery serve`, with a command");
        return cli_fail(&command_launch, &err);
    }
    arguments[operand_count + 1] = NULL;
    /* The model's folder is one of the paths: its place is before the first operand. */
    arguments[0] = (char *)(uintptr_t)model;
    struct launch_options options = {
        .parent = (int)strtol(parent, NULL, 10),
        .folder = folder,
        .temporary = temporary,
        .memory_bytes = strtoull(memory, NULL, 10),
        .has_network = has_network,
        .readable = (const char *const *)arguments,
        .readable_count = (size_t)separator,
        .command = arguments + separator + 1,
    };
    launch(&options);
}

const struct command command_launch = {
    .name = "launch",
    .help = "Runs the command of a model for `orrery serve`, in its sandbox; there is no use in\n"
            "starting it by hand.\n\n"
            "usage: orrery launch [OPTIONS] -- [READABLE...] -- COMMAND [ARGUMENT...]\n\n"
            "Example:\n"
            "  orrery serve --models models\n",
    .run = run,
};
