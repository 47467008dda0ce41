/*
 * scratch.h: a temporary directory with an empty repository in it, for the tests of what touches
 * files. SCRATCH_TEST(f) makes both before the test f and removes them behind it.
 *
 * Texts that the functions here return live until the end of the test.
 */
#ifndef PITR_TESTS_SCRATCH_H
#define PITR_TESTS_SCRATCH_H

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "repo/repo.h"

#define SCRATCH_SYSID UINT64_C(7300000000000000001)
#define SCRATCH_MAJOR 15

typedef struct Scratch {
    char *dir;
    Repo *repo; /* called "main", in the directory "repo", which is not made yet */
    char **texts;
    size_t count, room;
    int saved_stderr; /* while it is caught */
} Scratch;

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

/* Ends the test unless `ok`. */
static inline void must(bool ok, const Error *err)
{
    if (!ok)
        fail_msg("failed with code %d: %s", err->code, err->message);
}

static inline char *scratch_keep(Scratch *s, char *text)
{
    MEM_GROW(s->texts, s->count, s->room);
    return s->texts[s->count++] = text;
}

/* A path in the directory. */
__attribute__((format(printf, 2, 3))) static inline char *scratch_path(Scratch *s, const char *fmt,
                                                                       ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *name = mem_vprintf(fmt, ap);
    va_end(ap);
    char *path = mem_printf("%s/%s", s->dir, name);
    free(name);
    return scratch_keep(s, path);
}

/* Opens the repository in the directory `name` for the system of the tests. */
static inline Repo *scratch_repo(Scratch *s, const char *name)
{
    Error err;
    char *url = scratch_keep(s, mem_printf("file://%s/%s", s->dir, name));
    StorageOptions options = {.name = "main", .url = url};
    Repo *repo = repo_open(&options, "main", true, &err);
    if (repo)
        repo_use_system(repo, SCRATCH_MAJOR, SCRATCH_SYSID);
    return repo;
}

static inline int scratch_setup(void **state)
{
    char name[] = "/tmp/pitr-unit-XXXXXX";
    if (!mkdtemp(name))
        return -1;
    Scratch *s = MEM_NEW(Scratch);
    s->dir = mem_strdup(name);
    s->saved_stderr = -1;
    s->repo = scratch_repo(s, "repo");
    *state = s;
    return s->repo ? 0 : -1;
}

static inline int scratch_teardown(void **state)
{
    Scratch *s = *state;
    Error err;
    if (s->saved_stderr >= 0)
        dup2(s->saved_stderr, 2);
    repo_close(s->repo);
    bool ok = fs_empty_dir(s->dir, &err) && rmdir(s->dir) == 0;
    for (size_t i = 0; i < s->count; i++)
        free(s->texts[i]);
    free(s->texts);
    free(s->dir);
    free(s);
    return ok ? 0 : -1;
}

/* Makes a file, and the directories above it, hold exactly these bytes. */
static inline void scratch_write(const char *path, const void *data, size_t len)
{
    Error err;
    char *dir = fs_parent(path);
    must(fs_mkdirs(dir, 0700, &err), &err);
    free(dir);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        fail_msg("can't write %s", path);
}

static inline void scratch_text(const char *path, const char *text)
{
    scratch_write(path, text, strlen(text));
}

/* The content of a file, with a zero byte behind it; NULL if there is none. */
static inline char *scratch_read(Scratch *s, const char *path, size_t *len)
{
    Error err;
    Buf b = BUF_INIT;
    if (!fs_read_file(path, &b, &err)) {
        buf_free(&b);
        return NULL;
    }
    if (len)
        *len = b.len;
    return scratch_keep(s, buf_detach(&b));
}

static inline void scratch_expect(Scratch *s, const char *path, const void *data, size_t len)
{
    size_t got = 0;
    char *text = scratch_read(s, path, &got);
    if (!text || got != len || memcmp(text, data, len) != 0)
        fail_msg("%s: not the expected content", path);
}

/* Changes one byte of a file. */
static inline void scratch_flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+");
    if (!f || fseek(f, at, at < 0 ? SEEK_END : SEEK_SET) != 0)
        fail_msg("can't open %s", path);
    int c = fgetc(f);
    if (c == EOF || fseek(f, -1, SEEK_CUR) != 0 || fputc(c ^ 0x55, f) == EOF || fclose(f) != 0)
        fail_msg("can't change %s", path);
}

static inline void scratch_walk(const char *dir, const char *name, Buf *out)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *e = entries[i]->d_name;
        struct stat st;
        if (strcmp(e, ".") != 0 && strcmp(e, "..") != 0) {
            char *path = mem_printf("%s/%s", dir, e), *sub = mem_printf("%s%s", name, e);
            if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
                char *below = mem_printf("%s/", sub);
                scratch_walk(path, below, out);
                free(below);
            } else {
                buf_printf(out, "%s\n", sub);
            }
            free(path);
            free(sub);
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* The files below `dir`, a line each, whatever they are called. */
static inline char *scratch_files(Scratch *s, const char *dir)
{
    Buf out = BUF_INIT;
    scratch_walk(dir, "", &out);
    return scratch_keep(s, buf_detach(&out));
}

/* From here to scratch_stderr(), what is said on stderr is caught. */
static inline void scratch_catch(Scratch *s)
{
    int fd = open(scratch_path(s, "stderr"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    s->saved_stderr = fcntl(2, F_DUPFD_CLOEXEC, 10);
    dup2(fd, 2);
    close(fd);
}

static inline char *scratch_stderr(Scratch *s)
{
    dup2(s->saved_stderr, 2);
    close(s->saved_stderr);
    s->saved_stderr = -1;
    return scratch_read(s, scratch_path(s, "stderr"), NULL);
}

/* The path of an object in the repository "repo". */
static inline char *scratch_object(Scratch *s, const char *key)
{
    return scratch_path(s, "repo/%s", key);
}

/* The only file below `dir` whose path has `part` in it. */
static inline char *scratch_find(Scratch *s, const char *dir, const char *part)
{
    char *found = NULL, *rest = scratch_files(s, dir), *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (!strstr(line, part))
            continue;
        if (found)
            fail_msg("several files have %s in their names", part);
        found = scratch_keep(s, mem_printf("%s/%s", dir, line));
    }
    if (!found)
        fail_msg("no file has %s in its name", part);
    return found;
}

#endif
