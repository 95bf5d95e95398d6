// SPDX-License-Identifier: GPL-2.0-only
/*
 * The residency table: who may map it, who pays for it, and that nothing in it matters to the kernel.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c tests/kmod/cgroup.c
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/cgroup.h"
#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/waiter.h"

#define TOP "/vramtest"

static size_t page;

static void setup(void)
{
	world_setup();
	page = (size_t)sysconf(_SC_PAGESIZE);
}

static int try_map(int fd, size_t bytes, int prot, int flags, uint64_t offset)
{
	void *p = mmap(NULL, bytes, prot, flags, fd, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

#define RW (PROT_READ | PROT_WRITE)

/* ---- mapping ------------------------------------------------------------------ */

START_TEST(test_before_table)
{
	int fd = open_as(UID_A);

	ck_errno(try_map(fd, page, RW, MAP_SHARED, 0), ENXIO);
	table_make(fd, 1);
	ck_ok(try_map(fd, page, RW, MAP_SHARED, 0));
	close(fd);
}
END_TEST

START_TEST(test_ranges)
{
	uint32_t n = (uint32_t)(3 * page / VRAM_SLOT_BYTES);
	int fd = open_as(UID_A);

	table_make(fd, n);
	ck_ok(try_map(fd, 3 * page, RW, MAP_SHARED, 0));
	/* Less than all of it is fine, any more is not. */
	ck_ok(try_map(fd, page, RW, MAP_SHARED, 0));
	ck_ok(try_map(fd, 1, RW, MAP_SHARED, 0));
	ck_ok(try_map(fd, 2 * page, RW, MAP_SHARED, page));
	ck_errno(try_map(fd, 3 * page, RW, MAP_SHARED, page), EINVAL);
	ck_errno(try_map(fd, 4 * page, RW, MAP_SHARED, 0), EINVAL);
	ck_errno(try_map(fd, 3 * page + 1, RW, MAP_SHARED, 0), EINVAL);
	ck_errno(try_map(fd, 1ull << 40, RW, MAP_SHARED, 0), EINVAL);
	ck_errno(try_map(fd, page, RW, MAP_SHARED, 3 * page), EINVAL);
	/* What would be another's table to the arbiter is nothing to this one. */
	ck_errno(try_map(fd, page, RW, MAP_SHARED, 1ull << 40), ENXIO);
	ck_errno(try_map(fd, page, RW, MAP_SHARED, session_of(fd) << 24), ENXIO);
	ck_assert_int_lt(try_map(fd, page, RW, MAP_SHARED, 0ull - page), 0);
	close(fd);
}
END_TEST

START_TEST(test_kinds)
{
	int fd = open_as(UID_A), ro;
	char *p;

	table_make(fd, 64);
	ck_errno(try_map(fd, page, RW, MAP_PRIVATE, 0), EINVAL);
	ck_errno(try_map(fd, page, PROT_READ, MAP_PRIVATE, 0), EINVAL);
	ck_ok(try_map(fd, page, PROT_READ, MAP_SHARED, 0));
	/* A mapping cannot grow. */
	p = table_map(fd, 64, 0);
	ck_assert_ptr_eq(mremap(p, page, 2 * page, MREMAP_MAYMOVE), MAP_FAILED);
	ck_assert_int_eq(mprotect(p, page, PROT_READ), 0);
	ck_assert_int_eq(mprotect(p, page, RW), 0);
	p[0] = 1;
	munmap(p, page);
	close(fd);
	/* Through a descriptor for reading, a mapping is for reading. */
	ro = try_open(0);
	ck_assert_int_ge(ro, 0);
	table_make(ro, 64);
	ck_errno(try_map(ro, page, RW, MAP_SHARED, 0), EACCES);
	p = mmap(NULL, page, PROT_READ, MAP_SHARED, ro, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(mprotect(p, page, RW), -1);
	munmap(p, page);
	close(ro);
}
END_TEST

/* It comes empty, to its last byte, and stays when nobody looks. */
START_TEST(test_zero_and_kept)
{
	uint32_t n = (uint32_t)(5 * page / VRAM_SLOT_BYTES), round;
	int fd = open_as(UID_A);
	char *p;
	size_t i;

	for (round = 0; round < 3; round++) {
		table_make(fd, n - 3);
		p = table_map(fd, n, 0);
		for (i = 0; i < 5 * page; i++)
			ck_assert_int_eq(p[i], 0);
		memset(p, 0xa5, 5 * page);
		munmap(p, 5 * page);
		p = table_map(fd, n, 0);
		ck_assert_int_eq(p[0] & 0xff, 0xa5);
		ck_assert_int_eq(p[5 * page - 1] & 0xff, 0xa5);
		munmap(p, 5 * page);
	}
	close(fd);
}
END_TEST

START_TEST(test_shared_with_the_arbiter)
{
	uint32_t n = (uint32_t)(4 * page / VRAM_SLOT_BYTES), i;
	int fd = open_as(UID_A), other = client_new(UID_B, n);
	struct vram_ioc_adopt a;
	uint32_t *mine, *theirs;

	table_make(fd, n);
	a = adopt(w.arb, fd, 0);
	theirs = table_map(fd, n, 0);
	mine = table_map(w.arb, n, a.map_offset);
	ck_assert_ptr_ne(mine, theirs);
	for (i = 0; i < n; i += 7) {
		theirs[i * 16] = i + 1;
		ck_assert_uint_eq(mine[i * 16], i + 1);
		mine[i * 16 + 15] = ~i;
		ck_assert_uint_eq(theirs[i * 16 + 15], ~i);
	}
	/* Beyond the table, or beside it, there is nothing of anybody. */
	ck_assert_int_lt(try_map(w.arb, 5 * page, RW, MAP_SHARED, a.map_offset), 0);
	ck_assert_int_lt(try_map(w.arb, page, RW, MAP_SHARED, a.map_offset + 4 * page), 0);
	ck_assert_int_lt(try_map(w.arb, page, RW, MAP_SHARED, 0), 0);
	ck_errno(try_map(w.arb, page, RW, MAP_PRIVATE, a.map_offset), EINVAL);
	/* The offset is of use to the arbiter alone. */
	ck_assert_int_lt(try_map(other, page, RW, MAP_SHARED, a.map_offset), 0);
	munmap(theirs, 4 * page);
	munmap(mine, 4 * page);
	close(fd);
	event_gone(w.arb, a.session);
	ck_assert_int_lt(try_map(w.arb, page, RW, MAP_SHARED, a.map_offset), 0);
	close(other);
}
END_TEST

/* Adopted before it has a table: the offset is known already. */
START_TEST(test_table_after_adoption)
{
	int fd = open_as(UID_A);
	struct vram_ioc_adopt a = adopt(w.arb, fd, 0);
	uint32_t *mine, *theirs;

	ck_assert_uint_eq(a.n_slots, 0);
	ck_assert_int_lt(try_map(w.arb, page, RW, MAP_SHARED, a.map_offset), 0);
	table_make(fd, 64);
	theirs = table_map(fd, 64, 0);
	mine = table_map(w.arb, 64, a.map_offset);
	theirs[16] = 99;
	ck_assert_uint_eq(mine[16], 99);
	munmap(theirs, page);
	munmap(mine, page);
	close(fd);
}
END_TEST

START_TEST(test_second_table)
{
	int fd = open_as(UID_A);
	struct vram_ioc_adopt a;
	uint32_t *old, *old_arb, *new, *new_arb;

	table_make(fd, 64);
	a = adopt(w.arb, fd, 0);
	old = table_map(fd, 64, 0);
	old_arb = table_map(w.arb, 64, a.map_offset);
	old[0] = 11;
	table_make(fd, 128);
	ck_assert_uint_eq(info_of(fd).n_slots, 128);
	new = table_map(fd, 128, 0);
	new_arb = table_map(w.arb, 128, a.map_offset);
	ck_assert_uint_eq(new[0], 0);
	new[0] = 22;
	ck_assert_uint_eq(new_arb[0], 22);
	/* The old one is what it was, to both. */
	ck_assert_uint_eq(old[0], 11);
	old[0] = 33;
	ck_assert_uint_eq(old_arb[0], 33);
	ck_assert_uint_eq(new[0], 22);
	munmap(old, page);
	munmap(old_arb, page);
	munmap(new, 2 * page);
	munmap(new_arb, 2 * page);
	close(fd);
}
END_TEST

/* Whoever waits on a slot of the old table is not left waiting on memory that nobody writes to. */
START_TEST(test_second_table_and_waiters)
{
	int fd = client_new(UID_A, 64);
	struct waiter x;

	waiter_on(&x, fd, 5);
	waiter_asleep(&x);
	table_make(fd, 4);
	/* He may be woken by this, or by a WAKE of his slot; he must not be lost. */
	if (!waiter_is_back(&x, 200))
		ck_ok(try_wake(w.arb, session_of(fd), 5));
	ck_assert_int_le(waiter_result(&x), 0);
	close(fd);
}
END_TEST

START_TEST(test_not_inherited)
{
	int fd = open_as(UID_A), status;
	volatile uint32_t *p;
	pid_t pid;

	table_make(fd, 64);
	p = table_map(fd, 64, 0);
	p[0] = 1;
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		p[0] = 2;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_uint_eq(p[0], 1);
	/* But it may map the descriptor, if it has that. */
	pid = fork();
	if (!pid) {
		volatile uint32_t *q = mmap(NULL, page, RW, MAP_SHARED, fd, 0);

		_exit(q == MAP_FAILED || q[0] != 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(fd);
}
END_TEST

START_TEST(test_largest)
{
	int fd = open_as(UID_A);
	uint32_t n = info_of(fd).max_slots;
	char *p;

	ck_assert_uint_ge(n, 1024);
	table_make(fd, n);
	p = table_map(fd, n, 0);
	p[(size_t)n * VRAM_SLOT_BYTES - 1] = 1;
	munmap(p, (size_t)n * VRAM_SLOT_BYTES);
	close(fd);
}
END_TEST

/* ---- hostile content ------------------------------------------------------------- */

/* Two processes write rubbish into every word while everything is done that can be done with a table. */
START_TEST(test_rubbish)
{
	uint32_t n = (uint32_t)(2 * page / VRAM_SLOT_BYTES), *p, i;
	int fd = client_new(UID_A, n);
	uint64_t id = session_of(fd), until = now_ns() + 3 * SECOND;
	char *was;
	pid_t pid[2];

	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			uint64_t x = 88172645463325252ull + i;

			p = mmap(NULL, 2 * page, RW, MAP_SHARED, fd, 0);
			for (;;) {
				x ^= x << 13, x ^= x >> 7, x ^= x << 17;
				p[x % (2 * page / 4)] = (uint32_t)(x >> 32);
			}
		}
	}
	charge(w.arb, id, MIB);
	was = snapshot(w.arb);
	for (i = 0; now_ns() < until; i++) {
		struct vram_ioc_wait wait = {
			.dev = w.dev[0],
			.slot = i % n,
			.expected = i % 3 ? 0 : i,
			.deadline_ns = now_ns() + 2 * MS,
		};
		int ret = try_ioctl(fd, VRAM_IOC_WAIT, &wait);

		ck_assert_msg(ret == 0 || ret == -ETIMEDOUT, "%s", strerror(-ret));
		ck_ok(try_wake(w.arb, id, (i * 7) % n));
		/* A slot that does not exist is nothing either. */
		ret = try_wake(w.arb, id, 0xfffffff0u - i);
		ck_assert(ret == 0 || ret == -ENXIO || ret == -EINVAL || ret == -ENOENT);
		ck_ok(try_charge(w.arb, id, 4096));
		ck_ok(try_uncharge(w.arb, id, 4096));
	}
	for (i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		ck_assert_int_eq(waitpid(pid[i], NULL, 0), pid[i]);
	}
	{
		/* Only the highest use moved: say so, and compare the rest. */
		char *now = snapshot(w.arb);

		ck_assert_uint_eq(strlen(now), strlen(was));
		free(now);
	}
	free(was);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, id), MIB);
	close(fd);
	ck_assert_uint_eq(event_gone(w.arb, id).bytes[0], MIB);
}
END_TEST

/* ---- who pays -------------------------------------------------------------------- */

static void memory_setup(void)
{
	setup();
	cgroup_make(TOP);
	cgroup_make(TOP "/small");
}

static void memory_teardown(void)
{
	cgroup_remove(TOP "/small");
	cgroup_remove(TOP);
	world_teardown();
}

/* A process in that cgroup makes a table and waits. Return: 0 or -errno of the call. */
static int table_in_cgroup(uint32_t n_slots, pid_t *out_pid, int *out_fd)
{
	struct vram_ioc_table t = { .n_slots = n_slots };
	int pair[2], ret = 1;
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		int fd;

		close(w.arb);
		cgroup_enter(TOP "/small");
		fd = device_open();
		passing_send(pair[1], fd);
		/* When it is told to, so that what it costs to be there is known. */
		if (read(pair[1], &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
		ret = try_ioctl(fd, VRAM_IOC_TABLE, &t);
		if (write(pair[1], &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
		for (;;)
			pause();
	}
	close(pair[1]);
	*out_pid = pid;
	*out_fd = passing_receive(pair[0]);
	ck_assert_int_ge(*out_fd, 0);
	return pair[0];
}

static int table_go(int socket)
{
	int ret = 0;

	ck_assert_int_eq(write(socket, &ret, sizeof(ret)), sizeof(ret));
	ck_assert_int_eq(read(socket, &ret, sizeof(ret)), sizeof(ret));
	return ret;
}

static void table_end(pid_t pid, int fd, int socket)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(fd);
	close(socket);
}

START_TEST(test_charged_to_the_client)
{
	const uint64_t bytes = 2 * MIB;
	uint64_t before, after;
	int fd, socket;
	pid_t pid;

	socket = table_in_cgroup((uint32_t)(bytes / VRAM_SLOT_BYTES), &pid, &fd);
	before = cgroup_read(TOP "/small", "memory.current", NULL);
	ck_ok(table_go(socket));
	after = cgroup_read(TOP "/small", "memory.current", NULL);
	/* At least the pages; bookkeeping in batches may add some. */
	ck_assert_uint_ge(after, before + bytes * 9 / 10);
	ck_assert_uint_le(after, before + bytes * 2);
	table_end(pid, fd, socket);
	EVENTUALLY(cgroup_read(TOP "/small", "memory.current", NULL) < before + bytes / 2);
}
END_TEST

START_TEST(test_too_large_for_the_cgroup)
{
	char limit[32], *was;
	struct vram_ioc_adopt a;
	int fd, socket;
	pid_t pid;

	socket = table_in_cgroup((uint32_t)(8 * MIB / VRAM_SLOT_BYTES), &pid, &fd);
	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)cgroup_read(TOP "/small", "memory.current", NULL) + 2 * MIB);
	cgroup_write(TOP "/small", "memory.max", limit);
	/* What is over its memory is its own affair: a killed client would be in order, too. */
	cgroup_write(TOP "/small", "memory.oom.group", "0");
	a = adopt(w.arb, fd, 0);
	was = snapshot(w.arb);
	ck_errno(table_go(socket), ENOMEM);
	snapshot_same(w.arb, was, "a table without memory");
	free(was);
	ck_assert_uint_eq(info_of(fd).n_slots, 0);
	/* A small one fits, and the arbiter goes on. */
	charge(w.arb, a.session, MIB);
	table_end(pid, fd, socket);
	ck_assert_uint_eq(event_gone(w.arb, a.session).bytes[0], MIB);
	cgroup_write(TOP "/small", "memory.max", "max");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table");
	TCase *tc = tcase_create("mapping");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_before_table);
	tcase_add_test(tc, test_ranges);
	tcase_add_test(tc, test_kinds);
	tcase_add_test(tc, test_zero_and_kept);
	tcase_add_test(tc, test_shared_with_the_arbiter);
	tcase_add_test(tc, test_table_after_adoption);
	tcase_add_test(tc, test_second_table);
	tcase_add_test(tc, test_second_table_and_waiters);
	tcase_add_test(tc, test_not_inherited);
	tcase_add_test(tc, test_largest);
	tcase_add_test(tc, test_rubbish);
	suite_add_tcase(suite, tc);
	if (!cgroup_has_memory()) {
		printf("note: no memory controller of version 2, so none of its tests\n");
		return device_main(suite);
	}
	tc = tcase_create("memory");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, memory_setup, memory_teardown);
	tcase_add_test(tc, test_charged_to_the_client);
	tcase_add_test(tc, test_too_large_for_the_cgroup);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
