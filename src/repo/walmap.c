#include "repo/walmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/walpage.h"
#include "repo/walchain.h"
#include "repo/walget.h"

#define SEGSIZE_TRIES 4

void walmap_free(WalMap *map)
{
    for (size_t i = 0; i < map->count; i++) {
        timeline_history_free(&map->timelines[i].history);
        free(map->timelines[i].trouble);
        free(map->timelines[i].ranges);
    }
    free(map->timelines);
    *map = (WalMap){0};
}

/* --- segment size ------------------------------------------------------------------------------
 */

typedef struct SizeState {
    Repo *repo;
    uint32_t segsize;
    int tries;
} SizeState;

static bool read_header(Repo *repo, const WalObject *object, WalPageHeader *page, Error *err)
{
    char head[WALPAGE_LONG_HEADER];
    size_t got;
    WalStream *stream = walstream_open(repo, object, err);
    if (!stream)
        return false;
    bool ok = walstream_read(stream, head, sizeof(head), &got, err);
    walstream_close(stream);
    if (!ok)
        return false;
    return (walpage_parse_first(head, got, page, err) &&
            walpage_check_segment(page, &object->name, repo->sysid, err)) ||
           error_prefix(err, "%s", object->key);
}

static bool try_segment(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    SizeState *s = ctx;
    WalPageHeader page;
    if (object->name.kind != WALNAME_SEGMENT)
        return true;
    if (read_header(s->repo, object, &page, err)) {
        s->segsize = page.seg_size;
        *stop = true;
        return true;
    }
    if (err->code != ERR_DAMAGED || ++s->tries == SEGSIZE_TRIES)
        return false;
    log_failure_as_warning(err);
    return true;
}

bool walmap_segsize(Repo *repo, uint32_t *segsize, Error *err)
{
    SizeState s = {.repo = repo};
    bool ok = walkey_list(repo, 0, NULL, try_segment, &s, err);
    *segsize = s.segsize;
    return ok;
}

/* --- making ------------------------------------------------------------------------------------
 */

WalTimeline *walmap_timeline(WalMap *map, uint32_t tli)
{
    size_t at = map->count;
    while (at > 0 && map->timelines[at - 1].tli > tli)
        at--;
    if (at > 0 && map->timelines[at - 1].tli == tli)
        return &map->timelines[at - 1];
    MEM_GROW(map->timelines, map->count, map->room);
    memmove(&map->timelines[at + 1], &map->timelines[at],
            (map->count++ - at) * sizeof(map->timelines[0]));
    WalTimeline *t = &map->timelines[at];
    *t = (WalTimeline){.tli = tli, .followed = tli == 1};
    timeline_history_init(&t->history, tli);
    if (tli != 1)
        t->trouble = mem_printf("its history file %08X.history is not stored", tli);
    return t;
}

const WalTimeline *walmap_find(const WalMap *map, uint32_t tli)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->timelines[i].tli == tli)
            return &map->timelines[i];
    return NULL;
}

static void append_segment(WalTimeline *t, uint64_t segno, uint64_t size, bool conflict)
{
    WalRange *last = t->count ? &t->ranges[t->count - 1] : NULL;
    if (last && last->last + 1 == segno && last->conflict == conflict) {
        last->last = segno;
        last->stored_size += size;
        return;
    }
    MEM_GROW(t->ranges, t->count, t->room);
    t->ranges[t->count++] = (WalRange){segno, segno, size, conflict};
}

/* The newest segment again: another content, as keys are distinct. */
static void add_content(WalTimeline *t, uint64_t segno, uint64_t size)
{
    WalRange *last = &t->ranges[t->count - 1];
    if (last->conflict) {
        last->stored_size += size;
        return;
    }
    last->stored_size -= t->newest_size;
    if (last->first == last->last)
        t->count--;
    else
        last->last--;
    append_segment(t, segno, t->newest_size + size, true);
}

void walmap_add(WalMap *map, const WalObject *object)
{
    uint64_t segno;
    WalTimeline *t = walmap_timeline(map, object->name.tli);
    if (object->name.kind != WALNAME_SEGMENT)
        return;
    if (!walname_segno(&object->name, map->segsize, &segno)) {
        map->misfits++;
        return;
    }
    if (t->count && t->ranges[t->count - 1].last == segno)
        add_content(t, segno, object->stored_size);
    else
        append_segment(t, segno, object->stored_size, false);
    t->newest_size = object->stored_size;
}

static bool add_listed(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    (void)stop;
    (void)err;
    if (object->name.kind == WALNAME_SEGMENT || object->name.kind == WALNAME_HISTORY)
        walmap_add(ctx, object);
    return true;
}

static bool load_history(Repo *repo, WalTimeline *t, Error *err)
{
    if (t->tli == 1)
        return true;
    t->followed = walchain_history(repo, t->tli, &t->history, err);
    if (t->followed) {
        free(t->trouble);
        t->trouble = NULL;
        return true;
    }
    timeline_history_init(&t->history, t->tli);
    if (err->code == ERR_DAMAGED) {
        free(t->trouble);
        t->trouble = mem_printf("its history file can't be read: %s", err->message);
    }
    return err->code == ERR_TARGET || err->code == ERR_DAMAGED;
}

bool walmap_load(WalMap *map, Repo *repo, uint32_t segsize, Error *err)
{
    *map = (WalMap){.segsize = segsize};
    bool ok = walkey_list(repo, 0, NULL, add_listed, map, err);
    for (size_t i = 0; ok && i < map->count; i++)
        ok = load_history(repo, &map->timelines[i], err);
    return ok;
}

/* --- asking ------------------------------------------------------------------------------------
 */

/* Whose file recovery on `path` reads for a segment: that of the newest timeline begun in it. */
static uint32_t owner(const WalMap *map, const WalTimeline *path, uint64_t segno)
{
    return timeline_at(&path->history, segno_start(segno + 1, map->segsize) - 1);
}

/* The first segment behind those that belong to `tli` on the path. */
static uint64_t owned_until(const WalMap *map, const WalTimeline *path, uint32_t tli)
{
    uint64_t end;
    return timeline_switch_point(&path->history, tli, &end) ? end / map->segsize : UINT64_MAX;
}

void walmap_name(const WalMap *map, const WalTimeline *path, uint64_t segno,
                 char out[WALNAME_SEGMENT_TEXT])
{
    walname_format(out, owner(map, path, segno), segno, map->segsize);
}

static const WalRange *find_range(const WalTimeline *t, uint64_t segno)
{
    for (size_t i = 0; t && i < t->count; i++)
        if (segno >= t->ranges[i].first && segno <= t->ranges[i].last)
            return &t->ranges[i];
    return NULL;
}

/* Is anything that `tli` has stored on the path behind `segno`? */
static bool stored_behind(const WalMap *map, const WalTimeline *path, uint32_t tli, uint64_t segno)
{
    const WalTimeline *t = walmap_find(map, tli);
    uint64_t until = owned_until(map, path, tli);
    for (size_t i = t ? t->count : 0; i-- > 0;) {
        const WalRange *r = &t->ranges[i];
        if (r->first >= until)
            continue;
        uint64_t last = r->last < until ? r->last : until - 1;
        return last > segno && owner(map, path, last) == tli;
    }
    return false;
}

WalMapEnd walmap_follow(const WalMap *map, const WalTimeline *path, uint64_t from, uint64_t *next)
{
    const WalRange *range;
    uint32_t tli;
    *next = from;
    for (;;) {
        tli = owner(map, path, *next);
        range = find_range(walmap_find(map, tli), *next);
        if (!range || range->conflict)
            break;
        uint64_t until = owned_until(map, path, tli);
        *next = range->last < until ? range->last + 1 : until;
    }
    if (range)
        return WALMAP_CONFLICT;
    bool more = stored_behind(map, path, path->tli, *next);
    for (size_t i = 0; !more && i < path->history.count; i++)
        more = stored_behind(map, path, path->history.entries[i].tli, *next);
    return more ? WALMAP_MISSING : WALMAP_END;
}

/* Does `h` come from where `t` comes from, and leave it behind all that `t` has? */
static bool holds_path(const WalMap *map, const TimelineHistory *h, const WalTimeline *t)
{
    uint64_t end, theirs, ours;
    if (!timeline_switch_point(h, t->tli, &end) ||
        (t->count && t->ranges[t->count - 1].last >= end / map->segsize))
        return false;
    for (size_t i = 0; i < t->history.count; i++) {
        uint32_t ancestor = t->history.entries[i].tli;
        if (!timeline_switch_point(h, ancestor, &theirs) ||
            !timeline_switch_point(&t->history, ancestor, &ours) || theirs != ours)
            return false;
    }
    return true;
}

uint32_t walmap_part_of(const WalMap *map, const WalTimeline *timeline)
{
    for (size_t i = map->count; map->segsize && i-- > 0;) {
        const WalTimeline *t = &map->timelines[i];
        if (t->tli > timeline->tli && t->followed && holds_path(map, &t->history, timeline))
            return t->tli;
    }
    return 0;
}
