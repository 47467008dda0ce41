/*
 * filter.h: stages that bytes are pushed through.
 *
 *     Filter *chain = filter_sha256(digest, filter_lz4_encode(1, filter_to_buf(&out)));
 *     ok = filter_write(chain, data, len, err) && … && filter_finish(chain, err);
 *     filter_free(chain);
 *
 * A stage owns the next one. filter_finish flushes and runs down the chain once; results (digest,
 * count) are there only after it returned true. After a failure a chain can only be freed. One
 * chain belongs to one thread.
 */
#ifndef PITR_STREAM_FILTER_H
#define PITR_STREAM_FILTER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct Filter Filter;

typedef bool (*FilterSink)(void *ctx, const void *data, size_t len, Error *err);

/* Last stages: append to a Buf (a full ceiling is ERR_DAMAGED), or call a function. */
Filter *filter_to_buf(Buf *out);
Filter *filter_to_sink(FilterSink sink, void *ctx);

/* SHA-256 of what passes, into `digest` (32 bytes) at the end (FIPS 180-4, by OpenSSL). */
Filter *filter_sha256(uint8_t *digest, Filter *next);

/* Counts the bytes that pass in *count, set to 0 here. May be the last stage (`next` NULL). */
Filter *filter_count(uint64_t *count, Filter *next);

/* One LZ4 frame (lz4_Frame_format.md 1.6) with linked blocks of 64 KiB and a content checksum. */
Filter *filter_lz4_encode(int level, Filter *next);

/* The content of one or more LZ4 frames. Anything else, a wrong checksum and an unfinished frame
 * are ERR_DAMAGED; no input at all, too. */
Filter *filter_lz4_decode(Filter *next);

bool filter_write(Filter *f, const void *data, size_t len, Error *err);
bool filter_finish(Filter *f, Error *err);
void filter_free(Filter *f);

#endif
