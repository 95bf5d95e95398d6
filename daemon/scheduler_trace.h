/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the scheduler and the pager tell of through vramd's probes, and the names of what they tell of. Each
 * is called only if its probe is on, but for scheduler_trace_layers(), which looks itself.
 */
#ifndef VRAM_DAEMON_SCHEDULER_TRACE_H
#define VRAM_DAEMON_SCHEDULER_TRACE_H

#include "daemon/scheduler.h"
#include "daemon/trace.h"

/* layer NULL: page faults. */
void scheduler_trace_stall_begin(const struct scheduler *s, const struct scheduler_session *ss,
				 const struct layer *layer);
void scheduler_trace_stall_end(const struct scheduler *s, const struct scheduler_session *ss,
			       const struct layer *layer, uint64_t ns);
/* A thread comes to stand at a closed chunk. */
void scheduler_trace_fault(const struct scheduler *s, const struct use *use, uint32_t chunk);
/* A chunk has left the device. */
void scheduler_trace_gone(const struct scheduler *s, const struct object *object, uint32_t chunk,
			  const struct arbiter_hint *hint);
void scheduler_trace_share_new(const struct scheduler *s, const struct object *object);
void scheduler_trace_share_free(const struct scheduler *s, const struct object *object);
/* A use has its layers. */
void scheduler_trace_layers(const struct use *use);

/* One of: a session; an object; a use of an object that has layers. */
struct scheduler_name {
	const struct scheduler_session *session;
	const struct object *object;
	const struct use *use;
	uint32_t dev; /* as in events */
};

/*
 * All that events of now may speak of. fn returns nonzero to stop; the scheduler must not be changed
 * meanwhile. Return: what fn returned last.
 */
int scheduler_for_each_name(struct scheduler *s,
			    int (*fn)(void *ctx, const struct scheduler_name *name), void *ctx);

#endif
