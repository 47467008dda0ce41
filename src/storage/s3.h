/*
 * s3.h: the parts of the S3 driver among themselves; no other file includes it.
 *
 *     s3.c            the driver: opening, URL and options, the small operations
 *     s3_request.c    one request: address, signature, attempts, what an error means
 *     s3_put.c        puts, multipart among them
 *     s3_condition.c  whether If-None-Match holds here, and what is done where it does not
 *     s3_read.c       reading, resumed where it broke off
 *     s3_list.c       listings, of now and of an earlier moment
 *     s3_check.c      what `check` looks at; cold objects
 *
 * Source: Amazon S3 API reference, version 2006-03-01; what other servers do differently is said
 * where it matters. A store is used by any number of threads; what changes is behind its lock.
 */
#ifndef PITR_STORAGE_S3_H
#define PITR_STORAGE_S3_H

#include <pthread.h>

#include "storage/aws_credentials.h"
#include "storage/aws_sign.h"
#include "storage/http.h"
#include "storage/retry.h"
#include "storage/s3_xml.h"
#include "storage/storage_driver.h"

#define S3_PROBE_KEY  ".pitr-probe" /* what s3_condition() puts */
#define S3_MAX_ANSWER (16u << 20) /* a page of a listing is below 3 MiB */
#define S3_PAGE       "1000"

/* Whether a kind of write honours If-None-Match: * */
typedef enum S3Condition { CONDITION_UNKNOWN, CONDITION_HOLDS, CONDITION_IGNORED } S3Condition;

typedef struct S3Store {
    char *name;   /* for messages */
    char *bucket;
    char *prefix; /* "" or ends in '/' */
    char *scheme; /* "https" */
    char *host;   /* of the endpoint: "host[:port]"; NULL: AWS */
    bool path_style;
    char *storage_class, *kms_key, *tags; /* tags as the header wants them */
    Buf environment; /* see storage_environment() */
    StorageSse sse;
    StorageChecksum checksum;
    bool unsigned_payload, requester_pays;
    int64_t io_timeout;
    size_t part_size;
    int max_parts;
    Instant as_of;
    Instant deadline;
    HttpClient *http;
    AwsCredentials *credentials;
    RetryLog retry_log;

    pthread_mutex_t lock; /* of what follows */
    char region[64];
    int64_t clock_offset; /* the server's clock less ours, where it minds */
    S3Condition put_condition, multipart_condition;
    pthread_mutex_t probing;
} S3Store;

#define S3_MAX_HEADERS 14
#define S3_MAX_PARAMS  8

struct S3Answer;

typedef struct S3Request {
    const char *method;
    const char *key; /* of the bucket, prefix included; NULL: the bucket itself */
    AwsParam params[S3_MAX_PARAMS];
    size_t param_count;
    char *headers[S3_MAX_HEADERS]; /* "name: value", owned; names in lower case */
    size_t header_count;
    const void *body;
    size_t body_len;
    char body_hash[65]; /* hexadecimal SHA-256 of the body; "": computed when it is signed */
    bool slow, fresh;   /* HttpRequest's patient and fresh */
    int64_t patience;   /* instead of io-timeout; 0: that */
    /* Looks at a 2xx whose body was read (NULL: any will do): what a proxy or cache made of it is
     * no answer, and passes like one of their own errors. False with the reason. */
    bool (*accept)(void *ctx, const struct S3Answer *answer, Error *err);
    void *accept_ctx;
} S3Request;

/* How a request ended. */
typedef struct S3Answer {
    HttpResponse http; /* the last answer; to be freed with s3_answer_free() in every case */
    S3Error error;     /* what an error's body said */
    int attempts;      /* before the last one */
} S3Answer;

/* A request for the object `key` of the repository (NULL: the bucket); free with
 * s3_request_free(). Header lines are formatted as printf does. */
S3Request s3_request(const S3Store *st, const char *method, const char *key);
void s3_request_free(S3Request *r);
void s3_param(S3Request *r, const char *name, const char *value);
void s3_header(S3Request *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Sends it, as often as needed, until the answer is a success; its body is in answer->http.body.
 * Else fills `err`: ERR_NO for a key that is not there, ERR_REPO for everything else. */
bool s3_send(S3Store *st, const S3Request *r, S3Answer *answer, Error *err);

/* The same with a successful answer's body left to be read from the stream. */
HttpStream *s3_send_stream(S3Store *st, const S3Request *r, S3Answer *answer, Error *err);
void s3_answer_free(S3Answer *answer);

/* True for a path with an empty part, "." or "..": none of a repository's keys is such. */
bool s3_is_odd(const char *path);

/* A region becomes a part of a host's name. */
bool s3_is_region(const char *text);

/* True if the store refused a write because its condition does not hold. */
bool s3_refused(const S3Answer *answer);

/* For S3Request.accept: whoever answers for an object without an ETag is not the store. */
bool s3_has_etag(void *ctx, const S3Answer *answer, Error *err);

/* Headers that a new object gets: class, encryption, tags; and the checksum of `len` bytes, whose
 * SHA-256 (computed unless given) is also left in r->body_hash. */
void s3_object_headers(const S3Store *st, S3Request *r);
void s3_checksum_headers(const S3Store *st, S3Request *r, const void *data, size_t len,
                         const char *given);

/* Content-MD5 of r->body: what every server accepts where one checksum is required. */
void s3_body_md5(S3Request *r);

/* s3_condition.c. The condition that puts (or multipart uploads) may rely on. */
bool s3_condition(S3Store *st, bool multipart, S3Condition *out, Error *err);

/* The same, tried now whatever is remembered. */
bool s3_probe(S3Store *st, bool multipart, S3Condition *out, Error *err);

/* For servers that ignore conditions: is there an object? Where neither reading nor listing is
 * permitted, *exists is false. */
bool s3_look(S3Store *st, const char *key, bool *exists, Error *err);

/* s3_put.c */
void *s3_put_begin(void *driver, const char *key, uint64_t expected, Error *err);
bool s3_put_write(void *put, const void *data, size_t len, Error *err);
bool s3_put_finish(void *put, bool *existed, Error *err);
void s3_put_abort(void *put);
bool s3_put_whole(void *driver, const char *key, const void *data, size_t len, const char *sha256,
                  bool *existed, Error *err);

/* One PUT without a look at what is there; `conditional`: with If-None-Match: *, and *existed tells
 * a 412. */
bool s3_put_object(S3Store *st, const char *key, const void *data, size_t len, const char *sha256,
                   bool conditional, bool *existed, Error *err);

/* One multipart upload of a single part, for the probe. */
bool s3_put_multipart(S3Store *st, const char *key, const void *data, size_t len, bool conditional,
                      bool *existed, Error *err);

/* s3_read.c */
void *s3_reader_open(void *driver, const char *key, uint64_t offset, uint64_t length, Error *err);
bool s3_reader_read(void *reader, void *data, size_t len, size_t *got, Error *err);
void s3_reader_close(void *reader);
bool s3_head(void *driver, const char *key, StorageObject *object, Error *err);

/* s3_list.c */
bool s3_list(void *driver, const char *prefix, const char *after, StorageListCallback callback,
             void *ctx, Error *err);
bool s3_list_names(void *driver, const char *prefix, StorageNameCallback callback, void *ctx,
                   Error *err);

/* Is `key` in a listing? */
bool s3_listed(S3Store *st, const char *key, bool *found, Error *err);

/* The version of `key` that was the current one at st->as_of, appended; ERR_NO if there was none. */
bool s3_version_then(S3Store *st, const char *key, Buf *version, Error *err);

/* s3_check.c */
bool s3_check(void *driver, StorageCheckCallback callback, void *ctx, Error *err);
bool s3_thaw(void *driver, const char *key, const char *tier, int days, bool *ready, Error *err);

#endif
