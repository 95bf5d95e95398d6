// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who waits for what: a thread at a closed chunk, a client for a layer.
 *
 * A layer that is waited for holds its chunks, so that those which are there stay until the rest has come.
 * Several such layers could each hold part of a budget that suffices for one of them. Then the
 * youngest is parked: it gives up its hold, and takes it again when an older one was served.
 */
#include "daemon/scheduler.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/err.h"
#include "common/proto.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"
#include "daemon/scheduler_trace.h"

/* How long a layer waits for room that only swap could make. */
#define NO_SWAP_NS 2000000000ull
/* Who was held back for its high a moment ago still is. */
#define THROTTLED_NS 2000000000ull

void session_active(struct scheduler *s, struct scheduler_session *ss, uint64_t now_ns)
{
	ss->active_ns = now_ns;
	if (!ss->running) {
		ss->running = true;
		arbiter_run(s->arbiter, ss->id, s->dev, now_ns);
	}
}

/* The kernel module sees who waits for a slot: such waits are told only where nobody else sees them. */
static bool is_told(const struct scheduler *s, enum stall_kind kind)
{
	return kind == STALL_FAULT || !arbiter_counts_waits(s->arbiter);
}

void stall_begin(struct scheduler *s, struct scheduler_session *ss, enum stall_kind kind,
		 uint64_t now_ns)
{
	if (is_told(s, kind))
		arbiter_stall_begin(s->arbiter, ss->id, s->dev, now_ns);
	if (kind == STALL_FAULT && ss->n_faulting++ == 0) {
		ss->faulting_since_ns = now_ns;
		if (trace_on(vram_stall_begin))
			scheduler_trace_stall_begin(s, ss, NULL);
	}
	if (ss->n_stalls++ == 0) {
		ss->stall_since_ns = now_ns;
		if (s->stall_fn)
			s->stall_fn(s, ss, now_ns);
	}
	ss->running = true;
	ss->faults++;
	s->faults++;
}

void stall_end(struct scheduler *s, struct scheduler_session *ss, enum stall_kind kind,
	       uint64_t now_ns)
{
	if (is_told(s, kind))
		arbiter_stall_end(s->arbiter, ss->id, s->dev, now_ns);
	if (kind == STALL_FAULT && --ss->n_faulting == 0 && trace_on(vram_stall_end))
		scheduler_trace_stall_end(s, ss, NULL, now_ns - ss->faulting_since_ns);
	if (--ss->n_stalls == 0)
		ss->stall_ns += now_ns - ss->stall_since_ns;
}

void make_active(struct scheduler *s, struct use *use)
{
	if (list_is_linked(&use->active))
		return;
	lane_wake(s, &use->session->lane);
	list_add_tail(&use->active, &s->active);
}

void scheduler_fault(struct scheduler *s, struct use *use, uint32_t chunk)
{
	struct scheduler_session *ss = use->session;
	struct object *object = use->object;
	uint64_t now = loop_now();

	session_active(s, ss, now);
	policy_touch(use->policy, chunk, now);
	make_active(s, use);
	if (object->chunks[chunk].state == CHUNK_RESIDENT) {
		use_open_run(use, chunk, 1);
	} else if (!use_is_waiting(use, chunk)) {
		use->waiting[chunk / 8] |= (uint8_t)(1u << (chunk % 8));
		use->n_waiting++;
		if (trace_on(vram_chunk_fault))
			scheduler_trace_fault(s, use, chunk);
		stall_begin(s, ss, STALL_FAULT, now);
		demand_for(s, ss, object, chunk, now);
	}
	scheduler_pump(s);
}

static void touch_layer(struct layer *layer, uint64_t now_ns)
{
	struct use *use = layer->use;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			policy_touch(use->policy, c, now_ns);
	}
}

static void for_each_chunk(struct scheduler *s, struct layer *layer,
			   void (*fn)(struct scheduler *s, struct object *object, uint32_t chunk,
				      uint64_t now_ns),
			   uint64_t now_ns)
{
	struct use *use = layer->use;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			fn(s, use->object, c, now_ns);
	}
}

static void demand_layer(struct scheduler *s, struct layer *layer, uint64_t now_ns)
{
	const struct use *use = layer->use;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			demand_for(s, use->session, use->object, c, now_ns);
	}
}

static void refresh(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t now_ns)
{
	(void)s;
	(void)now_ns;
	refresh_evictable(object, chunk);
}

uint64_t layer_bytes(const struct layer *layer)
{
	const struct gpu_object *mem = layer->use->object->mem;
	uint64_t n = 0;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		n += (uint64_t)(run->n - 1) * mem->chunk_bytes +
		     gpu_chunk_len(mem, run->first + run->n - 1);
	}
	return n;
}

/* Under pressure the first use of a layer that was loaded shall be told: it is the reading position. */
void complete_layer(struct layer *layer)
{
	struct object *object = layer->use->object;
	struct residency_slot *slot = layer_residency(layer);

	if (object->resident_bytes < object->mem->map_bytes)
		residency_set_notify(slot, &layer->shadow);
	else
		residency_clear_notify(slot, &layer->shadow);
	layer_make_resident(layer);
}

static void unpark(struct scheduler *s)
{
	struct layer *layer, *tmp;
	uint64_t now = loop_now();

	list_for_each_safe(layer, tmp, &s->parked, node) {
		if (control_is_held(layer->use->session))
			continue;
		list_move_tail(&layer->node, &s->waiting);
		layer->parked = false;
		layer_hold(layer);
		for_each_chunk(s, layer, refresh, now);
		demand_layer(s, layer, now);
	}
}

void layer_stop_waiting(struct scheduler *s, struct layer *layer)
{
	uint64_t now = loop_now();

	list_del(&layer->node);
	if (!layer->parked) {
		layer_unhold(layer);
		for_each_chunk(s, layer, refresh, 0);
	}
	layer->waiting = false;
	layer->parked = false;
	layer->use->session->n_requests--;
	stall_end(s, layer->use->session, STALL_SLOT, now);
	if (trace_on(vram_stall_end))
		scheduler_trace_stall_end(s, layer->use->session, layer, now - layer->since_ns);
	unpark(s);
}

void serve_layer(struct scheduler *s, struct layer *layer)
{
	complete_layer(layer);
	layer->use->session->served_ns = loop_now();
	layer_stop_waiting(s, layer);
}

void refuse_layer(struct scheduler *s, struct layer *layer, int error)
{
	say_load_refused(s, layer, error);
	layer_fail(layer, error);
	if (layer->waiting)
		layer_stop_waiting(s, layer);
}

void scheduler_acquire(struct scheduler *s, struct layer *layer)
{
	struct scheduler_session *ss = layer->use->session;
	uint64_t now = loop_now();

	session_active(s, ss, now);
	/* A request and the answer to an earlier one may cross. */
	if (layer->waiting || residency_state(&layer->shadow) == RESIDENCY_RESIDENT)
		return;
	touch_layer(layer, now);
	make_active(s, layer->use);
	if (residency_state(&layer->shadow) != RESIDENCY_LOADING)
		residency_begin_load(layer_residency(layer), &layer->shadow);
	if (layer_bytes(layer) > s->gpu->budget_bytes) {
		say_load_refused(s, layer, -ENOMEM);
		layer_fail(layer, -ENOMEM);
		return;
	}
	layer->waiting = true;
	ss->n_requests++;
	layer->since_ns = now;
	list_add_tail(&layer->node, &s->waiting);
	layer_hold(layer);
	for_each_chunk(s, layer, refresh, now);
	control_park(s, layer);
	stall_begin(s, ss, STALL_SLOT, now);
	if (trace_on(vram_stall_begin))
		scheduler_trace_stall_begin(s, ss, layer);
	if (layer->missing == 0)
		serve_layer(s, layer);
	else
		demand_layer(s, layer, now);
	scheduler_pump(s);
}

void scheduler_cancel(struct scheduler *s, struct layer *layer)
{
	/* Requests of several threads are one request here: it ends with the last pin (the library
	 * lets go of its pin before it cancels). */
	if (!layer->waiting || residency_pins(layer_residency(layer)) != 0)
		return;
	residency_cancel_load(layer_residency(layer), &layer->shadow);
	layer_stop_waiting(s, layer);
	scheduler_pump(s);
}

void scheduler_used(struct scheduler *s, struct layer *layer)
{
	uint64_t now = loop_now();

	session_active(s, layer->use->session, now);
	residency_clear_notify(layer_residency(layer), &layer->shadow);
	touch_layer(layer, now);
	make_active(s, layer->use);
	scheduler_pump(s);
}

void scheduler_wish(struct scheduler *s, struct layer *layer)
{
	if (control_is_held(layer->use->session))
		return;
	/* The policy loads ahead by itself; a wish only says where the client is about to be. */
	session_active(s, layer->use->session, loop_now());
	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++) {
			struct chunk *chunk = &layer->use->object->chunks[c];

			if (chunk->state == CHUNK_ABSENT && !(chunk->flags & CHUNK_QUEUED)) {
				demand_for(s, layer->use->session, layer->use->object, c,
					   loop_now());
				chunk->flags |= CHUNK_PREFETCH;
			}
		}
	}
	scheduler_pump(s);
}

void scheduler_pass(struct scheduler *s, struct use *use, uint32_t kind)
{
	uint64_t now = loop_now();

	switch (kind) {
	case VRAM_PASS_IDLE:
		policy_user_idle(use->policy, now);
		return;
	case VRAM_PASS_PREFILL:
		policy_user_pass(use->policy, POLICY_PASS_PREFILL);
		break;
	case VRAM_PASS_DECODE:
		policy_user_pass(use->policy, POLICY_PASS_DECODE);
		break;
	default:
		policy_user_pass(use->policy, POLICY_PASS_UNKNOWN);
		break;
	}
	session_active(s, use->session, now);
}

bool serve_chunk(struct scheduler *s, struct object *object, uint32_t chunk)
{
	bool served = false;
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		if (use_is_waiting(use, chunk)) {
			use->waiting[chunk / 8] &= (uint8_t) ~(1u << (chunk % 8));
			use->n_waiting--;
			use_open_run(use, chunk, 1);
			stall_end(s, use->session, STALL_FAULT, loop_now());
			served = true;
		}
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];

			if (layer->missing)
				continue;
			if (layer->waiting) {
				serve_layer(s, layer);
				served = true;
			} else if (residency_state(&layer->shadow) != RESIDENCY_RESIDENT) {
				complete_layer(layer);
			}
		}
	}
	return served;
}

void refuse_chunk_layers(struct scheduler *s, struct object *object, uint32_t chunk, int error)
{
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++)
			if (use->layers[use->chunk_layers[i]].waiting)
				refuse_layer(s, &use->layers[use->chunk_layers[i]], error);
	}
}

/* Threads get what the kernel gives them when a mapped file cannot be read. */
void refuse_chunk(struct scheduler *s, struct object *object, uint32_t chunk, int error)
{
	struct use *use;

	refuse_chunk_layers(s, object, chunk, error);
	list_for_each(use, &object->uses, in_object) {
		struct scheduler_session *ss = use->session;

		if (!use_is_waiting(use, chunk))
			continue;
		use->waiting[chunk / 8] &= (uint8_t) ~(1u << (chunk % 8));
		use->n_waiting--;
		stall_end(s, ss, STALL_FAULT, loop_now());
		log_warn_limited(
			"session %llu (pid %d): a page of %s cannot be loaded (%s): SIGBUS",
			(unsigned long long)ss->id, (int)ss->pid, object->name, err_name(error));
		if (ss->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, ss->pidfd, SIGBUS, NULL, 0);
	}
}

/* Is this chunk still wanted by anybody who waits? */
bool is_wanted(const struct object *object, uint32_t chunk)
{
	const struct use *use;

	if (object->chunks[chunk].holds)
		return true;
	list_for_each(use, &object->uses, in_object)
		if (use_is_waiting(use, chunk))
			return true;
	return false;
}

/* Has this layer something in the device that could go to the session instead? */
static bool keeps_from(struct scheduler *s, const struct layer *layer,
		       const struct scheduler_session *who)
{
	struct object *object = layer->use->object;

	if (object->pinned ||
	    !tenants_allow(s, object, ARBITER_VRAM, object->mem->chunk_bytes, who, NULL, TAKE_LOW))
		return false;
	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			if (object->chunks[c].state == CHUNK_RESIDENT)
				return true;
	}
	return false;
}

/*
 * Demands of the session found no room and nothing moves: the youngest layer that waits gives up what it holds. Not one
 * that has nothing, or nothing that may go for it: it would wait for the end of somebody whom that does not help.
 */
bool park_youngest(struct scheduler *s, const struct scheduler_session *who)
{
	struct list_node *first = s->waiting.next, *at;

	for (at = s->waiting.prev; at != &s->waiting && at != first; at = at->prev) {
		struct layer *layer = list_entry(at, struct layer, node);

		if (!keeps_from(s, layer, who))
			continue;
		list_move_tail(&layer->node, &s->parked);
		layer->parked = true;
		layer_unhold(layer);
		for_each_chunk(s, layer, refresh, 0);
		return true;
	}
	return false;
}

/* Above a high loads are slow, not refused: its own limit, and it goes on. */
static bool is_throttled(const struct layer *layer, uint64_t now_ns)
{
	const struct tenant *tenant = &layer->use->session->tenant;

	return tenant->throttled_ns && now_ns - tenant->throttled_ns < THROTTLED_NS;
}

/* Waiting makes no room in a swap file that one's own buffers fill; but one may be freed, so not at once. */
static uint64_t patience(struct scheduler *s, const struct layer *layer, bool no_swap,
			 int *out_error)
{
	uint64_t timeout = s->config->limits.wait_timeout;

	*out_error = -ETIMEDOUT;
	if (no_swap && !admission_others_fill(s, layer)) {
		*out_error = -ENOSPC;
		return timeout && timeout < NO_SWAP_NS ? timeout : NO_SWAP_NS;
	}
	return timeout ? timeout : UINT64_MAX;
}

void time_out_waits(struct scheduler *s, uint64_t now_ns)
{
	bool no_swap = s->blocked && only_swap_is_missing(s);
	struct list_node *lists[] = { &s->waiting, &s->parked };
	struct layer *layer, *tmp;
	int error;

	if (!no_swap && !s->config->limits.wait_timeout)
		return;
	for (int i = 0; i < 2; i++)
		list_for_each_safe(layer, tmp, lists[i], node)
			if (now_ns - layer->since_ns > patience(s, layer, no_swap, &error) &&
			    !is_throttled(layer, now_ns) && !control_is_held(layer->use->session)) {
				refuse_layer(s, layer, error);
				/* Others may have moved between the lists: the rest next time. */
				return;
			}
}
