/*
 * s3.c: the driver for s3://bucket/prefix: AWS S3 and servers that speak its protocol.
 *
 * Opening contacts nobody. Where an option is not set, what AWS tools read counts: AWS_ENDPOINT_URL_S3,
 * AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_CA_BUNDLE and the profile.
 */
#include "storage/s3.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define IO_TIMEOUT (300 * CLOCK_SECOND)
#define PART_SIZE  (16u << 20)
#define MAX_PARTS  10000

static const char *environment(const char *first, const char *second)
{
    const char *value = getenv(first);
    if ((!value || !value[0]) && second)
        value = getenv(second);
    return value && value[0] ? value : NULL;
}

static bool usage(const StorageOptions *o, Error *err, const char *what, const char *value,
                  const char *advice)
{
    error_set(err, ERR_USAGE, "repository %s: %s: %s", o->name, what, value);
    return error_hint(err, "%s", advice);
}

bool s3_is_odd(const char *path)
{
    for (const char *part = path; *part;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return true;
        part += n + (part[n] == '/');
    }
    return false;
}

/* Prefixes that URLs, servers and XML do not keep as they are. */
static bool is_bad_prefix(const char *prefix)
{
    bool bad = strpbrk(prefix, "?#") || s3_is_odd(prefix);
    for (const char *c = prefix; *c; c++)
        bad = bad || iscntrl((unsigned char)*c);
    return bad;
}

/* s3://bucket/some/prefix */
static bool take_url(S3Store *st, const StorageOptions *o, Error *err)
{
    const char *name = o->url + strlen("s3://");
    size_t len = strcspn(name, "/");
    bool good = len >= 3 && len <= 255;
    for (size_t i = 0; i < len; i++)
        good = good && (isalnum((unsigned char)name[i]) || strchr("._-", name[i]));
    if (!good)
        return usage(o, err, "no bucket's name", memchr(name, '@', len) ? "it holds keys" : o->url,
                     "write url = s3://bucket/prefix; keys belong into credentials-file or ~/.aws");
    st->bucket = mem_strndup(name, len);
    const char *prefix = name + len + (name[len] == '/');
    size_t end = strlen(prefix);
    while (end && prefix[end - 1] == '/')
        end--;
    char *clean = mem_strndup(prefix, end);
    bool odd = is_bad_prefix(clean);
    st->prefix = end ? mem_printf("%s/", clean) : mem_strdup("");
    free(clean);
    return !odd || usage(o, err, "an odd prefix", o->url, "write url = s3://bucket/some/prefix");
}

/* https://host[:port]; a default port is dropped, as it is from the Host header that is signed. */
static bool take_endpoint(S3Store *st, const StorageOptions *o, Error *err)
{
    const char *url = o->endpoint ? o->endpoint
                                  : environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    st->scheme = mem_strdup("https");
    if (!url)
        return true;
    const char *colon = strstr(url, "://");
    const char *host = colon ? colon + 3 : url;
    size_t len = strcspn(host, "/?#@"), scheme = colon ? (size_t)(colon - url) : 0;
    bool plain = scheme == 4 && strncmp(url, "http", 4) == 0;
    if ((colon && !plain && !(scheme == 5 && strncmp(url, "https", 5) == 0)) || len == 0 ||
        (host[len] && strcmp(host + len, "/") != 0))
        return usage(o, err, "no endpoint", strchr(url, '@') ? "it holds a user's name" : url,
                     "write endpoint = https://host or https://host:port");
    if (plain) {
        free(st->scheme);
        st->scheme = mem_strdup("http");
    }
    const char *port = plain ? ":80" : ":443";
    size_t tail = strlen(port);
    if (len > tail && strncmp(host + len - tail, port, tail) == 0)
        len -= tail;
    st->host = mem_strndup(host, len);
    return true;
}

static void take_addressing(S3Store *st, const StorageOptions *o)
{
    /* A certificate for *.s3.… does not cover a name with dots. */
    bool hostname = true;
    for (const char *c = st->bucket; *c; c++)
        hostname = hostname && (islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '-');
    st->path_style = o->addressing == ADDRESSING_PATH ||
                     (o->addressing == ADDRESSING_AUTO && (st->host || !hostname));
}

/* Appends `len` bytes without the blanks around them, encoded. */
static void put_trimmed(Buf *out, const char *text, size_t len)
{
    while (len && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    char *word = mem_strndup(text, len);
    aws_uri_encode(out, word, false);
    free(word);
}

/* "name=value, name=value" to the form of the x-amz-tagging header. */
static bool take_tags(S3Store *st, const StorageOptions *o, Error *err)
{
    Buf out = BUF_INIT;
    for (const char *tag = o->tags; tag && *tag;) {
        size_t len = strcspn(tag, ","), name = strcspn(tag, "="), before;
        buf_puts(&out, out.len ? "&" : "");
        before = out.len;
        put_trimmed(&out, tag, name < len ? name : 0);
        if (out.len == before) {
            buf_free(&out);
            return usage(o, err, "no tags", o->tags, "write tags = name=value, name=value");
        }
        buf_putc(&out, '=');
        put_trimmed(&out, tag + name + 1, len - name - 1);
        tag += len + (tag[len] == ',');
    }
    st->tags = out.len ? buf_detach(&out) : NULL;
    buf_free(&out);
    return true;
}

static bool take_settings(S3Store *st, const StorageOptions *o, Error *err)
{
    st->storage_class = mem_strdup(o->storage_class);
    st->kms_key = mem_strdup(o->kms_key);
    st->sse = o->sse;
    st->checksum = o->checksum;
    st->unsigned_payload = o->unsigned_payload;
    st->requester_pays = o->requester_pays;
    st->io_timeout = o->io_timeout ? o->io_timeout : IO_TIMEOUT;
    st->part_size = o->part_size ? o->part_size : PART_SIZE;
    st->max_parts = o->max_parts ? o->max_parts : MAX_PARTS;
    st->as_of = o->as_of;
    if (st->unsigned_payload && strcmp(st->scheme, "https") != 0)
        return usage(o, err, "sign-payload = no needs TLS", st->host,
                     "without signature and TLS nobody would notice changed bytes: use https, or "
                     "sign-payload = yes");
    if (o->storage_class && s3_is_cold(o->storage_class))
        return usage(o, err, "storage-class can't be a cold one", o->storage_class,
                     "what is written there can't be read back at once: use GLACIER_IR, or a "
                     "lifecycle rule that moves base/ later (docs/s3.md)");
    if (o->region && !s3_is_region(o->region))
        return usage(o, err, "no region", o->region, "write region = eu-west-3, say");
    if (o->kms_key && o->sse != SSE_KMS)
        return usage(o, err, "kms-key without sse = aws:kms", o->kms_key, "set sse = aws:kms");
    return take_tags(st, o, err);
}

static bool connect_services(S3Store *st, const StorageOptions *o, Error *err)
{
    const char *bundle = environment("AWS_CA_BUNDLE", NULL);
    const char *ca_file = o->ca_file ? o->ca_file : bundle;
    /* The store's private authority says nothing about Amazon's token service. */
    bool own_sts = environment("AWS_ENDPOINT_URL_STS", NULL) != NULL;
    int64_t half = st->io_timeout / 2;
    HttpOptions http = {.ca_file = ca_file,
                        .connect_timeout = half < 10 * CLOCK_SECOND ? half : 0,
                        .stall_timeout = half < 30 * CLOCK_SECOND ? half : 0};
    AwsCredentialOptions credentials = {.repo_name = o->name,
                                        .profile = o->profile,
                                        .credentials_file = o->credentials_file,
                                        .region = o->region,
                                        .ca_file = own_sts ? ca_file : bundle};
    char *configured = o->region ? NULL : aws_configured_region(o->profile);
    snprintf(st->region, sizeof(st->region), "%s",
             o->region ? o->region : configured ? configured : "us-east-1");
    free(configured);
    st->credentials = aws_credentials_new(&credentials);
    st->http = http_client_new(&http, err);
    return st->http != NULL;
}

/* What of the environment decides how the store is reached. */
static void note_environment(S3Store *st)
{
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL",
        "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "https_proxy", "HTTPS_PROXY"};
    buf_puts(&st->environment, "");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (environment(names[i], NULL))
            buf_printf(&st->environment, "%s%s", st->environment.len ? ", " : "", names[i]);
}

static const char *s3_environment(const void *driver)
{
    return ((const S3Store *)driver)->environment.data;
}

static void s3_close(void *driver)
{
    S3Store *st = driver;
    http_client_free(st->http);
    aws_credentials_free(st->credentials);
    pthread_mutex_destroy(&st->lock);
    pthread_mutex_destroy(&st->probing);
    free(st->name);
    free(st->bucket);
    free(st->prefix);
    free(st->scheme);
    free(st->host);
    free(st->storage_class);
    free(st->kms_key);
    free(st->tags);
    buf_free(&st->environment);
    free(st);
}

static void *s3_open(const StorageOptions *o, Error *err)
{
    S3Store *st = MEM_NEW(S3Store);
    pthread_mutex_init(&st->lock, NULL);
    pthread_mutex_init(&st->probing, NULL);
    st->name = mem_strdup(o->name);
    if (take_url(st, o, err) && take_endpoint(st, o, err) && take_settings(st, o, err)) {
        take_addressing(st, o);
        note_environment(st);
        if (connect_services(st, o, err))
            return st;
    }
    s3_close(st);
    return NULL;
}

/* A bucket is made by its owner, with versioning and policies (docs/s3.md), never by us. */
static bool s3_prepare(void *driver, Error *err)
{
    (void)driver;
    (void)err;
    return true;
}

static void s3_set_deadline(void *driver, Instant deadline)
{
    ((S3Store *)driver)->deadline = deadline;
}

/* --- deleting ---------------------------------------------------------------------------------- */

static bool s3_remove(void *driver, const char *key, Error *err)
{
    S3Store *st = driver;
    S3Answer answer;
    S3Request r = s3_request(st, "DELETE", key);
    bool ok = s3_send(st, &r, &answer, err) || (err->code == ERR_NO);
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

typedef struct Refusals {
    S3Store *st;
    size_t count;
    Error first;
} Refusals;

static void on_refusal(void *ctx, const char *key, const S3Error *error)
{
    Refusals *refused = ctx;
    if (refused->count++)
        return;
    error_set(&refused->first, ERR_REPO, "repository %s: can't delete %s/%s: %s: %s",
              refused->st->name, refused->st->bucket, key, error->code, error->message);
    refused->first.denied = strcmp(error->code, "AccessDenied") == 0;
}

static bool take_refusals(void *ctx, const S3Answer *answer, Error *err)
{
    Refusals *refused = ctx;
    refused->count = 0;
    return s3_xml_delete_result(answer->http.body.data, answer->http.body.len, on_refusal, refused,
                                err);
}

/* One DeleteObjects of up to 1,000 keys. Its Content-MD5 or checksum is required. */
static bool remove_page(S3Store *st, const char *const *keys, size_t count, Error *err)
{
    Buf xml = BUF_INIT;
    buf_puts(&xml, "<Delete><Quiet>true</Quiet>");
    for (size_t i = 0; i < count; i++) {
        buf_puts(&xml, "<Object><Key>");
        s3_xml_escape(&xml, st->prefix);
        s3_xml_escape(&xml, keys[i]);
        buf_puts(&xml, "</Key></Object>");
    }
    buf_puts(&xml, "</Delete>");
    S3Answer answer;
    S3Request r = s3_request(st, "POST", NULL);
    s3_param(&r, "delete", "");
    s3_header(&r, "content-type: application/xml");
    r.body = xml.data;
    r.body_len = xml.len;
    s3_body_md5(&r);
    Refusals refused = {.st = st};
    r.accept = take_refusals;
    r.accept_ctx = &refused;
    bool ok = s3_send(st, &r, &answer, err);
    if (ok && refused.count) {
        *err = refused.first;
        ok = false;
    }
    s3_answer_free(&answer);
    s3_request_free(&r);
    buf_free(&xml);
    return ok;
}

static bool s3_remove_many(void *driver, const char *const *keys, size_t count, Error *err)
{
    bool ok = true;
    for (size_t at = 0; at < count; at += 1000) {
        Error one;
        if (!remove_page(driver, keys + at, count - at < 1000 ? count - at : 1000, &one) && ok) {
            *err = one;
            ok = false;
        }
    }
    return ok;
}

const StorageDriver storage_s3_driver = {
    .scheme = "s3",
    .as_of = true,
    .open = s3_open,
    .close = s3_close,
    .prepare = s3_prepare,
    .put_begin = s3_put_begin,
    .put_write = s3_put_write,
    .put_finish = s3_put_finish,
    .put_abort = s3_put_abort,
    .put = s3_put_whole,
    .reader_open = s3_reader_open,
    .reader_read = s3_reader_read,
    .reader_close = s3_reader_close,
    .head = s3_head,
    .list = s3_list,
    .list_names = s3_list_names,
    .remove = s3_remove,
    .remove_many = s3_remove_many,
    .thaw = s3_thaw,
    .check = s3_check,
    .set_deadline = s3_set_deadline,
    .environment = s3_environment,
};
