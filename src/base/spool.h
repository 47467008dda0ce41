/*
 * spool.h: an unnamed file on disk for what would not fit into memory.
 *
 * It is made in $TMPDIR, else /var/tmp (which is a disk where /tmp may be memory), and is gone with
 * its last descriptor, kill -9 included.
 */
#ifndef PITR_BASE_SPOOL_H
#define PITR_BASE_SPOOL_H

#include <stdio.h>

#include "base/error.h"

/* An empty stream for writing and then, after rewind(), reading; the caller fclose()s. */
FILE *spool_open(Error *err);

/* fwrite() with its failure said. */
bool spool_write(FILE *spool, const void *data, size_t len, Error *err);

#endif
