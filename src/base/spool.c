#include "base/spool.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/tempfile.h"

FILE *spool_open(Error *err)
{
    const char *dir = getenv("TMPDIR");
    TempFile temp;
    if (!dir || !*dir)
        dir = "/var/tmp";
    if (!tempfile_open(&temp, dir, 0600, err)) {
        error_hint(err, "set TMPDIR to a directory that can be written");
        return NULL;
    }
    int fd = dup(temp.fd);
    FILE *spool = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (!spool) {
        error_errno(err, ERR_INTERNAL, "can't use a file in %s", dir);
        if (fd >= 0)
            close(fd);
    }
    tempfile_discard(&temp);
    return spool;
}

bool spool_write(FILE *spool, const void *data, size_t len, Error *err)
{
    if (fwrite(data, 1, len, spool) == len)
        return true;
    error_errno(err, ERR_INTERNAL, "can't write a temporary file");
    return error_hint(err, "set TMPDIR to a directory with more room");
}
