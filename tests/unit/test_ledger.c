// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger's rules one by one.
 *
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "kmod/ledger.h"

#define G (1ull << 30)

static struct ledger *l;
static struct ledger_group *al, *bo;	  /* users */
static struct ledger_group *cg_a, *cg_ab; /* cgroups /a and /a/b */
static struct ledger_group *exe;
static struct ledger_group *s1, *s2, *s3; /* al in /a/b with exe; al in /a; bo alone */

static struct ledger_group *session(struct ledger_group *user, struct ledger_group *cgroup,
				    struct ledger_group *program)
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { user, cgroup, program }, *s;

	ck_assert_int_eq(ledger_session_new(l, chain, &s), 0);
	return s;
}

static void setup(void)
{
	const u64 capacity[LEDGER_N_TIERS] = { 24 * G, 64 * G, 1024 * G };
	u32 dev;

	l = ledger_new();
	ck_assert_ptr_nonnull(l);
	ck_assert_int_eq(ledger_device_add(l, capacity, &dev), 0);
	ck_assert_uint_eq(dev, 0);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_USER, 1000, NULL, &al), 0);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_USER, 1001, NULL, &bo), 0);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_CGROUP, 1, NULL, &cg_a), 0);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_CGROUP, 2, cg_a, &cg_ab), 0);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_EXE, 1, NULL, &exe), 0);
	s1 = session(al, cg_ab, exe);
	s2 = session(al, cg_a, NULL);
	s3 = session(bo, NULL, NULL);
}

static void teardown(void)
{
	ledger_free(l);
}

static struct ledger_usage look(const struct ledger_group *g, u32 tier)
{
	struct ledger_usage u;

	ck_assert_int_eq(ledger_read(l, g, 0, tier, &u), 0);
	return u;
}

static u64 used(const struct ledger_group *g)
{
	return look(g, LEDGER_VRAM).usage;
}

static void set(struct ledger_group *g, u32 key, u64 value)
{
	ck_assert_int_eq(ledger_limit_set(l, g, 0, LEDGER_VRAM, key, value), 0);
}

static void charge(struct ledger_group *s, u64 bytes)
{
	ck_assert_int_eq(ledger_try_charge(l, s, 0, LEDGER_VRAM, bytes, NULL), 0);
}

START_TEST(test_charge_counts_everywhere_once)
{
	charge(s1, 3 * G);
	charge(s2, 2 * G);
	charge(s3, 1 * G);
	ck_assert_uint_eq(used(s1), 3 * G);
	ck_assert_uint_eq(used(al), 5 * G);
	ck_assert_uint_eq(used(bo), 1 * G);
	ck_assert_uint_eq(used(cg_ab), 3 * G);
	ck_assert_uint_eq(used(cg_a), 5 * G);
	ck_assert_uint_eq(used(exe), 3 * G);
	ck_assert_uint_eq(used(&l->root), 6 * G);
	ck_assert_uint_eq(look(s1, LEDGER_HOST).usage, 0);

	ck_assert_int_eq(ledger_uncharge(l, s1, 0, LEDGER_VRAM, G), 0);
	ck_assert_uint_eq(used(exe), 2 * G);
	ck_assert_uint_eq(look(exe, LEDGER_VRAM).peak, 3 * G);
}
END_TEST

START_TEST(test_refusal_names_the_nearest)
{
	struct ledger_group *limit = NULL;

	set(al, LEDGER_MAX, 4 * G);
	set(cg_a, LEDGER_MAX, 3 * G);
	charge(s2, 2 * G);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, 3 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, al);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, 2 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, cg_a);
	set(s1, LEDGER_MAX, G);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, 2 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, s1);
	/* Nothing changed but the counts of refusals. */
	ck_assert_uint_eq(used(s1), 0);
	ck_assert_uint_eq(used(al), 2 * G);
	ck_assert_uint_eq(used(&l->root), 2 * G);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).peak, 2 * G);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).refused, 1);
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).refused, 0);
	/* Exactly max is fine. */
	charge(s1, G);
	ck_assert_uint_eq(used(cg_a), 3 * G);
}
END_TEST

START_TEST(test_capacity_is_the_roots_max)
{
	struct ledger_group *limit = NULL;

	charge(s3, 20 * G);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, 5 * G, &limit), -ENOSPC);
	ck_assert_ptr_eq(limit, &l->root);
	ck_assert_uint_eq(used(s1), 0);
	charge(s1, 4 * G);
	ck_assert_uint_eq(look(&l->root, LEDGER_VRAM).limit[LEDGER_MAX], 24 * G);
	ck_assert_int_eq(ledger_limit_set(l, &l->root, 0, 0, LEDGER_MAX, G), -EINVAL);
}
END_TEST

START_TEST(test_absurd_numbers)
{
	struct ledger_group *limit = NULL;
	u32 share;

	charge(s1, G);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, VRAM_U64_MAX, &limit), -ENOSPC);
	ck_assert_ptr_eq(limit, &l->root);
	set(s1, LEDGER_MAX, 2 * G);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_VRAM, VRAM_U64_MAX - G, &limit),
			 -EDQUOT);
	ck_assert_int_eq(ledger_device_resize(l, 0, LEDGER_VRAM, LEDGER_UNLIMITED), 0);
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_VRAM, VRAM_U64_MAX, &limit), -ENOSPC);
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_VRAM, VRAM_U64_MAX - G, &limit), 0);
	ck_assert_uint_eq(used(&l->root), VRAM_U64_MAX);
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_VRAM, 1, &limit), -ENOSPC);
	ck_assert_int_eq(ledger_uncharge(l, s3, 0, LEDGER_VRAM, VRAM_U64_MAX), -EINVAL);
	ck_assert_int_eq(ledger_uncharge(l, s3, 0, LEDGER_VRAM, VRAM_U64_MAX - G), 0);

	ck_assert_int_eq(ledger_share_new(l, 0, &share), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, G, NULL), 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, VRAM_U64_MAX, &limit), -ENOSPC);
	ck_assert_int_eq(ledger_share_uncharge(l, share, LEDGER_VRAM, G + 1), -EINVAL);
	ck_assert_uint_eq(used(s1), 2 * G);
}
END_TEST

START_TEST(test_rejected_arguments)
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { cg_a, NULL, NULL }, *g = NULL;
	u64 emin = 7, elow = 7;
	u32 share = 77;

	ck_assert_int_eq(ledger_try_charge(l, s1, 1, LEDGER_VRAM, 1, NULL), -ENOENT);
	ck_assert_int_eq(ledger_try_charge(l, s1, 0, LEDGER_N_TIERS, 1, NULL), -EINVAL);
	ck_assert_int_eq(ledger_try_charge(l, al, 0, LEDGER_VRAM, 1, NULL), -EINVAL);
	ck_assert_int_eq(ledger_uncharge(l, s1, 0, LEDGER_VRAM, 1), -EINVAL);
	ck_assert_int_eq(ledger_transfer(l, s1, 0, LEDGER_VRAM, LEDGER_HOST, 1, NULL), -EINVAL);
	ck_assert_int_eq(ledger_transfer(l, s1, 0, LEDGER_VRAM, LEDGER_N_TIERS, 0, NULL), -EINVAL);
	ck_assert_int_eq(ledger_give(l, s1, al, 0, LEDGER_VRAM, 0, NULL), -EINVAL);
	ck_assert_int_eq(ledger_give(l, s1, s2, 0, LEDGER_VRAM, 1, NULL), -EINVAL);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_USER, 1000, NULL, &g), -EEXIST);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_SESSION, 9, NULL, &g), -EINVAL);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_ROOT, 9, NULL, &g), -EINVAL);
	ck_assert_int_eq(ledger_group_new(l, LEDGER_USER, 9, cg_a, &g), -EINVAL);
	ck_assert_int_eq(ledger_group_free(l, cg_a), -EBUSY);
	ck_assert_int_eq(ledger_group_free(l, s1), -EINVAL);
	ck_assert_int_eq(ledger_group_free(l, &l->root), -EINVAL);
	ck_assert_int_eq(ledger_session_new(l, chain, &g), -EINVAL);
	ck_assert_int_eq(ledger_share_new(l, 1, &share), -ENOENT);
	ck_assert_int_eq(ledger_share_join(l, 0, s1, false, NULL), -ENOENT);
	ck_assert_int_eq(ledger_limit_set(l, al, 0, 0, LEDGER_N_KEYS, 1), -EINVAL);
	ck_assert_int_eq(ledger_limit_set(l, al, 1, 0, LEDGER_MAX, 1), -ENOENT);
	ck_assert_int_eq(ledger_limit_set(l, al, 0, 3, LEDGER_MAX, 1), -EINVAL);
	ck_assert_int_eq(ledger_limit_set(l, al, 0, 0, LEDGER_WEIGHT, 0), -ERANGE);
	ck_assert_int_eq(ledger_limit_set(l, al, 0, 0, LEDGER_WEIGHT, 10001), -ERANGE);
	ck_assert_int_eq(ledger_protection(l, al, 3, 0, &emin, &elow), -ENOENT);
	ck_assert_int_eq(ledger_over(l, 0, 3, NULL, 0), -EINVAL);
	ck_assert_ptr_null(g);
	ck_assert_uint_eq(share, 77);
	ck_assert_uint_eq(emin, 7);
	ck_assert_uint_eq(l->n_groups, 9);
	ck_assert_uint_eq(used(&l->root), 0);
}
END_TEST

START_TEST(test_transfer_is_all_or_nothing)
{
	struct ledger_group *limit = NULL;

	charge(s1, 3 * G);
	ck_assert_int_eq(ledger_limit_set(l, exe, 0, LEDGER_HOST, LEDGER_MAX, G), 0);
	ck_assert_int_eq(ledger_transfer(l, s1, 0, LEDGER_VRAM, LEDGER_HOST, 2 * G, &limit),
			 -EDQUOT);
	ck_assert_ptr_eq(limit, exe);
	ck_assert_uint_eq(used(s1), 3 * G);
	ck_assert_uint_eq(look(s1, LEDGER_HOST).usage, 0);
	ck_assert_int_eq(ledger_transfer(l, s1, 0, LEDGER_VRAM, LEDGER_HOST, G, &limit), 0);
	ck_assert_uint_eq(used(&l->root), 2 * G);
	ck_assert_uint_eq(look(&l->root, LEDGER_HOST).usage, G);
	ck_assert_int_eq(ledger_transfer(l, s1, 0, LEDGER_VRAM, LEDGER_VRAM, 2 * G, &limit), 0);
	ck_assert_uint_eq(used(s1), 2 * G);
}
END_TEST

START_TEST(test_give_asks_only_who_gains)
{
	struct ledger_group *limit = NULL;

	charge(s1, 3 * G);
	/* All of al's, and full: moving within al must pass. */
	set(al, LEDGER_MAX, 3 * G);
	ck_assert_int_eq(ledger_device_resize(l, 0, LEDGER_VRAM, 3 * G), 0);
	ck_assert_int_eq(ledger_give(l, s1, s2, 0, LEDGER_VRAM, 2 * G, &limit), 0);
	ck_assert_uint_eq(used(s2), 2 * G);
	ck_assert_uint_eq(used(cg_ab), G);
	ck_assert_uint_eq(used(cg_a), 3 * G);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).peak, 3 * G);
	set(bo, LEDGER_MAX, G);
	ck_assert_int_eq(ledger_give(l, s2, s3, 0, LEDGER_VRAM, 2 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, bo);
	ck_assert_uint_eq(used(s2), 2 * G);
	ck_assert_uint_eq(used(s3), 0);
	ck_assert_int_eq(ledger_give(l, s2, s2, 0, LEDGER_VRAM, 2 * G, &limit), 0);
	ck_assert_uint_eq(used(s2), 2 * G);
	/* What was given counts as own. */
	ck_assert_int_eq(ledger_uncharge(l, s2, 0, LEDGER_VRAM, 2 * G), 0);
}
END_TEST

START_TEST(test_share_is_split_to_the_byte)
{
	u32 share;

	ck_assert_int_eq(ledger_share_new(l, 0, &share), 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 11, NULL), 0);
	/* Nobody's yet. */
	ck_assert_uint_eq(used(&l->root), 11);
	ck_assert_uint_eq(used(al), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), 0);
	ck_assert_uint_eq(used(s1), 11);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), -EEXIST);
	ck_assert_int_eq(ledger_share_join(l, share, s2, false, NULL), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s3, false, NULL), 0);
	ck_assert_uint_eq(used(s1), 4);
	ck_assert_uint_eq(used(s2), 4);
	ck_assert_uint_eq(used(s3), 3);
	ck_assert_uint_eq(used(al), 8);
	ck_assert_uint_eq(used(&l->root), 11);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).own, 0);
	/* A part is not the session's own to give back. */
	ck_assert_int_eq(ledger_uncharge(l, s1, 0, LEDGER_VRAM, 1), -EINVAL);

	ck_assert_int_eq(ledger_share_leave(l, share, s1), 0);
	ck_assert_uint_eq(used(s1), 0);
	ck_assert_uint_eq(used(s2), 6);
	ck_assert_uint_eq(used(s3), 5);
	ck_assert_int_eq(ledger_share_leave(l, share, s1), -ENOENT);
	ck_assert_int_eq(ledger_share_free(l, share), -EBUSY);
	ledger_session_free(l, s2);
	ledger_session_free(l, s3);
	ck_assert_uint_eq(used(&l->root), 11);
	ck_assert_int_eq(ledger_share_free(l, share), -EBUSY);
	ck_assert_int_eq(ledger_share_uncharge(l, share, LEDGER_VRAM, 11), 0);
	ck_assert_int_eq(ledger_share_free(l, share), 0);
	ck_assert_int_eq(ledger_share_free(l, share), -ENOENT);
	ck_assert_uint_eq(used(&l->root), 0);
}
END_TEST

START_TEST(test_part_adds_up)
{
	const u64 bytes[] = { 0, 1, 2, 16, 17, 4097, VRAM_U64_MAX };
	u32 i, n, k;

	for (i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		for (n = 1; n < 20; n++) {
			u64 sum = 0, first = ledger_share_part(bytes[i], n, 0);

			for (k = 0; k < n; k++) {
				u64 part = ledger_share_part(bytes[i], n, k);

				ck_assert(first - part <= 1);
				sum += part;
			}
			ck_assert_uint_eq(sum, bytes[i]);
			ck_assert_uint_eq(ledger_share_part(bytes[i], n, n), 0);
		}
	}
}
END_TEST

START_TEST(test_share_charge_is_judged_by_the_sum)
{
	struct ledger_group *limit = NULL;
	u32 share;

	ck_assert_int_eq(ledger_share_new(l, 0, &share), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s2, false, NULL), 0);
	/* Each part alone would fit below al. */
	set(al, LEDGER_MAX, 3 * G);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 4 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, al);
	ck_assert_uint_eq(used(&l->root), 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).peak, 0);
	/* The second member refuses: the first is not charged either. */
	set(s2, LEDGER_MAX, G);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 3 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, s2);
	ck_assert_uint_eq(used(s1), 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).peak, 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 2 * G, &limit), 0);
	ck_assert_uint_eq(used(al), 2 * G);
	ck_assert_int_eq(ledger_share_transfer(l, share, LEDGER_VRAM, LEDGER_HOST, G, &limit), 0);
	ck_assert_uint_eq(look(s1, LEDGER_HOST).usage, G / 2);
	ck_assert_uint_eq(used(s1), G / 2);
	ck_assert_int_eq(ledger_share_transfer(l, share, LEDGER_VRAM, LEDGER_HOST, 2 * G, &limit),
			 -EINVAL);
}
END_TEST

START_TEST(test_join_refused_and_forced)
{
	struct ledger_group *limit = NULL;
	struct ledger_over over[4];
	u32 share;

	ck_assert_int_eq(ledger_share_new(l, 0, &share), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 4 * G, NULL), 0);
	set(bo, LEDGER_MAX, G);
	ck_assert_int_eq(ledger_share_join(l, share, s3, false, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, bo);
	ck_assert_uint_eq(used(s1), 4 * G);
	ck_assert_uint_eq(used(s3), 0);
	ck_assert_int_eq(ledger_share_leave(l, share, s3), -ENOENT);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 4), 0);

	ck_assert_int_eq(ledger_share_join(l, share, s3, true, &limit), 0);
	ck_assert_uint_eq(used(s3), 2 * G);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 4), 1);
	ck_assert_ptr_eq(over[0].group, bo);
	ck_assert_uint_eq(over[0].over_max, G);
	/* Above max: what raises is refused, what lowers passes. */
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_VRAM, 1, &limit), -EDQUOT);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 2, &limit), -EDQUOT);
	ck_assert_int_eq(ledger_share_uncharge(l, share, LEDGER_VRAM, 2 * G), 0);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 4), 0);
	/* An empty charge is no raise. */
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_VRAM, 0, &limit), 0);
}
END_TEST

START_TEST(test_lowered_limits_are_reported)
{
	struct ledger_over over[8];

	charge(s1, 4 * G);
	charge(s3, 2 * G);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 8), 0);
	set(al, LEDGER_MAX, 3 * G);
	set(s3, LEDGER_HIGH, G);
	ck_assert_int_eq(ledger_device_resize(l, 0, LEDGER_VRAM, 5 * G), 0);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 8), 3);
	ck_assert_ptr_eq(over[0].group, &l->root);
	ck_assert_uint_eq(over[0].over_max, G);
	ck_assert_ptr_eq(over[1].group, al);
	ck_assert_uint_eq(over[1].over_max, G);
	ck_assert_uint_eq(over[1].over_high, 0);
	ck_assert_ptr_eq(over[2].group, s3);
	ck_assert_uint_eq(over[2].over_high, G);
	/* Counted beyond the room that was given. */
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 1), 3);
	ck_assert_uint_eq(used(s1), 4 * G);
	ck_assert_int_eq(ledger_uncharge(l, s1, 0, LEDGER_VRAM, G), 0);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 8), 1);
	/* A group that goes takes its overage with it. */
	ledger_session_free(l, s3);
	ck_assert_int_eq(ledger_over(l, 0, LEDGER_VRAM, over, 8), 0);
	ck_assert_int_eq(ledger_limit_clear(l, al, 0, LEDGER_VRAM, LEDGER_MAX), 0);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).limit[LEDGER_MAX], LEDGER_UNLIMITED);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).set, 0);
}
END_TEST

START_TEST(test_session_end_returns_everything)
{
	struct ledger_group *g;
	u32 share[3], i, t;

	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(ledger_share_new(l, 0, &share[i]), 0);
		ck_assert_int_eq(ledger_share_join(l, share[i], s1, false, NULL), 0);
		ck_assert_int_eq(ledger_share_charge(l, share[i], i, G + i, NULL), 0);
	}
	ck_assert_int_eq(ledger_share_join(l, share[1], s3, false, NULL), 0);
	for (t = 0; t < LEDGER_N_TIERS; t++)
		ck_assert_int_eq(ledger_try_charge(l, s1, 0, t, 7, NULL), 0);
	ledger_session_free(l, s1);
	ck_assert_ptr_null(ledger_find(l, LEDGER_SESSION, 1));
	for (g = ledger_next(l, NULL); g; g = ledger_next(l, g))
		for (t = 0; t < LEDGER_N_TIERS && (g == al || g == cg_ab || g == exe); t++)
			ck_assert_uint_eq(look(g, t).usage, 0);
	ck_assert_uint_eq(look(s3, LEDGER_HOST).usage, G + 1);
	ck_assert_uint_eq(used(&l->root), G);
	ck_assert_uint_eq(ledger_share_get(l, share[0])->n_members, 0);
	ck_assert_uint_eq(ledger_share_get(l, share[1])->n_members, 1);
	ck_assert_uint_eq(al->n_sessions, 1);
	ck_assert_uint_eq(cg_ab->n_sessions, 0);
	ck_assert_uint_eq(cg_a->n_sessions, 1);
	ck_assert_int_eq(ledger_group_free(l, cg_ab), 0);
	ck_assert_int_eq(ledger_group_free(l, cg_a), -EBUSY);
	/* Ids are not used again. */
	ck_assert_uint_eq(session(al, NULL, NULL)->key, 4);
}
END_TEST

START_TEST(test_membership)
{
	ck_assert(ledger_is_below(l, s1, al));
	ck_assert(ledger_is_below(l, s1, cg_a));
	ck_assert(ledger_is_below(l, s1, exe));
	ck_assert(ledger_is_below(l, s1, s1));
	ck_assert(ledger_is_below(l, s1, &l->root));
	ck_assert(!ledger_is_below(l, s1, bo));
	ck_assert(!ledger_is_below(l, s1, s2));
	ck_assert(!ledger_is_below(l, s2, cg_ab));
	ck_assert(!ledger_is_below(l, s3, cg_a));
	ck_assert_ptr_eq(ledger_find(l, LEDGER_CGROUP, 2), cg_ab);
	ck_assert_ptr_null(ledger_find(l, LEDGER_EXE, 2));
}
END_TEST

START_TEST(test_cgroups_nest_so_deep)
{
	struct ledger_group *g = cg_ab, *next;
	u32 i;

	for (i = 2; i < LEDGER_MAX_DEPTH; i++) {
		ck_assert_int_eq(ledger_group_new(l, LEDGER_CGROUP, 100 + i, g, &next), 0);
		g = next;
	}
	next = NULL;
	ck_assert_int_eq(ledger_group_new(l, LEDGER_CGROUP, 999, g, &next), -E2BIG);
	ck_assert_ptr_null(next);
	charge(session(NULL, g, NULL), G);
	ck_assert_uint_eq(used(cg_a), G);
	set(g, LEDGER_MIN, G);
	ck_assert_uint_eq(look(g, LEDGER_VRAM).emin, G);
}
END_TEST

START_TEST(test_devices_and_shared_tiers)
{
	const u64 second[LEDGER_N_TIERS] = { 8 * G, LEDGER_SHARED, 100 * G };
	const u64 wrong[LEDGER_N_TIERS] = { LEDGER_SHARED, G, G };
	struct ledger_group *limit = NULL;
	struct ledger_usage u;
	u32 dev, i, share;

	ck_assert_int_eq(ledger_device_add(l, second, &dev), 0);
	ck_assert_uint_eq(dev, 1);
	ck_assert_int_eq(ledger_try_charge(l, s1, 1, LEDGER_VRAM, 2 * G, NULL), 0);
	ck_assert_uint_eq(used(s1), 0);
	ck_assert_int_eq(ledger_read(l, s1, 1, LEDGER_VRAM, &u), 0);
	ck_assert_uint_eq(u.usage, 2 * G);
	/* One host RAM: charges of both count, and its limit is one. */
	ck_assert_int_eq(ledger_try_charge(l, s1, 1, LEDGER_HOST, 40 * G, NULL), 0);
	ck_assert_uint_eq(look(al, LEDGER_HOST).usage, 40 * G);
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_HOST, 40 * G, &limit), -ENOSPC);
	ck_assert_int_eq(ledger_limit_set(l, bo, 1, LEDGER_HOST, LEDGER_MAX, G), 0);
	ck_assert_int_eq(ledger_try_charge(l, s3, 0, LEDGER_HOST, 2 * G, &limit), -EDQUOT);
	ck_assert_ptr_eq(limit, bo);
	ck_assert_int_eq(ledger_share_new(l, 1, &share), 0);
	ck_assert_int_eq(ledger_share_join(l, share, s1, false, NULL), 0);
	ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_HOST, G, NULL), 0);
	ck_assert_uint_eq(look(&l->root, LEDGER_HOST).usage, 41 * G);
	ck_assert_uint_eq(ledger_share_get(l, share)->dev, 1);
	ledger_session_free(l, s1);
	ck_assert_uint_eq(look(&l->root, LEDGER_HOST).usage, G);

	for (i = 2; i < LEDGER_MAX_DEVICES; i++)
		ck_assert_int_eq(ledger_device_add(l, second, &dev), 0);
	dev = 99;
	ck_assert_int_eq(ledger_device_add(l, second, &dev), -ENOSPC);
	ck_assert_uint_eq(dev, 99);
	ledger_free(l);
	l = ledger_new();
	ck_assert_int_eq(ledger_device_add(l, wrong, &dev), -EINVAL);
	ck_assert_uint_eq(l->n_devices, 0);
}
END_TEST

/* ---- protection: the examples of the kernel's documentation, and ours ---------- */

START_TEST(test_min_is_bounded_by_the_parent)
{
	/* /a has 4G to give; /a/b claims 6G and has 5G, s2 beside it claims 3G and uses 3G. */
	charge(s1, 5 * G);
	charge(s2, 3 * G);
	set(cg_a, LEDGER_MIN, 4 * G);
	set(cg_ab, LEDGER_MIN, 6 * G);
	set(s2, LEDGER_MIN, 3 * G);
	ck_assert_uint_eq(look(cg_a, LEDGER_VRAM).emin, 4 * G);
	/* In proportion to the claims: 4G * 5/8 and 4G * 3/8. */
	ck_assert_uint_eq(look(cg_ab, LEDGER_VRAM).emin, 4 * G * 5 / 8);
	/* By its user, who set nothing, all of s2's claim holds. */
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).emin, 3 * G);
	set(al, LEDGER_MIN, 0);
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).emin, 4 * G * 3 / 8);
}
END_TEST

START_TEST(test_unclaimed_protection_follows_use)
{
	/* al is given 6G; nobody below claims any: in proportion to use. */
	charge(s1, 6 * G);
	charge(s2, 2 * G);
	set(al, LEDGER_LOW, 6 * G);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).elow, 6 * G * 6 / 8);
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).elow, 6 * G * 2 / 8);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, 0);
	/* s2 claims 2G; of the other 4G only s1 has unprotected use. */
	set(s2, LEDGER_LOW, 2 * G);
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).elow, 2 * G);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).elow, 4 * G);
}
END_TEST

START_TEST(test_claims_are_capped_by_use)
{
	set(al, LEDGER_MIN, 10 * G);
	charge(s1, G);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).emin, G);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, G);
	ck_assert_int_eq(ledger_uncharge(l, s1, 0, LEDGER_VRAM, G), 0);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).emin, 0);
}
END_TEST

START_TEST(test_unset_groups_pass_claims_on)
{
	charge(s1, 4 * G);
	set(s1, LEDGER_MIN, 3 * G);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, 3 * G);
	/* Set to 0 is not unset. */
	set(al, LEDGER_MIN, 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, 3 * G); /* by its cgroup and its program */
	set(exe, LEDGER_MIN, 0);
	set(cg_a, LEDGER_MIN, G);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, G);
	set(cg_ab, LEDGER_MIN, 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin,
			  G); /* what /a/b does not claim is its anyway */
	set(cg_a, LEDGER_MIN, 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, 0);
	ck_assert_int_eq(ledger_limit_clear(l, al, 0, LEDGER_VRAM, LEDGER_MIN), 0);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).emin, 3 * G);
}
END_TEST

START_TEST(test_claims_above_the_capacity_are_scaled)
{
	charge(s1, 8 * G);
	charge(s3, 8 * G);
	set(al, LEDGER_MIN, 8 * G);
	set(bo, LEDGER_MIN, 8 * G);
	ck_assert_int_eq(ledger_device_resize(l, 0, LEDGER_VRAM, 8 * G), 0);
	ck_assert_uint_eq(look(al, LEDGER_VRAM).emin, 4 * G);
	ck_assert_uint_eq(look(s3, LEDGER_VRAM).emin, 4 * G);
}
END_TEST

START_TEST(test_protection_of_terabytes_does_not_overflow)
{
	const u64 tera = 1ull << 40;

	ck_assert_int_eq(ledger_device_resize(l, 0, LEDGER_VRAM, 1ull << 60), 0);
	charge(s1, 700 * tera);
	charge(s2, 500 * tera);
	set(al, LEDGER_LOW, 600 * tera);
	ck_assert_uint_eq(look(s1, LEDGER_VRAM).elow, 350 * tera);
	ck_assert_uint_eq(look(s2, LEDGER_VRAM).elow, 250 * tera);
}
END_TEST

/* ---- size ---------------------------------------------------------------------- */

static size_t allocated;

bool vram_alloc_fails(size_t n_bytes)
{
	allocated += n_bytes;
	return false;
}

START_TEST(test_many_shares_are_small)
{
	struct ledger_group **s = calloc(1000, sizeof(*s));
	u32 i, share;
	size_t before;

	for (i = 0; i < 1000; i++)
		s[i] = session(al, cg_ab, exe);
	before = allocated;
	for (i = 0; i < 100000; i++) {
		ck_assert_int_eq(ledger_share_new(l, 0, &share), 0);
		ck_assert_int_eq(ledger_share_join(l, share, s[i % 1000], false, NULL), 0);
		ck_assert_int_eq(ledger_share_charge(l, share, LEDGER_VRAM, 4096, NULL), 0);
	}
	ck_assert_uint_eq(used(al), 100000 * 4096ull);
	/* Everything that was ever asked for, what growing arrays gave back included. */
	ck_assert_msg(allocated - before < 100000 * 56ull, "%zu bytes a share",
		      (allocated - before) / 100000);
	for (i = 0; i < 1000; i++)
		ledger_session_free(l, s[i]);
	ck_assert_uint_eq(used(al), 0);
	ck_assert_uint_eq(used(&l->root), 100000 * 4096ull);
	free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tc = tcase_create("charges");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_charge_counts_everywhere_once);
	tcase_add_test(tc, test_refusal_names_the_nearest);
	tcase_add_test(tc, test_capacity_is_the_roots_max);
	tcase_add_test(tc, test_absurd_numbers);
	tcase_add_test(tc, test_rejected_arguments);
	tcase_add_test(tc, test_transfer_is_all_or_nothing);
	tcase_add_test(tc, test_give_asks_only_who_gains);
	tcase_add_test(tc, test_lowered_limits_are_reported);
	tcase_add_test(tc, test_session_end_returns_everything);
	tcase_add_test(tc, test_membership);
	tcase_add_test(tc, test_cgroups_nest_so_deep);
	tcase_add_test(tc, test_devices_and_shared_tiers);
	suite_add_tcase(suite, tc);

	tc = tcase_create("shares");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_share_is_split_to_the_byte);
	tcase_add_test(tc, test_part_adds_up);
	tcase_add_test(tc, test_share_charge_is_judged_by_the_sum);
	tcase_add_test(tc, test_join_refused_and_forced);
	tcase_add_test(tc, test_many_shares_are_small);
	suite_add_tcase(suite, tc);

	tc = tcase_create("protection");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_min_is_bounded_by_the_parent);
	tcase_add_test(tc, test_unclaimed_protection_follows_use);
	tcase_add_test(tc, test_claims_are_capped_by_use);
	tcase_add_test(tc, test_unset_groups_pass_claims_on);
	tcase_add_test(tc, test_claims_above_the_capacity_are_scaled);
	tcase_add_test(tc, test_protection_of_terabytes_does_not_overflow);
	suite_add_tcase(suite, tc);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
