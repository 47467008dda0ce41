/*
 * tablespace_map.h: the file that tells a restored server where its tablespaces are.
 *
 * `tablespace_map` lies beside backup_label in a base backup made with TABLESPACE_MAP. At its first
 * start the server reads it together with the label and makes the pg_tblspc/<oid> links by it.
 * Lines are `<oid> <path>`, with a backslash before each newline, carriage return and backslash of
 * the path: read_tablespace_map() in src/backend/access/transam/xlogrecovery.c (xlog.c up to 14).
 * Old minor releases put no backslash before a backslash; such a path can't be told apart.
 *
 * Pure text, no files; thread-safe.
 */
#ifndef PITR_PG_TABLESPACE_MAP_H
#define PITR_PG_TABLESPACE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct TablespaceEntry {
    uint32_t oid;
    char *path;
} TablespaceEntry;

typedef struct TablespaceMap {
    TablespaceEntry *entries; /* in the file's order */
    size_t count, room;
} TablespaceMap;

/* One `--tablespace-map OLD=NEW`. OLD is a path of the backup, or a tablespace's oid in digits. */
typedef struct TablespaceMapping {
    const char *old_path;
    const char *new_path;
} TablespaceMapping;

/* Reads a tablespace_map into `*map`, which is overwritten and then owned by the caller.
 * ERR_DAMAGED for what the server would refuse, and for a path that is not absolute or an oid given
 * twice. */
bool tablespace_map_parse(const char *text, size_t len, TablespaceMap *map, Error *err);

/* Releases the entries and leaves an empty map. */
void tablespace_map_free(TablespaceMap *map);

/*
 * Appends to `out` (no ceiling) the tablespace_map with new paths. Tablespaces that no mapping
 * names keep their path and are also put, as copies, into `*unmapped` (overwritten, the caller's to
 * free; may be NULL): the caller decides whether that is allowed. Trailing slashes don't count.
 *
 * ERR_USAGE for a mapping that names no tablespace of the backup, an OLD given twice, and a NEW
 * that is not absolute, too long, or given to two tablespaces; nothing is then appended.
 */
bool tablespace_map_rewrite(const char *text, size_t len, const TablespaceMapping *mappings,
                            size_t count, Buf *out, TablespaceMap *unmapped, Error *err);

#endif
