/*
 * info_json.c: `pitr info --json`. The document's keys are an interface: docs/repository-format.md
 * lists them. Moments are UTC.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cmd/info.h"

static json_t *time_json(Instant t)
{
    char text[CLOCK_TEXT];
    clock_format_utc(text, t);
    return json_string(text);
}

static json_t *lsn_json(uint64_t lsn)
{
    char text[LSN_TEXT];
    return json_string(lsn_format(text, lsn));
}

static json_t *segment_json(const WalMap *map, uint32_t tli, uint64_t segno)
{
    char text[WALNAME_SEGMENT_TEXT];
    walname_format(text, tli, segno, map->segsize);
    return json_string(text);
}

/* Names and reasons from outside may be no UTF-8, which JSON can't hold. */
static json_t *text_or_null(const char *text)
{
    json_t *json = text ? json_string(text) : json_null();
    if (json)
        return json;
    char *plain = mem_strdup(text);
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    json = json_string(plain);
    free(plain);
    return json;
}

/* backup.json as it is stored, with what only the whole repository tells. */
static json_t *backup_json(const InfoBackup *b)
{
    json_t *json = backup_to_json(b->backup);
    json_object_set_new(json, "wal_complete", json_boolean(b->whole));
    json_object_set_new(json, "wal_missing", text_or_null(b->missing[0] ? b->missing : NULL));
    return json;
}

static json_t *span_json(const WalMap *map, uint32_t tli, uint64_t first, uint64_t last)
{
    return json_pack("{s:o, s:o, s:I}", "first", segment_json(map, tli, first), "last",
                     segment_json(map, tli, last), "segments", (json_int_t)(last - first + 1));
}

static json_t *timeline_json(const WalMap *map, const WalTimeline *t)
{
    json_t *ranges = json_array(), *gaps = json_array(), *conflicts = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const WalRange *r = &t->ranges[i];
        json_t *span = span_json(map, t->tli, r->first, r->last);
        json_object_set_new(span, "stored_size", json_integer((json_int_t)r->stored_size));
        json_array_append_new(r->conflict ? conflicts : ranges, span);
        if (i > 0 && r[-1].last + 1 < r->first)
            json_array_append_new(gaps, span_json(map, t->tli, r[-1].last + 1, r->first - 1));
    }
    const TimelineHistory *h = &t->history;
    const TimelineSwitch *from = h->count ? &h->entries[h->count - 1] : NULL;
    uint32_t part_of = walmap_part_of(map, t);
    return json_pack("{s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "timeline",
                     (json_int_t)t->tli, "known", t->followed, "trouble", text_or_null(t->trouble),
                     "parent", from ? json_integer(from->tli) : json_null(), "switch_lsn",
                     from ? lsn_json(from->lsn) : json_null(), "reason",
                     text_or_null(from ? from->reason : NULL), "part_of",
                     part_of ? json_integer(part_of) : json_null(), "ranges", ranges, "gaps", gaps,
                     "conflicts", conflicts);
}

static json_t *window_json(const InfoSystem *s, const InfoWindow *info)
{
    const Window *w = &info->window;
    static const char *const ends[] = {
        [WALMAP_MISSING] = "missing", [WALMAP_CONFLICT] = "conflict"};
    char first[WALNAME_SEGMENT_TEXT], last[WALNAME_SEGMENT_TEXT], next[WALNAME_SEGMENT_TEXT];
    Instant latest;
    const WalTimeline *t = walmap_find(&s->map, w->tli);
    json_t *labels = json_array();
    for (size_t i = 0; i < w->count; i++)
        json_array_append_new(labels, json_string(w->backups[i]->label));
    walmap_name(&s->map, t, w->first, first);
    walmap_name(&s->map, t, w->next - 1, last);
    walmap_name(&s->map, t, w->next, next);
    bool goes_on = window_latest(w, &latest);
    return json_pack(
        "{s:I, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "timeline", (json_int_t)w->tli,
        "earliest", time_json(w->backups[0]->stop_time), "latest",
        goes_on ? time_json(latest) : json_null(), "backups", labels, "first_segment", first,
        "last_segment", last, "end_lsn",
        w->any_tail && w->tail.any_record ? lsn_json(w->tail.end_lsn) : json_null(), "last_time",
        w->any_tail && w->tail.any_time ? time_json(w->tail.last_time) : json_null(), "ended_by",
        text_or_null(w->end == WALMAP_END ? NULL : ends[w->end]), "next_segment",
        text_or_null(w->end == WALMAP_END ? NULL : next), "trouble", text_or_null(info->trouble));
}

static json_t *system_json(const InfoSystem *s)
{
    char sysid[24];
    json_t *backups = json_array(), *unfinished = json_array(), *timelines = json_array(),
           *windows = json_array();
    snprintf(sysid, sizeof(sysid), "%" PRIu64, s->id.sysid);
    for (size_t i = 0; s->backups && i < s->catalog.count; i++)
        json_array_append_new(backups, backup_json(&s->backups[i]));
    for (size_t i = 0; i < s->catalog.unfinished_count; i++)
        json_array_append_new(unfinished, json_string(s->catalog.unfinished[i]));
    for (size_t i = 0; i < s->map.count; i++)
        json_array_append_new(timelines, timeline_json(&s->map, &s->map.timelines[i]));
    for (size_t i = 0; i < s->window_count; i++)
        json_array_append_new(windows, window_json(s, &s->windows[i]));
    return json_pack("{s:i, s:s, s:I, s:o, s:o, s:I, s:I, s:o, s:o}", "major", s->id.major,
                     "system_id", sysid, "wal_segment_size", (json_int_t)s->map.segsize, "backups",
                     backups, "unfinished", unfinished, "unreadable",
                     (json_int_t)s->catalog.unreadable, "misfits", (json_int_t)s->map.misfits,
                     "timelines", timelines, "windows", windows);
}

static json_t *repo_json(const InfoRepo *info)
{
    json_t *systems = json_array(), *others = json_array(), *error = json_null();
    for (size_t i = 0; i < info->count; i++)
        json_array_append_new(systems, system_json(&info->systems[i]));
    for (size_t i = 0; i < info->other_count; i++)
        json_array_append_new(others, text_or_null(info->others[i]));
    if (info->failed)
        error = json_pack("{s:i, s:o, s:o}", "code", (int)info->error.code, "message",
                          text_or_null(info->error.message), "hint",
                          text_or_null(info->error.hint[0] ? info->error.hint : NULL));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "name", text_or_null(info->repo->name), "url",
                     text_or_null(storage_url(info->repo->storage)), "error", error, "systems",
                     systems, "other_clusters", others);
}

json_t *info_to_json(const char *cluster, const InfoRepo *repos, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, repo_json(&repos[i]));
    return json_pack("{s:i, s:o, s:o}", "format", 1, "cluster", text_or_null(cluster),
                     "repositories", list);
}
