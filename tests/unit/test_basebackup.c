#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "fake_pg.h"
#include "pg/basebackup_private.h"

/* --- the command --- */

static void expect_command(const BaseBackupOptions *o, int version, const char *want)
{
    Buf b = BUF_INIT;
    Error err = {0};
    assert_true(basebackup_command(o, version, &b, &err));
    assert_string_equal(b.data, want);
    buf_free(&b);
}

static void test_command_of_13_and_14(void **state)
{
    (void)state;
    BaseBackupOptions o = {.label = "a"};
    expect_command(&o, 130000,
                   "BASE_BACKUP LABEL 'a' PROGRESS NOWAIT TABLESPACE_MAP "
                   "MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'");
    o = (BaseBackupOptions){.label = "it's",
                            .fast_checkpoint = true,
                            .max_rate = 32,
                            .no_verify_checksums = true,
                            .manifest_hash = "SHA256",
                            .wait = true};
    expect_command(&o, 140023,
                   "BASE_BACKUP LABEL 'it''s' PROGRESS FAST MAX_RATE 32 TABLESPACE_MAP "
                   "NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'");
}

static void test_command_of_15_and_later(void **state)
{
    (void)state;
    BaseBackupOptions o = {.label = "\\'\"E'"};
    expect_command(&o, 150000,
                   "BASE_BACKUP (LABEL '\\''\"E''', PROGRESS true, CHECKPOINT 'spread', WAL false, "
                   "WAIT false, TABLESPACE_MAP true, VERIFY_CHECKSUMS true, MANIFEST 'yes', "
                   "MANIFEST_CHECKSUMS 'CRC32C')");
    o = (BaseBackupOptions){.label = "",
                            .fast_checkpoint = true,
                            .max_rate = 1048576,
                            .no_verify_checksums = true,
                            .manifest_hash = "NONE",
                            .wait = true};
    expect_command(&o, 190000,
                   "BASE_BACKUP (LABEL '', PROGRESS true, CHECKPOINT 'fast', WAL false, WAIT true, "
                   "MAX_RATE 1048576, TABLESPACE_MAP true, VERIFY_CHECKSUMS false, MANIFEST 'yes', "
                   "MANIFEST_CHECKSUMS 'NONE')");
}

static void test_command_refusals(void **state)
{
    (void)state;
    char long_label[BASEBACKUP_LABEL_MAX + 2];
    memset(long_label, 'x', sizeof(long_label) - 1);
    long_label[sizeof(long_label) - 1] = '\0';
    const BaseBackupOptions bad[] = {
        {.label = "a\nb"},
        {.label = "a\x7f"},
        {.label = "\x1b[0m"},
        {.label = long_label},
        {.label = "a", .max_rate = 31},
        {.label = "a", .max_rate = 1048577},
        {.label = "a", .manifest_hash = "MD5"},
        {.label = "a", .manifest_hash = "crc32c"},
        {.label = "a", .manifest_hash = "'"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Buf b = BUF_INIT;
        Error err = {0};
        assert_false(basebackup_command(&bad[i], 150000, &b, &err));
        assert_int_equal(err.code, ERR_USAGE);
        assert_int_equal(b.len, 0);
        buf_free(&b);
    }
}

static void test_bad_block_texts(void **state)
{
    (void)state;
    char *file;
    uint32_t block;
    assert_true(
        basebackup_parse_bad_block("checksum verification failed in file \"./base/5/16392\", "
                                   "block 4294967295: calculated 1 but expected 2",
                                   &file, &block));
    assert_string_equal(file, "base/5/16392");
    assert_true(block == UINT32_MAX);
    free(file);
    assert_true(basebackup_parse_bad_block("could not verify checksum in file \"f\", block 0: read "
                                           "buffer size 5 and page size 8192 differ",
                                           &file, &block));
    assert_string_equal(file, "f");
    free(file);
    static const char *const none[] = {
        "",
        "checksum",
        "checksum verification failed in file \"",
        "checksum verification failed in file \"\", block 1",
        "checksum verification failed in file \"a\", block ",
        "checksum verification failed in file \"a\", block x",
        "checksum verification failed in file \"a\", block -1",
        "checksum verification failed in file \"a\", block 4294967296",
        "checksum verification failed in file \"a\", block 99999999999999999999999",
        "further checksum verification failures in file \"a\" will not be reported",
        "could not read in file \"a\", block 1",
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(basebackup_parse_bad_block(none[i], &file, &block));
}

static void test_warnings_are_bounded(void **state)
{
    (void)state;
    BaseBackupResult r = {.warnings = BUF_INIT};
    for (int i = 0; i < BASEBACKUP_WARNINGS_MAX + 50; i++)
        basebackup_notice(
            &r, "WARNING", "01000",
            "checksum verification failed in file \"a\",\nblock 1, or: in file \"a\", "
            "block 7: x");
    basebackup_notice(&r, "NOTICE", "00000", "not counted");
    assert_int_equal(r.warning_count, BASEBACKUP_WARNINGS_MAX + 50);
    assert_true(r.bad_block_count <= BASEBACKUP_WARNINGS_MAX);
    size_t lines = 0;
    for (size_t i = 0; i < r.warnings.len; i++)
        lines += r.warnings.data[i] == '\n';
    assert_int_equal(lines, BASEBACKUP_WARNINGS_MAX);
    basebackup_result_free(&r);
}

/* --- the conversation --- */

typedef struct Trace {
    Buf text;
    const char *fail_at; /* the callback of this name fails */
} Trace;

static bool note(Trace *t, const char *name, Error *err)
{
    if (t->fail_at && !strcmp(t->fail_at, name))
        return error_set(err, ERR_REPO, "the callback's own error");
    return true;
}

static bool on_begin(void *ctx, const BaseBackupStart *s, Error *err)
{
    Trace *t = ctx;
    buf_printf(&t->text, "begin %llX %u %llu", (unsigned long long)s->lsn, s->tli,
               (unsigned long long)s->total_kib);
    for (size_t i = 0; i < s->tablespace_count; i++)
        buf_printf(&t->text, " [%u %s %llu]", s->tablespaces[i].oid, s->tablespaces[i].location,
                   (unsigned long long)s->tablespaces[i].size_kib);
    buf_putc(&t->text, '\n');
    return note(t, "begin", err);
}

static bool on_archive_begin(void *ctx, uint32_t oid, const char *location, Error *err)
{
    Trace *t = ctx;
    buf_printf(&t->text, "archive %u %s\n", oid, location);
    return note(t, "archive_begin", err);
}

static bool on_data(void *ctx, const void *data, size_t len, Error *err)
{
    Trace *t = ctx;
    const char *p = data;
    bool zeros = len > 0;
    for (size_t i = 0; i < len; i++)
        zeros = zeros && p[i] == 0;
    if (zeros)
        buf_printf(&t->text, "zeros %zu\n", len);
    else
        buf_printf(&t->text, "data %.*s\n", (int)len, p);
    return note(t, "data", err);
}

static bool on_archive_end(void *ctx, Error *err)
{
    Trace *t = ctx;
    buf_puts(&t->text, "end\n");
    return note(t, "archive_end", err);
}

static bool on_manifest(void *ctx, const void *data, size_t len, Error *err)
{
    Trace *t = ctx;
    buf_printf(&t->text, "manifest %.*s\n", (int)len, (const char *)data);
    return note(t, "manifest", err);
}

static void position(Buf *b, const char *lsn, const char *tli)
{
    fake_columns(b, 2);
    fake_row(b, 2, (const char *const[]){lsn, tli});
    fake_complete(b);
}

static void spaces(Buf *b)
{
    fake_columns(b, 3);
    fake_row(b, 3, (const char *const[]){"16389", "/srv/ts", "100"});
    fake_row(b, 3, (const char *const[]){NULL, NULL, "2000"});
    fake_complete(b);
}

static void start(Buf *b)
{
    position(b, "0/2000028", "1");
    spaces(b);
}

static void end(Buf *b)
{
    position(b, "0/02000100", "1");
}

static void copy(Buf *b, const char *data)
{
    fake_message(b, 'd', data, strlen(data));
}

#define COPY_BYTES(b, literal) fake_message((b), 'd', (literal), sizeof(literal) - 1)
#define NEW_TS(b)              COPY_BYTES(b, "n16389.tar\0/srv/ts\0")
#define NEW_BASE(b)            COPY_BYTES(b, "nbase.tar\0\0")

static void copy_done(Buf *b)
{
    fake_message(b, 'c', "", 0);
}

static void typed_archives(Buf *b)
{
    fake_copy_out(b);
    NEW_TS(b);
    copy(b, "dtar");
    COPY_BYTES(b, "p\0\0\0\0\0\0\0\1");
    NEW_BASE(b);
    copy(b, "dbase");
    COPY_BYTES(b, "p\0\0\0\0\0\0\0\1");
}

static void typed_backup(Buf *b)
{
    start(b);
    typed_archives(b);
    copy(b, "m");
    copy(b, "d{}");
    copy_done(b);
    end(b);
}

static void plain_backup(Buf *b)
{
    static const char *const parts[] = {"tar", "base", "{}"};
    start(b);
    for (int i = 0; i < 3; i++) {
        fake_copy_out(b);
        copy(b, parts[i]);
        copy_done(b);
    }
    end(b);
}

static bool run_fake(FakePg *f, Trace *t, BaseBackupResult *r, Error *err)
{
    const BaseBackupOptions o = {.label = "l"};
    const BaseBackupSink sink = {t,       on_begin,       on_archive_begin,
                                 on_data, on_archive_end, on_manifest};
    assert_true(fake_start(f));
    PgConn *c = pgconn_open_replication(f->conninfo, err);
    if (!c)
        fail_msg("%s", err->message);
    bool ok = basebackup_run(c, &o, &sink, r, err);
    pgconn_close(c);
    return ok;
}

static const char whole[] = "begin 2000028 1 2100 [16389 /srv/ts 100] [0  2000]\n"
                            "archive 16389 /srv/ts\ndata tar\nend\n"
                            "archive 0 \ndata base\nend\nmanifest {}\n";
static const char whole_zeros[] = "begin 2000028 1 2100 [16389 /srv/ts 100] [0  2000]\n"
                                  "archive 16389 /srv/ts\ndata tar\nzeros 1024\nend\n"
                                  "archive 0 \ndata base\nzeros 1024\nend\nmanifest {}\n";

static void succeeds(FakePg *f, const char *trace, bool checksum_failed)
{
    Trace t = {.text = BUF_INIT};
    BaseBackupResult r;
    Error err = {0};
    if (!run_fake(f, &t, &r, &err))
        fail_msg("%s", err.message);
    fake_stop(f);
    assert_string_equal(t.text.data, trace);
    assert_true(r.end_lsn == 0x2000100 && r.end_tli == 1);
    assert_int_equal(r.checksum_failed, checksum_failed);
    basebackup_result_free(&r);
    buf_free(&t.text);
}

static void test_whole_backups(void **state)
{
    (void)state;
    FakePg f15 = {.version = "15.20"};
    typed_backup(&f15.reply);
    fake_complete(&f15.reply);
    succeeds(&f15, whole, false);

    FakePg f13 = {.version = "13.23"};
    plain_backup(&f13.reply);
    fake_complete(&f13.reply);
    succeeds(&f13, whole_zeros, false);
}

static void test_bad_pages_are_told_at_the_end(void **state)
{
    (void)state;
    static const char *const versions[] = {"13.23", "18.1"};
    for (int i = 0; i < 2; i++) {
        FakePg f = {.version = versions[i]};
        fake_error(&f.reply, 'N', "WARNING", "01000",
                   "checksum verification failed in file \"./base/1/2\", block 3: x");
        if (i)
            typed_backup(&f.reply);
        else
            plain_backup(&f.reply);
        fake_error(&f.reply, 'E', "ERROR", "XX001",
                   "checksum verification failure during base backup");
        succeeds(&f, i ? whole : whole_zeros, true);
    }
}

/* Runs what is scripted in `f`: it must fail with ERR_PG and `why`, and never end an archive more
 * often than `ends` times. */
static void fails(FakePg *f, const char *why, int ends)
{
    Trace t = {.text = BUF_INIT};
    BaseBackupResult r;
    Error err = {0};
    assert_false(run_fake(f, &t, &r, &err));
    fake_stop(f);
    assert_int_equal(err.code, ERR_PG);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    assert_null(strstr(err.message, "hidden"));
    int seen = 0;
    for (const char *p = t.text.data; p && (p = strstr(p, "end\n")); p++)
        seen++;
    assert_int_equal(seen, ends);
    basebackup_result_free(&r);
    buf_free(&t.text);
}

static void test_late_errors_fail(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1"};
    typed_backup(&f.reply);
    fake_error(&f.reply, 'E', "ERROR", "XX000", "something else");
    fails(&f, "something else", 2);

    f = (FakePg){.version = "15.1"};
    typed_backup(&f.reply);
    fails(&f, "the backup's end is missing", 2);

    f = (FakePg){.version = "15.1", .then = FAKE_CLOSE};
    typed_backup(&f.reply);
    fails(&f, "server closed the connection", 2);

    f = (FakePg){.version = "15.1"};
    typed_backup(&f.reply);
    fake_complete(&f.reply);
    fake_error(&f.reply, 'E', "ERROR", "XX001", "twice");
    fails(&f, "twice", 2);
}

static void test_errors_inside_the_copy(void **state)
{
    (void)state;
    /* 13: an archive that an error cut short is not ended. */
    FakePg f = {.version = "13.1"};
    start(&f.reply);
    fake_copy_out(&f.reply);
    copy(&f.reply, "tar");
    fake_error(&f.reply, 'E', "ERROR", "XX000", "the standby was promoted during online backup");
    fails(&f, "promoted", 0);

    f = (FakePg){.version = "15.1"};
    start(&f.reply);
    typed_archives(&f.reply);
    fake_error(&f.reply, 'E', "ERROR", "XX001", "an early XX001 is no end");
    fails(&f, "an early XX001", 1);

    f = (FakePg){.version = "15.1", .then = FAKE_CLOSE};
    start(&f.reply);
    typed_archives(&f.reply);
    fails(&f, "server closed the connection", 1);

    f = (FakePg){.version = "14.1", .then = FAKE_CLOSE};
    start(&f.reply);
    fake_copy_out(&f.reply);
    copy(&f.reply, "tar");
    fails(&f, "server closed the connection", 0);
}

static void test_missing_parts(void **state)
{
    (void)state;
    /* No manifest. */
    FakePg f = {.version = "15.1"};
    start(&f.reply);
    typed_archives(&f.reply);
    copy_done(&f.reply);
    end(&f.reply);
    fake_complete(&f.reply);
    fails(&f, "missing", 1);

    /* 13: no manifest. */
    f = (FakePg){.version = "13.1"};
    start(&f.reply);
    for (int i = 0; i < 2; i++) {
        fake_copy_out(&f.reply);
        copy(&f.reply, "tar");
        copy_done(&f.reply);
    }
    end(&f.reply);
    fake_complete(&f.reply);
    fails(&f, "no COPY where", 1);

    /* No end position. */
    f = (FakePg){.version = "15.1"};
    start(&f.reply);
    typed_archives(&f.reply);
    copy(&f.reply, "m");
    copy_done(&f.reply);
    fake_complete(&f.reply);
    fails(&f, "the end position", 2);

    /* An end before the start. */
    f = (FakePg){.version = "15.1"};
    start(&f.reply);
    typed_archives(&f.reply);
    copy(&f.reply, "m");
    copy_done(&f.reply);
    position(&f.reply, "0/1", "1");
    fake_complete(&f.reply);
    fails(&f, "ends before its start", 2);
}

/* After the start and 15's COPY OUT: one message that must not come there. */
static void refused_message(const char *data, size_t len, bool after_archives, const char *why)
{
    FakePg f = {.version = "15.1", .then = FAKE_STALL};
    start(&f.reply);
    if (after_archives)
        typed_archives(&f.reply);
    else
        fake_copy_out(&f.reply);
    fake_message(&f.reply, 'd', data, len);
    fails(&f, why, after_archives);
}

#define REFUSED(after, literal, why) refused_message(literal, sizeof(literal) - 1, after, why)

static void test_messages_out_of_order(void **state)
{
    (void)state;
    REFUSED(false, "dtar", "before an archive");
    REFUSED(false, "m", "out of order");
    REFUSED(false, "nbase.tar\0\0", "not the next");
    REFUSED(false, "n16389.tar\0/srv/other\0", "not the next");
    REFUSED(false, "n16389.tar\0/srv/ts", "not the next");
    REFUSED(false, "n16389.tar\0/srv/ts\0x", "not the next");
    REFUSED(false, "n16389.tar.gz\0/srv/ts\0", "not the next");
    REFUSED(false, "n", "not the next");
    REFUSED(false, "p\0\0\0\0\0\0\0", "progress");
    REFUSED(false, "x", "unknown type");
    REFUSED(true, "mx", "out of order");
}

static void test_more_archives_than_announced(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1", .then = FAKE_STALL};
    start(&f.reply);
    typed_archives(&f.reply);
    NEW_BASE(&f.reply);
    fails(&f, "more archives", 2);

    f = (FakePg){.version = "15.1", .then = FAKE_STALL};
    start(&f.reply);
    typed_archives(&f.reply);
    copy(&f.reply, "m");
    NEW_BASE(&f.reply);
    fails(&f, "behind the manifest", 2);
}

static void refused_spaces(size_t rows, const char *const (*values)[3], const char *why)
{
    FakePg f = {.version = "15.1", .then = FAKE_STALL};
    position(&f.reply, "0/2000028", "1");
    fake_columns(&f.reply, 3);
    for (size_t i = 0; i < rows; i++)
        fake_row(&f.reply, 3, values[i]);
    fake_complete(&f.reply);
    fails(&f, why, 0);
}

static void test_tablespace_lists(void **state)
{
    (void)state;
    refused_spaces(0, NULL, "data directory");
    refused_spaces(1, (const char *const[][3]){{"1", "/a", "1"}}, "data directory");
    refused_spaces(2, (const char *const[][3]){{NULL, NULL, "1"}, {NULL, NULL, "1"}}, "twice");
    refused_spaces(2, (const char *const[][3]){{"5", "/a", "1"}, {"5", "/b", "1"}}, "twice");
    refused_spaces(1, (const char *const[][3]){{"0", "/a", "1"}}, "list of tablespaces");
    refused_spaces(1, (const char *const[][3]){{"-1", "/a", "1"}}, "list of tablespaces");
    refused_spaces(1, (const char *const[][3]){{"4294967296", "/a", "1"}}, "list of tablespaces");
    refused_spaces(1, (const char *const[][3]){{"7", NULL, "1"}}, "list of tablespaces");
    refused_spaces(1, (const char *const[][3]){{NULL, "/a", "1"}}, "list of tablespaces");
    refused_spaces(1, (const char *const[][3]){{NULL, NULL, "x"}}, "list of tablespaces");
}

static void test_start_positions(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"2000028", "1"},   {"0/x", "1"}, {"0/2000028", "0"},
                                         {"0/2000028", "x"}, {NULL, "1"},  {"0/1", NULL},
                                         {"", "1"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        FakePg f = {.version = "15.1", .then = FAKE_STALL};
        position(&f.reply, bad[i][0], bad[i][1]);
        fails(&f, "the start position", 0);
    }
}

static void test_callback_errors_are_passed_on(void **state)
{
    (void)state;
    static const char *const names[] = {"begin", "archive_begin", "data", "archive_end",
                                        "manifest"};
    for (int i = 0; i < 10; i++) {
        FakePg f = {.version = i < 5 ? "15.1" : "13.1", .then = FAKE_STALL};
        Trace t = {.text = BUF_INIT, .fail_at = names[i % 5]};
        BaseBackupResult r;
        Error err = {0};
        if (i < 5)
            typed_backup(&f.reply);
        else
            plain_backup(&f.reply);
        assert_false(run_fake(&f, &t, &r, &err));
        fake_stop(&f);
        assert_int_equal(err.code, ERR_REPO);
        assert_true(f.cancelled);
        basebackup_result_free(&r);
        buf_free(&t.text);
    }
}

static void *send_sigterm(void *arg)
{
    (void)arg;
    usleep(300000);
    kill(getpid(), SIGTERM);
    return NULL;
}

/* The last test: the signal stays set. */
static void test_a_signal_ends_a_stalled_backup(void **state)
{
    (void)state;
    FakePg f = {.version = "15.1", .then = FAKE_STALL};
    Trace t = {.text = BUF_INIT};
    BaseBackupResult r;
    Error err = {0};
    pthread_t thread;
    interrupt_install();
    start(&f.reply);
    typed_archives(&f.reply);
    assert_int_equal(pthread_create(&thread, NULL, send_sigterm, NULL), 0);
    assert_false(run_fake(&f, &t, &r, &err));
    pthread_join(thread, NULL);
    fake_stop(&f);
    assert_int_equal(err.code, ERR_LOCKED);
    assert_true(f.cancelled);
    basebackup_result_free(&r);
    buf_free(&t.text);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_of_13_and_14),
        cmocka_unit_test(test_command_of_15_and_later),
        cmocka_unit_test(test_command_refusals),
        cmocka_unit_test(test_bad_block_texts),
        cmocka_unit_test(test_warnings_are_bounded),
        cmocka_unit_test(test_whole_backups),
        cmocka_unit_test(test_bad_pages_are_told_at_the_end),
        cmocka_unit_test(test_late_errors_fail),
        cmocka_unit_test(test_errors_inside_the_copy),
        cmocka_unit_test(test_missing_parts),
        cmocka_unit_test(test_messages_out_of_order),
        cmocka_unit_test(test_more_archives_than_announced),
        cmocka_unit_test(test_tablespace_lists),
        cmocka_unit_test(test_start_positions),
        cmocka_unit_test(test_callback_errors_are_passed_on),
        cmocka_unit_test(test_a_signal_ends_a_stalled_backup),
    };
    return cmocka_run_group_tests_name("basebackup", tests, NULL, NULL);
}
