/* pg/control.h: pg_control of each known version, damage, and data directories. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "pg/control.h"
#include "walbuild.h"

static uint8_t file[CONTROL_FILE_SIZE];
static char dir[] = "/tmp/test_control.XXXXXX";

static void seal(uint32_t version)
{
    size_t end = version >= 1800 ? 292 : 288;
    put32(file + end, crc32c_portable(0, file, end));
}

static void make_file(uint32_t version, uint32_t catversion)
{
    memset(file, 0, sizeof(file));
    put64(file, BUILD_SYSID);
    put32(file + 8, version);
    put32(file + 12, catversion);
    put32(file + 16, 6);
    put64(file + 24, 1795230000);
    put64(file + 32, 0x3000060);
    put64(file + 40, 0x3000028);
    put32(file + 48, 2);
    put64(file + 104, 1795229000);
    put64(file + 136, 0x4000000);
    put32(file + 144, 1);
    put64(file + 152, 0x5000000);
    put64(file + 160, 0x6000000);
    static const uint32_t ints[][2] = {{172, 1}, {180, 100},    {184, 8},    {188, 10},
                                       {192, 5}, {196, 64},     {216, 8192}, {224, 8192},
                                       {252, 1}, {228, 1 << 24}};
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++)
        put32(file + ints[i][0], ints[i][1]);
    seal(version);
}

static void test_fields(void **state)
{
    (void)state;
    ControlFile c;
    Error err;
    make_file(1300, 202209061);
    assert_true(control_parse(file, sizeof(file), &c, &err));
    assert_true(c.sysid == BUILD_SYSID);
    assert_int_equal(c.major, 15);
    assert_int_equal(c.state, CONTROL_IN_PRODUCTION);
    assert_string_equal(control_state_text(c.state), "in production");
    assert_string_equal(control_state_text((ControlState)77), "unknown");
    assert_true(c.time == 1795230000 && c.checkpoint_time == 1795229000);
    assert_true(c.checkpoint == 0x3000060 && c.redo == 0x3000028);
    assert_int_equal(c.tli, 2);
    assert_true(c.min_recovery == 0x4000000 && c.min_recovery_tli == 1);
    assert_true(c.backup_start == 0x5000000 && c.backup_end == 0x6000000);
    assert_int_equal(c.wal_level, 1);
    assert_int_equal(c.max_connections, 100);
    assert_int_equal(c.max_worker_processes, 8);
    assert_int_equal(c.max_wal_senders, 10);
    assert_int_equal(c.max_prepared_transactions, 5);
    assert_int_equal(c.max_locks_per_transaction, 64);
    assert_int_equal(c.blcksz, 8192);
    assert_int_equal(c.wal_blcksz, 8192);
    assert_int_equal(c.wal_segment_size, 1 << 24);
    assert_true(c.checksums);
}

static void test_versions(void **state)
{
    (void)state;
    static const uint32_t known[][3] = {{1300, 202007201, 13}, {1300, 202107181, 14},
                                        {1300, 202307071, 16}, {1300, 202301011, 0},
                                        {1700, 202406281, 17}, {1800, 202506291, 18}};
    ControlFile c;
    Error err;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        make_file(known[i][0], known[i][1]);
        assert_true(control_parse(file, sizeof(file), &c, &err));
        assert_int_equal(c.major, known[i][2]);
        assert_true(control_parse(file, 296, &c, &err));
    }
}

static void refused(size_t len, ErrorCode code, const char *part)
{
    ControlFile c;
    Error err = {0};
    assert_false(control_parse(file, len, &c, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part))
        fail_msg("message: %s", err.message);
}

static void test_refused(void **state)
{
    (void)state;
    make_file(1300, 202209061);
    refused(0, ERR_DAMAGED, "only 0 bytes");
    refused(291, ERR_DAMAGED, "only 291 bytes");
    file[100] ^= 1;
    refused(sizeof(file), ERR_DAMAGED, "checksum");
    make_file(1300, 202209061);
    put32(file + 228, 1000);
    seal(1300);
    refused(sizeof(file), ERR_DAMAGED, "segment size");
    make_file(1300, 202209061);
    put64(file, 0);
    seal(1300);
    refused(sizeof(file), ERR_DAMAGED, "identifier");
    make_file(1902, 202609061);
    refused(sizeof(file), ERR_USAGE, "version 1902");
    make_file(0, 0);
    refused(sizeof(file), ERR_USAGE, "version 0");
    make_file(1300u << 16, 202209061);
    refused(sizeof(file), ERR_USAGE, "big-endian");
    /* the checksum of 18 stands elsewhere */
    make_file(1300, 202209061);
    put32(file + 8, 1800);
    refused(sizeof(file), ERR_DAMAGED, "checksum");
}

static void store(const char *name, const void *data, size_t len)
{
    Error err;
    char *path = fs_join(dir, name);
    assert_true(fs_write_file(path, data, len, 0600, &err));
    free(path);
}

static void test_directory(void **state)
{
    (void)state;
    ControlFile c;
    Error err = {0};
    int major = 0;
    assert_false(control_read(dir, &c, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_false(pgversion_read(dir, &major, &err));
    assert_int_equal(err.code, ERR_USAGE);
    make_file(1300, 202209061);
    store("global/pg_control", file, sizeof(file));
    assert_true(control_read(dir, &c, &err));
    assert_int_equal(c.major, 15);
    file[0] ^= 1;
    store("global/pg_control", file, sizeof(file));
    assert_false(control_read(dir, &c, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_non_null(strstr(err.message, dir));
}

static void test_pgversion(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int major;
        ErrorCode code;
    } cases[] = {
        {"15\n", 15, ERR_NONE},  {"18", 18, ERR_NONE},      {"13\n", 13, ERR_NONE},
        {"12\n", 0, ERR_USAGE},  {"9.6\n", 0, ERR_USAGE},   {"", 0, ERR_DAMAGED},
        {"x\n", 0, ERR_DAMAGED}, {"15x\n", 0, ERR_DAMAGED}, {"99999999999\n", 0, ERR_DAMAGED},
        {"19.\n", 0, ERR_USAGE}, {"\n", 0, ERR_DAMAGED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int major = 0;
        Error err = {0};
        store("PG_VERSION", cases[i].text, strlen(cases[i].text));
        assert_int_equal(pgversion_read(dir, &major, &err), cases[i].code == ERR_NONE);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(major, cases[i].major);
    }
}

static int make_dir(void **state)
{
    (void)state;
    char path[64];
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/global", dir);
    return mkdir(path, 0700);
}

static int remove_dir(void **state)
{
    (void)state;
    Error err;
    return fs_empty_dir(dir, &err) && rmdir(dir) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_directory),
        cmocka_unit_test(test_pgversion),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
