/*
 * index.h: the index of a base backup: which packs, entries and frames it has.
 *
 * Lines of tab-separated fields, in stream order; the stored object is this text in one lz4 frame.
 * docs/repository-format.md is the format's specification:
 *
 *     pitr-index  1
 *     archive  <name>  <oid>  <location>                 base has oid 0 and location -
 *     pack     <key name>  <raw offset>  <raw size>  <stored size>  <sha256 of the stored pack>
 *     file     <path>  <mode>  <uid>  <gid>  <mtime>  <size>  <raw offset of the content>
 *     dir      <path>  <mode>  <uid>  <gid>  <mtime>
 *     link     <path>  <target>
 *     frame    <raw offset>  <raw size>  <stored offset>  <stored size>  <sha256 of the raw bytes>
 *     end      <archives>  <packs>  <entries>
 *
 * Entries stand behind the pack that holds their tar header, before that pack's frames. Raw offsets
 * count in the archive's tar stream, stored offsets in the pack. In path, target and location
 * backslash, tab and newline are written \\ \t \n.
 */
#ifndef PITR_REPO_INDEX_H
#define PITR_REPO_INDEX_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "pg/tar.h"
#include "stream/digest.h"

typedef struct IndexArchive {
    char name[16]; /* "base", or the oid */
    uint32_t oid;
    const char *location;
} IndexArchive;

typedef struct IndexPack {
    char name[48]; /* base-00000000.tar.lz4 */
    uint64_t raw_offset;
    uint64_t raw_size;
    uint64_t stored_size;
    char sha256[SHA256_HEX];
} IndexPack;

typedef struct IndexFrame {
    uint64_t raw_offset;
    uint32_t raw_size;
    uint64_t stored_offset;
    uint32_t stored_size;
    uint8_t sha256[SHA256_BYTES];
} IndexFrame;

/* Append a line each. */
void index_put_head(Buf *out);
void index_put_archive(Buf *out, const IndexArchive *archive);
void index_put_pack(Buf *out, const IndexPack *pack);
void index_put_entry(Buf *out, const TarEntry *entry);
void index_put_frame(Buf *out, const IndexFrame *frame);
void index_put_end(Buf *out, uint64_t archives, uint64_t packs, uint64_t entries);

typedef enum IndexKind {
    INDEX_HEAD,
    INDEX_ARCHIVE,
    INDEX_PACK,
    INDEX_ENTRY,
    INDEX_FRAME,
    INDEX_END
} IndexKind;

typedef struct IndexLine {
    IndexKind kind;
    IndexArchive archive;
    IndexPack pack;
    TarEntry entry; /* header_offset is not kept */
    IndexFrame frame;
    uint64_t archives, packs, entries; /* INDEX_END */
} IndexLine;

/* Reads one line (zero-terminated, without its newline; changed in place: texts point into it).
 * ERR_DAMAGED. Paths are checked to be relative and to stay inside. */
bool index_parse(char *line, IndexLine *out, Error *err);

#endif
