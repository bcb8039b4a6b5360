/* Signed tokens: a whole one, which cannot be a good one; one whose header this is; and the claims of one whose signature
 * would be good. */
#include "auth/token.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static const struct wall_time now = {INT64_C(1800000000) * US_PER_SECOND};

static struct token_verifier *make_verifier(void) {
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    char path[] = "/tmp/orrery-fuzz-secret-XXXXXX";
    struct token_verifier *verifier;
    struct error err;
    int fd = mkstemp(path);
    ASSERT(fd >= 0 && write(fd, secret, sizeof secret) == (ssize_t)sizeof secret);
    close(fd);
    bool ok = token_verifier_new(path, &verifier, &err);
    unlink(path);
    ASSERT(ok);
    return verifier;
}

static void refuse(const struct token_verifier *verifier, const char *token, size_t token_bytes) {
    struct principal principal;
    struct error err;
    ASSERT(!token_verify(verifier, token, token_bytes, now, &principal, &err));
    ASSERT(err.kind == ERROR_UNAUTHENTICATED);
}

/* A header that reaches the library's parser. */
static void try_header(const struct token_verifier *verifier, const uint8_t *bytes,
                       size_t size_bytes) {
    static char token[TOKEN_BYTES_MAXIMUM];
    static const char rest[] = ".e30.AAAA";
    if (size_bytes <= TOKEN_BYTES_MAXIMUM / 2) {
        sodium_bin2base64(token, sizeof token, bytes, size_bytes,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        size_t used = strlen(token);
        memcpy(token + used, rest, sizeof rest);
        refuse(verifier, token, used + sizeof rest - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    static struct token_verifier *verifier;
    if (verifier == NULL) {
        verifier = make_verifier();
    }
    refuse(verifier, (const char *)bytes, size_bytes);
    try_header(verifier, bytes, size_bytes);
    struct principal principal;
    struct error err;
    if (token_read_claims((const char *)bytes, size_bytes, now, &principal, &err)) {
        ASSERT(owner_check(principal.owner, &err));
    } else {
        ASSERT(err.kind == ERROR_UNAUTHENTICATED);
    }
    return 0;
}
