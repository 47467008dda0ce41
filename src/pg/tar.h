/*
 * tar.h: a push parser for the tar streams of BASE_BACKUP.
 *
 *     TarParser p;
 *     tar_init(&p);
 *     while (len) {
 *         TarPiece piece;
 *         size_t n = tar_step(&p, in, len, &piece, err);
 *         if (piece.kind == TAR_BAD)
 *             return false;
 *         route(piece.kind, in, n);          // the n bytes are all of one kind
 *         in += n, len -= n;
 *     }
 *     if (!tar_finished(&p)) …               // truncated
 *
 * It takes exactly what PostgreSQL writes (src/port/tar.c, src/backend/backup/basebackup.c): ustar
 * headers, names and link targets of at most 99 bytes, prefix unused, numbers in octal or, when too
 * big for that, GNU base-256; types file, directory and symbolic link; two zero blocks at the end.
 * pax and GNU extension headers, hard links and devices are errors. The bytes are held to be
 * hostile: checksums, numbers, names and sizes are checked before the entry is shown.
 *
 * All errors are ERR_DAMAGED and final: a parser that has failed fails again. No allocation, no
 * state outside TarParser; one thread at a time.
 */
#ifndef PITR_PG_TAR_H
#define PITR_PG_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { TAR_BLOCK = 512, TAR_NAME_MAX = 99 };

/* The ustar type flags that occur. */
enum { TAR_FILE = '0', TAR_SYMLINK = '2', TAR_DIRECTORY = '5' };

typedef struct TarEntry {
    char name[TAR_NAME_MAX + 1];     /* relative; without leading "./" and trailing "/" */
    char linkname[TAR_NAME_MAX + 1]; /* symbolic link: its target as it stands, not checked */
    char type;                       /* TAR_FILE, TAR_SYMLINK, TAR_DIRECTORY */
    uint32_t mode;                   /* permission bits, at most 07777 */
    uint64_t uid;
    uint64_t gid;
    int64_t mtime;          /* seconds since 1970 */
    uint64_t size;          /* bytes of content; 0 unless TAR_FILE */
    uint64_t header_offset; /* of the header in the stream */
    uint64_t data_offset;   /* header_offset + 512 */
} TarEntry;

typedef enum TarPieceKind {
    TAR_BAD,       /* nothing consumed, the error is filled */
    TAR_NEED_MORE, /* part of a header block, or the first of the two zero blocks */
    TAR_HEADER,    /* these bytes complete a header: piece.entry */
    TAR_DATA,      /* content of piece.entry from piece.offset on */
    TAR_PADDING,   /* zeros up to the next block */
    TAR_END,       /* these bytes complete the two zero blocks, or are zeros behind them */
} TarPieceKind;

typedef struct TarPiece {
    TarPieceKind kind;
    const TarEntry
        *entry;      /* the current entry, NULL before the first; valid until the next header */
    uint64_t offset; /* TAR_DATA: where in the file's content the bytes belong */
    bool last;       /* the entry's content ends with this piece; for one without content
                        that is the TAR_HEADER */
} TarPiece;

typedef struct TarParser {
    TarEntry entry;
    uint8_t block[TAR_BLOCK]; /* the header being collected */
    size_t fill;
    uint64_t offset; /* bytes consumed */
    uint64_t left;   /* content bytes to come */
    uint32_t padding;
    int zero_blocks;
    bool have_entry;
    bool failed;
} TarParser;

void tar_init(TarParser *p);

/* Consumes up to `len` bytes and says what they are; at least one unless len is 0 (then
 * TAR_NEED_MORE) or the stream is bad. */
size_t tar_step(TarParser *p, const uint8_t *in, size_t len, TarPiece *piece, Error *err);

/* True once both zero blocks have been seen. */
bool tar_finished(const TarParser *p);

/* Writes the header of `e` as PostgreSQL would (offsets are not used; owner names "postgres"). */
void tar_format_header(uint8_t out[TAR_BLOCK], const TarEntry *e);

#endif
