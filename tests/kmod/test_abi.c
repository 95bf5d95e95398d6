// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every call once as it is meant, with its results read back; and what the file itself does.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/waiter.h"

/* ---- the file ---------------------------------------------------------------- */

START_TEST(test_open_modes)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	uint64_t last = session_of(w.arb);
	size_t i;

	for (i = 0; i < 3; i++) {
		int fd = try_open(modes[i]);

		ck_assert_int_ge(fd, 0);
		/* Ids count up, whatever became of the session before. */
		ck_assert_uint_gt(session_of(fd), last);
		last = session_of(fd);
		close(fd);
	}
}
END_TEST

START_TEST(test_info)
{
	struct vram_ioc_info info;
	int fd = device_open();

	info = info_of(fd);
	ck_assert_uint_eq(info.flags, 0);
	ck_assert_uint_eq(info.version, VRAM_ABI_VERSION);
	ck_assert_uint_eq(info.features, VRAM_FEATURES);
	ck_assert_uint_eq(info.generation, w.generation);
	ck_assert_int_eq(info.pid, getpid());
	ck_assert_uint_eq(info.uid, 0);
	ck_assert_int_eq(info.arbiter_pid, getpid());
	ck_assert_uint_eq(info.arbiter_state, VRAM_ARBITER_ATTACHED);
	ck_assert_uint_ge(info.n_devices, 2);
	ck_assert_uint_eq(info.n_slots, 0);
	ck_assert_uint_gt(info.max_slots, 0);
	ck_assert_uint_le(info.max_slots, VRAM_MAX_SLOTS);
	ck_assert_uint_gt(info.max_waiters, 0);
	ck_assert_str_eq(info.comm, "test_abi");

	ck_assert_uint_eq(info_of(w.arb).flags, VRAM_INFO_ARBITER);
	adopt(w.arb, fd, 0);
	ck_assert_uint_eq(info_of(fd).flags, VRAM_INFO_ADOPTED);
	table_make(fd, 100);
	ck_assert_uint_eq(info_of(fd).n_slots, 100);
	close(fd);

	fd = open_as(UID_A);
	ck_assert_uint_eq(info_of(fd).uid, UID_A);
	ck_assert_int_ne(info_of(fd).pid, getpid());
	close(fd);
}
END_TEST

START_TEST(test_unknown_calls)
{
	char arg[4096] = { 0 };
	int fd = device_open(), nr, k;
	int fds[2] = { fd, w.arb };

	for (k = 0; k < 2; k++) {
		/* Every number that is not one of ours, in all directions. */
		for (nr = 0; nr < 256; nr++) {
			if (nr <= 5 || (nr >= 0x10 && nr <= 0x12) || (nr >= 0x20 && nr <= 0x26))
				continue;
			ck_errno(try_ioctl(fds[k], _IO(VRAM_IOC_MAGIC, nr), arg), ENOTTY);
			ck_errno(try_ioctl(fds[k], _IOC(3, VRAM_IOC_MAGIC, nr, 24), arg), ENOTTY);
		}
		/* A number of ours with another size, direction or magic. */
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_READ, VRAM_IOC_MAGIC, 0, 79), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_READ, VRAM_IOC_MAGIC, 0, 88), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_READ, VRAM_IOC_MAGIC, 0, 0), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_WRITE, VRAM_IOC_MAGIC, 0, 80), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_WRITE, VRAM_IOC_MAGIC, 1, 16), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_READ, VRAM_IOC_MAGIC, 1, 8), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(3, VRAM_IOC_MAGIC, 0x22, 56), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], _IOC(_IOC_READ, 0xC6, 0, 80), arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], 0, arg), ENOTTY);
		ck_errno(try_ioctl(fds[k], ~0ul, arg), ENOTTY);
	}
	close(fd);
}
END_TEST

/* Reading is for the arbiter, writing for nobody, and a session without a trigger has nothing to poll for. */
START_TEST(test_read_write_poll)
{
	struct pollfd p = { .fd = w.arb, .events = POLLIN | POLLPRI };
	struct vram_arbiter_event e[2];
	int fd = device_open();

	ck_assert_int_eq(read(fd, e, sizeof(e)), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(write(fd, e, sizeof(e)), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(write(w.arb, e, sizeof(e)), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	p.fd = fd;
	p.events = POLLIN | POLLPRI;
	ck_assert_int_eq(poll(&p, 1, 0) && p.revents & (POLLIN | POLLPRI), 0);
	/* Less than one event fits: nothing is lost by asking. */
	ck_assert_int_eq(read(w.arb, e, sizeof(e[0]) - 1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(read(w.arb, e, sizeof(e)), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(fd);
}
END_TEST

/* One read takes as many whole events as there is room for, in the order in which the sessions ended. */
START_TEST(test_read_events)
{
	struct vram_arbiter_event e[4];
	struct pollfd p = { .fd = w.arb, .events = POLLIN };
	uint64_t id[3];
	int fd[3], i;

	for (i = 0; i < 3; i++) {
		fd[i] = open_as(UID_A);
		id[i] = adopt(w.arb, fd[i], 0).session;
	}
	for (i = 0; i < 3; i++) {
		close(fd[i]);
		EVENTUALLY(try_group(w.arb, VRAM_KIND_SESSION, id[i],
				     &(struct vram_ioc_group){ 0 }) == -ENOENT);
	}
	ck_assert_int_eq(poll(&p, 1, 20000), 1);
	ck_assert_int_eq(p.revents, POLLIN);
	memset(e, 0xee, sizeof(e));
	ck_assert_int_eq(read(w.arb, e, 2 * sizeof(e[0]) + 17), 2 * sizeof(e[0]));
	ck_assert_uint_eq(e[2].type, 0xeeeeeeee);
	ck_assert_int_eq(read(w.arb, e + 2, 2 * sizeof(e[0])), sizeof(e[0]));
	for (i = 0; i < 3; i++) {
		ck_assert_uint_eq(e[i].type, VRAM_ARBITER_EVENT_GONE);
		ck_assert_uint_eq(e[i].session, id[i]);
		ck_assert_uint_eq(e[i].generation, w.generation);
		ck_assert_uint_eq(e[i].uid, UID_A);
		ck_assert_uint_eq(e[i].bytes[0] | e[i].bytes[1] | e[i].bytes[2], 0);
	}
	ck_errno(try_event(w.arb, e), EAGAIN);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
}
END_TEST

/* Without O_NONBLOCK a read sleeps until something happens. */
START_TEST(test_read_blocks)
{
	struct vram_arbiter_event e;
	uint64_t id;
	pid_t pid;
	int fd = open_as(UID_A);

	id = adopt(w.arb, fd, 0).session;
	pid = fork();
	if (!pid) {
		close(w.arb);
		sleep_ms(300);
		close(fd);
		_exit(0);
	}
	close(fd);
	ck_assert_int_eq(fcntl(w.arb, F_SETFL, 0), 0);
	ck_ok(try_event(w.arb, &e));
	ck_assert_uint_eq(e.session, id);
	ck_assert_int_eq(fcntl(w.arb, F_SETFL, O_NONBLOCK), 0);
}
END_TEST

/* ---- calls -------------------------------------------------------------------- */

START_TEST(test_attach)
{
	struct vram_ioc_attach a = { .grace_ms = 600000 };
	uint64_t before = info_of(w.arb).generation;
	int fd;

	close(w.arb);
	fd = device_open();
	EVENTUALLY(info_of(fd).arbiter_state != VRAM_ARBITER_ATTACHED);
	ck_assert_uint_eq(info_of(fd).arbiter_state, VRAM_ARBITER_GONE);
	ck_assert_int_eq(info_of(fd).arbiter_pid, 0);
	ck_assert_uint_eq(info_of(fd).generation, before);
	ck_ok(try_ioctl(fd, VRAM_IOC_ATTACH, &a));
	ck_assert_uint_eq(a.generation, before + 1);
	ck_assert_uint_eq(a.flags, 0);
	ck_assert_uint_eq(info_of(fd).generation, before + 1);
	ck_assert_uint_eq(info_of(fd).flags, VRAM_INFO_ARBITER);
	close(fd);
	/* This one leaves its waiters ten minutes: the next test must not find that. */
	w.arb = arbiter_new(0);
}
END_TEST

START_TEST(test_device)
{
	uint64_t capacity[VRAM_N_TIERS] = { 5 * MIB, 6 * MIB, 7 * MIB };
	uint32_t n = info_of(w.arb).n_devices;
	struct vram_ioc_usage u;
	uint32_t tier;

	/* By name: the same device with other capacities. */
	ck_assert_uint_eq(device_add(w.arb, "test0", capacity), w.dev[0]);
	ck_assert_uint_eq(info_of(w.arb).n_devices, n);
	for (tier = 0; tier < VRAM_N_TIERS; tier++) {
		ck_ok(try_usage(w.arb, VRAM_KIND_ROOT, 0, w.dev[0], tier, &u));
		ck_assert_uint_eq(u.limit[VRAM_LIMIT_MAX], capacity[tier]);
		ck_ok(try_usage(w.arb, VRAM_KIND_ROOT, 0, w.dev[1], tier, &u));
		ck_assert_uint_eq(u.limit[VRAM_LIMIT_MAX], world_capacity[tier]);
	}
	ck_assert_uint_ne(w.dev[0], w.dev[1]);
	ck_assert_uint_lt(w.dev[0], n);
	ck_assert_uint_lt(w.dev[1], n);
}
END_TEST

START_TEST(test_adopt)
{
	struct vram_ioc_adopt a;
	struct vram_ioc_group g;
	int fd = open_as(UID_A);
	uint32_t i;

	table_make(fd, 65);
	memset(&a, 0, sizeof(a));
	a.fd = fd;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_ADOPT, &a));
	ck_assert_uint_eq(a.session, session_of(fd));
	ck_assert_int_eq(a.pid, info_of(fd).pid);
	ck_assert_uint_eq(a.uid, UID_A);
	ck_assert_uint_eq(a.gid, UID_A);
	ck_assert_uint_eq(a.n_slots, 65);
	ck_assert_uint_eq(a.map_offset % (uint64_t)sysconf(_SC_PAGESIZE), 0);
	ck_assert_uint_ne(a.map_offset, 0);
	ck_assert_str_eq(a.comm, "test_abi");
	/* The user first, the executable last, cgroups in between. */
	ck_assert_uint_ge(a.n_groups, 2);
	ck_assert_uint_le(a.n_groups, VRAM_MAX_CHAIN);
	ck_assert_uint_eq(a.group[0].kind, VRAM_KIND_USER);
	ck_assert_uint_eq(a.group[0].key, UID_A);
	for (i = 1; i + 1 < a.n_groups; i++)
		ck_assert_uint_eq(a.group[i].kind, VRAM_KIND_CGROUP);
	ck_assert_uint_eq(a.group[a.n_groups - 1].kind, VRAM_KIND_EXE);
	for (i = 0; i < VRAM_MAX_CHAIN; i++)
		ck_assert_uint_eq(a.group[i].pad, 0);
	for (i = a.n_groups; i < VRAM_MAX_CHAIN; i++)
		ck_assert_uint_eq(a.group[i].kind | a.group[i].key, 0);
	ck_ok(try_group(w.arb, VRAM_KIND_SESSION, a.session, &g));
	ck_assert_uint_eq(g.session_flags, VRAM_INFO_ADOPTED);
	ck_assert_uint_eq(g.n_slots, 65);
	ck_assert_uint_eq(g.n_sessions, 1);
	ck_assert_uint_eq(g.uid, UID_A);
	ck_assert_int_eq(g.pid, a.pid);
	ck_assert_str_eq(g.comm, "test_abi");
	ck_assert_uint_eq(g.parent.kind, VRAM_KIND_USER);
	ck_assert_uint_eq(g.parent.key, UID_A);
	ck_assert_uint_eq(g.name_bytes, 0);
	ck_ok(try_group(w.arb, VRAM_KIND_USER, UID_A, &g));
	ck_assert_uint_eq(g.n_sessions, 1);
	ck_assert_uint_eq(g.uid, UID_A);
	ck_assert_uint_eq(g.parent.kind, VRAM_KIND_ROOT);
	close(fd);
	event_gone(w.arb, a.session);
	/* A group without sessions, limits and triggers is no more. */
	ck_errno(try_group(w.arb, VRAM_KIND_USER, UID_A, &g), ENOENT);
}
END_TEST

START_TEST(test_groups_in_order)
{
	struct vram_ioc_group g = { .flags = VRAM_GROUP_FIRST };
	int a = client_new(UID_A, 1), b = client_new(UID_B, 1);
	char name[VRAM_NAME_MAX], self[VRAM_NAME_MAX] = "";
	bool seen[5] = { false }, found_exe = false;
	struct vram_ref at = { 0 };

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	for (;;) {
		int ret;

		g.name = (uintptr_t)name;
		g.name_size = sizeof(name);
		ret = try_ioctl(w.arb, VRAM_IOC_GROUP, &g);
		if (ret == -ENOENT)
			break;
		ck_ok(ret);
		ck_assert_uint_le(g.group.kind, VRAM_KIND_SESSION);
		/* The root before all, parents before children. */
		ck_assert(seen[VRAM_KIND_ROOT] || g.group.kind == VRAM_KIND_ROOT);
		ck_assert(seen[VRAM_KIND_USER] || g.group.kind != VRAM_KIND_SESSION);
		seen[g.group.kind] = true;
		if (g.group.kind == VRAM_KIND_EXE || g.group.kind == VRAM_KIND_CGROUP) {
			ck_assert_uint_eq(g.name_bytes, strlen(name) + 1);
			ck_assert_int_eq(name[0], '/');
		} else {
			ck_assert_uint_eq(g.name_bytes, 0);
		}
		if (g.group.kind == VRAM_KIND_EXE && !strcmp(name, self)) {
			found_exe = true;
			ck_assert_uint_eq(g.n_sessions, 3);
			ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_EXE, self), g.group.key);
		}
		at = g.group;
		memset(&g, 0, sizeof(g));
		g.flags = VRAM_GROUP_NEXT;
		g.group = at;
	}
	ck_assert(seen[VRAM_KIND_ROOT] && seen[VRAM_KIND_USER] && seen[VRAM_KIND_SESSION]);
	ck_assert(found_exe);
	close(a);
	close(b);
}
END_TEST

/* A buffer that is too small loses the name, and how long it is stays known. */
START_TEST(test_group_name_size)
{
	struct vram_ioc_group g = { .group = { .kind = VRAM_KIND_EXE } };
	char name[VRAM_NAME_MAX], self[VRAM_NAME_MAX] = "";
	uint64_t key;

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	key = group_key(w.arb, VRAM_KIND_EXE, self);
	ck_assert_uint_ne(key, 0);
	g.group.key = key;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_GROUP, &g));
	ck_assert_uint_eq(g.name_bytes, strlen(self) + 1);
	memset(name, 'x', sizeof(name));
	g = (struct vram_ioc_group){
		.group = { .kind = VRAM_KIND_EXE, .key = key },
		.name = (uintptr_t)name,
		.name_size = (uint32_t)strlen(self) + 1,
	};
	ck_ok(try_ioctl(w.arb, VRAM_IOC_GROUP, &g));
	ck_assert_str_eq(name, self);
	ck_assert_int_eq(name[strlen(self) + 1], 'x');
}
END_TEST

START_TEST(test_limits)
{
	static const uint64_t fresh[VRAM_N_LIMITS] = { 0, 0, VRAM_UNLIMITED, VRAM_UNLIMITED, 100 };
	int fd = client_new(UID_A, 1), admin = device_open();
	struct vram_ioc_usage u;
	uint32_t k, tier;

	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_int_eq(memcmp(u.limit, fresh, sizeof(fresh)), 0);
	ck_assert_uint_eq(u.set, 0);
	for (k = 0; k < VRAM_N_LIMITS; k++)
		ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, k, 1000 + k));
	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.set, 0x1f);
	for (k = 0; k < VRAM_N_LIMITS; k++)
		ck_assert_uint_eq(u.limit[k], 1000 + k);
	/* That tier of that device alone. */
	for (tier = 0; tier < VRAM_N_TIERS; tier++) {
		ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[1], tier, &u));
		ck_assert_uint_eq(u.set, 0);
		ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], tier, &u));
		ck_assert_uint_eq(u.set, tier ? 0 : 0x1f);
	}
	for (k = 0; k < VRAM_N_LIMITS; k++) {
		struct vram_ioc_limit l = {
			.flags = VRAM_LIMIT_CLEAR,
			.dev = w.dev[0],
			.limit = k,
			.group = { .kind = VRAM_KIND_USER, .key = UID_A },
		};

		ck_ok(try_ioctl(admin, VRAM_IOC_LIMIT, &l));
		/* Set, but by inheritance. */
		l.flags = VRAM_LIMIT_INHERITED;
		l.value = 77;
		ck_ok(try_ioctl(admin, VRAM_IOC_LIMIT, &l));
		ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
		ck_assert_uint_eq(u.set, 0x1f & (0x1eu << k));
		ck_assert_uint_eq(u.limit[k], 77);
		l.flags = VRAM_LIMIT_CLEAR;
		l.value = 0;
		ck_ok(try_ioctl(admin, VRAM_IOC_LIMIT, &l));
	}
	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_int_eq(memcmp(u.limit, fresh, sizeof(fresh)), 0);
	close(admin);
	close(fd);
}
END_TEST

/* The arbiter hears of limits that somebody else has set: once, however many there were. */
START_TEST(test_limits_event)
{
	struct vram_arbiter_event e;
	int admin = device_open();

	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, GIB));
	ck_errno(try_event(w.arb, &e), EAGAIN);
	ck_ok(try_limit(admin, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, 2 * GIB));
	ck_ok(try_limit(admin, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, 3 * GIB));
	ck_ok(event_within(w.arb, 20000, &e));
	ck_assert_uint_eq(e.type, VRAM_ARBITER_EVENT_LIMITS);
	ck_assert_uint_eq(e.session | e.bytes[0] | e.bytes[1] | e.bytes[2] | e.uid, 0);
	ck_errno(try_event(w.arb, &e), EAGAIN);
	ck_ok(try_limit(admin, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, GIB));
	ck_ok(event_within(w.arb, 20000, &e));
	ck_assert_uint_eq(e.type, VRAM_ARBITER_EVENT_LIMITS);
	close(admin);
}
END_TEST

/* A user, cgroup or executable that nobody uses yet can have limits, and is there while it has. */
START_TEST(test_limits_make_groups)
{
	const char *path[2] = { "/no/such/slice/at.all", "/no/such/program" };
	const uint32_t kind[2] = { VRAM_KIND_CGROUP, VRAM_KIND_EXE };
	struct vram_ioc_group g;
	uint64_t key;
	int i;

	ck_errno(try_group(w.arb, VRAM_KIND_USER, UID_B, &g), ENOENT);
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_B, VRAM_LIMIT_LOW, GIB));
	ck_ok(try_group(w.arb, VRAM_KIND_USER, UID_B, &g));
	ck_assert_uint_eq(g.n_sessions, 0);
	for (i = 0; i < 2; i++) {
		struct vram_ioc_limit l = {
			.dev = w.dev[0],
			.limit = VRAM_LIMIT_MAX,
			.group = { .kind = kind[i] },
			.value = GIB,
			.name = (uintptr_t)path[i],
			.name_bytes = (uint32_t)strlen(path[i]) + 1,
		};

		ck_ok(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l));
		key = group_key(w.arb, kind[i], path[i]);
		ck_assert_uint_ne(key, 0);
		ck_assert_uint_eq(group_key(w.arb, kind[1 - i], path[i]), 0);
		ck_ok(try_limit(w.arb, kind[i], key, VRAM_LIMIT_HIGH, 5));
		l.flags = VRAM_LIMIT_CLEAR;
		l.value = 0;
		ck_ok(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l));
		ck_assert_uint_eq(group_key(w.arb, kind[i], path[i]), key);
		l.limit = VRAM_LIMIT_HIGH;
		ck_ok(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l));
		ck_assert_uint_eq(group_key(w.arb, kind[i], path[i]), 0);
		ck_errno(try_limit(w.arb, kind[i], key, VRAM_LIMIT_HIGH, 5), ENOENT);
	}
	/* The cgroups above it were made for it, and went with it. */
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, "/no/such/slice"), 0);
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, "/no"), 0);
}
END_TEST

START_TEST(test_charge_ops)
{
	int a = client_new(UID_A, 1), b = client_new(UID_B, 1);
	struct vram_ioc_charge c = { .share = VRAM_NO_SHARE, .dev = w.dev[0] };
	uint64_t ida = session_of(a), idb = session_of(b);
	struct vram_ioc_usage u;

	c.session = ida;
	c.bytes = 10 * MIB;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_assert_uint_eq(c.limit_kind | c.limit_key, 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 10 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_USER, UID_A), 10 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 10 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, idb), 0);

	c.op = VRAM_TRANSFER;
	c.to = VRAM_TIER_HOST;
	c.bytes = 4 * MIB;
	c.flags = VRAM_CHARGE_EVICT;
	c.other = idb;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 6 * MIB);
	ck_ok(try_usage(w.arb, VRAM_KIND_SESSION, ida, w.dev[0], VRAM_TIER_HOST, &u));
	ck_assert_uint_eq(u.usage, 4 * MIB);
	ck_assert_uint_eq(u.own, 4 * MIB);
	c.from = VRAM_TIER_HOST;
	c.to = VRAM_TIER_VRAM;
	c.other = 0;
	c.flags = VRAM_CHARGE_RESTORE;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 10 * MIB);

	c.op = VRAM_GIVE;
	c.flags = 0;
	c.from = c.to = 0;
	c.other = idb;
	c.bytes = 3 * MIB;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 7 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, idb), 3 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 10 * MIB);

	c.op = VRAM_UNCHARGE;
	c.other = 0;
	c.bytes = 7 * MIB;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 0);
	ck_ok(try_usage(w.arb, VRAM_KIND_SESSION, ida, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.peak, 10 * MIB);
	close(a);
	close(b);
	ck_assert_uint_eq(event_gone(w.arb, ida).bytes[0], 0);
	ck_assert_uint_eq(event_gone(w.arb, idb).bytes[0], 3 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 0);
}
END_TEST

/* Who refuses is named, the nearest first, and only then something is written. */
START_TEST(test_charge_refused)
{
	int a = client_new(UID_A, 1);
	struct vram_ioc_charge c = {
		.share = VRAM_NO_SHARE,
		.dev = w.dev[0],
		.session = session_of(a),
		.bytes = world_capacity[0] + 1,
	};
	struct vram_ioc_usage u;

	ck_errno(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c), ENOSPC);
	ck_assert_uint_eq(c.limit_kind, VRAM_KIND_ROOT);
	ck_assert_uint_eq(c.limit_key, 0);
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, MIB));
	c.bytes = MIB + 1;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c), EDQUOT);
	ck_assert_uint_eq(c.limit_kind, VRAM_KIND_USER);
	ck_assert_uint_eq(c.limit_key, UID_A);
	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.refused, 1);
	ck_assert_uint_eq(u.usage, 0);
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, c.session, VRAM_LIMIT_MAX, KIB));
	c.limit_kind = c.limit_key = 0;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c), EDQUOT);
	ck_assert_uint_eq(c.limit_kind, VRAM_KIND_SESSION);
	ck_assert_uint_eq(c.limit_key, c.session);
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, c.session, VRAM_LIMIT_MAX, VRAM_UNLIMITED));
	/* Exactly max passes; then max falls below use, which stays, and nothing more goes in. */
	c.bytes = MIB;
	c.limit_kind = c.limit_key = 0;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, KIB));
	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.usage, MIB);
	ck_assert_uint_eq(u.over_max, MIB - KIB);
	c.bytes = 1;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c), EDQUOT);
	ck_ok(try_uncharge(w.arb, c.session, MIB));
	close(a);
}
END_TEST

START_TEST(test_share_ops)
{
	int a = client_new(UID_A, 1), b = client_new(UID_B, 1);
	uint64_t ida = session_of(a), idb = session_of(b);
	uint32_t s = share_new(w.arb, w.dev[0]), s2 = share_new(w.arb, w.dev[1]);
	struct vram_ioc_share q = { .op = VRAM_SHARE_READ, .share = s2 };

	ck_assert_uint_ne(s, s2);
	ck_ok(try_share_charge(w.arb, s, 11));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 11);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, s, ida));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 11);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, s, idb));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 6);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, idb), 5);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 11);
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &q));
	ck_assert_uint_eq(q.dev, w.dev[1]);
	ck_assert_uint_eq(q.n_members, 0);
	q = (struct vram_ioc_share){ .op = VRAM_SHARE_NEXT };
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &q));
	ck_assert_uint_eq(q.share, s < s2 ? s : s2);
	q = (struct vram_ioc_share){ .op = VRAM_SHARE_NEXT, .share = s };
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &q));
	ck_assert_uint_eq(q.share, s);
	ck_assert_uint_eq(q.dev, w.dev[0]);
	ck_assert_uint_eq(q.n_members, 2);
	ck_assert_uint_eq(q.bytes[0], 11);
	ck_assert_uint_eq(q.bytes[1] | q.bytes[2], 0);
	q = (struct vram_ioc_share){ .op = VRAM_SHARE_NEXT, .share = (s > s2 ? s : s2) + 1 };
	ck_errno(try_ioctl(w.arb, VRAM_IOC_SHARE, &q), ENOENT);
	ck_errno(try_share(w.arb, VRAM_SHARE_FREE, s, 0), EBUSY);
	ck_ok(try_share(w.arb, VRAM_SHARE_LEAVE, s, ida));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, idb), 11);
	/* A member that ends leaves; what nobody shares any more counts in the root. */
	close(b);
	ck_assert_uint_eq(event_gone(w.arb, idb).bytes[0], 11);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 11);
	ck_errno(try_share(w.arb, VRAM_SHARE_FREE, s, 0), EBUSY);
	/* Joining may be refused, or forced. */
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, ida, VRAM_LIMIT_MAX, 10));
	q = (struct vram_ioc_share){ .op = VRAM_SHARE_JOIN, .share = s, .session = ida };
	ck_errno(try_ioctl(w.arb, VRAM_IOC_SHARE, &q), EDQUOT);
	ck_assert_uint_eq(q.limit_kind, VRAM_KIND_SESSION);
	ck_assert_uint_eq(q.limit_key, ida);
	q = (struct vram_ioc_share){
		.flags = VRAM_SHARE_FORCE, .op = VRAM_SHARE_JOIN, .share = s, .session = ida
	};
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &q));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 11);
	close(a);
	event_gone(w.arb, ida);
	ck_ok(try_share(w.arb, VRAM_SHARE_FREE, s2, 0));
	ck_assert_uint_eq(share_new(w.arb, w.dev[1]), s2);
}
END_TEST

START_TEST(test_over)
{
	int a = client_new(UID_A, 1);
	struct vram_over over[4];
	struct vram_ioc_over o = { .dev = w.dev[0], .n = 4, .array = (uintptr_t)over };
	uint64_t id = session_of(a);

	memset(over, 0xee, sizeof(over));
	ck_ok(try_ioctl(w.arb, VRAM_IOC_OVER, &o));
	ck_assert_uint_eq(o.n, 0);
	ck_assert_uint_eq(over[0].over_max, 0xeeeeeeeeeeeeeeee);
	charge(w.arb, id, MIB);
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, id, VRAM_LIMIT_HIGH, KIB));
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, 2 * KIB));
	o.n = 4;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_OVER, &o));
	ck_assert_uint_eq(o.n, 2);
	ck_assert_uint_eq(over[0].group.kind, VRAM_KIND_USER);
	ck_assert_uint_eq(over[0].group.key, UID_A);
	ck_assert_uint_eq(over[0].over_max, MIB - 2 * KIB);
	ck_assert_uint_eq(over[0].over_high, 0);
	ck_assert_uint_eq(over[1].group.kind, VRAM_KIND_SESSION);
	ck_assert_uint_eq(over[1].group.key, id);
	ck_assert_uint_eq(over[1].over_high, MIB - KIB);
	ck_assert_uint_eq(over[2].over_max, 0xeeeeeeeeeeeeeeee);
	/* Room for one: the first, and how many there are. */
	memset(over, 0xee, sizeof(over));
	o.n = 1;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_OVER, &o));
	ck_assert_uint_eq(o.n, 2);
	ck_assert_uint_eq(over[0].group.key, UID_A);
	ck_assert_uint_eq(over[1].over_max, 0xeeeeeeeeeeeeeeee);
	o.n = 0;
	o.array = 0;
	ck_ok(try_ioctl(w.arb, VRAM_IOC_OVER, &o));
	ck_assert_uint_eq(o.n, 2);
	close(a);
}
END_TEST

START_TEST(test_state_and_pressure)
{
	int a = client_new(UID_A, 1);
	struct vram_ioc_pressure p;
	uint64_t id = session_of(a), total;

	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_RUN));
	ck_ok(try_pressure(a, 0, 0, VRAM_KIND_SESSION, id, &p));
	total = p.total_us[0];
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_STALL));
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_STALL));
	sleep_ms(50);
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL));
	sleep_ms(50);
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL));
	ck_errno(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL), EINVAL);
	ck_ok(try_pressure(a, 0, 0, VRAM_KIND_SESSION, id, &p));
	ck_assert_uint_ge(p.total_us[0] - total, 100000);
	/* Nobody else was running, so all of it was full. */
	ck_assert_uint_ge(p.total_us[1], 100000);
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_IDLE));
	ck_ok(try_pressure(a, VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &p));
	ck_assert_uint_ge(p.total_us[0], 100000);
	close(a);
}
END_TEST

/* The rest of the calls have files of their own: here only that they are there. */
START_TEST(test_wait_wake_trigger)
{
	int a = client_new(UID_A, 4);
	struct vram_ioc_trigger t = {
		.flags = VRAM_PRESSURE_DEVICE,
		.dev = w.dev[0],
		.threshold_us = 100000,
		.window_us = 1000000,
	};
	struct waiter x;

	waiter_on(&x, a, 3);
	waiter_asleep(&x);
	ck_ok(try_wake(w.arb, session_of(a), 3));
	ck_assert_int_eq(waiter_result(&x), 0);
	ck_ok(try_ioctl(a, VRAM_IOC_TRIGGER, &t));
	ck_errno(try_ioctl(a, VRAM_IOC_TRIGGER, &t), EBUSY);
	close(a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi");
	TCase *tc = world_case(suite, "file");

	tcase_add_test(tc, test_open_modes);
	tcase_add_test(tc, test_info);
	tcase_add_test(tc, test_unknown_calls);
	tcase_add_test(tc, test_read_write_poll);
	tcase_add_test(tc, test_read_events);
	tcase_add_test(tc, test_read_blocks);
	tc = world_case(suite, "calls");
	tcase_add_test(tc, test_attach);
	tcase_add_test(tc, test_device);
	tcase_add_test(tc, test_adopt);
	tcase_add_test(tc, test_groups_in_order);
	tcase_add_test(tc, test_group_name_size);
	tcase_add_test(tc, test_limits);
	tcase_add_test(tc, test_limits_event);
	tcase_add_test(tc, test_limits_make_groups);
	tcase_add_test(tc, test_charge_ops);
	tcase_add_test(tc, test_charge_refused);
	tcase_add_test(tc, test_share_ops);
	tcase_add_test(tc, test_over);
	tcase_add_test(tc, test_state_and_pressure);
	tcase_add_test(tc, test_wait_wake_trigger);
	return device_main(suite);
}
