/* storage/aws_process.h, and keys in JSON (storage/aws_private.h) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "fake_aws.h"
#include "storage/aws_process.h"

/* --- words -------------------------------------------------------------------------------- */

static void test_words(void **state)
{
    (void)state;
    /* What Python's shlex.split() makes of them, which the AWS CLI uses. */
    static const char *const cases[][6] = {
        {"a", "a"},
        {"  /opt/bin/x  --flag\tv \n", "/opt/bin/x", "--flag", "v"},
        {"'/with blank/x' \"b c\"", "/with blank/x", "b c"},
        {"a'b'\"c\"d", "abcd"},
        {"a '' \"\"", "a", "", ""},
        {"a\\ b \\\\ \\'", "a b", "\\", "'"},
        {"\"a\\\"b\\\\c\\d\" '\\'", "a\"b\\c\\d", "\\"},
        {"x $HOME ~ `id` ;", "x", "$HOME", "~", "`id`", ";"},
        {"sh -c 'a | b; c \"$D\"'", "sh", "-c", "a | b; c \"$D\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Error err;
        char **words = aws_split_words(cases[i][0], "x", &err);
        assert_non_null(words);
        size_t n = 0;
        for (; words[n]; n++) {
            assert_non_null(cases[i][n + 1]);
            assert_string_equal(words[n], cases[i][n + 1]);
        }
        assert_true(n == 5 || !cases[i][n + 1]);
        aws_words_free(words);
    }
    static const char *const bad[] = {"", "  \t", "a 'b", "a \"b", "\"a\\", "a\\"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err;
        assert_null(aws_split_words(bad[i], "where", &err));
        assert_int_equal(err.code, ERR_USAGE);
        assert_non_null(strstr(err.message, "where: "));
    }
}

/* --- the process -------------------------------------------------------------------------- */

#define OUTPUT                                                                                     \
    "{\"Version\": 1, \"AccessKeyId\": \"" AWS_SECRET_MARK "ID1\", \"SecretAccessKey\": "          \
    "\"" AWS_SECRET_MARK "KEY1\", \"SessionToken\": \"" AWS_SECRET_MARK "TOKEN1\", "               \
    "\"Expiration\": \"2026-11-21T05:00:00.123456+02:00\"}"

/* A program with this text; what is said about it never has its arguments. */
static char *program(Scratch *s, const char *text)
{
    char *path = scratch_path(s, "give keys");
    char *script = scratch_keep(s, mem_printf("#!/bin/sh\n%s\n", text));
    scratch_text(path, script);
    chmod(path, 0700);
    return scratch_keep(s, mem_printf("'%s' --password " AWS_SECRET_MARK "ARG", path));
}

static char *printing(Scratch *s, const char *json)
{
    scratch_text(scratch_path(s, "json"), json);
    return program(s, scratch_keep(s, mem_printf("cat %s", scratch_path(s, "json"))));
}

static void fails(Scratch *s, const char *command, ErrorCode code, const char *part)
{
    Error err = {0};
    AwsKeys keys = {0};
    scratch_catch(s);
    bool ok = aws_process_keys(command, "the process", CLOCK_SECOND, &keys, &err);
    said_on_stderr(s);
    assert_false(ok);
    assert_null(keys.access_key);
    expect_error(&err, code, part);
    assert_non_null(strstr(err.message, "the process"));
}

static void test_keys(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    Instant when;
    assert_true(clock_parse_utc("2026-11-21T03:00:00.123456Z", &when));
    must(aws_process_keys(printing(s, OUTPUT), "x", AWS_PROCESS_TIMEOUT, &keys, &err), &err);
    expect_keys(&keys, "1");
    assert_int_equal(keys.expires, when);
    aws_keys_free(&keys);
    must(
        aws_process_keys(printing(s, "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S "
                                     "\xc3\xa9\",\"SessionToken\":null,\"Expiration\":null}"),
                         "x", AWS_PROCESS_TIMEOUT, &keys, &err),
        &err);
    assert_string_equal(keys.secret_key, "S \xc3\xa9");
    assert_null(keys.session_token);
    assert_int_equal(keys.expires, 0);
    aws_keys_free(&keys);
}

/* No shell, nothing on stdin, our stderr, default signals. */
static void test_surroundings(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    char *out = scratch_path(s, "out");
    signal(SIGPIPE, SIG_IGN);
    char *command = program(
        s,
        scratch_keep(
            s, mem_printf("exec >%s\n"
                          "for a; do echo \"<$a>\"; done\n"
                          "cat; echo end of stdin\n"
                          "sed -n 's/^SigIgn:.*\\(.......\\)$/ignored: \\1/p' /proc/self/status\n"
                          "echo to stderr >&2\n"
                          "exit 7",
                          out)));
    char *with = scratch_keep(s, mem_printf("%s '$HOME' * ';' \"a  b\"", command));
    int typed[2], stdin_was = dup(0);
    assert_int_equal(pipe(typed), 0);
    assert_int_equal(write(typed[1], "typed\n", 6), 6);
    dup2(typed[0], 0);
    close(typed[1]);
    scratch_catch(s);
    assert_false(aws_process_keys(with, "x", CLOCK_SECOND, &keys, &err));
    assert_string_equal(said_on_stderr(s), "to stderr\n");
    expect_error(&err, ERR_REPO, "failed with exit code 7");
    char *text = scratch_read(s, out, NULL);
    assert_string_equal(text, "<--password>\n<" AWS_SECRET_MARK "ARG>\n<$HOME>\n<*>\n<;>\n<a  b>\n"
                              "end of stdin\nignored: 0000000\n");
    signal(SIGPIPE, SIG_DFL);
    dup2(stdin_was, 0);
    close(stdin_was);
    close(typed[0]);
}

static void test_failures(void **state)
{
    Scratch *s = *state;
    fails(s, "/nowhere/to/be/found", ERR_USAGE, "can't run /nowhere/to/be/found");
    fails(s, "no-such-program-of-any-kind " AWS_SECRET_MARK, ERR_USAGE, "can't run no-such");
    fails(s, "'open " AWS_SECRET_MARK, ERR_USAGE, "not closed");
    fails(s, program(s, "kill -9 $$"), ERR_REPO, "died by signal 9");
    fails(s, program(s, "exit 3"), ERR_REPO, "exit code 3");
    fails(s, printing(s, OUTPUT "x"), ERR_REPO, "no JSON object");
    fails(s, printing(s, ""), ERR_REPO, "no JSON object");
    fails(s, printing(s, "[\"" AWS_SECRET_MARK "\"]"), ERR_REPO, "no JSON object");
    fails(s, printing(s, "{\"Version\": 2, \"AccessKeyId\": \"" AWS_SECRET_MARK "\"}"), ERR_REPO,
          "\"Version\": 1");
    fails(s, printing(s, "{\"Version\": \"1\"}"), ERR_REPO, "\"Version\": 1");
    fails(s, printing(s, "{\"AccessKeyId\": \"" AWS_SECRET_MARK "\"}"), ERR_REPO, "\"Version\": 1");
    fails(s, printing(s, "{\"Version\": 1, \"AccessKeyId\": \"" AWS_SECRET_MARK "\"}"), ERR_REPO,
          "the secret key is missing");
    fails(s, printing(s, "{\"Version\": 1, \"AccessKeyId\": 5, \"SecretAccessKey\": \"x\"}"),
          ERR_REPO, "is no text");
    fails(s, program(s, "head -c 70000 /dev/zero"), ERR_REPO, "prints too much");
}

static int64_t took(Instant since)
{
    return (clock_now() - since) / 1000;
}

static void test_hanging(void **state)
{
    Scratch *s = *state;
    Instant begun = clock_now();
    char *pid_file = scratch_path(s, "pid");
    fails(s, program(s, scratch_keep(s, mem_printf("sleep 60 & echo $! >%s; wait", pid_file))),
          ERR_REPO, "has not ended");
    assert_in_range(took(begun), 900, 3000);
    /* Its children are gone with it. */
    pid_t child = atoi(scratch_read(s, pid_file, NULL));
    assert_true(child > 1);
    for (int i = 0; i < 100 && kill(child, 0) == 0; i++)
        usleep(10000);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", child);
    char *stat = scratch_read(s, path, NULL);
    if (stat && !strstr(stat, ") Z"))
        fail_msg("the child lives: %s", stat);
    /* Output closed, but the process stays. */
    fails(s, program(s, "exec >/dev/null; exec sleep 60"), ERR_REPO, "has not ended");
}

/* It leaves something behind that keeps the pipe open, as agents do that are started on demand. */
static void test_something_left_behind(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    char *pid_file = scratch_path(s, "pid");
    scratch_text(scratch_path(s, "json"), OUTPUT);
    char *command = program(s, scratch_keep(s, mem_printf("sleep 60 & echo $! >%s; cat %s",
                                                          pid_file, scratch_path(s, "json"))));
    Instant begun = clock_now();
    must(aws_process_keys(command, "x", 20 * CLOCK_SECOND, &keys, &err), &err);
    assert_in_range(took(begun), 0, 3000);
    expect_keys(&keys, "1");
    aws_keys_free(&keys);
    pid_t child = atoi(scratch_read(s, pid_file, NULL));
    assert_int_equal(kill(child, SIGKILL), 0); /* it was left alone */
}

static void *signal_soon(void *arg)
{
    usleep(300000);
    kill(getpid(), SIGTERM);
    return arg;
}

/* In a process of its own: the flag stays. */
static void test_signal(void **state)
{
    Scratch *s = *state;
    char *command = program(s, "sleep 60");
    pid_t pid = fork();
    if (pid == 0) {
        Error err;
        AwsKeys keys;
        pthread_t thread;
        interrupt_install();
        pthread_create(&thread, NULL, signal_soon, NULL);
        Instant begun = clock_now();
        bool ok = aws_process_keys(command, "x", 20 * CLOCK_SECOND, &keys, &err);
        _exit(ok ? 1 : err.code != ERR_LOCKED ? 2 : took(begun) > 1500 ? 3 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- JSON --------------------------------------------------------------------------------- */

static void test_expiry(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"2014-10-24T23:00:23Z", "2014-10-24T23:00:23Z"},
        {"2014-10-24t23:00:23z", "2014-10-24T23:00:23Z"},
        {"2014-10-24T23:00:23.5Z", "2014-10-24T23:00:23.5Z"},
        {"2014-10-24T23:00:23.123456789+00:00", "2014-10-24T23:00:23.123456Z"},
        {"2014-10-25T01:00:23+02:00", "2014-10-24T23:00:23Z"},
        {"2014-10-24 19:00:23-04:00", "2014-10-24T23:00:23Z"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        Instant want, got = 0;
        assert_true(clock_parse_utc(good[i][1], &want));
        assert_true(aws_parse_expiry(good[i][0], &got));
        assert_int_equal(got, want);
    }
    static const char *const bad[] = {
        "",
        "2014-10-24",
        "2014-10-24T23:00:23",
        "1414191623",
        "never",
        "20 Oct",
        "2014-10-24T25:00:00Z",
        "2014-10-24T23:00:23Z ",
        "2014-10-24T23:00:23Zx",
        "2014-10-24T23:00:23 Europe/Paris",
        "2014-10-24T23:00:23+00000000000000000000000000000000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Instant t = 77;
        if (aws_parse_expiry(bad[i], &t) || t != 77)
            fail_msg("taken for a time: %s", bad[i]);
    }
}

static bool service(const char *text, AwsKeys *keys, Error *err)
{
    return aws_keys_from_json(keys, text, strlen(text), AWS_JSON_SERVICE, "x", err);
}

static void test_json(void **state)
{
    (void)state;
    Error err;
    AwsKeys keys;
    must(service(
             "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"A\",\"more\":{},"
             "\"SecretAccessKey\":\"S\",\"Token\":\"T\",\"Expiration\":\"2026-01-01T00:00:00Z\"}",
             &keys, &err),
         &err);
    assert_string_equal(keys.session_token, "T");
    assert_true(keys.expires > 0);
    aws_keys_free(&keys);
    must(service("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"\"}", &keys, &err),
         &err);
    assert_null(keys.session_token);
    aws_keys_free(&keys);
    static const char *const bad[][2] = {
        {"", "no JSON object"},
        {"null", "no JSON object"},
        {"{\"Code\": \"AssumeRoleUnauthorized\\nAccess\"}",
         "it answered AssumeRoleUnauthorized?Acc"},
        {"{\"AccessKeyId\":\"A\",\"AccessKeyId\":\"B\",\"SecretAccessKey\":\"S\"}",
         "no JSON object"},
        {"{\"AccessKeyId\":\"A\\nB: C\",\"SecretAccessKey\":\"S\"}", "access key has a character"},
        {"{\"AccessKeyId\":\"A B\",\"SecretAccessKey\":\"S\"}", "access key has a character"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\\r\"}", "secret key has a character"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"\\u00e9\"}",
         "session token"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":[]}", "is no text"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":\"soon\"}", "expiry"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":5}", "is no text"},
        {"{\"AccessKeyId\":\"A\\u0000\",\"SecretAccessKey\":\"S\"}", "no JSON object"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(service(bad[i][0], &keys, &err));
        expect_error(&err, ERR_REPO, bad[i][1]);
    }
}

static uint32_t lots_state;

static uint32_t lot(uint32_t below)
{
    lots_state = lots_state * 1664525u + 1013904223u;
    return (lots_state >> 8) % below;
}

static void test_fuzz_json(void **state)
{
    (void)state;
    static const char seed[] =
        "{\"Version\":1,\"Code\":\"Success\",\"AccessKeyId\":\"SECRETA\",\"SecretAccessKey\":"
        "\"SECRETB\",\"Token\":\"SECRETC\",\"SessionToken\":\"SECRETD\",\"Expiration\":"
        "\"2026-11-21T05:00:00.5+02:00\",\"x\":[1,{\"y\":null}]}";
    static const char spice[] = "{}[]\":,\\u0123456789eE+-.tfnSZ\n\0\xc3\xff";
    const char *seconds = getenv("PITR_FUZZ_SECONDS");
    Instant end = clock_now() + (seconds ? atoi(seconds) : 0) * CLOCK_SECOND;
    unsigned long runs = 0, good = 0;
    lots_state = 4711;
    do {
        size_t len = sizeof(seed) - 1;
        char *text = mem_new(len, 1);
        memcpy(text, seed, len);
        for (uint32_t n = 1 + lot(5); n > 0; n--) {
            uint32_t at = lot((uint32_t)len), how = lot(5);
            if (how == 0 && lot(4) == 0)
                len = at + 1;
            else if (how == 1 && len > 1)
                memmove(text + at, text + at + 1, --len - at);
            else
                text[at] = how < 4 ? spice[lot(sizeof(spice) - 1)] : (char)lot(256);
        }
        char *exact = mem_new(len, 1);
        memcpy(exact, text, len);
        Error err;
        AwsKeys keys = {0};
        if (aws_keys_from_json(&keys, exact, len, lot(2) ? AWS_JSON_SERVICE : AWS_JSON_PROCESS, "x",
                               &err))
            good++;
        else if (err.code != ERR_REPO || strstr(err.message, "SECRET") || keys.access_key)
            fail_msg("said: %s", err.message);
        aws_keys_free(&keys);
        free(exact);
        free(text);
        runs++;
    } while (runs < 20000 || clock_now() < end);
    print_message("%lu texts, %lu of them keys\n", runs, good);
    assert_true(good > 0 && good < runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        AWS_TEST(test_keys),
        AWS_TEST(test_surroundings),
        AWS_TEST(test_failures),
        AWS_TEST(test_hanging),
        AWS_TEST(test_something_left_behind),
        AWS_TEST(test_signal),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_fuzz_json),
        cmocka_unit_test(test_nothing_secret_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
