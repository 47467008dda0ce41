#include "base/tempfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

static char *temp_name(const char *dir)
{
    static atomic_uint counter;
    return mem_printf("%s/" TEMPFILE_PREFIX "%ld-%u", dir, (long)getpid(),
                      atomic_fetch_add(&counter, 1));
}

bool tempfile_open(TempFile *t, const char *dir, mode_t mode, Error *err)
{
    *t = (TempFile){.fd = -1, .dir = mem_strdup(dir)};
    t->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (t->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        do { /* a process of this number may have left one behind */
            free(t->name);
            t->name = temp_name(dir);
            t->fd = open(t->name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
        } while (t->fd < 0 && errno == EEXIST);
    }
    if (t->fd < 0) {
        error_errno(err, ERR_INTERNAL, "can't make a file in %s", dir);
        free(t->name);
        t->name = NULL;
        tempfile_discard(t);
        return false;
    }
    return true;
}

/* 0 or an errno. */
static int link_as(const TempFile *t, const char *path)
{
    char proc[64];
    int rc;
    if (t->name) {
        rc = link(t->name, path);
    } else {
        /* linkat(AT_EMPTY_PATH) would need a capability; open(2) names this way instead. */
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", t->fd);
        rc = linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    }
    return rc == 0 ? 0 : errno;
}

static bool sync_file(const TempFile *t, const char *path, Error *err)
{
    if (fsync(t->fd) != 0)
        return error_errno(err, ERR_INTERNAL, "can't fsync %s", path);
    return true;
}

bool tempfile_publish_new(TempFile *t, const char *path, bool *existed, Error *err)
{
    if (!sync_file(t, path, err))
        return false;
    errno = link_as(t, path);
    *existed = errno == EEXIST;
    if (errno != 0 && errno != EEXIST)
        return error_errno(err, ERR_INTERNAL, "can't make %s", path);
    return true;
}

bool tempfile_publish_over(TempFile *t, const char *path, Error *err)
{
    if (!sync_file(t, path, err))
        return false;
    if (!t->name) {
        char *name = temp_name(t->dir);
        errno = link_as(t, name);
        if (errno != 0) {
            error_errno(err, ERR_INTERNAL, "can't make %s", name);
            free(name);
            return false;
        }
        t->name = name;
    }
    if (rename(t->name, path) != 0)
        return error_errno(err, ERR_INTERNAL, "can't rename %s to %s", t->name, path);
    free(t->name);
    t->name = NULL;
    return fs_sync_dir(t->dir, err);
}

void tempfile_discard(TempFile *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->name)
        unlink(t->name);
    free(t->name);
    free(t->dir);
    *t = (TempFile){.fd = -1};
}
