/* The text of a schedule into sets. One pass from the left; the first thing that is not of the
 * language is the error, with its column. */
#include "cron/cron.h"
#include "cron/pattern.h"

#include <stdio.h>
#include <string.h>

#define HUGE_NUMBER UINT32_C(1000000)

enum {
    MOST_FIELDS = 7,
    LEAST_FIELDS = 5,
    AT_TEXT_BYTES = 64,
    HASH_LAST_DAY = 28, /* Jenkins: H in day of month is 1 to 28, a day that every month has */
};

enum field_id { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, YEAR };

struct field_row {
    const char *name;
    const char *const *names; /* of least, least + 1 … */
    const char *expected;     /* at the beginning of a list's entry */
    uint32_t name_count;
    uint32_t least;
    uint32_t most;
    uint32_t hash_most; /* H is drawn from least to this; 0: no H */
};

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

static const struct field_row field_rows[] = {
    [SECOND] = {"second", NULL, "a number 0-59, '*' or H", 0, 0, 59, 59},
    [MINUTE] = {"minute", NULL, "a number 0-59, '*' or H", 0, 0, 59, 59},
    [HOUR] = {"hour", NULL, "a number 0-23, '*' or H", 0, 0, 23, 23},
    [DAY] = {"day of month", NULL, "a number 1-31, '*', '?', L, LW or H", 0, 1, 31, HASH_LAST_DAY},
    [MONTH] = {"month", month_names, "a number 1-12, JAN-DEC, '*' or H", 12, 1, 12, 12},
    [WEEKDAY] = {"day of week", weekday_names, "a number 0-7, SUN-SAT, '*', '?' or H", 7, 0, 7, 6},
    [YEAR] = {"year", NULL, "a number 1970-2199 or '*'", 0, PATTERN_FIRST_YEAR, PATTERN_LAST_YEAR,
              0},
};

struct nickname {
    const char *name;
    const char *pattern;
};

static const struct nickname nicknames[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

/* One field being read. `end` is its end; the whole text is NUL-terminated, so *at may be looked
 * at. */
struct parser {
    const char *text;
    const char *at;
    const char *end;
    enum field_id field;
    uint32_t entry; /* which entry of the list */
    uint64_t hash_seed;
    struct error *err;
};

/* ---- Errors ---- */

static bool fail_at(struct error *err, const char *text, const char *at, const char *field,
                    const char *message) {
    uint32_t column = (uint32_t)(at - text) + 1;
    error_set_field(err, ERROR_INVALID_CRON, "schedule", "%s%s%s (column %u)",
                    field == NULL ? "" : field, field == NULL ? "" : ": ", message, column);
    err->column = column;
    return false;
}

static bool fail(const struct parser *parser, const char *at, const char *message) {
    return fail_at(parser->err, parser->text, at, field_rows[parser->field].name, message);
}

/* "found 'x'": what stands at `at`, so that the message stays readable and UTF-8 whatever it is. */
static void describe_found(char *out, size_t out_bytes, const char *at, const char *end) {
    unsigned char found = at < end ? (unsigned char)*at : '\0';
    if (found == '\0') {
        snprintf(out, out_bytes, "the end of the field");
    } else if (found > ' ' && found < 0x7f) {
        snprintf(out, out_bytes, "'%c'", found);
    } else {
        snprintf(out, out_bytes, "byte 0x%02x", found);
    }
}

static bool fail_expected(const struct parser *parser, const char *expected) {
    char found[32];
    char message[160];
    describe_found(found, sizeof found, parser->at, parser->end);
    snprintf(message, sizeof message, "expected %s, found %s", expected, found);
    return fail(parser, parser->at, message);
}

static bool fail_range(const struct parser *parser, const char *at, size_t length, uint32_t least,
                       uint32_t most) {
    char message[96];
    int shown = (int)MIN_OF(length, (size_t)20);
    snprintf(message, sizeof message, "%.*s%s is out of range %u-%u", shown, at,
             length > (size_t)shown ? "…" : "", least, most);
    return fail(parser, at, message);
}

/* ---- Numbers and names ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static char upper(char c) {
    if (c >= 'a' && c <= 'z') {
        return (char)(c - 'a' + 'A');
    }
    return c;
}

static char peek(const struct parser *parser) {
    if (parser->at < parser->end) {
        return *parser->at;
    }
    return '\0';
}

static bool take(struct parser *parser, char expected) {
    if (peek(parser) != expected) {
        return false;
    }
    parser->at++;
    return true;
}

static bool read_number(struct parser *parser, uint32_t least, uint32_t most, const char *expected,
                        uint32_t *out) {
    const char *start = parser->at;
    uint32_t value = 0;
    while (is_digit(peek(parser))) {
        value = value * 10 + (uint32_t)(*parser->at++ - '0');
        value = MIN_OF(value, HUGE_NUMBER); /* does not overflow, and is out of any range */
    }
    if (parser->at == start) {
        return fail_expected(parser, expected);
    }
    if (value < least || value > most) {
        return fail_range(parser, start, (size_t)(parser->at - start), least, most);
    }
    *out = value;
    return true;
}

/* A number of the field's range, or one of its names in any case. */
static bool read_value(struct parser *parser, uint32_t *out, bool *out_is_sunday_name) {
    const struct field_row *row = &field_rows[parser->field];
    *out_is_sunday_name = false;
    if (is_letter(peek(parser)) && parser->end - parser->at >= 3) {
        for (uint32_t i = 0; i < row->name_count; i++) {
            const char *name = row->names[i];
            if (upper(parser->at[0]) == name[0] && upper(parser->at[1]) == name[1] &&
                upper(parser->at[2]) == name[2]) {
                parser->at += 3;
                *out = row->least + i;
                *out_is_sunday_name = parser->field == WEEKDAY && i == 0;
                return true;
            }
        }
    }
    return read_number(parser, row->least, row->most, row->expected, out);
}

/* ---- Sets under construction ---- */

/* The field's set: bits of `low`, or years. */
struct field_set {
    uint64_t low;
    uint64_t years[4];
    bool is_open;       /* its first entry is '*' or '?' */
    uint32_t nearest;   /* nW, LW */
    uint64_t nth_lanes; /* weekdays with # or L (see struct cron) */
};

static void add_range(const struct parser *parser, struct field_set *set, uint32_t from,
                      uint32_t to, uint32_t step) {
    if (parser->field == YEAR) {
        for (uint32_t year = from; year <= to; year += step) {
            uint32_t i = year - PATTERN_FIRST_YEAR;
            set->years[i / 64] |= UINT64_C(1) << i % 64;
        }
        return;
    }
    if (step == 1) {
        set->low |= UINT64_MAX >> (63 - (to - from)) << from;
        return;
    }
    for (uint32_t value = from; value <= to; value += step) {
        set->low |= UINT64_C(1) << value;
    }
}

/* "/n" after a wildcard or range; 1 if there is none. Larger steps than the range leave its first
 * value (section 5.1 of the specification has no upper bound). */
static bool read_step(struct parser *parser, uint32_t *out_step) {
    *out_step = 1;
    if (!take(parser, '/')) {
        return true;
    }
    const char *start = parser->at;
    if (!read_number(parser, 0, HUGE_NUMBER, "a step such as /5", out_step)) {
        return false;
    }
    return *out_step > 0 || fail(parser, start, "a step of 0 never advances: expected 1 or more");
}

/* ---- H ---- */

static uint64_t entry_hash(const struct parser *parser) {
    uint64_t parts[3] = {parser->hash_seed, (uint64_t)parser->field, parser->entry};
    return cron_hash(parts, sizeof parts);
}

/* A number below `count`, drawn by the hash. */
static uint32_t draw(uint64_t hash, uint32_t count) {
    return (uint32_t)((hash >> 32) * count >> 32);
}

/* H, H(a-b), H/n, H(a-b)/n. */
static bool read_hash(struct parser *parser, struct field_set *set) {
    const struct field_row *row = &field_rows[parser->field];
    const char *start = parser->at++;
    uint32_t from = row->least;
    uint32_t to = row->hash_most;
    bool sunday;
    if (to == 0) {
        return fail(parser, start, "H has no meaning for a year");
    }
    if (take(parser, '(')) {
        const char *range = parser->at;
        if (!read_value(parser, &from, &sunday)) {
            return false;
        }
        if (!take(parser, '-')) {
            return fail_expected(parser, "'-'");
        }
        if (!read_value(parser, &to, &sunday)) {
            return false;
        }
        if (!take(parser, ')')) {
            return fail_expected(parser, "')'");
        }
        if (from > to) {
            return fail(parser, range, "the range is reversed: expected the smaller value first");
        }
    }
    uint32_t count = to - from + 1;
    if (peek(parser) != '/') {
        uint32_t value = from + draw(entry_hash(parser), count);
        add_range(parser, set, value, value, 1);
        return true;
    }
    const char *step_start = parser->at + 1;
    uint32_t step;
    if (!read_step(parser, &step)) {
        return false;
    }
    if (step > count) {
        return fail_range(parser, step_start, (size_t)(parser->at - step_start), 1, count);
    }
    add_range(parser, set, from + draw(entry_hash(parser), step), to, step);
    return true;
}

/* ---- One entry of a list ---- */

static bool read_last_day(struct parser *parser, struct field_set *set) {
    parser->at++;
    if (take(parser, 'W')) {
        set->nearest = CRON_LAST_WEEKDAY;
    } else {
        set->low |= 1;
    }
    return true;
}

/* After a weekday: "#1" to "#5", "#L" or "L". */
static bool read_nth(struct parser *parser, uint32_t weekday, struct field_set *set) {
    uint32_t lane = LAST_LANE;
    bool is_numbered = take(parser, '#');
    if (!take(parser, 'L')) {
        if (!is_numbered || !read_number(parser, 1, 5, "a number 1-5 or L after '#'", &lane)) {
            return false;
        }
        lane--;
    }
    set->nth_lanes |= UINT64_C(1) << (lane * 7 + weekday % 7);
    return true;
}

static bool read_range_or_value(struct parser *parser, struct field_set *set) {
    const char *start = parser->at;
    uint32_t from, to;
    bool from_sunday, to_sunday;
    if (!read_value(parser, &from, &from_sunday)) {
        return false;
    }
    if (parser->field == DAY && take(parser, 'W')) {
        set->nearest = from;
        return true;
    }
    if (parser->field == WEEKDAY && (peek(parser) == '#' || peek(parser) == 'L')) {
        return read_nth(parser, from, set);
    }
    if (peek(parser) == '/') {
        return fail(parser, parser->at,
                    "a step needs '*' or a range before it, as in */10 or 5-59/10");
    }
    if (!take(parser, '-')) {
        add_range(parser, set, from, from, 1);
        return true;
    }
    if (!read_value(parser, &to, &to_sunday)) {
        return false;
    }
    if (to_sunday && !from_sunday) {
        to = 7; /* SUN is 0 or 7: FRI-SUN is 5-7 */
    }
    if (from > to) {
        return fail(parser, start, "the range is reversed: expected the smaller value first");
    }
    uint32_t step;
    if (!read_step(parser, &step)) {
        return false;
    }
    add_range(parser, set, from, to, step);
    return true;
}

static bool read_entry(struct parser *parser, struct field_set *set) {
    const struct field_row *row = &field_rows[parser->field];
    char first = peek(parser);
    bool is_day_field = parser->field == DAY || parser->field == WEEKDAY;
    if (first == '*' || (first == '?' && is_day_field)) {
        parser->at++;
        set->is_open |= parser->entry == 0 && peek(parser) != '/';
        uint32_t step;
        if (!read_step(parser, &step)) {
            return false;
        }
        add_range(parser, set, row->least, row->most, step);
        return true;
    }
    if (first == 'H') {
        return read_hash(parser, set);
    }
    if (first == 'L' && parser->field == DAY) {
        return read_last_day(parser, set);
    }
    return read_range_or_value(parser, set);
}

static bool read_field(struct parser *parser, struct field_set *set) {
    const char *start = parser->at;
    *set = (struct field_set){0};
    for (parser->entry = 0;; parser->entry++) {
        if (!read_entry(parser, set)) {
            return false;
        }
        if (set->nearest != 0 && (parser->entry > 0 || peek(parser) == ',')) {
            return fail(parser, start, "W stands for one day and cannot be part of a list");
        }
        if (parser->at == parser->end) {
            return true;
        }
        if (!take(parser, ',')) {
            return fail_expected(parser, "',' or the end of the field");
        }
    }
}

/* ---- The whole ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

struct token {
    const char *start;
    const char *end;
};

/* Cuts the text at blanks. The number of tokens, of which the first `most` are written. */
static size_t split(const char *text, struct token *tokens, size_t most) {
    size_t count = 0;
    for (const char *at = text; *at != '\0';) {
        if (is_blank(*at)) {
            at++;
            continue;
        }
        const char *start = at;
        while (*at != '\0' && !is_blank(*at)) {
            at++;
        }
        if (count < most) {
            tokens[count] = (struct token){start, at};
        }
        count++;
    }
    return count;
}

/* Spreads plain weekdays (0 to 7) over the five lanes. */
static uint64_t weekday_lanes(uint64_t weekdays) {
    uint64_t week = (weekdays & 127) | (weekdays >> 7 & 1);
    return week | week << 7 | week << 14 | week << 21 | week << 28;
}

static void store_field(enum field_id field, const struct field_set *set, struct cron *cron) {
    switch (field) {
    case SECOND:
        cron->seconds = set->low & ((UINT64_C(1) << 60) - 1);
        break;
    case MINUTE:
        cron->minutes = set->low & ((UINT64_C(1) << 60) - 1);
        break;
    case HOUR:
        cron->hours = (uint32_t)set->low;
        break;
    case DAY:
        cron->days = (uint32_t)set->low;
        cron->nearest = set->nearest & 63;
        cron->days_open = set->is_open;
        break;
    case MONTH:
        cron->months = set->low & 0x1fff;
        break;
    case WEEKDAY:
        cron->weekdays = (weekday_lanes(set->low) | set->nth_lanes) & ((UINT64_C(1) << 42) - 1);
        cron->weekdays_open = set->is_open;
        break;
    case YEAR:
        memcpy(cron->years, set->years, sizeof cron->years);
        break;
    }
}

/* Why nothing matches, in the simplest words that are true. */
static bool fail_never(const struct cron *cron, struct error *err) {
    static const char *const full_names[] = {"January",   "February", "March",    "April",
                                             "May",       "June",     "July",     "August",
                                             "September", "October",  "November", "December"};
    uint32_t day = cron->nearest != 0 && cron->nearest <= 31 ? (uint32_t)cron->nearest
                   : cron->days > 1 ? (uint32_t)__builtin_ctz(cron->days & ~1U)
                                    : 0;
    uint32_t longest = 0;
    uint32_t months = (uint32_t)cron->months;
    for (uint32_t rest = months; rest != 0; rest &= rest - 1) {
        uint32_t month = (uint32_t)__builtin_ctz(rest);
        longest = MAX_OF(longest, month == 2 ? 29U : 30U + (UINT32_C(0x15aa) >> month & 1));
    }
    bool days_decide = !cron->days_open && !cron->either_day && (cron->days & 1) == 0;
    if (days_decide && day > longest) {
        if ((months & (months - 1)) == 0) {
            return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                                   "never fires: %s has no day %u",
                                   full_names[__builtin_ctz(months) - 1], day);
        }
        return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                               "never fires: none of these months has a day %u", day);
    }
    if (days_decide && cron->weekdays_open && months == 1U << 2) {
        return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                               "never fires: February has no day %u in these years", day);
    }
    return error_set_field(err, ERROR_NEVER_FIRES, "schedule",
                           "never fires: no date from 1970 to 2199 matches the fields together");
}

static bool finish_fields(struct cron *cron, bool all_days, const struct cron_options *options,
                          struct error *err) {
    cron->kind = CRON_FIELDS;
    cron->either_day = !all_days && !cron->days_open && !cron->weekdays_open;
    cron->every_day = cron->days_open && cron->weekdays_open;
    if (cron->is_elapsed) {
        cron->dst_missing = DST_MISSING_SKIP;
        cron->dst_repeated = DST_REPEATED_BOTH;
    } else {
        cron->dst_missing = options->dst_missing & 1;
        cron->dst_repeated = options->dst_repeated & 3;
    }
    struct cron written = *cron;
    return pattern_reduce_years(cron) || fail_never(&written, err);
}

static bool parse_fields(const char *text, const struct cron_options *options, struct cron *out,
                         struct error *err) {
    struct token tokens[MOST_FIELDS + 1];
    size_t count = split(text, tokens, COUNT_OF(tokens));
    if (count < LEAST_FIELDS || count > MOST_FIELDS) {
        const char *at = count > MOST_FIELDS ? tokens[MOST_FIELDS].start : text + strlen(text);
        char message[64];
        snprintf(message, sizeof message, "expected 5, 6 or 7 fields, found %zu", count);
        return fail_at(err, text, at, NULL, message);
    }
    struct cron cron = {.seconds = 1, .has_seconds = count > LEAST_FIELDS};
    memset(cron.years, 0xff, sizeof cron.years);
    cron.years[3] >>= 4 * 64 - (PATTERN_LAST_YEAR - PATTERN_FIRST_YEAR + 1);
    struct parser parser = {.text = text, .hash_seed = options->hash_seed, .err = err};
    bool needs_all_days = false;
    enum field_id field = count > LEAST_FIELDS ? SECOND : MINUTE;
    for (size_t i = 0; i < count; i++, field++) {
        struct field_set set;
        parser.field = field;
        parser.at = tokens[i].start;
        parser.end = tokens[i].end;
        cron.is_elapsed |= (field == MINUTE || field == HOUR) && *parser.at == '*';
        if (field == WEEKDAY && take(&parser, '+')) {
            needs_all_days = true;
        }
        if (!read_field(&parser, &set)) {
            return false;
        }
        store_field(field, &set, &cron);
    }
    if (!finish_fields(&cron, needs_all_days, options, err)) {
        return false;
    }
    *out = cron;
    return true;
}

/* The rest of the text after "@every" or "@at", without the blanks around it, as a string. */
static bool copy_argument(const char *text, const char *at, const char *expected,
                          char out[static AT_TEXT_BYTES], const char **out_start,
                          struct error *err) {
    while (is_blank(*at)) {
        at++;
    }
    size_t length = strlen(at);
    while (length > 0 && is_blank(at[length - 1])) {
        length--;
    }
    if (length == 0 || length >= AT_TEXT_BYTES) {
        return fail_at(err, text, at, NULL, expected);
    }
    memcpy(out, at, length);
    out[length] = '\0';
    *out_start = at;
    return true;
}

/* An error of the argument's own parser, as one of the whole text. */
static bool adopt_error(struct error *err, const char *text, const char *start, const char *word) {
    char message[ERROR_MESSAGE_BYTES];
    size_t length = strlen(err->message);
    const char *note = strstr(err->message, " (column ");
    snprintf(message, sizeof message, "%.*s",
             (int)(note == NULL ? length : (size_t)(note - err->message)), err->message);
    return fail_at(err, text, start + (err->column == 0 ? 0 : err->column - 1), word, message);
}

static bool parse_every(const char *text, const char *argument, struct cron *out,
                        struct error *err) {
    char copy[AT_TEXT_BYTES];
    const char *start;
    struct duration period = {0};
    if (!copy_argument(text, argument, "@every: expected a duration such as 90s or 1h30m", copy,
                       &start, err)) {
        return false;
    }
    if (!duration_parse(copy, &period, err)) {
        return adopt_error(err, text, start, "@every");
    }
    if (period.us < US_PER_SECOND) {
        return fail_at(err, text, start, "@every", "expected at least 1s");
    }
    *out = (struct cron){.kind = CRON_EVERY, .is_elapsed = true};
    out->period_us = period.us;
    return true;
}

static bool parse_at(const char *text, const char *argument, const struct cron_options *options,
                     struct cron *out, struct error *err) {
    char copy[AT_TEXT_BYTES];
    const char *start;
    int64_t seconds;
    bool has_offset;
    if (!copy_argument(text, argument, "@at: expected a time such as 2027-01-01T09:00:00", copy,
                       &start, err)) {
        return false;
    }
    if (!local_time_parse(copy, &seconds, &has_offset, err)) {
        return adopt_error(err, text, start, "@at");
    }
    *out = (struct cron){.kind = has_offset ? CRON_AT_INSTANT : CRON_AT_LOCAL,
                         .is_elapsed = has_offset,
                         .dst_missing = options->dst_missing & 1,
                         .dst_repeated = options->dst_repeated & 3};
    out->at_seconds = seconds;
    return true;
}

static bool word_is(const struct token *token, const char *word) {
    size_t length = strlen(word);
    return (size_t)(token->end - token->start) == length && memcmp(token->start, word, length) == 0;
}

static bool fail_nickname(const char *text, const struct token *word, struct error *err) {
    for (size_t i = 0; i < COUNT_OF(nicknames); i++) {
        size_t length = strlen(nicknames[i].name);
        size_t same = 0;
        while (same < length && upper(word->start[same]) == upper(nicknames[i].name[same])) {
            same++;
        }
        if (same == length && word->start + length == word->end) {
            char message[64];
            snprintf(message, sizeof message, "nicknames are lower case: expected %s",
                     nicknames[i].name);
            return fail_at(err, text, word->start, NULL, message);
        }
    }
    return fail_at(err, text, word->start, NULL,
                   "unknown nickname: expected @yearly, @annually, @monthly, @weekly, @daily, "
                   "@midnight, @hourly, @every or @at");
}

static bool parse_nickname(const char *text, const struct token *words, size_t count,
                           const struct cron_options *options, struct cron *out,
                           struct error *err) {
    if (word_is(&words[0], "@every")) {
        return parse_every(text, words[0].end, out, err);
    }
    if (word_is(&words[0], "@at")) {
        return parse_at(text, words[0].end, options, out, err);
    }
    if (word_is(&words[0], "@reboot")) {
        return fail_at(err, text, words[0].start, NULL,
                       "@reboot is a valid pattern, but orrery has no startup event to fire it on");
    }
    for (size_t i = 0; i < COUNT_OF(nicknames); i++) {
        if (word_is(&words[0], nicknames[i].name)) {
            if (count > 1) {
                return fail_at(err, text, words[1].start, NULL,
                               "a nickname stands alone: expected the end");
            }
            return parse_fields(nicknames[i].pattern, options, out, err);
        }
    }
    return fail_nickname(text, &words[0], err);
}

bool cron_parse(const char *text, const struct cron_options *options, struct cron *out_cron,
                struct error *err) {
    static const struct cron_options defaults = {0};
    if (options == NULL) {
        options = &defaults;
    }
    if (strnlen(text, CRON_TEXT_BYTES) == CRON_TEXT_BYTES) {
        return error_set_field(err, ERROR_INVALID_CRON, "schedule",
                               "the expression is too long: expected at most %d bytes",
                               CRON_TEXT_BYTES - 1);
    }
    struct token words[2] = {0};
    const char *start = text + strspn(text, " \t");
    if (*start == '@') {
        size_t count = split(text, words, COUNT_OF(words));
        ASSERT(count >= 1);
        return parse_nickname(text, words, count, options, out_cron, err);
    }
    return parse_fields(text, options, out_cron, err);
}
