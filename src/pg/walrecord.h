/*
 * walrecord.h: what a restore and a search need to know of a WAL record.
 *
 * Source: src/include/access/xlogrecord.h and DecodeXLogRecord in xlogreader.c (layout), xact.h and
 * xactdesc.c (commit, abort), pg_control.h, xlog_internal.h and xlogdesc.c (checkpoint, restore
 * point, end of recovery), dbcommands_xlog.h (drop database), heapam_xlog.h (in-place update); for
 * PostgreSQL 13 to 18, with what is known of 19. Nothing outside the record is read, whatever its
 * bytes say. Pure functions; thread-safe.
 */
#ifndef PITR_PG_WALRECORD_H
#define PITR_PG_WALRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pg/walreader.h"

typedef enum WalEventKind {
    WALEVENT_OTHER,           /* nothing of the following */
    WALEVENT_COMMIT,          /* xid, time, prepared */
    WALEVENT_ABORT,           /* xid, time, prepared */
    WALEVENT_CHECKPOINT,      /* time, redo, tli, prev_tli, shutdown */
    WALEVENT_RESTORE_POINT,   /* time, name */
    WALEVENT_END_OF_RECOVERY, /* time, tli, prev_tli */
    WALEVENT_DBASE_DROP,      /* db: its files are deleted when this is replayed */
    WALEVENT_SWITCH,          /* the rest of the segment is empty */
    WALEVENT_INPLACE,         /* relation: a heap row was overwritten outside of transactions */
} WalEventKind;

typedef struct WalRelation {
    uint32_t spc; /* tablespace OID */
    uint32_t db;  /* 0: shared */
    uint32_t rel; /* file number, not OID */
} WalRelation;

#define WALEVENT_NAME 64

typedef struct WalEvent {
    WalEventKind kind;
    uint32_t xid;  /* of the transaction that ended; a prepared one's own */
    bool prepared; /* COMMIT PREPARED, ROLLBACK PREPARED */
    int64_t time;  /* microseconds since 2000-01-01 00:00 UTC; a checkpoint's is whole seconds */
    uint64_t redo; /* where replay from this checkpoint begins */
    uint32_t tli;  /* of the checkpoint; after an end of recovery the new one */
    uint32_t prev_tli; /* the one before, if it just changed; else the same */
    bool shutdown;     /* a shutdown checkpoint, not one of a running server */
    uint32_t db;       /* OID */
    WalRelation relation;
    char name[WALEVENT_NAME]; /* always terminated */
} WalEvent;

/* The parts of a record that lie at known places. */
typedef struct WalLayout {
    const uint8_t *main; /* data of the resource manager; within the record */
    uint32_t main_len;
    bool has_block;       /* the record refers to at least one block */
    WalRelation relation; /* of the first one */
} WalLayout;

/* Walks the headers of a record of a server of `major`. False if they contradict each other or the
 * record's length. */
bool walrecord_layout(const WalRecord *record, int major, WalLayout *out);

/* Tells what a record means. Fields that the kind does not name are zero. False if the record is of
 * a kind that is told but its bytes do not fit; *out is then WALEVENT_OTHER. */
bool walrecord_decode(const WalRecord *record, int major, WalEvent *out);

#endif
