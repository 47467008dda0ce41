/*
 * buf.h: a growable run of bytes with a ceiling.
 *
 *     Buf b = BUF_INIT;                 // no ceiling but memory
 *     buf_printf(&b, "%s", "text");
 *     use(b.data, b.len);               // always followed by a zero byte that len does not count
 *     buf_free(&b);
 *
 * A Buf that takes bytes from outside gets a ceiling (buf_init_max) and its appends are checked; in
 * a Buf without one they always succeed. Not thread-safe; one owner.
 */
#ifndef PITR_BASE_BUF_H
#define PITR_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Buf {
    char *data; /* NULL until the first append or reserve */
    size_t len;
    size_t cap;
    size_t max; /* 0: no ceiling */
} Buf;

#define BUF_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0, 0                                                                              \
    }

/* An empty buffer that never holds more than `max` bytes. */
void buf_init_max(Buf *b, size_t max);

/* Makes room for `extra` more bytes behind len; false if that would pass the ceiling. */
bool buf_reserve(Buf *b, size_t extra);

/* Appends; false, with nothing appended, if that would pass the ceiling. */
bool buf_append(Buf *b, const void *data, size_t len);
bool buf_puts(Buf *b, const char *s);
bool buf_putc(Buf *b, char c);
bool buf_printf(Buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* len = 0; the memory stays. */
void buf_clear(Buf *b);

/* Hands the bytes (zero-terminated, never NULL) to the caller, who frees them; the buffer is empty. */
char *buf_detach(Buf *b);

void buf_free(Buf *b);

#endif
