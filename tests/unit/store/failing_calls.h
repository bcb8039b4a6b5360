/* Calls of the store's to SQLite and to the system that fail on demand: the linker puts these in the place of the real
 * ones (`--wrap`). A call that fails does nothing. Only calls of orrery's are meant, not SQLite's own. */
#ifndef ORRERY_TESTS_UNIT_STORE_FAILING_CALLS_H
#define ORRERY_TESTS_UNIT_STORE_FAILING_CALLS_H

#include "base/base.h"

/* The next call but `calls` fails, of whatever thread, and no other one. */
void failing_calls_begin(int calls);
/* Whether one has failed. */
bool failing_calls_end(void);

#endif
