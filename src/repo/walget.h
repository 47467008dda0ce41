/*
 * walget.h: WAL files out of a repository, verified before anybody sees them.
 */
#ifndef PITR_REPO_WALGET_H
#define PITR_REPO_WALGET_H

#include "repo/walkey.h"

/* Makes `dest` the WAL file, durably and at once (temporary file, fsync, rename): content checksum,
 * hash of the key, header and size are verified before. ERR_DAMAGED when one is wrong, ERR_REPO or
 * ERR_NO when the object can't be read, ERR_INTERNAL when `dest` can't be written. Thread-safe. */
bool walget_file(Repo *repo, const WalObject *object, const char *dest, Error *err);

/* Appends a history file's content to `out`. ERR_NO if it is proven absent. Thread-safe. */
bool walget_history(Repo *repo, uint32_t tli, Buf *out, Error *err);

/* A stored segment's raw content as a stream that is read from its beginning. The hash is verified
 * when the end is reached, the lz4 checksum too; a caller that stops early has neither. */
typedef struct WalStream WalStream;
WalStream *walstream_open(Repo *repo, const WalObject *object, Error *err);
bool walstream_read(WalStream *ws, void *data, size_t len, size_t *got, Error *err);
void walstream_close(WalStream *ws);

#endif
