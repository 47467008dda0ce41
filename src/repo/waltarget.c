#include "repo/waltarget.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/walrecord.h"
#include "repo/walget.h"

/* pg_database is a shared, mapped relation: src/include/catalog/pg_database.dat and
 * pg_tablespace.dat give these numbers, which hold until somebody runs VACUUM FULL on it. */
#define GLOBAL_TABLESPACE 1664
#define PG_DATABASE       1262

/* src/include/access/rmgrlist.h, src/include/storage/standbydefs.h */
#define RM_STANDBY        8
#define XLOG_STANDBY_LOCK 0x00

/* Called for each record; sets *done to end the scan. */
typedef void (*Visit)(void *ctx, const WalRecord *record, const WalEvent *event, bool *done);

/* Reads a stored segment to its end, where its hash is compared. */
static bool verify_segment(WalChain *chain, uint64_t segno, Error *err)
{
    WalObject object;
    char chunk[32768];
    size_t got = 1;
    walchain_object(chain, segno, &object);
    WalStream *ws = walstream_open(chain->repo, &object, err);
    bool ok = ws != NULL;
    while (ok && got > 0)
        ok = walstream_read(ws, chunk, sizeof(chunk), &got, err);
    walstream_close(ws);
    return ok;
}

/* The WAL may end behind the last segment, or inside of it: anywhere else it is damaged, and what
 * lies behind must not be taken for not being there. */
static bool check_end(WalChain *chain, const WalEnd *end, uint64_t last, Error *err)
{
    if (end->absent && end->segno == last + 1)
        return true;
    char name[WALNAME_SEGMENT_TEXT], lsn[LSN_TEXT];
    if (!end->absent && !verify_segment(chain, end->segno, err))
        return false;
    if (end->segno == last)
        return true;
    walchain_name(chain, end->segno, name);
    error_set(err, ERR_DAMAGED, "the WAL stops being readable at %s in segment %s: %s",
              lsn_format(lsn, end->lsn), name, end->reason);
    return error_hint(err, "recovery would end there; another repository may hold a good copy");
}

/* Visits the records that begin in segments `first` to `last`. */
static bool scan(WalChain *chain, uint64_t first, uint64_t last, Visit visit, void *ctx, Error *err)
{
    WalChainSource *source;
    WalReader *reader = walchain_reader(chain, last, &source);
    WalRecord record;
    WalEvent event;
    WalNext next = WALNEXT_END;
    bool done = false, ok = walreader_seek(reader, first, err);
    if (!ok && err->code == ERR_NO) {
        ok = true; /* a segment that one long record fills, and the next one is not there */
        done = true;
    }
    while (ok && !done && (next = walreader_next(reader, &record, err)) == WALNEXT_RECORD) {
        walrecord_decode(&record, walreader_major(reader), &event);
        visit(ctx, &record, &event, &done);
    }
    if (next == WALNEXT_ERROR)
        ok = false;
    if (ok && !done && next == WALNEXT_END)
        ok = check_end(chain, walreader_end(reader), last, err);
    walchain_reader_free(reader, source);
    return ok;
}

static bool is_end_of_transaction(const WalEvent *event)
{
    return event->kind == WALEVENT_COMMIT || event->kind == WALEVENT_ABORT;
}

static WalMoment moment(const WalRecord *record, const WalEvent *event)
{
    return (WalMoment){.lsn = record->lsn,
                       .end_lsn = record->end_lsn,
                       .tli = record->tli,
                       .xid = event->xid,
                       .abort = event->kind == WALEVENT_ABORT,
                       .time = clock_from_pg(event->time)};
}

/* --- the end of the WAL ------------------------------------------------------------------------ */

typedef struct TailState {
    WalTail *tail;
    uint64_t end; /* records from here on were seen already */
    bool any_time;
    Instant last_time;
} TailState;

static void visit_tail(void *ctx, const WalRecord *record, const WalEvent *event, bool *done)
{
    TailState *s = ctx;
    if (record->lsn >= s->end) {
        *done = true;
        return;
    }
    if (!s->tail->any_record || record->lsn >= s->tail->last_lsn) {
        s->tail->any_record = true;
        s->tail->last_lsn = record->lsn;
        s->tail->end_lsn = record->end_lsn;
    }
    if (is_end_of_transaction(event)) {
        s->tail->any_commit = true;
        s->tail->last_commit = moment(record, event);
    }
    if (is_end_of_transaction(event) || event->kind == WALEVENT_CHECKPOINT ||
        event->kind == WALEVENT_RESTORE_POINT || event->kind == WALEVENT_END_OF_RECOVERY) {
        Instant time = clock_from_pg(event->time);
        if (!s->any_time || time > s->last_time)
            s->last_time = time;
        s->any_time = true;
    }
}

bool waltarget_tail(WalChain *chain, uint64_t first, uint64_t last, WalTail *out, Error *err)
{
    *out = (WalTail){0};
    for (uint64_t segno = last + 1; segno-- > first && !out->any_commit;) {
        TailState s = {.tail = out, .end = segno_start(segno + 1, chain->segsize)};
        if (!scan(chain, segno, last, visit_tail, &s, err))
            return false;
        if (s.any_time && !out->any_time) {
            out->any_time = true;
            out->last_time = s.last_time;
        }
    }
    return true;
}

/* --- a time ------------------------------------------------------------------------------------ */

typedef struct FirstCommit {
    bool found;
    Instant time;
} FirstCommit;

static void visit_first_commit(void *ctx, const WalRecord *record, const WalEvent *event,
                               bool *done)
{
    (void)record;
    FirstCommit *s = ctx;
    if (is_end_of_transaction(event)) {
        s->found = *done = true;
        s->time = clock_from_pg(event->time);
    }
}

static bool too_late(Instant commit, Instant target, bool exclusive)
{
    return exclusive ? commit >= target : commit > target;
}

/* The last segment whose first commit is not too late, or `first`: the first commit that is too
 * late lies there or behind. */
static bool bisect(WalChain *chain, uint64_t first, uint64_t last, Instant time, bool exclusive,
                   uint64_t *out, Error *err)
{
    uint64_t low = first, high = last + 1; /* low: not too late, or the first; high: too late */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        FirstCommit s = {0};
        if (!scan(chain, middle, last, visit_first_commit, &s, err))
            return false;
        if (s.found && !too_late(s.time, time, exclusive))
            low = middle;
        else
            high = middle;
    }
    *out = low;
    return true;
}

/* Notes what a DROP DATABASE does before its commit; `inplace` is the last in-place update of
 * pg_database since the last commit. */
static void watch_drop(const WalRecord *record, const WalEvent *event, uint64_t *inplace,
                       WalStop *out)
{
    if (event->kind == WALEVENT_INPLACE && event->relation.spc == GLOBAL_TABLESPACE &&
        event->relation.rel == PG_DATABASE)
        *inplace = record->lsn;
    if (event->kind != WALEVENT_DBASE_DROP)
        return;
    out->drops_database = true;
    out->database = event->db;
    out->safe_lsn = *inplace ? *inplace : record->lsn;
    out->marked_invalid = *inplace == 0;
}

typedef struct TimeState {
    WalStop *out;
    uint64_t from;
    Instant time;
    bool exclusive;
    uint64_t inplace; /* the last in-place update of pg_database since the last commit */
} TimeState;

static void visit_time(void *ctx, const WalRecord *record, const WalEvent *event, bool *done)
{
    TimeState *s = ctx;
    if (record->lsn < s->from)
        return;
    watch_drop(record, event, &s->inplace, s->out);
    if (record->rmid == RM_STANDBY && (record->info & 0xF0) == XLOG_STANDBY_LOCK)
        s->out->locks = true;
    if (event->kind == WALEVENT_END_OF_RECOVERY ||
        (event->kind == WALEVENT_CHECKPOINT && event->tli != event->prev_tli)) {
        s->out->born = true;
        s->out->birth = clock_from_pg(event->time);
    }
    if (!is_end_of_transaction(event))
        return;
    WalMoment m = moment(record, event);
    if (too_late(m.time, s->time, s->exclusive)) {
        s->out->found = *done = true;
        s->out->stop = m;
        return;
    }
    s->out->any_before = true;
    s->out->before = m;
    s->out->drops_database = s->out->locks = s->out->born = false;
    s->inplace = 0;
}

bool waltarget_time(WalChain *chain, uint64_t from, uint64_t last, Instant time, bool exclusive,
                    WalStop *out, Error *err)
{
    *out = (WalStop){0};
    TimeState s = {out, from, time, exclusive, 0};
    uint64_t start;
    if (!bisect(chain, lsn_segno(from, chain->segsize), last, time, exclusive, &start, err) ||
        !scan(chain, start, last, visit_time, &s, err))
        return false;
    if (!out->found)
        out->drops_database = false;
    return true;
}

/* --- a transaction, a name, a position --------------------------------------------------------- */

typedef struct FindState {
    uint64_t from;
    uint32_t xid;
    const char *name;
    WalMoment *out;
    WalStop *stop; /* xid only */
    uint64_t inplace;
} FindState;

static bool find(WalChain *chain, uint64_t last, Visit visit, FindState *s, Error *err)
{
    *s->out = (WalMoment){0};
    uint64_t first = lsn_segno(s->from, chain->segsize);
    return first > last || scan(chain, first, last, visit, s, err);
}

static void visit_xid(void *ctx, const WalRecord *record, const WalEvent *event, bool *done)
{
    FindState *s = ctx;
    if (record->lsn < s->from)
        return;
    watch_drop(record, event, &s->inplace, s->stop);
    if (!is_end_of_transaction(event))
        return;
    if (event->xid == s->xid) {
        *s->out = moment(record, event);
        s->stop->found = *done = true;
        return;
    }
    s->stop->any_before = true;
    s->stop->before = moment(record, event);
    s->stop->drops_database = false;
    s->inplace = 0;
}

bool waltarget_xid(WalChain *chain, uint64_t from, uint64_t last, uint32_t xid, WalStop *out,
                   Error *err)
{
    *out = (WalStop){0};
    FindState s = {.from = from, .xid = xid, .out = &out->stop, .stop = out};
    return find(chain, last, visit_xid, &s, err);
}

static void visit_name(void *ctx, const WalRecord *record, const WalEvent *event, bool *done)
{
    FindState *s = ctx;
    if (event->kind == WALEVENT_RESTORE_POINT && record->lsn >= s->from &&
        strcmp(event->name, s->name) == 0) {
        *s->out = moment(record, event);
        *done = true;
    }
}

bool waltarget_name(WalChain *chain, uint64_t from, uint64_t last, const char *name,
                    WalMoment *out, Error *err)
{
    FindState s = {.from = from, .name = name, .out = out};
    return find(chain, last, visit_name, &s, err);
}

static void visit_lsn(void *ctx, const WalRecord *record, const WalEvent *event, bool *done)
{
    FindState *s = ctx;
    if (record->lsn >= s->from) {
        *s->out = moment(record, event);
        *done = true;
    }
}

bool waltarget_lsn(WalChain *chain, uint64_t lsn, uint64_t last, WalMoment *out, Error *err)
{
    FindState s = {.from = lsn, .out = out};
    return find(chain, last, visit_lsn, &s, err);
}
