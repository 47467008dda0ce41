/*
 * s3_try.h: what the tests of the S3 driver say and expect. Goes with fake_s3.h.
 *
 *     S3_TEST(f)                        server, scratch directory, environment, fake clock
 *     reply("PUT", "/bucket/p/k", 200, ETAG, "");
 *     Storage *st = open_s3(s, (StorageOptions){0});
 *     …
 *     expect_requests(1);
 *     expect_line(0, "PUT /bucket/p/k");
 *
 * The store is s3://bucket/p in path style; pauses between attempts cost no time (fake_clock.h). A
 * test fails, too, by a request that no rule fits, by a rule that is left over, by a wrong
 * signature or payload hash, and by a secret in anything that was said: on stderr (with debug
 * lines) or in an error that the test looked at.
 */
#ifndef PITR_TESTS_S3_TRY_H
#define PITR_TESTS_S3_TRY_H

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "fake_s3.h"
#include "storage/storage.h"

#define ETAG   "ETag: \"0123\"\r\n"
#define SECOND CLOCK_SECOND

#define S3_ERROR(code) S3_ERROR_SAYING(code, "the server says so")
#define S3_ERROR_SAYING(code, message)                                                             \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>" message    \
    "</Message><Resource>/x</Resource><RequestId>REQ1</RequestId></Error>"

static Buf errors_seen;

/* --- what tests say -------------------------------------------------------------------------- */

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
    fake->taken = 0;
    fake->reading = false;
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
    char *text =
        mem_printf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n%s%s\n",
                   access_key, secret, token ? "aws_session_token = " : "", token ? token : "");
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

/* --- what tests expect ----------------------------------------------------------------------- */

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
    if (got && value ? strcmp(got, value) != 0 : got || value)
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

/* --- small operations ------------------------------------------------------------------------ */

/* Reads the object and drops it. */
static inline bool get(Storage *st, const char *key, Error *err)
{
    Buf b = BUF_INIT;
    bool ok = storage_get(st, key, &b, err);
    buf_free(&b);
    return ok;
}

static inline void must_get(Storage *st, const char *key, const char *text)
{
    Error err;
    Buf b = BUF_INIT;
    must(storage_get(st, key, &b, &err), &err);
    buf_puts(&b, "");
    assert_string_equal(b.data ? b.data : "", text);
    buf_free(&b);
}

static inline bool put(Storage *st, const char *key, const char *text, bool *existed, Error *err)
{
    return storage_put(st, key, text, strlen(text), NULL, existed, err);
}

/* --- before and after each test -------------------------------------------------------------- */

/* From here on the server speaks TLS only, with a certificate that open_s3() trusts. */
static inline void use_tls(Scratch *s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
                                                "IP:127.0.0.1,DNS:localhost,DNS:eu.localhost");
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
    bool found = strstr(text, SECRET_MARK) || strcasestr(text, "authorization:") ||
                 strstr(text, "AWS4-") || strcasestr(text, "signature=");
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

/* What fail_msg() wrote went there, too. */
static inline void show_failure(const char *text)
{
    const char *failure = strstr(text, "ERROR: ");
    if (failure)
        print_error("%s", failure);
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
    const char *text = scratch_stderr(*state);
    show_failure(text);
    bool ok = !tells_secrets(text);
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
