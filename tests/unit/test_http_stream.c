#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_try.h"

static void test_stream_in_pieces(void **state)
{
    static const size_t pieces[] = {1, 7, 1000, 16384, 65536, 1000003, 4 * MIB};
    for (size_t i = 0; i < COUNT(pieces); i++) {
        HttpResponse response;
        bool transient = false;
        uint64_t at = 0, size = pieces[i] < 10 ? 300000 : 3000000;
        char *path = mem_printf("/%s/%llu", i % 2 ? "size" : "chunked", (unsigned long long)size);
        HttpStream *s = open_stream(*state, path, NULL, 0, &response);
        assert_true(read_stream(s, &at, UINT64_MAX / 2, pieces[i], &transient));
        assert_true(at == size);
        size_t got = 1;
        char byte;
        Error err;
        assert_true(http_stream_read(s, &byte, 1, &got, &transient, &err)); /* the end stays */
        assert_int_equal(got, 0);
        http_stream_close(s);
        assert_int_equal(response.body.len, 0);
        http_response_free(&response);
        free(path);
    }
}

static void test_stream_of_an_empty_answer(void **state)
{
    static const char *const paths[] = {"/size/0", "/chunked/0", "/echo"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        HttpResponse response;
        bool transient = false;
        uint64_t at = 0;
        HttpStream *s = open_stream(*state, paths[i], NULL, 0, &response);
        assert_true(read_stream(s, &at, 10, 10, &transient));
        assert_int_equal(at, 0);
        http_stream_close(s);
        http_response_free(&response);
    }
    http_stream_close(NULL);
}

/* The answer begins before the body has gone. */
static void test_early_answer(void **state)
{
    size_t len = 20 * MIB;
    char *body = mem_new(len, 1);
    HttpResponse response;
    bool transient = false;
    uint64_t at = 0;
    HttpStream *s = open_stream(*state, "/early/1000000", body, len, &response);
    assert_true(read_stream(s, &at, UINT64_MAX / 2, 10000, &transient));
    assert_int_equal(at, 1000000);
    http_stream_close(s);
    http_response_free(&response);
    free(body);
}

/* Once it is open, status and headers belong to the caller. */
static void test_trailer(void **state)
{
    HttpResponse response;
    bool transient = false;
    uint64_t at = 0;
    HttpStream *s = open_stream(*state, "/chunked/50000", NULL, 0, &response);
    http_response_free(&response);
    assert_true(read_stream(s, &at, UINT64_MAX / 2, 10000, &transient));
    http_stream_close(s);
    assert_null(response.headers.data);
    assert_int_equal(response.status, 200);
}

static void test_half_read_stream(void **state)
{
    static const uint64_t read[] = {0, 1, 16384, 1000000};
    for (size_t i = 0; i < COUNT(read); i++) {
        HttpResponse response;
        bool transient = false;
        uint64_t at = 0;
        HttpStream *s = open_stream(*state, "/size/50000000", NULL, 0, &response);
        assert_true(read_stream(s, &at, read[i], 5000, &transient));
        http_stream_close(s);
        http_response_free(&response);
        Try t = exchange(*state, "GET", "/size/1000");
        expect_status(&t, 200);
        assert_true(t.response.body.len == 1000 && is_pattern(t.response.body.data, 1000, 0));
        http_response_free(&t.response);
    }
}

/* One read to its end leaves its connection to the next. */
static void test_stream_gives_its_connection_back(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){0});
    int first = 0;
    for (int i = 0; i < 4; i++) {
        Try t = {.ok = true};
        bool transient = false;
        uint64_t at = 0;
        HttpStream *s =
            open_stream(client, i % 2 ? "/size/70000" : "/chunked/70000", NULL, 0, &t.response);
        assert_true(read_stream(s, &at, UINT64_MAX / 2, 10000, &transient));
        http_stream_close(s);
        if (i == 0)
            first = connection_of(&t);
        assert_int_equal(connection_of(&t), first);
        http_response_free(&t.response);
    }
    http_client_free(client);
}

static void test_streams_side_by_side(void **state)
{
    enum { N = 5 };
    HttpStream *streams[N];
    HttpResponse responses[N];
    uint64_t at[N] = {0};
    bool transient = false;
    for (int i = 0; i < N; i++)
        streams[i] = open_stream(*state, "/size/2000000", NULL, 0, &responses[i]);
    for (int round = 0; round < 40; round++)
        for (int i = 0; i < N; i++)
            assert_true(read_stream(streams[i], &at[i], 50000, 7000, &transient));
    for (int i = 0; i < N; i++) {
        assert_int_equal(at[i], 2000000);
        http_stream_close(streams[i]);
        http_response_free(&responses[i]);
    }
}

/* What came before the end is handed out, then the failure is told, again and again. */
static void test_short_stream(void **state)
{
    HttpResponse response;
    bool transient = false;
    uint64_t at = 0;
    HttpStream *s = open_stream(*state, "/short/3000000/1234567", NULL, 0, &response);
    assert_false(read_stream(s, &at, UINT64_MAX / 2, 10000, &transient));
    assert_true(transient);
    assert_int_equal(at, 1234567);
    transient = false;
    assert_false(read_stream(s, &at, 1, 1, &transient));
    assert_true(transient);
    http_stream_close(s);
    http_response_free(&response);
}

/* A reader that takes its time is no stall of the server. */
static void test_slow_reader(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){.stall_timeout = CLOCK_SECOND});
    static const char *const paths[] = {"/size/20000000", "/size/200000", "/chunked/2000"};
    HttpStream *streams[COUNT(paths)];
    HttpResponse responses[COUNT(paths)];
    uint64_t at[COUNT(paths)] = {0};
    bool transient = false;
    for (size_t i = 0; i < COUNT(paths); i++)
        streams[i] = open_stream(client, paths[i], NULL, 0, &responses[i]);
    for (int round = 0; round < 3; round++) {
        usleep(1600000);
        for (size_t i = 0; i < COUNT(paths); i++)
            assert_true(read_stream(streams[i], &at[i], 500, 500, &transient));
    }
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_true(read_stream(streams[i], &at[i], UINT64_MAX / 2, 65536, &transient));
        assert_int_equal(at[i], atoi(strrchr(paths[i], '/') + 1));
        http_stream_close(streams[i]);
        http_response_free(&responses[i]);
    }
    http_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_in_pieces),
        cmocka_unit_test(test_stream_of_an_empty_answer),
        cmocka_unit_test(test_early_answer),
        cmocka_unit_test(test_trailer),
        cmocka_unit_test(test_half_read_stream),
        cmocka_unit_test(test_stream_gives_its_connection_back),
        cmocka_unit_test(test_streams_side_by_side),
        cmocka_unit_test(test_short_stream),
        cmocka_unit_test(test_slow_reader),
    };
    return HTTP_TESTS("http_stream", tests);
}
