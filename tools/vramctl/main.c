// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramctl: look at vramd and set its limits.
 *
 * Two tables, of commands and of options, say what there is. Parsing, --help and the shell's
 * completion (--complete) read them; a test compares the manual page with them.
 */
#define _GNU_SOURCE 1
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/proto.h"
#include "tools/vramctl/ask.h"
#include "tools/vramctl/devices.h"
#include "tools/vramctl/show.h"

#define EXIT_USAGE 2
#define N(array)   (sizeof(array) / sizeof((array)[0]))

struct options {
	const char *socket;
	bool json;
	bool all;
	bool help;
	bool version;
	bool complete;
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
};

static int run_limit_show(const struct options *options, int argc, char *const argv[]);
static int run_limit_set(const struct options *options, int argc, char *const argv[]);
static int run_devices(const struct options *options, int argc, char *const argv[]);
static int run_evict(const struct options *options, int argc, char *const argv[]);
static int run_version(const struct options *options, int argc, char *const argv[]);

static const struct command commands[] = {
	{ .name = "status",
	  .help = "the daemon, its devices and what was paged",
	  .request = "status",
	  .show = show_status },
	{ .name = "devices",
	  .run = run_devices,
	  .help = "vramd's devices, and every GPU and who uses it",
	  .detail =
		  "GPUs and their processes are looked up by vramctl itself, also without a vramd. root sees the\n"
		  "processes of all users.\n" },
	{ .name = "clients",
	  .help = "the programs that use a device",
	  .request = "clients",
	  .show = show_clients },
	{ .name = "models",
	  .help = "the models and buffers, and what of them is resident",
	  .request = "models",
	  .show = show_models },
	{ .name = "limit show",
	  .args = "[SUBJECT]",
	  .max_args = 1,
	  .run = run_limit_show,
	  .help = "limits and use",
	  .detail =
		  "SUBJECT is user:NAME, user:UID, session:ID (as in 'vramctl clients') or default, which is for\n"
		  "users without limits of their own.\n" },
	{ .name = "limit set",
	  .args = "SUBJECT TIER.KEY=VALUE...",
	  .min_args = 2,
	  .max_args = 65,
	  .run = run_limit_set,
	  .help = "set limits, until the daemon ends",
	  .detail =
		  "SUBJECT is user:NAME, user:UID, session:ID (as in 'vramctl clients') or default, which is for\n"
		  "users without limits of their own.\n"
		  "TIER is vram, host or disk.\n"
		  "KEY is min (never taken away), low (taken away only when nothing else is left), high\n"
		  "(taken away first), max (hard) or weight (1 to 10000, 100 is usual).\n"
		  "VALUE is a size like 4G, max for no limit, or default.\n" },
	{ .name = "pressure",
	  .help = "how much of the time clients wait for memory",
	  .request = "pressure",
	  .show = show_pressure },
	{ .name = "evict",
	  .args = "MODEL|--all",
	  .max_args = 1,
	  .run = run_evict,
	  .help = "take models out of the device; they come back when used",
	  .detail =
		  "MODEL is a name as in 'vramctl models'. What is in use at the moment stays.\n" },
	{ .name = "version", .run = run_version, .help = "the versions of vramctl and vramd" },
};

static const struct {
	struct option getopt;
	const char *arg;
	const char *help;
	const char *command; /* the only one that it is for; NULL: all */
} option_table[] = {
	{ { "json", no_argument, NULL, 'j' }, NULL, "print JSON, for scripts", NULL },
	{ { "socket", required_argument, NULL, 's' }, "PATH", "the daemon's socket", NULL },
	{ { "all", no_argument, NULL, 'a' }, NULL, "evict every model", "evict" },
	{ { "help", no_argument, NULL, 'h' }, NULL, "print this, and exit", NULL },
	{ { "version", no_argument, NULL, 'V' }, NULL, "print the version, and exit", NULL },
	{ { "complete", no_argument, NULL, 'c' },
	  NULL,
	  "print what may follow the words given, for the shell's completion",
	  NULL },
};
/* Of these only the long form exists. */
static const char long_only[] = "saVc";

/* ---- help ---- */

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
	va_list args;

	fputs("vramctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'vramctl --help'.\n", stderr);
	return EXIT_USAGE;
}

static void print_options(const char *command)
{
	char left[48], letter[8];
	size_t i;

	fputs("\nOptions:\n", stdout);
	for (i = 0; i < N(option_table); i++) {
		if (command && option_table[i].command &&
		    strcmp(command, option_table[i].command) != 0)
			continue;
		snprintf(letter, sizeof(letter),
			 strchr(long_only, option_table[i].getopt.val) ? "    " : "-%c, ",
			 option_table[i].getopt.val);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, option_table[i].getopt.name,
			 option_table[i].arg ? " " : "",
			 option_table[i].arg ? option_table[i].arg : "");
		printf("  %-38s %s\n", left, option_table[i].help);
	}
}

static void print_help(void)
{
	char left[64];
	size_t i;

	fputs("Usage: vramctl [OPTION]... COMMAND [ARGUMENT]...\n"
	      "Look at vramd, which shares a device between model processes, and set its limits.\n\n"
	      "Commands:\n",
	      stdout);
	for (i = 0; i < N(commands); i++) {
		snprintf(left, sizeof(left), "%s%s%s", commands[i].name,
			 commands[i].args ? " " : "", commands[i].args ? commands[i].args : "");
		printf("  %-38s %s\n", left, commands[i].help);
	}
	print_options(NULL);
	printf("\nThe daemon is looked for at $VRAM_SOCKET, then %s, then below\n"
	       "$XDG_RUNTIME_DIR. 'vramctl COMMAND --help' says more about a command. See vramctl(1).\n",
	       VRAM_SOCKET_SYSTEM);
}

static void print_command_help(const struct command *command)
{
	printf("Usage: vramctl %s%s%s [OPTION]...\n\n%c%s.\n", command->name,
	       command->args ? " " : "", command->args ? command->args : "",
	       toupper((unsigned char)command->help[0]), command->help + 1);
	if (command->detail)
		printf("\n%s", command->detail);
	print_options(command->name);
}

/* ---- finding commands ---- */

/* How many words of argv the command's name takes; 0 if it is another command. */
static int command_words(const char *name, int argc, char *const argv[])
{
	const char *space = strchr(name, ' ');
	size_t len = space ? (size_t)(space - name) : strlen(name);

	if (argc < 1 || strlen(argv[0]) != len || strncmp(name, argv[0], len) != 0)
		return 0;
	if (!space)
		return 1;
	return argc > 1 && !strcmp(space + 1, argv[1]) ? 2 : 0;
}

static const struct command *command_find(int argc, char *const argv[], int *out_words)
{
	size_t i;

	for (i = 0; i < N(commands); i++) {
		*out_words = command_words(commands[i].name, argc, argv);
		if (*out_words > 0)
			return &commands[i];
	}
	return NULL;
}

/* "limit" alone: what may follow. */
static int unknown_command(char *const argv[])
{
	char choices[128] = "";
	size_t i, len = strlen(argv[0]);

	for (i = 0; i < N(commands); i++) {
		if (!strncmp(commands[i].name, argv[0], len) && commands[i].name[len] == ' ')
			snprintf(choices + strlen(choices), sizeof(choices) - strlen(choices),
				 "%s'%s'", *choices ? " or " : "", commands[i].name);
	}
	if (*choices)
		return usage("say %s", choices);
	return usage("there is no command '%s'", argv[0]);
}

/* ---- completion ---- */

static void complete_names(const struct options *options, const char *request, const char *list,
			   const char *key, const char *prefix)
{
	json_t *question = json_pack("{s:s}", "command", request), *answer = NULL, *value, *name;
	size_t i;

	if (question && ask(options->socket, question, true, &answer) == 0) {
		json_array_foreach(json_object_get(answer, list), i, value) {
			name = json_object_get(value, key);
			if (json_is_string(name))
				printf("%s%s\n", prefix, json_string_value(name));
			else if (json_is_integer(name))
				printf("%s%" JSON_INTEGER_FORMAT "\n", prefix,
				       json_integer_value(name));
		}
	}
	json_decref(question);
	json_decref(answer);
}

/* Prints everything that may follow the words; the shell keeps what fits what was typed. */
static int run_complete(const struct options *options, int argc, char *const argv[])
{
	const struct command *command;
	const char *rest;
	size_t i, first;
	int words;

	command = command_find(argc, argv, &words);
	for (i = 0; i < N(option_table); i++) {
		if (!option_table[i].command ||
		    (command && !strcmp(command->name, option_table[i].command)))
			printf("--%s\n", option_table[i].getopt.name);
	}
	if (command) {
		if (command->run == run_evict && argc == words)
			complete_names(options, "models", "models", "name", "");
		if ((command->run == run_limit_set || command->run == run_limit_show) &&
		    argc == words) {
			printf("default\n");
			complete_names(options, "clients", "clients", "id", "session:");
			complete_names(options, "clients", "clients", "uid", "user:");
		}
		return EXIT_SUCCESS;
	}
	for (i = 0; i < N(commands); i++) {
		first = strcspn(commands[i].name, " ");
		rest = commands[i].name + first;
		/*
		 * Commands of two words stand together in the table: the first word is said once.
		 */
		if (argc == 0 &&
		    (i == 0 || strncmp(commands[i].name, commands[i - 1].name, first + 1) != 0))
			printf("%.*s\n", (int)first, commands[i].name);
		else if (argc == 1 && *rest && strlen(argv[0]) == first &&
			 !strncmp(commands[i].name, argv[0], first))
			printf("%s\n", rest + 1);
	}
	return EXIT_SUCCESS;
}

/* ---- commands ---- */

/* Asks, and prints the answer as JSON or by `show`. The request is taken. */
static int ask_and_show(const struct options *options, json_t *request,
			void (*show)(const json_t *))
{
	json_t *answer = NULL;
	int r;

	if (!request) {
		fputs("vramctl: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	r = ask(options->socket, request, false, &answer);
	json_decref(request);
	if (r < 0)
		return EXIT_FAILURE;
	show_add_users(answer);
	if (options->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (show) {
		show(answer);
	}
	json_decref(answer);
	return EXIT_SUCCESS;
}

/*
 * Users have names here and numbers there. Return: the subject for the daemon, to be freed; NULL if
 * there is no such user.
 */
static char *subject_resolve(const char *text)
{
	const struct passwd *user;
	char *subject;
	bool number;

	number = strncmp(text, "user:", 5) != 0 ||
		 (text[5] && !text[5 + strspn(text + 5, "0123456789")]);
	if (number)
		return strdup(text);
	user = getpwnam(text + 5);
	if (!user) {
		fprintf(stderr, "vramctl: there is no user '%s'\n", text + 5);
		return NULL;
	}
	return asprintf(&subject, "user:%u", user->pw_uid) < 0 ? NULL : subject;
}

static int run_limit_show(const struct options *options, int argc, char *const argv[])
{
	json_t *request = json_pack("{s:s}", "command", "limit_show");
	char *subject;

	if (argc > 0) {
		subject = subject_resolve(argv[0]);
		if (!subject) {
			json_decref(request);
			return EXIT_FAILURE;
		}
		json_object_set_new(request, "subject", json_string(subject));
		free(subject);
	}
	return ask_and_show(options, request, show_limits);
}

static int run_limit_set(const struct options *options, int argc, char *const argv[])
{
	char *subject = subject_resolve(argv[0]);
	json_t *settings = json_array(), *request;
	int i;

	if (!subject) {
		json_decref(settings);
		return EXIT_FAILURE;
	}
	for (i = 1; i < argc; i++)
		json_array_append_new(settings, json_string(argv[i]));
	request = json_pack("{s:s, s:s, s:o}", "command", "limit_set", "subject", subject,
			    "settings", settings);
	free(subject);
	return ask_and_show(options, request, NULL);
}

static int run_evict(const struct options *options, int argc, char *const argv[])
{
	if ((argc == 0) != options->all)
		return usage("evict: either a model's name or --all is needed");
	return ask_and_show(options,
			    options->all ?
				    json_pack("{s:s, s:b}", "command", "evict", "all", 1) :
				    json_pack("{s:s, s:s}", "command", "evict", "model", argv[0]),
			    show_evicted);
}

/* Asks for what `devices` says besides. Return: NULL if the daemon does not say. */
static json_t *ask_quietly(const struct options *options, const char *command)
{
	json_t *request = json_pack("{s:s}", "command", command), *answer = NULL;

	(void)ask(options->socket, request, true, &answer);
	json_decref(request);
	return answer;
}

/* Answers without a daemon too, unless a certain one is asked for. */
static int run_devices(const struct options *options, int argc, char *const argv[])
{
	json_t *request = json_pack("{s:s}", "command", "devices"), *answer = NULL;
	json_t *clients = NULL, *status = NULL;
	bool running;
	int r;

	(void)argc;
	(void)argv;
	r = ask(options->socket, request, !options->socket, &answer);
	json_decref(request);
	if (r < 0 && (r != -ENOENT || options->socket))
		return EXIT_FAILURE;
	running = answer;
	if (running) {
		clients = ask_quietly(options, "clients");
		status = ask_quietly(options, "status");
	} else {
		answer = json_pack("{s:[]}", "devices");
	}
	r = devices_add(answer, &devices_here, clients,
			json_integer_value(json_object_get(status, "pid")));
	json_decref(clients);
	json_decref(status);
	if (r < 0) {
		json_decref(answer);
		fprintf(stderr, "vramctl: out of memory\n");
		return EXIT_FAILURE;
	}
	show_add_users(answer);
	if (options->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		if (running)
			show_devices(answer);
		else
			printf("vramd is not running\n");
		if (json_array_size(json_object_get(answer, "gpus")) > 0)
			putchar('\n');
		else if (!running)
			printf("no GPU found\n");
		devices_show(answer);
	}
	json_decref(answer);
	return EXIT_SUCCESS;
}

/* Answers without a daemon too. */
static int run_version(const struct options *options, int argc, char *const argv[])
{
	json_t *request = json_pack("{s:s}", "command", "version"), *answer = NULL, *both;
	int r;

	(void)argc;
	(void)argv;
	r = ask(options->socket, request, true, &answer);
	json_decref(request);
	if (r < 0 && r != -ENOENT)
		return EXIT_FAILURE;
	if (options->json) {
		both = json_pack("{s:s, s:o*}", "vramctl", VRAM_VERSION, "vramd",
				 answer ? json_incref(answer) : NULL);
		json_dumpf(both, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(both);
	} else {
		printf("vramctl %s\n", VRAM_VERSION);
		if (answer)
			printf("vramd %s, protocol %" JSON_INTEGER_FORMAT "\n",
			       json_string_value(json_object_get(answer, "version")),
			       json_integer_value(json_object_get(answer, "protocol")));
		else
			printf("vramd is not running\n");
	}
	json_decref(answer);
	return EXIT_SUCCESS;
}

/* ---- the command line ---- */

/* Return: 0, or EXIT_USAGE. argv is sorted: the words after optind are no options. */
static int options_parse(struct options *out, int argc, char *argv[])
{
	struct option long_options[N(option_table) + 1] = { 0 };
	size_t i;
	int c;

	for (i = 0; i < N(option_table); i++)
		long_options[i] = option_table[i].getopt;
	while ((c = getopt_long(argc, argv, ":jh", long_options, NULL)) != -1) {
		switch (c) {
		case 'j':
			out->json = true;
			break;
		case 's':
			out->socket = optarg;
			break;
		case 'a':
			out->all = true;
			break;
		case 'h':
			out->help = true;
			break;
		case 'V':
			out->version = true;
			break;
		case 'c':
			out->complete = true;
			break;
		case ':':
			return usage("%s needs an argument", argv[optind - 1]);
		default:
			return usage("there is no option %s", argv[optind - 1]);
		}
	}
	return 0;
}

static int command_run(const struct command *command, const struct options *options, int argc,
		       char *const argv[])
{
	if (options->help) {
		print_command_help(command);
		return EXIT_SUCCESS;
	}
	if (options->all && command->run != run_evict)
		return usage("%s: --all is for evict", command->name);
	if (argc < command->min_args)
		return usage("%s needs %s", command->name, command->args);
	if (argc > command->max_args)
		return usage("%s: unexpected argument '%s'", command->name,
			     argv[command->max_args]);
	if (command->run)
		return command->run(options, argc, argv);
	return ask_and_show(options, json_pack("{s:s}", "command", command->request),
			    command->show);
}

static int run(const struct options *options, int argc, char *const argv[])
{
	const struct command *command;
	int words;

	if (options->version) {
		printf("vramctl %s\n", VRAM_VERSION);
		return EXIT_SUCCESS;
	}
	if (options->complete)
		return run_complete(options, argc, argv);
	if (argc == 0 && options->help) {
		print_help();
		return EXIT_SUCCESS;
	}
	if (argc == 0)
		return usage("a command is needed");
	command = command_find(argc, argv, &words);
	if (!command)
		return unknown_command(argv);
	return command_run(command, options, argc - words, argv + words);
}

int main(int argc, char *argv[])
{
	struct options options = { 0 };
	int r;

	r = options_parse(&options, argc, argv);
	if (r == 0)
		r = run(&options, argc - optind, argv + optind);
	/* A full disk or a closed pipe is a failure too. */
	if (fflush(stdout) != 0 && r == EXIT_SUCCESS) {
		perror("vramctl: standard output");
		r = EXIT_FAILURE;
	}
	return r;
}
