/*
 * catalog.h: which base backups a repository holds. There is no catalogue object: it is derived by
 * listing. base/<label>/begin.json takes a label, base/<label>/backup.json, written last, makes the
 * backup exist. Both are JSON objects (docs/repository-format.md).
 */
#ifndef PITR_REPO_CATALOG_H
#define PITR_REPO_CATALOG_H

#include <jansson.h>

#include "base/clock.h"
#include "pg/walname.h"
#include "repo/packwrite.h"
#include "repo/repo.h"

#define LABEL_TEXT 24 /* 20261121T030000Z-F */

typedef struct BackupTablespace {
    uint32_t oid;
    char *location;
} BackupTablespace;

typedef struct Backup {
    char label[LABEL_TEXT];
    char *pitr_version;
    char *host; /* that the backup ran on */
    int major;
    int server_version; /* 150020 */
    uint64_t sysid;
    uint32_t segsize; /* bytes in a WAL segment */
    bool from_standby;
    uint64_t start_lsn, stop_lsn;
    uint32_t start_tli, stop_tli;
    /* By the server's clock as far as it shows (clock_skew corrects ours). */
    Instant start_time, stop_time;
    Instant written; /* when backup.json was made, by our clock */
    int64_t clock_skew; /* our clock less the server's, microseconds */
    PackTotals totals;
    size_t pack_size;
    char index_sha256[65];
    uint64_t index_size;
    char manifest_sha256[65]; /* of the raw manifest */
    uint64_t manifest_size;   /* raw */
    BackupTablespace *tablespaces;
    size_t tablespace_count;
    bool damaged; /* the server found bad page checksums */
    char **damage; /* what it said, a line each */
    size_t damage_count;
} Backup;

void backup_free(Backup *backup);

/* The backup as JSON, which the caller decrefs. */
json_t *backup_to_json(const Backup *backup);

/* Reads it back; ERR_DAMAGED. */
bool backup_from_json(const json_t *json, Backup *out, Error *err);

/* Takes the first free label from `now` on by storing its begin.json. */
bool catalog_begin(Repo *repo, Instant now, char label[LABEL_TEXT], Error *err);

/* Stores backup.json. */
bool catalog_finish(Repo *repo, const Backup *backup, Error *err);

/* Removes all objects of a backup that failed, as far as the store lets us: backup.json first, and
 * nothing else where that can't be removed. */
void catalog_discard(Repo *repo, const char *label);

typedef struct Catalog {
    Backup *backups; /* in the order of timeline and stop LSN */
    size_t count;
    char (*unfinished)[LABEL_TEXT]; /* labels with begin.json only */
    size_t unfinished_count;
    size_t unreadable; /* damaged backup.json, warned about and left out */
} Catalog;

/* Lists what is there. */
bool catalog_load(Repo *repo, Catalog *out, Error *err);
void catalog_free(Catalog *catalog);

/* The backup with this label, or NULL. */
const Backup *catalog_find(const Catalog *catalog, const char *label);

#endif
