/* A model.json up to the first NUL, and after it what a run gives: its parameters. What is accepted makes a request: a body that
 * is JSON and what a second, slower reading of the template gives, an address, and header fields of one line each. */
#include "model/settings_file.h"
#include "remote/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

enum { TEXT_BYTES_MAXIMUM = 1 << 24 };
static const int64_t key = INT64_C(1800000000) * US_PER_SECOND * 1024;

/* --- the body ------------------------------------------------------------------------------------ */

/* What each place stands for, as the body has it when it is nothing but that place. */
struct values {
    yyjson_doc *of[4];
};
static const char *const places[4] = {"$parameters", "$scheduled_for", "$execution_id", "$run_id"};

static yyjson_doc *read_json(const char *json, size_t size_bytes) {
    return yyjson_read(json, size_bytes, YYJSON_READ_NUMBER_AS_RAW);
}

static struct values read_values(const struct dispatch_job *job) {
    struct values values;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct text template_text CLEANUP(text_fini);
        struct text value CLEANUP(text_fini);
        text_init(&template_text, TEXT_BYTES_MAXIMUM);
        text_init(&value, TEXT_BYTES_MAXIMUM);
        text_append_json_string(&template_text, places[i]);
        request_append_body(text_string(&template_text), job, &value);
        values.of[i] = read_json(text_string(&value), value.size_bytes);
        ASSERT(values.of[i] != NULL);
    }
    return values;
}

static yyjson_mut_val *fill(yyjson_mut_doc *document, yyjson_val *template_value,
                            const struct values *values) {
    size_t index;
    size_t count;
    yyjson_val *name;
    yyjson_val *item;
    if (yyjson_is_arr(template_value)) {
        yyjson_mut_val *list = yyjson_mut_arr(document);
        yyjson_arr_foreach(template_value, index, count, item) {
            yyjson_mut_arr_append(list, fill(document, item, values));
        }
        return list;
    }
    if (yyjson_is_obj(template_value)) {
        yyjson_mut_val *object = yyjson_mut_obj(document);
        yyjson_obj_foreach(template_value, index, count, name, item) {
            yyjson_mut_obj_add(object, yyjson_val_mut_copy(document, name),
                               fill(document, item, values));
        }
        return object;
    }
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (yyjson_equals_str(template_value, places[i])) {
            return yyjson_val_mut_copy(document, yyjson_doc_get_root(values->of[i]));
        }
    }
    return yyjson_val_mut_copy(document, template_value);
}

static void check_body(const char *template_text, const struct dispatch_job *job) {
    struct text body CLEANUP(text_fini);
    text_init(&body, TEXT_BYTES_MAXIMUM);
    request_append_body(template_text, job, &body);
    if (!text_ok(&body)) {
        return;
    }
    struct values values = read_values(job);
    yyjson_doc *body_document = read_json(text_string(&body), body.size_bytes);
    yyjson_doc *template_document = read_json(template_text, strlen(template_text));
    ASSERT(body_document != NULL && template_document != NULL);
    yyjson_mut_doc *expected_document = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *filled =
        fill(expected_document, yyjson_doc_get_root(template_document), &values);
    char *expected = yyjson_mut_val_write(filled, YYJSON_WRITE_NOFLAG, NULL);
    char *found = yyjson_val_write(yyjson_doc_get_root(body_document), YYJSON_WRITE_NOFLAG, NULL);
    ASSERT(expected != NULL && found != NULL && strcmp(expected, found) == 0);
    free(expected);
    free(found);
    yyjson_mut_doc_free(expected_document);
    yyjson_doc_free(template_document);
    yyjson_doc_free(body_document);
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        yyjson_doc_free(values.of[i]);
    }
}

/* --- the rest ------------------------------------------------------------------------------------ */

static char folder[] = "/tmp/orrery-fuzz-secrets-XXXXXX";

static void remove_folder(void) {
    char path[sizeof folder + 2];
    snprintf(path, sizeof path, "%s/a", folder);
    unlink(path);
    rmdir(folder);
}

static void make_folder(void) {
    char path[sizeof folder + 2];
    ASSERT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a", folder);
    FILE *file = fopen(path, "we");
    ASSERT(file != NULL && fputs("a-secret\n", file) >= 0 && fclose(file) == 0);
    atexit(remove_folder);
}

static void check_line(const char *line) {
    for (; *line != '\0'; line++) {
        ASSERT((unsigned char)*line >= ' ' && *line != 0x7f);
    }
}

static void check_headers(const struct http_settings *settings) {
    for (size_t i = 0; i < settings->header_count; i++) {
        struct error err;
        struct secrets secrets;
        struct text value CLEANUP(text_fini);
        secrets_init(&secrets);
        text_init(&value, TEXT_BYTES_MAXIMUM);
        check_line(settings->headers[i].name);
        if (request_append_header_value(settings->headers[i].value, folder, &value, &secrets,
                                        &err)) {
            check_line(text_string(&value));
            ASSERT(strstr(text_string(&value), "${secret:") == NULL);
            secrets_mask(&secrets, value.data == NULL ? (char[1]){0} : value.data,
                         value.data == NULL ? 1 : value.size_bytes + 1);
            ASSERT(secrets.values.size_bytes == 0 ||
                   strstr(text_string(&value), "a-secret") == NULL);
        } else {
            ASSERT(err.kind == ERROR_MODEL_UNAVAILABLE);
        }
        secrets_fini(&secrets);
    }
}

static void check_urls(const struct model_settings *settings) {
    static const enum request_kind kinds[] = {REQUEST_RUN, REQUEST_METADATA, REQUEST_READY};
    struct model model = {.name = "a name/\xc3\xa9", .settings = *settings};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct text url CLEANUP(text_fini);
        text_init(&url, TEXT_BYTES_MAXIMUM);
        request_append_url(&model, kinds[i], &url);
        check_line(text_string(&url));
        ASSERT(strchr(text_string(&url), ' ') == NULL);
        ASSERT(strncmp(text_string(&url), "http", 4) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    static bool has_folder;
    if (!has_folder) {
        make_folder();
        has_folder = true;
    }
    const uint8_t *end = memchr(bytes, '\0', size_bytes);
    if (end == NULL) {
        return 0;
    }
    const char *parameters = (const char *)end + 1;
    size_t parameters_bytes = size_bytes - (size_t)(end + 1 - bytes);
    struct model_settings settings;
    struct error err;
    struct arena arena CLEANUP(arena_fini) = {0};
    if (!model_settings_parse((const char *)bytes, (size_t)(end - bytes), &arena, &settings,
                              &err) ||
        settings.http == NULL) {
        return 0;
    }
    struct dispatch_job job = {
        .parameters = parameters,
        .parameters_bytes = parameters_bytes,
        .execution_key = key,
        .origin = {
            .run_key = key + 1, .store_tag = 7, .scheduled_for = {US_PER_SECOND}, .attempt = 1}};
    /* What is no JSON never becomes a job. */
    yyjson_doc *document = read_json(parameters, parameters_bytes);
    if (document != NULL && settings.backend == MODEL_BACKEND_HTTP) {
        check_body(settings.http->body, &job);
    }
    yyjson_doc_free(document);
    check_headers(settings.http);
    check_urls(&settings);
    return 0;
}
