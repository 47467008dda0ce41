/*
 * aws_process.h: credential_process, a program that prints keys.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Process credential provider". As the AWS CLI does,
 * the command is split into words by the rules of quoting of a POSIX shell and run without a shell:
 * no variable, '~', pipe or ';' is expanded (AWS's own tools disagree about these, and advise
 * against them); who wants them writes sh -c '…'. The program is looked for in PATH, reads from
 * /dev/null, has our stderr, and heads a process group of its own, which is killed when it takes
 * more than 20 seconds or a signal comes. It gets our environment as it is.
 */
#ifndef PITR_STORAGE_AWS_PROCESS_H
#define PITR_STORAGE_AWS_PROCESS_H

#include "storage/aws_private.h"

#define AWS_PROCESS_TIMEOUT (20 * CLOCK_SECOND)

/* The words of `command`, with a NULL behind them; the caller frees with aws_words_free(). NULL
 * with ERR_USAGE for an open quote or no word at all; `where` begins the message. */
char **aws_split_words(const char *command, const char *where, Error *err);
void aws_words_free(char **words);

/* Runs it; what it prints becomes *out, which the caller frees. ERR_USAGE if it can't be started,
 * ERR_REPO if it fails, takes too long (`timeout`, microseconds) or prints something else than
 * keys, ERR_LOCKED if a signal came. Only the program's name gets into an error, no argument. */
bool aws_process_keys(const char *command, const char *where, int64_t timeout, AwsKeys *out,
                      Error *err);

#endif
