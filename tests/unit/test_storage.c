/* storage/storage.h, storage/file.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/tempfile.h"
#include "scratch.h"
#include "storage/storage.h"
#include "syscalls.h"

static void put(Scratch *s, const char *key, const char *text)
{
    Error err;
    bool existed = true;
    must(storage_put(s->repo->storage, key, text, strlen(text), NULL, &existed, &err), &err);
    assert_false(existed);
}

static void expect_object(Scratch *s, const char *key, const char *text)
{
    Error err;
    Buf b = BUF_INIT;
    must(storage_get(s->repo->storage, key, &b, &err), &err);
    assert_int_equal(b.len, strlen(text));
    if (b.len)
        assert_memory_equal(b.data, text, b.len);
    buf_free(&b);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static void refuse_url(const char *url, const char *message)
{
    Error err = {0};
    StorageOptions options = {.name = "far", .url = url};
    assert_null(storage_open(&options, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_true(err.hint[0]);
    if (!strstr(err.message, message) || !strstr(err.message, "far"))
        fail_msg("message is: %s", err.message);
}

static void test_urls(void **state)
{
    Scratch *s = *state;
    Error err;
    refuse_url("", "no such kind of URL");
    refuse_url("/var/lib/pitr", "no such kind of URL");
    refuse_url("gopher://host/x", "no such kind of URL");
    refuse_url("fil:///x", "no such kind of URL");
    refuse_url("files:///x", "no such kind of URL");
    refuse_url("file:/x", "no such kind of URL");
    refuse_url("file://", "no absolute path");
    refuse_url("file://relative/x", "no absolute path");
    char *url = mem_printf("file://%s/slashes///", s->dir);
    StorageOptions options = {.name = "x", .url = url};
    Storage *st = storage_open(&options, &err);
    assert_non_null(st);
    assert_string_equal(storage_url(st), url);
    bool existed;
    must(storage_put(st, "a", "1", 1, NULL, &existed, &err), &err);
    assert_string_equal(scratch_files(s, s->dir), "slashes/a\n");
    storage_close(st);
    storage_close(NULL);
    free(url);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void test_put_creates_only(void **state)
{
    Scratch *s = *state;
    Error err;
    bool existed;
    put(s, "v1/a/b", "first");
    must(storage_put(s->repo->storage, "v1/a/b", "second!", 7, NULL, &existed, &err), &err);
    assert_true(existed);
    expect_object(s, "v1/a/b", "first");
    put(s, "v1/a/empty", "");
    expect_object(s, "v1/a/empty", "");
    must(storage_put(s->repo->storage, "v1/a/empty", "x", 1, NULL, &existed, &err), &err);
    assert_true(existed);
    expect_object(s, "v1/a/empty", "");
    assert_string_equal(scratch_files(s, s->dir), "repo/v1/a/b\nrepo/v1/a/empty\n");
}

static void test_put_in_pieces(void **state)
{
    Scratch *s = *state;
    Error err;
    bool existed;
    StoragePut *one = storage_put_begin(s->repo->storage, "k/x", 0, &err);
    StoragePut *two = storage_put_begin(s->repo->storage, "k/x", 0, &err);
    assert_true(one && two);
    must(storage_put_write(one, "ab", 2, &err), &err);
    must(storage_put_write(two, "other", 5, &err), &err);
    must(storage_put_write(one, "", 0, &err), &err);
    must(storage_put_write(one, "cd", 2, &err), &err);
    must(storage_put_finish(one, &existed, &err), &err);
    assert_false(existed);
    must(storage_put_finish(two, &existed, &err), &err);
    assert_true(existed);
    expect_object(s, "k/x", "abcd");
}

static bool count_object(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)object;
    (void)stop;
    (void)err;
    ++*(int *)ctx;
    return true;
}

static int count_objects(Storage *st, const char *prefix)
{
    Error err;
    int n = 0;
    must(storage_list(st, prefix, NULL, count_object, &n, &err), &err);
    return n;
}

/* What is being written is not there for anybody, named temporary file or not. */
static void test_unfinished_is_invisible(void **state)
{
    Scratch *s = *state;
    Storage *st = s->repo->storage;
    Error err;
    for (int named = 0; named < 2; named++) {
        syscalls = (Syscalls){.no_tmpfile = named};
        StoragePut *p = storage_put_begin(st, "d/x", 0, &err);
        assert_non_null(p);
        must(storage_put_write(p, "half", 4, &err), &err);
        assert_int_equal(count_objects(st, ""), 0);
        assert_int_equal(count_objects(st, "d/"), 0);
        StorageObject object;
        assert_false(storage_head(st, "d/x", &object, &err));
        assert_int_equal(err.code, ERR_NO);
        assert_int_equal(strlen(scratch_files(s, s->dir)) > 0, named);
        storage_put_abort(p);
        assert_string_equal(scratch_files(s, s->dir), "");
    }
    storage_put_abort(NULL);
    /* of a run that was killed */
    scratch_text(scratch_object(s, "d/" TEMPFILE_PREFIX "1-0"), "rest");
    assert_int_equal(count_objects(st, "d/"), 0);
}

static void expect_put_fails(Scratch *s, const char *what)
{
    Error err = {0};
    bool existed;
    if (storage_put(s->repo->storage, "d/x", "data", 4, NULL, &existed, &err))
        fail_msg("put worked without %s", what);
    assert_int_equal(err.code, ERR_REPO);
    syscalls = (Syscalls){0};
}

/* A failing write or fsync is never a success, and what was not made durable is not shown. */
static void test_put_failures(void **state)
{
    Scratch *s = *state;
    for (int named = 0; named < 2; named++) {
        syscalls = (Syscalls){.no_tmpfile = named, .write = ENOSPC};
        expect_put_fails(s, "write");
        syscalls = (Syscalls){.no_tmpfile = named, .fsync = EIO};
        expect_put_fails(s, "fsync");
        syscalls = (Syscalls){.no_tmpfile = named, .link = EPERM};
        expect_put_fails(s, "link");
        assert_string_equal(scratch_files(s, s->dir), "");
    }
    Error err;
    bool existed;
    syscalls.write = ENOSPC;
    assert_false(storage_put(s->repo->storage, "d/x", "data", 4, NULL, &existed, &err));
    syscalls = (Syscalls){0};
    assert_non_null(strstr(err.hint, "full"));
    /* the file is named, but its directory is not safe */
    syscalls = (Syscalls){.fsync = EIO, .spare = 1};
    expect_put_fails(s, "fsync of the directory");
    /* found there by the next run, whose directory can't be synced either */
    syscalls = (Syscalls){.fsync = EIO, .spare = 2};
    expect_put_fails(s, "fsync of the directories");
}

/* File first, then its name, then every directory up to the root: also if it was there already. */
static void test_durability_order(void **state)
{
    Scratch *s = *state;
    Error err;
    bool existed;
    char *dirs = mem_printf("link %s/repo/a/b/c\nfsync %s/repo/a/b\nfsync %s/repo/a\n"
                            "fsync %s/repo\nfsync %s\n",
                            s->dir, s->dir, s->dir, s->dir, s->dir);
    char *expected = scratch_keep(s, mem_printf("fsync file\n%s", dirs));
    free(dirs);
    for (int named = 0; named < 2; named++) {
        for (int again = 0; again < 2; again++) {
            Buf log = BUF_INIT;
            syscalls = (Syscalls){.log = &log, .no_tmpfile = named};
            must(storage_put(s->repo->storage, "a/b/c", "x", 1, NULL, &existed, &err), &err);
            syscalls = (Syscalls){0};
            assert_int_equal(existed, again);
            /* what comes before belongs to directories that were made */
            assert_true(log.len >= strlen(expected));
            assert_string_equal(log.data + log.len - strlen(expected), expected);
            assert_true(again == 0 || log.len == strlen(expected));
            buf_free(&log);
        }
        must(storage_delete(s->repo->storage, "a/b/c", &err), &err);
    }
}

static void test_bad_keys(void **state)
{
    Scratch *s = *state;
    Storage *st = s->repo->storage;
    char longest[1002];
    memset(longest, 'x', 1001);
    longest[1001] = '\0';
    const char *bad[] = {"",     "/",    "/a",     "a/",  "a//b", ".",     "..",
                         "../a", "a/..", "a/../b", "./a", "a/.",  "a/./b", longest};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err = {0};
        StorageObject object;
        Buf out = BUF_INIT;
        char byte;
        bool existed;
        if (storage_put(st, bad[i], "x", 1, NULL, &existed, &err) ||
            storage_put_begin(st, bad[i], 0, &err) || storage_get(st, bad[i], &out, &err) ||
            storage_get_range(st, bad[i], 0, 1, &byte, &err) ||
            storage_reader_open(st, bad[i], &err) || storage_head(st, bad[i], &object, &err) ||
            storage_delete(st, bad[i], &err))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.code, ERR_INTERNAL);
    }
    const char *prefixes[] = {"/", "a//", "..", "../", "a/../", "./"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        Error err;
        int n = 0;
        assert_false(storage_list(st, prefixes[i], NULL, count_object, &n, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_false(storage_list_names(st, prefixes[i], NULL, NULL, &err));
    }
    assert_string_equal(scratch_files(s, s->dir), "");
    longest[250] = '/';
    longest[500] = '/';
    longest[750] = '/';
    longest[999] = '\0';
    put(s, longest, "x");
    put(s, "...", "x");
    put(s, "..a/.b", "x");
}

/* --- reading -----------------------------------------------------------------------------------
 */

static void test_reading(void **state)
{
    Scratch *s = *state;
    Storage *st = s->repo->storage;
    Error err;
    char text[100001], part[8];
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = (char)('a' + i % 23);
    text[sizeof(text) - 1] = '\0';
    Instant before = clock_now() - 2 * CLOCK_SECOND;
    put(s, "k", text);
    expect_object(s, "k", text);
    StorageObject object;
    must(storage_head(st, "k", &object, &err), &err);
    assert_string_equal(object.key, "k");
    assert_int_equal(object.size, 100000);
    assert_true(object.modified > before && object.modified < clock_now() + 2 * CLOCK_SECOND);

    must(storage_get_range(st, "k", 99995, 5, part, &err), &err);
    assert_memory_equal(part, text + 99995, 5);
    must(storage_get_range(st, "k", 100000, 0, part, &err), &err);
    assert_false(storage_get_range(st, "k", 99996, 5, part, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_false(storage_get_range(st, "k", 1 << 30, 1, part, &err));
    assert_int_equal(err.code, ERR_DAMAGED);

    size_t got;
    StorageReader *r = storage_reader_open(st, "k", &err);
    assert_non_null(r);
    must(storage_reader_read(r, part, 7, &got, &err), &err);
    assert_int_equal(got, 7);
    assert_memory_equal(part, text, 7);
    storage_reader_close(r);
    storage_reader_close(NULL);

    Buf small;
    buf_init_max(&small, 99999);
    assert_false(storage_get(st, "k", &small, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    buf_free(&small);
    buf_init_max(&small, 100000);
    must(storage_get(st, "k", &small, &err), &err);
    buf_free(&small);
}

static void expect_unreadable(Scratch *s, const char *key, ErrorCode code)
{
    Storage *st = s->repo->storage;
    Error err = {0};
    StorageObject object;
    Buf out = BUF_INIT;
    char byte;
    assert_false(storage_head(st, key, &object, &err));
    assert_int_equal(err.code, code);
    assert_false(storage_get(st, key, &out, &err));
    assert_int_equal(err.code, code);
    assert_false(storage_get_range(st, key, 0, 1, &byte, &err));
    assert_int_equal(err.code, code);
    assert_null(storage_reader_open(st, key, &err));
    assert_int_equal(err.code, code);
}

static void expect_code(Scratch *s, const char *key, ErrorCode code, ErrorCode list)
{
    Error err = {0};
    int n = 0;
    expect_unreadable(s, key, code);
    assert_int_equal(storage_list(s->repo->storage, key, NULL, count_object, &n, &err),
                     list == ERR_NONE);
    assert_int_equal(n, 0);
    if (list) {
        assert_int_equal(err.code, list);
        assert_true(err.hint[0]);
    }
}

/* Absence is proven by a root that is there, and by nothing else. */
static void test_missing(void **state)
{
    Scratch *s = *state;
    Error err;
    expect_code(s, "a", ERR_REPO, ERR_REPO);
    expect_code(s, "a/b/c", ERR_REPO, ERR_REPO);
    scratch_text(scratch_path(s, "repo"), "a file where the root should be");
    expect_code(s, "a", ERR_REPO, ERR_REPO);
    bool existed;
    assert_false(storage_put(s->repo->storage, "a", "x", 1, NULL, &existed, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_false(storage_prepare(s->repo->storage, &err));
    assert_int_equal(err.code, ERR_REPO);
    unlink(scratch_path(s, "repo"));
    must(storage_prepare(s->repo->storage, &err), &err);
    must(storage_prepare(s->repo->storage, &err), &err);
    expect_code(s, "a", ERR_NO, ERR_NONE);
    expect_code(s, "a/b/c", ERR_NO, ERR_NONE);
    put(s, "a/b", "x");
    expect_code(s, "a/b/c", ERR_NO, ERR_NONE);
}

/* A directory in the place of an object is none, and never a put that succeeded. */
static void test_directory_is_no_object(void **state)
{
    Scratch *s = *state;
    Error err = {0};
    bool existed;
    put(s, "a/b/c", "x");
    expect_unreadable(s, "a", ERR_NO);
    assert_false(storage_put(s->repo->storage, "a/b", "x", 1, NULL, &existed, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_int_equal(symlink("nowhere", scratch_object(s, "a/dead")), 0);
    assert_false(storage_put(s->repo->storage, "a/dead", "x", 1, NULL, &existed, &err));
    assert_int_equal(err.code, ERR_REPO);
}

/* --- listing -----------------------------------------------------------------------------------
 */

/* Files and folders whose names sort differently with and without a '/' behind them. */
static const char *const sorted[] = {
    "A",       "a!/x",   "a-b",   "a-b-/c", "a.c",       "a/b!",   "a/b-d/e",  "a/b.e",
    "a/b/c",   "a/b/d",  "a/b/~", "a/b0",   "a/z",       "a0/b",   "ab",       "b/a-a",
    "b/a/a/a", "b/a/a0", "b/aa",  "v1/x/1", "v1/x/10/y", "v1/x/2", "\303\251",
};
#define SORTED (sizeof(sorted) / sizeof(sorted[0]))

typedef struct Listed {
    Buf keys;
    int left; /* objects until stop; -1: never */
    int fail; /* objects until failure */
} Listed;

static bool list_key(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    Listed *l = ctx;
    buf_printf(&l->keys, "%s\n", object->key);
    assert_int_equal(object->size, strlen(object->key));
    assert_true(object->modified > 0);
    if (--l->left == 0)
        *stop = true;
    return --l->fail != 0 || error_set(err, ERR_LOCKED, "enough");
}

static void check_list(Scratch *s, const char *prefix, const char *after)
{
    Error err;
    Listed l = {.left = -1};
    Buf expected = BUF_INIT;
    for (size_t i = 0; i < SORTED; i++)
        if (strncmp(sorted[i], prefix, strlen(prefix)) == 0 &&
            (!after || strcmp(sorted[i], after) > 0))
            buf_printf(&expected, "%s\n", sorted[i]);
    must(storage_list(s->repo->storage, prefix, after, list_key, &l, &err), &err);
    if (l.keys.len != expected.len || (l.keys.len && strcmp(l.keys.data, expected.data) != 0))
        fail_msg("prefix \"%s\", after \"%s\": %s", prefix, after ? after : "(none)",
                 l.keys.data ? l.keys.data : "nothing");
    buf_free(&l.keys);
    buf_free(&expected);
}

/* Every beginning of every key, with every beginning of every key as `after`. */
static void test_list_order(void **state)
{
    Scratch *s = *state;
    char prefix[32], after[32];
    for (size_t i = SORTED; i-- > 0;) {
        put(s, sorted[i], sorted[i]);
        assert_true(i + 1 == SORTED || strcmp(sorted[i], sorted[i + 1]) < 0);
    }
    for (size_t i = 0; i < SORTED; i++) {
        for (size_t n = 0; n <= strlen(sorted[i]); n++) {
            snprintf(prefix, sizeof(prefix), "%.*s", (int)n, sorted[i]);
            check_list(s, prefix, NULL);
            check_list(s, prefix, "");
            check_list(s, prefix, "~");
            for (size_t j = 0; j < SORTED; j++) {
                for (size_t m = 0; m <= strlen(sorted[j]); m++) {
                    snprintf(after, sizeof(after), "%.*s", (int)m, sorted[j]);
                    check_list(s, prefix, after);
                }
            }
            snprintf(after, sizeof(after), "%s~", prefix);
            check_list(s, prefix, after);
        }
    }
    check_list(s, "nothing", NULL);
    check_list(s, "nothing/here/", NULL);
    check_list(s, "a-b/", NULL); /* a file, not a folder */
}

static void test_list_stop(void **state)
{
    Scratch *s = *state;
    Error err;
    put(s, "a/1", "a/1");
    put(s, "a/2", "a/2");
    put(s, "b", "b");
    Listed l = {.left = 1};
    must(storage_list(s->repo->storage, "", NULL, list_key, &l, &err), &err);
    assert_string_equal(l.keys.data, "a/1\n");
    buf_free(&l.keys);
    l = (Listed){.left = -1, .fail = 2};
    assert_false(storage_list(s->repo->storage, "", NULL, list_key, &l, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    assert_string_equal(l.keys.data, "a/1\na/2\n");
    buf_free(&l.keys);
}

static bool take_name(void *ctx, const char *name, Error *err)
{
    buf_printf(ctx, "%s\n", name);
    return strcmp(name, "fail") != 0 || error_set(err, ERR_LOCKED, "enough");
}

static void test_list_names(void **state)
{
    Scratch *s = *state;
    Storage *st = s->repo->storage;
    Error err;
    Buf names = BUF_INIT;
    assert_false(storage_list_names(st, "", take_name, &names, &err));
    assert_int_equal(err.code, ERR_REPO);
    put(s, "v1/x/deep/er", "1");
    put(s, "v1/x/deep/er2", "1");
    put(s, "v1/x-1", "1");
    put(s, "v1/y", "1");
    put(s, "z/fail", "1");
    put(s, "z/later", "1");
    scratch_text(scratch_object(s, "v1/" TEMPFILE_PREFIX "1-0"), "rest");
    must(storage_list_names(st, "v1/", take_name, &names, &err), &err);
    assert_string_equal(names.data, "x-1\nx\ny\n");
    buf_clear(&names);
    must(storage_list_names(st, "", take_name, &names, &err), &err);
    assert_string_equal(names.data, "v1\nz\n");
    buf_clear(&names);
    must(storage_list_names(st, "none/", take_name, &names, &err), &err);
    assert_int_equal(names.len, 0);
    assert_false(storage_list_names(st, "z/", take_name, &names, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    assert_string_equal(names.data, "fail\n");
    buf_free(&names);
}

static void test_delete(void **state)
{
    Scratch *s = *state;
    Storage *st = s->repo->storage;
    Error err;
    put(s, "a/b/c", "1");
    put(s, "a/b/d", "2");
    must(storage_delete(st, "a/b/c", &err), &err);
    must(storage_delete(st, "a/b/c", &err), &err);
    must(storage_delete(st, "none/x", &err), &err);
    expect_object(s, "a/b/d", "2");
    put(s, "a/b/c", "3");
    expect_object(s, "a/b/c", "3");
    must(storage_delete(st, "a/b/c", &err), &err);
    must(storage_delete(st, "a/b/d", &err), &err);
    assert_false(fs_exists(scratch_object(s, "a")));
    expect_code(s, "a/b/d", ERR_NO, ERR_NONE); /* the root stays */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_urls),          SCRATCH_TEST(test_put_creates_only),
        SCRATCH_TEST(test_put_in_pieces), SCRATCH_TEST(test_unfinished_is_invisible),
        SCRATCH_TEST(test_put_failures),  SCRATCH_TEST(test_durability_order),
        SCRATCH_TEST(test_bad_keys),      SCRATCH_TEST(test_reading),
        SCRATCH_TEST(test_missing),       SCRATCH_TEST(test_list_order),
        SCRATCH_TEST(test_list_stop),     SCRATCH_TEST(test_list_names),
        SCRATCH_TEST(test_delete),        SCRATCH_TEST(test_directory_is_no_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
