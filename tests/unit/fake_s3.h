/*
 * fake_s3.h: an S3 server that answers what the test has written down for it.
 *
 * A thread on loopback, and one for each connection. Each request is kept and answered by the first
 * rule that fits it and is not used up; what no rule fits is answered 418. Each is signed again as
 * it arrived, and its body is held against the payload hash. Whatever was not as it should be is
 * written into fake->wrong. How tests use it is in s3_try.h.
 */
#ifndef PITR_TESTS_FAKE_S3_H
#define PITR_TESTS_FAKE_S3_H

#include <fnmatch.h>
#include <poll.h>

#include "base/clock.h"
#include "fake_clock.h"
#include "http_server.h"
#include "scratch.h"
#include "storage/aws_sign.h"
#include "storage/storage.h"
#include "stream/digest.h"

#define FOR_EVER    1000000
#define SECRET_MARK "qZ7sEcReT"
#define REGION      "eu-test-1"

typedef enum S3Fault {
    S3_ANSWER,
    S3_CLOSE,   /* reads the request and closes */
    S3_RESET,   /* the same with a reset */
    S3_SILENT,  /* reads the request, and that is all */
    S3_ENDLESS, /* a body without end, 2,000 bytes each 50 ms */
    S3_CUT,     /* closes after `cut` bytes of the body; with `held` when `taken` have been read */
} S3Fault;

typedef struct S3Seen {
    char *method, *target, *head; /* `head` begins with "\r\n" and ends with one */
    Buf body;
    char region[64], access_key[128]; /* of the signature */
    Instant at;
    int connection;
} S3Seen;

typedef struct S3Rule {
    const char *method;
    char *target; /* a pattern for fnmatch() */
    int times, status;
    char *headers, *body; /* of the answer */
    size_t body_len, cut, taken;
    S3Fault fault;
    bool chunked; /* no Content-Length */
    bool quiet;   /* the request is not kept */
    bool held;
    void (*before)(const S3Seen *seen);            /* called before the answer */
    void (*add)(const S3Seen *seen, Buf *headers); /* adds headers, "name: value\r\n" */
    void (*make)(const S3Seen *seen, Buf *body);   /* instead of `body` */
} S3Rule;

#define S3_SEEN  1000
#define S3_RULES 128

typedef struct FakeS3 {
    int fd, port;
    pthread_t thread;
    SSL_CTX *tls;
    char *ca_file;
    pthread_mutex_t lock; /* of what follows */
    S3Rule rules[S3_RULES];
    size_t rule_count;
    S3Seen seen[S3_SEEN];
    size_t count;
    Buf wrong;      /* requests that should not have come, or not like this */
    Buf signatures; /* one after the other, 64 digits each */
    bool given_up;  /* so many requests that something turns in circles */
    atomic_bool stop;
    int open;            /* connections that are being served */
    atomic_size_t taken; /* bytes that the test has read */
    atomic_bool reading; /* it has opened a reader */
    Storage *stores[16];
    size_t store_count;
} FakeS3;

static FakeS3 *fake;

/* --- requests as they arrive ----------------------------------------------------------------- */

/* A copy of a header's value, NULL if it is not there; the caller frees. */
static inline char *header_of(const S3Seen *seen, const char *name)
{
    char *begin = mem_printf("\r\n%s:", name), *value = NULL;
    const char *found = strcasestr(seen->head, begin);
    if (found) {
        found += strlen(begin);
        found += strspn(found, " ");
        value = mem_strndup(found, strcspn(found, "\r"));
    }
    free(begin);
    return value;
}

static inline bool parse_amz_date(const char *text, Instant *out)
{
    CivilTime t = {0};
    return text &&
           sscanf(text, "%4d%2d%2dT%2d%2d%2dZ", &t.year, &t.month, &t.day, &t.hour, &t.minute,
                  &t.second) == 6 &&
           clock_from_civil(&t, out);
}

/* The line "name: value" for each name of SignedHeaders but x-amz-date; the number of them. */
static inline size_t signed_lines(const S3Seen *seen, const char *names, char **lines, size_t room)
{
    char *list = mem_strdup(names), *rest = list, *name;
    size_t count = 0;
    while ((name = strsep(&rest, ";")) != NULL && count < room) {
        char *value = header_of(seen, name);
        if (value && strcmp(name, "x-amz-date") != 0)
            lines[count++] = mem_printf("%s: %s", name, value);
        free(value);
    }
    free(list);
    return count;
}

/* Are all headers signed that a proxy must not change? */
static inline bool all_signed(const S3Seen *seen, const char *names)
{
    bool ok = true;
    char *list = mem_printf(";%s;", names);
    for (const char *line = seen->head + 2; *line && ok; line = strstr(line, "\r\n") + 2) {
        char *name = mem_printf(";%.*s;", (int)strcspn(line, ":"), line);
        bool matters = strncasecmp(name, ";x-amz-", 7) == 0 || strcasecmp(name, ";host;") == 0 ||
                       strcasecmp(name, ";content-md5;") == 0;
        ok = !matters || strcasestr(list, name);
        free(name);
    }
    free(list);
    return ok;
}

static inline bool right_payload(const S3Seen *seen, const char *said)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256(seen->body.data ? seen->body.data : "", seen->body.len, digest);
    sha256_hex(digest, hex);
    return said && ((fake->tls && strcmp(said, AWS_UNSIGNED_PAYLOAD) == 0) || !strcmp(said, hex));
}

/* The secrets that open_s3() and write_keys() hand out follow from the key's name. */
static inline char *secret_of(const char *access_key)
{
    return mem_printf(SECRET_MARK "/secret+of/%s", access_key);
}

/* Signs the request again as it arrived. Notes region and key; false if it was signed otherwise. */
static inline bool right_signature(S3Seen *seen)
{
    char names[1024] = "", signature[128] = "", *lines[32];
    char *authorization = header_of(seen, "authorization"), *date = header_of(seen, "x-amz-date");
    char *payload = header_of(seen, "x-amz-content-sha256");
    Instant when = 0;
    bool ok = authorization && parse_amz_date(date, &when) && right_payload(seen, payload) &&
              sscanf(authorization,
                     "AWS4-HMAC-SHA256 Credential=%127[^/]/%*8[0-9]/%63[^/]/s3/aws4_request, "
                     "SignedHeaders=%1023[^,], Signature=%127s",
                     seen->access_key, seen->region, names, signature) == 4;
    if (ok) {
        size_t path = strcspn(seen->target, "?"), count = signed_lines(seen, names, lines, 32);
        char *secret = secret_of(seen->access_key), *only_path = mem_strndup(seen->target, path);
        Buf again = BUF_INIT;
        AwsSignature sig = {.method = seen->method,
                            .path = only_path,
                            .query = seen->target[path] ? seen->target + path + 1 : "",
                            .headers = (const char *const *)lines,
                            .header_count = count,
                            .payload_hash = payload,
                            .region = seen->region,
                            .service = "s3",
                            .access_key = seen->access_key,
                            .secret_key = secret,
                            .when = when};
        aws_sign(&sig, &again, NULL);
        ok = strcmp(again.data, authorization) == 0 && all_signed(seen, names);
        buf_append(&fake->signatures, signature, 64);
        for (size_t i = 0; i < count; i++)
            free(lines[i]);
        buf_free(&again);
        free(secret);
        free(only_path);
    }
    free(authorization);
    free(date);
    free(payload);
    return ok;
}

static inline bool read_s3_body(HttpConn *c, size_t len, Buf *out)
{
    char data[16384];
    size_t n = c->have - c->head_len;
    n = n < len ? n : len;
    buf_append(out, c->head + c->head_len, n);
    memmove(c->head, c->head + c->head_len + n, c->have - c->head_len - n);
    c->have -= c->head_len + n;
    while (out->len < len) {
        size_t want = len - out->len;
        ssize_t got = http_server_recv(c, data, want < sizeof(data) ? want : sizeof(data));
        if (got <= 0)
            return false;
        buf_append(out, data, (size_t)got);
    }
    return true;
}

/* Takes the request apart whose head is there; false if its body does not come. */
static inline bool read_s3_request(HttpConn *c, S3Seen *seen)
{
    char *head = mem_strndup(c->head, c->head_len - 2);
    size_t method = strcspn(head, " "), target = strcspn(head + method + 1, " ");
    *seen = (S3Seen){.method = mem_strndup(head, method),
                     .target = mem_strndup(head + method + 1, target),
                     .head = mem_strdup(strstr(head, "\r\n")),
                     .at = clock_now(),
                     .connection = c->number};
    free(head);
    char *length = header_of(seen, "content-length");
    bool ok = read_s3_body(c, length ? strtoul(length, NULL, 10) : 0, &seen->body);
    free(length);
    return ok;
}

static inline void free_seen(S3Seen *seen)
{
    free(seen->method);
    free(seen->target);
    free(seen->head);
    buf_free(&seen->body);
}

/* --- answers --------------------------------------------------------------------------------- */

/* The rule for a request; a copy, whose strings live until the end of the test. */
static inline S3Rule rule_for(const S3Seen *seen)
{
    static char nothing[] = "";
    for (size_t i = 0; i < fake->rule_count && !fake->given_up; i++) {
        S3Rule *r = &fake->rules[i];
        if (r->times > 0 && strcmp(r->method, seen->method) == 0 &&
            fnmatch(r->target, seen->target, 0) == 0) {
            r->times -= r->times != FOR_EVER;
            return *r;
        }
    }
    buf_printf(&fake->wrong, "not expected: %s %s\n", seen->method, seen->target);
    return (S3Rule){.status = 418, .headers = nothing, .body = nothing};
}

static inline void wait_for_the_end(HttpConn *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLRDHUP};
    while (!fake->stop && poll(&p, 1, 20) == 0)
        ;
}

/* A connection that is closed too soon would fail before the test has seen anything. */
static inline void hold(const S3Rule *r)
{
    for (int ms = 0; !fake->stop && ms < 3000 && !(fake->reading && fake->taken >= r->taken); ms++)
        usleep(1000);
}

static inline void answer_body(const S3Rule *r, const char *body, size_t body_len, Buf *out)
{
    size_t len = r->fault == S3_CUT ? r->cut : body_len;
    if (r->chunked && len)
        buf_printf(out, "%zx\r\n", len);
    buf_append(out, body, len);
    if (r->chunked && len)
        buf_puts(out, "\r\n");
    if (r->chunked && r->fault != S3_CUT)
        buf_puts(out, "0\r\n\r\n");
}

/* False: the connection is over. */
static inline bool send_answer(HttpConn *c, const S3Rule *r, const S3Seen *seen)
{
    bool no_body = strcmp(seen->method, "HEAD") == 0 || r->status == 204;
    Buf b = BUF_INIT, made = BUF_INIT;
    if (r->make)
        r->make(seen, &made);
    const char *body = made.data ? made.data : r->body;
    size_t len = made.data ? made.len : r->body_len;
    buf_printf(&b, "HTTP/1.1 %d Reason\r\n%s", r->status, r->headers);
    if (r->add)
        r->add(seen, &b);
    if (!r->chunked && !strcasestr(r->headers, "content-length:") && r->status != 204)
        buf_printf(&b, "Content-Length: %zu\r\n", len);
    buf_puts(&b, r->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (!no_body)
        answer_body(r, body, len, &b);
    bool ok = http_server_send(c, b.data, b.len);
    buf_free(&b);
    buf_free(&made);
    return ok && r->fault != S3_CUT;
}

static inline void send_endless(HttpConn *c)
{
    static const char blanks[2000] = "\n";
    bool ok = http_server_say(c, "HTTP/1.1 200 OK\r\n\r\n");
    while (ok && !fake->stop) {
        ok = http_server_send(c, blanks, sizeof(blanks));
        usleep(50000);
    }
}

static inline bool answer(HttpConn *c, const S3Rule *r, const S3Seen *seen)
{
    struct linger reset = {.l_onoff = 1};
    if (r->before)
        r->before(seen);
    if (r->fault == S3_SILENT)
        wait_for_the_end(c);
    if (r->fault == S3_ENDLESS)
        send_endless(c);
    if (r->fault == S3_RESET)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    bool ok = (r->fault == S3_ANSWER || r->fault == S3_CUT) && send_answer(c, r, seen);
    if (r->held)
        hold(r);
    return ok;
}

static inline bool serve_s3(HttpConn *c)
{
    S3Seen seen;
    bool come = read_s3_request(c, &seen);
    pthread_mutex_lock(&fake->lock);
    if (come && !right_signature(&seen))
        buf_printf(&fake->wrong, "wrong signature: %s %s%s", seen.method, seen.target, seen.head);
    S3Rule r = come ? rule_for(&seen) : (S3Rule){.quiet = true};
    fake->given_up |= fake->count == S3_SEEN - 1;
    bool kept = !r.quiet && fake->count < S3_SEEN;
    if (kept)
        fake->seen[fake->count++] = seen;
    pthread_mutex_unlock(&fake->lock);
    bool ok = come && answer(c, &r, &seen);
    if (!kept)
        free_seen(&seen);
    return ok;
}

static inline void *serve_s3_connection(void *arg)
{
    HttpConn *c = arg;
    if (!c->ssl || SSL_accept(c->ssl) == 1)
        while (http_server_head(c) && serve_s3(c))
            ;
    if (c->ssl)
        SSL_free(c->ssl);
    close(c->fd);
    free(c);
    pthread_mutex_lock(&fake->lock);
    fake->open--;
    pthread_mutex_unlock(&fake->lock);
    return NULL;
}

static inline void *accept_s3(void *arg)
{
    (void)arg;
    for (int number = 1;; number++) {
        int fd = accept(fake->fd, NULL, NULL), one = 1;
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        HttpConn *c = MEM_NEW(HttpConn);
        *c = (HttpConn){.fd = fd, .number = number};
        pthread_t thread;
        pthread_mutex_lock(&fake->lock);
        if (fake->tls) {
            c->ssl = SSL_new(fake->tls);
            SSL_set_fd(c->ssl, fd);
        }
        fake->open++;
        pthread_mutex_unlock(&fake->lock);
        if (pthread_create(&thread, NULL, serve_s3_connection, c) != 0)
            abort();
        pthread_detach(thread);
    }
}

#endif
