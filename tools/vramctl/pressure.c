// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramctl pressure: how much of the time memory is waited for.
 *
 * One subject is shown as the kernel shows /proc/pressure/memory, so that what reads that reads this too; several
 * are a table. With --watch both are shown again and again, with a column for the time since the last look.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/duration.h"
#include "tools/shared/ask.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/show.h"

#define N(array)	(sizeof(array) / sizeof((array)[0]))
#define INTERVAL_NS	2000000000ull
#define INTERVAL_MIN_NS 100000000ull
#define INTERVAL_MAX_NS 3600000000000ull

static const char *const kinds[] = { "some", "full" };
static const char *const averages[] = { "avg10", "avg60", "avg300" };

/* The row of the same subject in an earlier answer. */
static const json_t *row_find(const json_t *list, const char *key, const char *name)
{
	const json_t *row;
	size_t i;

	json_array_foreach(list, i, row)
		if (!strcmp(text_of(row, key), name))
			return row;
	return NULL;
}

/* How much of the time between two answers was lost; "-" for what was not there before. */
static void cell_since(struct table *table, const json_t *answer, const json_t *before,
		       const json_t *row, const json_t *earlier, const char *kind)
{
	uint64_t time_ns = number_of(answer, "time_ns") - number_of(before, "time_ns");
	uint64_t now = number_of(json_object_get(row, kind), "total_us");
	uint64_t then = number_of(json_object_get(earlier, kind), "total_us");

	if (!earlier || time_ns == 0 || now < then)
		table_cell(table, "-");
	else
		table_cell(table, "%.2f", (double)(now - then) * 1e5 / (double)time_ns);
}

static void put_rows(struct table *table, const json_t *answer, const json_t *before,
		     const char *list, const char *key)
{
	const json_t *row, *pressure, *earlier;
	size_t i, kind, a;

	json_array_foreach(json_object_get(answer, list), i, row) {
		earlier = row_find(json_object_get(before, list), key, text_of(row, key));
		for (kind = 0; kind < N(kinds); kind++) {
			pressure = json_object_get(row, kinds[kind]);
			if (!strcmp(key, "name"))
				table_cell(table, "device:%s", text_of(row, key));
			else
				cell_subject(table, row);
			table_cell(table, "%s", kinds[kind]);
			if (before)
				cell_since(table, answer, before, row, earlier, kinds[kind]);
			for (a = 0; a < N(averages); a++)
				table_cell(
					table, "%.2f",
					json_number_value(json_object_get(pressure, averages[a])));
			cell_seconds(table, (double)number_of(pressure, "total_us") / 1e6);
		}
	}
}

static void show_table(const json_t *answer, const json_t *before)
{
	static const struct table_column columns[] = {
		{ "SUBJECT", false }, { "KIND", false },  { "AVG10", true },
		{ "AVG60", true },    { "AVG300", true }, { "TOTAL", true },
	};
	static const struct table_column watched[] = {
		{ "SUBJECT", false }, { "KIND", false },  { "NOW", true },   { "AVG10", true },
		{ "AVG60", true },    { "AVG300", true }, { "TOTAL", true },
	};
	struct table table;

	if (before)
		table_init(&table, watched, N(watched));
	else
		table_init(&table, columns, N(columns));
	put_rows(&table, answer, before, "devices", "name");
	put_rows(&table, answer, before, "groups", "subject");
	table_print(&table, stdout);
	table_deinit(&table);
}

void show_pressure(const json_t *answer)
{
	show_table(answer, NULL);
}

/* As the kernel writes it. */
static void show_psi(const json_t *answer)
{
	const json_t *row = json_array_get(json_object_get(answer, "devices"), 0), *pressure;
	size_t kind;

	if (!row)
		row = json_array_get(json_object_get(answer, "groups"), 0);
	for (kind = 0; kind < N(kinds); kind++) {
		pressure = json_object_get(row, kinds[kind]);
		printf("%s avg10=%.2f avg60=%.2f avg300=%.2f total=%" PRIu64 "\n", kinds[kind],
		       json_number_value(json_object_get(pressure, "avg10")),
		       json_number_value(json_object_get(pressure, "avg60")),
		       json_number_value(json_object_get(pressure, "avg300")),
		       number_of(pressure, "total_us"));
	}
}

/* Shows it again and again, until the daemon ends or somebody ends us. */
static int watch(const struct options *options, const json_t *request, uint64_t interval_ns)
{
	const struct timespec interval = {
		.tv_sec = (time_t)(interval_ns / 1000000000u),
		.tv_nsec = (long)(interval_ns % 1000000000u),
	};
	bool terminal = isatty(STDOUT_FILENO) == 1;
	json_t *answer = NULL, *before = NULL;

	while (ask(options->socket, request, false, &answer) == 0) {
		show_add_users(answer);
		if (options->json) {
			json_dumpf(answer, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
			putchar('\n');
		} else {
			/* Home, and clear what is below. */
			fputs(terminal ? "\033[H\033[J" : before ? "\n" : "", stdout);
			show_table(answer, before ? before : answer);
		}
		json_decref(before);
		before = answer;
		if (fflush(stdout) != 0)
			break;
		nanosleep(&interval, NULL);
	}
	json_decref(before);
	return EXIT_FAILURE;
}

int run_pressure(const struct options *options, int argc, char *const argv[])
{
	uint64_t interval_ns = INTERVAL_NS;
	json_t *request;
	char *subject;
	int status;

	if (options->interval && !options->watch)
		return cli_usage(&vramctl_cli, "pressure: --interval is for --watch");
	if (options->interval && (duration_parse(options->interval, &interval_ns) < 0 ||
				  interval_ns < INTERVAL_MIN_NS || interval_ns > INTERVAL_MAX_NS))
		return cli_usage(
			&vramctl_cli,
			"pressure: --interval is a time from 100ms to 1h, like 2 or 500ms, not '%s'",
			options->interval);
	request = json_pack("{s:s}", "command", "pressure");
	if (argc > 0) {
		subject = subject_resolve(argv[0]);
		if (!subject) {
			json_decref(request);
			return EXIT_FAILURE;
		}
		json_object_set_new(request, "subject", json_string(subject));
		free(subject);
	}
	if (!options->watch)
		return ask_and_show(options, request, argc > 0 ? show_psi : show_pressure);
	status = watch(options, request, interval_ns);
	json_decref(request);
	return status;
}

void complete_pressure(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc > 0)
		return;
	/* Who waits: rules of groups and of the default are no subjects here. */
	printf("device\n");
	complete_subjects(options, "pressure", "groups");
}
