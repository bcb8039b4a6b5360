/* Tensors to JSON. */
#include "model/decimal.h"
#include "model/element.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* Room is taken for many elements at once. */
enum { BATCH_ELEMENTS = 256, ELEMENT_BYTES_MAXIMUM = DECIMAL_BYTES + 2 };

static size_t write_special(double value, char *out) {
    const char *name = isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    return (size_t)(stpcpy(out, name) - out);
}

static size_t write_half(uint16_t bits, char *out) {
    return (bits & 0x7c00) == 0x7c00 ? write_special((double)half_to_float(bits), out)
                                     : decimal_write_half(bits, out);
}

static size_t write_float(float value, char *out) {
    return isfinite(value) ? decimal_write_float(value, out) : write_special((double)value, out);
}

/* The parser's library writes the shortest digits of a double. */
static size_t write_double(double value, char *out) {
    if (!isfinite(value)) {
        return write_special(value, out);
    }
    char memory[256];
    yyjson_alc allocator;
    yyjson_val real = {0};
    unsafe_yyjson_set_real(&real, value);
    size_t size_bytes = 0;
    char *text =
        yyjson_alc_pool_init(&allocator, memory, sizeof memory)
            ? yyjson_val_write_opts(&real, YYJSON_WRITE_NOFLAG, &allocator, &size_bytes, NULL)
            : NULL;
    ASSERT(text != NULL && size_bytes <= DECIMAL_BYTES);
    memcpy(out, text, size_bytes);
    return size_bytes;
}

static size_t write_number(const struct tensor *tensor, size_t index, char *out) {
    const void *data = tensor->data;
    switch (tensor->type) {
    case TENSOR_FP16:
        return write_half(((const uint16_t *)data)[index], out);
    case TENSOR_BF16:
        return write_float(bfloat16_to_float(((const uint16_t *)data)[index]), out);
    case TENSOR_FP32:
        return write_float(((const float *)data)[index], out);
    case TENSOR_FP64:
        return write_double(((const double *)data)[index], out);
    case TENSOR_INT8:
        return decimal_write_signed(((const int8_t *)data)[index], out);
    case TENSOR_INT16:
        return decimal_write_signed(((const int16_t *)data)[index], out);
    case TENSOR_INT32:
        return decimal_write_signed(((const int32_t *)data)[index], out);
    case TENSOR_INT64:
        return decimal_write_signed(((const int64_t *)data)[index], out);
    case TENSOR_UINT8:
        return decimal_write_unsigned(((const uint8_t *)data)[index], out);
    case TENSOR_UINT16:
        return decimal_write_unsigned(((const uint16_t *)data)[index], out);
    case TENSOR_UINT32:
        return decimal_write_unsigned(((const uint32_t *)data)[index], out);
    case TENSOR_UINT64:
        return decimal_write_unsigned(((const uint64_t *)data)[index], out);
    case TENSOR_BOOL:
        return (size_t)(stpcpy(out, ((const uint8_t *)data)[index] != 0 ? "true" : "false") - out);
    case TENSOR_BYTES:
    case TENSOR_SEQUENCE:
    case TENSOR_MAP:
    case TENSOR_OTHER:
        break;
    }
    ASSERT(false);
}

static void write_numbers(const struct tensor *tensor, struct text *out) {
    for (size_t at = 0; at < tensor->element_count;) {
        size_t batch = MIN_OF(tensor->element_count - at, (size_t)BATCH_ELEMENTS);
        char *start = text_reserve(out, batch * ELEMENT_BYTES_MAXIMUM);
        if (start == NULL) {
            return;
        }
        char *to = start;
        for (size_t end = at + batch; at < end; at++) {
            if (at > 0) {
                *to++ = ',';
            }
            to += write_number(tensor, at, to);
        }
        text_claim(out, (size_t)(to - start));
    }
}

static bool is_utf8(const char *bytes, size_t size_bytes) {
    yyjson_val string = {0};
    unsafe_yyjson_set_strn(&string, bytes, size_bytes);
    size_t ignored_bytes;
    char *text = yyjson_val_write(&string, YYJSON_WRITE_NOFLAG, &ignored_bytes);
    free(text);
    return text != NULL;
}

/* A NUL inside is UTF-8, too, but our own writer takes it for the end. */
void json_append_bytes(struct text *out, const char *bytes, size_t size_bytes) {
    if (memchr(bytes, '\0', size_bytes) == NULL && is_utf8(bytes, size_bytes)) {
        char *copy CLEANUP(free_pointer) = must_alloc(size_bytes + 1);
        memcpy(copy, bytes, size_bytes);
        copy[size_bytes] = '\0';
        text_append_json_string(out, copy);
        return;
    }
    size_t encoded_bytes = sodium_base64_encoded_len(size_bytes, sodium_base64_VARIANT_ORIGINAL);
    text_append(out, "{\"b64\":\"");
    char *room = text_reserve(out, encoded_bytes);
    if (room != NULL) {
        sodium_bin2base64(room, encoded_bytes, (const unsigned char *)bytes, size_bytes,
                          sodium_base64_VARIANT_ORIGINAL);
        text_claim(out, encoded_bytes - 1); /* it counts the NUL */
    }
    text_append(out, "\"}");
}

void elements_to_json(const struct tensor *tensor, struct text *out) {
    if (tensor->type != TENSOR_BYTES && tensor->type != TENSOR_SEQUENCE) {
        write_numbers(tensor, out);
        return;
    }
    for (size_t i = 0; i < tensor->element_count; i++) {
        if (i > 0) {
            text_append_char(out, ',');
        }
        if (tensor->type == TENSOR_SEQUENCE) {
            tensor_to_json(&tensor->elements[i], out);
        } else {
            json_append_bytes(out, tensor->strings[i], tensor->string_bytes[i]);
        }
    }
}

void tensor_to_json(const struct tensor *tensor, struct text *out) {
    text_append_char(out, '{');
    if (tensor->name != NULL) {
        text_append(out, "\"name\":");
        text_append_json_string(out, tensor->name);
        text_append_char(out, ',');
    }
    if (tensor->type != TENSOR_SEQUENCE) {
        text_append(out, "\"shape\":");
        tensor_shape_append(&tensor->shape, out);
        text_append_char(out, ',');
    }
    text_printf(out, "\"datatype\":\"%s\",\"data\":[", tensor_type_name(tensor->type));
    elements_to_json(tensor, out);
    text_append(out, "]}");
}
