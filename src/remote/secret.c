#include "remote/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_BYTES_MAXIMUM = 65536 };
/* More than all header fields of a request may have. */
#define SECRETS_BYTES_MAXIMUM ((size_t)16 << 20)

void secrets_init(struct secrets *secrets) { text_init(&secrets->values, SECRETS_BYTES_MAXIMUM); }

void secrets_fini(struct secrets *secrets) {
    if (secrets->values.data != NULL) {
        explicit_bzero(secrets->values.data, secrets->values.capacity_bytes);
    }
    text_fini(&secrets->values);
}

/* --- reading ------------------------------------------------------------------------------------- */

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

/* The first character of a name is no dot, so that none leads out of the folder. */
static bool name_is_valid(const char *name) {
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789_-.";
    return *name != '\0' && *name != '.' && name[strspn(name, characters)] == '\0';
}

/* A link is followed: secrets that are mounted (Kubernetes) are links. */
static bool open_secret(const char *name, const char *folder, int *out_fd, struct error *err) {
    char path[PATH_MAX];
    struct stat status;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = -1;
    if (length >= (int)sizeof path) {
        errno = ENAMETOOLONG;
    } else {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    }
    if (fd < 0 || fstat(fd, &status) != 0) {
        int saved_errno = errno;
        close_fd(&fd);
        return error_set_errno(err, ERROR_MODEL_UNAVAILABLE, saved_errno,
                               "the secret '%.60s' cannot be read", name);
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "the secret '%.60s' is no regular file",
                         name);
    }
    *out_fd = fd;
    return true;
}

/* Not blanks alone, which would not be sent. */
static bool is_field_value(const char *bytes, size_t size_bytes) {
    bool has_visible = false;
    for (size_t i = 0; i < size_bytes; i++) {
        if ((unsigned char)bytes[i] < ' ' || bytes[i] == 0x7f) {
            return false;
        }
        has_visible = has_visible || bytes[i] != ' ';
    }
    return has_visible;
}

/* Whoever receives a field takes the blanks around its value off. */
static void remember(struct secrets *secrets, const char *secret, size_t size_bytes) {
    while (size_bytes > 0 && secret[size_bytes - 1] == ' ') {
        size_bytes--;
    }
    while (size_bytes > 0 && *secret == ' ') {
        secret++;
        size_bytes--;
    }
    text_append_bytes(&secrets->values, secret, size_bytes);
    text_append_char(&secrets->values, '\0');
}

bool secrets_append(struct secrets *secrets, const char *name, const char *folder, struct text *out,
                    struct error *err) {
    if (*folder == '\0') {
        return error_set(err, ERROR_MODEL_UNAVAILABLE,
                         "a header needs the secret '%.60s', and no folder of secrets is "
                         "configured (--secrets)",
                         name);
    }
    if (!name_is_valid(name)) {
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "'%.60s' is no name of a secret", name);
    }
    int fd CLEANUP(close_fd) = -1;
    if (!open_secret(name, folder, &fd, err)) {
        return false;
    }
    char secret[SECRET_BYTES_MAXIMUM];
    ssize_t found = read(fd, secret, sizeof secret);
    if (found < 0) {
        return error_set_errno(err, ERROR_MODEL_UNAVAILABLE, errno,
                               "the secret '%.60s' cannot be read", name);
    }
    size_t size_bytes = (size_t)found;
    while (size_bytes > 0 && (secret[size_bytes - 1] == '\n' || secret[size_bytes - 1] == '\r')) {
        size_bytes--;
    }
    bool ok = found < SECRET_BYTES_MAXIMUM && is_field_value(secret, size_bytes);
    if (ok) {
        text_append_bytes(out, secret, size_bytes);
        remember(secrets, secret, size_bytes);
    }
    explicit_bzero(secret, sizeof secret);
    return ok || error_set(err, ERROR_MODEL_UNAVAILABLE,
                           "the secret '%.60s' is no value for a header field", name);
}

/* --- finding again ------------------------------------------------------------------------------- */

/* The character below U+0100 that the escape at `at` stands for (RFC 8259 section 7); -1: there is no such escape. */
static int unescape(const char *at, size_t left, size_t *out_length) {
    if (left < 2 || at[0] != '\\') {
        return -1;
    }
    *out_length = 2;
    if (strchr("\"\\/", at[1]) != NULL && at[1] != '\0') {
        return (unsigned char)at[1];
    }
    if (at[1] != 'u' || left < 6) {
        return -1;
    }
    *out_length = 6;
    int character = 0;
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_digit_value(at[i]);
        if (digit < 0) {
            return -1;
        }
        character = character * 16 + digit;
    }
    return character < 0x100 ? character : -1;
}

static size_t match_escaped(const char *secret, const char *bytes, size_t size_bytes) {
    size_t used = 0;
    for (; *secret != '\0'; secret++) {
        size_t length = 1;
        int character = unescape(bytes + used, size_bytes - used, &length);
        if (character < 0) {
            length = 1;
            character = used < size_bytes ? (unsigned char)bytes[used] : -1;
        }
        if (character != (unsigned char)*secret) {
            return 0;
        }
        used += length;
    }
    return used;
}

size_t secrets_match(const struct secrets *secrets, const char *bytes, size_t size_bytes) {
    size_t longest = 0;
    const char *end = text_string(&secrets->values) + secrets->values.size_bytes;
    for (const char *secret = text_string(&secrets->values); secret < end;) {
        size_t secret_bytes = strlen(secret);
        bool is_plain = secret_bytes <= size_bytes && memcmp(secret, bytes, secret_bytes) == 0;
        size_t matched = is_plain ? secret_bytes : match_escaped(secret, bytes, size_bytes);
        longest = MAX_OF(longest, matched);
        secret += secret_bytes + 1;
    }
    return longest;
}

void secrets_mask(const struct secrets *secrets, char *string, size_t capacity_bytes) {
    struct text masked CLEANUP(text_fini);
    text_init(&masked, capacity_bytes * strlen(SECRET_MASK));
    for (const char *at = string; *at != '\0';) {
        size_t matched = secrets_match(secrets, at, strlen(at));
        text_append_bytes(&masked, matched > 0 ? SECRET_MASK : at,
                          matched > 0 ? strlen(SECRET_MASK) : 1);
        at += MAX_OF(matched, (size_t)1);
    }
    snprintf(string, capacity_bytes, "%s", text_string(&masked));
}
