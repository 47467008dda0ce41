/* pg/walname.h: names of WAL files, segment numbers, LSNs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pg/walname.h"

#define MIB (UINT32_C(1) << 20)

static void round_trip(const char *text, WalNameKind kind)
{
    WalName n;
    char back[WALNAME_TEXT];
    assert_true(walname_parse(text, &n));
    assert_int_equal(n.kind, kind);
    walname_text(&n, back);
    assert_string_equal(back, text);
}

static void test_kinds(void **state)
{
    (void)state;
    WalName n;
    round_trip("000000010000000A000000FF", WALNAME_SEGMENT);
    round_trip("00000002000000010000000C.partial", WALNAME_PARTIAL);
    round_trip("00000002000000010000000C.00ABCDEF.backup", WALNAME_BACKUP);
    round_trip("0000001F.history", WALNAME_HISTORY);
    round_trip("FFFFFFFFFFFFFFFFFFFFFFFF.FFFFFFFF.backup", WALNAME_BACKUP);
    assert_true(walname_parse("0000000200000001000000C3.00000028.backup", &n));
    assert_int_equal(n.tli, 2);
    assert_int_equal(n.log, 1);
    assert_int_equal(n.seg, 0xC3);
    assert_int_equal(n.offset, 0x28);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "0",
        "00000001",
        "00000001.histor",
        "00000001.history2",
        "00000001.HISTORY",
        "0000001.history",
        "000000001.history",
        "00000000.history",
        "00000001000000010000000",
        "0000000100000001000000011",
        "00000001000000010000000a",
        "00000001000000010000000G",
        "000000000000000000000000",
        " 00000001000000010000000A",
        "00000001000000010000000A ",
        "00000001000000010000000A\n",
        "pg_wal/00000001000000010000000A",
        "../000000010000000100000",
        "00000001000000010000000A.",
        "00000001000000010000000A.part",
        "00000001000000010000000A.partial.lz4",
        "00000001000000010000000A.partialx",
        "00000001000000010000000A.backup",
        "00000001000000010000000A.0000002.backup",
        "00000001000000010000000A.000000028.backup",
        "00000001000000010000000A.0000002g.backup",
        "00000001000000010000000A.00000028.backups",
        "00000001000000010000000A.00000028",
        "0x000001000000010000000A",
        "+0000001000000010000000A",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        WalName n;
        if (walname_parse(bad[i], &n))
            fail_msg("accepted: %s", bad[i]);
    }
}

static void check_segno(const char *name, uint32_t segsize, uint64_t want)
{
    WalName n;
    uint64_t segno;
    char text[WALNAME_SEGMENT_TEXT];
    assert_true(walname_parse(name, &n));
    assert_true(walname_segno(&n, segsize, &segno));
    assert_true(segno == want);
    walname_format(text, n.tli, segno, segsize);
    assert_memory_equal(text, name, 24);
}

static void test_segno(void **state)
{
    (void)state;
    WalName n;
    uint64_t segno;
    check_segno("000000010000000000000001", 16 * MIB, 1);
    check_segno("0000000100000001000000FF", 16 * MIB, 511);
    check_segno("000000010000000100000FFF", MIB, 8191);
    check_segno("000000010000000200000003", 1024 * MIB, 11);
    check_segno("00000001FFFFFFFF00000FFF", MIB, (UINT64_C(1) << 44) - 1);
    check_segno("00000001000000010000000C.partial", 16 * MIB, 268);
    check_segno("00000001000000010000000C.00000028.backup", 16 * MIB, 268);
    assert_true(walname_parse("000000010000000000000100", &n));
    assert_false(walname_segno(&n, 16 * MIB, &segno));
    assert_true(walname_segno(&n, MIB, &segno));
    assert_false(walname_segno(&n, 0, &segno));
    assert_false(walname_segno(&n, 3 * MIB, &segno));
    assert_false(walname_segno(&n, MIB / 2, &segno));
    assert_true(walname_parse("00000002.history", &n));
    assert_false(walname_segno(&n, 16 * MIB, &segno));
    assert_true(wal_segsize_valid(1024 * MIB));
    assert_false(wal_segsize_valid(2048 * MIB));
}

static void test_history_name(void **state)
{
    (void)state;
    char text[WALNAME_HISTORY_TEXT];
    walname_history_format(text, 0xAB);
    assert_string_equal(text, "000000AB.history");
}

static void test_lsn(void **state)
{
    (void)state;
    uint64_t lsn = 99;
    char text[LSN_TEXT];
    assert_true(lsn_parse("0/0", &lsn) && lsn == 0);
    assert_true(lsn_parse("16/B374D848", &lsn) && lsn == UINT64_C(0x16B374D848));
    assert_true(lsn_parse("16/b374d848", &lsn) && lsn == UINT64_C(0x16B374D848));
    assert_true(lsn_parse("1/0000001A", &lsn) && lsn == UINT64_C(0x10000001A));
    assert_true(lsn_parse("FFFFFFFF/FFFFFFFF", &lsn) && lsn == UINT64_MAX);
    assert_string_equal(lsn_format(text, lsn), "FFFFFFFF/FFFFFFFF");
    assert_string_equal(lsn_format(text, UINT64_C(0x10000001A)), "1/1A");
    lsn = 7;
    static const char *const bad[] = {"",     "0",    "/",        "0/",          "/0",
                                      "0/0 ", " 0/0", "0/0/0",    "000000000/0", "0/000000001",
                                      "0/G",  "-1/0", "0x1/0x2a", "0/0\n",       "1 /2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (lsn_parse(bad[i], &lsn))
            fail_msg("accepted: %s", bad[i]);
    assert_true(lsn == 7);
}

static void test_lsn_segments(void **state)
{
    (void)state;
    assert_true(lsn_segno(16 * MIB, 16 * MIB) == 1);
    assert_true(lsn_end_segno(16 * MIB, 16 * MIB) == 0);
    assert_true(lsn_end_segno(16 * MIB + 1, 16 * MIB) == 1);
    assert_true(lsn_end_segno(0, 16 * MIB) == 0);
    assert_true(segno_start(511, 16 * MIB) == UINT64_C(0x1FF000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_segno), cmocka_unit_test(test_history_name),
        cmocka_unit_test(test_lsn),   cmocka_unit_test(test_lsn_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
