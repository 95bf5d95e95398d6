// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramctl: look at vramd, set its limits, and tell it what to do.
 *
 * Here is the command line; the table of commands is in commands.c.
 */
#define _GNU_SOURCE 1
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/proto.h"
#include "tools/vramctl/command.h"

enum {
	OPT_JSON = 1,
	OPT_SOCKET,
	OPT_ALL,
	OPT_HELP,
	OPT_VERSION,
	OPT_COMPLETE,
	OPT_WATCH,
	OPT_INTERVAL,
	OPT_FORMAT,
	OPT_WAIT,
	OPT_TIMEOUT,
	OPT_TO,
	OPT_HOLD,
	OPT_SIGNAL,
	OPT_SAVE,
};

static const struct cli_option option_table[] = {
	{ OPT_JSON, 'j', "json", NULL, "print JSON, for scripts", NULL },
	{ OPT_SOCKET, 0, "socket", "PATH", "the daemon's socket", NULL },
	{ OPT_ALL, 0, "all", NULL, "evict every model", " evict " },
	{ OPT_WATCH, 0, "watch", NULL, "show it again and again", " pressure " },
	{ OPT_INTERVAL, 0, "interval", "TIME", "how often, with --watch [2s]", " pressure " },
	{ OPT_FORMAT, 0, "format", "FORMAT", "openmetrics [the usual] or prometheus", " metrics " },
	{ OPT_WAIT, 0, "wait", NULL, "wait until it is done, and show how far it is",
	  " drain pin prefetch jobs limit set " },
	{ OPT_TIMEOUT, 0, "timeout", "TIME", "wait, but no longer than this (exit status 3)",
	  " drain pin prefetch jobs limit set " },
	{ OPT_TO, 0, "to", "host|disk", "how far out", " drain " },
	{ OPT_HOLD, 0, "hold", NULL, "keep it out until 'vramctl resume'", " drain " },
	{ OPT_SIGNAL, 0, "signal", "NAME", "the signal, by name or number [TERM]", " kill " },
	{ OPT_SAVE, 0, "save", NULL, "keep it in limits.d too", " limit set limit reset " },
	{ OPT_HELP, 'h', "help", NULL, "print this, and exit", NULL },
	{ OPT_VERSION, 0, "version", NULL, "print the version, and exit", NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ .id = 0 },
};

/* What the argument's name does not say. */
static bool complete_value(const struct cli_option *option)
{
	switch (option->id) {
	case OPT_FORMAT:
		puts("openmetrics\nprometheus");
		return true;
	case OPT_SIGNAL:
		puts("TERM\nINT\nHUP\nQUIT\nKILL\nSTOP\nCONT\nUSR1\nUSR2");
		return true;
	}
	return false;
}

const struct cli vramctl_cli = {
	.program = "vramctl",
	.options = option_table,
	.values = complete_value,
};

/* ---- help ---- */

static void print_help(void)
{
	const struct command *command;
	char left[96];

	fputs("Usage: vramctl [OPTION]... COMMAND [ARGUMENT]...\n"
	      "Look at vramd, which shares a device between model processes, set its limits, and tell it what\n"
	      "to do.\n\n"
	      "Commands:\n",
	      stdout);
	for (command = commands; command->name; command++) {
		snprintf(left, sizeof(left), "%s%s%s", command->name, command->args ? " " : "",
			 command->args ? command->args : "");
		cli_print_row(&vramctl_cli, left, command->help);
	}
	cli_print_options(&vramctl_cli, NULL);
	printf("\nThe daemon is looked for at $VRAM_SOCKET, then %s, then below\n"
	       "$XDG_RUNTIME_DIR. 'vramctl COMMAND --help' says more about a command. See vramctl(1).\n",
	       VRAM_SOCKET_SYSTEM);
}

static void print_command_help(const struct command *command)
{
	printf("Usage: vramctl %s%s%s [OPTION]...\n\n%c%s.\n", command->name,
	       command->args ? " " : "", command->args ? command->args : "",
	       toupper((unsigned char)command->help[0]), command->help + 1);
	if (command->detail)
		printf("\n%s", command->detail);
	cli_print_options(&vramctl_cli, command->name);
}

/* ---- finding commands ---- */

/* How many words of argv the command's name takes; 0 if it is another command. */
static int command_words(const char *name, int argc, char *const argv[])
{
	const char *space = strchr(name, ' ');
	size_t len = space ? (size_t)(space - name) : strlen(name);

	if (argc < 1 || strlen(argv[0]) != len || strncmp(name, argv[0], len) != 0)
		return 0;
	if (!space)
		return 1;
	return argc > 1 && !strcmp(space + 1, argv[1]) ? 2 : 0;
}

static const struct command *command_find(int argc, char *const argv[], int *out_words)
{
	const struct command *command;

	for (command = commands; command->name; command++) {
		*out_words = command_words(command->name, argc, argv);
		if (*out_words > 0)
			return command;
	}
	return NULL;
}

/* "limit" alone: what may follow. */
static int unknown_command(char *const argv[])
{
	const struct command *command;
	char choices[256] = "";
	size_t len = strlen(argv[0]);

	for (command = commands; command->name; command++) {
		if (!strncmp(command->name, argv[0], len) && command->name[len] == ' ')
			snprintf(choices + strlen(choices), sizeof(choices) - strlen(choices),
				 "%s'%s'", *choices ? " or " : "", command->name);
	}
	if (*choices)
		return cli_usage(&vramctl_cli, "say %s", choices);
	return cli_usage(&vramctl_cli, "there is no command '%s'", argv[0]);
}

/* ---- completion ---- */

/* Prints everything that may follow the words; the shell keeps what fits what was typed. */
static int run_complete(const struct options *options, int argc, char *const argv[])
{
	const struct command *command, *at;
	const char *rest;
	size_t first;
	int words;

	command = command_find(argc, argv, &words);
	cli_complete_options(&vramctl_cli, command ? command->name : NULL);
	if (command) {
		if (command->complete)
			command->complete(options, argc - words, argv + words);
		return EXIT_SUCCESS;
	}
	for (at = commands; at->name; at++) {
		first = strcspn(at->name, " ");
		rest = at->name + first;
		/* Commands of two words stand together in the table: the first word is said once. */
		if (argc == 0 && (at == commands || strncmp(at->name, at[-1].name, first + 1) != 0))
			printf("%.*s\n", (int)first, at->name);
		else if (argc == 1 && *rest && strlen(argv[0]) == first &&
			 !strncmp(at->name, argv[0], first))
			printf("%s\n", rest + 1);
	}
	return EXIT_SUCCESS;
}

/* ---- the command line ---- */

/* given: which options there were, a bit per id. Return: 0, or EXIT_USAGE. argv is sorted: the words after optind are no options. */
static int options_parse(struct options *out, unsigned long *given, int argc, char *argv[])
{
	int id;

	while ((id = cli_next(&vramctl_cli, argc, argv)) > 0) {
		*given |= 1ul << id;
		switch (id) {
		case OPT_JSON:
			out->json = true;
			break;
		case OPT_SOCKET:
			out->socket = optarg;
			break;
		case OPT_ALL:
			out->all = true;
			break;
		case OPT_WATCH:
			out->watch = true;
			break;
		case OPT_INTERVAL:
			out->interval = optarg;
			break;
		case OPT_FORMAT:
			out->format = optarg;
			break;
		case OPT_WAIT:
			out->wait = true;
			break;
		case OPT_TIMEOUT:
			out->timeout = optarg;
			break;
		case OPT_TO:
			out->to = optarg;
			break;
		case OPT_HOLD:
			out->hold = true;
			break;
		case OPT_SIGNAL:
			out->signal = optarg;
			break;
		case OPT_SAVE:
			out->save = true;
			break;
		case OPT_HELP:
			out->help = true;
			break;
		case OPT_VERSION:
			out->version = true;
			break;
		case OPT_COMPLETE:
			out->complete = true;
			break;
		}
	}
	return id == 0 ? EXIT_USAGE : 0;
}

static int command_run(const struct command *command, const struct options *options,
		       unsigned long given, int argc, char *const argv[])
{
	const struct cli_option *option;

	if (options->help) {
		print_command_help(command);
		return EXIT_SUCCESS;
	}
	for (option = option_table; option->id; option++)
		if (given & 1ul << option->id && !cli_option_is_for(option, command->name))
			return cli_usage(&vramctl_cli, "%s has no option --%s", command->name,
					 option->name);
	if (argc < command->min_args)
		return cli_usage(&vramctl_cli, "%s needs %s", command->name, command->args);
	if (argc > command->max_args)
		return cli_usage(&vramctl_cli, "%s: unexpected argument '%s'", command->name,
				 argv[command->max_args]);
	if (command->run)
		return command->run(options, argc, argv);
	return ask_and_show(options, json_pack("{s:s}", "command", command->request),
			    command->show);
}

static int run(const struct options *options, unsigned long given, int argc, char *const argv[])
{
	const struct command *command;
	int words;

	if (options->complete)
		return run_complete(options, argc, argv);
	if (options->version) {
		printf("vramctl %s\n", VRAM_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc == 0 && options->help) {
		print_help();
		return EXIT_SUCCESS;
	}
	if (argc == 0)
		return cli_usage(&vramctl_cli, "a command is needed");
	command = command_find(argc, argv, &words);
	if (!command)
		return unknown_command(argv);
	return command_run(command, options, given, argc - words, argv + words);
}

int main(int argc, char *argv[])
{
	struct options options = { 0 };
	unsigned long given = 0;
	int r;

	if (argc > 1 && !strcmp(argv[1], "--complete") &&
	    cli_complete_value(&vramctl_cli, argc - 1, argv + 1))
		return cli_finish(&vramctl_cli, EXIT_SUCCESS);
	r = options_parse(&options, &given, argc, argv);
	if (r == 0)
		r = run(&options, given, argc - optind, argv + optind);
	return cli_finish(&vramctl_cli, r);
}
