/* `orrery backup`: a copy of the store as of one moment, also while the service runs. */
#include "cli/cli.h"
#include "store/store.h"

#include <stdio.h>

static int run(int argument_count, char **arguments) {
    const char *db = cli_default_db();
    const struct option_row rows[] = {{"--db", &db, NULL}};
    int operand_count;
    bool help_shown;
    struct error err;
    if (!cli_read_options(&command_backup, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_backup, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count != 1) {
        error_set(&err, ERROR_USAGE,
                  operand_count == 0 ? "FILE is needed: where the backup goes"
                                     : "there is one FILE only");
        return cli_fail(&command_backup, &err);
    }
    const char *file = arguments[1];
    if (!cli_check_db(db, &err) || !store_backup(db, file, cli_show_copying, &err)) {
        return cli_fail(&command_backup, &err);
    }
    printf("%s is a backup of %s; `orrery restore %s` brings it back\n", file, db, file);
    return EXIT_DONE;
}

const struct command command_backup = {
    .name = "backup",
    .summary = "copy the store, while it is in use",
    .help = "usage: orrery backup FILE [--db FILE]\n"
            "\n"
            "Copies the store to FILE, as it is at one moment, also while the service runs and "
            "writes. The\n"
            "copy is checked page by page; if anything fails there is no FILE. It is one SQLite "
            "file,\n"
            "readable for its owner only. A FILE that exists is left alone.\n"
            "\n" CLI_DB_HELP "\n"
            "Example:\n"
            "  orrery backup /var/backups/orrery-$(date +%F).db --db data/orrery.db\n",
    .run = run,
};
