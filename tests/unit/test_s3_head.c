/* storage/s3_read.c, s3_check.c: what an object is, whether it is missing or may not be seen, and
 * how a cold one is brought back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K      "/bucket/p/k"
#define LIST_K "/bucket?encoding-type=url&list-type=2&max-keys=*&prefix=p%2Fk"
#define DENIED S3_ERROR("AccessDenied")
#define NO_KEY S3_ERROR("NoSuchKey")
#define LISTED(k)                                                                                  \
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>" k "</Key><Size>5</Size>"   \
    "<LastModified>2026-11-20T10:00:00.000Z</LastModified></Contents></ListBucketResult>"
#define EMPTY "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
#define TIME  "Last-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\n"
#define CLASS "x-amz-storage-class: "

static StorageObject must_head(Storage *st)
{
    Error err;
    StorageObject object = {0};
    must(storage_head(st, "k", &object, &err), &err);
    return object;
}

static void test_head(void **state)
{
    Instant when;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("HEAD", K, 200, ETAG TIME "Content-Length: 5497558138880\r\n", "");
    StorageObject object = must_head(st);
    assert_string_equal(object.key, "k");
    assert_true(object.size == UINT64_C(5497558138880));
    assert_true(clock_parse_utc("2026-11-20T10:00:00Z", &when));
    assert_int_equal(object.modified, when);
    assert_false(object.cold);
    expect_requests(1);
    reply("HEAD", K, 200, ETAG TIME, "");
    assert_int_equal(must_head(st).size, 0);
}

static void test_cold(void **state)
{
    static const struct {
        const char *headers;
        bool cold;
    } cases[] = {
        {CLASS "STANDARD\r\n", false},
        {CLASS "STANDARD_IA\r\n", false},
        {CLASS "GLACIER_IR\r\n", false},
        {CLASS "INTELLIGENT_TIERING\r\n", false},
        {CLASS "GLACIER\r\n", true},
        {CLASS "DEEP_ARCHIVE\r\n", true},
        {CLASS "GLACIER\r\nx-amz-restore: ongoing-request=\"true\"\r\n", true},
        {CLASS
         "GLACIER\r\nx-amz-restore: ongoing-request=\"false\", expiry-date=\"Fri, 27 Nov 2026 "
         "00:00:00 GMT\"\r\n",
         false},
        {CLASS "INTELLIGENT_TIERING\r\nx-amz-archive-status: ARCHIVE_ACCESS\r\n", true},
    };
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *headers = mem_printf(ETAG TIME "Content-Length: 7\r\n%s", cases[i].headers);
        reply("HEAD", K, 200, headers, "");
        if (must_head(st).cold != cases[i].cold)
            fail_msg("%s", cases[i].headers);
        free(headers);
    }
}

/* A HEAD that fails says nothing of the cause: a GET of one byte does. */
static void test_get_of_one_byte(void **state)
{
    static const int status[] = {400, 403, 404, 405};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(status) / sizeof(status[0]); i++) {
        reply("HEAD", K, status[i], "", "");
        reply("GET", K, 206, ETAG TIME CLASS "GLACIER\r\nContent-Range: bytes 0-0/123\r\n", "x");
        StorageObject object = must_head(st);
        assert_int_equal(object.size, 123);
        assert_true(object.cold);
        expect_requests(2);
        expect_header(1, "range", "bytes=0-0");
        start_over();
    }
    reply("HEAD", K, 403, "", ""); /* an empty object has no first byte */
    reply("GET", K, 416, "Content-Range: bytes */0\r\n", S3_ERROR("InvalidRange"));
    assert_int_equal(must_head(st).size, 0);
    reply("HEAD", K, 403, "", ""); /* a server that does not know ranges */
    reply("GET", K, 200, ETAG TIME, "hello");
    assert_int_equal(must_head(st).size, 5);
}

static void head_fails(Storage *st, ErrorCode code, const char *part)
{
    Error err;
    StorageObject object;
    assert_false(storage_head(st, "k", &object, &err));
    expect_error(&err, code, part);
    assert_int_equal(err.denied, strcmp(part, "AccessDenied") == 0);
}

static void test_absent(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", NO_KEY);
    head_fails(st, ERR_NO, "NoSuchKey");
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", S3_ERROR("NoSuchBucket"));
    head_fails(st, ERR_REPO, "NoSuchBucket");
    reply_always("HEAD", K, 404, "", "");
    reply_always("GET", K, 404, "", "<html>Not Found</html>");
    head_fails(st, ERR_REPO, "no S3 answer");
}

static void test_doubts(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_always("HEAD", K, 500, "", "");
    head_fails(st, ERR_REPO, "HTTP 500");
    start_over();
    reply("HEAD", K, 404, "", "");
    reply_always("GET", K, 500, "", "");
    head_fails(st, ERR_REPO, "HTTP 500");
    start_over();
    reply("HEAD", K, 404, "", "");
    reply_fault("GET", K, S3_CLOSE)->times = FOR_EVER;
    head_fails(st, ERR_REPO, "127.0.0.1");
    start_over();
    reply_fault("HEAD", K, S3_CLOSE)->times = FOR_EVER;
    head_fails(st, ERR_REPO, "127.0.0.1");
}

/* Where the right to list depends on a prefix, an absent key is a refusal, too. A listing that may
 * be seen tells. */
static void test_refusal_or_absence_of_head(void **state)
{
    static const struct {
        int status;
        const char *listing;
        ErrorCode code;
        const char *part;
    } cases[] = {{200, EMPTY, ERR_NO, "is not there"},
                 {200, LISTED("p/k2"), ERR_NO, "is not there"},
                 {200, LISTED("p/k"), ERR_REPO, "AccessDenied"},
                 {403, DENIED, ERR_REPO, "AccessDenied"},
                 {404, S3_ERROR("NoSuchBucket"), ERR_REPO, "AccessDenied"},
                 {400, S3_ERROR("InvalidArgument"), ERR_REPO, "AccessDenied"}};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Error err;
        char out[4];
        reply("HEAD", K, 403, "", "");
        reply("GET", K, 403, "", DENIED)->times = 3;
        reply("GET", LIST_K, cases[i].status, "", cases[i].listing)->times = 3;
        head_fails(st, cases[i].code, cases[i].part);
        expect_requests(3);
        assert_false(get(st, "k", &err));
        expect_error(&err, cases[i].code, cases[i].part);
        expect_requests(5);
        assert_false(storage_get_range(st, "k", 5, 4, out, &err));
        expect_error(&err, cases[i].code, cases[i].part);
        expect_requests(7);
        start_over();
    }
}

/* What S3 says of an object has an ETag. */
static void test_success_of_others(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply("HEAD", K, 200, TIME "Content-Length: 20\r\n", "");
    reply("HEAD", K, 200, ETAG TIME "Content-Length: 5\r\n", "");
    assert_int_equal(must_head(st).size, 5);
    reply_always("HEAD", K, 200, TIME "Content-Length: 20\r\n", "");
    head_fails(st, ERR_REPO, "repository main");
}

/* --- cold objects ---------------------------------------------------------------------------- */

#define COLD ETAG "x-amz-storage-class: GLACIER\r\nContent-Length: 5\r\n"

static void test_thaw(void **state)
{
    Error err;
    bool ready = true;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("HEAD", K, 200, COLD, "");
    reply("POST", K "?restore=", 202, "", "");
    must(storage_thaw(st, "k", "Bulk", 7, &ready, &err), &err);
    assert_false(ready);
    static const char xml[] = "<RestoreRequest><Days>7</Days><GlacierJobParameters><Tier>Bulk"
                              "</Tier></GlacierJobParameters></RestoreRequest>";
    expect_body(1, xml, strlen(xml));
    char *md5 = header_of(seen_at(1), "content-md5");
    assert_non_null(md5);
    free(md5);
    start_over();

    reply("HEAD", K, 200, COLD "x-amz-restore: ongoing-request=\"true\"\r\n", "");
    reply_always("POST", K "?restore=", 409, "", S3_ERROR("RestoreAlreadyInProgress"));
    must(storage_thaw(st, "k", "Standard", 7, &ready, &err), &err);
    assert_false(ready);
    start_over();

    reply("HEAD", K, 200, COLD "x-amz-restore: ongoing-request=\"false\", expiry-date=\"x\"\r\n",
          "");
    reply("HEAD", K, 200, ETAG, "");
    must(storage_thaw(st, "k", "Standard", 7, &ready, &err), &err);
    assert_true(ready);
    ready = false;
    must(storage_thaw(st, "k", "Standard", 7, &ready, &err), &err);
    assert_true(ready);
    expect_requests(2);
}

static void test_thaw_fails(void **state)
{
    Error err;
    bool ready;
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply("HEAD", K, 200, COLD, "");
    reply("POST", K "?restore=", 403, "", DENIED);
    assert_false(storage_thaw(st, "k", "Standard", 7, &ready, &err));
    expect_error(&err, ERR_REPO, "may not do that");
    assert_true(err.denied);
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", NO_KEY);
    assert_false(storage_thaw(st, "k", "Standard", 7, &ready, &err));
    expect_error(&err, ERR_NO, "NoSuchKey");
    reply("HEAD", K, 200, COLD, "");
    reply("POST", K "?restore=", 400, "", S3_ERROR("MalformedXML"));
    assert_false(storage_thaw(st, "k", "Standard", 7, &ready, &err));
    expect_error(&err, ERR_REPO, "MalformedXML");
    start_over();
    reply("HEAD", K, 200, COLD, "");
    reply_always("POST", K "?restore=", 503, "", S3_ERROR("GlacierExpeditedRetrievalNotAvailable"));
    assert_false(storage_thaw(st, "k", "Expedited", 7, &ready, &err));
    expect_error(&err, ERR_REPO, "GlacierExpeditedRetrievalNotAvailable");
}

/* The version that was the current one then is brought back. */
static void test_thaw_of_then(void **state)
{
    Error err;
    bool ready = true;
    Storage *st = open_s3(*state, (StorageOptions){.as_of = clock_now()});
    reply_always("GET", "/bucket?*versions=", 200, "",
                 "<ListVersionsResult><IsTruncated>false</IsTruncated><Version><Key>p/k</Key>"
                 "<VersionId>v1</VersionId><IsLatest>true</IsLatest><Size>5</Size>"
                 "<LastModified>2020-01-01T00:00:00.000Z</LastModified></Version>"
                 "</ListVersionsResult>");
    reply("HEAD", K "?versionId=v1", 200, COLD, "");
    reply("POST", K "?restore=&versionId=v1", 202, "", "");
    must(storage_thaw(st, "k", "Standard", 1, &ready, &err), &err);
    assert_false(ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_head),
        S3_TEST(test_cold),
        S3_TEST(test_get_of_one_byte),
        S3_TEST(test_absent),
        S3_TEST(test_doubts),
        S3_TEST(test_refusal_or_absence_of_head),
        S3_TEST(test_success_of_others),
        S3_TEST(test_thaw),
        S3_TEST(test_thaw_fails),
        S3_TEST(test_thaw_of_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
