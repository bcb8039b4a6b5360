/* The command line: a table of commands, one file per command (command_<name>.c).
 *
 * A command gets its own arguments (arguments[0] is its name), prints results to standard output and
 * complaints to standard error, and returns the exit status: 0 done, 1 failed, 2 usage, or what the
 * error's kind says (base/error.h). Every command answers --help with a text that has an example. */
#ifndef ORRERY_CLI_CLI_H
#define ORRERY_CLI_CLI_H

#include "base/error.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;
    const char *summary;      /* one line for `orrery --help`; NULL: not shown there */
    const char *help;         /* the whole answer to --help, ending with an example; NULL: … */
    void (*print_help)(void); /* … prints it to standard output */
    int (*run)(int argument_count, char **arguments);
};

extern const struct command command_serve;
extern const struct command command_next;
extern const struct command command_backup;
extern const struct command command_restore;
extern const struct command command_key;
extern const struct command command_doctor;
extern const struct command command_explain;
extern const struct command command_launch;
extern const struct command command_worker;

/* Finds and runs the command; answers --help and --version. Returns the exit status. */
int cli_main(int argument_count, char **arguments);

/* Prints "orrery COMMAND: message" and a hint to standard error, and returns the kind's exit status. */
int cli_fail(const struct command *command, const struct error *err);

/* The store that a command uses where --db does not name one, and the line of help that says so. */
const char *cli_default_db(void);
#define CLI_DB_HELP "  --db FILE     the store; default $ORRERY_DB, else orrery.db\n"

/* Fails where there is no store, naming what to do: for commands that must not make one. */
MUST_CHECK bool cli_check_db(const char *db, struct error *err);

/* How far the copying of a store has come, on standard error if that is a terminal (store.h). */
void cli_show_copying(uint64_t done_pages, uint64_t all_pages);

/* One option of a command: "--tz Europe/Berlin" or "--tz=Europe/Berlin", or a flag without a value. */
struct option_row {
    const char *name;       /* "--tz" */
    const char **out_value; /* for an option with a value, else NULL */
    bool *out_flag;         /* for a flag, else NULL */
};

/* Reads options anywhere among the arguments and moves the operands to the front of
 * arguments[1…]; "--" ends the options. `out_operand_count` is their number. An unknown option or a
 * missing value fails with ERROR_USAGE. --help prints the command's help and sets `out_help_shown`. */
MUST_CHECK bool cli_read_options(const struct command *command, int argument_count,
                                 char **arguments, const struct option_row *rows, size_t row_count,
                                 int *out_operand_count, bool *out_help_shown, struct error *err);

#endif
