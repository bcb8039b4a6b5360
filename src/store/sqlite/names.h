/* For neighbours in sqlite/: names that repeat (owners, models, versions of models) as keys of their rows,
 * which are made where there is none. Within a transaction. */
#ifndef ORRERY_STORE_SQLITE_NAMES_H
#define ORRERY_STORE_SQLITE_NAMES_H

#include "store/sqlite/session.h"

MUST_CHECK bool sqlite_intern_owner(struct store_session *session, const char *name,
                                    int64_t *out_key, struct error *err);
MUST_CHECK bool sqlite_intern_model(struct store_session *session, const char *name,
                                    int64_t *out_key, struct error *err);
/* The execution's model, version and digest; 0 where neither version nor digest is known. */
MUST_CHECK bool sqlite_intern_model_file(struct store_session *session,
                                         const struct execution *execution, int64_t *out_key,
                                         struct error *err);

/* After a rollback, and at the end. */
void sqlite_forget_names(struct store_session *session);

#endif
