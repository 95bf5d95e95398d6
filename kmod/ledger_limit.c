// SPDX-License-Identifier: GPL-2.0-only
/* The ledger's limits: setting them, what they protect, who is above them. */
#include "kmod/ledger_internal.h"

static u64 limit_default(u32 key)
{
	switch (key) {
	case LEDGER_HIGH:
	case LEDGER_MAX:
		return LEDGER_UNLIMITED;
	case LEDGER_WEIGHT:
		return LEDGER_WEIGHT_DEFAULT;
	default:
		return 0;
	}
}

static int limit_write(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key,
		       u64 value, bool set)
{
	int ret = ledger_check_place(l, dev, tier);
	struct ledger_counter *c;
	u32 home;

	if (ret)
		return ret;
	if (group->kind == LEDGER_ROOT || key >= LEDGER_N_KEYS)
		return -EINVAL;
	home = l->device[dev].home[tier];
	c = ledger_counter_of(group, home, tier);
	c->set = set ? c->set | (1u << key) : c->set & ~(1u << key);
	if (key == LEDGER_WEIGHT) {
		c->weight = value;
		return 0;
	}
	l->device[home].n_over[tier] -= ledger_is_over(c);
	c->limit[key] = value;
	l->device[home].n_over[tier] += ledger_is_over(c);
	ledger_settle(l, group, home, tier);
	return 0;
}

/*
 * ledger_limit_set() - set one limit; in force at once, use above it stays.
 *
 * The root has none but the capacity (ledger_device_resize()).
 *
 * Return: 0; -ENOENT (device), -EINVAL (tier, key, root), -ERANGE (weight).
 */
int ledger_limit_set(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key,
		     u64 value)
{
	if (key == LEDGER_WEIGHT && (value < LEDGER_WEIGHT_MIN || value > LEDGER_WEIGHT_MAX))
		return -ERANGE;
	return limit_write(l, group, dev, tier, key, value, true);
}

/*
 * ledger_limit_clear() - back to the default: min, low 0, high, max unlimited, weight 100.
 *
 * A group without min (low) lets the claims of its children pass; one with min
 * set to 0 does not.
 *
 * Return: as ledger_limit_set().
 */
int ledger_limit_clear(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key)
{
	return limit_write(l, group, dev, tier, key, limit_default(key), false);
}

/* The effective protection of @group by way of one chain, topmost group first. */
static u64 effective(const struct ledger *l, const struct ledger_group *group, u32 home, u32 tier,
		     u32 chain, u32 key)
{
	const struct ledger_group *path[LEDGER_MAX_DEPTH + 1], *p;
	u64 given = ledger_counter_of(&l->root, home, tier)->limit[LEDGER_MAX];
	u64 claimed = l->device[home].root_prot[tier][chain][key];
	u64 parent_usage = 0; /* what of the capacity nobody claims protects nobody */
	u32 n = 0, i;

	for (p = group; p; p = p->parent[chain])
		path[n++] = p;
	for (i = n; i-- > 0;) {
		const struct ledger_counter *c = ledger_counter_of(path[i], home, tier);
		u64 e = c->prot[key];

		if (claimed > given)
			e = vram_mul_div(e, given, claimed);
		else if (given > claimed && parent_usage > claimed && c->usage > e)
			e += vram_mul_div(given - claimed, c->usage - e, parent_usage - claimed);
		given = e;
		claimed = c->children_prot[key];
		parent_usage = c->usage;
	}
	return given;
}

/*
 * ledger_protection() - how much of its use a group or session can keep.
 * @out_emin: not to be reclaimed
 * @out_elow: to be reclaimed only when nothing unprotected is left
 *
 * A session has the best of its chains. The root has none.
 *
 * Return: 0; -ENOENT, -EINVAL.
 */
int ledger_protection(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		      u64 *out_emin, u64 *out_elow)
{
	int ret = ledger_check_place(l, dev, tier);
	u64 best[LEDGER_N_PROT] = { 0, 0 };
	u32 chain, k;

	if (ret)
		return ret;
	for (chain = 0; chain < LEDGER_N_CHAINS && group->kind != LEDGER_ROOT; chain++)
		for (k = 0; k < LEDGER_N_PROT && ledger_in_chain(group, chain); k++)
			best[k] = vram_max(best[k], effective(l, group, l->device[dev].home[tier],
							      tier, chain, k));
	*out_emin = best[LEDGER_MIN];
	*out_elow = best[LEDGER_LOW];
	return 0;
}

static u64 above(u64 usage, u64 limit)
{
	return usage > limit ? usage - limit : 0;
}

/*
 * ledger_read() - everything about one (group, device, tier).
 *
 * Return: 0; -ENOENT, -EINVAL.
 */
int ledger_read(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		struct ledger_usage *out_usage)
{
	struct ledger_usage *u = out_usage;
	const struct ledger_counter *c;
	u64 emin, elow;
	int ret;
	u32 k;

	ret = ledger_protection(l, group, dev, tier, &emin, &elow);
	if (ret)
		return ret;
	c = ledger_counter_of(group, l->device[dev].home[tier], tier);
	u->usage = c->usage;
	u->own = c->own;
	u->peak = c->peak;
	u->refused = c->refused;
	u->emin = emin;
	u->elow = elow;
	u->over_high = above(c->usage, c->limit[LEDGER_HIGH]);
	u->over_max = above(c->usage, c->limit[LEDGER_MAX]);
	for (k = 0; k < LEDGER_WEIGHT; k++)
		u->limit[k] = c->limit[k];
	u->limit[LEDGER_WEIGHT] = c->weight;
	u->set = c->set;
	return 0;
}

/*
 * ledger_over() - the groups above their high or max, the root included.
 *
 * O(1) if there are none, else O(groups).
 *
 * Return: how many there are, the first @n_out of them in @out; -ENOENT, -EINVAL.
 */
int ledger_over(const struct ledger *l, u32 dev, u32 tier, struct ledger_over *out, u32 n_out)
{
	int ret = ledger_check_place(l, dev, tier);
	const struct ledger_group *g;
	u32 home, left, n = 0;

	if (ret)
		return ret;
	home = l->device[dev].home[tier];
	left = l->device[home].n_over[tier];
	for (g = &l->root; g && left; g = g->next) {
		const struct ledger_counter *c = ledger_counter_of(g, home, tier);

		if (!ledger_is_over(c))
			continue;
		left--;
		if (n < n_out) {
			out[n].group = (struct ledger_group *)g;
			out[n].over_high = above(c->usage, c->limit[LEDGER_HIGH]);
			out[n].over_max = above(c->usage, c->limit[LEDGER_MAX]);
		}
		n++;
	}
	return (int)n;
}
