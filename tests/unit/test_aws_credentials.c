/* storage/aws_credentials.h: the order of the sources, and keys that expire */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "fake_aws.h"

#define MINUTE (60 * CLOCK_SECOND)

static AwsCredentials *open_default(void)
{
    AwsCredentialOptions options = {.repo_name = "main"};
    return aws_credentials_new(&options);
}

/* A get with these options gives the keys called `name`. */
static void gives(const AwsCredentialOptions *options, const char *name)
{
    Error err;
    AwsKeys keys;
    AwsCredentials *c = aws_credentials_new(options);
    must(aws_credentials_get(c, &keys, &err), &err);
    expect_keys(&keys, name);
    aws_keys_free(&keys);
    aws_credentials_free(c);
}

static void fails(const AwsCredentialOptions *options, ErrorCode code, const char *part)
{
    Error err = {0};
    AwsKeys keys = {0};
    AwsCredentials *c = aws_credentials_new(options);
    assert_false(aws_credentials_get(c, &keys, &err));
    expect_error(&err, code, part);
    assert_int_equal(strncmp(err.message, "repository main: ", 17), 0);
    aws_credentials_free(c);
}

/* Keys called `name`, as settings of a profile. */
static char *ini(Scratch *s, const char *section, const char *name)
{
    return scratch_keep(s, mem_printf("[%s]\naws_access_key_id = " AWS_SECRET_MARK "ID%s\n"
                                      "aws_secret_access_key = " AWS_SECRET_MARK "KEY%s\n"
                                      "aws_session_token = " AWS_SECRET_MARK "TOKEN%s\n",
                                      section, name, name, name));
}

static char *sts_answer(Scratch *s, const char *name)
{
    return scratch_keep(
        s, mem_printf("<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"
                      "<Credentials><AccessKeyId>" AWS_SECRET_MARK "ID%s</AccessKeyId>"
                      "<SecretAccessKey>" AWS_SECRET_MARK
                      "KEY%s</SecretAccessKey><SessionToken>" AWS_SECRET_MARK
                      "TOKEN%s</SessionToken></Credentials>"
                      "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
                      name, name, name));
}

/* --- order -------------------------------------------------------------------------------- */

/* Everything is configured; one source after the other is taken away. */
static void test_order(void **state)
{
    Scratch *s = *state;
    AwsCredentialOptions options = {.repo_name = "main", .sts_endpoint = aws->url};
    AwsCredentialOptions with_file = options, with_profile = options;
    with_file.credentials_file = scratch_path(s, "own");
    with_profile.profile = "chosen";
    scratch_text(with_file.credentials_file, ini(s, "default", "own"));
    chmod(with_file.credentials_file, 0600);
    setenv("AWS_ACCESS_KEY_ID", AWS_SECRET_MARK "IDenv", 1);
    setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET_MARK "KEYenv", 1);
    setenv("AWS_SESSION_TOKEN", AWS_SECRET_MARK "TOKENenv", 1);
    scratch_text(scratch_path(s, "token"), AWS_SECRET_MARK);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", scratch_path(s, "token"), 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    fake_rule("POST", "/", FAKE_FOR_EVER, 200, sts_answer(s, "sts"));
    char *files = scratch_keep(
        s, mem_printf("%s%s", ini(s, "default", "profile"), ini(s, "chosen", "chosen")));
    scratch_text(scratch_path(s, ".aws/credentials"), files);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", scratch_keep(s, mem_printf("%s/c", aws->url)), 1);
    fake_rule("GET", "/c", FAKE_FOR_EVER, 200, fake_json(s, "container", NULL));
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws->url, 1);
    fake_rule("PUT", "/latest", FAKE_FOR_EVER, 200, AWS_SECRET_MARK);
    fake_rule("GET", "/latest/meta-data/iam/security-credentials/ ", FAKE_FOR_EVER, 200, "r");
    fake_rule("GET", "/latest", FAKE_FOR_EVER, 200, fake_json(s, "imds", NULL));

    gives(&with_file, "own");
    gives(&with_profile, "chosen"); /* chosen by option: before the environment, as with the CLI */
    gives(&options, "env");
    setenv("AWS_PROFILE", "chosen", 1);
    gives(&options, "env"); /* chosen by environment: behind the keys there */
    unsetenv("AWS_ACCESS_KEY_ID");
    setenv("AWS_SECRET_ACCESS_KEY", "", 1);
    gives(&options, "sts");
    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    gives(&options, "chosen");
    unsetenv("AWS_PROFILE");
    gives(&options, "profile");
    scratch_text(scratch_path(s, ".aws/credentials"), "[default]\nregion = x\n");
    gives(&options, "container");
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    gives(&options, "imds");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    fails(&options, ERR_USAGE, "no AWS keys are configured");
}

/* A source that is configured and fails is an error, not a reason to go on. */
static void test_no_going_on(void **state)
{
    Scratch *s = *state;
    AwsCredentialOptions options = {.repo_name = "main", .sts_endpoint = aws->url};
    AwsCredentialOptions with_file = options, with_profile = options;
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws->url, 1);
    fake_rule("PUT", "/latest", FAKE_FOR_EVER, 200, AWS_SECRET_MARK);
    fake_rule("GET", "/latest/meta-data/iam/security-credentials/ ", FAKE_FOR_EVER, 200, "r");
    fake_rule("GET", "/latest", FAKE_FOR_EVER, 200, fake_json(s, "imds", NULL));
    gives(&options, "imds");

    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/none", 1);
    fails(&options, ERR_REPO, "answered status 404");
    setenv("AWS_PROFILE", "missing", 1);
    fails(&options, ERR_USAGE, "there is no profile missing");
    setenv("AWS_PROFILE", "p", 1);
    scratch_text(scratch_path(s, ".aws/config"), "[profile p]\ncredential_process = false\n"
                                                 "[profile q]\naws_access_key_id = x\n"
                                                 "[profile w]\nweb_identity_token_file = /x\n");
    fails(&options, ERR_REPO, "credential_process of profile p: the command failed");
    setenv("AWS_PROFILE", "q", 1);
    fails(&options, ERR_USAGE, "profile q: the secret key is missing");
    setenv("AWS_PROFILE", "w", 1);
    fails(&options, ERR_USAGE, "profile w names a web identity token but no role");
    scratch_text(scratch_path(s, ".aws/config"), "garbage\n");
    fails(&options, ERR_USAGE, "config:1: ");
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", scratch_path(s, "none"), 1);
    fails(&options, ERR_USAGE, "names a web identity token but no role");
    setenv("AWS_ROLE_ARN", "arn", 1);
    fails(&options, ERR_USAGE, "can't open the web identity token");
    setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET_MARK, 1);
    fails(&options, ERR_USAGE, "the environment: the access key is missing");
    setenv("AWS_ACCESS_KEY_ID", AWS_SECRET_MARK, 1);
    unsetenv("AWS_SECRET_ACCESS_KEY");
    fails(&options, ERR_USAGE, "the environment: the secret key is missing");
    setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET_MARK "\n", 1);
    fails(&options, ERR_USAGE, "the environment: the secret key has a character");
    with_profile.profile = "missing";
    scratch_text(scratch_path(s, ".aws/config"), "[profile x]\n");
    fails(&with_profile, ERR_USAGE, "there is no profile missing");
    with_file.credentials_file = scratch_path(s, "none");
    fails(&with_file, ERR_USAGE, "can't open credentials-file");
}

/* --- profiles ----------------------------------------------------------------------------- */

static void profile_is(Scratch *s, const char *settings)
{
    char *text = scratch_keep(s, mem_printf("[profile p]\n%s", settings));
    scratch_text(scratch_path(s, ".aws/config"), text);
}

static void test_profile_sources(void **state)
{
    Scratch *s = *state;
    AwsCredentialOptions options = {.repo_name = "main", .profile = "p", .sts_endpoint = aws->url};
    fake_rule("POST", "/", FAKE_FOR_EVER, 200, sts_answer(s, "sts"));
    scratch_text(scratch_path(s, "t"), AWS_SECRET_MARK);
    scratch_text(scratch_path(s, "json"),
                 "{\"Version\":1,\"AccessKeyId\":\"" AWS_SECRET_MARK "IDproc\","
                 "\"SecretAccessKey\":\"" AWS_SECRET_MARK "KEYproc\"}");
    char *process =
        scratch_keep(s, mem_printf("credential_process = cat '%s'\n", scratch_path(s, "json")));
    char *keys = strchr(ini(s, "p", "keys"), '\n') + 1;
    static const char identity[] = "web_identity_token_file = ~/t\nrole_arn = arn:x\n"
                                   "role_session_name = n@m\n";
    profile_is(s, process);
    gives(&options, "proc");
    profile_is(s, scratch_keep(s, mem_printf("%s%ssso_session = s\n", process, keys)));
    gives(&options, "keys");
    profile_is(s,
               scratch_keep(s, mem_printf("%s%s%ssource_profile = z\n", process, keys, identity)));
    gives(&options, "sts");
    assert_non_null(strstr(aws->requests[0].body, "RoleArn=arn%3Ax&RoleSessionName=n%40m&"));

    /* What only AWS's own tools can do. */
    static const char *const not_ours[] = {
        "role_arn = arn:x\nsource_profile = z\n",
        "role_arn = arn:x\ncredential_source = Environment\n",
        "sso_session = s\nsso_account_id = 1\n",
        "sso_start_url = https://x/\n",
        "login_session = arn:x\n",
    };
    for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++) {
        profile_is(s, not_ours[i]);
        fails(&options, ERR_USAGE,
              "credential_process = aws configure export-credentials --profile p --format process");
    }
    /* Keys beside a role are another identity. */
    profile_is(s, scratch_keep(s, mem_printf("%srole_arn = arn:x\nsource_profile = z\n", keys)));
    fails(&options, ERR_USAGE, "a role (role_arn)");
}

static void test_sts_address(void **state)
{
    Scratch *s = *state;
    AwsCredentialOptions options = {.repo_name = "main"};
    scratch_text(scratch_path(s, "t"), AWS_SECRET_MARK);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", scratch_path(s, "t"), 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    fake_rule("POST", "/", FAKE_FOR_EVER, 200, sts_answer(s, "sts"));
    setenv("AWS_ENDPOINT_URL_STS", aws->url, 1);
    gives(&options, "sts");
    /* Where it would go otherwise: seen by what a proxy is asked for. */
    unsetenv("AWS_ENDPOINT_URL_STS");
    setenv("https_proxy", aws->url, 1);
    static const char *const cases[][3] = {
        {NULL, "CONNECT sts.amazonaws.com:443 "},
        {"eu-west-3", "CONNECT sts.eu-west-3.amazonaws.com:443 "},
        {"cn-north-1", "CONNECT sts.cn-north-1.amazonaws.com.cn:443 "},
        {"us-gov-east-1", "CONNECT sts.us-gov-east-1.amazonaws.com:443 "},
        {"aws-global", "CONNECT sts.amazonaws.com:443 "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        options.region = cases[i][0];
        fails(&options, ERR_REPO, "STS: sts.");
        assert_true(fake_count(cases[i][1]) > 0);
        fake_reset();
    }
    options.region = NULL;
    setenv("AWS_REGION", "eu-north-1", 1);
    fails(&options, ERR_REPO, "sts.eu-north-1.amazonaws.com");
}

/* --- our own file ------------------------------------------------------------------------- */

static void test_credentials_file(void **state)
{
    Scratch *s = *state;
    char *path = scratch_path(s, "own");
    AwsCredentialOptions options = {.repo_name = "main", .credentials_file = path};
    char *text = scratch_keep(s, mem_printf("%s%s", ini(s, "default", "a"), ini(s, "b", "b")));
    scratch_text(path, text);
    static const mode_t good[] = {0600, 0400, 0700}, bad[] = {0640, 0604, 0620, 0601, 0644, 0660};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        chmod(path, good[i]);
        gives(&options, "a");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        chmod(path, bad[i]);
        fails(&options, ERR_USAGE, "can be read or written by others");
        fails(&options, ERR_USAGE, "chmod 600 ");
    }
    chmod(path, 0600);
    options.profile = "b";
    gives(&options, "b");
    options.profile = "c";
    fails(&options, ERR_USAGE, "no keys in a section [c]");
    options.profile = NULL;
    setenv("AWS_PROFILE", "b", 1); /* concerns AWS's files */
    gives(&options, "a");

    /* A link is followed, its target looked at. */
    options.credentials_file = scratch_path(s, "link");
    assert_int_equal(symlink("own", options.credentials_file), 0);
    gives(&options, "a");
    chmod(path, 0644);
    fails(&options, ERR_USAGE, "can be read or written by others");
    options.credentials_file = s->dir;
    fails(&options, ERR_USAGE, "is not a regular file");
    options.credentials_file = scratch_path(s, "fifo");
    assert_int_equal(mkfifo(options.credentials_file, 0600), 0);
    fails(&options, ERR_USAGE, "is not a regular file");
    options.credentials_file = path;
    scratch_text(path, "[default]\naws_secret_access_key " AWS_SECRET_MARK "\n");
    chmod(path, 0600);
    fails(&options, ERR_USAGE, "own:2: neither a section");
    if (geteuid() == 0 && chown(path, 1, 0) == 0)
        fails(&options, ERR_USAGE, "belongs to another user");
    if (geteuid() != 0) {
        chmod(path, 0);
        fails(&options, ERR_USAGE, "must be able to read it");
    }
}

/* --- keys that expire --------------------------------------------------------------------- */

static _Atomic(Instant) now_is;

static Instant test_clock(void)
{
    return now_is;
}

#define START INT64_C(1795233600000000) /* 2026-11-21T04:00:00Z */
#define END   "2026-11-21T05:00:00Z"

/* Keys come from a container endpoint, so that each fetch is one request. */
static AwsCredentials *temporary(Scratch *s)
{
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", scratch_keep(s, mem_printf("%s/c", aws->url)), 1);
    AwsCredentials *c = open_default();
    now_is = START;
    aws_credentials_set_clock(c, test_clock);
    return c;
}

static void expect_get(AwsCredentials *c, const char *name, size_t fetches)
{
    Error err;
    AwsKeys keys;
    must(aws_credentials_get(c, &keys, &err), &err);
    expect_keys(&keys, name);
    aws_keys_free(&keys);
    assert_int_equal(fake_count("GET"), fetches);
}

static void test_renewed_in_time(void **state)
{
    Scratch *s = *state;
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", 1, 200, fake_json(s, "1", END));
    fake_rule("GET", "/c", 1, 200, fake_json(s, "2", "2026-11-21T06:00:00Z"));
    expect_get(c, "1", 1);
    now_is = START + 55 * MINUTE - 1;
    expect_get(c, "1", 1);
    now_is = START + 55 * MINUTE;
    expect_get(c, "2", 2);
    expect_get(c, "2", 2);
    aws_credentials_free(c);
}

static void test_a_failing_renewal(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", 1, 200, fake_json(s, "1", END));
    fake_rule("GET", "/c", FAKE_FOR_EVER, 403, "{\"message\": \"" AWS_SECRET_MARK "\"}");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", AWS_SECRET_MARK, 1);
    expect_get(c, "1", 1);
    scratch_catch(s);
    now_is = START + 56 * MINUTE;
    expect_get(c, "1", 2);
    expect_get(c, "1", 2); /* not each time */
    now_is = START + 57 * MINUTE - 1;
    expect_get(c, "1", 2);
    now_is = START + 57 * MINUTE;
    expect_get(c, "1", 3);
    now_is = START + 60 * MINUTE - 1;
    expect_get(c, "1", 4);
    char *said = said_on_stderr(s);
    size_t lines = 0;
    for (char *p = said;
         (p = strstr(p, "answered status 403; the present AWS keys are good until " END)) != NULL;
         p++)
        lines++;
    assert_int_equal(lines, 3);
    now_is = START + 60 * MINUTE;
    assert_false(aws_credentials_get(c, &keys, &err));
    expect_error(&err, ERR_REPO, "answered status 403");
    /* Back again. */
    fake_reset();
    fake_rule("GET", "/c", 1, 200, fake_json(s, "2", "2026-11-21T07:00:00Z"));
    expect_get(c, "2", 1);
    aws_credentials_free(c);
}

/* The metadata service may give the same keys until shortly before their end. */
static void test_short_lives(void **state)
{
    Scratch *s = *state;
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", FAKE_FOR_EVER, 200, fake_json(s, "1", "2026-11-21T04:04:00Z"));
    expect_get(c, "1", 1);
    expect_get(c, "1", 1);
    now_is = START + MINUTE;
    expect_get(c, "1", 2);
    now_is = START + 4 * MINUTE - 10 * CLOCK_SECOND;
    expect_get(c, "1", 3);
    expect_get(c, "1", 3);
    now_is += 5 * CLOCK_SECOND;
    expect_get(c, "1", 4);
    expect_get(c, "1", 4);
    aws_credentials_free(c);
}

/* Past their time when they come: this host's clock may be wrong. */
static void test_expired_on_arrival(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", 2, 200, fake_json(s, "1", "2026-11-21T03:00:00Z"));
    fake_rule("GET", "/c", FAKE_FOR_EVER, 400, "");
    scratch_catch(s);
    expect_get(c, "1", 1);
    expect_get(c, "1", 1);
    now_is = START + MINUTE;
    expect_get(c, "1", 2);
    char *said = said_on_stderr(s);
    assert_non_null(strstr(said, "had expired at 2026-11-21T03:00:00Z by this host's clock"));
    now_is = START + 2 * MINUTE;
    assert_false(aws_credentials_get(c, &keys, &err));
    expect_error(&err, ERR_REPO, "answered status 400");
    aws_credentials_free(c);
}

static void test_expire(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys first, keys;
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", 1, 200, fake_json(s, "1", END));
    fake_rule("GET", "/c", 1, 200, fake_json(s, "2", END));
    must(aws_credentials_get(c, &first, &err), &err);
    aws_credentials_expire(c, &first);
    expect_get(c, "2", 2);
    aws_credentials_expire(c, &first); /* not the present ones any more */
    expect_get(c, "2", 2);
    /* Rejected keys are not an alternative to a source that fails. */
    must(aws_credentials_get(c, &keys, &err), &err);
    aws_credentials_expire(c, &keys);
    aws_keys_free(&keys);
    assert_false(aws_credentials_get(c, &keys, &err));
    expect_error(&err, ERR_REPO, "answered status 404");
    aws_keys_free(&first);
    aws_credentials_free(c);
}

/* A file that somebody rewrites: read again when the server rejects the keys, and only then. */
static void test_expire_reads_files_again(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    AwsCredentials *c = open_default();
    scratch_text(scratch_path(s, ".aws/credentials"), ini(s, "default", "1"));
    must(aws_credentials_get(c, &keys, &err), &err);
    scratch_text(scratch_path(s, ".aws/credentials"), ini(s, "default", "2"));
    expect_get(c, "1", 0);
    aws_credentials_expire(c, &keys);
    expect_get(c, "2", 0);
    aws_keys_free(&keys);
    aws_credentials_free(c);
}

/* --- threads ------------------------------------------------------------------------------ */

typedef struct Getter {
    AwsCredentials *c;
    pthread_t thread;
    bool ok;
    Error err;
    AwsKeys keys;
    int64_t took;
} Getter;

static void *get_once(void *arg)
{
    Getter *g = arg;
    Instant begun = clock_now();
    g->ok = aws_credentials_get(g->c, &g->keys, &g->err);
    g->took = clock_now() - begun;
    return NULL;
}

static void at_once(AwsCredentials *c, Getter *getters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        getters[i] = (Getter){.c = c};
        assert_int_equal(pthread_create(&getters[i].thread, NULL, get_once, &getters[i]), 0);
    }
}

static void slowly(void)
{
    usleep(300000);
}

static void test_one_thread_fetches(void **state)
{
    Scratch *s = *state;
    Getter getters[8];
    AwsCredentials *c = temporary(s);
    fake_rule("GET", "/c", 1, 200, fake_json(s, "1", END))->before = slowly;
    at_once(c, getters, 8);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(getters[i].thread, NULL);
        must(getters[i].ok, &getters[i].err);
        expect_keys(&getters[i].keys, "1");
        aws_keys_free(&getters[i].keys);
    }
    assert_int_equal(fake_count("GET"), 1);

    /* While one renews, the others go on with the old keys, at once. */
    now_is = START + 56 * MINUTE;
    fake_rule("GET", "/c", 1, 200, fake_json(s, "2", "2026-11-21T06:00:00Z"))->before = slowly;
    at_once(c, getters, 8);
    int old = 0;
    for (size_t i = 0; i < 8; i++) {
        pthread_join(getters[i].thread, NULL);
        must(getters[i].ok, &getters[i].err);
        bool is_old = strstr(getters[i].keys.access_key, "ID1") != NULL;
        old += is_old;
        assert_true(!is_old || getters[i].took < 150000);
        aws_keys_free(&getters[i].keys);
    }
    assert_int_equal(old, 7);
    assert_int_equal(fake_count("GET"), 2);

    /* A failure is told to all that waited for it; none of them asks again. */
    now_is = START + 130 * MINUTE;
    fake_rule("GET", "/c", 1, 403, "")->before = slowly;
    at_once(c, getters, 8);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(getters[i].thread, NULL);
        assert_false(getters[i].ok);
        expect_error(&getters[i].err, ERR_REPO, "answered status 403");
    }
    assert_int_equal(fake_count("GET"), 3);
    aws_credentials_free(c);
}

static void *churn(void *arg)
{
    Getter *g = arg;
    for (int i = 0; i < 50; i++) {
        AwsKeys keys = {0};
        Error err;
        if (!aws_credentials_get(g->c, &keys, &err))
            return NULL;
        if (i % 7 == 0)
            aws_credentials_expire(g->c, &keys);
        now_is += CLOCK_SECOND;
        aws_keys_free(&keys);
    }
    g->ok = true;
    return NULL;
}

/* Gets, rejections and a running clock mixed: for the sanitizers. */
static void test_churn(void **state)
{
    Scratch *s = *state;
    Getter getters[8];
    scratch_text(scratch_path(s, ".aws/credentials"), ini(s, "default", "1"));
    AwsCredentials *c = open_default();
    now_is = START;
    aws_credentials_set_clock(c, test_clock);
    for (size_t i = 0; i < 8; i++) {
        getters[i] = (Getter){.c = c};
        assert_int_equal(pthread_create(&getters[i].thread, NULL, churn, &getters[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(getters[i].thread, NULL);
        assert_true(getters[i].ok);
    }
    aws_credentials_free(c);
    aws_credentials_free(NULL);
}

/* At the most talkative level, through every source. */
static void test_log_is_silent_about_secrets(void **state)
{
    LogLevel level = log_level();
    Scratch *s = *state;
    scratch_catch(s);
    log_set_level(LOG_LEVEL_DEBUG);
    test_order(state);
    log_set_level(level);
    char *said = said_on_stderr(s);
    assert_non_null(strstr(said, "repository main: fetching AWS keys"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AWS_TEST(test_order),
        AWS_TEST(test_no_going_on),
        AWS_TEST(test_profile_sources),
        AWS_TEST(test_sts_address),
        AWS_TEST(test_credentials_file),
        AWS_TEST(test_renewed_in_time),
        AWS_TEST(test_a_failing_renewal),
        AWS_TEST(test_short_lives),
        AWS_TEST(test_expired_on_arrival),
        AWS_TEST(test_expire),
        AWS_TEST(test_expire_reads_files_again),
        AWS_TEST(test_one_thread_fetches),
        AWS_TEST(test_churn),
        AWS_TEST(test_log_is_silent_about_secrets),
        cmocka_unit_test(test_nothing_secret_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
