/* pg/walrecord.h: records of each kind and major, and bytes that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/walrecord.h"
#include "walbuild.h"

#define T0 INT64_C(848545200123456)

/* The body of a record under construction. */
static uint8_t raw[70000];
static uint32_t len;

static void w8(uint8_t v)
{
    raw[len++] = v;
}

static void w16(uint16_t v)
{
    put16(raw + len, v);
    len += 2;
}

static void w32(uint32_t v)
{
    put32(raw + len, v);
    len += 4;
}

static void w64(uint64_t v)
{
    put64(raw + len, v);
    len += 8;
}

static void w(const void *p, uint32_t n)
{
    memcpy(raw + len, p, n);
    len += n;
}

/* Moves what was written behind a main data header. */
static void as_main(void)
{
    uint32_t head = len < 256 ? 2 : 5;
    memmove(raw + head, raw, len);
    raw[0] = len < 256 ? 255 : 254;
    if (head == 2)
        raw[1] = (uint8_t)len;
    else
        put32(raw + 1, len);
    len += head;
}

/* Decodes the body; in memory of its exact length, so that reading past it is seen. */
static bool decode(uint8_t rmid, uint8_t info, int major, WalEvent *out)
{
    uint8_t *data = build_record(rmid, info, 700, 0, raw, len);
    WalRecord rec = {.data = data, .len = 24 + len, .rmid = rmid, .info = info, .xid = 700};
    bool ok = walrecord_decode(&rec, major, out);
    /* Every shorter record is refused or told without reading past its end. */
    for (uint32_t n = 0; n < len; n += 1 + len / 500) {
        uint8_t *cut = malloc(24 + n);
        WalEvent e;
        memcpy(cut, data, 24 + n);
        rec.data = cut;
        rec.len = 24 + n;
        walrecord_decode(&rec, major, &e);
        free(cut);
    }
    free(data);
    len = 0;
    return ok;
}

static void expect(uint8_t rmid, uint8_t info, int major, WalEventKind kind, WalEvent *out)
{
    as_main();
    assert_true(decode(rmid, info, major, out));
    assert_int_equal(out->kind, kind);
}

static void refused(uint8_t rmid, uint8_t info, int major)
{
    WalEvent e;
    assert_false(decode(rmid, info, major, &e));
    assert_int_equal(e.kind, WALEVENT_OTHER);
}

static void test_plain_commit_and_abort(void **state)
{
    (void)state;
    WalEvent e;
    w64(T0);
    expect(1, 0x00, 15, WALEVENT_COMMIT, &e);
    assert_true(e.time == T0);
    assert_int_equal(e.xid, 700);
    assert_false(e.prepared);
    w64(T0);
    expect(1, 0x20, 13, WALEVENT_ABORT, &e);
    assert_true(e.time == T0);
    w64((uint64_t)-1);
    expect(1, 0x00, 15, WALEVENT_COMMIT, &e);
    assert_true(e.time == -1);
}

/* All that can stand in a commit record, before the twophase xid. */
static void full(int major, bool commit)
{
    w64(T0);
    w32(0x1 | 0x2 | 0x4 | 0x10 | 0x20 | 0x40 | 0x80 | (commit ? 0x8 : 0) |
        (major >= 15 ? 0x100 : 0));
    w64(0);   /* database, tablespace */
    w32(300); /* subtransactions: the long form of main data */
    for (uint32_t i = 0; i < 300; i++)
        w32(i);
    w32(2);
    w("0123456789ab0123456789ab", 24);
    if (major >= 15) {
        w32(3);
        for (int i = 0; i < 3 * (major >= 18 ? 4 : 3); i++)
            w32(0xABABABAB);
    }
    if (commit) {
        w32(1);
        w("0123456789abcdef", 16);
    }
    w32(4242);
    w("gid", 4);
    w64(1); /* origin */
    w64(2);
}

static void test_full_commit_and_abort(void **state)
{
    (void)state;
    WalEvent e;
    for (int major = 13; major <= 19; major++) {
        full(major, true);
        expect(1, 0x80 | 0x30, major, WALEVENT_COMMIT, &e);
        assert_true(e.prepared && e.xid == 4242 && e.time == T0);
        full(major, false);
        expect(1, 0x80 | 0x40, major, WALEVENT_ABORT, &e);
        assert_true(e.prepared && e.xid == 4242);
    }
    /* dropped statistics grew in 18 */
    full(18, true);
    as_main();
    bool ok = decode(1, 0xB0, 17, &e);
    assert_true(!ok || e.xid != 4242);
}

static void test_xact_others(void **state)
{
    (void)state;
    WalEvent e;
    w("anything", 8);
    expect(1, 0x10, 15, WALEVENT_OTHER, &e); /* prepare */
    w("anything", 8);
    expect(1, 0x50, 15, WALEVENT_OTHER, &e);
    w64(T0);
    as_main();
    refused(1, 0x30, 15); /* prepared without its xid */
    w32(1);
    as_main();
    refused(1, 0x00, 15);
    w64(T0);
    w32(0x2);
    w32(0xFFFFFFFF);
    as_main();
    refused(1, 0x80, 15);
    w64(T0);
    w32(0x4);
    w32(1);
    w64(0);
    as_main();
    refused(1, 0x80, 15);
    refused(1, 0x00, 15); /* no body at all */
}

static void checkpoint(int64_t seconds)
{
    w64(0x3000028);
    w32(2);
    w32(1);
    for (int i = 0; i < 6; i++)
        w64(0x5555555555555555);
    w64((uint64_t)seconds);
    w64(0);
    w64(0);
}

static void test_checkpoint(void **state)
{
    (void)state;
    WalEvent e;
    for (int major = 13; major <= 18; major++) {
        checkpoint(1795230000);
        assert_int_equal(len, 88);
        expect(0, 0x00, major, WALEVENT_CHECKPOINT, &e);
        assert_true(e.shutdown && e.redo == 0x3000028);
        assert_int_equal(e.tli, 2);
        assert_int_equal(e.prev_tli, 1);
        assert_true(e.time == INT64_C(848545200) * 1000000);
    }
    checkpoint(0);
    expect(0, 0x10, 15, WALEVENT_CHECKPOINT, &e);
    assert_false(e.shutdown);
    assert_true(e.time == INT64_C(-946684800) * 1000000);
    checkpoint(INT64_MAX);
    as_main();
    refused(0, 0x10, 15);
    checkpoint(INT64_MIN);
    as_main();
    refused(0, 0x10, 15);
    w64(1);
    as_main();
    refused(0, 0x10, 15);
}

static void test_xlog_others(void **state)
{
    (void)state;
    WalEvent e;
    char name[64] = "before the release";
    w64(T0);
    w(name, 64);
    expect(0, 0x70, 15, WALEVENT_RESTORE_POINT, &e);
    assert_string_equal(e.name, name);
    assert_true(e.time == T0);
    memset(name, 'x', sizeof(name));
    w64(T0);
    w(name, 64);
    expect(0, 0x70, 15, WALEVENT_RESTORE_POINT, &e);
    assert_int_equal(strlen(e.name), 63);
    w64(T0);
    w(name, 63);
    as_main();
    refused(0, 0x70, 15);
    w64(T0);
    w32(3);
    w32(2);
    expect(0, 0x90, 15, WALEVENT_END_OF_RECOVERY, &e);
    assert_true(e.tli == 3 && e.prev_tli == 2 && e.time == T0);
    w64(T0);
    w32(3);
    as_main();
    refused(0, 0x90, 15);
    assert_true(decode(0, 0x40, 15, &e));
    assert_int_equal(e.kind, WALEVENT_SWITCH);
    w8(0x77); /* not told, so not even looked at */
    assert_true(decode(0, 0xB0, 15, &e));
    assert_int_equal(e.kind, WALEVENT_OTHER);
}

static void test_dbase_drop(void **state)
{
    (void)state;
    WalEvent e;
    for (int major = 13; major <= 18; major++) {
        uint8_t op = major >= 15 ? 0x20 : 0x10;
        w32(16400);
        w32(1);
        w32(1663);
        expect(4, op | 1, major, WALEVENT_DBASE_DROP, &e);
        assert_int_equal(e.db, 16400);
        w32(16400);
        w32(1663);
        expect(4, op ^ 0x30, major, WALEVENT_OTHER, &e);
    }
    w16(0);
    as_main();
    refused(4, 0x20, 15);
}

/* Block 0 of pg_database, with an image of `info` and data. */
static void block(uint8_t id, uint8_t flags, uint8_t image_info, bool hole_length)
{
    w8(id);
    w8(flags);
    w16(flags & 0x20 ? 6 : 0);
    if (flags & 0x10) {
        w16(40);
        w16(100);
        w8(image_info);
        if (hole_length)
            w16(200);
    }
    if (!(flags & 0x80)) {
        w32(1664);
        w32(0);
        w32(1262 + id);
    }
    w32(3);
}

static void inplace(int major, uint8_t image_info, bool hole_length)
{
    WalEvent e;
    block(0, 0x30, image_info, hole_length);
    block(1, 0xA0, 0, false);
    block(2, 0x10, image_info, hole_length);
    w8(253); /* origin */
    w16(1);
    if (major >= 14) {
        w8(252);
        w32(900);
    }
    w8(255);
    w8(2);
    len += 40 + 6 + 6 + 40;
    w16(5);
    assert_true(decode(10, 0x70, major, &e));
    assert_int_equal(e.kind, WALEVENT_INPLACE);
    assert_int_equal(e.relation.spc, 1664);
    assert_int_equal(e.relation.db, 0);
    assert_int_equal(e.relation.rel, 1262);
}

static void test_inplace_and_images(void **state)
{
    (void)state;
    for (int major = 13; major <= 14; major++) {
        inplace(major, 0x01, false);        /* hole */
        inplace(major, 0x01 | 0x02, true);  /* compressed, hole */
        inplace(major, 0x02, false);        /* compressed, no hole */
        inplace(major, 0x01 | 0x04, false); /* hole, to be applied */
    }
    for (int major = 15; major <= 18; major++) {
        inplace(major, 0x01 | 0x02, false); /* hole, to be applied */
        inplace(major, 0x01 | 0x04, true);
        inplace(major, 0x01 | 0x08, true);
        inplace(major, 0x01 | 0x10, true);
        inplace(major, 0x04, false);
    }
    WalEvent e;
    w16(1);
    as_main();
    refused(10, 0x70, 15); /* no block */
    w8(0x77);
    assert_true(decode(10, 0x00, 15, &e)); /* an insert is not looked at */
    assert_int_equal(e.kind, WALEVENT_OTHER);
}

static void test_bad_layouts(void **state)
{
    (void)state;
    block(0, 0x80, 0, false); /* the same relation as none */
    w8(255);
    w8(0);
    refused(10, 0x70, 15);
    w8(33); /* no such block */
    refused(10, 0x70, 15);
    w8(252);
    w32(1);
    w8(255);
    w8(0);
    refused(10, 0x70, 13);
    block(0, 0x00, 0, false);
    put16(raw + 2, 4); /* data that no flag tells of */
    len += 4;
    refused(10, 0x70, 15);
    w8(254);
    w32(0xFFFFFFFF);
    w32(0);
    refused(1, 0x00, 15);
    w8(255);
    w8(3);
    w32(0);
    refused(1, 0x00, 15);
    w8(255);
    refused(1, 0x00, 15);
    WalRecord rec = {.data = raw, .len = 23, .rmid = 1};
    WalEvent e;
    assert_false(walrecord_decode(&rec, 15, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_commit_and_abort),
        cmocka_unit_test(test_full_commit_and_abort),
        cmocka_unit_test(test_xact_others),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_xlog_others),
        cmocka_unit_test(test_dbase_drop),
        cmocka_unit_test(test_inplace_and_images),
        cmocka_unit_test(test_bad_layouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
