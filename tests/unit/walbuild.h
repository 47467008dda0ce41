/*
 * walbuild.h: makes WAL in memory, for the tests of what reads it.
 *
 * Follows the format of xlog_internal.h and xlogrecord.h by itself, sharing no code with the
 * reader. Record bodies are the caller's; header, checksum, pages and segments are made here.
 */
#ifndef PITR_TESTS_WALBUILD_H
#define PITR_TESTS_WALBUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pg/crc32c.h"
#include "pg/walreader.h"

#define BUILD_SYSID    UINT64_C(7300000000000000001)
#define BUILD_SEGMENTS 8

typedef struct WalBuild {
    uint32_t segsize, blcksz;
    uint16_t magic;
    uint32_t tli;
    uint64_t first; /* number of the first segment */
    uint64_t pos;   /* LSN where the next byte goes */
    uint64_t prev;
    uint8_t *bytes; /* BUILD_SEGMENTS segments, zero where nothing was written */
} WalBuild;

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static inline void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static inline WalBuild build_new(uint16_t magic, uint32_t segsize, uint32_t blcksz, uint64_t first)
{
    WalBuild b = {.segsize = segsize, .blcksz = blcksz, .magic = magic, .tli = 1, .first = first};
    b.pos = first * segsize;
    b.prev = first * segsize - 100;
    b.bytes = calloc(BUILD_SEGMENTS, segsize);
    return b;
}

static inline uint8_t *build_at(const WalBuild *b, uint64_t lsn)
{
    return b->bytes + (lsn - b->first * b->segsize);
}

/* Writes the header of the page at b->pos, which is its start. */
static inline void build_page(WalBuild *b, uint16_t flags, uint32_t rem)
{
    uint8_t *p = build_at(b, b->pos);
    bool first = b->pos % b->segsize == 0;
    put16(p, b->magic);
    put16(p + 2, (uint16_t)(flags | (first ? 2 : 0)));
    put32(p + 4, b->tli);
    put64(p + 8, b->pos);
    put32(p + 16, rem);
    if (first) {
        put64(p + 24, BUILD_SYSID);
        put32(p + 32, b->segsize);
        put32(p + 36, b->blcksz);
    }
    b->pos += first ? 40 : 24;
}

/* Writes bytes of a record, with page headers where pages begin. */
static inline void build_bytes(WalBuild *b, const uint8_t *p, uint32_t len, bool start)
{
    while (len > 0) {
        if (b->pos % b->blcksz == 0)
            build_page(b, start ? 0 : 1, start ? 0 : len);
        uint32_t room = (uint32_t)(b->blcksz - b->pos % b->blcksz), n = len < room ? len : room;
        memcpy(build_at(b, b->pos), p, n);
        b->pos += n;
        p += n;
        len -= n;
        start = false;
    }
}

/* A whole record; the caller frees. */
static inline uint8_t *build_record(uint8_t rmid, uint8_t info, uint32_t xid, uint64_t prev,
                                    const void *body, uint32_t len)
{
    uint8_t *r = calloc(1, 24 + (size_t)len);
    put32(r, 24 + len);
    put32(r + 4, xid);
    put64(r + 8, prev);
    r[16] = info;
    r[17] = rmid;
    if (len > 0)
        memcpy(r + 24, body, len);
    put32(r + 20, crc32c_portable(crc32c_portable(0, r + 24, len), r, 20));
    return r;
}

/* Appends a record; returns its LSN. */
static inline uint64_t build_add(WalBuild *b, uint8_t rmid, uint8_t info, uint32_t xid,
                                 const void *body, uint32_t len)
{
    uint8_t *r = build_record(rmid, info, xid, b->prev, body, len);
    if (b->pos % b->blcksz == 0)
        build_page(b, 0, 0);
    uint64_t lsn = b->pos;
    build_bytes(b, r, 24 + len, true);
    b->pos = (b->pos + 7) / 8 * 8;
    b->prev = lsn;
    free(r);
    if (rmid == 0 && (info & 0xF0) == 0x40)
        b->pos = (b->pos + b->segsize - 1) / b->segsize * b->segsize;
    return lsn;
}

/* Bytes that the page at b->pos still has. */
static inline uint32_t build_room(const WalBuild *b)
{
    return (uint32_t)(b->blcksz - b->pos % b->blcksz);
}

/* Serves the segments of a WalBuild as a WalSource. */
typedef struct BuildSource {
    const WalBuild *build;
    uint64_t segments; /* that are there, from the first */
    uint64_t segno;
    size_t offset, cut; /* cut: bytes that segments end after; 0: whole */
    int opened, closed;
    int fail_open, fail_read; /* fail when so many opens or reads are left; 0: never */
} BuildSource;

static inline bool build_source_open(void *ctx, uint64_t segno, Error *err)
{
    BuildSource *s = ctx;
    if (s->fail_open > 0 && --s->fail_open == 0)
        return error_set(err, ERR_REPO, "open failed");
    if (segno < s->build->first || segno - s->build->first >= s->segments)
        return error_set(err, ERR_NO, "no such segment");
    s->segno = segno - s->build->first;
    s->offset = 0;
    s->opened++;
    return true;
}

static inline bool build_source_read(void *ctx, void *buf, size_t len, size_t *got, Error *err)
{
    BuildSource *s = ctx;
    if (s->fail_read > 0 && --s->fail_read == 0)
        return error_set(err, ERR_REPO, "read failed");
    size_t end = s->cut ? s->cut : s->build->segsize;
    *got = end - s->offset < len ? end - s->offset : len;
    memcpy(buf, s->build->bytes + s->segno * s->build->segsize + s->offset, *got);
    s->offset += *got;
    return true;
}

static inline void build_source_close(void *ctx)
{
    ((BuildSource *)ctx)->closed++;
}

static inline WalSource build_source(BuildSource *s, const WalBuild *b)
{
    *s = (BuildSource){.build = b, .segments = BUILD_SEGMENTS};
    return (WalSource){s, build_source_open, build_source_read, build_source_close};
}

#endif
