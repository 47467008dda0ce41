/* storage/s3_read.c: reading, resumed where it broke off, held against what was stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K               "/bucket/p/k"
#define LIST            "/bucket?*list-type=2*"
#define DIGITS          "0123456789abcdefghijABCDEFGHIJ" /* 30 bytes */
#define DENIED          S3_ERROR("AccessDenied")
#define NO_KEY          S3_ERROR("NoSuchKey")
#define FAILED          S3_ERROR("PreconditionFailed")
#define RANGE(from, to) "Content-Range: bytes " #from "-" #to "/30\r\n"

/* Of DIGITS, as sha256sum says. */
#define DIGITS_HEX    "a96e661e16664ddc6704d8f6f95dbece6386bb1a6b27b4d26d2b960d3cdb864e"
#define DIGITS_BASE64 "qW5mHhZmTdxnBNj2+V2+zmOGuxprJ7TSbSuWDTzbhk4="
#define OTHER_HEX     "0000000000000000000000000000000000000000000000000000000000000000"
#define OTHER_BASE64  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

/* An answer that ends after `sent` bytes, when `taken` bytes of the object have been read. */
static S3Rule *reply_cut(int status, const char *headers, const char *body, size_t sent,
                         size_t taken)
{
    S3Rule *r = reply("GET", K, status, headers, body);
    r->fault = S3_CUT;
    r->cut = sent;
    r->held = true;
    r->taken = taken;
    return r;
}

/* Reads to the end in pieces; false with the error of the open or of the read that failed. */
static bool read_all(Storage *st, size_t piece, char out[256], Error *err)
{
    size_t have = 0, got = 0;
    StorageReader *r = storage_reader_open(st, "k", err);
    out[0] = '\0';
    if (!r)
        return false;
    bool ok;
    fake->reading = true;
    do {
        ok = storage_reader_read(r, out + have, piece, &got, err);
        fake->taken = have += ok ? got : 0;
        assert_true(have + piece < 256);
    } while (ok && got);
    out[have] = '\0';
    storage_reader_close(r);
    return ok;
}

/* --- ranges ---------------------------------------------------------------------------------- */

static void test_range(void **state)
{
    Error err;
    char out[16] = "";
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 206, ETAG RANGE(10, 14), "abcde");
    must(storage_get_range(st, "k", 10, 5, out, &err), &err);
    assert_string_equal(out, "abcde");
    expect_header(0, "range", "bytes=10-14");
    expect_header(0, "x-amz-checksum-mode", NULL); /* it would be that of the whole */
    expect_header(0, "if-match", NULL);
    reply("GET", K, 206, ETAG RANGE(0, 0), "0");
    must(storage_get_range(st, "k", 0, 1, out, &err), &err);
    expect_header(1, "range", "bytes=0-0");
    reply("GET", K, 206, ETAG "Content-Range: bytes 5000000000000-5000000000000/6000000000000\r\n",
          "0");
    must(storage_get_range(st, "k", UINT64_C(5000000000000), 1, out, &err), &err);
    expect_header(2, "range", "bytes=5000000000000-5000000000000");
}

/* The checksum of the whole object is none of a part of it. */
static void test_range_with_checksums(void **state)
{
    Error err;
    char out[16] = "";
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 206,
          ETAG RANGE(0, 4) "x-amz-checksum-sha256: " DIGITS_BASE64
                           "\r\nx-amz-meta-sha256: " DIGITS_HEX "\r\n",
          "01234");
    must(storage_get_range(st, "k", 0, 5, out, &err), &err);
    assert_string_equal(out, "01234");
}

static void test_ranges_that_are_not_there(void **state)
{
    Error err;
    char out[64];
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 416, "Content-Range: bytes */30\r\n", S3_ERROR("InvalidRange"));
    assert_false(storage_get_range(st, "k", 30, 5, out, &err));
    expect_error(&err, ERR_DAMAGED, "ends before byte 35");
    reply("GET", K, 206, ETAG RANGE(25, 29) "x-amz-meta-sha256: " DIGITS_HEX "\r\n", "FGHIJ");
    assert_false(storage_get_range(st, "k", 25, 10, out, &err));
    expect_error(&err, ERR_DAMAGED, "ends before byte 35");
    reply("GET", K, 404, "", NO_KEY);
    assert_false(storage_get_range(st, "k", 0, 10, out, &err));
    expect_error(&err, ERR_NO, "NoSuchKey");
    expect_requests(3);
}

/* A server that ignores Range would hand out the wrong bytes. */
static void test_range_is_ignored(void **state)
{
    Error err;
    char out[64];
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_always("GET", K, 200, ETAG, DIGITS);
    assert_false(storage_get_range(st, "k", 10, 5, out, &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_false(storage_get_range(st, "k", 0, 5, out, &err));
    expect_error(&err, ERR_REPO, "repository main");
}

/* So would one that answers another range than was asked for. */
static void test_other_range(void **state)
{
    static const char *const ranges[] = {RANGE(0, 4), RANGE(11, 15), "Content-Range: nonsense\r\n"};
    for (size_t i = 0; i < 3; i++) {
        Error err;
        char out[64];
        Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
        char *headers = mem_printf(ETAG "%s", ranges[i]);
        reply_always("GET", K, 206, headers, "01234");
        assert_false(storage_get_range(st, "k", 10, 5, out, &err));
        expect_error(&err, ERR_REPO, "repository main");
        free(headers);
        start_over();
    }
}

/* --- broken off ------------------------------------------------------------------------------ */

static void test_resumed(void **state)
{
    static const size_t pieces[] = {1, 7, 100};
    for (int i = 0; i < 6; i++) {
        Error err;
        char out[256];
        Storage *st = open_s3(*state, (StorageOptions){0});
        reply_cut(200, ETAG "x-amz-checksum-sha256: " DIGITS_BASE64 "\r\n", DIGITS, 10, 10)
            ->chunked = i % 2;
        reply_cut(206, ETAG RANGE(10, 29), DIGITS + 10, 5, 15);
        reply("GET", K, 206, ETAG RANGE(15, 29), DIGITS + 15);
        must(read_all(st, pieces[i / 2], out, &err), &err);
        assert_string_equal(out, DIGITS);
        expect_requests(3);
        expect_header(0, "range", NULL);
        expect_header(0, "if-match", NULL);
        expect_header(0, "x-amz-checksum-mode", "ENABLED");
        expect_header(1, "range", "bytes=10-");
        expect_header(1, "if-match", "\"0123\"");
        expect_header(2, "range", "bytes=15-");
        expect_header(2, "if-match", "\"0123\"");
        start_over();
    }
}

static void *read_soon(void *arg)
{
    usleep(100000);
    fake->reading = true;
    fake->taken = 4;
    return arg;
}

/* storage_get_range() does not show how far it has come: it is given time. */
static void pretend_to_read(const S3Seen *seen)
{
    pthread_t thread;
    (void)seen;
    if (pthread_create(&thread, NULL, read_soon, NULL) == 0)
        pthread_detach(thread);
}

static void test_range_resumed(void **state)
{
    Error err;
    char out[32] = "";
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_cut(206, ETAG RANGE(10, 19), "abcdefghij", 4, 4)->before = pretend_to_read;
    reply("GET", K, 206, ETAG RANGE(14, 19), "efghij");
    must(storage_get_range(st, "k", 10, 10, out, &err), &err);
    assert_string_equal(out, "abcdefghij");
    expect_header(1, "range", "bytes=14-19");
    expect_header(1, "if-match", "\"0123\"");
}

/* Before the first byte of the body. */
static void test_resumed_at_the_beginning(void **state)
{
    Error err;
    char out[256];
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_cut(200, ETAG "x-amz-checksum-sha256: " DIGITS_BASE64 "\r\n", DIGITS, 0, 0);
    reply("GET", K, 200, ETAG, DIGITS);
    must(read_all(st, 100, out, &err), &err);
    assert_string_equal(out, DIGITS);
    expect_header(1, "if-match", "\"0123\"");
}

/* All came, but for the end of the chunks. */
static void test_broken_off_at_the_end(void **state)
{
    Error err;
    char out[256];
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply_cut(200, ETAG "x-amz-meta-sha256: " DIGITS_HEX "\r\n", DIGITS, 30, 30)->chunked = true;
    reply("GET", K, 416, "Content-Range: bytes */30\r\n", S3_ERROR("InvalidRange"));
    must(read_all(st, 100, out, &err), &err);
    assert_string_equal(out, DIGITS);
    expect_header(1, "range", "bytes=30-");
    start_over();
    /* That is no way around the digest. */
    reply_cut(200, ETAG "x-amz-meta-sha256: " OTHER_HEX "\r\n", DIGITS, 30, 30)->chunked = true;
    reply("GET", K, 416, "Content-Range: bytes */30\r\n", S3_ERROR("InvalidRange"));
    assert_false(read_all(st, 100, out, &err));
    expect_error(&err, ERR_DAMAGED, "other content than was stored");
}

/* "Nothing behind this" in the middle of an object is no end of it. */
static void test_416_in_the_middle(void **state)
{
    Error err;
    char out[256];
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_cut(200, ETAG, DIGITS, 10, 10);
    reply_always("GET", K, 416, "Content-Range: bytes */5\r\n", S3_ERROR("InvalidRange"));
    assert_false(read_all(st, 100, out, &err));
    expect_error(&err, ERR_REPO, "repository main");
}

static void resume_fails(Scratch *s, int status, const char *headers, const char *body,
                         const char *part)
{
    Error err;
    char out[256];
    Storage *st = open_s3(s, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_cut(200, ETAG "x-amz-meta-sha256: " DIGITS_HEX "\r\n", DIGITS, 10, 10);
    reply_always("GET", K, status, headers, body);
    assert_false(read_all(st, 100, out, &err));
    /* Not ERR_NO: it was there a moment ago. */
    expect_error(&err, strcmp(part, "content") == 0 ? ERR_DAMAGED : ERR_REPO, part);
    start_over();
}

static void test_resumes_that_fail(void **state)
{
    resume_fails(*state, 412, "", FAILED, "PreconditionFailed");
    resume_fails(*state, 404, "", NO_KEY, "repository main");
    resume_fails(*state, 403, "", DENIED, "AccessDenied");
    resume_fails(*state, 500, "", "", "HTTP 500");
    resume_fails(*state, 200, ETAG, DIGITS, "repository main");
    /* A server that does not know If-Match, and another object under the key. */
    resume_fails(*state, 206, "ETag: \"4567\"\r\n" RANGE(10, 29), DIGITS, "content");
}

/* Without an ETag nobody knows whether it would be the same object. */
static void test_no_etag(void **state)
{
    Error err;
    char out[256];
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_cut(200, "", DIGITS, 10, 10)->times = FOR_EVER;
    assert_false(read_all(st, 100, out, &err));
    expect_error(&err, ERR_REPO, "repository main");
    for (size_t i = 0; i < fake->count; i++)
        expect_header(i, "range", NULL);
}

/* Each piece that comes is progress: an object is read to its end however often it breaks off. */
static void test_patience_begins_anew(void **state)
{
    Error err;
    char out[256];
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = SECOND / 2});
    reply_cut(200, ETAG, DIGITS, 1, 1);
    for (size_t i = 1; i < 29; i++) {
        char *headers = mem_printf(ETAG "Content-Range: bytes %zu-29/30\r\n", i);
        reply_cut(206, headers, DIGITS + i, 1, i + 1);
        free(headers);
    }
    reply("GET", K, 206, ETAG RANGE(29, 29), "J");
    must(read_all(st, 100, out, &err), &err);
    assert_string_equal(out, DIGITS);
    start_over();
    /* And where nothing comes any more it ends. */
    reply_cut(200, ETAG, DIGITS, 1, 1);
    reply_cut(206, ETAG RANGE(1, 29), DIGITS + 1, 0, 0)->times = FOR_EVER;
    Instant begun = clock_now();
    assert_false(read_all(st, 100, out, &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_in_range(clock_now() - begun, SECOND / 2, 3 * SECOND);
}

/* --- digests --------------------------------------------------------------------------------- */

static void test_right_digests(void **state)
{
    static const char *const headers[] = {
        ETAG "x-amz-checksum-sha256: " DIGITS_BASE64 "\r\n",
        ETAG "x-amz-meta-sha256: " DIGITS_HEX "\r\n",
        ETAG "x-amz-checksum-sha256: " DIGITS_BASE64 "\r\nx-amz-meta-sha256: " DIGITS_HEX "\r\n",
        /* of parts, or of another kind: none of the content */
        ETAG "x-amz-checksum-sha256: " OTHER_BASE64 "-2\r\n",
        ETAG "x-amz-checksum-sha256: short\r\n", ETAG "x-amz-meta-sha256: short\r\n",
        ETAG "x-amz-checksum-crc32: AAAAAA==\r\n", ETAG};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        reply("GET", K, 200, headers[i], DIGITS);
        must_get(st, "k", DIGITS);
    }
    reply("GET", K, 200,
          ETAG "x-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n", "");
    must_get(st, "k", "");
}

static void test_wrong_digests(void **state)
{
    static const char *const headers[] = {
        ETAG "x-amz-checksum-sha256: " OTHER_BASE64 "\r\n",
        ETAG "x-amz-meta-sha256: " OTHER_HEX "\r\n",
        ETAG "x-amz-checksum-sha256: " OTHER_BASE64 "\r\nx-amz-meta-sha256: " DIGITS_HEX "\r\n",
        /* what is of the parts leaves our own */
        ETAG "x-amz-checksum-sha256: " OTHER_BASE64 "-2\r\nx-amz-meta-sha256: " OTHER_HEX "\r\n"};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        Error err;
        char out[256];
        reply("GET", K, 200, headers[i], DIGITS);
        assert_false(read_all(st, 7, out, &err));
        expect_error(&err, ERR_DAMAGED, "other content than was stored");
        reply("GET", K, 200, headers[i], "");
        assert_false(get(st, "k", &err));
        expect_error(&err, ERR_DAMAGED, "other content than was stored");
    }
}

/* A reader that stops before the end has seen no whole object: nothing is said of its digest. */
static void test_closed_early(void **state)
{
    Error err;
    char out[8];
    size_t got;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 200, ETAG "x-amz-meta-sha256: " OTHER_HEX "\r\n", DIGITS);
    StorageReader *r = storage_reader_open(st, "k", &err);
    must(r != NULL, &err);
    must(storage_reader_read(r, out, sizeof(out), &got, &err), &err);
    assert_int_equal(got, 8);
    storage_reader_close(r);
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
}

/* More or less than Content-Length says: the rest is no part of this answer. */
static void test_lengths(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("GET", K, 200, ETAG "Content-Length: 5\r\n", DIGITS);
    must_get(st, "k", "01234");
    reply("GET", K, 200, ETAG, "next"); /* on a connection where nothing is left over */
    must_get(st, "k", "next");
    start_over();
    Error err;
    char out[256];
    reply_cut(200, ETAG "Content-Length: 30\r\n", "0123456789", 10, 10);
    reply("GET", K, 206, ETAG RANGE(10, 29), DIGITS + 10);
    must(read_all(st, 100, out, &err), &err);
    assert_string_equal(out, DIGITS);
    expect_header(1, "range", "bytes=10-");
}

/* What S3 hands out has an ETag. */
static void test_success_of_others(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply("GET", K, 200, "", "<html>Welcome</html>");
    reply("GET", K, 200, ETAG, DIGITS);
    must_get(st, "k", DIGITS);
    reply_always("GET", K, 200, "", "<html>Welcome</html>");
    assert_false(get(st, "k", &err));
    expect_error(&err, ERR_REPO, "repository main");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_range),
        S3_TEST(test_range_with_checksums),
        S3_TEST(test_ranges_that_are_not_there),
        S3_TEST(test_range_is_ignored),
        S3_TEST(test_other_range),
        S3_TEST(test_resumed),
        S3_TEST(test_range_resumed),
        S3_TEST(test_resumed_at_the_beginning),
        S3_TEST(test_broken_off_at_the_end),
        S3_TEST(test_416_in_the_middle),
        S3_TEST(test_resumes_that_fail),
        S3_TEST(test_no_etag),
        S3_TEST(test_patience_begins_anew),
        S3_TEST(test_right_digests),
        S3_TEST(test_wrong_digests),
        S3_TEST(test_closed_early),
        S3_TEST(test_lengths),
        S3_TEST(test_success_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
