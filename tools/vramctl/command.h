/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The commands of vramctl: one table (commands.c) says what there is, and parsing, --help and the shell's
 * completion (--complete) read it; a test compares the manual page with it. What a command does is in the
 * file of its subject: limit.c, look.c, and others.
 */
#ifndef VRAM_TOOLS_VRAMCTL_COMMAND_H
#define VRAM_TOOLS_VRAMCTL_COMMAND_H

#include <jansson.h>
#include <stdbool.h>

#include "common/cli.h"

/* What was asked for is not done within --timeout. */
#define EXIT_TIMEOUT 3

struct options {
	const char *socket;
	bool json;
	bool all;
	bool help;
	bool version;
	bool complete;
	bool watch;
	bool save;
	const char *interval;
	const char *format;
	bool wait;
	bool hold;
	const char *timeout;
	const char *to;
	const char *signal;
};

struct command {
	const char *name; /* one or two words */
	const char *args; /* for --help */
	int min_args, max_args;
	const char *help;
	const char *detail; /* more, for the command's own --help; NULL: nothing */
	int (*run)(const struct options *options, int argc, char *const argv[]);
	const char *request; /* commands that only ask and show */
	void (*show)(const json_t *answer);
	/* Prints what the argument after the words given may be, one a line; NULL: nothing is known. */
	void (*complete)(const struct options *options, int argc, char *const argv[]);
};

extern const struct command commands[]; /* up to one without a name */
extern const struct cli vramctl_cli;

/* ---- what commands have in common (commands.c) ---- */

/* Asks, and prints the answer as JSON or by `show`. The request is taken. Return: an exit status. */
int ask_and_show(const struct options *options, json_t *request, void (*show)(const json_t *));
/* Prints an answer as JSON or by `show`. It is taken. */
void show_answer(const struct options *options, json_t *answer, void (*show)(const json_t *));
/* Asks for what is said besides. Return: NULL if the daemon does not say. */
json_t *ask_quietly(const struct options *options, const char *command);
/* Prints `key` of every row of `list` in the answer, with `prefix` before it. */
void complete_names(const struct options *options, const char *request, const char *list,
		    const char *key, const char *prefix);

/* ---- limit.c ---- */

int run_limit_show(const struct options *options, int argc, char *const argv[]);
int run_limit_set(const struct options *options, int argc, char *const argv[]);
int run_limit_reset(const struct options *options, int argc, char *const argv[]);
int run_limit_list(const struct options *options, int argc, char *const argv[]);
int run_reload(const struct options *options, int argc, char *const argv[]);
/*
 * Users have names here and numbers there. Return: the subject for the daemon, to be freed; NULL, after saying so, if
 * there is no such user.
 */
char *subject_resolve(const char *text);
/* Each subject of a list in an answer once; users by number and name. */
void complete_subjects(const struct options *options, const char *command, const char *list);
void complete_subject(const struct options *options, int argc, char *const argv[]);
void complete_limit_set(const struct options *options, int argc, char *const argv[]);
void complete_limit_reset(const struct options *options, int argc, char *const argv[]);

/* ---- pressure.c, metrics.c ---- */

int run_pressure(const struct options *options, int argc, char *const argv[]);
void complete_pressure(const struct options *options, int argc, char *const argv[]);
int run_metrics(const struct options *options, int argc, char *const argv[]);

/* ---- look.c ---- */

int run_devices(const struct options *options, int argc, char *const argv[]);
int run_version(const struct options *options, int argc, char *const argv[]);

/* ---- control.c ---- */

int run_evict(const struct options *options, int argc, char *const argv[]);
int run_pause(const struct options *options, int argc, char *const argv[]);
int run_resume(const struct options *options, int argc, char *const argv[]);
int run_drain(const struct options *options, int argc, char *const argv[]);
int run_kill(const struct options *options, int argc, char *const argv[]);
int run_queue(const struct options *options, int argc, char *const argv[]);
void complete_model(const struct options *options, int argc, char *const argv[]);
/* The shell knows files better. */
void complete_model_or_path(const struct options *options, int argc, char *const argv[]);
void complete_session(const struct options *options, int argc, char *const argv[]);
void complete_target(const struct options *options, int argc, char *const argv[]);

/* ---- jobs.c ---- */

/* Asks for something that becomes a job, and waits for it with --wait. The request is taken. Return: an exit status. */
int run_job(const struct options *options, json_t *request);
int run_jobs(const struct options *options, int argc, char *const argv[]);
int run_pin(const struct options *options, int argc, char *const argv[]);
int run_unpin(const struct options *options, int argc, char *const argv[]);
int run_prefetch(const struct options *options, int argc, char *const argv[]);
void complete_job(const struct options *options, int argc, char *const argv[]);

#endif
