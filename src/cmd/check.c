/*
 * check.c: `pitr check`: can the repositories be written and read, and would something in their
 * settings harm what is stored? Nothing but two small probes is written.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/context.h"
#include "repo/walkey.h"

/* Somebody waits for the answer. */
#define PATIENCE (30 * CLOCK_SECOND)

typedef struct CheckRun {
    bool json;
    json_t *findings; /* of one repository */
    int bad;
} CheckRun;

static void take_finding(void *ctx, StorageFinding finding, const char *what, const char *hint)
{
    static const char *const words[] = {"ok", "note", "BAD"};
    static const char *const names[] = {"good", "note", "bad"};
    CheckRun *run = ctx;
    run->bad += finding == FINDING_BAD;
    if (run->json) {
        json_array_append_new(run->findings,
                              json_pack("{s:s, s:s, s:s*}", "finding", names[finding], "what", what,
                                        "hint", hint));
        return;
    }
    printf("  %-5s %s\n", words[finding], what);
    if (hint)
        printf("        hint: %s\n", hint);
}

typedef struct Doubles {
    char last[64], first[64]; /* the name before, the first one with two contents */
    size_t count;
} Doubles;

static bool note_double(void *ctx, const WalObject *object, bool *stop, Error *err)
{
    Doubles *d = ctx;
    char name[64];
    (void)stop;
    (void)err;
    if (object->name.kind != WALNAME_SEGMENT)
        return true;
    walname_text(&object->name, name);
    if (strcmp(name, d->last) == 0 && d->count++ == 0)
        snprintf(d->first, sizeof(d->first), "%s", name);
    snprintf(d->last, sizeof(d->last), "%s", name);
    return true;
}

/* Archivers that may not list can't see that another one has stored something else. */
static bool check_wal(CheckRun *run, Repo *repo, Error *err)
{
    RepoSystem *systems;
    size_t count;
    Doubles d = {.count = 0};
    if (!repo_systems(repo, &systems, &count, err))
        return err->denied;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        repo_use_system(repo, systems[i].major, systems[i].sysid);
        ok = walkey_list(repo, 0, NULL, note_double, &d, err);
    }
    free(systems);
    if (ok && d.count) {
        char what[160];
        snprintf(what, sizeof(what), "%zu WAL segments are stored with several contents, the first "
                 "is %s", d.count, d.first);
        take_finding(run, FINDING_BAD, what, "two servers archive into one place: see \"Two contents "
                                             "for one segment\" in docs/troubleshooting.md");
    }
    return ok;
}

static ErrorCode check_repo(CheckRun *run, Repo *repo, json_t *all)
{
    Error err;
    run->findings = json_array();
    if (!run->json)
        printf("repository %s (%s)\n", repo->name, storage_url(repo->storage));
    storage_set_deadline(repo->storage, clock_now() + PATIENCE);
    bool ok = storage_check(repo->storage, take_finding, run, &err) &&
              check_wal(run, repo, &err);
    if (!ok) {
        take_finding(run, FINDING_BAD, err.message, err.hint[0] ? err.hint : NULL);
        if (run->json)
            log_failure(&err);
    }
    json_array_append_new(all, json_pack("{s:s, s:s, s:o}", "repository", repo->name, "url",
                                         storage_url(repo->storage), "findings", run->findings));
    return ok ? ERR_NONE : err.code;
}

int cmd_check(const Config *config)
{
    Error err;
    Repos repos;
    CheckRun run = {.json = config_flag(config, OPT_JSON)};
    if (config_argc(config) != 0) {
        error_set(&err, ERR_USAGE, "check takes no words");
        return context_fail(&err);
    }
    if (!context_open_repos(config, &repos, &err))
        return context_fail(&err);
    json_t *all = json_array();
    ErrorCode worst = ERR_NONE;
    for (int i = 0; i < repos.count; i++) {
        ErrorCode code = check_repo(&run, repos.repo[i], all);
        if (code > worst)
            worst = code;
    }
    context_close_repos(&repos);
    if (run.json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(all);
    return worst != ERR_NONE ? (int)worst : run.bad ? ERR_NO : 0;
}
