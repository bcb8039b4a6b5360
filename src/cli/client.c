#include "cli/client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

enum { CONNECT_LIMIT_S = 10, REQUEST_LIMIT_S = 300, URL_BYTES_MAXIMUM = 8192 };

/* The functions of libcurl that are used here. */
struct curl_functions {
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

static bool load_symbol(void *library, const char *name, void *out_function, struct error *err) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        return error_set(err, ERROR_IO, "libcurl lacks %s; run script/setup", name);
    }
    /* POSIX's way around the missing conversion from object to function pointers (dlsym(3)). */
    memcpy(out_function, &symbol, sizeof symbol);
    return true;
}

static bool load_curl(struct curl_functions *curl, struct error *err) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return error_set(err, ERROR_IO, "libcurl cannot be opened (%s); run script/setup",
                         dlerror());
    }
    return load_symbol(library, "curl_easy_init", &curl->easy_init, err) &&
           load_symbol(library, "curl_easy_setopt", &curl->easy_setopt, err) &&
           load_symbol(library, "curl_easy_perform", &curl->easy_perform, err) &&
           load_symbol(library, "curl_easy_getinfo", &curl->easy_getinfo, err) &&
           load_symbol(library, "curl_easy_cleanup", &curl->easy_cleanup, err) &&
           load_symbol(library, "curl_easy_strerror", &curl->easy_strerror, err) &&
           load_symbol(library, "curl_slist_append", &curl->slist_append, err) &&
           load_symbol(library, "curl_slist_free_all", &curl->slist_free_all, err);
}

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

static bool perform(const struct curl_functions *curl, CURL *handle, const char *url,
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
    struct curl_functions curl;
    if (!load_curl(&curl, err)) {
        return false;
    }
    struct text url;
    struct text authorization;
    text_init(&url, URL_BYTES_MAXIMUM);
    text_init(&authorization, URL_BYTES_MAXIMUM);
    text_printf(&url, "%s%s", server == NULL ? "http://127.0.0.1:8080" : server, path);
    text_printf(&authorization, "Authorization: Bearer %s", key == NULL ? "" : key);
    CURL *handle = curl.easy_init();
    struct curl_slist *headers = curl.slist_append(NULL, text_string(&authorization));
    bool ok = handle != NULL && headers != NULL && text_ok(&url)
                  ? perform(&curl, handle, text_string(&url), headers, out_body, err)
                  : error_set(err, ERROR_IO, "the request could not be made");
    curl.slist_free_all(headers);
    curl.easy_cleanup(handle);
    text_fini(&url);
    text_fini(&authorization);
    return ok;
}
