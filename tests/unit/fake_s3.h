/*
 * fake_s3.h: an S3 server that answers what the test has written down for it.
 *
 * A thread on loopback, and one for each connection. Each request is kept and answered by the first
 * rule that fits it and is not used up. What no rule fits is answered 418 and makes the test fail;
 * so does a rule that is left over, a request whose signature or payload hash is wrong, and a secret
 * in anything that was said: on stderr (with debug lines) or in an error that the test looked at.
 *
 *     S3_TEST(f)                        server, scratch directory, environment, fake clock
 *     reply("PUT", "/bucket/p/k", 200, "ETag: \"1\"\r\n", "");
 *     Storage *st = open_s3(s, (StorageOptions){0});
 *     …
 *     expect_requests(1);
 *     expect_line(0, "PUT /bucket/p/k");
 *
 * The store is s3://bucket/p in path style; pauses between attempts cost no time (fake_clock.h).
 */
#ifndef PITR_TESTS_FAKE_S3_H
#define PITR_TESTS_FAKE_S3_H

#include <fnmatch.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include "base/clock.h"
#include "base/log.h"
#include "fake_clock.h"
#include "http_server.h"
#include "scratch.h"
#include "storage/aws_sign.h"
#include "storage/storage.h"
#include "stream/digest.h"

#define FOR_EVER    1000000
#define SECRET_MARK "qZ7sEcReT"
#define REGION      "eu-test-1"
#define ETAG        "ETag: \"0123\"\r\n"
#define SECOND      CLOCK_SECOND

#define S3_ERROR(code) S3_ERROR_SAYING(code, "the server says so")
#define S3_ERROR_SAYING(code, message)                                                             \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>" message    \
    "</Message><Resource>/x</Resource><RequestId>REQ1</RequestId></Error>"

typedef enum S3Fault {
    S3_ANSWER,
    S3_CLOSE,  /* reads the request and closes */
    S3_RESET,  /* the same with a reset */
    S3_SILENT, /* reads the request, and that is all */
    S3_CUT,    /* closes after `cut` bytes of the body */
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
    size_t body_len, cut;
    S3Fault fault;
    bool chunked; /* no Content-Length */
    bool quiet;   /* the request is not kept */
    void (*before)(const S3Seen *seen);            /* called before the answer */
    void (*add)(const S3Seen *seen, Buf *headers); /* adds headers, "name: value\r\n" */
} S3Rule;

#define S3_SEEN  4096
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
    atomic_bool stop;
    int open; /* connections that are being served */
    Storage *stores[16];
    size_t store_count;
} FakeS3;

static FakeS3 *fake;
static Buf errors_seen;

/* --- requests as they arrive ------------------------------------------------------------------- */

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
    return text && sscanf(text, "%4d%2d%2dT%2d%2d%2dZ", &t.year, &t.month, &t.day, &t.hour,
                          &t.minute, &t.second) == 6 &&
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

/* --- answers ----------------------------------------------------------------------------------- */

/* The rule for a request; a copy, whose strings live until the end of the test. */
static inline S3Rule rule_for(const S3Seen *seen)
{
    static char nothing[] = "";
    for (size_t i = 0; i < fake->rule_count; i++) {
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

/* False: the connection is over. */
static inline bool send_answer(HttpConn *c, const S3Rule *r, const S3Seen *seen)
{
    bool no_body = strcmp(seen->method, "HEAD") == 0 || r->status == 204;
    Buf b = BUF_INIT;
    buf_printf(&b, "HTTP/1.1 %d Reason\r\n%s", r->status, r->headers);
    if (r->add)
        r->add(seen, &b);
    if (!r->chunked && !strcasestr(r->headers, "content-length:") && r->status != 204)
        buf_printf(&b, "Content-Length: %zu\r\n", r->body_len);
    buf_puts(&b, r->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    size_t len = r->fault == S3_CUT ? r->cut : r->body_len;
    if (!no_body && r->chunked && len)
        buf_printf(&b, "%zx\r\n", len);
    if (!no_body)
        buf_append(&b, r->body, len);
    if (!no_body && r->chunked && len)
        buf_puts(&b, "\r\n");
    if (!no_body && r->chunked && r->fault != S3_CUT)
        buf_puts(&b, "0\r\n\r\n");
    bool ok = http_server_send(c, b.data, b.len);
    buf_free(&b);
    return ok && r->fault != S3_CUT;
}

static inline bool answer(HttpConn *c, const S3Rule *r, const S3Seen *seen)
{
    struct linger reset = {.l_onoff = 1};
    if (r->before)
        r->before(seen);
    if (r->fault == S3_SILENT)
        wait_for_the_end(c);
    if (r->fault == S3_RESET)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    return (r->fault == S3_ANSWER || r->fault == S3_CUT) && send_answer(c, r, seen);
}

static inline bool serve_s3(HttpConn *c)
{
    S3Seen seen;
    bool come = read_s3_request(c, &seen);
    pthread_mutex_lock(&fake->lock);
    if (come && !right_signature(&seen))
        buf_printf(&fake->wrong, "wrong signature: %s %s%s", seen.method, seen.target, seen.head);
    S3Rule r = come ? rule_for(&seen) : (S3Rule){.quiet = true};
    if (fake->count == S3_SEEN)
        abort();
    if (!r.quiet)
        fake->seen[fake->count++] = seen;
    pthread_mutex_unlock(&fake->lock);
    bool ok = come && answer(c, &r, &seen);
    if (r.quiet)
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

/* --- what tests say ---------------------------------------------------------------------------- */

/* One rule for one request; its fields may be changed until requests come. `headers` are lines that
 * end in "\r\n"; `target` is path and query as they stand in the request, with '*' and '?'. */
static inline S3Rule *reply(const char *method, const char *target, int status, const char *headers,
                            const char *body)
{
    pthread_mutex_lock(&fake->lock);
    if (fake->rule_count == S3_RULES)
        abort();
    S3Rule *r = &fake->rules[fake->rule_count++];
    *r = (S3Rule){.method = method,
                  .target = mem_strdup(target),
                  .times = 1,
                  .status = status,
                  .headers = mem_strdup(headers),
                  .body = mem_strdup(body),
                  .body_len = strlen(body)};
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static inline void reply_always(const char *method, const char *target, int status,
                                const char *headers, const char *body)
{
    reply(method, target, status, headers, body)->times = FOR_EVER;
}

static inline S3Rule *reply_fault(const char *method, const char *target, S3Fault fault)
{
    S3Rule *r = reply(method, target, 200, ETAG, "");
    r->fault = fault;
    return r;
}

/* Puts, and uploads in parts, are found to honour If-None-Match, in requests that don't count. */
static inline void conditions_hold(void)
{
    static const char created[] = "<InitiateMultipartUploadResult><UploadId>probe</UploadId>"
                                  "</InitiateMultipartUploadResult>";
    S3Rule *rules[] = {
        reply("PUT", "/bucket/p/.pitr-probe", 412, "", S3_ERROR("PreconditionFailed")),
        reply("POST", "/bucket/p/.pitr-probe*uploads=", 200, "", created),
        reply("PUT", "/bucket/p/.pitr-probe*uploadId=probe", 200, ETAG, ""),
        reply("POST", "/bucket/p/.pitr-probe*uploadId=probe", 412, "",
              S3_ERROR("PreconditionFailed")),
        reply("DELETE", "/bucket/p/.pitr-probe*uploadId=probe", 204, "", "")};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        rules[i]->quiet = true;
        rules[i]->times = FOR_EVER;
    }
}

/* Forgets the requests and rules so far; fails if a rule is left over. */
static inline bool forget_rules(void)
{
    bool ok = true;
    for (size_t i = 0; i < fake->rule_count; i++) {
        S3Rule *r = &fake->rules[i];
        if (r->times > 0 && r->times != FOR_EVER) {
            buf_printf(&fake->wrong, "did not come: %d %s %s\n", r->times, r->method, r->target);
            ok = false;
        }
        free(r->target);
        free(r->headers);
        free(r->body);
    }
    for (size_t i = 0; i < fake->count; i++)
        free_seen(&fake->seen[i]);
    fake->rule_count = fake->count = 0;
    return ok;
}

/* Between two parts of a test. */
static inline void start_over(void)
{
    pthread_mutex_lock(&fake->lock);
    bool ok = forget_rules();
    pthread_mutex_unlock(&fake->lock);
    if (!ok)
        fail_msg("%s", fake->wrong.data);
}

/* A file of keys; its secret is secret_of(access_key). */
static inline char *write_keys(Scratch *s, const char *access_key, const char *token)
{
    char *path = scratch_path(s, "keys"), *secret = secret_of(access_key);
    char *text = mem_printf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n%s%s\n",
                            access_key, secret, token ? "aws_session_token = " : "",
                            token ? token : "");
    scratch_text(path, text);
    chmod(path, 0600);
    free(secret);
    free(text);
    return path;
}

/* Opens s3://bucket/p, with what `o` does not say filled in; closed at the end of the test. */
static inline Storage *open_s3(Scratch *s, StorageOptions o)
{
    Error err;
    if (!o.endpoint)
        o.endpoint = scratch_keep(
            s, mem_printf("%s://127.0.0.1:%d", fake->tls ? "https" : "http", fake->port));
    o.name = "main";
    o.url = o.url ? o.url : "s3://bucket/p";
    o.region = o.region ? o.region : REGION;
    o.ca_file = o.ca_file ? o.ca_file : fake->ca_file;
    o.io_timeout = o.io_timeout ? o.io_timeout : 60 * SECOND;
    if (!o.credentials_file)
        o.credentials_file = write_keys(s, "AKTEST", NULL);
    Storage *st = storage_open(&o, &err);
    must(st != NULL, &err);
    if (fake->store_count == sizeof(fake->stores) / sizeof(fake->stores[0]))
        abort();
    return fake->stores[fake->store_count++] = st;
}

/* --- what tests expect ------------------------------------------------------------------------- */

static inline void expect_requests(size_t count)
{
    pthread_mutex_lock(&fake->lock);
    Buf list = BUF_INIT;
    for (size_t i = 0; i < fake->count; i++)
        buf_printf(&list, "\n  %s %s", fake->seen[i].method, fake->seen[i].target);
    bool ok = fake->count == count;
    pthread_mutex_unlock(&fake->lock);
    if (!ok)
        fail_msg("%zu requests were expected, but there came:%s", count, list.data);
    buf_free(&list);
}

static inline const S3Seen *seen_at(size_t i)
{
    if (i >= fake->count)
        fail_msg("request %zu did not come", i);
    return &fake->seen[i];
}

/* "PUT /bucket/p/k", exactly. */
static inline void expect_line(size_t i, const char *line)
{
    char *got = mem_printf("%s %s", seen_at(i)->method, seen_at(i)->target);
    if (strcmp(got, line) != 0)
        fail_msg("request %zu is: %s", i, got);
    free(got);
}

/* NULL: without this header. */
static inline void expect_header(size_t i, const char *name, const char *value)
{
    char *got = header_of(seen_at(i), name);
    if (!got != !value || (got && strcmp(got, value) != 0))
        fail_msg("request %zu: %s is %s, not %s", i, name, got ? got : "missing",
                 value ? value : "missing");
    free(got);
}

/* Its lines, one request each, with only method and target. */
static inline void expect_body(size_t i, const void *data, size_t len)
{
    assert_int_equal(seen_at(i)->body.len, len);
    if (len)
        assert_memory_equal(seen_at(i)->body.data, data, len);
}

/* The store's error, kept for the search for secrets. `part` is in its message or hint. */
static inline void expect_error(const Error *err, ErrorCode code, const char *part)
{
    buf_printf(&errors_seen, "%s\n%s\n", err->message, err->hint);
    if (err->code != code)
        fail_msg("code %d: %s", err->code, err->message);
    if (!strstr(err->message, part) && !strstr(err->hint, part))
        fail_msg("not \"%s\" but: %s / %s", part, err->message, err->hint);
}

/* What was said on stderr so far. */
static inline char *said(Scratch *s)
{
    char *text = scratch_read(s, scratch_path(s, "stderr"), NULL);
    return text ? text : scratch_keep(s, mem_strdup(""));
}

static inline size_t occurrences(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
        n++;
    return n;
}

static inline size_t warnings(Scratch *s)
{
    return occurrences(said(s), "pitr: warning: ");
}

/* --- before and after each test ---------------------------------------------------------------- */

/* From here on the server speaks TLS only, with a certificate that open_s3() trusts. */
static inline void use_tls(Scratch *s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_EXTENSION *names =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
    fake->tls = SSL_CTX_new(TLS_server_method());
    fake->ca_file = scratch_path(s, "ca.pem");
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"pitr test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_add_ext(cert, names, -1);
    X509_sign(cert, key, EVP_sha256());
    SSL_CTX_use_certificate(fake->tls, cert);
    SSL_CTX_use_PrivateKey(fake->tls, key);
    FILE *f = fopen(fake->ca_file, "w");
    if (!f || !PEM_write_X509(f, cert) || fclose(f) != 0)
        fail_msg("can't write a certificate");
    X509_EXTENSION_free(names);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void clear_s3_environment(Scratch *s)
{
    extern char **environ;
    for (size_t i = 0; environ[i];) {
        char *name = mem_strndup(environ[i], strcspn(environ[i], "="));
        bool away = strncmp(name, "AWS_", 4) == 0 || strcasestr(name, "_proxy");
        i += !away;
        if (away)
            unsetenv(name);
        free(name);
    }
    setenv("HOME", s->dir, 1);
    setenv("XDG_CACHE_HOME", s->dir, 1);
}

static inline int fake_s3_setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    clear_s3_environment(*state);
    signal(SIGPIPE, SIG_IGN);
    fake_clock_on_pause = NULL;
    fake = MEM_NEW(FakeS3);
    pthread_mutex_init(&fake->lock, NULL);
    fake->fd = http_server_listen(&fake->port, 64);
    if (fake->fd < 0 || pthread_create(&fake->thread, NULL, accept_s3, NULL) != 0)
        return -1;
    log_set_level(LOG_LEVEL_DEBUG);
    scratch_catch(*state);
    return 0;
}

/* Is anything secret in `text`? */
static inline bool tells_secrets(const char *text)
{
    bool found = strstr(text, SECRET_MARK) || strcasestr(text, "authorization") ||
                 strcasestr(text, "signature=");
    for (size_t i = 0; !found && i < fake->signatures.len; i += 64) {
        char *signature = mem_strndup(fake->signatures.data + i, 64);
        found = strstr(text, signature) != NULL;
        free(signature);
    }
    if (found)
        print_error("a secret was said:\n%s\n", text);
    return found;
}

static inline int connections_open(void)
{
    pthread_mutex_lock(&fake->lock);
    int open = fake->open;
    pthread_mutex_unlock(&fake->lock);
    return open;
}

static inline int fake_s3_teardown(void **state)
{
    for (size_t i = 0; i < fake->store_count; i++)
        storage_close(fake->stores[i]);
    fake->stop = true;
    shutdown(fake->fd, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    close(fake->fd);
    while (connections_open() > 0)
        usleep(1000);
    bool ok = !tells_secrets(scratch_stderr(*state));
    ok = !(errors_seen.len && tells_secrets(errors_seen.data)) && ok;
    forget_rules();
    if (fake->wrong.len)
        print_error("%s", fake->wrong.data);
    ok = ok && !fake->wrong.len;
    SSL_CTX_free(fake->tls);
    buf_free(&fake->wrong);
    buf_free(&fake->signatures);
    buf_free(&errors_seen);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
    fake = NULL;
    clear_s3_environment(*state);
    return scratch_teardown(state) == 0 && ok ? 0 : -1;
}

#define S3_TEST(f) cmocka_unit_test_setup_teardown(f, fake_s3_setup, fake_s3_teardown)

#endif
