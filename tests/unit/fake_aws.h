/*
 * fake_aws.h: STS, the container endpoint and the instance metadata service, played by a thread.
 *
 * A small HTTP/1.1 server on loopback, a thread for each connection. Each request is kept and
 * answered by the first rule that fits it and is not used up. connect() is replaced: what goes to
 * one of AWS's link-local addresses is counted and led to this server, or refused, so that a test
 * sees the real addresses being used and nothing leaves the machine. nanosleep() is replaced, too.
 *
 * Everything that is said by errors and on stderr while `aws` is set up is kept in aws_said; it may
 * hold none of the secrets that the tests hand out (all begin with AWS_SECRET_MARK).
 */
#ifndef FAKE_AWS_H
#define FAKE_AWS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "scratch.h"
#include "storage/aws_private.h"

#define AWS_SECRET_MARK "qZ7sEcReT"
#define FAKE_FOR_EVER   1000000
#define FAKE_REQUESTS   256

typedef enum FakeFault {
    FAKE_ANSWER,
    FAKE_HANG,     /* reads the request, says nothing */
    FAKE_CLOSE,    /* reads the request, closes */
    FAKE_TRUNCATE, /* promises more than it sends */
} FakeFault;

typedef struct FakeRule {
    const char *method, *path; /* a prefix */
    int status;
    const char *body;
    int times;
    FakeFault fault;
    void (*before)(void); /* called before the answer */
} FakeRule;

typedef struct FakeRequest {
    char *head; /* request line and headers */
    char *body;
} FakeRequest;

typedef struct FakeAws {
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    FakeRule rules[32];
    size_t rule_count;
    FakeRequest requests[FAKE_REQUESTS];
    size_t count;
    char went_to[64]; /* the last link-local address that was connected to */
    int link_local;   /* how often */
    bool refuse;      /* refuse these connections */
    bool stop;
    int open; /* connections that are being served */
    char url[64];
} FakeAws;

static FakeAws *aws;
static Buf aws_said;

/* --- connect() ---------------------------------------------------------------------------- */

static int fake_redirect(const char *text)
{
    pthread_mutex_lock(&aws->lock);
    snprintf(aws->went_to, sizeof(aws->went_to), "%s", text);
    aws->link_local++;
    bool refuse = aws->refuse;
    pthread_mutex_unlock(&aws->lock);
    return refuse ? -1 : aws->port;
}

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    char text[64] = "";
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (address->sa_family == AF_INET && aws) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        if (ntohl(in->sin_addr.s_addr) >> 16 == 0xa9fe) {
            inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
            int port = fake_redirect(text);
            if (port < 0) {
                errno = ECONNREFUSED;
                return -1;
            }
            to.sin_port = htons((uint16_t)port);
            to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            return (int)syscall(SYS_connect, fd, &to, sizeof(to));
        }
    }
    if (address->sa_family == AF_INET6 && aws) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        if (in->sin6_addr.s6_addr[0] == 0xfd) {
            inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
            fake_redirect(text);
            errno = ECONNREFUSED; /* a socket for IPv6 can't be led to 127.0.0.1 */
            return -1;
        }
    }
    return (int)syscall(SYS_connect, fd, address, len);
}

/* Pauses between attempts are 50 times shorter here. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    int64_t ns = ((int64_t)wanted->tv_sec * 1000000000 + wanted->tv_nsec) / 50;
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return (int)syscall(SYS_nanosleep, &ts, left);
}

/* --- the server --------------------------------------------------------------------------- */

static size_t fake_body_length(const char *head)
{
    const char *line = strcasestr(head, "\ncontent-length:");
    return line ? strtoul(line + 16, NULL, 10) : 0;
}

/* Reads one request; false at the end of the connection. */
static bool fake_read(int fd, FakeRequest *request)
{
    Buf b = BUF_INIT;
    char chunk[4096];
    char *end = NULL;
    ssize_t n = 1;
    size_t want = SIZE_MAX;
    while (b.len < want && n > 0) {
        n = recv(fd, chunk, sizeof(chunk), 0);
        if (n > 0)
            buf_append(&b, chunk, (size_t)n);
        if (!end && b.data && (end = strstr(b.data, "\r\n\r\n")) != NULL)
            want = (size_t)(end - b.data) + 4 + fake_body_length(b.data);
        else if (end)
            end = strstr(b.data, "\r\n\r\n");
    }
    if (end) {
        request->head = mem_strndup(b.data, (size_t)(end - b.data) + 2);
        request->body = mem_strdup(end + 4);
    }
    buf_free(&b);
    return end != NULL;
}

static FakeRule fake_rule_for(const FakeRequest *request)
{
    static const FakeRule none = {.status = 404, .body = ""};
    size_t method = strcspn(request->head, " ");
    const char *path = request->head + method + 1;
    for (size_t i = 0; i < aws->rule_count; i++) {
        FakeRule *r = &aws->rules[i];
        if (r->times > 0 && strlen(r->method) == method &&
            strncmp(request->head, r->method, method) == 0 &&
            strncmp(path, r->path, strlen(r->path)) == 0) {
            r->times--;
            return *r;
        }
    }
    return none;
}

static void fake_answer(int fd, const FakeRule *rule)
{
    Buf b = BUF_INIT;
    size_t len = strlen(rule->body);
    buf_printf(&b, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
               rule->status, len + (rule->fault == FAKE_TRUNCATE ? 100 : 0), rule->body);
    for (size_t at = 0; at < b.len;) {
        ssize_t n = send(fd, b.data + at, b.len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    buf_free(&b);
}

static void *fake_serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    FakeRequest request = {0};
    if (fake_read(fd, &request)) {
        pthread_mutex_lock(&aws->lock);
        FakeRule rule = fake_rule_for(&request);
        if (aws->count == FAKE_REQUESTS)
            abort();
        aws->requests[aws->count++] = request;
        pthread_mutex_unlock(&aws->lock);
        if (rule.before)
            rule.before();
        if (rule.fault == FAKE_HANG) {
            struct pollfd p = {.fd = fd};
            while (!aws->stop && !(poll(&p, 1, 20) > 0 && (p.revents & (POLLHUP | POLLERR))))
                ;
        } else if (rule.fault != FAKE_CLOSE) {
            fake_answer(fd, &rule);
        }
    }
    shutdown(fd, SHUT_WR);
    close(fd);
    pthread_mutex_lock(&aws->lock);
    aws->open--;
    pthread_mutex_unlock(&aws->lock);
    return NULL;
}

static void *fake_accept(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = accept(aws->fd, NULL, NULL);
        if (fd < 0 || aws->stop) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        pthread_t thread;
        pthread_mutex_lock(&aws->lock);
        aws->open++;
        pthread_mutex_unlock(&aws->lock);
        if (pthread_create(&thread, NULL, fake_serve, (void *)(intptr_t)fd) != 0)
            abort();
        pthread_detach(thread);
    }
}

static int fake_busy(void)
{
    pthread_mutex_lock(&aws->lock);
    int open = aws->open;
    pthread_mutex_unlock(&aws->lock);
    return open;
}

/* --- for tests ---------------------------------------------------------------------------- */

/* Adds a rule for `times` requests. */
static inline FakeRule *fake_rule(const char *method, const char *path, int times, int status,
                                  const char *body)
{
    pthread_mutex_lock(&aws->lock);
    FakeRule *r = &aws->rules[aws->rule_count++];
    *r = (FakeRule){.method = method, .path = path, .status = status, .body = body, .times = times};
    pthread_mutex_unlock(&aws->lock);
    return r;
}

static inline void fake_fault(const char *method, const char *path, int times, FakeFault fault)
{
    fake_rule(method, path, times, 200, "{")->fault = fault;
}

/* Forgets rules and requests. */
static inline void fake_reset(void)
{
    pthread_mutex_lock(&aws->lock);
    for (size_t i = 0; i < aws->count; i++) {
        free(aws->requests[i].head);
        free(aws->requests[i].body);
    }
    aws->count = aws->rule_count = 0;
    aws->link_local = 0;
    aws->went_to[0] = '\0';
    aws->refuse = false;
    pthread_mutex_unlock(&aws->lock);
}

/* How many requests there were whose first line begins so. */
static inline size_t fake_count(const char *line)
{
    size_t n = 0;
    pthread_mutex_lock(&aws->lock);
    for (size_t i = 0; i < aws->count; i++)
        n += strncmp(aws->requests[i].head, line, strlen(line)) == 0;
    pthread_mutex_unlock(&aws->lock);
    return n;
}

static inline void fake_has_header(size_t request, const char *line)
{
    assert_true(request < aws->count);
    char *want = mem_printf("\r\n%s\r\n", line);
    if (!strcasestr(aws->requests[request].head, want))
        fail_msg("request %zu has no header %s:\n%s", request, line, aws->requests[request].head);
    free(want);
}

/* {"AccessKeyId": …} as the container endpoint and the metadata service send it, expiring at
 * `expires` (NULL: never); kept until the end of the test. */
static inline char *fake_json(Scratch *s, const char *name, const char *expires)
{
    char *end = expires ? mem_printf(", \"Expiration\": \"%s\"", expires) : mem_strdup("");
    char *text = mem_printf("{\"Code\": \"Success\", \"AccessKeyId\": \"" AWS_SECRET_MARK "ID%s\", "
                            "\"SecretAccessKey\": \"" AWS_SECRET_MARK "KEY%s\", "
                            "\"Token\": \"" AWS_SECRET_MARK "TOKEN%s\"%s}",
                            name, name, name, end);
    free(end);
    return scratch_keep(s, text);
}

static inline void expect_keys(const AwsKeys *keys, const char *name)
{
    char text[128];
    snprintf(text, sizeof(text), AWS_SECRET_MARK "ID%s", name);
    assert_string_equal(keys->access_key, text);
    snprintf(text, sizeof(text), AWS_SECRET_MARK "KEY%s", name);
    assert_string_equal(keys->secret_key, text);
    if (keys->session_token) {
        snprintf(text, sizeof(text), AWS_SECRET_MARK "TOKEN%s", name);
        assert_string_equal(keys->session_token, text);
    }
}

/* Keeps what was said, and expects `code` with `part` in message or hint. */
static inline void expect_error(const Error *err, ErrorCode code, const char *part)
{
    buf_printf(&aws_said, "%s\n%s\n", err->message, err->hint);
    if (err->code != code)
        fail_msg("code %d: %s", err->code, err->message);
    if (!strstr(err->message, part) && !strstr(err->hint, part))
        fail_msg("not \"%s\" but: %s / %s", part, err->message, err->hint);
}

/* What was written to stderr since scratch_catch(). */
static inline char *said_on_stderr(Scratch *s)
{
    char *text = scratch_stderr(s);
    buf_puts(&aws_said, text);
    return text;
}

/* Goes last: what was said by all tests before. */
static inline void test_nothing_secret_was_said(void **state)
{
    (void)state;
    assert_true(aws_said.len > 0);
    const char *found =
        memmem(aws_said.data, aws_said.len, AWS_SECRET_MARK, strlen(AWS_SECRET_MARK));
    if (found)
        fail_msg("a secret was said: %.200s",
                 found > aws_said.data + 80 ? found - 80 : aws_said.data);
    buf_free(&aws_said);
}

static inline void fake_clear_environment(Scratch *s)
{
    extern char **environ;
    for (size_t i = 0; environ[i];) {
        char *name = mem_strndup(environ[i], strcspn(environ[i], "="));
        bool away = strncmp(name, "AWS_", 4) == 0 || strcasestr(name, "_proxy");
        if (away)
            unsetenv(name);
        else
            i++;
        free(name);
    }
    setenv("HOME", s->dir, 1);
}

static inline int fake_setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    fake_clear_environment(*state);
    aws = MEM_NEW(FakeAws);
    pthread_mutex_init(&aws->lock, NULL);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    aws->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (aws->fd < 0 || bind(aws->fd, (struct sockaddr *)&at, len) != 0 ||
        listen(aws->fd, 64) != 0 || getsockname(aws->fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    aws->port = ntohs(at.sin_port);
    snprintf(aws->url, sizeof(aws->url), "http://127.0.0.1:%d", aws->port);
    return pthread_create(&aws->thread, NULL, fake_accept, NULL);
}

static inline int fake_teardown(void **state)
{
    aws->stop = true;
    shutdown(aws->fd, SHUT_RDWR);
    pthread_join(aws->thread, NULL);
    close(aws->fd);
    while (fake_busy() > 0)
        usleep(1000);
    fake_reset();
    pthread_mutex_destroy(&aws->lock);
    free(aws);
    aws = NULL;
    fake_clear_environment(*state);
    return scratch_teardown(state);
}

#define AWS_TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

#endif
