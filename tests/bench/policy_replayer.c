// SPDX-License-Identifier: GPL-2.0-only
#include "tests/bench/policy_trace.h"

/*
 * One trace, three ways to choose what goes.
 *
 * All three get the same loads at the same moments: a use needs its chunk, and
 * at each use the client's next `lead` uses of the same burst are asked for ahead
 * (experts are not: which will be used is not known before). They differ only in
 * the victim, so what differs in bytes is the choice.
 *
 *   ours     daemon/policy.c; an ahead load that it refuses waits until its use
 *   LRU      the least recently used goes
 *   optimum  Belady: the farthest next use, known from the rest of the trace; a
 *            load ahead waits if everything else is needed sooner
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS 50000000ULL
#define NONE	UINT32_MAX

enum method {
	OURS,
	LRU,
	OPTIMUM
};

struct replay {
	const struct trace *trace;
	const struct replay_options *options;
	enum method method;
	uint64_t capacity, used;   /* chunks */
	uint8_t *resident, *fresh; /* by chunk over all models */
	uint64_t loads;

	/* Uses of each client in order, as indices into the events. */
	uint32_t **uses, *n_uses, *at, *burst_end;
	uint32_t *next_use;   /* event index of the next use of the same chunk, by event */
	uint32_t *chunk_next; /* the same for each chunk, as of now */

	/* LRU: list by recency. OPTIMUM: heap by next use. */
	uint32_t *older, *newer, oldest, newest;
	uint32_t *heap, *heap_at, n_heap;

	struct policy *policy;
	struct policy_object **objects;
	struct policy_user **users;
};

static uint32_t chunk_of(const struct trace *t, const struct trace_event *e)
{
	return t->models[t->clients[e->client].model].first + (uint32_t)e->value;
}

/* ---- least recently used ---- */

static void lru_remove(struct replay *r, uint32_t c)
{
	if (r->older[c] != NONE)
		r->newer[r->older[c]] = r->newer[c];
	else
		r->oldest = r->newer[c];
	if (r->newer[c] != NONE)
		r->older[r->newer[c]] = r->older[c];
	else
		r->newest = r->older[c];
}

static void lru_append(struct replay *r, uint32_t c)
{
	r->older[c] = r->newest;
	r->newer[c] = NONE;
	if (r->newest != NONE)
		r->newer[r->newest] = c;
	else
		r->oldest = c;
	r->newest = c;
}

/* ---- the optimum: a heap by next use ---- */

static void heap_put(struct replay *r, uint32_t i, uint32_t c)
{
	r->heap[i] = c;
	r->heap_at[c] = i;
}

static void heap_fix(struct replay *r, uint32_t c)
{
	uint32_t i = r->heap_at[c];

	while (i && r->chunk_next[c] > r->chunk_next[r->heap[(i - 1) / 2]]) {
		heap_put(r, i, r->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		uint32_t k = 2 * i + 1;

		if (k + 1 < r->n_heap && r->chunk_next[r->heap[k + 1]] > r->chunk_next[r->heap[k]])
			k++;
		if (k >= r->n_heap || r->chunk_next[r->heap[k]] <= r->chunk_next[c])
			break;
		heap_put(r, i, r->heap[k]);
		i = k;
	}
	heap_put(r, i, c);
}

static void heap_remove(struct replay *r, uint32_t c)
{
	uint32_t last = r->heap[--r->n_heap], i = r->heap_at[c];

	if (last == c)
		return;
	heap_put(r, i, last);
	heap_fix(r, last);
}

/* ---- the three together ---- */

static void set_resident(struct replay *r, uint32_t c, bool on)
{
	const struct trace *t = r->trace;

	r->resident[c] = on;
	r->used += on ? 1 : -1ULL;
	switch (r->method) {
	case OURS:
		for (uint32_t m = 0; m < t->n_models; m++)
			if (c >= t->models[m].first &&
			    c < t->models[m].first + t->models[m].n_chunks)
				policy_resident(r->objects[m], c - t->models[m].first, on);
		r->fresh[c] = on;
		break;
	case LRU:
		if (on)
			lru_append(r, c);
		else
			lru_remove(r, c);
		break;
	case OPTIMUM:
		if (on) {
			heap_put(r, r->n_heap++, c);
			heap_fix(r, c);
		} else {
			heap_remove(r, c);
		}
		break;
	}
}

/* A chunk to give up so that event `use` finds its chunk. Return: NONE if none may go. */
static uint32_t victim(struct replay *r, uint32_t use, uint64_t now, bool demand)
{
	const struct trace *t = r->trace;
	const struct trace_event *e = &t->events[use];
	uint32_t model = t->clients[e->client].model;
	struct policy_victim v;

	switch (r->method) {
	case LRU:
		return r->oldest;
	case OPTIMUM:
		if (!r->n_heap || (!demand && r->chunk_next[r->heap[0]] <= use))
			return NONE;
		return r->heap[0];
	case OURS:
		break;
	}
	if (policy_victim(r->policy, now, r->objects[model], (uint32_t)e->value,
			  r->users[e->client], demand, &v))
		return NONE;
	return (uint32_t)(uintptr_t)policy_object_owner(v.obj) + v.chunk;
}

static void load(struct replay *r, uint32_t use, uint64_t now, bool demand)
{
	uint32_t c = chunk_of(r->trace, &r->trace->events[use]);

	while (r->used >= r->capacity) {
		uint32_t gone = r->capacity ? victim(r, use, now, demand) : NONE;

		if (gone == NONE) {
			/* Read, used and dropped at once. */
			r->loads += demand;
			return;
		}
		set_resident(r, gone, false);
	}
	r->loads++;
	set_resident(r, c, true);
}

static void touch(struct replay *r, uint32_t event)
{
	const struct trace *t = r->trace;
	const struct trace_event *e = &t->events[event];
	uint32_t c = chunk_of(t, e);

	r->chunk_next[c] = r->next_use[event];
	if (r->method == OURS) {
		if (!r->options->sightings || r->fresh[c] || !r->resident[c])
			policy_touch(r->users[e->client], (uint32_t)e->value, e->t_ns);
		r->fresh[c] = 0;
	} else if (r->resident[c] && r->method == LRU) {
		lru_remove(r, c);
		lru_append(r, c);
	} else if (r->resident[c]) {
		heap_fix(r, c);
	}
}

static void ahead(struct replay *r, uint32_t client, uint64_t now)
{
	const struct trace *t = r->trace;
	const struct trace_model *m = &t->models[t->clients[client].model];
	uint32_t at = r->at[client];

	for (uint32_t k = at; k < r->burst_end[client] && k < at + t->clients[client].lead; k++) {
		uint32_t use = r->uses[client][k];
		uint32_t chunk = (uint32_t)t->events[use].value;

		if (r->resident[m->first + chunk] ||
		    (m->expert_pos && m->expert_pos[chunk] != UINT32_MAX))
			continue;
		load(r, use, now, false);
	}
}

/* Where the uses that may be known ahead end: a pause or the next prefill begins a burst. */
static void find_burst_end(struct replay *r, uint32_t client, size_t event)
{
	const struct trace *t = r->trace;
	uint32_t n = 0;

	for (size_t i = event; i < t->n_events; i++) {
		const struct trace_event *e = &t->events[i];

		if (e->kind == TRACE_BUDGET || e->client != client)
			continue;
		if (e->kind == TRACE_IDLE ||
		    (e->kind == TRACE_PASS && n && e->value == POLICY_PASS_PREFILL))
			break;
		n += e->kind == TRACE_USE;
	}
	r->burst_end[client] = r->at[client] + n;
}

static void step(struct replay *r, uint32_t i)
{
	const struct trace *t = r->trace;
	const struct trace_event *e = &t->events[i];

	switch (e->kind) {
	case TRACE_USE:
		if (r->at[e->client] >= r->burst_end[e->client])
			find_burst_end(r, e->client, i);
		r->at[e->client]++;
		touch(r, i);
		if (!r->resident[chunk_of(t, e)])
			load(r, i, e->t_ns, true);
		/* Loaded for this use, which is over: it is not waiting for one any more. */
		r->fresh[chunk_of(t, e)] = 0;
		if (r->policy && !r->options->sightings)
			policy_touch(r->users[e->client], (uint32_t)e->value, e->t_ns);
		ahead(r, e->client, e->t_ns);
		break;
	case TRACE_BUDGET:
		r->capacity = e->value / t->chunk_bytes;
		if (r->policy)
			policy_set_capacity(r->policy, e->value);
		while (r->used > r->capacity) {
			uint32_t gone = NONE;

			for (size_t k = i; k < t->n_events && gone == NONE; k++)
				if (t->events[k].kind == TRACE_USE)
					gone = victim(r, (uint32_t)k, e->t_ns, true);
			if (gone == NONE)
				break;
			set_resident(r, gone, false);
		}
		break;
	case TRACE_PASS:
		if (r->policy)
			policy_user_pass(r->users[e->client], (enum policy_pass)e->value);
		break;
	case TRACE_IDLE:
		if (r->policy)
			policy_user_idle(r->users[e->client], e->t_ns);
		break;
	}
}

/* Who knows its experts knows its order. */
static int declare(struct policy_object *obj, uint32_t n)
{
	uint32_t *order = malloc(n * sizeof(*order));
	int r = order ? 0 : -ENOMEM;

	for (uint32_t i = 0; !r && i < n; i++)
		order[i] = i;
	if (!r)
		r = policy_object_set_order(obj, order, n);
	free(order);
	return r;
}

static int ours_init(struct replay *r)
{
	const struct trace *t = r->trace;
	struct policy_config config = {
		.capacity_bytes = t->budget_bytes,
		.share = r->options->share,
		.no_spread = r->options->no_spread,
		.all_touches = !r->options->sightings,
	};

	r->objects = calloc(t->n_models, sizeof(struct policy_object *));
	r->users = calloc(t->n_clients, sizeof(struct policy_user *));
	r->policy = policy_new(&config);
	if (!r->policy || !r->objects || !r->users)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_models; i++) {
		const struct trace_model *m = &t->models[i];

		r->objects[i] = policy_object_new(r->policy, m->n_chunks, t->chunk_bytes,
						  POLICY_MODEL, (void *)(uintptr_t)m->first);
		if (!r->objects[i])
			return -ENOMEM;
		if (m->expert_pos && declare(r->objects[i], m->n_chunks))
			return -ENOMEM;
		for (uint32_t c = 0; m->expert_pos && c < m->n_chunks; c++)
			if (m->expert_pos[c] != UINT32_MAX &&
			    policy_object_set_expert(r->objects[i], c, m->expert_pos[c],
						     UINT32_MAX))
				return -ENOMEM;
	}
	for (uint32_t i = 0; i < t->n_clients; i++) {
		if (policy_tenant_set(r->policy, i, t->clients[i].weight, 0, 0, UINT64_MAX))
			return -ENOMEM;
		r->users[i] = policy_user_new(r->objects[t->clients[i].model], i, NULL);
		if (!r->users[i])
			return -ENOMEM;
	}
	return 0;
}

static int init(struct replay *r)
{
	const struct trace *t = r->trace;
	uint32_t **index = calloc(t->n_clients, sizeof(uint32_t *));

	r->capacity = t->budget_bytes / t->chunk_bytes;
	r->resident = calloc(t->n_chunks + 1, 1);
	r->fresh = calloc(t->n_chunks + 1, 1);
	r->uses = index;
	r->n_uses = calloc(t->n_clients + 1, sizeof(uint32_t));
	r->at = calloc(t->n_clients + 1, sizeof(uint32_t));
	r->burst_end = calloc(t->n_clients + 1, sizeof(uint32_t));
	r->next_use = malloc((t->n_events + 1) * sizeof(uint32_t));
	r->chunk_next = malloc((t->n_chunks + 1) * sizeof(uint32_t));
	r->older = malloc((t->n_chunks + 1) * sizeof(uint32_t));
	r->newer = malloc((t->n_chunks + 1) * sizeof(uint32_t));
	r->heap = malloc((t->n_chunks + 1) * sizeof(uint32_t));
	r->heap_at = malloc((t->n_chunks + 1) * sizeof(uint32_t));
	r->oldest = r->newest = NONE;
	if (!index || !r->resident || !r->fresh || !r->n_uses || !r->at || !r->burst_end ||
	    !r->next_use || !r->chunk_next || !r->older || !r->newer || !r->heap || !r->heap_at)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_clients; i++) {
		index[i] = malloc((t->n_uses + 1) * sizeof(uint32_t));
		if (!index[i])
			return -ENOMEM;
	}
	for (uint32_t c = 0; c < t->n_chunks; c++)
		r->chunk_next[c] = NONE;
	for (size_t i = t->n_events; i-- > 0;) {
		if (t->events[i].kind != TRACE_USE)
			continue;
		r->next_use[i] = r->chunk_next[chunk_of(t, &t->events[i])];
		r->chunk_next[chunk_of(t, &t->events[i])] = (uint32_t)i;
	}
	for (size_t i = 0; i < t->n_events; i++) {
		const struct trace_event *e = &t->events[i];

		if (e->kind == TRACE_USE)
			index[e->client][r->n_uses[e->client]++] = (uint32_t)i;
	}
	return r->method == OURS ? ours_init(r) : 0;
}

static void deinit(struct replay *r)
{
	for (uint32_t i = 0; i < r->trace->n_clients && r->users; i++)
		policy_user_free(r->users[i]);
	for (uint32_t i = 0; i < r->trace->n_models && r->objects; i++)
		policy_object_free(r->objects[i]);
	policy_free(r->policy);
	for (uint32_t i = 0; i < r->trace->n_clients && r->uses; i++)
		free(r->uses[i]);
	free(r->users);
	free(r->objects);
	free(r->uses);
	free(r->n_uses);
	free(r->at);
	free(r->burst_end);
	free(r->next_use);
	free(r->chunk_next);
	free(r->older);
	free(r->newer);
	free(r->heap);
	free(r->heap_at);
	free(r->resident);
	free(r->fresh);
}

static int replay(const struct trace *t, const struct replay_options *options, enum method method,
		  uint64_t *out_loads)
{
	struct replay r = { .trace = t, .options = options, .method = method };
	uint64_t tick = 0;
	int ret = init(&r);

	for (size_t i = 0; !ret && i < t->n_events; i++) {
		/* One tick may stand for many: nothing happened in between. */
		if (r.policy && t->events[i].t_ns >= tick) {
			policy_tick(r.policy, t->events[i].t_ns);
			tick = t->events[i].t_ns + TICK_NS;
		}
		step(&r, (uint32_t)i);
	}
	*out_loads = r.loads;
	deinit(&r);
	return ret;
}

int trace_replay(const struct trace *trace, const struct replay_options *options,
		 struct replay_result *out)
{
	uint8_t *seen = calloc(trace->n_chunks + 1, 1);
	int r = seen ? 0 : -ENOMEM;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; !r && i < trace->n_events; i++) {
		const struct trace_event *e = &trace->events[i];

		if (e->kind != TRACE_USE)
			continue;
		out->uses++;
		out->distinct += !seen[chunk_of(trace, e)];
		seen[chunk_of(trace, e)] = 1;
	}
	free(seen);
	if (!r)
		r = replay(trace, options, OURS, &out->ours);
	if (!r)
		r = replay(trace, options, LRU, &out->lru);
	if (!r)
		r = replay(trace, options, OPTIMUM, &out->optimum);
	return r;
}

double replay_ratio(const struct replay_result *result, uint64_t loads)
{
	uint64_t again = loads - result->distinct, least = result->optimum - result->distinct;

	if (!again)
		return 1;
	return (double)again / (double)(least ? least : 1);
}
