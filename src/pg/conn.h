/*
 * conn.h: one physical replication connection to a PostgreSQL server, 13 or newer.
 *
 * It speaks the streaming replication protocol (PostgreSQL documentation, "Streaming Replication
 * Protocol") through libpq: SHOW, IDENTIFY_SYSTEM, TIMELINE_HISTORY and what callers send.
 *
 * Every wait is a poll() that asks interrupt_check() at least twice a second, so that a signal ends
 * a stalled server's command; a host that vanished is noticed by TCP keepalives within about two
 * minutes. Not covered: the resolver's own wait for a host name.
 *
 * Errors are ERR_PG with the server's or libpq's first line (never the connection string, which may
 * hold a password) and a hint for the common causes; ERR_USAGE for a connection string that cannot
 * be read; ERR_LOCKED after a signal. A connection belongs to one thread at a time.
 */
#ifndef PITR_PG_CONN_H
#define PITR_PG_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct PgConn PgConn;
typedef struct pg_result PGresult; /* libpq's */

typedef struct PgIdentity {
    uint64_t sysid;
    uint32_t tli;
    uint64_t xlogpos; /* flushed up to here; on a standby: replayed or received */
} PgIdentity;

enum { PG_VERSION_MIN = 130000, PG_MAJOR_MAX_TESTED = 18 };

/* Connects. `conninfo` is a libpq connection string or URI, "" or NULL for none; the PG* variables
 * and service files fill what it leaves open. Its dbname is ignored (physical replication has none,
 * and password files match "replication"). connect_timeout defaults to 10 s and is one limit for
 * all hosts together, times their number. A server older than 13 is refused, one newer than 18 gets
 * a warning in the log. NULL on error; pgconn_close() frees. */
PgConn *pgconn_open_replication(const char *conninfo, Error *err);

/* Closes; a command under way is cancelled first (waiting for that at most 3 s), so that the server
 * does not keep a backup waiting for the archiver. NULL is allowed. */
void pgconn_close(PgConn *c);

/* Server version as 150020. */
int pgconn_version(const PgConn *c);

/* IDENTIFY_SYSTEM. */
bool pgconn_identify(PgConn *c, PgIdentity *id, Error *err);

/* SHOW `guc` into out[size]; a value that does not fit is an error. */
bool pgconn_show(PgConn *c, const char *guc, char *out, size_t size, Error *err);

/* Bytes in a WAL segment (1 MiB to 1 GiB); 0 on error. */
uint32_t pgconn_wal_segment_size(PgConn *c, Error *err);

/* Is the server a standby, or otherwise in recovery? */
bool pgconn_in_recovery(PgConn *c, bool *in_recovery, Error *err);

/* TIMELINE_HISTORY: appends the content of timeline `tli`'s history file to `out`. ERR_NO for
 * timeline 1, which has none. */
bool pgconn_timeline_history(PgConn *c, uint32_t tli, Buf *out, Error *err);

/* --- for code that speaks the protocol itself (base backup, streaming) --- */

/* Takes the server's notices and warnings: SQLSTATE (may be ""), severity as WARNING, message. */
typedef void (*PgNoticeFn)(void *ctx, const char *severity, const char *sqlstate,
                           const char *message);

/* NULL puts the default back: warnings and above go to the log as warnings, others as debug. */
void pgconn_set_notice(PgConn *c, PgNoticeFn fn, void *ctx);

/* Sends one command; its results must then be read to the end. */
bool pgconn_send(PgConn *c, const char *command, Error *err);

/* The next result of the command, NULL at its end; the caller frees with PQclear(). A result that
 * reports a server's error is a result too: see pgconn_fail(). False only if the wait was
 * interrupted. */
bool pgconn_result(PgConn *c, PGresult **res, Error *err);

/* Reads and drops what remains of the command; false if one of the results is an error. */
bool pgconn_drain(PgConn *c, Error *err);

/* One CopyData message: true with *data (NULL at the end of the COPY, or at an error that
 * pgconn_result() then tells), valid until the next call. */
bool pgconn_copy_read(PgConn *c, const char **data, size_t *len, Error *err);

/* Fills `err` with "<what>: <the server's message>", its detail and hint, from `res`, or from the
 * connection if `res` is NULL or holds no error. Returns false. */
bool pgconn_fail(PgConn *c, const PGresult *res, Error *err, const char *what);

#endif
