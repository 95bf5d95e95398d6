// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler at work: what clients ask and touch becomes demands; demands and the policy's prefetches
 * become loads, for which room is made. scheduler_pump() is called after every event and starts
 * what can be started; it never waits.
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

#define TICK_NS		100000000ull
#define RETRY_NS	2000000ull
#define MEMORY_CHECK_NS 1000000000ull
/* Without any sign for so long a session counts as idle for `full` pressure. */
#define IDLE_NS 1000000000ull
/* A failed read that a thread stands at is tried again so often, so long after. */
#define FAULT_TRIES    3
#define FAULT_RETRY_NS 50000000ull
/* Victims to be tried for one chunk before others get their turn. */
#define VICTIM_TRIES 64
/* Chunks asked of the policy at a time. */
#define PREFETCH_BATCH 8

void refresh_evictable(struct object *object, uint32_t chunk)
{
	const struct chunk *c = &object->chunks[chunk];

	policy_evictable(object->policy, chunk,
			 c->state == CHUNK_RESIDENT && c->holds == 0 &&
				 !(c->flags & CHUNK_PINNED) && !object->pinned);
}

void session_active(struct scheduler *s, struct scheduler_session *ss, uint64_t now_ns)
{
	ss->active_ns = now_ns;
	if (!ss->running) {
		ss->running = true;
		arbiter_run(s->arbiter, ss->id, s->dev, now_ns);
	}
}

void stall_begin(struct scheduler *s, struct scheduler_session *ss, uint64_t now_ns)
{
	arbiter_stall_begin(s->arbiter, ss->id, s->dev, now_ns);
	if (ss->n_stalls++ == 0)
		ss->stall_since_ns = now_ns;
	ss->running = true;
	ss->faults++;
	s->faults++;
}

void stall_end(struct scheduler *s, struct scheduler_session *ss, uint64_t now_ns)
{
	arbiter_stall_end(s->arbiter, ss->id, s->dev, now_ns);
	if (--ss->n_stalls == 0)
		ss->stall_ns += now_ns - ss->stall_since_ns;
}

static void make_active(struct scheduler *s, struct use *use)
{
	if (!list_is_linked(&use->active))
		list_add_tail(&use->active, &s->active);
}

static void demand(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t now_ns)
{
	struct chunk *c = &object->chunks[chunk];
	const struct chunk_ref ref = { .object = object, .chunk = chunk, .since_ns = now_ns };

	c->flags &= (uint8_t)~CHUNK_PREFETCH;
	if (c->state != CHUNK_ABSENT || (c->flags & CHUNK_QUEUED))
		return;
	/* Out of memory: the tick looks for waits that nothing serves. */
	if (queue_push(&s->demands, &ref) == 0)
		c->flags |= CHUNK_QUEUED;
}

void scheduler_fault(struct scheduler *s, struct use *use, uint32_t chunk)
{
	struct scheduler_session *ss = session_ss(use->session);
	struct object *object = use->object;
	uint64_t now = loop_now();

	session_active(s, ss, now);
	policy_touch(use->policy, chunk, now);
	make_active(s, use);
	if (object->chunks[chunk].state == CHUNK_RESIDENT) {
		use_open_chunk(use, chunk);
	} else if (!use_is_waiting(use, chunk)) {
		use->waiting[chunk / 8] |= (uint8_t)(1u << (chunk % 8));
		use->n_waiting++;
		stall_begin(s, ss, now);
		demand(s, object, chunk, now);
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

static void refresh(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t now_ns)
{
	(void)s;
	(void)now_ns;
	refresh_evictable(object, chunk);
}

static uint64_t layer_bytes(const struct layer *layer)
{
	uint64_t n = 0;

	for (uint32_t j = 0; j < layer->n_runs; j++)
		n += layer->use->runs[layer->first_run + j].n;
	return n * layer->use->object->mem->chunk_bytes;
}

/* Under pressure the first use of a layer that was loaded shall be told: it is the reading position. */
static void complete_layer(struct layer *layer)
{
	struct object *object = layer->use->object;
	struct residency_slot *slot = session_slot(layer->use->session, layer_slot(layer));

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
		list_move_tail(&layer->node, &s->waiting);
		layer->parked = false;
		layer_hold(layer);
		for_each_chunk(s, layer, refresh, now);
		for_each_chunk(s, layer, demand, now);
	}
}

void layer_stop_waiting(struct scheduler *s, struct layer *layer)
{
	list_del(&layer->node);
	if (!layer->parked) {
		layer_unhold(layer);
		for_each_chunk(s, layer, refresh, 0);
	}
	layer->waiting = false;
	layer->parked = false;
	stall_end(s, session_ss(layer->use->session), loop_now());
	unpark(s);
}

static void serve_layer(struct scheduler *s, struct layer *layer)
{
	complete_layer(layer);
	layer_stop_waiting(s, layer);
}

static void refuse_layer(struct scheduler *s, struct layer *layer, int error)
{
	layer_fail(layer, error);
	if (layer->waiting)
		layer_stop_waiting(s, layer);
}

void scheduler_acquire(struct scheduler *s, struct layer *layer)
{
	struct scheduler_session *ss = session_ss(layer->use->session);
	uint64_t now = loop_now();

	session_active(s, ss, now);
	/* A request and the answer to an earlier one may cross. */
	if (layer->waiting || residency_state(&layer->shadow) == RESIDENCY_RESIDENT)
		return;
	touch_layer(layer, now);
	make_active(s, layer->use);
	if (residency_state(&layer->shadow) != RESIDENCY_LOADING)
		residency_begin_load(session_slot(layer->use->session, layer_slot(layer)),
				     &layer->shadow);
	if (layer_bytes(layer) > s->gpu->budget_bytes) {
		layer_fail(layer, -ENOSPC);
		return;
	}
	layer->waiting = true;
	layer->since_ns = now;
	list_add_tail(&layer->node, &s->waiting);
	layer_hold(layer);
	for_each_chunk(s, layer, refresh, now);
	stall_begin(s, ss, now);
	if (layer->missing == 0)
		serve_layer(s, layer);
	else
		for_each_chunk(s, layer, demand, now);
	scheduler_pump(s);
}

void scheduler_cancel(struct scheduler *s, struct layer *layer)
{
	if (!layer->waiting)
		return;
	residency_cancel_load(session_slot(layer->use->session, layer_slot(layer)), &layer->shadow);
	layer_stop_waiting(s, layer);
	scheduler_pump(s);
}

void scheduler_used(struct scheduler *s, struct layer *layer)
{
	uint64_t now = loop_now();

	session_active(s, session_ss(layer->use->session), now);
	residency_clear_notify(session_slot(layer->use->session, layer_slot(layer)),
			       &layer->shadow);
	touch_layer(layer, now);
	make_active(s, layer->use);
	scheduler_pump(s);
}

void scheduler_wish(struct scheduler *s, struct layer *layer)
{
	/* The policy loads ahead by itself; a wish only says where the client is about to be. */
	session_active(s, session_ss(layer->use->session), loop_now());
	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++) {
			struct chunk *chunk = &layer->use->object->chunks[c];

			if (chunk->state == CHUNK_ABSENT && !(chunk->flags & CHUNK_QUEUED)) {
				demand(s, layer->use->object, c, loop_now());
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
	session_active(s, session_ss(use->session), now);
}

static void chunk_gone(struct scheduler *s, struct object *object, uint32_t chunk)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct use *use;

	policy_resident(object->policy, chunk, false);
	arbiter_share_uncharge(s->arbiter, object->share, ARBITER_VRAM, len);
	object->resident_bytes -= len;
	object->evicted_bytes += len;
	s->evicted_bytes += len;
	list_for_each(use, &object->uses, in_object)
		session_ss(use->session)->evicted_bytes += len;
}

/* Not now: look again in a moment. */
static void set_aside(struct scheduler *s, struct object *object, uint32_t chunk)
{
	struct chunk *c = &object->chunks[chunk];
	const struct chunk_ref ref = { .object = object, .chunk = chunk, .since_ns = loop_now() };

	if (c->flags & CHUNK_PINNED || queue_push(&s->pinned, &ref) < 0)
		return;
	c->flags |= CHUNK_PINNED;
	refresh_evictable(object, chunk);
}

/* Return: 0 (gone), 1 (on its way out), -EBUSY (cannot go now), -EAGAIN (later). */
static int evict(struct scheduler *s, struct object *object, uint32_t chunk)
{
	int r = pager_may_evict(s->pager, object, chunk);

	if (r == -EAGAIN)
		return r;
	if (r == 0)
		r = object_claim_chunk(object, chunk);
	if (r < 0) {
		set_aside(s, object, chunk);
		return -EBUSY;
	}
	r = pager_evict(s->pager, object, chunk);
	if (r == 0) {
		chunk_gone(s, object, chunk);
	} else if (r < 0) {
		object_chunk_arrived(object, chunk);
		if (r == -EAGAIN)
			return r;
		set_aside(s, object, chunk);
		return -EBUSY;
	} else {
		refresh_evictable(object, chunk);
	}
	return r;
}

/* A chunk of an object that nobody uses, the longest unused first. */
static bool find_unused(struct scheduler *s, struct object **out_object, uint32_t *out_chunk)
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

/* Only chunks that nobody outside the group uses: taking others would not help the group's books. */
static bool used_by_group_only(struct scheduler *s, const struct object *object,
			       const struct arbiter_group *group)
{
	const struct use *use;

	if (list_is_empty(&object->uses))
		return false;
	list_for_each(use, &object->uses, in_object)
		if (arbiter_is_member(s->arbiter, session_ss(use->session)->id, group) != 1)
			return false;
	return true;
}

static bool used_by_group(struct scheduler *s, const struct object *object,
			  const struct arbiter_group *group)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (arbiter_is_member(s->arbiter, session_ss(use->session)->id, group) == 1)
			return true;
	return false;
}

/* The latest needed chunk of an object that may go. */
static void latest_of(struct object *object, uint64_t now_ns, struct chunk_ref *best,
		      uint64_t *best_ns)
{
	for (uint32_t c = 0; c < object->mem->n_chunks; c++) {
		const struct chunk *chunk = &object->chunks[c];
		uint64_t next_ns;

		if (chunk->state != CHUNK_RESIDENT || chunk->holds || chunk->flags & CHUNK_PINNED)
			continue;
		next_ns = policy_next_use(object->policy, c, now_ns);
		if (best->object && next_ns <= *best_ns)
			continue;
		*best = (struct chunk_ref){ .object = object, .chunk = c };
		*best_ns = next_ns;
	}
}

/*
 * A group stands at its limit: what it needs last goes, objects of its own before those that it shares.
 * This walks the group's chunks: a group at its limit pays for its own evictions.
 * Return: 0, or -EAGAIN if nothing of it can go now.
 */
static int victim_in_group(struct scheduler *s, const struct arbiter_group *group, uint64_t now_ns,
			   struct chunk_ref *out)
{
	struct chunk_ref best = { 0 };
	struct object *object;
	uint64_t best_ns = 0;

	list_for_each(object, &s->objects, node)
		if (!object->pinned && used_by_group_only(s, object, group))
			latest_of(object, now_ns, &best, &best_ns);
	if (!best.object)
		list_for_each(object, &s->objects, node)
			if (!object->pinned && used_by_group(s, object, group))
				latest_of(object, now_ns, &best, &best_ns);
	*out = best;
	return best.object ? 0 : -EAGAIN;
}

/* Some use of the object, for the policy's view of who wants it. */
static struct use *wanting_use(struct object *object, uint32_t chunk)
{
	struct use *use, *any = NULL;

	list_for_each(use, &object->uses, in_object) {
		if (use_is_waiting(use, chunk))
			return use;
		if (!any)
			any = use;
	}
	return any;
}

/*
 * Charge the chunk, evicting for it. Return: 0 (charged); -EAGAIN (wait for an event or the retry
 * timer); -ENOSPC or -EDQUOT (limits leave no room, and nothing will change that by itself).
 */
static int make_room(struct scheduler *s, struct object *object, uint32_t chunk, struct use *want,
		     bool is_demand)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	uint64_t now = loop_now();

	for (int tries = 0; tries < VICTIM_TRIES; tries++) {
		struct arbiter_group group;
		struct policy_victim victim;
		struct chunk_ref ref;
		int r, refused;

		refused =
			arbiter_share_charge(s->arbiter, object->share, ARBITER_VRAM, len, &group);
		if (refused == 0)
			return 0;
		if (refused == -EDQUOT) {
			r = victim_in_group(s, &group, now, &ref);
			if (r < 0)
				return s->pinned.n || !pager_is_idle(s->pager) ? -EAGAIN : refused;
			/* Ahead of need only for something that is needed later still. */
			if (!is_demand && policy_next_use(ref.object->policy, ref.chunk, now) <=
						  policy_next_use(object->policy, chunk, now))
				return -EAGAIN;
		} else if (refused != -ENOSPC) {
			return refused;
		} else if (!find_unused(s, &ref.object, &ref.chunk)) {
			r = policy_victim(s->policy, now, object->policy, chunk,
					  want ? want->policy : NULL, is_demand, &victim);
			if (r == -ENOSPC)
				return s->pinned.n ? -EAGAIN : refused;
			if (r < 0)
				return r;
			ref.object = policy_object_owner(victim.obj);
			ref.chunk = victim.chunk;
		}
		r = evict(s, ref.object, ref.chunk);
		if (r == -EAGAIN || r == 1)
			return -EAGAIN;
	}
	return -EAGAIN;
}

static int start_load(struct scheduler *s, struct object *object, uint32_t chunk)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	int r;

	policy_evictable(object->policy, chunk, false);
	policy_resident(object->policy, chunk, true);
	r = pager_load(s->pager, object, chunk);
	if (r < 0) {
		policy_resident(object->policy, chunk, false);
		arbiter_share_uncharge(s->arbiter, object->share, ARBITER_VRAM, len);
		return r;
	}
	object->resident_bytes += len;
	return 0;
}

/* Everybody who waits for this chunk gets the error; threads get what the kernel gives them when a
 * mapped file cannot be read. */
static void refuse_chunk(struct scheduler *s, struct object *object, uint32_t chunk, int error)
{
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		struct scheduler_session *ss = session_ss(use->session);

		if (use->n_layers)
			for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1];
			     i++)
				if (use->layers[use->chunk_layers[i]].waiting)
					refuse_layer(s, &use->layers[use->chunk_layers[i]], error);
		if (!use_is_waiting(use, chunk))
			continue;
		use->waiting[chunk / 8] &= (uint8_t) ~(1u << (chunk % 8));
		use->n_waiting--;
		stall_end(s, ss, loop_now());
		log_warn_limited(
			"session %llu (pid %d): a page of %s cannot be loaded (%s): SIGBUS",
			(unsigned long long)ss->id, (int)ss->pid, object->name, err_name(error));
		if (ss->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, ss->pidfd, SIGBUS, NULL, 0);
	}
}

/* Is this chunk still wanted by anybody who waits? */
static bool is_wanted(const struct object *object, uint32_t chunk)
{
	const struct use *use;

	if (object->chunks[chunk].holds)
		return true;
	list_for_each(use, &object->uses, in_object)
		if (use_is_waiting(use, chunk))
			return true;
	return false;
}

/* Demands found no room and nothing moves: the youngest layer that waits gives up what it holds. */
static bool park_youngest(struct scheduler *s)
{
	struct layer *first = list_first(&s->waiting, struct layer, node);
	struct layer *last = list_last(&s->waiting, struct layer, node);

	if (!last || first == last)
		return false;
	list_move_tail(&last->node, &s->parked);
	last->parked = true;
	layer_unhold(last);
	for_each_chunk(s, last, refresh, 0);
	return true;
}

static void arm_retry(struct scheduler *s, uint64_t in_ns)
{
	if (!loop_op_armed(&s->retry))
		loop_timer(s->loop, &s->retry, loop_now() + in_ns);
}

static void pump_demands(struct scheduler *s)
{
	uint32_t n = s->demands.n;

	s->blocked = false;
	/* Each at most once a turn: a demand that was put off goes to the end. */
	while (n-- > 0 && s->demands.n) {
		struct chunk_ref ref = *queue_at(&s->demands, 0);
		struct chunk *c = &ref.object->chunks[ref.chunk];
		bool wish = c->flags & CHUNK_PREFETCH;
		int r;

		if (c->state != CHUNK_ABSENT || (!wish && !is_wanted(ref.object, ref.chunk))) {
			c->flags &= (uint8_t)~CHUNK_QUEUED;
			queue_pop(&s->demands);
			continue;
		}
		if (ref.tries && loop_now() < ref.since_ns) {
			queue_pop(&s->demands);
			queue_push(&s->demands, &ref);
			arm_retry(s, ref.since_ns - loop_now());
			continue;
		}
		if (!pager_has_room(s->pager, ref.object))
			return;
		r = make_room(s, ref.object, ref.chunk, wanting_use(ref.object, ref.chunk), !wish);
		if (r == 0)
			r = start_load(s, ref.object, ref.chunk);
		if (r == -EAGAIN && wish) {
			/* A wish is no promise. */
			c->flags &= (uint8_t) ~(CHUNK_QUEUED | CHUNK_PREFETCH);
			queue_pop(&s->demands);
			continue;
		}
		if (r == -EAGAIN) {
			s->blocked = true;
			if (pager_is_idle(s->pager) && park_youngest(s))
				continue;
			arm_retry(s, RETRY_NS);
			return;
		}
		c->flags &= (uint8_t)~CHUNK_QUEUED;
		queue_pop(&s->demands);
		if (r < 0 && park_youngest(s)) {
			demand(s, ref.object, ref.chunk, ref.since_ns);
			n++;
		} else if (r < 0) {
			refuse_chunk(s, ref.object, ref.chunk, r);
		}
	}
}

static void pump_prefetch(struct scheduler *s)
{
	uint32_t chunks[PREFETCH_BATCH];
	uint64_t now = loop_now();

	while (!list_is_empty(&s->active)) {
		struct use *use = list_first(&s->active, struct use, active);
		size_t n = policy_prefetch(use->policy, now, chunks, PREFETCH_BATCH);
		size_t started = 0;

		for (; started < n; started++) {
			struct object *object = use->object;
			int r;

			if (!pager_has_room(s->pager, object))
				return;
			if (object->chunks[chunks[started]].state != CHUNK_ABSENT)
				continue;
			r = make_room(s, object, chunks[started], use, false);
			if (r == 0)
				r = start_load(s, object, chunks[started]);
			if (r < 0)
				break;
			object->chunks[chunks[started]].flags |= CHUNK_PREFETCH;
		}
		/* In turn; and off the list when there is nothing to do for it until it moves. */
		if (started < n || n == 0)
			list_del(&use->active);
		else
			list_move_tail(&use->active, &s->active);
	}
}

void scheduler_pump(struct scheduler *s)
{
	if (s->pumping)
		return;
	s->pumping = true;
	pump_demands(s);
	if (!s->blocked)
		pump_prefetch(s);
	s->pumping = false;
}

static void free_if_dead(struct scheduler *s, struct object *object)
{
	if (object->dead && object->n_moving == 0 && list_is_empty(&object->uses))
		object_free_now(s, object);
}

static void load_failed(struct scheduler *s, struct object *object, uint32_t chunk, int res)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct chunk_ref ref = { .object = object, .chunk = chunk };
	struct chunk *c = &object->chunks[chunk];
	bool fault = false;
	struct use *use;

	policy_resident(object->policy, chunk, false);
	arbiter_share_uncharge(s->arbiter, object->share, ARBITER_VRAM, len);
	object->resident_bytes -= len;
	log_warn_limited("%s: cannot load bytes %llu..%llu: %s", object->name,
			 (unsigned long long)gpu_chunk_offset(object->mem, chunk),
			 (unsigned long long)gpu_chunk_offset(object->mem, chunk) + len,
			 err_name(res));
	list_for_each(use, &object->uses, in_object)
		fault |= use_is_waiting(use, chunk);
	/* Layers are told at once and may ask again. A thread cannot be told, only killed: try again first,
	 * unless the file is another one now. */
	if (fault && res != -ESTALE && c->tries < FAULT_TRIES) {
		c->tries++;
		ref.tries = c->tries;
		ref.since_ns = loop_now() + FAULT_RETRY_NS;
		if (queue_push(&s->demands, &ref) == 0) {
			c->flags |= CHUNK_QUEUED;
			list_for_each(use, &object->uses, in_object)
				if (use->n_layers)
					for (uint32_t i = use->chunk_first[chunk];
					     i < use->chunk_first[chunk + 1]; i++)
						if (use->layers[use->chunk_layers[i]].waiting)
							refuse_layer(
								s,
								&use->layers[use->chunk_layers[i]],
								res);
			return;
		}
	}
	c->tries = 0;
	refuse_chunk(s, object, chunk, res);
}

void pager_loaded(void *owner, struct object *object, uint32_t chunk, int res, uint64_t ns)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct chunk *c = &object->chunks[chunk];
	struct scheduler *s = owner;
	bool charged_to_waiter = false;
	struct use *use;

	if (res < 0) {
		load_failed(s, object, chunk, res);
		free_if_dead(s, object);
		return;
	}
	c->flags &= (uint8_t)~CHUNK_PREFETCH;
	c->tries = 0;
	object->loaded_bytes += len;
	s->paged_in_bytes += len;
	policy_loaded(s->policy, len, ns);
	object_chunk_arrived(object, chunk);
	list_for_each(use, &object->uses, in_object) {
		struct scheduler_session *ss = session_ss(use->session);

		if (use_is_waiting(use, chunk)) {
			use->waiting[chunk / 8] &= (uint8_t) ~(1u << (chunk % 8));
			use->n_waiting--;
			use_open_chunk(use, chunk);
			stall_end(s, ss, loop_now());
			if (!charged_to_waiter)
				ss->loaded_bytes += len;
			charged_to_waiter = true;
		}
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];

			if (layer->missing)
				continue;
			if (layer->waiting)
				serve_layer(s, layer);
			else if (residency_state(&layer->shadow) != RESIDENCY_RESIDENT)
				complete_layer(layer);
		}
	}
	if (!charged_to_waiter && !list_is_empty(&object->uses))
		session_ss(list_first(&object->uses, struct use, in_object)->session)
			->loaded_bytes += len;
	refresh_evictable(object, chunk);
	free_if_dead(s, object);
}

void pager_evicted(void *owner, struct object *object, uint32_t chunk, int res)
{
	struct scheduler *s = owner;

	if (res < 0) {
		log_error_limited("%s: a chunk cannot be written out: %s", object->name,
				  err_name(res));
		object_chunk_arrived(object, chunk);
		set_aside(s, object, chunk);
		refresh_evictable(object, chunk);
	} else {
		chunk_gone(s, object, chunk);
	}
	/* Whoever came to wait while it was on its way. */
	if (res == 0 && is_wanted(object, chunk)) {
		demand(s, object, chunk, loop_now());
	} else if (res < 0) {
		struct use *use;

		list_for_each(use, &object->uses, in_object) {
			if (use_is_waiting(use, chunk)) {
				use->waiting[chunk / 8] &= (uint8_t) ~(1u << (chunk % 8));
				use->n_waiting--;
				use_open_chunk(use, chunk);
				stall_end(s, session_ss(use->session), loop_now());
			}
			if (!use->n_layers)
				continue;
			for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1];
			     i++) {
				struct layer *layer = &use->layers[use->chunk_layers[i]];

				if (layer->waiting && layer->missing == 0)
					serve_layer(s, layer);
			}
		}
	}
	free_if_dead(s, object);
}

void pager_ready(void *owner)
{
	struct scheduler *s = owner;

	scheduler_pump(s);
}

/* The client of a layer over this chunk that is pinned longest, if it must be asked to let go. */
static void revoke_pins(struct scheduler *s, const struct chunk_ref *ref, uint64_t now_ns)
{
	uint64_t timeout = s->config->limits.pin_timeout;
	struct use *use;

	if (!timeout || now_ns - ref->since_ns < timeout / 2)
		return;
	list_for_each(use, &ref->object->uses, in_object) {
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[ref->chunk];
		     i < use->chunk_first[ref->chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];
			uint32_t slot = layer_slot(layer);

			if (residency_pins(session_slot(use->session, slot)) == 0 || layer->waiting)
				continue;
			if (now_ns - ref->since_ns >= timeout)
				session_fail(use->session, -ETIMEDOUT,
					     "layers stayed pinned longer than limits.pin_timeout "
					     "while others waited");
			else
				session_revoke(use->session, slot, ref->since_ns + timeout);
			return;
		}
	}
}

/* Chunks that were pinned: those that are free now may be evicted again. */
static void recheck_pinned(struct scheduler *s, uint64_t now_ns)
{
	uint32_t n = s->pinned.n;

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
				uint32_t slot = use->slot_base + use->chunk_layers[i];

				pinned = residency_pins(session_slot(use->session, slot)) != 0;
			}
		}
		if (pinned && c->state == CHUNK_RESIDENT) {
			if (s->blocked)
				revoke_pins(s, &ref, now_ns);
			queue_push(&s->pinned, &ref);
			continue;
		}
		c->flags &= (uint8_t)~CHUNK_PINNED;
		refresh_evictable(ref.object, ref.chunk);
	}
}

void scheduler_retry(struct loop_op *op, int res)
{
	struct scheduler *s = list_entry(op, struct scheduler, retry);

	(void)res;
	recheck_pinned(s, loop_now());
	scheduler_pump(s);
}

uint64_t object_evict_all(struct scheduler *s, struct object *object)
{
	uint64_t before = object->resident_bytes;

	for (uint32_t c = 0; c < object->mem->n_chunks; c++)
		if (object->chunks[c].state == CHUNK_RESIDENT && !object->chunks[c].holds)
			evict(s, object, c);
	return before - object->resident_bytes;
}

/* A client that unregisters its mapping and reads makes zero pages appear in holes. They cost memory that
 * nobody is charged for: take it back. */
static void drop_planted(struct scheduler *s)
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

/* Groups above a limit that was lowered, or above high: take something back. */
static void reclaim_over(struct scheduler *s, uint64_t now_ns)
{
	struct arbiter_over over[4];
	int n = arbiter_over(s->arbiter, s->dev, ARBITER_VRAM, over, 4);

	for (int i = 0; i < n && i < 4; i++) {
		uint64_t excess = over[i].over_max > over[i].over_high ? over[i].over_max :
									 over[i].over_high;
		struct chunk_ref ref;

		for (uint64_t freed = 0; freed < excess; freed += s->chunk_bytes)
			if (victim_in_group(s, &over[i].group, now_ns, &ref) < 0 ||
			    evict(s, ref.object, ref.chunk) == -EAGAIN)
				break;
	}
}

static void time_out_waits(struct scheduler *s, uint64_t now_ns)
{
	uint64_t timeout = s->config->limits.wait_timeout;
	struct list_node *lists[] = { &s->waiting, &s->parked };
	struct layer *layer, *tmp;

	if (!timeout)
		return;
	for (int i = 0; i < 2; i++)
		list_for_each_safe(layer, tmp, lists[i], node)
			if (now_ns - layer->since_ns > timeout) {
				refuse_layer(s, layer, -ETIMEDOUT);
				/* Others may have moved between the lists: the rest next time. */
				return;
			}
}

static void free_unused(struct scheduler *s, uint64_t now_ns)
{
	struct object *object, *tmp;

	list_for_each_safe(object, tmp, &s->objects, node)
		if (list_is_empty(&object->uses) && !object->pinned && !object->dead &&
		    now_ns - object->unused_since_ns > s->config->policy.keep)
			scheduler_object_drop(s, object);
}

void scheduler_tick(struct loop_op *op, int res)
{
	struct scheduler *s = list_entry(op, struct scheduler, tick);
	struct scheduler_session *ss;
	uint64_t now = loop_now();
	struct use *use;

	(void)res;
	policy_tick(s->policy, now);
	list_for_each(ss, &s->sessions, node) {
		if (ss->running && !ss->n_stalls && now - ss->active_ns > IDLE_NS) {
			ss->running = false;
			arbiter_idle(s->arbiter, ss->id, s->dev, now);
		}
		if (now - ss->active_ns < IDLE_NS)
			list_for_each(use, &ss->uses, in_session)
				make_active(s, use);
	}
	recheck_pinned(s, now);
	time_out_waits(s, now);
	reclaim_over(s, now);
	free_unused(s, now);
	if (now - s->last_memory_check_ns > MEMORY_CHECK_NS) {
		s->last_memory_check_ns = now;
		drop_planted(s);
	}
	scheduler_pump(s);
	if (s->n_sessions || !list_is_empty(&s->objects))
		scheduler_tick_start(s);
}

void scheduler_tick_start(struct scheduler *s)
{
	if (!loop_op_armed(&s->tick))
		loop_timer(s->loop, &s->tick, loop_now() + TICK_NS);
}
