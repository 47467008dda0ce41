#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_try.h"

/* ---- plain exchanges ---- */

static void test_get(void **state)
{
    HttpClient *client = *state;
    static const size_t sizes[] = {0, 1, 5, 16383, 16384, 16385, 300000, MIB};
    static const char *const kinds[] = {"size", "chunked"};
    for (size_t i = 0; i < COUNT(sizes) * COUNT(kinds); i++) {
        size_t size = sizes[i / COUNT(kinds)];
        char *path = mem_printf("/%s/%zu", kinds[i % COUNT(kinds)], size);
        Try t = exchange(client, "GET", path);
        expect_status(&t, 200);
        assert_int_equal(t.response.body.len, size);
        assert_true(is_pattern(t.response.body.data, size, 0));
        http_response_free(&t.response);
        free(path);
    }
}

static void test_head(void **state)
{
    char length[32];
    Try t = exchange(*state, "HEAD", "/size/12345678901");
    expect_status(&t, 200);
    assert_int_equal(t.response.body.len, 0);
    assert_true(http_header(&t.response, "content-length", length, sizeof(length)));
    assert_string_equal(length, "12345678901");
    assert_true(t.seconds < 1);
    http_response_free(&t.response);
}

static void test_every_status_is_an_answer(void **state)
{
    static const int statuses[] = {200, 204, 206, 301, 304, 307, 400, 403,
                                   404, 409, 412, 416, 429, 500, 501, 503};
    for (size_t i = 0; i < COUNT(statuses); i++) {
        char *path = mem_printf("/status/%d", statuses[i]);
        Try t = exchange(*state, "GET", path);
        expect_status(&t, statuses[i]); /* 301 and 307 have a Location: not followed */
        http_response_free(&t.response);
        t = exchange(*state, "DELETE", path);
        expect_status(&t, statuses[i]);
        http_response_free(&t.response);
        free(path);
    }
}

static void expect_in(const char *text, const char *part, bool there)
{
    if ((strcasestr(text, part) != NULL) != there)
        fail_msg("%s in:\n%s", part, text);
}

static void test_what_is_sent(void **state)
{
    HttpClient *client = *state;
    static const char *const headers[] = {"X-Amz-Date: 20130524T000000Z", "Authorization: a=b, c"};
    char *url = mem_printf("http://127.0.0.1:%d/head", server.port);
    HttpRequest request = {.method = "GET", .url = url, .headers = headers, .header_count = 2};
    Try t = send_request(client, &request, MIB);
    expect_status(&t, 200);
    expect_in(t.response.body.data, "GET /head HTTP/1.1\r\n", true);
    expect_in(t.response.body.data, "\r\nX-Amz-Date: 20130524T000000Z\r\n", true);
    expect_in(t.response.body.data, "\r\nAuthorization: a=b, c\r\n", true);
    expect_in(t.response.body.data, "\r\nHost: 127.0.0.1:", true);
    expect_in(t.response.body.data, "accept-encoding", false);
    http_response_free(&t.response);

    static const char *const methods[] = {"PUT", "POST", "DELETE"};
    for (size_t i = 0; i < COUNT(methods); i++) {
        request.method = methods[i];
        t = send_request(client, &request, MIB);
        expect_status(&t, 200);
        expect_in(t.response.body.data, methods[i], true);
        expect_in(t.response.body.data, "\r\nContent-Length: 0\r\n", i < 2);
        expect_in(t.response.body.data, "expect", false);
        expect_in(t.response.body.data, "transfer-encoding", false);
        expect_in(t.response.body.data, "content-type", false);
        http_response_free(&t.response);
    }
    free(url);
}

/* A signed path may not be changed on the way. */
static void test_path_as_it_is(void **state)
{
    static const char *const paths[] = {"/a/../head/./b//c", "/%2e%2E/%2F%20+~'()*,;=:@!$&",
                                        "/x?uploads=&prefix=a%2Fb%20c"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char *url = mem_printf("http://127.0.0.1:%d%s", server.port, paths[i]);
        char *proxy = mem_printf("http://127.0.0.1:%d", server.port);
        /* Through the "proxy" the server takes every path for /head. */
        setenv("http_proxy", proxy, 1);
        HttpRequest request = {.method = "GET", .url = url};
        Try t = send_request(*state, &request, MIB);
        unsetenv("http_proxy");
        expect_status(&t, 200);
        char *want = mem_printf("GET %s HTTP/1.1\r\n", url);
        expect_in(t.response.body.data, want, true);
        http_response_free(&t.response);
        free(want);
        free(url);
        free(proxy);
    }
}

static void test_proxy(void **state)
{
    char *proxy = mem_printf("http://127.0.0.1:%d", server.port);
    HttpClient *direct = client_of((HttpOptions){.no_proxy = true});
    char *url = mem_printf("http://loop.test:%d/head", server.port);
    HttpRequest request = {.method = "GET", .url = url};
    setenv("http_proxy", proxy, 1);
    Try t = send_request(*state, &request, MIB);
    expect_status(&t, 200);
    expect_in(t.response.body.data, "GET http://loop.test:", true);
    http_response_free(&t.response);

    t = send_request(direct, &request, MIB);
    expect_status(&t, 200);
    expect_in(t.response.body.data, "GET /head ", true);
    http_response_free(&t.response);

    setenv("no_proxy", "loop.test", 1);
    t = send_request(*state, &request, MIB);
    expect_status(&t, 200);
    expect_in(t.response.body.data, "GET /head ", true);
    http_response_free(&t.response);
    unsetenv("no_proxy");
    unsetenv("http_proxy");
    http_client_free(direct);
    free(url);
    free(proxy);
}

static void test_max_body(void **state)
{
    char *url = mem_printf("http://127.0.0.1:%d/size/100000", server.port);
    HttpRequest request = {.method = "GET", .url = url};
    Try t = send_request(*state, &request, 100000);
    expect_status(&t, 200);
    http_response_free(&t.response);
    static const size_t smaller[] = {99999, 1};
    for (size_t i = 0; i < COUNT(smaller); i++) {
        t = send_request(*state, &request, smaller[i]);
        expect_failure(&t, false);
    }
    free(url);
}

/* ---- large bodies ---- */

static void test_large_upload(void **state)
{
    size_t len = 64 * MIB;
    char *body = mem_new(len, 1);
    for (size_t i = 0; i < len; i++)
        body[i] = (char)http_pattern(i);
    static const char *const paths[] = {"/continue", "/echo"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        Try t = upload(*state, paths[i], body, len);
        expect_body_arrived(&t, body, len);
        char text[16];
        assert_false(http_header(&t.response, "x-interim", text, sizeof(text)));
        http_response_free(&t.response);
    }
    free(body);
}

static void test_large_download(void **state)
{
    char *url = mem_printf("http://127.0.0.1:%d/size/%d", server.port, 64 * MIB);
    HttpRequest request = {.method = "GET", .url = url};
    Try t = send_request(*state, &request, 64 * MIB);
    expect_status(&t, 200);
    assert_int_equal(t.response.body.len, 64 * MIB);
    assert_true(is_pattern(t.response.body.data, t.response.body.len, 0));
    http_response_free(&t.response);
    free(url);
}

/* A server that never says "100 Continue" costs less than a second, and that only once. */
static void test_no_stall_for_100(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){0});
    static const size_t sizes[] = {0, 1, 1025, MIB, 2 * MIB, 3 * MIB, 3 * MIB};
    char *body = mem_new(3 * MIB, 1);
    double all = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        Try t = upload(client, "/echo", body, sizes[i]);
        expect_body_arrived(&t, body, sizes[i]);
        http_response_free(&t.response);
        all += t.seconds;
    }
    if (all > 0.9)
        fail_msg("%.2f s", all);
    free(body);
    http_client_free(client);
}

/* Where it is waited for, a refusal spares the body. */
static void test_refusal_before_the_body(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){0});
    char *body = mem_new(64 * MIB, 1);
    Try t = upload(client, "/reject", body, 64 * MIB);
    expect_status(&t, 503);
    assert_int_equal(t.response.body.len, 4);
    assert_true(t.seconds < 1);
    http_response_free(&t.response);
    free(body);
    http_client_free(client);
}

/* ---- connections ---- */

static void test_reuse(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){0});
    Try t = exchange(client, "GET", "/size/5");
    int first = connection_of(&t);
    http_response_free(&t.response);
    static const char *const paths[] = {"/size/300000", "/chunked/300000", "/status/204",
                                        "/status/404",  "/status/503",     "/status/304",
                                        "/echo"};
    for (size_t i = 0; i < 3 * COUNT(paths); i++) {
        t = exchange(client,
                     i % 3 == 0   ? "GET"
                     : i % 3 == 1 ? "DELETE"
                                  : "PUT",
                     paths[i % COUNT(paths)]);
        assert_true(t.ok);
        assert_int_equal(connection_of(&t), first);
        http_response_free(&t.response);
    }
    t = exchange(client, "HEAD", "/size/1000");
    assert_int_equal(connection_of(&t), first);
    http_response_free(&t.response);
    t = upload(client, "/echo", "body", 4);
    assert_int_equal(connection_of(&t), first);
    http_response_free(&t.response);

    char *url = mem_printf("http://127.0.0.1:%d/size/5", server.port);
    HttpRequest request = {.method = "GET", .url = url, .fresh = true};
    t = send_request(client, &request, MIB);
    expect_status(&t, 200);
    assert_int_not_equal(connection_of(&t), first);
    http_response_free(&t.response);
    free(url);
    http_client_free(client);
}

/* A connection that the server has closed meanwhile is no failure, nor is one that goes while a
 * small request is on its way: that is sent again from its beginning. */
static void test_stale_connection(void **state)
{
    static const char *const paths[] = {"/then-close", "/then-drop"};
    static const size_t lens[] = {0, MIB, 0, 1000};
    char *body = mem_new(MIB, 1);
    memset(body, 'b', MIB);
    for (size_t i = 0; i < COUNT(lens); i++) {
        Try t = exchange(*state, "GET", paths[i / 2]);
        expect_status(&t, 200);
        int first = connection_of(&t);
        http_response_free(&t.response);
        usleep(50000);
        t = lens[i] ? upload(*state, "/echo", body, lens[i]) : exchange(*state, "GET", "/size/5");
        expect_status(&t, 200);
        if (lens[i])
            expect_body_arrived(&t, body, lens[i]);
        assert_int_not_equal(connection_of(&t), first);
        http_response_free(&t.response);
    }
    free(body);
}

static void *many_exchanges(void *arg)
{
    HttpClient *client = arg;
    char body[5000];
    memset(body, 'x', sizeof(body));
    for (int i = 0; i < 60; i++) {
        Try t = i % 3 ? exchange(client, "GET", i % 3 == 1 ? "/size/70000" : "/chunked/70000")
                      : upload(client, "/echo", body, sizeof(body));
        bool good = t.ok && t.response.status == 200 &&
                    (i % 3 == 0 ||
                     (t.response.body.len == 70000 && is_pattern(t.response.body.data, 70000, 0)));
        if (t.ok)
            http_response_free(&t.response);
        if (!good)
            return NULL;
    }
    return client;
}

static void test_threads(void **state)
{
    pthread_t threads[8];
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_exchanges, *state), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_every_status_is_an_answer),
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_path_as_it_is),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_max_body),
        cmocka_unit_test(test_large_upload),
        cmocka_unit_test(test_large_download),
        cmocka_unit_test(test_no_stall_for_100),
        cmocka_unit_test(test_refusal_before_the_body),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_threads),
    };
    return HTTP_TESTS("http", tests);
}
