#include "stream/lz4.h"

#include <lz4frame.h>
#include <stdlib.h>

#include "base/mem.h"
#include "stream/filter_stage.h"

#define CHUNK (256 * 1024)

static bool lz4_error(Error *err, ErrorCode code, const char *what, size_t rc)
{
    return error_set(err, code, "lz4: %s: %s", what, LZ4F_getErrorName(rc));
}

bool lz4_frame_append(Buf *out, const void *data, size_t len, int level, Error *err)
{
    LZ4F_preferences_t prefs = {.compressionLevel = level};
    prefs.frameInfo.blockSizeID = len > 64 * 1024 ? LZ4F_max256KB : LZ4F_max64KB;
    prefs.frameInfo.blockMode = LZ4F_blockIndependent;
    prefs.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    prefs.frameInfo.contentSize = len;
    size_t bound = LZ4F_compressFrameBound(len, &prefs);
    if (!buf_reserve(out, bound))
        return error_set(err, ERR_INTERNAL, "lz4: frame passes the buffer's ceiling");
    size_t n = LZ4F_compressFrame(out->data + out->len, bound, data, len, &prefs);
    if (LZ4F_isError(n))
        return lz4_error(err, ERR_INTERNAL, "compression failed", n);
    out->len += n;
    out->data[out->len] = '\0';
    return true;
}

bool lz4_frame_decode(const void *frame, size_t len, void *out, size_t expected, Error *err)
{
    LZ4F_dctx *ctx;
    size_t rc = LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION);
    if (LZ4F_isError(rc))
        return lz4_error(err, ERR_INTERNAL, "no decoder", rc);
    const char *in = frame;
    size_t used = 0, made = 0;
    do {
        size_t src = len - used, dst = expected - made;
        rc = LZ4F_decompress(ctx, (char *)out + made, &dst, in + used, &src, NULL);
        used += src;
        made += dst;
        if (src == 0 && dst == 0)
            break;
    } while (!LZ4F_isError(rc) && rc != 0);
    bool ok = true;
    if (LZ4F_isError(rc))
        ok = lz4_error(err, ERR_DAMAGED, "frame is damaged", rc);
    else if (rc != 0 || used != len || made != expected)
        ok = error_set(err, ERR_DAMAGED, "lz4: frame has not the size that it should have");
    LZ4F_freeDecompressionContext(ctx);
    return ok;
}

/* --- encoding stage --------------------------------------------------------------------------- */

typedef struct EncodeState {
    LZ4F_cctx *ctx;
    LZ4F_preferences_t prefs;
    char *out;
    size_t room;
    bool begun;
} EncodeState;

static bool encode_begin(EncodeState *s, Filter *next, Error *err)
{
    if (s->begun)
        return true;
    size_t n = LZ4F_compressBegin(s->ctx, s->out, s->room, &s->prefs);
    if (LZ4F_isError(n))
        return lz4_error(err, ERR_INTERNAL, "compression failed", n);
    s->begun = true;
    return filter_write(next, s->out, n, err);
}

static bool encode_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    EncodeState *s = state;
    const char *p = data;
    if (!encode_begin(s, next, err))
        return false;
    while (len > 0) {
        size_t part = len < CHUNK ? len : CHUNK;
        size_t n = LZ4F_compressUpdate(s->ctx, s->out, s->room, p, part, NULL);
        if (LZ4F_isError(n))
            return lz4_error(err, ERR_INTERNAL, "compression failed", n);
        if (!filter_write(next, s->out, n, err))
            return false;
        p += part;
        len -= part;
    }
    return true;
}

static bool encode_finish(void *state, Filter *next, Error *err)
{
    EncodeState *s = state;
    if (!encode_begin(s, next, err))
        return false;
    size_t n = LZ4F_compressEnd(s->ctx, s->out, s->room, NULL);
    if (LZ4F_isError(n))
        return lz4_error(err, ERR_INTERNAL, "compression failed", n);
    return filter_write(next, s->out, n, err);
}

static void encode_free(void *state)
{
    EncodeState *s = state;
    LZ4F_freeCompressionContext(s->ctx);
    free(s->out);
    free(s);
}

Filter *filter_lz4_encode(int level, Filter *next)
{
    static const FilterStage stage = {encode_write, encode_finish, encode_free};
    EncodeState *s = MEM_NEW(EncodeState);
    s->prefs.compressionLevel = level;
    s->prefs.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    s->room = LZ4F_compressBound(CHUNK, &s->prefs) + LZ4F_HEADER_SIZE_MAX;
    s->out = mem_new(s->room, 1);
    if (LZ4F_isError(LZ4F_createCompressionContext(&s->ctx, LZ4F_VERSION)))
        abort();
    return filter_new(&stage, s, next);
}

/* --- decoding stage --------------------------------------------------------------------------- */

typedef struct DecodeState {
    LZ4F_dctx *ctx;
    char *out;
    bool any;    /* some input came */
    bool inside; /* in the middle of a frame */
} DecodeState;

static bool decode_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    DecodeState *s = state;
    const char *p = data;
    size_t made = CHUNK;
    s->any = true;
    /* Output may be waiting in the decoder even when all input is taken. */
    while (len > 0 || made == CHUNK) {
        size_t src = len;
        made = CHUNK;
        size_t rc = LZ4F_decompress(s->ctx, s->out, &made, p, &src, NULL);
        if (LZ4F_isError(rc))
            return lz4_error(err, ERR_DAMAGED, "content is damaged", rc);
        if (src || made)
            s->inside = rc != 0;
        p += src;
        len -= src;
        if (!filter_write(next, s->out, made, err))
            return false;
    }
    return true;
}

static bool decode_finish(void *state, Filter *next, Error *err)
{
    (void)next;
    DecodeState *s = state;
    return (s->any && !s->inside) || error_set(err, ERR_DAMAGED, "lz4: content ends too early");
}

static void decode_free(void *state)
{
    DecodeState *s = state;
    LZ4F_freeDecompressionContext(s->ctx);
    free(s->out);
    free(s);
}

Filter *filter_lz4_decode(Filter *next)
{
    static const FilterStage stage = {decode_write, decode_finish, decode_free};
    DecodeState *s = MEM_NEW(DecodeState);
    s->out = mem_new(CHUNK, 1);
    if (LZ4F_isError(LZ4F_createDecompressionContext(&s->ctx, LZ4F_VERSION)))
        abort();
    return filter_new(&stage, s, next);
}
