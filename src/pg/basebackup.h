/*
 * basebackup.h: BASE_BACKUP of servers 13 and newer, delivered through callbacks.
 *
 * Protocol: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP;
 * src/backend/backup/basebackup_copy.c (15 and later: one COPY with typed messages) and
 * src/backend/replication/basebackup.c of 13 and 14 (one COPY per tablespace, one for the manifest,
 * archives without their two zero blocks). The sink sees the same in both cases:
 *
 *     begin, (archive_begin, data…, archive_end) once per tablespace in the server's order,
 *     manifest…
 *
 * and every archive is a complete tar stream. WAL is not included. The results are read to the very
 * end: a backup whose last result reports bad page checksums (SQLSTATE XX001) is delivered whole
 * and marked in BaseBackupResult; any other error, also one at the end, fails the call.
 *
 * Errors: ERR_PG with the server's message, or for an answer that does not follow the protocol;
 * ERR_USAGE for options that the server would refuse; ERR_LOCKED after a signal; a callback's own.
 * After an error the connection is of no more use but to be closed.
 */
#ifndef PITR_PG_BASEBACKUP_H
#define PITR_PG_BASEBACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "pg/conn.h"

enum {
    BASEBACKUP_RATE_MIN = 32,
    BASEBACKUP_RATE_MAX = 1048576,
    BASEBACKUP_LABEL_MAX = 1024,
    BASEBACKUP_WARNINGS_MAX = 100,
};

typedef struct BaseBackupOptions {
    const char *label;         /* in backup_label; no control characters */
    bool fast_checkpoint;      /* false: spread */
    uint32_t max_rate;         /* kB/s, BASEBACKUP_RATE_MIN to _MAX; 0: no limit */
    bool no_verify_checksums;  /* the server shall not check pages */
    const char *manifest_hash; /* NULL: CRC32C; also NONE, SHA224, SHA256, SHA384, SHA512 */
    bool wait;                 /* the server waits until the WAL needed is archived */
} BaseBackupOptions;

typedef struct BaseBackupTablespace {
    uint32_t oid;         /* 0: the data directory itself */
    const char *location; /* absolute path on the server; "" for the data directory */
    uint64_t size_kib;    /* the server's estimate */
} BaseBackupTablespace;

typedef struct BaseBackupStart {
    uint64_t lsn;
    uint32_t tli;
    const BaseBackupTablespace *tablespaces; /* in the order of the archives; one has oid 0 */
    size_t tablespace_count;
    uint64_t total_kib;
} BaseBackupStart;

/* All are required. Pointers are valid during the call only; data comes in pieces of any size. */
typedef struct BaseBackupSink {
    void *ctx;
    bool (*begin)(void *ctx, const BaseBackupStart *start, Error *err);
    bool (*archive_begin)(void *ctx, uint32_t oid, const char *location, Error *err);
    bool (*data)(void *ctx, const void *data, size_t len, Error *err);
    bool (*archive_end)(void *ctx, Error *err);
    bool (*manifest)(void *ctx, const void *data, size_t len, Error *err);
} BaseBackupSink;

/* A page whose checksum is wrong, as far as the server's warnings could be read. */
typedef struct BaseBackupBadBlock {
    char *file; /* relative to the data directory */
    uint32_t block;
} BaseBackupBadBlock;

typedef struct BaseBackupResult {
    uint64_t end_lsn;
    uint32_t end_tli; /* above the start's where a standby followed its primary's promotion */
    bool checksum_failed;
    uint64_t warning_count; /* all that came */
    Buf warnings;           /* the first BASEBACKUP_WARNINGS_MAX, one line each */
    BaseBackupBadBlock *bad_blocks;
    size_t bad_block_count; /* at most BASEBACKUP_WARNINGS_MAX; the server names few per file */
} BaseBackupResult;

/* Appends the BASE_BACKUP command for a server of `version` (as 150020). Pure. */
bool basebackup_command(const BaseBackupOptions *options, int version, Buf *out, Error *err);

/* Takes a backup. `result` is filled in every case and freed with basebackup_result_free(). */
bool basebackup_run(PgConn *c, const BaseBackupOptions *options, const BaseBackupSink *sink,
                    BaseBackupResult *result, Error *err);

void basebackup_result_free(BaseBackupResult *result);

#endif
