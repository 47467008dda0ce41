/*
 * aws_sign.h: AWS Signature Version 4, the Authorization header form.
 *
 * Source: AWS, "Signature Version 4 signing process" and "Authenticating Requests: Using the
 * Authorization Header (AWS Signature Version 4)" in the Amazon S3 API reference. For S3 the path
 * is encoded once and not normalised. Any thread; aws_sign() remembers one derived key for each
 * thread, which is wiped when another takes its place and when the thread ends.
 */
#ifndef PITR_STORAGE_AWS_SIGN_H
#define PITR_STORAGE_AWS_SIGN_H

#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"

#define AWS_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define AWS_DATE_TEXT        17 /* "20130524T000000Z" with its zero */

/* Appends `text` percent-encoded as SigV4 wants it: everything but A-Z a-z 0-9 - . _ ~, and '/'
 * where `keep_slash` (paths); hexadecimal digits in upper case. */
void aws_uri_encode(Buf *out, const char *text, bool keep_slash);

/* Appends `text` percent-decoded ('+' stays); false, with a part of it appended, for a broken
 * escape, a decoded zero byte, or where the ceiling of `out` is passed. */
bool aws_uri_decode(Buf *out, const char *text);

/* One query parameter, not encoded. */
typedef struct AwsParam {
    const char *name;
    const char *value; /* NULL and "" are the same: "uploads=" */
} AwsParam;

/* Appends the canonical query string: encoded, sorted by encoded name, then value. Right for the
 * URL itself, too. */
void aws_canonical_query(Buf *out, const AwsParam *params, size_t count);

typedef struct AwsSignature {
    const char *method;
    const char *path;           /* encoded, begins with '/' */
    const char *query;          /* canonical; "" for none */
    const char *const *headers; /* every header to be signed but x-amz-date, "name: value", any
                                   order and case; "host: …" and "x-amz-content-sha256: …" among
                                   them, "x-amz-security-token: …" where there is one */
    size_t header_count;
    const char *payload_hash; /* hexadecimal SHA-256 of the body, or AWS_UNSIGNED_PAYLOAD */
    const char *region;
    const char *service; /* "s3" */
    const char *access_key, *secret_key;
    Instant when;
} AwsSignature;

/* "20130524T000000Z": the value of x-amz-date, which aws_sign() signs besides `headers`. */
void aws_date(char out[AWS_DATE_TEXT], Instant when);

/* Appends the value of the Authorization header. With `canonical` (may be NULL) the canonical
 * request is appended there, for tests: a session token is in it. The signing key is derived anew
 * when secret, day, region or service differ from the last call on this thread. Nothing secret gets
 * into `out`. */
void aws_sign(const AwsSignature *sig, Buf *out, Buf *canonical);

#endif
