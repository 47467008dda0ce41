/* http_text.c: the small texts of HTTP: header lines, hosts, dates. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "storage/http.h"

bool http_header(const HttpResponse *response, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *line = response->headers.data; line && *line;) {
        size_t n = strcspn(line, "\n");
        if (n > len && line[len] == ':' && strncmp(line, name, len) == 0) {
            const char *value = line + len + 1, *end = line + n;
            while (value < end && (*value == ' ' || *value == '\t'))
                value++;
            while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            snprintf(out, size, "%.*s", (int)(end - value), value);
            return true;
        }
        line += n + (line[n] == '\n');
    }
    return false;
}

void http_host(const char *url, char *out, size_t size)
{
    const char *colon = strstr(url, "://"), *mark = strpbrk(url, "/?#");
    const char *host = colon && colon < mark ? colon + 3 : url;
    size_t len = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', len); /* a name and a password before it are not shown */
    if (at) {
        len -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    snprintf(out, size, "%.*s", (int)len, host);
}

static int digits(const char *text, int count)
{
    int n = 0;
    while (count-- > 0)
        n = n * 10 + (*text++ - '0');
    return n;
}

/* True if `text` has in each place what `form` has: '0' for any digit, 'A' and 'a' for any letter.
 */
static bool has_form(const char *text, const char *form)
{
    for (; *form; form++, text++) {
        bool ok = *text == *form;
        if (*form == '0')
            ok = *text >= '0' && *text <= '9';
        else if (*form == 'A')
            ok = *text >= 'A' && *text <= 'Z';
        else if (*form == 'a')
            ok = *text >= 'a' && *text <= 'z';
        if (!ok)
            return false;
    }
    return *text == '\0';
}

bool http_parse_date(const char *text, int64_t *instant)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (!has_form(text, "Aaa, 00 Aaa 0000 00:00:00 GMT"))
        return false;
    char month[4] = {text[8], text[9], text[10], '\0'};
    const char *found = strstr(months, month);
    if (!found)
        return false;
    CivilTime t = {.year = digits(text + 12, 4),
                   .month = (int)(found - months) / 3 + 1,
                   .day = digits(text + 5, 2),
                   .hour = digits(text + 17, 2),
                   .minute = digits(text + 20, 2),
                   .second = digits(text + 23, 2)};
    return clock_from_civil(&t, instant);
}
