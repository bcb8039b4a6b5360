#include "store/writer.h"

#include "clock/clock.h"
#include "observe/log.h"

#include <stdlib.h>
#include <string.h>

static struct store_write *write_of(struct letter *letter) {
    return CONTAINER_OF(letter, struct store_write, letter);
}

static size_t text_bytes(const char *text) { return text == NULL ? 0 : strlen(text); }

/* About how many bytes the write brings to the disk, for the bound of a batch. */
static size_t write_bytes(const struct store_write *write) {
    size_t bytes = 0;
    if (write->run != NULL) {
        bytes += text_bytes(write->run->parameters) + text_bytes(write->run->description);
    }
    if (write->execution != NULL) {
        bytes += text_bytes(write->execution->result);
    }
    if (write->record != NULL) {
        bytes += text_bytes(write->record->parameters);
        if (write->record->finished != NULL) {
            bytes += text_bytes(write->record->finished->result);
        }
    }
    return bytes;
}

/* Cuts a batch off the front of the mail. */
static struct letter *cut_batch(struct letter **mail) {
    struct letter *first = *mail;
    struct letter *last = first;
    size_t count = 1;
    size_t bytes = write_bytes(write_of(first));
    while (last->next != NULL && count < WRITER_BATCH_MAXIMUM &&
           bytes < WRITER_BATCH_BYTES_MAXIMUM) {
        last = last->next;
        count++;
        bytes += write_bytes(write_of(last));
    }
    *mail = last->next;
    last->next = NULL;
    return first;
}

static void put_back(struct letter **mail, struct letter *left) {
    struct letter **end = &left;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = *mail;
    *mail = left;
}

static void forget_outputs(struct store_write *write) {
    free(write->out_parameters);
    write->out_parameters = NULL;
    write->out_revision = 0;
}

static void fail_batch(struct letter *batch, const struct error *err) {
    for (struct letter *letter = batch; letter != NULL; letter = letter->next) {
        struct store_write *write = write_of(letter);
        forget_outputs(write);
        write->ok = false;
        write->err = *err;
    }
}

/* `done` may free the write, so its successor is read first. */
static void answer_batch(struct letter *batch) {
    mailbox_hold();
    while (batch != NULL) {
        struct letter *next = batch->next;
        struct store_write *write = write_of(batch);
        write->done(write);
        batch = next;
    }
    mailbox_release();
}

/* Carries out the batch in one transaction. If a write turns out to be one that cannot be carried out at
 * all, it is answered alone and the rest is done again without it: `*batch` is then what remains. What writes hand out
 * has the same bound as what they bring, and is known only now: those after it are `*out_left`, for another batch. */
static bool try_batch(struct store_writer *writer, struct letter **batch, struct letter **out_left,
                      struct error *err) {
    const struct store_driver *driver = writer->driver;
    *out_left = NULL;
    for (;;) {
        if (*batch == NULL) {
            return true;
        }
        if (!driver->begin(writer->session, clock_wall_now(clock_system()), err)) {
            return false;
        }
        struct letter **link = batch;
        enum store_applied applied = STORE_APPLIED;
        size_t handed_out_bytes = 0;
        while (*link != NULL && handed_out_bytes < WRITER_BATCH_BYTES_MAXIMUM) {
            struct store_write *write = write_of(*link);
            forget_outputs(write);
            applied = driver->apply(writer->session, write);
            write->ok = applied == STORE_APPLIED;
            if (applied == STORE_WRITE_FAILED || applied == STORE_FAILED) {
                break;
            }
            handed_out_bytes += text_bytes(write->out_parameters);
            link = &(*link)->next;
        }
        if (applied == STORE_WRITE_FAILED) {
            driver->rollback(writer->session);
            struct letter *failed = *link;
            *link = failed->next;
            failed->next = NULL;
            log_event(LOG_ERROR, "store_write_failed", LOG_FAILURE(&write_of(failed)->err));
            write_of(failed)->err.kind = ERROR_INTERNAL;
            forget_outputs(write_of(failed));
            answer_batch(failed);
            continue;
        }
        if (applied == STORE_FAILED) {
            *err = write_of(*link)->err;
            driver->rollback(writer->session);
            return false;
        }
        *out_left = *link;
        *link = NULL;
        if (!driver->commit(writer->session, err)) {
            driver->rollback(writer->session);
            return false;
        }
        return true;
    }
}

static void do_batch(struct store_writer *writer, struct letter **mail) {
    struct letter *batch = cut_batch(mail);
    struct letter *left;
    struct error err;
    bool ok = try_batch(writer, &batch, &left, &err);
    put_back(mail, left);
    if (!ok) {
        fail_batch(batch, &err);
        if (!writer->failing) {
            log_event(LOG_ERROR, "store_failed", LOG_STRING("db", writer->location),
                      LOG_FAILURE(&err));
        }
    } else if (writer->failing) {
        log_event(LOG_INFO, "store_recovered", LOG_STRING("db", writer->location));
    }
    writer->failing = !ok;
    answer_batch(batch);
}

/* Takes the letter that ends the thread out of the mail; true if it was there. */
static bool take_stop(struct store_writer *writer, struct letter **mail) {
    for (struct letter **link = mail; *link != NULL; link = &(*link)->next) {
        if (*link == &writer->stop.letter) {
            *link = (*link)->next;
            return true;
        }
    }
    return false;
}

static void *run_thread(void *context) {
    struct store_writer *writer = context;
    struct letter *mail = NULL;
    bool stopping = false;
    bool more_upkeep = true; /* the last process may have left some */
    for (;;) {
        if (mail == NULL) {
            mail = more_upkeep || stopping ? mailbox_take_all(&writer->mailbox)
                                           : mailbox_wait(&writer->mailbox);
            stopping = take_stop(writer, &mail) || stopping;
        }
        if (mail == NULL && stopping) {
            return NULL;
        }
        if (mail != NULL) {
            do_batch(writer, &mail);
        }
        if (mail == NULL) {
            mail = mailbox_take_all(&writer->mailbox);
            stopping = take_stop(writer, &mail) || stopping;
        }
        more_upkeep =
            writer->driver->rest(writer->session, clock_wall_now(clock_system()), mail == NULL);
    }
}

bool store_writer_init(struct store_writer *writer, const struct store_driver *driver,
                       struct store_session *session, const char *location, struct error *err) {
    *writer = (struct store_writer){.driver = driver, .session = session};
    if (!mailbox_init(&writer->mailbox, err)) {
        return false;
    }
    writer->location = must_strdup(location);
    return true;
}

bool store_writer_start(struct store_writer *writer, struct error *err) {
    ASSERT(!writer->started);
    int failed = pthread_create(&writer->thread, NULL, run_thread, writer);
    if (failed != 0) {
        return error_set_errno(err, ERROR_IO, failed, "cannot start the store's writer thread");
    }
    pthread_setname_np(writer->thread, "store-writer");
    writer->started = true;
    return true;
}

void store_writer_stop(struct store_writer *writer) {
    if (!writer->started) {
        return;
    }
    mailbox_send(&writer->mailbox, &writer->stop.letter);
    pthread_join(writer->thread, NULL);
    writer->started = false;
}

void store_writer_fini(struct store_writer *writer) {
    store_writer_stop(writer);
    mailbox_fini(&writer->mailbox);
    free(writer->location);
}
