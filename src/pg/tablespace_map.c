#include "pg/tablespace_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FILE_NAME "tablespace_map"

/* MAXPGPATH: the server's buffer for a line and for a path, with the terminating zero. */
#define PG_PATH_MAX 1024

/* ---- reading ---- */

static void add(TablespaceMap *map, uint32_t oid, const char *path)
{
    MEM_GROW(map->entries, map->count, map->room);
    map->entries[map->count++] = (TablespaceEntry){oid, mem_strdup(path)};
}

static bool damaged(Error *err, size_t line, const char *why)
{
    return error_set(err, ERR_DAMAGED, "%s line %zu: %s", FILE_NAME, line, why);
}

static bool parse_oid(const char *text, size_t len, uint32_t *oid)
{
    uint64_t n = 0;
    if (len == 0 || len > 10)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    *oid = (uint32_t)n;
    return n > 0 && n <= UINT32_MAX;
}

/* `text` is one line without escapes. */
static bool parse_entry(const char *text, size_t line, TablespaceMap *map, Error *err)
{
    const char *space = strchr(text, ' ');
    uint32_t oid;
    if (!space || !parse_oid(text, (size_t)(space - text), &oid))
        return damaged(err, line, "it does not begin with an oid and a space");
    if (space[1] != '/')
        return damaged(err, line, "the path is not absolute");
    if (strlen(text) >= PG_PATH_MAX)
        return damaged(err, line, "it is longer than PostgreSQL reads");
    for (size_t i = 0; i < map->count; i++)
        if (map->entries[i].oid == oid)
            return damaged(err, line, "its oid was there before");
    add(map, oid, space + 1);
    return true;
}

static bool parse_lines(const char *text, size_t len, Buf *line, TablespaceMap *map, Error *err)
{
    size_t number = 1;
    bool escaped = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\0')
            return damaged(err, number, "it holds a zero byte");
        if (!escaped && c == '\\') {
            escaped = true;
        } else if (!escaped && (c == '\n' || c == '\r')) {
            if (line->len > 0 && !parse_entry(line->data, number, map, err))
                return false;
            buf_clear(line);
            number += c == '\n';
        } else {
            buf_putc(line, c);
            escaped = false;
        }
    }
    if (line->len > 0 || escaped)
        return damaged(err, number, "it is cut short");
    return true;
}

bool tablespace_map_parse(const char *text, size_t len, TablespaceMap *map, Error *err)
{
    Buf line = BUF_INIT;
    *map = (TablespaceMap){0};
    bool ok = parse_lines(text, len, &line, map, err);
    buf_free(&line);
    if (!ok)
        tablespace_map_free(map);
    return ok;
}

void tablespace_map_free(TablespaceMap *map)
{
    for (size_t i = 0; i < map->count; i++)
        free(map->entries[i].path);
    free(map->entries);
    *map = (TablespaceMap){0};
}

/* ---- rewriting ---- */

/* The length of a path without its trailing slashes; "/" stays. */
static size_t path_len(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    return len;
}

static bool same_path(const char *a, const char *b)
{
    size_t len = path_len(a);
    return len == path_len(b) && memcmp(a, b, len) == 0;
}

static bool names_entry(const TablespaceMapping *m, const TablespaceEntry *entry)
{
    uint32_t oid;
    if (parse_oid(m->old_path, strlen(m->old_path), &oid))
        return oid == entry->oid;
    return same_path(m->old_path, entry->path);
}

static const TablespaceMapping *find_mapping(const TablespaceEntry *entry,
                                             const TablespaceMapping *mappings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (names_entry(&mappings[i], entry))
            return &mappings[i];
    return NULL;
}

/* An error that lists what the backup has, so that a mistyped path is seen at once. */
static bool unknown_mapping(const TablespaceMapping *m, const TablespaceMap *map, Error *err)
{
    error_set(err, ERR_USAGE, "the backup has no tablespace at \"%s\"", m->old_path);
    if (map->count == 0)
        return error_hint(err, "it has no tablespaces at all: leave the mapping out");
    Buf list = BUF_INIT;
    for (size_t i = 0; i < map->count; i++)
        buf_printf(&list, "%s%s (oid %u)", i ? ", " : "", map->entries[i].path,
                   map->entries[i].oid);
    error_hint(err, "its tablespaces are: %s", list.data);
    buf_free(&list);
    return false;
}

static bool check_mapping(const TablespaceMapping *m, const TablespaceMap *map, Error *err)
{
    if (m->new_path[0] != '/')
        return error_set(err, ERR_USAGE, "the new place of tablespace \"%s\" is not absolute: %s",
                         m->old_path, m->new_path);
    if (strlen(m->new_path) >= PG_PATH_MAX - sizeof("4294967295 "))
        return error_set(err, ERR_USAGE, "the new place of tablespace \"%s\" is too long",
                         m->old_path);
    for (size_t i = 0; i < map->count; i++)
        if (names_entry(m, &map->entries[i]))
            return true;
    return unknown_mapping(m, map, err);
}

static bool check_mappings(const TablespaceMapping *mappings, size_t count,
                           const TablespaceMap *map, Error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!check_mapping(&mappings[i], map, err))
            return false;
    for (size_t i = 0; i < map->count; i++) {
        size_t named = 0;
        for (size_t k = 0; k < count; k++)
            named += names_entry(&mappings[k], &map->entries[i]);
        if (named > 1)
            return error_set(err, ERR_USAGE, "tablespace \"%s\" (oid %u) is mapped twice",
                             map->entries[i].path, map->entries[i].oid);
    }
    return true;
}

static bool check_distinct(const char *const *paths, size_t count, Error *err)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            if (same_path(paths[i], paths[k]))
                return error_set(err, ERR_USAGE, "two tablespaces would be in \"%s\"", paths[i]);
    return true;
}

static void put_entry(Buf *out, uint32_t oid, const char *path)
{
    buf_printf(out, "%u ", oid);
    size_t len = path_len(path);
    for (size_t i = 0; i < len; i++) {
        if (path[i] == '\n' || path[i] == '\r' || path[i] == '\\')
            buf_putc(out, '\\');
        buf_putc(out, path[i]);
    }
    buf_putc(out, '\n');
}

static bool rewrite(const TablespaceMap *map, const TablespaceMapping *mappings, size_t count,
                    Buf *out, TablespaceMap *unmapped, Error *err)
{
    if (!check_mappings(mappings, count, map, err))
        return false;
    const char **paths = MEM_NEW_ARRAY(const char *, map->count + 1);
    for (size_t i = 0; i < map->count; i++) {
        const TablespaceMapping *m = find_mapping(&map->entries[i], mappings, count);
        paths[i] = m ? m->new_path : map->entries[i].path;
    }
    bool ok = check_distinct(paths, map->count, err);
    for (size_t i = 0; ok && i < map->count; i++) {
        const TablespaceEntry *entry = &map->entries[i];
        put_entry(out, entry->oid, paths[i]);
        if (unmapped && paths[i] == entry->path)
            add(unmapped, entry->oid, entry->path);
    }
    free(paths);
    return ok;
}

bool tablespace_map_rewrite(const char *text, size_t len, const TablespaceMapping *mappings,
                            size_t count, Buf *out, TablespaceMap *unmapped, Error *err)
{
    TablespaceMap map;
    if (unmapped)
        *unmapped = (TablespaceMap){0};
    if (!tablespace_map_parse(text, len, &map, err))
        return false;
    bool ok = rewrite(&map, mappings, count, out, unmapped, err);
    tablespace_map_free(&map);
    return ok;
}
