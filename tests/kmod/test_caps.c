// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one user may have: max_sessions, max_slots, max_waiters. Who has reached his cap is refused, the next user is not.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/waiter.h"

#define PARAMETERS "/sys/module/vram/parameters/"

static const char *const names[] = { "max_sessions", "max_slots", "max_waiters" };
static unsigned long saved[3];

static unsigned long parameter(const char *name)
{
	char path[128];
	unsigned long value = 0;
	FILE *f;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	f = fopen(path, "re");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(fscanf(f, "%lu", &value), 1);
	fclose(f);
	return value;
}

static void parameter_set(const char *name, unsigned long value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	f = fopen(path, "we");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	fprintf(f, "%lu", value);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_uint_eq(parameter(name), value);
}

/* Not only checked fixtures: a failed test must not leave the module with a tiny cap. */
static void save(void)
{
	int i;

	for (i = 0; i < 3; i++)
		saved[i] = parameter(names[i]);
}

static void restore(void)
{
	int i;

	for (i = 0; i < 3; i++)
		parameter_set(names[i], saved[i]);
}

/* As open_as(), but the open may fail. Return: a descriptor or -errno. */
static int try_open_as(uid_t uid)
{
	int pair[2], status, fd;
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		become(uid);
		fd = try_open(O_RDWR);
		_exit(fd < 0 ? -fd : passing_send(pair[1], fd) ? 200 : 0);
	}
	close(pair[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	fd = WEXITSTATUS(status) ? -WEXITSTATUS(status) : passing_receive(pair[0]);
	close(pair[0]);
	return fd;
}

static uint32_t n_sessions(uid_t uid)
{
	struct vram_ioc_group g;

	ck_ok(try_group(w.arb, VRAM_KIND_USER, uid, &g));
	return g.n_sessions;
}

START_TEST(test_defaults)
{
	int fd = open_as(UID_A), i;
	struct stat st;
	char path[128];

	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), PARAMETERS "%s", names[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0644);
		ck_assert_uint_gt(saved[i], 0);
	}
	/* Enough for a desktop, and not for filling a machine. */
	ck_assert_uint_ge(saved[0], 16);
	ck_assert_uint_le(saved[0], 65536);
	ck_assert_uint_ge(saved[1], 4096);
	ck_assert_uint_le(saved[1], 1u << 24);
	ck_assert_uint_ge(saved[2], 16);
	ck_assert_uint_le(saved[2], 65536);
	ck_assert_uint_eq(info_of(fd).max_waiters, saved[2]);
	ck_assert_uint_eq(info_of(fd).max_slots,
			  saved[1] < VRAM_MAX_SLOTS ? saved[1] : VRAM_MAX_SLOTS);
	close(fd);
}
END_TEST

START_TEST(test_sessions)
{
	int fd[5], i;
	char *was;

	parameter_set("max_sessions", 5);
	for (i = 0; i < 5; i++)
		ck_assert_int_ge(fd[i] = try_open_as(UID_A), 0);
	was = snapshot(w.arb);
	ck_errno(try_open_as(UID_A), EMFILE);
	ck_errno(try_open_as(UID_A), EMFILE);
	snapshot_same(w.arb, was, "a session too many");
	free(was);
	/* Somebody else still may; so may this one as soon as one of his is gone. */
	i = try_open_as(UID_B);
	ck_assert_int_ge(i, 0);
	close(i);
	close(fd[2]);
	EVENTUALLY(n_sessions(UID_A) == 4);
	ck_assert_int_ge(fd[2] = try_open_as(UID_A), 0);
	ck_errno(try_open_as(UID_A), EMFILE);
	/* Lowered below what there is, nothing is taken away; raised again, more may come. */
	parameter_set("max_sessions", 2);
	for (i = 0; i < 5; i++)
		ck_assert_uint_ne(session_of(fd[i]), 0);
	close(fd[0]);
	close(fd[1]);
	EVENTUALLY(n_sessions(UID_A) == 3);
	ck_errno(try_open_as(UID_A), EMFILE);
	parameter_set("max_sessions", 4);
	ck_assert_int_ge(fd[0] = try_open_as(UID_A), 0);
	ck_errno(try_open_as(UID_A), EMFILE);
}
END_TEST

/* A descriptor that was given away counts for whoever opened it. */
START_TEST(test_sessions_are_the_openers)
{
	int fd, own;

	parameter_set("max_sessions", 1);
	fd = try_open_as(UID_A);
	ck_assert_int_ge(fd, 0);
	ck_errno(try_open_as(UID_A), EMFILE);
	own = try_open_as(UID_B);
	ck_assert_int_ge(own, 0);
	close(own);
	close(fd);
}
END_TEST

static int try_table(int fd, uint32_t n_slots)
{
	struct vram_ioc_table t = { .n_slots = n_slots };

	return try_ioctl(fd, VRAM_IOC_TABLE, &t);
}

START_TEST(test_slots)
{
	int a = open_as(UID_A), a2 = open_as(UID_A), b = open_as(UID_B);
	uint32_t *p;
	char *was;

	parameter_set("max_slots", 1024);
	ck_assert_uint_eq(info_of(a).max_slots, 1024);
	ck_errno(try_table(a, 1025), EDQUOT);
	ck_ok(try_table(a, 640));
	ck_assert_uint_eq(info_of(a2).max_slots, 384);
	was = snapshot(w.arb);
	ck_errno(try_table(a2, 385), EDQUOT);
	snapshot_same(w.arb, was, "a table too large");
	free(was);
	ck_assert_uint_eq(info_of(a2).n_slots, 0);
	ck_ok(try_table(a2, 384));
	ck_assert_uint_eq(info_of(a2).max_slots, 0);
	/* Another user has his own thousand. */
	ck_assert_uint_eq(info_of(b).max_slots, 1024);
	ck_ok(try_table(b, 1024));
	/* While a table is replaced there are two of them. */
	ck_errno(try_table(a, 640), EDQUOT);
	ck_assert_uint_eq(info_of(a).n_slots, 640);
	close(a2);
	EVENTUALLY(info_of(a).max_slots == 384);
	ck_ok(try_table(a, 384));
	ck_assert_uint_eq(info_of(a).max_slots, 640);
	/* One that is still mapped is still memory. */
	p = table_map(a, 384, 0);
	ck_ok(try_table(a, 128));
	ck_assert_uint_eq(info_of(a).max_slots, 512);
	p[0] = 1;
	ck_assert_int_eq(munmap(p, 384 * VRAM_SLOT_BYTES), 0);
	EVENTUALLY(info_of(a).max_slots == 896);
	close(a);
	close(b);
}
END_TEST

/* What is counted is whole pages, so a table of one slot is not cheaper than its page. */
START_TEST(test_slots_are_pages)
{
	uint32_t a_page = (uint32_t)sysconf(_SC_PAGESIZE) / VRAM_SLOT_BYTES;
	int fd[5], i;

	parameter_set("max_slots", 4 * a_page + a_page / 2);
	for (i = 0; i < 5; i++)
		fd[i] = open_as(UID_A);
	ck_assert_uint_eq(info_of(fd[0]).max_slots, 4 * a_page);
	for (i = 0; i < 4; i++)
		ck_ok(try_table(fd[i], 1));
	ck_assert_uint_eq(info_of(fd[4]).max_slots, 0);
	ck_errno(try_table(fd[4], 1), EDQUOT);
	ck_assert_uint_eq(info_of(fd[0]).n_slots, 1);
	for (i = 0; i < 5; i++)
		close(fd[i]);
}
END_TEST

/* Replacing a mapped table over and over cannot pile up pages beyond the cap. */
START_TEST(test_slots_of_old_tables)
{
	int a = open_as(UID_A), i, n = 0;
	void *p[20];

	parameter_set("max_slots", 1024);
	for (i = 0; i < 20; i++) {
		if (try_table(a, 192))
			break;
		p[n++] = table_map(a, 192, 0);
	}
	ck_assert_int_eq(n, 5);
	for (i = 0; i < n; i++)
		ck_assert_int_eq(munmap(p[i], 192 * VRAM_SLOT_BYTES), 0);
	ck_ok(try_table(a, 192));
	close(a);
}
END_TEST

START_TEST(test_waiters)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0], .slot = 7, .deadline_ns = FOREVER };
	int a = client_new(UID_A, 8), a2 = client_new(UID_A, 8), b = client_new(UID_B, 8), i;
	struct waiter x[3], other;

	parameter_set("max_waiters", 3);
	ck_assert_uint_eq(info_of(a).max_waiters, 3);
	for (i = 0; i < 3; i++) {
		waiter_on(&x[i], i < 2 ? a : a2, (uint32_t)i);
		waiter_asleep(&x[i]);
	}
	ck_errno(try_ioctl(a, VRAM_IOC_WAIT, &wait), EDQUOT);
	ck_errno(try_ioctl(a2, VRAM_IOC_WAIT, &wait), EDQUOT);
	waiter_on(&other, b, 7);
	waiter_asleep(&other);
	ck_ok(try_wake(w.arb, session_of(a), 1));
	ck_assert_int_eq(waiter_result(&x[1]), 0);
	waiter_on(&x[1], a, 1);
	waiter_asleep(&x[1]);
	ck_errno(try_ioctl(a, VRAM_IOC_WAIT, &wait), EDQUOT);
	/* Whoever is killed makes room. */
	waiter_kill(&x[1]);
	waiter_on(&x[1], a, 1);
	waiter_asleep(&x[1]);
	for (i = 0; i < 3; i++)
		waiter_kill(&x[i]);
	waiter_kill(&other);
	close(a);
	close(a2);
	close(b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("caps");
	TCase *tc = tcase_create("caps");
	int status;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, world_setup, world_teardown);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_sessions);
	tcase_add_test(tc, test_sessions_are_the_openers);
	tcase_add_test(tc, test_slots);
	tcase_add_test(tc, test_slots_are_pages);
	tcase_add_test(tc, test_slots_of_old_tables);
	tcase_add_test(tc, test_waiters);
	if (!access(PARAMETERS, F_OK)) {
		/* Unchecked: runs even after a test that failed. */
		tcase_add_unchecked_fixture(tc, save, restore);
		tcase_add_checked_fixture(tc, restore, NULL);
	}
	suite_add_tcase(suite, tc);
	status = device_main(suite);
	return status;
}
