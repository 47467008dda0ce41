/*
 * restore_thaw.c: objects in a cold storage class, which a server must bring back before they can
 * be read: found before a restore changes anything, and with --thaw asked for and waited for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/restore.h"

#define THAW_DAYS    7
#define LOOK_EVERY   60000 /* ms */

typedef struct ColdList {
    char **keys;
    size_t count, room;
} ColdList;

static bool note_cold(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    ColdList *list = ctx;
    (void)stop;
    (void)err;
    if (!object->cold)
        return true;
    MEM_GROW(list->keys, list->count, list->room);
    list->keys[list->count++] = mem_strdup(object->key);
    return true;
}

static bool find_cold(const RestoreRun *run, ColdList *list, Error *err)
{
    const WalChain *chain = &run->plan.chain;
    char prefix[REPO_MAX_KEY];
    repo_key(run->repo, prefix, "base/%s/", run->plan.backup->label);
    if (!storage_list(run->repo->storage, prefix, NULL, note_cold, list, err))
        return false;
    for (size_t i = 0; i < chain->count && chain->first + i <= run->plan.last; i++) {
        WalObject object;
        bool stop;
        if (!chain->links[i].cold)
            continue;
        walchain_object(chain, chain->first + i, &object);
        StorageObject one = {.key = object.key, .cold = true};
        note_cold(list, &one, &stop, err);
    }
    return true;
}

/* Asks for each object; those that are back leave the list. */
static bool ask(const RestoreRun *run, ColdList *list, Error *err)
{
    size_t left = 0;
    for (size_t i = 0; i < list->count; i++) {
        bool ready;
        if (!interrupt_check(err) ||
            !storage_thaw(run->repo->storage, list->keys[i],
                          config_text(run->config, OPT_THAW_TIER), THAW_DAYS, &ready, err))
            return false;
        char *key = list->keys[i];
        list->keys[i] = NULL;
        if (ready)
            free(key);
        else
            list->keys[left++] = key;
    }
    list->count = left;
    return true;
}

static bool wait_for(const RestoreRun *run, ColdList *list, Error *err)
{
    size_t told = 0;
    Instant begun = clock_now();
    for (;;) {
        if (!ask(run, list, err))
            return false;
        if (list->count == 0)
            return true;
        if (list->count != told) {
            char waited[CLOCK_TEXT];
            clock_format_duration(waited, clock_now() - begun);
            log_info("waiting for %zu objects to come back from cold storage (%s so far); this "
                     "takes minutes to two days, and can be stopped and started again",
                     list->count, waited);
        }
        told = list->count;
        interrupt_sleep(LOOK_EVERY);
    }
}

bool restore_thaw(RestoreRun *run, bool *waited, Error *err)
{
    ColdList list = {0};
    *waited = false;
    if (run->request.thawed)
        return true;
    bool ok = find_cold(run, &list, err);
    bool thaw = config_flag(run->config, OPT_THAW) && !config_flag(run->config, OPT_DRY_RUN);
    if (ok && list.count && !thaw) {
        ok = error_set(err, ERR_REPO, "%zu objects that restoring backup %s needs lie in a cold "
                       "storage class, the first is %s", list.count, run->plan.backup->label,
                       list.keys[0]);
        error_hint(err, "--thaw asks the server to bring them back and waits; --backup LABEL "
                        "chooses another backup");
    } else if (ok && list.count) {
        ok = wait_for(run, &list, err);
        *waited = run->request.thawed = ok;
    }
    for (size_t i = 0; i < list.count; i++)
        free(list.keys[i]);
    free(list.keys);
    return ok;
}
