// SPDX-License-Identifier: GPL-2.0-only
/* Which address is replaced, with a driver that answers as the real one may; and what is counted. */
// links: libclient/cudashim/proc.c libclient/cudashim/tally.c
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/cudashim/proc.h"
#include "libclient/cudashim/tally.h"

/* Addresses stand for functions; nothing is called. */
static _Alignas(16) char exported[16][16], inner[16][16], ours[16][16];
static struct proc_table table;

static void setup(void)
{
	memset(&table, 0, sizeof(table));
}

/* A driver that hands out other addresses than it exports: inner[3] is cuThing of 3.2, inner[4] its per-thread form. */
static cuda_result get(const char *name, void **out_pfn, int version, uint64_t flags,
		       int *out_found)
{
	*out_found = CUDA_ABI_GET_PROC_ADDRESS_SUCCESS;
	if (strcmp(name, "cuThing") != 0) {
		*out_found = CUDA_ABI_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
		*out_pfn = inner[9];
		return CUDA_ABI_SUCCESS;
	}
	if (version < 3020) {
		*out_pfn = exported[0];
		return CUDA_ABI_SUCCESS;
	}
	*out_pfn = flags == CUDA_ABI_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? inner[4] :
										  inner[3];
	return CUDA_ABI_SUCCESS;
}

START_TEST(by_address)
{
	proc_add(&table, exported[1], ours[1]);
	proc_add(&table, exported[2], ours[2]);
	proc_add(&table, NULL, ours[3]);
	ck_assert_ptr_eq(proc_replace(&table, exported[1]), ours[1]);
	ck_assert_ptr_eq(proc_replace(&table, exported[2]), ours[2]);
	/* All else is the driver's answer, our own functions too. */
	ck_assert_ptr_eq(proc_replace(&table, exported[3]), exported[3]);
	ck_assert_ptr_eq(proc_replace(&table, ours[1]), ours[1]);
	/* Two names with one address (a driver may have that): the first counts. */
	proc_add(&table, exported[1], ours[2]);
	ck_assert_ptr_eq(proc_replace(&table, exported[1]), ours[1]);
	ck_assert_uint_eq(table.n, 2);
}
END_TEST

START_TEST(learnt)
{
	/* The old form is exported and not ours; the new one and its per-thread form are. */
	proc_add(&table, exported[1], ours[1]);
	proc_learn(&table, get, "cuThing_v2", 3020, ours[1]);
	proc_learn(&table, get, "cuThing_v2_ptsz", 7000, ours[2]);
	proc_learn(&table, get, "cuOther", 2000, ours[3]);
	proc_learn(&table, get, "cuThing", 0, ours[3]);
	ck_assert_ptr_eq(proc_replace(&table, inner[3]), ours[1]);
	ck_assert_ptr_eq(proc_replace(&table, inner[4]), ours[2]);
	ck_assert_ptr_eq(proc_replace(&table, exported[0]), exported[0]);
	/* "Not found" with an address beside it, and version 0, teach nothing. */
	ck_assert_ptr_eq(proc_replace(&table, inner[9]), inner[9]);
	ck_assert_uint_eq(table.n, 3);
}
END_TEST

START_TEST(many)
{
	static _Alignas(16) char functions[3 * PROC_SLOTS][16];

	/* Never so full that a look has no end. */
	for (size_t i = 0; i < 3 * PROC_SLOTS; i++)
		proc_add(&table, functions[i], ours[1]);
	ck_assert_uint_eq(table.n, PROC_SLOTS / 2);
	for (size_t i = 0; i < PROC_SLOTS / 2; i++)
		ck_assert_ptr_eq(proc_replace(&table, functions[i]), ours[1]);
	ck_assert_ptr_eq(proc_replace(&table, functions[2 * PROC_SLOTS]),
			 functions[2 * PROC_SLOTS]);
}
END_TEST

START_TEST(bases)
{
	static const struct {
		const char *symbol, *base;
		bool per_thread;
	} of[] = {
		{ "cuInit", "cuInit", false },
		{ "cuMemAlloc_v2", "cuMemAlloc", false },
		{ "cuMemcpyHtoD_v2_ptds", "cuMemcpyHtoD", true },
		{ "cuLaunchKernel_ptsz", "cuLaunchKernel", true },
		{ "cuCtxCreate_v4", "cuCtxCreate", false },
		{ "cuStreamWriteValue32_v2_ptsz", "cuStreamWriteValue32", true },
		{ "cuStreamWriteValue32", "cuStreamWriteValue32", false },
		{ "cuMemsetD2D8_v2", "cuMemsetD2D8", false },
	};
	char base[64];
	bool per_thread;

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		ck_assert(proc_base(of[i].symbol, base, sizeof(base), &per_thread));
		ck_assert_str_eq(base, of[i].base);
		ck_assert_int_eq(per_thread, of[i].per_thread);
	}
	ck_assert(!proc_base("cuMemAlloc_v2", base, 13, &per_thread));
	ck_assert(proc_base("cuMemAlloc_v2", base, 14, &per_thread));
}
END_TEST

/* ---- what is counted ---- */

START_TEST(counted)
{
	uint64_t model[512] = { 0 }, total = 0;
	uint32_t state = 1;

	tally_remove(TALLY_ADDRESS, 1);
	tally_add(TALLY_ADDRESS, 0, 5);
	ck_assert_uint_eq(tally_bytes(), 0);
	/* Against a plain array, with keys that lie close together, as addresses do. */
	for (int i = 0; i < 200000; i++) {
		uint64_t key, n;

		state = state * 1664525u + 1013904223u;
		key = state >> 8 & 511;
		n = state >> 20;
		if (state >> 18 & 1) {
			tally_add(TALLY_ADDRESS, (key + 1) << 21, n);
			total += n - model[key];
			model[key] = n;
		} else {
			tally_remove(TALLY_ADDRESS, (key + 1) << 21);
			total -= model[key];
			model[key] = 0;
		}
		ck_assert_uint_eq(tally_bytes(), total);
	}
	tally_add(TALLY_HANDLE, 1ull << 21, 7);
	ck_assert_uint_eq(tally_bytes(), total + 7);
	tally_remove(TALLY_ADDRESS, 1ull << 21);
	tally_remove(TALLY_HANDLE, 1ull << 21);
	ck_assert_uint_eq(tally_bytes(), total - model[0]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cudashim tables");
	TCase *tcase = tcase_create("tables");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, by_address);
	tcase_add_test(tcase, learnt);
	tcase_add_test(tcase, many);
	tcase_add_test(tcase, bases);
	tcase_add_test(tcase, counted);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
