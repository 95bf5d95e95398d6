// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c
// links: daemon/policy_convoy.c daemon/policy_fill.c
/* When a session waits for another that comes the same way. */
#include "daemon/policy.h"

#include <check.h>
#include <stdlib.h>

#define MIB 1048576ull
#define MS  1000000ull
#define N   1024u

static struct policy *policy;
static struct policy_object *object;
static uint64_t now;

static void setup(void)
{
	const struct policy_config config = { .capacity_bytes = N / 2 * MIB };

	policy = policy_new(&config);
	ck_assert_ptr_nonnull(policy);
	object = policy_object_new(policy, N, MIB, POLICY_MODEL, NULL);
	ck_assert_ptr_nonnull(object);
	/* Every second chunk is there. */
	for (uint32_t c = 0; c < N; c += 2)
		policy_resident(object, c, true);
	now = 1000 * MS;
}

static void teardown(void)
{
	policy_object_free(object);
	policy_free(policy);
}

static struct policy_user *user(uint32_t tenant)
{
	struct policy_user *u = policy_user_new(object, tenant, NULL);

	ck_assert_ptr_nonnull(u);
	return u;
}

struct walker {
	struct policy_user *user;
	uint32_t at;
	uint64_t step_ns;
	uint64_t next_ns;
};

/* Everybody goes at his pace until the first has come to `goal`, counted in chunks from his start. */
static void walk(struct walker *w, int n, uint32_t goal)
{
	while (w[0].at < goal) {
		int first = 0;

		for (int i = 1; i < n; i++)
			if (w[i].next_ns < w[first].next_ns)
				first = i;
		now = w[first].next_ns;
		policy_touch(w[first].user, w[first].at % N, now);
		w[first].at++;
		w[first].next_ns = now + w[first].step_ns;
	}
}

static struct walker start(uint32_t tenant, uint32_t at, uint64_t step_ns)
{
	return (struct walker){ .user = user(tenant), .at = at, .step_ns = step_ns, .next_ns = now };
}

static void end(struct walker *w, int n)
{
	for (int i = 0; i < n; i++)
		policy_user_free(w[i].user);
}

/* The absent chunk that it would come to next. */
static uint32_t next_absent(const struct walker *w)
{
	return (w->at | 1) % N;
}

START_TEST(leader_waits_until_the_other_is_near)
{
	struct walker w[2] = { start(1, 300, MS), start(2, 100, MS) };

	walk(w, 2, 300 + N + N / 4);
	ck_assert(policy_should_wait(w[0].user, next_absent(&w[0]), now));
	/* Who is behind goes on. */
	ck_assert(!policy_should_wait(w[1].user, next_absent(&w[1]), now));
	/* The held one loads nothing ahead either. */
	ck_assert_uint_eq(policy_prefetch(w[0].user, now, (uint32_t[8]){ 0 }, 8), 0);
	ck_assert_uint_gt(policy_prefetch(w[1].user, now, (uint32_t[8]){ 0 }, 8), 0);
	while (w[1].at + 40 < w[0].at) {
		now += MS;
		policy_touch(w[1].user, w[1].at++ % N, now);
		ck_assert(policy_should_wait(w[0].user, next_absent(&w[0]), now));
	}
	while (w[1].at + 20 < w[0].at) {
		now += MS;
		policy_touch(w[1].user, w[1].at++ % N, now);
	}
	ck_assert(!policy_should_wait(w[0].user, next_absent(&w[0]), now));
	end(w, 2);
}
END_TEST

START_TEST(nobody_waits_alone_or_in_the_first_round)
{
	struct walker w[2] = { start(1, 300, MS), start(2, 100, MS) };

	walk(w, 2, 300 + N / 2);
	ck_assert(!policy_should_wait(w[0].user, next_absent(&w[0]), now));
	walk(w, 2, 300 + 2 * N);
	ck_assert(policy_should_wait(w[0].user, next_absent(&w[0]), now));
	policy_user_free(w[1].user);
	ck_assert(!policy_should_wait(w[0].user, next_absent(&w[0]), now));
	end(w, 1);
}
END_TEST

START_TEST(nobody_waits_for_the_idle_or_the_slow)
{
	struct walker w[2] = { start(1, 300, MS), start(2, 100, _i ? 10 * MS : MS) };

	walk(w, 2, 300 + 12 * N + N / 4);
	if (_i == 0) {
		ck_assert(policy_should_wait(w[0].user, next_absent(&w[0]), now));
		now += 100 * MS; /* not asked again: not held any more */
		policy_user_idle(w[1].user, now);
	}
	ck_assert(!policy_should_wait(w[0].user, next_absent(&w[0]), now));
	end(w, 2);
}
END_TEST

START_TEST(the_wait_is_bounded)
{
	struct walker w[2] = { start(1, 300, MS), start(2, 100, MS) };
	uint64_t began;

	walk(w, 2, 300 + 2 * N);
	began = now;
	/* The other one stands still. */
	while (policy_should_wait(w[0].user, next_absent(&w[0]), now)) {
		now += 2 * MS;
		ck_assert_uint_lt(now - began, 1000 * MS);
	}
	ck_assert_uint_gt(now - began, 200 * MS);
	now += 100 * MS;
	ck_assert(!policy_should_wait(w[0].user, next_absent(&w[0]), now));
	end(w, 2);
}
END_TEST

START_TEST(three_do_not_wait_for_each_other)
{
	struct walker w[3] = { start(1, 0, MS), start(2, N / 3, MS), start(3, 2 * N / 3, MS) };
	int n_held = 0;

	walk(w, 3, 2 * N);
	for (int turn = 0; turn < 3; turn++) {
		n_held = 0;
		for (int i = 0; i < 3; i++)
			n_held += policy_should_wait(w[i].user, next_absent(&w[i]), now);
	}
	ck_assert_int_ge(n_held, 1);
	ck_assert_int_le(n_held, 2);
	end(w, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_convoy");
	TCase *tests = tcase_create("convoy");
	SRunner *runner;
	int n_failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, leader_waits_until_the_other_is_near);
	tcase_add_test(tests, nobody_waits_alone_or_in_the_first_round);
	tcase_add_loop_test(tests, nobody_waits_for_the_idle_or_the_slow, 0, 2);
	tcase_add_test(tests, the_wait_is_bounded);
	tcase_add_test(tests, three_do_not_wait_for_each_other);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
