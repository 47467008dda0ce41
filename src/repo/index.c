#include "repo/index.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/pgtext.h"

#define MAX_FIELDS 9

static void put_text(Buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\')
            buf_puts(out, "\\\\");
        else if (*text == '\t')
            buf_puts(out, "\\t");
        else if (*text == '\n')
            buf_puts(out, "\\n");
        else
            buf_putc(out, *text);
    }
}

void index_put_head(Buf *out)
{
    buf_puts(out, "pitr-index\t1\n");
}

void index_put_archive(Buf *out, const IndexArchive *archive)
{
    buf_printf(out, "archive\t%s\t%u\t", archive->name, archive->oid);
    put_text(out, archive->oid ? archive->location : "-");
    buf_putc(out, '\n');
}

void index_put_pack(Buf *out, const IndexPack *pack)
{
    buf_printf(out, "pack\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\n", pack->name,
               pack->raw_offset, pack->raw_size, pack->stored_size, pack->sha256);
}

void index_put_entry(Buf *out, const TarEntry *e)
{
    buf_puts(out, e->type == TAR_FILE ? "file\t" : e->type == TAR_DIRECTORY ? "dir\t" : "link\t");
    put_text(out, e->name);
    if (e->type == TAR_SYMLINK) {
        buf_putc(out, '\t');
        put_text(out, e->linkname);
    } else {
        buf_printf(out, "\t%o\t%" PRIu64 "\t%" PRIu64 "\t%" PRId64, e->mode, e->uid, e->gid,
                   e->mtime);
        if (e->type == TAR_FILE)
            buf_printf(out, "\t%" PRIu64 "\t%" PRIu64, e->size, e->data_offset);
    }
    buf_putc(out, '\n');
}

void index_put_frame(Buf *out, const IndexFrame *f)
{
    char hex[SHA256_HEX];
    sha256_hex(f->sha256, hex);
    buf_printf(out, "frame\t%" PRIu64 "\t%u\t%" PRIu64 "\t%u\t%s\n", f->raw_offset, f->raw_size,
               f->stored_offset, f->stored_size, hex);
}

void index_put_end(Buf *out, uint64_t archives, uint64_t packs, uint64_t entries)
{
    buf_printf(out, "end\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", archives, packs, entries);
}

/* --- reading ----------------------------------------------------------------------------------- */

static bool unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        char c = *from;
        if (c == '\\') {
            c = *++from;
            if (c == 't')
                c = '\t';
            else if (c == 'n')
                c = '\n';
            else if (c != '\\')
                return false;
        }
        *to++ = c;
    }
    *to = '\0';
    return true;
}

static bool copy_text(char *field, char *out, size_t size)
{
    if (!unescape(field) || strlen(field) >= size)
        return false;
    memcpy(out, field, strlen(field) + 1);
    return true;
}

static bool number(const char *field, uint64_t max, uint64_t *out)
{
    return pgtext_uint(field, max, out);
}

static bool octal(const char *field, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(field, &end, 8);
    *out = (uint32_t)n;
    return field[0] >= '0' && field[0] <= '7' && *end == '\0' && n <= 07777;
}

static bool number32(const char *field, uint32_t *out)
{
    uint64_t n;
    if (!number(field, UINT32_MAX, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

/* An object's name within the backup: one path part of harmless characters. */
static bool pack_name(const char *field, char *out, size_t size)
{
    return strlen(field) < size && field[0] != '.' && !strchr(field, '/') &&
           copy_text((char *)field, out, size);
}

static bool parse_archive(char **f, int n, IndexLine *out)
{
    IndexArchive *a = &out->archive;
    out->kind = INDEX_ARCHIVE;
    a->location = f[3];
    return n == 4 && pack_name(f[1], a->name, sizeof(a->name)) && number32(f[2], &a->oid) &&
           unescape(f[3]);
}

static bool parse_pack(char **f, int n, IndexLine *out)
{
    IndexPack *p = &out->pack;
    out->kind = INDEX_PACK;
    return n == 6 && pack_name(f[1], p->name, sizeof(p->name)) &&
           number(f[2], INT64_MAX, &p->raw_offset) && number(f[3], INT64_MAX, &p->raw_size) &&
           number(f[4], INT64_MAX, &p->stored_size) && pgtext_is_hex(f[5], 2 * SHA256_BYTES) &&
           copy_text(f[5], p->sha256, sizeof(p->sha256));
}

static bool signed_number(const char *field, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(field, &end, 10);
    return !errno && *end == '\0' && (*field == '-' || (*field >= '0' && *field <= '9'));
}

static bool parse_entry(char **f, int n, IndexLine *out)
{
    TarEntry *e = &out->entry;
    memset(e, 0, sizeof(*e));
    out->kind = INDEX_ENTRY;
    e->type = f[0][0] == 'f' ? TAR_FILE : f[0][0] == 'd' ? TAR_DIRECTORY : TAR_SYMLINK;
    if (n < 3 || !copy_text(f[1], e->name, sizeof(e->name)) || !pgtext_is_relative_path(e->name))
        return false;
    if (e->type == TAR_SYMLINK)
        return n == 3 && copy_text(f[2], e->linkname, sizeof(e->linkname));
    if (n != (e->type == TAR_FILE ? 8 : 6) || !octal(f[2], &e->mode) ||
        !number(f[3], UINT32_MAX, &e->uid) || !number(f[4], UINT32_MAX, &e->gid) ||
        !signed_number(f[5], &e->mtime))
        return false;
    return e->type == TAR_DIRECTORY ||
           (number(f[6], INT64_MAX / 2, &e->size) && number(f[7], INT64_MAX / 2, &e->data_offset));
}

static bool parse_frame(char **f, int n, IndexLine *out)
{
    IndexFrame *r = &out->frame;
    size_t bytes;
    out->kind = INDEX_FRAME;
    return n == 6 && number(f[1], INT64_MAX, &r->raw_offset) && number32(f[2], &r->raw_size) &&
           number(f[3], INT64_MAX, &r->stored_offset) && number32(f[4], &r->stored_size) &&
           pgtext_is_hex(f[5], 2 * SHA256_BYTES) && pgtext_unhex(f[5], r->sha256, &bytes);
}

static bool parse_end(char **f, int n, IndexLine *out)
{
    out->kind = INDEX_END;
    return n == 4 && number(f[1], INT64_MAX, &out->archives) &&
           number(f[2], INT64_MAX, &out->packs) && number(f[3], INT64_MAX, &out->entries);
}

static bool parse_fields(char **f, int n, IndexLine *out)
{
    if (strcmp(f[0], "file") == 0 || strcmp(f[0], "dir") == 0 || strcmp(f[0], "link") == 0)
        return parse_entry(f, n, out);
    if (strcmp(f[0], "frame") == 0)
        return parse_frame(f, n, out);
    if (strcmp(f[0], "pack") == 0)
        return parse_pack(f, n, out);
    if (strcmp(f[0], "archive") == 0)
        return parse_archive(f, n, out);
    if (strcmp(f[0], "end") == 0)
        return parse_end(f, n, out);
    out->kind = INDEX_HEAD;
    return strcmp(f[0], "pitr-index") == 0 && n == 2 && strcmp(f[1], "1") == 0;
}

bool index_parse(char *line, IndexLine *out, Error *err)
{
    char *fields[MAX_FIELDS];
    int n = 0;
    for (char *p = line; p && n < MAX_FIELDS;) {
        fields[n++] = p;
        p = strchr(p, '\t');
        if (p)
            *p++ = '\0';
    }
    return parse_fields(fields, n, out) ||
           error_set(err, ERR_DAMAGED, "backup index has a line that makes no sense (\"%.40s…\")",
                     fields[0]);
}
