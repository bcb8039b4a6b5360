#include "auth/auth.h"
#include "auth/token.h"

#include <string.h>
#include <strings.h>

/* What follows "Bearer", without the spaces around it; NULL for another scheme. */
static const char *read_bearer(const char *authorization, size_t *out_bytes) {
    static const char scheme[] = "bearer";
    const size_t scheme_bytes = sizeof scheme - 1;
    if (strncasecmp(authorization, scheme, scheme_bytes) != 0 ||
        authorization[scheme_bytes] != ' ') {
        return NULL;
    }
    const char *text = authorization + scheme_bytes;
    text += strspn(text, " ");
    size_t bytes = strlen(text);
    while (bytes > 0 && text[bytes - 1] == ' ') {
        bytes--;
    }
    *out_bytes = bytes;
    return text;
}

bool auth_authenticate(struct store_reader *reader, const struct token_verifier *tokens,
                       const struct credentials *credentials, struct wall_time now,
                       struct arena *arena, struct principal *out_principal, struct error *err) {
    if (credentials->authorization == NULL) {
        const char *key = credentials->x_api_key;
        if (key == NULL) {
            return error_set(err, ERROR_UNAUTHENTICATED,
                             "an API key is needed: send the header `Authorization: Bearer KEY`");
        }
        return api_key_verify(reader, key, strlen(key), arena, out_principal, err);
    }
    size_t text_bytes;
    const char *text = read_bearer(credentials->authorization, &text_bytes);
    if (text == NULL) {
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the Authorization header must be `Bearer` and an API key");
    }
    if (!token_is_shaped(text, text_bytes)) {
        return api_key_verify(reader, text, text_bytes, arena, out_principal, err);
    }
    if (tokens == NULL) {
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "no tokens are taken here: the server has no --token-secret-file");
    }
    return token_verify(tokens, text, text_bytes, now, out_principal, err);
}
