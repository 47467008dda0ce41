#include "pg/recovery.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/shell.h"

#define CONF_NAME    "postgresql.auto.conf"
#define CONF_MAX     (16 * 1024 * 1024)
#define NAME_MAX_LEN 63 /* MAXFNAMELEN - 1 */
#define FIRST_XID    3  /* FirstNormalTransactionId */

/* ---- settings ---- */

static bool refuse(Error *err, const char *what)
{
    return error_set(err, ERR_USAGE, "recovery settings: %s", what);
}

static bool is_one_line(const char *text)
{
    return !text || !strpbrk(text, "\r\n");
}

static bool check_target(const RecoverySettings *s, Error *err)
{
    if (s->target == RECOVERY_TARGET_LSN && s->lsn == 0)
        return refuse(err, "LSN 0/0 can't be a target");
    if (s->target == RECOVERY_TARGET_XID && s->xid < FIRST_XID)
        return refuse(err, "transaction ids begin at 3");
    if (s->target != RECOVERY_TARGET_NAME)
        return true;
    if (!s->name || s->name[0] == '\0' || strlen(s->name) > NAME_MAX_LEN)
        return refuse(err, "the name of a restore point has 1 to 63 bytes");
    if (strchr(s->name, '\n'))
        return refuse(err, "a restore point whose name holds a newline can't be configured");
    return true;
}

static bool check(const RecoverySettings *s, Error *err)
{
    bool standby = s->signal == RECOVERY_SIGNAL_STANDBY;
    if (!check_target(s, err))
        return false;
    if (s->tli == 0 && !standby)
        return refuse(err, "no timeline is given");
    if (!standby && (!s->restore_command || s->restore_command[0] == '\0'))
        return refuse(err, "there is no restore_command");
    if (s->restore_command && strchr(s->restore_command, '\n'))
        return refuse(err, "a restore_command can't hold a newline");
    if (!is_one_line(s->note))
        return refuse(err, "the note must be one line");
    return true;
}

/* The value is known to hold no newline. */
static void put(Buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s = ", name);
    guc_quote(out, value);
    buf_putc(out, '\n');
}

static void put_target(Buf *out, const RecoverySettings *s)
{
    static const char *const actions[] = {"pause", "promote", "shutdown"};
    char time[CLOCK_TEXT];
    bool either_side = true; /* the target is a record, to stop before or behind */
    switch (s->target) {
    case RECOVERY_TARGET_NONE:
        return;
    case RECOVERY_TARGET_TIME:
        clock_format_recovery(time, s->time);
        put(out, "recovery_target_time", time);
        break;
    case RECOVERY_TARGET_LSN:
        buf_printf(out, "recovery_target_lsn = '%" PRIX32 "/%" PRIX32 "'\n",
                   (uint32_t)(s->lsn >> 32), (uint32_t)s->lsn);
        break;
    case RECOVERY_TARGET_XID:
        buf_printf(out, "recovery_target_xid = '%" PRIu32 "'\n", s->xid);
        break;
    case RECOVERY_TARGET_NAME:
        put(out, "recovery_target_name", s->name);
        either_side = false;
        break;
    case RECOVERY_TARGET_IMMEDIATE:
        put(out, "recovery_target", "immediate");
        either_side = false;
        break;
    }
    if (either_side)
        buf_printf(out, "recovery_target_inclusive = %s\n", s->inclusive ? "on" : "off");
    put(out, "recovery_target_action", actions[s->action]);
}

bool recovery_settings(Buf *out, const RecoverySettings *s, Error *err)
{
    if (!check(s, err))
        return false;
    buf_printf(out, RECOVERY_BLOCK_BEGIN "%s%s\n", s->note ? " " : "", s->note ? s->note : "");
    if (s->restore_command)
        put(out, "restore_command", s->restore_command);
    put_target(out, s);
    if (s->tli)
        buf_printf(out, "recovery_target_timeline = '%" PRIu32 "'\n", s->tli);
    else
        put(out, "recovery_target_timeline", "latest");
    /* postgresql.conf may hold these: commands that clean an archive up, or a delay. */
    if (s->signal == RECOVERY_SIGNAL_RECOVERY)
        buf_puts(out, "archive_cleanup_command = ''\n"
                      "recovery_end_command = ''\n"
                      "recovery_min_apply_delay = 0\n");
    if (s->copy)
        buf_puts(out, "archive_mode = off\n"
                      "max_logical_replication_workers = 0\n"
                      "primary_conninfo = ''\n"
                      "primary_slot_name = ''\n"
                      "synchronous_standby_names = ''\n");
    if (s->listen_nowhere)
        buf_puts(out, "listen_addresses = ''\n");
    buf_puts(out, RECOVERY_BLOCK_END "\n");
    return true;
}

void recovery_command_arg(Buf *out, const char *word)
{
    Buf quoted = BUF_INIT;
    shell_quote(&quoted, word);
    for (size_t i = 0; i < quoted.len; i++) {
        if (quoted.data[i] == '%')
            buf_putc(out, '%');
        buf_putc(out, quoted.data[i]);
    }
    buf_free(&quoted);
}

/* ---- files ---- */

/* A server without ALTER SYSTEM history may lack the file; an empty one means the same. */
static bool read_conf(const char *path, Buf *text, mode_t *mode, Error *err)
{
    struct stat st;
    *mode = stat(path, &st) == 0 ? st.st_mode & 0777 : 0600;
    if (fs_read_file(path, text, err))
        return true;
    if (err->code != ERR_NO)
        return false;
    error_clear(err);
    return true;
}

static bool rewrite_conf(const char *path, const RecoveryConfOptions *options,
                         const RecoverySettings *settings, Buf *said, Error *err)
{
    Buf text, out = BUF_INIT;
    mode_t mode;
    buf_init_max(&text, CONF_MAX);
    bool ok =
        read_conf(path, &text, &mode, err) &&
        recovery_conf_rewrite(text.data ? text.data : "", text.len, options, &out, said, err) &&
        recovery_settings(&out, settings, err) && fs_write_file(path, out.data, out.len, mode, err);
    buf_free(&out);
    buf_free(&text);
    return ok;
}

bool recovery_install(const char *data_directory, const RecoveryConfOptions *options,
                      const RecoverySettings *settings, Buf *said, Error *err)
{
    bool standby = settings->signal == RECOVERY_SIGNAL_STANDBY;
    char *conf = fs_join(data_directory, CONF_NAME);
    char *wanted = fs_join(data_directory, standby ? "standby.signal" : "recovery.signal");
    char *other = fs_join(data_directory, standby ? "recovery.signal" : "standby.signal");
    /* The unwanted signal goes last: standby.signal beats recovery.signal, but a moment with
     * neither would let a start skip the archive and end up on a torn state. */
    bool ok = rewrite_conf(conf, options, settings, said, err) &&
              fs_write_file(wanted, "", 0, 0600, err) && fs_remove(other, err) &&
              fs_sync_dir(data_directory, err);
    free(conf);
    free(wanted);
    free(other);
    return ok;
}
