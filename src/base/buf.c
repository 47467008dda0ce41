#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void buf_init_max(Buf *b, size_t max)
{
    *b = (Buf){.max = max};
}

bool buf_reserve(Buf *b, size_t extra)
{
    size_t need = b->len + extra;
    if (need < extra || (b->max && need > b->max))
        return false;
    if (need + 1 > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need + 1)
            cap += cap / 2 + 1;
        b->data = mem_resize(b->data, cap, 1);
        b->cap = cap;
    }
    return true;
}

bool buf_append(Buf *b, const void *data, size_t len)
{
    if (!buf_reserve(b, len))
        return false;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return true;
}

bool buf_puts(Buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

bool buf_putc(Buf *b, char c)
{
    return buf_append(b, &c, 1);
}

bool buf_printf(Buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = mem_vprintf(fmt, ap);
    va_end(ap);
    bool ok = buf_puts(b, s);
    free(s);
    return ok;
}

void buf_clear(Buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

char *buf_detach(Buf *b)
{
    char *data = b->data ? b->data : mem_new(1, 1);
    *b = (Buf){.max = b->max};
    return data;
}

void buf_free(Buf *b)
{
    free(b->data);
    *b = (Buf){.max = b->max};
}
