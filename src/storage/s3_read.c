/*
 * s3_read.c: reading objects.
 *
 * A body that breaks off is continued by a ranged GET of the same version (If-Match), so that a
 * reader sees one object whole. A whole object is held against the SHA-256 that was stored with it:
 * the server's x-amz-checksum-sha256, else our x-amz-meta-sha256.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/s3.h"
#include "stream/digest.h"

typedef struct S3Reader {
    S3Store *st;
    char *key;
    Buf version;         /* of st->as_of; empty: the current one */
    uint64_t at, end;    /* the next byte, and where to stop (0: at the object's end) */
    char etag[256];      /* of the first answer */
    uint64_t total;      /* bytes up to the end, once known; 0: unknown */
    HttpStream *stream;
    S3Request request; /* lives as long as the stream */
    S3Answer answer;
    bool begun, done;
    EVP_MD_CTX *digest; /* of a whole object */
    char want[SHA256_HEX];
} S3Reader;

static void close_stream(S3Reader *r)
{
    http_stream_close(r->stream);
    r->stream = NULL;
    if (r->begun) {
        s3_answer_free(&r->answer);
        s3_request_free(&r->request);
    }
    r->begun = false;
}

void s3_reader_close(void *state)
{
    S3Reader *r = state;
    close_stream(r);
    EVP_MD_CTX_free(r->digest);
    buf_free(&r->version);
    free(r->key);
    free(r);
}

/* Composite checksums of multipart uploads ("…-3") are none of the whole content. */
static void expect_digest(S3Reader *r)
{
    char text[128];
    uint8_t raw[64];
    if (r->at || r->end)
        return;
    if (http_header(&r->answer.http, "x-amz-checksum-sha256", text, sizeof(text)) &&
        strlen(text) == 44 && EVP_DecodeBlock(raw, (unsigned char *)text, 44) == 33)
        sha256_hex(raw, r->want);
    else if (!http_header(&r->answer.http, "x-amz-meta-sha256", r->want, sizeof(r->want)) ||
             strlen(r->want) != SHA256_HEX - 1)
        return;
    r->digest = EVP_MD_CTX_new();
    if (r->digest)
        EVP_DigestInit_ex(r->digest, EVP_sha256(), NULL);
}

static bool check_digest(S3Reader *r, Error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[SHA256_HEX];
    if (!r->digest)
        return true;
    EVP_DigestFinal_ex(r->digest, digest, NULL);
    EVP_MD_CTX_free(r->digest);
    r->digest = NULL;
    sha256_hex(digest, hex);
    if (strcmp(hex, r->want) == 0)
        return true;
    error_set(err, ERR_DAMAGED, "repository %s: %s was read with other content than was stored",
              r->st->name, r->key);
    return error_hint(err, "read it again; if that fails too, the server has damaged it");
}

static bool finish(S3Reader *r, Error *err)
{
    r->done = true;
    return check_digest(r, err);
}

/* Where the right to list depends on a prefix, a key that is not there is answered as a refusal: a
 * listing tells them apart. */
static bool missing_or_denied(S3Store *st, const char *key, Error *err)
{
    Error ignored;
    bool found;
    if (err->denied && s3_listed(st, key, &found, &ignored) && !found)
        error_set(err, ERR_NO, "repository %s: %s/%s%s is not there", st->name, st->bucket,
                  st->prefix, key);
    return false;
}

/* 416: nothing at or behind this offset. */
static bool not_opened(S3Reader *r, bool first, Error *err)
{
    bool at_end = r->answer.http.status == 416;
    if (first && !at_end)
        return missing_or_denied(r->st, r->key, err);
    if (!first && (at_end ? r->at < r->total : err->code == ERR_NO))
        return error_set(err, ERR_REPO, "repository %s: %s has changed while it was read",
                         r->st->name, r->key);
    return at_end && finish(r, err);
}

/* A server that ignores Range, or a cache that mixes them up, would hand out the wrong bytes. */
static bool is_range(const S3Reader *r)
{
    char text[128];
    uint64_t start;
    return r->answer.http.status == 206 &&
           http_header(&r->answer.http, "content-range", text, sizeof(text)) &&
           sscanf(text, "bytes %" SCNu64 "-", &start) == 1 && start == r->at;
}

/* Opens, or opens again, at r->at. */
static bool open_stream(S3Reader *r, Error *err)
{
    char length[32];
    bool first = !r->etag[0];
    close_stream(r);
    r->request = s3_request(r->st, "GET", r->key);
    r->begun = true;
    if (r->version.len)
        s3_param(&r->request, "versionId", r->version.data);
    if (r->end)
        s3_header(&r->request, "range: bytes=%" PRIu64 "-%" PRIu64, r->at, r->end - 1);
    else if (r->at)
        s3_header(&r->request, "range: bytes=%" PRIu64 "-", r->at);
    else if (r->st->checksum == CHECKSUM_SHA256) /* servers that don't know them may refuse it */
        s3_header(&r->request, "x-amz-checksum-mode: ENABLED");
    if (!first)
        s3_header(&r->request, "if-match: %s", r->etag);
    r->request.accept = s3_has_etag;
    r->stream = s3_send_stream(r->st, &r->request, &r->answer, err);
    if (!r->stream)
        return not_opened(r, first, err);
    if ((r->at || r->end) && !is_range(r))
        return error_set(err, ERR_REPO, "repository %s: %s: the server answers with another range "
                         "than was asked for", r->st->name, r->key);
    if (first) {
        http_header(&r->answer.http, "etag", r->etag, sizeof(r->etag));
        if (http_header(&r->answer.http, "content-length", length, sizeof(length)))
            r->total = r->at + strtoull(length, NULL, 10);
        expect_digest(r);
    }
    return true;
}

void *s3_reader_open(void *driver, const char *key, uint64_t offset, uint64_t length, Error *err)
{
    S3Reader *r = MEM_NEW(S3Reader);
    *r = (S3Reader){.st = driver, .key = mem_strdup(key), .at = offset,
                    .end = length ? offset + length : 0};
    if ((!r->st->as_of || s3_version_then(r->st, key, &r->version, err)) && open_stream(r, err))
        return r;
    s3_reader_close(r);
    return NULL;
}

bool s3_reader_read(void *state, void *data, size_t len, size_t *got, Error *err)
{
    S3Reader *r = state;
    Retry retry = {0};
    bool transient;
    *got = 0;
    while (!r->done) {
        if (r->stream && http_stream_read(r->stream, data, len, got, &transient, err)) {
            if (*got == 0)
                return finish(r, err);
            r->at += *got;
            if (r->digest)
                EVP_DigestUpdate(r->digest, data, *got);
            return true;
        }
        /* All that was wanted may have come before the connection broke. */
        if (r->total && r->at >= r->total)
            return finish(r, err);
        if (r->stream) {
            error_prefix(err, "repository %s: %s", r->st->name, r->key);
            if (!retry.begun) /* not before: the stall that ended this took its time */
                retry_begin(&retry, &r->st->retry_log, r->st->io_timeout, r->st->deadline);
            if (!transient || !r->etag[0] || !retry_pause(&retry, 0, err))
                return false;
        }
        if (!open_stream(r, err))
            return false;
    }
    return true;
}

/* --- head -------------------------------------------------------------------------------------- */

static void describe(const HttpResponse *http, const char *key, StorageObject *object)
{
    char text[256];
    const char *slash;
    *object = (StorageObject){.key = key};
    if (http_header(http, "content-range", text, sizeof(text)) && (slash = strchr(text, '/')))
        object->size = strtoull(slash + 1, NULL, 10);
    else if (http_header(http, "content-length", text, sizeof(text)))
        object->size = strtoull(text, NULL, 10);
    if (http_header(http, "last-modified", text, sizeof(text)))
        http_parse_date(text, &object->modified);
    object->cold = http_header(http, "x-amz-storage-class", text, sizeof(text)) &&
                   s3_is_cold(text) &&
                   !(http_header(http, "x-amz-restore", text, sizeof(text)) &&
                     strstr(text, "ongoing-request=\"false\""));
    object->cold |= http_header(http, "x-amz-archive-status", text, sizeof(text));
}

/* The answer to a failed HEAD has no body that would say why: a GET of one byte has. */
static bool head_by_get(S3Store *st, const char *key, const char *version, StorageObject *object,
                        Error *err)
{
    S3Answer answer;
    S3Request r = s3_request(st, "GET", key);
    if (version)
        s3_param(&r, "versionId", version);
    s3_header(&r, "range: bytes=0-0");
    r.accept = s3_has_etag;
    bool ok = s3_send(st, &r, &answer, err) || answer.http.status == 416;
    if (ok)
        describe(&answer.http, key, object);
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

bool s3_head(void *driver, const char *key, StorageObject *object, Error *err)
{
    S3Store *st = driver;
    S3Answer answer;
    Buf version = BUF_INIT;
    if (st->as_of && !s3_version_then(st, key, &version, err)) {
        buf_free(&version);
        return false;
    }
    S3Request r = s3_request(st, "HEAD", key);
    r.accept = s3_has_etag;
    if (version.len)
        s3_param(&r, "versionId", version.data);
    bool ok = s3_send(st, &r, &answer, err);
    int status = answer.http.status;
    if (ok)
        describe(&answer.http, key, object);
    s3_answer_free(&answer);
    s3_request_free(&r);
    if (!ok && status >= 400 && status < 500)
        ok = head_by_get(st, key, version.data, object, err);
    buf_free(&version);
    return ok || missing_or_denied(st, key, err);
}
