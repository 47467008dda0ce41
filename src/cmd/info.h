/*
 * info.h: what `pitr info` gathers, shared by its two ways of showing it.
 */
#ifndef PITR_CMD_INFO_H
#define PITR_CMD_INFO_H

#include <jansson.h>

#include "repo/window.h"

typedef struct InfoWindow {
    Window window;
    char *trouble; /* why its end can't be read; NULL */
} InfoWindow;

typedef struct InfoBackup {
    const Backup *backup;               /* the catalogue's */
    bool known;                         /* its timeline can be followed */
    bool whole;                         /* its own WAL is stored */
    char missing[WALNAME_SEGMENT_TEXT]; /* if known and not whole */
} InfoBackup;

typedef struct InfoSystem {
    RepoSystem id;
    Catalog catalog;
    WalMap map;
    InfoBackup *backups; /* as many as the catalogue has */
    InfoWindow *windows; /* by timeline, then in order */
    size_t window_count, window_room;
} InfoSystem;

typedef struct InfoRepo {
    Repo *repo;
    bool failed;
    Error error; /* if failed */
    InfoSystem *systems;
    size_t count;
    char **others; /* names of other clusters, where this one has nothing */
    size_t other_count, other_room;
} InfoRepo;

void info_print_text(const InfoRepo *repos, int count);
json_t *info_to_json(const char *cluster, const InfoRepo *repos, int count);

#endif
