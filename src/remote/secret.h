/* For neighbours in remote/: secrets, each a file in the folder of secrets, and how they are kept out of what is shown. */
#ifndef ORRERY_REMOTE_SECRET_H
#define ORRERY_REMOTE_SECRET_H

#include "base/error.h"
#include "base/text.h"

/* Those that one request has in it, so that its answer can be searched for them. One thread at a time. */
struct secrets {
    struct text
        values; /* without blanks around them, each with a NUL after it, which none has in it */
};

void secrets_init(struct secrets *secrets);
/* Overwrites them. */
void secrets_fini(struct secrets *secrets);

/* Appends to `out`, and adds to `secrets`, what the file `name` in the folder has, without the line end after it. The
 * folder "" has none. The file may be a link, and must be a regular file: a FIFO or a device is refused and nothing
 * waits for it. ERROR_MODEL_UNAVAILABLE: there is no such secret, or it is no header field's value (RFC 9110 section
 * 5.5); what it is, is never told. */
MUST_CHECK bool secrets_append(struct secrets *secrets, const char *name, const char *folder,
                               struct text *out, struct error *err);

/* How many bytes at the beginning of `bytes` are one of the secrets, as it is or with escapes as in a JSON string (a
 * byte that is not ASCII: with the escape of the character of that number); the most, where several fit. 0: none. */
size_t secrets_match(const struct secrets *secrets, const char *bytes, size_t size_bytes);

/* What a secret is shown as. */
#define SECRET_MASK "***"

/* Masks them in a string, which is cut if that makes it too long. */
void secrets_mask(const struct secrets *secrets, char *string, size_t capacity_bytes);

#endif
