/*
 * unpack_private.h: between unpack.c (the index, who does what) and unpack_pack.c (one pack).
 */
#ifndef PITR_REPO_UNPACK_PRIVATE_H
#define PITR_REPO_UNPACK_PRIVATE_H

#include <stdatomic.h>

#include "repo/index.h"
#include "repo/unpack.h"

/* The part of a file that lies in a pack. */
typedef struct UnpackPiece {
    char *path;
    uint64_t size;        /* of the whole file */
    uint64_t data_offset; /* of its content in the archive's stream */
    uint32_t mode;
    uint64_t uid, gid;
    bool first; /* this piece makes the file: size, mode, owner */
} UnpackPiece;

typedef struct UnpackJob {
    IndexPack pack;
    UnpackPiece *pieces; /* in stream order */
    size_t piece_count, piece_room;
    IndexFrame *frames;
    size_t frame_count, frame_room;
} UnpackJob;

typedef struct UnpackShared {
    const UnpackOptions *options;
    atomic_uint_fast64_t done, kept, read_size;
} UnpackShared;

/* Restores one pack; frees the job. PoolRun. */
bool unpack_pack(void *ctx, void *job, Error *err);

/* PoolDrop. */
void unpack_drop(void *ctx, void *job);

#endif
