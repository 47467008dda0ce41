#include "pg/guc.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define SHOWN_MAX 200

/* ---- lines ---- */

typedef struct Scan {
    const char *p, *end;
} Scan;

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_name_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

static void skip_blanks(Scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static bool at_end(const Scan *s)
{
    return s->p == s->end || *s->p == '#';
}

/* A name is one identifier, or two with a dot between. The scanner takes the longest token, so a
 * name that runs on into one of `-.:/` is no name at all. */
static bool scan_name(Scan *s, Buf *name)
{
    const char *start = s->p;
    int dots = 0;
    if (s->p == s->end || !is_letter(*s->p))
        return false;
    while (s->p < s->end && is_name_char(*s->p)) {
        s->p++;
        if (dots == 0 && s->end - s->p > 1 && *s->p == '.' && is_letter(s->p[1])) {
            dots++;
            s->p++;
        }
    }
    buf_append(name, start, (size_t)(s->p - start));
    return s->p == s->end || !strchr("-.:/", *s->p);
}

static char unescape(Scan *s)
{
    char c = *s->p++;
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        break;
    }
    if (c < '0' || c > '7')
        return c;
    unsigned octal = (unsigned)(c - '0');
    for (int i = 0; i < 2 && s->p < s->end && *s->p >= '0' && *s->p <= '7'; i++)
        octal = octal * 8 + (unsigned)(*s->p++ - '0');
    return (char)(octal & 0xff);
}

/* The scan stands behind the opening quote; false if the closing one is missing. */
static bool scan_string(Scan *s, Buf *value)
{
    while (s->p < s->end) {
        char c = *s->p++;
        if (c == '\'') {
            if (s->p == s->end || *s->p != '\'')
                return true;
            s->p++;
        } else if (c == '\\') {
            if (s->p == s->end)
                return false;
            c = unescape(s);
        }
        buf_putc(value, c);
    }
    return false;
}

/* Numbers and unquoted strings. Which of them PostgreSQL would refuse does not matter here. */
static bool scan_bare(Scan *s, Buf *value)
{
    const char *start = s->p;
    while (s->p < s->end && (is_name_char(*s->p) || strchr("-+._:/", *s->p)) && *s->p != '\0')
        s->p++;
    buf_append(value, start, (size_t)(s->p - start));
    return s->p > start;
}

GucKind guc_parse_line(const char *text, size_t len, GucLine *line)
{
    Scan s = {text, text + len};
    buf_clear(&line->name);
    buf_clear(&line->value);
    buf_puts(&line->name, "");
    buf_puts(&line->value, "");
    skip_blanks(&s);
    if (at_end(&s))
        return line->kind = GUC_BLANK;
    bool ok = scan_name(&s, &line->name);
    skip_blanks(&s);
    if (s.p < s.end && *s.p == '=')
        s.p++;
    skip_blanks(&s);
    const char *rest = s.p;
    if (s.p < s.end && *s.p == '\'') {
        s.p++;
        ok = scan_string(&s, &line->value) && ok;
    } else {
        ok = scan_bare(&s, &line->value) && ok;
    }
    skip_blanks(&s);
    if (!ok || !at_end(&s)) {
        buf_clear(&line->value);
        buf_append(&line->value, rest, (size_t)(s.end - rest));
        return line->kind = GUC_BROKEN;
    }
    bool include = guc_line_is(line, "include") || guc_line_is(line, "include_if_exists") ||
                   guc_line_is(line, "include_dir");
    return line->kind = include ? GUC_INCLUDE : GUC_SETTING;
}

void guc_line_free(GucLine *line)
{
    buf_free(&line->name);
    buf_free(&line->value);
}

bool guc_line_is(const GucLine *line, const char *name)
{
    return strcasecmp(line->name.data, name) == 0;
}

/* ---- values ---- */

bool guc_quote(Buf *out, const char *value)
{
    if (strchr(value, '\n'))
        return false;
    buf_putc(out, '\'');
    for (const char *p = value; *p; p++) {
        if (*p == '\'' || *p == '\\')
            buf_putc(out, *p);
        buf_putc(out, *p);
    }
    buf_putc(out, '\'');
    return true;
}

/* Does one of the words that name secrets occur in the `len` bytes at `name`? */
static bool names_secret(const char *name, size_t len)
{
    static const char *const words[] = {"password", "passwd",     "passphrase", "pwd",
                                        "secret",   "token",      "apikey",     "api_key",
                                        "api-key",  "access_key", "access-key", "credential"};
    for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        size_t n = strlen(words[w]);
        for (size_t i = 0; i + n <= len; i++)
            if (strncasecmp(name + i, words[w], n) == 0)
                return true;
    }
    return false;
}

/* Behind a value that is quoted, escaped or ended by a blank; an open quote takes the rest. */
static const char *skip_value(const char *p)
{
    char quote = '\0';
    for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (quote && *p == quote)
            quote = '\0';
        else if (!quote && (*p == '\'' || *p == '"'))
            quote = *p;
    }
    return p;
}

/* The end of a secret that begins behind the name [name, p), or p if none is there. */
static const char *secret_end(const char *name, const char *p, const char **secret)
{
    const char *q = p;
    if (!names_secret(name, (size_t)(p - name)))
        return p;
    while (isspace((unsigned char)*q))
        q++;
    bool equals = *q == '=';
    if (!equals && (name[0] != '-' || q == p))
        return p;
    if (equals)
        for (q++; isspace((unsigned char)*q);)
            q++;
    *secret = q;
    return skip_value(q);
}

/* For `//user:secret@host` at `p` (behind the slashes): where secret begins and ends. A careless
 * password may hold '/' or '@', so the last '@' of the word counts. */
static const char *uri_secret_end(const char *p, const char **secret)
{
    size_t word = strcspn(p, " \t\r\n'\"");
    const char *at = memrchr(p, '@', word);
    const char *colon = at ? memchr(p, ':', (size_t)(at - p)) : NULL;
    if (!colon)
        return p;
    *secret = colon + 1;
    return at;
}

static void mask(Buf *out, const char *p)
{
    while (*p) {
        const char *start = p, *secret = NULL, *end;
        while (isalnum((unsigned char)*p) || *p == '_' || *p == '-')
            p++;
        if (p > start) {
            end = secret_end(start, p, &secret);
        } else {
            p++;
            end = start[0] == '/' && *p == '/' ? uri_secret_end(p + 1, &secret) : p;
        }
        if (secret) {
            buf_append(out, start, (size_t)(secret - start));
            buf_puts(out, "***");
            p = end;
        } else {
            buf_append(out, start, (size_t)(p - start));
        }
    }
}

void guc_mask(Buf *out, const char *value)
{
    Buf masked = BUF_INIT;
    buf_puts(&masked, "");
    mask(&masked, value);
    size_t len = masked.len > SHOWN_MAX ? SHOWN_MAX : masked.len;
    for (size_t i = 0; i < len; i++)
        buf_putc(out, iscntrl((unsigned char)masked.data[i]) ? ' ' : masked.data[i]);
    if (len < masked.len)
        buf_puts(out, "…");
    buf_free(&masked);
}
