/* storage/s3_condition.c: is If-None-Match honoured, how that is remembered, and what is done where
 * it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utime.h>

#include "s3_try.h"

#define K      "/bucket/p/k"
#define PROBE  "/bucket/p/.pitr-probe"
#define LIST   "/bucket?*list-type=2*"
#define EXISTS S3_ERROR("PreconditionFailed")
#define DENIED S3_ERROR("AccessDenied")
#define NO_KEY S3_ERROR("NoSuchKey")
#define EMPTY  "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
#define LISTED(k)                                                                                  \
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>" k "</Key><Size>5</Size>"   \
    "<LastModified>2026-11-20T10:00:00.000Z</LastModified></Contents></ListBucketResult>"

static bool other_owner; /* files seem to be another user's */

uid_t geteuid(void)
{
    return (uid_t)syscall(SYS_geteuid) + other_owner;
}

static void must_put(Storage *st, bool existed)
{
    Error err;
    bool was = !existed;
    must(put(st, "k", "hello", &was, &err), &err);
    assert_int_equal(was, existed);
}

/* The only file that remembers something about puts. */
static char *memory(Scratch *s)
{
    return scratch_find(s, scratch_path(s, "pitr"), "-put");
}

/* A put in a process of its own, so to say, that must not probe. */
static void expect_remembered(Scratch *s, const char *if_none_match)
{
    Storage *st = open_s3(s, (StorageOptions){0});
    start_over();
    if (!if_none_match) {
        reply("HEAD", K, 404, "", "");
        reply("GET", K, 404, "", NO_KEY);
    }
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_header(fake->count - 1, "if-none-match", if_none_match);
}

/* --- the probe ------------------------------------------------------------------------------- */

static void test_holds_at_once(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "")->times = 2;
    must_put(st, false);
    must_put(st, false);
    expect_requests(3);
    expect_line(0, "PUT " PROBE);
    expect_header(0, "if-none-match", "*");
    expect_header(1, "if-none-match", "*");
    expect_header(2, "if-none-match", "*");
    assert_int_equal(warnings(*state), 0);
    expect_remembered(*state, "*");
}

static void test_holds_at_the_second(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", PROBE, 200, ETAG, "");
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_requests(3);
    expect_header(1, "if-none-match", "*");
    expect_header(2, "if-none-match", "*");
    expect_remembered(*state, "*");
}

/* Two successes: the second overwrote the first. */
static void test_ignored(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", PROBE, 200, ETAG, "")->times = 2;
    for (int i = 0; i < 2; i++) {
        reply("HEAD", K, 404, "", "");
        reply("GET", K, 404, "", NO_KEY);
        reply("PUT", K, 200, ETAG, "");
        must_put(st, false);
    }
    expect_requests(8);
    expect_header(4, "if-none-match", NULL);
    assert_int_equal(warnings(*state), 1);
    assert_non_null(strstr(said(*state), "the server ignores If-None-Match for puts"));
    expect_remembered(*state, NULL);
}

/* Some servers say that they don't know it. */
static void test_not_implemented(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", PROBE, 501, "", S3_ERROR("NotImplemented"));
    reply("PUT", PROBE, 200, ETAG, "");
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", NO_KEY);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_requests(5);
    expect_header(1, "if-none-match", NULL);
    assert_int_equal(warnings(*state), 1);
    expect_remembered(*state, NULL);
    start_over();
    /* What it does not know may be something else that was sent. */
    Error err;
    bool existed;
    st = open_s3(*state, (StorageOptions){.url = "s3://bucket/q"});
    reply("PUT", "/bucket/q/.pitr-probe", 501, "", S3_ERROR("NotImplemented"))->times = 2;
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "upload-checksum = md5");
}

/* A refused probe proves nothing, and nothing is remembered. */
static void test_probe_fails(void **state)
{
    static const struct {
        int status;
        const char *body, *part;
    } failures[] = {{403, DENIED, "may not do that"},
                    {404, S3_ERROR("NoSuchBucket"), "NoSuchBucket"},
                    {400, S3_ERROR("InvalidRequest"), "InvalidRequest"}};
    Storage *st = open_s3(*state, (StorageOptions){0});
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        Error err;
        bool existed;
        reply("PUT", PROBE, failures[i].status, "", failures[i].body);
        assert_false(put(st, "k", "hello", &existed, &err));
        expect_error(&err, ERR_REPO, failures[i].part);
        assert_int_equal(err.denied, i == 0);
    }
    start_over();
    reply("PUT", PROBE, 500, "", ""); /* one that passes is tried again */
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
}

/* An answer that says nothing of the cause is no proof that conditions are ignored. */
static void test_probe_says_nothing(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply_always("PUT", PROBE, 200, "", "<html>Welcome</html>");
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "repository main");
    assert_null(scratch_read(*state, scratch_path(*state, "pitr"), NULL));
    assert_string_equal(scratch_files(*state, scratch_path(*state, "pitr")), "");
}

/* --- the probe of uploads in parts ----------------------------------------------------------- */

#define PROBE2 "/bucket/p/.pitr-probe-multipart"
#define CREATED                                                                                    \
    "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>"
#define COMPLETED "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"

/* One round of it, up to the end; 412: cleaned up. */
static void probe_round(int status)
{
    reply("POST", PROBE2 "?uploads=", 200, "", CREATED);
    reply("PUT", PROBE2 "?partNumber=1&uploadId=U", 200, ETAG, "");
    reply("POST", PROBE2 "?uploadId=U", status, "", status == 200 ? COMPLETED : EXISTS);
    if (status != 200)
        reply("DELETE", PROBE2 "?uploadId=U", 204, "", "");
}

/* An upload of two parts, which has the condition or looks first. */
static void upload(Storage *st, bool conditional)
{
    Error err;
    bool existed;
    if (!conditional) {
        reply("HEAD", K, 404, "", "");
        reply("GET", K, 404, "", NO_KEY);
    }
    reply("POST", K "?uploads=", 200, "", CREATED);
    reply("PUT", K "?partNumber=*", 200, ETAG, "")->times = 2;
    reply("POST", K "?uploadId=U", 200, "", COMPLETED);
    StoragePut *p = storage_put_begin(st, "k", 0, &err);
    must(storage_put_write(p, "0123456789", 10, &err), &err);
    must(storage_put_finish(p, &existed, &err), &err);
    expect_header(fake->count - 1, "if-none-match", conditional ? "*" : NULL);
}

static void test_probe_by_parts(void **state)
{
    static const StorageOptions five = {.part_size = 5};
    probe_round(412);
    upload(open_s3(*state, five), true);
    expect_header(2, "if-none-match", "*");
    start_over();
    upload(open_s3(*state, five), true); /* it is remembered, and apart from puts */
    start_over();
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(open_s3(*state, (StorageOptions){0}), false);
}

static void test_probe_by_parts_is_ignored(void **state)
{
    static const StorageOptions five = {.part_size = 5};
    probe_round(200);
    probe_round(200);
    upload(open_s3(*state, five), false);
    assert_int_equal(warnings(*state), 1);
    assert_non_null(strstr(said(*state), "ignores If-None-Match for multipart uploads"));
    start_over();
    upload(open_s3(*state, five), false);
}

/* The object that is there may be this round's own. */
static void test_probe_by_parts_lost(void **state)
{
    Storage *st = open_s3(*state, (StorageOptions){.part_size = 5});
    reply("POST", PROBE2 "?uploads=", 200, "", CREATED);
    reply("PUT", PROBE2 "?partNumber=1&uploadId=U", 200, ETAG, "");
    reply("POST", PROBE2 "?uploadId=U", 500, "", "");
    reply("POST", PROBE2 "?uploadId=U", 404, "", S3_ERROR("NoSuchUpload"));
    reply_always("HEAD", PROBE2, 200, ETAG, "");
    reply_always("DELETE", PROBE2 "?uploadId=U", 204, "", "");
    reply_always("POST", PROBE2 "?uploads=", 200, "", CREATED);
    reply_always("PUT", PROBE2 "?partNumber=1&uploadId=U", 200, ETAG, "");
    reply_always("POST", PROBE2 "?uploadId=U", 200, "", COMPLETED);
    upload(st, false);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void probes_again(Scratch *s)
{
    start_over();
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_requests(2);
}

static void test_memory_grows_old(void **state)
{
    Scratch *s = *state;
    struct utimbuf then;
    probes_again(s);
    expect_remembered(s, "*");
    then.actime = then.modtime = time(NULL) - 23 * 3600;
    utime(memory(s), &then);
    expect_remembered(s, "*");
    then.actime = then.modtime = time(NULL) - 25 * 3600;
    utime(memory(s), &then);
    probes_again(s);
    expect_remembered(s, "*");                            /* the file is new again */
    then.actime = then.modtime = time(NULL) + 40 * 86400; /* a clock that was wrong */
    utime(memory(s), &then);
    probes_again(s);
}

static void test_odd_memories(void **state)
{
    static const char *const odd[] = {"",        "holds", "ignored",      "holds\nholds\n",
                                      "Holds\n", "yes\n", "\001\002\003", "ignored\n\n"};
    Scratch *s = *state;
    probes_again(s);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        scratch_text(memory(s), odd[i]);
        probes_again(s);
    }
    char *large = mem_new(1, 100001);
    memset(large, 'h', 100000);
    scratch_text(memory(s), large);
    free(large);
    probes_again(s);
    start_over();
    Error err;
    StorageObject object;
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("HEAD", K, 200, ETAG, ""); /* has the keys read, whose file must be ours */
    must(storage_head(st, "k", &object, &err), &err);
    other_owner = true;
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    other_owner = false;
    expect_requests(3);
}

/* What holds here says nothing about another bucket, prefix or server. */
static void test_memories_are_apart(void **state)
{
    static const char *const urls[] = {"s3://bucket/q", "s3://bucket/p/q", "s3://bucket",
                                       "s3://bucket2/p"};
    Scratch *s = *state;
    probes_again(s);
    start_over();
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        reply("PUT", "/*/.pitr-probe", 412, "", EXISTS);
        reply("PUT", "/*/k", 200, ETAG, "");
        must_put(open_s3(s, (StorageOptions){.url = urls[i]}), false);
    }
    char *other = scratch_keep(s, mem_printf("http://localhost:%d", fake->port));
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "");
    must_put(open_s3(s, (StorageOptions){.endpoint = other}), false);
}

/* Without a place for the memory each process probes, and nothing else is different. */
static void test_no_memory(void **state)
{
    Scratch *s = *state;
    scratch_text(scratch_path(s, "file"), "");
    setenv("XDG_CACHE_HOME", scratch_path(s, "file"), 1);
    probes_again(s);
    probes_again(s);
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(chdir(s->dir), 0);
    setenv("XDG_CACHE_HOME", "relative", 1); /* as the specification has it, not looked at */
    setenv("HOME", scratch_path(s, "file"), 1);
    probes_again(s);
    probes_again(s);
    assert_false(fs_exists("relative"));
    assert_int_equal(fchdir(here), 0);
    close(here);
    setenv("HOME", s->dir, 1);
    probes_again(s);
    assert_non_null(scratch_find(s, scratch_path(s, ".cache/pitr"), "-put"));
    expect_remembered(s, "*");
    assert_int_equal(warnings(s), 0);
}

static void test_memory_is_private(void **state)
{
    Scratch *s = *state;
    struct stat info;
    probes_again(s);
    assert_int_equal(stat(memory(s), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(scratch_path(s, "pitr"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_string_equal(scratch_read(s, memory(s), NULL), "holds\n");
}

/* --- looking first --------------------------------------------------------------------------- */

static Storage *ignoring(Scratch *s)
{
    Storage *st = open_s3(s, (StorageOptions){0});
    reply("PUT", PROBE, 501, "", S3_ERROR("NotImplemented"))->quiet = true;
    reply("PUT", PROBE, 200, ETAG, "")->quiet = true;
    return st;
}

static void test_look_finds_it(void **state)
{
    Storage *st = ignoring(*state);
    reply("HEAD", K, 200, ETAG, "");
    must_put(st, true);
    expect_requests(1); /* nothing was put */
}

static void test_look_by_listing(void **state)
{
    Storage *st = ignoring(*state);
    reply("HEAD", K, 403, "", "");
    reply("GET", K, 403, "", DENIED);
    reply("GET", LIST, 200, "", LISTED("p/k"))->times = 2;
    must_put(st, true);
    assert_in_range(fake->count, 3, 4);
    assert_non_null(strstr(seen_at(2)->target, "prefix=p%2Fk"));
    for (size_t i = 0; i < fake->rule_count; i++)
        fake->rules[i].times = 0;
    start_over();

    reply("HEAD", K, 403, "", "");
    reply("GET", K, 403, "", DENIED);
    reply_always("GET", LIST, 200, "", LISTED("p/k2"));
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    start_over();

    reply("HEAD", K, 403, "", "");
    reply("GET", K, 403, "", DENIED);
    reply_always("GET", LIST, 200, "", EMPTY);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_header(fake->count - 1, "if-none-match", NULL);
}

/* Who may only write can't look: it is put. */
static void test_look_is_denied(void **state)
{
    Storage *st = ignoring(*state);
    reply("HEAD", K, 403, "", "");
    reply("GET", K, 403, "", DENIED);
    reply_always("GET", LIST, 403, "", DENIED);
    reply("PUT", K, 200, ETAG, "");
    must_put(st, false);
    expect_header(fake->count - 1, "if-none-match", NULL);
}

/* Doubt is no permission to overwrite. */
static void test_look_fails(void **state)
{
    Error err;
    bool existed;
    Storage *st = open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND});
    reply("PUT", PROBE, 200, ETAG, "")->times = 2;
    reply_always("HEAD", K, 500, "", "");
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "HTTP 500");
    start_over();
    reply("HEAD", K, 403, "", "");
    reply("GET", K, 403, "", DENIED);
    reply_always("GET", LIST, 500, "", "");
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "HTTP 500");
    start_over();
    reply("HEAD", K, 404, "", "");
    reply("GET", K, 404, "", S3_ERROR("NoSuchBucket"));
    assert_false(put(st, "k", "hello", &existed, &err));
    expect_error(&err, ERR_REPO, "NoSuchBucket");
}

/* --- threads --------------------------------------------------------------------------------- */

static void *put_one(void *arg)
{
    Error err;
    bool existed;
    return put(arg, "k", "hello", &existed, &err) ? arg : NULL;
}

/* One of them probes, the others wait for what it finds. */
static void test_threads_probe_once(void **state)
{
    pthread_t threads[8];
    Storage *st = open_s3(*state, (StorageOptions){0});
    reply("PUT", PROBE, 200, ETAG, "");
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("PUT", K, 200, ETAG, "")->times = 8;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_one, st), 0);
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    expect_requests(10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_holds_at_once),
        S3_TEST(test_holds_at_the_second),
        S3_TEST(test_ignored),
        S3_TEST(test_not_implemented),
        S3_TEST(test_probe_fails),
        S3_TEST(test_probe_says_nothing),
        S3_TEST(test_probe_by_parts),
        S3_TEST(test_probe_by_parts_is_ignored),
        S3_TEST(test_probe_by_parts_lost),
        S3_TEST(test_memory_grows_old),
        S3_TEST(test_odd_memories),
        S3_TEST(test_memories_are_apart),
        S3_TEST(test_no_memory),
        S3_TEST(test_memory_is_private),
        S3_TEST(test_look_finds_it),
        S3_TEST(test_look_by_listing),
        S3_TEST(test_look_is_denied),
        S3_TEST(test_look_fails),
        S3_TEST(test_threads_probe_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
