#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/shell.h"
#include "cmd/progress.h"
#include "cmd/restore.h"

static const char *role(const RestoreRun *run)
{
    return run->production ? "production" : "copy";
}

static void say_target(const RestoreRun *run)
{
    const PlanRequest *r = &run->plan.request;
    char local[CLOCK_TEXT], utc[CLOCK_TEXT], lsn[LSN_TEXT];
    const char *how = r->exclusive ? ", exclusive" : "";
    printf("  target      ");
    switch (r->target) {
    case RECOVERY_TARGET_TIME:
        clock_format_local(local, r->time);
        clock_format_utc(utc, r->time);
        printf("time %s (%s)%s\n", local, utc, how);
        break;
    case RECOVERY_TARGET_LSN:
        printf("position %s%s\n", lsn_format(lsn, r->lsn), how);
        break;
    case RECOVERY_TARGET_XID:
        printf("transaction %u%s\n", r->xid, how);
        break;
    case RECOVERY_TARGET_NAME:
        printf("restore point \"%s\"\n", r->name);
        break;
    case RECOVERY_TARGET_IMMEDIATE:
        printf("the end of the backup\n");
        break;
    case RECOVERY_TARGET_NONE:
        printf("the end of the archived WAL\n");
        break;
    }
}

static void say_moment(const char *what, const WalMoment *m)
{
    char when[CLOCK_TEXT], lsn[LSN_TEXT];
    clock_format_local(when, m->time);
    printf("  %-11s transaction %u%s, %s, at %s\n", what, m->xid, m->abort ? " (rolled back)" : "",
           when, lsn_format(lsn, m->lsn));
}

static void say_stop(const Plan *plan)
{
    char lsn[LSN_TEXT];
    if (plan->stop.any_before)
        say_moment("last in", &plan->stop.before);
    if (plan->stop.found)
        say_moment("first out", &plan->stop.stop);
    if (plan->request.target == RECOVERY_TARGET_XID)
        say_moment(plan->exclusive ? "first out" : "last in", &plan->at);
    else if (plan->at.lsn)
        printf("  found at    %s\n", lsn_format(lsn, plan->at.lsn));
    if (plan->tail.any_commit && !plan->stop.any_before)
        say_moment("last in", &plan->tail.last_commit);
}

static void say_wal(const Plan *plan)
{
    char first[WALNAME_SEGMENT_TEXT], last[WALNAME_SEGMENT_TEXT];
    walchain_name(&plan->chain, plan->chain.first, first);
    walchain_name(&plan->chain, plan->last, last);
    uint64_t count = plan->last - plan->chain.first + 1;
    printf("  WAL         %s to %s, %" PRIu64 " segment%s, all stored\n", first, last, count,
           count == 1 ? "" : "s");
    printf("  timeline    %u\n", plan->tli);
}

void restore_show_plan(const RestoreRun *run)
{
    const Plan *plan = &run->plan;
    const Backup *b = plan->backup;
    char size[32], when[CLOCK_TEXT];
    printf("Plan for cluster %s (PostgreSQL %d, system %" PRIu64 ") from %s\n", run->repo->cluster,
           run->repo->major, run->repo->sysid, storage_url(run->repo->storage));
    say_target(run);
    say_stop(plan);
    clock_format_local(when, b->stop_time);
    printf("  backup      %s, ended %s, %s in %" PRIu64 " files%s\n", b->label, when,
           progress_size(size, b->totals.raw_size), b->totals.files,
           b->damaged ? ", DAMAGED" : "");
    say_wal(plan);
    printf("  into        %s (%s), as %s\n", run->data,
           run->data_empty ? "empty or new"
           : run->delta    ? "kept where right, --delta"
                           : "emptied first, --force",
           run->production ? "production" : "a copy that can't touch production");
    for (size_t i = 1; i < run->root_count; i++)
        printf("  tablespace  %u: %s -> %s\n", run->roots[i].oid, run->old_places[i],
               run->roots[i].dir);
    printf("  then        restore_command = %s\n", run->restore_command);
    for (size_t i = 0; i < plan->note_count; i++)
        printf("  note        %s\n", plan->notes[i]);
    fflush(stdout);
}

/* --- JSON -------------------------------------------------------------------------------------- */

static json_t *moment_json(bool there, const WalMoment *m)
{
    char when[CLOCK_TEXT], lsn[LSN_TEXT];
    if (!there)
        return json_null();
    clock_format_utc(when, m->time);
    return json_pack("{s:I, s:s, s:s, s:b}", "xid", (json_int_t)m->xid, "lsn",
                     lsn_format(lsn, m->lsn), "time", when, "rolled_back", m->abort);
}

static json_t *target_json(const Plan *plan)
{
    static const char *const kinds[] = {[RECOVERY_TARGET_NONE] = "end",
                                        [RECOVERY_TARGET_TIME] = "time",
                                        [RECOVERY_TARGET_LSN] = "lsn",
                                        [RECOVERY_TARGET_XID] = "xid",
                                        [RECOVERY_TARGET_NAME] = "name",
                                        [RECOVERY_TARGET_IMMEDIATE] = "immediate"};
    const PlanRequest *r = &plan->request;
    char text[CLOCK_TEXT], lsn[LSN_TEXT];
    json_t *json = json_pack("{s:s, s:b, s:s}", "kind", kinds[r->target], "exclusive",
                             r->exclusive, "recovery_uses", kinds[plan->target]);
    clock_format_utc(text, r->time);
    if (r->target == RECOVERY_TARGET_TIME)
        json_object_set_new(json, "time", json_string(text));
    if (plan->target == RECOVERY_TARGET_LSN)
        json_object_set_new(json, "lsn", json_string(lsn_format(lsn, plan->lsn)));
    if (r->target == RECOVERY_TARGET_XID)
        json_object_set_new(json, "xid", json_integer(r->xid));
    if (r->target == RECOVERY_TARGET_NAME)
        json_object_set_new(json, "name", json_string(r->name));
    return json;
}

static json_t *wal_json(const Plan *plan)
{
    char first[WALNAME_SEGMENT_TEXT], last[WALNAME_SEGMENT_TEXT];
    walchain_name(&plan->chain, plan->chain.first, first);
    walchain_name(&plan->chain, plan->last, last);
    return json_pack("{s:s, s:s, s:I, s:b}", "first", first, "last", last, "segments",
                     (json_int_t)(plan->last - plan->chain.first + 1), "partial",
                     plan->use_partial);
}

static json_t *tablespaces_json(const RestoreRun *run)
{
    json_t *list = json_array();
    for (size_t i = 1; i < run->root_count; i++)
        json_array_append_new(list, json_pack("{s:I, s:s, s:s}", "oid",
                                              (json_int_t)run->roots[i].oid, "from",
                                              run->old_places[i], "to", run->roots[i].dir));
    return list;
}

static json_t *notes_json(const RestoreRun *run)
{
    json_t *list = json_array();
    for (size_t i = 0; i < run->plan.note_count; i++)
        json_array_append_new(list, json_string(run->plan.notes[i]));
    return list;
}

void restore_show_json(const RestoreRun *run, bool done)
{
    const Plan *plan = &run->plan;
    char sysid[24];
    snprintf(sysid, sizeof(sysid), "%" PRIu64, run->repo->sysid);
    json_t *json = json_pack(
        "{s:s, s:s, s:i, s:s, s:o, s:s, s:I, s:o, s:s, s:s, s:b, s:o, s:s, s:o, s:o, s:o, s:o, s:b}",
        "cluster", run->repo->cluster, "repository", storage_url(run->repo->storage), "major",
        run->repo->major, "system_id", sysid, "target", target_json(plan), "backup",
        plan->backup->label, "timeline", (json_int_t)plan->tli, "wal", wal_json(plan),
        "data_directory", run->data, "as", role(run), "delta", run->delta, "tablespaces",
        tablespaces_json(run), "restore_command", run->restore_command, "last_in",
        moment_json(plan->stop.any_before || plan->tail.any_commit,
                    plan->stop.any_before ? &plan->stop.before : &plan->tail.last_commit),
        "first_out", moment_json(plan->stop.found, &plan->stop.stop), "found",
        moment_json(plan->at.lsn != 0, &plan->at), "notes", notes_json(run), "done", done);
    if (done)
        json_object_set_new(json, "result",
                            json_pack("{s:I, s:I, s:I, s:f}", "files",
                                      (json_int_t)run->totals.files, "size",
                                      (json_int_t)run->totals.raw_size, "kept",
                                      (json_int_t)run->totals.kept, "seconds",
                                      (double)(clock_now() - run->begun) / 1e6));
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
}

/* Debian keeps the configuration outside of the data directory, and it names production's: a copy
 * must be started with its own. */
static void say_start(const RestoreRun *run, const char *dir)
{
    bool pauses = run->plan.target != RECOVERY_TARGET_NONE &&
                  config_choice(run->config, OPT_TARGET_ACTION) == 0;
    const char *then =
        pauses ? "; it pauses at the target: look, then SELECT pg_wal_replay_resume()" : "";
    char *conf = fs_join(run->data, "postgresql.conf");
    if (fs_exists(conf))
        log_info("start it: pg_ctl -D %s start%s", dir, then);
    else if (run->production)
        log_info("start the server as usual (its postgresql.conf is not in the data directory)%s",
                 then);
    else
        log_info("the backup has no postgresql.conf; start it with the server's: pg_ctl -D %s -o "
                 "\"-c config_file=/etc/postgresql/%d/main/postgresql.conf -c data_directory=%s "
                 "-c external_pid_file='' -c port=5433\" start%s", dir, run->repo->major, dir, then);
    free(conf);
}

void restore_show_done(const RestoreRun *run)
{
    char size[32], kept[32], took[CLOCK_TEXT];
    Buf dir = BUF_INIT;
    for (const char *p = run->said.data; p && *p;) {
        size_t len = strcspn(p, "\n");
        log_info("%.*s", (int)len, p);
        p += len + (p[len] == '\n');
    }
    clock_format_duration(took, clock_now() - run->begun);
    shell_quote(&dir, run->data);
    log_info("restored %s (%s) in %s%s%s", run->data, progress_size(size, run->totals.raw_size),
             took, run->totals.kept ? ", kept " : "",
             run->totals.kept ? progress_size(kept, run->totals.kept) : "");
    const char *needs = storage_environment(run->repo->storage);
    if (needs[0])
        log_warn("the server's fetch needs this environment, too: %s", needs);
    say_start(run, dir.data);
    buf_free(&dir);
}
