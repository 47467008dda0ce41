/*
 * aws_profile.h: profiles in the INI files of AWS's tools.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files"; where it is
 * silent, what the AWS CLI does (Python's RawConfigParser). In the config file a profile is
 * [default] or [profile NAME], in the credentials file [NAME]; other sections are skipped. Names
 * of settings are case-insensitive; of several the last counts, as with the SDKs (the CLI refuses
 * such a file). A line that is indented deeper than the setting above it belongs to that one
 * (nested settings as "s3 =") and is skipped. Lines that begin with '#' or ';' are comments;
 * behind a blank these two end a value, but for credential_process. Lines may be of any length; a
 * file has at most 1 MiB.
 */
#ifndef PITR_STORAGE_AWS_PROFILE_H
#define PITR_STORAGE_AWS_PROFILE_H

#include "storage/aws_private.h"

typedef enum AwsFileKind { AWS_CREDENTIALS_FILE, AWS_CONFIG_FILE } AwsFileKind;

/* Absent settings are NULL. */
typedef struct AwsProfile {
    bool found;                                    /* a section of that name was there */
    char *access_key, *secret_key, *session_token; /* all three from one file */
    char *credential_process;
    char *web_identity_token_file, *role_arn, *role_session_name;
    char *sign_in; /* any setting that asks for a sign-in: sso_session, sso_start_url, login_session
                    */
    char *region;
} AwsProfile;

/* Reads the profile `name` out of a file's text into *profile, which is empty before. Nothing of
 * the text gets into an error but a line number. ERR_USAGE if it is no INI file. The caller frees
 * the profile also after a failure. */
bool aws_profile_parse(AwsProfile *profile, const char *text, size_t len, const char *path,
                       AwsFileKind kind, const char *name, Error *err);

/* The same from one file; ERR_NO if there is none. */
bool aws_profile_read(AwsProfile *profile, const char *path, const char *what, AwsFileUse use,
                      AwsFileKind kind, const char *name, Error *err);

/* From both shared files (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, else ~/.aws); what both
 * have is taken from the credentials file. Files that aren't there are empty ones. */
bool aws_profile_load(AwsProfile *profile, const char *name, Error *err);

void aws_profile_free(AwsProfile *profile);

/* `option`, else AWS_PROFILE, else AWS_DEFAULT_PROFILE, else "default". */
const char *aws_profile_name(const char *option);

/* The path of a shared file; the caller frees. NULL if there is no home directory. */
char *aws_profile_path(AwsFileKind kind);

/* The environment variable's value; NULL also if it is empty. */
const char *aws_getenv(const char *name);

/* `path` with a leading "~/" replaced; the caller frees. */
char *aws_expand_home(const char *path);

#endif
