#include "remote/request.h"

#include "base/identity.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOT_SECONDS = 1800000000 };
static const int64_t execution_key = INT64_C(1800000000) * US_PER_SECOND * 1024 + 5;

static struct text out;
static struct secrets secrets;
static struct error err;
static struct dispatch_job job;
static char folder[64];

static int setup(void **state) {
    (void)state;
    text_init(&out, (size_t)1 << 28);
    secrets_init(&secrets);
    job = (struct dispatch_job){
        .parameters = "{\"x\":[1,2]}",
        .parameters_bytes = strlen("{\"x\":[1,2]}"),
        .execution_key = execution_key,
        .origin = {.run_key = execution_key + 1,
                   .store_tag = 0xabcdef,
                   .scheduled_for = {(int64_t)SLOT_SECONDS * US_PER_SECOND},
                   .attempt = 1},
    };
    strcpy(folder, "/tmp/orrery-test-secrets-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    text_fini(&out);
    secrets_fini(&secrets);
    return system(command); /* NOLINT(cert-env33-c): a folder that mkdtemp named */
}

static const char *body_of(const char *template_text) {
    text_reset(&out);
    request_append_body(template_text, &job, &out);
    assert_true(text_ok(&out));
    return text_string(&out);
}

/* --- the body ------------------------------------------------------------------------------------ */

static void each_place_has_its_value(void **state) {
    (void)state;
    char id[UUID_TEXT_BYTES];
    char expected[64];
    assert_string_equal(body_of("\"$parameters\""), "{\"x\":[1,2]}");
    assert_string_equal(body_of("\"$scheduled_for\""), "\"2027-01-15T08:00:00.000000Z\"");
    identity_format(job.execution_key, job.origin.store_tag, id);
    snprintf(expected, sizeof expected, "\"%s\"", id);
    assert_string_equal(body_of("\"$execution_id\""), expected);
    identity_format(job.origin.run_key, job.origin.store_tag, id);
    snprintf(expected, sizeof expected, "\"%s\"", id);
    assert_string_equal(body_of("\"$run_id\""), expected);
}

static void what_a_job_has_not_is_null(void **state) {
    (void)state;
    job.execution_key = 0;
    job.origin = (struct dispatch_origin){0};
    assert_string_equal(
        body_of("[\"$scheduled_for\",\"$execution_id\",\"$run_id\",\"$parameters\"]"),
        "[null,null,null,{\"x\":[1,2]}]");
    /* A record without a slot: it was triggered. */
    job.execution_key = execution_key;
    job.origin.scheduled_for = WALL_TIME_NONE;
    assert_string_equal(body_of("\"$scheduled_for\""), "null");
}

static void places_are_found_at_any_depth_and_as_often_as_they_come(void **state) {
    (void)state;
    assert_string_equal(
        body_of(
            "{\"a\":[{\"b\":{\"c\":[\"$parameters\",1,\"$parameters\"]}}],\"d\":\"$parameters\"}"),
        "{\"a\":[{\"b\":{\"c\":[{\"x\":[1,2]},1,{\"x\":[1,2]}]}}],\"d\":{\"x\":[1,2]}}");
}

static void what_is_no_place_is_sent_as_it_stands(void **state) {
    (void)state;
    static const char *const templates[] = {
        "{\"$parameters\":1,\"$run_id\":{\"$scheduled_for\":[]}}", /* names of members */
        "\"$parameter\"",
        "\"$parameters \"",
        "\" $parameters\"",
        "\"$$parameters\"",
        "\"$PARAMETERS\"",
        "\"\\\"$parameters\\\"\"",
        "\"\\\\\"",
        "[\"a\\\\\",\"\\\\\\\"$parameters\",\"\"]",
        "\"\\n\\u0001\xc3\xa9\"",
        "[1,-2.5e10,true,false,null,\"\"]",
        "{}",
    };
    for (size_t i = 0; i < COUNT_OF(templates); i++) {
        assert_string_equal(body_of(templates[i]), templates[i]);
    }
    assert_string_equal(body_of("[\"\\\\\",\"$parameters\"]"), "[\"\\\\\",{\"x\":[1,2]}]");
}

static void parameters_are_sent_byte_for_byte(void **state) {
    (void)state;
    job.parameters = "{ \"text\" : \"\\\"$run_id\\\" $parameters \\u00e9\", \"n\": 1.0e+5 , "
                     "\"$run_id\":\"$run_id\"}";
    job.parameters_bytes = strlen(job.parameters);
    char expected[256];
    snprintf(expected, sizeof expected, "[%s]", job.parameters);
    assert_string_equal(body_of("[\"$parameters\"]"), expected);
}

static void large_parameters_are_sent_whole_and_never_beyond_the_maximum(void **state) {
    (void)state;
    size_t size_bytes = (size_t)20 << 20;
    char *large CLEANUP(free_pointer) = must_alloc(size_bytes);
    memset(large, 'x', size_bytes);
    large[0] = large[size_bytes - 1] = '"';
    job.parameters = large; /* without a NUL: the size counts */
    job.parameters_bytes = size_bytes;
    body_of("{\"all\":\"$parameters\"}");
    assert_int_equal(out.size_bytes, size_bytes + strlen("{\"all\":}"));
    assert_memory_equal(out.data + strlen("{\"all\":"), large, size_bytes);
    struct text small CLEANUP(text_fini);
    text_init(&small, size_bytes);
    request_append_body("{\"all\":\"$parameters\"}", &job, &small);
    assert_false(text_ok(&small));
}

/* --- the address --------------------------------------------------------------------------------- */

static void assert_url(enum model_backend backend, enum request_kind kind, const char *url,
                       const char *served_name, const char *expected) {
    struct http_settings http = {.url = url, .served_name = served_name};
    struct model model = {.name = "mine", .settings = {.backend = backend, .http = &http}};
    text_reset(&out);
    request_append_url(&model, kind, &out);
    assert_string_equal(text_string(&out), expected);
}

static void an_address_is_used_as_it_stands(void **state) {
    (void)state;
    assert_url(MODEL_BACKEND_HTTP, REQUEST_RUN, "http://host:80/a%20b/?q=\xc3\xa9#f", NULL,
               "http://host:80/a%20b/?q=\xc3\xa9#f");
}

/* Beside runs, a server of the protocol is asked what it takes and whether it is ready. */
static void each_request_has_its_address(void **state) {
    (void)state;
    enum model_backend backend = MODEL_BACKEND_OPENINFERENCE;
    assert_url(backend, REQUEST_METADATA, "http://host/", "a/b", "http://host/v2/models/a%2Fb");
    assert_url(backend, REQUEST_READY, "http://host/", "a/b", "http://host/v2/models/a%2Fb/ready");
}

static void the_protocols_address_has_the_name_there_escaped(void **state) {
    (void)state;
    enum model_backend backend = MODEL_BACKEND_OPENINFERENCE;
    assert_url(backend, REQUEST_RUN, "https://host", NULL, "https://host/v2/models/mine/infer");
    assert_url(backend, REQUEST_RUN, "https://host///", NULL, "https://host/v2/models/mine/infer");
    assert_url(backend, REQUEST_RUN, "https://host/base/", "a-b_c.d~1",
               "https://host/base/v2/models/a-b_c.d~1/infer");
    assert_url(backend, REQUEST_RUN, "https://host", "../x y?#%\xc3\xa9",
               "https://host/v2/models/..%2Fx%20y%3F%23%25%C3%A9/infer");
}

/* --- header fields ------------------------------------------------------------------------------- */

static const char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_secret(const char *name, const char *bytes, size_t size_bytes) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size_bytes), size_bytes);
    close(fd);
}

static bool append_value(const char *value, const char *secrets_folder) {
    text_reset(&out);
    return request_append_header_value(value, secrets_folder, &out, &secrets, &err);
}

static void assert_value(const char *value, const char *expected) {
    assert_true(append_value(value, folder));
    assert_string_equal(text_string(&out), expected);
}

static void assert_refused(const char *value, const char *message) {
    assert_false(append_value(value, folder));
    assert_int_equal(err.kind, ERROR_MODEL_UNAVAILABLE);
    assert_string_equal(err.message, message);
}

static void a_value_without_secrets_is_sent_as_it_stands(void **state) {
    (void)state;
    assert_true(append_value("a ${x} $secret:y} {secret:z} ${secret z}", ""));
    assert_string_equal(text_string(&out), "a ${x} $secret:y} {secret:z} ${secret z}");
    assert_int_equal(secrets.values.size_bytes, 0);
}

static void each_secret_is_put_in_its_place(void **state) {
    (void)state;
    write_secret("one", "first\n", 6);
    write_secret("Two_2-b.c", "${secret:one} \xc3\xa9\r\n\r\n", 19);
    assert_value("${secret:one}", "first");
    assert_value("a ${secret:one}, b ${secret:Two_2-b.c}!", "a first, b ${secret:one} \xc3\xa9!");
    assert_value("${secret:one}${secret:one}", "firstfirst");
}

static void a_secret_may_be_a_link(void **state) {
    (void)state;
    write_secret("real", "word", 4);
    assert_int_equal(symlink("real", path_of("link")), 0);
    assert_value("${secret:link}", "word");
}

static void what_is_no_place_for_a_secret_is_told(void **state) {
    (void)state;
    write_secret("one", "first", 5);
    assert_refused("${secret:one", "a header has '${secret:' without '}'");
    assert_refused("a ${secret:one} ${secret:", "a header has '${secret:' without '}'");
    assert_refused("${secret:}", "'' is no name of a secret");
    assert_refused("${secret:../one}", "'../one' is no name of a secret");
    assert_refused("${secret:.one}", "'.one' is no name of a secret");
    assert_refused("${secret:a/b}", "'a/b' is no name of a secret");
    assert_refused("${secret:one }", "'one ' is no name of a secret");
    char value[256] = "${secret:";
    memset(value + strlen(value), 'n', 129);
    strcat(value, "}");
    assert_false(append_value(value, folder));
    assert_false(append_value("${secret:one}", ""));
    assert_string_equal(
        err.message,
        "a header needs the secret 'one', and no folder of secrets is configured (--secrets)");
}

static void a_secret_that_cannot_be_read_is_told(void **state) {
    (void)state;
    assert_refused("${secret:absent}",
                   "the secret 'absent' cannot be read: No such file or directory");
    if (geteuid() != 0) {
        write_secret("closed", "word", 4);
        assert_int_equal(chmod(path_of("closed"), 0), 0);
        assert_refused("${secret:closed}", "the secret 'closed' cannot be read: Permission denied");
    }
    static char long_folder[5000];
    int used = snprintf(long_folder, sizeof long_folder, "%s", folder);
    memset(long_folder + used, '/', sizeof long_folder - 1 - (size_t)used);
    assert_false(append_value("${secret:x}", long_folder));
    assert_string_equal(err.message, "the secret 'x' cannot be read: File name too long");
}

/* None of them may keep the thread waiting, on which all other requests are. */
static void a_secret_that_is_no_regular_file_is_refused_at_once(void **state) {
    (void)state;
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_refused("${secret:fifo}", "the secret 'fifo' is no regular file");
    assert_int_equal(mkdir(path_of("folder"), 0700), 0);
    assert_refused("${secret:folder}", "the secret 'folder' is no regular file");
    assert_int_equal(symlink("/dev/zero", path_of("device")), 0);
    assert_refused("${secret:device}", "the secret 'device' is no regular file");
}

static void what_cannot_be_in_a_header_is_no_secret(void **state) {
    (void)state;
    static char large[65537];
    memset(large, 'x', sizeof large);
    const struct {
        const char *bytes;
        size_t size_bytes;
    } cases[] = {
        {"", 0},
        {"\n", 1},
        {"  \n", 3},
        {"one\ntwo", 7},
        {"one\r\nX-Injected: yes\n", 21},
        {"one\r two", 8},
        {"one\0two", 7},
        {"one\0", 4},
        {"\x1b[31m", 5},
        {"a\tb", 3},
        {"\x7f", 1},
        {large, sizeof large},
        {large, 65536},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        write_secret("bad", cases[i].bytes, cases[i].size_bytes);
        assert_refused("${secret:bad}", "the secret 'bad' is no value for a header field");
    }
    write_secret("bad", large, 65535);
    assert_true(append_value("${secret:bad}", folder));
    assert_int_equal(out.size_bytes, 65535);
}

static void what_was_sent_is_found_again(void **state) {
    (void)state;
    write_secret("long", "abcdef\n", 7);
    write_secret("short", " abc \n", 6);
    write_secret("slash", "a/b", 3);
    assert_value("${secret:short}|${secret:long}|${secret:slash}", " abc |abcdef|a/b");
    assert_int_equal(secrets_match(&secrets, "abcdefg", 7), 6);
    assert_int_equal(secrets_match(&secrets, "abcdefg", 5), 3); /* no more is there */
    assert_int_equal(secrets_match(&secrets, "abcdeg", 6), 3);
    assert_int_equal(secrets_match(&secrets, "ab", 2), 0);
    assert_int_equal(secrets_match(&secrets, "", 0), 0);
    assert_int_equal(secrets_match(&secrets, "a\\/b", 4), 4);
    assert_int_equal(secrets_match(&secrets, "a\\u002Fb", 8), 8);
    assert_int_equal(secrets_match(&secrets, "a\\u002Fb", 7), 0);
    assert_int_equal(secrets_match(&secrets, "a\\u012Fb", 8), 0);
    assert_int_equal(secrets_match(&secrets, "a\\nb", 4), 0);
    assert_int_equal(secrets_match(&secrets, "a\\", 2), 0);
    char message[] = "bad key abcdef (a/b) ab";
    secrets_mask(&secrets, message, sizeof message);
    assert_string_equal(message, "bad key *** (***) ab");
}

static void a_mask_that_is_longer_than_its_secret_stays_within_bounds(void **state) {
    (void)state;
    write_secret("tiny", "x", 1);
    assert_value("${secret:tiny}", "x");
    char message[8] = "xxxxxxx";
    secrets_mask(&secrets, message, sizeof message);
    assert_string_equal(message, "*******");
}

static void a_trace_is_its_execution_and_a_span_its_attempt(void **state) {
    (void)state;
    char id[UUID_TEXT_BYTES];
    char first[TRACEPARENT_BYTES];
    char second[TRACEPARENT_BYTES];
    identity_format(job.execution_key, job.origin.store_tag, id);
    request_format_traceparent(&job, first);
    assert_int_equal(strlen(first), TRACEPARENT_BYTES - 1);
    char expected[TRACEPARENT_BYTES] = "00-";
    size_t used = 3;
    for (const char *at = id; *at != '\0'; at++) {
        if (*at != '-') {
            expected[used++] = *at;
        }
    }
    assert_int_equal(used, 35);
    assert_memory_equal(first, expected, used);
    assert_int_equal(strspn(first + 36, "0123456789abcdef"), 16);
    assert_memory_not_equal(first + 36, "0000000000000000", 16);
    assert_string_equal(first + 52, "-01");
    assert_int_equal(first[35], '-');
    job.origin.attempt = 2;
    request_format_traceparent(&job, second);
    assert_memory_equal(first, second, 36); /* the version and the trace */
    assert_string_not_equal(first, second);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_place_has_its_value),
        TEST(what_a_job_has_not_is_null),
        TEST(places_are_found_at_any_depth_and_as_often_as_they_come),
        TEST(what_is_no_place_is_sent_as_it_stands),
        TEST(parameters_are_sent_byte_for_byte),
        TEST(large_parameters_are_sent_whole_and_never_beyond_the_maximum),
        TEST(an_address_is_used_as_it_stands),
        TEST(each_request_has_its_address),
        TEST(the_protocols_address_has_the_name_there_escaped),
        TEST(a_value_without_secrets_is_sent_as_it_stands),
        TEST(each_secret_is_put_in_its_place),
        TEST(a_secret_may_be_a_link),
        TEST(what_is_no_place_for_a_secret_is_told),
        TEST(a_secret_that_cannot_be_read_is_told),
        TEST(a_secret_that_is_no_regular_file_is_refused_at_once),
        TEST(what_cannot_be_in_a_header_is_no_secret),
        TEST(what_was_sent_is_found_again),
        TEST(a_mask_that_is_longer_than_its_secret_stays_within_bounds),
        TEST(a_trace_is_its_execution_and_a_span_its_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
