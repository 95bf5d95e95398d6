// SPDX-License-Identifier: GPL-2.0-only
/* The queue of programs that come in: one at a time, and nobody who keeps the lock stops the others. */
// links: libclient/cudashim/queue.c common/err.c common/socket.c
#define _GNU_SOURCE 1
#include "libclient/cudashim/queue.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "libclient/internal.h"

#define MS 1000000ull

static char folder[] = "/tmp/vq-XXXXXX";
static const _Atomic bool never;

/* What the queue needs of the library. */
uint64_t client_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Return: how long it took. */
static uint64_t enter(uint64_t max_ns)
{
	uint64_t since = client_now_ns();

	queue_enter(max_ns, &never);
	return client_now_ns() - since;
}

START_TEST(who_keeps_the_lock_stops_nobody)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_uint_ge(enter(300 * MS), 300 * MS);
	/* Again, and as if for a minute. */
	ck_assert_uint_lt(enter(60000 * MS), 10000 * MS);
	ck_assert_uint_lt(enter(60000 * MS), 10000 * MS);
	ck_assert_int_eq(flock(fd, LOCK_UN), 0);
	ck_assert_uint_lt(enter(60000 * MS), 10000 * MS);
	ck_assert_int_lt(flock(fd, LOCK_EX | LOCK_NB), 0);
	queue_leave();
	/* Who has had it waits as long as he is told again. */
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert_uint_ge(enter(1500 * MS), 1500 * MS);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cudashim_queue");
	TCase *tc = tcase_create("queue");
	char path[64];
	SRunner *runner;
	int failed;

	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/s", folder);
	setenv("VRAM_SOCKET", path, 1);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, who_keeps_the_lock_stops_nobody);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rmdir(folder);
	return failed ? 1 : 0;
}
