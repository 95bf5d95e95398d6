// SPDX-License-Identifier: GPL-2.0-only
// links: tests/bench/policy_trace.c tests/bench/policy_replayer.c tests/bench/policy_generate.c
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c daemon/policy_convoy.c daemon/policy_fill.c
// libs: -lm
#include "tests/bench/policy_trace.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "vram-trace 1\nchunk 1048576\nbudget 4194304\nmodel m 8\nclient c m 100 0\n"

static int parse(const char *text, struct trace *out, unsigned int *out_line)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");
	int r;

	ck_assert_ptr_nonnull(f);
	r = trace_read(f, out, out_line);
	fclose(f);
	return r;
}

START_TEST(refused)
{
	static const struct {
		const char *text;
		unsigned int line;
	} rows[] = {
		{ "\n", 1 },
		{ "vram-trace 2\n", 1 },
		{ "vram-trace 1 2\n", 1 },
		{ "chunk 4096\n", 1 },
		{ "vram-trace 1\nchunk 4096\n", 2 }, /* no budget */
		{ "vram-trace 1\nbudget 4096\n", 2 },
		{ "vram-trace 1\nchunk 0\n", 2 },
		{ "vram-trace 1\nchunk -1\n", 2 },
		{ "vram-trace 1\nchunk 99999999999999999999999\n", 2 },
		{ HEAD "model m 8\n", 6 }, /* twice */
		{ HEAD "model n 0\n", 6 },
		{ HEAD "model n 8 8\n", 6 },
		{ HEAD "model n 99999999\n", 6 },
		{ HEAD "model abcdefghijklmnopqrstuvwxyzabcdefghijklmnop 8\n", 6 },
		{ HEAD "expert x 0 0\n", 6 },
		{ HEAD "expert m 8 0\n", 6 },
		{ HEAD "expert m 0 8\n", 6 },
		{ HEAD "expert m 0\n", 6 },
		{ HEAD "client c m 100 0\n", 6 }, /* twice */
		{ HEAD "client d x 100 0\n", 6 },
		{ HEAD "client d m 0 0\n", 6 },
		{ HEAD "client d m 100\n", 6 },
		{ HEAD "0 use x 0\n", 6 },
		{ HEAD "0 use c 8\n", 6 },
		{ HEAD "0 use c 7 2\n", 6 },
		{ HEAD "0 use c 0 0\n", 6 },
		{ HEAD "0 use c 0 1 1 1\n", 6 },
		{ HEAD "-1 use c 0\n", 6 },
		{ HEAD "0 pass c\n", 6 },
		{ HEAD "0 pass c fast\n", 6 },
		{ HEAD "0 idle c 1\n", 6 },
		{ HEAD "0 budget\n", 6 },
		{ HEAD "0 dance c\n", 6 },
		{ HEAD "0\n", 6 },
	};
	struct trace trace;
	unsigned int line;

	ck_assert_int_eq(parse(rows[_i].text, &trace, &line), -EINVAL);
	ck_assert_uint_eq(line, rows[_i].line);
	ck_assert_ptr_null(trace.events);
	ck_assert_ptr_null(trace.models);
}
END_TEST

START_TEST(accepted)
{
	struct trace t;
	unsigned int line;

	ck_assert_int_eq(parse("# a comment\n\n" HEAD
			       "50 use c 0 3 10\n55 pass c prefill # another\n60 idle c\n"
			       "5 budget 1048576\n",
			       &t, &line),
			 0);
	ck_assert_uint_eq(t.n_events, 6);
	ck_assert_uint_eq(t.n_uses, 3);
	/* In order of time, those of one time as written. */
	ck_assert_int_eq(t.events[0].kind, TRACE_BUDGET);
	ck_assert_uint_eq(t.events[1].t_ns, 50);
	ck_assert_int_eq(t.events[2].kind, TRACE_PASS);
	ck_assert_uint_eq(t.events[2].value, POLICY_PASS_PREFILL);
	ck_assert_int_eq(t.events[3].kind, TRACE_USE);
	ck_assert_uint_eq(t.events[3].value, 1);
	ck_assert_int_eq(t.events[4].kind, TRACE_IDLE);
	ck_assert_uint_eq(t.events[5].value, 2);
	trace_deinit(&t);
}
END_TEST

/* Worked out by hand: 0 1 2 0 1 2 0 1 2 with room for two. */
START_TEST(known_counts)
{
	const struct replay_options options = { .no_spread = true };
	struct replay_result r;
	struct trace t;
	unsigned int line;

	ck_assert_int_eq(parse("vram-trace 1\nchunk 1\nbudget 2\nmodel m 3\nclient c m 100 0\n"
			       "10 use c 0 3 10\n40 use c 0 3 10\n70 use c 0 3 10\n",
			       &t, &line),
			 0);
	ck_assert_int_eq(trace_replay(&t, &options, &r), 0);
	ck_assert_uint_eq(r.uses, 9);
	ck_assert_uint_eq(r.distinct, 3);
	ck_assert_uint_eq(r.lru, 9);
	/* 0m 1m 2m(-1) 0h 1m(-0) 2h 0m(-2) 1h 2m: two of three. */
	ck_assert_uint_eq(r.optimum, 6);
	ck_assert_uint_eq(r.ours, 6);
	trace_deinit(&t);
}
END_TEST

/* One steady dense client: not a chunk more than the optimum. */
START_TEST(steady_is_optimal)
{
	const struct replay_options options = { .no_spread = true };
	char text[4096] = "vram-trace 1\nchunk 1\nmodel m 100\n";
	struct replay_result r;
	struct trace t;
	unsigned int line;

	sprintf(text + strlen(text), "budget %d\nclient c m 100 %d\n", 30 + 10 * (_i % 7), _i % 4);
	for (int pass = 0; pass < 40; pass++)
		sprintf(text + strlen(text), "%d use c 0 100 1000\n", 1000 + pass * 100000);
	ck_assert_int_eq(parse(text, &t, &line), 0);
	ck_assert_int_eq(trace_replay(&t, &options, &r), 0);
	ck_assert_uint_ge(r.ours, r.optimum);
	ck_assert_uint_le(r.ours, r.optimum + r.optimum / 100);
	ck_assert_uint_eq(r.lru, 4000);
	trace_deinit(&t);
}
END_TEST

START_TEST(nothing_beats_the_optimum)
{
	const struct trace_shape shape = { .seed = (uint64_t)_i / 2 + 3, .moe = _i & 1 };
	struct replay_options options = { .share = POLICY_SHARE_BYTES };
	struct replay_result r;
	struct trace t;
	unsigned int line;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(f);
	trace_generate(&shape, f);
	fclose(f);
	ck_assert_int_eq(parse(text, &t, &line), 0);
	free(text);
	for (int mode = 0; mode < 4; mode++) {
		options.share = mode & 1 ? POLICY_SHARE_FAIR : POLICY_SHARE_BYTES;
		options.sightings = mode & 2;
		ck_assert_int_eq(trace_replay(&t, &options, &r), 0);
		ck_assert_uint_ge(r.ours, r.optimum);
		ck_assert_uint_ge(r.lru, r.optimum);
		ck_assert_uint_ge(r.optimum, r.distinct);
		if (!shape.moe)
			ck_assert_uint_lt(r.ours, r.lru);
	}
	trace_deinit(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_trace");
	TCase *tcase = tcase_create("trace");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, refused, 0, 34);
	tcase_add_test(tcase, accepted);
	tcase_add_test(tcase, known_counts);
	tcase_add_loop_test(tcase, steady_is_optimal, 0, 14);
	tcase_add_loop_test(tcase, nothing_beats_the_optimum, 0, 4);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
