/* s3_upload.h: an upload in parts, for the tests of it. Its identifier is "U+1". */
#ifndef PITR_TESTS_S3_UPLOAD_H
#define PITR_TESTS_S3_UPLOAD_H

#include "s3_try.h"

#define K        "/bucket/p/k"
#define CREATE   K "?uploads="
#define PART     K "?partNumber=*uploadId=U%2B1"
#define COMPLETE K "?uploadId=U%2B1"
#define CREATED                                                                                    \
    "<InitiateMultipartUploadResult><UploadId>U+1</UploadId></InitiateMultipartUploadResult>"
#define COMPLETED                                                                                  \
    "\n \n<CompleteMultipartUploadResult><ETag>&quot;x-2&quot;</ETag>"                             \
    "</CompleteMultipartUploadResult>"
#define NO_UPLOAD S3_ERROR("NoSuchUpload")

static char data[100000];

/* The ETag of a part, with its number, and with what XML must not have as it is. */
static inline void etag_of_part(const S3Seen *seen, Buf *headers)
{
    const char *number = strstr(seen->target, "partNumber=");
    buf_printf(headers, "ETag: \"<&%d>\"\r\n", number ? atoi(number + 11) : 0);
}

/* The parts are taken, in any order. */
static inline void parts_are_taken(void)
{
    S3Rule *r = reply("PUT", PART, 200, "", "");
    r->times = FOR_EVER;
    r->add = etag_of_part;
}

static inline void upload_works(void)
{
    conditions_hold();
    reply("POST", CREATE, 200, "", CREATED);
    parts_are_taken();
    reply("POST", COMPLETE, 200, "", COMPLETED);
}

/* Begins, writes `len` bytes in pieces, and finishes, or aborts where a write fails. */
static inline bool upload(Storage *st, uint64_t expected, size_t len, size_t piece, bool *existed,
                          Error *err)
{
    StoragePut *p = storage_put_begin(st, "k", expected, err);
    must(p != NULL, err);
    for (size_t at = 0; at < len; at += piece)
        if (!storage_put_write(p, data + at, len - at < piece ? len - at : piece, err)) {
            storage_put_abort(p);
            return false;
        }
    return storage_put_finish(p, existed, err);
}

static inline Storage *open_parts(Scratch *s, size_t part_size, int max_parts)
{
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)http_pattern(i);
    return open_s3(s, (StorageOptions){.part_size = part_size, .max_parts = max_parts});
}

/* The request of part `number`, NULL if it did not come. */
static inline const S3Seen *part(int number)
{
    char *target = mem_printf(K "?partNumber=%d&uploadId=U%%2B1", number);
    const S3Seen *found = NULL;
    for (size_t i = 0; i < fake->count; i++)
        if (strcmp(fake->seen[i].method, "PUT") == 0 && strcmp(fake->seen[i].target, target) == 0)
            found = &fake->seen[i];
    free(target);
    return found;
}

/* All parts in order are the data; the number of them. */
static inline int expect_parts(size_t len)
{
    size_t at = 0;
    int count = 0;
    for (const S3Seen *p; (p = part(count + 1)) != NULL; count++) {
        assert_true(at + p->body.len <= len);
        assert_memory_equal(p->body.data, data + at, p->body.len);
        at += p->body.len;
    }
    assert_int_equal(at, len);
    return count;
}

static inline size_t requests_of(const char *method, const char *target)
{
    size_t n = 0;
    for (size_t i = 0; i < fake->count; i++)
        n += strcmp(fake->seen[i].method, method) == 0 &&
             fnmatch(target, fake->seen[i].target, 0) == 0;
    return n;
}

#endif
