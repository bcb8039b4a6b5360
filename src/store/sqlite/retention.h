/* For neighbours in sqlite/: keeps the history within its bounds, bit by bit, on the writer thread between two
 * batches. What goes is always the oldest end of a run's chain, whole executions that have ended, and is added to
 * removed_totals in the same transaction. An execution that has not ended stays, and so do the newer ones of its run;
 * and the newest of all stays, so that keys go on from there.
 *
 * Three reasons to remove:
 *   count   a record made a chain longer than it may be: its run is noted, the chain is walked to where it is to end,
 *           and cut there.
 *   age, bytes   a sweep from the oldest execution of all runs on. For bytes only so far that the history keeps a
 *           quarter of the bound, however much the runs themselves take.
 * Each begins somewhat above its bound and goes down to it, so that it is not begun for every execution.
 *
 * A step is not flushed to the disk by itself, but with the next batch: what a crash undoes is removed again. */
#ifndef ORRERY_STORE_SQLITE_RETENTION_H
#define ORRERY_STORE_SQLITE_RETENTION_H

#include "clock/time.h"
#include "store/store.h"

enum { RETENTION_LONG_CHAINS_MAXIMUM = 1024 };

struct store_session;

/* A chain that is being cut. */
struct retention_chain {
    int64_t run_key; /* 0: none */
    int64_t key;     /* the last one that stays, as far as the walk has come */
    uint64_t kept;
    bool cutting; /* the walk has come to where the chain is to end */
};

struct retention {
    struct duration age; /* the bounds; 0: none */
    uint64_t count;
    uint64_t bytes;
    bool sweeping_age;
    bool sweeping_bytes;
    bool is_exceeded;        /* by the runs themselves; so that the log says it once */
    int64_t bytes_aim;       /* where a sweep for bytes ends */
    int64_t sweep_key;       /* the sweep has come to here */
    int64_t oldest_key;      /* of what the last sweep for age left; 0: to be looked up */
    uint32_t writes;         /* since the last step */
    uint32_t writes_unsized; /* since the bytes were looked at */
    int64_t long_chains[RETENTION_LONG_CHAINS_MAXIMUM]; /* run keys */
    size_t long_chain_count;
    struct retention_chain chain;
    bool relaxed; /* the connection commits without a flush */
    bool failing; /* nothing was removed since a step failed; so that the log says it once */
};

void retention_init(struct retention *retention, const struct store_options *options);

/* A write was carried out; the record of an execution made the chain of `run_key` about so long. */
void retention_note_write(struct retention *retention);
/* A result of so many bytes got a file: a few large ones are as much as many small executions. */
void retention_note_file(struct retention *retention, uint64_t size_bytes);
void retention_note_chain(struct retention *retention, int64_t run_key, uint64_t execution_count);

/* Does a step, if there is something to do; true if there may be more. */
bool retention_step(struct store_session *session, struct wall_time now);

/* Before a batch: commits have to be flushed again. */
MUST_CHECK bool retention_end_relaxed(struct store_session *session, struct error *err);

#endif
