/* repo/manifest_store.h, and the comparison of repo/packwrite.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "packscratch.h"
#include "pg/crc32c.h"
#include "repo/manifest_store.h"

/* The files that are streamed: path in the manifest, seed of the content, size. */
static const struct {
    const char *path;
    uint32_t seed;
    size_t size;
} files[] = {
    {"pg_tblspc/16384/PG_15_202209061/5/16390", 1, 5000},
    {"pg_tblspc/16384/PG_15_202209061/5/16391", 2, 0},
    {"backup_label", 3, 230},
    {"base/1/large", 4, 600000},
    {"base/1/with space 1", 5, 8192},
    {" base/odd\nname", 6, 3},
    {"global/pg_control", 7, 8192},
};
#define FILES (sizeof(files) / sizeof(files[0]))

static PackWriter *stream(Scratch *s)
{
    Error err;
    PackArchive a[2] = {{16384, "/srv/ts", BUF_INIT}, {0, NULL, BUF_INIT}};
    PackSettings set = {.pack_size = 100000, .workers = 2};
    for (size_t i = 0; i < FILES; i++)
        tar_noise(&a[i >= 2].tar, files[i].path + (i < 2 ? strlen("pg_tblspc/16384/") : 0),
                  files[i].seed, files[i].size);
    tar_end(&a[0].tar);
    tar_end(&a[1].tar);
    PackWriter *w = pack_begin(s, &set);
    must(feed_archives(w, a, 2, 4096, &err), &err);
    buf_free(&a[0].tar);
    buf_free(&a[1].tar);
    return w;
}

typedef struct Change {
    size_t leave_out; /* a file's number + 1 */
    size_t other_size, other_sum, no_sum, sha;
    bool extra, swap, bad_seal;
} Change;

static void manifest_file(Buf *m, size_t i, const Change *c)
{
    char *data = noise(files[i].seed, files[i].size);
    uint32_t crc = crc32c(0, data, files[i].size) ^ (c->other_sum == i + 1);
    free(data);
    buf_puts(m, "{ \"Encoded-Path\": \"");
    for (const char *p = files[i].path; *p; p++)
        buf_printf(m, "%02x", (unsigned char)*p);
    buf_printf(m, "\", \"Size\": %zu, \"Last-Modified\": \"2026-11-21 03:00:00 GMT\"",
               files[i].size + (c->other_size == i + 1));
    if (c->sha == i + 1)
        buf_printf(m, ", \"Checksum-Algorithm\": \"SHA224\", \"Checksum\": \"%056d\"", 0);
    else if (c->no_sum != i + 1)
        buf_printf(m, ", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"%02x%02x%02x%02x\"",
                   crc & 0xFF, crc >> 8 & 0xFF, crc >> 16 & 0xFF, crc >> 24);
    buf_puts(m, " }");
}

static Buf manifest(const Change *c)
{
    Buf m = BUF_INIT;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    bool any = false;
    buf_puts(&m, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [");
    for (size_t n = 0; n < FILES; n++) {
        size_t i = c->swap && n >= 2 && n <= 3 ? 5 - n : n;
        if (c->leave_out == i + 1)
            continue;
        buf_puts(&m, any ? ",\n" : "\n");
        manifest_file(&m, i, c);
        any = true;
    }
    if (c->extra)
        buf_puts(&m, ",\n{ \"Path\": \"extra\", \"Size\": 0, \"Last-Modified\": "
                     "\"2026-11-21 03:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", "
                     "\"Checksum\": \"00000000\" }");
    buf_puts(&m, "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", "
                 "\"End-LSN\": \"0/2000100\" }\n],\n");
    sha256(m.data, m.len, digest);
    sha256_hex(digest, hex);
    hex[0] ^= c->bad_seal ? 1 : 0;
    buf_printf(&m, "\"Manifest-Checksum\": \"%s\"}\n", hex);
    return m;
}

static bool store(Scratch *s, PackWriter *w, const Buf *m, size_t chunk, uint64_t *size,
                  char sha[65], Error *err)
{
    ManifestStore *ms = manifest_store_begin(s->repo, LABEL, w, 1, err);
    bool ok = ms != NULL;
    for (size_t at = 0; ok && at < m->len; at += chunk)
        ok = manifest_store_write(ms, m->data + at, m->len - at < chunk ? m->len - at : chunk, err);
    ok = ok && manifest_store_finish(ms, size, sha, err);
    manifest_store_free(ms);
    return ok;
}

static void test_stored_as_is(void **state)
{
    Scratch *s = *state;
    Error err;
    Change none = {0};
    static const size_t chunks[] = {1, 13, 100000};
    Buf m = manifest(&none);
    for (size_t i = 0; i < 3; i++) {
        uint64_t size;
        char sha[65], hex[SHA256_HEX];
        uint8_t digest[SHA256_BYTES];
        PackWriter *w = stream(s);
        must(store(s, w, &m, chunks[i], &size, sha, &err), &err);
        packwriter_free(w);
        assert_int_equal(size, m.len);
        sha256(m.data, m.len, digest);
        sha256_hex(digest, hex);
        assert_string_equal(sha, hex);
        Buf back = BUF_INIT;
        char key[REPO_MAX_KEY];
        Filter *chain = filter_lz4_decode(filter_to_buf(&back));
        repo_key(s->repo, key, "base/" LABEL "/backup_manifest.lz4");
        must(repo_read_through(s->repo, key, chain, &err), &err);
        filter_free(chain);
        assert_string_equal(back.data, m.data);
        buf_free(&back);
        must(fs_empty_dir(scratch_path(s, "repo"), &err), &err);
    }
    buf_free(&m);
}

static void expect_refused(Scratch *s, const Change *c, ErrorCode code, const char *message)
{
    Error err = {0};
    uint64_t size;
    char sha[65];
    Buf m = manifest(c);
    PackWriter *w = stream(s);
    if (store(s, w, &m, 50, &size, sha, &err))
        fail_msg("stored, though: %s", message);
    packwriter_free(w);
    buf_free(&m);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    assert_false(fs_exists(backup_object(s, NULL, "backup_manifest.lz4")));
    assert_true(fs_empty_dir(scratch_path(s, "repo"), &err));
}

static void test_differences(void **state)
{
    Scratch *s = *state;
    for (size_t i = 0; i < FILES; i++) {
        Change c = {.leave_out = i + 1};
        expect_refused(s, &c, ERR_DAMAGED, files[i].path);
        c = (Change){.other_size = i + 1};
        expect_refused(s, &c, ERR_DAMAGED, files[i].path);
        c = (Change){.other_sum = i + 1};
        expect_refused(s, &c, ERR_DAMAGED, "another checksum");
    }
    expect_refused(s, &(Change){.no_sum = 2}, ERR_PG, "no CRC32C");
    expect_refused(s, &(Change){.sha = 2}, ERR_PG, "no CRC32C");
    expect_refused(s, &(Change){.extra = true}, ERR_DAMAGED, "not streamed");
    expect_refused(s, &(Change){.swap = true}, ERR_DAMAGED, "was streamed");
    expect_refused(s, &(Change){.bad_seal = true}, ERR_DAMAGED, "checksum");
}

static void test_cut_and_taken(void **state)
{
    Scratch *s = *state;
    Error err = {0};
    Change none = {0};
    uint64_t size;
    char sha[65];
    Buf m = manifest(&none);
    PackWriter *w = stream(s);
    Buf cut = m;
    cut.len -= 30;
    assert_false(store(s, w, &cut, 100, &size, sha, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    packwriter_free(w);
    assert_true(fs_empty_dir(scratch_path(s, "repo"), &err));
    scratch_text(backup_object(s, NULL, "backup_manifest.lz4"), "taken");
    w = stream(s);
    assert_false(store(s, w, &m, 100, &size, sha, &err));
    assert_int_equal(err.code, ERR_REPO);
    packwriter_free(w);
    scratch_expect(s, backup_object(s, NULL, "backup_manifest.lz4"), "taken", 5);
    buf_free(&m);
    manifest_store_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_stored_as_is),
        SCRATCH_TEST(test_differences),
        SCRATCH_TEST(test_cut_and_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
