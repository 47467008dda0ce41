#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fake_pg.h"
#include "pg/conn.h"

static PgConn *open_fake(FakePg *f, Error *err)
{
    assert_true(fake_start(f));
    return pgconn_open_replication(f->conninfo, err);
}

/* One row as the answer to whatever is asked. */
static PgConn *open_with_row(FakePg *f, int columns, const char *const *values)
{
    Error err = {0};
    fake_columns(&f->reply, columns);
    fake_row(&f->reply, columns, values);
    fake_complete(&f->reply);
    PgConn *c = open_fake(f, &err);
    if (!c)
        fail_msg("%s", err.message);
    return c;
}

/* The value behind `key` in the start-up packet. */
static const char *startup_value(const FakePg *f, const char *key)
{
    for (size_t at = 4; at < f->startup.len;) {
        const char *name = f->startup.data + at;
        const char *value = name + strlen(name) + 1;
        if (!strcmp(name, key))
            return value;
        at += strlen(name) + 1 + strlen(value) + 1;
    }
    return "";
}

static void test_startup_packet(void **state)
{
    (void)state;
    FakePg f = {.version = "15.20"};
    Error err = {0};
    setenv("PGOPTIONS", "-c work_mem=5MB", 1);
    PgConn *c = open_fake(&f, &err);
    unsetenv("PGOPTIONS");
    assert_non_null(c);
    assert_int_equal(pgconn_version(c), 150020);
    assert_string_equal(startup_value(&f, "replication"), "true");
    assert_string_equal(startup_value(&f, "application_name"), "pitr");
    assert_string_equal(startup_value(&f, "client_encoding"), "UTF8");
    const char *options = startup_value(&f, "options");
    assert_ptr_equal(strstr(options, "-c work_mem=5MB "), options);
    assert_non_null(strstr(options, "-c statement_timeout=0"));
    assert_non_null(strstr(options, "-c default_transaction_read_only=off"));
    pgconn_close(c);
    fake_stop(&f);
}

static void refused(FakePg *f, const char *why, const char *hint)
{
    Error err = {0};
    assert_null(open_fake(f, &err));
    fake_stop(f);
    assert_int_equal(err.code, ERR_PG);
    if (!strstr(err.message, why) || !strstr(err.hint, hint))
        fail_msg("message \"%s\", hint \"%s\"", err.message, err.hint);
    assert_null(strstr(err.message, "hidden"));
    assert_null(strchr(err.message, '\n'));
}

static void test_refusals_have_hints(void **state)
{
    (void)state;
    FakePg f = {.version = "12.22"};
    refused(&f, "PostgreSQL 12 is too old", "upgrade");
    f = (FakePg){.refusal =
                     "no pg_hba.conf entry for replication connection from host \"[local]\""};
    refused(&f, "no pg_hba.conf entry", "pg_hba.conf");
    f = (FakePg){.refusal = "must be superuser or replication role to start walsender"};
    refused(&f, "must be superuser", "ALTER ROLE");
    f = (FakePg){.refusal = "permission denied to start WAL sender"};
    refused(&f, "permission denied", "ALTER ROLE");
    f = (FakePg){.refusal = "number of requested standby connections exceeds max_wal_senders "
                            "(currently 1)"};
    refused(&f, "max_wal_senders", "raise max_wal_senders");
    f = (FakePg){.refusal = "password authentication failed for user \"u\""};
    refused(&f, "password authentication failed", ".pgpass");
}

static void test_no_server(void **state)
{
    (void)state;
    Error err = {0};
    assert_null(pgconn_open_replication("host=/nonexistent port=1", &err));
    assert_int_equal(err.code, ERR_PG);
    assert_non_null(strstr(err.hint, "is the server running"));
}

static void test_silent_server(void **state)
{
    (void)state;
    FakePg f = {.then = FAKE_SILENT};
    char conninfo[200];
    Error err = {0};
    assert_true(fake_start(&f));
    snprintf(conninfo, sizeof(conninfo), "%s connect_timeout=1", f.conninfo);
    assert_null(pgconn_open_replication(conninfo, &err));
    fake_stop(&f);
    assert_int_equal(err.code, ERR_PG);
    assert_non_null(strstr(err.message, "did not answer within 1 s"));
}

/* libpq's own messages quote the string: none of it may be shown. */
static void test_unreadable_conninfo_is_not_quoted(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "host=x password=se cret",
        "password='secret",
        "secret=1",
        "postgresql://u:p@secret@host/db",
        "postgresql://u:secret@host:port/db",
        "postgresql://u:%zzsecret@host/db",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err = {0};
        assert_null(pgconn_open_replication(bad[i], &err));
        if (err.code == ERR_USAGE)
            assert_true(err.hint[0] != '\0');
        assert_null(strstr(err.message, "secret"));
        assert_null(strstr(err.message, "cret"));
    }
}

static void test_identify(void **state)
{
    (void)state;
    static const struct {
        const char *values[4];
        bool ok;
    } cases[] = {
        {{"18446744073709551615", "4294967295", "FF/0A000028", NULL}, true},
        {{"7", "0", "0/1", NULL}, false},
        {{"-7", "1", "0/1", NULL}, false},
        {{"7", "1", "01", NULL}, false},
        {{"7", "1", NULL, NULL}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        FakePg f = {.version = "17.1"};
        PgConn *c = open_with_row(&f, 4, cases[i].values);
        PgIdentity id;
        Error err = {0};
        assert_int_equal(pgconn_identify(c, &id, &err), cases[i].ok);
        if (cases[i].ok)
            assert_true(id.sysid == UINT64_MAX && id.tli == UINT32_MAX &&
                        id.xlogpos == 0xFF0A000028ULL);
        else
            assert_int_equal(err.code, ERR_PG);
        pgconn_close(c);
        fake_stop(&f);
    }
}

static void test_wal_segment_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t bytes;
    } cases[] = {{"16MB", 16u << 20},
                 {"1MB", 1u << 20},
                 {"1GB", 1u << 30},
                 {"1024kB", 1u << 20},
                 {"2GB", 0},
                 {"3MB", 0},
                 {"16", 0},
                 {"", 0},
                 {"18446744073709551615MB", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        FakePg f = {.version = "15.1"};
        PgConn *c = open_with_row(&f, 1, &cases[i].text);
        Error err = {0};
        assert_int_equal(pgconn_wal_segment_size(c, &err), cases[i].bytes);
        assert_int_equal(err.code, cases[i].bytes ? ERR_NONE : ERR_PG);
        assert_string_equal(f.query.data, "SHOW wal_segment_size");
        pgconn_close(c);
        fake_stop(&f);
    }
}

static void test_show(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1"};
    const char *value = "1234567";
    PgConn *c = open_with_row(&f, 1, &value);
    char out[8];
    Error err = {0};
    assert_false(pgconn_show(c, "a; DROP", out, sizeof(out), &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_true(pgconn_show(c, "x", out, sizeof(out), &err));
    assert_string_equal(out, value);
    pgconn_close(c);
    fake_stop(&f);

    f = (FakePg){.version = "15.1"};
    c = open_with_row(&f, 1, &value);
    assert_false(pgconn_show(c, "x", out, sizeof(out) - 1, &err));
    pgconn_close(c);
    fake_stop(&f);

    f = (FakePg){.version = "15.1"};
    fake_error(&f.reply, 'E', "ERROR", "42704", "unrecognized configuration parameter");
    c = open_fake(&f, &err);
    assert_false(pgconn_show(c, "x", out, sizeof(out), &err));
    assert_non_null(strstr(err.message, "SHOW x: unrecognized"));
    pgconn_close(c);
    fake_stop(&f);
}

static void test_in_recovery_asks_what_the_version_knows(void **state)
{
    (void)state;
    static const char *const versions[] = {"13.1", "14.0"};
    static const char *const wants[] = {"SHOW transaction_read_only", "SHOW in_hot_standby"};
    for (int i = 0; i < 2; i++) {
        FakePg f = {.version = versions[i]};
        const char *value = "on";
        PgConn *c = open_with_row(&f, 1, &value);
        bool in_recovery = false;
        Error err = {0};
        assert_true(pgconn_in_recovery(c, &in_recovery, &err));
        assert_true(in_recovery);
        assert_string_equal(f.query.data, wants[i]);
        pgconn_close(c);
        fake_stop(&f);
    }
}

static void test_timeline_history(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1"};
    Buf out = BUF_INIT;
    Error err = {0};
    PgConn *c = open_with_row(&f, 2, (const char *const[]){"0000000A.history", "9\t0/1\tx\n"});
    assert_false(pgconn_timeline_history(c, 1, &out, &err));
    assert_int_equal(err.code, ERR_NO);
    assert_true(pgconn_timeline_history(c, 10, &out, &err));
    assert_string_equal(out.data, "9\t0/1\tx\n");
    assert_string_equal(f.query.data, "TIMELINE_HISTORY 10");
    pgconn_close(c);
    fake_stop(&f);
    buf_free(&out);

    f = (FakePg){.version = "15.1"};
    c = open_with_row(&f, 2, (const char *const[]){"0000000B.history", "x"});
    assert_false(pgconn_timeline_history(c, 10, &out, &err));
    assert_int_equal(err.code, ERR_PG);
    pgconn_close(c);
    fake_stop(&f);
}

static void test_lost_connection(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1", .then = FAKE_CLOSE};
    char out[8];
    Error err = {0};
    PgConn *c = open_fake(&f, &err);
    assert_false(pgconn_show(c, "x", out, sizeof(out), &err));
    assert_int_equal(err.code, ERR_PG);
    assert_non_null(strstr(err.message, "closed the connection"));
    pgconn_close(c);
    fake_stop(&f);
}

int main(void)
{
    static const char *const env[] = {
        "PGHOST",   "PGPORT", "PGUSER", "PGPASSWORD", "PGSERVICE", "PGOPTIONS", "PGCONNECT_TIMEOUT",
        "PGAPPNAME"};
    for (size_t i = 0; i < sizeof(env) / sizeof(env[0]); i++)
        unsetenv(env[i]);
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_startup_packet),
        cmocka_unit_test(test_refusals_have_hints),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_unreadable_conninfo_is_not_quoted),
        cmocka_unit_test(test_identify),
        cmocka_unit_test(test_wal_segment_size),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_in_recovery_asks_what_the_version_knows),
        cmocka_unit_test(test_timeline_history),
        cmocka_unit_test(test_lost_connection),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
