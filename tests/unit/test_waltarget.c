/* repo/waltarget.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo/waltarget.h"
#include "walscratch.h"

/* The ends of transactions in the order of the WAL. */
static const struct {
    uint32_t xid;
    int seconds;
    bool abort;
} ends[] = {
    {700, 10, false}, {701, 20, false}, {702, 30, false}, {703, 40, true}, {704, 60, false}};
#define ENDS (sizeof(ends) / sizeof(ends[0]))

typedef struct Fixture {
    WalBuild wal;
    WalChain chain;
    uint64_t lsn[ENDS]; /* of the ends */
    uint64_t point, last_of_2, checkpoint, open_end;
} Fixture;

static uint64_t add_end(Fixture *f, size_t i)
{
    f->lsn[i] = ends[i].abort ? wal_abort(&f->wal, ends[i].xid, ends[i].seconds)
                              : wal_commit(&f->wal, ends[i].xid, ends[i].seconds);
    return f->lsn[i];
}

static void load(Scratch *s, Fixture *f, uint64_t last)
{
    Error err;
    wal_archive_build(s, &f->wal, 1, last, "");
    must(walchain_load(&f->chain, s->repo, 1, 1, SEG_1M, &err), &err);
}

/* 1: 700, 701; 2: 702, 703, a restore point; 3: no transaction ends, and a record fills the rest
 * and goes on in 4: 704. */
static void prepare(Scratch *s, Fixture *f)
{
    *f = (Fixture){.wal = wal_build(1)};
    wal_checkpoint(&f->wal, 0);
    add_end(f, 0);
    wal_filler(&f->wal, 50000);
    add_end(f, 1);
    wal_switch(&f->wal);
    add_end(f, 2);
    add_end(f, 3);
    f->point = wal_restore_point(&f->wal, "before the release", 45);
    f->last_of_2 = wal_switch(&f->wal);
    f->checkpoint = wal_checkpoint(&f->wal, 50);
    wal_filler(&f->wal, 1200000);
    add_end(f, 4);
    f->open_end = f->wal.pos;
    load(s, f, 4);
}

static void done(Fixture *f)
{
    walchain_free(&f->chain);
    free(f->wal.bytes);
}

/* --- times -------------------------------------------------------------------------------------
 */

static void check_time(Fixture *f, uint64_t from, int seconds, bool exclusive)
{
    Error err;
    WalStop stop;
    size_t i = 0;
    must(waltarget_time(&f->chain, from, 4, WAL_TIME(seconds), exclusive, &stop, &err), &err);
    while (i < ENDS && (f->lsn[i] < from ||
                        (exclusive ? ends[i].seconds < seconds : ends[i].seconds <= seconds)))
        i++;
    assert_int_equal(stop.found, i < ENDS);
    if (i < ENDS) {
        assert_int_equal(stop.stop.lsn, f->lsn[i]);
        assert_true(stop.stop.end_lsn > stop.stop.lsn);
        assert_int_equal(stop.stop.xid, ends[i].xid);
        assert_int_equal(stop.stop.abort, ends[i].abort);
        assert_int_equal(stop.stop.tli, 1);
        assert_true(stop.stop.time == WAL_TIME(ends[i].seconds));
    }
    /* the one before it, if it is behind `from` */
    assert_int_equal(stop.any_before, i > 0 && f->lsn[i - 1] >= from);
    if (stop.any_before) {
        assert_int_equal(stop.before.lsn, f->lsn[i - 1]);
        assert_true(stop.before.time == WAL_TIME(ends[i - 1].seconds));
    }
    assert_false(stop.drops_database || stop.locks || stop.born);
}

static void test_every_time(void **state)
{
    Scratch *s = *state;
    Fixture f;
    prepare(s, &f);
    for (int t = 0; t <= 65; t += 5) {
        for (int exclusive = 0; exclusive < 2; exclusive++) {
            check_time(&f, SEG_1M, t, exclusive);
            check_time(&f, f.lsn[0], t, exclusive);
            check_time(&f, f.lsn[0] + 1, t, exclusive);
            check_time(&f, f.lsn[3], t, exclusive);
            check_time(&f, f.lsn[3] + 1, t, exclusive);
            check_time(&f, f.lsn[4], t, exclusive);
        }
    }
    done(&f);
}

/* Segments behind the last one that may be read do not count. */
static void test_time_with_limit(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    WalStop stop;
    prepare(s, &f);
    for (uint64_t last = 1; last <= 3; last++) {
        must(waltarget_time(&f.chain, SEG_1M, last, WAL_TIME(50), false, &stop, &err), &err);
        assert_false(stop.found);
        assert_int_equal(stop.before.lsn, f.lsn[last == 1 ? 1 : 3]);
    }
    done(&f);
}

static void expect_drop(Scratch *s, Fixture *f, int seconds, bool drops, uint64_t safe, bool marked)
{
    Error err;
    WalStop stop;
    (void)s;
    must(waltarget_time(&f->chain, SEG_1M, f->chain.count, WAL_TIME(seconds), false, &stop, &err),
         &err);
    assert_int_equal(stop.drops_database, drops);
    if (!drops)
        return;
    assert_int_equal(stop.database, 16400);
    assert_int_equal(stop.safe_lsn, safe);
    assert_int_equal(stop.marked_invalid, marked);
}

/* The files go before the commit: recovery has to stop before that, or before the mark. */
static void test_drop_database(void **state)
{
    Scratch *s = *state;
    Fixture f = {.wal = wal_build(1)};
    wal_inplace(&f.wal, 1262); /* of another transaction, which was in time */
    wal_commit(&f.wal, 700, 10);
    wal_inplace(&f.wal, 1260); /* another relation */
    uint64_t mark = wal_inplace(&f.wal, 1262);
    wal_switch(&f.wal);
    wal_drop_database(&f.wal, 16400);
    wal_commit(&f.wal, 701, 20);
    wal_commit(&f.wal, 702, 30);
    uint64_t drop = wal_drop_database(&f.wal, 16400);
    wal_commit(&f.wal, 703, 40);
    wal_drop_database(&f.wal, 16400); /* of a transaction that has not ended */
    load(s, &f, 2);
    expect_drop(s, &f, 5, false, 0, false);
    expect_drop(s, &f, 15, true, mark, false);
    expect_drop(s, &f, 25, false, 0, false);
    expect_drop(s, &f, 35, true, drop, true);
    expect_drop(s, &f, 45, false, 0, false);
    done(&f);
}

/* What ended before `from` (a backup's start) is no matter. */
static void test_drop_before_from(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f = {.wal = wal_build(1)};
    WalStop stop;
    wal_inplace(&f.wal, 1262);
    wal_drop_database(&f.wal, 16399);
    wal_commit(&f.wal, 700, 10);
    uint64_t from = wal_checkpoint(&f.wal, 12);
    wal_commit(&f.wal, 701, 20);
    load(s, &f, 1);
    must(waltarget_time(&f.chain, from, 1, WAL_TIME(15), false, &stop, &err), &err);
    assert_int_equal(stop.stop.xid, 701);
    assert_false(stop.drops_database);
    must(waltarget_xid(&f.chain, from, 1, 701, &stop, &err), &err);
    assert_true(stop.found);
    assert_false(stop.drops_database);
    done(&f);
    f = (Fixture){.wal = wal_build(2)};
    wal_inplace(&f.wal, 1262); /* of a transaction that ended before */
    wal_commit(&f.wal, 700, 10);
    from = wal_checkpoint(&f.wal, 12);
    uint64_t drop = wal_drop_database(&f.wal, 16400);
    wal_commit(&f.wal, 701, 20);
    wal_archive_build(s, &f.wal, 2, 2, "");
    must(walchain_load(&f.chain, s->repo, 1, 2, SEG_1M, &err), &err);
    must(waltarget_time(&f.chain, from, 2, WAL_TIME(15), false, &stop, &err), &err);
    assert_true(stop.drops_database);
    assert_int_equal(stop.safe_lsn, drop);
    done(&f);
}

static void test_locks_and_birth(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f = {.wal = wal_build(1)};
    WalStop stop;
    uint8_t lock[16] = {1}, begun[16];
    put64(begun, wal_pg_time(25));
    put32(begun + 8, 2);
    put32(begun + 12, 1);
    wal_commit(&f.wal, 700, 10);
    wal_main(&f.wal, 8, 0x00, 701, lock, sizeof(lock));
    wal_commit(&f.wal, 701, 20);
    wal_main(&f.wal, 8, 0x10, 0, lock, sizeof(lock)); /* running transactions: no lock */
    wal_main(&f.wal, 0, 0x90, 0, begun, sizeof(begun));
    wal_commit(&f.wal, 702, 30);
    wal_commit(&f.wal, 703, 40);
    load(s, &f, 1);
    must(waltarget_time(&f.chain, SEG_1M, 1, WAL_TIME(15), false, &stop, &err), &err);
    assert_true(stop.locks && !stop.born);
    must(waltarget_time(&f.chain, SEG_1M, 1, WAL_TIME(26), false, &stop, &err), &err);
    assert_true(!stop.locks && stop.born);
    assert_true(stop.birth == WAL_TIME(25));
    must(waltarget_time(&f.chain, SEG_1M, 1, WAL_TIME(35), false, &stop, &err), &err);
    assert_true(!stop.locks && !stop.born);
    done(&f);
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void expect_tail(Fixture *f, uint64_t first, uint64_t last, uint64_t last_lsn, int commit,
                        int seconds)
{
    Error err;
    WalTail tail;
    must(waltarget_tail(&f->chain, first, last, &tail, &err), &err);
    assert_int_equal(tail.any_record, last_lsn != 0);
    assert_int_equal(tail.last_lsn, last_lsn);
    assert_int_equal(tail.any_commit, commit >= 0);
    if (commit >= 0)
        assert_int_equal(tail.last_commit.lsn, f->lsn[commit]);
    assert_int_equal(tail.any_time, seconds >= 0);
    if (seconds >= 0)
        assert_true(tail.last_time == WAL_TIME(seconds));
}

static void test_tail(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    WalTail tail;
    prepare(s, &f);
    expect_tail(&f, 1, 4, f.lsn[4], 4, 60);
    must(waltarget_tail(&f.chain, 1, 4, &tail, &err), &err);
    assert_int_equal(tail.end_lsn, f.open_end);
    /* the record that goes on in 4 is not whole without it */
    expect_tail(&f, 1, 3, f.checkpoint, 3, 50);
    expect_tail(&f, 3, 3, f.checkpoint, -1, 50);
    expect_tail(&f, 1, 2, f.last_of_2, 3, 45);
    expect_tail(&f, 2, 2, f.last_of_2, 3, 45);
    must(waltarget_tail(&f.chain, 1, 2, &tail, &err), &err);
    assert_int_equal(tail.end_lsn, 3 * SEG_1M);
    done(&f);
}

/* --- one transaction, name or position ---------------------------------------------------------
 */

/* The end of a transaction, and what lies before it. */
static void check_xid(Fixture *f, uint64_t from, uint64_t last, uint32_t xid, int expected)
{
    Error err;
    WalStop stop;
    must(waltarget_xid(&f->chain, from, last, xid, &stop, &err), &err);
    assert_int_equal(stop.found, expected >= 0);
    if (expected < 0)
        return;
    assert_int_equal(stop.stop.lsn, f->lsn[expected]);
    assert_int_equal(stop.stop.abort, ends[expected].abort);
    assert_true(stop.stop.time == WAL_TIME(ends[expected].seconds));
    assert_false(stop.drops_database);
    assert_int_equal(stop.any_before, expected > 0 && f->lsn[expected - 1] >= from);
    if (stop.any_before)
        assert_int_equal(stop.before.lsn, f->lsn[expected - 1]);
}

static void test_xid(void **state)
{
    Scratch *s = *state;
    Fixture f;
    prepare(s, &f);
    for (int i = 0; i < (int)ENDS; i++) {
        check_xid(&f, SEG_1M, 4, ends[i].xid, i);
        check_xid(&f, f.lsn[i], 4, ends[i].xid, i);
        check_xid(&f, f.lsn[i] + 1, 4, ends[i].xid, -1);
    }
    check_xid(&f, SEG_1M, 4, 705, -1);
    check_xid(&f, SEG_1M, 3, 704, -1);
    check_xid(&f, 5 * SEG_1M, 4, 704, -1);
    done(&f);
}

static void test_name_and_lsn(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    WalMoment m;
    prepare(s, &f);
    must(waltarget_name(&f.chain, SEG_1M, 4, "before the release", &m, &err), &err);
    assert_int_equal(m.lsn, f.point);
    assert_true(m.time == WAL_TIME(45));
    must(waltarget_name(&f.chain, f.point + 1, 4, "before the release", &m, &err), &err);
    assert_int_equal(m.lsn, 0);
    must(waltarget_name(&f.chain, SEG_1M, 4, "before the", &m, &err), &err);
    assert_int_equal(m.lsn, 0);
    must(waltarget_lsn(&f.chain, f.lsn[1], 4, &m, &err), &err);
    assert_int_equal(m.lsn, f.lsn[1]);
    must(waltarget_lsn(&f.chain, f.lsn[1] + 1, 4, &m, &err), &err);
    assert_true(m.lsn > f.lsn[1] && m.lsn < f.lsn[2]); /* the switch record */
    must(waltarget_lsn(&f.chain, f.lsn[3] + 1, 4, &m, &err), &err);
    assert_int_equal(m.lsn, f.point);
    /* within the long record, in the segment that it fills */
    must(waltarget_lsn(&f.chain, 3 * SEG_1M + SEG_1M / 2, 4, &m, &err), &err);
    assert_int_equal(m.lsn, f.lsn[4]);
    must(waltarget_lsn(&f.chain, f.lsn[4] + 1, 4, &m, &err), &err);
    assert_int_equal(m.lsn, 0);
    must(waltarget_lsn(&f.chain, 9 * SEG_1M, 4, &m, &err), &err);
    assert_int_equal(m.lsn, 0);
    done(&f);
}

/* What can't be read is an error, never "not found". */
static void test_damage(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    WalStop stop;
    WalMoment m;
    WalTail tail;
    WalObject object;
    prepare(s, &f);
    walchain_object(&f.chain, 4, &object);
    scratch_flip(scratch_object(s, object.key), -2);
    assert_false(waltarget_tail(&f.chain, 1, 4, &tail, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    walchain_object(&f.chain, 2, &object);
    scratch_flip(scratch_object(s, object.key), 60);
    err = (Error){0};
    assert_false(waltarget_time(&f.chain, SEG_1M, 3, WAL_TIME(35), false, &stop, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_false(waltarget_xid(&f.chain, SEG_1M, 3, 702, &stop, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_false(waltarget_name(&f.chain, SEG_1M, 3, "before the release", &m, &err));
    assert_false(waltarget_lsn(&f.chain, f.lsn[2], 3, &m, &err));
    assert_false(waltarget_tail(&f.chain, 1, 2, &tail, &err));
    done(&f);
}

/* A record that is damaged in an object that is whole: not the end of the WAL but in the last. */
static void test_damaged_record(void **state)
{
    Scratch *s = *state;
    Error err;
    WalStop stop;
    WalMoment m;
    WalTail tail;
    Fixture f = {.wal = wal_build(1)};
    add_end(&f, 0);
    wal_switch(&f.wal);
    add_end(&f, 1);
    add_end(&f, 2);
    wal_switch(&f.wal);
    add_end(&f, 3);
    build_at(&f.wal, f.lsn[1])[30] ^= 1;
    load(s, &f, 3);
    assert_false(waltarget_time(&f.chain, SEG_1M, 3, WAL_TIME(35), false, &stop, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_non_null(strstr(err.message, "000000010000000000000002"));
    assert_false(waltarget_xid(&f.chain, SEG_1M, 3, 703, &stop, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_false(waltarget_name(&f.chain, SEG_1M, 3, "x", &m, &err));
    must(waltarget_xid(&f.chain, SEG_1M, 3, 700, &stop, &err), &err);
    assert_true(stop.found);
    must(waltarget_tail(&f.chain, 1, 2, &tail, &err), &err);
    assert_int_equal(tail.last_commit.lsn, f.lsn[0]);
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_every_time),
        SCRATCH_TEST(test_time_with_limit),
        SCRATCH_TEST(test_drop_database),
        SCRATCH_TEST(test_drop_before_from),
        SCRATCH_TEST(test_locks_and_birth),
        SCRATCH_TEST(test_tail),
        SCRATCH_TEST(test_xid),
        SCRATCH_TEST(test_name_and_lsn),
        SCRATCH_TEST(test_damage),
        SCRATCH_TEST(test_damaged_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
