// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/shared/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLI_OPTIONS_MAX 64
#define CLI_COLUMN	38
/* Long options without a letter get a number that is no letter. */
#define CLI_ID_BASE 256

static size_t count(const struct cli *cli)
{
	size_t n = 0;

	while (cli->options[n].id && n < CLI_OPTIONS_MAX)
		n++;
	return n;
}

int cli_next(const struct cli *cli, int argc, char *argv[])
{
	struct option longs[CLI_OPTIONS_MAX + 1] = { 0 };
	char letters[2 * CLI_OPTIONS_MAX + 2] = ":";
	size_t n = count(cli), len = 1, i;
	int c;

	for (i = 0; i < n; i++) {
		const struct cli_option *option = &cli->options[i];

		longs[i] =
			(struct option){ .name = option->name,
					 .has_arg = option->arg ? required_argument : no_argument,
					 .val = CLI_ID_BASE + (int)i };
		if (option->letter) {
			letters[len++] = option->letter;
			if (option->arg)
				letters[len++] = ':';
		}
	}
	letters[len] = '\0';
	c = getopt_long(argc, argv, letters, longs, NULL);
	if (c < 0)
		return -1;
	if (c == ':') {
		cli_usage(cli, "%s needs an argument", argv[optind - 1]);
		return 0;
	}
	if (c >= CLI_ID_BASE)
		return cli->options[c - CLI_ID_BASE].id;
	for (i = 0; i < n; i++)
		if (c != '?' && cli->options[i].letter == c)
			return cli->options[i].id;
	/* Of letters in a bunch only the wrong one is to be named. */
	if (optopt > 0 && optopt < CLI_ID_BASE)
		cli_usage(cli, "there is no option -%c", optopt);
	else if (optopt >= CLI_ID_BASE)
		cli_usage(cli, "--%s takes no argument", cli->options[optopt - CLI_ID_BASE].name);
	else
		cli_usage(cli, "there is no option %s", argv[optind - 1]);
	return 0;
}

bool cli_option_is_for(const struct cli_option *option, const char *command)
{
	char word[64];

	if (!option->commands)
		return true;
	if (!command)
		return false;
	snprintf(word, sizeof(word), " %s ", command);
	return strstr(option->commands, word);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", cli->program);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry '%s --help'.\n", cli->program);
	return EXIT_USAGE;
}

void cli_print_row(const char *left, const char *help)
{
	printf("  %-*s %s\n", CLI_COLUMN, left, help);
}

void cli_print_options(const struct cli *cli, const char *command)
{
	const struct cli_option *option;
	char left[64], letter[8];

	fputs("\nOptions:\n", stdout);
	for (option = cli->options; option->id; option++) {
		if (!option->help || (command && !cli_option_is_for(option, command)))
			continue;
		snprintf(letter, sizeof(letter), option->letter ? "-%c, " : "    ", option->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name,
			 option->arg ? " " : "", option->arg ? option->arg : "");
		cli_print_row(left, option->help);
	}
}

void cli_complete_options(const struct cli *cli, const char *command)
{
	const struct cli_option *option;

	for (option = cli->options; option->id; option++)
		if (option->help && cli_option_is_for(option, command))
			printf("--%s\n", option->name);
}

int cli_finish(const struct cli *cli, int status)
{
	/* A full disk or a closed pipe is a failure too. */
	if (fflush(stdout) == 0 || status != EXIT_SUCCESS)
		return status;
	fprintf(stderr, "%s: standard output: %m\n", cli->program);
	return EXIT_FAILURE;
}
