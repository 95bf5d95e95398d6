// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting on a slot: who wakes, who does not, what ends it, and that exactly this time is counted as a stall.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/waiter.h"

#define N_SLOTS 64

static int a, b; /* clients of users A and B */
static uint64_t ida, idb;
static uint32_t *table; /* of a */

static void setup(void)
{
	world_setup();
	a = client_new(UID_A, N_SLOTS);
	b = client_new(UID_B, N_SLOTS);
	ida = session_of(a);
	idb = session_of(b);
	table = table_map(a, N_SLOTS, 0);
}

static struct vram_ioc_wait wait_on(uint32_t slot, uint64_t deadline_ns)
{
	return (struct vram_ioc_wait){ .dev = w.dev[0], .slot = slot, .deadline_ns = deadline_ns };
}

static int try_wait(int fd, uint32_t slot, uint32_t expected, uint64_t deadline_ns)
{
	struct vram_ioc_wait wait = wait_on(slot, deadline_ns);

	wait.expected = expected;
	return try_ioctl(fd, VRAM_IOC_WAIT, &wait);
}

static uint64_t stalled_us(uint32_t kind, uint64_t key)
{
	struct vram_ioc_pressure p;

	ck_ok(try_pressure(w.arb, 0, 0, kind, key, &p));
	return p.total_us[0];
}

static uint64_t device_us(uint32_t dev)
{
	struct vram_ioc_pressure p;

	ck_ok(try_pressure(w.arb, VRAM_PRESSURE_DEVICE, dev, 0, 0, &p));
	return p.total_us[0];
}

/* ---- the word -------------------------------------------------------------------- */

START_TEST(test_other_word)
{
	uint64_t before = stalled_us(VRAM_KIND_SESSION, ida);

	ck_ok(try_wait(a, 3, 1, FOREVER));
	table[3 * 16] = 0x80000001;
	ck_ok(try_wait(a, 3, 0, FOREVER));
	ck_ok(try_wait(a, 3, 1, FOREVER));
	ck_errno(try_wait(a, 3, 0x80000001, 0), ETIMEDOUT);
	/* The first 32 bits of a slot, no more. */
	memset(&table[3 * 16 + 1], 0xff, 60);
	ck_errno(try_wait(a, 3, 0x80000001, 0), ETIMEDOUT);
	ck_ok(try_wait(a, 3, 0xffffffff, 0));
	/* The slot asked for, not its neighbours. */
	table[4 * 16] = 7;
	ck_errno(try_wait(a, 4, 7, 0), ETIMEDOUT);
	ck_errno(try_wait(a, 2, 0, 0), ETIMEDOUT);
	table[(N_SLOTS - 1) * 16] = 9;
	ck_errno(try_wait(a, N_SLOTS - 1, 9, 0), ETIMEDOUT);
	/* Who was back at once did not stall (what timed out did, for an instant). */
	ck_assert_uint_lt(stalled_us(VRAM_KIND_SESSION, ida) - before, 1000000);
}
END_TEST

START_TEST(test_back_at_once_is_no_stall)
{
	uint64_t before = stalled_us(VRAM_KIND_SESSION, ida);
	int i;

	for (i = 0; i < 1000; i++)
		ck_ok(try_wait(a, 0, 1, FOREVER));
	ck_assert_uint_eq(stalled_us(VRAM_KIND_SESSION, ida), before);
}
END_TEST

/* ---- waking ----------------------------------------------------------------------- */

START_TEST(test_wake)
{
	struct waiter x;

	waiter_on(&x, a, 5);
	waiter_asleep(&x);
	/* A changed word alone wakes nobody: the arbiter says when. */
	table[5 * 16] = 1;
	ck_assert(!waiter_is_back(&x, 100));
	ck_ok(try_wake(w.arb, ida, 5));
	ck_assert_int_eq(waiter_result(&x), 0);
	/* Nobody waits: nothing happens, and nothing is kept for later. */
	table[5 * 16] = 0;
	ck_ok(try_wake(w.arb, ida, 5));
	waiter_on(&x, a, 5);
	waiter_asleep(&x);
	ck_assert(!waiter_is_back(&x, 100));
	ck_ok(try_wake(w.arb, ida, 5));
	ck_assert_int_eq(waiter_result(&x), 0);
}
END_TEST

START_TEST(test_right_slot)
{
	struct waiter x[4], other;
	int i;

	for (i = 0; i < 4; i++) {
		waiter_on(&x[i], a, (uint32_t)i);
		waiter_asleep(&x[i]);
	}
	waiter_on(&other, b, 2);
	waiter_asleep(&other);
	ck_ok(try_wake(w.arb, ida, 2));
	ck_assert_int_eq(waiter_result(&x[2]), 0);
	ck_assert(!waiter_is_back(&other, 100));
	for (i = 0; i < 4; i++)
		ck_assert(i == 2 || !waiter_is_back(&x[i], 0));
	ck_ok(try_wake(w.arb, idb, 2));
	ck_assert_int_eq(waiter_result(&other), 0);
	for (i = 0; i < 4; i++) {
		if (i == 2)
			continue;
		ck_ok(try_wake(w.arb, ida, (uint32_t)i));
		ck_assert_int_eq(waiter_result(&x[i]), 0);
	}
}
END_TEST

START_TEST(test_all_of_one_slot)
{
	struct waiter x[12];
	int i;

	for (i = 0; i < 12; i++) {
		waiter_on(&x[i], a, 9);
		waiter_asleep(&x[i]);
	}
	ck_ok(try_wake(w.arb, ida, 9));
	for (i = 0; i < 12; i++)
		ck_assert_int_eq(waiter_result(&x[i]), 0);
}
END_TEST

static atomic_bool stop;

static void *waker(void *arg)
{
	uint32_t next = 1;

	(void)arg;
	while (!atomic_load(&stop)) {
		atomic_store((_Atomic uint32_t *)table, next++);
		ck_assert_int_eq(try_wake(w.arb, ida, 0), 0);
	}
	return NULL;
}

/* The arbiter changes the word and wakes; whoever saw the old word never misses it. */
START_TEST(test_no_lost_wakeup)
{
	pthread_t thread;
	unsigned int n;

	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, waker, NULL), 0);
	for (n = 0; n < 500; n++) {
		uint32_t seen = atomic_load((_Atomic uint32_t *)table);

		/* Ten seconds mean that a wake-up was lost: the word changes all the time. */
		ck_ok(try_wait(a, 0, seen, now_ns() + 10 * SECOND));
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* ---- the deadline ------------------------------------------------------------------ */

START_TEST(test_deadline)
{
	uint64_t begin = now_ns(), end;

	ck_errno(try_wait(a, 0, 0, begin + 200 * MS), ETIMEDOUT);
	end = now_ns();
	ck_assert_uint_ge(end - begin, 200 * MS);
	/* Past already. */
	ck_errno(try_wait(a, 0, 0, begin), ETIMEDOUT);
	ck_errno(try_wait(a, 0, 0, 0), ETIMEDOUT);
	ck_errno(try_wait(a, 0, 0, 1), ETIMEDOUT);
	/* A word that has changed counts more than a deadline that has passed. */
	ck_ok(try_wait(a, 0, 1, 0));
}
END_TEST

/* Absurdly far away is far away, and not the past. */
START_TEST(test_far_deadlines)
{
	static const uint64_t far[] = { FOREVER, FOREVER - 1, 1ull << 63, (1ull << 63) - 1,
					1ull << 62 };
	struct waiter x[5];
	int i;

	for (i = 0; i < 5; i++) {
		struct vram_ioc_wait wait = wait_on((uint32_t)i, far[i]);

		waiter_start(&x[i], a, &wait, 0);
		waiter_asleep(&x[i]);
	}
	ck_assert(!waiter_is_back(&x[0], 200));
	for (i = 0; i < 5; i++) {
		ck_assert(!waiter_is_back(&x[i], 0));
		waiter_kill(&x[i]);
	}
}
END_TEST

/* ---- signals ------------------------------------------------------------------------ */

START_TEST(test_signal)
{
	struct vram_ioc_wait wait = wait_on(0, FOREVER);
	struct waiter_report r;
	struct waiter x;

	waiter_start(&x, a, &wait, WAITER_HANDLE);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, -EINTR);
	ck_assert_uint_eq(r.signals, 1);
}
END_TEST

START_TEST(test_signal_restarts)
{
	struct vram_ioc_wait wait = wait_on(0, FOREVER);
	struct waiter_report r;
	struct waiter x;

	waiter_start(&x, a, &wait, WAITER_RESTART);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	ck_assert(!waiter_is_back(&x, 200));
	waiter_asleep(&x);
	ck_ok(try_wake(w.arb, ida, 0));
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, 0);
	ck_assert_uint_eq(r.signals, 1);
}
END_TEST

/* The deadline is a time, not a duration: signals do not put it off. */
START_TEST(test_restart_keeps_the_deadline)
{
	struct vram_ioc_wait wait = wait_on(0, now_ns() + 2 * SECOND);
	struct waiter_report r;
	struct waiter x;
	uint64_t until = now_ns() + 20 * SECOND;

	waiter_start(&x, a, &wait, WAITER_RESTART);
	waiter_asleep(&x);
	while (!waiter_is_back(&x, 20) && now_ns() < until)
		kill(x.pid, SIGUSR1);
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, -ETIMEDOUT);
	ck_assert_uint_ge(r.signals, 2);
	ck_assert_uint_ge(r.end_ns, wait.deadline_ns);
	ck_assert_uint_lt(r.end_ns, until);
}
END_TEST

START_TEST(test_killable)
{
	struct vram_ioc_wait wait = wait_on(0, FOREVER);
	struct waiter_report r;
	struct waiter x;

	wait.flags = VRAM_WAIT_KILLABLE;
	waiter_start(&x, a, &wait, WAITER_HANDLE);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	ck_assert(!waiter_is_back(&x, 200));
	ck_assert(waiter_is_asleep(&x));
	ck_ok(try_wake(w.arb, ida, 0));
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, 0);
	ck_assert_uint_eq(r.signals, 1);
	/* It can be killed at any time; and by a deadline. */
	waiter_start(&x, a, &wait, WAITER_HANDLE);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	waiter_kill(&x);
	wait.deadline_ns = now_ns() + 1500 * MS;
	waiter_start(&x, a, &wait, WAITER_HANDLE);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	ck_assert_int_eq(waiter_result(&x), -ETIMEDOUT);
}
END_TEST

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* One who waits and takes no signals must not keep the machine from suspending. */
START_TEST(test_killable_freezes)
{
	struct vram_ioc_wait wait = wait_on(0, FOREVER);
	struct waiter x;

	/* Freezes everybody for five seconds and goes no further. */
	if (!write_text("/sys/power/pm_test", "freezer")) {
		printf("not tested: this kernel has no /sys/power/pm_test\n");
		return;
	}
	wait.flags = VRAM_WAIT_KILLABLE;
	waiter_start(&x, a, &wait, 0);
	waiter_asleep(&x);
	ck_assert(write_text("/sys/power/state", "freeze"));
	ck_assert(write_text("/sys/power/pm_test", "none"));
	ck_assert(!waiter_is_back(&x, 100));
	ck_ok(try_wake(w.arb, ida, 0));
	ck_assert_int_eq(waiter_result(&x), 0);
}
END_TEST

/* ---- states ------------------------------------------------------------------------- */

START_TEST(test_not_adopted)
{
	int fd = open_as(UID_A);

	ck_errno(try_wait(fd, 0, 0, FOREVER), ENXIO);
	table_make(fd, 4);
	ck_errno(try_wait(fd, 0, 0, FOREVER), ENOTCONN);
	ck_errno(try_wait(fd, 4, 0, FOREVER), ENXIO);
	adopt(w.arb, fd, 0);
	ck_errno(try_wait(fd, 0, 0, 0), ETIMEDOUT);
	close(fd);
}
END_TEST

/* ---- what is counted ------------------------------------------------------------------ */

START_TEST(test_time_is_counted)
{
	uint64_t session = stalled_us(VRAM_KIND_SESSION, ida),
		 user = stalled_us(VRAM_KIND_USER, UID_A);
	uint64_t root = stalled_us(VRAM_KIND_ROOT, 0), dev0 = device_us(w.dev[0]);
	uint64_t dev1 = device_us(w.dev[1]);
	uint64_t asleep, woken, least, most;
	struct waiter_report r;
	struct waiter x;

	waiter_on(&x, a, 0);
	waiter_asleep(&x);
	asleep = now_ns();
	sleep_ms(400);
	woken = now_ns();
	ck_ok(try_wake(w.arb, ida, 0));
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, 0);
	/* At least while it was seen asleep, at most the time around the call. */
	least = (woken - asleep) / 1000;
	most = (r.end_ns - r.begin_ns) / 1000 + 1;
	session = stalled_us(VRAM_KIND_SESSION, ida) - session;
	ck_assert_uint_ge(session, least);
	ck_assert_uint_le(session, most);
	user = stalled_us(VRAM_KIND_USER, UID_A) - user;
	ck_assert_uint_ge(user, least);
	ck_assert_uint_le(user, most);
	root = stalled_us(VRAM_KIND_ROOT, 0) - root;
	ck_assert_uint_ge(root, least);
	ck_assert_uint_le(root, most);
	dev0 = device_us(w.dev[0]) - dev0;
	ck_assert_uint_ge(dev0, least);
	ck_assert_uint_le(dev0, most);
	/* Not on the other device, not for the other user. */
	ck_assert_uint_eq(device_us(w.dev[1]), dev1);
	ck_assert_uint_eq(stalled_us(VRAM_KIND_SESSION, idb), 0);
	ck_assert_uint_eq(stalled_us(VRAM_KIND_USER, UID_B), 0);
	/* And it has ended. */
	session = stalled_us(VRAM_KIND_SESSION, ida);
	sleep_ms(50);
	ck_assert_uint_eq(stalled_us(VRAM_KIND_SESSION, ida), session);
}
END_TEST

/* The device that the wait names is the one that is charged with it. */
START_TEST(test_device_is_the_named_one)
{
	uint64_t dev0 = device_us(w.dev[0]), dev1 = device_us(w.dev[1]);
	struct vram_ioc_wait wait = wait_on(0, now_ns() + 200 * MS);

	wait.dev = w.dev[1];
	ck_errno(try_ioctl(a, VRAM_IOC_WAIT, &wait), ETIMEDOUT);
	ck_assert_uint_eq(device_us(w.dev[0]), dev0);
	ck_assert_uint_gt(device_us(w.dev[1]), dev1 + 100000);
}
END_TEST

/* Three threads of one session that wait at once are one stall: time passes once. */
START_TEST(test_stalls_of_one_session)
{
	struct waiter x[3];
	uint64_t begin = now_ns(), end, total;
	int i;

	for (i = 0; i < 3; i++) {
		waiter_on(&x[i], a, (uint32_t)i);
		waiter_asleep(&x[i]);
	}
	sleep_ms(300);
	for (i = 0; i < 3; i++) {
		ck_ok(try_wake(w.arb, ida, (uint32_t)i));
		ck_assert_int_eq(waiter_result(&x[i]), 0);
	}
	end = now_ns();
	total = stalled_us(VRAM_KIND_SESSION, ida);
	ck_assert_uint_ge(total, 300000);
	ck_assert_uint_le(total, (end - begin) / 1000);
}
END_TEST

/* What ends a wait in any other way ends the stall, too. */
START_TEST(test_stall_ends)
{
	struct vram_ioc_wait wait = wait_on(0, now_ns() + 50 * MS);
	struct waiter x;
	uint64_t total;

	ck_errno(try_ioctl(a, VRAM_IOC_WAIT, &wait), ETIMEDOUT);
	wait.deadline_ns = FOREVER;
	waiter_start(&x, a, &wait, WAITER_HANDLE);
	waiter_asleep(&x);
	kill(x.pid, SIGUSR1);
	ck_assert_int_eq(waiter_result(&x), -EINTR);
	waiter_on(&x, a, 0);
	waiter_asleep(&x);
	waiter_kill(&x);
	EVENTUALLY(({
		total = stalled_us(VRAM_KIND_SESSION, ida);
		sleep_ms(20);
		stalled_us(VRAM_KIND_SESSION, ida) == total;
	}));
	/* A session that ends while it waits takes its stall along. */
	{
		int fd = client_new(UID_A, 4);

		waiter_on(&x, fd, 0);
		close(fd);
		waiter_asleep(&x);
		waiter_kill(&x);
	}
	EVENTUALLY(({
		total = stalled_us(VRAM_KIND_ROOT, 0);
		sleep_ms(20);
		stalled_us(VRAM_KIND_ROOT, 0) == total;
	}));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wait");
	TCase *tc = tcase_create("wait");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_other_word);
	tcase_add_test(tc, test_back_at_once_is_no_stall);
	tcase_add_test(tc, test_wake);
	tcase_add_test(tc, test_right_slot);
	tcase_add_test(tc, test_all_of_one_slot);
	tcase_add_test(tc, test_no_lost_wakeup);
	tcase_add_test(tc, test_deadline);
	tcase_add_test(tc, test_far_deadlines);
	tcase_add_test(tc, test_signal);
	tcase_add_test(tc, test_signal_restarts);
	tcase_add_test(tc, test_restart_keeps_the_deadline);
	tcase_add_test(tc, test_killable);
	tcase_add_test(tc, test_killable_freezes);
	tcase_add_test(tc, test_not_adopted);
	tcase_add_test(tc, test_time_is_counted);
	tcase_add_test(tc, test_device_is_the_named_one);
	tcase_add_test(tc, test_stalls_of_one_session);
	tcase_add_test(tc, test_stall_ends);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
