#include "pg/basebackup.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/basebackup_private.h"
#include "pg/pgtext.h"
#include "pg/walname.h"

typedef struct Run {
    PgConn *c;
    const BaseBackupSink *sink;
    BaseBackupResult *result;
    BaseBackupTablespace *spaces;
    size_t space_count;
    size_t next;       /* the archive that comes next */
    bool in_archive;   /* 15+: between archive_begin and archive_end */
    bool has_manifest; /* 15+: its announcement was seen */
} Run;

static bool fail(Run *r, const PGresult *res, Error *err)
{
    static const struct {
        const char *text, *hint;
    } known[] = {
        {"promoted during", "the backup cannot be used: start it again, now the server is a "
                            "primary"},
        {"wal_level", "set wal_level = replica on the server and restart it"},
        {"full_page_writes", "set full_page_writes = on on the primary, then start again"},
        {"backup is already in progress", "wait for the other backup to end"},
        {"canceling statement", "someone on the server cancelled the backup"},
        {"terminating connection", "the server was stopped, or someone ended the connection"},
        {"file name too long for tar", "BASE_BACKUP has room for 99 bytes: shorten that name"},
        {"symbolic link target too long for tar", "BASE_BACKUP has room for 99 bytes: move the "
                                                  "tablespace to a shorter path"},
    };

    pgconn_fail(r->c, res, err, "base backup");
    for (size_t i = 0; !err->hint[0] && i < sizeof(known) / sizeof(known[0]); i++)
        if (strstr(err->message, known[i].text))
            error_hint(err, "%s", known[i].hint);
    return false;
}

static bool protocol(Error *err, const char *what)
{
    return error_set(err, ERR_PG, "base backup: PostgreSQL broke the protocol: %s", what);
}

/* The next result, which must be of status `want`; the caller clears. */
static PGresult *expect(Run *r, ExecStatusType want, const char *what, Error *err)
{
    PGresult *res;

    if (!pgconn_result(r->c, &res, err))
        return NULL;
    ExecStatusType st = PQresultStatus(res); /* of NULL: PGRES_FATAL_ERROR */
    if (res && st == want)
        return res;
    if (!res || (st != PGRES_FATAL_ERROR && st != PGRES_BAD_RESPONSE))
        protocol(err, what);
    else
        fail(r, res, err);
    PQclear(res);
    return NULL;
}

static bool read_position(Run *r, uint64_t *lsn, uint32_t *tli, const char *what, Error *err)
{
    PGresult *res = expect(r, PGRES_TUPLES_OK, what, err);
    uint64_t n = 0;

    if (!res)
        return false;
    bool ok = PQntuples(res) == 1 && PQnfields(res) >= 2 && !PQgetisnull(res, 0, 0) &&
              !PQgetisnull(res, 0, 1) && lsn_parse(PQgetvalue(res, 0, 0), lsn) &&
              pgtext_uint(PQgetvalue(res, 0, 1), UINT32_MAX, &n) && n != 0;
    *tli = (uint32_t)n;
    PQclear(res);
    return ok || protocol(err, what);
}

/* A row (oid, location, KiB); `t` borrows from `res`. */
static bool read_space(const PGresult *res, int row, BaseBackupTablespace *t)
{
    uint64_t oid;

    *t = (BaseBackupTablespace){.location = ""};
    if (!PQgetisnull(res, row, 2) && !pgtext_uint(PQgetvalue(res, row, 2), INT64_MAX, &t->size_kib))
        return false;
    if (PQgetisnull(res, row, 0))
        return PQgetisnull(res, row, 1);
    if (PQgetisnull(res, row, 1) || !pgtext_uint(PQgetvalue(res, row, 0), UINT32_MAX, &oid) ||
        oid == 0)
        return false;
    t->oid = (uint32_t)oid;
    t->location = PQgetvalue(res, row, 1);
    return true;
}

/* The list of archives to come; exactly one of them is the data directory. */
static bool read_spaces(Run *r, const PGresult *res, uint64_t *total, Error *err)
{
    int rows = PQntuples(res);
    int bases = 0;

    if (PQnfields(res) < 3)
        return protocol(err, "the list of tablespaces");
    r->spaces = MEM_NEW_ARRAY(BaseBackupTablespace, (size_t)rows);
    for (int i = 0; i < rows; i++) {
        BaseBackupTablespace *t = &r->spaces[i];
        if (!read_space(res, i, t) || *total + t->size_kib < *total)
            return protocol(err, "the list of tablespaces");
        *total += t->size_kib;
        bases += t->oid == 0;
        for (int k = 0; k < i; k++)
            if (r->spaces[k].oid == t->oid)
                return protocol(err, "a tablespace is listed twice");
    }
    r->space_count = (size_t)rows;
    return bases == 1 || protocol(err, "the data directory is not in the list of tablespaces");
}

/* "base.tar" or "<oid>.tar", and the location, each with a zero byte: the next in the list. */
static bool archive_begin(Run *r, const char *p, size_t len, Error *err)
{
    char want[32];

    if (r->next == r->space_count)
        return protocol(err, "more archives than tablespaces");
    const BaseBackupTablespace *t = &r->spaces[r->next++];
    if (t->oid)
        snprintf(want, sizeof(want), "%u.tar", t->oid);
    else
        snprintf(want, sizeof(want), "base.tar");
    size_t name_len = strlen(want) + 1, location_len = strlen(t->location) + 1;
    if (len != name_len + location_len || memcmp(p, want, name_len) != 0 ||
        memcmp(p + name_len, t->location, location_len) != 0)
        return protocol(err, "an archive that is not the next in the list of tablespaces");
    r->in_archive = true;
    return r->sink->archive_begin(r->sink->ctx, t->oid, t->location, err);
}

static bool archive_end(Run *r, Error *err)
{
    if (!r->in_archive)
        return true;
    r->in_archive = false;
    return r->sink->archive_end(r->sink->ctx, err);
}

/* One message of 15 and later: a type byte, then what belongs to it. */
static bool take_message(Run *r, const char *p, size_t len, Error *err)
{
    char type = p[0];
    p++, len--;
    switch (type) {
    case 'n':
        if (r->has_manifest)
            return protocol(err, "an archive behind the manifest");
        return archive_end(r, err) && archive_begin(r, p, len, err);
    case 'm':
        if (r->has_manifest || len || r->next != r->space_count)
            return protocol(err, "the manifest is announced out of order");
        r->has_manifest = true;
        return archive_end(r, err);
    case 'd':
        if (r->has_manifest)
            return r->sink->manifest(r->sink->ctx, p, len, err);
        if (!r->in_archive)
            return protocol(err, "data before an archive is announced");
        return r->sink->data(r->sink->ctx, p, len, err);
    case 'p':
        return len == 8 || protocol(err, "a progress report of the wrong length");
    default:
        return protocol(err, "a message of unknown type");
    }
}

static bool run_single_copy(Run *r, Error *err)
{
    PGresult *res = expect(r, PGRES_COPY_OUT, "no COPY where the archives should come", err);
    const char *p;
    size_t len;

    if (!res)
        return false;
    PQclear(res);
    for (;;) {
        if (!pgconn_copy_read(r->c, &p, &len, err))
            return false;
        if (!p)
            return true;
        if (!take_message(r, p, len, err))
            return false;
    }
}

/* A COPY of 13 and 14, whole, into `take`. */
static bool run_plain_copy(Run *r, bool (*take)(void *, const void *, size_t, Error *), Error *err)
{
    const char *p;
    size_t len;

    for (;;) {
        if (!pgconn_copy_read(r->c, &p, &len, err))
            return false;
        if (!p)
            return true;
        if (!take(r->sink->ctx, p, len, err))
            return false;
    }
}

/*
 * 13 and 14. An archive's end is told only when the next result has shown that its COPY was not cut
 * short by an error; the zero blocks that the server leaves out are added then.
 */
static bool run_copies(Run *r, Error *err)
{
    static const char zeros[1024];
    static const char *const missing = "no COPY where an archive or the manifest should come";
    const BaseBackupSink *s = r->sink;
    PGresult *res = expect(r, PGRES_COPY_OUT, missing, err);

    for (size_t i = 0; res && i < r->space_count; i++) {
        const BaseBackupTablespace *t = &r->spaces[i];
        PQclear(res);
        if (!s->archive_begin(s->ctx, t->oid, t->location, err) || !run_plain_copy(r, s->data, err))
            return false;
        res = expect(r, PGRES_COPY_OUT, missing, err);
        if (res && (!s->data(s->ctx, zeros, sizeof(zeros), err) || !s->archive_end(s->ctx, err))) {
            PQclear(res);
            return false;
        }
    }
    if (!res)
        return false;
    PQclear(res);
    r->has_manifest = true;
    r->next = r->space_count;
    return run_plain_copy(r, s->manifest, err);
}

/* Reads what follows the end position: nothing but success, or the late news of bad pages. */
static bool read_end(Run *r, Error *err)
{
    PGresult *res;

    for (bool complete = false;; PQclear(res)) {
        if (!pgconn_result(r->c, &res, err))
            return false;
        if (!res)
            return complete || protocol(err, "the backup's end is missing");
        const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        ExecStatusType st = PQresultStatus(res);
        bool bad_pages = st == PGRES_FATAL_ERROR && sqlstate && !strcmp(sqlstate, "XX001");
        if (!complete && (bad_pages || st == PGRES_COMMAND_OK)) {
            complete = true;
            r->result->checksum_failed = bad_pages;
            continue;
        }
        if (st == PGRES_FATAL_ERROR || st == PGRES_BAD_RESPONSE)
            fail(r, res, err);
        else
            protocol(err, "a result behind the backup's end");
        PQclear(res);
        return false;
    }
}

static bool begin(Run *r, BaseBackupStart *start, PGresult **spaces, Error *err)
{
    if (!read_position(r, &start->lsn, &start->tli, "the start position", err))
        return false;
    *spaces = expect(r, PGRES_TUPLES_OK, "the list of tablespaces", err);
    if (!*spaces || !read_spaces(r, *spaces, &start->total_kib, err))
        return false;
    start->tablespaces = r->spaces;
    start->tablespace_count = r->space_count;
    return r->sink->begin(r->sink->ctx, start, err);
}

static bool run(Run *r, const char *command, Error *err)
{
    bool typed = pgconn_version(r->c) >= 150000;
    BaseBackupResult *result = r->result;
    BaseBackupStart start = {0};
    PGresult *spaces = NULL; /* r->spaces borrows its texts */

    bool ok = pgconn_send(r->c, command, err) && begin(r, &start, &spaces, err) &&
              (typed ? run_single_copy(r, err) : run_copies(r, err)) &&
              read_position(r, &result->end_lsn, &result->end_tli, "the end position", err);
    /* Only now: the COPY could have been ended by an error, which comes as the next result. */
    if (ok && (!r->has_manifest || r->next != r->space_count))
        ok = protocol(err, "an archive or the manifest is missing");
    /* A standby may have followed its primary to a newer timeline meanwhile. */
    if (ok && (result->end_lsn < start.lsn || result->end_tli < start.tli))
        ok = protocol(err, "the backup ends before its start");
    ok = ok && read_end(r, err);
    PQclear(spaces);
    return ok;
}

bool basebackup_run(PgConn *c, const BaseBackupOptions *options, const BaseBackupSink *sink,
                    BaseBackupResult *result, Error *err)
{
    Run r = {.c = c, .sink = sink, .result = result};
    Buf command = BUF_INIT;

    *result = (BaseBackupResult){.warnings = BUF_INIT};
    bool ok = basebackup_command(options, pgconn_version(c), &command, err);
    if (ok) {
        pgconn_set_notice(c, basebackup_notice, result);
        ok = run(&r, command.data, err);
        pgconn_set_notice(c, NULL, NULL);
    }
    free(r.spaces);
    buf_free(&command);
    return ok;
}

void basebackup_result_free(BaseBackupResult *result)
{
    for (size_t i = 0; i < result->bad_block_count; i++)
        free(result->bad_blocks[i].file);
    free(result->bad_blocks);
    buf_free(&result->warnings);
    *result = (BaseBackupResult){.warnings = BUF_INIT};
}
