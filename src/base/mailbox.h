/* Mailbox: how one thread asks something of the thread that owns an object.
 *
 * A letter owns all that it carries; the sender forgets the pointer. The owner takes all its mail at
 * once, oldest first, then acts. `mailbox_fd` becomes readable when there is mail: it goes into the
 * owner's poll set. Sending wakes the owner only when the mailbox was empty, so a burst costs one
 * system call.
 *
 * mailbox_send, mailbox_hold, mailbox_release: any thread. The rest: the owner. */
#ifndef ORRERY_BASE_MAILBOX_H
#define ORRERY_BASE_MAILBOX_H

#include "base/error.h"

#include <stdatomic.h>

struct letter {
    struct letter *next;
};

struct mailbox {
    _Atomic(struct letter *) newest;
    int event_fd;
};

MUST_CHECK bool mailbox_init(struct mailbox *mailbox, struct error *err);
/* The mailbox must be empty. */
void mailbox_fini(struct mailbox *mailbox);

void mailbox_send(struct mailbox *mailbox, struct letter *letter);

/* Between the two, what this thread sends is there at once, but wakes its owners only at the end: each once, and not
 * before the sender is done with its batch. For a stretch in which the thread waits for nothing. */
void mailbox_hold(void);
void mailbox_release(void);

/* All letters, oldest first, linked by `next`; NULL if there are none. Clears the readiness. */
struct letter *mailbox_take_all(struct mailbox *mailbox);

/* Blocks until there is mail, then the same. */
struct letter *mailbox_wait(struct mailbox *mailbox);

static inline int mailbox_fd(const struct mailbox *mailbox) { return mailbox->event_fd; }

#endif
