// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two users, without any right: A tries everything against B, by every descriptor that it can come by, and B's
 * numbers, waits, table and place do not change; nor does the kernel's log grow.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/waiter.h"

#define N_SLOTS 64

static int a, b;
static uint64_t ida, idb, offset_b;
static uint32_t *table_b;

static void setup(void)
{
	struct vram_ioc_adopt x;

	world_setup();
	a = client_new(UID_A, N_SLOTS);
	b = open_as(UID_B);
	table_make(b, N_SLOTS);
	x = adopt(w.arb, b, 0);
	offset_b = x.map_offset;
	ida = session_of(a);
	idb = session_of(b);
	table_b = table_map(b, N_SLOTS, 0);
	table_b[0] = 4711;
	charge(w.arb, idb, 9 * MIB);
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, GIB));
}

/* Runs as user A, without the arbiter's descriptor. B must be as it was afterwards. */
static void as_a(void (*what)(void))
{
	char *was = snapshot(w.arb), *now, *mine, *theirs;
	struct vram_ioc_pressure before, after;
	char line[64];
	struct waiter x;
	int status;
	pid_t pid;

	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_B, &before));
	waiter_on(&x, b, 1);
	waiter_asleep(&x);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		close(w.arb);
		become(UID_A);
		what();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "status %#x", status);

	/* Not woken, not moved, still counted. */
	ck_assert(!waiter_is_back(&x, 50));
	waiter_kill(&x);
	ck_assert_uint_eq(table_b[0], 4711);
	ck_assert_uint_eq(info_of(b).flags, VRAM_INFO_ADOPTED);
	ck_assert_uint_eq(info_of(b).n_slots, N_SLOTS);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_B, &after));
	ck_assert_uint_ge(after.total_us[0], before.total_us[0]);
	/* Everything of B, to the letter. (A may have charged nothing, but may have had more sessions.) */
	now = snapshot(w.arb);
	snprintf(line, sizeof(line), "\ngroup 1:%u ", UID_B);
	theirs = strstr(was, line);
	ck_assert_ptr_nonnull(theirs);
	*strstr(theirs + 1, "\ngroup ") = 0;
	mine = strstr(now, line);
	ck_assert_ptr_nonnull(mine);
	ck_assert_int_eq(strncmp(mine, theirs, strlen(theirs)), 0);
	snprintf(line, sizeof(line), "\ngroup 4:%" PRIu64 " ", idb);
	ck_assert_ptr_nonnull(strstr(now, line));
	free(now);
	free(was);
}

/* In the child an assertion of Check would be lost: the line is the exit status. */
#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

/* ---- by ids ------------------------------------------------------------------------- */

static void calls(void)
{
	struct vram_ioc_charge c = { .share = VRAM_NO_SHARE, .dev = w.dev[0], .session = idb };
	struct vram_ioc_share s = { .op = VRAM_SHARE_JOIN, .session = idb };
	struct vram_ioc_group g;
	struct vram_ioc_usage u;
	struct vram_ioc_pressure p;
	struct vram_ioc_over o = { .dev = w.dev[0] };
	struct vram_ioc_device d = { .name = "test0", .capacity = { 1, 1, 1 } };
	struct vram_ioc_trigger t = {
		.group = { .kind = VRAM_KIND_SESSION, .key = idb },
		.threshold_us = 1,
		.window_us = 500000,
	};
	int own = device_open(), fds[2], i;
	uint32_t op;

	fds[0] = own;
	fds[1] = a;
	for (i = 0; i < 2; i++) {
		for (op = 0; op < 4; op++) {
			c.op = op;
			c.other = op == VRAM_GIVE ? ida : 0;
			c.bytes = MIB;
			MUST(try_ioctl(fds[i], VRAM_IOC_CHARGE, &c) == -EPERM);
		}
		for (op = 0; op < 6; op++) {
			s.op = op;
			s.session = op == VRAM_SHARE_JOIN || op == VRAM_SHARE_LEAVE ? idb : 0;
			MUST(try_ioctl(fds[i], VRAM_IOC_SHARE, &s) == -EPERM);
		}
		for (op = 0; op < 4; op++)
			MUST(try_state(fds[i], idb, w.dev[0], op) == -EPERM);
		MUST(try_wake(fds[i], idb, 1) == -EPERM);
		MUST(try_ioctl(fds[i], VRAM_IOC_OVER, &o) == -EPERM);
		MUST(try_ioctl(fds[i], VRAM_IOC_DEVICE, &d) == -EPERM);
		MUST(try_attach(fds[i], 0) == -EPERM);
		MUST(try_group(fds[i], VRAM_KIND_SESSION, idb, &g) == -EPERM);
		MUST(try_group(fds[i], VRAM_KIND_USER, UID_B, &g) == -EPERM);
		MUST(try_group(fds[i], VRAM_KIND_ROOT, 0, &g) == -EPERM);
		MUST(try_limit(fds[i], VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, 0) == -EPERM);
		MUST(try_limit(fds[i], VRAM_KIND_SESSION, idb, VRAM_LIMIT_MAX, 0) == -EPERM);
		MUST(try_limit(fds[i], VRAM_KIND_USER, UID_A, VRAM_LIMIT_MIN, GIB) == -EPERM);
		/* What may be seen: oneself, what is above, the root, devices. */
		MUST(try_usage(fds[i], VRAM_KIND_SESSION, idb, w.dev[0], 0, &u) == -EPERM);
		MUST(try_usage(fds[i], VRAM_KIND_USER, UID_B, w.dev[0], 0, &u) == -EPERM);
		MUST(try_usage(fds[i], VRAM_KIND_USER, 0, w.dev[0], 0, &u) == -EPERM);
		MUST(try_usage(fds[i], VRAM_KIND_USER, UID_A, w.dev[0], 0, &u) == 0);
		MUST(u.usage == 0);
		MUST(try_usage(fds[i], VRAM_KIND_SESSION, session_of(fds[i]), w.dev[0], 0, &u) ==
		     0);
		MUST(try_usage(fds[i], VRAM_KIND_ROOT, 0, w.dev[0], 0, &u) == 0);
		MUST(u.usage == 9 * MIB);
		MUST(try_pressure(fds[i], 0, 0, VRAM_KIND_SESSION, idb, &p) == -EPERM);
		MUST(try_pressure(fds[i], 0, 0, VRAM_KIND_USER, UID_B, &p) == -EPERM);
		MUST(try_pressure(fds[i], 0, 0, VRAM_KIND_USER, UID_A, &p) == 0);
		MUST(p.total_us[0] == 0);
		MUST(try_pressure(fds[i], 0, 0, VRAM_KIND_ROOT, 0, &p) == 0);
		MUST(try_pressure(fds[i], VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &p) == 0);
		MUST(try_ioctl(fds[i], VRAM_IOC_TRIGGER, &t) == -EPERM);
		t.group.kind = VRAM_KIND_USER;
		t.group.key = UID_B;
		MUST(try_ioctl(fds[i], VRAM_IOC_TRIGGER, &t) == -EPERM);
		t.group.kind = VRAM_KIND_SESSION;
		t.group.key = idb;
	}
	/* Whether an id is in use cannot be found out either. */
	MUST(try_usage(own, VRAM_KIND_SESSION, 1ull << 50, w.dev[0], 0, &u) == -EPERM);
	MUST(try_usage(own, VRAM_KIND_USER, 123456789, w.dev[0], 0, &u) == -EPERM);
	MUST(try_usage(own, VRAM_KIND_CGROUP, 99999, w.dev[0], 0, &u) == -EPERM);
}

START_TEST(test_calls)
{
	as_a(calls);
}
END_TEST

/* ---- by B's own descriptor, if B gives it away --------------------------------------- */

static void descriptor_of_b(void)
{
	struct vram_ioc_adopt x;
	struct vram_ioc_info info = info_of(b);

	/* Whose it is does not change, and it gives nobody rights over others. */
	MUST(info.uid == UID_B);
	MUST(try_adopt(a, b, 0, &x) == -EPERM);
	MUST(try_adopt(b, a, 0, &x) == -EPERM);
	MUST(try_adopt(b, b, VRAM_ADOPT_RESET, &x) == -EPERM);
	MUST(try_attach(b, 0) == -EPERM);
	MUST(try_wake(b, idb, 1) == -EPERM);
	MUST(try_charge(b, idb, 1) == -EPERM);
	MUST(try_limit(b, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, 0) == -EPERM);
	MUST(read(b, &info, sizeof(info)) == -1 && errno == EPERM);
}

START_TEST(test_descriptor)
{
	as_a(descriptor_of_b);
}
END_TEST

/* ---- by mapping ------------------------------------------------------------------------ */

static bool maps(int fd, uint64_t offset, int prot)
{
	return mmap(NULL, 4096, prot, MAP_SHARED, fd, (off_t)offset) != MAP_FAILED;
}

static void mapping(void)
{
	int own = device_open();
	uint64_t k;

	MUST(!maps(a, offset_b, PROT_READ));
	MUST(!maps(own, offset_b, PROT_READ | PROT_WRITE));
	MUST(!maps(own, 0, PROT_READ));
	table_make(own, N_SLOTS);
	MUST(!maps(own, offset_b, PROT_READ));
	for (k = 1; k < 4096; k++) {
		MUST(!maps(own, k << 24, PROT_READ));
		MUST(!maps(a, k * 4096, PROT_READ));
	}
	/* One's own works, and is nobody else's. */
	MUST(maps(own, 0, PROT_READ | PROT_WRITE));
}

START_TEST(test_mapping)
{
	as_a(mapping);
}
END_TEST

/* ---- by using everything up --------------------------------------------------------------- */

static void hoard(void)
{
	static int fds[4096];
	struct rlimit lots = { 4096, 4096 };
	uint32_t slots;
	int n = 0, i;

	setrlimit(RLIMIT_NOFILE, &lots);
	for (;;) {
		fds[n] = try_open(O_RDWR);
		if (fds[n] < 0)
			break;
		n++;
		MUST(n < 4000);
	}
	MUST(fds[n] == -EMFILE);
	MUST(n > 1);
	/* All the slots, in as many tables as it takes. */
	for (i = 0; i < n; i++) {
		struct vram_ioc_table t = { 0 };

		slots = info_of(fds[i]).max_slots;
		if (!slots)
			break;
		t.n_slots = slots < 20000 ? slots : 20000;
		if (try_ioctl(fds[i], VRAM_IOC_TABLE, &t))
			break;
	}
	MUST(i > 0);
	/* B is not hindered: that is the parent's to see, by a pipe in place of the exit status. */
}

static int hoard_ready, hoard_go;

static void hoard_and_stay(void)
{
	char byte = 1;

	hoard();
	MUST(write(hoard_ready, &byte, 1) == 1);
	MUST(read(hoard_go, &byte, 1) == 0);
}

START_TEST(test_hoarding)
{
	int ready[2], go[2], fd, status;
	struct waiter x;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(go), 0);
	hoard_ready = ready[1];
	hoard_go = go[0];
	pid = fork();
	if (!pid) {
		close(go[1]);
		close(w.arb);
		become(UID_A);
		hoard_and_stay();
		_exit(0);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	/* B opens, makes a table, is adopted and charged, waits, is woken. */
	fd = client_new(UID_B, 1000);
	charge(w.arb, session_of(fd), MIB);
	waiter_on(&x, fd, 3);
	waiter_asleep(&x);
	ck_ok(try_wake(w.arb, session_of(fd), 3));
	ck_assert_int_eq(waiter_result(&x), 0);
	close(fd);
	close(go[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------- */

/* How much of the log nobody has read yet; grows with every line. */
static long log_bytes(void)
{
	static char buf[1 << 20];
	int n = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, buf, sizeof(buf) - 1), i;
	long of_ours = 0;

	ck_assert_int_ge(n, 0);
	buf[n] = 0;
	for (i = 0; i + 4 <= n; i++)
		of_ours += !memcmp(buf + i, "vram", 4);
	return of_ours;
}

static void noise(void)
{
	uint64_t x = 88172645463325252ull;
	int own = device_open(), i, k;
	char arg[512];

	for (i = 0; i < 20000; i++) {
		unsigned long request;

		for (k = 0; k < 512; k += 8) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			memcpy(arg + k, &x, 8);
		}
		/* Any of our numbers with its own size, or not. */
		request =
			x % 4 ? _IOC(x >> 8 & 3, VRAM_IOC_MAGIC, x >> 16 & 0x2f, x >> 24 & 0x1ff) :
				VRAM_IOC_USAGE;
		try_ioctl(x & 1 ? own : a, request, arg);
		if (i % 16 == 0) {
			int fd = try_open(O_RDWR);

			if (fd >= 0)
				close(fd);
			mmap(NULL, x % 100000, PROT_READ, MAP_SHARED, own, (off_t)(x & ~0xfffull));
			if (read(own, arg, x % 512) >= 0 || write(own, arg, x % 512) >= 0)
				_exit(1);
		}
	}
}

START_TEST(test_log_does_not_grow)
{
	long before = log_bytes();

	as_a(noise);
	ck_assert_int_eq(log_bytes(), before);
}
END_TEST

/* ---- users of another namespace are who they are -------------------------------------------- */

START_TEST(test_root_of_a_namespace)
{
	int status, pair[2];
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		int fd, map;
		char text[64];

		close(w.arb);
		become(UID_A);
		/* Where a user may not make one, there is nothing to test. */
		if (unshare(CLONE_NEWUSER))
			_exit(0);
		map = open("/proc/self/uid_map", O_WRONLY);
		snprintf(text, sizeof(text), "0 %d 1", UID_A);
		MUST(map >= 0 && write(map, text, strlen(text)) > 0);
		MUST(geteuid() == 0);
		fd = try_open(O_RDWR);
		/* The node's group is not mapped here, but still has its bits. */
		MUST(fd >= 0);
		MUST(info_of(fd).uid == 0);
		MUST(try_attach(fd, 0) == -EPERM);
		MUST(try_limit(fd, VRAM_KIND_USER, UID_B, VRAM_LIMIT_MAX, 0) == -EPERM);
		MUST(try_group(fd, VRAM_KIND_ROOT, 0, &(struct vram_ioc_group){ 0 }) == -EPERM);
		MUST(passing_send(pair[1], fd) == 0);
		_exit(77);
	}
	close(pair[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (status) {
		int fd;

		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 77);
		fd = passing_receive(pair[0]);
		/* To the rest of the world it is user A. */
		ck_assert_uint_eq(adopt(w.arb, fd, 0).uid, UID_A);
		close(fd);
	} else {
		printf("note: no user namespaces here\n");
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("users");
	TCase *tc = tcase_create("users");

	tcase_set_timeout(tc, 200);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_calls);
	tcase_add_test(tc, test_descriptor);
	tcase_add_test(tc, test_mapping);
	tcase_add_test(tc, test_hoarding);
	tcase_add_test(tc, test_log_does_not_grow);
	tcase_add_test(tc, test_root_of_a_namespace);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
