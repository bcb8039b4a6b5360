#include "remote/remote.h"

#include "base/identity.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "observe/log.h"
#include "remote/answer.h"
#include "remote/curl_library.h"
#include "remote/metadata.h"
#include "remote/request.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_BYTES_MAXIMUM ((size_t)1 << 30)
enum { URL_BYTES_MAXIMUM = 16384, HEADER_BYTES_MAXIMUM = 131072, RETRY_AFTER_MAXIMUM_S = 86400 };

/* How far its server has come. */
enum stage { STAGE_CONNECTING, STAGE_ASKED, STAGE_ANSWERING };

struct transfer {
    struct list_node node;
    struct dispatch_job *job;
    const struct model *model;
    enum request_kind kind; /* what it is about now */
    bool is_request;        /* the parameters have the protocol's form */
    bool is_ready;          /* the server has said so */
    struct error not_ready; /* else, why not; of a job that asks for its server */
    CURL *handle;
    struct curl_slist *headers;
    struct secrets secrets; /* in the headers */
    struct text body;
    struct text answer;
    char reason[CURL_ERROR_SIZE]; /* why libcurl gave up, or empty */
    struct remote_executor *executor;
    enum stage stage;
    struct monotonic_time until;            /* the execution's limit */
    struct monotonic_time first_byte_until; /* INT64_MAX: none of its own */
    bool is_done;                           /* libcurl has said so */
};

struct remote_executor {
    struct executor interface;
    struct remote_options options;
    struct dispatcher *dispatcher;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_thread; /* the dispatcher's thread's */
    /* The thread's own from here on. */
    const struct curl_library *curl;
    CURLM *multi;
    struct list_node transfers;
    struct metadata metadata;
    struct monotonic_time now; /* of this turn of its loop */
    bool stopping;
};

enum order_kind { ORDER_RUN, ORDER_CANCEL, ORDER_STOP };

struct order {
    struct letter letter;
    enum order_kind kind;
    struct dispatch_job *job;
    const struct model *model;
    uint64_t cancel_id;
};

/* --- outcomes ------------------------------------------------------------------------------------ */

static void give_back(struct remote_executor *executor, struct dispatch_job *job, bool ok,
                      const struct error *err) {
    job->status = ok                             ? EXECUTION_SUCCEEDED
                  : err->kind == ERROR_TIMED_OUT ? EXECUTION_TIMED_OUT
                                                 : EXECUTION_FAILED;
    if (!ok) {
        job->err = *err;
    }
    dispatcher_return(executor->dispatcher, job);
}

/* Nobody waits for the rest of the answer. Unless others are on it, the connection is then closed, so that the server gets
 * to know; else its stream is reset (HTTP/2), by libcurl from 7.88 on not before there is something else to send. */
static void give_up(const struct transfer *transfer) {
    transfer->executor->curl->easy_setopt(transfer->handle, CURLOPT_FORBID_REUSE, 1L);
}

static void drop_exchange(struct remote_executor *executor, struct transfer *transfer) {
    if (transfer->handle != NULL) {
        if (!transfer->is_done) {
            give_up(transfer);
        }
        executor->curl->multi_remove_handle(executor->multi, transfer->handle);
        executor->curl->easy_cleanup(transfer->handle);
    }
    executor->curl->slist_free_all(transfer->headers);
    secrets_fini(&transfer->secrets);
    text_fini(&transfer->body);
    text_fini(&transfer->answer);
    transfer->handle = NULL;
    transfer->headers = NULL;
    transfer->is_done = false;
    transfer->stage = STAGE_CONNECTING;
    transfer->first_byte_until.us = INT64_MAX;
}

static void transfer_free(struct remote_executor *executor, struct transfer *transfer) {
    drop_exchange(executor, transfer);
    free(transfer);
}

/* The job asks for its server: what is known of that is the result, also where it cannot be asked. */
static void keep_state(const struct transfer *transfer, const char *reason,
                       const struct signature *signature) {
    struct dispatch_job *job = transfer->job;
    job->result = metadata_format_state(transfer->is_ready, transfer->is_ready ? NULL : reason,
                                        signature, &job->result_bytes);
}

static void finish(struct remote_executor *executor, struct transfer *transfer, bool ok,
                   struct error *err) {
    list_remove(&transfer->node);
    if (!ok) {
        secrets_mask(&transfer->secrets, err->message, sizeof err->message);
    }
    if (!ok && transfer->job->asks_server && err->kind != ERROR_INTERRUPTED) {
        keep_state(transfer, err->message, NULL);
        ok = true;
    }
    if (!ok) {
        log_event(LOG_WARNING, "remote_failed", LOG_STRING("model", transfer->model->name),
                  LOG_FAILURE(err));
    }
    give_back(executor, transfer->job, ok, err);
    transfer_free(executor, transfer);
}

static bool explain_failure(const struct remote_executor *executor, const struct transfer *transfer,
                            CURLcode code, struct error *err) {
    long reason_errno = 0;
    executor->curl->easy_getinfo(transfer->handle, CURLINFO_OS_ERRNO, &reason_errno);
    const char *reason =
        *transfer->reason == '\0' ? executor->curl->easy_strerror(code) : transfer->reason;
    if (code == CURLE_COULDNT_CONNECT && reason_errno != 0) {
        return error_set_errno(err, ERROR_MODEL_UNAVAILABLE, (int)reason_errno,
                               "the model's server cannot be asked: %s", reason);
    }
    return error_set(err, ERROR_MODEL_UNAVAILABLE, "the model's server cannot be asked: %s",
                     reason);
}

static bool explain(const struct remote_executor *executor, const struct transfer *transfer,
                    CURLcode code, struct error *err) {
    char time[DURATION_BYTES];
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: /* the only limit that is left to libcurl */
        duration_format(transfer->model->settings.http->connect_timeout, time);
        return error_set(err, ERROR_MODEL_UNAVAILABLE,
                         "no connection to the model's server within %s", time);
    case CURLE_WRITE_ERROR:
        return error_set(err, ERROR_MODEL_FAILED,
                         "the model's server answered with more than %llu bytes",
                         (unsigned long long)transfer->model->settings.http->answer_bytes_maximum);
    default:
        return explain_failure(executor, transfer, code, err);
    }
}

/* Whoever has answered is asked again no sooner than it said. */
static void note_retry_after(const struct remote_executor *executor, struct transfer *transfer) {
    curl_off_t retry_after_s = 0;
    executor->curl->easy_getinfo(transfer->handle, CURLINFO_RETRY_AFTER, &retry_after_s);
    transfer->job->retry_after.us =
        MIN_OF(retry_after_s, (curl_off_t)RETRY_AFTER_MAXIMUM_S) * US_PER_SECOND;
}

/* The answer to a run. */
static void end_run(struct remote_executor *executor, struct transfer *transfer, CURLcode code) {
    struct error err;
    long status = 0;
    bool ok = code == CURLE_OK || explain(executor, transfer, code, &err);
    if (ok) {
        executor->curl->easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
        ok = answer_read(transfer->model->settings.http, status, &transfer->answer,
                         &transfer->secrets, &transfer->job->result, &transfer->job->result_bytes,
                         &err);
    }
    if (!ok && status != 0) {
        note_retry_after(executor, transfer);
        /* It may be that the server takes something else by now. */
        metadata_forget(&executor->metadata, transfer->model->name);
    }
    finish(executor, transfer, ok, &err);
}

/* --- starting ------------------------------------------------------------------------------------ */

/* CURLINFO_STARTTRANSFER_TIME_T would not do: on a shared connection it is set by what another is answered. */
static size_t note_header(char *bytes, size_t size, size_t count, void *context) {
    (void)bytes;
    struct transfer *transfer = context;
    transfer->stage = STAGE_ANSWERING;
    return size * count;
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    text_append_bytes(&transfer->answer, bytes, size * count);
    if (!text_ok(&transfer->answer)) {
        give_up(transfer);
        return 0;
    }
    return size * count;
}

static bool add_line(const struct remote_executor *executor, struct transfer *transfer,
                     const char *line, struct error *err) {
    struct curl_slist *headers = executor->curl->slist_append(transfer->headers, line);
    if (headers == NULL) {
        return error_set(err, ERROR_UNAVAILABLE, "no memory for a request");
    }
    transfer->headers = headers;
    return true;
}

static bool add_header(const struct remote_executor *executor, struct transfer *transfer,
                       const char *name, const char *value, struct error *err) {
    struct text line CLEANUP(text_fini);
    text_init(&line, HEADER_BYTES_MAXIMUM);
    /* To libcurl "Name:" is a field that is not to be sent, and "Name;" one that is empty. */
    bool is_empty = value[strspn(value, " ")] == '\0';
    text_printf(&line, "%s%s", name, is_empty ? ";" : ": ");
    bool ok = is_empty || request_append_header_value(value, executor->options.secrets_folder,
                                                      &line, &transfer->secrets, err);
    if (ok && (!text_ok(&line) || !text_ok(&transfer->secrets.values))) {
        ok =
            error_set(err, ERROR_MODEL_FAILED, "the header field '%.60s' would be too large", name);
    }
    ok = ok && add_line(executor, transfer, text_string(&line), err);
    if (line.data != NULL) {
        explicit_bzero(line.data, line.capacity_bytes); /* there may be a secret in it */
    }
    return ok;
}

/* Unless the model's settings have that field. */
static bool add_default_header(const struct remote_executor *executor, struct transfer *transfer,
                               const char *name, const char *value, struct error *err) {
    const struct http_settings *settings = transfer->model->settings.http;
    for (size_t i = 0; i < settings->header_count; i++) {
        if (strcasecmp(settings->headers[i].name, name) == 0) {
            return true;
        }
    }
    return add_header(executor, transfer, name, value, err);
}

static bool add_headers(const struct remote_executor *executor, struct transfer *transfer,
                        struct error *err) {
    const struct http_settings *settings = transfer->model->settings.http;
    const struct dispatch_job *job = transfer->job;
    bool ok = add_default_header(executor, transfer, "Content-Type", "application/json", err) &&
              add_default_header(executor, transfer, "Accept", "application/json", err) &&
              /* It is not sent: a server that does not know it makes a large body wait a second. */
              add_line(executor, transfer, "Expect:", err);
    if (ok && job->execution_key != 0 && transfer->kind == REQUEST_RUN) {
        char id[UUID_TEXT_BYTES];
        char trace[TRACEPARENT_BYTES];
        identity_format(job->execution_key, job->origin.store_tag, id);
        request_format_traceparent(job, trace);
        ok = add_header(executor, transfer, "Idempotency-Key", id, err) &&
             add_header(executor, transfer, "traceparent", trace, err);
    }
    for (size_t i = 0; i < settings->header_count && ok; i++) {
        ok = add_header(executor, transfer, settings->headers[i].name, settings->headers[i].value,
                        err);
    }
    return ok;
}

/* There is a connection, and the request is about to be sent. */
static int note_connection(void *context, char *address, char *local_address, int port,
                           int local_port) {
    (void)address;
    (void)local_address;
    (void)port;
    (void)local_port;
    struct transfer *transfer = context;
    struct duration limit = transfer->model->settings.http->first_byte_timeout;
    transfer->stage = STAGE_ASKED;
    if (limit.us > 0) {
        transfer->first_byte_until.us = transfer->executor->now.us + limit.us;
    }
    return CURL_PREREQFUNC_OK;
}

static long milliseconds(struct duration duration) {
    int64_t ms = duration.us / US_PER_MS;
    return (long)MIN_OF(MAX_OF(ms, INT64_C(1)), (int64_t)INT_MAX);
}

static void set_options(const struct remote_executor *executor, struct transfer *transfer,
                        const char *url) {
    const struct http_settings *settings = transfer->model->settings.http;
    CURLcode (*set)(CURL *, CURLoption, ...) = executor->curl->easy_setopt;
    CURL *handle = transfer->handle;
    set(handle, CURLOPT_URL, url);
    set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    set(handle, CURLOPT_FOLLOWLOCATION, 0L);
    set(handle, CURLOPT_PROXY, "");
    set(handle, CURLOPT_NOSIGNAL, 1L);
    /* A name server that does not answer: without this, who gives up waits for it all the same, and with it
     * every other transfer. */
    set(handle, CURLOPT_QUICK_EXIT, 1L);
    set(handle, CURLOPT_ERRORBUFFER, transfer->reason);
    set(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    set(handle, CURLOPT_USERAGENT, "orrery/" ORRERY_VERSION);
    set(handle, CURLOPT_HTTPHEADER, transfer->headers);
    if (transfer->kind == REQUEST_RUN) {
        set(handle, CURLOPT_POSTFIELDS, text_string(&transfer->body));
        set(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.size_bytes);
        set(handle, CURLOPT_CUSTOMREQUEST, settings->method);
    }
    set(handle, CURLOPT_PREREQFUNCTION, note_connection);
    set(handle, CURLOPT_PREREQDATA, transfer);
    set(handle, CURLOPT_HEADERFUNCTION, note_header);
    set(handle, CURLOPT_HEADERDATA, transfer);
    set(handle, CURLOPT_WRITEFUNCTION, take_bytes);
    set(handle, CURLOPT_WRITEDATA, transfer);
    set(handle, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(settings->connect_timeout));
    set(handle, CURLOPT_PRIVATE, transfer);
    if (settings->unix_socket != NULL) {
        set(handle, CURLOPT_UNIX_SOCKET_PATH, settings->unix_socket);
    }
    if (settings->ca_file != NULL) {
        set(handle, CURLOPT_CAINFO, settings->ca_file);
    }
}

static const struct signature *find_signature(struct remote_executor *executor,
                                              const struct transfer *transfer) {
    return metadata_find(&executor->metadata, transfer->model->name, transfer->job->used_digest);
}

static bool make_body(struct remote_executor *executor, struct transfer *transfer,
                      struct error *err) {
    return transfer->is_request
               ? request_make_body(transfer->model, transfer->job, &transfer->body, err)
               : metadata_append_request(find_signature(executor, transfer), transfer->job,
                                         &transfer->body, err);
}

static bool prepare(struct remote_executor *executor, struct transfer *transfer,
                    struct error *err) {
    struct text url CLEANUP(text_fini);
    text_init(&url, URL_BYTES_MAXIMUM);
    text_init(&transfer->body, BODY_BYTES_MAXIMUM);
    text_init(&transfer->answer, transfer->model->settings.http->answer_bytes_maximum);
    request_append_url(transfer->model, transfer->kind, &url);
    if (transfer->kind == REQUEST_RUN && !make_body(executor, transfer, err)) {
        return false;
    }
    if (!text_ok(&url) || !text_ok(&transfer->body)) {
        return error_set(err, ERROR_MODEL_FAILED, "the request would be too large");
    }
    if (!add_headers(executor, transfer, err)) {
        return false;
    }
    transfer->handle = executor->curl->easy_init();
    if (transfer->handle == NULL) {
        return error_set(err, ERROR_UNAVAILABLE, "no memory for a request");
    }
    set_options(executor, transfer, text_string(&url));
    executor->curl->multi_add_handle(executor->multi, transfer->handle);
    return true;
}

/* Begins an exchange, after another where there was one. */
static void ask(struct remote_executor *executor, struct transfer *transfer,
                enum request_kind kind) {
    struct error err;
    drop_exchange(executor, transfer);
    secrets_init(&transfer->secrets);
    transfer->kind = kind;
    if (!prepare(executor, transfer, &err)) {
        finish(executor, transfer, false, &err);
    }
}

static void start(struct remote_executor *executor, const struct order *order) {
    struct transfer *transfer = must_alloc_zeroed(1, sizeof *transfer);
    transfer->job = order->job;
    transfer->model = order->model;
    transfer->executor = executor;
    transfer->until.us = executor->now.us + transfer->job->limit.us;
    transfer->is_request = order->job->asks_server ||
                           order->model->settings.backend != MODEL_BACKEND_OPENINFERENCE ||
                           metadata_is_request(order->job);
    list_append(&executor->transfers, &transfer->node);
    bool is_known = transfer->is_request || find_signature(executor, transfer) != NULL;
    ask(executor, transfer,
        order->job->asks_server ? REQUEST_READY
        : is_known              ? REQUEST_RUN
                                : REQUEST_METADATA);
}

/* --- what a server says of a model --------------------------------------------------------------- */

/* False: there was no answer, or it says no. */
static bool read_status(const struct remote_executor *executor, struct transfer *transfer,
                        CURLcode code, struct error *err) {
    long status = 0;
    if (code != CURLE_OK) {
        return explain(executor, transfer, code, err);
    }
    executor->curl->easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
    return (status >= 200 && status <= 299) ||
           answer_refuse(transfer->model->settings.http, status, &transfer->answer,
                         &transfer->secrets, err);
}

static void end_ready(struct remote_executor *executor, struct transfer *transfer, CURLcode code) {
    struct error *err = &transfer->not_ready;
    transfer->is_ready = read_status(executor, transfer, code, err);
    if (code == CURLE_OK) {
        secrets_mask(&transfer->secrets, err->message, sizeof err->message);
        ask(executor, transfer, REQUEST_METADATA);
    } else {
        finish(executor, transfer, false, err);
    }
}

static void end_metadata(struct remote_executor *executor, struct transfer *transfer,
                         CURLcode code) {
    struct error err;
    struct arena arena CLEANUP(arena_fini) = {0};
    struct signature signature;
    struct dispatch_job *job = transfer->job;
    bool ok =
        read_status(executor, transfer, code, &err) &&
        metadata_read(transfer->answer.data, transfer->answer.size_bytes, &arena, &signature, &err);
    if (ok) {
        metadata_keep(&executor->metadata, transfer->model->name, job->used_digest, &signature);
    }
    if (job->asks_server) {
        keep_state(transfer, transfer->not_ready.message, ok ? &signature : NULL);
        finish(executor, transfer, true, NULL);
    } else if (ok) {
        ask(executor, transfer, REQUEST_RUN);
    } else {
        note_retry_after(executor, transfer);
        error_prefix(&err, "asked what the model takes (parameters in the protocol's own form need "
                           "no asking)");
        finish(executor, transfer, false, &err);
    }
}

static void end(struct remote_executor *executor, struct transfer *transfer, CURLcode code) {
    transfer->is_done = true;
    switch (transfer->kind) {
    case REQUEST_RUN:
        end_run(executor, transfer, code);
        break;
    case REQUEST_METADATA:
        end_metadata(executor, transfer, code);
        break;
    case REQUEST_READY:
        end_ready(executor, transfer, code);
        break;
    }
}

/* --- orders -------------------------------------------------------------------------------------- */

static void end_all(struct remote_executor *executor, uint64_t only_id, enum error_kind kind,
                    const char *message) {
    struct list_node *next;
    for (struct list_node *node = executor->transfers.next; node != &executor->transfers;
         node = next) {
        struct transfer *transfer = CONTAINER_OF(node, struct transfer, node);
        next = node->next; // NOLINT(clang-analyzer-unix.Malloc): one that is freed is in no list
        if (only_id == 0 || transfer->job->id == only_id) {
            struct error err;
            error_set(&err, kind, "%s", message);
            finish(executor, transfer, false, &err);
        }
    }
}

static void handle_mail(struct remote_executor *executor) {
    struct letter *letters = mailbox_take_all(&executor->mailbox);
    while (letters != NULL) {
        struct order *order = CONTAINER_OF(letters, struct order, letter);
        letters = letters->next;
        switch (order->kind) {
        case ORDER_RUN:
            start(executor, order);
            break;
        case ORDER_CANCEL:
            end_all(executor, order->cancel_id, ERROR_CANCELLED, "cancelled while it was running");
            break;
        case ORDER_STOP:
            executor->stopping = true;
            end_all(executor, 0, ERROR_INTERRUPTED, "the server stopped before this had ended");
            break;
        }
        free(order);
    }
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void end_what_is_done(struct remote_executor *executor) {
    int ignored_left;
    CURLMsg *message;
    while ((message = executor->curl->multi_info_read(executor->multi, &ignored_left)) != NULL) {
        struct transfer *transfer = NULL;
        executor->curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        end(executor, transfer, message->data.result);
    }
}

static void end_late(struct remote_executor *executor, struct transfer *transfer) {
    static const char *const missing[] = {[STAGE_CONNECTING] = "could not be connected to",
                                          [STAGE_ASKED] = "did not begin to answer",
                                          [STAGE_ANSWERING] = "did not end its answer"};
    struct error err;
    char time[DURATION_BYTES];
    if (transfer->until.us <= executor->now.us) {
        duration_format(transfer->job->limit, time);
        error_set(&err, ERROR_TIMED_OUT, "not finished within %s: the model's server %s", time,
                  missing[transfer->stage]);
    } else {
        duration_format(transfer->model->settings.http->first_byte_timeout, time);
        error_set(&err, ERROR_MODEL_UNAVAILABLE,
                  "the model's server did not begin to answer within %s", time);
    }
    finish(executor, transfer, false, &err);
}

/* Ends those whose time is up. How long the loop may sleep for the sake of the others. */
static int watch_limits(struct remote_executor *executor) {
    int64_t sleep_us = INT_MAX * US_PER_MS;
    struct list_node *next;
    for (struct list_node *node = executor->transfers.next; node != &executor->transfers;
         node = next) {
        struct transfer *transfer = CONTAINER_OF(node, struct transfer, node);
        next = node->next; // NOLINT(clang-analyzer-unix.Malloc): one that is freed is in no list
        int64_t until_us = transfer->stage == STAGE_ANSWERING
                               ? transfer->until.us
                               : MIN_OF(transfer->until.us, transfer->first_byte_until.us);
        if (until_us > executor->now.us) {
            sleep_us = MIN_OF(sleep_us, until_us - executor->now.us);
        } else {
            end_late(executor, transfer);
            sleep_us = 0; /* another may get its connection */
        }
    }
    return (int)((sleep_us + US_PER_MS - 1) / US_PER_MS);
}

static void *run_thread(void *context) {
    struct remote_executor *executor = context;
    int sleep_ms = 0;
    while (!executor->stopping) {
        int ignored_running;
        struct curl_waitfd mail = {.fd = mailbox_fd(&executor->mailbox),
                                   .events = CURL_WAIT_POLLIN};
        /* libcurl shortens the time to what its transfers need. */
        executor->curl->multi_poll(executor->multi, &mail, 1, sleep_ms, NULL);
        executor->now = clock_monotonic_now(executor->options.clock);
        handle_mail(executor);
        executor->curl->multi_perform(executor->multi, &ignored_running);
        end_what_is_done(executor);
        sleep_ms = watch_limits(executor);
    }
    log_end_thread();
    return NULL;
}

/* --- from the dispatcher ------------------------------------------------------------------------- */

static struct remote_executor *executor_of(struct executor *interface) {
    return CONTAINER_OF(interface, struct remote_executor, interface);
}

static void send_order(struct remote_executor *executor, const struct order *contents) {
    struct order *order = must_alloc(sizeof *order);
    *order = *contents;
    mailbox_send(&executor->mailbox, &order->letter);
}

static bool begin(struct remote_executor *executor, struct error *err) {
    if (executor->has_thread) {
        return true;
    }
    if (!curl_library_open(&executor->curl, err)) {
        err->kind = ERROR_MODEL_UNAVAILABLE;
        return false;
    }
    if (executor->multi == NULL) {
        executor->multi = executor->curl->multi_init();
    }
    int failed =
        executor->multi == NULL ? 1 : pthread_create(&executor->thread, NULL, run_thread, executor);
    if (failed != 0) {
        return error_set(err, ERROR_UNAVAILABLE, "there is no thread for models on other servers");
    }
    pthread_setname_np(executor->thread, "remote");
    executor->has_thread = true;
    return true;
}

static void submit(struct executor *interface, struct dispatch_job *job, const struct model *model,
                   const struct model_version *version) {
    (void)version;
    struct remote_executor *executor = executor_of(interface);
    struct error err;
    if (!begin(executor, &err)) {
        give_back(executor, job, false, &err);
        return;
    }
    send_order(executor, &(struct order){.kind = ORDER_RUN, .job = job, .model = model});
}

static void cancel_job(struct executor *interface, uint64_t job_id) {
    send_order(executor_of(interface), &(struct order){.kind = ORDER_CANCEL, .cancel_id = job_id});
}

static void stop(struct executor *interface) {
    struct remote_executor *executor = executor_of(interface);
    if (executor->has_thread) {
        send_order(executor, &(struct order){.kind = ORDER_STOP});
        pthread_join(executor->thread, NULL);
        executor->has_thread = false;
    }
}

bool remote_executor_new(const struct remote_options *options,
                         struct remote_executor **out_executor, struct error *err) {
    struct remote_executor *executor = must_alloc_zeroed(1, sizeof *executor);
    executor->interface = (struct executor){.submit = submit, .cancel = cancel_job, .stop = stop};
    executor->options = *options;
    list_init(&executor->transfers);
    metadata_init(&executor->metadata);
    if (!mailbox_init(&executor->mailbox, err)) {
        free(executor);
        return false;
    }
    *out_executor = executor;
    return true;
}

void remote_executor_set_dispatcher(struct remote_executor *executor,
                                    struct dispatcher *dispatcher) {
    executor->dispatcher = dispatcher;
}

struct executor *remote_executor_interface(struct remote_executor *executor) {
    return &executor->interface;
}

void remote_executor_free(struct remote_executor *executor) {
    if (executor == NULL) {
        return;
    }
    ASSERT(!executor->has_thread);
    if (executor->multi != NULL) {
        executor->curl->multi_cleanup(executor->multi);
    }
    metadata_fini(&executor->metadata);
    mailbox_fini(&executor->mailbox);
    free(executor);
}
