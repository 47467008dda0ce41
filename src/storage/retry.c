#include "storage/retry.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/interrupt.h"
#include "base/log.h"

#define FIRST_BOUND (200 * 1000)
#define LAST_BOUND  (20 * CLOCK_SECOND)
#define MATTERS     (3 * CLOCK_SECOND) /* shorter trouble is nobody's business */
#define QUIET       (60 * CLOCK_SECOND)

void retry_begin(Retry *retry, RetryLog *log, int64_t patience, Instant limit)
{
    int64_t left = limit - clock_now();
    *retry = (Retry){.log = log, .begun = clock_steady()};
    retry->deadline = retry->begun + (limit && left < patience ? left : patience);
}

static int64_t jitter(int attempts)
{
    int64_t bound = attempts < 7 ? (int64_t)FIRST_BOUND << attempts : LAST_BOUND;
    uint32_t lot = 0;
    if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != sizeof(lot))
        lot = (uint32_t)clock_now() * 2654435761u;
    return (int64_t)((double)(bound < LAST_BOUND ? bound : LAST_BOUND) * lot / UINT32_MAX);
}

static void tell(const Retry *retry, int64_t now, const Error *why)
{
    int64_t last = atomic_load(&retry->log->last);
    if (now - retry->begun < MATTERS || (last && now - last < QUIET) ||
        !atomic_compare_exchange_strong(&retry->log->last, &last, now))
        return;
    log_warn("%s; trying again for up to %lld s", why->message,
             (long long)((retry->deadline - now) / CLOCK_SECOND));
}

bool retry_pause(Retry *retry, int64_t at_least, const Error *why)
{
    int64_t now = clock_steady();
    int64_t pause = jitter(retry->attempts++), left = retry->deadline - now;
    if (left <= 0 || at_least > left || interrupt_signal())
        return false;
    if (pause < at_least)
        pause = at_least;
    if (pause > left) /* one last attempt at the end */
        pause = left;
    tell(retry, now, why);
    log_debug("%s; attempt %d in %lld ms", why->message, retry->attempts + 1,
              (long long)(pause / 1000));
    interrupt_sleep((int)(pause / 1000) + 1);
    return !interrupt_signal();
}

int64_t retry_left(const Retry *retry)
{
    int64_t left = retry->deadline - clock_steady();
    return left > CLOCK_SECOND ? left : CLOCK_SECOND;
}
