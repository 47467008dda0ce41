#include "repo/repo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "stream/digest.h"

Repo *repo_open(const StorageOptions *options, const char *cluster, bool required, Error *err)
{
    Storage *storage = storage_open(options, err);
    if (!storage)
        return NULL;
    Repo *repo = MEM_NEW(Repo);
    repo->name = mem_strdup(options->name);
    repo->cluster = mem_strdup(cluster);
    repo->required = required;
    repo->storage = storage;
    return repo;
}

void repo_close(Repo *repo)
{
    if (!repo)
        return;
    storage_close(repo->storage);
    free(repo->name);
    free(repo->cluster);
    free(repo->prefix);
    free(repo);
}

void repo_use_system(Repo *repo, int major, uint64_t sysid)
{
    free(repo->prefix);
    repo->major = major;
    repo->sysid = sysid;
    repo->prefix = mem_printf(REPO_FORMAT "/%s/%d-%" PRIu64 "/", repo->cluster, major, sysid);
}

typedef struct SystemList {
    RepoSystem *systems;
    size_t count, room;
} SystemList;

static bool take_system(void *ctx, const char *name, Error *err)
{
    (void)err;
    SystemList *list = ctx;
    RepoSystem s;
    int end = 0;
    if (sscanf(name, "%d-%" SCNu64 "%n", &s.major, &s.sysid, &end) == 2 && !name[end]) {
        MEM_GROW(list->systems, list->count, list->room);
        list->systems[list->count++] = s;
    }
    return true;
}

/* A layout that this program does not know must not look like an empty repository. */
static bool check_format(void *ctx, const char *name, Error *err)
{
    int version, end = 0;
    if (sscanf(name, "v%d%n", &version, &end) == 1 && !name[end] && version > 1) {
        error_set(err, ERR_REPO, "repository %s holds format v%d; this pitr reads v1",
                  ((Repo *)ctx)->name, version);
        return error_hint(err, "use the pitr that wrote it, or a newer one");
    }
    return true;
}

static int by_system(const void *a, const void *b)
{
    const RepoSystem *x = a, *y = b;
    if (x->major != y->major)
        return x->major < y->major ? -1 : 1;
    return (x->sysid > y->sysid) - (x->sysid < y->sysid);
}

bool repo_systems(Repo *repo, RepoSystem **out, size_t *count, Error *err)
{
    SystemList list = {0};
    char prefix[REPO_MAX_KEY];
    snprintf(prefix, sizeof(prefix), REPO_FORMAT "/%s/", repo->cluster);
    if (!storage_list_names(repo->storage, "", check_format, repo, err) ||
        !storage_list_names(repo->storage, prefix, take_system, &list, err)) {
        free(list.systems);
        return false;
    }
    if (list.count)
        qsort(list.systems, list.count, sizeof(list.systems[0]), by_system);
    *out = list.systems;
    *count = list.count;
    return true;
}

void repo_key(const Repo *repo, char key[REPO_MAX_KEY], const char *fmt, ...)
{
    size_t n = strlen(repo->prefix);
    memcpy(key, repo->prefix, n);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(key + n, REPO_MAX_KEY - n, fmt, ap);
    va_end(ap);
}

bool repo_read_through(const Repo *repo, const char *key, Filter *chain, Error *err)
{
    char chunk[32768];
    size_t got = 0;
    StorageReader *reader = storage_reader_open(repo->storage, key, err);
    if (!reader)
        return false;
    bool ok;
    do {
        ok = storage_reader_read(reader, chunk, sizeof(chunk), &got, err);
        if (ok && !filter_write(chain, chunk, got, err))
            ok = error_prefix(err, "%s", key);
    } while (ok && got > 0);
    storage_reader_close(reader);
    return ok && (filter_finish(chain, err) || error_prefix(err, "%s", key));
}

bool repo_owner(const Repo *repo, const char *key, const char *sha256, RepoOwner *owner, Error *err)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    uint64_t size;
    Filter *chain = filter_sha256(digest, filter_count(&size, NULL));
    bool ok = repo_read_through(repo, key, chain, err);
    filter_free(chain);
    /* What is gone again was another's: we have not removed it. */
    *owner = !ok && err->code == ERR_NO ? OWNER_OTHER : OWNER_UNKNOWN;
    if (!ok)
        return err->denied || err->code == ERR_NO;
    sha256_hex(digest, hex);
    *owner = strcmp(hex, sha256) == 0 ? OWNER_SELF : OWNER_OTHER;
    return true;
}

bool repo_own_object(const Repo *repo, const char *key, const char *sha256, Error *err)
{
    RepoOwner owner;
    return repo_owner(repo, key, sha256, &owner, err) &&
           (owner != OWNER_OTHER ||
            error_set(err, ERR_REPO, "%s is there already, with other content", key));
}
