/* /healthz: the process answers. /readyz: it can do its work. Neither needs credentials, so neither tells more than
 * that. */
#include "api/health.h"

#include "api/answer.h"

static const char alive[] = "{\"status\":\"ok\"}";

bool health_alive(struct call *call, struct error *err) {
    (void)err;
    http_answer(call->request, 200, "application/json", alive, sizeof alive - 1);
    return true;
}

static bool store_is_readable(struct call *call) {
    struct error ignored;
    return call_find_reader(call, &ignored) && store_check(call->reader, &ignored);
}

bool health_check(struct call *call, struct health *out_health) {
    struct api *api = call->api;
    *out_health = (struct health){{
        {"store", store_is_readable(call)},
        {"models", model_repository_is_ready(api->options.repository)},
        {"workers", dispatcher_live_workers(api->options.dispatcher) > 0},
        {"scheduler", atomic_load(&api->state) == API_READY},
    }};
    bool ready = true;
    for (size_t i = 0; i < HEALTH_CHECKS; i++) {
        ready = ready && out_health->checks[i].ok;
    }
    return ready;
}

bool health_ready(struct call *call, struct error *err) {
    (void)err;
    struct health health;
    bool ready = health_check(call, &health);
    int state = atomic_load(&call->api->state);
    struct text body;
    answer_begin(&body, 256);
    text_printf(&body, "{\"status\":\"%s\",\"checks\":{",
                ready                   ? "ready"
                : state == API_STARTING ? "starting"
                : state == API_DRAINING ? "draining"
                                        : "failing");
    for (size_t i = 0; i < HEALTH_CHECKS; i++) {
        text_printf(&body, "%s\"%s\":\"%s\"", i == 0 ? "" : ",", health.checks[i].name,
                    health.checks[i].ok ? "ok" : "failing");
    }
    text_append(&body, "}}");
    if (!ready) {
        http_add_header(call->request, "Retry-After", "1");
    }
    answer_json(call->request, ready ? 200 : 503, &body);
    return true;
}
