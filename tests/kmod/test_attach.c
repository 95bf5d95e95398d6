// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter: one at a time, its death, and what the next one finds.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/waiter.h"

static uint32_t state_of(int fd)
{
	return info_of(fd).arbiter_state;
}

/* Lets the arbiter go, and waits until that is known. Return: any descriptor that may look. */
static int arbiter_gone(uint32_t state)
{
	int fd = device_open();

	close(w.arb);
	w.arb = -1;
	EVENTUALLY(state_of(fd) == state);
	return fd;
}

/* world_setup() with another grace. */
static void new_arbiter(uint32_t grace_ms)
{
	close(w.arb);
	w.arb = arbiter_new(grace_ms);
	w.generation = info_of(w.arb).generation;
}

/* ---- one at a time ------------------------------------------------------------- */

START_TEST(test_one_at_a_time)
{
	int other = device_open(), third;

	ck_errno(try_attach(other, 0), EBUSY);
	ck_errno(try_attach(w.arb, 0), EBUSY);
	ck_assert_uint_eq(info_of(other).generation, w.generation);
	ck_assert_uint_eq(info_of(other).flags, 0);
	third = arbiter_gone(VRAM_ARBITER_GONE);
	ck_assert_uint_eq(attach(other, 0), w.generation + 1);
	ck_errno(try_attach(third, 0), EBUSY);
	close(third);
	close(other);
}
END_TEST

/* Sixteen at once: one of them is it. */
START_TEST(test_race)
{
	int fd = arbiter_gone(VRAM_ARBITER_GONE), pipes[2], won = 0, i;
	pid_t pid[16];
	char byte;

	ck_assert_int_eq(pipe(pipes), 0);
	for (i = 0; i < 16; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			int own = device_open(), ret;

			close(pipes[1]);
			if (read(pipes[0], &byte, 1))
				_exit(3);
			ret = try_attach(own, 0);
			/* The winner stays until the others have tried. */
			if (!ret)
				sleep_ms(1000);
			_exit(!ret ? 0 : ret == -EBUSY ? 1 : 2);
		}
	}
	close(pipes[0]);
	close(pipes[1]);
	for (i = 0; i < 16; i++) {
		int status;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		won += status == 0;
	}
	ck_assert_int_eq(won, 1);
	ck_assert_uint_eq(info_of(fd).generation, w.generation + 1);
	close(fd);
}
END_TEST

START_TEST(test_capability)
{
	int fd = arbiter_gone(VRAM_ARBITER_GONE), other = open_as(UID_A), status;
	pid_t pid;

	/* It is the caller's capability, whoever opened. */
	pid = fork();
	if (!pid) {
		int own;

		become(UID_A);
		own = device_open();
		_exit(try_attach(other, 0) != -EPERM || try_attach(own, 0) != -EPERM ||
		      try_attach(fd, 0) != -EPERM);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(state_of(fd), VRAM_ARBITER_GONE);
	ck_ok(try_attach(other, 0));
	close(fd);
	close(other);
}
END_TEST

/* Once attached, the descriptor is the right: without any capability it works, in other hands, too. */
START_TEST(test_descriptor_is_the_right)
{
	int fd = open_as(UID_B), status;
	pid_t pid = fork();

	if (!pid) {
		struct vram_ioc_adopt a;
		struct vram_ioc_device d = { .name = "test1" };
		struct vram_ioc_group g = { .flags = VRAM_GROUP_FIRST };

		memcpy(d.capacity, world_capacity, sizeof(world_capacity));
		if (setgroups(0, NULL) || setresgid(UID_A, UID_A, UID_A) ||
		    setresuid(UID_A, UID_A, UID_A))
			_exit(1);
		if (try_adopt(w.arb, fd, 0, &a))
			_exit(2);
		if (try_charge(w.arb, a.session, MIB) || try_uncharge(w.arb, a.session, MIB))
			_exit(3);
		if (try_ioctl(w.arb, VRAM_IOC_DEVICE, &d))
			_exit(4);
		if (try_ioctl(w.arb, VRAM_IOC_GROUP, &g))
			_exit(5);
		if (try_limit(w.arb, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, GIB) ||
		    try_limit(w.arb, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, VRAM_UNLIMITED))
			_exit(6);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(info_of(fd).flags, VRAM_INFO_ADOPTED);
	close(fd);
}
END_TEST

/* The arbiter is a descriptor: as long as anybody has it, it is there. */
START_TEST(test_arbiter_lives_by_reference)
{
	int fd = device_open(), copy = dup(w.arb), pair[2];
	pid_t pid;

	close(w.arb);
	ck_assert_int_eq(passing_pair(pair), 0);
	ck_assert_int_eq(passing_send(pair[0], copy), 0);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		close(pair[1]);
		pause();
		_exit(0);
	}
	close(copy);
	sleep_ms(100);
	ck_assert_uint_eq(state_of(fd), VRAM_ARBITER_ATTACHED);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	sleep_ms(100);
	ck_assert_uint_eq(state_of(fd), VRAM_ARBITER_ATTACHED);
	close(pair[0]);
	close(pair[1]);
	EVENTUALLY(state_of(fd) == VRAM_ARBITER_GONE);
	close(fd);
	w.arb = -1;
}
END_TEST

/* ---- its death ------------------------------------------------------------------ */

START_TEST(test_no_grace)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0], .deadline_ns = FOREVER };
	int fd = client_new(UID_A, 4), any, i;
	struct waiter x[3];

	for (i = 0; i < 3; i++) {
		waiter_on(&x[i], fd, (uint32_t)i);
		waiter_asleep(&x[i]);
	}
	any = arbiter_gone(VRAM_ARBITER_GONE);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(waiter_result(&x[i]), -EHOSTDOWN);
	ck_errno(try_ioctl(fd, VRAM_IOC_WAIT, &wait), EHOSTDOWN);
	ck_assert_uint_eq(info_of(fd).flags, 0);
	close(any);
	close(fd);
}
END_TEST

START_TEST(test_grace_ends)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0], .deadline_ns = FOREVER };
	struct waiter_report r;
	struct waiter x, late;
	uint64_t gone;
	int fd, any;

	new_arbiter(3000);
	fd = client_new(UID_A, 4);
	waiter_on(&x, fd, 0);
	waiter_asleep(&x);
	gone = now_ns();
	any = arbiter_gone(VRAM_ARBITER_GRACE);
	ck_assert(!waiter_is_back(&x, 200));
	/* Whoever comes now waits for what is left of it. */
	waiter_on(&late, fd, 1);
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, -EHOSTDOWN);
	ck_assert_uint_ge(r.end_ns - gone, 2900 * MS);
	r = waiter_end(&late);
	ck_assert_int_eq(r.ret, -EHOSTDOWN);
	ck_assert_uint_ge(r.end_ns - gone, 2900 * MS);
	EVENTUALLY(state_of(any) == VRAM_ARBITER_GONE);
	ck_errno(try_ioctl(fd, VRAM_IOC_WAIT, &wait), EHOSTDOWN);
	close(any);
	close(fd);
}
END_TEST

/* Within the grace a deadline is a deadline. */
START_TEST(test_deadline_within_grace)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0] };
	struct waiter x;
	int fd, any;

	new_arbiter(60000);
	fd = client_new(UID_A, 4);
	wait.deadline_ns = now_ns() + 2 * SECOND;
	waiter_start(&x, fd, &wait, 0);
	waiter_asleep(&x);
	any = arbiter_gone(VRAM_ARBITER_GRACE);
	ck_assert_int_eq(waiter_result(&x), -ETIMEDOUT);
	ck_assert_uint_eq(state_of(any), VRAM_ARBITER_GRACE);
	close(any);
	close(fd);
}
END_TEST

/* The next arbiter comes within the grace: nobody's waiting is remembered, and who asks anew must be adopted first. */
START_TEST(test_readoption)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0], .deadline_ns = FOREVER };
	struct waiter xa, xb;
	int a, b, any;

	new_arbiter(60000);
	a = client_new(UID_A, 4);
	b = client_new(UID_B, 4);
	waiter_on(&xa, a, 2);
	waiter_on(&xb, b, 2);
	waiter_asleep(&xa);
	waiter_asleep(&xb);
	any = arbiter_gone(VRAM_ARBITER_GRACE);
	ck_assert(!waiter_is_back(&xa, 100));
	ck_assert(!waiter_is_back(&xb, 0));
	ck_assert_uint_eq(info_of(a).flags, 0);
	w.arb = arbiter_new(0);
	ck_assert_int_eq(waiter_result(&xa), -ESTALE);
	ck_assert_int_eq(waiter_result(&xb), -ESTALE);
	ck_errno(try_ioctl(a, VRAM_IOC_WAIT, &wait), ESTALE);
	adopt(w.arb, a, 0);
	ck_assert_uint_eq(info_of(a).flags, VRAM_INFO_ADOPTED);
	/* From now on it waits as ever; the other one does not. */
	waiter_on(&xa, a, 2);
	waiter_asleep(&xa);
	ck_errno(try_ioctl(b, VRAM_IOC_WAIT, &wait), ESTALE);
	ck_ok(try_wake(w.arb, session_of(a), 2));
	ck_assert_int_eq(waiter_result(&xa), 0);
	close(any);
	close(a);
	close(b);
}
END_TEST

/* ---- what the next one finds ---------------------------------------------------- */

/* The lines of a snapshot but the first, which tells of the arbiter, and the sessions' flags. */
static char *ledger_text(int fd)
{
	char *text = snapshot(fd), *flags = text, *line = strchr(text, '\n');

	while ((flags = strstr(flags, " flags ")))
		flags += 7, *flags = 'x';
	ck_assert_ptr_nonnull(line);
	memmove(text, line, strlen(line) + 1);
	return text;
}

START_TEST(test_ledger_stays)
{
	int a = client_new(UID_A, 4), b = client_new(UID_B, 4), any;
	uint64_t ida = session_of(a), idb = session_of(b);
	uint32_t share = share_new(w.arb, w.dev[0]), other = share_new(w.arb, w.dev[1]);
	struct vram_ioc_device d = { .name = "test1" };
	struct vram_ioc_share s = { .op = VRAM_SHARE_READ, .share = share };
	struct vram_ioc_usage u;

	charge(w.arb, ida, 5 * MIB);
	charge(w.arb, idb, 7 * MIB);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, ida));
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, idb));
	ck_ok(try_share_charge(w.arb, share, 2 * MIB));
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, 9 * MIB));
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, idb, VRAM_LIMIT_LOW, MIB));
	any = arbiter_gone(VRAM_ARBITER_GONE);
	ck_assert_uint_eq(used(any, VRAM_KIND_SESSION, ida), 6 * MIB);
	ck_assert_uint_eq(used(any, VRAM_KIND_ROOT, 0), 14 * MIB);

	w.arb = arbiter_new(0);
	/* Devices by name, with what they were given. */
	ck_ok(try_usage(w.arb, VRAM_KIND_ROOT, 0, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.limit[VRAM_LIMIT_MAX], world_capacity[0]);
	memcpy(d.capacity, world_capacity, sizeof(world_capacity));
	ck_ok(try_ioctl(w.arb, VRAM_IOC_DEVICE, &d));
	ck_assert_uint_eq(d.dev, w.dev[1]);
	/* Charges, limits, shares. */
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 6 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, idb), 8 * MIB);
	ck_ok(try_usage(w.arb, VRAM_KIND_USER, UID_A, w.dev[0], 0, &u));
	ck_assert_uint_eq(u.limit[VRAM_LIMIT_MAX], 9 * MIB);
	ck_assert_uint_eq(u.set, 1u << VRAM_LIMIT_MAX);
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &s));
	ck_assert_uint_eq(s.dev, w.dev[0]);
	ck_assert_uint_eq(s.n_members, 2);
	ck_assert_uint_eq(s.bytes[0], 2 * MIB);
	s = (struct vram_ioc_share){ .op = VRAM_SHARE_READ, .share = other };
	ck_ok(try_ioctl(w.arb, VRAM_IOC_SHARE, &s));
	ck_assert_uint_eq(adopt(w.arb, a, 0).session, ida);
	ck_ok(try_charge(w.arb, ida, MIB));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, ida), 7 * MIB);
	ck_errno(try_charge(w.arb, ida, 3 * MIB), EDQUOT);
	close(a);
	ck_assert_uint_eq(event_gone(w.arb, ida).bytes[0], 7 * MIB);
	close(b);
	close(any);
}
END_TEST

/* Read and compared as a whole: the death of an arbiter changes no number. */
START_TEST(test_ledger_is_the_same)
{
	int a = client_new(UID_A, 4), looker;
	char *before, *after, *own;
	uint32_t share = share_new(w.arb, w.dev[0]);

	charge(w.arb, session_of(a), 5 * MIB);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, session_of(a)));
	ck_ok(try_share_charge(w.arb, share, 3 * MIB));
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MIN, 9 * MIB));
	looker = device_open();
	own = ledger_text(looker);
	arbiter_gone(VRAM_ARBITER_GONE);
	/* Root and user 0 lose the arbiter's session: compare what is below user A. */
	before = strstr(own, "\ngroup 1:41001 ");
	ck_assert_ptr_nonnull(before);
	*strstr(before + 1, "\ngroup ") = 0;
	own = strdup(before);
	after = ledger_text(looker);
	ck_assert_ptr_nonnull(strstr(after, own));
	close(a);
	close(looker);
}
END_TEST

START_TEST(test_ended_in_between)
{
	int a = client_new(UID_A, 4), b = client_new(UID_B, 4), c = open_as(UID_B), any;
	uint64_t ida = session_of(a), idb = session_of(b);
	uint64_t generation = w.generation;
	struct vram_arbiter_event e;
	uint32_t share = share_new(w.arb, w.dev[0]);

	charge(w.arb, ida, 5 * MIB);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, ida));
	ck_ok(try_share_charge(w.arb, share, MIB));
	any = arbiter_gone(VRAM_ARBITER_GONE);
	close(a);
	close(c); /* never adopted: nobody's business */
	EVENTUALLY(used(any, VRAM_KIND_ROOT, 0) == MIB);
	w.arb = arbiter_new(0);
	e = event_gone(w.arb, ida);
	ck_assert_uint_eq(e.generation, generation);
	ck_assert_uint_eq(e.bytes[0], 6 * MIB);
	ck_assert_uint_eq(e.uid, UID_A);
	ck_errno(event_within(w.arb, 100, &e), EAGAIN);
	/* One that ends now, not yet adopted anew, is reported as well. */
	close(b);
	e = event_gone(w.arb, idb);
	ck_assert_uint_eq(e.generation, generation);
	ck_errno(try_share(w.arb, VRAM_SHARE_FREE, share, 0), EBUSY);
	close(any);
}
END_TEST

/* An event that the last arbiter did not read waits for the next one. */
START_TEST(test_unread_event)
{
	int a = client_new(UID_A, 4), any;
	uint64_t id = session_of(a);

	charge(w.arb, id, MIB);
	close(a);
	EVENTUALLY(try_group(w.arb, VRAM_KIND_SESSION, id, &(struct vram_ioc_group){ 0 }) ==
		   -ENOENT);
	any = arbiter_gone(VRAM_ARBITER_GONE);
	w.arb = arbiter_new(0);
	ck_assert_uint_eq(event_gone(w.arb, id).bytes[0], MIB);
	close(any);
}
END_TEST

START_TEST(test_adopt_again)
{
	struct vram_ioc_adopt x;
	int a = client_new(UID_A, 4), any;
	uint64_t id = session_of(a);
	uint32_t share = share_new(w.arb, w.dev[0]);
	char *was = snapshot(w.arb);

	ck_errno(try_adopt(w.arb, a, 0, &x), EBUSY);
	ck_errno(try_adopt(w.arb, a, VRAM_ADOPT_RESET, &x), EBUSY);
	snapshot_same(w.arb, was, "ADOPT again");
	free(was);
	charge(w.arb, id, 5 * MIB);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, id));
	ck_ok(try_share_charge(w.arb, share, MIB));
	any = arbiter_gone(VRAM_ARBITER_GONE);
	w.arb = arbiter_new(0);
	/* Its own charges fall back, it leaves the shares; the share's bytes stay. */
	x = adopt(w.arb, a, VRAM_ADOPT_RESET);
	ck_assert_uint_eq(x.session, id);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, id), 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_USER, UID_A), 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), MIB);
	ck_errno(try_share(w.arb, VRAM_SHARE_LEAVE, share, id), ENOENT);
	close(a);
	ck_assert_uint_eq(event_gone(w.arb, id).bytes[0], 0);
	close(any);
}
END_TEST

/* An arbiter's own session can be adopted by nobody, it has no use for a table, and cannot wait. */
START_TEST(test_arbiter_is_no_client)
{
	struct vram_ioc_adopt x;
	struct vram_ioc_wait wait = { .dev = w.dev[0], .deadline_ns = now_ns() + 100 * MS };

	ck_assert_int_lt(try_adopt(w.arb, w.arb, 0, &x), 0);
	ck_assert_uint_eq(info_of(w.arb).flags, VRAM_INFO_ARBITER);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_WAIT, &wait), EPERM);
}
END_TEST

/* Many arbiters, one after the other, killed at any point: nobody is lost, nothing is counted twice. */
START_TEST(test_many_generations)
{
	int a = client_new(UID_A, 4), any = device_open(), i, status;
	uint64_t id = session_of(a);

	charge(w.arb, id, MIB);
	close(w.arb);
	for (i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			w.arb = arbiter_new(0);
			adopt(w.arb, a, 0);
			charge(w.arb, id, MIB);
			if (i % 2)
				_exit(0);
			kill(getpid(), SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(i % 2 ? status == 0 : WIFSIGNALED(status));
	}
	EVENTUALLY(state_of(any) == VRAM_ARBITER_GONE);
	ck_assert_uint_eq(info_of(any).generation, w.generation + 20);
	ck_assert_uint_eq(used(any, VRAM_KIND_SESSION, id), 21 * MIB);
	w.arb = arbiter_new(0);
	close(a);
	ck_assert_uint_eq(event_gone(w.arb, id).bytes[0], 21 * MIB);
	close(any);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attach");
	TCase *tc = world_case(suite, "one");

	tcase_add_test(tc, test_one_at_a_time);
	tcase_add_test(tc, test_race);
	tcase_add_test(tc, test_capability);
	tcase_add_test(tc, test_descriptor_is_the_right);
	tcase_add_test(tc, test_arbiter_lives_by_reference);
	tcase_add_test(tc, test_arbiter_is_no_client);
	tc = world_case(suite, "death");
	tcase_add_test(tc, test_no_grace);
	tcase_add_test(tc, test_grace_ends);
	tcase_add_test(tc, test_deadline_within_grace);
	tcase_add_test(tc, test_readoption);
	tc = world_case(suite, "next");
	tcase_add_test(tc, test_ledger_stays);
	tcase_add_test(tc, test_ledger_is_the_same);
	tcase_add_test(tc, test_ended_in_between);
	tcase_add_test(tc, test_unread_event);
	tcase_add_test(tc, test_adopt_again);
	tcase_add_test(tc, test_many_generations);
	return device_main(suite);
}
