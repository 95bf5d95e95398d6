/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The options of a tool, as one table: parsing, --help and the shell's completion read it, and a test
 * compares the manual page with it. A tool with commands has a table of these too (tools/vramctl/command.h).
 *
 * Errors are said on stderr as "PROGRAM: what", followed by where help is. Not for several threads.
 */
#ifndef VRAM_TOOLS_SHARED_CLI_H
#define VRAM_TOOLS_SHARED_CLI_H

#include <stdbool.h>
#include <stddef.h>

/* The exit status of a command line that is not understood. */
#define EXIT_USAGE 2

struct cli_option {
	int id;		  /* what cli_next() returns; not 0 */
	char letter;	  /* of the short form; 0: only the long one exists */
	const char *name; /* of the long form */
	const char *arg;  /* what the argument is called; NULL: none */
	const char *help; /* one line; NULL: not shown and not completed */
	/* Names of the commands that it is for, " drain evict " with a blank around each; NULL: for all. */
	const char *commands;
};

struct cli {
	const char *program;
	const struct cli_option *options; /* up to one with id 0 */
};

/*
 * cli_next() - the next option, sorted to the front as getopt_long() does; its argument is in `optarg`.
 * Return: its id, -1 at the end (operands begin at argv[optind]), or 0 after saying what is wrong.
 */
int cli_next(const struct cli *cli, int argc, char *argv[]);

/* Is the option for this command? NULL: for none, and so only those for all. */
bool cli_option_is_for(const struct cli_option *option, const char *command);

/* Says what is wrong and where help is. Return: EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int cli_usage(const struct cli *cli, const char *format, ...);

/* The part "Options:" of --help. command NULL: all options. */
void cli_print_options(const struct cli *cli, const char *command);
/* One line of it, also for other tables: left in a column, what it is to the right. */
void cli_print_row(const char *left, const char *help);

/* For completion: "--name" of every option for the command, one a line; NULL: of those for all. */
void cli_complete_options(const struct cli *cli, const char *command);

/* Flushes stdout. Return: status, or EXIT_FAILURE if what was printed did not arrive, which is said. */
int cli_finish(const struct cli *cli, int status);

#endif
