/*
 * manifest_store.h: PostgreSQL's backup_manifest as an object of a backup, stored as is (in lz4).
 */
#ifndef PITR_REPO_MANIFEST_STORE_H
#define PITR_REPO_MANIFEST_STORE_H

#include "repo/packwrite.h"

typedef struct ManifestStore ManifestStore;

/* Stores what is written to it and holds it against the packs of `w` on the way. NULL on failure.
 * One owner, one thread. */
ManifestStore *manifest_store_begin(Repo *repo, const char *label, PackWriter *w, int level,
                                    Error *err);
bool manifest_store_write(ManifestStore *m, const void *data, size_t len, Error *err);

/* The manifest is whole, its own checksum right, and lists exactly what was streamed; then it is
 * stored. Its raw size and SHA-256 are filled. */
bool manifest_store_finish(ManifestStore *m, uint64_t *size, char sha256[65], Error *err);

/* Aborts what is not finished. NULL is allowed. */
void manifest_store_free(ManifestStore *m);

#endif
