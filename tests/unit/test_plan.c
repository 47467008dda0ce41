/* repo/plan.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo/plan.h"
#include "walscratch.h"

/* One history: backup A in segment 1, 700 at 10 s; backup B in segment 3; the WAL goes on to 5. */
typedef struct History {
    WalBuild wal;
    uint64_t lsn[4];    /* of 700 at 10 s, 701 at 20 s, 702 at 30 s, 703 at 40 s */
    uint64_t points[2]; /* restore points "one" at 15 s, "two" at 35 s */
    uint64_t start_a, stop_a, start_b, stop_b, checkpoint;
} History;

static History history(void)
{
    History h = {.wal = wal_build(1)};
    WalBuild *b = &h.wal;
    h.start_a = wal_checkpoint(b, 0);
    h.stop_a = wal_checkpoint(b, 5);
    wal_switch(b);
    h.lsn[0] = wal_commit(b, 700, 10); /* segment 2 */
    h.points[0] = wal_restore_point(b, "one", 15);
    h.lsn[1] = wal_commit(b, 701, 20);
    wal_switch(b);
    h.start_b = wal_checkpoint(b, 24); /* 3 */
    h.stop_b = wal_checkpoint(b, 25);
    wal_switch(b);
    h.lsn[2] = wal_commit(b, 702, 30); /* 4 */
    h.points[1] = wal_restore_point(b, "two", 35);
    wal_switch(b);
    h.lsn[3] = wal_commit(b, 703, 40); /* 5 */
    h.checkpoint = wal_checkpoint(b, 60);
    return h;
}

typedef struct BackupSpec {
    const char *label;
    uint32_t tli;
    uint64_t start, stop;
    int seconds; /* of its end */
    bool damaged;
} BackupSpec;

static void put_backup(Scratch *s, const BackupSpec *spec)
{
    Error err;
    static char version[] = "0", host[] = "h";
    Backup b = {.pitr_version = version,
                .host = host,
                .major = 15,
                .server_version = 150000,
                .sysid = SCRATCH_SYSID,
                .segsize = SEG_1M,
                .start_lsn = spec->start,
                .stop_lsn = spec->stop,
                .start_tli = spec->tli,
                .stop_tli = spec->tli,
                .start_time = WAL_TIME(spec->seconds - 1),
                .stop_time = WAL_TIME(spec->seconds),
                .written = WAL_TIME(spec->seconds),
                .damaged = spec->damaged};
    snprintf(b.label, sizeof(b.label), "%s", spec->label);
    memset(b.index_sha256, 'a', 64);
    memset(b.manifest_sha256, 'a', 64);
    must(catalog_finish(s->repo, &b, &err), &err);
}

#define A "20261121T030005Z-F"
#define B "20261121T030025Z-F"

static void put_backups(Scratch *s, const History *h)
{
    put_backup(s, &(BackupSpec){A, 1, h->start_a, h->stop_a, 5, false});
    put_backup(s, &(BackupSpec){B, 1, h->start_b, h->stop_b, 25, false});
}

static void setup(Scratch *s, History *h)
{
    *h = history();
    wal_archive_build(s, &h->wal, 1, 5, "");
    put_backups(s, h);
}

static PlanRequest at_time(int seconds)
{
    return (PlanRequest){.target = RECOVERY_TARGET_TIME, .time = WAL_TIME(seconds)};
}

/* Makes a plan; the caller frees. */
static void make(Scratch *s, Plan *plan, const PlanRequest *r, const char *backup)
{
    Error err;
    must(plan_make(plan, s->repo, r, &err), &err);
    assert_string_equal(plan->backup->label, backup);
}

static void fails(Scratch *s, const PlanRequest *r, ErrorCode code, const char *message,
                  const char *hint)
{
    Error err = {0};
    Plan plan;
    if (plan_make(&plan, s->repo, r, &err))
        fail_msg("planned, though: %s", message);
    plan_free(&plan);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    if (!strstr(err.hint, hint))
        fail_msg("hint is: %s", err.hint);
}

/* --- times -------------------------------------------------------------------------------------
 */

static void expect_time(Scratch *s, int seconds, bool exclusive, const char *backup, uint64_t stop,
                        uint64_t last)
{
    Plan plan;
    PlanRequest r = at_time(seconds);
    r.exclusive = exclusive;
    make(s, &plan, &r, backup);
    assert_int_equal(plan.target, RECOVERY_TARGET_TIME);
    assert_true(plan.stop.found);
    assert_int_equal(plan.stop.stop.lsn, stop);
    assert_int_equal(plan.last, last);
    assert_int_equal(plan.tli, 1);
    assert_int_equal(plan.exclusive, exclusive);
    assert_false(plan.use_partial);
    plan_free(&plan);
}

static void test_times(void **state)
{
    Scratch *s = *state;
    History h;
    setup(s, &h);
    expect_time(s, 5, false, A, h.lsn[0], 2);
    expect_time(s, 10, false, A, h.lsn[1], 2);
    expect_time(s, 10, true, A, h.lsn[0], 2);
    expect_time(s, 20, false, A, h.lsn[2], 4);
    expect_time(s, 24, false, A, h.lsn[2], 4);
    expect_time(s, 25, false, B, h.lsn[2], 4);
    expect_time(s, 39, false, B, h.lsn[3], 5);
    expect_time(s, 40, true, B, h.lsn[3], 5);
    PlanRequest r = at_time(4);
    fails(s, &r, ERR_TARGET, "before the end of the first usable backup, " A, "earliest moment");
    /* behind the last commit, while other records still show the time */
    Plan plan;
    for (int t = 40; t <= 60; t += 10) {
        r = at_time(t);
        make(s, &plan, &r, B);
        assert_int_equal(plan.target, RECOVERY_TARGET_LSN);
        assert_int_equal(plan.lsn, h.checkpoint);
        assert_false(plan.exclusive);
        assert_int_equal(plan.note_count, 1);
        assert_int_equal(plan.last, 5);
        plan_free(&plan);
    }
    r = at_time(61);
    fails(s, &r, ERR_TARGET, "the target time can't be reached", "pg_switch_wal");
    free(h.wal.bytes);
}

/* A commit behind the target lies within B, whose end is said to be before: A it is. */
static void test_wrong_clock(void **state)
{
    Scratch *s = *state;
    Plan plan;
    History h = {.wal = wal_build(1)};
    h.start_a = wal_checkpoint(&h.wal, 0);
    h.stop_a = wal_checkpoint(&h.wal, 5);
    wal_commit(&h.wal, 700, 10);
    h.start_b = wal_checkpoint(&h.wal, 24);
    uint64_t late = wal_commit(&h.wal, 701, 27);
    h.stop_b = wal_checkpoint(&h.wal, 28);
    wal_commit(&h.wal, 702, 30);
    wal_archive_build(s, &h.wal, 1, 1, "");
    put_backups(s, &h);
    PlanRequest r = at_time(26);
    make(s, &plan, &r, A);
    assert_int_equal(plan.stop.stop.lsn, late);
    assert_true(plan.note_count > 0 && strstr(plan.notes[0], B));
    plan_free(&plan);
    r = at_time(28);
    make(s, &plan, &r, B);
    assert_int_equal(plan.stop.stop.xid, 702);
    plan_free(&plan);
    r = at_time(26);
    r.backup = B;
    fails(s, &r, ERR_TARGET, "before the end of backup " B, "");
    free(h.wal.bytes);
}

/* --- holes -------------------------------------------------------------------------------------
 */

static void test_holes(void **state)
{
    Scratch *s = *state;
    History h = history();
    wal_archive_build(s, &h.wal, 1, 3, "");
    wal_archive_build(s, &h.wal, 5, 5, "");
    put_backups(s, &h);
    expect_time(s, 10, false, A, h.lsn[1], 2);
    PlanRequest r = at_time(20);
    fails(s, &r, ERR_TARGET, "WAL segment 000000010000000000000004 is missing", "archive it");
    r = at_time(35);
    fails(s, &r, ERR_TARGET, "WAL segment 000000010000000000000004 is missing", "");
    r = (PlanRequest){.target = RECOVERY_TARGET_NONE};
    fails(s, &r, ERR_TARGET, "WAL segment 000000010000000000000004 is missing", "");
    r = (PlanRequest){.target = RECOVERY_TARGET_LSN, .lsn = h.lsn[2]};
    fails(s, &r, ERR_TARGET, "WAL segment 000000010000000000000004 is missing", "");
    Plan plan;
    r = (PlanRequest){.target = RECOVERY_TARGET_IMMEDIATE};
    make(s, &plan, &r, B);
    assert_int_equal(plan.last, 3);
    plan_free(&plan);
    /* in a backup's own WAL */
    unlink(scratch_find(s, scratch_path(s, "repo"), "000000010000000000000003-"));
    fails(s, &r, ERR_TARGET,
          "backup " B " can't become consistent: WAL segment "
          "000000010000000000000003 is missing",
          "");
    wal_stored(s, "000000010000000000000003", "1111111111111111");
    wal_stored(s, "000000010000000000000003", "2222222222222222");
    fails(s, &r, ERR_TARGET, "000000010000000000000003 is stored with several contents", "two");
    r.backup = A;
    make(s, &plan, &r, A);
    assert_int_equal(plan.last, 1);
    plan_free(&plan);
    free(h.wal.bytes);
}

/* --- other targets -----------------------------------------------------------------------------
 */

static void test_end_and_position(void **state)
{
    Scratch *s = *state;
    History h;
    Plan plan;
    setup(s, &h);
    PlanRequest r = {.target = RECOVERY_TARGET_NONE};
    make(s, &plan, &r, B);
    assert_int_equal(plan.target, RECOVERY_TARGET_NONE);
    assert_int_equal(plan.last, 5);
    assert_int_equal(plan.tail.last_commit.lsn, h.lsn[3]);
    assert_true(plan.tail.last_time == WAL_TIME(60));
    plan_free(&plan);
    r = (PlanRequest){.target = RECOVERY_TARGET_LSN, .lsn = h.lsn[1] + 1};
    make(s, &plan, &r, A);
    assert_int_equal(plan.last, 2);
    plan_free(&plan);
    r.lsn = h.stop_b;
    make(s, &plan, &r, B);
    assert_int_equal(plan.at.lsn, h.stop_b);
    plan_free(&plan);
    r.lsn = h.stop_a - 1;
    fails(s, &r, ERR_TARGET, "before the end of the first usable backup", "earliest position");
    r.lsn = h.checkpoint + 1;
    fails(s, &r, ERR_TARGET, "can't be reached", "");
    free(h.wal.bytes);
}

static void expect_found(Scratch *s, const PlanRequest *r, const char *backup, uint64_t lsn,
                         uint64_t last)
{
    Plan plan;
    make(s, &plan, r, backup);
    assert_int_equal(plan.at.lsn, lsn);
    assert_int_equal(plan.last, last);
    plan_free(&plan);
}

/* The newest backup that lies before it is taken. */
static void test_xid_and_name(void **state)
{
    Scratch *s = *state;
    History h;
    setup(s, &h);
    PlanRequest r = {.target = RECOVERY_TARGET_XID, .xid = 703};
    expect_found(s, &r, B, h.lsn[3], 5);
    r.xid = 701;
    expect_found(s, &r, A, h.lsn[1], 2);
    r.xid = 704;
    fails(s, &r, ERR_TARGET, "transaction 704 does not end", "");
    r = (PlanRequest){.target = RECOVERY_TARGET_XID, .xid = 703, .backup = A};
    expect_found(s, &r, A, h.lsn[3], 5);
    r = (PlanRequest){.target = RECOVERY_TARGET_NAME, .name = "two"};
    expect_found(s, &r, B, h.points[1], 4);
    r.name = "one";
    expect_found(s, &r, A, h.points[0], 2);
    r.name = "three";
    fails(s, &r, ERR_TARGET, "no restore point \"three\"", "");
    free(h.wal.bytes);
}

static void test_drop_database(void **state)
{
    Scratch *s = *state;
    History h = history();
    uint64_t mark = wal_inplace(&h.wal, 1262);
    wal_drop_database(&h.wal, 16400);
    wal_commit(&h.wal, 704, 70);
    wal_archive_build(s, &h.wal, 1, 5, "");
    put_backups(s, &h);
    Plan plan;
    PlanRequest r = at_time(65);
    make(s, &plan, &r, B);
    assert_int_equal(plan.target, RECOVERY_TARGET_LSN);
    assert_int_equal(plan.lsn, mark);
    assert_true(plan.exclusive);
    assert_true(plan.note_count >= 1);
    plan_free(&plan);
    r = (PlanRequest){.target = RECOVERY_TARGET_XID, .xid = 704, .exclusive = true};
    make(s, &plan, &r, B);
    assert_int_equal(plan.target, RECOVERY_TARGET_LSN);
    assert_int_equal(plan.lsn, mark);
    plan_free(&plan);
    r.exclusive = false;
    make(s, &plan, &r, B);
    assert_int_equal(plan.target, RECOVERY_TARGET_XID);
    plan_free(&plan);
    free(h.wal.bytes);
}

/* --- backups -----------------------------------------------------------------------------------
 */

static void test_nothing_there(void **state)
{
    Scratch *s = *state;
    Error err;
    History h = history();
    PlanRequest r = {.target = RECOVERY_TARGET_NONE};
    fails(s, &r, ERR_REPO, "", "");
    must(storage_prepare(s->repo->storage, &err), &err);
    fails(s, &r, ERR_TARGET, "no WAL of cluster main", "");
    wal_archive_build(s, &h.wal, 1, 5, "");
    fails(s, &r, ERR_TARGET, "no usable backup", "pitr backup");
    free(h.wal.bytes);
}

static void test_damaged_and_named(void **state)
{
    Scratch *s = *state;
    Plan plan;
    History h = history();
    wal_archive_build(s, &h.wal, 1, 5, "");
    put_backup(s, &(BackupSpec){B, 1, h.start_b, h.stop_b, 25, true});
    PlanRequest r = at_time(30);
    fails(s, &r, ERR_TARGET, "damaged ones are left out", "");
    r.backup = B;
    fails(s, &r, ERR_TARGET, "marked damaged", "--allow-damaged");
    r.allow_damaged = true;
    make(s, &plan, &r, B);
    assert_non_null(strstr(plan.notes[plan.note_count - 1], "marked damaged"));
    plan_free(&plan);
    put_backup(s, &(BackupSpec){A, 1, h.start_a, h.stop_a, 5, false});
    r = at_time(30);
    make(s, &plan, &r, A);
    assert_int_equal(plan.note_count, 0);
    plan_free(&plan);
    r.backup = "20261121T030099Z-F";
    fails(s, &r, ERR_TARGET, "there is no backup 20261121T030099Z-F", "pitr info");
    r = at_time(10);
    r.backup = B;
    r.allow_damaged = true;
    fails(s, &r, ERR_TARGET, "the target lies before the end of backup " B, "leave --backup out");
    free(h.wal.bytes);
}

/* --- timelines ---------------------------------------------------------------------------------
 */

/* Timeline 2 leaves 1 in segment 5, behind 703; 1 goes on there with 704 at 70 s. */
static WalBuild fork_history(Scratch *s, History *h)
{
    char text[64];
    *h = history();
    WalBuild two = wal_fork(&h->wal, 2);
    uint8_t begun[16];
    snprintf(text, sizeof(text), "1\t" LSN_FORMAT "\tx\n", LSN_ARGS(two.pos));
    put64(begun, wal_pg_time(80));
    put32(begun + 8, 2);
    put32(begun + 12, 1);
    wal_main(&two, 0, 0x90, 0, begun, sizeof(begun));
    wal_commit(&two, 801, 90);
    wal_switch(&two);
    wal_commit(&two, 802, 100);
    wal_commit(&h->wal, 704, 70);
    wal_restore_point(&h->wal, "old", 75);
    wal_archive_build(s, &h->wal, 1, 5, "");
    wal_archive_build(s, &two, 5, 6, "");
    wal_history(s, 2, text);
    put_backups(s, h);
    return two;
}

static void test_fork(void **state)
{
    Scratch *s = *state;
    History h;
    Plan plan;
    WalBuild two = fork_history(s, &h);
    PlanRequest r = at_time(95); /* the newest timeline, along its ancestry */
    make(s, &plan, &r, B);
    assert_int_equal(plan.tli, 2);
    assert_int_equal(plan.last, 6);
    assert_int_equal(plan.stop.stop.xid, 802);
    assert_int_equal(plan.chain.links[5 - plan.chain.first].tli, 2);
    assert_int_equal(plan.chain.links[4 - plan.chain.first].tli, 1);
    plan_free(&plan);
    r = at_time(39);
    make(s, &plan, &r, B);
    assert_int_equal(plan.stop.stop.xid, 703);
    plan_free(&plan);
    /* 704 was committed on timeline 1 after the fork: which one is meant, a person has to say */
    r = at_time(72);
    fails(s, &r, ERR_TARGET, "the target lies on timeline 1, which went on after timeline 2",
          "--target-timeline 1");
    r.tli = 2;
    make(s, &plan, &r, B);
    assert_int_equal(plan.stop.before.xid, 703);
    plan_free(&plan);
    r = (PlanRequest){.target = RECOVERY_TARGET_XID, .xid = 704, .tli = 1};
    make(s, &plan, &r, B);
    assert_int_equal(plan.tli, 1);
    assert_int_equal(plan.at.tli, 1);
    plan_free(&plan);
    r = (PlanRequest){.target = RECOVERY_TARGET_NAME, .name = "old"};
    fails(s, &r, ERR_TARGET, "no restore point", "");
    r.tli = 3;
    fails(s, &r, ERR_TARGET, "timeline 3 is not in repository main", "");
    /* a backup on the part of timeline 1 that 2 does not have */
    put_backup(s, &(BackupSpec){"20261121T030071Z-F", 1, h.lsn[3], h.wal.pos, 71, false});
    r = at_time(95);
    make(s, &plan, &r, B);
    plan_free(&plan);
    r.backup = "20261121T030071Z-F";
    fails(s, &r, ERR_TARGET, "is not on the way to timeline 2", "--target-timeline");
    free(h.wal.bytes);
    free(two.bytes);
}

/* The child's file of the shared segment is missing: that is a hole, not an end. */
static void test_fork_without_the_shared_segment(void **state)
{
    Scratch *s = *state;
    History h;
    WalBuild two = fork_history(s, &h);
    unlink(scratch_find(s, scratch_path(s, "repo"), "000000020000000000000005-"));
    PlanRequest r = {.target = RECOVERY_TARGET_NONE};
    fails(s, &r, ERR_TARGET, "WAL segment 000000020000000000000005 is missing", "");
    unlink(scratch_find(s, scratch_path(s, "repo"), "000000020000000000000006-"));
    fails(s, &r, ERR_TARGET, "WAL segment 000000020000000000000005 is missing", "");
    r.tli = 1;
    Plan plan;
    make(s, &plan, &r, B);
    assert_int_equal(plan.tail.last_commit.xid, 704);
    plan_free(&plan);
    free(h.wal.bytes);
    free(two.bytes);
}

static void test_partial(void **state)
{
    Scratch *s = *state;
    History h = history();
    Plan plan;
    char text[64];
    wal_archive_build(s, &h.wal, 1, 4, "");
    wal_archive_build(s, &h.wal, 5, 5, ".partial");
    put_backups(s, &h);
    PlanRequest r = {.target = RECOVERY_TARGET_NONE};
    make(s, &plan, &r, B);
    assert_true(plan.use_partial);
    assert_int_equal(plan.last, 5);
    assert_int_equal(plan.tail.last_commit.xid, 703);
    assert_int_equal(plan.note_count, 1);
    plan_free(&plan);
    r = at_time(39);
    make(s, &plan, &r, B);
    assert_true(plan.use_partial);
    plan_free(&plan);
    r = at_time(30); /* the stop lies in segment 5 as well */
    make(s, &plan, &r, B);
    assert_true(plan.use_partial);
    plan_free(&plan);
    r = at_time(10);
    make(s, &plan, &r, A);
    assert_false(plan.use_partial);
    assert_int_equal(plan.note_count, 0);
    plan_free(&plan);
    /* another timeline begins inside, and only its history file is there yet */
    snprintf(text, sizeof(text), "1\t" LSN_FORMAT "\tx\n", LSN_ARGS(h.lsn[3]));
    wal_history(s, 2, text);
    r = at_time(29);
    r.tli = 1;
    make(s, &plan, &r, B); /* reached before it */
    assert_false(plan.use_partial);
    assert_int_equal(plan.last, 4);
    plan_free(&plan);
    r.target = RECOVERY_TARGET_NONE;
    fails(s, &r, ERR_TARGET, "000000010000000000000005", "");
    r.tli = 2;
    make(s, &plan, &r, B);
    assert_false(plan.use_partial);
    assert_int_equal(plan.last, 4);
    plan_free(&plan);
    free(h.wal.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_times),         SCRATCH_TEST(test_wrong_clock),
        SCRATCH_TEST(test_holes),         SCRATCH_TEST(test_end_and_position),
        SCRATCH_TEST(test_xid_and_name),  SCRATCH_TEST(test_drop_database),
        SCRATCH_TEST(test_nothing_there), SCRATCH_TEST(test_damaged_and_named),
        SCRATCH_TEST(test_fork),          SCRATCH_TEST(test_fork_without_the_shared_segment),
        SCRATCH_TEST(test_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
