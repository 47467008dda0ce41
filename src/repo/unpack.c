#include "repo/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "repo/unpack_private.h"
#include "stream/filter.h"

#define LINE_LIMIT (64u * 1024)

/* Hashes of the paths that the backup has, for delta: 8 bytes a file, open addressing. */
typedef struct PathSet {
    uint64_t *slots; /* 0: free */
    size_t count, room;
} PathSet;

typedef struct LateMode {
    char *path;
    mode_t mode;
} LateMode;

typedef struct Unpacker {
    const UnpackOptions *options;
    UnpackShared shared;
    Pool *pool;
    Buf line;
    const UnpackRoot *root; /* of the current archive */
    UnpackJob *job;
    UnpackPiece open; /* the file whose content goes on in the next pack; path NULL: none */
    PathSet paths;
    LateMode *late; /* modes that would lock us out while we write */
    size_t late_count, late_room;
    bool headed, ended;
    uint64_t archives, packs, entries, files, raw_size, archive_raw;
    uint64_t content_end; /* of the last file in this archive */
} Unpacker;

/* --- paths of the backup ----------------------------------------------------------------------- */

static uint64_t path_hash(const char *path)
{
    uint8_t digest[SHA256_BYTES];
    uint64_t h;
    sha256(path, strlen(path), digest);
    memcpy(&h, digest, sizeof(h));
    return h ? h : 1;
}

static bool set_has(const PathSet *set, uint64_t h)
{
    for (size_t i = h & (set->room - 1); set->room && set->slots[i]; i = (i + 1) & (set->room - 1))
        if (set->slots[i] == h)
            return true;
    return false;
}

static void set_add(PathSet *set, uint64_t h)
{
    if (set->count * 2 >= set->room) {
        PathSet bigger = {.room = set->room ? set->room * 2 : 4096};
        bigger.slots = MEM_NEW_ARRAY(uint64_t, bigger.room);
        for (size_t i = 0; i < set->room; i++)
            if (set->slots[i])
                set_add(&bigger, set->slots[i]);
        free(set->slots);
        *set = bigger;
    }
    size_t i = h & (set->room - 1);
    while (set->slots[i])
        i = (i + 1) & (set->room - 1);
    set->slots[i] = h;
    set->count++;
}

/* Removes what is below `dir` and not in the set. True in *empty if nothing is left. What stands
 * directly in a tablespace's directory may belong to another cluster and is left alone. */
static bool sweep(const Unpacker *u, const char *dir, bool spare, bool *empty, Error *err)
{
    DIR *handle = opendir(dir);
    if (!handle)
        return error_errno(err, ERR_INTERNAL, "can't open directory %s", dir);
    bool ok = true;
    struct dirent *entry;
    *empty = true;
    while (ok && (entry = readdir(handle)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = fs_join(dir, entry->d_name);
        struct stat st;
        bool known = set_has(&u->paths, path_hash(path)), inner = true;
        if (spare && !known) {
            inner = false;
        } else if (lstat(path, &st) != 0) {
            ok = errno == ENOENT || error_errno(err, ERR_INTERNAL, "can't look at %s", path);
        } else if (S_ISDIR(st.st_mode)) {
            ok = sweep(u, path, false, &inner, err);
            if (ok && inner && !known && rmdir(path) != 0)
                ok = error_errno(err, ERR_INTERNAL, "can't remove %s", path);
        } else if (!known) {
            ok = fs_remove(path, err);
        }
        if (known || !inner)
            *empty = false;
        free(path);
    }
    closedir(handle);
    return ok;
}

/* --- the index --------------------------------------------------------------------------------- */

static bool submit(Unpacker *u, Error *err)
{
    UnpackJob *job = u->job;
    u->job = NULL;
    return !job || pool_submit(u->pool, job, err);
}

static void add_piece(UnpackJob *job, const UnpackPiece *file, bool first)
{
    MEM_GROW(job->pieces, job->piece_count, job->piece_room);
    UnpackPiece *p = &job->pieces[job->piece_count++];
    *p = *file;
    p->path = mem_strdup(file->path);
    p->first = first;
}

static void close_open_file(Unpacker *u)
{
    free(u->open.path);
    u->open = (UnpackPiece){0};
}

static bool take_archive(Unpacker *u, const IndexArchive *a, Error *err)
{
    if (!submit(u, err))
        return false;
    if (u->open.path)
        return error_set(err, ERR_DAMAGED, "the index has too few packs for %s", u->open.path);
    u->content_end = 0;
    u->root = NULL;
    for (size_t i = 0; i < u->options->root_count; i++)
        if (u->options->roots[i].oid == a->oid)
            u->root = &u->options->roots[i];
    u->archives++;
    u->archive_raw = 0;
    return u->root || error_set(err, ERR_DAMAGED, "the index has an archive %s that backup.json "
                                "does not list", a->name);
}

static bool take_pack(Unpacker *u, const IndexPack *pack, Error *err)
{
    if (!submit(u, err))
        return false;
    if (!u->root || pack->raw_offset != u->archive_raw)
        return error_set(err, ERR_DAMAGED, "the index contradicts itself about %s", pack->name);
    u->packs++;
    u->raw_size += pack->raw_size;
    u->archive_raw += pack->raw_size;
    u->job = MEM_NEW(UnpackJob);
    u->job->pack = *pack;
    if (!u->open.path)
        return true;
    add_piece(u->job, &u->open, false);
    if (u->open.data_offset + u->open.size <= u->archive_raw)
        close_open_file(u);
    return true;
}

/* The mode to write with; the true one is set at the end if it takes our own rights away. */
static mode_t working_mode(Unpacker *u, const char *path, const TarEntry *e, mode_t rights)
{
    if ((e->mode & rights) == rights)
        return (mode_t)e->mode;
    MEM_GROW(u->late, u->late_count, u->late_room);
    u->late[u->late_count++] = (LateMode){mem_strdup(path), (mode_t)e->mode};
    return (mode_t)e->mode | rights;
}

static bool set_late_modes(const Unpacker *u, Error *err)
{
    for (size_t i = u->late_count; i-- > 0;)
        if (chmod(u->late[i].path, u->late[i].mode) != 0)
            return error_errno(err, ERR_INTERNAL, "can't set the mode of %s", u->late[i].path);
    return true;
}

static bool make_directory(Unpacker *u, const char *path, const TarEntry *e, Error *err)
{
    /* pg_wal may be a link to another file system that the operator set up. Following any other
     * link would write elsewhere, as root even with root's rights. */
    struct stat st;
    bool may_link = u->options->follow_pg_wal && u->root->oid == 0 && strcmp(e->name, "pg_wal") == 0;
    if (!may_link && lstat(path, &st) == 0 && !S_ISDIR(st.st_mode) && !fs_remove(path, err))
        return false;
    if (mkdir(path, 0700) != 0 &&
        (errno != EEXIST || stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        return error_errno(err, ERR_INTERNAL, "can't make directory %s", path);
    if (chmod(path, working_mode(u, path, e, 0700)) != 0 ||
        (u->options->set_owner && chown(path, (uid_t)e->uid, (gid_t)e->gid) != 0))
        return error_errno(err, ERR_INTERNAL, "can't set up directory %s", path);
    return true;
}

/* What is there and can't be written to as it is, makes way before any worker opens the name. */
static bool clear_the_way(const char *path, Error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0 || (S_ISREG(st.st_mode) && (st.st_mode & 0600) == 0600))
        return true;
    if (!S_ISDIR(st.st_mode))
        return fs_remove(path, err);
    return fs_empty_dir(path, err) &&
           (rmdir(path) == 0 || error_errno(err, ERR_INTERNAL, "can't remove %s", path));
}

static bool take_file(Unpacker *u, const char *path, const TarEntry *e, Error *err)
{
    if (!u->job || e->data_offset < u->job->pack.raw_offset || e->data_offset > u->archive_raw ||
        e->data_offset < u->content_end)
        return error_set(err, ERR_DAMAGED, "the index has a wrong place for %s", e->name);
    u->content_end = e->data_offset + e->size;
    if (!clear_the_way(path, err))
        return false;
    bool control = u->root->oid == 0 && strcmp(e->name, UNPACK_CONTROL) == 0;
    u->files++;
    close_open_file(u);
    u->open = (UnpackPiece){.path = control ? fs_join(u->root->dir, UNPACK_CONTROL_TEMP)
                                            : mem_strdup(path),
                            .size = e->size,
                            .data_offset = e->data_offset,
                            .mode = working_mode(u, path, e, 0600),
                            .uid = e->uid,
                            .gid = e->gid};
    add_piece(u->job, &u->open, true);
    if (e->data_offset + e->size <= u->archive_raw)
        close_open_file(u);
    return true;
}

static bool take_entry(Unpacker *u, const TarEntry *e, Error *err)
{
    if (!u->root)
        return error_set(err, ERR_DAMAGED, "the index has an entry before its archive");
    u->entries++;
    char *path = fs_join(u->root->dir, e->name);
    bool ok = true;
    if (u->options->delta)
        set_add(&u->paths, path_hash(path));
    if (e->type == TAR_DIRECTORY)
        ok = make_directory(u, path, e, err);
    else if (e->type == TAR_FILE)
        ok = take_file(u, path, e, err);
    /* Links are those of tablespaces, which the caller makes for their new places. */
    free(path);
    return ok;
}

static bool take_frame(Unpacker *u, const IndexFrame *f, Error *err)
{
    if (!u->job)
        return error_set(err, ERR_DAMAGED, "the index has a frame before its pack");
    MEM_GROW(u->job->frames, u->job->frame_count, u->job->frame_room);
    u->job->frames[u->job->frame_count++] = *f;
    return true;
}

static bool take_end(Unpacker *u, const IndexLine *line, Error *err)
{
    u->ended = true;
    if (u->open.path)
        return error_set(err, ERR_DAMAGED, "the index has too few packs for %s", u->open.path);
    return submit(u, err) &&
           ((line->archives == u->archives && line->packs == u->packs &&
             line->entries == u->entries) ||
            error_set(err, ERR_DAMAGED, "the index lacks lines"));
}

static bool take_line(Unpacker *u, char *text, Error *err)
{
    IndexLine line;
    if (!index_parse(text, &line, err))
        return false;
    if (u->headed == (line.kind == INDEX_HEAD) || u->ended)
        return error_set(err, ERR_DAMAGED, "the index is of an unknown format");
    switch (line.kind) {
    case INDEX_HEAD:
        u->headed = true;
        return true;
    case INDEX_ARCHIVE:
        return take_archive(u, &line.archive, err);
    case INDEX_PACK:
        return take_pack(u, &line.pack, err);
    case INDEX_ENTRY:
        return take_entry(u, &line.entry, err);
    case INDEX_FRAME:
        return take_frame(u, &line.frame, err);
    case INDEX_END:
        return take_end(u, &line, err);
    }
    return false;
}

/* Cuts the decoded index into lines. */
static bool index_sink(void *ctx, const void *data, size_t len, Error *err)
{
    Unpacker *u = ctx;
    const char *p = data, *end = p + len;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        if (!buf_append(&u->line, p, (size_t)((nl ? nl : end) - p)))
            return error_set(err, ERR_DAMAGED, "the index has an endless line");
        if (!nl)
            break;
        if (!take_line(u, u->line.data, err))
            return false;
        buf_clear(&u->line);
        p = nl + 1;
    }
    return true;
}

static bool read_index(Unpacker *u, Error *err)
{
    const Backup *b = u->options->backup;
    Repo *repo = u->options->repo;
    char key[REPO_MAX_KEY], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    repo_key(repo, key, "base/%s/index.lz4", b->label);
    Filter *chain = filter_sha256(digest, filter_lz4_decode(filter_to_sink(index_sink, u)));
    bool ok = repo_read_through(repo, key, chain, err);
    if (ok) {
        sha256_hex(digest, hex);
        ok = (u->ended && strcmp(hex, b->index_sha256) == 0) ||
             error_set(err, ERR_DAMAGED, "%s is not the index that backup.json names", key);
    }
    filter_free(chain);
    return ok;
}

/* --- entry points ------------------------------------------------------------------------------ */

typedef struct CheckState {
    uint64_t packs, stored_size;
    bool index, manifest;
    const Backup *backup;
} CheckState;

static bool check_object(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)stop;
    (void)err;
    CheckState *s = ctx;
    const char *name = strrchr(object->key, '/') + 1;
    size_t len = strlen(name);
    if (len > 8 && strcmp(name + len - 8, ".tar.lz4") == 0) {
        s->packs++;
        s->stored_size += object->size;
    }
    s->index |= strcmp(name, "index.lz4") == 0 && object->size == s->backup->index_size;
    s->manifest |= strcmp(name, "backup_manifest.lz4") == 0;
    return true;
}

bool unpack_check(Repo *repo, const Backup *b, Error *err)
{
    CheckState s = {.backup = b};
    char prefix[REPO_MAX_KEY];
    repo_key(repo, prefix, "base/%s/", b->label);
    if (!storage_list(repo->storage, prefix, NULL, check_object, &s, err))
        return false;
    if (s.packs != b->totals.packs || s.stored_size != b->totals.stored_size)
        error_set(err, ERR_DAMAGED, "backup %s has %" PRIu64 " packs of %" PRIu64 " bytes in all; "
                  "%" PRIu64 " of %" PRIu64 " are stored", b->label, b->totals.packs,
                  b->totals.stored_size, s.packs, s.stored_size);
    else if (!s.index || !s.manifest)
        error_set(err, ERR_DAMAGED, "%s of backup %s is missing or has not its size",
                  s.index ? "backup_manifest.lz4" : "index.lz4", b->label);
    else
        return true;
    return error_hint(err, "choose another backup with --backup LABEL");
}

/* What the restore itself puts into the directory is not swept away. */
static bool remove_strangers(Unpacker *u, Error *err)
{
    bool empty;
    for (size_t i = 0; i < u->options->root_count; i++) {
        const UnpackRoot *root = &u->options->roots[i];
        if (root->oid == 0) {
            char *path = fs_join(root->dir, UNPACK_CONTROL_TEMP);
            set_add(&u->paths, path_hash(path));
            free(path);
            path = fs_join(root->dir, u->options->keep ? u->options->keep : UNPACK_CONTROL);
            set_add(&u->paths, path_hash(path));
            free(path);
        }
        if (!sweep(u, root->dir, root->oid != 0, &empty, err))
            return false;
    }
    return true;
}

bool unpack_run(const UnpackOptions *options, UnpackTotals *totals, Error *err)
{
    Unpacker u = {.options = options, .shared = {.options = options}};
    buf_init_max(&u.line, LINE_LIMIT);
    u.pool = pool_new(options->workers, options->workers * 2, unpack_pack, unpack_drop, &u.shared,
                      err);
    if (!u.pool)
        return false;
    bool ok = read_index(&u, err);
    if (u.job)
        unpack_drop(NULL, u.job);
    if (ok) {
        ok = pool_finish(u.pool, err);
    } else {
        Error first;
        /* A worker's failure is why the index could not be read on. */
        if (!pool_finish(u.pool, &first))
            *err = first;
    }
    if (ok && options->delta)
        ok = remove_strangers(&u, err);
    ok = ok && set_late_modes(&u, err);
    *totals = (UnpackTotals){u.files, u.raw_size, atomic_load(&u.shared.kept),
                             atomic_load(&u.shared.read_size)};
    for (size_t i = 0; i < u.late_count; i++)
        free(u.late[i].path);
    free(u.late);
    close_open_file(&u);
    buf_free(&u.line);
    free(u.paths.slots);
    return ok;
}

bool unpack_commit(const UnpackOptions *options, Error *err)
{
    const char *data = NULL;
    for (size_t i = 0; i < options->root_count; i++) {
        if (!fs_sync_filesystem(options->roots[i].dir, err))
            return false;
        if (options->roots[i].oid == 0)
            data = options->roots[i].dir;
    }
    char *temp = fs_join(data, UNPACK_CONTROL_TEMP), *control = fs_join(data, UNPACK_CONTROL);
    char *dir = fs_parent(control);
    bool ok = rename(temp, control) == 0 ||
              error_errno(err, ERR_INTERNAL, "can't rename %s to %s", temp, control);
    ok = ok && fs_sync_dir(dir, err);
    free(temp);
    free(control);
    free(dir);
    return ok;
}
