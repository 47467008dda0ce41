/* storage/s3_put.c: objects that go up in parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_upload.h"
#include "storage/s3_xml.h"

/* --- a whole upload -------------------------------------------------------------------------- */

static void test_upload(void **state)
{
    Error err;
    bool existed = true;
    char hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    unsigned char text[64];
    Storage *st = open_parts(*state, 1000, 0);
    upload_works();
    must(upload(st, 0, 2500, 300, &existed, &err), &err);
    assert_false(existed);
    expect_requests(5);
    expect_line(0, "POST " CREATE);
    expect_header(0, "x-amz-checksum-algorithm", "SHA256");
    expect_header(0, "if-none-match", NULL);
    assert_int_equal(expect_parts(2500), 3);
    Buf xml = BUF_INIT;
    buf_puts(&xml, "<CompleteMultipartUpload>");
    for (int i = 1; i <= 3; i++) {
        size_t at = (size_t)(i - 1) * 1000, len = i < 3 ? 1000 : 500, index = 1;
        sha256(data + at, len, digest);
        sha256_hex(digest, hex);
        EVP_EncodeBlock(text, digest, SHA256_BYTES);
        while (&fake->seen[index] != part(i))
            index++;
        expect_header(index, "x-amz-content-sha256", hex);
        expect_header(index, "x-amz-checksum-sha256", (char *)text);
        expect_header(index, "x-amz-sdk-checksum-algorithm", "SHA256");
        expect_header(index, "if-none-match", NULL);
        buf_printf(&xml, "<Part><PartNumber>%d</PartNumber><ETag>", i);
        s3_xml_escape(&xml, "\"<&");
        buf_printf(&xml, "%d", i);
        s3_xml_escape(&xml, ">\"");
        buf_printf(&xml, "</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>", text);
    }
    buf_puts(&xml, "</CompleteMultipartUpload>");
    expect_line(4, "POST " COMPLETE);
    expect_header(4, "if-none-match", "*");
    expect_body(4, xml.data, xml.len);
    buf_free(&xml);
}

/* What concerns the object goes with the first request, what concerns each one with all. */
static void test_options(void **state)
{
    Error err;
    bool existed;
    StorageOptions o = {.part_size = 1000,
                        .storage_class = "STANDARD_IA",
                        .sse = SSE_AES256,
                        .tags = "a=b",
                        .requester_pays = true,
                        .checksum = CHECKSUM_MD5};
    Storage *st = open_s3(*state, o);
    upload_works();
    must(upload(st, 0, 2000, 2000, &existed, &err), &err);
    expect_requests(4);
    expect_header(0, "x-amz-storage-class", "STANDARD_IA");
    expect_header(0, "x-amz-server-side-encryption", "AES256");
    expect_header(0, "x-amz-tagging", "a=b");
    expect_header(0, "x-amz-checksum-algorithm", NULL);
    for (size_t i = 0; i < 4; i++)
        expect_header(i, "x-amz-request-payer", "requester");
    for (size_t i = 1; i < 4; i++) {
        expect_header(i, "x-amz-storage-class", NULL);
        expect_header(i, "x-amz-tagging", NULL);
        expect_header(i, "x-amz-checksum-sha256", NULL);
    }
    for (size_t i = 1; i < 3; i++) {
        char *md5 = header_of(seen_at(i), "content-md5");
        assert_non_null(md5);
        free(md5);
    }
    assert_null(strstr(seen_at(3)->body.data, "Checksum"));
}

/* --- sizes of parts -------------------------------------------------------------------------- */

static size_t size_of(int number)
{
    const S3Seen *p = part(number);
    return p ? p->body.len : 0;
}

/* Nobody knows how much comes: the parts double at each eighth of their numbers, so that there is
 * room for 2^7 times as much. */
static void test_parts_double(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_parts(*state, 100, 32);
    upload_works();
    must(upload(st, 0, 20000, 7000, &existed, &err), &err);
    int count = expect_parts(20000), run = 1;
    assert_in_range(count, 10, 32);
    assert_int_equal(size_of(1), 100);
    for (int i = 2; i < count; i++) {
        bool same = size_of(i) == size_of(i - 1);
        assert_true(same || size_of(i) == 2 * size_of(i - 1));
        run = same ? run + 1 : 1;
        assert_in_range(run, 1, 5);
    }
    assert_true(size_of(count) <= 2 * size_of(count - 1));
    assert_true(size_of(count - 1) > 100);
}

/* Equal parts but the last, as many as may be, with a tenth to spare. */
static void test_parts_of_a_known_size(void **state)
{
    static const struct {
        uint64_t expected;
        size_t comes;
    } cases[] = {{100000, 100000}, {100000, 99000}, {90000, 99000}, {50000, 50001}, {9000, 9000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Error err;
        bool existed;
        Storage *st = open_parts(*state, 1000, 10);
        upload_works();
        must(upload(st, cases[i].expected, cases[i].comes, 900, &existed, &err), &err);
        int count = expect_parts(cases[i].comes);
        assert_in_range(count, 8, 10);
        for (int n = 2; n < count; n++)
            assert_int_equal(size_of(n), size_of(1));
        assert_true(size_of(count) <= size_of(1));
        assert_true(size_of(1) >= 1000);
        start_over();
    }
}

/* Exactly a part's size is one PUT, exactly two are two parts, and no empty one comes behind. */
static void test_whole_parts(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_parts(*state, 1000, 0);
    conditions_hold();
    reply("PUT", K, 200, ETAG, "");
    must(upload(st, 0, 1000, 100, &existed, &err), &err);
    expect_requests(1);
    start_over();
    upload_works();
    must(upload(st, 0, 2000, 100, &existed, &err), &err);
    expect_requests(4);
    assert_int_equal(expect_parts(2000), 2);
}

static void test_too_many_parts(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_parts(*state, 100, 4);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("DELETE", COMPLETE, 204, "", "");
    assert_false(upload(st, 400, 100000, 1000, &existed, &err));
    expect_error(&err, ERR_REPO, "needs more than 4 parts");
    assert_true(err.hint[0] && strstr(err.hint, "part-size"));
    assert_in_range(requests_of("PUT", PART), 0, 4);
    expect_line(fake->count - 1, "DELETE " COMPLETE);
    start_over();
    upload_works(); /* 4 parts of 111 bytes, and one more */
    must(upload(st, 400, 444, 1000, &existed, &err), &err);
    assert_int_equal(expect_parts(444), 4);
    start_over();
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("DELETE", COMPLETE, 204, "", "");
    assert_false(upload(st, 400, 445, 1000, &existed, &err));
    expect_error(&err, ERR_REPO, "needs more than 4 parts");
}

/* --- at the same time ------------------------------------------------------------------------ */

static atomic_int waiting, most;

/* Lets go when another one has come, or after a while. */
static void wait_for_another(const S3Seen *seen)
{
    (void)seen;
    int now = ++waiting;
    if (now > most)
        most = now;
    for (int i = 0; i < 200 && most < 2; i++)
        usleep(5000);
    waiting--;
}

static void test_parts_are_sent_at_the_same_time(void **state)
{
    Error err;
    bool existed;
    waiting = most = 0;
    Storage *st = open_parts(*state, 1000, 0);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    S3Rule *r = reply("PUT", PART, 200, "", "");
    r->times = FOR_EVER;
    r->add = etag_of_part;
    r->before = wait_for_another;
    reply("POST", COMPLETE, 200, "", COMPLETED);
    must(upload(st, 0, 40000, 5000, &existed, &err), &err);
    assert_int_equal(expect_parts(40000), 40);
    assert_in_range(most, 2, 8);
}

/* --- parts that fail ------------------------------------------------------------------------- */

static void part_fails(Scratch *s, int number, int status, const char *body, const char *hint)
{
    Error err;
    bool existed;
    char *target = mem_printf(K "?partNumber=%d&*", number);
    Storage *st = open_parts(s, 1000, 0);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    reply("PUT", target, status, "", body);
    parts_are_taken();
    reply("DELETE", COMPLETE, 204, "", "");
    assert_false(upload(st, 0, 9000, 9000, &existed, &err));
    expect_error(&err, ERR_REPO, hint);
    assert_int_equal(requests_of("POST", COMPLETE), 0);
    expect_line(fake->count - 1, "DELETE " COMPLETE); /* when no part is under way any more */
    free(target);
    start_over();
}

static void test_parts_that_fail(void **state)
{
    static const int numbers[] = {1, 4, 8, 9};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        part_fails(*state, numbers[i], 403, S3_ERROR("AccessDenied"), "may not do that");
        part_fails(*state, numbers[i], 404, NO_UPLOAD, "NoSuchUpload");
    }
    part_fails(*state, 2, 400,
               S3_ERROR_SAYING("InvalidArgument",
                               "Part number must be an integer between 1 and 1000, inclusive"),
               "set max-parts (1000, say)");
}

/* A fault that passes costs one part, not the upload. */
static void test_parts_are_tried_again(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_parts(*state, 1000, 0);
    conditions_hold();
    reply("POST", CREATE, 500, "", "");
    reply("POST", CREATE, 200, "", CREATED);
    reply("PUT", K "?partNumber=2&*", 503, "", S3_ERROR("SlowDown"));
    reply_fault("PUT", K "?partNumber=3&*", S3_RESET);
    reply("PUT", K "?partNumber=4&*", 400, "", S3_ERROR("BadDigest"));
    reply("PUT", K "?partNumber=5&*", 200, "", ""); /* no ETag: whose answer is that? */
    reply("PUT", K "?partNumber=6&*", 200, "", "<html>Welcome</html>");
    parts_are_taken();
    reply("POST", COMPLETE, 200, "", COMPLETED);
    must(upload(st, 0, 8000, 500, &existed, &err), &err);
    assert_int_equal(expect_parts(8000), 8);
    expect_requests(2 + 8 + 5 + 1);
}

static void test_part_without_etag(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_parts(*state, 1000, 0);
    storage_set_deadline(st, clock_now() + 3 * SECOND);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    S3Rule *r = reply("PUT", K "?partNumber=2&*", 200, "", "");
    r->times = FOR_EVER;
    parts_are_taken();
    reply("DELETE", COMPLETE, 204, "", "");
    assert_false(upload(st, 0, 3000, 3000, &existed, &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_int_equal(requests_of("POST", COMPLETE), 0);
    assert_int_equal(requests_of("DELETE", COMPLETE), 1);
}

static void test_create_fails(void **state)
{
    static const struct {
        int status;
        const char *body;
    } answers[] = {{403, S3_ERROR("AccessDenied")},
                   {404, S3_ERROR("NoSuchBucket")},
                   {404, ""},
                   {200, "<html>Welcome</html>"},
                   {200, ""},
                   {200, "<InitiateMultipartUploadResult></InitiateMultipartUploadResult>"}};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        Error err;
        bool existed;
        Storage *st = open_parts(*state, 1000, 0);
        storage_set_deadline(st, clock_now() + 3 * SECOND);
        conditions_hold();
        reply_always("POST", CREATE, answers[i].status, "", answers[i].body);
        assert_false(upload(st, 0, 3000, 3000, &existed, &err));
        expect_error(&err, ERR_REPO, "repository main");
        assert_int_equal(requests_of("PUT", "*"), 0);
        assert_int_equal(requests_of("DELETE", "*"), 0);
        start_over();
    }
}

static void test_abort(void **state)
{
    Error err;
    Storage *st = open_parts(*state, 1000, 0);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("DELETE", COMPLETE, 204, "", "");
    StoragePut *p = storage_put_begin(st, "k", 0, &err);
    must(storage_put_write(p, data, 5500, &err), &err);
    storage_put_abort(p);
    expect_line(fake->count - 1, "DELETE " COMPLETE);
    start_over();
    /* The server won't: the lifecycle rule has to, and nothing is said. */
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("DELETE", COMPLETE, 403, "", S3_ERROR("AccessDenied"));
    p = storage_put_begin(st, "k", 0, &err);
    must(storage_put_write(p, data, 5500, &err), &err);
    storage_put_abort(p);
    assert_int_equal(warnings(*state), 0);
}

/* Nothing is asked of a server whose conditions don't hold before something is there to be put; and
 * what is there already is not sent. */
static void test_looks_first(void **state)
{
    Error err;
    bool existed = false;
    Storage *st = open_parts(*state, 1000, 0);
    reply("POST", "/bucket/p/.pitr-probe*uploads=", 200, "", CREATED)->times = 2;
    reply("PUT", "/bucket/p/.pitr-probe*", 200, ETAG, "")->times = 2;
    reply("POST", "/bucket/p/.pitr-probe*uploadId=*", 200, "", COMPLETED)->times = 2;
    reply("HEAD", K, 200, ETAG, "");
    must(upload(st, 0, 50000, 700, &existed, &err), &err);
    assert_true(existed);
    expect_requests(7);
    start_over();
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", S3_ERROR("NoSuchKey"));
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("POST", COMPLETE, 200, "", COMPLETED);
    must(upload(st, 0, 5000, 700, &existed, &err), &err);
    assert_false(existed);
    expect_header(fake->count - 1, "if-none-match", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_upload),
        S3_TEST(test_options),
        S3_TEST(test_parts_double),
        S3_TEST(test_parts_of_a_known_size),
        S3_TEST(test_whole_parts),
        S3_TEST(test_too_many_parts),
        S3_TEST(test_parts_are_sent_at_the_same_time),
        S3_TEST(test_parts_that_fail),
        S3_TEST(test_parts_are_tried_again),
        S3_TEST(test_part_without_etag),
        S3_TEST(test_create_fails),
        S3_TEST(test_abort),
        S3_TEST(test_looks_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
