#include "cron/cron.h"

#include <string.h>

static const char *const missing_names[] = {
    [DST_MISSING_SHIFT] = "shift",
    [DST_MISSING_SKIP] = "skip",
};
static const char *const repeated_names[] = {
    [DST_REPEATED_FIRST] = "first",
    [DST_REPEATED_LAST] = "last",
    [DST_REPEATED_BOTH] = "both",
};

const char *dst_missing_name(enum dst_missing missing) {
    ASSERT((size_t)missing < COUNT_OF(missing_names));
    return missing_names[missing];
}

const char *dst_repeated_name(enum dst_repeated repeated) {
    ASSERT((size_t)repeated < COUNT_OF(repeated_names));
    return repeated_names[repeated];
}

bool dst_missing_parse(const char *name, enum dst_missing *out, struct error *err) {
    for (size_t i = 0; i < COUNT_OF(missing_names); i++) {
        if (strcmp(name, missing_names[i]) == 0) {
            *out = (enum dst_missing)i;
            return true;
        }
    }
    return error_set_field(err, ERROR_INVALID, "dst_missing", "expected \"shift\" or \"skip\"");
}

bool dst_repeated_parse(const char *name, enum dst_repeated *out, struct error *err) {
    for (size_t i = 0; i < COUNT_OF(repeated_names); i++) {
        if (strcmp(name, repeated_names[i]) == 0) {
            *out = (enum dst_repeated)i;
            return true;
        }
    }
    return error_set_field(err, ERROR_INVALID, "dst_repeated",
                           "expected \"first\", \"last\" or \"both\"");
}
