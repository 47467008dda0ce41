/*
 * aws_remote.h: keys from services: STS for a web identity, the container endpoint, the instance
 * metadata service.
 *
 * Sources: AWS Security Token Service API reference, AssumeRoleWithWebIdentity; AWS SDKs and Tools
 * Reference Guide, "Container credential provider" and "IMDS credential provider"; Amazon EC2 user
 * guide, "Use the Instance Metadata Service to access instance metadata" (version 2 only: a
 * session token first).
 *
 * Each call makes up to three attempts, with short pauses, where the transport fails, the answer is
 * 5xx or 429 or can't be read; a refusal (4xx) ends it at once. Tokens go into a body or a header,
 * never into a URL; token files are read for each attempt. Errors: ERR_REPO where a service can't
 * be reached or refuses, ERR_USAGE where something is not configured rightly, ERR_LOCKED when a
 * signal came. Of an answer only its error code and message are quoted, and these only if they
 * don't repeat what was sent. Thread-safe; the environment is read in each call.
 */
#ifndef PITR_STORAGE_AWS_REMOTE_H
#define PITR_STORAGE_AWS_REMOTE_H

#include "storage/aws_private.h"
#include "storage/http.h"

typedef struct AwsWebIdentity {
    const char *token_file, *role_arn;
    const char *session_name; /* NULL: "pitr-" and the host's name */
    const char *region;       /* NULL: the global endpoint */
    const char *ca_file;      /* NULL: the system's */
    const char *endpoint;     /* NULL: AWS's for the region */
} AwsWebIdentity;

/* AssumeRoleWithWebIdentity by POST. */
bool aws_web_identity_keys(const AwsWebIdentity *identity, AwsKeys *out, Error *err);

/* Whether AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI is set. */
bool aws_container_configured(void);

/* ECS, EKS Pod Identity, Greengrass. */
bool aws_container_keys(AwsKeys *out, Error *err);

/* False if AWS_EC2_METADATA_DISABLED is true. */
bool aws_metadata_enabled(void);

/* ERR_USAGE also if nothing answers at the usual address and this doesn't look like an EC2
 * instance: most likely, nothing was configured at all. */
bool aws_metadata_keys(AwsKeys *out, Error *err);

/* --- what the three share ----------------------------------------------------------------- */

/* Calls `attempt` up to `most` times, as long as it fails with *again set. */
bool aws_attempts(bool (*attempt)(void *ctx, bool *again, Error *err), void *ctx, int most,
                  Error *err);

/* One exchange; `what`, without the host, begins the message. The answer is freed with
 * aws_answer_free(). */
bool aws_ask(HttpClient *client, const HttpRequest *request, const char *what, HttpResponse *answer,
             bool *again, Error *err);

/* Wipes the answer, too. */
void aws_answer_free(HttpResponse *answer);

/* The error for a status that is not 200, `where` (with the host) first: with code and message of
 * the service where there are any (NULL: none) and they don't contain 16 bytes in a row of `secret`
 * (NULL: nothing was sent). */
bool aws_refused(const char *where, int status, const char *code, const char *message,
                 const char *secret, bool *again, Error *err);

/* Whether keys may be asked for at `url`: https anywhere, http only on this host (loopback
 * addresses, "localhost") and at the addresses that AWS gives to container agents (169.254.170.2,
 * 169.254.170.23, fd00:ec2::23). *local: one of those, not to be reached through a proxy. False for
 * anything whose host could be read in two ways. */
bool aws_agent_url(const char *url, bool *local);

#endif
