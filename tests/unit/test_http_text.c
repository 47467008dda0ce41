#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_try.h"

static void expect_header(const HttpResponse *r, const char *name, const char *want)
{
    char text[64] = "untouched";
    bool there = http_header(r, name, text, sizeof(text));
    assert_int_equal(there, want != NULL);
    assert_string_equal(text, want ? want : "untouched");
}

static void test_headers(void **state)
{
    Try t = exchange(*state, "GET", "/odd");
    expect_status(&t, 200);
    expect_header(&t.response, "etag", "\"a:b\"");
    expect_header(&t.response, "x-empty", "");
    expect_header(&t.response, "x-blanks", "a b");
    expect_header(&t.response, "x-two", "1");
    expect_header(&t.response, "x-two-three", "3");
    expect_header(&t.response, "x-tw", NULL);
    expect_header(&t.response, "x", NULL);
    expect_header(&t.response, "two", NULL);
    expect_header(&t.response, "http/1.1 200 some reason", NULL);
    assert_null(strstr(t.response.headers.data, "ETag"));
    assert_null(strchr(t.response.headers.data, '\r'));
    char small[4];
    assert_true(http_header(&t.response, "etag", small, sizeof(small)));
    assert_string_equal(small, "\"a:");
    http_response_free(&t.response);

    HttpResponse none = {0};
    expect_header(&none, "etag", NULL);
    char last[] = "a: 1\nbb:2";
    HttpResponse cut = {.headers = {last, strlen(last), sizeof(last), 0}};
    expect_header(&cut, "bb", "2");
    expect_header(&cut, "a", "1");
}

static void expect_host(const char *url, const char *want)
{
    char host[32];
    http_host(url, host, sizeof(host));
    assert_string_equal(host, want);
}

static void test_host(void **state)
{
    (void)state;
    expect_host("https://bucket.s3.eu-west-3.io/k?x=1", "bucket.s3.eu-west-3.io");
    expect_host("http://127.0.0.1:9000/bucket", "127.0.0.1:9000");
    expect_host("http://[::1]:9000/bucket", "[::1]:9000");
    expect_host("https://host", "host");
    expect_host("https://host?x://y", "host");
    expect_host("https://host#x", "host");
    expect_host("host:80/x", "host:80");
    expect_host("", "");
    expect_host("https://", "");
    expect_host("https://user:password@host:1/x@y", "host:1");
    expect_host("https://a-host-with-a-name-that-is-too-long.test/",
                "a-host-with-a-name-that-is-too-");
}

static void test_dates(void **state)
{
    (void)state;
    int64_t t = 0;
    assert_true(http_parse_date("Sun, 06 Nov 1994 08:49:37 GMT", &t));
    assert_true(t == INT64_C(784111777) * CLOCK_SECOND);
    assert_true(http_parse_date("Thu, 01 Jan 1970 00:00:00 GMT", &t));
    assert_true(t == 0);
    assert_true(http_parse_date("Thu, 29 Feb 2024 23:59:59 GMT", &t));
    assert_true(t == INT64_C(1709251199) * CLOCK_SECOND);
    assert_true(http_parse_date("Wed, 31 Dec 2025 00:00:00 GMT", &t));
    static const char *const others[] = {"",
                                         "Sun",
                                         "Sun, 06 Nov 1994 08:49:37",
                                         "Sun, 06 Nov 1994 08:49:37 UTC",
                                         "Sun, 06 Nov 1994 08:49:37 GMT ",
                                         "Sun, 06 Nov 1994 08:49:37 GMTx",
                                         "Sun, 06 Nov 1994 08:49 GMT",
                                         "Sun, 6 Nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1994 8:49:37 GMT",
                                         "Sun, 06  Nov 1994 08:49:37 GMT",
                                         "Sun,06 Nov 1994 08:49:37 GMT",
                                         " Sun, 06 Nov 1994 08:49:37 GMT",
                                         "Sun, +6 Nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1994 08:-9:37 GMT",
                                         "Sun, 06 nov 1994 08:49:37 GMT",
                                         "Sun, 06 anF 1994 08:49:37 GMT",
                                         "Sun, 06 Xyz 1994 08:49:37 GMT",
                                         "Sun, 31 Feb 1994 08:49:37 GMT",
                                         "Sun, 00 Nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1994 24:00:00 GMT",
                                         "Sun, 06 Nov 1994 08:60:37 GMT",
                                         "Sun, 06 Nov 1994 08:49:61 GMT",
                                         "Sunday, 06-Nov-94 08:49:37 GMT",
                                         "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < COUNT(others); i++)
        if (http_parse_date(others[i], &t))
            fail_msg("\"%s\" was taken for a date", others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_dates),
    };
    return HTTP_TESTS("http_text", tests);
}
