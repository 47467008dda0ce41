/*
 * recovery.h: the configuration of a recovery, for PostgreSQL 12 and later.
 *
 * A restored data directory carries the postgresql.auto.conf of the server it was taken from, and
 * with it targets of earlier recoveries, connections to primaries, and an archive_command. Two
 * facts make rewriting necessary: any second recovery_target_* is fatal, even an empty one
 * (src/backend/access/transam/xlogrecovery.c, error_multiple_recovery_targets), and a copy that
 * archives writes into production's archive. So stale settings are commented out, each with its
 * reason, and one delimited block is put last, since the last setting of a name wins. ALTER SYSTEM
 * drops all comments when it rewrites the file; the settings stay.
 *
 * The text functions touch no file; recovery_install() does. Buffers given to them have no ceiling.
 * Thread-safe. Lines of the file: pg/guc.h. Tablespaces: pg/tablespace_map.h.
 */
#ifndef PITR_PG_RECOVERY_H
#define PITR_PG_RECOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "pg/guc.h"
#include "pg/tablespace_map.h"

/* The first and last line of what recovery_settings() writes. */
#define RECOVERY_BLOCK_BEGIN "# added by pitr restore"
#define RECOVERY_BLOCK_END   "# end of what pitr restore added"

typedef struct RecoveryConfOptions {
    bool copy;        /* the restored server must not archive, whatever its command is */
    const char *file; /* the name for messages; NULL: postgresql.auto.conf */
} RecoveryConfOptions;

/*
 * Appends to `out` the configuration `text` with stale settings turned into comments
 * (`# pitr removed (<reason>): <the line as it was>`, so passwords stay in the file, which had them
 * before) and everything else byte for byte, the last line ended by a newline. Removed are:
 * recovery_target*, restore_command, recovery_end_command, archive_cleanup_command,
 * recovery_min_apply_delay, primary_conninfo, primary_slot_name, standby_mode, trigger_file,
 * promote_trigger_file, what an earlier restore by pitr added, and, for a copy or when the last
 * archive_command or archive_library of the text does not run pitr: archive_command,
 * archive_library, archive_mode. Files that it includes are not looked into, which is said.
 *
 * `said` gets one line for people per setting, secrets masked. ERR_DAMAGED if the text holds a zero
 * byte; nothing is then appended. Good for postgresql.conf as well.
 */
bool recovery_conf_rewrite(const char *text, size_t len, const RecoveryConfOptions *options,
                           Buf *out, Buf *said, Error *err);

/* True if a shell command runs `pitr archive` or `pitr-archive`, at any path, alone or among other
 * commands. */
bool recovery_command_is_ours(const char *command);

typedef enum RecoveryTarget {
    RECOVERY_TARGET_NONE, /* to the end of the archived WAL */
    RECOVERY_TARGET_TIME,
    RECOVERY_TARGET_LSN,
    RECOVERY_TARGET_XID,
    RECOVERY_TARGET_NAME,
    RECOVERY_TARGET_IMMEDIATE,
} RecoveryTarget;

typedef enum RecoveryAction {
    RECOVERY_PAUSE,
    RECOVERY_PROMOTE,
    RECOVERY_SHUTDOWN,
} RecoveryAction;

typedef enum RecoverySignal {
    RECOVERY_SIGNAL_RECOVERY, /* recovery.signal: to the target, then a new timeline */
    RECOVERY_SIGNAL_STANDBY,  /* standby.signal: follow until promoted */
} RecoverySignal;

typedef struct RecoverySettings {
    RecoveryTarget target;
    Instant time;          /* TIME */
    uint64_t lsn;          /* LSN, never 0 */
    uint32_t xid;          /* XID, 3 or more: no epoch */
    const char *name;      /* NAME, 1 to 63 bytes (MAXFNAMELEN) */
    bool inclusive;        /* for TIME, LSN and XID: recover up to and with the target */
    RecoveryAction action; /* when the target is reached; not written without one */
    uint32_t tli; /* the timeline to recover along; 0, for a standby only: follow the latest */
    const char *restore_command; /* needed but for a standby, where NULL leaves it out */
    bool copy;           /* never touch production: no archiving, connection, subscription */
    bool listen_nowhere; /* no TCP port, for drills and extracts */
    RecoverySignal signal;
    const char
        *note; /* one line behind RECOVERY_BLOCK_BEGIN, such as label and date; may be NULL */
} RecoverySettings;

/* Appends the block of settings. ERR_USAGE if they contradict each other or can't be written;
 * nothing is then appended. */
bool recovery_settings(Buf *out, const RecoverySettings *settings, Error *err);

/* Appends `word` as one argument of restore_command: quoted for the shell, and with every %
 * doubled, which PostgreSQL takes back (BuildRestoreCommand in src/common/archive.c up to 15,
 * src/common/percentrepl.c from 16). Not for %f and %p themselves. */
void recovery_command_arg(Buf *out, const char *word);

/*
 * Makes `data_directory` recover by `settings` when it is next started: rewrites
 * postgresql.auto.conf (made if it is not there; its mode is kept), then puts the signal file in
 * place and takes the other one away. Each file is durable and complete before the next. `said` as
 * above. Nothing is changed after ERR_USAGE or ERR_DAMAGED; other errors are ERR_INTERNAL.
 */
bool recovery_install(const char *data_directory, const RecoveryConfOptions *options,
                      const RecoverySettings *settings, Buf *said, Error *err);

#endif
