#include "pg/walname.h"

#include <stdio.h>
#include <string.h>

#define MIN_SEGSIZE   (UINT32_C(1) << 20)
#define MAX_SEGSIZE   (UINT32_C(1) << 30)
#define LOG_SIZE      (UINT64_C(1) << 32) /* bytes that share a name's middle part */
#define SEGMENT_CHARS 24

/* Exactly eight upper-case hexadecimal digits. Stops at a terminating zero. */
static bool hex8_upper(const char *s, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 8; i++) {
        char c = s[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            v = v << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

static bool parse_suffix(const char *s, WalName *out)
{
    if (*s == '\0')
        out->kind = WALNAME_SEGMENT;
    else if (strcmp(s, ".partial") == 0)
        out->kind = WALNAME_PARTIAL;
    else if (*s == '.' && hex8_upper(s + 1, &out->offset) && strcmp(s + 9, ".backup") == 0)
        out->kind = WALNAME_BACKUP;
    else
        return false;
    return true;
}

bool walname_parse(const char *name, WalName *out)
{
    *out = (WalName){0};
    if (!hex8_upper(name, &out->tli) || out->tli == 0)
        return false;
    if (strcmp(name + 8, ".history") == 0) {
        out->kind = WALNAME_HISTORY;
        return true;
    }
    return hex8_upper(name + 8, &out->log) && hex8_upper(name + 16, &out->seg) &&
           parse_suffix(name + SEGMENT_CHARS, out);
}

void walname_text(const WalName *name, char out[WALNAME_TEXT])
{
    if (name->kind == WALNAME_HISTORY) {
        walname_history_format(out, name->tli);
        return;
    }
    int n = snprintf(out, WALNAME_TEXT, "%08X%08X%08X", name->tli, name->log, name->seg);
    size_t room = WALNAME_TEXT - (size_t)n;
    if (name->kind == WALNAME_PARTIAL)
        snprintf(out + n, room, ".partial");
    else if (name->kind == WALNAME_BACKUP)
        snprintf(out + n, room, ".%08X.backup", name->offset);
}

bool walname_segno(const WalName *name, uint32_t segsize, uint64_t *segno)
{
    if (name->kind == WALNAME_HISTORY || !wal_segsize_valid(segsize))
        return false;
    uint64_t per_log = LOG_SIZE / segsize;
    if (name->seg >= per_log)
        return false;
    *segno = name->log * per_log + name->seg;
    return true;
}

void walname_format(char out[WALNAME_SEGMENT_TEXT], uint32_t tli, uint64_t segno, uint32_t segsize)
{
    uint64_t per_log = LOG_SIZE / segsize;
    snprintf(out, WALNAME_SEGMENT_TEXT, "%08X%08X%08X", tli, (unsigned)(segno / per_log),
             (unsigned)(segno % per_log));
}

void walname_history_format(char out[WALNAME_HISTORY_TEXT], uint32_t tli)
{
    snprintf(out, WALNAME_HISTORY_TEXT, "%08X.history", tli);
}

bool wal_segsize_valid(uint32_t segsize)
{
    return segsize >= MIN_SEGSIZE && segsize <= MAX_SEGSIZE && (segsize & (segsize - 1)) == 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* One to eight digits; returns what follows them, NULL if there are none or more. */
static const char *hex_half(const char *s, uint32_t *out)
{
    uint32_t v = 0;
    int n = 0;
    for (; hex_value(*s) >= 0; s++) {
        if (++n > 8)
            return NULL;
        v = v << 4 | (uint32_t)hex_value(*s);
    }
    *out = v;
    return n > 0 ? s : NULL;
}

bool lsn_parse(const char *s, uint64_t *lsn)
{
    uint32_t high, low;
    s = hex_half(s, &high);
    if (!s || *s != '/')
        return false;
    s = hex_half(s + 1, &low);
    if (!s || *s != '\0')
        return false;
    *lsn = (uint64_t)high << 32 | low;
    return true;
}

char *lsn_format(char out[LSN_TEXT], uint64_t lsn)
{
    snprintf(out, LSN_TEXT, LSN_FORMAT, LSN_ARGS(lsn));
    return out;
}

uint64_t lsn_segno(uint64_t lsn, uint32_t segsize)
{
    return lsn / segsize;
}

uint64_t lsn_end_segno(uint64_t end, uint32_t segsize)
{
    return end == 0 ? 0 : (end - 1) / segsize;
}

uint64_t segno_start(uint64_t segno, uint32_t segsize)
{
    return segno * segsize;
}
