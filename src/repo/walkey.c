#include "repo/walkey.h"

#include <stdio.h>
#include <string.h>

void walkey_make(const Repo *repo, const char *name, const char *hash, char key[REPO_MAX_KEY])
{
    repo_key(repo, key, "wal/%.16s/%s-%s" WALKEY_SUFFIX, name, name, hash);
}

void walkey_history(const Repo *repo, uint32_t tli, char key[REPO_MAX_KEY])
{
    repo_key(repo, key, "wal/%08X.history", tli);
}

bool walkey_parse(const Repo *repo, const StorageObject *object, WalObject *out)
{
    size_t plen = strlen(repo->prefix);
    if (strncmp(object->key, repo->prefix, plen) != 0 ||
        strncmp(object->key + plen, "wal/", 4) != 0 || strlen(object->key) >= REPO_MAX_KEY)
        return false;
    const char *rest = object->key + plen + 4, *slash = strchr(rest, '/');
    char name[64];
    memset(out, 0, sizeof(*out));
    if (!slash) {
        if (strlen(rest) >= sizeof(name) || !walname_parse(rest, &out->name) ||
            out->name.kind != WALNAME_HISTORY)
            return false;
    } else {
        const char *file = slash + 1, *dash = strrchr(file, '-');
        size_t len = dash ? (size_t)(dash - file) : 0;
        if (len == 0 || len >= sizeof(name) || strlen(dash) != 1 + 16 + strlen(WALKEY_SUFFIX) ||
            strspn(dash + 1, "0123456789abcdef") != 16 || strcmp(dash + 17, WALKEY_SUFFIX) != 0)
            return false;
        memcpy(name, file, len);
        name[len] = '\0';
        memcpy(out->hash, dash + 1, 16);
        if (!walname_parse(name, &out->name) || out->name.kind == WALNAME_HISTORY ||
            slash - rest != 16 || strncmp(rest, name, 16) != 0)
            return false;
    }
    snprintf(out->key, sizeof(out->key), "%s", object->key);
    out->stored_size = object->size;
    out->modified = object->modified;
    out->cold = object->cold;
    return true;
}

typedef struct FindState {
    const Repo *repo;
    WalObject *out;
    size_t contents;
} FindState;

static bool find_one(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)err;
    (void)stop;
    FindState *s = ctx;
    WalObject found;
    if (walkey_parse(s->repo, object, &found) && s->contents++ == 0)
        *s->out = found;
    return true;
}

bool walkey_find(Repo *repo, const WalName *name, WalObject *out, size_t *contents, Error *err)
{
    char prefix[REPO_MAX_KEY], text[64];
    FindState s = {repo, out, 0};
    walname_text(name, text);
    if (name->kind == WALNAME_HISTORY)
        repo_key(repo, prefix, "wal/%s", text);
    else
        repo_key(repo, prefix, "wal/%.16s/%s-", text, text);
    if (!storage_list(repo->storage, prefix, NULL, find_one, &s, err))
        return false;
    *contents = s.contents;
    if (s.contents == 0)
        return error_set(err, ERR_NO, "%s is not in repository %s", text, repo->name);
    return true;
}

typedef struct ListState {
    const Repo *repo;
    WalListCallback callback;
    void *ctx;
    bool segments_only;
} ListState;

static bool list_one(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    ListState *s = ctx;
    WalObject found;
    return !walkey_parse(s->repo, object, &found) ||
           (s->segments_only && found.name.kind == WALNAME_HISTORY) ||
           s->callback(s->ctx, &found, stop, err);
}

bool walkey_list(Repo *repo, uint32_t tli, const char *after, WalListCallback callback, void *ctx,
                 Error *err)
{
    char prefix[REPO_MAX_KEY], start[REPO_MAX_KEY];
    ListState s = {repo, callback, ctx, tli != 0};
    if (tli)
        repo_key(repo, prefix, "wal/%08X", tli);
    else
        repo_key(repo, prefix, "wal/");
    if (after) /* '~' sorts behind every character of a stored name */
        repo_key(repo, start, "wal/%.16s/%s~", after, after);
    return storage_list(repo->storage, prefix, after ? start : NULL, list_one, &s, err);
}

typedef struct FirstState {
    WalObject *out;
    bool found;
} FirstState;

static bool first_segment(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    (void)err;
    FirstState *s = ctx;
    if (object->name.kind == WALNAME_SEGMENT) {
        *s->out = *object;
        s->found = *stop = true;
    }
    return true;
}

static bool any_wal(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    (void)err;
    *(bool *)ctx = *stop = object->name.kind == WALNAME_SEGMENT ||
                           object->name.kind == WALNAME_HISTORY;
    return true;
}

bool walkey_any(Repo *repo, bool *any, Error *err)
{
    *any = false;
    return walkey_list(repo, 0, NULL, any_wal, any, err);
}

bool walkey_next_stored(Repo *repo, const WalName *name, WalObject *out, Error *err)
{
    FirstState s = {out, false};
    char text[64];
    walname_text(name, text);
    text[24] = '\0';
    if (!walkey_list(repo, name->tli, text, first_segment, &s, err))
        return false;
    return s.found || error_set(err, ERR_NO, "no segment behind %s is in repository %s", text,
                                repo->name);
}
