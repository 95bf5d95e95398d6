// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/loop.c common/err.c
// libs: -luring
/*
 * The event loop: every kind of op, cancellation at every moment, and what the kernel does when
 * rings are full. Ops are freed right after cancelling wherever that is allowed, so that
 * AddressSanitizer sees a late answer that touches one.
 */
#define _GNU_SOURCE 1
#include "daemon/loop.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MS 1000000ull

static struct loop *loop;

/* An op that counts. */
struct counter {
	struct loop_op op;
	int n;
	int last;
	int cancel_at; /* cancel itself in this call; 0: never */
	int rearm;     /* arm again so many times: timers and deferrals */
	uint64_t when_ns;
};

static struct counter *counter_of(struct loop_op *op)
{
	return (struct counter *)(void *)op;
}

static void count(struct loop_op *op, int res)
{
	struct counter *counter = counter_of(op);

	counter->n++;
	counter->last = res;
	counter->when_ns = loop_now();
	if (counter->cancel_at == counter->n)
		loop_cancel(loop, op);
}

static struct counter *counter_new(loop_fn *fn)
{
	struct counter *counter = calloc(1, sizeof(*counter));

	ck_assert_ptr_nonnull(counter);
	counter->op.fn = fn;
	return counter;
}

static int event_new(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void event_set(int fd)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Rounds without waiting, enough for whatever is due. */
static void spin(int rounds)
{
	while (rounds-- > 0)
		ck_assert_int_eq(loop_run_once(loop, 0), 0);
}

/* Until *n has the value; a loop that lost an event runs into Check's time limit. */
static void run_until(const int *n, int value)
{
	while (*n < value)
		ck_assert_int_eq(loop_run_once(loop, (int64_t)(10 * MS)), 0);
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop, 64), 0);
}

/*
 * What older kernels and sandboxes leave of io_uring. There completions come whenever they like, so
 * the completion ring overflows and the kernel ends multishot polls.
 */
static void setup_cooperative(void)
{
	ck_assert_int_eq(loop_new_worse(&loop, 64, 1), 0);
}

static void setup_plain(void)
{
	ck_assert_int_eq(loop_new_worse(&loop, 64, 2), 0);
}

static void teardown(void)
{
	loop = loop_free(loop);
}

/* ---- polls ---- */

START_TEST(poll_reports_every_change)
{
	struct counter *counter = counter_new(count);
	int fd = event_new(), i;
	uint64_t value;

	ck_assert_int_eq(loop_poll(loop, &counter->op, fd, POLLIN), 0);
	ck_assert(loop_op_armed(&counter->op));
	spin(3);
	ck_assert_int_eq(counter->n, 0);
	for (i = 1; i <= 100; i++) {
		event_set(fd);
		run_until(&counter->n, i);
		ck_assert_int_eq(counter->last & POLLIN, POLLIN);
		ck_assert_int_eq(read(fd, &value, sizeof(value)), sizeof(value));
		ck_assert(loop_op_armed(&counter->op));
	}
	loop_cancel(loop, &counter->op);
	ck_assert(!loop_op_armed(&counter->op));
	event_set(fd);
	spin(3);
	ck_assert_int_eq(counter->n, 100);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
	close(fd);
}
END_TEST

START_TEST(poll_reports_what_is_ready_already)
{
	struct counter *counter = counter_new(count);
	int fd = event_new();

	event_set(fd);
	ck_assert_int_eq(loop_poll(loop, &counter->op, fd, POLLIN), 0);
	/* Not from within the call that armed it. */
	ck_assert_int_eq(counter->n, 0);
	run_until(&counter->n, 1);
	loop_cancel(loop, &counter->op);
	ck_assert_int_eq(loop_poll(loop, &counter->op, fd, POLLIN), 0);
	run_until(&counter->n, 2);
	loop_cancel(loop, &counter->op);
	free(counter);
	close(fd);
}
END_TEST

START_TEST(poll_sees_the_end_of_a_socket)
{
	struct counter *counter = counter_new(count);
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_int_eq(loop_poll(loop, &counter->op, pair[0], POLLIN | POLLRDHUP), 0);
	spin(2);
	ck_assert_int_eq(counter->n, 0);
	close(pair[1]);
	run_until(&counter->n, 1);
	ck_assert_int_ne(counter->last & (POLLHUP | POLLRDHUP), 0);
	loop_cancel(loop, &counter->op);
	close(pair[0]);
	free(counter);
}
END_TEST

START_TEST(poll_of_no_descriptor_fails_once)
{
	struct counter *counter = counter_new(count);

	ck_assert_int_eq(loop_poll(loop, &counter->op, 999, POLLIN), 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, -EBADF);
	ck_assert(!loop_op_armed(&counter->op));
	spin(3);
	ck_assert_int_eq(counter->n, 1);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
}
END_TEST

START_TEST(poll_may_cancel_itself)
{
	struct counter *counter = counter_new(count);
	int fd = event_new();

	counter->cancel_at = 1;
	ck_assert_int_eq(loop_poll(loop, &counter->op, fd, POLLIN), 0);
	event_set(fd);
	run_until(&counter->n, 1);
	event_set(fd);
	spin(3);
	ck_assert_int_eq(counter->n, 1);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
	close(fd);
}
END_TEST

/*
 * An event is being delivered at the moment of the cancellation: the kernel must forget the poll
 * all the same.
 */
START_TEST(poll_cancelled_while_an_event_is_on_its_way)
{
	int fd = event_new(), i;

	for (i = 0; i < 200; i++) {
		struct counter *counter = counter_new(count);

		ck_assert_int_eq(loop_poll(loop, &counter->op, fd, POLLIN), 0);
		spin(1);
		event_set(fd);
		loop_cancel(loop, &counter->op);
		free(counter);
		spin(3);
		ck_assert_uint_eq(loop_n_busy(loop), 0);
	}
	close(fd);
}
END_TEST

static struct counter *victim;

static void cancel_and_free_victim(struct loop_op *op, int res)
{
	count(op, res);
	if (victim) {
		loop_cancel(loop, &victim->op);
		free(victim);
		victim = NULL;
	}
}

/* Both are ready in the same round: the second one's answer comes after its owner is gone. */
START_TEST(poll_cancelled_by_another_callback_of_the_round)
{
	struct counter *first = counter_new(cancel_and_free_victim);
	int a = event_new(), b = event_new();

	victim = counter_new(cancel_and_free_victim);
	ck_assert_int_eq(loop_poll(loop, &first->op, a, POLLIN), 0);
	ck_assert_int_eq(loop_poll(loop, &victim->op, b, POLLIN), 0);
	spin(2);
	event_set(a);
	event_set(b);
	run_until(&first->n, 1);
	spin(3);
	ck_assert_ptr_null(victim);
	ck_assert_int_eq(first->n, 1);
	loop_cancel(loop, &first->op);
	free(first);
	close(a);
	close(b);
}
END_TEST

/* ---- timers ---- */

START_TEST(timer_fires_once_and_not_early)
{
	struct counter *counter = counter_new(count);
	uint64_t at = loop_now() + 20 * MS;

	ck_assert_int_eq(loop_timer(loop, &counter->op, at), 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, 0);
	ck_assert_uint_ge(counter->when_ns, at);
	ck_assert(!loop_op_armed(&counter->op));
	spin(3);
	ck_assert_int_eq(counter->n, 1);
	free(counter);
}
END_TEST

START_TEST(timer_of_the_past_fires_at_once)
{
	struct counter *counter = counter_new(count);

	ck_assert_int_eq(loop_timer(loop, &counter->op, 1), 0);
	ck_assert_int_eq(counter->n, 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, 0);
	free(counter);
}
END_TEST

START_TEST(timer_cancelled_never_fires)
{
	struct counter *counter = counter_new(count), *later = counter_new(count);
	uint64_t now = loop_now();

	ck_assert_int_eq(loop_timer(loop, &counter->op, now + 10 * MS), 0);
	ck_assert_int_eq(loop_timer(loop, &later->op, now + 30 * MS), 0);
	spin(1);
	loop_cancel(loop, &counter->op);
	loop_cancel(loop, &counter->op); /* idle: nothing happens */
	run_until(&later->n, 1);
	ck_assert_int_eq(counter->n, 0);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
	free(later);
}
END_TEST

static void rearm_timer(struct loop_op *op, int res)
{
	struct counter *counter = counter_of(op);

	count(op, res);
	if (counter->n < counter->rearm)
		ck_assert_int_eq(loop_timer(loop, op, loop_now() + MS / 10), 0);
}

START_TEST(timer_may_be_armed_in_its_callback)
{
	struct counter *counter = counter_new(rearm_timer);

	counter->rearm = 50;
	ck_assert_int_eq(loop_timer(loop, &counter->op, loop_now()), 0);
	run_until(&counter->n, 50);
	spin(3);
	ck_assert_int_eq(counter->n, 50);
	free(counter);
}
END_TEST

#define MANY_TIMERS 1000
static int order[MANY_TIMERS], n_order;

static void note_order(struct loop_op *op, int res)
{
	ck_assert_int_eq(res, 0);
	order[n_order++] = counter_of(op)->rearm;
}

/*
 * More than the submission ring holds, armed in a scrambled order. On one processor: each has a queue of timers
 * of its own, and one that is kept from running does not wait for the other. All are armed before the
 * first is due, however busy the machine is: else there is no order.
 */
START_TEST(timers_fire_in_the_order_of_their_times)
{
	static struct counter timers[MANY_TIMERS];
	uint64_t base = loop_now() + 1000 * MS;
	cpu_set_t one;
	int i, k;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	n_order = 0;
	for (i = 0; i < MANY_TIMERS; i++) {
		k = i * 617 % MANY_TIMERS;
		timers[k].op.fn = note_order;
		timers[k].rearm = k;
		ck_assert_int_eq(loop_timer(loop, &timers[k].op, base + (uint64_t)k * 10000), 0);
	}
	run_until(&n_order, MANY_TIMERS);
	for (i = 0; i < MANY_TIMERS; i++)
		ck_assert_int_eq(order[i], i);
}
END_TEST

/* ---- files ---- */

static int memfd_new(void)
{
	int fd = memfd_create("loop", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(file_is_written_and_read)
{
	struct counter *counter = counter_new(count);
	char out[8192], in[8192] = { 0 };
	int fd = memfd_new();

	memset(out, 0x5a, sizeof(out));
	ck_assert_int_eq(loop_write(loop, &counter->op, fd, out, sizeof(out), 4096), 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, sizeof(out));
	ck_assert_int_eq(loop_read(loop, &counter->op, fd, in, sizeof(in), 4096), 0);
	run_until(&counter->n, 2);
	ck_assert_int_eq(counter->last, sizeof(in));
	ck_assert_int_eq(memcmp(in, out, sizeof(in)), 0);
	/* A short read and the end of the file are what read(2) says. */
	ck_assert_int_eq(loop_read(loop, &counter->op, fd, in, sizeof(in), 8192), 0);
	run_until(&counter->n, 3);
	ck_assert_int_eq(counter->last, 4096);
	ck_assert_int_eq(loop_read(loop, &counter->op, fd, in, sizeof(in), 1 << 20), 0);
	run_until(&counter->n, 4);
	ck_assert_int_eq(counter->last, 0);
	free(counter);
	close(fd);
}
END_TEST

START_TEST(file_errors_are_reported)
{
	struct counter *counter = counter_new(count);
	char buf[16] = { 0 };
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(loop_read(loop, &counter->op, 999, buf, sizeof(buf), 0), 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, -EBADF);
	ck_assert_int_eq(loop_write(loop, &counter->op, fd, buf, sizeof(buf), 0), 0);
	run_until(&counter->n, 2);
	ck_assert_int_eq(counter->last, -EBADF);
	ck_assert_int_eq(loop_fallocate(loop, &counter->op, fd, 0, UINT64_MAX, 1), -EFBIG);
	ck_assert(!loop_op_armed(&counter->op));
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
	close(fd);
}
END_TEST

START_TEST(file_holes_are_punched)
{
	struct counter *counter = counter_new(count);
	static char block[65536];
	int fd = memfd_new();
	struct stat st;
	char c = 1;

	memset(block, 0x77, sizeof(block));
	ck_assert_int_eq(write(fd, block, sizeof(block)), sizeof(block));
	ck_assert_int_eq(loop_fallocate(loop, &counter->op, fd,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 32768),
			 0);
	run_until(&counter->n, 1);
	ck_assert_int_eq(counter->last, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, sizeof(block));
	ck_assert_int_eq(st.st_blocks * 512, 32768);
	ck_assert_int_eq(pread(fd, &c, 1, 100), 1);
	ck_assert_int_eq(c, 0);
	free(counter);
	close(fd);
}
END_TEST

/* ---- deferral ---- */

static void rearm_defer(struct loop_op *op, int res)
{
	struct counter *counter = counter_of(op);

	count(op, res);
	if (counter->n < counter->rearm)
		ck_assert_int_eq(loop_defer(loop, op), 0);
}

START_TEST(deferred_runs_in_the_next_round)
{
	struct counter *counter = counter_new(rearm_defer);
	int i;

	counter->rearm = 10;
	ck_assert_int_eq(loop_defer(loop, &counter->op), 0);
	ck_assert_int_eq(counter->n, 0);
	for (i = 1; i <= 10; i++) {
		/* It waits for ever, but something is due. */
		ck_assert_int_eq(loop_run_once(loop, -1), 0);
		ck_assert_int_eq(counter->n, i);
	}
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(counter);
}
END_TEST

START_TEST(deferred_lets_others_run)
{
	struct counter *busy = counter_new(rearm_defer), *poll = counter_new(count);
	int fd = event_new();

	busy->rearm = 1000000;
	ck_assert_int_eq(loop_defer(loop, &busy->op), 0);
	ck_assert_int_eq(loop_poll(loop, &poll->op, fd, POLLIN), 0);
	spin(2);
	event_set(fd);
	spin(3);
	ck_assert_int_eq(poll->n, 1);
	loop_cancel(loop, &busy->op);
	loop_cancel(loop, &poll->op);
	free(busy);
	free(poll);
	spin(3);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	close(fd);
}
END_TEST

START_TEST(deferred_cancelled_never_runs)
{
	struct counter *counter = counter_new(count), *other = counter_new(count);

	ck_assert_int_eq(loop_defer(loop, &counter->op), 0);
	ck_assert_int_eq(loop_defer(loop, &other->op), 0);
	loop_cancel(loop, &counter->op);
	free(counter);
	spin(2);
	ck_assert_int_eq(other->n, 1);
	ck_assert_uint_eq(loop_n_busy(loop), 0);
	free(other);
}
END_TEST

/* ---- full rings ---- */

#define MANY_POLLS 6000

/* More submissions and more completions than the rings hold (64 and 4096). */
START_TEST(full_rings_lose_nothing)
{
	static struct counter polls[MANY_POLLS];
	int fd = event_new(), i, round;
	uint64_t value;

	for (i = 0; i < MANY_POLLS; i++) {
		polls[i].op.fn = count;
		ck_assert_int_eq(loop_poll(loop, &polls[i].op, fd, POLLIN), 0);
	}
	spin(2);
	for (round = 1; round <= 3; round++) {
		event_set(fd);
		for (i = 0; i < MANY_POLLS; i++)
			run_until(&polls[i].n, round);
		ck_assert_int_eq(read(fd, &value, sizeof(value)), sizeof(value));
		spin(10);
	}
	for (i = 0; i < MANY_POLLS; i++) {
		ck_assert(loop_op_armed(&polls[i].op));
		loop_cancel(loop, &polls[i].op);
	}
	while (loop_n_busy(loop) > 0)
		ck_assert_int_eq(loop_run_once(loop, (int64_t)MS), 0);
	close(fd);
}
END_TEST

/* ---- everything at random ---- */

#define N_RANDOM 64

struct random_op {
	struct loop_op op;
	int slot;
};
static struct random_op *random_ops[N_RANDOM];

static void random_fired(struct loop_op *op, int res)
{
	struct random_op *fired = (struct random_op *)(void *)op;

	ck_assert_int_ge(res, 0);
	/* Only what is armed, or was a moment ago, and has not been freed. */
	ck_assert_ptr_eq(random_ops[fired->slot], fired);
}

START_TEST(random_arming_and_cancelling)
{
	unsigned int seed = 12345;
	int fds[N_RANDOM], i, slot;
	uint64_t value;

	for (i = 0; i < N_RANDOM; i++) {
		fds[i] = event_new();
		random_ops[i] = NULL;
	}
	for (i = 0; i < 100000; i++) {
		slot = rand_r(&seed) % N_RANDOM;
		switch (rand_r(&seed) % 6) {
		case 0:
		case 1:
			if (random_ops[slot]) {
				loop_cancel(loop, &random_ops[slot]->op);
				free(random_ops[slot]);
				random_ops[slot] = NULL;
				break;
			}
			random_ops[slot] = calloc(1, sizeof(*random_ops[slot]));
			random_ops[slot]->slot = slot;
			random_ops[slot]->op.fn = random_fired;
			if (i % 3 == 0)
				ck_assert_int_eq(loop_timer(loop, &random_ops[slot]->op,
							    loop_now() + (uint64_t)(i % 7) * 1000),
						 0);
			else if (i % 3 == 1)
				ck_assert_int_eq(loop_defer(loop, &random_ops[slot]->op), 0);
			else
				ck_assert_int_eq(loop_poll(loop, &random_ops[slot]->op, fds[slot],
							   POLLIN),
						 0);
			break;
		case 2:
			event_set(fds[slot]);
			break;
		case 3:
			(void)!read(fds[slot], &value, sizeof(value));
			break;
		default:
			ck_assert_int_eq(loop_run_once(loop, 0), 0);
			break;
		}
	}
	for (i = 0; i < N_RANDOM; i++) {
		if (random_ops[i])
			loop_cancel(loop, &random_ops[i]->op);
		free(random_ops[i]);
	}
	while (loop_n_busy(loop) > 0)
		ck_assert_int_eq(loop_run_once(loop, (int64_t)MS), 0);
	for (i = 0; i < N_RANDOM; i++)
		close(fds[i]);
}
END_TEST

/* ---- running and ending ---- */

static void stop(struct loop_op *op, int res)
{
	count(op, res);
	loop_stop(loop);
}

START_TEST(run_ends_when_stopped)
{
	struct counter *counter = counter_new(stop);

	ck_assert_int_eq(loop_timer(loop, &counter->op, loop_now() + MS), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(counter->n, 1);
	/* Stopped before it runs: it returns at once, and the next run is a new one. */
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(loop_timer(loop, &counter->op, loop_now() + MS), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(counter->n, 2);
	free(counter);
}
END_TEST

START_TEST(waiting_ends_in_time)
{
	struct counter *counter = counter_new(count);
	uint64_t before = loop_now();

	ck_assert_int_eq(loop_timer(loop, &counter->op, before + 3600000 * MS), 0);
	ck_assert_int_eq(loop_run_once(loop, (int64_t)(5 * MS)), 0);
	ck_assert_uint_ge(loop_now() - before, 5 * MS);
	ck_assert_int_eq(counter->n, 0);
	loop_cancel(loop, &counter->op);
	free(counter);
}
END_TEST

/* A buffer must not be written to once the loop is gone, whatever comes later. */
START_TEST(freeing_lets_go_of_buffers)
{
	struct counter *read_op = counter_new(count), *poll_op = counter_new(count);
	struct counter *timer = counter_new(count), *deferred = counter_new(count);
	char *buf = calloc(1, 64);
	int pair[2], fd = event_new(), i;

	ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
	ck_assert_int_eq(loop_read(loop, &read_op->op, pair[0], buf, 64, UINT64_MAX), 0);
	ck_assert_int_eq(loop_poll(loop, &poll_op->op, fd, POLLIN), 0);
	ck_assert_int_eq(loop_timer(loop, &timer->op, loop_now() + 3600000 * MS), 0);
	spin(2);
	ck_assert_int_eq(loop_defer(loop, &deferred->op), 0);
	loop = loop_free(loop);
	ck_assert(!loop_op_armed(&read_op->op));
	ck_assert(!loop_op_armed(&poll_op->op));
	ck_assert(!loop_op_armed(&timer->op));
	ck_assert(!loop_op_armed(&deferred->op));
	ck_assert_int_eq(write(pair[1], "late", 4), 4);
	for (i = 0; i < 64; i++)
		ck_assert_int_eq(buf[i], 0);
	ck_assert_int_eq(read_op->n + poll_op->n + timer->n + deferred->n, 0);
	free(buf);
	free(read_op);
	free(poll_op);
	free(timer);
	free(deferred);
	close(pair[0]);
	close(pair[1]);
	close(fd);
}
END_TEST

START_TEST(free_of_nothing)
{
	ck_assert_ptr_null(loop_free(NULL));
}
END_TEST

static TCase *tcase_new(const char *name, void (*set_up)(void))
{
	const TTest *const tests[] = {
		poll_reports_every_change,
		poll_reports_what_is_ready_already,
		poll_sees_the_end_of_a_socket,
		poll_of_no_descriptor_fails_once,
		poll_may_cancel_itself,
		poll_cancelled_while_an_event_is_on_its_way,
		poll_cancelled_by_another_callback_of_the_round,
		timer_fires_once_and_not_early,
		timer_of_the_past_fires_at_once,
		timer_cancelled_never_fires,
		timer_may_be_armed_in_its_callback,
		timers_fire_in_the_order_of_their_times,
		file_is_written_and_read,
		file_errors_are_reported,
		file_holes_are_punched,
		deferred_runs_in_the_next_round,
		deferred_lets_others_run,
		deferred_cancelled_never_runs,
		full_rings_lose_nothing,
		random_arming_and_cancelling,
		run_ends_when_stopped,
		waiting_ends_in_time,
		freeing_lets_go_of_buffers,
		free_of_nothing,
	};
	TCase *tcase = tcase_create(name);
	size_t i;

	tcase_add_checked_fixture(tcase, set_up, teardown);
	tcase_set_timeout(tcase, 60);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("loop");
	SRunner *runner;
	struct loop *probe;
	int n_failed, r;

	r = loop_new(&probe, 8);
	if (r == -ENOSYS || r == -EPERM) {
		printf("skip: io_uring is not to be had here\n");
		return 77;
	}
	if (r == 0)
		loop_free(probe);
	suite_add_tcase(suite, tcase_new("best ring", setup));
	suite_add_tcase(suite, tcase_new("cooperative ring", setup_cooperative));
	suite_add_tcase(suite, tcase_new("plain ring", setup_plain));
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
