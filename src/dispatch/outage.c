#include "dispatch/outage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_DELAY_S = 2, DOUBLINGS_MAXIMUM = 8 /* 8 min 32 s */ };

struct outage_entry {
    struct outage_entry *next;
    char *model_name;
    unsigned char digest[MODEL_DIGEST_BYTES];
    struct outage outage;
    struct monotonic_time until;
};

void outages_init(struct outages *outages) {
    *outages = (struct outages){0};
    pthread_mutex_init(&outages->lock, NULL);
}

/* The link that leads to the model's entry, or to the end. With the lock. */
static struct outage_entry **find(struct outages *outages, const char *model_name) {
    struct outage_entry **link = &outages->entries;
    while (*link != NULL && strcmp((*link)->model_name, model_name) != 0) {
        link = &(*link)->next;
    }
    return link;
}

static void remove_entry(struct outages *outages, struct outage_entry **link) {
    struct outage_entry *entry = *link;
    *link = entry->next;
    free(entry->model_name);
    free(entry);
    atomic_fetch_sub(&outages->count, 1);
}

void outages_fini(struct outages *outages) {
    while (outages->entries != NULL) {
        remove_entry(outages, &outages->entries);
    }
    pthread_mutex_destroy(&outages->lock);
}

static struct outage_entry *add(struct outages *outages, const char *model_name) {
    struct outage_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    entry->model_name = must_strdup(model_name);
    entry->next = outages->entries;
    outages->entries = entry;
    atomic_fetch_add(&outages->count, 1);
    return entry;
}

void outages_note_crash(struct outages *outages, const char *model_name,
                        const unsigned char digest[static MODEL_DIGEST_BYTES], const char *how,
                        struct monotonic_time now, struct wall_time wall_now) {
    pthread_mutex_lock(&outages->lock);
    struct outage_entry *entry = *find(outages, model_name);
    if (entry == NULL) {
        entry = add(outages, model_name);
    }
    if (memcmp(entry->digest, digest, MODEL_DIGEST_BYTES) != 0) {
        memcpy(entry->digest, digest, MODEL_DIGEST_BYTES);
        entry->outage.crashes = 0;
    }
    struct outage *outage = &entry->outage;
    outage->crashes++;
    if (outage->crashes >= OUTAGE_CRASHES_LEAST) {
        uint32_t doublings =
            MIN_OF(outage->crashes - OUTAGE_CRASHES_LEAST, (uint32_t)DOUBLINGS_MAXIMUM);
        int64_t delay_us = (FIRST_DELAY_S * US_PER_SECOND) << doublings;
        entry->until = (struct monotonic_time){now.us + delay_us};
        outage->available_again_at = (struct wall_time){wall_now.us + delay_us};
        snprintf(outage->reason, sizeof outage->reason,
                 "it has crashed its worker %u times in a row; the last %.80s", outage->crashes,
                 how);
    }
    pthread_mutex_unlock(&outages->lock);
}

void outages_note_success(struct outages *outages, const char *model_name) {
    if (atomic_load_explicit(&outages->count, memory_order_relaxed) == 0) {
        return;
    }
    pthread_mutex_lock(&outages->lock);
    struct outage_entry **link = find(outages, model_name);
    if (*link != NULL) {
        remove_entry(outages, link);
    }
    pthread_mutex_unlock(&outages->lock);
}

enum outage_verdict outages_judge(struct outages *outages, const char *model_name,
                                  const unsigned char digest[static MODEL_DIGEST_BYTES],
                                  struct monotonic_time now, struct error *err) {
    if (atomic_load_explicit(&outages->count, memory_order_relaxed) == 0) {
        return OUTAGE_NONE;
    }
    enum outage_verdict verdict = OUTAGE_NONE;
    pthread_mutex_lock(&outages->lock);
    const struct outage_entry *entry = *find(outages, model_name);
    if (entry != NULL && entry->outage.crashes >= OUTAGE_CRASHES_LEAST &&
        memcmp(entry->digest, digest, MODEL_DIGEST_BYTES) == 0) {
        verdict = now.us < entry->until.us ? OUTAGE_OUT : OUTAGE_ON_TRIAL;
        char again_at[RFC3339_BYTES];
        wall_time_format(entry->outage.available_again_at, again_at);
        error_set(err, ERROR_MODEL_UNAVAILABLE, "%s; it is tried again at %s", entry->outage.reason,
                  again_at);
    }
    pthread_mutex_unlock(&outages->lock);
    return verdict;
}

bool outages_find(struct outages *outages, const char *model_name, struct wall_time wall_now,
                  struct outage *out_outage) {
    if (atomic_load_explicit(&outages->count, memory_order_relaxed) == 0) {
        return false;
    }
    pthread_mutex_lock(&outages->lock);
    const struct outage_entry *entry = *find(outages, model_name);
    bool is_out = entry != NULL && entry->outage.crashes >= OUTAGE_CRASHES_LEAST &&
                  wall_now.us < entry->outage.available_again_at.us;
    if (is_out) {
        *out_outage = entry->outage;
    }
    pthread_mutex_unlock(&outages->lock);
    return is_out;
}
