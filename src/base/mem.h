/*
 * mem.h: allocation that cannot fail.
 *
 * Memory that cannot be had ends the process by abort() after one line on stderr: nothing in pitr
 * can go on usefully without it, and a death by signal is the one answer that PostgreSQL never
 * takes for success or for "absent" (see docs/decisions.md). All results are freed with free().
 * Thread-safe.
 */
#ifndef PITR_BASE_MEM_H
#define PITR_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

/* `n` zeroed objects of `size` bytes; never NULL. */
void *mem_new(size_t n, size_t size);

/* realloc() to `n` objects of `size` bytes; never NULL. New bytes are not initialised. */
void *mem_resize(void *p, size_t n, size_t size);

/* A copy of `s`; NULL gives NULL. */
char *mem_strdup(const char *s);

/* A copy of `len` bytes of `s` with a terminating zero. */
char *mem_strndup(const char *s, size_t len);

/* A new string formatted as printf does. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *mem_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

#define MEM_NEW(type) ((type *)mem_new(1, sizeof(type)))
#define MEM_NEW_ARRAY(type, n) ((type *)mem_new((n), sizeof(type)))

/* Makes room for one more element in a growing array: `count` used, `room` allocated. */
#define MEM_GROW(array, count, room)                                                               \
    do {                                                                                           \
        if ((count) == (room)) {                                                                   \
            (room) = (room) ? (room)*2 : 16;                                                       \
            (array) = mem_resize((array), (room), sizeof(*(array)));                               \
        }                                                                                          \
    } while (0)

#endif
