#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/interrupt.h"
#include "http_try.h"

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

/* ---- signals ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_that_may_pass),
        cmocka_unit_test(test_no_http),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_signal),
    };
    return HTTP_TESTS("http_faults", tests);
}
