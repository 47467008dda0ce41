/*
 * waltarget.h: finds moments in archived WAL, so that a restore knows before it begins where its
 * target lies, and `info` until when one can go.
 *
 * All functions read the segments of a chain between two segment numbers, which must all be stored. WAL that
 * can't be read on before the last segment is ERR_DAMAGED, never an early end.
 * A "commit" is a record at which a time target can stop: commit and abort, prepared ones included
 * (recoveryStopsBefore in xlogrecovery.c). Errors: those of reading. One chain, one thread.
 */
#ifndef PITR_REPO_WALTARGET_H
#define PITR_REPO_WALTARGET_H

#include "base/clock.h"
#include "repo/walchain.h"

typedef struct WalMoment {
    uint64_t lsn, end_lsn;
    uint32_t tli;
    uint32_t xid;
    bool abort;    /* a rollback, where it is a commit at all */
    Instant time;
} WalMoment;

typedef struct WalTail {
    bool any_record;
    uint64_t last_lsn; /* where the last valid record begins */
    uint64_t end_lsn;  /* and ends */
    bool any_commit;
    WalMoment last_commit;
    bool any_time;
    Instant last_time; /* the last time that any record carries */
} WalTail;

/* What the end of the WAL tells: reads from `last` backwards until a commit is found, or `first`
 * is read. */
bool waltarget_tail(WalChain *chain, uint64_t first, uint64_t last, WalTail *out, Error *err);

typedef struct WalStop {
    bool found;
    WalMoment stop; /* the first commit that is too late */
    bool any_before;
    WalMoment before;  /* the last commit before it, of those that were looked at */
    bool locks; /* somebody takes an exclusive lock between the two, as DROP and TRUNCATE do: a
                   recovery that pauses just before the stop holds it */
    bool born;  /* between the two the timeline began, at the time `birth` */
    Instant birth;
    /* A DROP DATABASE deletes its files before its commit record: a time target does not stop it. */
    bool drops_database;
    uint32_t database;     /* oid */
    uint64_t safe_lsn;     /* stop just before this record instead */
    bool marked_invalid;   /* safe_lsn is the record that deletes: files are kept, but 15 and later
                              have marked the database as invalid before (datconnlimit -2) */
} WalStop;

/* The first commit later than `time` (at or later than it if `exclusive`) at or behind `from`. */
bool waltarget_time(WalChain *chain, uint64_t from, uint64_t last, Instant time, bool exclusive,
                    WalStop *out, Error *err);

/* The commit of `xid` at or behind `from`, as a stop. */
bool waltarget_xid(WalChain *chain, uint64_t from, uint64_t last, uint32_t xid, WalStop *out,
                   Error *err);

/* The first restore point called `name` at or behind `from`. out->lsn 0: there is none. */
bool waltarget_name(WalChain *chain, uint64_t from, uint64_t last, const char *name,
                    WalMoment *out, Error *err);

/* The first record that begins at or behind `lsn`. out->lsn 0: there is none. */
bool waltarget_lsn(WalChain *chain, uint64_t lsn, uint64_t last, WalMoment *out, Error *err);

#endif
