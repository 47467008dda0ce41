/*
 * guc.h: lines of postgresql.conf, as PostgreSQL's own scanner takes them.
 *
 * Source of the grammar: src/backend/utils/misc/guc-file.l, the same in 12 to 18. A setting never
 * spans lines: strings can't hold a newline. Pure text, no files; thread-safe.
 */
#ifndef PITR_PG_GUC_H
#define PITR_PG_GUC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

typedef enum GucKind {
    GUC_BLANK,   /* nothing, or only a comment */
    GUC_SETTING, /* name [=] value */
    GUC_INCLUDE, /* include, include_if_exists or include_dir */
    GUC_BROKEN,  /* PostgreSQL refuses the file for it; name and value hold what was seen */
} GucKind;

typedef struct GucLine {
    GucKind kind;
    Buf name;  /* as written; PostgreSQL compares without regard to case */
    Buf value; /* without quotes and escapes */
} GucLine;

/* Takes apart one line, without its newline. `*line` must be GUC_LINE_INIT or have been used
 * before; it keeps its memory for the next line, and is released by guc_line_free(). */
GucKind guc_parse_line(const char *text, size_t len, GucLine *line);

#define GUC_LINE_INIT                                                                              \
    {                                                                                              \
        GUC_BLANK, BUF_INIT, BUF_INIT                                                              \
    }

void guc_line_free(GucLine *line);

/* True if the line's name is `name`, in any case. */
bool guc_line_is(const GucLine *line, const char *name);

/* Appends `value` within single quotes, single quotes and backslashes doubled. False, with nothing
 * appended, if it holds a newline, which no quoting can carry. `out` has no ceiling. */
bool guc_quote(Buf *out, const char *value);

/*
 * Appends `value` for a person's eyes: on one line, cut at 200 bytes, with secrets replaced by
 * `***`. A secret is what follows a name such as password=, PGPASSWORD=, sslpassword=, --token or
 * AWS_SECRET_ACCESS_KEY=, and the password of a URI (`//user:secret@`). When in doubt it hides more
 * than needed. The value of conninfo strings: libpq's manual, 34.1.1 "Connection Strings".
 */
void guc_mask(Buf *out, const char *value);

#endif
