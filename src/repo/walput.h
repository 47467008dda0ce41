/*
 * walput.h: WAL files into repositories.
 *
 * A file is read once (a segment over 64 MiB twice, so that memory stays bounded), its header
 * checked, compressed and hashed in that pass, and stored under a key that carries the first 16 hex
 * digits of the raw content's SHA-256, so that storing the same content again changes nothing. A
 * second content for a segment or a history file is refused and the stored one left untouched.
 * Backup history files (.backup) and partial segments may come with several contents.
 */
#ifndef PITR_REPO_WALPUT_H
#define PITR_REPO_WALPUT_H

#include "base/buf.h"
#include "pg/walname.h"
#include "repo/repo.h"

typedef struct WalFile {
    WalName name;
    char text[64]; /* the name as text */
    char *path;
    char hash[17]; /* of the raw content */
    uint64_t size; /* of the raw content */
    int level;     /* of lz4 */
    bool in_memory;
    Buf stored; /* compressed content (of a history file: as it is) if in_memory */
    Buf raw;    /* history files only */
} WalFile;

/* Reads and checks `path`, which PostgreSQL calls `name`; a segment must be of system `sysid`.
 * ERR_DAMAGED for content that is no such file, ERR_USAGE for another system's, ERR_INTERNAL when
 * it can't be read. The caller frees with walfile_free, also after a failure. */
bool walfile_load(WalFile *file, const char *path, const WalName *name, uint64_t sysid, int level,
                  Error *err);
void walfile_free(WalFile *file);

/* Stores a loaded file durably. ERR_REPO with the cause in the hint when another content is there
 * already. */
bool walfile_store(WalFile *file, Repo *repo, Error *err);

#endif
