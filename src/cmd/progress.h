/*
 * progress.h: how far a long command is: a bar with rate and remaining time on a terminal, a line
 * every now and then in a log. To stderr, as everything that is no data. Thread-safe.
 */
#ifndef PITR_CMD_PROGRESS_H
#define PITR_CMD_PROGRESS_H

#include <stdint.h>

#include "config/config.h"

typedef struct Progress Progress;

/* `what` begins each line; `total` in bytes, 0 if it is not known. Follows --progress. */
Progress *progress_new(const Config *config, const char *what, uint64_t total);

/* `done` bytes so far. Cheap: shows something at most five times a second (bar) or every 10 s. */
void progress_update(Progress *p, uint64_t done);

/* Clears the bar. NULL is allowed. */
void progress_free(Progress *p);

/* "12.3 MiB" into out[32]; returns it. */
char *progress_size(char out[32], uint64_t bytes);

#endif
