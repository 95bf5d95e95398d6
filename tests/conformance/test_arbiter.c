// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter as the daemon sees it: over the ledger in this process, and with VRAM_ARBITER=kmod over the
 * kernel module. Some tests are for one of the two only: the module takes its own time, and knows its peers
 * by itself.
 *
 * links: tests/support/arbiter_carrier.c tests/kmod/passing.c daemon/arbiter_kmod.c
 * links: daemon/arbiter_kmod_charge.c daemon/arbiter_kmod_group.c daemon/arbiter_kmod_limit.c
 * links: daemon/arbiter_kmod_pressure.c
 * links: daemon/arbiter_local.c daemon/arbiter_local_group.c daemon/arbiter_local_limit.c
 * links: daemon/limit_table.c daemon/arbiter_local_pressure.c daemon/arbiter_local_trace.c daemon/trace.c daemon/limits.c common/size.c
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 * links: kmod/group.c kmod/stall.c kmod/pressure.c
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/arbiter.h"
#include "kmod/compat.h"
#include "tests/support/arbiter_carrier.h"

#define G   (1ull << 30)
#define SEC 1000000000ull

static struct arbiter *a;
static uint64_t s1, s2, s3;
static const uint64_t capacity[ARBITER_N_TIERS] = { 24 * G, 64 * G, 1024 * G };

/* How many allocations of the ledger succeed before one fails; negative: all do. */
static int budget = -1;

bool vram_alloc_fails(size_t n_bytes)
{
	(void)n_bytes;
	if (budget < 0)
		return false;
	return budget-- == 0;
}

static uint64_t open_session(uid_t uid, const char *cgroup, const char *exe)
{
	return carrier_open(a, uid, cgroup, exe);
}

static void setup(void)
{
	uint32_t dev;

	a = carrier_arbiter();
	ck_assert_int_eq(arbiter_device_add(a, "device", capacity, 0, &dev), 0);
	ck_assert_uint_eq(dev, 0);
	s1 = open_session(1000, "/work.slice/chat.scope", "/usr/bin/llama-server");
	s2 = open_session(1000, "/work.slice", "/usr/bin/llama-server");
	s3 = open_session(1001, NULL, NULL);
}

static void teardown(void)
{
	a = arbiter_free(a);
	ck_assert_ptr_null(a);
}

static struct arbiter_subject user(uint64_t uid)
{
	return (struct arbiter_subject){ .kind = ARBITER_USER, .id = uid };
}

static struct arbiter_subject session(uint64_t id)
{
	return (struct arbiter_subject){ .kind = ARBITER_SESSION, .id = id };
}

static struct arbiter_subject path(uint32_t kind, const char *name)
{
	return (struct arbiter_subject){ .kind = kind, .path = name };
}

static const struct arbiter_subject dflt = { .kind = ARBITER_DEFAULT };
static const struct arbiter_subject root = { .kind = ARBITER_ROOT };

static struct arbiter_usage usage(struct arbiter_subject s, uint32_t dev, uint32_t tier)
{
	struct arbiter_group group;
	struct arbiter_usage u;

	ck_assert_int_eq(arbiter_find(a, &s, &group), 0);
	ck_assert_int_eq(arbiter_usage(a, &group, dev, tier, &u), 0);
	return u;
}

static uint64_t used(struct arbiter_subject s)
{
	return usage(s, 0, ARBITER_VRAM).usage;
}

static void set(struct arbiter_subject s, uint32_t dev, uint32_t key, uint64_t value)
{
	ck_assert_int_eq(arbiter_limit_set(a, &s, dev, ARBITER_VRAM, key, value), 0);
}

static void clear(struct arbiter_subject s, uint32_t dev, uint32_t key)
{
	ck_assert_int_eq(arbiter_limit_clear(a, &s, dev, ARBITER_VRAM, key), 0);
}

static uint64_t limit(struct arbiter_subject s, uint32_t dev, uint32_t key)
{
	struct arbiter_limits lim;

	ck_assert_int_eq(arbiter_limit_get(a, &s, dev, ARBITER_VRAM, &lim), 0);
	return lim.value[key];
}

static bool exists(struct arbiter_subject s)
{
	struct arbiter_group group;
	int r = arbiter_find(a, &s, &group);

	ck_assert(r == 0 || r == -ENOENT);
	return !r;
}

START_TEST(test_groups_come_and_go)
{
	/* Over the module the arbiter is the first. */
	ck_assert_uint_eq(s1, carrier_is_kmod() ? 2 : 1);
	ck_assert_uint_eq(s3, s1 + 2);
	ck_assert(exists(user(1000)));
	ck_assert(exists(path(ARBITER_CGROUP, "/work.slice")));
	ck_assert(exists(path(ARBITER_CGROUP, "/work.slice/chat.scope")));
	ck_assert(!exists(path(ARBITER_CGROUP, "/work.slice/chat")));
	ck_assert(!exists(path(ARBITER_EXE, "/work.slice")));
	ck_assert(exists(path(ARBITER_EXE, "/usr/bin/llama-server")));
	carrier_close(a, s1, 0);
	ck_assert(!exists(session(s1)));
	ck_assert(!exists(path(ARBITER_CGROUP, "/work.slice/chat.scope")));
	ck_assert(exists(path(ARBITER_CGROUP, "/work.slice")));
	carrier_close(a, s2, 0);
	ck_assert(!exists(user(1000)));
	ck_assert(!exists(path(ARBITER_CGROUP, "/work.slice")));
	ck_assert(!exists(path(ARBITER_EXE, "/usr/bin/llama-server")));
	ck_assert(exists(user(1001)));
	ck_assert_int_eq(arbiter_session_close(a, s2, 0), -ENOENT);
	ck_assert_uint_eq(open_session(0, "/", NULL), s3 + 1);
}
END_TEST

START_TEST(test_limits_keep_a_group)
{
	struct arbiter_subject cg = path(ARBITER_CGROUP, "/a/b/c");

	set(cg, 0, ARBITER_MAX, G);
	ck_assert(exists(cg));
	ck_assert(exists(path(ARBITER_CGROUP, "/a")));
	clear(path(ARBITER_CGROUP, "/a"), 0, ARBITER_MAX);
	ck_assert(exists(cg));
	clear(cg, ARBITER_ALL_DEVICES, ARBITER_MAX);
	ck_assert(!exists(cg));
	ck_assert(!exists(path(ARBITER_CGROUP, "/a")));
	/* A limit set before the first session holds for it. */
	set(user(7), ARBITER_ALL_DEVICES, ARBITER_MAX, G);
	s1 = open_session(7, "/a", NULL);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 2 * G, NULL), -EDQUOT);
	carrier_close(a, s1, 0);
	ck_assert(exists(user(7)));
}
END_TEST

START_TEST(test_refusal_names_the_group)
{
	char name[64] = "?", small[6];
	struct arbiter_group group;

	set(path(ARBITER_CGROUP, "/work.slice"), ARBITER_ALL_DEVICES, ARBITER_MAX, 3 * G);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 2 * G, &group), 0);
	ck_assert_int_eq(arbiter_charge(a, s2, 0, ARBITER_VRAM, 2 * G, &group), -EDQUOT);
	ck_assert_int_eq(arbiter_group_name(a, &group, name, sizeof(name)), 0);
	ck_assert_str_eq(name, "cgroup:/work.slice");
	ck_assert_int_eq(arbiter_is_member(a, s1, &group), 1);
	ck_assert_int_eq(arbiter_is_member(a, s3, &group), 0);
	ck_assert_int_eq(arbiter_is_member(a, 99, &group), -ENOENT);
	ck_assert_int_eq(arbiter_charge(a, s3, 0, ARBITER_VRAM, 23 * G, &group), -ENOSPC);
	ck_assert_int_eq(arbiter_group_name(a, &group, name, sizeof(name)), 0);
	ck_assert_str_eq(name, "root");
	ck_assert_int_eq(arbiter_is_member(a, s3, &group), 1);
	ck_assert_int_eq(
		arbiter_find(a, &(struct arbiter_subject){ ARBITER_USER, 1000, NULL }, &group), 0);
	ck_assert_int_eq(arbiter_group_name(a, &group, small, sizeof(small)), -EOVERFLOW);
	ck_assert_int_eq(arbiter_group_name(a, &group, name, sizeof(name)), 0);
	ck_assert_str_eq(name, "user:1000");
	group.key = 4711;
	ck_assert_int_eq(arbiter_group_name(a, &group, name, sizeof(name)), -ENOENT);
	ck_assert_uint_eq(used(root), 2 * G);
}
END_TEST

START_TEST(test_shares)
{
	struct arbiter_share_info info;
	struct arbiter_group group;
	uint32_t share, other;

	ck_assert_int_eq(arbiter_share_new(a, 0, &share), 0);
	ck_assert_int_eq(arbiter_share_join(a, share, s1, false, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_VRAM, 9, NULL), 0);
	ck_assert_int_eq(arbiter_share_join(a, share, s3, false, NULL), 0);
	ck_assert_int_eq(arbiter_share_join(a, share, s3, false, NULL), -EEXIST);
	ck_assert_uint_eq(used(session(s1)), 5);
	ck_assert_uint_eq(used(session(s3)), 4);
	ck_assert_int_eq(arbiter_share_transfer(a, share, ARBITER_VRAM, ARBITER_DISK, 9, &group),
			 0);
	ck_assert_int_eq(arbiter_share_read(a, share, &info), 0);
	ck_assert_uint_eq(info.dev, 0);
	ck_assert_uint_eq(info.n_members, 2);
	ck_assert_uint_eq(info.bytes[ARBITER_VRAM], 0);
	ck_assert_uint_eq(info.bytes[ARBITER_DISK], 9);
	set(user(1001), 0, ARBITER_MAX, 1);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_VRAM, 4, &group), -EDQUOT);
	ck_assert_uint_eq(group.kind, ARBITER_USER);
	ck_assert_uint_eq(group.key, 1001);
	ck_assert_int_eq(arbiter_share_leave(a, share, s3), 0);
	ck_assert_int_eq(arbiter_share_leave(a, share, s3), -ENOENT);
	ck_assert_int_eq(arbiter_share_free(a, share), -EBUSY);
	carrier_close(a, s1, 0);
	ck_assert_int_eq(arbiter_share_uncharge(a, share, ARBITER_DISK, 10), -EINVAL);
	ck_assert_int_eq(arbiter_share_uncharge(a, share, ARBITER_DISK, 9), 0);
	ck_assert_int_eq(arbiter_share_free(a, share), 0);
	ck_assert_int_eq(arbiter_share_read(a, share, &info), -ENOENT);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_VRAM, 1, &group), -ENOENT);
	ck_assert_int_eq(arbiter_share_new(a, 5, &other), -ENOENT);
	ck_assert_uint_eq(usage(root, 0, ARBITER_DISK).usage, 0);
}
END_TEST

START_TEST(test_own_bytes)
{
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 5, NULL), 0);
	ck_assert_int_eq(arbiter_transfer(a, s1, 0, ARBITER_VRAM, ARBITER_HOST, 2, NULL), 0);
	ck_assert_int_eq(arbiter_give(a, s1, s3, 0, ARBITER_VRAM, 1, NULL), 0);
	ck_assert_int_eq(arbiter_give(a, s1, 77, 0, ARBITER_VRAM, 1, NULL), -ENOENT);
	ck_assert_int_eq(arbiter_uncharge(a, s1, 0, ARBITER_VRAM, 3), -EINVAL);
	ck_assert_uint_eq(used(session(s1)), 2);
	ck_assert_uint_eq(usage(session(s1), 0, ARBITER_VRAM).own, 2);
	ck_assert_uint_eq(usage(session(s1), 0, ARBITER_VRAM).peak, 5);
	ck_assert_uint_eq(usage(user(1000), 0, ARBITER_HOST).usage, 2);
	ck_assert_uint_eq(used(user(1001)), 1);
	ck_assert_int_eq(arbiter_charge(a, 77, 0, ARBITER_VRAM, 5, NULL), -ENOENT);
	ck_assert_int_eq(arbiter_charge(a, s1, 1, ARBITER_VRAM, 5, NULL), -ENOENT);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, 3, 5, NULL), -EINVAL);
	ck_assert_int_eq(arbiter_uncharge(a, s1, 0, ARBITER_VRAM, 2), 0);
}
END_TEST

START_TEST(test_defaults_are_for_users_without_their_own)
{
	struct arbiter_limits lim;
	struct arbiter_subject u = user(1000);

	set(dflt, ARBITER_ALL_DEVICES, ARBITER_MAX, 4 * G);
	set(dflt, ARBITER_ALL_DEVICES, ARBITER_WEIGHT, 50);
	ck_assert_uint_eq(limit(user(1000), 0, ARBITER_MAX), 4 * G);
	ck_assert_uint_eq(limit(user(5555), 0, ARBITER_MAX), 4 * G);
	ck_assert_uint_eq(limit(session(s1), 0, ARBITER_MAX), ARBITER_UNLIMITED);
	ck_assert_uint_eq(limit(path(ARBITER_EXE, "/bin/x"), 0, ARBITER_MAX), ARBITER_UNLIMITED);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 5 * G, NULL), -EDQUOT);
	set(user(1000), 0, ARBITER_MAX, 6 * G);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 5 * G, NULL), 0);
	ck_assert_int_eq(arbiter_limit_get(a, &u, 0, ARBITER_VRAM, &lim), 0);
	ck_assert_uint_eq(lim.set, 1u << ARBITER_MAX);
	ck_assert_uint_eq(lim.value[ARBITER_WEIGHT], 50);
	ck_assert_uint_eq(usage(u, 0, ARBITER_VRAM).limits.set, 1u << ARBITER_MAX);
	ck_assert_uint_eq(usage(u, 0, ARBITER_VRAM).limits.value[ARBITER_WEIGHT], 50);
	/* A user that comes later has it too, and one whose own is taken back. */
	ck_assert_int_eq(arbiter_charge(a, open_session(2000, NULL, NULL), 0, ARBITER_VRAM, 5 * G,
					NULL),
			 -EDQUOT);
	clear(user(1000), 0, ARBITER_MAX);
	ck_assert_uint_eq(usage(u, 0, ARBITER_VRAM).over_max, G);
	clear(dflt, ARBITER_ALL_DEVICES, ARBITER_MAX);
	ck_assert_uint_eq(usage(u, 0, ARBITER_VRAM).over_max, 0);
	ck_assert_uint_eq(limit(user(1000), 0, ARBITER_MAX), ARBITER_UNLIMITED);
}
END_TEST

START_TEST(test_limits_by_device)
{
	const uint64_t second[ARBITER_N_TIERS] = { 8 * G, ARBITER_CAPACITY_SHARED, G };
	struct arbiter_subject u = user(1000);
	uint32_t dev;

	set(u, ARBITER_ALL_DEVICES, ARBITER_MAX, 2 * G);
	/* Also on a device that comes later. */
	ck_assert_int_eq(arbiter_device_add(a, "second", second, 0, &dev), 0);
	ck_assert_uint_eq(dev, 1);
	ck_assert_uint_eq(usage(u, 1, ARBITER_VRAM).limits.value[ARBITER_MAX], 2 * G);
	set(u, 1, ARBITER_MAX, G);
	ck_assert_uint_eq(limit(u, 0, ARBITER_MAX), 2 * G);
	ck_assert_uint_eq(limit(u, 1, ARBITER_MAX), G);
	ck_assert_uint_eq(usage(u, 1, ARBITER_VRAM).limits.value[ARBITER_MAX], G);
	clear(u, 1, ARBITER_MAX);
	ck_assert_uint_eq(limit(u, 1, ARBITER_MAX), 2 * G);
	/* The one that is set last counts. */
	set(u, 1, ARBITER_MAX, G);
	set(u, ARBITER_ALL_DEVICES, ARBITER_MAX, 3 * G);
	ck_assert_uint_eq(limit(u, 1, ARBITER_MAX), 3 * G);
	ck_assert_uint_eq(usage(u, 1, ARBITER_VRAM).limits.value[ARBITER_MAX], 3 * G);
	ck_assert_int_eq(arbiter_limit_set(a, &u, 2, ARBITER_VRAM, ARBITER_MAX, G), -ENOENT);
	/* The shared tier has one limit. */
	ck_assert_int_eq(arbiter_limit_set(a, &u, 1, ARBITER_HOST, ARBITER_MAX, G), 0);
	ck_assert_uint_eq(usage(u, 0, ARBITER_HOST).limits.value[ARBITER_MAX], G);
	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_HOST, 2 * G, NULL), -EDQUOT);
	ck_assert_int_eq(arbiter_device_resize(a, 1, ARBITER_VRAM, 9 * G), 0);
	ck_assert_uint_eq(limit(root, 1, ARBITER_MAX), 9 * G);
}
END_TEST

START_TEST(test_rejected_limits)
{
	const struct arbiter_subject nobody = session(99), bad = path(ARBITER_CGROUP, "a"),
				     null = path(ARBITER_EXE, NULL), slash = path(ARBITER_EXE, "/"),
				     far = user(UINT32_MAX), u = user(4);
	struct arbiter_subject deep = path(ARBITER_CGROUP, "/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h");
	struct arbiter_limits lim;

	ck_assert_int_eq(arbiter_limit_set(a, &nobody, 0, 0, ARBITER_MAX, G), -ENOENT);
	ck_assert_int_eq(arbiter_limit_get(a, &nobody, 0, 0, &lim), -ENOENT);
	ck_assert_int_eq(arbiter_limit_clear(a, &nobody, 0, 0, ARBITER_MAX), -ENOENT);
	ck_assert_int_eq(arbiter_limit_set(a, &bad, 0, 0, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &null, 0, 0, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &slash, 0, 0, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &far, 0, 0, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &root, 0, 0, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_clear(a, &root, 0, 0, ARBITER_MAX), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &u, 0, 3, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &u, 0, 0, ARBITER_N_KEYS, G), -EINVAL);
	ck_assert_int_eq(arbiter_limit_set(a, &u, 0, 0, ARBITER_WEIGHT, 0), -ERANGE);
	ck_assert_int_eq(arbiter_limit_set(a, &dflt, 0, 0, ARBITER_WEIGHT, 10001), -ERANGE);
	ck_assert_int_eq(arbiter_limit_set(a, &deep, 0, 0, ARBITER_MAX, G), -E2BIG);
	ck_assert_int_eq(arbiter_limit_clear(a, &u, 0, 0, ARBITER_MAX), 0);
	ck_assert(!exists(u));
	ck_assert(!exists(path(ARBITER_CGROUP, "/1")));
	/* A session in such a cgroup counts in what there is of it. */
	open_session(4, deep.path, NULL);
	ck_assert(exists(path(ARBITER_CGROUP, "/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g")));
	ck_assert(!exists(deep));
}
END_TEST

START_TEST(test_rejected_sessions)
{
	struct arbiter_peer peer = { .pid = 1, .uid = 77, .cgroup = "/a/", .exe = "/b" };
	uint64_t id = 12345;

	ck_assert_int_eq(arbiter_session_open(a, &peer, 0, &id), -EINVAL);
	peer.cgroup = "/a";
	peer.exe = "b";
	ck_assert_int_eq(arbiter_session_open(a, &peer, 0, &id), -EINVAL);
	ck_assert_uint_eq(id, 12345);
	ck_assert(!exists(user(77)));
	ck_assert(!exists(path(ARBITER_CGROUP, "/a")));
}
END_TEST

START_TEST(test_over_and_protection)
{
	struct arbiter_over over[3];
	uint64_t emin, elow;

	ck_assert_int_eq(arbiter_charge(a, s1, 0, ARBITER_VRAM, 6 * G, NULL), 0);
	ck_assert_int_eq(arbiter_charge(a, s2, 0, ARBITER_VRAM, 2 * G, NULL), 0);
	ck_assert_int_eq(arbiter_over(a, 0, ARBITER_VRAM, over, 3), 0);
	set(user(1000), 0, ARBITER_HIGH, 7 * G);
	set(session(s1), 0, ARBITER_MAX, 5 * G);
	ck_assert_int_eq(arbiter_over(a, 0, ARBITER_VRAM, over, 3), 2);
	ck_assert_uint_eq(over[0].group.kind, ARBITER_USER);
	ck_assert_uint_eq(over[0].over_high, G);
	ck_assert_uint_eq(over[0].over_max, 0);
	ck_assert_uint_eq(over[1].group.kind, ARBITER_SESSION);
	ck_assert_uint_eq(over[1].group.key, s1);
	ck_assert_uint_eq(over[1].over_max, G);
	ck_assert_int_eq(arbiter_over(a, 0, ARBITER_VRAM, over, 0), 2);
	ck_assert_int_eq(arbiter_over(a, 1, ARBITER_VRAM, over, 3), -ENOENT);

	set(user(1000), 0, ARBITER_LOW, 4 * G);
	set(session(s2), 0, ARBITER_MIN, G);
	ck_assert_int_eq(arbiter_protection(a, s1, 0, ARBITER_VRAM, &emin, &elow), 0);
	ck_assert_uint_eq(emin, 0);
	ck_assert_uint_eq(elow, 3 * G);
	ck_assert_int_eq(arbiter_protection(a, s2, 0, ARBITER_VRAM, &emin, &elow), 0);
	ck_assert_uint_eq(emin, G);
	ck_assert_uint_eq(elow, G);
	ck_assert_int_eq(arbiter_protection(a, 99, 0, ARBITER_VRAM, &emin, &elow), -ENOENT);
}
END_TEST

struct listing {
	char text[1024];
	unsigned int n, stop_at;
};

static int list(void *ctx, const struct arbiter_group_info *info)
{
	struct listing *out = ctx;
	size_t len = strlen(out->text);

	snprintf(out->text + len, sizeof(out->text) - len, "%s %u %d %u %s %u\n", info->name,
		 info->n_sessions, info->pid, info->uid, info->comm, info->parent.kind);
	return ++out->n == out->stop_at ? 42 : 0;
}

/* Each line in its place. Over the module there are more: the arbiter's own session has groups, too. */
static void check_listing(const char *text, const char *expected)
{
	char line[256];

	if (!carrier_is_kmod())
		ck_assert_str_eq(text, expected);
	while (sscanf(expected, "%255[^\n]", line) == 1) {
		const char *at = strstr(text, line);

		ck_assert_msg(at, "no '%s' in what is left: %s", line, text);
		text = at + strlen(line);
		expected += strlen(line) + 1;
	}
}

START_TEST(test_iteration)
{
	struct listing all = { .stop_at = 0 }, some = { .stop_at = 2 };
	char expected[1024];

	ck_assert_int_eq(arbiter_for_each(a, list, &all), 0);
	snprintf(expected, sizeof(expected),
		 "root %d 0 0  0\n"
		 "user:1000 2 0 1000  0\n"
		 "cgroup:/work.slice 2 0 0  0\n"
		 "cgroup:/work.slice/chat.scope 1 0 0  2\n"
		 "exe:/usr/bin/llama-server 2 0 0  0\n"
		 "session:%d 1 %d 1000 engine 1\n"
		 "session:%d 1 %d 1000 engine 1\n"
		 "user:1001 1 0 1001  0\n"
		 "session:%d 1 %d 1001 engine 1\n",
		 carrier_is_kmod() ? 4 : 3, (int)s1, (int)carrier_pid(s1), (int)s2,
		 (int)carrier_pid(s2), (int)s3, (int)carrier_pid(s3));
	check_listing(all.text, expected);
	ck_assert_int_eq(arbiter_for_each(a, list, &some), 42);
	ck_assert_uint_eq(some.n, 2);
}
END_TEST

/* ---- pressure ------------------------------------------------------------------ */

static uint64_t total(struct arbiter_subject s, int full, uint64_t now)
{
	struct arbiter_pressure p;
	struct arbiter_group group;

	ck_assert_int_eq(arbiter_find(a, &s, &group), 0);
	ck_assert_int_eq(arbiter_pressure_group(a, &group, now, &p), 0);
	return p.total_us[full];
}

static uint64_t dev_total(uint32_t dev, int full, uint64_t now)
{
	struct arbiter_pressure p;

	ck_assert_int_eq(arbiter_pressure_device(a, dev, now, &p), 0);
	return p.total_us[full];
}

START_TEST(test_pressure_of_groups)
{
	/* s1 and s2 work from 0 on; s1 waits with two requests from 1 s to 3 s and 2 s to 4 s. */
	ck_assert_int_eq(arbiter_run(a, s1, 0, 0), 0);
	ck_assert_int_eq(arbiter_run(a, s1, 0, 0), 0);
	ck_assert_int_eq(arbiter_run(a, s2, 0, 0), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, 1 * SEC), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, 2 * SEC), 0);
	ck_assert_int_eq(arbiter_idle(a, s1, 0, 2 * SEC), 0); /* no: it waits */
	ck_assert_int_eq(arbiter_stall_end(a, s1, 0, 3 * SEC), 0);
	ck_assert_int_eq(arbiter_stall_end(a, s1, 0, 4 * SEC), 0);
	ck_assert_int_eq(arbiter_stall_end(a, s1, 0, 4 * SEC), -EINVAL);
	/* Alone in its own group: full. With s2 at work: some. */
	ck_assert_uint_eq(total(session(s1), 0, 5 * SEC), 3000000);
	ck_assert_uint_eq(total(session(s1), 1, 5 * SEC), 3000000);
	ck_assert_uint_eq(total(path(ARBITER_CGROUP, "/work.slice/chat.scope"), 1, 5 * SEC),
			  3000000);
	ck_assert_uint_eq(total(path(ARBITER_CGROUP, "/work.slice"), 0, 5 * SEC), 3000000);
	ck_assert_uint_eq(total(path(ARBITER_CGROUP, "/work.slice"), 1, 5 * SEC), 0);
	ck_assert_uint_eq(total(user(1000), 0, 5 * SEC), 3000000);
	ck_assert_uint_eq(total(user(1000), 1, 5 * SEC), 0);
	ck_assert_uint_eq(total(user(1001), 0, 5 * SEC), 0);
	ck_assert_uint_eq(total(root, 0, 5 * SEC), 3000000);
	ck_assert_uint_eq(dev_total(0, 0, 5 * SEC), 3000000);
	ck_assert_uint_eq(dev_total(0, 1, 5 * SEC), 0);
	/* s2 goes idle, s1 waits again: nobody works. */
	ck_assert_int_eq(arbiter_idle(a, s2, 0, 5 * SEC), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, 5 * SEC), 0);
	ck_assert_uint_eq(total(user(1000), 1, 6 * SEC), 1000000);
	ck_assert_uint_eq(dev_total(0, 1, 6 * SEC), 1000000);
	/* It dies waiting: the waiting is over. */
	ck_assert_int_eq(arbiter_session_close(a, s1, 7 * SEC), 0);
	ck_assert_uint_eq(total(user(1000), 1, 9 * SEC), 2000000);
	ck_assert_uint_eq(dev_total(0, 0, 9 * SEC), 5000000);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, 9 * SEC), -ENOENT);
	ck_assert_int_eq(arbiter_stall_begin(a, s2, 7, 9 * SEC), -ENOENT);
}
END_TEST

START_TEST(test_pressure_of_two_devices)
{
	uint32_t dev;

	ck_assert_int_eq(arbiter_device_add(a, "second", capacity, 0, &dev), 0);
	/* Runs on one, waits on the other: a session that waits anywhere waits. */
	ck_assert_int_eq(arbiter_run(a, s1, 0, 0), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 1, 0), 0);
	ck_assert_uint_eq(dev_total(0, 0, SEC), 0);
	ck_assert_uint_eq(dev_total(1, 1, SEC), 1000000);
	ck_assert_uint_eq(total(session(s1), 1, SEC), 1000000);
	ck_assert_int_eq(arbiter_stall_end(a, s1, 1, SEC), 0);
	ck_assert_uint_eq(total(session(s1), 0, 2 * SEC), 1000000);
}
END_TEST

START_TEST(test_pressure_text)
{
	char buf[ARBITER_PRESSURE_TEXT_MAX];
	struct arbiter_pressure p;

	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, 0), 0);
	ck_assert_int_eq(arbiter_pressure_device(a, 0, 10 * SEC, &p), 0);
	ck_assert_int_gt(arbiter_pressure_format(&p, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "some avg10=63.18 avg60=15.32 avg300=3.37 total=10000000\n"
			      "full avg10=63.18 avg60=15.32 avg300=3.37 total=10000000\n");
	ck_assert_int_eq(arbiter_pressure_device(a, 1, 0, &p), -ENOENT);
	ck_assert_int_eq(arbiter_pressure_format(&p, buf, 10), -EOVERFLOW);
}
END_TEST

static void fired(void *ctx, uint32_t trigger)
{
	((unsigned int *)ctx)[trigger]++;
}

START_TEST(test_triggers)
{
	struct arbiter_subject u = user(1000), own = session(s3);
	unsigned int n[4] = { 0 };
	struct arbiter_group group;
	uint32_t by_user, by_dev, by_session, left;
	uint64_t now;

	ck_assert_int_eq(arbiter_find(a, &u, &group), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, &group, 0, false, 100000, 1000000, 0, &by_user), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, 0, true, 200000, 1000000, 0, &by_dev), 0);
	ck_assert_int_eq(arbiter_find(a, &own, &group), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, &group, 0, true, 1, 500000, 0, &by_session), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, 9, true, 1, 500000, 0, &left), -ENOENT);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, 0, true, 1, 5, 0, &left), -EINVAL);
	ck_assert_uint_eq(arbiter_poll(a, SEC, fired, n), UINT64_MAX);
	ck_assert_int_eq(arbiter_stall_begin(a, s1, 0, SEC), 0);
	for (now = SEC; now <= SEC + SEC / 2;)
		now = arbiter_poll(a, now, fired, n);
	ck_assert_uint_eq(n[by_user], 1);
	ck_assert_uint_eq(n[by_dev], 1);
	ck_assert_uint_eq(n[by_session], 0);
	/* A group is kept for its trigger, a session is not. */
	ck_assert_int_eq(arbiter_session_close(a, s3, now), 0);
	ck_assert_int_eq(arbiter_trigger_del(a, by_session), -ENOENT);
	ck_assert_int_eq(arbiter_session_close(a, s1, now), 0);
	ck_assert_int_eq(arbiter_session_close(a, s2, now), 0);
	ck_assert(exists(u));
	ck_assert_int_eq(arbiter_trigger_del(a, by_user), 0);
	ck_assert(!exists(u));
	ck_assert_int_eq(arbiter_trigger_del(a, by_user), -ENOENT);
	ck_assert_int_eq(arbiter_trigger_del(a, 100000), -ENOENT);
	/* One is left for the teardown to free. */
	for (left = 0; left < 255; left++)
		ck_assert_int_eq(arbiter_trigger_add(a, NULL, 0, true, 1, 500000, 0, &by_user), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, 0, true, 1, 500000, 0, &by_user), -ENOSPC);
}
END_TEST

START_TEST(test_no_memory_for_the_ledger)
{
	const struct arbiter_peer peer = { .uid = 5, .cgroup = "/x/y", .exe = "/bin/x" };
	struct arbiter_subject cg = path(ARBITER_CGROUP, "/x/y/z");
	struct listing before = { .stop_at = 0 }, after;
	struct arbiter *other;
	uint64_t id = 9;
	int n, r;

	arbiter_for_each(a, list, &before);
	for (n = 0;; n++) {
		budget = n;
		r = arbiter_session_open(a, &peer, 0, &id);
		budget = -1;
		if (!r)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_uint_eq(id, 9);
		memset(&after, 0, sizeof(after));
		arbiter_for_each(a, list, &after);
		ck_assert_str_eq(before.text, after.text);
	}
	/* The user, two cgroups, the executable, the session: a group and its row each. Beside
	 * them what is on `priv` of the first four, and the paths of three. */
	ck_assert_int_eq(n, 17);
	ck_assert_int_eq(arbiter_session_close(a, id, 0), 0);
	for (n = 0; n < 12; n++) {
		budget = n;
		ck_assert_int_eq(arbiter_limit_set(a, &cg, 0, 0, ARBITER_MAX, G), -ENOMEM);
		budget = -1;
		ck_assert(!exists(path(ARBITER_CGROUP, "/x")));
	}
	budget = 0;
	ck_assert_int_eq(arbiter_local_new(0, &other), -ENOMEM);
	budget = -1;
}
END_TEST

START_TEST(test_a_thousand_random_sessions)
{
	uint64_t ids[64] = { 0 };
	/* A process each, there. */
	unsigned int i, n = carrier_is_kmod() ? 100 : 1000, seed = 1;
	uint32_t share, t;

	ck_assert_int_eq(arbiter_share_new(a, 0, &share), 0);
	for (i = 0; i < n; i++) {
		unsigned int k = rand_r(&seed) % 64;
		char cgroup[32], exe[16];

		if (ids[k]) {
			carrier_close(a, ids[k], i);
			ids[k] = 0;
			continue;
		}
		snprintf(cgroup, sizeof(cgroup), "/a%u/b%u", rand_r(&seed) % 3, rand_r(&seed) % 5);
		snprintf(exe, sizeof(exe), "/bin/e%u", rand_r(&seed) % 7);
		ids[k] = open_session(rand_r(&seed) % 5, cgroup, exe);
		ck_assert_int_eq(arbiter_share_join(a, share, ids[k], false, NULL), 0);
		ck_assert_int_eq(arbiter_share_charge(a, share, i % 3, 1000 + i, NULL), 0);
		ck_assert_int_eq(arbiter_charge(a, ids[k], 0, i % 3, i, NULL), 0);
		if (i % 2)
			ck_assert_int_eq(arbiter_stall_begin(a, ids[k], 0, i), 0);
	}
	for (i = 0; i < 64; i++)
		if (ids[i])
			carrier_close(a, ids[i], 2000);
	carrier_close(a, s1, 2000);
	carrier_close(a, s2, 2000);
	carrier_close(a, s3, 2000);
	for (t = 0; t < ARBITER_N_TIERS; t++) {
		struct arbiter_share_info info;

		ck_assert_int_eq(arbiter_share_read(a, share, &info), 0);
		ck_assert_uint_eq(usage(root, 0, t).usage, info.bytes[t]);
		ck_assert_int_eq(arbiter_share_uncharge(a, share, t, info.bytes[t]), 0);
		ck_assert_uint_eq(usage(root, 0, t).usage, 0);
	}
	ck_assert_int_eq(arbiter_share_free(a, share), 0);
	{
		struct listing rest = { .stop_at = 0 };

		arbiter_for_each(a, list, &rest);
		if (carrier_is_kmod())
			ck_assert_ptr_null(strstr(rest.text, "session:"));
		else
			ck_assert_str_eq(rest.text, "root 0 0 0  0\n");
	}
	if (!carrier_is_kmod())
		ck_assert_uint_eq(dev_total(0, 0, SEC), dev_total(0, 0, 2000));
}
END_TEST

int main(int argc, char *argv[])
{
	Suite *suite = suite_create("arbiter");
	TCase *tc = tcase_create("both"), *local = tcase_create("local");
	SRunner *runner;
	int failed;

	if (!carrier_begin(argc, argv))
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_groups_come_and_go);
	tcase_add_test(tc, test_limits_keep_a_group);
	tcase_add_test(tc, test_refusal_names_the_group);
	tcase_add_test(tc, test_shares);
	tcase_add_test(tc, test_own_bytes);
	tcase_add_test(tc, test_defaults_are_for_users_without_their_own);
	tcase_add_test(tc, test_limits_by_device);
	tcase_add_test(tc, test_rejected_limits);
	tcase_add_test(tc, test_over_and_protection);
	tcase_add_test(tc, test_iteration);
	tcase_add_test(tc, test_a_thousand_random_sessions);
	suite_add_tcase(suite, tc);
	/* With times of their own, peers that make no sense, and no memory. */
	tcase_add_checked_fixture(local, setup, teardown);
	tcase_add_test(local, test_rejected_sessions);
	tcase_add_test(local, test_pressure_of_groups);
	tcase_add_test(local, test_pressure_of_two_devices);
	tcase_add_test(local, test_pressure_text);
	tcase_add_test(local, test_triggers);
	tcase_add_test(local, test_no_memory_for_the_ledger);
	if (carrier_is_kmod())
		printf("not over the module, which takes its own time: 6 tests\n");
	else
		suite_add_tcase(suite, local);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	carrier_end();
	return failed ? 1 : 0;
}
