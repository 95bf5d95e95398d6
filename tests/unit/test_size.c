// SPDX-License-Identifier: GPL-2.0-only
// links: common/size.c
#include "common/size.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define K UINT64_C(1024)
#define M (1024 * K)
#define G (1024 * M)
#define T (1024 * G)

static const struct {
	const char *text;
	uint64_t bytes;
} good[] = {
	{ "0", 0 },
	{ "0G", 0 },
	{ "1", 1 },
	{ "4096", 4096 },
	{ "4096B", 4096 },
	{ "007", 7 },
	{ "16G", 16 * G },
	{ "512M", 512 * M },
	{ "512m", 512 * M },
	{ "64KiB", 64 * K },
	{ "64kib", 64 * K },
	{ "64KB", 64 * K },
	{ "64kb", 64 * K },
	{ "2T", 2 * T },
	{ "1.5G", 3 * G / 2 },
	{ "1.50G", 3 * G / 2 },
	{ "0.5K", 512 },
	{ "0.0009765625K", 1 },
	{ "1.9999K", 2047 },
	/* More digits than any unit resolves are dropped, not overflowed. */
	{ "1.500000000000000000000000000000000000001G", 3 * G / 2 },
	{ "16777215T", 16777215 * T },
	{ "16777215.99T", 16777215 * T + 1088516511498 },
	{ "18446744073709551614", UINT64_MAX - 1 },
	{ "max", SIZE_UNLIMITED },
};

static const struct {
	const char *text;
	int r;
} bad[] = {
	{ "", -EINVAL },
	{ "G", -EINVAL },
	{ "B", -EINVAL },
	{ "-1", -EINVAL },
	{ "+1", -EINVAL },
	{ " 1", -EINVAL },
	{ "1 ", -EINVAL },
	{ "1 G", -EINVAL },
	{ "1G ", -EINVAL },
	{ "1GG", -EINVAL },
	{ "1GiBs", -EINVAL },
	{ "1Gi", -EINVAL },
	{ "1iB", -EINVAL },
	{ "1X", -EINVAL },
	{ "1P", -EINVAL },
	{ "0x10", -EINVAL },
	{ "1e9", -EINVAL },
	{ "1,5G", -EINVAL },
	{ ".5G", -EINVAL },
	{ "1.G", -EINVAL },
	{ "1.5", -EINVAL },
	{ "1.5B", -EINVAL },
	{ "1.5.5G", -EINVAL },
	{ "1..5G", -EINVAL },
	{ "MAX", -EINVAL },
	{ "maxx", -EINVAL },
	{ "1G/s", -EINVAL },
	{ "\xef\xbc\x91G", -EINVAL },
	{ "18446744073709551615", -ERANGE },
	{ "18446744073709551616", -ERANGE },
	{ "16777216T", -ERANGE },
	{ "99999999999999999999999999999999999999999", -ERANGE },
	{ "99999999999999999999999999999999999999999T", -ERANGE },
	{ "99999999999999999999999999999999999999999X", -EINVAL },
};

START_TEST(parse_good)
{
	uint64_t bytes = 12345;

	ck_assert_msg(size_parse(good[_i].text, &bytes) == 0, "%s", good[_i].text);
	ck_assert_msg(bytes == good[_i].bytes, "%s: %llu", good[_i].text,
		      (unsigned long long)bytes);
}
END_TEST

START_TEST(parse_bad)
{
	uint64_t bytes = 12345;
	int r = size_parse(bad[_i].text, &bytes);

	ck_assert_msg(r == bad[_i].r, "%s: %d", bad[_i].text, r);
	if (r < 0)
		ck_assert_uint_eq(bytes, 12345);
}
END_TEST

START_TEST(parse_rate)
{
	static const char *const wrong[] = { "16G",    "16G/",	 "16G/m", "/s",	  "s",
					     "16G /s", "16/s/s", "max/s", "-1/s", "" };
	uint64_t rate = 12345;

	ck_assert_int_eq(size_parse_rate("16G/s", &rate), 0);
	ck_assert_uint_eq(rate, 16 * G);
	ck_assert_int_eq(size_parse_rate("1.5MiB/s", &rate), 0);
	ck_assert_uint_eq(rate, 3 * M / 2);
	ck_assert_int_eq(size_parse_rate("1/s", &rate), 0);
	ck_assert_uint_eq(rate, 1);
	ck_assert_int_eq(size_parse_rate("max", &rate), 0);
	ck_assert_uint_eq(rate, SIZE_UNLIMITED);

	rate = 12345;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(size_parse_rate(wrong[i], &rate) == -EINVAL, "%s", wrong[i]);
	ck_assert_int_eq(size_parse_rate("16777216T/s", &rate), -ERANGE);
	ck_assert_int_eq(size_parse_rate("0000000000000000000000000000000000000000000000000000"
					 "000000000000001/s",
					 &rate),
			 -EINVAL);
	ck_assert_uint_eq(rate, 12345);
}
END_TEST

START_TEST(format)
{
	static const struct {
		uint64_t bytes;
		const char *text, *exact;
	} cases[] = {
		{ 0, "0B", "0" },
		{ 1, "1B", "1" },
		{ 1023, "1023B", "1023" },
		{ 1024, "1K", "1K" },
		{ 1025, "1K", "1025" },
		{ 1536, "1.5K", "1536" },
		{ M - 1, "1M", "1048575" },
		{ M - 52, "1023.9K", "1048524" },
		{ 3 * G / 2, "1.5G", "1536M" },
		{ 16 * G, "16G", "16G" },
		{ 16 * G + 1, "16G", "17179869185" },
		{ 10 * G - 1, "10G", "10737418239" },
		{ T, "1T", "1T" },
		{ 5000 * T, "5000T", "5000T" },
		{ UINT64_MAX - 1, "16777216T", "18446744073709551614" },
		{ SIZE_UNLIMITED, "max", "max" },
	};
	char buf[SIZE_TEXT_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_str_eq(size_format(buf, cases[i].bytes), cases[i].text);
		ck_assert_str_eq(size_format_exact(buf, cases[i].bytes), cases[i].exact);
	}
	ck_assert_str_eq(size_format_rate(buf, 16 * G), "16G/s");
	ck_assert_str_eq(size_format_rate(buf, SIZE_UNLIMITED), "max");
}
END_TEST

/* What a limits file says is what was set. */
START_TEST(exact_round_trip)
{
	uint64_t seed = 88172645463325252u;
	char buf[SIZE_TEXT_MAX];

	for (int i = 0; i < 200000; i++) {
		uint64_t bytes, back = 1;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		bytes = seed >> (seed & 63);
		bytes <<= (seed >> 8) & 31;
		ck_assert_int_eq(size_parse(size_format_exact(buf, bytes), &back), 0);
		ck_assert_uint_eq(back, bytes);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("size");
	TCase *tcase = tcase_create("size");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, parse_good, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tcase, parse_bad, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tcase, parse_rate);
	tcase_add_test(tcase, format);
	tcase_add_test(tcase, exact_round_trip);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
