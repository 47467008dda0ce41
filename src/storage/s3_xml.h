/*
 * s3_xml.h: what S3 servers answer in XML, read with expat, and what they are sent.
 *
 * Source: Amazon S3 API reference (ListObjectsV2, ListObjectVersions, CreateMultipartUpload,
 * CompleteMultipartUpload, DeleteObjects, GetBucketVersioning, GetBucketLifecycleConfiguration,
 * GetObjectLockConfiguration, "Error responses"). Namespaces are ignored, unknown elements skipped.
 * Refused as ERR_REPO ("the answer is no S3 answer: …"): no XML, a DOCTYPE, depth over 16, a text
 * over 16 KiB, another root element than the expected (for an <Error>, code and message are told).
 * Blanks before the document are allowed: AWS sends them while it works. Pure; any thread.
 */
#ifndef PITR_STORAGE_S3_XML_H
#define PITR_STORAGE_S3_XML_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

/* <Error>; absent parts are empty. Texts are cut to their room, control characters become '?'. */
typedef struct S3Error {
    char code[64];
    char message[512];
    char region[64];
    char endpoint[256];
    char request_id[96];
} S3Error;

/* True if `text` is an <Error> document, or the <ErrorResponse> of STS around one; false for
 * everything else, without an Error of ours: proxies and load balancers answer with HTML. */
bool s3_xml_error(const char *text, size_t len, S3Error *out);

/* One <Contents>, <Version> or <DeleteMarker>. Strings live during the callback. */
typedef struct S3Entry {
    const char *key;           /* decoded if the answer says EncodingType url */
    const char *version;       /* "" in plain listings */
    const char *storage_class; /* "" if not given */
    uint64_t size;
    Instant modified;
    bool is_latest;
    bool is_marker; /* a delete marker */
    bool restored;  /* RestoreStatus: a copy of a cold object can be read */
} S3Entry;

typedef struct S3List {
    /* `entry` for each object, `prefix` (decoded) for each CommonPrefixes; false ends the parse,
     * which then fails with the callback's error. Either may be NULL. Neither is called before the
     * whole answer has been found good. */
    bool (*entry)(void *ctx, const S3Entry *entry, Error *err);
    bool (*prefix)(void *ctx, const char *prefix, Error *err);
    void *ctx;
    const char *asked; /* the prefix that was asked for; NULL: not compared */
    /* Filled anew by each call; the two Bufs begin as BUF_INIT: */
    bool truncated;   /* then `next` is not empty */
    Buf next;         /* NextContinuationToken, or NextKeyMarker (decoded) */
    Buf next_version; /* NextVersionIdMarker */
} S3List;

/* <ListBucketResult> (of ListObjectsV2) or <ListVersionsResult>. The caller frees the two Bufs,
 * also after a failure. Besides what is no XML, a listing is refused that does not say whether it
 * is complete or where it goes on, or has an object without key, size (but for delete markers),
 * time or version (in ListVersionsResult), that is of another prefix than was asked for, or that has
 * fewer keys than its KeyCount: a gap in it would be taken for proof of absence. */
bool s3_xml_list(const char *text, size_t len, S3List *list, Error *err);

/* <InitiateMultipartUploadResult>: the UploadId, appended; it is never empty. */
bool s3_xml_upload_id(const char *text, size_t len, Buf *out, Error *err);

/* A 200 of CompleteMultipartUpload: true for <CompleteMultipartUploadResult>. An <Error> (AWS sends
 * some with status 200) fills *error and is false with error->code set; anything else is false with
 * error->code empty. `err` is filled in both. */
bool s3_xml_complete(const char *text, size_t len, S3Error *error, Error *err);

/* <DeleteResult>: calls `failed` for each <Error> in it. */
bool s3_xml_delete_result(const char *text, size_t len,
                          void (*failed)(void *ctx, const char *key, const S3Error *error),
                          void *ctx, Error *err);

/* <ListPartsResult>/<VersioningConfiguration>/<ObjectLockConfiguration>/<Tagging>…: the text of
 * the first element at `path` ("Status", "Rule/DefaultRetention/Mode") below the root, appended;
 * true with nothing appended if it is not there. A path of "" is the root's own text
 * (<LocationConstraint>). `root` is the root element's expected name. */
bool s3_xml_text(const char *text, size_t len, const char *root, const char *path, Buf *out,
                 Error *err);

/* One <Rule> of <LifecycleConfiguration>; numbers are days, 0 where the rule has none; dates and
 * "0 days" count as 1 day. Strings live during the callback. */
typedef struct S3LifecycleRule {
    const char *id;
    const char *prefix; /* from <Prefix>, <Filter><Prefix> or <Filter><And><Prefix>; "" for all */
    bool enabled;
    bool has_tag;
    bool has_tag_or_size; /* the filter also has tags or sizes: it may not concern all objects */
    int expire_days;      /* Expiration Days or Date */
    int noncurrent_days;
    int abort_days;      /* AbortIncompleteMultipartUpload */
    int transition_days; /* the earliest Transition to a cold class, else the earliest */
    const char *transition_class;
} S3LifecycleRule;

bool s3_xml_lifecycle(const char *text, size_t len,
                      void (*rule)(void *ctx, const S3LifecycleRule *rule), void *ctx, Error *err);

/* True for the storage classes that need a restore before they can be read. */
bool s3_is_cold(const char *storage_class);

/* Appends `text` with & < > " ' and control characters as "&#x26;" and so on. */
void s3_xml_escape(Buf *out, const char *text);

#endif
