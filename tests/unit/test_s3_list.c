/* storage/s3_list.c: listings of now. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define QUERY        "/bucket?encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F"
#define NEXT(token)  "/bucket?continuation-token=" token "&*prefix=p%2F*"
#define NAMES        "/bucket?delimiter=%2F&encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F"
#define RESULT(rest) "<ListBucketResult><EncodingType>url</EncodingType>" rest "</ListBucketResult>"
#define LAST         "<IsTruncated>false</IsTruncated>"
#define MORE(token)                                                                                \
    "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"
#define OBJECT_OF(key, rest)                                                                       \
    "<Contents><Key>" key "</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified>"            \
    "<ETag>&quot;e&quot;</ETag><Size>5</Size>" rest "</Contents>"
#define OBJECT(key) OBJECT_OF(key, "<StorageClass>STANDARD</StorageClass>")
#define FOLDER(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"

/* What is listed, a line each; cold ones with a '*'. */
typedef struct Listed {
    Buf text;
    int stop_after, fail_after; /* so many calls */
    int calls;
} Listed;

static bool take(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    Listed *l = ctx;
    Instant when;
    assert_true(clock_parse_utc("2026-11-20T10:00:00Z", &when));
    assert_int_equal(object->modified, when);
    assert_int_equal(object->size, 5);
    buf_printf(&l->text, "%s%s\n", object->key, object->cold ? "*" : "");
    l->calls++;
    *stop = l->calls == l->stop_after;
    return l->calls != l->fail_after || error_set(err, ERR_DAMAGED, "the caller's own error");
}

static bool take_name(void *ctx, const char *name, Error *err)
{
    Listed *l = ctx;
    buf_printf(&l->text, "%s\n", name);
    return ++l->calls != l->fail_after || error_set(err, ERR_DAMAGED, "the caller's own error");
}

static void expect_text(Listed *l, const char *text)
{
    buf_puts(&l->text, "");
    assert_string_equal(l->text.data ? l->text.data : "", text);
    buf_free(&l->text);
}

static void expect_list(Storage *st, const char *prefix, const char *after, const char *text)
{
    Error err;
    Listed l = {0};
    must(storage_list(st, prefix, after, take, &l, &err), &err);
    expect_text(&l, text);
}

static void expect_names(Storage *st, const char *prefix, const char *text)
{
    Error err;
    Listed l = {0};
    must(storage_list_names(st, prefix, take_name, &l, &err), &err);
    expect_text(&l, text);
}

/* --- requests and pages ---------------------------------------------------------------------- */

static void test_requests(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_always("GET", "/bucket?*", 200, "", RESULT(LAST));
    expect_list(st, "", NULL, "");
    expect_line(0, "GET " QUERY);
    expect_header(0, "x-amz-optional-object-attributes", NULL);
    expect_list(st, "wal/a b", "wal/a b\303\244+", "");
    expect_line(1, "GET " QUERY "wal%2Fa%20b&start-after=p%2Fwal%2Fa%20b%C3%A4%2B");
    expect_names(st, "base/", "");
    expect_line(2, "GET " NAMES "base%2F");
    expect_list(open_s3(*state, (StorageOptions){.url = "s3://bucket"}), "x", NULL, "");
    expect_line(3, "GET /bucket?encoding-type=url&list-type=2&max-keys=1000&prefix=x");
}

/* Tokens are opaque, and mean what they meant before they were put into a URL. */
static void test_pages(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY "&start-after=p%2Fa", 200, "", RESULT(MORE("t+/=1 &amp;") OBJECT("p/b")));
    reply("GET", NEXT("t%2B%2F%3D1%20%26"), 200, "", RESULT(MORE("2") OBJECT("p/c") OBJECT("p/d")));
    reply("GET", NEXT("2"), 200, "", RESULT(MORE("3"))); /* a page may be empty */
    reply("GET", NEXT("3"), 200, "", RESULT(OBJECT("p/e") LAST));
    expect_list(st, "", "a", "b\nc\nd\ne\n");
    expect_requests(4);
    for (size_t i = 1; i < 4; i++)
        assert_null(strstr(seen_at(i)->target, "start-after"));
}

/* A page that has to be asked for again is not seen twice. */
static void test_pages_that_fail(void **state)
{
    Error err;
    Listed l = {0};
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 3 * SECOND});
    reply("GET", QUERY, 200, "", RESULT(MORE("2") OBJECT("p/a") OBJECT("p/b")));
    reply("GET", NEXT("2"), 503, "", S3_ERROR("SlowDown"));
    S3Rule *r = reply("GET", NEXT("2"), 200, "", RESULT(OBJECT("p/c") OBJECT("p/d") LAST));
    r->fault = S3_CUT;
    r->cut = 250;
    reply("GET", NEXT("2"), 200, "", RESULT(OBJECT("p/c") OBJECT("p/d") LAST));
    expect_list(st, "", NULL, "a\nb\nc\nd\n");
    start_over();
    /* What was handed out before a failure is no whole listing. */
    reply("GET", QUERY, 200, "", RESULT(MORE("2") OBJECT("p/a")));
    reply_always("GET", NEXT("2"), 500, "", "");
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "HTTP 500");
    expect_text(&l, "a\n");
}

static void test_decoding(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY, 200, "",
          RESULT(OBJECT("p/%25") OBJECT("p/a+b") OBJECT("p/a%20c") OBJECT("p/a%2Bd")
                     OBJECT("p/x%26%3C") OBJECT("p/%C3%A4") LAST));
    expect_list(st, "", NULL, "%\na b\na c\na+d\nx&<\n\303\244\n");
    /* A server that does not encode, although it was asked to. */
    reply("GET", QUERY, 200, "",
          "<ListBucketResult>" OBJECT("p/%25") OBJECT("p/a+b") OBJECT("p/a&amp;b") LAST
          "</ListBucketResult>");
    expect_list(st, "", NULL, "%25\na&b\na+b\n");
}

static void test_folder_objects(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY, 200, "",
          RESULT(OBJECT("p/") OBJECT("p/a/") OBJECT("p/a/b") OBJECT("p/c/") LAST));
    expect_list(st, "", NULL, "a/b\n");
    reply("GET", NAMES "a%2F", 200, "",
          RESULT(OBJECT("p/a/") OBJECT("p/a/b") FOLDER("p/a/c/") LAST));
    expect_names(st, "a/", "b\nc\n");
}

#define THAWED                                                                                     \
    "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>"           \
    "2026-12-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>"
#define FREEZING "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"
#define GLACIER  "<StorageClass>GLACIER</StorageClass>"

/* Which cold ones have been brought back is asked for where there are some. */
static void test_cold(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY, 200, "",
          RESULT(MORE("2") OBJECT_OF("p/a", GLACIER)
                     OBJECT_OF("p/b", "<StorageClass>DEEP_ARCHIVE</StorageClass>")
                         OBJECT_OF("p/d", GLACIER) OBJECT_OF("p/e", GLACIER)));
    reply("GET", QUERY, 200, "",
          RESULT(MORE("2") OBJECT_OF("p/a", GLACIER)
                     OBJECT_OF("p/b", "<StorageClass>DEEP_ARCHIVE</StorageClass>")
                         OBJECT_OF("p/d", GLACIER FREEZING) OBJECT_OF("p/e", GLACIER THAWED)));
    reply("GET", NEXT("2"), 200, "",
          RESULT(OBJECT_OF("p/f", "<StorageClass>GLACIER_IR</StorageClass>") OBJECT_OF("p/g", "")
                     OBJECT_OF("p/h", GLACIER THAWED) LAST));
    expect_list(st, "", NULL, "a*\nb*\nd*\ne\nf\ng\nh\n");
    expect_requests(3);
    expect_header(0, "x-amz-optional-object-attributes", NULL);
    expect_header(1, "x-amz-optional-object-attributes", "RestoreStatus");
    expect_header(2, "x-amz-optional-object-attributes", "RestoreStatus");
    start_over();
    /* Not every server takes the question. */
    reply("GET", QUERY, 200, "", RESULT(OBJECT_OF("p/a", GLACIER) LAST));
    reply("GET", QUERY, 400, "", S3_ERROR("InvalidArgument"));
    reply("GET", QUERY, 200, "", RESULT(OBJECT_OF("p/a", GLACIER) LAST));
    expect_list(st, "", NULL, "a*\n");
}

/* --- names ----------------------------------------------------------------------------------- */

/* Objects and folders come in a run each, and all names once. */
static void test_names(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", NAMES, 200, "",
          RESULT(MORE("2") OBJECT("p/b") OBJECT("p/d") FOLDER("p/a/") FOLDER("p/c%20%C3%A4/")));
    reply("GET", "/bucket?continuation-token=2&delimiter=%2F&*", 200, "",
          RESULT(FOLDER("p/e/") LAST));
    expect_names(st, "", "a\nb\nc \303\244\nd\ne\n");
    /* A folder whose keys go on behind a page may be told twice. */
    reply("GET", NAMES, 200, "", RESULT(MORE("2") FOLDER("p/a/") FOLDER("p/b/")));
    reply("GET", "/bucket?continuation-token=2&*", 200, "",
          RESULT(FOLDER("p/b/") FOLDER("p/c/") LAST));
    expect_names(st, "", "a\nb\nc\n");
}

/* --- callbacks ------------------------------------------------------------------------------- */

static void test_callbacks_end_it(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_always("GET", "/bucket?*", 200, "",
                 RESULT(MORE("2") OBJECT("p/a") OBJECT("p/b") FOLDER("p/c/")));
    Listed l = {.stop_after = 1};
    must(storage_list(st, "", NULL, take, &l, &err), &err);
    expect_text(&l, "a\n");
    expect_requests(1);
    l = (Listed){.stop_after = 2}; /* the last one of the page */
    must(storage_list(st, "", NULL, take, &l, &err), &err);
    assert_in_range(fake->count, 2, 3);
    buf_free(&l.text);
    l = (Listed){.fail_after = 1};
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_DAMAGED, "the caller's own error");
    expect_text(&l, "a\n");
    l = (Listed){.fail_after = 2};
    assert_false(storage_list_names(st, "", take_name, &l, &err));
    expect_error(&err, ERR_DAMAGED, "the caller's own error");
    expect_text(&l, "a\nb\n");
}

/* --- listings that prove nothing ------------------------------------------------------------- */

/* Conclusions are drawn from what is not in a listing: one that may have a gap must be an error. */
static void list_fails(Scratch *s, const char *first, const char *others, const char *part)
{
    Error err;
    Listed l = {0};
    Storage *st = open_s3(s, (StorageOptions){.io_timeout = 2 * SECOND});
    if (first)
        reply("GET", QUERY, 200, "", first);
    reply_always("GET", "/bucket?*", 200, "", others);
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, part);
    assert_non_null(strstr(err.message, "repository main"));
    assert_in_range(fake->count, 1, 60);
    buf_free(&l.text);
    start_over();
}

static void test_no_listings(void **state)
{
    list_fails(*state, NULL, "", "no S3 answer");
    list_fails(*state, NULL, "<html><body>Welcome</body></html>", "no S3 answer");
    list_fails(*state, NULL, RESULT(OBJECT("p/a")), "whether it is complete");
    list_fails(*state, NULL, RESULT("<IsTruncated>true</IsTruncated>" OBJECT("p/a")), "where");
    list_fails(*state, NULL, "<ListBucketResult>" LAST, "no S3 answer");
    list_fails(*state, NULL, RESULT(LAST "<Contents><Key>p/a</Key></Contents>"),
               "no key, size or time");
    list_fails(*state, NULL, S3_ERROR("InvalidArgument"), "InvalidArgument");
}

static void test_keys_of_others(void **state)
{
    list_fails(*state, NULL, RESULT(OBJECT("p/a") OBJECT("q/b") LAST), "q/b");
    list_fails(*state, NULL, RESULT(OBJECT("other") LAST), "other");
}

static void test_order(void **state)
{
    list_fails(*state, RESULT(MORE("2") OBJECT("p/a") OBJECT("p/m")), RESULT(OBJECT("p/b") LAST),
               "byte order");
    list_fails(*state, RESULT(MORE("2") OBJECT("p/\303\244")), RESULT(OBJECT("p/z") LAST),
               "byte order");
}

/* The same page over and over. */
static void test_loops(void **state)
{
    list_fails(*state, NULL, RESULT(MORE("1") OBJECT("p/a")), "goes on");
    list_fails(*state, RESULT(MORE("1") OBJECT("p/a")), RESULT(MORE("1") OBJECT("p/b")), "goes on");
}

static int pages_made;

/* Always the same keys, and another token each time. */
static void make_page(const S3Seen *seen, Buf *body)
{
    (void)seen;
    buf_printf(body,
               RESULT("<IsTruncated>true</IsTruncated><NextContinuationToken>%d"
                      "</NextContinuationToken>" OBJECT("p/a")),
               ++pages_made);
}

static void make_next_page(const S3Seen *seen, Buf *body)
{
    (void)seen;
    const char *end = ++pages_made < 1200 ? "true" : "false";
    buf_printf(body,
               RESULT("<IsTruncated>%s</IsTruncated><NextContinuationToken>%d"
                      "</NextContinuationToken>" OBJECT("p/%06d")),
               end, pages_made, pages_made);
}

/* A million objects are as many pages. */
static void test_many_pages(void **state)
{
    Error err;
    Listed l = {0};
    Storage *st = open_s3(*state, (StorageOptions){0});
    S3Rule *r = reply("GET", "/bucket?*", 200, "", "");
    r->times = FOR_EVER;
    r->quiet = true;
    r->make = make_next_page;
    pages_made = 0;
    must(storage_list(st, "", NULL, take, &l, &err), &err);
    assert_int_equal(l.calls, 1200);
    buf_free(&l.text);
}

/* Pages that lead nowhere. */
static void test_no_end(void **state)
{
    Error err;
    Listed l = {0};
    Storage *st = open_s3(*state, (StorageOptions){0});
    S3Rule *r = reply("GET", "/bucket?*", 200, "", "");
    r->times = FOR_EVER;
    r->quiet = true;
    r->make = make_page;
    pages_made = 0;
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "does not come to an end");
    expect_text(&l, "a\n");
    assert_in_range(pages_made, 100, 5000);
    pages_made = 0;
    storage_set_deadline(st, clock_now() + SECOND / 20);
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "takes too long");
    buf_free(&l.text);
}

/* What sorts before `after` was not asked for: a server that ignores start-after. */
static void test_start_after_is_ignored(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY "&start-after=p%2Fb", 200, "",
          RESULT(OBJECT("p/a") OBJECT("p/b") OBJECT("p/c") LAST));
    expect_list(st, "", "b", "c\n");
}

static void test_refusals(void **state)
{
    Error err;
    Listed l = {0};
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", QUERY, 403, "", S3_ERROR("AccessDenied"));
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "GET bucket: AccessDenied");
    assert_true(err.denied);
    reply("GET", QUERY, 404, "", S3_ERROR("NoSuchBucket"));
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "NoSuchBucket");
    reply("GET", QUERY, 404, "", S3_ERROR("NoSuchKey")); /* whatever that is to mean */
    assert_false(storage_list(st, "", NULL, take, &l, &err));
    expect_error(&err, ERR_REPO, "NoSuchKey");
    reply("GET", NAMES, 404, "", S3_ERROR("NoSuchBucket"));
    assert_false(storage_list_names(st, "", take_name, &l, &err));
    expect_error(&err, ERR_REPO, "NoSuchBucket");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_requests),
        S3_TEST(test_pages),
        S3_TEST(test_pages_that_fail),
        S3_TEST(test_decoding),
        S3_TEST(test_folder_objects),
        S3_TEST(test_cold),
        S3_TEST(test_names),
        S3_TEST(test_callbacks_end_it),
        S3_TEST(test_no_listings),
        S3_TEST(test_keys_of_others),
        S3_TEST(test_order),
        S3_TEST(test_loops),
        S3_TEST(test_many_pages),
        S3_TEST(test_no_end),
        S3_TEST(test_start_after_is_ignored),
        S3_TEST(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
