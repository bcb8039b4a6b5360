/* `orrery key`: makes, lists and revokes API keys, in the store itself; works beside a running daemon, which
 * sees the change with the next request. */
#include "auth/auth.h"
#include "base/text.h"
#include "cli/cli.h"
#include "clock/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT_BYTES_MAXIMUM = 64 << 20 };

static const struct command create_command = {
    .name = "key create",
    .help = "usage: orrery key create --owner NAME [--admin] [--db FILE]\n"
            "\n"
            "Makes an API key and prints it, alone, on standard output. It is shown this once: the "
            "store\n"
            "keeps only a hash of it.\n"
            "\n"
            "  --owner NAME  whom it stands for; owners see only what is theirs\n"
            "  --admin       it may see and change what belongs to any owner\n" CLI_DB_HELP "\n"
            "Example:\n"
            "  KEY=$(orrery key create --owner alice --db data/orrery.db)\n",
};

static const struct command list_command = {
    .name = "key list",
    .help = "usage: orrery key list [--json] [--db FILE]\n"
            "\n"
            "Lists all API keys by their ids, oldest first. The keys themselves are known to "
            "nobody but\n"
            "those who hold them.\n"
            "\n"
            "  --json        a JSON array instead of a table\n" CLI_DB_HELP "\n"
            "Example:\n"
            "  orrery key list --db data/orrery.db\n",
};

static const struct command revoke_command = {
    .name = "key revoke",
    .help = "usage: orrery key revoke ID [--db FILE]\n"
            "\n"
            "Revokes the API key with this id (the 16 digits after \"ork_\", as `orrery key list` "
            "shows\n"
            "them), at once and for good. Its owner's scheduled runs go on.\n"
            "\n" CLI_DB_HELP "\n"
            "Example:\n"
            "  orrery key revoke 9f86d081884c7d65 --db data/orrery.db\n",
};

/* --- the store ----------------------------------------------------------------------------------- */

/* A listing must not make a store where there is none. */
static bool open_existing(const char *db, struct store **out_store, struct error *err) {
    return cli_check_db(db, err) &&
           store_open(&(struct store_options){.location = db}, out_store, err);
}

static bool write_key(struct store *store, enum store_write_kind kind, const struct api_key *key,
                      struct error *err) {
    struct store_write write = {.kind = kind, .api_key = key};
    if (!store_start(store, err)) {
        return false;
    }
    bool ok = store_submit_and_wait(store, &write, err);
    store_stop(store);
    return ok;
}

/* --- create -------------------------------------------------------------------------------------- */

static bool print_secret(const char *text, struct error *err) {
    if (puts(text) < 0 || fflush(stdout) != 0) {
        return error_set(err, ERROR_IO, "the key could not be printed and is lost; revoke it");
    }
    return true;
}

static bool create_key(const char *db, const char *owner, bool admin, struct error *err) {
    struct store *store = NULL;
    if (!owner_check(owner, err) ||
        !store_open(&(struct store_options){.location = db}, &store, err)) {
        return false;
    }
    char text[API_KEY_TEXT_BYTES];
    struct api_key key;
    api_key_generate(owner, admin, clock_wall_now(clock_system()), text, &key);
    bool ok = write_key(store, STORE_CREATE_API_KEY, &key, err) && print_secret(text, err);
    api_key_wipe(text);
    store_close(store);
    return ok;
}

static int run_create(int argument_count, char **arguments) {
    const char *owner = NULL;
    const char *db = cli_default_db();
    bool admin = false;
    const struct option_row rows[] = {
        {"--owner", &owner, NULL}, {"--admin", NULL, &admin}, {"--db", &db, NULL}};
    int operand_count;
    bool help_shown;
    struct error err;
    if (!cli_read_options(&create_command, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&create_command, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count > 0) {
        error_set(&err, ERROR_USAGE, "unexpected '%s'", arguments[1]);
        return cli_fail(&create_command, &err);
    }
    if (owner == NULL) {
        error_set(&err, ERROR_USAGE, "--owner is needed: whom the key stands for");
        return cli_fail(&create_command, &err);
    }
    return create_key(db, owner, admin, &err) ? EXIT_DONE : cli_fail(&create_command, &err);
}

/* --- list ---------------------------------------------------------------------------------------- */

static void append_json_time(struct text *out, struct wall_time time) {
    char text[RFC3339_BYTES];
    if (wall_time_is_none(time)) {
        text_append(out, "null");
        return;
    }
    wall_time_format(time, text);
    text_append_json_string(out, text);
}

static void append_json(struct text *out, const struct api_key *keys, size_t count) {
    text_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(out, i == 0 ? "\n  {\"id\": " : ",\n  {\"id\": ");
        text_append_json_string(out, keys[i].id);
        text_append(out, ", \"owner\": ");
        text_append_json_string(out, keys[i].owner);
        text_printf(out, ", \"admin\": %s, \"created_at\": ", keys[i].admin ? "true" : "false");
        append_json_time(out, keys[i].created_at);
        text_append(out, ", \"revoked_at\": ");
        append_json_time(out, keys[i].revoked_at);
        text_append_char(out, '}');
    }
    text_append(out, count == 0 ? "]\n" : "\n]\n");
}

/* How many places the text takes: its characters, taken as one place each. */
static int width_of(const char *text) {
    int width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

/* To the second, as people read it. */
static void append_table_time(struct text *out, struct wall_time time) {
    char text[RFC3339_BYTES];
    if (wall_time_is_none(time)) {
        text_printf(out, "%-20s", "-");
        return;
    }
    wall_time_format(time, text);
    text_printf(out, "%.19sZ", text);
}

static void append_table(struct text *out, const struct api_key *keys, size_t count) {
    int owner_width = 5;
    for (size_t i = 0; i < count; i++) {
        owner_width = MAX_OF(owner_width, width_of(keys[i].owner));
    }
    text_printf(out, "%-16s  %-*s  %-5s  %-20s  %s\n", "ID", owner_width, "OWNER", "ADMIN",
                "CREATED", "REVOKED");
    for (size_t i = 0; i < count; i++) {
        text_printf(out, "%-16s  %s%*s  %-5s  ", keys[i].id, keys[i].owner,
                    owner_width - width_of(keys[i].owner), "", keys[i].admin ? "yes" : "no");
        append_table_time(out, keys[i].created_at);
        text_append(out, "  ");
        if (wall_time_is_none(keys[i].revoked_at)) {
            text_append_char(out, '-');
        } else {
            append_table_time(out, keys[i].revoked_at);
        }
        text_append_char(out, '\n');
    }
}

static bool list_keys(const char *db, bool json, struct error *err) {
    struct store *store = NULL;
    if (!open_existing(db, &store, err)) {
        return false;
    }
    struct arena arena = {0};
    struct store_reader *reader = NULL;
    struct api_key *keys;
    size_t count;
    bool ok = store_reader_open(store, &reader, err) &&
              store_list_api_keys(reader, &arena, &keys, &count, err);
    if (ok) {
        struct text out;
        text_init(&out, OUTPUT_BYTES_MAXIMUM);
        if (json) {
            append_json(&out, keys, count);
        } else if (count == 0) {
            fputs("no API keys yet; `orrery key create --owner NAME` makes one\n", stderr);
        } else {
            append_table(&out, keys, count);
        }
        ok = text_ok(&out) ? fputs(text_string(&out), stdout) >= 0 && fflush(stdout) == 0 : false;
        if (!ok) {
            error_set(err, ERROR_IO, "the list could not be printed");
        }
        text_fini(&out);
    }
    store_reader_close(reader);
    arena_fini(&arena);
    store_close(store);
    return ok;
}

static int run_list(int argument_count, char **arguments) {
    const char *db = cli_default_db();
    bool json = false;
    const struct option_row rows[] = {{"--db", &db, NULL}, {"--json", NULL, &json}};
    int operand_count;
    bool help_shown;
    struct error err;
    if (!cli_read_options(&list_command, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&list_command, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count > 0) {
        error_set(&err, ERROR_USAGE, "unexpected '%s'", arguments[1]);
        return cli_fail(&list_command, &err);
    }
    return list_keys(db, json, &err) ? EXIT_DONE : cli_fail(&list_command, &err);
}

/* --- revoke -------------------------------------------------------------------------------------- */

static bool revoke_key(const char *db, const char *id, struct error *err) {
    struct api_key key = {.revoked_at = clock_wall_now(clock_system())};
    if (strlen(id) != sizeof key.id - 1) {
        return error_set(err, ERROR_USAGE, "an id has 16 hex digits; `orrery key list` shows them");
    }
    memcpy(key.id, id, sizeof key.id);
    struct store *store = NULL;
    if (!open_existing(db, &store, err)) {
        return false;
    }
    bool ok = write_key(store, STORE_REVOKE_API_KEY, &key, err);
    if (!ok && err->kind == ERROR_NOT_FOUND) {
        error_set(err, ERROR_NOT_FOUND,
                  "there is no API key %s in %s; `orrery key list` shows them", id, db);
    }
    store_close(store);
    return ok;
}

static int run_revoke(int argument_count, char **arguments) {
    const char *db = cli_default_db();
    const struct option_row rows[] = {{"--db", &db, NULL}};
    int operand_count;
    bool help_shown;
    struct error err;
    if (!cli_read_options(&revoke_command, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&revoke_command, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count != 1) {
        error_set(&err, ERROR_USAGE,
                  operand_count == 0 ? "which key? an ID is needed" : "one ID at a time");
        return cli_fail(&revoke_command, &err);
    }
    return revoke_key(db, arguments[1], &err) ? EXIT_DONE : cli_fail(&revoke_command, &err);
}

/* --- which --------------------------------------------------------------------------------------- */

static int run(int argument_count, char **arguments) {
    const struct {
        const char *name;
        int (*run)(int argument_count, char **arguments);
    } actions[] = {{"create", run_create}, {"list", run_list}, {"revoke", run_revoke}};
    struct error err;
    if (argument_count < 2) {
        error_set(&err, ERROR_USAGE, "create, list or revoke?");
        return cli_fail(&command_key, &err);
    }
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (strcmp(arguments[1], actions[i].name) == 0) {
            return actions[i].run(argument_count - 1, arguments + 1);
        }
    }
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_key, argument_count, arguments, NULL, 0, &operand_count,
                          &help_shown, &err)) {
        return cli_fail(&command_key, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    error_set(&err, ERROR_USAGE, "unknown action '%s': create, list or revoke", arguments[1]);
    return cli_fail(&command_key, &err);
}

const struct command command_key = {
    .name = "key",
    .summary = "make, list and revoke API keys",
    .help = "usage: orrery key create --owner NAME [--admin] [--db FILE]\n"
            "       orrery key list [--json] [--db FILE]\n"
            "       orrery key revoke ID [--db FILE]\n"
            "\n"
            "Makes, lists and revokes API keys, also beside a running daemon.\n"
            "`orrery key ACTION --help` tells more.\n"
            "\n"
            "Example:\n"
            "  orrery key create --owner alice --db data/orrery.db\n",
    .run = run,
};
