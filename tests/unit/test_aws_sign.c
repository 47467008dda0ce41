#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws_vectors.h"
#include "base/mem.h"
#include "storage/aws_sign.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- between the signer and OpenSSL: what is computed and what is wiped ---- */

static atomic_int macs;           /* calls of HMAC */
static _Thread_local bool in_mac; /* what OpenSSL wipes there is its own copy of the key */
static atomic_int wipes;          /* of what is watched */
static const void *watched;
static size_t watched_len;
static bool watched_within; /* also in something larger */

unsigned char *EVP_Q_mac(OSSL_LIB_CTX *libctx, const char *name, const char *propq,
                         const char *subalg, const OSSL_PARAM *params, const void *key,
                         size_t keylen, const unsigned char *data, size_t datalen,
                         unsigned char *out, size_t outsize, size_t *outlen)
{
    static unsigned char *(*real)(OSSL_LIB_CTX *, const char *, const char *, const char *,
                                  const OSSL_PARAM *, const void *, size_t, const unsigned char *,
                                  size_t, unsigned char *, size_t, size_t *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "EVP_Q_mac");
    macs++;
    in_mac = true;
    out =
        real(libctx, name, propq, subalg, params, key, keylen, data, datalen, out, outsize, outlen);
    in_mac = false;
    return out;
}

void OPENSSL_cleanse(void *data, size_t len)
{
    bool fits = len == watched_len || (watched_within && len > watched_len);
    if (watched && !in_mac && fits && memmem(data, len, watched, watched_len))
        wipes++;
    volatile char *p = data;
    while (len--)
        *p++ = 0;
}

/* ---- AWS's published examples ---- */

/* A signature as the Authorization header ends with it. */
static const char *signature_of(const Buf *out)
{
    const char *at = strstr(out->data, "Signature=");
    return at ? at + strlen("Signature=") : "";
}

static Instant at(int year, int month, int day, int hour, int minute)
{
    CivilTime t = {year, month, day, hour, minute, 0, 0};
    Instant when = 0;
    assert_true(clock_from_civil(&t, &when));
    return when;
}

static size_t count_params(const AwsParam *params)
{
    size_t n = 0;
    while (params[n].name)
        n++;
    return n;
}

static AwsSignature s3_request(const char *const *headers, size_t count)
{
    return (AwsSignature){.method = "GET",
                          .path = "/",
                          .query = "",
                          .headers = headers,
                          .header_count = count,
                          .payload_hash = EMPTY_HASH,
                          .region = "us-east-1",
                          .service = "s3",
                          .access_key = "AKIAIOSFODNN7EXAMPLE",
                          .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                          .when = at(2013, 5, 24, 0, 0)};
}

static void test_examples_of_s3(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(s3_examples); i++) {
        const char *headers[6] = {"Host: examplebucket.s3.amazonaws.com"};
        char *hash = mem_printf("x-amz-content-sha256: %s", s3_examples[i].payload);
        size_t count = 1;
        for (size_t k = 0; s3_examples[i].headers[k]; k++)
            headers[count++] = s3_examples[i].headers[k];
        headers[count++] = hash;
        AwsSignature sig = s3_request(headers, count);
        Buf path = BUF_INIT, query = BUF_INIT, out = BUF_INIT;
        aws_uri_encode(&path, s3_examples[i].key, true);
        aws_canonical_query(&query, s3_examples[i].params, count_params(s3_examples[i].params));
        sig.method = s3_examples[i].method;
        sig.path = path.data;
        sig.query = query.data ? query.data : "";
        sig.payload_hash = s3_examples[i].payload;
        aws_sign(&sig, &out, NULL);

        char *want = mem_printf("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/"
                                "us-east-1/s3/aws4_request, SignedHeaders=%s, Signature=%s",
                                s3_examples[i].names, s3_examples[i].signature);
        assert_string_equal(out.data, want);
        free(want);
        free(hash);
        buf_free(&path);
        buf_free(&query);
        buf_free(&out);
    }
}

static void test_cases_of_the_suite(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(suite); i++) {
        const char *headers[6];
        size_t count = 0;
        for (; suite[i].headers[count]; count++)
            headers[count] = suite[i].headers[count];
        headers[count++] = "Host:example.amazonaws.com";
        Buf path = BUF_INIT, query = BUF_INIT, out = BUF_INIT, canonical = BUF_INIT;
        aws_uri_encode(&path, suite[i].path, true);
        aws_canonical_query(&query, suite[i].params, count_params(suite[i].params));
        AwsSignature sig = {.method = suite[i].method,
                            .path = path.data,
                            .query = query.data ? query.data : "",
                            .headers = headers,
                            .header_count = count,
                            .payload_hash = suite[i].payload ? suite[i].payload : EMPTY_HASH,
                            .region = "us-east-1",
                            .service = "service",
                            .access_key = "AKIDEXAMPLE",
                            .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                            .when = at(2015, 8, 30, 12, 36)};
        aws_sign(&sig, &out, &canonical);
        if (suite[i].canonical)
            assert_string_equal(canonical.data, suite[i].canonical);
        if (strcmp(signature_of(&out), suite[i].signature) != 0)
            fail_msg("%s: signature %s of\n%s", suite[i].name, signature_of(&out), canonical.data);
        buf_free(&path);
        buf_free(&query);
        buf_free(&out);
        buf_free(&canonical);
    }
}

/* ---- headers ---- */

static void expect_headers(const char *const *headers, size_t count, const char *block)
{
    AwsSignature sig = s3_request(headers, count);
    Buf out = BUF_INIT, canonical = BUF_INIT;
    aws_sign(&sig, &out, &canonical);
    const char *begin = strstr(canonical.data, "\n/\n\n") + 4;
    char *got = mem_strndup(begin, strlen(begin) - strlen("\n" EMPTY_HASH));
    assert_string_equal(got, block);
    free(got);
    buf_free(&out);
    buf_free(&canonical);
}

static void test_header_order(void **state)
{
    (void)state;
    /* '-' sorts before letters and ':', so whole lines would sort differently from names. */
    static const char *const prefixes[] = {"X-Amz-Meta-A-B: 1", "x-amz-meta: 2", "X-AMZ-META-A: 3",
                                           "x-amz-metadata: 4", "Host: h"};
    expect_headers(prefixes, COUNT(prefixes),
                   "host:h\nx-amz-date:20130524T000000Z\nx-amz-meta:2\nx-amz-meta-a:3\n"
                   "x-amz-meta-a-b:1\nx-amz-metadata:4\n\n"
                   "host;x-amz-date;x-amz-meta;x-amz-meta-a;x-amz-meta-a-b;x-amz-metadata");
    static const char *const cases[] = {"b: 1", "A: 2", "B: 3", "a: 4"};
    expect_headers(cases, COUNT(cases),
                   "a:2,4\nb:1,3\nx-amz-date:20130524T000000Z\n\na;b;x-amz-date");
    expect_headers(NULL, 0, "x-amz-date:20130524T000000Z\n\nx-amz-date");
}

static void test_header_values(void **state)
{
    (void)state;
    static const char *const headers[] = {"a:  x \t y  ",   "b:",       "c: \t ",    "d",
                                          "e : blank name", "f: a:b:c", "g:\xc3\xa9"};
    expect_headers(headers, COUNT(headers),
                   "a:x y\nb:\nc:\nd:\ne:blank name\nf:a:b:c\ng:\xc3\xa9\n"
                   "x-amz-date:20130524T000000Z\n\na;b;c;d;e;f;g;x-amz-date");
}

static void test_many_headers_keep_their_order(void **state)
{
    (void)state;
    enum { N = 400 };
    char *lines[N];
    Buf want = BUF_INIT;
    buf_puts(&want, "a:");
    for (int i = 0; i < N; i++) {
        lines[i] = mem_printf("%s: %d", i % 2 ? "A" : "a", i);
        buf_printf(&want, "%s%d", i ? "," : "", i);
    }
    buf_puts(&want, "\nx-amz-date:20130524T000000Z\n\na;x-amz-date");
    expect_headers((const char *const *)lines, N, want.data);
    for (int i = 0; i < N; i++)
        free(lines[i]);
    buf_free(&want);
}

/* ---- percent-encoding and queries ---- */

static uint64_t lots(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void test_encode_every_byte(void **state)
{
    (void)state;
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (int c = 1; c < 256; c++) {
        for (int keep_slash = 0; keep_slash < 2; keep_slash++) {
            char text[] = {(char)c, '\0'}, want[4];
            Buf out = BUF_INIT;
            if (strchr(plain, c) || (c == '/' && keep_slash))
                snprintf(want, sizeof(want), "%c", c);
            else
                snprintf(want, sizeof(want), "%%%02X", c);
            aws_uri_encode(&out, text, keep_slash);
            assert_string_equal(out.data, want);
            buf_free(&out);
        }
    }
}

static void test_decode_gives_back_what_was_encoded(void **state)
{
    (void)state;
    uint64_t seed = 20240501;
    for (int round = 0; round < 20000; round++) {
        char text[65];
        size_t len = lots(&seed) % sizeof(text);
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(1 + lots(&seed) % 255);
        text[len] = '\0';
        Buf encoded = BUF_INIT, decoded = BUF_INIT;
        buf_puts(&decoded, "");
        buf_puts(&encoded, "");
        aws_uri_encode(&encoded, text, round % 2);
        assert_true(aws_uri_decode(&decoded, encoded.data));
        assert_string_equal(decoded.data, text);
        buf_free(&encoded);
        buf_free(&decoded);
    }
}

static void test_decode(void **state)
{
    (void)state;
    static const char *const broken[] = {"%",
                                         "%4",
                                         "a%",
                                         "a%4",
                                         "%zz",
                                         "%4z",
                                         "%z4",
                                         "%00",
                                         "a%00",
                                         "%-1",
                                         "% 1",
                                         "%%41",
                                         "%\xff",
                                         "%:0",
                                         "%g0",
                                         "%\x80"
                                         "41"};
    for (size_t i = 0; i < COUNT(broken); i++) {
        Buf out = BUF_INIT;
        if (aws_uri_decode(&out, broken[i]))
            fail_msg("\"%s\" was decoded", broken[i]);
        buf_free(&out);
    }
    Buf out = BUF_INIT;
    assert_true(aws_uri_decode(&out, "a+b%2Bc%2bd%20%e1%88%B4%0a%FF"));
    assert_string_equal(out.data, "a+b+c+d \xe1\x88\xb4\n\xff");
    assert_true(aws_uri_decode(&out, "!"));
    assert_string_equal(out.data, "a+b+c+d \xe1\x88\xb4\n\xff!");
    buf_free(&out);
    buf_init_max(&out, 3);
    assert_true(aws_uri_decode(&out, "%41%42c"));
    assert_false(aws_uri_decode(&out, "d"));
    buf_free(&out);
}

static void expect_query(const AwsParam *params, size_t count, const char *want)
{
    Buf out = BUF_INIT;
    buf_puts(&out, "?");
    aws_canonical_query(&out, params, count);
    assert_string_equal(out.data + 1, want);
    buf_free(&out);
}

static void test_query(void **state)
{
    (void)state;
    expect_query(NULL, 0, "");
    expect_query((AwsParam[]){{"uploads", NULL}}, 1, "uploads=");
    expect_query((AwsParam[]){{"uploads", ""}}, 1, "uploads=");
    /* By encoded name: '-' stays and is below '=', '%' is below '-'; then by value. */
    expect_query((AwsParam[]){{"a-b", "1"}, {"a", "2"}, {"a/b", "3"}, {"a", "1"}, {"A", "z"}}, 5,
                 "A=z&a=1&a=2&a%2Fb=3&a-b=1");
    expect_query((AwsParam[]){{"list-type", "2"},
                              {"prefix", "a b/\xc3\xbc"},
                              {"encoding-type", "url"},
                              {"continuation-token", "1/+==&x"}},
                 4,
                 "continuation-token=1%2F%2B%3D%3D%26x&encoding-type=url&list-type=2&"
                 "prefix=a%20b%2F%C3%BC");
}

static void test_query_in_any_order(void **state)
{
    (void)state;
    AwsParam params[40];
    char *texts[COUNT(params)];
    uint64_t seed = 7;
    Buf want = BUF_INIT;
    for (size_t i = 0; i < COUNT(params); i++) {
        texts[i] = mem_printf("%c%c", (int)('a' + i % 3), (int)('-' + i % 7));
        params[i] = (AwsParam){texts[i], texts[(i * 5) % (i + 1)]};
    }
    aws_canonical_query(&want, params, COUNT(params));
    for (int round = 0; round < 200; round++) {
        for (size_t i = COUNT(params) - 1; i > 0; i--) {
            size_t k = lots(&seed) % (i + 1);
            AwsParam swap = params[i];
            params[i] = params[k];
            params[k] = swap;
        }
        expect_query(params, COUNT(params), want.data);
    }
    for (size_t i = 0; i < COUNT(params); i++)
        free(texts[i]);
    buf_free(&want);
}

/* ---- the time ---- */

static void test_date(void **state)
{
    (void)state;
    char text[AWS_DATE_TEXT];
    aws_date(text, at(2013, 5, 24, 0, 0));
    assert_string_equal(text, "20130524T000000Z");
    aws_date(text, at(2024, 2, 29, 23, 59) + 59 * CLOCK_SECOND + 999999);
    assert_string_equal(text, "20240229T235959Z");
    aws_date(text, 0);
    assert_string_equal(text, "19700101T000000Z");
    aws_date(text, at(9999, 12, 31, 23, 59));
    assert_string_equal(text, "99991231T235900Z");
}

/* ---- the key of each thread ---- */

static char *sign(const char *secret, const char *region, const char *service, Instant when)
{
    AwsSignature sig = s3_request(NULL, 0);
    Buf out = BUF_INIT;
    sig.secret_key = secret;
    sig.region = region;
    sig.service = service;
    sig.when = when;
    aws_sign(&sig, &out, NULL);
    return buf_detach(&out);
}

typedef struct Variant {
    const char *secret, *region, *service;
    int day;
    char *text;
} Variant;

static void *sign_variant(void *arg)
{
    Variant *v = arg;
    v->text = sign(v->secret, v->region, v->service, at(2024, 1, v->day, 8, 0));
    return NULL;
}

static void test_remembered_key_fits(void **state)
{
    (void)state;
    /* Each differs in one thing from another, some only in where a part ends. */
    Variant variants[] = {
        {"secret", "r1", "s3", 1, NULL},  {"secret", "r1", "s3", 2, NULL},
        {"secret", "r2", "s3", 1, NULL},  {"secret", "r1", "sts", 1, NULL},
        {"secret2", "r1", "s3", 1, NULL}, {"3secret", "r1", "s", 1, NULL},
        {"secret", "r", "1s3", 1, NULL},
    };
    for (size_t i = 0; i < COUNT(variants); i++) { /* in a thread of its own: nothing remembered */
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, sign_variant, &variants[i]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(variants[i].text, variants[k].text);
    }
    uint64_t seed = 99;
    for (int round = 0; round < 2000; round++) {
        const Variant *v = &variants[lots(&seed) % COUNT(variants)];
        char *text = sign(v->secret, v->region, v->service, at(2024, 1, v->day, 8, 0));
        assert_string_equal(text, v->text);
        free(text);
    }
    for (size_t i = 0; i < COUNT(variants); i++)
        free(variants[i].text);
}

static void test_key_is_derived_once(void **state)
{
    (void)state;
    free(sign("once", "r", "s3", at(2024, 1, 1, 0, 0)));
    int before = macs;
    for (int minute = 0; minute < 60; minute++)
        free(sign("once", "r", "s3", at(2024, 1, 1, 23, minute)));
    assert_int_equal(macs - before, 60);
    free(sign("once", "r", "s3", at(2024, 1, 2, 0, 0)));
    assert_int_equal(macs - before, 65);
}

static void *sign_often(void *arg)
{
    const char *secret = arg;
    char *first = sign(secret, "r", "s3", at(2024, 1, 1, 0, 0));
    void *same = first;
    for (int i = 0; i < 500; i++) {
        char *other = sign(secret, i % 2 ? "other" : "r", "s3", at(2024, 1, 1, 0, 0));
        if ((strcmp(first, other) == 0) != (i % 2 == 0))
            same = NULL;
        free(other);
    }
    free(first);
    return same;
}

static void test_threads_do_not_meet(void **state)
{
    (void)state;
    pthread_t threads[8];
    char *secrets[COUNT(threads)];
    for (size_t i = 0; i < COUNT(threads); i++) {
        secrets[i] = mem_printf("secret of thread %zu", i);
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, secrets[i]), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *same = NULL;
        pthread_join(threads[i], &same);
        assert_non_null(same);
        free(secrets[i]);
    }
}

/* ---- secrets ---- */

/* The signing key of "wipe me", 2024-01-01, region r, service s3. */
static void derive(unsigned char key[32])
{
    static const char *const steps[] = {"20240101", "r", "s3", "aws4_request"};
    const char secret[] = "AWS4wipe me";
    for (size_t i = 0; i < COUNT(steps); i++)
        assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, i ? (void *)key : secret,
                                  i ? 32 : strlen(secret), (const unsigned char *)steps[i],
                                  strlen(steps[i]), key, 32, NULL));
}

static void *sign_once(void *arg)
{
    free(sign(arg, "r", "s3", at(2024, 1, 1, 0, 0)));
    return NULL;
}

static void watch(const void *bytes, size_t len, bool within)
{
    watched = bytes;
    watched_len = len;
    watched_within = within;
    wipes = 0;
}

static void test_key_is_wiped(void **state)
{
    (void)state;
    char secret[] = "wipe me";
    unsigned char key[32];
    derive(key);

    /* When another takes its place. */
    watch(key, sizeof(key), true);
    sign_once(secret);
    sign_once(secret);
    assert_int_equal(wipes, 0);
    free(sign("another", "r", "s3", at(2024, 1, 1, 0, 0)));
    assert_int_equal(wipes, 1);

    /* When the thread ends. */
    pthread_t thread;
    watch(key, sizeof(key), true);
    assert_int_equal(pthread_create(&thread, NULL, sign_once, secret), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wipes, 1);
    watched = NULL;
}

/* Signs once, on a thread that remembers no key, and expects that `text` is wiped. */
static void expect_wiped(const char *text)
{
    static const char *const headers[] = {"x-amz-security-token: TOKEN.IN.A.HEADER"};
    AwsSignature sig = s3_request(headers, 1);
    Buf out = BUF_INIT;
    free(sign("something else", "r", "s3", 0));
    sig.secret_key = "Very/Secret+Key";
    watch(text, strlen(text), false);
    aws_sign(&sig, &out, NULL);
    watched = NULL;
    if (wipes == 0)
        fail_msg("not wiped: %s", text);
    assert_null(strstr(out.data, "Very/Secret+Key"));
    assert_null(strstr(out.data, "TOKEN"));
    assert_non_null(strstr(out.data, "SignedHeaders=x-amz-date;x-amz-security-token,"));
    buf_free(&out);
}

static void test_texts_with_secrets_are_wiped(void **state)
{
    (void)state;
    expect_wiped("20130524\nus-east-1\ns3\nVery/Secret+Key");
    expect_wiped("AWS4Very/Secret+Key");
    expect_wiped("GET\n/\n\nx-amz-date:20130524T000000Z\nx-amz-security-token:TOKEN.IN.A.HEADER\n\n"
                 "x-amz-date;x-amz-security-token\n" EMPTY_HASH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_s3),
        cmocka_unit_test(test_cases_of_the_suite),
        cmocka_unit_test(test_header_order),
        cmocka_unit_test(test_header_values),
        cmocka_unit_test(test_many_headers_keep_their_order),
        cmocka_unit_test(test_encode_every_byte),
        cmocka_unit_test(test_decode_gives_back_what_was_encoded),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_in_any_order),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_remembered_key_fits),
        cmocka_unit_test(test_key_is_derived_once),
        cmocka_unit_test(test_threads_do_not_meet),
        cmocka_unit_test(test_key_is_wiped),
        cmocka_unit_test(test_texts_with_secrets_are_wiped),
    };
    return cmocka_run_group_tests_name("aws_sign", tests, NULL, NULL);
}
