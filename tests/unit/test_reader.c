// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sections and who waits for them: what is exchanged between a change of phase and reader_wait() is never met
 * by a section that read the old phase.
 */
// links: libclient/reader.c common/err.c
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>

#include "libclient/reader.h"

#define THREADS	  4
#define EXCHANGES 2000

static _Atomic uint32_t phase = 1;
static _Atomic(_Atomic uint64_t *) counter;
static _Atomic uint64_t counters[EXCHANGES + 1];
static _Atomic uint64_t counted;
static _Atomic bool stop;

/* As an acquire: look the place up, count there. */
static void *count(void *arg)
{
	uint64_t mine = 0;

	(void)arg;
	while (!stop) {
		reader_enter();
		if (atomic_load(&phase) == 1) {
			atomic_fetch_add_explicit(atomic_load_explicit(&counter,
								       memory_order_relaxed),
						  1, memory_order_relaxed);
			mine++;
		}
		reader_leave();
	}
	counted += mine;
	return NULL;
}

START_TEST(exact)
{
	pthread_t threads[THREADS];
	uint64_t total = 0;

	ck_assert_int_eq(reader_init(), 0);
	ck_assert_int_eq(reader_init(), 0);
	counter = &counters[0];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, count, NULL);
	for (int i = 0; i < EXCHANGES; i++) {
		uint64_t final;

		atomic_store(&phase, 2);
		reader_wait();
		/* From here on nobody counts in the old place. */
		final = counters[i];
		counter = &counters[i + 1];
		total += final;
		for (volatile int k = 0; k < 100; k++)
			;
		ck_assert_uint_eq(counters[i], final);
		atomic_store(&phase, 1);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	total += counters[EXCHANGES];
	ck_assert_uint_eq(total, counted);
	ck_assert_uint_gt(total, 0);
	/* The threads are gone from the list: this must not wait for them, nor touch their memory. */
	reader_wait();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reader");
	TCase *tc = tcase_create("reader");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, exact);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
