/* How long the next fire time takes. For each expression, in UTC and in a zone with daylight
 * saving: the mean over batches of 1024 calls from random instants of 2020 to 2060, as the median
 * and the maximum of 200 batches; and parsing. Lines are "case zone median_ns":
 * bench/cron_beside.sh sets those of other libraries beside them.
 *
 * Then the hard cases: one instant each, called over and over. */
#include "cron/cron.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1024, BATCHES = 200 };

static const char *const expressions[] = {
    "* * * * *",    "*/5 * * * *",   "0 * * * *",         "30 2 * * *",
    "0 9 * * 1-5",  "0 0 1 * *",     "15 10 1,15 * *",    "0 0 * * SUN",
    "0 12 1 * MON", "0 0 1 1 *",     "*/10 9-17 * * 1-5", "0 0 29 2 *",
    "0 0 L * *",    "0 0 * * FRI#L", "0 12 15W * *",      "30 15 10 * * *",
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t random_state = 42;
static uint64_t random_next(void) {
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static struct wall_time instants[BATCH];
static volatile int64_t sink;

struct figure {
    double median_ns;
    double most_ns;
};

static struct figure summarize(double *figures, size_t count) {
    qsort(figures, count, sizeof *figures, by_value);
    return (struct figure){figures[count / 2], figures[count * 99 / 100]};
}

static struct figure time_next(const struct cron *cron, const struct zone *zone,
                               bool same_instant) {
    static double figures[BATCHES];
    struct error err;
    for (size_t b = 0; b < BATCHES; b++) {
        int64_t sum = 0;
        uint64_t start = now_ns();
        for (size_t i = 0; i < BATCH; i++) {
            struct wall_time next = {0};
            (void)!cron_next(cron, zone, instants[same_instant ? 0 : i], &next, &err);
            sum += next.us;
        }
        figures[b] = (double)(now_ns() - start) / BATCH;
        sink = sum;
    }
    return summarize(figures, BATCHES);
}

static struct figure time_parse(const char *text) {
    static double figures[BATCHES];
    struct error err;
    struct cron cron;
    for (size_t b = 0; b < BATCHES; b++) {
        uint64_t start = now_ns();
        for (size_t i = 0; i < BATCH; i++) {
            sink = cron_parse(text, NULL, &cron, &err);
        }
        figures[b] = (double)(now_ns() - start) / BATCH;
    }
    return summarize(figures, BATCHES);
}

static const struct zone *must_open(const char *name) {
    const struct zone *zone;
    struct error err;
    if (!zone_open(name, &zone, &err)) {
        fprintf(stderr, "%s\n", err.message);
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
    return zone;
}

static void bench_typical(const struct zone *zone) {
    double medians[COUNT_OF(expressions)];
    for (size_t i = 0; i < COUNT_OF(expressions); i++) {
        struct cron cron;
        struct error err;
        if (!cron_parse(expressions[i], NULL, &cron, &err)) {
            exit(1); // NOLINT(concurrency-mt-unsafe)
        }
        struct figure next = time_next(&cron, zone, false);
        struct figure parse = time_parse(expressions[i]);
        medians[i] = next.median_ns;
        printf("%-20s\t%-18s\t%8.1f\t%8.1f\t%8.1f\n", expressions[i], zone_name(zone),
               next.median_ns, next.most_ns, parse.median_ns);
    }
    struct figure all = summarize(medians, COUNT_OF(expressions));
    printf("%-20s\t%-18s\t%8.1f\n", "median of all", zone_name(zone), all.median_ns);
}

struct hard_case {
    const char *what;
    const char *expression;
    const char *zone;
    const char *from;
    enum dst_missing missing;
};

static const struct hard_case hard_cases[] = {
    {"29 February across 2100", "0 0 29 2 *", "America/New_York", "2096-03-01T00:00:00Z", 0},
    {"Monday 29 February across 2100", "0 0 29 2 +MON", "America/New_York", "2072-03-01T00:00:00Z",
     0},
    {"31 December 2199 from 1970", "59 59 23 31 12 * 2199", "Europe/Berlin", "1970-01-01T00:00:00Z",
     0},
    {"five Sundays in February", "0 0 * 2 SUN#5", "Europe/Berlin", "2072-03-01T00:00:00Z", 0},
    {"never again: the year is over", "0 0 0 1 1 * 1971-1999", "Europe/Berlin",
     "2026-01-01T00:00:00Z", 0},
    {"never again: all of 2199 is over", "0 0 * * *", "UTC", "2199-12-31T12:00:00Z", 0},
    {"in a gap every year, shifted", "30 2 * 3 SUN#L", "Europe/Berlin", "2026-01-01T00:00:00Z", 0},
    {"in a gap every year, skipped", "30 2 * 3 SUN#L", "Europe/Berlin", "2026-01-01T00:00:00Z",
     DST_MISSING_SKIP},
    {"a gap of a day", "0 12 30 12 *", "Pacific/Apia", "2011-01-01T00:00:00Z", 0},
};

static void bench_hard(void) {
    for (size_t i = 0; i < COUNT_OF(hard_cases); i++) {
        const struct hard_case *hard = &hard_cases[i];
        struct cron_options options = {.dst_missing = hard->missing};
        struct cron cron;
        struct error err;
        if (!cron_parse(hard->expression, &options, &cron, &err) ||
            !wall_time_parse(hard->from, &instants[0], &err)) {
            fprintf(stderr, "%s\n", err.message);
            exit(1); // NOLINT(concurrency-mt-unsafe)
        }
        const struct zone *zone = must_open(hard->zone);
        struct figure next = time_next(&cron, zone, true);
        printf("%-36s\t%8.1f\t%8.1f\n", hard->what, next.median_ns, next.most_ns);
        zone_unref(zone);
    }
    printf("%-36s\t%8.1f\n", "parse: never fires", time_parse("0 0 1 * +MON#2").median_ns);
    printf("%-36s\t%8.1f\n", "parse: 14 years' types, AND",
           time_parse("0 0 31 * +MON#5").median_ns);
    struct cron cron;
    struct error err;
    struct wall_time from = {0}, until = {INT64_C(7258118400000000)};
    const struct zone *zone = must_open("Europe/Berlin");
    if (cron_parse("30 2 * * 1-5", NULL, &cron, &err)) {
        uint64_t start = now_ns();
        for (int i = 0; i < BATCH; i++) {
            sink = (int64_t)cron_count(&cron, zone, from, until);
        }
        printf("%-36s\t%8.1f\n", "count over 230 years, Europe/Berlin",
               (double)(now_ns() - start) / BATCH);
        until.us = from.us + INT64_C(30) * 86400 * US_PER_SECOND;
        start = now_ns();
        for (int i = 0; i < BATCH; i++) {
            sink = (int64_t)cron_count(&cron, zone, from, until);
        }
        printf("%-36s\t%8.1f\n", "count over 30 days, Europe/Berlin",
               (double)(now_ns() - start) / BATCH);
    }
    zone_unref(zone);
}

int main(void) {
    static const char *const zones[] = {"UTC", "America/New_York"};
    for (size_t i = 0; i < BATCH; i++) {
        instants[i].us =
            (INT64_C(1577836800) + (int64_t)(random_next() % 1262304000)) * US_PER_SECOND +
            (int64_t)(random_next() % 1000000);
    }
    printf("sizeof(struct cron) = %zu bytes\n", sizeof(struct cron));
    printf("%-20s\t%-18s\t%8s\t%8s\t%8s\n", "expression", "zone", "next ns", "p99", "parse ns");
    for (size_t i = 0; i < COUNT_OF(zones); i++) {
        const struct zone *zone = must_open(zones[i]);
        bench_typical(zone);
        zone_unref(zone);
    }
    printf("%-36s\t%8s\t%8s\n", "hard cases", "next ns", "p99");
    bench_hard();
    return 0;
}
