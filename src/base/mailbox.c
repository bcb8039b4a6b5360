#include "base/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { HELD_MAXIMUM = 8 };

/* Whom this thread has to wake when it is done. */
static _Thread_local struct {
    bool holds;
    uint32_t count;
    int event_fds[HELD_MAXIMUM];
} held;

bool mailbox_init(struct mailbox *mailbox, struct error *err) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot create an eventfd");
    }
    atomic_init(&mailbox->newest, NULL);
    mailbox->event_fd = fd;
    return true;
}

void mailbox_fini(struct mailbox *mailbox) {
    if (mailbox->event_fd > 0) {
        ASSERT(atomic_load(&mailbox->newest) == NULL);
        close(mailbox->event_fd);
        mailbox->event_fd = -1;
    }
}

static void wake_owner(int event_fd) {
    /* Fails only if the counter is at its maximum, and then the fd is readable anyway. */
    ssize_t ignored = write(event_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}

/* False where there is no place for one more. */
static bool hold_wake(int event_fd) {
    for (uint32_t i = 0; i < held.count; i++) {
        if (held.event_fds[i] == event_fd) {
            return true;
        }
    }
    if (held.count == HELD_MAXIMUM) {
        return false;
    }
    held.event_fds[held.count++] = event_fd;
    return true;
}

void mailbox_hold(void) { held.holds = true; }

void mailbox_release(void) {
    held.holds = false;
    for (uint32_t i = 0; i < held.count; i++) {
        wake_owner(held.event_fds[i]);
    }
    held.count = 0;
}

void mailbox_send(struct mailbox *mailbox, struct letter *letter) {
    struct letter *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do {
        letter->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, letter,
                                                    memory_order_release, memory_order_relaxed));
    if (newest == NULL && !(held.holds && hold_wake(mailbox->event_fd))) {
        wake_owner(mailbox->event_fd);
    }
}

struct letter *mailbox_take_all(struct mailbox *mailbox) {
    /* The event is cleared first: a letter that arrives in between sets it again, which costs an empty
     * round; the other order could lose a wake-up. */
    uint64_t ignored_count;
    ssize_t ignored = read(mailbox->event_fd, &ignored_count, sizeof ignored_count);
    (void)ignored;
    struct letter *newest = atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire);
    struct letter *oldest = NULL;
    while (newest != NULL) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

struct letter *mailbox_wait(struct mailbox *mailbox) {
    for (;;) {
        struct letter *letters = mailbox_take_all(mailbox);
        if (letters != NULL) {
            return letters;
        }
        struct pollfd wanted = {.fd = mailbox->event_fd, .events = POLLIN};
        poll(&wanted, 1, -1);
    }
}
