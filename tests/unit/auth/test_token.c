/* Signed tokens: what opens the door, and that nothing else does. */
#include "auth/token.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char secret_text[] = "0123456789abcdef0123456789abcdef";
static const char header_hs256[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
static const struct wall_time now = {INT64_C(1800000000) * US_PER_SECOND};
static struct token_verifier *verifier;

enum { TEXT_BYTES = 16384 };

/* --- making tokens -------------------------------------------------------------------------------- */

static void write_secret(char *path, const char *secret, size_t secret_bytes, mode_t mode) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, secret, secret_bytes), secret_bytes);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* Appends base64url. */
static void encode(const void *bytes, size_t size_bytes, char text[static TEXT_BYTES]) {
    size_t used = strlen(text);
    sodium_bin2base64(text + used, TEXT_BYTES - used, bytes, size_bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* A token by the book, independent of what verifies it: HMAC-SHA-256 of both parts (RFC 7515, appendix A.1). */
static void make_token(const char *header, const char *claims, const char *secret,
                       char out[static TEXT_BYTES]) {
    out[0] = '\0';
    encode(header, strlen(header), out);
    strcat(out, ".");
    encode(claims, strlen(claims), out);
    crypto_auth_hmacsha256_state state;
    unsigned char signature[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)out, strlen(out));
    crypto_auth_hmacsha256_final(&state, signature);
    strcat(out, ".");
    encode(signature, sizeof signature, out);
}

static const char good_claims[] =
    "{\"sub\":\"alice\",\"aud\":\"orrery\",\"iat\":1800000000,\"exp\":1800000060}";

static void assert_refused(const char *token, const char *reason) {
    struct principal principal = {.owner = "untouched"};
    struct error err;
    if (token_verify(verifier, token, strlen(token), now, &principal, &err)) {
        fail_msg("accepted %s", token);
    }
    assert_int_equal(err.kind, ERROR_UNAUTHENTICATED);
    assert_string_equal(principal.owner, "untouched");
    if (strstr(err.message, reason) == NULL) {
        fail_msg("'%s' does not say '%s'", err.message, reason);
    }
}

static int set_up(void **state) {
    (void)state;
    char path[] = "/tmp/orrery-secret-XXXXXX";
    struct error err;
    assert_true(sodium_init() >= 0);
    write_secret(path, secret_text, sizeof secret_text - 1, 0600);
    bool ok = token_verifier_new(path, &verifier, &err);
    unlink(path);
    assert_true(ok);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    token_verifier_free(verifier);
    return 0;
}

/* --- tokens --------------------------------------------------------------------------------------- */

static void a_token_stands_for_its_subject(void **state) {
    (void)state;
    const struct {
        const char *claims;
        const char *owner;
        bool admin;
    } cases[] = {
        {good_claims, "alice", false},
        {"{\"sub\":\"Bj\\u00f6rn\",\"aud\":[\"x\",\"orrery\"],\"iat\":1800000000.5,\"exp\":"
         "1800000600,"
         "\"nbf\":1800000030,\"admin\":true,\"jti\":\"7\",\"more\":{\"sub\":1}}",
         "Bj\xc3\xb6rn", true},
        {"{\"admin\":false,\"exp\":1800000001,\"iat\":1799999401,\"aud\":\"orrery\",\"sub\":\"b\"}",
         "b", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char token[TEXT_BYTES];
        struct principal principal;
        struct error err;
        make_token(header_hs256, cases[i].claims, secret_text, token);
        if (!token_verify(verifier, token, strlen(token), now, &principal, &err)) {
            fail_msg("case %zu: %s", i, err.message);
        }
        assert_string_equal(principal.owner, cases[i].owner);
        assert_int_equal(principal.admin, cases[i].admin);
    }
}

static void only_the_secret_makes_a_token(void **state) {
    (void)state;
    char token[TEXT_BYTES];
    make_token(header_hs256, good_claims, "0123456789abcdef0123456789abcdeF", token);
    assert_refused(token, "signature is not valid");
    make_token(header_hs256, good_claims, "", token);
    assert_refused(token, "signature is not valid");
    make_token(header_hs256, good_claims, secret_text, token);
    struct principal principal;
    struct error err;
    size_t bytes = strlen(token);
    for (size_t i = 0; i < bytes; i++) { /* each character counts, but for the last's unused bits */
        char was = token[i];
        token[i] = was == 'a' ? 'q' : 'a';
        assert_false(token_verify(verifier, token, bytes, now, &principal, &err));
        assert_int_equal(err.kind, ERROR_UNAUTHENTICATED);
        token[i] = was;
    }
    for (size_t i = 0; i < bytes; i++) { /* each length, too */
        assert_false(token_verify(verifier, token, i, now, &principal, &err));
    }
    assert_true(token_verify(verifier, token, bytes, now, &principal, &err));
}

static void the_algorithm_is_the_keys_and_never_the_tokens(void **state) {
    (void)state;
    const char *const headers[] = {"{\"alg\":\"none\"}",
                                   "{\"alg\":\"None\"}",
                                   "{\"alg\":\"NONE\"}",
                                   "{\"alg\":\"HS384\"}",
                                   "{\"alg\":\"HS512\"}",
                                   "{\"alg\":\"hs256\"}",
                                   "{\"alg\":\"\"}",
                                   "{\"alg\":null}",
                                   "{\"alg\":256}",
                                   "{\"typ\":\"JWT\"}",
                                   "{}",
                                   "{\"alg\":[\"HS256\"]}",
                                   "{\"alg\":\"RS256\"}",
                                   "{\"alg\":\"ES256\"}",
                                   "{\"alg\":\"PS256\"}"};
    char token[TEXT_BYTES];
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        make_token(headers[i], good_claims, secret_text, token);
        assert_refused(token, "the token ");
        *strrchr(token, '.') = '\0';
        assert_refused(token, "the token ");
        strcat(token, ".");
        assert_refused(token, "the token ");
    }
    /* A key that comes along in the header, or a place to fetch one from, is not looked at. */
    make_token("{\"alg\":\"HS256\",\"jku\":\"http://127.0.0.1:9/"
               "\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}",
               good_claims, "\x01\x02\x03", token);
    assert_refused(token, "signature is not valid");
    make_token("{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", good_claims, secret_text,
               token);
    assert_refused(token, "crit");
}

static void what_is_no_token_is_refused(void **state) {
    (void)state;
    const char *const texts[] = {".",
                                 "..",
                                 "...",
                                 "a.b.c",
                                 "....",
                                 "eyJ.eyJ.",
                                 "\xff.\xfe.\xfd",
                                 "e30.e30.e30",
                                 "=.=.=",
                                 "eyJ.eyJgwMDAwMDYw=fQ.HJRG",
                                 "eyJhb.e30.e30",
                                 "e30=.e30.e30",
                                 "e30.e30",
                                 "e30.e30.e30.e30",
                                 "e30..e30"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_refused(texts[i], "the token ");
    }
    char token[TEXT_BYTES];
    char claims[TOKEN_BYTES_MAXIMUM + 200];
    snprintf(claims, sizeof claims,
             "{\"sub\":\"alice\",\"aud\":\"orrery\",\"iat\":1800000000,\"exp\":1800000060,\"x\":\"%"
             "0*d\"}",
             TOKEN_BYTES_MAXIMUM, 0);
    make_token(header_hs256, claims, secret_text, token);
    assert_refused(token, "at most 4096 bytes");
}

static void claims_that_are_missing_or_wrong_are_named(void **state) {
    (void)state;
#define REST "\"aud\":\"orrery\",\"iat\":1800000000,\"exp\":1800000060"
#define TIMES "\"iat\":1800000000,\"exp\":1800000060"
#define WHO "\"sub\":\"alice\",\"aud\":\"orrery\""
    const char *const cases[][2] = {
        {" ", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"{} ,", "not a JSON object"},
        {"{" REST "}", "`sub`"},
        {"{\"sub\":7," REST "}", "`sub`"},
        {"{\"sub\":\"\"," REST "}", "`sub`: an owner's name must not be empty"},
        {"{\"sub\":\"a\\nb\"," REST "}", "`sub`: an owner's name must not have control"},
        {"{\"sub\":\"alice\\u0000\"," REST "}", "`sub`"},
        {"{\"sub\":\"alice\",\"sub\":\"root\"," REST "}", "`sub` twice"},
        {"{\"sub\":\"alice\"," TIMES "}", "`aud`"},
        {"{\"sub\":\"alice\",\"aud\":\"other\"," TIMES "}", "`aud`"},
        {"{\"sub\":\"alice\",\"aud\":[\"other\"]," TIMES "}", "`aud`"},
        {"{\"sub\":\"alice\",\"aud\":{\"orrery\":1}," TIMES "}", "`aud`"},
        {"{\"sub\":\"alice\",\"aud\":\"orrery \"," TIMES "}", "`aud`"},
        {"{" WHO ",\"iat\":1800000000}", "`exp`"},
        {"{" WHO ",\"exp\":1800000060}", "`iat`"},
        {"{" WHO ",\"iat\":1800000000,\"exp\":\"1800000060\"}", "`exp`"},
        {"{" WHO ",\"iat\":-1,\"exp\":1800000060}", "`iat`"},
        {"{" WHO ",\"iat\":1800000000,\"exp\":1e300}", "`exp`"},
        {"{" WHO ",\"iat\":1800000000,\"exp\":null}", "`exp`"},
        {"{" WHO "," TIMES ",\"exp\":1900000000}", "`exp` twice"},
        {"{" WHO ",\"iat\":1799999940,\"exp\":1800000000}", "has expired"},
        {"{" WHO ",\"iat\":1800000000,\"exp\":1800000601}", "within 600 seconds"},
        {"{" WHO ",\"iat\":0,\"exp\":1800000060}", "within 600 seconds"},
        {"{" WHO ",\"iat\":1800000031,\"exp\":1800000060}", "not valid yet"},
        {"{" WHO "," TIMES ",\"nbf\":1800000031}", "not valid yet"},
        {"{" WHO "," TIMES ",\"nbf\":\"x\"}", "`nbf`"},
        {"{" WHO "," TIMES ",\"admin\":1}", "`admin`"},
        {"{" WHO "," TIMES ",\"admin\":\"true\"}", "`admin`"},
        {"{" WHO "," TIMES ",\"admin\":null}", "`admin`"},
        {"{" WHO "," TIMES ",\"admin\":false,\"admin\":true}", "`admin` twice"},
        {"{" WHO "," TIMES ",\"a\\u0064min\":false,\"admin\":true}", "`admin` twice"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char token[TEXT_BYTES];
        make_token(header_hs256, cases[i][0], secret_text, token);
        assert_refused(token, cases[i][1]);
    }
}

/* --- the secret ----------------------------------------------------------------------------------- */

static bool try_secret(const char *secret, size_t secret_bytes, mode_t mode, struct error *err) {
    char path[] = "/tmp/orrery-secret-XXXXXX";
    struct token_verifier *made = NULL;
    write_secret(path, secret, secret_bytes, mode);
    bool ok = token_verifier_new(path, &made, err);
    unlink(path);
    token_verifier_free(made);
    if (!ok) {
        assert_int_equal(err->kind, ERROR_USAGE);
        assert_string_equal(err->field, "token-secret-file");
        assert_null(strstr(err->message, "0123456789"));
    }
    return ok;
}

static void the_secret_is_long_and_its_owners_alone(void **state) {
    (void)state;
    struct error err;
    assert_true(try_secret(secret_text, 32, 0600, &err));
    assert_true(try_secret(secret_text, 32, 0400, &err));
    const mode_t open_modes[] = {0640, 0604, 0660, 0620, 0601};
    for (size_t i = 0; i < COUNT_OF(open_modes); i++) {
        assert_false(try_secret(secret_text, 32, open_modes[i], &err));
        assert_non_null(strstr(err.message, "chmod 600"));
    }
    assert_false(try_secret(secret_text, 31, 0600, &err));
    assert_non_null(strstr(err.message, "fewer"));
    assert_false(try_secret("", 0, 0600, &err));
    static char long_secret[TOKEN_SECRET_BYTES_MAXIMUM + 2];
    memset(long_secret, 'x', sizeof long_secret);
    assert_true(try_secret(long_secret, TOKEN_SECRET_BYTES_MAXIMUM, 0600, &err));
    assert_false(try_secret(long_secret, TOKEN_SECRET_BYTES_MAXIMUM + 1, 0600, &err));
    assert_non_null(strstr(err.message, "more"));
    long_secret[TOKEN_SECRET_BYTES_MAXIMUM] = '\r';
    long_secret[TOKEN_SECRET_BYTES_MAXIMUM + 1] = '\n';
    assert_true(try_secret(long_secret, TOKEN_SECRET_BYTES_MAXIMUM + 2, 0600, &err));
    /* A line break at the end is an editor's; one is not counted. */
    assert_false(try_secret("0123456789abcdef0123456789abcde\n", 32, 0600, &err));
    struct token_verifier *untouched = verifier;
    assert_false(token_verifier_new("/nowhere/secret", &untouched, &err));
    assert_false(token_verifier_new("/tmp", &untouched, &err));
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_ptr_equal(untouched, verifier);
}

static void a_line_break_at_the_end_is_not_part_of_the_secret(void **state) {
    (void)state;
    char path[] = "/tmp/orrery-secret-XXXXXX";
    char token[TEXT_BYTES];
    struct token_verifier *made;
    struct principal principal;
    struct error err;
    write_secret(path, "0123456789abcdef0123456789abcdef\n", 33, 0600);
    assert_true(token_verifier_new(path, &made, &err));
    unlink(path);
    make_token(header_hs256, good_claims, secret_text, token);
    assert_true(token_verify(made, token, strlen(token), now, &principal, &err));
    token_verifier_free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_stands_for_its_subject),
        cmocka_unit_test(only_the_secret_makes_a_token),
        cmocka_unit_test(the_algorithm_is_the_keys_and_never_the_tokens),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(claims_that_are_missing_or_wrong_are_named),
        cmocka_unit_test(the_secret_is_long_and_its_owners_alone),
        cmocka_unit_test(a_line_break_at_the_end_is_not_part_of_the_secret),
    };
    return cmocka_run_group_tests_name("auth: token", tests, set_up, tear_down);
}
