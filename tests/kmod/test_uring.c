// SPDX-License-Identifier: GPL-2.0-only
/*
 * An arbiter reads its events through io_uring, as vramd does: a read that is pending completes when there is something
 * to read, and keeps nobody alive that was killed.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c
 * libs: -luring
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/support/skip.h"

static struct io_uring ring;

static void setup(void)
{
	world_setup();
	ck_assert_int_eq(io_uring_queue_init(8, &ring, 0), 0);
}

static void teardown(void)
{
	io_uring_queue_exit(&ring);
	world_teardown();
}

static struct io_uring_cqe *completed(int timeout_ms)
{
	struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000,
					.tv_nsec = timeout_ms % 1000 * 1000000LL };
	struct io_uring_cqe *cqe = NULL;

	return io_uring_wait_cqe_timeout(&ring, &cqe, &ts) ? NULL : cqe;
}

static void submit_read(void *buf, unsigned int size)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_read(sqe, w.arb, buf, size, 0);
	ck_assert_int_eq(io_uring_submit(&ring), 1);
}

/* With and without O_NONBLOCK the ring waits for us. */
START_TEST(test_read)
{
	struct vram_arbiter_event e[4] = { 0 };
	struct io_uring_cqe *cqe;
	int fd = client_new(UID_A, 1);
	uint64_t id = session_of(fd);

	ck_assert_int_eq(fcntl(w.arb, F_SETFL, 0), 0);
	submit_read(e, sizeof(e));
	ck_assert_ptr_null(completed(200));
	charge(w.arb, id, MIB);
	close(fd);
	cqe = completed(20000);
	ck_assert_ptr_nonnull(cqe);
	ck_assert_int_eq(cqe->res, sizeof(e[0]));
	ck_assert_uint_eq(e[0].type, VRAM_ARBITER_EVENT_GONE);
	ck_assert_uint_eq(e[0].session, id);
	ck_assert_uint_eq(e[0].bytes[0], MIB);
	io_uring_cqe_seen(&ring, cqe);
	/* Again: nothing is left of it. */
	submit_read(e, sizeof(e));
	ck_assert_ptr_null(completed(100));
	fd = device_open();
	ck_ok(try_limit(fd, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, MIB));
	close(fd);
	cqe = completed(20000);
	ck_assert_ptr_nonnull(cqe);
	ck_assert_int_eq(cqe->res, sizeof(e[0]));
	ck_assert_uint_eq(e[0].type, VRAM_ARBITER_EVENT_LIMITS);
	io_uring_cqe_seen(&ring, cqe);
}
END_TEST

START_TEST(test_read_at_once)
{
	struct vram_arbiter_event e = { 0 };
	struct io_uring_cqe *cqe;
	int fd = client_new(UID_A, 1);
	uint64_t id = session_of(fd);

	close(fd);
	EVENTUALLY(try_group(w.arb, VRAM_KIND_SESSION, id, &(struct vram_ioc_group){ 0 }) ==
		   -ENOENT);
	submit_read(&e, sizeof(e));
	cqe = completed(20000);
	ck_assert_ptr_nonnull(cqe);
	ck_assert_int_eq(cqe->res, sizeof(e));
	ck_assert_uint_eq(e.session, id);
	io_uring_cqe_seen(&ring, cqe);
	submit_read(&e, sizeof(e) - 1);
	cqe = completed(20000);
	ck_assert_ptr_nonnull(cqe);
	ck_assert_int_eq(cqe->res, -EINVAL);
	io_uring_cqe_seen(&ring, cqe);
}
END_TEST

START_TEST(test_poll)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct vram_arbiter_event e;
	struct io_uring_cqe *cqe;
	int fd = client_new(UID_A, 1);
	uint64_t id = session_of(fd);

	io_uring_prep_poll_add(sqe, w.arb, POLLIN);
	ck_assert_int_eq(io_uring_submit(&ring), 1);
	ck_assert_ptr_null(completed(200));
	close(fd);
	cqe = completed(20000);
	ck_assert_ptr_nonnull(cqe);
	ck_assert(cqe->res & POLLIN);
	io_uring_cqe_seen(&ring, cqe);
	ck_ok(try_event(w.arb, &e));
	ck_assert_uint_eq(e.session, id);
}
END_TEST

START_TEST(test_cancel)
{
	struct vram_arbiter_event e;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	int i;

	submit_read(&e, sizeof(e));
	ck_assert_ptr_null(completed(50));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = 7;
	ck_assert_int_eq(io_uring_submit(&ring), 1);
	for (i = 0; i < 2; i++) {
		cqe = completed(20000);
		ck_assert_ptr_nonnull(cqe);
		if (cqe->user_data != 7)
			ck_assert_int_eq(cqe->res, -ECANCELED);
		io_uring_cqe_seen(&ring, cqe);
	}
}
END_TEST

/* Killed with a read pending, through a plain and through a registered file: gone is gone. */
START_TEST(test_killed)
{
	int any = device_open(), pipes[2];
	char byte;
	pid_t pid;

	close(w.arb);
	EVENTUALLY(info_of(any).arbiter_state == VRAM_ARBITER_GONE);
	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	if (!pid) {
		struct vram_arbiter_event e;
		struct io_uring_sqe *sqe;
		struct io_uring own;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		w.arb = arbiter_new(0);
		if (io_uring_queue_init(8, &own, 0))
			_exit(1);
		if (_i && io_uring_register_files(&own, &w.arb, 1))
			_exit(2);
		sqe = io_uring_get_sqe(&own);
		io_uring_prep_read(sqe, _i ? 0 : w.arb, &e, sizeof(e), 0);
		sqe->flags |= _i ? IOSQE_FIXED_FILE : 0;
		if (io_uring_submit(&own) != 1 || write(pipes[1], "x", 1) != 1)
			_exit(3);
		for (;;)
			pause();
	}
	close(pipes[1]);
	ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
	ck_assert_uint_eq(info_of(any).arbiter_state, VRAM_ARBITER_ATTACHED);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	EVENTUALLY(info_of(any).arbiter_state == VRAM_ARBITER_GONE);
	w.arb = any;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uring");
	TCase *tc = tcase_create("uring");
	struct io_uring probe;
	int ret = io_uring_queue_init(2, &probe, 0);

	if (!ret)
		io_uring_queue_exit(&probe);
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_read);
	tcase_add_test(tc, test_read_at_once);
	tcase_add_test(tc, test_poll);
	tcase_add_test(tc, test_cancel);
	tcase_add_loop_test(tc, test_killed, 0, 2);
	suite_add_tcase(suite, tc);
	if (ret) {
		srunner_free(srunner_create(suite));
		return skip("no io_uring here");
	}
	return device_main(suite);
}
