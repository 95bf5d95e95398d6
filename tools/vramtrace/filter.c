// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the hierarchy of version 2 is mounted; some systems have others beside it. Return: buf, or NULL. */
static const char *cgroup_root(char *buf, size_t size)
{
	char line[1024], type[32], at[256];
	const char *rest;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		rest = strstr(line, " - ");
		found = rest && sscanf(line, "%*d %*d %*s %*s %255s", at) == 1 &&
			sscanf(rest, " - %31s", type) == 1 && !strcmp(type, "cgroup2");
	}
	if (f)
		fclose(f);
	if (!found)
		return NULL;
	snprintf(buf, size, "%s", at);
	return buf;
}

int filter_set_cgroup(struct filter *filter, const char *path)
{
	union {
		struct file_handle handle;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = sizeof(uint64_t) };
	char root[256], full[FILTER_CGROUP_MAX + sizeof(root)];
	size_t root_len, len;
	int mount;

	if (!cgroup_root(root, sizeof(root)))
		return -EOPNOTSUPP;
	root_len = strlen(root);
	if (!strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]))
		path += root_len;
	len = (size_t)snprintf(filter->cgroup, sizeof(filter->cgroup), "%s%s",
			       *path == '/' ? "" : "/", path);
	if (len >= sizeof(filter->cgroup))
		return -ENAMETOOLONG;
	while (len > 1 && filter->cgroup[len - 1] == '/')
		filter->cgroup[--len] = '\0';
	if (len <= 1 || strstr(filter->cgroup, "//") || strstr(filter->cgroup, "/../"))
		return -EINVAL;
	snprintf(full, sizeof(full), "%s%s", root, filter->cgroup);
	/* Of a control group the handle is its number. */
	if (name_to_handle_at(AT_FDCWD, full, &u.handle, &mount, 0) < 0)
		return -errno;
	if (u.handle.handle_bytes != sizeof(filter->cgroup_id))
		return -EINVAL;
	memcpy(&filter->cgroup_id, u.handle.f_handle, sizeof(filter->cgroup_id));
	filter->cgroup_level = 0;
	for (const char *c = filter->cgroup; *c; c++)
		filter->cgroup_level += *c == '/';
	return 0;
}

int filter_set_user(struct filter *filter, const char *user)
{
	const struct passwd *entry = getpwnam(user);
	unsigned long long n;
	char *end;

	if (entry) {
		filter->uid = entry->pw_uid;
	} else {
		errno = 0;
		n = strtoull(user, &end, 10);
		if (errno || *end || end == user || *user == '-' || n >= (uid_t)-1)
			return -ENOENT;
		filter->uid = (uid_t)n;
	}
	filter->by_uid = true;
	return 0;
}

static bool in_cgroup(const char *cgroup, pid_t pid)
{
	char path[64], line[4200];
	size_t len = strlen(cgroup);
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = !strncmp(line, "0::", 3) && !strncmp(line + 3, cgroup, len) &&
			(line[3 + len] == '/' || !line[3 + len]);
	}
	fclose(f);
	return found;
}

bool filter_fits(const struct filter *filter, pid_t pid, uid_t uid)
{
	if (filter->by_uid && filter->uid != uid)
		return false;
	return !*filter->cgroup || in_cgroup(filter->cgroup, pid);
}
