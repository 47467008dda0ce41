/*
 * archive.c: `pitr archive PATH`, PostgreSQL's archive_command.
 *
 * Exit 0 means: the file is durable in every required repository. Each repository is tried even if
 * another one failed, so that one store that is down does not thin out the others.
 */
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/context.h"
#include "repo/walput.h"

/* PostgreSQL asks again, and a failure that it sees is counted; it waits for us when it stops. */
#define PATIENCE                 (60 * CLOCK_SECOND)
#define PATIENCE_IF_NOT_REQUIRED (15 * CLOCK_SECOND)

static bool store_everywhere(WalFile *file, Repos *repos, Error *err)
{
    Error one;
    bool ok = true;
    int stored = 0;
    for (int i = 0; i < repos->count; i++) {
        Repo *repo = repos->repo[i];
        storage_set_deadline(repo->storage,
                             clock_now() + (repo->required ? PATIENCE : PATIENCE_IF_NOT_REQUIRED));
        if (walfile_store(file, repo, &one)) {
            stored++;
            continue;
        }
        error_prefix(&one, "%s not archived to %s", file->text, storage_url(repo->storage));
        /* With none required, one at least must have it: PostgreSQL recycles the segment on 0. */
        if (!repo->required && (stored || i + 1 < repos->count)) {
            log_failure_as_warning(&one);
        } else {
            if (!ok)
                log_failure(err);
            *err = one;
            ok = false;
        }
    }
    return ok;
}

/* The archiver calls for files that have a status file. A person may name the segment that a server
 * is still writing, whose finished content would then be refused as another one. */
static bool check_finished(const char *data, const char *path, const WalName *name, Error *err)
{
    static const char *const suffixes[] = {"ready", "done"};
    char text[WALNAME_TEXT], *dir = fs_parent(path), *pid = fs_join(data, "postmaster.pid");
    const char *base = strrchr(dir, '/');
    bool finished = name->kind != WALNAME_SEGMENT || !fs_exists(pid) || !fs_exists(path) ||
                    strcmp(base ? base + 1 : dir, "pg_wal") != 0;
    walname_text(name, text);
    for (size_t i = 0; !finished && i < 2; i++) {
        char *status = mem_printf("%s/archive_status/%s.%s", dir, text, suffixes[i]);
        finished = fs_exists(status);
        free(status);
    }
    free(dir);
    free(pid);
    if (finished)
        return true;
    error_set(err, ERR_USAGE, "the server has not finished %s yet", text);
    return error_hint(err, "SELECT pg_switch_wal() ends it and has it archived");
}

static bool archive(const Config *config, Repos *repos, const char *path, Error *err)
{
    const char *slash = strrchr(path, '/');
    WalName name;
    ControlFile control;
    int major;
    if (!walname_parse(slash ? slash + 1 : path, &name)) {
        error_set(err, ERR_USAGE, "%s is not the name of a WAL file", path);
        return error_hint(err, "archive_command = 'pitr archive %%p'");
    }
    char *data = context_data_directory(config, path, err);
    if (!data)
        return false;
    bool ok = context_identify(data, &control, &major, err) &&
              check_finished(data, path, &name, err);
    free(data);
    if (!ok)
        return false;
    context_use_system(repos, major, control.sysid);
    WalFile file;
    ok = walfile_load(&file, path, &name, control.sysid,
                      (int)config_number(config, OPT_COMPRESS_LEVEL), err) &&
         store_everywhere(&file, repos, err);
    walfile_free(&file);
    return ok;
}

int cmd_archive(const Config *config)
{
    Error err;
    Repos repos;
    if (config_argc(config) != 1) {
        error_set(&err, ERR_USAGE, "archive takes one path");
        error_hint(&err, "archive_command = 'pitr archive %%p'");
        return context_fail(&err);
    }
    if (!context_open_repos(config, &repos, &err))
        return context_fail(&err);
    bool ok = archive(config, &repos, config_arg(config, 0), &err);
    context_close_repos(&repos);
    return ok ? 0 : context_fail(&err);
}
