// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c daemon/policy_convoy.c daemon/policy_fill.c
#include "daemon/policy.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define MIB (1ULL << 20)
#define MS  1000000ULL

static struct policy *policy;
static uint64_t now;

static void open_policy(uint64_t chunks, enum policy_share share)
{
	const struct policy_config config = {
		.capacity_bytes = chunks * MIB,
		.share = share,
		.all_touches = true,
	};

	policy = policy_new(&config);
	ck_assert_ptr_nonnull(policy);
	now = 1000 * MS;
}

static struct policy_object *object(uint32_t n)
{
	return policy_object_new(policy, n, MIB, POLICY_MODEL, NULL);
}

static void limits(uint32_t tenant, uint32_t weight, uint64_t min, uint64_t low, uint64_t max)
{
	ck_assert_int_eq(policy_tenant_set(policy, tenant, weight, min * MIB, low * MIB,
					   max == UINT64_MAX ? max : max * MIB),
			 0);
}

static uint64_t quota(uint32_t tenant)
{
	struct policy_tenant_info info;

	ck_assert_int_eq(policy_tenant_info(policy, tenant, &info), 0);
	/* The bisection may be a little below. */
	return (info.quota_bytes + MIB / 2) / MIB;
}

static uint64_t usage(uint32_t tenant)
{
	struct policy_tenant_info info;

	ck_assert_int_eq(policy_tenant_info(policy, tenant, &info), 0);
	return info.usage_bytes / MIB;
}

static void fill(struct policy_object *obj, struct policy_user *u, uint32_t n)
{
	for (uint32_t c = 0; c < n; c++) {
		now += MS;
		policy_resident(obj, c, true);
		policy_touch(u, c, now);
	}
}

START_TEST(water_filling)
{
	struct policy_object *obj[4];
	struct policy_user *u[4];

	open_policy(100, POLICY_SHARE_FAIR);
	for (uint32_t i = 0; i < 4; i++) {
		obj[i] = object(i == 3 ? 10 : 200);
		u[i] = policy_user_new(obj[i], i, NULL);
		policy_touch(u[i], 0, now);
	}
	/* The small one needs no more than 10; the others share 90. */
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(quota(i), 30);
	ck_assert_uint_eq(quota(3), 10);
	limits(0, 400, 0, 0, UINT64_MAX);
	ck_assert_uint_eq(quota(0), 60);
	ck_assert_uint_eq(quota(1), 15);
	/* No more than max, no less than min. */
	limits(0, 400, 0, 0, 40);
	limits(1, 1, 30, 0, UINT64_MAX);
	ck_assert_uint_eq(quota(0), 40);
	ck_assert_uint_eq(quota(1), 30);
	ck_assert_uint_eq(quota(2), 20);
	/* One that rests gives back all but its min, and gets it again. */
	policy_user_idle(u[0], now);
	policy_user_idle(u[1], now);
	ck_assert_uint_eq(quota(0), 0);
	ck_assert_uint_eq(quota(1), 30);
	ck_assert_uint_eq(quota(2), 60);
	policy_touch(u[0], 1, now += MS);
	ck_assert_uint_eq(quota(0), 40);
	policy_set_capacity(policy, 50 * MIB);
	ck_assert_uint_le(quota(0) + quota(1) + quota(2) + quota(3), 50);
	for (uint32_t i = 0; i < 4; i++) {
		policy_user_free(u[i]);
		policy_object_free(obj[i]);
	}
	/* Limits outlive the users until they are forgotten. */
	ck_assert_uint_eq(quota(0), 0);
	policy_tenant_forget(policy, 0);
	ck_assert_int_eq(policy_tenant_info(policy, 0, NULL), -ENOENT);
	ck_assert_int_eq(policy_tenant_info(policy, 2, NULL), -ENOENT);
	policy_free(policy);
}
END_TEST

START_TEST(equal_shares)
{
	struct policy_object *obj;
	struct policy_user *a, *b, *c, *a2;

	open_policy(100, POLICY_SHARE_FAIR);
	obj = object(60);
	a = policy_user_new(obj, 1, NULL);
	fill(obj, a, 60);
	ck_assert_uint_eq(usage(1), 60);
	b = policy_user_new(obj, 2, NULL);
	ck_assert_uint_eq(usage(1), 30);
	ck_assert_uint_eq(usage(2), 30);
	/* A second use by the same session counts once. */
	a2 = policy_user_new(obj, 1, NULL);
	ck_assert_uint_eq(usage(1), 30);
	policy_user_free(a);
	ck_assert_uint_eq(usage(1), 30);
	c = policy_user_new(obj, 3, NULL);
	ck_assert_uint_eq(usage(1), 20);
	ck_assert_uint_eq(usage(3), 20);
	policy_resident(obj, 0, false);
	policy_resident(obj, 1, false);
	policy_resident(obj, 2, false);
	ck_assert_uint_eq(usage(2), 19);
	policy_user_free(b);
	policy_user_free(c);
	ck_assert_uint_eq(usage(1), 57);
	policy_user_free(a2);
	policy_object_free(obj);
	policy_free(policy);
}
END_TEST

/* Books stay right over any sequence of events. */
START_TEST(random_books)
{
	unsigned int seed = (unsigned int)_i + 7;
	struct policy_object *obj[6];
	struct policy_user *users[32] = { NULL };
	uint32_t tenant_of[32], object_of[32], n_resident[6] = { 0 };
	bool resident[6][40] = { { false } };

	open_policy(120, POLICY_SHARE_FAIR);
	for (int i = 0; i < 6; i++)
		obj[i] = object(40);
	for (int step = 0; step < 4000; step++) {
		uint32_t k = (uint32_t)rand_r(&seed) % 32, o = (uint32_t)rand_r(&seed) % 6;
		uint32_t c = (uint32_t)rand_r(&seed) % 40;

		now += MS / 4;
		if (rand_r(&seed) % 8 == 0 && users[k]) {
			policy_user_free(users[k]);
			users[k] = NULL;
		} else if (rand_r(&seed) % 8 == 0 && !users[k]) {
			tenant_of[k] = (uint32_t)rand_r(&seed) % 5;
			object_of[k] = o;
			users[k] = policy_user_new(obj[o], tenant_of[k], NULL);
			ck_assert_ptr_nonnull(users[k]);
		} else if (rand_r(&seed) % 3) {
			struct policy_victim v;

			if (users[k] && !policy_victim(policy, now, obj[object_of[k]], c, users[k],
						       step & 1, &v)) {
				for (o = 0; v.obj != obj[o]; o++)
					;
				ck_assert(resident[o][v.chunk]);
				c = v.chunk;
			}
			n_resident[o] += resident[o][c] ? -1u : 1;
			resident[o][c] ^= 1;
			policy_resident(obj[o], c, resident[o][c]);
		} else if (users[k]) {
			policy_touch(users[k], c, now);
		}
		if (step % 64 == 0)
			policy_tick(policy, now);
		for (uint32_t t = 0; t < 5 && step % 16 == 0; t++) {
			struct policy_tenant_info info;
			uint64_t expect = 0;

			for (uint32_t i = 0; i < 6; i++) {
				uint32_t sharers = 0, mine = 0;

				for (uint32_t s = 0; s < 5; s++) {
					bool uses = false;

					for (int n = 0; n < 32; n++)
						uses |= users[n] && tenant_of[n] == s &&
							object_of[n] == i;
					sharers += uses;
					mine += uses && s == t;
				}
				if (mine)
					expect += n_resident[i] * MIB / sharers;
			}
			if (policy_tenant_info(policy, t, &info) == 0)
				ck_assert_uint_eq(info.usage_bytes, expect);
			else
				ck_assert_uint_eq(expect, 0);
		}
	}
	for (int n = 0; n < 32; n++)
		policy_user_free(users[n]);
	for (int i = 0; i < 6; i++)
		policy_object_free(obj[i]);
	policy_free(policy);
}
END_TEST

struct pair {
	struct policy_object *a, *b;
	struct policy_user *ua, *ub;
};

/* Tenant 1 holds 80 of 100, tenant 2 the rest; both go on. */
static void open_pair(struct pair *p, enum policy_share share)
{
	open_policy(100, share);
	p->a = object(100);
	p->b = object(100);
	p->ua = policy_user_new(p->a, 1, NULL);
	p->ub = policy_user_new(p->b, 2, NULL);
	fill(p->a, p->ua, 80);
	fill(p->b, p->ub, 20);
	policy_tick(policy, now);
}

static void close_pair(struct pair *p)
{
	policy_user_free(p->ua);
	policy_user_free(p->ub);
	policy_object_free(p->a);
	policy_object_free(p->b);
	policy_free(policy);
}

START_TEST(who_has_more_than_its_share_gives)
{
	struct policy_victim v;
	struct pair p;

	open_pair(&p, POLICY_SHARE_FAIR);
	for (uint32_t c = 20; c < 48; c++) {
		ck_assert_int_eq(policy_victim(policy, now, p.b, c, p.ub, true, &v), 0);
		ck_assert_ptr_eq(v.obj, p.a);
		policy_resident(v.obj, v.chunk, false);
		now += MS;
		policy_resident(p.b, c, true);
		policy_touch(p.ub, c, now);
		policy_touch(p.ua, (80 + c) % 100, now);
	}
	/* At its share it makes room for itself. */
	for (uint32_t c = 48; c < 52; c++) {
		ck_assert_int_eq(policy_victim(policy, now, p.b, c, p.ub, true, &v), 0);
		policy_resident(v.obj, v.chunk, false);
		now += MS;
		policy_resident(p.b, c, true);
		policy_touch(p.ub, c, now);
	}
	ck_assert_ptr_eq(v.obj, p.b);
	close_pair(&p);
}
END_TEST

START_TEST(a_min_is_never_taken)
{
	struct policy_victim v;
	struct pair p;

	open_pair(&p, _i ? POLICY_SHARE_FAIR : POLICY_SHARE_BYTES);
	limits(1, 1, 80, 0, UINT64_MAX);
	policy_user_idle(p.ua, now);
	for (uint32_t c = 20; c < 60; c++) {
		ck_assert_int_eq(policy_victim(policy, now, p.b, c, p.ub, true, &v), 0);
		ck_assert_ptr_eq(v.obj, p.b);
		policy_resident(v.obj, v.chunk, false);
		now += MS;
		policy_resident(p.b, c, true);
		policy_touch(p.ub, c, now);
	}
	/* With nothing of its own there is no room at all. */
	for (uint32_t c = 0; c < 100; c++)
		policy_resident(p.b, c, false);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 0, p.ub, true, &v), -ENOSPC);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 0, p.ub, false, &v), -EAGAIN);
	/* The owner itself may give it. */
	ck_assert_int_eq(policy_victim(policy, now, p.a, 81, p.ua, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.a);
	ck_assert_uint_eq(usage(1), 80);
	/* One below: lowered by one chunk it may give one. */
	limits(1, 1, 79, 0, UINT64_MAX);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 0, p.ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.a);
	policy_resident(v.obj, v.chunk, false);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 0, p.ub, true, &v), -ENOSPC);
	close_pair(&p);
}
END_TEST

START_TEST(a_low_is_taken_last)
{
	struct policy_victim v;
	struct policy_object *c;
	struct policy_user *uc;
	struct pair p;

	open_pair(&p, POLICY_SHARE_BYTES);
	limits(1, 100, 0, 90, UINT64_MAX);
	c = object(10);
	uc = policy_user_new(c, 3, NULL);
	/* First what tenant 2 has, although tenant 1 rests. */
	policy_user_idle(p.ua, now);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(policy_victim(policy, now, c, 0, uc, true, &v), 0);
		ck_assert_ptr_eq(v.obj, p.b);
		policy_resident(v.obj, v.chunk, false);
	}
	/* Then only for somebody who waits. */
	ck_assert_int_eq(policy_victim(policy, now, c, 0, uc, false, &v), -EAGAIN);
	ck_assert_int_eq(policy_victim(policy, now, c, 0, uc, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.a);
	policy_user_free(uc);
	policy_object_free(c);
	close_pair(&p);
}
END_TEST

START_TEST(at_its_max_it_gives_itself)
{
	struct policy_victim v;
	struct pair p;

	open_pair(&p, POLICY_SHARE_FAIR);
	limits(2, 100, 0, 0, 20);
	policy_user_idle(p.ua, now);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 20, p.ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.b);
	limits(2, 100, 0, 0, 21);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 20, p.ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.a);
	close_pair(&p);
}
END_TEST

/* Who stops being seen although it could not pass unseen gives its memory back. */
START_TEST(the_idle_give_back)
{
	struct policy_victim v;
	struct pair p;

	open_pair(&p, POLICY_SHARE_FAIR);
	ck_assert_uint_eq(quota(1), 50);
	for (int i = 0; i < 40; i++) {
		now += 50 * MS;
		policy_touch(p.ub, (20 + (uint32_t)i) % 100, now);
		policy_tick(policy, now);
	}
	ck_assert_uint_eq(quota(1), 0);
	ck_assert_uint_eq(quota(2), 100);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 61, p.ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, p.a);
	policy_touch(p.ua, 81, now);
	ck_assert_uint_eq(quota(1), 50);
	close_pair(&p);
}
END_TEST

/* Nobody sees a session whose model fits: one chunk is taken to find out. */
START_TEST(the_quiet_are_probed)
{
	const struct policy_config config = { .capacity_bytes = 100 * MIB };
	struct policy_object *a, *b;
	struct policy_user *ua, *ub;
	struct policy_victim v;

	policy = policy_new(&config);
	now = 1000 * MS;
	a = object(40);
	b = object(100);
	ua = policy_user_new(a, 1, NULL);
	ub = policy_user_new(b, 2, NULL);
	fill(a, ua, 40);
	fill(b, ub, 60);
	for (int i = 0; i < 60; i++) {
		now += 50 * MS;
		policy_touch(ub, (60 + (uint32_t)i) % 100, now);
		policy_tick(policy, now);
	}
	/* a has its 40 by right, and still one goes. */
	ck_assert_uint_eq(quota(1), 40);
	ck_assert_int_eq(policy_victim(policy, now, b, 61, ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, a);
	policy_resident(v.obj, v.chunk, false);
	ck_assert_int_eq(policy_victim(policy, now, b, 61, ub, true, &v), 0);
	ck_assert_ptr_eq(v.obj, b);
	/* It was awake: it keeps the rest. */
	policy_touch(ua, v.chunk, now);
	policy_tick(policy, now += MS);
	ck_assert_uint_eq(quota(1), 40);
	policy_user_free(ua);
	policy_user_free(ub);
	policy_object_free(a);
	policy_object_free(b);
	policy_free(policy);
}
END_TEST

/* What nobody uses goes before everything else. */
START_TEST(unused_objects_go_first)
{
	struct policy_object *cached;
	struct policy_victim v;
	struct pair p;

	open_pair(&p, POLICY_SHARE_FAIR);
	cached = object(4);
	policy_resident(cached, 2, true);
	policy_tick(policy, now += 300 * MS);
	policy_tick(policy, now += 300 * MS);
	ck_assert_int_eq(policy_victim(policy, now, p.b, 20, p.ub, false, &v), 0);
	ck_assert_ptr_eq(v.obj, cached);
	ck_assert_uint_eq(v.chunk, 2);
	ck_assert_uint_eq(v.next_ns, POLICY_NEVER);
	policy_object_free(cached);
	close_pair(&p);
}
END_TEST

/* Three tenants of one group and one of another. */
START_TEST(groups_share)
{
	struct policy_group *many, *one, *inner;
	struct policy_object *obj[4];
	struct policy_user *u[4];

	open_policy(120, POLICY_SHARE_FAIR);
	many = policy_group_new(policy);
	one = policy_group_new(policy);
	for (uint32_t i = 0; i < 4; i++) {
		obj[i] = object(100);
		u[i] = policy_user_new(obj[i], i, NULL);
		ck_assert_int_eq(policy_tenant_join(policy, i, i < 3 ? many : one), 0);
		policy_touch(u[i], 0, now);
	}
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(quota(i), 20);
	ck_assert_uint_eq(quota(3), 60);
	ck_assert_int_eq(policy_group_set(one, NULL, 300, 0, UINT64_MAX), 0);
	ck_assert_uint_eq(quota(0), 10);
	ck_assert_uint_eq(quota(3), 90);
	/* At its cap it leaves the rest to the others; its min is for all that are in it. */
	ck_assert_int_eq(policy_group_set(one, NULL, 300, 0, 30 * MIB), 0);
	ck_assert_uint_eq(quota(3), 30);
	ck_assert_uint_eq(quota(1), 30);
	ck_assert_int_eq(policy_group_set(one, NULL, 1, 90 * MIB, UINT64_MAX), 0);
	ck_assert_uint_eq(quota(3), 90);
	/* Weights inside a group matter inside it. */
	ck_assert_int_eq(policy_group_set(one, NULL, 100, 0, UINT64_MAX), 0);
	limits(0, 400, 0, 0, UINT64_MAX);
	ck_assert_uint_eq(quota(0), 40);
	ck_assert_uint_eq(quota(1), 10);
	ck_assert_uint_eq(quota(3), 60);
	/* Who rests leaves its part to its group first. */
	policy_user_idle(u[0], now);
	ck_assert_uint_eq(quota(0), 0);
	ck_assert_uint_eq(quota(1), 30);
	ck_assert_uint_eq(quota(3), 60);
	policy_touch(u[0], 1, now += MS);
	/* A group in a group. */
	inner = policy_group_new(policy);
	ck_assert_int_eq(policy_group_set(inner, many, 400, 0, UINT64_MAX), 0);
	ck_assert_int_eq(policy_group_set(many, inner, 100, 0, UINT64_MAX), -EINVAL);
	limits(0, 100, 0, 0, UINT64_MAX);
	ck_assert_int_eq(policy_tenant_join(policy, 0, inner), 0);
	ck_assert_uint_eq(quota(0), 40);
	ck_assert_uint_eq(quota(1), 10);
	policy_group_free(many);
	/* Those that were in it stand for themselves: 1, 2, the inner one of weight 400, `one`. */
	ck_assert_uint_eq(quota(1), 17);
	ck_assert_uint_eq(quota(0), 69);
	for (uint32_t i = 0; i < 4; i++) {
		policy_user_free(u[i]);
		policy_object_free(obj[i]);
	}
	for (uint32_t i = 0; i < 4; i++)
		policy_tenant_forget(policy, i);
	policy_group_free(one);
	policy_group_free(inner);
	policy_free(policy);
}
END_TEST

/* What protects a group from others does not keep those apart who are in it. */
START_TEST(protected_together)
{
	struct policy_object *obj[3];
	struct policy_group *group;
	struct policy_user *u[3];
	struct policy_victim v;

	open_policy(100, POLICY_SHARE_FAIR);
	group = policy_group_new(policy);
	for (uint32_t i = 0; i < 3; i++) {
		obj[i] = object(100);
		u[i] = policy_user_new(obj[i], i, NULL);
	}
	policy_tenant_join(policy, 0, group);
	policy_tenant_join(policy, 1, group);
	policy_group_set(group, NULL, 100, 90 * MIB, UINT64_MAX);
	fill(obj[0], u[0], 90);
	fill(obj[2], u[2], 10);
	policy_touch(u[1], 0, now);
	policy_tick(policy, now);
	ck_assert_int_eq(policy_tenant_protect(policy, 0, 0, 90 * MIB, 0), 0);
	ck_assert_uint_eq(quota(0), 45);
	ck_assert_uint_eq(quota(1), 45);
	/* The one outside makes room for itself. */
	ck_assert_int_eq(policy_victim(policy, now, obj[2], 10, u[2], true, &v), 0);
	ck_assert_ptr_eq(v.obj, obj[2]);
	/* The one inside gets it from who has more. */
	ck_assert_int_eq(policy_victim(policy, now, obj[1], 1, u[1], true, &v), 0);
	ck_assert_ptr_eq(v.obj, obj[0]);
	/* But not what is that one's own. */
	ck_assert_int_eq(policy_tenant_protect(policy, 0, 90 * MIB, 90 * MIB, 0), 0);
	ck_assert_int_eq(policy_victim(policy, now, obj[1], 1, u[1], true, &v), 0);
	ck_assert_ptr_eq(v.obj, obj[2]);
	ck_assert(!policy_object_is_over(obj[2]));
	ck_assert(policy_object_is_over(obj[0]));
	ck_assert_int_eq(policy_tenant_protect(policy, 77, 0, 0, 0), -ENOENT);
	for (uint32_t i = 0; i < 3; i++) {
		policy_user_free(u[i]);
		policy_object_free(obj[i]);
	}
	policy_group_free(group);
	policy_free(policy);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_quota");
	TCase *tcase = tcase_create("quota");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, water_filling);
	tcase_add_test(tcase, equal_shares);
	tcase_add_loop_test(tcase, random_books, 0, 10);
	tcase_add_test(tcase, who_has_more_than_its_share_gives);
	tcase_add_loop_test(tcase, a_min_is_never_taken, 0, 2);
	tcase_add_test(tcase, a_low_is_taken_last);
	tcase_add_test(tcase, at_its_max_it_gives_itself);
	tcase_add_test(tcase, the_idle_give_back);
	tcase_add_test(tcase, the_quiet_are_probed);
	tcase_add_test(tcase, unused_objects_go_first);
	tcase_add_test(tcase, groups_share);
	tcase_add_test(tcase, protected_together);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
