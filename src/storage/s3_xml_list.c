#include "storage/s3_xml.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/aws_sign.h"
#include "storage/s3_xml_parse.h"

static bool read_bool(const char *text, bool *out)
{
    *out = xml_is(text, "true");
    return *out || xml_is(text, "false");
}

/* As clock_parse_utc(), with decimals beyond the sixth cut off. */
static bool read_time(const char *text, Instant *out)
{
    char plain[CLOCK_TEXT];
    const char *dot = strchr(text, '.');
    size_t decimals = dot ? strspn(dot + 1, "0123456789") : 0;
    if (decimals <= 6)
        return clock_parse_utc(text, out);
    size_t head = (size_t)(dot + 7 - text), tail = strlen(dot + 1 + decimals);
    if (head + tail >= sizeof(plain))
        return false;
    memcpy(plain, text, head);
    memcpy(plain + head, dot + 1 + decimals, tail + 1);
    return clock_parse_utc(plain, out);
}

typedef struct ListWalk {
    S3List *list;
    bool deliver; /* the second walk: the callbacks are called */
    bool encoded, undecodable, said_truncated, said_prefix, said_count;
    uint64_t said, seen;                              /* KeyCount; objects and common prefixes */
    bool has_size, has_modified, expiry, in_progress; /* of the entry at hand */
    S3Entry entry;
    Buf key, version, storage_class;         /* of the entry at hand, as they stand in the answer */
    Buf decoded;                             /* its key, or a prefix */
    Buf marker, last_key, last_prefix, echo; /* of the answer, not decoded */
} ListWalk;

/* With EncodingType url a space comes as '+' (AWS, MinIO) or as %20 (Ceph); a real plus is always
 * %2B. Replaces what is in `out`. */
static bool decode_url(Buf *out, const char *text)
{
    char *spaces = mem_strdup(text);
    for (char *p = spaces; *p; p++)
        if (*p == '+')
            *p = ' ';
    xml_keep(out, "");
    bool ok = aws_uri_decode(out, spaces);
    free(spaces);
    return ok;
}

/* Decodes a key or a prefix, where the answer says so, into w->decoded. In the first walk, which
 * does not know yet, it is only tried. */
static void decode(ListWalk *w, const char *text)
{
    if (w->deliver && !w->encoded)
        xml_keep(&w->decoded, text);
    else if (!decode_url(&w->decoded, text))
        w->undecodable = true;
}

static bool list_begin(void *ctx, const char *path, Error *err)
{
    (void)err;
    ListWalk *w = ctx;
    if (!xml_is(path, "Contents") && !xml_is(path, "Version") && !xml_is(path, "DeleteMarker"))
        return true;
    w->entry = (S3Entry){0};
    w->has_size = w->has_modified = w->expiry = w->in_progress = false;
    xml_keep(&w->key, "");
    xml_keep(&w->version, "");
    xml_keep(&w->storage_class, "");
    return true;
}

static bool entry_field(ListWalk *w, const char *name, const char *text, Error *err)
{
    bool ok = true;
    if (xml_is(name, "Key")) {
        xml_keep(&w->key, text);
    } else if (xml_is(name, "Size")) {
        w->has_size = ok = xml_number(text, &w->entry.size);
    } else if (xml_is(name, "LastModified")) {
        w->has_modified = ok = read_time(text, &w->entry.modified);
    } else if (xml_is(name, "VersionId")) {
        xml_keep(&w->version, text);
    } else if (xml_is(name, "IsLatest")) {
        ok = read_bool(text, &w->entry.is_latest);
    } else if (xml_is(name, "StorageClass")) {
        xml_keep(&w->storage_class, text);
    } else if (xml_is(name, "RestoreStatus/IsRestoreInProgress")) {
        ok = read_bool(text, &w->in_progress);
    } else if (xml_is(name, "RestoreStatus/RestoreExpiryDate")) {
        w->expiry = true;
    }
    return ok || xml_refuse(err, "%s of an object can't be read", name);
}

static bool entry_end(ListWalk *w, const char *kind, Error *err)
{
    bool plain = xml_is(kind, "Contents"), marker = xml_is(kind, "DeleteMarker");
    if (!w->key.len || !w->has_modified || (!marker && !w->has_size))
        return xml_refuse(err, "an object has no key, size or time");
    if (!plain && !w->version.len)
        return xml_refuse(err, "a version has no identifier");
    decode(w, w->key.data);
    if (!w->deliver) {
        w->seen++;
        xml_keep(&w->last_key, w->key.data);
        return true;
    }
    w->entry.key = w->decoded.data;
    w->entry.version = plain ? "" : w->version.data;
    w->entry.storage_class = w->storage_class.data;
    w->entry.is_marker = marker;
    w->entry.restored = w->expiry && !w->in_progress;
    return !w->list->entry || w->list->entry(w->list->ctx, &w->entry, err);
}

static bool common_prefix(ListWalk *w, const char *text, Error *err)
{
    decode(w, text);
    if (!w->deliver) {
        w->seen++;
        xml_keep(&w->last_prefix, text);
        return true;
    }
    return !w->list->prefix || w->list->prefix(w->list->ctx, w->decoded.data, err);
}

static bool list_field(ListWalk *w, const char *name, const char *text, Error *err)
{
    if (xml_is(name, "EncodingType")) {
        w->encoded = xml_is(text, "url");
    } else if (xml_is(name, "IsTruncated")) {
        w->said_truncated = true;
        if (!read_bool(text, &w->list->truncated))
            return xml_refuse(err, "IsTruncated can't be read");
    } else if (xml_is(name, "NextContinuationToken")) {
        xml_keep(&w->list->next, text);
    } else if (xml_is(name, "NextKeyMarker")) {
        xml_keep(&w->marker, text);
    } else if (xml_is(name, "NextVersionIdMarker")) {
        xml_keep(&w->list->next_version, text);
    } else if (xml_is(name, "Prefix")) {
        w->said_prefix = true;
        xml_keep(&w->echo, text);
    } else if (xml_is(name, "KeyCount")) {
        w->said_count = true;
        if (!xml_number(text, &w->said))
            return xml_refuse(err, "KeyCount can't be read");
    }
    return true;
}

static bool list_end(void *ctx, const char *path, const char *text, Error *err)
{
    static const char *const kinds[] = {"Contents", "Version", "DeleteMarker"};
    ListWalk *w = ctx;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *field = xml_below(path, kinds[i]);
        if (field)
            return entry_field(w, field, text, err);
        if (xml_is(path, kinds[i]))
            return entry_end(w, path, err);
    }
    if (xml_is(path, "CommonPrefixes/Prefix"))
        return common_prefix(w, text, err);
    return w->deliver || list_field(w, path, text, err);
}

/* True if NextKeyMarker, as it stands there, is `last` decoded. */
static bool is_decoded(ListWalk *w, const Buf *last)
{
    return last->len && decode_url(&w->decoded, last->data) &&
           xml_is(w->decoded.data, w->marker.data);
}

/* AWS encodes NextKeyMarker as it does keys; Ceph (16 to 20) leaves it as it is. */
static void next_key(ListWalk *w)
{
    Buf *next = &w->list->next;
    bool plain = !w->encoded || is_decoded(w, &w->last_key) || is_decoded(w, &w->last_prefix);
    if (plain || !decode_url(next, w->marker.data))
        xml_keep(next, w->marker.data);
}

/* Where the next page begins. An answer that leaves it in doubt is none: whatever comes later would
 * be taken for absent. */
static bool next_page(ListWalk *w, bool versions, Error *err)
{
    if (!w->said_truncated)
        return xml_refuse(err, "a listing does not say whether it is complete");
    if (w->encoded && w->undecodable)
        return xml_refuse(err, "a key is not encoded as the listing says");
    if (versions)
        next_key(w);
    if (w->list->truncated && !w->list->next.len)
        return xml_refuse(err, "a listing goes on but does not say where");
    return true;
}

/* Caches and balancers have been seen to mix answers up. */
static bool is_ours(ListWalk *w, Error *err)
{
    const char *asked = w->list->asked;
    if (asked && w->said_prefix && !xml_is(w->echo.data, asked) &&
        !(decode_url(&w->decoded, w->echo.data) && xml_is(w->decoded.data, asked)))
        return xml_refuse(err, "a listing of \"%s\" came, which was not asked for", w->echo.data);
    return !w->said_count || w->said <= w->seen ||
           xml_refuse(err, "a listing does not have as many keys as it says");
}

bool s3_xml_list(const char *text, size_t len, S3List *list, Error *err)
{
    ListWalk w = {.list = list};
    XmlVisitor v = {{"ListBucketResult", "ListVersionsResult"}, list_begin, list_end, &w};
    size_t root = 0;
    list->truncated = false;
    xml_keep(&w.marker, "");
    xml_keep(&list->next, "");
    xml_keep(&list->next_version, "");
    /* Twice: EncodingType may come behind the keys, and nothing of a broken answer is handed out.
     */
    bool ok = xml_walk_answer(text, len, &v, &root, err) && next_page(&w, root == 1, err) &&
              is_ours(&w, err);
    w.deliver = true;
    ok = ok && xml_walk(text, len, &v, NULL, err);
    buf_free(&w.key);
    buf_free(&w.version);
    buf_free(&w.storage_class);
    buf_free(&w.decoded);
    buf_free(&w.marker);
    buf_free(&w.last_key);
    buf_free(&w.last_prefix);
    buf_free(&w.echo);
    return ok;
}
