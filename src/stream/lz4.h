/*
 * lz4.h: whole, independent LZ4 frames in memory, as packs are made of; the streaming form is
 * filter_lz4_encode() and filter_lz4_decode(). Frames carry their content's size and checksum
 * (lz4_Frame_format.md 1.6), so that `lz4 -dc` and `lz4 -t` read and prove them alone or joined.
 * Thread-safe.
 */
#ifndef PITR_STREAM_LZ4_H
#define PITR_STREAM_LZ4_H

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

/* Appends one frame with `len` bytes of content to `out`. */
bool lz4_frame_append(Buf *out, const void *data, size_t len, int level, Error *err);

/* Decodes one frame that must hold exactly `expected` bytes of content; else ERR_DAMAGED. */
bool lz4_frame_decode(const void *frame, size_t len, void *out, size_t expected, Error *err);

#endif
