// SPDX-License-Identifier: GPL-2.0-only
// links: tools/vramtop/sample.c
// libs: -ljansson -lm
/* Samples of vramtop: what an answer says, rates between two of them, and when there are none. */
#define _GNU_SOURCE 1
#include "tools/vramtop/sample.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *why;

static void user_name(uint32_t uid, char *out, size_t size)
{
	snprintf(out, size, uid == 1000 ? "ann" : "u%u", uid);
}

/* An answer at `seconds` of a daemon; the counters of its session as given. */
static json_t *answer(double seconds, int pid, long long loaded, long long evicted,
		      long long acquires, long long faults, long long stall_ms)
{
	json_t *one = json_pack(
		"{s:I, s:s, s:s, s:i, s:I, s:[{s:i, s:s, s:{s:{s:I, s:I}}, s:I, s:I, s:I, s:I, s:{s:{s:f, s:I}}}],"
		" s:[{s:s, s:s, s:i, s:i, s:{s:{s:I, s:s, s:I, s:i}}, s:{s:{s:I}}}],"
		" s:[{s:i, s:i, s:i, s:s, s:s, s:s, s:{s:{s:I, s:I}}, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:n, s:f}],"
		" s:[], s:[]}",
		"time_ns", (json_int_t)(seconds * 1e9), "version", "1", "ledger", "daemon", "pid",
		pid, "uptime_ns", (json_int_t)(seconds * 1e9), "devices", "index", 0, "name",
		"host", "tiers", "vram", "used_bytes", (json_int_t)50, "size_bytes",
		(json_int_t)100, "paged_in_bytes", (json_int_t)loaded, "evicted_bytes",
		(json_int_t)evicted, "paged_out_bytes", (json_int_t)0, "faults", (json_int_t)faults,
		"pressure", "some", "avg10", 1.5, "total_us", (json_int_t)stall_ms * 1000,
		"tenants", "subject", "user:1000", "kind", "user", "uid", 1000, "sessions", 1,
		"tiers", "vram", "usage_bytes", (json_int_t)50, "max", "max", "high",
		(json_int_t)70, "weight", 100, "pressure", "some", "total_us",
		(json_int_t)stall_ms * 1000, "sessions", "id", 7, "pid", 4242, "uid", 1000, "name",
		"engine", "comm", "python", "state", "running", "tiers", "vram", "resident_bytes",
		(json_int_t)50, "charged_bytes", (json_int_t)25, "total_bytes", (json_int_t)200,
		"acquires", (json_int_t)acquires, "faults", (json_int_t)faults, "loaded_bytes",
		(json_int_t)loaded, "evicted_bytes", (json_int_t)evicted, "written_bytes",
		(json_int_t)0, "stall_ns", (json_int_t)stall_ms * 1000000, "position",
		"pace_ns_per_pass", 5e8, "models", "queue");

	ck_assert_ptr_nonnull(one);
	return one;
}

static struct sample *take(json_t *from, const struct sample *before)
{
	struct sample *sample = sample_new(from, before, user_name, &why);

	ck_assert_msg(sample != NULL, "%s", why);
	return sample;
}

START_TEST(test_fields)
{
	struct sample *s = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);

	ck_assert_uint_eq(s->n_devices, 1);
	ck_assert(s->has_tier[TIER_VRAM] && !s->has_tier[TIER_HOST] && !s->has_tier[TIER_DISK]);
	ck_assert(s->devices[0].tier[TIER_VRAM].size == 100);
	ck_assert(!s->devices[0].tier[TIER_HOST].there);
	ck_assert(s->devices[0].pressure.some.avg10 == 1.5);
	ck_assert(isnan(s->devices[0].pressure.full.avg10)); /* not said is not 0 */
	ck_assert_str_eq(s->tenants[0].name, "user:ann");
	ck_assert(isinf(s->tenants[0].tier[TIER_VRAM].max));
	ck_assert(s->tenants[0].tier[TIER_VRAM].high == 70);
	ck_assert_str_eq(s->sessions[0].user, "ann");
	ck_assert(isnan(s->sessions[0].position));
	ck_assert(s->sessions[0].pace_ns == 5e8);
	ck_assert_uint_eq(s->n_users, 1);
	ck_assert(s->users[0].total == 200 && s->users[0].tenant == &s->tenants[0]);
	/* Of one sample there are no rates. */
	ck_assert(isnan(s->interval_ns) && isnan(s->sessions[0].rates.in));
	ck_assert(isnan(s->devices[0].rates.stall) && isnan(s->users[0].rates.in));
	sample_free(s);
}
END_TEST

START_TEST(test_rates)
{
	struct sample *a = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);
	struct sample *b = take(answer(12, 1, 5000, 2500, 300, 60, 550), a);
	const struct rates *rates = &b->sessions[0].rates;

	ck_assert(b->interval_ns == 2e9);
	ck_assert(rates->in == 2000 && rates->out == 1000 && rates->written == 0);
	ck_assert(rates->stall == 25 && rates->faults == 25);
	ck_assert(rates->hit == 75); /* 50 of 200 waited */
	ck_assert(b->devices[0].rates.in == 2000 && b->devices[0].rates.stall == 25);
	ck_assert(b->tenants[0].rates.stall == 25);
	/* The tenant moves what its sessions move. */
	ck_assert(b->tenants[0].rates.in == 2000 && b->tenants[0].rates.hit == 75);
	ck_assert(b->users[0].rates.out == 1000);
	sample_free(a);
	sample_free(b);
}
END_TEST

START_TEST(test_no_use_has_no_hit_rate)
{
	struct sample *a = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);
	struct sample *b = take(answer(11, 1, 1000, 500, 100, 10, 50), a);

	ck_assert(isnan(b->sessions[0].rates.hit) && b->sessions[0].rates.in == 0);
	sample_free(a);
	sample_free(b);
}
END_TEST

START_TEST(test_more_waits_than_uses)
{
	struct sample *a = take(answer(10, 1, 0, 0, 100, 10, 0), NULL);
	struct sample *b = take(answer(11, 1, 0, 0, 101, 20, 3000), a);

	ck_assert(b->sessions[0].rates.hit == 0);
	ck_assert(b->sessions[0].rates.stall == 100); /* not 300 */
	sample_free(a);
	sample_free(b);
}
END_TEST

/* Each of these makes rates unknown: another daemon, the same pid but a younger one, no time between. */
START_TEST(test_restart)
{
	static const struct {
		double seconds;
		int pid;
	} again[] = { { 12, 2 }, { 9, 1 }, { 10, 1 } };
	struct sample *a = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);
	struct sample *b =
		take(answer(again[_i].seconds, again[_i].pid, 5000, 2500, 300, 60, 550), a);

	ck_assert(isnan(b->interval_ns) && isnan(b->sessions[0].rates.in));
	ck_assert(isnan(b->devices[0].rates.in) && isnan(b->tenants[0].rates.stall));
	sample_free(a);
	sample_free(b);
}
END_TEST

START_TEST(test_counter_went_back)
{
	struct sample *a = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);
	struct sample *b = take(answer(12, 1, 900, 2500, 300, 60, 40), a);

	ck_assert(isnan(b->sessions[0].rates.in) && isnan(b->sessions[0].rates.stall));
	ck_assert(b->sessions[0].rates.out == 1000); /* the others stand */
	sample_free(a);
	sample_free(b);
}
END_TEST

START_TEST(test_session_came)
{
	json_t *before = answer(10, 1, 1000, 500, 100, 10, 50);
	struct sample *a, *b;

	json_array_clear(json_object_get(before, "sessions"));
	a = take(before, NULL);
	b = take(answer(12, 1, 4000, 2000, 100, 50, 500), a);
	ck_assert(b->sessions[0].rates.in == 2000 && b->sessions[0].rates.hit == 50);
	sample_free(a);
	sample_free(b);
}
END_TEST

/* Whatever is there is of the wrong type, or is not there: no crash, and nothing is made up. */
START_TEST(test_strange)
{
	static const char *const texts[] = {
		"{\"devices\": []}",
		"{\"devices\": [1, null, \"x\", [], {}], \"sessions\": [{}, 3], \"tenants\": [[]],"
		" \"models\": [{\"name\": 5}], \"queue\": [{\"pid\": \"max\"}], \"others\": 4}",
		"{\"devices\": [{\"tiers\": 3}], \"sessions\": {\"a\": 1}, \"pid\": -1}",
	};
	struct sample *a = take(json_loads(texts[_i], 0, NULL), NULL), *b;

	b = take(json_loads(texts[_i], 0, NULL), a);
	if (a->n_sessions)
		ck_assert(isnan(a->sessions[0].pid) && *a->sessions[0].name == '\0');
	ck_assert_ptr_nonnull(sample_json(b));
	sample_free(a);
	sample_free(b);
}
END_TEST

START_TEST(test_older_daemon)
{
	ck_assert_ptr_null(sample_new(json_pack("{s:s}", "version", "0"), NULL, NULL, &why));
	ck_assert_ptr_nonnull(strstr(why, "snapshot"));
	ck_assert_ptr_null(sample_new(json_string("x"), NULL, NULL, &why));
}
END_TEST

START_TEST(test_json)
{
	struct sample *a = take(answer(10, 1, 1000, 500, 100, 10, 50), NULL);
	struct sample *b = take(answer(12, 1, 5000, 2500, 300, 60, 550), a);
	const json_t *session, *rates;

	ck_assert(json_is_null(json_object_get(sample_json(a), "interval_ns")));
	session = json_array_get(json_object_get(sample_json(b), "sessions"), 0);
	rates = json_object_get(session, "rates");
	ck_assert(json_real_value(json_object_get(rates, "in_bytes_per_s")) == 2000);
	ck_assert(json_real_value(json_object_get(rates, "hit_percent")) == 75);
	ck_assert_str_eq(json_string_value(json_object_get(session, "user")), "ann");
	/* What the daemon said is as it was. */
	ck_assert_int_eq(json_integer_value(json_object_get(session, "loaded_bytes")), 5000);
	sample_free(a);
	sample_free(b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vramtop_sample");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_fields);
	tcase_add_test(tcase, test_rates);
	tcase_add_test(tcase, test_no_use_has_no_hit_rate);
	tcase_add_test(tcase, test_more_waits_than_uses);
	tcase_add_loop_test(tcase, test_restart, 0, 3);
	tcase_add_test(tcase, test_counter_went_back);
	tcase_add_test(tcase, test_session_came);
	tcase_add_loop_test(tcase, test_strange, 0, 3);
	tcase_add_test(tcase, test_older_daemon);
	tcase_add_test(tcase, test_json);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
