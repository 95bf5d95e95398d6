// SPDX-License-Identifier: GPL-2.0-only
/* What becomes of loads that fail, for the log: which limit refused them, or what could not be read. */
#include "daemon/scheduler_private.h"

#include <errno.h>
#include <stdio.h>

#include "common/err.h"
#include "daemon/log_refusal.h"

/* The first of the groups that a charge of the session has to pass whose max it does not. */
static const char *limiting_group(struct scheduler *s, const struct scheduler_session *ss,
				  uint64_t bytes, struct log_bound *out)
{
	const struct arbiter_group groups[] = {
		{ .kind = ARBITER_SESSION, .key = ss->id },
		{ .kind = ARBITER_USER, .key = ss->uid },
	};
	static const char *const whose[] = { "the session", "its user" };
	struct arbiter_usage usage;

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (arbiter_usage(s->arbiter, &groups[i], s->dev, ARBITER_VRAM, &usage) < 0 ||
		    usage.usage + bytes <= usage.limits.value[ARBITER_MAX])
			continue;
		*out = (struct log_bound){
			.key = "vram.max",
			.asked = usage.usage + bytes,
			.limit = usage.limits.value[ARBITER_MAX],
			.unit = LOG_UNIT_BYTES,
		};
		return whose[i];
	}
	return NULL;
}

void say_load_refused(struct scheduler *s, const struct layer *layer, int error)
{
	struct scheduler_session *ss = layer->use->session;
	const char *name = layer->use->object->name, *whose;
	uint64_t bytes = layer_bytes(layer);
	struct log_bound bound = { .unit = LOG_UNIT_BYTES, .asked = bytes };
	char reason[224];

	switch (error) {
	case -ETIMEDOUT:
		bound = (struct log_bound){
			.key = "limits.wait_timeout",
			.asked = loop_now() - layer->since_ns,
			.limit = s->config->limits.wait_timeout,
			.unit = LOG_UNIT_NS,
		};
		snprintf(reason, sizeof(reason),
			 "a layer of %.128s has waited longer than limits.wait_timeout", name);
		break;
	case -ENOMEM:
		bound.key = "device.budget";
		bound.limit = s->gpu->budget_bytes;
		snprintf(reason, sizeof(reason), "a layer of %.128s is larger than the device",
			 name);
		break;
	case -ENOSPC:
		bound.key = "swap.size";
		bound.asked += s->swap ? swap_used(s->swap) : 0;
		bound.limit = s->swap ? swap_size(s->swap) : 0;
		snprintf(reason, sizeof(reason),
			 "a layer of %.128s: buffers fill the memory, and swap has no room for "
			 "them",
			 name);
		break;
	case -EDQUOT:
		whose = limiting_group(s, ss, layer->use->object->mem->chunk_bytes, &bound);
		snprintf(reason, sizeof(reason), "a layer of %.128s: %s%s", name,
			 whose ? "vram.max of " : "vram.max of a group that the session is in",
			 whose ? whose : "");
		ss->ops->load_refused(ss, error, reason, whose ? &bound : NULL);
		return;
	default: /* no limit: what cannot be read has been said */
		return;
	}
	ss->ops->load_refused(ss, error, reason, &bound);
}

void say_fault_waits(struct scheduler *s, const struct object *object, uint32_t chunk)
{
	uint64_t bytes = gpu_chunk_len(object->mem, chunk);
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		struct log_bound bound = { .unit = LOG_UNIT_BYTES };
		const char *whose = limiting_group(s, use->session, bytes, &bound);
		char reason[256];

		if (!use_is_waiting(use, chunk))
			continue;
		snprintf(reason, sizeof(reason),
			 "a page of %.128s: vram.max of %s has no room for it: the program waits",
			 object->name, whose ? whose : "a group, or of another user of it,");
		use->session->ops->load_refused(use->session, -EDQUOT, reason,
						whose ? &bound : NULL);
	}
}

void say_load_failed(const struct object *object, uint64_t offset, uint32_t len, int error)
{
	const struct log_field fields[] = {
		LOG_ID(LOAD_FAILED),
		LOG_TEXT("VRAM_MODEL", object->name),
		LOG_TEXT("VRAM_ERRNO", err_name(error)),
	};
	static struct log_limit limit;

	log_event_limited(&limit, LOG_LEVEL_WARN, fields, sizeof(fields) / sizeof(fields[0]),
			  "%s: cannot load bytes %llu..%llu: %s", object->name,
			  (unsigned long long)offset, (unsigned long long)offset + len,
			  err_name(error));
}
