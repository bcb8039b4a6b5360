#include "model/openai.h"

#include "model/element.h"

#include <stdlib.h>
#include <string.h>

/* Lookups go through all members, so that these bound what one request costs. */
enum { MEMBERS_MAXIMUM = 256, PLACES_MAXIMUM = 10000 };

static bool refuse(struct error *err, const char *sentence) {
    return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters", "%s", sentence);
}

static bool refuse_kind(struct error *err, const char *key, yyjson_val *value,
                        const char *expected) {
    return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                           "parameters.%s is %s, expected %s", key, json_kind_name(value),
                           expected);
}

/* --- templates ----------------------------------------------------------------------------------- */

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_";

struct place {
    const char *name;
    size_t name_bytes;
    const char *end; /* after "}}" */
};

/* At "{{": whether a name and "}}" follow. All else is text. */
static bool find_name(const char *at, const char *end, struct place *out) {
    const char *begin = at + 2;
    while (begin < end && *begin == ' ') {
        begin++;
    }
    const char *after = begin;
    while (after < end && *after != '\0' && strchr(name_characters, *after) != NULL) {
        after++;
    }
    const char *close = after;
    while (close < end && *close == ' ') {
        close++;
    }
    if (after == begin || end - close < 2 || memcmp(close, "}}", 2) != 0) {
        return false;
    }
    *out = (struct place){begin, (size_t)(after - begin), close + 2};
    return true;
}

static bool is_name(const struct place *place, const char *name) {
    return strlen(name) == place->name_bytes && memcmp(name, place->name, place->name_bytes) == 0;
}

static bool append_variable(const struct place *place, yyjson_val *variables,
                            const struct openai_origin *origin, struct text *out,
                            struct error *err) {
    yyjson_val *value = yyjson_obj_getn(variables, place->name, place->name_bytes);
    if (yyjson_is_str(value)) {
        text_append_bytes(out, yyjson_get_str(value), yyjson_get_len(value));
        return true;
    }
    if (value != NULL) {
        size_t size_bytes;
        char *json CLEANUP(free_pointer) =
            yyjson_val_write(value, YYJSON_WRITE_NOFLAG, &size_bytes);
        ASSERT(json != NULL);
        text_append_bytes(out, json, size_bytes);
        return true;
    }
    const struct {
        const char *name;
        const char *value;
    } own[] = {{"scheduled_for", origin->scheduled_for},
               {"execution_id", origin->execution_id},
               {"run_id", origin->run_id}};
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        if (is_name(place, own[i].name)) {
            text_append(out, own[i].value == NULL ? "" : own[i].value);
            return true;
        }
    }
    return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                           "parameters.variables has no '%.*s', which the template asks for",
                           (int)MIN_OF(place->name_bytes, (size_t)60), place->name);
}

static bool fill(const char *template_text, size_t size_bytes, yyjson_val *variables,
                 const struct openai_origin *origin, struct text *out, struct error *err) {
    const char *end = template_text + size_bytes;
    const char *at = template_text;
    int place_count = 0;
    for (const char *next; (next = memmem(at, (size_t)(end - at), "{{", 2)) != NULL;) {
        struct place place;
        text_append_bytes(out, at, (size_t)(next - at));
        if (!find_name(next, end, &place)) {
            text_append_char(out, '{');
            at = next + 1;
            continue;
        }
        if (++place_count > PLACES_MAXIMUM) {
            return refuse(err, "the template asks for more than 10,000 variables");
        }
        if (!append_variable(&place, variables, origin, out, err)) {
            return false;
        }
        at = place.end;
    }
    text_append_bytes(out, at, (size_t)(end - at));
    return text_ok(out) ||
           error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                           "the template becomes longer than %zu bytes", out->maximum_bytes);
}

/* --- the request --------------------------------------------------------------------------------- */

struct building {
    const struct model *model;
    const struct openai_settings *settings;
    yyjson_val *parameters; /* an object, or NULL */
    yyjson_val *variables;  /* an object, or NULL */
    const struct openai_origin *origin;
    yyjson_mut_doc *document;
    yyjson_mut_val *root;
};

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

static void free_building(struct building *building) { yyjson_mut_doc_free(building->document); }

static yyjson_val *given(const struct building *building, const char *key) {
    return yyjson_obj_get(building->parameters, key);
}

static void add(struct building *building, const char *key, yyjson_mut_val *value) {
    bool ok = yyjson_mut_obj_add_val(building->document, building->root, key, value);
    ASSERT(ok);
}

static void add_copy(struct building *building, const char *key, yyjson_val *value) {
    add(building, key, yyjson_val_mut_copy(building->document, value));
}

static bool add_model(struct building *building, struct error *err) {
    yyjson_val *name = given(building, "model");
    if (name != NULL && !yyjson_is_str(name)) {
        return refuse_kind(err, "model", name, "a string");
    }
    const char *own = building->model->settings.http->served_name;
    if (name != NULL) {
        add_copy(building, "model", name);
    } else {
        add(building, "model",
            yyjson_mut_strcpy(building->document, own == NULL ? building->model->name : own));
    }
    return true;
}

/* A message from the template in the parameters, or else the model's own; none where there is neither. */
static bool add_message(struct building *building, yyjson_mut_val *messages, const char *key,
                        const char *role, const char *own, struct error *err) {
    yyjson_val *value = given(building, key);
    if (value != NULL && !yyjson_is_str(value)) {
        return refuse_kind(err, key, value, "a string");
    }
    if (value == NULL && own == NULL) {
        return true;
    }
    struct text content CLEANUP(text_fini);
    text_init(&content, OPENAI_BODY_BYTES_MAXIMUM);
    if (!fill(value == NULL ? own : yyjson_get_str(value),
              value == NULL ? strlen(own) : yyjson_get_len(value), building->variables,
              building->origin, &content, err)) {
        return false;
    }
    yyjson_mut_doc *document = building->document;
    yyjson_mut_val *message = yyjson_mut_arr_add_obj(document, messages);
    yyjson_mut_obj_add_str(document, message, "role", role);
    bool ok = yyjson_mut_obj_add_strncpy(document, message, "content", text_string(&content),
                                         content.size_bytes);
    ASSERT(ok);
    return true;
}

static bool add_given_messages(struct building *building, yyjson_val *messages, struct error *err) {
    if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0) {
        return refuse_kind(err, "messages", messages, "a list of messages that is not empty");
    }
    if (given(building, "prompt") != NULL || given(building, "system") != NULL) {
        return refuse(err, "parameters has messages, and prompt or system beside them; expected "
                           "the one or the other");
    }
    add_copy(building, "messages", messages);
    return true;
}

static bool add_chat(struct building *building, struct error *err) {
    yyjson_val *messages = given(building, "messages");
    if (given(building, "input") != NULL) {
        return refuse(err, "parameters.input is for embeddings, and this model's task is chat");
    }
    if (messages != NULL) {
        return add_given_messages(building, messages, err);
    }
    if (given(building, "prompt") == NULL && building->settings->prompt == NULL) {
        return refuse(err, "parameters has no prompt and no messages, and the model's model.json "
                           "no prompt");
    }
    yyjson_mut_val *list = yyjson_mut_arr(building->document);
    add(building, "messages", list);
    return add_message(building, list, "system", "system", building->settings->system, err) &&
           add_message(building, list, "prompt", "user", building->settings->prompt, err);
}

static bool add_embeddings(struct building *building, struct error *err) {
    static const char *const of_chat[] = {"prompt", "system", "messages", "variables"};
    for (size_t i = 0; i < COUNT_OF(of_chat); i++) {
        if (given(building, of_chat[i]) != NULL) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "parameters.%s is for chat, and this model's task is embeddings",
                                   of_chat[i]);
        }
    }
    yyjson_val *input = given(building, "input");
    if (!yyjson_is_str(input) && (!yyjson_is_arr(input) || yyjson_arr_size(input) == 0)) {
        return input == NULL
                   ? refuse(err, "parameters has no input, a string or a list of them")
                   : refuse_kind(err, "input", input, "a string or a list that is not empty");
    }
    add_copy(building, "input", input);
    return true;
}

static bool is_handled(yyjson_val *key) {
    static const char *const handled[] = {"model",    "prompt",    "system",
                                          "messages", "variables", "input"};
    for (size_t i = 0; i < COUNT_OF(handled); i++) {
        if (yyjson_equals_str(key, handled[i])) {
            return true;
        }
    }
    return false;
}

/* What is sent on as it is: first what this run says, then what the model says and the run does not. */
static bool add_options(struct building *building, yyjson_val *options, struct error *err) {
    yyjson_obj_iter iterator = yyjson_obj_iter_with(options);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        if (yyjson_equals_str(key, "stream") && !yyjson_is_false(value)) {
            return refuse(err, "parameters.stream: an execution has one answer; expected false");
        }
        const char *name = yyjson_get_str(key);
        size_t name_bytes = yyjson_get_len(key);
        if (!is_handled(key) && yyjson_mut_obj_getn(building->root, name, name_bytes) == NULL) {
            yyjson_mut_doc *document = building->document;
            bool ok =
                yyjson_mut_obj_add(building->root, yyjson_mut_strncpy(document, name, name_bytes),
                                   yyjson_val_mut_copy(document, value));
            ASSERT(ok);
        }
    }
    return true;
}

static bool check_size(const char *what, yyjson_val *object, struct error *err) {
    return yyjson_obj_size(object) <= MEMBERS_MAXIMUM ||
           error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                           "%s has %zu members, expected at most %d", what, yyjson_obj_size(object),
                           MEMBERS_MAXIMUM);
}

static bool build(struct building *building, struct error *err) {
    const struct openai_settings *settings = building->settings;
    yyjson_val *variables = given(building, "variables");
    if (variables != NULL && !yyjson_is_obj(variables)) {
        return refuse_kind(err, "variables", variables, "an object");
    }
    building->variables = variables;
    if (!check_size("parameters", building->parameters, err) ||
        !check_size("parameters.variables", variables, err) || !add_model(building, err) ||
        !(settings->task == OPENAI_CHAT ? add_chat(building, err)
                                        : add_embeddings(building, err)) ||
        !add_options(building, building->parameters, err)) {
        return false;
    }
    if (settings->options == NULL) {
        return true;
    }
    yyjson_doc *options CLEANUP(free_document) =
        yyjson_read(settings->options, strlen(settings->options), YYJSON_READ_NUMBER_AS_RAW);
    return add_options(building, yyjson_doc_get_root(options), err);
}

bool openai_append_body(const struct model *model, yyjson_val *parameters,
                        const struct openai_origin *origin, struct text *out, struct error *err) {
    if (yyjson_is_null(parameters)) {
        parameters = NULL;
    }
    if (parameters != NULL && !yyjson_is_obj(parameters)) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               "parameters is %s, expected an object", json_kind_name(parameters));
    }
    struct building building CLEANUP(free_building) = {
        .model = model,
        .settings = model->settings.http->openai,
        .parameters = parameters,
        .origin = origin,
        .document = yyjson_mut_doc_new(NULL),
    };
    ASSERT(building.document != NULL);
    building.root = yyjson_mut_obj(building.document);
    yyjson_mut_doc_set_root(building.document, building.root);
    if (!build(&building, err)) {
        return false;
    }
    if (out != NULL) {
        size_t size_bytes;
        char *json CLEANUP(free_pointer) =
            yyjson_mut_write(building.document, YYJSON_WRITE_NOFLAG, &size_bytes);
        ASSERT(json != NULL);
        text_append_bytes(out, json, size_bytes);
    }
    return true;
}
