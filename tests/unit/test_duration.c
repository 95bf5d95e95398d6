// SPDX-License-Identifier: GPL-2.0-only
/*
 * Times as people write them.
 *
 * links: common/duration.c common/err.c
 */
#include "common/duration.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define S 1000000000ull

static const struct {
	const char *text;
	int r;
	uint64_t ns;
} times[] = {
	{ "0", 0, 0 },
	{ "2", 0, 2 * S },
	{ "2s", 0, 2 * S },
	{ "0.1", 0, S / 10 },
	{ "1.5s", 0, 3 * S / 2 },
	{ "500ms", 0, S / 2 },
	{ "1.25ms", 0, 1250000 },
	{ "7us", 0, 7000 },
	{ "9ns", 0, 9 },
	{ "0.9ns", 0, 0 },
	{ "10m", 0, 600 * S },
	{ "2h", 0, 7200 * S },
	{ "0.000000001", 0, 1 },
	{ "18446744073", 0, 18446744073 * S },
	{ "18446744074", -ERANGE, 0 },
	{ "18446744073709551615ns", 0, UINT64_MAX },
	{ "18446744073709551616ns", -ERANGE, 0 },
	{ "99999999999999999999999", -ERANGE, 0 },
	{ "5124096h", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ "s", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "1 s", -EINVAL, 0 },
	{ "1.", -EINVAL, 0 },
	{ ".5", -EINVAL, 0 },
	{ "1.0000000001", -EINVAL, 0 },
	{ "1e3", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "1d", -EINVAL, 0 },
	{ "1S", -EINVAL, 0 },
};
#define N_TIMES (int)(sizeof(times) / sizeof(times[0]))

START_TEST(test_times)
{
	uint64_t ns = 42;

	ck_assert_int_eq(duration_parse(times[_i].text, &ns), times[_i].r);
	ck_assert_uint_eq(ns, times[_i].r ? 42 : times[_i].ns);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("duration");
	TCase *tcase = tcase_create("duration");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, test_times, 0, N_TIMES);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
