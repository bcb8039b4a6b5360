/* Answers, one line each, the questions that another cron library is asked beside it (croner.mjs).
 *
 * "expression <tab> zone <tab> seconds" is answered with the next slot after that instant under
 * four policies, in this order: shift first, skip first, shift both, skip both; each is seconds
 * since the epoch or "none"; or with "error <tab> kind <tab> message".
 *
 * "? <tab> zone <tab> seconds" is answered with the span that the instant lies in: offset, start,
 * offset before, end, offset after. */
#include "cron/cron.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer_span(const struct zone *zone, int64_t at) {
    const struct zone_span *span = zone_span_at(zone, at);
    printf("%d\t%" PRId64 "\t%d\t%" PRId64 "\t%d\n", span->offset_seconds,
           MAX_OF(span->start, -INT64_C(4000000000)), span[-1].offset_seconds,
           MIN_OF(zone_span_end(span), INT64_C(9000000000)), span[1].offset_seconds);
}

static void answer(const char *expression, const struct zone *zone, int64_t from) {
    static const struct cron_options policies[] = {
        {0, DST_MISSING_SHIFT, DST_REPEATED_FIRST},
        {0, DST_MISSING_SKIP, DST_REPEATED_FIRST},
        {0, DST_MISSING_SHIFT, DST_REPEATED_BOTH},
        {0, DST_MISSING_SKIP, DST_REPEATED_BOTH},
    };
    struct error err;
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct cron cron;
        struct wall_time slot;
        if (!cron_parse(expression, &policies[i], &cron, &err)) {
            printf("error\t%s\t%s\n", error_kind_wire_name(err.kind), err.message);
            return;
        }
        if (cron_next(&cron, zone, wall_time_from_seconds(from), &slot, &err)) {
            printf("%s%" PRId64, i == 0 ? "" : "\t", wall_time_seconds(slot));
        } else {
            printf("%snone", i == 0 ? "" : "\t");
        }
    }
    printf("\n");
}

int main(void) {
    static char line[8192];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *zone_name_at = strchr(line, '\t');
        char *from_at = zone_name_at == NULL ? NULL : strchr(zone_name_at + 1, '\t');
        const struct zone *zone;
        struct error err;
        if (from_at == NULL) {
            return 1;
        }
        *zone_name_at = '\0';
        *from_at = '\0';
        if (!zone_open(zone_name_at + 1, &zone, &err)) {
            printf("error\t%s\t%s\n", error_kind_wire_name(err.kind), err.message);
        } else {
            int64_t from = strtoll(from_at + 1, NULL, 10);
            if (strcmp(line, "?") == 0) {
                answer_span(zone, from);
            } else {
                answer(line, zone, from);
            }
            zone_unref(zone);
        }
        fflush(stdout);
    }
    return 0;
}
