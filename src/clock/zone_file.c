#include "clock/zone_file.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 44,
    TYPE_BYTES = 6,
    /* RFC 9636 section 3.2: an offset is more than -25 and less than 26 hours. */
    LEAST_OFFSET = -89999,
    MOST_OFFSET = 93599,
};

/* The six counts of a header, section 3.1. */
struct header {
    char version;
    uint32_t is_utc_count;
    uint32_t is_standard_count;
    uint32_t leap_count;
    uint32_t transition_count;
    uint32_t type_count;
    uint32_t letter_count;
};

static bool fail(struct error *err, const char *what) {
    return error_set(err, ERROR_INVALID_ZONE, "corrupt TZif file: %s", what);
}

static uint32_t read_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int64_t read_time(const unsigned char *bytes, size_t time_bytes) {
    if (time_bytes == 4) {
        return (int32_t)read_u32(bytes);
    }
    return (int64_t)((uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4));
}

static bool read_header(const unsigned char *bytes, size_t size_bytes, struct header *out,
                        struct error *err) {
    if (size_bytes < HEADER_BYTES || memcmp(bytes, "TZif", 4) != 0) {
        return error_set(err, ERROR_INVALID_ZONE, "not a TZif file");
    }
    struct header header = {
        .version = (char)bytes[4],
        .is_utc_count = read_u32(bytes + 20),
        .is_standard_count = read_u32(bytes + 24),
        .leap_count = read_u32(bytes + 28),
        .transition_count = read_u32(bytes + 32),
        .type_count = read_u32(bytes + 36),
        .letter_count = read_u32(bytes + 40),
    };
    /* A later version is promised to be readable as version 4 (section 3.1). */
    if (header.version != '\0' && header.version < '2') {
        return fail(err, "unknown version");
    }
    if (header.transition_count > ZONE_FILE_MOST_TRANSITIONS ||
        header.type_count > ZONE_FILE_MOST_TYPES || header.letter_count > ZONE_FILE_MOST_LETTERS ||
        header.leap_count > ZONE_FILE_MOST_TRANSITIONS) {
        return fail(err, "a count is too large");
    }
    if (header.type_count == 0 || header.letter_count == 0) {
        return fail(err, "no local time type");
    }
    if ((header.is_utc_count != 0 && header.is_utc_count != header.type_count) ||
        (header.is_standard_count != 0 && header.is_standard_count != header.type_count)) {
        return fail(err, "indicators do not match the types");
    }
    *out = header;
    return true;
}

static size_t block_bytes(const struct header *header, size_t time_bytes) {
    return header->transition_count * (time_bytes + 1) + header->type_count * (size_t)TYPE_BYTES +
           header->letter_count + header->leap_count * (time_bytes + 4) +
           header->is_standard_count + header->is_utc_count;
}

static bool read_types(const unsigned char *bytes, const char *letters, const struct header *header,
                       struct zone_file *file, struct error *err) {
    for (size_t i = 0; i < header->type_count; i++) {
        const unsigned char *row = bytes + i * TYPE_BYTES;
        struct zone_type *type = &file->types[i];
        type->offset_seconds = (int32_t)read_u32(row);
        if (type->offset_seconds < LEAST_OFFSET || type->offset_seconds > MOST_OFFSET) {
            return fail(err, "an offset from UTC is out of range");
        }
        if (row[4] > 1) {
            return fail(err, "a daylight saving flag is neither 0 nor 1");
        }
        type->is_daylight = row[4] == 1;
        size_t letter = row[5];
        const char *end = letter < header->letter_count
                              ? memchr(letters + letter, '\0', header->letter_count - letter)
                              : NULL;
        if (end == NULL) {
            return fail(err, "an abbreviation does not end");
        }
        size_t length = MIN_OF((size_t)(end - (letters + letter)), sizeof type->abbreviation - 1);
        memcpy(type->abbreviation, letters + letter, length);
        type->abbreviation[length] = '\0';
    }
    return true;
}

static bool read_transitions(const unsigned char *bytes, size_t time_bytes, struct zone_file *file,
                             struct error *err) {
    const unsigned char *indices = bytes + file->transition_count * time_bytes;
    for (size_t i = 0; i < file->transition_count; i++) {
        int64_t instant = read_time(bytes + i * time_bytes, time_bytes);
        if (i > 0 && instant <= file->instants[i - 1]) {
            return fail(err, "transitions are not in order");
        }
        if (indices[i] >= file->type_count) {
            return fail(err, "a transition to an unknown type");
        }
        /* Some writers begin with the Big Bang (-2^59); no instant of ours lies beyond it. */
        file->instants[i] = instant;
        file->type_index[i] = indices[i];
    }
    return true;
}

/* Section 3.3.1: where there is a rule, the last transition must agree with it. */
static bool check_rule(const struct zone_file *file, struct error *err) {
    if (!file->has_rule || file->transition_count == 0) {
        return true;
    }
    size_t last = file->transition_count - 1;
    const struct zone_rule *rule = &file->rule;
    int32_t offset = zone_rule_is_daylight(rule, file->instants[last]) ? rule->daylight_offset
                                                                       : rule->standard_offset;
    if (offset != file->types[file->type_index[last]].offset_seconds) {
        return fail(err, "the footer contradicts the last transition");
    }
    return true;
}

static bool read_footer(const unsigned char *bytes, size_t size_bytes, struct zone_file *file,
                        struct error *err) {
    const unsigned char *end =
        size_bytes > 1 && bytes[0] == '\n' ? memchr(bytes + 1, '\n', size_bytes - 1) : NULL;
    if (end == NULL) {
        return fail(err, "the footer is missing");
    }
    size_t length = (size_t)(end - (bytes + 1));
    file->has_rule = length > 0;
    if (file->has_rule && !zone_rule_parse((const char *)bytes + 1, length, &file->rule)) {
        return fail(err, "the footer is not a TZ string");
    }
    return true;
}

static bool read_block(const unsigned char *bytes, const struct header *header, size_t time_bytes,
                       struct zone_file *file, struct error *err) {
    file->transition_count = header->transition_count;
    file->type_count = header->type_count;
    file->instants = must_alloc_zeroed(header->transition_count + 1, sizeof *file->instants);
    file->type_index = must_alloc_zeroed(header->transition_count + 1, sizeof *file->type_index);
    file->types = must_alloc_zeroed(header->type_count, sizeof *file->types);
    const unsigned char *types = bytes + header->transition_count * (time_bytes + 1);
    const char *letters = (const char *)types + header->type_count * (size_t)TYPE_BYTES;
    return read_types(types, letters, header, file, err) &&
           read_transitions(bytes, time_bytes, file, err);
}

bool zone_file_read(const void *input, size_t size_bytes, struct zone_file *out,
                    struct error *err) {
    const unsigned char *bytes = input;
    struct header header = {0};
    if (size_bytes > ZONE_FILE_MOST_BYTES) {
        return fail(err, "too large");
    }
    if (!read_header(bytes, size_bytes, &header, err)) {
        return false;
    }
    size_t time_bytes = 4;
    bytes += HEADER_BYTES;
    size_bytes -= HEADER_BYTES;
    if (header.version != '\0') {
        /* Behind version 1's block the same again with 64-bit times; readers skip the first. */
        size_t skipped = block_bytes(&header, 4);
        if (size_bytes < skipped) {
            return fail(err, "it ends too early");
        }
        bytes += skipped;
        size_bytes -= skipped;
        if (!read_header(bytes, size_bytes, &header, err)) {
            return false;
        }
        time_bytes = 8;
        bytes += HEADER_BYTES;
        size_bytes -= HEADER_BYTES;
    }
    size_t block = block_bytes(&header, time_bytes);
    if (size_bytes < block) {
        return fail(err, "it ends too early");
    }
    if (header.leap_count != 0) {
        return error_set(err, ERROR_INVALID_ZONE,
                         "the file counts leap seconds; the system's clock does not");
    }
    struct zone_file file = {0};
    bool good = read_block(bytes, &header, time_bytes, &file, err) &&
                (time_bytes == 4 || read_footer(bytes + block, size_bytes - block, &file, err)) &&
                check_rule(&file, err);
    if (!good) {
        zone_file_fini(&file);
        return false;
    }
    *out = file;
    return true;
}

void zone_file_fini(struct zone_file *file) {
    free(file->instants);
    free(file->type_index);
    free(file->types);
    *file = (struct zone_file){0};
}
