/* repo/walget.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo/walget.h"
#include "stream/digest.h"
#include "stream/lz4.h"
#include "syscalls.h"
#include "walscratch.h"

#define SEGMENT "00000001000000000000000A"

/* A segment whose lz4 form has raw and compressed blocks. */
static uint8_t *segment(void)
{
    uint8_t *p = wal_segment(1, 10, SEG_1M, SCRATCH_SYSID);
    uint32_t x = 1;
    for (uint32_t i = 8192; i < 300000; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 24);
    }
    return p;
}

static WalObject find(Scratch *s, const char *name)
{
    Error err;
    WalObject object;
    size_t contents;
    WalName parsed = wal_name(name);
    must(walkey_find(s->repo, &parsed, &object, &contents, &err), &err);
    assert_int_equal(contents, 1);
    return object;
}

/* Stores content under the name as it is, with a right hash and without any check. */
static WalObject store_raw(Scratch *s, const char *name, const void *data, size_t len)
{
    Error err;
    Buf frame = BUF_INIT;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX], key[REPO_MAX_KEY];
    bool existed;
    sha256(data, len, digest);
    sha256_hex(digest, hex);
    hex[16] = '\0';
    walkey_make(s->repo, name, hex, key);
    must(lz4_frame_append(&frame, data, len, 1, &err), &err);
    must(storage_put(s->repo->storage, key, frame.data, frame.len, NULL, &existed, &err), &err);
    buf_free(&frame);
    StorageObject object = {.key = key, .size = 1, .modified = 1};
    WalObject out;
    assert_true(walkey_parse(s->repo, &object, &out));
    return out;
}

/* Fetching fails, shows nothing, leaves nothing and does not touch what is there. */
static void expect_refused(Scratch *s, const WalObject *object, ErrorCode code)
{
    Error err = {0};
    char *dest = scratch_path(s, "out/file"), *there = scratch_path(s, "there/file");
    assert_true(mkdir(scratch_path(s, "out"), 0700) == 0 || errno == EEXIST);
    scratch_text(there, "old");
    if (walget_file(s->repo, object, dest, &err))
        fail_msg("fetched: %s", object->key);
    assert_int_equal(err.code, code);
    assert_string_equal(scratch_files(s, scratch_path(s, "out")), "");
    assert_false(walget_file(s->repo, object, there, &err));
    assert_string_equal(scratch_files(s, scratch_path(s, "there")), "file\n");
    scratch_expect(s, there, "old", 3);
}

static void test_round_trip(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment();
    char *dest = scratch_path(s, "RECOVERYXLOG");
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    must(wal_archive(s, SEGMENT ".partial", p, SEG_1M, &err), &err);
    must(wal_archive(s, SEGMENT ".00000028.backup", "START WAL", 9, &err), &err);
    must(wal_archive(s, "00000002.history", "1\t0/A00028\tx\n", 13, &err), &err);
    for (int named = 0; named < 2; named++) {
        syscalls.no_tmpfile = named;
        WalObject object = find(s, SEGMENT);
        must(walget_file(s->repo, &object, dest, &err), &err);
        scratch_expect(s, dest, p, SEG_1M);
        object = find(s, SEGMENT ".partial");
        must(walget_file(s->repo, &object, dest, &err), &err); /* over the one that is there */
        scratch_expect(s, dest, p, SEG_1M);
        object = find(s, SEGMENT ".00000028.backup");
        must(walget_file(s->repo, &object, dest, &err), &err);
        scratch_expect(s, dest, "START WAL", 9);
        object = find(s, "00000002.history");
        must(walget_file(s->repo, &object, dest, &err), &err);
        scratch_expect(s, dest, "1\t0/A00028\tx\n", 13);
        assert_string_equal(scratch_find(s, s->dir, "RECOVERYXLOG"), dest);
    }
    syscalls = (Syscalls){0};
    free(p);
}

/* The name appears only when all of the content is on disk. */
static void test_durability_order(void **state)
{
    Scratch *s = *state;
    Error err;
    Buf log = BUF_INIT;
    uint8_t *p = segment();
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    WalObject object = find(s, SEGMENT);
    syscalls = (Syscalls){.log = &log, .no_tmpfile = true};
    must(walget_file(s->repo, &object, scratch_path(s, "x"), &err), &err);
    syscalls = (Syscalls){0};
    char *expected = mem_printf("fsync file\nrename %s/x\nfsync %s\n", s->dir, s->dir);
    assert_string_equal(log.data, expected);
    free(expected);
    buf_free(&log);
    syscalls.fsync = EIO;
    expect_refused(s, &object, ERR_INTERNAL);
    syscalls = (Syscalls){.rename = EIO};
    expect_refused(s, &object, ERR_INTERNAL);
    syscalls = (Syscalls){0};
    object = find(s, SEGMENT);
    assert_false(walget_file(s->repo, &object, scratch_path(s, "none/x"), &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    free(p);
}

/* A changed byte anywhere, a cut anywhere, bytes behind it. */
static void test_damage(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment();
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    WalObject object = find(s, SEGMENT);
    char *path = scratch_object(s, object.key);
    size_t size = 0;
    char *stored = scratch_read(s, path, &size);
    long places[] = {0, 4, 5, 6, 7, 20, 4000, 100000, (long)size / 2, -400, -8, -5, -4, -1};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        scratch_flip(path, places[i]);
        expect_refused(s, &object, ERR_DAMAGED);
        scratch_flip(path, places[i]);
    }
    size_t cuts[] = {0, 1, 7, 20, 4000, size / 2, size - 8, size - 4, size - 1};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        scratch_write(path, stored, cuts[i]);
        expect_refused(s, &object, ERR_DAMAGED);
    }
    Buf longer = BUF_INIT;
    buf_append(&longer, stored, size);
    buf_puts(&longer, "more");
    scratch_write(path, longer.data, longer.len);
    expect_refused(s, &object, ERR_DAMAGED);
    must(lz4_frame_append(&longer, "more", 4, 1, &err), &err);
    scratch_write(path, longer.data + 4, size);
    expect_refused(s, &object, ERR_DAMAGED);
    buf_free(&longer);
    unlink(path);
    expect_refused(s, &object, ERR_NO);
    free(p);
}

/* Whole frames of another content: only the hash in the key tells. */
static void test_wrong_content(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment();
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    WalObject object = find(s, SEGMENT);
    Buf frame = BUF_INIT;
    p[SEG_1M - 1] ^= 1;
    must(lz4_frame_append(&frame, p, SEG_1M, 1, &err), &err);
    scratch_write(scratch_object(s, object.key), frame.data, frame.len);
    expect_refused(s, &object, ERR_DAMAGED);
    /* another complete frame behind the right one */
    p[SEG_1M - 1] ^= 1;
    buf_clear(&frame);
    must(lz4_frame_append(&frame, p, SEG_1M, 1, &err), &err);
    must(lz4_frame_append(&frame, "x", 1, 1, &err), &err);
    scratch_write(scratch_object(s, object.key), frame.data, frame.len);
    expect_refused(s, &object, ERR_DAMAGED);
    buf_free(&frame);
    free(p);
}

/* A right hash does not help what is no such segment. */
static void test_wrong_header(void **state)
{
    Scratch *s = *state;
    uint8_t *p = segment();
    WalObject object = store_raw(s, "00000001000000000000000B", p, SEG_1M);
    expect_refused(s, &object, ERR_DAMAGED);
    object = store_raw(s, SEGMENT, p, SEG_1M - 8192);
    expect_refused(s, &object, ERR_DAMAGED);
    object = store_raw(s, SEGMENT ".partial", p, SEG_1M / 2);
    expect_refused(s, &object, ERR_DAMAGED);
    object = store_raw(s, SEGMENT, p, 30);
    expect_refused(s, &object, ERR_DAMAGED);
    object = store_raw(s, SEGMENT, "", 0);
    expect_refused(s, &object, ERR_DAMAGED);
    put64(p + 24, SCRATCH_SYSID + 1);
    object = store_raw(s, SEGMENT, p, SEG_1M);
    expect_refused(s, &object, ERR_DAMAGED);
    put64(p + 24, SCRATCH_SYSID);
    put32(p + 4, 2);
    object = store_raw(s, SEGMENT, p, SEG_1M);
    expect_refused(s, &object, ERR_DAMAGED);
    put16(p, 0xD1FF);
    object = store_raw(s, SEGMENT, p, SEG_1M);
    expect_refused(s, &object, ERR_DAMAGED);
    free(p);
}

static void test_history(void **state)
{
    Scratch *s = *state;
    Error err;
    Buf out = BUF_INIT;
    buf_puts(&out, "before ");
    assert_false(walget_history(s->repo, 2, &out, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    assert_false(walget_history(s->repo, 2, &out, &err));
    assert_int_equal(err.code, ERR_NO);
    must(wal_archive(s, "00000002.history", "1\t0/A00028\tx\n", 13, &err), &err);
    must(walget_history(s->repo, 2, &out, &err), &err);
    assert_string_equal(out.data, "before 1\t0/A00028\tx\n");
    buf_free(&out);
    WalObject object = find(s, "00000002.history");
    scratch_text(scratch_object(s, object.key), "2\t0/A00028\tx\n");
    assert_false(walget_history(s->repo, 2, &out, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    buf_free(&out);
    expect_refused(s, &object, ERR_DAMAGED);
    char *large = mem_new(1024 * 1024 + 1, 1);
    memset(large, '\n', 1024 * 1024 + 1);
    scratch_write(scratch_object(s, object.key), large, 1024 * 1024 + 1);
    free(large);
    expect_refused(s, &object, ERR_DAMAGED);
}

static void test_stream(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment(), *got = malloc(SEG_1M);
    static const size_t steps[] = {1, 7, 8192, 300 * 1024, SEG_1M, 2 * SEG_1M};
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    WalObject object = find(s, SEGMENT);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        WalStream *ws = walstream_open(s->repo, &object, &err);
        assert_non_null(ws);
        size_t have = 0, n, limit = steps[i] == 1 ? 5000 : SEG_1M;
        while (have < limit) {
            size_t want = steps[i] < SEG_1M - have ? steps[i] : SEG_1M - have;
            must(walstream_read(ws, got + have, want, &n, &err), &err);
            assert_int_equal(n, want);
            have += n;
        }
        assert_memory_equal(got, p, have);
        if (have == SEG_1M) {
            char byte;
            for (int again = 0; again < 2; again++) {
                must(walstream_read(ws, &byte, 1, &n, &err), &err);
                assert_int_equal(n, 0);
            }
        }
        walstream_close(ws);
    }
    walstream_close(NULL);
    /* damage at the end shows only there */
    scratch_flip(scratch_object(s, object.key), -1);
    size_t n;
    WalStream *ws = walstream_open(s->repo, &object, &err);
    must(walstream_read(ws, got, 1000, &n, &err), &err);
    assert_false(walstream_read(ws, got, SEG_1M, &n, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    walstream_close(ws);
    free(p);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_round_trip),   SCRATCH_TEST(test_durability_order),
        SCRATCH_TEST(test_damage),       SCRATCH_TEST(test_wrong_content),
        SCRATCH_TEST(test_wrong_header), SCRATCH_TEST(test_history),
        SCRATCH_TEST(test_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
