#include "api/query.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct reading {
    struct query_parameter *parameters;
    size_t count;
    struct error *err;
    bool ok;
};

static bool take_parameter(void *context, const char *name, const char *value) {
    struct reading *reading = context;
    for (size_t i = 0; i < reading->count; i++) {
        if (strcmp(reading->parameters[i].name, name) != 0) {
            continue;
        }
        if (reading->parameters[i].value != NULL) {
            reading->ok = error_set_field(reading->err, ERROR_INVALID, name,
                                          "query parameter '%s' comes twice", name);
            return false;
        }
        reading->parameters[i].value = value;
        return true;
    }
    char known[128] = "there is none here";
    for (size_t i = 0, used = 0; i < reading->count && used < sizeof known; i++) {
        used += (size_t)snprintf(known + used, sizeof known - used,
                                 i == 0 ? "there are %s" : ", %s", reading->parameters[i].name);
    }
    reading->ok = error_set_field(reading->err, ERROR_INVALID, name,
                                  "unknown query parameter '%.100s'; %s", name, known);
    return false;
}

bool query_read(struct http_request *request, struct query_parameter *parameters, size_t count,
                struct error *err) {
    struct reading reading = {.parameters = parameters, .count = count, .err = err, .ok = true};
    return http_query_each(request, take_parameter, &reading, err) && reading.ok;
}

bool query_number(const struct query_parameter *parameter, uint64_t default_number,
                  uint64_t minimum, uint64_t maximum, uint64_t *out, struct error *err) {
    const char *text = parameter->value;
    if (text == NULL) {
        *out = default_number;
        return true;
    }
    uint64_t number = 0;
    bool ok = *text != '\0';
    for (; ok && *text != '\0'; text++) {
        ok = isdigit((unsigned char)*text) && !__builtin_mul_overflow(number, 10, &number) &&
             !__builtin_add_overflow(number, (uint64_t)(*text - '0'), &number);
    }
    if (!ok || number < minimum || number > maximum) {
        return error_set_field(err, ERROR_INVALID, parameter->name,
                               "%s must be a whole number from %llu to %llu", parameter->name,
                               (unsigned long long)minimum, (unsigned long long)maximum);
    }
    *out = number;
    return true;
}

enum { OFFSET_BYTES = 6 }; /* "+02:00" */

bool query_time(const struct query_parameter *parameter, struct arena *arena, struct wall_time *out,
                struct error *err) {
    if (parameter->value == NULL) {
        *out = WALL_TIME_NONE;
        return true;
    }
    char *text = arena_strdup(arena, parameter->value);
    size_t length = strlen(text);
    if (length > OFFSET_BYTES && text[length - OFFSET_BYTES] == ' ' && text[length - 3] == ':' &&
        strchr(text, ':') != text + length - 3) {
        text[length - OFFSET_BYTES] = '+';
    }
    struct wall_time time;
    if (!wall_time_parse(text, &time, err)) {
        uint32_t column = err->column;
        error_prefix(err, "%s", parameter->name);
        struct error inner = *err;
        error_set_field(err, ERROR_INVALID, parameter->name, "%s", inner.message);
        err->column = column;
        return false;
    }
    *out = time;
    return true;
}

static void append_encoded(struct text *text, const char *value) {
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        if (isalnum(*at) || strchr("-._~", *at) != NULL) {
            text_append_char(text, (char)*at);
        } else {
            text_printf(text, "%%%02X", *at);
        }
    }
}

void link_append(struct text *links, const char *path, const struct query_parameter *parameters,
                 size_t count, const char *relation) {
    text_append(links, links->size_bytes == 0 ? "<" : ", <");
    text_append(links, path);
    char separator = '?';
    for (size_t i = 0; i < count; i++) {
        if (parameters[i].value != NULL) {
            text_append_char(links, separator);
            text_append(links, parameters[i].name);
            text_append_char(links, '=');
            append_encoded(links, parameters[i].value);
            separator = '&';
        }
    }
    text_append(links, ">; rel=\"");
    text_append(links, relation);
    text_append_char(links, '"');
}

/* --- header fields ------------------------------------------------------------------------------ */

static const char *skip_space(const char *at) { return at + strspn(at, " \t"); }

static bool bad_if_match(struct error *err) {
    return error_set(err, ERROR_MALFORMED,
                     "If-Match must be * or a list of entity tags such as \"3\"");
}

/* The revision in an opaque tag such as 17, or 0. */
static uint64_t revision_of(const char *tag, size_t length) {
    if (length == 0 || length > 19 || tag[0] == '0') {
        return 0;
    }
    uint64_t revision = 0;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)tag[i])) {
            return 0;
        }
        revision = revision * 10 + (uint64_t)(tag[i] - '0');
    }
    return revision;
}

bool if_match_parse(const char *value, struct if_match *out, struct error *err) {
    struct if_match read = {.is_present = value != NULL};
    if (value != NULL) {
        const char *at = skip_space(value);
        if (*at == '*') {
            read.any = true;
            at = skip_space(at + 1);
            if (*at != '\0') {
                return bad_if_match(err);
            }
        }
        bool first = true;
        while (!read.any && (first || *at != '\0')) {
            first = false;
            bool is_weak = at[0] == 'W' && at[1] == '/';
            at += is_weak ? 2 : 0;
            const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
            if (end == NULL) {
                return bad_if_match(err);
            }
            uint64_t revision = revision_of(at + 1, (size_t)(end - at - 1));
            if (!is_weak && revision != 0 && read.count < IF_MATCH_MAXIMUM) {
                read.revisions[read.count++] = revision;
            }
            at = skip_space(end + 1);
            if (*at == ',') {
                at = skip_space(at + 1);
                if (*at == '\0') {
                    break;
                }
            } else if (*at != '\0') {
                return bad_if_match(err);
            }
        }
    }
    *out = read;
    return true;
}

bool if_match_holds(const struct if_match *if_match, uint64_t revision) {
    if (!if_match->is_present || if_match->any) {
        return true;
    }
    for (size_t i = 0; i < if_match->count; i++) {
        if (if_match->revisions[i] == revision) {
            return true;
        }
    }
    return false;
}

bool prefer_has(const char *value, const char *preference) {
    size_t length = strlen(preference);
    while (value != NULL && *value != '\0') {
        value += strspn(value, " \t,");
        size_t token = strcspn(value, " \t,;=");
        if (token == length && strncasecmp(value, preference, length) == 0) {
            return true;
        }
        /* Past the parameters of this preference, quoted commas included. */
        bool is_quoted = false;
        for (; *value != '\0' && (is_quoted || *value != ','); value++) {
            if (*value == '"') {
                is_quoted = !is_quoted;
            } else if (is_quoted && *value == '\\' && value[1] != '\0') {
                value++;
            }
        }
    }
    return false;
}

bool media_type_is_json(const char *value) {
    if (value == NULL) {
        return false;
    }
    value = skip_space(value);
    size_t length = strcspn(value, "; \t");
    const char *rest = skip_space(value + length);
    if (*rest != '\0' && *rest != ';') {
        return false;
    }
    static const char json[] = "application/json";
    if (length == sizeof json - 1 && strncasecmp(value, json, length) == 0) {
        return true;
    }
    const char *slash = memchr(value, '/', length);
    return slash != NULL && slash > value && length > 5 && value + length - 5 > slash + 1 &&
           strncasecmp(value + length - 5, "+json", 5) == 0;
}
