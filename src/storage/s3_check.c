/*
 * s3_check.c: a look at the bucket for `pitr check`, and the return of cold objects.
 *
 * The look needs nothing: what these credentials may not see is said and left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/s3.h"

typedef struct Look {
    S3Store *st;
    StorageCheckCallback callback;
    void *ctx;
    bool aborts; /* some rule removes unfinished uploads */
    bool useful; /* something is permitted */
} Look;

static void tell(Look *l, StorageFinding finding, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void tell(Look *l, StorageFinding finding, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *what = mem_vprintf(fmt, ap);
    va_end(ap);
    l->callback(l->ctx, finding, what, hint);
    free(what);
}

/* --- writing, reading, listing ----------------------------------------------------------------- */

static bool look_at_writing(Look *l, Error *err)
{
    static const char *const kinds[] = {"puts", "multipart uploads"};
    for (int i = 0; i < 2; i++) {
        S3Condition condition;
        if (!s3_probe(l->st, i == 1, &condition, err)) {
            if (!err->denied)
                return false;
            tell(l, FINDING_NOTE, "right for a host that only reads",
                 "these credentials may not write");
            return true;
        }
        l->useful = true;
        if (condition == CONDITION_HOLDS)
            tell(l, FINDING_GOOD, NULL, "%s: If-None-Match holds, nothing can be overwritten",
                 kinds[i]);
        else
            tell(l, FINDING_NOTE, "two writers in the same instant are not kept apart: let only one "
                                  "host write under this prefix",
                 "%s: the server ignores If-None-Match; pitr looks before it writes", kinds[i]);
    }
    return true;
}

static void permitted(Look *l, const char *what)
{
    l->useful = true;
    tell(l, FINDING_GOOD, NULL, "%s", what);
}

static bool take_first(void *ctx, const StorageObject *object, bool *stop, Error *err)
{
    (void)err;
    *(char **)ctx = mem_strdup(object->key);
    *stop = true;
    return true;
}

static bool look_at_listing(Look *l, char **first, Error *err)
{
    if (s3_list(l->st, "", NULL, take_first, first, err))
        permitted(l, "listing is permitted");
    else if (err->denied)
        tell(l, FINDING_NOTE, "enough for archive; backup then relies on the server's word that WAL "
                              "was archived, and restore and info run elsewhere",
             "these credentials may not list");
    else
        return false;
    return true;
}

/* Something that is there must be tried: a refusal and an absent key can look the same. */
static bool look_at_reading(Look *l, Error *err)
{
    StorageObject object;
    char *first = NULL;
    bool ok = look_at_listing(l, &first, err);
    if (ok && s3_head(l->st, first ? first : S3_PROBE_KEY, &object, err))
        permitted(l, "reading is permitted");
    else if (ok && err->denied)
        tell(l, FINDING_NOTE, "enough for archive and backup; restore and info run elsewhere",
             "these credentials may not read");
    else if (ok && err->code == ERR_NO)
        tell(l, FINDING_NOTE, NULL, "nothing is stored yet: reading could not be tried");
    else
        ok = false;
    free(first);
    return ok;
}

/* --- settings of the bucket -------------------------------------------------------------------- */

/* Asks for a subresource of the bucket; false, having told why, where it can't be seen. `absent` is
 * the code that says that none is set, and is then told as `without`. */
static bool ask(Look *l, const char *what, S3Answer *answer, const char *absent, const char *without,
                const char *hint)
{
    Error err;
    S3Request r = s3_request(l->st, "GET", NULL);
    s3_param(&r, what, "");
    bool ok = s3_send(l->st, &r, answer, &err);
    if (!ok && absent && strcmp(answer->error.code, absent) == 0)
        tell(l, FINDING_NOTE, hint, "%s", without);
    else if (!ok)
        tell(l, FINDING_NOTE, NULL, "the bucket's %s can't be seen: %s", what,
             answer->error.code[0] ? answer->error.code : err.message);
    s3_request_free(&r);
    return ok;
}

/* The text at `path` of an answer; false, having told so, if it is none of S3's. */
static bool text_of(Look *l, const char *what, const S3Answer *answer, const char *root,
                    const char *path, Buf *out)
{
    Error err;
    if (s3_xml_text(answer->http.body.data, answer->http.body.len, root, path, out, &err)) {
        buf_puts(out, "");
        return true;
    }
    tell(l, FINDING_NOTE, NULL, "the bucket's %s can't be seen: %s", what, err.message);
    return false;
}

static void look_at_versioning(Look *l)
{
    static const char hint[] = "with versioning a restore works after somebody deleted or overwrote "
                               "everything (--repo-time): see docs/s3.md";
    S3Answer answer;
    Buf status = BUF_INIT;
    if (ask(l, "versioning", &answer, NULL, NULL, NULL) &&
        text_of(l, "versioning", &answer, "VersioningConfiguration", "Status", &status)) {
        bool on = strcmp(status.data, "Enabled") == 0;
        tell(l, on ? FINDING_GOOD : FINDING_NOTE, on ? NULL : hint, "versioning is %s",
             on ? "on" : "off");
    }
    buf_free(&status);
    s3_answer_free(&answer);
}

static void look_at_lock(Look *l)
{
    static const char root[] = "ObjectLockConfiguration";
    static const char hint[] = "Object Lock keeps backups from whoever gets hold of this host's "
                               "credentials: see docs/s3.md";
    S3Answer answer;
    Buf mode = BUF_INIT, days = BUF_INIT;
    if (ask(l, "object-lock", &answer, "ObjectLockConfigurationNotFoundError",
            "Object Lock is not set up", hint) &&
        text_of(l, "object-lock", &answer, root, "Rule/DefaultRetention/Mode", &mode) &&
        text_of(l, "object-lock", &answer, root, "Rule/DefaultRetention/Days", &days)) {
        if (mode.len)
            tell(l, FINDING_GOOD, NULL, "Object Lock: %s%s%s%s", mode.data, days.len ? ", " : "",
                 days.data, days.len ? " days" : "");
        else
            tell(l, FINDING_NOTE, hint, "Object Lock is on, without a default retention");
    }
    buf_free(&mode);
    buf_free(&days);
    s3_answer_free(&answer);
}

static bool concerns(const Look *l, const char *rule_prefix)
{
    const char *ours = l->st->prefix;
    size_t a = strlen(ours), b = strlen(rule_prefix);
    return strncmp(ours, rule_prefix, a < b ? a : b) == 0;
}

static void on_rule(void *ctx, const S3LifecycleRule *rule)
{
    Look *l = ctx;
    const char *some = rule->has_tag_or_size ? " (of some objects)" : "";
    if (!rule->enabled || !concerns(l, rule->prefix))
        return;
    l->aborts |= rule->abort_days > 0;
    if (rule->expire_days)
        /* Our objects have no tags unless they are told to. */
        tell(l, rule->has_tag && !l->st->tags ? FINDING_NOTE : FINDING_BAD,
             "remove the rule, or limit it to other prefixes: what may go is for "
                             "pitr to decide, a single deleted WAL segment ends every recovery there",
             "lifecycle rule \"%s\" deletes objects of this repository after %d days%s", rule->id,
             rule->expire_days, some);
    if (rule->transition_days && s3_is_cold(rule->transition_class))
        tell(l, rule->has_tag_or_size ? FINDING_NOTE : FINDING_BAD,
             "a restore then needs --thaw and hours; let it concern large objects under base/ only "
             "(ObjectSizeGreaterThan)",
             "lifecycle rule \"%s\" moves objects of this repository to %s after %d days%s",
             rule->id, rule->transition_class, rule->transition_days, some);
    if (rule->noncurrent_days)
        tell(l, FINDING_GOOD, NULL, "deleted and overwritten versions stay for %d days (--repo-time)",
             rule->noncurrent_days);
}

static void look_at_lifecycle(Look *l)
{
    static const char hint[] = "add AbortIncompleteMultipartUpload after 7 days: what kill -9 leaves "
                               "is paid for otherwise";
    S3Answer answer;
    Error err;
    if (ask(l, "lifecycle", &answer, "NoSuchLifecycleConfiguration",
            "no lifecycle rule removes unfinished uploads", hint)) {
        if (!s3_xml_lifecycle(answer.http.body.data, answer.http.body.len, on_rule, l, &err))
            tell(l, FINDING_NOTE, NULL, "%s", err.message);
        else if (!l->aborts)
            tell(l, FINDING_NOTE, hint, "no lifecycle rule removes unfinished uploads");
        else
            tell(l, FINDING_GOOD, NULL, "a lifecycle rule removes unfinished uploads");
    }
    s3_answer_free(&answer);
}

bool s3_check(void *driver, StorageCheckCallback callback, void *ctx, Error *err)
{
    Look l = {.st = driver, .callback = callback, .ctx = ctx};
    if (strcmp(l.st->scheme, "https") != 0)
        tell(&l, FINDING_NOTE, "write endpoint = https://…", "the connection is not encrypted");
    if (!look_at_writing(&l, err) || !look_at_reading(&l, err))
        return false;
    if (!l.useful)
        tell(&l, FINDING_BAD, "the table of permissions is in docs/s3.md",
             "these credentials may do nothing here");
    look_at_versioning(&l);
    look_at_lock(&l);
    look_at_lifecycle(&l);
    return true;
}

/* --- cold objects ------------------------------------------------------------------------------ */

bool s3_thaw(void *driver, const char *key, const char *tier, int days, bool *ready, Error *err)
{
    S3Store *st = driver;
    StorageObject object;
    Buf version = BUF_INIT, xml = BUF_INIT;
    if (!s3_head(st, key, &object, err))
        return false;
    *ready = !object.cold;
    if (*ready)
        return true;
    if (st->as_of && !s3_version_then(st, key, &version, err)) {
        buf_free(&version);
        return false;
    }
    buf_printf(&xml, "<RestoreRequest><Days>%d</Days><GlacierJobParameters><Tier>%s</Tier>"
               "</GlacierJobParameters></RestoreRequest>", days, tier);
    S3Answer answer;
    S3Request r = s3_request(st, "POST", key);
    s3_param(&r, "restore", "");
    if (version.len)
        s3_param(&r, "versionId", version.data);
    s3_header(&r, "content-type: application/xml");
    r.body = xml.data;
    r.body_len = xml.len;
    s3_body_md5(&r);
    bool ok = s3_send(st, &r, &answer, err) ||
              strcmp(answer.error.code, "RestoreAlreadyInProgress") == 0;
    s3_answer_free(&answer);
    s3_request_free(&r);
    buf_free(&xml);
    buf_free(&version);
    return ok;
}
