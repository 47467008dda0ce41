#include "storage/aws_profile.h"

#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"

/* A piece of the file's text. */
typedef struct Span {
    const char *at;
    size_t len;
} Span;

typedef struct Parser {
    AwsProfile *profile;
    const char *path, *name;
    AwsFileKind kind;
    int line;
    bool in_section, ours; /* within any section; within one of the profile */
    bool after_setting;
    size_t indent; /* of the last setting */
    Error *err;
} Parser;

static const struct {
    const char *name;
    size_t member;
    bool whole; /* '#' and ';' are part of the value */
} settings[] = {
    {"aws_access_key_id", offsetof(AwsProfile, access_key), false},
    {"aws_secret_access_key", offsetof(AwsProfile, secret_key), false},
    {"aws_session_token", offsetof(AwsProfile, session_token), false},
    {"credential_process", offsetof(AwsProfile, credential_process), true},
    {"web_identity_token_file", offsetof(AwsProfile, web_identity_token_file), false},
    {"role_arn", offsetof(AwsProfile, role_arn), false},
    {"role_session_name", offsetof(AwsProfile, role_session_name), false},
    {"sso_session", offsetof(AwsProfile, sign_in), false},
    {"sso_start_url", offsetof(AwsProfile, sign_in), false},
    {"login_session", offsetof(AwsProfile, sign_in), false},
    {"region", offsetof(AwsProfile, region), false},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static char **member_of(AwsProfile *profile, size_t setting)
{
    return (char **)((char *)profile + settings[setting].member);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static Span trim(Span s)
{
    while (s.len && is_blank(s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

static bool span_is(Span s, const char *text)
{
    return strlen(text) == s.len && memcmp(s.at, text, s.len) == 0;
}

static bool parse_error(Parser *p, const char *what)
{
    error_set(p->err, ERR_USAGE, "%s:%d: %s", p->path, p->line, what);
    return error_hint(p->err, "sections look like [default], %s, settings like region = eu-west-3",
                      p->kind == AWS_CONFIG_FILE ? "[profile NAME]" : "[NAME]");
}

/* In the config file a name with blanks may stand in quotes. */
static Span unquote(Span s)
{
    if (s.len >= 2 && (s.at[0] == '"' || s.at[0] == '\'') && s.at[s.len - 1] == s.at[0])
        return (Span){s.at + 1, s.len - 2};
    return s;
}

static bool is_our_section(const Parser *p, Span name)
{
    static const char word[] = "profile";
    size_t n = sizeof(word) - 1;
    if (p->kind == AWS_CREDENTIALS_FILE || span_is(name, "default"))
        return span_is(name, p->name);
    return name.len > n && memcmp(name.at, word, n) == 0 && is_blank(name.at[n]) &&
           span_is(unquote(trim((Span){name.at + n, name.len - n})), p->name);
}

static bool begin_section(Parser *p, Span line)
{
    const char *end = memchr(line.at, ']', line.len);
    if (!end)
        return parse_error(p, "the name of a section has no end");
    p->in_section = true;
    p->after_setting = false;
    p->ours = is_our_section(p, trim((Span){line.at + 1, (size_t)(end - line.at) - 1}));
    p->profile->found |= p->ours;
    return true;
}

/* A '#' or ';' behind a blank begins a comment; not at the very beginning, where it may be part of
 * a secret that somebody chose. */
static Span without_comment(Span value)
{
    for (size_t i = 1; i < value.len; i++)
        if ((value.at[i] == '#' || value.at[i] == ';') && is_blank(value.at[i - 1]))
            return trim((Span){value.at, i});
    return value;
}

static void take(Parser *p, Span name, Span value)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strlen(settings[i].name) != name.len ||
            strncasecmp(settings[i].name, name.at, name.len) != 0)
            continue;
        if (!settings[i].whole)
            value = without_comment(value);
        char **member = member_of(p->profile, i);
        aws_secret_free(*member);
        *member = value.len ? mem_strndup(value.at, value.len) : NULL;
    }
}

static bool take_line(Parser *p, Span line)
{
    size_t indent = 0;
    while (indent < line.len && is_blank(line.at[indent]))
        indent++;
    line = trim(line);
    if (line.len == 0 || line.at[0] == '#' || line.at[0] == ';')
        return true;
    if (p->after_setting && indent > p->indent)
        return true;
    if (line.at[0] == '[')
        return begin_section(p, line);
    if (!p->in_section)
        return parse_error(p, "something stands before the first section");
    size_t n = 0;
    while (n < line.len && line.at[n] != '=' && line.at[n] != ':')
        n++;
    Span name = trim((Span){line.at, n});
    if (n == line.len || name.len == 0)
        return parse_error(p, "neither a section nor a setting");
    p->after_setting = true;
    p->indent = indent;
    if (p->ours)
        take(p, name, trim((Span){line.at + n + 1, line.len - n - 1}));
    return true;
}

bool aws_profile_parse(AwsProfile *profile, const char *text, size_t len, const char *path,
                       AwsFileKind kind, const char *name, Error *err)
{
    Parser p = {.profile = profile, .path = path, .name = name, .kind = kind, .err = err};
    size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order mark */
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        p.line++;
        if (memchr(text + at, '\0', n))
            return parse_error(&p, "a zero byte: this is no text file");
        if (!take_line(&p, (Span){text + at, n}))
            return false;
        at += n + 1;
    }
    return true;
}

bool aws_profile_read(AwsProfile *profile, const char *path, const char *what, AwsFileUse use,
                      AwsFileKind kind, const char *name, Error *err)
{
    Buf text = BUF_INIT;
    bool ok =
        aws_read_file(path, what, use, AWS_FILE_MAX, &text, err) &&
        aws_profile_parse(profile, text.data ? text.data : "", text.len, path, kind, name, err);
    aws_secret_buf_free(&text);
    return ok;
}

void aws_profile_free(AwsProfile *profile)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        aws_secret_free(*member_of(profile, i));
        *member_of(profile, i) = NULL; /* some share a member */
    }
    profile->found = false;
}

/* --- where they are ----------------------------------------------------------------------- */

const char *aws_getenv(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *aws_profile_name(const char *option)
{
    if (option && *option)
        return option;
    const char *name = aws_getenv("AWS_PROFILE");
    if (!name)
        name = aws_getenv("AWS_DEFAULT_PROFILE");
    return name ? name : "default";
}

/* PostgreSQL's hooks may be started without HOME. */
static char *home_dir(void)
{
    const char *home = aws_getenv("HOME");
    if (home)
        return mem_strdup(home);
    struct passwd pw, *found = NULL;
    char room[4096];
    if (getpwuid_r(geteuid(), &pw, room, sizeof(room), &found) != 0 || !found || !pw.pw_dir)
        return NULL;
    return mem_strdup(pw.pw_dir);
}

char *aws_expand_home(const char *path)
{
    if (strncmp(path, "~/", 2) != 0)
        return mem_strdup(path);
    char *home = home_dir();
    char *out = home ? mem_printf("%s%s", home, path + 1) : mem_strdup(path);
    free(home);
    return out;
}

char *aws_profile_path(AwsFileKind kind)
{
    bool config = kind == AWS_CONFIG_FILE;
    const char *given = aws_getenv(config ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE");
    char *home = given ? NULL : home_dir();
    char *path = given  ? aws_expand_home(given)
                 : home ? mem_printf("%s/.aws/%s", home, config ? "config" : "credentials")
                        : NULL;
    free(home);
    return path;
}

static bool read_shared(AwsProfile *profile, AwsFileKind kind, const char *name, Error *err)
{
    char *path = aws_profile_path(kind);
    const char *what =
        kind == AWS_CONFIG_FILE ? "AWS's configuration file" : "AWS's credentials file";
    bool ok = !path || aws_profile_read(profile, path, what, AWS_FILE_SHARED, kind, name, err) ||
              err->code == ERR_NO;
    free(path);
    return ok;
}

static void move_member(char **to, char **from)
{
    aws_secret_free(*to);
    *to = *from;
    *from = NULL;
}

/* What `over` has replaces what `profile` has; keys only all together. */
static void merge(AwsProfile *profile, AwsProfile *over)
{
    bool keys = over->access_key || over->secret_key;
    profile->found |= over->found;
    for (size_t i = 0; i < SETTINGS; i++) {
        char **to = member_of(profile, i), **from = member_of(over, i);
        bool is_key = settings[i].member <= offsetof(AwsProfile, session_token);
        if (is_key ? keys : *from != NULL)
            move_member(to, from);
    }
}

bool aws_profile_load(AwsProfile *profile, const char *name, Error *err)
{
    AwsProfile credentials = {0};
    bool ok = read_shared(profile, AWS_CONFIG_FILE, name, err) &&
              read_shared(&credentials, AWS_CREDENTIALS_FILE, name, err);
    if (ok)
        merge(profile, &credentials);
    aws_profile_free(&credentials);
    return ok;
}

char *aws_configured_region(const char *profile)
{
    static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < 2; i++)
        if (aws_getenv(variables[i]))
            return mem_strdup(aws_getenv(variables[i]));
    AwsProfile p = {0};
    Error ignored;
    bool ok = aws_profile_load(&p, aws_profile_name(profile), &ignored);
    char *region = ok ? mem_strdup(p.region) : NULL;
    aws_profile_free(&p);
    return region;
}
