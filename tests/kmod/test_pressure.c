// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pressure: `full`, triggers by poll(), the text below debugfs, and that all of it tells the same numbers.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/waiter.h"

#define DEBUGFS "/sys/kernel/debug/vram/"

static int a, b;
static uint64_t ida, idb;

static void setup(void)
{
	world_setup();
	a = client_new(UID_A, 8);
	b = client_new(UID_B, 8);
	ida = session_of(a);
	idb = session_of(b);
}

static void state(uint64_t id, uint32_t op)
{
	ck_ok(try_state(w.arb, id, w.dev[0], op));
}

/* ---- full ------------------------------------------------------------------------ */

/* Some: one stalls. Full: one stalls and nobody works. */
START_TEST(test_full)
{
	struct vram_ioc_pressure p, q;

	state(ida, VRAM_SESSION_RUN);
	state(idb, VRAM_SESSION_RUN);
	state(ida, VRAM_SESSION_STALL);
	sleep_ms(200);
	ck_ok(try_pressure(w.arb, VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &p));
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_SESSION, ida, &q));
	ck_assert_uint_ge(q.total_us[0], 200000);
	ck_assert_uint_eq(q.total_us[0] - q.total_us[1] < 1000, 1);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_ROOT, 0, &q));
	/* B worked all the time. */
	state(idb, VRAM_SESSION_IDLE);
	sleep_ms(200);
	ck_ok(try_pressure(w.arb, VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &q));
	ck_assert_uint_ge(q.total_us[0] - p.total_us[0], 200000);
	ck_assert_uint_ge(q.total_us[1] - p.total_us[1], 150000);
	ck_assert_uint_le(q.total_us[1] - p.total_us[1], q.total_us[0] - p.total_us[0]);
	state(ida, VRAM_SESSION_UNSTALL);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_B, &q));
	ck_assert_uint_eq(q.total_us[0] | q.total_us[1], 0);
}
END_TEST

/* Who stalls while another of the group works: some of the group, and not full. */
START_TEST(test_full_of_a_group)
{
	struct vram_ioc_pressure before, after;
	int a2 = client_new(UID_A, 8);

	state(ida, VRAM_SESSION_RUN);
	state(session_of(a2), VRAM_SESSION_RUN);
	state(ida, VRAM_SESSION_STALL);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &before));
	sleep_ms(200);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &after));
	ck_assert_uint_ge(after.total_us[0] - before.total_us[0], 200000);
	ck_assert_uint_eq(after.total_us[1], before.total_us[1]);
	/* The one that works ends: from now on it is full. */
	close(a2);
	event_gone(w.arb, session_of(a) + 2 /* the third of this test */);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &before));
	sleep_ms(200);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &after));
	ck_assert_uint_ge(after.total_us[1] - before.total_us[1], 200000);
	state(ida, VRAM_SESSION_UNSTALL);
}
END_TEST

/* The averages move as PSI's do: a whole stalled period of 2 s raises avg10 most, avg300 least. */
START_TEST(test_averages)
{
	struct vram_ioc_pressure p;
	uint64_t begin = now_ns(), took;

	state(ida, VRAM_SESSION_STALL);
	sleep_ms(4500);
	ck_ok(try_pressure(a, 0, 0, VRAM_KIND_SESSION, ida, &p));
	took = now_ns() - begin;
	state(ida, VRAM_SESSION_UNSTALL);
	/* One or two whole periods: 18 to 34 percent, and proportionally less for the others. */
	ck_assert_uint_ge(p.avg_centi[0][0], 1700);
	ck_assert(p.avg_centi[0][0] <= 4600 || took > 6 * SECOND);
	ck_assert_uint_ge(p.avg_centi[0][1], 300);
	ck_assert_uint_lt(p.avg_centi[0][1], p.avg_centi[0][0]);
	ck_assert_uint_gt(p.avg_centi[0][2], 0);
	ck_assert_uint_lt(p.avg_centi[0][2], p.avg_centi[0][1]);
	ck_assert_uint_eq(p.avg_centi[1][0], p.avg_centi[0][0]);
	ck_ok(try_pressure(b, 0, 0, VRAM_KIND_SESSION, idb, &p));
	ck_assert_uint_eq(p.avg_centi[0][0] | p.avg_centi[0][1] | p.avg_centi[0][2], 0);
}
END_TEST

/* ---- triggers ----------------------------------------------------------------------- */

static int try_trigger(int fd, uint32_t flags, uint32_t kind, uint64_t key, uint64_t threshold_us,
		       uint64_t window_us)
{
	struct vram_ioc_trigger t = {
		.flags = flags,
		.dev = flags & VRAM_PRESSURE_DEVICE ? w.dev[0] : 0,
		.group = { .kind = kind, .key = key },
		.threshold_us = threshold_us,
		.window_us = window_us,
	};

	return try_ioctl(fd, VRAM_IOC_TRIGGER, &t);
}

static bool fires(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLPRI;
}

START_TEST(test_trigger_fires_once_a_window)
{
	uint64_t begin, until;
	int n = 0;

	ck_ok(try_trigger(a, 0, VRAM_KIND_SESSION, ida, 200000, 1000000));
	ck_assert(!fires(a, 300));
	begin = now_ns();
	state(ida, VRAM_SESSION_STALL);
	ck_assert(fires(a, 20000));
	/* Not before the threshold can have been reached. */
	ck_assert_uint_ge(now_ns() - begin, 150 * MS);
	n = 1;
	until = now_ns() + 3 * SECOND;
	while (now_ns() < until)
		n += fires(a, 50);
	/* Once a second, whatever phase; on a slow machine rather less. */
	ck_assert_int_ge(n, 2);
	ck_assert_int_le(n, 5);
	state(ida, VRAM_SESSION_UNSTALL);
	sleep_ms(1500);
	fires(a, 0);
	ck_assert(!fires(a, 1500));
}
END_TEST

/* Too little within a window is too little. */
START_TEST(test_trigger_below_threshold)
{
	struct vram_ioc_pressure p;
	int i;

	ck_ok(try_trigger(a, 0, VRAM_KIND_SESSION, ida, 900000, 1000000));
	for (i = 0; i < 6; i++) {
		bool fired;

		state(ida, VRAM_SESSION_STALL);
		sleep_ms(20);
		state(ida, VRAM_SESSION_UNSTALL);
		fired = fires(a, 300);
		/* On a machine that is very slow it may have been enough. */
		ck_ok(try_pressure(a, 0, 0, VRAM_KIND_SESSION, ida, &p));
		ck_assert(!fired || p.total_us[0] >= 900000);
	}
}
END_TEST

START_TEST(test_trigger_by_wait)
{
	struct waiter x;

	ck_ok(try_trigger(a, VRAM_PRESSURE_DEVICE, 0, 0, 100000, 500000));
	waiter_on(&x, b, 0);
	waiter_asleep(&x);
	ck_assert(fires(a, 20000));
	waiter_kill(&x);
}
END_TEST

/* `full` does not fire while somebody works. */
START_TEST(test_trigger_full)
{
	int admin = device_open();

	ck_ok(try_trigger(a, VRAM_PRESSURE_DEVICE | VRAM_PRESSURE_FULL, 0, 0, 100000, 500000));
	ck_ok(try_trigger(admin, VRAM_PRESSURE_DEVICE, 0, 0, 100000, 500000));
	state(idb, VRAM_SESSION_RUN);
	state(ida, VRAM_SESSION_STALL);
	ck_assert(fires(admin, 20000));
	ck_assert(!fires(a, 1000));
	state(idb, VRAM_SESSION_IDLE);
	ck_assert(fires(a, 20000));
	state(ida, VRAM_SESSION_UNSTALL);
	close(admin);
}
END_TEST

START_TEST(test_trigger_by_epoll)
{
	struct epoll_event e = { .events = EPOLLPRI };
	int ep = epoll_create1(0);

	ck_ok(try_trigger(a, 0, VRAM_KIND_USER, UID_A, 100000, 500000));
	ck_assert_int_eq(epoll_ctl(ep, EPOLL_CTL_ADD, a, &e), 0);
	ck_assert_int_eq(epoll_wait(ep, &e, 1, 200), 0);
	state(ida, VRAM_SESSION_STALL);
	ck_assert_int_eq(epoll_wait(ep, &e, 1, 20000), 1);
	ck_assert(e.events & EPOLLPRI);
	state(ida, VRAM_SESSION_UNSTALL);
	close(ep);
}
END_TEST

/* A group that is watched stays; a watched session may end at any time, and its watcher is told. */
START_TEST(test_trigger_keeps_the_group)
{
	int admin = device_open(), admin2 = device_open();
	struct pollfd p = { .fd = admin2 };
	struct vram_ioc_group g;

	ck_ok(try_trigger(admin, 0, VRAM_KIND_USER, UID_B, 100000, 500000));
	ck_ok(try_trigger(admin2, 0, VRAM_KIND_SESSION, idb, 100000, 500000));
	state(idb, VRAM_SESSION_STALL);
	ck_assert(fires(admin2, 20000));
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	close(b);
	/* Who sleeps in poll() is woken. */
	ck_assert_int_eq(poll(&p, 1, 20000), 1);
	ck_assert(p.revents & POLLERR);
	event_gone(w.arb, idb);
	ck_errno(try_trigger(admin2, 0, VRAM_KIND_USER, UID_B, 100000, 500000), EBUSY);
	ck_ok(try_group(w.arb, VRAM_KIND_USER, UID_B, &g));
	ck_assert_uint_eq(g.n_sessions, 0);
	/* What happened within its window may still be told. */
	sleep_ms(1500);
	fires(admin, 0);
	ck_assert(!fires(admin, 1000));
	close(admin);
	EVENTUALLY(try_group(w.arb, VRAM_KIND_USER, UID_B, &g) == -ENOENT);
	close(admin2);
}
END_TEST

/* The smallest and the largest that are allowed. */
START_TEST(test_trigger_ranges)
{
	int fd[4], i;

	for (i = 0; i < 4; i++)
		fd[i] = device_open();
	ck_ok(try_trigger(fd[0], VRAM_PRESSURE_DEVICE, 0, 0, 1, 500000));
	ck_ok(try_trigger(fd[1], VRAM_PRESSURE_DEVICE, 0, 0, 500000, 500000));
	ck_ok(try_trigger(fd[2], VRAM_PRESSURE_DEVICE, 0, 0, 10000000, 10000000));
	ck_errno(try_trigger(fd[3], VRAM_PRESSURE_DEVICE, 0, 0, 500001, 500000), EINVAL);
	ck_errno(try_trigger(fd[3], VRAM_PRESSURE_DEVICE, 0, 0, 1, 499999), EINVAL);
	ck_errno(try_trigger(fd[3], VRAM_PRESSURE_DEVICE, 0, 0, 1, 10000001), EINVAL);
	/* What was refused has left nothing: there is room for one. */
	ck_ok(try_trigger(fd[3], VRAM_PRESSURE_DEVICE, 0, 0, 1, 10000000));
	ck_errno(try_trigger(fd[3], VRAM_PRESSURE_DEVICE, 0, 0, 1, 10000000), EBUSY);
	for (i = 0; i < 4; i++)
		close(fd[i]);
}
END_TEST

/* ---- debugfs ------------------------------------------------------------------------- */

static char text[1 << 20];

static const char *read_file(const char *name)
{
	char path[256];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	f = fopen(path, "re");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return text;
}

/* PSI's two lines at `at`, to the letter. Return: what is behind them. */
static const char *parse(const char *at, struct vram_ioc_pressure *out)
{
	static const char *const words[2] = { "some", "full" };
	char again[256];
	int i, n = 0;

	for (i = 0; i < 2; i++) {
		unsigned int whole[3], part[3];
		uint64_t total;

		ck_assert_msg(!strncmp(at, words[i], 4), "%.80s", at);
		ck_assert_int_eq(sscanf(at + 4,
					" avg10=%u.%2u avg60=%u.%2u avg300=%u.%2u total=%" SCNu64
					"%n",
					&whole[0], &part[0], &whole[1], &part[1], &whole[2],
					&part[2], &total, &n),
				 7);
		snprintf(again, sizeof(again),
			 "%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%" PRIu64 "\n",
			 words[i], whole[0], part[0], whole[1], part[1], whole[2], part[2], total);
		ck_assert_msg(!strncmp(at, again, strlen(again)), "%.100s", at);
		out->total_us[i] = total;
		out->avg_centi[i][0] = whole[0] * 100 + part[0];
		out->avg_centi[i][1] = whole[1] * 100 + part[1];
		out->avg_centi[i][2] = whole[2] * 100 + part[2];
		at += strlen(again);
	}
	return at;
}

static void same(const struct vram_ioc_pressure *x, const struct vram_ioc_pressure *y)
{
	int i, k;

	for (i = 0; i < 2; i++) {
		ck_assert_uint_eq(x->total_us[i], y->total_us[i]);
		for (k = 0; k < 3; k++)
			ck_assert_uint_eq(x->avg_centi[i][k], y->avg_centi[i][k]);
	}
}

START_TEST(test_debugfs_numbers)
{
	struct vram_ioc_pressure file, call;
	char name[64], line[64];
	const char *at;

	state(ida, VRAM_SESSION_STALL);
	sleep_ms(2500);
	state(ida, VRAM_SESSION_UNSTALL);
	/* Nothing stalls: the averages are read within one period, or read again. */
	snprintf(name, sizeof(name), "device/%u/pressure", w.dev[0]);
	EVENTUALLY(({
		struct vram_ioc_pressure again;

		ck_ok(try_pressure(w.arb, VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &call));
		at = parse(read_file(name), &file);
		ck_ok(try_pressure(w.arb, VRAM_PRESSURE_DEVICE, w.dev[0], 0, 0, &again));
		!memcmp(&call, &again, sizeof(call));
	}));
	ck_assert_str_eq(at, "");
	ck_assert_uint_ge(file.total_us[0], 2500000);
	same(&file, &call);
	EVENTUALLY(({
		struct vram_ioc_pressure again;

		ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &call));
		snprintf(line, sizeof(line), "\nuser:%u\n", UID_A);
		at = strstr(read_file("pressure"), line);
		ck_assert_msg(at, "no line user:%u in %.400s", UID_A, text);
		parse(at + strlen(line), &file);
		ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_USER, UID_A, &again));
		!memcmp(&call, &again, sizeof(call));
	}));
	same(&file, &call);
	ck_assert_uint_ge(file.total_us[0], 2500000);
}
END_TEST

/* Every group is in the file once, with its two lines behind it. */
START_TEST(test_debugfs_groups)
{
	struct vram_ioc_pressure p;
	char self[VRAM_NAME_MAX] = "", line[VRAM_NAME_MAX + 32];
	const char *at = read_file("pressure");
	int n = 0, n_a = 0;

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	ck_assert(!strncmp(at, "root\n", 5));
	while (*at) {
		const char *end = strchr(at, '\n');

		ck_assert_ptr_nonnull(end);
		snprintf(line, sizeof(line), "user:%u", UID_A);
		n_a += (size_t)(end - at) == strlen(line) && !strncmp(at, line, strlen(line));
		at = parse(end + 1, &p);
		n++;
	}
	ck_assert_int_eq(n_a, 1);
	/* The root, three users, the executable, three sessions; cgroups perhaps. */
	ck_assert_int_ge(n, 8);
	snprintf(line, sizeof(line), "\nexe:%s\n", self);
	ck_assert_ptr_nonnull(strstr(text, line));
	snprintf(line, sizeof(line), "\nsession:%" PRIu64 "\n", idb);
	ck_assert_ptr_nonnull(strstr(text, line));
}
END_TEST

START_TEST(test_debugfs_other_files)
{
	static const char *const names[] = { "sessions", "groups", "arbiter", "pressure" };
	char word[64];
	struct stat st;
	size_t i;

	snprintf(word, sizeof(word), "%" PRIu64, ida);
	ck_assert_ptr_nonnull(strstr(read_file("sessions"), word));
	ck_assert_ptr_nonnull(strstr(text, "test_pressure"));
	snprintf(word, sizeof(word), "user:%u", UID_A);
	charge(w.arb, ida, 123456789);
	ck_assert_ptr_nonnull(strstr(read_file("groups"), word));
	ck_assert_ptr_nonnull(strstr(text, "123456789"));
	snprintf(word, sizeof(word), "%d", (int)getpid());
	ck_assert_ptr_nonnull(strstr(read_file("arbiter"), word));
	for (i = 0; i < 4; i++) {
		char path[128];

		snprintf(path, sizeof(path), DEBUGFS "%s", names[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		/* For root alone, and not for writing. */
		ck_assert_uint_eq(st.st_mode & 0377, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pressure");
	TCase *tc = tcase_create("pressure");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_full_of_a_group);
	tcase_add_test(tc, test_averages);
	tcase_add_test(tc, test_trigger_fires_once_a_window);
	tcase_add_test(tc, test_trigger_below_threshold);
	tcase_add_test(tc, test_trigger_by_wait);
	tcase_add_test(tc, test_trigger_full);
	tcase_add_test(tc, test_trigger_by_epoll);
	tcase_add_test(tc, test_trigger_keeps_the_group);
	tcase_add_test(tc, test_trigger_ranges);
	suite_add_tcase(suite, tc);
	tc = tcase_create("debugfs");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_debugfs_numbers);
	tcase_add_test(tc, test_debugfs_groups);
	tcase_add_test(tc, test_debugfs_other_files);
	if (!access(DEBUGFS, F_OK))
		suite_add_tcase(suite, tc);
	else
		printf("note: no " DEBUGFS ", so none of its tests\n");
	return device_main(suite);
}
