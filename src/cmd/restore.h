/*
 * restore.h: between the files of `pitr restore`: restore.c (the order of things),
 * restore_options.c (what is asked for), restore_dirs.c (the directories, before and while they are
 * changed), restore_finish.c (what a restored data directory needs beside the backup's files),
 * restore_thaw.c (objects that must be thawed first) and restore_show.c (the plan for people and programs).
 */
#ifndef PITR_CMD_RESTORE_H
#define PITR_CMD_RESTORE_H

#include "cmd/context.h"
#include "repo/plan.h"
#include "repo/unpack.h"

/* In the data directory while a restore is at work there, or was interrupted. */
#define RESTORE_MARKER ".pitr-restore"

typedef struct RestoreRun {
    const Config *config;
    Repo *repo;
    PlanRequest request;
    Plan plan;

    char *data;      /* absolute */
    bool data_empty; /* or not there at all */
    bool production;
    bool resumed; /* an interrupted restore had begun there */
    bool delta, force;
    char *restore_command;

    UnpackRoot *roots; /* [0] is the data directory */
    char **old_places; /* of roots[i], on the server that was backed up */
    size_t root_count;

    int lock;        /* descriptor of the locked data directory, -1: none */
    char *saved_wal; /* where the old pg_wal was moved; NULL: nowhere */
    Buf said;        /* lines about neutralised settings */
    UnpackTotals totals;
    Instant begun;
    bool touched; /* something was changed */
} RestoreRun;

/* Reads the target and what else is asked for. ERR_USAGE. */
bool restore_read_request(RestoreRun *run, Error *err);

/* The command that the restored server fetches WAL with. */
bool restore_make_command(RestoreRun *run, Error *err);

/* Looks at every directory and refuses what must not be touched; changes nothing. Fills roots. */
bool restore_check_dirs(RestoreRun *run, Error *err);

/* Makes and empties directories as far as --delta and --force say; pg_control goes first. */
bool restore_prepare_dirs(RestoreRun *run, Error *err);

/* All but pg_control is in place: the mark goes first, so that what can be started is whole. */
bool restore_remove_marker(const RestoreRun *run, Error *err);

/* Tablespace links and map, manifest, recovery configuration, last partial segment, owners. */
bool restore_finish(RestoreRun *run, Error *err);

/* Refuses a plan whose objects are cold, or with --thaw asks for them and waits. *waited: the plan
 * must be made again. */
bool restore_thaw(RestoreRun *run, bool *waited, Error *err);

/* Prints the plan on stdout, as text or (with the result, if it is done) as JSON. */
void restore_show_plan(const RestoreRun *run);
void restore_show_json(const RestoreRun *run, bool done);
void restore_show_done(const RestoreRun *run);

#endif
