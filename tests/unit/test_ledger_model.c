// SPDX-License-Identifier: GPL-2.0-only
/*
 * Millions of random operations on the ledger and on a plain model of it: the same
 * answers, the same refusing group, and after every single operation the same
 * use of every group. VRAM_TEST_SEED and VRAM_TEST_OPS choose another run.
 *
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 * links: tests/support/ledger_model.c
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kmod/ledger.h"
#include "tests/support/ledger_model.h"

/* Sanitizers make each of them several times slower; they look for something else. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define N_OPS 200000u
#else
#define N_OPS 2000000u
#endif

/* Check writes to a pipe for every assertion: millions of them say nothing if they hold. */
#define MUST(cond, ...)                            \
	do {                                       \
		if (!(cond))                       \
			ck_abort_msg(__VA_ARGS__); \
	} while (0)
#define MUST_EQ(got, want)                                                                 \
	do {                                                                               \
		uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                 \
		MUST(got_ == want_, "%s is %" PRIu64 ", not %" PRIu64, #got, got_, want_); \
	} while (0)

struct world {
	struct ledger *l;
	struct model m;
	struct ledger_group *group[MODEL_GROUPS];
	uint32_t share[MODEL_SHARES];
	uint64_t rng;
	uint64_t n_refused;
	uint64_t n_over;
};

static uint64_t rnd(struct world *w, uint64_t below)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return (w->rng >> 11) % below;
}

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : fallback;
}

static unsigned int number_of(const struct world *w, const struct ledger_group *g)
{
	unsigned int i;

	for (i = 0; i < MODEL_GROUPS && w->group[i] != g; i++)
		;
	return i;
}

/* Everything that a cell is made of, for every group. */
static void compare(struct world *w, uint64_t op)
{
	const unsigned int keys[4] = { LEDGER_MIN, LEDGER_LOW, LEDGER_HIGH, LEDGER_MAX };
	unsigned int g, dev, tier, k;

	for (g = 0; g < MODEL_GROUPS; g++) {
		if (!w->group[g])
			continue;
		for (dev = 0; dev < MODEL_DEVICES; dev++) {
			for (tier = 0; tier < MODEL_TIERS; tier++) {
				unsigned int c = model_cell(dev, tier);
				const struct ledger_counter *x =
					&w->group[g]->row[c / MODEL_TIERS]->tier[tier];
				uint64_t max = x->limit[LEDGER_MAX];

				MUST(x->usage == w->m.usage[g][c],
				     "op %" PRIu64 " group %u cell %u: %" PRIu64 " is not %" PRIu64,
				     op, g, c, x->usage, w->m.usage[g][c]);
				MUST_EQ(x->own, g < MODEL_SESSION ? 0 : w->m.now.own[g][c]);
				MUST_EQ(x->pending, 0);
				MUST_EQ(x->peak, w->m.peak[g][c]);
				MUST_EQ(x->refused, w->m.refused[g][c]);
				MUST(x->usage <= max || w->m.excused[g][c],
				     "op %" PRIu64 " group %u cell %u above max", op, g, c);
				for (k = 0; k < 4 && g != MODEL_ROOT; k++)
					MUST_EQ(x->limit[keys[k]], w->m.limit[g][c].value[k]);
			}
		}
	}
}

/* What is too slow to look at after every operation: protection, reports, shares. */
static void compare_more(struct world *w)
{
	unsigned int dev, tier, g, s;

	for (dev = 0; dev < MODEL_DEVICES; dev++) {
		for (tier = 0; tier < MODEL_TIERS; tier++) {
			struct ledger_over over[MODEL_GROUPS];
			unsigned int c = model_cell(dev, tier);
			int n = ledger_over(w->l, dev, tier, over, MODEL_GROUPS), i = 0;

			for (g = 0; g < MODEL_GROUPS; g++) {
				struct ledger_usage u;

				if (!w->group[g])
					continue;
				MUST_EQ(ledger_read(w->l, w->group[g], dev, tier, &u), 0);
				MUST_EQ(u.emin, model_protection(&w->m, g, c, 0));
				MUST_EQ(u.elow, model_protection(&w->m, g, c, 1));
				MUST(u.emin <= u.usage, "more protected than used");
				MUST(u.elow <= u.usage, "more protected than used");
				if (u.over_high || u.over_max)
					i++;
			}
			MUST_EQ(n, i);
			MUST_EQ(w->l->device[c / MODEL_TIERS].n_over[tier], n);
			w->n_over += (uint64_t)n;
			for (i = 0; i < n; i++) {
				g = number_of(w, over[i].group);
				MUST(g < MODEL_GROUPS, "an unknown group");
				MUST(over[i].over_high || over[i].over_max, "not over");
			}
		}
	}
	for (s = 0; s < MODEL_SHARES; s++) {
		const struct ledger_share *sh = ledger_share_get(w->l, w->share[s]);

		if (!w->m.now.share[s].live)
			continue;
		MUST(sh, "a share is gone");
		MUST_EQ(sh->n_members, w->m.now.share[s].n_members);
		for (tier = 0; tier < MODEL_TIERS; tier++)
			MUST_EQ(sh->bytes[tier], w->m.now.share[s].bytes[tier]);
	}
}

static void world_open_session(struct world *w, unsigned int s)
{
	const unsigned int n[3] = { MODEL_USERS, MODEL_CGROUPS, MODEL_EXES };
	const unsigned int first[3] = { MODEL_USER, MODEL_CGROUP, MODEL_EXE };
	struct ledger_group *chain[LEDGER_N_CHAINS] = { NULL };
	unsigned int c;

	for (c = 0; c < 3; c++) {
		w->m.chain[s][c] = -1;
		if (rnd(w, 8)) {
			w->m.chain[s][c] = (int)(first[c] + rnd(w, n[c]));
			chain[c] = w->group[w->m.chain[s][c]];
		}
	}
	MUST_EQ(ledger_session_new(w->l, chain, &w->group[s]), 0);
	w->m.now.live[s] = true;
}

static void world_init(struct world *w)
{
	const uint64_t capacity[2][3] = { { 1000000, 2000000, 5000000 },
					  { 500000, LEDGER_SHARED, 700000 } };
	unsigned int g, dev, tier;
	uint32_t id;

	w->l = ledger_new();
	ck_assert_ptr_nonnull(w->l);
	model_init(&w->m);
	/* One device before the groups, one behind them. */
	MUST_EQ(ledger_device_add(w->l, capacity[0], &id), 0);
	w->group[MODEL_ROOT] = &w->l->root;
	for (g = MODEL_USER; g < MODEL_SESSION; g++) {
		uint32_t kind = g < MODEL_CGROUP ? LEDGER_USER :
				g < MODEL_EXE	 ? LEDGER_CGROUP :
						   LEDGER_EXE;
		int parent = w->m.parent[g];

		MUST_EQ(ledger_group_new(w->l, kind, g, parent < 0 ? NULL : w->group[parent],
					 &w->group[g]),
			0);
	}
	MUST_EQ(ledger_device_add(w->l, capacity[1], &id), 0);
	for (dev = 0; dev < 2; dev++)
		for (tier = 0; tier < 3; tier++)
			if (capacity[dev][tier] != LEDGER_SHARED)
				model_resize(&w->m, dev, tier, capacity[dev][tier]);
}

/* Mostly small, at times absurd. */
static uint64_t random_bytes(struct world *w)
{
	switch (rnd(w, 64)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - rnd(w, 3);
	case 2:
		return 3000000;
	default:
		return rnd(w, 60000);
	}
}

/* Often all or nearly all of what is there, at times more. */
static uint64_t some_of(struct world *w, uint64_t held)
{
	switch (rnd(w, 8)) {
	case 0:
		return held + 1 + rnd(w, 5);
	case 1:
	case 2:
		return held;
	default:
		return rnd(w, held + 1);
	}
}

static void same(struct world *w, uint64_t op, unsigned int kind, int got, int want,
		 struct ledger_group *const *limit, const unsigned int *want_limit)
{
	MUST(got == want, "op %" PRIu64 " kind %u: %d is not %d", op, kind, got, want);
	if (got != -EDQUOT && got != -ENOSPC)
		return;
	w->n_refused++;
	MUST(number_of(w, *limit) == *want_limit, "op %" PRIu64 ": refused by %u, not %u", op,
	     number_of(w, *limit), *want_limit);
}

static void change_limit(struct world *w, unsigned int dev, unsigned int tier)
{
	unsigned int g = 1 + (unsigned int)rnd(w, MODEL_GROUPS - 1), key = (unsigned int)rnd(w, 4);
	uint64_t value = rnd(w, 3) ? rnd(w, 300000) : UINT64_MAX;

	if (!w->group[g])
		return;
	if (!rnd(w, 3)) {
		MUST_EQ(ledger_limit_clear(w->l, w->group[g], dev, tier, key), 0);
		model_limit(&w->m, g, dev, tier, key, NULL);
	} else {
		MUST_EQ(ledger_limit_set(w->l, w->group[g], dev, tier, key, value), 0);
		model_limit(&w->m, g, dev, tier, key, &value);
	}
}

static void change_capacity(struct world *w, unsigned int dev, unsigned int tier)
{
	uint64_t capacity = 200000 + rnd(w, 2000000);

	MUST_EQ(ledger_device_resize(w->l, dev, tier, capacity), 0);
	model_resize(&w->m, dev, tier, capacity);
}

static void toggle_session(struct world *w, unsigned int s)
{
	unsigned int c;

	if (!w->group[s]) {
		world_open_session(w, s);
		return;
	}
	ledger_session_free(w->l, w->group[s]);
	w->group[s] = NULL;
	model_close(&w->m, s);
	for (c = 0; c < MODEL_CELLS; c++)
		MUST_EQ(w->m.usage[s][c], 0);
}

static void toggle_share(struct world *w, unsigned int share)
{
	struct model_share *s = &w->m.now.share[share];
	bool busy = s->n_members || s->bytes[0] || s->bytes[1] || s->bytes[2];

	if (!s->live) {
		s->dev = (unsigned int)rnd(w, MODEL_DEVICES);
		MUST_EQ(ledger_share_new(w->l, s->dev, &w->share[share]), 0);
		s->live = true;
		return;
	}
	MUST_EQ(ledger_share_free(w->l, w->share[share]), busy ? -EBUSY : 0);
	s->live = busy;
}

static void share_step(struct world *w, uint64_t op, unsigned int kind, unsigned int s)
{
	unsigned int sh = (unsigned int)rnd(w, MODEL_SHARES), tier = (unsigned int)rnd(w, 3);
	unsigned int to = (unsigned int)rnd(w, 3), want_limit = 0;
	struct model_share *ms = &w->m.now.share[sh];
	struct ledger_group *limit = NULL;
	uint64_t bytes;
	bool force;

	if (!ms->live) {
		toggle_share(w, sh);
		return;
	}
	switch (kind) {
	case 0:
		force = !rnd(w, 6);
		same(w, op, 10, ledger_share_join(w->l, w->share[sh], w->group[s], force, &limit),
		     model_join(&w->m, sh, s, force, &want_limit), &limit, &want_limit);
		break;
	case 1:
		same(w, op, 11, ledger_share_leave(w->l, w->share[sh], w->group[s]),
		     model_leave(&w->m, sh, s), NULL, NULL);
		break;
	case 2:
		bytes = random_bytes(w);
		/* The model adds without a care; what would wrap is tested elsewhere. */
		if (bytes > UINT64_MAX / 2)
			bytes = UINT64_MAX / 4;
		same(w, op, 12, ledger_share_charge(w->l, w->share[sh], tier, bytes, &limit),
		     model_share_charge(&w->m, sh, tier, bytes, &want_limit), &limit, &want_limit);
		break;
	case 3:
		bytes = some_of(w, ms->bytes[tier]);
		same(w, op, 13, ledger_share_uncharge(w->l, w->share[sh], tier, bytes),
		     model_share_uncharge(&w->m, sh, tier, bytes), NULL, NULL);
		break;
	case 4:
		bytes = some_of(w, ms->bytes[tier]);
		same(w, op, 14, ledger_share_transfer(w->l, w->share[sh], tier, to, bytes, &limit),
		     model_share_transfer(&w->m, sh, tier, to, bytes, &want_limit), &limit,
		     &want_limit);
		break;
	default:
		toggle_share(w, sh);
		break;
	}
}

static void step(struct world *w, uint64_t op)
{
	unsigned int s = MODEL_SESSION + (unsigned int)rnd(w, MODEL_SESSIONS);
	unsigned int s2 = MODEL_SESSION + (unsigned int)rnd(w, MODEL_SESSIONS);
	unsigned int dev = (unsigned int)rnd(w, MODEL_DEVICES), tier = (unsigned int)rnd(w, 3);
	unsigned int to = (unsigned int)rnd(w, 3), kind = (unsigned int)rnd(w, 100), want = 0;
	struct ledger_group *limit = NULL;
	uint64_t bytes, held = w->m.now.own[s][model_cell(dev, tier)];

	if (!w->group[s]) {
		world_open_session(w, s);
	} else if (kind < 25) {
		bytes = random_bytes(w);
		if (bytes > UINT64_MAX / 2)
			bytes = UINT64_MAX / 4;
		same(w, op, 1, ledger_try_charge(w->l, w->group[s], dev, tier, bytes, &limit),
		     model_charge(&w->m, s, dev, tier, bytes, &want), &limit, &want);
	} else if (kind < 37) {
		bytes = some_of(w, held);
		same(w, op, 2, ledger_uncharge(w->l, w->group[s], dev, tier, bytes),
		     model_uncharge(&w->m, s, dev, tier, bytes), NULL, NULL);
	} else if (kind < 45) {
		bytes = some_of(w, held);
		same(w, op, 3, ledger_transfer(w->l, w->group[s], dev, tier, to, bytes, &limit),
		     model_transfer(&w->m, s, dev, tier, to, bytes, &want), &limit, &want);
	} else if (kind < 52) {
		bytes = some_of(w, held);
		if (w->group[s2])
			same(w, op, 4,
			     ledger_give(w->l, w->group[s], w->group[s2], dev, tier, bytes, &limit),
			     model_give(&w->m, s, s2, dev, tier, bytes, &want), &limit, &want);
	} else if (kind < 62) {
		share_step(w, op, 0, s);
	} else if (kind < 68) {
		share_step(w, op, 1, s);
	} else if (kind < 78) {
		share_step(w, op, 2, s);
	} else if (kind < 84) {
		share_step(w, op, 3, s);
	} else if (kind < 90) {
		share_step(w, op, 4, s);
	} else if (kind < 92) {
		share_step(w, op, 5, s);
	} else if (kind < 97) {
		change_limit(w, dev, tier);
	} else if (kind < 98) {
		change_capacity(w, dev, tier);
	} else {
		toggle_session(w, s);
	}
}

START_TEST(test_random)
{
	uint64_t n = env("VRAM_TEST_OPS", N_OPS), seed = env("VRAM_TEST_SEED", 20240607), op;
	struct world *w = calloc(1, sizeof(*w));
	unsigned int s, sh, t, g, c;

	ck_assert_ptr_nonnull(w);
	w->rng = seed ? seed : 1;
	world_init(w);
	for (op = 0; op < n; op++) {
		step(w, op);
		compare(w, op);
		if (op % 64 == 0)
			compare_more(w);
	}
	/* What the run was for did happen. */
	ck_assert_uint_gt(w->n_refused, n / 100);
	ck_assert_uint_gt(w->n_over, n / 100);

	for (s = MODEL_SESSION; s < MODEL_GROUPS; s++)
		if (w->group[s])
			toggle_session(w, s);
	for (sh = 0; sh < MODEL_SHARES; sh++) {
		if (!w->m.now.share[sh].live)
			continue;
		for (t = 0; t < MODEL_TIERS; t++)
			ck_assert_int_eq(ledger_share_uncharge(w->l, w->share[sh], t,
							       w->m.now.share[sh].bytes[t]),
					 0);
		ck_assert_int_eq(ledger_share_free(w->l, w->share[sh]), 0);
	}
	for (g = 0; g < MODEL_SESSION; g++)
		for (c = 0; c < MODEL_CELLS; c++) {
			const struct ledger_counter *x =
				&w->group[g]->row[c / MODEL_TIERS]->tier[c % MODEL_TIERS];

			ck_assert_uint_eq(x->usage, 0);
			ck_assert_uint_eq(x->prot[0] | x->prot[1], 0);
			ck_assert_uint_eq(x->children_prot[0] | x->children_prot[1], 0);
		}
	ck_assert_uint_eq(w->l->root.n_sessions, 0);
	ck_assert_uint_eq(w->l->n_shares, 0);
	printf("ledger: %" PRIu64 " operations, seed %" PRIu64 ", %" PRIu64 " refused\n", n, seed,
	       w->n_refused);
	ledger_free(w->l);
	free(w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger_model");
	TCase *tc = tcase_create("random");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, test_random);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
