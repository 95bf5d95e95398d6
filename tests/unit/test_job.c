// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of jobs: numbers, what is kept, and that users do not take each other's places.
 *
 * links: daemon/job.c
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/job.h"

static struct job_table table;

static void setup(void)
{
	memset(&table, 0, sizeof(table));
}

static struct job *begin(uid_t uid)
{
	return job_begin(&table, JOB_DRAIN, uid, false, "device:0");
}

START_TEST(numbers_count_up)
{
	struct job *a = begin(1), *b = begin(1);

	ck_assert_uint_eq(a->id, 1);
	ck_assert_uint_eq(b->id, 2);
	ck_assert_int_eq(a->state, JOB_RUNNING);
	ck_assert_str_eq(a->target, "device:0");
	ck_assert_ptr_eq(job_find(&table, 2), b);
	ck_assert_ptr_null(job_find(&table, 0));
	ck_assert_ptr_null(job_find(&table, 3));
	ck_assert_ptr_eq(job_next(&table, 0), a);
	ck_assert_ptr_eq(job_next(&table, 1), b);
	ck_assert_ptr_null(job_next(&table, 2));
}
END_TEST

START_TEST(the_last_are_kept)
{
	for (uint32_t i = 0; i < 3 * JOBS_MAX; i++)
		job_end(job_begin(&table, JOB_PIN, 0, true, "m"), JOB_DONE);
	ck_assert_ptr_null(job_find(&table, 2 * JOBS_MAX));
	ck_assert_ptr_nonnull(job_find(&table, 2 * JOBS_MAX + 1));
	ck_assert_ptr_nonnull(job_find(&table, 3 * JOBS_MAX));
}
END_TEST

START_TEST(running_ones_are_never_replaced)
{
	struct job *first = job_begin(&table, JOB_PIN, 0, true, "m");

	for (uint32_t i = 1; i < JOBS_MAX; i++)
		ck_assert_ptr_nonnull(job_begin(&table, JOB_PIN, 0, true, "m"));
	ck_assert_ptr_null(job_begin(&table, JOB_PIN, 0, true, "m"));
	job_end(first, JOB_FAILED);
	ck_assert_ptr_eq(job_begin(&table, JOB_PIN, 0, true, "m"), first);
	ck_assert_ptr_null(job_find(&table, 1));
}
END_TEST

START_TEST(a_user_has_so_many_at_once)
{
	struct job *job = NULL;

	for (uint32_t i = 0; i < JOBS_RUNNING_PER_USER; i++)
		job = begin(1);
	ck_assert_ptr_null(begin(1));
	ck_assert_ptr_nonnull(begin(2));
	ck_assert_ptr_nonnull(job_begin(&table, JOB_PIN, 1, true, "m"));
	job_end(job, JOB_DONE);
	/* root's own in his name count as well. */
	ck_assert_ptr_null(begin(1));
}
END_TEST

START_TEST(a_user_pushes_out_own_ones_first)
{
	uint64_t other = begin(2)->id;

	job_end(job_find(&table, other), JOB_DONE);
	for (uint32_t i = 0; i < 5 * JOBS_MAX; i++)
		job_end(begin(1), JOB_DONE);
	ck_assert_ptr_nonnull(job_find(&table, other));
}
END_TEST

START_TEST(names)
{
	char text[400];

	memset(text, 'x', sizeof(text));
	text[399] = '\0';
	ck_assert_uint_eq(strlen(job_begin(&table, JOB_PIN, 1, false, text)->target), 159);
	ck_assert_str_eq(job_kind_name(JOB_DRAIN), "drain");
	ck_assert_str_eq(job_kind_name(JOB_PREFETCH), "prefetch");
	ck_assert_str_eq(job_kind_name(JOB_PIN), "pin");
	ck_assert_str_eq(job_state_name(JOB_RUNNING), "running");
	ck_assert_str_eq(job_state_name(JOB_FAILED), "failed");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("job");
	TCase *tc = tcase_create("job");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, numbers_count_up);
	tcase_add_test(tc, the_last_are_kept);
	tcase_add_test(tc, running_ones_are_never_replaced);
	tcase_add_test(tc, a_user_has_so_many_at_once);
	tcase_add_test(tc, a_user_pushes_out_own_ones_first);
	tcase_add_test(tc, names);
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
