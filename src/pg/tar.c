#include "pg/tar.h"

#include <string.h>

#include "pg/pgtext.h"

/* Where the fields of a ustar header lie (POSIX.1-2017, pax, "ustar Interchange Format"). */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_LINKNAME = 157,
    AT_MAGIC = 257,
    AT_UNAME = 265,
    AT_GNAME = 297,
    AT_DEVMAJOR = 329,
    AT_DEVMINOR = 337,
    AT_PREFIX = 345,
    LEN_NAME = 100,
    LEN_SHORT = 8,
    LEN_LONG = 12,
    LEN_PREFIX = 155,
};

static const char magic[8] = {'u', 's', 't', 'a', 'r', '\0', '0', '0'};

/* Keeps every sum of offsets far from overflow. */
static const uint64_t size_max = (uint64_t)1 << 56;

void tar_init(TarParser *p)
{
    memset(p, 0, sizeof(*p));
}

bool tar_finished(const TarParser *p)
{
    return p->zero_blocks == 2 && !p->failed;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    while (len && *p == 0)
        p++, len--;
    return len == 0;
}

/* Base-256: 0x80, then the number, most significant byte first. */
static bool number_base256(const uint8_t *p, size_t len, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 1; i < len; i++) {
        if (value >> 56)
            return false;
        value = value << 8 | p[i];
    }
    *out = value;
    return true;
}

static bool number(const uint8_t *p, size_t len, uint64_t *out)
{
    uint64_t value = 0;
    size_t i = 0;

    if (p[0] == 0x80)
        return number_base256(p, len, out);
    /* Twelve octal digits at the most: no overflow. */
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(p[i] - '0');
    if (i == 0)
        return false;
    for (; i < len; i++)
        if (p[i] != ' ' && p[i] != '\0')
            return false;
    *out = value;
    return true;
}

static uint64_t checksum(const uint8_t *block)
{
    uint64_t sum = LEN_SHORT * ' ';
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (i < AT_CHECKSUM || i >= AT_CHECKSUM + LEN_SHORT)
            sum += block[i];
    return sum;
}

static bool bad(TarParser *p, uint64_t at, Error *err, const char *what)
{
    p->failed = true;
    return error_set(err, ERR_DAMAGED, "tar stream at offset %llu: %s", (unsigned long long)at,
                     what);
}

/* A terminated name; PostgreSQL puts "./" before one of them and "/" behind directories. */
static bool read_name(const uint8_t *block, char *out)
{
    const char *from = (const char *)block + AT_NAME;
    size_t len = strnlen(from, LEN_NAME);

    if (len == LEN_NAME)
        return false;
    if (len > 2 && from[0] == '.' && from[1] == '/')
        from += 2, len -= 2;
    if (len > 1 && from[len - 1] == '/')
        len--;
    memcpy(out, from, len);
    out[len] = '\0';
    return pgtext_is_relative_path(out);
}

static bool read_linkname(const uint8_t *block, TarEntry *e)
{
    const char *from = (const char *)block + AT_LINKNAME;
    size_t len = strnlen(from, LEN_NAME);

    if (len == LEN_NAME || (len != 0) != (e->type == TAR_SYMLINK))
        return false;
    memcpy(e->linkname, from, len);
    return true;
}

static bool read_numbers(const uint8_t *b, TarEntry *e)
{
    uint64_t mode, mtime;

    if (!number(b + AT_MODE, LEN_SHORT, &mode) || mode > 07777 ||
        !number(b + AT_UID, LEN_SHORT, &e->uid) || !number(b + AT_GID, LEN_SHORT, &e->gid) ||
        !number(b + AT_SIZE, LEN_LONG, &e->size) || !number(b + AT_MTIME, LEN_LONG, &mtime))
        return false;
    e->mode = (uint32_t)mode;
    /* A time before 1970 is written as its 64-bit two's complement. */
    memcpy(&e->mtime, &mtime, sizeof(mtime));
    return true;
}

/* Reads p->block, which ends at p->offset. */
static bool read_header(TarParser *p, Error *err)
{
    const uint8_t *b = p->block;
    TarEntry e = {.type = (char)b[AT_TYPE]};
    uint64_t sum;

    e.data_offset = p->offset;
    e.header_offset = p->offset - TAR_BLOCK;
    if (!number(b + AT_CHECKSUM, LEN_SHORT, &sum) || sum != checksum(b))
        return bad(p, e.header_offset, err, "the header's checksum does not match");
    if (memcmp(b + AT_MAGIC, magic, sizeof(magic)) != 0)
        return bad(p, e.header_offset, err, "not a ustar header");
    if (e.type != TAR_FILE && e.type != TAR_SYMLINK && e.type != TAR_DIRECTORY)
        return bad(p, e.header_offset, err, "an entry of a type that PostgreSQL does not write");
    if (!all_zero(b + AT_PREFIX, LEN_PREFIX))
        return bad(p, e.header_offset, err, "the header uses the prefix field");
    if (!read_name(b, e.name))
        return bad(p, e.header_offset, err, "an unsafe or overlong file name");
    if (!read_linkname(b, &e))
        return bad(p, e.header_offset, err, "an unsuitable link target");
    if (!read_numbers(b, &e))
        return bad(p, e.header_offset, err, "a number in the header cannot be read");
    if (e.size > size_max || (e.size && e.type != TAR_FILE))
        return bad(p, e.header_offset, err, "an impossible size");
    if (e.header_offset > size_max * 64)
        return bad(p, e.header_offset, err, "the stream is too long");
    p->entry = e;
    p->have_entry = true;
    p->left = e.size;
    p->padding = (uint32_t)((TAR_BLOCK - e.size % TAR_BLOCK) % TAR_BLOCK);
    return true;
}

/* Collects a header block; `*kind` says what the bytes taken turned out to be. */
static size_t step_header(TarParser *p, const uint8_t *in, size_t len, TarPieceKind *kind,
                          Error *err)
{
    size_t n = TAR_BLOCK - p->fill < len ? TAR_BLOCK - p->fill : len;

    memcpy(p->block + p->fill, in, n);
    p->fill += n;
    p->offset += n;
    *kind = TAR_NEED_MORE;
    if (p->fill < TAR_BLOCK)
        return n;
    p->fill = 0;
    if (all_zero(p->block, TAR_BLOCK)) {
        if (++p->zero_blocks == 2)
            *kind = TAR_END;
        return n;
    }
    *kind = TAR_HEADER;
    if (p->zero_blocks) {
        bad(p, p->offset - TAR_BLOCK, err, "an entry behind a zero block");
        *kind = TAR_BAD;
    } else if (!read_header(p, err)) {
        *kind = TAR_BAD;
    }
    return *kind == TAR_BAD ? 0 : n;
}

static size_t step_data(TarParser *p, size_t len, TarPiece *piece)
{
    size_t n = p->left < len ? (size_t)p->left : len;

    piece->kind = TAR_DATA;
    piece->offset = p->entry.size - p->left;
    p->left -= n;
    p->offset += n;
    piece->last = p->left == 0;
    return n;
}

/* Bytes that must be zero: behind a file's content, or behind the end. */
static size_t step_zeros(TarParser *p, const uint8_t *in, size_t n, TarPiece *piece,
                         TarPieceKind kind, Error *err)
{
    if (!all_zero(in, n)) {
        bad(p, p->offset, err,
            kind == TAR_END ? "bytes behind the end" : "the padding behind a file is not zero");
        return 0;
    }
    piece->kind = kind;
    p->offset += n;
    return n;
}

size_t tar_step(TarParser *p, const uint8_t *in, size_t len, TarPiece *piece, Error *err)
{
    size_t n = 0;

    *piece = (TarPiece){.kind = TAR_BAD};
    if (p->failed) {
        bad(p, p->offset, err, "reading goes on after an error");
        return 0;
    }
    if (len == 0) {
        piece->kind = TAR_NEED_MORE;
    } else if (p->left) {
        n = step_data(p, len, piece);
    } else if (p->padding) {
        size_t want = p->padding < len ? p->padding : len;
        n = step_zeros(p, in, want, piece, TAR_PADDING, err);
        p->padding -= (uint32_t)n;
    } else if (p->zero_blocks == 2) {
        n = step_zeros(p, in, len, piece, TAR_END, err);
    } else {
        n = step_header(p, in, len, &piece->kind, err);
        piece->last = piece->kind == TAR_HEADER && p->left == 0;
    }
    piece->entry = p->have_entry ? &p->entry : NULL;
    return n;
}

/* Octal with a space behind it, else base-256. */
static void put_number(uint8_t *p, size_t len, uint64_t value)
{
    if (value >> ((len - 1) * 3)) {
        p[0] = 0x80;
        for (size_t i = len - 1; i > 0; i--, value >>= 8)
            p[i] = (uint8_t)value;
    } else {
        p[len - 1] = ' ';
        for (size_t i = len - 1; i > 0; i--, value >>= 3)
            p[i - 1] = (uint8_t)('0' + (value & 7));
    }
}

void tar_format_header(uint8_t out[TAR_BLOCK], const TarEntry *e)
{
    static const char owner[] = "postgres";
    size_t len = strnlen(e->name, TAR_NAME_MAX);
    uint64_t mtime;

    memset(out, 0, TAR_BLOCK);
    memcpy(out + AT_NAME, e->name, len);
    if (e->type != TAR_FILE && len < TAR_NAME_MAX)
        out[AT_NAME + len] = '/';
    memcpy(out + AT_LINKNAME, e->linkname, strnlen(e->linkname, TAR_NAME_MAX));
    memcpy(&mtime, &e->mtime, sizeof(mtime));
    put_number(out + AT_MODE, LEN_SHORT, e->mode);
    put_number(out + AT_UID, LEN_SHORT, e->uid);
    put_number(out + AT_GID, LEN_SHORT, e->gid);
    put_number(out + AT_SIZE, LEN_LONG, e->size);
    put_number(out + AT_MTIME, LEN_LONG, mtime);
    out[AT_TYPE] = (uint8_t)e->type;
    memcpy(out + AT_MAGIC, magic, sizeof(magic));
    memcpy(out + AT_UNAME, owner, sizeof(owner));
    memcpy(out + AT_GNAME, owner, sizeof(owner));
    put_number(out + AT_DEVMAJOR, LEN_SHORT, 0);
    put_number(out + AT_DEVMINOR, LEN_SHORT, 0);
    put_number(out + AT_CHECKSUM, LEN_SHORT, checksum(out));
}
