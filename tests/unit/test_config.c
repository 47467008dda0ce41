/* config/config.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "scratch.h"

/* The command line of a test: words end with NULL. */
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void clear_environment(void)
{
    extern char **environ;
    for (char **e = environ; *e;) {
        if (strncmp(*e, "PITR_", 5) == 0) {
            char *name = mem_strndup(*e, strcspn(*e, "="));
            unsetenv(name);
            free(name);
            e = environ;
        } else {
            e++;
        }
    }
}

static int setup(void **state)
{
    clear_environment();
    return scratch_setup(state);
}

static int teardown(void **state)
{
    clear_environment();
    return scratch_teardown(state);
}

static Config *try_load(Scratch *s, CommandBit command, const char *file, const char *const *words,
                        Error *err)
{
    char *argv[32];
    int argc = 0;
    *err = (Error){0};
    if (file) {
        scratch_text(scratch_path(s, "pitr.conf"), file);
        argv[argc++] = scratch_keep(s, mem_strdup("--config"));
        argv[argc++] = scratch_path(s, "pitr.conf");
    }
    while (*words)
        argv[argc++] = scratch_keep(s, mem_strdup(*words++));
    return config_load(command, argc, argv, err);
}

static Config *load(Scratch *s, CommandBit command, const char *file, const char *const *words)
{
    Error err;
    Config *c = try_load(s, command, file, words, &err);
    must(c != NULL, &err);
    return c;
}

static void refused(Scratch *s, CommandBit command, const char *file, const char *const *words,
                    const char *message, const char *hint)
{
    Error err;
    Config *c = try_load(s, command, file, words, &err);
    if (c)
        fail_msg("taken, though: %s", message);
    assert_int_equal(err.code, ERR_USAGE);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    if (!strstr(err.hint, hint))
        fail_msg("hint is: %s", err.hint);
}

static void bad_file(Scratch *s, const char *file, const char *message, const char *hint)
{
    refused(s, CMD_BACKUP, file, WORDS(NULL), message, hint);
}

static void bad_line(Scratch *s, const char *const *words, const char *message, const char *hint)
{
    refused(s, CMD_BACKUP, "", words, message, hint);
}

/* --- where a value comes from ------------------------------------------------------------------
 */

static void expect_workers(Scratch *s, const char *file, const char *const *words, int64_t number,
                           const char *origin)
{
    Config *c = load(s, CMD_BACKUP, file, words);
    assert_int_equal(config_number(c, OPT_WORKERS), number);
    if (!strstr(config_origin(c, OPT_WORKERS, -1), origin))
        fail_msg("origin is: %s", config_origin(c, OPT_WORKERS, -1));
    assert_int_equal(config_given(c, OPT_WORKERS), strcmp(origin, "command line") == 0);
    config_free(c);
}

static void test_precedence(void **state)
{
    Scratch *s = *state;
    static const char *const none[] = {NULL};
    static const char global[] = "[global]\nworkers = 5\n",
                      other[] = "[global]\nworkers = 5\n"
                                "[cluster:main]\n",
                      both[] = "[cluster:main]\nworkers = 6\n\n[global]\nworkers = 5\n";
    expect_workers(s, "", none, 4, "default");
    expect_workers(s, global, none, 5, "pitr.conf:2");
    expect_workers(s, other, none, 5, "pitr.conf:2");
    expect_workers(s, both, none, 6, "pitr.conf:2");
    setenv("PITR_WORKERS", "7", 1);
    expect_workers(s, "", none, 7, "environment PITR_WORKERS");
    expect_workers(s, both, none, 7, "environment PITR_WORKERS");
    expect_workers(s, both, WORDS("--workers", "8"), 8, "command line");
    expect_workers(s, both, WORDS("--workers=9"), 9, "command line");
    setenv("PITR_WORKERS", "", 1);
    expect_workers(s, both, none, 6, "pitr.conf:2");
}

static void test_file_text(void **state)
{
    Scratch *s = *state;
    setenv("PITR_DATA_DIRECTORY", "/environment", 1);
    Config *c = load(s, CMD_RESTORE,
                     "[global]\ndata-directory = /global\n[cluster:main]\n"
                     "data-directory = /own\n",
                     WORDS("--data-directory", "/line"));
    assert_string_equal(config_text(c, OPT_DATA_DIRECTORY), "/line");
    assert_string_equal(config_file_text(c, OPT_DATA_DIRECTORY), "/own");
    assert_null(config_file_text(c, OPT_WORKERS));
    assert_string_equal(config_path(c), scratch_path(s, "pitr.conf"));
    config_free(c);
}

static void test_types(void **state)
{
    Scratch *s = *state;
    Config *c = load(s, CMD_RESTORE,
                     "[global]\nlog-level = debug\narchive-timeout = 1h30m\n"
                     "pack-size = 1GiB\n",
                     WORDS("--target-time", "2026-11-21", "--exclusive", "--tablespace-map",
                           "/a=/b", "--tablespace-map=/c=/d", "--delta=no"));
    assert_int_equal(config_choice(c, OPT_LOG_LEVEL), 3);
    assert_int_equal(config_choice(c, OPT_AS), -1);
    assert_int_equal(config_choice(c, OPT_TARGET_ACTION), 0);
    assert_true(config_number(c, OPT_ARCHIVE_TIMEOUT) == INT64_C(5400000000));
    assert_int_equal(config_number(c, OPT_PACK_SIZE), 1 << 30);
    assert_true(config_flag(c, OPT_EXCLUSIVE));
    assert_false(config_flag(c, OPT_DELTA));
    assert_false(config_flag(c, OPT_FORCE));
    assert_string_equal(config_text(c, OPT_TARGET_TIME), "2026-11-21");
    assert_null(config_text(c, OPT_TARGET_LSN));
    assert_int_equal(config_list_count(c, OPT_TABLESPACE_MAP), 2);
    assert_string_equal(config_list_item(c, OPT_TABLESPACE_MAP, 0), "/a=/b");
    assert_string_equal(config_list_item(c, OPT_TABLESPACE_MAP, 1), "/c=/d");
    assert_null(config_list_item(c, OPT_TABLESPACE_MAP, 2));
    config_free(c);
}

/* --- clusters and repositories -----------------------------------------------------------------
 */

#define TWO_CLUSTERS                                                                               \
    "[global]\nworkers = 5\n[cluster:a]\nworkers = 6\nconninfo = host=a\n[cluster:b]\nworkers = "  \
    "7\n"

static void test_clusters(void **state)
{
    Scratch *s = *state;
    Config *c = load(s, CMD_BACKUP, "", WORDS(NULL));
    assert_string_equal(config_cluster(c), "main");
    config_free(c);
    c = load(s, CMD_BACKUP, "[cluster:a]\nworkers = 6\n[cluster:a]\nconninfo = x\n", WORDS(NULL));
    assert_string_equal(config_cluster(c), "a");
    assert_int_equal(config_number(c, OPT_WORKERS), 6);
    config_free(c);
    bad_file(s, TWO_CLUSTERS, "several clusters", "--cluster");
    c = load(s, CMD_BACKUP, TWO_CLUSTERS, WORDS("--cluster", "b"));
    assert_string_equal(config_cluster(c), "b");
    assert_int_equal(config_number(c, OPT_WORKERS), 7);
    assert_string_equal(config_text(c, OPT_CONNINFO), "");
    config_free(c);
    setenv("PITR_CLUSTER", "a", 1);
    c = load(s, CMD_BACKUP, TWO_CLUSTERS, WORDS(NULL));
    assert_string_equal(config_text(c, OPT_CONNINFO), "host=a");
    config_free(c);
    unsetenv("PITR_CLUSTER");
    c = load(s, CMD_BACKUP, "[global]\ncluster = b\n" TWO_CLUSTERS, WORDS(NULL));
    assert_int_equal(config_number(c, OPT_WORKERS), 7);
    config_free(c);
    static const char *const bad[] = {
        "",
        "a/b",
        "../a",
        ".a",
        "-a",
        "a b",
        "\303\251",
        "0123456789012345678901234567890123456789012345678901234567890"
        "1234"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        bad_line(s, WORDS("--cluster", bad[i]), "can't be a cluster's name", "");
}

#define TWO_REPOS                                                                                  \
    "[global]\nurl = file:///global\n[repo:near]\n[repo:far]\nurl = file:///far\nrequired = no\n"

static void expect_repo(const Config *c, int i, const char *name, const char *url, bool required)
{
    assert_string_equal(config_repo_name(c, i), name);
    assert_string_equal(config_repo_text(c, i, OPT_URL), url);
    assert_int_equal(config_repo_flag(c, i, OPT_REQUIRED), required);
}

static void test_repos(void **state)
{
    Scratch *s = *state;
    Config *c = load(s, CMD_ARCHIVE, "", WORDS(NULL));
    assert_int_equal(config_repo_count(c), 1);
    expect_repo(c, 0, "main", "file:///var/lib/pitr", true);
    config_free(c);
    c = load(s, CMD_ARCHIVE, TWO_REPOS, WORDS(NULL));
    assert_int_equal(config_repo_count(c), 2);
    expect_repo(c, 0, "near", "file:///global", true);
    expect_repo(c, 1, "far", "file:///far", false);
    if (!strstr(config_origin(c, OPT_URL, 0), ":2") || !strstr(config_origin(c, OPT_URL, 1), ":5"))
        fail_msg("wrong origin");
    config_free(c);
    c = load(s, CMD_ARCHIVE, TWO_REPOS, WORDS("--repo", "far"));
    assert_int_equal(config_repo_count(c), 1);
    expect_repo(c, 0, "far", "file:///far", false);
    config_free(c);
    refused(s, CMD_ARCHIVE, TWO_REPOS, WORDS("--repo", "fa"), "no [repo:fa]", "did you mean far?");
    c = load(s, CMD_ARCHIVE, "", WORDS("--repo", "x"));
    expect_repo(c, 0, "x", "file:///var/lib/pitr", true);
    config_free(c);
}

/* One URL from the outside stands for all repositories of the file. */
static void test_url_from_outside(void **state)
{
    Scratch *s = *state;
    setenv("PITR_URL", "file:///environment", 1);
    Config *c = load(s, CMD_ARCHIVE, TWO_REPOS, WORDS(NULL));
    assert_int_equal(config_repo_count(c), 1);
    expect_repo(c, 0, "main", "file:///environment", true);
    assert_string_equal(config_origin(c, OPT_URL, 0), "environment PITR_URL");
    config_free(c);
    c = load(s, CMD_ARCHIVE, TWO_REPOS, WORDS("--url=file:///line"));
    assert_int_equal(config_repo_count(c), 1);
    expect_repo(c, 0, "main", "file:///line", true);
    config_free(c);
    unsetenv("PITR_URL");
    c = load(s, CMD_ARCHIVE, TWO_REPOS, WORDS("--url", "file:///line", "--repo", "far"));
    expect_repo(c, 0, "far", "file:///line", false);
    config_free(c);
}

static void test_too_many_repos(void **state)
{
    Scratch *s = *state;
    Buf file = BUF_INIT;
    for (int i = 0; i < 16; i++)
        buf_printf(&file, "[repo:r%d]\nurl = file:///%d\n", i, i);
    buf_puts(&file, "[repo:r3]\nrequired = no\n");
    Config *c = load(s, CMD_ARCHIVE, file.data, WORDS(NULL));
    assert_int_equal(config_repo_count(c), 16);
    expect_repo(c, 3, "r3", "file:///3", false);
    expect_repo(c, 15, "r15", "file:///15", true);
    config_free(c);
    buf_puts(&file, "[repo:r16]\n");
    bad_file(s, file.data, "pitr.conf:35: too many repositories", "");
    buf_free(&file);
}

/* --- mistakes ----------------------------------------------------------------------------------
 */

static void test_bad_files(void **state)
{
    Scratch *s = *state;
    bad_file(s, "workers = 4\n", "pitr.conf:1: no section before option \"workers\"", "[global]");
    bad_file(s, "[global]\n\n# c\nwrkers = 4\n", "pitr.conf:4: unknown option \"wrkers\"",
             "did you mean workers?");
    bad_file(s, "[repo:x]\nurll = 4\n", "pitr.conf:2: unknown option \"urll\"", "mean url?");
    bad_file(s, "[global]\nxyzzyplugh = 4\n", "pitr.conf:2: unknown option", "");
    bad_file(s, "[global]\nconfig = /x\n", "pitr.conf:2: the file can't set option", "");
    bad_file(s, "[global]\ndelta = yes\n", "pitr.conf:2: the file can't set option \"delta\"", "");
    bad_file(s, "[cluster:a]\nurl = /x\n", "pitr.conf:2: this section can't hold option \"url\"",
             "[repo:NAME]");
    bad_file(s, "[repo:a]\nworkers = 1\n", "this section can't hold option \"workers\"",
             "[cluster:NAME]");
    bad_file(s, "\n[globl]\n", "pitr.conf:2: unknown section \"globl\"", "did you mean global?");
    bad_file(s, "[rep:x]\n", "pitr.conf:1: unknown section \"rep\"", "did you mean repo?");
    bad_file(s, "[]\n", "pitr.conf:1: unknown section", "");
    bad_file(s, "[global", "pitr.conf:1: ", "");
    bad_file(s, "[repo]\n", "pitr.conf:1: bad section name", "[repo:NAME]");
    bad_file(s, "[repo:]\n", "pitr.conf:1: bad section name", "");
    bad_file(s, "[repo:a/b]\n", "pitr.conf:1: bad section name", "");
    bad_file(s, "[cluster:../x]\n", "pitr.conf:1: bad section name", "");
    bad_file(s, "[cluster:a:b]\n", "pitr.conf:1: bad section name", "");
    bad_file(s, "[global:x]\n", "pitr.conf:1: bad section name", "");
    bad_file(s, "[global]\nworkers = 4\nnonsense\n", "pitr.conf:3: neither a section nor", "");
    bad_file(s, "[global]\nworkers = many\n",
             "pitr.conf:2: bad value \"many\" for workers: expected a whole number", "");
    bad_file(s, "[global]\nworkers = 0\n", "a number from 1 to 256", "");
    bad_file(s, "[global]\nworkers = 257\n", "a number from 1 to 256", "");
    bad_file(s, "[global]\nworkers =\n", "pitr.conf:2: bad value \"\"", "");
    bad_file(s, "[global]\nlog-level = loud\n", "one of error|warn|info|debug", "");
    bad_file(s, "[cluster:a]\nworkers = x\n[cluster:b]\n", "bad value \"x\"", "");
    bad_file(s, "[global]\nworkers = 1\nworkers = 2\n", "pitr.conf:3: workers is given twice", "");
    bad_file(s, "[cluster:a]\nworkers = 1\n[global]\n[cluster:a]\nworkers = 2\n",
             "pitr.conf:5: workers is given twice (first: ", "");
}

static void test_good_files(void **state)
{
    Scratch *s = *state;
    static const char *const files[] = {
        "",
        "\n\n",
        "# only a comment",
        "[global]\n; comment\n# another\nworkers = 5 ; behind\n",
        "[global]\r\nworkers = 5\r\n",
        "[global]\nworkers=5",
        "[global] ; comment\nworkers = 5\n",
        "  [global]\n  workers = 5\n",
        "[global]\nlog-level = info\n  workers = 5\n",
        "[global]\nworkers = 5\n  [repo:x]\n  url = file:///x\n  required = no\n",
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        Error err;
        Config *c = try_load(s, CMD_BACKUP, files[i], WORDS(NULL), &err);
        if (!c)
            fail_msg("refused: %s\n%s", files[i], err.message);
        assert_int_equal(config_number(c, OPT_WORKERS), i < 3 ? 4 : 5);
        config_free(c);
    }
    Config *c = load(s, CMD_BACKUP, "[global]\nconninfo = host=a user=b sslmode=c\n", WORDS(NULL));
    assert_string_equal(config_text(c, OPT_CONNINFO), "host=a user=b sslmode=c");
    config_free(c);
}

/* A line is taken whole or refused with its number, never cut. */
static void test_long_lines(void **state)
{
    Scratch *s = *state;
    for (size_t len = 100; len < 20000; len += len / 20) {
        Error err;
        Buf file = BUF_INIT, value = BUF_INIT;
        for (size_t i = 0; i < len; i++)
            buf_putc(&value, (char)('a' + i % 26));
        buf_printf(&file, "[global]\nconninfo = %s\nworkers = 5\n", value.data);
        Config *c = try_load(s, CMD_BACKUP, file.data, WORDS(NULL), &err);
        if (c) {
            assert_string_equal(config_text(c, OPT_CONNINFO), value.data);
            assert_int_equal(config_number(c, OPT_WORKERS), 5);
        } else {
            assert_int_equal(err.code, ERR_USAGE);
            if (!strstr(err.message, "pitr.conf:2: line is longer than"))
                fail_msg("message is: %s", err.message);
        }
        config_free(c);
        buf_free(&file);
        buf_free(&value);
    }
}

static void test_config_path(void **state)
{
    Scratch *s = *state;
    Error err;
    char *path = scratch_path(s, "other.conf");
    setenv("PITR_CONFIG", path, 1);
    assert_null(try_load(s, CMD_BACKUP, NULL, WORDS(NULL), &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "other.conf"));
    scratch_text(path, "[global]\nworkers = 11\n");
    expect_workers(s, NULL, WORDS(NULL), 11, "other.conf:2");
    expect_workers(s, "", WORDS(NULL), 4, "default"); /* --config wins */
    setenv("PITR_CONFIG", s->dir, 1);
    assert_null(try_load(s, CMD_BACKUP, NULL, WORDS(NULL), &err));
    assert_int_equal(err.code, ERR_USAGE);
}

static void test_bad_lines(void **state)
{
    Scratch *s = *state;
    bad_line(s, WORDS("--wrkers", "4"), "unknown option --wrkers", "did you mean --workers?");
    bad_line(s, WORDS("--wrkers=4"), "unknown option --wrkers", "did you mean --workers?");
    bad_line(s, WORDS("--delta"), "this command has no option --delta", "");
    bad_line(s, WORDS("--workers"), "option --workers needs a value: N", "");
    bad_line(s, WORDS("--workers", "x"), "command line: bad value \"x\" for workers", "");
    bad_line(s, WORDS("--workers="), "bad value \"\"", "");
    bad_line(s, WORDS("--json=maybe"), "bad value \"maybe\" for json: expected yes or no", "");
    bad_line(s, WORDS("--workers=1", "--workers=1"), "workers is given twice", "");
    bad_line(s, WORDS("-w", "4"), "unknown option -w", "two dashes");
    bad_line(s, WORDS("--="), "unknown option --", "");
    bad_line(s, WORDS("---"), "unknown option ---", "");
    setenv("PITR_WORKERS", "x", 1);
    bad_line(s, WORDS(NULL), "environment PITR_WORKERS: bad value \"x\" for workers", "");
}

static void test_arguments(void **state)
{
    Scratch *s = *state;
    Config *c = load(s, CMD_FETCH, "",
                     WORDS("NAME", "--gap-wait", "5s", "-", "", "--", "--path", "-x", "--"));
    static const char *const expected[] = {"NAME", "-", "", "--path", "-x", "--"};
    assert_int_equal(config_argc(c), 6);
    for (int i = 0; i < 6; i++)
        assert_string_equal(config_arg(c, i), expected[i]);
    assert_int_equal(config_number(c, OPT_GAP_WAIT), 5000000);
    config_free(c);
    config_free(NULL);
}

/* Help is to be had with a broken file, too. */
static void test_help(void **state)
{
    Scratch *s = *state;
    static const char *const forms[] = {"--help", "-h"};
    for (size_t i = 0; i < 2; i++) {
        Config *c = load(s, CMD_BACKUP, "broken", WORDS(forms[i]));
        assert_true(config_flag(c, OPT_HELP));
        config_free(c);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_precedence),     TEST(test_file_text),   TEST(test_types),
        TEST(test_clusters),       TEST(test_repos),       TEST(test_url_from_outside),
        TEST(test_too_many_repos), TEST(test_bad_files),   TEST(test_good_files),
        TEST(test_long_lines),     TEST(test_config_path), TEST(test_bad_lines),
        TEST(test_arguments),      TEST(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
