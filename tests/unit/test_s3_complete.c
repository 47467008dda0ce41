/* storage/s3_put.c: the end of an upload in parts, where an answer is not what it seems. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_upload.h"

/* Up to the end of the parts all is well. */
static Storage *parts_are_there(Scratch *s)
{
    Storage *st = open_parts(s, 1000, 0);
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    return st;
}

static void expect_the_same_twice(void)
{
    const S3Seen *first = NULL, *second = NULL;
    for (size_t i = 0; i < fake->count; i++)
        if (fnmatch(COMPLETE, fake->seen[i].target, 0) == 0 &&
            !strcmp(fake->seen[i].method, "POST")) {
            second = first ? &fake->seen[i] : NULL;
            first = first ? first : &fake->seen[i];
        }
    assert_non_null(second);
    assert_string_equal(first->body.data, second->body.data);
}

static void test_whose_answer_is_it(void **state)
{
    static const struct {
        int status;
        const char *body;
    } passing[] = {{500, ""},
                   {503, S3_ERROR("SlowDown")},
                   {200, S3_ERROR("InternalError")},
                   {200, " \n\n " S3_ERROR("SlowDown")},
                   {200, ""},
                   {200, "<html>Welcome</html>"},
                   {409, S3_ERROR("ConditionalRequestConflict")},
                   {409, S3_ERROR("OperationAborted")}};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        Error err;
        bool existed = true;
        Storage *st = parts_are_there(*state);
        reply("POST", COMPLETE, passing[i].status, "", passing[i].body);
        reply("POST", COMPLETE, 200, "", COMPLETED);
        must(upload(st, 0, 3000, 500, &existed, &err), &err);
        assert_false(existed);
        expect_requests(6);
        expect_the_same_twice();
        expect_header(5, "if-none-match", "*");
        start_over();
    }
}

/* Ceph 16 leaves the ETag empty; others send blanks for minutes before. */
static void test_odd_successes(void **state)
{
    static const char *const bodies[] = {
        "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>",
        "  \n   \n   <?xml version=\"1.0\"?><CompleteMultipartUploadResult "
        "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ETag>x</ETag>"
        "</CompleteMultipartUploadResult>"};
    for (int i = 0; i < 4; i++) {
        Error err;
        bool existed = true;
        Storage *st = parts_are_there(*state);
        reply("POST", COMPLETE, 200, "", bodies[i / 2])->chunked = i % 2;
        must(upload(st, 0, 3000, 500, &existed, &err), &err);
        assert_false(existed);
        start_over();
    }
}

static void complete_fails(Scratch *s, int status, const char *body, size_t times, const char *part)
{
    Error err;
    bool existed;
    Storage *st = parts_are_there(s);
    storage_set_deadline(st, clock_now() + 3 * SECOND);
    reply_always("POST", COMPLETE, status, "", body);
    reply_always("HEAD", K, 404, "", ""); /* it may look */
    reply_always("GET", K, 404, "", S3_ERROR("NoSuchKey"));
    reply_always("DELETE", COMPLETE, 204, "", "");
    assert_false(upload(st, 0, 3000, 500, &existed, &err));
    expect_error(&err, ERR_REPO, part);
    if (times)
        assert_int_equal(requests_of("POST", COMPLETE), times);
    /* Where it may have been completed, some servers would take the object away. */
    assert_int_equal(requests_of("DELETE", COMPLETE), times);
    start_over();
}

/* A 200 is no success; and a 404 of this request is no absence of anything. */
static void test_failures(void **state)
{
    complete_fails(*state, 200, S3_ERROR("InvalidPart"), 1, "InvalidPart");
    complete_fails(*state, 200, S3_ERROR("AccessDenied"), 1, "AccessDenied");
    complete_fails(*state, 400, S3_ERROR("EntityTooSmall"), 1, "EntityTooSmall");
    complete_fails(*state, 403, S3_ERROR("AccessDenied"), 1, "may not do that");
    complete_fails(*state, 404, NO_UPLOAD, 1, "NoSuchUpload"); /* at the first attempt */
    complete_fails(*state, 404, S3_ERROR("NoSuchBucket"), 1, "NoSuchBucket");
    complete_fails(*state, 200, S3_ERROR("InternalError"), 0, "InternalError");
    complete_fails(*state, 200, "<html>Welcome</html>", 0, "repository main");
    complete_fails(*state, 200, "", 0, "repository main");
    complete_fails(*state, 200, "<CompleteMultipartUploadResult><ETag>", 0, "repository main");
}

static void test_existed(void **state)
{
    Error err;
    bool existed = false;
    Storage *st = parts_are_there(*state);
    reply("POST", COMPLETE, 412, "", S3_ERROR("PreconditionFailed"));
    reply("DELETE", COMPLETE, 204, "", "");
    must(upload(st, 0, 3000, 500, &existed, &err), &err);
    assert_true(existed);
    expect_line(fake->count - 1, "DELETE " COMPLETE); /* the parts are not paid for */
}

/* --- the answer is lost ---------------------------------------------------------------------- */

/* Ways for an upload to be completed without this side knowing, and what comes then. */
static void lose_and(int way, int status, const char *body)
{
    if (way < 2) {
        reply_fault("POST", COMPLETE, way == 0 ? S3_CLOSE : S3_RESET);
    } else if (way == 2) {
        S3Rule *r = reply("POST", COMPLETE, 200, "", COMPLETED);
        r->fault = S3_CUT;
        r->cut = 10;
    } else {
        reply("POST", COMPLETE, way == 3 ? 500 : 504, "", "");
    }
    reply("POST", COMPLETE, status, "", body);
}

static void lose(int way)
{
    lose_and(way, 404, NO_UPLOAD);
}

static void test_lost_and_there(void **state)
{
    for (int way = 0; way < 5; way++) {
        Error err;
        bool existed = false;
        Storage *st = parts_are_there(*state);
        lose(way);
        reply("HEAD", K, 200, ETAG "Content-Length: 3000\r\n", "");
        must(upload(st, 0, 3000, 500, &existed, &err), &err);
        assert_true(existed); /* it may be this one, it may be another's: the caller compares */
        assert_int_equal(requests_of("POST", COMPLETE), 2);
        start_over();
    }
}

static void test_lost_and_not_there(void **state)
{
    for (int way = 0; way < 5; way++) {
        Error err;
        bool existed;
        Storage *st = parts_are_there(*state);
        lose(way);
        reply("HEAD", K, 404, "", "");
        reply("GET", K, 404, "", S3_ERROR("NoSuchKey"));
        reply_always("DELETE", COMPLETE, 404, "", NO_UPLOAD);
        assert_false(upload(st, 0, 3000, 500, &existed, &err));
        expect_error(&err, ERR_REPO, "NoSuchUpload");
        start_over();
    }
}

static void test_lost_and_nobody_may_look(void **state)
{
    for (int way = 0; way < 5; way++) {
        Error err;
        bool existed;
        Storage *st = parts_are_there(*state);
        lose(way);
        reply("HEAD", K, 403, "", "");
        reply("GET", K, 403, "", S3_ERROR("AccessDenied"));
        reply("GET", "/bucket?*list-type=2*", 403, "", S3_ERROR("AccessDenied"));
        reply_always("DELETE", COMPLETE, 404, "", NO_UPLOAD);
        assert_false(upload(st, 0, 3000, 500, &existed, &err));
        expect_error(&err, ERR_REPO, "may not look whether the object is there");
        assert_true(err.hint[0]);
        start_over();
    }
}

static void test_lost_and_then_existed(void **state)
{
    for (int way = 0; way < 5; way++) {
        Error err;
        bool existed = false;
        Storage *st = parts_are_there(*state);
        lose_and(way, 412, S3_ERROR("PreconditionFailed"));
        reply_always("DELETE", COMPLETE, 404, "", NO_UPLOAD);
        must(upload(st, 0, 3000, 500, &existed, &err), &err);
        assert_true(existed);
        start_over();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_whose_answer_is_it),
        S3_TEST(test_odd_successes),
        S3_TEST(test_failures),
        S3_TEST(test_existed),
        S3_TEST(test_lost_and_there),
        S3_TEST(test_lost_and_not_there),
        S3_TEST(test_lost_and_nobody_may_look),
        S3_TEST(test_lost_and_then_existed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
