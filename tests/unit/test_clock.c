/* base/clock.h: instants as text and back, recovery targets, durations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"

#define T20261121 INT64_C(1795230000) /* 2026-11-21T03:00:00Z */
#define US        CLOCK_SECOND

static void set_zone(const char *tz)
{
    setenv("TZ", tz, 1);
    tzset();
}

static void check_utc(Instant t, const char *want)
{
    char text[CLOCK_TEXT];
    clock_format_utc(text, t);
    assert_string_equal(text, want);
}

static void test_formats(void **state)
{
    (void)state;
    char text[CLOCK_TEXT];
    check_utc(0, "1970-01-01T00:00:00Z");
    check_utc(-1, "1969-12-31T23:59:59.999999Z");
    check_utc(T20261121 * US, "2026-11-21T03:00:00Z");
    check_utc(T20261121 * US + 250000, "2026-11-21T03:00:00.25Z");
    check_utc(T20261121 * US + 100, "2026-11-21T03:00:00.0001Z");
    check_utc(INT64_C(951782400) * US, "2000-02-29T00:00:00Z");
    check_utc(INT64_C(4107542399) * US, "2100-02-28T23:59:59Z");
    clock_format_label(text, T20261121 * US + 999999);
    assert_string_equal(text, "20261121T030000Z");
    clock_format_recovery(text, T20261121 * US + 5);
    assert_string_equal(text, "2026-11-21 03:00:00.000005+00");
    set_zone("Europe/Paris");
    clock_format_local(text, T20261121 * US);
    assert_string_equal(text, "2026-11-21T04:00:00+01:00");
    clock_format_local(text, INT64_C(1785556800) * US);
    assert_string_equal(text, "2026-08-01T06:00:00+02:00");
    set_zone("America/St_Johns");
    clock_format_local(text, T20261121 * US + 500000);
    assert_string_equal(text, "2026-11-20T23:30:00.5-03:30");
    set_zone("UTC");
    clock_format_utc(text, INT64_MAX);
    clock_format_utc(text, INT64_MIN);
    clock_format_local(text, INT64_MAX);
    clock_format_recovery(text, INT64_MIN);
}

static void test_pg_epoch(void **state)
{
    (void)state;
    check_utc(clock_from_pg(0), "2000-01-01T00:00:00Z");
    check_utc(clock_from_pg(-US), "1999-12-31T23:59:59Z");
    assert_true(clock_from_pg(INT64_MAX) == INT64_MAX);
    assert_true(clock_now() > T20261121 * US - INT64_C(3000) * 86400 * US);
}

/* Every day of 800 years, there and back; clock_days must be continuous. */
static void test_calendar_round_trip(void **state)
{
    (void)state;
    for (int64_t day = clock_days(1600, 1, 1); day < clock_days(2400, 1, 1); day++) {
        CivilTime c;
        Instant back;
        clock_to_civil((day * 86400 + 86399) * US + 999999, &c);
        assert_true(clock_days(c.year, c.month, c.day) == day);
        assert_true(clock_from_civil(&c, &back));
        assert_true(back == (day * 86400 + 86399) * US + 999999);
    }
}

static void test_parse_utc(void **state)
{
    (void)state;
    static const Instant round[] = {0, -1, 1, T20261121 * US, T20261121 * US + 123456};
    for (size_t i = 0; i < sizeof(round) / sizeof(round[0]); i++) {
        char text[CLOCK_TEXT];
        Instant back = 42;
        clock_format_utc(text, round[i]);
        assert_true(clock_parse_utc(text, &back));
        assert_true(back == round[i]);
    }
    static const char *bad[] = {"",
                                "2026-11-21",
                                "2026-11-21 03:00:00Z",
                                "2026-11-21T03:00:00",
                                "2026-11-21T03:00:00.Z",
                                "2026-11-21T03:00:00.1234567Z",
                                "2026-11-21T03:00:00+00:00",
                                "2026-11-21T03:00:00Zz",
                                "2026-02-29T03:00:00Z",
                                "2026-11-21T24:00:00Z",
                                "2026-1-21T03:00:00Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Instant t = 7;
        assert_false(clock_parse_utc(bad[i], &t));
        assert_true(t == 7);
    }
}

static void check_target(const char *text, Instant want, bool want_zone)
{
    Error err = {0};
    Instant t = 0;
    bool had_zone = !want_zone;
    if (!clock_parse_target(text, &t, &had_zone, &err))
        fail_msg("\"%s\" refused: %s", text, err.message);
    char got[CLOCK_TEXT];
    clock_format_utc(got, t);
    if (t != want)
        fail_msg("\"%s\" was read as %s", text, got);
    assert_int_equal(had_zone, want_zone);
}

static void test_target_with_zone(void **state)
{
    (void)state;
    set_zone("America/New_York"); /* must not matter */
    static const char *same[] = {
        "2026-11-21T03:00:00Z",          "2026-11-21T03:00Z",
        "2026-11-21 03:00:00Z",          "2026-11-21t03:00:00z",
        "2026-11-21T04:00:00+01",        "2026-11-21T04:00:00+01:00",
        "2026-11-21T04:00:00+0100",      "2026-11-20T23:30:00-03:30",
        "2026-11-21 03:00:00.000000+00", "2026-11-21 03:00:00 UTC",
        "2026-11-21 03:00:00.000 GMT",   "2026-11-21 04:00:00 Europe/Paris",
        "2026-11-21T03:00:00-00:00",     "2026-11-21 08:30 Asia/Kolkata",
        "2026-11-21 04:00:00 +0100",     "2026-11-20 22:00:00 America/New_York",
        "2026-11-21 03:00:00 Etc/UTC",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        check_target(same[i], T20261121 * US, true);
    check_target("2026-11-21T03:00:00.5Z", T20261121 * US + 500000, true);
    check_target("2026-11-21T03:00:00,123456Z", T20261121 * US + 123456, true);
    check_target("2026-11-21 03:00:00.000001+00", T20261121 * US + 1, true);
    check_target("2026-08-01 06:00:00 Europe/Paris", INT64_C(1785556800) * US, true);
    check_target("2024-02-29T00:00:00Z", INT64_C(1709164800) * US, true);
    /* Past the last change that the tz files list. */
    check_target("2060-07-01 02:00:00 Europe/Paris", INT64_C(2855865600) * US, true);
}

static void test_target_local(void **state)
{
    (void)state;
    set_zone("Europe/Paris");
    check_target("2026-11-21T04:00:00", T20261121 * US, false);
    check_target("2026-11-21 04:00", T20261121 * US, false);
    check_target("2026-03-29 01:59:59", INT64_C(1774745999) * US, false);
    check_target("2026-03-29 03:00:00", INT64_C(1774746000) * US, false);
    check_target("2026-10-25 01:59:59", INT64_C(1792886399) * US, false);
    check_target("2026-10-25 03:00:00", INT64_C(1792893600) * US, false);
    set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    check_target("2026-11-21T04:00:00", T20261121 * US, false);
    set_zone("UTC");
    check_target("2026-11-21T03:00:00", T20261121 * US, false);
}

static void check_refused(const char *text, const char *message, const char *hint)
{
    Error err = {0};
    Instant t = 7;
    bool had_zone = true;
    if (clock_parse_target(text, &t, &had_zone, &err))
        fail_msg("\"%s\" was taken", text);
    assert_int_equal(err.code, ERR_USAGE);
    assert_true(t == 7 && had_zone);
    if (!strstr(err.message, message))
        fail_msg("\"%s\": message is: %s", text, err.message);
    if (!strstr(err.hint, hint))
        fail_msg("\"%s\": hint is: %s", text, err.hint);
}

static void test_target_refused(void **state)
{
    (void)state;
    set_zone("UTC");
    check_refused("", "YYYY-MM-DD", "write it as");
    check_refused("now", "words", "leave the target out");
    check_refused("yesterday", "words", "moment itself");
    check_refused("-infinity", "YYYY-MM-DD", "");
    check_refused("2026-11-21", "a date alone", "2026-11-21T00:00:00");
    check_refused("2026-11-21 Europe/Paris", "a date alone", "2026-11-21T00:00:00");
    check_refused("2026-02-30 03:00:00Z", "no such date", "");
    check_refused("2026-13-01 03:00:00Z", "no such date", "");
    check_refused("2025-02-29 03:00:00Z", "no such date", "");
    check_refused("0000-01-01 03:00:00Z", "no such date", "");
    check_refused("2026-11-21  03:00:00Z", "a date alone", "");
    check_refused("2026-11-21T3:00:00Z", "hh:mm", "");
    check_refused("2026-11-21T03Z", "hh:mm", "");
    check_refused("2026-11-21T03:00:0Z", "two digits", "");
    check_refused("2026-11-21T03:00:00.Z", "one to six", "");
    check_refused("2026-11-21T03:00:00.1234567Z", "one to six", "");
    check_refused("2026-11-21T03:00.5Z", "left over", "");
    check_refused("2026-11-21T23:59:60Z", "leap second", "");
    check_refused("2026-11-21T24:00:00Z", "next day", "");
    check_refused("2026-11-21T03:60:00Z", "time of day", "");
    check_refused("2026-11-21T03:00:00+2", "offset", "");
    check_refused("2026-11-21T03:00:00+020", "offset", "");
    check_refused("2026-11-21T03:00:00+16:00", "offset", "");
    check_refused("2026-11-21T03:00:00+02:", "offset", "");
    check_refused("2026-11-21T03:00:00Z ", "left over", "");
    check_refused("2026-11-21T03:00:00ZZ", "left over", "");
    check_refused("2026-11-21T03:00:00 ", "left over", "");
    check_refused("2026-11-21T03:00:00+02:00[Europe/Paris]", "left over", "");
    check_refused("2026-11-21 03:00:00 AM", "ambiguous", "+02:00");
    check_refused("2026-11-21 03:00:00 CST", "ambiguous", "Europe/Paris");
    check_refused("2026-11-21 03:00:00 EST", "ambiguous", "Europe/Paris");
    check_refused("2026-11-21 03:00:00 UTC+2", "ambiguous", "");
    check_refused("2026-11-21 03:00:00 Europe/Pariss", "no time zone", "case-sensitive");
    check_refused("2026-11-21 03:00:00 Europe/", "not the name", "");
    check_refused("2026-11-21 03:00:00 a/../../../etc/passwd", "not the name", "");
    check_refused("2026-11-20 21:00 America/Argentina/../Chicago", "not the name", "");
    check_refused("2026-11-21 03:00:00 right/Europe/Paris", "can't be used", "");
    check_refused("20261121T030000Z", "YYYY-MM-DD", "");
    check_refused("21/11/2026 03:00", "YYYY-MM-DD", "");
    check_refused("\xff\xfe", "YYYY-MM-DD", "");
}

static void test_clock_changes(void **state)
{
    (void)state;
    set_zone("Europe/Paris");
    check_refused("2026-03-29 02:30:00", "skipped this time in the local zone",
                  "2026-03-29T02:30:00+01:00 or 2026-03-29T02:30:00+02:00");
    check_refused("2026-03-29 02:00:00", "skipped", "");
    check_refused("2026-03-29 02:59:59.999999", "skipped", "");
    check_refused("2026-10-25 02:30:00", "twice in the local zone",
                  "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00");
    check_refused("2026-10-25 02:00:00", "twice", "");
    set_zone("UTC");
    check_refused("2026-03-08 02:30:00 America/New_York", "skipped this time in America/New_York",
                  "-05:00 or 2026-03-08T02:30:00-04:00");
    check_refused("2026-11-01 01:30:00 America/New_York", "twice", "-04:00");
    check_refused("2026-04-05 01:45:00 Australia/Lord_Howe", "twice", "+11:00");
    check_refused("2011-12-30 12:00:00 Pacific/Apia", "skipped", "-10:00");
    check_refused("2060-03-28 02:30:00 Europe/Paris", "skipped", "+01:00");
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; /* -1: refused */
    } cases[] = {{"0", 0},
                 {"0s", 0},
                 {"90s", 90},
                 {"10m", 600},
                 {"1h30m", 5400},
                 {"7d", 604800},
                 {"1d2h3m4s", 93784},
                 {"", -1},
                 {"5", -1},
                 {"m", -1},
                 {"1m1h", -1},
                 {"1m1m", -1},
                 {"-1s", -1},
                 {"1.5h", -1},
                 {"1h ", -1},
                 {" 1h", -1},
                 {"1h30", -1},
                 {"1w", -1},
                 {"99999999999999999999s", -1},
                 {"9223372036855s", -1},
                 {"106751992d", -1},
                 {"9223372036854s", INT64_C(9223372036854)}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t usec = -7;
        bool ok = clock_parse_duration(cases[i].text, &usec);
        if (ok != (cases[i].seconds >= 0) || (ok && usec != cases[i].seconds * US))
            fail_msg("duration \"%s\"", cases[i].text);
    }
    static const struct {
        int64_t usec;
        const char *text;
    } shown[] = {{0, "0 ms"},
                 {340000, "340 ms"},
                 {999600, "1.0 s"},
                 {4200000, "4.2 s"},
                 {59960000, "1 min 00 s"},
                 {123 * INT64_C(1000000), "2 min 03 s"},
                 {INT64_C(3599600000), "1 h 00 min"},
                 {INT64_C(11100000000), "3 h 05 min"},
                 {INT64_C(86399999999), "1 d 00 h"},
                 {INT64_C(187200000000), "2 d 04 h"},
                 {-4200000, "-4.2 s"}};
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        char text[CLOCK_TEXT];
        clock_format_duration(text, shown[i].usec);
        assert_string_equal(text, shown[i].text);
    }
    char text[CLOCK_TEXT];
    clock_format_duration(text, INT64_MIN);
    clock_format_duration(text, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_pg_epoch),
        cmocka_unit_test(test_calendar_round_trip),
        cmocka_unit_test(test_parse_utc),
        cmocka_unit_test(test_target_with_zone),
        cmocka_unit_test(test_target_local),
        cmocka_unit_test(test_target_refused),
        cmocka_unit_test(test_clock_changes),
        cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
