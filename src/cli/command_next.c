/* `orrery next`: when a schedule is due. Needs no server. */
#include "cli/cli.h"
#include "clock/clock.h"
#include "cron/cron.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_TIMES = 1000000,
    MOST_WARNINGS = 8,
    WORDS_BYTES = 8192,
};

#define WARNED_SECONDS (INT64_C(366) * 86400)

static const char help[] =
    "usage: orrery next EXPR [--tz ZONE] [--from TIME] [-n COUNT] [--explain]\n"
    "                   [--dst-missing shift|skip] [--dst-repeated first|last|both] [--seed TEXT]\n"
    "\n"
    "Prints when a cron expression is due, one RFC 3339 time with the zone's offset a line.\n"
    "\n"
    "  EXPR             five fields (minute hour day month weekday), six (seconds first) or seven\n"
    "                   (year last); a nickname such as @daily; '@every 90s'; '@at "
    "2027-01-01T09:00:00'\n"
    "  --tz ZONE        an IANA time zone, default UTC\n"
    "  --from TIME      RFC 3339; times strictly after it are printed, default now\n"
    "  -n COUNT         how many, default 1\n"
    "  --explain        first the schedule in words and what daylight saving does to it within a "
    "year\n"
    "                   (on a terminal the words are shown anyway, on standard error)\n"
    "  --dst-missing    a local time that does not exist: due after the gap (shift) or not (skip)\n"
    "  --dst-repeated   a local time that comes twice: due the first time, the last, or both\n"
    "  --seed TEXT      what H is drawn from: the id of a run\n"
    "\n"
    "Exit status: 0 done, 1 the expression or zone is invalid, 2 usage, 3 the expression never "
    "fires.\n"
    "\n"
    "Example:\n"
    "  orrery next '30 2 * * SUN' --tz Europe/Berlin --from 2027-03-20T00:00:00Z -n 3\n";

struct request {
    struct cron cron;
    const struct zone *zone;
    struct wall_time from;
    uint32_t count;
    bool explain;
};

static bool read_count(const char *text, uint32_t *out, struct error *err) {
    uint32_t value = 0;
    const char *at = text;
    while (*at >= '0' && *at <= '9' && value <= MOST_TIMES) {
        value = value * 10 + (uint32_t)(*at++ - '0');
    }
    if (at == text || *at != '\0' || value == 0 || value > MOST_TIMES) {
        return error_set(err, ERROR_USAGE, "-n: expected a number from 1 to %d", MOST_TIMES);
    }
    *out = value;
    return true;
}

/* An option's own mistake is one of usage. */
static bool as_usage(const char *option, struct error *err) {
    err->kind = ERROR_USAGE;
    return error_prefix(err, "%s", option);
}

static bool read_request(int argument_count, char **arguments, struct request *out,
                         bool *out_help_shown, struct error *err) {
    const char *zone = "UTC", *from = NULL, *count = "1", *seed = "";
    const char *missing = "shift", *repeated = "first";
    const struct option_row rows[] = {
        {"--tz", &zone, NULL},
        {"--from", &from, NULL},
        {"-n", &count, NULL},
        {"--explain", NULL, &out->explain},
        {"--dst-missing", &missing, NULL},
        {"--dst-repeated", &repeated, NULL},
        {"--seed", &seed, NULL},
    };
    int operands;
    if (!cli_read_options(&command_next, argument_count, arguments, rows, COUNT_OF(rows), &operands,
                          out_help_shown, err)) {
        return false;
    }
    if (*out_help_shown) {
        return true;
    }
    if (operands != 1) {
        return error_set(err, ERROR_USAGE,
                         operands == 0 ? "an expression is missing"
                                       : "expected one expression: put it in quotes");
    }
    struct cron_options options = {.hash_seed = cron_hash(seed, strlen(seed))};
    out->from = clock_wall_now(clock_system());
    if (!read_count(count, &out->count, err)) {
        return false;
    }
    if (from != NULL && !wall_time_parse(from, &out->from, err)) {
        return as_usage("--from", err);
    }
    if (!dst_missing_parse(missing, &options.dst_missing, err)) {
        return as_usage("--dst-missing", err);
    }
    if (!dst_repeated_parse(repeated, &options.dst_repeated, err)) {
        return as_usage("--dst-repeated", err);
    }
    return cron_parse(arguments[1], &options, &out->cron, err) && zone_open(zone, &out->zone, err);
}

/* The schedule in words, and a line for each change of the clock that concerns it within a year. */
static void explain(const struct request *request, FILE *out) {
    struct cron_shift shifts[MOST_WARNINGS];
    struct wall_time until = {request->from.us + WARNED_SECONDS * US_PER_SECOND};
    size_t count =
        cron_shifts(&request->cron, request->zone, request->from, until, shifts, COUNT_OF(shifts));
    struct text words;
    text_init(&words, WORDS_BYTES);
    cron_describe(&request->cron, &words);
    text_printf(&words, " (%s, tzdata %s)\n", zone_name(request->zone), zone_database_version());
    for (size_t i = 0; i < MIN_OF(count, COUNT_OF(shifts)); i++) {
        text_append(&words, "note: ");
        cron_shift_describe(&shifts[i], &words);
        text_append(&words, "\n");
    }
    if (count > COUNT_OF(shifts)) {
        text_printf(&words, "note: and %zu more such changes\n", count - COUNT_OF(shifts));
    }
    fputs(text_string(&words), out);
    text_fini(&words);
}

static int print_times(const struct request *request) {
    struct wall_time slot = request->from;
    for (uint32_t i = 0; i < request->count; i++) {
        struct error err;
        if (!cron_next(&request->cron, request->zone, slot, &slot, &err)) {
            return i == 0 ? cli_fail(&command_next, &err) : EXIT_DONE;
        }
        char line[RFC3339_BYTES];
        wall_time_format_offset(slot, zone_offset_at(request->zone, slot), line);
        puts(line);
    }
    return EXIT_DONE;
}

static int run(int argument_count, char **arguments) {
    struct request request = {0};
    struct error err;
    bool help_shown = false;
    int status = EXIT_DONE;
    if (!read_request(argument_count, arguments, &request, &help_shown, &err)) {
        status = cli_fail(&command_next, &err);
    } else if (!help_shown) {
        if (request.explain || isatty(STDERR_FILENO)) {
            explain(&request, request.explain ? stdout : stderr);
        }
        status = print_times(&request);
    }
    zone_unref(request.zone);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("orrery next");
        return EXIT_FAILED;
    }
    return status;
}

const struct command command_next = {
    .name = "next",
    .summary = "when a schedule is due: orrery next '0 2 * * *' --tz Europe/Berlin -n 3",
    .help = help,
    .run = run,
};
