/* Decimal text and binary floating point, exactly, in both directions.
 *
 * Reading rounds once, to nearest with ties to even (IEEE 754 section 4.3.1), from the decimal text to
 * the wanted format: never through a wider one, which can round a second time. Writing gives the
 * fewest digits that read back to the same bits (R. Giulietti, "The Schubfach way to render doubles",
 * 2021). Pure; any thread. */
#ifndef ORRERY_MODEL_DECIMAL_H
#define ORRERY_MODEL_DECIMAL_H

#include "base/base.h"

/* Room that decimal_write_… needs at most; what it writes is not NUL-terminated. */
enum { DECIMAL_BYTES = 32 };

/* A number by JSON's grammar (RFC 8259 section 6), NUL-terminated. False where the magnitude is too large for
 * the format. */
MUST_CHECK bool decimal_read_double(const char *text, double *out);
MUST_CHECK bool decimal_read_float(const char *text, float *out);
/* A number that is whole however it is written ("3.0", "1e3"), if it has at most 19 digits and its magnitude fits;
 * else false. */
MUST_CHECK bool decimal_read_whole(const char *text, bool *out_negative, uint64_t *out_magnitude);
/* IEEE 754 binary16, and bfloat16 (the upper half of binary32), as their bits. */
MUST_CHECK bool decimal_read_half(const char *text, uint16_t *out_bits);
MUST_CHECK bool decimal_read_bfloat16(const char *text, uint16_t *out_bits);

/* The nearest binary16, infinity where it is too large; the bits of a NaN are kept as far as they fit. */
uint16_t half_from_double(double value);
float half_to_float(uint16_t bits);
/* The same of bfloat16. */
uint16_t bfloat16_from_double(double value);
float bfloat16_to_float(uint16_t bits);

/* Returns how many bytes were written. The value is finite. A whole number is written "1.0", so that
 * who reads it knows it for a float, and in all of its digits while it is below 2^24 (the half 65504 is not
 * "65500.0", which would read back to it, too); very large and small ones as "1e-9". */
size_t decimal_write_float(float value, char out[static DECIMAL_BYTES]);
size_t decimal_write_half(uint16_t bits, char out[static DECIMAL_BYTES]);
size_t decimal_write_signed(int64_t value, char out[static DECIMAL_BYTES]);
size_t decimal_write_unsigned(uint64_t value, char out[static DECIMAL_BYTES]);

#endif
