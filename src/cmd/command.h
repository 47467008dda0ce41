/*
 * command.h: the commands of `pitr`, one file each. A command reads its options from the Config,
 * calls the floors below, prints data on stdout and everything else through the log, and returns
 * its exit code (an ErrorCode; `fetch` has codes of its own).
 */
#ifndef PITR_CMD_COMMAND_H
#define PITR_CMD_COMMAND_H

#include "base/error.h"
#include "config/config.h"

typedef struct Command {
    const char *name;
    CommandBit bit;
    int (*run)(const Config *config);
    const char *words;    /* what follows the options in the usage line */
    const char *summary;  /* one line */
    const char *details;  /* a paragraph, and examples */
    int (*exit_code)(ErrorCode code); /* NULL: the code itself */
} Command;

int cmd_archive(const Config *config);
int cmd_fetch(const Config *config);
int cmd_backup(const Config *config);
int cmd_restore(const Config *config);
int cmd_info(const Config *config);
int cmd_config(const Config *config);
int cmd_check(const Config *config);

/* PostgreSQL takes 1 for "absent" and goes on, and stops at anything from 126 up: every failure of
 * fetch is 200 + code. */
int fetch_exit_code(ErrorCode code);

/* The command called `name`, or NULL. */
const Command *command_find(const char *name);

/* The n-th command, or NULL behind the last. */
const Command *command_at(int n);

/* Prints the help page of one command, or of the program, on stdout. */
void command_help(const Command *command);
void command_overview(void);

#endif
