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
    const char *colon = strstr(url, "://");
    const char *host = colon ? colon + 3 : url;
    snprintf(out, size, "%.*s", (int)strcspn(host, "/?#"), host);
}

bool http_parse_date(const char *text, int64_t *instant)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    CivilTime t = {0};
    char month[4];
    int end = 0;
    if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &t.day, month, &t.year,
               &t.hour, &t.minute, &t.second, &end) != 6 || !end || text[end])
        return false;
    const char *found = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (!found || (found - months) % 3)
        return false;
    t.month = (int)(found - months) / 3 + 1;
    return clock_from_civil(&t, instant);
}
