#include "conformance.h"

#include "conformance_tests.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct conformance_driver *driver_under_test;

static int set_up(void **state) {
    struct world *world = must_alloc_zeroed(1, sizeof *world);
    world_open(world, driver_under_test->make_location());
    *state = world;
    return 0;
}

static int tear_down(void **state) {
    struct world *world = *state;
    const char *location = world->location;
    world_close(world);
    free(world);
    driver_under_test->discard_location(location);
    return 0;
}

int conformance_run(const struct conformance_driver *driver) {
    driver_under_test = driver;
    static struct CMUnitTest tests[CONFORMANCE_TEST_MAXIMUM];
    size_t count = conformance_run_tests(tests);
    count += conformance_ledger_tests(tests + count);
    count += conformance_change_tests(tests + count);
    count += conformance_pinned_tests(tests + count);
    count += conformance_backfill_tests(tests + count);
    count += conformance_retention_tests(tests + count);
    ASSERT(count <= CONFORMANCE_TEST_MAXIMUM);
    for (size_t i = 0; i < count; i++) {
        tests[i].setup_func = set_up;
        tests[i].teardown_func = tear_down;
    }
    return _cmocka_run_group_tests(driver->name, tests, count, NULL, NULL);
}
