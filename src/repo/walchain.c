#include "repo/walchain.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "repo/walget.h"

#define HISTORY_LIMIT (1024u * 1024)
#define LONGEST_HOLE  4096 /* segments; memory must not depend on a stray segment's number */

bool walchain_history(Repo *repo, uint32_t tli, TimelineHistory *out, Error *err)
{
    Buf text;
    timeline_history_init(out, tli);
    if (tli == 1)
        return true;
    buf_init_max(&text, HISTORY_LIMIT);
    bool ok = walget_history(repo, tli, &text, err) &&
              timeline_history_parse(tli, text.data ? text.data : "", text.len, out, err);
    buf_free(&text);
    if (ok || err->code != ERR_NO)
        return ok;
    error_set(err, ERR_TARGET, "timeline %u is not known: %08X.history is not in repository %s",
              tli, tli, repo->name);
    return error_hint(err, "pitr info lists the timelines that are stored");
}

/* --- loading ----------------------------------------------------------------------------------- */

typedef struct LoadState {
    WalChain *chain;
    uint64_t last;   /* of this timeline on the path */
    uint64_t shared; /* the segment in which the path leaves it; UINT64_MAX: none */
} LoadState;

static bool load_one(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    (void)err;
    LoadState *s = ctx;
    WalChain *c = s->chain;
    uint64_t segno;
    bool partial = object->name.kind == WALNAME_PARTIAL;
    if ((object->name.kind != WALNAME_SEGMENT && !partial) ||
        !walname_segno(&object->name, c->segsize, &segno) || segno < c->first)
        return true;
    if (segno > s->last) {
        *stop = true;
        return true;
    }
    if (segno == s->shared && partial)
        return true;
    size_t at = (size_t)(segno - c->first);
    bool far = at > c->count + LONGEST_HOLE;
    if (far) { /* it shows that there is a hole, and is of no other use */
        at = c->count;
        *stop = true;
    }
    while (c->count <= at) {
        MEM_GROW(c->links, c->count, c->room);
        c->links[c->count++] = (WalLink){0};
    }
    /* Where the path leaves a timeline inside a segment, only the child's file leads on: behind the
     * fork the parent's holds records of another history. While the child's is missing, PostgreSQL
     * would be served the parent's: that is a hole, not an end. */
    if (far || segno == s->shared)
        return true;
    WalLink *link = &c->links[at];
    bool here = link->tli == object->name.tli;
    if (here && (partial || !link->partial)) {
        link->conflict |= partial == link->partial && strcmp(link->hash, object->hash) != 0;
        return true;
    }
    if (partial && link->tli) /* an older timeline's whole segment is what recovery gets */
        return true;
    *link = (WalLink){.tli = object->name.tli, .partial = partial, .cold = object->cold};
    memcpy(link->hash, object->hash, sizeof(link->hash));
    return true;
}

/* The part of the path that belongs to one timeline, in segments. False if it has none. */
static bool timeline_range(const WalChain *c, uint32_t tli, uint64_t begin, uint64_t *first,
                           uint64_t *last, uint64_t *shared)
{
    uint64_t end;
    *last = *shared = UINT64_MAX;
    if (tli != c->history.tli) {
        if (!timeline_switch_point(&c->history, tli, &end) || end <= begin)
            return false;
        *last = lsn_end_segno(end, c->segsize);
        if (end % c->segsize != 0)
            *shared = *last;
    }
    *first = begin / c->segsize > c->first ? begin / c->segsize : c->first;
    return *first <= *last;
}

static bool load_timeline(WalChain *c, uint32_t tli, uint64_t begin, Error *err)
{
    LoadState s = {.chain = c};
    uint64_t first;
    char after[WALNAME_SEGMENT_TEXT];
    if (!timeline_range(c, tli, begin, &first, &s.last, &s.shared))
        return true;
    if (first > 0)
        walname_format(after, tli, first - 1, c->segsize);
    return walkey_list(c->repo, tli, first > 0 ? after : NULL, load_one, &s, err);
}

bool walchain_load(WalChain *c, Repo *repo, uint32_t tli, uint64_t first, uint32_t segsize,
                   Error *err)
{
    *c = (WalChain){.repo = repo, .segsize = segsize, .first = first};
    if (!walchain_history(repo, tli, &c->history, err))
        return false;
    /* Oldest timeline first, so that a newer one's file of a shared segment takes its place. */
    uint64_t begin = 0, left;
    for (size_t i = 0; i < c->history.count; i++) {
        if (!load_timeline(c, c->history.entries[i].tli, begin, err))
            return false;
        if (timeline_switch_point(&c->history, c->history.entries[i].tli, &left) && left > begin)
            begin = left;
    }
    return load_timeline(c, tli, begin, err);
}

void walchain_free(WalChain *c)
{
    timeline_history_free(&c->history);
    free(c->links);
    *c = (WalChain){0};
}

size_t walchain_run(const WalChain *c)
{
    size_t n = 0;
    while (n < c->count && c->links[n].tli && !c->links[n].partial && !c->links[n].conflict)
        n++;
    return n;
}

size_t walchain_cold(const WalChain *c, uint64_t last)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count && c->first + i <= last; i++)
        n += c->links[i].cold;
    return n;
}

void walchain_name(const WalChain *c, uint64_t segno, char out[WALNAME_SEGMENT_TEXT])
{
    size_t at = (size_t)(segno - c->first);
    uint32_t tli = at < c->count && c->links[at].tli
                       ? c->links[at].tli
                       : timeline_at(&c->history, segno_start(segno + 1, c->segsize) - 1);
    walname_format(out, tli, segno, c->segsize);
}

void walchain_object(const WalChain *c, uint64_t segno, WalObject *out)
{
    const WalLink *link = &c->links[segno - c->first];
    char name[WALNAME_TEXT];
    memset(out, 0, sizeof(*out));
    walname_format(name, link->tli, segno, c->segsize);
    if (link->partial)
        memcpy(name + 24, ".partial", 9);
    walname_parse(name, &out->name);
    memcpy(out->hash, link->hash, sizeof(out->hash));
    walkey_make(c->repo, name, link->hash, out->key);
}

/* --- reading records --------------------------------------------------------------------------- */

struct WalChainSource {
    WalChain *chain;
    uint64_t limit;
    WalStream *stream;
};

static bool source_open(void *ctx, uint64_t segno, Error *err)
{
    WalChainSource *s = ctx;
    const WalChain *c = s->chain;
    WalObject object;
    if (segno < c->first || segno > s->limit || segno - c->first >= c->count ||
        !c->links[segno - c->first].tli || c->links[segno - c->first].conflict)
        return error_set(err, ERR_NO, "segment is not stored");
    walchain_object(c, segno, &object);
    s->stream = walstream_open(c->repo, &object, err);
    if (!s->stream && err->code == ERR_NO)
        err->code = ERR_REPO; /* it was listed */
    return s->stream != NULL;
}

static bool source_read(void *ctx, void *buf, size_t len, size_t *got, Error *err)
{
    return walstream_read(((WalChainSource *)ctx)->stream, buf, len, got, err);
}

static void source_close(void *ctx)
{
    WalChainSource *s = ctx;
    walstream_close(s->stream);
    s->stream = NULL;
}

WalReader *walchain_reader(WalChain *chain, uint64_t limit, WalChainSource **source)
{
    *source = MEM_NEW(WalChainSource);
    **source = (WalChainSource){.chain = chain, .limit = limit};
    WalSource callbacks = {*source, source_open, source_read, source_close};
    return walreader_new(&callbacks, chain->segsize, chain->repo->sysid);
}

void walchain_reader_free(WalReader *reader, WalChainSource *source)
{
    walreader_free(reader);
    free(source);
}

/* --- waiting ----------------------------------------------------------------------------------- */

/* How many of the backup's segments are stored without a hole; names what is missing next. */
static bool count_stored(Repo *repo, uint32_t tli, uint64_t first, uint32_t segsize, size_t *run,
                         char missing[WALNAME_TEXT], Error *err)
{
    WalChain chain;
    *run = 0;
    bool ok = walchain_load(&chain, repo, tli, first, segsize, err);
    if (ok) {
        *run = walchain_run(&chain);
        walchain_name(&chain, first + *run, missing);
    } else if (err->code == ERR_TARGET) {
        ok = true;
        walname_history_format(missing, tli);
    }
    walchain_free(&chain);
    return ok;
}

bool walchain_wait(Repo *repo, uint32_t tli, uint64_t start, uint64_t stop, uint32_t segsize,
                   int64_t timeout, void (*tick)(void *ctx, const char *missing), void *ctx,
                   Error *err)
{
    uint64_t first = lsn_segno(start, segsize), last = lsn_end_segno(stop, segsize);
    char missing[WALNAME_TEXT];
    size_t run = 0, before = 0;
    int64_t since = clock_now();
    for (;;) {
        if (!count_stored(repo, tli, first, segsize, &run, missing, err))
            return false;
        if (first + run > last)
            return true;
        if (run != before)
            since = clock_now();
        before = run;
        if (clock_now() - since >= timeout) {
            error_set(err, ERR_REPO, "WAL file %s has not arrived in repository %s within "
                      "archive-timeout", missing, repo->name);
            return error_hint(err, "is archive_command working? see pg_stat_archiver and the "
                                   "server's log; it must store into this repository and cluster");
        }
        tick(ctx, missing);
        interrupt_sleep(1000);
        if (!interrupt_check(err))
            return false;
    }
}
