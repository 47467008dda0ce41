/*
 * retry.h: whether and when an operation is tried again.
 *
 * Pauses grow with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog): each is
 * drawn between nothing and a bound that doubles from 200 ms to 20 s, so that many clients do not
 * come back together. A Retry-After of the server is waited for. All attempts of one operation end
 * at one deadline. A Retry belongs to one thread; a RetryLog is shared by an object store's.
 */
#ifndef PITR_STORAGE_RETRY_H
#define PITR_STORAGE_RETRY_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/error.h"

/* One line says that operations are being retried, then none for a minute. */
typedef struct RetryLog {
    _Atomic(int64_t) last;
} RetryLog;

typedef struct Retry {
    RetryLog *log;
    int64_t begun, deadline; /* by the steady clock */
    int attempts; /* pauses so far */
} Retry;

/* `limit`: a deadline of the caller's besides (0: none). */
void retry_begin(Retry *retry, RetryLog *log, int64_t patience, Instant limit);

/* After a failure that may pass: sleeps and is true, or is false at once if the deadline has passed,
 * `at_least` (the server's Retry-After, microseconds) goes beyond it, or a signal came. `why` is
 * what the log line says. */
bool retry_pause(Retry *retry, int64_t at_least, const Error *why);

/* What is left of the deadline, at least one second. */
int64_t retry_left(const Retry *retry);

#endif
