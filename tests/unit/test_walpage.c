/* pg/walpage.h: headers of WAL pages, and first pages against file names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pg/walpage.h"
#include "walbuild.h"

#define MIB (UINT32_C(1) << 20)

static uint8_t page[40];

static int make_page(void **state)
{
    (void)state;
    memset(page, 0, sizeof(page));
    put16(page, 0xD110);
    put16(page + 2, 2);
    put32(page + 4, 3);
    put64(page + 8, UINT64_C(0x107000000));
    put64(page + 24, BUILD_SYSID);
    put32(page + 32, 16 * MIB);
    put32(page + 36, 8192);
    return 0;
}

static void test_fields(void **state)
{
    (void)state;
    WalPageHeader h;
    Error err;
    put32(page + 16, 77);
    assert_true(walpage_parse_first(page, 40, &h, &err));
    assert_int_equal(h.major, 15);
    assert_int_equal(h.tli, 3);
    assert_true(h.pageaddr == UINT64_C(0x107000000) && h.sysid == BUILD_SYSID);
    assert_int_equal(h.rem_len, 77);
    assert_int_equal(h.seg_size, 16 * MIB);
    assert_int_equal(h.blcksz, 8192);
    assert_int_equal(walpage_header_size(&h), 40);
    put16(page + 2, 1);
    assert_true(walpage_read(page, 24, &h));
    assert_int_equal(walpage_header_size(&h), 24);
    assert_true(h.sysid == 0);
    assert_false(walpage_read(page, 23, &h));
    put16(page + 2, 2);
    assert_false(walpage_read(page, 39, &h));
}

static void test_majors(void **state)
{
    (void)state;
    static const struct {
        uint16_t magic;
        int major;
    } known[] = {{0xD106, 13}, {0xD10D, 14}, {0xD110, 15}, {0xD113, 16},
                 {0xD116, 17}, {0xD118, 18}, {0xD120, 19}};
    WalPageHeader h;
    Error err;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        put16(page, known[i].magic);
        assert_true(walpage_parse_first(page, 40, &h, &err));
        assert_int_equal(h.major, known[i].major);
    }
}

static void test_flags_moved_in_19(void **state)
{
    (void)state;
    WalPageHeader h;
    put16(page + 2, 0x000A);
    assert_true(walpage_read(page, 40, &h) && walpage_overwrites(&h) && walpage_info_valid(&h));
    put16(page + 2, 0x0006);
    assert_true(walpage_read(page, 40, &h) && !walpage_overwrites(&h) && walpage_info_valid(&h));
    put16(page, 0xD120);
    assert_true(walpage_read(page, 40, &h) && walpage_overwrites(&h) && walpage_info_valid(&h));
    put16(page + 2, 0x000A);
    assert_true(walpage_read(page, 40, &h) && !walpage_info_valid(&h));
}

static void first_fails(size_t len, ErrorCode code, const char *part)
{
    WalPageHeader h;
    Error err = {0};
    assert_false(walpage_parse_first(page, len, &h, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part))
        fail_msg("message: %s", err.message);
}

static void test_no_first_page(void **state)
{
    (void)state;
    first_fails(39, ERR_DAMAGED, "too short");
    first_fails(0, ERR_DAMAGED, "too short");
    put16(page, 0);
    first_fails(40, ERR_DAMAGED, "magic 0000");
    put16(page, 0xD101);
    first_fails(40, ERR_USAGE, "magic D101");
    put16(page, 0xD110);
    put16(page + 2, 0);
    first_fails(40, ERR_DAMAGED, "flags (0000)");
    put16(page + 2, 0x12);
    first_fails(40, ERR_DAMAGED, "flags (0012)");
}

static void check(const char *name, uint64_t sysid, ErrorCode code, const char *part)
{
    WalPageHeader h;
    WalName n;
    Error err = {0};
    assert_true(walname_parse(name, &n));
    assert_true(walpage_parse_first(page, 40, &h, &err));
    bool ok = walpage_check_segment(&h, &n, sysid, &err);
    assert_int_equal(ok, code == ERR_NONE);
    assert_int_equal(err.code, code);
    if (!ok && !strstr(err.message, part))
        fail_msg("message: %s", err.message);
    assert_int_equal(err.hint[0] != '\0', code == ERR_USAGE);
}

static void test_against_name(void **state)
{
    (void)state;
    static const char name[] = "000000030000000100000007";
    check(name, 0, ERR_NONE, "");
    check(name, BUILD_SYSID, ERR_NONE, "");
    check("000000030000000100000007.partial", BUILD_SYSID, ERR_NONE, "");
    check("000000040000000100000007", BUILD_SYSID, ERR_NONE, "");
    check("000000020000000100000007", BUILD_SYSID, ERR_DAMAGED, "timeline 3");
    check("000000030000000100000008", BUILD_SYSID, ERR_DAMAGED, "1/7000000");
    check(name, BUILD_SYSID + 1, ERR_USAGE, "system 7300000000000000001");
    check("000000030000000100000100", BUILD_SYSID, ERR_DAMAGED, "no segment");
    check("00000003.history", BUILD_SYSID, ERR_DAMAGED, "no segment");
    put32(page + 4, 0);
    check(name, BUILD_SYSID, ERR_DAMAGED, "timeline 0");
    make_page(NULL);
    put32(page + 32, 15 * MIB);
    check(name, BUILD_SYSID, ERR_DAMAGED, "segment size");
    put32(page + 32, 0);
    check(name, BUILD_SYSID, ERR_DAMAGED, "segment size");
    make_page(NULL);
    put32(page + 36, 0);
    check(name, BUILD_SYSID, ERR_DAMAGED, "page size");
    put32(page + 36, 8191);
    check(name, BUILD_SYSID, ERR_DAMAGED, "page size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_fields, make_page),
        cmocka_unit_test_setup(test_majors, make_page),
        cmocka_unit_test_setup(test_flags_moved_in_19, make_page),
        cmocka_unit_test_setup(test_no_first_page, make_page),
        cmocka_unit_test_setup(test_against_name, make_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
