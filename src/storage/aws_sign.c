#include "storage/aws_sign.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "stream/digest.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define DAY_TEXT  9 /* "20130524" with its zero */

/* ---- percent-encoding ---- */

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void aws_uri_encode(Buf *out, const char *text, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (is_unreserved(*text) || (c == '/' && keep_slash)) {
            buf_putc(out, *text);
        } else {
            char escape[] = {'%', digits[c >> 4], digits[c & 15]};
            buf_append(out, escape, sizeof(escape));
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool aws_uri_decode(Buf *out, const char *text)
{
    while (*text) {
        size_t plain = strcspn(text, "%");
        if (!buf_append(out, text, plain))
            return false;
        text += plain;
        if (!*text)
            break;
        int high = hex_digit(text[1]);
        int low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || (high == 0 && low == 0) || !buf_putc(out, (char)(high * 16 + low)))
            return false;
        text += 3;
    }
    return true;
}

/* ---- query ---- */

typedef struct EncodedParam {
    char *name, *value;
} EncodedParam;

static int compare_params(const void *a, const void *b)
{
    const EncodedParam *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->value, y->value);
}

static char *encoded(const char *text)
{
    Buf b = BUF_INIT;
    aws_uri_encode(&b, text ? text : "", false);
    return buf_detach(&b);
}

void aws_canonical_query(Buf *out, const AwsParam *params, size_t count)
{
    EncodedParam *list = MEM_NEW_ARRAY(EncodedParam, count);
    for (size_t i = 0; i < count; i++)
        list[i] = (EncodedParam){encoded(params[i].name), encoded(params[i].value)};
    qsort(list, count, sizeof(*list), compare_params);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s=%s", i ? "&" : "", list[i].name, list[i].value);
        free(list[i].name);
        free(list[i].value);
    }
    free(list);
}

/* ---- headers ---- */

typedef struct SignedHeader {
    const char *name, *value; /* the value as given */
    size_t name_len;
    size_t index; /* where it stood: headers of one name keep their order */
} SignedHeader;

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static SignedHeader split_header(const char *line, size_t index)
{
    size_t len = strcspn(line, ":");
    SignedHeader h = {line, line + len + (line[len] == ':'), len, index};
    while (h.name_len && is_blank(line[h.name_len - 1]))
        h.name_len--;
    return h;
}

static int compare_names(const SignedHeader *x, const SignedHeader *y)
{
    size_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
    for (size_t i = 0; i < n; i++) {
        int order = (unsigned char)lower(x->name[i]) - (unsigned char)lower(y->name[i]);
        if (order)
            return order;
    }
    return (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static int compare_headers(const void *a, const void *b)
{
    const SignedHeader *x = a, *y = b;
    int order = compare_names(x, y);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Without blanks at both ends, and with one space for each run of them within. */
static void append_value(Buf *out, const char *value)
{
    bool blank = false, begun = false;
    for (; *value; value++) {
        if (is_blank(*value)) {
            blank = true;
            continue;
        }
        if (blank && begun)
            buf_putc(out, ' ');
        buf_putc(out, *value);
        blank = false;
        begun = true;
    }
}

static void append_headers(Buf *canonical, Buf *names, const SignedHeader *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i && compare_names(&list[i - 1], &list[i]) == 0) {
            buf_putc(canonical, ',');
            append_value(canonical, list[i].value);
            continue;
        }
        if (i) {
            buf_putc(canonical, '\n');
            buf_putc(names, ';');
        }
        for (size_t k = 0; k < list[i].name_len; k++) {
            buf_putc(canonical, lower(list[i].name[k]));
            buf_putc(names, lower(list[i].name[k]));
        }
        buf_putc(canonical, ':');
        append_value(canonical, list[i].value);
    }
    buf_putc(canonical, '\n');
}

/* Appends the canonical request to `out` and the list of signed headers to `names`. */
static void canonical_request(const AwsSignature *sig, const char *date, Buf *out, Buf *names)
{
    size_t count = sig->header_count + 1, room = 64;
    SignedHeader *list = MEM_NEW_ARRAY(SignedHeader, count);
    char date_header[sizeof("x-amz-date:") + AWS_DATE_TEXT];
    snprintf(date_header, sizeof(date_header), "x-amz-date:%s", date);
    for (size_t i = 0; i < sig->header_count; i++) {
        list[i] = split_header(sig->headers[i], i);
        room += 2 * strlen(sig->headers[i]);
    }
    list[count - 1] = split_header(date_header, count - 1);
    qsort(list, count, sizeof(*list), compare_headers);

    /* All room at once: a session token is among the headers, and growing would leave copies. */
    buf_reserve(out, room + strlen(sig->method) + strlen(sig->path) + strlen(sig->query) +
                         2 * sizeof(date_header) + strlen(sig->payload_hash));
    buf_printf(out, "%s\n%s\n%s\n", sig->method, sig->path, sig->query);
    append_headers(out, names, list, count);
    buf_printf(out, "\n%s\n%s", names->data, sig->payload_hash);
    free(list);
}

/* ---- keys ---- */

/* The last derived key of this thread. What it was derived from is kept as a digest only. */
typedef struct CachedKey {
    bool filled;
    uint8_t from[SHA256_BYTES];
    uint8_t key[SHA256_BYTES];
} CachedKey;

static _Thread_local CachedKey cached;
static pthread_key_t wipe_key;
static pthread_once_t wipe_once = PTHREAD_ONCE_INIT;

static void wipe(void *p)
{
    OPENSSL_cleanse(p, sizeof(CachedKey));
}

static void make_wipe_key(void)
{
    if (pthread_key_create(&wipe_key, wipe) != 0)
        abort();
}

static void hmac(uint8_t out[SHA256_BYTES], const void *key, size_t key_len, const char *text)
{
    /* It fails only where OpenSSL has no HMAC or no memory: then nothing here can go on. */
    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len, (const unsigned char *)text,
                   strlen(text), out, SHA256_BYTES, NULL))
        abort();
}

static void free_secret(char *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
    free(secret);
}

static void derive_key(const AwsSignature *sig, const char *day, uint8_t key[SHA256_BYTES])
{
    char *secret = mem_printf("AWS4%s", sig->secret_key);
    size_t len = strlen(secret);
    hmac(key, secret, len, day);
    hmac(key, key, SHA256_BYTES, sig->region);
    hmac(key, key, SHA256_BYTES, sig->service);
    hmac(key, key, SHA256_BYTES, "aws4_request");
    free_secret(secret, len);
}

static const uint8_t *signing_key(const AwsSignature *sig, const char *day)
{
    /* None of the four has a newline in it, so no two sets give the same text. */
    char *text = mem_printf("%s\n%s\n%s\n%s", day, sig->region, sig->service, sig->secret_key);
    size_t len = strlen(text);
    uint8_t from[SHA256_BYTES];
    sha256(text, len, from);
    free_secret(text, len);
    if (cached.filled && CRYPTO_memcmp(cached.from, from, sizeof(from)) == 0)
        return cached.key;

    pthread_once(&wipe_once, make_wipe_key);
    if (pthread_setspecific(wipe_key, &cached) != 0)
        abort();
    wipe(&cached);
    derive_key(sig, day, cached.key);
    memcpy(cached.from, from, sizeof(from));
    cached.filled = true;
    return cached.key;
}

/* ---- signature ---- */

void aws_date(char out[AWS_DATE_TEXT], Instant when)
{
    char text[CLOCK_TEXT];
    clock_format_label(text, when);
    snprintf(out, AWS_DATE_TEXT, "%s", text);
}

void aws_sign(const AwsSignature *sig, Buf *out, Buf *canonical)
{
    char date[AWS_DATE_TEXT], day[DAY_TEXT], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    Buf request = BUF_INIT, names = BUF_INIT, text = BUF_INIT;

    aws_date(date, sig->when);
    snprintf(day, sizeof(day), "%s", date);
    canonical_request(sig, date, &request, &names);
    sha256(request.data, request.len, digest);
    sha256_hex(digest, hex);
    buf_printf(&text, ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", date, day, sig->region,
               sig->service, hex);
    hmac(digest, signing_key(sig, day), SHA256_BYTES, text.data);
    sha256_hex(digest, hex);
    buf_printf(out,
               ALGORITHM " Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
               sig->access_key, day, sig->region, sig->service, names.data, hex);

    if (canonical)
        buf_append(canonical, request.data, request.len);
    OPENSSL_cleanse(request.data, request.len);
    buf_free(&request);
    buf_free(&names);
    buf_free(&text);
}
