/* A JSON value to an element. */
#include "model/decimal.h"
#include "model/element.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { EXCERPT_BYTES = 40 };

const char *json_kind_name(yyjson_val *value) {
    if (yyjson_is_num(value) || yyjson_is_raw(value)) {
        return "a number";
    }
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_STR:
        return "a string";
    case YYJSON_TYPE_BOOL:
        return yyjson_get_bool(value) ? "true" : "false";
    case YYJSON_TYPE_NULL:
        return "null";
    case YYJSON_TYPE_ARR:
        return "a list";
    case YYJSON_TYPE_OBJ:
        return "an object";
    default:
        return "nothing";
    }
}

/* The number as it was written, for a message. */
static const char *excerpt(yyjson_val *value, char out[static EXCERPT_BYTES]) {
    if (yyjson_is_raw(value)) {
        size_t size_bytes = yyjson_get_len(value);
        size_t shown = MIN_OF(size_bytes, (size_t)EXCERPT_BYTES - 4);
        memcpy(out, yyjson_get_raw(value), shown);
        memcpy(out + shown, size_bytes > shown ? "…" : "", size_bytes > shown ? 4 : 1);
    } else if (yyjson_is_uint(value)) {
        out[decimal_write_unsigned(yyjson_get_uint(value), out)] = '\0';
    } else if (yyjson_is_sint(value)) {
        out[decimal_write_signed(yyjson_get_sint(value), out)] = '\0';
    } else {
        snprintf(out, EXCERPT_BYTES, "%.17g", yyjson_get_real(value));
    }
    return out;
}

static bool refuse_range(yyjson_val *value, enum tensor_type type, struct error *err) {
    char text[EXCERPT_BYTES];
    return error_set(err, ERROR_INVALID_PARAMETERS, "%s is out of range of %s",
                     excerpt(value, text), tensor_type_name(type));
}

/* --- floats ------------------------------------------------------------------------------------ */

static bool special_from_string(yyjson_val *value, double *out, struct error *err) {
    if (yyjson_equals_str(value, "NaN")) {
        *out = NAN;
    } else if (yyjson_equals_str(value, "Infinity")) {
        *out = INFINITY;
    } else if (yyjson_equals_str(value, "-Infinity")) {
        *out = -INFINITY;
    } else {
        return error_set(
            err, ERROR_INVALID_PARAMETERS,
            "expected a number (or \"NaN\", \"Infinity\", \"-Infinity\"), got a string");
    }
    return true;
}

static bool number_expected(yyjson_val *value, struct error *err) {
    return error_set(err, ERROR_INVALID_PARAMETERS, "expected a number, got %s",
                     json_kind_name(value));
}

static bool read_double(yyjson_val *value, double *out, struct error *err) {
    if (yyjson_is_raw(value)) {
        return decimal_read_double(yyjson_get_raw(value), out) ||
               refuse_range(value, TENSOR_FP64, err);
    }
    if (yyjson_is_num(value)) {
        *out = yyjson_get_num(value);
        return true;
    }
    return yyjson_is_str(value) ? special_from_string(value, out, err)
                                : number_expected(value, err);
}

static bool read_float(yyjson_val *value, float *out, struct error *err) {
    if (yyjson_is_raw(value)) {
        return decimal_read_float(yyjson_get_raw(value), out) ||
               refuse_range(value, TENSOR_FP32, err);
    }
    if (yyjson_is_uint(value)) {
        *out = (float)yyjson_get_uint(value);
        return true;
    }
    if (yyjson_is_sint(value)) {
        *out = (float)yyjson_get_sint(value);
        return true;
    }
    double wide;
    if (!read_double(value, &wide, err)) {
        return false;
    }
    if (isfinite(wide) && fabs(wide) >= 0x1.ffffffp127) {
        return refuse_range(value, TENSOR_FP32, err);
    }
    *out = (float)wide;
    return true;
}

/* The two formats of 16 bits. */
static bool read_narrow(yyjson_val *value, enum tensor_type type, uint16_t *out,
                        struct error *err) {
    bool is_half = type == TENSOR_FP16;
    if (yyjson_is_raw(value)) {
        const char *text = yyjson_get_raw(value);
        return (is_half ? decimal_read_half(text, out) : decimal_read_bfloat16(text, out)) ||
               refuse_range(value, type, err);
    }
    double wide;
    if (!read_double(value, &wide, err)) {
        return false;
    }
    uint16_t bits = is_half ? half_from_double(wide) : bfloat16_from_double(wide);
    uint16_t infinity = is_half ? 0x7c00 : 0x7f80;
    if (isfinite(wide) && (bits & infinity) == infinity) {
        return refuse_range(value, type, err);
    }
    *out = bits;
    return true;
}

/* --- whole numbers ----------------------------------------------------------------------------- */

static bool not_whole(yyjson_val *value, struct error *err) {
    char text[EXCERPT_BYTES];
    return error_set(err, ERROR_INVALID_PARAMETERS, "expected a whole number, got %s",
                     excerpt(value, text));
}

/* Of a value that the parser made a double; "3.0" and "1e3" are whole numbers, too. */
static bool whole_from_double(yyjson_val *value, double wide, bool *out_negative,
                              uint64_t *out_magnitude, struct error *err) {
    if (!isfinite(wide) || fabs(wide) >= 0x1p53 || wide != trunc(wide)) {
        return not_whole(value, err);
    }
    *out_negative = wide < 0;
    *out_magnitude = (uint64_t)fabs(wide);
    return true;
}

static bool whole_from_raw(yyjson_val *value, enum tensor_type type, bool *out_negative,
                           uint64_t *out_magnitude, struct error *err) {
    const char *text = yyjson_get_raw(value);
    bool negative = *text == '-';
    uint64_t magnitude = 0;
    bool overflow = false;
    const char *at = text + negative;
    for (; *at >= '0' && *at <= '9'; at++) {
        overflow = overflow || __builtin_mul_overflow(magnitude, 10, &magnitude) ||
                   __builtin_add_overflow(magnitude, (uint64_t)(*at - '0'), &magnitude);
    }
    if (*at != '\0') {
        return decimal_read_whole(text, out_negative, out_magnitude) || not_whole(value, err);
    }
    if (overflow) {
        return refuse_range(value, type, err);
    }
    *out_negative = negative;
    *out_magnitude = magnitude;
    return true;
}

static bool read_whole(yyjson_val *value, enum tensor_type type, bool *out_negative,
                       uint64_t *out_magnitude, struct error *err) {
    if (yyjson_is_raw(value)) {
        return whole_from_raw(value, type, out_negative, out_magnitude, err);
    }
    if (yyjson_is_uint(value)) {
        *out_negative = false;
        *out_magnitude = yyjson_get_uint(value);
        return true;
    }
    if (yyjson_is_sint(value)) {
        int64_t number = yyjson_get_sint(value);
        *out_negative = number < 0;
        *out_magnitude = number < 0 ? -(uint64_t)number : (uint64_t)number;
        return true;
    }
    if (yyjson_is_real(value)) {
        return whole_from_double(value, yyjson_get_real(value), out_negative, out_magnitude, err);
    }
    return error_set(err, ERROR_INVALID_PARAMETERS, "expected a whole number, got %s",
                     json_kind_name(value));
}

/* The greatest magnitude of a signed type is one more below zero. */
static bool read_integer(yyjson_val *value, enum tensor_type type, uint64_t maximum, bool is_signed,
                         uint64_t *out_bits, struct error *err) {
    bool negative;
    uint64_t magnitude;
    if (!read_whole(value, type, &negative, &magnitude, err)) {
        return false;
    }
    uint64_t limit = !negative ? maximum : is_signed ? maximum + 1 : 0;
    if (magnitude > limit) {
        return refuse_range(value, type, err);
    }
    *out_bits = negative ? -magnitude : magnitude;
    return true;
}

static bool read_bool(yyjson_val *value, uint64_t *out_bits, struct error *err) {
    if (yyjson_is_bool(value)) {
        *out_bits = yyjson_get_bool(value);
        return true;
    }
    bool negative;
    uint64_t magnitude;
    struct error ignored;
    if (!read_whole(value, TENSOR_BOOL, &negative, &magnitude, &ignored) || magnitude > 1 ||
        (negative && magnitude != 0)) {
        return error_set(err, ERROR_INVALID_PARAMETERS,
                         "expected true or false (or 1 or 0), got %s", json_kind_name(value));
    }
    *out_bits = magnitude;
    return true;
}

/* --- strings ----------------------------------------------------------------------------------- */

/* In pieces, so that checking needs no memory. A piece but the last is whole groups of four. */
static bool decode_base64(yyjson_val *value, struct arena *arena, const char **out_bytes,
                          size_t *out_size_bytes, struct error *err) {
    enum { PIECE_CHARACTERS = 4096, PIECE_BYTES = PIECE_CHARACTERS / 4 * 3 };
    const char *text = yyjson_get_str(value);
    size_t length = yyjson_get_len(value);
    unsigned char piece[PIECE_BYTES];
    unsigned char *bytes = arena == NULL ? NULL : arena_alloc(arena, length / 4 * 3 + 4);
    size_t total = 0;
    for (size_t at = 0; at < length; at += PIECE_CHARACTERS) {
        size_t characters = MIN_OF(length - at, (size_t)PIECE_CHARACTERS);
        size_t size_bytes = 0;
        if (sodium_base642bin(bytes == NULL ? piece : bytes + total, PIECE_BYTES, text + at,
                              characters, NULL, &size_bytes, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0 ||
            (at + characters < length && size_bytes != PIECE_BYTES)) {
            return error_set(err, ERROR_INVALID_PARAMETERS, "\"b64\" is not base64");
        }
        total += size_bytes;
    }
    *out_bytes = (const char *)bytes;
    *out_size_bytes = total;
    return true;
}

static bool read_string(yyjson_val *value, struct tensor *tensor, size_t index, struct arena *arena,
                        struct error *err) {
    const char *bytes;
    size_t size_bytes;
    yyjson_val *base64 = yyjson_obj_size(value) == 1 ? yyjson_obj_get(value, "b64") : NULL;
    if (yyjson_is_str(base64)) {
        if (!decode_base64(base64, arena, &bytes, &size_bytes, err)) {
            return false;
        }
    } else if (yyjson_is_str(value)) {
        size_bytes = yyjson_get_len(value);
        bytes = arena == NULL ? NULL : arena_strndup(arena, yyjson_get_str(value), size_bytes);
    } else {
        return error_set(err, ERROR_INVALID_PARAMETERS,
                         "expected a string (or {\"b64\": \"…\"}), got %s", json_kind_name(value));
    }
    if (tensor->strings != NULL) {
        tensor->strings[index] = bytes;
        tensor->string_bytes[index] = size_bytes;
    }
    return true;
}

/* --- any --------------------------------------------------------------------------------------- */

/* x86-64 and AArch64 are little-endian: the low bytes of the bits are the narrower number. */
static bool store(struct tensor *tensor, size_t index, const void *bits, size_t element_bytes) {
    if (tensor->data != NULL) {
        memcpy((char *)tensor->data + index * element_bytes, bits, element_bytes);
    }
    return true;
}

/* Whether a number is one that any float takes, as can be told from its length: for a mere check, that is all there is
 * to know. (Below 10^4 also by a half.) */
static bool is_surely_in_range(yyjson_val *value, enum tensor_type type) {
    size_t length = yyjson_get_len(value);
    const char *text = yyjson_get_raw(value);
    if (length > (type == TENSOR_FP16 ? 4 : 38)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if ((text[i] | 0x20) == 'e') {
            return false;
        }
    }
    return true;
}

static bool read_float_element(yyjson_val *value, struct tensor *tensor, size_t index,
                               struct error *err) {
    if (tensor->data == NULL && yyjson_is_raw(value) && is_surely_in_range(value, tensor->type)) {
        return true;
    }
    double wide;
    float narrow;
    uint16_t narrowest;
    if (tensor->type == TENSOR_FP32) {
        return read_float(value, &narrow, err) && store(tensor, index, &narrow, sizeof narrow);
    }
    if (tensor->type == TENSOR_FP64) {
        return read_double(value, &wide, err) && store(tensor, index, &wide, sizeof wide);
    }
    return read_narrow(value, tensor->type, &narrowest, err) &&
           store(tensor, index, &narrowest, sizeof narrowest);
}

bool element_from_json(yyjson_val *value, struct tensor *tensor, size_t index, struct arena *arena,
                       struct error *err) {
    static const struct {
        uint64_t maximum;
        bool is_signed;
    } ranges[] = {
        [TENSOR_INT8] = {INT8_MAX, true},      [TENSOR_INT16] = {INT16_MAX, true},
        [TENSOR_INT32] = {INT32_MAX, true},    [TENSOR_INT64] = {INT64_MAX, true},
        [TENSOR_UINT8] = {UINT8_MAX, false},   [TENSOR_UINT16] = {UINT16_MAX, false},
        [TENSOR_UINT32] = {UINT32_MAX, false}, [TENSOR_UINT64] = {UINT64_MAX, false},
    };
    uint64_t bits;
    switch (tensor->type) {
    case TENSOR_FP16:
    case TENSOR_BF16:
    case TENSOR_FP32:
    case TENSOR_FP64:
        return read_float_element(value, tensor, index, err);
    case TENSOR_BYTES:
        return read_string(value, tensor, index, arena, err);
    case TENSOR_BOOL:
        return read_bool(value, &bits, err) && store(tensor, index, &bits, 1);
    case TENSOR_SEQUENCE:
    case TENSOR_MAP:
    case TENSOR_OTHER:
        return error_set(err, ERROR_INVALID_PARAMETERS,
                         "the input is of a type that JSON cannot carry");
    default:
        return read_integer(value, tensor->type, ranges[tensor->type].maximum,
                            ranges[tensor->type].is_signed, &bits, err) &&
               store(tensor, index, &bits, tensor_type_element_bytes(tensor->type));
    }
}
