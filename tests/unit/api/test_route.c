#include "api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

struct found {
    enum route_outcome outcome;
    const struct route *route;
    const char *arguments[CALL_ARGUMENTS_MAXIMUM];
    const char *allowed;
};

static struct found find(enum http_method method, const char *path) {
    struct found found = {0};
    found.outcome = route_find(method, path, &arena, &found.route, found.arguments, &found.allowed);
    return found;
}

static void a_path_leads_to_its_handler(void **state) {
    (void)state;
    assert_ptr_equal(find(HTTP_POST, "/api/scheduled").route->handle, runs_create);
    assert_ptr_equal(find(HTTP_GET, "/api/scheduled").route->handle, runs_list);
    struct found found = find(HTTP_POST, "/api/scheduled/abc/trigger");
    assert_ptr_equal(found.route->handle, runs_trigger);
    assert_string_equal(found.arguments[0], "abc");
    assert_ptr_equal(find(HTTP_POST, "/api/scheduled/abc/pause").route->handle, runs_pause);
    assert_ptr_equal(find(HTTP_POST, "/api/scheduled/abc/resume").route->handle, runs_resume);
    assert_ptr_equal(find(HTTP_GET, "/api/scheduled/abc/statistics").route->handle,
                     executions_count);
    assert_ptr_equal(find(HTTP_POST, "/api/scheduled/abc/backfills").route->handle,
                     backfills_create);
    assert_ptr_equal(find(HTTP_GET, "/api/scheduled/abc/backfills").route->handle, backfills_list);
    assert_ptr_equal(find(HTTP_GET, "/api/backfills/abc").route->handle, backfills_get);
    assert_ptr_equal(find(HTTP_POST, "/api/backfills/abc/cancel").route->handle, backfills_cancel);
    assert_ptr_equal(find(HTTP_POST, "/api/executions/abc/cancel").route->handle,
                     executions_cancel);
    found = find(HTTP_GET, "/api/models/breast-cancer");
    assert_ptr_equal(found.route->handle, models_get);
    assert_string_equal(found.arguments[0], "breast-cancer");
}

static void a_trailing_slash_is_the_same_call(void **state) {
    (void)state;
    assert_ptr_equal(find(HTTP_POST, "/api/scheduled/").route->handle, runs_create);
    struct found found = find(HTTP_DELETE, "/api/scheduled/abc/");
    assert_ptr_equal(found.route->handle, runs_delete);
    assert_string_equal(found.arguments[0], "abc");
    assert_ptr_equal(find(HTTP_GET, "/healthz/").route->handle, health_alive);
}

static void a_head_is_a_get(void **state) {
    (void)state;
    assert_ptr_equal(find(HTTP_HEAD, "/api/scheduled/abc").route->handle, runs_get);
}

static void other_paths_lead_nowhere(void **state) {
    (void)state;
    static const char *const paths[] = {"",
                                        "/",
                                        "//",
                                        "/api",
                                        "/api/",
                                        "/api/scheduledx",
                                        "/api//scheduled",
                                        "/api/scheduled//",
                                        "/api/scheduled/a/b",
                                        "/api/scheduled/a/trigger/b",
                                        "/api/scheduled//trigger",
                                        "/API/scheduled",
                                        "/healthzz"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        assert_int_equal(find(HTTP_GET, paths[i]).outcome, ROUTE_UNKNOWN);
    }
}

static void a_wrong_method_names_the_right_ones(void **state) {
    (void)state;
    struct found found = find(HTTP_PATCH, "/api/scheduled/abc");
    assert_int_equal(found.outcome, ROUTE_WRONG_METHOD);
    assert_string_equal(found.allowed, "GET, HEAD, PUT, DELETE");
    found = find(HTTP_GET, "/api/scheduled/abc/trigger");
    assert_int_equal(found.outcome, ROUTE_WRONG_METHOD);
    assert_string_equal(found.allowed, "POST");
    assert_int_equal(find(HTTP_OTHER_METHOD, "/healthz").outcome, ROUTE_WRONG_METHOD);
}

static void only_health_needs_no_credentials(void **state) {
    (void)state;
    assert_true(find(HTTP_GET, "/healthz").route->is_open);
    assert_true(find(HTTP_GET, "/readyz").route->is_open);
    static const char *const closed[] = {
        "/api/scheduled",        "/api/scheduled/x", "/api/executions/x",          "/api/models",
        "/api/schedule/preview", "/api/models/x",    "/api/scheduled/x/executions"};
    for (size_t i = 0; i < COUNT_OF(closed); i++) {
        assert_false(find(HTTP_GET, closed[i]).route->is_open);
    }
}

static int free_arena(void **state) {
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_leads_to_its_handler),
        cmocka_unit_test(a_trailing_slash_is_the_same_call),
        cmocka_unit_test(a_head_is_a_get),
        cmocka_unit_test(other_paths_lead_nowhere),
        cmocka_unit_test(a_wrong_method_names_the_right_ones),
        cmocka_unit_test(only_health_needs_no_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, free_arena);
}
