/* storage/retry.h: pauses, deadlines, the line in the log. By a clock that pauses move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "fake_clock.h"
#include "scratch.h"
#include "storage/retry.h"

#define MS   1000
#define SLOP (20 * MS) /* real time that goes by while a test runs, and rounding */
#define HOUR (3600 * CLOCK_SECOND)

static Error why = {.code = ERR_REPO, .message = "the server is busy"};

/* How long a pause was; negative: there was none. */
static int64_t pause_of(Retry *retry, int64_t at_least)
{
    Instant before = clock_now();
    if (!retry_pause(retry, at_least, &why))
        return -1;
    return clock_now() - before;
}

/* --- pauses ---------------------------------------------------------------------------------- */

static int64_t bound_of(int attempt)
{
    int64_t bound = 200 * MS;
    for (int i = 0; i < attempt && bound < 20 * CLOCK_SECOND; i++)
        bound *= 2;
    return bound < 20 * CLOCK_SECOND ? bound : 20 * CLOCK_SECOND;
}

/* Full jitter: all lengths between nothing and the bound are as likely. */
static void test_full_jitter(void **state)
{
    (void)state;
    enum { PAUSES = 11, ROUNDS = 400 };
    int64_t low[PAUSES], high[PAUSES], sum[PAUSES] = {0};
    for (int i = 0; i < PAUSES; i++) {
        low[i] = INT64_MAX;
        high[i] = 0;
    }
    for (int round = 0; round < ROUNDS; round++) {
        RetryLog log = {0};
        Retry retry;
        retry_begin(&retry, &log, HOUR, 0);
        for (int i = 0; i < PAUSES; i++) {
            int64_t pause = pause_of(&retry, 0);
            assert_in_range(pause, 0, bound_of(i) + SLOP);
            low[i] = pause < low[i] ? pause : low[i];
            high[i] = pause > high[i] ? pause : high[i];
            sum[i] += pause;
        }
        assert_int_equal(retry.attempts, PAUSES);
    }
    for (int i = 0; i < PAUSES; i++) {
        int64_t bound = bound_of(i), mean = sum[i] / ROUNDS;
        assert_in_range(low[i], 0, bound / 10 + SLOP);
        assert_true(high[i] > bound * 9 / 10);
        assert_in_range(mean, bound * 4 / 10, bound * 6 / 10 + SLOP);
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    RetryLog log = {0};
    Retry retry;
    retry_begin(&retry, &log, HOUR, 0);
    assert_in_range(pause_of(&retry, 7 * CLOCK_SECOND), 7 * CLOCK_SECOND, 7 * CLOCK_SECOND + SLOP);
    assert_in_range(pause_of(&retry, 90 * CLOCK_SECOND), 90 * CLOCK_SECOND,
                    90 * CLOCK_SECOND + SLOP);
    /* It is a lower bound: the jitter may be more. */
    bool longer = false;
    for (int i = 0; i < 100; i++) {
        int64_t pause = pause_of(&retry, CLOCK_SECOND);
        assert_in_range(pause, CLOCK_SECOND, 20 * CLOCK_SECOND + SLOP);
        longer |= pause > 2 * CLOCK_SECOND;
    }
    assert_true(longer);
}

/* --- deadlines ------------------------------------------------------------------------------- */

/* Retries until it is given up; how long that took by the clock. */
static int64_t exhaust(int64_t patience, Instant limit)
{
    RetryLog log = {0};
    Retry retry;
    Instant begun = clock_now();
    int64_t before = fake_clock_ahead;
    retry_begin(&retry, &log, patience, limit);
    for (int i = 0; retry_pause(&retry, 0, &why); i++)
        assert_true(i < 10000);
    assert_in_range((fake_clock_ahead - before) / 1000, 0, (patience > 0 ? patience : 0) + 2 * MS);
    return clock_now() - begun;
}

/* Not an instant longer than the patience, but also all of it: an outage that is shorter must be
 * survived. */
static void test_patience_is_used_up(void **state)
{
    (void)state;
    static const int64_t patience[] = {300 * MS, CLOCK_SECOND, 6 * CLOCK_SECOND, 60 * CLOCK_SECOND,
                                       300 * CLOCK_SECOND};
    for (size_t i = 0; i < sizeof(patience) / sizeof(patience[0]); i++)
        for (int round = 0; round < 20; round++)
            assert_in_range(exhaust(patience[i], 0), patience[i], patience[i] + SLOP);
}

static void test_the_earlier_deadline_counts(void **state)
{
    (void)state;
    assert_in_range(exhaust(60 * CLOCK_SECOND, clock_now() + 2 * CLOCK_SECOND),
                    2 * CLOCK_SECOND - SLOP, 2 * CLOCK_SECOND + SLOP);
    assert_in_range(exhaust(2 * CLOCK_SECOND, clock_now() + HOUR), 2 * CLOCK_SECOND,
                    2 * CLOCK_SECOND + SLOP);
    assert_in_range(exhaust(60 * CLOCK_SECOND, clock_now() - 1), 0, SLOP);
    assert_in_range(exhaust(60 * CLOCK_SECOND, 1), 0, SLOP);
    assert_in_range(exhaust(0, 0), 0, SLOP);
}

/* A server that says to come back after the deadline is not waited for in vain. */
static void test_retry_after_the_deadline(void **state)
{
    (void)state;
    RetryLog log = {0};
    Retry retry;
    Instant begun = clock_now();
    retry_begin(&retry, &log, 5 * CLOCK_SECOND, 0);
    assert_int_equal(pause_of(&retry, 6 * CLOCK_SECOND), -1);
    assert_in_range(clock_now() - begun, 0, SLOP);
    retry_begin(&retry, &log, 5 * CLOCK_SECOND, 0);
    assert_in_range(pause_of(&retry, 4 * CLOCK_SECOND), 4 * CLOCK_SECOND, 4 * CLOCK_SECOND + SLOP);
}

static void test_what_is_left(void **state)
{
    (void)state;
    RetryLog log = {0};
    Retry retry;
    retry_begin(&retry, &log, 5 * CLOCK_SECOND, 0);
    assert_in_range(retry_left(&retry), 5 * CLOCK_SECOND - SLOP, 5 * CLOCK_SECOND);
    fake_clock_pass(2 * CLOCK_SECOND);
    assert_in_range(retry_left(&retry), 3 * CLOCK_SECOND - SLOP, 3 * CLOCK_SECOND);
    fake_clock_pass(HOUR); /* an attempt needs some time */
    assert_int_equal(retry_left(&retry), CLOCK_SECOND);
    retry_begin(&retry, &log, HOUR, clock_now() + 3 * CLOCK_SECOND);
    assert_in_range(retry_left(&retry), 3 * CLOCK_SECOND - SLOP, 3 * CLOCK_SECOND);
}

/* --- signals: in a child, they are remembered for ever --------------------------------------- */

static int pauses_seen;

static void signal_at_the_third(void)
{
    if (++pauses_seen == 3)
        raise(SIGTERM);
}

/* 0 if a signal that came before, or in a pause, ends it at once. */
static int try_signals(void)
{
    RetryLog log = {0};
    Retry retry;
    interrupt_install();
    fake_clock_on_pause = signal_at_the_third;
    retry_begin(&retry, &log, HOUR, 0);
    Instant begun = clock_now();
    if (pause_of(&retry, 60 * CLOCK_SECOND) >= 0 || clock_now() - begun > CLOCK_SECOND)
        return 1;
    begun = clock_now();
    if (pause_of(&retry, 60 * CLOCK_SECOND) >= 0 || clock_now() - begun > SLOP)
        return 2;
    return pauses_seen == 3 ? 0 : 3;
}

static void test_signals(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_signals());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- the log --------------------------------------------------------------------------------- */

static void catch_lines(Scratch *s)
{
    log_set_level(LOG_LEVEL_INFO);
    scratch_catch(s);
}

static size_t lines_said(Scratch *s, const char *part)
{
    size_t n = 0;
    const char *text = scratch_stderr(s);
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
        n++;
    return n;
}

static void pass_time(Retry *retry, int64_t time)
{
    for (Instant end = clock_now() + time; clock_now() < end;) {
        retry->attempts = 0; /* so that the jitter is small */
        assert_true(retry_pause(retry, 500 * MS, &why));
    }
}

static void test_short_trouble_is_not_told(void **state)
{
    RetryLog log = {0};
    Retry retry;
    catch_lines(*state);
    for (int i = 0; i < 20; i++) {
        retry_begin(&retry, &log, HOUR, 0);
        for (Instant end = clock_now() + 1500 * MS; clock_now() < end;)
            assert_true(retry_pause(&retry, 100 * MS, &why));
    }
    assert_int_equal(lines_said(*state, "warning"), 0);
}

static void test_one_line_a_minute(void **state)
{
    RetryLog log = {0};
    Retry retry, other;
    catch_lines(*state);
    retry_begin(&retry, &log, HOUR, 0);
    retry_begin(&other, &log, HOUR, 0);
    pass_time(&retry, 10 * CLOCK_SECOND);
    pass_time(&other, 20 * CLOCK_SECOND);
    const char *text = scratch_stderr(*state);
    assert_non_null(strstr(text, "pitr: warning: the server is busy; trying again for up to 35"));
    assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n'));
    catch_lines(*state);
    pass_time(&retry, 10 * CLOCK_SECOND);
    assert_int_equal(lines_said(*state, "warning"), 0);
    catch_lines(*state);
    pass_time(&retry, 75 * CLOCK_SECOND);
    assert_int_equal(lines_said(*state, "warning"), 1);
}

enum { THREADS = 4, ROUNDS = 100 };

static atomic_int together;

static void *wait_a_moment(void *arg)
{
    Retry retry;
    retry_begin(&retry, arg, HOUR, 0);
    retry.begun -= 4 * CLOCK_SECOND;
    for (together++; together % THREADS != 0;)
        ; /* all at once */
    retry_pause(&retry, 0, &why);
    return NULL;
}

static void test_threads_share_the_line(void **state)
{
    RetryLog logs[ROUNDS] = {0};
    pthread_t threads[THREADS];
    catch_lines(*state);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_a_moment, &logs[round]), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    assert_int_equal(lines_said(*state, "warning"), ROUNDS);
}

static int be_quiet(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_jitter),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_patience_is_used_up),
        cmocka_unit_test(test_the_earlier_deadline_counts),
        cmocka_unit_test(test_retry_after_the_deadline),
        cmocka_unit_test(test_what_is_left),
        cmocka_unit_test(test_signals),
        SCRATCH_TEST(test_short_trouble_is_not_told),
        SCRATCH_TEST(test_one_line_a_minute),
        SCRATCH_TEST(test_threads_share_the_line),
    };
    return cmocka_run_group_tests(tests, be_quiet, NULL);
}
