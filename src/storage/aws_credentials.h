/*
 * aws_credentials.h: where the access keys come from, and when they are fetched anew.
 *
 * In the order of AWS's tools: a credentials-file of our own configuration; environment
 * (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN); web identity from the environment
 * (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME); the profile (option, else
 * AWS_PROFILE, AWS_DEFAULT_PROFILE, else "default") in the shared credentials and config files
 * (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE, else ~/.aws/…): web_identity_token_file with
 * role_arn, keys, credential_process; the container endpoint (AWS_CONTAINER_CREDENTIALS_…); the
 * instance metadata service, version 2 (unless AWS_EC2_METADATA_DISABLED=true). The first source
 * that is configured is the one: if it fails, that is an error, not a reason to go on. A profile
 * that was chosen by option goes before the environment, as --profile does with the AWS CLI. A
 * profile with role_arn but no token file, or with a sign-in (SSO) and nothing else, is refused.
 *
 * Keys that expire are fetched anew 5 minutes before, by one thread while the others wait or still
 * use the old ones; token files are read each time. A source that fails while the present keys are
 * still valid is a warning, at most once a minute. Keys that are past their time when they arrive
 * are used all the same, with a warning: this host's clock may be wrong, and the metadata service
 * hands out old keys on purpose when it has no new ones. The server will say. Thread-safe.
 *
 * Never in a log line, an error text, an environment of a child or a command line of ours: any key
 * or token. Memory that held a secret is wiped before it is freed.
 */
#ifndef PITR_STORAGE_AWS_CREDENTIALS_H
#define PITR_STORAGE_AWS_CREDENTIALS_H

#include "base/clock.h"
#include "base/error.h"

typedef struct AwsCredentials AwsCredentials;

typedef struct AwsCredentialOptions {
    const char *repo_name;        /* for messages */
    const char *profile;          /* NULL: AWS_PROFILE, else "default" */
    const char *credentials_file; /* NULL: none. AWS's INI form, the section [default] or that of
                                     `profile`; mode 0600 or stricter */
    const char *region;       /* for the STS endpoint; NULL: from the environment, else global */
    const char *ca_file;      /* for STS over a private CA; NULL: the system's */
    const char *sts_endpoint; /* NULL: AWS_ENDPOINT_URL_STS, else sts.<region>.amazonaws.com */
} AwsCredentialOptions;

typedef struct AwsKeys {
    char *access_key, *secret_key;
    char *session_token; /* NULL: none */
    Instant expires;     /* 0: never */
} AwsKeys;

/* Copies the options; reads nothing yet. */
AwsCredentials *aws_credentials_new(const AwsCredentialOptions *options);
void aws_credentials_free(AwsCredentials *credentials);

/* A copy of the keys to sign with now; the caller frees it with aws_keys_free(). ERR_USAGE where
 * nothing is configured or a file or mode is wrong, ERR_REPO where a service can't be reached or
 * refuses; both with a hint. */
bool aws_credentials_get(AwsCredentials *credentials, AwsKeys *out, Error *err);

/* The server says that `rejected` have expired (ExpiredToken, InvalidToken): if they are still the
 * present ones, the next get fetches new ones. */
void aws_credentials_expire(AwsCredentials *credentials, const AwsKeys *rejected);

void aws_keys_free(AwsKeys *keys);

/* The domain of a region's partition: "amazonaws.com" but for China and closed ones. */
const char *aws_domain(const char *region);

/* What the profile's `region` says (environment AWS_REGION, AWS_DEFAULT_REGION before it), or NULL;
 * the caller frees. */
char *aws_configured_region(const char *profile);

#endif
