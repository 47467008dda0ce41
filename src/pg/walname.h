/*
 * walname.h: names of the files in pg_wal, segment numbers, and positions in the WAL (LSN).
 *
 * Source: src/include/access/xlog_internal.h (XLogFileName, IsXLogFileName and its neighbours) and
 * src/backend/utils/adt/pg_lsn.c. A segment number counts segments from LSN 0 of all timelines
 * together; it means something only with a segment size, in bytes, a power of two from 1 MiB to
 * 1 GiB. Pure functions; thread-safe.
 */
#ifndef PITR_PG_WALNAME_H
#define PITR_PG_WALNAME_H

#include <stdbool.h>
#include <stdint.h>

typedef enum WalNameKind {
    WALNAME_SEGMENT, /* TTTTTTTTLLLLLLLLSSSSSSSS */
    WALNAME_PARTIAL, /* <segment>.partial: left by a promotion in the middle of a segment */
    WALNAME_BACKUP,  /* <segment>.XXXXXXXX.backup: written at the end of a base backup */
    WALNAME_HISTORY, /* TTTTTTTT.history */
} WalNameKind;

typedef struct WalName {
    WalNameKind kind;
    uint32_t tli;    /* never 0 */
    uint32_t log;    /* high 32 bits of the segment's LSN; 0 for a history file */
    uint32_t seg;    /* segment within these 4 GiB; 0 for a history file */
    uint32_t offset; /* start of the backup within the segment; 0 for other kinds */
} WalName;

/* Room for each text with its terminating zero. */
#define WALNAME_TEXT         41 /* any name */
#define WALNAME_SEGMENT_TEXT 25
#define WALNAME_HISTORY_TEXT 17
#define LSN_TEXT             18

/* For printf: printf(LSN_FORMAT, LSN_ARGS(lsn)). The form of all servers before 19. */
#define LSN_FORMAT    "%X/%X"
#define LSN_ARGS(lsn) (unsigned)((uint64_t)(lsn) >> 32), (unsigned)((lsn)&0xFFFFFFFFu)

/* True if `name` is exactly one of the four forms: upper-case digits, nothing before or behind,
 * timeline not 0. Whether log and seg suit a segment size is walname_segno()'s matter. On false
 * *out is undefined. */
bool walname_parse(const char *name, WalName *out);

/* Writes the name; for a name from walname_parse() the same text. */
void walname_text(const WalName *name, char out[WALNAME_TEXT]);

/* The segment's number, of every kind but WALNAME_HISTORY; false if it is one, if the segment size
 * is none, or if the name's last part is too big for it. */
bool walname_segno(const WalName *name, uint32_t segsize, uint64_t *segno);

/* The name of a segment. `segsize` must be valid, `segno` below 2^64 / segsize. */
void walname_format(char out[WALNAME_SEGMENT_TEXT], uint32_t tli, uint64_t segno, uint32_t segsize);

void walname_history_format(char out[WALNAME_HISTORY_TEXT], uint32_t tli);

/* A power of two from 1 MiB to 1 GiB. */
bool wal_segsize_valid(uint32_t segsize);

/* Reads `X/X`: one to eight hexadecimal digits on each side, of either case (so both `0/1A` and
 * 19's `0/0000001A`), and nothing else. False leaves *lsn alone. */
bool lsn_parse(const char *s, uint64_t *lsn);

/* Writes LSN_FORMAT; returns `out`. */
char *lsn_format(char out[LSN_TEXT], uint64_t lsn);

/* The segment that holds the byte at `lsn`. For the end of something (a backup's stop LSN, a
 * record's end) use lsn_end_segno(): the segment that holds the last byte before it. */
uint64_t lsn_segno(uint64_t lsn, uint32_t segsize);
uint64_t lsn_end_segno(uint64_t end, uint32_t segsize);

/* The LSN of a segment's first byte. */
uint64_t segno_start(uint64_t segno, uint32_t segsize);

#endif
