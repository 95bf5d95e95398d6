// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is let in, in which order, and what is foreseen.
 *
 * links: daemon/admission.c
 */
#include <check.h>
#include <stdlib.h>

#include "daemon/admission.h"

#define G    (1ull << 30)
#define SEC  1000000000ull
#define IDLE (30 * SEC)
#define PASS (60 * SEC)

static struct admission a;
static struct admission_entry e[8];
static uint64_t now;

static void setup(void)
{
	now = 1000 * SEC;
	for (int i = 0; i < 8; i++)
		e[i] = (struct admission_entry){ 0 };
	ck_assert_int_eq(admission_init(&a, IDLE, PASS), 0);
	admission_reset(&a, 8 * G);
}

static void teardown(void)
{
	for (int i = 0; i < 8; i++)
		admission_remove(&a, &e[i], now);
	ck_assert(list_is_empty(&a.waiting));
	ck_assert(list_is_empty(&a.admitted));
	admission_deinit(&a);
}

static void ask(int i, uint64_t bytes, int priority)
{
	e[i].bytes = bytes;
	e[i].priority = priority;
	admission_ask(&a, &e[i], now, UINT64_MAX);
}

/* It asks and is let in. */
static void enter(int i, uint64_t bytes)
{
	ask(i, bytes, 0);
	ck_assert_ptr_eq(admission_next(&a, now), &e[i]);
}

/* So long reservations have lasted. */
static void have_lasted(uint64_t ns)
{
	struct admission_entry old = { .bytes = 1 };

	admission_ask(&a, &old, now, UINT64_MAX);
	while (admission_next(&a, now) != &old)
		;
	now += ns;
	admission_remove(&a, &old, now);
}

static void work(int i)
{
	e[i].busy_ns = now;
}

START_TEST(lets_in_what_fits)
{
	enter(0, 5 * G);
	enter(1, 3 * G);
	ck_assert_uint_eq(admission_reserved(&a, 0), 8 * G);
	ask(2, 1, 0);
	ck_assert_ptr_null(admission_next(&a, now));
	ck_assert_int_eq(e[2].state, ADMISSION_WAITING);
	admission_remove(&a, &e[0], now);
	ck_assert_ptr_eq(admission_next(&a, now), &e[2]);
	ck_assert_uint_eq(admission_reserved(&a, 0), 3 * G + 1);
}
END_TEST

START_TEST(nothing_asked_is_let_in_at_once)
{
	enter(0, 8 * G);
	enter(1, 0);
	ck_assert_uint_eq(admission_reserved(&a, 0), 8 * G);
}
END_TEST

START_TEST(priority_then_time)
{
	enter(0, 8 * G);
	ask(1, G, 5);
	ask(2, G, 0);
	ask(3, G, 0);
	ask(4, G, -5);
	ck_assert_ptr_null(admission_next(&a, now));
	admission_remove(&a, &e[0], now);
	ck_assert_ptr_eq(admission_next(&a, now), &e[4]);
	ck_assert_ptr_eq(admission_next(&a, now), &e[2]);
	ck_assert_ptr_eq(admission_next(&a, now), &e[3]);
	ck_assert_ptr_eq(admission_next(&a, now), &e[1]);
	ck_assert_ptr_null(admission_next(&a, now));
}
END_TEST

START_TEST(the_first_holds_back_while_its_turn_can_be_foreseen)
{
	have_lasted(50 * SEC);
	enter(0, 6 * G);
	ask(1, 4 * G, 0);
	ask(2, 1 * G, 0);
	/* 50 s are foreseen: e[2] fits, but must not pass. */
	ck_assert_ptr_null(admission_next(&a, now));
	ck_assert_uint_eq(e[1].predicted_ns, 50 * SEC);
	/* It has lasted longer than anything before: nobody knows. */
	now += 51 * SEC;
	work(0);
	ck_assert_ptr_eq(admission_next(&a, now), &e[2]);
	ck_assert_uint_eq(e[1].predicted_ns, ADMISSION_UNKNOWN);
	ck_assert_int_eq(e[1].state, ADMISSION_WAITING);
}
END_TEST

START_TEST(a_groups_own_limit_holds_back_nobody_else)
{
	const uint64_t user[2] = { 1, 1000 };

	have_lasted(10 * SEC);
	admission_clear(&e[0]);
	admission_join(&a, &e[0], user, 2 * G);
	admission_clear(&e[1]);
	admission_join(&a, &e[1], user, 2 * G);
	enter(0, 2 * G);
	ask(1, G, -10);
	ask(2, G, 0);
	ck_assert_ptr_eq(admission_next(&a, now), &e[2]);
	ck_assert_ptr_null(admission_next(&a, now));
	admission_predict(&a, now);
	ck_assert_uint_eq(e[1].predicted_ns, 10 * SEC);
	admission_remove(&a, &e[0], now);
	ck_assert_ptr_eq(admission_next(&a, now), &e[1]);
	ck_assert_uint_eq(admission_reserved(&a, 1), G);
}
END_TEST

START_TEST(idle_reservations_lapse_when_somebody_waits)
{
	enter(0, 5 * G);
	enter(1, 3 * G);
	now += IDLE;
	work(1);
	ck_assert_int_eq(e[0].state, ADMISSION_ADMITTED);
	/* Neither of any use alone nor enough: nothing lapses for nothing. */
	ask(2, 6 * G, 0);
	ck_assert_ptr_null(admission_next(&a, now));
	ck_assert_int_eq(e[0].state, ADMISSION_ADMITTED);
	admission_remove(&a, &e[2], now);
	ask(3, 4 * G, 0);
	ck_assert_ptr_eq(admission_next(&a, now), &e[3]);
	ck_assert_int_eq(e[0].state, ADMISSION_LAPSED);
	ck_assert_int_eq(e[1].state, ADMISSION_ADMITTED);
	ck_assert_uint_eq(admission_reserved(&a, 0), 7 * G);
}
END_TEST

START_TEST(a_lapsed_one_that_works_again_comes_first)
{
	enter(0, 8 * G);
	now += IDLE;
	enter(1, 8 * G);
	ck_assert_int_eq(e[0].state, ADMISSION_LAPSED);
	ask(2, 8 * G, 0);
	work(0);
	work(1);
	admission_regain(&a, now);
	ck_assert_int_eq(e[0].state, ADMISSION_LAPSED);
	admission_remove(&a, &e[1], now);
	admission_regain(&a, now);
	ck_assert_int_eq(e[0].state, ADMISSION_ADMITTED);
	ck_assert_ptr_null(admission_next(&a, now));
}
END_TEST

START_TEST(an_idle_lapsed_one_does_not_come_back)
{
	enter(0, 8 * G);
	now += IDLE;
	enter(1, 8 * G);
	admission_remove(&a, &e[1], now);
	admission_regain(&a, now);
	ck_assert_int_eq(e[0].state, ADMISSION_LAPSED);
}
END_TEST

START_TEST(deadlines)
{
	enter(0, 8 * G);
	e[1].bytes = e[2].bytes = G;
	admission_ask(&a, &e[1], now, now + 5 * SEC);
	admission_ask(&a, &e[2], now, UINT64_MAX);
	ck_assert_ptr_null(admission_expired(&a, now + 4 * SEC));
	ck_assert_ptr_eq(admission_expired(&a, now + 5 * SEC), &e[1]);
	ck_assert_ptr_null(admission_expired(&a, now + 5000 * SEC));
	ck_assert_int_eq(e[1].state, ADMISSION_NONE);
	ck_assert_int_eq(e[2].state, ADMISSION_WAITING);
}
END_TEST

START_TEST(the_barred_wait_and_hold_back_nobody)
{
	e[0].barred = true;
	ask(0, G, 0);
	ask(1, G, 0);
	ck_assert_ptr_eq(admission_next(&a, now), &e[1]);
	ck_assert_ptr_null(admission_next(&a, now));
	admission_predict(&a, now);
	ck_assert_uint_eq(e[0].predicted_ns, ADMISSION_UNKNOWN);
}
END_TEST

START_TEST(foresees_by_what_was_measured)
{
	have_lasted(100 * SEC);
	have_lasted(200 * SEC);
	enter(0, 8 * G);
	ask(1, 8 * G, 0);
	ask(2, 8 * G, 0);
	admission_predict(&a, now);
	/* The mean of both, then one more such time. */
	ck_assert_uint_eq(e[1].predicted_ns, 150 * SEC);
	ck_assert_uint_eq(e[2].predicted_ns, 300 * SEC);
	now += 120 * SEC;
	work(0);
	admission_predict(&a, now);
	/* Only the one of 200 s has lasted longer. */
	ck_assert_uint_eq(e[1].predicted_ns, 80 * SEC);
	now += 100 * SEC;
	work(0);
	admission_predict(&a, now);
	ck_assert_uint_eq(e[1].predicted_ns, ADMISSION_UNKNOWN);
	ck_assert_uint_eq(e[2].predicted_ns, ADMISSION_UNKNOWN);
}
END_TEST

START_TEST(foresees_nothing_without_a_measure)
{
	enter(0, 8 * G);
	ask(1, G, 0);
	admission_predict(&a, now);
	ck_assert_uint_eq(e[1].predicted_ns, ADMISSION_UNKNOWN);
}
END_TEST

START_TEST(foresees_that_an_idle_one_lapses)
{
	enter(0, 8 * G);
	now += 20 * SEC;
	ask(1, G, 0);
	ask(2, G, 0);
	admission_predict(&a, now);
	ck_assert_uint_eq(e[1].predicted_ns, 10 * SEC);
	ck_assert_uint_eq(e[2].predicted_ns, 10 * SEC);
}
END_TEST

START_TEST(many_groups)
{
	enter(0, 8 * G);
	admission_clear(&e[1]);
	for (uint64_t i = 0; i < 100; i++) {
		const uint64_t key[2] = { 2, i };

		admission_join(&a, &e[1], key, G);
	}
	ck_assert_uint_eq(e[1].n_pools, ADMISSION_POOLS);
	ask(1, G, 0);
	ck_assert_ptr_null(admission_next(&a, now));
	/* Made anew with other limits. */
	admission_reset(&a, 9 * G);
	admission_clear(&e[0]);
	admission_clear(&e[1]);
	ck_assert_ptr_eq(admission_next(&a, now), &e[1]);
}
END_TEST

START_TEST(capacity_below_what_is_reserved)
{
	enter(0, 8 * G);
	admission_reset(&a, 2 * G);
	ask(1, G, 0);
	ck_assert_ptr_null(admission_next(&a, now));
	enter(2, 0);
	admission_predict(&a, now);
	ck_assert_uint_eq(e[1].predicted_ns, ADMISSION_UNKNOWN);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("admission");
	TCase *tc = tcase_create("admission");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, lets_in_what_fits);
	tcase_add_test(tc, nothing_asked_is_let_in_at_once);
	tcase_add_test(tc, priority_then_time);
	tcase_add_test(tc, the_first_holds_back_while_its_turn_can_be_foreseen);
	tcase_add_test(tc, a_groups_own_limit_holds_back_nobody_else);
	tcase_add_test(tc, idle_reservations_lapse_when_somebody_waits);
	tcase_add_test(tc, a_lapsed_one_that_works_again_comes_first);
	tcase_add_test(tc, an_idle_lapsed_one_does_not_come_back);
	tcase_add_test(tc, deadlines);
	tcase_add_test(tc, the_barred_wait_and_hold_back_nobody);
	tcase_add_test(tc, foresees_by_what_was_measured);
	tcase_add_test(tc, foresees_nothing_without_a_measure);
	tcase_add_test(tc, foresees_that_an_idle_one_lapses);
	tcase_add_test(tc, many_groups);
	tcase_add_test(tc, capacity_below_what_is_reserved);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int n;

	srunner_run_all(sr, CK_ENV);
	n = srunner_ntests_failed(sr);
	srunner_free(sr);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
