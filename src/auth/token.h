/* Short-lived signed tokens: how an application that has users of its own says for which of them it asks.
 *
 * A token is a JSON Web Token (RFC 7519) in the compact form, signed with HS256 (RFC 7518 section 3.2) by a secret that
 * the application and orrery share. Its claims:
 *   sub    the owner; required, as owner_check has it
 *   aud    "orrery", or a list with it; required
 *   iat    when it was made; required, at most TOKEN_LEEWAY_S ahead of this machine's clock
 *   exp    when it ends; required, after `iat` and at most TOKEN_LIFETIME_MAXIMUM_S later
 *   nbf    optional, as in RFC 7519 section 4.1.5, with the same leeway as `iat`
 *   admin  optional, true or false
 * Others are ignored. A claim of these that comes twice is refused: two readers might choose differently.
 *
 * After RFC 8725: the algorithm is fixed by the key, never taken from the token, so "none" and a token that is made for
 * another kind of key are refused before anything is computed; a header with `crit` is refused.
 *
 * The work is libcjose's, opened with dlopen when a secret is configured. It compares signatures in constant time and
 * fetches nothing, whatever a token's header names. (Debian 12's rhonabwy compares them with strcmp, CVE-2024-25714.)
 *
 * All functions may be called from any thread; a verifier does not change. */
#ifndef ORRERY_AUTH_TOKEN_H
#define ORRERY_AUTH_TOKEN_H

#include "auth/auth.h"

enum {
    TOKEN_BYTES_MAXIMUM = 4096,
    TOKEN_SECRET_BYTES_MINIMUM = 32, /* RFC 7518 section 3.2: as long as the hash */
    TOKEN_SECRET_BYTES_MAXIMUM = 1024,
    TOKEN_LIFETIME_MAXIMUM_S = 600,
    TOKEN_LEEWAY_S = 30, /* between two machines' clocks */
};

struct token_verifier;

/* Reads the secret: all bytes of the file but one line break at its end, at least TOKEN_SECRET_BYTES_MINIMUM. It must be a
 * regular file that nobody but its owner may read. ERROR_USAGE, field "token-secret-file"; ERROR_IO if libcjose cannot be
 * opened. */
MUST_CHECK bool token_verifier_new(const char *secret_file, struct token_verifier **out_verifier,
                                   struct error *err);
/* NULL is accepted. */
void token_verifier_free(struct token_verifier *verifier);

/* Whether it is meant as a token and not as an API key, which has no dot. */
bool token_is_shaped(const char *text, size_t text_bytes);

/* Whom the token stands for. ERROR_UNAUTHENTICATED says what is wrong with it. */
MUST_CHECK bool token_verify(const struct token_verifier *verifier, const char *text,
                             size_t text_bytes, struct wall_time now,
                             struct principal *out_principal, struct error *err);

/* The part of token_verify that comes after the signature: reads the claims. */
MUST_CHECK bool token_read_claims(const char *json, size_t json_bytes, struct wall_time now,
                                  struct principal *out_principal, struct error *err);

#endif
