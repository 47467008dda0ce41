/*
 * control.h: pg_control and PG_VERSION, the identity and state of a data directory.
 *
 * Source: src/include/catalog/pg_control.h as compiled on 64-bit little-endian machines: versions
 * 1300 (PostgreSQL 13 to 16), 1700 and 1800; another one moves fields and is refused. Bytes are
 * hostile: length, checksum and sizes are checked. Nothing is owned; thread-safe.
 */
#ifndef PITR_PG_CONTROL_H
#define PITR_PG_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Size of the file on disk; what counts are its first 296 bytes. */
#define CONTROL_FILE_SIZE 8192

/* DBState. */
typedef enum ControlState {
    CONTROL_STARTUP = 0,
    CONTROL_SHUT_DOWN = 1,
    CONTROL_SHUT_DOWN_IN_RECOVERY = 2,
    CONTROL_SHUTTING_DOWN = 3,
    CONTROL_IN_CRASH_RECOVERY = 4,
    CONTROL_IN_ARCHIVE_RECOVERY = 5,
    CONTROL_IN_PRODUCTION = 6,
} ControlState;

typedef struct ControlFile {
    uint64_t sysid;
    uint32_t version; /* of pg_control: 1300, 1700, 1800 */
    uint32_t catversion;
    int major; /* 0 if the catalogue version is not that of a release: see pgversion_read() */
    ControlState state;
    int64_t time;            /* last change; seconds since 1970 */
    uint64_t checkpoint;     /* LSN of the last checkpoint record */
    uint64_t redo;           /* where its replay begins */
    uint32_t tli;            /* its timeline */
    int64_t checkpoint_time; /* seconds since 1970 */
    uint64_t min_recovery;   /* WAL must be replayed up to here; 0: nothing asked */
    uint32_t min_recovery_tli;
    uint64_t backup_start; /* not 0: restored from a backup whose end is not reached yet */
    uint64_t backup_end;
    int wal_level; /* 0 minimal, 1 replica, 2 logical */
    int max_connections;
    int max_worker_processes;
    int max_wal_senders;
    int max_prepared_transactions;
    int max_locks_per_transaction;
    uint32_t blcksz;           /* bytes */
    uint32_t wal_blcksz;       /* bytes */
    uint32_t wal_segment_size; /* bytes; a power of two from 1 MiB to 1 GiB */
    bool checksums;
} ControlFile;

/* Reads the content of a pg_control file. ERR_DAMAGED if it is too short, its checksum is wrong or
 * a size is impossible; ERR_USAGE for a version that is not known. */
bool control_parse(const void *data, size_t len, ControlFile *out, Error *err);

/* Reads <datadir>/global/pg_control. A wrong checksum is looked at twice, since a running server
 * may be writing the file. Errors of control_parse(), with the path; ERR_USAGE if there is no such
 * file. */
bool control_read(const char *datadir, ControlFile *out, Error *err);

/* The major version in <datadir>/PG_VERSION. ERR_USAGE if the file is missing or the version is not
 * 13 or later; ERR_DAMAGED if it holds no number. */
bool pgversion_read(const char *datadir, int *major, Error *err);

/* "in production", "shut down" … as pg_controldata says; "unknown" for other numbers. */
const char *control_state_text(ControlState state);

#endif
