#include "storage/s3_xml_parse.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16
#define TEXT_MAX  (16 * 1024)
#define PATH_TEXT 1024

typedef struct Walk {
    const XmlVisitor *visitor;
    XML_Parser parser;
    size_t *root;
    Error *err;
    bool failed;
    size_t depth;            /* elements that are open */
    size_t above[DEPTH_MAX]; /* the path's length before each of them */
    Buf path, text;
} Walk;

bool xml_refuse(Error *err, const char *fmt, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    for (char *c = why; *c; c++) /* it may show something of the answer */
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    error_set(err, ERR_REPO, "the answer is no S3 answer: %s", why);
    return error_hint(err, "is the endpoint an S3 server, and nothing else in between?");
}

/* expat may still call a handler or two after this. */
static void stop(Walk *w)
{
    w->failed = true;
    XML_StopParser(w->parser, XML_FALSE);
}

static void refuse(Walk *w, const char *why)
{
    xml_refuse(w->err, "line %lu: %s", XML_GetCurrentLineNumber(w->parser), why);
    stop(w);
}

static const char *without_prefix(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

/* Names come from outside: only plain letters of them are shown. */
static void refuse_root(Walk *w, const char *name)
{
    char shown[40], why[80];
    size_t n = 0;
    for (; name[n] && n < sizeof(shown) - 1; n++)
        shown[n] = name[n] > ' ' && name[n] < 127 ? name[n] : '?';
    shown[n] = '\0';
    snprintf(why, sizeof(why), "it is a document called <%s>", shown);
    refuse(w, why);
}

static bool find_root(Walk *w, const char *name)
{
    for (size_t i = 0; i < XML_ROOTS; i++) {
        if (w->visitor->roots[i] && strcmp(name, w->visitor->roots[i]) == 0) {
            if (w->root)
                *w->root = i;
            return true;
        }
    }
    refuse_root(w, name);
    return false;
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    Walk *w = ctx;
    if (w->failed)
        return;
    if (w->depth == DEPTH_MAX) {
        refuse(w, "too many levels");
        return;
    }
    name = without_prefix(name);
    w->above[w->depth] = w->path.len;
    if (w->depth == 0) {
        if (!find_root(w, name))
            return;
    } else if ((w->depth > 1 && !buf_putc(&w->path, '/')) || !buf_puts(&w->path, name)) {
        refuse(w, "a name is too long");
        return;
    }
    w->depth++;
    buf_clear(&w->text);
    if (w->visitor->begin && !w->visitor->begin(w->visitor->ctx, w->path.data, w->err))
        stop(w);
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    (void)name;
    Walk *w = ctx;
    if (w->failed)
        return;
    if (!w->visitor->end(w->visitor->ctx, w->path.data, w->text.data, w->err)) {
        stop(w);
        return;
    }
    buf_clear(&w->text);
    w->path.len = w->above[--w->depth];
    w->path.data[w->path.len] = '\0';
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int len)
{
    Walk *w = ctx;
    if (!w->failed && !buf_append(&w->text, text, (size_t)len))
        refuse(w, "a text is too long");
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_internal_subset)
{
    (void)name, (void)system_id, (void)public_id, (void)has_internal_subset;
    Walk *w = ctx;
    if (!w->failed)
        refuse(w, "it has a DOCTYPE");
}

static bool parse(Walk *w, const char *text, size_t len)
{
    XML_SetUserData(w->parser, w);
    XML_SetElementHandler(w->parser, on_start, on_end);
    XML_SetCharacterDataHandler(w->parser, on_text);
    XML_SetStartDoctypeDeclHandler(w->parser, on_doctype);
    if (XML_Parse(w->parser, text, (int)len, XML_TRUE) == XML_STATUS_OK)
        return !w->failed;
    if (!w->failed)
        refuse(w, XML_ErrorString(XML_GetErrorCode(w->parser)));
    return false;
}

bool xml_walk(const char *text, size_t len, const XmlVisitor *visitor, size_t *root, Error *err)
{
    /* Servers send blanks to keep a slow answer alive; XML wants its declaration to come first. */
    while (len && strchr(" \t\r\n", *text) && *text) {
        text++;
        len--;
    }
    if (len == 0)
        return xml_refuse(err, "it is empty");
    if (len > INT_MAX)
        return xml_refuse(err, "it is too long");

    Walk w = {.visitor = visitor, .root = root, .err = err, .parser = XML_ParserCreate(NULL)};
    if (!w.parser)
        abort();
    buf_init_max(&w.path, PATH_TEXT);
    buf_init_max(&w.text, TEXT_MAX);
    buf_puts(&w.path, "");
    /* All room at once, and wiped: the answers of STS have secret keys in them. */
    buf_reserve(&w.text, TEXT_MAX);
    buf_puts(&w.text, "");
    bool ok = parse(&w, text, len);
    XML_ParserFree(w.parser);
    buf_free(&w.path);
    explicit_bzero(w.text.data, w.text.cap);
    buf_free(&w.text);
    return ok;
}

bool xml_error_answer(const S3Error *e, Error *err)
{
    return error_set(err, ERR_REPO, "the server answered %s%s%s",
                     e->code[0] ? e->code : "an error without a code", e->message[0] ? ": " : "",
                     e->message);
}

bool xml_walk_answer(const char *text, size_t len, const XmlVisitor *visitor, size_t *root,
                     Error *err)
{
    S3Error e;
    if (xml_walk(text, len, visitor, root, err))
        return true;
    if (s3_xml_error(text, len, &e))
        xml_error_answer(&e, err);
    return false;
}

bool xml_is(const char *path, const char *name)
{
    return strcmp(path, name) == 0;
}

const char *xml_below(const char *path, const char *parent)
{
    size_t n = strlen(parent);
    return strncmp(path, parent, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

void xml_keep(Buf *b, const char *text)
{
    buf_clear(b);
    buf_puts(b, text);
}

bool xml_number(const char *text, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}
