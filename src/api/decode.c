#include "api/decode.h"

#include <stdio.h>
#include <string.h>

enum field_type {
    FIELD_STRING,
    FIELD_BOOLEAN,
    FIELD_INTEGER, /* uint32_t */
    FIELD_SMALL,   /* the same, uint8_t */
    FIELD_DURATION,
    FIELD_TIME,
    FIELD_OVERLAP,
    FIELD_CATCHUP,
    FIELD_DST_MISSING,
    FIELD_DST_REPEATED,
    FIELD_JSON,        /* any value, kept as text */
    FIELD_RETRY,       /* an object with a table of its own */
    FIELD_RETRY_KINDS, /* a set of errors, uint64_t */
    FIELD_READ_ONLY,
    FIELD_UNSUPPORTED,
};

#define SECONDS(count) ((int64_t)(count)*US_PER_SECOND)
#define HOURS(count) (SECONDS(count) * 3600)

struct field {
    const char *name;
    size_t offset; /* in struct run, or whatever the table describes */
    enum field_type type;
    bool is_required; /* in a new run, and never null */
    int64_t minimum;  /* characters, microseconds or the number itself */
    int64_t maximum;
};

#define AT(member) offsetof(struct run, member)

static const struct field run_fields[] = {
    {"model_name", AT(model_name), FIELD_STRING, true, 1, MODEL_NAME_CHARACTERS_MAXIMUM},
    {"schedule", AT(schedule), FIELD_STRING, true, 1, SCHEDULE_CHARACTERS_MAXIMUM},
    {"parameters", AT(parameters), FIELD_JSON, false, 0, 0},
    {"enabled", AT(enabled), FIELD_BOOLEAN, false, 0, 0},
    {"timezone", AT(zone_name), FIELD_STRING, false, 1, ZONE_CHARACTERS_MAXIMUM},
    {"name", AT(name), FIELD_STRING, false, 0, NAME_CHARACTERS_MAXIMUM},
    {"description", AT(description), FIELD_STRING, false, 0, DESCRIPTION_CHARACTERS_MAXIMUM},
    {"start_at", AT(start_at), FIELD_TIME, false, 0, 0},
    {"end_at", AT(end_at), FIELD_TIME, false, 0, 0},
    {"jitter", AT(jitter), FIELD_DURATION, false, 0, HOURS(JITTER_HOURS_MAXIMUM)},
    {"overlap", AT(overlap), FIELD_OVERLAP, false, 0, 0},
    {"catchup", AT(catchup), FIELD_CATCHUP, false, 0, 0},
    {"catchup_window", AT(catchup_window), FIELD_DURATION, false, 0,
     HOURS(CATCHUP_WINDOW_DAYS_MAXIMUM * 24)},
    {"dst_missing", AT(dst_missing), FIELD_DST_MISSING, false, 0, 0},
    {"dst_repeated", AT(dst_repeated), FIELD_DST_REPEATED, false, 0, 0},
    {"timeout", AT(timeout), FIELD_DURATION, false, 1, HOURS(TIMEOUT_HOURS_MAXIMUM)},
    {"retry", AT(retry), FIELD_RETRY, false, 0, 0},
    {"model_version", AT(model_version), FIELD_INTEGER, false, 1, INT32_MAX},
    {"priority", AT(priority), FIELD_SMALL, false, PRIORITY_MINIMUM, PRIORITY_MAXIMUM},
    {"note", AT(note), FIELD_STRING, false, 0, NOTE_CHARACTERS_MAXIMUM},
    {"secrets", 0, FIELD_UNSUPPORTED, false, 0, 0},
    {"run_id", 0, FIELD_READ_ONLY, false, 0, 0},
    {"last_run", 0, FIELD_READ_ONLY, false, 0, 0},
    {"next_run", 0, FIELD_READ_ONLY, false, 0, 0},
    {"next_runs", 0, FIELD_READ_ONLY, false, 0, 0},
    {"created_at", 0, FIELD_READ_ONLY, false, 0, 0},
    {"updated_at", 0, FIELD_READ_ONLY, false, 0, 0},
    {"paused_at", 0, FIELD_READ_ONLY, false, 0, 0},
};

static const struct field retry_fields[] = {
    {"max_attempts", AT(retry.max_attempts), FIELD_INTEGER, false, 0, RETRY_ATTEMPTS_MAXIMUM},
    {"backoff", AT(retry.backoff), FIELD_DURATION, false, 0, HOURS(24)},
    {"max_backoff", AT(retry.max_backoff), FIELD_DURATION, false, 0, HOURS(24)},
    {"non_retryable", AT(retry.non_retryable), FIELD_RETRY_KINDS, false, 0, 0},
};

static const struct field note_fields[] = {
    {"note", AT(note), FIELD_STRING, false, 0, NOTE_CHARACTERS_MAXIMUM},
};

static const struct field backfill_fields[] = {
    {"from", offsetof(struct backfill, from), FIELD_TIME, true, 0, 0},
    {"to", offsetof(struct backfill, to), FIELD_TIME, true, 0, 0},
    {"parallelism", offsetof(struct backfill, parallelism), FIELD_INTEGER, false, 1,
     BACKFILL_PARALLELISM_MAXIMUM},
    {"parameters", offsetof(struct backfill, parameters), FIELD_JSON, false, 0, 0},
};

struct decoding {
    const struct body *body;
    void *target;         /* what the table describes */
    const void *defaults; /* the same, with the defaults */
    struct problems *problems;
};

static void *place(void *target, const struct field *field) {
    return (char *)target + field->offset;
}

/* "retry.backoff" */
static const char *full_name(const struct decoding *decoding, const char *prefix,
                             const char *name) {
    return *prefix == '\0' ? name : arena_printf(decoding->problems->arena, "%s.%s", prefix, name);
}

static void wrong_type(struct decoding *decoding, const char *name, const char *wanted,
                       yyjson_val *value) {
    const char *given = yyjson_is_bool(value)  ? "a boolean"
                        : yyjson_is_raw(value) ? "a number"
                        : yyjson_is_str(value) ? "a string"
                        : yyjson_is_arr(value) ? "an array"
                        : yyjson_is_obj(value) ? "an object"
                                               : "null";
    error_set_field(problems_add(decoding->problems), ERROR_INVALID, name, "%s must be %s, not %s",
                    name, wanted, given);
}

static int64_t characters_of(const char *text) {
    int64_t count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return count;
}

static void decode_string(struct decoding *decoding, const struct field *field, const char *name,
                          yyjson_val *value) {
    if (!yyjson_is_str(value)) {
        wrong_type(decoding, name, "a string", value);
        return;
    }
    int64_t characters = characters_of(yyjson_get_str(value));
    if (characters < field->minimum) {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s must not be empty", name);
    } else if (characters > field->maximum) {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s must have at most %lld characters, not %lld", name,
                        (long long)field->maximum, (long long)characters);
    } else {
        *(const char **)place(decoding->target, field) =
            arena_strdup(decoding->problems->arena, yyjson_get_str(value));
    }
}

static void decode_integer(struct decoding *decoding, const struct field *field, const char *name,
                           yyjson_val *value) {
    uint64_t number;
    if (!yyjson_is_raw(value)) {
        wrong_type(decoding, name, "a whole number", value);
    } else if (!body_integer(value, &number) || number < (uint64_t)field->minimum ||
               number > (uint64_t)field->maximum) {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s must be a whole number from %lld to %lld", name,
                        (long long)field->minimum, (long long)field->maximum);
    } else if (field->type == FIELD_SMALL) {
        *(uint8_t *)place(decoding->target, field) = (uint8_t)number;
    } else {
        *(uint32_t *)place(decoding->target, field) = (uint32_t)number;
    }
}

/* Takes over what a parser of the domain has to say about a text, under the field's name. */
static void add_parse_problem(struct decoding *decoding, const char *name,
                              const struct error *err) {
    struct error *problem = problems_add(decoding->problems);
    error_set_field(problem, err->kind, name, "%s: %s", name, err->message);
    problem->column = err->column;
}

static void decode_duration(struct decoding *decoding, const struct field *field, const char *name,
                            yyjson_val *value) {
    if (!yyjson_is_str(value)) {
        wrong_type(decoding, name, "a duration such as \"90s\" or \"1h30m\"", value);
        return;
    }
    struct duration duration;
    struct error err;
    if (!duration_parse(yyjson_get_str(value), &duration, &err)) {
        add_parse_problem(decoding, name, &err);
    } else if (duration.us < field->minimum || duration.us > field->maximum) {
        char maximum[DURATION_BYTES];
        duration_format((struct duration){field->maximum}, maximum);
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        field->minimum > 0 ? "%s must be more than 0s and at most %s"
                                           : "%s must be from 0s to %s",
                        name, maximum);
    } else {
        *(struct duration *)place(decoding->target, field) = duration;
    }
}

static void decode_time(struct decoding *decoding, const struct field *field, const char *name,
                        yyjson_val *value) {
    if (!yyjson_is_str(value)) {
        wrong_type(decoding, name, "an RFC 3339 time such as \"2027-01-01T00:00:00Z\"", value);
        return;
    }
    struct error err;
    if (!wall_time_parse(yyjson_get_str(value), place(decoding->target, field), &err)) {
        add_parse_problem(decoding, name, &err);
    }
}

static bool parse_choice(struct decoding *decoding, const struct field *field, const char *text,
                         const char **out_choices) {
    struct error ignored;
    void *at = place(decoding->target, field);
    switch (field->type) {
    case FIELD_OVERLAP:
        *out_choices = "skip, queue_one, queue_all, cancel_running, allow";
        return overlap_policy_parse(text, at);
    case FIELD_CATCHUP:
        *out_choices = "latest, all, none";
        return catchup_policy_parse(text, at);
    case FIELD_DST_MISSING:
        *out_choices = "shift, skip";
        return dst_missing_parse(text, at, &ignored);
    default:
        *out_choices = "first, last, both";
        return dst_repeated_parse(text, at, &ignored);
    }
}

static void decode_choice(struct decoding *decoding, const struct field *field, const char *name,
                          yyjson_val *value) {
    const char *choices;
    bool is_string = yyjson_is_str(value);
    if (!is_string || !parse_choice(decoding, field, yyjson_get_str(value), &choices)) {
        if (!is_string) {
            wrong_type(decoding, name, "a string", value);
        } else {
            error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                            "%s must be one of %s", name, choices);
        }
    }
}

/* A kind after which no attempt follows anyway says nothing here, and is probably a mistake. */
static bool retry_kind_parse(const char *name, uint64_t *out_kinds) {
    enum error_kind kind = error_kind_from_wire_name(name);
    *out_kinds |= error_kind_bit(kind);
    return error_kind_may_retry(kind) && strcmp(error_kind_wire_name(kind), name) == 0;
}

static void unknown_retry_kind(struct decoding *decoding, const char *name, const char *given) {
    struct text known;
    text_init(&known, ERROR_MESSAGE_BYTES);
    for (enum error_kind kind = ERROR_NONE; kind <= ERROR_USAGE; kind++) {
        if (error_kind_may_retry(kind)) {
            text_append(&known, known.size_bytes == 0 ? "" : ", ");
            text_append(&known, error_kind_wire_name(kind));
        }
    }
    error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                    "%s: there is no '%.40s' that is retried; there are %s", name, given,
                    text_string(&known));
    text_fini(&known);
}

static void decode_retry_kinds(struct decoding *decoding, const struct field *field,
                               const char *name, yyjson_val *value) {
    if (!yyjson_is_arr(value)) {
        wrong_type(decoding, name, "an array of error types", value);
        return;
    }
    uint64_t kinds = 0;
    yyjson_arr_iter iterator = yyjson_arr_iter_with(value);
    for (yyjson_val *item; (item = yyjson_arr_iter_next(&iterator)) != NULL;) {
        if (!yyjson_is_str(item)) {
            wrong_type(decoding, name, "an array of strings", item);
            return;
        }
        if (!retry_kind_parse(yyjson_get_str(item), &kinds)) {
            unknown_retry_kind(decoding, name, yyjson_get_str(item));
            return;
        }
    }
    *(uint64_t *)place(decoding->target, field) = kinds;
}

/* JSON null: the default, where there is one. */
static void decode_null(struct decoding *decoding, const struct field *field, const char *name) {
    void *to = place(decoding->target, field);
    const void *from = (const char *)decoding->defaults + field->offset;
    size_t size_bytes = 0;
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_JSON:
        size_bytes = sizeof(char *);
        break;
    case FIELD_BOOLEAN:
        size_bytes = sizeof(bool);
        break;
    case FIELD_INTEGER:
        size_bytes = sizeof(uint32_t);
        break;
    case FIELD_SMALL:
        size_bytes = sizeof(uint8_t);
        break;
    case FIELD_RETRY_KINDS:
        size_bytes = sizeof(uint64_t);
        break;
    case FIELD_DURATION:
        size_bytes = sizeof(struct duration);
        break;
    case FIELD_TIME:
        size_bytes = sizeof(struct wall_time);
        break;
    case FIELD_RETRY:
        size_bytes = sizeof(struct retry_policy);
        break;
    case FIELD_OVERLAP:
    case FIELD_CATCHUP:
    case FIELD_DST_MISSING:
    case FIELD_DST_REPEATED:
        size_bytes = sizeof(enum overlap_policy);
        break;
    default:
        break;
    }
    if (field->is_required) {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s must be a string, not null", name);
    } else {
        memcpy(to, from, size_bytes);
    }
}

static void decode_object(struct decoding *decoding, yyjson_val *object, const char *prefix,
                          const struct field *fields, size_t count);

static void decode_value(struct decoding *decoding, const struct field *field, const char *name,
                         yyjson_val *value) {
    if (yyjson_is_null(value) && field->type < FIELD_READ_ONLY) {
        decode_null(decoding, field, name);
        return;
    }
    switch (field->type) {
    case FIELD_STRING:
        decode_string(decoding, field, name, value);
        break;
    case FIELD_BOOLEAN:
        if (yyjson_is_bool(value)) {
            *(bool *)place(decoding->target, field) = yyjson_get_bool(value);
        } else {
            wrong_type(decoding, name, "true or false", value);
        }
        break;
    case FIELD_INTEGER:
    case FIELD_SMALL:
        decode_integer(decoding, field, name, value);
        break;
    case FIELD_DURATION:
        decode_duration(decoding, field, name, value);
        break;
    case FIELD_TIME:
        decode_time(decoding, field, name, value);
        break;
    case FIELD_OVERLAP:
    case FIELD_CATCHUP:
    case FIELD_DST_MISSING:
    case FIELD_DST_REPEATED:
        decode_choice(decoding, field, name, value);
        break;
    case FIELD_JSON:
        *(const char **)place(decoding->target, field) =
            body_member_text(decoding->body, name, decoding->problems->arena);
        break;
    case FIELD_RETRY:
        if (yyjson_is_obj(value)) {
            decode_object(decoding, value, name, retry_fields, COUNT_OF(retry_fields));
        } else {
            wrong_type(decoding, name, "an object", value);
        }
        break;
    case FIELD_RETRY_KINDS:
        decode_retry_kinds(decoding, field, name, value);
        break;
    case FIELD_READ_ONLY:
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s cannot be set: the server keeps it", name);
        break;
    case FIELD_UNSUPPORTED:
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "%s are not supported by this version", name);
        break;
    }
}

/* --- names -------------------------------------------------------------------------------------- */

enum { NAME_BYTES_COMPARED = 32 };

/* The number of insertions, deletions and replacements between two names (Levenshtein). */
static size_t distance(const char *left, const char *right) {
    size_t left_length = strlen(left);
    size_t right_length = strlen(right);
    if (left_length >= NAME_BYTES_COMPARED || right_length >= NAME_BYTES_COMPARED) {
        return SIZE_MAX;
    }
    size_t row[NAME_BYTES_COMPARED];
    for (size_t k = 0; k <= right_length; k++) {
        row[k] = k;
    }
    for (size_t i = 1; i <= left_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= right_length; k++) {
            size_t replaced = diagonal + (left[i - 1] != right[k - 1] ? 1 : 0);
            diagonal = row[k];
            row[k] = MIN_OF(replaced, MIN_OF(row[k], row[k - 1]) + 1);
        }
    }
    return row[right_length];
}

const char *nearest_name(const char *name, const char *const *names, size_t count) {
    const char *nearest = NULL;
    size_t least = strlen(name) / 3 + 2; /* farther is another word */
    for (size_t i = 0; i < count; i++) {
        size_t apart = distance(name, names[i]);
        if (apart < least) {
            least = apart;
            nearest = names[i];
        }
    }
    return nearest;
}

static void unknown_field(struct decoding *decoding, const char *name, const char *key,
                          const struct field *fields, size_t count) {
    const char *names[COUNT_OF(run_fields)];
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].type < FIELD_READ_ONLY) {
            names[known++] = fields[i].name;
        }
    }
    const char *nearest = nearest_name(key, names, known);
    if (nearest == NULL) {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "unknown field '%.100s'", name);
    } else {
        error_set_field(problems_add(decoding->problems), ERROR_INVALID, name,
                        "unknown field '%.100s'; did you mean '%s'?", name, nearest);
    }
}

static void decode_object(struct decoding *decoding, yyjson_val *object, const char *prefix,
                          const struct field *fields, size_t count) {
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        const char *name = full_name(decoding, prefix, yyjson_get_str(key));
        const struct field *field = NULL;
        for (size_t i = 0; i < count && field == NULL; i++) {
            field = yyjson_equals_str(key, fields[i].name) ? &fields[i] : NULL;
        }
        if (field == NULL) {
            unknown_field(decoding, name, yyjson_get_str(key), fields, count);
        } else {
            decode_value(decoding, field, name, yyjson_obj_iter_get_val(key));
        }
    }
}

static void require_fields(struct decoding *decoding, const struct field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (fields[i].is_required && yyjson_obj_get(decoding->body->root, fields[i].name) == NULL) {
            error_set_field(problems_add(decoding->problems), ERROR_INVALID, fields[i].name,
                            "%s is required", fields[i].name);
        }
    }
}

/* --- fields that depend on each other ------------------------------------------------------------ */

static void check_bounds(const struct run *run, struct problems *problems) {
    if (!wall_time_is_none(run->start_at) && !wall_time_is_none(run->end_at) &&
        run->end_at.us <= run->start_at.us && !problems_about(problems, "start_at") &&
        !problems_about(problems, "end_at")) {
        error_set_field(problems_add(problems), ERROR_INVALID, "end_at",
                        "end_at must be after start_at");
    }
    if (run->retry.backoff.us > run->retry.max_backoff.us && !problems_about(problems, "retry")) {
        error_set_field(problems_add(problems), ERROR_INVALID, "retry.backoff",
                        "retry.backoff must not be more than retry.max_backoff");
    }
}

void run_decode(const struct body *body, bool is_new, struct run *run, struct problems *problems) {
    struct run defaults = run_defaults();
    struct decoding decoding = {
        .body = body, .target = run, .defaults = &defaults, .problems = problems};
    decode_object(&decoding, body->root, "", run_fields, COUNT_OF(run_fields));
    if (is_new) {
        require_fields(&decoding, run_fields, COUNT_OF(run_fields));
    }
    check_bounds(run, problems);
}

void run_decode_note(const struct body *body, struct run *run, struct problems *problems) {
    struct run defaults = run_defaults();
    struct decoding decoding = {
        .body = body, .target = run, .defaults = &defaults, .problems = problems};
    decode_object(&decoding, body->root, "", note_fields, COUNT_OF(note_fields));
}

void backfill_decode(const struct body *body, struct backfill *backfill,
                     struct problems *problems) {
    const struct backfill defaults = {.from = WALL_TIME_NONE,
                                      .to = WALL_TIME_NONE,
                                      .next_slot = WALL_TIME_NONE,
                                      .parallelism = 1,
                                      .cancelled_at = WALL_TIME_NONE};
    *backfill = defaults;
    struct decoding decoding = {
        .body = body, .target = backfill, .defaults = &defaults, .problems = problems};
    decode_object(&decoding, body->root, "", backfill_fields, COUNT_OF(backfill_fields));
    require_fields(&decoding, backfill_fields, COUNT_OF(backfill_fields));
    if (problems->count == 0 && backfill->to.us <= backfill->from.us) {
        error_set_field(problems_add(problems), ERROR_INVALID, "to", "to must be after from");
    }
}
