/*
 * syscalls.h: stands between the program and the kernel, so that a test can make file operations
 * fail and see their order. Included by one source of a program; only `slow` and `no_tmpfile` are
 * for several threads.
 *
 * Functions defined here take the place of the C library's. The labels of open() are needed because
 * large file support renames it.
 */
#ifndef PITR_TESTS_SYSCALLS_H
#define PITR_TESTS_SYSCALLS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"

/* Zeroes: everything works. Else errno values. */
typedef struct Syscalls {
    bool no_tmpfile; /* as on a file system that does not know it */
    int write, fsync, link, rename;
    int spare; /* calls of fsync() that work before `fsync` counts */
    Buf *log;  /* fsync, link and rename with their last argument, a line each */
    bool slow; /* an open that failed tells so only after a while, so that threads meet */
    void (*before_link)(void); /* called once, before the next link */
} Syscalls;

static Syscalls syscalls;

int fake_open(const char *path, int flags, ...) __asm__("open");
int fake_open64(const char *path, int flags, ...) __asm__("open64");

static int open_file(const char *path, int flags, va_list ap)
{
    unsigned mode = flags & (O_CREAT | O_DIRECTORY | O_TMPFILE) ? va_arg(ap, unsigned) : 0;
    if (syscalls.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0 && syscalls.slow) {
        int saved = errno;
        usleep(20000);
        errno = saved;
    }
    return fd;
}

int fake_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int fd = open_file(path, flags, ap);
    va_end(ap);
    return fd;
}

int fake_open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int fd = open_file(path, flags, ap);
    va_end(ap);
    return fd;
}

/* True if the call is to fail. */
static bool syscalls_fail(int error)
{
    errno = error;
    return error != 0;
}

static void syscalls_log(const char *what, const char *path)
{
    if (syscalls.log)
        buf_printf(syscalls.log, "%s %s\n", what, path);
}

ssize_t write(int fd, const void *data, size_t len)
{
    return syscalls_fail(syscalls.write) ? -1 : syscall(SYS_write, fd, data, len);
}

int fsync(int fd)
{
    char proc[64], path[512];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(proc, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    if (n > 0 && (strstr(path, "/#") || strstr(path, "/.pitr-tmp-")))
        strcpy(path, "file");
    syscalls_log("fsync", path);
    if (syscalls.spare > 0)
        syscalls.spare--;
    else if (syscalls_fail(syscalls.fsync))
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    void (*hook)(void) = syscalls.before_link;
    if (hook) {
        syscalls.before_link = NULL;
        hook();
    }
    syscalls_log("link", to);
    if (syscalls_fail(syscalls.link))
        return -1;
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int rename(const char *from, const char *to)
{
    syscalls_log("rename", to);
    if (syscalls_fail(syscalls.rename))
        return -1;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

#endif
