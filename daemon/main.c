// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>

#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/limits_store.h"
#include "daemon/log.h"

/* --check-config. Return: the exit status. */
static int check(const struct config *config)
{
	char reason[LIMITS_REASON_MAX];
	struct limits_rules rules;

	if (limits_store_read(config->limits.dir, config->limits.dir_given, &rules, reason) < 0) {
		fprintf(stderr, "vramd: %s\n", reason);
		return 2;
	}
	config_print(config, stdout);
	printf("\n# %zu rules in %zu files of %s\n", rules.n, rules.n_files, config->limits.dir);
	limits_rules_deinit(&rules);
	return EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
	struct vramd *daemon = NULL;
	struct config config;
	int r;

	r = config_load(&config, argc, argv);
	if (r == CONFIG_E_DONE)
		return EXIT_SUCCESS;
	if (r == CONFIG_E_USAGE)
		return 2;
	if (r == CONFIG_E_FAILED)
		return EXIT_FAILURE;
	if (r < 0) {
		fprintf(stderr, "vramd: cannot read the configuration: out of memory\n");
		return EXIT_FAILURE;
	}
	if (config.check_only) {
		r = check(&config);
		config_deinit(&config);
		return r;
	}
	log_init();
	log_set_level((enum log_level)config.daemon.log_level);

	r = daemon_new(&daemon, &config, argc, argv);
	if (r == 0)
		r = daemon_run(daemon);

	daemon_free(daemon);
	config_deinit(&config);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
