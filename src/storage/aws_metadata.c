/* aws_metadata.c: the instance metadata service of EC2, version 2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "storage/aws_profile.h"
#include "storage/aws_remote.h"

#define ATTEMPTS        3
#define CONNECT_TIMEOUT CLOCK_SECOND
#define ANSWER_TIMEOUT  (2 * CLOCK_SECOND)
#define TOKEN_PATH      "/latest/api/token"
#define SERVICE         "the instance metadata service"
#define ROLE_PATH       "/latest/meta-data/iam/security-credentials/"

typedef struct Metadata {
    HttpClient *client;
    const char *base; /* without a '/' at its end */
    char where[320];
    char *token_header;
    char role[129];
    AwsKeys *out;
    bool reached; /* it has answered something */
} Metadata;

bool aws_metadata_enabled(void)
{
    const char *disabled = aws_getenv("AWS_EC2_METADATA_DISABLED");
    return !disabled || strcasecmp(disabled, "true") != 0;
}

static bool ask(Metadata *m, const char *method, const char *path, const char *header,
                HttpResponse *answer, bool *again, Error *err)
{
    char *url = mem_printf("%s%s", m->base, path);
    HttpRequest request = {.method = method,
                           .url = url,
                           .headers = &header,
                           .header_count = 1,
                           .timeout = ANSWER_TIMEOUT};
    bool ok = aws_ask(m->client, &request, SERVICE, answer, again, err);
    m->reached |= ok;
    free(url);
    return ok;
}

/* Statuses: EC2 user guide, "Use the Instance Metadata Service", response codes. */
static bool refused(const Metadata *m, const char *step, int status, bool *again, Error *err)
{
    aws_refused(m->where, status, step, NULL, NULL, again, err);
    if (status == 403)
        error_hint(err, "the metadata service is switched off for this instance: aws ec2 "
                        "modify-instance-metadata-options --http-endpoint enabled");
    return false;
}

static bool token_step(Metadata *m, bool *again, Error *err)
{
    HttpResponse answer;
    if (!ask(m, "PUT", TOKEN_PATH, "X-aws-ec2-metadata-token-ttl-seconds: 21600", &answer, again,
             err))
        return false;
    const char *token = answer.body.data ? answer.body.data : "";
    size_t len = strlen(token);
    bool ok = answer.status == 200 && len > 0 && len == answer.body.len;
    for (size_t i = 0; ok && i < len; i++)
        ok = token[i] > ' ' && token[i] < 0x7f;
    if (ok) {
        m->token_header = mem_printf("X-aws-ec2-metadata-token: %s", token);
    } else if (answer.status != 200) {
        refused(m, "asked for a session token", answer.status, again, err);
    } else {
        *again = true;
        error_set(err, ERR_REPO, "%s: what came is no session token", m->where);
    }
    aws_answer_free(&answer);
    return ok;
}

/* The first line of what came; false if it is no name of a role. */
static bool take_role(Metadata *m, const Buf *body)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-";
    const char *text = body->data ? body->data : "";
    size_t len = strcspn(text, "\r\n");
    if (!len || len >= sizeof(m->role) || strspn(text, allowed) < len)
        return false;
    snprintf(m->role, sizeof(m->role), "%.*s", (int)len, text);
    return true;
}

static bool role_step(Metadata *m, bool *again, Error *err)
{
    HttpResponse answer;
    if (!ask(m, "GET", ROLE_PATH, m->token_header, &answer, again, err))
        return false;
    bool ok = answer.status == 200 && take_role(m, &answer.body);
    if (!ok && answer.status == 404) {
        error_set(err, ERR_USAGE, "%s: this instance has no role", m->where);
        error_hint(err, "attach an instance profile to it, or configure keys in another way");
    } else if (!ok && answer.status == 200) {
        *again = true;
        error_set(err, ERR_REPO, "%s: what came is no name of a role", m->where);
    } else if (!ok) {
        refused(m, "asked for the role", answer.status, again, err);
        *again |= answer.status == 401; /* the session token has become invalid */
    }
    aws_answer_free(&answer);
    return ok;
}

static bool keys_step(Metadata *m, bool *again, Error *err)
{
    HttpResponse answer;
    char *path = mem_printf("%s%s", ROLE_PATH, m->role);
    bool ok = ask(m, "GET", path, m->token_header, &answer, again, err);
    free(path);
    if (!ok)
        return false;
    if (answer.status != 200) {
        ok = refused(m, "asked for the keys", answer.status, again, err);
        /* 404: the role was replaced between the two questions. */
        *again |= answer.status == 401 || answer.status == 404;
    } else if (!aws_keys_from_json(m->out, answer.body.data, answer.body.len, AWS_JSON_SERVICE,
                                   m->where, err)) {
        ok = false;
        *again = true;
    }
    aws_answer_free(&answer);
    return ok;
}

static bool attempt(void *ctx, bool *again, Error *err)
{
    Metadata *m = ctx;
    bool ok = token_step(m, again, err) && role_step(m, again, err) && keys_step(m, again, err);
    aws_secret_free(m->token_header);
    m->token_header = NULL;
    return ok;
}

/* What the firmware says, as cloud-init and others look at it. */
static bool looks_like_ec2(void)
{
    static const char *const files[][2] = {{"/sys/class/dmi/id/sys_vendor", "Amazon EC2"},
                                           {"/sys/hypervisor/uuid", "ec2"}};
    bool found = false;
    for (size_t i = 0; i < 2 && !found; i++) {
        Buf text = BUF_INIT;
        Error ignored;
        found = aws_read_file(files[i][0], "", AWS_FILE_SHARED, 4096, &text, &ignored) &&
                strncmp(text.data, files[i][1], strlen(files[i][1])) == 0;
        buf_free(&text);
    }
    return found;
}

/* The base URL; the caller frees. *usual: the address that every instance has. */
static char *base_url(bool *usual, Error *err)
{
    const char *given = aws_getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = aws_getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    *usual = !given;
    if (given && (strchr(given, '@') || (strncasecmp(given, "http://", 7) != 0 &&
                                         strncasecmp(given, "https://", 8) != 0))) {
        error_set(err, ERR_USAGE, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no http:// address");
        return NULL;
    }
    if (given) {
        size_t len = strlen(given);
        while (len && given[len - 1] == '/')
            len--;
        return mem_strndup(given, len);
    }
    if (!mode || strcasecmp(mode, "IPv4") == 0)
        return mem_strdup("http://169.254.169.254");
    if (strcasecmp(mode, "IPv6") == 0)
        return mem_strdup("http://[fd00:ec2::254]");
    error_set(err, ERR_USAGE, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6");
    return NULL;
}

/* Makes of a failure what a person can act on. */
static bool explain(const Metadata *m, bool instance, Error *err)
{
    if (instance && m->reached)
        return false;
    if (instance)
        return error_hint(err,
                          "inside a container the instance's hop limit must be 2 or more: aws "
                          "ec2 modify-instance-metadata-options --http-put-response-hop-limit 2");
    error_set(err, ERR_USAGE,
              "no AWS keys are configured, and this does not look like an EC2 instance: %s",
              err->message);
    return error_hint(err,
                      "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile into "
                      "~/.aws/credentials of the user that runs pitr (PostgreSQL's, for "
                      "archive_command), or name a file by credentials-file; in a container on "
                      "EC2 the metadata service needs a hop limit of 2");
}

bool aws_metadata_keys(AwsKeys *out, Error *err)
{
    bool usual, ok = false;
    char *base = base_url(&usual, err);
    if (!base)
        return false;
    bool instance = !usual || looks_like_ec2();
    HttpOptions options = {.connect_timeout = CONNECT_TIMEOUT, .no_proxy = true};
    Metadata m = {.client = http_client_new(&options, err), .base = base, .out = out};
    char host[256];
    http_host(base, host, sizeof(host));
    snprintf(m.where, sizeof(m.where), SERVICE " %s", host);
    if (m.client)
        ok = aws_attempts(attempt, &m, instance ? ATTEMPTS : 1, err);
    if (!ok && err->code == ERR_REPO)
        explain(&m, instance, err);
    http_client_free(m.client);
    free(base);
    return ok;
}
