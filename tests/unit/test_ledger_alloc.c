// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation of the ledger fails once: the call says -ENOMEM, nothing has
 * changed, and the same call succeeds as soon as there is memory again.
 *
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kmod/ledger.h"

#define N_SESSIONS 5

/* How many allocations succeed before one fails; negative: all do. */
static int budget = -1;

bool vram_alloc_fails(size_t n_bytes)
{
	(void)n_bytes;
	if (budget < 0)
		return false;
	return budget-- == 0;
}

struct world {
	struct ledger *l;
	struct ledger_group *user;
	struct ledger_group *session[N_SESSIONS];
	uint32_t share;
};

/* What can be seen of a ledger from outside. */
struct picture {
	uint32_t n_devices, n_groups, n_shares, n_members, share_known;
	uint64_t sum, last_session;
	uint32_t n_session_shares;
};

static struct picture look(const struct world *w)
{
	const struct ledger_share *s = ledger_share_get(w->l, w->share);
	struct picture p;
	const struct ledger_group *g;
	uint32_t t;

	memset(&p, 0, sizeof(p));
	p.n_devices = w->l->n_devices;
	p.n_groups = w->l->n_groups;
	p.n_shares = w->l->n_shares;
	p.last_session = w->l->last_session;
	p.share_known = s != NULL;
	p.n_members = s ? s->n_members : 0;
	for (g = ledger_next(w->l, NULL); g; g = ledger_next(w->l, g)) {
		p.n_session_shares += g->n_shares;
		for (t = 0; t < LEDGER_N_TIERS && w->l->n_devices; t++) {
			struct ledger_usage u;

			ck_assert_int_eq(ledger_read(w->l, g, 0, t, &u), 0);
			p.sum = p.sum * 31 + u.usage + u.peak + u.refused;
		}
	}
	return p;
}

static int do_device(struct world *w)
{
	const u64 capacity[LEDGER_N_TIERS] = { 1000, 1000, 1000 };
	u32 dev;

	return ledger_device_add(w->l, capacity, &dev);
}

static int do_group(struct world *w)
{
	struct ledger_group *g;

	return ledger_group_new(w->l, LEDGER_USER, 7, w->user, &g);
}

static int do_session(struct world *w)
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { w->user, NULL, NULL }, *g;

	return ledger_session_new(w->l, chain, &g);
}

static int do_share(struct world *w)
{
	return ledger_share_new(w->l, 0, &w->share);
}

static int do_join(struct world *w)
{
	uint32_t i;

	for (i = 0; i < N_SESSIONS; i++)
		if (!w->session[i]->n_shares)
			return ledger_share_join(w->l, w->share, w->session[i], false, NULL);
	return -EINVAL;
}

/*
 * Let @op fail at its first allocation, its second, and so on until it succeeds.
 * Return: how often it failed.
 */
static int fail_each(struct world *w, int (*op)(struct world *w))
{
	int n, r;

	for (n = 0;; n++) {
		struct picture before = look(w), after;

		budget = n;
		r = op(w);
		budget = -1;
		if (!r)
			return n;
		ck_assert_int_eq(r, -ENOMEM);
		after = look(w);
		ck_assert_mem_eq(&before, &after, sizeof(before));
	}
}

START_TEST(test_every_allocation_fails_once)
{
	struct world w = { .share = 12345 };
	uint32_t i;

	budget = 0;
	ck_assert_ptr_null(ledger_new());
	budget = -1;
	w.l = ledger_new();
	ck_assert_ptr_nonnull(w.l);
	ck_assert_int_eq(ledger_group_new(w.l, LEDGER_USER, 1, NULL, &w.user), 0);
	/* The root's row, the user's. */
	ck_assert_int_eq(fail_each(&w, do_device), 2);
	ck_assert_int_eq(fail_each(&w, do_device), 2);
	/* The group, its rows. */
	ck_assert_int_eq(fail_each(&w, do_group), 3);
	for (i = 0; i < N_SESSIONS; i++) {
		ck_assert_int_eq(fail_each(&w, do_session), 3);
		w.session[i] = ledger_find(w.l, LEDGER_SESSION, i + 1);
		ck_assert_ptr_nonnull(w.session[i]);
	}
	ck_assert_int_eq(fail_each(&w, do_device), 3 + N_SESSIONS);
	/* The list of pages, a page. */
	ck_assert_int_eq(fail_each(&w, do_share), 2);
	ck_assert_int_eq(fail_each(&w, do_share), 0);
	ck_assert_int_eq(ledger_share_charge(w.l, w.share, LEDGER_VRAM, 101, NULL), 0);
	/* The session's list each time, the share's with the 2nd, 3rd and 5th member. */
	ck_assert_int_eq(fail_each(&w, do_join), 1);
	ck_assert_int_eq(fail_each(&w, do_join), 2);
	ck_assert_int_eq(fail_each(&w, do_join), 2);
	ck_assert_int_eq(fail_each(&w, do_join), 1);
	ck_assert_int_eq(fail_each(&w, do_join), 2);
	/* Everything that gives back works without memory. */
	budget = 0;
	for (i = 0; i < N_SESSIONS; i++)
		ledger_session_free(w.l, w.session[i]);
	ck_assert_int_eq(ledger_share_uncharge(w.l, w.share, LEDGER_VRAM, 101), 0);
	ck_assert_int_eq(ledger_share_free(w.l, w.share), 0);
	ck_assert_int_eq(budget, 0);
	budget = -1;
	ledger_free(w.l);
}
END_TEST

START_TEST(test_charges_need_no_memory)
{
	struct world w = { .share = 0 };
	struct ledger_group *limit;

	w.l = ledger_new();
	ck_assert_int_eq(ledger_group_new(w.l, LEDGER_USER, 1, NULL, &w.user), 0);
	ck_assert_int_eq(do_device(&w), 0);
	ck_assert_int_eq(do_session(&w), 0);
	ck_assert_int_eq(do_session(&w), 0);
	w.session[0] = ledger_find(w.l, LEDGER_SESSION, 1);
	w.session[1] = ledger_find(w.l, LEDGER_SESSION, 2);
	ck_assert_int_eq(do_share(&w), 0);
	ck_assert_int_eq(ledger_share_join(w.l, w.share, w.session[0], false, NULL), 0);

	budget = 0;
	ck_assert_int_eq(ledger_try_charge(w.l, w.session[0], 0, 0, 10, &limit), 0);
	ck_assert_int_eq(ledger_try_charge(w.l, w.session[0], 0, 0, 10000, &limit), -ENOSPC);
	ck_assert_int_eq(ledger_transfer(w.l, w.session[0], 0, 0, 1, 5, &limit), 0);
	ck_assert_int_eq(ledger_give(w.l, w.session[0], w.session[1], 0, 0, 5, &limit), 0);
	ck_assert_int_eq(ledger_uncharge(w.l, w.session[1], 0, 0, 5), 0);
	ck_assert_int_eq(ledger_share_charge(w.l, w.share, 0, 10, &limit), 0);
	ck_assert_int_eq(ledger_share_transfer(w.l, w.share, 0, 2, 4, &limit), 0);
	ck_assert_int_eq(ledger_share_uncharge(w.l, w.share, 0, 6), 0);
	ck_assert_int_eq(ledger_limit_set(w.l, w.user, 0, 0, LEDGER_LOW, 3), 0);
	ck_assert_int_eq(budget, 0);
	budget = -1;
	ledger_free(w.l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger_alloc");
	TCase *tc = tcase_create("alloc");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_every_allocation_fails_once);
	tcase_add_test(tc, test_charges_need_no_memory);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
