/* config/options.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/options.h"

#define MIB INT64_C(1048576)

static const OptionDef flag = {.name = "f", .type = OPTION_FLAG};
static const OptionDef text = {.name = "t", .type = OPTION_STRING};
static const OptionDef list = {.name = "l", .type = OPTION_LIST};
static const OptionDef whole = {.name = "w", .type = OPTION_INT, .min = -10, .max = 12};
static const OptionDef bytes = {.name = "b", .type = OPTION_SIZE, .min = MIB, .max = 4 * MIB};
static const OptionDef any_bytes = {.name = "b", .type = OPTION_SIZE, .max = INT64_MAX};
static const OptionDef span = {
    .name = "d", .type = OPTION_DURATION, .min = 1000000, .max = 86400 * INT64_C(1000000)};
static const OptionDef choice = {.name = "c", .type = OPTION_ENUM, .values = "error|warn|info"};

static void taken(const OptionDef *def, const char *value, int64_t number)
{
    OptionValue v;
    char why[160];
    if (!option_parse(def, value, &v, why, sizeof(why)))
        fail_msg("refused: %s (expected %s)", value, why);
    assert_ptr_equal(v.text, value);
    if (v.number != number)
        fail_msg("%s is %lld", value, (long long)v.number);
}

static void refused(const OptionDef *def, const char *value, const char *expected)
{
    OptionValue v;
    char why[160] = "";
    if (option_parse(def, value, &v, why, sizeof(why)))
        fail_msg("taken: %s", value);
    if (!strstr(why, expected))
        fail_msg("expected for %s is: %s", value, why);
}

static void test_flags_and_texts(void **state)
{
    (void)state;
    static const char *const yes[] = {"yes", "YES", "true", "on", "On", "1"};
    static const char *const no[] = {"no", "No", "false", "off", "0"};
    static const char *const bad[] = {"", "y", "n", "2", "yes ", "01", "enable"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        taken(&flag, yes[i], 1);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        taken(&flag, no[i], 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(&flag, bad[i], "yes or no");
    taken(&text, "", 0);
    taken(&text, "any = thing", 0);
    taken(&list, "/a=/b", 0);
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "1x",
                                      "1.5",
                                      "0x1",
                                      "1 ",
                                      "--1",
                                      "1e1",
                                      "99999999999999999999",
                                      "-99999999999999999999"};
    taken(&whole, "0", 0);
    taken(&whole, "12", 12);
    taken(&whole, "-10", -10);
    refused(&whole, "13", "from -10 to 12");
    refused(&whole, "-11", "from -10 to 12");
    refused(&whole, "9223372036854775807", "from -10 to 12");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(&whole, bad[i], "whole number");
}

static void test_sizes(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "MiB",
                                      "-1",
                                      "-1KiB",
                                      "1MB",
                                      "1M",
                                      "1mib",
                                      "1 MiB",
                                      "1.5MiB",
                                      "1MiBB",
                                      "9223372036854775808",
                                      "9223372036854775807KiB",
                                      "9007199254740992KiB"};
    taken(&any_bytes, "1", 1);
    taken(&any_bytes, "17B", 17);
    taken(&any_bytes, "3KiB", 3072);
    taken(&bytes, "1024KiB", MIB);
    taken(&bytes, "4MiB", 4 * MIB);
    taken(&any_bytes, "2GiB", 2048 * MIB);
    taken(&any_bytes, "3TiB", 3 * MIB * MIB);
    taken(&any_bytes, "9223372036854775807", INT64_MAX);
    taken(&any_bytes, "0", 0);
    refused(&bytes, "1048575", "from 1MiB to 4MiB");
    refused(&bytes, "4194305B", "from 1MiB to 4MiB");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(&any_bytes, bad[i], "64MiB");
}

static void test_durations(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "10", "s", "-1s", "1.5h", "1w", "1s1m", "10ms"};
    taken(&span, "1s", 1000000);
    taken(&span, "10m", INT64_C(600000000));
    taken(&span, "1h30m", INT64_C(5400000000));
    taken(&span, "1d", INT64_C(86400000000));
    refused(&span, "0", "from 1s to 1d");
    refused(&span, "86401s", "from 1s to 1d");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(&span, bad[i], "30s");
}

static void test_choices(void **state)
{
    (void)state;
    static const char *const bad[] = {"",  "err",       "errors", "Error",
                                      "|", "warn|info", "error|", "info "};
    taken(&choice, "error", 0);
    taken(&choice, "warn", 1);
    taken(&choice, "info", 2);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(&choice, bad[i], "one of error|warn|info");
}

/* Every row of the table holds what the other code takes for granted. */
static void test_table(void **state)
{
    (void)state;
    for (int id = 0; id < OPT_COUNT; id++) {
        const OptionDef *d = option_def((OptionId)id);
        if (!d->name || !d->name[0] || !d->help || !d->commands)
            fail_msg("option %d lacks name, help or commands", id);
        assert_int_equal(option_find(d->name), id);
        assert_int_equal(strspn(d->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(d->name));
        assert_int_equal(d->sections & ~7u, 0);
        assert_true(!d->sections || d->sections & SECTION_GLOBAL);
        assert_int_equal(d->commands & ~(unsigned)CMD_ALL, 0);
        assert_int_equal(d->type == OPTION_ENUM, d->values != NULL);
        if (d->type != OPTION_FLAG && !d->arg)
            fail_msg("--help can't name the value of %s", d->name);
        OptionValue v;
        char why[160];
        if (d->fallback && !option_parse(d, d->fallback, &v, why, sizeof(why)))
            fail_msg("the default of %s is refused: expected %s", d->name, why);
    }
    assert_int_equal(option_find(""), OPT_COUNT);
    assert_int_equal(option_find("worker"), OPT_COUNT);
    assert_int_equal(option_find("Workers"), OPT_COUNT);
}

static void nearest(const char *word, const char *expected)
{
    static const char *const words[] = {"workers", "url", "repo", "target-time", "target-name"};
    const char *got = option_nearest(word, words, 5);
    if (!got != !expected || (got && strcmp(got, expected) != 0))
        fail_msg("nearest to %s is %s", word, got ? got : "nothing");
}

static void test_nearest(void **state)
{
    (void)state;
    char longest[100];
    nearest("worker", "workers");
    nearest("wrokers", "workers");
    nearest("workres", "workers");
    nearest("workers", "workers");
    nearest("ur", "url");
    nearest("uri", "url");
    nearest("target-tim", "target-time");
    nearest("target_name", "target-name");
    nearest("xyzzy", NULL);
    nearest("", NULL);
    nearest("a", NULL);
    memset(longest, 'w', 99);
    for (size_t n = 60; n < 100; n++) {
        longest[n] = '\0';
        nearest(longest, NULL);
        longest[n] = 'w';
    }
    assert_null(option_nearest("x", NULL, 0));
    assert_string_equal(option_suggest("wrkers", 0, CMD_BACKUP), "workers");
    assert_null(option_suggest("wrkers", 0, CMD_ARCHIVE));
    assert_string_equal(option_suggest("requird", SECTION_REPO, 0), "required");
    assert_null(option_suggest("requird", SECTION_CLUSTER, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_and_texts), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_durations),
        cmocka_unit_test(test_choices),         cmocka_unit_test(test_table),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
