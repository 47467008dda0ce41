#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pg/manifest.h"

#define V1 "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": ["
#define V2                                                                                         \
    "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 18446744073709551557,\n" \
    "\"Files\": ["
#define FILE1                                                                                      \
    "{ \"Path\": \"backup_label\", \"Size\": 226, \"Last-Modified\": \"2026-11-21 03:00:00 "       \
    "GMT\", "                                                                                      \
    "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"9ab1c0de\" }"
#define FILE2                                                                                      \
    "{ \"Encoded-Path\": \"626173652fff\", \"Size\": 0, \"Last-Modified\": "                       \
    "\"2026-11-21 03:00:01 GMT\" }"
#define RANGES                                                                                     \
    "\"WAL-Ranges\": [\n{ \"Timeline\": 2, \"Start-LSN\": \"0/3000000\", \"End-LSN\": "            \
    "\"0/3000100\" },\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": "             \
    "\"0/3000000\" }\n],\n"

static bool on_file(void *ctx, const ManifestFile *f, Error *err)
{
    if (!strcmp(f->path, "refuse"))
        return error_set(err, ERR_REPO, "refused by the callback");
    return buf_printf(ctx, "%s %llu %s %s %s\n", f->path, (unsigned long long)f->size,
                      f->last_modified, f->algorithm ? f->algorithm : "-",
                      f->checksum ? f->checksum : "-");
}

static bool on_range(void *ctx, uint32_t tli, uint64_t start, uint64_t end, Error *err)
{
    (void)err;
    return buf_printf(ctx, "tli %u %llX %llX\n", tli, (unsigned long long)start,
                      (unsigned long long)end);
}

/* Adds the last line, with the right checksum. */
static void seal(Buf *m)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;
    EVP_Digest(m->data, m->len, digest, &len, EVP_sha256(), NULL);
    buf_puts(m, "\"Manifest-Checksum\": \"");
    for (unsigned i = 0; i < len; i++)
        buf_printf(m, "%02x", digest[i]);
    buf_puts(m, "\"}\n");
}

static bool read_all(const char *data, size_t len, size_t chunk, Buf *out, ManifestInfo *info,
                     Error *err)
{
    ManifestSink sink = {out, on_file, on_range};
    ManifestReader *r = manifest_open(&sink);
    bool ok = true;
    while (ok && len) {
        size_t n = chunk < len ? chunk : len;
        char *copy = mem_resize(mem_strndup(data, n), n, 1);
        ok = manifest_feed(r, copy, n, err);
        free(copy);
        data += n;
        len -= n;
    }
    ok = ok && manifest_finish(r, info, err);
    manifest_free(r);
    return ok;
}

static Buf sealed(const char *text)
{
    Buf m = BUF_INIT;
    buf_puts(&m, text);
    seal(&m);
    return m;
}

static void test_version_1_in_every_chunking(void **state)
{
    (void)state;
    Buf m = sealed(V1 "\n" FILE1 ",\n" FILE2 "\n],\n" RANGES);
    for (size_t chunk = 1; chunk <= m.len; chunk++) {
        Buf out = BUF_INIT;
        ManifestInfo info;
        Error err = {0};
        assert_true(read_all(m.data, m.len, chunk, &out, &info, &err));
        assert_string_equal(out.data, "backup_label 226 2026-11-21 03:00:00 GMT CRC32C 9ab1c0de\n"
                                      "base/\xff 0 2026-11-21 03:00:01 GMT - -\n"
                                      "tli 2 3000000 3000100\ntli 1 2000028 3000000\n");
        assert_int_equal(info.version, 1);
        assert_true(info.sysid == 0 && info.files == 2 && info.bytes == 226);
        buf_free(&out);
    }
    buf_free(&m);
}

static void test_version_2(void **state)
{
    (void)state;
    Buf m = sealed(V2 "\n" FILE1 "\n],\n" RANGES);
    Buf out = BUF_INIT;
    ManifestInfo info;
    Error err = {0};
    assert_true(read_all(m.data, m.len, 4096, &out, &info, &err));
    assert_int_equal(info.version, 2);
    assert_true(info.sysid == 18446744073709551557ULL);
    buf_free(&out);
    buf_free(&m);
}

static void test_no_files(void **state)
{
    (void)state;
    Buf m = sealed(V1 "\n],\n" RANGES);
    Buf out = BUF_INIT;
    Error err = {0};
    assert_true(read_all(m.data, m.len, 4096, &out, NULL, &err));
    buf_free(&out);
    buf_free(&m);
}

static void test_every_truncation(void **state)
{
    (void)state;
    Buf m = sealed(V2 "\n" FILE1 ",\n" FILE2 "\n],\n" RANGES);
    for (size_t len = 0; len < m.len; len++) {
        Buf out = BUF_INIT;
        Error err = {0};
        assert_false(read_all(m.data, len, 100, &out, NULL, &err));
        assert_int_equal(err.code, ERR_DAMAGED);
        buf_free(&out);
    }
    buf_free(&m);
}

static void test_every_changed_byte(void **state)
{
    (void)state;
    Buf m = sealed(V2 "\n" FILE1 ",\n" FILE2 "\n],\n" RANGES);
    for (size_t at = 0; at < m.len; at++) {
        static const char changes[] = {1, 0x20, (char)0x80};
        for (size_t i = 0; i < sizeof(changes); i++) {
            Buf out = BUF_INIT;
            Error err = {0};
            m.data[at] = (char)(m.data[at] ^ changes[i]);
            /* Only the case of the checksum's own digits may change. */
            bool digit = changes[i] == 0x20 && at + 67 >= m.len && at + 3 < m.len;
            if (!digit)
                assert_false(read_all(m.data, m.len, 100, &out, NULL, &err));
            m.data[at] = (char)(m.data[at] ^ changes[i]);
            buf_free(&out);
        }
    }
    buf_free(&m);
}

static void refuse(const char *text, const char *why, ErrorCode code)
{
    Buf m = sealed(text), out = BUF_INIT;
    Error err = {0};
    assert_false(read_all(m.data, m.len, 33, &out, NULL, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    buf_free(&out);
    buf_free(&m);
}

#define ONE(fields) V1 "\n{ " fields " }\n],\n" RANGES
#define TIME        "\"Last-Modified\": \"t\""

static void test_refusals(void **state)
{
    (void)state;
    refuse("{ \"PostgreSQL-Backup-Manifest-Version\": 3,\n", "version 3", ERR_DAMAGED);
    refuse("{ \"PostgreSQL-Backup-Manifest-Version\": 0,\n", "begin", ERR_DAMAGED);
    refuse("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"Files\": [\n", "system", ERR_DAMAGED);
    refuse("{}\n", "begin", ERR_DAMAGED);
    refuse(V1 "\n" FILE1 ",\n],\n" RANGES, "comma", ERR_DAMAGED);
    refuse(V1 "\n" FILE1 "\n" FILE2 "\n],\n" RANGES, "comma", ERR_DAMAGED);
    refuse(V1 "\n[]\n],\n" RANGES, "object", ERR_DAMAGED);
    refuse(V1 "\n{ \"Path\": \n],\n" RANGES, "object", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"/etc/passwd\", \"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a/../b\", \"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Encoded-Path\": \"61\", \"Size\": 1, " TIME), "path",
           ERR_DAMAGED);
    refuse(ONE("\"Encoded-Path\": \"6\", \"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Encoded-Path\": \"6100\", \"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Encoded-Path\": \"2e2e\", \"Size\": 1, " TIME), "path", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Path\": \"b\", \"Size\": 1, " TIME), "object", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": -1, " TIME), "size", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": \"1\", " TIME), "size", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 99999999999999999999, " TIME), "object", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 1"), "time", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 1, \"New\": 1, " TIME), "unknown", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 1, " TIME ", \"Checksum\": \"00000000\""), "checksum",
           ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 1, " TIME
               ", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"0000000g\""),
           "checksum", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"a\", \"Size\": 1, " TIME
               ", \"Checksum-Algorithm\": \"MD5\", \"Checksum\": \"00000000\""),
           "checksum", ERR_DAMAGED);
    refuse(ONE("\"Path\": \"refuse\", \"Size\": 1, " TIME), "by the callback", ERR_REPO);
    refuse(V1 "\n" FILE1 "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 0, \"Start-LSN\": \"0/1\", "
              "\"End-LSN\": \"0/2\" }\n],\n",
           "range", ERR_DAMAGED);
    refuse(V1 "\n" FILE1 "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/3\", "
              "\"End-LSN\": \"0/2\" }\n],\n",
           "range", ERR_DAMAGED);
}

static void test_bytes_behind_the_end(void **state)
{
    (void)state;
    Buf m = sealed(V1 "\n" FILE1 "\n],\n" RANGES), out = BUF_INIT;
    Error err = {0};
    buf_puts(&m, "x");
    assert_false(read_all(m.data, m.len, 4096, &out, NULL, &err));
    buf_puts(&m, "\n");
    buf_clear(&out);
    assert_false(read_all(m.data, m.len, 4096, &out, NULL, &err));
    assert_non_null(strstr(err.message, "behind the end"));
    buf_free(&out);
    buf_free(&m);
}

static void test_line_ceiling(void **state)
{
    (void)state;
    Buf m = BUF_INIT, out = BUF_INIT;
    Error err = {0};
    buf_puts(&m, V1 "\n{ \"Path\": \"");
    for (int i = 0; i < MANIFEST_LINE_MAX; i++)
        buf_putc(&m, 'a');
    assert_false(read_all(m.data, m.len, 1000, &out, NULL, &err));
    assert_non_null(strstr(err.message, "line 3: the line is too long"));
    buf_free(&out);
    buf_free(&m);
}

static void test_many_files(void **state)
{
    (void)state;
    Buf m = BUF_INIT;
    ManifestSink none = {0};
    ManifestReader *r = manifest_open(&none);
    ManifestInfo info;
    Error err = {0};
    buf_puts(&m, V1);
    for (int i = 0; i < 20000; i++)
        buf_printf(&m, "%s\n{ \"Path\": \"base/5/%d\", \"Size\": 8192, " TIME " }", i ? "," : "",
                   i);
    buf_puts(&m, "\n],\n" RANGES);
    seal(&m);
    assert_true(manifest_feed(r, m.data, m.len, &err));
    assert_true(manifest_finish(r, &info, &err));
    assert_true(info.files == 20000 && info.bytes == 20000ULL * 8192);
    manifest_free(r);
    buf_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1_in_every_chunking),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_changed_byte),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bytes_behind_the_end),
        cmocka_unit_test(test_line_ceiling),
        cmocka_unit_test(test_many_files),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
