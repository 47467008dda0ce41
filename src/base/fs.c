#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/tempfile.h"

bool fs_write(int fd, const void *data, size_t len, const char *path, Error *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, ERR_INTERNAL, "can't write %s", path);
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool fs_pwrite(int fd, const void *data, size_t len, uint64_t offset, const char *path, Error *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, ERR_INTERNAL, "can't write %s", path);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

bool fs_read(int fd, void *data, size_t len, size_t *got, const char *path, Error *err)
{
    char *p = data;
    *got = 0;
    while (*got < len) {
        ssize_t n = read(fd, p + *got, len - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, ERR_INTERNAL, "can't read %s", path);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return true;
}

bool fs_pread(int fd, void *data, size_t len, uint64_t offset, size_t *got, const char *path,
              Error *err)
{
    char *p = data;
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(fd, p + *got, len - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, ERR_INTERNAL, "can't read %s", path);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return true;
}

bool fs_read_file(const char *path, Buf *out, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno == ENOENT || errno == ENOTDIR ? ERR_NO : ERR_INTERNAL,
                           "can't open %s", path);
    bool ok = false;
    for (;;) {
        size_t room = 64 * 1024, got;
        if (out->max && out->max - out->len < room)
            room = out->max - out->len + 1; /* one byte more shows that the file is too large */
        char *chunk = mem_new(room, 1);
        ok = fs_read(fd, chunk, room, &got, path, err);
        if (ok && !buf_append(out, chunk, got))
            ok = error_set(err, ERR_INTERNAL, "%s is larger than the %zu bytes expected at most",
                           path, out->max);
        free(chunk);
        if (!ok || got < room)
            break;
    }
    close(fd);
    return ok;
}

bool fs_write_file(const char *path, const void *data, size_t len, mode_t mode, Error *err)
{
    char *dir = fs_parent(path);
    TempFile tmp;
    bool ok = tempfile_open(&tmp, dir, mode, err);
    if (ok) {
        ok = fs_write(tmp.fd, data, len, path, err) && tempfile_publish_over(&tmp, path, err);
        tempfile_discard(&tmp);
    }
    free(dir);
    return ok;
}

/* Best effort: a parent that we may use but not read can't be synced. */
static bool sync_parent(const char *path)
{
    Error ignored;
    char *parent = fs_parent(path);
    fs_sync_dir(parent, &ignored);
    free(parent);
    return true;
}

bool fs_mkdirs(const char *path, mode_t mode, Error *err)
{
    if (mkdir(path, mode) == 0)
        return sync_parent(path);
    int saved = errno;
    struct stat st;
    if (saved == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    if (saved == ENOENT) {
        char *parent = fs_parent(path);
        bool ok = strcmp(parent, path) != 0 && fs_mkdirs(parent, mode, err);
        free(parent);
        if (!ok)
            return false;
        if (mkdir(path, mode) == 0)
            return sync_parent(path);
        if (errno == EEXIST)
            return true;
        saved = errno;
    }
    errno = saved;
    return error_errno(err, ERR_INTERNAL, "can't make directory %s", path);
}

bool fs_sync_dir(const char *path, Error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, ERR_INTERNAL, "can't open directory %s", path);
    /* Some file systems refuse fsync on a directory; PostgreSQL lets these pass too (fd.c). */
    bool ok = fsync(fd) == 0 || errno == EBADF || errno == EINVAL;
    if (!ok)
        error_errno(err, ERR_INTERNAL, "can't fsync directory %s", path);
    close(fd);
    return ok;
}

bool fs_sync_dirs_up(const char *path, const char *top, Error *err)
{
    char *dir = mem_strdup(path);
    bool ok = true;
    for (;;) {
        ok = fs_sync_dir(dir, err);
        if (!ok || strlen(dir) <= strlen(top))
            break;
        char *parent = fs_parent(dir);
        free(dir);
        dir = parent;
    }
    free(dir);
    return ok;
}

bool fs_sync_filesystem(const char *path, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, ERR_INTERNAL, "can't open %s", path);
    bool ok = syncfs(fd) == 0;
    if (!ok)
        error_errno(err, ERR_INTERNAL, "can't sync the file system of %s", path);
    close(fd);
    return ok;
}

char *fs_join(const char *a, const char *b)
{
    size_t len = strlen(a);
    return mem_printf("%s%s%s", a, len && a[len - 1] == '/' ? "" : "/", b);
}

char *fs_parent(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    if (len == 0)
        return mem_strdup(".");
    while (len > 1 && path[len - 1] == '/')
        len--;
    return mem_strndup(path, len);
}

char *fs_resolve(const char *path)
{
    char *real = realpath(path, NULL);
    if (real)
        return real;
    char *parent = fs_parent(path);
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    char *above, *result;
    if (strcmp(parent, path) == 0) {
        above = mem_strdup(path);
    } else if (strcmp(parent, ".") == 0) {
        above = realpath(".", NULL);
        if (!above)
            above = mem_strdup(".");
    } else {
        above = fs_resolve(parent);
    }
    result = *base ? fs_join(above, base) : mem_strdup(above);
    free(above);
    free(parent);
    return result;
}

bool fs_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool fs_remove(const char *path, Error *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return true;
    return error_errno(err, ERR_INTERNAL, "can't remove %s", path);
}

bool fs_empty_dir(const char *path, Error *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return error_errno(err, ERR_INTERNAL, "can't open directory %s", path);
    bool ok = true;
    struct dirent *entry;
    while (ok && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *sub = fs_join(path, entry->d_name);
        struct stat st;
        if (lstat(sub, &st) != 0) {
            ok = errno == ENOENT || error_errno(err, ERR_INTERNAL, "can't look at %s", sub);
        } else if (S_ISDIR(st.st_mode)) {
            ok = fs_empty_dir(sub, err);
            if (ok && rmdir(sub) != 0)
                ok = error_errno(err, ERR_INTERNAL, "can't remove directory %s", sub);
        } else {
            ok = fs_remove(sub, err);
        }
        free(sub);
    }
    closedir(dir);
    return ok;
}

bool fs_dir_is_empty(const char *path, bool *empty, Error *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return error_errno(err, errno == ENOENT ? ERR_NO : ERR_INTERNAL, "can't open directory %s",
                           path);
    struct dirent *entry;
    *empty = true;
    while (*empty && (entry = readdir(dir)) != NULL)
        *empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    return true;
}
