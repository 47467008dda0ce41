/*
 * s3_put.c: storing objects.
 *
 * What is in memory goes up in one PUT. What comes in pieces is collected into a part; if it ends
 * before a second part is begun it is one PUT as well, else a multipart upload whose parts are sent
 * by a few threads while the next one fills. The digest of a body is computed once: it is the
 * signature's payload hash and the checksum header.
 *
 * Parts have one size if the caller knew about how much would come; else they double at each eighth
 * of the part numbers, so that 16 MiB parts reach 4.8 TiB; an object has at most 5.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "storage/s3.h"
#include "stream/digest.h"

#define PARTS_AT_ONCE  4
#define ABORT_PATIENCE (5 * CLOCK_SECOND)

/* --- headers ----------------------------------------------------------------------------------- */

void s3_object_headers(const S3Store *st, S3Request *r)
{
    if (st->storage_class)
        s3_header(r, "x-amz-storage-class: %s", st->storage_class);
    if (st->sse != SSE_NONE)
        s3_header(r, "x-amz-server-side-encryption: %s", st->sse == SSE_KMS ? "aws:kms" : "AES256");
    if (st->kms_key)
        s3_header(r, "x-amz-server-side-encryption-aws-kms-key-id: %s", st->kms_key);
    if (st->tags)
        s3_header(r, "x-amz-tagging: %s", st->tags);
}

static void base64(char *out, const uint8_t *data, int len)
{
    EVP_EncodeBlock((unsigned char *)out, data, len);
}

void s3_body_md5(S3Request *r)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[64];
    if (!EVP_Digest(r->body, r->body_len, digest, &len, EVP_md5(), NULL))
        return; /* a system that forbids MD5: the server will say so if it insists */
    base64(text, digest, (int)len);
    s3_header(r, "content-md5: %s", text);
}

/* The digest's text is what the signature wants, its bytes are what the checksum header encodes. */
static void digest_bytes(const char *hex, uint8_t digest[SHA256_BYTES])
{
    for (int i = 0; i < SHA256_BYTES; i++)
        sscanf(hex + 2 * i, "%2hhx", &digest[i]);
}

void s3_checksum_headers(const S3Store *st, S3Request *r, const void *data, size_t len,
                         const char *given)
{
    uint8_t digest[SHA256_BYTES];
    char text[64];
    r->body = data;
    r->body_len = len;
    if (given) {
        snprintf(r->body_hash, sizeof(r->body_hash), "%s", given);
    } else if (st->checksum == CHECKSUM_SHA256 || !st->unsigned_payload) {
        sha256(data, len, digest);
        sha256_hex(digest, r->body_hash);
    }
    if (st->checksum == CHECKSUM_SHA256) {
        digest_bytes(r->body_hash, digest);
        base64(text, digest, SHA256_BYTES);
        s3_header(r, "x-amz-checksum-sha256: %s", text);
        /* Without this one Ceph stores the value unchecked. */
        s3_header(r, "x-amz-sdk-checksum-algorithm: SHA256");
    } else if (st->checksum == CHECKSUM_MD5) {
        s3_body_md5(r);
    }
}

/* --- one PUT ----------------------------------------------------------------------------------- */

bool s3_put_object(S3Store *st, const char *key, const void *data, size_t len, const char *sha256,
                   bool conditional, bool *existed, Error *err)
{
    S3Answer answer;
    S3Request r = s3_request(st, "PUT", key);
    s3_object_headers(st, &r);
    s3_checksum_headers(st, &r, data, len, sha256);
    if (r.body_hash[0])
        s3_header(&r, "x-amz-meta-sha256: %s", r.body_hash);
    if (conditional)
        s3_header(&r, "if-none-match: *");
    r.accept = s3_has_etag;
    *existed = false;
    bool ok = s3_send(st, &r, &answer, err);
    if (!ok && conditional && s3_refused(&answer))
        ok = *existed = true;
    if (!ok && err->code == ERR_NO) /* nothing can be absent where something is put */
        err->code = ERR_REPO;
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

/* How a write must be made here; *existed if it must not be. */
static bool condition_for(S3Store *st, const char *key, bool multipart, bool *conditional,
                          bool *existed, Error *err)
{
    S3Condition condition;
    *existed = false;
    if (!s3_condition(st, multipart, &condition, err))
        return false;
    *conditional = condition == CONDITION_HOLDS;
    return *conditional || s3_look(st, key, existed, err);
}

bool s3_put_whole(void *driver, const char *key, const void *data, size_t len, const char *sha256,
                  bool *existed, Error *err)
{
    bool conditional;
    if (!condition_for(driver, key, false, &conditional, existed, err))
        return false;
    return *existed || s3_put_object(driver, key, data, len, sha256, conditional, existed, err);
}

/* --- multipart --------------------------------------------------------------------------------- */

typedef struct Upload {
    S3Store *st;
    char *key;
    Buf id;
    pthread_mutex_t lock;
    struct Done {
        char etag[128];
        char checksum[64];
    } *parts; /* by number - 1; under the lock */
    size_t count;
    bool unseen;   /* completed, but nobody knows by which attempt */
    bool finished; /* or perhaps so: an abort could destroy the object on some servers */
} Upload;

static bool take_id(void *ctx, const S3Answer *answer, Error *err)
{
    return s3_xml_upload_id(answer->http.body.data, answer->http.body.len, ctx, err);
}

static bool upload_begin(Upload *u, S3Store *st, const char *key, Error *err)
{
    S3Answer answer;
    S3Request r = s3_request(st, "POST", key);
    s3_param(&r, "uploads", "");
    s3_object_headers(st, &r);
    if (st->checksum == CHECKSUM_SHA256)
        s3_header(&r, "x-amz-checksum-algorithm: SHA256");
    *u = (Upload){.st = st, .key = mem_strdup(key)};
    pthread_mutex_init(&u->lock, NULL);
    r.accept = take_id;
    r.accept_ctx = &u->id;
    bool ok = s3_send(st, &r, &answer, err);
    if (!ok && err->code == ERR_NO)
        err->code = ERR_REPO;
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

static void upload_free(Upload *u)
{
    if (u->key)
        pthread_mutex_destroy(&u->lock);
    free(u->key);
    buf_free(&u->id);
    free(u->parts);
}

static S3Request upload_request(const Upload *u, const char *method)
{
    S3Request r = s3_request(u->st, method, u->key);
    s3_param(&r, "uploadId", u->id.data);
    return r;
}

/* `number` counts from 1; its entry in u->parts must be there. */
static bool upload_part(Upload *u, int number, const void *data, size_t len, Error *err)
{
    char text[16];
    S3Answer answer;
    struct Done done = {0};
    S3Request r = upload_request(u, "PUT");
    snprintf(text, sizeof(text), "%d", number);
    s3_param(&r, "partNumber", text);
    s3_checksum_headers(u->st, &r, data, len, NULL);
    r.accept = s3_has_etag;
    bool ok = s3_send(u->st, &r, &answer, err);
    if (ok)
        http_header(&answer.http, "etag", done.etag, sizeof(done.etag));
    if (!ok && err->code == ERR_NO)
        err->code = ERR_REPO;
    for (size_t i = 0; i < r.header_count; i++)
        sscanf(r.headers[i], "x-amz-checksum-sha256: %63s", done.checksum);
    pthread_mutex_lock(&u->lock);
    u->parts[number - 1] = done;
    pthread_mutex_unlock(&u->lock);
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

static void complete_body(const Upload *u, Buf *xml)
{
    buf_puts(xml, "<CompleteMultipartUpload>");
    for (size_t i = 0; i < u->count; i++) {
        buf_printf(xml, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        s3_xml_escape(xml, u->parts[i].etag);
        buf_puts(xml, "</ETag>");
        if (u->parts[i].checksum[0])
            buf_printf(xml, "<ChecksumSHA256>%s</ChecksumSHA256>", u->parts[i].checksum);
        buf_puts(xml, "</Part>");
    }
    buf_puts(xml, "</CompleteMultipartUpload>");
}

/* "No such upload" where one had been: an attempt whose answer was lost has done it, unless somebody
 * aborted it. An object that is there may be this one. */
static bool completed_unseen(Upload *u, bool *existed, Error *err)
{
    StorageObject object;
    Error why;
    u->unseen = true;
    *existed = s3_head(u->st, u->key, &object, &why);
    if (*existed)
        return true;
    if (!why.denied)
        return false;
    error_set(err, ERR_REPO, "repository %s: %s: the answer to the end of the upload was lost, and "
              "these credentials may not look whether the object is there", u->st->name, u->key);
    return error_hint(err, "run it again; with s3:GetObject this would have been settled");
}

static bool is_complete(void *ctx, const S3Answer *answer, Error *err)
{
    S3Error error;
    (void)ctx;
    return s3_xml_complete(answer->http.body.data, answer->http.body.len, &error, err);
}

static bool upload_complete(Upload *u, bool conditional, bool *existed, Error *err)
{
    Buf xml = BUF_INIT;
    S3Answer answer;
    S3Request r = upload_request(u, "POST");
    complete_body(u, &xml);
    s3_header(&r, "content-type: application/xml");
    if (conditional)
        s3_header(&r, "if-none-match: *");
    r.body = xml.data;
    r.body_len = xml.len;
    r.slow = true;  /* joining thousands of parts takes minutes */
    r.fresh = true; /* libcurl itself must not send it twice: the first answer decides */
    r.accept = is_complete;
    *existed = false;
    bool ok = s3_send(u->st, &r, &answer, err);
    u->finished = ok || answer.attempts > 0 || !answer.error.code[0];
    if (!ok && conditional && s3_refused(&answer))
        ok = *existed = true;
    else if (!ok && strcmp(answer.error.code, "NoSuchUpload") == 0)
        ok = completed_unseen(u, existed, err);
    if (!ok && err->code == ERR_NO)
        err->code = ERR_REPO;
    s3_answer_free(&answer);
    s3_request_free(&r);
    buf_free(&xml);
    return ok;
}

/* What stays behind when this fails is removed by a lifecycle rule (docs/s3.md). */
static void upload_abort(Upload *u)
{
    if (u->finished)
        return;
    S3Answer answer;
    Error err;
    S3Request r = upload_request(u, "DELETE");
    r.patience = ABORT_PATIENCE;
    interrupt_ignore(true); /* a signal may be the reason */
    if (!s3_send(u->st, &r, &answer, &err) && err.code != ERR_NO)
        log_debug("an unfinished upload of %s stays behind: %s", u->key, err.message);
    interrupt_ignore(false);
    s3_answer_free(&answer);
    s3_request_free(&r);
}

static void room_for_part(Upload *u)
{
    pthread_mutex_lock(&u->lock);
    u->parts = mem_resize(u->parts, u->count + 1, sizeof(u->parts[0]));
    memset(&u->parts[u->count++], 0, sizeof(u->parts[0]));
    pthread_mutex_unlock(&u->lock);
}

bool s3_put_multipart(S3Store *st, const char *key, const void *data, size_t len, bool conditional,
                      bool *existed, Error *err)
{
    Upload u;
    bool ok = upload_begin(&u, st, key, err);
    if (ok) {
        room_for_part(&u);
        ok = upload_part(&u, 1, data, len, err) && upload_complete(&u, conditional, existed, err);
        if (!ok || *existed)
            upload_abort(&u);
        *existed = *existed && !u.unseen; /* only a 412 proves something */
    }
    upload_free(&u);
    return ok;
}

/* --- puts in pieces ---------------------------------------------------------------------------- */

typedef struct PartJob {
    int number;
    Buf data;
} PartJob;

typedef struct S3Put {
    S3Store *st;
    char *key;
    uint64_t expected;
    Buf part; /* being filled */
    Upload upload;
    bool multipart; /* upload has begun */
    bool conditional, existed;
    Pool *pool;
} S3Put;

static size_t part_size(const S3Put *put)
{
    const S3Store *st = put->st;
    size_t stage = put->upload.count / ((size_t)st->max_parts / 8 + 1);
    if (!put->expected)
        return st->part_size << stage;
    /* A tenth more than expected must fit, too. */
    uint64_t least = (put->expected + put->expected / 10) / (uint64_t)st->max_parts + 1;
    return least > st->part_size ? (size_t)least : st->part_size;
}

void *s3_put_begin(void *driver, const char *key, uint64_t expected, Error *err)
{
    (void)err;
    S3Put *put = MEM_NEW(S3Put);
    *put = (S3Put){.st = driver, .key = mem_strdup(key), .expected = expected};
    return put;
}

static void drop_part(void *ctx, void *arg)
{
    (void)ctx;
    PartJob *job = arg;
    buf_free(&job->data);
    free(job);
}

static bool run_part(void *ctx, void *arg, Error *err)
{
    S3Put *put = ctx;
    PartJob *job = arg;
    bool ok = upload_part(&put->upload, job->number, job->data.data, job->data.len, err);
    drop_part(NULL, job);
    return ok;
}

static bool begin_multipart(S3Put *put, Error *err)
{
    if (!condition_for(put->st, put->key, true, &put->conditional, &put->existed, err))
        return false;
    if (put->existed)
        return true;
    if (!upload_begin(&put->upload, put->st, put->key, err)) {
        upload_free(&put->upload);
        return false;
    }
    put->multipart = true;
    put->pool = pool_new(PARTS_AT_ONCE, PARTS_AT_ONCE, run_part, drop_part, put, err);
    return put->pool != NULL;
}

/* Hands the filled part over to the threads. */
static bool send_part(S3Put *put, Error *err)
{
    if (put->existed) { /* nothing that comes is wanted any more */
        buf_clear(&put->part);
        return true;
    }
    if (!put->multipart && !begin_multipart(put, err))
        return false;
    if (put->existed)
        return send_part(put, err);
    if (put->upload.count >= (size_t)put->st->max_parts) {
        error_set(err, ERR_REPO, "repository %s: %s needs more than %d parts", put->st->name,
                  put->key, put->st->max_parts);
        return error_hint(err, "set a larger part-size");
    }
    room_for_part(&put->upload);
    PartJob *job = MEM_NEW(PartJob);
    job->number = (int)put->upload.count;
    job->data = put->part;
    put->part = (Buf)BUF_INIT;
    return pool_submit(put->pool, job, err);
}

bool s3_put_write(void *state, const void *data, size_t len, Error *err)
{
    S3Put *put = state;
    const char *p = data;
    while (len > 0) {
        size_t size = part_size(put);
        if (put->part.len >= size && !send_part(put, err))
            return false;
        size_t room = size - put->part.len, n = len < room ? len : room;
        if (!put->existed)
            buf_append(&put->part, p, n);
        p += n;
        len -= n;
    }
    return interrupt_check(err);
}

static void free_put(S3Put *put)
{
    pool_cancel(put->pool);
    if (put->multipart)
        upload_free(&put->upload);
    buf_free(&put->part);
    free(put->key);
    free(put);
}

static bool finish_multipart(S3Put *put, bool *existed, Error *err)
{
    bool ok = put->part.len == 0 || send_part(put, err);
    if (ok) {
        Pool *pool = put->pool;
        put->pool = NULL;
        ok = pool_finish(pool, err);
    }
    ok = ok && upload_complete(&put->upload, put->conditional, existed, err);
    if (ok && !*existed)
        return true;
    pool_cancel(put->pool);
    put->pool = NULL;
    upload_abort(&put->upload);
    return ok;
}

bool s3_put_finish(void *state, bool *existed, Error *err)
{
    S3Put *put = state;
    bool ok = true;
    if (put->existed)
        *existed = true;
    else if (put->multipart)
        ok = finish_multipart(put, existed, err);
    else
        ok = s3_put_whole(put->st, put->key, put->part.data ? put->part.data : "", put->part.len,
                          NULL, existed, err);
    free_put(put);
    return ok;
}

void s3_put_abort(void *state)
{
    S3Put *put = state;
    pool_cancel(put->pool);
    put->pool = NULL;
    if (put->multipart)
        upload_abort(&put->upload);
    free_put(put);
}
