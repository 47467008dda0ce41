/* pg/guc.h: lines of postgresql.conf, quoting, masking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pg/guc.h"

static void test_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        GucKind kind;
        const char *name, *value;
    } cases[] = {
        {"", GUC_BLANK, "", ""},
        {" \t\r", GUC_BLANK, "", ""},
        {"# port = 1", GUC_BLANK, "", ""},
        {"port = 5432", GUC_SETTING, "port", "5432"},
        {"port 5432", GUC_SETTING, "port", "5432"},
        {"port=5432#x", GUC_SETTING, "port", "5432"},
        {"  Restore_Command = 'cp %p' # why\r", GUC_SETTING, "Restore_Command", "cp %p"},
        {"restore_command'cp'", GUC_SETTING, "restore_command", "cp"},
        {"a = 'it''s'", GUC_SETTING, "a", "it's"},
        {"a = 'it\\'s'", GUC_SETTING, "a", "it's"},
        {"a = '\\\\x\\n\\t\\101\\60'", GUC_SETTING, "a", "\\x\n\tA0"},
        {"a = '# no comment'", GUC_SETTING, "a", "# no comment"},
        {"a = ''", GUC_SETTING, "a", ""},
        {"pg_stat.x = on", GUC_SETTING, "pg_stat.x", "on"},
        {"a = -1.5e3", GUC_SETTING, "a", "-1.5e3"},
        {"include 'x.conf'", GUC_INCLUDE, "include", "x.conf"},
        {"INCLUDE_DIR = 'd'", GUC_INCLUDE, "INCLUDE_DIR", "d"},
        {"include_if_exists = 'd'", GUC_INCLUDE, "include_if_exists", "d"},
        {"a = 'open", GUC_BROKEN, "a", "'open"},
        {"a = 'x' y", GUC_BROKEN, "a", "'x' y"},
        {"a", GUC_BROKEN, "a", ""},
        {"a =", GUC_BROKEN, "a", ""},
        {"a = = 1", GUC_BROKEN, "a", "= 1"},
        {"= 1", GUC_BROKEN, "", "1"},
        {"a-b = 1", GUC_BROKEN, "a", "-b = 1"},
        {"a = 'x\\", GUC_BROKEN, "a", "'x\\"},
        {"a = /x?", GUC_BROKEN, "a", "/x?"},
    };
    GucLine line = GUC_LINE_INIT;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        GucKind kind = guc_parse_line(cases[i].text, strlen(cases[i].text), &line);
        if (kind != cases[i].kind || line.kind != kind || strcmp(line.name.data, cases[i].name) ||
            strcmp(line.value.data, cases[i].value))
            fail_msg("%s: kind %d, name \"%s\", value \"%s\"", cases[i].text, (int)kind,
                     line.name.data, line.value.data);
    }
    assert_int_equal(guc_parse_line("a = \0", 5, &line), GUC_BROKEN);
    assert_int_equal(guc_parse_line("a\0b = 1", 7, &line), GUC_BROKEN);
    guc_line_free(&line);
}

static void test_quote_round_trip(void **state)
{
    (void)state;
    static const char *values[] = {"",
                                   "plain",
                                   "it's",
                                   "a\\b",
                                   "\\",
                                   "''\\''",
                                   "50%%",
                                   "a\tb\r",
                                   "caf\xc3\xa9 \xff",
                                   "# no comment"};
    GucLine line = GUC_LINE_INIT;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        Buf b = BUF_INIT;
        buf_puts(&b, "x = ");
        assert_true(guc_quote(&b, values[i]));
        assert_int_equal(guc_parse_line(b.data, b.len, &line), GUC_SETTING);
        assert_string_equal(line.value.data, values[i]);
        buf_free(&b);
    }
    Buf b = BUF_INIT;
    assert_false(guc_quote(&b, "a\nb"));
    assert_int_equal(b.len, 0);
    guc_line_free(&line);
}

static void test_mask(void **state)
{
    (void)state;
    static const char *cases[][2] = {
        {"host=a user=b password=hunter2 port=1", "host=a user=b password=*** port=1"},
        {"password = 'hun ter\\'2' host=a", "password = *** host=a"},
        {"PASSWORD=hunter2", "PASSWORD=***"},
        {"sslpassword=x passfile=/a/b", "sslpassword=*** passfile=/a/b"},
        {"password='open hunter2", "password=***"},
        {"postgresql://bob:hunter2@db:5432/x", "postgresql://bob:***@db:5432/x"},
        {"postgres://bob:hun/ter@2@db/x?password=abc&a=b", "postgres://bob:***@db/x?password=***"},
        {"postgresql://bob@db/x", "postgresql://bob@db/x"},
        {"PGPASSWORD=hunter2 cp %p /a/%f", "PGPASSWORD=*** cp %p /a/%f"},
        {"AWS_SECRET_ACCESS_KEY='a b' aws s3 cp", "AWS_SECRET_ACCESS_KEY=*** aws s3 cp"},
        {"tool --password hunter2 --token=abc x", "tool --password *** --token=*** x"},
        {"restore the password file", "restore the password file"},
        {"a\nb\x01", "a b "},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf b = BUF_INIT;
        buf_puts(&b, "");
        guc_mask(&b, cases[i][0]);
        assert_string_equal(b.data, cases[i][1]);
        buf_free(&b);
    }
    char big[4000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    Buf b = BUF_INIT;
    guc_mask(&b, big);
    assert_true(b.len < 250);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_quote_round_trip),
        cmocka_unit_test(test_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
