/*
 * storage.h: an object store: keys and bytes, nothing of PostgreSQL.
 *
 * A key is a relative path of plain characters ("v1/main/15-7/wal/…"), a prefix any beginning of a
 * key. Objects are written once and never changed: there is no call that overwrites one. An object
 * is there whole or not at all, and durable when a put returns. Listings are in byte order.
 *
 * What a driver must offer is struct StorageDriver (storage_driver.h); nothing above this folder
 * knows which one it talks to. A Storage may be used by any number of threads at once; readers and
 * listings belong to one thread.
 *
 * Errors: ERR_NO means that the store answered and the object is not there. Everything doubtful (a
 * root directory that is missing, a refusal, an I/O error) is ERR_REPO and never ERR_NO; err->denied
 * tells a refusal for want of permission from the others.
 */
#ifndef PITR_STORAGE_STORAGE_H
#define PITR_STORAGE_STORAGE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"

typedef struct Storage Storage;
typedef struct StoragePut StoragePut;
typedef struct StorageReader StorageReader;

typedef enum StorageAddressing { ADDRESSING_AUTO, ADDRESSING_PATH, ADDRESSING_VIRTUAL } StorageAddressing;
typedef enum StorageSse { SSE_NONE, SSE_AES256, SSE_KMS } StorageSse;
typedef enum StorageChecksum { CHECKSUM_SHA256, CHECKSUM_MD5, CHECKSUM_NONE } StorageChecksum;

/* All zero but name and url is a sensible store. The strings are copied. */
typedef struct StorageOptions {
    const char *name; /* for messages: the repository's name */
    const char *url;  /* file:///absolute/path or s3://bucket/prefix */
    int64_t io_timeout; /* microseconds that one operation may go on failing; 0: 5 minutes */
    Instant as_of;      /* read a versioned store as it stood then; 0: now */
    /* The rest concerns object stores. NULL: not set. */
    const char *endpoint, *region, *ca_file, *profile, *credentials_file;
    const char *storage_class, *kms_key, *tags; /* tags: "name=value, name=value" */
    StorageAddressing addressing;
    StorageSse sse;
    StorageChecksum checksum;
    bool unsigned_payload, requester_pays;
    size_t part_size; /* bytes of a part of a large upload; 0: 16 MiB */
    int max_parts;    /* parts that the server takes; 0: 10,000 */
} StorageOptions;

typedef struct StorageObject {
    const char *key;
    uint64_t size;
    int64_t modified; /* microseconds since 1970, the store's clock */
    bool cold;        /* in a class that can't be read before storage_thaw() */
} StorageObject;

/* Opens a store. Nothing is contacted or made yet. ERR_USAGE for a URL that no driver serves and
 * for options that can't be. */
Storage *storage_open(const StorageOptions *options, Error *err);
void storage_close(Storage *st);

/* The options of the configuration's repository number `repo`; they live as long as it. */
void storage_options(const Config *config, int repo, StorageOptions *out);

/* Names of environment variables that this store depends on, "AWS_PROFILE, AWS_REGION"; "" for
 * none. A process with another environment, such as a server's hook, needs them too. */
const char *storage_environment(const Storage *st);

/* No operation retries beyond this moment (0: none): for callers with a budget of their own. */
void storage_set_deadline(Storage *st, Instant deadline);

/* Makes the store ready for a first write (a directory: makes it, durably). Writers call it before
 * they list; for readers a store that is not there must stay an error. */
bool storage_prepare(Storage *st, Error *err);

/* The URL, for messages. */
const char *storage_url(const Storage *st);

/* Stores `data` under `key` unless an object is there already; then *existed is set, the stored
 * one is untouched (and made durable) and the result is true. Where the answer to a first attempt
 * was lost, the object that exists may be this call's own: callers compare, or use keys whose
 * content follows from the name. `sha256`: the data's digest in hexadecimal where the caller has it
 * already, else NULL. */
bool storage_put(Storage *st, const char *key, const void *data, size_t len, const char *sha256,
                 bool *existed, Error *err);

/* The same for an object that comes in pieces. After begin, exactly one of finish and abort, both
 * of which free the put; finish aborts by itself when it fails. `expected` is about how many bytes
 * will come, 0 if nobody knows: a store that takes a limited number of parts cuts them by it. */
StoragePut *storage_put_begin(Storage *st, const char *key, uint64_t expected, Error *err);
bool storage_put_write(StoragePut *put, const void *data, size_t len, Error *err);
bool storage_put_finish(StoragePut *put, bool *existed, Error *err);
void storage_put_abort(StoragePut *put);

/* Appends a whole object to `out` (whose ceiling holds). */
bool storage_get(Storage *st, const char *key, Buf *out, Error *err);

/* Reads `length` bytes from `offset`; less in the store is ERR_DAMAGED. */
bool storage_get_range(Storage *st, const char *key, uint64_t offset, size_t length, void *out,
                       Error *err);

/* Reads an object from its beginning, in pieces; *got is 0 at its end. */
StorageReader *storage_reader_open(Storage *st, const char *key, Error *err);
bool storage_reader_read(StorageReader *reader, void *data, size_t len, size_t *got, Error *err);
void storage_reader_close(StorageReader *reader);

/* Size and time of an object; ERR_NO if it is not there. object->key is `key`. */
bool storage_head(Storage *st, const char *key, StorageObject *object, Error *err);

/* Called for each object, in byte order of the keys; `object` lives during the call. Returning
 * false ends the listing, which then returns false with the callback's error; to end it without
 * one, set *stop. */
typedef bool (*StorageListCallback)(void *ctx, const StorageObject *object, bool *stop,
                                    Error *err);

/* Lists the objects whose keys begin with `prefix` and sort behind `after` (NULL: all). No object
 * is no error; a store that is not there is (ERR_REPO). */
bool storage_list(Storage *st, const char *prefix, const char *after, StorageListCallback callback,
                  void *ctx, Error *err);

/* Called for each distinct name between `prefix` (which ends in '/') and the next '/'. */
typedef bool (*StorageNameCallback)(void *ctx, const char *name, Error *err);
bool storage_list_names(Storage *st, const char *prefix, StorageNameCallback callback, void *ctx,
                        Error *err);

/* Removes an object; none there is no error. */
bool storage_delete(Storage *st, const char *key, Error *err);

/* Removes many, in as few requests as the store can. The first refusal is the result; the others
 * are tried all the same. */
bool storage_delete_many(Storage *st, const char *const *keys, size_t count, Error *err);

/* Cold objects. *ready: it can be read now. Otherwise its return is asked for (tier "Standard",
 * "Bulk" or "Expedited", kept for `days`) unless that has been done already. */
bool storage_thaw(Storage *st, const char *key, const char *tier, int days, bool *ready,
                  Error *err);

/* What a look at the store found, one call for each finding. */
typedef enum StorageFinding { FINDING_GOOD, FINDING_NOTE, FINDING_BAD } StorageFinding;
typedef void (*StorageCheckCallback)(void *ctx, StorageFinding finding, const char *what,
                                     const char *hint);

/* Tries what writing and reading need, and looks for settings of the store that would harm a
 * repository (deletion by age, say). False only where the store can't be reached at all. */
bool storage_check(Storage *st, StorageCheckCallback callback, void *ctx, Error *err);

#endif
