#include "repo/packwrite.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/spool.h"
#include "pg/crc32c.h"
#include "repo/index.h"
#include "stream/filter.h"
#include "stream/lz4.h"

typedef struct PackJob {
    uint64_t seq;
    IndexPack pack;
    Buf raw;
    uint32_t *ends; /* where each frame ends in raw */
    size_t frames, room;
    Buf stored;
    Buf lines; /* of the index: (archive,) entries; frames are added by the worker */
    Buf before; /* an archive line that stands before the pack's */
    struct PackJob *next_free;
} PackJob;

struct PackWriter {
    PackOptions options;
    Pool *pool;

    /* The feeding thread's. */
    TarParser tar;
    PackJob *job;
    IndexArchive archive;
    Buf archive_line;
    uint64_t archive_raw; /* bytes of this archive that went into packs */
    uint64_t archive_packs;
    uint64_t next_seq;
    uint32_t crc;
    FILE *files; /* spool: a line for each file */
    PackTotals totals;
    uint64_t fed;
    int64_t clock_skew;
    char *line; /* of the files spool, for getline() */
    size_t line_room;

    /* Shared with the workers, under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t turn;
    uint64_t turn_seq; /* whose lines come next */
    bool failed;
    Error first; /* if failed */
    PackJob *free_jobs;
    FILE *index; /* spool: the compressed index */
    Filter *index_chain;
    uint64_t index_size;
};

/* --- workers ----------------------------------------------------------------------------------- */

static bool compress_pack(PackJob *job, int level, Error *err)
{
    IndexFrame frame;
    size_t start = 0;
    uint8_t digest[SHA256_BYTES];
    for (size_t i = 0; i < job->frames; i++) {
        size_t len = job->ends[i] - start, before = job->stored.len;
        sha256(job->raw.data + start, len, frame.sha256);
        if (!lz4_frame_append(&job->stored, job->raw.data + start, len, level, err))
            return false;
        frame.raw_offset = job->pack.raw_offset + start;
        frame.raw_size = (uint32_t)len;
        frame.stored_offset = before;
        frame.stored_size = (uint32_t)(job->stored.len - before);
        index_put_frame(&job->lines, &frame);
        start = job->ends[i];
    }
    job->pack.raw_size = job->raw.len;
    job->pack.stored_size = job->stored.len;
    sha256(job->stored.data, job->stored.len, digest);
    sha256_hex(digest, job->pack.sha256);
    return true;
}

static bool store_pack(PackWriter *w, PackJob *job, Error *err)
{
    char key[REPO_MAX_KEY];
    bool existed;
    repo_key(w->options.repo, key, "base/%s/%s", w->options.label, job->pack.name);
    if (!storage_put(w->options.repo->storage, key, job->stored.data, job->stored.len,
                     job->pack.sha256, &existed, err))
        return false;
    return !existed || repo_own_object(w->options.repo, key, job->pack.sha256, err);
}

static bool index_sink(void *ctx, const void *data, size_t len, Error *err)
{
    return spool_write(ctx, data, len, err);
}

static bool add_to_index(PackWriter *w, const Buf *lines, Error *err)
{
    return filter_write(w->index_chain, lines->data, lines->len, err);
}

/* Waits for the turn of this pack and adds its lines to the index. */
static bool record_pack(PackWriter *w, PackJob *job, Error *err)
{
    Buf head = BUF_INIT;
    index_put_pack(&head, &job->pack);
    pthread_mutex_lock(&w->lock);
    while (w->turn_seq != job->seq && !w->failed)
        pthread_cond_wait(&w->turn, &w->lock);
    bool ok = !w->failed && add_to_index(w, &job->before, err) && add_to_index(w, &head, err) &&
              add_to_index(w, &job->lines, err);
    if (w->failed)
        *err = w->first;
    w->turn_seq++;
    w->totals.stored_size += job->pack.stored_size;
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
    buf_free(&head);
    return ok;
}

static void release_job(void *ctx, void *arg)
{
    PackWriter *w = ctx;
    PackJob *job = arg;
    pthread_mutex_lock(&w->lock);
    job->next_free = w->free_jobs;
    w->free_jobs = job;
    pthread_mutex_unlock(&w->lock);
}

static bool run_job(void *ctx, void *arg, Error *err)
{
    PackWriter *w = ctx;
    PackJob *job = arg;
    bool ok = compress_pack(job, w->options.level, err) && store_pack(w, job, err) &&
              record_pack(w, job, err);
    if (!ok) {
        pthread_mutex_lock(&w->lock);
        if (!w->failed)
            w->first = *err;
        w->failed = true;
        pthread_cond_broadcast(&w->turn);
        pthread_mutex_unlock(&w->lock);
    }
    release_job(w, job);
    return ok;
}

/* --- cutting ----------------------------------------------------------------------------------- */

static PackJob *new_job(PackWriter *w)
{
    pthread_mutex_lock(&w->lock);
    PackJob *job = w->free_jobs;
    if (job)
        w->free_jobs = job->next_free;
    pthread_mutex_unlock(&w->lock);
    if (!job) {
        job = MEM_NEW(PackJob);
        buf_reserve(&job->raw, w->options.pack_size + PACK_FRAME);
    }
    buf_clear(&job->raw);
    buf_clear(&job->stored);
    buf_clear(&job->lines);
    buf_clear(&job->before);
    job->frames = 0;
    job->seq = w->next_seq++;
    job->pack = (IndexPack){.raw_offset = w->archive_raw};
    snprintf(job->pack.name, sizeof(job->pack.name), "%s-%08" PRIu64 ".tar.lz4", w->archive.name,
             w->archive_packs++);
    buf_append(&job->before, w->archive_line.data, w->archive_line.len);
    buf_clear(&w->archive_line);
    return job;
}

static size_t frame_start(const PackJob *job)
{
    return job->frames ? job->ends[job->frames - 1] : 0;
}

static bool submit_pack(PackWriter *w, Error *err)
{
    PackJob *job = w->job;
    w->job = NULL;
    w->archive_raw += job->raw.len;
    w->totals.packs++;
    w->totals.raw_size += job->raw.len;
    return pool_submit(w->pool, job, err);
}

/* Ends the current frame, and the pack once it is large enough. */
static bool cut_frame(PackWriter *w, Error *err)
{
    PackJob *job = w->job;
    if (!job || job->raw.len == frame_start(job))
        return true;
    MEM_GROW(job->ends, job->frames, job->room);
    job->ends[job->frames++] = (uint32_t)job->raw.len;
    return job->raw.len < w->options.pack_size || submit_pack(w, err);
}

static bool append(PackWriter *w, const uint8_t *data, size_t len, Error *err)
{
    while (len > 0) {
        if (!w->job)
            w->job = new_job(w);
        size_t room = PACK_FRAME - (w->job->raw.len - frame_start(w->job));
        size_t n = len < room ? len : room;
        buf_append(&w->job->raw, data, n);
        data += n;
        len -= n;
        if (n == room && !cut_frame(w, err))
            return false;
    }
    return true;
}

static bool note_file(PackWriter *w, const TarEntry *e, Error *err)
{
    Buf line = BUF_INIT;
    if (w->archive.oid)
        buf_printf(&line, "pg_tblspc/%u/", w->archive.oid);
    buf_printf(&line, "%s", e->name);
    buf_putc(&line, '\0');
    buf_printf(&line, "%" PRIu64 " %08x\n", e->size, w->crc);
    w->totals.files++;
    bool ok = spool_write(w->files, line.data, line.len, err);
    buf_free(&line);
    return ok;
}

static bool take_header(PackWriter *w, const TarPiece *piece, Error *err)
{
    w->totals.entries++;
    w->crc = 0;
    /* The server makes this file while it streams, so its time is the server's clock. */
    if (w->archive.oid == 0 && strcmp(piece->entry->name, "backup_label") == 0)
        w->clock_skew = clock_now() - piece->entry->mtime * CLOCK_SECOND;
    if (!w->job) /* the header's end filled a pack to the brim: the next one lists the entry */
        w->job = new_job(w);
    index_put_entry(&w->job->lines, piece->entry);
    if (piece->entry->type == TAR_FILE && piece->entry->size == 0)
        return note_file(w, piece->entry, err);
    return piece->entry->size < PACK_OWN_FRAME || cut_frame(w, err);
}

static bool take_content(PackWriter *w, const TarPiece *piece, const uint8_t *data, size_t len,
                         Error *err)
{
    w->crc = crc32c(w->crc, data, len);
    if (!append(w, data, len, err))
        return false;
    if (!piece->last)
        return true;
    return (piece->entry->size < PACK_OWN_FRAME || cut_frame(w, err)) &&
           note_file(w, piece->entry, err);
}

bool packwriter_begin(PackWriter *w, uint32_t oid, const char *location, Error *err)
{
    (void)err;
    tar_init(&w->tar);
    w->archive = (IndexArchive){.oid = oid, .location = location};
    if (oid)
        snprintf(w->archive.name, sizeof(w->archive.name), "%u", oid);
    else
        snprintf(w->archive.name, sizeof(w->archive.name), "base");
    index_put_archive(&w->archive_line, &w->archive);
    w->archive.location = NULL;
    w->archive_raw = 0;
    w->archive_packs = 0;
    w->totals.archives++;
    return true;
}

bool packwriter_data(PackWriter *w, const void *data, size_t len, Error *err)
{
    const uint8_t *p = data;
    w->fed += len;
    while (len > 0) {
        TarPiece piece;
        size_t n = tar_step(&w->tar, p, len, &piece, err);
        if (piece.kind == TAR_BAD)
            return error_prefix(err, "the server's tar of %s", w->archive.name);
        bool ok = piece.kind == TAR_DATA ? take_content(w, &piece, p, n, err)
                                         : append(w, p, n, err);
        if (ok && piece.kind == TAR_HEADER)
            ok = take_header(w, &piece, err);
        if (!ok)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

bool packwriter_end(PackWriter *w, Error *err)
{
    if (!tar_finished(&w->tar))
        return error_set(err, ERR_PG, "the server's tar of %s ends too early", w->archive.name);
    return cut_frame(w, err) && (!w->job || submit_pack(w, err));
}

/* --- beginning and end ------------------------------------------------------------------------- */

PackWriter *packwriter_new(const PackOptions *options, Error *err)
{
    PackWriter *w = MEM_NEW(PackWriter);
    w->options = *options;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turn, NULL);
    w->files = spool_open(err);
    w->index = w->files ? spool_open(err) : NULL;
    if (w->index)
        w->pool = pool_new(options->workers, options->workers, run_job, release_job, w, err);
    if (!w->pool) {
        packwriter_free(w);
        return NULL;
    }
    w->index_chain = filter_lz4_encode(
        1, filter_count(&w->index_size, filter_to_sink(index_sink, w->index)));
    index_put_head(&w->archive_line);
    return w;
}

/* Stores the compressed index from its spool. */
static bool store_index(PackWriter *w, char sha256_text[SHA256_HEX], Error *err)
{
    char key[REPO_MAX_KEY], chunk[65536];
    uint8_t digest[SHA256_BYTES];
    uint64_t size;
    bool existed;
    repo_key(w->options.repo, key, "base/%s/index.lz4", w->options.label);
    if (fflush(w->index) != 0)
        return error_errno(err, ERR_INTERNAL, "can't write a temporary file");
    rewind(w->index);
    StoragePut *put = storage_put_begin(w->options.repo->storage, key, w->index_size, err);
    if (!put)
        return false;
    Filter *chain = filter_sha256(digest, filter_count(&size, NULL));
    bool ok = true;
    size_t n;
    while (ok && (n = fread(chunk, 1, sizeof(chunk), w->index)) > 0)
        ok = filter_write(chain, chunk, n, err) && storage_put_write(put, chunk, n, err);
    ok = ok && filter_finish(chain, err);
    if (ok && (ferror(w->index) || size != w->index_size))
        ok = error_set(err, ERR_INTERNAL, "can't read a temporary file back");
    filter_free(chain);
    if (!ok) {
        storage_put_abort(put);
        return false;
    }
    sha256_hex(digest, sha256_text);
    return storage_put_finish(put, &existed, err) &&
           (!existed || repo_own_object(w->options.repo, key, sha256_text, err));
}

bool packwriter_finish(PackWriter *w, PackTotals *totals, char index_sha256[65],
                       uint64_t *index_size, Error *err)
{
    Pool *pool = w->pool;
    w->pool = NULL;
    if (!pool_finish(pool, err))
        return false;
    Buf end = BUF_INIT;
    index_put_end(&end, w->totals.archives, w->totals.packs, w->totals.entries);
    bool ok = add_to_index(w, &end, err) && filter_finish(w->index_chain, err) &&
              store_index(w, index_sha256, err);
    buf_free(&end);
    *totals = w->totals;
    *index_size = w->index_size;
    return ok;
}

static void free_job(PackJob *job)
{
    if (!job)
        return;
    buf_free(&job->raw);
    buf_free(&job->stored);
    buf_free(&job->lines);
    buf_free(&job->before);
    free(job->ends);
    free(job);
}

void packwriter_free(PackWriter *w)
{
    if (!w)
        return;
    pool_cancel(w->pool);
    free_job(w->job);
    while (w->free_jobs) {
        PackJob *next = w->free_jobs->next_free;
        free_job(w->free_jobs);
        w->free_jobs = next;
    }
    filter_free(w->index_chain);
    if (w->files)
        fclose(w->files);
    if (w->index)
        fclose(w->index);
    buf_free(&w->archive_line);
    free(w->line);
    pthread_cond_destroy(&w->turn);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int64_t packwriter_clock_skew(const PackWriter *w)
{
    return w->clock_skew;
}

uint64_t packwriter_raw_bytes(const PackWriter *w)
{
    return w->fed;
}

/* --- comparison with PostgreSQL's manifest ----------------------------------------------------- */

/* The next record of the spool, "<path>\0<size> <crc>\n"; false at its end. */
static bool next_file(PackWriter *w, const char **path, uint64_t *size, uint32_t *crc)
{
    if (getdelim(&w->line, &w->line_room, '\0', w->files) <= 0)
        return false;
    *path = w->line;
    return fscanf(w->files, "%" SCNu64 " %" SCNx32 "%*1[\n]", size, crc) == 2;
}

/* The manifest writes a CRC-32C byte by byte, the least significant first. */
static uint32_t manifest_crc(const char *hex)
{
    uint32_t v = (uint32_t)strtoul(hex, NULL, 16);
    return __builtin_bswap32(v);
}

static bool check_file(void *ctx, const ManifestFile *file, Error *err)
{
    PackWriter *w = ctx;
    const char *path;
    uint64_t size;
    uint32_t crc;
    if (!next_file(w, &path, &size, &crc))
        return error_set(err, ERR_DAMAGED, "the server's manifest lists %s, which was not streamed",
                         file->path);
    if (strcmp(path, file->path) != 0)
        return error_set(err, ERR_DAMAGED, "the server's manifest lists %s where %s was streamed",
                         file->path, path);
    if (size != file->size)
        return error_set(err, ERR_DAMAGED, "%s was streamed with %" PRIu64 " bytes; the server's "
                         "manifest says %" PRIu64, path, size, file->size);
    if (!file->algorithm || strcmp(file->algorithm, "CRC32C") != 0)
        return error_set(err, ERR_PG, "the server's manifest has no CRC32C for %s", path);
    return crc == manifest_crc(file->checksum) ||
           error_set(err, ERR_DAMAGED, "%s changed on its way: the server's manifest has another "
                     "checksum", path);
}

bool packwriter_manifest_sink(PackWriter *w, ManifestSink *sink, Error *err)
{
    if (fflush(w->files) != 0)
        return error_errno(err, ERR_INTERNAL, "can't write a temporary file");
    rewind(w->files);
    *sink = (ManifestSink){.ctx = w, .file = check_file};
    return true;
}

bool packwriter_manifest_end(PackWriter *w, Error *err)
{
    const char *path;
    uint64_t size;
    uint32_t crc;
    return !next_file(w, &path, &size, &crc) ||
           error_set(err, ERR_DAMAGED, "%s was streamed, but the server's manifest does not list it",
                     path);
}
