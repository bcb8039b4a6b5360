#include "remote/request.h"

#include "base/identity.h"
#include "model/openai.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { SECRET_NAME_BYTES_MAXIMUM = 128 };

/* --- the body ------------------------------------------------------------------------------------ */

static void append_id(int64_t key, uint64_t store_tag, struct text *out) {
    char id[UUID_TEXT_BYTES];
    if (key == 0) {
        text_append(out, "null");
        return;
    }
    identity_format(key, store_tag, id);
    text_append_json_string(out, id);
}

static void append_parameters(const struct dispatch_job *job, struct text *out) {
    text_append_bytes(out, job->parameters, job->parameters_bytes);
}

static void append_scheduled_for(const struct dispatch_job *job, struct text *out) {
    char time[RFC3339_BYTES];
    if (job->execution_key == 0 || wall_time_is_none(job->origin.scheduled_for)) {
        text_append(out, "null");
        return;
    }
    wall_time_format(job->origin.scheduled_for, time);
    text_append_json_string(out, time);
}

static void append_execution_id(const struct dispatch_job *job, struct text *out) {
    append_id(job->execution_key, job->origin.store_tag, out);
}

static void append_run_id(const struct dispatch_job *job, struct text *out) {
    append_id(job->origin.run_key, job->origin.store_tag, out);
}

static const struct {
    const char *literal;
    void (*append)(const struct dispatch_job *job, struct text *out);
} places[] = {
    {"\"$parameters\"", append_parameters},
    {"\"$scheduled_for\"", append_scheduled_for},
    {"\"$execution_id\"", append_execution_id},
    {"\"$run_id\"", append_run_id},
};

/* The template is yyjson's own writing: no space around anything, and `$` is never escaped. */
static const char *append_string(const char *at, const struct dispatch_job *job, struct text *out) {
    const char *end = at + 1;
    while (*end != '"') {
        end += *end == '\\' ? 2 : 1;
    }
    end++;
    size_t length = (size_t)(end - at);
    for (size_t i = 0; i < COUNT_OF(places) && *end != ':'; i++) {
        if (strlen(places[i].literal) == length && memcmp(at, places[i].literal, length) == 0) {
            places[i].append(job, out);
            return end;
        }
    }
    text_append_bytes(out, at, length);
    return end;
}

void request_append_body(const char *template_text, const struct dispatch_job *job,
                         struct text *out) {
    const char *at = template_text;
    while (*at != '\0') {
        size_t plain = strcspn(at, "\"");
        text_append_bytes(out, at, plain);
        at += plain;
        if (*at == '"') {
            at = append_string(at, job, out);
        }
    }
}

/* NULL where there is none. */
static const char *format_id(int64_t key, uint64_t store_tag, char out[static UUID_TEXT_BYTES]) {
    if (key == 0) {
        return NULL;
    }
    identity_format(key, store_tag, out);
    return out;
}

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

static bool append_openai_body(const struct model *model, const struct dispatch_job *job,
                               struct text *out, struct error *err) {
    char execution_id[UUID_TEXT_BYTES];
    char run_id[UUID_TEXT_BYTES];
    char scheduled_for[RFC3339_BYTES];
    struct openai_origin origin = {
        .execution_id = format_id(job->execution_key, job->origin.store_tag, execution_id),
        .run_id = format_id(job->origin.run_key, job->origin.store_tag, run_id),
    };
    if (job->execution_key != 0 && !wall_time_is_none(job->origin.scheduled_for)) {
        wall_time_format(job->origin.scheduled_for, scheduled_for);
        origin.scheduled_for = scheduled_for;
    }
    /* Without YYJSON_READ_INSITU the text is only read; the signature is older than const. */
    yyjson_doc *parameters CLEANUP(free_document) =
        yyjson_read_opts((char *)(uintptr_t)job->parameters, job->parameters_bytes,
                         YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    return openai_append_body(model, yyjson_doc_get_root(parameters), &origin, out, err);
}

bool request_make_body(const struct model *model, const struct dispatch_job *job, struct text *out,
                       struct error *err) {
    if (model->settings.backend == MODEL_BACKEND_OPENAI) {
        return append_openai_body(model, job, out, err);
    }
    request_append_body(model->settings.http->body, job, out);
    return true;
}

/* --- the address --------------------------------------------------------------------------------- */

static void append_escaped(const char *string, struct text *out) {
    for (const unsigned char *at = (const unsigned char *)string; *at != '\0'; at++) {
        if (isalnum(*at) || strchr("-._~", *at) != NULL) {
            text_append_char(out, (char)*at);
        } else {
            text_printf(out, "%%%02X", *at);
        }
    }
}

/* What follows a question mark stays behind the path: some services want a version there. */
static void append_openai_url(const struct http_settings *settings, struct text *out) {
    size_t path_bytes = strcspn(settings->url, "?#");
    size_t length = path_bytes;
    while (settings->url[length - 1] == '/') {
        length--;
    }
    text_append_bytes(out, settings->url, length);
    text_append(out, settings->openai->task == OPENAI_CHAT ? "/chat/completions" : "/embeddings");
    text_append(out, settings->url + path_bytes);
}

void request_append_url(const struct model *model, enum request_kind kind, struct text *out) {
    static const char *const endings[] = {
        [REQUEST_RUN] = "/infer", [REQUEST_METADATA] = "", [REQUEST_READY] = "/ready"};
    const struct http_settings *settings = model->settings.http;
    if (model->settings.backend == MODEL_BACKEND_OPENAI) {
        append_openai_url(settings, out);
        return;
    }
    if (model->settings.backend != MODEL_BACKEND_OPENINFERENCE) {
        text_append(out, settings->url);
        return;
    }
    size_t length = strlen(settings->url);
    while (settings->url[length - 1] == '/') {
        length--;
    }
    text_append_bytes(out, settings->url, length);
    text_append(out, "/v2/models/");
    append_escaped(settings->served_name == NULL ? model->name : settings->served_name, out);
    text_append(out, endings[kind]);
}

/* --- header fields ------------------------------------------------------------------------------- */

bool request_append_header_value(const char *value, const char *secrets_folder, struct text *out,
                                 struct secrets *secrets, struct error *err) {
    static const char begin[] = "${secret:";
    const char *at = value;
    for (const char *place; (place = strstr(at, begin)) != NULL;) {
        const char *name = place + strlen(begin);
        size_t length = strcspn(name, "}");
        char copy[SECRET_NAME_BYTES_MAXIMUM + 1];
        if (name[length] == '\0' || length > SECRET_NAME_BYTES_MAXIMUM) {
            return error_set(err, ERROR_MODEL_UNAVAILABLE, "a header has '${secret:' without '}'");
        }
        memcpy(copy, name, length);
        copy[length] = '\0';
        text_append_bytes(out, at, (size_t)(place - at));
        if (!secrets_append(secrets, copy, secrets_folder, out, err)) {
            return false;
        }
        at = name + length + 1;
    }
    text_append(out, at);
    return true;
}

void request_format_traceparent(const struct dispatch_job *job,
                                char out[static TRACEPARENT_BYTES]) {
    char id[UUID_TEXT_BYTES];
    char trace[33];
    size_t used = 0;
    identity_format(job->execution_key, job->origin.store_tag, id);
    for (const char *at = id; *at != '\0'; at++) {
        if (*at != '-') {
            trace[used++] = *at;
        }
    }
    trace[used] = '\0';
    snprintf(out, TRACEPARENT_BYTES, "00-%s-%016llx-01", trace,
             (unsigned long long)job->execution_key << 8 | (job->origin.attempt & 0xff) | 1U << 7);
}
