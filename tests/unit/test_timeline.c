/* pg/timeline.h: history files and ancestry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "pg/timeline.h"

static void parse(uint32_t tli, const char *text, TimelineHistory *h)
{
    Error err = {0};
    if (!timeline_history_parse(tli, text, strlen(text), h, &err))
        fail_msg("refused: %s", err.message);
    assert_int_equal(h->tli, tli);
}

/* As a server writes it: blank lines between inherited entries. */
static void test_inherited(void **state)
{
    (void)state;
    TimelineHistory h;
    uint64_t lsn;
    parse(4,
          "1\t0/3000060\tbefore 2026-11-21 03:00:00+00\n\n2\t0/5000000\tno recovery target "
          "specified\n\n3\t1/0\tat restore point \"x\"\n",
          &h);
    assert_int_equal(h.count, 3);
    assert_string_equal(h.entries[0].reason, "before 2026-11-21 03:00:00+00");
    assert_true(timeline_switch_point(&h, 2, &lsn) && lsn == 0x5000000);
    assert_false(timeline_switch_point(&h, 4, &lsn));
    assert_false(timeline_switch_point(&h, 5, &lsn));
    assert_int_equal(timeline_at(&h, 0), 1);
    assert_int_equal(timeline_at(&h, 0x300005F), 1);
    assert_int_equal(timeline_at(&h, 0x3000060), 2);
    assert_int_equal(timeline_at(&h, UINT64_C(0xFFFFFFFF)), 3);
    assert_int_equal(timeline_at(&h, UINT64_C(0x100000000)), 4);
    assert_true(timeline_contains(&h, 1, 0x300005F));
    assert_false(timeline_contains(&h, 1, 0x3000060));
    assert_false(timeline_contains(&h, 2, 0x300005F));
    assert_true(timeline_contains(&h, 4, UINT64_MAX));
    timeline_history_free(&h);
    timeline_history_free(&h);
}

static void test_tolerated(void **state)
{
    (void)state;
    TimelineHistory h;
    parse(9, "# made by hand\n   \t\n  # indented\n  1   0/1A  \r\n7\tA/0000000B\ta\x01reason\t",
          &h);
    assert_int_equal(h.count, 2);
    assert_true(h.entries[0].lsn == 0x1A);
    assert_string_equal(h.entries[0].reason, "");
    assert_true(h.entries[1].lsn == UINT64_C(0xA0000000B));
    assert_string_equal(h.entries[1].reason, "a?reason");
    timeline_history_free(&h);
    parse(2, "", &h);
    assert_int_equal(timeline_at(&h, 5), 2);
    timeline_history_free(&h);
    timeline_history_init(&h, 1);
    assert_true(timeline_contains(&h, 1, 0));
}

/* A restore along timeline 2 stopped before 2 began: 3 came from 1 in fact. */
static void test_descending_switch_points(void **state)
{
    (void)state;
    TimelineHistory h;
    uint64_t lsn;
    parse(3, "1\t0/5000\tx\n2\t0/3000\tx\n", &h);
    assert_int_equal(timeline_at(&h, 0x2FFF), 1);
    assert_int_equal(timeline_at(&h, 0x3000), 3);
    assert_int_equal(timeline_at(&h, 0x4000), 3);
    assert_int_equal(timeline_at(&h, 0x6000), 3);
    assert_true(timeline_switch_point(&h, 1, &lsn) && lsn == 0x3000);
    assert_true(timeline_switch_point(&h, 2, &lsn) && lsn == 0x3000);
    timeline_history_free(&h);
}

static void refused(uint32_t tli, const char *text, size_t len, const char *part)
{
    TimelineHistory h;
    Error err = {0};
    assert_false(timeline_history_parse(tli, text, len, &h, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    if (!strstr(err.message, part))
        fail_msg("message: %s", err.message);
    timeline_history_free(&h);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"x\t0/1\n", "line 1: no timeline"},
        {"0\t0/1\n", "no timeline"},
        {"-1\t0/1\n", "no timeline"},
        {"4294967297\t0/1\n", "no timeline"},
        {"99999999999\t0/1\n", "no timeline"},
        {"1\n", "no switch point"},
        {"\n1\t0\n", "line 2: no switch point"},
        {"1\t0/G\n", "no switch point"},
        {"1\t0/123456789\n", "no switch point"},
        {"1\t0/1\n1\t0/2\n", "line 2: timeline 1 comes"},
        {"3\t0/1\n2\t0/2\n", "comes after"},
        {"5\t0/1\n", "can't descend"},
        {"7\t0/1\n", "can't descend"},
        {"1\t0/1,\n", "no switch point"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(5, bad[i].text, strlen(bad[i].text), bad[i].part);
    refused(5, "1\t0/1\0\t", 7, "no switch point");
    refused(1, "1\t0/1\n", 6, "can't descend");
}

static void test_many_entries(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    TimelineHistory h;
    for (unsigned i = 1; i <= 20000; i++)
        buf_printf(&b, "%u\t0/%X\tr\n\n", i, i * 16);
    parse(20001, b.data, &h);
    assert_int_equal(h.count, 20000);
    assert_int_equal(timeline_at(&h, 160), 11);
    assert_int_equal(timeline_at(&h, 159), 10);
    timeline_history_free(&h);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inherited),
        cmocka_unit_test(test_tolerated),
        cmocka_unit_test(test_descending_switch_points),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_many_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
