/* API keys, owners' names, the check of ownership. */
#include "../../store/world.h"
#include "../store/place.h"
#include "auth/auth.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state) {
    struct world *world = must_alloc_zeroed(1, sizeof *world);
    world_open(world, place_make());
    *state = world;
    return 0;
}

static int tear_down(void **state) {
    struct world *world = *state;
    const char *location = world->location;
    world_close(world);
    free(world);
    place_discard(location);
    return 0;
}

/* Makes and stores a key. */
static struct api_key make_key(struct world *world, const char *owner, bool admin,
                               char text[static API_KEY_TEXT_BYTES]) {
    struct api_key key;
    api_key_generate(owner, admin, world_now(world), text, &key);
    struct store_write write = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    world_write(world, &write);
    return key;
}

static bool authenticate(struct world *world, const char *authorization, const char *x_api_key,
                         struct principal *out, struct error *err) {
    struct credentials credentials = {.authorization = authorization, .x_api_key = x_api_key};
    return auth_authenticate(world->reader, NULL, &credentials, world_now(world), &world->arena,
                             out, err);
}

static void assert_refused(struct world *world, const char *authorization, const char *x_api_key) {
    struct principal principal = {.owner = "untouched"};
    struct error err;
    assert_false(authenticate(world, authorization, x_api_key, &principal, &err));
    assert_int_equal(err.kind, ERROR_UNAUTHENTICATED);
    assert_string_equal(principal.owner, "untouched");
}

static void a_key_has_its_shape_and_is_never_the_same(void **state) {
    (void)state;
    char first[API_KEY_TEXT_BYTES];
    char second[API_KEY_TEXT_BYTES];
    struct api_key key;
    api_key_generate("alice", true, (struct wall_time){5}, first, &key);
    assert_int_equal(strlen(first), 64);
    assert_memory_equal(first, "ork_", 4);
    assert_memory_equal(first + 4, key.id, 16);
    assert_int_equal(strspn(key.id, "0123456789abcdef"), 16);
    assert_int_equal(first[20], '_');
    assert_int_equal(strspn(first + 21, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789-_"),
                     43);
    assert_true(key.admin);
    assert_int_equal(key.created_at.us, 5);
    assert_true(wall_time_is_none(key.revoked_at));
    unsigned char hash[32];
    crypto_generichash(hash, sizeof hash, (const unsigned char *)first, 64, NULL, 0);
    assert_memory_equal(hash, key.hash, sizeof hash);
    api_key_generate("alice", true, (struct wall_time){5}, second, &key);
    assert_string_not_equal(first, second);
    api_key_wipe(first);
    for (size_t i = 0; i < sizeof first; i++) {
        assert_int_equal(first[i], 0);
    }
}

static void a_key_opens_the_door_in_every_accepted_form(void **state) {
    struct world *world = *state;
    char alice[API_KEY_TEXT_BYTES];
    char root[API_KEY_TEXT_BYTES];
    make_key(world, "alice", false, alice);
    make_key(world, "root", true, root);
    const char *const forms[][2] = {
        {"Bearer ", ""}, {"bearer ", ""}, {"BEARER   ", ""}, {"Bearer ", " "}};
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct principal principal;
        struct error err;
        char *header = arena_printf(&world->arena, "%s%s%s", forms[i][0], alice, forms[i][1]);
        assert_true(authenticate(world, header, NULL, &principal, &err));
        assert_string_equal(principal.owner, "alice");
        assert_false(principal.admin);
    }
    struct principal principal;
    struct error err;
    assert_true(authenticate(world, NULL, root, &principal, &err));
    assert_string_equal(principal.owner, "root");
    assert_true(principal.admin);
    /* Authorization goes first, also when it is wrong. */
    assert_refused(world, "Bearer nonsense", root);
}

static void whatever_is_not_a_key_in_force_is_refused(void **state) {
    struct world *world = *state;
    char text[API_KEY_TEXT_BYTES];
    struct api_key key = make_key(world, "alice", true, text);
    const char *const headers[] = {
        "",         "Bearer",  "Bearer ",     "Basic YWxpY2U6c2VjcmV0",
        "Bearer x", "Bearerx", "Bearer ork_", "Bearer ork_0123456789abcdef_",
        "Token t"};
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        assert_refused(world, headers[i], NULL);
    }
    assert_refused(world, NULL, NULL);
    assert_refused(world, NULL, "");
    assert_refused(world, arena_printf(&world->arena, "Bearer %s %s", text, text), NULL);
    assert_refused(world, NULL, arena_printf(&world->arena, "%sA", text));
    /* Each character counts. */
    for (size_t i = 0; i < API_KEY_TEXT_BYTES - 1; i++) {
        char changed[API_KEY_TEXT_BYTES];
        memcpy(changed, text, sizeof changed);
        changed[i] = changed[i] == 'a' ? 'b' : 'a';
        assert_refused(world, NULL, changed);
    }
    struct principal principal;
    struct error err;
    assert_true(authenticate(world, NULL, text, &principal, &err));
    key.revoked_at = (struct wall_time){9};
    struct store_write revoke = {.kind = STORE_REVOKE_API_KEY, .api_key = &key};
    world_write(world, &revoke);
    assert_refused(world, NULL, text);
}

static void unknown_wrong_and_revoked_keys_get_the_same_words(void **state) {
    struct world *world = *state;
    char text[API_KEY_TEXT_BYTES];
    struct api_key key = make_key(world, "alice", true, text);
    char wrong[API_KEY_TEXT_BYTES];
    memcpy(wrong, text, sizeof wrong);
    wrong[40] = wrong[40] == 'a' ? 'b' : 'a';
    char unknown[API_KEY_TEXT_BYTES];
    struct api_key never_stored;
    api_key_generate("alice", false, world_now(world), unknown, &never_stored);
    key.revoked_at = world_now(world);
    struct store_write revoke = {.kind = STORE_REVOKE_API_KEY, .api_key = &key};
    world_write(world, &revoke);
    const char *const keys[] = {wrong, unknown, text, "short", ""};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct principal principal;
        struct error err;
        assert_false(authenticate(world, NULL, keys[i], &principal, &err));
        assert_string_equal(err.message, "the API key is not valid");
    }
}

static void only_the_owner_and_an_admin_may_see(void **state) {
    (void)state;
    struct principal alice = {.owner = "alice"};
    struct principal root = {.owner = "root", .admin = true};
    assert_true(auth_may_see(&alice, "alice"));
    assert_false(auth_may_see(&alice, "bob"));
    assert_false(auth_may_see(&alice, "Alice"));
    assert_false(auth_may_see(&alice, "alice2"));
    assert_false(auth_may_see(&alice, "alic"));
    assert_false(auth_may_see(&alice, ""));
    assert_true(auth_may_see(&root, "bob"));
}

/* --- owners' names ----------------------------------------------------------------------------------- */

static void an_owner_is_a_printable_name(void **state) {
    (void)state;
    struct error err;
    char longest[OWNER_BYTES];
    for (size_t i = 0; i < OWNER_CHARACTERS_MAXIMUM; i++) {
        memcpy(longest + 4 * i, "\xf0\x9f\xaa\x90", 4);
    }
    longest[sizeof longest - 1] = '\0';
    const char *const good[] = {"a",
                                "alice",
                                "alice@example.org",
                                "Bj\xc3\xb6rn Borg",
                                "\xe6\x98\x9f",
                                "a'b",
                                "\xf4\x8f\xbf\xbd",
                                longest};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(owner_check(good[i], &err));
    }
    char too_long[OWNER_CHARACTERS_MAXIMUM + 2];
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    const char *const bad[] = {"",
                               " a",
                               "a ",
                               "a\nb",
                               "a\tb",
                               "\x7f",
                               "\xff",
                               "\xc3",
                               too_long,
                               "\xc2\x80",         /* C1 */
                               "\xc0\x80",         /* overlong */
                               "\xe0\x80\xaf",     /* overlong */
                               "\xed\xa0\x80",     /* a surrogate */
                               "\xf4\x90\x80\x80", /* beyond the last character */
                               "\xf0\x9f\xaa",     /* cut short */
                               "\xe2\x80\xa8",     /* a line separator */
                               "x\xe2\x80\xae",    /* right-to-left override */
                               "\xe2\x81\xa6"};    /* an isolate */
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (owner_check(bad[i], &err)) {
            fail_msg("accepted number %zu", i);
        }
        assert_int_equal(err.kind, ERROR_INVALID);
        assert_string_equal(err.field, "owner");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_its_shape_and_is_never_the_same),
        cmocka_unit_test_setup_teardown(a_key_opens_the_door_in_every_accepted_form, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(whatever_is_not_a_key_in_force_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(unknown_wrong_and_revoked_keys_get_the_same_words, set_up,
                                        tear_down),
        cmocka_unit_test(only_the_owner_and_an_admin_may_see),
        cmocka_unit_test(an_owner_is_a_printable_name),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
