/*
 * manifest.h: a streaming reader of PostgreSQL's backup_manifest.
 *
 *     ManifestReader *r = manifest_open(&sink);
 *     while (more)
 *         if (!manifest_feed(r, data, len, err)) …
 *     ok = manifest_finish(r, &info, err);
 *     manifest_free(r);
 *
 * The format is that of the documentation's "Backup Manifest Format" (version 1: servers 13 to 16,
 * version 2: 17 and later, which adds System-Identifier), in the layout that
 * src/backend/backup/backup_manifest.c writes: one file or WAL range per line. Any size is read in
 * the memory of one line (at most MANIFEST_LINE_MAX). JSON of another layout is refused.
 *
 * What the callbacks are told is not proven before manifest_finish() has compared the manifest's
 * own checksum. Errors are ERR_DAMAGED and final; a callback's error is passed on. One thread at a
 * time.
 */
#ifndef PITR_PG_MANIFEST_H
#define PITR_PG_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { MANIFEST_LINE_MAX = 64 * 1024, MANIFEST_VERSION_MAX = 2 };

/* Strings are valid during the callback only. */
typedef struct ManifestFile {
    const char *path; /* relative to the data directory, checked; bytes of any encoding */
    uint64_t size;
    const char *last_modified; /* "2026-11-21 03:00:00 GMT" */
    const char *algorithm;     /* CRC32C, SHA224, SHA256, SHA384, SHA512; NULL: no checksum */
    const char *checksum;      /* hexadecimal, its length checked; NULL: none. A CRC32C is the four
                                  bytes in the server's byte order (least significant first) */
} ManifestFile;

typedef struct ManifestSink {
    void *ctx;
    bool (*file)(void *ctx, const ManifestFile *file, Error *err);
    bool (*wal_range)(void *ctx, uint32_t tli, uint64_t start, uint64_t end, Error *err);
} ManifestSink;

typedef struct ManifestInfo {
    int version;
    uint64_t sysid; /* 0 in version 1 */
    uint64_t files;
    uint64_t bytes; /* sum of the files' sizes */
} ManifestInfo;

typedef struct ManifestReader ManifestReader;

/* `sink` is copied; either callback may be NULL. Never NULL. */
ManifestReader *manifest_open(const ManifestSink *sink);

/* Takes the next `len` bytes, cut anywhere. */
bool manifest_feed(ManifestReader *r, const void *data, size_t len, Error *err);

/* True if the whole manifest was read and its checksum is right; `info` may be NULL. */
bool manifest_finish(ManifestReader *r, ManifestInfo *info, Error *err);

/* NULL is allowed. */
void manifest_free(ManifestReader *r);

#endif
