/*
 * config.c: `pitr config`, which prints each effective option and where it came from.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/context.h"
#include "pg/guc.h"

static void add_option(json_t *list, const Config *config, OptionId id, int repo)
{
    const OptionDef *def = option_def(id);
    const char *text = repo < 0 ? config_text(config, id) : config_repo_text(config, repo, id);
    /* A connection string may hold a password. */
    Buf masked = BUF_INIT;
    if (text)
        guc_mask(&masked, text);
    json_t *value = text ? json_string(masked.data ? masked.data : "") : json_null();
    buf_free(&masked);
    json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "option", def->name, "value", value,
                                          "origin", config_origin(config, id, repo)));
}

/* The options whose most specific place is such a section. */
static void add_section(json_t *all, const Config *config, unsigned sections, const char *name,
                        int repo)
{
    const char *kind = sections & SECTION_REPO      ? "repo"
                       : sections & SECTION_CLUSTER ? "cluster"
                                                    : "global";
    json_t *list = json_array();
    for (int id = 0; id < OPT_COUNT; id++) {
        if (option_def((OptionId)id)->sections == sections)
            add_option(list, config, (OptionId)id, repo);
    }
    json_array_append_new(all,
                          json_pack("{s:s, s:s, s:o}", "kind", kind, "name", name, "options", list));
}

static void print_text(const json_t *all)
{
    size_t i, j;
    json_t *section, *option;
    json_array_foreach(all, i, section) {
        const char *name = json_string_value(json_object_get(section, "name"));
        printf("%s[%s%s%s]\n", i ? "\n" : "", json_string_value(json_object_get(section, "kind")),
               name[0] ? ":" : "", name);
        json_array_foreach(json_object_get(section, "options"), j, option) {
            const char *value = json_string_value(json_object_get(option, "value"));
            printf("%s%-16s = %-32s ; %s\n", value ? "" : "; ",
                   json_string_value(json_object_get(option, "option")), value ? value : "",
                   json_string_value(json_object_get(option, "origin")));
        }
    }
}

int cmd_config(const Config *config)
{
    Error err;
    if (config_argc(config) != 0) {
        error_set(&err, ERR_USAGE, "config takes no words");
        return context_fail(&err);
    }
    json_t *all = json_array();
    add_section(all, config, SECTION_GLOBAL, "", -1);
    for (int i = 0; i < config_repo_count(config); i++)
        add_section(all, config, SECTION_GLOBAL | SECTION_REPO, config_repo_name(config, i), i);
    add_section(all, config, SECTION_GLOBAL | SECTION_CLUSTER, config_cluster(config), -1);
    if (config_flag(config, OPT_JSON)) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        print_text(all);
    }
    json_decref(all);
    return 0;
}
