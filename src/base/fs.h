/*
 * fs.h: files and directories, with durability said in each function's contract.
 *
 * Paths are plain strings. EINTR is retried. Errors are ERR_INTERNAL with the path and errno's text
 * unless said otherwise; callers for whom a path is the repository raise the code. Thread-safe.
 */
#ifndef PITR_BASE_FS_H
#define PITR_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Writes all `len` bytes to `fd`; `path` is for the message. */
bool fs_write(int fd, const void *data, size_t len, const char *path, Error *err);
bool fs_pwrite(int fd, const void *data, size_t len, uint64_t offset, const char *path, Error *err);

/* Reads up to `len` bytes, fewer only at the end of the file; `*got` says how many. */
bool fs_read(int fd, void *data, size_t len, size_t *got, const char *path, Error *err);
bool fs_pread(int fd, void *data, size_t len, uint64_t offset, size_t *got, const char *path,
              Error *err);

/* Appends a whole file to `out`; a file that passes out's ceiling is an error. ERR_NO if there is
 * no such file. */
bool fs_read_file(const char *path, Buf *out, Error *err);

/* Makes `path` hold `data`, durably: temporary file, fsync, rename, fsync of the directory. */
bool fs_write_file(const char *path, const void *data, size_t len, mode_t mode, Error *err);

/* Makes `path` and what is missing above it with `mode`, durably as far as the directories above can
 * be read; existing directories are left alone. */
bool fs_mkdirs(const char *path, mode_t mode, Error *err);

/* fsync of one directory. */
bool fs_sync_dir(const char *path, Error *err);

/* fsync of `path` and the directories above it up to and including `top`, a prefix of it. */
bool fs_sync_dirs_up(const char *path, const char *top, Error *err);

/* syncfs() of the file system that holds `path`: all of it is durable on return. */
bool fs_sync_filesystem(const char *path, Error *err);

/* "a/b", one slash between; the caller frees. */
char *fs_join(const char *a, const char *b);

/* The part of `path` before its last '/', "." if there is none, "/" for "/x"; the caller frees. */
char *fs_parent(const char *path);

/* An absolute, symlink-free form; what does not exist yet is appended as it stands. The caller
 * frees; never NULL. */
char *fs_resolve(const char *path);

bool fs_exists(const char *path);

/* Removes a file; no file is no error. */
bool fs_remove(const char *path, Error *err);

/* Removes all that is inside a directory, following no link. */
bool fs_empty_dir(const char *path, Error *err);

/* True if the directory has no entry but . and ..; ERR_NO if it is not there. */
bool fs_dir_is_empty(const char *path, bool *empty, Error *err);

#endif
