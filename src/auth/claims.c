/* The claims of a token whose signature is good (auth/token.h). */
#include "auth/token.h"

#include <string.h>
#include <yyjson.h>

static const char audience[] = "orrery";

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

/* The claim of this name, NULL without it. */
static bool find(yyjson_val *claims, const char *name, yyjson_val **out_value, struct error *err) {
    yyjson_val *found = NULL;
    yyjson_val *key;
    yyjson_obj_iter iterator = yyjson_obj_iter_with(claims);
    while ((key = yyjson_obj_iter_next(&iterator)) != NULL) {
        if (!yyjson_equals_str(key, name)) {
            continue;
        }
        if (found != NULL) {
            return error_set(err, ERROR_UNAUTHENTICATED, "the token has `%s` twice", name);
        }
        found = yyjson_obj_iter_get_val(key);
    }
    *out_value = found;
    return true;
}

static bool refuse(const char *name, const char *expected, struct error *err) {
    return error_set(err, ERROR_UNAUTHENTICATED, "the token must have `%s`: %s", name, expected);
}

/* A NumericDate (RFC 7519 section 2): seconds, which may have a fraction. `absent_us` stands for none; negative: it is
 * required. */
static bool read_time(yyjson_val *claims, const char *name, int64_t absent_us, int64_t *out_us,
                      struct error *err) {
    static const double latest_s = 253402300800; /* the year 10000 */
    yyjson_val *value;
    if (!find(claims, name, &value, err)) {
        return false;
    }
    if (value == NULL && absent_us >= 0) {
        *out_us = absent_us;
        return true;
    }
    double seconds = yyjson_is_num(value) ? yyjson_get_num(value) : -1;
    if (!(seconds >= 0 && seconds < latest_s)) {
        return refuse(name, "a time in seconds since 1970", err);
    }
    *out_us = (int64_t)(seconds * US_PER_SECOND);
    return true;
}

static bool check_times(yyjson_val *claims, struct wall_time now, struct error *err) {
    int64_t issued_us;
    int64_t ends_us;
    int64_t begins_us;
    if (!read_time(claims, "iat", -1, &issued_us, err) ||
        !read_time(claims, "exp", -1, &ends_us, err) ||
        !read_time(claims, "nbf", 0, &begins_us, err)) {
        return false;
    }
    int64_t soon_us = now.us + TOKEN_LEEWAY_S * US_PER_SECOND;
    if (issued_us > soon_us || begins_us > soon_us) {
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the token is not valid yet; do the clocks of both machines agree?");
    }
    if (ends_us <= now.us) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the token has expired");
    }
    if (ends_us - issued_us > TOKEN_LIFETIME_MAXIMUM_S * US_PER_SECOND) {
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "a token must expire (`exp`) within %d seconds of `iat`",
                         TOKEN_LIFETIME_MAXIMUM_S);
    }
    return true;
}

static bool check_audience(yyjson_val *claims, struct error *err) {
    yyjson_val *value;
    if (!find(claims, "aud", &value, err)) {
        return false;
    }
    bool is_meant = yyjson_equals_str(value, audience);
    yyjson_val *item;
    yyjson_arr_iter iterator = yyjson_arr_iter_with(value); /* of what is no list: empty */
    while ((item = yyjson_arr_iter_next(&iterator)) != NULL) {
        is_meant = is_meant || yyjson_equals_str(item, audience);
    }
    return is_meant || refuse("aud", "\"orrery\"", err);
}

static bool read_owner(yyjson_val *claims, struct principal *principal, struct error *err) {
    yyjson_val *value;
    if (!find(claims, "sub", &value, err)) {
        return false;
    }
    const char *owner = yyjson_get_str(value);
    if (owner == NULL || strlen(owner) != yyjson_get_len(value)) {
        return refuse("sub", "the owner's name", err);
    }
    struct error reason;
    if (!owner_check(owner, &reason)) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the token's `sub`: %s", reason.message);
    }
    memcpy(principal->owner, owner, strlen(owner) + 1);
    return true;
}

static bool read_admin(yyjson_val *claims, struct principal *principal, struct error *err) {
    yyjson_val *value;
    if (!find(claims, "admin", &value, err)) {
        return false;
    }
    if (value != NULL && !yyjson_is_bool(value)) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the token's `admin` must be true or false");
    }
    principal->admin = yyjson_get_bool(value);
    return true;
}

bool token_read_claims(const char *json, size_t json_bytes, struct wall_time now,
                       struct principal *out_principal, struct error *err) {
    yyjson_doc *document CLEANUP(free_document) = yyjson_read(json, json_bytes, 0);
    yyjson_val *claims = yyjson_doc_get_root(document);
    if (!yyjson_is_obj(claims)) {
        return error_set(err, ERROR_UNAUTHENTICATED, "the token's claims are not a JSON object");
    }
    struct principal principal = {0};
    if (!check_audience(claims, err) || !check_times(claims, now, err) ||
        !read_owner(claims, &principal, err) || !read_admin(claims, &principal, err)) {
        return false;
    }
    *out_principal = principal;
    return true;
}
