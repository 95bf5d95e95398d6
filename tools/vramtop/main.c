// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramtop: watch a device and who uses it.
 *
 * Here are the command line and the loop: a key, an answer of the daemon
 * (fetch.c) or the clock change the ui (ui.c), which is drawn into a canvas
 * (draw.c) and shown (screen.c). --batch prints (batch.c).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/proto.h"
#include "tools/vramtop/batch.h"
#include "tools/vramtop/draw.h"
#include "tools/vramtop/fetch.h"
#include "tools/vramtop/screen.h"

#define INTERVAL_S 2.0
/* So that the first rates are not long in coming. */
#define SECOND_SAMPLE_S 0.3

enum {
	OPT_BATCH = 1,
	OPT_JSON,
	OPT_ITERATIONS,
	OPT_INTERVAL,
	OPT_VIEW,
	OPT_SORT,
	OPT_REVERSE,
	OPT_FILTER,
	OPT_TREE,
	OPT_ASCII,
	OPT_NO_COLOR,
	OPT_SOCKET,
	OPT_COMPLETE,
	OPT_VERSION,
	OPT_HELP,
};

static const struct cli_option option_table[] = {
	{ OPT_BATCH, 'b', "batch", NULL, "print tables, for scripts", NULL },
	{ OPT_JSON, 'j', "json", NULL, "with --batch: print one JSON object a line", NULL },
	{ OPT_ITERATIONS, 'n', "iterations", "N", "with --batch: how many samples [no end]", NULL },
	{ OPT_INTERVAL, 'd', "interval", "TIME", "between samples, from 100ms to 1h [2s]", NULL },
	{ OPT_VIEW, 0, "view", "sessions|tenants|models|queue", "what is shown first [sessions]",
	  NULL },
	{ OPT_SORT, 's', "sort", "COLUMN", "sort by this one [vram]", NULL },
	{ OPT_REVERSE, 'r', "reverse", NULL, "reverse the order", NULL },
	{ OPT_FILTER, 'f', "filter", "TEXT", "show only what has it in its name, user or state",
	  NULL },
	{ OPT_TREE, 't', "tree", NULL, "sessions below their users", NULL },
	{ OPT_ASCII, 0, "ascii", NULL, "draw with ASCII alone", NULL },
	{ OPT_NO_COLOR, 0, "no-color", NULL, "no colours; as with $NO_COLOR", NULL },
	{ OPT_SOCKET, 0, "socket", "PATH", "the daemon's socket", NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ OPT_VERSION, 0, "version", NULL, "print the version, and exit", NULL },
	{ OPT_HELP, 'h', "help", NULL, "print this, and exit", NULL },
	{ .id = 0 },
};

static bool complete_value(const struct cli_option *option);
static const struct cli cli = {
	.program = "vramtop",
	.options = option_table,
	.column = 26,
	.values = complete_value,
};

struct options {
	struct view_choice choice;
	const char *socket;
	double interval_s;
	unsigned long iterations;
	bool batch, json, view, ascii, no_color;
};

/* ---- help and completion ---- */

static bool complete_value(const struct cli_option *option)
{
	int i;

	if (option->id != OPT_SORT)
		return false;
	for (i = 0; top_columns[i].name; i++)
		if (!top_columns[i].bar)
			puts(top_columns[i].name);
	return true;
}

static void help(void)
{
	int i;

	fputs("Usage: vramtop [OPTION]...\n"
	      "Watch a device of vramd's, and who uses it.\n",
	      stdout);
	cli_print_options(&cli, NULL);
	fputs("\nKeys:\n", stdout);
	for (i = 0; ui_keys[i].keys; i++)
		cli_print_row(&cli, ui_keys[i].keys, ui_keys[i].help);
	fputs("\nColumns, for --sort:\n", stdout);
	for (i = 0; top_columns[i].name; i++)
		if (!top_columns[i].bar)
			cli_print_row(&cli, top_columns[i].name, top_columns[i].help);
	fputs("\nSee vramtop(1).\n", stdout);
}

/* ---- the command line ---- */

static int parse_view(struct options *options)
{
	int view;

	for (view = 0; view < N_VIEWS; view++) {
		if (!strcmp(optarg, view_names[view])) {
			options->choice.view = (enum view)view;
			options->view = true;
			return 0;
		}
	}
	return cli_usage(&cli, "there is no view '%s': sessions, tenants, models or queue", optarg);
}

/* For every view that has it. */
static int parse_sort(struct options *options)
{
	bool found = false;
	int view, column;

	for (view = 0; view < N_VIEWS; view++) {
		column = column_find(optarg, (enum view)view);
		if (column >= 0) {
			options->choice.sort[view] = column;
			found = true;
		}
	}
	return found ? 0 : cli_usage(&cli, "there is no column '%s'; --help names them", optarg);
}

static int parse_filter(struct options *options)
{
	size_t len = strlen(optarg);

	if (len >= sizeof(options->choice.filter))
		return cli_usage(&cli, "--filter: at most %zu bytes",
				 sizeof(options->choice.filter) - 1);
	memcpy(options->choice.filter, optarg, len + 1);
	return 0;
}

/* "2", "1.5s", "500ms", "1m". */
static double parse_seconds(const char *text)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "ms", 1e-3 }, { "m", 60 }, { "h", 3600 } };
	double number;
	char *end;
	size_t i;

	/* No sign, no blank, no "inf". */
	if (text[0] != '.' && (text[0] < '0' || text[0] > '9'))
		return -1;
	number = strtod(text, &end);
	for (i = 0; end != text && i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(end, units[i].unit))
			return number * units[i].seconds;
	return -1;
}

static int parse_interval(struct options *options)
{
	double seconds = parse_seconds(optarg);

	/* Nought is for one sample at once. */
	if (!(seconds == 0 || (seconds >= UI_INTERVAL_MIN && seconds <= UI_INTERVAL_MAX)))
		return cli_usage(&cli, "--interval: '%s' is not a time from 100ms to 1h", optarg);
	options->interval_s = seconds;
	return 0;
}

static int parse_iterations(struct options *options)
{
	char *end;

	errno = 0;
	options->iterations = strtoul(optarg, &end, 10);
	if (optarg[0] < '0' || optarg[0] > '9' || *end || errno || options->iterations == 0 ||
	    options->iterations > 1000000000)
		return cli_usage(&cli, "--iterations: '%s' is not a number from 1 to 1000000000",
				 optarg);
	return 0;
}

static int option_take(struct options *options, int id)
{
	int view;

	switch (id) {
	case OPT_BATCH:
		options->batch = true;
		return 0;
	case OPT_JSON:
		options->json = true;
		return 0;
	case OPT_ITERATIONS:
		return parse_iterations(options);
	case OPT_INTERVAL:
		return parse_interval(options);
	case OPT_VIEW:
		return parse_view(options);
	case OPT_SORT:
		return parse_sort(options);
	case OPT_REVERSE:
		for (view = 0; view < N_VIEWS; view++)
			options->choice.reverse[view] = true;
		return 0;
	case OPT_FILTER:
		return parse_filter(options);
	case OPT_TREE:
		options->choice.tree = true;
		return 0;
	case OPT_ASCII:
		options->ascii = true;
		return 0;
	case OPT_NO_COLOR:
		options->no_color = true;
		return 0;
	case OPT_SOCKET:
		options->socket = optarg;
		return 0;
	}
	return cli_usage(&cli, "--complete must be the first option");
}

/* What does not go together. Return: 0 or EXIT_USAGE. */
static int options_check(const struct options *options)
{
	if (options->json && !options->batch)
		return cli_usage(&cli, "--json is for --batch");
	if (options->iterations && !options->batch)
		return cli_usage(&cli, "--iterations is for --batch");
	if (options->interval_s == 0 && !(options->batch && options->iterations == 1))
		return cli_usage(
			&cli,
			"--interval 0 is for --batch --iterations 1: it shows what is there at once, without rates");
	return 0;
}

/* Return: -1 to go on, or the exit status. */
static int options_parse(struct options *options, int argc, char *argv[])
{
	int id, r;

	while ((id = cli_next(&cli, argc, argv)) > 0) {
		if (id == OPT_VERSION) {
			printf("vramtop %s\n", VRAM_VERSION);
			return cli_finish(&cli, EXIT_SUCCESS);
		}
		if (id == OPT_HELP) {
			help();
			return cli_finish(&cli, EXIT_SUCCESS);
		}
		r = option_take(options, id);
		if (r != 0)
			return r;
	}
	if (id == 0)
		return EXIT_USAGE;
	if (optind < argc)
		return cli_usage(&cli, "unexpected argument '%s'", argv[optind]);
	r = options_check(options);
	return r ? r : -1;
}

/* ---- the screen ---- */

struct top {
	struct ui ui;
	struct fetch fetch;
	struct sample *sample;
	bool utf8;
	bool drawn;	 /* what is on the screen is what there is */
	double next_s;	 /* when to ask again */
	double sample_s; /* when the sample came */
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void take_answer(struct top *top)
{
	char why[ASK_WHY_MAX];
	const char *reason = why;
	struct sample *sample = NULL;
	json_t *answer = fetch_take(&top->fetch, why);
	bool first = !top->sample;

	if (answer)
		sample = sample_new(answer, top->sample, fetch_user, &reason);
	top->drawn = false;
	if (!sample || !ui_sample(&top->ui, sample)) {
		snprintf(top->ui.away, sizeof(top->ui.away), "%s",
			 sample ? "out of memory" : reason);
		sample_free(sample);
		return;
	}
	sample_free(top->sample);
	top->sample = sample;
	top->sample_s = now_s();
	/* Of the first there are no rates. */
	if (first && top->ui.interval_s > SECOND_SAMPLE_S)
		top->next_s = top->sample_s + SECOND_SAMPLE_S;
}

static bool show(struct top *top)
{
	struct canvas canvas;
	int width, height;
	time_t now = time(NULL);
	struct tm parts;

	screen_size(&width, &height);
	if (!canvas_init(&canvas, width, height, top->utf8))
		return false;
	if (localtime_r(&now, &parts))
		strftime(top->ui.clock, sizeof(top->ui.clock), "%H:%M:%S", &parts);
	top->ui.age_s = now_s() - top->sample_s;
	draw(&canvas, &top->ui);
	screen_show(&canvas);
	canvas_deinit(&canvas);
	top->drawn = true;
	return true;
}

/* Return: whether there was one. */
static bool take_keys(struct top *top)
{
	int key, n = 0;

	while ((key = screen_key()) != 0) {
		if (key != SCREEN_REDRAW)
			ui_press(&top->ui, key);
		top->drawn = false;
		n++;
	}
	return n > 0;
}

static int wait_ms(const struct top *top)
{
	double left = top->next_s - now_s();

	if (*top->ui.away && left > 1)
		left = 1; /* its age is shown */
	return left > 0 ? (int)(left * 1000) + 1 : 0;
}

/* Return: an exit status, or the negated number of the signal that ends us. */
static int loop(struct top *top)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
					{ .fd = top->fetch.done_fd, .events = POLLIN } };
		double now = now_s();

		if (!top->ui.paused && (now >= top->next_s || top->ui.refresh)) {
			fetch_start(&top->fetch);
			top->next_s = now + top->ui.interval_s;
			top->ui.refresh = false;
		}
		if (!top->drawn && !show(top))
			return EXIT_FAILURE;
		if (poll(fds, 2, top->ui.paused ? -1 : wait_ms(top)) < 0 && errno != EINTR)
			return EXIT_FAILURE;
		if (screen_signal())
			return -screen_signal();
		/* Also when poll() was interrupted: a new size comes as a key. */
		if (!take_keys(top) && fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
			return -SIGHUP; /* the terminal is gone */
		if (fds[1].revents & POLLIN)
			take_answer(top);
		if (*top->ui.away)
			top->drawn = false;
		if (top->ui.quit)
			return EXIT_SUCCESS;
	}
}

static int run_screen(const struct options *options)
{
	const char *no_color = getenv("NO_COLOR");
	/* The thread that asks may outlast this function. */
	static struct top top;
	int r, status;

	top.utf8 = !options->ascii && !strcmp(nl_langinfo(CODESET), "UTF-8");
	ui_init(&top.ui, options->interval_s);
	top.ui.choice = options->choice;
	r = fetch_init(&top.fetch, options->socket);
	if (r < 0) {
		fprintf(stderr, "vramtop: cannot start a thread: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	if (screen_init(!options->no_color && !(no_color && *no_color)) < 0)
		return EXIT_FAILURE;
	top.next_s = now_s();
	status = loop(&top);
	screen_deinit();
	ui_deinit(&top.ui);
	sample_free(top.sample);
	if (status < 0) {
		/* Who waits for us is to see which signal it was. */
		signal(-status, SIG_DFL);
		raise(-status);
	}
	return status;
}

int main(int argc, char *argv[])
{
	struct options options = { .interval_s = INTERVAL_S };
	int r;

	/* Characters only: numbers have a point everywhere. */
	setlocale(LC_CTYPE, "");
	if (cli_complete(&cli, argc, argv, NULL))
		return cli_finish(&cli, EXIT_SUCCESS);
	view_choice_init(&options.choice);
	r = options_parse(&options, argc, argv);
	if (r >= 0)
		return r;
	if (options.batch)
		return batch_run(&(struct batch){
			.socket = options.socket,
			.json = options.json,
			.interval_s = options.interval_s,
			.n = options.iterations,
			.all_views = !options.view,
			.choice = options.choice,
		});
	return run_screen(&options);
}
