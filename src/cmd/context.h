/*
 * context.h: what several commands need from configuration and surroundings.
 */
#ifndef PITR_CMD_CONTEXT_H
#define PITR_CMD_CONTEXT_H

#include "config/config.h"
#include "pg/control.h"
#include "repo/repo.h"

typedef struct Repos {
    Repo *repo[REPO_MAX_REPOS];
    int count;
} Repos;

/* Opens every configured repository; nothing is contacted. */
bool context_open_repos(const Config *config, Repos *repos, Error *err);
void context_close_repos(Repos *repos);

/* Binds every repository to a system. */
void context_use_system(Repos *repos, int major, uint64_t sysid);

/* The data directory that a WAL path given by PostgreSQL belongs to: the parent of its pg_wal, else
 * the working directory, else the configured one, whichever holds global/pg_control. The caller
 * frees; NULL with ERR_USAGE. */
char *context_data_directory(const Config *config, const char *wal_path, Error *err);

/* Identity of the cluster in a data directory. */
bool context_identify(const char *data_directory, ControlFile *control, int *major, Error *err);

/* Reports a failure and returns its exit code. */
int context_fail(const Error *err);

#endif
