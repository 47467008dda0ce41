#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "pg/pgtext.h"

static void test_uint(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(pgtext_uint("0", 0, &n) && n == 0);
    assert_true(pgtext_uint("0042", 100, &n) && n == 42);
    assert_true(pgtext_uint("18446744073709551615", UINT64_MAX, &n) && n == UINT64_MAX);
    n = 7;
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "1a",
                                      "0x1",
                                      "101",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(pgtext_uint(bad[i], i == 7 ? 100 : UINT64_MAX, &n));
    assert_true(n == 7);
}

static void test_relative_path(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "base/1/2", "...", ".x", "..x/y..", "a b", "\xff"};
    static const char *const bad[] = {"",    "/",   "/a",   "a/",   ".",    "..",
                                      "./a", "a/.", "a//b", "a/..", "../a", "a/../b"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(pgtext_is_relative_path(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(pgtext_is_relative_path(bad[i]));
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t out[4];
    size_t n = 0;
    assert_true(pgtext_is_hex("09afAF", 6));
    assert_false(pgtext_is_hex("09afA", 6));
    assert_false(pgtext_is_hex("09afAg", 6));
    assert_true(pgtext_unhex("00fF7e", out, &n));
    assert_int_equal(n, 3);
    assert_memory_equal(out, "\x00\xff\x7e", 3);
    assert_true(pgtext_unhex("", out, &n) && n == 0);
    assert_false(pgtext_unhex("0", out, &n));
    assert_false(pgtext_unhex("0g", out, &n));
    assert_false(pgtext_unhex("g0", out, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uint),
        cmocka_unit_test(test_relative_path),
        cmocka_unit_test(test_hex),
    };
    return cmocka_run_group_tests_name("pgtext", tests, NULL, NULL);
}
