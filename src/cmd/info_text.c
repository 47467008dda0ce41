/*
 * info_text.c: `pitr info` for people. Backups, then WAL, then what can be restored to: the last
 * lines are the ones that stand above the prompt. Moments are local, with their offset.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/info.h"
#include "cmd/progress.h"

#define MIB (1024 * 1024)

static const char *count_text(char out[48], uint64_t n, const char *thing)
{
    snprintf(out, 48, "%" PRIu64 " %s%s", n, thing, n == 1 ? "" : "s");
    return out;
}

/* Text from outside, without what could play tricks on a terminal. */
static void print_plain(const char *before, const char *text, const char *behind)
{
    printf("%s", before);
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7F ? '?' : *text);
    printf("%s", behind);
}

/* --- backups -----------------------------------------------------------------------------------
 */

static void format_second(char out[CLOCK_TEXT], Instant t)
{
    clock_format_local(out, t - t % CLOCK_SECOND);
}

static void print_trouble(const InfoBackup *info)
{
    const Backup *b = info->backup;
    if (b->damaged)
        printf("        DAMAGED: the server found bad page checksums; restored only with "
               "--allow-damaged\n");
    for (size_t i = 0; i < b->damage_count; i++)
        print_plain("          ", b->damage[i], "\n");
    if (info->missing[0])
        printf("        CAN'T BE RESTORED: it needs WAL segment %s\n", info->missing);
    else if (!info->known)
        printf("        CAN'T BE RESTORED: its timeline can't be followed\n");
}

static void print_backup(const InfoBackup *info)
{
    const Backup *b = info->backup;
    char from[CLOCK_TEXT], to[CLOCK_TEXT], took[CLOCK_TEXT], raw[32], stored[32], start[LSN_TEXT],
        stop[LSN_TEXT];
    format_second(from, b->start_time);
    format_second(to, b->stop_time);
    clock_format_duration(took, b->stop_time - b->start_time);
    printf("    %s  full  %s to %s (%s)\n", b->label, from, to, took);
    printf("        %s, %s stored, server %d.%d, timeline %u, WAL %s to %s%s\n",
           progress_size(raw, b->totals.raw_size), progress_size(stored, b->totals.stored_size),
           b->server_version / 10000, b->server_version % 10000, b->stop_tli,
           lsn_format(start, b->start_lsn), lsn_format(stop, b->stop_lsn),
           b->from_standby ? ", standby" : "");
    print_trouble(info);
}

static void print_backups(const InfoSystem *s)
{
    const Catalog *c = &s->catalog;
    char text[48];
    bool none = c->count + c->unfinished_count + c->unreadable == 0;
    printf("\n  backups%s\n", none ? ": none" : c->count > 1 ? ", oldest first" : "");
    for (size_t i = 0; s->backups && i < c->count; i++)
        print_backup(&s->backups[i]);
    for (size_t i = 0; i < c->unfinished_count; i++)
        printf("    %s  unfinished or running; does not count\n", c->unfinished[i]);
    if (c->unreadable)
        printf("    %s with an unreadable backup.json left out\n",
               count_text(text, c->unreadable, "backup"));
}

/* --- WAL ---------------------------------------------------------------------------------------
 */

static void print_span(const WalMap *map, uint32_t tli, uint64_t first, uint64_t last)
{
    char from[WALNAME_SEGMENT_TEXT], to[WALNAME_SEGMENT_TEXT];
    walname_format(from, tli, first, map->segsize);
    walname_format(to, tli, last, map->segsize);
    if (first == last)
        printf("%-52s  ", from);
    else
        printf("%s to %s  ", from, to);
}

static void print_range(const WalMap *map, const WalTimeline *t, size_t i)
{
    const WalRange *r = &t->ranges[i];
    char text[48], size[32];
    if (i > 0 && r[-1].last + 1 < r->first) {
        printf("      ");
        print_span(map, t->tli, r[-1].last + 1, r->first - 1);
        printf("%s MISSING\n", count_text(text, r->first - r[-1].last - 1, "segment"));
    }
    printf("      ");
    print_span(map, t->tli, r->first, r->last);
    if (r->conflict)
        printf("CONFLICT: several contents\n");
    else
        printf("%s, %s stored\n", count_text(text, r->last - r->first + 1, "segment"),
               progress_size(size, r->stored_size));
}

static void print_timeline(const WalMap *map, const WalTimeline *t)
{
    char lsn[LSN_TEXT];
    const TimelineHistory *h = &t->history;
    printf("    timeline %u", t->tli);
    if (t->trouble)
        printf(": %s", t->trouble);
    if (h->count) {
        const TimelineSwitch *from = &h->entries[h->count - 1];
        printf(", left timeline %u at %s%s%.60s%s", from->tli, lsn_format(lsn, from->lsn),
               from->reason[0] ? " (" : "", from->reason, from->reason[0] ? ")" : "");
    }
    printf("\n");
    if (t->count == 0)
        printf("      no segments\n");
    for (size_t i = 0; i < t->count; i++)
        print_range(map, t, i);
}

static void print_wal(const InfoSystem *s)
{
    char text[48];
    printf("\n  WAL%s\n", s->map.count ? "" : ": none");
    for (size_t i = 0; i < s->map.count; i++)
        print_timeline(&s->map, &s->map.timelines[i]);
    if (s->map.misfits)
        printf("    %s whose names don't suit segments of %u MiB left out\n",
               count_text(text, s->map.misfits, "file"), s->map.segsize / MIB);
}

/* --- windows -----------------------------------------------------------------------------------
 */

static void print_window_end(const InfoSystem *s, const Window *w)
{
    char name[WALNAME_SEGMENT_TEXT];
    if (w->end == WALMAP_END)
        return;
    walmap_name(&s->map, walmap_find(&s->map, w->tli), w->next, name);
    printf("        no further: WAL segment %s is %s\n", name,
           w->end == WALMAP_CONFLICT ? "stored with several contents"
                                     : "missing, with later ones stored");
}

static void print_tail(const Window *w, bool goes_on, Instant latest)
{
    char lsn[LSN_TEXT], time[CLOCK_TEXT];
    if (!w->any_tail || !w->tail.any_record)
        return;
    printf("        the archived WAL ends at %s", lsn_format(lsn, w->tail.end_lsn));
    /* An idle server's checkpoints show that archiving is alive. */
    if (w->tail.any_time && (!goes_on || w->tail.last_time - latest >= CLOCK_SECOND)) {
        format_second(time, w->tail.last_time);
        printf(", no commit since, last written %s", time);
    }
    printf("\n");
}

static void print_window(const InfoSystem *s, const InfoWindow *info)
{
    const Window *w = &info->window;
    const Backup *b = w->backups[0];
    char from[CLOCK_TEXT], to[CLOCK_TEXT];
    Instant latest;
    bool goes_on = window_latest(w, &latest);
    clock_format_local(from, b->stop_time);
    printf("    timeline %u: can be restored to %s\n        from %-32s  (end of backup %s)\n",
           w->tli, goes_on || info->trouble ? "any moment" : "one moment only", from, b->label);
    if (info->trouble) {
        printf("        to   an end that can't be read: %s\n", info->trouble);
    } else if (goes_on) {
        clock_format_local(to, latest);
        printf("        to   %-32s  (last archived commit)\n", to);
    } else {
        printf("        to   the same: no later commit is archived\n");
    }
    print_tail(w, goes_on, latest);
    print_window_end(s, w);
}

/* Why a timeline has no window. */
static void print_no_window(const InfoSystem *s, const WalTimeline *t)
{
    size_t damaged = 0, broken = 0;
    for (size_t i = 0; i < s->catalog.count; i++) {
        const Backup *b = &s->catalog.backups[i];
        if (!window_on_path(t, b))
            continue;
        damaged += b->damaged;
        broken += !b->damaged;
    }
    printf("    timeline %u: nothing can be restored: %s\n", t->tli,
           t->trouble ? "its history is not known"
           : broken   ? "WAL is missing that its backups need"
           : damaged  ? "every backup of it is damaged"
                      : "there is no backup of it");
}

static void print_windows(const InfoSystem *s)
{
    size_t at = 0;
    printf("\n  recovery\n");
    if (s->catalog.count == 0) {
        printf("    nothing can be restored: there is no backup (pitr backup takes one)\n");
        return;
    }
    for (size_t i = 0; i < s->map.count; i++) {
        const WalTimeline *t = &s->map.timelines[i];
        uint32_t part_of = walmap_part_of(&s->map, t);
        bool any = false;
        for (; at < s->window_count && s->windows[at].window.tli == t->tli; at++, any = true)
            print_window(s, &s->windows[at]);
        if (part_of)
            printf("    timeline %u: see timeline %u, which goes on from it\n", t->tli, part_of);
        else if (!any)
            print_no_window(s, t);
    }
}

/* -----------------------------------------------------------------------------------------------
 */

static void print_repo(const InfoRepo *info)
{
    printf("repository %s (%s), cluster %s\n", info->repo->name, storage_url(info->repo->storage),
           info->repo->cluster);
    for (size_t i = 0; i < info->count; i++) {
        const InfoSystem *s = &info->systems[i];
        printf("\nPostgreSQL %d, system %" PRIu64, s->id.major, s->id.sysid);
        if (s->map.segsize && s->map.segsize != 16 * MIB)
            printf(", WAL segments of %u MiB", s->map.segsize / MIB);
        printf("\n");
        if (!s->backups)
            continue;
        print_backups(s);
        print_wal(s);
        print_windows(s);
    }
    if (info->failed)
        printf("\n%s\n", info->error.message);
    else if (info->count == 0)
        printf("\nno backups, no WAL\n");
    for (size_t i = 0; i < info->other_count; i++)
        print_plain(i ? ", " : "hint: the repository holds other clusters (--cluster NAME): ",
                    info->others[i], i + 1 == info->other_count ? "\n" : "");
}

void info_print_text(const InfoRepo *repos, int count)
{
    for (int i = 0; i < count; i++) {
        if (i)
            printf("\n");
        print_repo(&repos[i]);
    }
}
