/*
 * filter_stage.h: what a stage of filter.h is made of; for the files of this folder.
 */
#ifndef PITR_STREAM_FILTER_STAGE_H
#define PITR_STREAM_FILTER_STAGE_H

#include "stream/filter.h"

typedef struct FilterStage {
    bool (*write)(void *state, Filter *next, const void *data, size_t len, Error *err);
    bool (*finish)(void *state, Filter *next, Error *err); /* NULL: nothing to flush */
    void (*free)(void *state);                             /* NULL: free() */
} FilterStage;

/* Takes `state` and `next` (NULL for a last stage). */
Filter *filter_new(const FilterStage *stage, void *state, Filter *next);

#endif
