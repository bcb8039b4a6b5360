#include "api/check.h"

#include "clock/zone.h"
#include "model/openai.h"
#include "model/tensor.h"

#include <string.h>

enum { MODEL_REFRESH_LIMIT_MS = 1000 };

/* The newest snapshot, after a short wait; NULL where the store does not go on. What the call reads from the store is
 * of no moment meanwhile: else the store's log could not be moved into its file. */
static const struct model_snapshot *wait_for_model(struct call *call, const char *name,
                                                   struct error *err) {
    bool was_reading = call_pause_reading();
    const struct model_snapshot *snapshot =
        model_repository_refresh(call->api->options.repository, name, MODEL_REFRESH_LIMIT_MS);
    if (was_reading && !call_resume_reading(call, err)) {
        model_snapshot_unref(snapshot);
        return NULL;
    }
    return snapshot;
}

bool check_find_model(struct call *call, const char *name, uint32_t version,
                      const struct model_snapshot **out_snapshot, const struct model **out_model,
                      const struct model_version **out_version, struct error *err) {
    const struct model_snapshot *snapshot =
        model_repository_snapshot(call->api->options.repository);
    const struct model *model;
    const struct model_version *found;
    bool ok = model_resolve(snapshot, name, version, &model, &found, err);
    if (!ok && model_snapshot_find(snapshot, name) == NULL) {
        model_snapshot_unref(snapshot);
        snapshot = wait_for_model(call, name, err);
        if (snapshot == NULL) {
            return false;
        }
        ok = model_resolve(snapshot, name, version, &model, &found, err);
    }
    if (!ok) {
        model_snapshot_unref(snapshot);
        return false;
    }
    *out_snapshot = snapshot;
    *out_model = model;
    *out_version = found;
    return true;
}

bool check_fit(const struct model *model, const struct model_version *version,
               yyjson_val *parameters, struct error *err) {
    if (model->settings.backend == MODEL_BACKEND_OPENAI) {
        return openai_append_body(model, parameters, &(struct openai_origin){0}, NULL, err);
    }
    return !version->has_signature ||
           tensors_from_json(&version->signature, parameters, NULL, NULL, err);
}

bool check_model(struct call *call, const char *name, uint32_t version, yyjson_val *parameters,
                 struct error *err) {
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *found;
    if (!check_find_model(call, name, version, &snapshot, &model, &found, err)) {
        if (err->kind == ERROR_MODEL_UNAVAILABLE) {
            err->kind = ERROR_UNKNOWN_MODEL;
        }
        if (err->field[0] == '\0') {
            memcpy(err->field, "model_name", sizeof "model_name");
        }
        return false;
    }
    bool ok = check_fit(model, found, parameters, err);
    model_snapshot_unref(snapshot);
    return ok;
}

static void add_problem(struct problems *problems, const struct error *err) {
    *problems_add(problems) = *err;
}

static void refuse_never(const struct run *run, const struct timetable *timetable,
                         struct wall_time now, struct problems *problems) {
    struct timetable unbounded = *timetable;
    unbounded.end_at = WALL_TIME_NONE;
    bool is_bound =
        !wall_time_is_none(run->end_at) && !wall_time_is_none(timetable_next(&unbounded, now));
    if (is_bound && run->end_at.us <= now.us) {
        error_set_field(problems_add(problems), ERROR_NEVER_FIRES, "end_at",
                        "never fires: end_at has passed");
    } else if (is_bound) {
        error_set_field(problems_add(problems), ERROR_NEVER_FIRES, "end_at",
                        "never fires: no slot is left before end_at");
    } else {
        error_set_field(problems_add(problems), ERROR_NEVER_FIRES, "schedule",
                        "never fires: no slot is left");
    }
}

void check_schedule(const struct run *run, struct wall_time now, bool must_fire,
                    struct problems *problems, struct check_slots *out_slots) {
    *out_slots = (struct check_slots){.first = WALL_TIME_NONE};
    struct run probe = *run;
    struct error err;
    const struct zone *zone;
    bool zone_is_known = false;
    if (!problems_about(problems, "timezone")) {
        zone_is_known = zone_open(run->zone_name, &zone, &err);
        if (zone_is_known) {
            zone_unref(zone);
        } else {
            add_problem(problems, &err);
        }
    }
    if (problems_about(problems, "schedule")) {
        return;
    }
    if (!zone_is_known) {
        /* The expression is looked at all the same. */
        probe.zone_name = "UTC";
    }
    struct timetable timetable;
    if (!timetable_init(&timetable, &probe, &err)) {
        add_problem(problems, &err);
        return;
    }
    if (problems->count == 0) {
        out_slots->count = next_runs(&timetable, now, out_slots->slots);
        if (out_slots->count > 0) {
            out_slots->first = out_slots->slots[0];
        } else if (must_fire && run->enabled) {
            refuse_never(run, &timetable, now, problems);
        }
    }
    timetable_fini(&timetable);
}
