// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/policy_fill.c
#include "daemon/policy_fill.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define GIB	 (1ULL << 30)
#define MAX_N	 40
#define N_RANDOM 400

static struct fill_node nodes[MAX_N];
static uint32_t n_nodes;

static uint32_t add(uint32_t parent, uint32_t weight, uint64_t floor, uint64_t need)
{
	nodes[n_nodes] = (struct fill_node){
		.parent = parent,
		.weight = weight,
		.floor = floor,
		.need = need,
	};
	return n_nodes++;
}

static void begin(void)
{
	n_nodes = 0;
}

static void divide(uint64_t amount)
{
	fill_divide(nodes, n_nodes, amount);
}

START_TEST(by_weight)
{
	begin();
	add(FILL_TOP, 100, 0, UINT64_MAX);
	add(FILL_TOP, 300, 0, UINT64_MAX);
	add(FILL_TOP, 100, 0, 10 * GIB);
	divide(90 * GIB);
	ck_assert_uint_eq(nodes[2].quota, 10 * GIB);
	ck_assert_uint_eq(nodes[0].quota, 20 * GIB);
	ck_assert_uint_eq(nodes[1].quota, 60 * GIB);
}
END_TEST

/* Ten sessions of one user get together what one session of another gets. */
START_TEST(two_levels)
{
	uint32_t many, one;

	begin();
	many = add(FILL_TOP, 100, 0, UINT64_MAX);
	one = add(FILL_TOP, 100, 0, UINT64_MAX);
	for (uint32_t i = 0; i < 10; i++)
		add(many, 100, 0, 8 * GIB);
	add(one, 100, 0, 8 * GIB);
	divide(10 * GIB);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_uint_eq(nodes[2 + i].quota, GIB / 2);
	ck_assert_uint_eq(nodes[12].quota, 5 * GIB);
	/* What one does not need goes to the ten. */
	nodes[12].need = GIB;
	divide(11 * GIB);
	ck_assert_uint_eq(nodes[12].quota, GIB);
	ck_assert_uint_eq(nodes[2].quota, GIB);
	ck_assert_uint_eq(nodes[11].quota, GIB);
	/* A cap binds all below it. */
	nodes[many].need = 5 * GIB;
	nodes[12].need = 100 * GIB;
	divide(20 * GIB);
	ck_assert_uint_eq(nodes[many].quota, 5 * GIB);
	ck_assert_uint_eq(nodes[7].quota, GIB / 2);
	ck_assert_uint_eq(nodes[12].quota, 15 * GIB);
	/* So does a floor lift them. */
	nodes[many].need = UINT64_MAX;
	nodes[many].floor = 15 * GIB;
	divide(20 * GIB);
	ck_assert_uint_eq(nodes[7].quota, 15 * GIB / 10);
	ck_assert_uint_eq(nodes[12].quota, 5 * GIB);
}
END_TEST

START_TEST(floors)
{
	begin();
	add(FILL_TOP, 1, 6, 10);
	add(FILL_TOP, 1, 0, 10);
	add(FILL_TOP, 1, 0, 10);
	divide(9);
	ck_assert_uint_eq(nodes[0].quota, 6);
	ck_assert_uint_eq(nodes[1].quota + nodes[2].quota, 3);
	/* Nobody is lifted above what it needs. */
	nodes[0].floor = 100;
	divide(30);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(nodes[i].quota, 10);
	/* More is promised than there is. */
	nodes[0].floor = 9;
	nodes[1].floor = 3;
	divide(8);
	ck_assert_uint_eq(nodes[0].quota, 6);
	ck_assert_uint_eq(nodes[1].quota, 2);
	ck_assert_uint_eq(nodes[2].quota, 0);
	/* Without weight there is nothing but the floor. */
	nodes[0].weight = 0;
	nodes[0].floor = 4;
	nodes[1].floor = 0;
	divide(30);
	ck_assert_uint_eq(nodes[0].quota, 4);
	ck_assert_uint_eq(nodes[1].quota, 10);
}
END_TEST

START_TEST(odd_numbers)
{
	begin();
	fill_divide(nodes, 0, 100);
	add(FILL_TOP, 0, 0, 0);
	add(FILL_TOP, 10000, UINT64_MAX, UINT64_MAX);
	add(FILL_TOP, 1, UINT64_MAX, UINT64_MAX);
	divide(0);
	ck_assert_uint_eq(nodes[1].quota, 0);
	divide(1ULL << 50);
	ck_assert_uint_eq(nodes[0].quota, 0);
	ck_assert_uint_eq(nodes[1].quota + nodes[2].quota, 1ULL << 50);
	nodes[1].floor = nodes[2].floor = 0;
	divide(1ULL << 55);
	ck_assert_uint_eq(nodes[1].quota + nodes[2].quota, 1ULL << 55);
	ck_assert_uint_gt(nodes[1].quota / nodes[2].quota, 9000);
}
END_TEST

/* ---- against one that is slow and plainly right ------------------------------------ */

struct slow {
	uint64_t low, high;
};
static struct slow slow[MAX_N];

/* Byte after byte to the child that has least for its weight and can take one. */
static void pour(uint32_t parent, uint64_t amount, uint64_t *quota)
{
	uint64_t lows = 0;

	for (uint32_t i = 0; i < n_nodes; i++)
		if (nodes[i].parent == parent)
			lows += quota[i] = slow[i].low;
	if (lows > amount) {
		for (uint32_t i = 0; i < n_nodes; i++)
			if (nodes[i].parent == parent)
				quota[i] = slow[i].low * amount / lows;
		return;
	}
	for (amount -= lows; amount; amount--) {
		uint32_t best = FILL_TOP;

		for (uint32_t i = 0; i < n_nodes; i++)
			if (nodes[i].parent == parent && nodes[i].weight &&
			    quota[i] < slow[i].high &&
			    (best == FILL_TOP ||
			     quota[i] * nodes[best].weight < quota[best] * nodes[i].weight))
				best = i;
		if (best == FILL_TOP)
			return;
		quota[best]++;
	}
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void pour_all(uint64_t amount, uint64_t *quota)
{
	for (uint32_t i = n_nodes; i-- > 0;) {
		uint64_t low = 0, high = 0;
		bool leaf = true;

		for (uint32_t k = 0; k < n_nodes; k++) {
			if (nodes[k].parent != i)
				continue;
			leaf = false;
			low += slow[k].low;
			high += slow[k].high;
		}
		slow[i].high = leaf ? nodes[i].need : least(nodes[i].need, high);
		slow[i].low = least(nodes[i].floor > low ? nodes[i].floor : low, slow[i].high);
	}
	pour(FILL_TOP, amount, quota);
	for (uint32_t i = 0; i < n_nodes; i++)
		pour(i, quota[i], quota);
}

static unsigned int seed;

static uint32_t draw(uint32_t n)
{
	return (uint32_t)rand_r(&seed) % n;
}

static void random_tree(void)
{
	uint32_t n = 1 + draw(MAX_N - 1);

	begin();
	for (uint32_t i = 0; i < n; i++)
		add(i == 0 || draw(3) == 0 ? FILL_TOP : draw(i),
		    draw(6) ? (uint32_t[]){ 100, 100, 1, 300, 10000, 7 }[draw(6)] : draw(3),
		    draw(3) ? 0 : draw(600), draw(4) ? draw(2000) : 1000000);
}

static uint64_t leaves(const uint64_t *quota)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n_nodes; i++) {
		bool leaf = true;

		for (uint32_t k = 0; k < n_nodes; k++)
			leaf &= nodes[k].parent != i;
		if (leaf)
			sum += quota[i];
	}
	return sum;
}

START_TEST(as_poured)
{
	for (int round = 0; round < N_RANDOM; round++) {
		uint64_t expect[MAX_N] = { 0 }, got[MAX_N], amount;

		seed = (unsigned int)(_i * N_RANDOM + round + 1);
		random_tree();
		amount = draw(8000);
		divide(amount);
		pour_all(amount, expect);
		for (uint32_t i = 0; i < n_nodes; i++) {
			uint64_t far = nodes[i].quota > expect[i] ? nodes[i].quota - expect[i] :
								    expect[i] - nodes[i].quota;

			got[i] = nodes[i].quota;
			/* A byte of rounding for each sibling and each level above; a step of the largest weight. */
			ck_assert_msg(far <= n_nodes + 10000 / 256 + 1,
				      "seed %u, node %u: %llu, not %llu", seed, i,
				      (unsigned long long)got[i], (unsigned long long)expect[i]);
			ck_assert_uint_le(got[i], nodes[i].need);
		}
		ck_assert_uint_le(leaves(got), amount);
	}
}
END_TEST

/* Where all weights are usual ones and nothing holds them back, nothing is left. */
START_TEST(all_is_given)
{
	for (int round = 0; round < N_RANDOM; round++) {
		uint64_t got[MAX_N], need = 0, amount = draw(1u << 30) + 1;
		uint32_t parties;

		seed = (unsigned int)round + 17;
		begin();
		parties = 1 + draw(6);
		for (uint32_t i = 0; i < parties; i++)
			add(FILL_TOP, 1 + draw(10000), 0, UINT64_MAX);
		for (uint32_t i = 0; i < 30; i++) {
			uint64_t floor = draw(4) ? 0 : draw(1u << 24), bytes = draw(1u << 30);

			need += bytes;
			add(draw(parties), 1 + draw(10000), floor, bytes);
		}
		divide(amount);
		for (uint32_t i = 0; i < n_nodes; i++)
			got[i] = i < parties && nodes[i].child == FILL_TOP ? 0 : nodes[i].quota;
		/* A party without sessions takes what it likes: none of them in the sum. */
		for (uint32_t i = 0; i < parties; i++)
			if (nodes[i].child == FILL_TOP)
				amount -= nodes[i].quota;
		ck_assert_uint_eq(leaves(got), amount < need ? amount : need);
	}
}
END_TEST

/* More to divide is less for nobody; more weight is not less for who has it. */
START_TEST(monotonic)
{
	for (int round = 0; round < N_RANDOM; round++) {
		uint64_t before[MAX_N], amount;
		uint32_t who;

		seed = (unsigned int)round + 1000;
		random_tree();
		for (uint32_t i = 0; i < n_nodes; i++) {
			nodes[i].need *= 1 << 20;
			nodes[i].floor *= 1 << 20;
		}
		amount = (uint64_t)draw(8000) << 20;
		divide(amount);
		for (uint32_t i = 0; i < n_nodes; i++)
			before[i] = nodes[i].quota;
		divide(amount + (100 << 20));
		for (uint32_t i = 0; i < n_nodes; i++)
			ck_assert_uint_ge(nodes[i].quota + 4096, before[i]);
		who = draw(n_nodes);
		if (!nodes[who].weight)
			continue;
		nodes[who].weight = nodes[who].weight * 2 > 10000 ? 10000 : nodes[who].weight * 2;
		divide(amount);
		ck_assert_uint_ge(nodes[who].quota + 4096, before[who]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_fill");
	TCase *tcase = tcase_create("fill");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, by_weight);
	tcase_add_test(tcase, two_levels);
	tcase_add_test(tcase, floors);
	tcase_add_test(tcase, odd_numbers);
	tcase_add_loop_test(tcase, as_poured, 0, 4);
	tcase_add_test(tcase, all_is_given);
	tcase_add_test(tcase, monotonic);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
