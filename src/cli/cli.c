#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_serve,   &command_next,   &command_key,    &command_explain, &command_backup,
    &command_restore, &command_doctor, &command_worker, &command_launch,
};

static void print_help(FILE *out) {
    fputs("orrery runs trained models by the clock and keeps the record of every run.\n\n"
          "usage: orrery COMMAND [OPTIONS]\n\n",
          out);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (commands[i]->summary != NULL) {
            fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
        }
    }
    fputs("\n`orrery COMMAND --help` tells more. Example:\n"
          "  orrery next '0 2 * * *' --tz Europe/Berlin -n 3\n",
          out);
}

int cli_main(int argument_count, char **arguments) {
    if (argument_count < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        puts("orrery " ORRERY_VERSION);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i]->run(argument_count - 1, arguments + 1);
        }
    }
    fprintf(stderr, "orrery: unknown command '%s'; `orrery --help` lists the commands\n", name);
    return EXIT_USAGE;
}

int cli_fail(const struct command *command, const struct error *err) {
    fprintf(stderr, "orrery %s: %s\n", command->name, err->message);
    if (err->kind == ERROR_USAGE) {
        fprintf(stderr, "try `orrery %s --help`\n", command->name);
    }
    return error_kind_exit_status(err->kind);
}

const char *cli_default_db(void) {
    const char *db = getenv("ORRERY_DB"); // NOLINT(concurrency-mt-unsafe)
    return db == NULL || *db == '\0' ? "orrery.db" : db;
}

bool cli_check_db(const char *db, struct error *err) {
    bool is_file = strstr(db, "://") == NULL && strcmp(db, ":memory:") != 0;
    return !is_file || access(db, F_OK) == 0 ||
           error_set(err, ERROR_STORE,
                     "there is no store at %s; name the one that `orrery serve` uses with --db",
                     db);
}

void cli_show_copying(uint64_t done_pages, uint64_t all_pages) {
    static uint64_t shown_percent = UINT64_MAX;
    uint64_t percent = all_pages == 0 ? 100 : done_pages * 100 / all_pages;
    if (percent == shown_percent || isatty(STDERR_FILENO) == 0) {
        return;
    }
    shown_percent = percent;
    fprintf(stderr, "\rcopying: %3llu %%%s", (unsigned long long)percent,
            percent == 100 ? ", checking the copy …\n" : "");
}

static const struct option_row *find_option(const struct option_row *rows, size_t row_count,
                                            const char *argument, size_t name_bytes) {
    for (size_t i = 0; i < row_count; i++) {
        if (strlen(rows[i].name) == name_bytes && memcmp(rows[i].name, argument, name_bytes) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Reads the option at arguments[index] and returns how many arguments it took, or 0 with the error. */
static int read_option(int argument_count, char **arguments, int index,
                       const struct option_row *rows, size_t row_count, struct error *err) {
    char *argument = arguments[index];
    const char *equals = strncmp(argument, "--", 2) == 0 ? strchr(argument, '=') : NULL;
    size_t name_bytes = equals == NULL ? strlen(argument) : (size_t)(equals - argument);
    const struct option_row *row = find_option(rows, row_count, argument, name_bytes);
    if (row == NULL) {
        error_set(err, ERROR_USAGE, "unknown option '%.*s'", (int)name_bytes, argument);
        return 0;
    }
    if (row->out_flag != NULL) {
        if (equals != NULL) {
            error_set(err, ERROR_USAGE, "%s takes no value", row->name);
            return 0;
        }
        *row->out_flag = true;
        return 1;
    }
    if (equals != NULL) {
        *row->out_value = equals + 1;
        return 1;
    }
    if (index + 1 >= argument_count) {
        error_set(err, ERROR_USAGE, "%s needs a value", row->name);
        return 0;
    }
    *row->out_value = arguments[index + 1];
    return 2;
}

bool cli_read_options(const struct command *command, int argument_count, char **arguments,
                      const struct option_row *rows, size_t row_count, int *out_operand_count,
                      bool *out_help_shown, struct error *err) {
    int operand_count = 0;
    bool options_ended = false;
    *out_help_shown = false;
    for (int i = 1; i < argument_count;) {
        char *argument = arguments[i];
        if (options_ended || argument[0] != '-' || argument[1] == '\0') {
            arguments[++operand_count] = argument;
            i++;
        } else if (strcmp(argument, "--") == 0) {
            options_ended = true;
            i++;
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            if (command->help == NULL) {
                command->print_help();
            } else {
                fputs(command->help, stdout);
            }
            *out_help_shown = true;
            return true;
        } else {
            int taken = read_option(argument_count, arguments, i, rows, row_count, err);
            if (taken == 0) {
                return false;
            }
            i += taken;
        }
    }
    *out_operand_count = operand_count;
    return true;
}
