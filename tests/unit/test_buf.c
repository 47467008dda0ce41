/* base/buf.h, base/error.h */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"

static void test_append(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    assert_null(b.data);
    assert_true(buf_append(&b, NULL, 0));
    assert_string_equal(b.data, "");
    assert_true(buf_puts(&b, "one"));
    assert_true(buf_putc(&b, ' '));
    assert_true(buf_printf(&b, "%d %s", 2, "three"));
    assert_true(buf_append(&b, "\0x", 2));
    assert_int_equal(b.len, 13);
    assert_memory_equal(b.data, "one 2 three\0x", 14);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 100000; i++) {
        assert_true(buf_putc(&b, (char)('a' + i % 26)));
        if (b.data[b.len] != '\0')
            fail_msg("no zero behind %d bytes", i);
    }
    assert_int_equal(b.len, 100000);
    assert_int_equal(b.data[99999], 'a' + 99999 % 26);
    buf_free(&b);
    assert_null(b.data);
    buf_free(&b);
    buf_clear(&b);
}

static void test_reserve(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    assert_true(buf_reserve(&b, 1000));
    assert_int_equal(b.len, 0);
    assert_true(b.cap > 1000); /* the zero byte has room */
    memset(b.data, 'x', 1001);
    b.len = 1000;
    assert_true(buf_puts(&b, "y"));
    assert_int_equal(b.data[1000], 'y');
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_false(buf_reserve(&b, SIZE_MAX - 500));
    assert_int_equal(b.len, 1001);
    buf_free(&b);
}

static void test_ceiling(void **state)
{
    (void)state;
    Buf b;
    buf_init_max(&b, 10);
    assert_true(buf_puts(&b, "1234567"));
    assert_false(buf_puts(&b, "1234"));
    assert_string_equal(b.data, "1234567");
    assert_false(buf_printf(&b, "%s", "abcd"));
    assert_false(buf_reserve(&b, 4));
    assert_true(buf_puts(&b, "890"));
    assert_false(buf_putc(&b, 'x'));
    assert_true(buf_append(&b, "", 0));
    assert_string_equal(b.data, "1234567890");
    buf_clear(&b);
    assert_true(buf_puts(&b, "1234567890"));
    buf_free(&b);
    assert_false(buf_puts(&b, "12345678901")); /* the ceiling stays */
    char *empty = buf_detach(&b);
    assert_string_equal(empty, "");
    free(empty);
    assert_true(buf_puts(&b, "x"));
    char *text = buf_detach(&b);
    assert_string_equal(text, "x");
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_false(buf_puts(&b, "12345678901"));
    free(text);
    buf_free(&b);
}

static void test_errors(void **state)
{
    (void)state;
    Error err;
    assert_false(error_set(&err, ERR_REPO, "%d %s", 1, "two"));
    assert_int_equal(err.code, ERR_REPO);
    assert_string_equal(err.message, "1 two");
    assert_string_equal(err.hint, "");
    assert_false(error_hint(&err, "do %s", "this"));
    assert_string_equal(err.hint, "do this");
    assert_false(error_prefix(&err, "in %s", "there"));
    assert_string_equal(err.message, "in there: 1 two");
    assert_string_equal(err.hint, "do this");
    assert_int_equal(err.code, ERR_REPO);
    /* arguments may point into the Error */
    assert_false(error_set(&err, ERR_TARGET, "again: %s (%s)", err.message, err.hint));
    assert_string_equal(err.message, "again: in there: 1 two (do this)");
    assert_string_equal(err.hint, "");
    assert_false(error_hint(&err, "<%s>", err.message));
    assert_string_equal(err.hint, "<again: in there: 1 two (do this)>");
    errno = ENOENT;
    assert_false(error_errno(&err, ERR_INTERNAL, "can't open %s", "x"));
    assert_string_equal(err.message, "can't open x: No such file or directory");
    assert_int_equal(errno, ENOENT);
    assert_string_equal(err.hint, "");
    error_clear(&err);
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(err.message, "");
}

/* What is too long is cut, and always terminated. */
static void test_long_errors(void **state)
{
    (void)state;
    Error err;
    char text[5000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(&err, ERR_REPO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_prefix(&err, "begin");
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_memory_equal(err.message, "begin: xxx", 10);
    error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    errno = ENOENT;
    error_errno(&err, ERR_REPO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_errno(&err, ERR_REPO, "%.*s", (int)sizeof(err.message) - 5, text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_hint(&err, "%s", text);
    assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
    error_set(&err, ERR_REPO, "%s%s", err.message, err.hint);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),      cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_ceiling),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_long_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
