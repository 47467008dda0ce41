#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "http_server.h"
#include "storage/http.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIB          (1024 * 1024)

static HttpServer server; /* for all tests */

/* ---- name resolution without a network ---- */

static int slow_names_ms;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "slow.test") == 0)
        usleep((useconds_t)slow_names_ms * 1000);
    else if (node && strcmp(node, "loop.test") == 0)
        node = "127.0.0.1";
    else if (node && strspn(node, "0123456789.") != strlen(node))
        return EAI_NONAME;
    return real(node, service, hints, res);
}

/* ---- which certificates are trusted ---- */

static atomic_int trusted_dirs;

int SSL_CTX_load_verify_dir(SSL_CTX *ctx, const char *dir)
{
    static int (*real)(SSL_CTX *, const char *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "SSL_CTX_load_verify_dir");
    trusted_dirs++;
    return real(ctx, dir);
}

/* ---- one exchange ---- */

typedef struct Try {
    bool ok, transient;
    Error err;
    HttpResponse response;
    double seconds;
} Try;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static HttpClient *client_of(HttpOptions options)
{
    Error err = {0};
    HttpClient *client = http_client_new(&options, &err);
    if (!client)
        fail_msg("%s", err.message);
    return client;
}

static Try send_request(HttpClient *client, const HttpRequest *request, size_t max_body)
{
    Try t = {.transient = true};
    double begun = now();
    t.ok = http_exchange(client, request, max_body, &t.response, &t.transient, &t.err);
    t.seconds = now() - begun;
    return t;
}

static Try exchange(HttpClient *client, const char *method, const char *path)
{
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, path);
    HttpRequest request = {.method = method, .url = url};
    Try t = send_request(client, &request, MIB);
    free(url);
    return t;
}

static Try upload(HttpClient *client, const char *path, const void *body, size_t len)
{
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, path);
    HttpRequest request = {.method = "PUT", .url = url, .body = body, .body_len = len};
    Try t = send_request(client, &request, MIB);
    free(url);
    return t;
}

static void expect_status(const Try *t, int status)
{
    if (!t->ok)
        fail_msg("code %d: %s", t->err.code, t->err.message);
    assert_int_equal(t->response.status, status);
}

static void expect_failure(const Try *t, bool transient)
{
    assert_false(t->ok);
    assert_int_equal(t->err.code, ERR_REPO);
    if (t->transient != transient)
        fail_msg("transient %d: %s", t->transient, t->err.message);
    assert_non_null(strstr(t->err.message, ": "));
}

static bool is_pattern(const char *data, size_t len, uint64_t from)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)data[i] != http_pattern(from + i))
            return false;
    return true;
}

static int connection_of(const Try *t)
{
    char text[32];
    assert_true(http_header(&t->response, "x-connection", text, sizeof(text)));
    return atoi(text);
}

static void expect_body_arrived(const Try *t, const void *body, size_t len)
{
    char got[100], want[100];
    expect_status(t, 200);
    assert_true(http_header(&t->response, "x-body", got, sizeof(got)));
    snprintf(want, sizeof(want), "%zu %llu", len,
             (unsigned long long)http_fnv(HTTP_FNV_BEGIN, body, len));
    assert_string_equal(got, want);
}

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

/* A connection that the server has closed meanwhile is no failure. If it goes while the next
 * request is on its way, only one without a body is surely sent again by itself. */
static void test_stale_connection(void **state)
{
    static const char *const paths[] = {"/then-close", "/then-drop"};
    char *body = mem_new(MIB, 1);
    for (size_t i = 0; i < 2 * COUNT(paths); i++) {
        Try t = exchange(*state, "GET", paths[i / 2]);
        expect_status(&t, 200);
        int first = connection_of(&t);
        http_response_free(&t.response);
        usleep(50000);
        t = i % 2 ? upload(*state, "/echo", body, MIB) : exchange(*state, "GET", "/size/5");
        if (i == 3 && !t.ok) {
            expect_failure(&t, true);
            continue;
        }
        expect_status(&t, 200);
        if (i % 2)
            expect_body_arrived(&t, body, MIB);
        assert_int_not_equal(connection_of(&t), first);
        http_response_free(&t.response);
    }
    free(body);
}

/* ---- streams ---- */

/* The request ends with this function: only its body has to live. */
static HttpStream *open_stream(HttpClient *client, const char *path, const void *body,
                               size_t body_len, HttpResponse *response)
{
    bool transient;
    Error err = {0};
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, path);
    HttpRequest request = {
        .method = body ? "PUT" : "GET", .url = url, .body = body, .body_len = body_len};
    HttpStream *s = http_stream_open(client, &request, response, &transient, &err);
    free(url);
    if (!s)
        fail_msg("%s", err.message);
    assert_int_equal(response->status, 200);
    return s;
}

/* Reads up to `len` bytes in pieces of `piece`; false at a failure. */
static bool read_stream(HttpStream *s, uint64_t *at, uint64_t len, size_t piece, bool *transient)
{
    char *data = mem_new(piece, 1);
    bool ok = true;
    size_t got = 1;
    Error err = {0};
    for (uint64_t end = *at + len; ok && got && *at < end; *at += got) {
        size_t n = end - *at < piece ? (size_t)(end - *at) : piece;
        got = 0;
        ok = http_stream_read(s, data, n, &got, transient, &err);
        assert_true(got <= n);
        assert_true(is_pattern(data, got, *at));
        if (!ok)
            assert_int_equal(err.code, ERR_REPO);
    }
    free(data);
    return ok;
}

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

/* ---- failures ---- */

static void test_failures_that_may_pass(void **state)
{
    static const char *const paths[] = {
        "/short/1000000/999999", "/short/5/0", "/short/100/99", "/cut/0", "/cut/50000", "/close"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        Try t = exchange(*state, "GET", paths[i]);
        expect_failure(&t, true);
        assert_non_null(strstr(t.err.message, "127.0.0.1:"));
        assert_null(t.response.body.data);
        assert_null(t.response.headers.data);
    }
    char *body = mem_new(8 * MIB, 1);
    static const size_t lens[] = {1, 100000, 8 * MIB};
    for (size_t i = 0; i < COUNT(lens); i++) {
        Try t = upload(*state, i == 0 ? "/close" : "/abort/65536", body, lens[i]);
        expect_failure(&t, true);
    }
    free(body);
    /* The client is as good as before. */
    Try t = exchange(*state, "GET", "/size/5");
    expect_status(&t, 200);
    http_response_free(&t.response);
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

static void test_no_http(void **state)
{
    static const char *const paths[] = {"/garbage", "/flood"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        Try t = exchange(*state, "GET", paths[i]);
        assert_false(t.ok);
        assert_int_equal(t.err.code, ERR_REPO);
        assert_true(t.seconds < 5);
    }
}

typedef struct Stall {
    HttpClient *client;
    const char *path;
    bool patient;
    Try result;
} Stall;

static void *run_stall(void *arg)
{
    Stall *stall = arg;
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, stall->path);
    HttpRequest request = {.method = "GET", .url = url, .patient = stall->patient};
    stall->result = send_request(stall->client, &request, MIB);
    free(url);
    return NULL;
}

static void test_stall(void **state)
{
    (void)state;
    HttpClient *client = client_of((HttpOptions){.stall_timeout = CLOCK_SECOND});
    Stall stalls[] = {{.path = "/silent"},
                      {.path = "/stall/5000"},
                      {.path = "/trickle"},
                      {.path = "/pause/500/5"}, /* these two are none */
                      {.path = "/pause/4000/5", .patient = true}};
    pthread_t threads[COUNT(stalls)];
    for (size_t i = 0; i < COUNT(stalls); i++) {
        stalls[i].client = client;
        assert_int_equal(pthread_create(&threads[i], NULL, run_stall, &stalls[i]), 0);
    }
    for (size_t i = 0; i < COUNT(stalls); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < COUNT(stalls); i++) {
        Try *t = &stalls[i].result;
        if (i >= 3) {
            expect_status(t, 200);
            http_response_free(&t->response);
            continue;
        }
        expect_failure(t, true);
        /* libcurl takes the speed of the last 5 seconds. */
        if (t->seconds < 0.9 || t->seconds > 7.5)
            fail_msg("%s: %.2f s", stalls[i].path, t->seconds);
    }
    http_client_free(client);
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

static void test_timeout(void **state)
{
    static const char *const paths[] = {"/silent", "/stall/5000", "/trickle", "/size/5"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char *url = mem_printf("http://127.0.0.1:%d%s", server.port, paths[i]);
        HttpRequest request = {
            .method = "GET", .url = url, .timeout = CLOCK_SECOND / 2, .patient = true};
        Try t = send_request(*state, &request, MIB);
        if (i < 3)
            expect_failure(&t, true);
        else
            expect_status(&t, 200);
        if (t.seconds > 1.2 || (i < 3 && t.seconds < 0.4))
            fail_msg("%s: %.2f s", paths[i], t.seconds);
        if (t.ok)
            http_response_free(&t.response);
        free(url);
    }
}

static Try get_url(HttpClient *client, const char *url)
{
    HttpRequest request = {.method = "GET", .url = url};
    return send_request(client, &request, MIB);
}

static void test_no_connection(void **state)
{
    int port = 0;
    int fd = http_server_listen(&port, 1);
    close(fd);
    char *url = mem_printf("http://127.0.0.1:%d/?secret=1", port);
    Try t = get_url(*state, url);
    expect_failure(&t, true);
    assert_null(strstr(t.err.message, "secret"));
    free(url);

    /* A queue of connections that is full: packets are dropped. */
    HttpClient *client = client_of((HttpOptions){.connect_timeout = CLOCK_SECOND / 2});
    fd = http_server_listen(&port, 0);
    int fill[8];
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    usleep(100000);
    url = mem_printf("http://127.0.0.1:%d/", port);
    t = get_url(client, url);
    expect_failure(&t, true);
    if (t.seconds < 0.4 || t.seconds > 1.5)
        fail_msg("%.2f s", t.seconds);
    free(url);
    for (size_t i = 0; i < COUNT(fill); i++)
        close(fill[i]);
    close(fd);
    http_client_free(client);
}

static void test_names(void **state)
{
    Try t = get_url(*state, "http://nowhere.test/?secret=1");
    expect_failure(&t, true);
    assert_non_null(strstr(t.err.message, "nowhere.test"));
    assert_non_null(strstr(t.err.hint, "endpoint"));
    assert_null(strstr(t.err.message, "secret"));

    /* A resolver that does not answer does not hold us up. */
    HttpClient *client = client_of((HttpOptions){.connect_timeout = CLOCK_SECOND / 2});
    slow_names_ms = 3000;
    t = get_url(client, "http://slow.test/");
    expect_failure(&t, true);
    if (t.seconds > 1.5)
        fail_msg("%.2f s", t.seconds);
    http_client_free(client);
}

static void test_bad_urls(void **state)
{
    static const char *const urls[] = {"",
                                       "ftp://127.0.0.1/?secret=1",
                                       "http://",
                                       "http://a b/",
                                       "file:///etc/passwd",
                                       "http://127.0.0.1:99999/?secret=1"};
    for (size_t i = 0; i < COUNT(urls); i++) {
        Try t = get_url(*state, urls[i]);
        assert_false(t.ok);
        assert_false(t.transient);
        assert_null(strstr(t.err.message, "secret"));
    }
}

/* ---- threads and signals ---- */

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

/* Runs in a process of its own, as the flag stays set. */
static void wait_for_signal(const char *path, size_t upload_len)
{
    interrupt_install();
    HttpClient *client = client_of((HttpOptions){0});
    char *body = upload_len ? mem_new(upload_len, 1) : NULL;
    Try t = {0};
    if (strcmp(path, "slow.test") == 0) {
        slow_names_ms = 10000;
        t = get_url(client, "http://slow.test/");
    } else {
        t = upload_len ? upload(client, path, body, upload_len) : exchange(client, "GET", path);
    }
    bool good = !t.ok && !t.transient && strstr(t.err.message, "signal") != NULL;
    _exit(good ? 42 : 1);
}

static void test_signal(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t upload;
    } cases[] = {{"/silent", 0},
                 {"/stall/5000", 0},
                 {"/trickle", 0},
                 {"/silent", 5 * MIB},
                 {"slow.test", 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            wait_for_signal(cases[i].path, cases[i].upload);
        usleep(400000);
        double begun = now();
        kill(pid, SIGTERM);
        int status = 0;
        waitpid(pid, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 42 || now() - begun > 1)
            fail_msg("%s: status %x after %.2f s", cases[i].path, (unsigned)status, now() - begun);
    }
}

/* ---- TLS ---- */

typedef struct Tls {
    HttpServer server;
    char ca_file[64];
} Tls;

/* A certificate that signs itself, for `names` ("IP:127.0.0.1"), in a file for clients. */
static bool tls_start(Tls *tls, const char *names, long days, int max_version)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509V3_CTX v3;
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -2 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"pitr test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *names_ext = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, names);
    X509_EXTENSION *ca_ext =
        X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(cert, names_ext, -1);
    X509_add_ext(cert, ca_ext, -1);
    X509_sign(cert, key, EVP_sha256());
    SSL_CTX_use_certificate(ctx, cert);
    SSL_CTX_use_PrivateKey(ctx, key);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, 0);
    SSL_CTX_set_max_proto_version(ctx, max_version);

    snprintf(tls->ca_file, sizeof(tls->ca_file), "/tmp/pitr-unit-ca-XXXXXX");
    int fd = mkstemp(tls->ca_file);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok =
        f && PEM_write_X509(f, cert) && fclose(f) == 0 && http_server_start(&tls->server, ctx);
    X509_EXTENSION_free(names_ext);
    X509_EXTENSION_free(ca_ext);
    X509_free(cert);
    EVP_PKEY_free(key);
    SSL_CTX_free(ctx);
    return ok;
}

static void tls_stop(Tls *tls)
{
    http_server_stop(&tls->server);
    unlink(tls->ca_file);
}

static Try tls_get(const Tls *tls, const char *ca_file, const char *host, const char *path)
{
    HttpClient *client = client_of((HttpOptions){.ca_file = ca_file});
    char *url = mem_printf("https://%s:%d%s", host, tls->server.port, path);
    Try t = get_url(client, url);
    free(url);
    http_client_free(client);
    return t;
}

static void test_tls(void **state)
{
    (void)state;
    Tls tls, other, expired;
    assert_true(tls_start(&tls, "IP:127.0.0.1", 2, 0));
    assert_true(tls_start(&other, "IP:127.0.0.1", 2, 0));
    assert_true(tls_start(&expired, "IP:127.0.0.1", -1, 0));

    trusted_dirs = 0;
    Try t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/size/1000000");
    expect_status(&t, 200);
    assert_int_equal(trusted_dirs, 0); /* ca-file says all, the system's are not added */
    assert_true(t.response.body.len == 1000000 && is_pattern(t.response.body.data, 1000000, 0));
    http_response_free(&t.response);

    /* An authority that is not known, another one, another host, out of date. */
    const struct {
        const Tls *tls;
        const char *ca_file, *host;
    } refused[] = {{&tls, NULL, "127.0.0.1"},
                   {&tls, other.ca_file, "127.0.0.1"},
                   {&tls, tls.ca_file, "loop.test"},
                   {&expired, expired.ca_file, "127.0.0.1"}};
    for (size_t i = 0; i < COUNT(refused); i++) {
        t = tls_get(refused[i].tls, refused[i].ca_file, refused[i].host, "/size/5?secret=1");
        expect_failure(&t, false);
        assert_non_null(strstr(t.err.hint, "ca-file"));
        assert_non_null(strstr(t.err.hint, "certificate"));
        assert_null(strstr(t.err.message, "secret"));
    }
    t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/short/1000/999");
    expect_failure(&t, true);
    t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/close");
    expect_failure(&t, true);
    tls_stop(&tls);
    tls_stop(&other);
    tls_stop(&expired);
}

static void test_old_tls(void **state)
{
    (void)state;
    Tls old, tls12;
    assert_true(tls_start(&old, "IP:127.0.0.1", 2, TLS1_1_VERSION));
    assert_true(tls_start(&tls12, "IP:127.0.0.1", 2, TLS1_2_VERSION));
    Try t = tls_get(&old, old.ca_file, "127.0.0.1", "/size/5");
    assert_false(t.ok);
    t = tls_get(&tls12, tls12.ca_file, "127.0.0.1", "/size/5");
    expect_status(&t, 200);
    http_response_free(&t.response);
    tls_stop(&old);
    tls_stop(&tls12);
}

static void test_ca_file(void **state)
{
    (void)state;
    Error err = {0};
    HttpOptions options = {.ca_file = "/nowhere/ca.pem"};
    assert_null(http_client_new(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "/nowhere/ca.pem"));

    Tls tls;
    assert_true(tls_start(&tls, "IP:127.0.0.1", 2, 0));
    FILE *f = fopen(tls.ca_file, "w");
    fputs("no certificate\n", f);
    fclose(f);
    Try t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/size/5");
    expect_failure(&t, false);
    assert_non_null(strstr(t.err.message, tls.ca_file));
    tls_stop(&tls);
    http_client_free(NULL);
}

/* ---- texts ---- */

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

static int group_setup(void **state)
{
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                          "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    Error err;
    HttpOptions options = {0};
    for (size_t i = 0; i < COUNT(proxies); i++)
        unsetenv(proxies[i]);
    signal(SIGPIPE, SIG_IGN);
    if (!http_server_start(&server, NULL))
        return -1;
    *state = http_client_new(&options, &err);
    return *state ? 0 : -1;
}

static int group_teardown(void **state)
{
    http_client_free(*state);
    http_server_stop(&server);
    return 0;
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
        cmocka_unit_test(test_stream_in_pieces),
        cmocka_unit_test(test_stream_of_an_empty_answer),
        cmocka_unit_test(test_early_answer),
        cmocka_unit_test(test_trailer),
        cmocka_unit_test(test_half_read_stream),
        cmocka_unit_test(test_stream_gives_its_connection_back),
        cmocka_unit_test(test_streams_side_by_side),
        cmocka_unit_test(test_failures_that_may_pass),
        cmocka_unit_test(test_short_stream),
        cmocka_unit_test(test_no_http),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_old_tls),
        cmocka_unit_test(test_ca_file),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests_name("http", tests, group_setup, group_teardown);
}
