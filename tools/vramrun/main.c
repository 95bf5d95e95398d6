// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramrun: start an unmodified program whose memory is then vramd's business.
 *
 * Where vramd manages host memory it puts the shim for model files (libclient/preload/) into LD_PRELOAD; where it manages a
 * card, the folder with the library in front of the CUDA driver (libclient/cudashim/) into LD_LIBRARY_PATH, so that it is
 * found by a program that asks for libcuda.so.1 and by no other. Then it becomes the program by exec: process,
 * descriptors, signals and exit status are the program's own.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/duration.h"
#include "common/proto.h"
#include "common/size.h"
#include "libclient/vram.h"
#include "tools/vramrun/device.h"
#include "tools/vramrun/driver.h"
#include "tools/vramrun/elf.h"

#define SHIM	  "libvram-preload.so"
#define CUDA_SHIM "cuda/libcuda.so.1"

/* As env(1), nice(1) and others have it, beside EXIT_USAGE; codes of the program's own begin below. */
enum {
	EXIT_OURS = 125,
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

struct options {
	const char *socket;
	const char *name;
	const char *driver;
	bool no_cuda;
	bool require;
	bool quiet;
	bool verbose;
	bool stats;
	/* As libclient/admit_wish.h has them; "": not given. */
	char wait[24];
	char priority[8];
	char working_set[24];
};

enum {
	OPT_SOCKET = 1,
	OPT_REQUIRE,
	OPT_QUIET,
	OPT_VERBOSE,
	OPT_STATS,
	OPT_NAME,
	OPT_DRIVER,
	OPT_NO_CUDA,
	OPT_WAIT,
	OPT_PRIORITY,
	OPT_WORKING_SET,
	OPT_COMPLETE,
	OPT_VERSION,
	OPT_HELP,
};

static const struct cli_option option_table[] = {
	{ OPT_SOCKET, 's', "socket", "PATH",
	  "where vramd listens [$VRAM_SOCKET, the system's or the user's]", NULL },
	{ OPT_REQUIRE, 'r', "require", NULL,
	  "fail if vramd cannot be reached or PROGRAM cannot be served", NULL },
	{ OPT_QUIET, 'q', "quiet", NULL, "say nothing on stderr", NULL },
	{ OPT_VERBOSE, 'v', "verbose", NULL, "say which files and which card are served", NULL },
	{ OPT_STATS, 0, "stats", NULL, "at the end, say what was paged", NULL },
	{ OPT_NAME, 'n', "name", "NAME", "what vramctl shows [the program's name]", NULL },
	{ OPT_DRIVER, 0, "driver", "PATH",
	  "the CUDA driver's library [$VRAM_CUDA_REAL, or as it is found]", NULL },
	{ OPT_NO_CUDA, 0, "no-cuda", NULL, "leave PROGRAM's memory on a card to the driver", NULL },
	{ OPT_WAIT, 'w', "wait", "[TIME]",
	  "wait for room for the model [as limits.admit_timeout says]", NULL },
	{ OPT_PRIORITY, 0, "priority", "N",
	  "wait, before those with a larger number, -20 to 19 [0]", NULL },
	{ OPT_WORKING_SET, 0, "working-set", "SIZE", "wait for so much room [the model's size]",
	  NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ OPT_VERSION, 0, "version", NULL, "print the version, and exit", NULL },
	{ OPT_HELP, 'h', "help", NULL, "print this, and exit", NULL },
	{ .id = 0 },
};

/* The options of the program that is run are not ours. */
static const struct cli cli = { .program = "vramrun",
				.options = option_table,
				.stop_at_operand = true,
				.column = 26 };

static void help(void)
{
	fputs("Usage: vramrun [OPTION]... [--] PROGRAM [ARG]...\n"
	      "Run PROGRAM with its model files (GGUF, safetensors), or its memory on a CUDA card,\n"
	      "paged by vramd.\n",
	      stdout);
	cli_print_options(&cli, NULL);
	fputs("\nThe exit status is PROGRAM's; 125 if vramrun fails itself, 126 if PROGRAM cannot be\n"
	      "run, 127 if it is not found. See vramrun(1).\n",
	      stdout);
}

static bool exists(const char *path)
{
	return access(path, R_OK) == 0;
}

/* Beside this program (a build folder), below ../lib (an installation), or where it was to be installed. */
static bool find_shim(const char *shim, char *out, size_t size)
{
	static const char *const places[] = { "", "../lib/vram/", "../lib64/vram/" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			int len = snprintf(out, size, "%s/%s%s", self, places[i], shim);

			if (len > 0 && (size_t)len < size && exists(out))
				return true;
		}
	}
	snprintf(out, size, "%s/%s", VRAM_LIBDIR, shim);
	if (exists(out))
		return true;
	fprintf(stderr, "vramrun: %s is neither beside vramrun nor in %s\n", shim, VRAM_LIBDIR);
	return false;
}

/* Where exec would find it. Return: false if it would not. */
static bool find_program(const char *name, char *out, size_t size)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/')) {
		snprintf(out, size, "%s", name);
		return exists(out);
	}
	for (path = path ? path : "/bin:/usr/bin"; *path;) {
		size_t len = strcspn(path, ":");

		snprintf(out, size, "%.*s/%s", len ? (int)len : 1, len ? path : ".", name);
		if (access(out, X_OK) == 0)
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

static int set_flag(const char *name, bool on)
{
	return on ? setenv(name, "1", 1) : unsetenv(name);
}

static int set_text(const char *name, const char *text)
{
	return *text ? setenv(name, text, 1) : unsetenv(name);
}

/* Relative to where we are now: the program may go elsewhere. */
static int set_socket(const char *path)
{
	char cwd[PATH_MAX], whole[PATH_MAX + 256];

	if (path[0] == '/')
		return setenv("VRAM_SOCKET", path, 1);
	if (!getcwd(cwd, sizeof(cwd)))
		return -1;
	if (snprintf(whole, sizeof(whole), "%s/%s", cwd, path) >= (int)sizeof(whole)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return setenv("VRAM_SOCKET", whole, 1);
}

/* Puts `first` in front of the list, unless it is there already: once is enough for a vramrun in a vramrun. */
static int set_first(const char *name, const char *first, const char *separators)
{
	const char *old = getenv(name);
	char *both;
	int r;

	if (!old || !*old)
		return setenv(name, first, 1);
	if (!strncmp(old, first, strlen(first)) && strchr(separators, old[strlen(first)]))
		return 0;
	if (asprintf(&both, "%s:%s", first, old) < 0)
		return -1;
	r = setenv(name, both, 1);
	free(both);
	return r;
}

/* shim: the library; driver: NULL for the preload, else that it is the one in front of this driver. */
static int set_environment(const struct options *options, const char *shim, const char *driver)
{
	if (options->socket && set_socket(options->socket))
		return -1;
	if (options->name ? setenv("VRAMRUN_NAME", options->name, 1) : unsetenv("VRAMRUN_NAME"))
		return -1;
	if (set_flag("VRAMRUN_REQUIRE", options->require) ||
	    set_flag("VRAMRUN_QUIET", options->quiet) ||
	    set_flag("VRAMRUN_VERBOSE", options->verbose) ||
	    set_flag("VRAMRUN_STATS", options->stats))
		return -1;
	if (set_text("VRAMRUN_WAIT", options->wait) ||
	    set_text("VRAMRUN_PRIORITY", options->priority) ||
	    set_text("VRAMRUN_WORKING_SET", options->working_set))
		return -1;
	if (driver) {
		char folder[PATH_MAX];

		snprintf(folder, sizeof(folder), "%s", shim);
		*strrchr(folder, '/') = '\0';
		if (setenv("VRAM_CUDA_REAL", driver, 1))
			return -1;
		return set_first("LD_LIBRARY_PATH", folder, ":;");
	}
	return set_first("LD_PRELOAD", shim, ": ");
}

/* With --require: is there a daemon that speaks to us? */
static bool daemon_answers(const struct options *options)
{
	struct vram_client *client;

	if (vram_connect(options->socket, "vramrun", 0, &client) < 0)
		return false;
	vram_close(client);
	return true;
}

/* One of the options about being admitted. Return: false after saying what is wrong. */
static bool parse_wish(struct options *options, int id)
{
	uint64_t n;
	char *end;
	long nice;

	if (!*options->wait)
		snprintf(options->wait, sizeof(options->wait), "default");
	switch (id) {
	case OPT_WAIT:
		if (!optarg)
			return true;
		if (strcmp(optarg, "forever") == 0)
			snprintf(options->wait, sizeof(options->wait), "forever");
		else if (duration_parse(optarg, &n) == 0 && n <= INT64_MAX)
			snprintf(options->wait, sizeof(options->wait), "%llu",
				 (unsigned long long)n);
		else
			return cli_usage(&cli,
					 "--wait: '%s' is not a time like 30s or 5m, nor forever",
					 optarg),
			       false;
		return true;
	case OPT_PRIORITY:
		nice = strtol(optarg, &end, 10);
		if (!*optarg || *end || nice < -20 || nice > 19)
			return cli_usage(&cli, "--priority: '%s' is not a number from -20 to 19",
					 optarg),
			       false;
		snprintf(options->priority, sizeof(options->priority), "%ld", nice);
		return true;
	default:
		if (size_parse(optarg, &n) < 0 || n > INT64_MAX)
			return cli_usage(&cli, "--working-set: '%s' is not a size like 4G", optarg),
			       false;
		snprintf(options->working_set, sizeof(options->working_set), "%llu",
			 (unsigned long long)n);
		return true;
	}
}

/* Return: where PROGRAM is in argv; 0: there is nothing to run, *out_status is the exit status. */
static int parse(struct options *options, int argc, char **argv, int *out_status)
{
	int id;

	*out_status = EXIT_USAGE;
	while ((id = cli_next(&cli, argc, argv)) > 0) {
		switch (id) {
		case OPT_SOCKET:
			options->socket = optarg;
			break;
		case OPT_REQUIRE:
			options->require = true;
			break;
		case OPT_QUIET:
			options->quiet = true;
			break;
		case OPT_VERBOSE:
			options->verbose = true;
			break;
		case OPT_STATS:
			options->stats = true;
			break;
		case OPT_NAME:
			options->name = optarg;
			break;
		case OPT_DRIVER:
			options->driver = optarg;
			break;
		case OPT_NO_CUDA:
			options->no_cuda = true;
			break;
		case OPT_WAIT:
		case OPT_PRIORITY:
		case OPT_WORKING_SET:
			if (!parse_wish(options, id))
				return 0;
			break;
		case OPT_COMPLETE:
			cli_usage(&cli, "--complete must be the first option");
			return 0;
		case OPT_VERSION:
			printf("vramrun %s\n", VRAM_VERSION);
			*out_status = cli_finish(&cli, EXIT_SUCCESS);
			return 0;
		case OPT_HELP:
			help();
			*out_status = cli_finish(&cli, EXIT_SUCCESS);
			return 0;
		}
	}
	if (id == 0)
		return 0;
	if (optind == argc) {
		cli_usage(&cli, "which program is to be run?");
		return 0;
	}
	return optind;
}

/* Something will not be served. Return: whether that is the end. */
static bool cannot(const struct options *options, const char *program, const char *why)
{
	if (options->require || !options->quiet)
		fprintf(stderr, "vramrun: %s cannot be served: %s\n", program, why);
	return options->require;
}

/* Where the driver is. Return: false: nowhere, and `out` says why. */
static bool find_driver(const struct options *options, char *out, size_t size)
{
	const char *set = options->driver ? options->driver : getenv("VRAM_CUDA_REAL");
	char path[PATH_MAX];

	if (!set || !*set)
		return driver_find(out, size) == 0;
	if (!realpath(set, path)) {
		snprintf(out, size, "%s: %s", set, strerror(errno));
		return false;
	}
	snprintf(out, size, "%s", path);
	return true;
}

/*
 * The environment for a program on vramd's card. program: its file, or NULL. Return: whether it is to be run.
 */
static bool prepare_cuda(const struct options *options, const char *name, const char *program,
			 bool harmful)
{
	char shim[PATH_MAX], driver[PATH_MAX], text[512];
	const char *why;

	if (options->no_cuda || harmful)
		return true;
	if (!find_shim(CUDA_SHIM, shim, sizeof(shim)))
		return false;
	if (strpbrk(shim, ":;")) {
		fprintf(stderr, "vramrun: the dynamic linker takes no folder with a colon: %s\n",
			shim);
		return false;
	}
	if (!find_driver(options, driver, sizeof(driver)))
		return !cannot(options, name, driver);
	why = program ? elf_escapes(program, text, sizeof(text)) : NULL;
	if (why && cannot(options, name, why))
		return false;
	if (set_environment(options, shim, driver)) {
		fprintf(stderr, "vramrun: cannot set the environment: %s\n", strerror(errno));
		return false;
	}
	return true;
}

static bool prepare_host(const struct options *options, bool harmful)
{
	char shim[PATH_MAX];

	if (!find_shim(SHIM, shim, sizeof(shim)))
		return false;
	if (strpbrk(shim, ": ")) {
		fprintf(stderr,
			"vramrun: the dynamic linker takes no path with a colon or a space: %s\n",
			shim);
		return false;
	}
	if (!harmful && set_environment(options, shim, NULL)) {
		fprintf(stderr, "vramrun: cannot set the environment: %s\n", strerror(errno));
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	char program[PATH_MAX], text[256];
	bool harmful = false, found;
	const char *why = NULL;
	int first, status;

	if (cli_complete(&cli, argc, argv, ":programs"))
		return cli_finish(&cli, EXIT_SUCCESS);
	first = parse(&options, argc, argv, &status);
	if (first == 0)
		return status;
	found = find_program(argv[first], program, sizeof(program));
	if (found)
		why = elf_why_not(program, &harmful, text, sizeof(text));
	if (why && cannot(&options, argv[first], why))
		return EXIT_OURS;
	if (options.require && !daemon_answers(&options)) {
		fprintf(stderr, "vramrun: %s\n", vram_error_text());
		return EXIT_OURS;
	}
	if (device_kind(options.socket) == VRAM_DEVICE_CUDA ?
		    !prepare_cuda(&options, argv[first], found ? program : NULL, harmful) :
		    !prepare_host(&options, harmful))
		return EXIT_OURS;
	execvp(argv[first], argv + first);
	fprintf(stderr, "vramrun: cannot run %s: %s\n", argv[first], strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
