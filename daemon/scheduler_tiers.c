// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits in the tiers below the device.
 *
 * The host tier holds copies. Those of files can be dropped, the only ones of buffers can go on to swap. So it is
 * reclaimed from as the device is: whose copy makes way for another is a matter of who is above a limit, then of who has
 * more than its share, and what is protected is left alone.
 *
 * Swap is the last place that bytes can go to: nothing is ever taken from there. So limits decide who gets more of it. A min
 * is kept free for whom it is set. A low is, too, but only from those who have more than their share; and of the last
 * quarter those get none while somebody has less. What does not get a place stays where it is, and counts there.
 *
 * Above a high, in either tier, loads are slowed down as on the device (scheduler_over.c).
 *
 * Shares are worked out when something is short, for a while; who has more is looked up each time.
 */
#include "daemon/scheduler.h"

#include <stdlib.h>

#include "daemon/policy_fill.h"
#include "daemon/scheduler_private.h"

#define SHARES_NS 100000000ull
#define MAX_OVER  16
/* Bytes that are given back at a time, so that others get their turn. */
#define GIVE_CHUNKS 16

/* ---- shares ------------------------------------------------------------------------ */

/* What the session could use of the tier: of the host tier all that it has open, of swap its buffers. */
static uint64_t need_of(const struct scheduler_session *ss, uint32_t tier)
{
	const struct use *use, *other;
	uint64_t bytes = 0;

	list_for_each(use, &ss->uses, in_session) {
		uint64_t n = 0;

		if (tier == ARBITER_DISK && use->object->kind != POLICY_BUFFER)
			continue;
		list_for_each(other, &use->object->uses, in_object)
			n++;
		bytes += use->object->size_bytes / (n ? n : 1);
	}
	return bytes;
}

static uint64_t capacity_of(const struct scheduler *s, uint32_t tier)
{
	if (tier == ARBITER_HOST)
		return (uint64_t)hostpool_n_slots(s->hostpool) * hostpool_slot_bytes(s->hostpool);
	return swap_size(s->swap);
}

/* Who has more than its share, and whether anybody has less and could use more. */
static void compute(struct scheduler *s, uint32_t tier)
{
	struct tenants *t = &s->tenants;
	struct scheduler_session *ss;
	struct fill_node *nodes;
	uint32_t n, i;

	t->under[tier] = false;
	nodes = calloc(s->n_sessions + t->n_groups + 1, sizeof(*nodes));
	/* Then it is as it was. */
	if (!nodes)
		return;
	n = tenants_tree(s, tier, nodes);
	i = n;
	list_for_each(ss, &s->sessions, node) {
		nodes[i] = (struct fill_node){
			.parent = tenant_node(&ss->tenant),
			.weight = (uint32_t)ss->tenant.own[tier].value[ARBITER_WEIGHT],
			.floor = ss->tenant.own[tier].value[ARBITER_MIN],
			.need = need_of(ss, tier),
		};
		if (ss->tenant.own[tier].value[ARBITER_MAX] < nodes[i].need)
			nodes[i].need = ss->tenant.own[tier].value[ARBITER_MAX];
		i++;
	}
	fill_divide(nodes, i, capacity_of(s, tier));
	i = n;
	list_for_each(ss, &s->sessions, node) {
		ss->tenant.share[tier] = nodes[i].quota;
		t->under[tier] |= tenant_usage(s, ss, tier) + s->chunk_bytes <= nodes[i].quota;
		i++;
	}
	free(nodes);
}

static void look(struct scheduler *s, uint32_t tier)
{
	uint64_t now = loop_now();

	tenants_look(s);
	if (s->tenants.shares_ns[tier] && now - s->tenants.shares_ns[tier] < SHARES_NS)
		return;
	s->tenants.shares_ns[tier] = now;
	compute(s, tier);
}

/* Has everybody who uses the object more than its share, or would have with another chunk? */
static bool all_over(const struct scheduler *s, const struct object *object, uint32_t tier,
		     uint64_t bytes)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (tenant_usage(s, use->session, tier) + bytes <= use->session->tenant.share[tier])
			return false;
	return true;
}

/* ---- rules ------------------------------------------------------------------------- */

/* Is everybody who uses the object in something that is above its high or max? */
static bool is_above(struct scheduler *s, const struct object *object, uint32_t tier)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (!tenant_is_above(s, use->session, tier))
			return false;
	return !list_is_empty(&object->uses);
}

static int rank(void *owner, const struct object *object, const struct object *want)
{
	const struct use *first = list_first(&want->uses, const struct use, in_object);
	struct scheduler *s = owner;

	/* Kept for nobody. */
	if (list_is_empty(&object->uses))
		return 5;
	look(s, ARBITER_HOST);
	if (is_above(s, object, ARBITER_HOST))
		return 4;
	if (object == want)
		return 2;
	if (!tenants_allow(s, object, ARBITER_HOST, s->chunk_bytes, first ? first->session : NULL,
			   NULL, TAKE_FREE))
		return tenants_allow(s, object, ARBITER_HOST, s->chunk_bytes,
				     first ? first->session : NULL, NULL, TAKE_LOW) ?
			       0 :
			       -1;
	return all_over(s, object, ARBITER_HOST, 0) &&
			       !all_over(s, want, ARBITER_HOST, s->chunk_bytes) ?
		       3 :
		       1;
}

static bool may_swap(void *owner, const struct object *object)
{
	struct scheduler *s = owner;
	uint64_t size = swap_size(s->swap), left = size - swap_used(s->swap);
	bool over;

	tenants_look(s);
	if (tenants_at_max(s, object, ARBITER_DISK, s->chunk_bytes))
		return false;
	if (!s->tenants.ranked)
		return true;
	look(s, ARBITER_DISK);
	over = all_over(s, object, ARBITER_DISK, s->chunk_bytes);
	if (over && s->tenants.under[ARBITER_DISK] && left < size / 4 + s->chunk_bytes)
		return false;
	return left >= s->chunk_bytes + tenants_reserved(s, object, ARBITER_DISK, over);
}

const struct pager_rules tiers_rules = {
	.rank = rank,
	.may_swap = may_swap,
};

/* ---- taking back ------------------------------------------------------------------- */

/* The group's own first, then what it has with others. */
uint64_t tiers_give(struct scheduler *s, const struct arbiter_group *group, uint64_t bytes)
{
	struct object *object;
	uint64_t given = 0;

	for (int shared = 0; shared <= 1; shared++)
		list_for_each(object, &s->objects, node)
			if (given < bytes && object->host.n &&
			    (shared ? used_by_group : used_by_group_only)(s, object, group))
				given += pager_host_give(s->pager, object, bytes - given);
	return given;
}

void tiers_reclaim(struct scheduler *s)
{
	const uint64_t most = (uint64_t)GIVE_CHUNKS * s->chunk_bytes;
	struct arbiter_over over[MAX_OVER];
	int n;

	if (!s->hostpool)
		return;
	n = arbiter_over(s->arbiter, s->dev, ARBITER_HOST, over, MAX_OVER);
	for (int i = 0; i < n && i < MAX_OVER; i++) {
		uint64_t excess = over[i].over_max > over[i].over_high ? over[i].over_max :
									 over[i].over_high;

		if (over[i].group.kind != ARBITER_ROOT &&
		    tiers_give(s, &over[i].group, excess < most ? excess : most) < excess)
			s->reclaiming = true;
	}
}
