/*
 * walreader.h: reads WAL records in order, from segments that a callback streams.
 *
 *     WalReader *r = walreader_new(&source, segsize, sysid);
 *     if (walreader_seek(r, segno, err))
 *         while ((next = walreader_next(r, &record, err)) == WALNEXT_RECORD)
 *             use(&record);
 *     walreader_free(r);
 *
 * Source: src/backend/access/transam/xlogreader.c (XLogDecodeNextRecord, XLogFindNextRecord,
 * XLogReaderValidatePageHeader), the same rules as in recovery, for PostgreSQL 13 to 18 and 19 as
 * far as known. What recovery would take for the end of WAL is the end here. Pages are read once,
 * forwards, so memory is one page plus the longest record that crosses pages, whatever the segment
 * size; the buffer of such a record grows only as its bytes arrive.
 *
 * The reader knows no timelines: which file holds a segment is the source's choice. Where a
 * timeline was left within a segment, that is the child's file, which begins as a copy of its
 * parent's. One owner, one thread.
 */
#ifndef PITR_PG_WALREADER_H
#define PITR_PG_WALREADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Opens one segment at a time and reads it from its beginning. `ctx` stays the caller's. */
typedef struct WalSource {
    void *ctx;
    /* False with ERR_NO: the segment is not there. Other codes: it can't be told or read. */
    bool (*open)(void *ctx, uint64_t segno, Error *err);
    /* Up to `len` bytes, fewer only at the end of the segment. */
    bool (*read)(void *ctx, void *buf, size_t len, size_t *got, Error *err);
    /* Called once for each successful open, before the next one. */
    void (*close)(void *ctx);
} WalSource;

/* Valid until the next call on the reader. */
typedef struct WalRecord {
    uint64_t lsn;     /* of its first byte */
    uint64_t end_lsn; /* where the next one may begin: 8-aligned, page headers not yet skipped;
                         after a switch record the start of the next segment */
    uint64_t prev;    /* LSN of the record before */
    uint32_t tli;     /* timeline of the page that it begins on */
    uint32_t xid;     /* 0: none */
    uint8_t rmid;     /* resource manager, src/include/access/rmgrlist.h */
    uint8_t info;
    const uint8_t *data; /* the whole record, its 24 bytes of header included; not aligned */
    uint32_t len;
} WalRecord;

#define WALRECORD_HEADER 24

typedef enum WalNext {
    WALNEXT_RECORD,
    WALNEXT_END,   /* no valid record follows: see walreader_end() */
    WALNEXT_ERROR, /* the source failed; *err tells */
} WalNext;

/* Why reading ended. */
typedef struct WalEnd {
    uint64_t lsn;     /* where the next record would begin */
    uint64_t segno;   /* the segment that was being read or asked for */
    bool absent;      /* this segment is not there */
    bool in_record;   /* a record begins at lsn, but its rest is absent or not valid */
    char reason[192]; /* one line, lower case */
} WalEnd;

typedef struct WalReader WalReader;

/* `segsize` in bytes, valid (walname.h). `sysid` 0: any. The source is copied. Never NULL. */
WalReader *walreader_new(const WalSource *source, uint32_t segsize, uint64_t sysid);

/* Goes to the first record that begins in `segno` or, if a record of an earlier segment fills all
 * of it, in a later one. Ends a reading under way, and its end or error. ERR_NO if the segment is
 * absent, ERR_DAMAGED if its first page is not that of this segment (ERR_USAGE if it is that of
 * another system or PostgreSQL), else the source's error. */
bool walreader_seek(WalReader *r, uint64_t segno, Error *err);

/* The next record. WALNEXT_END and WALNEXT_ERROR stay until the next seek. */
WalNext walreader_next(WalReader *r, WalRecord *out, Error *err);

/* After WALNEXT_END; valid until the next seek. */
const WalEnd *walreader_end(const WalReader *r);

/* The PostgreSQL major that wrote the WAL; 0 before the first successful seek. */
int walreader_major(const WalReader *r);

/* Closes the source; NULL is allowed. */
void walreader_free(WalReader *r);

#endif
