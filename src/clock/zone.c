#include "clock/zone.h"

#include "clock/calendar.h"
#include "clock/zone_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_DIRECTORY "/usr/share/zoneinfo"

enum {
    BUCKETS = 256,
    SLICE_SHIFT = 24, /* 2^24 seconds, about 194 days: few zones change their clocks more often */
    SLICES = (int)(ZONE_END >> SLICE_SHIFT) + 2,
    LATEST_RULE_YEAR = 2201,
    OLDEST_PERIODIC_YEAR = 1970,
    RELEASE_LINE_BYTES = 64,
};

/* Immutable but for the count. `spans` has one more entry at each end (see zone.h). */
struct zone {
    char name[ZONE_NAME_BYTES];
    atomic_uint references;
    uint64_t content_hash; /* of the file, to notice a new one */
    size_t span_count;
    struct zone_span *spans; /* the first real one; allocated from spans[-1] */
    uint16_t slices[SLICES]; /* the span that holds each slice's first second, from 1970 on */
    struct zone_type *types;
    bool has_rule;
    struct zone_rule rule;
    int64_t rule_from;     /* the instant from which the rule alone decides */
    int32_t periodic_year; /* see zone_periodic_year */
};

/* ---- Building the spans ---- */

struct span_builder {
    struct zone_span *spans; /* [0] is the entry before the first */
    size_t count;
    size_t capacity;
};

static void append_span(struct span_builder *builder, int64_t start, int32_t offset,
                        uint32_t type) {
    if (builder->count == builder->capacity) {
        builder->capacity = MAX_OF((size_t)64, builder->capacity * 2);
        builder->spans = must_realloc(builder->spans, builder->capacity * sizeof *builder->spans);
    }
    builder->spans[builder->count++] =
        (struct zone_span){.start = start, .offset_seconds = offset, .type = type};
}

/* The changes of the clock that the rule makes in one year, in order of time. Two at one instant
 * (daylight saving all the year) are none: what holds there is asked of the rule itself. */
static void append_rule_year(struct span_builder *builder, const struct zone_file *file,
                             int32_t year, int64_t after) {
    const struct zone_rule *rule = &file->rule;
    int64_t start = zone_rule_start(rule, year);
    int64_t end = zone_rule_end(rule, year);
    int64_t changes[2] = {MIN_OF(start, end), MAX_OF(start, end)};
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        bool is_daylight = zone_rule_is_daylight(rule, changes[i]);
        uint32_t type = (uint32_t)file->type_count + is_daylight;
        int32_t offset = is_daylight ? rule->daylight_offset : rule->standard_offset;
        const struct zone_span *last = &builder->spans[builder->count - 1];
        if (changes[i] > after && changes[i] < ZONE_END && last->type != type) {
            append_span(builder, changes[i], offset, type);
        }
    }
}

static void append_rule(struct span_builder *builder, const struct zone_file *file, int64_t after) {
    const struct zone_rule *rule = &file->rule;
    bool is_daylight = zone_rule_is_daylight(rule, after);
    if (after == -ZONE_FOREVER || !rule->has_daylight) {
        /* No transition at all, or a rule without changes: the rule holds from here on. */
        if (after == -ZONE_FOREVER) {
            builder->count = 1;
            append_span(builder, after, is_daylight ? rule->daylight_offset : rule->standard_offset,
                        (uint32_t)file->type_count + is_daylight);
        }
        if (!rule->has_daylight) {
            return;
        }
    }
    const int64_t year_1600 = INT64_C(-11676096000);
    int64_t from = MAX_OF(after, year_1600);
    if (from >= ZONE_END) {
        return;
    }
    int32_t year = date_from_days((int32_t)floor_divide(from, SECONDS_PER_DAY)).year;
    for (year--; year <= LATEST_RULE_YEAR; year++) {
        append_rule_year(builder, file, year, after);
    }
}

/* Both ascend from span to span, however wildly the clock is changed: a span is the first to show
 * what is later than all before it have shown, the last to show what is earlier than all after it
 * will. */
static void build_windows(struct zone *zone) {
    struct zone_span *spans = zone->spans;
    int64_t shown = -ZONE_FOREVER - SECONDS_PER_DAY * 2;
    spans[-1].first_from = shown;
    for (size_t i = 0; i <= zone->span_count; i++) {
        spans[i].first_from = MAX_OF(shown, zone_span_local_start(&spans[i]));
        if (i < zone->span_count) {
            shown = MAX_OF(shown, zone_span_local_end(&spans[i]));
        }
    }
    int64_t to_come = ZONE_FOREVER + SECONDS_PER_DAY * 2;
    spans[zone->span_count].last_until = to_come;
    for (size_t i = zone->span_count; i > 0; i--) {
        spans[i - 1].last_until = MIN_OF(to_come, zone_span_local_end(&spans[i - 1]));
        to_come = MIN_OF(to_come, zone_span_local_start(&spans[i - 1]));
    }
    spans[-1].last_until = to_come;
}

static void build_slices(struct zone *zone) {
    size_t at = 0;
    for (size_t slice = 0; slice < SLICES; slice++) {
        while (zone->spans[at + 1].start <= (int64_t)slice << SLICE_SHIFT) {
            at++;
        }
        zone->slices[slice] = (uint16_t)at;
    }
}

/* Whether the changes of the clock in a year, which begin at `*span`, are those of the rule (or
 * none, if there is no daylight saving), well inside the year. */
static bool year_follows_rule(const struct zone *zone, const struct zone_span *span, int32_t year) {
    const struct zone_rule *rule = &zone->rule;
    int64_t new_year = days_from_date(year, 1, 1) * SECONDS_PER_DAY;
    int64_t next_year = days_from_date(year + 1, 1, 1) * SECONDS_PER_DAY;
    if (!zone->has_rule || !rule->has_daylight) {
        return span->start >= next_year;
    }
    if (span->start >= next_year || span[1].start >= next_year) {
        return false;
    }
    int64_t start = zone_rule_start(rule, year);
    int64_t end = zone_rule_end(rule, year);
    bool daylight_first = end > start;
    const struct zone_span *to_daylight = &span[daylight_first ? 0 : 1];
    const struct zone_span *to_standard = &span[daylight_first ? 1 : 0];
    return MIN_OF(start, end) > new_year + 2 * SECONDS_PER_DAY &&
           MAX_OF(start, end) < next_year - 2 * SECONDS_PER_DAY && to_daylight->start == start &&
           to_standard->start == end && to_daylight->offset_seconds == rule->daylight_offset &&
           to_standard->offset_seconds == rule->standard_offset && span[2].start >= next_year &&
           span[-1].offset_seconds == span[1].offset_seconds;
}

static int32_t find_periodic_year(const struct zone *zone) {
    int32_t year = LATEST_RULE_YEAR;
    while (year > OLDEST_PERIODIC_YEAR) {
        int64_t new_year = days_from_date(year - 1, 1, 1) * SECONDS_PER_DAY;
        if (!year_follows_rule(zone, zone_span_at(zone, new_year) + 1, year - 1)) {
            break;
        }
        year--;
    }
    return year == LATEST_RULE_YEAR ? INT32_MAX : year;
}

static void build_spans(struct zone *zone, struct zone_file *file) {
    struct span_builder builder = {0};
    int32_t first_offset = file->types[0].offset_seconds;
    append_span(&builder, -ZONE_FOREVER - 1, first_offset, 0);
    append_span(&builder, -ZONE_FOREVER, first_offset, 0);
    for (size_t i = 0; i < file->transition_count; i++) {
        uint32_t type = file->type_index[i];
        int64_t instant = MAX_OF(file->instants[i], -ZONE_FOREVER);
        if (instant >= ZONE_FOREVER) {
            break;
        }
        if (instant == builder.spans[builder.count - 1].start) {
            builder.count--; /* beyond the end of our time line: only the last of them matters */
        }
        append_span(&builder, instant, file->types[type].offset_seconds, type);
    }
    zone->rule_from = builder.spans[builder.count - 1].start;
    if (file->has_rule) {
        append_rule(&builder, file, zone->rule_from);
    }
    builder.spans[0].offset_seconds = builder.spans[1].offset_seconds;
    zone->span_count = builder.count - 1;
    append_span(&builder, ZONE_FOREVER, builder.spans[builder.count - 1].offset_seconds, 0);
    zone->spans = builder.spans + 1;
    build_windows(zone);
    build_slices(zone);
    zone->periodic_year = find_periodic_year(zone);
}

static uint64_t hash_bytes(const unsigned char *bytes, size_t size_bytes) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: to notice a change, not an attack */
    for (size_t i = 0; i < size_bytes; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

bool zone_from_bytes(const char *name, const void *bytes, size_t size_bytes,
                     const struct zone **out_zone, struct error *err) {
    struct zone_file file;
    if (!zone_file_read(bytes, size_bytes, &file, err)) {
        return false;
    }
    struct zone *zone = must_alloc_zeroed(1, sizeof *zone);
    snprintf(zone->name, sizeof zone->name, "%s", name);
    atomic_init(&zone->references, 1);
    zone->content_hash = hash_bytes(bytes, size_bytes);
    zone->has_rule = file.has_rule;
    zone->rule = file.rule;
    zone->types = must_alloc_zeroed(file.type_count + 2, sizeof *zone->types);
    memcpy(zone->types, file.types, file.type_count * sizeof *zone->types);
    if (file.has_rule) {
        struct zone_type *standard = &zone->types[file.type_count];
        standard[0].offset_seconds = file.rule.standard_offset;
        standard[1].offset_seconds = file.rule.daylight_offset;
        standard[1].is_daylight = true;
        memcpy(standard[0].abbreviation, file.rule.standard_abbreviation, ZONE_ABBREVIATION_BYTES);
        memcpy(standard[1].abbreviation, file.rule.daylight_abbreviation, ZONE_ABBREVIATION_BYTES);
    }
    build_spans(zone, &file);
    zone_file_fini(&file);
    *out_zone = zone;
    return true;
}

/* ---- References ---- */

const struct zone *zone_ref(const struct zone *zone) {
    atomic_fetch_add_explicit(&((struct zone *)(uintptr_t)zone)->references, 1,
                              memory_order_relaxed);
    return zone;
}

void zone_unref(const struct zone *zone) {
    if (zone == NULL) {
        return;
    }
    struct zone *counted = (struct zone *)(uintptr_t)zone;
    if (atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) == 1) {
        free(counted->spans - 1);
        free(counted->types);
        free(counted);
    }
}

const char *zone_name(const struct zone *zone) { return zone->name; }

int32_t zone_periodic_year(const struct zone *zone) { return zone->periodic_year; }

/* ---- Reading files ---- */

const char *zone_database_directory(void) {
    const char *directory = getenv("TZDIR"); // NOLINT(concurrency-mt-unsafe)
    return directory == NULL || directory[0] == '\0' ? DEFAULT_DIRECTORY : directory;
}

/* Reads a regular file of the zone folder; the caller frees `out_bytes`. False with errno. */
static bool read_whole_file(const char *name, unsigned char **out_bytes, size_t *out_size_bytes) {
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/%s", zone_database_directory(), name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        errno = EINVAL;
        return false;
    }
    size_t capacity_bytes = (size_t)MIN_OF(status.st_size, (off_t)ZONE_FILE_MOST_BYTES + 1);
    unsigned char *bytes = must_alloc(capacity_bytes + 1);
    size_t size_bytes = 0;
    while (size_bytes < capacity_bytes) {
        ssize_t count = read(fd, bytes + size_bytes, capacity_bytes - size_bytes);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            break;
        }
        size_bytes += (size_t)count;
    }
    close(fd);
    *out_bytes = bytes;
    *out_size_bytes = size_bytes;
    return true;
}

static bool name_is_safe(const char *name) {
    char before = '/';
    size_t length = 0;
    for (const char *at = name; *at != '\0'; before = *at++, length++) {
        bool is_plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                        (*at >= '0' && *at <= '9') || *at == '_' || *at == '+';
        bool may_not_begin = *at == '-' || *at == '.' || *at == '/';
        if (!(is_plain || (may_not_begin && before != '/')) || length + 1 == ZONE_NAME_BYTES) {
            return false;
        }
    }
    return before != '/';
}

static bool load(const char *name, const struct zone **out_zone, struct error *err) {
    CLEANUP(free_pointer) unsigned char *bytes = NULL;
    size_t size_bytes = 0;
    if (!read_whole_file(name, &bytes, &size_bytes) || size_bytes < 4 ||
        memcmp(bytes, "TZif", 4) != 0) {
        return error_set_field(err, ERROR_INVALID_ZONE, "timezone", "unknown time zone '%s'", name);
    }
    if (!zone_from_bytes(name, bytes, size_bytes, out_zone, err)) {
        snprintf(err->field, sizeof err->field, "timezone");
        return error_prefix(err, "time zone '%s'", name);
    }
    return true;
}

/* UTC needs no file: version 1's block with one type. */
static bool load_utc(const struct zone **out_zone, struct error *err) {
    static const unsigned char utc[] = {
        'T', 'Z', 'i', 'f', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   0,   0,   0,
        0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   0,   0,   0,
        0,   0,   0,   1,   0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 'U', 'T', 'C', 0,
    };
    return zone_from_bytes("UTC", utc, sizeof utc, out_zone, err);
}

/* ---- The cache ----
 *
 * A table of names. It holds one reference to each zone; `lock` guards it and is a leaf: no file is
 * read and nothing else is called while it is held. There is at most one entry per file of the
 * system's. */

struct cache_entry {
    struct cache_entry *next;
    const struct zone *zone;
};

static struct {
    pthread_mutex_t lock;
    struct cache_entry *buckets[BUCKETS];
    struct release *releases; /* newest first; never freed, there are few */
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct release {
    struct release *older;
    char version[ZONE_VERSION_BYTES];
};

static struct cache_entry **find_entry(const char *name) {
    uint64_t hash = hash_bytes((const unsigned char *)name, strlen(name));
    struct cache_entry **link = &cache.buckets[(hash ^ hash >> 32) % BUCKETS];
    while (*link != NULL && strcmp((*link)->zone->name, name) != 0) {
        link = &(*link)->next;
    }
    return link;
}

/* Puts the zone into the cache, in place of one with its name, or (keep) yields to the one that is
 * there. Takes over the caller's reference and returns a new one. */
static const struct zone *cache_put(const struct zone *zone, bool keep) {
    const struct zone *dropped = NULL;
    struct cache_entry *fresh = must_alloc_zeroed(1, sizeof *fresh);
    pthread_mutex_lock(&cache.lock);
    struct cache_entry **link = find_entry(zone->name);
    if (*link == NULL) {
        fresh->zone = zone;
        *link = fresh;
        fresh = NULL;
    } else if (keep) {
        dropped = zone;
    } else {
        dropped = (*link)->zone;
        (*link)->zone = zone;
    }
    const struct zone *cached = zone_ref((*link)->zone);
    pthread_mutex_unlock(&cache.lock);
    zone_unref(dropped);
    free(fresh);
    return cached;
}

bool zone_open(const char *name, const struct zone **out_zone, struct error *err) {
    if (!name_is_safe(name)) {
        return error_set_field(err, ERROR_INVALID_ZONE, "timezone",
                               "not the name of a time zone: expected one such as Europe/Berlin");
    }
    pthread_mutex_lock(&cache.lock);
    struct cache_entry *entry = *find_entry(name);
    const struct zone *cached = entry == NULL ? NULL : zone_ref(entry->zone);
    pthread_mutex_unlock(&cache.lock);
    if (cached == NULL) {
        const struct zone *loaded = NULL;
        if (!(strcmp(name, "UTC") == 0 ? load_utc(&loaded, err) : load(name, &loaded, err))) {
            return false;
        }
        cached = cache_put(loaded, true);
    }
    *out_zone = cached;
    return true;
}

/* ---- The release of the database ---- */

/* The word after `marker` at the beginning of the file's first line. */
static bool read_release(const char *name, const char *marker,
                         char out[static ZONE_VERSION_BYTES]) {
    CLEANUP(free_pointer) unsigned char *bytes = NULL;
    size_t size_bytes;
    if (!read_whole_file(name, &bytes, &size_bytes)) {
        return false;
    }
    char line[RELEASE_LINE_BYTES];
    size_t length = MIN_OF(size_bytes, sizeof line - 1);
    memcpy(line, bytes, length);
    line[length] = '\0';
    size_t marker_bytes = strlen(marker);
    if (strncmp(line, marker, marker_bytes) != 0) {
        return false;
    }
    const char *word = line + marker_bytes;
    size_t word_bytes =
        strspn(word, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.");
    if (word_bytes == 0 || word_bytes >= ZONE_VERSION_BYTES) {
        return false;
    }
    memcpy(out, word, word_bytes);
    out[word_bytes] = '\0';
    return true;
}

/* Reads the release and remembers it. True if it is another than before. */
static bool update_release(void) {
    char version[ZONE_VERSION_BYTES] = "unknown";
    if (!read_release("tzdata.zi", "# version ", version)) {
        (void)read_release("+VERSION", "", version);
    }
    struct release *fresh = must_alloc_zeroed(1, sizeof *fresh);
    memcpy(fresh->version, version, sizeof version);
    pthread_mutex_lock(&cache.lock);
    bool is_first = cache.releases == NULL;
    bool is_new = is_first || strcmp(cache.releases->version, version) != 0;
    if (is_new) {
        fresh->older = cache.releases;
        cache.releases = fresh;
        fresh = NULL;
    }
    pthread_mutex_unlock(&cache.lock);
    free(fresh);
    return is_new && !is_first;
}

const char *zone_database_version(void) {
    pthread_mutex_lock(&cache.lock);
    const struct release *newest = cache.releases;
    pthread_mutex_unlock(&cache.lock);
    if (newest == NULL) {
        (void)update_release();
        pthread_mutex_lock(&cache.lock);
        newest = cache.releases;
        pthread_mutex_unlock(&cache.lock);
    }
    return newest->version;
}

/* All zones of the cache; the caller gives the references back and frees the array. */
static const struct zone **cache_snapshot(size_t *out_count) {
    size_t count = 0;
    pthread_mutex_lock(&cache.lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct cache_entry *entry = cache.buckets[i]; entry != NULL; entry = entry->next) {
            count++;
        }
    }
    const struct zone **zones = must_alloc_zeroed(count + 1, sizeof(void *));
    size_t filled = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct cache_entry *entry = cache.buckets[i]; entry != NULL; entry = entry->next) {
            zones[filled++] = zone_ref(entry->zone);
        }
    }
    pthread_mutex_unlock(&cache.lock);
    *out_count = count;
    return zones;
}

bool zone_cache_refresh(bool *out_changed, struct error *err) {
    struct stat status;
    if (stat(zone_database_directory(), &status) != 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot read the time zone folder");
    }
    bool changed = update_release();
    size_t count;
    const struct zone **zones = cache_snapshot(&count);
    for (size_t i = 0; i < count; i++) {
        const struct zone *fresh = NULL;
        struct error ignored; /* a broken or missing file leaves the cached zone in place */
        if (strcmp(zones[i]->name, "UTC") != 0 && load(zones[i]->name, &fresh, &ignored)) {
            ASSERT(fresh != NULL);
            if (fresh->content_hash != zones[i]->content_hash) {
                changed = true;
                fresh = cache_put(fresh, false);
            }
            zone_unref(fresh);
        }
        zone_unref(zones[i]);
    }
    free(zones);
    *out_changed = changed;
    return true;
}

/* ---- Looking up ---- */

const struct zone_span *zone_span_at(const struct zone *zone, int64_t seconds) {
    if (seconds >= 0 && seconds < ZONE_END) {
        const struct zone_span *span = &zone->spans[zone->slices[seconds >> SLICE_SHIFT]];
        while (span[1].start <= seconds) {
            span++;
        }
        return span;
    }
    size_t low = 0;
    size_t high = zone->span_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (zone->spans[middle].start <= seconds) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &zone->spans[low];
}

/* No offset is larger (zone_file.c), so a local time is within this distance of its instant. */
#define LARGEST_OFFSET INT64_C(93600)

const struct zone_span *zone_span_of_first(const struct zone *zone, int64_t local_seconds) {
    const struct zone_span *span = zone_span_at(zone, local_seconds - LARGEST_OFFSET);
    while (span[1].first_from <= local_seconds) {
        span++;
    }
    return span;
}

const struct zone_span *zone_span_of_last(const struct zone *zone, int64_t local_seconds) {
    const struct zone_span *span = zone_span_at(zone, local_seconds - LARGEST_OFFSET);
    while (span->last_until <= local_seconds) {
        span++;
    }
    return span;
}

struct zone_moment zone_moment_at(const struct zone *zone, struct wall_time at) {
    int64_t seconds = wall_time_seconds(at);
    const struct zone_type *type;
    struct zone_moment moment = {0};
    if (seconds >= ZONE_END && zone->has_rule && seconds >= zone->rule_from) {
        bool is_daylight = zone_rule_is_daylight(&zone->rule, seconds);
        moment.is_daylight = is_daylight;
        moment.offset_seconds =
            is_daylight ? zone->rule.daylight_offset : zone->rule.standard_offset;
        memcpy(moment.abbreviation,
               is_daylight ? zone->rule.daylight_abbreviation : zone->rule.standard_abbreviation,
               ZONE_ABBREVIATION_BYTES);
        return moment;
    }
    type = &zone->types[zone_span_at(zone, seconds)->type];
    moment.offset_seconds = type->offset_seconds;
    moment.is_daylight = type->is_daylight;
    memcpy(moment.abbreviation, type->abbreviation, ZONE_ABBREVIATION_BYTES);
    return moment;
}

int32_t zone_offset_at(const struct zone *zone, struct wall_time at) {
    int64_t seconds = wall_time_seconds(at);
    if (seconds >= ZONE_END) {
        return zone_moment_at(zone, at).offset_seconds;
    }
    return zone_span_at(zone, seconds)->offset_seconds;
}
