#include "auth/rate_limit.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND INT64_C(1000000000)

enum { SHARDS = 16, SETS = 64, WAYS = 4 }; /* 4096 principals */

struct bucket {
    uint64_t principal; /* a keyed hash of its name; 0: empty */
    int64_t full_at_ns;
};

struct shard {
    pthread_mutex_t lock;
    struct bucket buckets[SETS][WAYS];
};

struct rate_limiter {
    uint32_t per_second;
    int64_t interval_ns;
    unsigned char hash_key[crypto_shorthash_KEYBYTES]; /* so that nobody can choose neighbours */
    struct shard shards[SHARDS];
};

struct rate_limiter *rate_limiter_new(uint32_t per_second) {
    ASSERT(per_second >= 1 && per_second <= RATE_LIMIT_MAXIMUM);
    int failed = sodium_init();
    ASSERT(failed >= 0);
    struct rate_limiter *limiter = must_alloc_zeroed(1, sizeof *limiter);
    limiter->per_second = per_second;
    limiter->interval_ns = NS_PER_SECOND / per_second;
    crypto_shorthash_keygen(limiter->hash_key);
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&limiter->shards[i].lock, NULL);
    }
    return limiter;
}

void rate_limiter_free(struct rate_limiter *limiter) {
    if (limiter == NULL) {
        return;
    }
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&limiter->shards[i].lock);
    }
    free(limiter);
}

static uint64_t hash_principal(const struct rate_limiter *limiter, const char *principal) {
    uint64_t hash;
    _Static_assert(sizeof hash == crypto_shorthash_BYTES, "SipHash-2-4 has 64 bits");
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)principal, strlen(principal),
                     limiter->hash_key);
    return hash == 0 ? 1 : hash;
}

/* The principal's bucket, or the one nearest to full, which becomes the principal's. */
static struct bucket *find_bucket(struct bucket set[static WAYS], uint64_t principal) {
    struct bucket *fullest = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].principal == principal) {
            return &set[i];
        }
        if (set[i].full_at_ns < fullest->full_at_ns) {
            fullest = &set[i];
        }
    }
    *fullest = (struct bucket){.principal = principal, .full_at_ns = INT64_MIN};
    return fullest;
}

static uint32_t seconds_up(int64_t ns) {
    return (uint32_t)((ns + NS_PER_SECOND - 1) / NS_PER_SECOND);
}

struct rate_limit_result rate_limiter_take(struct rate_limiter *limiter, const char *principal,
                                           struct monotonic_time now) {
    uint64_t hash = hash_principal(limiter, principal);
    struct shard *shard = &limiter->shards[hash % SHARDS];
    int64_t now_ns = now.us * 1000;
    int64_t full_bucket_ns = limiter->interval_ns * limiter->per_second;

    pthread_mutex_lock(&shard->lock);
    struct bucket *bucket = find_bucket(shard->buckets[hash / SHARDS % SETS], hash);
    int64_t full_at_ns = MAX_OF(bucket->full_at_ns, now_ns) + limiter->interval_ns;
    bool allowed = full_at_ns - now_ns <= full_bucket_ns;
    if (allowed) {
        bucket->full_at_ns = full_at_ns;
    } else {
        full_at_ns = bucket->full_at_ns;
    }
    pthread_mutex_unlock(&shard->lock);

    int64_t missing_ns = full_at_ns - now_ns;
    struct rate_limit_result result = {
        .allowed = allowed,
        .limit = limiter->per_second,
        .remaining = (uint32_t)MAX_OF((full_bucket_ns - missing_ns) / limiter->interval_ns, 0),
        .reset_s = seconds_up(missing_ns),
    };
    if (!allowed) {
        int64_t wait_ns = missing_ns + limiter->interval_ns - full_bucket_ns;
        result.retry_after_s = MAX_OF(seconds_up(wait_ns), 1U);
    }
    return result;
}

void rate_limit_format_policy(const struct rate_limit_result *result,
                              char out[static RATE_LIMIT_HEADER_BYTES]) {
    snprintf(out, RATE_LIMIT_HEADER_BYTES, "\"default\";q=%u;w=1", result->limit);
}

void rate_limit_format(const struct rate_limit_result *result,
                       char out[static RATE_LIMIT_HEADER_BYTES]) {
    snprintf(out, RATE_LIMIT_HEADER_BYTES, "\"default\";r=%u;t=%u", result->remaining,
             result->reset_s);
}
