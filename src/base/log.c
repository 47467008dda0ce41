#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

static LogLevel level_now = LOG_LEVEL_INFO;

void log_set_level(LogLevel level)
{
    level_now = level;
}

LogLevel log_level(void)
{
    return level_now;
}

static void write_line(const char *prefix, const char *text)
{
    Buf line = BUF_INIT;
    buf_puts(&line, prefix);
    /* A line stays a line, whatever a file name or a server's message contains. */
    for (const char *p = text; *p; p++)
        buf_putc(&line, (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p);
    buf_putc(&line, '\n');
    ssize_t ignored = write(STDERR_FILENO, line.data, line.len);
    (void)ignored;
    buf_free(&line);
}

static void log_at(LogLevel level, const char *prefix, const char *fmt, va_list ap)
{
    if (level > level_now)
        return;
    char *text = mem_vprintf(fmt, ap);
    write_line(prefix, text);
    free(text);
}

#define LOG_FUNCTION(name, level, prefix)                                                          \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        log_at(level, prefix, fmt, ap);                                                            \
        va_end(ap);                                                                                \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR, "pitr: error: ")
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN, "pitr: warning: ")
LOG_FUNCTION(log_info, LOG_LEVEL_INFO, "pitr: ")
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG, "pitr: debug: ")

void log_failure(const Error *err)
{
    log_error("%s", err->message);
    if (err->hint[0])
        write_line("hint: ", err->hint);
}

void log_failure_as_warning(const Error *err)
{
    log_warn("%s", err->message);
    if (err->hint[0] && level_now >= LOG_LEVEL_WARN)
        write_line("hint: ", err->hint);
}
