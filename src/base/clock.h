/*
 * clock.h: instants, their texts, and durations.
 *
 * Every moment in the program is an Instant: int64_t microseconds since 1970-01-01 00:00:00 UTC,
 * without leap seconds (POSIX time; PostgreSQL counts the same way from 2000-01-01). Text is made
 * and read only here, so that what selects a backup and what PostgreSQL is told are one number.
 * The calendar is the proleptic Gregorian one. Nothing here changes TZ or other process state; all
 * functions are thread-safe as long as nobody else calls setenv().
 */
#ifndef PITR_BASE_CLOCK_H
#define PITR_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef int64_t Instant;

#define CLOCK_SECOND INT64_C(1000000)

/* Room for any text that a clock_format_* function writes, with its terminating zero. */
#define CLOCK_TEXT 96

/* A calendar date and time of day; which zone it is in is for the holder to know. */
typedef struct CivilTime {
    int year;   /* 2026 */
    int month;  /* 1..12 */
    int day;    /* 1..31 */
    int hour;   /* 0..23 */
    int minute; /* 0..59 */
    int second; /* 0..59; a leap second is not representable */
    int usec;   /* 0..999999 */
} CivilTime;

/* The system's real-time clock, now. */
Instant clock_now(void);

/* Microseconds of a clock that nobody sets (CLOCK_MONOTONIC): for waiting. */
int64_t clock_steady(void);

/* From PostgreSQL's TimestampTz: microseconds since 2000-01-01 00:00:00 UTC
 * (src/include/datatype/timestamp.h). Beyond the range, as its infinities are, saturates. */
Instant clock_from_pg(int64_t usec_since_2000);

/* Days since 1970-01-01 of a calendar date; the date must be valid. */
int64_t clock_days(int year, int month, int day);

/* Splits an instant into the calendar in UTC. */
void clock_to_civil(Instant t, CivilTime *civil);

/* The instant of a civil time read as UTC; false if there is no such date or time of day, or the
 * year is not within 1..9999. */
bool clock_from_civil(const CivilTime *civil, Instant *out);

/* `2026-11-21T03:00:00Z`; `2026-11-21T03:00:00.25Z` when there are microseconds. */
void clock_format_utc(char out[CLOCK_TEXT], Instant t);

/* `2026-11-21T04:00:00+01:00` in the local zone ($TZ, else the system's). */
void clock_format_local(char out[CLOCK_TEXT], Instant t);

/* `2026-11-21 03:00:00.000000+00`: what recovery_target_time is given. The numeric offset makes it
 * independent of the server's `timezone` (check_recovery_target_time in xlogrecovery.c). */
void clock_format_recovery(char out[CLOCK_TEXT], Instant t);

/* `20261121T030000Z`, as in backup labels; microseconds are cut off. */
void clock_format_label(char out[CLOCK_TEXT], Instant t);

/* `+01:00`, `-03:30`; `+00:09:21` for an offset with seconds. `offset` is seconds east of UTC. */
void clock_format_offset(char out[CLOCK_TEXT], int32_t offset);

/* Reads exactly what clock_format_utc writes (any number of decimals from 1 to 6). */
bool clock_parse_utc(const char *text, Instant *out);

/*
 * Reads a recovery target as a person or PostgreSQL writes it.
 *
 * A date `YYYY-MM-DD`, one `T` or space, `hh:mm[:ss[.ffffff]]` (`,` too), and a zone: `Z`, `+02`,
 * `+02:00`, `+0200`, ` UTC`, ` GMT` or a full name of the tz database (` Europe/Paris`). Without a
 * zone it is read in the local zone and *had_zone is false. Refused, each with a hint: a date
 * alone, `now` and other words, short zone names (ambiguous: `CST` is three zones), a local time
 * that a change of clocks skipped or repeated, a leap second, anything left over.
 *
 * Errors are ERR_USAGE; *out and *had_zone are then untouched.
 */
bool clock_parse_target(const char *text, Instant *out, bool *had_zone, Error *err);

/* Reads `90s`, `10m`, `1h30m`, `7d`: units d h m s, in this order, each at most once; `0` alone is
 * fine. False for anything else, and beyond 292,000 years. `*usec` is in microseconds. */
bool clock_parse_duration(const char *text, int64_t *usec);

/* For people: `340 ms`, `4.2 s`, `2 min 03 s`, `3 h 05 min`, `2 d 04 h`. Rounded to what is shown.
 */
void clock_format_duration(char out[CLOCK_TEXT], int64_t usec);

#endif
