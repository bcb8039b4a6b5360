#include "cli/client.h"

#include "remote/curl_library.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

enum { CONNECT_LIMIT_S = 10, REQUEST_LIMIT_S = 300, URL_BYTES_MAXIMUM = 8192 };

static size_t collect(char *bytes, size_t size, size_t count, void *context) {
    struct text *body = context;
    text_append_bytes(body, bytes, size * count);
    return text_ok(body) ? size * count : 0;
}

void client_escape(const char *string, struct text *out) {
    for (const unsigned char *at = (const unsigned char *)string; *at != '\0'; at++) {
        if (isalnum(*at) || strchr("-._~", *at) != NULL) {
            text_append_char(out, (char)*at);
        } else {
            text_printf(out, "%%%02X", *at);
        }
    }
}

static bool refused(const char *body, long status, struct error *err) {
    yyjson_doc *document = yyjson_read(body, strlen(body), 0);
    const char *message = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(document), "message"));
    error_set(err, ERROR_INVALID, "%s (HTTP %ld)",
              message == NULL ? "the server gave no reason" : message, status);
    if (status == 401) {
        error_prefix(err, "no entry; name a key with --key or ORRERY_API_KEY");
    }
    yyjson_doc_free(document);
    return false;
}

static bool perform(const struct curl_library *curl, CURL *handle, const char *url,
                    struct curl_slist *headers, struct text *out_body, struct error *err) {
    curl->easy_setopt(handle, CURLOPT_URL, url);
    curl->easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, collect);
    curl->easy_setopt(handle, CURLOPT_WRITEDATA, out_body);
    curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_LIMIT_S);
    curl->easy_setopt(handle, CURLOPT_TIMEOUT, (long)REQUEST_LIMIT_S);
    curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    CURLcode code = curl->easy_perform(handle);
    if (code != CURLE_OK) {
        return error_set(err, ERROR_IO, "%s: %s; is `orrery serve` running there?", url,
                         curl->easy_strerror(code));
    }
    long status = 0;
    curl->easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    return (status >= 200 && status < 300) || refused(text_string(out_body), status, err);
}

bool client_get(const struct client_options *options, const char *path, struct text *out_body,
                struct error *err) {
    const char *server = options->server != NULL ? options->server : getenv("ORRERY_URL");
    const char *key = options->key != NULL ? options->key : getenv("ORRERY_API_KEY");
    const struct curl_library *curl;
    if (!curl_library_open(&curl, err)) {
        return false;
    }
    struct text url;
    struct text authorization;
    text_init(&url, URL_BYTES_MAXIMUM);
    text_init(&authorization, URL_BYTES_MAXIMUM);
    text_printf(&url, "%s%s", server == NULL ? "http://127.0.0.1:8080" : server, path);
    text_printf(&authorization, "Authorization: Bearer %s", key == NULL ? "" : key);
    CURL *handle = curl->easy_init();
    struct curl_slist *headers = curl->slist_append(NULL, text_string(&authorization));
    bool ok = handle != NULL && headers != NULL && text_ok(&url)
                  ? perform(curl, handle, text_string(&url), headers, out_body, err)
                  : error_set(err, ERROR_IO, "the request could not be made");
    curl->slist_free_all(headers);
    curl->easy_cleanup(handle);
    text_fini(&url);
    text_fini(&authorization);
    return ok;
}
