/*
 * storage_driver.h: what a driver offers to storage.c. Contracts are those of storage.h; keys that
 * arrive here are already checked (relative, no "..", no empty part).
 */
#ifndef PITR_STORAGE_STORAGE_DRIVER_H
#define PITR_STORAGE_STORAGE_DRIVER_H

#include "storage/storage.h"

typedef struct StorageDriver {
    const char *scheme; /* "file" serves file://… */
    void *(*open)(const StorageOptions *options, Error *err);
    void (*close)(void *driver);
    bool (*prepare)(void *driver, Error *err);

    void *(*put_begin)(void *driver, const char *key, Error *err);
    bool (*put_write)(void *put, const void *data, size_t len, Error *err);
    bool (*put_finish)(void *put, bool *existed, Error *err);
    void (*put_abort)(void *put);
    /* Optional: a whole object at once; NULL: begin, write, finish. */
    bool (*put)(void *driver, const char *key, const void *data, size_t len, bool *existed,
                Error *err);

    void *(*reader_open)(void *driver, const char *key, uint64_t offset, Error *err);
    bool (*reader_read)(void *reader, void *data, size_t len, size_t *got, Error *err);
    void (*reader_close)(void *reader);

    bool (*head)(void *driver, const char *key, StorageObject *object, Error *err);
    bool (*list)(void *driver, const char *prefix, const char *after, StorageListCallback callback,
                 void *ctx, Error *err);
    bool (*list_names)(void *driver, const char *prefix, StorageNameCallback callback, void *ctx,
                       Error *err);
    bool (*remove)(void *driver, const char *key, Error *err);
} StorageDriver;

extern const StorageDriver storage_file_driver;

#endif
