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
/* The next `count` calls of this function, by the linker's name for it, fail with this code (SQLite's) or errno. */
void failing_calls_begin_of(const char *name, int count, int code);
/* What another process does just before the next call of this function: once, on the thread of the call. */
void failing_calls_act_before(const char *name, void (*act)(void *context), void *context);
/* Whether one has failed. */
bool failing_calls_end(void);

#endif
