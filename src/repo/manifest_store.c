#include "repo/manifest_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "stream/digest.h"
#include "stream/filter.h"

struct ManifestStore {
    Repo *repo;
    char key[REPO_MAX_KEY];
    PackWriter *packs;
    ManifestReader *reader;
    StoragePut *put;
    Filter *chain;
    uint8_t digest[SHA256_BYTES];
    uint64_t size;
};

static bool put_sink(void *ctx, const void *data, size_t len, Error *err)
{
    return storage_put_write(ctx, data, len, err);
}

ManifestStore *manifest_store_begin(Repo *repo, const char *label, PackWriter *w, int level,
                                    Error *err)
{
    char key[REPO_MAX_KEY];
    ManifestSink sink;
    if (!packwriter_manifest_sink(w, &sink, err))
        return NULL;
    repo_key(repo, key, "base/%s/backup_manifest.lz4", label);
    StoragePut *put = storage_put_begin(repo->storage, key, 0, err);
    if (!put)
        return NULL;
    ManifestStore *m = MEM_NEW(ManifestStore);
    m->repo = repo;
    snprintf(m->key, sizeof(m->key), "%s", key);
    m->packs = w;
    m->put = put;
    m->reader = manifest_open(&sink);
    m->chain = filter_sha256(
        m->digest,
        filter_count(&m->size, filter_lz4_encode(level, filter_to_sink(put_sink, put))));
    return m;
}

bool manifest_store_write(ManifestStore *m, const void *data, size_t len, Error *err)
{
    return manifest_feed(m->reader, data, len, err) && filter_write(m->chain, data, len, err);
}

bool manifest_store_finish(ManifestStore *m, uint64_t *size, char sha256[65], Error *err)
{
    ManifestInfo info;
    bool existed;
    if (!manifest_finish(m->reader, &info, err) || !packwriter_manifest_end(m->packs, err) ||
        !filter_finish(m->chain, err))
        return false;
    StoragePut *put = m->put;
    m->put = NULL;
    *size = m->size;
    sha256_hex(m->digest, sha256);
    return storage_put_finish(put, &existed, err) &&
           (!existed || repo_own_object(m->repo, m->key, sha256, err));
}

void manifest_store_free(ManifestStore *m)
{
    if (!m)
        return;
    storage_put_abort(m->put);
    manifest_free(m->reader);
    filter_free(m->chain);
    free(m);
}
