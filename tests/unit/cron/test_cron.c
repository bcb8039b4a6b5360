/* The language and the engine, by tables, and what tables cannot say. */
#include "table.h"

#include "cron/cron.h"

static const struct zone *open_zone(const char *name) {
    struct error err;
    const struct zone *zone;
    if (!zone_open(name, &zone, &err)) {
        fail_msg("%s", err.message);
    }
    return zone;
}

static struct wall_time time_of(const char *text) {
    struct error err;
    struct wall_time time = {0};
    if (!wall_time_parse(text, &time, &err)) {
        fail_msg("'%s': %s", text, err.message);
    }
    return time;
}

static struct cron cron_of(const char *text, const struct cron_options *options) {
    struct error err;
    struct cron cron = {0};
    if (!cron_parse(text, options, &cron, &err)) {
        fail_msg("'%s': %s", text, err.message);
    }
    return cron;
}

static struct cron_options policies_of(const char *text) {
    struct cron_options options = {0};
    struct error err;
    char missing[16], repeated[16];
    if (strcmp(text, "-") != 0) {
        assert_int_equal(sscanf(text, "%15s %15s", missing, repeated), 2);
        assert_true(dst_missing_parse(missing, &options.dst_missing, &err));
        assert_true(dst_repeated_parse(repeated, &options.dst_repeated, &err));
    }
    return options;
}

/* ---- Tables ---- */

static void check_never(const struct table_row *row, const struct cron *cron,
                        const struct zone *zone, struct wall_time from) {
    struct wall_time slot = {0};
    struct error err;
    if (cron_next(cron, zone, from, &slot, &err)) {
        char found[RFC3339_BYTES];
        wall_time_format(slot, found);
        fail_msg("line %d: '%s': expected never, found %s", row->line_number, row->cells[0], found);
    }
    assert_int_equal(err.kind, ERROR_NEVER_FIRES);
    assert_string_equal(err.field, "schedule");
    assert_memory_equal(err.message, "never fires: ", 13);
}

static void check_next(const struct table_row *row) {
    assert_int_equal(row->cell_count, 5);
    struct cron_options options = policies_of(row->cells[2]);
    struct cron cron = cron_of(row->cells[0], &options);
    const struct zone *zone = open_zone(row->cells[1]);
    struct wall_time from = time_of(row->cells[3]);
    struct wall_time slot = from;
    struct wall_time slots[16];
    size_t count = 0;
    struct error err;
    char *rest;
    for (char *word = strtok_r(row->cells[4], " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "never") == 0) {
            check_never(row, &cron, zone, slot);
            continue;
        }
        char found[RFC3339_BYTES] = "never";
        if (cron_next(&cron, zone, slot, &slot, &err)) {
            wall_time_format_offset(slot, zone_offset_at(zone, slot), found);
        }
        if (strcmp(found, word) != 0) {
            fail_msg("line %d: '%s': expected %s, found %s", row->line_number, row->cells[0], word,
                     found);
        }
        assert_true(cron_matches(&cron, zone, slot));
        slots[count++] = slot;
        assert_int_equal(cron_count(&cron, zone, from, slot), count);
        struct wall_time nth;
        assert_true(cron_nth(&cron, zone, from, count, &nth, &err));
        assert_int_equal(nth.us, slot.us);
    }
    struct wall_time back = {slot.us + 1};
    for (size_t i = count; i > 0; i--) {
        if (!cron_previous(&cron, zone, back, &back, &err) || back.us != slots[i - 1].us) {
            fail_msg("line %d: '%s': backward is not forward", row->line_number, row->cells[0]);
        }
    }
    zone_unref(zone);
}

static void slots_of_the_table(void **state) {
    (void)state;
    table_for_each("cron_next.txt", check_next);
}

static void check_error(const struct table_row *row) {
    assert_int_equal(row->cell_count, 3);
    struct cron cron;
    struct error err;
    if (cron_parse(row->cells[0], NULL, &cron, &err)) {
        fail_msg("line %d: '%s' is accepted", row->line_number, row->cells[0]);
    }
    if (strcmp(err.message, row->cells[2]) != 0 || err.column != strtoul(row->cells[1], NULL, 10)) {
        fail_msg("line %d: '%s': expected '%s', found '%s' and column %u", row->line_number,
                 row->cells[0], row->cells[2], err.message, err.column);
    }
    bool never = strncmp(err.message, "never fires", 11) == 0;
    assert_int_equal(err.kind, never ? ERROR_NEVER_FIRES : ERROR_INVALID_CRON);
    assert_string_equal(err.field, "schedule");
}

static void errors_of_the_table(void **state) {
    (void)state;
    table_for_each("cron_errors.txt", check_error);
}

static void check_words(const struct table_row *row) {
    assert_int_equal(row->cell_count, 2);
    struct cron cron = cron_of(row->cells[0], NULL);
    struct text words;
    text_init(&words, 4096);
    cron_describe(&cron, &words);
    if (strcmp(text_string(&words), row->cells[1]) != 0) {
        fail_msg("line %d: '%s': expected '%s', found '%s'", row->line_number, row->cells[0],
                 row->cells[1], text_string(&words));
    }
    text_fini(&words);
}

static void sentences_of_the_table(void **state) {
    (void)state;
    table_for_each("cron_words.txt", check_words);
}

static void check_vector_times(const struct table_row *row, const struct cron *cron, char *times,
                               bool expected) {
    const struct zone *utc = open_zone("UTC");
    char *rest;
    for (char *word = strtok_r(times, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        char text[40];
        snprintf(text, sizeof text, "%sZ", word);
        if (cron_matches(cron, utc, time_of(text)) != expected) {
            fail_msg("line %d: '%s' at %s", row->line_number, row->cells[0], word);
        }
    }
    zone_unref(utc);
}

static void check_vector(const struct table_row *row) {
    struct cron cron;
    struct error err;
    bool accepted = cron_parse(row->cells[0], NULL, &cron, &err);
    if (row->cell_count == 2) {
        assert_string_equal(row->cells[1], "reject");
        assert_false(accepted);
        assert_int_equal(err.kind, ERROR_INVALID_CRON);
        return;
    }
    assert_true(accepted);
    check_vector_times(row, &cron, row->cells[1], true);
    check_vector_times(row, &cron, row->cells[2], false);
}

static void vectors_of_the_specification(void **state) {
    (void)state;
    table_for_each("ocps.txt", check_vector);
}

/* ---- Hostile input ---- */

static void no_byte_breaks_the_parser(void **state) {
    (void)state;
    char text[] = "0 12 1 * MON";
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (int byte = 1; byte < 256; byte++) {
            char spoiled[sizeof text];
            struct cron cron;
            struct error err = {0};
            memcpy(spoiled, text, sizeof text);
            spoiled[at] = (char)byte;
            if (!cron_parse(spoiled, NULL, &cron, &err)) {
                assert_true(err.message[0] != '\0');
                for (const char *c = err.message; *c != '\0'; c++) {
                    assert_true((unsigned char)*c >= ' ' && (unsigned char)*c < 0x7f);
                }
            }
        }
    }
}

static void non_ascii_is_named_by_its_byte(void **state) {
    (void)state;
    struct cron cron;
    struct error err;
    assert_false(cron_parse("0 2\xc2\xa0* * * *", NULL, &cron, &err));
    assert_string_equal(err.message,
                        "hour: expected ',' or the end of the field, found byte 0xc2 (column 4)");
    assert_false(cron_parse("0 2 * * *\n", NULL, &cron, &err));
    assert_string_equal(
        err.message,
        "day of week: expected ',' or the end of the field, found byte 0x0a (column 10)");
}

static void an_expression_of_any_length_is_answered(void **state) {
    (void)state;
    struct cron cron;
    struct error err;
    size_t size = 1000000;
    char *huge = malloc(size + 1);
    memset(huge, '*', size);
    huge[size] = '\0';
    assert_false(cron_parse(huge, NULL, &cron, &err));
    assert_string_equal(err.message, "the expression is too long: expected at most 2047 bytes");
    memset(huge, ' ', size);
    memcpy(huge, "0 0 1 1 *", 9);
    huge[2047] = '\0';
    assert_true(cron_parse(huge, NULL, &cron, &err));
    free(huge);
}

static void every_year_may_be_listed(void **state) {
    (void)state;
    char text[CRON_TEXT_BYTES] = "0 0 0 1 1 * 1970";
    for (int year = 1971; year < 2200; year++) {
        sprintf(text + strlen(text), ",%d", year);
    }
    struct cron cron = cron_of(text, NULL);
    struct cron all = cron_of("0 0 0 1 1 * *", NULL);
    assert_memory_equal(&cron, &all, sizeof cron);
}

static void a_failed_parse_leaves_the_output_alone(void **state) {
    (void)state;
    struct cron cron, before;
    struct error err;
    memset(&cron, 0x5a, sizeof cron);
    before = cron;
    assert_false(cron_parse("0 0 30 2 *", NULL, &cron, &err));
    assert_false(cron_parse("61 * * * *", NULL, &cron, &err));
    assert_memory_equal(&cron, &before, sizeof cron);
}

/* ---- H ---- */

static void hash_is_one_value_within_its_range(void **state) {
    (void)state;
    const struct zone *utc = open_zone("UTC");
    bool minutes[60] = {false};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct cron_options options = {.hash_seed = cron_hash(&seed, sizeof seed)};
        struct cron cron = cron_of("H H(2-4) H * *", &options);
        struct error err;
        struct wall_time slot = time_of("2027-02-01T00:00:00Z");
        struct wall_time next;
        assert_true(cron_next(&cron, utc, slot, &slot, &err));
        assert_true(cron_next(&cron, utc, slot, &next, &err));
        int64_t in_day = wall_time_seconds(slot) % 86400;
        assert_in_range(in_day / 3600, 2, 4);
        minutes[in_day / 60 % 60] = true;
        /* One slot a month, in every month: H in day of month is 1 to 28. */
        assert_in_range((next.us - slot.us) / US_PER_SECOND / 86400, 28, 31);
    }
    for (int i = 0; i < 60; i++) {
        assert_true(minutes[i]);
    }
    zone_unref(utc);
}

static void hash_with_a_step_begins_within_the_step(void **state) {
    (void)state;
    const struct zone *utc = open_zone("UTC");
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct cron_options options = {.hash_seed = cron_hash(&seed, sizeof seed)};
        struct cron cron = cron_of("H/15 * * * *", &options);
        struct wall_time midnight = time_of("2027-02-01T00:00:00Z");
        struct wall_time first, second;
        struct error err;
        assert_true(cron_next(&cron, utc, (struct wall_time){midnight.us - 1}, &first, &err));
        assert_true(cron_next(&cron, utc, first, &second, &err));
        assert_in_range((first.us - midnight.us) / US_PER_SECOND / 60, 0, 14);
        assert_int_equal((second.us - first.us) / US_PER_SECOND, 900);
        cron = cron_of("H(10-29)/10 * * * *", &options);
        assert_int_equal(cron_count(&cron, utc, midnight, time_of("2027-02-02T00:00:00Z")), 48);
    }
    zone_unref(utc);
}

/* Stored schedules depend on these. */
static void hash_never_changes(void **state) {
    (void)state;
    assert_int_equal(cron_hash("orrery", 6), UINT64_C(0x1340f9c9a7ace46f));
    struct cron_options options = {.hash_seed = cron_hash("orrery", 6)};
    struct cron cron = cron_of("H H H H H", &options);
    struct text words;
    text_init(&words, 4096);
    cron_describe(&cron, &words);
    assert_string_equal(text_string(&words),
                        "At 03:34, on the 14th of the month or on Sunday, in February");
    text_fini(&words);
}

/* ---- Instants at the ends ---- */

static void instants_outside_the_years_are_no_trouble(void **state) {
    (void)state;
    static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_C(7258118400000000),
                                  INT64_MAX};
    static const char *const texts[] = {"* * * * *", "0 0 29 2 *", "@every 90s",
                                        "@at 2027-01-01T00:00:00"};
    static const char *const zones[] = {"UTC", "Europe/Berlin", "Pacific/Kiritimati",
                                        "Pacific/Niue"};
    for (size_t i = 0; i < COUNT_OF(far) * COUNT_OF(texts) * COUNT_OF(zones); i++) {
        const struct zone *zone = open_zone(zones[i % 4]);
        struct cron cron = cron_of(texts[i / 4 % 4], NULL);
        struct wall_time at = {far[i / 16]};
        struct wall_time slot;
        struct error err;
        if (cron_next(&cron, zone, at, &slot, &err)) {
            assert_true(slot.us > at.us);
        }
        if (cron_previous(&cron, zone, at, &slot, &err)) {
            assert_true(slot.us < at.us);
        }
        cron_matches(&cron, zone, at);
        struct cron_decision decision = cron_decide(&cron, zone, at);
        assert_in_range(decision.kind, CRON_DECISION_NO_SLOT, CRON_DECISION_REPEAT);
        zone_unref(zone);
    }
}

static void the_first_and_the_last_slot_are_local(void **state) {
    (void)state;
    struct cron cron = cron_of("* * * * * *", NULL);
    const struct zone *zone = open_zone("America/New_York");
    struct wall_time slot;
    struct error err;
    assert_true(cron_next(&cron, zone, (struct wall_time){INT64_MIN}, &slot, &err));
    assert_int_equal(slot.us, time_of("1970-01-01T05:00:00Z").us);
    assert_true(cron_previous(&cron, zone, (struct wall_time){INT64_MAX}, &slot, &err));
    assert_int_equal(slot.us, time_of("2199-12-31T23:59:59-05:00").us);
    assert_false(cron_next(&cron, zone, slot, &slot, &err));
    zone_unref(zone);
}

static void counting_two_centuries_is_arithmetic(void **state) {
    (void)state;
    const struct zone *utc = open_zone("UTC");
    const struct zone *berlin = open_zone("Europe/Berlin");
    struct wall_time from = {-1}, until = time_of("2199-12-31T23:59:59Z");
    struct cron every_second = cron_of("* * * * * *", NULL);
    assert_int_equal(cron_count(&every_second, utc, from, until), INT64_C(84006) * 86400);
    struct cron daily = cron_of("30 2 * * *", NULL);
    assert_int_equal(cron_count(&daily, berlin, from, until), 84006);
    struct cron_options skip = {.dst_missing = DST_MISSING_SKIP};
    daily = cron_of("30 2 * * *", &skip);
    uint64_t walked = 0;
    struct wall_time slot = from;
    struct error err;
    while (cron_next(&daily, berlin, slot, &slot, &err)) {
        walked++;
    }
    assert_true(walked < 84006);
    assert_int_equal(cron_count(&daily, berlin, from, until), walked);
    assert_int_equal(cron_count(&daily, berlin, until, from), 0);
    assert_int_equal(cron_count(&daily, berlin, from, from), 0);
    struct wall_time nth;
    assert_true(cron_nth(&daily, berlin, from, walked, &nth, &err));
    assert_int_equal(nth.us, slot.us);
    assert_false(cron_nth(&daily, berlin, from, walked + 1, &nth, &err));
    assert_int_equal(err.kind, ERROR_NEVER_FIRES);
    zone_unref(utc);
    zone_unref(berlin);
}

/* ---- Zones that the system does not have ---- */

/* A TZif file, version 2, without transitions: the footer's rule is all there is. */
static const struct zone *zone_of_rule(const char *rule) {
    enum { BLOCK_BYTES = 44 + 6 + 4 };
    char file[512] = {0};
    for (char *block = file; block <= file + BLOCK_BYTES; block += BLOCK_BYTES) {
        memcpy(block, "TZif2", 5);
        block[39] = 1; /* one type, which is UTC */
        block[43] = 4;
        memcpy(block + 50, "UTC", 4);
    }
    size_t size_bytes = (size_t)2 * BLOCK_BYTES;
    size_bytes += (size_t)snprintf(file + size_bytes, sizeof file - size_bytes, "\n%s\n", rule);
    const struct zone *zone;
    struct error err;
    if (!zone_from_bytes("Made/Up", file, size_bytes, &zone, &err)) {
        fail_msg("%s: %s", rule, err.message);
    }
    return zone;
}

static void a_gap_in_every_year_is_searched_by_types_of_year(void **state) {
    (void)state;
    const struct zone *zone = zone_of_rule("CET-1CEST,M3.5.0,M10.5.0/3");
    struct error err;
    for (int repeated = DST_REPEATED_FIRST; repeated <= DST_REPEATED_BOTH; repeated++) {
        struct cron_options options = {.dst_missing = DST_MISSING_SKIP,
                                       .dst_repeated = (enum dst_repeated)repeated};
        struct cron cron = cron_of("30 2 * 3 SUN#L", &options);
        struct wall_time slot = {0};
        assert_int_equal(zone_periodic_year(zone), 1970);
        assert_false(cron_next(&cron, zone, slot, &slot, &err));
        assert_false(cron_previous(&cron, zone, (struct wall_time){INT64_MAX}, &slot, &err));
        assert_int_equal(
            cron_count(&cron, zone, (struct wall_time){0}, (struct wall_time){INT64_MAX}), 0);
        /* In years whose last Sunday is the 31st the 24th is not in the gap, in others it may
         * be. */
        cron = cron_of("30 2 24,31 3 +SUN", &options);
        uint64_t walked = 0;
        while (cron_next(&cron, zone, slot, &slot, &err)) {
            walked++;
        }
        assert_int_equal(
            cron_count(&cron, zone, (struct wall_time){0}, (struct wall_time){INT64_MAX}), walked);
        assert_true(walked > 20);
    }
    zone_unref(zone);
}

/* A day that comes twice: the clock is set back 24 hours at local noon on 30 September, every
 * year. */
static void a_repeated_day_counts_once(void **state) {
    (void)state;
    const struct zone *zone = zone_of_rule("AAA12BBB-12,J1/0,J273/12");
    struct cron_options both = {.dst_repeated = DST_REPEATED_BOTH};
    struct cron first = cron_of("0 6 30 9 *", NULL);
    struct cron twice = cron_of("0 6 30 9 *", &both);
    struct wall_time from = time_of("2025-06-01T00:00:00Z");
    struct wall_time slot, again;
    struct error err;
    assert_true(cron_next(&first, zone, from, &slot, &err));
    assert_int_equal(slot.us, time_of("2025-09-29T18:00:00Z").us);
    assert_true(cron_next(&first, zone, slot, &slot, &err));
    assert_int_equal(slot.us, time_of("2026-09-29T18:00:00Z").us);
    assert_true(cron_next(&twice, zone, from, &slot, &err));
    assert_true(cron_next(&twice, zone, slot, &again, &err));
    assert_int_equal(again.us, time_of("2025-09-30T18:00:00Z").us);
    zone_unref(zone);
}

/* ---- One-shot, elapsed ---- */

static void at_is_once_and_wildcards_are_elapsed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool once, elapsed;
    } cases[] = {
        {"@at 2027-01-01T00:00:00", true, false},
        {"@at 2027-01-01T00:00:00Z", true, true},
        {"@every 1h", false, true},
        {"@hourly", false, true},
        {"@daily", false, false},
        {"*/5 3 * * *", false, true},
        {"5 */3 * * *", false, true},
        {"*,5 3 * * *", false, true},
        {"0-59 3 * * *", false, false},
        {"5,* 3 * * *", false, false},
        {"H * * * *", false, true},
        {"H H * * *", false, false},
        {"* 5 3 * * *", false, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cron cron = cron_of(cases[i].text, NULL);
        assert_int_equal(cron_is_once(&cron), cases[i].once);
        assert_int_equal(cron_is_elapsed(&cron), cases[i].elapsed);
    }
}

/* ---- Jitter ---- */

static void jitter_stays_before_the_next_slot(void **state) {
    (void)state;
    struct wall_time slot = time_of("2027-01-01T00:00:00Z");
    for (int64_t i = 0; i < 5000; i++) {
        struct cron_jitter jitter = {cron_hash(&i, sizeof i), {600 * US_PER_SECOND}};
        struct wall_time next = {slot.us + 60 * US_PER_SECOND};
        struct wall_time started = cron_jitter_apply(&jitter, slot, next);
        assert_true(started.us >= slot.us && started.us < next.us);
        assert_int_equal(started.us, cron_jitter_apply(&jitter, slot, next).us);
        started = cron_jitter_apply(&jitter, slot, WALL_TIME_NONE);
        assert_true(started.us >= slot.us && started.us < slot.us + jitter.width.us);
        slot.us += 60 * US_PER_SECOND;
    }
    struct cron_jitter none = {7, {0}};
    assert_int_equal(cron_jitter_apply(&none, slot, WALL_TIME_NONE).us, slot.us);
}

static void jitter_is_spread_evenly(void **state) {
    (void)state;
    uint64_t tenths[10] = {0};
    for (int64_t i = 0; i < 10000; i++) {
        struct cron_jitter jitter = {42, {10 * US_PER_SECOND}};
        struct wall_time slot = {i * 3600 * US_PER_SECOND};
        tenths[(cron_jitter_apply(&jitter, slot, WALL_TIME_NONE).us - slot.us) / US_PER_SECOND]++;
    }
    for (size_t i = 0; i < COUNT_OF(tenths); i++) {
        assert_in_range(tenths[i], 850, 1150);
    }
}

/* ---- Shifts and decisions ---- */

static void assert_shift(const char *expression, const char *zone_name, const char *policies,
                         size_t which, const char *expected) {
    struct cron_options options = policies_of(policies);
    struct cron cron = cron_of(expression, &options);
    const struct zone *zone = open_zone(zone_name);
    struct cron_shift shifts[4];
    size_t count = cron_shifts(&cron, zone, time_of("2024-01-01T00:00:00Z"),
                               time_of("2025-01-01T00:00:00Z"), shifts, COUNT_OF(shifts));
    if (expected == NULL) {
        assert_int_equal(count, 0);
    } else {
        assert_true(which < count);
        struct text words;
        text_init(&words, 4096);
        cron_shift_describe(&shifts[which], &words);
        assert_string_equal(text_string(&words), expected);
        text_fini(&words);
    }
    zone_unref(zone);
}

static void shifts_are_told(void **state) {
    (void)state;
    assert_shift("30 2 * * *", "America/New_York", "-", 0,
                 "02:30 does not exist on 2024-03-10: due at 03:00 instead");
    assert_shift("30 1 * * *", "America/New_York", "-", 0,
                 "01:30 comes twice on 2024-11-03: due the first time (-04:00)");
    assert_shift("30 1 * * *", "America/New_York", "shift last", 0,
                 "01:30 comes twice on 2024-11-03: due the last time (-05:00)");
    assert_shift("30 1 * * *", "America/New_York", "shift both", 0,
                 "01:30 comes twice on 2024-11-03: due both times");
    assert_shift("0,30 2 * * *", "Europe/Berlin", "skip first", 0,
                 "02:00 and 1 later time do not exist on 2024-03-31: not due that day");
    assert_shift("0,30 2 * * *", "Europe/Berlin", "-", 1,
                 "02:00 and 1 later time come twice on 2024-10-27: due the first time (+02:00)");
    assert_shift("*/30 2 * * *", "Europe/Berlin", "-", 0,
                 "02:00 and 1 later time do not exist on 2024-03-31: not due that day");
    assert_shift("0 */2 * * *", "Europe/Berlin", "-", 1,
                 "02:00 comes twice on 2024-10-27: due both times");
    assert_shift("*/30 * * * *", "Europe/Berlin", "-", 0, NULL);
    assert_shift("30 3 * * *", "Europe/Berlin", "-", 0, NULL);
    assert_shift("30 2 * * *", "UTC", "-", 0, NULL);
    assert_shift("15 30 2 * * *", "Europe/Berlin", "-", 0,
                 "02:30:15 does not exist on 2024-03-31: due at 03:00 instead");
    assert_shift("0,20,40 2 * * *", "Europe/Berlin", "-", 0,
                 "02:00 and 2 later times do not exist on 2024-03-31: due once, at 03:00 instead");
    assert_shift("@every 90s", "Europe/Berlin", "-", 0, NULL);
    assert_shift("@at 2024-03-31T02:30:00Z", "Europe/Berlin", "-", 0, NULL);
    assert_shift("@at 2024-10-27T02:00:00", "Europe/Berlin", "-", 0,
                 "02:00 comes twice on 2024-10-27: due the first time (+02:00)");
    assert_shift("@at 2024-10-27T03:00:00", "Europe/Berlin", "-", 0, NULL);
    assert_shift("@at 2024-03-31T02:30:00", "Europe/Berlin", "-", 0,
                 "02:30 does not exist on 2024-03-31: due at 03:00 instead");
}

static void more_shifts_than_there_is_room_for_are_counted(void **state) {
    (void)state;
    struct cron cron = cron_of("30 2 * * *", NULL);
    const struct zone *berlin = open_zone("Europe/Berlin");
    struct cron_shift shifts[2] = {{.local_count = 0}, {.local_count = 77}};
    assert_int_equal(cron_shifts(&cron, berlin, time_of("2020-01-01T00:00:00Z"),
                                 time_of("2025-01-01T00:00:00Z"), shifts, 1),
                     10);
    assert_int_equal(shifts[0].change.us, time_of("2020-03-29T01:00:00Z").us);
    assert_int_equal(shifts[1].local_count, 77);
    zone_unref(berlin);
}

static void a_gap_of_a_whole_day_is_not_made_up_for(void **state) {
    (void)state;
    /* Samoa had no 30 December 2011. */
    struct cron cron = cron_of("30 2 * * *", NULL);
    const struct zone *apia = open_zone("Pacific/Apia");
    struct cron_shift shift;
    assert_int_equal(cron_shifts(&cron, apia, time_of("2011-12-01T00:00:00Z"),
                                 time_of("2012-01-31T00:00:00Z"), &shift, 1),
                     1);
    assert_int_equal(shift.kind, CRON_SHIFT_SKIPPED);
    struct text words;
    text_init(&words, 4096);
    cron_shift_describe(&shift, &words);
    assert_string_equal(text_string(&words),
                        "02:30 does not exist on 2011-12-30: not due that day");
    text_fini(&words);
    zone_unref(apia);
}

static void decisions_are_told(void **state) {
    (void)state;
    static const struct {
        const char *expression, *policies, *at;
        enum cron_decision_kind kind;
        const char *words;
    } cases[] = {
        {"30 2 * * *", "-", "2024-03-31T01:00:00Z", CRON_DECISION_MOVED,
         "03:00 on 2024-03-31 (+02:00) is the first instant after the clock was set forward over "
         "02:30, which did not exist"},
        {"30 2 * * *", "skip first", "2024-03-31T01:00:00Z", CRON_DECISION_NO_SLOT,
         "03:00 on 2024-03-31 (+02:00) is not a time of the schedule"},
        {"0 3 * * *", "-", "2024-03-31T01:00:00Z", CRON_DECISION_MATCH,
         "03:00 on 2024-03-31 (+02:00) is a time of the schedule"},
        {"30 2 * * *", "-", "2024-03-30T01:30:00Z", CRON_DECISION_MATCH, NULL},
        {"30 2 * * *", "-", "2024-03-30T01:30:00.000001Z", CRON_DECISION_NO_SLOT, NULL},
        {"30 2 * * *", "-", "2024-10-27T00:30:00Z", CRON_DECISION_FIRST,
         "02:30 on 2024-10-27 (+02:00) comes twice that day; this is the first time, and it "
         "counts"},
        {"30 2 * * *", "-", "2024-10-27T01:30:00Z", CRON_DECISION_REPEAT,
         "02:30 on 2024-10-27 (+01:00) comes twice that day; the other time counts, not this one"},
        {"30 2 * * *", "shift last", "2024-10-27T00:30:00Z", CRON_DECISION_REPEAT, NULL},
        {"30 2 * * *", "shift last", "2024-10-27T01:30:00Z", CRON_DECISION_LAST,
         "02:30 on 2024-10-27 (+01:00) comes twice that day; this is the last time, and it counts"},
        {"30 2 * * *", "shift both", "2024-10-27T01:30:00Z", CRON_DECISION_LAST, NULL},
        {"*/30 * * * *", "-", "2024-10-27T01:30:00Z", CRON_DECISION_MATCH, NULL},
        {"@every 90s", "-", "2024-10-27T01:30:00Z", CRON_DECISION_MATCH, NULL},
    };
    const struct zone *berlin = open_zone("Europe/Berlin");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cron_options options = policies_of(cases[i].policies);
        struct cron cron = cron_of(cases[i].expression, &options);
        struct cron_decision decision = cron_decide(&cron, berlin, time_of(cases[i].at));
        assert_int_equal(decision.kind, cases[i].kind);
        assert_true(decision.previous.us < time_of(cases[i].at).us);
        assert_true(decision.next.us > time_of(cases[i].at).us);
        struct text words;
        text_init(&words, 4096);
        cron_decision_describe(&decision, &words);
        if (cases[i].words != NULL) {
            assert_string_equal(text_string(&words), cases[i].words);
        }
        text_fini(&words);
    }
    zone_unref(berlin);
}

static void policies_have_names(void **state) {
    (void)state;
    enum dst_missing missing;
    enum dst_repeated repeated;
    struct error err;
    assert_true(dst_missing_parse(dst_missing_name(DST_MISSING_SKIP), &missing, &err));
    assert_int_equal(missing, DST_MISSING_SKIP);
    assert_true(dst_repeated_parse(dst_repeated_name(DST_REPEATED_BOTH), &repeated, &err));
    assert_int_equal(repeated, DST_REPEATED_BOTH);
    assert_false(dst_missing_parse("Shift", &missing, &err));
    assert_string_equal(err.message, "expected \"shift\" or \"skip\"");
    assert_false(dst_repeated_parse("", &repeated, &err));
    assert_string_equal(err.field, "dst_repeated");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_of_the_table),
        cmocka_unit_test(errors_of_the_table),
        cmocka_unit_test(sentences_of_the_table),
        cmocka_unit_test(vectors_of_the_specification),
        cmocka_unit_test(no_byte_breaks_the_parser),
        cmocka_unit_test(non_ascii_is_named_by_its_byte),
        cmocka_unit_test(an_expression_of_any_length_is_answered),
        cmocka_unit_test(every_year_may_be_listed),
        cmocka_unit_test(a_failed_parse_leaves_the_output_alone),
        cmocka_unit_test(hash_is_one_value_within_its_range),
        cmocka_unit_test(hash_with_a_step_begins_within_the_step),
        cmocka_unit_test(hash_never_changes),
        cmocka_unit_test(instants_outside_the_years_are_no_trouble),
        cmocka_unit_test(the_first_and_the_last_slot_are_local),
        cmocka_unit_test(counting_two_centuries_is_arithmetic),
        cmocka_unit_test(a_gap_in_every_year_is_searched_by_types_of_year),
        cmocka_unit_test(a_repeated_day_counts_once),
        cmocka_unit_test(at_is_once_and_wildcards_are_elapsed),
        cmocka_unit_test(jitter_stays_before_the_next_slot),
        cmocka_unit_test(jitter_is_spread_evenly),
        cmocka_unit_test(shifts_are_told),
        cmocka_unit_test(more_shifts_than_there_is_room_for_are_counted),
        cmocka_unit_test(a_gap_of_a_whole_day_is_not_made_up_for),
        cmocka_unit_test(decisions_are_told),
        cmocka_unit_test(policies_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
