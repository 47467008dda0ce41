/*
 * fake_clock.h: pauses that cost no time. nanosleep() returns at once and moves the program's
 * clocks ahead by what was asked for, so that a test sees each pause exactly and a timeout of a
 * minute is over in a moment. Waiting for a socket takes its real time, and libraries (libcurl with
 * its own timeouts) see the real clock. Included by one source of a program.
 *
 * Functions defined here take the place of the C library's; any thread may call them.
 */
#ifndef PITR_TESTS_FAKE_CLOCK_H
#define PITR_TESTS_FAKE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic(int64_t) fake_clock_ahead; /* nanoseconds */
static void (*fake_clock_on_pause)(void); /* called before each pause; NULL: nothing */

/* The bounds of the program's own code, from the linker. */
extern const char __executable_start[], etext[];

int clock_gettime(clockid_t id, struct timespec *ts)
{
    const char *caller = __builtin_return_address(0);
    bool ours = caller >= __executable_start && caller < etext;
    int result = (int)syscall(SYS_clock_gettime, id, ts);
    if (result == 0 && ours && (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC)) {
        int64_t ns = ts->tv_nsec + fake_clock_ahead % 1000000000;
        ts->tv_sec += fake_clock_ahead / 1000000000 + ns / 1000000000;
        ts->tv_nsec = ns % 1000000000;
    }
    return result;
}

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    if (fake_clock_on_pause)
        fake_clock_on_pause();
    fake_clock_ahead += (int64_t)wanted->tv_sec * 1000000000 + wanted->tv_nsec;
    return 0;
}

/* Lets `usec` microseconds go by. */
static inline void fake_clock_pass(int64_t usec)
{
    fake_clock_ahead += usec * 1000;
}

#endif
