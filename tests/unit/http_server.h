/*
 * http_server.h: a small HTTP/1.1 server in a process of its own, on loopback, for the tests of
 * what speaks HTTP. The path says how it behaves:
 *
 *     /size/N /chunked/N   200 with the first N bytes of the pattern below
 *     /status/N            an empty answer with this status (204 and 304 without a length)
 *     /head                200 with the request's head as it came
 *     /echo                200; x-body: "<length> <FNV-1a>" of the request's body
 *     /short/N/M           says N bytes, sends M, closes;  /cut/M: the same in chunks
 *     /close               closes without an answer;       /abort/N: after N bytes of the body
 *     /silent              never answers;                  /stall/M: stops after M of 1,000,000
 *     /trickle             one byte each 20 ms
 *     /pause/MS/N          as /size/N, the answer after MS milliseconds
 *     /then-close          200, and closes the connection without having said so
 *     /then-drop           200, and closes at the next request, without an answer
 *     /early/N             says 200 before it reads the body, then sends N bytes
 *     /continue            as /echo, after "100 Continue" if that is expected
 *     /reject              503 as soon as the head is there, and closes
 *     /flood               headers without end;            /garbage: no HTTP at all
 *     /odd                 headers in many forms
 *
 * Each answer has "x-connection", the number of the connection that it came over. A body that is
 * expected with "100-continue" is read without saying so but for /continue.
 */
#ifndef PITR_TESTS_HTTP_SERVER_H
#define PITR_TESTS_HTTP_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct HttpServer {
    pid_t pid;
    int port;
} HttpServer;

typedef struct HttpConn {
    int fd, number;
    SSL *ssl; /* NULL: plain */
    bool drop, close;
    char head[65536]; /* of the request, with the bytes that came behind it */
    size_t have, head_len;
} HttpConn;

/* Byte `i` of each body that the server makes up. */
static inline unsigned char http_pattern(uint64_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

#define HTTP_FNV_BEGIN UINT64_C(14695981039346656037)

static inline uint64_t http_fnv(uint64_t hash, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * UINT64_C(1099511628211);
    return hash;
}

static inline bool http_server_send(HttpConn *c, const void *data, size_t len)
{
    while (len) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, data, (int)len) : write(c->fd, data, len);
        if (n <= 0)
            return false;
        data = (const char *)data + n;
        len -= (size_t)n;
    }
    return true;
}

static inline ssize_t http_server_recv(HttpConn *c, void *data, size_t len)
{
    return c->ssl ? SSL_read(c->ssl, data, (int)len) : read(c->fd, data, len);
}

__attribute__((format(printf, 2, 3))) static inline bool http_server_say(HttpConn *c,
                                                                         const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return http_server_send(c, text, (size_t)n);
}

/* Reads a request's head; false at the end of the connection. */
static inline bool http_server_head(HttpConn *c)
{
    for (;;) {
        char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
        if (end) {
            c->head_len = (size_t)(end - c->head) + 4;
            return true;
        }
        ssize_t n = http_server_recv(c, c->head + c->have, sizeof(c->head) - 1 - c->have);
        if (n <= 0)
            return false;
        c->have += (size_t)n;
    }
}

/* The value of a header of the request, 0 if it is not there. */
static inline long long http_server_number(const HttpConn *c, const char *name)
{
    for (const char *line = c->head; line < c->head + c->head_len; line = strchr(line, '\n') + 1)
        if (strncasecmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            return atoll(line + strlen(name) + 1);
    return 0;
}

/* Reads `len` bytes of the body; false if it ends before. What follows it stays in c->head. */
static inline bool http_server_body(HttpConn *c, long long len, uint64_t *hash)
{
    static _Thread_local char data[262144];
    size_t n = c->have - c->head_len;
    n = (long long)n < len ? n : (size_t)len;
    *hash = http_fnv(HTTP_FNV_BEGIN, c->head + c->head_len, n);
    memmove(c->head, c->head + c->head_len + n, c->have - c->head_len - n);
    c->have -= c->head_len + n;
    for (len -= (long long)n; len > 0;) {
        size_t want = len < (long long)sizeof(data) ? (size_t)len : sizeof(data);
        ssize_t got = http_server_recv(c, data, want);
        if (got <= 0)
            return false;
        *hash = http_fnv(*hash, data, (size_t)got);
        len -= got;
    }
    return true;
}

static inline bool http_server_begin(HttpConn *c, int status, const char *headers)
{
    return http_server_say(c, "HTTP/1.1 %d Some Reason\r\nX-Connection: %d\r\n%s", status,
                           c->number, headers);
}

/* Sends bytes `from` to `to` of the pattern, in chunks or not. */
static inline bool http_server_pattern(HttpConn *c, uint64_t from, uint64_t to, bool chunked)
{
    static _Thread_local char data[100000];
    while (from < to) {
        size_t n = to - from < sizeof(data) ? (size_t)(to - from) : sizeof(data);
        for (size_t i = 0; i < n; i++)
            data[i] = (char)http_pattern(from + i);
        if (chunked && !http_server_say(c, "%zx\r\n", n))
            return false;
        if (!http_server_send(c, data, n) || (chunked && !http_server_say(c, "\r\n")))
            return false;
        from += n;
    }
    return true;
}

static inline bool http_server_sized(HttpConn *c, bool no_body, uint64_t says, uint64_t sends)
{
    char length[64];
    snprintf(length, sizeof(length), "Content-Length: %llu\r\n\r\n", (unsigned long long)says);
    return http_server_begin(c, 200, length) &&
           (no_body || http_server_pattern(c, 0, sends, false));
}

static inline bool http_server_chunks(HttpConn *c, uint64_t sends)
{
    return http_server_begin(c, 200, "Transfer-Encoding: chunked\r\n\r\n") &&
           http_server_pattern(c, 0, sends, true);
}

/* Until the client goes. */
static inline void http_server_wait(HttpConn *c)
{
    char byte;
    while (http_server_recv(c, &byte, 1) > 0)
        ;
}

/* The odd ways to end or not to end; true if `path` is one of them. The connection is over then. */
static inline bool http_server_fail(HttpConn *c, const char *path, uint64_t hash)
{
    unsigned long long a = 0, b = 0;
    if (strcmp(path, "/silent") == 0) {
        http_server_wait(c);
    } else if (sscanf(path, "/stall/%llu", &a) == 1) {
        if (http_server_sized(c, false, 1000000, a))
            http_server_wait(c);
    } else if (strcmp(path, "/trickle") == 0) {
        bool ok = http_server_sized(c, false, 1000000, 0);
        while (ok && http_server_send(c, "x", 1))
            usleep(20000);
    } else if (sscanf(path, "/short/%llu/%llu", &a, &b) == 2) {
        http_server_sized(c, false, a, b);
    } else if (sscanf(path, "/cut/%llu", &a) == 1) {
        http_server_chunks(c, a);
    } else if (strcmp(path, "/garbage") == 0) {
        http_server_say(c, "This is not HTTP.\r\n\r\n");
    } else if (strcmp(path, "/flood") == 0) {
        bool ok = http_server_begin(c, 200, "");
        while (ok)
            ok = http_server_say(c, "x-flood: %0500d\r\n", 0);
    } else if (strcmp(path, "/close") != 0 && strncmp(path, "/abort/", 7) != 0) {
        return false;
    }
    (void)hash;
    return true;
}

static inline bool http_server_answer(HttpConn *c, const char *path, bool no_body, char *head,
                                      long long length, uint64_t hash)
{
    unsigned long long a = 0, b = 0;
    char text[256];
    if (sscanf(path, "/pause/%llu/%llu", &a, &b) == 2) {
        usleep((useconds_t)a * 1000);
        return http_server_sized(c, no_body, b, b);
    }
    if (sscanf(path, "/size/%llu", &a) == 1)
        return http_server_sized(c, no_body, a, a);
    if (sscanf(path, "/chunked/%llu", &a) == 1)
        return http_server_chunks(c, a) && http_server_say(c, "0\r\nX-Trailer: 1\r\n\r\n");
    if (sscanf(path, "/status/%llu", &a) == 1)
        return http_server_begin(
            c, (int)a,
            a == 204 || a == 304 ? "\r\n" : "Location: /size/5\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(path, "/head") == 0 || strstr(path, "://")) {
        snprintf(text, sizeof(text), "Content-Length: %zu\r\n\r\n", strlen(head));
        return http_server_begin(c, 200, text) && http_server_send(c, head, strlen(head));
    }
    if (strcmp(path, "/odd") == 0)
        return http_server_begin(c, 200,
                                 "ETag:\"a:b\"\r\nX-EMPTY:\r\nX-Blanks: \t a b \t \r\nX-Two: 1\r\n"
                                 "x-two: 2\r\nX-Two-Three: 3\r\nContent-Length: 0\r\n\r\n");
    c->close = strcmp(path, "/then-close") == 0;
    c->drop = strcmp(path, "/then-drop") == 0;
    snprintf(text, sizeof(text), "X-Body: %lld %llu\r\nContent-Length: 0\r\n\r\n", length,
             (unsigned long long)hash);
    return http_server_begin(c, 200, text);
}

/* One request, whose head is there; false ends the connection. */
static inline bool http_server_serve(HttpConn *c)
{
    char method[16], path[1024];
    char *head = strndup(c->head, c->head_len);
    long long length = http_server_number(c, "content-length");
    unsigned long long limit = 0;
    uint64_t hash = 0;
    bool ok = false;
    c->head[c->head_len - 1] = '\0';
    if (sscanf(head, "%15s %1023s", method, path) != 2)
        goto out;
    if (strcmp(path, "/reject") == 0) {
        http_server_begin(c, 503, "Content-Length: 4\r\nConnection: close\r\n\r\nbusy");
        shutdown(c->fd, SHUT_WR);
        usleep(300000);
        goto out;
    }
    if (strcmp(path, "/continue") == 0 && strcasestr(head, "100-continue"))
        http_server_say(c, "HTTP/1.1 100 Continue\r\nX-Interim: yes\r\n\r\n");
    if (sscanf(path, "/abort/%llu", &limit) == 1)
        length = (long long)limit;
    if (sscanf(path, "/early/%llu", &limit) == 1) {
        ok = http_server_sized(c, false, limit, 0) && http_server_body(c, length, &hash) &&
             http_server_pattern(c, 0, limit, false);
        goto out;
    }
    if (!http_server_body(c, length, &hash) || http_server_fail(c, path, hash))
        goto out;
    ok = http_server_answer(c, path, strcmp(method, "HEAD") == 0, head, length, hash) && !c->close;
out:
    free(head);
    return ok;
}

static inline void *http_server_connection(void *arg)
{
    HttpConn *c = arg;
    if (!c->ssl || SSL_accept(c->ssl) == 1)
        while (http_server_head(c) && !c->drop && http_server_serve(c))
            ;
    if (c->ssl)
        SSL_free(c->ssl);
    close(c->fd);
    free(c);
    return NULL;
}

static inline void http_server_loop(int listener, SSL_CTX *tls)
{
    for (int number = 1;; number++) {
        int fd = accept(listener, NULL, NULL), one = 1;
        if (fd < 0)
            _exit(1);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        HttpConn *c = calloc(1, sizeof(*c));
        pthread_t thread;
        *c = (HttpConn){.fd = fd, .number = number};
        if (tls) {
            c->ssl = SSL_new(tls);
            SSL_set_fd(c->ssl, fd);
        }
        if (pthread_create(&thread, NULL, http_server_connection, c) != 0)
            _exit(1);
        pthread_detach(thread);
    }
}

/* A socket that listens on a free port of loopback; -1 on failure. */
static inline int http_server_listen(int *port, int backlog)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        return -1;
    *port = ntohs(addr.sin_port);
    return fd;
}

/* Starts it; with `tls` it speaks nothing else. It dies with the process that started it. */
static inline bool http_server_start(HttpServer *server, SSL_CTX *tls)
{
    int listener = http_server_listen(&server->port, 64);
    pid_t parent = getpid();
    if (listener < 0)
        return false;
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        if (getppid() == parent)
            http_server_loop(listener, tls);
        _exit(1);
    }
    close(listener);
    return server->pid > 0;
}

static inline void http_server_stop(HttpServer *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

#endif
