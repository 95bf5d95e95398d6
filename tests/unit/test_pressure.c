// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pressure: known values, the states, triggers, and random stalls compared with a
 * model that looks at every millisecond by itself.
 *
 * links: kmod/pressure.c
 * libs: -lm
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmod/pressure.h"

#define MS  1000000ull
#define SEC 1000000000ull
#define T0  (1234567 * MS)

static struct pressure p;

static void setup(void)
{
	pressure_init(&p, T0);
}

static struct pressure_reading at(u64 now_ns)
{
	struct pressure_reading r;

	pressure_read(&p, now_ns, &r);
	return r;
}

static void stall(u64 now_ns)
{
	ck_assert_int_eq(pressure_run(&p, now_ns), 0);
	ck_assert_int_eq(pressure_enter(&p, now_ns), 0);
}

START_TEST(test_text)
{
	char buf[PRESSURE_TEXT_MAX], small[PRESSURE_TEXT_MAX - 1] = "x";
	struct pressure_reading r = at(T0);
	int n;

	n = pressure_format(&r, buf, sizeof(buf));
	ck_assert_str_eq(buf, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
			      "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
	ck_assert_int_eq(n, (int)strlen(buf));
	ck_assert_int_eq(pressure_format(&r, small, sizeof(small)), -EOVERFLOW);
	ck_assert_str_eq(small, "x");

	memset(&r, 0xff, sizeof(r));
	r.avg_centi[0][0] = r.avg_centi[0][1] = r.avg_centi[0][2] = 10000;
	r.avg_centi[1][0] = r.avg_centi[1][1] = r.avg_centi[1][2] = 9905;
	n = pressure_format(&r, buf, sizeof(buf));
	ck_assert_str_eq(buf,
			 "some avg10=100.00 avg60=100.00 avg300=100.00 total=18446744073709551615\n"
			 "full avg10=99.05 avg60=99.05 avg300=99.05 total=18446744073709551615\n");
}
END_TEST

/*
 * Nothing but stall: 1 - e^(-t/T), as near as the kernel's constants are (2034/2048
 * stands for e^(-2/300)), and its rounding towards the new value.
 */
START_TEST(test_constant_stall)
{
	const double tau[PRESSURE_N_AVGS] = { 10, 60, 300 };
	struct pressure_reading r;
	unsigned int i, s, a;

	stall(T0);
	for (i = 1; i <= 200; i++) {
		r = at(T0 + i * 2 * SEC);
		for (s = 0; s < PRESSURE_N_STATES; s++) {
			ck_assert_uint_eq(r.total_us[s], i * 2000000ull);
			for (a = 0; a < PRESSURE_N_AVGS; a++) {
				double want = 100 * (1 - exp(-2.0 * i / tau[a]));

				ck_assert_double_eq_tol(r.avg_centi[s][a] / 100.0, want, 1.5);
			}
		}
	}
	/* By hand: 100 % folded in five times with 1677/2048, rounding up. */
	pressure_init(&p, T0);
	stall(T0);
	r = at(T0 + 10 * SEC);
	ck_assert_uint_eq(r.avg_centi[0][0], 6318);
	ck_assert_uint_eq(r.avg_centi[0][1], 1532);
	ck_assert_uint_eq(r.avg_centi[0][2], 337);
	r = at(T0 + 12 * SEC - 1);
	ck_assert_uint_eq(r.avg_centi[0][0], 6318);
	r = at(T0 + 12 * SEC);
	ck_assert_uint_gt(r.avg_centi[0][0], 6318);
	/* It gets there, and back. */
	r = at(T0 + 7200 * SEC);
	for (a = 0; a < PRESSURE_N_AVGS; a++)
		ck_assert_uint_eq(r.avg_centi[1][a], 10000);
	ck_assert_int_eq(pressure_leave(&p, T0 + 7200 * SEC), 0);
	r = at(T0 + 20000 * SEC);
	for (a = 0; a < PRESSURE_N_AVGS; a++)
		ck_assert_uint_eq(r.avg_centi[0][a], 0);
	ck_assert_uint_eq(r.total_us[0], 7200000000ull);
}
END_TEST

/* A period in which nothing moved is no proof that nothing will. */
START_TEST(test_stall_that_begins_late_in_a_period)
{
	struct pressure_reading r;

	stall(T0 + 2 * SEC - 10 * MS);
	r = at(T0 + 2 * SEC);
	ck_assert_uint_eq(r.avg_centi[0][0], 0);
	pressure_init(&p, T0);
	stall(T0 + 2 * SEC - 10 * MS);
	r = at(T0 + 62 * SEC);
	ck_assert_uint_gt(r.avg_centi[0][0], 9900);
	ck_assert_uint_eq(r.total_us[0], 60010000);
	ck_assert_int_eq(pressure_leave(&p, T0 + 62 * SEC), 0);
	r = at(T0 + 122 * SEC);
	ck_assert_uint_lt(r.avg_centi[0][0], 100);
}
END_TEST

START_TEST(test_some_and_full)
{
	struct pressure_reading r;

	ck_assert_int_eq(pressure_run(&p, T0), 0);
	ck_assert_int_eq(pressure_run(&p, T0), 0);
	/* One of two stalls: some. */
	ck_assert_int_eq(pressure_enter(&p, T0 + 100 * MS), 0);
	r = at(T0 + 200 * MS);
	ck_assert_uint_eq(r.total_us[0], 100000);
	ck_assert_uint_eq(r.total_us[1], 0);
	/* Both: full. */
	ck_assert_int_eq(pressure_enter(&p, T0 + 200 * MS), 0);
	r = at(T0 + 300 * MS);
	ck_assert_uint_eq(r.total_us[0], 200000);
	ck_assert_uint_eq(r.total_us[1], 100000);
	/* One goes on, and then idle: the other one is all there is. */
	ck_assert_int_eq(pressure_leave(&p, T0 + 300 * MS), 0);
	ck_assert_int_eq(pressure_idle(&p, T0 + 400 * MS), 0);
	r = at(T0 + 500 * MS);
	ck_assert_uint_eq(r.total_us[0], 400000);
	ck_assert_uint_eq(r.total_us[1], 200000);
	/* A third one works: some. */
	ck_assert_int_eq(pressure_run(&p, T0 + 500 * MS), 0);
	r = at(T0 + 600 * MS);
	ck_assert_uint_eq(r.total_us[0], 500000);
	ck_assert_uint_eq(r.total_us[1], 200000);
	ck_assert_int_eq(pressure_leave(&p, T0 + 600 * MS), 0);
	r = at(T0 + 10 * SEC);
	ck_assert_uint_eq(r.total_us[0], 500000);
}
END_TEST

START_TEST(test_impossible_changes)
{
	struct pressure_reading r;

	ck_assert_int_eq(pressure_idle(&p, T0), -EINVAL);
	ck_assert_int_eq(pressure_enter(&p, T0), -EINVAL);
	ck_assert_int_eq(pressure_leave(&p, T0), -EINVAL);
	ck_assert_int_eq(pressure_run(&p, T0), 0);
	ck_assert_int_eq(pressure_leave(&p, T0), -EINVAL);
	ck_assert_uint_eq(p.n_running, 1);
	ck_assert_uint_eq(p.n_stalled, 0);
	r = at(T0 + 4 * SEC);
	ck_assert_uint_eq(r.total_us[0], 0);
}
END_TEST

START_TEST(test_time_does_not_run_backwards)
{
	struct pressure_reading r;

	stall(T0 + SEC);
	ck_assert_int_eq(pressure_leave(&p, T0), 0);
	r = at(T0 + 500 * MS);
	ck_assert_uint_eq(r.total_us[0], 0);
	ck_assert_int_eq(pressure_enter(&p, T0 + SEC), 0);
	r = at(T0 + 2 * SEC);
	ck_assert_uint_eq(r.total_us[0], 1000000);
	r = at(T0);
	ck_assert_uint_eq(r.total_us[0], 1000000);
}
END_TEST

/* ---- the model: one step a millisecond, one fold every two thousand ------------- */

struct model {
	unsigned int running, stalled;
	u64 total_ms[2], folded_ms[2], now_ms;
	unsigned long avg[2][3];
};

static void model_step(struct model *m)
{
	static const unsigned long exps[3] = { 1677, 1981, 2034 };
	int s, a;

	m->now_ms++;
	m->total_ms[0] += m->stalled > 0;
	m->total_ms[1] += m->stalled > 0 && m->running == 0;
	if (m->now_ms % 2000)
		return;
	for (s = 0; s < 2; s++) {
		unsigned long pct = (m->total_ms[s] - m->folded_ms[s]) * 100 / 2000;
		unsigned long active = pct * 2048;

		m->folded_ms[s] = m->total_ms[s];
		for (a = 0; a < 3; a++) {
			unsigned long load = m->avg[s][a];
			unsigned long sum = load * exps[a] + active * (2048 - exps[a]);

			m->avg[s][a] = (active >= load ? sum + 2047 : sum) / 2048;
		}
	}
}

START_TEST(test_random_against_the_model)
{
	struct model m = { 0 };
	unsigned int i, s, a, seed = 99;
	unsigned int n_full = 0;

	for (i = 0; i < 20000; i++) {
		unsigned int kind = rand_r(&seed) % 5, ms = rand_r(&seed) % 1500, k;
		u64 now;

		if (rand_r(&seed) % 500 == 0)
			ms += 4000000; /* more than an hour of nothing new */
		else if (rand_r(&seed) % 20 == 0)
			ms += 30000;
		for (k = 0; k < ms; k++)
			model_step(&m);
		now = T0 + m.now_ms * MS;
		if (kind == 0 && m.running + m.stalled < 4) {
			ck_assert_int_eq(pressure_run(&p, now), 0);
			m.running++;
		} else if (kind == 1 && m.running) {
			ck_assert_int_eq(pressure_idle(&p, now), 0);
			m.running--;
		} else if (kind == 2 && m.running) {
			ck_assert_int_eq(pressure_enter(&p, now), 0);
			m.running--;
			m.stalled++;
		} else if (kind == 3 && m.stalled) {
			ck_assert_int_eq(pressure_leave(&p, now), 0);
			m.stalled--;
			m.running++;
		} else {
			struct pressure_reading r = at(now);

			for (s = 0; s < 2; s++) {
				ck_assert_uint_eq(r.total_us[s], m.total_ms[s] * 1000);
				for (a = 0; a < 3; a++) {
					unsigned long v = m.avg[s][a];

					ck_assert_uint_eq(p.avg[s][a], v);
					ck_assert_uint_eq(r.avg_centi[s][a],
							  v / 2048 * 100 + v % 2048 * 100 / 2048);
				}
			}
			n_full += r.avg_centi[1][0] > 0;
		}
	}
	ck_assert_uint_gt(n_full, 1000);
}
END_TEST

/* ---- triggers ------------------------------------------------------------------ */

/* Poll when asked to, until @until. Return: how many times it fired. */
static unsigned int poll_until(struct pressure_trigger *t, u64 now_ns, u64 until_ns)
{
	unsigned int n = 0;

	for (;;) {
		u64 next = pressure_poll(&p, now_ns);

		n += pressure_trigger_take(t);
		if (next > until_ns)
			break;
		ck_assert_uint_gt(next, now_ns);
		now_ns = next;
	}
	return n;
}

START_TEST(test_trigger_limits)
{
	struct pressure_trigger t;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, 2, 1000, 1000000, T0), -EINVAL);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 0, 1000, 499999, T0), -EINVAL);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 0, 1000, 10000001, T0), -EINVAL);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 0, 0, 1000000, T0), -EINVAL);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 0, 1000001, 1000000, T0), -EINVAL);
	ck_assert_ptr_null(p.triggers);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 0, 500000, 500000, T0), 0);
	pressure_trigger_del(&p, &t);
	ck_assert_ptr_null(p.triggers);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, 1, 10000000, 10000000, T0), 0);
}
END_TEST

START_TEST(test_trigger_fires_at_the_threshold)
{
	struct pressure_trigger t;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_SOME, 150000, 1000000, T0), 0);
	/* Nothing stalls: no need to poll. */
	ck_assert_uint_eq(pressure_poll(&p, T0 + SEC), VRAM_U64_MAX);
	stall(T0 + SEC);
	ck_assert_uint_eq(pressure_poll(&p, T0 + SEC), T0 + SEC + 100 * MS);
	/* 100 ms of stall: not enough. */
	ck_assert_uint_eq(poll_until(&t, T0 + SEC, T0 + SEC + 199 * MS), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + SEC + 200 * MS, T0 + SEC + 200 * MS), 1);
	ck_assert_int_eq(pressure_leave(&p, T0 + SEC + 200 * MS), 0);
	/* Over: it falls asleep, without another event. */
	ck_assert_uint_eq(poll_until(&t, T0 + SEC + 200 * MS, T0 + 60 * SEC), 0);
	ck_assert_uint_eq(pressure_poll(&p, T0 + 61 * SEC), VRAM_U64_MAX);
}
END_TEST

START_TEST(test_trigger_stays_quiet_below_the_threshold)
{
	struct pressure_trigger t;
	unsigned int i;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_SOME, 150000, 1000000, T0), 0);
	ck_assert_int_eq(pressure_run(&p, T0), 0);
	/* 60 ms in every second; the window is blurred, it may see up to two of them. */
	for (i = 1; i < 60; i++) {
		u64 now = T0 + i * SEC;

		ck_assert_int_eq(pressure_enter(&p, now), 0);
		ck_assert_uint_eq(poll_until(&t, now, now + 60 * MS), 0);
		ck_assert_int_eq(pressure_leave(&p, now + 60 * MS), 0);
		ck_assert_uint_eq(poll_until(&t, now + 60 * MS, now + 999 * MS), 0);
	}
}
END_TEST

/* What the last window had counts for as much of it as the sliding one still covers. */
START_TEST(test_window_slides)
{
	struct pressure_trigger t;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_SOME, 600000, 1000000, T0), 0);
	stall(T0);
	ck_assert_int_eq(pressure_leave(&p, T0 + 10 * MS), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + 10 * MS, T0 + 600 * MS - 1), 0);
	ck_assert_int_eq(pressure_enter(&p, T0 + 600 * MS), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + 600 * MS, T0 + 1000 * MS - 1), 0);
	ck_assert_int_eq(pressure_leave(&p, T0 + 1000 * MS), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + 1000 * MS, T0 + 1100 * MS - 1), 0);
	ck_assert_int_eq(pressure_enter(&p, T0 + 1100 * MS), 0);
	/* 510 ms up to 1.2 s; then 100 + 510 * 0.9, then 200 + 510 * 0.8. */
	ck_assert_uint_eq(poll_until(&t, T0 + 1100 * MS, T0 + 1400 * MS - 1), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + 1400 * MS, T0 + 1400 * MS), 1);
}
END_TEST

START_TEST(test_one_event_a_window)
{
	struct pressure_trigger t;
	unsigned int n;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_FULL, 500000, 1000000, T0), 0);
	stall(T0);
	n = poll_until(&t, T0, T0 + 20 * SEC);
	ck_assert_uint_ge(n, 19);
	ck_assert_uint_le(n, 20);
}
END_TEST

START_TEST(test_two_windows)
{
	struct pressure_trigger fast, slow;
	unsigned int n_fast = 0, n_slow = 0;
	u64 now = T0;

	ck_assert_int_eq(pressure_trigger_add(&p, &slow, PRESSURE_SOME, 5000000, 10000000, T0), 0);
	ck_assert_int_eq(pressure_trigger_add(&p, &fast, PRESSURE_SOME, 250000, 500000, T0), 0);
	stall(T0);
	while (now <= T0 + 30 * SEC) {
		now = pressure_poll(&p, now);
		n_fast += pressure_trigger_take(&fast);
		n_slow += pressure_trigger_take(&slow);
	}
	ck_assert_uint_ge(n_fast, 55);
	ck_assert_uint_le(n_fast, 61);
	ck_assert_uint_eq(n_slow, 3);
	pressure_trigger_del(&p, &fast);
	ck_assert_uint_eq(p.poll_min_ns, SEC);
	pressure_trigger_del(&p, &slow);
	ck_assert_uint_eq(pressure_poll(&p, now), VRAM_U64_MAX);
}
END_TEST

START_TEST(test_event_held_back_is_not_lost)
{
	struct pressure_trigger fast, slow;
	u64 now = T0, next;
	unsigned int n = 0;

	/* Another trigger's small window decides when polling would end. */
	ck_assert_int_eq(pressure_trigger_add(&p, &slow, PRESSURE_SOME, 300000, 10000000, T0), 0);
	ck_assert_int_eq(pressure_trigger_add(&p, &fast, PRESSURE_FULL, 500000, 500000, T0), 0);
	stall(T0);
	/* Fires at 0.3 s, is over the threshold again, and the stall ends. */
	while (now < T0 + 2 * SEC) {
		now = pressure_poll(&p, now);
		n += pressure_trigger_take(&slow);
	}
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(pressure_leave(&p, now), 0);
	while ((next = pressure_poll(&p, now)) != VRAM_U64_MAX) {
		n += pressure_trigger_take(&slow);
		now = next;
	}
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_ge(now, T0 + 10 * SEC);
	ck_assert_uint_le(now, T0 + 12 * SEC);
}
END_TEST

START_TEST(test_full_trigger_needs_full)
{
	struct pressure_trigger t;

	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_FULL, 100000, 1000000, T0), 0);
	ck_assert_int_eq(pressure_run(&p, T0), 0);
	stall(T0);
	ck_assert_uint_eq(pressure_poll(&p, T0 + SEC), VRAM_U64_MAX);
	/* The one that ran goes idle: now it is full, and a trigger added late sees it. */
	ck_assert_int_eq(pressure_idle(&p, T0 + SEC), 0);
	ck_assert_uint_eq(poll_until(&t, T0 + SEC, T0 + SEC + 200 * MS), 1);
	pressure_trigger_del(&p, &t);
	ck_assert_int_eq(pressure_trigger_add(&p, &t, PRESSURE_FULL, 100000, 1000000, T0 + 5 * SEC),
			 0);
	ck_assert_uint_eq(poll_until(&t, T0 + 5 * SEC, T0 + 5 * SEC + 200 * MS), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pressure");
	TCase *tc = tcase_create("averages");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, test_text);
	tcase_add_test(tc, test_constant_stall);
	tcase_add_test(tc, test_stall_that_begins_late_in_a_period);
	tcase_add_test(tc, test_some_and_full);
	tcase_add_test(tc, test_impossible_changes);
	tcase_add_test(tc, test_time_does_not_run_backwards);
	tcase_add_test(tc, test_random_against_the_model);
	suite_add_tcase(suite, tc);

	tc = tcase_create("triggers");
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, test_trigger_limits);
	tcase_add_test(tc, test_trigger_fires_at_the_threshold);
	tcase_add_test(tc, test_trigger_stays_quiet_below_the_threshold);
	tcase_add_test(tc, test_window_slides);
	tcase_add_test(tc, test_one_event_a_window);
	tcase_add_test(tc, test_two_windows);
	tcase_add_test(tc, test_event_held_back_is_not_lost);
	tcase_add_test(tc, test_full_trigger_needs_full);
	suite_add_tcase(suite, tc);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
