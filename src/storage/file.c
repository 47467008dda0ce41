/*
 * file.c: the driver for file:///absolute/path, the embedded default.
 *
 * An object is a file, a key its path below the root. A put writes an unnamed file in the final
 * directory, fsyncs it, gives it its name by link() (which never replaces) and fsyncs every
 * directory up to the root: after a put that finds the object there, too, because the run that made
 * it may have died before it synced them. A root that is not there makes every read fail with
 * ERR_REPO: it may be a file system that is not mounted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/tempfile.h"
#include "storage/storage_driver.h"

#define DIR_MODE  0750
#define FILE_MODE 0640

typedef struct FileStore {
    char *root;
} FileStore;

typedef struct FilePut {
    FileStore *store;
    char *path;
    char *dir;
    TempFile temp;
} FilePut;

typedef struct FileReader {
    int fd;
    char *path;
} FileReader;

/* Floor 1 calls every failing system call ERR_INTERNAL; here it is the repository that fails. */
static bool as_repo_error(Error *err)
{
    int saved = errno;
    if (err->code == ERR_INTERNAL)
        err->code = ERR_REPO;
    if (saved == ENOSPC || saved == EDQUOT)
        error_hint(err, "the repository's file system is full: free space there; nothing was lost, "
                        "PostgreSQL keeps its WAL until it is archived");
    else if (saved == EACCES || saved == EPERM)
        error_hint(err, "the user that runs pitr (PostgreSQL's, for archive_command) must own the "
                        "repository's directory");
    return false;
}

static bool repo_errno(Error *err, const char *what, const char *path)
{
    error_errno(err, ERR_INTERNAL, "repository: can't %s %s", what, path);
    return as_repo_error(err);
}

static void *file_open(const StorageOptions *options, Error *err)
{
    const char *path = options->url + strlen("file://");
    if (path[0] != '/') {
        error_set(err, ERR_USAGE, "repository %s: %s has no absolute path", options->name,
                  options->url);
        error_hint(err, "write three slashes: file:///var/lib/pitr");
        return NULL;
    }
    FileStore *store = MEM_NEW(FileStore);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    store->root = mem_strndup(path, len);
    return store;
}

static void file_close(void *driver)
{
    FileStore *store = driver;
    free(store->root);
    free(store);
}

static bool file_prepare(void *driver, Error *err)
{
    FileStore *store = driver;
    char *above = fs_parent(store->root);
    /* Only the last part: where more is missing, a file system is probably not mounted. */
    bool ok = fs_exists(store->root) || fs_exists(above);
    if (!ok) {
        error_set(err, ERR_REPO, "repository: there is no directory %s", above);
        error_hint(err, "is its file system mounted, is the URL right? pitr makes only the last part "
                        "of the path");
    } else {
        ok = fs_mkdirs(store->root, DIR_MODE, err) || as_repo_error(err);
    }
    free(above);
    return ok;
}

/* --- writing --------------------------------------------------------------------------------- */

static void free_put(FilePut *put)
{
    tempfile_discard(&put->temp);
    free(put->path);
    free(put->dir);
    free(put);
}

static void *file_put_begin(void *driver, const char *key, uint64_t expected, Error *err)
{
    (void)expected;
    FilePut *put = MEM_NEW(FilePut);
    put->store = driver;
    put->temp.fd = -1;
    put->path = fs_join(put->store->root, key);
    put->dir = fs_parent(put->path);
    if (!fs_mkdirs(put->dir, DIR_MODE, err) ||
        !tempfile_open(&put->temp, put->dir, FILE_MODE, err)) {
        as_repo_error(err);
        free_put(put);
        return NULL;
    }
    return put;
}

static bool file_put_write(void *state, const void *data, size_t len, Error *err)
{
    FilePut *put = state;
    return fs_write(put->temp.fd, data, len, put->path, err) || as_repo_error(err);
}

static bool sync_directories(const FilePut *put, Error *err)
{
    if (!fs_sync_dirs_up(put->dir, put->store->root, err))
        return false;
    /* The root's own entry; its parent may be closed to us, and is the operator's then. */
    char *above = fs_parent(put->store->root);
    Error ignored;
    fs_sync_dir(above, &ignored);
    free(above);
    return true;
}

static bool file_put_finish(void *state, bool *existed, Error *err)
{
    FilePut *put = state;
    struct stat st;
    bool ok = tempfile_publish_new(&put->temp, put->path, existed, err);
    if (ok && *existed && (stat(put->path, &st) != 0 || !S_ISREG(st.st_mode)))
        ok = error_set(err, ERR_REPO, "repository: %s is in the way and is no object", put->path);
    ok = ok && sync_directories(put, err);
    if (!ok)
        as_repo_error(err);
    free_put(put);
    return ok;
}

static void file_put_abort(void *state)
{
    free_put(state);
}

/* --- reading --------------------------------------------------------------------------------- */

/* A missing path proves that the object is absent only while the root is there. */
static bool missing(const FileStore *store, const char *what, const char *path, Error *err)
{
    int saved = errno;
    struct stat st;
    if ((saved == ENOENT || saved == ENOTDIR) && stat(store->root, &st) == 0 &&
        S_ISDIR(st.st_mode)) {
        errno = saved;
        return error_errno(err, ERR_NO, "repository: can't %s %s", what, path);
    }
    errno = saved;
    repo_errno(err, what, path);
    if (saved == ENOENT || saved == ENOTDIR)
        error_hint(err, "the repository's directory %s is not there: is its file system mounted, "
                        "is the URL right?", store->root);
    return false;
}

static void *file_reader_open(void *driver, const char *key, uint64_t offset, uint64_t length,
                              Error *err)
{
    (void)length; /* the caller reads no further */
    FileStore *store = driver;
    char *path = fs_join(store->root, key);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) {
        missing(store, "open", path, err);
    } else if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        error_set(err, ERR_NO, "repository: %s is a directory, not an object", path);
        close(fd);
        fd = -1;
    } else if (offset && lseek(fd, (off_t)offset, SEEK_SET) < 0) {
        repo_errno(err, "read", path);
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        free(path);
        return NULL;
    }
    FileReader *reader = MEM_NEW(FileReader);
    *reader = (FileReader){fd, path};
    return reader;
}

static bool file_reader_read(void *state, void *data, size_t len, size_t *got, Error *err)
{
    FileReader *reader = state;
    return fs_read(reader->fd, data, len, got, reader->path, err) || as_repo_error(err);
}

static void file_reader_close(void *state)
{
    FileReader *reader = state;
    close(reader->fd);
    free(reader->path);
    free(reader);
}

static void describe(const struct stat *st, const char *key, StorageObject *object)
{
    object->key = key;
    object->size = (uint64_t)st->st_size;
    object->modified = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
    object->cold = false;
}

static bool file_head(void *driver, const char *key, StorageObject *object, Error *err)
{
    FileStore *store = driver;
    char *path = fs_join(store->root, key);
    struct stat st;
    bool ok = stat(path, &st) == 0 || missing(store, "look at", path, err);
    if (ok && S_ISDIR(st.st_mode))
        ok = error_set(err, ERR_NO, "repository: %s is a directory, not an object", path);
    if (ok)
        describe(&st, key, object);
    free(path);
    return ok;
}

/* --- listing --------------------------------------------------------------------------------- */

typedef struct Names {
    char **names; /* a directory's ends in '/', so that sorting gives the byte order of keys */
    size_t count, room;
} Names;

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(Names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
}

static bool is_directory(const char *dir, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    char *path = fs_join(dir, entry->d_name);
    struct stat st;
    bool is = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    free(path);
    return is;
}

/* The sorted entries of `dir` that begin with `start`. A directory that is not there is empty. */
static bool read_names(const FileStore *store, const char *dir, const char *start, Names *out,
                       Error *err)
{
    *out = (Names){0};
    DIR *handle = opendir(dir);
    if (!handle)
        return missing(store, "open directory", dir, err) || err->code == ERR_NO;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(handle)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strncmp(entry->d_name, TEMPFILE_PREFIX, strlen(TEMPFILE_PREFIX)) == 0 ||
            strncmp(entry->d_name, start, strlen(start)) != 0)
            continue;
        MEM_GROW(out->names, out->count, out->room);
        out->names[out->count++] =
            mem_printf("%s%s", entry->d_name, is_directory(dir, entry) ? "/" : "");
    }
    bool ok = errno == 0 || repo_errno(err, "read directory", dir);
    closedir(handle);
    if (!ok)
        free_names(out);
    else if (out->count)
        qsort(out->names, out->count, sizeof(out->names[0]), by_bytes);
    return ok;
}

typedef struct Walk {
    FileStore *store;
    const char *after;
    StorageListCallback callback;
    void *ctx;
    bool stop;
} Walk;

static bool walk_file(Walk *w, const char *key, Error *err)
{
    if (w->after && strcmp(key, w->after) <= 0)
        return true;
    char *path = fs_join(w->store->root, key);
    struct stat st;
    StorageObject object;
    bool ok = true;
    if (stat(path, &st) == 0) {
        describe(&st, key, &object);
        ok = w->callback(w->ctx, &object, &w->stop, err);
    } else if (errno != ENOENT) { /* removed meanwhile is as good as never seen */
        ok = repo_errno(err, "look at", path);
    }
    free(path);
    return ok;
}

/* `above` is "" or ends in '/'. */
static bool walk_dir(Walk *w, const char *above, const char *start, Error *err)
{
    /* All of a directory's keys sort before `after` unless after lies inside or before it. */
    if (w->after && strncmp(above, w->after, strlen(above)) < 0)
        return true;
    char *dir = fs_join(w->store->root, above);
    Names names;
    bool ok = read_names(w->store, dir, start, &names, err);
    free(dir);
    if (!ok)
        return false;
    for (size_t i = 0; ok && i < names.count && !w->stop; i++) {
        char *key = mem_printf("%s%s", above, names.names[i]);
        ok = key[strlen(key) - 1] == '/' ? walk_dir(w, key, "", err) : walk_file(w, key, err);
        free(key);
    }
    free_names(&names);
    return ok;
}

static bool file_list(void *driver, const char *prefix, const char *after,
                      StorageListCallback callback, void *ctx, Error *err)
{
    const char *slash = strrchr(prefix, '/');
    size_t len = slash ? (size_t)(slash - prefix + 1) : 0;
    char *above = mem_strndup(prefix, len);
    Walk w = {driver, after, callback, ctx, false};
    bool ok = walk_dir(&w, above, prefix + len, err);
    free(above);
    return ok;
}

static bool file_list_names(void *driver, const char *prefix, StorageNameCallback callback,
                            void *ctx, Error *err)
{
    FileStore *store = driver;
    char *dir = fs_join(store->root, prefix);
    Names names;
    bool ok = read_names(store, dir, "", &names, err);
    free(dir);
    if (!ok)
        return false;
    for (size_t i = 0; ok && i < names.count; i++) {
        char *end = strchr(names.names[i], '/');
        if (end)
            *end = '\0';
        ok = callback(ctx, names.names[i], err);
    }
    free_names(&names);
    return ok;
}

static bool file_remove(void *driver, const char *key, Error *err)
{
    FileStore *store = driver;
    char *path = fs_join(store->root, key);
    bool ok = unlink(path) == 0 || errno == ENOENT || repo_errno(err, "remove", path);
    /* Directories are no objects: empty ones go with their last one. */
    for (char *slash; ok && (slash = strrchr(path, '/')) > path + strlen(store->root);) {
        *slash = '\0';
        if (rmdir(path) != 0)
            break;
    }
    free(path);
    return ok;
}

static bool file_check(void *driver, StorageCheckCallback callback, void *ctx, Error *err)
{
    FileStore *store = driver;
    struct stat st;
    if (stat(store->root, &st) != 0)
        return repo_errno(err, "look at", store->root);
    if (access(store->root, W_OK | X_OK) == 0)
        callback(ctx, FINDING_GOOD, "the directory can be written", NULL);
    else
        callback(ctx, FINDING_NOTE, "this user may not write into the directory",
                 "right for a host that only reads");
    return true;
}

const StorageDriver storage_file_driver = {
    .scheme = "file",
    .open = file_open,
    .close = file_close,
    .prepare = file_prepare,
    .put_begin = file_put_begin,
    .put_write = file_put_write,
    .put_finish = file_put_finish,
    .put_abort = file_put_abort,
    .reader_open = file_reader_open,
    .reader_read = file_reader_read,
    .reader_close = file_reader_close,
    .head = file_head,
    .list = file_list,
    .list_names = file_list_names,
    .remove = file_remove,
    .check = file_check,
};
