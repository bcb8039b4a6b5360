/* RFC 3339, durations, the calendar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "clock/calendar.h"
#include "clock/time.h"

#include <string.h>

static void times_are_written_in_utc_with_microseconds(void **state) {
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(1795485600000000), "2026-11-24T02:00:00.000000Z"},
        {INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
        {INT64_C(7258118399999999), "2199-12-31T23:59:59.999999Z"},
        {-INT64_C(2208988800000000), "1900-01-01T00:00:00.000000Z"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[RFC3339_BYTES];
        wall_time_format((struct wall_time){cases[i].us}, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void any_instant_can_be_written(void **state) {
    (void)state;
    static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, -INT64_C(62167219200000001)};
    for (size_t i = 0; i < COUNT_OF(far); i++) {
        char text[RFC3339_BYTES];
        wall_time_format((struct wall_time){far[i]}, text);
        assert_int_equal(strlen(text), 27);
        wall_time_format_offset((struct wall_time){far[i]}, -43200, text);
        assert_in_range(strlen(text), 25, 32);
    }
}

static void offsets_are_written_in_minutes_and_the_instant_stays(void **state) {
    (void)state;
    static const struct {
        int64_t us;
        int32_t offset;
        const char *text;
    } cases[] = {
        {0, 0, "1970-01-01T00:00:00+00:00"},
        {0, 3600, "1970-01-01T01:00:00+01:00"},
        {0, -12600, "1969-12-31T20:30:00-03:30"},
        {0, 50400, "1970-01-01T14:00:00+14:00"},
        {500000, 20700, "1970-01-01T05:45:00.500000+05:45"},
        {0, -2670, "1969-12-31T23:16:00-00:44"},
        {0, 3208, "1970-01-01T00:53:00+00:53"},
        {0, -15, "1970-01-01T00:00:00+00:00"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[RFC3339_BYTES];
        struct wall_time back;
        struct error err;
        wall_time_format_offset((struct wall_time){cases[i].us}, cases[i].offset, text);
        assert_string_equal(text, cases[i].text);
        if (text[0] == '1' && text[3] == '7') {
            assert_true(wall_time_parse(text, &back, &err));
            assert_int_equal(back.us, cases[i].us);
        }
    }
}

static void rfc_3339_is_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01 00:00:00Z", 0},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1970-01-01T00:00:00-23:59", INT64_C(86340000000)},
        {"1970-01-01T00:00:00-00:00", 0},
        {"1970-01-01T00:00:00.5Z", 500000},
        {"1970-01-01T00:00:00.000001Z", 1},
        {"1970-01-01T00:00:00.123456789Z", 123456},
        {"2016-12-31T23:59:60Z", INT64_C(1483228799999999)},
        {"2016-12-31T23:59:60.25Z", INT64_C(1483228799999999)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
        {"2199-12-31T23:59:59.999999Z", INT64_C(7258118399999999)},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wall_time time = {-1};
        struct error err;
        assert_true(wall_time_parse(cases[i].text, &time, &err));
        assert_int_equal(time.us, cases[i].us);
    }
}

static void what_is_not_rfc_3339_is_refused_with_its_column(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t column;
        const char *message;
    } cases[] = {
        {"", 1, "expected a year from 1970 to 2199, found the end (column 1)"},
        {"yesterday", 1, "expected a year from 1970 to 2199, found 'y' (column 1)"},
        {"1969-12-31T00:00:00Z", 1, "expected a year from 1970 to 2199, found 1969 (column 1)"},
        {"2200-01-01T00:00:00Z", 1, "expected a year from 1970 to 2199, found 2200 (column 1)"},
        {"2026/11/23", 5, "expected '-', found '/' (column 5)"},
        {"2026-13-01T00:00:00Z", 6, "expected a month from 01 to 12, found 13 (column 6)"},
        {"2026-00-01T00:00:00Z", 6, "expected a month from 01 to 12, found 00 (column 6)"},
        {"2027-02-29T00:00:00Z", 9, "expected a day from 01 to 28, found 29 (column 9)"},
        {"2100-02-29T00:00:00Z", 9, "expected a day from 01 to 28, found 29 (column 9)"},
        {"2026-11-31T00:00:00Z", 9, "expected a day from 01 to 30, found 31 (column 9)"},
        {"2026-11-23", 11, "expected 'T' between date and time, found the end (column 11)"},
        {"2026-11-23T24:00:00Z", 12, "expected an hour from 00 to 23, found 24 (column 12)"},
        {"2026-11-23T02:60:00Z", 15, "expected a minute from 00 to 59, found 60 (column 15)"},
        {"2026-11-23T02:00:61Z", 18, "expected a second from 00 to 60, found 61 (column 18)"},
        {"2026-11-23T02:00Z", 17, "expected ':', found 'Z' (column 17)"},
        {"2026-11-23T02:00:00", 20,
         "expected 'Z' or an offset such as +01:00, found the end (column 20)"},
        {"2026-11-23T02:00:00.Z", 21, "expected a digit of the fraction, found 'Z' (column 21)"},
        {"2026-11-23T02:00:00.1234567890Z", 30,
         "expected 'Z' or an offset such as +01:00, found '0' (column 30)"},
        {"2026-11-23T02:00:00+0100", 23, "expected ':', found '0' (column 23)"},
        {"2026-11-23T02:00:00+24:00", 21,
         "expected the offset's hours from 00 to 23, found 24 (column 21)"},
        {"2026-11-23T02:00:00Z ", 21, "expected the end, found byte 0x20 (column 21)"},
        {"2026-11-23T02:00:00\xe2\x88\x92", 20,
         "expected 'Z' or an offset such as +01:00, found byte 0xe2 (column 20)"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wall_time time = {12345};
        struct error err;
        assert_false(wall_time_parse(cases[i].text, &time, &err));
        assert_int_equal(err.kind, ERROR_INVALID);
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.column, cases[i].column);
        assert_int_equal(time.us, 12345);
    }
}

static void local_times_may_leave_the_offset_out(void **state) {
    (void)state;
    int64_t seconds;
    bool has_offset;
    struct error err;
    assert_true(local_time_parse("2027-01-01T09:00:00", &seconds, &has_offset, &err));
    assert_int_equal(seconds, INT64_C(1798794000));
    assert_false(has_offset);
    assert_true(local_time_parse("2027-01-01T09:00:00+01:00", &seconds, &has_offset, &err));
    assert_int_equal(seconds, INT64_C(1798790400));
    assert_true(has_offset);
    assert_false(local_time_parse("2027-01-01T09:00:00.5", &seconds, &has_offset, &err));
    assert_false(local_time_parse("2027-01-01", &seconds, &has_offset, &err));
}

static void durations_are_read_and_written(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
        const char *written;
    } cases[] = {
        {"90s", 90000000, "1m30s"},
        {"5m", 300000000, "5m"},
        {"1h30m", INT64_C(5400000000), "1h30m"},
        {"0s", 0, "0s"},
        {"0h", 0, "0s"},
        {"1500ms", 1500000, "1s500ms"},
        {"1us", 1, "1us"},
        {"1d2h3m4s5ms6us", INT64_C(93784005006), "1d2h3m4s5ms6us"},
        {"36525d", INT64_C(3155760000000000), "36525d"},
        {"007m", 420000000, "7m"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct duration duration;
        struct error err;
        char text[DURATION_BYTES];
        assert_true(duration_parse(cases[i].text, &duration, &err));
        assert_int_equal(duration.us, cases[i].us);
        duration_format(duration, text);
        assert_string_equal(text, cases[i].written);
    }
    char text[DURATION_BYTES];
    duration_format((struct duration){-1500}, text);
    assert_string_equal(text, "-1ms500us");
    duration_format((struct duration){INT64_MIN}, text);
    assert_string_equal(text, "-106751991d4h54s775ms808us");
}

static void what_is_no_duration_is_refused_with_its_column(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t column;
        const char *message;
    } cases[] = {
        {"", 1,
         "expected a whole number and a unit such as 90s or 1h30m, found the end (column 1)"},
        {"s", 1, "expected a whole number and a unit such as 90s or 1h30m, found 's' (column 1)"},
        {"-5s", 1, "expected a whole number and a unit such as 90s or 1h30m, found '-' (column 1)"},
        {"90", 3, "expected a unit: d, h, m, s, ms or us, found the end (column 3)"},
        {"1.5h", 2, "expected a unit: d, h, m, s, ms or us, found '.' (column 2)"},
        {"5 m", 2, "expected a unit: d, h, m, s, ms or us, found byte 0x20 (column 2)"},
        {"5min", 2, "expected a unit: d, h, m, s, ms or us, found 'm' (column 2)"},
        {"5M", 2, "expected a unit: d, h, m, s, ms or us, found 'M' (column 2)"},
        {"1m1m", 4,
         "expected units from the largest to the smallest, each once, found 'm' (column 4)"},
        {"1s1h", 4,
         "expected units from the largest to the smallest, each once, found 'h' (column 4)"},
        {"36525d1us", 7, "expected at most 100 years (36525d) (column 7)"},
        {"99999999999999999999999s", 1, "expected at most 100 years (36525d) (column 1)"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct duration duration = {7};
        struct error err;
        assert_false(duration_parse(cases[i].text, &duration, &err));
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.column, cases[i].column);
        assert_int_equal(duration.us, 7);
    }
}

static void days_and_dates_agree_for_ten_thousand_years(void **state) {
    (void)state;
    int32_t day = days_from_date(1, 1, 1);
    uint32_t weekday = 1; /* 1 January of year 1 was a Monday */
    assert_int_equal(days_from_date(1970, 1, 1), 0);
    for (int32_t year = 1; year <= 9999; year++) {
        for (uint32_t month = 1; month <= 12; month++) {
            static const uint32_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
            bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            uint32_t length = lengths[month - 1] + (month == 2 && leap);
            assert_int_equal(month_length(year, month), length);
            for (uint32_t d = 1; d <= length; d++, day++, weekday = (weekday + 1) % 7) {
                struct civil_date date = date_from_days(day);
                if (date.year != year || date.month != month || date.day != d ||
                    days_from_date(year, month, d) != day || weekday_of_day(day) != weekday) {
                    fail_msg("day %d", day);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_in_utc_with_microseconds),
        cmocka_unit_test(any_instant_can_be_written),
        cmocka_unit_test(offsets_are_written_in_minutes_and_the_instant_stays),
        cmocka_unit_test(rfc_3339_is_read),
        cmocka_unit_test(what_is_not_rfc_3339_is_refused_with_its_column),
        cmocka_unit_test(local_times_may_leave_the_offset_out),
        cmocka_unit_test(durations_are_read_and_written),
        cmocka_unit_test(what_is_no_duration_is_refused_with_its_column),
        cmocka_unit_test(days_and_dates_agree_for_ten_thousand_years),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
