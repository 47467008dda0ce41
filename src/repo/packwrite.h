/*
 * packwrite.h: cuts the tar streams of a base backup into packs and stores them.
 *
 * A pack is a run of independent lz4 frames, cut at about `pack_size` raw bytes at a frame's end;
 * in order, an archive's packs are one ordinary tar. A file of 64 KiB or more has frames of its own
 * that begin at its offset 0 and hold PACK_FRAME bytes each (the last one less), so that equal
 * content gives equal frames; headers and smaller files share frames. The thread that feeds does
 * the cutting and the files' CRC-32C, worker threads compress, hash and store. The index and the
 * list of files for the comparison with PostgreSQL's manifest grow in spool files on disk, so
 * memory is two packs per worker and one more, whatever the size and number of files.
 */
#ifndef PITR_REPO_PACKWRITE_H
#define PITR_REPO_PACKWRITE_H

#include "pg/manifest.h"
#include "repo/repo.h"

#define PACK_FRAME     (256u * 1024)
#define PACK_OWN_FRAME (64u * 1024) /* a file this large has frames of its own */

typedef struct PackWriter PackWriter;

typedef struct PackOptions {
    Repo *repo;
    const char *label;
    size_t pack_size; /* raw bytes */
    int workers;
    int level;        /* of lz4 */
} PackOptions;

typedef struct PackTotals {
    uint64_t archives, packs, entries, files;
    uint64_t raw_size, stored_size; /* of all packs */
} PackTotals;

/* `options` is copied but for what it points to. NULL with ERR_INTERNAL. */
PackWriter *packwriter_new(const PackOptions *options, Error *err);

/* One archive after another; oid 0 is the data directory. */
bool packwriter_begin(PackWriter *w, uint32_t oid, const char *location, Error *err);
bool packwriter_data(PackWriter *w, const void *data, size_t len, Error *err);
bool packwriter_end(PackWriter *w, Error *err);

/* Once all archives are in: waits until every pack is stored, then stores the index. `totals` and
 * the index's SHA-256 and stored size are filled. */
bool packwriter_finish(PackWriter *w, PackTotals *totals, char index_sha256[65],
                       uint64_t *index_size, Error *err);

/* For manifest_open(): compares each file of the manifest with what was streamed, in order. */
bool packwriter_manifest_sink(PackWriter *w, ManifestSink *sink, Error *err);

/* After the whole manifest: were there streamed files that it does not list? ERR_DAMAGED. */
bool packwriter_manifest_end(PackWriter *w, Error *err);

/* What has been read so far, for progress. The feeding thread. */
uint64_t packwriter_raw_bytes(const PackWriter *w);

/* Our clock less the server's, in microseconds, as backup_label shows it: up to a second too much,
 * because its time has whole seconds, and the time the bytes were under way. The feeding thread. */
int64_t packwriter_clock_skew(const PackWriter *w);

/* Stops the workers and frees everything; stored packs stay. NULL is allowed. */
void packwriter_free(PackWriter *w);

#endif
