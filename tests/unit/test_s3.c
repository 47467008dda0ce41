/* storage/s3.c: addresses, options, deleting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"
#include "storage/s3_xml.h"

#define K      "/bucket/p/k"
#define MANY   "/bucket?delete="
#define DENIED S3_ERROR("AccessDenied")
#define ALL    "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"
#define REFUSED(key, code)                                                                         \
    "<Error><Key>" key "</Key><Code>" code "</Code><Message>it is so</Message></Error>"

/* --- addresses ------------------------------------------------------------------------------- */

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
    expect_line(0,
                "GET /bucket/p/a%20b/c%2Bd/%C3%A4%20%2541%26%3D%3F%23%3B%27%22%28%2A%29~_.-%3A%40"
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
    StorageOptions o = {
        .name = "main", .url = "s3://bucket/p", .credentials_file = write_keys(s, "AKTEST", NULL)};
    Storage *st = storage_open(&o, &err);
    must(st != NULL, &err);
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    assert_string_equal(seen_at(0)->region, "us-gov-1");
    storage_close(st);
    free(endpoint);
}

/* --- deleting one
 * ---------------------------------------------------------------------------------------
 */

static void test_delete(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("DELETE", K, 204, "", "");
    must(storage_delete(st, "k", &err), &err);
    reply("DELETE", K, 200, "", "");
    must(storage_delete(st, "k", &err), &err);
    reply("DELETE", K, 404, "", S3_ERROR("NoSuchKey")); /* some servers say that it was not there */
    must(storage_delete(st, "k", &err), &err);
    reply("DELETE", K, 503, "", S3_ERROR("SlowDown"));
    reply("DELETE", K, 204, "", "");
    must(storage_delete(st, "k", &err), &err);
    expect_requests(5);
}

static void test_delete_fails(void **state)
{
    static const struct {
        int status;
        const char *code, *part;
    } cases[] = {{403, "AccessDenied", "may not do that"},
                 {404, "NoSuchBucket", "NoSuchBucket"},
                 {400, "InvalidRequest", "InvalidRequest"}};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Error err;
        char *body = mem_printf("<Error><Code>%s</Code></Error>", cases[i].code);
        reply("DELETE", K, cases[i].status, "", body);
        assert_false(storage_delete(st, "k", &err));
        expect_error(&err, ERR_REPO, cases[i].part);
        assert_int_equal(err.denied, i == 0);
        free(body);
    }
    expect_requests(3);
}

/* --- deleting many
 * --------------------------------------------------------------------------------------
 */

#define KEYS 2501

static char names[KEYS][16];
static const char *keys[KEYS];

static void make_keys(void)
{
    for (int i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof(names[i]), "k%05d", i);
        keys[i] = names[i];
    }
}

static void expect_md5(size_t i)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    unsigned char text[64];
    const Buf *body = &seen_at(i)->body;
    assert_true(EVP_Digest(body->data, body->len, digest, &len, EVP_md5(), NULL));
    EVP_EncodeBlock(text, digest, (int)len);
    expect_header(i, "content-md5", (char *)text);
}

static void test_pages(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){.requester_pays = true});
    make_keys();
    reply("POST", MANY, 200, "", ALL)->times = 3;
    must(storage_delete_many(st, keys, KEYS, &err), &err);
    expect_requests(3);
    for (size_t i = 0, at = 0; i < 3; i++) {
        const char *p = seen_at(i)->body.data;
        size_t count = i < 2 ? 1000 : 501;
        assert_int_equal(occurrences(p, "<Object>"), count);
        for (size_t n = 0; n < count; n++, at++) {
            char *entry = mem_printf("<Object><Key>p/%s</Key></Object>", keys[at]);
            p = strstr(p, entry);
            assert_non_null(p);
            free(entry);
        }
        expect_md5(i);
        expect_header(i, "x-amz-request-payer", "requester");
    }
    start_over();
    must(storage_delete_many(st, keys, 0, &err), &err);
    expect_requests(0);
    reply("POST", MANY, 200, "", ALL);
    must(storage_delete_many(st, keys, 1000, &err), &err);
    expect_requests(1);
}

static void test_escaping(void **state)
{
    Error err;
    Buf escaped = BUF_INIT;
    static const char *const odd[] = {"a&b<c>\"d'", "\303\244 %41+"};
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("POST", MANY, 200, "", ALL);
    must(storage_delete_many(st, odd, 2, &err), &err);
    const char *body = seen_at(0)->body.data;
    s3_xml_escape(&escaped, odd[0]);
    assert_null(strpbrk(escaped.data, "<>\"'"));
    assert_non_null(strstr(body, escaped.data));
    assert_non_null(strstr(body, "<Key>p/\303\244 %41+</Key>"));
    assert_null(strstr(body, "&b"));
    buf_free(&escaped);
}

/* The first refusal is told, and the rest is tried all the same. */
static void test_refusals(void **state)
{
    Error err;
    Storage *st = open_s3(*state, (StorageOptions){0});
    make_keys();
    reply("POST", MANY, 200, "",
          "<DeleteResult>" REFUSED("p/k00001", "AccessDenied")
              REFUSED("p/k00002", "InternalError") "</DeleteResult>");
    reply("POST", MANY, 200, "",
          "<DeleteResult>" REFUSED("p/k01001", "InternalError") "</DeleteResult>");
    reply("POST", MANY, 200, "", ALL);
    assert_false(storage_delete_many(st, keys, KEYS, &err));
    expect_error(&err, ERR_REPO, "can't delete bucket/p/k00001: AccessDenied: it is so");
    assert_true(err.denied);
    expect_requests(3);
    start_over();
    reply("POST", MANY, 200, "", ALL);
    reply("POST", MANY, 200, "",
          "<DeleteResult>" REFUSED("p/k01001", "InternalError") "</DeleteResult>");
    assert_false(storage_delete_many(st, keys, 2000, &err));
    expect_error(&err, ERR_REPO, "k01001: InternalError");
    assert_false(err.denied);
    start_over();
    reply("POST", MANY, 403, "", DENIED);
    reply("POST", MANY, 200, "", ALL);
    assert_false(storage_delete_many(st, keys, 2000, &err));
    expect_error(&err, ERR_REPO, "AccessDenied");
    assert_true(err.denied);
    expect_requests(2);
}

/* Nothing was deleted by an answer that is none of S3's. */
static void test_answers_of_others(void **state)
{
    static const char *const bodies[] = {"<html>Welcome</html>", S3_ERROR("InvalidArgument"),
                                         "<DeleteResult>"};
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    make_keys();
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        Error err;
        reply_always("POST", MANY, 200, "", bodies[i]);
        assert_false(storage_delete_many(st, keys, 3, &err));
        expect_error(&err, ERR_REPO, i == 1 ? "InvalidArgument" : "no S3 answer");
        assert_non_null(strstr(err.message, "repository main"));
        start_over();
    }
    Error err;
    reply("POST", MANY, 200, "", S3_ERROR("InternalError"));
    reply("POST", MANY, 200, "", ALL);
    must(storage_delete_many(st, keys, 3, &err), &err);
    expect_requests(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_addresses),
        S3_TEST(test_odd_keys),
        S3_TEST(test_options_that_can_not_be),
        S3_TEST(test_environment),
        S3_TEST(test_delete),
        S3_TEST(test_delete_fails),
        S3_TEST(test_pages),
        S3_TEST(test_escaping),
        S3_TEST(test_refusals),
        S3_TEST(test_answers_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
