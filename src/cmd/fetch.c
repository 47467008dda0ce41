/*
 * fetch.c: `pitr fetch NAME PATH`, PostgreSQL's restore_command.
 *
 * Exit 0: the file is at PATH, verified. 1: it is proven absent, and recovery may take it for the
 * end of WAL and promote. Everything else is 200 + code, which stops recovery (from 126 up;
 * src/backend/access/transam/xlogarchive.c, RestoreArchivedFile). A standby must live: there doubt
 * about a segment ends as 1 with a warning, as streaming goes on by itself.
 *
 * What one look at the repositories says is a Verdict; the rules that make an exit code of it, with
 * their waiting, are in decide().
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/context.h"
#include "repo/timelines.h"
#include "repo/walget.h"

#define SECOND          INT64_C(1000000)
#define STANDBY_RETRY   (30 * SECOND)
#define ABSENCE_LASTS   (600 * SECOND)
#define OTHERS_WAIT     (10 * SECOND)
#define LONGEST_PAUSE   10000 /* ms */

typedef enum Mode { MODE_OTHER, MODE_RECOVERY, MODE_STANDBY } Mode;

typedef enum Verdict {
    SERVED,
    ABSENT, /* proven */
    EMPTY,  /* no WAL of this system anywhere: proves nothing */
    GAP,    /* absent, but something later is stored */
    DOUBT   /* a repository could not answer, or answered nonsense */
} Verdict;

typedef struct Fetch {
    const Config *config;
    Repos repos;
    WalName name;
    const char *text; /* the name */
    const char *dest;
    uint32_t segsize;
    char *data;
    Mode mode;
} Fetch;

int fetch_exit_code(ErrorCode code)
{
    return code == ERR_NONE || code == ERR_NO ? (int)code : code == ERR_INTERNAL ? 255 : 200 + (int)code;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = fs_join(dir, name);
    bool has = fs_exists(path);
    free(path);
    return has;
}

/* --- one look ---------------------------------------------------------------------------------- */

/* A timeline that was left behind the segment that is asked for goes on elsewhere: the segment is
 * no end. And PostgreSQL stops looking for timelines at the first history file that is absent. */
static Verdict look_at_timelines(Fetch *f, Repo *repo, Error *err)
{
    Timelines t;
    uint64_t segno, fork;
    Verdict v = ABSENT;
    if (!timelines_load(repo, &t, err))
        return DOUBT;
    bool segment = walname_segno(&f->name, f->segsize, &segno);
    for (size_t i = 0; i < t.count && v == ABSENT; i++) {
        const TimelineHistory *h = &t.timelines[i].history;
        if (segment ? timeline_switch_point(h, f->name.tli, &fork) &&
                          segno_start(segno + 1, f->segsize) <= fork
                    : h->tli > f->name.tli) {
            error_set(err, ERR_TARGET, "%s is missing in repository %s, but timeline %u, which "
                      "comes after it, is stored", f->text, repo->name, h->tli);
            v = GAP;
        }
    }
    timelines_free(&t);
    return v;
}

/* Is anything stored that can only have come after what was asked for? */
static Verdict look_behind(Fetch *f, Repo *repo, Error *err)
{
    WalObject later;
    if (f->name.kind == WALNAME_SEGMENT) {
        if (walkey_next_stored(repo, &f->name, &later, err)) {
            error_set(err, ERR_TARGET, "%s is missing in repository %s, but %s behind it is stored",
                      f->text, repo->name, later.key);
            return GAP;
        }
        return err->code == ERR_NO ? look_at_timelines(f, repo, err) : DOUBT;
    }
    if (f->name.kind != WALNAME_HISTORY || f->name.tli == 1)
        return ABSENT;
    return look_at_timelines(f, repo, err);
}

static Verdict look_in(Fetch *f, Repo *repo, Error *err)
{
    WalObject object;
    size_t contents;
    bool any;
    if (walkey_find(repo, &f->name, &object, &contents, err)) {
        if (contents > 1) {
            error_set(err, ERR_DAMAGED, "%s is stored with %zu different contents in repository %s",
                      f->text, contents, repo->name);
            error_hint(err, "two servers have archived into one place; the right one must be "
                            "chosen by hand: see docs/troubleshooting.md");
            return DOUBT;
        }
        return walget_file(repo, &object, f->dest, err) ? SERVED : DOUBT;
    }
    if (err->code != ERR_NO || !walkey_any(repo, &any, err))
        return DOUBT;
    if (any)
        return look_behind(f, repo, err);
    error_set(err, ERR_REPO, "repository %s (%s) holds no WAL under %s: that proves nothing about "
              "%s", repo->name, storage_url(repo->storage), repo->prefix, f->text);
    error_hint(err, "is the cluster's name (%s) the one that the server archives with?",
               repo->cluster);
    return EMPTY;
}

/* Asks the repositories in order. The worst doubt stands; one that is empty beside one that holds
 * WAL does not count. */
static Verdict look(Fetch *f, Error *err)
{
    Verdict worst = SERVED;
    bool holds_wal = false;
    for (int i = 0; i < f->repos.count; i++) {
        Error one;
        Verdict v = look_in(f, f->repos.repo[i], &one);
        if (v == SERVED)
            return SERVED;
        holds_wal |= v == ABSENT || v == GAP;
        if (v > worst) {
            worst = v;
            *err = one;
        }
        if (v == DOUBT && i + 1 < f->repos.count)
            log_warn("%s; asking the next repository", one.message);
    }
    return worst == EMPTY && holds_wal ? ABSENT : worst;
}

/* --- a standby's memory of absent history files ------------------------------------------------ */

static char *absence_path(const Fetch *f, bool make)
{
    const char *set = config_text(f->config, OPT_STATE_DIRECTORY);
    char *dir;
    if (set) {
        dir = mem_strdup(set);
    } else {
        char *real = fs_resolve(f->data), *above = fs_parent(real);
        dir = mem_printf("%s/.pitr-%s", above, strrchr(real, '/') + 1);
        free(real);
        free(above);
    }
    Error ignored;
    if (make)
        fs_mkdirs(dir, 0700, &ignored);
    char *path = mem_printf("%s/%s.absent", dir, f->text);
    free(dir);
    return path;
}

/* What the memory is about: the same name elsewhere is another file. */
static void absence_text(const Fetch *f, Buf *out)
{
    for (int i = 0; i < f->repos.count; i++)
        buf_printf(out, "%s %s\n", storage_url(f->repos.repo[i]->storage),
                   f->repos.repo[i]->prefix);
}

static void remember_absence(const Fetch *f)
{
    Error err;
    Buf text = BUF_INIT;
    char *path = absence_path(f, true);
    buf_printf(&text, "%lld\n", (long long)clock_now());
    absence_text(f, &text);
    if (!fs_write_file(path, text.data, text.len, 0600, &err))
        log_debug("%s", err.message);
    buf_free(&text);
    free(path);
}

static bool recently_absent(const Fetch *f)
{
    Error ignored;
    Buf there, wanted = BUF_INIT;
    buf_init_max(&there, 65536);
    char *path = absence_path(f, false), *end = NULL;
    bool known = false;
    absence_text(f, &wanted);
    if (fs_read_file(path, &there, &ignored) && there.len > 0) {
        int64_t age = clock_now() - strtoll(there.data, &end, 10);
        known = *end == '\n' && strcmp(end + 1, wanted.data) == 0 && age >= 0 &&
                age < ABSENCE_LASTS;
    }
    buf_free(&there);
    buf_free(&wanted);
    free(path);
    return known;
}

/* --- the rules --------------------------------------------------------------------------------- */

/* How long a verdict is worth waiting for a better one. */
static int64_t patience(const Fetch *f, Verdict v, const Error *err)
{
    int64_t gap = config_number(f->config, OPT_GAP_WAIT);
    int64_t fault = config_number(f->config, OPT_FETCH_TIMEOUT);
    if (v == GAP)
        return f->mode == MODE_STANDBY && gap > STANDBY_RETRY ? STANDBY_RETRY : gap;
    if (v == DOUBT && f->mode == MODE_STANDBY)
        return fault > STANDBY_RETRY ? STANDBY_RETRY : fault;
    if (v != DOUBT || f->mode != MODE_RECOVERY || err->denied)
        return 0;
    /* Bytes that were wrong once may have been spoilt on the way; those that stay wrong are damage. */
    return err->code == ERR_REPO || gap > fault ? fault : gap;
}

static Verdict look_patiently(Fetch *f, Error *err)
{
    int64_t begun = clock_now();
    int pause = 500;
    for (;;) {
        Verdict v = look(f, err);
        /* In its own pg_wal PostgreSQL finds it by itself. */
        if (v == GAP && f->name.kind == WALNAME_SEGMENT) {
            char *local = mem_printf("%s/pg_wal/%s", f->data, f->text);
            if (fs_exists(local))
                v = ABSENT;
            free(local);
        }
        int64_t left = patience(f, v, err) - (clock_now() - begun);
        if (v == SERVED || v == ABSENT || left <= 0 || interrupt_signal())
            return v;
        if (pause == 500)
            log_warn("%s; trying again for %lld s", err->message,
                     (long long)((left + SECOND / 2) / SECOND));
        interrupt_sleep(left / 1000 < pause ? (int)(left / 1000) + 1 : pause);
        pause = pause * 2 < LONGEST_PAUSE ? pause * 2 : LONGEST_PAUSE;
    }
}

static bool decide_for_standby(Fetch *f, Verdict v, Error *err)
{
    bool history = f->name.kind == WALNAME_HISTORY;
    if (v == DOUBT && history && !recently_absent(f))
        return error_hint(err, "promotion chooses its timeline by this file: doubt about it stops "
                               "the standby rather than let it choose wrongly");
    if (v == DOUBT || v == GAP)
        log_warn("%s; the standby is told that it is absent and goes on", err->message);
    return error_set(err, ERR_NO, "%s is not in the repository", f->text);
}

static bool fetch(Fetch *f, Error *err)
{
    Verdict v = look_patiently(f, err);
    if (v == SERVED)
        return true;
    if (!interrupt_check(err))
        return false;
    if (v == ABSENT && f->mode == MODE_STANDBY && f->name.kind == WALNAME_HISTORY)
        remember_absence(f);
    if (v == ABSENT)
        return error_set(err, ERR_NO, "%s is not in the repository", f->text);
    if (f->mode == MODE_STANDBY)
        return decide_for_standby(f, v, err);
    if (v == GAP)
        error_hint(err, "WAL is missing in the middle: find the file (old server's pg_wal, another "
                        "repository) and archive it; recovery is not ended here, because that "
                        "would lose what comes after");
    if (err->code == ERR_NO) /* an object that was listed and is gone when read */
        err->code = ERR_REPO;
    return false;
}

/* The store's own patience must not outlast that of PostgreSQL's caller. */
static void limit_patience(Fetch *f)
{
    int64_t limit = config_number(f->config, OPT_FETCH_TIMEOUT);
    if (f->mode == MODE_STANDBY && limit > STANDBY_RETRY)
        limit = STANDBY_RETRY;
    for (int i = 0; i < f->repos.count; i++) {
        /* Another repository may have it: that one is asked soon. */
        bool last = i + 1 == f->repos.count;
        int64_t patience = !last && limit > OTHERS_WAIT ? OTHERS_WAIT : limit;
        if (f->mode != MODE_OTHER || !last)
            storage_set_deadline(f->repos.repo[i]->storage, clock_now() + patience);
    }
}

static bool prepare(Fetch *f, Error *err)
{
    ControlFile control;
    int major;
    f->data = context_data_directory(f->config, f->dest, err);
    if (!f->data || !context_identify(f->data, &control, &major, err) ||
        !context_open_repos(f->config, &f->repos, err))
        return false;
    context_use_system(&f->repos, major, control.sysid);
    f->segsize = control.wal_segment_size;
    f->mode = has_file(f->data, "standby.signal")    ? MODE_STANDBY
              : has_file(f->data, "recovery.signal") ? MODE_RECOVERY
                                                     : MODE_OTHER;
    limit_patience(f);
    return true;
}

int cmd_fetch(const Config *config)
{
    Error err;
    Fetch f = {.config = config};
    bool ok = false;
    if (config_argc(config) != 2) {
        error_set(&err, ERR_USAGE, "fetch takes a name and a path");
        error_hint(&err, "restore_command = 'pitr fetch %%f %%p'");
    } else if (!walname_parse(config_arg(config, 0), &f.name)) {
        error_set(&err, ERR_USAGE, "\"%s\" is not the name of a WAL file", config_arg(config, 0));
    } else {
        f.text = config_arg(config, 0);
        f.dest = config_arg(config, 1);
        ok = prepare(&f, &err) && fetch(&f, &err);
    }
    context_close_repos(&f.repos);
    free(f.data);
    if (ok)
        return 0;
    if (err.code == ERR_NO)
        log_info("%s", err.message);
    else
        log_failure(&err);
    return fetch_exit_code(err.code);
}
