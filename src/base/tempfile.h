/*
 * tempfile.h: a file that appears under its name whole and durable, or not at all.
 *
 *     TempFile t;
 *     if (!tempfile_open(&t, dir, 0600, err)) return false;
 *     ok = fs_write(t.fd, …) && tempfile_publish_new(&t, path, &existed, err);
 *     tempfile_discard(&t);               // always; after a publish it only closes
 *
 * Where the file system knows O_TMPFILE the file has no name until it is published, so that even
 * kill -9 leaves nothing behind. Elsewhere it is ".pitr-tmp-<pid>-<n>" in `dir`, removed by
 * tempfile_discard. `dir` must be on the file system of the final path. One owner, one thread.
 */
#ifndef PITR_BASE_TEMPFILE_H
#define PITR_BASE_TEMPFILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* What a directory listing leaves out. */
#define TEMPFILE_PREFIX ".pitr-tmp-"

typedef struct TempFile {
    int fd;
    char *dir;
    char *name; /* NULL while the file has none */
} TempFile;

bool tempfile_open(TempFile *t, const char *dir, mode_t mode, Error *err);

/* fsync, then link under `path`, which must not exist: otherwise *existed is set, what is there is
 * left untouched and the result is still true. Directories are not synced: the caller knows which. */
bool tempfile_publish_new(TempFile *t, const char *path, bool *existed, Error *err);

/* fsync, rename over `path`, fsync of `dir`. */
bool tempfile_publish_over(TempFile *t, const char *path, Error *err);

/* Closes, and removes what was not published. */
void tempfile_discard(TempFile *t);

#endif
