// SPDX-License-Identifier: GPL-2.0-only
/* What the scheduler shows of itself, and the administrator's eviction. */
#include "daemon/scheduler.h"

#include <string.h>

#include "daemon/scheduler_private.h"

void scheduler_stats(struct scheduler *s, struct scheduler_stats *out)
{
	const struct pager_stats *pager = pager_stats(s->pager);
	const struct arbiter_subject root = { .kind = ARBITER_ROOT };
	struct scheduler_session *ss;
	struct arbiter_usage usage;
	struct arbiter_group group;
	struct object *object;

	memset(out, 0, sizeof(*out));
	out->paged_in_bytes = s->paged_in_bytes;
	out->paged_out_bytes = pager->swap_out_bytes + pager->link_out_bytes;
	out->evicted_bytes = s->evicted_bytes;
	out->faults = s->faults;
	out->inflight_bytes = pager->inflight_bytes;
	out->n_demands = s->demands.n;
	out->huge = s->gpu->huge;
	out->budget_bytes = s->gpu->budget_bytes;
	out->peak_bytes = s->peak_bytes;
	if (arbiter_find(s->arbiter, &root, &group) == 0 &&
	    arbiter_usage(s->arbiter, &group, s->dev, ARBITER_VRAM, &usage) == 0)
		out->resident_bytes = usage.usage;
	list_for_each(object, &s->objects, node)
		out->memory_bytes += gpu_object_memory(object->mem);
	if (s->hostpool) {
		out->host_used_bytes = hostpool_used(s->hostpool);
		out->host_budget_bytes =
			(uint64_t)hostpool_n_slots(s->hostpool) * hostpool_slot_bytes(s->hostpool);
	}
	if (s->swap) {
		out->swap_used_bytes = swap_used(s->swap);
		out->swap_size_bytes = swap_size(s->swap);
	}
	out->stall_ns = s->stall_ns;
	list_for_each(ss, &s->sessions, node) {
		out->stall_ns += ss->stall_ns;
		if (ss->n_stalls)
			out->stall_ns += loop_now() - ss->stall_since_ns;
	}
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
			.name = object->name,
			.buffer = object->kind == POLICY_BUFFER,
			.size_bytes = object->size_bytes,
			.resident_bytes = object->resident_bytes,
			.loaded_bytes = object->loaded_bytes,
			.evicted_bytes = object->evicted_bytes,
			.chunk_bytes = object->mem->chunk_bytes,
			.uid = (uid_t)-1,
		};

		if (object->dead)
			continue;
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

uint64_t scheduler_evict(struct scheduler *s, const char *name)
{
	struct object *object;
	uint64_t bytes = 0;

	list_for_each(object, &s->objects, node)
		if (!object->dead && (!name || strcmp(object->name, name) == 0))
			bytes += object_evict_all(s, object);
	return bytes;
}
