/* Decoding a scheduled run's JSON, and the other bodies, by table: one row a field, for create and update. All that is wrong is found at
 * once. Types are strict: a boolean is no string, and 3.0 is no whole number. JSON null stands for the default
 * where a field is optional. Pure. */
#ifndef ORRERY_API_DECODE_H
#define ORRERY_API_DECODE_H

#include "api/answer.h"
#include "api/body.h"
#include "run/run.h"

enum {
    NAME_CHARACTERS_MAXIMUM = 200,
    DESCRIPTION_CHARACTERS_MAXIMUM = 2000,
    NOTE_CHARACTERS_MAXIMUM = 1000,
    SCHEDULE_CHARACTERS_MAXIMUM = 1000,
    MODEL_NAME_CHARACTERS_MAXIMUM = 128,
    ZONE_CHARACTERS_MAXIMUM = 63,
    RETRY_ATTEMPTS_MAXIMUM = 100,
    JITTER_HOURS_MAXIMUM = 24,
    TIMEOUT_HOURS_MAXIMUM = 24,
    CATCHUP_WINDOW_DAYS_MAXIMUM = 366,
};

/* Reads the fields that are in the body into the run; those that are not stay as they are, but a field that is
 * required when `is_new` must be there. Strings live in the arena of the problems. What is wrong becomes a
 * problem. Checked is what can be told from the body and the run alone: whether there is such a model or zone
 * is not. */
void run_decode(const struct body *body, bool is_new, struct run *run, struct problems *problems);

/* Reads what a pause or its end may bring: {"note": …}. */
void run_decode_note(const struct body *body, struct run *run, struct problems *problems);

/* Reads {from, to, parallelism, parameters}; the rest of the backfill has no value yet. */
void backfill_decode(const struct body *body, struct backfill *backfill, struct problems *problems);

/* The name in the list that was probably meant, or NULL. */
const char *nearest_name(const char *name, const char *const *names, size_t count);

#endif
