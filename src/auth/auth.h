/* Who is asking: API keys, the principal that a key or a token (auth/token.h) stands for, and the one check of ownership.
 *
 * An API key is "ork_<id>_<secret>": an id of 16 hex digits, which may be shown and by which the key is found,
 * and 32 random bytes in base64url (43 characters). The store has only the BLAKE2b-256 hash of the whole text
 * (libsodium's crypto_generichash), so who reads the store cannot use a key. The secret has 256 bits: it needs
 * no slow password hash. Whoever hands a wrong key learns nothing from the answer or from its time: an id that
 * is not there, a wrong secret and a revoked key take the same steps and get the same words.
 *
 * All functions may be called from any thread. */
#ifndef ORRERY_AUTH_AUTH_H
#define ORRERY_AUTH_AUTH_H

#include "store/store.h"

enum {
    OWNER_CHARACTERS_MAXIMUM = 128,
    OWNER_BYTES = OWNER_CHARACTERS_MAXIMUM * 4 + 1, /* UTF-8 and a NUL */
    API_KEY_TEXT_BYTES = 4 + 16 + 1 + 43 + 1,       /* with its NUL */
};

/* Whoever made a request. */
struct principal {
    char owner[OWNER_BYTES];
    bool admin;
};

/* Whether this is an owner's name: 1 to 128 characters of UTF-8, printable (no control characters, line or
 * paragraph separators, or marks that change the direction of writing), no space at either end. ERROR_INVALID,
 * field "owner". */
MUST_CHECK bool owner_check(const char *owner, struct error *err);

/* Makes a key. `out_text` is the only copy of it: show it, then wipe it with api_key_wipe. `out_key` is what the
 * store keeps; its owner is borrowed. */
void api_key_generate(const char *owner, bool admin, struct wall_time now,
                      char out_text[static API_KEY_TEXT_BYTES], struct api_key *out_key);
void api_key_wipe(char text[static API_KEY_TEXT_BYTES]);

/* Whom the key stands for. Errors as auth_authenticate's, which asks this. */
MUST_CHECK bool api_key_verify(struct store_reader *reader, const char *text, size_t text_bytes,
                               struct arena *arena, struct principal *out_principal,
                               struct error *err);

/* What a request brings along to say who is asking; the header fields may be NULL:
 *   Authorization: Bearer KEY   (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section 11.1)
 *   Authorization: Bearer TOKEN
 *   X-API-Key: KEY              only where there is no Authorization */
struct credentials {
    const char *authorization;
    const char *x_api_key;
};

struct token_verifier;

/* Finds out who is asking. `tokens` is NULL where no tokens are taken.
 * ERROR_UNAUTHENTICATED if there is no key or token, or it is not in force; ERROR_STORE if the store cannot be read.
 * The arena is used for what is read meanwhile. */
MUST_CHECK bool auth_authenticate(struct store_reader *reader, const struct token_verifier *tokens,
                                  const struct credentials *credentials, struct wall_time now,
                                  struct arena *arena, struct principal *out_principal,
                                  struct error *err);

/* The one check of ownership: whether the principal may see and change what belongs to this owner. Who may not
 * is told "not there". */
bool auth_may_see(const struct principal *principal, const char *owner);

#endif
