/* Models that keep crashing their workers. After the third crash in a row a model is out for a while, which doubles with
 * each further crash; then one execution at a time tries it. A success or other contents end it.
 *
 * Owned by the dispatcher's thread; outages_find: any thread. */
#ifndef ORRERY_DISPATCH_OUTAGE_H
#define ORRERY_DISPATCH_OUTAGE_H

#include "base/error.h"
#include "clock/time.h"
#include "run/run.h"

#include <pthread.h>
#include <stdatomic.h>

enum { OUTAGE_REASON_BYTES = 160, OUTAGE_CRASHES_LEAST = 3 };

/* As it is told. */
struct outage {
    uint32_t crashes; /* in a row */
    char reason[OUTAGE_REASON_BYTES];
    struct wall_time available_again_at;
};

struct outage_entry;

struct outages {
    pthread_mutex_t lock; /* leaf; guards the entries' contents and the list */
    struct outage_entry *entries;
    _Atomic size_t count; /* read without the lock: mostly there is none */
};

void outages_init(struct outages *outages);
void outages_fini(struct outages *outages);

/* `how` says how the worker ended. */
void outages_note_crash(struct outages *outages, const char *model_name,
                        const unsigned char digest[static MODEL_DIGEST_BYTES], const char *how,
                        struct monotonic_time now, struct wall_time wall_now);
void outages_note_success(struct outages *outages, const char *model_name);

enum outage_verdict {
    OUTAGE_NONE,
    OUTAGE_ON_TRIAL, /* it may be run if nothing else of it runs */
    OUTAGE_OUT,      /* it may not; ERROR_MODEL_UNAVAILABLE with the reason */
};
enum outage_verdict outages_judge(struct outages *outages, const char *model_name,
                                  const unsigned char digest[static MODEL_DIGEST_BYTES],
                                  struct monotonic_time now, struct error *err);

/* The model's outage, while it is out. */
bool outages_find(struct outages *outages, const char *model_name, struct wall_time wall_now,
                  struct outage *out_outage);

#endif
