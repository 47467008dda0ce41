/* base/pool.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"

/* What workers do and see. */
typedef struct Watch {
    atomic_int run[1000], dropped[1000];
    atomic_int now, most; /* jobs in run() at once */
    int fail_from;        /* jobs from this number on fail; 1000: none */
    pthread_mutex_t gate; /* held by the test: workers wait at it */
    pthread_t tester;
} Watch;

static int numbers[1000];

static bool run(void *ctx, void *job, Error *err)
{
    Watch *w = ctx;
    int n = *(int *)job, now = atomic_fetch_add(&w->now, 1) + 1, most = atomic_load(&w->most);
    while (now > most && !atomic_compare_exchange_weak(&w->most, &most, now))
        continue;
    pthread_mutex_lock(&w->gate);
    pthread_mutex_unlock(&w->gate);
    atomic_fetch_add(&w->run[n], 1);
    atomic_fetch_sub(&w->now, 1);
    if (pthread_equal(pthread_self(), w->tester))
        return error_set(err, ERR_INTERNAL, "run by the caller's thread");
    return n < w->fail_from || error_set(err, ERR_REPO, "job %d", n);
}

static void drop(void *ctx, void *job)
{
    atomic_fetch_add(&((Watch *)ctx)->dropped[*(int *)job], 1);
}

static Watch *watch(void)
{
    Watch *w = calloc(1, sizeof(*w));
    w->fail_from = 1000;
    w->tester = pthread_self();
    pthread_mutex_init(&w->gate, NULL);
    for (int i = 0; i < 1000; i++)
        numbers[i] = i;
    return w;
}

/* Every job that was handed over was run or dropped, once; returns how many were run. */
static int settle(Watch *w, int submitted)
{
    int count = 0;
    for (int i = 0; i < 1000; i++) {
        int r = atomic_load(&w->run[i]), d = atomic_load(&w->dropped[i]);
        if (r + d != (i < submitted))
            fail_msg("job %d was run %d times and dropped %d times", i, r, d);
        count += r;
    }
    pthread_mutex_destroy(&w->gate);
    free(w);
    return count;
}

static void pause_ms(int ms)
{
    struct timespec t = {0, ms * 1000000L};
    nanosleep(&t, NULL);
}

static void test_all_run(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 4}, {4, 1}, {4, 4}, {8, 16}, {3, 100}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        Error err;
        Watch *w = watch();
        Pool *pool = pool_new(shapes[s][0], shapes[s][1], run, drop, w, &err);
        assert_non_null(pool);
        for (int i = 0; i < 500; i++)
            assert_true(pool_submit(pool, &numbers[i], &err));
        assert_true(pool_finish(pool, &err));
        assert_true(atomic_load(&w->most) <= shapes[s][0]);
        assert_true(atomic_load(&w->most) <= shapes[s][1]);
        assert_int_equal(settle(w, 500), 500);
    }
    Error err;
    Watch *w = watch();
    Pool *pool = pool_new(2, 2, run, drop, w, &err);
    assert_true(pool_finish(pool, &err)); /* without any job */
    assert_int_equal(settle(w, 0), 0);
    pool_cancel(NULL);
}

/* --- acceptance --------------------------------------------------------------------------------
 */

typedef struct Submitter {
    Pool *pool;
    int first;
    atomic_int accepted;
} Submitter;

/* Submits the jobs from `first` to 9. */
static void *submit_ten(void *arg)
{
    Submitter *s = arg;
    Error err;
    for (int i = s->first; i < 10; i++) {
        pool_submit(s->pool, &numbers[i], &err);
        atomic_fetch_add(&s->accepted, 1);
    }
    return NULL;
}

/* Jobs that run count too: with all workers held up, no more than `limit` are taken. */
static void test_bounded(void **state)
{
    (void)state;
    for (int limit = 1; limit <= 5; limit += 2) {
        Error err;
        Watch *w = watch();
        Submitter s = {.pool = pool_new(2, limit, run, drop, w, &err)};
        pthread_t thread;
        pthread_mutex_lock(&w->gate);
        for (; s.first < 2 && s.first < limit; s.first++)
            assert_true(pool_submit(s.pool, &numbers[s.first], &err));
        while (atomic_load(&w->now) < s.first)
            pause_ms(1);
        assert_int_equal(pthread_create(&thread, NULL, submit_ten, &s), 0);
        for (int i = 0; i < 1000 && atomic_load(&s.accepted) < limit - s.first; i++)
            pause_ms(5);
        pause_ms(50);
        assert_int_equal(atomic_load(&s.accepted), limit - s.first);
        pthread_mutex_unlock(&w->gate);
        pthread_join(thread, NULL);
        assert_true(pool_finish(s.pool, &err));
        assert_int_equal(settle(w, 10), 10);
    }
}

/* --- failure -----------------------------------------------------------------------------------
 */

static void test_failure(void **state)
{
    (void)state;
    for (int workers = 1; workers <= 4; workers++) {
        Error err = {0};
        Watch *w = watch();
        w->fail_from = 20;
        Pool *pool = pool_new(workers, 10, run, drop, w, &err);
        int submitted = 0;
        bool ok = true;
        while (ok && submitted < 500)
            ok = pool_submit(pool, &numbers[submitted++], &err);
        assert_false(ok);
        assert_int_equal(err.code, ERR_REPO);
        char first[64];
        strcpy(first, err.message);
        assert_false(pool_submit(pool, &numbers[submitted++], &err)); /* at once, again */
        assert_string_equal(err.message, first);
        assert_false(pool_finish(pool, &err));
        assert_string_equal(err.message, first);
        if (workers == 1)
            assert_string_equal(first, "job 20");
        assert_true(settle(w, submitted) <= 20 + workers);
    }
}

/* A caller that waits for room is woken by a failure. */
static void test_failure_wakes(void **state)
{
    (void)state;
    Error err;
    Watch *w = watch();
    w->fail_from = 0;
    Submitter s = {.pool = pool_new(1, 2, run, drop, w, &err)};
    pthread_t thread;
    pthread_mutex_lock(&w->gate);
    pthread_create(&thread, NULL, submit_ten, &s);
    for (int i = 0; i < 1000 && atomic_load(&s.accepted) < 2; i++)
        pause_ms(5);
    pthread_mutex_unlock(&w->gate);
    pthread_join(thread, NULL);
    assert_false(pool_finish(s.pool, &err));
    assert_string_equal(err.message, "job 0");
    assert_int_equal(settle(w, 10), 1);
}

static void test_last_fails(void **state)
{
    (void)state;
    Error err;
    Watch *w = watch();
    w->fail_from = 99;
    Pool *pool = pool_new(4, 200, run, drop, w, &err);
    for (int i = 0; i < 100; i++)
        assert_true(pool_submit(pool, &numbers[i], &err));
    assert_false(pool_finish(pool, &err));
    assert_string_equal(err.message, "job 99");
    assert_int_equal(settle(w, 100), 100);
}

static void *cancel(void *pool)
{
    pool_cancel(pool);
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    Error err;
    Watch *w = watch();
    Pool *pool = pool_new(2, 50, run, drop, w, &err);
    pthread_mutex_lock(&w->gate);
    for (int i = 0; i < 50; i++)
        assert_true(pool_submit(pool, &numbers[i], &err));
    for (int i = 0; i < 1000 && atomic_load(&w->now) < 2; i++)
        pause_ms(5);
    pthread_t thread;
    pthread_create(&thread, NULL, cancel, pool);
    while (atomic_load(&w->dropped[49]) == 0)
        pause_ms(5);
    pthread_mutex_unlock(&w->gate);
    pthread_join(thread, NULL);
    assert_int_equal(settle(w, 50), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_run),    cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_failure),    cmocka_unit_test(test_failure_wakes),
        cmocka_unit_test(test_last_fails), cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
