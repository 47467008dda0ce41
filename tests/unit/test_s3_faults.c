/* storage/s3_request.c: what is tried again and what is not, for how long, and what is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K         "/bucket/p/k"
#define LIST      "/bucket?*list-type=2*"
#define EMPTY     "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
#define SLOW_DOWN S3_ERROR_SAYING("SlowDown", "Please reduce your request rate.")

static bool nothing(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)ctx, (void)object, (void)stop, (void)err;
    return true;
}

static bool list_all(Storage *st, Error *err)
{
    return storage_list(st, "", NULL, nothing, NULL, err);
}

/* --- what passes ----------------------------------------------------------------------------- */

static const struct {
    int status;
    const char *body;
} passing[] = {{500, ""},
               {500, S3_ERROR("InternalError")},
               {502, "<html>Bad Gateway</html>"},
               {503, SLOW_DOWN},
               {503, "<html>upstream</html>"},
               {504, ""},
               {429, ""},
               {429, S3_ERROR("TooManyRequests")},
               {408, ""},
               {400, S3_ERROR("RequestTimeout")},
               {400, S3_ERROR("BadDigest")},
               {400, S3_ERROR("IncompleteBody")},
               {400, S3_ERROR("XAmzContentSHA256Mismatch")},
               {409, S3_ERROR("OperationAborted")},
               {400, S3_ERROR("SlowDown")},
               {403, S3_ERROR("Throttling")}};

static void test_what_passes(void **state)
{
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        Error err;
        bool existed = true;
        size_t before = fake->count;
        reply("GET", K, passing[i].status, "", passing[i].body);
        reply("GET", K, 200, ETAG, "1");
        must_get(st, "k", "1");
        reply("GET", LIST, passing[i].status, "", passing[i].body);
        reply("GET", LIST, 200, "", EMPTY);
        must(list_all(st, &err), &err);
        reply("PUT", K, passing[i].status, "", passing[i].body);
        reply("PUT", K, 200, ETAG, "");
        must(put(st, "k", "hello", &existed, &err), &err);
        assert_false(existed);
        expect_requests(before + 6);
        expect_body(before + 5, "hello", 5);
        start_over();
        conditions_hold();
    }
    assert_int_equal(warnings(*state), 0);
}

/* Connections that break: before the answer, within it, and bodies that end too early. */
static void test_broken_connections(void **state)
{
    static const S3Fault faults[] = {S3_CLOSE, S3_RESET, S3_CUT};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (int i = 0; i < 6; i++) {
        Error err;
        S3Rule *r = reply("GET", LIST, 200, "", EMPTY);
        r->times = 3; /* libcurl itself tries once more on a connection that was kept */
        r->fault = faults[i % 3];
        r->cut = 20;
        r->chunked = i >= 3;
        reply("GET", LIST, 200, "", EMPTY);
        must(list_all(st, &err), &err);
        expect_requests(4);
        start_over();
    }
}

static void test_nobody_listens(void **state)
{
    Error err;
    Storage *st = open_s3(
        *state, (StorageOptions){.endpoint = "http://127.0.0.1:1", .io_timeout = 3 * SECOND});
    Instant begun = clock_now();
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_non_null(strstr(err.message, "127.0.0.1:1"));
    assert_non_null(strstr(err.message, "after "));
    assert_in_range(clock_now() - begun, 3 * SECOND, 4 * SECOND);
}

/* --- what does not --------------------------------------------------------------------------- */

static const struct {
    int status;
    const char *code;
    ErrorCode result;
    bool denied;
    const char *hint;
} lasting[] = {
    {403, "AccessDenied", ERR_REPO, true, "these credentials may not do that"},
    {403, "AllAccessDisabled", ERR_REPO, true, "these credentials may not do that"},
    {403, "SignatureDoesNotMatch", ERR_REPO, false, "wrong for this server"},
    {403, "InvalidAccessKeyId", ERR_REPO, false, "wrong for this server"},
    {403, "InvalidObjectState", ERR_REPO, false, "cold storage class"},
    {403, "ThisIsNew", ERR_REPO, false, ""},
    {404, "NoSuchKey", ERR_NO, false, ""},
    {404, "NoSuchVersion", ERR_NO, false, ""},
    {404, "NoSuchBucket", ERR_REPO, false, "is the bucket's name in url right?"},
    {400, "InvalidRequest", ERR_REPO, false, ""},
    {405, "MethodNotAllowed", ERR_REPO, false, ""},
    {412, "PreconditionFailed", ERR_REPO, false, ""},
    {501, "NotImplemented", ERR_REPO, false, ""},
    {302, "Found", ERR_REPO, false, ""},
};

static void test_what_lasts(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
        Error err;
        char *body = mem_printf("<Error><Code>%s</Code><Message>it is so</Message><RequestId>R77"
                                "</RequestId></Error>",
                                lasting[i].code);
        char *status = mem_printf("HTTP %d, request R77", lasting[i].status);
        reply("GET", K, lasting[i].status, "", body);
        if (lasting[i].denied) /* is it missing, or may it not be read? */
            reply("GET", LIST, 403, "", S3_ERROR("AccessDenied"));
        assert_false(get(st, "k", &err));
        expect_error(&err, lasting[i].result, lasting[i].hint);
        expect_error(&err, lasting[i].result, lasting[i].code);
        expect_error(&err, lasting[i].result, "repository main: GET bucket/p/k: ");
        expect_error(&err, lasting[i].result, status);
        assert_int_equal(err.denied, lasting[i].denied);
        expect_requests(lasting[i].denied ? 2 : 1);
        free(body);
        free(status);
        start_over();
    }
}

/* No S3 server: nothing follows from such an answer, a 404 least of all. */
static void test_answers_of_others(void **state)
{
    static const char *const bodies[] = {"", "<html><h1>Not Found</h1></html>", "Not found\n"};
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        Error err;
        reply_always("GET", "/bucket*", 403, "", bodies[i]);
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_REPO, "no S3 answer");
        assert_false(err.denied);
        assert_false(list_all(st, &err));
        expect_error(&err, ERR_REPO, "no S3 answer");
        start_over();
        reply_always("GET", "/bucket*", 404, "", bodies[i]);
        assert_false(list_all(st, &err));
        expect_error(&err, ERR_REPO, "no S3 answer");
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_REPO, "no S3 answer");
        start_over();
    }
}

/* Some errors come with status 200. */
static void test_errors_with_200(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", LIST, 200, "", S3_ERROR("InternalError"));
    reply("GET", LIST, 200, "", SLOW_DOWN);
    reply("GET", LIST, 200, "", EMPTY);
    must(list_all(st, &err), &err);
    expect_requests(3);
    start_over();
    reply_always("GET", LIST, 200, "", S3_ERROR("InvalidArgument"));
    assert_false(list_all(st, &err));
    expect_error(&err, ERR_REPO, "InvalidArgument");
    expect_requests(1);
}

/* What servers send back of the request in their errors. */
static void test_nothing_secret_of_the_answer_is_told(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply(
        "GET", K, 403, "",
        "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated "
        "does not match</Message><AWSAccessKeyId>AKTEST</AWSAccessKeyId><StringToSign>" SECRET_MARK
        "</StringToSign><SignatureProvided>" SECRET_MARK "</SignatureProvided><Token-0>" SECRET_MARK
        "</Token-0></Error>");
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "The request signature we calculated does not match");
    reply("GET", K, 403, "", "<html>" SECRET_MARK "</html>");
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "no S3 answer");
}

/* --- how long -------------------------------------------------------------------------------- */

static char *http_date(Scratch *s, Instant when)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    CivilTime t;
    clock_to_civil(when, &t);
    return scratch_keep(s,
                        mem_printf("Retry-After: Sun, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", t.day,
                                   months + (t.month - 1) * 3, t.year, t.hour, t.minute, t.second));
}

/* How long the pause was before the second attempt. */
static int64_t pause_after(Storage *st, int status, const char *header)
{
    reply("GET", K, status, header, status == 503 ? SLOW_DOWN : "");
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_requests(2);
    int64_t pause = seen_at(1)->at - seen_at(0)->at;
    start_over();
    return pause;
}

static void test_retry_after(void **state)
{
    Scratch *s = *state;
    Storage *st = open_s3(s, (StorageOptions){0});
    assert_in_range(pause_after(st, 503, "Retry-After: 7\r\n"), 7 * SECOND, 8 * SECOND);
    assert_in_range(pause_after(st, 429, "Retry-After: 30\r\n"), 30 * SECOND, 31 * SECOND);
    assert_in_range(pause_after(st, 503, http_date(s, clock_now() + 20 * SECOND)), 18 * SECOND,
                    21 * SECOND);
    assert_in_range(pause_after(st, 503, http_date(s, clock_now() - 20 * SECOND)), 0, SECOND);
    static const char *const odd[] = {"Retry-After: soon\r\n", "Retry-After: -5\r\n",
                                      "Retry-After: 0\r\n", "Retry-After: \r\n",
                                      "Retry-After: 99999999999999999999\r\n"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_in_range(pause_after(st, 503, odd[i]), 0, SECOND);
}

/* A server that wants to be left alone for longer than there is time: no use to wait. */
static void test_retry_after_beyond_the_deadline(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 10 * SECOND});
    Instant begun = clock_now();
    reply_always("GET", K, 503, "Retry-After: 3600\r\n", SLOW_DOWN);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "SlowDown");
    assert_in_range(clock_now() - begun, 0, 10 * SECOND);
    expect_requests(1);
}

/* All of the time is used, and not more than one attempt above it. */
static void test_io_timeout(void **state)
{
    static const int64_t timeouts[] = {SECOND, 3 * SECOND, 60 * SECOND};
    static char data[300000];
    conditions_hold();
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        Error err;
        bool existed;
        Storage *st = open_s3(*state, (StorageOptions){.io_timeout = timeouts[i]});
        reply_always("GET", K, 503, "", SLOW_DOWN);
        reply_always("PUT", K, 500, "", "");
        Instant begun = clock_now();
        assert_false(get(st, "k", &err));
        assert_in_range(clock_now() - begun, timeouts[i], timeouts[i] + SECOND / 2);
        char *attempts = mem_printf("after %zu attempts: repository main: GET ", fake->count);
        expect_error(&err, ERR_REPO, attempts);
        free(attempts);
        /* Its size has nothing to do with the patience. */
        begun = clock_now();
        assert_false(storage_put(st, "k", data, sizeof(data), NULL, &existed, &err));
        assert_in_range(clock_now() - begun, timeouts[i], timeouts[i] + SECOND / 2);
        assert_true(fake->count > 3);
        start_over();
        conditions_hold();
    }
}

/* By the real clock: a server that does not answer, and one that never comes to an end. */
static void test_slow_servers(void **state)
{
    static const S3Fault faults[] = {S3_SILENT, S3_ENDLESS};
    for (int i = 0; i < 2; i++) {
        Error err;
        Storage *st = open_s3(*state, (StorageOptions){.io_timeout = SECOND});
        reply_fault("GET", LIST, faults[i])->times = FOR_EVER;
        Instant begun = clock_now();
        assert_false(list_all(st, &err));
        expect_error(&err, ERR_REPO, "repository main");
        assert_in_range(clock_now() - begun, SECOND, 3 * SECOND);
        start_over();
    }
}

static void test_deadline_of_the_caller(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_always("GET", K, 503, "", SLOW_DOWN);
    Instant begun = clock_now();
    storage_set_deadline(st, begun + 2 * SECOND);
    assert_false(get(st, "k", &err));
    assert_in_range(clock_now() - begun, 2 * SECOND, 3 * SECOND);
    begun = clock_now();
    assert_false(get(st, "k", &err)); /* it has passed: one attempt is made all the same */
    expect_error(&err, ERR_REPO, "SlowDown");
    assert_in_range(clock_now() - begun, 0, SECOND / 2);
    start_over();

    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    reply_always("GET", K, 503, "", SLOW_DOWN);
    storage_set_deadline(st, 0);
    begun = clock_now();
    assert_false(get(st, "k", &err));
    assert_in_range(clock_now() - begun, 60 * SECOND, 61 * SECOND);
}

/* --- what is said ---------------------------------------------------------------------------- */

static void test_one_warning(void **state)
{
    Scratch *s = *state;
    Error err;
    Storage *st = open_s3(s, (StorageOptions){.io_timeout = 15 * SECOND});
    reply_always("GET", "/bucket*", 503, "", SLOW_DOWN);
    assert_false(get(st, "k", &err));
    assert_false(list_all(st, &err));
    assert_false(get(st, "k", &err));
    assert_int_equal(warnings(s), 1);
    const char *line = strstr(said(s), "pitr: warning: ");
    assert_non_null(strstr(line,
                           "repository main: GET bucket/p/k: SlowDown: Please reduce your "
                           "request rate. (HTTP 503, request REQ1); trying again for up to "));
}

/* A server's text stays on its line. */
static void test_messages_of_many_lines(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 400, "", S3_ERROR_SAYING("Odd", "one\ntwo\r\n\tthree"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "Odd: one");
    assert_null(strpbrk(err.message, "\r\n\t\033"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_what_passes),
        S3_TEST(test_broken_connections),
        S3_TEST(test_nobody_listens),
        S3_TEST(test_what_lasts),
        S3_TEST(test_answers_of_others),
        S3_TEST(test_errors_with_200),
        S3_TEST(test_nothing_secret_of_the_answer_is_told),
        S3_TEST(test_retry_after),
        S3_TEST(test_retry_after_beyond_the_deadline),
        S3_TEST(test_io_timeout),
        S3_TEST(test_slow_servers),
        S3_TEST(test_deadline_of_the_caller),
        S3_TEST(test_one_warning),
        S3_TEST(test_messages_of_many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
