// SPDX-License-Identifier: GPL-2.0-only
// links: common/err.c
#include "common/err.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct {
	int n, r, line;
	bool origin;
	const char *file, *func;
} last;

static void record(int r, bool origin, const char *file, int line, const char *func)
{
	last.n++;
	last.r = r;
	last.origin = origin;
	last.line = line;
	last.file = file;
	last.func = func;
	errno = EBADMSG; /* a hook that does not care */
}

START_TEST(names)
{
	ck_assert_str_eq(err_name(-ENOSPC), "ENOSPC");
	ck_assert_str_eq(err_name(ENOSPC), "ENOSPC");
	ck_assert_str_eq(err_name(-ESTALE), "ESTALE");
	ck_assert_str_eq(err_name(0), "OK");
	ck_assert_str_eq(err_name(-4095), "E???");
	ck_assert_str_eq(err_name(INT_MIN), "E???");
	ck_assert_str_eq(err_name(INT_MAX), "E???");
	ck_assert_str_eq(err_text(-ENOSPC), "No space left on device");
	ck_assert_str_eq(err_text(-4095), "Unknown error");
	ck_assert_str_eq(err_text(INT_MIN), "Unknown error");
}
END_TEST

START_TEST(silent_without_hook)
{
	ck_assert_int_eq(err_trace(-EIO), -EIO);
	ck_assert_int_eq(err_origin(-EIO), -EIO);
	ck_assert_int_eq(last.n, 0);
}
END_TEST

START_TEST(trace_forwards_unchanged)
{
	err_set_hook(record);
	errno = EINTR;
	ck_assert_int_eq(err_trace(-EIO), -EIO);
	ck_assert_int_eq(last.n, 1);
	ck_assert_int_eq(last.r, -EIO);
	ck_assert(!last.origin);
	ck_assert_int_eq(last.line, __LINE__ - 4);
	ck_assert(strstr(last.file, "test_err.c"));
	ck_assert_int_eq(errno, EINTR);

	ck_assert_int_eq(err_origin(-ENOSPC), -ENOSPC);
	ck_assert_int_eq(last.n, 2);
	ck_assert(last.origin);

	/* Success and named outcomes are no errors. */
	ck_assert_int_eq(err_trace(0), 0);
	ck_assert_int_eq(err_trace(3), 3);
	ck_assert_int_eq(err_origin(3), 3);
	ck_assert_int_eq(last.n, 2);

	err_set_hook(NULL);
	ck_assert_int_eq(err_trace(-EIO), -EIO);
	ck_assert_int_eq(last.n, 2);
}
END_TEST

START_TEST(argument_is_evaluated_once)
{
	int calls = 0;

	ck_assert_int_eq(err_trace((calls++, -EIO)), -EIO);
	ck_assert_int_eq(err_fold((calls++, 0)), 0);
	ck_assert_int_eq(calls, 2);
}
END_TEST

START_TEST(fold_ends_named_outcomes)
{
	err_set_hook(record);
	ck_assert_int_eq(err_fold(0), 0);
	ck_assert_int_eq(last.n, 0);
	ck_assert_int_eq(err_fold(-EIO), -EIO);
	ck_assert(!last.origin);
	ck_assert_int_eq(err_fold(1), -ENOTRECOVERABLE);
	ck_assert(last.origin);
	ck_assert_int_eq(last.n, 2);
	ck_assert_int_eq(last.r, -ENOTRECOVERABLE);
}
END_TEST

static void reset(void)
{
	memset(&last, 0, sizeof(last));
	err_set_hook(NULL);
}

int main(void)
{
	Suite *suite = suite_create("err");
	TCase *tcase = tcase_create("err");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, reset, reset);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, silent_without_hook);
	tcase_add_test(tcase, trace_forwards_unchanged);
	tcase_add_test(tcase, argument_is_evaluated_once);
	tcase_add_test(tcase, fold_ends_named_outcomes);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
