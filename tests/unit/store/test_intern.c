/* The cache from names to keys. */
#include "store/sqlite/intern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int64_t get(const struct intern_cache *cache, const char *name) {
    return intern_cache_get(cache, name, strlen(name));
}

static void put(struct intern_cache *cache, const char *name, int64_t key) {
    intern_cache_put(cache, name, strlen(name), key);
}

static void a_name_is_found_with_its_newest_key_until_the_cache_is_cleared(void **state) {
    (void)state;
    struct intern_cache cache = {0};
    assert_int_equal(get(&cache, "iris"), 0);
    put(&cache, "iris", 7);
    assert_int_equal(get(&cache, "iris"), 7);
    assert_int_equal(get(&cache, "iri"), 0);
    assert_int_equal(get(&cache, "iriS"), 0);
    put(&cache, "iris", 8);
    assert_int_equal(get(&cache, "iris"), 8);
    intern_cache_clear(&cache);
    assert_int_equal(get(&cache, "iris"), 0);
}

/* Names are numbered by those who give them: were these to share a place, none of them would ever be found. */
static void names_that_differ_at_their_end_do_not_push_each_other_out(void **state) {
    (void)state;
    const char *const patterns[] = {"model-%d", "iris-v%d", "team-%d@example.org", "%d"};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        struct intern_cache cache = {0};
        char name[40];
        int found = 0;
        for (int number = 0; number < 16; number++) {
            snprintf(name, sizeof name, patterns[i], number);
            put(&cache, name, number + 1);
        }
        for (int number = 0; number < 16; number++) {
            snprintf(name, sizeof name, patterns[i], number);
            int64_t key = get(&cache, name);
            assert_true(key == 0 || key == number + 1);
            found += key != 0 ? 1 : 0;
        }
        assert_in_range(found, 12, 16);
        intern_cache_clear(&cache);
    }
}

/* Thousands of names in a few places: each answer is right or none. */
static void names_that_share_a_place_are_not_mistaken_for_each_other(void **state) {
    (void)state;
    struct intern_cache cache = {0};
    char name[24];
    for (int number = 0; number < 3000; number++) {
        snprintf(name, sizeof name, "owner-%d", number);
        assert_int_equal(get(&cache, name), 0);
        put(&cache, name, number + 1);
        assert_int_equal(get(&cache, name), number + 1);
    }
    intern_cache_clear(&cache);
}

static void a_very_long_name_is_not_kept(void **state) {
    (void)state;
    struct intern_cache cache = {0};
    char name[INTERN_BYTES_MAXIMUM + 1];
    memset(name, 'x', sizeof name);
    intern_cache_put(&cache, name, sizeof name, 1);
    assert_int_equal(intern_cache_get(&cache, name, sizeof name), 0);
    intern_cache_put(&cache, name, sizeof name - 1, 2);
    assert_int_equal(intern_cache_get(&cache, name, sizeof name - 1), 2);
    intern_cache_clear(&cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_found_with_its_newest_key_until_the_cache_is_cleared),
        cmocka_unit_test(names_that_differ_at_their_end_do_not_push_each_other_out),
        cmocka_unit_test(names_that_share_a_place_are_not_mistaken_for_each_other),
        cmocka_unit_test(a_very_long_name_is_not_kept),
    };
    return cmocka_run_group_tests_name("store: intern", tests, NULL, NULL);
}
