// SPDX-License-Identifier: GPL-2.0-only
/* The gate under threads: nobody is inside while the memory is away, and nobody waits for ever. */
// links: libclient/cudashim/gate.c
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "libclient/cudashim/gate.h"

#define MS	1000000ull
#define THREADS 4

static struct gate gate;
/* Plain on purpose: what the device's memory is to the program. The gate alone orders who touches it. */
static int memory;
static uint64_t generation;
static int open_result;
static unsigned int drain_ms;
static _Atomic bool stop;
static _Atomic uint64_t passages;

static void nap_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000,
				      .tv_nsec = (long)(ms % 1000) * (long)MS },
		  NULL);
}

static void drain(void *arg)
{
	(void)arg;
	nap_ms(drain_ms);
}

static void leave(void *arg)
{
	(void)arg;
	memory = 0;
	generation++;
}

static int open_gate(void *arg)
{
	(void)arg;
	if (open_result == 0)
		memory = 1;
	return open_result;
}

static const struct gate_ops ops = { .drain = drain, .leave = leave, .open = open_gate };

static void setup(void)
{
	gate_init(&gate, &ops);
	memory = 1;
	open_result = 0;
	drain_ms = 0;
	stop = false;
	passages = 0;
}

static void *pass(void *arg)
{
	uint64_t n = 0, before;

	(void)arg;
	while (!stop) {
		ck_assert(gate_enter(&gate));
		ck_assert_int_eq(memory, 1);
		before = generation;
		/* The driver calls itself. */
		ck_assert(gate_enter(&gate));
		ck_assert(gate_is_inside());
		gate_leave();
		ck_assert_int_eq(memory, 1);
		ck_assert_uint_eq(generation, before);
		gate_leave();
		ck_assert(!gate_is_inside());
		n++;
	}
	passages += n;
	return NULL;
}

START_TEST(nobody_inside_while_away)
{
	pthread_t threads[THREADS];
	int closed = 0;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, pass, NULL);
	while (closed < 100) {
		int r = gate_close(&gate, 1000 * MS);

		ck_assert(r == 0 || r == -EALREADY || r == -EBUSY);
		closed += r == 0;
		/* Somebody has to come for it to be open again. */
		if (r < 0)
			nap_ms(1);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(passages, 10);
	ck_assert_uint_eq(gate.n_closed, (uint64_t)closed);
}
END_TEST

START_TEST(closed_until_somebody_comes)
{
	ck_assert_int_eq(gate_close(&gate, 100 * MS), 0);
	ck_assert_int_eq(gate_get(&gate), GATE_CLOSED);
	ck_assert_int_eq(memory, 0);
	ck_assert_int_eq(gate_close(&gate, 100 * MS), -EALREADY);
	ck_assert(gate_enter(&gate));
	ck_assert_int_eq(memory, 1);
	ck_assert_int_eq(gate_get(&gate), GATE_OPEN);
	gate_leave();
}
END_TEST

/* ---- impatience ---- */

static _Atomic bool first_is_in, second_has_passed;

static void *first(void *arg)
{
	(void)arg;
	ck_assert(gate_enter(&gate));
	first_is_in = true;
	while (!second_has_passed)
		nap_ms(1);
	gate_leave();
	return NULL;
}

static void *second(void *arg)
{
	(void)arg;
	while (gate_get(&gate) != GATE_DRAINING)
		nap_ms(1);
	ck_assert(gate_enter(&gate));
	ck_assert_int_eq(memory, 1);
	second_has_passed = true;
	gate_leave();
	return NULL;
}

START_TEST(one_inside_needs_one_outside)
{
	pthread_t a, b;

	first_is_in = second_has_passed = false;
	pthread_create(&a, NULL, first, NULL);
	while (!first_is_in)
		nap_ms(1);
	pthread_create(&b, NULL, second, NULL);
	ck_assert_int_eq(gate_close(&gate, 50 * MS), -EAGAIN);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	ck_assert_int_eq(gate_get(&gate), GATE_OPEN);
	ck_assert_int_eq(gate_close(&gate, 50 * MS), 0);
}
END_TEST

START_TEST(one_stays_inside)
{
	ck_assert(gate_enter(&gate));
	ck_assert_int_eq(gate_close(&gate, 20 * MS), -EAGAIN);
	ck_assert_int_eq(gate_get(&gate), GATE_OPEN);
	ck_assert_int_eq(memory, 1);
	gate_leave();
	ck_assert_int_eq(gate_close(&gate, 20 * MS), 0);
}
END_TEST

START_TEST(device_needs_one_outside)
{
	pthread_t b;

	/* As a host function that waits for a thread at the gate: the device comes to rest only after that. */
	second_has_passed = false;
	drain_ms = 400;
	pthread_create(&b, NULL, second, NULL);
	ck_assert_int_eq(gate_close(&gate, 50 * MS), -EAGAIN);
	pthread_join(b, NULL);
	ck_assert_int_eq(memory, 1);
	drain_ms = 0;
	ck_assert_int_eq(gate_close(&gate, 50 * MS), 0);
}
END_TEST

/* A long kernel for which nobody waits is waited for, however long. */
START_TEST(device_is_slow)
{
	drain_ms = 200;
	ck_assert_int_eq(gate_close(&gate, 10 * MS), 0);
	ck_assert_int_eq(memory, 0);
}
END_TEST

/* ---- captures ---- */

START_TEST(capture_keeps_it_open)
{
	ck_assert(gate_capture_begin(&gate));
	ck_assert(gate_is_capturing(&gate));
	ck_assert_int_eq(gate_close(&gate, 30 * MS), -EAGAIN);
	ck_assert(gate_enter(&gate));
	gate_leave();
	gate_capture_end(&gate);
	ck_assert(!gate_is_capturing(&gate));
	ck_assert_int_eq(gate_close(&gate, 30 * MS), 0);
	/* One that begins brings the memory back. */
	ck_assert(gate_capture_begin(&gate));
	ck_assert_int_eq(memory, 1);
	gate_capture_end(&gate);
}
END_TEST

static void *capture(void *arg)
{
	(void)arg;
	nap_ms(50);
	/* The closer waits by now: one within a running one begins all the same. */
	ck_assert(gate_capture_begin(&gate));
	ck_assert(gate_enter(&gate));
	gate_leave();
	gate_capture_end(&gate);
	gate_capture_end(&gate);
	return NULL;
}

START_TEST(capture_within_capture)
{
	pthread_t a;

	ck_assert(gate_capture_begin(&gate));
	pthread_create(&a, NULL, capture, NULL);
	ck_assert_int_eq(gate_close(&gate, 5000 * MS), 0);
	pthread_join(a, NULL);
	ck_assert_int_eq(memory, 0);
}
END_TEST

/* ---- ends ---- */

START_TEST(lost)
{
	ck_assert_int_eq(gate_close(&gate, 30 * MS), 0);
	open_result = -ECONNRESET;
	ck_assert(!gate_enter(&gate));
	ck_assert(!gate_is_inside());
	ck_assert_int_eq(gate_get(&gate), GATE_FAILED);
	open_result = 0;
	ck_assert(!gate_enter(&gate));
	ck_assert(!gate_capture_begin(&gate));
	ck_assert_int_eq(gate_close(&gate, 30 * MS), -ECANCELED);
}
END_TEST

START_TEST(forked)
{
	ck_assert_int_eq(gate_close(&gate, 30 * MS), 0);
	gate_forked(&gate);
	open_result = -EIO;
	ck_assert(gate_enter(&gate));
	gate_leave();
}
END_TEST

static void *once(void *arg)
{
	ck_assert(gate_enter(&gate));
	/* One in two ends inside, as a thread that is cancelled in the driver. */
	if (!arg)
		gate_leave();
	return NULL;
}

START_TEST(threads_that_end)
{
	for (intptr_t i = 0; i < 200; i++) {
		pthread_t a;

		pthread_create(&a, NULL, once, (void *)(i % 2));
		pthread_join(a, NULL);
	}
	ck_assert_int_eq(gate_close(&gate, 30 * MS), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cudashim gate");
	TCase *tcase = tcase_create("gate");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, nobody_inside_while_away);
	tcase_add_test(tcase, closed_until_somebody_comes);
	tcase_add_test(tcase, one_inside_needs_one_outside);
	tcase_add_test(tcase, one_stays_inside);
	tcase_add_test(tcase, device_needs_one_outside);
	tcase_add_test(tcase, device_is_slow);
	tcase_add_test(tcase, capture_keeps_it_open);
	tcase_add_test(tcase, capture_within_capture);
	tcase_add_test(tcase, lost);
	tcase_add_test(tcase, forked);
	tcase_add_test(tcase, threads_that_end);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
