#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "repo/unpack_private.h"
#include "stream/lz4.h"

/* Frames are read together up to this much; more would only cost memory. */
#define READ_AT_ONCE (16u * 1024 * 1024)

typedef struct PackState {
    UnpackShared *shared;
    UnpackJob *job;
    size_t piece; /* the first piece that a coming frame can touch */
    int fd;       /* of that piece, -1: not open */
    char *raw;    /* one frame's content */
    size_t raw_room;
    bool *wanted; /* by frame */
} PackState;

void unpack_drop(void *ctx, void *arg)
{
    (void)ctx;
    UnpackJob *job = arg;
    for (size_t i = 0; i < job->piece_count; i++)
        free(job->pieces[i].path);
    free(job->pieces);
    free(job->frames);
    free(job);
}

static bool open_piece(PackState *s, Error *err)
{
    const UnpackPiece *p = &s->job->pieces[s->piece];
    s->fd = open(p->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return s->fd >= 0 || error_errno(err, ERR_INTERNAL, "can't open %s", p->path);
}

static void close_piece(PackState *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* Makes the files that begin in this pack, with their size, mode and owner. */
static bool make_files(PackState *s, Error *err)
{
    bool ok = true;
    for (s->piece = 0; ok && s->piece < s->job->piece_count; s->piece++) {
        const UnpackPiece *p = &s->job->pieces[s->piece];
        if (!p->first)
            continue;
        ok = open_piece(s, err);
        if (ok && (ftruncate(s->fd, (off_t)p->size) != 0 ||
                   (s->shared->options->set_owner &&
                    fchown(s->fd, (uid_t)p->uid, (gid_t)p->gid) != 0) ||
                   fchmod(s->fd, (mode_t)p->mode) != 0))
            ok = error_errno(err, ERR_INTERNAL, "can't set up %s", p->path);
        close_piece(s);
    }
    s->piece = 0;
    return ok;
}

static uint64_t piece_end(const UnpackPiece *p)
{
    return p->data_offset + p->size;
}

/* Moves on to the first piece that ends behind `offset`. */
static void seek_piece(PackState *s, uint64_t offset)
{
    while (s->piece < s->job->piece_count && piece_end(&s->job->pieces[s->piece]) <= offset) {
        close_piece(s);
        s->piece++;
    }
}

/* Writes what of a frame's content belongs to files; the rest is headers and padding. */
static bool write_frame(PackState *s, const IndexFrame *f, Error *err)
{
    uint64_t at = f->raw_offset, end = f->raw_offset + f->raw_size;
    for (;;) {
        seek_piece(s, at);
        if (s->piece == s->job->piece_count)
            return true;
        const UnpackPiece *p = &s->job->pieces[s->piece];
        uint64_t from = p->data_offset > at ? p->data_offset : at;
        if (from >= end)
            return true;
        uint64_t to = piece_end(p) < end ? piece_end(p) : end;
        if ((s->fd < 0 && !open_piece(s, err)) ||
            !fs_pwrite(s->fd, s->raw + (from - f->raw_offset), (size_t)(to - from),
                       from - p->data_offset, p->path, err))
            return false;
        at = to;
    }
}

static void frame_room(PackState *s, size_t size)
{
    if (s->raw_room < size) {
        s->raw = mem_resize(s->raw, size, 1);
        s->raw_room = size;
    }
}

static bool same_hash(const PackState *s, const IndexFrame *f)
{
    uint8_t digest[SHA256_BYTES];
    sha256(s->raw, f->raw_size, digest);
    return memcmp(digest, f->sha256, SHA256_BYTES) == 0;
}

/* Does the file on disk hold this frame already? Only a frame within one file can be compared. */
static bool holds_frame(PackState *s, const IndexFrame *f)
{
    Error ignored;
    struct stat st;
    size_t got;
    seek_piece(s, f->raw_offset);
    if (s->piece == s->job->piece_count)
        return false;
    const UnpackPiece *p = &s->job->pieces[s->piece];
    if (f->raw_offset < p->data_offset || f->raw_offset + f->raw_size > piece_end(p))
        return false;
    if (s->fd < 0)
        s->fd = open(p->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    frame_room(s, f->raw_size);
    return fs_pread(s->fd, s->raw, f->raw_size, f->raw_offset - p->data_offset, &got, p->path,
                    &ignored) && got == f->raw_size && same_hash(s, f);
}

/* Looked at before files are made, since ftruncate() would cut or stretch them. */
static void choose_frames(PackState *s)
{
    for (size_t i = 0; i < s->job->frame_count; i++) {
        const IndexFrame *f = &s->job->frames[i];
        s->wanted[i] = !s->shared->options->delta || !holds_frame(s, f);
        if (!s->wanted[i])
            atomic_fetch_add(&s->shared->kept, f->raw_size);
    }
    close_piece(s);
    s->piece = 0;
}

static bool restore_frame(PackState *s, const IndexFrame *f, const char *stored, const char *key,
                          Error *err)
{
    frame_room(s, f->raw_size);
    if (!lz4_frame_decode(stored, f->stored_size, s->raw, f->raw_size, err))
        return error_prefix(err, "%s", key);
    if (!same_hash(s, f))
        return error_set(err, ERR_DAMAGED, "%s: content has not the hash that the index gives",
                         key);
    return write_frame(s, f, err);
}

/* Restores frames [first, end), which stand side by side in the pack. */
static bool restore_run(PackState *s, size_t first, size_t end, Error *err)
{
    const IndexFrame *frames = s->job->frames;
    Repo *repo = s->shared->options->repo;
    char key[REPO_MAX_KEY];
    repo_key(repo, key, "base/%s/%s", s->shared->options->backup->label, s->job->pack.name);
    uint64_t offset = frames[first].stored_offset;
    size_t size = (size_t)(frames[end - 1].stored_offset + frames[end - 1].stored_size - offset);
    char *stored = mem_new(size, 1);
    bool ok = interrupt_check(err) &&
              storage_get_range(repo->storage, key, offset, size, stored, err);
    if (!ok && err->code == ERR_NO)
        err->code = ERR_DAMAGED; /* the index lists it */
    for (size_t i = first; ok && i < end; i++)
        ok = restore_frame(s, &frames[i], stored + (frames[i].stored_offset - offset), key, err);
    free(stored);
    atomic_fetch_add(&s->shared->read_size, size);
    return ok;
}

static bool restore_frames(PackState *s, Error *err)
{
    const IndexFrame *f = s->job->frames;
    for (size_t first = 0; first < s->job->frame_count;) {
        if (!s->wanted[first]) {
            first++;
            continue;
        }
        size_t end = first + 1;
        while (end < s->job->frame_count && s->wanted[end] &&
               f[end].stored_offset + f[end].stored_size - f[first].stored_offset <= READ_AT_ONCE)
            end++;
        if (!restore_run(s, first, end, err))
            return false;
        first = end;
    }
    return true;
}

/* Frames must fill the pack without a gap, as the writer cut them: all offsets are from outside. */
static bool check_frames(const UnpackJob *job, Error *err)
{
    uint64_t raw = job->pack.raw_offset, stored = 0;
    for (size_t i = 0; i < job->frame_count; i++) {
        const IndexFrame *f = &job->frames[i];
        if (f->raw_offset != raw || f->stored_offset != stored || f->raw_size > PACK_FRAME ||
            f->stored_size > 2 * PACK_FRAME)
            return error_set(err, ERR_DAMAGED, "the index contradicts itself about %s",
                             job->pack.name);
        raw += f->raw_size;
        stored += f->stored_size;
    }
    return (raw - job->pack.raw_offset == job->pack.raw_size && stored == job->pack.stored_size) ||
           error_set(err, ERR_DAMAGED, "the index has too few frames of %s", job->pack.name);
}

bool unpack_pack(void *ctx, void *arg, Error *err)
{
    PackState s = {.shared = ctx, .job = arg, .fd = -1};
    s.wanted = MEM_NEW_ARRAY(bool, s.job->frame_count);
    bool ok = check_frames(s.job, err);
    if (ok) {
        choose_frames(&s);
        ok = make_files(&s, err) && restore_frames(&s, err);
    }
    close_piece(&s);
    uint64_t done = atomic_fetch_add(&s.shared->done, s.job->pack.raw_size) + s.job->pack.raw_size;
    if (ok && s.shared->options->progress)
        s.shared->options->progress(s.shared->options->ctx, done);
    free(s.raw);
    free(s.wanted);
    unpack_drop(ctx, s.job);
    return ok;
}
