/* Names, files, rules and the cache of time zones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "clock/zone_file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t offset_at(const char *name, const char *time) {
    const struct zone *zone;
    struct wall_time at = {0};
    struct error err;
    if (!zone_open(name, &zone, &err) || !wall_time_parse(time, &at, &err)) {
        fail_msg("%s", err.message);
    }
    int32_t offset = zone_offset_at(zone, at);
    zone_unref(zone);
    return offset;
}

static void offsets_of_well_known_zones(void **state) {
    (void)state;
    assert_int_equal(offset_at("UTC", "2024-01-01T00:00:00Z"), 0);
    assert_int_equal(offset_at("Europe/Berlin", "2024-03-31T00:59:59.999999Z"), 3600);
    assert_int_equal(offset_at("Europe/Berlin", "2024-03-31T01:00:00Z"), 7200);
    assert_int_equal(offset_at("Asia/Kathmandu", "2024-01-01T00:00:00Z"), 20700);
    assert_int_equal(offset_at("Australia/Lord_Howe", "2024-10-05T15:30:00Z"), 39600);
    assert_int_equal(offset_at("Pacific/Apia", "2011-12-30T09:59:59Z"), -36000);
    assert_int_equal(offset_at("Pacific/Apia", "2011-12-30T10:00:00Z"), 50400);
    assert_int_equal(offset_at("Africa/Monrovia", "1972-01-01T00:00:00Z"), -2670);
    assert_int_equal(offset_at("US/Eastern", "2024-07-01T00:00:00Z"), -14400);
}

static void names_that_are_none_never_reach_the_file_system(void **state) {
    (void)state;
    static const char *const names[] = {
        "",
        "/",
        ".",
        "..",
        "/etc/passwd",
        "../zoneinfo/UTC",
        "Europe/../UTC",
        "Europe//Berlin",
        "Europe/Berlin/",
        "Europe/./Berlin",
        "./UTC",
        "-UTC",
        "Europe/-Berlin",
        "Europe/.hidden",
        "Europe\\Berlin",
        "Europe/Berlin ",
        " UTC",
        "Europe/Berlin\n",
        "Europe/B\xc3\xa9rlin",
        "UTC:",
        "%s",
        "Europe/Berlin?",
        "a~b",
        "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct zone *zone;
        struct error err;
        assert_false(zone_open(names[i], &zone, &err));
        assert_int_equal(err.kind, ERROR_INVALID_ZONE);
        assert_string_equal(err.field, "timezone");
        assert_string_equal(err.message,
                            "not the name of a time zone: expected one such as Europe/Berlin");
    }
}

static void zones_that_are_not_there_are_unknown(void **state) {
    (void)state;
    static const char *const names[] = {"Europe/Bremen", "europe/berlin", "EUROPE/BERLIN", "Europe",
                                        "tzdata.zi",     "zone.tab",      "Utc2"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct zone *zone;
        struct error err;
        char expected[128];
        assert_false(zone_open(names[i], &zone, &err));
        snprintf(expected, sizeof expected, "unknown time zone '%s'", names[i]);
        assert_string_equal(err.message, expected);
        assert_string_equal(err.field, "timezone");
    }
}

static void files_that_count_leap_seconds_are_refused(void **state) {
    (void)state;
    const struct zone *zone;
    struct error err;
    if (access("/usr/share/zoneinfo/right/UTC", R_OK) != 0) {
        skip();
    }
    assert_false(zone_open("right/UTC", &zone, &err));
    assert_string_equal(err.message,
                        "time zone 'right/UTC': the file counts leap seconds; the system's clock "
                        "does not");
}

/* ---- Files made here ---- */

struct made_file {
    unsigned char bytes[1024];
    size_t size_bytes;
};

static void put_u32(struct made_file *file, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        file->bytes[file->size_bytes++] = (unsigned char)(value >> shift);
    }
}

static void put_bytes(struct made_file *file, const char *bytes, size_t size_bytes) {
    memcpy(file->bytes + file->size_bytes, bytes, size_bytes);
    file->size_bytes += size_bytes;
}

static void put_header(struct made_file *file, char version, uint32_t transitions, uint32_t types) {
    put_bytes(file, "TZif", 4);
    put_bytes(file, &version, 1);
    put_bytes(file, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
    put_u32(file, 0);
    put_u32(file, 0);
    put_u32(file, 0);
    put_u32(file, transitions);
    put_u32(file, types);
    put_u32(file, 8);
}

/* Two types, EST and EDT, and one transition from the first to the second (or back) at an
 * instant. */
static struct made_file make_file(char version, int64_t instant, char type, const char *footer) {
    struct made_file file = {0};
    if (version != '\0') {
        put_header(&file, version, 0, 1);
        put_u32(&file, 0);
        put_bytes(&file, "\0\0", 2);
        put_bytes(&file, "EST\0EDT", 8);
    }
    put_header(&file, version, 1, 2);
    if (version != '\0') {
        put_u32(&file, (uint32_t)((uint64_t)instant >> 32));
    }
    put_u32(&file, (uint32_t)instant);
    put_bytes(&file, &type, 1);
    put_u32(&file, (uint32_t)-18000);
    put_bytes(&file, "\0\0", 2);
    put_u32(&file, (uint32_t)-14400);
    put_bytes(&file, "\1\4", 2);
    put_bytes(&file, "EST\0EDT", 8);
    if (version != '\0') {
        put_bytes(&file, "\n", 1);
        put_bytes(&file, footer, strlen(footer));
        put_bytes(&file, "\n", 1);
    }
    return file;
}

static const struct zone *open_made(const struct made_file *file) {
    const struct zone *zone;
    struct error err;
    if (!zone_from_bytes("Made/Up", file->bytes, file->size_bytes, &zone, &err)) {
        fail_msg("%s", err.message);
    }
    return zone;
}

static struct zone_moment moment_at(const struct zone *zone, const char *time) {
    struct wall_time at = {0};
    struct error err;
    assert_true(wall_time_parse(time, &at, &err));
    return zone_moment_at(zone, at);
}

static void all_versions_are_read(void **state) {
    (void)state;
    static const char versions[] = {'\0', '2', '3', '4'};
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        struct made_file file = make_file(versions[i], 1000000000, 1, "EST5EDT,M3.2.0,M11.1.0");
        const struct zone *zone = open_made(&file);
        assert_int_equal(moment_at(zone, "2001-09-09T01:46:39Z").offset_seconds, -18000);
        struct zone_moment moment = moment_at(zone, "2001-09-09T01:46:40Z");
        assert_int_equal(moment.offset_seconds, -14400);
        assert_true(moment.is_daylight);
        assert_string_equal(moment.abbreviation, "EDT");
        /* Version 1 has no rule: the last type stays. */
        int32_t winter = versions[i] == '\0' ? -14400 : -18000;
        assert_int_equal(moment_at(zone, "2024-12-25T00:00:00Z").offset_seconds, winter);
        assert_int_equal(zone_offset_at(zone, wall_time_from_seconds(INT64_C(7986268800))), winter);
        zone_unref(zone);
    }
}

static void a_file_cut_anywhere_is_refused(void **state) {
    (void)state;
    struct made_file file = make_file('2', 1000000000, 1, "EST5EDT,M3.2.0,M11.1.0");
    for (size_t size = 0; size < file.size_bytes; size++) {
        const struct zone *zone;
        struct error err;
        assert_false(zone_from_bytes("Cut", file.bytes, size, &zone, &err));
        assert_int_equal(err.kind, ERROR_INVALID_ZONE);
    }
}

static void assert_corrupt(struct made_file file, size_t at, unsigned char byte,
                           const char *message) {
    const struct zone *zone;
    struct error err;
    file.bytes[at] = byte;
    assert_false(zone_from_bytes("Corrupt", file.bytes, file.size_bytes, &zone, &err));
    assert_string_equal(err.message, message);
}

static void corrupt_files_are_refused_with_the_reason(void **state) {
    (void)state;
    struct made_file file = make_file('\0', 1000000000, 1, "");
    assert_corrupt(file, 0, 't', "not a TZif file");
    assert_corrupt(file, 4, '1', "corrupt TZif file: unknown version");
    assert_corrupt(file, 36, 1, "corrupt TZif file: a count is too large");
    assert_corrupt(file, 39, 0, "corrupt TZif file: no local time type");
    assert_corrupt(file, 43, 0, "corrupt TZif file: no local time type");
    assert_corrupt(file, 23, 1, "corrupt TZif file: indicators do not match the types");
    assert_corrupt(file, 35, 9, "corrupt TZif file: it ends too early");
    assert_corrupt(file, 48, 2, "corrupt TZif file: a transition to an unknown type");
    assert_corrupt(file, 49, 0x7f, "corrupt TZif file: an offset from UTC is out of range");
    assert_corrupt(file, 53, 2, "corrupt TZif file: a daylight saving flag is neither 0 nor 1");
    assert_corrupt(file, 54, 8, "corrupt TZif file: an abbreviation does not end");
    struct made_file other = make_file('2', 1000000000, 1, "EST5EDT");
    assert_corrupt(other, 0, 'T', "corrupt TZif file: the footer is not a TZ string");
    other = make_file('2', 1000000000, 0, "EST5EDT,M3.2.0,M11.1.0");
    assert_corrupt(other, 0, 'T', "corrupt TZif file: the footer contradicts the last transition");
}

static void no_byte_of_a_file_breaks_the_reader(void **state) {
    (void)state;
    struct made_file file = make_file('3', 1000000000, 1, "<-05>5<-04>,M3.2.0/-1,M11.1.0/26");
    for (size_t at = 0; at < file.size_bytes; at++) {
        for (int byte = 0; byte < 256; byte++) {
            struct made_file spoiled = file;
            const struct zone *zone;
            struct error err;
            spoiled.bytes[at] = (unsigned char)byte;
            if (zone_from_bytes("Spoiled", spoiled.bytes, spoiled.size_bytes, &zone, &err)) {
                zone_offset_at(zone, wall_time_from_seconds(INT64_C(4000000000)));
                zone_unref(zone);
            }
        }
    }
}

/* ---- Rules ---- */

static int64_t seconds_of(const char *time) {
    struct wall_time at = {0};
    struct error err;
    assert_true(wall_time_parse(time, &at, &err));
    return wall_time_seconds(at);
}

static void rules_give_the_instants_of_change(void **state) {
    (void)state;
    static const struct {
        const char *rule;
        int32_t year;
        const char *start, *end;
    } cases[] = {
        {"EST5EDT,M3.2.0,M11.1.0", 2024, "2024-03-10T07:00:00Z", "2024-11-03T06:00:00Z"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 2024, "2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z"},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", 2024, "2024-10-27T01:00:00Z", "2024-03-31T01:00:00Z"},
        {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 2024, "2024-10-05T15:30:00Z",
         "2024-04-06T15:00:00Z"},
        {"IST-2IDT,M3.4.4/26,M10.5.0", 2024, "2024-03-29T00:00:00Z", "2024-10-26T23:00:00Z"},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 2024, "2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z"},
        {"AAA0BBB,J59/0,J60/0", 2024, "2024-02-28T00:00:00Z", "2024-02-29T23:00:00Z"},
        {"AAA0BBB,59/0,60/0", 2024, "2024-02-29T00:00:00Z", "2024-02-29T23:00:00Z"},
        {"AAA0BBB,59/0,60/0", 2023, "2023-03-01T00:00:00Z", "2023-03-01T23:00:00Z"},
        {"AAA0BBB,M1.1.1/-167:59:59,J365/167:59:59", 2024, "2023-12-25T00:00:01Z",
         "2025-01-06T22:59:59Z"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct zone_rule rule;
        assert_true(zone_rule_parse(cases[i].rule, strlen(cases[i].rule), &rule));
        assert_int_equal(zone_rule_start(&rule, cases[i].year), seconds_of(cases[i].start));
        assert_int_equal(zone_rule_end(&rule, cases[i].year), seconds_of(cases[i].end));
    }
}

static void what_is_no_rule_is_refused(void **state) {
    (void)state;
    static const char *const rules[] = {
        "",
        "A",
        "AB5",
        "EST",
        "EST5EDT",
        "EST5EDT,M3.2.0",
        "EST5EDT,M3.2.0,",
        "EST5EDT,M3.2.0,M11.1.0,",
        "EST5EDT,M3.2.0,M11.1.0 ",
        "EST25",
        "EST5:60",
        "EST5EDT,M13.2.0,M11.1.0",
        "EST5EDT,M3.6.0,M11.1.0",
        "EST5EDT,M3.0.0,M11.1.0",
        "EST5EDT,M3.2.7,M11.1.0",
        "EST5EDT,J0,J365",
        "EST5EDT,J1,J366",
        "EST5EDT,366,0",
        "EST5EDT,M3.2.0/168,M11.1.0",
        "EST5EDT,M3.2.0/2:,M11.1.0",
        "<EST5",
        "<+0530-5:30",
        "E$T5",
        ":America/New_York",
        "ABCDEFGHIJKLMNOPQ5",
    };
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        struct zone_rule rule;
        if (zone_rule_parse(rules[i], strlen(rules[i]), &rule)) {
            fail_msg("accepted: %s", rules[i]);
        }
    }
}

static void daylight_saving_all_year_has_no_changes(void **state) {
    (void)state;
    struct made_file file = make_file('3', 1000000000, 1, "EST5EDT,0/0,J365/25");
    const struct zone *zone = open_made(&file);
    for (int64_t at = 1000000001; at < ZONE_END; at += INT64_C(86400) * 5) {
        assert_int_equal(zone_offset_at(zone, wall_time_from_seconds(at)), -14400);
    }
    assert_int_equal(zone_offset_at(zone, wall_time_from_seconds(ZONE_END * 10)), -14400);
    const struct zone_span *span = zone_span_at(zone, 2000000000);
    assert_true(zone_span_end(span) >= ZONE_END);
    zone_unref(zone);
}

static void instants_beyond_the_table_follow_the_rule(void **state) {
    (void)state;
    const struct zone *zone;
    struct error err;
    assert_true(zone_open("Europe/Berlin", &zone, &err));
    const int64_t cycle = INT64_C(146097) * 86400; /* 400 years */
    for (int64_t at = INT64_C(6000000000); at < INT64_C(6063072000); at += 86400) {
        int32_t offset = zone_offset_at(zone, wall_time_from_seconds(at));
        assert_int_equal(offset, zone_offset_at(zone, wall_time_from_seconds(at + cycle)));
        assert_int_equal(offset, zone_offset_at(zone, wall_time_from_seconds(at + cycle * 20)));
    }
    assert_true(zone_offset_at(zone, (struct wall_time){INT64_MAX}) > 0);
    assert_true(zone_offset_at(zone, (struct wall_time){INT64_MIN}) > 0);
    zone_unref(zone);
}

/* ---- Windows ---- */

static void every_local_time_has_a_first_and_a_last_span(void **state) {
    (void)state;
    static const char *const names[] = {"Europe/Berlin", "Pacific/Apia", "Antarctica/Casey", "UTC",
                                        "Africa/Casablanca"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct zone *zone;
        struct error err;
        assert_true(zone_open(names[i], &zone, &err));
        for (int64_t local = -200000; local < INT64_C(7258118400); local += 12600) {
            const struct zone_span *first = zone_span_of_first(zone, local);
            const struct zone_span *last = zone_span_of_last(zone, local);
            bool exists = local < zone_span_local_end(first);
            assert_int_equal(exists, local >= zone_span_local_start(last));
            if (exists) {
                assert_ptr_equal(zone_span_at(zone, local - first->offset_seconds), first);
                assert_ptr_equal(zone_span_at(zone, local - last->offset_seconds), last);
                assert_true(first <= last);
            } else {
                assert_ptr_equal(first + 1, last);
            }
        }
        zone_unref(zone);
    }
}

/* ---- The cache ---- */

static char folder[] = "/tmp/orrery-test-zone-XXXXXX";

static void write_file(const char *name, const void *bytes, size_t size_bytes) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size_bytes, file), size_bytes);
    fclose(file);
}

/* These tests are of one thread: the environment may be changed. */
static int use_own_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    return setenv("TZDIR", folder, 1); // NOLINT(concurrency-mt-unsafe)
}

static int leave_own_folder(void **state) {
    (void)state;
    static const char *const names[] = {"Changing", "tzdata.zi", "Pipe", "Empty", "Short"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    unsetenv("TZDIR"); // NOLINT(concurrency-mt-unsafe)
    return rmdir(folder);
}

static void a_changed_file_is_a_new_zone_and_holders_keep_the_old(void **state) {
    (void)state;
    struct made_file before = make_file('2', 1000000000, 1, "EST5EDT,M3.2.0,M11.1.0");
    struct made_file after = make_file('2', 1100000000, 0, "EST5");
    const struct zone *old, *same, *fresh;
    struct error err;
    bool changed;
    write_file("Changing", before.bytes, before.size_bytes);
    write_file("tzdata.zi", "# version 2024a\n", 16);
    assert_true(zone_open("Changing", &old, &err));
    assert_true(zone_open("Changing", &same, &err));
    assert_ptr_equal(old, same);
    assert_true(zone_cache_refresh(&changed, &err));
    assert_string_equal(zone_database_version(), "2024a");
    assert_true(zone_cache_refresh(&changed, &err));
    assert_false(changed);
    write_file("Changing", after.bytes, after.size_bytes);
    write_file("tzdata.zi", "# version 2024b\n", 16);
    assert_true(zone_cache_refresh(&changed, &err));
    assert_true(changed);
    assert_string_equal(zone_database_version(), "2024b");
    assert_true(zone_open("Changing", &fresh, &err));
    assert_ptr_not_equal(fresh, old);
    assert_int_equal(moment_at(old, "2024-07-01T00:00:00Z").offset_seconds, -14400);
    assert_int_equal(moment_at(fresh, "2024-07-01T00:00:00Z").offset_seconds, -18000);
    zone_unref(old);
    zone_unref(same);
    /* Half an upgrade: what is broken or gone for a moment stays as it was. */
    write_file("Changing", "TZif", 4);
    assert_true(zone_cache_refresh(&changed, &err));
    assert_false(changed);
    assert_true(zone_open("Changing", &same, &err));
    assert_ptr_equal(same, fresh);
    zone_unref(same);
    zone_unref(fresh);
}

static void what_is_not_a_regular_file_is_unknown(void **state) {
    (void)state;
    char path[256];
    const struct zone *zone;
    struct error err;
    snprintf(path, sizeof path, "%s/Pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(zone_open("Pipe", &zone, &err));
    assert_string_equal(err.message, "unknown time zone 'Pipe'");
    write_file("Empty", "", 0);
    assert_false(zone_open("Empty", &zone, &err));
    write_file("Short", "TZif2", 5);
    assert_false(zone_open("Short", &zone, &err));
    assert_string_equal(err.message, "time zone 'Short': not a TZif file");
}

static void utc_needs_no_database(void **state) {
    (void)state;
    const struct zone *zone;
    struct error err;
    assert_true(zone_open("UTC", &zone, &err));
    assert_string_equal(zone_name(zone), "UTC");
    assert_int_equal(zone_offset_at(zone, (struct wall_time){INT64_MAX}), 0);
    zone_unref(zone);
    zone_unref(NULL);
}

static void *open_and_close(void *context) {
    static const char *const names[] = {"Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"};
    (void)context;
    for (int i = 0; i < 2000; i++) {
        const struct zone *zone;
        struct error err;
        bool changed;
        if (!zone_open(names[i % 4], &zone, &err)) {
            return "failed";
        }
        zone_unref(zone_ref(zone));
        zone_unref(zone);
        if (i % 500 == 0 &&
            (!zone_cache_refresh(&changed, &err) || zone_database_version()[0] == '\0')) {
            return "failed";
        }
    }
    return NULL;
}

static void threads_share_zones(void **state) {
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_of_well_known_zones),
        cmocka_unit_test(names_that_are_none_never_reach_the_file_system),
        cmocka_unit_test(zones_that_are_not_there_are_unknown),
        cmocka_unit_test(files_that_count_leap_seconds_are_refused),
        cmocka_unit_test(all_versions_are_read),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(corrupt_files_are_refused_with_the_reason),
        cmocka_unit_test(no_byte_of_a_file_breaks_the_reader),
        cmocka_unit_test(rules_give_the_instants_of_change),
        cmocka_unit_test(what_is_no_rule_is_refused),
        cmocka_unit_test(daylight_saving_all_year_has_no_changes),
        cmocka_unit_test(instants_beyond_the_table_follow_the_rule),
        cmocka_unit_test(every_local_time_has_a_first_and_a_last_span),
        cmocka_unit_test(threads_share_zones),
        cmocka_unit_test_setup_teardown(a_changed_file_is_a_new_zone_and_holders_keep_the_old,
                                        use_own_folder, NULL),
        cmocka_unit_test(what_is_not_a_regular_file_is_unknown),
        cmocka_unit_test_setup_teardown(utc_needs_no_database, NULL, leave_own_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
