/* storage/aws_profile.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "scratch.h"
#include "storage/aws_profile.h"

/* "" stands for absent. */
static void same(const char *got, const char *want)
{
    assert_string_equal(got ? got : "", want);
}

static AwsProfile parse(AwsFileKind kind, const char *name, const char *text)
{
    Error err;
    AwsProfile p = {0};
    must(aws_profile_parse(&p, text, strlen(text), "f", kind, name, &err), &err);
    return p;
}

static void test_credentials_file(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf# a comment\r\n"
                               "  ; another\n"
                               "\n"
                               "[default]\n"
                               "aws_access_key_id=A1\n"
                               "aws_secret_access_key = s/e+c=r:et\r\n"
                               "[ two ] ; comment\n"
                               "AWS_Access_Key_ID\t=\tA2   # comment\n"
                               "aws_secret_access_key : S2#no;comment\n"
                               "aws_session_token = T2\n"
                               "region = eu-west-3\n"
                               "[profile three]\n"
                               "aws_access_key_id = A3";
    AwsProfile p = parse(AWS_CREDENTIALS_FILE, "default", text);
    assert_true(p.found);
    same(p.access_key, "A1");
    same(p.secret_key, "s/e+c=r:et");
    same(p.session_token, "");
    aws_profile_free(&p);
    p = parse(AWS_CREDENTIALS_FILE, "two", text);
    same(p.access_key, "A2");
    same(p.secret_key, "S2#no;comment");
    same(p.session_token, "T2");
    same(p.region, "eu-west-3");
    aws_profile_free(&p);
    /* The credentials file knows no "profile" before a name, nor other cases of one. */
    p = parse(AWS_CREDENTIALS_FILE, "three", text);
    assert_false(p.found);
    p = parse(AWS_CREDENTIALS_FILE, "Two", text);
    assert_false(p.found);
    aws_profile_free(&p);
    p = parse(AWS_CREDENTIALS_FILE, "default", "");
    assert_false(p.found);
}

static void test_config_file(void **state)
{
    (void)state;
    static const char text[] = "[default]\n"
                               "region = r0\n"
                               "[plain]\n"
                               "region = wrong\n"
                               "[profile plain]\n"
                               "region = r1\n"
                               "s3 =\n"
                               "    region = nested\n"
                               "\n"
                               "    max_concurrent_requests = 20\n"
                               "output = json\n"
                               "[sso-session plain]\n"
                               "region = wrong\n"
                               "[profile   \"with blank\"]\n"
                               "region = r2\n"
                               "[profile\t'quoted']\n"
                               "region = r3\n"
                               "[profilenot]\n"
                               "region = wrong\n"
                               "[profile plain]\n"
                               "role_arn = later section of the same name\n";
    static const char *const cases[][2] = {
        {"default", "r0"}, {"plain", "r1"},    {"with blank", "r2"}, {"quoted", "r3"},
        {"not", ""},       {"profilenot", ""}, {"profile plain", ""}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AwsProfile p = parse(AWS_CONFIG_FILE, cases[i][0], text);
        same(p.region, cases[i][1]);
        aws_profile_free(&p);
    }
    AwsProfile p = parse(AWS_CONFIG_FILE, "plain", text);
    same(p.role_arn, "later section of the same name");
    aws_profile_free(&p);
}

/* Deeper than the setting above means that it belongs to that one; a section that is indented as a
 * whole is an ordinary one. */
static void test_indentation(void **state)
{
    (void)state;
    AwsProfile p = parse(AWS_CREDENTIALS_FILE, "x",
                         "[x]\n  aws_access_key_id = A\n  aws_secret_access_key = S\n"
                         "    aws_session_token = of the line above\n"
                         "# aws_secret_access_key = commented\n"
                         "\taws_session_token = T\n"
                         "    [y]\n"
                         "  region = R\n");
    same(p.access_key, "A");
    same(p.secret_key, "S");
    same(p.session_token, "T");
    same(p.region, "");
    aws_profile_free(&p);
}

static void test_values(void **state)
{
    (void)state;
    AwsProfile p = parse(AWS_CONFIG_FILE, "default",
                         "[default]\n"
                         "credential_process = sh -c 'a ; b' # kept\n"
                         "web_identity_token_file = /a b/token ; cut\n"
                         "aws_secret_access_key = #begins so\n"
                         "role_arn =\n"
                         "role_session_name = first\n"
                         "role_session_name = last\n"
                         "sso_start_url = https://x/start#/\n");
    same(p.credential_process, "sh -c 'a ; b' # kept");
    same(p.web_identity_token_file, "/a b/token");
    same(p.secret_key, "#begins so");
    assert_null(p.role_arn);
    same(p.role_session_name, "last");
    same(p.sign_in, "https://x/start#/");
    aws_profile_free(&p);
}

/* inih cuts lines at 200 bytes; a session token is longer. */
static void test_long_lines(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    buf_puts(&b, "[default]\naws_session_token = ");
    size_t from = b.len;
    for (int i = 0; i < 20000; i++)
        buf_putc(&b, (char)('a' + i % 26));
    AwsProfile p = parse(AWS_CREDENTIALS_FILE, "default", b.data);
    same(p.session_token, b.data + from);
    aws_profile_free(&p);
    buf_free(&b);
}

static void refuse(const char *text, size_t len, const char *part)
{
    Error err;
    AwsProfile p = {0};
    assert_false(aws_profile_parse(&p, text, len, "file", AWS_CREDENTIALS_FILE, "x", &err));
    assert_int_equal(err.code, ERR_USAGE);
    if (!strstr(err.message, part))
        fail_msg("message is: %s", err.message);
    assert_null(strstr(err.message, "SECRET"));
    assert_null(strstr(err.hint, "SECRET"));
    assert_true(err.hint[0]);
    aws_profile_free(&p);
}

static void test_refused(void **state)
{
    (void)state;
    static const char zero[] = "[x]\naws_secret_access_key = SEC\0RET\n";
    refuse("aws_secret_access_key = SECRET\n", 31, "file:1: something stands before");
    refuse("\n[x\naws_secret_access_key = SECRET\n", 35, "file:2: the name of a section");
    refuse("[x]\naws_secret_access_key SECRET\n", 33, "file:2: neither");
    refuse("[y]\n\n\nSECRET\n", 13, "file:4: neither");
    refuse("[x]\n = SECRET\n", 14, "file:2: neither");
    refuse(zero, sizeof(zero) - 1, "file:2: a zero byte");
}

static void test_both_files(void **state)
{
    Scratch *s = *state;
    Error err;
    unsetenv("AWS_CONFIG_FILE");
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    setenv("HOME", s->dir, 1);
    AwsProfile p = {0};
    must(aws_profile_load(&p, "default", &err), &err);
    assert_false(p.found);

    scratch_text(scratch_path(s, ".aws/config"),
                 "[profile x]\nregion = config\nrole_arn = config\naws_access_key_id = CA\n"
                 "aws_secret_access_key = CS\naws_session_token = CT\n[profile c]\nregion = r\n"
                 "aws_access_key_id = CA\naws_secret_access_key = CS\n");
    scratch_text(scratch_path(s, ".aws/credentials"),
                 "[x]\nregion = credentials\naws_access_key_id = A\naws_secret_access_key = S\n"
                 "[c]\nrole_session_name = n\n");
    must(aws_profile_load(&p, "x", &err), &err);
    same(p.region, "credentials");
    same(p.role_arn, "config");
    same(p.access_key, "A");
    same(p.secret_key, "S");
    same(p.session_token, ""); /* not the other file's */
    aws_profile_free(&p);
    must(aws_profile_load(&p, "c", &err), &err);
    same(p.access_key, "CA");
    same(p.secret_key, "CS");
    same(p.role_session_name, "n");
    aws_profile_free(&p);

    scratch_text(scratch_path(s, "elsewhere"), "[x]\naws_access_key_id = E\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", "~/elsewhere", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    must(aws_profile_load(&p, "x", &err), &err);
    same(p.access_key, "E");
    same(p.region, "");
    aws_profile_free(&p);
    setenv("AWS_CONFIG_FILE", s->dir, 1); /* a directory is there, but no file to read */
    assert_false(aws_profile_load(&p, "x", &err));
    assert_int_equal(err.code, ERR_USAGE);
    aws_profile_free(&p);
}

static void test_too_large(void **state)
{
    Scratch *s = *state;
    Error err;
    Buf b = BUF_INIT;
    buf_puts(&b, "[default]\n");
    while (b.len <= AWS_FILE_MAX)
        buf_puts(&b, "# filling\n");
    scratch_write(scratch_path(s, "large"), b.data, b.len);
    setenv("AWS_SHARED_CREDENTIALS_FILE", scratch_path(s, "large"), 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    AwsProfile p = {0};
    assert_false(aws_profile_load(&p, "default", &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "larger than 1024 KiB"));
    aws_profile_free(&p);
    buf_free(&b);
}

static void test_names_and_regions(void **state)
{
    Scratch *s = *state;
    static const char *const away[] = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION",
                                       "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < 4; i++)
        unsetenv(away[i]);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_CONFIG_FILE", scratch_path(s, "config"), 1);
    assert_null(aws_configured_region(NULL));
    scratch_text(scratch_path(s, "config"), "[default]\nregion = r-default\n[profile a]\n"
                                            "region = r-a\n[profile b]\nregion=r-b\n");
    static const struct {
        const char *variable, *value, *option, *name, *region;
    } cases[] = {
        {"X", "x", NULL, "default", "r-default"},
        {"AWS_DEFAULT_PROFILE", "b", NULL, "b", "r-b"},
        {"AWS_PROFILE", "a", NULL, "a", "r-a"},
        {"AWS_PROFILE", "a", "b", "b", "r-b"},
        {"AWS_PROFILE", "", "", "b", "r-b"}, /* empty is not set: AWS_DEFAULT_PROFILE */
        {"AWS_DEFAULT_REGION", "e-1", "a", "a", "e-1"},
        {"AWS_REGION", "e-2", "a", "a", "e-2"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv(cases[i].variable, cases[i].value, 1);
        assert_string_equal(aws_profile_name(cases[i].option), cases[i].name);
        char *region = aws_configured_region(cases[i].option);
        same(region, cases[i].region);
        free(region);
    }
    for (size_t i = 0; i < 4; i++)
        unsetenv(away[i]);
    unsetenv("X");
    scratch_text(scratch_path(s, "config"), "no ini file\n");
    assert_null(aws_configured_region(NULL));
}

static uint32_t lots_state;

static uint32_t lot(uint32_t below)
{
    lots_state = lots_state * 1664525u + 1013904223u;
    return (lots_state >> 8) % below;
}

/* Any bytes: no crash, no read outside (valgrind and the sanitizers see it), no piece in an error.
 */
static void test_fuzz(void **state)
{
    (void)state;
    static const char seed[] =
        "[default]\naws_access_key_id = SECRETA\n aws_session_token: SECRETB\n"
        "# c\n[profile 'x y']\ncredential_process = a 'b' # SECRETC\ns3 =\n"
        "  region = SECRETD\nregion=r ; SECRETE\r\n[x]\n\tsso_session = q\n";
    static const char spice[] = "[]=:#; \t\r\n\0\"'x\xff";
    const char *seconds = getenv("PITR_FUZZ_SECONDS");
    Instant end = clock_now() + (seconds ? atoi(seconds) : 0) * CLOCK_SECOND;
    unsigned long runs = 0, good = 0;
    lots_state = 20261121;
    do {
        char *text = mem_strndup(seed, sizeof(seed) - 1);
        size_t len = sizeof(seed) - 1;
        for (uint32_t n = 1 + lot(8); n > 0; n--) {
            uint32_t at = lot((uint32_t)len), how = lot(4);
            if (how == 0) {
                len = at + 1;
            } else if (how == 1) {
                memmove(text + at, text + at + 1, len - at - 1);
                len -= len > 1;
            } else {
                text[at] = how == 2 ? spice[lot(sizeof(spice) - 1)] : (char)lot(256);
            }
        }
        char *exact = mem_new(len, 1); /* so that a read behind it is seen */
        memcpy(exact, text, len);
        Error err;
        AwsProfile p = {0};
        if (aws_profile_parse(&p, exact, len, "f", lot(2) ? AWS_CONFIG_FILE : AWS_CREDENTIALS_FILE,
                              lot(2) ? "x y" : "default", &err))
            good++;
        else if (strstr(err.message, "SECRET") || err.code != ERR_USAGE)
            fail_msg("said: %s", err.message);
        aws_profile_free(&p);
        free(exact);
        free(text);
        runs++;
    } while (runs < 20000 || clock_now() < end);
    print_message("%lu texts, %lu of them read\n", runs, good);
    assert_true(good > 0 && good < runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials_file), cmocka_unit_test(test_config_file),
        cmocka_unit_test(test_indentation),      cmocka_unit_test(test_values),
        cmocka_unit_test(test_long_lines),       cmocka_unit_test(test_refused),
        SCRATCH_TEST(test_both_files),           SCRATCH_TEST(test_too_large),
        SCRATCH_TEST(test_names_and_regions),    cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
