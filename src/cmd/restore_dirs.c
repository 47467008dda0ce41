#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/progress.h"
#include "cmd/restore.h"
#include "pg/control.h"

/* --- looking ----------------------------------------------------------------------------------- */

static bool check_running(const char *data, Error *err)
{
    char *pid = fs_join(data, "postmaster.pid");
    bool there = fs_exists(pid);
    free(pid);
    if (!there)
        return true;
    error_set(err, ERR_LOCKED, "%s has a postmaster.pid: a server may be running there", data);
    return error_hint(err, "stop the server (pg_ctl stop -m fast); if it is certain that none runs, "
                           "remove the file");
}

/* Only a data directory, or what an interrupted restore left, may be changed or emptied: not a home
 * directory by a mistyped path. */
static bool check_kind(const RestoreRun *run, Error *err)
{
    static const char *const signs[] = {"PG_VERSION", "global/pg_control", RESTORE_MARKER};
    bool is = run->data_empty;
    for (size_t i = 0; !is && i < sizeof(signs) / sizeof(signs[0]); i++) {
        char *path = fs_join(run->data, signs[i]);
        is = fs_exists(path);
        free(path);
    }
    if (is)
        return true;
    error_set(err, ERR_USAGE, "%s holds files, and they are not those of a PostgreSQL cluster",
              run->data);
    return error_hint(err, "check --data-directory; if it is right, empty it yourself");
}

/* A directory that holds another cluster is not emptied because of a mistyped path. */
static bool check_system(const RestoreRun *run, Error *err)
{
    ControlFile control;
    Error ignored;
    if (!control_read(run->data, &control, &ignored) || control.sysid == run->repo->sysid ||
        run->force)
        return true;
    error_set(err, ERR_USAGE, "%s holds another cluster (system %" PRIu64 ", the backup is of "
              "%" PRIu64 ")", run->data, control.sysid, run->repo->sysid);
    return error_hint(err, "check --data-directory; --force replaces that cluster");
}

static bool check_owner(const char *dir, Error *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return errno == ENOENT || error_errno(err, ERR_INTERNAL, "can't look at %s", dir);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ERR_USAGE, "%s is not a directory", dir);
    if (geteuid() == 0 || st.st_uid == geteuid())
        return true;
    error_set(err, ERR_USAGE, "%s belongs to another user (uid %u)", dir, (unsigned)st.st_uid);
    return error_hint(err, "run pitr as that user, or as root");
}

static bool check_empty(RestoreRun *run, Error *err)
{
    if (!fs_dir_is_empty(run->data, &run->data_empty, err)) {
        if (err->code != ERR_NO)
            return false;
        run->data_empty = true;
    }
    if (run->data_empty || run->delta || run->force)
        return true;
    error_set(err, ERR_USAGE, "%s is not empty", run->data);
    return error_hint(err, "--delta keeps what is right there and replaces the rest, --force empties "
                           "it first");
}

/* The directory of this version in a tablespace, as PG_15_202209061, if it is there. */
static bool own_version_dir(const RestoreRun *run, const char *dir, char **found, Error *err)
{
    char prefix[16];
    *found = NULL;
    DIR *handle = opendir(dir);
    if (!handle)
        return errno == ENOENT || error_errno(err, ERR_INTERNAL, "can't open directory %s", dir);
    snprintf(prefix, sizeof(prefix), "PG_%d_", run->plan.backup->major);
    struct dirent *entry;
    while (!*found && (entry = readdir(handle)) != NULL)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            *found = fs_join(dir, entry->d_name);
    closedir(handle);
    return true;
}

/* Does the data directory, or the restore that was interrupted there, use this tablespace place? */
static bool is_ours(const RestoreRun *run, const UnpackRoot *root)
{
    Buf text;
    Error ignored;
    char *link = mem_printf("%s/pg_tblspc/%u", run->data, root->oid), *target = fs_resolve(link);
    char *marker = fs_join(run->data, RESTORE_MARKER), *line = mem_printf("\n%s\n", root->dir);
    buf_init_max(&text, 1024 * 1024);
    bool ours = strcmp(target, root->dir) == 0 ||
                (fs_read_file(marker, &text, &ignored) && text.data && strstr(text.data, line));
    buf_free(&text);
    free(link);
    free(target);
    free(marker);
    free(line);
    return ours;
}

static bool check_tablespace_dir(const RestoreRun *run, size_t i, Error *err)
{
    const UnpackRoot *root = &run->roots[i];
    char *there, *old = fs_resolve(run->old_places[i]);
    bool original = run->production && strcmp(old, root->dir) == 0;
    free(old);
    if (!check_owner(root->dir, err) || !own_version_dir(run, root->dir, &there, err))
        return false;
    bool free_to_use = !there || ((run->delta || run->force) && (original || is_ours(run, root)));
    free(there);
    if (free_to_use)
        return true;
    error_set(err, ERR_USAGE, "tablespace directory %s holds files of a PostgreSQL %d cluster",
              root->dir, run->plan.backup->major);
    return error_hint(err, original ? "--delta or --force replace what is there"
                                    : "choose an empty place with --tablespace-map: this one is not "
                                      "that of %s", run->data);
}

/* --- tablespaces ------------------------------------------------------------------------------- */

/* OLD=NEW, where OLD is a path or an oid; `used` marks each option that served. */
static const char *mapped(const Config *c, const BackupTablespace *ts, bool *used)
{
    char oid[16];
    snprintf(oid, sizeof(oid), "%u", ts->oid);
    for (int i = 0; i < config_list_count(c, OPT_TABLESPACE_MAP); i++) {
        const char *item = config_list_item(c, OPT_TABLESPACE_MAP, i), *eq = strchr(item, '=');
        size_t len = eq ? (size_t)(eq - item) : 0;
        while (len > 1 && item[len - 1] == '/')
            len--;
        if (eq && ((strlen(ts->location) == len && strncmp(item, ts->location, len) == 0) ||
                   (strlen(oid) == len && strncmp(item, oid, len) == 0))) {
            used[i] = true;
            return eq + 1;
        }
    }
    return NULL;
}

static bool unmapped(const RestoreRun *run, const BackupTablespace *ts, Error *err)
{
    error_set(err, ERR_USAGE, "tablespace %u is at %s: a copy must not use production's directory",
              ts->oid, ts->location);
    return error_hint(err, "add --tablespace-map %s=%s-tablespaces/%u for each tablespace",
                      ts->location, run->data, ts->oid);
}

static bool add_root(RestoreRun *run, uint32_t oid, const char *old, char *dir, Error *err)
{
    for (size_t i = 0; i < run->root_count; i++) {
        size_t n = strlen(run->roots[i].dir);
        if (strcmp(run->roots[i].dir, dir) == 0 ||
            (strncmp(run->roots[i].dir, dir, n) == 0 && dir[n] == '/')) {
            error_set(err, ERR_USAGE, "tablespace directory %s is that of another one, or in the "
                      "data directory", dir);
            free(dir);
            return error_hint(err, "give each tablespace a directory of its own");
        }
    }
    run->roots[run->root_count] = (UnpackRoot){oid, dir};
    run->old_places[run->root_count++] = mem_strdup(old);
    return true;
}

static bool is_production_place(const Backup *b, const char *dir)
{
    bool is = false;
    for (size_t i = 0; !is && i < b->tablespace_count; i++) {
        char *place = fs_resolve(b->tablespaces[i].location);
        is = strcmp(place, dir) == 0;
        free(place);
    }
    return is;
}

static bool map_tablespaces(RestoreRun *run, bool *used, Error *err)
{
    const Backup *b = run->plan.backup;
    for (size_t i = 0; i < b->tablespace_count; i++) {
        const BackupTablespace *ts = &b->tablespaces[i];
        const char *place = mapped(run->config, ts, used);
        if (!place && !run->production)
            return unmapped(run, ts, err);
        if (!place)
            place = ts->location;
        if (place[0] != '/')
            return error_set(err, ERR_USAGE, "--tablespace-map: %s is no absolute path", place);
        char *dir = fs_resolve(place);
        if (!run->production && is_production_place(b, dir)) {
            free(dir);
            return unmapped(run, ts, err);
        }
        if (!add_root(run, ts->oid, ts->location, dir, err))
            return false;
    }
    return true;
}

static bool choose_roots(RestoreRun *run, Error *err)
{
    const Backup *b = run->plan.backup;
    int maps = config_list_count(run->config, OPT_TABLESPACE_MAP);
    bool *used = MEM_NEW_ARRAY(bool, (size_t)maps);
    run->roots = MEM_NEW_ARRAY(UnpackRoot, b->tablespace_count + 1);
    run->old_places = MEM_NEW_ARRAY(char *, b->tablespace_count + 1);
    bool ok = add_root(run, 0, "", mem_strdup(run->data), err) && map_tablespaces(run, used, err);
    for (int i = 0; ok && i < maps; i++) {
        if (used[i])
            continue;
        ok = error_set(err, ERR_USAGE, "--tablespace-map %s names no tablespace of backup %s",
                       config_list_item(run->config, OPT_TABLESPACE_MAP, i), b->label);
        error_hint(err, "write OLD=NEW; pitr info --json lists the tablespaces");
    }
    free(used);
    return ok;
}

/* The nearest directory at or above `path` that exists. */
static char *existing(const char *path)
{
    char *dir = mem_strdup(path);
    while (!fs_exists(dir)) {
        char *above = fs_parent(dir);
        free(dir);
        dir = above;
    }
    return dir;
}

/* Only where one file system takes everything can the sizes be compared. */
static bool check_space(const RestoreRun *run, Error *err)
{
    struct stat first, st;
    struct statvfs vfs;
    char need[32], have[32];
    bool one = !run->delta && run->data_empty;
    for (size_t i = 0; one && i < run->root_count; i++) {
        char *dir = existing(run->roots[i].dir);
        one = stat(dir, i ? &st : &first) == 0 && (i == 0 || st.st_dev == first.st_dev) &&
              statvfs(dir, &vfs) == 0;
        free(dir);
    }
    uint64_t size = run->plan.backup->totals.raw_size;
    if (!one || (uint64_t)vfs.f_bavail * vfs.f_frsize >= size)
        return true;
    error_set(err, ERR_INTERNAL, "%s needs %s, its file system has %s free", run->data,
              progress_size(need, size),
              progress_size(have, (uint64_t)vfs.f_bavail * vfs.f_frsize));
    return error_hint(err, "make room, or restore elsewhere");
}

/* A dry run changes nothing: what would have to be done first becomes a note. */
static bool unless_dry(RestoreRun *run, bool ok, const Error *err)
{
    if (ok || !config_flag(run->config, OPT_DRY_RUN))
        return ok;
    plan_note(&run->plan, "before that: %s; %s", err->message, err->hint);
    return true;
}

bool restore_check_dirs(RestoreRun *run, Error *err)
{
    if (!check_owner(run->data, err) ||
        !unless_dry(run, check_running(run->data, err), err) ||
        !unless_dry(run, check_empty(run, err), err) || !check_kind(run, err) ||
        !check_system(run, err) || !choose_roots(run, err))
        return false;
    for (size_t i = 1; i < run->root_count; i++)
        if (!check_tablespace_dir(run, i, err))
            return false;
    return check_space(run, err);
}

/* --- changing ---------------------------------------------------------------------------------- */

/* Segments without a .done may never have been archived. */
static bool has_unarchived(const char *pg_wal)
{
    DIR *handle = opendir(pg_wal);
    struct dirent *entry;
    WalName name;
    bool has = false;
    while (handle && !has && (entry = readdir(handle)) != NULL) {
        if (!walname_parse(entry->d_name, &name))
            continue;
        char *done = mem_printf("%s/archive_status/%s.done", pg_wal, entry->d_name);
        has = !fs_exists(done);
        free(done);
    }
    if (handle)
        closedir(handle);
    return has;
}

/* A copy that an earlier restore made never archives: its WAL is nobody's only copy. */
static bool is_copy(const char *data)
{
    Buf text;
    Error ignored;
    char *path = fs_join(data, "postgresql.auto.conf");
    buf_init_max(&text, 16 * 1024 * 1024);
    bool is = fs_read_file(path, &text, &ignored) && text.data &&
              strstr(text.data, RECOVERY_BLOCK_BEGIN) && strstr(text.data, "archive_mode = off");
    buf_free(&text);
    free(path);
    return is;
}

static bool move_wal(RestoreRun *run, const char *pg_wal, bool link, Error *err)
{
    char stamp[CLOCK_TEXT], *real = fs_resolve(pg_wal);
    clock_format_label(stamp, run->begun);
    run->saved_wal = link ? mem_printf("%s-saved-%s", real, stamp)
                          : mem_printf("%s-pg_wal-saved-%s", run->data, stamp);
    bool ok = rename(real, run->saved_wal) == 0;
    if (!ok) {
        error_errno(err, ERR_INTERNAL, "can't move the old pg_wal to %s", run->saved_wal);
        error_hint(err, "%s may hold commits that were never archived: move what is in it to a safe "
                        "place by hand, then run the same command. Nothing was changed", real);
    } else if (link && mkdir(real, 0700) != 0) {
        ok = error_errno(err, ERR_INTERNAL, "can't make directory %s", real);
    } else {
        log_info("the old pg_wal was moved to %s: it may hold commits that were never archived",
                 run->saved_wal);
    }
    free(real);
    return ok;
}

/* The old pg_wal may hold the only copy of the last commits: it is moved aside, never removed. What
 * a copy's link points to is another cluster's. */
static bool clear_wal(RestoreRun *run, Error *err)
{
    struct stat st;
    char *pg_wal = fs_join(run->data, "pg_wal");
    bool there = lstat(pg_wal, &st) == 0, link = there && S_ISLNK(st.st_mode), ok = true;
    if (link && !run->production)
        ok = fs_remove(pg_wal, err);
    else if (there && has_unarchived(pg_wal) && !is_copy(run->data) && !run->resumed)
        ok = move_wal(run, pg_wal, link, err);
    else if (there && stat(pg_wal, &st) == 0 && S_ISDIR(st.st_mode))
        ok = fs_empty_dir(pg_wal, err);
    free(pg_wal);
    return ok;
}

/* The marker says that a restore was at work, and where its tablespaces are. */
static bool put_marker(RestoreRun *run, Error *err)
{
    Buf text = BUF_INIT;
    char *path = fs_join(run->data, RESTORE_MARKER), *control = fs_join(run->data, UNPACK_CONTROL);
    /* pg_control goes after the WAL was moved aside: while it is there, that may not have happened. */
    run->resumed = fs_exists(path) && !fs_exists(control);
    free(control);
    buf_printf(&text, "pitr restore of %s is not finished\n", run->plan.backup->label);
    for (size_t i = 1; i < run->root_count; i++)
        buf_printf(&text, "%s\n", run->roots[i].dir);
    bool ok = fs_write_file(path, text.data, text.len, 0600, err);
    buf_free(&text);
    free(path);
    return ok;
}

/* pg_control goes first and durably: a crash must not leave a startable mixture. */
static bool remove_control(const RestoreRun *run, Error *err)
{
    char *control = fs_join(run->data, UNPACK_CONTROL), *global = fs_parent(control);
    bool ok = !fs_exists(control) || (fs_remove(control, err) && fs_sync_dir(global, err));
    free(control);
    free(global);
    return ok;
}

/* --force: all goes but the marker, and production's link to its WAL. */
static bool empty_data(const RestoreRun *run, Error *err)
{
    DIR *handle = opendir(run->data);
    if (!handle)
        return error_errno(err, ERR_INTERNAL, "can't open directory %s", run->data);
    bool ok = true;
    struct dirent *entry;
    while (ok && (entry = readdir(handle)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, RESTORE_MARKER) == 0)
            continue;
        char *path = fs_join(run->data, entry->d_name);
        struct stat st;
        bool there = lstat(path, &st) == 0;
        if (there && S_ISDIR(st.st_mode))
            ok = fs_empty_dir(path, err) &&
                 (rmdir(path) == 0 || error_errno(err, ERR_INTERNAL, "can't remove %s", path));
        else if (there && !(S_ISLNK(st.st_mode) && strcmp(entry->d_name, "pg_wal") == 0))
            ok = fs_remove(path, err);
        free(path);
    }
    closedir(handle);
    return ok;
}

static bool clear_tablespace(const RestoreRun *run, const char *dir, Error *err)
{
    char *there;
    if (!own_version_dir(run, dir, &there, err))
        return false;
    bool ok = !there || !run->force || fs_empty_dir(there, err);
    free(there);
    return ok;
}

/* Two restores into one directory would both find it empty. The lock goes with the process. */
static bool lock_data(RestoreRun *run, Error *err)
{
    if (!fs_mkdirs(run->data, 0700, err))
        return false;
    run->lock = open(run->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->lock < 0)
        return error_errno(err, ERR_INTERNAL, "can't open directory %s", run->data);
    if (flock(run->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(err, ERR_LOCKED, "another pitr restore is at work in %s", run->data);
    /* What was looked at before the lock may have changed. */
    return check_running(run->data, err) && check_empty(run, err);
}

bool restore_prepare_dirs(RestoreRun *run, Error *err)
{
    if (!lock_data(run, err) || !put_marker(run, err))
        return false;
    if (!clear_wal(run, err)) {
        Error ignored;
        if (!run->resumed)
            restore_remove_marker(run, &ignored);
        return false;
    }
    run->touched = true;
    if (!remove_control(run, err) || (run->force && !empty_data(run, err)))
        return false;
    for (size_t i = 1; i < run->root_count; i++)
        if (!fs_mkdirs(run->roots[i].dir, 0700, err) ||
            !clear_tablespace(run, run->roots[i].dir, err))
            return false;
    return true;
}
