/*
 * s3_condition.c: does this server honour "If-None-Match: *"?
 *
 * Some ignore it without a word (Ceph before 20 in versioned buckets and when a multipart upload is
 * completed; see docs/s3.md), so that an object would be overwritten by what should have failed.
 * So it is tried, with PutObject alone: an object of a fixed name is put under the condition. A 412
 * is the proof. A success is none, it may have been the first; but a second success is a proof of
 * the contrary. What was found is remembered for a day in a small file in the user's cache directory
 * ($XDG_CACHE_HOME/pitr, else ~/.cache/pitr), so that each archived segment does not cost another
 * request; without such a file each process tries anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/s3.h"
#include "stream/digest.h"

#define PROBE_KEY_MULTIPART S3_PROBE_KEY "-multipart"
#define REMEMBERED          (86400 * CLOCK_SECOND)

static const char probe_text[] =
    "pitr looks with this object whether the server honours If-None-Match.\n";

/* --- memory ------------------------------------------------------------------------------------ */

static char *cache_directory(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/')
        return mem_printf("%s/pitr", cache);
    struct passwd entry, *found = NULL;
    char room[4096];
    if ((!home || home[0] != '/') && getpwuid_r(geteuid(), &entry, room, sizeof(room), &found) == 0 &&
        found)
        home = found->pw_dir;
    return home && home[0] == '/' ? mem_printf("%s/.cache/pitr", home) : NULL;
}

static char *memory_path(const S3Store *st, bool multipart, bool make)
{
    char *dir = cache_directory(), hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    Error ignored;
    if (!dir)
        return NULL;
    if (make)
        fs_mkdirs(dir, 0700, &ignored);
    char *about = mem_printf("%s %s %s/%s", st->scheme, st->host ? st->host : "AWS", st->bucket,
                             st->prefix);
    sha256(about, strlen(about), digest);
    sha256_hex(digest, hex);
    char *path = mem_printf("%s/s3-%.16s-%s", dir, hex, multipart ? "multipart" : "put");
    free(about);
    free(dir);
    return path;
}

/* A moment in the future was written under a wrong clock. */
static bool is_recent(Instant when)
{
    int64_t age = clock_now() - when;
    return age >= -CLOCK_SECOND && age < REMEMBERED;
}

static S3Condition remembered(const S3Store *st, bool multipart)
{
    char *path = memory_path(st, multipart, false);
    Buf text;
    Error ignored;
    struct stat info;
    S3Condition found = CONDITION_UNKNOWN;
    buf_init_max(&text, 64);
    if (path && stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
        is_recent(info.st_mtim.tv_sec * CLOCK_SECOND) &&
        fs_read_file(path, &text, &ignored) && text.len)
        found = strcmp(text.data, "holds\n") == 0     ? CONDITION_HOLDS
                : strcmp(text.data, "ignored\n") == 0 ? CONDITION_IGNORED
                                                      : CONDITION_UNKNOWN;
    buf_free(&text);
    free(path);
    return found;
}

static void remember(const S3Store *st, bool multipart, S3Condition condition)
{
    char *path = memory_path(st, multipart, true);
    const char *text = condition == CONDITION_HOLDS ? "holds\n" : "ignored\n";
    Error err;
    if (path && !fs_write_file(path, text, strlen(text), 0600, &err))
        log_debug("%s", err.message);
    free(path);
}

/* --- the probe --------------------------------------------------------------------------------- */

static bool put_probe(S3Store *st, bool multipart, bool conditional, bool *refused, Error *err)
{
    size_t len = strlen(probe_text);
    if (multipart)
        return s3_put_multipart(st, PROBE_KEY_MULTIPART, probe_text, len, conditional, refused, err);
    return s3_put_object(st, S3_PROBE_KEY, probe_text, len, NULL, conditional, refused, err);
}

bool s3_probe(S3Store *st, bool multipart, S3Condition *out, Error *err)
{
    bool refused = false, ok = true;
    for (int i = 0; i < 2 && ok && !refused; i++)
        ok = put_probe(st, multipart, true, &refused, err);
    /* 501: the server knows no conditions, or something else that is sent. */
    if (!ok && (!strstr(err->message, "NotImplemented") ||
                !put_probe(st, multipart, false, &refused, err)))
        return false;
    *out = refused ? CONDITION_HOLDS : CONDITION_IGNORED;
    remember(st, multipart, *out);
    return true;
}

bool s3_condition(S3Store *st, bool multipart, S3Condition *out, Error *err)
{
    S3Condition *known = multipart ? &st->multipart_condition : &st->put_condition;
    bool ok = true;
    pthread_mutex_lock(&st->probing); /* the others wait for the first */
    if (*known == CONDITION_UNKNOWN)
        *known = remembered(st, multipart);
    if (*known == CONDITION_UNKNOWN) {
        ok = s3_probe(st, multipart, known, err);
        if (ok && *known == CONDITION_IGNORED)
            log_warn("repository %s: the server ignores If-None-Match for %s: pitr looks before it "
                     "writes where it may, and two writers in the same instant are not kept apart",
                     st->name, multipart ? "multipart uploads" : "puts");
    }
    *out = *known;
    pthread_mutex_unlock(&st->probing);
    return ok;
}

bool s3_look(S3Store *st, const char *key, bool *exists, Error *err)
{
    StorageObject object;
    *exists = s3_head(st, key, &object, err);
    if (*exists || err->code == ERR_NO)
        return true;
    if (!err->denied)
        return false;
    if (s3_listed(st, key, exists, err))
        return true;
    if (!err->denied)
        return false;
    log_debug("repository %s: can't look whether %s is there: %s", st->name, key, err->message);
    return true;
}
