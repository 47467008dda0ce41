/* repo/walkey.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "walscratch.h"

#define PREFIX "v1/main/15-7300000000000000001/"
#define H1     "0123456789abcdef"
#define H2     "fedcba9876543210"

static void store(Scratch *s, const char *key)
{
    Error err;
    bool existed;
    char *whole = scratch_keep(s, mem_printf(PREFIX "wal/%s", key));
    must(storage_put(s->repo->storage, whole, "x", 1, NULL, &existed, &err), &err);
}

static void check_round_trip(Repo *repo, const char *name, const char *expected)
{
    char key[REPO_MAX_KEY], text[WALNAME_TEXT];
    WalName parsed = wal_name(name);
    WalObject out;
    if (parsed.kind == WALNAME_HISTORY)
        walkey_history(repo, parsed.tli, key);
    else
        walkey_make(repo, name, H1, key);
    assert_string_equal(key, expected);
    StorageObject object = {.key = key, .size = 4711, .modified = 42};
    assert_true(walkey_parse(repo, &object, &out));
    walname_text(&out.name, text);
    assert_string_equal(text, name);
    assert_int_equal(out.name.kind, parsed.kind);
    assert_string_equal(out.key, key);
    assert_string_equal(out.hash, parsed.kind == WALNAME_HISTORY ? "" : H1);
    assert_int_equal(out.stored_size, 4711);
    assert_int_equal(out.modified, 42);
}

static void test_round_trip(void **state)
{
    Scratch *s = *state;
    check_round_trip(s->repo, "0000000A00000002000000FF",
                     PREFIX "wal/0000000A00000002/0000000A00000002000000FF-" H1 ".lz4");
    check_round_trip(s->repo, "0000000A00000002000000FF.partial",
                     PREFIX "wal/0000000A00000002/0000000A00000002000000FF.partial-" H1 ".lz4");
    check_round_trip(s->repo, "0000000A00000002000000FF.00000028.backup",
                     PREFIX "wal/0000000A00000002/0000000A00000002000000FF.00000028.backup-" H1
                            ".lz4");
    check_round_trip(s->repo, "0000000A.history", PREFIX "wal/0000000A.history");
}

static void test_foreign_keys(void **state)
{
    Scratch *s = *state;
    static const char *const keys[] = {
        "",
        "v1",
        PREFIX "wal/",
        PREFIX "base/000000010000000000000001-" H1 ".lz4",
        "v1/main/15-7300000000000000002/wal/0000000100000000/000000010000000000000001-" H1 ".lz4",
        PREFIX "wal/000000010000000000000001-" H1 ".lz4",
        PREFIX "wal/000000010000000000000001",
        PREFIX "wal/0000000100000000/000000010000000000000001",
        PREFIX "wal/0000000100000000/000000010000000000000001-" H1,
        PREFIX "wal/0000000100000000/000000010000000000000001-" H1 ".lz4.age",
        PREFIX "wal/0000000100000000/000000010000000000000001-" H1 ".zst",
        PREFIX "wal/0000000100000000/000000010000000000000001-" H1 "0.lz4",
        PREFIX "wal/0000000100000000/000000010000000000000001-0123456789abcde.lz4",
        PREFIX "wal/0000000100000000/00000001000000000000000g-" H1 ".lz4",
        PREFIX "wal/0000000100000000/-" H1 ".lz4",
        PREFIX "wal/0000000200000000/000000010000000000000001-" H1 ".lz4",
        PREFIX "wal/000000010000000/000000010000000000000001-" H1 ".lz4",
        PREFIX "wal/0000000100000000/x/000000010000000000000001-" H1 ".lz4",
        PREFIX "wal/0000000100000000/00000001.history-" H1 ".lz4",
        PREFIX "wal/0000000100000000/00000001.history",
        PREFIX "wal/00000000.history",
        PREFIX "wal/00000001.history.age",
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        WalObject out;
        StorageObject object = {.key = keys[i], .size = 1, .modified = 1};
        if (walkey_parse(s->repo, &object, &out))
            fail_msg("taken: %s", keys[i]);
    }
    char *longest = mem_new(5000, 1);
    memcpy(longest, PREFIX "wal/", strlen(PREFIX "wal/"));
    memset(longest + strlen(PREFIX "wal/"), 'A', 4000);
    WalObject out;
    StorageObject object = {.key = longest, .size = 1, .modified = 1};
    assert_false(walkey_parse(s->repo, &object, &out));
    memcpy(longest + 4030, "/000000010000000000000001-" H1 ".lz4", 47);
    assert_false(walkey_parse(s->repo, &object, &out));
    free(longest);
}

static void expect_found(Scratch *s, const char *name, size_t contents, const char *hash)
{
    Error err;
    WalObject out;
    size_t n;
    WalName parsed = wal_name(name);
    must(walkey_find(s->repo, &parsed, &out, &n, &err), &err);
    assert_int_equal(n, contents);
    assert_string_equal(out.hash, hash);
    assert_int_equal(out.stored_size, 1);
}

static void expect_absent(Scratch *s, const char *name)
{
    Error err = {0};
    WalObject out;
    size_t n;
    WalName parsed = wal_name(name);
    assert_false(walkey_find(s->repo, &parsed, &out, &n, &err));
    assert_int_equal(err.code, ERR_NO);
    assert_non_null(strstr(err.message, name));
}

static void test_find(void **state)
{
    Scratch *s = *state;
    Error err;
    WalObject out;
    size_t n;
    WalName name = wal_name("000000010000000000000001");
    assert_false(walkey_find(s->repo, &name, &out, &n, &err));
    assert_int_equal(err.code, ERR_REPO); /* no repository proves nothing */
    must(storage_prepare(s->repo->storage, &err), &err);
    expect_absent(s, "000000010000000000000001");
    expect_absent(s, "00000002.history");
    store(s, "0000000100000000/000000010000000000000001-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000001.partial-" H2 ".lz4");
    store(s, "0000000100000000/000000010000000000000001.00000028.backup-" H2 ".lz4");
    store(s, "0000000100000000/000000010000000000000001-" H1 ".lz4.age"); /* not ours */
    store(s, "0000000100000000/000000010000000000000002-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000002-" H2 ".lz4");
    store(s, "00000002.history");
    expect_found(s, "000000010000000000000001", 1, H1);
    expect_found(s, "000000010000000000000001.partial", 1, H2);
    expect_found(s, "000000010000000000000001.00000028.backup", 1, H2);
    expect_found(s, "000000010000000000000002", 2, H1);
    expect_found(s, "00000002.history", 1, "");
    expect_absent(s, "000000010000000000000003");
    expect_absent(s, "000000020000000000000001");
    expect_absent(s, "000000010000000100000001");
    expect_absent(s, "000000010000000000000001.00000030.backup");
    expect_absent(s, "00000003.history");
}

static bool list_name(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    (void)stop;
    (void)err;
    char text[WALNAME_TEXT];
    walname_text(&object->name, text);
    buf_printf(ctx, "%s\n", text);
    return true;
}

static void expect_list(Scratch *s, uint32_t tli, const char *after, const char *expected)
{
    Error err;
    Buf names = BUF_INIT;
    must(walkey_list(s->repo, tli, after, list_name, &names, &err), &err);
    assert_string_equal(names.data ? names.data : "", expected);
    buf_free(&names);
}

static void expect_next(Scratch *s, const char *name, const char *next)
{
    Error err = {0};
    WalObject out;
    char text[WALNAME_TEXT];
    WalName parsed = wal_name(name);
    if (!next) {
        assert_false(walkey_next_stored(s->repo, &parsed, &out, &err));
        assert_int_equal(err.code, ERR_NO);
        return;
    }
    must(walkey_next_stored(s->repo, &parsed, &out, &err), &err);
    walname_text(&out.name, text);
    assert_string_equal(text, next);
}

static void test_list_and_next(void **state)
{
    Scratch *s = *state;
    store(s, "0000000100000000/000000010000000000000005-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000005.00000028.backup-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000007.partial-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000009-" H1 ".lz4");
    store(s, "0000000100000002/000000010000000200000000-" H1 ".lz4");
    store(s, "0000000200000000/000000020000000000000006-" H1 ".lz4");
    store(s, "00000002.history");
    store(s, "foreign");
#define TLI1_REST                                                                                  \
    "000000010000000000000007.partial\n000000010000000000000009\n000000010000000200000000\n"
    expect_list(s, 0, NULL,
                "000000010000000000000005\n000000010000000000000005.00000028.backup\n" TLI1_REST
                "00000002.history\n000000020000000000000006\n");
    expect_list(s, 1, "000000010000000000000004",
                "000000010000000000000005\n000000010000000000000005.00000028.backup\n" TLI1_REST);
    expect_list(s, 1, "000000010000000000000005", TLI1_REST);
    expect_list(s, 1, "000000010000000000000009", "000000010000000200000000\n");
    expect_list(s, 1, "000000010000000300000000", "");
    expect_list(s, 2, "000000020000000000000001", "000000020000000000000006\n");
    expect_list(s, 3, NULL, "");

    expect_next(s, "000000010000000000000001", "000000010000000000000005");
    expect_next(s, "000000010000000000000005", "000000010000000000000009");
    expect_next(s, "000000010000000000000006", "000000010000000000000009");
    expect_next(s, "000000010000000000000009.partial", "000000010000000200000000");
    expect_next(s, "000000010000000100000000", "000000010000000200000000");
    expect_next(s, "000000010000000200000000", NULL);
    expect_next(s, "000000020000000000000006", NULL);
    expect_next(s, "000000020000000000000000", "000000020000000000000006");
    expect_next(s, "000000030000000000000000", NULL);
}

static void check_any(Scratch *s, bool expected)
{
    Error err;
    bool any = !expected;
    must(walkey_any(s->repo, &any, &err), &err);
    assert_int_equal(any, expected);
}

static void test_any(void **state)
{
    Scratch *s = *state;
    Error err;
    bool any;
    assert_false(walkey_any(s->repo, &any, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    check_any(s, false);
    store(s, "0000000100000000/000000010000000000000007.partial-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000005.00000028.backup-" H1 ".lz4");
    store(s, "0000000100000000/000000010000000000000005-" H1 ".lz4.age");
    check_any(s, false);
    store(s, "0000000200000000/000000020000000000000005-" H1 ".lz4");
    check_any(s, true);
    repo_use_system(s->repo, 15, 1);
    check_any(s, false);
    repo_use_system(s->repo, 14, SCRATCH_SYSID);
    check_any(s, false);
    bool existed;
    must(storage_put(s->repo->storage, "v1/main/14-7300000000000000001/wal/00000002.history", "x",
                     1, NULL, &existed, &err),
         &err);
    check_any(s, true);
}

/* --- repo/repo.h -------------------------------------------------------------------------------
 */

static void test_systems(void **state)
{
    Scratch *s = *state;
    Error err;
    RepoSystem *systems;
    size_t count;
    bool existed;
    static const char *const keys[] = {
        "v1/main/15-7/wal/x",  "v1/main/9-7/wal/x",    "v1/main/15-18446744073709551615/x",
        "v1/main/15-6/base/x", "v1/main/15-7x/x",      "v1/main/x/x",
        "v1/other/13-1/x",     "v1/main/dump/2026/11", "v1/main/15/x",
    };
    assert_false(repo_systems(s->repo, &systems, &count, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    must(repo_systems(s->repo, &systems, &count, &err), &err);
    assert_int_equal(count, 0);
    free(systems);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        must(storage_put(s->repo->storage, keys[i], "x", 1, NULL, &existed, &err), &err);
    must(repo_systems(s->repo, &systems, &count, &err), &err);
    assert_int_equal(count, 4);
    assert_int_equal(systems[0].major, 9);
    assert_true(systems[1].major == 15 && systems[1].sysid == 6);
    assert_int_equal(systems[2].sysid, 7);
    assert_true(systems[3].sysid == UINT64_MAX);
    free(systems);
    must(storage_put(s->repo->storage, "v2/x", "x", 1, NULL, &existed, &err), &err);
    assert_false(repo_systems(s->repo, &systems, &count, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_non_null(strstr(err.message, "v2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_round_trip), SCRATCH_TEST(test_foreign_keys),
        SCRATCH_TEST(test_find),       SCRATCH_TEST(test_list_and_next),
        SCRATCH_TEST(test_any),        SCRATCH_TEST(test_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
