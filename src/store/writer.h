/* For neighbours in store/: the group-commit writer. One thread takes all the mail there is, carries it out
 * in one transaction, makes that durable, and answers every letter. While it does, the next mail gathers: the
 * busier the store, the more writes share one disk flush.
 *
 * A batch has a bound, so that the first letter in it need not wait long for the last. */
#ifndef ORRERY_STORE_WRITER_H
#define ORRERY_STORE_WRITER_H

#include "store/driver.h"

#include <pthread.h>

enum {
    /* Writes in one transaction: about 2 ms of work, ten times a disk flush. */
    WRITER_BATCH_MAXIMUM = 256,
    WRITER_BATCH_BYTES_MAXIMUM = 8 << 20, /* and bytes of their long texts, about */
};

struct store_writer {
    const struct store_driver *driver;
    struct store_session *session;
    char *location; /* for the log */
    struct mailbox mailbox;
    pthread_t thread;
    bool started;
    bool failing;            /* the last batch failed; so that the log says it once */
    struct store_write stop; /* the letter that ends the thread */
};

MUST_CHECK bool store_writer_init(struct store_writer *writer, const struct store_driver *driver,
                                  struct store_session *session, const char *location,
                                  struct error *err);
MUST_CHECK bool store_writer_start(struct store_writer *writer, struct error *err);
void store_writer_stop(struct store_writer *writer);
void store_writer_fini(struct store_writer *writer);

#endif
