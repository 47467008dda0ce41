/*
 * repo.h: one repository and the layout of its keys (docs/repository-format.md).
 *
 *     v1/<cluster>/<major>-<system-id>/        a system: what one initdb made, at one major version
 *         wal/<first 16 digits>/<segment>-<h>.lz4      also …-<h> of .partial and .backup files
 *         wal/<tli>.history
 *         base/<label>/…
 *
 * A Repo is bound to a system by repo_use_system() before anything of it is read or written.
 * Thread-safe once bound.
 */
#ifndef PITR_REPO_REPO_H
#define PITR_REPO_REPO_H

#include <stdint.h>

#include "base/error.h"
#include "storage/storage.h"
#include "stream/filter.h"

#define REPO_FORMAT   "v1"
#define REPO_MAX_KEY  512
#define REPO_MAX_REPOS 16

typedef struct Repo {
    char *name;
    char *cluster;
    bool required; /* archive fails without it */
    Storage *storage;
    int major;       /* of the system in use; 0: none yet */
    uint64_t sysid;
    char *prefix; /* "v1/<cluster>/<major>-<sysid>/"; NULL: no system yet */
} Repo;

/* Opens a repository, called as its storage, for one cluster; no system is chosen yet. */
Repo *repo_open(const StorageOptions *options, const char *cluster, bool required, Error *err);
void repo_close(Repo *repo);

/* Chooses the system whose keys are meant from now on. */
void repo_use_system(Repo *repo, int major, uint64_t sysid);

typedef struct RepoSystem {
    int major;
    uint64_t sysid;
} RepoSystem;

/* The systems that the repository holds for its cluster, by major version and id; the caller frees
 * *out. ERR_REPO, with a hint, for a repository of a newer format. */
bool repo_systems(Repo *repo, RepoSystem **out, size_t *count, Error *err);

/* Formats "<prefix><text>" into `key`; text is formatted as printf does. */
void repo_key(const Repo *repo, char key[REPO_MAX_KEY], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

typedef enum RepoOwner { OWNER_SELF, OWNER_OTHER, OWNER_UNKNOWN } RepoOwner;

/* Whose is an object that a put found under its key? The answer to an earlier attempt may have been
 * lost: it is our own if it has this SHA-256 (hexadecimal), unknown where it may not be read. */
bool repo_owner(const Repo *repo, const char *key, const char *sha256, RepoOwner *owner, Error *err);

/* The same for a key that only this run writes: what is unknown is its own, and another's ERR_REPO.
 */
bool repo_own_object(const Repo *repo, const char *key, const char *sha256, Error *err);

/* Pushes a whole object through `chain` and finishes it; the chain stays the caller's. */
bool repo_read_through(const Repo *repo, const char *key, Filter *chain, Error *err);

#endif
