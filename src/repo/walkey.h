/*
 * walkey.h: keys of WAL files in a repository, and finding what is stored under them.
 * Thread-safe. See repo.h for the layout.
 */
#ifndef PITR_REPO_WALKEY_H
#define PITR_REPO_WALKEY_H

#include "pg/walname.h"
#include "repo/repo.h"

#define WALKEY_SUFFIX ".lz4"

typedef struct WalObject {
    char key[REPO_MAX_KEY];
    char hash[17]; /* first 16 hex digits of the raw content's SHA-256; "" for history files */
    WalName name;
    uint64_t stored_size;
    int64_t modified; /* microseconds since 1970, the store's clock */
    bool cold;        /* see StorageObject */
} WalObject;

/* The key of a segment, partial or backup history file with a content hash; of a history file. */
void walkey_make(const Repo *repo, const char *name, const char *hash, char key[REPO_MAX_KEY]);
void walkey_history(const Repo *repo, uint32_t tli, char key[REPO_MAX_KEY]);

/* Reads a listed object back into its parts; false for what is no WAL file of ours. */
bool walkey_parse(const Repo *repo, const StorageObject *object, WalObject *out);

/* Finds what is stored for a WAL file: one of the contents, and how many different ones there are.
 * ERR_NO: a listing proved that there is none. */
bool walkey_find(Repo *repo, const WalName *name, WalObject *out, size_t *contents, Error *err);

/* Called for each WAL file; see StorageListCallback. */
typedef bool (*WalListCallback)(void *ctx, const WalObject *object, bool *stop, Error *err);

/* Lists WAL files in the order of their keys: with tli 0 all, history files included; else the
 * segments, partial and backup files of that timeline whose names sort behind `after` (a segment's
 * 24 digits; NULL: all). */
bool walkey_list(Repo *repo, uint32_t tli, const char *after, WalListCallback callback, void *ctx,
                 Error *err);

/* True if the repository holds any WAL segment or history file of the system. */
bool walkey_any(Repo *repo, bool *any, Error *err);

/* The lowest segment of the timeline stored behind `name`; ERR_NO if there is none. */
bool walkey_next_stored(Repo *repo, const WalName *name, WalObject *out, Error *err);

#endif
