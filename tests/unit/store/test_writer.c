/* The writer's batches, over a driver that counts. */
#include "store/writer.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WRITES = 40, PARAMETERS_BYTES = 1 << 20 };

/* What the driver saw. The writer's thread writes it, the test reads it after the thread has ended. */
struct store_session {
    size_t applied_in_batch;
    size_t batch_count;
    size_t largest_batch;
    int64_t last_key;
};

static bool begin_batch(struct store_session *session, struct wall_time now, struct error *err) {
    (void)now;
    (void)err;
    session->applied_in_batch = 0;
    return true;
}

/* Hands out parameters that are large, as a record of a running execution whose run has such ones. */
static enum store_applied apply(struct store_session *session, struct store_write *write) {
    assert_int_equal(write->execution_key, session->last_key + 1); /* in order, none twice */
    session->last_key = write->execution_key;
    session->applied_in_batch++;
    write->out_parameters = must_alloc(PARAMETERS_BYTES + 1);
    memset(write->out_parameters, ' ', PARAMETERS_BYTES);
    write->out_parameters[PARAMETERS_BYTES] = '\0';
    return STORE_APPLIED;
}

static bool commit(struct store_session *session, struct error *err) {
    (void)err;
    session->batch_count++;
    session->largest_batch = MAX_OF(session->largest_batch, session->applied_in_batch);
    return true;
}

static bool rest(struct store_session *session, struct wall_time now, bool idle) {
    (void)session;
    (void)now;
    (void)idle;
    return false;
}

static const struct store_driver counting = {
    .name = "counting", .begin = begin_batch, .apply = apply, .commit = commit, .rest = rest};

static void take(struct store_write *write) {
    free(write->out_parameters);
    write->out_parameters = NULL;
    sem_post(write->context);
}

static void a_batch_ends_where_its_writes_have_handed_out_so_much(void **state) {
    (void)state;
    struct store_session session = {0};
    struct store_writer writer;
    struct error err;
    sem_t answered;
    assert_int_equal(sem_init(&answered, 0, 0), 0);
    assert_true(store_writer_init(&writer, &counting, &session, "nowhere", &err));
    static struct store_write writes[WRITES];
    for (int i = 0; i < WRITES; i++) {
        writes[i] = (struct store_write){
            .kind = STORE_START, .execution_key = i + 1, .done = take, .context = &answered};
        mailbox_send(&writer.mailbox, &writes[i].letter);
    }
    assert_true(store_writer_start(&writer, &err)); /* all of them wait for it */
    store_writer_stop(&writer);
    for (int i = 0; i < WRITES; i++) {
        assert_true(writes[i].ok);
        assert_int_equal(sem_trywait(&answered), 0);
    }
    assert_int_equal(session.largest_batch, WRITER_BATCH_BYTES_MAXIMUM / PARAMETERS_BYTES);
    assert_int_equal(session.batch_count, WRITES / session.largest_batch);
    store_writer_fini(&writer);
    sem_destroy(&answered);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_ends_where_its_writes_have_handed_out_so_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
