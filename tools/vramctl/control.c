// SPDX-License-Identifier: GPL-2.0-only
/* The commands that make vramd do something at once. */
#define _GNU_SOURCE 1
#include <jansson.h>
#include <stdlib.h>

#include "tools/vramctl/command.h"
#include "tools/vramctl/show.h"

void complete_model(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc == 0)
		complete_names(options, "models", "models", "name", "");
}

int run_evict(const struct options *options, int argc, char *const argv[])
{
	if ((argc == 0) != options->all)
		return cli_usage(&vramctl_cli, "evict: either a model's name or --all is needed");
	return ask_and_show(options,
			    options->all ?
				    json_pack("{s:s, s:b}", "command", "evict", "all", 1) :
				    json_pack("{s:s, s:s}", "command", "evict", "model", argv[0]),
			    show_evicted);
}
