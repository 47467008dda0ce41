#include "pg/conn.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/conn_private.h"
#include "pg/pgtext.h"

enum { POLL_MS = 500, CONNECT_TIMEOUT_S = 10, CANCEL_WAIT_S = 3, PARAMS_MAX = 80 };

/*
 * Settings of the session. A read-only default would hide whether the server is in recovery (13
 * has no other sign on a replication connection); time limits must not end a long copy.
 */
#define SESSION_OPTIONS                                                                            \
    "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"            \
    " -c default_transaction_read_only=off"
/* Known from 14 on; only asked for where the server sets it. */
#define IDLE_OPTION " -c idle_session_timeout=0"

/* Used where the connection string says nothing. */
static const struct {
    const char *key, *value;
} defaults[] = {
    {"fallback_application_name", "pitr"},
    {"keepalives", "1"},
    {"keepalives_idle", "60"},
    {"keepalives_interval", "10"},
    {"keepalives_count", "6"},
    {"tcp_user_timeout", "120000"},
};

/* The arrays of PQconnectStartParams(); strings are borrowed. */
typedef struct Params {
    const char *keys[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int n;
    char *options; /* owned */
    int timeout_s; /* 0: none */
} Params;

static void put(Params *p, const char *key, const char *value)
{
    if (p->n < PARAMS_MAX - 1) {
        p->keys[p->n] = key;
        p->values[p->n] = value;
        p->n++;
    }
}

static const char *given(const PQconninfoOption *o, const char *key)
{
    for (; o->keyword; o++)
        if (!strcmp(o->keyword, key))
            return o->val;
    return NULL;
}

static const char *given_or_env(const PQconninfoOption *o, const char *key, const char *env)
{
    const char *value = given(o, key);
    return value ? value : getenv(env);
}

static bool is_ours(const char *key)
{
    static const char *const ours[] = {"dbname", "replication", "options", "client_encoding"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!strcmp(key, ours[i]))
            return true;
    return false;
}

/* In libpq's own units: seconds, 0 or less waits for ever. One share per host of the list. */
static int timeout_of(const PQconninfoOption *o)
{
    const char *text = given_or_env(o, "connect_timeout", "PGCONNECT_TIMEOUT");
    const char *host = given_or_env(o, "host", "PGHOST");
    char *end;
    long s = text ? strtol(text, &end, 10) : CONNECT_TIMEOUT_S;
    int hosts = 1;

    if (text && end == text)
        s = CONNECT_TIMEOUT_S;
    if (s <= 0)
        return 0;
    for (; host && *host; host++)
        hosts += *host == ',';
    return (s < 3600 ? (int)s : 3600) * hosts;
}

static void params_fill(Params *p, const PQconninfoOption *o, bool idle_option)
{
    const char *theirs = given_or_env(o, "options", "PGOPTIONS");

    *p = (Params){.timeout_s = timeout_of(o)};
    for (const PQconninfoOption *i = o; i->keyword; i++)
        if (i->val && !is_ours(i->keyword))
            put(p, i->keyword, i->val);
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        if (!given(o, defaults[i].key))
            put(p, defaults[i].key, defaults[i].value);
    p->options = mem_printf("%s%s" SESSION_OPTIONS "%s", theirs ? theirs : "", theirs ? " " : "",
                            idle_option ? IDLE_OPTION : "");
    put(p, "options", p->options);
    put(p, "dbname", "replication");
    put(p, "replication", "true");
    put(p, "client_encoding", "UTF8");
}

/* libpq's own text is not shown: it quotes the string, where a password may stand. */
static PQconninfoOption *parse(const char *conninfo, Error *err)
{
    char *ignored = NULL;
    PQconninfoOption *o = PQconninfoParse(conninfo ? conninfo : "", &ignored);
    PQfreemem(ignored);

    const char *host = o ? given(o, "host") : NULL;
    if (!o)
        error_set(err, ERR_USAGE, "conninfo cannot be read as a connection string");
    else if (host && strchr(host, '@') && host[0] != '@')
        error_set(err, ERR_USAGE, "conninfo has an \"@\" in its host name");
    else
        return o;
    error_hint(err, "write key=value pairs (values with spaces in single quotes) or a "
                    "postgresql:// address with special characters of the password as %%XX");
    PQconninfoFree(o);
    return NULL;
}

void pgconn_first_line(const char *message, char *out, size_t size)
{
    size_t len = message ? strcspn(message, "\r\n") : 0;

    if (len == 0) {
        message = "no reason given";
        len = strlen(message);
    }
    if (len >= size)
        len = size - 1;
    memcpy(out, message, len);
    out[len] = '\0';
}

void pgconn_hint(Error *err)
{
    static const struct {
        const char *text, *hint;
    } known[] = {
        {"pg_hba.conf", "allow it in the server's pg_hba.conf, in a line whose database is "
                        "\"replication\", and reload the server"},
        {"max_wal_senders", "all replication connections are taken: raise max_wal_senders, or end "
                            "one of those in pg_stat_replication"},
        {"replication role", "give the user the right: ALTER ROLE ... REPLICATION"},
        {"to start WAL sender", "give the user the right: ALTER ROLE ... REPLICATION"},
        {"REPLICATION attribute", "give the user the right: ALTER ROLE ... REPLICATION"},
        {"password", "put the password into ~/.pgpass (database field \"replication\") of the "
                     "operating system user that runs pitr"},
        {"Peer authentication", "run pitr as the operating system user of that name, or choose "
                                "user= in conninfo"},
        {"starting up", "wait until the server accepts connections"},
        {"shutting down", "start the server, then try again"},
        {"Connection refused", "is the server running, and are host and port in conninfo right?"},
        {"No such file", "is the server running, and are host and port in conninfo right?"},
        {"closed the connection", "look for the reason in the server's log"},
        {"connection to client lost", "look for the reason in the server's log"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(err->message, known[i].text)) {
            error_hint(err, "%s", known[i].hint);
            return;
        }
    }
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool pgconn_poll(PGconn *pg, bool for_write, bool *ready, Error *err)
{
    struct pollfd p = {.fd = PQsocket(pg), .events = for_write ? POLLOUT : POLLIN};

    *ready = false;
    if (!interrupt_check(err))
        return false;
    /* Without a socket the next libpq call reports the loss. */
    int n = p.fd >= 0 ? poll(&p, 1, POLL_MS) : 1;
    if (n < 0 && errno != EINTR)
        return error_errno(err, ERR_INTERNAL, "poll on the connection to PostgreSQL");
    *ready = n > 0;
    return interrupt_check(err);
}

static bool connect_wait(PGconn *pg, int timeout_s, Error *err)
{
    int64_t end = now_ms() + (int64_t)timeout_s * 1000;
    PostgresPollingStatusType st = PGRES_POLLING_WRITING;

    while (st != PGRES_POLLING_OK && st != PGRES_POLLING_FAILED) {
        bool ready;
        if (!pgconn_poll(pg, st == PGRES_POLLING_WRITING, &ready, err))
            return false;
        if (ready) {
            st = PQconnectPoll(pg);
        } else if (timeout_s && now_ms() >= end) {
            error_set(err, ERR_PG, "PostgreSQL did not answer within %d s", timeout_s);
            return error_hint(err, "is the server reachable? the limit is connect_timeout in "
                                   "conninfo");
        }
    }
    return true;
}

static void default_notice(void *ctx, const char *severity, const char *sqlstate,
                           const char *message)
{
    (void)ctx;
    (void)sqlstate;
    if (!strcmp(severity, "WARNING"))
        log_warn("PostgreSQL: %s", message);
    else
        log_debug("PostgreSQL: %s: %s", severity, message);
}

void pgconn_set_notice(PgConn *c, PgNoticeFn fn, void *ctx)
{
    c->notice = fn ? fn : default_notice;
    c->notice_ctx = ctx;
}

static void on_notice(void *arg, const PGresult *res)
{
    PgConn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    c->notice(c->notice_ctx, severity ? severity : "", sqlstate ? sqlstate : "",
              message ? message : "");
}

static bool connect_with(PgConn *c, const PQconninfoOption *o, bool idle_option, Error *err)
{
    Params p;
    bool ok = false;

    params_fill(&p, o, idle_option);
    c->pg = PQconnectStartParams(p.keys, p.values, 0);
    if (!c->pg) {
        error_set(err, ERR_INTERNAL, "libpq: out of memory");
        goto done;
    }
    PQsetNoticeReceiver(c->pg, on_notice, c);
    if (PQstatus(c->pg) != CONNECTION_BAD && !connect_wait(c->pg, p.timeout_s, err))
        goto done;
    if (PQstatus(c->pg) != CONNECTION_OK) {
        char line[sizeof(err->message) / 2];
        pgconn_first_line(PQerrorMessage(c->pg), line, sizeof(line));
        error_set(err, ERR_PG, "cannot open a replication connection: %s", line);
        pgconn_hint(err);
        goto done;
    }
    ok = true;
done:
    free(p.options);
    return ok;
}

static bool check_version(const PgConn *c, Error *err)
{
    int version = pgconn_version(c);

    if (version < PG_VERSION_MIN) {
        error_set(err, ERR_PG, "PostgreSQL %d is too old: pitr needs 13 or newer", version / 10000);
        return error_hint(err, "upgrade the server");
    }
    if (version / 10000 > PG_MAJOR_MAX_TESTED)
        log_warn("PostgreSQL %d is newer than this pitr knows (13 to %d)", version / 10000,
                 PG_MAJOR_MAX_TESTED);
    return true;
}

/* A server that drops idle connections must not do so between two commands of ours. */
static bool idle_limited(PgConn *c, bool *limited, Error *err)
{
    char value[64];

    *limited = false;
    if (pgconn_version(c) < 140000)
        return true;
    if (!pgconn_show(c, "idle_session_timeout", value, sizeof(value), err))
        return false;
    *limited = strcmp(value, "0") != 0;
    return true;
}

PgConn *pgconn_open_replication(const char *conninfo, Error *err)
{
    PQconninfoOption *o = parse(conninfo, err);
    if (!o)
        return NULL;
    PgConn *c = MEM_NEW(PgConn);
    pgconn_set_notice(c, NULL, NULL);
    bool limited = false;
    bool ok =
        connect_with(c, o, false, err) && check_version(c, err) && idle_limited(c, &limited, err);
    if (ok && limited) {
        PQfinish(c->pg);
        ok = connect_with(c, o, true, err);
    }
    PQconninfoFree(o);
    if (ok)
        return c;
    pgconn_close(c);
    return NULL;
}

static void *cancel_main(void *arg)
{
    char ignored[256];
    PQcancel(arg, ignored, sizeof(ignored));
    return NULL;
}

/*
 * Without this, the server's process would go on waiting for the archiver after we have left. The
 * request blocks without limit in libpq (before 17), so a thread makes it; one that does not come
 * back is left to the end of the process, with the little it holds.
 */
static void cancel(PgConn *c)
{
    PGcancel *request = PQgetCancel(c->pg);
    pthread_t thread;
    struct timespec end;

    if (!request)
        return;
    if (pthread_create(&thread, NULL, cancel_main, request) != 0) {
        PQfreeCancel(request);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += CANCEL_WAIT_S;
    if (pthread_timedjoin_np(thread, NULL, &end) == 0)
        PQfreeCancel(request);
    else
        pthread_detach(thread);
}

void pgconn_close(PgConn *c)
{
    if (!c)
        return;
    if (c->busy && PQstatus(c->pg) == CONNECTION_OK)
        cancel(c);
    PQfreemem(c->copy);
    PQfinish(c->pg);
    free(c);
}

int pgconn_version(const PgConn *c)
{
    return PQserverVersion(c->pg);
}
