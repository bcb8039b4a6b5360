/* `orrery restore`: puts a backup in the store's place. Where a daemon has the store, it is asked (SIGHUP) to begin
 * anew, and does the putting itself when it opens the store again: so the store never changes under it. */
#include "cli/cli.h"
#include "clock/time.h"
#include "store/store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_EVERY_MS = 50 };

static void show_waiting(int64_t pid, int64_t waited_ms) {
    if (isatty(STDERR_FILENO) != 0 && waited_ms % 1000 == 0) {
        fprintf(stderr,
                "\rwaiting for the daemon (process id %lld) to finish what runs and begin anew: "
                "%lld s ",
                (long long)pid, (long long)waited_ms / 1000);
    }
}

static void end_waiting_line(void) {
    if (isatty(STDERR_FILENO) != 0) {
        fputc('\n', stderr);
    }
}

/* The daemon that was asked is gone, and has not taken the backup. */
static bool finish_for_it(const char *db, int64_t pid, struct error *err) {
    if (!store_finish_restore(db, err)) {
        return false;
    }
    printf("the daemon (process id %lld) has ended meanwhile; start it again\n", (long long)pid);
    return true;
}

/* Until the daemon has taken what is staged. It keeps its process id, and for a moment has no store. */
static bool wait_for_daemon(const char *db, int64_t pid, struct duration limit, struct error *err) {
    for (int64_t waited_ms = 0; waited_ms * 1000 < limit.us; waited_ms += LOOK_EVERY_MS) {
        int64_t holder = 0;
        struct error ignored;
        show_waiting(pid, waited_ms);
        bool known = store_find_daemon(db, &holder, &ignored);
        bool staged = store_restore_is_staged(db);
        bool gone = kill((pid_t)pid, 0) != 0 && errno == ESRCH;
        if (!staged && known && holder != 0) {
            end_waiting_line();
            return true;
        }
        if (gone) {
            end_waiting_line();
            return staged ? finish_for_it(db, pid, err)
                          : error_set(err, ERROR_UNAVAILABLE,
                                      "the backup is in place, but the daemon has ended; its log "
                                      "says why");
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
    }
    end_waiting_line();
    return error_set(err, ERROR_UNAVAILABLE,
                     "the daemon (process id %lld) has not begun anew yet; it takes the backup as "
                     "soon as it does, unless you remove %s.restore",
                     (long long)pid, db);
}

static bool ask_daemon(const char *db, int64_t pid, struct duration limit, struct error *err) {
    if (kill((pid_t)pid, SIGHUP) != 0 && errno != ESRCH) {
        return error_set_errno(err, ERROR_FORBIDDEN, errno,
                               "the backup is laid ready, but the daemon (process id %lld) cannot "
                               "be asked to take it: restart it, or remove %s.restore",
                               (long long)pid, db);
    }
    return wait_for_daemon(db, pid, limit, err);
}

static bool restore(const char *db, const char *file, struct duration limit, struct error *err) {
    int64_t pid = 0;
    if (!store_stage_restore(db, file, cli_show_copying, err)) {
        return false;
    }
    if (!store_find_daemon(db, &pid, err)) {
        return error_prefix(err,
                            "the backup is laid ready, and taken when the daemon starts anew; "
                            "restart it, or remove %s.restore",
                            db);
    }
    return pid == 0 ? store_finish_restore(db, err) : ask_daemon(db, pid, limit, err);
}

static int run(int argument_count, char **arguments) {
    const char *db = cli_default_db();
    const char *timeout = "5m";
    const struct option_row rows[] = {{"--db", &db, NULL}, {"--timeout", &timeout, NULL}};
    struct duration limit;
    int operand_count;
    bool help_shown;
    struct error err;
    if (!cli_read_options(&command_restore, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_restore, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count != 1) {
        error_set(&err, ERROR_USAGE,
                  operand_count == 0 ? "FILE is needed: the backup" : "there is one FILE only");
        return cli_fail(&command_restore, &err);
    }
    if (!duration_parse(timeout, &limit, &err)) {
        error_set(&err, ERROR_USAGE, "--timeout: '%s' is not a duration such as 5m", timeout);
        return cli_fail(&command_restore, &err);
    }
    const char *file = arguments[1];
    bool had_store = access(db, F_OK) == 0;
    if (!restore(db, file, limit, &err)) {
        return cli_fail(&command_restore, &err);
    }
    printf("%s is restored from %s", db, file);
    if (had_store) {
        printf("; what it was before is %s.before-restore", db);
    }
    putchar('\n');
    return EXIT_DONE;
}

const struct command command_restore = {
    .name = "restore",
    .summary = "put a backup in the store's place",
    .help = "usage: orrery restore FILE [--db FILE] [--timeout DURATION]\n"
            "\n"
            "Puts the backup FILE in the place of the store, as of the moment of the backup. FILE "
            "is checked\n"
            "first and copied; if it is damaged, no store of orrery's, or of a newer orrery, "
            "nothing changes.\n"
            "The store that was there is kept, with .before-restore after its name.\n"
            "\n"
            "The service may be running: it finishes what runs, as on SIGTERM, and begins anew "
            "with the\n"
            "restored store, in the same process; this waits for it.\n"
            "\n" CLI_DB_HELP "  --timeout DURATION\n"
            "                how long to wait for the service, default 5m\n"
            "\n"
            "Example:\n"
            "  orrery restore /var/backups/orrery-2027-01-31.db --db data/orrery.db\n",
    .run = run,
};
