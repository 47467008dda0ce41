/* aws_web_identity.c: AssumeRoleWithWebIdentity at STS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "storage/aws_remote.h"
#include "storage/aws_sign.h"
#include "storage/s3_xml.h"

#define ATTEMPTS 3
#define TIMEOUT  (20 * CLOCK_SECOND)
#define ANSWER   "AssumeRoleWithWebIdentityResponse"
#define KEYS     "AssumeRoleWithWebIdentityResult/Credentials/"

typedef struct Sts {
    const AwsWebIdentity *identity;
    HttpClient *client;
    char *url;
    char where[320];
    char session[65];
    AwsKeys *out;
} Sts;

static bool good_region(const char *region)
{
    size_t n = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n < 64 && !region[n];
}

static char *sts_url(const AwsWebIdentity *id, Error *err)
{
    const char *given = id->endpoint;
    if (given && (strchr(given, '@') || (strncasecmp(given, "https://", 8) != 0 &&
                                         strncasecmp(given, "http://", 7) != 0))) {
        error_set(err, ERR_USAGE, "the address of STS is no http:// or https:// URL");
        error_hint(err, "it comes from AWS_ENDPOINT_URL_STS");
        return NULL;
    }
    if (given)
        return mem_printf("%s%s", given, strchr(strstr(given, "://") + 3, '/') ? "" : "/");
    if (!id->region || strcmp(id->region, "aws-global") == 0)
        return mem_strdup("https://sts.amazonaws.com/");
    if (!good_region(id->region)) {
        error_set(err, ERR_USAGE, "\"%s\" is no region of AWS", id->region);
        return NULL;
    }
    return mem_printf("https://sts.%s.%s/", id->region, aws_domain(id->region));
}

/* Shown in CloudTrail; letters, digits and "+=,.@-_" only. */
static void session_name(char out[65], const char *given)
{
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    snprintf(out, 65, "%s%s", given ? given : "pitr-", given ? "" : host);
    for (char *p = out; *p && !given; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", *p))
            *p = '-';
}

static bool read_token(const char *path, Buf *token, Error *err)
{
    if (!aws_read_file(path, "the web identity token", AWS_FILE_SHARED, AWS_TOKEN_MAX, token,
                       err)) {
        err->code = ERR_USAGE;
        return false;
    }
    while (token->len && strchr(" \t\r\n", token->data[token->len - 1]))
        token->data[--token->len] = '\0';
    if (token->len && strlen(token->data) == token->len)
        return true;
    return error_set(err, ERR_USAGE, "the web identity token %s is empty or no text", path);
}

static void make_body(const Sts *sts, const char *token, Buf *body)
{
    buf_reserve(body, 1024 + 3 * (strlen(token) + strlen(sts->identity->role_arn)));
    buf_puts(body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    aws_uri_encode(body, sts->identity->role_arn, false);
    buf_puts(body, "&RoleSessionName=");
    aws_uri_encode(body, sts->session, false);
    buf_puts(body, "&WebIdentityToken=");
    aws_uri_encode(body, token, false);
}

/* --- the answer --------------------------------------------------------------------------- */

static bool xml_part(const Buf *body, const char *root, const char *path, char **out)
{
    Buf text = BUF_INIT;
    Error ignored;
    buf_reserve(&text, 4096);
    bool ok = body->data && s3_xml_text(body->data, body->len, root, path, &text, &ignored);
    *out = ok && text.len ? mem_strdup(text.data) : NULL;
    aws_secret_buf_free(&text);
    return ok;
}

static bool read_keys(const Sts *sts, const Buf *body, Error *err)
{
    AwsKeys keys = {0};
    char *expiry = NULL;
    bool ok = xml_part(body, ANSWER, KEYS "AccessKeyId", &keys.access_key) &&
              xml_part(body, ANSWER, KEYS "SecretAccessKey", &keys.secret_key) &&
              xml_part(body, ANSWER, KEYS "SessionToken", &keys.session_token) &&
              xml_part(body, ANSWER, KEYS "Expiration", &expiry);
    if (!ok)
        error_set(err, ERR_REPO, "%s: what came is no answer of STS", sts->where);
    else if (!(ok = aws_keys_check(&keys, sts->where, err)))
        err->code = ERR_REPO;
    else if (expiry && !(ok = aws_parse_expiry(expiry, &keys.expires)))
        error_set(err, ERR_REPO, "%s: the time of expiry can't be read", sts->where);
    free(expiry);
    if (ok)
        *sts->out = keys;
    else
        aws_keys_free(&keys);
    return ok;
}

static void refusal_hint(const Sts *sts, const char *code, Error *err)
{
    if (strcmp(code, "AccessDenied") == 0)
        error_hint(err,
                   "the trust policy of %s must allow sts:AssumeRoleWithWebIdentity to the "
                   "token's issuer, subject and audience",
                   sts->identity->role_arn);
    else if (strstr(code, "Token"))
        error_hint(err,
                   "the token in %s must be renewed by whoever writes it, and its issuer be "
                   "known to IAM as an identity provider",
                   sts->identity->token_file);
    else
        error_hint(err,
                   "token file and role come from AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, "
                   "or from the profile");
}

static bool refused(const Sts *sts, const HttpResponse *answer, const char *token, bool *again,
                    Error *err)
{
    char *code = NULL, *message = NULL;
    xml_part(&answer->body, "ErrorResponse", "Error/Code", &code);
    xml_part(&answer->body, "ErrorResponse", "Error/Message", &message);
    aws_refused(sts->where, answer->status, code, message, token, again, err);
    /* Said with 400, but they pass (STS API reference, "Errors"). */
    *again |= code &&
              (strncmp(code, "Throttling", 10) == 0 || strcmp(code, "IDPCommunicationError") == 0);
    if (answer->status < 500)
        refusal_hint(sts, code ? code : "", err);
    aws_secret_free(code);
    aws_secret_free(message);
    return false;
}

static bool ask_sts(Sts *sts, const char *token, bool *again, Error *err)
{
    static const char *const headers[] = {
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8", "Accept: text/xml"};
    Buf body = BUF_INIT;
    make_body(sts, token, &body);
    HttpRequest request = {.method = "POST",
                           .url = sts->url,
                           .headers = headers,
                           .header_count = 2,
                           .body = body.data,
                           .body_len = body.len,
                           .timeout = TIMEOUT};
    HttpResponse answer;
    bool ok = aws_ask(sts->client, &request, "STS", &answer, again, err);
    aws_secret_buf_free(&body);
    if (!ok)
        return false;
    if (answer.status != 200)
        ok = refused(sts, &answer, token, again, err);
    else if (!read_keys(sts, &answer.body, err)) {
        ok = false;
        *again = true;
    }
    aws_answer_free(&answer);
    return ok;
}

static bool attempt(void *ctx, bool *again, Error *err)
{
    Sts *sts = ctx;
    Buf token = BUF_INIT;
    bool ok =
        read_token(sts->identity->token_file, &token, err) && ask_sts(sts, token.data, again, err);
    aws_secret_buf_free(&token);
    return ok;
}

bool aws_web_identity_keys(const AwsWebIdentity *identity, AwsKeys *out, Error *err)
{
    Sts sts = {.identity = identity, .out = out, .url = sts_url(identity, err)};
    if (!sts.url)
        return false;
    HttpOptions options = {.ca_file = identity->ca_file, .connect_timeout = 5 * CLOCK_SECOND};
    sts.client = http_client_new(&options, err);
    char host[256];
    http_host(sts.url, host, sizeof(host));
    snprintf(sts.where, sizeof(sts.where), "STS %s", host);
    session_name(sts.session, identity->session_name);
    bool ok = sts.client && aws_attempts(attempt, &sts, ATTEMPTS, err);
    http_client_free(sts.client);
    free(sts.url);
    return ok;
}
