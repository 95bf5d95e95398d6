// SPDX-License-Identifier: GPL-2.0-only
/*
 * Being told when memory is waited for too long: libvram's vram_pressure_*(), with a workload that waits, one that does
 * not, and a daemon that goes.
 */
// links: tests/support/vramd.c tests/support/client_world.c libvram.a
// links: tests/support/device.c common/cuda_driver.c common/err.c
// libs: -ljansson
#define _GNU_SOURCE 1
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/client_world.h"

#define WINDOW_US 500000
/* Any wait at all, or nearly. */
#define LITTLE_US 200
#define MANY	  16 /* triggers of a session */

static bool reported(struct vram_pressure *pressure)
{
	struct pollfd fd = { .fd = vram_pressure_fd(pressure), .events = POLLIN };
	int r, ready = poll(&fd, 1, 0);

	r = vram_pressure_take(pressure);
	ck_assert_msg(r >= 0, "%d: %s", r, vram_error_text());
	ck_assert(r == 0 || ready == 1);
	/* Taken: silent until the next. */
	return r == 1;
}

/* The model is twice the budget: every walk waits. */
static void walk_until(struct vram_pressure *pressure)
{
	int left = 300;

	while (!reported(pressure) && left-- > 0)
		walk(model);
	ck_assert_msg(left > 0, "never reported");
}

static void acquire_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, i), FOREVER), 0);
}

static void release_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		vram_layer_release(vram_model_layer(model, i));
}

/* Uses what is held anyway for longer than a window, without any wait. */
static void use_what_is_there(void)
{
	struct vram_stats before, after;

	ck_assert_int_eq(vram_client_stats(client, &before), 0);
	for (int n = 0; n < 120; n++) {
		acquire_all(FIT);
		release_all(FIT);
		usleep(10000);
	}
	ck_assert_int_eq(vram_client_stats(client, &after), 0);
	ck_assert_uint_eq(before.faults, after.faults);
}

static struct vram_pressure *watch(struct vram_client *c, enum vram_pressure_of of,
				   unsigned int flags, uint64_t threshold_us)
{
	struct vram_pressure *pressure = NULL;

	ck_assert_msg(vram_pressure_watch(c, of, flags, threshold_us, WINDOW_US, &pressure) == 0,
		      "%s", vram_error_text());
	return pressure;
}

START_TEST(a_workload_that_waits)
{
	struct vram_pressure *own = watch(client, VRAM_PRESSURE_OF_CLIENT, 0, LITTLE_US);
	struct vram_pressure *full =
		watch(client, VRAM_PRESSURE_OF_CLIENT, VRAM_WATCH_FULL, LITTLE_US);
	struct vram_pressure *user = watch(client, VRAM_PRESSURE_OF_USER, 0, LITTLE_US);
	struct vram_pressure *device = watch(client, VRAM_PRESSURE_OF_DEVICE, 0, LITTLE_US);

	walk_until(own);
	walk_until(full);
	walk_until(user);
	walk_until(device);
	/* Again, in another window. */
	walk_until(own);
	vram_pressure_free(own);
	vram_pressure_free(full);
	vram_pressure_free(user);
	vram_pressure_free(device);
	vram_pressure_free(NULL);
}
END_TEST

START_TEST(a_workload_that_does_not)
{
	struct vram_pressure *own, *device;

	/* What is waited for at first is not meant. */
	acquire_all(FIT);
	own = watch(client, VRAM_PRESSURE_OF_CLIENT, 0, LITTLE_US);
	device = watch(client, VRAM_PRESSURE_OF_DEVICE, 0, LITTLE_US);
	use_what_is_there();
	ck_assert(!reported(own));
	ck_assert(!reported(device));
	release_all(FIT);
	vram_pressure_free(own);
	vram_pressure_free(device);
}
END_TEST

START_TEST(another_client_of_the_user)
{
	struct vram_client *other = NULL;
	struct vram_pressure *own, *user;

	ck_assert_int_eq(vram_connect(d.socket, "watcher", 0, &other), 0);
	own = watch(other, VRAM_PRESSURE_OF_CLIENT, 0, LITTLE_US);
	user = watch(other, VRAM_PRESSURE_OF_USER, 0, LITTLE_US);
	walk_until(user);
	ck_assert(!reported(own));
	vram_pressure_free(own);
	vram_pressure_free(user);
	vram_close(other);
}
END_TEST

START_TEST(a_daemon_that_goes)
{
	struct vram_pressure *own = watch(client, VRAM_PRESSURE_OF_CLIENT, 0, LITTLE_US);
	struct pollfd fd = { .fd = vram_pressure_fd(own), .events = POLLIN };

	walk_until(own);
	vramd_signal(&d, SIGKILL);
	EVENTUALLY(vram_pressure_take(own) == -ENOTCONN);
	/* What has no daemon is silent, or who polls it would spin. */
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	vramd_start(&d);
	EVENTUALLY(vram_pressure_take(own) >= 0);
	ck_assert_int_eq(vram_pressure_fd(own), fd.fd);
	walk_until(own);
	vram_pressure_free(own);
}
END_TEST

START_TEST(what_is_refused)
{
	struct vram_pressure *pressures[MANY], *p = NULL;

	ck_assert_int_eq(vram_pressure_watch(client, 0, 0, 1, WINDOW_US, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 4, 0, 1, WINDOW_US, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 2, 1, WINDOW_US, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 0, 0, WINDOW_US, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 0, WINDOW_US + 1, WINDOW_US, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 0, 1, 499999, &p), -EINVAL);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 0, 1, 10000001, &p), -EINVAL);
	ck_assert_ptr_null(p);
	for (int i = 0; i < MANY; i++)
		pressures[i] = watch(client, VRAM_PRESSURE_OF_CLIENT, 0, WINDOW_US);
	ck_assert_int_eq(vram_pressure_watch(client, 1, 0, 1, WINDOW_US, &p), -E2BIG);
	/* One that is freed makes room for another. */
	vram_pressure_free(pressures[3]);
	EVENTUALLY(vram_pressure_watch(client, 1, 0, 1, WINDOW_US, &pressures[3]) == 0);
	for (int i = 0; i < MANY; i++)
		vram_pressure_free(pressures[i]);
	walk(model);
}
END_TEST

START_TEST(in_a_forked_child)
{
	struct vram_pressure *own = watch(client, VRAM_PRESSURE_OF_CLIENT, 0, LITTLE_US), *p;
	int status;
	pid_t pid;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* No Check in the child. */
		bool right = vram_pressure_take(own) == -ECHILD &&
			     vram_pressure_watch(client, 1, 0, 1, WINDOW_US, &p) == -ECHILD;

		vram_pressure_free(own);
		_exit(right ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	walk_until(own);
	vram_pressure_free(own);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("triggers");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "triggers");
	tcase_add_test(tc, a_workload_that_waits);
	tcase_add_test(tc, a_workload_that_does_not);
	tcase_add_test(tc, another_client_of_the_user);
	tcase_add_test(tc, a_daemon_that_goes);
	tcase_add_test(tc, what_is_refused);
	tcase_add_test(tc, in_a_forked_child);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
