/* model.json of models on other servers. */
#include "model/settings_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct model_settings settings;
static struct error err;
static struct arena arena;

static int free_arena(void **state) {
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* With these keys beside the backend and, where `keys` has none, a url. */
static bool parse(const char *backend, const char *keys) {
    static const char url[] = "\"url\": \"http://host/\", ";
    char text[4096];
    snprintf(text, sizeof text, "{\"backend\": \"%s\", %s%s}", backend,
             strstr(keys, "\"url\"") == NULL ? url : "", keys);
    return model_settings_parse(text, strlen(text), &arena, &settings, &err);
}

static void all_keys_but_the_address_are_optional(void **state) {
    (void)state;
    assert_true(parse("http", "\"url\": \"http://host\""));
    const struct http_settings *http = settings.http;
    assert_string_equal(http->url, "http://host");
    assert_null(http->unix_socket);
    assert_null(http->ca_file);
    assert_string_equal(http->method, "POST");
    assert_int_equal(http->header_count, 0);
    assert_string_equal(http->body, "\"$parameters\"");
    assert_string_equal(http->result_pointer, "");
    assert_int_equal(http->retryable_status_count, 7);
    assert_int_equal(http->connect_timeout.us, 10 * US_PER_SECOND);
    assert_int_equal(http->first_byte_timeout.us, 0);
    assert_true(http->answer_bytes_maximum == UINT64_C(16) << 20);
    assert_int_equal(settings.max_concurrency, 16);
}

static void each_key_is_read(void **state) {
    (void)state;
    assert_true(parse(
        "http", "\"url\": \"https://host:8/a?b\", \"method\": \"PUT\", "
                "\"headers\": {\"X-A\": \"${secret:a}\", \"Host\": \"b\", \"X-Empty\": \"\"}, "
                "\"body\": {\"in\": [ \"$parameters\" ]}, \"result\": \"/out/0\", "
                "\"retryable_statuses\": [300, 599], \"unix_socket\": \"/run/a\", "
                "\"ca_file\": \"/etc/ca\", \"connect_timeout\": \"1s\", "
                "\"first_byte_timeout\": \"2m\", \"answer_limit\": 5"));
    const struct http_settings *http = settings.http;
    assert_string_equal(http->url, "https://host:8/a?b");
    assert_string_equal(http->method, "PUT");
    assert_int_equal(http->header_count, 3);
    assert_string_equal(http->headers[0].name, "X-A");
    assert_string_equal(http->headers[0].value, "${secret:a}");
    assert_string_equal(http->headers[2].value, "");
    assert_string_equal(http->body, "{\"in\":[\"$parameters\"]}");
    assert_string_equal(http->result_pointer, "/out/0");
    assert_int_equal(http->retryable_status_count, 2);
    assert_int_equal(http->retryable_statuses[1], 599);
    assert_string_equal(http->unix_socket, "/run/a");
    assert_string_equal(http->ca_file, "/etc/ca");
    assert_int_equal(http->connect_timeout.us, US_PER_SECOND);
    assert_int_equal(http->first_byte_timeout.us, 120 * US_PER_SECOND);
    assert_int_equal(http->answer_bytes_maximum, 5);
    assert_true(parse("openinference", "\"model\": \"there\", \"first_byte_timeout\": \"1s\""));
    assert_string_equal(settings.http->served_name, "there");
    assert_int_equal(settings.http->first_byte_timeout.us, US_PER_SECOND);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"\"url\": \"http://\"",
         "url 'http://' is no address that begins with http:// or https:// and names a server"},
        {"\"url\": \"http://a b/\"", "url has white space or a control character in it"},
        {"\"url\": \"http://a/\\u007f\"", "url has white space or a control character in it"},
        {"\"url\": \"http://a/\\u0001\"", "url has white space or a control character in it"},
        {"\"url\": \"http://me@host/\"",
         "url has a name or password in it; use a header with ${secret:NAME}"},
        {"\"headers\": []", "headers is a list, expected an object of at most 64 strings"},
        {"\"headers\": {\"a\": 1}", "headers: a value is a number, expected a string"},
        {"\"headers\": {\"a:\": \"b\"}", "headers: 'a:' is no header field (RFC 9110)"},
        {"\"headers\": {\"\": \"b\"}", "headers: '' is no header field (RFC 9110)"},
        {"\"headers\": {\"a\": \"b\\r\\nc: d\"}", "headers: 'a' is no header field (RFC 9110)"},
        {"\"headers\": {\"a\": \"b\", \"A\": \"c\"}", "headers: 'A' is given twice"},
        {"\"headers\": {\"a\": \"b\", \"a\": \"b\"}", "headers: 'a' is given twice"},
        {"\"headers\": {\"idempotency-key\": \"1\"}",
         "headers: 'idempotency-key' cannot be set: it is each execution's id"},
        {"\"headers\": {\"Traceparent\": \"1\"}",
         "headers: 'Traceparent' cannot be set: it is made of each execution's id"},
        {"\"headers\": {\"CONTENT-LENGTH\": \"1\"}",
         "headers: 'CONTENT-LENGTH' cannot be set: it is the body's"},
        {"\"headers\": {\"Transfer-Encoding\": \"chunked\"}",
         "headers: 'Transfer-Encoding' cannot be set: the body is sent in one piece"},
        {"\"headers\": {\"Expect\": \"100-continue\"}",
         "headers: 'Expect' cannot be set: the body waits for no leave"},
        {"\"headers\": {\"Connection\": \"close\"}",
         "headers: 'Connection' cannot be set: connections are kept as the protocol has it"},
        {"\"headers\": {\"Accept-Encoding\": \"gzip\"}",
         "headers: 'Accept-Encoding' cannot be set: an answer is read as it comes"},
        {"\"first_byte_timeout\": 5",
         "first_byte_timeout is a number, expected a duration such as \"30s\""},
        {"\"first_byte_timeout\": \"0s\"", "first_byte_timeout must be more than 0"},
        {"\"first_byte_timeout\": \"1s\", \"first_byte_timeout\": \"1s\"",
         "first_byte_timeout is given twice"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_false(parse("http", cases[i].keys));
        assert_int_equal(err.kind, ERROR_INVALID);
        assert_string_equal(err.message + strlen("model.json: "), cases[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_keys_but_the_address_are_optional),
        cmocka_unit_test(each_key_is_read),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, free_arena);
}
