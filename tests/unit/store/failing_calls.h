/* Calls of the store's to SQLite and to the system that fail on demand: the linker puts these in the place of the real
 * ones (`--wrap`). A call that fails does nothing. Only calls of orrery's are meant, not SQLite's own. */
#ifndef ORRERY_TESTS_UNIT_STORE_FAILING_CALLS_H
#define ORRERY_TESTS_UNIT_STORE_FAILING_CALLS_H

#include "base/base.h"

#include <limits.h>

/* The next call but `calls` fails, of whatever thread, and no other one. */
void failing_calls_begin(int calls);
/* And the `count` - 1 after it fail too; what the system is asked for with this errno. */
enum { FAILING_CALLS_ALL = INT_MAX };
void failing_calls_begin_many(int calls, int count, int with_errno);
/* Whether one has failed. */
bool failing_calls_end(void);

#endif
