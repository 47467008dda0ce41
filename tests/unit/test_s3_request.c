/* storage/s3_request.c: the answers that say how to ask again: another region, another host,
 * another time. Other keys are in test_s3_keys.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K "/bucket/p/k"

static void expect_region(size_t i, const char *region)
{
    assert_string_equal(seen_at(i)->region, region);
}

/* --- the region ------------------------------------------------------------------------------ */

#define OTHER "x-amz-bucket-region: ap-south-9\r\n"
#define MALFORMED(region)                                                                          \
    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message>"       \
    "<Region>" region "</Region></Error>"

static void learns_region(Scratch *s, int status, const char *headers, const char *body)
{
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("GET", K, status, headers, body);
    reply("GET", K, 200, ETAG, "1")->times = 2;
    must_get(st, "k", "1");
    must_get(st, "k", "1");
    expect_requests(3);
    expect_region(0, REGION);
    expect_region(1, "ap-south-9"); /* signed anew, at once */
    expect_region(2, "ap-south-9"); /* and not asked for again */
    assert_in_range(seen_at(1)->at - seen_at(0)->at, 0, SECOND);
    start_over();
}

static void test_region(void **state)
{
    learns_region(*state, 301, OTHER, S3_ERROR("PermanentRedirect"));
    learns_region(*state, 301, OTHER, "");
    learns_region(*state, 400, "", MALFORMED("ap-south-9"));
    learns_region(*state, 400, OTHER, MALFORMED("somewhere"));
    learns_region(*state, 400, OTHER, "");
    assert_int_equal(warnings(*state), 0);
}

/* The answer to HEAD has no body. */
static void test_region_of_head(void **state)
{
    static const int status[] = {301, 400};
    for (int i = 0; i < 2; i++) {
        Error err;
        StorageObject object;
        Storage *st = open_s3(*state, (StorageOptions){0});
        reply("HEAD", K, status[i], OTHER, "");
        reply("HEAD", K, 200, ETAG "Content-Length: 12\r\n", "");
        must(storage_head(st, "k", &object, &err), &err);
        assert_int_equal(object.size, 12);
        expect_requests(2);
        expect_region(1, "ap-south-9");
        start_over();
    }
}

/* In AWS the region is a part of the host's name, too; here it can't be seen. A put keeps its body
 * and its condition. */
static void test_region_of_put(void **state)
{
    Error err;
    bool existed;
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 301, OTHER, S3_ERROR("PermanentRedirect"));
    reply("PUT", K, 200, ETAG, "");
    must(put(st, "k", "hello", &existed, &err), &err);
    expect_requests(2);
    expect_body(1, "hello", 5);
    expect_header(1, "if-none-match", "*");
}

static void another_region(const S3Seen *seen, Buf *headers)
{
    buf_printf(headers, "x-amz-bucket-region: %s\r\n", strcmp(seen->region, "r1") ? "r1" : "r2");
}

static void test_region_loops_end(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 301, "", S3_ERROR("PermanentRedirect"))->add = another_region;
    fake->rules[0].times = FOR_EVER;
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "PermanentRedirect");
    assert_in_range(fake->count, 2, 8);
    start_over();

    /* The region is what it is, and yet it is said to be wrong. */
    st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 301, "x-amz-bucket-region: " REGION "\r\n",
          "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message><Endpoint>b.s3.example"
          "</Endpoint></Error>");
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "the bucket is at b.s3.example: set endpoint or region");
    expect_requests(1);
}

/* A region is not learnt from an error that has nothing to do with it. */
static void test_region_is_not_learnt_by_the_way(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 403, OTHER, S3_ERROR("InvalidAccessKeyId"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "wrong for this server");
    reply("GET", K, 200, ETAG OTHER, "1");
    must_get(st, "k", "1");
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_region(2, REGION);
}

/* A region is a part of a header, and of a host's name. */
static void test_odd_regions(void **state)
{
    static const char *const odd[] = {"a b&#10;X-Evil: 1", "evil.example/", "a#", "a@b", "&#228;"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        Error err;
        char *body = mem_printf(MALFORMED("%s"), odd[i]);
        Storage *st = open_s3(*state, (StorageOptions){0});
        reply("GET", K, 400, "", body);
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_REPO, "AuthorizationHeaderMalformed");
        expect_requests(1);
        free(body);
        start_over();
    }
}

/* --- 307 ------------------------------------------------------------------------------------- */

#define REDIRECT S3_ERROR("TemporaryRedirect")

static char *location(Scratch *s, const char *scheme, const char *host, const char *path)
{
    return scratch_keep(s,
                        mem_printf("Location: %s://%s:%d%s\r\n", scheme, host, fake->port, path));
}

static void expect_host(size_t i, const char *host)
{
    char *value = mem_printf("%s:%d", host, fake->port);
    expect_header(i, "host", value);
    free(value);
}

/* A store at localhost, whose own hosts are those below it. */
static Storage *open_local(Scratch *s)
{
    char *endpoint = mem_printf("%s://localhost:%d", fake->tls ? "https" : "http", fake->port);
    scratch_keep(s, endpoint);
    return open_s3(s, (StorageOptions){.endpoint = endpoint});
}

static void test_redirect_of_one_request(void **state)
{
    Scratch *s = *state;
    Storage *st = open_local(s);
    reply("GET", K, 307, location(s, "http", "eu.localhost", K), REDIRECT);
    reply("GET", K, 200, ETAG, "1")->times = 2;
    must_get(st, "k", "1");
    must_get(st, "k", "1");
    expect_requests(3);
    expect_host(0, "localhost");
    expect_host(1, "eu.localhost");
    expect_host(2, "localhost"); /* for that request only */
    start_over();
    reply("GET", K, 307, location(s, "http", "bucket.localhost", "/p/k"), REDIRECT);
    reply("GET", "/p/k", 200, ETAG, "1"); /* there the bucket is a part of the host's name */
    must_get(st, "k", "1");
    expect_host(1, "bucket.localhost");
}

static void test_redirect_of_put(void **state)
{
    Scratch *s = *state;
    Error err;
    bool existed;
    conditions_hold();
    Storage *st = open_local(s);
    reply("PUT", K, 307, location(s, "http", "eu.localhost", K), REDIRECT);
    reply("PUT", K, 200, ETAG, "");
    must(put(st, "k", "hello", &existed, &err), &err);
    expect_requests(2);
    expect_body(1, "hello", 5);
    expect_header(1, "if-none-match", "*");
}

/* Neither nowhere, nor to another protocol, nor to hosts that are not the store's. */
static void test_redirects_that_are_not_followed(void **state)
{
    Scratch *s = *state;
    Error err;
    const char *headers[] = {"",
                             "Location: /elsewhere\r\n",
                             "Location: file:///etc/passwd\r\n",
                             "Location: \r\n",
                             location(s, "https", "localhost", K),
                             location(s, "http", "127.0.0.1", K),
                             location(s, "http", "evil-localhost", K),
                             location(s, "http", "localhost.evil", K),
                             location(s, "http", "localhost@127.0.0.1", K)};
    Storage *st = open_local(s);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        reply("GET", K, 307, headers[i], REDIRECT);
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_REPO, "TemporaryRedirect");
        expect_requests(i + 1);
    }
    reply("GET", K, 301, location(s, "http", "eu.localhost", K), ""); /* no word of the region */
    assert_false(get(st, "k", &err));
    start_over();

    reply_always("GET", K, 307, location(s, "http", "eu.localhost", K), REDIRECT);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "TemporaryRedirect");
    assert_in_range(fake->count, 2, 8);
}

static void test_redirect_from_tls_to_plain(void **state)
{
    Scratch *s = *state;
    Error err;
    use_tls(s);
    Storage *st = open_local(s);
    reply("GET", K, 307, location(s, "http", "eu.localhost", K), REDIRECT);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "TemporaryRedirect");
    expect_requests(1);
    start_over();
    reply("GET", K, 307, location(s, "https", "eu.localhost", K), REDIRECT);
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_requests(2);
}

/* --- the clock ------------------------------------------------------------------------------- */

#define SKEWED S3_ERROR("RequestTimeTooSkewed")

static char *date_header(Scratch *s, int64_t ahead)
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    CivilTime t;
    Instant when = clock_now() + ahead;
    clock_to_civil(when, &t);
    return scratch_keep(s,
                        mem_printf("Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                                   days + when / (86400 * SECOND) % 7 * 3, t.day,
                                   months + (t.month - 1) * 3, t.year, t.hour, t.minute, t.second));
}

/* By how much the request's date is ahead of this host's clock. */
static void expect_ahead(size_t i, int64_t ahead)
{
    Instant when;
    char *date = header_of(seen_at(i), "x-amz-date");
    assert_true(parse_amz_date(date, &when));
    int64_t off = when - seen_at(i)->at - ahead;
    free(date);
    if (off < -3 * SECOND || off > 3 * SECOND)
        fail_msg("request %zu is dated %lld s off", i, (long long)(off / SECOND));
}

static void test_clock(void **state)
{
    static const int64_t hours[] = {1, -1, 24, -9000};
    Scratch *s = *state;
    for (size_t i = 0; i < 4; i++) {
        int64_t ahead = hours[i] * 3600 * SECOND;
        Storage *st = open_s3(s, (StorageOptions){0});
        size_t before = warnings(s);
        reply("GET", K, 403, date_header(s, ahead), SKEWED);
        reply("GET", K, 200, ETAG, "1")->times = 3;
        for (int n = 0; n < 3; n++)
            must_get(st, "k", "1");
        expect_requests(4);
        expect_ahead(0, 0);
        expect_ahead(1, ahead);
        expect_ahead(2, ahead);
        expect_ahead(3, ahead);
        assert_int_equal(warnings(s), before + 1);
        start_over();
    }
    assert_non_null(strstr(said(s), "clock is -359")); /* -3599 s: the header has no fractions */
    assert_non_null(strstr(said(s), "clock is 3600 s off"));
}

/* The answer to HEAD can't say what was wrong; the GET of one byte that follows can. */
static void test_clock_of_head(void **state)
{
    Scratch *s = *state;
    Error err;
    StorageObject object;
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("HEAD", K, 403, date_header(s, 3600 * SECOND), "");
    reply("GET", K, 403, date_header(s, 3600 * SECOND), SKEWED);
    reply("GET", K, 206, ETAG "Content-Range: bytes 0-0/77\r\n", "x");
    must(storage_head(st, "k", &object, &err), &err);
    assert_int_equal(object.size, 77);
    expect_ahead(2, 3600 * SECOND);
}

static void test_clock_that_can_not_be_put_right(void **state)
{
    Scratch *s = *state;
    Error err;
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("GET", K, 403, "", SKEWED);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "set this host's clock");
    reply("GET", K, 403, "Date: yesterday\r\n", SKEWED);
    assert_false(get(st, "k", &err));
    expect_requests(2);
    start_over();
    /* Dated as the server wants it, and refused all the same. */
    reply_always("GET", K, 403, date_header(s, 3600 * SECOND), SKEWED);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "set this host's clock");
    expect_requests(2);
    assert_int_equal(warnings(s), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_region),
        S3_TEST(test_region_of_head),
        S3_TEST(test_region_of_put),
        S3_TEST(test_region_loops_end),
        S3_TEST(test_region_is_not_learnt_by_the_way),
        S3_TEST(test_odd_regions),
        S3_TEST(test_redirect_of_one_request),
        S3_TEST(test_redirect_of_put),
        S3_TEST(test_redirects_that_are_not_followed),
        S3_TEST(test_redirect_from_tls_to_plain),
        S3_TEST(test_clock),
        S3_TEST(test_clock_of_head),
        S3_TEST(test_clock_that_can_not_be_put_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
