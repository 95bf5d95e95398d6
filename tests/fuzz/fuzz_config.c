// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as vramd.conf. What is taken has to print as a file that reads back as the same; what is not, has to say
 * where.
 *
 * links: daemon/config.c daemon/config_value.c daemon/config_address.c common/err.c common/size.c common/socket.c common/duration.c
 * links: tests/fuzz/memory_file.c
 * libs: -linih
 */
#define _GNU_SOURCE 1
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static char *print(const struct config *config, size_t *out_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, out_len);

	check(f);
	config_print(config, f);
	fclose(f);
	return text;
}

static int take(struct config *config, const uint8_t *data, size_t size, char *reason)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory_file(data, size));
	check(config_init(config, false) == 0);
	config->ram_bytes = 16ull << 30;
	return config_read(config, path, reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[CONFIG_REASON_MAX] = "";
	struct config config, again;
	size_t len, len_again;
	char *text, *text_again;

	if (take(&config, data, size, reason) != 0) {
		check(!strncmp(reason, "/proc/self/fd/", 14));
	} else if (config_finish(&config, reason) != 0) {
		check(*reason);
	} else {
		text = print(&config, &len);
		check(take(&again, (const uint8_t *)text, len, reason) == 0);
		check(config_finish(&again, reason) == 0);
		text_again = print(&again, &len_again);
		check(len == len_again && !memcmp(text, text_again, len));
		free(text);
		free(text_again);
		config_deinit(&again);
	}
	config_deinit(&config);
	return 0;
}
