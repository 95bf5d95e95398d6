// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module itself: what it is when it has just been loaded, what keeps it from being unloaded and what does not, its
 * parameters, and the number of its devices. Loads and unloads vram.ko (VRAM_KO), so only in a machine for that.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/support/skip.h"

static int unload(void)
{
	return syscall(SYS_delete_module, "vram", O_NONBLOCK) ? -errno : 0;
}

/* Whose the node was; whoever runs after us finds that again, as from udev. */
static struct stat node;

static int load(const char *parameters)
{
	int fd = open(getenv("VRAM_KO"), O_RDONLY | O_CLOEXEC), ret;

	ck_assert_int_ge(fd, 0);
	ret = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;
	close(fd);
	if (ret)
		return ret;
	/* It is made by devtmpfs, at once. */
	EVENTUALLY(access(DEVICE_PATH, F_OK) == 0);
	ck_assert_int_eq(chown(DEVICE_PATH, node.st_uid, node.st_gid), 0);
	ck_assert_int_eq(chmod(DEVICE_PATH, node.st_mode & 07777), 0);
	return 0;
}

/* Whoever was here before may still be going. */
static void reload(const char *parameters)
{
	int ret = 0;

	EVENTUALLY((ret = unload()) == 0 || ret == -ENOENT);
	ck_ok(load(parameters));
}

static void setup(void)
{
	reload("");
}

START_TEST(test_fresh)
{
	struct vram_ioc_share s = { .op = VRAM_SHARE_NEW };
	int fd = device_open(), other;
	struct vram_ioc_pressure p;
	struct vram_ioc_usage u;
	struct vram_ioc_info info = info_of(fd);
	struct vram_ioc_wait wait = { .deadline_ns = FOREVER };
	struct vram_arbiter_event e;

	ck_assert_uint_eq(info.session, 1);
	ck_assert_uint_eq(info.generation, 0);
	ck_assert_uint_eq(info.arbiter_state, VRAM_ARBITER_NEVER);
	ck_assert_int_eq(info.arbiter_pid, 0);
	ck_assert_uint_eq(info.n_devices, 0);
	ck_assert_uint_eq(info.flags, 0);
	table_make(fd, 1);
	ck_assert_int_lt(try_ioctl(fd, VRAM_IOC_WAIT, &wait), 0);
	ck_errno(try_usage(fd, VRAM_KIND_ROOT, 0, 0, 0, &u), ENOENT);
	ck_errno(try_pressure(fd, VRAM_PRESSURE_DEVICE, 0, 0, 0, &p), ENOENT);
	ck_ok(try_pressure(fd, 0, 0, VRAM_KIND_ROOT, 0, &p));
	ck_assert_uint_eq(p.total_us[0] | p.total_us[1], 0);
	/* The first arbiter, before there is any device. */
	other = try_open(O_RDWR | O_NONBLOCK);
	ck_assert_uint_eq(attach(other, 0), 1);
	ck_errno(try_event(other, &e), EAGAIN);
	ck_errno(try_ioctl(other, VRAM_IOC_SHARE, &s), ENOENT);
	ck_assert_uint_eq(adopt(other, fd, 0).session, 1);
	ck_errno(try_ioctl(fd, VRAM_IOC_WAIT, &wait), ENOENT);
	ck_errno(try_state(other, 1, 0, VRAM_SESSION_RUN), ENOENT);
	close(fd);
	close(other);
}
END_TEST

/* Sessions, limits and shares that are older than a device have it, too. */
START_TEST(test_devices)
{
	struct vram_ioc_device d = { .capacity = { GIB, VRAM_CAPACITY_SHARED, GIB }, .name = "0" };
	int fd = device_open(), arb = try_open(O_RDWR | O_NONBLOCK);
	struct vram_ioc_charge c = { .session = 1, .share = VRAM_NO_SHARE, .to = 1, .bytes = MIB };
	struct vram_ioc_usage u;
	uint32_t i;
	char *was;

	attach(arb, 0);
	adopt(arb, fd, 0);
	/* The first one shares with nobody. */
	ck_errno(try_ioctl(arb, VRAM_IOC_DEVICE, &d), EINVAL);
	ck_assert_uint_eq(info_of(fd).n_devices, 0);
	for (i = 0; i < VRAM_MAX_DEVICES; i++) {
		snprintf(d.name, sizeof(d.name), "%u", i);
		d.capacity[1] = i % 2 ? VRAM_CAPACITY_SHARED : (i + 1) * GIB;
		ck_ok(try_ioctl(arb, VRAM_IOC_DEVICE, &d));
		ck_assert_uint_eq(d.dev, i);
		d.dev = 0;
		ck_assert_uint_eq(info_of(fd).n_devices, i + 1);
		c.dev = i;
		ck_ok(try_ioctl(arb, VRAM_IOC_CHARGE, &c));
	}
	/* What is shared counts together; so 9 in the first one's, and 1 in each of the others'. */
	for (i = 0; i < VRAM_MAX_DEVICES; i++) {
		ck_ok(try_usage(arb, VRAM_KIND_SESSION, 1, i, 1, &u));
		ck_assert_uint_eq(u.usage, i % 2 || !i ? 9 * MIB : MIB);
		ck_ok(try_usage(arb, VRAM_KIND_ROOT, 0, i, 1, &u));
		ck_assert_uint_eq(u.limit[VRAM_LIMIT_MAX], i % 2 || !i ? GIB : (i + 1) * GIB);
	}
	was = snapshot(arb);
	strcpy(d.name, "16");
	ck_errno(try_ioctl(arb, VRAM_IOC_DEVICE, &d), ENOSPC);
	/* Sharing cannot be changed, in either direction. */
	strcpy(d.name, "3");
	d.capacity[1] = GIB;
	ck_errno(try_ioctl(arb, VRAM_IOC_DEVICE, &d), EINVAL);
	strcpy(d.name, "2");
	d.capacity[1] = VRAM_CAPACITY_SHARED;
	ck_errno(try_ioctl(arb, VRAM_IOC_DEVICE, &d), EINVAL);
	snapshot_same(arb, was, "a refused device");
	free(was);
	close(fd);
	{
		/* What fell back is told once for what is shared. */
		struct vram_arbiter_event e = event_gone(arb, 1);

		ck_assert_uint_eq(e.bytes[1], 16 * MIB);
	}
	close(arb);
}
END_TEST

/* ---- unloading ------------------------------------------------------------------- */

START_TEST(test_not_while_open)
{
	int fd = device_open();

	ck_errno(unload(), EWOULDBLOCK);
	ck_assert_uint_ne(session_of(fd), 0);
	close(fd);
	EVENTUALLY(unload() == 0);
	ck_assert_int_ne(access(DEVICE_PATH, F_OK), 0);
}
END_TEST

START_TEST(test_not_while_mapped)
{
	int fd = device_open(), copy;
	uint32_t *table;

	table_make(fd, 64);
	table = table_map(fd, 64, 0);
	close(fd);
	ck_errno(unload(), EWOULDBLOCK);
	/* The arbiter's mapping of a table whose session has gone. */
	fd = device_open();
	copy = try_open(O_RDWR | O_NONBLOCK);
	attach(copy, 0);
	munmap(table, 64 * VRAM_SLOT_BYTES);
	table_make(fd, 64);
	table = table_map(copy, 64, adopt(copy, fd, 0).map_offset);
	close(fd);
	close(copy);
	sleep_ms(50);
	ck_errno(unload(), EWOULDBLOCK);
	table[0] = 1;
	munmap(table, 64 * VRAM_SLOT_BYTES);
	EVENTUALLY(unload() == 0);
}
END_TEST

START_TEST(test_not_while_under_way)
{
	int fd = device_open(), pair[2];

	ck_assert_int_eq(passing_pair(pair), 0);
	ck_assert_int_eq(passing_send(pair[0], fd), 0);
	close(fd);
	ck_errno(unload(), EWOULDBLOCK);
	close(pair[0]);
	close(pair[1]);
	EVENTUALLY(unload() == 0);
}
END_TEST

/* Limits, shares with bytes, unread events, a grace that runs: none of them keeps it, and all of it is freed. */
START_TEST(test_with_remains)
{
	struct vram_ioc_trigger t = {
		.flags = VRAM_PRESSURE_DEVICE,
		.threshold_us = 1000,
		.window_us = 500000,
	};
	int fd, i;

	for (i = 0; i < 3; i++) {
		w.arb = try_open(O_RDWR | O_NONBLOCK);
		attach(w.arb, 600000);
		w.dev[0] = device_add(w.arb, "test0", world_capacity);
		fd = client_new(UID_A, 100);
		charge(w.arb, session_of(fd), MIB);
		ck_ok(try_share_charge(w.arb, share_new(w.arb, w.dev[0]), MIB));
		ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, GIB));
		ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, GIB));
		t.dev = w.dev[0];
		ck_ok(try_ioctl(fd, VRAM_IOC_TRIGGER, &t));
		ck_ok(try_state(w.arb, session_of(fd), w.dev[0], VRAM_SESSION_STALL));
		close(fd);
		close(w.arb);
		EVENTUALLY(unload() == 0);
		ck_ok(load(""));
	}
	fd = device_open();
	ck_assert_uint_eq(info_of(fd).generation, 0);
	close(fd);
}
END_TEST

/* Unloading races with opening: either wins, and nobody crashes. */
START_TEST(test_race)
{
	pid_t pid = fork();
	int i, n = 0;

	if (!pid)
		for (i = 0;; i++) {
			int fd = try_open(O_RDWR);

			if (fd >= 0)
				close(fd);
			if (i % 8 == 0)
				usleep((unsigned int)(i % 1000));
		}
	for (i = 0; i < 5000 && n < 10; i++)
		if (!unload()) {
			n++;
			ck_ok(load(""));
		}
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_gt(n, 0);
}
END_TEST

START_TEST(test_parameters)
{
	int fd[3], i;

	reload("max_sessions=2 max_slots=150 max_waiters=5");
	for (i = 0; i < 2; i++)
		fd[i] = device_open();
	ck_errno(try_open(O_RDWR), EMFILE);
	ck_assert_uint_eq(info_of(fd[0]).max_slots, 128);
	ck_assert_uint_eq(info_of(fd[0]).max_waiters, 5);
	for (i = 0; i < 2; i++)
		close(fd[i]);
	EVENTUALLY(unload() == 0);
	ck_assert_int_lt(load("max_sessions=many"), 0);
	ck_errno(unload(), ENOENT);
}
END_TEST

/* As the next program wants it. */
static void restore(void)
{
	unload();
	load("");
}

int main(void)
{
	Suite *suite = suite_create("module");
	TCase *tc = tcase_create("module");
	const char *why = NULL;

	stat(DEVICE_PATH, &node);
	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, NULL, restore);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, test_fresh);
	tcase_add_test(tc, test_devices);
	tcase_add_test(tc, test_not_while_open);
	tcase_add_test(tc, test_not_while_mapped);
	tcase_add_test(tc, test_not_while_under_way);
	tcase_add_test(tc, test_with_remains);
	tcase_add_test(tc, test_race);
	tcase_add_test(tc, test_parameters);
	suite_add_tcase(suite, tc);
	if (!getenv("VRAM_GUEST") || !getenv("VRAM_KO"))
		why = "loads and unloads the module: run by tests/vm/check_kmod.sh in a guest";
	if (why) {
		srunner_free(srunner_create(suite));
		return skip(why);
	}
	return device_main(suite);
}
