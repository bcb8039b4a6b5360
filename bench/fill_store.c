/* Fills a store with runs through the store's own interface, as the service does when they are created, but without
 * a client for each. bench/schedules.py uses it to have a million.
 *
 *   fill_store DB COUNT          spread over the minutes of the day
 *   fill_store DB COUNT HH:MM    all due at that minute (UTC) of each day */
#include "base/identity.h"
#include "clock/clock.h"
#include "store/store.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

enum { OUTSTANDING = 4096, MINUTES_OF_A_DAY = 24 * 60 };

struct creation {
    struct store_write write;
    struct run run;
    char schedule[24];
};

static sem_t room; /* for creations under way */

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fprintf(stderr, "fill_store: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe)
    }
}

static void created(struct store_write *write) {
    must(write->ok, &write->err);
    free(CONTAINER_OF(write, struct creation, write));
    sem_post(&room);
}

static void wait_for_room(void) {
    while (sem_wait(&room) != 0) {
        /* a signal; wait on */
    }
}

static struct wall_time first_slot(const struct run *run, struct wall_time now) {
    struct timetable timetable;
    struct error err;
    must(timetable_init(&timetable, run, &err), &err);
    struct wall_time slot = timetable_next(&timetable, now);
    timetable_fini(&timetable);
    return slot;
}

static void create(struct store *store, int64_t key, unsigned minute, struct wall_time now) {
    struct creation *creation = must_alloc_zeroed(1, sizeof *creation);
    snprintf(creation->schedule, sizeof creation->schedule, "%u %u * * *", minute % 60,
             minute / 60 % 24);
    creation->run = run_defaults();
    struct run *run = &creation->run;
    run->key = key;
    run->owner = "bench";
    run->model_name = "diabetes";
    run->schedule = creation->schedule;
    run->parameters = "{\"data\":[[52,1,28.5,110,195,97.2,60,3,5.2417,85]]}";
    run->created_at = run->updated_at = now;
    run->next_run = first_slot(run, now);
    creation->write =
        (struct store_write){.kind = STORE_CREATE_RUN, .done = created, .run = &creation->run};
    store_submit(store, &creation->write);
}

int main(int argument_count, char **arguments) {
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned long count = argument_count < 3 ? 0 : strtoul(arguments[2], NULL, 10);
    bool at_once = argument_count == 4;
    if (count == 0 || argument_count > 4 ||
        (at_once && sscanf(arguments[3], "%2u:%2u", &hour, &minute) != 2)) { // NOLINT(cert-err34-c)
        fprintf(stderr, "usage: fill_store DB COUNT [HH:MM]\n");
        return 2;
    }
    struct store *store;
    struct error err;
    struct store_options options = {.location = arguments[1], .exclusive = true};
    must(store_open(&options, &store, &err), &err);
    must(store_start(store, &err), &err);
    struct identity_source keys;
    identity_source_init(&keys, store_greatest_run_key(store));
    struct wall_time now = clock_wall_now(clock_system());
    sem_init(&room, 0, OUTSTANDING);
    for (unsigned long i = 0; i < count; i++) {
        wait_for_room();
        unsigned spread = (unsigned)(i % MINUTES_OF_A_DAY);
        create(store, identity_next(&keys, now.us), at_once ? hour * 60 + minute : spread, now);
    }
    for (int i = 0; i < OUTSTANDING; i++) {
        wait_for_room();
    }
    store_stop(store);
    store_close(store);
    sem_destroy(&room);
    return 0;
}
