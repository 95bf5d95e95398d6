/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The options of a program, as one table: parsing, --help and the shell's completion read it, and a test
 * compares the manual page with it. A tool with commands has a table of these too (tools/vramctl/command.h).
 *
 * Errors are said on stderr as "PROGRAM: what", followed by where help is. Not for several threads.
 *
 * The shell asks `PROGRAM --complete [WORD]...`, with the words between the program and the one that is being
 * typed. The answer is one line for everything that may follow; the shell keeps what fits. A line that begins with
 * a colon is something that the shell knows better: `:files`, `:folders`, `:programs`, or `:offset N`, that from
 * word N on (0 is the first after the program) it is the command line of another program.
 */
#ifndef VRAM_COMMON_CLI_H
#define VRAM_COMMON_CLI_H

#include <stdbool.h>
#include <stddef.h>

/* The exit status of a command line that is not understood. */
#define EXIT_USAGE 2

struct cli_option {
	int id;		  /* what cli_next() returns; not 0 */
	char letter;	  /* of the short form; 0: only the long one exists */
	const char *name; /* of the long form */
	/*
	 * What the argument is called; NULL: there is none; "[TIME]": it may be left out. PATH, FILE and FOLDER are
	 * completed as such, "host|disk" as one of these words.
	 */
	const char *arg;
	const char *help; /* one line; NULL: not shown and not completed */
	/* Names of the commands that it is for, " drain evict " with a blank around each; NULL: for all. */
	const char *commands;
};

struct cli {
	const char *program;
	const struct cli_option *options; /* up to one with id 0 */
	/* Options end at the first operand: what follows is another program's. */
	bool stop_at_operand;
	int column; /* where the right side of --help begins; 0: as is usual */
	/* Prints what the argument of an option may be, one a line; NULL, or false: as its name says. */
	bool (*values)(const struct cli_option *option);
};

/* The row of a table for --complete; cli_complete() answers it. */
#define CLI_OPTION_COMPLETE(id)                                                                   \
	{                                                                                         \
		(id), 0, "complete", NULL,                                                        \
			"print what may follow the words given, for the shell's completion", NULL \
	}

/*
 * cli_next() - the next option, sorted to the front as getopt_long() does; its argument is in `optarg`, NULL for
 * one that was left out. To begin anew, set optind to 0.
 * Return: its id, -1 at the end (operands begin at argv[optind]), or 0 after saying what is wrong.
 */
int cli_next(const struct cli *cli, int argc, char *const argv[]);

/* Is the option for this command? NULL: for none, and so only those for all. */
bool cli_option_is_for(const struct cli_option *option, const char *command);

/* Says what is wrong and where help is. Return: EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int cli_usage(const struct cli *cli, const char *format, ...);

/* The part "Options:" of --help. command NULL: all options. */
void cli_print_options(const struct cli *cli, const char *command);
/* One line of it, also for other tables: left in a column, what it is to the right, or below if left is too long. */
void cli_print_row(const struct cli *cli, const char *left, const char *help);

/* ---- completion ---- */

/*
 * cli_complete() - the whole of it for a program without commands; `operands` is printed as it is, NULL: none.
 * Return: whether the command line is `PROGRAM --complete`; then it is answered.
 */
bool cli_complete(const struct cli *cli, int argc, char *const argv[], const char *operands);
/*
 * For one with commands: if behind these words (the first is the program or --complete) an option's argument follows,
 * prints what it may be. Return: whether it does.
 */
bool cli_complete_value(const struct cli *cli, int argc, char *const argv[]);
/* "--name" of every option for the command, one a line; NULL: of those for all. */
void cli_complete_options(const struct cli *cli, const char *command);

/* Flushes stdout. Return: status, or EXIT_FAILURE if what was printed did not arrive, which is said. */
int cli_finish(const struct cli *cli, int status);

#endif
