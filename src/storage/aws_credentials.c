#include "storage/aws_credentials.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "storage/aws_process.h"
#include "storage/aws_profile.h"
#include "storage/aws_remote.h"

#define EARLY  (5 * 60 * CLOCK_SECOND) /* keys are renewed so long before they expire */
#define MINUTE (60 * CLOCK_SECOND)

struct AwsCredentials {
    char *repo_name, *profile, *credentials_file, *region, *ca_file, *sts_endpoint;
    Instant (*now)(void);
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t fetched;
    bool fetching; /* one thread is at it, without the lock */
    unsigned rounds;
    bool failed; /* the last round, with `failure` */
    Error failure;
    bool have;
    AwsKeys keys;
    Instant valid_until, renew_at; /* INT64_MAX: for ever */
};

AwsCredentials *aws_credentials_new(const AwsCredentialOptions *options)
{
    AwsCredentials *c = MEM_NEW(AwsCredentials);
    c->repo_name = mem_strdup(options->repo_name);
    c->profile = options->profile && *options->profile ? mem_strdup(options->profile) : NULL;
    c->credentials_file = mem_strdup(options->credentials_file);
    c->region = mem_strdup(options->region);
    c->ca_file = mem_strdup(options->ca_file);
    c->sts_endpoint = mem_strdup(options->sts_endpoint);
    c->now = clock_now;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->fetched, NULL);
    return c;
}

void aws_credentials_free(AwsCredentials *c)
{
    if (!c)
        return;
    aws_keys_free(&c->keys);
    pthread_cond_destroy(&c->fetched);
    pthread_mutex_destroy(&c->lock);
    free(c->repo_name);
    free(c->profile);
    free(c->credentials_file);
    free(c->region);
    free(c->ca_file);
    free(c->sts_endpoint);
    free(c);
}

void aws_credentials_set_clock(AwsCredentials *c, Instant (*now)(void))
{
    c->now = now;
}

/* --- sources ------------------------------------------------------------------------------ */

static bool from_environment(AwsKeys *out, Error *err)
{
    AwsKeys keys = {.access_key = mem_strdup(aws_getenv("AWS_ACCESS_KEY_ID")),
                    .secret_key = mem_strdup(aws_getenv("AWS_SECRET_ACCESS_KEY")),
                    .session_token = mem_strdup(aws_getenv("AWS_SESSION_TOKEN"))};
    if (aws_keys_check(&keys, "the environment", err)) {
        *out = keys;
        return true;
    }
    error_hint(err, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together, with "
                    "AWS_SESSION_TOKEN for temporary keys");
    aws_keys_free(&keys);
    return false;
}

static bool web_identity(const AwsCredentials *c, const char *token_file, const char *role_arn,
                         const char *session_name, const char *region, const char *where,
                         AwsKeys *out, Error *err)
{
    if (!role_arn) {
        error_set(err, ERR_USAGE, "%s names a web identity token but no role", where);
        return error_hint(err, "set AWS_ROLE_ARN, or role_arn in the profile");
    }
    char *path = aws_expand_home(token_file);
    AwsWebIdentity identity = {.token_file = path,
                               .role_arn = role_arn,
                               .session_name = session_name,
                               .region = region,
                               .ca_file = c->ca_file,
                               .endpoint = c->sts_endpoint};
    if (!identity.endpoint)
        identity.endpoint = aws_getenv("AWS_ENDPOINT_URL_STS");
    bool ok = aws_web_identity_keys(&identity, out, err);
    free(path);
    return ok;
}

static bool web_identity_from_environment(const AwsCredentials *c, AwsKeys *out, Error *err)
{
    char *region = c->region ? mem_strdup(c->region) : aws_configured_region(c->profile);
    bool ok =
        web_identity(c, aws_getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), aws_getenv("AWS_ROLE_ARN"),
                     aws_getenv("AWS_ROLE_SESSION_NAME"), region, "the environment", out, err);
    free(region);
    return ok;
}

static bool unsupported(const char *name, const char *what, Error *err)
{
    error_set(err, ERR_USAGE, "profile %s gets its keys by %s, which pitr can't do itself", name,
              what);
    return error_hint(err,
                      "let AWS's own tool do it: in a profile of another name write "
                      "credential_process = aws configure export-credentials --profile %s "
                      "--format process, and set `profile` to that one",
                      name);
}

static bool profile_web_identity(const AwsCredentials *c, const AwsProfile *p, const char *where,
                                 AwsKeys *out, Error *err)
{
    const char *region = c->region ? c->region : aws_getenv("AWS_REGION");
    if (!region)
        region = aws_getenv("AWS_DEFAULT_REGION");
    return web_identity(c, p->web_identity_token_file, p->role_arn, p->role_session_name,
                        region ? region : p->region, where, out, err);
}

/* Keys out of a profile; *nothing: it has no source of keys at all. */
static bool from_profile(const AwsCredentials *c, const AwsProfile *p, const char *name,
                         const char *where, AwsKeys *out, bool *nothing, Error *err)
{
    if (p->web_identity_token_file)
        return profile_web_identity(c, p, where, out, err);
    if (p->role_arn)
        return unsupported(name, "a role (role_arn)", err);
    if (p->access_key || p->secret_key) {
        AwsKeys keys = {.access_key = p->access_key,
                        .secret_key = p->secret_key,
                        .session_token = p->session_token};
        if (!aws_keys_check(&keys, where, err))
            return error_hint(err, "aws_access_key_id and aws_secret_access_key belong together, "
                                   "with aws_session_token for temporary keys");
        aws_keys_copy(out, &keys);
        return true;
    }
    if (p->credential_process) {
        char *what = mem_printf("credential_process of %s", where);
        bool ok = aws_process_keys(p->credential_process, what, AWS_PROCESS_TIMEOUT, out, err);
        free(what);
        return ok;
    }
    if (p->sign_in)
        return unsupported(name, "a sign-in (SSO)", err);
    *nothing = true;
    return false;
}

static bool from_credentials_file(const AwsCredentials *c, AwsKeys *out, Error *err)
{
    AwsProfile p = {0};
    const char *name = c->profile ? c->profile : "default";
    bool nothing = false;
    bool ok = aws_profile_read(&p, c->credentials_file, "credentials-file", AWS_FILE_PRIVATE,
                               AWS_CREDENTIALS_FILE, name, err);
    if (ok) {
        char *where = mem_printf("[%s] of %s", name, c->credentials_file);
        ok = from_profile(c, &p, name, where, out, &nothing, err);
        free(where);
    } else if (err->code == ERR_NO) {
        err->code = ERR_USAGE;
    }
    if (nothing) {
        error_set(err, ERR_USAGE, "credentials-file %s has no keys in a section [%s]",
                  c->credentials_file, name);
        error_hint(err,
                   "it looks like:  [%s]  aws_access_key_id = …  aws_secret_access_key = …  "
                   "(each on a line of its own)",
                   name);
    }
    aws_profile_free(&p);
    return ok;
}

/* The chain behind the environment. */
static bool from_shared_files(const AwsCredentials *c, AwsKeys *out, bool *nothing, Error *err)
{
    AwsProfile p = {0};
    const char *name = aws_profile_name(c->profile);
    char *where = mem_printf("profile %s", name);
    bool ok = aws_profile_load(&p, name, err);
    if (ok && !p.found && strcmp(name, "default") != 0) {
        ok = error_set(err, ERR_USAGE,
                       "there is no profile %s in AWS's credentials and "
                       "configuration files",
                       name);
        error_hint(err,
                   "looked for in ~/.aws of the user that runs pitr, or where "
                   "AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE say; in the config file "
                   "its section is called [profile %s]",
                   name);
    } else if (ok) {
        ok = from_profile(c, &p, name, where, out, nothing, err);
    }
    aws_profile_free(&p);
    free(where);
    return ok;
}

static bool from_surroundings(AwsKeys *out, Error *err)
{
    if (aws_container_configured())
        return aws_container_keys(out, err);
    if (aws_metadata_enabled())
        return aws_metadata_keys(out, err);
    error_set(err, ERR_USAGE, "no AWS keys are configured");
    return error_hint(err,
                      "AWS_EC2_METADATA_DISABLED is set, so the instance's role was not asked "
                      "for; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile "
                      "into ~/.aws/credentials of the user that runs pitr, or name a file by "
                      "credentials-file");
}

/* From the first source that is configured. */
static bool fetch(const AwsCredentials *c, AwsKeys *out, Error *err)
{
    bool nothing = false;
    log_debug("repository %s: fetching AWS keys", c->repo_name);
    if (c->credentials_file)
        return from_credentials_file(c, out, err);
    if (!c->profile && (aws_getenv("AWS_ACCESS_KEY_ID") || aws_getenv("AWS_SECRET_ACCESS_KEY")))
        return from_environment(out, err);
    if (!c->profile && aws_getenv("AWS_WEB_IDENTITY_TOKEN_FILE"))
        return web_identity_from_environment(c, out, err);
    return from_shared_files(c, out, &nothing, err) || (nothing && from_surroundings(out, err));
}

/* --- keeping them ------------------------------------------------------------------------- */

static void say_past(const AwsCredentials *c, const AwsKeys *keys)
{
    char then[CLOCK_TEXT];
    clock_format_utc(then, keys->expires);
    log_warn("repository %s: the AWS keys that came had expired at %s by this host's clock; using "
             "them all the same",
             c->repo_name, then);
}

/* Takes over new keys. Locked. */
static void keep(AwsCredentials *c, const AwsKeys *keys)
{
    Instant now = c->now();
    aws_keys_free(&c->keys);
    c->keys = *keys;
    c->have = true;
    c->valid_until = keys->expires ? keys->expires : INT64_MAX;
    c->renew_at = INT64_MAX;
    if (keys->expires && keys->expires <= now) {
        c->valid_until = c->renew_at = now + MINUTE;
        say_past(c, keys);
    } else if (keys->expires) {
        /* A source that gives the same keys until shortly before their end is not asked each time.
         */
        int64_t left = keys->expires - now;
        int64_t soon = left / 2 < MINUTE ? left / 2 : MINUTE;
        c->renew_at = left - EARLY > soon ? keys->expires - EARLY : now + soon;
    }
}

/* One round of fetching, without the lock meanwhile; the others see its outcome. */
static bool fetch_round(AwsCredentials *c)
{
    AwsKeys keys = {0};
    Error err = {0};
    c->fetching = true;
    pthread_mutex_unlock(&c->lock);
    bool ok = fetch(c, &keys, &err);
    if (!ok)
        error_prefix(&err, "repository %s", c->repo_name);
    pthread_mutex_lock(&c->lock);
    c->fetching = false;
    c->rounds++;
    c->failed = !ok;
    if (ok)
        keep(c, &keys);
    else
        c->failure = err;
    pthread_cond_broadcast(&c->fetched);
    return ok;
}

/* Waits for the round that another thread is at. */
static bool await_round(AwsCredentials *c)
{
    unsigned round = c->rounds;
    while (c->rounds == round)
        pthread_cond_wait(&c->fetched, &c->lock);
    return !c->failed;
}

static bool usable(const AwsCredentials *c)
{
    return c->have && c->now() < c->valid_until;
}

/* Has usable keys in the end. Locked, but not throughout. */
static bool ensure(AwsCredentials *c)
{
    bool ok = true;
    while (ok && !usable(c))
        ok = c->fetching ? await_round(c) : fetch_round(c);
    return ok;
}

static void renew(AwsCredentials *c)
{
    if (fetch_round(c) || c->failure.code == ERR_LOCKED)
        return;
    c->renew_at = c->now() + MINUTE;
    char until[CLOCK_TEXT];
    clock_format_utc(until, c->valid_until);
    log_warn("%s; the present AWS keys are good until %s", c->failure.message, until);
}

bool aws_credentials_get(AwsCredentials *c, AwsKeys *out, Error *err)
{
    pthread_mutex_lock(&c->lock);
    bool ok = ensure(c);
    if (ok && !c->fetching && c->now() >= c->renew_at) {
        renew(c);
        ok = ensure(c); /* they may have run out, or been rejected, meanwhile */
    }
    if (ok)
        aws_keys_copy(out, &c->keys);
    else
        *err = c->failure;
    pthread_mutex_unlock(&c->lock);
    return ok;
}

void aws_credentials_expire(AwsCredentials *c, const AwsKeys *rejected)
{
    pthread_mutex_lock(&c->lock);
    if (c->have && strcmp(c->keys.access_key, rejected->access_key) == 0 &&
        strcmp(c->keys.secret_key, rejected->secret_key) == 0 &&
        strcmp(c->keys.session_token ? c->keys.session_token : "",
               rejected->session_token ? rejected->session_token : "") == 0)
        c->have = false;
    pthread_mutex_unlock(&c->lock);
}
