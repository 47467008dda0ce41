/*
 * timeline.h: timeline history files, `<tli>.history`.
 *
 * A timeline's file lists the timelines that it descends from, oldest first, each with the LSN at
 * which the next one left it:
 *
 *     1<TAB>0/3000060<TAB>before 2026-11-21 03:00:00+00
 *
 * Source: src/backend/access/transam/timeline.c (readTimeLineHistory, tliOfPointInHistory). As
 * there, the numbers of timelines must ascend, but switch points need not: a restore that follows
 * timeline 2 and stops before 2 began writes 2 as its parent all the same. The newest entry wins,
 * so that 2 is then no part of the path. Bytes are hostile. A TimelineHistory has one owner;
 * reading it is thread-safe.
 */
#ifndef PITR_PG_TIMELINE_H
#define PITR_PG_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct TimelineSwitch {
    uint32_t tli; /* the timeline that was left */
    uint64_t lsn; /* where; this byte belongs to the child */
    char *reason; /* the rest of the line, may be empty; control characters are '?' */
} TimelineSwitch;

typedef struct TimelineHistory {
    uint32_t tli;            /* whose history this is */
    TimelineSwitch *entries; /* ancestors, ascending tli */
    size_t count;
    size_t room;
} TimelineHistory;

/* The history of a timeline without ancestors: timeline 1, which has no file. */
void timeline_history_init(TimelineHistory *h, uint32_t tli);

/* Reads the content of <tli>.history. The caller frees *out with timeline_history_free(), which is
 * harmless on failure too. Comments, blank lines and a missing last newline are in order, as is an
 * empty file. ERR_DAMAGED with the line's number for anything else. */
bool timeline_history_parse(uint32_t tli, const char *text, size_t len, TimelineHistory *out,
                            Error *err);

void timeline_history_free(TimelineHistory *h);

/* Where the path of `h` leaves `parent`: its own switch point, or an earlier one of a later entry.
 * False if `parent` is no ancestor; the timeline itself is none. */
bool timeline_switch_point(const TimelineHistory *h, uint32_t parent, uint64_t *lsn);

/* The timeline that the byte at `lsn` belongs to on the path of `h`. */
uint32_t timeline_at(const TimelineHistory *h, uint64_t lsn);

/* True if the byte at `lsn` of timeline `tli` is on the path of `h`. For the end of something (a
 * backup's stop LSN) give the LSN less 1: an end at the switch point is still on the parent. */
bool timeline_contains(const TimelineHistory *h, uint32_t tli, uint64_t lsn);

#endif
