#include "worker/runtime.h"

#include "base/list.h"
#include "worker/library.h"
#include "worker/onnx_file.h"
#include "worker/session_options.h"
#include "worker/value.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SESSIONS_MAXIMUM = 1024, INPUTS_MAXIMUM = 1024 };
#define MODEL_FILE_BYTES_MAXIMUM ((off_t)1 << 31) /* protobuf's own limit */
/* That may be left over before a process counts as bloated; more where more is kept. */
#define LEFT_OVER_BYTES_LEAST ((uint64_t)128 << 20)

struct runtime_model {
    struct list_node node; /* in runtime.models, most recently used first */
    char *path;
    uint64_t path_hash;
    uint64_t size_bytes;  /* that it takes */
    char *options;        /* of its session */
    struct stat identity; /* of the file when it was loaded */
    OrtSession *session;
    struct arena arena; /* of the signature */
    struct signature signature;
    unsigned char digest[MODEL_DIGEST_BYTES];
};

struct runtime {
    const OrtApi *api;
    const char *version;
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtMemoryInfo *memory;
    OrtAllocator *allocator;
    struct list_node models;
    size_t model_count;
    uint64_t models_bytes; /* that they take together */
    char *folder;          /* of the library */
    bool is_set_up;
    struct runtime_options options_given;
    int statm_fd;        /* /proc/self/statm */
    uint64_t bare_bytes; /* of the process without models */
    bool has_unloaded;   /* a model went, so memory may be left over */
    bool is_bloated;
};

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if (!value_ok(api, (call), ERROR_MODEL_UNAVAILABLE, err)) {                                \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* By default one thread for each session, and no spinning: the processes are what runs side by side. What ONNX Runtime would
 * log as an error is in the status that it returns, and reaches the record. */
static bool set_up(struct runtime *runtime, struct error *err) {
    int threads = (int)MAX_OF(runtime->options_given.session_threads, 1U);
    const OrtApi *api = runtime->api;
    TRY(api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "orrery", &runtime->environment));
    TRY(api->DisableTelemetryEvents(runtime->environment));
    TRY(api->CreateSessionOptions(&runtime->options));
    TRY(api->SetIntraOpNumThreads(runtime->options, threads));
    TRY(api->SetInterOpNumThreads(runtime->options, 1));
    TRY(api->AddSessionConfigEntry(runtime->options, "session.intra_op.allow_spinning", "0"));
    TRY(api->AddSessionConfigEntry(runtime->options, "session.inter_op.allow_spinning", "0"));
    TRY(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &runtime->memory));
    TRY(api->GetAllocatorWithDefaultOptions(&runtime->allocator));
    return true;
}

/* How much memory the process has, in bytes (proc(5): the second number of statm, in pages). 0 if it is not known. */
static uint64_t resident_bytes(const struct runtime *runtime) {
    char line[128];
    ssize_t size_bytes = pread(runtime->statm_fd, line, sizeof line - 1, 0);
    if (size_bytes <= 0) {
        return 0;
    }
    line[size_bytes] = '\0';
    const char *second = strchr(line, ' ');
    return second == NULL ? 0 : strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool runtime_open(const struct runtime_options *options, struct runtime **out_runtime,
                  struct error *err) {
    const OrtApiBase *base;
    char *folder = NULL;
    if (!library_open(options->library, &base, &folder, err)) {
        return false;
    }
    const OrtApi *api = base->GetApi(ORT_API_VERSION);
    if (api == NULL) {
        free(folder);
        return error_set(err, ERROR_MODEL_UNAVAILABLE,
                         "ONNX Runtime %s is too old: version 1.%d or later is needed",
                         base->GetVersionString(), ORT_API_VERSION);
    }
    struct runtime *runtime = must_alloc_zeroed(1, sizeof *runtime);
    runtime->api = api;
    runtime->version = base->GetVersionString();
    runtime->folder = folder;
    runtime->options_given = *options;
    runtime->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    list_init(&runtime->models);
    *out_runtime = runtime;
    return true;
}

const char *runtime_version(const struct runtime *runtime) { return runtime->version; }

const char *runtime_folder(const struct runtime *runtime) { return runtime->folder; }

size_t runtime_loaded_count(const struct runtime *runtime) { return runtime->model_count; }

bool runtime_is_bloated(const struct runtime *runtime) { return runtime->is_bloated; }

const struct signature *runtime_signature(const struct runtime_model *model) {
    return &model->signature;
}

const unsigned char *runtime_digest(const struct runtime_model *model) { return model->digest; }

/* --- the signature ------------------------------------------------------------------------------ */

static bool read_tensor_info(const OrtApi *api, const OrtTypeInfo *info,
                             struct tensor_signature *out, struct error *err) {
    const OrtTensorTypeAndShapeInfo *tensor;
    ONNXTensorElementDataType type;
    size_t rank;
    TRY(api->CastTypeInfoToTensorInfo(info, &tensor));
    TRY(api->GetTensorElementType(tensor, &type));
    TRY(api->GetDimensionsCount(tensor, &rank));
    if (rank > TENSOR_RANK_MAXIMUM) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE,
                         "'%s' has %zu dimensions; at most %d are read", out->name, rank,
                         TENSOR_RANK_MAXIMUM);
    }
    out->type = value_tensor_type(type);
    out->shape.rank = (uint32_t)rank;
    TRY(api->GetDimensions(tensor, out->shape.dimensions, rank));
    for (size_t i = 0; i < rank; i++) {
        out->shape.dimensions[i] = MAX_OF(out->shape.dimensions[i], INT64_C(-1));
    }
    return true;
}

static bool read_type_info(const OrtApi *api, const OrtTypeInfo *info, struct tensor_signature *out,
                           struct error *err);

static bool read_sequence_info(const OrtApi *api, const OrtTypeInfo *info,
                               struct tensor_signature *out, struct error *err) {
    const OrtSequenceTypeInfo *sequence;
    OrtTypeInfo *element;
    struct tensor_signature of = {.name = out->name};
    TRY(api->CastTypeInfoToSequenceTypeInfo(info, &sequence));
    TRY(api->GetSequenceElementType(sequence, &element));
    bool ok = read_type_info(api, element, &of, err);
    api->ReleaseTypeInfo(element);
    out->type = TENSOR_SEQUENCE;
    out->element_type = of.type;
    out->shape.rank = TENSOR_RANK_UNKNOWN;
    return ok;
}

/* What is optional is taken for what it may be: ONNX Runtime cannot be given an input without a value. */
static bool read_type_info(const OrtApi *api, const OrtTypeInfo *info, struct tensor_signature *out,
                           struct error *err) {
    const OrtOptionalTypeInfo *optional;
    OrtTypeInfo *contained;
    enum ONNXType kind;
    TRY(api->GetOnnxTypeFromTypeInfo(info, &kind));
    switch (kind) {
    case ONNX_TYPE_TENSOR:
        return read_tensor_info(api, info, out, err);
    case ONNX_TYPE_SEQUENCE:
        return read_sequence_info(api, info, out, err);
    case ONNX_TYPE_OPTIONAL:
        TRY(api->CastTypeInfoToOptionalTypeInfo(info, &optional));
        TRY(api->GetOptionalContainedTypeInfo(optional, &contained));
        bool ok = read_type_info(api, contained, out, err);
        api->ReleaseTypeInfo(contained);
        return ok;
    default:
        out->type = kind == ONNX_TYPE_MAP ? TENSOR_MAP : TENSOR_OTHER;
        return true;
    }
}

struct port {
    OrtStatus *(ORT_API_CALL *count)(const OrtSession *, size_t *);
    OrtStatus *(ORT_API_CALL *name)(const OrtSession *, size_t, OrtAllocator *, char **);
    OrtStatus *(ORT_API_CALL *type)(const OrtSession *, size_t, OrtTypeInfo **);
};

static bool read_port(struct runtime *runtime, struct runtime_model *model, const struct port *port,
                      struct tensor_signature **out_tensors, size_t *out_count, struct error *err) {
    const OrtApi *api = runtime->api;
    size_t count;
    TRY(port->count(model->session, &count));
    if (count > INPUTS_MAXIMUM) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "%zu inputs or outputs; at most %d are read",
                         count, INPUTS_MAXIMUM);
    }
    struct tensor_signature *tensors =
        arena_alloc_zeroed(&model->arena, (count + 1) * sizeof *tensors);
    for (size_t i = 0; i < count; i++) {
        char *name;
        TRY(port->name(model->session, i, runtime->allocator, &name));
        tensors[i].name = arena_strdup(&model->arena, name);
        TRY(api->AllocatorFree(runtime->allocator, name));
        OrtTypeInfo *info;
        TRY(port->type(model->session, i, &info));
        bool ok = read_type_info(api, info, &tensors[i], err);
        api->ReleaseTypeInfo(info);
        if (!ok) {
            return false;
        }
    }
    *out_tensors = tensors;
    *out_count = count;
    return true;
}

static bool read_signature(struct runtime *runtime, struct runtime_model *model,
                           struct error *err) {
    const OrtApi *api = runtime->api;
    const struct port inputs = {api->SessionGetInputCount, api->SessionGetInputName,
                                api->SessionGetInputTypeInfo};
    const struct port outputs = {api->SessionGetOutputCount, api->SessionGetOutputName,
                                 api->SessionGetOutputTypeInfo};
    struct signature *signature = &model->signature;
    return read_port(runtime, model, &inputs, &signature->inputs, &signature->input_count, err) &&
           read_port(runtime, model, &outputs, &signature->outputs, &signature->output_count, err);
}

static void find_unknown_shapes(struct tensor_signature *tensors, size_t count, const char *bytes,
                                size_t size_bytes) {
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].shape.rank == 0 &&
            onnx_file_lacks_shape(bytes, size_bytes, tensors[i].name)) {
            tensors[i].shape.rank = TENSOR_RANK_UNKNOWN;
        }
    }
}

/* --- loading ------------------------------------------------------------------------------------ */

static void unload(struct runtime *runtime, struct runtime_model *model) {
    list_remove(&model->node);
    runtime->model_count--;
    runtime->models_bytes -= model->size_bytes;
    runtime->has_unloaded = true;
    if (model->session != NULL) {
        runtime->api->ReleaseSession(model->session);
    }
    arena_fini(&model->arena);
    free(model->path);
    free(model->options);
    free(model);
}

static void close_descriptor(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

/* The whole file; the caller frees it. */
static bool read_file(const char *path, struct stat *out_identity, char **out_bytes,
                      size_t *out_size_bytes, struct error *err) {
    int fd CLEANUP(close_descriptor) = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, out_identity) != 0) {
        return error_set_errno(err, ERROR_MODEL_UNAVAILABLE, errno, "the file cannot be read");
    }
    if (!S_ISREG(out_identity->st_mode) || out_identity->st_size > MODEL_FILE_BYTES_MAXIMUM) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "not a regular file of at most 2 GB");
    }
    size_t wanted_bytes = (size_t)out_identity->st_size;
    char *bytes = malloc(wanted_bytes + 1);
    if (bytes == NULL) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "not enough memory to read %zu bytes",
                         wanted_bytes);
    }
    size_t size_bytes = 0;
    ssize_t got = 1;
    while (size_bytes < wanted_bytes && got > 0) {
        got = read(fd, bytes + size_bytes, wanted_bytes - size_bytes);
        size_bytes += got > 0 ? (size_t)got : 0;
    }
    if (size_bytes < wanted_bytes) {
        free(bytes);
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "the file changed while it was read");
    }
    *out_bytes = bytes;
    *out_size_bytes = size_bytes;
    return true;
}

/* From the very bytes that were digested; a model that keeps weights in further files needs its path. */
static bool create_session_with(struct runtime *runtime, struct runtime_model *model,
                                const OrtSessionOptions *options, const char *bytes,
                                size_t size_bytes, struct error *err) {
    const OrtApi *api = runtime->api;
    struct error first;
    if (value_ok(api,
                 api->CreateSessionFromArray(runtime->environment, bytes, size_bytes, options,
                                             &model->session),
                 ERROR_MODEL_UNAVAILABLE, &first) ||
        value_ok(api,
                 api->CreateSession(runtime->environment, model->path, options, &model->session),
                 ERROR_MODEL_UNAVAILABLE, err)) {
        return true;
    }
    *err = first;
    return false;
}

static bool create_session(struct runtime *runtime, struct runtime_model *model, const char *bytes,
                           size_t size_bytes, struct error *err) {
    if (model->options[0] == '\0') {
        return create_session_with(runtime, model, runtime->options, bytes, size_bytes, err);
    }
    OrtSessionOptions *options;
    if (!session_options_new(runtime->api, runtime->options, model->options, &options, err)) {
        return false;
    }
    bool ok = create_session_with(runtime, model, options, bytes, size_bytes, err);
    runtime->api->ReleaseSessionOptions(options);
    return ok;
}

static bool load(struct runtime *runtime, struct runtime_model *model, struct error *err) {
    char *bytes = NULL;
    size_t size_bytes = 0;
    if (!read_file(model->path, &model->identity, &bytes, &size_bytes, err)) {
        return false;
    }
    crypto_hash_sha256(model->digest, (const unsigned char *)bytes, size_bytes);
    bool ok = create_session(runtime, model, bytes, size_bytes, err) &&
              read_signature(runtime, model, err);
    if (ok) {
        struct signature *signature = &model->signature;
        find_unknown_shapes(signature->inputs, signature->input_count, bytes, size_bytes);
        find_unknown_shapes(signature->outputs, signature->output_count, bytes, size_bytes);
    }
    free(bytes);
    return ok;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* FNV-1a: of many models, most paths are told apart by this. */
static uint64_t hash_of(const char *path) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *at = path; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static struct runtime_model *find_loaded(struct runtime *runtime, const char *path) {
    uint64_t hash = hash_of(path);
    struct list_node *node = runtime->models.next;
    for (; node != &runtime->models; node = node->next) {
        struct runtime_model *model = CONTAINER_OF(node, struct runtime_model, node);
        if (model->path_hash == hash && strcmp(model->path, path) == 0) {
            return model;
        }
    }
    return NULL;
}

static bool is_wanted(const struct runtime_model *model, const char *options,
                      const unsigned char *digest) {
    struct stat now;
    if (strcmp(model->options, options) != 0) {
        return false;
    }
    return (digest != NULL && memcmp(model->digest, digest, sizeof model->digest) == 0) ||
           (stat(model->path, &now) == 0 && is_same_file(&now, &model->identity));
}

/* Puts out what was not used for longest, until the rest is within the bounds. The first, in use, stays. */
static void put_out(struct runtime *runtime) {
    struct list_node *node = runtime->models.previous;
    while (node != runtime->models.next &&
           (runtime->model_count > SESSIONS_MAXIMUM ||
            runtime->models_bytes > runtime->options_given.cache_bytes)) {
        struct list_node *newer = node->previous;
        unload(runtime, CONTAINER_OF(node, struct runtime_model, node));
        node = newer;
    }
}

/* A C library's heap and ONNX Runtime's arenas do not give back all that a model had. */
static void look_for_bloat(struct runtime *runtime, uint64_t now_bytes) {
    uint64_t accounted_bytes = runtime->bare_bytes + runtime->models_bytes;
    uint64_t slack_bytes = MAX_OF(runtime->options_given.cache_bytes / 4, LEFT_OVER_BYTES_LEAST);
    runtime->is_bloated = runtime->has_unloaded && now_bytes > accounted_bytes + slack_bytes;
}

/* The model is the first in the list. */
static bool load_measured(struct runtime *runtime, struct runtime_model *model, struct error *err) {
    uint64_t before_bytes = resident_bytes(runtime);
    if (!load(runtime, model, err)) {
        return false;
    }
    uint64_t after_bytes = resident_bytes(runtime);
    uint64_t grown_bytes = after_bytes > before_bytes ? after_bytes - before_bytes : 0;
    model->size_bytes = MAX_OF(grown_bytes, (uint64_t)model->identity.st_size);
    runtime->models_bytes += model->size_bytes;
    put_out(runtime);
    look_for_bloat(runtime, resident_bytes(runtime));
    return true;
}

static bool ensure_set_up(struct runtime *runtime, struct error *err) {
    if (!runtime->is_set_up) {
        runtime->is_set_up = set_up(runtime, err);
        runtime->bare_bytes = resident_bytes(runtime);
    }
    return runtime->is_set_up;
}

bool runtime_load(struct runtime *runtime, const char *path, const char *options,
                  const unsigned char *digest, struct runtime_model **out_model,
                  struct error *err) {
    options = options == NULL ? "" : options;
    if (!ensure_set_up(runtime, err)) {
        return false;
    }
    struct runtime_model *model = find_loaded(runtime, path);
    if (model != NULL) {
        if (is_wanted(model, options, digest)) {
            list_remove(&model->node);
            list_prepend(&runtime->models, &model->node);
            *out_model = model;
            return true;
        }
        unload(runtime, model);
    }
    model = must_alloc_zeroed(1, sizeof *model);
    model->path = must_strdup(path);
    model->path_hash = hash_of(path);
    model->options = must_strdup(options);
    list_init(&model->node);
    list_prepend(&runtime->models, &model->node);
    runtime->model_count++;
    if (!load_measured(runtime, model, err)) {
        unload(runtime, model);
        return false;
    }
    *out_model = model;
    return true;
}

/* --- running ------------------------------------------------------------------------------------ */

static void release_values(struct runtime *runtime, OrtValue **values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (values[i] != NULL) {
            runtime->api->ReleaseValue(values[i]);
        }
    }
}

static bool append_outputs(struct runtime *runtime, const char *const *names,
                           OrtValue *const *outputs, size_t count, struct arena *arena,
                           struct text *out, struct error *err) {
    text_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(out, i == 0 ? "" : ",");
        if (outputs[i] == NULL) {
            return error_set(err, ERROR_MODEL_FAILED, "the model gave no output '%s'", names[i]);
        }
        if (!value_to_json(runtime->api, runtime->allocator, names[i], outputs[i], arena, out,
                           err)) {
            return false;
        }
    }
    text_append_char(out, ']');
    return text_ok(out) || error_set(err, ERROR_MODEL_FAILED, "the result is larger than %zu bytes",
                                     out->maximum_bytes);
}

static const char **input_names(const struct signature *signature, struct arena *arena) {
    const char **names = arena_alloc(arena, (signature->input_count + 1) * sizeof *names);
    for (size_t i = 0; i < signature->input_count; i++) {
        names[i] = signature->inputs[i].name;
    }
    return names;
}

static const char **output_names(const struct signature *signature, const size_t *wanted,
                                 size_t count, struct arena *arena) {
    const char **names = arena_alloc(arena, (count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++) {
        names[i] = signature->outputs[wanted[i]].name;
    }
    return names;
}

bool runtime_run(struct runtime *runtime, struct runtime_model *model, const struct tensor *inputs,
                 const size_t *wanted, size_t wanted_count, struct arena *arena, struct text *out,
                 struct error *err) {
    const struct signature *signature = &model->signature;
    size_t input_count = signature->input_count;
    const char **outputs = output_names(signature, wanted, wanted_count, arena);
    OrtValue **values = arena_alloc_zeroed(arena, (input_count + 1) * sizeof(OrtValue *));
    OrtValue **results = arena_alloc_zeroed(arena, (wanted_count + 1) * sizeof(OrtValue *));
    bool ok = true;
    for (size_t i = 0; i < input_count && ok; i++) {
        ok = value_from_tensor(runtime->api, runtime->memory, runtime->allocator, &inputs[i],
                               &values[i], err);
    }
    ok = ok &&
         value_ok(runtime->api,
                  runtime->api->Run(model->session, NULL, input_names(signature, arena),
                                    (const OrtValue *const *)values, input_count, outputs,
                                    wanted_count, results),
                  ERROR_MODEL_FAILED, err) &&
         append_outputs(runtime, outputs, results, wanted_count, arena, out, err);
    release_values(runtime, results, wanted_count);
    release_values(runtime, values, input_count);
    return ok;
}
