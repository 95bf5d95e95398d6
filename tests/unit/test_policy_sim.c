// SPDX-License-Identifier: GPL-2.0-only
// links: tests/bench/policy_sim.c
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c daemon/policy_convoy.c daemon/policy_fill.c
#include "tests/bench/policy_sim.h"

#include <check.h>
#include <stdlib.h>

/* The time is simulated: the same on every machine. */

static struct sim_config config;

static void setup(void)
{
	sim_defaults(&config);
}

static void run(double vs_limit, double bytes_vs_missing)
{
	const double missing = (1 - config.capacity) * config.n_chunks *
			       (config.same_file ? 1 : config.n_processes);
	struct sim_result r;

	ck_assert_int_eq(sim_run(&config, &r), 0);
	ck_assert(!r.stuck);
	ck_assert_msg(r.pass_ns <= vs_limit * r.limit_ns, "%.3f of the limit",
		      r.pass_ns / r.limit_ns);
	ck_assert_msg(r.chunks_per_pass <= bytes_vs_missing * missing, "%.3f of what is missing",
		      r.chunks_per_pass / missing);
}

START_TEST(single)
{
	static const struct {
		double capacity, vs_limit, bytes;
	} rows[] = {
		{ 0.01, 1.02, 1.02 }, { 0.1, 1.02, 1.02 }, { 0.3, 1.03, 1.03 },
		{ 0.6, 1.04, 1.03 },  { 0.9, 1.05, 1.05 }, { 0.97, 1.05, 1.1 },
	};

	config.capacity = rows[_i].capacity;
	run(rows[_i].vs_limit, rows[_i].bytes);
}
END_TEST

/* Threads that halve each tensor, or many of them, or tensors in another order than the file's. */
START_TEST(threads)
{
	static const struct {
		uint32_t n;
		bool split, shuffled;
	} rows[] = { { 1, false, false },
		     { 2, true, false },
		     { 4, true, true },
		     { 16, true, false },
		     { 16, false, true } };

	config.n_threads = rows[_i].n;
	config.split = rows[_i].split;
	config.shuffled = rows[_i].shuffled;
	run(1.06, 1.05);
}
END_TEST

START_TEST(one_file_two_processes)
{
	static const double phases[] = { 0, 0.5, 3.5, 10.25, 10.75 };

	config.n_processes = 2;
	config.same_file = true;
	config.phase = phases[_i];
	config.warm_passes = 8;
	run(1.05, 1.04);
}
END_TEST

START_TEST(two_files)
{
	config.n_processes = 2;
	config.capacity = _i ? 0.8 : 0.6;
	run(1.04, 1.04);
}
END_TEST

/* The second process comes when the first has spread over all the memory. */
START_TEST(late_comer)
{
	config.n_processes = 2;
	config.phase = 20;
	config.passes = 6;
	run(1.05, 1.05);
}
END_TEST

/* Less memory than threads want at once: slow, but never stuck. */
START_TEST(hardly_any_memory)
{
	struct sim_result r;

	config.n_chunks = 200;
	config.pass_ns = 20000000;
	config.n_threads = 1u << _i;
	config.capacity = 0.01; /* two chunks */
	config.passes = 2;
	config.warm_passes = 1;
	ck_assert_int_eq(sim_run(&config, &r), 0);
	ck_assert(!r.stuck);
}
END_TEST

/* The output first in the file and last in use; of the embedding one row a pass. */
START_TEST(embedding)
{
	struct sim_result r;

	config.output_chunks = 60;
	config.embed_chunks = 200;
	config.capacity = _i ? 0.9 : 0.6;
	ck_assert_int_eq(sim_run(&config, &r), 0);
	ck_assert(!r.stuck);
	ck_assert(r.pass_ns <= 1.05 * r.limit_ns);
	/* Rows are not loaded ahead: no more than what else is missing, and a row. */
	ck_assert(r.chunks_per_pass <= 1.05 * (2600 - config.capacity * 2800) + 25);
}
END_TEST

/* Experts in a file whose order nobody declared: what is not used is not loaded ahead for long. */
START_TEST(experts)
{
	struct sim_result r;

	config.skipped = 0.75;
	config.warm_passes = 20;
	config.passes = 20;
	ck_assert_int_eq(sim_run(&config, &r), 0);
	ck_assert(!r.stuck);
	/* A pass uses 700 chunks; 280 of them cannot be there. */
	ck_assert(r.chunks_per_pass <= 420);
}
END_TEST

/* What the spreading is for: without it disk and compute take turns. */
START_TEST(spreading_matters)
{
	struct sim_result with, without;

	ck_assert_int_eq(sim_run(&config, &with), 0);
	config.no_spread = true;
	ck_assert_int_eq(sim_run(&config, &without), 0);
	ck_assert(with.pass_ns * 1.15 < without.pass_ns);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_sim");
	TCase *tcase = tcase_create("loop");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, single, 0, 6);
	tcase_add_loop_test(tcase, threads, 0, 5);
	tcase_add_loop_test(tcase, one_file_two_processes, 0, 5);
	tcase_add_loop_test(tcase, two_files, 0, 2);
	tcase_add_test(tcase, late_comer);
	tcase_add_loop_test(tcase, hardly_any_memory, 0, 5);
	tcase_add_loop_test(tcase, embedding, 0, 2);
	tcase_add_test(tcase, experts);
	tcase_add_test(tcase, spreading_matters);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
