#include "pg/walpage.h"

#include "pg/le.h"

#define MIN_BLCKSZ 1024
#define MAX_BLCKSZ 65536

int walpage_major(uint16_t magic)
{
    switch (magic) {
    case 0xD106:
        return 13;
    case 0xD10D:
        return 14;
    case 0xD110:
        return 15;
    case 0xD113:
        return 16;
    case 0xD116:
        return 17;
    case 0xD118:
        return 18;
    case 0xD120:
        return 19;
    default:
        return 0;
    }
}

bool walpage_read(const void *page, size_t len, WalPageHeader *out)
{
    const uint8_t *p = page;
    *out = (WalPageHeader){0};
    if (len < WALPAGE_SHORT_HEADER)
        return false;
    out->magic = le16(p);
    out->info = le16(p + 2);
    out->major = walpage_major(out->magic);
    out->tli = le32(p + 4);
    out->pageaddr = le64(p + 8);
    out->rem_len = le32(p + 16);
    if (!(out->info & WALPAGE_LONG))
        return true;
    if (len < WALPAGE_LONG_HEADER)
        return false;
    out->sysid = le64(p + 24);
    out->seg_size = le32(p + 32);
    out->blcksz = le32(p + 36);
    return true;
}

uint32_t walpage_header_size(const WalPageHeader *h)
{
    return h->info & WALPAGE_LONG ? WALPAGE_LONG_HEADER : WALPAGE_SHORT_HEADER;
}

bool walpage_overwrites(const WalPageHeader *h)
{
    return (h->info & (h->major >= 19 ? 0x0004 : 0x0008)) != 0;
}

bool walpage_info_valid(const WalPageHeader *h)
{
    return (h->info & ~(h->major >= 19 ? 0x0007 : 0x000F)) == 0;
}

bool walpage_parse_first(const void *page, size_t len, WalPageHeader *out, Error *err)
{
    if (len < WALPAGE_LONG_HEADER)
        return error_set(err, ERR_DAMAGED, "too short for a WAL segment: %zu bytes", len);
    walpage_read(page, len, out);
    /* All magic numbers since PostgreSQL 8 lie here: see the history of xlog_internal.h. */
    bool postgres = out->magic >= 0xD050 && out->magic <= 0xD1FF;
    if (out->major == 0 && postgres) {
        error_set(err, ERR_USAGE, "WAL of a PostgreSQL version that is not known (page magic %04X)",
                  out->magic);
        return error_hint(err, "PostgreSQL 13 to 18 are supported");
    }
    if (out->major == 0)
        return error_set(err, ERR_DAMAGED, "not a WAL segment (page magic %04X)", out->magic);
    if (!(out->info & WALPAGE_LONG) || !walpage_info_valid(out))
        return error_set(err, ERR_DAMAGED, "the first WAL page has invalid flags (%04X)",
                         out->info);
    return true;
}

static bool check_sizes(const WalPageHeader *h, Error *err)
{
    if (!wal_segsize_valid(h->seg_size))
        return error_set(err, ERR_DAMAGED, "the WAL page gives an impossible segment size (%u)",
                         h->seg_size);
    if (h->blcksz < MIN_BLCKSZ || h->blcksz > MAX_BLCKSZ || (h->blcksz & (h->blcksz - 1)) != 0)
        return error_set(err, ERR_DAMAGED, "the WAL page gives an impossible page size (%u)",
                         h->blcksz);
    return true;
}

bool walpage_check_segment(const WalPageHeader *h, const WalName *name, uint64_t sysid, Error *err)
{
    uint64_t segno;
    char text[WALNAME_TEXT];
    walname_text(name, text);
    if (sysid != 0 && h->sysid != sysid) {
        error_set(err, ERR_USAGE, "this WAL belongs to system %llu, not to this cluster's %llu",
                  (unsigned long long)h->sysid, (unsigned long long)sysid);
        return error_hint(err, "it comes from another cluster, or from before an initdb or "
                               "pg_upgrade: check the data directory and the path");
    }
    if (!check_sizes(h, err))
        return false;
    if (!walname_segno(name, h->seg_size, &segno))
        return error_set(err, ERR_DAMAGED, "no segment of %u bytes is called %s", h->seg_size,
                         text);
    if (h->pageaddr != segno_start(segno, h->seg_size))
        return error_set(err, ERR_DAMAGED,
                         "the WAL page is that of " LSN_FORMAT ", %s begins at " LSN_FORMAT,
                         LSN_ARGS(h->pageaddr), text, LSN_ARGS(segno_start(segno, h->seg_size)));
    if (h->tli == 0 || h->tli > name->tli)
        return error_set(err, ERR_DAMAGED, "the WAL page is of timeline %u, %s of timeline %u",
                         h->tli, text, name->tli);
    return true;
}
