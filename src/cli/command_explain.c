#include "cli/cli.h"
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <yyjson.h>

enum { ANSWER_BYTES_MAXIMUM = 16 << 20 };

static bool print_sentences(const struct text *answer, struct error *err) {
    yyjson_doc *document = yyjson_read(text_string(answer), answer->size_bytes, 0);
    yyjson_val *root = yyjson_doc_get_root(document);
    yyjson_val *sentences = yyjson_obj_get(root, "explanation");
    const char *at = yyjson_get_str(yyjson_obj_get(root, "at"));
    if (at == NULL || !yyjson_is_arr(sentences)) {
        yyjson_doc_free(document);
        return error_set(err, ERROR_IO, "the server's answer is not what was expected");
    }
    printf("%s (%s): %s\n", at, yyjson_get_str(yyjson_obj_get(root, "local_time")),
           yyjson_get_bool(yyjson_obj_get(root, "is_slot")) ? "a slot" : "no slot");
    size_t index;
    size_t count;
    yyjson_val *sentence;
    yyjson_arr_foreach(sentences, index, count, sentence) {
        printf("  %s.\n", yyjson_get_str(sentence));
    }
    printf("  Time zone data: tzdata %s.\n",
           yyjson_get_str(yyjson_obj_get(root, "tzdata_version")));
    yyjson_doc_free(document);
    return true;
}

static int explain(const struct client_options *options, const char *run_id, const char *at,
                   bool json) {
    struct text path;
    struct text answer;
    struct error err;
    text_init(&path, 4096);
    text_init(&answer, ANSWER_BYTES_MAXIMUM);
    text_append(&path, "/api/scheduled/");
    client_escape(run_id, &path);
    text_append(&path, "/explain?at=");
    client_escape(at, &path);
    bool ok = client_get(options, text_string(&path), &answer, &err);
    if (ok && json) {
        puts(text_string(&answer));
    } else if (ok) {
        ok = print_sentences(&answer, &err);
    }
    text_fini(&path);
    text_fini(&answer);
    return ok ? EXIT_DONE : cli_fail(&command_explain, &err);
}

static int run(int argument_count, char **arguments) {
    struct client_options options = {0};
    const char *at = NULL;
    bool json = false;
    const struct option_row rows[] = {
        {.name = "--at", .out_value = &at},
        {.name = "--server", .out_value = &options.server},
        {.name = "--key", .out_value = &options.key},
        {.name = "--json", .out_flag = &json},
    };
    struct error err;
    int operand_count;
    bool help_shown;
    if (!cli_read_options(&command_explain, argument_count, arguments, rows, COUNT_OF(rows),
                          &operand_count, &help_shown, &err)) {
        return cli_fail(&command_explain, &err);
    }
    if (help_shown) {
        return EXIT_DONE;
    }
    if (operand_count != 1 || at == NULL) {
        error_set(&err, ERROR_USAGE, "expected a run's id and --at TIME");
        return cli_fail(&command_explain, &err);
    }
    return explain(&options, arguments[1], at, json);
}

const struct command command_explain = {
    .name = "explain",
    .summary = "why an instant is a slot of a run, or is not, and what became of it",
    .help =
        "Says how the expression, the zone, daylight saving, bounds, jitter, pauses and overlap "
        "decided\n"
        "about one instant of a run. Asks a running orrery.\n\n"
        "usage: orrery explain RUN_ID --at TIME [OPTIONS]\n\n"
        "  --at TIME      an instant, as RFC 3339\n"
        "  --server URL   [ORRERY_URL, else http://127.0.0.1:8080]\n"
        "  --key KEY      [ORRERY_API_KEY]\n"
        "  --json         the server's answer as it is\n\n"
        "Example:\n"
        "  orrery explain 0193a2b4-7c1e-7000-8001-7716fe920a29 --at 2027-03-28T03:00:00+02:00\n",
    .run = run,
};
