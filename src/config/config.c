#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define MAX_REPOS 16

/* One value that was given somewhere. */
typedef struct Setting {
    OptionId id;
    unsigned section; /* 0: command line or environment */
    char *name;       /* of [repo:NAME], [cluster:NAME] */
    char *text;
    char *origin;
    bool from_line; /* the command line */
    OptionValue value;
} Setting;

struct Config {
    CommandBit command;
    Setting *settings;
    size_t count, room;
    char **args;
    size_t nargs, args_room;
    char *repos[MAX_REPOS];
    int nrepos;
    char *cluster;
    char *clusters; /* the only [cluster:…] of the file, "" if several */
    char *path;
};

/* What the callbacks of inih share. */
typedef struct FileState {
    Config *config;
    FILE *file;
    const char *path;
    int line;
    unsigned section;
    char name[128];
    bool failed;
    Error *err;
} FileState;

/* Takes `origin`. A second value for an option of the same place is an error, but for lists. */
static bool add_setting(Config *c, OptionId id, unsigned section, const char *name,
                        const char *text, char *origin, bool from_line, Error *err)
{
    const OptionDef *def = option_def(id);
    char why[160];
    MEM_GROW(c->settings, c->count, c->room);
    Setting *s = &c->settings[c->count];
    *s = (Setting){.id = id, .section = section, .origin = origin, .from_line = from_line};
    s->name = mem_strdup(name ? name : "");
    s->text = mem_strdup(text);
    c->count++;
    if (!option_parse(def, s->text, &s->value, why, sizeof(why)))
        return error_set(err, ERR_USAGE, "%s: bad value \"%s\" for %s: expected %s", origin, text,
                         def->name, why);
    for (size_t i = 0; def->type != OPTION_LIST && i + 1 < c->count; i++) {
        const Setting *o = &c->settings[i];
        if (o->id == id && o->section == section && strcmp(o->name, s->name) == 0 &&
            o->from_line == from_line)
            return error_set(err, ERR_USAGE, "%s: %s is given twice (first: %s)", origin,
                             def->name, o->origin);
    }
    return true;
}

static void suggest(Error *err, const char *word, const char *prefix)
{
    if (word)
        error_hint(err, "did you mean %s%s?", prefix, word);
}

/* --- the file ------------------------------------------------------------------------------ */

static bool file_error(FileState *f, const char *what, const char *word)
{
    f->failed = true;
    return error_set(f->err, ERR_USAGE, "%s:%d: %s \"%s\"", f->path, f->line, what, word);
}

static void remember_section(FileState *f)
{
    Config *c = f->config;
    if (f->section == SECTION_CLUSTER) {
        if (!c->clusters)
            c->clusters = mem_strdup(f->name);
        else if (strcmp(c->clusters, f->name) != 0)
            c->clusters[0] = '\0';
    }
    if (f->section != SECTION_REPO)
        return;
    for (int i = 0; i < c->nrepos; i++)
        if (strcmp(c->repos[i], f->name) == 0)
            return;
    if (c->nrepos == MAX_REPOS)
        file_error(f, "too many repositories at", f->name);
    else
        c->repos[c->nrepos++] = mem_strdup(f->name);
}

/* A name becomes part of object keys and file names. */
static bool good_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 64 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static void begin_section(FileState *f, const char *line)
{
    static const char *const kinds[] = {"global", "repo", "cluster"};
    char head[sizeof(f->name) + 16];
    const char *end = strchr(line, ']');
    size_t len = end ? (size_t)(end - line - 1) : strlen(line + 1);
    if (len >= sizeof(head))
        len = sizeof(head) - 1;
    memcpy(head, line + 1, len);
    head[len] = '\0';
    char *colon = strchr(head, ':');
    if (colon)
        *colon = '\0';
    f->section = strcmp(head, "global") == 0    ? SECTION_GLOBAL
                 : strcmp(head, "repo") == 0    ? SECTION_REPO
                 : strcmp(head, "cluster") == 0 ? SECTION_CLUSTER
                                                : 0;
    if (!f->section) {
        file_error(f, "unknown section", head);
        suggest(f->err, option_nearest(head, kinds, 3), "");
        return;
    }
    snprintf(f->name, sizeof(f->name), "%s", colon ? colon + 1 : "");
    if (f->section == SECTION_GLOBAL ? colon != NULL : !good_name(f->name)) {
        file_error(f, "bad section name in", line);
        error_hint(f->err, "write [global], [repo:NAME] or [cluster:NAME]; a name has letters, "
                           "digits, '.', '_' and '-'");
        return;
    }
    remember_section(f);
}

/* Gives inih one line; it can't tell line numbers, so they are counted here. */
static char *read_line(char *str, int num, void *stream)
{
    FileState *f = stream;
    if (f->failed || !fgets(str, num, f->file))
        return NULL;
    f->line++;
    size_t len = strlen(str);
    if (len + 1 == (size_t)num && str[len - 1] != '\n') {
        f->failed = true;
        error_set(f->err, ERR_USAGE, "%s:%d: line is longer than %d bytes", f->path, f->line,
                  num - 2);
        error_hint(f->err, "a long connection string can stand in a libpq service file: conninfo = "
                           "service=NAME");
        return NULL;
    }
    /* An indented line would be taken for more of the value before it. */
    size_t indent = strspn(str, " \t");
    memmove(str, str + indent, strlen(str + indent) + 1);
    if (str[0] == '[') {
        char *head = mem_strndup(str, strcspn(str, "\r\n"));
        begin_section(f, head);
        free(head);
    }
    return f->failed ? NULL : str;
}

static int take_setting(void *user, const char *section, const char *name, const char *value)
{
    (void)section;
    FileState *f = user;
    if (f->failed)
        return 0;
    OptionId id = option_find(name);
    if (!f->section) {
        file_error(f, "no section before option", name);
        error_hint(f->err, "begin the file with [global]");
    } else if (id == OPT_COUNT || !option_def(id)->sections) {
        file_error(f, id == OPT_COUNT ? "unknown option" : "the file can't set option", name);
        if (id == OPT_COUNT)
            suggest(f->err, option_suggest(name, SECTION_GLOBAL | f->section, 0), "");
    } else if (!(option_def(id)->sections & f->section)) {
        file_error(f, "this section can't hold option", name);
        error_hint(f->err, "put %s into [global]%s", name,
                   option_def(id)->sections & SECTION_REPO      ? " or [repo:NAME]"
                   : option_def(id)->sections & SECTION_CLUSTER ? " or [cluster:NAME]"
                                                                : "");
    } else {
        char *origin = mem_printf("%s:%d", f->path, f->line);
        f->failed = !add_setting(f->config, id, f->section, f->name, value, origin, false, f->err);
    }
    return f->failed ? 0 : 1;
}

static bool load_file(Config *c, const char *path, bool must_exist, Error *err)
{
    FileState f = {.config = c, .path = path, .err = err};
    f.file = fopen(path, "re");
    if (!f.file && errno == ENOENT && !must_exist)
        return true;
    if (!f.file)
        return error_errno(err, ERR_USAGE, "can't open configuration file %s", path);
    int rc = ini_parse_stream(read_line, &f, take_setting, &f);
    bool read_failed = ferror(f.file);
    fclose(f.file);
    c->path = mem_strdup(path);
    if (f.failed)
        return false;
    if (read_failed)
        return error_set(err, ERR_USAGE, "can't read configuration file %s", path);
    if (rc != 0) {
        error_set(err, ERR_USAGE, "%s:%d: neither a section nor \"option = value\"", path, rc);
        return error_hint(err, "sections look like [repo:main], options like workers = 4");
    }
    return true;
}

/* --- command line and environment ----------------------------------------------------------- */

static bool load_word(Config *c, int argc, char **argv, int *i, Error *err)
{
    const char *word = argv[*i] + 2;
    const char *equals = strchr(word, '=');
    char *name = equals ? mem_strndup(word, (size_t)(equals - word)) : mem_strdup(word);
    OptionId id = option_find(name);
    bool ok = false;
    if (id == OPT_COUNT || !(option_def(id)->commands & c->command)) {
        error_set(err, ERR_USAGE, id == OPT_COUNT ? "unknown option --%s" :
                                                    "this command has no option --%s", name);
        suggest(err, option_suggest(name, 0, c->command), "--");
    } else {
        const char *text = equals ? equals + 1 : "yes";
        if (!equals && option_def(id)->type != OPTION_FLAG)
            text = *i + 1 < argc ? argv[++*i] : NULL;
        if (!text)
            error_set(err, ERR_USAGE, "option --%s needs a value: %s", name, option_def(id)->arg);
        else
            ok = add_setting(c, id, 0, NULL, text, mem_strdup("command line"), true, err);
    }
    free(name);
    return ok;
}

static bool load_line(Config *c, int argc, char **argv, Error *err)
{
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            if (!load_word(c, argc, argv, &i, err))
                return false;
        } else if (options && strcmp(argv[i], "-h") == 0) {
            char *origin = mem_strdup("command line");
            if (!add_setting(c, OPT_HELP, 0, NULL, "yes", origin, true, err))
                return false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            error_set(err, ERR_USAGE, "unknown option %s", argv[i]);
            return error_hint(err, "options have two dashes: see --help");
        } else {
            MEM_GROW(c->args, c->nargs, c->args_room);
            c->args[c->nargs++] = argv[i];
        }
    }
    return true;
}

static bool load_environment(Config *c, Error *err)
{
    for (int id = 0; id < OPT_COUNT; id++) {
        const OptionDef *def = option_def((OptionId)id);
        if (!def->sections && id != OPT_CONFIG)
            continue;
        char *var = mem_printf("PITR_%s", def->name);
        for (char *p = var; *p; p++)
            *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        const char *text = getenv(var);
        char *origin = mem_printf("environment %s", var);
        free(var);
        if (!text || !*text)
            free(origin);
        else if (!add_setting(c, (OptionId)id, 0, NULL, text, origin, false, err))
            return false;
    }
    return true;
}

/* --- look-up --------------------------------------------------------------------------------- */

/* 4 command line, 3 environment, 2 the matching section, 1 [global], 0 does not apply. */
static int rank(const Config *c, const Setting *s, OptionId id, int repo)
{
    if (s->id != id)
        return 0;
    if (!s->section)
        return s->from_line ? 4 : 3;
    if (s->section == SECTION_GLOBAL)
        return 1;
    const char *name = s->section == SECTION_CLUSTER ? c->cluster
                       : repo >= 0                   ? c->repos[repo]
                                                     : NULL;
    return name && strcmp(s->name, name) == 0 ? 2 : 0;
}

static const Setting *find(const Config *c, OptionId id, int repo)
{
    const Setting *best = NULL;
    for (size_t i = 0; i < c->count; i++)
        if (rank(c, &c->settings[i], id, repo) > (best ? rank(c, best, id, repo) : 0))
            best = &c->settings[i];
    return best;
}

static OptionValue value_of(const Config *c, OptionId id, int repo)
{
    const Setting *s = find(c, id, repo);
    if (s)
        return s->value;
    OptionValue v = {.text = NULL};
    char why[160];
    const OptionDef *def = option_def(id);
    if (def->fallback)
        option_parse(def, def->fallback, &v, why, sizeof(why));
    return v;
}

static bool choose_cluster(Config *c, Error *err)
{
    const Setting *s = find(c, OPT_CLUSTER, -1);
    if (s && !good_name(s->text))
        return error_set(err, ERR_USAGE, "%s: \"%s\" can't be a cluster's name", s->origin,
                         s->text);
    if (!s && c->clusters && !c->clusters[0]) {
        error_set(err, ERR_USAGE, "%s has several clusters and none is chosen", c->path);
        return error_hint(err, "add --cluster NAME");
    }
    c->cluster = mem_strdup(s ? s->text : c->clusters ? c->clusters : "main");
    return true;
}

/* A URL of the command line or the environment stands for the whole list. */
static bool choose_repos(Config *c, Error *err)
{
    const Setting *only = find(c, OPT_REPO, -1), *url = find(c, OPT_URL, -1);
    bool given = url && !url->section;
    if (!only && c->nrepos > 0 && !given)
        return true;
    const char *name = only ? only->text : "main";
    int at = -1;
    for (int i = 0; i < c->nrepos; i++)
        if (strcmp(c->repos[i], name) == 0)
            at = i;
    if (only && at < 0 && c->nrepos > 0) {
        error_set(err, ERR_USAGE, "%s has no [repo:%s]", c->path, name);
        suggest(err, option_nearest(name, (const char *const *)c->repos, (size_t)c->nrepos), "");
        return false;
    }
    char *keep = mem_strdup(name);
    for (int i = 0; i < c->nrepos; i++)
        free(c->repos[i]);
    c->repos[0] = keep;
    c->nrepos = 1;
    return true;
}

Config *config_load(CommandBit command, int argc, char **argv, Error *err)
{
    Config *c = MEM_NEW(Config);
    c->command = command;
    bool ok = load_line(c, argc, argv, err) && load_environment(c, err);
    if (ok && !config_flag(c, OPT_HELP)) {
        const Setting *file = find(c, OPT_CONFIG, -1);
        ok = load_file(c, file ? file->text : option_def(OPT_CONFIG)->fallback, file != NULL,
                       err) &&
             choose_cluster(c, err) && choose_repos(c, err);
    }
    if (!ok) {
        config_free(c);
        return NULL;
    }
    return c;
}

void config_free(Config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        free(c->settings[i].name);
        free(c->settings[i].text);
        free(c->settings[i].origin);
    }
    for (int i = 0; i < c->nrepos; i++)
        free(c->repos[i]);
    free(c->settings);
    free(c->args);
    free(c->cluster);
    free(c->clusters);
    free(c->path);
    free(c);
}

int config_argc(const Config *c)
{
    return (int)c->nargs;
}

const char *config_arg(const Config *c, int i)
{
    return c->args[i];
}

const char *config_cluster(const Config *c)
{
    return c->cluster;
}

int config_repo_count(const Config *c)
{
    return c->nrepos;
}

const char *config_repo_name(const Config *c, int repo)
{
    return c->repos[repo];
}

const char *config_text(const Config *c, OptionId id)
{
    return value_of(c, id, -1).text;
}

bool config_flag(const Config *c, OptionId id)
{
    return value_of(c, id, -1).number != 0;
}

int64_t config_number(const Config *c, OptionId id)
{
    return value_of(c, id, -1).number;
}

const char *config_repo_text(const Config *c, int repo, OptionId id)
{
    return value_of(c, id, repo).text;
}

bool config_repo_flag(const Config *c, int repo, OptionId id)
{
    return value_of(c, id, repo).number != 0;
}

int64_t config_repo_number(const Config *c, int repo, OptionId id)
{
    return value_of(c, id, repo).number;
}

int config_choice(const Config *c, OptionId id)
{
    OptionValue v = value_of(c, id, -1);
    return v.text ? (int)v.number : -1;
}

int config_list_count(const Config *c, OptionId id)
{
    int n = 0;
    for (size_t i = 0; i < c->count; i++)
        n += c->settings[i].id == id;
    return n;
}

const char *config_list_item(const Config *c, OptionId id, int item)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->settings[i].id == id && item-- == 0)
            return c->settings[i].text;
    return NULL;
}

const char *config_origin(const Config *c, OptionId id, int repo)
{
    const Setting *s = find(c, id, repo);
    return s ? s->origin : "default";
}

bool config_given(const Config *c, OptionId id)
{
    const Setting *s = find(c, id, -1);
    return s && s->from_line;
}

const char *config_file_text(const Config *c, OptionId id)
{
    const Setting *best = NULL;
    for (size_t i = 0; i < c->count; i++) {
        const Setting *s = &c->settings[i];
        if (s->section && rank(c, s, id, -1) > (best ? rank(c, best, id, -1) : 0))
            best = s;
    }
    return best ? best->text : NULL;
}

const char *config_path(const Config *c)
{
    return c->path;
}
