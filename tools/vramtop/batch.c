// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/batch.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/shared/table.h"
#include "tools/vramtop/fetch.h"
#include "tools/vramtop/format.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- tables ---- */

static void print_head(const struct sample *sample)
{
	char up[FORMAT_MAX], over[FORMAT_MAX], when[32] = "";
	time_t now = time(NULL);
	struct tm parts;

	if (localtime_r(&now, &parts))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
	printf("%s  vramd %s, pid %.0f, up %s, ledger: %s, interval: %s\n", when, sample->version,
	       sample->pid, format_time(up, sample->uptime_ns), sample->ledger,
	       format_time(over, sample->interval_ns));
}

static void print_devices(const struct sample *sample)
{
	static const struct table_column titles[] = {
		{ "DEVICE", true }, { "NAME", false }, { "BACKEND", false }, { "TIER", false },
		{ "USED", true },   { "SIZE", true },  { "USE", true },	     { "IN/s", true },
		{ "OUT/s", true },  { "WR/s", true },  { "STALL", true },    { "SOME", true },
		{ "FULL", true },   { "FLT/s", true }, { "WAITING", true },  { "HELD", false },
	};
	char buf[FORMAT_MAX];
	struct table table;
	size_t i;
	int t;

	table_init(&table, titles, N(titles));
	for (i = 0; i < sample->n_devices; i++) {
		const struct top_device *d = &sample->devices[i];

		for (t = 0; t < N_TIERS; t++) {
			bool device = t == TIER_VRAM;

			if (!d->tier[t].there)
				continue;
			table_cell(&table, "%.0f", d->index);
			table_cell(&table, "%s", *d->name ? d->name : "-");
			table_cell(&table, "%s", *d->backend ? d->backend : "-");
			table_cell(&table, "%s", tier_names[t]);
			table_cell(&table, "%s", format_bytes(buf, d->tier[t].used));
			table_cell(&table, "%s", format_bytes(buf, d->tier[t].size));
			table_cell(&table, "%s",
				   format_percent(buf, 100 * d->tier[t].used / d->tier[t].size));
			/* What moves is said once, beside the device itself. */
			table_cell(&table, "%s", device ? format_bytes(buf, d->rates.in) : "");
			table_cell(&table, "%s", device ? format_bytes(buf, d->rates.out) : "");
			table_cell(&table, "%s", device ? format_bytes(buf, d->rates.written) : "");
			table_cell(&table, "%s", device ? format_percent(buf, d->rates.stall) : "");
			table_cell(&table, "%s",
				   device ? format_percent(buf, d->pressure.some.avg10) : "");
			table_cell(&table, "%s",
				   device ? format_percent(buf, d->pressure.full.avg10) : "");
			table_cell(&table, "%s", device ? format_count(buf, d->rates.faults) : "");
			table_cell(&table, "%s", device ? format_count(buf, d->waiting) : "");
			table_cell(&table, "%s", device && d->held ? "held" : "");
		}
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

static void table_row(struct table *table, const struct view_columns *list, const struct row *row)
{
	char buf[64];
	int i;

	for (i = 0; i < list->n; i++) {
		struct value value = column_value(list->at[i].column, row);
		const char *text = value_text(&value, buf, sizeof(buf));
		bool name = !strcmp(top_columns[list->at[i].column].name, "name");

		if (name && row->kind == ROW_USER)
			table_cell(table, "%zu session%s", row->user->n_sessions,
				   row->user->n_sessions == 1 ? "" : "s");
		else
			table_cell(table, "%s%s", name && row->child ? "  " : "",
				   *text ? text : "-");
	}
}

static bool print_view(const struct sample *sample, const struct batch *batch, enum view view)
{
	struct table_column titles[VIEW_COLUMNS_MAX];
	struct view_choice choice = batch->choice;
	struct view_columns list;
	struct view_rows rows;
	struct table table;
	size_t i;
	int c;

	choice.view = view;
	if (!view_rows_init(&rows, sample, &choice))
		return false;
	view_columns(&list, sample, &choice, &rows, 0);
	for (c = 0; c < list.n; c++) {
		const struct column *column = &top_columns[list.at[c].column];

		titles[c] = (struct table_column){ column->title, !column->left };
	}
	/* An empty queue is nothing to say. */
	if (rows.n > 0 || view != VIEW_QUEUE || !batch->all_views) {
		table_init(&table, titles, (size_t)list.n);
		for (i = 0; i < rows.n; i++)
			table_row(&table, &list, &rows.rows[i]);
		printf("\n");
		table_print(&table, stdout);
		table_deinit(&table);
	}
	view_rows_deinit(&rows);
	return true;
}

static bool print_tables(const struct sample *sample, const struct batch *batch)
{
	print_head(sample);
	print_devices(sample);
	if (!batch->all_views)
		return print_view(sample, batch, batch->choice.view);
	return print_view(sample, batch, VIEW_TENANTS) &&
	       print_view(sample, batch, VIEW_SESSIONS) && print_view(sample, batch, VIEW_MODELS) &&
	       print_view(sample, batch, VIEW_QUEUE);
}

/* ---- samples ---- */

static void add_time(struct timespec *time, double seconds)
{
	long ns = time->tv_nsec + (long)((seconds - (double)(time_t)seconds) * 1e9);

	time->tv_sec += (time_t)seconds + ns / 1000000000;
	time->tv_nsec = ns % 1000000000;
}

/* Steps are even as long as they can be; after one that was too long the next is not shorter for it. */
static void sleep_until(struct timespec *next)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec > next->tv_sec ||
	    (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec)) {
		*next = now;
		return;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
		;
}

/* A daemon that is away is said, and waited for: it may come back. Return: false without memory or output. */
static bool say_away(const struct batch *batch, const char *why)
{
	json_t *object;
	bool ok;

	if (!batch->json) {
		fprintf(stderr, "vramtop: %s\n", why);
		return true;
	}
	object = json_pack("{s:s}", "error", why);
	ok = object && json_dumpf(object, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
	json_decref(object);
	return ok && fflush(stdout) == 0;
}

static bool show(struct sample *sample, const struct batch *batch, bool first)
{
	if (batch->json) {
		if (json_dumpf(sample_json(sample), stdout, JSON_COMPACT) < 0)
			return false;
		putchar('\n');
	} else {
		if (!first)
			printf("\n");
		if (!print_tables(sample, batch))
			return false;
	}
	return fflush(stdout) == 0;
}

/* One sample more. Return: false if that is the end. */
static bool step(const struct batch *batch, struct sample **last, unsigned long *shown, bool quiet)
{
	char why[ASK_WHY_MAX];
	const char *reason = why;
	struct sample *sample = NULL;
	json_t *answer = fetch_now(batch->socket, why);

	if (answer)
		sample = sample_new(answer, *last, fetch_user, &reason);
	if (!sample) {
		/* Nobody was ever there: that is a mistake, not a pause. */
		if (!*last && *shown == 0) {
			fprintf(stderr, "vramtop: %s\n", reason);
			return false;
		}
		*shown += batch->n > 0;
		return say_away(batch, reason);
	}
	sample_free(*last);
	*last = sample;
	if (quiet)
		return true;
	if (!show(sample, batch, *shown == 0)) {
		fprintf(stderr, "vramtop: standard output: %s\n", strerror(errno));
		return false;
	}
	(*shown)++;
	return true;
}

int batch_run(const struct batch *batch)
{
	struct sample *last = NULL;
	unsigned long shown = 0;
	struct timespec next;
	bool ok;

	/* Rates need two samples: the first is not shown. */
	ok = batch->interval_s > 0 ? step(batch, &last, &shown, true) : true;
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (ok && (batch->n == 0 || shown < batch->n)) {
		add_time(&next, batch->interval_s);
		sleep_until(&next);
		ok = step(batch, &last, &shown, false);
	}
	sample_free(last);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
