/* base/shell.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/shell.h"

static void test_quote(void **state)
{
    (void)state;
    static const char *cases[][2] = {
        {"/usr/bin/pitr", "/usr/bin/pitr"},
        {"", "''"},
        {"a b", "'a b'"},
        {"it's", "'it'\\''s'"},
        {"$HOME", "'$HOME'"},
        {"100%", "'100%'"},
        {"~", "'~'"},
        {"a\nb", "'a\nb'"},
        {"a\\b", "'a\\b'"},
        {"a=b", "'a=b'"},
        {"caf\xc3\xa9", "'caf\xc3\xa9'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf b = BUF_INIT;
        shell_quote(&b, cases[i][0]);
        assert_string_equal(b.data, cases[i][1]);
        buf_free(&b);
    }
}

/* What sh makes of it must be the word again. */
static void test_sh_agrees(void **state)
{
    (void)state;
    char word[256];
    size_t n = 0;
    for (int c = 1; c < 256; c++)
        word[n++] = (char)c;
    word[n] = '\0';
    Buf b = BUF_INIT;
    buf_puts(&b, "printf %s ");
    shell_quote(&b, word);
    FILE *sh = popen(b.data, "r");
    assert_non_null(sh);
    char back[512] = {0};
    size_t got = fread(back, 1, sizeof(back) - 1, sh);
    assert_int_equal(pclose(sh), 0);
    assert_int_equal(got, n);
    assert_memory_equal(back, word, n);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_sh_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
