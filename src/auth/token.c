#include "auth/token.h"

#include <cjose/cjose.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char setting[] = "token-secret-file";
static const char algorithm[] = "HS256";

/* The functions of libcjose that are used here. */
struct jose {
    cjose_jwk_t *(*key_new)(const uint8_t *data, size_t data_bytes, cjose_err *err);
    bool (*key_free)(cjose_jwk_t *key);
    cjose_jws_t *(*import)(const char *compact, size_t compact_bytes, cjose_err *err);
    cjose_header_t *(*get_header)(cjose_jws_t *jws);
    const char *(*header_get)(cjose_header_t *header, const char *name, cjose_err *err);
    char *(*header_get_raw)(cjose_header_t *header, const char *name, cjose_err *err);
    bool (*verify)(cjose_jws_t *jws, const cjose_jwk_t *key, cjose_err *err);
    bool (*get_payload)(const cjose_jws_t *jws, uint8_t **payload, size_t *payload_bytes,
                        cjose_err *err);
    void (*release)(cjose_jws_t *jws);
};

struct token_verifier {
    struct jose jose;
    cjose_jwk_t *key;
};

/* --- making one ----------------------------------------------------------------------------------- */

static bool load_symbol(void *library, const char *name, void *out_function, struct error *err) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        return error_set(err, ERROR_IO, "libcjose lacks %s; run script/setup", name);
    }
    /* POSIX's way around the missing conversion from object to function pointers (dlsym(3)). */
    memcpy(out_function, &symbol, sizeof symbol);
    return true;
}

static bool load_jose(struct jose *jose, struct error *err) {
    void *library = dlopen("libcjose.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return error_set(err, ERROR_IO, "libcjose cannot be opened (%s); run script/setup",
                         dlerror());
    }
    return load_symbol(library, "cjose_jwk_create_oct_spec", &jose->key_new, err) &&
           load_symbol(library, "cjose_jwk_release", &jose->key_free, err) &&
           load_symbol(library, "cjose_jws_import", &jose->import, err) &&
           load_symbol(library, "cjose_jws_get_protected", &jose->get_header, err) &&
           load_symbol(library, "cjose_header_get", &jose->header_get, err) &&
           load_symbol(library, "cjose_header_get_raw", &jose->header_get_raw, err) &&
           load_symbol(library, "cjose_jws_verify", &jose->verify, err) &&
           load_symbol(library, "cjose_jws_get_plaintext", &jose->get_payload, err) &&
           load_symbol(library, "cjose_jws_release", &jose->release, err);
}

struct secret {
    unsigned char bytes[TOKEN_SECRET_BYTES_MAXIMUM +
                        3]; /* a line break, and one to see that it is too long */
    size_t size_bytes;
};

static void wipe_secret(struct secret *secret) { sodium_memzero(secret, sizeof *secret); }

static void close_descriptor(const int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

static bool check_file(int fd, const char *path, struct error *err) {
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return error_set_field(err, ERROR_USAGE, setting, "%s (%s) is not a regular file", setting,
                               path);
    }
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return error_set_field(err, ERROR_USAGE, setting,
                               "%s (%s) may be read by others (mode %03o): chmod 600 it", setting,
                               path, (unsigned)(status.st_mode & 0777));
    }
    return true;
}

static bool read_secret(const char *path, struct secret *out_secret, struct error *err) {
    /* Not blocking: a FIFO would wait for a writer. */
    int fd CLEANUP(close_descriptor) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set_errno(err, ERROR_USAGE, errno, "%s: cannot read %s", setting, path);
        memcpy(err->field, setting, sizeof setting);
        return false;
    }
    if (!check_file(fd, path, err)) {
        return false;
    }
    ssize_t got;
    size_t used = 0;
    while (used < sizeof out_secret->bytes &&
           (got = read(fd, out_secret->bytes + used, sizeof out_secret->bytes - used)) > 0) {
        used += (size_t)got;
    }
    if (used > 0 && out_secret->bytes[used - 1] == '\n') {
        used--;
        used -= used > 0 && out_secret->bytes[used - 1] == '\r';
    }
    if (used < TOKEN_SECRET_BYTES_MINIMUM || used > TOKEN_SECRET_BYTES_MAXIMUM) {
        return error_set_field(err, ERROR_USAGE, setting,
                               "%s (%s) must hold %d to %d bytes, such as `openssl rand -hex 32` "
                               "gives; it holds %s",
                               setting, path, TOKEN_SECRET_BYTES_MINIMUM,
                               TOKEN_SECRET_BYTES_MAXIMUM,
                               used < TOKEN_SECRET_BYTES_MINIMUM ? "fewer" : "more");
    }
    out_secret->size_bytes = used;
    return true;
}

bool token_verifier_new(const char *secret_file, struct token_verifier **out_verifier,
                        struct error *err) {
    struct secret secret CLEANUP(wipe_secret) = {0};
    struct jose jose;
    if (!read_secret(secret_file, &secret, err) || !load_jose(&jose, err)) {
        return false;
    }
    cjose_err failure;
    cjose_jwk_t *key = jose.key_new(secret.bytes, secret.size_bytes, &failure);
    if (key == NULL) {
        return error_set(err, ERROR_IO, "libcjose does not take the secret: %s", failure.message);
    }
    struct token_verifier *verifier = must_alloc_zeroed(1, sizeof *verifier);
    *verifier = (struct token_verifier){.jose = jose, .key = key};
    *out_verifier = verifier;
    return true;
}

void token_verifier_free(struct token_verifier *verifier) {
    if (verifier != NULL) {
        verifier->jose.key_free(verifier->key);
        free(verifier);
    }
}

/* --- one token ------------------------------------------------------------------------------------ */

bool token_is_shaped(const char *text, size_t text_bytes) {
    return memchr(text, '.', text_bytes) != NULL;
}

/* The header says what it was signed by; that has to be what this key is for. */
static bool check_header(const struct jose *jose, cjose_jws_t *jws, struct error *err) {
    cjose_header_t *header = jose->get_header(jws);
    cjose_err ignored;
    const char *named = jose->header_get(header, "alg", &ignored);
    if (named == NULL || strcmp(named, algorithm) != 0) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the token must be signed with %s", algorithm);
    }
    char *critical = jose->header_get_raw(header, "crit", &ignored);
    if (critical != NULL) {
        free(critical);
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the token's header asks for extensions (crit) that are not known here");
    }
    return true;
}

static bool check_signature(const struct token_verifier *verifier, cjose_jws_t *jws,
                            struct error *err) {
    cjose_err ignored;
    return check_header(&verifier->jose, jws, err) &&
           (verifier->jose.verify(jws, verifier->key, &ignored) ||
            error_set(err, ERROR_UNAUTHENTICATED, "the token's signature is not valid"));
}

/* Three parts of base64url without padding (RFC 7515 section 7.1). The library ends the program where a part has an
 * impossible length or a '=' within, so this is looked at before. */
static bool is_compact(const char *text, size_t text_bytes) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t part_bytes = 0;
    size_t part_count = 0;
    for (size_t i = 0; i <= text_bytes; i++) {
        if (i < text_bytes && text[i] != '.') {
            if (memchr(alphabet, text[i], sizeof alphabet - 1) == NULL) {
                return false;
            }
            part_bytes++;
            continue;
        }
        if (part_bytes == 0 || part_bytes % 4 == 1) {
            return false;
        }
        part_bytes = 0;
        part_count++;
    }
    return part_count == 3;
}

bool token_verify(const struct token_verifier *verifier, const char *text, size_t text_bytes,
                  struct wall_time now, struct principal *out_principal, struct error *err) {
    const struct jose *jose = &verifier->jose;
    if (text_bytes > TOKEN_BYTES_MAXIMUM) {
        return error_set(err, ERROR_UNAUTHENTICATED, "a token has at most %d bytes",
                         TOKEN_BYTES_MAXIMUM);
    }
    cjose_err ignored;
    cjose_jws_t *jws =
        is_compact(text, text_bytes) ? jose->import(text, text_bytes, &ignored) : NULL;
    if (jws == NULL) {
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the token is not a signed JSON Web Token in the compact form");
    }
    uint8_t *payload = NULL;
    size_t payload_bytes = 0;
    bool ok = check_signature(verifier, jws, err) &&
              (jose->get_payload(jws, &payload, &payload_bytes, &ignored) ||
               error_set(err, ERROR_UNAUTHENTICATED, "the token has no claims")) &&
              token_read_claims((const char *)payload, payload_bytes, now, out_principal, err);
    jose->release(jws);
    return ok;
}
