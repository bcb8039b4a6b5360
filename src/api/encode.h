/* Encoding the contract's objects as JSON. */
#ifndef ORRERY_API_ENCODE_H
#define ORRERY_API_ENCODE_H

#include "base/identity.h"
#include "base/text.h"
#include "run/run.h"

enum {
    NEXT_RUNS = 5,
    RUN_JSON_BYTES = 1792,      /* of a usual run, without its parameters; may be more */
    EXECUTION_JSON_BYTES = 768, /* of an execution, without its result */
};

/* The next slots after `after`, up to NEXT_RUNS; returns how many there are. */
size_t next_runs(const struct timetable *timetable, struct wall_time after,
                 struct wall_time out_slots[static NEXT_RUNS]);

/* Appends a scheduled run; with `slots` also "next_runs". */
void run_to_json(struct text *out, const struct run *run, uint64_t store_tag,
                 const struct wall_time *slots, size_t slot_count);

/* A result that is in a file is "result": null, and beside it stand "result_bytes" and where it can be read,
 * "result_url". */
void execution_to_json(struct text *out, const struct execution *execution, uint64_t store_tag);
/* The same with nothing at all where the result is to stand: before the byte `out_result_at`. */
void execution_to_json_around(struct text *out, const struct execution *execution,
                              uint64_t store_tag, size_t *out_result_at);

enum { BACKFILL_JSON_BYTES = 640 };
/* `counts` by status: what has become of its slots. */
void backfill_to_json(struct text *out, const struct backfill *backfill,
                      const uint64_t counts[EXECUTION_MISSED + 1], uint64_t store_tag);
bool backfill_is_over(const struct backfill *backfill, const uint64_t counts[EXECUTION_MISSED + 1]);

/* Appends a string literal, a time in quotes or null, an id in quotes. */
void json_string(struct text *out, const char *string);  /* NULL: null */
void json_time(struct text *out, struct wall_time time); /* NONE: null */
void json_id(struct text *out, int64_t key, uint64_t store_tag);
void json_number(struct text *out, int64_t number);
void json_milliseconds(struct text *out, struct duration duration); /* 3.214 */
void json_hex(struct text *out, const unsigned char *bytes, size_t size_bytes);

#endif
