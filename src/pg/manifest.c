#include "pg/manifest.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pg/pgtext.h"
#include "pg/walname.h"

/* What the next line must be. */
typedef enum State {
    AT_VERSION,
    AT_SYSID,
    AT_FILES,       /* "Files": [ */
    AT_FIRST_FILE,  /* a file, or the end of the list */
    AT_FILE,        /* a file, after a comma */
    AT_FILES_END,   /* the end of the list, after a file without comma */
    AT_RANGES,      /* "WAL-Ranges": [ */
    AT_FIRST_RANGE, /* as for files */
    AT_RANGE,
    AT_RANGES_END,
    AT_CHECKSUM,
    AT_END,
} State;

struct ManifestReader {
    ManifestSink sink;
    ManifestInfo info;
    State state;
    uint64_t line_number;
    Buf line; /* an unfinished line */
    EVP_MD_CTX *digest;
    bool failed;
};

ManifestReader *manifest_open(const ManifestSink *sink)
{
    ManifestReader *r = MEM_NEW(ManifestReader);
    r->sink = *sink;
    r->line_number = 1;
    buf_init_max(&r->line, MANIFEST_LINE_MAX);
    r->digest = EVP_MD_CTX_new();
    /* Reported by the first feed: this function has no error of its own. */
    r->failed = !r->digest || EVP_DigestInit_ex(r->digest, EVP_sha256(), NULL) != 1;
    return r;
}

void manifest_free(ManifestReader *r)
{
    if (!r)
        return;
    EVP_MD_CTX_free(r->digest);
    buf_free(&r->line);
    free(r);
}

static bool bad(const ManifestReader *r, Error *err, const char *what)
{
    return error_set(err, ERR_DAMAGED, "backup manifest, line %llu: %s",
                     (unsigned long long)r->line_number, what);
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static bool unsigned_of(const json_t *o, const char *key, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool only_keys(json_t *o, const char *const *known, size_t n)
{
    const char *key;
    json_t *value;

    json_object_foreach(o, key, value)
    {
        size_t i = 0;
        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n)
            return false;
    }
    return true;
}

/* The path as bytes, from whichever of the two keys is there; the caller frees. NULL if unfit. */
static char *path_of(const json_t *o)
{
    const char *plain = text_of(o, "Path");
    const char *hex = text_of(o, "Encoded-Path");
    char *path = NULL;

    if (plain && !hex) {
        path = mem_strdup(plain);
    } else if (hex && !plain) {
        size_t n;
        path = mem_new(strlen(hex) / 2 + 1, 1);
        if (!pgtext_unhex(hex, (uint8_t *)path, &n) || strlen(path) != n)
            path[0] = '\0';
    }
    if (path && !pgtext_is_relative_path(path)) {
        free(path);
        path = NULL;
    }
    return path;
}

static bool checksum_fits(const char *algorithm, const char *checksum)
{
    static const struct {
        const char *name;
        size_t digits;
    } known[] = {{"CRC32C", 8}, {"SHA224", 56}, {"SHA256", 64}, {"SHA384", 96}, {"SHA512", 128}};

    if (!algorithm || !checksum)
        return !algorithm && !checksum;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcmp(algorithm, known[i].name))
            return pgtext_is_hex(checksum, known[i].digits);
    return false;
}

static bool read_file(ManifestReader *r, json_t *o, Error *err)
{
    static const char *const keys[] = {"Path",          "Encoded-Path",       "Size",
                                       "Last-Modified", "Checksum-Algorithm", "Checksum"};
    ManifestFile f = {.last_modified = text_of(o, "Last-Modified"),
                      .algorithm = text_of(o, "Checksum-Algorithm"),
                      .checksum = text_of(o, "Checksum")};

    if (!only_keys(o, keys, sizeof(keys) / sizeof(keys[0])))
        return bad(r, err, "a file with an unknown field");
    if (!unsigned_of(o, "Size", INT64_MAX, &f.size) || r->info.bytes > UINT64_MAX - f.size)
        return bad(r, err, "a file without a valid size");
    if (!f.last_modified)
        return bad(r, err, "a file without a modification time");
    if (!checksum_fits(f.algorithm, f.checksum))
        return bad(r, err, "a file with an unfit checksum");
    char *path = path_of(o);
    if (!path)
        return bad(r, err, "a file without a safe path");
    f.path = path;
    r->info.files++;
    r->info.bytes += f.size;
    bool ok = !r->sink.file || r->sink.file(r->sink.ctx, &f, err);
    free(path);
    return ok;
}

static bool read_range(ManifestReader *r, json_t *o, Error *err)
{
    static const char *const keys[] = {"Timeline", "Start-LSN", "End-LSN"};
    const char *start_text = text_of(o, "Start-LSN");
    const char *end_text = text_of(o, "End-LSN");
    uint64_t tli, start, end;

    if (!only_keys(o, keys, sizeof(keys) / sizeof(keys[0])))
        return bad(r, err, "a WAL range with an unknown field");
    if (!unsigned_of(o, "Timeline", UINT32_MAX, &tli) || tli == 0 || !start_text || !end_text ||
        !lsn_parse(start_text, &start) || !lsn_parse(end_text, &end) || start > end)
        return bad(r, err, "an unfit WAL range");
    return !r->sink.wal_range || r->sink.wal_range(r->sink.ctx, (uint32_t)tli, start, end, err);
}

/* One line of a list; `state` is the list's first state, the next two are as in State. */
static bool read_item(ManifestReader *r, const char *s, size_t len, State first, State after,
                      bool (*read)(ManifestReader *, json_t *, Error *), Error *err)
{
    json_error_t where;

    if (!strcmp(s, "],")) {
        if (r->state == first + 1)
            return bad(r, err, "a list that ends behind a comma");
        r->state = after;
        return true;
    }
    if (r->state == first + 2)
        return bad(r, err, "a comma is missing in the line before");
    bool comma = len > 0 && s[len - 1] == ',';
    json_t *o = json_loadb(s, len - comma, JSON_REJECT_DUPLICATES, &where);
    bool ok = json_is_object(o) ? read(r, o, err) : bad(r, err, "not a JSON object");
    json_decref(o);
    r->state = comma ? first + 1 : first + 2;
    return ok;
}

/* The text between `before` and `after`, in place; NULL if `s` does not start and end so. */
static char *between(char *s, size_t len, const char *before, const char *after)
{
    size_t b = strlen(before), a = strlen(after);

    if (len < b + a || strncmp(s, before, b) != 0 || strcmp(s + len - a, after) != 0)
        return NULL;
    s[len - a] = '\0';
    return s + b;
}

static bool read_version(ManifestReader *r, char *s, size_t len, Error *err)
{
    const char *text = between(s, len, "{ \"PostgreSQL-Backup-Manifest-Version\": ", ",");
    uint64_t version;

    if (!text || !pgtext_uint(text, INT32_MAX, &version) || version == 0)
        return bad(r, err, "does not begin as a backup manifest");
    if (version > MANIFEST_VERSION_MAX) {
        error_set(err, ERR_DAMAGED, "backup manifest: version %d is not known", (int)version);
        return error_hint(err, "this PostgreSQL is newer than this pitr: upgrade pitr");
    }
    r->info.version = (int)version;
    r->state = version >= 2 ? AT_SYSID : AT_FILES;
    return true;
}

/* Read as text: a system identifier may pass the range of JSON's integers. */
static bool read_sysid(ManifestReader *r, char *s, size_t len, Error *err)
{
    const char *text = between(s, len, "\"System-Identifier\": ", ",");

    if (!text || !pgtext_uint(text, UINT64_MAX, &r->info.sysid))
        return bad(r, err, "no system identifier");
    r->state = AT_FILES;
    return true;
}

static bool read_checksum(ManifestReader *r, char *s, size_t len, Error *err)
{
    const char *hex = between(s, len, "\"Manifest-Checksum\": \"", "\"}");
    uint8_t want[EVP_MAX_MD_SIZE], have[EVP_MAX_MD_SIZE];
    unsigned have_len;
    size_t want_len;

    if (!hex || !pgtext_is_hex(hex, 64) || !pgtext_unhex(hex, want, &want_len))
        return bad(r, err, "no manifest checksum");
    if (EVP_DigestFinal_ex(r->digest, have, &have_len) != 1)
        return error_set(err, ERR_INTERNAL, "SHA-256 failed");
    if (have_len != want_len || memcmp(have, want, want_len) != 0)
        return error_set(err, ERR_DAMAGED, "backup manifest: its own checksum does not match");
    r->state = AT_END;
    return true;
}

static bool expect(ManifestReader *r, const char *s, const char *want, Error *err)
{
    if (strcmp(s, want) != 0)
        return bad(r, err, "unexpected text");
    r->state++;
    return true;
}

/* `s`: a line without its newline, zero-terminated; changed in place. */
static bool read_line(ManifestReader *r, char *s, size_t len, Error *err)
{
    if (strlen(s) != len)
        return bad(r, err, "a zero byte");
    switch (r->state) {
    case AT_VERSION:
        return read_version(r, s, len, err);
    case AT_SYSID:
        return read_sysid(r, s, len, err);
    case AT_FILES:
        return expect(r, s, "\"Files\": [", err);
    case AT_FIRST_FILE:
    case AT_FILE:
    case AT_FILES_END:
        return read_item(r, s, len, AT_FIRST_FILE, AT_RANGES, read_file, err);
    case AT_RANGES:
        return expect(r, s, "\"WAL-Ranges\": [", err);
    case AT_FIRST_RANGE:
    case AT_RANGE:
    case AT_RANGES_END:
        return read_item(r, s, len, AT_FIRST_RANGE, AT_CHECKSUM, read_range, err);
    case AT_CHECKSUM:
        return read_checksum(r, s, len, err);
    case AT_END:
        break;
    }
    return bad(r, err, "text behind the end");
}

/* The checksum covers every line but its own, newlines included. */
static bool take_line(ManifestReader *r, Error *err)
{
    Buf *b = &r->line;

    if (r->state != AT_CHECKSUM &&
        (EVP_DigestUpdate(r->digest, b->data ? b->data : "", b->len) != 1 ||
         EVP_DigestUpdate(r->digest, "\n", 1) != 1))
        return error_set(err, ERR_INTERNAL, "SHA-256 failed");
    char empty[] = "";
    if (!read_line(r, b->data ? b->data : empty, b->len, err))
        return false;
    buf_clear(b);
    r->line_number++;
    return true;
}

static bool feed(ManifestReader *r, const char *data, size_t len, Error *err)
{
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline ? (size_t)(newline - data) : len;
        if (!buf_append(&r->line, data, n))
            return bad(r, err, "the line is too long");
        if (newline && !take_line(r, err))
            return false;
        n += newline != NULL;
        data += n;
        len -= n;
    }
    return true;
}

bool manifest_feed(ManifestReader *r, const void *data, size_t len, Error *err)
{
    if (r->failed)
        return error_set(err, ERR_INTERNAL, "the manifest reader cannot go on");
    r->failed = !feed(r, data, len, err);
    return !r->failed;
}

bool manifest_finish(ManifestReader *r, ManifestInfo *info, Error *err)
{
    if (r->failed)
        return error_set(err, ERR_INTERNAL, "the manifest reader cannot go on");
    if (r->state != AT_END || r->line.len)
        return bad(r, err, "the manifest is cut off");
    if (info)
        *info = r->info;
    return true;
}
