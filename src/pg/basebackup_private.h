/*
 * basebackup_private.h: what basebackup.c takes from basebackup_text.c; also seen by its tests.
 */
#ifndef PITR_PG_BASEBACKUP_PRIVATE_H
#define PITR_PG_BASEBACKUP_PRIVATE_H

#include "pg/basebackup.h"

/* A PgNoticeFn whose ctx is a BaseBackupResult: collects warnings, and the bad blocks they name. */
void basebackup_notice(void *ctx, const char *severity, const char *sqlstate, const char *message);

/* Reads 'checksum verification failed in file "F", block N…' or 'could not verify checksum in file
 * "F", block N…'; the caller frees *file. False for any other text. */
bool basebackup_parse_bad_block(const char *message, char **file, uint32_t *block);

#endif
