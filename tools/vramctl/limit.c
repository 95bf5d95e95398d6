// SPDX-License-Identifier: GPL-2.0-only
/* vramctl limit: limits of users, sessions and of everybody else. */
#define _GNU_SOURCE 1
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vramctl/command.h"
#include "tools/vramctl/show.h"

void complete_subject(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc > 0)
		return;
	printf("default\n");
	complete_names(options, "clients", "clients", "id", "session:");
	complete_names(options, "clients", "clients", "uid", "user:");
}

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

int run_limit_show(const struct options *options, int argc, char *const argv[])
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

int run_limit_set(const struct options *options, int argc, char *const argv[])
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
