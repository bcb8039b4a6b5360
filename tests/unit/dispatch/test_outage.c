#include "dispatch/outage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const unsigned char first[MODEL_DIGEST_BYTES] = {1};
static const unsigned char second[MODEL_DIGEST_BYTES] = {2};
static const struct wall_time wall = {INT64_C(1800000000) * US_PER_SECOND};

static int setup(void **state) {
    static struct outages outages;
    outages_init(&outages);
    *state = &outages;
    return 0;
}

static int teardown(void **state) {
    outages_fini(*state);
    return 0;
}

static void crash(struct outages *outages, const unsigned char *digest, int64_t at_us) {
    outages_note_crash(outages, "bad", digest, "was killed by signal 11 (Segmentation fault)",
                       (struct monotonic_time){at_us}, (struct wall_time){wall.us + at_us});
}

static enum outage_verdict judge(struct outages *outages, const unsigned char *digest,
                                 int64_t at_us) {
    struct error err;
    return outages_judge(outages, "bad", digest, (struct monotonic_time){at_us}, &err);
}

static void two_crashes_are_forgiven_and_the_third_is_not(void **state) {
    struct outages *outages = *state;
    crash(outages, first, 0);
    crash(outages, first, 0);
    assert_int_equal(judge(outages, first, 0), OUTAGE_NONE);
    crash(outages, first, 0);
    struct error err;
    assert_int_equal(outages_judge(outages, "bad", first, (struct monotonic_time){1}, &err),
                     OUTAGE_OUT);
    assert_int_equal(err.kind, ERROR_MODEL_UNAVAILABLE);
    assert_string_equal(
        err.message, "it has crashed its worker 3 times in a row; the last was killed by signal "
                     "11 (Segmentation fault); it is tried again at 2027-01-15T08:00:02.000000Z");
    assert_int_equal(outages_judge(outages, "good", first, (struct monotonic_time){1}, &err),
                     OUTAGE_NONE);
}

static void each_further_crash_doubles_the_time_up_to_a_bound(void **state) {
    struct outages *outages = *state;
    int64_t last_us = 0;
    for (int i = 1; i <= 40; i++) {
        crash(outages, first, 0);
        struct outage outage;
        if (i >= OUTAGE_CRASHES_LEAST) {
            assert_true(outages_find(outages, "bad", wall, &outage));
            int64_t delay_us = outage.available_again_at.us - wall.us;
            assert_true(last_us == 0 || delay_us == 2 * last_us || (i > 11 && delay_us == last_us));
            assert_int_equal(judge(outages, first, delay_us - 1), OUTAGE_OUT);
            assert_int_equal(judge(outages, first, delay_us), OUTAGE_ON_TRIAL);
            last_us = delay_us;
        }
    }
    assert_int_equal(last_us, INT64_C(512) * US_PER_SECOND);
}

static void success_ends_it(void **state) {
    struct outages *outages = *state;
    for (int i = 0; i < 5; i++) {
        crash(outages, first, 0);
    }
    outages_note_success(outages, "other");
    assert_int_equal(judge(outages, first, 0), OUTAGE_OUT);
    outages_note_success(outages, "bad");
    assert_int_equal(judge(outages, first, 0), OUTAGE_NONE);
    crash(outages, first, 0);
    assert_int_equal(judge(outages, first, 0), OUTAGE_NONE);
}

static void other_contents_begin_anew(void **state) {
    struct outages *outages = *state;
    for (int i = 0; i < 5; i++) {
        crash(outages, first, 0);
    }
    assert_int_equal(judge(outages, second, 0), OUTAGE_NONE);
    crash(outages, second, 0);
    assert_int_equal(judge(outages, second, 0), OUTAGE_NONE);
}

static void it_is_told_only_while_it_lasts(void **state) {
    struct outages *outages = *state;
    struct outage outage;
    for (int i = 0; i < 3; i++) {
        assert_false(outages_find(outages, "bad", wall, &outage));
        crash(outages, first, 0);
    }
    assert_true(outages_find(outages, "bad", wall, &outage));
    assert_false(outages_find(outages, "bad", outage.available_again_at, &outage));
    assert_false(outages_find(outages, "other", wall, &outage));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(two_crashes_are_forgiven_and_the_third_is_not),
        TEST(each_further_crash_doubles_the_time_up_to_a_bound),
        TEST(success_ends_it),
        TEST(other_contents_begin_anew),
        TEST(it_is_told_only_while_it_lasts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
