// SPDX-License-Identifier: GPL-2.0-only
/* The shim's table of mappings, and which files it takes for models. */
// links: libclient/preload/ranges.c libclient/preload/recognise.c
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "libclient/preload/ranges.h"
#include "libclient/preload/recognise.h"

START_TEST(touch)
{
	const struct range two[] = { { 0x1000, 0x3000 }, { 0x8000, 0x9000 } };

	ck_assert(!ranges_touch(0, UINT64_MAX));
	ranges_set(two, 2);
	ck_assert(!ranges_touch(0, 0x1000));
	ck_assert(ranges_touch(0, 0x1001));
	ck_assert(ranges_touch(0x2fff, 0x3000));
	ck_assert(!ranges_touch(0x3000, 0x8000));
	ck_assert(ranges_touch(0x3000, 0x8001));
	ck_assert(ranges_touch(0x8800, 0x8801));
	ck_assert(!ranges_touch(0x9000, UINT64_MAX));
	ck_assert(ranges_touch(0, UINT64_MAX));
	ranges_set(NULL, 0);
	ck_assert(!ranges_touch(0, UINT64_MAX));
}
END_TEST

START_TEST(gaps)
{
	/* Out of order, two of them adjacent. */
	const struct range three[] = { { 0x8000, 0x9000 }, { 0x1000, 0x3000 }, { 0x3000, 0x4000 } };
	uint64_t at = 0, end;

	ranges_set(three, 3);
	ck_assert(ranges_gap(&at, 0xa000, &end));
	ck_assert_uint_eq(at, 0);
	ck_assert_uint_eq(end, 0x1000);
	at = end;
	ck_assert(ranges_gap(&at, 0xa000, &end));
	ck_assert_uint_eq(at, 0x4000);
	ck_assert_uint_eq(end, 0x8000);
	at = end;
	ck_assert(ranges_gap(&at, 0xa000, &end));
	ck_assert_uint_eq(at, 0x9000);
	ck_assert_uint_eq(end, 0xa000);
	at = end;
	ck_assert(!ranges_gap(&at, 0xa000, &end));
	at = 0x1800;
	ck_assert(!ranges_gap(&at, 0x3800, &end));
	at = 0x1800;
	ck_assert(ranges_gap(&at, 0x4001, &end));
	ck_assert_uint_eq(at, 0x4000);
	ck_assert_uint_eq(end, 0x4001);
}
END_TEST

/* A range that is in every version of the table is found at every moment. */
static _Atomic bool stop;

static void *rewrite(void *arg)
{
	const struct range a[] = { { 0x1000, 0x2000 }, { 0x5000, 0x6000 } };
	const struct range b[] = { { 0x5000, 0x6000 }, { 0x7000, 0x8000 }, { 0x9000, 0xa000 } };

	(void)arg;
	while (!stop) {
		ranges_set(a, 2);
		ranges_set(b, 3);
	}
	return NULL;
}

START_TEST(concurrent)
{
	const struct range first[] = { { 0x5000, 0x6000 } };
	uint64_t missed = 0, invented = 0;
	pthread_t thread;

	ranges_set(first, 1);
	pthread_create(&thread, NULL, rewrite, NULL);
	for (int i = 0; i < 200000; i++) {
		missed += !ranges_touch(0x5800, 0x5801);
		invented += ranges_touch(0x3000, 0x4000);
	}
	stop = true;
	pthread_join(thread, NULL);
	ck_assert_uint_eq(missed, 0);
	ck_assert_uint_eq(invented, 0);
}
END_TEST

static bool model(const char *head, size_t n)
{
	return recognise_model((const unsigned char *)head, n, 1 << 20);
}

START_TEST(models)
{
	const char gguf[] = "GGUF\3\0\0\0aaaaaaaa";
	const char tensors[] = "\100\2\0\0\0\0\0\0{\"a\":[1]";

	ck_assert(model(gguf, 16));
	ck_assert(model("GGUF\2\0\0\0aaaaaaaa", 16));
	ck_assert(!model("GGUF\0\0\0\3aaaaaaaa", 16)); /* the other byte order */
	ck_assert(!model("GGUG\3\0\0\0aaaaaaaa", 16));
	ck_assert(!model(gguf, 15));
	ck_assert(!recognise_model((const unsigned char *)gguf, 16, RECOGNISE_MIN_FILE - 1));
	ck_assert(recognise_model((const unsigned char *)gguf, 16, RECOGNISE_MIN_FILE));
	ck_assert(model(tensors, 16));
	ck_assert(model("\100\2\0\0\0\0\0\0{ \"a\":1", 16));
	ck_assert(!model("\100\2\0\0\0\0\0\0[1,2,3]", 16));
	ck_assert(!model("\100\2\0\0\0\0\0\0{{{{{{{", 16));
	ck_assert(!model("\0\0\0\0\0\0\0\0{\"a\":[1]", 16));
	/* A header longer than the file. */
	ck_assert(!model("\0\0\20\0\0\0\0\0{\"a\":[1]", 16));
	ck_assert(!model("\0\0\0\0\0\0\0\1{\"a\":[1]", 16));
	ck_assert(!model("\177ELF\2\1\1\0\0\0\0\0\0\0\0\0", 16));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ranges");
	TCase *tc = tcase_create("ranges");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, touch);
	tcase_add_test(tc, gaps);
	tcase_add_test(tc, concurrent);
	tcase_add_test(tc, models);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
