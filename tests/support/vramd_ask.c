// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/vramd_ask.h"

#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

json_t *vramd_ask(const struct vramd *d, const char *args)
{
	char vramctl[PATH_MAX], command[PATH_MAX + 512];
	json_error_t error;
	json_t *answer;
	FILE *f;

	vramd_build_path(vramctl, sizeof(vramctl), "vramctl");
	snprintf(command, sizeof(command), "'%s' --socket '%s' -j %s", vramctl, d->socket, args);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	answer = json_loadf(f, JSON_DECODE_ANY, &error);
	ck_assert_msg(pclose(f) == 0, "vramctl -j %s failed", args);
	ck_assert_msg(answer != NULL, "vramctl -j %s: %s", args, error.text);
	return answer;
}

uint64_t vramd_device(const struct vramd *d, const char *key)
{
	json_t *status = vramd_ask(d, "status");
	json_t *n = json_object_get(json_array_get(json_object_get(status, "devices"), 0), key);
	uint64_t value;

	ck_assert_msg(json_is_integer(n), "no %s in the status", key);
	value = (uint64_t)json_integer_value(n);
	json_decref(status);
	return value;
}

uint64_t vramd_session(const struct vramd *d, const char *name)
{
	json_t *answer = vramd_ask(d, "clients"), *row;
	uint64_t session = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "clients"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
			session = (uint64_t)json_integer_value(json_object_get(row, "id"));
	json_decref(answer);
	ck_assert_msg(session != 0, "no session of %s", name);
	return session;
}

uint64_t vramd_usage(const struct vramd *d, const char *subject, const char *tier)
{
	json_t *answer = vramd_ask(d, "limit show"), *row;
	uint64_t usage = UINT64_MAX;
	size_t i;

	json_array_foreach(json_object_get(answer, "limits"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "subject")), subject) == 0 &&
		    strcmp(json_string_value(json_object_get(row, "tier")), tier) == 0)
			usage = (uint64_t)json_integer_value(json_object_get(row, "usage_bytes"));
	json_decref(answer);
	ck_assert_msg(usage != UINT64_MAX, "no %s of %s", tier, subject);
	return usage;
}

bool vramd_holds_nothing(const struct vramd *d)
{
	static const char *const kept[] = { "resident_bytes", "memory_bytes",	 "inflight_bytes",
					    "waiting",	      "host_used_bytes", "swap_used_bytes" };
	json_t *status = vramd_ask(d, "status"), *limits = vramd_ask(d, "limit show"), *row;
	json_t *device = json_array_get(json_object_get(status, "devices"), 0);
	bool nothing = true;
	size_t i;

	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (json_integer_value(json_object_get(device, kept[i])) != 0)
			nothing = false;
	json_array_foreach(json_object_get(limits, "limits"), i, row)
		if (json_integer_value(json_object_get(row, "usage_bytes")) != 0)
			nothing = false;
	json_decref(status);
	json_decref(limits);
	return nothing;
}

unsigned int vramd_logged(const struct vramd *d, const char *text)
{
	char path[128], line[1024];
	unsigned int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", d->dir);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}
