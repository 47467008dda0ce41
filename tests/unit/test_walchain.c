/* repo/walchain.h, repo/timelines.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo/timelines.h"
#include "repo/walchain.h"
#include "walscratch.h"

/* --- which segments ----------------------------------------------------------------------------
 */

/* Describes a chain: a character each for the segments from `first` on: the timeline, lower case
 * letters a, b for a partial of 1, 2, '!' for several contents, '-' for a hole. */
static void expect_chain(Scratch *s, uint32_t tli, uint64_t first, const char *links, size_t run)
{
    Error err;
    WalChain c;
    Buf got = BUF_INIT;
    must(walchain_load(&c, s->repo, tli, first, SEG_1M, &err), &err);
    for (size_t i = 0; i < c.count; i++) {
        const WalLink *l = &c.links[i];
        buf_putc(&got, (char)(!l->tli       ? '-'
                              : l->conflict ? '!'
                              : l->partial  ? 'a' + (char)l->tli - 1
                                            : '0' + (char)l->tli));
    }
    assert_string_equal(got.data ? got.data : "", links);
    assert_int_equal(walchain_run(&c), run);
    buf_free(&got);
    walchain_free(&c);
}

static void test_one_timeline(void **state)
{
    Scratch *s = *state;
    Error err;
    WalChain c;
    assert_false(walchain_load(&c, s->repo, 1, 0, SEG_1M, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    expect_chain(s, 1, 0, "", 0);
    wal_stored_range(s, 1, 0, 2);
    wal_stored_range(s, 1, 4094, 4097); /* across a border of log numbers */
    wal_stored_range(s, 2, 1, 1);
    wal_stored(s, "000000010000000000000001.00000028.backup", "1111111111111111");
    expect_chain(s, 1, 4094, "1111", 4);
    expect_chain(s, 1, 4096, "11", 2);
    expect_chain(s, 1, 4092, "--1111", 0);
    expect_chain(s, 1, 4098, "", 0);
    must(walchain_load(&c, s->repo, 1, 0, SEG_1M, &err), &err);
    assert_int_equal(c.count, 4098);
    assert_int_equal(walchain_run(&c), 3);
    char name[WALNAME_SEGMENT_TEXT];
    walchain_name(&c, 3, name);
    assert_string_equal(name, "000000010000000000000003");
    walchain_name(&c, 9000, name);
    assert_string_equal(name, "000000010000000200000328");
    walchain_free(&c);
}

static void test_holes_conflicts_partials(void **state)
{
    Scratch *s = *state;
    wal_stored_range(s, 1, 1, 2);
    wal_stored_range(s, 1, 4, 6);
    wal_stored(s, "000000010000000000000005", "0000000000000000");
    wal_stored(s, "000000010000000000000005", "3333333333333333");
    wal_stored(s, "000000010000000000000006.partial", "3333333333333333");
    wal_stored(s, "000000010000000000000008.partial", "3333333333333333");
    wal_stored(s, "000000010000000000000008.partial", "4444444444444444");
    expect_chain(s, 1, 1, "11-1!1-!", 2);
    expect_chain(s, 1, 5, "!1-!", 0);
    expect_chain(s, 1, 6, "1-!", 1);
    expect_chain(s, 1, 8, "!", 0);
    Error err;
    WalChain c;
    WalObject object;
    must(walchain_load(&c, s->repo, 1, 1, SEG_1M, &err), &err);
    walchain_object(&c, 4, &object);
    assert_string_equal(object.key, "v1/main/15-7300000000000000001/wal/0000000100000000/"
                                    "000000010000000000000004-1111111111111111.lz4");
    assert_int_equal(object.name.kind, WALNAME_SEGMENT);
    walchain_object(&c, 8, &object);
    assert_int_equal(object.name.kind, WALNAME_PARTIAL);
    assert_non_null(strstr(object.key, "000000010000000000000008.partial-"));
    walchain_free(&c);
}

static void test_fork_inside(void **state)
{
    Scratch *s = *state;
    Error err;
    WalChain c;
    char name[WALNAME_SEGMENT_TEXT];
    wal_history(s, 2, "1\t0/300100\tx\n");
    wal_stored_range(s, 1, 1, 2);
    expect_chain(s, 2, 1, "11", 2);
    /* the parent's unfinished one is no hole in this path: nothing says that it goes on */
    wal_stored(s, "000000010000000000000003.partial", "3333333333333333");
    expect_chain(s, 2, 1, "11", 2);
    expect_chain(s, 1, 1, "11a", 2);
    /* the parent's whole one is: recovery would be served it */
    wal_stored_range(s, 1, 3, 5);
    expect_chain(s, 2, 1, "11-", 2);
    expect_chain(s, 1, 1, "11111", 5);
    must(walchain_load(&c, s->repo, 2, 1, SEG_1M, &err), &err);
    walchain_name(&c, 2, name);
    assert_string_equal(name, "000000010000000000000002");
    walchain_name(&c, 3, name);
    assert_string_equal(name, "000000020000000000000003");
    walchain_name(&c, 9, name);
    assert_string_equal(name, "000000020000000000000009");
    walchain_free(&c);
    wal_stored_range(s, 2, 4, 6);
    expect_chain(s, 2, 1, "11-222", 2);
    wal_stored_range(s, 2, 1, 3); /* 1 and 2 of timeline 2 are not on its path */
    expect_chain(s, 2, 1, "112222", 6);
    wal_stored(s, "000000020000000000000003", "3333333333333333");
    expect_chain(s, 2, 1, "11!222", 2);
    wal_stored(s, "000000010000000000000002", "3333333333333333");
    expect_chain(s, 2, 1, "1!!222", 1);
}

static void test_fork_at_border(void **state)
{
    Scratch *s = *state;
    wal_history(s, 2, "1\t0/400000\tx\n");
    wal_stored_range(s, 1, 1, 5);
    expect_chain(s, 2, 1, "111", 3);
    wal_stored_range(s, 2, 3, 4);
    expect_chain(s, 2, 1, "1112", 4);
    expect_chain(s, 2, 4, "2", 1);
}

/* 1, left for 2 in segment 3, left for 3 in the same segment; 4 left 1 before that. */
static void test_several_forks(void **state)
{
    Scratch *s = *state;
    wal_history(s, 2, "1\t0/300100\tx\n");
    wal_history(s, 3, "1\t0/300100\tx\n2\t0/300200\ty\n");
    wal_history(s, 4, "1\t0/200100\tx\n");
    wal_history(s, 5, "1\t0/300100\tx\n2\t0/200100\ty\n"); /* stopped before 2 began */
    wal_stored_range(s, 1, 1, 4);
    wal_stored_range(s, 2, 3, 3);
    expect_chain(s, 3, 1, "11-", 2);
    wal_stored_range(s, 3, 3, 4);
    expect_chain(s, 3, 1, "1133", 4);
    wal_stored_range(s, 4, 2, 3);
    expect_chain(s, 4, 1, "144", 3);
    wal_stored_range(s, 5, 2, 4);
    expect_chain(s, 5, 1, "1555", 4);
}

static void test_history_trouble(void **state)
{
    Scratch *s = *state;
    Error err;
    WalChain c;
    wal_stored_range(s, 2, 1, 4);
    assert_false(walchain_load(&c, s->repo, 2, 1, SEG_1M, &err));
    assert_int_equal(err.code, ERR_TARGET);
    assert_non_null(strstr(err.message, "00000002.history"));
    walchain_free(&c);
    wal_history(s, 2, "1\t0/300100\tx\n");
    scratch_flip(scratch_object(s, "v1/main/15-7300000000000000001/wal/00000002.history"), 1);
    assert_false(walchain_load(&c, s->repo, 2, 1, SEG_1M, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    walchain_free(&c);
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* Reads all records from segment 1 on: their LSNs in xor, their number and the last timeline. */
static WalNext read_all(WalChain *c, uint64_t limit, int *records, uint32_t *tli, WalEnd *end,
                        Error *err)
{
    WalChainSource *source;
    WalReader *r = walchain_reader(c, limit, &source);
    WalRecord record;
    WalNext next;
    *records = 0;
    must(walreader_seek(r, c->first, err), err);
    while ((next = walreader_next(r, &record, err)) == WALNEXT_RECORD) {
        ++*records;
        *tli = record.tli;
    }
    *end = *walreader_end(r);
    walchain_reader_free(r, source);
    return next;
}

/* 1 goes on in segment 3 after 2 has left it there. */
static void test_reading_across_a_fork(void **state)
{
    Scratch *s = *state;
    Error err;
    WalChain c;
    WalEnd end;
    int records;
    uint32_t tli;
    WalBuild one = wal_build(1);
    wal_filler(&one, 3 * 512 * 1024); /* through segment 2 */
    wal_switch(&one);
    wal_commit(&one, 700, 1);
    WalBuild two = wal_fork(&one, 2);
    char history[64];
    snprintf(history, sizeof(history), "1\t" LSN_FORMAT "\tx\n", LSN_ARGS(one.pos));
    for (uint32_t i = 0; i < 500; i++)
        wal_commit(&one, 800 + i, 2);
    for (uint32_t i = 0; i < 400; i++)
        wal_commit(&two, 900 + i, 3);
    wal_switch(&two);
    wal_commit(&two, 1000, 4);
    wal_archive_build(s, &one, 1, 3, "");
    wal_archive_build(s, &two, 3, 4, "");
    wal_history(s, 2, history);

    must(walchain_load(&c, s->repo, 1, 1, SEG_1M, &err), &err);
    assert_int_equal(read_all(&c, 99, &records, &tli, &end, &err), WALNEXT_END);
    assert_int_equal(records, 503);
    assert_int_equal(tli, 1);
    walchain_free(&c);

    must(walchain_load(&c, s->repo, 2, 1, SEG_1M, &err), &err);
    assert_int_equal(read_all(&c, 99, &records, &tli, &end, &err), WALNEXT_END);
    assert_int_equal(records, 405);
    assert_int_equal(tli, 2);
    assert_false(end.absent);
    assert_true(end.lsn == two.pos);
    assert_int_equal(read_all(&c, 3, &records, &tli, &end, &err), WALNEXT_END);
    assert_int_equal(records, 404);
    assert_true(end.absent);
    assert_int_equal(end.segno, 4);
    assert_int_equal(read_all(&c, 1, &records, &tli, &end, &err), WALNEXT_END);
    assert_int_equal(records, 0);
    assert_true(end.absent && end.in_record);
    /* listed, and then gone or damaged: no end, but an error */
    WalObject object;
    walchain_object(&c, 2, &object);
    scratch_flip(scratch_object(s, object.key), 3000);
    assert_int_equal(read_all(&c, 99, &records, &tli, &end, &err), WALNEXT_ERROR);
    assert_int_equal(err.code, ERR_DAMAGED);
    unlink(scratch_object(s, object.key));
    assert_int_equal(read_all(&c, 99, &records, &tli, &end, &err), WALNEXT_ERROR);
    assert_int_equal(err.code, ERR_REPO);
    walchain_free(&c);
    free(one.bytes);
    free(two.bytes);
}

/* --- waiting -----------------------------------------------------------------------------------
 */

typedef struct Tick {
    Scratch *scratch;
    char missing[WALNAME_TEXT]; /* what was said first */
    int calls, left;
} Tick;

/* Stores what is waited for, as long as there is `left` of it. */
static void tick(void *ctx, const char *missing)
{
    Tick *t = ctx;
    if (t->calls++ == 0)
        strcpy(t->missing, missing);
    if (t->left-- <= 0)
        return;
    if (strstr(missing, ".history"))
        wal_history(t->scratch, 2, "1\t0/300100\tx\n");
    else
        wal_stored(t->scratch, missing, "1111111111111111");
}

static bool wait_for(Tick *t, uint32_t tli, uint64_t start, uint64_t stop, int seconds, Error *err)
{
    t->calls = 0;
    return walchain_wait(t->scratch->repo, tli, start, stop, SEG_1M, seconds * CLOCK_SECOND, tick,
                         t, err);
}

static void test_wait(void **state)
{
    Scratch *s = *state;
    Error err;
    Tick t = {.scratch = s};
    wal_stored_range(s, 1, 1, 3);
    must(wait_for(&t, 1, 0x100028, 0x400000, 0, &err), &err);
    assert_int_equal(t.calls, 0);
    assert_false(wait_for(&t, 1, 0x100028, 0x400001, 0, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_non_null(strstr(err.message, "000000010000000000000004"));
    /* a partial segment is not the segment */
    wal_stored(s, "000000010000000000000004.partial", "1111111111111111");
    assert_false(wait_for(&t, 1, 0x100028, 0x400001, 0, &err));
    t.left = 1;
    must(wait_for(&t, 1, 0x100028, 0x400001, 5, &err), &err);
    assert_string_equal(t.missing, "000000010000000000000004");
    /* a segment of another content is none */
    wal_stored(s, "000000010000000000000002", "3333333333333333");
    assert_false(wait_for(&t, 1, 0x100028, 0x400001, 0, &err));
    must(wait_for(&t, 1, 0x300000, 0x400001, 0, &err), &err);
    /* along a fork: the history file, then the child's segments */
    t.left = 2;
    must(wait_for(&t, 2, 0x300028, 0x300200, 5, &err), &err);
    assert_string_equal(t.missing, "00000002.history");
    assert_int_equal(t.calls, 2);
    assert_true(walchain_wait(s->repo, 2, 0x300028, 0x300200, SEG_1M, 0, tick, &t, &err));
}

/* --- timelines ---------------------------------------------------------------------------------
 */

static void test_timelines(void **state)
{
    Scratch *s = *state;
    Error err;
    Timelines t;
    assert_false(timelines_load(s->repo, &t, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    must(timelines_load(s->repo, &t, &err), &err);
    assert_int_equal(t.count, 0);
    timelines_free(&t);
    wal_stored_range(s, 11, 1, 1); /* without a history file */
    wal_stored_range(s, 3, 4095, 4096);
    wal_stored_range(s, 1, 1, 1);
    wal_history(s, 3, "1\t0/300100\tx\n");
    wal_history(s, 16, "1\t0/300100\tx\n3\t0/500000\ty\n");
    wal_stored(s, "foreignforeign12", "1111111111111111");
    scratch_catch(s);
    must(timelines_load(s->repo, &t, &err), &err);
    char *said = scratch_stderr(s);
    assert_non_null(strstr(said, "timeline 11 is left out"));
    assert_null(strstr(said, "timeline 3 "));
    assert_int_equal(t.count, 3);
    assert_int_equal(t.timelines[0].history.tli, 1);
    assert_int_equal(t.timelines[1].history.tli, 3);
    assert_int_equal(t.timelines[2].history.tli, 16);
    assert_ptr_equal(timelines_find(&t, 16), &t.timelines[2].history);
    assert_true(t.timelines[0].has_wal && t.timelines[1].has_wal && !t.timelines[2].has_wal);
    assert_null(timelines_find(&t, 11));
    assert_null(timelines_find(&t, 2));
    assert_true(timelines_fork_inside(&t, 1, 0x300000, 0x400000));
    assert_true(timelines_fork_inside(&t, 1, 0x300100, 0x300101));
    assert_false(timelines_fork_inside(&t, 1, 0x300000, 0x300100));
    assert_false(timelines_fork_inside(&t, 1, 0x300101, 0x400000));
    assert_true(timelines_fork_inside(&t, 3, 0x500000, 0x600000));
    assert_false(timelines_fork_inside(&t, 3, 0x400000, 0x500000));
    assert_false(timelines_fork_inside(&t, 16, 0, UINT64_MAX));
    timelines_free(&t);
    scratch_flip(scratch_object(s, "v1/main/15-7300000000000000001/wal/00000003.history"), 1);
    scratch_catch(s);
    must(timelines_load(s->repo, &t, &err), &err);
    assert_non_null(strstr(scratch_stderr(s), "timeline 3 is left out"));
    assert_int_equal(t.count, 2);
    timelines_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_one_timeline),
        SCRATCH_TEST(test_holes_conflicts_partials),
        SCRATCH_TEST(test_fork_inside),
        SCRATCH_TEST(test_fork_at_border),
        SCRATCH_TEST(test_several_forks),
        SCRATCH_TEST(test_history_trouble),
        SCRATCH_TEST(test_reading_across_a_fork),
        SCRATCH_TEST(test_wait),
        SCRATCH_TEST(test_timelines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
