/* The small things that everything stands on. */
#include "base/arena.h"
#include "base/error.h"
#include "base/heap.h"
#include "base/identity.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/text.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void an_error_is_filled_whole_and_prefixed(void **state) {
    (void)state;
    struct error err;
    assert_false(error_set_field(&err, ERROR_INVALID, "retry.backoff", "%d is too much", 7));
    assert_string_equal(err.field, "retry.backoff");
    assert_int_equal(error_kind_http_status(err.kind), 400);
    assert_false(error_prefix(&err, "run %s", "x"));
    assert_string_equal(err.message, "run x: 7 is too much");
    char text[2 * ERROR_MESSAGE_BYTES];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    error_set(&err, ERROR_INVALID, "%s", text);
    error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
}

static void every_error_kind_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int kind = ERROR_NONE; kind <= ERROR_USAGE; kind++) {
        const char *name = error_kind_wire_name((enum error_kind)kind);
        assert_int_equal(error_kind_from_wire_name(name), kind);
    }
    assert_int_equal(error_kind_from_wire_name("no such name"), ERROR_INTERNAL);
}

static void an_arena_keeps_what_it_gave_and_is_aligned(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena);
    char *first = arena_printf(&arena, "%s %d", "one", 1);
    for (size_t size = 1; size < 20000; size = size * 3 / 2 + 1) {
        unsigned char *memory = arena_alloc_zeroed(&arena, size);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 0xff, size);
    }
    assert_string_equal(first, "one 1");
    arena_reset(&arena);
    assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
    arena_fini(&arena);
    arena_fini(&arena);
}

static void text_remembers_that_it_passed_its_maximum(void **state) {
    (void)state;
    struct text text;
    text_init(&text, 8);
    text_append(&text, "12345678");
    assert_true(text_ok(&text));
    text_append_char(&text, '9');
    assert_false(text_ok(&text));
    assert_string_equal(text_string(&text), "12345678");
    text_reset(&text);
    text_printf(&text, "%d", 42);
    assert_true(text_ok(&text));
    char *taken = text_take(&text);
    assert_string_equal(taken, "42");
    free(taken);
    text_fini(&text);
}

static void a_json_string_escapes_what_json_forbids(void **state) {
    (void)state;
    static const struct {
        const char *from;
        const char *expected;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"\"\\", "\"\\\"\\\\\""},
        {"a\nb\x01", "\"a\\u000ab\\u0001\""},
        {"\x7f", "\"\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xff", "\"\xef\xbf\xbd\""},                                 /* no UTF-8 at all */
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* cut short */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct text text;
        text_init(&text, 100);
        text_append_json_string(&text, cases[i].from);
        assert_string_equal(text_string(&text), cases[i].expected);
        text_fini(&text);
    }
}

struct element {
    struct heap_handle handle;
    int64_t at_us;
    bool present;
};

static void a_heap_gives_the_earliest_first_whatever_is_moved_or_removed(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct element elements[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        heap_handle_init(&elements[i].handle);
        elements[i].present = false;
    }
    struct heap heap = {0};
    uint64_t seed = 1;
    for (int step = 0; step < 20000; step++) {
        struct element *element = &elements[next_random(&seed) % COUNT];
        if (next_random(&seed) % 3 == 0) {
            heap_remove(&heap, &element->handle);
            element->present = false;
        } else {
            element->at_us = (int64_t)(next_random(&seed) % 100);
            element->present = true;
            heap_put(&heap, &element->handle, element->at_us);
        }
        int64_t earliest = INT64_MAX;
        for (size_t i = 0; i < COUNT; i++) {
            if (elements[i].present && elements[i].at_us < earliest) {
                earliest = elements[i].at_us;
            }
        }
        const struct heap_item *first = heap_first(&heap);
        if (earliest == INT64_MAX) {
            assert_null(first);
        } else {
            assert_int_equal(first->rank, earliest);
            const struct element *got = CONTAINER_OF(first->handle, struct element, handle);
            assert_true(got->present && got->at_us == earliest);
        }
    }
    heap_fini(&heap);
}

static void a_map_agrees_with_a_plain_array(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static void *model[COUNT];
    static int64_t values[COUNT];
    struct map map = {0};
    uint64_t seed = 7;
    for (int step = 0; step < 60000; step++) {
        size_t i = next_random(&seed) % COUNT;
        int64_t key = (int64_t)(i + 1) << 10; /* like ids: the low bits are all the same */
        if (next_random(&seed) % 2 == 0) {
            values[i] = key;
            assert_ptr_equal(map_put(&map, &values[i]), model[i]);
            model[i] = &values[i];
        } else {
            assert_ptr_equal(map_remove(&map, key), model[i]);
            model[i] = NULL;
        }
        size_t probe = next_random(&seed) % COUNT;
        assert_ptr_equal(map_get(&map, (int64_t)(probe + 1) << 10), model[probe]);
    }
    map_fini(&map);
}

static void an_id_reads_back_and_belongs_to_one_store(void **state) {
    (void)state;
    struct identity_source source = {0};
    int64_t last = 0;
    for (int i = 0; i < 5000; i++) {
        /* the clock stands still, and goes back once */
        int64_t key = identity_next(&source, INT64_C(1800000000123456) - (i == 2500 ? 1000 : 0));
        assert_true(key > last);
        last = key;
        char text[UUID_TEXT_BYTES];
        identity_format(key, 0xabcdef0123456, text);
        assert_int_equal(text[14], '7');
        assert_non_null(strchr("89ab", text[19]));
        int64_t again = 0;
        assert_true(identity_parse(text, 0xabcdef0123456, &again));
        assert_int_equal(again, key);
        assert_false(identity_parse(text, 0xabcdef0123457, &again));
    }
}

static void what_is_no_id_is_refused(void **state) {
    (void)state;
    int64_t key = identity_next(&(struct identity_source){0}, INT64_C(1800000000123456));
    char text[UUID_TEXT_BYTES];
    identity_format(key, 5, text);
    int64_t out = -1;
    static const char *const bad[] = {"", "x", "00000000-0000-0000-0000-000000000000",
                                      "ffffffff-ffff-7fff-bfff-ffffffffffff",
                                      "01890a5d-ac96-774b-bcce-b302099a8057extra"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(identity_parse(bad[i], 5, &out));
    }
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char changed[UUID_TEXT_BYTES];
        memcpy(changed, text, sizeof changed);
        changed[i] = 'g';
        assert_false(identity_parse(changed, 5, &out));
    }
    assert_int_equal(out, -1);
}

enum { SENDERS = 4, LETTERS_EACH = 20000 };

struct numbered_letter {
    struct letter letter;
    int sender;
    int number;
};

struct sender {
    pthread_t thread;
    struct mailbox *mailbox;
    int index;
};

static void *send_letters(void *context) {
    struct sender *sender = context;
    for (int i = 0; i < LETTERS_EACH; i++) {
        struct numbered_letter *letter = must_alloc(sizeof *letter);
        letter->sender = sender->index;
        letter->number = i;
        mailbox_send(sender->mailbox, &letter->letter);
    }
    return NULL;
}

static void a_mailbox_loses_nothing_and_keeps_each_senders_order(void **state) {
    (void)state;
    struct mailbox mailbox;
    struct error err;
    assert_true(mailbox_init(&mailbox, &err));
    struct sender senders[SENDERS];
    int expected[SENDERS] = {0};
    for (int i = 0; i < SENDERS; i++) {
        senders[i].mailbox = &mailbox;
        senders[i].index = i;
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
    }
    for (int got = 0; got < SENDERS * LETTERS_EACH;) {
        struct letter *letters = mailbox_wait(&mailbox);
        while (letters != NULL) {
            struct numbered_letter *letter = CONTAINER_OF(letters, struct numbered_letter, letter);
            letters = letters->next;
            assert_int_equal(letter->number, expected[letter->sender]++);
            free(letter);
            got++;
        }
    }
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
    }
    assert_null(mailbox_take_all(&mailbox));
    mailbox_fini(&mailbox);
}

static bool is_readable(const struct mailbox *mailbox) {
    struct pollfd wanted = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    return poll(&wanted, 1, 0) == 1;
}

static void what_is_sent_while_held_is_there_at_once_and_wakes_at_the_end(void **state) {
    (void)state;
    enum { MANY = 12 }; /* more than a thread keeps in mind */
    struct mailbox mailboxes[MANY];
    struct letter letters[MANY][2];
    struct error err;
    for (int i = 0; i < MANY; i++) {
        assert_true(mailbox_init(&mailboxes[i], &err));
    }
    mailbox_hold();
    for (int i = 0; i < MANY; i++) {
        mailbox_send(&mailboxes[i], &letters[i][0]);
    }
    assert_false(is_readable(&mailboxes[0]));
    assert_ptr_equal(mailbox_take_all(&mailboxes[0]), &letters[0][0]);
    mailbox_send(&mailboxes[0], &letters[0][1]);
    mailbox_release();
    for (int i = 0; i < MANY; i++) {
        assert_true(is_readable(&mailboxes[i]));
        assert_ptr_equal(mailbox_take_all(&mailboxes[i]), &letters[i][i == 0 ? 1 : 0]);
        assert_false(is_readable(&mailboxes[i]));
        mailbox_fini(&mailboxes[i]);
    }
    struct mailbox afterwards;
    assert_true(mailbox_init(&afterwards, &err));
    mailbox_send(&afterwards, &letters[0][0]);
    assert_true(is_readable(&afterwards));
    assert_non_null(mailbox_take_all(&afterwards));
    mailbox_fini(&afterwards);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_filled_whole_and_prefixed),
        cmocka_unit_test(every_error_kind_has_a_name_of_its_own),
        cmocka_unit_test(an_arena_keeps_what_it_gave_and_is_aligned),
        cmocka_unit_test(text_remembers_that_it_passed_its_maximum),
        cmocka_unit_test(a_json_string_escapes_what_json_forbids),
        cmocka_unit_test(a_heap_gives_the_earliest_first_whatever_is_moved_or_removed),
        cmocka_unit_test(a_map_agrees_with_a_plain_array),
        cmocka_unit_test(an_id_reads_back_and_belongs_to_one_store),
        cmocka_unit_test(what_is_no_id_is_refused),
        cmocka_unit_test(a_mailbox_loses_nothing_and_keeps_each_senders_order),
        cmocka_unit_test(what_is_sent_while_held_is_there_at_once_and_wakes_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
