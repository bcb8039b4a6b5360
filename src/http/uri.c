#include "base/text.h"
#include "http/exchange.h"

#include <string.h>

bool uri_decode(char *text, bool plus_is_space) {
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        char decoded = *from;
        if (decoded == '+' && plus_is_space) {
            decoded = ' ';
        } else if (decoded == '%') {
            int high = hex_digit_value(from[1]);
            int low = high < 0 ? -1 : hex_digit_value(from[2]);
            if (low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            decoded = (char)(unsigned char)(high << 4 | low);
            from += 2;
        }
        *to++ = decoded;
    }
    *to = '\0';
    return true;
}

bool http_query_each(struct http_request *request,
                     bool (*each)(void *context, const char *name, const char *value),
                     void *context, struct error *err) {
    const struct exchange *exchange = (const struct exchange *)request;
    if (exchange->query == NULL) {
        return true;
    }
    char *rest = arena_strdup(&request->arena, exchange->query);
    while (rest != NULL) {
        char *name = strsep(&rest, "&");
        if (*name == '\0') {
            continue;
        }
        char *value = name;
        strsep(&value, "=");
        if (!uri_decode(name, true) || (value != NULL && !uri_decode(value, true))) {
            return error_set(err, ERROR_MALFORMED, "the query has a bad percent-encoding or a NUL");
        }
        if (!each(context, name, value == NULL ? "" : value)) {
            break;
        }
    }
    return true;
}
