#include "model/decimal.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

/* --- reading ----------------------------------------------------------------------------------- */

/* As many digits as 64 bits hold whatever they are. */
enum { EXACT_DIGITS = 19 };

/* What a number's text says, as far as that many digits hold it. */
struct decimal {
    bool negative;
    bool exact; /* mantissa * 10^exponent is all of it */
    uint64_t mantissa;
    int exponent;
};

static bool is_digit(char character) { return character >= '0' && character <= '9'; }

/* Digits of which some may not fit; `fraction`: they stand behind the point. */
static const char *read_many_digits(const char *at, struct decimal *decimal, int *digits,
                                    bool fraction) {
    for (; is_digit(*at); at++) {
        if (*digits < EXACT_DIGITS) {
            decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*at - '0');
            *digits += decimal->mantissa != 0;
            decimal->exponent -= fraction;
        } else {
            decimal->exact = decimal->exact && *at == '0';
            decimal->exponent += !fraction;
        }
    }
    return at;
}

static const char *read_long_mantissa(const char *at, struct decimal *decimal) {
    int digits = 0;
    decimal->mantissa = 0;
    decimal->exponent = 0;
    at = read_many_digits(at, decimal, &digits, false);
    return *at == '.' ? read_many_digits(at + 1, decimal, &digits, true) : at;
}

/* Most numbers have few digits; what has many, leading zeros included, is read again with care. */
static const char *read_mantissa(const char *start, struct decimal *decimal) {
    uint64_t mantissa = 0;
    const char *at = start;
    for (; is_digit(*at); at++) {
        mantissa = mantissa * 10 + (uint64_t)(*at - '0');
    }
    if (*at == '.') {
        const char *point = at++;
        for (; is_digit(*at); at++) {
            mantissa = mantissa * 10 + (uint64_t)(*at - '0');
        }
        decimal->exponent = (int)MIN_OF(at - point - 1, EXACT_DIGITS) * -1;
    }
    decimal->mantissa = mantissa;
    return at - start > EXACT_DIGITS ? read_long_mantissa(start, decimal) : at;
}

static struct decimal scan(const char *text) {
    struct decimal decimal = {.negative = *text == '-', .exact = true};
    const char *at = read_mantissa(text + decimal.negative, &decimal);
    if (*at == 'e' || *at == 'E') {
        at++;
        bool negative = *at == '-';
        at += *at == '-' || *at == '+';
        int exponent = 0;
        for (; is_digit(*at); at++) {
            exponent = MIN_OF(exponent * 10 + (*at - '0'), 100000);
        }
        decimal.exponent += negative ? -exponent : exponent;
    }
    return decimal;
}

bool decimal_read_double(const char *text, double *out) {
    /* A product or quotient of two exactly represented numbers is rounded once (W. D. Clinger, "How to read
     * floating-point numbers accurately", 1990). */
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct decimal decimal = scan(text);
    if (decimal.exact && decimal.mantissa <= UINT64_C(1) << 53 && decimal.exponent >= -22 &&
        decimal.exponent <= 22) {
        double value = (double)decimal.mantissa;
        value = decimal.exponent < 0 ? value / powers[-decimal.exponent]
                                     : value * powers[decimal.exponent];
        *out = decimal.negative ? -value : value;
        return true;
    }
    yyjson_val value = {0};
    if (yyjson_read_number(text, &value, YYJSON_READ_NOFLAG, NULL, NULL) == NULL) {
        return false;
    }
    *out = yyjson_get_num(&value);
    return true;
}

bool decimal_read_whole(const char *text, bool *out_negative, uint64_t *out_magnitude) {
    struct decimal decimal = scan(text);
    while (decimal.exponent < 0 && decimal.mantissa % 10 == 0 && decimal.mantissa != 0) {
        decimal.mantissa /= 10;
        decimal.exponent++;
    }
    if (!decimal.exact || (decimal.exponent < 0 && decimal.mantissa != 0)) {
        return false;
    }
    for (; decimal.exponent > 0 && decimal.mantissa != 0; decimal.exponent--) {
        if (__builtin_mul_overflow(decimal.mantissa, 10, &decimal.mantissa)) {
            return false;
        }
    }
    *out_negative = decimal.negative;
    *out_magnitude = decimal.mantissa;
    return true;
}

/* `value` is the double that is nearest to the text and lies on, or may lie on, the middle of two numbers of a
 * narrower format. Moves it to the side on which the text is, so that rounding it is rounding the text. */
static double lean_to_text(const char *text, double value) {
    int mode = fegetround();
    fesetround(FE_DOWNWARD);
    double below = strtod(text, NULL);
    fesetround(FE_UPWARD);
    double above = strtod(text, NULL);
    fesetround(mode);
    if (below == above) {
        return value;
    }
    return value == below ? nextafter(value, INFINITY) : nextafter(value, -INFINITY);
}

static uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Whether the double is in the middle of two numbers that have `dropped_bits` fewer bits of mantissa, or so
 * small that they have fewer still. */
static bool may_be_a_middle(double value, int dropped_bits, double smallest_normal) {
    uint64_t mask = (UINT64_C(1) << dropped_bits) - 1;
    return (double_bits(value) & mask) == (mask + 1) / 2 ||
           (fabs(value) < smallest_normal && value != 0);
}

bool decimal_read_float(const char *text, float *out) {
    double value;
    if (!decimal_read_double(text, &value)) {
        return false;
    }
    if (may_be_a_middle(value, 29, 0x1p-126)) {
        value = lean_to_text(text, value);
    }
    /* A double from here on would round to infinity, and converting it is no undefined behaviour by annex F,
     * but a sanitizer may object. */
    if (fabs(value) >= 0x1.ffffffp127) {
        return false;
    }
    *out = (float)value;
    return true;
}

bool decimal_read_half(const char *text, uint16_t *out_bits) {
    double value;
    if (!decimal_read_double(text, &value)) {
        return false;
    }
    if (may_be_a_middle(value, 42, 0x1p-14)) {
        value = lean_to_text(text, value);
    }
    uint16_t bits = half_from_double(value);
    if ((bits & 0x7fff) == 0x7c00) {
        return false;
    }
    *out_bits = bits;
    return true;
}

uint16_t half_from_double(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs(value);
    if (isnan(value)) {
        return sign | 0x7c00 | 0x0200 | (uint16_t)(double_bits(value) >> 42 & 0x1ff);
    }
    if (magnitude >= 65520) {
        return sign | 0x7c00;
    }
    /* Both scalings are exact and nearbyint rounds once; a carry out of the mantissa goes into the exponent by
     * plain addition. */
    if (magnitude < 0x1p-14) {
        return (uint16_t)(sign | (uint16_t)nearbyint(magnitude * 0x1p24));
    }
    int exponent;
    double fraction = frexp(magnitude, &exponent);
    unsigned mantissa = (unsigned)nearbyint(fraction * 0x1p11) - 1024;
    return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + mantissa));
}

float half_to_float(uint16_t bits) {
    unsigned exponent = bits >> 10 & 0x1f;
    unsigned mantissa = bits & 0x3ff;
    float magnitude;
    if (exponent == 0x1f) {
        magnitude = mantissa == 0 ? INFINITY : NAN;
    } else if (exponent == 0) {
        magnitude = (float)mantissa * 0x1p-24F;
    } else {
        magnitude = ldexpf((float)(mantissa | 0x400), (int)exponent - 25);
    }
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool decimal_read_bfloat16(const char *text, uint16_t *out_bits) {
    double value;
    if (!decimal_read_double(text, &value)) {
        return false;
    }
    if (may_be_a_middle(value, 45, 0x1p-126)) {
        value = lean_to_text(text, value);
    }
    uint16_t bits = bfloat16_from_double(value);
    if ((bits & 0x7fff) == 0x7f80) {
        return false;
    }
    *out_bits = bits;
    return true;
}

uint16_t bfloat16_from_double(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs(value);
    if (isnan(value)) {
        return sign | 0x7f80 | 0x0040 | (uint16_t)(double_bits(value) >> 45 & 0x3f);
    }
    if (magnitude >= 0x1.ffp127) {
        return sign | 0x7f80;
    }
    /* Rounded once and carried, as a half is. */
    if (magnitude < 0x1p-126) {
        return (uint16_t)(sign | (uint16_t)nearbyint(magnitude * 0x1p133));
    }
    int exponent;
    double fraction = frexp(magnitude, &exponent);
    unsigned mantissa = (unsigned)nearbyint(fraction * 0x1p8) - 128;
    return (uint16_t)(sign | (((unsigned)(exponent + 126) << 7) + mantissa));
}

float bfloat16_to_float(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* --- writing ----------------------------------------------------------------------------------- */

size_t decimal_write_unsigned(uint64_t value, char out[static DECIMAL_BYTES]) {
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = digits[count - 1 - i];
    }
    return count;
}

size_t decimal_write_signed(int64_t value, char out[static DECIMAL_BYTES]) {
    if (value >= 0) {
        return decimal_write_unsigned((uint64_t)value, out);
    }
    char digits[DECIMAL_BYTES];
    size_t count = decimal_write_unsigned(-(uint64_t)value, digits);
    out[0] = '-';
    memcpy(out + 1, digits, count);
    return count + 1;
}

enum { POWER_LOWEST = -31, POWER_HIGHEST = 45 };

/* ceil(10^k / 2^(floor(log2 10^k) - 63)) for k from POWER_LOWEST. */
static const uint64_t powers_of_ten[POWER_HIGHEST - POWER_LOWEST + 1] = {
    0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
    0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
    0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
    0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
    0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
    0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
    0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000000,
    0xa000000000000000, 0xc800000000000000, 0xfa00000000000000, 0x9c40000000000000,
    0xc350000000000000, 0xf424000000000000, 0x9896800000000000, 0xbebc200000000000,
    0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000, 0xe8d4a51000000000,
    0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000, 0x8e1bc9bf04000000,
    0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000, 0xad78ebc5ac620000,
    0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400, 0xd3c21bcecceda100,
    0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a, 0x813f3978f8940985,
    0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
    0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
    0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
};

/* The upper bits of the product, the last one set if anything below was not zero ("round to odd"). */
static uint32_t multiply_to_odd(uint64_t power, uint32_t value) {
    uint64_t low = (power & UINT32_MAX) * value;
    uint64_t high = (power >> 32) * value + (low >> 32);
    return (uint32_t)(high >> 32) | ((uint32_t)high > 1);
}

/* The shortest digits * 10^exponent within the rounding interval of significand * 2^exponent_2, a number of at
 * most 24 bits; of several, the nearest. `below_is_closer`: the significand is the least of its binade. The names
 * are the paper's. */
static uint32_t shortest(uint32_t significand, int exponent_2, bool below_is_closer,
                         int *out_exponent) {
    bool even = significand % 2 == 0;
    int k = (exponent_2 * 1262611 - (below_is_closer ? 524031 : 0)) >> 22;
    int h = exponent_2 + ((-k * 1741647) >> 19) + 1;
    ASSERT(-k >= POWER_LOWEST && -k <= POWER_HIGHEST);
    uint64_t power = powers_of_ten[-k - POWER_LOWEST];
    uint32_t middle = multiply_to_odd(power, (4 * significand) << h);
    uint32_t lower =
        multiply_to_odd(power, (4 * significand - 2 + below_is_closer) << h) + (even ? 0 : 1);
    uint32_t upper = multiply_to_odd(power, (4 * significand + 2) << h) - (even ? 0 : 1);
    uint32_t s = middle / 4;
    if (s >= 10) {
        uint32_t tens = s / 10;
        bool down_fits = lower <= 40 * tens;
        bool up_fits = 40 * tens + 40 <= upper;
        if (down_fits != up_fits) {
            *out_exponent = k + 1;
            return tens + up_fits;
        }
    }
    *out_exponent = k;
    bool down_fits = lower <= 4 * s;
    bool up_fits = 4 * s + 4 <= upper;
    if (down_fits != up_fits) {
        return s + up_fits;
    }
    uint32_t half = 4 * s + 2;
    return s + (middle > half || (middle == half && (s & 1) != 0));
}

/* digits * 10^exponent as "12.5", "0.001", "300.0" or "1.5e-7". */
static size_t layout(uint32_t value, int exponent, char *out) {
    char digits[DECIMAL_BYTES];
    while (value % 10 == 0) {
        value /= 10;
        exponent++;
    }
    int count = (int)decimal_write_unsigned(value, digits);
    int point = count + exponent; /* the value is 0.digits * 10^point */
    char *at = out;
    if (point < -3 || point > 16) {
        *at++ = digits[0];
        if (count > 1) {
            *at++ = '.';
            memcpy(at, digits + 1, (size_t)(count - 1));
            at += count - 1;
        }
        *at++ = 'e';
        at += decimal_write_signed(point - 1, at);
        return (size_t)(at - out);
    }
    if (point <= 0) {
        memset(at, '0', 6);
        at[1] = '.';
        at += 2 - point;
        memcpy(at, digits, (size_t)count);
        return (size_t)(at - out) + (size_t)count;
    }
    if (point >= count) {
        memcpy(at, digits, (size_t)count);
        memset(at + count, '0', (size_t)(point - count));
        at[point] = '.';
        at[point + 1] = '0';
        return (size_t)point + 2;
    }
    memcpy(at, digits, (size_t)point);
    at[point] = '.';
    memcpy(at + point + 1, digits + point, (size_t)(count - point));
    return (size_t)count + 1;
}

static size_t write_float(bool negative, uint32_t significand, int exponent_2, bool below_is_closer,
                          char *out) {
    char *at = out;
    if (negative) {
        *at++ = '-';
    }
    if (significand == 0) {
        memset(at, '0', 3);
        at[1] = '.';
        return (size_t)(at - out) + 3;
    }
    int exponent = 0;
    uint32_t digits;
    if (exponent_2 <= 0 && exponent_2 > -24 &&
        (significand & ((UINT32_C(1) << -exponent_2) - 1)) == 0) {
        digits = significand >> -exponent_2; /* a small whole number: all of its digits */
    } else if (exponent_2 > 0 && exponent_2 < 8 && significand < UINT32_C(1) << 16) {
        digits = significand << exponent_2; /* the same of a half */
    } else {
        digits = shortest(significand, exponent_2, below_is_closer, &exponent);
    }
    return (size_t)(at - out) + layout(digits, exponent, at);
}

size_t decimal_write_float(float value, char out[static DECIMAL_BYTES]) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t mantissa = bits & 0x7fffff;
    int exponent = (int)(bits >> 23 & 0xff);
    ASSERT(exponent != 0xff);
    if (exponent == 0) {
        return write_float(bits >> 31 != 0, mantissa, -149, false, out);
    }
    return write_float(bits >> 31 != 0, mantissa | 0x800000, exponent - 150,
                       mantissa == 0 && exponent > 1, out);
}

size_t decimal_write_half(uint16_t bits, char out[static DECIMAL_BYTES]) {
    uint32_t mantissa = bits & 0x3ff;
    int exponent = bits >> 10 & 0x1f;
    ASSERT(exponent != 0x1f);
    if (exponent == 0) {
        return write_float((bits & 0x8000) != 0, mantissa, -24, false, out);
    }
    return write_float((bits & 0x8000) != 0, mantissa | 0x400, exponent - 25,
                       mantissa == 0 && exponent > 1, out);
}
