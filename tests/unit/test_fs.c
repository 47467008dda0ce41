/* base/fs.h, base/tempfile.h, base/spool.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/spool.h"
#include "base/tempfile.h"
#include "scratch.h"
#include "syscalls.h"

static void expect_text(char *got, const char *expected)
{
    assert_string_equal(got, expected);
    free(got);
}

static void test_paths(void **state)
{
    Scratch *s = *state;
    expect_text(fs_join("a", "b"), "a/b");
    expect_text(fs_join("a/", "b"), "a/b");
    expect_text(fs_join("/", "b"), "/b");
    expect_text(fs_parent("a/b"), "a");
    expect_text(fs_parent("a"), ".");
    expect_text(fs_parent("/a"), "/");
    expect_text(fs_parent("/"), "/");
    expect_text(fs_parent("//"), "/");
    expect_text(fs_parent("a//b"), "a");
    expect_text(fs_parent("a/b/"), "a");
    expect_text(fs_parent("/a/b//"), "/a");
    expect_text(fs_parent("///a"), "/");
    expect_text(fs_parent(""), ".");
    assert_int_equal(mkdir(scratch_path(s, "real"), 0700), 0);
    assert_int_equal(symlink("real", scratch_path(s, "link")), 0);
    expect_text(fs_resolve(scratch_path(s, "link")), scratch_path(s, "real"));
    expect_text(fs_resolve(scratch_path(s, "link/new/x")), scratch_path(s, "real/new/x"));
    expect_text(fs_resolve(scratch_path(s, "link/../real/new")), scratch_path(s, "real/new"));
    assert_int_equal(chdir(scratch_path(s, "link")), 0);
    expect_text(fs_resolve("new"), scratch_path(s, "real/new"));
    expect_text(fs_resolve("."), scratch_path(s, "real"));
    assert_int_equal(chdir("/"), 0);
    expect_text(fs_resolve("/no-such-thing/x"), "/no-such-thing/x");
    assert_true(fs_exists(scratch_path(s, "link")));
    unlink(scratch_path(s, "link"));
    assert_int_equal(symlink("nowhere", scratch_path(s, "link")), 0);
    assert_true(fs_exists(scratch_path(s, "link"))); /* the link itself */
    assert_false(fs_exists(scratch_path(s, "nowhere")));
}

static void test_read_and_write(void **state)
{
    Scratch *s = *state;
    Error err;
    char data[200000], back[200000];
    size_t got;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7);
    char *path = scratch_path(s, "f");
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    must(fs_write(fd, data, sizeof(data), path, &err), &err);
    must(fs_pwrite(fd, "xyz", 3, 1000, path, &err), &err);
    memcpy(data + 1000, "xyz", 3);
    must(fs_pread(fd, back, sizeof(back), 0, &got, path, &err), &err);
    assert_int_equal(got, sizeof(data));
    assert_memory_equal(back, data, sizeof(data));
    must(fs_pread(fd, back, 100, sizeof(data) - 10, &got, path, &err), &err);
    assert_int_equal(got, 10);
    must(fs_read(fd, back, 100, &got, path, &err), &err);
    assert_int_equal(got, 0);
    syscalls.write = ENOSPC;
    assert_false(fs_write(fd, data, 1, path, &err));
    syscalls = (Syscalls){0};
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.message, "No space left"));
    close(fd);
    assert_false(fs_read(fd, back, 1, &got, path, &err));
    assert_false(fs_pwrite(fd, back, 1, 0, path, &err));
    fd = open(path, O_RDONLY);
    assert_int_equal(lseek(fd, 199000, SEEK_SET), 199000);
    must(fs_read(fd, back, sizeof(back), &got, path, &err), &err);
    assert_int_equal(got, 1000);
    close(fd);
}

static void test_read_file(void **state)
{
    Scratch *s = *state;
    Error err;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    char *data = mem_new(200000, 1), *path = scratch_path(s, "f");
    memset(data, 'x', 200000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        Buf b = BUF_INIT;
        scratch_write(path, data, sizes[i]);
        must(fs_read_file(path, &b, &err), &err);
        assert_int_equal(b.len, sizes[i]);
        must(fs_read_file(path, &b, &err), &err); /* appends */
        assert_int_equal(b.len, 2 * sizes[i]);
        buf_free(&b);
        buf_init_max(&b, sizes[i] ? sizes[i] : 1);
        must(fs_read_file(path, &b, &err), &err);
        buf_free(&b);
        if (sizes[i] < 2)
            continue;
        buf_init_max(&b, sizes[i] - 1);
        assert_false(fs_read_file(path, &b, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_non_null(strstr(err.message, "larger than"));
        buf_free(&b);
    }
    Buf b = BUF_INIT;
    assert_false(fs_read_file(scratch_path(s, "none"), &b, &err));
    assert_int_equal(err.code, ERR_NO);
    assert_false(fs_read_file(scratch_path(s, "f/none"), &b, &err));
    assert_int_equal(err.code, ERR_NO);
    assert_false(fs_read_file(s->dir, &b, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    buf_free(&b);
    free(data);
}

static void test_directories(void **state)
{
    Scratch *s = *state;
    Error err;
    bool empty;
    struct stat st;
    char *deep = scratch_path(s, "a/b/c");
    must(fs_mkdirs(deep, 0750, &err), &err);
    must(fs_mkdirs(deep, 0700, &err), &err);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    must(fs_dir_is_empty(deep, &empty, &err), &err);
    assert_true(empty);
    must(fs_dir_is_empty(s->dir, &empty, &err), &err);
    assert_false(empty);
    assert_false(fs_dir_is_empty(scratch_path(s, "none"), &empty, &err));
    assert_int_equal(err.code, ERR_NO);
    scratch_text(scratch_path(s, "file"), "x");
    assert_false(fs_mkdirs(scratch_path(s, "file"), 0700, &err));
    assert_false(fs_mkdirs(scratch_path(s, "file/x/y"), 0700, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.message, "file"));
    assert_int_equal(symlink(deep, scratch_path(s, "link")), 0);
    must(fs_mkdirs(scratch_path(s, "link/d"), 0700, &err), &err);
    assert_true(fs_exists(scratch_path(s, "a/b/c/d")));
    must(fs_sync_dir(deep, &err), &err);
    assert_false(fs_sync_dir(scratch_path(s, "none"), &err));
    must(fs_sync_filesystem(deep, &err), &err);
    assert_false(fs_sync_filesystem(scratch_path(s, "none"), &err));
    Buf log = BUF_INIT;
    syscalls.log = &log;
    must(fs_sync_dirs_up(deep, s->dir, &err), &err);
    syscalls = (Syscalls){.fsync = EIO, .spare = 2};
    assert_false(fs_sync_dirs_up(deep, s->dir, &err));
    syscalls = (Syscalls){.fsync = EINVAL}; /* a file system that can't */
    must(fs_sync_dirs_up(deep, s->dir, &err), &err);
    syscalls = (Syscalls){0};
    char *expected = mem_printf("fsync %s/a/b/c\nfsync %s/a/b\nfsync %s/a\nfsync %s\n", s->dir,
                                s->dir, s->dir, s->dir);
    assert_string_equal(log.data, expected);
    free(expected);
    buf_free(&log);
}

/* Nothing behind a link is touched. */
static void test_removing(void **state)
{
    Scratch *s = *state;
    Error err;
    scratch_text(scratch_path(s, "kept/precious"), "x");
    scratch_text(scratch_path(s, "d/a/b/c"), "x");
    scratch_text(scratch_path(s, "d/.hidden"), "x");
    assert_int_equal(symlink(scratch_path(s, "kept"), scratch_path(s, "d/link")), 0);
    assert_int_equal(symlink("nowhere", scratch_path(s, "d/a/dead")), 0);
    must(fs_empty_dir(scratch_path(s, "d"), &err), &err);
    assert_string_equal(scratch_files(s, s->dir), "kept/precious\n");
    bool empty;
    must(fs_dir_is_empty(scratch_path(s, "d"), &empty, &err), &err);
    assert_true(empty);
    assert_false(fs_empty_dir(scratch_path(s, "none"), &err));
    must(fs_remove(scratch_path(s, "kept/precious"), &err), &err);
    must(fs_remove(scratch_path(s, "kept/precious"), &err), &err);
    assert_false(fs_remove(scratch_path(s, "d"), &err));
}

static void test_write_file(void **state)
{
    Scratch *s = *state;
    Error err;
    struct stat st;
    char *path = scratch_path(s, "f");
    for (int named = 0; named < 2; named++) {
        Buf log = BUF_INIT;
        syscalls = (Syscalls){.no_tmpfile = named};
        must(fs_write_file(path, "one", 3, 0640, &err), &err);
        scratch_expect(s, path, "one", 3);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        syscalls.log = &log;
        must(fs_write_file(path, "second", 6, 0600, &err), &err);
        syscalls.log = NULL;
        scratch_expect(s, path, "second", 6);
        const char *renamed = strstr(log.data, "rename ");
        assert_true(strncmp(log.data, "fsync file\n", 11) == 0 && renamed);
        assert_non_null(strstr(renamed, s->dir));
        assert_non_null(strstr(renamed, "\nfsync /tmp/"));
        buf_free(&log);
        syscalls.write = ENOSPC;
        assert_false(fs_write_file(path, "third", 5, 0600, &err));
        syscalls = (Syscalls){.no_tmpfile = named, .fsync = EIO};
        assert_false(fs_write_file(path, "third", 5, 0600, &err));
        syscalls = (Syscalls){.no_tmpfile = named, .rename = EIO};
        assert_false(fs_write_file(path, "third", 5, 0600, &err));
        syscalls = (Syscalls){0};
        scratch_expect(s, path, "second", 6);
        assert_string_equal(scratch_files(s, s->dir), "f\n");
        assert_false(fs_write_file(scratch_path(s, "none/f"), "x", 1, 0600, &err));
    }
}

/* --- tempfile.h --------------------------------------------------------------------------------
 */

static void test_tempfile(void **state)
{
    Scratch *s = *state;
    Error err;
    TempFile t;
    bool existed;
    for (int named = 0; named < 2; named++) {
        char *path = scratch_path(s, "new%d", named);
        syscalls.no_tmpfile = named;
        must(tempfile_open(&t, s->dir, 0600, &err), &err);
        assert_int_equal(t.name != NULL, named);
        if (named)
            assert_non_null(strstr(t.name, "/" TEMPFILE_PREFIX));
        must(fs_write(t.fd, "first", 5, path, &err), &err);
        assert_false(fs_exists(path));
        must(tempfile_publish_new(&t, path, &existed, &err), &err);
        assert_false(existed);
        tempfile_discard(&t);
        tempfile_discard(&t);
        scratch_expect(s, path, "first", 5);
        must(tempfile_open(&t, s->dir, 0600, &err), &err);
        must(fs_write(t.fd, "second", 6, path, &err), &err);
        must(tempfile_publish_new(&t, path, &existed, &err), &err);
        assert_true(existed);
        tempfile_discard(&t);
        scratch_expect(s, path, "first", 5);
        must(tempfile_open(&t, s->dir, 0600, &err), &err);
        tempfile_discard(&t);
        assert_false(tempfile_open(&t, scratch_path(s, "none"), 0600, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
        tempfile_discard(&t);
    }
    syscalls = (Syscalls){0};
    assert_string_equal(scratch_files(s, s->dir), "new0\nnew1\n");
}

/* Two named ones in one directory don't meet. */
static void test_two_tempfiles(void **state)
{
    Scratch *s = *state;
    Error err;
    TempFile a, b;
    syscalls.no_tmpfile = true;
    for (int i = 0; i < 100; i++) /* of an earlier process with our number */
        scratch_text(scratch_path(s, TEMPFILE_PREFIX "%ld-%d", (long)getpid(), i), "old");
    TempFile c;
    must(tempfile_open(&c, s->dir, 0600, &err), &err);
    must(fs_write(c.fd, "c", 1, "c", &err), &err);
    tempfile_discard(&c);
    for (int i = 0; i < 100; i++)
        unlink(scratch_path(s, TEMPFILE_PREFIX "%ld-%d", (long)getpid(), i));
    must(tempfile_open(&a, s->dir, 0600, &err), &err);
    must(tempfile_open(&b, s->dir, 0600, &err), &err);
    must(fs_write(a.fd, "a", 1, "a", &err), &err);
    must(fs_write(b.fd, "b", 1, "b", &err), &err);
    must(tempfile_publish_over(&a, scratch_path(s, "x"), &err), &err);
    must(tempfile_publish_over(&b, scratch_path(s, "x"), &err), &err);
    tempfile_discard(&a);
    tempfile_discard(&b);
    syscalls = (Syscalls){0};
    scratch_expect(s, scratch_path(s, "x"), "b", 1);
    assert_string_equal(scratch_files(s, s->dir), "x\n");
}

/* --- spool.h -----------------------------------------------------------------------------------
 */

static void test_spool(void **state)
{
    Scratch *s = *state;
    Error err;
    char back[16] = "";
    setenv("TMPDIR", s->dir, 1);
    for (int named = 0; named < 2; named++) {
        syscalls.no_tmpfile = named;
        FILE *f = spool_open(&err);
        assert_non_null(f);
        assert_string_equal(scratch_files(s, s->dir), "");
        must(spool_write(f, "hello ", 6, &err), &err);
        must(spool_write(f, "spool", 5, &err), &err);
        rewind(f);
        assert_int_equal(fread(back, 1, sizeof(back), f), 11);
        assert_string_equal(back, "hello spool");
        fclose(f);
    }
    syscalls = (Syscalls){0};
    setenv("TMPDIR", scratch_path(s, "none"), 1);
    assert_null(spool_open(&err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.hint, "TMPDIR"));
    setenv("TMPDIR", "", 1);
    FILE *f = spool_open(&err);
    assert_non_null(f);
    fclose(f);
    unsetenv("TMPDIR");
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    setvbuf(full, NULL, _IONBF, 0);
    assert_false(spool_write(full, "x", 1, &err));
    assert_non_null(strstr(err.hint, "TMPDIR"));
    fclose(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_paths),     SCRATCH_TEST(test_read_and_write),
        SCRATCH_TEST(test_read_file), SCRATCH_TEST(test_directories),
        SCRATCH_TEST(test_removing),  SCRATCH_TEST(test_write_file),
        SCRATCH_TEST(test_tempfile),  SCRATCH_TEST(test_two_tempfiles),
        SCRATCH_TEST(test_spool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
