/*
 * waldump_main.c: prints the records of WAL segments, one line each, for tests that compare with
 * pg_waldump.
 *
 *     waldump_main DIR FIRST-SEGMENT
 *
 * Reads the files of one timeline in DIR from FIRST-SEGMENT on: "lsn rmid info xid len prev event",
 * then "end lsn reason". Exit code 0 if the WAL was read to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "pg/walname.h"
#include "pg/walpage.h"
#include "pg/walreader.h"
#include "pg/walrecord.h"

typedef struct Files {
    const char *dir;
    uint32_t tli, segsize;
    int fd;
} Files;

static bool files_open(void *ctx, uint64_t segno, Error *err)
{
    Files *f = ctx;
    char name[WALNAME_SEGMENT_TEXT];
    walname_format(name, f->tli, segno, f->segsize);
    char *path = fs_join(f->dir, name);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = f->fd >= 0 || error_errno(err, errno == ENOENT ? ERR_NO : ERR_INTERNAL, "%s", path);
    free(path);
    return ok;
}

static bool files_read(void *ctx, void *buf, size_t len, size_t *got, Error *err)
{
    Files *f = ctx;
    return fs_read(f->fd, buf, len, got, f->dir, err);
}

static void files_close(void *ctx)
{
    close(((Files *)ctx)->fd);
}

/* The segment size that the first file's header gives. */
static bool find_segsize(Files *f, const WalName *name, Error *err)
{
    char text[WALNAME_TEXT], head[WALPAGE_LONG_HEADER];
    size_t got;
    WalPageHeader h;
    walname_text(name, text);
    char *path = fs_join(f->dir, text);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = f->fd >= 0 || error_errno(err, ERR_INTERNAL, "%s", path);
    ok = ok && fs_read(f->fd, head, sizeof(head), &got, path, err) &&
         walpage_parse_first(head, got, &h, err) && walpage_check_segment(&h, name, 0, err);
    if (ok)
        f->segsize = h.seg_size;
    if (f->fd >= 0)
        close(f->fd);
    free(path);
    return ok;
}

static void print_event(const WalEvent *e)
{
    switch (e->kind) {
    case WALEVENT_COMMIT:
    case WALEVENT_ABORT:
        printf(" %s%s %u %" PRId64, e->kind == WALEVENT_COMMIT ? "COMMIT" : "ABORT",
               e->prepared ? "_PREPARED" : "", e->xid, e->time);
        break;
    case WALEVENT_CHECKPOINT:
        printf(" CHECKPOINT_%s redo " LSN_FORMAT " tli %u %" PRId64,
               e->shutdown ? "SHUTDOWN" : "ONLINE", LSN_ARGS(e->redo), e->tli, e->time);
        break;
    case WALEVENT_RESTORE_POINT:
        printf(" RESTORE_POINT %s %" PRId64, e->name, e->time);
        break;
    case WALEVENT_END_OF_RECOVERY:
        printf(" END_OF_RECOVERY tli %u prev %u %" PRId64, e->tli, e->prev_tli, e->time);
        break;
    case WALEVENT_DBASE_DROP:
        printf(" DROP db %u", e->db);
        break;
    case WALEVENT_SWITCH:
        printf(" SWITCH");
        break;
    case WALEVENT_INPLACE:
        printf(" INPLACE %u/%u/%u", e->relation.spc, e->relation.db, e->relation.rel);
        break;
    case WALEVENT_OTHER:
        break;
    }
}

static bool print_record(const WalRecord *r, int major)
{
    WalEvent e;
    WalLayout layout;
    bool ok = walrecord_decode(r, major, &e) && walrecord_layout(r, major, &layout);
    printf(LSN_FORMAT " %u %02X %u %u " LSN_FORMAT, LSN_ARGS(r->lsn), r->rmid, r->info, r->xid,
           r->len, LSN_ARGS(r->prev));
    if (ok)
        print_event(&e);
    else
        printf(" BAD");
    putchar('\n');
    return ok;
}

int main(int argc, char **argv)
{
    Error err;
    WalName name;
    uint64_t segno;
    if (argc != 3 || !walname_parse(argv[2], &name)) {
        fprintf(stderr, "usage: waldump_main DIR FIRST-SEGMENT\n");
        return 2;
    }
    Files files = {.dir = argv[1], .tli = name.tli};
    bool ok = find_segsize(&files, &name, &err) && walname_segno(&name, files.segsize, &segno);
    WalReader *r = NULL;
    if (ok) {
        WalSource source = {&files, files_open, files_read, files_close};
        r = walreader_new(&source, files.segsize, 0);
        ok = walreader_seek(r, segno, &err);
    }
    WalNext next = WALNEXT_ERROR;
    WalRecord rec;
    bool sound = true;
    while (ok && (next = walreader_next(r, &rec, &err)) == WALNEXT_RECORD)
        sound = print_record(&rec, walreader_major(r)) && sound;
    if (next == WALNEXT_END)
        printf("end " LSN_FORMAT " %s\n", LSN_ARGS(walreader_end(r)->lsn),
               walreader_end(r)->reason);
    else
        fprintf(stderr, "waldump_main: %s\n", err.message);
    walreader_free(r);
    return next == WALNEXT_END && sound ? 0 : 1;
}
