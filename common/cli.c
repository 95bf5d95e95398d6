// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/cli.h"

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

static int argument_kind(const struct cli_option *option)
{
	if (!option->arg)
		return no_argument;
	return option->arg[0] == '[' ? optional_argument : required_argument;
}

/* ---- parsing ---- */

int cli_next(const struct cli *cli, int argc, char *const argv[])
{
	struct option longs[CLI_OPTIONS_MAX + 1] = { 0 };
	char letters[3 * CLI_OPTIONS_MAX + 3];
	size_t n = count(cli), len = 0, i;
	int c, kind;

	if (cli->stop_at_operand)
		letters[len++] = '+';
	letters[len++] = ':';
	for (i = 0; i < n; i++) {
		const struct cli_option *option = &cli->options[i];

		kind = argument_kind(option);
		longs[i] = (struct option){ .name = option->name,
					    .has_arg = kind,
					    .val = CLI_ID_BASE + (int)i };
		if (!option->letter)
			continue;
		letters[len++] = option->letter;
		for (; kind > 0; kind--)
			letters[len++] = ':';
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

/* ---- help ---- */

void cli_print_row(const struct cli *cli, const char *left, const char *help)
{
	int column = cli->column ? cli->column : CLI_COLUMN;

	if ((int)strlen(left) > column)
		printf("  %s\n  %*s %s\n", left, column, "", help);
	else
		printf("  %-*s %s\n", column, left, help);
}

void cli_print_options(const struct cli *cli, const char *command)
{
	const struct cli_option *option;
	char left[96], letter[8];

	fputs("\nOptions:\n", stdout);
	for (option = cli->options; option->id; option++) {
		if (!option->help || (command && !cli_option_is_for(option, command)))
			continue;
		snprintf(letter, sizeof(letter), option->letter ? "-%c, " : "    ", option->letter);
		/* "[TIME]" stands behind an equals sign, without which it is not taken. */
		if (argument_kind(option) == optional_argument)
			snprintf(left, sizeof(left), "%s--%s[=%s", letter, option->name,
				 option->arg + 1);
		else
			snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name,
				 option->arg ? " " : "", option->arg ? option->arg : "");
		cli_print_row(cli, left, option->help);
	}
}

/* ---- completion ---- */

static const struct cli_option *by_name(const struct cli *cli, const char *name, size_t len)
{
	const struct cli_option *option;

	for (option = cli->options; option->id; option++)
		if (!strncmp(option->name, name, len) && !option->name[len])
			return option;
	return NULL;
}

static const struct cli_option *by_letter(const struct cli *cli, char letter)
{
	const struct cli_option *option;

	for (option = cli->options; option->id; option++)
		if (option->letter == letter)
			return option;
	return NULL;
}

/* The option whose argument the next word is, NULL: none's. "--name=" is an argument that is being typed. */
static const struct cli_option *word_pending(const struct cli *cli, const char *word, bool last)
{
	const struct cli_option *option;
	size_t len;

	if (word[1] == '-') {
		len = strcspn(word, "=");
		option = by_name(cli, word + 2, len - 2);
		if (!option || argument_kind(option) == no_argument)
			return NULL;
		if (word[len])
			return last && !word[len + 1] ? option : NULL;
		return argument_kind(option) == required_argument ? option : NULL;
	}
	for (word++; *word; word++) {
		option = by_letter(cli, *word);
		if (!option)
			return NULL;
		if (option->arg)
			return !word[1] && argument_kind(option) == required_argument ? option :
											NULL;
	}
	return NULL;
}

/* Return: the option that waits for its argument behind the words; *out_operand: the first word that is none, or argc. */
static const struct cli_option *pending(const struct cli *cli, int argc, char *const argv[],
					int *out_operand)
{
	const struct cli_option *option = NULL;
	int i;

	*out_operand = argc;
	for (i = 1; i < argc; i++) {
		if (option) {
			option = NULL;
		} else if (!strcmp(argv[i], "--")) {
			if (*out_operand == argc && i + 1 < argc)
				*out_operand = i + 1;
			return NULL;
		} else if (argv[i][0] == '-' && argv[i][1]) {
			option = word_pending(cli, argv[i], i == argc - 1);
		} else {
			if (*out_operand == argc)
				*out_operand = i;
			if (cli->stop_at_operand)
				return NULL;
		}
	}
	return option;
}

static bool word_is(const char *word, size_t len, const char *what)
{
	return strlen(what) == len && !strncmp(word, what, len);
}

static void print_values(const struct cli *cli, const struct cli_option *option)
{
	const char *word = option->arg + strspn(option->arg, "[");
	size_t len = strcspn(word, "|]");

	if (cli->values && cli->values(option))
		return;
	if (word_is(word, len, "PATH") || word_is(word, len, "FILE")) {
		puts(":files");
	} else if (word_is(word, len, "FOLDER")) {
		puts(":folders");
	} else if (word[len] == '|') {
		for (; len > 0; word += len + (word[len] == '|'), len = strcspn(word, "|]"))
			printf("%.*s\n", (int)len, word);
	}
}

bool cli_complete_value(const struct cli *cli, int argc, char *const argv[])
{
	const struct cli_option *option;
	int operand;

	option = pending(cli, argc, argv, &operand);
	if (option)
		print_values(cli, option);
	return option;
}

bool cli_complete(const struct cli *cli, int argc, char *const argv[], const char *operands)
{
	const struct cli_option *option;
	int operand;

	if (argc < 2 || strcmp(argv[1], "--complete") != 0)
		return false;
	argc--;
	argv++;
	option = pending(cli, argc, argv, &operand);
	if (option) {
		print_values(cli, option);
	} else if (cli->stop_at_operand && operand < argc) {
		printf(":offset %d\n", operand - 1);
	} else {
		cli_complete_options(cli, NULL);
		if (operands)
			puts(operands);
	}
	return true;
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
