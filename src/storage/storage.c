#include "storage/storage.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/storage_driver.h"

struct Storage {
    const StorageDriver *driver;
    void *state;
    char *url;
    bool past; /* read as of an earlier moment */
};

struct StoragePut {
    const StorageDriver *driver;
    void *state;
};

struct StorageReader {
    const StorageDriver *driver;
    void *state;
};

static const StorageDriver *const drivers[] = {&storage_file_driver, &storage_s3_driver};

Storage *storage_open(const StorageOptions *options, Error *err)
{
    const char *colon = strstr(options->url, "://");
    for (size_t i = 0; colon && i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        size_t len = (size_t)(colon - options->url);
        if (strlen(drivers[i]->scheme) != len || strncmp(drivers[i]->scheme, options->url, len))
            continue;
        if (options->as_of && !drivers[i]->as_of) {
            error_set(err, ERR_USAGE, "repository %s: only a versioned bucket can be read as of an "
                      "earlier moment, %s can't", options->name, options->url);
            return NULL;
        }
        void *state = drivers[i]->open(options, err);
        if (!state)
            return NULL;
        Storage *st = MEM_NEW(Storage);
        *st = (Storage){drivers[i], state, mem_strdup(options->url), options->as_of != 0};
        return st;
    }
    error_set(err, ERR_USAGE, "repository %s: no such kind of URL: %s", options->name,
              options->url);
    error_hint(err, "write url = file:///absolute/path or url = s3://bucket/prefix");
    return NULL;
}

const char *storage_environment(const Storage *st)
{
    return st->driver->environment ? st->driver->environment(st->state) : "";
}

void storage_set_deadline(Storage *st, Instant deadline)
{
    if (st->driver->set_deadline)
        st->driver->set_deadline(st->state, deadline);
}

void storage_close(Storage *st)
{
    if (!st)
        return;
    st->driver->close(st->state);
    free(st->url);
    free(st);
}

bool storage_prepare(Storage *st, Error *err)
{
    return st->driver->prepare(st->state, err);
}

const char *storage_url(const Storage *st)
{
    return st->url;
}

/* Keys are made from outside names here and there: one place refuses what could leave the root. */
static bool check_key(const char *key, bool is_prefix, Error *err)
{
    size_t len = strlen(key);
    bool bad = len > 1000 || key[0] == '/' || (!is_prefix && (len == 0 || key[len - 1] == '/'));
    for (const char *part = key; !bad && *part;) {
        size_t n = strcspn(part, "/");
        bad = n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.');
        part += n + (part[n] == '/');
    }
    return !bad || error_set(err, ERR_INTERNAL, "bad object key \"%s\"", key);
}

static bool check_write(const Storage *st, const char *key, Error *err)
{
    if (st->past)
        return error_set(err, ERR_USAGE, "%s is read as of an earlier moment: nothing can be "
                         "written", st->url);
    return check_key(key, false, err);
}

bool storage_put(Storage *st, const char *key, const void *data, size_t len, const char *sha256,
                 bool *existed, Error *err)
{
    if (st->driver->put)
        return check_write(st, key, err) &&
               st->driver->put(st->state, key, data, len, sha256, existed, err);
    StoragePut *put = storage_put_begin(st, key, len, err);
    if (!put)
        return false;
    if (!storage_put_write(put, data, len, err)) {
        storage_put_abort(put);
        return false;
    }
    return storage_put_finish(put, existed, err);
}

StoragePut *storage_put_begin(Storage *st, const char *key, uint64_t expected, Error *err)
{
    if (!check_write(st, key, err))
        return NULL;
    void *state = st->driver->put_begin(st->state, key, expected, err);
    if (!state)
        return NULL;
    StoragePut *put = MEM_NEW(StoragePut);
    *put = (StoragePut){st->driver, state};
    return put;
}

bool storage_put_write(StoragePut *put, const void *data, size_t len, Error *err)
{
    return put->driver->put_write(put->state, data, len, err);
}

bool storage_put_finish(StoragePut *put, bool *existed, Error *err)
{
    bool ok = put->driver->put_finish(put->state, existed, err);
    free(put);
    return ok;
}

void storage_put_abort(StoragePut *put)
{
    if (!put)
        return;
    put->driver->put_abort(put->state);
    free(put);
}

bool storage_get(Storage *st, const char *key, Buf *out, Error *err)
{
    StorageReader *reader = storage_reader_open(st, key, err);
    if (!reader)
        return false;
    char chunk[32768];
    size_t got = 0;
    bool ok;
    do {
        ok = storage_reader_read(reader, chunk, sizeof(chunk), &got, err);
        if (ok && !buf_append(out, chunk, got))
            ok = error_set(err, ERR_DAMAGED, "object %s in %s is larger than it may be", key,
                           st->url);
    } while (ok && got > 0);
    storage_reader_close(reader);
    return ok;
}

bool storage_get_range(Storage *st, const char *key, uint64_t offset, size_t length, void *out,
                       Error *err)
{
    if (!check_key(key, false, err))
        return false;
    void *reader = st->driver->reader_open(st->state, key, offset, length, err);
    if (!reader)
        return false;
    size_t have = 0, got = 1;
    bool ok = true;
    while (ok && have < length && got > 0) {
        ok = st->driver->reader_read(reader, (char *)out + have, length - have, &got, err);
        have += ok ? got : 0;
    }
    st->driver->reader_close(reader);
    if (ok && have < length)
        ok = error_set(err, ERR_DAMAGED, "object %s in %s ends before byte %llu", key, st->url,
                       (unsigned long long)(offset + length));
    return ok;
}

StorageReader *storage_reader_open(Storage *st, const char *key, Error *err)
{
    if (!check_key(key, false, err))
        return NULL;
    void *state = st->driver->reader_open(st->state, key, 0, 0, err);
    if (!state)
        return NULL;
    StorageReader *reader = MEM_NEW(StorageReader);
    *reader = (StorageReader){st->driver, state};
    return reader;
}

bool storage_reader_read(StorageReader *reader, void *data, size_t len, size_t *got, Error *err)
{
    return reader->driver->reader_read(reader->state, data, len, got, err);
}

void storage_reader_close(StorageReader *reader)
{
    if (!reader)
        return;
    reader->driver->reader_close(reader->state);
    free(reader);
}

bool storage_head(Storage *st, const char *key, StorageObject *object, Error *err)
{
    return check_key(key, false, err) && st->driver->head(st->state, key, object, err);
}

bool storage_list(Storage *st, const char *prefix, const char *after, StorageListCallback callback,
                  void *ctx, Error *err)
{
    return check_key(prefix, true, err) &&
           st->driver->list(st->state, prefix, after, callback, ctx, err);
}

bool storage_list_names(Storage *st, const char *prefix, StorageNameCallback callback, void *ctx,
                        Error *err)
{
    return check_key(prefix, true, err) &&
           st->driver->list_names(st->state, prefix, callback, ctx, err);
}

bool storage_delete(Storage *st, const char *key, Error *err)
{
    return check_write(st, key, err) && st->driver->remove(st->state, key, err);
}

bool storage_delete_many(Storage *st, const char *const *keys, size_t count, Error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!check_write(st, keys[i], err))
            return false;
    if (st->driver->remove_many)
        return count == 0 || st->driver->remove_many(st->state, keys, count, err);
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        Error one;
        if (!st->driver->remove(st->state, keys[i], &one) && ok) {
            ok = false;
            *err = one;
        }
    }
    return ok;
}

bool storage_thaw(Storage *st, const char *key, const char *tier, int days, bool *ready,
                  Error *err)
{
    *ready = true;
    return check_key(key, false, err) &&
           (!st->driver->thaw || st->driver->thaw(st->state, key, tier, days, ready, err));
}

bool storage_check(Storage *st, StorageCheckCallback callback, void *ctx, Error *err)
{
    return !st->driver->check || st->driver->check(st->state, callback, ctx, err);
}

void storage_options(const Config *config, int repo, StorageOptions *out)
{
    *out = (StorageOptions){
        .name = config_repo_name(config, repo),
        .url = config_repo_text(config, repo, OPT_URL),
        .io_timeout = config_repo_number(config, repo, OPT_IO_TIMEOUT),
        .endpoint = config_repo_text(config, repo, OPT_ENDPOINT),
        .region = config_repo_text(config, repo, OPT_REGION),
        .ca_file = config_repo_text(config, repo, OPT_CA_FILE),
        .profile = config_repo_text(config, repo, OPT_PROFILE),
        .credentials_file = config_repo_text(config, repo, OPT_CREDENTIALS_FILE),
        .storage_class = config_repo_text(config, repo, OPT_STORAGE_CLASS),
        .kms_key = config_repo_text(config, repo, OPT_KMS_KEY),
        .tags = config_repo_text(config, repo, OPT_TAGS),
        .addressing = (StorageAddressing)config_repo_number(config, repo, OPT_ADDRESSING),
        .sse = (StorageSse)config_repo_number(config, repo, OPT_SSE),
        .checksum = (StorageChecksum)config_repo_number(config, repo, OPT_UPLOAD_CHECKSUM),
        .unsigned_payload = !config_repo_flag(config, repo, OPT_SIGN_PAYLOAD),
        .requester_pays = config_repo_flag(config, repo, OPT_REQUESTER_PAYS),
        .part_size = (size_t)config_repo_number(config, repo, OPT_PART_SIZE),
        .max_parts = (int)config_repo_number(config, repo, OPT_MAX_PARTS),
    };
}
