/* storage/s3_list.c, s3_read.c: a versioned bucket as it stood at an earlier moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define QUERY "/bucket?encoding-type=url&max-keys=1000&prefix=p%2F"
#define K     "/bucket/p/k"

#define RESULT(rest)                                                                               \
    "<ListVersionsResult><EncodingType>url</EncodingType>" rest "</ListVersionsResult>"
#define LAST "<IsTruncated>false</IsTruncated>"
#define MORE(key, version)                                                                         \
    "<IsTruncated>true</IsTruncated><NextKeyMarker>" key                                           \
    "</NextKeyMarker><NextVersionIdMarker>" version "</NextVersionIdMarker>"

/* A version of `size` bytes, stored at that second of 10:00. */
#define VERSION_OF(key, id, second, size, rest)                                                    \
    "<Version><Key>" key "</Key><VersionId>" id "</VersionId><IsLatest>false</IsLatest>"           \
    "<LastModified>2026-11-20T10:00:" second ".000Z</LastModified><Size>" size "</Size>" rest      \
    "</Version>"
#define VERSION(key, id, second, size) VERSION_OF(key, id, second, size, "")
#define MARKER_OF(key, id, second, latest)                                                         \
    "<DeleteMarker><Key>" key "</Key><VersionId>" id "</VersionId><IsLatest>" latest "</IsLatest>" \
    "<LastModified>2026-11-20T10:00:" second ".000Z</LastModified></DeleteMarker>"
#define MARKER(key, id, second) MARKER_OF(key, id, second, "false")
#define FOLDER(key)             "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"

/* Opened as of 10:00:30. */
static Storage *open_then(Scratch *s)
{
    Instant when;
    assert_true(clock_parse_utc("2026-11-20T10:00:30Z", &when));
    return open_s3(s, (StorageOptions){.as_of = when, .io_timeout = 2 * SECOND});
}

static bool take(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)stop, (void)err;
    buf_printf(ctx, "%s %llu%s\n", object->key, (unsigned long long)object->size,
               object->cold ? "*" : "");
    return true;
}

static bool take_name(void *ctx, const char *name, Error *err)
{
    (void)err;
    buf_printf(ctx, "%s\n", name);
    return true;
}

static void expect_text(Buf *got, const char *text)
{
    buf_puts(got, "");
    assert_string_equal(got->data ? got->data : "", text);
    buf_free(got);
}

static void expect_list(Storage *st, const char *prefix, const char *after, const char *text)
{
    Error err;
    Buf got = BUF_INIT;
    must(storage_list(st, prefix, after, take, &got, &err), &err);
    expect_text(&got, text);
}

/* One page, and what was there then. */
static void page(Scratch *s, const char *xml, const char *text)
{
    Storage *st = open_then(s);
    reply("GET", QUERY "&versions=", 200, "", xml);
    expect_list(st, "", NULL, text);
    start_over();
}

/* --- which version --------------------------------------------------------------------------- */

static void test_newest_that_is_not_younger(void **state)
{
    Scratch *s = *state;
    page(s, RESULT(VERSION("p/a", "1", "10", "1") LAST), "a 1\n");
    page(s, RESULT(VERSION("p/a", "1", "30", "1") LAST), "a 1\n"); /* of that very moment */
    page(s, RESULT(VERSION("p/a", "1", "31", "1") LAST), "");
    page(s,
         RESULT(VERSION("p/a", "4", "40", "4") VERSION("p/a", "3", "20", "3")
                    VERSION("p/a", "2", "15", "2") VERSION("p/a", "1", "10", "1") LAST),
         "a 3\n");
    page(s,
         RESULT(VERSION("p/a", "2", "40", "2") VERSION("p/a", "1", "35", "1")
                    VERSION("p/b", "1", "10", "1") LAST),
         "b 1\n");
    /* In whatever order they come. */
    page(s,
         RESULT(VERSION("p/a", "1", "10", "1") VERSION("p/a", "3", "20", "3")
                    VERSION("p/a", "2", "15", "2") LAST),
         "a 3\n");
}

static void test_delete_markers(void **state)
{
    Scratch *s = *state;
    page(s, RESULT(MARKER("p/a", "2", "20") VERSION("p/a", "1", "10", "1") LAST), "");
    page(s, RESULT(MARKER("p/a", "2", "40") VERSION("p/a", "1", "10", "1") LAST), "a 1\n");
    page(s,
         RESULT(VERSION("p/a", "3", "25", "3") MARKER("p/a", "2", "20")
                    VERSION("p/a", "1", "10", "1") LAST),
         "a 3\n");
    /* In a run of their own. */
    page(s,
         RESULT(VERSION("p/a", "1", "10", "1") VERSION("p/b", "1", "10", "1") VERSION(
             "p/c", "1", "10", "1") MARKER("p/a", "2", "20") MARKER("p/b", "2", "40") LAST),
         "b 1\nc 1\n");
    page(s,
         RESULT(MARKER("p/a", "2", "20") MARKER("p/c", "2", "20") VERSION("p/a", "1", "10", "1")
                    VERSION("p/b", "1", "10", "1") VERSION("p/c", "3", "22", "3") LAST),
         "b 1\nc 3\n");
}

/* Of one second: the server lists the newer one first. */
static void test_ties(void **state)
{
    Scratch *s = *state;
    page(s, RESULT(VERSION("p/a", "2", "10", "2") VERSION("p/a", "1", "10", "1") LAST), "a 2\n");
    page(s, RESULT(MARKER("p/a", "2", "10") VERSION("p/a", "1", "10", "1") LAST), "");
    page(s, RESULT(VERSION("p/a", "2", "10", "2") MARKER("p/a", "1", "10") LAST), "a 2\n");
}

/* Where markers come in a run of their own the order says nothing, but which is the latest does. */
static void test_tie_with_the_latest(void **state)
{
    Scratch *s = *state;
    page(s,
         RESULT(VERSION("p/a", "1", "10", "1") VERSION("p/b", "1", "10", "1")
                    MARKER_OF("p/a", "2", "10", "true") LAST),
         "b 1\n");
}

#define COLD "<StorageClass>GLACIER</StorageClass>"
#define BACK                                                                                       \
    "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>"           \
    "2026-12-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>"

static void test_cold(void **state)
{
    Storage *st = open_then(*state);
    reply("GET", QUERY "&versions=", 200, "",
          RESULT(VERSION("p/a", "2", "40", "2") VERSION_OF("p/a", "1", "10", "1", COLD)
                     VERSION_OF("p/b", "1", "10", "1", COLD) LAST));
    reply("GET", QUERY "&versions=", 200, "",
          RESULT(VERSION("p/a", "2", "40", "2") VERSION_OF("p/a", "1", "10", "1", COLD)
                     VERSION_OF("p/b", "1", "10", "1", COLD BACK) LAST));
    expect_list(st, "", NULL, "a 1*\nb 1\n");
    expect_header(0, "x-amz-optional-object-attributes", NULL);
    expect_header(1, "x-amz-optional-object-attributes", "RestoreStatus");
}

/* --- pages ----------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
    Error err;
    Buf names = BUF_INIT;
    Storage *st = open_then(*state);
    reply_always("GET", "/bucket?*", 200, "", RESULT(LAST));
    expect_list(st, "wal/", "wal/b c", "");
    expect_line(0, "GET /bucket?encoding-type=url&key-marker=p%2Fwal%2Fb%20c&max-keys=1000"
                   "&prefix=p%2Fwal%2F&versions=");
    must(storage_list_names(st, "base/", take_name, &names, &err), &err);
    expect_line(1, "GET /bucket?delimiter=%2F&encoding-type=url&max-keys=1000&prefix=p%2Fbase%2F"
                   "&versions=");
}

/* The versions of one key on two pages: the best is chosen of all of them. */
static void test_key_on_two_pages(void **state)
{
    Storage *st = open_then(*state);
    reply("GET", QUERY "&versions=", 200, "",
          RESULT(MORE("p/b", "9") VERSION("p/a", "1", "10", "1") VERSION("p/b", "9", "50", "9")));
    reply("GET", "/bucket?*key-marker=p%2Fb&*version-id-marker=9*", 200, "",
          RESULT(MORE("p/b", "7") VERSION("p/b", "8", "40", "8") VERSION("p/b", "7", "20", "7")));
    reply("GET", "/bucket?*key-marker=p%2Fb&*version-id-marker=7*", 200, "",
          RESULT(VERSION("p/b", "6", "20", "6") VERSION("p/b", "5", "10", "5")
                     VERSION("p/c", "1", "10", "1") LAST));
    expect_list(st, "", NULL, "a 1\nb 7\nc 1\n");
    expect_requests(3);
    start_over();
    /* Its marker is on the first, and nothing of it may be seen on the second. */
    reply("GET", QUERY "&versions=", 200, "", RESULT(MORE("p/b", "9") MARKER("p/b", "9", "20")));
    reply("GET", "/bucket?*key-marker=p%2Fb&*version-id-marker=9*", 200, "",
          RESULT(VERSION("p/b", "8", "10", "8") LAST));
    expect_list(st, "", NULL, "");
}

/* From `after` on, and then from where the page before ended. */
static void test_pages_after_a_key(void **state)
{
    Storage *st = open_then(*state);
    reply("GET", "/bucket?*key-marker=p%2Fa&*", 200, "",
          RESULT(MORE("p/b", "1") VERSION("p/b", "1", "10", "1")));
    reply("GET", "/bucket?*key-marker=p%2Fb&*version-id-marker=1*", 200, "",
          RESULT(VERSION("p/c", "1", "10", "1") LAST));
    expect_list(st, "", "a", "b 1\nc 1\n");
    expect_requests(2);
}

/* Same key marker and another version: that is progress. The same of both is a loop. */
static void test_loops(void **state)
{
    Error err;
    Buf got = BUF_INIT;
    Storage *st = open_then(*state);
    reply_always("GET", "/bucket?*", 200, "",
                 RESULT(MORE("p/b", "9") VERSION("p/b", "9", "10", "9")));
    Instant begun = clock_now();
    assert_false(storage_list(st, "", NULL, take, &got, &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_in_range(clock_now() - begun, 0, 10 * SECOND);
    buf_free(&got);
}

static void test_no_listings(void **state)
{
    static const char *const bodies[] = {
        "",
        "<html>Welcome</html>",
        RESULT(VERSION("p/a", "1", "10", "1")),
        RESULT("<IsTruncated>true</IsTruncated>" VERSION("p/a", "1", "10", "1")),
        RESULT(VERSION("q/a", "1", "10", "1") LAST),
        RESULT(VERSION("p/a", "", "10", "1") LAST)};
    Storage *st = open_then(*state);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        Error err;
        Buf got = BUF_INIT;
        reply_always("GET", "/bucket?*", 200, "", bodies[i]);
        assert_false(storage_list(st, "", NULL, take, &got, &err));
        expect_error(&err, ERR_REPO, "repository main");
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_REPO, "repository main");
        buf_free(&got);
        start_over();
    }
}

static void test_order(void **state)
{
    Error err;
    Buf got = BUF_INIT;
    Storage *st = open_then(*state);
    reply("GET", QUERY "&versions=", 200, "",
          RESULT(MORE("p/m", "1") VERSION("p/b", "1", "10", "1") VERSION("p/m", "1", "10", "1")));
    reply_always("GET", "/bucket?*key-marker*", 200, "",
                 RESULT(VERSION("p/a", "1", "10", "1") LAST));
    assert_false(storage_list(st, "", NULL, take, &got, &err));
    expect_error(&err, ERR_REPO, "byte order");
    buf_free(&got);
}

/* --- names ----------------------------------------------------------------------------------- */

/* A name is one if something below it was there then. */
static void test_names(void **state)
{
    Error err;
    Buf names = BUF_INIT;
    Storage *st = open_then(*state);
    reply("GET", "/bucket?delimiter=%2F&*", 200, "",
          RESULT(VERSION("p/file", "1", "10", "1") MARKER("p/gone", "2", "20")
                     VERSION("p/gone", "1", "10", "1") FOLDER("p/alive/") FOLDER("p/deleted/")
                         FOLDER("p/later/") FOLDER("p/folder/") LAST));
    reply("GET", QUERY "alive%2F&versions=", 200, "",
          RESULT(MARKER("p/alive/x", "2", "20") VERSION("p/alive/x", "1", "10", "1")
                     VERSION("p/alive/y", "1", "10", "1") LAST));
    reply("GET", QUERY "deleted%2F&versions=", 200, "",
          RESULT(MARKER("p/deleted/x", "2", "20") VERSION("p/deleted/x", "1", "10", "1") LAST));
    reply("GET", QUERY "later%2F&versions=", 200, "",
          RESULT(VERSION("p/later/x", "1", "40", "1") LAST));
    reply("GET", QUERY "folder%2F&versions=", 200, "",
          RESULT(VERSION("p/folder/", "1", "10", "0") LAST));
    must(storage_list_names(st, "", take_name, &names, &err), &err);
    expect_text(&names, "alive\nfile\n");
    start_over();
    /* Nothing is concluded from a look that failed. */
    reply("GET", "/bucket?delimiter=%2F&*", 200, "", RESULT(FOLDER("p/alive/") LAST));
    reply_always("GET", QUERY "alive%2F&versions=", 500, "", "");
    assert_false(storage_list_names(st, "", take_name, &names, &err));
    expect_error(&err, ERR_REPO, "HTTP 500");
    buf_free(&names);
}

/* --- reading --------------------------------------------------------------------------------- */

#define VERSIONS_OF_K "/bucket?*prefix=p%2Fk&versions="
#define TWO                                                                                        \
    RESULT(VERSION("p/k", "v/2+", "40", "9") VERSION("p/k", "v/1+", "10", "5")                     \
               VERSION("p/k2", "x", "10", "7") LAST)

static void test_reading(void **state)
{
    Error err;
    char out[4] = "";
    StorageObject object;
    Storage *st = open_then(*state);
    reply_always("GET", VERSIONS_OF_K, 200, "", TWO);
    reply("GET", K "?versionId=v%2F1%2B", 200, ETAG, "hello");
    must_get(st, "k", "hello");
    reply("GET", K "?versionId=v%2F1%2B", 206, ETAG "Content-Range: bytes 1-3/5\r\n", "ell");
    must(storage_get_range(st, "k", 1, 3, out, &err), &err);
    assert_memory_equal(out, "ell", 3);
    reply("HEAD", K "?versionId=v%2F1%2B", 200, ETAG "Content-Length: 5\r\n", "");
    must(storage_head(st, "k", &object, &err), &err);
    assert_int_equal(object.size, 5);
    reply("HEAD", K "?versionId=v%2F1%2B", 400, "", "");
    reply("GET", K "?versionId=v%2F1%2B", 206, ETAG "Content-Range: bytes 0-0/5\r\n", "h");
    must(storage_head(st, "k", &object, &err), &err);
    assert_int_equal(object.size, 5);
}

/* A reader stays with its version where it goes on. */
static void test_resumed(void **state)
{
    Error err;
    char out[8] = "";
    size_t got;
    Storage *st = open_then(*state);
    reply("GET", VERSIONS_OF_K, 200, "", TWO);
    S3Rule *r = reply("GET", K "?versionId=v%2F1%2B", 200, ETAG, "hello");
    r->fault = S3_CUT;
    r->cut = r->taken = 2;
    r->held = true;
    reply("GET", K "?versionId=v%2F1%2B", 206, ETAG "Content-Range: bytes 2-4/5\r\n", "llo");
    StorageReader *reader = storage_reader_open(st, "k", &err);
    must(reader != NULL, &err);
    must(storage_reader_read(reader, out, sizeof(out), &got, &err), &err);
    assert_int_equal(got, 2);
    fake->taken = 2;
    fake->reading = true;
    must(storage_reader_read(reader, out + 2, sizeof(out) - 2, &got, &err), &err);
    assert_string_equal(out, "hello");
    storage_reader_close(reader);
    expect_header(2, "range", "bytes=2-");
}

static void test_not_there_then(void **state)
{
    static const char *const pages[] = {
        RESULT(LAST), RESULT(VERSION("p/k", "1", "40", "1") LAST),
        RESULT(MARKER("p/k", "2", "20") VERSION("p/k", "1", "10", "1") LAST),
        RESULT(VERSION("p/k2", "1", "10", "1") LAST),
        RESULT(MARKER("p/k", "2", "20") VERSION("p/k", "1", "10", "1")
                   VERSION("p/k2", "1", "10", "1") LAST)};
    Storage *st = open_then(*state);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        Error err;
        StorageObject object;
        reply_always("GET", VERSIONS_OF_K, 200, "", pages[i]);
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_NO, "was not there then");
        assert_false(storage_head(st, "k", &object, &err));
        expect_error(&err, ERR_NO, "was not there then");
        expect_requests(2);
        start_over();
    }
}

/* A version that has been removed for good since it was listed is doubt, or plainly gone; never
 * another version in its place. */
static void test_version_is_gone(void **state)
{
    Error err;
    Storage *st = open_then(*state);
    reply("GET", VERSIONS_OF_K, 200, "", TWO);
    reply("GET", K "?versionId=v%2F1%2B", 404, "", S3_ERROR("NoSuchVersion"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_NO, "NoSuchVersion");
    reply("GET", VERSIONS_OF_K, 403, "", S3_ERROR("AccessDenied"));
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "AccessDenied");
    assert_true(err.denied);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_newest_that_is_not_younger),
        S3_TEST(test_delete_markers),
        S3_TEST(test_ties),
        S3_TEST(test_tie_with_the_latest),
        S3_TEST(test_cold),
        S3_TEST(test_requests),
        S3_TEST(test_key_on_two_pages),
        S3_TEST(test_pages_after_a_key),
        S3_TEST(test_loops),
        S3_TEST(test_no_listings),
        S3_TEST(test_order),
        S3_TEST(test_names),
        S3_TEST(test_reading),
        S3_TEST(test_resumed),
        S3_TEST(test_not_there_then),
        S3_TEST(test_version_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
