/* TZif files from anywhere. What is accepted must give offsets in range at any instant, and
 * schedules in it must go forward; the footer is also parsed by itself. */
#include "clock/zone_rule.h"
#include "cron/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void check_zone(const struct zone *zone) {
    for (int64_t seconds = -ZONE_FOREVER; seconds < ZONE_FOREVER; seconds += ZONE_FOREVER / 32) {
        const struct zone_span *span = zone_span_at(zone, seconds);
        ASSERT(span->start <= seconds && (seconds < zone_span_end(span) || seconds >= ZONE_END));
    }
    for (int64_t seconds = -INT64_C(4000000000); seconds < INT64_C(12000000000);
         seconds += INT64_C(86400) * 97) {
        struct zone_moment moment = zone_moment_at(zone, wall_time_from_seconds(seconds));
        ASSERT(moment.offset_seconds > -90000 && moment.offset_seconds < 93600);
        ASSERT(moment.offset_seconds == zone_offset_at(zone, wall_time_from_seconds(seconds)));
        const struct zone_span *first = zone_span_of_first(zone, seconds);
        const struct zone_span *last = zone_span_of_last(zone, seconds);
        ASSERT(first->first_from <= seconds && seconds < first[1].first_from);
        ASSERT(last[-1].last_until <= seconds && seconds < last->last_until);
    }
    static const char *const patterns[] = {"*/7 * * * *", "30 2 * * *", "0 0 * * SUN#L",
                                           "59 23 31 12 *"};
    for (size_t i = 0; i < COUNT_OF(patterns) * 6; i++) {
        struct cron_options options = {0, (enum dst_missing)(i / 4 % 2),
                                       (enum dst_repeated)(i / 8)};
        struct cron cron;
        struct error err;
        ASSERT(cron_parse(patterns[i % COUNT_OF(patterns)], &options, &cron, &err));
        struct wall_time slot = {0};
        struct wall_time next;
        for (int k = 0; k < 50 && cron_next(&cron, zone, slot, &next, &err); k++) {
            ASSERT(next.us > slot.us);
            slot.us = next.us + INT64_C(86400) * US_PER_SECOND * k;
        }
        for (int k = 0; k < 50 && cron_previous(&cron, zone, slot, &next, &err); k++) {
            ASSERT(next.us < slot.us);
            slot.us = next.us - INT64_C(86400) * US_PER_SECOND * k;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    const struct zone *zone;
    struct error err;
    struct zone_rule rule;
    if (zone_from_bytes("Fuzz", bytes, size_bytes, &zone, &err)) {
        check_zone(zone);
        zone_unref(zone);
    }
    if (zone_rule_parse((const char *)bytes, size_bytes, &rule) && rule.has_daylight) {
        (void)zone_rule_is_daylight(&rule, INT64_MAX / 8);
        (void)zone_rule_is_daylight(&rule, -(INT64_MAX / 8));
    }
    return 0;
}
