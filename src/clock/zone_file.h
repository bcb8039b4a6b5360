/* Reading a TZif file (RFC 9636 section 3) into the tables of a zone. Any input is safe: what is
 * not exactly of the format is refused. */
#ifndef ORRERY_CLOCK_ZONE_FILE_H
#define ORRERY_CLOCK_ZONE_FILE_H

#include "clock/zone_rule.h"

enum {
    ZONE_FILE_MOST_BYTES = 256 * 1024,
    /* The format's counts have 32 bits; the largest real file has some 250 transitions. */
    ZONE_FILE_MOST_TRANSITIONS = 8192,
    ZONE_FILE_MOST_TYPES = 256,
    ZONE_FILE_MOST_LETTERS = 4096,
};

struct zone_type {
    int32_t offset_seconds;
    bool is_daylight;
    char abbreviation[ZONE_ABBREVIATION_BYTES];
};

struct zone_file {
    size_t transition_count;
    int64_t *instants;   /* ascending */
    uint8_t *type_index; /* of the time from that instant on */
    size_t type_count;   /* at least 1; type 0 holds before the first transition */
    struct zone_type *types;
    bool has_rule; /* for the time from the last transition on; if not, its type stays */
    struct zone_rule rule;
};

/* On success the caller ends it with zone_file_fini. False with ERROR_INVALID_ZONE and what is
 * wrong. */
MUST_CHECK bool zone_file_read(const void *bytes, size_t size_bytes, struct zone_file *out,
                               struct error *err);
void zone_file_fini(struct zone_file *file);

#endif
