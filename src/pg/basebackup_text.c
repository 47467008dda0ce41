/* The texts of a base backup: the command that starts it and the warnings that come with it. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/basebackup_private.h"

static bool check_options(const BaseBackupOptions *o, Error *err)
{
    static const char *const hashes[] = {"NONE", "CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"};
    size_t i = 0, count = sizeof(hashes) / sizeof(hashes[0]);

    if (strlen(o->label) > BASEBACKUP_LABEL_MAX)
        return error_set(err, ERR_USAGE, "the backup's label is longer than %d bytes",
                         BASEBACKUP_LABEL_MAX);
    for (const char *p = o->label; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return error_set(err, ERR_USAGE, "the backup's label has a control character");
    if (o->max_rate && (o->max_rate < BASEBACKUP_RATE_MIN || o->max_rate > BASEBACKUP_RATE_MAX))
        return error_set(err, ERR_USAGE, "the rate limit %u kB/s is not between %d and %d",
                         o->max_rate, BASEBACKUP_RATE_MIN, BASEBACKUP_RATE_MAX);
    while (o->manifest_hash && i < count && strcmp(o->manifest_hash, hashes[i]) != 0)
        i++;
    if (i == count)
        return error_set(err, ERR_USAGE, "unknown manifest checksum \"%s\"", o->manifest_hash);
    return true;
}

/* The replication grammar knows '' in a string, but no backslashes and no E''. */
static void put_quoted(Buf *out, const char *s)
{
    buf_putc(out, '\'');
    for (; *s; s++) {
        if (*s == '\'')
            buf_putc(out, '\'');
        buf_putc(out, *s);
    }
    buf_putc(out, '\'');
}

/* 13 and 14: bare keywords (repl_gram.y, base_backup_opt). */
static void put_keywords(const BaseBackupOptions *o, const char *hash, Buf *out)
{
    buf_puts(out, "BASE_BACKUP LABEL ");
    put_quoted(out, o->label);
    buf_puts(out, " PROGRESS");
    if (o->fast_checkpoint)
        buf_puts(out, " FAST");
    if (!o->wait)
        buf_puts(out, " NOWAIT");
    if (o->max_rate)
        buf_printf(out, " MAX_RATE %u", o->max_rate);
    buf_puts(out, " TABLESPACE_MAP");
    if (o->no_verify_checksums)
        buf_puts(out, " NOVERIFY_CHECKSUMS");
    buf_printf(out, " MANIFEST 'yes' MANIFEST_CHECKSUMS '%s'", hash);
}

/* 15 and later: a list in parentheses (repl_gram.y, generic_option). */
static void put_list(const BaseBackupOptions *o, const char *hash, Buf *out)
{
    buf_puts(out, "BASE_BACKUP (LABEL ");
    put_quoted(out, o->label);
    buf_printf(out, ", PROGRESS true, CHECKPOINT '%s', WAL false, WAIT %s",
               o->fast_checkpoint ? "fast" : "spread", o->wait ? "true" : "false");
    if (o->max_rate)
        buf_printf(out, ", MAX_RATE %u", o->max_rate);
    buf_printf(out, ", TABLESPACE_MAP true, VERIFY_CHECKSUMS %s",
               o->no_verify_checksums ? "false" : "true");
    buf_printf(out, ", MANIFEST 'yes', MANIFEST_CHECKSUMS '%s')", hash);
}

bool basebackup_command(const BaseBackupOptions *options, int version, Buf *out, Error *err)
{
    const char *hash = options->manifest_hash ? options->manifest_hash : "CRC32C";

    if (!check_options(options, err))
        return false;
    if (version >= 150000)
        put_list(options, hash, out);
    else
        put_keywords(options, hash, out);
    return true;
}

/* The text behind `marker`, or NULL. */
static const char *behind(const char *text, const char *marker)
{
    const char *at = strstr(text, marker);
    return at ? at + strlen(marker) : NULL;
}

bool basebackup_parse_bad_block(const char *message, char **file, uint32_t *block)
{
    static const char separator[] = "\", block ";

    if (!strstr(message, "checksum"))
        return false;
    const char *name = behind(message, "in file \"");
    const char *end = name ? strstr(name, separator) : NULL;
    if (!end || end == name)
        return false;
    const char *digits = end + strlen(separator);
    char *rest;
    if (*digits < '0' || *digits > '9')
        return false;
    unsigned long long n = strtoull(digits, &rest, 10);
    if (n > UINT32_MAX)
        return false;
    if (!strncmp(name, "./", 2) && end - name > 2)
        name += 2;
    *file = mem_strndup(name, (size_t)(end - name));
    *block = (uint32_t)n;
    return true;
}

void basebackup_notice(void *ctx, const char *severity, const char *sqlstate, const char *message)
{
    BaseBackupResult *r = ctx;
    char *file;
    uint32_t block;

    (void)sqlstate;
    if (strcmp(severity, "WARNING") != 0) {
        log_debug("PostgreSQL: %s: %s", severity, message);
        return;
    }
    if (r->warning_count == BASEBACKUP_WARNINGS_MAX)
        log_warn("PostgreSQL sends more warnings: see the server's log");
    if (r->warning_count++ < BASEBACKUP_WARNINGS_MAX) {
        log_warn("PostgreSQL: %s", message);
        for (const char *p = message; *p; p++)
            buf_putc(&r->warnings, *p == '\n' || *p == '\r' ? ' ' : *p);
        buf_putc(&r->warnings, '\n');
    }
    if (r->bad_block_count < BASEBACKUP_WARNINGS_MAX &&
        basebackup_parse_bad_block(message, &file, &block)) {
        r->bad_blocks = mem_resize(r->bad_blocks, r->bad_block_count + 1, sizeof(*r->bad_blocks));
        r->bad_blocks[r->bad_block_count++] = (BaseBackupBadBlock){file, block};
    }
}
