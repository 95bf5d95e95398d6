// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session lives until its last reference goes, and then everything that was charged to it falls back, once.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/waiter.h"

#define N_SLOTS 64

static bool lives(uint64_t id)
{
	struct vram_ioc_group g;
	int ret = try_group(w.arb, VRAM_KIND_SESSION, id, &g);

	ck_assert(!ret || ret == -ENOENT);
	return !ret;
}

/* It is gone, with its bytes, and the arbiter has heard so, once. */
static void ends(uint64_t id, uint64_t bytes)
{
	struct vram_arbiter_event e = event_gone(w.arb, id);

	ck_assert_uint_eq(e.bytes[VRAM_TIER_VRAM], bytes);
	ck_assert_uint_eq(e.generation, w.generation);
	ck_assert(!lives(id));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 0);
}

/* Not now, and not a little later. */
static void stays(uint64_t id, uint64_t bytes)
{
	struct vram_arbiter_event e;

	ck_errno(event_within(w.arb, 150, &e), EAGAIN);
	ck_assert(lives(id));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, id), bytes);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), bytes);
}

/* A session that only this process has, with something charged. */
static int charged(uint64_t *out_id)
{
	int fd = client_new(UID_A, N_SLOTS);

	*out_id = session_of(fd);
	charge(w.arb, *out_id, 3 * MIB);
	return fd;
}

START_TEST(test_close)
{
	uint64_t id;
	int fd = charged(&id);

	stays(id, 3 * MIB);
	close(fd);
	ends(id, 3 * MIB);
	ck_errno(try_charge(w.arb, id, 1), ENOENT);
	ck_errno(try_uncharge(w.arb, id, 3 * MIB), ENOENT);
	ck_errno(try_wake(w.arb, id, 0), ENOENT);
	ck_errno(try_group(w.arb, VRAM_KIND_USER, UID_A, &(struct vram_ioc_group){ 0 }), ENOENT);
}
END_TEST

START_TEST(test_dup)
{
	uint64_t id;
	int fd = charged(&id), other = dup(fd), third = fcntl(fd, F_DUPFD_CLOEXEC, 200);

	close(fd);
	close(third);
	stays(id, 3 * MIB);
	ck_assert_uint_eq(session_of(other), id);
	close(other);
	ends(id, 3 * MIB);
}
END_TEST

START_TEST(test_fork)
{
	uint64_t id;
	int fd = charged(&id);
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	close(fd);
	stays(id, 3 * MIB);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ends(id, 3 * MIB);
}
END_TEST

/* Passed on, and the original closed: the receiver's is a reference like any other. */
START_TEST(test_passed)
{
	uint64_t id;
	int fd = charged(&id), pair[2], received;

	ck_assert_int_eq(passing_pair(pair), 0);
	ck_assert_int_eq(passing_send(pair[0], fd), 0);
	close(fd);
	/* Nobody has it now but the socket. */
	stays(id, 3 * MIB);
	received = passing_receive(pair[1]);
	ck_assert_int_ge(received, 0);
	ck_assert_uint_eq(session_of(received), id);
	stays(id, 3 * MIB);
	close(received);
	ends(id, 3 * MIB);
}
END_TEST

START_TEST(test_lost_under_way)
{
	uint64_t id;
	int fd = charged(&id), pair[2];

	ck_assert_int_eq(passing_pair(pair), 0);
	ck_assert_int_eq(passing_send(pair[0], fd), 0);
	close(fd);
	stays(id, 3 * MIB);
	close(pair[0]);
	close(pair[1]);
	ends(id, 3 * MIB);
}
END_TEST

START_TEST(test_mapping)
{
	uint64_t id;
	int fd = charged(&id);
	uint32_t *table = table_map(fd, N_SLOTS, 0);

	close(fd);
	stays(id, 3 * MIB);
	table[0] = 5;
	ck_assert_int_eq(munmap(table, N_SLOTS * VRAM_SLOT_BYTES), 0);
	ends(id, 3 * MIB);
}
END_TEST

/* The arbiter's own mapping keeps the pages, not the session: the client's references count. */
START_TEST(test_arbiters_mapping)
{
	struct vram_ioc_adopt a;
	int fd = open_as(UID_A);
	uint32_t *mine, *theirs;

	table_make(fd, N_SLOTS);
	a = adopt(w.arb, fd, 0);
	mine = table_map(w.arb, N_SLOTS, a.map_offset);
	theirs = table_map(fd, N_SLOTS, 0);
	theirs[16] = 77;
	munmap(theirs, N_SLOTS * VRAM_SLOT_BYTES);
	charge(w.arb, a.session, MIB);
	close(fd);
	ends(a.session, MIB);
	/* What is mapped stays readable. */
	ck_assert_uint_eq(mine[16], 77);
	mine[0] = 1;
	ck_assert_int_eq(munmap(mine, N_SLOTS * VRAM_SLOT_BYTES), 0);
}
END_TEST

/* A partial unmap, a split: the last piece counts. */
START_TEST(test_mapping_in_pieces)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t n = (uint32_t)(3 * page / VRAM_SLOT_BYTES);
	int fd = open_as(UID_A);
	uint64_t id;
	char *p;

	table_make(fd, n);
	id = adopt(w.arb, fd, 0).session;
	p = table_map(fd, n, 0);
	close(fd);
	ck_assert_int_eq(munmap(p + page, page), 0);
	stays(id, 0);
	ck_assert_int_eq(munmap(p, page), 0);
	stays(id, 0);
	p[2 * page] = 1;
	ck_assert_int_eq(munmap(p + 2 * page, page), 0);
	ends(id, 0);
}
END_TEST

/* ---- killed -------------------------------------------------------------------- */

/* A client in a process of its own: tells its session by passing the descriptor, keeps it and a mapping. */
static pid_t process_new(int *out_fd, bool maps)
{
	int pair[2];
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		int fd;

		close(w.arb);
		become(UID_A);
		fd = device_open();
		table_make(fd, N_SLOTS);
		if (maps)
			((uint32_t *)table_map(fd, N_SLOTS, 0))[0] = 1;
		passing_send(pair[1], fd);
		if (maps)
			close(fd);
		for (;;)
			pause();
	}
	close(pair[1]);
	*out_fd = passing_receive(pair[0]);
	ck_assert_int_ge(*out_fd, 0);
	close(pair[0]);
	return pid;
}

static void process_kill(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(test_killed_while_mapped)
{
	uint64_t id;
	int fd;
	pid_t pid = process_new(&fd, true);

	id = adopt(w.arb, fd, 0).session;
	close(fd);
	charge(w.arb, id, MIB);
	stays(id, MIB);
	process_kill(pid);
	ends(id, MIB);
}
END_TEST

/* The arbiter charges and uncharges as fast as it can while the client dies: in the end nothing is left. */
START_TEST(test_killed_while_charging)
{
	uint64_t id, held = 0, done = 0;
	struct vram_arbiter_event e;
	uint32_t share;
	int fd, ret;
	pid_t pid = process_new(&fd, true), killer;

	id = adopt(w.arb, fd, 0).session;
	close(fd);
	share = share_new(w.arb, w.dev[0]);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, id));
	killer = fork();
	if (!killer) {
		close(w.arb);
		sleep_ms(100 + (unsigned int)(_i * 13));
		_exit(kill(pid, SIGKILL));
	}
	for (;; done++) {
		uint64_t bytes = 4096 + done % 97;

		ret = try_charge(w.arb, id, bytes);
		if (ret)
			break;
		held += bytes;
		ck_ok(try_share_charge(w.arb, share, 10));
		if (done % 3 == 2) {
			ret = try_uncharge(w.arb, id, bytes);
			if (ret)
				break;
			held -= bytes;
		}
	}
	ck_errno(ret, ENOENT);
	ck_assert_uint_gt(done, 0);
	e = event_gone(w.arb, id);
	/* Its own bytes and, as the only member, the share's as of that moment. */
	ck_assert_uint_ge(e.bytes[0], held);
	ck_assert_uint_le(e.bytes[0], held + 10 * (done + 1));
	ck_assert_uint_eq((e.bytes[0] - held) % 10, 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0) % 10, 0);
	ck_errno(try_group(w.arb, VRAM_KIND_USER, UID_A, &(struct vram_ioc_group){ 0 }), ENOENT);
	ck_assert_int_eq(waitpid(killer, NULL, 0), killer);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(test_killed_while_waiting)
{
	struct waiter x, other;
	uint64_t id;
	int fd = charged(&id), fd2 = client_new(UID_B, N_SLOTS);

	waiter_on(&x, fd, 3);
	waiter_on(&other, fd2, 3);
	close(fd);
	waiter_asleep(&x);
	waiter_asleep(&other);
	stays(id, 3 * MIB);
	waiter_kill(&x);
	ends(id, 3 * MIB);
	/* Waiters of others were not disturbed. */
	ck_assert(!waiter_is_back(&other, 100));
	ck_ok(try_wake(w.arb, session_of(fd2), 3));
	ck_assert_int_eq(waiter_result(&other), 0);
	close(fd2);
}
END_TEST

/* A member's part falls to the other members, and the event says what part that was. */
START_TEST(test_share_of_the_dead)
{
	uint64_t a, b;
	int fa = charged(&a), fb = client_new(UID_B, N_SLOTS);
	uint32_t share = share_new(w.arb, w.dev[0]);

	b = session_of(fb);
	ck_ok(try_share_charge(w.arb, share, 7));
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, b));
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, a));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, b), 4);
	close(fa);
	ck_assert_uint_eq(event_gone(w.arb, a).bytes[0], 3 * MIB + 3);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, b), 7);
	close(fb);
	ck_assert_uint_eq(event_gone(w.arb, b).bytes[0], 7);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 7);
}
END_TEST

/* All tiers, and two devices: the event tells the sums. */
START_TEST(test_bytes_of_all_devices)
{
	uint64_t id;
	int fd = client_new(UID_A, 1);
	uint32_t dev, tier;

	id = session_of(fd);
	for (dev = 0; dev < 2; dev++)
		for (tier = 0; tier < VRAM_N_TIERS; tier++) {
			struct vram_ioc_charge c = {
				.session = id,
				.share = VRAM_NO_SHARE,
				.dev = w.dev[dev],
				.to = tier,
				.bytes = (dev + 1) * 100 + tier,
			};

			ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
		}
	close(fd);
	{
		struct vram_arbiter_event e = event_gone(w.arb, id);

		for (tier = 0; tier < VRAM_N_TIERS; tier++)
			ck_assert_uint_eq(e.bytes[tier], 300 + 2 * tier);
	}
	for (dev = 0; dev < 2; dev++)
		for (tier = 0; tier < VRAM_N_TIERS; tier++) {
			struct vram_ioc_usage u;

			ck_ok(try_usage(w.arb, VRAM_KIND_ROOT, 0, w.dev[dev], tier, &u));
			ck_assert_uint_eq(u.usage, 0);
		}
}
END_TEST

/* A session that no arbiter has adopted ends without a word. */
START_TEST(test_never_adopted)
{
	struct vram_arbiter_event e;
	int fd = open_as(UID_A);
	uint64_t id = session_of(fd);

	ck_assert(lives(id));
	close(fd);
	EVENTUALLY(!lives(id));
	ck_errno(event_within(w.arb, 150, &e), EAGAIN);
}
END_TEST

/* The descriptor that the arbiter adopted by is not needed afterwards. */
START_TEST(test_adopted_by_a_copy)
{
	struct vram_ioc_adopt a;
	uint64_t id;
	int fd = open_as(UID_A), copy = dup(fd);

	a = adopt(w.arb, copy, 0);
	id = a.session;
	ck_assert_uint_eq(id, session_of(fd));
	close(copy);
	stays(id, 0);
	close(fd);
	ends(id, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lifetime");
	TCase *tc = world_case(suite, "references");

	tcase_add_test(tc, test_close);
	tcase_add_test(tc, test_dup);
	tcase_add_test(tc, test_fork);
	tcase_add_test(tc, test_passed);
	tcase_add_test(tc, test_lost_under_way);
	tcase_add_test(tc, test_mapping);
	tcase_add_test(tc, test_arbiters_mapping);
	tcase_add_test(tc, test_mapping_in_pieces);
	tcase_add_test(tc, test_adopted_by_a_copy);
	tc = world_case(suite, "death");
	tcase_add_test(tc, test_killed_while_mapped);
	tcase_add_loop_test(tc, test_killed_while_charging, 0, 5);
	tcase_add_test(tc, test_killed_while_waiting);
	tcase_add_test(tc, test_share_of_the_dead);
	tcase_add_test(tc, test_bytes_of_all_devices);
	tcase_add_test(tc, test_never_adopted);
	return device_main(suite);
}
