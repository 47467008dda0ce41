/*
 * pool.h: worker threads that take jobs in order, with a bounded number under way.
 *
 * pool_submit() waits while `limit` jobs are queued or running, which bounds the memory that jobs
 * hold. The first failure is kept; from then on queued jobs are dropped (their `drop` runs) and
 * pool_submit() fails at once. Results that must come back in order are the caller's matter.
 */
#ifndef PITR_BASE_POOL_H
#define PITR_BASE_POOL_H

#include "base/error.h"

typedef struct Pool Pool;

/* Does one job; runs on a worker thread and owns `job` from here. */
typedef bool (*PoolRun)(void *ctx, void *job, Error *err);

/* Frees a job that will not be run. */
typedef void (*PoolDrop)(void *ctx, void *job);

/* `workers` threads (at least 1), at most `limit` jobs accepted and not yet finished. NULL with
 * ERR_INTERNAL if no thread can be started. */
Pool *pool_new(int workers, int limit, PoolRun run, PoolDrop drop, void *ctx, Error *err);

/* Hands a job over, in every case: on false (a job failed before) it has been dropped. */
bool pool_submit(Pool *pool, void *job, Error *err);

/* Waits for all jobs; false with the first failure. Ends the threads and frees the pool. */
bool pool_finish(Pool *pool, Error *err);

/* Drops what is queued, waits for what runs, frees the pool. NULL is allowed. */
void pool_cancel(Pool *pool);

#endif
