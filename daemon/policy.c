// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy.h"

#include "daemon/policy_internal.h"

/*
 * The policy: farthest next use, known rather than guessed.
 *
 * Inference walks the weights of a model in the same cyclic order in every pass,
 * so once the order, the position and the pace of a session are known, the time
 * at which it will need any chunk again is arithmetic. Belady's rule (give
 * up what is needed last) then needs no oracle. An LRU reads every byte again of a
 * model that is one chunk too large; this reads what is missing.
 *
 *   policy.c          objects, users and the state of chunks (this file)
 *   policy_order.c    the order of an object: learned or declared; bitmaps
 *   policy_user.c     where a session is, its pace, whether it is idle
 *   policy_rare.c     chunks that are not used in every pass
 *   policy_quota.c    what each tenant may hold
 *   policy_fill.c     weighted water-filling over a tree
 *   policy_victim.c   which chunk goes
 *   policy_prefetch.c which chunks are loaded ahead
 *
 * Ownership: the caller owns objects, users and groups and frees users before their
 * object and everything before the policy. Tenants come into being with their
 * first user or limit and go with the last.
 *
 * Protection. A chunk that was just loaded must not go before it was used, or
 * two who are short of memory evict each other's loads for ever. Loaded
 * chunks are protected until they are touched, for one to two protection
 * periods. Somebody who waits may still take what was only loaded ahead.
 */

#include <errno.h>
#include <stdlib.h>

#define WINDOW_DEFAULT	   (64ULL << 20)
#define PROTECT_DEFAULT_NS 250000000ULL

struct policy *policy_new(const struct policy_config *config)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->cfg = *config;
	if (!p->cfg.window_bytes)
		p->cfg.window_bytes = WINDOW_DEFAULT;
	if (!p->cfg.protect_ns)
		p->cfg.protect_ns = PROTECT_DEFAULT_NS;
	p->memory_bytes = sizeof(*p);
	return p;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->hash_size; i++) {
		struct policy_tenant *t, *next;

		for (t = p->hash[i]; t; t = next) {
			next = t->hash_next;
			free(t->users);
			free(t);
		}
	}
	free(p->hash);
	free(p->fill);
	victim_deinit(p);
	free(p);
}

void policy_set_capacity(struct policy *p, uint64_t capacity_bytes)
{
	p->cfg.capacity_bytes = capacity_bytes;
	p->quotas_dirty = true;
}

size_t policy_memory(const struct policy *p)
{
	return p->memory_bytes;
}

struct policy_object *policy_object_new(struct policy *p, uint32_t n_chunks, uint64_t chunk_bytes,
					enum policy_kind kind, void *owner)
{
	struct policy_object *obj;

	if (!n_chunks || !chunk_bytes || victim_reserve(p, p->n_objects + 1))
		return NULL;
	obj = calloc(1, sizeof(*obj));
	if (!obj)
		return NULL;
	obj->p = p;
	obj->owner = owner;
	obj->kind = kind;
	obj->n = n_chunks;
	obj->chunk_bytes = chunk_bytes;
	obj->heap_index = UINT32_MAX;
	if (order_init(obj)) {
		free(obj);
		return NULL;
	}
	obj->memory_bytes += sizeof(*obj);
	p->memory_bytes += obj->memory_bytes;
	p->n_objects++;
	obj->next = p->objects;
	if (obj->next)
		obj->next->prev = obj;
	p->objects = obj;
	return obj;
}

void policy_object_free(struct policy_object *obj)
{
	struct policy *p;

	if (!obj)
		return;
	p = obj->p;
	victim_forget(obj);
	if (obj->prev)
		obj->prev->next = obj->next;
	else
		p->objects = obj->next;
	if (obj->next)
		obj->next->prev = obj->prev;
	p->n_objects--;
	p->memory_bytes -= obj->memory_bytes;
	order_deinit(obj);
	free(obj->users);
	free(obj);
}

void *policy_object_owner(const struct policy_object *obj)
{
	return obj->owner;
}

struct policy_user *policy_user_new(struct policy_object *obj, uint32_t tenant, void *owner)
{
	struct policy *p = obj->p;
	struct policy_user *user;

	if (obj->n_users == obj->cap_users) {
		uint32_t cap = obj->cap_users ? 2 * obj->cap_users : 2;
		struct policy_user **users =
			realloc(obj->users, cap * sizeof(struct policy_user *));

		if (!users)
			return NULL;
		obj->memory_bytes += (cap - obj->cap_users) * sizeof(struct policy_user *);
		p->memory_bytes += (cap - obj->cap_users) * sizeof(struct policy_user *);
		obj->users = users;
		obj->cap_users = cap;
	}
	user = calloc(1, sizeof(*user));
	if (!user)
		return NULL;
	user->obj = obj;
	user->owner = owner;
	user_init(user);
	user->tenant = tenant_get(p, tenant);
	if (!user->tenant) {
		free(user);
		return NULL;
	}
	user->in_obj = obj->n_users;
	obj->users[obj->n_users++] = user;
	if (tenant_attach(user)) {
		obj->n_users--;
		tenant_put(p, user->tenant);
		free(user);
		return NULL;
	}
	p->memory_bytes += sizeof(*user);
	return user;
}

void policy_user_free(struct policy_user *user)
{
	struct policy_object *obj;

	if (!user)
		return;
	obj = user->obj;
	tenant_detach(user);
	obj->users[user->in_obj] = obj->users[--obj->n_users];
	obj->users[user->in_obj]->in_obj = user->in_obj;
	tenant_put(obj->p, user->tenant);
	obj->level_stale = true;
	victim_dirty(obj);
	obj->p->memory_bytes -= sizeof(*user);
	free(user);
}

void *policy_user_owner(const struct policy_user *user)
{
	return user->owner;
}

void policy_resident(struct policy_object *obj, uint32_t chunk, bool resident)
{
	uint8_t f;

	if (chunk >= obj->n)
		return;
	f = obj->flags[chunk];
	if (resident == !!(f & CHUNK_RESIDENT))
		return;
	victim_dirty(obj);
	if (!resident) {
		if (f & CHUNK_RARE)
			rare_evicted(obj, chunk);
		else if (f & CHUNK_FRESH)
			rare_load_wasted(obj, chunk);
		f = obj->flags[chunk] & (uint8_t) ~(CHUNK_RESIDENT | CHUNK_FRESH | CHUNK_PROTECTED);
		order_set_flags(obj, chunk, f);
		return;
	}
	order_set_flags(obj, chunk,
			f | CHUNK_RESIDENT | CHUNK_YOUNG |
				(user_waits_for(obj, chunk) ? 0 : CHUNK_FRESH));
}

void policy_evictable(struct policy_object *obj, uint32_t chunk, bool evictable)
{
	uint8_t f;

	if (chunk >= obj->n)
		return;
	f = obj->flags[chunk];
	if (evictable == !(f & CHUNK_PINNED))
		return;
	f ^= CHUNK_PINNED;
	order_set_flags(obj, chunk, f);
	victim_dirty(obj);
}

static void age_protections(struct policy_object *obj)
{
	if (!obj->n_protected)
		return;
	for (uint32_t c = 0; c < obj->n; c++) {
		uint8_t f = obj->flags[c];

		if (f & CHUNK_YOUNG)
			order_set_flags(obj, c, (f & (uint8_t)~CHUNK_YOUNG) | CHUNK_AGED);
		else if (f & CHUNK_AGED)
			order_set_flags(obj, c, f & (uint8_t)~CHUNK_AGED);
	}
	victim_dirty(obj);
}

void policy_tick(struct policy *p, uint64_t now_ns)
{
	bool age = now_ns - p->aged_ns >= p->cfg.protect_ns;

	if (age)
		p->aged_ns = now_ns;
	for (struct policy_object *obj = p->objects; obj; obj = obj->next) {
		if (age)
			age_protections(obj);
		for (uint32_t i = 0; i < obj->n_users; i++) {
			user_infer_idle(obj->users[i], now_ns);
			if (obj->users[i]->idle || obj->stale_ns <= now_ns)
				victim_dirty(obj);
		}
	}
	if (p->quotas_dirty)
		quota_recompute(p);
}
