#include "api/route.h"

#include <string.h>

static const struct route routes[] = {
    {"/api/scheduled/{run_id}", runs_get, HTTP_GET, false},
    {"/api/scheduled/{run_id}/trigger", runs_trigger, HTTP_POST, false},
    {"/api/scheduled", runs_create, HTTP_POST, false},
    {"/api/scheduled", runs_list, HTTP_GET, false},
    {"/api/scheduled/{run_id}", runs_update, HTTP_PUT, false},
    {"/api/scheduled/{run_id}", runs_delete, HTTP_DELETE, false},
    {"/api/scheduled/{run_id}/executions", executions_list, HTTP_GET, false},
    {"/api/scheduled/{run_id}/pause", runs_pause, HTTP_POST, false},
    {"/api/scheduled/{run_id}/resume", runs_resume, HTTP_POST, false},
    {"/api/scheduled/{run_id}/statistics", executions_count, HTTP_GET, false},
    {"/api/scheduled/{run_id}/backfills", backfills_create, HTTP_POST, false},
    {"/api/scheduled/{run_id}/backfills", backfills_list, HTTP_GET, false},
    {"/api/scheduled/{run_id}/explain", runs_explain, HTTP_GET, false},
    {"/api/executions/{execution_id}", executions_get, HTTP_GET, false},
    {"/api/executions/{execution_id}/cancel", executions_cancel, HTTP_POST, false},
    {"/api/backfills/{backfill_id}", backfills_get, HTTP_GET, false},
    {"/api/backfills/{backfill_id}/cancel", backfills_cancel, HTTP_POST, false},
    {"/api/models/{name}/predict", models_predict, HTTP_POST, false},
    {"/api/models", models_list, HTTP_GET, false},
    {"/api/models/{name}", models_get, HTTP_GET, false},
    {"/api/schedule/preview", schedule_preview, HTTP_GET, false},
    {"/v2/models/{name}/infer", inference_infer, HTTP_POST, false},
    {"/v2/models/{name}/versions/{version}/infer", inference_infer, HTTP_POST, false},
    {"/v2/models/{name}/ready", inference_model_ready, HTTP_GET, false},
    {"/v2/models/{name}/versions/{version}/ready", inference_model_ready, HTTP_GET, false},
    {"/v2/models/{name}", inference_model, HTTP_GET, false},
    {"/v2/models/{name}/versions/{version}", inference_model, HTTP_GET, false},
    {"/v2", inference_server, HTTP_GET, false},
    {"/v2/health/live", inference_live, HTTP_GET, true},
    {"/v2/health/ready", inference_ready, HTTP_GET, true},
    {"/healthz", health_alive, HTTP_GET, true},
    {"/readyz", health_ready, HTTP_GET, true},
};

struct piece {
    const char *start;
    size_t length;
};

/* Compares part by part; the arguments are pieces of `path`. */
static bool matches(const char *pattern, const char *path,
                    struct piece out_pieces[CALL_ARGUMENTS_MAXIMUM]) {
    size_t count = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++) {
                return false;
            }
            continue;
        }
        size_t length = strcspn(path, "/");
        if (length == 0) {
            return false;
        }
        ASSERT(count < CALL_ARGUMENTS_MAXIMUM);
        out_pieces[count++] = (struct piece){path, length};
        path += length;
        pattern += strcspn(pattern, "}") + 1;
    }
    return *path == '\0' || (path[0] == '/' && path[1] == '\0');
}

static const char *append_allowed(struct arena *arena, const char *allowed,
                                  enum http_method method) {
    const char *name = method == HTTP_GET ? "GET, HEAD" : http_method_name(method);
    return allowed == NULL ? name : arena_printf(arena, "%s, %s", allowed, name);
}

enum route_outcome route_find(enum http_method method, const char *path, struct arena *arena,
                              const struct route **out_route,
                              const char *out_arguments[CALL_ARGUMENTS_MAXIMUM],
                              const char **out_allowed) {
    enum http_method wanted = method == HTTP_HEAD ? HTTP_GET : method;
    const char *allowed = NULL;
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        struct piece pieces[CALL_ARGUMENTS_MAXIMUM] = {{0}};
        if (!matches(routes[i].pattern, path, pieces)) {
            continue;
        }
        if (routes[i].method != wanted) {
            allowed = append_allowed(arena, allowed, routes[i].method);
            continue;
        }
        for (size_t k = 0; k < CALL_ARGUMENTS_MAXIMUM; k++) {
            if (pieces[k].start != NULL) {
                out_arguments[k] = arena_strndup(arena, pieces[k].start, pieces[k].length);
            }
        }
        *out_route = &routes[i];
        return ROUTE_FOUND;
    }
    if (allowed == NULL) {
        return ROUTE_UNKNOWN;
    }
    *out_allowed = allowed;
    return ROUTE_WRONG_METHOD;
}
