/*
 * plan.h: the plan of a restore, made before a byte is written.
 *
 * Which timeline, which backup, which WAL, and where exactly recovery will stop: read from what is
 * stored, so that a restore that can't succeed fails here. ERR_TARGET says what is missing and what
 * can be had instead. What a plan prints and what is written into the recovery settings come from
 * this one struct.
 */
#ifndef PITR_REPO_PLAN_H
#define PITR_REPO_PLAN_H

#include "pg/recovery.h"
#include "repo/catalog.h"
#include "repo/walchain.h"
#include "repo/waltarget.h"

typedef struct PlanRequest {
    RecoveryTarget target;
    Instant time;
    uint64_t lsn;
    uint32_t xid;
    const char *name;
    bool exclusive;
    uint32_t tli;       /* 0: chosen */
    const char *backup; /* label; NULL: chosen */
    bool allow_damaged;
    bool thawed;        /* cold objects have been brought back, whatever listings say */
} PlanRequest;

typedef struct Plan {
    PlanRequest request;
    Catalog catalog;
    const Backup *backup;
    uint32_t tli;      /* recovery_target_timeline */
    WalChain chain;    /* from the backup's first segment on */
    uint64_t last;     /* the last segment number that recovery needs, or may use */
    bool cold;         /* plan_make() failed because WAL must be thawed first */
    bool use_partial;  /* the last one is stored as .partial only and is put into pg_wal */
    /* What recovery is told: not always what was asked for. */
    RecoveryTarget target;
    uint64_t lsn;
    bool exclusive;
    WalStop stop;      /* TIME: where it stops */
    WalMoment at;      /* XID, NAME, LSN: the record that was found */
    WalTail tail;      /* NONE, and times behind the last commit: the end of the WAL */
    char **notes;      /* for people, a line each */
    size_t note_count, note_room;
} Plan;

/* Makes the plan. On success and on failure the caller frees it with plan_free(). */
bool plan_make(Plan *plan, Repo *repo, const PlanRequest *request, Error *err);
void plan_free(Plan *plan);

/* Adds a line for people. */
void plan_note(Plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
