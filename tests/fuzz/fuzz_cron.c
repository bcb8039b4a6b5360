/* Expressions from strangers. The input: two bytes of options, eight of an instant, the expression.
 * What parses must keep the promises of cron.h; the zone is a real one with daylight saving. */
#include "cron/cron.h"

#include <stdlib.h>
#include <string.h>

enum { PREFIX_BYTES = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void check_slots(const struct cron *cron, const struct zone *zone, struct wall_time from) {
    struct error err = {0};
    struct wall_time slot = from;
    struct wall_time before;
    uint64_t walked = 0;
    while (walked < 8 && cron_next(cron, zone, slot, &before, &err)) {
        ASSERT(before.us > slot.us);
        ASSERT(cron_matches(cron, zone, before));
        ASSERT(cron_count(cron, zone, slot, before) == 1);
        struct wall_time back;
        ASSERT(cron_previous(cron, zone, (struct wall_time){before.us + 1}, &back, &err));
        ASSERT(back.us == before.us);
        if (walked > 0) {
            ASSERT(cron_previous(cron, zone, before, &back, &err));
            ASSERT(back.us == slot.us);
        }
        struct cron_decision decision = cron_decide(cron, zone, before);
        ASSERT(decision.kind != CRON_DECISION_NO_SLOT && decision.kind != CRON_DECISION_REPEAT);
        slot = before;
        walked++;
    }
    if (walked < 8) {
        ASSERT(err.kind == ERROR_NEVER_FIRES);
    }
    ASSERT(cron_count(cron, zone, from, slot) == walked);
    if (walked > 0) {
        ASSERT(cron_nth(cron, zone, from, walked, &before, &err));
        ASSERT(before.us == slot.us);
    }
    /* Counts add up, over any distance: years are counted by their type, and one by one. */
    struct wall_time far = {from.us / 2 + INT64_C(3600000000000000)};
    struct wall_time middle = {from.us / 2 + far.us / 2};
    if (from.us < middle.us && middle.us < far.us) {
        ASSERT(cron_count(cron, zone, from, far) ==
               cron_count(cron, zone, from, middle) + cron_count(cron, zone, middle, far));
    }
    struct cron_shift shifts[4];
    struct wall_time until = {from.us + INT64_C(366) * 86400 * US_PER_SECOND};
    size_t count = cron_shifts(cron, zone, from, until, shifts, COUNT_OF(shifts));
    struct text words;
    text_init(&words, 1 << 20);
    for (size_t i = 0; i < MIN_OF(count, COUNT_OF(shifts)); i++) {
        cron_shift_describe(&shifts[i], &words);
    }
    cron_describe(cron, &words);
    ASSERT(words.size_bytes > 0);
    text_fini(&words);
}

/* A message is shown to people: printable, or UTF-8 beyond ASCII. */
static void check_error(const struct error *err) {
    ASSERT(err->kind == ERROR_INVALID_CRON || err->kind == ERROR_NEVER_FIRES);
    ASSERT(strcmp(err->field, "schedule") == 0);
    for (const char *at = err->message; *at != '\0'; at++) {
        ASSERT((unsigned char)*at >= ' ' && *at != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    static const char *const names[] = {"UTC",
                                        "Europe/Berlin",
                                        "America/New_York",
                                        "Australia/Lord_Howe",
                                        "Africa/Casablanca",
                                        "Antarctica/Troll",
                                        "Pacific/Apia",
                                        "America/Havana"};
    static const struct zone *zones[COUNT_OF(names)];
    struct error err;
    if (size_bytes < PREFIX_BYTES) {
        return 0;
    }
    size_t which = bytes[0] % COUNT_OF(names);
    if (zones[which] == NULL && !zone_open(names[which], &zones[which], &err)) {
        abort();
    }
    struct cron_options options = {.hash_seed = bytes[1],
                                   .dst_missing = (enum dst_missing)(bytes[1] % 2),
                                   .dst_repeated = (enum dst_repeated)(bytes[1] / 2 % 3)};
    uint64_t instant;
    memcpy(&instant, bytes + 2, sizeof instant);
    size_t length = size_bytes - PREFIX_BYTES;
    char *text = must_alloc(length + 1);
    memcpy(text, bytes + PREFIX_BYTES, length);
    text[length] = '\0';
    struct cron cron;
    if (cron_parse(text, &options, &cron, &err)) {
        /* Instants from 1969 to 2205, and once in a while anything at all. */
        struct wall_time from = {(int64_t)instant};
        if (bytes[0] < 240) {
            from.us = (int64_t)(instant % UINT64_C(7450000000000000)) - INT64_C(31536000000000);
        }
        if (from.us < INT64_MAX / 2 && from.us > INT64_MIN / 2) {
            check_slots(&cron, zones[which], from);
        }
        struct wall_time ignored;
        (void)!cron_next(&cron, zones[which], (struct wall_time){(int64_t)instant}, &ignored, &err);
        (void)!cron_previous(&cron, zones[which], (struct wall_time){(int64_t)instant}, &ignored,
                             &err);
    } else {
        check_error(&err);
    }
    free(text);
    return 0;
}
