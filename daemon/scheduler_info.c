// SPDX-License-Identifier: GPL-2.0-only
/* What the scheduler shows of itself, and the administrator's eviction. */
#include "daemon/scheduler.h"

#include <string.h>

#include "daemon/scheduler_private.h"

void scheduler_stats(struct scheduler *s, struct scheduler_stats *out)
{
	const struct pager_stats *pager = pager_stats(s->pager);
	const struct arbiter_subject root = { .kind = ARBITER_ROOT };
	uint64_t used[ARBITER_N_TIERS] = { 0 };
	struct scheduler_session *ss;
	struct arbiter_usage usage;
	struct arbiter_group group;
	uint32_t tier;

	memset(out, 0, sizeof(*out));
	out->paged_in_bytes = s->paged_in_bytes;
	out->paged_out_bytes = pager->swap_out_bytes + pager->link_out_bytes;
	out->evicted_bytes = s->evicted_bytes;
	out->faults = s->faults;
	out->inflight_bytes = pager->inflight_bytes;
	out->n_demands = s->n_demands;
	out->huge = s->gpu->huge;
	out->budget_bytes = s->gpu->budget_bytes;
	out->peak_bytes = s->peak_bytes;
	if (s->hostpool)
		out->host_budget_bytes =
			(uint64_t)hostpool_n_slots(s->hostpool) * hostpool_slot_bytes(s->hostpool);
	if (s->swap)
		out->swap_size_bytes = swap_size(s->swap);
	/* What is in use the ledger says, here as for users and sessions. */
	if (arbiter_find(s->arbiter, &root, &group) == 0)
		for (tier = 0; tier < ARBITER_N_TIERS; tier++)
			if (scheduler_has_tier(s, tier) &&
			    arbiter_usage(s->arbiter, &group, s->dev, tier, &usage) == 0)
				used[tier] = usage.usage;
	out->resident_bytes = used[ARBITER_VRAM];
	out->host_used_bytes = used[ARBITER_HOST];
	out->swap_used_bytes = used[ARBITER_DISK];
	out->stall_ns = s->stall_ns;
	list_for_each(ss, &s->sessions, node) {
		out->stall_ns += ss->stall_ns;
		if (ss->n_stalls)
			out->stall_ns += loop_now() - ss->stall_since_ns;
	}
}

bool scheduler_has_tier(const struct scheduler *s, uint32_t tier)
{
	return tier == ARBITER_VRAM || (tier == ARBITER_HOST && s->hostpool) ||
	       (tier == ARBITER_DISK && s->swap);
}

uint64_t scheduler_memory_bytes(const struct scheduler *s)
{
	const struct object *object;
	uint64_t bytes = 0;

	list_for_each(object, &s->objects, node)
		bytes += gpu_object_memory(object->mem);
	return bytes;
}

/* What the session may have of the device. */
static uint64_t limit_of(struct scheduler *s, const struct scheduler_session *ss)
{
	const struct arbiter_subject subjects[] = {
		{ .kind = ARBITER_SESSION, .id = ss->id },
		{ .kind = ARBITER_USER, .id = ss->uid },
	};
	uint64_t bytes = s->gpu->budget_bytes;
	struct arbiter_limits limits;

	for (int i = 0; i < 2; i++)
		if (arbiter_limit_get(s->arbiter, &subjects[i], s->dev, ARBITER_VRAM, &limits) ==
			    0 &&
		    limits.value[ARBITER_MAX] < bytes)
			bytes = limits.value[ARBITER_MAX];
	return bytes;
}

void scheduler_session_info(struct scheduler *s, const struct scheduler_session *ss,
			    struct scheduler_session_info *out)
{
	const struct arbiter_subject subject = { .kind = ARBITER_SESSION, .id = ss->id };
	struct arbiter_usage usage;
	struct arbiter_group group;
	const struct use *use;

	*out = (struct scheduler_session_info){
		.ss = ss,
		.name = ss->ops->name(ss),
		.stall_ns = ss->stall_ns,
		.limit_bytes = limit_of(s, ss),
	};
	if (ss->n_stalls)
		out->stall_ns += loop_now() - ss->stall_since_ns;
	list_for_each(use, &ss->uses, in_session) {
		out->n_objects++;
		out->resident_bytes += use->object->resident_bytes;
		out->total_bytes += use->object->size_bytes;
	}
	if (arbiter_find(s->arbiter, &subject, &group) == 0 &&
	    arbiter_usage(s->arbiter, &group, s->dev, ARBITER_VRAM, &usage) == 0)
		out->charged_bytes = usage.usage;
}

uint64_t scheduler_started_ns(const struct scheduler *s, uint64_t *out_epoch_s)
{
	*out_epoch_s = s->started_epoch_s;
	return s->started_ns;
}

void scheduler_set_stall_hook(struct scheduler *s, scheduler_stall_fn *fn)
{
	s->stall_fn = fn;
}

/* ---- what is looked at only now and then ---- */

/*
 * Slots of residency tables that are read at a time: a cache line each, some milliseconds in all. Clients may
 * have 16 times as many in one session.
 */
#define LOOK_SLOTS 131072u

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* The client writes these counters: what they say is capped and never goes back, no more is known of them. */
static void look_at_slots(struct use *use)
{
	uint64_t acquires = 0;

	for (uint32_t i = 0; i < use->n_layers; i++)
		acquires = add_capped(acquires, residency_uses(&use->slots[i]));
	if (use->acquires < acquires)
		use->acquires = acquires;
}

static void look_at_passes(struct use *use)
{
	struct policy_user_info info;
	uint64_t passed;

	policy_user_info(use->policy, &info);
	passed = info.passes * info.n_positions + (info.started ? info.position + 1 : 0);
	use->acquires += passed >= use->passed ? passed - use->passed : passed;
	use->passed = passed;
}

/* Return: how many slots were read. */
static uint32_t look_at_session(struct scheduler_session *ss)
{
	struct use *use;
	uint32_t n = 0;

	list_for_each(use, &ss->uses, in_session) {
		if (use->n_layers)
			look_at_slots(use);
		else
			look_at_passes(use);
		n += use->n_layers;
	}
	return n;
}

void scheduler_look(struct scheduler *s)
{
	struct arbiter_share_info share;
	struct scheduler_session *ss;
	uint64_t from = s->look_from;
	struct object *object;
	uint32_t n = 0;

	list_for_each(object, &s->objects, node)
		if (arbiter_share_read(s->arbiter, object->share, &share) == 0)
			memcpy(object->tier_bytes, share.bytes, sizeof(object->tier_bytes));
	/* Sessions are in the order of their numbers. First those that were left out the last time. */
	s->look_from = 0;
	for (int round = 0; round < 2 && !s->look_from; round++) {
		list_for_each(ss, &s->sessions, node) {
			if ((ss->id >= from) != (round == 0))
				continue;
			if (n >= LOOK_SLOTS) {
				s->look_from = ss->id;
				break;
			}
			n += look_at_session(ss);
		}
	}
}

void info_use_ends(const struct use *use)
{
	struct scheduler_session *ss = use->session;
	struct use last = *use;

	if (last.n_layers)
		look_at_slots(&last);
	else
		look_at_passes(&last);
	ss->ended_acquires = add_capped(ss->ended_acquires, last.acquires);
	ss->written_bytes += use->object->written_bytes;
}

static enum scheduler_session_state state_of(const struct scheduler_session *ss)
{
	if (ss->paused || ss->drained)
		return SESSION_PAUSED;
	if (scheduler_is_waiting(ss))
		return SESSION_QUEUED;
	if (ss->n_stalls)
		return SESSION_STALLED;
	return ss->running ? SESSION_RUNNING : SESSION_IDLE;
}

/* Where it is in the model that it mostly waits for. */
static void find_position(const struct scheduler_session *ss, struct scheduler_session_detail *out)
{
	const struct use *use, *largest = NULL;
	struct policy_user_info info;

	list_for_each(use, &ss->uses, in_session)
		if (use->object->kind == POLICY_MODEL &&
		    (!largest || use->object->size_bytes > largest->object->size_bytes))
			largest = use;
	if (!largest)
		return;
	policy_user_info(largest->policy, &info);
	if (!info.started)
		return;
	out->has_position = true;
	out->position = info.position;
	out->n_positions = info.n_positions;
	out->passes = info.passes;
	out->pace_ns = info.ns_per_chunk * info.n_positions;
}

void scheduler_session_detail(struct scheduler *s, const struct scheduler_session *ss,
			      struct scheduler_session_detail *out)
{
	const struct use *use;

	(void)s;
	*out = (struct scheduler_session_detail){
		.state = state_of(ss),
		.acquires = ss->ended_acquires,
		.written_bytes = ss->written_bytes,
	};
	list_for_each(use, &ss->uses, in_session) {
		out->acquires = add_capped(out->acquires, use->acquires);
		out->written_bytes += use->object->written_bytes;
		for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++)
			out->tier_bytes[tier] += use->object->tier_bytes[tier];
	}
	/* A fault is a use that had to wait; threads at one place may be several faults. */
	if (out->acquires < ss->faults)
		out->acquires = ss->faults;
	find_position(ss, out);
}

/* ---- all of them ---- */

int scheduler_for_each_session(struct scheduler *s,
			       int (*fn)(void *ctx, const struct scheduler_session_info *info),
			       void *ctx)
{
	struct scheduler_session_info info;
	struct scheduler_session *ss;
	int r = 0;

	list_for_each(ss, &s->sessions, node) {
		scheduler_session_info(s, ss, &info);
		r = fn(ctx, &info);
		if (r)
			break;
	}
	return r;
}

int scheduler_for_each_object(struct scheduler *s,
			      int (*fn)(void *ctx, const struct scheduler_object_info *info),
			      void *ctx)
{
	const struct object *object;
	const struct use *use;
	int r = 0;

	list_for_each(object, &s->objects, node) {
		struct scheduler_object_info info = {
			.id = object->id,
			.name = object->name,
			.buffer = object->kind == POLICY_BUFFER,
			.size_bytes = object->size_bytes,
			.resident_bytes = object->resident_bytes,
			.loaded_bytes = object->loaded_bytes,
			.evicted_bytes = object->evicted_bytes,
			.pinned = object->pinned,
			.chunk_bytes = object->mem->chunk_bytes,
			.uid = (uid_t)-1,
		};

		if (object->dead)
			continue;
		if (object->file)
			store_file_id(object->file, &info.dev, &info.ino);
		memcpy(info.tier_bytes, object->tier_bytes, sizeof(info.tier_bytes));
		list_for_each(use, &object->uses, in_object) {
			if (info.n_uses++ == 0)
				info.uid = use->session->uid;
		}
		r = fn(ctx, &info);
		if (r)
			break;
	}
	return r;
}

bool scheduler_session_has(struct scheduler *s, uint64_t session, uint64_t object)
{
	const struct scheduler_session *ss = control_session(s, session);
	const struct use *use;

	if (ss)
		list_for_each(use, &ss->uses, in_session)
			if (use->object->id == object)
				return true;
	return false;
}

bool scheduler_session_is_of(struct scheduler *s, uint64_t session, uid_t uid)
{
	const struct scheduler_session *ss = control_session(s, session);

	return ss && ss->uid == uid;
}

uint64_t scheduler_evict(struct scheduler *s, const char *name)
{
	struct object *object;
	uint64_t bytes = 0;

	list_for_each(object, &s->objects, node)
		if (!object->dead && (!name || strcmp(object->name, name) == 0))
			bytes += object_evict_all(s, object);
	return bytes;
}
