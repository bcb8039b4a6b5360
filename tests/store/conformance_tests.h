/* The parts of the suite. Each writes its tests into the array and returns how many they are. A test's state
 * is its struct world. */
#ifndef ORRERY_TESTS_STORE_CONFORMANCE_TESTS_H
#define ORRERY_TESTS_STORE_CONFORMANCE_TESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CONFORMANCE_TEST_MAXIMUM = 96 };

size_t conformance_run_tests(struct CMUnitTest *out_tests); /* runs, API keys, group commit */
size_t conformance_change_tests(struct CMUnitTest *out_tests);
size_t conformance_ledger_tests(struct CMUnitTest *out_tests); /* executions and their history */
size_t conformance_pinned_tests(struct CMUnitTest *out_tests); /* with what an execution runs */
size_t conformance_backfill_tests(struct CMUnitTest *out_tests);
size_t conformance_retention_tests(struct CMUnitTest *out_tests);

#endif
