#include "repo/timelines.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/walname.h"
#include "repo/walchain.h"

typedef struct NameState {
    uint32_t *tlis;
    bool *wal;
    size_t count, room, wal_room;
} NameState;

/* Names under wal/ are history files and the first 16 digits of segments. */
static bool take_name(void *ctx, const char *name, Error *err)
{
    (void)err;
    NameState *s = ctx;
    WalName parsed;
    char segment[WALNAME_SEGMENT_TEXT];
    bool wal = strspn(name, "0123456789ABCDEF") == 16 && !name[16];
    if (wal) {
        memcpy(segment, name, 16);
        memcpy(segment + 16, "00000000", 9);
        name = segment;
    }
    if (!walname_parse(name, &parsed) || (!wal && parsed.kind != WALNAME_HISTORY))
        return true;
    size_t i = 0;
    while (i < s->count && s->tlis[i] != parsed.tli)
        i++;
    if (i == s->count) {
        MEM_GROW(s->tlis, s->count, s->room);
        if (s->wal_room < s->room)
            s->wal = mem_resize(s->wal, s->wal_room = s->room, sizeof(*s->wal));
        s->tlis[s->count] = parsed.tli;
        s->wal[s->count++] = false;
    }
    s->wal[i] |= wal;
    return true;
}

static int by_tli(const void *a, const void *b)
{
    const Timeline *x = a, *y = b;
    return (x->history.tli > y->history.tli) - (x->history.tli < y->history.tli);
}

static bool load_histories(Repo *repo, const NameState *names, Timelines *out, Error *err)
{
    out->timelines = MEM_NEW_ARRAY(Timeline, names->count);
    for (size_t i = 0; i < names->count; i++) {
        Timeline *t = &out->timelines[out->count];
        t->has_wal = names->wal[i];
        if (walchain_history(repo, names->tlis[i], &t->history, err)) {
            out->count++;
            continue;
        }
        timeline_history_free(&t->history);
        if (err->code != ERR_TARGET && err->code != ERR_DAMAGED)
            return false;
        log_warn("timeline %u is left out: %s", names->tlis[i], err->message);
    }
    return true;
}

bool timelines_load(Repo *repo, Timelines *out, Error *err)
{
    NameState names = {0};
    char prefix[REPO_MAX_KEY];
    *out = (Timelines){0};
    repo_key(repo, prefix, "wal/");
    bool ok = storage_list_names(repo->storage, prefix, take_name, &names, err);
    ok = ok && load_histories(repo, &names, out, err);
    if (ok && out->count)
        qsort(out->timelines, out->count, sizeof(out->timelines[0]), by_tli);
    free(names.tlis);
    free(names.wal);
    if (!ok)
        timelines_free(out);
    return ok;
}

void timelines_free(Timelines *t)
{
    for (size_t i = 0; i < t->count; i++)
        timeline_history_free(&t->timelines[i].history);
    free(t->timelines);
    *t = (Timelines){0};
}

const TimelineHistory *timelines_find(const Timelines *t, uint32_t tli)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->timelines[i].history.tli == tli)
            return &t->timelines[i].history;
    return NULL;
}

bool timelines_fork_inside(const Timelines *t, uint32_t tli, uint64_t start, uint64_t end)
{
    uint64_t lsn;
    for (size_t i = 0; i < t->count; i++)
        if (timeline_switch_point(&t->timelines[i].history, tli, &lsn) && lsn >= start && lsn < end)
            return true;
    return false;
}
