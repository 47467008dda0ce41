/*
 * s3_request.c: one request to an S3 server: where it goes, how it is signed, and what is done
 * about an answer that is no success.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "storage/s3.h"
#include "stream/digest.h"

#define ERROR_BODY    65536
#define REFUSED       "PreconditionFailed"
#define SLOWEST       65536 /* bytes a second of a body that an attempt is given time for */
#define MAX_DETOURS   5     /* answers that say how to ask again */
#define SKEW_MATTERS  (60 * CLOCK_SECOND)

S3Request s3_request(const S3Store *st, const char *method, const char *key)
{
    S3Request r = {.method = method};
    if (key)
        r.key = mem_printf("%s%s", st->prefix, key);
    if (st->requester_pays)
        s3_header(&r, "x-amz-request-payer: requester");
    return r;
}

void s3_request_free(S3Request *r)
{
    free((char *)r->key);
    for (size_t i = 0; i < r->header_count; i++)
        free(r->headers[i]);
    r->header_count = 0;
    r->key = NULL;
}

void s3_param(S3Request *r, const char *name, const char *value)
{
    if (r->param_count < S3_MAX_PARAMS)
        r->params[r->param_count++] = (AwsParam){name, value};
}

void s3_header(S3Request *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (r->header_count < S3_MAX_HEADERS)
        r->headers[r->header_count++] = mem_vprintf(fmt, ap);
    va_end(ap);
}

void s3_answer_free(S3Answer *answer)
{
    http_response_free(&answer->http);
}

/* --- address and signature --------------------------------------------------------------------- */

typedef struct Call {
    S3Store *st;
    const S3Request *r;
    AwsKeys keys;
    char region[64];
    int64_t clock_offset;
    char redirect[256]; /* host that a 307 named; "": none */
    bool redirect_path; /* the bucket's name stands in the path there */
    int detours;
    bool fresh;
    Retry retry;
} Call;

/* Host and path of the request, as they are signed and sent. */
static void address(const Call *c, Buf *host, Buf *path)
{
    const S3Store *st = c->st;
    if (c->redirect[0])
        buf_puts(host, c->redirect);
    else if (st->host)
        buf_printf(host, "%s%s%s", st->path_style ? "" : st->bucket, st->path_style ? "" : ".",
                   st->host);
    else
        buf_printf(host, "%s%ss3.%s.%s", st->path_style ? "" : st->bucket,
                   st->path_style ? "" : ".", c->region, aws_domain(c->region));
    buf_putc(path, '/');
    if (c->redirect[0] ? c->redirect_path : st->path_style) {
        aws_uri_encode(path, st->bucket, false);
        if (c->r->key)
            buf_putc(path, '/');
    }
    if (c->r->key)
        aws_uri_encode(path, c->r->key, true);
}

static const char *payload_hash(const Call *c, char room[65])
{
    uint8_t digest[SHA256_BYTES];
    if (c->st->unsigned_payload && c->r->body_len)
        return AWS_UNSIGNED_PAYLOAD;
    if (c->r->body_hash[0])
        return c->r->body_hash;
    sha256(c->r->body ? c->r->body : "", c->r->body_len, digest);
    sha256_hex(digest, room);
    return room;
}

typedef struct Signed {
    Buf url;
    char *lines[S3_MAX_HEADERS + 5];
    size_t count;
} Signed;

static void free_signed(Signed *s)
{
    for (size_t i = 0; i < s->count; i++) {
        explicit_bzero(s->lines[i], strlen(s->lines[i])); /* a session token among them */
        free(s->lines[i]);
    }
    buf_free(&s->url);
}

static void sign(const Call *c, Signed *out)
{
    Buf host = BUF_INIT, path = BUF_INIT, query = BUF_INIT, authorization = BUF_INIT;
    char hash[65], date[AWS_DATE_TEXT];
    const char *payload = payload_hash(c, hash);
    Instant when = clock_now() + c->clock_offset;
    *out = (Signed){0};
    address(c, &host, &path);
    aws_canonical_query(&query, c->r->params, c->r->param_count);
    buf_printf(&out->url, "%s://%s%s%s%s", c->st->scheme, host.data, path.data,
               query.len ? "?" : "", query.len ? query.data : "");
    for (size_t i = 0; i < c->r->header_count; i++)
        out->lines[out->count++] = mem_strdup(c->r->headers[i]);
    out->lines[out->count++] = mem_printf("host: %s", host.data);
    out->lines[out->count++] = mem_printf("x-amz-content-sha256: %s", payload);
    if (c->keys.session_token)
        out->lines[out->count++] = mem_printf("x-amz-security-token: %s", c->keys.session_token);
    AwsSignature sig = {.method = c->r->method,
                        .path = path.data,
                        .query = query.len ? query.data : "",
                        .headers = (const char *const *)out->lines,
                        .header_count = out->count,
                        .payload_hash = payload,
                        .region = c->region,
                        .service = "s3",
                        .access_key = c->keys.access_key,
                        .secret_key = c->keys.secret_key,
                        .when = when};
    aws_sign(&sig, &authorization, NULL);
    aws_date(date, when);
    out->lines[out->count++] = mem_printf("x-amz-date: %s", date);
    out->lines[out->count++] = mem_printf("authorization: %s", authorization.data);
    buf_free(&host);
    buf_free(&path);
    buf_free(&query);
    buf_free(&authorization);
}

/* --- what an answer means ---------------------------------------------------------------------- */

typedef enum Verdict {
    DONE,
    AGAIN,  /* after a pause */
    AT_ONCE, /* the answer said how */
    FAILED
} Verdict;

static bool is_one_of(const char *code, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

static bool passes(int status, const char *code)
{
    static const char *const codes[] = {"RequestTimeout",   "SlowDown",
                                        "InternalError",    "ServiceUnavailable",
                                        "OperationAborted", "ConditionalRequestConflict",
                                        "BadDigest",        "XAmzContentSHA256Mismatch",
                                        "IncompleteBody",   "XAmzContentChecksumMismatch",
                                        "Throttling",       "ThrottlingException",
                                        "TooManyRequests",  NULL};
    return status == 408 || status == 417 || status == 429 || (status >= 500 && status != 501) ||
           is_one_of(code, codes);
}

bool s3_is_region(const char *text)
{
    size_t len = strlen(text);
    bool good = len > 0 && len < 64;
    for (size_t i = 0; i < len; i++)
        good = good && (isalnum((unsigned char)text[i]) || text[i] == '-' || text[i] == '_');
    return good;
}

/* A 301 or 400 that names the bucket's region. */
static bool learn_region(Call *c, S3Answer *a)
{
    char region[64] = "";
    if (!http_header(&a->http, "x-amz-bucket-region", region, sizeof(region)))
        snprintf(region, sizeof(region), "%s", a->error.region);
    bool wrong = a->http.status == 301 || strcmp(a->error.code, "AuthorizationHeaderMalformed") == 0 ||
                 strcmp(a->error.code, "IllegalLocationConstraintException") == 0 ||
                 (a->http.status == 400 && !a->error.code[0]);
    if (!wrong || strcmp(region, c->region) == 0 || !s3_is_region(region))
        return false;
    log_debug("repository %s: the bucket is in region %s", c->st->name, region);
    snprintf(c->region, sizeof(c->region), "%s", region);
    pthread_mutex_lock(&c->st->lock);
    snprintf(c->st->region, sizeof(c->st->region), "%s", region);
    pthread_mutex_unlock(&c->st->lock);
    return true;
}

/* The store's own hosts: WAL and tokens go nowhere else. */
static bool is_ours(const Call *c, const char *host)
{
    const char *domain = c->st->host ? c->st->host : aws_domain(c->region);
    size_t len = strlen(host), tail = strlen(domain);
    return len >= tail && strcmp(host + len - tail, domain) == 0 &&
           (len == tail || host[len - tail - 1] == '.');
}

/* A 307 sends this one request elsewhere: a bucket that was just made. Never from TLS to a plain
 * connection. */
static bool follow(Call *c, S3Answer *a)
{
    char location[1024], host[256];
    size_t n = strlen(c->st->scheme), bucket = strlen(c->st->bucket);
    if (a->http.status != 307 ||
        !http_header(&a->http, "location", location, sizeof(location)) ||
        strncmp(location, c->st->scheme, n) != 0 || strncmp(location + n, "://", 3) != 0)
        return false;
    http_host(location, host, sizeof(host));
    if (!is_ours(c, host))
        return false;
    snprintf(c->redirect, sizeof(c->redirect), "%s", host);
    c->redirect_path = !(strncmp(host, c->st->bucket, bucket) == 0 && host[bucket] == '.');
    return true;
}

static bool correct_clock(Call *c, S3Answer *a)
{
    char text[64];
    Instant theirs;
    if (strcmp(a->error.code, "RequestTimeTooSkewed") != 0 ||
        !http_header(&a->http, "date", text, sizeof(text)) || !http_parse_date(text, &theirs))
        return false;
    int64_t offset = theirs - clock_now(), change = offset - c->clock_offset;
    if (change > -SKEW_MATTERS && change < SKEW_MATTERS)
        return false;
    log_warn("repository %s: this host's clock is %lld s off the server's; requests are dated by "
             "the server's", c->st->name, (long long)(-offset / CLOCK_SECOND));
    c->clock_offset = offset;
    pthread_mutex_lock(&c->st->lock);
    c->st->clock_offset = offset;
    pthread_mutex_unlock(&c->st->lock);
    return true;
}

static bool expired(const Call *c, const S3Answer *a)
{
    static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException", "InvalidToken",
                                        "TokenRefreshRequired", NULL};
    return is_one_of(a->error.code, codes) && c->keys.session_token;
}

/* *changed: there are other keys than those that were refused. */
static bool renew_keys(Call *c, bool *changed, Error *err)
{
    AwsKeys fresh;
    aws_credentials_expire(c->st->credentials, &c->keys);
    if (!aws_credentials_get(c->st->credentials, &fresh, err))
        return false;
    *changed = strcmp(fresh.access_key, c->keys.access_key) != 0 ||
               (fresh.session_token && strcmp(fresh.session_token, c->keys.session_token) != 0);
    aws_keys_free(&c->keys);
    c->keys = fresh;
    return true;
}

static void hint(const Call *c, const S3Answer *a, Error *err)
{
    const char *code = a->error.code;
    bool upload = c->r->method[0] == 'P' && c->r->key;
    bool checksum = strcasestr(a->error.message, "checksum") ||
                    strcasestr(a->error.message, "content-md5") || strcmp(code, "InvalidRequest") == 0;
    if (err->denied)
        error_hint(err, "these credentials may not do that: the table of permissions is in "
                        "docs/s3.md");
    else if (strcmp(code, "SignatureDoesNotMatch") == 0 || strcmp(code, "InvalidAccessKeyId") == 0)
        error_hint(err, "the access key, its secret or the region is wrong for this server; pitr config "
                        "shows which profile or file is used");
    else if (strcmp(code, "NoSuchBucket") == 0)
        error_hint(err, "is the bucket's name in url right? pitr makes no buckets: see docs/s3.md");
    else if (strcmp(code, "InvalidObjectState") == 0)
        error_hint(err, "the object lies in a cold storage class: pitr restore --thaw brings back "
                        "packs and WAL; a small object (backup.json, index, history) must be brought "
                        "back with the store's own tools");
    else if (strcmp(code, "RequestTimeTooSkewed") == 0)
        error_hint(err, "set this host's clock");
    else if (a->http.status == 301 || strcmp(code, "PermanentRedirect") == 0)
        error_hint(err, "the bucket is at %s: set endpoint or region",
                   a->error.endpoint[0] ? a->error.endpoint : "another endpoint");
    else if (upload && strstr(a->error.message, "art number") && c->st->max_parts > 1000)
        error_hint(err, "this server takes fewer parts: set max-parts (1000, say)");
    else if (upload && checksum && c->st->checksum == CHECKSUM_NONE)
        error_hint(err, "a bucket with Object Lock wants upload-checksum = sha256 or md5");
    else if (upload && !passes(a->http.status, code) && (a->http.status == 501 || checksum))
        error_hint(err, "a server that does not know the checksum headers works with "
                        "upload-checksum = md5, or none");
}

static bool explain(const Call *c, S3Answer *a, Error *err)
{
    static const char *const denied[] = {"AccessDenied", "AllAccessDisabled", "Forbidden",
                                         "AccountProblem", NULL};
    /* A 404 proves absence only in the store's own words: a proxy has its own 404. */
    static const char *const absent_codes[] = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload", NULL};
    const S3Error *e = &a->error;
    bool absent = a->http.status == 404 && is_one_of(e->code, absent_codes);
    error_set(err, absent ? ERR_NO : ERR_REPO, "repository %s: %s %s%s%s: %s%s%s (HTTP %d%s%s)",
              c->st->name, c->r->method, c->st->bucket, c->r->key ? "/" : "",
              c->r->key ? c->r->key : "", e->code[0] ? e->code : "no S3 answer",
              e->message[0] ? ": " : "", e->message, a->http.status,
              e->request_id[0] ? ", request " : "", e->request_id);
    err->denied = a->http.status == 403 && is_one_of(e->code, denied);
    hint(c, a, err);
    return false;
}

static Verdict judge(Call *c, S3Answer *a, Error *err)
{
    bool ahead = c->detours < MAX_DETOURS, changed = false;
    if (ahead && expired(c, a) && !renew_keys(c, &changed, err))
        return err->code == ERR_REPO ? AGAIN : FAILED; /* the token service may be back in a moment */
    if (ahead && (changed || learn_region(c, a) || follow(c, a) || correct_clock(c, a))) {
        c->detours++;
        return AT_ONCE;
    }
    explain(c, a, err);
    return passes(a->http.status, a->error.code) ? AGAIN : FAILED;
}

/* --- attempts ---------------------------------------------------------------------------------- */

/* With `cut` what is beyond `max` is left: an error's text needs no more. */
static bool read_body(HttpStream *stream, Buf *body, size_t max, bool cut, bool *transient,
                      Error *err)
{
    char chunk[16384];
    size_t got = 1;
    bool ok = true;
    buf_init_max(body, max);
    while (ok && got > 0) {
        ok = http_stream_read(stream, chunk, sizeof(chunk), &got, transient, err);
        if (ok && !buf_append(body, chunk, got)) {
            if (cut)
                return true;
            *transient = false;
            ok = error_set(err, ERR_REPO, "the answer is larger than it may be");
        }
    }
    return ok;
}

bool s3_refused(const S3Answer *answer)
{
    return answer->http.status == 412 && strcmp(answer->error.code, REFUSED) == 0;
}

/* AWS sends some errors with status 200, once it has begun to answer. */
static bool is_success(S3Answer *a)
{
    if (a->http.status < 200 || a->http.status > 299)
        return false;
    if (!a->http.body.len || !s3_xml_error(a->http.body.data, a->http.body.len, &a->error))
        return true;
    a->http.status = strcmp(a->error.code, "InternalError") == 0 ? 500
                     : strcmp(a->error.code, "SlowDown") == 0    ? 503
                     : strcmp(a->error.code, REFUSED) == 0       ? 412
                                                                 : 400;
    return false;
}

static Verdict transport(Call *c, bool transient, Error *err)
{
    c->fresh = true;
    if (err->code == ERR_REPO)
        error_prefix(err, "repository %s", c->st->name);
    return transient ? AGAIN : FAILED;
}

bool s3_has_etag(void *ctx, const S3Answer *answer, Error *err)
{
    char etag[128];
    (void)ctx;
    return http_header(&answer->http, "etag", etag, sizeof(etag)) ||
           error_set(err, ERR_REPO, "the answer has no ETag: it is not the store's");
}

static Verdict accepted(const Call *c, S3Answer *a, Error *err)
{
    if (!c->r->accept || c->r->accept(c->r->accept_ctx, a, err))
        return DONE;
    if (err->code != ERR_REPO)
        return FAILED;
    error_prefix(err, "repository %s: %s %s%s%s", c->st->name, c->r->method, c->st->bucket,
                 c->r->key ? "/" : "", c->r->key ? c->r->key : "");
    return AGAIN;
}

/* Sends once. With `stream` a success is left open there. */
static Verdict attempt(Call *c, S3Answer *a, HttpStream **stream, Error *err)
{
    Signed s;
    bool transient = false;
    s3_answer_free(a);
    a->http = (HttpResponse){0};
    memset(&a->error, 0, sizeof(a->error));
    sign(c, &s);
    HttpRequest http = {.method = c->r->method,
                        .url = s.url.data,
                        .headers = (const char *const *)s.lines,
                        .header_count = s.count,
                        .body = c->r->body,
                        .body_len = c->r->body_len,
                        .fresh = c->fresh || c->r->fresh,
                        .patient = c->r->slow};
    if (!stream)
        http.timeout = retry_left(&c->retry) + (int64_t)(c->r->body_len / SLOWEST) * CLOCK_SECOND;
    HttpStream *in = http_stream_open(c->st->http, &http, &a->http, &transient, err);
    free_signed(&s);
    c->fresh = false;
    if (!in)
        return transport(c, transient, err);
    bool leave = stream && a->http.status >= 200 && a->http.status < 300;
    bool good = a->http.status < 300;
    bool ok = leave || read_body(in, &a->http.body, good ? S3_MAX_ANSWER : ERROR_BODY, !good,
                                 &transient, err);
    if (leave) {
        Verdict v = accepted(c, a, err);
        if (v == DONE)
            *stream = in;
        else
            http_stream_close(in);
        return v;
    }
    http_stream_close(in);
    if (!ok)
        return transport(c, transient, err);
    if (is_success(a))
        return accepted(c, a, err);
    if (!a->error.code[0] && a->http.body.len)
        s3_xml_error(a->http.body.data, a->http.body.len, &a->error);
    return judge(c, a, err);
}

static int64_t retry_after(const S3Answer *a)
{
    char text[64];
    Instant when;
    if (!http_header(&a->http, "retry-after", text, sizeof(text)))
        return 0;
    if (http_parse_date(text, &when))
        return when > clock_now() ? when - clock_now() : 0;
    long long seconds = atoll(text);
    return seconds > 0 && seconds < 86400 ? seconds * CLOCK_SECOND : 0;
}

/* The keys to sign with: those of the last attempt may have been renewed meanwhile. */
static bool take_keys(Call *c, Error *err)
{
    AwsKeys keys;
    while (!aws_credentials_get(c->st->credentials, &keys, err))
        if (err->code != ERR_REPO || !retry_pause(&c->retry, 0, err))
            return false;
    aws_keys_free(&c->keys);
    c->keys = keys;
    return true;
}

static Verdict try_until_done(Call *c, S3Answer *a, HttpStream **stream, Error *err)
{
    for (;;) {
        Verdict v = attempt(c, a, stream, err);
        if (v == AT_ONCE)
            continue;
        if (v != AGAIN)
            return v;
        if (!retry_pause(&c->retry, retry_after(a), err) || !take_keys(c, err))
            return FAILED;
    }
}

static bool perform(S3Store *st, const S3Request *r, S3Answer *a, HttpStream **stream, Error *err)
{
    Call c = {.st = st, .r = r};
    *a = (S3Answer){0};
    pthread_mutex_lock(&st->lock);
    snprintf(c.region, sizeof(c.region), "%s", st->region);
    c.clock_offset = st->clock_offset;
    pthread_mutex_unlock(&st->lock);
    retry_begin(&c.retry, &st->retry_log, r->patience ? r->patience : st->io_timeout, st->deadline);
    bool ok = take_keys(&c, err) && try_until_done(&c, a, stream, err) == DONE;
    a->attempts = c.retry.attempts;
    if (!ok && err->code == ERR_REPO && c.retry.attempts > 1)
        error_prefix(err, "after %d attempts", c.retry.attempts);
    aws_keys_free(&c.keys);
    return ok;
}

bool s3_send(S3Store *st, const S3Request *r, S3Answer *answer, Error *err)
{
    return perform(st, r, answer, NULL, err);
}

HttpStream *s3_send_stream(S3Store *st, const S3Request *r, S3Answer *answer, Error *err)
{
    HttpStream *stream = NULL;
    return perform(st, r, answer, &stream, err) ? stream : NULL;
}
