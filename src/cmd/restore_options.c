#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/shell.h"
#include "cmd/restore.h"
#include "pg/pgtext.h"

/* RestoreArchivedFile of 15 and older builds the command in MAXPGPATH bytes, paths included. */
#define COMMAND_LIMIT 900

static bool read_time(PlanRequest *r, const char *text, Error *err)
{
    bool had_zone;
    r->target = RECOVERY_TARGET_TIME;
    return clock_parse_target(text, &r->time, &had_zone, err) ||
           error_prefix(err, "--target-time");
}

static bool read_lsn(PlanRequest *r, const char *text, Error *err)
{
    r->target = RECOVERY_TARGET_LSN;
    if (lsn_parse(text, &r->lsn) && r->lsn != 0)
        return true;
    error_set(err, ERR_USAGE, "--target-lsn: \"%s\" is no WAL position", text);
    return error_hint(err, "it looks like 0/3000148");
}

static bool read_xid(PlanRequest *r, const char *text, Error *err)
{
    uint64_t xid;
    r->target = RECOVERY_TARGET_XID;
    if (!pgtext_uint(text, UINT32_MAX, &xid) || xid < 3) {
        error_set(err, ERR_USAGE, "--target-xid: \"%s\" is no transaction id", text);
        return error_hint(err, "it is a number from 3 on, without epoch: the low 32 bits of "
                               "pg_current_xact_id()");
    }
    r->xid = (uint32_t)xid;
    return true;
}

static bool read_target(const Config *c, PlanRequest *r, Error *err)
{
    static const OptionId ids[] = {OPT_TARGET_TIME, OPT_TARGET_LSN, OPT_TARGET_XID,
                                   OPT_TARGET_NAME, OPT_TARGET_IMMEDIATE};
    int given = 0;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        given += config_given(c, ids[i]);
    if (given > 1)
        return error_set(err, ERR_USAGE, "only one target can be given");
    r->exclusive = config_flag(c, OPT_EXCLUSIVE);
    const char *text;
    if ((text = config_text(c, OPT_TARGET_TIME)))
        return read_time(r, text, err);
    if ((text = config_text(c, OPT_TARGET_LSN)))
        return read_lsn(r, text, err);
    if ((text = config_text(c, OPT_TARGET_XID)))
        return read_xid(r, text, err);
    if (r->exclusive) {
        error_set(err, ERR_USAGE, "--exclusive needs --target-time, --target-lsn or --target-xid");
        return error_hint(err, "a restore point is always included");
    }
    if ((text = config_text(c, OPT_TARGET_NAME))) {
        r->target = RECOVERY_TARGET_NAME;
        r->name = text;
        return (text[0] && strlen(text) < 64) ||
               error_set(err, ERR_USAGE, "--target-name: a restore point's name has 1 to 63 bytes");
    }
    if (config_flag(c, OPT_TARGET_IMMEDIATE))
        r->target = RECOVERY_TARGET_IMMEDIATE;
    return true;
}

static bool read_timeline(const Config *c, PlanRequest *r, Error *err)
{
    const char *text = config_text(c, OPT_TARGET_TIMELINE);
    uint64_t tli = 0;
    if (text && strcmp(text, "latest") != 0 &&
        (!pgtext_uint(text, UINT32_MAX, &tli) || tli == 0)) {
        error_set(err, ERR_USAGE, "--target-timeline: \"%s\" is no timeline", text);
        return error_hint(err, "give a number as pitr info shows it, in decimal, or latest");
    }
    r->tli = (uint32_t)tli;
    return true;
}

/* Is `dir` the directory that the configuration file calls the cluster's own? */
static bool is_own(const Config *c, const char *dir)
{
    const char *own = config_file_text(c, OPT_DATA_DIRECTORY);
    if (!own)
        return false;
    char *resolved = fs_resolve(own);
    bool same = strcmp(resolved, dir) == 0;
    free(resolved);
    return same;
}

bool restore_read_request(RestoreRun *run, Error *err)
{
    const Config *c = run->config;
    const char *dir = config_text(c, OPT_DATA_DIRECTORY);
    if (config_argc(c) != 0) {
        error_set(err, ERR_USAGE, "restore takes no words, but got \"%s\"", config_arg(c, 0));
        return error_hint(err, "a time with a space in it needs quotes");
    }
    if (!dir) {
        error_set(err, ERR_USAGE, "where to? no data directory is given");
        return error_hint(err, "add --data-directory DIR");
    }
    run->data = fs_resolve(dir);
    run->delta = config_flag(c, OPT_DELTA);
    run->force = config_flag(c, OPT_FORCE);
    if (run->delta && run->force)
        return error_set(err, ERR_USAGE, "--delta keeps what is there and --force removes it: give "
                                         "one of them");
    int as = config_choice(c, OPT_AS); /* 0 production, 1 copy, -1 not given */
    run->production = as == 0 || (as < 0 && is_own(c, run->data));
    run->request.backup = config_text(c, OPT_BACKUP);
    run->request.allow_damaged = config_flag(c, OPT_ALLOW_DAMAGED);
    return read_target(c, &run->request, err) && read_timeline(c, &run->request, err);
}

static void add_argument(Buf *command, const char *option, const char *value)
{
    buf_printf(command, " --%s=", option);
    recovery_command_arg(command, value);
}

/* The server's working directory is another one, too. */
static void add_repo_argument(Buf *command, OptionId id, const char *value)
{
    bool is_path = id == OPT_CA_FILE || id == OPT_CREDENTIALS_FILE;
    char *absolute = is_path ? fs_resolve(value) : NULL;
    add_argument(command, option_def(id)->name, absolute ? absolute : value);
    free(absolute);
}

/* What is not in the file must travel with the command: the server has another environment. */
static void add_repo_arguments(Buf *command, const Config *c)
{
    for (int id = 0; id < OPT_COUNT; id++) {
        const OptionDef *def = option_def((OptionId)id);
        const char *origin = config_origin(c, (OptionId)id, 0);
        if ((def->sections & SECTION_REPO) && (def->commands & CMD_FETCH) &&
            (strstr(origin, "command line") || strstr(origin, "environment")))
            add_repo_argument(command, (OptionId)id, config_repo_text(c, 0, (OptionId)id));
    }
    /* As an instant: the server may live in another zone. */
    Instant as_of;
    bool had_zone;
    Error ignored;
    const char *repo_time = config_text(c, OPT_REPO_TIME);
    if (repo_time && clock_parse_target(repo_time, &as_of, &had_zone, &ignored)) {
        char text[CLOCK_TEXT];
        clock_format_utc(text, as_of);
        add_argument(command, "repo-time", text);
    }
}

bool restore_make_command(RestoreRun *run, Error *err)
{
    const Config *c = run->config;
    Buf command = BUF_INIT;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return error_errno(err, ERR_INTERNAL, "can't tell this program's path");
    self[n] = '\0';
    /* What the kernel appends when the program was replaced while it ran. */
    char *gone = strstr(self, " (deleted)");
    if (gone && !gone[10])
        *gone = '\0';
    recovery_command_arg(&command, self);
    if (config_path(c)) {
        char *path = fs_resolve(config_path(c));
        add_argument(&command, "config", path);
        free(path);
    }
    add_argument(&command, "cluster", config_cluster(c));
    if (config_text(c, OPT_REPO))
        add_argument(&command, "repo", config_text(c, OPT_REPO));
    add_repo_arguments(&command, c);
    buf_puts(&command, " fetch %f %p");
    run->restore_command = buf_detach(&command);
    if (strlen(run->restore_command) > COMMAND_LIMIT) {
        error_set(err, ERR_USAGE, "restore_command would have %zu characters; PostgreSQL cuts it at "
                  "1023", strlen(run->restore_command));
        return error_hint(err, "use shorter paths for pitr and its configuration");
    }
    return true;
}
