#include "run/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct wall_time at(const char *text) {
    struct wall_time time;
    struct error err;
    assert_true(wall_time_parse(text, &time, &err));
    return time;
}

static struct timetable make(const char *schedule, const char *zone, const char *start_at,
                             const char *end_at) {
    struct run run = run_defaults();
    run.schedule = schedule;
    run.zone_name = zone;
    run.start_at = start_at == NULL ? WALL_TIME_NONE : at(start_at);
    run.end_at = end_at == NULL ? WALL_TIME_NONE : at(end_at);
    struct timetable timetable;
    struct error err;
    assert_true(timetable_init(&timetable, &run, &err));
    return timetable;
}

static void names_read_back(void **state) {
    (void)state;
    for (int i = OVERLAP_SKIP; i <= OVERLAP_ALLOW; i++) {
        enum overlap_policy policy;
        assert_true(overlap_policy_parse(overlap_policy_name((enum overlap_policy)i), &policy));
        assert_int_equal(policy, i);
    }
    for (int i = EXECUTION_QUEUED; i <= EXECUTION_MISSED; i++) {
        enum execution_status status;
        assert_true(
            execution_status_parse(execution_status_name((enum execution_status)i), &status));
        assert_int_equal(status, i);
    }
    enum catchup_policy policy;
    assert_false(catchup_policy_parse("Latest", &policy));
}

static void a_bad_schedule_or_zone_names_its_field(void **state) {
    (void)state;
    struct run run = run_defaults();
    struct timetable timetable;
    struct error err;
    run.schedule = "61 * * * *";
    assert_false(timetable_init(&timetable, &run, &err));
    assert_int_equal(err.kind, ERROR_INVALID_CRON);
    assert_string_equal(err.field, "schedule");
    run.schedule = "* * * * *";
    run.zone_name = "Mars/Olympus_Mons";
    assert_false(timetable_init(&timetable, &run, &err));
    assert_int_equal(err.kind, ERROR_INVALID_ZONE);
    assert_string_equal(err.field, "timezone");
}

static void slots_lie_from_start_at_up_to_but_not_at_end_at(void **state) {
    (void)state;
    struct timetable timetable =
        make("0 * * * *", "UTC", "2027-01-01T10:00:00Z", "2027-01-01T13:00:00Z");
    struct wall_time early = at("2026-01-01T00:00:00Z");
    struct wall_time late = at("2028-01-01T00:00:00Z");
    assert_int_equal(timetable_next(&timetable, early).us, at("2027-01-01T10:00:00Z").us);
    assert_true(wall_time_is_none(timetable_next(&timetable, at("2027-01-01T12:00:00Z"))));
    assert_int_equal(timetable_latest(&timetable, early, late).us, at("2027-01-01T12:00:00Z").us);
    assert_int_equal(timetable_count(&timetable, early, late), 3);
    assert_true(wall_time_is_none(timetable_latest(&timetable, at("2027-01-01T12:00:00Z"), late)));
    timetable_fini(&timetable);
}

static void the_latest_slot_may_be_the_instant_itself(void **state) {
    (void)state;
    struct timetable timetable = make("0 2 * * *", "Europe/Berlin", NULL, NULL);
    struct wall_time slot = at("2027-01-02T01:00:00Z");
    assert_int_equal(timetable_latest(&timetable, at("2027-01-01T00:00:00Z"), slot).us, slot.us);
    assert_int_equal(
        timetable_latest(&timetable, at("2027-01-01T00:00:00Z"), (struct wall_time){slot.us - 1})
            .us,
        at("2027-01-01T01:00:00Z").us);
    timetable_fini(&timetable);
}

static void slots_of_a_long_gap_are_counted_as_if_walked(void **state) {
    (void)state;
    struct timetable timetable = make("*/7 1-5 * 3,10 0", "America/New_York", NULL, NULL);
    struct wall_time from = at("2027-01-01T00:00:00Z");
    struct wall_time until = at("2029-06-01T00:00:00Z");
    uint64_t walked = 0;
    for (struct wall_time slot = timetable_next(&timetable, from);
         !wall_time_is_none(slot) && slot.us <= until.us; slot = timetable_next(&timetable, slot)) {
        walked++;
    }
    assert_true(walked > 100);
    assert_int_equal(timetable_count(&timetable, from, until), walked);
    timetable_fini(&timetable);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_read_back),
        cmocka_unit_test(a_bad_schedule_or_zone_names_its_field),
        cmocka_unit_test(slots_lie_from_start_at_up_to_but_not_at_end_at),
        cmocka_unit_test(the_latest_slot_may_be_the_instant_itself),
        cmocka_unit_test(slots_of_a_long_gap_are_counted_as_if_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
