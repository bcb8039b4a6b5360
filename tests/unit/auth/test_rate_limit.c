/* The token buckets. Time is handed in. */
#include "auth/rate_limit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct monotonic_time start = {INT64_C(12345678)};

static struct monotonic_time after_us(int64_t us) { return (struct monotonic_time){start.us + us}; }

static uint32_t take_all(struct rate_limiter *limiter, const char *principal,
                         struct monotonic_time now) {
    uint32_t taken = 0;
    while (rate_limiter_take(limiter, principal, now).allowed) {
        taken++;
        assert_in_range(taken, 1, RATE_LIMIT_MAXIMUM);
    }
    return taken;
}

static void a_burst_of_a_seconds_worth_passes(void **state) {
    (void)state;
    const uint32_t rates[] = {1, 2, 3, 7, 10, 100, 999, 1000, 1000000};
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        struct rate_limiter *limiter = rate_limiter_new(rates[i]);
        assert_int_equal(take_all(limiter, "alice", start), rates[i]);
        rate_limiter_free(limiter);
    }
}

static void tokens_come_back_evenly(void **state) {
    (void)state;
    struct rate_limiter *limiter = rate_limiter_new(10);
    assert_int_equal(take_all(limiter, "alice", start), 10);
    assert_int_equal(take_all(limiter, "alice", after_us(99999)), 0);
    assert_int_equal(take_all(limiter, "alice", after_us(100000)), 1);
    assert_int_equal(take_all(limiter, "alice", after_us(350000)), 2);
    assert_int_equal(take_all(limiter, "alice", after_us(5000000)), 10);
    rate_limiter_free(limiter);
}

static void the_long_run_does_not_exceed_the_rate(void **state) {
    (void)state;
    struct rate_limiter *limiter = rate_limiter_new(50);
    uint32_t taken = 0;
    for (int64_t us = 0; us < 100 * US_PER_SECOND; us += 1300) {
        taken += rate_limiter_take(limiter, "alice", after_us(us)).allowed;
    }
    assert_in_range(taken, 5000, 5050);
    rate_limiter_free(limiter);
}

static void principals_do_not_share(void **state) {
    (void)state;
    struct rate_limiter *limiter = rate_limiter_new(3);
    assert_int_equal(take_all(limiter, "alice", start), 3);
    assert_int_equal(take_all(limiter, "bob", start), 3);
    assert_int_equal(take_all(limiter, "alice", start), 0);
    rate_limiter_free(limiter);
}

static void the_result_tells_what_is_left(void **state) {
    (void)state;
    struct rate_limiter *limiter = rate_limiter_new(2);
    struct rate_limit_result result = rate_limiter_take(limiter, "alice", start);
    assert_true(result.allowed);
    assert_int_equal(result.limit, 2);
    assert_int_equal(result.remaining, 1);
    assert_int_equal(result.reset_s, 1);
    assert_int_equal(result.retry_after_s, 0);
    result = rate_limiter_take(limiter, "alice", start);
    assert_true(result.allowed);
    assert_int_equal(result.remaining, 0);
    result = rate_limiter_take(limiter, "alice", start);
    assert_false(result.allowed);
    assert_int_equal(result.remaining, 0);
    assert_int_equal(result.retry_after_s, 1);
    assert_int_equal(result.reset_s, 1);
    rate_limiter_free(limiter);
}

static void the_header_fields_are_the_drafts(void **state) {
    (void)state;
    struct rate_limit_result result = {.limit = 100, .remaining = 42, .reset_s = 1};
    char text[RATE_LIMIT_HEADER_BYTES];
    rate_limit_format_policy(&result, text);
    assert_string_equal(text, "\"default\";q=100;w=1");
    rate_limit_format(&result, text);
    assert_string_equal(text, "\"default\";r=42;t=1");
}

static void more_principals_than_places_are_limited_still(void **state) {
    (void)state;
    struct rate_limiter *limiter = rate_limiter_new(1);
    char name[32];
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "principal %d", i);
        assert_true(rate_limiter_take(limiter, name, start).allowed);
    }
    /* The last one has a place. */
    assert_false(rate_limiter_take(limiter, name, start).allowed);
    rate_limiter_free(limiter);
}

static struct rate_limiter *shared;
static atomic_uint shared_taken;

static void *take_some(void *context) {
    (void)context;
    for (int i = 0; i < 20000; i++) {
        if (rate_limiter_take(shared, "alice", start).allowed) {
            atomic_fetch_add(&shared_taken, 1);
        }
    }
    return NULL;
}

static void threads_take_no_token_twice(void **state) {
    (void)state;
    shared = rate_limiter_new(5000);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_some, NULL), 0);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&shared_taken), 5000);
    rate_limiter_free(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_of_a_seconds_worth_passes),
        cmocka_unit_test(tokens_come_back_evenly),
        cmocka_unit_test(the_long_run_does_not_exceed_the_rate),
        cmocka_unit_test(principals_do_not_share),
        cmocka_unit_test(the_result_tells_what_is_left),
        cmocka_unit_test(the_header_fields_are_the_drafts),
        cmocka_unit_test(more_principals_than_places_are_limited_still),
        cmocka_unit_test(threads_take_no_token_twice),
    };
    return cmocka_run_group_tests_name("auth: rate limit", tests, NULL, NULL);
}
