#include "pg/walreader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pg/crc32c.h"
#include "pg/le.h"
#include "pg/walname.h"
#include "pg/walpage.h"

#define MAX_RECORD     (UINT32_C(1) << 30)
#define RM_XLOG        0
#define XLOG_SWITCH    0x40
#define INFO_OPERATION 0xF0 /* the bits of info that belong to the resource manager */

typedef enum Step {
    STEP_OK,
    STEP_END,     /* r->end is filled */
    STEP_ERROR,   /* r->error is filled */
    STEP_RESTART, /* the record was given up by the server; r->next is where it went on */
} Step;

struct WalReader {
    WalSource source;
    uint32_t segsize;
    uint64_t sysid;
    bool open;
    uint64_t segno;  /* of the open segment */
    uint32_t magic;  /* of the first page seen; 0: none yet */
    uint32_t blcksz; /* 0: not known yet */
    uint8_t *page;
    uint64_t page_lsn;
    bool page_valid;
    WalPageHeader header; /* of `page` */
    uint32_t latest_tli;  /* of the pages since the seek */
    uint64_t next;        /* where the next record begins, or a page */
    uint64_t prev;        /* the last record; 0: none since the seek */
    bool skipping;        /* after a seek: the rest of an earlier record may come first */
    Step state;           /* STEP_END or STEP_ERROR: it stays */
    Buf record;           /* one that crosses pages */
    WalEnd end;
    Error error;
};

static uint64_t align8(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

WalReader *walreader_new(const WalSource *source, uint32_t segsize, uint64_t sysid)
{
    WalReader *r = MEM_NEW(WalReader);
    r->source = *source;
    r->segsize = segsize;
    r->sysid = sysid;
    r->state = STEP_ERROR;
    error_set(&r->error, ERR_INTERNAL, "reading WAL before a seek");
    buf_init_max(&r->record, MAX_RECORD);
    return r;
}

static void close_segment(WalReader *r)
{
    if (r->open)
        r->source.close(r->source.ctx);
    r->open = false;
    r->page_valid = false;
}

void walreader_free(WalReader *r)
{
    if (!r)
        return;
    close_segment(r);
    buf_free(&r->record);
    free(r->page);
    free(r);
}

__attribute__((format(printf, 2, 3))) static Step ended(WalReader *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->end.reason, sizeof(r->end.reason), fmt, ap);
    va_end(ap);
    error_set(&r->error, ERR_DAMAGED, "%s", r->end.reason); /* for a seek that ends here */
    return STEP_END;
}

/* What stands behind a switch is no WAL, but a source finds damage at its end only. */
static bool drain_segment(WalReader *r)
{
    uint8_t rest[8192];
    size_t got = r->open;
    while (got > 0)
        if (!r->source.read(r->source.ctx, rest, sizeof(rest), &got, &r->error))
            return false;
    return true;
}

static Step open_segment(WalReader *r, uint64_t segno)
{
    if (!drain_segment(r))
        return STEP_ERROR;
    close_segment(r);
    r->end.segno = segno;
    if (!r->source.open(r->source.ctx, segno, &r->error)) {
        if (r->error.code != ERR_NO)
            return STEP_ERROR;
        r->end.absent = true;
        ended(r, "the segment that begins at " LSN_FORMAT " is not there",
              LSN_ARGS(segno_start(segno, r->segsize)));
        r->error.code = ERR_NO;
        return STEP_END;
    }
    r->open = true;
    r->segno = segno;
    return STEP_OK;
}

/* Fills [from, to) of the page; a segment that is cut short reads as zeros. */
static bool fill_page(WalReader *r, uint32_t from, uint32_t to)
{
    size_t got = 0;
    if (!r->source.read(r->source.ctx, r->page + from, to - from, &got, &r->error))
        return false;
    if (got < to - from)
        memset(r->page + from + got, 0, to - from - got);
    return true;
}

/* Ends with what another function found, keeping its code and hint for a seek. */
static Step ended_by(WalReader *r, const Error *err)
{
    ended(r, "%.180s", err->message);
    r->error = *err;
    return STEP_END;
}

/* The long header of a segment's first page, which says how long pages are. */
static Step read_first_page(WalReader *r, uint64_t lsn)
{
    if (!r->page)
        r->page = mem_new(1, WALPAGE_LONG_HEADER);
    if (!fill_page(r, 0, WALPAGE_LONG_HEADER))
        return STEP_ERROR;
    Error err;
    WalPageHeader *h = &r->header;
    if (!walpage_parse_first(r->page, WALPAGE_LONG_HEADER, h, &err))
        return ended_by(r, &err);
    if (h->seg_size != r->segsize)
        return ended(r, "the page at " LSN_FORMAT " gives a segment size of %u, not %u",
                     LSN_ARGS(lsn), h->seg_size, r->segsize);
    /* Which timeline's file this is, the source knows: any will do. */
    uint64_t segno = lsn_segno(lsn, r->segsize), per_log = (UINT64_C(1) << 32) / r->segsize;
    WalName name = {
        .tli = h->tli, .log = (uint32_t)(segno / per_log), .seg = (uint32_t)(segno % per_log)};
    if (!walpage_check_segment(h, &name, r->sysid, &err))
        return ended_by(r, &err);
    if (r->blcksz != 0 && h->blcksz != r->blcksz)
        return ended(r, "the page at " LSN_FORMAT " gives a page size of %u, not %u", LSN_ARGS(lsn),
                     h->blcksz, r->blcksz);
    if (r->blcksz == 0)
        r->page = mem_resize(r->page, h->blcksz, 1);
    r->blcksz = h->blcksz;
    return fill_page(r, WALPAGE_LONG_HEADER, r->blcksz) ? STEP_OK : STEP_ERROR;
}

static Step check_page(WalReader *r, uint64_t lsn)
{
    const WalPageHeader *h = &r->header;
    if (r->magic == 0)
        r->magic = h->magic;
    if (h->magic != r->magic)
        return ended(r, "the page at " LSN_FORMAT " has magic number %04X, not %04X", LSN_ARGS(lsn),
                     h->magic, r->magic);
    if (!walpage_info_valid(h))
        return ended(r, "the page at " LSN_FORMAT " has invalid flags (%04X)", LSN_ARGS(lsn),
                     h->info);
    if (h->pageaddr != lsn)
        return ended(r, "the page at " LSN_FORMAT " is that of " LSN_FORMAT, LSN_ARGS(lsn),
                     LSN_ARGS(h->pageaddr));
    if (h->tli < r->latest_tli)
        return ended(r, "the page at " LSN_FORMAT " is of timeline %u, after timeline %u",
                     LSN_ARGS(lsn), h->tli, r->latest_tli);
    r->latest_tli = h->tli;
    r->page_lsn = lsn;
    r->page_valid = true;
    return STEP_OK;
}

/* Makes the page at `lsn` the current one: the same as before, the one behind it, or the first of
 * another segment. */
static Step load_page(WalReader *r, uint64_t lsn)
{
    if (r->page_valid && r->page_lsn == lsn)
        return STEP_OK;
    Step s = STEP_OK;
    uint64_t segno = lsn_segno(lsn, r->segsize);
    if (!r->open || segno != r->segno)
        s = open_segment(r, segno);
    if (s != STEP_OK)
        return s;
    r->page_valid = false;
    r->end.segno = segno;
    if (lsn == segno_start(segno, r->segsize)) {
        s = read_first_page(r, lsn);
    } else {
        s = fill_page(r, 0, r->blcksz) ? STEP_OK : STEP_ERROR;
        walpage_read(r->page, r->blcksz, &r->header);
    }
    return s == STEP_OK ? check_page(r, lsn) : s;
}

/* The rest of a record ends here: was it a switch record? Of its 24 bytes the last 8 or 16 can
 * stand on the next page; the segment holds nothing behind them. */
static bool is_switch_tail(const WalReader *r, uint32_t start)
{
    uint32_t rem = r->header.rem_len;
    if (rem != 8 && rem != 16)
        return false;
    const uint8_t *tail = r->page + start + rem - 8;
    return tail[1] == RM_XLOG && (tail[0] & INFO_OPERATION) == XLOG_SWITCH && le32(tail + 8) == 0;
}

static uint64_t next_segment(const WalReader *r, uint64_t lsn)
{
    return segno_start(lsn_end_segno(lsn, r->segsize) + 1, r->segsize);
}

/* After a seek: sets r->next behind what is left of a record that began earlier. */
static Step skip_rest(WalReader *r)
{
    for (;;) {
        Step s = load_page(r, r->next);
        if (s != STEP_OK)
            return s;
        uint32_t start = walpage_header_size(&r->header);
        if (!(r->header.info & WALPAGE_CONTRECORD)) {
            r->next += start;
            break;
        }
        uint64_t rest = align8(r->header.rem_len);
        if (rest < r->blcksz - start) {
            bool was_switch = is_switch_tail(r, start);
            r->next += start + rest;
            if (was_switch)
                r->next = next_segment(r, r->next);
            break;
        }
        r->next += r->blcksz;
    }
    r->skipping = false;
    return STEP_OK;
}

/* Loads the page of the next record and moves r->next past a page header. */
static Step find_start(WalReader *r)
{
    if (r->skipping) {
        Step s = skip_rest(r);
        if (s != STEP_OK)
            return s;
    }
    uint32_t offset = (uint32_t)(r->next % r->blcksz);
    Step s = load_page(r, r->next - offset);
    if (s != STEP_OK)
        return s;
    uint32_t start = walpage_header_size(&r->header);
    if (offset == 0) {
        r->next += start;
        offset = start;
    }
    r->end.lsn = r->next;
    if (offset < start)
        return ended(r, "a record would begin within the page header at " LSN_FORMAT,
                     LSN_ARGS(r->page_lsn));
    if (offset == start && (r->header.info & WALPAGE_CONTRECORD))
        return ended(r, "the page at " LSN_FORMAT " continues a record that did not begin",
                     LSN_ARGS(r->page_lsn));
    return STEP_OK;
}

/* `p`: the record's header, all of it. */
static Step check_header(WalReader *r, const uint8_t *p, uint64_t lsn)
{
    uint64_t prev = le64(p + 8);
    if (r->prev != 0 ? prev != r->prev : prev >= lsn)
        return ended(r, "the record at " LSN_FORMAT " names " LSN_FORMAT " as the one before",
                     LSN_ARGS(lsn), LSN_ARGS(prev));
    return STEP_OK;
}

/* Appends the part on the page at `lsn` of a record of `total` bytes. */
static Step append_part(WalReader *r, uint64_t lsn, uint32_t total)
{
    const WalPageHeader *h = &r->header;
    Step s = load_page(r, lsn);
    if (s != STEP_OK)
        return s;
    if (walpage_overwrites(h)) {
        r->next = lsn;
        return STEP_RESTART;
    }
    if (!(h->info & WALPAGE_CONTRECORD))
        return ended(r, "the page at " LSN_FORMAT " does not continue the record", LSN_ARGS(lsn));
    if (h->rem_len == 0 || h->rem_len != total - r->record.len)
        return ended(r, "the page at " LSN_FORMAT " continues a record with %u bytes, not %zu",
                     LSN_ARGS(lsn), h->rem_len, total - r->record.len);
    uint32_t start = walpage_header_size(h), n = r->blcksz - start;
    if (!buf_append(&r->record, r->page + start, h->rem_len < n ? h->rem_len : n))
        return ended(r, "the record is too long");
    return STEP_OK;
}

/* Puts a record of `total` bytes that crosses pages together in r->record. */
static Step assemble(WalReader *r, uint64_t lsn, uint32_t total, uint64_t *end)
{
    uint32_t offset = (uint32_t)(lsn - r->page_lsn);
    uint64_t page = r->page_lsn;
    bool checked = false;
    buf_clear(&r->record);
    buf_append(&r->record, r->page + offset, r->blcksz - offset);
    for (;;) {
        if (!checked && r->record.len >= WALRECORD_HEADER) {
            Step s = check_header(r, (const uint8_t *)r->record.data, lsn);
            if (s != STEP_OK)
                return s;
            checked = true;
        }
        if (r->record.len == total)
            break;
        page += r->blcksz;
        Step s = append_part(r, page, total);
        if (s != STEP_OK)
            return s;
    }
    *end = page + walpage_header_size(&r->header) + align8(r->header.rem_len);
    return STEP_OK;
}

static Step check_crc(WalReader *r, const WalRecord *rec)
{
    uint32_t crc = crc32c(0, rec->data + WALRECORD_HEADER, rec->len - WALRECORD_HEADER);
    crc = crc32c(crc, rec->data, WALRECORD_HEADER - 4);
    if (crc != le32(rec->data + WALRECORD_HEADER - 4))
        return ended(r, "the record at " LSN_FORMAT " has a wrong checksum", LSN_ARGS(rec->lsn));
    return STEP_OK;
}

static Step read_record(WalReader *r, WalRecord *out)
{
    uint32_t offset = (uint32_t)(r->next - r->page_lsn), room = r->blcksz - offset;
    uint32_t total = le32(r->page + offset);
    Step s = STEP_OK;
    *out = (WalRecord){.lsn = r->next, .tli = r->header.tli, .len = total};
    if (total == 0)
        return ended(r, "nothing was written at " LSN_FORMAT, LSN_ARGS(out->lsn));
    if (total < WALRECORD_HEADER || total > MAX_RECORD)
        return ended(r, "the record at " LSN_FORMAT " has an impossible length (%u)",
                     LSN_ARGS(out->lsn), total);
    if (total <= room) {
        out->data = r->page + offset;
        out->end_lsn = out->lsn + align8(total);
        s = check_header(r, out->data, out->lsn);
    } else {
        r->end.in_record = true;
        s = assemble(r, out->lsn, total, &out->end_lsn);
        out->data = (const uint8_t *)r->record.data;
    }
    if (s == STEP_OK)
        s = check_crc(r, out);
    if (s != STEP_OK)
        return s;
    out->xid = le32(out->data + 4);
    out->prev = le64(out->data + 8);
    out->info = out->data[16];
    out->rmid = out->data[17];
    if (out->rmid == RM_XLOG && (out->info & INFO_OPERATION) == XLOG_SWITCH)
        out->end_lsn = next_segment(r, out->end_lsn);
    r->prev = out->lsn;
    r->next = out->end_lsn;
    return STEP_OK;
}

bool walreader_seek(WalReader *r, uint64_t segno, Error *err)
{
    close_segment(r);
    r->end = (WalEnd){.lsn = segno_start(segno, r->segsize), .segno = segno};
    r->next = r->end.lsn;
    r->prev = 0;
    r->latest_tli = 0;
    r->skipping = true;
    r->state = load_page(r, r->next);
    if (r->state == STEP_OK)
        return true;
    r->state = STEP_ERROR;
    *err = r->error;
    return false;
}

WalNext walreader_next(WalReader *r, WalRecord *out, Error *err)
{
    bool more = r->state == STEP_OK;
    while (more) {
        r->end.lsn = r->next;
        r->end.in_record = false;
        r->state = find_start(r);
        if (r->state == STEP_OK)
            r->state = read_record(r, out);
        more = r->state == STEP_RESTART;
    }
    if (r->state == STEP_OK)
        return WALNEXT_RECORD;
    if (r->state == STEP_END)
        return WALNEXT_END;
    *err = r->error;
    return WALNEXT_ERROR;
}

const WalEnd *walreader_end(const WalReader *r)
{
    return &r->end;
}

int walreader_major(const WalReader *r)
{
    return walpage_major((uint16_t)r->magic);
}
