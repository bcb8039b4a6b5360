/* libcurl, opened instead of linked: a daemon without models on other servers does without it and all that it brings.
 *
 * Opened once, by the first who asks, and kept. Any thread. */
#ifndef ORRERY_REMOTE_CURL_LIBRARY_H
#define ORRERY_REMOTE_CURL_LIBRARY_H

#include "base/error.h"

#include <curl/curl.h>

/* Its functions that are used, by their names without "curl_". */
struct curl_library {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_setopt)(CURLM *, CURLMoption, ...);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned int, int, int *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
    CURLMcode (*multi_cleanup)(CURLM *);
};

/* ERROR_IO: it is not there, or lacks a function. */
MUST_CHECK bool curl_library_open(const struct curl_library **out_library, struct error *err);

#endif
