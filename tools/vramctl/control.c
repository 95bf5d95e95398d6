// SPDX-License-Identifier: GPL-2.0-only
/* The commands that make vramd do something at once to sessions, and the queue of those who wait to begin. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/size.h"
#include "tools/shared/ask.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/show.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- words ---- */

static bool is_number(const char *text)
{
	return *text && strlen(text) < 19 && !text[strspn(text, "0123456789")];
}

/* "7" or "session:7". Return: the number, or -1 after saying that it is none. */
static json_int_t session_parse(const char *command, const char *text)
{
	const char *digits = strncmp(text, "session:", 8) == 0 ? text + 8 : text;

	if (is_number(digits))
		return (json_int_t)strtoull(digits, NULL, 10);
	cli_usage(&vramctl_cli, "%s: '%s' is no session: say its number, as in 'vramctl clients'",
		  command, text);
	return -1;
}

/* A subject with the user's number, the device, or "7" for session:7. To be freed; NULL if there is no such user. */
static char *target_resolve(const char *text)
{
	char *target;

	if (is_number(text))
		return asprintf(&target, "session:%s", text) < 0 ? NULL : target;
	return strncmp(text, "user:", 5) == 0 ? subject_resolve(text) : strdup(text);
}

void complete_session(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc == 0)
		complete_names(options, "clients", "clients", "id", "");
}

void complete_target(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc > 0)
		return;
	printf("device:0\n");
	complete_names(options, "devices", "devices", "name", "");
	complete_names(options, "clients", "clients", "id", "session:");
	complete_names(options, "clients", "clients", "uid", "user:");
}

/* ---- sessions ---- */

static void show_nothing(const json_t *answer)
{
	(void)answer;
}

int run_pause(const struct options *options, int argc, char *const argv[])
{
	json_int_t session = session_parse("pause", argv[0]);

	(void)argc;
	if (session < 0)
		return EXIT_USAGE;
	return ask_and_show(options,
			    json_pack("{s:s, s:I}", "command", "pause", "session", session),
			    show_nothing);
}

int run_resume(const struct options *options, int argc, char *const argv[])
{
	char *target = target_resolve(argv[0]);
	int status;

	(void)argc;
	if (!target)
		return EXIT_FAILURE;
	status = ask_and_show(options,
			      json_pack("{s:s, s:s}", "command", "resume", "target", target),
			      show_nothing);
	free(target);
	return status;
}

int run_drain(const struct options *options, int argc, char *const argv[])
{
	char *target = target_resolve(argv[0]);
	json_t *request;
	int status;

	(void)argc;
	if (!target)
		return EXIT_FAILURE;
	if (options->to && strcmp(options->to, "host") != 0 && strcmp(options->to, "disk") != 0) {
		free(target);
		return cli_usage(&vramctl_cli, "drain --to: host or disk, not '%s'", options->to);
	}
	request = json_pack("{s:s, s:s, s:b}", "command", "drain", "target", target, "hold",
			    (int)options->hold);
	if (request && options->to)
		json_object_set_new(request, "to", json_string(options->to));
	status = run_job(options, request);
	free(target);
	return status;
}

/* "TERM", "SIGTERM" or "15". Return: 0 if it is none. */
static int signal_parse(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text, *known;
	int signal;

	if (is_number(text)) {
		signal = atoi(text);
		return signal >= 1 && signal <= SIGRTMAX ? signal : 0;
	}
	for (signal = 1; signal < SIGRTMIN; signal++) {
		known = sigabbrev_np(signal);
		if (known && strcasecmp(known, name) == 0)
			return signal;
	}
	return 0;
}

static void show_killed(const json_t *answer)
{
	int signal = (int)number_of(answer, "signal");
	const char *name = sigabbrev_np(signal);

	if (name)
		printf("SIG%s was sent to process %" PRIu64 "\n", name, number_of(answer, "pid"));
	else
		printf("signal %d was sent to process %" PRIu64 "\n", signal,
		       number_of(answer, "pid"));
}

int run_kill(const struct options *options, int argc, char *const argv[])
{
	json_int_t session = session_parse("kill", argv[0]);
	int signal = options->signal ? signal_parse(options->signal) : SIGTERM;

	(void)argc;
	if (session < 0)
		return EXIT_USAGE;
	if (!signal)
		return cli_usage(&vramctl_cli, "kill: there is no signal '%s'", options->signal);
	return ask_and_show(options,
			    json_pack("{s:s, s:I, s:i}", "command", "kill", "session", session,
				      "signal", signal),
			    show_killed);
}

/* ---- models ---- */

void complete_model(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc == 0)
		complete_names(options, "models", "models", "name", "");
}

void complete_model_or_path(const struct options *options, int argc, char *const argv[])
{
	complete_model(options, argc, argv);
	if (argc == 0)
		puts(":files");
}

int run_evict(const struct options *options, int argc, char *const argv[])
{
	if ((argc == 0) != options->all)
		return cli_usage(&vramctl_cli, "evict: either a model's name or --all is needed");
	return ask_and_show(options,
			    options->all ?
				    json_pack("{s:s, s:b}", "command", "evict", "all", 1) :
				    json_pack("{s:s, s:s}", "command", "evict", "model", argv[0]),
			    show_evicted);
}

/* ---- the queue ---- */

static void cell_time(struct table *table, const json_t *row, const char *key, const char *none)
{
	const json_t *value = json_object_get(row, key);

	if (json_is_integer(value))
		cell_seconds(table, (double)json_integer_value(value) / 1e9);
	else
		table_cell(table, "%s", none);
}

void show_queue(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "QUEUED", true }, { "PID", true },   { "USER", false },
		{ "NAME", false },  { "ASKED", true }, { "PRIO", true },
		{ "WAITED", true }, { "LEFT", true },  { "OF", true },
	};
	const json_t *row, *list = json_object_get(answer, "queue");
	uint64_t others = number_of(answer, "queue_others");
	struct table table;
	size_t i;

	if (json_array_size(list) > 0) {
		table_init(&table, columns, N(columns));
		json_array_foreach(list, i, row) {
			cell_number(&table, row, "session");
			cell_number(&table, row, "pid");
			table_cell(&table, "%s", text_of(row, "user"));
			table_cell(&table, "%s", text_of(row, "name"));
			cell_size(&table, row, "asked_bytes");
			table_cell(&table, "%" JSON_INTEGER_FORMAT,
				   json_integer_value(json_object_get(row, "priority")));
			cell_time(&table, row, "waiting_ns", "-");
			cell_time(&table, row, "predicted_ns", "?");
			cell_time(&table, row, "timeout_ns", "no end");
		}
		table_print(&table, stdout);
		table_deinit(&table);
	}
	if (others)
		printf("%" PRIu64 " of other users wait to be admitted\n", others);
}

/* Asked for it, so an empty one is said to be that. */
static void show_queue_alone(const json_t *answer)
{
	if (!json_array_size(json_object_get(answer, "queue")) &&
	    !number_of(answer, "queue_others"))
		puts("nobody waits to be admitted");
	show_queue(answer);
}

int run_queue(const struct options *options, int argc, char *const argv[])
{
	(void)argc;
	(void)argv;
	return ask_and_show(options, json_pack("{s:s}", "command", "queue"), show_queue_alone);
}
