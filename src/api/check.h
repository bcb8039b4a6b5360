/* What a body cannot tell by itself: whether there are such a model and such a zone, whether the parameters fit
 * the model, and when the run is due. */
#ifndef ORRERY_API_CHECK_H
#define ORRERY_API_CHECK_H

#include "api/answer.h"
#include "api/call.h"
#include "api/encode.h"

#include <yyjson.h>

/* Finds the model in the newest snapshot; one whose folder was only just dropped in is waited for. The caller gives
 * the snapshot back. ERROR_UNKNOWN_MODEL or ERROR_MODEL_UNAVAILABLE. */
MUST_CHECK bool check_find_model(struct call *call, const char *name, uint32_t version,
                                 const struct model_snapshot **out_snapshot,
                                 const struct model **out_model,
                                 const struct model_version **out_version, struct error *err);

/* Whether the parameters (NULL: none) fit the model; any do where its signature is not known. */
MUST_CHECK bool check_fit(const struct model *model, const struct model_version *version,
                          yyjson_val *parameters, struct error *err);

/* Whether the model is there and loads, and the parameters (NULL: none) fit its signature. Where a scheduled run
 * asks, a model that does not load is as wrong as an unknown one: it is no use to try again. */
MUST_CHECK bool check_model(struct call *call, const char *name, uint32_t version,
                            yyjson_val *parameters, struct error *err);

/* What follows from a run's schedule. */
struct check_slots {
    struct wall_time first; /* NONE: none is left */
    struct wall_time slots[NEXT_RUNS];
    size_t count;
};

/* Compiles the schedule of a run that has its key, and finds the slots after `now`. What is wrong with the schedule,
 * the zone or the bounds becomes a problem, unless the field has one already; an enabled run with no slot left is
 * wrong if `must_fire`. */
void check_schedule(const struct run *run, struct wall_time now, bool must_fire,
                    struct problems *problems, struct check_slots *out_slots);

#endif
