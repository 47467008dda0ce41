/*
 * http_try.h: one exchange with the server of http_server.h, for the tests of storage/http.
 * Included by one source of a program. HTTP_TESTS() runs tests that all have the same client as
 * their state.
 *
 * Names are resolved without a network: loop.test is this host, slow.test takes `slow_names_ms`,
 * and no other is known.
 */
#ifndef PITR_TESTS_HTTP_TRY_H
#define PITR_TESTS_HTTP_TRY_H

#include <dlfcn.h>
#include <netdb.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http_server.h"
#include "storage/http.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIB          (1024 * 1024)

static HttpServer server; /* for all tests */

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

typedef struct Try {
    bool ok, transient;
    Error err;
    HttpResponse response;
    double seconds;
} Try;

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline HttpClient *client_of(HttpOptions options)
{
    Error err = {0};
    HttpClient *client = http_client_new(&options, &err);
    if (!client)
        fail_msg("%s", err.message);
    return client;
}

static inline Try send_request(HttpClient *client, const HttpRequest *request, size_t max_body)
{
    Try t = {.transient = true};
    double begun = now();
    t.ok = http_exchange(client, request, max_body, &t.response, &t.transient, &t.err);
    t.seconds = now() - begun;
    return t;
}

static inline Try exchange(HttpClient *client, const char *method, const char *path)
{
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, path);
    HttpRequest request = {.method = method, .url = url};
    Try t = send_request(client, &request, MIB);
    free(url);
    return t;
}

static inline Try upload(HttpClient *client, const char *path, const void *body, size_t len)
{
    char *url = mem_printf("http://127.0.0.1:%d%s", server.port, path);
    HttpRequest request = {.method = "PUT", .url = url, .body = body, .body_len = len};
    Try t = send_request(client, &request, MIB);
    free(url);
    return t;
}

static inline void expect_status(const Try *t, int status)
{
    if (!t->ok)
        fail_msg("code %d: %s", t->err.code, t->err.message);
    assert_int_equal(t->response.status, status);
}

static inline void expect_failure(const Try *t, bool transient)
{
    assert_false(t->ok);
    assert_int_equal(t->err.code, ERR_REPO);
    if (t->transient != transient)
        fail_msg("transient %d: %s", t->transient, t->err.message);
    assert_non_null(strstr(t->err.message, ": "));
}

static inline bool is_pattern(const char *data, size_t len, uint64_t from)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)data[i] != http_pattern(from + i))
            return false;
    return true;
}

static inline int connection_of(const Try *t)
{
    char text[32];
    assert_true(http_header(&t->response, "x-connection", text, sizeof(text)));
    return atoi(text);
}

static inline void expect_body_arrived(const Try *t, const void *body, size_t len)
{
    char got[100], want[100];
    expect_status(t, 200);
    assert_true(http_header(&t->response, "x-body", got, sizeof(got)));
    snprintf(want, sizeof(want), "%zu %llu", len,
             (unsigned long long)http_fnv(HTTP_FNV_BEGIN, body, len));
    assert_string_equal(got, want);
}

static inline Try get_url(HttpClient *client, const char *url)
{
    HttpRequest request = {.method = "GET", .url = url};
    return send_request(client, &request, MIB);
}

/* The request ends with this function: only its body has to live. */
static inline HttpStream *open_stream(HttpClient *client, const char *path, const void *body,
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
static inline bool read_stream(HttpStream *s, uint64_t *at, uint64_t len, size_t piece,
                               bool *transient)
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

static inline int group_setup(void **state)
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

static inline int group_teardown(void **state)
{
    http_client_free(*state);
    http_server_stop(&server);
    return 0;
}

#define HTTP_TESTS(name, tests)                                                                    \
    cmocka_run_group_tests_name(name, tests, group_setup, group_teardown)

#endif
