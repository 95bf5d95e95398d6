// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c daemon/policy_convoy.c daemon/policy_fill.c
#include "daemon/policy.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ULL << 20)
#define MS  1000000ULL

static struct policy *policy;
static uint64_t now;

static void open_policy(uint64_t chunks, enum policy_share share, bool no_spread)
{
	const struct policy_config config = {
		.capacity_bytes = chunks * MIB,
		.share = share,
		.no_spread = no_spread,
		.all_touches = true,
	};

	policy = policy_new(&config);
	ck_assert_ptr_nonnull(policy);
	now = 1000 * MS;
}

static struct policy_object *object(uint32_t n)
{
	struct policy_object *obj = policy_object_new(policy, n, MIB, POLICY_MODEL, NULL);

	ck_assert_ptr_nonnull(obj);
	return obj;
}

static struct policy_user *user(struct policy_object *obj, uint32_t tenant)
{
	struct policy_user *u = policy_user_new(obj, tenant, NULL);

	ck_assert_ptr_nonnull(u);
	return u;
}

/* Loads a chunk that nobody waits for and uses it. */
static void load(struct policy_object *obj, struct policy_user *u, uint32_t chunk)
{
	policy_resident(obj, chunk, true);
	if (u)
		policy_touch(u, chunk, now);
}

static void walk(struct policy_user *u, uint32_t from, uint32_t to)
{
	for (uint32_t c = from; c < to; c++) {
		now += MS;
		policy_touch(u, c, now);
	}
}

/* A session that walks its object once; everything becomes resident. */
static void fill(struct policy_object *obj, struct policy_user *u, uint32_t n)
{
	for (uint32_t c = 0; c < n; c++) {
		now += MS;
		load(obj, u, c);
	}
}

START_TEST(bad_arguments)
{
	const uint32_t twice[] = { 0, 1, 1 }, far[] = { 0, 4 }, good[] = { 2, 0 };
	struct policy_object *obj;
	struct policy_victim v;
	uint32_t out[4];

	open_policy(4, POLICY_SHARE_FAIR, false);
	ck_assert_ptr_null(policy_object_new(policy, 0, MIB, POLICY_MODEL, NULL));
	ck_assert_ptr_null(policy_object_new(policy, 4, 0, POLICY_MODEL, NULL));
	obj = object(4);
	ck_assert_int_eq(policy_object_set_order(obj, twice, 3), -EINVAL);
	ck_assert_int_eq(policy_object_set_order(obj, far, 2), -EINVAL);
	ck_assert_int_eq(policy_object_set_order(obj, good, 0), -EINVAL);
	ck_assert_int_eq(policy_object_set_expert(obj, 4, 0, 0), -EINVAL);
	ck_assert_int_eq(policy_object_set_expert(obj, 0, 4, 0), -EINVAL);
	ck_assert_int_eq(policy_victim(policy, now, obj, 4, NULL, true, &v), -EINVAL);
	ck_assert_int_eq(policy_tenant_info(policy, 7, NULL), -ENOENT);

	/* Out of range is ignored; the order is still the file's. */
	policy_resident(obj, 4, true);
	policy_evictable(obj, 4, false);
	struct policy_user *u = user(obj, 1);
	policy_touch(u, 4, now);
	ck_assert_uint_eq(policy_prefetch(u, now, out, 4), 1);
	ck_assert_uint_eq(out[0], 0);
	ck_assert_int_eq(policy_object_set_order(obj, good, 2), 0);
	ck_assert_uint_eq(policy_prefetch(u, now, out, 4), 1);
	ck_assert_uint_eq(out[0], 2);
	policy_user_free(u);
	policy_object_free(obj);
	policy_object_free(NULL);
	policy_user_free(NULL);
	policy_free(policy);
	policy_free(NULL);
}
END_TEST

START_TEST(the_one_just_used_goes)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;

	open_policy(10, POLICY_SHARE_FAIR, true);
	obj = object(16);
	u = user(obj, 1);
	fill(obj, u, 10);
	/* Of 0..9 chunk 9 is needed last, and 10 in a moment. */
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, true, &v), 0);
	ck_assert_ptr_eq(v.obj, obj);
	ck_assert_uint_eq(v.chunk, 9);
	/* Asked again it answers the same; a pinned one is passed over. */
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, false, &v), 0);
	ck_assert_uint_eq(v.chunk, 9);
	policy_evictable(obj, 9, false);
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 8);
	policy_evictable(obj, 9, true);
	policy_resident(obj, 9, false);
	policy_resident(obj, 8, false);
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 7);
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

START_TEST(guard)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;

	open_policy(2, POLICY_SHARE_FAIR, true);
	obj = object(16);
	u = user(obj, 1);
	fill(obj, u, 3);
	policy_resident(obj, 0, false);
	policy_resident(obj, 2, false);
	policy_resident(obj, 5, true);
	policy_tick(policy, now + 1000 * MS);
	policy_tick(policy, now + 2000 * MS);
	now += MS;
	policy_touch(u, 3, now);
	/* At 3 with 1 and 5 resident: 4 is worth chunk 1, 2 is not. */
	ck_assert_int_eq(policy_victim(policy, now, obj, 4, u, false, &v), 0);
	ck_assert_uint_eq(v.chunk, 1);
	ck_assert_int_eq(policy_victim(policy, now, obj, 2, u, false, &v), -EAGAIN);
	/* Somebody who waits gets it all the same. */
	ck_assert_int_eq(policy_victim(policy, now, obj, 2, u, true, &v), 0);
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Random states: the victim is the one that a search through everything finds. */
START_TEST(farthest_of_all)
{
	unsigned int seed = (unsigned int)_i + 1;
	uint32_t n = 5 + (uint32_t)rand_r(&seed) % 300, at = 0;
	uint8_t resident[305] = { 0 }, pinned[305] = { 0 };
	struct policy_object *obj;
	struct policy_user *u;
	uint32_t order[305];

	open_policy(n, POLICY_SHARE_FAIR, true);
	obj = object(n);
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	ck_assert_int_eq(policy_object_set_order(obj, order, n), 0);
	u = user(obj, 1);
	for (int step = 0; step < 3000; step++) {
		uint32_t c = (uint32_t)rand_r(&seed) % n;
		struct policy_victim v;
		uint64_t farthest = 0;

		switch (rand_r(&seed) % 4) {
		case 0:
			at = (at + 1 + (uint32_t)rand_r(&seed) % 3) % n;
			now += MS / 2 + (uint64_t)rand_r(&seed) % MS;
			policy_touch(u, at, now);
			continue;
		case 1:
			pinned[c] = rand_r(&seed) % 4 == 0;
			policy_evictable(obj, c, !pinned[c]);
			continue;
		case 2:
			resident[c] ^= 1;
			policy_resident(obj, c, resident[c]);
			/* Loaded before its place came, used, and no cursor moved. */
			if (resident[c])
				policy_tick(policy, now += 300 * MS);
			if (resident[c])
				policy_tick(policy, now += 300 * MS);
			continue;
		}
		for (uint32_t i = 0; i < n; i++)
			if (resident[i] && !pinned[i] && policy_next_use(obj, i, now) > farthest)
				farthest = policy_next_use(obj, i, now);
		if (policy_victim(policy, now, obj, at, u, true, &v)) {
			ck_assert_uint_eq(farthest, 0);
			continue;
		}
		ck_assert(resident[v.chunk] && !pinned[v.chunk]);
		ck_assert_uint_eq(policy_next_use(obj, v.chunk, now), farthest);
	}
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

START_TEST(untouched_loads_are_kept)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;

	open_policy(2, POLICY_SHARE_FAIR, false);
	obj = object(64);
	u = user(obj, 1);
	walk(u, 0, 8);
	policy_resident(obj, 8, true);
	policy_resident(obj, 9, true);
	policy_tick(policy, now);
	/* Ahead of need: nothing may go. Who waits takes the one that is farther ahead. */
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, false, &v), -EAGAIN);
	ck_assert_int_eq(policy_victim(policy, now, obj, 12, u, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 9);
	/* Two protection periods later nobody came: they are like any other. */
	policy_tick(policy, now += 300 * MS);
	policy_tick(policy, now += 300 * MS);
	ck_assert_int_eq(policy_victim(policy, now, obj, 10, u, true, &v), 0);
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

START_TEST(waited_loads_are_kept)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *a, *b;

	open_policy(2, POLICY_SHARE_BYTES, false);
	obj = object(64);
	a = user(obj, 1);
	b = user(obj, 2);
	/* a faults on 40 and its thread has not run yet when b wants memory. */
	policy_touch(a, 40, now);
	policy_evictable(obj, 40, false);
	policy_resident(obj, 40, true);
	ck_assert_int_eq(policy_victim(policy, now, obj, 3, b, true, &v), -EAGAIN);
	policy_evictable(obj, 40, true);
	ck_assert_int_eq(policy_victim(policy, now, obj, 3, b, true, &v), -EAGAIN);
	/* Not for ever. */
	policy_tick(policy, now += 300 * MS);
	policy_tick(policy, now += 300 * MS);
	ck_assert_int_eq(policy_victim(policy, now, obj, 3, b, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 40);
	policy_user_free(a);
	policy_user_free(b);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Another session right behind needs what the first has just used. */
START_TEST(followers_are_minded)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *lead, *follow;

	open_policy(100, POLICY_SHARE_FAIR, true);
	obj = object(200);
	lead = user(obj, 1);
	follow = user(obj, 2);
	fill(obj, lead, 100);
	for (uint32_t c = 0; c < 90; c++)
		policy_touch(follow, c, now - (100 - c) * MS);
	ck_assert_int_eq(policy_victim(policy, now, obj, 100, lead, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 89);
	ck_assert_uint_le(policy_next_use(obj, 95, now), now + 10 * MS);
	policy_user_free(follow);
	ck_assert_int_eq(policy_victim(policy, now, obj, 100, lead, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 99);
	policy_user_free(lead);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Both at the same place: the gap behind them is one gap. */
START_TEST(in_step)
{
	bool resident[1200] = { false };
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *a, *b;

	open_policy(1000, POLICY_SHARE_FAIR, false);
	obj = object(1400);
	a = user(obj, 1);
	b = user(obj, 2);
	for (uint32_t c = 0; c < 1200; c++) {
		if (c >= 1000) {
			ck_assert_int_eq(policy_victim(policy, now, obj, c, a, true, &v), 0);
			ck_assert(resident[v.chunk]);
			policy_resident(obj, v.chunk, false);
			resident[v.chunk] = false;
		}
		now += MS;
		load(obj, a, c);
		policy_touch(b, c, now);
		resident[c] = true;
	}
	/* 200 holes over 1200 positions: no block has many more than the mean. */
	for (uint32_t block = 0; block + 64 <= 1200; block += 64) {
		uint32_t holes = 0;

		for (uint32_t c = block; c < block + 64; c++)
			holes += !resident[c];
		ck_assert_uint_le(holes, 25);
	}
	policy_user_free(a);
	policy_user_free(b);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Memory for 600 of 1000: after one round no 64 neighbours miss many more than the mean. */
START_TEST(holes_are_spread)
{
	static uint8_t resident[1000];
	uint32_t n_resident = 0, most = 0, chunk;
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;

	memset(resident, 0, sizeof(resident));
	open_policy(600, POLICY_SHARE_FAIR, false);
	obj = object(1000);
	u = user(obj, 1);
	for (uint32_t i = 0; i < 3000; i++) {
		chunk = i % 1000;
		now += MS;
		if (!resident[chunk]) {
			if (n_resident == 600) {
				ck_assert_int_eq(
					policy_victim(policy, now, obj, chunk, u, true, &v), 0);
				ck_assert_uint_eq(resident[v.chunk], 1);
				policy_resident(obj, v.chunk, false);
				resident[v.chunk] = 0;
				n_resident--;
			}
			policy_resident(obj, chunk, true);
			resident[chunk] = 1;
			n_resident++;
		}
		policy_touch(u, chunk, now);
	}
	for (uint32_t block = 0; block + 64 <= 1000; block += 64) {
		uint32_t holes = 0;

		for (uint32_t c = block; c < block + 64; c++)
			holes += !resident[c];
		if (holes > most)
			most = holes;
	}
	ck_assert_uint_le(most, 29); /* the mean is 25.6 */
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

START_TEST(unordered_chunks_go_first)
{
	const uint32_t order[] = { 0, 1, 2, 3, 4, 5 };
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;
	uint32_t out[8];

	open_policy(6, POLICY_SHARE_FAIR, false);
	obj = object(8);
	u = user(obj, 1);
	ck_assert_int_eq(policy_object_set_order(obj, order, 6), 0);
	load(obj, u, 7);
	fill(obj, u, 4);
	policy_tick(policy, now += 1);
	ck_assert_int_eq(policy_victim(policy, now, obj, 4, u, true, &v), 0);
	ck_assert_uint_eq(v.chunk, 7);
	policy_resident(obj, 7, false);
	/* And is never loaded ahead; what comes is 4. */
	ck_assert_uint_eq(policy_prefetch(u, now, out, 8), 1);
	ck_assert_uint_eq(out[0], 4);
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

START_TEST(often_used_experts_stay)
{
	struct policy_victim v;
	struct policy_object *obj;
	struct policy_user *u;

	open_policy(6, POLICY_SHARE_FAIR, false);
	obj = object(8);
	u = user(obj, 1);
	for (uint32_t c = 4; c < 8; c++)
		ck_assert_int_eq(policy_object_set_expert(obj, c, c, 0), 0);
	for (uint32_t c = 0; c < 8; c++)
		policy_resident(obj, c, true);
	for (int pass = 0; pass < 24; pass++) {
		walk(u, 0, 4);
		/* 4 in every pass, 5 in every second, 6 in every fourth, 7 never. */
		for (uint32_t k = 0; k < 3; k++)
			if (pass % (1 << k) == 0)
				policy_touch(u, 4 + k, now);
		policy_tick(policy, now += 1);
	}
	policy_tick(policy, now + 300 * MS);
	policy_tick(policy, now + 600 * MS);
	walk(u, 0, 1);
	for (uint32_t k = 7; k > 4; k--) {
		ck_assert_int_eq(policy_victim(policy, now, obj, 0, u, true, &v), 0);
		ck_assert_uint_eq(v.chunk, k);
		policy_resident(obj, v.chunk, false);
	}
	policy_user_free(u);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Written buffers cost twice: at equal distance the model's chunk goes. */
START_TEST(buffers_cost_more)
{
	struct policy_object *model, *buffer;
	struct policy_user *a, *b;
	struct policy_victim v;

	open_policy(32, POLICY_SHARE_FAIR, true);
	model = object(16);
	buffer = policy_object_new(policy, 16, MIB, POLICY_BUFFER, NULL);
	a = user(model, 1);
	b = user(buffer, 1);
	for (uint32_t c = 0; c < 16; c++) {
		now += MS;
		load(model, a, c);
		load(buffer, b, c);
	}
	now += MS;
	policy_touch(b, 0, now); /* the buffer's 15 is now a little farther */
	policy_touch(a, 0, now - MS / 2);
	ck_assert_int_eq(policy_victim(policy, now, model, 1, a, true, &v), 0);
	ck_assert_ptr_eq(v.obj, model);
	policy_user_free(a);
	policy_user_free(b);
	policy_object_free(model);
	policy_object_free(buffer);
	policy_free(policy);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct policy_object *obj;
	size_t before;

	open_policy(100, POLICY_SHARE_FAIR, false);
	before = policy_memory(policy);
	obj = object(100000);
	ck_assert_uint_le(policy_memory(policy) - before, 24 * 100000);
	for (uint32_t c = 0; c < 1000; c++)
		ck_assert_int_eq(policy_object_set_expert(obj, c, c, 0), 0);
	ck_assert_uint_le(policy_memory(policy) - before, 24 * 100000);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tcase = tcase_create("victim");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, bad_arguments);
	tcase_add_test(tcase, the_one_just_used_goes);
	tcase_add_test(tcase, guard);
	tcase_add_loop_test(tcase, farthest_of_all, 0, 40);
	tcase_add_test(tcase, untouched_loads_are_kept);
	tcase_add_test(tcase, waited_loads_are_kept);
	tcase_add_test(tcase, followers_are_minded);
	tcase_add_test(tcase, in_step);
	tcase_add_test(tcase, holes_are_spread);
	tcase_add_test(tcase, unordered_chunks_go_first);
	tcase_add_test(tcase, often_used_experts_stay);
	tcase_add_test(tcase, buffers_cost_more);
	tcase_add_test(tcase, memory_is_bounded);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
