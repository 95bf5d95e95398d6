// SPDX-License-Identifier: GPL-2.0-only
/* vramtrace: what happens in the ledger of vram, as it happens. Here is the command line. */
#define _GNU_SOURCE 1
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "tools/vramtrace/view.h"

#define BUFFER_DEFAULT (4u << 20)
#define BUFFER_MAX     (1u << 30)
#define TOP_DEFAULT    10

enum {
	OPT_PID = 1,
	OPT_USER,
	OPT_CGROUP,
	OPT_DEVICE,
	OPT_TIMESTAMPS,
	OPT_JSON,
	OPT_VERBOSE,
	OPT_EVENT,
	OPT_BY,
	OPT_TOP,
	OPT_SOCKET,
	OPT_VRAMD,
	OPT_SOURCE,
	OPT_BUFFER,
	OPT_HELP,
	OPT_VERSION,
	OPT_COMPLETE,
};

static const struct cli_option option_table[] = {
	{ OPT_PID, 'p', "pid", "PID", "only sessions of this process", NULL },
	{ OPT_USER, 'u', "user", "USER", "only sessions of this user, a name or a number", NULL },
	{ OPT_CGROUP, 'c', "cgroup", "PATH", "only sessions of this control group or below", NULL },
	{ OPT_DEVICE, 'd', "device", "NUMBER", "only this device", NULL },
	{ OPT_TIMESTAMPS, 'T', "timestamp", NULL, "print the time of day", NULL },
	{ OPT_JSON, 'j', "json", NULL, "print JSON, one object a line", NULL },
	{ OPT_VERBOSE, 'v', "verbose", NULL,
	  "say on stderr what is attached to, and what libbpf says", NULL },
	{ OPT_EVENT, 'e', "event", "NAME,...",
	  "only these events; * at the end stands for anything", " events " },
	{ OPT_BY, 0, "by", "tenant|user|model|layer", "what stalls are summed up by", " stalls " },
	{ OPT_TOP, 0, "top", "N", "rows of a table; 10 if not given",
	  " stalls evictions pressure " },
	{ OPT_SOCKET, 0, "socket", "PATH", "the daemon's socket", NULL },
	{ OPT_VRAMD, 0, "vramd", "PID", "the daemon, if it is not the one behind the socket",
	  NULL },
	{ OPT_SOURCE, 0, "source", "auto|tracepoint|raw|usdt",
	  "where the ledger's events come from", NULL },
	{ OPT_BUFFER, 0, "buffer", "SIZE", "room for events that wait to be read; 4M if not given",
	  NULL },
	{ OPT_HELP, 'h', "help", NULL, "print this, and exit", NULL },
	{ OPT_VERSION, 0, "version", NULL, "print the version, and exit", NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ .id = 0 },
};

/* For completion: what may stand behind --event. */
static bool print_values(const struct cli_option *option)
{
	if (option->id != OPT_EVENT)
		return false;
	for (uint32_t kind = 0; kind < EVENT_N_KINDS; kind++)
		puts(kind_name(kind));
	return true;
}

const struct cli vramtrace_cli = { .program = "vramtrace",
				   .options = option_table,
				   .values = print_values };

static const struct view *const views[] = { &view_events, &view_stalls,	  &view_evictions,
					    &view_io,	  &view_pressure, NULL };

/* ---- help ------------------------------------------------------------------------ */

static const char *operands_of(const struct view *view)
{
	return view->report ? " [INTERVAL [COUNT]]" : "";
}

static void print_help(void)
{
	char left[64];

	fputs("Usage: vramtrace [OPTION]... VIEW [INTERVAL [COUNT]]\n"
	      "Trace who takes memory of a device from whom, who waits for it and how long.\n\n"
	      "Views:\n",
	      stdout);
	for (size_t i = 0; views[i]; i++) {
		snprintf(left, sizeof(left), "%s%s", views[i]->name, operands_of(views[i]));
		cli_print_row(&vramtrace_cli, left, views[i]->help);
	}
	cli_print_options(&vramtrace_cli, NULL);
	fputs("\nINTERVAL is in seconds. Without one a table is printed at the end.\n"
	      "\nExamples:\n"
	      "  vramtrace events -T                  what happens, with times\n"
	      "  vramtrace stalls --by layer          which layers are waited for, until Ctrl-C\n"
	      "  vramtrace -u alice evictions 5       whom alice's programs push out, each 5 s\n"
	      "  vramtrace io 1 10                    latencies of page-in and page-out, 10 times\n"
	      "  vramtrace -j pressure | jq .         the same for programs\n"
	      "\nThis needs root. See vramtrace(8).\n",
	      stdout);
}

static void print_view_help(const struct view *view)
{
	printf("Usage: vramtrace %s%s [OPTION]...\n\n%c%s.\n", view->name, operands_of(view),
	       toupper((unsigned char)view->help[0]), view->help + 1);
	if (view->detail)
		printf("\n%s", view->detail);
	cli_print_options(&vramtrace_cli, view->name);
}

/* ---- values ---------------------------------------------------------------------- */

/* Return: false if it is no number from min to max. */
static bool parse_number(const char *text, unsigned long long min, unsigned long long max,
			 unsigned long long *out)
{
	unsigned long long n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n < min || n > max)
		return false;
	*out = n;
	return true;
}

/* Seconds, with a fraction. */
static bool parse_interval(const char *text, uint64_t *out_ns)
{
	char *end;
	double s;

	if (!isdigit((unsigned char)*text) && *text != '.')
		return false;
	s = strtod(text, &end);
	if (*end || !(s >= 0.01 && s <= 1e6))
		return false;
	*out_ns = (uint64_t)(s * 1e9);
	return true;
}

static int word_index(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

static bool name_fits(const char *pattern, size_t len, const char *name)
{
	if (len && pattern[len - 1] == '*')
		return !strncmp(pattern, name, len - 1);
	return strlen(name) == len && !strncmp(pattern, name, len);
}

/* "vram_evict,stall*": with or without the vram_. Return: 0, or EXIT_USAGE after saying why. */
static int parse_events(const char *text, uint32_t *out_kinds)
{
	const char *at = text;

	while (true) {
		size_t len = strcspn(at, ",");
		uint32_t found = 0;

		for (uint32_t kind = 0; kind < EVENT_N_KINDS; kind++)
			if (name_fits(at, len, kind_name(kind)) ||
			    name_fits(at, len, kind_name(kind) + strlen("vram_")))
				found |= 1u << kind;
		if (!found)
			return cli_usage(&vramtrace_cli, "there is no event '%.*s'", (int)len, at);
		*out_kinds |= found;
		if (!at[len])
			return 0;
		at += len + 1;
	}
}

static int parse_buffer(const char *text, uint64_t *out)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes, rounded;

	if (size_parse(text, &bytes) < 0 || bytes < page || bytes > BUFFER_MAX)
		return cli_usage(&vramtrace_cli, "--buffer %s: a size from 4K to 1G", text);
	for (rounded = page; rounded < bytes; rounded *= 2)
		;
	*out = rounded;
	return 0;
}

static int parse_option(struct options *out, int id, const char *arg)
{
	static const char *const sources[] = { "auto", "tracepoint", "raw", "usdt", NULL };
	static const char *const bys[] = { "tenant", "user", "model", "layer", NULL };
	unsigned long long n = 0;
	int r;

	switch (id) {
	case OPT_PID:
	case OPT_VRAMD:
		if (!parse_number(arg, 1, 4194304, &n))
			return cli_usage(&vramtrace_cli, "'%s' is not the number of a process",
					 arg);
		*(id == OPT_PID ? &out->filter.pid : &out->vramd) = (pid_t)n;
		return 0;
	case OPT_USER:
		if (filter_set_user(&out->filter, arg) < 0)
			return cli_usage(&vramtrace_cli, "there is no user '%s'", arg);
		return 0;
	case OPT_CGROUP:
		r = filter_set_cgroup(&out->filter, arg);
		if (r < 0)
			return cli_usage(&vramtrace_cli, "control group %s: %s", arg,
					 r == -EINVAL ? "a path below the root is needed" :
							strerror(-r));
		return 0;
	case OPT_DEVICE:
		if (!parse_number(arg, 0, 15, &n))
			return cli_usage(&vramtrace_cli, "'%s' is not the number of a device", arg);
		out->filter.by_dev = true;
		out->filter.dev = (uint32_t)n;
		return 0;
	case OPT_TIMESTAMPS:
		out->timestamps = true;
		return 0;
	case OPT_JSON:
		out->json = true;
		return 0;
	case OPT_VERBOSE:
		out->verbose = true;
		return 0;
	case OPT_EVENT:
		return parse_events(arg, &out->kinds);
	case OPT_BY:
		r = word_index(bys, arg);
		if (r < 0)
			return cli_usage(&vramtrace_cli, "--by %s: tenant, user, model or layer",
					 arg);
		out->by = (enum by)r;
		return 0;
	case OPT_TOP:
		if (!parse_number(arg, 1, 1000000, &n))
			return cli_usage(&vramtrace_cli, "--top %s: a number from 1", arg);
		out->top = (size_t)n;
		return 0;
	case OPT_SOCKET:
		out->socket = arg;
		return 0;
	case OPT_SOURCE:
		r = word_index(sources, arg);
		if (r < 0)
			return cli_usage(&vramtrace_cli,
					 "--source %s: auto, tracepoint, raw or usdt", arg);
		out->source = (enum source)r;
		return 0;
	case OPT_BUFFER:
		return parse_buffer(arg, &out->buffer_bytes);
	}
	return 0;
}

static const struct view *view_find(const char *name)
{
	for (size_t i = 0; views[i]; i++)
		if (!strcmp(views[i]->name, name))
			return views[i];
	return NULL;
}

/* ---- completion ------------------------------------------------------------------ */

static int run_complete(int argc, char *const argv[])
{
	const struct view *view = NULL;

	for (int i = 0; i < argc && !view; i++)
		view = view_find(argv[i]);
	cli_complete_options(&vramtrace_cli, view ? view->name : NULL);
	for (size_t i = 0; views[i] && !view; i++)
		puts(views[i]->name);
	return EXIT_SUCCESS;
}

/* ---- the command line ------------------------------------------------------------ */

static int run_view(const struct view *view, struct options *options, unsigned long given, int argc,
		    char *const argv[])
{
	const struct cli_option *option;
	unsigned long long n = 0;

	for (option = option_table; option->id; option++)
		if (given & 1ul << option->id && !cli_option_is_for(option, view->name))
			return cli_usage(&vramtrace_cli, "%s has no option --%s", view->name,
					 option->name);
	if (argc > (view->report ? 2 : 0))
		return cli_usage(&vramtrace_cli, "%s: unexpected argument '%s'", view->name,
				 argv[view->report ? 2 : 0]);
	if (argc > 0 && !parse_interval(argv[0], &options->interval_ns))
		return cli_usage(&vramtrace_cli, "interval '%s': seconds, from 0.01", argv[0]);
	if (argc > 1 && !parse_number(argv[1], 1, UINT32_MAX, &n))
		return cli_usage(&vramtrace_cli, "count '%s': a number from 1", argv[1]);
	options->count = n;
	if (view != &view_events)
		options->kinds = ~0u;
	else if (!options->kinds)
		options->kinds =
			~(1u << EVENT_CHUNK_EVICT | 1u << EVENT_CHUNK_FAULT | 1u << EVENT_LAYERS);
	return trace_run(view, options);
}

static int run(int argc, char *argv[])
{
	struct options options = { .buffer_bytes = BUFFER_DEFAULT, .top = TOP_DEFAULT };
	bool help = false, version = false;
	const struct view *view;
	unsigned long given = 0;
	int id, r;

	while ((id = cli_next(&vramtrace_cli, argc, argv)) > 0) {
		given |= 1ul << id;
		help |= id == OPT_HELP;
		version |= id == OPT_VERSION;
		if (id == OPT_COMPLETE)
			return run_complete(argc - optind, argv + optind);
		r = parse_option(&options, id, optarg);
		if (r)
			return r;
	}
	if (id == 0)
		return EXIT_USAGE;
	if (version) {
		printf("vramtrace %s\n", VRAM_VERSION);
		return EXIT_SUCCESS;
	}
	if (optind == argc && help) {
		print_help();
		return EXIT_SUCCESS;
	}
	if (optind == argc)
		return cli_usage(&vramtrace_cli,
				 "a view is needed: events, stalls, evictions, io or "
				 "pressure");
	view = view_find(argv[optind]);
	if (!view)
		return cli_usage(&vramtrace_cli, "there is no view '%s'", argv[optind]);
	if (help) {
		print_view_help(view);
		return EXIT_SUCCESS;
	}
	return run_view(view, &options, given, argc - optind - 1, argv + optind + 1);
}

int main(int argc, char *argv[])
{
	if (argc > 1 && !strcmp(argv[1], "--complete") &&
	    cli_complete_value(&vramtrace_cli, argc - 1, argv + 1))
		return cli_finish(&vramtrace_cli, EXIT_SUCCESS);
	return cli_finish(&vramtrace_cli, run(argc, argv));
}
