/*
 * interrupt.h: signals as a flag.
 *
 * PostgreSQL starts archive_command with SIGINT, SIGPIPE, SIGALRM, SIGTTIN, SIGTTOU, SIGURG and
 * SIGXFSZ ignored (restore_command: all but SIGALRM), so main() sets every disposition that matters
 * itself. SIGTERM, SIGINT, SIGHUP and SIGQUIT set a flag; long work asks interrupt_check() between
 * steps, cleans up and returns, and main() then dies by the same signal.
 */
#ifndef PITR_BASE_INTERRUPT_H
#define PITR_BASE_INTERRUPT_H

#include "base/error.h"

/* Sets the dispositions: the four above caught (without SA_RESTART), SIGPIPE and SIGXFSZ ignored
 * so that they arrive as EPIPE and EFBIG, SIGALRM and SIGCHLD at their default. Unblocks them all. */
void interrupt_install(void);

/* The signal that came, or 0. Any thread. */
int interrupt_signal(void);

/* False with ERR_LOCKED "stopped by signal …" once one of the four has come. Any thread. */
bool interrupt_check(Error *err);

/* For cleaning up after a signal: on this thread the two above say that none has come, until it is
 * switched off again. The caller bounds the time. */
void interrupt_ignore(bool on);

/* Sleeps up to `ms` milliseconds; returns early when a signal came. */
void interrupt_sleep(int ms);

/* Puts the default disposition back and dies by signal `sig`. */
void interrupt_die(int sig) __attribute__((noreturn));

#endif
