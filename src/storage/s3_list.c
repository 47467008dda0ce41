/*
 * s3_list.c: listings, of now (ListObjectsV2) and of an earlier moment (ListObjectVersions).
 *
 * A page is read whole before its first entry is handed out, so that one that has to be asked for
 * again is not seen twice. Keys must come in byte order, as S3 promises: what is concluded from a
 * listing ("nothing behind this segment") would be wrong otherwise. Keys that end in '/', which
 * consoles make for folders, are no objects of a repository.
 *
 * Of an earlier moment: each key's newest version that is not younger than the moment; if that is a
 * delete marker, the key was not there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/mem.h"
#include "storage/s3.h"

#define MAX_BARREN 1000 /* pages; a thousand versions of one key may fill each */

typedef struct Item {
    char *key; /* without the store's prefix */
    char *version;
    uint64_t size;
    Instant modified;
    bool cold, marker, is_prefix, latest;
    size_t at; /* in the page: of two versions of one second the first is the newer */
} Item;

/* One listing under way, and the page in hand. */
typedef struct Lister {
    S3Store *st;
    bool versions;
    char *prefix;          /* full */
    const char *delimiter; /* NULL: none */
    const char *after;     /* without the store's prefix; NULL: from the beginning */
    Buf start, token, token_version;
    S3List page; /* as it is being read */
    Item *items;
    size_t count, room;
    char *last; /* key handed out last, to check the order */
    char *high; /* the greatest key seen, and pages since then: a listing must come to an end */
    int barren;
    bool restored; /* the state of cold objects is asked for */
} Lister;

static void free_item(Item *item)
{
    free(item->key);
    free(item->version);
}

static void drop_page(Lister *l)
{
    for (size_t i = 0; i < l->count; i++)
        free_item(&l->items[i]);
    l->count = 0;
}

static void lister_free(Lister *l)
{
    drop_page(l);
    free(l->items);
    free(l->prefix);
    free(l->last);
    free(l->high);
    buf_free(&l->start);
    buf_free(&l->token);
    buf_free(&l->token_version);
    buf_free(&l->page.next);
    buf_free(&l->page.next_version);
}

static Item *add_item(Lister *l, const char *key, Error *err)
{
    size_t ours = strlen(l->st->prefix);
    if (strncmp(key, l->prefix, strlen(l->prefix)) != 0) {
        error_set(err, ERR_REPO, "a listing has a key that was not asked for: %s", key);
        return NULL;
    }
    MEM_GROW(l->items, l->count, l->room);
    Item *item = &l->items[l->count++];
    *item = (Item){.key = mem_strdup(key + ours), .at = l->count};
    return item;
}

static bool take_entry(void *ctx, const S3Entry *e, Error *err)
{
    Item *item = add_item(ctx, e->key, err);
    if (!item)
        return false;
    item->version = mem_strdup(e->version);
    item->size = e->size;
    item->modified = e->modified;
    item->marker = e->is_marker;
    item->latest = e->is_latest;
    item->cold = s3_is_cold(e->storage_class) && !e->restored;
    return true;
}

static bool take_prefix(void *ctx, const char *prefix, Error *err)
{
    Item *item = add_item(ctx, prefix, err);
    if (item)
        item->is_prefix = true;
    return item != NULL;
}

static void page_params(Lister *l, S3Request *r)
{
    s3_param(r, "prefix", l->prefix);
    s3_param(r, "max-keys", S3_PAGE);
    s3_param(r, "encoding-type", "url");
    if (l->delimiter)
        s3_param(r, "delimiter", l->delimiter);
    if (l->restored)
        s3_header(r, "x-amz-optional-object-attributes: RestoreStatus");
    if (l->versions) {
        s3_param(r, "versions", "");
        if (l->token.len || l->start.len)
            s3_param(r, "key-marker", l->token.len ? l->token.data : l->start.data);
        if (l->token_version.len)
            s3_param(r, "version-id-marker", l->token_version.data);
        return;
    }
    s3_param(r, "list-type", "2");
    if (l->token.len)
        s3_param(r, "continuation-token", l->token.data);
    else if (l->start.len)
        s3_param(r, "start-after", l->start.data);
}

static bool same(const Buf *a, const Buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool take_page(void *ctx, const S3Answer *answer, Error *err)
{
    Lister *l = ctx;
    l->page.entry = take_entry;
    l->page.prefix = take_prefix;
    l->page.ctx = l;
    l->page.asked = l->prefix;
    drop_page(l);
    return s3_xml_list(answer->http.body.data, answer->http.body.len, &l->page, err) &&
           (!l->page.truncated || !same(&l->page.next, &l->token) ||
            !same(&l->page.next_version, &l->token_version) ||
            error_set(err, ERR_REPO, "a listing goes on where it was"));
}

static bool goes_on(Lister *l, Error *err)
{
    const char *highest = l->high;
    for (size_t i = 0; i < l->count; i++)
        if (!highest || strcmp(l->items[i].key, highest) > 0)
            highest = l->items[i].key;
    l->barren++;
    if (highest && (!l->high || strcmp(highest, l->high) > 0)) {
        free(l->high);
        l->high = mem_strdup(highest);
        l->barren = 0;
    }
    if (l->barren > MAX_BARREN)
        return error_set(err, ERR_REPO, "repository %s: a listing does not come to an end",
                         l->st->name);
    return !l->st->deadline || clock_now() < l->st->deadline || l->barren < 2 ||
           error_set(err, ERR_REPO, "repository %s: a listing takes too long", l->st->name);
}

static bool read_page(Lister *l, Error *err)
{
    S3Answer answer = {0};
    S3Request r = s3_request(l->st, "GET", NULL);
    page_params(l, &r);
    r.accept = take_page;
    r.accept_ctx = l;
    bool ok = interrupt_check(err) && s3_send(l->st, &r, &answer, err);
    if (!ok && err->code == ERR_NO)
        err->code = ERR_REPO;
    s3_answer_free(&answer);
    s3_request_free(&r);
    return ok;
}

static bool has_cold(const Lister *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->items[i].cold)
            return true;
    return false;
}

/* Reads the next page into l->items; *more tells whether another one follows. Which cold objects
 * have been brought back is asked for where there are some: not every server takes the question. */
static bool next_page(Lister *l, bool *more, Error *err)
{
    bool ok = read_page(l, err);
    if (ok && !l->restored && has_cold(l)) {
        l->restored = true;
        if (!read_page(l, err)) {
            l->restored = false;
            ok = read_page(l, err);
        }
    }
    *more = l->page.truncated;
    Buf spent = l->token, spent_version = l->token_version;
    l->token = l->page.next;
    l->token_version = l->page.next_version;
    l->page.next = spent;
    l->page.next_version = spent_version;
    return ok && (!*more || goes_on(l, err));
}

/* Folders and delete markers come in runs of their own from some servers. */
static int by_key(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    if (order)
        return order;
    if (x->modified != y->modified)
        return x->modified < y->modified ? 1 : -1;
    if (x->latest != y->latest)
        return x->latest ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

static void sort_page(Lister *l)
{
    if (l->count)
        qsort(l->items, l->count, sizeof(l->items[0]), by_key);
}

static bool in_order(Lister *l, const char *key, Error *err)
{
    if (l->last && strcmp(l->last, key) > 0)
        return error_set(err, ERR_REPO, "repository %s: the server does not list in byte order: %s "
                         "came behind %s", l->st->name, key, l->last);
    free(l->last);
    l->last = mem_strdup(key);
    return true;
}

/* What is made of each object, and of each folder where there is a delimiter. */
typedef struct Out {
    bool (*take)(struct Out *out, const Item *item, Error *err);
    void *callback; /* the caller's, and its context */
    void *ctx;
    S3Store *st;
    bool stop;
} Out;

static bool hand_out(Lister *l, const Item *item, Out *out, Error *err)
{
    size_t len = strlen(item->key); /* consoles make objects for folders */
    if (s3_is_odd(item->key) || (!item->is_prefix && (len == 0 || item->key[len - 1] == '/')))
        return true;
    /* Some servers list a folder on each page that has keys of it, or ignore where to start. */
    if ((l->last && strcmp(l->last, item->key) == 0) ||
        (l->after && strcmp(item->key, l->after) <= 0))
        return true;
    return in_order(l, item->key, err) && out->take(out, item, err);
}

/* --- of now, and of then ----------------------------------------------------------------------- */

static bool list_now(Lister *l, Out *out, Error *err)
{
    bool more = true;
    while (more && !out->stop) {
        if (!next_page(l, &more, err))
            return false;
        sort_page(l); /* folders come in a run of their own */
        for (size_t i = 0; i < l->count && !out->stop; i++)
            if (!hand_out(l, &l->items[i], out, err))
                return false;
    }
    return true;
}

/* Hands out the best version of a key once all of them have gone by. */
static bool settle(Lister *l, Item *best, Out *out, Error *err)
{
    bool ok = !best->key || best->marker || out->stop || hand_out(l, best, out, err);
    free_item(best);
    *best = (Item){0};
    return ok;
}

static bool consider(Lister *l, Item *item, Item *best, Out *out, Error *err)
{
    if (best->key && strcmp(best->key, item->key) != 0 && !settle(l, best, out, err))
        return false;
    if (item->is_prefix)
        return hand_out(l, item, out, err);
    if (item->modified > l->st->as_of)
        return true;
    if (best->key && (item->modified < best->modified ||
                      (item->modified == best->modified && !item->latest)))
        return true;
    free_item(best);
    *best = *item;
    item->key = item->version = NULL;
    return true;
}

static bool list_then(Lister *l, Out *out, Error *err)
{
    bool more = true, ok = true;
    Item best = {0};
    while (ok && more && !out->stop) {
        ok = next_page(l, &more, err);
        if (ok)
            sort_page(l);
        for (size_t i = 0; ok && i < l->count && !out->stop; i++)
            ok = consider(l, &l->items[i], &best, out, err);
    }
    ok = ok && settle(l, &best, out, err);
    free_item(&best);
    return ok;
}

static bool list(S3Store *st, const char *prefix, const char *after, const char *delimiter, Out *out,
                 Error *err)
{
    Lister l = {
        .st = st, .versions = st->as_of != 0, .delimiter = delimiter, .after = after};
    l.prefix = mem_printf("%s%s", st->prefix, prefix);
    if (after)
        buf_printf(&l.start, "%s%s", st->prefix, after);
    out->st = st;
    bool ok = l.versions ? list_then(&l, out, err) : list_now(&l, out, err);
    lister_free(&l);
    return ok;
}

/* --- what is asked for ------------------------------------------------------------------------- */

static bool take_object(Out *out, const Item *item, Error *err)
{
    StorageObject object = {item->key, item->size, item->modified, item->cold};
    return (*(StorageListCallback *)out->callback)(out->ctx, &object, &out->stop, err);
}

bool s3_list(void *driver, const char *prefix, const char *after, StorageListCallback callback,
             void *ctx, Error *err)
{
    Out out = {.take = take_object, .callback = &callback, .ctx = ctx};
    return list(driver, prefix, after, NULL, &out, err);
}

static bool note_any(Out *out, const Item *item, Error *err)
{
    (void)item;
    (void)err;
    *(bool *)out->ctx = true;
    out->stop = true;
    return true;
}

static bool take_name(Out *out, const Item *item, Error *err)
{
    bool alive = true;
    /* Of then, a folder may hold only what was deleted or made later. */
    if (item->is_prefix && out->st->as_of) {
        alive = false;
        Out inner = {.take = note_any, .ctx = &alive};
        if (!list(out->st, item->key, NULL, NULL, &inner, err))
            return false;
    }
    char *name = mem_strndup(item->key, strlen(item->key) - item->is_prefix);
    char *slash = strrchr(name, '/');
    bool ok = !alive ||
              (*(StorageNameCallback *)out->callback)(out->ctx, slash ? slash + 1 : name, err);
    free(name);
    return ok;
}

bool s3_list_names(void *driver, const char *prefix, StorageNameCallback callback, void *ctx,
                   Error *err)
{
    Out out = {.take = take_name, .callback = &callback, .ctx = ctx};
    return list(driver, prefix, NULL, "/", &out, err);
}

typedef struct Wanted {
    const char *key;
    Buf *version;
    bool found;
} Wanted;

static bool take_version(Out *out, const Item *item, Error *err)
{
    Wanted *w = out->ctx;
    (void)err;
    if (strcmp(item->key, w->key) == 0)
        buf_puts(w->version, item->version);
    out->stop = true; /* a key sorts before all that it begins */
    return true;
}

bool s3_version_then(S3Store *st, const char *key, Buf *version, Error *err)
{
    Wanted wanted = {.key = key, .version = version};
    Out out = {.take = take_version, .ctx = &wanted};
    if (!list(st, key, NULL, NULL, &out, err))
        return false;
    return version->len || error_set(err, ERR_NO, "repository %s: %s/%s%s was not there then",
                                     st->name, st->bucket, st->prefix, key);
}

static bool note_found(Out *out, const Item *item, Error *err)
{
    Wanted *w = out->ctx;
    (void)err;
    w->found = strcmp(item->key, w->key) == 0;
    out->stop = true;
    return true;
}

bool s3_listed(S3Store *st, const char *key, bool *found, Error *err)
{
    Wanted wanted = {.key = key};
    Out out = {.take = note_found, .ctx = &wanted};
    bool ok = list(st, key, NULL, NULL, &out, err);
    *found = wanted.found;
    return ok;
}
