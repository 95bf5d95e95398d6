// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is loaded for next: weighted fair queueing of loads by bytes.
 *
 * The chunks that somebody waits for stand in a lane of that session, first in, first out. Lanes are served like
 * packets by start-time fair queueing: a lane's clock goes by the bytes that were loaded for it divided by its weight, and
 * the one whose clock is farthest behind goes next. Clocks are of two levels, as the shares of the memory are: first that
 * of the party (scheduler_tenants.c), then that of the session in it. So who asks for much does not delay who
 * asks for little, and ten sessions of a user have together what one of another has. Who had nothing to ask for has
 * saved nothing: after a while its clock is put forward to where the others are.
 *
 * Reading ahead takes turns by the same clocks.
 *
 * A chunk stands in a queue once (CHUNK_QUEUED), but of an object with several users in the lane of each who asked: it is
 * loaded by whoever's turn comes first, and the others find it there.
 */
#include "daemon/scheduler.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/scheduler_private.h"

/* Clocks go by bytes of a session of usual weight. */
#define WEIGHT_USUAL 100u
/* Who was loaded for so recently goes on from where its clock stands. */
#define PAUSE_NS 100000000ull
/* Of a shared object no more than so many chunks stand in a second lane. */
#define TWICE_MAX 1024
/*
 * While several ask, what is decided is decided late: what is on the move already goes first in, first out. So
 * no more of it than keeps the disk and the bus busy.
 */
#define CONTENDED_CHUNKS 4
#define CONTENDED_NS	 200000000ull
#define TOGETHER_NS	 20000000ull
/* Of those to read ahead for, so many are compared. */
#define LOOK_AHEAD 64

struct chunk_ref *queue_at(struct chunk_queue *queue, uint32_t i)
{
	return &queue->refs[(queue->first + i) & (queue->size - 1)];
}

int queue_push(struct chunk_queue *queue, const struct chunk_ref *ref)
{
	if (queue->n == queue->size) {
		uint32_t size = queue->size ? queue->size * 2 : 64;
		struct chunk_ref *refs = calloc(size, sizeof(*refs));

		if (!refs)
			return -ENOMEM;
		for (uint32_t i = 0; i < queue->n; i++)
			refs[i] = *queue_at(queue, i);
		free(queue->refs);
		queue->refs = refs;
		queue->size = size;
		queue->first = 0;
	}
	queue->n++;
	*queue_at(queue, queue->n - 1) = *ref;
	return 0;
}

void queue_pop(struct chunk_queue *queue)
{
	queue->first = (queue->first + 1) & (queue->size - 1);
	queue->n--;
}

void queue_forget(struct chunk_queue *queue, const struct object *object)
{
	uint32_t n = queue->n, kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if (queue_at(queue, i)->object != object)
			*queue_at(queue, kept++) = *queue_at(queue, i);
	queue->n = kept;
}

/* ---- clocks ----------------------------------------------------------------------- */

static struct lane_clock *party_clock(struct scheduler *s, const struct lane *lane)
{
	struct lane_clock *clock = lane->session ? tenant_clock(&lane->session->tenant) : NULL;

	return clock ? clock : &s->nobody;
}

static uint32_t weight_of(uint32_t weight)
{
	return weight ? weight : WEIGHT_USUAL;
}

static void clock_wake(struct lane_clock *clock, uint64_t others_at, uint64_t now_ns)
{
	/* Between the answer to one request and the next one a client asks for nothing, and is not gone. */
	if (clock->at < others_at && now_ns - clock->charged_ns > PAUSE_NS)
		clock->at = others_at;
}

void lane_wake(struct scheduler *s, struct lane *lane)
{
	struct lane_clock *party = party_clock(s, lane);
	uint64_t now = loop_now();

	if (lane->demands.n)
		return;
	clock_wake(party, s->nobody.now, now);
	clock_wake(&lane->clock, party->now, now);
}

void lane_charge(struct scheduler *s, struct lane *lane, uint64_t bytes)
{
	struct lane_clock *party = party_clock(s, lane);
	uint64_t now = loop_now();

	if (s->charged && s->charged != lane->session && now - s->charged_ns < TOGETHER_NS)
		s->contended_ns = now;
	s->charged = lane->session;
	s->charged_ns = now;
	/* What others begin from is where the one stood that was served. */
	if (s->nobody.now < party->at)
		s->nobody.now = party->at;
	if (party->now < lane->clock.at)
		party->now = lane->clock.at;
	party->at += bytes * WEIGHT_USUAL / weight_of(party->weight);
	lane->clock.at += bytes * WEIGHT_USUAL / weight_of(lane->clock.weight);
	party->charged_ns = now;
	lane->clock.charged_ns = now;
}

bool loads_have_room(struct scheduler *s, const struct object *object)
{
	if (s->contended_ns && loop_now() - s->contended_ns < CONTENDED_NS &&
	    pager_stats(s->pager)->inflight_bytes >=
		    (uint64_t)CONTENDED_CHUNKS * object->mem->chunk_bytes)
		return false;
	return pager_has_room(s->pager, object);
}

static bool is_before(struct scheduler *s, const struct lane *a, const struct lane *b)
{
	const struct lane_clock *party_a = party_clock(s, a), *party_b = party_clock(s, b);

	if (party_a->at != party_b->at)
		return party_a->at < party_b->at;
	return a->clock.at < b->clock.at;
}

/* ---- lanes ------------------------------------------------------------------------- */

void lane_init(struct lane *lane, struct scheduler_session *session)
{
	*lane = (struct lane){ .session = session };
	list_init(&lane->node);
}

static void lane_changed(struct scheduler *s, struct lane *lane)
{
	if (!lane->demands.n)
		list_del(&lane->node);
	else if (!list_is_linked(&lane->node))
		list_add_tail(&lane->node, &s->lanes);
}

int lane_push(struct scheduler *s, struct lane *lane, const struct chunk_ref *ref)
{
	int r;

	lane_wake(s, lane);
	r = queue_push(&lane->demands, ref);
	lane_changed(s, lane);
	s->n_demands += r == 0;
	return r;
}

void lane_pop(struct scheduler *s, struct lane *lane)
{
	queue_pop(&lane->demands);
	s->n_demands--;
	lane_changed(s, lane);
}

void lane_rotate(struct lane *lane)
{
	struct chunk_ref ref = *queue_at(&lane->demands, 0);

	queue_pop(&lane->demands);
	queue_push(&lane->demands, &ref);
}

void lanes_forget(struct scheduler *s, const struct object *object)
{
	struct lane *lane, *tmp;

	list_for_each_safe(lane, tmp, &s->lanes, node) {
		uint32_t n = lane->demands.n;

		queue_forget(&lane->demands, object);
		s->n_demands -= n - lane->demands.n;
		lane_changed(s, lane);
	}
}

struct lane *lanes_next(struct scheduler *s, bool protected)
{
	struct lane *lane, *best = NULL;

	if (protected && !s->tenants.protects[ARBITER_VRAM])
		return NULL;
	list_for_each(lane, &s->lanes, node)
		if (lane->left &&
		    (!protected ||
		     (lane->session && tenant_is_protected(&lane->session->tenant))) &&
		    (!best || is_before(s, lane, best)))
			best = lane;
	return best;
}

void lanes_begin(struct scheduler *s)
{
	struct lane *lane;

	list_for_each(lane, &s->lanes, node)
		lane->left = lane->demands.n;
}

const struct chunk_ref *lanes_first(struct scheduler *s)
{
	struct lane *lane, *best = NULL;

	list_for_each(lane, &s->lanes, node)
		if (!best || is_before(s, lane, best))
			best = lane;
	return best ? queue_at(&best->demands, 0) : NULL;
}

uint64_t lanes_oldest_ns(struct scheduler *s, uint64_t now_ns)
{
	struct lane *lane;

	list_for_each(lane, &s->lanes, node)
		for (uint32_t i = 0; i < lane->demands.n; i++)
			if (queue_at(&lane->demands, i)->since_ns < now_ns)
				now_ns = queue_at(&lane->demands, i)->since_ns;
	return now_ns;
}

/* ---- who asks ---------------------------------------------------------------------- */

bool use_waits(const struct use *use, uint32_t chunk)
{
	if (use_is_waiting(use, chunk))
		return true;
	for (uint32_t i = use->n_layers ? use->chunk_first[chunk] : 0;
	     use->n_layers && i < use->chunk_first[chunk + 1]; i++)
		if (use->layers[use->chunk_layers[i]].waiting)
			return true;
	return false;
}

struct use *wanting_use(struct object *object, uint32_t chunk,
			const struct scheduler_session *first)
{
	struct use *use, *any = NULL, *waits = NULL;

	list_for_each(use, &object->uses, in_object) {
		if (use->session == first && use_waits(use, chunk))
			return use;
		if (!any)
			any = use;
		if (!waits && use_waits(use, chunk))
			waits = use;
	}
	return waits ? waits : any;
}

static bool is_shared(const struct object *object)
{
	return !list_is_empty(&object->uses) && object->uses.next->next != &object->uses;
}

void demand_for(struct scheduler *s, struct scheduler_session *ss, struct object *object,
		uint32_t chunk, uint64_t now_ns)
{
	struct chunk *c = &object->chunks[chunk];
	const struct chunk_ref ref = { .object = object, .chunk = chunk, .since_ns = now_ns };
	struct lane *lane = ss ? &ss->lane : &s->lane;

	c->flags &= (uint8_t)~CHUNK_PREFETCH;
	if (c->state != CHUNK_ABSENT)
		return;
	if (c->flags & CHUNK_QUEUED && (!is_shared(object) || lane->demands.n >= TWICE_MAX))
		return;
	/* Out of memory: the tick looks for waits that nothing serves. */
	if (lane_push(s, lane, &ref) == 0)
		c->flags |= CHUNK_QUEUED;
}

void demand(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t now_ns)
{
	struct use *use = wanting_use(object, chunk, NULL);

	demand_for(s, use ? use->session : NULL, object, chunk, now_ns);
}

void lane_deinit(struct scheduler *s, struct lane *lane)
{
	/* Others may wait for the same, and rely on its having been here. */
	while (lane->demands.n) {
		struct chunk_ref ref = *queue_at(&lane->demands, 0);

		lane_pop(s, lane);
		ref.object->chunks[ref.chunk].flags &= (uint8_t)~CHUNK_QUEUED;
		if (is_wanted(ref.object, ref.chunk))
			demand(s, ref.object, ref.chunk, ref.since_ns);
	}
	if (s->charged == lane->session)
		s->charged = NULL;
	list_del(&lane->node);
	free(lane->demands.refs);
	lane->demands = (struct chunk_queue){ 0 };
}

struct use *active_next(struct scheduler *s)
{
	struct use *use, *best = NULL;
	int n = 0;

	list_for_each(use, &s->active, active) {
		if (!best || is_before(s, &use->session->lane, &best->session->lane))
			best = use;
		if (++n == LOOK_AHEAD)
			break;
	}
	return best;
}
