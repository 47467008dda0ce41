#include "repo/timelines.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/walname.h"
#include "repo/walchain.h"

typedef struct NameState {
    uint32_t *tlis;
    size_t count, room;
} NameState;

/* Names under wal/ are history files and the first 16 digits of segments. */
static bool take_name(void *ctx, const char *name, Error *err)
{
    (void)err;
    NameState *s = ctx;
    WalName parsed;
    char segment[WALNAME_SEGMENT_TEXT];
    if (strlen(name) == 16) {
        memcpy(segment, name, 16);
        memcpy(segment + 16, "00000000", 9);
        name = segment;
    }
    if (!walname_parse(name, &parsed) ||
        (parsed.kind != WALNAME_HISTORY && parsed.kind != WALNAME_SEGMENT))
        return true;
    for (size_t i = 0; i < s->count; i++)
        if (s->tlis[i] == parsed.tli)
            return true;
    MEM_GROW(s->tlis, s->count, s->room);
    s->tlis[s->count++] = parsed.tli;
    return true;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool load_histories(Repo *repo, const NameState *names, Timelines *out, Error *err)
{
    out->histories = MEM_NEW_ARRAY(TimelineHistory, names->count);
    for (size_t i = 0; i < names->count; i++) {
        if (walchain_history(repo, names->tlis[i], &out->histories[out->count], err)) {
            out->count++;
            continue;
        }
        timeline_history_free(&out->histories[out->count]);
        if (err->code != ERR_TARGET)
            return false;
        log_warn("timeline %u has WAL but no history file: it is left out", names->tlis[i]);
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
    if (ok && names.count)
        qsort(names.tlis, names.count, sizeof(names.tlis[0]), ascending);
    ok = ok && load_histories(repo, &names, out, err);
    free(names.tlis);
    if (!ok)
        timelines_free(out);
    return ok;
}

void timelines_free(Timelines *t)
{
    for (size_t i = 0; i < t->count; i++)
        timeline_history_free(&t->histories[i]);
    free(t->histories);
    *t = (Timelines){0};
}

const TimelineHistory *timelines_find(const Timelines *t, uint32_t tli)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->histories[i].tli == tli)
            return &t->histories[i];
    return NULL;
}

bool timelines_fork_inside(const Timelines *t, uint32_t tli, uint64_t start, uint64_t end)
{
    uint64_t lsn;
    for (size_t i = 0; i < t->count; i++)
        if (timeline_switch_point(&t->histories[i], tli, &lsn) && lsn >= start && lsn < end)
            return true;
    return false;
}
