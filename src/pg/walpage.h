/*
 * walpage.h: the header of a WAL page.
 *
 * Source: src/include/access/xlog_internal.h (XLogPageHeaderData, 24 bytes; the first page of a
 * segment has XLogLongPageHeaderData, 40 bytes) and XLogReaderValidatePageHeader in xlogreader.c.
 * Known are the magic numbers of PostgreSQL 13 to 18 and of 19 before its release. Bytes are
 * hostile: lengths are checked, nothing is assumed about alignment. Thread-safe.
 */
#ifndef PITR_PG_WALPAGE_H
#define PITR_PG_WALPAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "pg/walname.h"

#define WALPAGE_SHORT_HEADER 24
#define WALPAGE_LONG_HEADER  40

/* Bits of `info`; the last two moved in 19: ask walpage_overwrites(). */
#define WALPAGE_CONTRECORD 0x0001 /* begins with the rest of a record */
#define WALPAGE_LONG       0x0002 /* has the long header */

typedef struct WalPageHeader {
    uint16_t magic;
    uint16_t info;
    int major; /* of the server that wrote it; 0 if the magic number is not known */
    uint32_t tli;
    uint64_t pageaddr; /* LSN of the page's first byte */
    uint32_t
        rem_len;    /* bytes of the continued record that are still to come, this page's included */
    uint64_t sysid; /* from here on: long headers only, else 0 */
    uint32_t seg_size; /* bytes */
    uint32_t blcksz;   /* bytes of a WAL page, 8192 unless built otherwise */
} WalPageHeader;

/* The PostgreSQL major that writes this magic number; 0 if unknown. */
int walpage_major(uint16_t magic);

/* Reads a header of either length, judging nothing; false if `len` is too short for it. */
bool walpage_read(const void *page, size_t len, WalPageHeader *out);

/* Length of the header that `h` was read from. */
uint32_t walpage_header_size(const WalPageHeader *h);

/* True if the page begins with a new record in place of the rest of a broken one
 * (XLP_FIRST_IS_OVERWRITE_CONTRECORD). */
bool walpage_overwrites(const WalPageHeader *h);

/* False if info has bits that this major does not know. */
bool walpage_info_valid(const WalPageHeader *h);

/* Reads the header of a segment's first page. Errors: ERR_DAMAGED for what is no such page (the
 * magic number is named), ERR_USAGE for the page of a PostgreSQL that pitr does not know. */
bool walpage_parse_first(const void *page, size_t len, WalPageHeader *out, Error *err);

/* Holds a first page against the name of its file (segment or partial) and the system identifier
 * (0: any). ERR_USAGE with a hint if it belongs to another system, ERR_DAMAGED if segment size,
 * page size or page address are impossible or the timeline is later than the name's. (An earlier
 * one is in order: a timeline that begins in mid-segment copies the segment of its parent.) */
bool walpage_check_segment(const WalPageHeader *h, const WalName *name, uint64_t sysid, Error *err);

#endif
