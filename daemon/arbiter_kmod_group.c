// SPDX-License-Identifier: GPL-2.0-only
/* The kernel module's groups: by subject, by name, one after the other, and what they have. */
#include "daemon/arbiter_kmod.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX_MAX 8 /* "cgroup:" and a zero */
/* A walk begins anew when sessions end under its feet, so often. */
#define WALKS 16

/* One walk. Return: 0; -ESTALE if the group at which the walk stood has ended; -ENOMEM. */
static int walk(const struct kmod *k, struct arbiter_group **groups, size_t *n)
{
	struct vram_ioc_group io = { .flags = VRAM_GROUP_FIRST };
	struct arbiter_group *grown;
	int r;

	while ((r = kmod_ioctl(k, VRAM_IOC_GROUP, &io)) == 0) {
		grown = reallocarray(*groups, *n + 1, sizeof(**groups));
		if (!grown)
			return -ENOMEM;
		*groups = grown;
		grown[(*n)++] = kmod_group(&io.group);
		io = (struct vram_ioc_group){ .flags = VRAM_GROUP_NEXT, .group = io.group };
	}
	return r == -ENOENT ? 0 : r;
}

int kmod_groups(const struct kmod *k, struct arbiter_group **out_groups, size_t *out_n)
{
	struct arbiter_group *groups = NULL;
	unsigned int tries;
	int r = -ESTALE;
	size_t n = 0;

	for (tries = 0; tries < WALKS && r == -ESTALE; tries++) {
		n = 0;
		r = walk(k, &groups, &n);
	}
	if (r < 0) {
		free(groups);
		return r;
	}
	*out_groups = groups;
	*out_n = n;
	return 0;
}

static int group_by_path(const struct kmod *k, uint32_t kind, const char *path,
			 struct arbiter_group *out_group)
{
	struct vram_ioc_group io = {
		.flags = VRAM_GROUP_BY_NAME,
		.group = { .kind = kind },
		.name_size = (uint32_t)strlen(path) + 1,
	};
	char buf[VRAM_NAME_MAX];
	int r;

	if (io.name_size > sizeof(buf))
		return -ENOENT;
	/* The answer is written where the question was. */
	memcpy(buf, path, io.name_size);
	io.name = (uintptr_t)buf;
	r = kmod_ioctl(k, VRAM_IOC_GROUP, &io);
	if (r == 0)
		*out_group = kmod_group(&io.group);
	/* No group has a name that is none. */
	return r == -EINVAL ? -ENOENT : r;
}

int kmod_find(struct arbiter *a, const struct arbiter_subject *s, struct arbiter_group *out_group)
{
	struct vram_ioc_group io = { .group = { .kind = s->kind, .key = s->id } };
	const struct kmod *k = kmod_of(a);
	int r;

	switch (s->kind) {
	case ARBITER_ROOT:
		*out_group = (struct arbiter_group){ .kind = ARBITER_ROOT };
		return 0;
	case ARBITER_USER:
	case ARBITER_SESSION:
		break;
	case ARBITER_CGROUP:
	case ARBITER_EXE:
		return s->path ? group_by_path(k, s->kind, s->path, out_group) : -ENOENT;
	default:
		return -EINVAL;
	}
	r = kmod_ioctl(k, VRAM_IOC_GROUP, &io);
	if (r == 0)
		*out_group = kmod_group(&io.group);
	return r == -EINVAL ? -ENOENT : r;
}

/* "user:1000", "cgroup:/a"; the path is at buf + PREFIX_MAX - 1 in the latter case. */
static const char *name_of(const struct vram_ioc_group *io, char *buf, size_t size)
{
	static const char *const prefixes[] = {
		[VRAM_KIND_CGROUP] = "cgroup:",
		[VRAM_KIND_EXE] = "exe:",
	};
	char *path = buf + PREFIX_MAX - 1, *start;

	switch (io->group.kind) {
	case VRAM_KIND_ROOT:
		snprintf(buf, size, "root");
		return buf;
	case VRAM_KIND_USER:
		snprintf(buf, size, "user:%llu", (unsigned long long)io->group.key);
		return buf;
	case VRAM_KIND_SESSION:
		snprintf(buf, size, "session:%llu", (unsigned long long)io->group.key);
		return buf;
	default:
		start = path - strlen(prefixes[io->group.kind]);
		memcpy(start, prefixes[io->group.kind], (size_t)(path - start));
		return start;
	}
}

int kmod_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf, size_t size)
{
	char text[VRAM_NAME_MAX + PREFIX_MAX];
	struct vram_ioc_group io = {
		.group = kmod_ref(group),
		.name = (uintptr_t)(text + PREFIX_MAX - 1),
		.name_size = VRAM_NAME_MAX,
	};
	const char *name;
	int r;

	r = kmod_ioctl(kmod_of(a), VRAM_IOC_GROUP, &io);
	if (r < 0)
		return r == -EINVAL ? -ENOENT : r;
	name = name_of(&io, text, sizeof(text));
	if (strlen(name) >= size)
		return -EOVERFLOW;
	memcpy(buf, name, strlen(name) + 1);
	return 0;
}

/* The daemon's own descriptors are sessions too: the arbiter's, and one a trigger. */
static bool is_own(const struct vram_ioc_group *io)
{
	return io->group.kind == VRAM_KIND_SESSION &&
	       (io->session_flags & VRAM_INFO_ARBITER || io->pid == getpid());
}

static int show(const struct kmod *k, const struct arbiter_group *group, arbiter_group_fn fn,
		void *ctx)
{
	char text[VRAM_NAME_MAX + PREFIX_MAX];
	struct vram_ioc_group io = {
		.group = kmod_ref(group),
		.name = (uintptr_t)(text + PREFIX_MAX - 1),
		.name_size = VRAM_NAME_MAX,
	};
	struct arbiter_group_info info = { .group = *group, .comm = "" };
	char comm[sizeof(io.comm) + 1] = "";
	int r;

	r = kmod_ioctl(k, VRAM_IOC_GROUP, &io);
	/* It has ended meanwhile. */
	if (r < 0 || is_own(&io))
		return r == -ENOENT ? 0 : r;
	info.parent = kmod_group(&io.parent);
	info.name = name_of(&io, text, sizeof(text));
	info.n_sessions = io.n_sessions;
	if (io.group.kind == VRAM_KIND_SESSION) {
		memcpy(comm, io.comm, sizeof(io.comm));
		info.comm = comm;
		info.pid = io.pid;
	}
	if (io.group.kind == VRAM_KIND_SESSION || io.group.kind == VRAM_KIND_USER)
		info.uid = io.uid;
	return fn(ctx, &info);
}

int kmod_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx)
{
	const struct kmod *k = kmod_of(a);
	struct arbiter_group *groups;
	size_t i, n;
	int r;

	r = kmod_groups(k, &groups, &n);
	if (r < 0)
		return r;
	for (i = 0; i < n && r == 0; i++)
		r = show(k, &groups[i], fn, ctx);
	free(groups);
	return r;
}

int kmod_usage(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, uint32_t tier,
	       struct arbiter_usage *out_usage)
{
	struct vram_ioc_usage io = { .tier = tier, .group = kmod_ref(group) };
	const struct kmod *k = kmod_of(a);
	int r;

	if (dev >= k->n_devices)
		return -ENOENT;
	io.dev = k->device[dev].dev;
	r = kmod_ioctl(k, VRAM_IOC_USAGE, &io);
	if (r < 0)
		return r;
	*out_usage = (struct arbiter_usage){
		.usage = io.usage,
		.own = io.own,
		.peak = io.peak,
		.refused = io.refused,
		.emin = io.emin,
		.elow = io.elow,
		.over_high = io.over_high,
		.over_max = io.over_max,
		.limits.set = io.set,
	};
	memcpy(out_usage->limits.value, io.limit, sizeof(io.limit));
	return 0;
}

int kmod_over(struct arbiter *a, uint32_t dev, uint32_t tier, struct arbiter_over *out,
	      unsigned int n_out)
{
	struct vram_over over[VRAM_MAX_OVER];
	struct vram_ioc_over io = { .tier = tier };
	const struct kmod *k = kmod_of(a);
	unsigned int i;
	int r;

	if (dev >= k->n_devices)
		return -ENOENT;
	n_out = n_out < VRAM_MAX_OVER ? n_out : VRAM_MAX_OVER;
	io.dev = k->device[dev].dev;
	io.n = n_out;
	io.array = n_out ? (uintptr_t)over : 0;
	r = kmod_ioctl(k, VRAM_IOC_OVER, &io);
	if (r < 0)
		return r;
	for (i = 0; i < n_out && i < io.n; i++)
		out[i] = (struct arbiter_over){
			.group = kmod_group(&over[i].group),
			.over_high = over[i].over_high,
			.over_max = over[i].over_max,
		};
	return (int)io.n;
}

int kmod_protection(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
		    uint64_t *out_emin, uint64_t *out_elow)
{
	const struct arbiter_group group = { .kind = ARBITER_SESSION, .key = session };
	struct arbiter_usage usage;
	int r = kmod_usage(a, &group, dev, tier, &usage);

	if (r < 0)
		return r;
	*out_emin = usage.emin;
	*out_elow = usage.elow;
	return 0;
}
