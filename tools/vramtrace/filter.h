/* SPDX-License-Identifier: GPL-2.0-only */
/* Which events are of interest: decided in the kernel. */
#ifndef VRAM_TOOLS_VRAMTRACE_FILTER_H
#define VRAM_TOOLS_VRAMTRACE_FILTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FILTER_CGROUP_MAX 256

struct filter {
	pid_t pid; /* 0: any */
	bool by_dev;
	uint32_t dev;
	bool by_uid;
	uid_t uid;
	char cgroup[FILTER_CGROUP_MAX]; /* the path from the root, "/a/b"; empty: any */
	uint64_t cgroup_id;
	int cgroup_level; /* how deep it is; the root is 0 */
};

/* "/a/b", "a/b" or "/sys/fs/cgroup/a/b". Return: 0, or -errno: there is none, or it is the root. */
int filter_set_cgroup(struct filter *filter, const char *path);
/* A name or a number. Return: 0 or -ENOENT. */
int filter_set_user(struct filter *filter, const char *user);
/* Does a session of this process and user fit? The control group is looked up. */
bool filter_fits(const struct filter *filter, pid_t pid, uid_t uid);
/* Is anything asked for that only a list of sessions tells? */
static inline bool filter_by_session(const struct filter *filter)
{
	return filter->by_uid || *filter->cgroup;
}

#endif
