/*
 * storage_driver.h: what a driver offers to storage.c. Contracts are those of storage.h; keys that
 * arrive here are already checked (relative, no "..", no empty part).
 */
#ifndef PITR_STORAGE_STORAGE_DRIVER_H
#define PITR_STORAGE_STORAGE_DRIVER_H

#include "storage/storage.h"

typedef struct StorageDriver {
    const char *scheme; /* "file" serves file://… */
    bool as_of;         /* can read the past */
    void *(*open)(const StorageOptions *options, Error *err);
    void (*close)(void *driver);
    bool (*prepare)(void *driver, Error *err);

    void *(*put_begin)(void *driver, const char *key, uint64_t expected, Error *err);
    bool (*put_write)(void *put, const void *data, size_t len, Error *err);
    bool (*put_finish)(void *put, bool *existed, Error *err);
    void (*put_abort)(void *put);
    /* Optional: a whole object at once; NULL: begin, write, finish. */
    bool (*put)(void *driver, const char *key, const void *data, size_t len, const char *sha256,
                bool *existed, Error *err);

    /* `length` bytes from `offset`; 0: to the end. */
    void *(*reader_open)(void *driver, const char *key, uint64_t offset, uint64_t length,
                         Error *err);
    bool (*reader_read)(void *reader, void *data, size_t len, size_t *got, Error *err);
    void (*reader_close)(void *reader);

    bool (*head)(void *driver, const char *key, StorageObject *object, Error *err);
    bool (*list)(void *driver, const char *prefix, const char *after, StorageListCallback callback,
                 void *ctx, Error *err);
    bool (*list_names)(void *driver, const char *prefix, StorageNameCallback callback, void *ctx,
                       Error *err);
    bool (*remove)(void *driver, const char *key, Error *err);

    /* Optional. */
    bool (*remove_many)(void *driver, const char *const *keys, size_t count, Error *err);
    bool (*thaw)(void *driver, const char *key, const char *tier, int days, bool *ready, Error *err);
    bool (*check)(void *driver, StorageCheckCallback callback, void *ctx, Error *err);
    void (*set_deadline)(void *driver, Instant deadline);
    const char *(*environment)(const void *driver);
} StorageDriver;

extern const StorageDriver storage_file_driver;
extern const StorageDriver storage_s3_driver;

#endif
