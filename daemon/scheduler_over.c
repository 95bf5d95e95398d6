// SPDX-License-Identifier: GPL-2.0-only
/*
 * Groups that stand at a limit of their own: what goes of theirs, and who has to wait.
 *
 * max is hard. What would pass it was refused by the ledger, and the group gives something back first. Above it, after it
 * was lowered, everything of the group goes that can, down to what others outside have in common with it.
 * high is soft: who is above it gives something back before it loads, and if that does not bring it down, its
 * loads are spaced out in proportion to the excess, as memory.high does; nothing is loaded ahead for it. Nobody else
 * waits for that, and nothing fails.
 */
#include "daemon/scheduler.h"

#include <errno.h>

#include "common/err.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"

/* Above high by as much as high is: a load of so many bytes in so long, which is also the longest that one waits. */
#define HIGH_BYTES (2u << 20)
#define HIGH_NS	   1000000000ull
/* Others wait while this daemon takes things back: not longer than so long at a time. */
#define RECLAIM_NS 5000000ull
#define MAX_OVER   64

bool used_by_group_only(struct scheduler *s, const struct object *object,
			const struct arbiter_group *group)
{
	const struct use *use;

	if (list_is_empty(&object->uses))
		return false;
	list_for_each(use, &object->uses, in_object)
		if (arbiter_is_member(s->arbiter, use->session->id, group) != 1)
			return false;
	return true;
}

bool used_by_group(struct scheduler *s, const struct object *object,
		   const struct arbiter_group *group)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (arbiter_is_member(s->arbiter, use->session->id, group) == 1)
			return true;
	return false;
}

/* The latest needed chunk of an object that may go. */
static bool latest_of(struct object *object, uint64_t now_ns, struct policy_victim *out)
{
	bool found = false;

	for (uint32_t c = 0; c < object->mem->n_chunks; c++) {
		const struct chunk *chunk = &object->chunks[c];
		uint64_t next_ns;

		if (chunk->state != CHUNK_RESIDENT || chunk->holds || chunk->flags & CHUNK_PINNED)
			continue;
		next_ns = policy_next_use(object->policy, c, now_ns);
		if (found && next_ns <= out->next_ns)
			continue;
		*out = (struct policy_victim){ .chunk = c, .next_ns = next_ns };
		found = true;
	}
	return found;
}

struct want want_of(struct scheduler *s, struct object *object, const struct use *use)
{
	struct want want = { .object = object, .who = use ? use->session : NULL };
	struct policy_tenant_info info;

	if (want.who && policy_tenant_info(s->policy, (uint32_t)want.who->id, &info) == 0)
		want.below = info.usage_bytes + object->mem->chunk_bytes <= info.quota_bytes;
	return want;
}

/*
 * Who goes first where several could: who has more than its share, for one who has less; else that or what is one's own,
 * whichever is needed later; else anybody.
 */
static int rank(const struct object *object, const struct want *want)
{
	const struct use *first = list_first(&object->uses, struct use, in_object);
	bool over = policy_object_is_over(object->policy);

	if (over && want->below)
		return 2;
	return over || object == want->object || (first && first->session == want->who);
}

/*
 * What goes for a group that stands at its limit: of what may be taken, objects of its own before those that it shares.
 * Return: 0, or -EAGAIN if nothing of it can go now.
 */
static int take_in_group(struct scheduler *s, const struct arbiter_group *group,
			 const struct want *want, uint64_t now_ns, enum take take,
			 struct chunk_ref *out)
{
	struct policy_victim best = { 0 }, v;
	struct object *object;
	int best_rank = -1;

	for (int shared = 0; shared <= 1 && best_rank < 0; shared++) {
		list_for_each(object, &s->objects, node) {
			int r;

			if (object->pinned || !object->resident_bytes ||
			    !(shared ? used_by_group : used_by_group_only)(s, object, group))
				continue;
			r = rank(object, want);
			if (r < best_rank)
				continue;
			if (object != want->object &&
			    !tenants_allow(s, object, ARBITER_VRAM, object->mem->chunk_bytes,
					   want->who, group, take))
				continue;
			/* What was just loaded is not among those that the policy names; a limit has no such mercy. */
			if (policy_object_victim(object->policy, now_ns, object == want->object,
						 &v) < 0 &&
			    !latest_of(object, now_ns, &v))
				continue;
			if (r == best_rank && v.next_ns <= best.next_ns)
				continue;
			best = v;
			best_rank = r;
			*out = (struct chunk_ref){ .object = object, .chunk = v.chunk };
		}
	}
	return best_rank < 0 ? -EAGAIN : 0;
}

/*
 * A group stands at its limit and pays for its own evictions: this walks the objects.
 * Return: 0, or -EAGAIN if nothing of it can go now.
 */
int victim_in_group(struct scheduler *s, const struct arbiter_group *group, const struct want *want,
		    uint64_t now_ns, enum take most, struct chunk_ref *out)
{
	int r = -EAGAIN;

	for (int take = TAKE_FREE; r < 0 && take <= (int)most; take++) {
		r = take_in_group(s, group, want, now_ns, (enum take)take, out);
		/* With nothing protected all three are the same. */
		if (!s->tenants.protects[ARBITER_VRAM])
			break;
	}
	return r;
}

int victim_beside(struct scheduler *s, const struct want *want, uint64_t now_ns,
		  struct chunk_ref *out)
{
	const struct tenant *tenant = want->who ? &want->who->tenant : NULL;
	struct arbiter_group group;

	for (uint32_t i = 0; tenant && i < tenant->n_groups; i++)
		if (tenant_protects(tenant, i, ARBITER_VRAM, &group) &&
		    victim_in_group(s, &group, want, now_ns, TAKE_LOW, out) == 0)
			return 0;
	return -EAGAIN;
}

/* Bytes of the group that are on their way out. */
static uint64_t leaving(struct scheduler *s, const struct arbiter_group *group)
{
	struct object *object;
	uint64_t bytes = 0;

	list_for_each(object, &s->objects, node)
		if (object->leaving_bytes && used_by_group_only(s, object, group))
			bytes += object->leaving_bytes;
	return bytes;
}

/* ---- high ------------------------------------------------------------------------- */

/* How long the next load has to wait after this one. */
static uint64_t delay_ns(uint64_t excess, uint64_t high, uint64_t bytes)
{
	unsigned __int128 ns = (unsigned __int128)HIGH_NS * excess * bytes;

	ns = high ? ns / high / HIGH_BYTES : HIGH_NS;
	return ns < HIGH_NS ? (uint64_t)ns : HIGH_NS;
}

/* One group, or the session itself. Return: 0 (may load), -EAGAIN, -EBUSY. */
static int heed_one(struct scheduler *s, struct tenant_high *high, const struct want *want,
		    uint32_t chunk, bool is_demand)
{
	uint32_t len = gpu_chunk_len(want->object->mem, chunk);
	uint64_t now = loop_now(), usage = high->usage;
	struct chunk_ref ref;

	if (!is_demand && usage > high->bytes)
		return -EAGAIN;
	/* What comes, and as much again while there is too much. */
	for (int n = usage > high->bytes ? 2 : 1; n > 0 && usage + len > high->bytes; n--) {
		int r;

		if (leaving(s, &high->group) + high->bytes >= usage + len)
			return -EBUSY;
		if (victim_in_group(s, &high->group, want, now, TAKE_FREE, &ref) < 0)
			break;
		if (!is_demand && policy_next_use(ref.object->policy, ref.chunk, now) <=
					  policy_next_use(want->object->policy, chunk, now))
			return -EAGAIN;
		r = evict(s, ref.object, ref.chunk, &want->object->chunks[chunk],
			  want->who ? want->who->id : 0);
		if (r == 1 || r == -EAGAIN)
			return -EBUSY;
		if (r == 0)
			usage -= gpu_chunk_len(ref.object->mem, ref.chunk) < usage ?
					 gpu_chunk_len(ref.object->mem, ref.chunk) :
					 usage;
	}
	if (usage + len <= high->bytes)
		return 0;
	if (!is_demand)
		return -EAGAIN;
	if (now < *high->next_ns)
		return -EBUSY;
	*high->next_ns = now + delay_ns(usage + len - high->bytes, high->bytes, len);
	return 0;
}

/* Above a high of a lower tier: what is loaded sooner or later pushes something there. */
static int heed_tiers(struct scheduler *s, struct scheduler_session *ss, uint32_t len,
		      bool is_demand)
{
	uint64_t now = loop_now();
	struct tenant_high high;

	for (uint32_t tier = ARBITER_HOST; tier < ARBITER_N_TIERS; tier++) {
		for (uint32_t i = 0; s->tenants.has_high[tier] && i <= ss->tenant.n_groups; i++) {
			if (!tenant_high(s, ss, i, tier, &high) || high.usage <= high.bytes)
				continue;
			if (!is_demand)
				return -EAGAIN;
			/* Copies that are dropped at once make the excess good. */
			if (tier == ARBITER_HOST &&
			    tiers_give(s, &high.group, high.usage - high.bytes) >=
				    high.usage - high.bytes)
				continue;
			if (now < *high.next_ns) {
				ss->tenant.throttled_ns = now;
				return -EBUSY;
			}
			*high.next_ns = now + delay_ns(high.usage - high.bytes, high.bytes, len);
		}
	}
	return 0;
}

int heed_high(struct scheduler *s, struct object *object, uint32_t chunk, struct use *use,
	      bool is_demand)
{
	struct scheduler_session *ss = use ? use->session : NULL;
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct tenant_high high;
	struct want want;
	int r;

	if (!ss)
		return 0;
	r = heed_tiers(s, ss, len, is_demand);
	if (r < 0 || !s->tenants.has_high[ARBITER_VRAM])
		return r;
	want = want_of(s, object, use);
	for (uint32_t i = 0; i <= ss->tenant.n_groups; i++) {
		if (!tenant_high(s, ss, i, ARBITER_VRAM, &high) || high.usage + len <= high.bytes)
			continue;
		r = heed_one(s, &high, &want, chunk, is_demand);
		if (r < 0) {
			ss->tenant.throttled_ns = loop_now();
			return r;
		}
	}
	return 0;
}

static bool has_room_below_high(struct scheduler *s, struct scheduler_session *ss, uint32_t len)
{
	struct tenant_high high;

	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++) {
		/* What is loaded now pushes something there later. */
		uint32_t more = tier == ARBITER_VRAM ? len : 0;

		for (uint32_t i = 0; s->tenants.has_high[tier] && i <= ss->tenant.n_groups; i++)
			if (tenant_high(s, ss, i, tier, &high) && high.usage + more > high.bytes)
				return false;
	}
	return true;
}

bool high_allows(struct scheduler *s, const struct object *object, uint32_t len)
{
	const struct use *use;

	tenants_look(s);
	list_for_each(use, &object->uses, in_object)
		if (!has_room_below_high(s, use->session, len))
			return false;
	return true;
}

/* ---- taking back -------------------------------------------------------------------- */

/* Return: true if time is up. */
static bool reclaim_one(struct scheduler *s, const struct arbiter_over *over, uint64_t until_ns)
{
	bool hard = over->over_max > 0;
	uint64_t excess = over->over_max > over->over_high ? over->over_max : over->over_high;
	uint64_t gone = leaving(s, &over->group);
	const struct want want = { 0 };
	struct chunk_ref ref;

	while (gone < excess) {
		int r = 0;

		if (loop_now() >= until_ns)
			return true;
		/* What is cached for nobody counts for nobody but the device. */
		if (over->group.kind != ARBITER_ROOT || !find_unused(s, &ref.object, &ref.chunk))
			r = victim_in_group(s, &over->group, &want, loop_now(),
					    hard ? TAKE_MIN : TAKE_FREE, &ref);
		if (r < 0) {
			s->over |= hard;
			return false;
		}
		r = evict(s, ref.object, ref.chunk, NULL, 0);
		if (r == -EAGAIN)
			return false;
		if (r >= 0)
			gone += gpu_chunk_len(ref.object->mem, ref.chunk);
	}
	return false;
}

void reclaim_over(struct scheduler *s, uint64_t now_ns)
{
	uint64_t until_ns = loop_now() + RECLAIM_NS;
	struct arbiter_over over[MAX_OVER];
	int n;

	(void)now_ns;
	tenants_look(s);
	n = arbiter_over(s->arbiter, s->dev, ARBITER_VRAM, over, MAX_OVER);
	s->over = s->reclaiming = false;
	tiers_reclaim(s);
	for (int i = 0; i < n && i < MAX_OVER; i++) {
		if (!reclaim_one(s, &over[i], until_ns))
			continue;
		s->reclaiming = true;
		retry_soon(s);
		break;
	}
}
