/*
 * walscratch.h: WAL of walbuild.h in the repository of scratch.h.
 */
#ifndef PITR_TESTS_WALSCRATCH_H
#define PITR_TESTS_WALSCRATCH_H

#include "base/clock.h"
#include "repo/walkey.h"
#include "repo/walput.h"
#include "scratch.h"
#include "walbuild.h"

#define MAGIC_15 0xD110
#define SEG_1M   (1024u * 1024)

static inline WalName wal_name(const char *text)
{
    WalName name;
    if (!walname_parse(text, &name))
        fail_msg("no WAL file's name: %s", text);
    return name;
}

/* Archives the file at `path` under a name. */
static inline bool wal_archive_file(Repo *repo, const char *path, const char *name, Error *err)
{
    WalFile file;
    WalName parsed = wal_name(name);
    bool ok =
        walfile_load(&file, path, &parsed, repo->sysid, 1, err) && walfile_store(&file, repo, err);
    walfile_free(&file);
    return ok;
}

/* Archives bytes under a name; they are then in the file of that name in the directory "pg_wal". */
static inline bool wal_archive(Scratch *s, const char *name, const void *data, size_t len,
                               Error *err)
{
    char *path = scratch_path(s, "pg_wal/%s", name);
    scratch_write(path, data, len);
    return wal_archive_file(s->repo, path, name, err);
}

/* Archives the segments `first` to `last` of a build, named for the build's timeline, with `suffix`
 * behind the name. */
static inline void wal_archive_build(Scratch *s, const WalBuild *b, uint64_t first, uint64_t last,
                                     const char *suffix)
{
    Error err;
    for (uint64_t segno = first; segno <= last; segno++) {
        char name[WALNAME_TEXT];
        walname_format(name, b->tli, segno, b->segsize);
        strcat(name, suffix);
        must(wal_archive(s, name, build_at(b, segno * b->segsize), b->segsize, &err), &err);
    }
}

/* A build on timeline 1 with 1 MiB segments. */
static inline WalBuild wal_build(uint64_t first)
{
    return build_new(MAGIC_15, SEG_1M, 8192, first);
}

/* The same WAL up to where it is now, to go on with as another timeline. */
static inline WalBuild wal_fork(const WalBuild *parent, uint32_t tli)
{
    WalBuild b = *parent;
    b.tli = tli;
    b.bytes = malloc((size_t)BUILD_SEGMENTS * b.segsize);
    memcpy(b.bytes, parent->bytes, (size_t)BUILD_SEGMENTS * b.segsize);
    return b;
}

/* --- records; times are seconds from 2026-11-21 03:00:00 UTC on ---------------------------------
 */

#define WAL_EPOCH         INT64_C(1795230000)
#define WAL_TIME(seconds) ((WAL_EPOCH + (seconds)) * CLOCK_SECOND)

static inline uint64_t wal_pg_time(int seconds)
{
    return (uint64_t)(WAL_TIME(seconds) - INT64_C(946684800) * CLOCK_SECOND);
}

/* A record with main data only. */
static inline uint64_t wal_main(WalBuild *b, uint8_t rmid, uint8_t info, uint32_t xid,
                                const uint8_t *data, uint8_t len)
{
    uint8_t body[2 + UINT8_MAX] = {255, len};
    memcpy(body + 2, data, len);
    return build_add(b, rmid, info, xid, body, 2 + (uint32_t)len);
}

static inline uint64_t wal_commit(WalBuild *b, uint32_t xid, int seconds)
{
    uint8_t data[8];
    put64(data, wal_pg_time(seconds));
    return wal_main(b, 1, 0x00, xid, data, 8);
}

static inline uint64_t wal_abort(WalBuild *b, uint32_t xid, int seconds)
{
    uint8_t data[8];
    put64(data, wal_pg_time(seconds));
    return wal_main(b, 1, 0x20, xid, data, 8);
}

static inline uint64_t wal_checkpoint(WalBuild *b, int seconds)
{
    uint8_t data[88] = {0};
    put64(data, b->pos);
    put32(data + 8, b->tli);
    put32(data + 12, b->tli);
    put64(data + 64, (uint64_t)(WAL_EPOCH + seconds));
    return wal_main(b, 0, 0x10, 0, data, sizeof(data));
}

static inline uint64_t wal_restore_point(WalBuild *b, const char *name, int seconds)
{
    uint8_t data[72] = {0};
    put64(data, wal_pg_time(seconds));
    memcpy(data + 8, name, strlen(name));
    return wal_main(b, 0, 0x70, 0, data, sizeof(data));
}

static inline uint64_t wal_drop_database(WalBuild *b, uint32_t oid)
{
    uint8_t data[12] = {0};
    put32(data, oid);
    put32(data + 4, 1);
    put32(data + 8, 1663);
    return wal_main(b, 4, 0x20, 0, data, sizeof(data));
}

/* An in-place update of a row of a shared relation; pg_database is 1262. */
static inline uint64_t wal_inplace(WalBuild *b, uint32_t relation)
{
    uint8_t body[24] = {0};
    put32(body + 4, 1664);
    put32(body + 12, relation);
    body[20] = 255;
    body[21] = 2;
    return build_add(b, 10, 0x70, 0, body, sizeof(body));
}

/* A record that means nothing here. */
static inline uint64_t wal_filler(WalBuild *b, uint32_t len)
{
    uint8_t *body = calloc(1, len);
    memset(body, 'f', len);
    uint64_t lsn = build_add(b, 11, 0x00, 0, body, len);
    free(body);
    return lsn;
}

/* Ends the segment. */
static inline uint64_t wal_switch(WalBuild *b)
{
    return build_add(b, 0, 0x40, 0, NULL, 0);
}

/* Archives the history file of `tli` with these lines. */
static inline void wal_history(Scratch *s, uint32_t tli, const char *text)
{
    Error err;
    char name[WALNAME_HISTORY_TEXT];
    walname_history_format(name, tli);
    must(wal_archive(s, name, text, strlen(text), &err), &err);
}

/* Puts an empty object in the place of a WAL file's content, as far as a listing can tell. */
static inline void wal_stored(Scratch *s, const char *name, const char *hash)
{
    Error err;
    char key[REPO_MAX_KEY];
    bool existed;
    walkey_make(s->repo, name, hash, key);
    must(storage_put(s->repo->storage, key, "", 0, NULL, &existed, &err), &err);
}

/* The same for segments `first` to `last` of a timeline with 1 MiB segments. */
static inline void wal_stored_range(Scratch *s, uint32_t tli, uint64_t first, uint64_t last)
{
    char name[WALNAME_SEGMENT_TEXT];
    for (uint64_t segno = first; segno <= last; segno++) {
        walname_format(name, tli, segno, SEG_1M);
        wal_stored(s, name, tli == 1 ? "1111111111111111" : "2222222222222222");
    }
}

/* One segment with nothing but its first page's header; the caller frees. */
static inline uint8_t *wal_segment(uint32_t tli, uint64_t segno, uint32_t segsize, uint64_t sysid)
{
    uint8_t *p = calloc(1, segsize);
    put16(p, MAGIC_15);
    put16(p + 2, 2);
    put32(p + 4, tli);
    put64(p + 8, segno * segsize);
    put64(p + 24, sysid);
    put32(p + 32, segsize);
    put32(p + 36, 8192);
    return p;
}

#endif
