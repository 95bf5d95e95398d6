// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names by a helper process: what is answered, kept, asked again, and what a service that hangs holds up.
 *
 * links: daemon/names.c daemon/names_helper.c daemon/privileges.c daemon/loop.c daemon/log.c
 * links: common/err.c common/utf8.c common/fd.c
 * libs: -luring -lcap-ng -lsystemd
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "daemon/names.h"

#define SECOND 1000000000ull

/* Shared with the helper and its children. */
static struct world {
	unsigned int n_asked;
	uint32_t first; /* the primary group of everybody */
	bool hang;
	bool fail;
	pid_t helper;
} * world;

static struct names *names;
static struct loop *loop;
static unsigned int n_changed;

static int fake_groups(uid_t uid, uint32_t *gids, size_t max, size_t *out_n)
{
	__atomic_fetch_add(&world->n_asked, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&world->hang, __ATOMIC_SEQ_CST))
		usleep(1000);
	if (world->fail)
		return -EIO;
	if (uid == 404)
		return -ENOENT;
	if (max < 2)
		return -E2BIG;
	gids[0] = world->first;
	gids[1] = uid;
	*out_n = 2;
	return 0;
}

static int fake_id(enum names_kind kind, const char *name, uint64_t *out_id)
{
	if (!strcmp(name, "nobody-at-all"))
		return -ENOENT;
	*out_id = strlen(name) + (kind == NAMES_GROUP ? 100 : 0);
	return 0;
}

static int fake_exe(pid_t pid, char *buf, size_t size)
{
	world->helper = getpid();
	if (pid == 13)
		return -ESRCH;
	snprintf(buf, size, "/bin/%d", (int)pid);
	return 0;
}

static const struct names_ops fake = { fake_groups, fake_id, fake_exe, NULL };

static void setup_with(const struct names_ops *ops)
{
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ck_assert_ptr_ne(world, MAP_FAILED);
	world->first = 50;
	n_changed = 0;
	ck_assert_int_eq(names_new(&names, ops), 0);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
}

static void setup(void)
{
	setup_with(&fake);
}

static void setup_system(void)
{
	setup_with(&names_system);
}

static void teardown(void)
{
	names_free(names);
	loop_free(loop);
	munmap(world, sizeof(*world));
}

static void on_changed(void *ctx)
{
	(void)ctx;
	n_changed++;
}

static void run_until(const unsigned int *count, unsigned int wanted)
{
	unsigned int i;

	for (i = 0; i < 1000 && *count < wanted; i++)
		loop_run_once(loop, 10000000);
	ck_assert_uint_eq(*count, wanted);
}

START_TEST(test_answers)
{
	const uint32_t *gids;
	uint64_t id;
	char exe[64];
	size_t n;

	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(gids[0], 50);
	ck_assert_uint_eq(gids[1], 1000);
	ck_assert_int_eq(names_groups(names, 404, 10 * SECOND, &gids, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(names_id(names, NAMES_USER, "ann", 10 * SECOND, &id), 0);
	ck_assert_uint_eq(id, 3);
	ck_assert_int_eq(names_id(names, NAMES_GROUP, "ann", 10 * SECOND, &id), 0);
	ck_assert_uint_eq(id, 103);
	ck_assert_int_eq(names_id(names, NAMES_USER, "nobody-at-all", 10 * SECOND, &id), -ENOENT);
	ck_assert_int_eq(names_exe(names, 12, 10 * SECOND, exe, sizeof(exe)), 0);
	ck_assert_str_eq(exe, "/bin/12");
	ck_assert_int_eq(names_exe(names, 13, 10 * SECOND, exe, sizeof(exe)), -ESRCH);
	ck_assert_int_eq(names_exe(names, 12345, 10 * SECOND, exe, 5), -ENAMETOOLONG);
}
END_TEST

/* What is known is not asked again, until it may be wrong. */
START_TEST(test_kept)
{
	const uint32_t *gids;
	size_t n, i;

	ck_assert_int_eq(names_watch(names, loop, on_changed, NULL), 0);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	ck_assert_uint_eq(world->n_asked, 1);
	run_until(&n_changed, 1);
	world->first = 60;
	names_forget(names);
	/* The old answer is good until there is another, which is told. */
	ck_assert_int_eq(names_groups(names, 1000, 0, &gids, &n), 0);
	ck_assert_uint_eq(gids[0], 50);
	run_until(&n_changed, 2);
	ck_assert_int_eq(names_groups(names, 1000, 0, &gids, &n), 0);
	ck_assert_uint_eq(gids[0], 60);
	ck_assert_uint_eq(world->n_asked, 2);
}
END_TEST

/* A service that hangs holds up one question once; other kinds of questions are answered meanwhile. */
START_TEST(test_hangs)
{
	const uint32_t *gids;
	char exe[64];
	uint64_t id;
	size_t n;

	ck_assert_int_eq(names_watch(names, loop, on_changed, NULL), 0);
	world->hang = true;
	ck_assert_int_eq(names_groups(names, 1000, SECOND / 100, &gids, &n), -EAGAIN);
	ck_assert_int_eq(names_exe(names, 12, 10 * SECOND, exe, sizeof(exe)), 0);
	/* Not even a second is waited now, though it could be. */
	ck_assert_int_eq(names_groups(names, 1001, 1000 * SECOND, &gids, &n), -EAGAIN);
	ck_assert_int_eq(names_groups(names, 1000, 1000 * SECOND, &gids, &n), -EAGAIN);
	ck_assert_int_eq(names_id(names, NAMES_USER, "ann", 0, &id), -EAGAIN);
	run_until(&n_changed, 1);
	ck_assert_int_eq(names_id(names, NAMES_USER, "ann", 0, &id), 0);
	ck_assert_int_eq(names_exe(names, 12, 10 * SECOND, exe, sizeof(exe)), 0);
	world->hang = false;
	while (names_groups(names, 1000, 0, &gids, &n) || names_groups(names, 1001, 0, &gids, &n))
		loop_run_once(loop, 10000000);
	ck_assert_uint_ge(n_changed, 2);
}
END_TEST

/* A service that cannot answer now says nothing about a name. */
START_TEST(test_fails)
{
	const uint32_t *gids;
	size_t n;

	world->fail = true;
	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), -EAGAIN);
	world->fail = false;
	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	/* Nor does it make one wrong that is known. */
	world->fail = true;
	names_forget(names);
	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	ck_assert_uint_eq(gids[0], 50);
}
END_TEST

/* Many that hang: what comes after is asked again when there is room. */
START_TEST(test_many)
{
	const uint32_t *gids;
	uint64_t id;
	uint32_t uid;
	size_t n;

	world->hang = true;
	for (uid = 0; uid < 64; uid++)
		ck_assert_int_eq(names_groups(names, uid, 0, &gids, &n), -EAGAIN);
	ck_assert_int_eq(names_id(names, NAMES_USER, "x", 10 * SECOND, &id), -EAGAIN);
	world->hang = false;
	for (uid = 0; uid < 64; uid++) {
		while (names_groups(names, uid, SECOND, &gids, &n) == -EAGAIN)
			usleep(1000);
		ck_assert_uint_eq(gids[1], uid);
	}
}
END_TEST

/* More than are kept: the oldest are forgotten, answers for them are nothing, and they are asked anew. */
START_TEST(test_bounded)
{
	const uint32_t *gids;
	uint32_t uid;
	size_t n;

	world->hang = true;
	for (uid = 0; uid < NAMES_KEPT + 50; uid++)
		ck_assert_int_eq(names_groups(names, uid, 0, &gids, &n), -EAGAIN);
	world->hang = false;
	for (uid = 0; uid < NAMES_KEPT + 50; uid += 25) {
		while (names_groups(names, uid, SECOND, &gids, &n) == -EAGAIN)
			usleep(100);
		ck_assert_uint_eq(gids[1], uid);
	}
}
END_TEST

/* Without its helper the daemon goes on with what it knows. */
START_TEST(test_helper_dies)
{
	const uint32_t *gids;
	char exe[64];
	uint64_t id;
	size_t n;

	ck_assert_int_eq(names_watch(names, loop, on_changed, NULL), 0);
	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	ck_assert_int_eq(names_exe(names, 12, 10 * SECOND, exe, sizeof(exe)), 0);
	kill(world->helper, SIGKILL);
	ck_assert_int_eq(names_id(names, NAMES_USER, "ann", 10 * SECOND, &id), -EAGAIN);
	names_forget(names);
	ck_assert_int_eq(names_groups(names, 1000, 10 * SECOND, &gids, &n), 0);
	ck_assert_int_eq(names_groups(names, 1001, 10 * SECOND, &gids, &n), -EAGAIN);
	ck_assert_int_eq(names_exe(names, 12, 10 * SECOND, exe, sizeof(exe)), -EAGAIN);
	loop_run_once(loop, 1000000);
}
END_TEST

START_TEST(test_system)
{
	const struct passwd *me = getpwuid(getuid());
	const uint32_t *gids;
	char exe[4096], wanted[4096];
	uint64_t id;
	ssize_t len;
	size_t n, i;

	ck_assert_ptr_nonnull(me);
	ck_assert_int_eq(names_id(names, NAMES_USER, me->pw_name, 10 * SECOND, &id), 0);
	ck_assert_uint_eq(id, getuid());
	ck_assert_int_eq(names_id(names, NAMES_GROUP, getgrgid(0)->gr_name, 10 * SECOND, &id), 0);
	ck_assert_uint_eq(id, 0);
	ck_assert_int_eq(names_id(names, NAMES_GROUP, "no-such-group", 10 * SECOND, &id), -ENOENT);
	ck_assert_int_eq(names_groups(names, getuid(), 10 * SECOND, &gids, &n), 0);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_eq(gids[0], me->pw_gid);
	for (i = 2; i < n; i++)
		ck_assert_uint_gt(gids[i], gids[i - 1]);
	ck_assert_int_eq(names_exe(names, getpid(), 10 * SECOND, exe, sizeof(exe)), 0);
	len = readlink("/proc/self/exe", wanted, sizeof(wanted) - 1);
	ck_assert_int_gt(len, 0);
	wanted[len] = '\0';
	ck_assert_str_eq(exe, wanted);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("names");
	TCase *t = tcase_create("fake"), *t_system = tcase_create("system");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_answers);
	tcase_add_test(t, test_kept);
	tcase_add_test(t, test_hangs);
	tcase_add_test(t, test_fails);
	tcase_add_test(t, test_many);
	tcase_add_test(t, test_bounded);
	tcase_add_test(t, test_helper_dies);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t_system, setup_system, teardown);
	tcase_add_test(t_system, test_system);
	suite_add_tcase(s, t_system);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
