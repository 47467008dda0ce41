/* aws_keys.c: access keys in memory, in files and in JSON. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "storage/aws_private.h"

#define LONGEST_KEY (16u << 10)

void aws_secret_free(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

void aws_secret_buf_free(Buf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->cap);
    buf_free(b);
}

void aws_keys_free(AwsKeys *keys)
{
    aws_secret_free(keys->access_key);
    aws_secret_free(keys->secret_key);
    aws_secret_free(keys->session_token);
    *keys = (AwsKeys){0};
}

void aws_keys_copy(AwsKeys *to, const AwsKeys *from)
{
    to->access_key = mem_strdup(from->access_key);
    to->secret_key = mem_strdup(from->secret_key);
    to->session_token = mem_strdup(from->session_token);
    to->expires = from->expires;
}

/* Access key and token stand in headers. The secret doesn't, and some servers let people choose
 * theirs, so it may have blanks and letters of any alphabet, but no control characters: a line end
 * that came along with the value is the usual mistake. */
static bool good_text(const char *text, bool in_header)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++, n++)
        if (*p < ' ' || *p == 0x7f || (in_header && (*p == ' ' || *p > 0x7e)))
            return false;
    return n <= LONGEST_KEY;
}

bool aws_keys_check(const AwsKeys *keys, const char *where, Error *err)
{
    const struct {
        const char *name, *text;
        bool needed, in_header;
    } parts[] = {{"access key", keys->access_key, true, true},
                 {"secret key", keys->secret_key, true, false},
                 {"session token", keys->session_token, false, true}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool there = parts[i].text && *parts[i].text;
        if (!there && parts[i].needed)
            return error_set(err, ERR_USAGE, "%s: the %s is missing", where, parts[i].name);
        if (there && !good_text(parts[i].text, parts[i].in_header))
            return error_set(err, ERR_USAGE,
                             "%s: the %s has a character that can't be in one, or is too long",
                             where, parts[i].name);
    }
    return true;
}

/* --- files -------------------------------------------------------------------------------- */

static bool check_private(int fd, const char *path, const char *what, Error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_errno(err, ERR_USAGE, "can't examine %s %s", what, path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_USAGE, "%s %s is not a regular file", what, path);
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        error_set(err, ERR_USAGE, "%s %s belongs to another user (%u)", what, path,
                  (unsigned)st.st_uid);
        return error_hint(err, "it must belong to the user that runs pitr or to root: whoever owns "
                               "it chooses where the backups go");
    }
    if (st.st_mode & 077) {
        error_set(err, ERR_USAGE, "%s %s can be read or written by others: its mode is %04o", what,
                  path, (unsigned)(st.st_mode & 07777));
        return error_hint(err, "chmod 600 %s", path);
    }
    return true;
}

static bool read_all(int fd, const char *path, const char *what, Buf *out, Error *err)
{
    struct stat st;
    /* Room at once: what a growing buffer leaves behind could not be wiped. */
    if (fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size < out->max)
        buf_reserve(out, (size_t)st.st_size + 1);
    char chunk[4096];
    size_t got = 0;
    bool ok;
    do {
        ok = fs_read(fd, chunk, sizeof(chunk), &got, path, err);
        if (!ok)
            err->code = ERR_USAGE;
        else if (!buf_append(out, chunk, got))
            ok = error_set(err, ERR_USAGE, "%s %s is larger than %zu KiB", what, path,
                           out->max >> 10);
    } while (ok && got > 0);
    OPENSSL_cleanse(chunk, sizeof(chunk));
    return ok;
}

bool aws_read_file(const char *path, const char *what, AwsFileUse use, size_t max, Buf *out,
                   Error *err)
{
    out->max = max;
    /* O_NONBLOCK: a named pipe in the place of the file must not stop us here. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        int why = errno;
        error_errno(err, why == ENOENT || why == ENOTDIR ? ERR_NO : ERR_USAGE, "can't open %s %s",
                    what, path);
        if (why == EACCES)
            error_hint(err, "the user that runs pitr (PostgreSQL's, for archive_command) must be "
                            "able to read it");
        return false;
    }
    bool ok = (use == AWS_FILE_SHARED || check_private(fd, path, what, err)) &&
              read_all(fd, path, what, out, err);
    close(fd);
    return ok;
}

/* --- JSON --------------------------------------------------------------------------------- */

bool aws_parse_expiry(const char *text, Instant *out)
{
    char plain[64];
    size_t n = 0, decimals = 0;
    bool fraction = false, had_zone = false;
    Error ignored;
    for (const char *p = text; *p; p++) {
        bool digit = *p >= '0' && *p <= '9';
        if (!digit && !strchr("Tt :+-.Zz", *p))
            return false;
        fraction = *p == '.' || (fraction && digit);
        decimals = fraction ? decimals + digit : 0;
        if (decimals > 6)
            continue;
        if (n + 1 == sizeof(plain))
            return false;
        plain[n++] = *p == 't' ? 'T' : *p == 'z' ? 'Z' : *p;
    }
    plain[n] = '\0';
    Instant t;
    if (!clock_parse_target(plain, &t, &had_zone, &ignored) || !had_zone)
        return false;
    *out = t;
    return true;
}

static void wipe_json(json_t *value)
{
    const char *name;
    json_t *member;
    size_t i;
    if (json_is_string(value))
        OPENSSL_cleanse((char *)json_string_value(value), json_string_length(value));
    json_object_foreach(value, name, member) wipe_json(member);
    json_array_foreach(value, i, member) wipe_json(member);
}

/* The member's text; NULL if it is missing, null or empty. *ok becomes false for another type. */
static const char *text_of(const json_t *object, const char *name, bool *ok)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    *ok &= !value || json_is_null(value) || text;
    return text && *text ? text : NULL;
}

/* A service tells its own failures with status 200, too: {"Code": "…", "Message": "…"}. */
static bool check_code(const json_t *object, const char *where, Error *err)
{
    const char *code = json_string_value(json_object_get(object, "Code"));
    if (!code || strcmp(code, "Success") == 0)
        return true;
    char name[65] = {0};
    for (size_t i = 0; code[i] && i < sizeof(name) - 1; i++)
        name[i] = code[i] > ' ' && code[i] < 0x7f ? code[i] : '?';
    return error_set(err, ERR_REPO, "%s: it answered %s", where, name);
}

static bool check_version(const json_t *object, const char *where, Error *err)
{
    const json_t *version = json_object_get(object, "Version");
    if (json_is_integer(version) && json_integer_value(version) == 1)
        return true;
    error_set(err, ERR_REPO, "%s: its output has no \"Version\": 1", where);
    return error_hint(err, "the form is {\"Version\": 1, \"AccessKeyId\": …, \"SecretAccessKey\": "
                           "…, \"SessionToken\": …, \"Expiration\": …}");
}

static bool read_keys(const json_t *object, AwsJsonForm form, AwsKeys *keys, const char *where,
                      Error *err)
{
    bool ok = true;
    keys->access_key = mem_strdup(text_of(object, "AccessKeyId", &ok));
    keys->secret_key = mem_strdup(text_of(object, "SecretAccessKey", &ok));
    const char *token = form == AWS_JSON_PROCESS ? "SessionToken" : "Token";
    keys->session_token = mem_strdup(text_of(object, token, &ok));
    const char *expiry = text_of(object, "Expiration", &ok);
    if (!ok)
        return error_set(err, ERR_REPO, "%s: a part of the keys is no text", where);
    if (!aws_keys_check(keys, where, err)) {
        err->code = ERR_REPO;
        return false;
    }
    if (expiry && !aws_parse_expiry(expiry, &keys->expires))
        return error_set(err, ERR_REPO, "%s: the time of expiry can't be read", where);
    return true;
}

bool aws_keys_from_json(AwsKeys *out, const char *text, size_t len, AwsJsonForm form,
                        const char *where, Error *err)
{
    AwsKeys keys = {0};
    json_error_t ignored; /* quotes the text */
    json_t *root = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES, &ignored);
    bool ok = json_is_object(root);
    if (!ok)
        error_set(err, ERR_REPO, "%s: what came is no JSON object", where);
    else if (form == AWS_JSON_PROCESS)
        ok = check_version(root, where, err);
    else
        ok = check_code(root, where, err);
    ok = ok && read_keys(root, form, &keys, where, err);
    if (root)
        wipe_json(root);
    json_decref(root);
    if (ok)
        *out = keys;
    else
        aws_keys_free(&keys);
    return ok;
}

/* AWS's partitions have domains of their own (botocore, data/partitions.json). */
const char *aws_domain(const char *region)
{
    static const char *const domains[][2] = {
        {"cn-", "amazonaws.com.cn"},    {"eusc-", "amazonaws.eu"},
        {"us-iso-", "c2s.ic.gov"},      {"us-isob-", "sc2s.sgov.gov"},
        {"eu-isoe-", "cloud.adc-e.uk"}, {"us-isof-", "csp.hci.ic.gov"},
    };
    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
        if (strncmp(region, domains[i][0], strlen(domains[i][0])) == 0)
            return domains[i][1];
    return "amazonaws.com";
}
