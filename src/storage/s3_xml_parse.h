/*
 * s3_xml_parse.h: one walk through a small XML document, for s3_xml*.c alone.
 *
 * The caller sees each element by its path below the root, without namespaces or attributes:
 * "Contents/Key"; the root itself is "". Refused with ERR_REPO: what is not well-formed, a DOCTYPE
 * (so there are no entities of the document's own, and nothing grows), more than 16 levels, a text
 * over 16 KiB, a path over 1 KiB, another root than the expected. Pure; any thread.
 */
#ifndef PITR_STORAGE_S3_XML_PARSE_H
#define PITR_STORAGE_S3_XML_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "storage/s3_xml.h"

#define XML_ROOTS 3

typedef struct XmlVisitor {
    const char *roots[XML_ROOTS]; /* the names that the root may have; NULL where there are fewer */
    /* At the start and at the end of each element; `text` is what stands directly in it, behind its
     * last child. Both live during the call. `begin` may be NULL. False ends the walk. */
    bool (*begin)(void *ctx, const char *path, Error *err);
    bool (*end)(void *ctx, const char *path, const char *text, Error *err);
    void *ctx;
} XmlVisitor;

/* Walks to the end, blanks before and after the document allowed. *root (may be NULL) is set to the
 * index of the root's name before anything is called. False with ERR_REPO, or a callback's error.
 */
bool xml_walk(const char *text, size_t len, const XmlVisitor *visitor, size_t *root, Error *err);

/* The same; an <Error> that came instead is told in its own words. */
bool xml_walk_answer(const char *text, size_t len, const XmlVisitor *visitor, size_t *root,
                     Error *err);

/* "the server answered CODE: MESSAGE"; returns false. */
bool xml_error_answer(const S3Error *e, Error *err);

/* "the answer is no S3 answer: …", with a hint; returns false. */
bool xml_refuse(Error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

bool xml_is(const char *path, const char *name);

/* What stands behind `parent` and a slash in `path`, or NULL. */
const char *xml_below(const char *path, const char *parent);

/* Puts `text` in the place of what was in `b`; b->data is not NULL after it. */
void xml_keep(Buf *b, const char *text);

/* Decimal digits and nothing else, up to UINT64_MAX. */
bool xml_number(const char *text, uint64_t *out);

#endif
