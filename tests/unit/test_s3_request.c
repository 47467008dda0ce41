/* storage/s3_request.c, s3.c: where a request goes, how it is signed, and the answers that say how
 * to ask again: another region, another host, another time, other keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K     "/bucket/p/k"
#define GET_K "GET /bucket/p/k"

static void expect_region(size_t i, const char *region)
{
    assert_string_equal(seen_at(i)->region, region);
}

/* --- addresses --------------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
    Scratch *s = *state;
    char *local = scratch_keep(s, mem_printf("127.0.0.1:%d", fake->port));
    char *virtual = scratch_keep(s, mem_printf("bucket.localhost:%d", fake->port));
    char *endpoint = scratch_keep(s, mem_printf("http://localhost:%d", fake->port));
    reply("GET", K, 200, ETAG, "1");
    must_get(open_s3(s, (StorageOptions){0}), "k", "1");
    expect_header(0, "host", local);
    expect_header(0, "x-amz-request-payer", NULL);

    reply("GET", "/p/k", 200, ETAG, "2");
    StorageOptions o = {.endpoint = endpoint, .addressing = ADDRESSING_VIRTUAL};
    must_get(open_s3(s, o), "k", "2");
    expect_header(1, "host", virtual);

    reply("GET", "/bucket/deep/er/k", 200, ETAG, "3");
    o = (StorageOptions){.url = "s3://bucket/deep/er//", .requester_pays = true};
    must_get(open_s3(s, o), "k", "3");
    expect_header(2, "x-amz-request-payer", "requester");

    reply("GET", "/bucket/k", 200, ETAG, "4");
    must_get(open_s3(s, (StorageOptions){.url = "s3://bucket"}), "k", "4");
    expect_requests(4);
}

static void test_odd_keys(void **state)
{
    static const char key[] = "a b/c+d/\303\244 %41&=?#;'\"(*)~_.-:@,$!";
    reply("GET", "/bucket/p/a%20b/*", 200, ETAG, "1");
    must_get(open_s3(*state, (StorageOptions){0}), key, "1");
    expect_line(0, "GET /bucket/p/a%20b/c%2Bd/%C3%A4%20%2541%26%3D%3F%23%3B%27%22%28%2A%29~_.-%3A%40"
                   "%2C%24%21");
}

static void refuse(StorageOptions o, const char *part)
{
    Error err = {0};
    o.name = "main";
    o.url = o.url ? o.url : "s3://bucket/p";
    assert_null(storage_open(&o, &err));
    expect_error(&err, ERR_USAGE, part);
    assert_true(err.hint[0]);
    assert_non_null(strstr(err.message, "main"));
}

static void test_options_that_can_not_be(void **state)
{
    (void)state;
    refuse((StorageOptions){.url = "s3://"}, "no bucket's name");
    refuse((StorageOptions){.url = "s3:///p"}, "no bucket's name");
    refuse((StorageOptions){.url = "s3://b/p"}, "no bucket's name");
    refuse((StorageOptions){.url = "s3://buck et/p"}, "no bucket's name");
    refuse((StorageOptions){.url = "s3://bucket//p"}, "odd prefix");
    refuse((StorageOptions){.url = "s3://bucket/a//b"}, "odd prefix");
    refuse((StorageOptions){.url = "s3://bucket/a?b"}, "odd prefix");
    refuse((StorageOptions){.endpoint = "ftp://host"}, "no endpoint");
    refuse((StorageOptions){.endpoint = "https://"}, "no endpoint");
    refuse((StorageOptions){.endpoint = "https://host/path"}, "no endpoint");
    refuse((StorageOptions){.endpoint = "https://me:" SECRET_MARK "@host"}, "no endpoint");
    refuse((StorageOptions){.tags = "=value"}, "no tags");
    refuse((StorageOptions){.tags = "a=b, c"}, "no tags");
    refuse((StorageOptions){.kms_key = "k"}, "kms-key without sse");
    refuse((StorageOptions){.storage_class = "GLACIER"}, "cold one");
    refuse((StorageOptions){.storage_class = "DEEP_ARCHIVE"}, "cold one");
    refuse((StorageOptions){.endpoint = "http://host", .unsigned_payload = true}, "needs TLS");
}

static void test_environment(void **state)
{
    Scratch *s = *state;
    Error err;
    char *endpoint = mem_printf("http://127.0.0.1:%d", fake->port);
    setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
    setenv("AWS_ENDPOINT_URL_S3", endpoint, 1);
    setenv("AWS_REGION", "us-gov-1", 1);
    StorageOptions o = {.name = "main", .url = "s3://bucket/p",
                        .credentials_file = write_keys(s, "AKTEST", NULL)};
    Storage *st = storage_open(&o, &err);
    must(st != NULL, &err);
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_region(0, "us-gov-1");
    storage_close(st);
    free(endpoint);
}

/* --- the region -------------------------------------------------------------------------------- */

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
    expect_error(&err, ERR_REPO, "the access key or its secret is wrong");
    reply("GET", K, 200, ETAG OTHER, "1");
    must_get(st, "k", "1");
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_region(2, REGION);
}

/* --- 307 --------------------------------------------------------------------------------------- */

static char *location(Scratch *s, const char *scheme)
{
    return scratch_keep(
        s, mem_printf("Location: %s://localhost:%d" K "\r\n", scheme, fake->port));
}

static void test_redirect_of_one_request(void **state)
{
    Scratch *s = *state;
    Storage *st = open_s3(s, (StorageOptions){0});
    char *local = scratch_keep(s, mem_printf("127.0.0.1:%d", fake->port));
    char *there = scratch_keep(s, mem_printf("localhost:%d", fake->port));
    reply("GET", K, 307, location(s, "http"), S3_ERROR("TemporaryRedirect"));
    reply("GET", K, 200, ETAG, "1")->times = 2;
    must_get(st, "k", "1");
    must_get(st, "k", "1");
    expect_requests(3);
    expect_header(0, "host", local);
    expect_header(1, "host", there);
    expect_header(2, "host", local); /* for that request only */
}

static void test_redirect_of_put(void **state)
{
    Scratch *s = *state;
    Error err;
    bool existed;
    conditions_hold();
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("PUT", K, 307, location(s, "http"), S3_ERROR("TemporaryRedirect"));
    reply("PUT", K, 200, ETAG, "");
    must(put(st, "k", "hello", &existed, &err), &err);
    expect_requests(2);
    expect_body(1, "hello", 5);
}

static void test_redirects_that_are_not_followed(void **state)
{
    Scratch *s = *state;
    Error err;
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("GET", K, 307, "", S3_ERROR("TemporaryRedirect"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "TemporaryRedirect");
    reply("GET", K, 307, "Location: /elsewhere\r\n", S3_ERROR("TemporaryRedirect"));
    assert_false(get(st, "k", &err));
    reply("GET", K, 307, "Location: file:///etc/passwd\r\n", S3_ERROR("TemporaryRedirect"));
    assert_false(get(st, "k", &err));
    reply("GET", K, 301, location(s, "http"), ""); /* permanent, and no word of the region */
    assert_false(get(st, "k", &err));
    expect_requests(4);
    start_over();

    reply_always("GET", K, 307, location(s, "http"), S3_ERROR("TemporaryRedirect"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "TemporaryRedirect");
    assert_in_range(fake->count, 2, 8);
}

static void test_redirect_from_tls_to_plain(void **state)
{
    Scratch *s = *state;
    Error err;
    use_tls(s);
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("GET", K, 307, location(s, "http"), S3_ERROR("TemporaryRedirect"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "TemporaryRedirect");
    expect_requests(1);
    start_over();
    reply("GET", K, 307, location(s, "https"), S3_ERROR("TemporaryRedirect"));
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    expect_requests(2);
}

/* --- the clock --------------------------------------------------------------------------------- */

#define SKEWED S3_ERROR("RequestTimeTooSkewed")

static char *date_header(Scratch *s, int64_t ahead)
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    CivilTime t;
    Instant when = clock_now() + ahead;
    clock_to_civil(when, &t);
    return scratch_keep(s, mem_printf("Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                                      days + when / (86400 * SECOND) % 7 * 3, t.day,
                                      months + (t.month - 1) * 3, t.year, t.hour, t.minute,
                                      t.second));
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

/* --- keys that expire -------------------------------------------------------------------------- */

#define EXPIRED                                                                                    \
    "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>"           \
    "<Token-0>" SECRET_MARK "token1</Token-0></Error>"

static Scratch *renewing;

static void new_keys(const S3Seen *seen)
{
    (void)seen;
    write_keys(renewing, "AKNEW", SECRET_MARK "token2");
}

static void new_token(const S3Seen *seen)
{
    (void)seen;
    write_keys(renewing, "AKOLD", SECRET_MARK "token2");
}

static void keys_are_renewed(Scratch *s, const char *code, void (*renew)(const S3Seen *seen),
                             const char *access_key)
{
    char *file = write_keys(renewing = s, "AKOLD", SECRET_MARK "token1");
    char *body = mem_printf("<Error><Code>%s</Code></Error>", code);
    Storage *st = open_s3(s, (StorageOptions){.credentials_file = file});
    reply("GET", K, 400, "", body)->before = renew;
    reply("GET", K, 200, ETAG, "1")->times = 2;
    must_get(st, "k", "1");
    must_get(st, "k", "1");
    expect_requests(3);
    assert_string_equal(seen_at(0)->access_key, "AKOLD");
    expect_header(0, "x-amz-security-token", SECRET_MARK "token1");
    assert_string_equal(seen_at(1)->access_key, access_key);
    expect_header(1, "x-amz-security-token", SECRET_MARK "token2");
    expect_header(2, "x-amz-security-token", SECRET_MARK "token2");
    free(body);
    start_over();
}

static void test_keys_are_renewed(void **state)
{
    keys_are_renewed(*state, "ExpiredToken", new_keys, "AKNEW");
    keys_are_renewed(*state, "ExpiredToken", new_token, "AKOLD");
    keys_are_renewed(*state, "InvalidToken", new_keys, "AKNEW");
    keys_are_renewed(*state, "TokenRefreshRequired", new_keys, "AKNEW");
}

static void test_keys_of_head_are_renewed(void **state)
{
    Error err;
    StorageObject object;
    char *file = write_keys(renewing = *state, "AKOLD", SECRET_MARK "token1");
    Storage *st = open_s3(*state, (StorageOptions){.credentials_file = file});
    reply("HEAD", K, 400, "", "");
    reply("GET", K, 400, "", EXPIRED)->before = new_keys;
    reply("GET", K, 206, ETAG "Content-Range: bytes 0-0/5\r\n", "x");
    must(storage_head(st, "k", &object, &err), &err);
    assert_string_equal(seen_at(2)->access_key, "AKNEW");
}

static void remove_keys(const S3Seen *seen)
{
    (void)seen;
    unlink(scratch_path(renewing, "keys"));
}

static int key_number;

static void other_keys(const S3Seen *seen)
{
    char name[32];
    (void)seen;
    snprintf(name, sizeof(name), "AK%d", ++key_number);
    write_keys(renewing, name, SECRET_MARK "token");
}

static void test_keys_that_can_not_be_renewed(void **state)
{
    Scratch *s = renewing = *state;
    Error err;
    char *file = write_keys(s, "AKOLD", SECRET_MARK "token1");
    Storage *st = open_s3(s, (StorageOptions){.credentials_file = file});
    reply_always("GET", K, 400, "", EXPIRED); /* the file has the same keys as before */
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "ExpiredToken: The provided token has expired.");
    expect_requests(1);
    start_over();

    reply("GET", K, 400, "", EXPIRED)->before = remove_keys;
    assert_false(get(st, "k", &err));
    expect_requests(1);
    start_over();

    file = write_keys(s, "AKLASTING", NULL); /* nothing about them can expire */
    st = open_s3(s, (StorageOptions){.credentials_file = file});
    reply_always("GET", K, 400, "", EXPIRED);
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "ExpiredToken");
    expect_requests(1);
    start_over();

    file = write_keys(s, "AKOLD", SECRET_MARK "token1"); /* new ones each time, and none is good */
    st = open_s3(s, (StorageOptions){.credentials_file = file});
    S3Rule *rule = reply("GET", K, 400, "", EXPIRED);
    rule->times = FOR_EVER;
    rule->before = other_keys;
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "ExpiredToken");
    assert_in_range(fake->count, 2, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_addresses),
        S3_TEST(test_odd_keys),
        S3_TEST(test_options_that_can_not_be),
        S3_TEST(test_environment),
        S3_TEST(test_region),
        S3_TEST(test_region_of_head),
        S3_TEST(test_region_of_put),
        S3_TEST(test_region_loops_end),
        S3_TEST(test_region_is_not_learnt_by_the_way),
        S3_TEST(test_redirect_of_one_request),
        S3_TEST(test_redirect_of_put),
        S3_TEST(test_redirects_that_are_not_followed),
        S3_TEST(test_redirect_from_tls_to_plain),
        S3_TEST(test_clock),
        S3_TEST(test_clock_of_head),
        S3_TEST(test_clock_that_can_not_be_put_right),
        S3_TEST(test_keys_are_renewed),
        S3_TEST(test_keys_of_head_are_renewed),
        S3_TEST(test_keys_that_can_not_be_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
