// SPDX-License-Identifier: GPL-2.0-only
#include "tests/kmod/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kmod/device.h"

static const char *path_of(const char *path, const char *file)
{
	static char buf[8192];

	snprintf(buf, sizeof(buf), CGROUP_ROOT "%s/%s", path, file);
	return buf;
}

static bool has_controller(const char *name)
{
	FILE *f = fopen(path_of("", "cgroup.controllers"), "re");
	char word[64];
	bool found = !name;

	if (!f)
		return false;
	while (!found && fscanf(f, "%63s", word) == 1)
		found = !strcmp(word, name);
	fclose(f);
	return found;
}

bool cgroup_usable(void)
{
	return has_controller(NULL);
}

bool cgroup_has_memory(void)
{
	return has_controller("memory");
}

void cgroup_write(const char *path, const char *file, const char *text)
{
	FILE *f = fopen(path_of(path, file), "we");

	ck_assert_msg(f, "%s/%s: %s", path, file, strerror(errno));
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_msg(fclose(f) == 0, "%s > %s/%s: %s", text, path, file, strerror(errno));
}

void cgroup_make(const char *path)
{
	char parent[4096];

	/* A controller works below a cgroup that passes it on. */
	if (cgroup_has_memory()) {
		snprintf(parent, sizeof(parent), "%s", path);
		*strrchr(parent, '/') = 0;
		cgroup_write(parent, "cgroup.subtree_control", "+memory");
	}
	ck_assert_msg(mkdir(path_of(path, ""), 0755) == 0 || errno == EEXIST, "%s: %s", path,
		      strerror(errno));
}

void cgroup_remove(const char *path)
{
	uint64_t until = now_ns() + 20 * SECOND;

	while (rmdir(path_of(path, "")) && errno == EBUSY && now_ns() < until)
		sleep_ms(10);
	ck_assert_msg(access(path_of(path, ""), F_OK), "%s: cannot be removed", path);
}

void cgroup_enter(const char *path)
{
	cgroup_write(path, "cgroup.procs", "0");
}

uint64_t cgroup_read(const char *path, const char *file, const char *key)
{
	FILE *f = fopen(path_of(path, file), "re");
	unsigned long long value = 0;
	char word[64];

	ck_assert_msg(f, "%s/%s: %s", path, file, strerror(errno));
	if (!key) {
		ck_assert_int_eq(fscanf(f, "%llu", &value), 1);
	} else {
		do
			ck_assert_msg(fscanf(f, "%63s %llu", word, &value) == 2, "%s: no %s", file,
				      key);
		while (strcmp(word, key));
	}
	fclose(f);
	return value;
}
