/* For neighbours in store/: the thread that writes large results to their files (results.h), before the records that
 * refer to them go to the writer: so that no other write waits for their bytes. */
#ifndef ORRERY_STORE_SHELF_H
#define ORRERY_STORE_SHELF_H

#include "store/store.h"

#include <pthread.h>

struct shelf {
    char *folder;
    size_t inline_bytes_maximum; /* a larger result gets a file; 0: none does */
    struct mailbox mailbox;
    struct mailbox *writer; /* where a write goes from here */
    pthread_t thread;
    bool started;
    bool failing;            /* the last file could not be written; so that the log says it once */
    struct store_write stop; /* the letter that ends the thread */
};

MUST_CHECK bool shelf_init(struct shelf *shelf, const char *location, size_t inline_bytes_maximum,
                           struct mailbox *writer, struct error *err);
MUST_CHECK bool shelf_start(struct shelf *shelf, struct error *err);
/* Hands all that it has on to the writer, and ends the thread. */
void shelf_stop(struct shelf *shelf);
void shelf_fini(struct shelf *shelf);

/* Whether the write brings a result that gets a file; then it is to be sent to the shelf's mailbox. */
bool shelf_wants(const struct shelf *shelf, const struct store_write *write);

#endif
