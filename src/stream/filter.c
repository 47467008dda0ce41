#include "stream/filter.h"

#include <stdlib.h>

#include "base/mem.h"
#include "stream/filter_stage.h"

struct Filter {
    const FilterStage *stage;
    void *state;
    Filter *next;
};

Filter *filter_new(const FilterStage *stage, void *state, Filter *next)
{
    Filter *f = MEM_NEW(Filter);
    *f = (Filter){stage, state, next};
    return f;
}

bool filter_write(Filter *f, const void *data, size_t len, Error *err)
{
    return len == 0 || f->stage->write(f->state, f->next, data, len, err);
}

bool filter_finish(Filter *f, Error *err)
{
    if (f->stage->finish && !f->stage->finish(f->state, f->next, err))
        return false;
    return !f->next || filter_finish(f->next, err);
}

void filter_free(Filter *f)
{
    if (!f)
        return;
    filter_free(f->next);
    if (f->stage->free)
        f->stage->free(f->state);
    else
        free(f->state);
    free(f);
}

/* --- last stages and the counter -------------------------------------------------------------- */

static void keep(void *state)
{
    (void)state;
}

static bool buf_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    (void)next;
    return buf_append(state, data, len) ||
           error_set(err, ERR_DAMAGED, "content is larger than it may be");
}

Filter *filter_to_buf(Buf *out)
{
    static const FilterStage stage = {.write = buf_write, .free = keep};
    return filter_new(&stage, out, NULL);
}

typedef struct SinkState {
    FilterSink sink;
    void *ctx;
} SinkState;

static bool sink_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    (void)next;
    SinkState *s = state;
    return s->sink(s->ctx, data, len, err);
}

Filter *filter_to_sink(FilterSink sink, void *ctx)
{
    static const FilterStage stage = {.write = sink_write};
    SinkState *s = MEM_NEW(SinkState);
    *s = (SinkState){sink, ctx};
    return filter_new(&stage, s, NULL);
}

static bool count_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    *(uint64_t *)state += len;
    return !next || filter_write(next, data, len, err);
}

Filter *filter_count(uint64_t *count, Filter *next)
{
    static const FilterStage stage = {.write = count_write, .free = keep};
    *count = 0;
    return filter_new(&stage, count, next);
}
