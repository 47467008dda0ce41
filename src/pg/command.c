/* The commands of conn.h over an open connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/mem.h"
#include "pg/conn_private.h"
#include "pg/pgtext.h"
#include "pg/walname.h"

bool pgconn_fail(PgConn *c, const PGresult *res, Error *err, const char *what)
{
    const char *primary = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *detail = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
    const char *hint = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
    char line[sizeof(err->message) / 2];

    /* libpq's own errors (a lost connection) have no fields. */
    if (!primary)
        primary =
            res && *PQresultErrorMessage(res) ? PQresultErrorMessage(res) : PQerrorMessage(c->pg);
    pgconn_first_line(primary, line, sizeof(line));
    error_set(err, ERR_PG, "%s: %s%s%.400s%s", what, line, detail ? " (" : "", detail ? detail : "",
              detail ? ")" : "");
    if (hint)
        return error_hint(err, "%s", hint);
    pgconn_hint(err);
    return false;
}

bool pgconn_send(PgConn *c, const char *command, Error *err)
{
    if (!PQsendQuery(c->pg, command))
        return pgconn_fail(c, NULL, err, "cannot send a command to PostgreSQL");
    c->busy = true;
    return true;
}

/*
 * Waits for bytes and reads them. *lost: nothing more will come; what did come is still to be had.
 * libpq is asked to read even when poll() saw nothing, since TLS may hold bytes back.
 */
static bool wait_bytes(PgConn *c, bool *lost, Error *err)
{
    bool ready;

    if (!pgconn_poll(c->pg, false, &ready, err))
        return false;
    *lost = !PQconsumeInput(c->pg);
    return true;
}

bool pgconn_result(PgConn *c, PGresult **res, Error *err)
{
    bool lost = false;

    *res = NULL;
    if (!interrupt_check(err))
        return false;
    while (!lost && PQisBusy(c->pg))
        if (!wait_bytes(c, &lost, err))
            return false;
    *res = PQgetResult(c->pg);
    if (!*res)
        c->busy = false;
    return true;
}

static bool is_error(const PGresult *res)
{
    ExecStatusType st = PQresultStatus(res);
    return st == PGRES_FATAL_ERROR || st == PGRES_BAD_RESPONSE;
}

bool pgconn_drain(PgConn *c, Error *err)
{
    bool ok = true;

    for (;;) {
        PGresult *res;
        if (!pgconn_result(c, &res, err))
            return false;
        if (!res)
            return ok;
        ExecStatusType st = PQresultStatus(res);
        if (is_error(res) && ok)
            ok = pgconn_fail(c, res, err, "PostgreSQL");
        PQclear(res);
        /* libpq would hand out the same COPY result for ever. */
        if (st == PGRES_COPY_OUT || st == PGRES_COPY_IN || st == PGRES_COPY_BOTH)
            return ok && error_set(err, ERR_PG, "PostgreSQL sends a COPY that was not asked for");
    }
}

bool pgconn_copy_read(PgConn *c, const char **data, size_t *len, Error *err)
{
    bool lost = false, tried = false;

    PQfreemem(c->copy);
    c->copy = NULL;
    *data = NULL;
    if (!interrupt_check(err))
        return false;
    for (;;) {
        int n = PQgetCopyData(c->pg, &c->copy, 1);
        if (n > 0) {
            *data = c->copy;
            *len = (size_t)n;
            return true;
        }
        if (n == -1)
            return true;
        if (n < -1 || lost)
            return pgconn_fail(c, NULL, err, "the connection to PostgreSQL failed");
        /* Mostly the bytes are there already: the first try spares the poll. */
        if (!tried)
            lost = !PQconsumeInput(c->pg);
        else if (!wait_bytes(c, &lost, err))
            return false;
        tried = true;
    }
}

/* Runs a command that gives one row of at least `columns` values, none of them NULL in the first
 * `columns`. The caller clears. */
static PGresult *one_row(PgConn *c, const char *command, int columns, Error *err)
{
    PGresult *res;
    PGresult *kept = NULL;
    bool ok = pgconn_send(c, command, err) && pgconn_result(c, &res, err);

    if (!ok)
        return NULL;
    if (!res || PQresultStatus(res) != PGRES_TUPLES_OK) {
        pgconn_fail(c, res, err, command);
    } else {
        bool fits = PQntuples(res) == 1 && PQnfields(res) >= columns;
        for (int i = 0; fits && i < columns; i++)
            fits = !PQgetisnull(res, 0, i);
        if (fits)
            kept = res;
        else
            error_set(err, ERR_PG, "%s: PostgreSQL's answer has an unknown form", command);
    }
    if (kept != res)
        PQclear(res);
    Error rest;
    bool clean = pgconn_drain(c, kept ? err : &rest);
    if (!clean) {
        PQclear(kept);
        kept = NULL;
    }
    return kept;
}

bool pgconn_identify(PgConn *c, PgIdentity *id, Error *err)
{
    PGresult *res = one_row(c, "IDENTIFY_SYSTEM", 3, err);
    uint64_t tli = 0;

    if (!res)
        return false;
    bool ok = pgtext_uint(PQgetvalue(res, 0, 0), UINT64_MAX, &id->sysid) &&
              pgtext_uint(PQgetvalue(res, 0, 1), UINT32_MAX, &tli) && tli != 0 &&
              lsn_parse(PQgetvalue(res, 0, 2), &id->xlogpos);
    id->tli = (uint32_t)tli;
    PQclear(res);
    return ok || error_set(err, ERR_PG, "IDENTIFY_SYSTEM: PostgreSQL's answer has an unknown form");
}

bool pgconn_show(PgConn *c, const char *guc, char *out, size_t size, Error *err)
{
    if (!*guc || strspn(guc, "abcdefghijklmnopqrstuvwxyz0123456789_.") != strlen(guc))
        return error_set(err, ERR_INTERNAL, "SHOW: not the name of a setting");
    char *command = mem_printf("SHOW %s", guc);
    PGresult *res = one_row(c, command, 1, err);
    free(command);
    if (!res)
        return false;
    size_t len = (size_t)PQgetlength(res, 0, 0);
    bool ok = len < size || error_set(err, ERR_PG, "the value of %s is too long", guc);
    if (ok)
        memcpy(out, PQgetvalue(res, 0, 0), len + 1);
    PQclear(res);
    return ok;
}

uint32_t pgconn_wal_segment_size(PgConn *c, Error *err)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"B", 1}, {"kB", 1024}, {"MB", 1 << 20}, {"GB", 1 << 30}};
    char text[32], *unit;
    uint64_t n = 0;

    if (!pgconn_show(c, "wal_segment_size", text, sizeof(text), err))
        return 0;
    unsigned long count = strtoul(text, &unit, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (!strcmp(unit, units[i].unit) && count <= 1 << 30)
            n = count * units[i].bytes;
    if (n < 1 << 20 || n > 1 << 30 || (n & (n - 1))) {
        error_set(err, ERR_PG, "the server's wal_segment_size \"%s\" is not understood", text);
        return 0;
    }
    return (uint32_t)n;
}

/* transaction_read_only is on in recovery whatever the session asks for (xact.c, StartTransaction);
 * outside of it the session's options have it off. */
bool pgconn_in_recovery(PgConn *c, bool *in_recovery, Error *err)
{
    const char *guc = pgconn_version(c) >= 140000 ? "in_hot_standby" : "transaction_read_only";
    char value[16];

    if (!pgconn_show(c, guc, value, sizeof(value), err))
        return false;
    *in_recovery = !strcmp(value, "on");
    return true;
}

bool pgconn_timeline_history(PgConn *c, uint32_t tli, Buf *out, Error *err)
{
    char command[64], name[32];

    if (tli <= 1)
        return error_set(err, ERR_NO, "timeline %u has no history", tli);
    snprintf(command, sizeof(command), "TIMELINE_HISTORY %u", tli);
    snprintf(name, sizeof(name), "%08X.history", tli);
    PGresult *res = one_row(c, command, 2, err);
    if (!res)
        return false;
    bool ok = !strcmp(PQgetvalue(res, 0, 0), name) ||
              error_set(err, ERR_PG, "%s: PostgreSQL answered with another file", command);
    if (ok && !buf_append(out, PQgetvalue(res, 0, 1), (size_t)PQgetlength(res, 0, 1)))
        ok = error_set(err, ERR_PG, "%s: the history file is too long", command);
    PQclear(res);
    return ok;
}
