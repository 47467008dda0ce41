#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "http_try.h"

/* ---- which certificates are trusted ---- */

static atomic_int trusted_dirs;

int SSL_CTX_load_verify_dir(SSL_CTX *ctx, const char *dir)
{
    static int (*real)(SSL_CTX *, const char *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "SSL_CTX_load_verify_dir");
    trusted_dirs++;
    return real(ctx, dir);
}

/* ---- TLS ---- */

typedef struct Tls {
    HttpServer server;
    char ca_file[64];
} Tls;

/* A certificate that signs itself, for `names` ("IP:127.0.0.1"), in a file for clients. */
static bool tls_start(Tls *tls, const char *names, long days, int max_version)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509V3_CTX v3;
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -2 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"pitr test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *names_ext = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, names);
    X509_EXTENSION *ca_ext =
        X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(cert, names_ext, -1);
    X509_add_ext(cert, ca_ext, -1);
    X509_sign(cert, key, EVP_sha256());
    SSL_CTX_use_certificate(ctx, cert);
    SSL_CTX_use_PrivateKey(ctx, key);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, 0);
    SSL_CTX_set_max_proto_version(ctx, max_version);

    snprintf(tls->ca_file, sizeof(tls->ca_file), "/tmp/pitr-unit-ca-XXXXXX");
    int fd = mkstemp(tls->ca_file);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok =
        f && PEM_write_X509(f, cert) && fclose(f) == 0 && http_server_start(&tls->server, ctx);
    X509_EXTENSION_free(names_ext);
    X509_EXTENSION_free(ca_ext);
    X509_free(cert);
    EVP_PKEY_free(key);
    SSL_CTX_free(ctx);
    return ok;
}

static void tls_stop(Tls *tls)
{
    http_server_stop(&tls->server);
    unlink(tls->ca_file);
}

static Try tls_get(const Tls *tls, const char *ca_file, const char *host, const char *path)
{
    HttpClient *client = client_of((HttpOptions){.ca_file = ca_file});
    char *url = mem_printf("https://%s:%d%s", host, tls->server.port, path);
    Try t = get_url(client, url);
    free(url);
    http_client_free(client);
    return t;
}

static void test_tls(void **state)
{
    (void)state;
    Tls tls, other, expired;
    assert_true(tls_start(&tls, "IP:127.0.0.1", 2, 0));
    assert_true(tls_start(&other, "IP:127.0.0.1", 2, 0));
    assert_true(tls_start(&expired, "IP:127.0.0.1", -1, 0));

    trusted_dirs = 0;
    Try t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/size/1000000");
    expect_status(&t, 200);
    assert_int_equal(trusted_dirs, 0); /* ca-file says all, the system's are not added */
    assert_true(t.response.body.len == 1000000 && is_pattern(t.response.body.data, 1000000, 0));
    http_response_free(&t.response);

    /* An authority that is not known, another one, another host, out of date. */
    const struct {
        const Tls *tls;
        const char *ca_file, *host;
    } refused[] = {{&tls, NULL, "127.0.0.1"},
                   {&tls, other.ca_file, "127.0.0.1"},
                   {&tls, tls.ca_file, "loop.test"},
                   {&expired, expired.ca_file, "127.0.0.1"}};
    for (size_t i = 0; i < COUNT(refused); i++) {
        t = tls_get(refused[i].tls, refused[i].ca_file, refused[i].host, "/size/5?secret=1");
        expect_failure(&t, false);
        assert_non_null(strstr(t.err.hint, "ca-file"));
        assert_non_null(strstr(t.err.hint, "certificate"));
        assert_null(strstr(t.err.message, "secret"));
    }
    t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/short/1000/999");
    expect_failure(&t, true);
    t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/close");
    expect_failure(&t, true);
    tls_stop(&tls);
    tls_stop(&other);
    tls_stop(&expired);
}

static void test_old_tls(void **state)
{
    (void)state;
    Tls old, tls12;
    assert_true(tls_start(&old, "IP:127.0.0.1", 2, TLS1_1_VERSION));
    assert_true(tls_start(&tls12, "IP:127.0.0.1", 2, TLS1_2_VERSION));
    Try t = tls_get(&old, old.ca_file, "127.0.0.1", "/size/5");
    assert_false(t.ok);
    t = tls_get(&tls12, tls12.ca_file, "127.0.0.1", "/size/5");
    expect_status(&t, 200);
    http_response_free(&t.response);
    tls_stop(&old);
    tls_stop(&tls12);
}

static void test_ca_file(void **state)
{
    (void)state;
    Error err = {0};
    HttpOptions options = {.ca_file = "/nowhere/ca.pem"};
    assert_null(http_client_new(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "/nowhere/ca.pem"));

    Tls tls;
    assert_true(tls_start(&tls, "IP:127.0.0.1", 2, 0));
    FILE *f = fopen(tls.ca_file, "w");
    fputs("no certificate\n", f);
    fclose(f);
    Try t = tls_get(&tls, tls.ca_file, "127.0.0.1", "/size/5");
    assert_false(t.ok || t.transient);
    assert_int_equal(t.err.code, ERR_USAGE);
    assert_non_null(strstr(t.err.message, tls.ca_file));
    tls_stop(&tls);
    http_client_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_old_tls),
        cmocka_unit_test(test_ca_file),
    };
    return HTTP_TESTS("http_tls", tests);
}
