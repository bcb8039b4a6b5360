/* GET /api/schedule/preview: when would it be due, in words, and what daylight saving does to it. */
#include "api/answer.h"
#include "api/call.h"
#include "api/encode.h"
#include "api/query.h"
#include "clock/zone.h"
#include "cron/cron.h"

enum {
    COUNT_DEFAULT = 5,
    COUNT_MAXIMUM = 1000,
    WARNINGS_MAXIMUM = 10,
    SENTENCE_BYTES_MAXIMUM = 64 * 1024,
    WATCHED_DAYS = 366, /* warnings look so far ahead, or as far as the last fire time shown */
};

enum { QUERY_SCHEDULE, QUERY_TIMEZONE, QUERY_FROM, QUERY_N, QUERY_PARAMETERS };

struct preview {
    struct cron cron;
    const struct zone *zone; /* one reference */
    struct wall_time from;
    uint64_t count;
};

static bool read_preview(struct call *call, struct query_parameter *query, struct preview *out,
                         struct error *err) {
    struct preview preview = {0};
    if (!query_read(call->request, query, QUERY_PARAMETERS, err) ||
        !query_number(&query[QUERY_N], COUNT_DEFAULT, 1, COUNT_MAXIMUM, &preview.count, err) ||
        !query_time(&query[QUERY_FROM], call_arena(call), &preview.from, err)) {
        return false;
    }
    if (query[QUERY_SCHEDULE].value == NULL) {
        return error_set_field(err, ERROR_INVALID, "schedule", "schedule is required");
    }
    if (wall_time_is_none(preview.from)) {
        preview.from = call->now;
    }
    const char *zone_name = query[QUERY_TIMEZONE].value;
    if (!cron_parse(query[QUERY_SCHEDULE].value, NULL, &preview.cron, err) ||
        !zone_open(zone_name == NULL ? "UTC" : zone_name, &preview.zone, err)) {
        return false;
    }
    *out = preview;
    return true;
}

static void append_sentence(struct text *body, const struct text *sentence) {
    json_string(body, text_ok(sentence) ? text_string(sentence) : "");
}

/* The same instants as the wall clock of the zone shows them. */
static void append_local_times(struct text *body, const struct preview *preview) {
    struct wall_time at = preview->from;
    struct error ignored;
    text_append(body, ",\"local_times\":[");
    for (uint64_t i = 0; i < preview->count; i++) {
        if (!cron_next(&preview->cron, preview->zone, at, &at, &ignored)) {
            break;
        }
        char local[RFC3339_BYTES];
        wall_time_format_offset(at, zone_offset_at(preview->zone, at), local);
        text_append(body, i == 0 ? "" : ",");
        json_string(body, local);
    }
    text_append_char(body, ']');
}

static struct wall_time append_fire_times(struct text *body, const struct preview *preview) {
    struct wall_time at = preview->from;
    struct error ignored;
    text_append(body, ",\"fire_times\":[");
    for (uint64_t i = 0; i < preview->count; i++) {
        if (!cron_next(&preview->cron, preview->zone, at, &at, &ignored)) {
            break;
        }
        text_append(body, i == 0 ? "" : ",");
        json_time(body, at);
    }
    text_append_char(body, ']');
    return at;
}

static void append_warnings(struct text *body, const struct preview *preview,
                            struct wall_time last) {
    struct wall_time until = {preview->from.us + WATCHED_DAYS * (86400 * US_PER_SECOND)};
    until.us = MAX_OF(until.us, last.us);
    struct cron_shift shifts[WARNINGS_MAXIMUM];
    size_t count =
        cron_shifts(&preview->cron, preview->zone, preview->from, until, shifts, WARNINGS_MAXIMUM);
    text_append(body, ",\"warnings\":[");
    for (size_t i = 0; i < MIN_OF(count, (size_t)WARNINGS_MAXIMUM); i++) {
        struct text sentence;
        text_init(&sentence, SENTENCE_BYTES_MAXIMUM);
        cron_shift_describe(&shifts[i], &sentence);
        text_append(body, i == 0 ? "" : ",");
        append_sentence(body, &sentence);
        text_fini(&sentence);
    }
    text_append_char(body, ']');
}

bool schedule_preview(struct call *call, struct error *err) {
    struct query_parameter query[QUERY_PARAMETERS] = {
        {"schedule", NULL}, {"timezone", NULL}, {"from", NULL}, {"n", NULL}};
    struct preview preview;
    if (!read_preview(call, query, &preview, err)) {
        return false;
    }
    struct text sentence;
    text_init(&sentence, SENTENCE_BYTES_MAXIMUM);
    cron_describe(&preview.cron, &sentence);
    struct text body;
    answer_begin(&body, 512 + preview.count * 32);
    text_append(&body, "{\"schedule\":");
    json_string(&body, query[QUERY_SCHEDULE].value);
    text_append(&body, ",\"timezone\":");
    json_string(&body, zone_name(preview.zone));
    text_append(&body, ",\"description\":");
    append_sentence(&body, &sentence);
    struct wall_time last = append_fire_times(&body, &preview);
    append_local_times(&body, &preview);
    append_warnings(&body, &preview, last);
    text_append_char(&body, '}');
    text_fini(&sentence);
    zone_unref(preview.zone);
    answer_json(call->request, 200, &body);
    return true;
}
