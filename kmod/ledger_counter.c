// SPDX-License-Identifier: GPL-2.0-only
/* The ledger's counters: note a change above a session, judge it, make it real. */
#include "kmod/ledger_internal.h"

/* What of its use a counter claims to be protected. */
static u64 claim_of(const struct ledger_group *g, const struct ledger_counter *c, u32 key)
{
	if (g->kind != LEDGER_SESSION && !(c->set & (1u << key)))
		return c->children_prot[key];
	return vram_min(c->usage, c->limit[key]);
}

/*
 * Make the pending change of one counter real. @claim comes in as the change of
 * its children's claims and goes out as the change of its own (mod 2^64).
 */
static void settle_one(struct ledger *l, struct ledger_group *g, u32 home, u32 tier,
		       u64 claim[LEDGER_N_PROT])
{
	struct ledger_counter *c = ledger_counter_of(g, home, tier);
	bool was_over = ledger_is_over(c);
	u32 k;

	c->usage += c->pending;
	c->pending = 0;
	c->peak = vram_max(c->peak, c->usage);
	l->device[home].n_over[tier] += ledger_is_over(c);
	l->device[home].n_over[tier] -= was_over;
	for (k = 0; k < LEDGER_N_PROT; k++) {
		u64 now;

		c->children_prot[k] += claim[k];
		now = claim_of(g, c, k);
		claim[k] = now - c->prot[k];
		c->prot[k] = now;
	}
}

/* The same for @g and everything above it but the root's usage. */
void ledger_settle(struct ledger *l, struct ledger_group *g, u32 home, u32 tier)
{
	u64 first[LEDGER_N_PROT] = { 0, 0 };
	struct ledger_group *p;
	u32 chain, k;

	settle_one(l, g, home, tier, first);
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++) {
		u64 claim[LEDGER_N_PROT] = { first[0], first[1] };

		if (!ledger_in_chain(g, chain))
			continue;
		for (p = g->parent[chain]; p; p = p->parent[chain])
			settle_one(l, p, home, tier, claim);
		for (k = 0; k < LEDGER_N_PROT; k++)
			l->device[home].root_prot[tier][chain][k] += claim[k];
	}
}

void ledger_pend(struct ledger_group *session, u32 home, u32 tier, u64 delta)
{
	struct ledger_group *p;
	u32 chain;

	ledger_counter_of(session, home, tier)->pending += delta;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			ledger_counter_of(p, home, tier)->pending += delta;
}

void ledger_unpend(struct ledger_group *session, u32 home, u32 tier)
{
	struct ledger_group *p;
	u32 chain;

	ledger_counter_of(session, home, tier)->pending = 0;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			ledger_counter_of(p, home, tier)->pending = 0;
}

/* A counter above its max refuses what raises it, not what lowers it. */
static bool refuses(const struct ledger_counter *c)
{
	u64 next = c->usage + c->pending;

	return next > c->usage && next > c->limit[LEDGER_MAX];
}

/* Return: the lowest group that refuses what is pending for @session, or NULL. */
struct ledger_group *ledger_refusing(struct ledger_group *session, u32 home, u32 tier)
{
	struct ledger_group *p;
	u32 chain;

	if (refuses(ledger_counter_of(session, home, tier)))
		return session;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			if (refuses(ledger_counter_of(p, home, tier)))
				return p;
	return NULL;
}

bool ledger_root_refuses(const struct ledger *l, u32 home, u32 tier, u64 bytes)
{
	const struct ledger_counter *c = ledger_counter_of(&l->root, home, tier);

	return bytes &&
	       (c->usage > c->limit[LEDGER_MAX] || bytes > c->limit[LEDGER_MAX] - c->usage);
}

void ledger_root_add(struct ledger *l, u32 home, u32 tier, u64 delta)
{
	struct ledger_counter *c = ledger_counter_of(&l->root, home, tier);
	bool was_over = ledger_is_over(c);

	c->usage += delta;
	c->peak = vram_max(c->peak, c->usage);
	l->device[home].n_over[tier] += ledger_is_over(c);
	l->device[home].n_over[tier] -= was_over;
}

/* Count a refusal and name it. Return: the error. */
int ledger_refuse(struct ledger *l, struct ledger_group *group, u32 home, u32 tier,
		  struct ledger_group **out_limit)
{
	ledger_counter_of(group, home, tier)->refused++;
	if (out_limit)
		*out_limit = group;
	return group == &l->root ? -ENOSPC : -EDQUOT;
}
