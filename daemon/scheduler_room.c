// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making room: charges, victims, and what keeps a victim from going.
 *
 * A chunk goes when its charge is needed by another. Which one, the policy says for the device as a
 * whole; a group that stands at a limit of its own gives up what it needs last itself. A chunk that
 * cannot go now (pinned, or a buffer's that finds no place in swap) is set aside: the policy does
 * not offer it again until recheck_pinned() finds it free.
 */
#include "daemon/scheduler.h"

#include <errno.h>

#include "common/err.h"
#include "daemon/log.h"
#include "daemon/log_refusal.h"
#include "daemon/scheduler_private.h"
#include "daemon/scheduler_trace.h"

/* Victims to be tried for one chunk before others get their turn. */
#define VICTIM_TRIES 64

void refresh_evictable(struct object *object, uint32_t chunk)
{
	const struct chunk *c = &object->chunks[chunk];

	policy_evictable(object->policy, chunk,
			 c->state == CHUNK_RESIDENT && c->holds == 0 &&
				 !(c->flags & CHUNK_PINNED) && !object->pinned);
}

void chunk_gone(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t who)
{
	const struct arbiter_hint hint = hint_evict(object, who);
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct use *use;

	policy_resident(object->policy, chunk, false);
	arbiter_share_uncharge_for(s->arbiter, object->share, ARBITER_VRAM, len, &hint);
	if (trace_on(vram_chunk_evict))
		scheduler_trace_gone(s, object, chunk, &hint);
	object->chunks[chunk].was_evicted = 1;
	object->resident_bytes -= len;
	s->resident_bytes -= len;
	object->evicted_bytes += len;
	s->evicted_bytes += len;
	list_for_each(use, &object->uses, in_object)
		use->session->evicted_bytes += len;
}

/* Not now: look again in a moment. */
void set_aside(struct scheduler *s, struct object *object, uint32_t chunk)
{
	struct chunk *c = &object->chunks[chunk];
	const struct chunk_ref ref = { .object = object, .chunk = chunk, .since_ns = loop_now() };

	if (c->flags & CHUNK_PINNED || queue_push(&s->pinned, &ref) < 0)
		return;
	c->flags |= CHUNK_PINNED;
	refresh_evictable(object, chunk);
}

int evict(struct scheduler *s, struct object *object, uint32_t chunk, const struct chunk *want,
	  uint64_t who)
{
	int r = pager_may_evict(s->pager, object, chunk, want);

	if (r == -EAGAIN)
		return r;
	if (r == -ENOSPC)
		object->chunks[chunk].flags |= CHUNK_NO_PLACE;
	else
		r = object_claim_chunk(object, chunk);
	if (r < 0) {
		set_aside(s, object, chunk);
		return -EBUSY;
	}
	r = pager_evict(s->pager, object, chunk, who);
	if (r == 0) {
		chunk_gone(s, object, chunk, who);
	} else if (r < 0) {
		object_chunk_arrived(object, chunk);
		if (r == -EAGAIN)
			return r;
		set_aside(s, object, chunk);
		return -EBUSY;
	} else {
		object->leaving_bytes += gpu_chunk_len(object->mem, chunk);
		refresh_evictable(object, chunk);
	}
	return r;
}

bool find_unused(struct scheduler *s, struct object **out_object, uint32_t *out_chunk)
{
	struct object *object, *best = NULL;

	list_for_each(object, &s->objects, node)
		if (list_is_empty(&object->uses) && object->resident_bytes && !object->n_moving &&
		    !object->pinned && (!best || object->unused_since_ns < best->unused_since_ns))
			best = object;
	if (!best)
		return false;
	for (uint32_t c = best->mem->n_chunks; c-- > 0;) {
		if (best->chunks[c].state != CHUNK_RESIDENT || best->chunks[c].flags & CHUNK_PINNED)
			continue;
		*out_object = best;
		*out_chunk = c;
		return true;
	}
	return false;
}

/*
 * The chunk that has the memory which this one had last, if it is of the same model and not needed sooner: when that goes,
 * clients find the bytes where they have them mapped already. Without this each pass would bind most
 * of what it loads to other memory.
 */
static bool find_rival(struct object *object, uint32_t chunk, uint64_t now_ns,
		       struct chunk_ref *out)
{
	struct gpu_object *mem;
	const struct chunk *c;
	uint32_t at;

	if (!gpu_chunk_rival(object->mem, chunk, &mem, &at) || mem != object->mem)
		return false;
	c = &object->chunks[at];
	if (c->state != CHUNK_RESIDENT || c->holds || c->flags & CHUNK_PINNED || object->pinned ||
	    policy_next_use(object->policy, at, now_ns) <=
		    policy_next_use(object->policy, chunk, now_ns))
		return false;
	*out = (struct chunk_ref){ .object = object, .chunk = at };
	return true;
}

/* There is nothing to evict now: will there be room by itself? Pins end, and so does what is left of an earlier daemon. */
static bool may_change(const struct scheduler *s)
{
	return s->pinned.n || arbiter_takeover_pending(&s->takeover);
}

/* A group is at its limit. Return: 0 (*out may go) or what make_room() returns. */
static int victim_for_group(struct scheduler *s, const struct arbiter_group *group,
			    const struct want *want, struct use *use, uint32_t chunk,
			    bool is_demand, struct chunk_ref *out)
{
	uint64_t now = loop_now();
	int r = victim_in_group(s, group, want, now, TAKE_LOW, out);

	if (r < 0) {
		/* What is protected may come free one day; what one cannot do without never will. */
		bool waits = may_change(s) || !pager_is_idle(s->pager) ||
			     admission_others_hold(s, use, chunk, group) ||
			     (s->tenants.protects[ARBITER_VRAM] &&
			      victim_in_group(s, group, want, now, TAKE_MIN, out) == 0);

		return waits ? -EBUSY : -EDQUOT;
	}
	/* Ahead of need only for something that is needed later still. */
	if (!is_demand && policy_next_use(out->object->policy, out->chunk, now) <=
				  policy_next_use(want->object->policy, chunk, now))
		return -EAGAIN;
	return 0;
}

/*
 * The device is full. What the policy names is checked with the ledger, which knows better what is protected; what is,
 * it is not named again. Return: 0, 1 (ask again), or what make_room() returns.
 */
static int victim_for_all(struct scheduler *s, const struct want *want, uint32_t chunk,
			  struct use *use, bool is_demand, bool *told, struct chunk_ref *out)
{
	enum take take = *told && is_demand ? TAKE_LOW : TAKE_FREE;
	struct policy_victim victim;
	int r;

	if (find_rival(want->object, chunk, loop_now(), out) ||
	    find_unused(s, &out->object, &out->chunk))
		return 0;
	if (want->who)
		tenant_wants(s, want->who, gpu_chunk_len(want->object->mem, chunk));
	r = policy_victim(s->policy, loop_now(), want->object->policy, chunk,
			  use ? use->policy : NULL, is_demand, &victim);
	if (r == 0) {
		out->object = policy_object_owner(victim.obj);
		out->chunk = victim.chunk;
		if (out->object == want->object ||
		    tenants_allow(s, out->object, ARBITER_VRAM,
				  gpu_chunk_len(out->object->mem, out->chunk), want->who, NULL,
				  take))
			return 0;
		if (*told)
			tenants_guard(s, out->object);
		else
			tenants_protect(s, true);
		*told = true;
		return 1;
	}
	if (r != -ENOSPC)
		return r;
	if (!s->tenants.protects[ARBITER_VRAM])
		return may_change(s) || admission_others_hold(s, use, chunk, NULL) ? -EAGAIN : r;
	if (!*told) {
		*told = true;
		tenants_protect(s, true);
		return 1;
	}
	/* All is protected. What protects the one who asks as well does not hold against it. */
	return victim_beside(s, want, loop_now(), out) == 0 ? 0 : -EAGAIN;
}

/* Groups of others that may each refuse a chunk; one more and the refusal stands. */
#define REFUSING_MAX 8

/*
 * Refused by a limit of others who use the object, in which the one who waits is not: it must not fail by what they may
 * not have, or anybody could open a model and lower a limit of their own to keep it from everybody. Their
 * part is charged to them by force, as when they join, and taken back from them like all that is above a max.
 */
static int charge_past(struct scheduler *s, struct object *object, const struct use *asks,
		       uint32_t len, const struct arbiter_hint *hint, struct arbiter_group *group)
{
	struct use *use;
	int r = -EDQUOT;

	for (int n = 0; r == -EDQUOT && n < REFUSING_MAX; n++) {
		if (arbiter_is_member(s->arbiter, asks->session->id, group) == 1)
			break;
		list_for_each(use, &object->uses, in_object) {
			struct scheduler_session *ss = use->session;

			if (!ss->left_share && arbiter_is_member(s->arbiter, ss->id, group) == 1)
				ss->left_share =
					arbiter_share_leave(s->arbiter, object->share, ss->id) == 0;
		}
		r = arbiter_share_charge_for(s->arbiter, object->share, ARBITER_VRAM, len, hint,
					     group);
	}
	list_for_each(use, &object->uses, in_object) {
		struct scheduler_session *ss = use->session;

		if (ss->left_share &&
		    arbiter_share_join(s->arbiter, object->share, ss->id, true, NULL) < 0)
			log_warn_limited("session %llu uses %s uncharged: out of memory",
					 (unsigned long long)ss->id, object->name);
		ss->left_share = false;
	}
	return r;
}

int make_room(struct scheduler *s, struct object *object, uint32_t chunk, struct use *use,
	      bool is_demand)
{
	const struct arbiter_hint hint = hint_load(object, chunk, use);
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	bool told = false, knows = false;
	struct want want;
	int r;

	tenants_look(s);
	r = heed_high(s, object, chunk, use, is_demand);
	if (r < 0)
		return r;
	for (int tries = 0; tries < VICTIM_TRIES; tries++) {
		struct arbiter_group group;
		struct chunk_ref ref;
		int refused;

		refused = arbiter_share_charge_for(s->arbiter, object->share, ARBITER_VRAM, len,
						   &hint, &group);
		if (refused == -EDQUOT && is_demand && use)
			refused = charge_past(s, object, use, len, &hint, &group);
		if (refused == 0)
			return 0;
		if (refused != -EDQUOT && refused != -ENOSPC)
			return refused;
		if (!knows)
			want = want_of(s, object, use);
		knows = true;
		if (refused == -EDQUOT)
			r = victim_for_group(s, &group, &want, use, chunk, is_demand, &ref);
		else
			r = victim_for_all(s, &want, chunk, use, is_demand, &told, &ref);
		if (r < 0)
			return r;
		if (r == 1)
			continue;
		r = evict(s, ref.object, ref.chunk, &object->chunks[chunk], hint.session);
		if (r == -EAGAIN || r == 1)
			return refused == -EDQUOT ? -EBUSY : -EAGAIN;
	}
	return -EAGAIN;
}

bool only_swap_is_missing(struct scheduler *s)
{
	for (uint32_t i = 0; i < s->pinned.n; i++) {
		const struct chunk_ref *ref = queue_at(&s->pinned, i);

		if (!(ref->object->chunks[ref->chunk].flags & CHUNK_NO_PLACE))
			return false;
	}
	return s->pinned.n > 0 && pager_is_idle(s->pager);
}

/* Pins count while the layer is there. One who waits for it has pinned it already, and keeps nothing. */
static bool is_kept_by(const struct layer *layer)
{
	return residency_state(&layer->shadow) == RESIDENCY_RESIDENT &&
	       residency_pins(layer_residency(layer)) != 0;
}

/* Does anybody but this session wait for a layer? */
static bool others_wait(const struct scheduler *s, const struct scheduler_session *ss)
{
	const struct layer *layer;

	list_for_each(layer, &s->waiting, node)
		if (layer->use->session != ss)
			return true;
	list_for_each(layer, &s->parked, node)
		if (layer->use->session != ss)
			return true;
	return false;
}

/*
 * Who has everything or nothing keeps it for a turn, and is not asked on its own behalf; others were only about to use
 * it. A turn begins anew with what comes in it, which is how long the way in takes; but not without end, or
 * who allocates again and again would have the device for good.
 */
static bool must_go(const struct scheduler *s, const struct scheduler_session *ss,
		    const struct chunk_ref *ref, uint64_t now_ns)
{
	uint64_t timeout = s->config->limits.pin_timeout, since_ns = now_ns - ref->since_ns;

	if (!ss->whole)
		return timeout && since_ns >= timeout / 2;
	if (!s->over && !others_wait(s, ss))
		return false;
	return now_ns - ss->served_ns >= s->config->policy.turn ||
	       (timeout && since_ns >= (ss->n_requests ? timeout : timeout / 2));
}

/* The client of a layer over this chunk that is pinned longest, if it must be asked to let go. */
static void revoke_pins(struct scheduler *s, struct chunk_ref *ref, uint64_t now_ns)
{
	uint64_t timeout = s->config->limits.pin_timeout;
	struct use *use;

	list_for_each(use, &ref->object->uses, in_object) {
		struct scheduler_session *ss = use->session;
		uint64_t begin_ns = ref->since_ns;

		if (!use->n_layers || !must_go(s, ss, ref, now_ns))
			continue;
		for (uint32_t i = use->chunk_first[ref->chunk];
		     i < use->chunk_first[ref->chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];
			uint32_t slot = layer_slot(layer);

			if (!is_kept_by(layer))
				continue;
			/* Its time to leave begins when it is asked, however long others have waited by then. */
			if (ss->whole) {
				if (!ref->asked_ns)
					ref->asked_ns = now_ns;
				begin_ns = ref->asked_ns;
			}
			if (timeout && now_ns - begin_ns >= timeout && !ss->held_by_root)
				ss->ops->fail_bound(
					ss, -ETIMEDOUT,
					"layers stayed pinned longer than limits.pin_timeout "
					"while others waited",
					&(struct log_bound){ .key = "limits.pin_timeout",
							     .asked = now_ns - begin_ns,
							     .limit = timeout,
							     .unit = LOG_UNIT_NS });
			else
				ss->ops->revoke(ss, slot, begin_ns + timeout);
			return;
		}
	}
}

/* Chunks that were pinned: those that are free now may be evicted again. */
void recheck_pinned(struct scheduler *s, uint64_t now_ns)
{
	const struct chunk_ref *next = lanes_first(s);
	const struct chunk *want = NULL;
	uint32_t n = s->pinned.n;

	/* Does the first that waits want something back from swap? */
	if (next)
		want = &next->object->chunks[next->chunk];
	while (n-- > 0) {
		struct chunk_ref ref = *queue_at(&s->pinned, 0);
		struct chunk *c = &ref.object->chunks[ref.chunk];
		bool pinned = false;
		struct use *use;

		queue_pop(&s->pinned);
		list_for_each(use, &ref.object->uses, in_object) {
			if (!use->n_layers)
				continue;
			for (uint32_t i = use->chunk_first[ref.chunk];
			     !pinned && i < use->chunk_first[ref.chunk + 1]; i++) {
				const struct layer *layer = &use->layers[use->chunk_layers[i]];

				pinned = is_kept_by(layer);
			}
		}
		if (pinned && c->state == CHUNK_RESIDENT) {
			/* The time runs only while somebody waits. */
			if (s->blocked || s->over) {
				revoke_pins(s, &ref, now_ns);
			} else {
				ref.since_ns = now_ns;
				ref.asked_ns = 0;
			}
			c->flags &= (uint8_t)~CHUNK_NO_PLACE;
			queue_push(&s->pinned, &ref);
			continue;
		}
		/* Not offered again for nothing: there may be others behind it that can go. */
		if (c->flags & CHUNK_NO_PLACE && c->state == CHUNK_RESIDENT &&
		    pager_may_evict(s->pager, ref.object, ref.chunk, want) == -ENOSPC) {
			queue_push(&s->pinned, &ref);
			continue;
		}
		c->flags &= (uint8_t) ~(CHUNK_PINNED | CHUNK_NO_PLACE);
		refresh_evictable(ref.object, ref.chunk);
	}
}

uint64_t object_evict_all(struct scheduler *s, struct object *object)
{
	uint64_t before = object->resident_bytes;

	for (uint32_t c = 0; c < object->mem->n_chunks; c++)
		if (object->chunks[c].state == CHUNK_RESIDENT && !object->chunks[c].holds)
			evict(s, object, c, NULL, 0);
	return before - object->resident_bytes;
}

/* A client that unregisters its mapping and reads makes zero pages appear in holes. They cost memory that
 * nobody is charged for: take it back. */
void drop_planted(struct scheduler *s)
{
	struct object *object;

	list_for_each(object, &s->objects, node) {
		uint64_t memory = gpu_object_memory(object->mem);

		if (memory <= object->resident_bytes + object->mem->chunk_bytes)
			continue;
		for (uint32_t c = 0; c < object->mem->n_chunks; c++)
			if (object->chunks[c].state == CHUNK_ABSENT)
				gpu_chunk_drop(object->mem, c, 1);
	}
}
