/* base/zone.h: TZif files of the system against libc, and files made to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/zone.h"

/* From 1900 to 2120, every 13 hours, must be what localtime_r says. */
static void test_against_libc(void **state)
{
    (void)state;
    static const char *names[] = {"Europe/Paris",  "America/New_York",  "Australia/Lord_Howe",
                                  "Asia/Kolkata",  "Africa/Casablanca", "America/Santiago",
                                  "Europe/Dublin", "Pacific/Apia",      "America/Nuuk",
                                  "Asia/Gaza",     "Etc/GMT+5",         "Antarctica/Troll"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Error err;
        Zone *zone;
        if (!zone_open(names[i], &zone, &err))
            fail_msg("%s", err.message);
        setenv("TZ", names[i], 1);
        tzset();
        for (int64_t t = -INT64_C(2208988800); t < INT64_C(4733510400); t += 13 * 3600) {
            time_t seconds = (time_t)t;
            struct tm tm;
            assert_non_null(localtime_r(&seconds, &tm));
            if (zone_offset(zone, t) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, libc says %ld", names[i], (long long)t,
                         (int)zone_offset(zone, t), tm.tm_gmtoff);
        }
        zone_free(zone);
    }
}

/* A TZif file without listed changes but a footer. */
static void make(Buf *b, const char *footer)
{
    static const char header1[44] = "TZif2";
    char header2[44] = "TZif2";
    char type[6] = {0};
    header2[39] = 1; /* types */
    header2[43] = 4; /* abbreviation characters */
    buf_clear(b);
    buf_append(b, header1, sizeof(header1));
    buf_append(b, header2, sizeof(header2));
    buf_append(b, type, sizeof(type));
    buf_append(b, "UTC", 4);
    buf_printf(b, "\n%s\n", footer);
}

static bool offset_of(const char *footer, int64_t t, int32_t *offset)
{
    Buf b = BUF_INIT;
    Error err;
    Zone *zone = NULL;
    make(&b, footer);
    bool ok = zone_read(b.data, b.len, "test", &zone, &err);
    if (ok)
        *offset = zone_offset(zone, t);
    zone_free(zone);
    buf_free(&b);
    return ok;
}

static void test_footers(void **state)
{
    (void)state;
    const int64_t july = 1783000000, january = 1768000000; /* of 2026 */
    static const struct {
        const char *footer;
        int32_t january, july;
    } good[] = {
        {"", 0, 0},
        {"UTC0", 0, 0},
        {"<+0530>-5:30", 19800, 19800},
        {"EST5EDT,M3.2.0,M11.1.0", -18000, -14400},
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", 39600, 36000},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", 0, 3600},
        {"XXX3EDT4,0/0,J365/23", -14400, -14400}, /* DST all year */
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int32_t jan = 1, jul = 1;
        assert_true(offset_of(good[i].footer, january, &jan));
        assert_true(offset_of(good[i].footer, july, &jul));
        if (jan != good[i].january || jul != good[i].july)
            fail_msg("%s: %d %d", good[i].footer, (int)jan, (int)jul);
    }
    static const char *bad[] = {"A0",
                                "UTC",
                                "UTC0x",
                                "UTC99",
                                "<UTC0",
                                "EST5EDT",
                                "EST5EDT,M3.2.0",
                                "EST5EDT,M13.2.0,M11.1.0",
                                "EST5EDT,M0.2.0,M11.1.0",
                                "EST5EDT,M3.6.0,M11.1.0",
                                "EST5EDT,M3.2.7,M11.1.0",
                                "EST5EDT,J0,J366",
                                "EST5EDT,M3.2.0/999,M11.1.0",
                                "EST5EDT,M3.2.0,M11.1.0,",
                                "EST5EDT,M3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int32_t unused;
        if (offset_of(bad[i], january, &unused))
            fail_msg("footer \"%s\" was taken", bad[i]);
    }
    int32_t offset;
    assert_true(offset_of("EST5EDT,M3.2.0,M11.1.0", INT64_MAX, &offset));
    assert_true(offset_of("EST5EDT,M3.2.0,M11.1.0", INT64_MIN, &offset));
}

/* Every prefix of a good file is refused, and no changed byte makes the reader leave its bounds
 * (the sanitizers look). */
static void test_damage(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    Error err;
    Zone *zone;
    make(&b, "EST5EDT,M3.2.0,M11.1.0");
    for (size_t len = 0; len < b.len; len++) {
        char *copy = mem_new(len + 1, 1);
        memcpy(copy, b.data, len);
        copy = mem_resize(copy, len ? len : 1, 1);
        assert_false(zone_read(copy, len, "test", &zone, &err));
        assert_int_equal(err.code, ERR_USAGE);
        free(copy);
    }
    for (size_t i = 0; i < b.len; i++) {
        for (int value = 0; value < 256; value += 5) {
            char keep = b.data[i];
            b.data[i] = (char)value;
            zone = NULL;
            if (zone_read(b.data, b.len, "test", &zone, &err))
                (void)zone_offset(zone, 1783000000);
            zone_free(zone);
            b.data[i] = keep;
        }
    }
    buf_free(&b);
}

static void test_names(void **state)
{
    (void)state;
    static const char *bad[] = {
        "",
        "/etc/passwd",
        "../UTC",
        "Europe/../UTC",
        "Europe//Paris",
        "Europe/",
        "Europe",
        "Eur ope",
        "zone.tab",
        "tzdata.zi",
        "Nowhere/X",
        "posix",
        "a/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err = {0};
        Zone *zone;
        if (zone_open(bad[i], &zone, &err))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(err.code, ERR_USAGE);
        assert_true(err.hint[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_libc),
        cmocka_unit_test(test_footers),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
