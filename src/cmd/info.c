/*
 * info.c: `pitr info`: which backups and which WAL the repositories hold, and until when one can go
 * back. It reports, it does not judge: the exit code is 0 whatever there is, unless something could
 * not be read; then the rest is shown all the same and the code is that of the first failure.
 */
#include "cmd/info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/context.h"

/* The newest backup knows the segment size; without one a stored segment does. */
static bool load_wal(Repo *repo, InfoSystem *s, Error *err)
{
    uint32_t segsize = 0;
    for (size_t i = 0; i < s->catalog.count; i++)
        segsize = s->catalog.backups[i].segsize;
    if ((!segsize && !walmap_segsize(repo, &segsize, err)) ||
        !walmap_load(&s->map, repo, segsize, err))
        return false;
    for (size_t i = 0; i < s->catalog.count; i++) /* also one without any WAL */
        walmap_timeline(&s->map, s->catalog.backups[i].stop_tli);
    return true;
}

static void judge_backups(InfoSystem *s)
{
    s->backups = MEM_NEW_ARRAY(InfoBackup, s->catalog.count);
    for (size_t i = 0; i < s->catalog.count; i++) {
        InfoBackup *b = &s->backups[i];
        uint64_t segno;
        b->backup = &s->catalog.backups[i];
        b->whole = window_backup_whole(&s->map, b->backup, &segno, &b->known);
        if (b->known && !b->whole)
            walmap_name(&s->map, walmap_find(&s->map, b->backup->stop_tli), segno, b->missing);
    }
}

/* A window whose end can't be read is shown with the reason. */
static bool add_window(Repo *repo, InfoSystem *s, const Window *window, ErrorCode *code, Error *err)
{
    MEM_GROW(s->windows, s->window_count, s->window_room);
    InfoWindow *w = &s->windows[s->window_count++];
    *w = (InfoWindow){.window = *window};
    if (window_read(&w->window, repo, s->map.segsize, err))
        return true;
    if (err->code == ERR_LOCKED)
        return false;
    log_failure(err);
    w->trouble = mem_strdup(err->message);
    if (*code == ERR_NONE)
        *code = err->code;
    return true;
}

static bool find_windows(Repo *repo, InfoSystem *s, ErrorCode *code, Error *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < s->map.count; i++) {
        Window *windows;
        if (walmap_part_of(&s->map, &s->map.timelines[i]))
            continue;
        size_t n = windows_find(&s->map, &s->map.timelines[i], &s->catalog, &windows), taken = 0;
        while (ok && taken < n)
            ok = add_window(repo, s, &windows[taken++], code, err);
        for (size_t j = taken; j < n; j++)
            free(windows[j].backups);
        free(windows);
    }
    return ok;
}

static bool gather_system(Repo *repo, InfoSystem *s, ErrorCode *code, Error *err)
{
    repo_use_system(repo, s->id.major, s->id.sysid);
    if (!catalog_load(repo, &s->catalog, err) || !load_wal(repo, s, err))
        return false;
    if (s->catalog.unreadable && *code == ERR_NONE)
        *code = ERR_DAMAGED;
    judge_backups(s);
    return find_windows(repo, s, code, err);
}

static bool take_cluster(void *ctx, const char *name, Error *err)
{
    (void)err;
    InfoRepo *info = ctx;
    MEM_GROW(info->others, info->other_count, info->other_room);
    info->others[info->other_count++] = mem_strdup(name);
    return true;
}

static bool gather(InfoRepo *info, ErrorCode *code, Error *err)
{
    RepoSystem *systems = NULL;
    size_t count = 0;
    if (!repo_systems(info->repo, &systems, &count, err))
        return false;
    info->systems = MEM_NEW_ARRAY(InfoSystem, count);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        InfoSystem *s = &info->systems[info->count++];
        s->id = systems[i];
        ok = gather_system(info->repo, s, code, err);
    }
    free(systems);
    if (ok && count == 0)
        ok = storage_list_names(info->repo->storage, REPO_FORMAT "/", take_cluster, info, err);
    return ok;
}

static void free_info(InfoRepo *info)
{
    for (size_t i = 0; i < info->count; i++) {
        InfoSystem *s = &info->systems[i];
        for (size_t j = 0; j < s->window_count; j++) {
            free(s->windows[j].window.backups);
            free(s->windows[j].trouble);
        }
        free(s->windows);
        free(s->backups);
        walmap_free(&s->map);
        catalog_free(&s->catalog);
    }
    for (size_t i = 0; i < info->other_count; i++)
        free(info->others[i]);
    free(info->systems);
    free(info->others);
}

static void show(const Config *config, const InfoRepo *infos, int count)
{
    if (!config_flag(config, OPT_JSON)) {
        info_print_text(infos, count);
        return;
    }
    json_t *json = info_to_json(config_cluster(config), infos, count);
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
}

int cmd_info(const Config *config)
{
    Error err;
    Repos repos;
    ErrorCode code = ERR_NONE;
    InfoRepo infos[REPO_MAX_REPOS] = {0};
    if (config_argc(config) != 0) {
        error_set(&err, ERR_USAGE, "info takes no words");
        return context_fail(&err);
    }
    if (!context_open_repos(config, &repos, &err))
        return context_fail(&err);
    for (int i = 0; i < repos.count && !interrupt_signal(); i++) {
        infos[i].repo = repos.repo[i];
        infos[i].failed = !gather(&infos[i], &code, &infos[i].error);
        if (!infos[i].failed)
            continue;
        log_failure(&infos[i].error);
        if (code == ERR_NONE)
            code = infos[i].error.code;
    }
    if (interrupt_signal())
        code = ERR_LOCKED;
    else
        show(config, infos, repos.count);
    for (int i = 0; i < repos.count; i++)
        free_info(&infos[i]);
    context_close_repos(&repos);
    return (int)code;
}
