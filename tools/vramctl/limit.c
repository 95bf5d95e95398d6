// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramctl limit: limits of users, groups, cgroups, programs and sessions.
 *
 * Subjects and settings are understood by the daemon, which also looks up names; here they are passed on, and
 * what it answers is shown.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/duration.h"
#include "common/size.h"
#include "tools/shared/ask.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/progress.h"
#include "tools/vramctl/show.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
/* How often a limit that is waited for is looked at. */
#define LOOK_NS 200000000l

static const char *const tiers[] = { "vram", "host", "disk" };
static const char *const keys[] = { "min", "low", "high", "max", "weight" };

/* ---- completion ----------------------------------------------------------------------- */

/* Groups of this machine; a directory may know thousands, which are no help. */
static void complete_groups(void)
{
	const struct group *group;
	unsigned int n;

	setgrent();
	for (n = 0; n < 256 && (group = getgrent()); n++)
		printf("group:%s\n", group->gr_name);
	endgrent();
}

void complete_subjects(const struct options *options, const char *command, const char *list)
{
	json_t *answer = ask_quietly(options, command), *seen = json_object(), *row;
	const char *subject;
	size_t i;

	if (answer)
		show_add_users(answer);
	json_array_foreach(json_object_get(answer, list), i, row) {
		subject = json_string_value(json_object_get(row, "subject"));
		if (!subject || !strcmp(subject, "root") || !strcmp(subject, "default") ||
		    !strncmp(subject, "group:", 6) || json_object_get(seen, subject))
			continue;
		json_object_set_new(seen, subject, json_true());
		printf("%s\n", subject);
		if (!strncmp(subject, "user:", 5))
			printf("user:%s\n", text_of(row, "user"));
	}
	json_decref(seen);
	json_decref(answer);
}

void complete_subject(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc > 0)
		return;
	printf("default\n");
	complete_subjects(options, "limit_show", "limits");
	complete_groups();
}

static void complete_keys(const char *end)
{
	size_t t, k;

	for (t = 0; t < N(tiers); t++)
		for (k = 0; k < N(keys); k++)
			printf("%s.%s%s\n", tiers[t], keys[k], end);
}

void complete_limit_set(const struct options *options, int argc, char *const argv[])
{
	if (argc == 0)
		complete_subject(options, argc, argv);
	else
		complete_keys("=");
}

void complete_limit_reset(const struct options *options, int argc, char *const argv[])
{
	if (argc == 0)
		complete_subject(options, argc, argv);
	else
		complete_keys("");
}

/* ---- subjects -------------------------------------------------------------------------- */

char *subject_resolve(const char *text)
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

/* ---- showing --------------------------------------------------------------------------- */

static void show_values(const json_t *list)
{
	static const struct table_column columns[] = {
		{ "SUBJECT", false }, { "TIER", false },   { "USAGE", true }, { "PEAK", true },
		{ "MIN", true },      { "LOW", true },	   { "HIGH", true },  { "MAX", true },
		{ "WEIGHT", true },   { "REFUSED", true },
	};
	const json_t *limit;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(list, i, limit) {
		cell_subject(&table, limit);
		table_cell(&table, "%s", text_of(limit, "tier"));
		cell_size(&table, limit, "usage_bytes");
		cell_size(&table, limit, "peak_bytes");
		cell_size(&table, limit, "min");
		cell_size(&table, limit, "low");
		cell_size(&table, limit, "high");
		cell_size(&table, limit, "max");
		cell_number(&table, limit, "weight");
		cell_number(&table, limit, "refused");
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

/* Which rule gave each value; those that no rule gave only of one subject. */
static void show_rules(const json_t *list, bool all)
{
	static const struct table_column columns[] = {
		{ "SUBJECT", false },
		{ "KEY", false },
		{ "VALUE", true },
		{ "RULE", false },
	};
	const json_t *limit;
	struct table table;
	const char *why;
	size_t i, k;

	table_init(&table, columns, N(columns));
	json_array_foreach(list, i, limit) {
		for (k = 0; k < N(keys); k++) {
			why = text_of(json_object_get(limit, "rules"), keys[k]);
			if (!all && (!strcmp(why, "built in") || !strcmp(why, "the device")))
				continue;
			cell_subject(&table, limit);
			table_cell(&table, "%s.%s", text_of(limit, "tier"), keys[k]);
			if (!strcmp(keys[k], "weight"))
				cell_number(&table, limit, keys[k]);
			else
				cell_size(&table, limit, keys[k]);
			table_cell(&table, "%s", why);
		}
	}
	if (table.n_cells) {
		putchar('\n');
		table_print(&table, stdout);
	}
	table_deinit(&table);
}

static void show_all(const json_t *answer)
{
	show_values(json_object_get(answer, "limits"));
	show_rules(json_object_get(answer, "limits"), false);
}

static void show_one(const json_t *answer)
{
	show_values(json_object_get(answer, "limits"));
	show_rules(json_object_get(answer, "limits"), true);
}

static void show_list(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "SUBJECT", false }, { "KEY", false },	   { "VALUE", true },
		{ "SOURCE", false },  { "COUNTS", false },
	};
	const json_t *rule;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "rules"), i, rule) {
		cell_subject(&table, rule);
		table_cell(&table, "%s.%s", text_of(rule, "tier"), text_of(rule, "key"));
		table_cell(&table, "%s", text_of(rule, "value"));
		table_cell(&table, "%s", text_of(rule, "source"));
		table_cell(
			&table, "%s",
			json_is_false(json_object_get(rule, "known")) ? "no: nobody has this name" :
			json_is_true(json_object_get(rule, "in_force")) ? "yes" :
									  "no: a later rule does");
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

static void show_reset(const json_t *answer)
{
	if (!number_of(answer, "settings"))
		puts("Nothing had been set at run time. What files in limits.d say stays (see 'vramctl limit "
		     "list'); --save takes back what was saved.");
	if (json_object_get(answer, "saved"))
		printf("saved in %s\n", text_of(answer, "saved"));
}

static void show_reload(const json_t *answer)
{
	printf("%" PRIu64 " rules in %" PRIu64 " files\n", number_of(answer, "rules"),
	       number_of(answer, "files"));
}

/* ---- waiting until use is below what was set ----------------------------------------------- */

static uint64_t over_bytes(const json_t *answer)
{
	const json_t *row;
	uint64_t bytes = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "over"), i, row)
		bytes += number_of(row, "over_bytes");
	return bytes;
}

/* Brings a row of `over` up to date. Return: 0, or -errno as ask(). */
static int over_look(const struct options *options, json_t *row)
{
	json_t *request = json_pack("{s:s, s:s}", "command", "limit_show", "subject",
				    text_of(row, "subject"));
	const char *tier = text_of(row, "tier");
	json_t *answer = NULL, *limit;
	char key[32];
	size_t i;
	int r = ask(options->socket, request, false, &answer);

	json_decref(request);
	if (r < 0)
		return r;
	snprintf(key, sizeof(key), "over_%s_bytes", text_of(row, "key"));
	json_array_foreach(json_object_get(answer, "limits"), i, limit) {
		if (strcmp(text_of(limit, "tier"), tier) != 0)
			continue;
		json_object_set(row, "over_bytes", json_object_get(limit, key));
		json_object_set(row, "usage_bytes", json_object_get(limit, "usage_bytes"));
	}
	json_decref(answer);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Brings all of `over` up to date. Return: 0, or -errno of a daemon that does not answer. */
static int over_look_all(const struct options *options, json_t *answer)
{
	json_t *row;
	size_t i;
	int r;

	json_array_foreach(json_object_get(answer, "over"), i, row) {
		if (!number_of(row, "over_bytes"))
			continue;
		r = over_look(options, row);
		/* A session that has ended is above nothing, as the daemon said. */
		if (r == -EPERM)
			json_object_set_new(row, "over_bytes", json_integer(0));
		else if (r < 0)
			return r;
	}
	return 0;
}

/* Return: an exit status. */
static int wait_below(const struct options *options, const char *subject, json_t *answer,
		      uint64_t deadline_ns)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	uint64_t total = over_bytes(answer), left = total;
	struct progress progress;
	int status = EXIT_SUCCESS;

	progress_begin(&progress, subject, options->json);
	while (left && status == EXIT_SUCCESS) {
		progress_show(&progress, total - left, total);
		nanosleep(&pause, NULL);
		if (over_look_all(options, answer) < 0)
			status = EXIT_FAILURE;
		left = over_bytes(answer);
		/* Shared bytes fall to those who stay when a client ends. */
		total = left > total ? left : total;
		if (left && now_ns() >= deadline_ns)
			status = EXIT_TIMEOUT;
	}
	progress_end(&progress);
	if (!left)
		json_array_clear(json_object_get(answer, "over"));
	if (!left && !options->json)
		puts("nobody is above what was set");
	return status;
}

static void show_set(const json_t *answer)
{
	char over[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
	const json_t *row;
	size_t i;

	json_array_foreach(json_object_get(answer, "over"), i, row) {
		printf("%s%s is %s above %s.%s = %s: what is above is being taken out\n",
		       json_object_get(row, "user") ? "user:" : "",
		       text_of(row, json_object_get(row, "user") ? "user" : "subject"),
		       size_format(over, number_of(row, "over_bytes")), text_of(row, "tier"),
		       text_of(row, "key"), size_format(limit, number_of(row, "limit_bytes")));
	}
	if (json_object_get(answer, "saved"))
		printf("saved in %s\n", text_of(answer, "saved"));
	if (json_object_get(answer, "shadowed_by"))
		fprintf(stderr,
			"vramctl: %s sets the same and is read later: it wins when vramd starts anew\n",
			text_of(answer, "shadowed_by"));
}

/* ---- the commands ------------------------------------------------------------------------ */

static json_t *request_new(const struct options *options, const char *command, int argc,
			   char *const argv[])
{
	json_t *request = json_pack("{s:s}", "command", command), *settings = json_array();
	int i;

	if (argc > 0)
		json_object_set_new(request, "subject", json_string(argv[0]));
	for (i = 1; i < argc; i++)
		json_array_append_new(settings, json_string(argv[i]));
	if (argc > 1)
		json_object_set(request, "settings", settings);
	if (options->save)
		json_object_set_new(request, "save", json_true());
	json_decref(settings);
	/* Arguments that are not UTF-8 are no JSON text. */
	for (i = 0; i < argc; i++) {
		if (json_object_get(request, i ? "settings" : "subject") &&
		    (!i ||
		     json_array_size(json_object_get(request, "settings")) == (size_t)argc - 1))
			continue;
		fputs("vramctl: an argument is not UTF-8\n", stderr);
		json_decref(request);
		return NULL;
	}
	return request;
}

int run_limit_show(const struct options *options, int argc, char *const argv[])
{
	json_t *request = request_new(options, "limit_show", argc, argv);

	return request ? ask_and_show(options, request, argc ? show_one : show_all) : EXIT_FAILURE;
}

int run_limit_set(const struct options *options, int argc, char *const argv[])
{
	json_t *request, *answer = NULL;
	uint64_t timeout = 0, deadline = UINT64_MAX;
	int r;

	if (options->timeout && duration_parse(options->timeout, &timeout) < 0)
		return cli_usage(&vramctl_cli, "--timeout: '%s' is not a time, like 30s, 5m or 1h",
				 options->timeout);
	request = request_new(options, "limit_set", argc, argv);
	if (!request)
		return EXIT_FAILURE;
	if (options->timeout)
		deadline = now_ns() + timeout;
	r = ask(options->socket, request, false, &answer);
	json_decref(request);
	if (r < 0)
		return EXIT_FAILURE;
	r = EXIT_SUCCESS;
	if (options->wait || options->timeout)
		r = wait_below(options, argv[0], answer, deadline);
	show_answer(options, answer, show_set);
	return r;
}

int run_limit_reset(const struct options *options, int argc, char *const argv[])
{
	json_t *request = request_new(options, "limit_reset", argc, argv);

	return request ? ask_and_show(options, request, show_reset) : EXIT_FAILURE;
}

int run_limit_list(const struct options *options, int argc, char *const argv[])
{
	json_t *request = request_new(options, "limit_list", argc, argv);

	return request ? ask_and_show(options, request, show_list) : EXIT_FAILURE;
}

int run_reload(const struct options *options, int argc, char *const argv[])
{
	json_t *request = request_new(options, "reload", argc, argv);

	return request ? ask_and_show(options, request, show_reload) : EXIT_FAILURE;
}
