/* aws_remote.c: asking a service for keys; the container endpoint. */
#include "storage/aws_remote.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/interrupt.h"
#include "base/mem.h"
#include "storage/aws_profile.h"

#define ATTEMPTS        3
#define CONNECT_LOCAL   CLOCK_SECOND
#define CONNECT_REMOTE  (5 * CLOCK_SECOND)
#define AGENT_TIMEOUT   (5 * CLOCK_SECOND)
#define REPEATED        16 /* so many bytes in a row are no accident */
#define CONTAINER_AGENT "http://169.254.170.2"
#define AGENT           "the container's credentials endpoint"

/* --- shared ------------------------------------------------------------------------------- */

/* About 0.2 s, then about 0.8 s; not the same for all hosts that fail at once. */
static void pause_before(int attempt)
{
    int about = attempt == 1 ? 200 : 800;
    interrupt_sleep(about / 2 + (int)(clock_now() % about));
}

bool aws_attempts(bool (*attempt)(void *ctx, bool *again, Error *err), void *ctx, int most,
                  Error *err)
{
    for (int i = 1; interrupt_check(err); i++) {
        bool again = false;
        if (attempt(ctx, &again, err))
            return true;
        if (!again || i == most)
            return false;
        pause_before(i);
    }
    return false;
}

bool aws_ask(HttpClient *client, const HttpRequest *request, const char *what, HttpResponse *answer,
             bool *again, Error *err)
{
    return http_exchange(client, request, AWS_ANSWER_MAX, answer, again, err) ||
           error_prefix(err, "%s", what);
}

void aws_answer_free(HttpResponse *answer)
{
    aws_secret_buf_free(&answer->body);
    http_response_free(answer);
}

static bool repeats(const char *text, const char *secret)
{
    size_t len = secret ? strlen(secret) : 0;
    size_t run = len < REPEATED ? len : REPEATED;
    for (size_t i = 0; run && i + run <= len; i++)
        if (memmem(text, strlen(text), secret + i, run))
            return true;
    return false;
}

bool aws_refused(const char *where, int status, const char *code, const char *message,
                 const char *secret, bool *again, Error *err)
{
    char said[256];
    snprintf(said, sizeof(said), "%s%s%s", code ? code : "", code && message ? ": " : "",
             message ? message : "");
    for (char *p = said; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    *again = status >= 500 || status == 429;
    if (!said[0] || repeats(said, secret))
        return error_set(err, ERR_REPO, "%s answered status %d", where, status);
    return error_set(err, ERR_REPO, "%s answered status %d: %s", where, status, said);
}

/* The host of a URL, without port and brackets; false if the URL could be read in two ways: it has
 * a user, an escape in the host, a backslash, a blank. */
static bool plain_host(const char *url, char *host, size_t size)
{
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '\\')
            return false;
    const char *at = strstr(url, "://");
    if (!at)
        return false;
    at += 3;
    size_t len = strcspn(at, "/?#");
    const char *colon = memchr(at, ':', len);
    if (at[0] == '[') {
        const char *end = memchr(at, ']', len);
        if (!end)
            return false;
        size_t behind = len - (size_t)(end - at) - 1;
        len = (size_t)(end - ++at);
        colon = NULL;
        if (behind && (end[1] != ':' || strspn(end + 2, "0123456789") != behind - 1))
            return false;
    } else if (colon) {
        size_t port = len - (size_t)(colon - at) - 1;
        if (strspn(colon + 1, "0123456789") < port)
            return false;
        len = (size_t)(colon - at);
    }
    if (!len || len >= size)
        return false;
    snprintf(host, size, "%.*s", (int)len, at);
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_") ==
           len;
}

static bool is_local(const char *host)
{
    struct in_addr four;
    struct in6_addr six, agent;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "169.254.170.2") == 0 ||
        strcmp(host, "169.254.170.23") == 0)
        return true;
    /* inet_pton() takes four decimal numbers only, none of the other forms of inet_aton(). */
    if (inet_pton(AF_INET, host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    inet_pton(AF_INET6, "fd00:ec2::23", &agent);
    return inet_pton(AF_INET6, host, &six) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&six) || IN6_ARE_ADDR_EQUAL(&six, &agent));
}

bool aws_agent_url(const char *url, bool *local)
{
    char host[256];
    if (!plain_host(url, host, sizeof(host)))
        return false;
    *local = is_local(host);
    return strncasecmp(url, "https://", 8) == 0 || (strncasecmp(url, "http://", 7) == 0 && *local);
}

/* --- the container endpoint --------------------------------------------------------------- */

typedef struct Agent {
    HttpClient *client;
    const char *url;
    char where[320];
    AwsKeys *out;
} Agent;

bool aws_container_configured(void)
{
    return aws_getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
           aws_getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

static bool agent_token(Buf *token, Error *err)
{
    static const char variable[] = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    const char *file = aws_getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *text = aws_getenv(variable);
    if (file && !aws_read_file(file, "the container's token file", AWS_FILE_SHARED, AWS_TOKEN_MAX,
                               token, err)) {
        err->code = ERR_USAGE;
        return false;
    }
    if (!file && text)
        buf_puts(token, text);
    for (size_t i = 0; i < token->len; i++) {
        unsigned char c = (unsigned char)token->data[i];
        if (c >= ' ' && c != 0x7f)
            continue;
        error_set(err, ERR_USAGE, "the token of %s%s has a line end or another control character",
                  variable, file ? "_FILE" : "");
        return error_hint(err, "it goes into a header as it is; printf %%s writes a file without a "
                               "line end");
    }
    return true;
}

static bool agent_refused(const Agent *agent, const HttpResponse *answer, const char *token,
                          bool *again, Error *err)
{
    json_t *root =
        json_loadb(answer->body.data ? answer->body.data : "", answer->body.len, 0, NULL);
    const char *code = json_string_value(json_object_get(root, "code"));
    const char *message = json_string_value(json_object_get(root, "message"));
    aws_refused(agent->where, answer->status, code, message, token, again, err);
    json_decref(root);
    return error_hint(err, "does the task or pod have a role, and may this process use it?");
}

static bool ask_agent(Agent *agent, const char *token, bool *again, Error *err)
{
    char *header = mem_printf("Authorization: %s", token ? token : "");
    const char *headers[] = {"Accept: application/json", header};
    HttpRequest request = {.method = "GET",
                           .url = agent->url,
                           .headers = headers,
                           .header_count = token ? 2 : 1,
                           .timeout = AGENT_TIMEOUT};
    HttpResponse answer;
    bool ok = aws_ask(agent->client, &request, AGENT, &answer, again, err);
    aws_secret_free(header);
    if (!ok)
        return false;
    if (answer.status != 200)
        ok = agent_refused(agent, &answer, token, again, err);
    else if (!aws_keys_from_json(agent->out, answer.body.data, answer.body.len, AWS_JSON_SERVICE,
                                 agent->where, err)) {
        ok = false;
        *again = true;
    }
    aws_answer_free(&answer);
    return ok;
}

static bool agent_attempt(void *ctx, bool *again, Error *err)
{
    Buf token = BUF_INIT;
    bool ok = agent_token(&token, err) && ask_agent(ctx, token.len ? token.data : NULL, again, err);
    aws_secret_buf_free(&token);
    return ok;
}

/* The address to ask; the caller frees. It may be a secret itself: no error shows its path. */
static char *agent_url(bool *local, Error *err)
{
    const char *path = aws_getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = aws_getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    char *url = path ? mem_printf("%s%s", CONTAINER_AGENT, path) : mem_strdup(full);
    if (path && path[0] != '/') {
        error_set(err, ERR_USAGE, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with '/'");
    } else if (!aws_agent_url(url, local)) {
        error_set(err, ERR_USAGE,
                  "AWS_CONTAINER_CREDENTIALS_%s is no address that may be asked for "
                  "keys",
                  path ? "RELATIVE_URI" : "FULL_URI");
        error_hint(err, "https, or http at a loopback address, 169.254.170.2, 169.254.170.23 or "
                        "[fd00:ec2::23]");
    } else {
        return url;
    }
    free(url);
    return NULL;
}

bool aws_container_keys(AwsKeys *out, Error *err)
{
    bool local = false, ok = false;
    char *url = agent_url(&local, err);
    if (!url)
        return false;
    HttpOptions options = {.connect_timeout = local ? CONNECT_LOCAL : CONNECT_REMOTE,
                           .no_proxy = local};
    Agent agent = {.client = http_client_new(&options, err), .url = url, .out = out};
    char host[256];
    http_host(url, host, sizeof(host));
    snprintf(agent.where, sizeof(agent.where), AGENT " %s", host);
    if (agent.client)
        ok = aws_attempts(agent_attempt, &agent, ATTEMPTS, err);
    http_client_free(agent.client);
    free(url);
    return ok;
}
