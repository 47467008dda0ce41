/*
 * crc32c.h: CRC-32C (Castagnoli), the checksum of WAL records, pg_control and backup manifests.
 *
 * Polynomial 0x1EDC6F41, reflected, initial value and final exclusive-or all ones (RFC 3720,
 * appendix B.4; src/include/port/pg_crc32c.h). The inversions are inside, so one starts from 0 and
 * every result is both a finished checksum and a valid start for the bytes that follow:
 *
 *     crc32c(crc32c(0, a, n), b, m) == checksum of a followed by b
 *
 * Uses the processor's instruction where there is one, found at run time. Thread-safe.
 */
#ifndef PITR_PG_CRC32C_H
#define PITR_PG_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` over `len` bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same without special instructions; there for tests to compare. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
