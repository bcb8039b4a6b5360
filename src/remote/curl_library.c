#include "remote/curl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static struct curl_library library;
static bool is_open;
static struct error failure;

static bool load(void *handle, const char *name, void *out_function) {
    void *symbol = dlsym(handle, name);
    if (symbol == NULL) {
        return error_set(&failure, ERROR_IO, "libcurl lacks %s; run script/setup", name);
    }
    /* POSIX's way around the missing conversion from object to function pointers (dlsym(3)). */
    memcpy(out_function, &symbol, sizeof symbol);
    return true;
}

static void open_library(void) {
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        error_set(&failure, ERROR_IO, "libcurl cannot be opened (%s); run script/setup", dlerror());
        return;
    }
    const struct {
        const char *name;
        void *function;
    } functions[] = {
        {"curl_global_init", &library.global_init},
        {"curl_easy_init", &library.easy_init},
        {"curl_easy_setopt", &library.easy_setopt},
        {"curl_easy_perform", &library.easy_perform},
        {"curl_easy_getinfo", &library.easy_getinfo},
        {"curl_easy_cleanup", &library.easy_cleanup},
        {"curl_easy_strerror", &library.easy_strerror},
        {"curl_slist_append", &library.slist_append},
        {"curl_slist_free_all", &library.slist_free_all},
        {"curl_multi_init", &library.multi_init},
        {"curl_multi_setopt", &library.multi_setopt},
        {"curl_multi_add_handle", &library.multi_add_handle},
        {"curl_multi_remove_handle", &library.multi_remove_handle},
        {"curl_multi_perform", &library.multi_perform},
        {"curl_multi_poll", &library.multi_poll},
        {"curl_multi_info_read", &library.multi_info_read},
        {"curl_multi_cleanup", &library.multi_cleanup},
    };
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        if (!load(handle, functions[i].name, functions[i].function)) {
            return;
        }
    }
    if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        error_set(&failure, ERROR_IO, "libcurl cannot be initialised");
        return;
    }
    is_open = true;
}

bool curl_library_open(const struct curl_library **out_library, struct error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_library);
    if (!is_open) {
        *err = failure;
        return false;
    }
    *out_library = &library;
    return true;
}
