/*
 * config.h: the effective options of one run.
 *
 * An option's value comes from the command line, else the environment (PITR_WORKERS), else the most
 * specific section of the file, else [global], else the default of the table. The file is INI, read
 * by inih. Everything unknown is an error that names the place and the nearest valid name. Values
 * live as long as the Config. Read-only after config_load(); then thread-safe.
 */
#ifndef PITR_CONFIG_CONFIG_H
#define PITR_CONFIG_CONFIG_H

#include "base/error.h"
#include "config/options.h"

typedef struct Config Config;

/* Reads the command line behind the command's name (argv[0] is the first word of it), environment
 * and file for a command (CommandBit). Words that are no options are kept in order. ERR_USAGE. */
Config *config_load(CommandBit command, int argc, char **argv, Error *err);

void config_free(Config *config);

/* The words of the command line that are no options. */
int config_argc(const Config *config);
const char *config_arg(const Config *config, int i);

/* The chosen cluster's name: --cluster, or the only [cluster:…] of the file, or "main". */
const char *config_cluster(const Config *config);

/* The repositories in the file's order, or one called "main" where the file names none. */
int config_repo_count(const Config *config);
const char *config_repo_name(const Config *config, int repo);

/* The value of an option of the chosen cluster, or (…_repo) of one repository. Text is NULL where
 * there is no value; flags are false and numbers 0 then. */
const char *config_text(const Config *config, OptionId id);
bool config_flag(const Config *config, OptionId id);
int64_t config_number(const Config *config, OptionId id);
const char *config_repo_text(const Config *config, int repo, OptionId id);
bool config_repo_flag(const Config *config, int repo, OptionId id);
int64_t config_repo_number(const Config *config, int repo, OptionId id);

/* The index of the value in the option's `values`; -1 if it has none. */
int config_choice(const Config *config, OptionId id);

/* Every value of an OPTION_LIST, in order. */
int config_list_count(const Config *config, OptionId id);
const char *config_list_item(const Config *config, OptionId id, int i);

/* Where the value comes from: "command line", "environment PITR_URL", "/etc/pitr/pitr.conf:12",
 * "default". `repo` -1 for options of the cluster. */
const char *config_origin(const Config *config, OptionId id, int repo);

/* True if the value was given at the command line. */
bool config_given(const Config *config, OptionId id);

/* The value that the file alone gives for the chosen cluster, or NULL: what the operator wrote down
 * as the cluster's own, whatever this command line says. */
const char *config_file_text(const Config *config, OptionId id);

/* The path of the file that was read, or NULL. */
const char *config_path(const Config *config);

#endif
