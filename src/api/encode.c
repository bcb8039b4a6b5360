#include "api/encode.h"

#include <string.h>

#define LITERAL(out, literal) text_append_bytes((out), (literal), sizeof(literal) - 1)

void json_string(struct text *out, const char *string) {
    if (string == NULL) {
        LITERAL(out, "null");
    } else {
        text_append_json_string(out, string);
    }
}

void json_time(struct text *out, struct wall_time time) {
    if (wall_time_is_none(time)) {
        LITERAL(out, "null");
        return;
    }
    char formatted[RFC3339_BYTES + 2];
    formatted[0] = '"';
    wall_time_format(time, formatted + 1);
    size_t length = strlen(formatted);
    formatted[length++] = '"';
    text_append_bytes(out, formatted, length);
}

void json_id(struct text *out, int64_t key, uint64_t store_tag) {
    char id[UUID_TEXT_BYTES + 2];
    id[0] = '"';
    identity_format(key, store_tag, id + 1);
    id[UUID_TEXT_BYTES] = '"';
    text_append_bytes(out, id, UUID_TEXT_BYTES + 1);
}

void json_number(struct text *out, int64_t number) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        digits[--at] = '-';
    }
    text_append_bytes(out, digits + at, sizeof digits - at);
}

void json_hex(struct text *out, const unsigned char *bytes, size_t size_bytes) {
    text_append_char(out, '"');
    char *room = text_reserve(out, size_bytes * 2);
    if (room != NULL) {
        for (size_t i = 0; i < size_bytes; i++) {
            room[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
            room[2 * i + 1] = "0123456789abcdef"[bytes[i] & 0xf];
        }
        text_claim(out, size_bytes * 2);
    }
    text_append_char(out, '"');
}

static void json_duration(struct text *out, struct duration duration) {
    char formatted[DURATION_BYTES];
    duration_format(duration, formatted);
    text_append_char(out, '"');
    text_append(out, formatted);
    text_append_char(out, '"');
}

static void json_boolean(struct text *out, bool value) {
    text_append(out, value ? "true" : "false");
}

/* Milliseconds with microseconds as the fraction: 3.214. */
static void json_milliseconds(struct text *out, struct duration duration) {
    int64_t us = MAX_OF(duration.us, INT64_C(0));
    json_number(out, us / US_PER_MS);
    int64_t rest = us % US_PER_MS;
    char fraction[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                       (char)('0' + rest % 10)};
    text_append_bytes(out, fraction, sizeof fraction);
}

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

static void append_policies(struct text *out, const struct run *run) {
    LITERAL(out, ",\"jitter\":");
    json_duration(out, run->jitter);
    LITERAL(out, ",\"overlap\":\"");
    text_append(out, overlap_policy_name(run->overlap));
    LITERAL(out, "\",\"catchup\":\"");
    text_append(out, catchup_policy_name(run->catchup));
    LITERAL(out, "\",\"catchup_window\":");
    json_duration(out, run->catchup_window);
    LITERAL(out, ",\"dst_missing\":\"");
    text_append(out, dst_missing_name(run->dst_missing));
    LITERAL(out, "\",\"dst_repeated\":\"");
    text_append(out, dst_repeated_name(run->dst_repeated));
    LITERAL(out, "\",\"timeout\":");
    json_duration(out, run->timeout);
    LITERAL(out, ",\"retry\":{\"max_attempts\":");
    json_number(out, run->retry.max_attempts);
    LITERAL(out, ",\"backoff\":");
    json_duration(out, run->retry.backoff);
    LITERAL(out, ",\"max_backoff\":");
    json_duration(out, run->retry.max_backoff);
    LITERAL(out, "}");
}

void run_to_json(struct text *out, const struct run *run, uint64_t store_tag,
                 const struct wall_time *slots, size_t slot_count) {
    LITERAL(out, "{\"run_id\":");
    json_id(out, run->key, store_tag);
    LITERAL(out, ",\"model_name\":");
    json_string(out, run->model_name);
    LITERAL(out, ",\"schedule\":");
    json_string(out, run->schedule);
    LITERAL(out, ",\"enabled\":");
    json_boolean(out, run->enabled);
    LITERAL(out, ",\"parameters\":");
    text_append(out, run->parameters);
    LITERAL(out, ",\"last_run\":");
    json_time(out, run->last_run);
    LITERAL(out, ",\"next_run\":");
    json_time(out, run->next_run);
    LITERAL(out, ",\"created_at\":");
    json_time(out, run->created_at);
    LITERAL(out, ",\"updated_at\":");
    json_time(out, run->updated_at);
    LITERAL(out, ",\"timezone\":");
    json_string(out, run->zone_name);
    LITERAL(out, ",\"name\":");
    json_string(out, run->name);
    LITERAL(out, ",\"description\":");
    json_string(out, run->description);
    LITERAL(out, ",\"start_at\":");
    json_time(out, run->start_at);
    LITERAL(out, ",\"end_at\":");
    json_time(out, run->end_at);
    append_policies(out, run);
    LITERAL(out, ",\"model_version\":");
    if (run->model_version == 0) {
        LITERAL(out, "null");
    } else {
        json_number(out, run->model_version);
    }
    if (slots != NULL) {
        LITERAL(out, ",\"next_runs\":[");
        for (size_t i = 0; i < slot_count; i++) {
            text_append(out, i == 0 ? "" : ",");
            json_time(out, slots[i]);
        }
        LITERAL(out, "]");
    }
    LITERAL(out, "}");
}

static void append_outcome(struct text *out, const struct execution *execution,
                           uint64_t store_tag) {
    LITERAL(out, ",\"duration_ms\":");
    if (wall_time_is_none(execution->started_at) || wall_time_is_none(execution->finished_at)) {
        LITERAL(out, "null");
    } else {
        json_milliseconds(out, execution->duration);
    }
    LITERAL(out, ",\"result\":");
    text_append(out, execution->result == NULL ? "null" : execution->result);
    LITERAL(out, ",\"error\":");
    if (execution->error_type == NULL) {
        LITERAL(out, "null");
    } else {
        LITERAL(out, "{\"type\":");
        json_string(out, execution->error_type);
        LITERAL(out, ",\"message\":");
        json_string(out, execution->error_message == NULL ? "" : execution->error_message);
        if (execution->blocked_by != 0) {
            LITERAL(out, ",\"execution_id\":");
            json_id(out, execution->blocked_by, store_tag);
        }
        LITERAL(out, "}");
    }
    if (execution->status == EXECUTION_MISSED) {
        LITERAL(out, ",\"gap\":{\"from\":");
        json_time(out, execution->missed_from);
        LITERAL(out, ",\"to\":");
        json_time(out, execution->missed_to);
        LITERAL(out, ",\"count\":");
        json_number(out, (int64_t)execution->missed_count);
        LITERAL(out, "}");
    }
}

void execution_to_json(struct text *out, const struct execution *execution, uint64_t store_tag) {
    LITERAL(out, "{\"execution_id\":");
    json_id(out, execution->key, store_tag);
    LITERAL(out, ",\"run_id\":");
    json_id(out, execution->run_key, store_tag);
    LITERAL(out, ",\"model_name\":");
    json_string(out, execution->model_name);
    LITERAL(out, ",\"model_version\":");
    if (execution->model_version == 0) {
        LITERAL(out, "null");
    } else {
        json_number(out, execution->model_version);
    }
    LITERAL(out, ",\"model_digest\":");
    if (execution->has_model_digest) {
        json_hex(out, execution->model_digest, sizeof execution->model_digest);
    } else {
        LITERAL(out, "null");
    }
    LITERAL(out, ",\"trigger\":\"");
    text_append(out, execution_trigger_name(execution->trigger));
    LITERAL(out, "\",\"attempt\":");
    json_number(out, execution->attempt);
    LITERAL(out, ",\"status\":\"");
    text_append(out, execution_status_name(execution->status));
    LITERAL(out, "\",\"scheduled_for\":");
    json_time(out, execution->scheduled_for);
    LITERAL(out, ",\"queued_at\":");
    json_time(out, execution->queued_at);
    LITERAL(out, ",\"started_at\":");
    json_time(out, execution->started_at);
    LITERAL(out, ",\"finished_at\":");
    json_time(out, execution->finished_at);
    append_outcome(out, execution, store_tag);
    LITERAL(out, "}");
}
