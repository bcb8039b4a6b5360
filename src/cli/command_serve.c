#include "cli/cli.h"
#include "config/settings.h"
#include "daemon/daemon.h"
#include "observe/log.h"

#include <stdio.h>
#include <string.h>

static void print_help(void) {
    struct text help;
    text_init(&help, 65536);
    text_append(
        &help,
        "Runs the service: HTTP API, scheduler and workers, in one process tree.\n\n"
        "usage: orrery serve [OPTIONS]\n\n"
        "  --config FILE             read settings from FILE first, as `key = value` lines\n");
    settings_append_help(&help);
    text_append(
        &help,
        "\nEvery option is also a key of the file (rate-limit = 50) and a variable of the\n"
        "environment (ORRERY_RATE_LIMIT=50); the command line wins over the environment, and\n"
        "that over the file. SIGTERM ends it in good order.\n\n"
        "Example:\n"
        "  orrery serve --listen 127.0.0.1:8080 --db data/orrery.db --models models\n");
    fputs(text_string(&help), stdout);
    text_fini(&help);
}

enum { ROW_MAXIMUM = 32, NAME_BYTES = 40 };

static int serve(const char *config, const struct settings_flag *flags) {
    struct settings settings;
    struct error err;
    settings_init(&settings);
    enum log_level level = LOG_INFO;
    int status = EXIT_DONE;
    if (!settings_load(&settings, config, flags, setting_count, &err)) {
        status = cli_fail(&command_serve, &err);
    } else if (!log_level_parse(settings.log_level, &level)) {
        error_set(&err, ERROR_USAGE, "log-level: '%s' is not debug, info, warning or error",
                  settings.log_level);
        status = cli_fail(&command_serve, &err);
    } else {
        log_set_level(level);
        if (!daemon_run(&settings, &err)) {
            status = cli_fail(&command_serve, &err);
        }
    }
    settings_fini(&settings);
    return status;
}

static int run(int argument_count, char **arguments) {
    struct settings_flag flags[ROW_MAXIMUM] = {{0}};
    char names[ROW_MAXIMUM][NAME_BYTES];
    struct option_row rows[ROW_MAXIMUM];
    const char *config = NULL;
    ASSERT(setting_count + 1 <= ROW_MAXIMUM);
    for (size_t i = 0; i < setting_count; i++) {
        snprintf(names[i], sizeof names[i], "--%s", setting_rows[i].key);
        flags[i].key = setting_rows[i].key;
        rows[i] = (struct option_row){.name = names[i], .out_value = &flags[i].value};
    }
    rows[setting_count] = (struct option_row){.name = "--config", .out_value = &config};

    struct error err;
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_serve, argument_count, arguments, rows, setting_count + 1,
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_serve, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count > 0) {
        error_set(&err, ERROR_USAGE, "unexpected argument '%s'", arguments[1]);
        return cli_fail(&command_serve, &err);
    }
    return serve(config, flags);
}

const struct command command_serve = {
    .name = "serve",
    .summary = "run the service",
    .print_help = print_help,
    .run = run,
};
