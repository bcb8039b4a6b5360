/* Finding and opening libonnxruntime. */
#include "worker/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char soname[] = "libonnxruntime.so.1";

static void *open_file(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }

/* dlopen with a wildcard: lib may have a folder for the machine's architecture. */
static void *open_pattern(const char *pattern) {
    glob_t found;
    void *library = NULL;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && library == NULL; i++) {
            library = open_file(found.gl_pathv[i]);
        }
    }
    globfree(&found);
    return library;
}

/* Beside the program (a build folder), then where `make install` puts it. */
static void *open_near_program(void) {
    static const char *const patterns[] = {"%s/%s", "%s/../lib/orrery/%s", "%s/../lib/*/orrery/%s"};
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) {
        return NULL;
    }
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    void *library = NULL;
    for (size_t i = 0; i < COUNT_OF(patterns) && library == NULL; i++) {
        char pattern[PATH_MAX + 64];
        int needed = snprintf(pattern, sizeof pattern, patterns[i], program, soname);
        if (needed > 0 && (size_t)needed < sizeof pattern) {
            library = open_pattern(pattern);
        }
    }
    return library;
}

/* Of the file that the symbol came from. */
static char *folder_of(const void *symbol) {
    Dl_info found;
    char path[PATH_MAX];
    if (dladdr(symbol, &found) == 0 || realpath(found.dli_fname, path) == NULL) {
        return NULL;
    }
    *strrchr(path, '/') = '\0';
    return must_strdup(*path == '\0' ? "/" : path);
}

bool library_open(const char *path, const OrtApiBase **out_base, char **out_folder,
                  struct error *err) {
    /* Recent releases of ONNX Runtime (1.30 is one) collect what models are run on what machine and sends it to its makers over
     * the network, from threads of its own that also wake up an idle process. Nobody here has asked for that. The
     * variable is looked at when the library is loaded. */
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    void *library = path != NULL ? open_file(path) : open_near_program();
    if (library == NULL && path == NULL) {
        library = open_file(soname);
    }
    if (library == NULL) {
        const char *why = dlerror();
        return error_set(
            err, ERROR_MODEL_UNAVAILABLE,
            "ONNX Runtime cannot be opened (%s); run script/setup, or name the library "
            "with --onnxruntime FILE",
            why == NULL ? soname : why);
    }
    const OrtApiBase *(*get_base)(void) = NULL;
    void *symbol = dlsym(library, "OrtGetApiBase");
    /* POSIX's way around the missing conversion from object to function pointers (dlsym(3)). */
    memcpy(&get_base, &symbol, sizeof get_base);
    if (get_base == NULL) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "%s is not ONNX Runtime",
                         path == NULL ? soname : path);
    }
    *out_folder = folder_of(symbol);
    /* The library stays open for as long as the process lives. */
    *out_base = get_base();
    return true;
}
