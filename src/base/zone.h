/*
 * zone.h: the tz database, read directly.
 *
 * libc can convert for one zone only, the one in TZ, and changing TZ is unsafe while other threads
 * run (setenv() races with every getenv(), of which libpq, libcurl and libc itself have many). So
 * the named zones are read here: TZif files, version 2 and later (RFC 8536), with the POSIX rule
 * in their footer for the time after the last listed change. The local zone is left to
 * localtime_r(), which knows every form of $TZ.
 *
 * A Zone is read-only once made and may be shared between threads.
 */
#ifndef PITR_BASE_ZONE_H
#define PITR_BASE_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Zone Zone;

/* Opens `Area/City` of the system's database. The name must be of letters, digits, `_ + -` with
 * single slashes inside, so it can't leave the database's directory. ERR_USAGE with a hint if there
 * is no such zone or no database; the caller frees with zone_free(). */
bool zone_open(const char *name, Zone **out, Error *err);

/* The same from a file's bytes; every count and index in them is checked. `name` is for messages.
 */
bool zone_read(const void *data, size_t len, const char *name, Zone **out, Error *err);

/* Seconds east of UTC in force at `t`, seconds since 1970-01-01 UTC; within 26 hours. */
int32_t zone_offset(const Zone *zone, int64_t t);

/* NULL is fine. */
void zone_free(Zone *zone);

#endif
