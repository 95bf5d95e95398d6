// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * Which chunk goes.
 *
 * Within an object the farthest next use is just behind a cursor: the session
 * has passed and needs a whole round to come again. With several sessions on
 * one object the gap behind a cursor ends at the next session behind, which is
 * the one that will need the chunk; the candidate is taken from the gap whose
 * end is farthest in time.
 *
 * Holes are kept spread over the order. Taking always the nearest one behind the cursor
 * makes of everything that is absent one contiguous run: the disk rests while
 * the session computes through the resident part, and the session waits while it
 * crosses the hole. So a block of the order (32 positions) takes no more
 * holes than the mean; the search goes back to the next block that has room. Once they
 * are spread they stay so: a hole is filled ahead of the cursor and a new one is made
 * behind it, in the same block.
 *
 * Rare chunks (experts, embedding rows) compete by how often they are used
 * (policy_rare.c).
 *
 * Over objects: heaps keyed by the candidate's predicted next use, one for each
 * level of protection. An event marks the object dirty; policy_victim() brings
 * dirty objects up to date, which costs O(log n) for each event, and
 * looks at the roots. Keys are absolute times, so they need no change while time
 * passes; idle sessions, whose next use moves with the time, are marked dirty by
 * policy_tick().
 */

#include <errno.h>
#include <stdlib.h>

/* With more users than this, gaps are looked for among a sample that goes round. */
#define USERS_SAMPLED 8u
#define USERS_ASKED   4u

static bool before(const struct policy_object *a, const struct policy_object *b)
{
	return a->cand_key > b->cand_key;
}

static void heap_put(struct heap *h, uint32_t i, struct policy_object *obj)
{
	h->at[i] = obj;
	obj->heap_index = i;
}

static void heap_up(struct heap *h, uint32_t i, struct policy_object *obj)
{
	while (i && before(obj, h->at[(i - 1) / 2])) {
		heap_put(h, i, h->at[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(h, i, obj);
}

static void heap_down(struct heap *h, uint32_t i, struct policy_object *obj)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && before(h->at[child + 1], h->at[child]))
			child++;
		if (!before(h->at[child], obj))
			break;
		heap_put(h, i, h->at[child]);
		i = child;
	}
	heap_put(h, i, obj);
}

static void heap_fix(struct heap *h, struct policy_object *obj)
{
	uint32_t i = obj->heap_index;

	if (i && before(obj, h->at[(i - 1) / 2]))
		heap_up(h, i, obj);
	else
		heap_down(h, i, obj);
}

static void heap_remove(struct policy *p, struct policy_object *obj)
{
	struct heap *h = &p->heap[obj->heap_level];
	uint32_t i = obj->heap_index;
	struct policy_object *last;

	if (i == UINT32_MAX)
		return;
	obj->heap_index = UINT32_MAX;
	last = h->at[--h->n];
	if (last == obj)
		return;
	heap_put(h, i, last);
	heap_fix(h, last);
}

/* Room for every object in every heap, so that filing cannot fail. */
int victim_reserve(struct policy *p, uint32_t n_objects)
{
	for (int i = 0; i < LEVEL_N_HEAPS; i++) {
		struct heap *h = &p->heap[i];
		uint32_t cap = h->cap ? 2 * h->cap : 16;
		struct policy_object **at;

		if (n_objects <= h->cap)
			continue;
		at = realloc(h->at, cap * sizeof(struct policy_object *));
		if (!at)
			return -ENOMEM;
		p->memory_bytes += (cap - h->cap) * sizeof(struct policy_object *);
		h->at = at;
		h->cap = cap;
	}
	return 0;
}

void victim_deinit(struct policy *p)
{
	for (int i = 0; i < LEVEL_N_HEAPS; i++)
		free(p->heap[i].at);
}

/* Its key or its level may have changed. */
static void file(struct policy_object *obj)
{
	struct policy *p = obj->p;
	enum policy_level level = quota_object_level(obj);

	if (!obj->has_cand || level >= LEVEL_N_HEAPS) {
		heap_remove(p, obj);
		return;
	}
	if (obj->heap_index != UINT32_MAX && obj->heap_level == level) {
		heap_fix(&p->heap[level], obj);
		return;
	}
	heap_remove(p, obj);
	obj->heap_level = level;
	heap_up(&p->heap[level], p->heap[level].n++, obj);
}

void victim_dirty(struct policy_object *obj)
{
	if (obj->dirty)
		return;
	obj->dirty = true;
	obj->dirty_next = obj->p->dirty;
	obj->p->dirty = obj;
}

void victim_forget(struct policy_object *obj)
{
	struct policy_object **at;

	heap_remove(obj->p, obj);
	if (obj->p->refresh == obj)
		obj->p->refresh = NULL;
	if (!obj->dirty)
		return;
	for (at = &obj->p->dirty; *at != obj; at = &(*at)->dirty_next)
		;
	*at = obj->dirty_next;
}

struct candidate {
	uint32_t pos; /* UINT32_MAX: none */
	uint64_t next;
};

static void consider(struct candidate *best, uint32_t pos, uint64_t next)
{
	if (pos == UINT32_MAX || (best->pos != UINT32_MAX && next <= best->next))
		return;
	best->pos = pos;
	best->next = next;
}

static uint32_t step_back(const struct policy_object *obj, uint32_t pos, uint32_t by)
{
	return pos >= by ? pos - by : pos + obj->n_cycle - by;
}

/* Where a session presumably is. Those behind are taken at where they were seen last. */
static uint32_t position(const struct policy_user *user, uint64_t now_ns)
{
	return (user->cursor + user_passed(user, now_ns)) % user->obj->n_cycle;
}

/* The users whose gaps are looked at. Active ones if there are any. */
static uint32_t pick_users(struct policy_object *obj, const struct policy_user **out)
{
	uint32_t n = 0, start = 0;

	if (obj->n_users > USERS_SAMPLED) {
		obj->sample = (obj->sample + USERS_SAMPLED) % obj->n_users;
		start = obj->sample;
	}
	for (int idle = 0; idle <= 1 && !n; idle++) {
		for (uint32_t i = 0; i < obj->n_users && n < USERS_SAMPLED; i++) {
			const struct policy_user *u = obj->users[(start + i) % obj->n_users];

			if (u->started && u->idle == idle)
				out[n++] = u;
			if (i > 4 * USERS_SAMPLED)
				break;
		}
	}
	return n;
}

static uint64_t next_of(const struct policy_object *obj, const struct policy_user **users,
			uint32_t n, uint32_t pos, uint64_t now_ns)
{
	uint64_t next = POLICY_NEVER;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t t = user_next(users[i], pos, now_ns);

		if (t < next)
			next = t;
	}
	/* All others are idle; few enough to ask them too. */
	for (uint32_t i = 0; i < obj->n_users && obj->n_users <= USERS_SAMPLED; i++) {
		if (obj->users[i]->idle && obj->users[i]->started) {
			uint64_t t = user_next(obj->users[i], pos, now_ns);

			if (t < next)
				next = t;
		}
	}
	return next;
}

/*
 * A chunk that was loaded ahead and passed without being used: the order is only what
 * was seen in other passes. It is worth less than any that was used.
 */
static uint32_t passed_over(const struct policy_object *obj, uint32_t from, uint32_t len)
{
	uint32_t pos;

	/* In the first pass it may yet come: the order is just being learned. */
	if (obj->declared || !obj->passes)
		return UINT32_MAX;
	pos = order_last(obj, &obj->fresh, from, len < obj->n_cycle / 2 ? len : obj->n_cycle / 2);
	if (pos == UINT32_MAX || obj->flags[obj->chunk_at[pos]] & CHUNK_PINNED)
		return UINT32_MAX;
	return pos;
}

static void cycle_candidate(struct policy_object *obj, uint64_t now_ns, bool spread,
			    struct candidate *best)
{
	const struct policy_user *users[USERS_SAMPLED];
	uint32_t n = pick_users(obj, users), pos;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = spread ? users[i]->cursor : position(users[i], now_ns);
		uint32_t gap = obj->n_cycle, lag = users[i]->lag, behind = i;

		for (uint32_t k = 0; k < n; k++) {
			uint32_t d = order_ahead(obj, users[k]->cursor, at);

			/* Of those at the same place the first is taken for the last. */
			if (k != i && d < gap && (d || k < i)) {
				gap = d;
				behind = k;
			}
		}
		if (gap <= lag)
			continue;
		pos = passed_over(obj, step_back(obj, at, lag), gap - lag);
		if (pos == UINT32_MAX && spread)
			pos = order_last(obj, &obj->roomy, step_back(obj, at, lag), gap - lag);
		if (pos == UINT32_MAX)
			pos = order_last(obj, &obj->cand, step_back(obj, at, lag), gap - lag);
		if (pos == UINT32_MAX)
			continue;
		/* Of few all are asked, of many the one that comes next. */
		if (n <= USERS_ASKED)
			consider(best, pos, next_of(obj, users, n, pos, now_ns));
		else
			consider(best, pos, user_next(users[behind], pos, now_ns));
	}
	if (best->pos != UINT32_MAX)
		return;
	/* Only what is close behind the cursors is left, or nobody has begun. */
	pos = order_last(obj, &obj->cand, n ? users[0]->cursor : obj->n_cycle - 1, obj->n_cycle);
	if (pos != UINT32_MAX)
		consider(best, pos, policy_next_use(obj, obj->chunk_at[pos], now_ns));
}

static void set_victim(struct policy_object *obj, const struct candidate *c,
		       struct policy_victim *out)
{
	out->obj = obj;
	out->chunk = obj->chunk_at[c->pos];
	out->next_ns = c->next;
}

/* Candidates get better while sessions go on unseen. */
#define LOOKS_A_ROUND 32u

static void update(struct policy_object *obj, uint64_t now_ns)
{
	struct candidate best = { .pos = UINT32_MAX }, even = { .pos = UINT32_MAX };
	uint32_t regular, chunk;
	uint64_t next;

	obj->stale_ns = POLICY_NEVER;
	for (uint32_t i = 0; i < obj->n_users && i < USERS_SAMPLED; i++) {
		struct policy_user *u = obj->users[i];

		user_find_wire(u);
		if (u->wire != 1 && now_ns + user_lap_ns(u) / LOOKS_A_ROUND < obj->stale_ns)
			obj->stale_ns = now_ns + user_lap_ns(u) / LOOKS_A_ROUND;
	}
	cycle_candidate(obj, now_ns, false, &best);
	regular = best.pos;
	chunk = rare_victim(obj, now_ns, &next);
	if (chunk != UINT32_MAX)
		consider(&best, obj->pos_of[chunk], next);
	obj->has_cand = best.pos != UINT32_MAX;
	if (obj->has_cand) {
		if (regular == best.pos && !obj->p->cfg.no_spread)
			cycle_candidate(obj, now_ns, true, &even);
		set_victim(obj, &best, &obj->farthest);
		set_victim(obj, even.pos == UINT32_MAX ? &best : &even, &obj->even);
		/* Were it awake it would be soon: finding out is worth one load. */
		if (quota_is_probe(obj))
			obj->farthest.next_ns = POLICY_NEVER;
		obj->cand_key = obj->farthest.next_ns;
		/* Writing it out and reading it again costs twice the bytes. */
		if (obj->kind == POLICY_BUFFER && obj->cand_key != POLICY_NEVER &&
		    best.next > now_ns)
			obj->cand_key = now_ns + (best.next - now_ns) / 2;
	}
	file(obj);
}

static void flush(struct policy *p, uint64_t now_ns)
{
	struct policy_object *obj;

	for (obj = p->dirty; obj; obj = obj->dirty_next)
		quota_charge(obj, false);
	while (p->dirty) {
		obj = p->dirty;
		p->dirty = obj->dirty_next;
		obj->dirty = false;
		update(obj, now_ns);
	}
}

static struct policy_object *root(const struct policy *p, enum policy_level level)
{
	return p->heap[level].n ? p->heap[level].at[0] : NULL;
}

static struct policy_object *farther(struct policy_object *a, struct policy_object *b)
{
	if (!a || !b)
		return a ? a : b;
	return before(b, a) ? b : a;
}

/*
 * The best that the tenant can give itself: its private objects, and the one
 * that it loads into (which keeps its size). Others that it shares are not its
 * alone to give.
 */
static struct policy_object *own_best(const struct policy_tenant *t,
				      const struct policy_object *want)
{
	struct policy_object *best = NULL;

	for (uint32_t i = 0; i < t->n_users; i++) {
		struct policy_object *obj = t->users[i]->obj;

		if (obj->has_cand && (obj == want || obj->n_tenants == 1))
			best = farther(best, obj);
	}
	return best;
}

/*
 * What protects a group does not hold inside it: who has more than its quota there gives something that is
 * its own. Those who are not protected are in a heap.
 */
static struct policy_object *sibling_best(const struct policy_tenant *t)
{
	struct policy_object *best = NULL;

	for (struct policy_tenant *s = t->group ? t->group->tenants : NULL; s; s = s->group_next) {
		if (s == t || s->level < LEVEL_LOW || !quota_is_over(s) ||
		    (s->keep_own && s->usage < s->keep_own + s->grain))
			continue;
		for (uint32_t i = 0; i < s->n_users; i++)
			if (s->users[i]->obj->has_cand && s->users[i]->obj->n_tenants == 1)
				best = farther(best, s->users[i]->obj);
	}
	return best;
}

/*
 * Everything that could go was loaded and not used yet. Somebody waits, so what
 * was loaded ahead and is farthest ahead goes; what others wait for stays.
 */
static uint32_t farthest_fresh(struct policy_object *obj)
{
	uint32_t from = obj->n_cycle - 1, pos, left = obj->n_cycle;

	if (obj->n_users && obj->users[0]->started)
		from = obj->users[0]->cursor;
	while (left) {
		uint8_t f;

		pos = order_last(obj, &obj->fresh, from, left);
		if (pos == UINT32_MAX)
			return pos;
		f = obj->flags[obj->chunk_at[pos]];
		if ((f & (CHUNK_RESIDENT | CHUNK_PINNED)) == CHUNK_RESIDENT)
			return pos;
		left -= order_ahead(obj, pos, from) + 1;
		from = step_back(obj, pos, 1);
	}
	return UINT32_MAX;
}

/*
 * Nothing may go by the rules. Somebody waits, so what was only loaded ahead
 * goes, then what the session itself waited for longest ago. Others' protections
 * end with the next ticks.
 */
static int last_resort(struct policy *p, uint64_t now_ns, struct policy_object *want,
		       struct policy_user *user, struct policy_victim *out)
{
	uint32_t pos = want->n_resident ? farthest_fresh(want) : UINT32_MAX;

	if (pos != UINT32_MAX) {
		out->obj = want;
		out->chunk = want->chunk_at[pos];
		out->next_ns = policy_next_use(want, out->chunk, now_ns);
		return 0;
	}
	while (user && user_drop_waited(user)) {
		flush(p, now_ns);
		if (want->has_cand) {
			*out = want->even;
			return 0;
		}
	}
	/* Does anything ever come free that the limits leave to this session? */
	for (struct policy_object *obj = p->objects; obj; obj = obj->next) {
		bool own = user && obj->n_tenants == 1 && obj->users[0]->tenant == user->tenant;

		if (obj->n_resident && (obj == want || own || quota_object_level(obj) < LEVEL_MIN))
			return -EAGAIN;
	}
	return -ENOSPC;
}

/*
 * A session that makes room for itself keeps its holes spread. When another one
 * takes the memory the farthest goes.
 */
static const struct policy_victim *pick(const struct policy_object *obj,
					const struct policy_object *want)
{
	return obj == want ? &obj->even : &obj->farthest;
}

static bool fair(const struct policy *p)
{
	return p->cfg.share == POLICY_SHARE_FAIR;
}

/* The one that asks, and two others in turn. */
static void look_again(struct policy *p, struct policy_object *want, uint64_t now_ns)
{
	if (want->stale_ns <= now_ns)
		victim_dirty(want);
	for (int i = 0; i < 2; i++) {
		p->refresh = p->refresh ? p->refresh->next : p->objects;
		if (p->refresh && p->refresh->stale_ns <= now_ns)
			victim_dirty(p->refresh);
	}
}

int policy_victim(struct policy *p, uint64_t now_ns, struct policy_object *want_obj,
		  uint32_t want_chunk, struct policy_user *want_user, bool demand,
		  struct policy_victim *out)
{
	struct policy_tenant *t = want_user ? want_user->tenant : NULL;
	struct policy_object *best = NULL, *own = NULL, *over, *sibling;
	bool own_only = false, below = false;

	if (want_chunk >= want_obj->n)
		return -EINVAL;
	if (p->quotas_dirty)
		quota_recompute(p);
	look_again(p, want_obj, now_ns);
	flush(p, now_ns);
	if (t) {
		own = own_best(t, want_obj);
		own_only = t->usage + want_obj->chunk_bytes > t->max;
		below = fair(p) && t->usage + want_obj->chunk_bytes <= t->quota;
	}
	over = root(p, LEVEL_OVER);
	if (own_only) {
		best = own;
	} else if (fair(p) && t) {
		/*
		 * Below its min it takes from anybody. Below its quota it takes from who is above, unless
		 * that one only rests and will be back before its own chunk is needed.
		 */
		if (t->due)
			best = over ? over : root(p, LEVEL_NORMAL);
		else if (over && below && !(over->n_users && over->users[0]->idle))
			best = over;
		else
			best = farther(own, over);
		if (below && !over) {
			sibling = sibling_best(t);
			best = sibling ? sibling : best;
		}
		if (!best)
			best = root(p, LEVEL_NORMAL);
	} else {
		best = over ? over : root(p, LEVEL_NORMAL);
	}
	if (!best && demand)
		best = own ? own : root(p, LEVEL_LOW);

	if (!demand) {
		uint64_t need = want_user ?
					user_next(want_user, want_obj->pos_of[want_chunk], now_ns) :
					policy_next_use(want_obj, want_chunk, now_ns);

		if (!best || pick(best, want_obj)->next_ns <= need)
			return -EAGAIN;
		*out = *pick(best, want_obj);
		return 0;
	}
	if (best) {
		*out = *pick(best, want_obj);
		return 0;
	}
	return last_resort(p, now_ns, want_obj, want_user, out);
}

int policy_object_victim(struct policy_object *obj, uint64_t now_ns, bool own,
			 struct policy_victim *out)
{
	flush(obj->p, now_ns);
	if (!obj->has_cand)
		return -EAGAIN;
	*out = own ? obj->even : obj->farthest;
	return 0;
}

uint64_t policy_next_use(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns)
{
	uint64_t next = POLICY_NEVER;

	if (chunk >= obj->n || !obj->n_users)
		return POLICY_NEVER;
	if (obj->flags[chunk] & CHUNK_RARE)
		return rare_next(obj, chunk, now_ns);
	for (uint32_t i = 0; i < obj->n_users; i++) {
		uint64_t t = user_next(obj->users[i], obj->pos_of[chunk], now_ns);

		if (t < next)
			next = t;
	}
	return next;
}
