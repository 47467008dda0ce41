/*
 * timelines.h: which timelines a repository holds.
 */
#ifndef PITR_REPO_TIMELINES_H
#define PITR_REPO_TIMELINES_H

#include "pg/timeline.h"
#include "repo/repo.h"

typedef struct Timeline {
    TimelineHistory history;
    bool has_wal; /* some segment of it is stored */
} Timeline;

typedef struct Timelines {
    Timeline *timelines; /* each that has WAL or a history file, ascending */
    size_t count;
} Timelines;

/* Reads every history file. A timeline whose history is missing (but 1, which has none) or damaged
 * is left out with a warning: nothing can be recovered along it. */
bool timelines_load(Repo *repo, Timelines *out, Error *err);
void timelines_free(Timelines *t);

/* The history of `tli`, or NULL. */
const TimelineHistory *timelines_find(const Timelines *t, uint32_t tli);

/* True if some timeline leaves `tli` within [start, end). */
bool timelines_fork_inside(const Timelines *t, uint32_t tli, uint64_t start, uint64_t end);

#endif
