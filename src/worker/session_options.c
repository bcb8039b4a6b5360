#include "worker/session_options.h"

#include "base/text.h"
#include "model/settings_file.h"
#include "worker/value.h"

#include <string.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if (!value_ok(api, (call), ERROR_MODEL_UNAVAILABLE, err)) {                                \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

enum { NAMES_BYTES_MAXIMUM = 2048 };

static bool append_cuda(const OrtApi *api, OrtSessionOptions *options, struct error *err) {
    OrtCUDAProviderOptionsV2 *cuda;
    TRY(api->CreateCUDAProviderOptions(&cuda));
    bool ok = value_ok(api, api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda),
                       ERROR_MODEL_UNAVAILABLE, err);
    api->ReleaseCUDAProviderOptions(cuda);
    return ok;
}

static bool append_tensorrt(const OrtApi *api, OrtSessionOptions *options, struct error *err) {
    OrtTensorRTProviderOptionsV2 *tensorrt;
    TRY(api->CreateTensorRTProviderOptions(&tensorrt));
    bool ok =
        value_ok(api, api->SessionOptionsAppendExecutionProvider_TensorRT_V2(options, tensorrt),
                 ERROR_MODEL_UNAVAILABLE, err);
    api->ReleaseTensorRTProviderOptions(tensorrt);
    return ok;
}

/* The call that takes any provider by name does not take these two. The CPU's is always there, and the last. */
static bool append_provider(const OrtApi *api, OrtSessionOptions *options, const char *name,
                            struct error *err) {
    if (strcmp(name, "CPUExecutionProvider") == 0) {
        return true;
    }
    bool ok =
        strcmp(name, "CUDAExecutionProvider") == 0 ? append_cuda(api, options, err)
        : strcmp(name, "TensorrtExecutionProvider") == 0
            ? append_tensorrt(api, options, err)
            : value_ok(api,
                       api->SessionOptionsAppendExecutionProvider(options, name, NULL, NULL, 0),
                       ERROR_MODEL_UNAVAILABLE, err);
    return ok || error_prefix(err, "execution provider %s cannot be used", name);
}

static bool check_is_built_in(const OrtApi *api, const char *name, struct error *err) {
    char **there;
    int count;
    bool found = false;
    struct text names CLEANUP(text_fini);
    text_init(&names, NAMES_BYTES_MAXIMUM);
    TRY(api->GetAvailableProviders(&there, &count));
    for (int i = 0; i < count; i++) {
        found = found || strcmp(there[i], name) == 0;
        text_append(&names, i == 0 ? "" : ", ");
        text_append(&names, there[i]);
    }
    TRY(api->ReleaseAvailableProviders(there, count));
    return found || error_set(err, ERROR_MODEL_UNAVAILABLE,
                              "this ONNX Runtime has no execution provider %s; it has %s", name,
                              text_string(&names));
}

static bool apply(const OrtApi *api, OrtSessionOptions *options, const struct onnx_options *wanted,
                  struct error *err) {
    static const GraphOptimizationLevel levels[] = {
        [ONNX_OPTIMIZATION_ALL] = ORT_ENABLE_ALL,
        [ONNX_OPTIMIZATION_EXTENDED] = ORT_ENABLE_EXTENDED,
        [ONNX_OPTIMIZATION_BASIC] = ORT_ENABLE_BASIC,
        [ONNX_OPTIMIZATION_NONE] = ORT_DISABLE_ALL,
    };
    TRY(api->SetSessionGraphOptimizationLevel(options, levels[wanted->optimization]));
    if (wanted->intra_threads != 0) {
        TRY(api->SetIntraOpNumThreads(options, (int)wanted->intra_threads));
    }
    if (wanted->inter_threads != 0) {
        TRY(api->SetInterOpNumThreads(options, (int)wanted->inter_threads));
        TRY(api->SetSessionExecutionMode(options, wanted->inter_threads > 1 ? ORT_PARALLEL
                                                                            : ORT_SEQUENTIAL));
    }
    for (size_t i = 0; i < wanted->provider_count; i++) {
        if (!check_is_built_in(api, wanted->providers[i], err) ||
            !append_provider(api, options, wanted->providers[i], err)) {
            return false;
        }
    }
    return true;
}

bool session_options_new(const OrtApi *api, const OrtSessionOptions *base, const char *text,
                         OrtSessionOptions **out_options, struct error *err) {
    struct arena arena CLEANUP(arena_fini) = {0};
    struct model_settings settings;
    OrtSessionOptions *options;
    if (!model_settings_parse(text, strlen(text), &arena, &settings, err)) {
        err->kind = ERROR_MODEL_UNAVAILABLE;
        return false;
    }
    TRY(api->CloneSessionOptions(base, &options));
    if (!apply(api, options, &settings.onnx, err)) {
        api->ReleaseSessionOptions(options);
        return false;
    }
    *out_options = options;
    return true;
}
