// SPDX-License-Identifier: GPL-2.0-only
/* The commands that have something to say without a daemon, too. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/shared/ask.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/devices.h"
#include "tools/vramctl/show.h"

/* Answers without a daemon too, unless a certain one is asked for. */
int run_devices(const struct options *options, int argc, char *const argv[])
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
int run_version(const struct options *options, int argc, char *const argv[])
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
