/*
 * unpack.h: the packs of a base backup into directories.
 *
 * The index is read once, in order; directories are made on the way, and each pack with the pieces
 * of files that lie in it goes to a worker. Files are written in place; every frame is held against
 * its SHA-256 before its bytes are written. global/pg_control is written under another name and
 * gets its own only by unpack_commit(), so that an interrupted restore can't be started by mistake.
 *
 * With `delta`, frames whose bytes a file holds already are neither read nor written: a file of the
 * right size is read and compared frame by frame.
 */
#ifndef PITR_REPO_UNPACK_H
#define PITR_REPO_UNPACK_H

#include "repo/catalog.h"

#define UNPACK_CONTROL      "global/pg_control"
#define UNPACK_CONTROL_TEMP "global/pg_control.pitr-restore"

typedef struct UnpackRoot {
    uint32_t oid;    /* 0: the data directory */
    const char *dir; /* exists; absolute */
} UnpackRoot;

typedef struct UnpackOptions {
    Repo *repo;
    const Backup *backup;
    const UnpackRoot *roots;
    size_t root_count;
    int workers;
    bool delta;
    bool follow_pg_wal; /* a link called pg_wal is the operator's; any other link is replaced */
    const char *keep;   /* delta: a file of the data directory that stays; may be NULL */
    bool set_owner; /* as the backup had it; needs root */
    void (*progress)(void *ctx, uint64_t raw_bytes); /* any thread; may be NULL */
    void *ctx;
} UnpackOptions;

typedef struct UnpackTotals {
    uint64_t files;
    uint64_t raw_size;  /* of all packs */
    uint64_t kept;      /* bytes that were right already */
    uint64_t read_size; /* stored bytes that were read */
} UnpackTotals;

/* Every object of the backup is there with its size: what a listing can tell. ERR_DAMAGED. */
bool unpack_check(Repo *repo, const Backup *backup, Error *err);

/* Writes all files. With delta, afterwards removes what the backup does not have. Nothing is synced
 * yet. ERR_DAMAGED for wrong bytes, with the object's name. */
bool unpack_run(const UnpackOptions *options, UnpackTotals *totals, Error *err);

/* Makes everything durable, then gives pg_control its name. */
bool unpack_commit(const UnpackOptions *options, Error *err);

#endif
