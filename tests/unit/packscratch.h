/*
 * packscratch.h: makes tar streams as BASE_BACKUP sends them, and base backups of them in the
 * repository of scratch.h.
 */
#ifndef PITR_TESTS_PACKSCRATCH_H
#define PITR_TESTS_PACKSCRATCH_H

#include "repo/catalog.h"
#include "repo/index.h"
#include "repo/packwrite.h"
#include "scratch.h"

#define LABEL "20261121T030000Z-F"

/* --- tar ---------------------------------------------------------------------------------------
 */

static inline void tar_entry(Buf *tar, const TarEntry *e, const void *data)
{
    static const char zeros[TAR_BLOCK];
    uint8_t header[TAR_BLOCK];
    tar_format_header(header, e);
    buf_append(tar, header, sizeof(header));
    if (e->size)
        buf_append(tar, data, e->size);
    buf_append(tar, zeros, (TAR_BLOCK - e->size % TAR_BLOCK) % TAR_BLOCK);
}

static inline TarEntry tar_named(char type, const char *name, uint32_t mode, size_t size)
{
    TarEntry e = {
        .type = type, .mode = mode, .uid = 26, .gid = 27, .mtime = 1700000000, .size = size};
    snprintf(e.name, sizeof(e.name), "%s", name);
    return e;
}

static inline void tar_file(Buf *tar, const char *name, const void *data, size_t len)
{
    TarEntry e = tar_named(TAR_FILE, name, 0600, len);
    tar_entry(tar, &e, data);
}

static inline void tar_dir(Buf *tar, const char *name)
{
    TarEntry e = tar_named(TAR_DIRECTORY, name, 0700, 0);
    tar_entry(tar, &e, NULL);
}

static inline void tar_link(Buf *tar, const char *name, const char *target)
{
    TarEntry e = tar_named(TAR_SYMLINK, name, 0777, 0);
    snprintf(e.linkname, sizeof(e.linkname), "%s", target);
    tar_entry(tar, &e, NULL);
}

static inline void tar_end(Buf *tar)
{
    static const char zeros[2 * TAR_BLOCK];
    buf_append(tar, zeros, sizeof(zeros));
}

/* Bytes of which no two stretches are alike; the same for the same seed. The caller frees. */
static inline char *noise(uint32_t seed, size_t len)
{
    char *p = mem_new(len + 1, 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (char)(seed >> 24 & 0x3F);
    }
    return p;
}

static inline void tar_noise(Buf *tar, const char *name, uint32_t seed, size_t len)
{
    char *data = noise(seed, len);
    tar_file(tar, name, data, len);
    free(data);
}

/* --- backups -----------------------------------------------------------------------------------
 */

typedef struct PackArchive {
    uint32_t oid;
    const char *location;
    Buf tar;
} PackArchive;

typedef struct PackSettings {
    const char *label; /* NULL: LABEL */
    size_t pack_size, chunk;
    int workers;
} PackSettings;

static inline bool feed(PackWriter *w, const Buf *tar, size_t chunk, Error *err)
{
    for (size_t at = 0; at < tar->len; at += chunk) {
        size_t n = tar->len - at < chunk ? tar->len - at : chunk;
        if (!packwriter_data(w, tar->data + at, n, err))
            return false;
    }
    return true;
}

static inline bool feed_archives(PackWriter *w, const PackArchive *a, size_t n, size_t chunk,
                                 Error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!packwriter_begin(w, a[i].oid, a[i].location, err) || !feed(w, &a[i].tar, chunk, err) ||
            !packwriter_end(w, err))
            return false;
    return true;
}

static inline PackWriter *pack_begin(Scratch *s, const PackSettings *set)
{
    Error err;
    PackOptions options = {.repo = s->repo,
                           .label = set->label ? set->label : LABEL,
                           .pack_size = set->pack_size,
                           .workers = set->workers,
                           .level = 1};
    PackWriter *w = packwriter_new(&options, &err);
    assert_non_null(w);
    return w;
}

/* Packs archives; what is filled of the backup suffices for unpack_run(). */
static inline Backup pack(Scratch *s, const PackSettings *set, const PackArchive *a, size_t n)
{
    Error err;
    Backup b = {.pack_size = set->pack_size};
    PackWriter *w = pack_begin(s, set);
    snprintf(b.label, sizeof(b.label), "%s", set->label ? set->label : LABEL);
    must(feed_archives(w, a, n, set->chunk, &err), &err);
    must(packwriter_finish(w, &b.totals, b.index_sha256, &b.index_size, &err), &err);
    packwriter_free(w);
    return b;
}

/* The path of an object of a backup. */
static inline char *backup_object(Scratch *s, const char *label, const char *name)
{
    return scratch_path(s, "repo/%sbase/%s/%s", s->repo->prefix, label ? label : LABEL, name);
}

/* The index as text. */
static inline char *index_text(Scratch *s, const char *label)
{
    Error err;
    Buf text = BUF_INIT;
    char key[REPO_MAX_KEY];
    Filter *chain = filter_lz4_decode(filter_to_buf(&text));
    repo_key(s->repo, key, "base/%s/index.lz4", label ? label : LABEL);
    must(repo_read_through(s->repo, key, chain, &err), &err);
    filter_free(chain);
    return scratch_keep(s, buf_detach(&text));
}

/* The raw content of a backup's packs whose names begin with `name`, in order. */
static inline Buf packs_content(Scratch *s, const char *label, const char *name)
{
    Error err;
    Buf raw = BUF_INIT;
    char key[REPO_MAX_KEY];
    for (int i = 0;; i++) {
        StorageObject object;
        repo_key(s->repo, key, "base/%s/%s-%08d.tar.lz4", label ? label : LABEL, name, i);
        if (!storage_head(s->repo->storage, key, &object, &err))
            break;
        Filter *chain = filter_lz4_decode(filter_to_buf(&raw));
        must(repo_read_through(s->repo, key, chain, &err), &err);
        filter_free(chain);
    }
    assert_int_equal(err.code, ERR_NO);
    return raw;
}

#endif
