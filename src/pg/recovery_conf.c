/* recovery_conf_rewrite(): see recovery.h. */
#include <string.h>
#include <strings.h>

#include "pg/recovery.h"

/* Settings that never belong into a new recovery. A name that ends in * stands for all that begin
 * so. The block's own settings are only in the second list: elsewhere they are the user's. */
static const struct {
    const char *name;
    const char *why;
} stale[] = {
    {"recovery_target*", "it is the target of an earlier recovery"},
    {"restore_command", "this restore sets its own"},
    {"recovery_end_command", "it would run at the end of this recovery"},
    {"archive_cleanup_command", "it would remove WAL from an archive"},
    {"recovery_min_apply_delay", "it would delay this recovery"},
    {"primary_conninfo", "it connects to another server"},
    {"primary_slot_name", "it uses a slot of another server"},
    {"standby_mode", "this PostgreSQL does not know it"},
    {"trigger_file", "this PostgreSQL does not know it"},
    {"promote_trigger_file", "it could end this recovery early"},
};

static const char *const block_only[] = {"archive_mode", "max_logical_replication_workers",
                                         "listen_addresses"};

typedef struct Rewrite {
    const RecoveryConfOptions *options;
    const char *file;
    bool foreign;  /* the archiving that is in force is not pitr's */
    bool in_block; /* between the lines that an earlier restore put around its settings */
    size_t number; /* of the line */
    GucLine line;
    Buf *out, *said;
} Rewrite;

/* ---- whose command is it ---- */

/* Copies the next word of a shell command without its quotes; `*starts` is set when a new simple
 * command begins before it. Good enough to find a program's name, not a shell. */
static bool next_word(const char **command, Buf *word, bool *starts)
{
    const char *p = *command;
    while (*p && strchr(" \t\r\n;&|()", *p))
        *starts |= strchr(";&|()\n", *p++) != NULL;
    buf_clear(word);
    buf_puts(word, "");
    if (*p == '\0')
        return false;
    char quote = '\0';
    for (; *p && (quote || !strchr(" \t\r\n;&|()", *p)); p++) {
        if (quote && *p == quote)
            quote = '\0';
        else if (!quote && (*p == '\'' || *p == '"'))
            quote = *p;
        else
            buf_putc(word, *p);
    }
    *command = p;
    return true;
}

bool recovery_command_is_ours(const char *command)
{
    Buf word = BUF_INIT;
    bool found = false, pitr = false, starts = true;
    while (!found && next_word(&command, &word, &starts)) {
        const char *slash = strrchr(word.data, '/');
        const char *base = slash ? slash + 1 : word.data;
        if (starts)
            pitr = false;
        starts = false;
        /* Not only at the start: `env X=1 pitr archive %p`, `timeout 60 pitr --cluster c archive`
         */
        found = strcmp(base, "pitr-archive") == 0 || (pitr && strcmp(word.data, "archive") == 0);
        pitr = pitr || strcmp(base, "pitr") == 0;
    }
    buf_free(&word);
    return found;
}

/* ---- lines ---- */

/* The next line without its newline; false at the end of the text. */
static bool next_line(const char **p, const char *end, const char **line, size_t *len)
{
    if (*p == end)
        return false;
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    *line = *p;
    *len = (size_t)((newline ? newline : end) - *p);
    *p = newline ? newline + 1 : end;
    return true;
}

static bool name_matches(const char *name, const char *pattern)
{
    size_t len = strlen(pattern);
    if (pattern[len - 1] == '*')
        return strncasecmp(name, pattern, len - 1) == 0;
    return strcasecmp(name, pattern) == 0;
}

static const char *archive_reason(const Rewrite *rw)
{
    const GucLine *line = &rw->line;
    bool mode = guc_line_is(line, "archive_mode");
    if (!mode && !guc_line_is(line, "archive_command") && !guc_line_is(line, "archive_library"))
        return NULL;
    if (rw->options->copy)
        return "a copy must not archive";
    if (!rw->foreign)
        return NULL;
    return mode ? "the archiving that it switches is not pitr's" : "it does not run pitr";
}

/* Why the setting of this line has to go; NULL if it may stay. A line that PostgreSQL would refuse
 * is judged by its name too: it can only be a damaged setting of that name. */
static const char *removal_reason(const Rewrite *rw)
{
    static const char ours[] = "an earlier restore by pitr added it";
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++)
        if (name_matches(rw->line.name.data, stale[i].name))
            return rw->in_block ? ours : stale[i].why;
    for (size_t i = 0; rw->in_block && i < sizeof(block_only) / sizeof(block_only[0]); i++)
        if (guc_line_is(&rw->line, block_only[i]))
            return ours;
    return archive_reason(rw);
}

static void say_include(Rewrite *rw)
{
    buf_printf(rw->said, "%s line %zu: %s ", rw->file, rw->number, rw->line.name.data);
    guc_mask(rw->said, rw->line.value.data);
    buf_puts(rw->said, " is kept: see that the included file sets no recovery target\n");
}

static void remove_line(Rewrite *rw, const char *text, size_t len, const char *why)
{
    buf_printf(rw->out, "# pitr removed (%s): ", why);
    buf_append(rw->out, text, len);
    buf_printf(rw->said, "%s line %zu: %s = '", rw->file, rw->number, rw->line.name.data);
    guc_mask(rw->said, rw->line.value.data);
    buf_printf(rw->said, "' is removed: %s\n", why);
}

static void rewrite_line(Rewrite *rw, const char *text, size_t len)
{
    size_t begin = strlen(RECOVERY_BLOCK_BEGIN), end = strlen(RECOVERY_BLOCK_END);
    if (len >= begin && memcmp(text, RECOVERY_BLOCK_BEGIN, begin) == 0)
        rw->in_block = true;
    else if (len >= end && memcmp(text, RECOVERY_BLOCK_END, end) == 0)
        rw->in_block = false;
    GucKind kind = guc_parse_line(text, len, &rw->line);
    const char *why = NULL;
    if (kind == GUC_INCLUDE)
        say_include(rw);
    else if (kind != GUC_BLANK)
        why = removal_reason(rw);
    if (why)
        remove_line(rw, text, len, why);
    else
        buf_append(rw->out, text, len);
    buf_putc(rw->out, '\n');
}

/* The last setting of a name is the one in force, so the whole text is read before judging. */
static bool archiving_is_foreign(const char *text, size_t len, GucLine *line)
{
    const char *p = text, *start;
    size_t n;
    bool command = false, library = false;
    while (next_line(&p, text + len, &start, &n)) {
        if (guc_parse_line(start, n, line) != GUC_SETTING)
            continue;
        bool empty = line->value.data[strspn(line->value.data, " \t")] == '\0';
        if (guc_line_is(line, "archive_command"))
            command = !empty && !recovery_command_is_ours(line->value.data);
        else if (guc_line_is(line, "archive_library"))
            library = !empty;
    }
    return command || library;
}

bool recovery_conf_rewrite(const char *text, size_t len, const RecoveryConfOptions *options,
                           Buf *out, Buf *said, Error *err)
{
    Rewrite rw = {.options = options,
                  .file = options->file ? options->file : "postgresql.auto.conf",
                  .line = GUC_LINE_INIT,
                  .out = out,
                  .said = said};
    if (len > 0 && memchr(text, '\0', len)) {
        error_set(err, ERR_DAMAGED, "%s of the backup holds a zero byte", rw.file);
        return error_hint(err, "PostgreSQL refuses such a file: correct or empty it first");
    }
    const char *p = text, *start;
    size_t n;
    rw.foreign = archiving_is_foreign(text, len, &rw.line);
    while (next_line(&p, text + len, &start, &n)) {
        rw.number++;
        rewrite_line(&rw, start, n);
    }
    guc_line_free(&rw.line);
    return true;
}
