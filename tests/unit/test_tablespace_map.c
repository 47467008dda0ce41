/* pg/tablespace_map.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pg/tablespace_map.h"

#define MAP "16384 /srv/one\n16385 /srv/my two\n16386 /srv/a\\\\b\\\nc\n"

static void test_parse(void **state)
{
    (void)state;
    TablespaceMap map;
    Error err;
    assert_true(tablespace_map_parse(MAP, strlen(MAP), &map, &err));
    assert_int_equal(map.count, 3);
    assert_int_equal(map.entries[0].oid, 16384);
    assert_string_equal(map.entries[0].path, "/srv/one");
    assert_string_equal(map.entries[1].path, "/srv/my two");
    assert_string_equal(map.entries[2].path, "/srv/a\\b\nc");
    tablespace_map_free(&map);
    assert_true(tablespace_map_parse("1 /a\r\n\n2 /b\r\n", 13, &map, &err));
    assert_int_equal(map.count, 2);
    tablespace_map_free(&map);
    assert_true(tablespace_map_parse("", 0, &map, &err));
    assert_int_equal(map.count, 0);
    tablespace_map_free(&map);
}

static void test_parse_damaged(void **state)
{
    (void)state;
    static const char *bad[] = {"16384 /srv/one", "16384 /srv/one\\",  "16384\n",
                                "16384 \n",       " /srv\n",           "x /srv\n",
                                "0 /srv\n",       "4294967296 /srv\n", "99999999999 /srv\n",
                                "16384  /srv\n",  "16384 srv\n",       "16384 /a\n16384 /b\n"};
    TablespaceMap map;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err = {0};
        if (tablespace_map_parse(bad[i], strlen(bad[i]), &map, &err))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.code, ERR_DAMAGED);
        assert_int_equal(map.count, 0);
    }
    Error err;
    assert_false(tablespace_map_parse("1 /a\0b\n", 7, &map, &err));
    char big[1200] = "1 /";
    memset(big + 3, 'x', sizeof(big) - 4);
    big[sizeof(big) - 1] = '\n';
    assert_false(tablespace_map_parse(big, sizeof(big), &map, &err));
}

static void test_rewrite(void **state)
{
    (void)state;
    static const TablespaceMapping maps[] = {{"/srv/one/", "/new/one"},
                                             {"16386", "/new/back\\slash\nline/"}};
    Buf out = BUF_INIT;
    TablespaceMap unmapped;
    Error err;
    assert_true(tablespace_map_rewrite(MAP, strlen(MAP), maps, 2, &out, &unmapped, &err));
    assert_string_equal(out.data, "16384 /new/one\n16385 /srv/my two\n"
                                  "16386 /new/back\\\\slash\\\nline\n");
    assert_int_equal(unmapped.count, 1);
    assert_int_equal(unmapped.entries[0].oid, 16385);
    TablespaceMap again;
    assert_true(tablespace_map_parse(out.data, out.len, &again, &err));
    assert_string_equal(again.entries[2].path, "/new/back\\slash\nline");
    tablespace_map_free(&again);
    tablespace_map_free(&unmapped);
    buf_clear(&out);
    assert_true(tablespace_map_rewrite(MAP, strlen(MAP), NULL, 0, &out, NULL, &err));
    assert_string_equal(out.data, MAP);
    buf_free(&out);
}

static void check_refused(const TablespaceMapping *maps, size_t n, const char *message)
{
    Buf out = BUF_INIT;
    TablespaceMap unmapped;
    Error err = {0};
    assert_false(tablespace_map_rewrite(MAP, strlen(MAP), maps, n, &out, &unmapped, &err));
    assert_int_equal(err.code, ERR_USAGE);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    assert_int_equal(out.len, 0);
    assert_int_equal(unmapped.count, 0);
}

static void test_rewrite_refused(void **state)
{
    (void)state;
    check_refused((TablespaceMapping[]){{"/srv/won", "/new"}}, 1, "no tablespace at");
    check_refused((TablespaceMapping[]){{"/srv/one", "new"}}, 1, "not absolute");
    check_refused((TablespaceMapping[]){{"/srv/one", "/a"}, {"16384", "/b"}}, 2, "mapped twice");
    check_refused((TablespaceMapping[]){{"/srv/one", "/a"}, {"16385", "/a/"}}, 2,
                  "two tablespaces");
    check_refused((TablespaceMapping[]){{"/srv/one", "/srv/my two"}}, 1, "two tablespaces");
    char *longer = mem_strdup("/");
    longer = mem_resize(longer, 1100, 1);
    memset(longer + 1, 'x', 1098);
    longer[1099] = '\0';
    check_refused((TablespaceMapping[]){{"/srv/one", longer}}, 1, "too long");
    Buf out = BUF_INIT;
    Error err;
    assert_false(
        tablespace_map_rewrite("", 0, (TablespaceMapping[]){{"/a", "/b"}}, 1, &out, NULL, &err));
    assert_non_null(strstr(err.hint, "no tablespaces at all"));
    free(longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_damaged),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
