/*
 * walmap.h: which WAL a repository holds, as ranges of segments for each timeline.
 *
 * Made by one listing; memory grows with the number of timelines and holes, not of segments.
 * Partial and backup history files do not count. One owner; reading it is thread-safe.
 */
#ifndef PITR_REPO_WALMAP_H
#define PITR_REPO_WALMAP_H

#include "pg/timeline.h"
#include "repo/walkey.h"

/* Segments without a hole between them: all with one content, or all with several. */
typedef struct WalRange {
    uint64_t first, last; /* segment numbers */
    uint64_t stored_size; /* of all their objects */
    bool conflict;        /* several contents are stored for each: recovery can't be served */
} WalRange;

typedef struct WalTimeline {
    uint32_t tli;
    bool followed;           /* its history is known: it is 1, or its file is stored and sound */
    char *trouble;           /* else: why not */
    TimelineHistory history; /* if followed */
    WalRange *ranges;        /* ascending */
    size_t count, room;
    uint64_t newest_size; /* stored size of the last segment added */
} WalTimeline;

typedef struct WalMap {
    uint32_t segsize;       /* bytes; 0: not known, and no ranges then */
    WalTimeline *timelines; /* ascending */
    size_t count, room;
    uint64_t misfits; /* segments whose names don't suit the segment size */
} WalMap;

/* Finds the segment size by reading the header of a stored segment; 0 if there is none. ERR_DAMAGED
 * when the first few can't be read. */
bool walmap_segsize(Repo *repo, uint32_t *segsize, Error *err);

/* Lists the WAL of a repository into a new map, and reads the history files that it finds. A
 * damaged one is noted as that timeline's trouble. The caller frees with walmap_free(), also on
 * failure. */
bool walmap_load(WalMap *map, Repo *repo, uint32_t segsize, Error *err);
void walmap_free(WalMap *map);

/* The timeline, made if it is not there: without WAL and, but for 1, without a known history. Valid
 * until the next call that makes one. */
WalTimeline *walmap_timeline(WalMap *map, uint32_t tli);

/* The timeline, or NULL. */
const WalTimeline *walmap_find(const WalMap *map, uint32_t tli);

/* Adds a listed object; segments of a timeline come in ascending order. */
void walmap_add(WalMap *map, const WalObject *object);

typedef enum WalMapEnd {
    WALMAP_END,     /* nothing later is stored on the path */
    WALMAP_MISSING, /* a segment is missing that has stored ones behind it */
    WALMAP_CONFLICT /* a segment is stored with several contents */
} WalMapEnd;

/* Follows the path of a timeline that is `followed` from segment `from` on. *next is the first
 * segment that recovery can't be served (`from` if none can). A segment in which one timeline left
 * another belongs to the child: the parent's file of it leads past the fork. */
WalMapEnd walmap_follow(const WalMap *map, const WalTimeline *path, uint64_t from, uint64_t *next);

/* The name of a segment on the path of a timeline. */
void walmap_name(const WalMap *map, const WalTimeline *path, uint64_t segno,
                 char out[WALNAME_SEGMENT_TEXT]);

/* A timeline on whose path lies everything that `timeline` has, so that nothing is restored to the
 * latter that the former does not lead to; 0: there is none. */
uint32_t walmap_part_of(const WalMap *map, const WalTimeline *timeline);

#endif
