#include "repo/walput.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/timeline.h"
#include "pg/walpage.h"
#include "repo/walget.h"
#include "stream/digest.h"
#include "stream/filter.h"

#define MEMORY_LIMIT (64u * 1024 * 1024)
#define SMALL_LIMIT  (1024u * 1024) /* history and backup files */
#define CHUNK        (1024 * 1024)

/* A file that is replaced or written while it is read would be stored as a mixture. */
static bool unchanged(int fd, const struct stat *before, const char *path, Error *err)
{
    struct stat now, named;
    if (fstat(fd, &now) == 0 && stat(path, &named) == 0 && now.st_size == before->st_size &&
        now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == before->st_mtim.tv_nsec && named.st_ino == now.st_ino &&
        named.st_dev == now.st_dev)
        return true;
    return error_set(err, ERR_INTERNAL, "%s changed while it was read", path);
}

static bool check_head(const WalFile *file, const char *head, size_t len, uint64_t sysid,
                       Error *err)
{
    WalPageHeader page;
    if (!walpage_parse_first(head, len, &page, err) ||
        !walpage_check_segment(&page, &file->name, sysid, err))
        return error_prefix(err, "%s", file->path);
    if (file->size != page.seg_size)
        return error_set(err, ERR_DAMAGED, "%s has %llu bytes, its header says %u", file->path,
                         (unsigned long long)file->size, page.seg_size);
    return true;
}

/* Pushes the whole file through `chain`, checking the header on the way. */
static bool push_file(WalFile *file, int fd, uint64_t sysid, Filter *chain, Error *err)
{
    char *chunk = mem_new(CHUNK, 1);
    uint64_t total = 0;
    size_t got;
    bool ok, segment = file->name.kind == WALNAME_SEGMENT || file->name.kind == WALNAME_PARTIAL;
    do {
        ok = interrupt_check(err) && fs_read(fd, chunk, CHUNK, &got, file->path, err);
        if (ok && total == 0 && segment)
            ok = check_head(file, chunk, got, sysid, err);
        ok = ok && filter_write(chain, chunk, got, err);
        total += got;
    } while (ok && got == CHUNK);
    free(chunk);
    if (ok && total != file->size)
        ok = error_set(err, ERR_INTERNAL, "%s changed while it was read", file->path);
    return ok && filter_finish(chain, err);
}

static bool load_history(WalFile *file, Error *err)
{
    TimelineHistory history;
    if (!timeline_history_parse(file->name.tli, file->raw.data, file->raw.len, &history, err))
        return error_prefix(err, "%s", file->path);
    timeline_history_free(&history);
    return true;
}

static bool load_open_file(WalFile *file, int fd, uint64_t sysid, Error *err)
{
    struct stat st;
    bool small = file->name.kind == WALNAME_HISTORY || file->name.kind == WALNAME_BACKUP;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, ERR_INTERNAL, "%s is not a regular file", file->path);
    file->size = (uint64_t)st.st_size;
    if (small && (file->size == 0 || file->size > SMALL_LIMIT))
        return error_set(err, ERR_DAMAGED, "%s has %llu bytes: that is no such file", file->path,
                         (unsigned long long)file->size);
    file->in_memory = file->size <= MEMORY_LIMIT;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    Filter *rest = file->name.kind == WALNAME_HISTORY ? filter_to_buf(&file->raw)
                   : file->in_memory ? filter_lz4_encode(file->level, filter_to_buf(&file->stored))
                                     : NULL;
    uint64_t counted;
    if (!rest) /* first of two passes: only the digest is wanted */
        rest = filter_count(&counted, NULL);
    Filter *chain = filter_sha256(digest, rest);
    bool ok = push_file(file, fd, sysid, chain, err) && unchanged(fd, &st, file->path, err);
    filter_free(chain);
    if (!ok)
        return false;
    sha256_hex(digest, hex);
    memcpy(file->hash, hex, 16);
    return file->name.kind != WALNAME_HISTORY || load_history(file, err);
}

bool walfile_load(WalFile *file, const char *path, const WalName *name, uint64_t sysid, int level,
                  Error *err)
{
    *file = (WalFile){.name = *name, .path = mem_strdup(path), .level = level};
    walname_text(name, file->text);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, ERR_INTERNAL, "can't open %s", path);
    bool ok = load_open_file(file, fd, sysid, err);
    close(fd);
    return ok;
}

void walfile_free(WalFile *file)
{
    free(file->path);
    buf_free(&file->stored);
    buf_free(&file->raw);
}

static bool put_sink(void *ctx, const void *data, size_t len, Error *err)
{
    return storage_put_write(ctx, data, len, err);
}

/* The second pass over a large segment. */
static bool store_streaming(WalFile *file, Repo *repo, const char *key, bool *existed, Error *err)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, ERR_INTERNAL, "can't open %s", file->path);
    StoragePut *put = storage_put_begin(repo->storage, key, file->size, err);
    if (!put) {
        close(fd);
        return false;
    }
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    Filter *chain =
        filter_sha256(digest, filter_lz4_encode(file->level, filter_to_sink(put_sink, put)));
    bool ok = push_file(file, fd, repo->sysid, chain, err);
    filter_free(chain);
    close(fd);
    if (ok) {
        sha256_hex(digest, hex);
        ok = memcmp(hex, file->hash, 16) == 0 ||
             error_set(err, ERR_INTERNAL, "%s changed while it was read", file->path);
    }
    if (!ok) {
        storage_put_abort(put);
        return false;
    }
    return storage_put_finish(put, existed, err);
}

static bool conflict(const WalFile *file, const Repo *repo, const char *key, Error *err)
{
    error_set(err, ERR_REPO, "%s is stored in repository %s already, with other content (%s)",
              file->text, repo->name, key);
    return error_hint(err, "two servers archive into one place: a clone, a restored copy or an old "
                           "primary after a failover still has this archive_command; stop it there "
                           "or give it a cluster name of its own. Nothing was changed");
}

static bool store_history(WalFile *file, Repo *repo, Error *err)
{
    char key[REPO_MAX_KEY];
    bool existed;
    walkey_history(repo, file->name.tli, key);
    if (!storage_put(repo->storage, key, file->raw.data, file->raw.len, NULL, &existed, err))
        return false;
    if (!existed)
        return true;
    Buf there;
    buf_init_max(&there, SMALL_LIMIT);
    bool ok = storage_get(repo->storage, key, &there, err);
    bool same = ok && there.len == file->raw.len &&
                memcmp(there.data, file->raw.data, there.len) == 0;
    buf_free(&there);
    return ok && (same || conflict(file, repo, key, err));
}

/* Any other content stored under the same segment's name. Where listing is not permitted *blind is
 * set: `check` and fetch find it. What is `stored` must be listed: whoever says otherwise was not the
 * store, or nothing was stored. */
static bool check_conflict(const WalFile *file, Repo *repo, bool stored, bool *blind, Error *err)
{
    WalObject other;
    size_t contents;
    if (file->name.kind != WALNAME_SEGMENT || *blind)
        return true;
    if (!walkey_find(repo, &file->name, &other, &contents, err)) {
        *blind = err->denied;
        if (err->code == ERR_NO && stored)
            return error_set(err, ERR_REPO, "%s is not listed in repository %s, although it was "
                             "stored a moment ago", file->text, repo->name);
        return err->code == ERR_NO || *blind;
    }
    return (contents == 1 && strcmp(other.hash, file->hash) == 0) ||
           conflict(file, repo, other.key, err);
}

/* What is there already counts only if it can be read back: a damaged object of the right name
 * would be worth nothing. Who may only write must take the name, which says the content. */
static bool check_stored(const WalFile *file, Repo *repo, const char *key, Error *err)
{
    WalObject object = {.name = file->name};
    snprintf(object.key, sizeof(object.key), "%s", key);
    memcpy(object.hash, file->hash, sizeof(object.hash));
    char *chunk = mem_new(CHUNK, 1);
    size_t got = 1;
    WalStream *ws = walstream_open(repo, &object, err);
    bool ok = ws != NULL;
    while (ok && got > 0)
        ok = walstream_read(ws, chunk, CHUNK, &got, err);
    walstream_close(ws);
    free(chunk);
    if (!ok && err->code == ERR_NO)
        err->code = ERR_REPO; /* it was there a moment ago */
    if (ok || err->code != ERR_DAMAGED)
        return ok || err->denied;
    return error_hint(err, "what is stored for %s is damaged: move this object out of the repository "
                           "and the file will be archived anew", file->text);
}

bool walfile_store(WalFile *file, Repo *repo, Error *err)
{
    char key[REPO_MAX_KEY];
    bool existed, blind = false;
    if (!storage_prepare(repo->storage, err))
        return false;
    if (file->name.kind == WALNAME_HISTORY)
        return store_history(file, repo, err);
    walkey_make(repo, file->text, file->hash, key);
    if (!check_conflict(file, repo, false, &blind, err))
        return false;
    bool ok = file->in_memory ? storage_put(repo->storage, key, file->stored.data,
                                            file->stored.len, NULL, &existed, err)
                              : store_streaming(file, repo, key, &existed, err);
    /* Looked at again: another server may have stored its content in between. */
    if (!ok || (existed && !check_stored(file, repo, key, err)) ||
        !check_conflict(file, repo, true, &blind, err))
        return false;
    log_debug("%s is %s repository %s", file->text, existed ? "already in" : "stored in",
              repo->name);
    return true;
}
