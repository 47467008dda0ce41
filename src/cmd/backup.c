/*
 * backup.c: `pitr backup`, a base backup over the replication protocol into one repository.
 *
 * Order: label (begin.json), packs while streaming, manifest, the wait for WAL, index, backup.json.
 * Only the last makes the backup exist. After any failure the label's objects are removed as far as
 * the store allows; what stays counts for nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "cmd/command.h"
#include "cmd/context.h"
#include "cmd/progress.h"
#include "pg/basebackup.h"
#include "repo/catalog.h"
#include "repo/manifest_store.h"
#include "repo/walchain.h"

#define CLOCKS_AGREE            (3 * CLOCK_SECOND)
#define PATIENCE_BEFORE_WARNING (60 * CLOCK_SECOND)

typedef struct BackupRun {
    const Config *config;
    Repo *repo;
    PgConn *conn;
    Backup backup;
    PackWriter *packs;
    ManifestStore *manifest;
    Progress *progress;
    Instant begun, streaming_since;
    bool blind; /* listing is not permitted: the server waits for its WAL to be archived */
    bool wal_seen; /* some WAL of the time before the start has arrived, or was missed aloud */
    bool begun_stored;
    bool finishing; /* backup.json is being stored: after a failure it may be there */
} BackupRun;

/* --- what the server sends --------------------------------------------------------------------- */

static bool on_begin(void *ctx, const BaseBackupStart *start, Error *err)
{
    BackupRun *r = ctx;
    Backup *b = &r->backup;
    char lsn[LSN_TEXT];
    b->start_lsn = start->lsn;
    b->start_tli = start->tli;
    b->tablespaces = MEM_NEW_ARRAY(BackupTablespace, start->tablespace_count);
    for (size_t i = 0; i < start->tablespace_count; i++)
        if (start->tablespaces[i].oid && start->tablespaces[i].location[0] != '/')
            return error_set(err, ERR_PG, "tablespace %u is at %s, inside of the data directory: "
                             "such development tablespaces can't be backed up",
                             start->tablespaces[i].oid, start->tablespaces[i].location);
    for (size_t i = 0; i < start->tablespace_count; i++) {
        json_t *utf8 = json_string(start->tablespaces[i].location);
        json_decref(utf8);
        if (!utf8)
            return error_set(err, ERR_PG, "the path of tablespace %u is not UTF-8: backup.json could "
                             "not name it", start->tablespaces[i].oid);
    }
    for (size_t i = 0; i < start->tablespace_count; i++)
        if (start->tablespaces[i].oid)
            b->tablespaces[b->tablespace_count++] = (BackupTablespace){
                start->tablespaces[i].oid, mem_strdup(start->tablespaces[i].location)};
    log_info("backup %s begins at %s on timeline %u", b->label, lsn_format(lsn, start->lsn),
             start->tli);
    r->progress = progress_new(r->config, "backup", start->total_kib * 1024);
    r->streaming_since = clock_now();
    b->start_time = r->streaming_since;
    return true;
}

static bool on_archive_begin(void *ctx, uint32_t oid, const char *location, Error *err)
{
    return packwriter_begin(((BackupRun *)ctx)->packs, oid, location, err);
}

/* The start of a backup switches the segment: a while later WAL must have come by. Gigabytes should
 * not be copied before somebody hears that archiving stands still. */
static bool watch_archiving(BackupRun *r, Error *err)
{
    if (r->wal_seen || clock_now() - r->streaming_since < PATIENCE_BEFORE_WARNING)
        return true;
    r->wal_seen = true;
    uint64_t segno = lsn_segno(r->backup.start_lsn, r->backup.segsize);
    if (segno <= 1)
        return true;
    char text[WALNAME_SEGMENT_TEXT];
    WalName name;
    WalObject object;
    size_t contents;
    walname_format(text, r->backup.start_tli, segno - 1, r->backup.segsize);
    walname_parse(text, &name);
    if (walkey_find(r->repo, &name, &object, &contents, err))
        return true;
    if (err->code != ERR_NO)
        return false;
    log_warn("WAL segment %s has not arrived in the repository yet: unless archiving catches up, "
             "this backup will not be completed", text);
    return true;
}

static bool on_data(void *ctx, const void *data, size_t len, Error *err)
{
    BackupRun *r = ctx;
    if (!packwriter_data(r->packs, data, len, err))
        return false;
    progress_update(r->progress, packwriter_raw_bytes(r->packs));
    return watch_archiving(r, err);
}

static bool on_archive_end(void *ctx, Error *err)
{
    return packwriter_end(((BackupRun *)ctx)->packs, err);
}

static bool on_manifest(void *ctx, const void *data, size_t len, Error *err)
{
    BackupRun *r = ctx;
    if (!r->manifest)
        r->manifest = manifest_store_begin(r->repo, r->backup.label, r->packs,
                                           (int)config_number(r->config, OPT_COMPRESS_LEVEL), err);
    return r->manifest && manifest_store_write(r->manifest, data, len, err);
}

/* --- before ------------------------------------------------------------------------------------ */

/* A backup without archived WAL is worth nothing: said before the first byte is read. */
static bool check_archiving(BackupRun *r, Error *err)
{
    char mode[32], command[1024];
    if (!pgconn_show(r->conn, "archive_mode", mode, sizeof(mode), err))
        return false;
    if (strcmp(mode, "off") == 0) {
        error_set(err, ERR_PG, "archive_mode is off: the WAL that a backup needs would never come");
        return error_hint(err, "set archive_mode = on and archive_command = 'pitr archive %%p' in "
                               "postgresql.conf and restart the server");
    }
    /* Only a superuser may see the command on some versions; then the wait at the end tells. */
    Error ignored;
    if (!r->backup.from_standby &&
        pgconn_show(r->conn, "archive_command", command, sizeof(command), &ignored) &&
        (command[0] == '\0' || strcmp(command, "(disabled)") == 0) &&
        !(pgconn_show(r->conn, "archive_library", command, sizeof(command), &ignored) &&
          command[0])) {
        error_set(err, ERR_PG, "archive_command is empty: the WAL that a backup needs would never "
                               "come");
        return error_hint(err, "set archive_command = 'pitr archive %%p' and reload the server");
    }
    if (r->backup.from_standby && strcmp(mode, "always") != 0)
        log_info("the server is a standby without archive_mode = always: its primary must archive "
                 "the WAL");
    return true;
}

static bool connect_server(BackupRun *r, Error *err)
{
    PgIdentity id;
    Backup *b = &r->backup;
    r->conn = pgconn_open_replication(config_text(r->config, OPT_CONNINFO), err);
    if (!r->conn || !pgconn_identify(r->conn, &id, err) ||
        !pgconn_in_recovery(r->conn, &b->from_standby, err))
        return false;
    b->segsize = pgconn_wal_segment_size(r->conn, err);
    if (!b->segsize)
        return false;
    b->server_version = pgconn_version(r->conn);
    b->major = b->server_version / 10000;
    b->sysid = id.sysid;
    repo_use_system(r->repo, b->major, b->sysid);
    return check_archiving(r, err);
}

/* The arrival of WAL is seen by listing. Credentials that may only write leave it to the server,
 * whose archive_command says so with its exit code. */
static bool check_listing(BackupRun *r, Error *err)
{
    bool any;
    if (walkey_any(r->repo, &any, err))
        return true;
    if (!err->denied)
        return false;
    if (r->backup.from_standby) {
        error_set(err, ERR_REPO, "these credentials may not list repository %s, so that nobody would "
                  "see whether the WAL of a backup from a standby arrives", r->repo->name);
        return error_hint(err, "permit listing, or back up the primary");
    }
    if (!r->repo->required) {
        error_set(err, ERR_REPO, "these credentials may not list repository %s, and archive does not "
                  "require it: nobody would see whether a backup's WAL is there", r->repo->name);
        return error_hint(err, "permit listing, or set required = yes");
    }
    log_info("repository %s may not be listed with these credentials: the server is asked to wait "
             "until it has archived the backup's WAL", r->repo->name);
    r->blind = r->wal_seen = true;
    return true;
}

static bool take_label(BackupRun *r, Error *err)
{
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    r->backup.host = mem_strdup(host);
    r->backup.pitr_version = mem_strdup(PITR_VERSION);
    r->backup.pack_size = (size_t)config_number(r->config, OPT_PACK_SIZE);
    if (!storage_prepare(r->repo->storage, err) || !check_listing(r, err) ||
        !catalog_begin(r->repo, r->begun, r->backup.label, err))
        return false;
    r->begun_stored = true;
    PackOptions options = {.repo = r->repo,
                           .label = r->backup.label,
                           .pack_size = r->backup.pack_size,
                           .workers = (int)config_number(r->config, OPT_WORKERS),
                           .level = (int)config_number(r->config, OPT_COMPRESS_LEVEL)};
    r->packs = packwriter_new(&options, err);
    return r->packs != NULL;
}

/* --- the run ----------------------------------------------------------------------------------- */

static void take_damage(Backup *b, const BaseBackupResult *result)
{
    b->damaged = result->checksum_failed;
    if (!b->damaged)
        return;
    b->damage = MEM_NEW_ARRAY(char *, BASEBACKUP_WARNINGS_MAX);
    const char *line = result->warnings.data;
    while (line && *line && b->damage_count < BASEBACKUP_WARNINGS_MAX) {
        size_t len = strcspn(line, "\n");
        b->damage[b->damage_count++] = mem_strndup(line, len);
        line += len + (line[len] == '\n');
    }
}

/* The times in backup.json are compared with those of commits: they must be the server's. */
static void correct_clock(BackupRun *r)
{
    Backup *b = &r->backup;
    b->clock_skew = packwriter_clock_skew(r->packs);
    if (b->clock_skew > -CLOCK_SECOND && b->clock_skew < CLOCKS_AGREE)
        return;
    log_warn("this host's clock is %lld s off the server's; times of this backup are the server's",
             (long long)(b->clock_skew / CLOCK_SECOND));
    b->start_time -= b->clock_skew;
    /* Not before the true moment: the skew may be measured up to a second too large. */
    b->stop_time -= b->clock_skew - CLOCK_SECOND;
}

static bool stream(BackupRun *r, Error *err)
{
    const BaseBackupSink sink = {r,        on_begin,       on_archive_begin,
                                 on_data,  on_archive_end, on_manifest};
    char label[64];
    snprintf(label, sizeof(label), "pitr %s", r->backup.label);
    BaseBackupOptions options = {
        .label = label,
        .fast_checkpoint = config_choice(r->config, OPT_CHECKPOINT) == 0,
        .wait = r->blind,
        .max_rate = (uint32_t)(config_number(r->config, OPT_MAX_RATE) / 1024)};
    BaseBackupResult result = {0};
    bool ok = basebackup_run(r->conn, &options, &sink, &result, err);
    if (ok) {
        r->backup.stop_lsn = result.end_lsn;
        r->backup.stop_tli = result.end_tli;
        r->backup.stop_time = clock_now();
        correct_clock(r);
        take_damage(&r->backup, &result);
    }
    basebackup_result_free(&result);
    progress_free(r->progress);
    r->progress = NULL;
    if (ok && !r->manifest)
        ok = error_set(err, ERR_PG, "the server sent no manifest");
    return ok && manifest_store_finish(r->manifest, &r->backup.manifest_size,
                                       r->backup.manifest_sha256, err);
}

static void tell_wait(void *ctx, const char *missing)
{
    /* At 5 s, then each minute. */
    int *seconds = ctx;
    if (*seconds == 5 || (*seconds > 0 && *seconds % 60 == 0))
        log_info("waiting for WAL segment %s to arrive in the repository (%d s)", missing,
                 *seconds);
    ++*seconds;
}

static bool wait_for_wal(BackupRun *r, Error *err)
{
    int seconds = 0;
    const Backup *b = &r->backup;
    if (r->blind) /* the server has waited */
        return true;
    if (walchain_wait(r->repo, b->stop_tli, b->start_lsn, b->stop_lsn, b->segsize,
                      config_number(r->config, OPT_ARCHIVE_TIMEOUT), tell_wait, &seconds, err))
        return true;
    /* A standby can't switch segments: on a quiet primary the last one stays unfinished. */
    if (b->from_standby && err->code == ERR_REPO)
        error_hint(err, "run SELECT pg_switch_wal() on the primary, or set archive_timeout there; is "
                        "its archive_command working?");
    return false;
}

static bool run_backup(BackupRun *r, Error *err)
{
    Backup *b = &r->backup;
    if (!connect_server(r, err) || !take_label(r, err) || !stream(r, err))
        return false;
    pgconn_close(r->conn);
    r->conn = NULL;
    if (!packwriter_finish(r->packs, &b->totals, b->index_sha256, &b->index_size, err) ||
        !wait_for_wal(r, err) || !interrupt_check(err))
        return false;
    b->written = clock_now();
    r->finishing = true;
    return catalog_finish(r->repo, b, err);
}

static int report(const BackupRun *r)
{
    const Backup *b = &r->backup;
    char raw[32], stored[32], took[CLOCK_TEXT], start[LSN_TEXT], stop[LSN_TEXT];
    clock_format_duration(took, clock_now() - r->begun);
    if (config_flag(r->config, OPT_JSON)) {
        json_t *json = backup_to_json(b);
        json_dumpf(json, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(json);
    } else {
        printf("%s\n", b->label);
    }
    log_info("backup %s is complete: %s in %" PRIu64 " files, %s stored, WAL %s to %s, %s", b->label,
             progress_size(raw, b->totals.raw_size), b->totals.files,
             progress_size(stored, b->totals.stored_size), lsn_format(start, b->start_lsn),
             lsn_format(stop, b->stop_lsn), took);
    if (!b->damaged)
        return 0;
    Error err;
    error_set(&err, ERR_DAMAGED, "the server found pages with bad checksums: backup %s is kept, "
              "marked damaged", b->label);
    error_hint(&err, "%s; pitr info lists what it said. The older backups stay the ones to restore",
               b->damage_count ? b->damage[0] : "see the server's log");
    log_failure(&err);
    return ERR_DAMAGED;
}

int cmd_backup(const Config *config)
{
    Error err;
    Repos repos;
    if (config_argc(config) != 0) {
        error_set(&err, ERR_USAGE, "backup takes no words");
        return context_fail(&err);
    }
    int64_t rate = config_number(config, OPT_MAX_RATE);
    if (rate && rate < BASEBACKUP_RATE_MIN * 1024) {
        error_set(&err, ERR_USAGE, "%s: max-rate %s is below the least that PostgreSQL takes, 32KiB",
                  config_origin(config, OPT_MAX_RATE, -1), config_text(config, OPT_MAX_RATE));
        error_hint(&err, "it is bytes a second: 100MiB, say; 0 means no limit");
        return context_fail(&err);
    }
    if (!context_open_repos(config, &repos, &err))
        return context_fail(&err);
    if (repos.count > 1)
        log_info("backing up into repository %s; --repo NAME chooses another",
                 repos.repo[0]->name);
    BackupRun r = {.config = config, .repo = repos.repo[0], .begun = clock_now()};
    bool ok = run_backup(&r, &err);
    progress_free(r.progress);
    manifest_store_free(r.manifest);
    packwriter_free(r.packs);
    pgconn_close(r.conn);
    if (!ok && r.finishing)
        log_warn("whether backup %s counts is not known: pitr info tells once the repository "
                 "answers", r.backup.label);
    else if (!ok && r.begun_stored)
        catalog_discard(r.repo, r.backup.label);
    int code = ok ? report(&r) : context_fail(&err);
    backup_free(&r.backup);
    context_close_repos(&repos);
    return code;
}
