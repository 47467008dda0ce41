/*
 * error.h: the one error type.
 *
 * A function that can fail returns false (or NULL) and fills the Error that its caller gave; the
 * caller adds context, handles it, or passes it up. Nothing below main() exits. The codes are the
 * program's exit codes, so that a cause keeps its code from the place where it is found to the
 * shell. An Error owns no memory and may be copied.
 */
#ifndef PITR_BASE_ERROR_H
#define PITR_BASE_ERROR_H

#include <stdbool.h>

typedef enum ErrorCode {
    ERR_NONE = 0,
    ERR_NO = 1,        /* a plain "no": the object is proven absent, a check found something */
    ERR_USAGE = 2,     /* command line or configuration */
    ERR_REPO = 3,      /* the repository can't be reached or refuses */
    ERR_PG = 4,        /* PostgreSQL can't be reached or refuses */
    ERR_TARGET = 5,    /* the recovery target can't be reached from what is stored */
    ERR_DAMAGED = 6,   /* bytes that are not what was written */
    ERR_LOCKED = 7,    /* another run is in the way, or stopped this one */
    ERR_INTERNAL = 70, /* everything else: local files, system calls, bugs */
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    bool denied; /* ERR_REPO: the store answered that these credentials may not do this */
    char message[1536];
    char hint[1024]; /* what a person can do; empty if nothing is known */
} Error;

/* Fills `err` (message formatted as printf, hint cleared) and returns false. */
bool error_set(Error *err, ErrorCode code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of errno behind the message. */
bool error_errno(Error *err, ErrorCode code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets the hint; returns false, so that `return error_hint(...)` can end an error path. */
bool error_hint(Error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<text>: " before the message; returns false. */
bool error_prefix(Error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void error_clear(Error *err);

#endif
