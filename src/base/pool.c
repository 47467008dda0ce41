#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"

struct Pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t *threads;
    int nthreads;
    void **queue; /* a ring of `limit` jobs */
    int limit, head, queued, running;
    bool closing, failed;
    Error first;
    PoolRun run;
    PoolDrop drop;
    void *ctx;
};

static void drop_queue(Pool *pool)
{
    while (pool->queued > 0) {
        pool->drop(pool->ctx, pool->queue[pool->head]);
        pool->head = (pool->head + 1) % pool->limit;
        pool->queued--;
    }
}

static void *worker(void *arg)
{
    Pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->queued == 0 && !pool->closing)
            pthread_cond_wait(&pool->changed, &pool->lock);
        if (pool->queued == 0)
            break;
        void *job = pool->queue[pool->head];
        pool->head = (pool->head + 1) % pool->limit;
        pool->queued--;
        pool->running++;
        pthread_mutex_unlock(&pool->lock);

        Error err;
        bool ok = pool->run(pool->ctx, job, &err);

        pthread_mutex_lock(&pool->lock);
        pool->running--;
        if (!ok && !pool->failed) {
            pool->failed = true;
            pool->first = err;
            drop_queue(pool);
        }
        pthread_cond_broadcast(&pool->changed);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are the main thread's: workers never interrupt a system call for them. */
static int start_thread(Pool *pool)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&pool->threads[pool->nthreads], NULL, worker, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        pool->nthreads++;
    return rc;
}

Pool *pool_new(int workers, int limit, PoolRun run, PoolDrop drop, void *ctx, Error *err)
{
    Pool *pool = MEM_NEW(Pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->threads = MEM_NEW_ARRAY(pthread_t, (size_t)workers);
    pool->limit = limit;
    pool->queue = MEM_NEW_ARRAY(void *, (size_t)limit);
    pool->run = run;
    pool->drop = drop;
    pool->ctx = ctx;
    for (int i = 0; i < workers; i++)
        if (start_thread(pool) != 0)
            break;
    if (pool->nthreads == 0) {
        pool_cancel(pool);
        error_set(err, ERR_INTERNAL, "can't start a worker thread");
        return NULL;
    }
    return pool;
}

bool pool_submit(Pool *pool, void *job, Error *err)
{
    pthread_mutex_lock(&pool->lock);
    while (!pool->failed && pool->queued + pool->running >= pool->limit)
        pthread_cond_wait(&pool->changed, &pool->lock);
    bool ok = !pool->failed;
    if (ok) {
        pool->queue[(pool->head + pool->queued) % pool->limit] = job;
        pool->queued++;
        pthread_cond_broadcast(&pool->changed);
    } else {
        *err = pool->first;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!ok)
        pool->drop(pool->ctx, job);
    return ok;
}

bool pool_finish(Pool *pool, Error *err)
{
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->nthreads; i++)
        pthread_join(pool->threads[i], NULL);
    bool ok = !pool->failed;
    if (!ok)
        *err = pool->first;
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool->queue);
    free(pool);
    return ok;
}

void pool_cancel(Pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    drop_queue(pool);
    pthread_mutex_unlock(&pool->lock);
    Error ignored;
    pool_finish(pool, &ignored);
}
