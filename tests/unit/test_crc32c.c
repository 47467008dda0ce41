/* pg/crc32c.h: known values, pieces, and both implementations against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pg/crc32c.h"

/* RFC 3720, appendix B.4, and the usual check value. */
static void test_known(void **state)
{
    (void)state;
    uint8_t b[32] = {0};
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, b, 32), 0x8A9136AA);
    memset(b, 0xFF, sizeof(b));
    assert_int_equal(crc32c(0, b, 32), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = i;
    assert_int_equal(crc32c(0, b, 32), 0x46DD794E);
    assert_int_equal(crc32c(0, b, 0), 0);
    assert_int_equal(crc32c_portable(0, b, 32), 0x46DD794E);
}

static void test_pieces_and_alignment(void **state)
{
    (void)state;
    uint8_t b[300];
    for (size_t i = 0; i < sizeof(b); i++)
        b[i] = (uint8_t)(i * 73 + 11);
    for (size_t from = 0; from < 9; from++)
        for (size_t len = 0; len < 280; len++) {
            uint32_t whole = crc32c(0, b + from, len), cut = (uint32_t)(len / 3);
            assert_int_equal(whole, crc32c_portable(0, b + from, len));
            assert_int_equal(whole, crc32c(crc32c(0, b + from, cut), b + from + cut, len - cut));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_pieces_and_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
