/*
 * pgtext.h: strict readings of small texts that come from a server or a file.
 *
 * Everything here is a pure function: no allocation, no locale, thread-safe.
 */
#ifndef PITR_PG_PGTEXT_H
#define PITR_PG_PGTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only (no sign, no space), at most `max`; false leaves *out alone. */
bool pgtext_uint(const char *s, uint64_t max, uint64_t *out);

/* True for a path below a data directory: not empty, not absolute, no empty, "." or ".." part. */
bool pgtext_is_relative_path(const char *path);

/* True if `s` is exactly `digits` hexadecimal digits of either case. */
bool pgtext_is_hex(const char *s, size_t digits);

/* Decodes 2 × n hexadecimal digits into n bytes; `out` has room for strlen(hex) / 2. False if the
 * length is odd or a character is not a digit. */
bool pgtext_unhex(const char *hex, uint8_t *out, size_t *n);

#endif
