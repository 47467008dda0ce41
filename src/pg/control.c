#include "pg/control.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/fs.h"
#include "pg/crc32c.h"
#include "pg/le.h"
#include "pg/walname.h"

#define OLDEST_MAJOR 13

/* Where the checksum stands, and so how many bytes are needed. 18 added a field before it. */
static size_t crc_offset(uint32_t version)
{
    switch (version) {
    case 1300:
    case 1700:
        return 288;
    case 1800:
        return 292;
    default:
        return 0;
    }
}

/* CATALOG_VERSION_NO in src/include/catalog/catversion.h of each release; 17 and 18 have a control
 * file version of their own. */
static int major_of(uint32_t version, uint32_t catversion)
{
    if (version == 1700)
        return 17;
    if (version == 1800)
        return 18;
    switch (catversion) {
    case 202007201:
        return 13;
    case 202107181:
        return 14;
    case 202209061:
        return 15;
    case 202307071:
        return 16;
    default:
        return 0;
    }
}

static bool check_version(const uint8_t *p, Error *err)
{
    uint32_t version = le32(p + 8);
    if (crc_offset(version) != 0)
        return true;
    /* Small in the upper half only: the file of a machine with the other byte order. */
    if (version != 0 && (version & 0xFFFF) == 0)
        return error_set(err, ERR_USAGE, "pg_control was written by a big-endian machine");
    error_set(err, ERR_USAGE, "pg_control has version %u, which is not known", version);
    return error_hint(err, "PostgreSQL 13 to 18 are supported");
}

static void fill(const uint8_t *p, ControlFile *out)
{
    out->sysid = le64(p);
    out->version = le32(p + 8);
    out->catversion = le32(p + 12);
    out->major = major_of(out->version, out->catversion);
    out->state = (ControlState)le32(p + 16);
    out->time = (int64_t)le64(p + 24);
    out->checkpoint = le64(p + 32);
    out->redo = le64(p + 40);
    out->tli = le32(p + 48);
    out->checkpoint_time = (int64_t)le64(p + 104);
    out->min_recovery = le64(p + 136);
    out->min_recovery_tli = le32(p + 144);
    out->backup_start = le64(p + 152);
    out->backup_end = le64(p + 160);
    out->wal_level = (int)le32(p + 172);
    out->max_connections = (int)le32(p + 180);
    out->max_worker_processes = (int)le32(p + 184);
    out->max_wal_senders = (int)le32(p + 188);
    out->max_prepared_transactions = (int)le32(p + 192);
    out->max_locks_per_transaction = (int)le32(p + 196);
    out->blcksz = le32(p + 216);
    out->wal_blcksz = le32(p + 224);
    out->wal_segment_size = le32(p + 228);
    out->checksums = le32(p + 252) != 0;
}

bool control_parse(const void *data, size_t len, ControlFile *out, Error *err)
{
    const uint8_t *p = data;
    *out = (ControlFile){0};
    if (len < 16)
        return error_set(err, ERR_DAMAGED, "pg_control has only %zu bytes", len);
    if (!check_version(p, err))
        return false;
    size_t end = crc_offset(le32(p + 8));
    if (len < end + 4)
        return error_set(err, ERR_DAMAGED, "pg_control has only %zu bytes", len);
    if (crc32c(0, p, end) != le32(p + end))
        return error_set(err, ERR_DAMAGED, "pg_control has a wrong checksum");
    fill(p, out);
    if (out->sysid == 0)
        return error_set(err, ERR_DAMAGED, "pg_control has no system identifier");
    if (!wal_segsize_valid(out->wal_segment_size))
        return error_set(err, ERR_DAMAGED, "pg_control gives an impossible WAL segment size (%u)",
                         out->wal_segment_size);
    return true;
}

/* Reads a file of a data directory whole; one that is not there means a wrong directory. */
static bool read_small(const char *datadir, const char *name, size_t max, Buf *out, Error *err)
{
    char *path = fs_join(datadir, name);
    buf_init_max(out, max);
    bool ok = fs_read_file(path, out, err);
    if (!ok && err->code == ERR_NO) {
        error_set(err, ERR_USAGE, "%s is no data directory: it has no %s", datadir, name);
        error_hint(err, "give the directory that SHOW data_directory prints");
    }
    free(path);
    return ok;
}

bool control_read(const char *datadir, ControlFile *out, Error *err)
{
    for (int attempt = 1;; attempt++) {
        Buf b;
        bool have = read_small(datadir, "global/pg_control", 2 * CONTROL_FILE_SIZE, &b, err);
        bool ok = have && control_parse(b.data, b.len, out, err);
        buf_free(&b);
        if (ok)
            return true;
        if (have && err->code == ERR_DAMAGED && attempt == 1) {
            nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
            continue;
        }
        return have ? error_prefix(err, "%s/global", datadir) : false;
    }
}

bool pgversion_read(const char *datadir, int *major, Error *err)
{
    Buf b;
    if (!read_small(datadir, "PG_VERSION", 64, &b, err)) {
        buf_free(&b);
        return false;
    }
    /* "15\n"; before PostgreSQL 10 "9.6\n". */
    int n = 0;
    size_t i = 0;
    while (i < b.len && i < 4 && b.data[i] >= '0' && b.data[i] <= '9')
        n = n * 10 + (b.data[i++] - '0');
    bool old = i > 0 && i < b.len && b.data[i] == '.';
    bool number = i > 0 && (i == b.len || b.data[i] == '\n' || old);
    buf_free(&b);
    if (!number)
        return error_set(err, ERR_DAMAGED, "%s/PG_VERSION holds no version", datadir);
    if (old || n < OLDEST_MAJOR) {
        error_set(err, ERR_USAGE, "%s is of a PostgreSQL before %d", datadir, OLDEST_MAJOR);
        return error_hint(err, "PostgreSQL 13 to 18 are supported");
    }
    *major = n;
    return true;
}

const char *control_state_text(ControlState state)
{
    static const char *const text[] = {
        "starting up",       "shut down",           "shut down in recovery", "shutting down",
        "in crash recovery", "in archive recovery", "in production",
    };
    size_t i = (size_t)state;
    return i < sizeof(text) / sizeof(text[0]) ? text[i] : "unknown";
}
