#include "pg/walrecord.h"

#include <string.h>

#include "pg/le.h"

/* Resource managers, src/include/access/rmgrlist.h. */
enum { RM_XLOG = 0, RM_XACT = 1, RM_DBASE = 4, RM_HEAP = 10 };

/* Block and data header identifiers. */
enum { MAX_BLOCK = 32, ID_TOP_XID = 252, ID_ORIGIN = 253, ID_DATA_LONG = 254, ID_DATA_SHORT = 255 };

/* Flags of a block header and of a page image. */
enum { BLOCK_IMAGE = 0x10, BLOCK_DATA = 0x20, BLOCK_SAME_REL = 0x80, IMAGE_HOLE = 0x01 };

/* What a commit or abort record says that it has, in this order; dropped statistics stand between
 * relation files and invalidations. */
enum {
    XINFO_DB = 1 << 0,
    XINFO_SUBXACTS = 1 << 1,
    XINFO_RELFILES = 1 << 2,
    XINFO_INVALS = 1 << 3,
    XINFO_TWOPHASE = 1 << 4,
    XINFO_STATS = 1 << 8,
};

#define XACT_HAS_INFO 0x80

/* Seconds from 1970 to 2000, and a bound that keeps microseconds within 64 bits. */
#define EPOCH_2000  INT64_C(946684800)
#define MAX_SECONDS INT64_C(9000000000000)

/* What is left to read. Once it was too short it stays `bad` and all reads give 0. */
typedef struct Cursor {
    const uint8_t *p;
    size_t left;
    bool bad;
} Cursor;

static const uint8_t *take(Cursor *c, size_t n)
{
    if (c->bad || n > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += n;
    c->left -= n;
    return p;
}

static uint8_t take8(Cursor *c)
{
    const uint8_t *p = take(c, 1);
    return p ? *p : 0;
}

static uint16_t take16(Cursor *c)
{
    const uint8_t *p = take(c, 2);
    return p ? le16(p) : 0;
}

static uint32_t take32(Cursor *c)
{
    const uint8_t *p = take(c, 4);
    return p ? le32(p) : 0;
}

static uint64_t take64(Cursor *c)
{
    const uint8_t *p = take(c, 8);
    return p ? le64(p) : 0;
}

/* A 32-bit count and that many items. */
static void skip_array(Cursor *c, size_t item)
{
    uint32_t n = take32(c);
    if (n > c->left / item)
        c->bad = true;
    else
        take(c, n * item);
}

static bool image_compressed(uint8_t info, int major)
{
    return (info & (major >= 15 ? 0x1C : 0x02)) != 0;
}

/* A block's header behind its id. `payload` counts the bytes that come after all headers. */
static void block_header(Cursor *c, int major, bool first, WalLayout *out, uint64_t *payload)
{
    uint8_t flags = take8(c);
    uint16_t data_len = take16(c);
    *payload += data_len;
    if ((data_len != 0) != ((flags & BLOCK_DATA) != 0))
        c->bad = true;
    if (flags & BLOCK_IMAGE) {
        *payload += take16(c);
        take16(c); /* offset of the hole */
        uint8_t info = take8(c);
        if (image_compressed(info, major) && (info & IMAGE_HOLE))
            take16(c);
    }
    if (!(flags & BLOCK_SAME_REL)) {
        WalRelation rel = {0};
        rel.spc = take32(c);
        rel.db = take32(c);
        rel.rel = take32(c);
        if (first)
            out->relation = rel;
    } else if (first) {
        c->bad = true;
    }
    take32(c); /* block number */
    out->has_block = true;
}

bool walrecord_layout(const WalRecord *record, int major, WalLayout *out)
{
    *out = (WalLayout){0};
    if (record->len < WALRECORD_HEADER)
        return false;
    Cursor c = {record->data + WALRECORD_HEADER, record->len - WALRECORD_HEADER, false};
    uint64_t payload = 0; /* of blocks and, at last, main data */
    bool have_main = false;
    while (!c.bad && !have_main && c.left > payload) {
        uint8_t id = take8(&c);
        have_main = id == ID_DATA_SHORT || id == ID_DATA_LONG;
        if (id <= MAX_BLOCK)
            block_header(&c, major, !out->has_block, out, &payload);
        else if (id == ID_DATA_SHORT)
            out->main_len = take8(&c);
        else if (id == ID_DATA_LONG)
            out->main_len = take32(&c);
        else if (id == ID_ORIGIN)
            take16(&c);
        else if (id == ID_TOP_XID && major >= 14)
            take32(&c);
        else
            c.bad = true;
    }
    payload += out->main_len;
    if (c.bad || payload != c.left)
        return false;
    out->main = c.p + (c.left - out->main_len);
    return true;
}

/* xl_xact_commit, xl_xact_abort: they differ in the invalidations only. */
static bool decode_xact_end(const WalRecord *record, int major, Cursor c, bool prepared,
                            WalEvent *out)
{
    out->time = (int64_t)take64(&c);
    out->xid = record->xid;
    out->prepared = prepared;
    uint32_t xinfo = record->info & XACT_HAS_INFO ? take32(&c) : 0;
    if (xinfo & XINFO_DB)
        take(&c, 8);
    if (xinfo & XINFO_SUBXACTS)
        skip_array(&c, 4);
    if (xinfo & XINFO_RELFILES)
        skip_array(&c, 12);
    if ((xinfo & XINFO_STATS) && major >= 15)
        skip_array(&c, major >= 18 ? 16 : 12);
    if ((xinfo & XINFO_INVALS) && out->kind == WALEVENT_COMMIT)
        skip_array(&c, 16);
    if (xinfo & XINFO_TWOPHASE)
        out->xid = take32(&c);
    else if (prepared)
        c.bad = true;
    return !c.bad;
}

static bool decode_xact(const WalRecord *record, int major, Cursor c, WalEvent *out)
{
    bool prepared = false;
    switch (record->info & 0x70) {
    case 0x30:
        prepared = true;
        out->kind = WALEVENT_COMMIT;
        break;
    case 0x00:
        out->kind = WALEVENT_COMMIT;
        break;
    case 0x40:
        prepared = true;
        out->kind = WALEVENT_ABORT;
        break;
    case 0x20:
        out->kind = WALEVENT_ABORT;
        break;
    default:
        return true;
    }
    return decode_xact_end(record, major, c, prepared, out);
}

/* struct CheckPoint. */
static bool decode_checkpoint(Cursor c, bool shutdown, WalEvent *out)
{
    out->kind = WALEVENT_CHECKPOINT;
    out->shutdown = shutdown;
    const uint8_t *p = take(&c, 72);
    if (!p)
        return false;
    out->redo = le64(p);
    out->tli = le32(p + 8);
    out->prev_tli = le32(p + 12);
    int64_t seconds = (int64_t)le64(p + 64);
    if (seconds < -MAX_SECONDS || seconds > MAX_SECONDS)
        return false;
    out->time = (seconds - EPOCH_2000) * 1000000;
    return true;
}

static bool decode_xlog(const WalRecord *record, Cursor c, WalEvent *out)
{
    const uint8_t *name;
    switch (record->info & 0xF0) {
    case 0x00:
        return decode_checkpoint(c, true, out);
    case 0x10:
        return decode_checkpoint(c, false, out);
    case 0x40:
        out->kind = WALEVENT_SWITCH;
        return true;
    case 0x70: /* xl_restore_point */
        out->kind = WALEVENT_RESTORE_POINT;
        out->time = (int64_t)take64(&c);
        name = take(&c, WALEVENT_NAME);
        if (name)
            memcpy(out->name, name, WALEVENT_NAME - 1);
        return !c.bad;
    case 0x90: /* xl_end_of_recovery */
        out->kind = WALEVENT_END_OF_RECOVERY;
        out->time = (int64_t)take64(&c);
        out->tli = take32(&c);
        out->prev_tli = take32(&c);
        return !c.bad;
    default:
        return true;
    }
}

/* xl_dbase_drop_rec. 15 put another way of CREATE DATABASE at the old place. */
static bool decode_dbase(const WalRecord *record, int major, Cursor c, WalEvent *out)
{
    if ((record->info & 0xF0) != (major >= 15 ? 0x20 : 0x10))
        return true;
    out->kind = WALEVENT_DBASE_DROP;
    out->db = take32(&c);
    return !c.bad;
}

/* XLOG_HEAP_INPLACE; 0x80 (new page) never goes with it. */
static bool decode_heap(const WalRecord *record, const WalLayout *layout, WalEvent *out)
{
    if ((record->info & 0x70) != 0x70)
        return true;
    out->kind = WALEVENT_INPLACE;
    out->relation = layout->relation;
    return layout->has_block;
}

/* Cheap, since most records are of other kinds: only these are walked at all. */
static bool may_tell(const WalRecord *record)
{
    uint8_t op = record->info & 0xF0;
    switch (record->rmid) {
    case RM_XLOG:
        return op == 0x00 || op == 0x10 || op == 0x40 || op == 0x70 || op == 0x90;
    case RM_XACT:
    case RM_DBASE:
        return true;
    case RM_HEAP:
        return (op & 0x70) == 0x70;
    default:
        return false;
    }
}

bool walrecord_decode(const WalRecord *record, int major, WalEvent *out)
{
    WalLayout layout;
    bool ok;
    *out = (WalEvent){0};
    if (!may_tell(record))
        return true;
    if (!walrecord_layout(record, major, &layout))
        return false;
    Cursor c = {layout.main, layout.main_len, false};
    if (record->rmid == RM_XLOG)
        ok = decode_xlog(record, c, out);
    else if (record->rmid == RM_XACT)
        ok = decode_xact(record, major, c, out);
    else if (record->rmid == RM_DBASE)
        ok = decode_dbase(record, major, c, out);
    else
        ok = decode_heap(record, &layout, out);
    if (!ok)
        *out = (WalEvent){0};
    return ok;
}
