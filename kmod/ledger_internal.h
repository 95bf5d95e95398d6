/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the ledger share; nobody else includes it. The model is told at
 * the top of ledger.c.
 */
#ifndef VRAM_KMOD_LEDGER_INTERNAL_H
#define VRAM_KMOD_LEDGER_INTERNAL_H

#include "kmod/ledger.h"

#define LEDGER_N_PROT	2	    /* min and low: the limits that protect */
#define LEDGER_NO_SHARE 0xffffffffu /* the end of the list of free shares */

static inline struct ledger_counter *ledger_counter_of(const struct ledger_group *g, u32 home,
						       u32 tier)
{
	return &g->row[home]->tier[tier];
}

static inline bool ledger_is_over(const struct ledger_counter *c)
{
	return c->usage > vram_min(c->limit[LEDGER_HIGH], c->limit[LEDGER_MAX]);
}

/* Is @g, a session or a group, a member of this chain? Every one is in at least one. */
static inline bool ledger_in_chain(const struct ledger_group *g, u32 chain)
{
	if (g->kind != LEDGER_SESSION)
		return chain == LEDGER_CHAIN(g->kind);
	return g->parent[chain] || (!chain && !g->parent[1] && !g->parent[2]);
}

static inline int ledger_check_place(const struct ledger *l, u32 dev, u32 tier)
{
	if (dev >= l->n_devices)
		return -ENOENT;
	return tier < LEDGER_N_TIERS ? 0 : -EINVAL;
}

/* ledger_counter.c */
void ledger_settle(struct ledger *l, struct ledger_group *g, u32 home, u32 tier);
void ledger_pend(struct ledger_group *session, u32 home, u32 tier, u64 delta);
void ledger_unpend(struct ledger_group *session, u32 home, u32 tier);
struct ledger_group *ledger_refusing(struct ledger_group *session, u32 home, u32 tier);
bool ledger_root_refuses(const struct ledger *l, u32 home, u32 tier, u64 bytes);
void ledger_root_add(struct ledger *l, u32 home, u32 tier, u64 delta);
int ledger_refuse(struct ledger *l, struct ledger_group *group, u32 home, u32 tier,
		  struct ledger_group **out_limit);

#endif
