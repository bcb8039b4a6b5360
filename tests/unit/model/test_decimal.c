#include "model/decimal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A full period generator with a fixed seed: the same numbers in every run. */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static const char *written(float value) {
    static char text[DECIMAL_BYTES + 1];
    text[decimal_write_float(value, text)] = '\0';
    return text;
}

static int significant_digits(const char *text) {
    char digits[DECIMAL_BYTES];
    int count = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9' && (count > 0 || *text != '0')) {
            digits[count++] = *text;
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    return count;
}

static void assert_reads_as(const char *text, float expected) {
    float value;
    assert_true(decimal_read_float(text, &value));
    if (bits_of(value) != bits_of(expected)) {
        fail_msg("%s reads as %a, expected %a", text, (double)value, (double)expected);
    }
}

static void a_float_survives_writing_and_reading_bit_for_bit(void **state) {
    (void)state;
    for (uint32_t exponent = 0; exponent < 0xff; exponent++) {
        for (int i = 0; i < 400; i++) {
            uint32_t mantissa = i == 0 ? 0 : i == 1 ? 0x7fffff : (uint32_t)next_random() & 0x7fffff;
            float value = float_of((uint32_t)(next_random() & 1) << 31 | exponent << 23 | mantissa);
            const char *text = written(value);
            assert_reads_as(text, value);
            assert_int_equal(bits_of(strtof(text, NULL)), bits_of(value));
        }
    }
}

static void a_float_is_written_with_the_fewest_digits(void **state) {
    (void)state;
    for (int i = 0; i < 60000; i++) {
        float value = float_of((uint32_t)next_random());
        if (!isfinite(value) || value == 0) {
            continue;
        }
        char text[64];
        int digits = 0;
        do {
            digits++;
            snprintf(text, sizeof text, "%.*e", digits - 1, (double)value);
        } while (strtof(text, NULL) != value);
        assert_int_equal(significant_digits(written(value)), digits);
    }
}

static void a_float_is_written_as_people_write_it(void **state) {
    (void)state;
    assert_string_equal(written(0.0F), "0.0");
    assert_string_equal(written(-0.0F), "-0.0");
    assert_string_equal(written(1.0F), "1.0");
    assert_string_equal(written(0.1F), "0.1");
    assert_string_equal(written(-2.5F), "-2.5");
    assert_string_equal(written(100.0F), "100.0");
    assert_string_equal(written(16777216.0F), "16777216.0");
    assert_string_equal(written(0.001F), "0.001");
    assert_string_equal(written(1e-7F), "1e-7");
    assert_string_equal(written(1.5e-7F), "1.5e-7");
    assert_string_equal(written(1e20F), "1e20");
    assert_string_equal(written(3.4028235e38F), "3.4028235e38");
    assert_string_equal(written(1e-45F), "1e-45");
}

static void every_half_survives_writing_and_reading(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        if ((bits & 0x7c00) == 0x7c00) {
            continue;
        }
        char text[DECIMAL_BYTES + 1];
        text[decimal_write_half((uint16_t)bits, text)] = '\0';
        uint16_t back;
        assert_true(decimal_read_half(text, &back));
        assert_int_equal(back, bits);
        assert_int_equal(half_from_double((double)half_to_float((uint16_t)bits)), bits);
        assert_true(significant_digits(text) <= 5);
    }
}

static void every_bfloat16_survives_writing_and_reading(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        if ((bits & 0x7f80) == 0x7f80) {
            continue;
        }
        char text[DECIMAL_BYTES + 1];
        text[decimal_write_float(bfloat16_to_float((uint16_t)bits), text)] = '\0';
        uint16_t back;
        assert_true(decimal_read_bfloat16(text, &back));
        assert_int_equal(back, bits);
        assert_int_equal(bfloat16_from_double((double)bfloat16_to_float((uint16_t)bits)), bits);
    }
    assert_true(isnan(bfloat16_to_float(bfloat16_from_double((double)NAN))));
    assert_int_equal(bfloat16_from_double((double)-INFINITY), 0xff80);
}

static uint16_t bfloat16_of(const char *text) {
    uint16_t bits;
    assert_true(decimal_read_bfloat16(text, &bits));
    return bits;
}

static void a_bfloat16_is_rounded_once_to_even(void **state) {
    (void)state;
    assert_int_equal(bfloat16_of("1.00390625"), 0x3f80); /* 1 + 2^-8, a middle */
    assert_int_equal(bfloat16_of("1.01171875"), 0x3f82);
    assert_int_equal(bfloat16_of("1.00390625000000000000000000000000001"), 0x3f81);
    assert_int_equal(bfloat16_of("1.00390624999999999999999999999999999"), 0x3f80);
    assert_int_equal(bfloat16_of("4.59177e-41"), 0); /* just below half of the least */
    assert_int_equal(bfloat16_of("4.6e-41"), 1);
    assert_int_equal(bfloat16_of("-3.3895e38"), 0xff7f);
    uint16_t ignored_bits;
    assert_false(decimal_read_bfloat16("3.4e38", &ignored_bits));
}

/* 1 + 2^-24 lies in the middle of 1 and the next float, and its decimal is exact. One more digit, far behind where a
 * double ends, decides: by way of a double it would be lost. */
static void a_decimal_is_rounded_once_and_not_by_way_of_a_double(void **state) {
    (void)state;
    assert_reads_as("1.000000059604644775390625", 1.0F);
    assert_reads_as("1.00000005960464477539062500000000000000000001", float_of(0x3f800001));
    assert_reads_as("1.00000005960464477539062499999999999999999999", 1.0F);
    assert_reads_as("1.000000178813934326171875", float_of(0x3f800002));
    assert_reads_as("1.00000017881393432617187499999999999999999999", float_of(0x3f800001));
    uint16_t bits;
    assert_true(decimal_read_half("1.00048828125", &bits));
    assert_int_equal(bits, 0x3c00);
    assert_true(decimal_read_half("1.00048828125000000000000000000000001", &bits));
    assert_int_equal(bits, 0x3c01);
    assert_true(decimal_read_half("1.00048828124999999999999999999999999", &bits));
    assert_int_equal(bits, 0x3c00);
}

static void decimals_around_every_middle_round_as_the_c_library_rounds(void **state) {
    (void)state;
    for (int i = 0; i < 60000; i++) {
        uint32_t bits = (uint32_t)next_random() & 0x7fffffff;
        if (bits >= 0x7f7fffff) {
            continue;
        }
        double middle = ((double)float_of(bits) + (double)float_of(bits + 1)) / 2;
        char text[512];
        snprintf(text, sizeof text, "%.160e", middle);
        char exponent[16];
        char *mark = strchr(text, 'e');
        snprintf(exponent, sizeof exponent, "%s", mark);
        if (i % 3 == 1) {
            snprintf(mark, 32, "1%s", exponent);
        } else if (i % 3 == 2) {
            snprintf(text, sizeof text, "%.17e", middle);
        }
        assert_reads_as(text, strtof(text, NULL));
    }
}

static void any_decimal_reads_as_the_c_library_reads_it(void **state) {
    (void)state;
    for (int i = 0; i < 60000; i++) {
        char text[96];
        int length = snprintf(text, sizeof text, "%s%llu.", next_random() % 2 == 0 ? "-" : "",
                              (unsigned long long)(next_random() % 10));
        int digits = 1 + (int)(next_random() % 30);
        while (digits-- > 0) {
            text[length++] = (char)('0' + next_random() % 10);
        }
        snprintf(text + length, sizeof text - (size_t)length, "e%d",
                 (int)(next_random() % 90) - 50);
        float expected = strtof(text, NULL);
        double wide;
        assert_true(decimal_read_double(text, &wide));
        assert_true(wide == strtod(text, NULL));
        float value;
        assert_int_equal(decimal_read_float(text, &value), isfinite(expected) != 0);
        if (isfinite(expected)) {
            assert_reads_as(text, expected);
        }
    }
}

static void what_is_too_large_for_a_format_is_refused(void **state) {
    (void)state;
    float value;
    double wide;
    uint16_t bits;
    assert_true(decimal_read_float("3.4028235e38", &value));
    assert_true(decimal_read_float("3.40282356e38", &value));
    assert_false(decimal_read_float("3.4028236e38", &value));
    assert_false(decimal_read_float("-1e39", &value));
    assert_false(decimal_read_double("1e309", &wide));
    assert_true(decimal_read_half("65519.999", &bits));
    assert_int_equal(bits, 0x7bff);
    assert_false(decimal_read_half("65520", &bits));
    assert_reads_as("1e-400", 0.0F);
    assert_reads_as("-1e-400", -0.0F);
}

static void whole_numbers_are_written_exactly(void **state) {
    (void)state;
    char text[DECIMAL_BYTES + 1];
    text[decimal_write_signed(INT64_MIN, text)] = '\0';
    assert_string_equal(text, "-9223372036854775808");
    text[decimal_write_signed(INT64_MAX, text)] = '\0';
    assert_string_equal(text, "9223372036854775807");
    text[decimal_write_unsigned(UINT64_MAX, text)] = '\0';
    assert_string_equal(text, "18446744073709551615");
    text[decimal_write_unsigned(0, text)] = '\0';
    assert_string_equal(text, "0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_float_survives_writing_and_reading_bit_for_bit),
        cmocka_unit_test(a_float_is_written_with_the_fewest_digits),
        cmocka_unit_test(a_float_is_written_as_people_write_it),
        cmocka_unit_test(every_half_survives_writing_and_reading),
        cmocka_unit_test(every_bfloat16_survives_writing_and_reading),
        cmocka_unit_test(a_bfloat16_is_rounded_once_to_even),
        cmocka_unit_test(a_decimal_is_rounded_once_and_not_by_way_of_a_double),
        cmocka_unit_test(decimals_around_every_middle_round_as_the_c_library_rounds),
        cmocka_unit_test(any_decimal_reads_as_the_c_library_reads_it),
        cmocka_unit_test(what_is_too_large_for_a_format_is_refused),
        cmocka_unit_test(whole_numbers_are_written_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
