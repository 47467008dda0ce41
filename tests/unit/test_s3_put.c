/* storage/s3_put.c: objects that go up in one PUT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K "/bucket/p/k"

/* Digests of "hello" and of nothing, as sha256sum, md5sum and base64 say. */
#define HELLO_HEX    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define HELLO_BASE64 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define HELLO_MD5    "XUFAKrxLKna5cZ2REBfFkg=="
#define EMPTY_HEX    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define EMPTY_BASE64 "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void must_put(Storage *st, const char *key, const char *text)
{
    Error err;
    bool existed = true;
    must(put(st, key, text, &existed, &err), &err);
    assert_false(existed);
}

/* --- headers --------------------------------------------------------------------------------- */

static void test_headers(void **state)
{
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 200, ETAG, "");
    must_put(st, "k", "hello");
    expect_requests(1);
    expect_line(0, "PUT /bucket/p/k");
    expect_body(0, "hello", 5);
    expect_header(0, "content-length", "5");
    expect_header(0, "x-amz-content-sha256", HELLO_HEX);
    expect_header(0, "x-amz-checksum-sha256", HELLO_BASE64);
    expect_header(0, "x-amz-sdk-checksum-algorithm", "SHA256");
    expect_header(0, "x-amz-meta-sha256", HELLO_HEX);
    expect_header(0, "if-none-match", "*");
    static const char *const absent[] = {"content-md5",
                                         "x-amz-storage-class",
                                         "x-amz-tagging",
                                         "x-amz-server-side-encryption",
                                         "x-amz-request-payer",
                                         "x-amz-server-side-encryption-aws-kms-key-id",
                                         "x-amz-security-token",
                                         "x-amz-acl",
                                         "expect",
                                         "transfer-encoding",
                                         "content-type"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        expect_header(0, absent[i], NULL);
}

/* All at once, so that there is room for them. */
static void test_options(void **state)
{
    char *keys = write_keys(*state, "AKTEST", SECRET_MARK "token");
    StorageOptions o = {.credentials_file = keys,
                        .storage_class = "STANDARD_IA",
                        .sse = SSE_KMS,
                        .kms_key = "arn:aws:kms:eu:1:key/a-b",
                        .tags = " team=a b/c&d , x = y=z,empty=, \303\244=%",
                        .requester_pays = true};
    conditions_hold();
    Storage *st = open_s3(*state, o);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, "k", "hello");
    expect_header(0, "x-amz-storage-class", "STANDARD_IA");
    expect_header(0, "x-amz-server-side-encryption", "aws:kms");
    expect_header(0, "x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu:1:key/a-b");
    expect_header(0, "x-amz-request-payer", "requester");
    expect_header(0, "x-amz-security-token", SECRET_MARK "token");
    expect_header(0, "x-amz-checksum-sha256", HELLO_BASE64);
    expect_header(0, "if-none-match", "*");
    char *tags = header_of(seen_at(0), "x-amz-tagging");
    assert_non_null(tags);
    assert_int_equal(strncmp(tags, "team=a%20b%2Fc%26d&x", 20), 0);
    assert_non_null(strstr(tags, "y%3Dz&empty=&%C3%A4=%25"));
    free(tags);

    reply("PUT", K, 200, ETAG, "");
    must_put(open_s3(*state, (StorageOptions){.sse = SSE_AES256}), "k", "hello");
    expect_header(1, "x-amz-server-side-encryption", "AES256");
    expect_header(1, "x-amz-server-side-encryption-aws-kms-key-id", NULL);
}

/* Blanks around '=' are no part of a tag's name or value: "name = value" is how people write. */
static void test_tags_with_blanks(void **state)
{
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){.tags = "team = backup , kind= wal"});
    reply("PUT", K, 200, ETAG, "");
    must_put(st, "k", "hello");
    expect_header(0, "x-amz-tagging", "team=backup&kind=wal");
}

static void test_other_checksums(void **state)
{
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){.checksum = CHECKSUM_MD5});
    reply("PUT", K, 200, ETAG, "")->times = 2;
    must_put(st, "k", "hello");
    expect_header(0, "content-md5", HELLO_MD5);
    expect_header(0, "x-amz-checksum-sha256", NULL);
    expect_header(0, "x-amz-sdk-checksum-algorithm", NULL);
    expect_header(0, "x-amz-content-sha256", HELLO_HEX);
    expect_header(0, "x-amz-meta-sha256", HELLO_HEX);
    must_put(open_s3(*state, (StorageOptions){.checksum = CHECKSUM_NONE}), "k", "hello");
    expect_header(1, "content-md5", NULL);
    expect_header(1, "x-amz-checksum-sha256", NULL);
    expect_header(1, "x-amz-content-sha256", HELLO_HEX);
    expect_header(1, "x-amz-meta-sha256", HELLO_HEX);
}

static void test_unsigned_payload(void **state)
{
    use_tls(*state);
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){.unsigned_payload = true});
    reply("PUT", K, 200, ETAG, "");
    must_put(st, "k", "hello");
    expect_header(0, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    expect_header(0, "x-amz-checksum-sha256", HELLO_BASE64);
    expect_header(0, "x-amz-meta-sha256", HELLO_HEX);
    reply("GET", K, 200, ETAG, "hello"); /* without a body there is nothing to leave unsigned */
    must_get(st, "k", "hello");
    expect_header(1, "x-amz-content-sha256", EMPTY_HEX);
}

static void test_given_digest(void **state)
{
    Error err;
    bool existed;
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 200, ETAG, "");
    must(storage_put(st, "k", "hello", 5, HELLO_HEX, &existed, &err), &err);
    expect_header(0, "x-amz-content-sha256", HELLO_HEX);
    expect_header(0, "x-amz-checksum-sha256", HELLO_BASE64);
    expect_header(0, "x-amz-meta-sha256", HELLO_HEX);
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void put_pieces(Storage *st, const char *key, const char *data, size_t len, size_t piece)
{
    Error err;
    bool existed = true;
    StoragePut *p = storage_put_begin(st, key, len, &err);
    must(p != NULL, &err);
    for (size_t at = 0; at < len; at += piece)
        must(storage_put_write(p, data + at, len - at < piece ? len - at : piece, &err), &err);
    must(storage_put_finish(p, &existed, &err), &err);
    assert_false(existed);
}

static void test_empty_objects(void **state)
{
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 200, ETAG, "")->times = 2;
    must_put(st, "k", "");
    put_pieces(st, "k", "", 0, 1);
    expect_requests(2);
    for (size_t i = 0; i < 2; i++) {
        expect_header(i, "content-length", "0");
        expect_header(i, "x-amz-content-sha256", EMPTY_HEX);
        expect_header(i, "x-amz-checksum-sha256", EMPTY_BASE64);
        expect_header(i, "if-none-match", "*");
    }
}

/* What is not more than a part is one PUT. */
static void test_small_puts_in_pieces(void **state)
{
    static char data[1000];
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){.part_size = sizeof(data)});
    memset(data, 'x', sizeof(data));
    static const size_t pieces[] = {1, 7, 999, 1000};
    reply("PUT", K, 200, ETAG, "")->times = 4;
    for (size_t i = 0; i < 4; i++) {
        put_pieces(st, "k", data, sizeof(data), pieces[i]);
        expect_requests(i + 1);
        expect_body(i, data, sizeof(data));
        expect_header(i, "if-none-match", "*");
    }
}

static void test_abort_before_anything_was_sent(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    StoragePut *p = storage_put_begin(st, "k", 0, &err);
    must(storage_put_write(p, "hello", 5, &err), &err);
    storage_put_abort(p);
    expect_requests(0);
}

/* --- answers --------------------------------------------------------------------------------- */

static void test_existed(void **state)
{
    Error err;
    bool existed = false;
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 412, "", S3_ERROR("PreconditionFailed"));
    must(put(st, "k", "hello", &existed, &err), &err);
    assert_true(existed);
    reply("PUT", K, 412, "", "<html>Precondition Failed</html>"); /* whose precondition? */
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "no S3 answer");
    expect_requests(2);
}

/* Two writers at once: the one that is told 409 asks again. */
static void test_conflict(void **state)
{
    Error err;
    bool existed = false;
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", K, 409, "", S3_ERROR("ConditionalRequestConflict"))->times = 2;
    reply("PUT", K, 412, "", S3_ERROR("PreconditionFailed"));
    must(put(st, "k", "hello", &existed, &err), &err);
    assert_true(existed);
    expect_requests(3);
}

/* The first attempt may have stored it: what exists then may be this call's own. */
static void test_lost_answer(void **state)
{
    static const S3Fault faults[] = {S3_CLOSE, S3_RESET};
    for (int i = 0; i < 2; i++) {
        Error err;
        bool existed = false;
        conditions_hold();
        Storage *st = open_s3(*state, (StorageOptions){0});
        reply_fault("PUT", K, faults[i]);
        reply("PUT", K, 412, "", S3_ERROR("PreconditionFailed"));
        must(put(st, "k", "hello", &existed, &err), &err);
        assert_true(existed);
        expect_requests(2);
        expect_body(0, "hello", 5);
        expect_body(1, "hello", 5);
        start_over();
    }
}

/* What is said to have been stored must have been said by S3: a PUT's answer has an ETag. */
static void test_success_of_others(void **state)
{
    static const char *const bodies[] = {"", "<html>Welcome</html>"};
    for (int i = 0; i < 2; i++) {
        Error err;
        bool existed;
        conditions_hold();
        Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 5 * SECOND});
        reply("PUT", K, 200, "", bodies[i]);
        reply("PUT", K, 200, ETAG, "");
        must_put(st, "k", "hello");
        expect_requests(2);
        reply_always("PUT", K, 200, "", bodies[i]);
        assert_false(put(st, "k", "hello", &existed, &err));
        expect_error(&err, ERR_REPO, "repository main");
        assert_non_null(strstr(err.message, "bucket/p/k"));
        start_over();
    }
}

static void test_refusals(void **state)
{
    static const struct {
        int status;
        const char *code, *part;
        bool denied;
    } refusals[] = {{403, "AccessDenied", "these credentials may not do that", true},
                    {404, "NoSuchBucket", "is the bucket's name", false},
                    {404, "NoSuchKey", "NoSuchKey", false},
                    {400, "InvalidArgument", "InvalidArgument", false},
                    {400, "EntityTooLarge", "EntityTooLarge", false},
                    {501, "NotImplemented", "upload-checksum = md5", false},
                    {400, "InvalidRequest", "upload-checksum = md5", false}};
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        Error err;
        bool existed;
        char *body = mem_printf("<Error><Code>%s</Code></Error>", refusals[i].code);
        conditions_hold();
        Storage *st = open_s3(*state, (StorageOptions){0});
        reply("PUT", K, refusals[i].status, "", body);
        assert_false(put(st, "k", "hello", &existed, &err));
        expect_error(&err, ERR_REPO, refusals[i].part); /* never ERR_NO: nothing was read */
        assert_int_equal(err.denied, refusals[i].denied);
        expect_requests(1);
        free(body);
        start_over();
    }
}

/* Keys are made from outside names: they never leave the prefix. */
static void test_bad_keys(void **state)
{
    static char long_key[1002];
    const char *const keys[] = {"", "/k", "k/", "a//b", "../k", "a/../k", "./k", "a/.", long_key};
    memset(long_key, 'x', sizeof(long_key) - 1);
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        Error err;
        bool existed;
        assert_false(put(st, keys[i], "hello", &existed, &err));
        expect_error(&err, ERR_INTERNAL, "bad object key");
        assert_false(get(st, keys[i], &err));
        expect_error(&err, ERR_INTERNAL, "bad object key");
    }
    expect_requests(0);
}

/* The past can't be written. */
static void test_writes_of_then(void **state)
{
    Error err;
    bool existed;
    static const char *const keys[] = {"k"};
    conditions_hold();
    Storage *st = open_s3(*state, (StorageOptions){.as_of = clock_now() - 3600 * SECOND});
    reply_always("PUT", "/*", 200, ETAG, "");
    reply_always("DELETE", "/*", 204, "", "");
    reply_always("POST", "/*", 200, "", "<DeleteResult></DeleteResult>");
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_USAGE, "nothing can be written");
    assert_null(storage_put_begin(st, "k", 0, &err));
    expect_error(&err, ERR_USAGE, "nothing can be written");
    assert_false(storage_delete(st, "k", &err));
    expect_error(&err, ERR_USAGE, "nothing can be written");
    assert_false(storage_delete_many(st, keys, 1, &err));
    expect_error(&err, ERR_USAGE, "nothing can be written");
    expect_requests(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_headers),
        S3_TEST(test_options),
        S3_TEST(test_tags_with_blanks),
        S3_TEST(test_other_checksums),
        S3_TEST(test_unsigned_payload),
        S3_TEST(test_given_digest),
        S3_TEST(test_empty_objects),
        S3_TEST(test_small_puts_in_pieces),
        S3_TEST(test_abort_before_anything_was_sent),
        S3_TEST(test_existed),
        S3_TEST(test_conflict),
        S3_TEST(test_lost_answer),
        S3_TEST(test_success_of_others),
        S3_TEST(test_refusals),
        S3_TEST(test_bad_keys),
        S3_TEST(test_writes_of_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
