/*
 * aws_private.h: what the sources of access keys share: secrets in memory, files with secrets, keys
 * in JSON.
 *
 * Whatever held a secret is wiped before it is freed, as far as it is our memory: libcurl, jansson
 * and expat keep copies for a moment in theirs. No function here puts a secret or a piece of an
 * answer into an error. Pure but for aws_read_file(); any thread.
 */
#ifndef PITR_STORAGE_AWS_PRIVATE_H
#define PITR_STORAGE_AWS_PRIVATE_H

#include "base/buf.h"
#include "storage/aws_credentials.h"

/* No file with keys or a token, and no answer with keys, is larger than this. */
#define AWS_FILE_MAX   (1u << 20)
#define AWS_ANSWER_MAX (64u << 10)
#define AWS_TOKEN_MAX  (64u << 10)

/* Wipes and frees; NULL is allowed. */
void aws_secret_free(char *text);
void aws_secret_buf_free(Buf *b);

void aws_keys_copy(AwsKeys *to, const AwsKeys *from);

/* False with ERR_USAGE if the access key or the secret is missing, or one of the three has a
 * character that can't stand in a header; `where` begins the message. */
bool aws_keys_check(const AwsKeys *keys, const char *where, Error *err);

typedef enum AwsFileUse {
    AWS_FILE_SHARED,  /* ~/.aws/…, token files: whoever may read it has decided its mode */
    AWS_FILE_PRIVATE, /* credentials-file: ours or root's, a regular file, closed to group and
                         others */
} AwsFileUse;

/* Appends a whole file to `out`, whose ceiling it sets to `max`. ERR_NO if there is no such file,
 * else ERR_USAGE; `what` names the file in messages. */
bool aws_read_file(const char *path, const char *what, AwsFileUse use, size_t max, Buf *out,
                   Error *err);

typedef enum AwsJsonForm {
    AWS_JSON_SERVICE, /* Code, AccessKeyId, SecretAccessKey, Token, Expiration */
    AWS_JSON_PROCESS, /* Version 1, AccessKeyId, SecretAccessKey, SessionToken, Expiration */
} AwsJsonForm;

/* Keys from JSON; token and expiry may be missing or null. The caller frees *out on success.
 * ERR_REPO with `where` before the message. */
bool aws_keys_from_json(AwsKeys *out, const char *text, size_t len, AwsJsonForm form,
                        const char *where, Error *err);

/* RFC 3339, section 5.6, with a zone; what is finer than microseconds is cut off. */
bool aws_parse_expiry(const char *text, Instant *out);

/* For tests: `now` takes the place of clock_now() for everything that concerns expiry. */
void aws_credentials_set_clock(AwsCredentials *credentials, Instant (*now)(void));

#endif
