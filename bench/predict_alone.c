/* What a prediction costs without the service around it, for bench/predict.py to measure the service against:
 *
 *   a call of ONNX Runtime alone, its tensors made beforehand
 *   what a worker does for a call: JSON to tensors, the call, JSON again
 *   a document of parameters read by yyjson alone, and as a body is read and checked here
 *
 *   predict_alone MODEL.onnx [LIBRARY]   a model with one input [-1, 10] of FP32, as examples/models/diabetes
 *
 * Prints "name value" lines, in microseconds of processor time a call. */
#include "api/body.h"
#include "base/sealed.h"
#include "model/tensor.h"
#include "worker/library.h"
#include "worker/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 20000, DOCUMENTS = 15, DOCUMENT_BYTES = 10 << 20, FEATURES = 10 };

static const char row_text[] = "[52,1,28.5,110,195,97.2,60,3,5.2417,85]";
static const float row[FEATURES] = {52, 1, 28.5F, 110, 195, 97.2F, 60, 3, 5.2417F, 85};

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fprintf(stderr, "predict_alone: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
}

static double cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void report(const char *name, double us) {
    printf("%s %.3f\n", name, us);
    fflush(stdout);
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/* The median: what other processes do to the machine's caches comes in bursts. */
static void report_median(const char *name, double *us, size_t count) {
    qsort(us, count, sizeof *us, compare);
    report(name, us[count / 2]);
}

/* --- ONNX Runtime alone --------------------------------------------------------------------------- */

static const OrtApi *api;

static void must_run(OrtStatus *status) {
    if (status != NULL) {
        fprintf(stderr, "predict_alone: %s\n", api->GetErrorMessage(status));
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
}

static void measure_bare(const char *library, const char *path, const struct signature *signature) {
    const OrtApiBase *base;
    struct error err;
    char *folder = NULL;
    must(library_open(library, &base, &folder, &err), &err);
    free(folder);
    api = base->GetApi(ORT_API_VERSION);
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtMemoryInfo *memory;
    OrtValue *input;
    must_run(api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "bench", &environment));
    must_run(api->CreateSessionOptions(&options));
    must_run(api->SetIntraOpNumThreads(options, 1));
    must_run(api->CreateSession(environment, path, options, &session));
    must_run(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    must_run(api->CreateTensorWithDataAsOrtValue(memory, (void *)(uintptr_t)row, sizeof row,
                                                 (const int64_t[]){1, FEATURES}, 2,
                                                 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
    const char *inputs[] = {signature->inputs[0].name};
    const char *outputs[] = {signature->outputs[0].name};
    double start = 0;
    for (int i = -CALLS / 10; i < CALLS; i++) {
        if (i == 0) {
            start = cpu_us();
        }
        OrtValue *output = NULL;
        must_run(api->Run(session, NULL, inputs, (const OrtValue *const *)&input, 1, outputs, 1,
                          &output));
        api->ReleaseValue(output);
    }
    report("bare_us", (cpu_us() - start) / CALLS);
}

/* --- what a worker does ---------------------------------------------------------------------------- */

static void call_once(struct runtime *runtime, struct runtime_model *model, const char *text,
                      size_t text_bytes, struct arena *arena, struct text *result) {
    struct error err;
    const size_t wanted[] = {0};
    yyjson_doc *document = yyjson_read(text, text_bytes, YYJSON_READ_NUMBER_AS_RAW);
    struct tensor tensor;
    must(tensors_from_json(runtime_signature(model), yyjson_doc_get_root(document), arena, &tensor,
                           &err),
         &err);
    must(runtime_run(runtime, model, &tensor, wanted, 1, arena, result, &err), &err);
    yyjson_doc_free(document);
    arena_reset(arena);
    text_reset(result);
}

static void measure_worker(struct runtime *runtime, struct runtime_model *model) {
    struct text body;
    struct text result;
    struct arena arena = {0};
    text_init(&body, 4096);
    text_init(&result, 4096);
    text_printf(&body, "{\"data\":[%s]}", row_text);
    double start = 0;
    for (int i = -CALLS / 10; i < CALLS; i++) {
        if (i == 0) {
            start = cpu_us();
        }
        call_once(runtime, model, body.data, body.size_bytes, &arena, &result);
    }
    report("worker_us", (cpu_us() - start) / CALLS);
    text_fini(&body);
    text_fini(&result);
    arena_fini(&arena);
}

/* --- a large document ------------------------------------------------------------------------------ */

static void measure_document(const struct signature *signature) {
    struct text document;
    text_init(&document, 2 * (size_t)DOCUMENT_BYTES);
    text_append(&document, "{\"data\":[");
    while (document.size_bytes < DOCUMENT_BYTES) {
        text_append(&document, row_text);
        text_append_char(&document, ',');
    }
    text_append(&document, row_text);
    text_append(&document, "]}");
    double yyjson[DOCUMENTS];
    double parsed[DOCUMENTS];
    double checked[DOCUMENTS];
    double shared[DOCUMENTS];
    for (size_t i = 0; i < DOCUMENTS; i++) {
        struct error err;
        double start = cpu_us();
        yyjson_doc_free(yyjson_read(document.data, document.size_bytes, 0));
        yyjson[i] = cpu_us() - start;

        struct body body;
        start = cpu_us();
        must(body_parse(document.data, document.size_bytes, NULL, &body, &err), &err);
        parsed[i] = cpu_us() - start;
        must(tensors_from_json(signature, body.root, NULL, NULL, &err), &err);
        checked[i] = cpu_us() - start;
        body_fini(&body);

        int file;
        start = cpu_us();
        must(sealed_new(document.data, document.size_bytes, &file, &err), &err);
        shared[i] = cpu_us() - start;
        close(file);
    }
    report("document_bytes", (double)document.size_bytes);
    report_median("document_yyjson_us", yyjson, DOCUMENTS);
    report_median("document_parsed_us", parsed, DOCUMENTS);
    report_median("document_checked_us", checked, DOCUMENTS);
    report_median("document_shared_us", shared, DOCUMENTS);
    text_fini(&document);
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: predict_alone MODEL.onnx [LIBRARY]\n");
        return 2;
    }
    struct runtime *runtime;
    struct runtime_model *model;
    struct error err;
    const char *library = count > 2 ? arguments[2] : NULL;
    must(runtime_open(&(struct runtime_options){.library = library, .session_threads = 1}, &runtime,
                      &err),
         &err);
    must(runtime_load(runtime, arguments[1], NULL, NULL, &model, &err), &err);
    measure_bare(library, arguments[1], runtime_signature(model));
    measure_worker(runtime, model);
    measure_document(runtime_signature(model));
    return 0;
}
