/* What of a request's head is read here: paths, query values, and the header fields that are lists. */
#include "api/query.h"
#include "api/route.h"
#include "http/exchange.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void read_path(char *text, struct arena *arena) {
    size_t length = strlen(text);
    if (uri_decode(text, false)) {
        ASSERT(strlen(text) <= length);
        const struct route *route;
        const char *arguments[CALL_ARGUMENTS_MAXIMUM];
        const char *allowed;
        for (int method = HTTP_GET; method <= HTTP_OTHER_METHOD; method++) {
            (void)route_find((enum http_method)method, text, arena, &route, arguments, &allowed);
        }
    }
}

static void read_values(const char *text, struct arena *arena) {
    struct error err;
    struct query_parameter parameter = {"x", text};
    uint64_t number;
    struct wall_time time;
    if (query_number(&parameter, 1, 1, 1000, &number, &err)) {
        ASSERT(number >= 1 && number <= 1000);
    }
    (void)!query_time(&parameter, arena, &time, &err);
    struct text links;
    text_init(&links, 1 << 20);
    link_append(&links, "/p", &parameter, 1, "next");
    for (const char *at = text_string(&links); *at != '\0'; at++) {
        ASSERT(*at >= ' ' && *at < 0x7f);
    }
    text_fini(&links);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct arena arena = {0};
    struct error err;
    char *text = must_alloc(size_bytes + 1);
    if (size_bytes > 0) {
        memcpy(text, bytes, size_bytes);
    }
    text[size_bytes] = '\0';
    struct if_match if_match;
    if (if_match_parse(text, &if_match, &err)) {
        ASSERT(if_match.count <= IF_MATCH_MAXIMUM);
        ASSERT(!if_match_holds(&if_match, 0) || if_match.any);
    }
    (void)prefer_has(text, "respond-async");
    (void)media_type_is_json(text);
    read_values(text, &arena);
    read_path(text, &arena);
    free(text);
    arena_fini(&arena);
    return 0;
}
