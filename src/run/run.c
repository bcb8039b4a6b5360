#include "run/run.h"

#include <string.h>

struct run run_defaults(void) {
    return (struct run){
        .zone_name = "UTC",
        .parameters = "null",
        .enabled = true,
        .priority = PRIORITY_DEFAULT,
        .overlap = OVERLAP_SKIP,
        .catchup = CATCHUP_LATEST,
        .dst_missing = DST_MISSING_SHIFT,
        .dst_repeated = DST_REPEATED_FIRST,
        .catchup_window = {3600 * US_PER_SECOND},
        .timeout = {300 * US_PER_SECOND},
        /* One more attempt: a slot that a crash interrupts is executed again, "at least once". */
        .retry = {.max_attempts = 1,
                  .backoff = {US_PER_SECOND},
                  .max_backoff = {600 * US_PER_SECOND}},
        .start_at = WALL_TIME_NONE,
        .end_at = WALL_TIME_NONE,
        .created_at = WALL_TIME_NONE,
        .updated_at = WALL_TIME_NONE,
        .last_run = WALL_TIME_NONE,
        .next_run = WALL_TIME_NONE,
        .settled_until = WALL_TIME_NONE,
        .paused_at = WALL_TIME_NONE,
    };
}

static const char *const overlap_names[] = {
    [OVERLAP_SKIP] = "skip",           [OVERLAP_QUEUE_ONE] = "queue_one",
    [OVERLAP_QUEUE_ALL] = "queue_all", [OVERLAP_CANCEL_RUNNING] = "cancel_running",
    [OVERLAP_ALLOW] = "allow",
};

static const char *const catchup_names[] = {
    [CATCHUP_LATEST] = "latest",
    [CATCHUP_ALL] = "all",
    [CATCHUP_NONE] = "none",
};

static const char *const status_names[] = {
    [EXECUTION_QUEUED] = "queued",       [EXECUTION_RUNNING] = "running",
    [EXECUTION_SUCCEEDED] = "succeeded", [EXECUTION_FAILED] = "failed",
    [EXECUTION_TIMED_OUT] = "timed_out", [EXECUTION_CANCELLED] = "cancelled",
    [EXECUTION_SKIPPED] = "skipped",     [EXECUTION_MISSED] = "missed",
};

static const char *const trigger_names[] = {
    [TRIGGER_SCHEDULE] = "schedule", [TRIGGER_MANUAL] = "manual",     [TRIGGER_RETRY] = "retry",
    [TRIGGER_CATCHUP] = "catchup",   [TRIGGER_BACKFILL] = "backfill",
};

static const char *name_at(const char *const *names, size_t count, size_t index) {
    ASSERT(index < count);
    return names[index];
}

static bool index_of(const char *const *names, size_t count, const char *name, size_t *out_index) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

const char *overlap_policy_name(enum overlap_policy policy) {
    return name_at(overlap_names, COUNT_OF(overlap_names), policy);
}

const char *catchup_policy_name(enum catchup_policy policy) {
    return name_at(catchup_names, COUNT_OF(catchup_names), policy);
}

const char *execution_status_name(enum execution_status status) {
    return name_at(status_names, COUNT_OF(status_names), status);
}

const char *execution_trigger_name(enum execution_trigger trigger) {
    return name_at(trigger_names, COUNT_OF(trigger_names), trigger);
}

bool overlap_policy_parse(const char *name, enum overlap_policy *out) {
    size_t index;
    if (!index_of(overlap_names, COUNT_OF(overlap_names), name, &index)) {
        return false;
    }
    *out = (enum overlap_policy)index;
    return true;
}

bool catchup_policy_parse(const char *name, enum catchup_policy *out) {
    size_t index;
    if (!index_of(catchup_names, COUNT_OF(catchup_names), name, &index)) {
        return false;
    }
    *out = (enum catchup_policy)index;
    return true;
}

bool execution_status_parse(const char *name, enum execution_status *out) {
    size_t index;
    if (!index_of(status_names, COUNT_OF(status_names), name, &index)) {
        return false;
    }
    *out = (enum execution_status)index;
    return true;
}

void retry_kinds_append(struct text *out, uint64_t kinds) {
    const char *separator = "";
    for (; kinds != 0; kinds &= kinds - 1) {
        text_append(out, separator);
        text_append(out, error_kind_wire_name((enum error_kind)__builtin_ctzll(kinds)));
        separator = ",";
    }
}

bool retry_kinds_parse(const char *names, uint64_t *out_kinds) {
    uint64_t kinds = 0;
    while (*names != '\0') {
        size_t bytes = strcspn(names, ",");
        char name[ERROR_FIELD_BYTES];
        if (bytes >= sizeof name) {
            return false;
        }
        memcpy(name, names, bytes);
        name[bytes] = '\0';
        enum error_kind kind = error_kind_from_wire_name(name);
        if (strcmp(error_kind_wire_name(kind), name) != 0) {
            return false;
        }
        kinds |= error_kind_bit(kind);
        names += bytes;
        names += *names == ',' ? 1 : 0;
    }
    *out_kinds = kinds;
    return true;
}
