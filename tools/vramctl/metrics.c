// SPDX-License-Identifier: GPL-2.0-only
/* vramctl metrics: the daemon's numbers for Prometheus. */
#define _GNU_SOURCE 1
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vramctl/command.h"

/* Control characters were taken out by the daemon. */
static void show_metrics(const json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "text"));

	fputs(text ? text : "", stdout);
}

int run_metrics(const struct options *options, int argc, char *const argv[])
{
	const char *format = options->format ? options->format : "openmetrics";

	(void)argc;
	(void)argv;
	if (strcmp(format, "openmetrics") != 0 && strcmp(format, "prometheus") != 0)
		return cli_usage(&vramctl_cli,
				 "metrics: --format is either openmetrics or prometheus, not '%s'",
				 format);
	return ask_and_show(options,
			    json_pack("{s:s, s:s}", "command", "metrics", "format", format),
			    show_metrics);
}
