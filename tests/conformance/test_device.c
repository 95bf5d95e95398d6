// SPDX-License-Identifier: GPL-2.0-only
/*
 * What libvram promises about /dev/vram itself: who may not have it, who has too much of it, and what a client
 * without a place to wait does. Only over the module (VRAM_ARBITER=kmod), as root.
 */
// links: tests/support/vramd.c tests/support/client_world.c libvram.a
// links: tests/support/device.c common/cuda_driver.c common/err.c
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/client_world.h"

#define PARAMETERS "/sys/module/vram/parameters/"
#define NOBODY	   65534

/* As they were found; put back before and after every test. */
static struct stat device;
static struct {
	const char *name;
	char value[32];
} parameters[] = { { PARAMETERS "max_sessions", "" },
		   { PARAMETERS "max_slots", "" },
		   { PARAMETERS "max_waiters", "" } };
#define N_PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

static void set_parameter(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert_int_ge(fputs(value, f), 0);
	ck_assert_msg(fclose(f) == 0, "%s: %s", path, strerror(errno));
}

static bool read_parameters(void)
{
	if (stat("/dev/vram", &device))
		return false;
	for (size_t i = 0; i < N_PARAMETERS; i++) {
		FILE *f = fopen(parameters[i].name, "re");
		bool known = f && fgets(parameters[i].value, sizeof(parameters[i].value), f);

		if (f)
			fclose(f);
		if (!known)
			return false;
	}
	return true;
}

static void restore(void)
{
	for (size_t i = 0; i < N_PARAMETERS; i++)
		set_parameter(parameters[i].name, parameters[i].value);
	ck_assert_int_eq(chmod("/dev/vram", device.st_mode & 07777), 0);
}

static void refused(int r, const char *text)
{
	struct vram_client *c = NULL;

	ck_assert_int_eq(vram_connect(d.socket, "refused", 0, &c), r);
	ck_assert_ptr_null(c);
	ck_assert_msg(strstr(vram_error_text(), text) != NULL, "\"%s\" does not say \"%s\"",
		      vram_error_text(), text);
}

/* Nobody may open the device, though everybody may reach the daemon. */
START_TEST(not_permitted)
{
	char base[100];
	int status;
	pid_t child;

	snprintf(base, sizeof(base), "%s/..", d.dir);
	ck_assert_int_eq(chmod(base, 0755), 0);
	ck_assert_int_eq(chmod(d.dir, 0755), 0);
	ck_assert_int_eq(chmod(d.socket, 0666), 0);
	ck_assert_int_eq(chmod("/dev/vram", 0600), 0);
	child = fork();
	if (child == 0) {
		ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
		ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
		refused(-EACCES, "/dev/vram");
		_exit(42);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
	walk(model);
	/* One who has the permission is served, whoever it is. */
	ck_assert_int_eq(chmod("/dev/vram", 0666), 0);
	child = fork();
	if (child == 0) {
		struct vram_client *c = NULL;

		ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
		ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
		ck_assert_msg(vram_connect(d.socket, "nobody", 0, &c) == 0, "%s",
			      vram_error_text());
		vram_close(c);
		_exit(42);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
}
END_TEST

START_TEST(too_many_sessions)
{
	struct vram_client *c;

	/* The daemon and the client of the fixture. */
	set_parameter(PARAMETERS "max_sessions", "2");
	refused(-E2BIG, "max_sessions");
	walk(model);
	set_parameter(PARAMETERS "max_sessions", "3");
	ck_assert_msg(vram_connect(d.socket, "third", 0, &c) == 0, "%s", vram_error_text());
	refused(-E2BIG, "max_sessions");
	vram_close(c);
}
END_TEST

START_TEST(too_many_slots)
{
	struct vram_client *c;
	struct vram_model *m;
	char path[160];

	set_parameter(PARAMETERS "max_slots", "16384");
	refused(-E2BIG, "max_slots");
	/* What is left is enough for a small model. */
	set_parameter(PARAMETERS "max_slots", "16484");
	ck_assert_msg(vram_connect(d.socket, "small", 0, &c) == 0, "%s", vram_error_text());
	snprintf(path, sizeof(path), "%s/model", d.dir);
	m = open_model(c, path);
	walk(m);
	vram_model_close(m);
	vram_close(c);
	walk(model);
}
END_TEST

/* After a restart each has the old table until it has the new one: one after the other. */
START_TEST(slots_for_a_restart)
{
	struct vram_client *c;
	struct vram_model *m;
	char path[160];

	ck_assert_int_eq(vram_connect(d.socket, "other", 0, &c), 0);
	snprintf(path, sizeof(path), "%s/model", d.dir);
	m = open_model(c, path);
	/* Both, and the half of one more. */
	set_parameter(PARAMETERS "max_slots", "40960");
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	walk(model);
	walk(m);
	/* And nothing more at all: a reconnect waits, and is through when there is room. */
	set_parameter(PARAMETERS "max_slots", "1");
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, SECOND / 4), -ENOTCONN);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "max_slots"));
	set_parameter(PARAMETERS "max_slots", "2097152");
	walk(model);
	walk(m);
	vram_model_close(m);
	vram_close(c);
}
END_TEST

static void *walk_on(void *arg)
{
	(void)arg;
	for (int pass = 0; pass < 3; pass++)
		walk(model);
	return NULL;
}

START_TEST(too_many_waiters)
{
	pthread_t threads[3];

	set_parameter(PARAMETERS "max_waiters", _i ? "1" : "0");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, walk_on, NULL), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	/* A deadline is one for those, too. */
	for (uint32_t i = 0; i < LAYERS; i++) {
		int r = vram_layer_acquire(vram_model_layer(model, i), SECOND / 2);

		if (r == -ETIMEDOUT)
			return;
		ck_assert_int_eq(r, 0);
	}
	ck_abort_msg("everything was to be had at once");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("device");
	TCase *tc = tcase_create("device");
	SRunner *runner;
	int failed;

	if (!vramd_wants_module()) {
		printf("needs the kernel module, and VRAM_ARBITER=kmod\n");
		return 77;
	}
	if (geteuid() != 0 || !read_parameters()) {
		printf("needs to be root, and %s\n", PARAMETERS);
		return 77;
	}
	if (!vramd_usable())
		return 77;
	tcase_add_checked_fixture(tc, restore, restore);
	world_add(suite, tc);
	tcase_add_test(tc, not_permitted);
	tcase_add_test(tc, too_many_sessions);
	tcase_add_test(tc, too_many_slots);
	tcase_add_test(tc, slots_for_a_restart);
	tcase_add_loop_test(tc, too_many_waiters, 0, 2);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
