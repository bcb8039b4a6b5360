/* What runs have in common the plan keeps once; what differs in anything, it keeps apart. */
#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Changes one thing about a run; `n` says which. False: there is no further one. */
static bool vary_terms(struct run *run, int n) {
    switch (n) {
    case 0:
        run->owner = "somebody-else";
        return true;
    case 1:
        run->model_name = "another";
        return true;
    case 2:
        run->model_version = 7;
        return true;
    case 3:
        run->overlap = OVERLAP_ALLOW;
        return true;
    case 4:
        run->catchup = CATCHUP_NONE;
        return true;
    case 5:
        run->priority++;
        return true;
    case 6:
        run->timeout.us++;
        return true;
    case 7:
        run->jitter.us++;
        return true;
    case 8:
        run->catchup_window.us++;
        return true;
    case 9:
        run->retry.max_attempts++;
        return true;
    case 10:
        run->retry.backoff.us++;
        return true;
    case 11:
        run->retry.max_backoff.us++;
        return true;
    case 12:
        run->retry.non_retryable ^= 1;
        return true;
    default:
        return false;
    }
}

static bool vary_schedule(struct run *run, int n) {
    switch (n) {
    case 0:
        run->schedule = "1 0 * * *";
        return true;
    case 1:
        run->zone_name = "Europe/Berlin";
        return true;
    case 2:
        run->start_at = time_at("2026-01-01T00:00:00Z");
        return true;
    case 3:
        run->end_at = time_at("2036-01-01T00:00:00Z");
        return true;
    case 4:
        run->dst_missing = DST_MISSING_SKIP;
        return true;
    case 5:
        run->dst_repeated = DST_REPEATED_LAST;
        return true;
    default:
        return false;
    }
}

static struct run plain(int64_t key) {
    struct run run = world_run("0 0 * * *");
    run.key = key;
    run.next_run = time_at("2027-01-02T00:00:00Z");
    return run;
}

static struct plan_entry *put(struct world *world, const struct run *run) {
    struct plan_entry *entry = world_entry(run);
    plan_put(&world->plan, entry);
    return entry;
}

static void runs_that_are_alike_share_everything(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run one = plain(1);
    struct run two = plain(2);
    struct plan_entry *a = put(world, &one);
    struct plan_entry *b = put(world, &two);
    assert_ptr_equal(a->terms, b->terms);
    assert_ptr_equal(a->schedule, b->schedule);
    world_close(world);
}

static void runs_that_differ_in_one_thing_each_have_their_own_terms(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run one = plain(1);
    struct plan_entry *a = put(world, &one);
    struct run other = plain(2);
    for (int n = 0; vary_terms(&other, n); n++) {
        struct plan_entry *b = put(world, &other);
        assert_ptr_not_equal(a->terms, b->terms);
        assert_ptr_equal(a->schedule, b->schedule);
        other = plain(3 + n);
    }
    world_close(world);
}

static void runs_that_differ_in_one_thing_each_have_their_own_schedule(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run one = plain(1);
    struct plan_entry *a = put(world, &one);
    struct run other = plain(2);
    for (int n = 0; vary_schedule(&other, n); n++) {
        struct plan_entry *b = put(world, &other);
        assert_ptr_not_equal(a->schedule, b->schedule);
        assert_ptr_equal(a->terms, b->terms);
        other = plain(3 + n);
    }
    world_close(world);
}

static void what_is_kept_once_goes_with_the_last_that_has_it(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run one = plain(1);
    struct run two = plain(2);
    put(world, &one);
    struct plan_entry *b = put(world, &two);
    const struct plan_terms *terms = b->terms;
    plan_remove(&world->plan, 1, world->now);
    assert_ptr_equal(b->terms, terms);
    plan_remove(&world->plan, 2, world->now);
    assert_int_equal(world->plan.terms.count, 0);
    assert_int_equal(world->plan.schedules.count, 0);
    assert_int_equal(world->plan.models.count, 0);
    assert_int_equal(world->plan.owners.count, 0);
    world_close(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_that_are_alike_share_everything),
        cmocka_unit_test(runs_that_differ_in_one_thing_each_have_their_own_terms),
        cmocka_unit_test(runs_that_differ_in_one_thing_each_have_their_own_schedule),
        cmocka_unit_test(what_is_kept_once_goes_with_the_last_that_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
