/* storage/s3_request.c: keys that expire while they are used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K "/bucket/p/k"

/* --- keys that expire ------------------------------------------------------------------------ */

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

/* A process that hands out what is in a file. */
static void write_temporary(Scratch *s, const char *access_key, Instant expires)
{
    char then[CLOCK_TEXT], *secret = secret_of(access_key);
    clock_format_utc(then, expires);
    char *json =
        mem_printf("{\"Version\": 1, \"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"%s\", "
                   "\"SessionToken\": \"" SECRET_MARK "token\", \"Expiration\": \"%s\"}",
                   access_key, secret, then);
    scratch_text(scratch_path(s, "temporary"), json);
    free(json);
    free(secret);
}

static void later_keys(const S3Seen *seen)
{
    write_temporary(renewing, "AKLATER", seen->at + 10 * 3600 * SECOND);
}

/* A long pause between two attempts, and the keys run out meanwhile. */
static void test_keys_run_out_between_attempts(void **state)
{
    Scratch *s = renewing = *state;
    char *file = scratch_path(s, "process"), *json = scratch_path(s, "temporary");
    char *text = mem_printf("[default]\ncredential_process = cat %s\n", json);
    scratch_text(file, text);
    chmod(file, 0600);
    write_temporary(s, "AKFIRST", clock_now() + 3600 * SECOND);
    StorageOptions o = {.credentials_file = file, .io_timeout = 10 * 3600 * SECOND};
    Storage *st = open_s3(s, o);
    reply("GET", K, 503, "Retry-After: 7200\r\n", "")->before = later_keys;
    reply("GET", K, 200, ETAG, "1");
    must_get(st, "k", "1");
    assert_string_equal(seen_at(0)->access_key, "AKFIRST");
    assert_string_equal(seen_at(1)->access_key, "AKLATER");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_keys_are_renewed),
        S3_TEST(test_keys_of_head_are_renewed),
        S3_TEST(test_keys_that_can_not_be_renewed),
        S3_TEST(test_keys_run_out_between_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
