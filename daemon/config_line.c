// SPDX-License-Identifier: GPL-2.0-only
/* The command line of vramd, which is the last layer of the configuration: options, --help, the shell's completion. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/err.h"
#include "daemon/config.h"
#include "daemon/config_value.h"

enum {
	OPT_USER = 1,
	OPT_CONFIG,
	OPT_SOCKET,
	OPT_BUDGET,
	OPT_SET,
	OPT_CHECK,
	OPT_COMPLETE,
	OPT_VERSION,
	OPT_HELP,
};

static const struct cli_option option_table[] = {
	{ OPT_USER, 0, "user", NULL,
	  "a private daemon of your own, with a socket below $XDG_RUNTIME_DIR", NULL },
	{ OPT_CONFIG, 'c', "config", "FILE", "read FILE instead of the default file", NULL },
	{ OPT_SOCKET, 0, "socket", "PATH", "the same as --set daemon.socket=PATH", NULL },
	{ OPT_BUDGET, 0, "budget", "SIZE", "the same as --set device.budget=SIZE", NULL },
	{ OPT_SET, 0, "set", "SECTION.KEY=VALUE",
	  "a setting that overrides the file; may be repeated", NULL },
	{ OPT_CHECK, 0, "check-config", NULL,
	  "print the configuration that would be in force, and exit", NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ OPT_VERSION, 0, "version", NULL, "print the version, and exit", NULL },
	{ OPT_HELP, 'h', "help", NULL, "print this, and exit", NULL },
	{ .id = 0 },
};

static bool complete_value(const struct cli_option *option);
static const struct cli cli = {
	.program = "vramd",
	.options = option_table,
	.stop_at_operand = true,
	.column = 30,
	.values = complete_value,
};

struct command_line {
	bool user;
	bool check_only;
	const char *file;
	char **settings; /* "section.key=value", in order */
	size_t n_settings;
};

/* ---- help and completion ---- */

static void help_setting(const struct config_option *option, void *userdata)
{
	char left[64], right[256];

	(void)userdata;
	snprintf(left, sizeof(left), "%s.%s", option->section, option->key);
	snprintf(right, sizeof(right), "%s [%s]", option->help,
		 option->show ? option->show : option->value);
	cli_print_row(&cli, left, right);
}

static void help(void)
{
	fputs("Usage: vramd [OPTION]...\n"
	      "Share one device between model processes that do not know of each other.\n",
	      stdout);
	cli_print_options(&cli, NULL);
	printf("\nSettings, for %s/vramd.conf and --set, and their defaults:\n", VRAM_SYSCONFDIR);
	config_each(help_setting, NULL);
	fputs("\nWithout --user the daemon serves the whole machine and is started as root.\n"
	      "See vramd(8) and vramd.conf(5).\n",
	      stdout);
}

static void complete_setting(const struct config_option *option, void *userdata)
{
	const struct config_choice *choice = option->choices;

	(void)userdata;
	if (!choice)
		printf("%s.%s=\n", option->section, option->key);
	for (; choice && choice->name; choice++)
		printf("%s.%s=%s\n", option->section, option->key, choice->name);
}

static bool complete_value(const struct cli_option *option)
{
	if (option->id != OPT_SET)
		return false;
	config_each(complete_setting, NULL);
	return true;
}

/* ---- parsing ---- */

static int setting_add(struct command_line *line, const char *prefix, const char *value)
{
	char **settings = reallocarray(line->settings, line->n_settings + 1, sizeof(*settings));

	if (!settings)
		return err_origin(-ENOMEM);
	line->settings = settings;
	if (asprintf(&settings[line->n_settings], "%s%s", prefix, value) < 0)
		return err_origin(-ENOMEM);
	line->n_settings++;
	return 0;
}

/* What was asked for has been printed. */
static int answered(void)
{
	return cli_finish(&cli, EXIT_SUCCESS) == EXIT_SUCCESS ? CONFIG_E_DONE : CONFIG_E_FAILED;
}

static int command_line_parse(struct command_line *line, int argc, char *const argv[])
{
	int id, r = 0;

	if (cli_complete(&cli, argc, argv, NULL))
		return answered();
	optind = 0; /* may be called again */
	while (r == 0 && (id = cli_next(&cli, argc, argv)) != -1) {
		switch (id) {
		case OPT_USER:
			line->user = true;
			break;
		case OPT_CHECK:
			line->check_only = true;
			break;
		case OPT_CONFIG:
			line->file = optarg;
			break;
		case OPT_SOCKET:
			r = setting_add(line, "daemon.socket=", optarg);
			break;
		case OPT_BUDGET:
			r = setting_add(line, "device.budget=", optarg);
			break;
		case OPT_SET:
			r = setting_add(line, "", optarg);
			break;
		case OPT_COMPLETE:
			cli_usage(&cli, "--complete must be the first option");
			return CONFIG_E_USAGE;
		case OPT_VERSION:
			printf("vramd %s\n", VRAM_VERSION);
			return answered();
		case OPT_HELP:
			help();
			return answered();
		default:
			return CONFIG_E_USAGE;
		}
	}
	if (r == 0 && optind < argc) {
		cli_usage(&cli, "unexpected argument '%s'", argv[optind]);
		return CONFIG_E_USAGE;
	}
	return err_trace(r);
}

/* ---- the three layers ---- */

/* Applies one "section.key=value". */
static int setting_apply(struct config *config, char *setting, char *reason)
{
	char *dot = strchr(setting, '.'), *equal = strchr(setting, '=');

	if (!dot || !equal || equal < dot) {
		snprintf(reason, CONFIG_REASON_MAX, "'%.200s' is not SECTION.KEY=VALUE", setting);
		return err_origin(-EINVAL);
	}
	*dot = '\0';
	*equal = '\0';
	return err_trace(config_set(config, setting, dot + 1, equal + 1, reason));
}

/* The default file need not exist; one that was asked for must. */
static int file_apply(struct config *config, const char *file, char *reason)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char path[4096];

	if (file)
		return err_trace(config_read(config, file, reason));
	if (!config->user)
		snprintf(path, sizeof(path), "%s/vramd.conf", VRAM_SYSCONFDIR);
	else if (base && base[0] == '/')
		snprintf(path, sizeof(path), "%s/vramd/vramd.conf", base);
	else
		snprintf(path, sizeof(path), "%s/.config/vramd/vramd.conf", home ? home : "");
	if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	return err_trace(config_read(config, path, reason));
}

static int config_build(struct config *config, const struct command_line *line, char *reason)
{
	size_t i;
	int r;

	r = file_apply(config, line->file, reason);
	if (r == 0) {
		for (i = 0; i < line->n_settings && r == 0; i++)
			r = setting_apply(config, line->settings[i], reason);
		if (r == 0)
			r = config_finish(config, reason);
	}
	return r == 0 ? 0 : CONFIG_E_USAGE;
}

int config_reload(struct config *out, int argc, char *const argv[], char reason[CONFIG_REASON_MAX])
{
	struct command_line line = { 0 };
	struct config config;
	size_t i;
	int r;

	reason[0] = '\0';
	r = command_line_parse(&line, argc, argv);
	if (r == 0)
		r = config_init(&config, line.user);
	if (r == 0) {
		config.check_only = line.check_only;
		snprintf(reason, CONFIG_REASON_MAX, "out of memory");
		r = config_build(&config, &line, reason);
		if (r == 0)
			*out = config;
		else
			config_deinit(&config);
	}
	for (i = 0; i < line.n_settings; i++)
		free(line.settings[i]);
	free(line.settings);
	return err_trace(r);
}

int config_load(struct config *out, int argc, char *const argv[])
{
	char reason[CONFIG_REASON_MAX];
	int r = config_reload(out, argc, argv, reason);

	if (r == CONFIG_E_USAGE && *reason)
		fprintf(stderr, "vramd: %s\n", reason);
	return err_trace(r);
}
