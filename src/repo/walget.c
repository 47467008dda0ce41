#include "repo/walget.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "base/tempfile.h"
#include "pg/timeline.h"
#include "pg/walpage.h"
#include "stream/digest.h"
#include "stream/filter.h"

#define CHUNK         (256 * 1024)
#define HISTORY_LIMIT (1024u * 1024)

struct WalStream {
    WalObject object;
    StorageReader *reader;
    Filter *chain;
    Buf raw; /* decoded and not yet read */
    size_t taken;
    char *chunk;
    uint8_t digest[SHA256_BYTES];
    bool ended;
};

WalStream *walstream_open(Repo *repo, const WalObject *object, Error *err)
{
    StorageReader *reader = storage_reader_open(repo->storage, object->key, err);
    if (!reader)
        return NULL;
    WalStream *ws = MEM_NEW(WalStream);
    ws->object = *object;
    ws->reader = reader;
    ws->chunk = mem_new(CHUNK, 1);
    ws->chain = filter_lz4_decode(filter_sha256(ws->digest, filter_to_buf(&ws->raw)));
    return ws;
}

static bool stream_end(WalStream *ws, Error *err)
{
    char hex[SHA256_HEX];
    ws->ended = true;
    if (!filter_finish(ws->chain, err))
        return false;
    sha256_hex(ws->digest, hex);
    return strncmp(hex, ws->object.hash, 16) == 0 ||
           error_set(err, ERR_DAMAGED, "content has not the hash of its key");
}

/* Decodes some more into raw, which the caller has emptied. */
static bool stream_more(WalStream *ws, Error *err)
{
    size_t got;
    buf_clear(&ws->raw);
    ws->taken = 0;
    while (ws->raw.len == 0 && !ws->ended) {
        if (!interrupt_check(err) ||
            !storage_reader_read(ws->reader, ws->chunk, CHUNK, &got, err))
            return false;
        if (got == 0 ? !stream_end(ws, err) : !filter_write(ws->chain, ws->chunk, got, err)) {
            error_prefix(err, "%s", ws->object.key);
            return false;
        }
    }
    return true;
}

bool walstream_read(WalStream *ws, void *data, size_t len, size_t *got, Error *err)
{
    *got = 0;
    while (*got < len) {
        size_t have = ws->raw.len - ws->taken;
        if (have == 0) {
            if (!stream_more(ws, err))
                return false;
            have = ws->raw.len;
            if (have == 0)
                break;
        }
        size_t n = len - *got < have ? len - *got : have;
        memcpy((char *)data + *got, ws->raw.data + ws->taken, n);
        ws->taken += n;
        *got += n;
    }
    return true;
}

void walstream_close(WalStream *ws)
{
    if (!ws)
        return;
    storage_reader_close(ws->reader);
    filter_free(ws->chain);
    buf_free(&ws->raw);
    free(ws->chunk);
    free(ws);
}

/* Copies the stream into `fd`, checking header and size of segments. */
static bool copy_stream(WalStream *ws, Repo *repo, int fd, const char *dest, Error *err)
{
    const WalName *name = &ws->object.name;
    bool segment = name->kind == WALNAME_SEGMENT || name->kind == WALNAME_PARTIAL;
    WalPageHeader page = {0};
    uint64_t total = 0;
    size_t got;
    char *chunk = mem_new(CHUNK, 1);
    bool ok;
    do {
        ok = walstream_read(ws, chunk, CHUNK, &got, err);
        if (ok && total == 0 && segment &&
            (!walpage_parse_first(chunk, got, &page, err) ||
             !walpage_check_segment(&page, name, repo->sysid, err))) {
            ok = error_prefix(err, "%s", ws->object.key);
            err->code = ERR_DAMAGED;
        }
        ok = ok && fs_write(fd, chunk, got, dest, err);
        total += got;
    } while (ok && got > 0);
    free(chunk);
    if (ok && segment && total != page.seg_size)
        ok = error_set(err, ERR_DAMAGED, "%s holds %llu bytes of a segment of %u",
                       ws->object.key, (unsigned long long)total, page.seg_size);
    return ok;
}

static bool history_file(Repo *repo, uint32_t tli, const char *dest, Error *err)
{
    Buf text;
    buf_init_max(&text, HISTORY_LIMIT);
    bool ok = walget_history(repo, tli, &text, err) &&
              fs_write_file(dest, text.data, text.len, 0600, err);
    buf_free(&text);
    return ok;
}

bool walget_file(Repo *repo, const WalObject *object, const char *dest, Error *err)
{
    if (object->name.kind == WALNAME_HISTORY)
        return history_file(repo, object->name.tli, dest, err);
    WalStream *ws = walstream_open(repo, object, err);
    if (!ws)
        return false;
    char *dir = fs_parent(dest);
    TempFile temp;
    bool ok = tempfile_open(&temp, dir, 0600, err);
    if (ok) {
        ok = copy_stream(ws, repo, temp.fd, dest, err) && tempfile_publish_over(&temp, dest, err);
        tempfile_discard(&temp);
    }
    free(dir);
    walstream_close(ws);
    return ok;
}

bool walget_history(Repo *repo, uint32_t tli, Buf *out, Error *err)
{
    char key[REPO_MAX_KEY];
    TimelineHistory history;
    walkey_history(repo, tli, key);
    size_t start = out->len;
    if (!storage_get(repo->storage, key, out, err))
        return false;
    if (!timeline_history_parse(tli, out->data + start, out->len - start, &history, err)) {
        error_prefix(err, "%s", key);
        err->code = ERR_DAMAGED;
        return false;
    }
    timeline_history_free(&history);
    return true;
}
