#include "cmd/context.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

bool context_open_repos(const Config *config, Repos *repos, Error *err)
{
    Instant as_of = 0;
    bool had_zone;
    const char *repo_time = config_text(config, OPT_REPO_TIME);
    repos->count = 0;
    if (repo_time && !clock_parse_target(repo_time, &as_of, &had_zone, err))
        return error_prefix(err, "repo-time");
    for (int i = 0; i < config_repo_count(config); i++) {
        StorageOptions options;
        storage_options(config, i, &options);
        options.as_of = as_of;
        Repo *repo = repo_open(&options, config_cluster(config),
                               config_repo_flag(config, i, OPT_REQUIRED), err);
        if (!repo) {
            context_close_repos(repos);
            return false;
        }
        repos->repo[repos->count++] = repo;
    }
    return true;
}

void context_close_repos(Repos *repos)
{
    for (int i = 0; i < repos->count; i++)
        repo_close(repos->repo[i]);
    repos->count = 0;
}

void context_use_system(Repos *repos, int major, uint64_t sysid)
{
    for (int i = 0; i < repos->count; i++)
        repo_use_system(repos->repo[i], major, sysid);
}

static bool is_data_directory(const char *dir)
{
    char *control = fs_join(dir, "global/pg_control");
    bool is = fs_exists(control);
    free(control);
    return is;
}

char *context_data_directory(const Config *config, const char *wal_path, Error *err)
{
    char *wal_dir = fs_parent(wal_path), *above = fs_parent(wal_dir);
    const char *name = strrchr(wal_dir, '/');
    const char *configured = config_text(config, OPT_DATA_DIRECTORY);
    char *found = NULL;
    if (strcmp(name ? name + 1 : wal_dir, "pg_wal") == 0 && is_data_directory(above))
        found = mem_strdup(above);
    else if (is_data_directory("."))
        found = mem_strdup(".");
    else if (configured && is_data_directory(configured))
        found = mem_strdup(configured);
    free(wal_dir);
    free(above);
    if (!found) {
        error_set(err, ERR_USAGE, "can't tell which data directory %s belongs to", wal_path);
        error_hint(err, "set data-directory in [cluster:%s], or run in the data directory",
                   config_cluster(config));
    }
    return found;
}

bool context_identify(const char *data_directory, ControlFile *control, int *major, Error *err)
{
    return control_read(data_directory, control, err) && pgversion_read(data_directory, major, err);
}

int context_fail(const Error *err)
{
    log_failure(err);
    return (int)err->code;
}
