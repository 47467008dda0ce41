#include "storage/s3_xml.h"

#include <limits.h>
#include <string.h>

#include "storage/s3_xml_parse.h"

/* ---- texts ---- */

/* Copies what fits, whole characters only. Control characters (C0, DEL, and C1 as UTF-8 writes
 * them) become '?': the text goes to terminals and logs. */
static void keep_safe(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text && n < size - 1; text++) {
        unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];
        bool c1 = c == 0xC2 && next >= 0x80 && next < 0xA0;
        out[n++] = c < ' ' || c == 127 || c1 ? '?' : *text;
        text += c1;
    }
    if (*text)
        while (n && ((unsigned char)*text & 0xC0) == 0x80)
            text--, n--;
    out[n] = '\0';
}

void s3_xml_escape(Buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 127 || strchr("&<>\"'", c))
            buf_printf(out, "&#x%X;", c);
        else
            buf_putc(out, *text);
    }
}

bool s3_is_cold(const char *storage_class)
{
    return strcmp(storage_class, "GLACIER") == 0 || strcmp(storage_class, "DEEP_ARCHIVE") == 0;
}

/* ---- errors ---- */

static bool error_field(S3Error *e, const char *name, const char *text)
{
    if (xml_is(name, "Code"))
        keep_safe(e->code, sizeof(e->code), text);
    else if (xml_is(name, "Message"))
        keep_safe(e->message, sizeof(e->message), text);
    else if (xml_is(name, "Region"))
        keep_safe(e->region, sizeof(e->region), text);
    else if (xml_is(name, "Endpoint"))
        keep_safe(e->endpoint, sizeof(e->endpoint), text);
    else if (xml_is(name, "RequestId"))
        keep_safe(e->request_id, sizeof(e->request_id), text);
    return true;
}

static bool error_end(void *ctx, const char *path, const char *text, Error *err)
{
    (void)err;
    const char *inner = xml_below(path, "Error");
    return error_field(ctx, inner ? inner : path, text);
}

bool s3_xml_error(const char *text, size_t len, S3Error *out)
{
    /* ErrorResponse is how STS says it: <ErrorResponse><Error><Code>… */
    XmlVisitor v = {{"Error", "ErrorResponse"}, NULL, error_end, out};
    Error ignored;
    *out = (S3Error){0};
    if (xml_walk(text, len, &v, NULL, &ignored))
        return true;
    *out = (S3Error){0};
    return false;
}

/* ---- single texts ---- */

typedef struct TextWalk {
    const char *path;
    Buf text;
    bool found;
} TextWalk;

static bool text_end(void *ctx, const char *path, const char *text, Error *err)
{
    (void)err;
    TextWalk *w = ctx;
    if (!w->found && xml_is(path, w->path)) {
        w->found = true;
        buf_puts(&w->text, text);
    }
    return true;
}

bool s3_xml_text(const char *text, size_t len, const char *root, const char *path, Buf *out,
                 Error *err)
{
    TextWalk w = {.path = path, .text = BUF_INIT};
    XmlVisitor v = {{root}, NULL, text_end, &w};
    bool ok = xml_walk_answer(text, len, &v, NULL, err);
    if (ok && w.found && !buf_append(out, w.text.data, w.text.len))
        ok = xml_refuse(err, "%s is too long", path);
    if (w.text.data)
        explicit_bzero(w.text.data, w.text.len); /* it may be a secret */
    buf_free(&w.text);
    return ok;
}

bool s3_xml_upload_id(const char *text, size_t len, Buf *out, Error *err)
{
    size_t before = out->len;
    return s3_xml_text(text, len, "InitiateMultipartUploadResult", "UploadId", out, err) &&
           (out->len > before || xml_refuse(err, "an upload has no identifier"));
}

static bool nothing_end(void *ctx, const char *path, const char *text, Error *err)
{
    (void)ctx, (void)path, (void)text, (void)err;
    return true;
}

bool s3_xml_complete(const char *text, size_t len, S3Error *error, Error *err)
{
    XmlVisitor v = {{"CompleteMultipartUploadResult"}, NULL, nothing_end, NULL};
    *error = (S3Error){0};
    if (xml_walk(text, len, &v, NULL, err))
        return true;
    if (s3_xml_error(text, len, error) && error->code[0])
        return xml_error_answer(error, err);
    return false;
}

/* ---- deletions ---- */

typedef struct DeleteWalk {
    void (*failed)(void *ctx, const char *key, const S3Error *error);
    void *ctx;
    Buf key;
    S3Error error;
} DeleteWalk;

static bool delete_begin(void *ctx, const char *path, Error *err)
{
    (void)err;
    DeleteWalk *w = ctx;
    if (xml_is(path, "Error")) {
        w->error = (S3Error){0};
        xml_keep(&w->key, "");
    }
    return true;
}

static bool delete_end(void *ctx, const char *path, const char *text, Error *err)
{
    (void)err;
    DeleteWalk *w = ctx;
    const char *field = xml_below(path, "Error");
    if (field && xml_is(field, "Key"))
        xml_keep(&w->key, text);
    else if (field)
        error_field(&w->error, field, text);
    else if (xml_is(path, "Error"))
        w->failed(w->ctx, w->key.data, &w->error);
    return true;
}

bool s3_xml_delete_result(const char *text, size_t len,
                          void (*failed)(void *ctx, const char *key, const S3Error *error),
                          void *ctx, Error *err)
{
    DeleteWalk w = {.failed = failed, .ctx = ctx};
    XmlVisitor v = {{"DeleteResult"}, delete_begin, delete_end, &w};
    bool ok = xml_walk_answer(text, len, &v, NULL, err);
    buf_free(&w.key);
    return ok;
}

/* ---- lifecycle ---- */

typedef struct LifecycleWalk {
    void (*call)(void *ctx, const S3LifecycleRule *rule);
    void *ctx;
    S3LifecycleRule rule;
    int transition_days; /* of the Transition at hand */
    Buf id, prefix, transition_class, earliest_class;
} LifecycleWalk;

static bool lifecycle_begin(void *ctx, const char *path, Error *err)
{
    (void)err;
    LifecycleWalk *w = ctx;
    if (xml_is(path, "Rule")) {
        w->rule = (S3LifecycleRule){0};
        xml_keep(&w->id, "");
        xml_keep(&w->prefix, "");
        xml_keep(&w->earliest_class, "");
    } else if (xml_is(path, "Rule/Transition")) {
        w->transition_days = 0;
        xml_keep(&w->transition_class, "");
    }
    return true;
}

/* Days as a number that says "there is such an action" by not being 0. */
static bool read_days(const char *text, int *out, Error *err)
{
    uint64_t days;
    if (!xml_number(text, &days))
        return xml_refuse(err, "the days of a lifecycle rule can't be read");
    *out = days == 0 ? 1 : days > INT_MAX ? INT_MAX : (int)days;
    return true;
}

static void end_transition(LifecycleWalk *w)
{
    S3LifecycleRule *r = &w->rule;
    bool cold = s3_is_cold(w->transition_class.data);
    bool had_cold = r->transition_days && s3_is_cold(w->earliest_class.data);
    bool earlier = !r->transition_days || w->transition_days < r->transition_days;
    if (!w->transition_days || (cold == had_cold ? !earlier : had_cold))
        return;
    r->transition_days = w->transition_days;
    xml_keep(&w->earliest_class, w->transition_class.data);
}

static void filter_field(LifecycleWalk *w, const char *name, const char *text)
{
    const char *both = xml_below(name, "And");
    const char *field = both ? both : name;
    if (xml_is(field, "Prefix"))
        xml_keep(&w->prefix, text);
    else if (xml_is(field, "Tag"))
        w->rule.has_tag = w->rule.has_tag_or_size = true;
    else if (xml_is(field, "ObjectSizeGreaterThan") || xml_is(field, "ObjectSizeLessThan"))
        w->rule.has_tag_or_size = true;
}

static bool rule_field(LifecycleWalk *w, const char *name, const char *text, Error *err)
{
    S3LifecycleRule *r = &w->rule;
    if (xml_below(name, "Filter"))
        filter_field(w, xml_below(name, "Filter"), text);
    else if (xml_is(name, "ID"))
        xml_keep(&w->id, text);
    else if (xml_is(name, "Prefix"))
        xml_keep(&w->prefix, text);
    else if (xml_is(name, "Status"))
        r->enabled = xml_is(text, "Enabled");
    else if (xml_is(name, "Expiration/Days"))
        return read_days(text, &r->expire_days, err);
    else if (xml_is(name, "Expiration/Date"))
        r->expire_days = 1;
    else if (xml_is(name, "NoncurrentVersionExpiration/NoncurrentDays"))
        return read_days(text, &r->noncurrent_days, err);
    else if (xml_is(name, "AbortIncompleteMultipartUpload/DaysAfterInitiation"))
        return read_days(text, &r->abort_days, err);
    else if (xml_is(name, "Transition/Days"))
        return read_days(text, &w->transition_days, err);
    else if (xml_is(name, "Transition/Date"))
        w->transition_days = 1;
    else if (xml_is(name, "Transition/StorageClass"))
        xml_keep(&w->transition_class, text);
    else if (xml_is(name, "Transition"))
        end_transition(w);
    return true;
}

static bool lifecycle_end(void *ctx, const char *path, const char *text, Error *err)
{
    LifecycleWalk *w = ctx;
    const char *field = xml_below(path, "Rule");
    if (field)
        return rule_field(w, field, text, err);
    if (xml_is(path, "Rule")) {
        w->rule.id = w->id.data;
        w->rule.prefix = w->prefix.data;
        w->rule.transition_class = w->earliest_class.data;
        w->call(w->ctx, &w->rule);
    }
    return true;
}

bool s3_xml_lifecycle(const char *text, size_t len,
                      void (*rule)(void *ctx, const S3LifecycleRule *rule), void *ctx, Error *err)
{
    LifecycleWalk w = {.call = rule, .ctx = ctx};
    XmlVisitor v = {{"LifecycleConfiguration"}, lifecycle_begin, lifecycle_end, &w};
    bool ok = xml_walk_answer(text, len, &v, NULL, err);
    buf_free(&w.id);
    buf_free(&w.prefix);
    buf_free(&w.transition_class);
    buf_free(&w.earliest_class);
    return ok;
}
