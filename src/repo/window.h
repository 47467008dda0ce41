/*
 * window.h: recovery windows: from when until when a cluster can be restored.
 *
 * A window of a timeline begins at the end of a usable backup on the timeline's path and goes as
 * far as the archived WAL does from there without a hole. Behind a hole a later backup begins the
 * next window. Usable is a backup without damage whose own WAL, start to stop, is stored.
 */
#ifndef PITR_REPO_WINDOW_H
#define PITR_REPO_WINDOW_H

#include "repo/catalog.h"
#include "repo/walmap.h"
#include "repo/waltarget.h"

typedef struct Window {
    uint32_t tli;
    const Backup *
        *backups; /* usable ones, in order; the catalogue's. The first begins the window */
    size_t count, room;
    uint64_t first; /* the segment that the first backup begins in */
    uint64_t next;  /* the first segment that is not there */
    WalMapEnd end;  /* why it ends */
    bool any_tail;  /* window_read() succeeded */
    WalTail tail;
} Window;

/* The windows of a timeline, in order; the caller frees with windows_free(). They refer to the
 * catalogue. None where the timeline is not `followed`. Only looks at what it is given. */
size_t windows_find(const WalMap *map, const WalTimeline *timeline, const Catalog *catalog,
                    Window **out);
void windows_free(Window *windows, size_t count);

/* Reads the end of the window's WAL to learn the last commit. Errors: those of reading. */
bool window_read(Window *window, Repo *repo, uint32_t segsize, Error *err);

/* The latest moment that can be restored to; false if no commit behind the first backup is there.
 */
bool window_latest(const Window *window, Instant *latest);

/* True if the backup lies on the path of a timeline. */
bool window_on_path(const WalTimeline *timeline, const Backup *backup);

/* Is all WAL stored that a backup needs for itself? Else *missing is the first segment that is not
 * there, or is there with several contents. False too where its timeline is not followed; *known is
 * false then, and *missing not set. */
bool window_backup_whole(const WalMap *map, const Backup *backup, uint64_t *missing, bool *known);

#endif
