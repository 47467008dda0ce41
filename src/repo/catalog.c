#include "repo/catalog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "stream/digest.h"

#define JSON_LIMIT (16u * 1024 * 1024)
#define CLEAN_UP   (10 * CLOCK_SECOND)
#define JSON_FORM  JSON_INDENT(2)

void backup_free(Backup *b)
{
    for (size_t i = 0; i < b->tablespace_count; i++)
        free(b->tablespaces[i].location);
    for (size_t i = 0; i < b->damage_count; i++)
        free(b->damage[i]);
    free(b->tablespaces);
    free(b->damage);
    free(b->pitr_version);
    free(b->host);
    *b = (Backup){0};
}

/* --- JSON -------------------------------------------------------------------------------------- */

static json_t *point_json(uint64_t lsn, uint32_t tli, Instant time)
{
    char text[LSN_TEXT], when[CLOCK_TEXT];
    clock_format_utc(when, time);
    return json_pack("{s:s, s:I, s:s}", "lsn", lsn_format(text, lsn), "timeline", (json_int_t)tli,
                     "time", when);
}

static json_t *tablespaces_json(const Backup *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->tablespace_count; i++) {
        json_t *one = json_pack("{s:I, s:s}", "oid", (json_int_t)b->tablespaces[i].oid, "location",
                                b->tablespaces[i].location);
        if (json_array_append_new(list, one) != 0) { /* no UTF-8: it must not get lost */
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* A server's message in another encoding loses its accents rather than its place. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);
    char *plain = json ? NULL : mem_strdup(text);
    for (char *p = plain; p && *p; p++)
        if (*p & 0x80)
            *p = '?';
    json = json ? json : json_string(plain);
    free(plain);
    return json;
}

static json_t *damage_json(const Backup *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->damage_count; i++)
        json_array_append_new(list, text_json(b->damage[i]));
    return list;
}

json_t *backup_to_json(const Backup *b)
{
    char sysid[24], written[CLOCK_TEXT];
    snprintf(sysid, sizeof(sysid), "%" PRIu64, b->sysid);
    clock_format_utc(written, b->written);
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:b, s:o, s:o, s:I, s:o, s:I, s:I, s:I,"
        " s:I, s:I, s:I, s:I, s:{s:s, s:I}, s:{s:s, s:I}, s:b, s:o}",
        "format", 1, "label", b->label, "type", "full", "pitr", b->pitr_version, "host", b->host,
        "written", written, "system_id", sysid, "major", b->major, "server_version",
        b->server_version, "wal_segment_size", (json_int_t)b->segsize, "from_standby",
        b->from_standby, "start", point_json(b->start_lsn, b->start_tli, b->start_time), "stop",
        point_json(b->stop_lsn, b->stop_tli, b->stop_time), "clock_skew_us",
        (json_int_t)b->clock_skew, "tablespaces", tablespaces_json(b), "archives",
        (json_int_t)b->totals.archives, "packs", (json_int_t)b->totals.packs, "entries",
        (json_int_t)b->totals.entries, "files", (json_int_t)b->totals.files, "size",
        (json_int_t)b->totals.raw_size, "stored_size", (json_int_t)b->totals.stored_size,
        "pack_size", (json_int_t)b->pack_size, "index", "sha256", b->index_sha256, "stored_size",
        (json_int_t)b->index_size, "manifest", "sha256", b->manifest_sha256, "size",
        (json_int_t)b->manifest_size, "damaged", b->damaged, "damage", damage_json(b));
}

static bool read_point(const json_t *json, const char *name, uint64_t *lsn, uint32_t *tli,
                       Instant *time)
{
    const char *text, *when;
    json_int_t timeline;
    if (json_unpack((json_t *)json, "{s:{s:s, s:I, s:s}}", name, "lsn", &text, "timeline",
                    &timeline, "time", &when) != 0)
        return false;
    *tli = (uint32_t)timeline;
    return timeline > 0 && timeline <= UINT32_MAX && lsn_parse(text, lsn) &&
           clock_parse_utc(when, time);
}

static bool read_lists(const json_t *json, Backup *out)
{
    const json_t *spaces = json_object_get(json, "tablespaces");
    const json_t *damage = json_object_get(json, "damage");
    size_t n = json_array_size(spaces), m = json_array_size(damage);
    out->tablespaces = MEM_NEW_ARRAY(BackupTablespace, n);
    for (size_t i = 0; i < n; i++) {
        json_int_t oid;
        const char *location;
        if (json_unpack(json_array_get(spaces, i), "{s:I, s:s}", "oid", &oid, "location",
                        &location) != 0 || oid <= 0 || oid > UINT32_MAX || location[0] != '/')
            return false;
        out->tablespaces[out->tablespace_count++] =
            (BackupTablespace){(uint32_t)oid, mem_strdup(location)};
    }
    out->damage = MEM_NEW_ARRAY(char *, m);
    for (size_t i = 0; i < m; i++) {
        const char *line = json_string_value(json_array_get(damage, i));
        if (!line)
            return false;
        out->damage[out->damage_count++] = mem_strdup(line);
    }
    return true;
}

static bool read_fields(const json_t *json, Backup *out)
{
    const char *label, *version, *host, *written, *sysid, *index_sha, *manifest_sha;
    int format, from_standby, damaged;
    json_int_t segsize, skew, archives, packs, entries, files, size, stored, pack_size, index_size,
        manifest_size;
    if (json_unpack((json_t *)json,
                    "{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:b, s:I, s:I, s:I, s:I, s:I,"
                    " s:I, s:I, s:I, s:{s:s, s:I}, s:{s:s, s:I}, s:b}",
                    "format", &format, "label", &label, "pitr", &version, "host", &host, "written",
                    &written, "system_id", &sysid, "major", &out->major, "server_version",
                    &out->server_version, "wal_segment_size", &segsize, "from_standby",
                    &from_standby, "clock_skew_us", &skew, "archives", &archives, "packs", &packs,
                    "entries", &entries, "files", &files, "size", &size, "stored_size", &stored,
                    "pack_size", &pack_size, "index", "sha256", &index_sha, "stored_size",
                    &index_size, "manifest", "sha256", &manifest_sha, "size", &manifest_size,
                    "damaged", &damaged) != 0)
        return false;
    if (format != 1 || strlen(label) >= LABEL_TEXT || strlen(index_sha) != 64 ||
        strlen(manifest_sha) != 64 || segsize < 0 || segsize > UINT32_MAX ||
        !wal_segsize_valid((uint32_t)segsize) || !clock_parse_utc(written, &out->written) ||
        sscanf(sysid, "%" SCNu64, &out->sysid) != 1)
        return false;
    snprintf(out->label, sizeof(out->label), "%s", label);
    out->pitr_version = mem_strdup(version);
    out->host = mem_strdup(host);
    out->segsize = (uint32_t)segsize;
    out->from_standby = from_standby;
    out->clock_skew = skew;
    out->totals = (PackTotals){(uint64_t)archives, (uint64_t)packs, (uint64_t)entries,
                               (uint64_t)files,    (uint64_t)size,  (uint64_t)stored};
    out->pack_size = (size_t)pack_size;
    memcpy(out->index_sha256, index_sha, 65);
    memcpy(out->manifest_sha256, manifest_sha, 65);
    out->index_size = (uint64_t)index_size;
    out->manifest_size = (uint64_t)manifest_size;
    out->damaged = damaged;
    return true;
}

bool backup_from_json(const json_t *json, Backup *out, Error *err)
{
    *out = (Backup){0};
    if (read_fields(json, out) &&
        read_point(json, "start", &out->start_lsn, &out->start_tli, &out->start_time) &&
        read_point(json, "stop", &out->stop_lsn, &out->stop_tli, &out->stop_time) &&
        read_lists(json, out))
        return true;
    backup_free(out);
    return error_set(err, ERR_DAMAGED, "backup.json is not what this pitr writes");
}

/* --- begin and end ----------------------------------------------------------------------------- */

/* *owner is OWNER_OTHER if another's is there, OWNER_UNKNOWN if that may not be seen. */
static bool put_json(Repo *repo, const char *label, const char *name, json_t *json,
                     RepoOwner *owner, Error *err)
{
    char key[REPO_MAX_KEY], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    bool existed;
    repo_key(repo, key, "base/%s/%s", label, name);
    char *text = json_dumps(json, JSON_FORM);
    json_decref(json);
    if (!text)
        return error_set(err, ERR_INTERNAL, "can't write %s as JSON", name);
    sha256(text, strlen(text), digest);
    sha256_hex(digest, hex);
    bool ok = storage_put(repo->storage, key, text, strlen(text), hex, &existed, err);
    free(text);
    *owner = OWNER_SELF;
    return ok && (!existed || repo_owner(repo, key, hex, owner, err));
}

/* No two runs store the same begin.json, whatever host names and process ids containers have. */
static void draw_run(char out[33])
{
    uint8_t lot[16] = {0};
    if (getrandom(lot, sizeof(lot), GRND_NONBLOCK) != sizeof(lot))
        memcpy(lot, &(Instant){clock_now()}, sizeof(Instant));
    for (size_t i = 0; i < sizeof(lot); i++)
        snprintf(out + 2 * i, 3, "%02x", lot[i]);
}

bool catalog_begin(Repo *repo, Instant now, char label[LABEL_TEXT], Error *err)
{
    char host[256] = "", stamp[CLOCK_TEXT], when[CLOCK_TEXT], run[33];
    gethostname(host, sizeof(host) - 1);
    draw_run(run);
    for (int i = 0; i < 60; i++) {
        RepoOwner owner;
        clock_format_label(stamp, now + i * CLOCK_SECOND);
        snprintf(label, LABEL_TEXT, "%.20s-F", stamp);
        clock_format_utc(when, now);
        json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:s}", "format", 1, "label", label,
                                 "pitr", PITR_VERSION, "host", host, "started", when, "pid",
                                 (json_int_t)getpid(), "run", run);
        if (!put_json(repo, label, "begin.json", json, &owner, err))
            return false;
        if (owner == OWNER_SELF)
            return true;
    }
    return error_set(err, ERR_LOCKED, "no free backup label: a minute of them is taken");
}

bool catalog_finish(Repo *repo, const Backup *backup, Error *err)
{
    RepoOwner owner;
    if (!put_json(repo, backup->label, "backup.json", backup_to_json(backup), &owner, err))
        return false;
    return owner != OWNER_OTHER ||
           error_set(err, ERR_REPO, "backup %s exists already", backup->label);
}

typedef struct DiscardState {
    char **keys;
    size_t count, room;
} DiscardState;

static bool discard_one(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)stop;
    (void)err;
    DiscardState *s = ctx;
    if (strstr(object->key, "/begin.json")) /* goes last */
        return true;
    MEM_GROW(s->keys, s->count, s->room);
    s->keys[s->count++] = mem_strdup(object->key);
    return true;
}

void catalog_discard(Repo *repo, const char *label)
{
    Error err;
    DiscardState s = {0};
    char prefix[REPO_MAX_KEY];
    /* Whoever sends a signal waits. */
    storage_set_deadline(repo->storage, clock_now() + CLEAN_UP);
    interrupt_ignore(true);
    repo_key(repo, prefix, "base/%s/", label);
    bool ok = storage_list(repo->storage, prefix, NULL, discard_one, &s, &err);
    /* It may be there although storing it failed: while it is, the rest belongs to a backup. */
    repo_key(repo, prefix, "base/%s/backup.json", label);
    ok = ok && storage_delete(repo->storage, prefix, &err) &&
         storage_delete_many(repo->storage, (const char *const *)s.keys, s.count, &err);
    repo_key(repo, prefix, "base/%s/begin.json", label);
    ok = ok && storage_delete(repo->storage, prefix, &err);
    if (!ok) {
        log_info("what backup %s stored could not be removed; unless pitr info lists it as a backup, "
                 "it counts for nothing", label);
        log_debug("%s", err.message);
    }
    for (size_t i = 0; i < s.count; i++)
        free(s.keys[i]);
    free(s.keys);
    interrupt_ignore(false);
}

/* --- listing ----------------------------------------------------------------------------------- */

static bool load_backup(Repo *repo, const char *label, Catalog *c, size_t *room, Error *err)
{
    char key[REPO_MAX_KEY];
    Buf text;
    json_error_t why;
    repo_key(repo, key, "base/%s/backup.json", label);
    buf_init_max(&text, JSON_LIMIT);
    if (!storage_get(repo->storage, key, &text, err)) {
        buf_free(&text);
        if (err->code != ERR_NO)
            return false;
        size_t n = c->unfinished_count++;
        c->unfinished = mem_resize(c->unfinished, n + 1, LABEL_TEXT);
        snprintf(c->unfinished[n], LABEL_TEXT, "%s", label);
        return true;
    }
    json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    buf_free(&text);
    MEM_GROW(c->backups, c->count, *room);
    bool ok = json ? backup_from_json(json, &c->backups[c->count], err)
                   : error_set(err, ERR_DAMAGED, "no JSON: %s", why.text);
    json_decref(json);
    if (ok && strcmp(c->backups[c->count].label, label) != 0) {
        backup_free(&c->backups[c->count]);
        ok = error_set(err, ERR_DAMAGED, "it names another label");
    }
    if (!ok)
        return error_prefix(err, "%s", key);
    c->count++;
    return true;
}

typedef struct LoadState {
    Repo *repo;
    Catalog *catalog;
    size_t room;
} LoadState;

static bool load_label(void *ctx, const char *name, Error *err)
{
    LoadState *s = ctx;
    if (strlen(name) >= LABEL_TEXT || load_backup(s->repo, name, s->catalog, &s->room, err))
        return true;
    if (err->code != ERR_DAMAGED)
        return false;
    /* One bad object must not take the other backups away. */
    error_hint(err, "backup %s is left out", name);
    log_failure_as_warning(err);
    s->catalog->unreadable++;
    return true;
}

static int by_position(const void *a, const void *b)
{
    const Backup *x = a, *y = b;
    if (x->stop_tli != y->stop_tli)
        return x->stop_tli < y->stop_tli ? -1 : 1;
    if (x->stop_lsn != y->stop_lsn)
        return x->stop_lsn < y->stop_lsn ? -1 : 1;
    return strcmp(x->label, y->label);
}

bool catalog_load(Repo *repo, Catalog *out, Error *err)
{
    char prefix[REPO_MAX_KEY];
    *out = (Catalog){0};
    LoadState s = {repo, out, 0};
    repo_key(repo, prefix, "base/");
    if (!storage_list_names(repo->storage, prefix, load_label, &s, err)) {
        catalog_free(out);
        return false;
    }
    if (out->count)
        qsort(out->backups, out->count, sizeof(out->backups[0]), by_position);
    return true;
}

void catalog_free(Catalog *c)
{
    for (size_t i = 0; i < c->count; i++)
        backup_free(&c->backups[i]);
    free(c->backups);
    free(c->unfinished);
    *c = (Catalog){0};
}

const Backup *catalog_find(const Catalog *c, const char *label)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->backups[i].label, label) == 0)
            return &c->backups[i];
    return NULL;
}
