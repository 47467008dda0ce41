#include "pg/pgtext.h"

#include <string.h>

bool pgtext_uint(const char *s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        uint64_t digit = (uint64_t)(*s - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > max)
        return false;
    *out = value;
    return true;
}

bool pgtext_is_relative_path(const char *path)
{
    for (;;) {
        size_t part = strcspn(path, "/");
        if (part == 0 || (part == 1 && path[0] == '.') || (part == 2 && !strncmp(path, "..", 2)))
            return false;
        if (!path[part])
            return true;
        path += part + 1;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool pgtext_is_hex(const char *s, size_t digits)
{
    if (strlen(s) != digits)
        return false;
    while (*s)
        if (hex_digit(*s++) < 0)
            return false;
    return true;
}

bool pgtext_unhex(const char *hex, uint8_t *out, size_t *n)
{
    size_t len = strlen(hex);

    if (len % 2)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    *n = len / 2;
    return true;
}
