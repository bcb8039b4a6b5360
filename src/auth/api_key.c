#include "auth/auth.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char prefix[] = "ork_";

enum {
    PREFIX_BYTES = sizeof prefix - 1,
    ID_BYTES = 16, /* hex digits */
    SECRET_BYTES = 32,
    SECRET_TEXT_BYTES = 43,
    HASH_BYTES = 32,
};

_Static_assert(PREFIX_BYTES + ID_BYTES + 1 + SECRET_TEXT_BYTES + 1 == API_KEY_TEXT_BYTES,
               "the parts of a key");
_Static_assert(sizeof((struct api_key *)0)->id == ID_BYTES + 1, "an id");
_Static_assert(sizeof((struct api_key *)0)->hash == HASH_BYTES, "a hash");

static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

static void start_sodium(void) {
    int failed = sodium_init();
    ASSERT(failed >= 0);
}

static void hash_text(const char *text, size_t text_bytes,
                      unsigned char out_hash[static HASH_BYTES]) {
    int failed =
        crypto_generichash(out_hash, HASH_BYTES, (const unsigned char *)text, text_bytes, NULL, 0);
    ASSERT(failed == 0);
}

void api_key_generate(const char *owner, bool admin, struct wall_time now,
                      char out_text[static API_KEY_TEXT_BYTES], struct api_key *out_key) {
    pthread_once(&sodium_once, start_sodium);
    unsigned char id[ID_BYTES / 2];
    unsigned char secret[SECRET_BYTES];
    char secret_text[SECRET_TEXT_BYTES + 1];
    randombytes_buf(id, sizeof id);
    randombytes_buf(secret, sizeof secret);
    *out_key = (struct api_key){
        .owner = owner, .admin = admin, .created_at = now, .revoked_at = WALL_TIME_NONE};
    sodium_bin2hex(out_key->id, sizeof out_key->id, id, sizeof id);
    sodium_bin2base64(secret_text, sizeof secret_text, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(out_text, API_KEY_TEXT_BYTES, "%s%s_%s", prefix, out_key->id, secret_text);
    hash_text(out_text, API_KEY_TEXT_BYTES - 1, out_key->hash);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(secret_text, sizeof secret_text);
}

void api_key_wipe(char text[static API_KEY_TEXT_BYTES]) {
    sodium_memzero(text, API_KEY_TEXT_BYTES);
}

/* The key's public id. A text that cannot be a key has one that is in no store, so that it takes the same
 * way as any other wrong key. */
static void read_id(const char *text, size_t text_bytes, char out_id[static ID_BYTES + 1]) {
    bool shaped = text_bytes == API_KEY_TEXT_BYTES - 1 && memcmp(text, prefix, PREFIX_BYTES) == 0;
    const char *id = shaped ? text + PREFIX_BYTES : "not-an-id-at-all";
    memcpy(out_id, id, ID_BYTES);
    out_id[ID_BYTES] = '\0';
}

bool api_key_verify(struct store_reader *reader, const char *text, size_t text_bytes,
                    struct arena *arena, struct principal *out_principal, struct error *err) {
    pthread_once(&sodium_once, start_sodium);
    char id[ID_BYTES + 1];
    unsigned char hash[HASH_BYTES];
    read_id(text, text_bytes, id);
    hash_text(text, text_bytes, hash);
    struct api_key key = {.owner = "", .revoked_at = WALL_TIME_NONE};
    struct error lookup;
    bool known = store_get_api_key(reader, id, arena, &key, &lookup);
    if (!known && lookup.kind != ERROR_NOT_FOUND) {
        *err = lookup;
        return false;
    }
    bool same = sodium_memcmp(hash, key.hash, HASH_BYTES) == 0;
    if (!known || !same || !wall_time_is_none(key.revoked_at)) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the API key is not valid");
    }
    struct principal principal = {.admin = key.admin};
    int length = snprintf(principal.owner, sizeof principal.owner, "%s", key.owner);
    ASSERT(length >= 0 && (size_t)length < sizeof principal.owner);
    *out_principal = principal;
    return true;
}
