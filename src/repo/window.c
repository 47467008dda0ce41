#include "repo/window.h"

#include <stdlib.h>

#include "base/mem.h"

#define TAIL_SEGMENTS 16 /* looked at first for a last commit */

bool window_on_path(const WalTimeline *t, const Backup *b)
{
    return t->followed && b->stop_lsn > b->start_lsn &&
           timeline_contains(&t->history, b->start_tli, b->start_lsn) &&
           timeline_contains(&t->history, b->stop_tli, b->stop_lsn - 1);
}

static WalMapEnd follow_backup(const WalMap *map, const WalTimeline *t, const Backup *b,
                               uint64_t *next)
{
    return walmap_follow(map, t, lsn_segno(b->start_lsn, map->segsize), next);
}

bool window_backup_whole(const WalMap *map, const Backup *b, uint64_t *missing, bool *known)
{
    const WalTimeline *t = walmap_find(map, b->stop_tli);
    *known = map->segsize && t && window_on_path(t, b);
    if (!*known)
        return false;
    follow_backup(map, t, b, missing);
    return *missing > lsn_end_segno(b->stop_lsn, map->segsize);
}

size_t windows_find(const WalMap *map, const WalTimeline *t, const Catalog *c, Window **out)
{
    Window *list = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; map->segsize && i < c->count; i++) {
        const Backup *b = &c->backups[i];
        uint64_t next;
        if (b->damaged || !window_on_path(t, b))
            continue;
        WalMapEnd end = follow_backup(map, t, b, &next);
        if (next <= lsn_end_segno(b->stop_lsn, map->segsize))
            continue;
        if (count == 0 || list[count - 1].next != next) {
            MEM_GROW(list, count, room);
            list[count++] = (Window){.tli = t->tli,
                                     .first = lsn_segno(b->start_lsn, map->segsize),
                                     .next = next,
                                     .end = end};
        }
        Window *w = &list[count - 1];
        MEM_GROW(w->backups, w->count, w->room);
        w->backups[w->count++] = b;
    }
    *out = list;
    return count;
}

void windows_free(Window *windows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(windows[i].backups);
    free(windows);
}

bool window_read(Window *w, Repo *repo, uint32_t segsize, Error *err)
{
    uint64_t last = w->next - 1;
    /* A chain has memory for each segment: the whole one only if the end does not tell. */
    for (uint64_t span = TAIL_SEGMENTS;; span *= TAIL_SEGMENTS) {
        uint64_t first = last - w->first < span ? w->first : last - span + 1;
        WalChain chain;
        bool ok = walchain_load(&chain, repo, w->tli, first, segsize, err) &&
                  waltarget_tail(&chain, first, last, &w->tail, err);
        walchain_free(&chain);
        w->any_tail = ok;
        if (!ok || w->tail.any_commit || first == w->first)
            return ok;
    }
}

bool window_latest(const Window *w, Instant *latest)
{
    *latest = w->tail.last_commit.time;
    return w->any_tail && w->tail.any_commit && *latest > w->backups[0]->stop_time &&
           w->tail.last_commit.lsn >= w->backups[0]->stop_lsn;
}
