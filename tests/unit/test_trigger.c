// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a trigger fires.
 *
 * links: daemon/trigger.c common/err.c
 */
#include "daemon/trigger.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define MS 1000000ull

static struct trigger t;
static uint64_t now, total;

/* Feeds it every 50 ms for so long, while `percent` of the time is lost. Return: how often it fired. */
static int pass(uint64_t ms, unsigned int percent)
{
	uint64_t at;
	int n = 0;

	for (at = 0; at < ms; at += 50) {
		now += 50 * MS;
		total += 500ull * percent;
		n += trigger_feed(&t, now, total);
	}
	return n;
}

static void start(uint64_t threshold_us, uint64_t window_us)
{
	now = 1000 * MS;
	total = 123456;
	ck_assert_int_eq(trigger_init(&t, threshold_us, window_us), 0);
	trigger_restart(&t, now, total);
}

START_TEST(test_what_is_refused)
{
	ck_assert_int_eq(trigger_init(&t, 1, 499999), -EINVAL);
	ck_assert_int_eq(trigger_init(&t, 1, 10000001), -EINVAL);
	ck_assert_int_eq(trigger_init(&t, 0, 500000), -EINVAL);
	ck_assert_int_eq(trigger_init(&t, 500001, 500000), -EINVAL);
	ck_assert_int_eq(trigger_init(&t, UINT64_MAX, UINT64_MAX), -EINVAL);
	ck_assert_int_eq(trigger_init(&t, 500000, 500000), 0);
	ck_assert_int_eq(trigger_init(&t, 1, 10000000), 0);
}
END_TEST

START_TEST(test_nothing_stalls)
{
	start(1, 500000);
	ck_assert_int_eq(pass(20000, 0), 0);
	ck_assert(trigger_is_quiet(&t, now));
}
END_TEST

START_TEST(test_once_a_window)
{
	start(100000, 500000);
	/* 20 % of half a second is the threshold; half of the time is lost. */
	ck_assert_int_eq(pass(5000, 50), 10);
	ck_assert(!trigger_is_quiet(&t, now));
}
END_TEST

START_TEST(test_below)
{
	start(100000, 500000);
	ck_assert_int_eq(pass(20000, 19), 0);
	ck_assert_int_ge(pass(1000, 21), 1);
}
END_TEST

START_TEST(test_across_a_border)
{
	start(200000, 500000);
	ck_assert_int_eq(pass(350, 0), 0);
	/* 150 ms before the border and 100 behind: no window that begins at a border has 200. */
	ck_assert_int_eq(pass(150, 100), 0);
	ck_assert_int_eq(pass(100, 100), 1);
}
END_TEST

START_TEST(test_held_back)
{
	start(100000, 1000000);
	ck_assert_int_eq(pass(100, 100), 1);
	/* Too early for another, and then nothing stalls any more. */
	ck_assert_int_eq(pass(100, 100), 0);
	ck_assert(!trigger_is_quiet(&t, now));
	ck_assert_int_eq(pass(2000, 0), 1);
	ck_assert(trigger_is_quiet(&t, now));
	ck_assert_int_eq(pass(5000, 0), 0);
}
END_TEST

START_TEST(test_meter_that_begins_anew)
{
	start(100000, 500000);
	ck_assert_int_eq(pass(200, 10), 0);
	total = 0;
	ck_assert_int_eq(pass(5000, 0), 0);
	ck_assert_int_ge(pass(500, 100), 1);
}
END_TEST

START_TEST(test_after_a_sleep)
{
	start(400000, 500000);
	/* Much was lost while nobody looked, but not within one window. */
	now += 60000 * MS;
	total += 600000;
	trigger_restart(&t, now, total);
	ck_assert_int_eq(pass(1000, 1), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trigger");
	TCase *tcase = tcase_create("trigger");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_what_is_refused);
	tcase_add_test(tcase, test_nothing_stalls);
	tcase_add_test(tcase, test_once_a_window);
	tcase_add_test(tcase, test_below);
	tcase_add_test(tcase, test_across_a_border);
	tcase_add_test(tcase, test_held_back);
	tcase_add_test(tcase, test_meter_that_begins_anew);
	tcase_add_test(tcase, test_after_a_sleep);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
