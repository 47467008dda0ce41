/*
 * restore.c: `pitr restore` (`pitr-restore`): a cluster as it was at a moment.
 *
 * Everything is looked at first: target, backup, WAL, directories. Then the backup's files are
 * written, recovery is configured, all is made durable, and pg_control gets its name last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "cmd/restore.h"

static void free_plan(RestoreRun *run)
{
    plan_free(&run->plan);
    for (size_t i = 0; i < run->root_count; i++) {
        free((char *)run->roots[i].dir);
        free(run->old_places[i]);
    }
    free(run->roots);
    free(run->old_places);
    run->roots = NULL;
    run->old_places = NULL;
    run->root_count = 0;
}

/* The system to restore: the one of --backup, else that of the newest backup. */
static bool choose_system(RestoreRun *run, Error *err)
{
    RepoSystem *systems;
    size_t count, best = SIZE_MAX;
    Instant newest = 0;
    if (!repo_systems(run->repo, &systems, &count, err))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        Catalog catalog;
        repo_use_system(run->repo, systems[i].major, systems[i].sysid);
        ok = catalog_load(run->repo, &catalog, err);
        for (size_t j = 0; ok && j < catalog.count; j++) {
            const Backup *b = &catalog.backups[j];
            bool named = run->request.backup && strcmp(run->request.backup, b->label) == 0;
            if (named || best == SIZE_MAX || (!run->request.backup && b->stop_time > newest)) {
                best = i;
                newest = named ? INT64_MAX : b->stop_time;
            }
        }
        if (ok)
            catalog_free(&catalog);
    }
    if (ok && best == SIZE_MAX) {
        ok = error_set(err, ERR_TARGET, "repository %s (%s) holds no backup of cluster %s",
                       run->repo->name, storage_url(run->repo->storage), run->repo->cluster);
        error_hint(err, "pitr info shows what is stored; is the cluster's name right?");
    }
    if (ok) {
        repo_use_system(run->repo, systems[best].major, systems[best].sysid);
        if (count > 1)
            log_info("%zu systems are stored: restoring PostgreSQL %d, system %llu, which has the "
                     "%s backup", count, systems[best].major,
                     (unsigned long long)systems[best].sysid,
                     run->request.backup ? "named" : "newest");
    }
    free(systems);
    return ok;
}

static bool make_plan(RestoreRun *run, Error *err)
{
    bool waited = false;
    do {
        if (waited)
            free_plan(run);
        if (!choose_system(run, err) ||
            (!plan_make(&run->plan, run->repo, &run->request, err) && !run->plan.cold) ||
            !restore_thaw(run, &waited, err))
            return false;
    } while (waited);
    return unpack_check(run->repo, run->plan.backup, err);
}

/* The first repository that the restore can be made from. */
static bool plan_somewhere(RestoreRun *run, Repos *repos, Error *err)
{
    Error one;
    for (int i = 0; i < repos->count; i++) {
        run->repo = repos->repo[i];
        if (make_plan(run, i ? &one : err))
            return true;
        if (i)
            log_failure_as_warning(&one);
        free_plan(run);
        if (i + 1 < repos->count)
            log_warn("repository %s can't serve this restore; trying %s", run->repo->name,
                     repos->repo[i + 1]->name);
    }
    return false;
}

static void show_progress(void *ctx, uint64_t done)
{
    progress_update(ctx, done);
}

static bool write_files(RestoreRun *run, Error *err)
{
    Progress *progress = progress_new(run->config, "restore", run->plan.backup->totals.raw_size);
    UnpackOptions options = {.repo = run->repo,
                             .backup = run->plan.backup,
                             .roots = run->roots,
                             .root_count = run->root_count,
                             .workers = (int)config_number(run->config, OPT_WORKERS),
                             .delta = run->delta,
                             .follow_pg_wal = run->production,
                             .keep = RESTORE_MARKER,
                             .set_owner = geteuid() == 0,
                             .progress = show_progress,
                             .ctx = progress};
    bool ok = unpack_run(&options, &run->totals, err) && restore_finish(run, err) &&
              restore_remove_marker(run, err) && unpack_commit(&options, err);
    progress_free(progress);
    return ok;
}

static bool restore(RestoreRun *run, Repos *repos, Error *err)
{
    bool json = config_flag(run->config, OPT_JSON), dry = config_flag(run->config, OPT_DRY_RUN);
    if (!restore_read_request(run, err) || !restore_make_command(run, err) ||
        !plan_somewhere(run, repos, err) || !restore_check_dirs(run, err))
        return false;
    if (!json)
        restore_show_plan(run);
    if (dry) {
        if (json)
            restore_show_json(run, false);
        return true;
    }
    if (!restore_prepare_dirs(run, err) || !write_files(run, err))
        return false;
    if (json)
        restore_show_json(run, true);
    restore_show_done(run);
    return true;
}

int cmd_restore(const Config *config)
{
    Error err;
    Repos repos;
    if (!context_open_repos(config, &repos, &err))
        return context_fail(&err);
    RestoreRun run = {.config = config, .begun = clock_now(), .lock = -1};
    bool ok = restore(&run, &repos, &err);
    if (!ok && err.code == ERR_NO) /* something that the plan found is gone */
        err.code = ERR_DAMAGED;
    int code = ok ? 0 : context_fail(&err);
    if (!ok && run.touched)
        log_warn("%s is half restored and can't be started; %s", run.data,
                 err.code == ERR_DAMAGED ? "choose another backup with --backup and add --delta"
                                         : "the same command with --delta goes on");
    free_plan(&run);
    if (run.lock >= 0)
        close(run.lock);
    free(run.data);
    free(run.restore_command);
    free(run.saved_wal);
    buf_free(&run.said);
    context_close_repos(&repos);
    return code;
}
