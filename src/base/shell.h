/*
 * shell.h: text that a POSIX shell reads as one word.
 *
 * For the commands that pitr writes for others to run: restore_command and lines shown to people.
 */
#ifndef PITR_BASE_SHELL_H
#define PITR_BASE_SHELL_H

#include "base/buf.h"

/* Appends `word` so that sh takes it as exactly that word: as it stands if every character is
 * harmless, else within single quotes. A buffer without a ceiling is expected. Thread-safe. */
void shell_quote(Buf *out, const char *word);

#endif
