#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(Error *err, ErrorCode code, const char *fmt, ...)
{
    /* Formatted aside: the arguments may point into the Error itself. */
    char message[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    memcpy(err->message, message, sizeof(message));
    err->code = code;
    err->denied = false;
    err->hint[0] = '\0';
    return false;
}

bool error_errno(Error *err, ErrorCode code, const char *fmt, ...)
{
    int saved = errno;
    char message[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(message))
        snprintf(message + n, sizeof(message) - (size_t)n, ": %s", strerror(saved));
    memcpy(err->message, message, sizeof(message));
    err->code = code;
    err->denied = false;
    err->hint[0] = '\0';
    errno = saved;
    return false;
}

bool error_hint(Error *err, const char *fmt, ...)
{
    char hint[sizeof(err->hint)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(hint, sizeof(hint), fmt, ap);
    va_end(ap);
    memcpy(err->hint, hint, sizeof(hint));
    return false;
}

bool error_prefix(Error *err, const char *fmt, ...)
{
    char message[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(message)) {
        size_t room = sizeof(message) - (size_t)n;
        snprintf(message + n, room, ": %.*s", (int)room, err->message);
    }
    memcpy(err->message, message, sizeof(message));
    return false;
}

void error_clear(Error *err)
{
    err->code = ERR_NONE;
    err->denied = false;
    err->message[0] = '\0';
    err->hint[0] = '\0';
}
