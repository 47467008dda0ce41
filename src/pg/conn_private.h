/*
 * conn_private.h: what conn.c (opening, closing) and command.c (commands) share; for no one else.
 */
#ifndef PITR_PG_CONN_PRIVATE_H
#define PITR_PG_CONN_PRIVATE_H

#include <libpq-fe.h>

#include "pg/conn.h"

struct PgConn {
    PGconn *pg;
    char *copy; /* the message that pgconn_copy_read() gave last */
    bool busy;  /* a command was sent and its results are not read to the end */
    PgNoticeFn notice;
    void *notice_ctx;
};

/* Waits up to half a second for the socket; *ready says whether it is. False after a signal. */
bool pgconn_poll(PGconn *pg, bool for_write, bool *ready, Error *err);

/* libpq's last error, its first line only, never empty. */
void pgconn_first_line(const char *message, char *out, size_t size);

/* Sets the hint that fits the text of a refused connection or command, if one is known. */
void pgconn_hint(Error *err);

#endif
