#include "pg/timeline.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/walname.h"

#define REASON_MAX 1024 /* PostgreSQL reads lines of that length */

typedef struct Span {
    const char *p;
    const char *end;
} Span;

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(Span *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}

/* The run of characters up to the next white space. */
static Span next_word(Span *s)
{
    skip_space(s);
    Span w = {s->p, s->p};
    while (w.end < s->end && !is_space(*w.end))
        w.end++;
    s->p = w.end;
    return w;
}

static bool parse_tli(Span w, uint32_t *tli)
{
    uint64_t v = 0;
    if (w.p == w.end || w.end - w.p > 10)
        return false;
    for (; w.p < w.end; w.p++) {
        if (*w.p < '0' || *w.p > '9')
            return false;
        v = v * 10 + (uint64_t)(*w.p - '0');
    }
    *tli = (uint32_t)v;
    return v > 0 && v <= UINT32_MAX;
}

static bool parse_lsn(Span w, uint64_t *lsn)
{
    char text[LSN_TEXT];
    size_t n = (size_t)(w.end - w.p);
    if (n >= sizeof(text) || memchr(w.p, '\0', n))
        return false;
    memcpy(text, w.p, n);
    text[n] = '\0';
    return lsn_parse(text, lsn);
}

static char *copy_reason(Span s)
{
    skip_space(&s);
    while (s.end > s.p && is_space(s.end[-1]))
        s.end--;
    size_t n = (size_t)(s.end - s.p);
    char *reason = mem_strndup(s.p, n < REASON_MAX ? n : REASON_MAX);
    for (size_t i = 0; i < n && i < REASON_MAX; i++)
        if ((unsigned char)reason[i] < ' ' || reason[i] == 0x7F)
            reason[i] = '?';
    return reason;
}

static bool parse_line(Span line, size_t number, TimelineHistory *h, Error *err)
{
    skip_space(&line);
    if (line.p == line.end || *line.p == '#')
        return true;
    uint32_t tli;
    uint64_t lsn;
    if (!parse_tli(next_word(&line), &tli))
        return error_set(err, ERR_DAMAGED, "timeline history, line %zu: no timeline", number);
    if (!parse_lsn(next_word(&line), &lsn))
        return error_set(err, ERR_DAMAGED, "timeline history, line %zu: no switch point", number);
    if (h->count > 0 && tli <= h->entries[h->count - 1].tli)
        return error_set(err, ERR_DAMAGED,
                         "timeline history, line %zu: timeline %u comes after timeline %u", number,
                         tli, h->entries[h->count - 1].tli);
    if (tli >= h->tli)
        return error_set(err, ERR_DAMAGED,
                         "timeline history, line %zu: timeline %u can't descend from timeline %u",
                         number, h->tli, tli);
    MEM_GROW(h->entries, h->count, h->room);
    h->entries[h->count++] = (TimelineSwitch){tli, lsn, copy_reason(line)};
    return true;
}

void timeline_history_init(TimelineHistory *h, uint32_t tli)
{
    *h = (TimelineHistory){.tli = tli};
}

bool timeline_history_parse(uint32_t tli, const char *text, size_t len, TimelineHistory *out,
                            Error *err)
{
    timeline_history_init(out, tli);
    size_t number = 0;
    for (size_t pos = 0; pos < len;) {
        const char *nl = memchr(text + pos, '\n', len - pos);
        size_t end = nl ? (size_t)(nl - text) : len;
        if (!parse_line((Span){text + pos, text + end}, ++number, out, err)) {
            timeline_history_free(out);
            return false;
        }
        pos = end + 1;
    }
    return true;
}

void timeline_history_free(TimelineHistory *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->entries[i].reason);
    free(h->entries);
    h->entries = NULL;
    h->count = h->room = 0;
}

bool timeline_switch_point(const TimelineHistory *h, uint32_t parent, uint64_t *lsn)
{
    uint64_t earliest = UINT64_MAX;
    for (size_t i = h->count; i-- > 0;) {
        if (h->entries[i].lsn < earliest)
            earliest = h->entries[i].lsn;
        if (h->entries[i].tli == parent) {
            *lsn = earliest;
            return true;
        }
    }
    return false;
}

uint32_t timeline_at(const TimelineHistory *h, uint64_t lsn)
{
    /* A timeline begins where the entry before it ends; the newest that has begun is it. */
    uint32_t tli = h->tli;
    for (size_t i = h->count; i-- > 0 && lsn < h->entries[i].lsn;)
        tli = h->entries[i].tli;
    return tli;
}

bool timeline_contains(const TimelineHistory *h, uint32_t tli, uint64_t lsn)
{
    return timeline_at(h, lsn) == tli;
}
