/*
 * log.h: lines on stderr.
 *
 * `pitr: error: …`, `pitr: warning: …`, `pitr: …` and, where a person can act, `hint: …`. One line
 * is one write(), so lines of several threads and processes do not mix. The level is the program's
 * only global state: set once by main() before threads start. Data never goes here but to stdout.
 */
#ifndef PITR_BASE_LOG_H
#define PITR_BASE_LOG_H

#include "base/error.h"

typedef enum LogLevel { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG } LogLevel;

void log_set_level(LogLevel level);
LogLevel log_level(void);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The error line and, if there is one, the hint line. */
void log_failure(const Error *err);

/* The same as a warning: the failure was survived. */
void log_failure_as_warning(const Error *err);

#endif
