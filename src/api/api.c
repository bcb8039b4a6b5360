#include "api/answer.h"
#include "api/route.h"
#include "observe/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool api_new(const struct api_options *options, struct api **out_api, struct error *err) {
    (void)err;
    static _Atomic uint64_t newest_serial;
    struct api *api = must_alloc_zeroed(1, sizeof *api);
    api->options = *options;
    api->serial = atomic_fetch_add(&newest_serial, 1) + 1;
    atomic_init(&api->state, API_STARTING);
    api->bodies.maximum_bytes = BODY_PARSED_BYTES_MAXIMUM;
    pthread_mutex_init(&api->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&api->predictions_ended, &attributes);
    pthread_condattr_destroy(&attributes);
    if (options->rate_limit > 0) {
        api->limiter = rate_limiter_new(options->rate_limit);
    }
    *out_api = api;
    return true;
}

void api_free(struct api *api) {
    if (api == NULL) {
        return;
    }
    for (size_t i = 0; i < api->reader_count; i++) {
        store_reader_close(api->readers[i]);
    }
    free(api->readers);
    rate_limiter_free(api->limiter);
    pthread_cond_destroy(&api->predictions_ended);
    pthread_mutex_destroy(&api->mutex);
    free(api);
}

void api_set_state(struct api *api, enum api_state state) { atomic_store(&api->state, state); }

/* --- the thread's reader ------------------------------------------------------------------------ */

/* Opened with the thread's first request; the api closes it when the HTTP threads are gone. */
bool call_find_reader(struct call *call, struct error *err) {
    static _Thread_local struct {
        uint64_t serial;
        struct store_reader *reader;
    } mine;
    struct api *api = call->api;
    if (mine.serial != api->serial) {
        struct store_reader *reader;
        if (!store_reader_open(api->options.store, &reader, err)) {
            return false;
        }
        pthread_mutex_lock(&api->mutex);
        api->readers =
            must_realloc(api->readers, (api->reader_count + 1) * sizeof(struct store_reader *));
        api->readers[api->reader_count++] = reader;
        pthread_mutex_unlock(&api->mutex);
        mine.serial = api->serial;
        mine.reader = reader;
    }
    call->reader = mine.reader;
    return true;
}

/* What this thread's reader is reading as of one moment; NULL: nothing. */
static _Thread_local struct store_reader *reading;

bool call_pause_reading(void) {
    bool was_reading = reading != NULL;
    if (was_reading) {
        store_reader_end(reading);
        reading = NULL;
    }
    return was_reading;
}

bool call_resume_reading(struct call *call, struct error *err) {
    ASSERT(reading == NULL);
    if (!store_reader_begin(call->reader, err)) {
        return false;
    }
    reading = call->reader;
    return true;
}

/* --- the end of predictions ----------------------------------------------------------------------- */

void call_end_prediction(struct api *api) {
    bool was_last = atomic_fetch_sub(&api->predictions, 1) == 1;
    if (was_last && atomic_load(&api->state) == API_DRAINING) {
        pthread_mutex_lock(&api->mutex);
        pthread_cond_broadcast(&api->predictions_ended);
        pthread_mutex_unlock(&api->mutex);
    }
}

void api_wait_for_predictions(struct api *api, struct monotonic_time deadline) {
    ASSERT(atomic_load(&api->state) == API_DRAINING);
    struct timespec until = {.tv_sec = (time_t)(deadline.us / US_PER_SECOND),
                             .tv_nsec = (long)(deadline.us % US_PER_SECOND) * 1000};
    int failure = 0;
    pthread_mutex_lock(&api->mutex);
    while (atomic_load(&api->predictions) > 0 && failure == 0) {
        failure = pthread_cond_timedwait(&api->predictions_ended, &api->mutex, &until);
    }
    pthread_mutex_unlock(&api->mutex);
}

/* --- one call ----------------------------------------------------------------------------------- */

static bool check_state(const struct call *call, struct error *err) {
    int state = call->request->is_late ? (int)API_DRAINING : atomic_load(&call->api->state);
    switch (state) {
    case API_STARTING:
        return error_set(err, ERROR_UNAVAILABLE, "the server is starting");
    case API_DRAINING:
        return error_set(err, ERROR_UNAVAILABLE, "the server is shutting down");
    default:
        return true;
    }
}

static bool check_rate(struct call *call, struct error *err) {
    struct api *api = call->api;
    if (api->limiter == NULL) {
        return true;
    }
    struct rate_limit_result result =
        rate_limiter_take(api->limiter, call->principal.owner, call->began);
    char value[RATE_LIMIT_HEADER_BYTES];
    rate_limit_format_policy(&result, value);
    http_add_header(call->request, "RateLimit-Policy", value);
    rate_limit_format(&result, value);
    http_add_header(call->request, "RateLimit", value);
    if (result.allowed) {
        return true;
    }
    snprintf(value, sizeof value, "%u", result.retry_after_s);
    http_add_header(call->request, "Retry-After", value);
    return error_set(err, ERROR_RATE_LIMITED, "more than %u requests a second", result.limit);
}

static bool find_route(struct call *call, struct error *err) {
    struct http_request *request = call->request;
    const char *allowed;
    switch (route_find(request->method, request->path, &request->arena, &call->route,
                       call->arguments, &allowed)) {
    case ROUTE_FOUND:
        return true;
    case ROUTE_WRONG_METHOD:
        http_add_header(request, "Allow", allowed);
        return error_set(err, ERROR_METHOD_NOT_ALLOWED, "this takes %s", allowed);
    default:
        return error_set(err, ERROR_NOT_FOUND, "there is no such path");
    }
}

static bool admit(struct call *call, struct error *err) {
    struct http_request *request = call->request;
    struct credentials credentials = {.authorization = http_header(request, "Authorization"),
                                      .x_api_key = http_header(request, "X-API-Key")};
    return auth_authenticate(call->reader, call->api->options.tokens, &credentials, call->now,
                             &request->arena, &call->principal, err) &&
           check_rate(call, err);
}

static struct call *begin(struct http_request *request, struct api *api) {
    struct call *call = arena_alloc_zeroed(&request->arena, sizeof *call);
    call->api = api;
    call->request = request;
    call->now = clock_wall_now(api->options.clock);
    call->began = clock_monotonic_now(api->options.clock);
    request->user = call;
    return call;
}

/* Credentials and what the handler reads come from the store in one go. */
static bool admit_and_handle(struct call *call, struct error *err) {
    if (!check_state(call, err) || !call_find_reader(call, err) ||
        !call_resume_reading(call, err)) {
        return false;
    }
    /* The handler may have given the call away when it returns. */
    bool ok = admit(call, err) && call->route->handle(call, err);
    (void)call_pause_reading();
    return ok;
}

void api_handle(struct http_request *request, void *api) {
    struct call *call = begin(request, api);
    struct error err;
    bool ok = find_route(call, &err) && (call->route->is_open ? call->route->handle(call, &err)
                                                              : admit_and_handle(call, &err));
    if (!ok) {
        answer_error(request, &err);
    }
}

void api_refuse(struct http_request *request, const struct error *err, void *api) {
    begin(request, api);
    answer_error(request, err);
}

void api_answered(struct http_request *request, int status, void *context) {
    const struct api *api = context;
    const struct call *call = request->user;
    bool is_read = request->method == HTTP_GET || request->method == HTTP_HEAD;
    struct monotonic_time now = clock_monotonic_now(api->options.clock);
    log_event(is_read && status < 400 ? LOG_DEBUG : LOG_INFO, "request",
              LOG_STRING("method", http_method_name(request->method)),
              LOG_STRING("path", request->path), LOG_INTEGER("status", status),
              LOG_INTEGER("duration_us", monotonic_time_since(now, call->began).us),
              LOG_STRING("owner", *call->principal.owner == '\0' ? NULL : call->principal.owner),
              LOG_STRING("correlation_id", request->correlation_id));
}
