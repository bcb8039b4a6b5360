#include "store/shelf.h"

#include "observe/log.h"
#include "store/results.h"

#include <stdlib.h>
#include <string.h>

/* The execution that the write ends, or NULL. */
static const struct execution *ended_by(const struct store_write *write) {
    switch (write->kind) {
    case STORE_FINISH:
        return write->execution;
    case STORE_RECORD:
        return write->record->finished;
    default:
        return NULL;
    }
}

bool shelf_wants(const struct shelf *shelf, const struct store_write *write) {
    const struct execution *ended = ended_by(write);
    size_t maximum = shelf->inline_bytes_maximum;
    return maximum > 0 && ended != NULL && ended->result != NULL &&
           strnlen(ended->result, maximum + 1) > maximum;
}

static void shelve(struct shelf *shelf, struct store_write *write) {
    const struct execution *ended = ended_by(write);
    size_t size_bytes = strlen(ended->result);
    struct error err;
    bool ok = results_write(shelf->folder, ended->key, ended->result, size_bytes, &err);
    if (!ok && !shelf->failing) {
        log_event(LOG_ERROR, "store_result_failed", LOG_FAILURE(&err));
    }
    shelf->failing = !ok;
    if (!ok) {
        write->ok = false;
        write->err = err;
        write->done(write);
        return;
    }
    write->result_file_bytes = size_bytes;
    mailbox_send(shelf->writer, &write->letter);
}

static void *run_thread(void *context) {
    struct shelf *shelf = context;
    for (;;) {
        struct letter *letter = mailbox_wait(&shelf->mailbox);
        bool stopping = false;
        while (letter != NULL) {
            struct letter *next = letter->next;
            if (letter == &shelf->stop.letter) {
                stopping = true;
            } else {
                shelve(shelf, CONTAINER_OF(letter, struct store_write, letter));
            }
            letter = next;
        }
        if (stopping) {
            return NULL;
        }
    }
}

bool shelf_init(struct shelf *shelf, const char *location, size_t inline_bytes_maximum,
                struct mailbox *writer, struct error *err) {
    *shelf = (struct shelf){.inline_bytes_maximum = inline_bytes_maximum, .writer = writer};
    if (!mailbox_init(&shelf->mailbox, err)) {
        return false;
    }
    shelf->folder = results_folder(location);
    return true;
}

bool shelf_start(struct shelf *shelf, struct error *err) {
    ASSERT(!shelf->started);
    int failed = pthread_create(&shelf->thread, NULL, run_thread, shelf);
    if (failed != 0) {
        return error_set_errno(err, ERROR_IO, failed, "cannot start the thread for large results");
    }
    pthread_setname_np(shelf->thread, "store-results");
    shelf->started = true;
    return true;
}

void shelf_stop(struct shelf *shelf) {
    if (shelf->started) {
        mailbox_send(&shelf->mailbox, &shelf->stop.letter);
        pthread_join(shelf->thread, NULL);
        shelf->started = false;
    }
}

void shelf_fini(struct shelf *shelf) {
    shelf_stop(shelf);
    mailbox_fini(&shelf->mailbox);
    free(shelf->folder);
}
