/* GET /api/scheduled/{run_id}/explain?at=TIME: why an instant is a slot of this run or not, when it starts, and what
 * became of it. Every fact is a member of its own; `explanation` says the same in sentences. */
#include "api/answer.h"
#include "api/call.h"
#include "api/encode.h"
#include "api/query.h"

enum { SENTENCES_BYTES_MAXIMUM = 64 * 1024, SAME_SLOT_MAXIMUM = 16 };

enum { QUERY_AT, QUERY_PARAMETERS };

struct explanation {
    const struct run *run;
    struct timetable timetable;
    struct wall_time at;
    struct cron_decision decision;
    bool matches;            /* the expression in its zone */
    bool in_bounds;          /* start_at and end_at */
    struct wall_time due_at; /* with jitter; NONE if it is no slot */
    bool has_execution;
    struct execution execution; /* what became of it */
};

static bool is_in_bounds(const struct run *run, struct wall_time at) {
    return (wall_time_is_none(run->start_at) || at.us >= run->start_at.us) &&
           (wall_time_is_none(run->end_at) || at.us < run->end_at.us);
}

/* The first executions that match; in a long history they may be some pages down. */
static bool list_executions(struct call *call, struct execution_filter filter,
                            struct execution **out_found, size_t *out_count, struct error *err) {
    do {
        if (!store_list_executions(call->reader, &filter, call_arena(call), out_found, out_count,
                                   &filter.before_key, err)) {
            return false;
        }
    } while (*out_count == 0 && filter.before_key != 0);
    return true;
}

/* The slot's own execution (the newest attempt), or the gap that it was missed in. */
static bool find_execution(struct call *call, struct explanation *explanation, struct error *err) {
    struct execution_filter filter = {.run_key = explanation->run->key,
                                      .since = explanation->at,
                                      .until = {explanation->at.us + 1},
                                      .limit = SAME_SLOT_MAXIMUM};
    struct execution *found;
    size_t count;
    if (!list_executions(call, filter, &found, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count && !explanation->has_execution; i++) {
        if (found[i].trigger != TRIGGER_MANUAL) {
            explanation->has_execution = true;
            explanation->execution = found[i];
        }
    }
    if (explanation->has_execution) {
        return true;
    }
    filter.since = WALL_TIME_NONE;
    filter.has_status = true;
    filter.status = EXECUTION_MISSED;
    filter.limit = 1;
    if (!list_executions(call, filter, &found, &count, err)) {
        return false;
    }
    if (count > 0 && found[0].missed_to.us >= explanation->at.us) {
        explanation->has_execution = true;
        explanation->execution = found[0];
    }
    return true;
}

static bool gather(struct call *call, struct explanation *explanation, struct error *err) {
    const struct run *run = explanation->run;
    const struct timetable *timetable = &explanation->timetable;
    struct wall_time at = explanation->at;
    explanation->decision = cron_decide(&timetable->cron, timetable->zone, at);
    explanation->matches = cron_matches(&timetable->cron, timetable->zone, at);
    explanation->in_bounds = is_in_bounds(run, at);
    explanation->due_at = WALL_TIME_NONE;
    if (explanation->matches && explanation->in_bounds) {
        struct cron_jitter jitter = {.hash_seed = cron_hash(&run->key, sizeof run->key),
                                     .width = run->jitter};
        explanation->due_at = cron_jitter_apply(&jitter, at, timetable_next(timetable, at));
    }
    return find_execution(call, explanation, err);
}

/* --- in sentences ------------------------------------------------------------------------------- */

static void add_sentence(struct text *out, const char *sentence) {
    text_append(out, out->size_bytes == 1 ? "" : ",");
    text_append_json_string(out, sentence);
}

static void add_bounds(const struct explanation *explanation, struct arena *arena,
                       struct text *out) {
    char bound[RFC3339_BYTES];
    const struct run *run = explanation->run;
    if (!wall_time_is_none(run->start_at) && explanation->at.us < run->start_at.us) {
        wall_time_format(run->start_at, bound);
        add_sentence(out, arena_printf(arena, "It lies before start_at, %s", bound));
    } else if (!wall_time_is_none(run->end_at) && explanation->at.us >= run->end_at.us) {
        wall_time_format(run->end_at, bound);
        add_sentence(out, arena_printf(arena, "It does not lie before end_at, %s", bound));
    }
}

static void add_outcome(const struct explanation *explanation, struct wall_time now,
                        struct arena *arena, struct text *out) {
    const struct execution *execution = &explanation->execution;
    const struct run *run = explanation->run;
    if (explanation->has_execution) {
        add_sentence(
            out, arena_printf(arena, "What became of it: %s (trigger %s, attempt %u)%s%s",
                              execution_status_name(execution->status),
                              execution_trigger_name(execution->trigger), execution->attempt,
                              execution->error_message == NULL ? "" : ": ",
                              execution->error_message == NULL ? "" : execution->error_message));
    } else if (wall_time_is_none(explanation->due_at)) {
        return;
    } else if (!run->enabled) {
        add_sentence(out, "The run is disabled, so it does not fire");
    } else if (!wall_time_is_none(run->paused_at)) {
        add_sentence(out, "The run is paused; its slots become one `missed` record when that ends");
    } else if (explanation->due_at.us > now.us) {
        add_sentence(out, arena_printf(arena,
                                       "It is still to come; if an earlier execution has not ended "
                                       "by then, `overlap: %s` decides",
                                       overlap_policy_name(run->overlap)));
    } else if (explanation->at.us < run->created_at.us) {
        add_sentence(out, "The run did not exist yet");
    } else {
        add_sentence(out, "There is no record of it: the run was disabled or had another schedule "
                          "then, or the record is no longer kept");
    }
}

static void append_sentences(struct call *call, const struct explanation *explanation,
                             struct text *body) {
    struct arena *arena = call_arena(call);
    struct text sentences;
    struct text words;
    text_init(&sentences, SENTENCES_BYTES_MAXIMUM);
    text_init(&words, SENTENCES_BYTES_MAXIMUM);
    text_append_char(&sentences, '[');
    cron_describe(&explanation->timetable.cron, &words);
    add_sentence(&sentences, arena_printf(arena, "The schedule: %s, in %s", text_string(&words),
                                          zone_name(explanation->timetable.zone)));
    text_reset(&words);
    cron_decision_describe(&explanation->decision, &words);
    add_sentence(&sentences, text_string(&words));
    add_bounds(explanation, arena, &sentences);
    if (!wall_time_is_none(explanation->due_at) && explanation->due_at.us != explanation->at.us) {
        char due[RFC3339_BYTES];
        wall_time_format(explanation->due_at, due);
        add_sentence(&sentences, arena_printf(arena, "Jitter has it start at %s", due));
    }
    add_outcome(explanation, call->now, arena, &sentences);
    text_append_char(&sentences, ']');
    text_append(body, text_ok(&sentences) ? text_string(&sentences) : "[]");
    text_fini(&words);
    text_fini(&sentences);
}

static void append_body(struct call *call, const struct explanation *explanation,
                        struct text *body) {
    const struct run *run = explanation->run;
    const struct cron_decision *decision = &explanation->decision;
    char local[RFC3339_BYTES];
    char jitter[DURATION_BYTES];
    wall_time_format_offset(explanation->at, decision->offset_seconds, local);
    duration_format(run->jitter, jitter);
    text_append(body, "{\"run_id\":");
    json_id(body, run->key, call_store_tag(call));
    text_append(body, ",\"at\":");
    json_time(body, explanation->at);
    text_append(body, ",\"local_time\":");
    json_string(body, local);
    text_append(body, ",\"schedule\":");
    json_string(body, run->schedule);
    text_append(body, ",\"timezone\":");
    json_string(body, run->zone_name);
    text_append(body, ",\"tzdata_version\":");
    json_string(body, zone_database_version());
    text_printf(body, ",\"is_slot\":%s,\"matches_schedule\":%s,\"within_bounds\":%s,\"enabled\":%s",
                explanation->matches && explanation->in_bounds ? "true" : "false",
                explanation->matches ? "true" : "false", explanation->in_bounds ? "true" : "false",
                run->enabled ? "true" : "false");
    text_append(body, ",\"previous_slot\":");
    json_time(body, decision->previous);
    text_append(body, ",\"next_slot\":");
    json_time(body, decision->next);
    text_append(body, ",\"jitter\":");
    json_string(body, jitter);
    text_append(body, ",\"due_at\":");
    json_time(body, explanation->due_at);
    text_append(body, ",\"overlap\":");
    json_string(body, overlap_policy_name(run->overlap));
    text_append(body, ",\"execution\":");
    if (explanation->has_execution) {
        execution_to_json(body, &explanation->execution, call_store_tag(call));
    } else {
        text_append(body, "null");
    }
    text_append(body, ",\"explanation\":");
    append_sentences(call, explanation, body);
    text_append_char(body, '}');
}

bool runs_explain(struct call *call, struct error *err) {
    struct query_parameter query[QUERY_PARAMETERS] = {{"at", NULL}};
    struct run run;
    struct explanation explanation = {.run = &run};
    if (!call_get_run(call, &run, err) ||
        !query_read(call->request, query, QUERY_PARAMETERS, err) ||
        !query_time(&query[QUERY_AT], call_arena(call), &explanation.at, err)) {
        return false;
    }
    if (wall_time_is_none(explanation.at)) {
        return error_set_field(err, ERROR_INVALID, "at", "at is required: an RFC 3339 time");
    }
    if (!timetable_init(&explanation.timetable, &run, err)) {
        return false;
    }
    bool ok = gather(call, &explanation, err);
    if (ok) {
        struct text body;
        answer_begin(&body, RUN_JSON_BYTES);
        append_body(call, &explanation, &body);
        answer_json(call->request, 200, &body);
    }
    timetable_fini(&explanation.timetable);
    return ok;
}
