/* repo/walput.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/walpage.h"
#include "stream/digest.h"
#include "syscalls.h"
#include "walscratch.h"

#define SEGMENT "00000001000000000000000A"
#define BIG     (128u * 1024 * 1024)

/* A filled segment 10. */
static uint8_t *segment(int seed)
{
    uint8_t *p = wal_segment(1, 10, SEG_1M, SCRATCH_SYSID);
    for (uint32_t i = WALPAGE_LONG_HEADER; i < SEG_1M; i++)
        p[i] = (uint8_t)(i * i + (uint32_t)seed);
    return p;
}

static void expect_conflict(Scratch *s, const char *name, const void *data, size_t len)
{
    Error err = {0};
    assert_false(wal_archive(s, name, data, len, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_non_null(strstr(err.message, name));
    assert_non_null(strstr(err.hint, "two servers"));
}

static void expect_refused(Scratch *s, const char *name, const void *data, size_t len,
                           ErrorCode code, const char *message)
{
    Error err = {0};
    if (wal_archive(s, name, data, len, &err))
        fail_msg("archived, though: %s", message);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    assert_false(fs_exists(scratch_path(s, "repo")));
}

static void test_key(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment(1), digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256(p, SEG_1M, digest);
    sha256_hex(digest, hex);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    char *expected = mem_printf(
        "v1/main/15-7300000000000000001/wal/0000000100000000/" SEGMENT "-%.16s.lz4\n", hex);
    assert_string_equal(scratch_files(s, scratch_path(s, "repo")), expected);
    free(expected);
    free(p);
}

static void test_same_again(void **state)
{
    Scratch *s = *state;
    Error err;
    size_t len = 0;
    uint8_t *p = segment(1);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    char *path = scratch_find(s, scratch_path(s, "repo"), ".lz4");
    struct stat before, after;
    char *stored = scratch_read(s, path, &len);
    assert_int_equal(stat(path, &before), 0);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    assert_string_equal(scratch_find(s, scratch_path(s, "repo"), ".lz4"), path);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino);
    scratch_expect(s, path, stored, len);
    free(p);
}

/* What is there already counts only if it can be read back. */
static void test_damaged_there(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment(1);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    char *path = scratch_find(s, scratch_path(s, "repo"), ".lz4");
    scratch_flip(path, -6);
    assert_false(wal_archive(s, SEGMENT, p, SEG_1M, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_non_null(strstr(err.hint, "move this object"));
    assert_int_equal(truncate(path, 0), 0);
    assert_false(wal_archive(s, SEGMENT, p, SEG_1M, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_int_equal(unlink(path), 0);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    free(p);
}

static void test_second_content(void **state)
{
    Scratch *s = *state;
    Error err;
    size_t len = 0;
    uint8_t *p = segment(1), *q = segment(2);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    char *path = scratch_find(s, scratch_path(s, "repo"), ".lz4");
    char *stored = scratch_read(s, path, &len);
    expect_conflict(s, SEGMENT, q, SEG_1M);
    assert_string_equal(scratch_find(s, scratch_path(s, "repo"), ".lz4"), path);
    scratch_expect(s, path, stored, len);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    /* partial and backup history files may differ, and are no segments */
    must(wal_archive(s, SEGMENT ".partial", q, SEG_1M, &err), &err);
    must(wal_archive(s, SEGMENT ".partial", p, SEG_1M, &err), &err);
    must(wal_archive(s, SEGMENT ".00000028.backup", "one", 3, &err), &err);
    must(wal_archive(s, SEGMENT ".00000028.backup", "two", 3, &err), &err);
    must(wal_archive(s, SEGMENT, p, SEG_1M, &err), &err);
    free(p);
    free(q);
}

static Scratch *other_server;
static const uint8_t *other_content;

static void other_archives(void)
{
    Error err;
    must(wal_archive(other_server, SEGMENT, other_content, SEG_1M, &err), &err);
}

/* Another server's content comes in between the look and the put: no success for ours. */
static void test_race(void **state)
{
    Scratch *s = *state;
    uint8_t *p = segment(1), *q = segment(2);
    other_server = s;
    other_content = q;
    syscalls = (Syscalls){.before_link = other_archives};
    expect_conflict(s, SEGMENT, p, SEG_1M);
    assert_null(syscalls.before_link);
    /* with both there, neither may be called safe again */
    expect_conflict(s, SEGMENT, p, SEG_1M);
    expect_conflict(s, SEGMENT, q, SEG_1M);
    free(p);
    free(q);
}

static void test_history(void **state)
{
    Scratch *s = *state;
    Error err;
    static const char text[] = "1\t0/3000060\tbefore noon\n", other[] = "1\t0/3000060\tafter\n";
    must(wal_archive(s, "00000002.history", text, strlen(text), &err), &err);
    char *path = scratch_path(s, "repo/v1/main/15-7300000000000000001/wal/00000002.history");
    scratch_expect(s, path, text, strlen(text));
    must(wal_archive(s, "00000002.history", text, strlen(text), &err), &err);
    expect_conflict(s, "00000002.history", other, strlen(other));
    expect_conflict(s, "00000002.history", text, strlen(text) - 1); /* a beginning of it */
    scratch_expect(s, path, text, strlen(text));
    must(wal_archive(s, "00000003.history", other, strlen(other), &err), &err);
}

static void test_bad_small_files(void **state)
{
    Scratch *s = *state;
    char *large = mem_new(1024 * 1024 + 1, 1);
    memset(large, '\n', 1024 * 1024 + 1);
    expect_refused(s, "00000002.history", "", 0, ERR_DAMAGED, "0 bytes");
    expect_refused(s, "00000002.history", large, 1024 * 1024 + 1, ERR_DAMAGED, "1048577 bytes");
    expect_refused(s, "00000002.history", "2\t0/1\tx\n", 8, ERR_DAMAGED, "line");
    expect_refused(s, "00000002.history", "PNG\0", 4, ERR_DAMAGED, "line");
    expect_refused(s, SEGMENT ".00000028.backup", "", 0, ERR_DAMAGED, "0 bytes");
    expect_refused(s, SEGMENT ".00000028.backup", large, 1024 * 1024 + 1, ERR_DAMAGED, "bytes");
    free(large);
}

static void test_bad_segments(void **state)
{
    Scratch *s = *state;
    uint8_t *p = segment(1), *longer = calloc(1, SEG_1M + 1);
    memcpy(longer, p, SEG_1M);
    expect_refused(s, SEGMENT, p, SEG_1M - 1, ERR_DAMAGED, "has 1048575 bytes");
    expect_refused(s, SEGMENT, p, SEG_1M / 2, ERR_DAMAGED, "its header says 1048576");
    expect_refused(s, SEGMENT, longer, SEG_1M + 1, ERR_DAMAGED, "has 1048577 bytes");
    expect_refused(s, SEGMENT, p, 0, ERR_DAMAGED, "too short");
    expect_refused(s, SEGMENT, p, 39, ERR_DAMAGED, "too short");
    expect_refused(s, SEGMENT ".partial", p, SEG_1M / 2, ERR_DAMAGED, "its header says");
    expect_refused(s, "00000001000000000000000B", p, SEG_1M, ERR_DAMAGED, "begins at 0/B00000");
    expect_refused(s, "00000001000000010000000A", p, SEG_1M, ERR_DAMAGED, "begins at");
    expect_refused(s, "000000010000000000001000", p, SEG_1M, ERR_DAMAGED, "is called");
    put32(p + 4, 2);
    expect_refused(s, SEGMENT, p, SEG_1M, ERR_DAMAGED, "of timeline 2");
    put32(p + 4, 0);
    expect_refused(s, SEGMENT, p, SEG_1M, ERR_DAMAGED, "of timeline 0");
    put32(p + 4, 1);
    put64(p + 24, SCRATCH_SYSID + 1);
    expect_refused(s, SEGMENT, p, SEG_1M, ERR_USAGE, "system 7300000000000000002");
    memset(p, 0, 40);
    expect_refused(s, SEGMENT, p, SEG_1M, ERR_DAMAGED, "not a WAL segment");
    free(p);
    free(longer);
}

static void test_unreadable(void **state)
{
    Scratch *s = *state;
    Error err;
    char *path = scratch_path(s, "pg_wal");
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.message, "not a regular file"));
}

/* A failing store is an error, and the next try finds the way clear. */
static void test_store_fails(void **state)
{
    Scratch *s = *state;
    Error err;
    uint8_t *p = segment(1);
    char *path = scratch_path(s, "pg_wal/" SEGMENT);
    scratch_write(path, p, SEG_1M);
    syscalls.write = ENOSPC;
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    assert_int_equal(err.code, ERR_REPO);
    syscalls = (Syscalls){.fsync = EIO};
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    syscalls = (Syscalls){0};
    assert_string_equal(scratch_files(s, scratch_path(s, "repo")), "");
    must(wal_archive_file(s->repo, path, SEGMENT, &err), &err);
    free(p);
}

/* --- over 64 MiB: two passes -------------------------------------------------------------------
 */

/* A file of 128 MiB, of which only a few pages take room. */
static char *big_segment(Scratch *s)
{
    uint8_t *head = wal_segment(1, 10, SEG_1M, SCRATCH_SYSID);
    char *path = scratch_path(s, "big");
    put64(head + 8, UINT64_C(10) * BIG);
    put32(head + 32, BIG);
    scratch_write(path, head, SEG_1M);
    assert_int_equal(truncate(path, BIG), 0);
    scratch_flip(path, BIG - 1);
    free(head);
    return path;
}

static void test_big_segment(void **state)
{
    Scratch *s = *state;
    Error err;
    WalName name = wal_name(SEGMENT);
    WalFile file;
    char *path = big_segment(s);
    must(walfile_load(&file, path, &name, SCRATCH_SYSID, 1, &err), &err);
    assert_false(file.in_memory);
    assert_int_equal(file.stored.cap, 0);
    assert_int_equal(file.size, BIG);
    /* changed between the passes, where no check of size or header sees it */
    scratch_flip(path, 70 * 1024 * 1024);
    assert_false(walfile_store(&file, s->repo, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.message, "changed while it was read"));
    assert_string_equal(scratch_files(s, scratch_path(s, "repo")), "");
    scratch_flip(path, 70 * 1024 * 1024);
    must(walfile_store(&file, s->repo, &err), &err);
    char *stored = scratch_find(s, scratch_path(s, "repo"), file.hash);
    must(walfile_store(&file, s->repo, &err), &err);
    walfile_free(&file);
    scratch_flip(path, 1024 * 1024);
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_string_equal(scratch_find(s, scratch_path(s, "repo"), ".lz4"), stored);
    assert_int_equal(truncate(path, BIG - 1), 0);
    assert_false(wal_archive_file(s->repo, path, SEGMENT, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_key),
        SCRATCH_TEST(test_same_again),
        SCRATCH_TEST(test_second_content),
        SCRATCH_TEST(test_damaged_there),
        SCRATCH_TEST(test_race),
        SCRATCH_TEST(test_history),
        SCRATCH_TEST(test_bad_small_files),
        SCRATCH_TEST(test_bad_segments),
        SCRATCH_TEST(test_unreadable),
        SCRATCH_TEST(test_store_fails),
        SCRATCH_TEST(test_big_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
