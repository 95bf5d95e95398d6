// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the arbiter over the kernel module does beyond the local one: sessions by descriptor, events, and all
 * that outlives a daemon. Runs with VRAM_ARBITER=kmod in a guest.
 *
 * links: tests/support/arbiter_carrier.c tests/kmod/passing.c daemon/arbiter_kmod.c
 * links: daemon/arbiter_kmod_charge.c daemon/arbiter_kmod_group.c daemon/arbiter_kmod_limit.c
 * links: daemon/arbiter_kmod_pressure.c daemon/arbiter_takeover.c daemon/log.c
 * links: daemon/arbiter_local.c daemon/arbiter_local_group.c daemon/arbiter_local_limit.c
 * links: daemon/limit_table.c daemon/arbiter_local_pressure.c daemon/arbiter_local_trace.c daemon/trace.c daemon/limits.c common/size.c common/err.c
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 * links: kmod/group.c kmod/stall.c kmod/pressure.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/arbiter.h"
#include "daemon/arbiter_takeover.h"
#include "kmod/uapi/vram.h"
#include "tests/support/arbiter_carrier.h"

#define G   (1ull << 30)
#define MS  1000000ull
#define SEC 1000000000ull

static struct arbiter *a;
static uint32_t dev;
static const uint64_t capacity[ARBITER_N_TIERS] = { 24 * G, 64 * G, 1024 * G };
static const struct arbiter_subject root = { .kind = ARBITER_ROOT };
static const struct arbiter_subject dflt = { .kind = ARBITER_DEFAULT };

static struct arbiter_subject user(uint64_t uid)
{
	return (struct arbiter_subject){ .kind = ARBITER_USER, .id = uid };
}

static struct arbiter_subject session(uint64_t id)
{
	return (struct arbiter_subject){ .kind = ARBITER_SESSION, .id = id };
}

static uint64_t used(struct arbiter_subject s)
{
	struct arbiter_group group;
	struct arbiter_usage u;

	ck_assert_int_eq(arbiter_find(a, &s, &group), 0);
	ck_assert_int_eq(arbiter_usage(a, &group, dev, ARBITER_VRAM, &u), 0);
	return u.usage;
}

static struct arbiter_limits limits(struct arbiter_subject s)
{
	struct arbiter_limits lim;

	ck_assert_int_eq(arbiter_limit_get(a, &s, dev, ARBITER_VRAM, &lim), 0);
	return lim;
}

static uint64_t enforced(struct arbiter_subject s, uint32_t key)
{
	struct arbiter_group group;
	struct arbiter_usage u;

	ck_assert_int_eq(arbiter_find(a, &s, &group), 0);
	ck_assert_int_eq(arbiter_usage(a, &group, dev, ARBITER_VRAM, &u), 0);
	return u.limits.value[key];
}

static void set(struct arbiter_subject s, uint32_t key, uint64_t value)
{
	ck_assert_int_eq(arbiter_limit_set(a, &s, ARBITER_ALL_DEVICES, ARBITER_VRAM, key, value),
			 0);
}

static void setup(void)
{
	a = carrier_arbiter();
	ck_assert_int_eq(arbiter_device_add(a, "device", capacity, 0, &dev), 0);
}

static void teardown(void)
{
	a = arbiter_free(a);
}

/* This daemon dies and the next one comes. */
static void restart(void)
{
	uint64_t generation = a->generation;

	arbiter_free(a);
	a = carrier_attach();
	ck_assert_uint_eq(a->generation, generation + 1);
	ck_assert_int_eq(arbiter_device_add(a, "device", capacity, 0, &dev), 0);
}

/* Return: the session, or -errno. */
static int64_t adopt(int fd)
{
	struct arbiter_adopted adopted;
	int r = arbiter_session_adopt(a, fd, &adopted);

	if (r < 0)
		return r;
	ck_assert_uint_eq(adopted.table_bytes % 4096, 0);
	ck_assert_uint_ge(adopted.table_bytes, adopted.n_slots * 64ull);
	/* It is there, and empty. */
	ck_assert_int_eq(((char *)adopted.table)[adopted.table_bytes - 1], 0);
	munmap(adopted.table, adopted.table_bytes);
	return (int64_t)adopted.session;
}

struct seen {
	struct arbiter_event last;
	unsigned int n[2];
};

static void note(void *ctx, const struct arbiter_event *event)
{
	struct seen *seen = ctx;

	seen->last = *event;
	seen->n[event->type]++;
}

static struct seen events(void)
{
	struct seen seen = { 0 };

	ck_assert_int_eq(arbiter_read_events(a, note, &seen), 0);
	return seen;
}

/* ---- sessions -------------------------------------------------------------------- */

START_TEST(descriptors_that_are_none)
{
	struct vram_ioc_table table = { .n_slots = 64 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;
	int fd = carrier_fd(1000, 0, &pid);

	ck_assert_int_eq(adopt(null), -EBADF);
	ck_assert_int_eq(adopt(-1), -EBADF);
	ck_assert_int_eq(adopt(1000), -EBADF);
	ck_assert_int_eq(adopt(arbiter_event_fd(a)), -EINVAL);
	/* One without a table is not lost for having been offered too early. */
	ck_assert_int_eq(adopt(fd), -ENXIO);
	ck_assert_int_eq(ioctl(fd, VRAM_IOC_TABLE, &table), 0);
	ck_assert_int_gt(adopt(fd), 0);
	close(fd);
	close(null);
}
END_TEST

START_TEST(adopted_once_and_again)
{
	struct vram_ioc_table table = { .n_slots = 128 };
	pid_t pid;
	int fd = carrier_fd(1000, 64, &pid);
	int64_t id = adopt(fd);
	uint32_t share;

	ck_assert_int_gt(id, 0);
	ck_assert_int_eq(adopt(fd), -EBUSY);
	ck_assert_int_eq(arbiter_charge(a, (uint64_t)id, dev, ARBITER_VRAM, G, NULL), 0);
	ck_assert_int_eq(arbiter_share_new(a, dev, &share), 0);
	ck_assert_int_eq(arbiter_share_join(a, share, (uint64_t)id, false, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_VRAM, G, NULL), 0);
	set(session((uint64_t)id), ARBITER_MAX, 3 * G);
	ck_assert_uint_eq(used(session((uint64_t)id)), 2 * G);
	/* Its connection ends, and it comes again. */
	ck_assert_int_eq(arbiter_session_close(a, (uint64_t)id, 0), 0);
	ck_assert_int_eq(arbiter_session_close(a, (uint64_t)id, 0), -ENOENT);
	ck_assert_uint_eq(used(user(1000)), 0);
	ck_assert_uint_eq(enforced(session((uint64_t)id), ARBITER_MAX), ARBITER_UNLIMITED);
	ck_assert_int_eq(ioctl(fd, VRAM_IOC_TABLE, &table), 0);
	ck_assert_int_eq(adopt(fd), id);
	ck_assert_uint_eq(limits(session((uint64_t)id)).set, 0);
	ck_assert_int_eq(arbiter_charge(a, (uint64_t)id, dev, ARBITER_VRAM, 4 * G, NULL), 0);
	close(fd);
}
END_TEST

START_TEST(ends_are_told)
{
	uint64_t s = carrier_open(a, 1000, NULL, NULL);
	struct arbiter_group group;
	pid_t pid = carrier_pid(s);
	struct seen seen;

	ck_assert_int_eq(
		arbiter_find(a, &(struct arbiter_subject){ ARBITER_USER, 1000, NULL }, &group), 0);
	ck_assert_int_eq(arbiter_charge(a, s, dev, ARBITER_VRAM, 5, NULL), 0);
	ck_assert_int_eq(arbiter_charge(a, s, dev, ARBITER_DISK, 7, NULL), 0);
	seen = events();
	ck_assert_uint_eq(seen.n[ARBITER_EVENT_GONE], 0);
	carrier_kill(a, s);
	ck_assert_uint_eq(used(root), 0);
	seen = events();
	ck_assert_uint_eq(seen.n[ARBITER_EVENT_GONE], 1);
	ck_assert_uint_eq(seen.last.session, s);
	ck_assert_uint_eq(seen.last.generation, a->generation);
	ck_assert_uint_eq(seen.last.bytes[ARBITER_VRAM], 5);
	ck_assert_uint_eq(seen.last.bytes[ARBITER_DISK], 7);
	ck_assert_uint_eq(seen.last.uid, 1000);
	/* Its number is nobody's any more once it has been waited for; it was told while it was. */
	ck_assert(seen.last.pid == pid || seen.last.pid == 0);
	ck_assert_int_eq(arbiter_charge(a, s, dev, ARBITER_VRAM, 5, NULL), -ENOENT);
	ck_assert_int_eq(arbiter_is_member(a, s, &group), 1);
	ck_assert_int_eq(arbiter_session_close(a, s, 0), 0);
	ck_assert_int_eq(arbiter_is_member(a, s, &group), -ENOENT);
	ck_assert_int_eq(arbiter_session_close(a, s, 0), -ENOENT);
}
END_TEST

START_TEST(hints_change_nothing)
{
	uint64_t s1 = carrier_open(a, 1000, NULL, NULL), s2 = carrier_open(a, 1001, NULL, NULL);
	struct arbiter_hint hint = { .flags = ARBITER_HINT_RESTORE, .session = s1 };
	uint32_t share;

	ck_assert_int_eq(arbiter_share_new(a, dev, &share), 0);
	ck_assert_int_eq(arbiter_share_join(a, share, s1, false, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge_for(a, share, ARBITER_VRAM, 10, &hint, NULL), 0);
	hint = (struct arbiter_hint){ .flags = ARBITER_HINT_EVICT, .session = s1, .other = s2 };
	ck_assert_int_eq(arbiter_share_uncharge_for(a, share, ARBITER_VRAM, 2, &hint), 0);
	ck_assert_uint_eq(used(session(s1)), 8);
	/* Who is named may have ended, with or without our knowing. */
	carrier_kill(a, s2);
	ck_assert_int_eq(arbiter_share_uncharge_for(a, share, ARBITER_VRAM, 2, &hint), 0);
	ck_assert_int_eq(arbiter_session_close(a, s2, 0), 0);
	ck_assert_int_eq(arbiter_share_uncharge_for(a, share, ARBITER_VRAM, 2, &hint), 0);
	hint = (struct arbiter_hint){ .flags = ARBITER_HINT_EVICT, .session = 4711 };
	ck_assert_int_eq(arbiter_share_uncharge_for(a, share, ARBITER_VRAM, 2, &hint), 0);
	ck_assert_uint_eq(used(session(s1)), 2);
	ck_assert_int_eq(arbiter_share_uncharge_for(a, share, ARBITER_VRAM, 3, &hint), -EINVAL);
}
END_TEST

/* ---- limits ------------------------------------------------------------------------ */

START_TEST(limits_outlive_the_daemon)
{
	const struct arbiter_subject cg = { .kind = ARBITER_CGROUP, .path = "/far/away" };
	const struct arbiter_subject exe = { .kind = ARBITER_EXE, .path = "/usr/bin/x y" };
	uint64_t s = carrier_open(a, 1000, NULL, NULL);

	set(user(2000), ARBITER_MAX, 3 * G);
	set(user(2000), ARBITER_WEIGHT, 7);
	set(cg, ARBITER_LOW, 2 * G);
	set(exe, ARBITER_HIGH, G);
	set(session(s), ARBITER_MIN, 5);
	set(dflt, ARBITER_MAX, 4 * G);
	ck_assert_uint_eq(enforced(user(1000), ARBITER_MAX), 4 * G);
	restart();
	ck_assert_uint_eq(limits(user(2000)).value[ARBITER_MAX], 3 * G);
	ck_assert_uint_eq(limits(user(2000)).value[ARBITER_WEIGHT], 7);
	ck_assert_uint_eq(limits(user(2000)).set, 1u << ARBITER_MAX | 1u << ARBITER_WEIGHT);
	ck_assert_uint_eq(limits(cg).value[ARBITER_LOW], 2 * G);
	ck_assert_uint_eq(limits(exe).value[ARBITER_HIGH], G);
	ck_assert_uint_eq(limits(session(s)).value[ARBITER_MIN], 5);
	/* `default` was the daemon's, and what users had of it goes with it. */
	ck_assert_uint_eq(limits(dflt).set, 0);
	ck_assert_uint_eq(enforced(user(1000), ARBITER_MAX), ARBITER_UNLIMITED);
	/* What was read back can be taken back. */
	ck_assert_int_eq(
		arbiter_limit_clear(a, &cg, ARBITER_ALL_DEVICES, ARBITER_VRAM, ARBITER_LOW), 0);
	restart();
	ck_assert_uint_eq(limits(cg).set, 0);
	ck_assert_uint_eq(limits(user(2000)).value[ARBITER_MAX], 3 * G);
}
END_TEST

static void limit_by_another(uint32_t flags, uint64_t uid, uint64_t value)
{
	struct vram_ioc_limit io = {
		.flags = flags,
		.limit = VRAM_LIMIT_MAX,
		.group = { .kind = VRAM_KIND_USER, .key = uid },
		.value = value,
	};
	int fd = open(ARBITER_KMOD_PATH, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, VRAM_IOC_LIMIT, &io), 0);
	close(fd);
}

START_TEST(somebody_else_sets_limits)
{
	carrier_open(a, 1000, NULL, NULL);
	set(dflt, ARBITER_MAX, 4 * G);
	set(user(1001), ARBITER_MAX, 5 * G);
	ck_assert_uint_eq(events().n[ARBITER_EVENT_LIMITS], 0);
	limit_by_another(0, 1000, 2 * G);
	limit_by_another(0, 1002, 6 * G);
	ck_assert_uint_eq(events().n[ARBITER_EVENT_LIMITS], 1);
	ck_assert_uint_eq(limits(user(1000)).value[ARBITER_MAX], 2 * G);
	ck_assert_uint_eq(limits(user(1000)).set, 1u << ARBITER_MAX);
	ck_assert_uint_eq(limits(user(1001)).value[ARBITER_MAX], 5 * G);
	ck_assert_uint_eq(limits(user(1002)).value[ARBITER_MAX], 6 * G);
	/* Still what was set for all devices, which the next one gets. */
	ck_assert_uint_eq(limits(user(1001)).set, 1u << ARBITER_MAX);
	limit_by_another(VRAM_LIMIT_CLEAR, 1000, 0);
	limit_by_another(VRAM_LIMIT_CLEAR, 1001, 0);
	ck_assert_uint_eq(events().n[ARBITER_EVENT_LIMITS], 1);
	ck_assert_uint_eq(limits(user(1000)).set, 0);
	ck_assert_uint_eq(limits(user(1001)).set, 0);
	/* In the place of what was taken away stands the default again. */
	ck_assert_uint_eq(enforced(user(1000), ARBITER_MAX), 4 * G);
	ck_assert_uint_eq(limits(user(1002)).value[ARBITER_MAX], 6 * G);
}
END_TEST

/* ---- taking over -------------------------------------------------------------------- */

START_TEST(devices_are_found_by_name)
{
	uint32_t second, here, on_first, on_second;
	struct arbiter_share_info info;
	struct arbiter_group group;
	struct arbiter_usage u;

	ck_assert_int_eq(arbiter_device_add(a, "second", capacity, 0, &second), 0);
	ck_assert_int_eq(arbiter_device_add(a, "second", capacity, 0, &here), -EEXIST);
	ck_assert_int_eq(arbiter_device_add(a, "", capacity, 0, &here), -EINVAL);
	ck_assert_int_eq(arbiter_share_new(a, dev, &on_first), 0);
	ck_assert_int_eq(arbiter_share_new(a, second, &on_second), 0);
	ck_assert_int_eq(arbiter_share_charge(a, on_second, ARBITER_VRAM, 100, NULL), 0);
	arbiter_free(a);
	a = carrier_attach();
	ck_assert_int_eq(arbiter_device_add(a, "second", capacity, 0, &here), 0);
	ck_assert_uint_eq(here, 0);
	ck_assert_int_eq(arbiter_find(a, &root, &group), 0);
	ck_assert_int_eq(arbiter_usage(a, &group, here, ARBITER_VRAM, &u), 0);
	ck_assert_uint_eq(u.usage, 100);
	ck_assert_int_eq(arbiter_usage(a, &group, 1, ARBITER_VRAM, &u), -ENOENT);
	ck_assert_int_eq(arbiter_share_next(a, 0, &here), 0);
	ck_assert_uint_eq(here, on_first);
	ck_assert_int_eq(arbiter_share_read(a, on_first, &info), 0);
	ck_assert_uint_eq(info.dev, UINT32_MAX);
	ck_assert_int_eq(arbiter_share_next(a, on_first + 1, &here), 0);
	ck_assert_uint_eq(here, on_second);
	ck_assert_int_eq(arbiter_share_read(a, on_second, &info), 0);
	ck_assert_uint_eq(info.dev, 0);
	ck_assert_int_eq(arbiter_share_uncharge(a, on_second, ARBITER_VRAM, 100), 0);
	ck_assert_int_eq(arbiter_share_next(a, on_second + 1, &here), -ENOENT);
}
END_TEST

/* Three clients of two daemons: one comes again, one dies, one does neither. */
START_TEST(what_is_left_behind)
{
	struct arbiter_takeover t;
	uint32_t shared, alone;
	int64_t id[3];
	pid_t pid[3];
	int fd[3];

	ck_assert_int_eq(arbiter_share_new(a, dev, &shared), 0);
	ck_assert_int_eq(arbiter_share_new(a, dev, &alone), 0);
	for (int i = 0; i < 3; i++) {
		fd[i] = carrier_fd(1000 + (uid_t)i, 64, &pid[i]);
		id[i] = adopt(fd[i]);
		ck_assert_int_gt(id[i], 0);
		ck_assert_int_eq(arbiter_share_join(a, shared, (uint64_t)id[i], false, NULL), 0);
	}
	ck_assert_int_eq(arbiter_share_charge(a, shared, ARBITER_VRAM, 12 * G, NULL), 0);
	ck_assert_int_eq(arbiter_share_join(a, alone, (uint64_t)id[2], false, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge(a, alone, ARBITER_VRAM, G, NULL), 0);
	restart();
	ck_assert_int_eq(arbiter_takeover_begin(&t, a, 1, 0, 10 * SEC), 0);
	ck_assert(arbiter_takeover_pending(&t));
	ck_assert_uint_eq(used(root), 13 * G);
	ck_assert_uint_eq(used(session((uint64_t)id[0])), 4 * G);

	ck_assert_int_eq(adopt(fd[0]), id[0]);
	ck_assert(arbiter_takeover_session(&t, (uint64_t)id[0]));
	ck_assert(!arbiter_takeover_session(&t, (uint64_t)id[0]));
	ck_assert_uint_eq(used(session((uint64_t)id[0])), 0);
	ck_assert_uint_eq(used(session((uint64_t)id[1])), 6 * G);
	ck_assert_uint_eq(used(root), 13 * G);

	close(fd[1]);
	ck_assert_int_eq(kill(pid[1], SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid[1], NULL, 0), pid[1]);
	for (int i = 0; i < 500; i++) {
		struct seen seen = events();

		if (seen.n[ARBITER_EVENT_GONE]) {
			ck_assert_uint_eq(seen.last.session, (uint64_t)id[1]);
			ck_assert_uint_eq(seen.last.generation, a->generation - 1);
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
	}
	ck_assert(arbiter_takeover_session(&t, (uint64_t)id[1]));
	ck_assert_uint_eq(used(session((uint64_t)id[2])), 13 * G);

	ck_assert(!arbiter_takeover_poll(&t, 10 * SEC - 1));
	ck_assert(arbiter_takeover_pending(&t));
	ck_assert(arbiter_takeover_poll(&t, 10 * SEC));
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert_uint_eq(used(root), 0);
	ck_assert_int_eq(arbiter_share_next(a, 0, &shared), -ENOENT);
	/* Late, but it may come. */
	ck_assert_int_eq(adopt(fd[2]), id[2]);
	ck_assert_int_eq(arbiter_charge(a, (uint64_t)id[2], dev, ARBITER_VRAM, G, NULL), 0);
	arbiter_takeover_deinit(&t);
}
END_TEST

START_TEST(one_at_a_time)
{
	struct arbiter *other;
	pid_t holder = 0;

	ck_assert_int_eq(arbiter_kmod_new(0, &other, &holder), -EBUSY);
	ck_assert_int_eq(holder, getpid());
	a = arbiter_free(a);
	ck_assert_int_eq(arbiter_kmod_new(0, &a, &holder), 0);
}
END_TEST

/* ---- pressure, by the module's clock --------------------------------------------------- */

static void fired(void *ctx, uint32_t trigger)
{
	((unsigned int *)ctx)[trigger]++;
}

START_TEST(stalls_and_triggers)
{
	uint64_t s = carrier_open(a, 1000, NULL, NULL);
	uint32_t of_device, of_user, wrong;
	struct arbiter_group group;
	struct arbiter_pressure p;
	unsigned int n[2] = { 0 };
	struct arbiter_subject u = user(1000);

	ck_assert_int_eq(arbiter_find(a, &u, &group), 0);
	ck_assert_uint_eq(arbiter_poll(a, 0, fired, n), UINT64_MAX);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, dev, false, 1000, 500000, 0, &of_device), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, &group, 0, true, 400000, 500000, 0, &of_user), 0);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, 9, true, 1, 500000, 0, &wrong), -ENOENT);
	ck_assert_int_eq(arbiter_trigger_add(a, NULL, dev, true, 1, 5, 0, &wrong), -EINVAL);
	ck_assert_int_eq(arbiter_run(a, s, dev, 0), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s, dev, 0), 0);
	ck_assert_int_eq(arbiter_stall_begin(a, s, dev, 0), 0);
	nanosleep(&(struct timespec){ .tv_nsec = 50 * MS }, NULL);
	ck_assert_int_eq(arbiter_stall_end(a, s, dev, 0), 0);
	ck_assert_int_eq(arbiter_stall_end(a, s, dev, 0), 0);
	ck_assert_int_eq(arbiter_stall_end(a, s, dev, 0), -EINVAL);
	ck_assert_int_eq(arbiter_idle(a, s, dev, 0), 0);
	ck_assert_int_eq(arbiter_pressure_device(a, dev, 0, &p), 0);
	ck_assert_uint_ge(p.total_us[0], 50000);
	ck_assert_uint_ge(p.total_us[1], 50000);
	ck_assert_int_eq(arbiter_pressure_group(a, &group, 0, &p), 0);
	ck_assert_uint_ge(p.total_us[0], 50000);
	ck_assert_int_eq(arbiter_pressure_device(a, 1, 0, &p), -ENOENT);
	for (int i = 0; i < 1000 && !n[of_device]; i++) {
		ck_assert_uint_lt(arbiter_poll(a, 0, fired, n), UINT64_MAX);
		nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
	}
	ck_assert_uint_ge(n[of_device], 1);
	ck_assert_int_eq(arbiter_trigger_del(a, of_device), 0);
	ck_assert_int_eq(arbiter_trigger_del(a, of_device), -ENOENT);
	ck_assert_int_eq(arbiter_trigger_del(a, 100000), -ENOENT);
	/* One is left for the teardown. */
}
END_TEST

int main(int argc, char *argv[])
{
	Suite *suite = suite_create("arbiter_kmod");
	TCase *tc = tcase_create("kmod");
	SRunner *runner;
	int failed;

	if (!carrier_begin(argc, argv))
		return 77;
	if (!carrier_is_kmod()) {
		printf("for the kernel module: make check-kmod\n");
		return 77;
	}
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, descriptors_that_are_none);
	tcase_add_test(tc, adopted_once_and_again);
	tcase_add_test(tc, ends_are_told);
	tcase_add_test(tc, hints_change_nothing);
	tcase_add_test(tc, limits_outlive_the_daemon);
	tcase_add_test(tc, somebody_else_sets_limits);
	tcase_add_test(tc, devices_are_found_by_name);
	tcase_add_test(tc, what_is_left_behind);
	tcase_add_test(tc, one_at_a_time);
	tcase_add_test(tc, stalls_and_triggers);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	carrier_end();
	return failed ? 1 : 0;
}
