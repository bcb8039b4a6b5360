#include "api/encode.h"

#include <string.h>

/* Where the next byte goes. Lists of a thousand runs are written with this: room is reserved once for an object, with
 * the worst that its strings can come to, and then nothing is checked any more. */
struct pen {
    char *at;
};

#define LITERAL(pen, literal) put_bytes((pen), (literal), sizeof(literal) - 1)

static inline void put_bytes(struct pen *pen, const void *bytes, size_t size_bytes) {
    memcpy(pen->at, bytes, size_bytes);
    pen->at += size_bytes;
}

static void put_text(struct pen *pen, const char *text) { put_bytes(pen, text, strlen(text)); }

/* A byte becomes six at most: \u0001. */
static size_t worst_bytes(const char *string) {
    return string == NULL ? 4 : strlen(string) * 6 + 2;
}

/* What is not plain ASCII goes the way that text_append_json_string knows. */
static void put_escaped(struct pen *pen, const char *string) {
    struct text escaped;
    text_init(&escaped, worst_bytes(string));
    text_append_json_string(&escaped, string);
    put_bytes(pen, text_string(&escaped), escaped.size_bytes);
    text_fini(&escaped);
}

static void put_string(struct pen *pen, const char *string) {
    if (string == NULL) {
        LITERAL(pen, "null");
        return;
    }
    char *start = pen->at;
    char *to = start;
    *to++ = '"';
    for (; *string != '\0'; string++) {
        unsigned char byte = (unsigned char)*string;
        if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') {
            put_escaped(pen, string - (to - start - 1));
            return;
        }
        *to++ = *string;
    }
    *to++ = '"';
    pen->at = to;
}

enum { TIME_BYTES = 29, ID_BYTES = UUID_TEXT_BYTES + 1, NUMBER_BYTES = 20 };

static void put_time(struct pen *pen, struct wall_time time) {
    if (wall_time_is_none(time)) {
        LITERAL(pen, "null");
        return;
    }
    char formatted[RFC3339_BYTES];
    wall_time_format(time, formatted);
    *pen->at++ = '"';
    put_text(pen, formatted);
    *pen->at++ = '"';
}

static void put_id(struct pen *pen, int64_t key, uint64_t store_tag) {
    *pen->at++ = '"';
    identity_format(key, store_tag, pen->at);
    pen->at += UUID_TEXT_BYTES - 1;
    *pen->at++ = '"';
}

static void put_number(struct pen *pen, int64_t number) {
    char digits[NUMBER_BYTES];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        digits[--at] = '-';
    }
    put_bytes(pen, digits + at, sizeof digits - at);
}

static void put_hex(struct pen *pen, const unsigned char *bytes, size_t size_bytes) {
    *pen->at++ = '"';
    for (size_t i = 0; i < size_bytes; i++) {
        *pen->at++ = "0123456789abcdef"[bytes[i] >> 4];
        *pen->at++ = "0123456789abcdef"[bytes[i] & 0xf];
    }
    *pen->at++ = '"';
}

static void put_duration(struct pen *pen, struct duration duration) {
    char formatted[DURATION_BYTES];
    duration_format(duration, formatted);
    *pen->at++ = '"';
    put_text(pen, formatted);
    *pen->at++ = '"';
}

/* Milliseconds with microseconds as the fraction: 3.214. */
static void put_milliseconds(struct pen *pen, struct duration duration) {
    int64_t us = MAX_OF(duration.us, INT64_C(0));
    put_number(pen, us / US_PER_MS);
    int64_t rest = us % US_PER_MS;
    char fraction[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                       (char)('0' + rest % 10)};
    put_bytes(pen, fraction, sizeof fraction);
}

/* --- the same for a text ------------------------------------------------------------------------- */

void json_string(struct text *out, const char *string) {
    if (string == NULL) {
        text_append(out, "null");
    } else {
        text_append_json_string(out, string);
    }
}

/* Reserves room for one value; ends the writing with END. */
#define BEGIN(out, size_bytes)                                                                     \
    const size_t room_bytes = (size_bytes);                                                        \
    struct pen pen = {text_reserve((out), room_bytes)};                                            \
    const char *start = pen.at;                                                                    \
    if (pen.at == NULL) {                                                                          \
        return;                                                                                    \
    }
#define END(out)                                                                                   \
    ASSERT((size_t)(pen.at - start) <= room_bytes);                                                \
    text_claim((out), (size_t)(pen.at - start))

void json_time(struct text *out, struct wall_time time) {
    BEGIN(out, RFC3339_BYTES)
    put_time(&pen, time);
    END(out);
}

void json_id(struct text *out, int64_t key, uint64_t store_tag) {
    BEGIN(out, ID_BYTES)
    put_id(&pen, key, store_tag);
    END(out);
}

void json_number(struct text *out, int64_t number) {
    BEGIN(out, NUMBER_BYTES)
    put_number(&pen, number);
    END(out);
}

void json_milliseconds(struct text *out, struct duration duration) {
    BEGIN(out, NUMBER_BYTES + 4)
    put_milliseconds(&pen, duration);
    END(out);
}

void json_hex(struct text *out, const unsigned char *bytes, size_t size_bytes) {
    BEGIN(out, size_bytes * 2 + 2)
    put_hex(&pen, bytes, size_bytes);
    END(out);
}

/* --- runs ---------------------------------------------------------------------------------------- */

size_t next_runs(const struct timetable *timetable, struct wall_time after,
                 struct wall_time out_slots[static NEXT_RUNS]) {
    size_t count = 0;
    while (count < NEXT_RUNS) {
        after = timetable_next(timetable, after);
        if (wall_time_is_none(after)) {
            break;
        }
        out_slots[count++] = after;
    }
    return count;
}

/* More than all of a run but its strings: names (470), 8 times (232), 5 durations (245), kinds of errors (240), the
 * rest (120). */
enum { RUN_FIXED_BYTES = 1536 };

static void put_kinds(struct pen *pen, uint64_t kinds) {
    for (const char *separator = "\""; kinds != 0; kinds &= kinds - 1) {
        put_text(pen, separator);
        put_text(pen, error_kind_wire_name((enum error_kind)__builtin_ctzll(kinds)));
        LITERAL(pen, "\"");
        separator = ",\"";
    }
}

static void put_policies(struct pen *pen, const struct run *run) {
    LITERAL(pen, ",\"jitter\":");
    put_duration(pen, run->jitter);
    LITERAL(pen, ",\"overlap\":\"");
    put_text(pen, overlap_policy_name(run->overlap));
    LITERAL(pen, "\",\"catchup\":\"");
    put_text(pen, catchup_policy_name(run->catchup));
    LITERAL(pen, "\",\"catchup_window\":");
    put_duration(pen, run->catchup_window);
    LITERAL(pen, ",\"dst_missing\":\"");
    put_text(pen, dst_missing_name(run->dst_missing));
    LITERAL(pen, "\",\"dst_repeated\":\"");
    put_text(pen, dst_repeated_name(run->dst_repeated));
    LITERAL(pen, "\",\"timeout\":");
    put_duration(pen, run->timeout);
    LITERAL(pen, ",\"retry\":{\"max_attempts\":");
    put_number(pen, run->retry.max_attempts);
    LITERAL(pen, ",\"backoff\":");
    put_duration(pen, run->retry.backoff);
    LITERAL(pen, ",\"max_backoff\":");
    put_duration(pen, run->retry.max_backoff);
    LITERAL(pen, ",\"non_retryable\":[");
    put_kinds(pen, run->retry.non_retryable);
    LITERAL(pen, "]}");
}

void run_to_json(struct text *out, const struct run *run, uint64_t store_tag,
                 const struct wall_time *slots, size_t slot_count) {
    size_t parameters_bytes = strlen(run->parameters);
    BEGIN(out, RUN_FIXED_BYTES + parameters_bytes + worst_bytes(run->model_name) +
                   worst_bytes(run->schedule) + worst_bytes(run->zone_name) +
                   worst_bytes(run->name) + worst_bytes(run->description) + worst_bytes(run->note) +
                   (slot_count + 1) * (TIME_BYTES + 1))
    LITERAL(&pen, "{\"run_id\":");
    put_id(&pen, run->key, store_tag);
    LITERAL(&pen, ",\"model_name\":");
    put_string(&pen, run->model_name);
    LITERAL(&pen, ",\"schedule\":");
    put_string(&pen, run->schedule);
    LITERAL(&pen, ",\"enabled\":");
    put_text(&pen, run->enabled ? "true" : "false");
    LITERAL(&pen, ",\"parameters\":");
    put_bytes(&pen, run->parameters, parameters_bytes);
    LITERAL(&pen, ",\"last_run\":");
    put_time(&pen, run->last_run);
    LITERAL(&pen, ",\"next_run\":");
    put_time(&pen, wall_time_is_none(run->paused_at) ? run->next_run : WALL_TIME_NONE);
    LITERAL(&pen, ",\"created_at\":");
    put_time(&pen, run->created_at);
    LITERAL(&pen, ",\"updated_at\":");
    put_time(&pen, run->updated_at);
    LITERAL(&pen, ",\"timezone\":");
    put_string(&pen, run->zone_name);
    LITERAL(&pen, ",\"name\":");
    put_string(&pen, run->name);
    LITERAL(&pen, ",\"description\":");
    put_string(&pen, run->description);
    LITERAL(&pen, ",\"start_at\":");
    put_time(&pen, run->start_at);
    LITERAL(&pen, ",\"end_at\":");
    put_time(&pen, run->end_at);
    put_policies(&pen, run);
    LITERAL(&pen, ",\"model_version\":");
    if (run->model_version == 0) {
        LITERAL(&pen, "null");
    } else {
        put_number(&pen, run->model_version);
    }
    LITERAL(&pen, ",\"priority\":");
    put_number(&pen, run->priority);
    LITERAL(&pen, ",\"paused_at\":");
    put_time(&pen, run->paused_at);
    LITERAL(&pen, ",\"note\":");
    put_string(&pen, run->note);
    if (slots != NULL) {
        LITERAL(&pen, ",\"next_runs\":[");
        for (size_t i = 0; i < slot_count; i++) {
            put_text(&pen, i == 0 ? "" : ",");
            put_time(&pen, slots[i]);
        }
        LITERAL(&pen, "]");
    }
    LITERAL(&pen, "}");
    END(out);
}

/* --- executions ---------------------------------------------------------------------------------- */

/* More than all of an execution but its strings: names (350), 6 times (174), 4 ids (152), a digest (66), the rest
 * (140). */
enum { EXECUTION_FIXED_BYTES = 1280 };

static void put_error(struct pen *pen, const struct execution *execution, uint64_t store_tag) {
    if (execution->error_type == NULL) {
        LITERAL(pen, "null");
        return;
    }
    LITERAL(pen, "{\"type\":");
    put_string(pen, execution->error_type);
    LITERAL(pen, ",\"message\":");
    put_string(pen, execution->error_message == NULL ? "" : execution->error_message);
    if (execution->blocked_by != 0) {
        LITERAL(pen, ",\"execution_id\":");
        put_id(pen, execution->blocked_by, store_tag);
    }
    LITERAL(pen, "}");
}

static void put_outcome(struct pen *pen, const struct execution *execution, uint64_t store_tag) {
    LITERAL(pen, ",\"duration_ms\":");
    if (wall_time_is_none(execution->started_at) || wall_time_is_none(execution->finished_at)) {
        LITERAL(pen, "null");
    } else {
        put_milliseconds(pen, execution->duration);
    }
    LITERAL(pen, ",\"result\":");
    put_text(pen, execution->result == NULL ? "null" : execution->result);
    if (execution->result == NULL && execution->result_file_bytes > 0) {
        LITERAL(pen, ",\"result_bytes\":");
        put_number(pen, (int64_t)execution->result_file_bytes);
        LITERAL(pen, ",\"result_url\":\"/api/executions/");
        identity_format(execution->key, store_tag, pen->at);
        pen->at += UUID_TEXT_BYTES - 1;
        LITERAL(pen, "\"");
    }
    LITERAL(pen, ",\"error\":");
    put_error(pen, execution, store_tag);
    if (execution->status == EXECUTION_MISSED) {
        LITERAL(pen, ",\"gap\":{\"from\":");
        put_time(pen, execution->missed_from);
        LITERAL(pen, ",\"to\":");
        put_time(pen, execution->missed_to);
        LITERAL(pen, ",\"count\":");
        put_number(pen, (int64_t)execution->missed_count);
        LITERAL(pen, "}");
    }
}

void execution_to_json(struct text *out, const struct execution *execution, uint64_t store_tag) {
    BEGIN(out, EXECUTION_FIXED_BYTES + worst_bytes(execution->model_name) +
                   worst_bytes(execution->error_type) + worst_bytes(execution->error_message) +
                   (execution->result == NULL ? 0 : strlen(execution->result)))
    LITERAL(&pen, "{\"execution_id\":");
    put_id(&pen, execution->key, store_tag);
    LITERAL(&pen, ",\"run_id\":");
    put_id(&pen, execution->run_key, store_tag);
    LITERAL(&pen, ",\"model_name\":");
    put_string(&pen, execution->model_name);
    LITERAL(&pen, ",\"model_version\":");
    if (execution->model_version == 0) {
        LITERAL(&pen, "null");
    } else {
        put_number(&pen, execution->model_version);
    }
    LITERAL(&pen, ",\"model_digest\":");
    if (execution->has_model_digest) {
        put_hex(&pen, execution->model_digest, sizeof execution->model_digest);
    } else {
        LITERAL(&pen, "null");
    }
    LITERAL(&pen, ",\"trigger\":\"");
    put_text(&pen, execution_trigger_name(execution->trigger));
    LITERAL(&pen, "\"");
    if (execution->trigger == TRIGGER_BACKFILL) {
        LITERAL(&pen, ",\"backfill_id\":");
        put_id(&pen, execution->backfill_key, store_tag);
    }
    LITERAL(&pen, ",\"attempt\":");
    put_number(&pen, execution->attempt);
    LITERAL(&pen, ",\"status\":\"");
    put_text(&pen, execution_status_name(execution->status));
    LITERAL(&pen, "\",\"scheduled_for\":");
    put_time(&pen, execution->scheduled_for);
    LITERAL(&pen, ",\"queued_at\":");
    put_time(&pen, execution->queued_at);
    LITERAL(&pen, ",\"started_at\":");
    put_time(&pen, execution->started_at);
    LITERAL(&pen, ",\"finished_at\":");
    put_time(&pen, execution->finished_at);
    put_outcome(&pen, execution, store_tag);
    LITERAL(&pen, "}");
    END(out);
}

void execution_to_json_around(struct text *out, const struct execution *execution,
                              uint64_t store_tag, size_t *out_result_at) {
    struct execution empty = *execution;
    size_t start = out->size_bytes;
    empty.result = "";
    execution_to_json(out, &empty, store_tag);
    /* In no string of it can this stand: there, quotation marks are escaped. */
    static const char gap[] = "\"result\":,";
    const char *at = strstr(text_string(out) + start, gap);
    ASSERT(at != NULL);
    *out_result_at = (size_t)(at - text_string(out)) + sizeof gap - 2;
}

/* --- backfills ------------------------------------------------------------------------------------ */

bool backfill_is_over(const struct backfill *backfill,
                      const uint64_t counts[EXECUTION_MISSED + 1]) {
    return !wall_time_is_none(backfill->cancelled_at) ||
           (wall_time_is_none(backfill->next_slot) && counts[EXECUTION_QUEUED] == 0 &&
            counts[EXECUTION_RUNNING] == 0);
}

void backfill_to_json(struct text *out, const struct backfill *backfill,
                      const uint64_t counts[EXECUTION_MISSED + 1], uint64_t store_tag) {
    uint64_t recorded = 0;
    for (enum execution_status status = EXECUTION_QUEUED; status <= EXECUTION_MISSED; status++) {
        recorded += counts[status];
    }
    bool is_cancelled = !wall_time_is_none(backfill->cancelled_at);
    text_append(out, "{\"backfill_id\":");
    json_id(out, backfill->key, store_tag);
    text_append(out, ",\"run_id\":");
    json_id(out, backfill->run_key, store_tag);
    text_append(out, ",\"from\":");
    json_time(out, backfill->from);
    text_append(out, ",\"to\":");
    json_time(out, backfill->to);
    text_append(out, ",\"parallelism\":");
    json_number(out, backfill->parallelism);
    text_append(out, ",\"status\":");
    json_string(out, is_cancelled                         ? "cancelled"
                     : backfill_is_over(backfill, counts) ? "completed"
                                                          : "running");
    text_append(out, ",\"slot_count\":");
    json_number(out, (int64_t)backfill->slot_count);
    text_append(out, ",\"recorded\":");
    json_number(out, (int64_t)recorded);
    text_append(out, ",\"counts\":{");
    for (enum execution_status status = EXECUTION_QUEUED; status <= EXECUTION_CANCELLED; status++) {
        text_append(out, status == EXECUTION_QUEUED ? "" : ",");
        json_string(out, execution_status_name(status));
        text_append_char(out, ':');
        json_number(out, (int64_t)counts[status]);
    }
    text_append(out, "},\"next_slot\":");
    json_time(out, is_cancelled ? WALL_TIME_NONE : backfill->next_slot);
    text_append(out, ",\"created_at\":");
    json_time(out, backfill->created_at);
    text_append(out, ",\"cancelled_at\":");
    json_time(out, backfill->cancelled_at);
    text_append_char(out, '}');
}
