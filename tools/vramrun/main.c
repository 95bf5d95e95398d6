// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramrun: start an unmodified program whose model files are then served by vramd.
 *
 * It puts the shim (libclient/preload/) into LD_PRELOAD and becomes the program by exec: process,
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

#include "libclient/vram.h"
#include "tools/vramrun/elf.h"

#define SHIM "libvram-preload.so"

/* As env(1), nice(1) and others have it; codes of the program's own begin below. */
enum {
	EXIT_USAGE = 2,
	EXIT_OURS = 125,
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

struct options {
	const char *socket;
	const char *name;
	bool require;
	bool quiet;
	bool verbose;
	bool stats;
};

static void usage(FILE *out)
{
	fputs("Usage: vramrun [OPTION]... [--] PROGRAM [ARG]...\n"
	      "Run PROGRAM with its model files (GGUF, safetensors) paged by vramd.\n"
	      "\n"
	      "  -s, --socket PATH  where vramd listens [$VRAM_SOCKET, the system's or the user's]\n"
	      "  -r, --require      fail if vramd cannot be reached or PROGRAM cannot be served\n"
	      "  -q, --quiet        say nothing on stderr\n"
	      "  -v, --verbose      say which files are served\n"
	      "      --stats        at the end, say what was paged\n"
	      "  -n, --name NAME    what vramctl shows [the program's name]\n"
	      "      --version      print the version, and exit\n"
	      "  -h, --help         print this, and exit\n"
	      "\n"
	      "The exit status is PROGRAM's; 125 if vramrun fails itself, 126 if PROGRAM cannot be\n"
	      "run, 127 if it is not found. See vramrun(1).\n",
	      out);
}

static bool exists(const char *path)
{
	return access(path, R_OK) == 0;
}

/* Beside this program (a build folder), below ../lib (an installation), or where it was to be installed. */
static bool find_shim(char *out, size_t size)
{
	static const char *const places[] = { "%s/" SHIM, "%s/../lib/vram/" SHIM,
					      "%s/../lib64/vram/" SHIM };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			int len = snprintf(out, size, places[i], self);
#pragma GCC diagnostic pop

			if (len > 0 && (size_t)len < size && exists(out))
				return true;
		}
	}
	snprintf(out, size, "%s", VRAM_LIBDIR "/" SHIM);
	return exists(out);
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

static int set_preload(const char *shim)
{
	const char *old = getenv("LD_PRELOAD");
	char *both;
	int r;

	if (!old || !*old)
		return setenv("LD_PRELOAD", shim, 1);
	/* A vramrun in a vramrun: once is enough. */
	if (!strncmp(old, shim, strlen(shim)) && strchr(": ", old[strlen(shim)]))
		return 0;
	if (asprintf(&both, "%s:%s", shim, old) < 0)
		return -1;
	r = setenv("LD_PRELOAD", both, 1);
	free(both);
	return r;
}

static int set_environment(const struct options *options, const char *shim)
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
	return set_preload(shim);
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

static int parse(struct options *options, int argc, char **argv)
{
	enum {
		OPT_STATS = 256,
		OPT_VERSION
	};
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "require", no_argument, NULL, 'r' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "stats", no_argument, NULL, OPT_STATS },
		{ "name", required_argument, NULL, 'n' },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	/* "+": options end at the program, whose own are not ours. */
	while ((opt = getopt_long(argc, argv, "+s:rqvn:h", longs, NULL)) != -1) {
		switch (opt) {
		case 's':
			options->socket = optarg;
			break;
		case 'r':
			options->require = true;
			break;
		case 'q':
			options->quiet = true;
			break;
		case 'v':
			options->verbose = true;
			break;
		case 'n':
			options->name = optarg;
			break;
		case OPT_STATS:
			options->stats = true;
			break;
		case OPT_VERSION:
			printf("vramrun %s\n", VRAM_VERSION);
			exit(0);
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			return -1;
		}
	}
	if (optind == argc) {
		fputs("vramrun: which program?\n", stderr);
		usage(stderr);
		return -1;
	}
	return optind;
}

int main(int argc, char **argv)
{
	char shim[PATH_MAX], program[PATH_MAX], text[256];
	struct options options = { 0 };
	int first = parse(&options, argc, argv);
	const char *why = NULL;
	bool harmful = false;

	if (first < 0)
		return EXIT_USAGE;
	if (!find_shim(shim, sizeof(shim))) {
		fprintf(stderr, "vramrun: %s is neither beside vramrun nor in %s\n", SHIM,
			VRAM_LIBDIR);
		return EXIT_OURS;
	}
	if (strpbrk(shim, ": ")) {
		fprintf(stderr,
			"vramrun: the dynamic linker takes no path with a colon or a space: %s\n",
			shim);
		return EXIT_OURS;
	}
	if (find_program(argv[first], program, sizeof(program)))
		why = elf_why_not(program, &harmful, text, sizeof(text));
	if (why && (options.require || !options.quiet))
		fprintf(stderr, "vramrun: %s cannot be served: %s\n", argv[first], why);
	if (why && options.require)
		return EXIT_OURS;
	if (options.require && !daemon_answers(&options)) {
		fprintf(stderr, "vramrun: %s\n", vram_error_text());
		return EXIT_OURS;
	}
	if (!harmful && set_environment(&options, shim)) {
		fprintf(stderr, "vramrun: cannot set the environment: %s\n", strerror(errno));
		return EXIT_OURS;
	}
	execvp(argv[first], argv + first);
	fprintf(stderr, "vramrun: cannot run %s: %s\n", argv[first], strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
