// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler at work: demands and the policy's prefetches become loads, for which room is made.
 * scheduler_pump() is called after every event and starts what can be started; it never waits.
 */
#include "daemon/scheduler.h"

#include <errno.h>

#include "common/err.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"

#define TICK_NS		100000000ull
#define RETRY_NS	2000000ull
#define MEMORY_CHECK_NS 1000000000ull
/* Who waits longer for memory is mentioned in the log, this often. */
#define SAY_WAITING_NS 5000000000ull
/* Without any sign for so long a session counts as idle for `full` pressure. */
#define IDLE_NS 1000000000ull
/* A failed read that a thread stands at is tried again so often, so long after. */
#define FAULT_TRIES    3
#define FAULT_RETRY_NS 50000000ull
/* Chunks asked of the policy at a time. */
#define PREFETCH_BATCH 8
/* When so many sessions found the device full the others would, too. */
#define FULL_MAX 8

int start_load(struct scheduler *s, struct object *object, uint32_t chunk)
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
	s->resident_bytes += len;
	if (s->peak_bytes < s->resident_bytes)
		s->peak_bytes = s->resident_bytes;
	return 0;
}

static void arm_retry(struct scheduler *s, uint64_t in_ns)
{
	if (!loop_op_armed(&s->retry))
		loop_timer(s->loop, &s->retry, loop_now() + in_ns);
}

void retry_soon(struct scheduler *s)
{
	arm_retry(s, RETRY_NS);
}

/* To the end of its lane, to be looked at again in a moment. */
static void put_off(struct scheduler *s, struct lane *lane, uint64_t in_ns)
{
	lane_rotate(lane);
	arm_retry(s, in_ns);
}

/* The only use that waits for the chunk; NULL if several do or none. */
static struct use *only_waiting_use(const struct object *object, uint32_t chunk)
{
	struct use *use, *only = NULL;

	list_for_each(use, &object->uses, in_object) {
		if (!use_waits(use, chunk))
			continue;
		if (only)
			return NULL;
		only = use;
	}
	return only;
}

/* Is the chunk's load to be left until another session of the same model has come near? */
static bool is_held(const struct object *object, uint32_t chunk, uint64_t now_ns)
{
	struct use *use;

	if (list_is_empty(&object->uses) || object->uses.next->next == &object->uses)
		return false;
	use = only_waiting_use(object, chunk);
	return use && policy_should_wait(use->policy, chunk, now_ns);
}

/* The first of the lane leaves it. */
static void take_first(struct scheduler *s, struct lane *lane, struct chunk *c, uint8_t flags)
{
	c->flags &= (uint8_t)~flags;
	lane_pop(s, lane);
}

/*
 * A thread stands at a chunk that cannot be had now. It cannot be told, only killed: the load is tried again in a moment,
 * and layers, which are told at once, may ask again. Return: false if no thread waits for it.
 */
static bool try_again(struct scheduler *s, struct chunk_ref ref, int error)
{
	bool fault = false;
	struct use *use;

	list_for_each(use, &ref.object->uses, in_object)
		fault |= use_is_waiting(use, ref.chunk);
	if (!fault)
		return false;
	ref.tries++;
	ref.since_ns = loop_now() + FAULT_RETRY_NS;
	use = wanting_use(ref.object, ref.chunk, NULL);
	if (lane_push(s, &use->session->lane, &ref) < 0)
		return false;
	ref.object->chunks[ref.chunk].flags |= CHUNK_QUEUED;
	arm_retry(s, FAULT_RETRY_NS);
	refuse_chunk_layers(s, ref.object, ref.chunk, error);
	return true;
}

/* What pump_one() says of a lane. */
enum pumped {
	PUMPED,	     /* its first is off: on the way, refused, or at the end of the lane */
	PUMPED_FULL, /* there is no room on the device for it now */
	PUMPED_BUSY, /* the pager has enough to do */
};

/* The first demand of a lane. */
static enum pumped pump_one(struct scheduler *s, struct lane *lane)
{
	struct chunk_ref ref = *queue_at(&lane->demands, 0);
	struct chunk *c = &ref.object->chunks[ref.chunk];
	bool wish = c->flags & CHUNK_PREFETCH;
	struct use *use;
	int r;

	if (c->state != CHUNK_ABSENT || (!wish && !is_wanted(ref.object, ref.chunk)) ||
	    control_holds_back(s, ref.object, ref.chunk)) {
		take_first(s, lane, c, CHUNK_QUEUED);
		return PUMPED;
	}
	if (ref.tries && loop_now() < ref.since_ns) {
		put_off(s, lane, ref.since_ns - loop_now());
		return PUMPED;
	}
	if (!wish && is_held(ref.object, ref.chunk, loop_now())) {
		put_off(s, lane, RETRY_NS);
		return PUMPED;
	}
	if (!loads_have_room(s, ref.object))
		return PUMPED_BUSY;
	use = wanting_use(ref.object, ref.chunk, lane->session);
	r = make_room(s, ref.object, ref.chunk, use, !wish);
	if (r == 0)
		r = start_load(s, ref.object, ref.chunk);
	if (r == 0)
		lane_charge(s, lane, gpu_chunk_len(ref.object->mem, ref.chunk));
	if ((r == -EAGAIN || r == -EBUSY) && wish) {
		/* A wish is no promise. */
		take_first(s, lane, c, CHUNK_QUEUED | CHUNK_PREFETCH);
		return PUMPED;
	}
	if (r == -EBUSY) {
		s->blocked = true;
		put_off(s, lane, RETRY_NS);
		return PUMPED;
	}
	if (r == -EAGAIN)
		return PUMPED_FULL;
	take_first(s, lane, c, CHUNK_QUEUED);
	if (r < 0 && park_youngest(s, lane->session)) {
		demand_for(s, lane->session, ref.object, ref.chunk, ref.since_ns);
		lane->left++;
	} else if (r == -EDQUOT && try_again(s, ref, r)) {
		/* A limit below one chunk: an administrator's word, which may be taken back. */
		if (!ref.tries)
			say_fault_waits(s, ref.object, ref.chunk);
	} else if (r < 0) {
		refuse_chunk(s, ref.object, ref.chunk, r);
	}
	return PUMPED;
}

/* One turn of all lanes. Return: true if the pager has enough to do. *out_full: the first that found no room, if one did. */
static bool pump_lanes(struct scheduler *s, struct lane **out_full)
{
	struct lane *lane;
	int n_full = 0;

	*out_full = NULL;
	lanes_begin(s);
	/* Each at most once a turn: a demand that was put off goes to the end of its lane. Who is protected always
	 * has its turn: it may have something of its own to give, however many others have nothing. */
	while ((lane = lanes_next(s, n_full >= FULL_MAX))) {
		lane->left--;
		switch (pump_one(s, lane)) {
		case PUMPED:
			break;
		case PUMPED_BUSY:
			return true;
		case PUMPED_FULL:
			s->blocked = true;
			/* Others may have something of their own to give. */
			arm_retry(s, RETRY_NS);
			lane->left = 0;
			n_full++;
			if (!*out_full)
				*out_full = lane;
			break;
		}
	}
	return false;
}

/* Return: true if one waits for room on the device, so that nothing may be loaded ahead. */
static bool pump_demands(struct scheduler *s)
{
	struct lane *full;

	s->blocked = false;
	/* Not before everybody had a turn: others may go on though the one who is next cannot. */
	while (!pump_lanes(s, &full) && full && pager_is_idle(s->pager) &&
	       park_youngest(s, full->session))
		;
	return full;
}

static void pump_prefetch(struct scheduler *s)
{
	uint32_t chunks[PREFETCH_BATCH];
	uint64_t now = loop_now();

	while (!list_is_empty(&s->active)) {
		struct use *use = active_next(s);
		size_t n = control_is_held(use->session) ?
				   0 :
				   policy_prefetch(use->policy, now, chunks, PREFETCH_BATCH);
		bool started = false, refused = false;

		for (size_t i = 0; i < n && !refused; i++) {
			struct object *object = use->object;
			int r;

			if (!loads_have_room(s, object))
				return;
			/* On its way from the host tier to swap: the policy knows it as absent. */
			if (object->chunks[chunks[i]].state != CHUNK_ABSENT ||
			    object->chunks[chunks[i]].flags & CHUNK_BAD)
				continue;
			r = make_room(s, object, chunks[i], use, false);
			if (r == 0)
				r = start_load(s, object, chunks[i]);
			if (r == 0) {
				object->chunks[chunks[i]].flags |= CHUNK_PREFETCH;
				lane_charge(s, &use->session->lane,
					    gpu_chunk_len(object->mem, chunks[i]));
			}
			started |= r == 0;
			refused = r < 0;
		}
		/* In turn; and off the list when there is nothing to do for it until it moves. */
		if (refused || !started)
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
	if (!pump_demands(s)) {
		control_pump(s);
		pump_prefetch(s);
	}
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

	policy_resident(object->policy, chunk, false);
	arbiter_share_uncharge(s->arbiter, object->share, ARBITER_VRAM, len);
	object->resident_bytes -= len;
	s->resident_bytes -= len;
	c->flags |= CHUNK_BAD;
	say_load_failed(object, gpu_chunk_offset(object->mem, chunk), len, res);
	/* Again and again only what may be a passing fault of the disk; a file that is another one now stays that. */
	ref.tries = c->tries;
	if (res != -ESTALE && c->tries < FAULT_TRIES && try_again(s, ref, res)) {
		c->tries++;
		return;
	}
	c->tries = 0;
	refuse_chunk(s, object, chunk, res);
}

/* Whose statistics a load goes to: who waits for it, else the first user. */
static void loaded_for(struct object *object, uint32_t chunk, uint32_t len)
{
	struct use *use, *any = NULL;

	list_for_each(use, &object->uses, in_object) {
		if (!any || use_is_waiting(use, chunk))
			any = use;
		if (use_is_waiting(use, chunk))
			break;
	}
	if (any)
		any->session->loaded_bytes += len;
}

void pager_loaded(void *owner, struct object *object, uint32_t chunk, int res, uint64_t ns)
{
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct chunk *c = &object->chunks[chunk];
	struct scheduler *s = owner;

	if (res < 0) {
		load_failed(s, object, chunk, res);
		free_if_dead(s, object);
		return;
	}
	c->flags &= (uint8_t) ~(CHUNK_PREFETCH | CHUNK_BAD);
	c->was_evicted = 0;
	c->tries = 0;
	object->loaded_bytes += len;
	s->paged_in_bytes += len;
	policy_loaded(s->policy, len, ns);
	object_chunk_arrived(object, chunk);
	loaded_for(object, chunk, len);
	serve_chunk(s, object, chunk);
	refresh_evictable(object, chunk);
	free_if_dead(s, object);
}

void pager_evicted(void *owner, struct object *object, uint32_t chunk, int res, uint64_t who)
{
	struct scheduler *s = owner;

	object->leaving_bytes -= gpu_chunk_len(object->mem, chunk);
	if (res < 0) {
		/* Busy: a client wrote to it meanwhile. */
		if (res != -EBUSY)
			log_error_limited("%s: a chunk cannot be written out: %s", object->name,
					  err_name(res));
		object_chunk_arrived(object, chunk);
		set_aside(s, object, chunk);
		refresh_evictable(object, chunk);
	} else {
		chunk_gone(s, object, chunk, who);
	}
	/* Whoever came to wait while it was on its way. */
	if (res < 0)
		serve_chunk(s, object, chunk);
	else if (is_wanted(object, chunk))
		demand(s, object, chunk, loop_now());
	free_if_dead(s, object);
}

void pager_settled(void *owner, struct object *object, uint32_t chunk)
{
	struct scheduler *s = owner;

	if (is_wanted(object, chunk))
		demand(s, object, chunk, loop_now());
	free_if_dead(s, object);
}

void pager_ready(void *owner)
{
	struct scheduler *s = owner;

	scheduler_pump(s);
}

void scheduler_retry(struct loop_op *op, int res)
{
	struct scheduler *s = list_entry(op, struct scheduler, retry);

	(void)res;
	recheck_pinned(s, loop_now());
	if (s->reclaiming)
		reclaim_over(s, loop_now());
	scheduler_pump(s);
}

/* A thread cannot be refused memory, only kept waiting: not in silence. */
static void say_who_waits(struct scheduler *s, uint64_t now_ns)
{
	uint64_t since_ns = lanes_oldest_ns(s, now_ns);

	if (now_ns - since_ns < SAY_WAITING_NS || now_ns - s->said_waiting_ns < SAY_WAITING_NS)
		return;
	s->said_waiting_ns = now_ns;
	log_event(LOG_LEVEL_WARN, &LOG_ID(LOADS_WAIT), 1,
		  "%u loads wait for memory, one for %llu s: %s", s->n_demands,
		  (unsigned long long)((now_ns - since_ns) / 1000000000u),
		  only_swap_is_missing(s) ? "buffers fill it, and swap has no room for them" :
		  s->pinned.n		  ? "clients hold pins on what could go" :
					    "limits protect what could go, or the disk is slow");
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
	admission_tick(s, now);
	tenants_look(s);
	tenants_protect(s, false);
	control_tick(s);
	recheck_pinned(s, now);
	time_out_waits(s, now);
	say_who_waits(s, now);
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
