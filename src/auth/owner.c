#include "auth/auth.h"

#include <string.h>

enum { NOT_UTF8 = -1 };

/* Reads one character of UTF-8 (RFC 3629 section 4: no overlong forms, no surrogates) and moves on. */
static int32_t read_character(const unsigned char **at) {
    const unsigned char *byte = *at;
    int length = byte[0] < 0x80   ? 1
                 : byte[0] < 0xc2 ? 0
                 : byte[0] < 0xe0 ? 2
                 : byte[0] < 0xf0 ? 3
                                  : 4;
    if (length == 0 || byte[0] > 0xf4) {
        return NOT_UTF8;
    }
    int32_t character = length == 1 ? byte[0] : byte[0] & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80) { /* the end's NUL, too */
            return NOT_UTF8;
        }
        character = character << 6 | (byte[i] & 0x3f);
    }
    bool overlong = (length == 3 && character < 0x800) || (length == 4 && character < 0x10000);
    bool surrogate = character >= 0xd800 && character <= 0xdfff;
    if (overlong || surrogate || character > 0x10ffff) {
        return NOT_UTF8;
    }
    *at += length;
    return character;
}

static bool is_printable(int32_t character) {
    return character >= 0x20 && (character < 0x7f || character > 0x9f) &&
           (character < 0x2028 || character > 0x202e) && /* separators, embeddings, overrides */
           (character < 0x2066 || character > 0x2069) && /* isolates */
           character != 0x200e && character != 0x200f && character != 0x061c && character != 0xfeff;
}

bool owner_check(const char *owner, struct error *err) {
    const unsigned char *at = (const unsigned char *)owner;
    size_t count = 0;
    while (*at != '\0') {
        int32_t character = read_character(&at);
        if (character == NOT_UTF8) {
            return error_set_field(err, ERROR_INVALID, "owner", "an owner's name must be UTF-8");
        }
        if (!is_printable(character)) {
            return error_set_field(err, ERROR_INVALID, "owner",
                                   "an owner's name must not have control characters (U+%04X)",
                                   (unsigned)character);
        }
        if (++count > OWNER_CHARACTERS_MAXIMUM) {
            return error_set_field(err, ERROR_INVALID, "owner",
                                   "an owner's name has at most %d characters",
                                   OWNER_CHARACTERS_MAXIMUM);
        }
    }
    if (count == 0) {
        return error_set_field(err, ERROR_INVALID, "owner", "an owner's name must not be empty");
    }
    if (owner[0] == ' ' || at[-1] == ' ') {
        return error_set_field(err, ERROR_INVALID, "owner",
                               "an owner's name must not begin or end with a space");
    }
    return true;
}

bool auth_may_see(const struct principal *principal, const char *owner) {
    return principal->admin || strcmp(principal->owner, owner) == 0;
}
