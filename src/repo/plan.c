#include "repo/plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "repo/timelines.h"

typedef struct Planner {
    Plan *plan;
    Repo *repo;
    Timelines timelines;
    Error *err;
} Planner;

void plan_note(Plan *plan, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    MEM_GROW(plan->notes, plan->note_count, plan->note_room);
    plan->notes[plan->note_count++] = mem_vprintf(fmt, ap);
    va_end(ap);
}

void plan_free(Plan *plan)
{
    walchain_free(&plan->chain);
    catalog_free(&plan->catalog);
    for (size_t i = 0; i < plan->note_count; i++)
        free(plan->notes[i]);
    free(plan->notes);
    *plan = (Plan){0};
}

/* --- backups ----------------------------------------------------------------------------------- */

static bool on_path(const TimelineHistory *path, const Backup *b)
{
    return timeline_contains(path, b->start_tli, b->start_lsn) &&
           timeline_contains(path, b->stop_tli, b->stop_lsn - 1);
}

/* Does the target lie behind the end of the backup? Xid and name are looked for later. */
static bool before_target(const PlanRequest *r, const Backup *b)
{
    if (r->target == RECOVERY_TARGET_TIME)
        return b->stop_time <= r->time;
    return r->target != RECOVERY_TARGET_LSN || b->stop_lsn <= r->lsn;
}

static bool candidate(const Planner *p, const TimelineHistory *path, const Backup *b)
{
    const PlanRequest *r = &p->plan->request;
    return on_path(path, b) && before_target(r, b) && (!b->damaged || r->allow_damaged) &&
           (!r->backup || strcmp(r->backup, b->label) == 0);
}

/* The newest candidate that ends before `below` (NULL: the newest of all). */
static const Backup *next_backup(const Planner *p, const TimelineHistory *path,
                                 const Backup *below)
{
    const Backup *best = NULL;
    const Catalog *c = &p->plan->catalog;
    for (size_t i = 0; i < c->count; i++) {
        const Backup *b = &c->backups[i];
        if (candidate(p, path, b) && (!below || b->stop_lsn < below->stop_lsn) &&
            (!best || b->stop_lsn > best->stop_lsn))
            best = b;
    }
    return best;
}

static bool named_backup_fails(const Planner *p, const TimelineHistory *path, Error *err)
{
    const PlanRequest *r = &p->plan->request;
    const Backup *b = catalog_find(&p->plan->catalog, r->backup);
    char when[CLOCK_TEXT];
    if (!b) {
        error_set(err, ERR_TARGET, "there is no backup %s in repository %s", r->backup,
                  p->repo->name);
        return error_hint(err, "pitr info lists the backups");
    }
    clock_format_local(when, b->stop_time);
    if (b->damaged && !r->allow_damaged) {
        error_set(err, ERR_TARGET, "backup %s is marked damaged: the server found pages with bad "
                  "checksums in it", b->label);
        return error_hint(err, "choose another one, or add --allow-damaged");
    }
    if (!on_path(path, b)) {
        error_set(err, ERR_TARGET, "backup %s (timeline %u) is not on the way to timeline %u",
                  b->label, b->stop_tli, path->tli);
        return error_hint(err, "choose a timeline that descends from it with --target-timeline");
    }
    error_set(err, ERR_TARGET, "the target lies before the end of backup %s (%s)", b->label, when);
    return error_hint(err, "leave --backup out: an older one is chosen if there is one");
}

static bool no_backup(const Planner *p, const TimelineHistory *path, Error *err)
{
    const Catalog *c = &p->plan->catalog;
    char when[CLOCK_TEXT], lsn[LSN_TEXT];
    const Backup *first = NULL;
    size_t damaged = 0;
    if (p->plan->request.backup)
        return named_backup_fails(p, path, err);
    for (size_t i = 0; i < c->count; i++) {
        if (!on_path(path, &c->backups[i]))
            continue;
        if (c->backups[i].damaged && !p->plan->request.allow_damaged)
            damaged++;
        else if (!first || c->backups[i].stop_lsn < first->stop_lsn)
            first = &c->backups[i];
    }
    if (!first) {
        error_set(err, ERR_TARGET, "repository %s holds no usable backup of cluster %s%s%s",
                  p->repo->name, p->repo->cluster, c->count ? " on the way to this timeline" : "",
                  damaged ? "; damaged ones are left out" : "");
        return error_hint(err, c->count ? "pitr info shows backups and timelines"
                                        : "pitr backup takes one");
    }
    clock_format_local(when, first->stop_time);
    error_set(err, ERR_TARGET, "the target lies before the end of the first usable backup, %s",
              first->label);
    return error_hint(err, "the earliest moment is %s, the earliest position %s", when,
                      lsn_format(lsn, first->stop_lsn));
}

/* --- WAL --------------------------------------------------------------------------------------- */

/* Says what is missing where the stored WAL has its first hole. */
static bool gap_error(const Plan *plan, const char *what, Error *err)
{
    const WalChain *c = &plan->chain;
    char name[WALNAME_SEGMENT_TEXT];
    size_t run = walchain_run(c);
    bool conflict = run < c->count && c->links[run].conflict;
    walchain_name(c, c->first + run, name);
    error_set(err, ERR_TARGET, conflict ? "%s: WAL segment %s is stored with several contents"
                                        : "%s: WAL segment %s is missing", what, name);
    if (conflict)
        return error_hint(err, "two servers have archived it: move the wrong object out of the "
                               "repository (docs/troubleshooting.md tells how to know it), or "
                               "choose a target before it");
    return error_hint(err, "find the segment (the old server's pg_wal, another repository) and "
                           "archive it with pitr archive, or choose a target before it");
}

static bool has_gap(const Plan *plan)
{
    return walchain_run(&plan->chain) + (plan->use_partial ? 1 : 0) < plan->chain.count;
}

/* A last, unfinished segment counts where no other timeline begins inside: there its end is not
 * what this timeline went on with. */
static void consider_partial(Planner *p, size_t run)
{
    Plan *plan = p->plan;
    const WalChain *c = &plan->chain;
    if (run + 1 != c->count || !c->links[run].partial || c->links[run].conflict)
        return;
    uint64_t start = segno_start(c->first + run, c->segsize);
    if (timelines_fork_inside(&p->timelines, c->links[run].tli, start, start + c->segsize))
        return;
    plan->use_partial = true;
    plan->last = c->first + run;
}

/* Loads the WAL of a backup; it must reach the backup's end at least. */
static bool load_chain(Planner *p, const Backup *b)
{
    Plan *plan = p->plan;
    plan->backup = b;
    walchain_free(&plan->chain);
    if (!walchain_load(&plan->chain, p->repo, plan->tli, lsn_segno(b->start_lsn, b->segsize),
                       b->segsize, p->err))
        return false;
    size_t run = walchain_run(&plan->chain);
    uint64_t needed = lsn_end_segno(b->stop_lsn, b->segsize) - plan->chain.first + 1;
    if (run < needed) {
        char what[96];
        snprintf(what, sizeof(what), "backup %s can't become consistent", b->label);
        return gap_error(plan, what, p->err);
    }
    plan->last = plan->chain.first + run - 1;
    plan->use_partial = false;
    consider_partial(p, run);
    size_t cold = walchain_cold(&plan->chain, plan->last);
    plan->cold = cold > 0 && !plan->request.thawed;
    return !plan->cold || error_set(p->err, ERR_REPO, "%zu WAL segments behind backup %s lie in a "
                                    "cold storage class", cold, b->label);
}

/* --- targets ----------------------------------------------------------------------------------- */

static bool too_early_for_wal(const Plan *plan, const char *what, Error *err)
{
    char when[CLOCK_TEXT] = "none", lsn[LSN_TEXT];
    if (has_gap(plan))
        return gap_error(plan, what, err);
    if (plan->tail.any_commit)
        clock_format_local(when, plan->tail.last_commit.time);
    error_set(err, ERR_TARGET, "%s: the archived WAL of timeline %u ends at %s, its last commit at "
              "%s", what, plan->tli, lsn_format(lsn, plan->tail.end_lsn), when);
    return error_hint(err, "if the old server still answers, run SELECT pg_switch_wal() there and "
                           "wait until the segment is archived; without a target recovery goes to "
                           "the end of the archived WAL");
}

static bool read_tail(Planner *p)
{
    Plan *plan = p->plan;
    return waltarget_tail(&plan->chain, plan->chain.first, plan->last, &plan->tail, p->err);
}

static void protect_database(Plan *plan)
{
    char lsn[LSN_TEXT];
    plan->target = RECOVERY_TARGET_LSN;
    plan->lsn = plan->stop.safe_lsn;
    plan->exclusive = true;
    lsn_format(lsn, plan->lsn);
    plan_note(plan, "the next transaction after the target is a DROP DATABASE (oid %u), whose files "
              "go before it commits: recovery stops before position %s instead", plan->stop.database,
              lsn);
    if (plan->stop.marked_invalid)
        plan_note(plan, "the database may be marked invalid then: UPDATE pg_database SET "
                  "datconnlimit = -1 WHERE oid = %u", plan->stop.database);
}

/* Recovery to a time pauses with the next transaction half done: whoever looks at the table that it
 * drops would wait for its lock. Just behind the last transaction that is in, the rows are the same
 * and the lock is not taken yet. */
static void avoid_locks(Plan *plan)
{
    char lsn[LSN_TEXT];
    if (!plan->stop.any_before || plan->stop.before.lsn < plan->backup->stop_lsn)
        return;
    plan->target = RECOVERY_TARGET_LSN;
    plan->lsn = plan->stop.before.lsn;
    plan->exclusive = false;
    lsn_format(lsn, plan->lsn);
    plan_note(plan, "the next transaction holds table locks when it would be stopped: recovery stops "
              "right behind transaction %u instead, at position %s", plan->stop.before.xid, lsn);
}

static bool resolve_time(Planner *p)
{
    Plan *plan = p->plan;
    const PlanRequest *r = &plan->request;
    char lsn[LSN_TEXT], when[CLOCK_TEXT];
    if (!waltarget_time(&plan->chain, plan->backup->start_lsn, plan->last, r->time, r->exclusive,
                        &plan->stop, p->err))
        return false;
    if (plan->stop.found) {
        plan->last = lsn_end_segno(plan->stop.stop.end_lsn, plan->chain.segsize);
        if (plan->stop.drops_database)
            protect_database(plan);
        else if (plan->stop.locks)
            avoid_locks(plan);
        return true;
    }
    if (!read_tail(p))
        return false;
    if (has_gap(plan) || !plan->tail.any_time || plan->tail.last_time < r->time)
        return too_early_for_wal(plan, "the target time can't be reached", p->err);
    /* Nothing was committed from the target on until the WAL ends, so its end is that moment. */
    plan->target = RECOVERY_TARGET_LSN;
    plan->lsn = plan->tail.last_lsn;
    plan->exclusive = false;
    clock_format_local(when, plan->tail.last_time);
    plan_note(plan, "no transaction ended between the target and the end of the archived WAL (%s): "
              "recovery stops at its last record, %s", when, lsn_format(lsn, plan->lsn));
    return true;
}

static bool resolve_lsn(Planner *p)
{
    Plan *plan = p->plan;
    char what[96], lsn[LSN_TEXT];
    if (!waltarget_lsn(&plan->chain, plan->request.lsn, plan->last, &plan->at, p->err))
        return false;
    if (plan->at.lsn) {
        plan->last = lsn_end_segno(plan->at.end_lsn, plan->chain.segsize);
        return true;
    }
    snprintf(what, sizeof(what), "position %s can't be reached",
             lsn_format(lsn, plan->request.lsn));
    return read_tail(p) && too_early_for_wal(plan, what, p->err);
}

static bool resolve_end(Planner *p)
{
    Plan *plan = p->plan;
    if (has_gap(plan))
        return gap_error(plan, "recovery to the end of the archived WAL would stop in the middle",
                         p->err);
    return read_tail(p);
}

/* Xid and name: backups from the newest on, each with the WAL up to the next newer one. */
static bool resolve_search(Planner *p, const TimelineHistory *path)
{
    Plan *plan = p->plan;
    const PlanRequest *r = &plan->request;
    const Backup *b = next_backup(p, path, NULL), *newer = NULL;
    if (!b)
        return no_backup(p, path, p->err);
    for (; b; newer = b, b = next_backup(p, path, b)) {
        if (!load_chain(p, b)) {
            /* Its own WAL has a hole; the target may lie before that. */
            if (p->err->code != ERR_TARGET || !next_backup(p, path, b))
                return false;
            continue;
        }
        uint64_t last = plan->last;
        if (newer && lsn_end_segno(newer->stop_lsn, b->segsize) < last)
            last = lsn_end_segno(newer->stop_lsn, b->segsize);
        WalStop stop = {0};
        bool ok = r->target == RECOVERY_TARGET_XID
                      ? waltarget_xid(&plan->chain, b->stop_lsn, last, r->xid, &stop, p->err)
                      : waltarget_name(&plan->chain, b->stop_lsn, last, r->name, &plan->at, p->err);
        if (!ok)
            return false;
        if (stop.found)
            plan->at = stop.stop;
        if (plan->at.lsn) {
            plan->last = lsn_end_segno(plan->at.end_lsn, plan->chain.segsize);
            if (plan->exclusive && stop.drops_database) {
                plan->stop = stop;
                protect_database(plan);
            }
            return true;
        }
    }
    if (r->target == RECOVERY_TARGET_XID)
        error_set(p->err, ERR_TARGET, "transaction %u does not end in the archived WAL behind any "
                  "usable backup of timeline %u", r->xid, plan->tli);
    else
        error_set(p->err, ERR_TARGET, "there is no restore point \"%s\" in the archived WAL behind "
                  "any usable backup of timeline %u", r->name, plan->tli);
    return error_hint(p->err, "pitr info shows which WAL is stored; --target-time and --target-lsn "
                              "are other ways to name a moment");
}

/* Where recovery stops, as far as it is known, must lie behind the backup's end. */
static bool stops_too_early(const Plan *plan)
{
    uint64_t stop = plan->target == RECOVERY_TARGET_LSN ? plan->lsn
                    : plan->stop.found                  ? plan->stop.stop.lsn
                                                        : UINT64_MAX;
    return stop < plan->backup->stop_lsn;
}

/* Clocks choose the backup, positions prove it: where the clocks misled, the next older one. */
static bool resolve_time_from(Planner *p, const TimelineHistory *path, const Backup *b)
{
    Plan *plan = p->plan;
    for (; b; b = next_backup(p, path, b)) {
        plan->target = RECOVERY_TARGET_TIME;
        plan->exclusive = plan->request.exclusive;
        if (!load_chain(p, b) || !resolve_time(p))
            return false;
        if (!stops_too_early(plan))
            return true;
        plan_note(plan, "backup %s ends behind the target although the clocks say otherwise: an "
                  "older one is used", b->label);
    }
    return no_backup(p, path, p->err);
}

static bool resolve(Planner *p, const TimelineHistory *path)
{
    Plan *plan = p->plan;
    if (plan->target == RECOVERY_TARGET_XID || plan->target == RECOVERY_TARGET_NAME)
        return resolve_search(p, path);
    const Backup *b = next_backup(p, path, NULL);
    if (plan->target == RECOVERY_TARGET_TIME)
        return resolve_time_from(p, path, b);
    if (!b)
        return no_backup(p, path, p->err);
    if (!load_chain(p, b))
        return false;
    switch (plan->target) {
    case RECOVERY_TARGET_LSN:
        return resolve_lsn(p);
    case RECOVERY_TARGET_IMMEDIATE:
        plan->last = lsn_end_segno(b->stop_lsn, b->segsize);
        plan->use_partial = false;
        return true;
    default:
        return resolve_end(p);
    }
}

/* --- timelines --------------------------------------------------------------------------------- */

static bool choose_timeline(Planner *p)
{
    Plan *plan = p->plan;
    plan->tli = plan->request.tli;
    if (plan->tli && !timelines_find(&p->timelines, plan->tli)) {
        error_set(p->err, ERR_TARGET, "timeline %u is not in repository %s", plan->tli,
                  p->repo->name);
        return error_hint(p->err, "pitr info lists the timelines that are stored");
    }
    if (plan->tli)
        return true;
    if (p->timelines.count == 0) {
        error_set(p->err, ERR_TARGET, "repository %s holds no WAL of cluster %s", p->repo->name,
                  p->repo->cluster);
        return error_hint(p->err, "is the cluster's name right, and has it ever archived here?");
    }
    for (size_t i = p->timelines.count; i-- > 0 && !plan->tli;)
        if (p->timelines.timelines[i].has_wal)
            plan->tli = p->timelines.timelines[i].history.tli;
        else
            plan_note(plan, "timeline %u has begun, but none of its WAL is stored yet",
                      p->timelines.timelines[i].history.tli);
    return plan->tli || error_set(p->err, ERR_TARGET, "repository %s holds history files, but no "
                                  "WAL", p->repo->name);
}

/* Is the target also on timeline `parent`, behind the point where the path has left it? */
static bool target_behind_fork(Planner *p, uint32_t parent, uint64_t fork, bool *there)
{
    const PlanRequest *r = &p->plan->request;
    uint32_t segsize = p->plan->chain.segsize;
    WalChain old;
    WalStop stop = {0};
    WalMoment at = {0};
    *there = false;
    bool ok = walchain_load(&old, p->repo, parent, lsn_segno(fork, segsize), segsize, p->err);
    size_t run = ok ? walchain_run(&old) : 0;
    uint64_t last = old.first + run - 1;
    if (run && r->target == RECOVERY_TARGET_TIME)
        ok = waltarget_time(&old, fork, last, r->time, r->exclusive, &stop, p->err);
    else if (run && r->target == RECOVERY_TARGET_LSN)
        ok = waltarget_lsn(&old, r->lsn, last, &at, p->err);
    else if (run && r->target == RECOVERY_TARGET_XID)
        ok = waltarget_xid(&old, fork, last, r->xid, &stop, p->err);
    else if (run && r->target == RECOVERY_TARGET_NAME)
        ok = waltarget_name(&old, fork, last, r->name, &at, p->err);
    walchain_free(&old);
    *there = r->target == RECOVERY_TARGET_XID ? stop.found : stop.any_before || at.lsn;
    return ok;
}

/* After an earlier restore or a failover the target may lie on a timeline that was left. For a time
 * the newest timeline would silently give the state of its fork; positions, transaction ids and
 * names can be on both. */
static bool check_forks(Planner *p, const TimelineHistory *path)
{
    const Plan *plan = p->plan;
    const WalStop *s = &plan->stop;
    bool by_time = plan->request.target == RECOVERY_TARGET_TIME, there;
    uint64_t before = s->any_before ? s->before.lsn : plan->backup->start_lsn;
    uint64_t at = !by_time ? plan->at.lsn : s->found ? s->stop.lsn : plan->tail.end_lsn;
    if (plan->request.tli || at == 0)
        return true;
    /* The new timeline had begun by then: nothing was committed on it yet, that is all. */
    if (by_time && s->born && s->birth <= plan->request.time)
        return true;
    for (size_t i = 0; i < path->count; i++) {
        uint64_t fork = path->entries[i].lsn;
        uint32_t parent = path->entries[i].tli;
        if ((by_time && fork <= before) || fork > at || !timelines_find(&p->timelines, parent))
            continue;
        if (!target_behind_fork(p, parent, fork, &there))
            return false;
        if (!there)
            continue;
        error_set(p->err, ERR_TARGET, "the target lies on timeline %u, which went on after "
                  "timeline %u had left it", parent, plan->tli);
        return error_hint(p->err, "--target-timeline %u restores what timeline %u held then; "
                          "--target-timeline %u what timeline %u makes of the target", parent,
                          parent, plan->tli, plan->tli);
    }
    return true;
}

bool plan_make(Plan *plan, Repo *repo, const PlanRequest *request, Error *err)
{
    *plan = (Plan){.request = *request, .target = request->target, .exclusive = request->exclusive,
                   .lsn = request->lsn};
    Planner p = {.plan = plan, .repo = repo, .err = err};
    TimelineHistory path = {0};
    bool ok = catalog_load(repo, &plan->catalog, err) &&
              timelines_load(repo, &p.timelines, err) && choose_timeline(&p) &&
              walchain_history(repo, plan->tli, &path, err) && resolve(&p, &path) &&
              check_forks(&p, &path);
    if (ok && plan->use_partial && plan->last < plan->chain.first + plan->chain.count - 1)
        plan->use_partial = false;
    if (ok && plan->use_partial)
        plan_note(plan, "the last segment is an unfinished one (.partial): it is put into pg_wal");
    if (ok && plan->backup->damaged)
        plan_note(plan, "backup %s is marked damaged: some pages had bad checksums when it was "
                  "taken", plan->backup->label);
    timeline_history_free(&path);
    timelines_free(&p.timelines);
    return ok;
}
