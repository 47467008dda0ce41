#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tempfile.h"
#include "cmd/restore.h"
#include "repo/walget.h"
#include "stream/digest.h"
#include "stream/filter.h"

#define MAP_LIMIT (4u * 1024 * 1024)

/* --- tablespaces ------------------------------------------------------------------------------- */

static bool make_link(const RestoreRun *run, const UnpackRoot *root, Error *err)
{
    char *link = mem_printf("%s/pg_tblspc/%u", run->data, root->oid);
    bool ok = fs_remove(link, err);
    if (ok && symlink(root->dir, link) != 0)
        ok = error_errno(err, ERR_INTERNAL, "can't make link %s", link);
    if (ok && geteuid() == 0) {
        struct stat st;
        ok = lstat(run->data, &st) == 0 && lchown(link, st.st_uid, st.st_gid) == 0;
        if (!ok)
            error_errno(err, ERR_INTERNAL, "can't set the owner of %s", link);
    }
    free(link);
    return ok;
}

/* The server makes the links anew by tablespace_map at its first start. */
static bool rewrite_map(const RestoreRun *run, Error *err)
{
    char *path = fs_join(run->data, "tablespace_map");
    Buf old, rewritten = BUF_INIT;
    buf_init_max(&old, MAP_LIMIT);
    size_t n = run->root_count - 1;
    TablespaceMapping *mappings = MEM_NEW_ARRAY(TablespaceMapping, n);
    bool moved = false;
    for (size_t i = 0; i < n; i++) {
        mappings[i] = (TablespaceMapping){run->old_places[i + 1], run->roots[i + 1].dir};
        moved |= strcmp(run->old_places[i + 1], run->roots[i + 1].dir) != 0;
    }
    bool ok = !moved || (fs_read_file(path, &old, err) &&
                         tablespace_map_rewrite(old.data, old.len, mappings, n, &rewritten, NULL,
                                                err) &&
                         fs_write_file(path, rewritten.data, rewritten.len, 0600, err));
    free(mappings);
    buf_free(&old);
    buf_free(&rewritten);
    free(path);
    return ok;
}

static bool place_tablespaces(const RestoreRun *run, Error *err)
{
    for (size_t i = 1; i < run->root_count; i++)
        if (!make_link(run, &run->roots[i], err))
            return false;
    return run->root_count == 1 || rewrite_map(run, err);
}

/* --- manifest ---------------------------------------------------------------------------------- */

typedef struct FileSink {
    int fd;
    const char *path;
} FileSink;

static bool write_sink(void *ctx, const void *data, size_t len, Error *err)
{
    FileSink *s = ctx;
    return fs_write(s->fd, data, len, s->path, err);
}

static bool copy_manifest(const RestoreRun *run, int fd, const char *path, Error *err)
{
    const Backup *b = run->plan.backup;
    char key[REPO_MAX_KEY], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    FileSink sink = {fd, path};
    repo_key(run->repo, key, "base/%s/backup_manifest.lz4", b->label);
    Filter *chain = filter_lz4_decode(filter_sha256(digest, filter_to_sink(write_sink, &sink)));
    bool ok = repo_read_through(run->repo, key, chain, err);
    if (ok) {
        sha256_hex(digest, hex);
        ok = strcmp(hex, b->manifest_sha256) == 0 ||
             error_set(err, ERR_DAMAGED, "%s is not the manifest that backup.json names", key);
    }
    filter_free(chain);
    return ok;
}

static bool place_manifest(const RestoreRun *run, Error *err)
{
    char *path = fs_join(run->data, "backup_manifest");
    TempFile temp;
    bool ok = tempfile_open(&temp, run->data, 0600, err);
    if (ok) {
        ok = copy_manifest(run, temp.fd, path, err) && tempfile_publish_over(&temp, path, err);
        tempfile_discard(&temp);
    }
    free(path);
    return ok;
}

/* --- recovery ---------------------------------------------------------------------------------- */

/* A target in postgresql.conf would compete with ours, which PostgreSQL refuses at start; the rest
 * of that file is the operator's. */
static bool remove_stale_targets(RestoreRun *run, Error *err)
{
    char *path = fs_join(run->data, "postgresql.conf");
    Buf old, fresh = BUF_INIT;
    GucLine line = GUC_LINE_INIT;
    bool changed = false;
    buf_init_max(&old, MAP_LIMIT);
    bool there = fs_read_file(path, &old, err), ok = there || err->code == ERR_NO;
    for (const char *p = old.data; there && p && *p;) {
        size_t len = strcspn(p, "\n");
        bool stale = guc_parse_line(p, len, &line) == GUC_SETTING &&
                     strncasecmp(line.name.data, "recovery_target", 15) == 0;
        if (stale) {
            changed = true;
            buf_puts(&fresh, "# pitr removed (target of an earlier recovery): ");
            buf_printf(&run->said, "postgresql.conf: %s was taken out: target of an earlier "
                                   "recovery\n", line.name.data);
        }
        buf_append(&fresh, p, len);
        buf_putc(&fresh, '\n');
        p += len + (p[len] == '\n');
    }
    struct stat st;
    if (ok && changed)
        ok = (stat(path, &st) == 0 || error_errno(err, ERR_INTERNAL, "can't look at %s", path)) &&
             fs_write_file(path, fresh.data, fresh.len, st.st_mode & 0777, err);
    guc_line_free(&line);
    buf_free(&old);
    buf_free(&fresh);
    free(path);
    return ok;
}

static bool configure_recovery(RestoreRun *run, Error *err)
{
    const Plan *plan = &run->plan;
    static const RecoveryAction actions[] = {RECOVERY_PAUSE, RECOVERY_PROMOTE, RECOVERY_SHUTDOWN};
    char note[128], now[CLOCK_TEXT];
    clock_format_utc(now, run->begun);
    snprintf(note, sizeof(note), "from backup %s at %s", plan->backup->label, now);
    RecoverySettings settings = {
        .target = plan->target,
        .time = plan->request.time,
        .lsn = plan->lsn,
        .xid = plan->request.xid,
        .name = plan->request.name,
        .inclusive = !plan->exclusive,
        .action = actions[config_choice(run->config, OPT_TARGET_ACTION)],
        .tli = plan->tli,
        .restore_command = run->restore_command,
        .copy = !run->production,
        .signal = RECOVERY_SIGNAL_RECOVERY,
        .note = note,
    };
    RecoveryConfOptions options = {.copy = !run->production};
    return remove_stale_targets(run, err) &&
           recovery_install(run->data, &options, &settings, &run->said, err);
}

static bool place_partial(const RestoreRun *run, Error *err)
{
    WalObject object;
    char name[WALNAME_SEGMENT_TEXT];
    if (!run->plan.use_partial)
        return true;
    walchain_object(&run->plan.chain, run->plan.last, &object);
    walchain_name(&run->plan.chain, run->plan.last, name);
    char *path = mem_printf("%s/pg_wal/%s", run->data, name);
    bool ok = walget_file(run->repo, &object, path, err);
    free(path);
    return ok;
}

/* --- owners ------------------------------------------------------------------------------------ */

/* The directories themselves are not in the tar streams: they get the owner of PG_VERSION, and a
 * mode that goes with its mode (src/include/common/file_perm.h). */
static bool set_directory(const char *dir, const struct stat *version, Error *err)
{
    mode_t mode = version->st_mode & S_IRGRP ? 0750 : 0700;
    return (chmod(dir, mode) == 0 &&
            (geteuid() != 0 || chown(dir, version->st_uid, version->st_gid) == 0)) ||
           error_errno(err, ERR_INTERNAL, "can't set up directory %s", dir);
}

/* What pitr itself put into the data directory. */
static bool set_files(const RestoreRun *run, const struct stat *version, Error *err)
{
    static const char *const made[] = {"backup_manifest", "postgresql.auto.conf", "postgresql.conf",
                                       "recovery.signal", "tablespace_map"};
    mode_t mode = version->st_mode & S_IRGRP ? 0640 : 0600;
    bool ok = true;
    for (size_t i = 0; ok && i <= sizeof(made) / sizeof(made[0]); i++) {
        char name[WALNAME_SEGMENT_TEXT], *path;
        if (i < sizeof(made) / sizeof(made[0])) {
            path = fs_join(run->data, made[i]);
        } else {
            walchain_name(&run->plan.chain, run->plan.last, name);
            path = mem_printf("%s/pg_wal/%s", run->data, name);
        }
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            ((i != 2 && chmod(path, mode) != 0) ||
             (geteuid() == 0 && chown(path, version->st_uid, version->st_gid) != 0)))
            ok = error_errno(err, ERR_INTERNAL, "can't set up %s", path);
        free(path);
    }
    return ok;
}

static bool set_owners(const RestoreRun *run, Error *err)
{
    struct stat version;
    char *path = fs_join(run->data, "PG_VERSION");
    bool ok = stat(path, &version) == 0 || error_errno(err, ERR_DAMAGED, "no %s", path);
    for (size_t i = 0; ok && i < run->root_count; i++)
        ok = set_directory(run->roots[i].dir, &version, err);
    free(path);
    return ok && set_files(run, &version, err);
}

bool restore_remove_marker(const RestoreRun *run, Error *err)
{
    char *path = fs_join(run->data, RESTORE_MARKER);
    bool ok = fs_remove(path, err) && fs_sync_dir(run->data, err);
    free(path);
    return ok;
}

bool restore_finish(RestoreRun *run, Error *err)
{
    return place_tablespaces(run, err) && place_manifest(run, err) &&
           configure_recovery(run, err) && place_partial(run, err) && set_owners(run, err);
}
