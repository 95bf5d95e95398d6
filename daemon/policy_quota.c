// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * What each tenant may hold.
 *
 * Usage: the resident bytes of every object, divided equally among the tenants
 * that use it. Need: the same for all of the object's bytes. Quota: weighted
 * water-filling (policy_fill.h) of the capacity over a tree. Among the groups and the tenants that stand for
 * themselves every one gets weight * level, but no more than it needs and no less than its
 * min; the level is such that the quotas fill the capacity. What a group gets is divided
 * in the same way among those in it. An idle tenant's quota is its min: it keeps what nobody else
 * wants.
 *
 * What is protected is another matter: it is bounded by what a tenant has, not by what it needs, so
 * the caller works it out (policy_tenant_protect()). It holds against everybody outside
 * the tenant's group. Inside, who has more than its quota gives it to who has less, or else
 * those who came first would keep what protects all of them.
 *
 * Quotas are not walls. Memory that is free is used by whoever loads first; only
 * when something has to go does it matter who is above its quota. A tenant
 * counts as above only from a small slack on, and until it is back at its quota, so that two
 * tenants at their quotas do not take single chunks from each other in turns.
 */

#include <errno.h>
#include <stdlib.h>

#define WEIGHT_DEFAULT 100u
#define HASH_MIN       64u
#define TENANTS_MANY   8u

static struct policy_tenant **bucket(const struct policy *p, uint32_t id)
{
	return &p->hash[(id * 2654435761u) & (p->hash_size - 1)];
}

struct policy_tenant *tenant_find(const struct policy *p, uint32_t id)
{
	struct policy_tenant *t;

	if (!p->hash_size)
		return NULL;
	for (t = *bucket(p, id); t; t = t->hash_next)
		if (t->id == id)
			return t;
	return NULL;
}

/* Room for one more tenant or group, so that computing quotas cannot fail. */
static int fill_grow(struct policy *p)
{
	uint32_t cap = p->cap_fill ? 2 * p->cap_fill : 64;
	struct fill_node *fill;

	if (p->n_tenants + p->n_groups < p->cap_fill)
		return 0;
	fill = realloc(p->fill, cap * sizeof(*fill));
	if (!fill)
		return -ENOMEM;
	p->memory_bytes += (cap - p->cap_fill) * sizeof(*fill);
	p->fill = fill;
	p->cap_fill = cap;
	return 0;
}

static int hash_grow(struct policy *p)
{
	struct policy_tenant **old = p->hash, *t, *next;
	uint32_t old_size = p->hash_size, size = old_size ? 2 * old_size : HASH_MIN;
	struct policy_tenant **hash;

	if (p->n_tenants < old_size)
		return 0;
	hash = calloc(size, sizeof(struct policy_tenant *));
	if (!hash)
		return -ENOMEM;
	p->hash = hash;
	p->hash_size = size;
	for (uint32_t i = 0; i < old_size; i++) {
		for (t = old[i]; t; t = next) {
			next = t->hash_next;
			t->hash_next = *bucket(p, t->id);
			*bucket(p, t->id) = t;
		}
	}
	free(old);
	p->memory_bytes += (size - old_size) * sizeof(struct policy_tenant *);
	return 0;
}

struct policy_tenant *tenant_get(struct policy *p, uint32_t id)
{
	struct policy_tenant *t = tenant_find(p, id);

	if (t)
		return t;
	if (hash_grow(p) || fill_grow(p))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->id = id;
	t->weight = WEIGHT_DEFAULT;
	t->max = UINT64_MAX;
	t->level = LEVEL_NORMAL;
	t->hash_next = *bucket(p, id);
	*bucket(p, id) = t;
	p->n_tenants++;
	p->memory_bytes += sizeof(*t);
	return t;
}

static void group_unlink(struct policy_tenant *t)
{
	if (!t->group)
		return;
	if (t->group_prev)
		t->group_prev->group_next = t->group_next;
	else
		t->group->tenants = t->group_next;
	if (t->group_next)
		t->group_next->group_prev = t->group_prev;
	t->group = NULL;
	t->group_prev = t->group_next = NULL;
}

/* Frees a tenant that has neither users nor limits. */
void tenant_put(struct policy *p, struct policy_tenant *t)
{
	struct policy_tenant **at;

	if (t->n_users || t->configured)
		return;
	for (at = bucket(p, t->id); *at != t; at = &(*at)->hash_next)
		;
	*at = t->hash_next;
	group_unlink(t);
	p->n_tenants--;
	p->memory_bytes -= sizeof(*t) + t->cap_users * sizeof(struct policy_user *);
	free(t->users);
	free(t);
}

static void set_n_tenants(struct policy_object *obj, uint32_t n)
{
	obj->n_tenants = n;
	obj->p->quotas_dirty = true;
	obj->level_stale = true;
	quota_charge(obj, true);
	victim_dirty(obj);
}

int tenant_attach(struct policy_user *user)
{
	struct policy_tenant *t = user->tenant;
	struct policy_object *obj = user->obj;

	if (t->n_users == t->cap_users) {
		uint32_t cap = t->cap_users ? 2 * t->cap_users : 2;
		struct policy_user **users = realloc(t->users, cap * sizeof(struct policy_user *));

		if (!users)
			return -ENOMEM;
		obj->p->memory_bytes += (cap - t->cap_users) * sizeof(struct policy_user *);
		t->users = users;
		t->cap_users = cap;
	}
	user->first = true;
	for (uint32_t i = 0; i < t->n_users; i++)
		if (t->users[i]->obj == obj)
			user->first = false;
	if (obj->chunk_bytes > t->grain)
		t->grain = obj->chunk_bytes;
	user->in_tenant = t->n_users;
	t->users[t->n_users++] = user;
	if (user->first)
		set_n_tenants(obj, obj->n_tenants + 1);
	tenant_update_idle(obj->p, t);
	return 0;
}

/* The user is still in its object's array. */
void tenant_detach(struct policy_user *user)
{
	struct policy_tenant *t = user->tenant;
	struct policy_object *obj = user->obj;
	struct policy_user *heir = NULL;

	t->users[user->in_tenant] = t->users[--t->n_users];
	t->users[user->in_tenant]->in_tenant = user->in_tenant;
	for (uint32_t i = 0; i < t->n_users && user->first; i++)
		if (t->users[i]->obj == obj)
			heir = t->users[i];
	if (heir) {
		heir->first = true;
		heir->charged = user->charged;
	} else if (user->first) {
		if (user->charged)
			t->usage -= obj->share_bytes;
		user->first = false;
		set_n_tenants(obj, obj->n_tenants - 1);
	}
	quota_level(obj->p, t);
	tenant_update_idle(obj->p, t);
}

void tenant_update_idle(struct policy *p, struct policy_tenant *t)
{
	bool idle = true;

	for (uint32_t i = 0; i < t->n_users && idle; i++)
		idle = t->users[i]->idle;
	if (idle == t->idle)
		return;
	t->idle = idle;
	p->quotas_dirty = true;
}

/*
 * Brings what the tenants of an object are charged in line with what is resident.
 * With many tenants only when the share moved by a chunk: an event costs O(1) then.
 */
void quota_charge(struct policy_object *obj, bool exactly)
{
	uint64_t share = obj->n_tenants ? obj->n_resident * obj->chunk_bytes / obj->n_tenants : 0;
	uint64_t old = obj->share_bytes, moved = share > old ? share - old : old - share;

	if (!moved && !exactly)
		return;
	if (!exactly && obj->n_tenants > TENANTS_MANY && moved < obj->chunk_bytes)
		return;
	for (uint32_t i = 0; i < obj->n_users; i++) {
		struct policy_user *u = obj->users[i];

		if (!u->first)
			continue;
		/* One that just came has not been charged yet. */
		u->tenant->usage += share - (u->charged ? old : 0);
		u->charged = true;
		quota_level(obj->p, u->tenant);
	}
	obj->share_bytes = share;
}

/* The groups, those above before those below, then the tenants. */
static uint32_t build_tree(struct policy *p)
{
	struct policy_group *g;
	uint32_t n = 0;

	for (uint32_t depth = 0; n < p->n_groups; depth++) {
		for (g = p->groups; g; g = g->next) {
			if (g->depth != depth)
				continue;
			g->node = n;
			p->fill[n++] = (struct fill_node){
				.parent = g->parent ? g->parent->node : FILL_TOP,
				.weight = g->weight,
			};
		}
	}
	for (uint32_t i = 0; i < p->hash_size; i++) {
		for (struct policy_tenant *t = p->hash[i]; t; t = t->hash_next) {
			t->node = n;
			p->fill[n++] = (struct fill_node){
				.parent = t->group ? t->group->node : FILL_TOP,
				.weight = t->weight,
				.floor = t->min,
				.need = t->idle && t->need > t->min ? t->min : t->need,
			};
			/* A group without tenants needs nothing. */
			for (g = t->group; g && !p->fill[g->node].need; g = g->parent) {
				p->fill[g->node].floor = g->min;
				p->fill[g->node].need = g->max;
			}
		}
	}
	return n;
}

static void compute_need(struct policy_tenant *t)
{
	t->need = 0;
	for (uint32_t k = 0; k < t->n_users; k++) {
		const struct policy_object *obj = t->users[k]->obj;

		if (t->users[k]->first)
			t->need += obj->n * obj->chunk_bytes / obj->n_tenants;
	}
	if (t->need > t->max)
		t->need = t->max;
	t->slack = 2 * t->grain;
}

void quota_recompute(struct policy *p)
{
	struct policy_tenant *t;

	p->quotas_dirty = false;
	for (uint32_t i = 0; i < p->hash_size; i++)
		for (t = p->hash[i]; t; t = t->hash_next)
			compute_need(t);
	fill_divide(p->fill, build_tree(p), p->cfg.capacity_bytes);
	for (uint32_t i = 0; i < p->hash_size; i++) {
		for (t = p->hash[i]; t; t = t->hash_next) {
			t->quota = p->fill[t->node].quota;
			if (!t->idle)
				t->slack += t->quota / 128;
			quota_level(p, t);
		}
	}
}

bool quota_is_over(const struct policy_tenant *t)
{
	return t->usage > t->quota + (t->idle || t->level == LEVEL_OVER ? 0 : t->slack);
}

/* Its usage, quota or limits changed. */
void quota_level(struct policy *p, struct policy_tenant *t)
{
	enum policy_level level = LEVEL_NORMAL;

	/* Giving one more chunk must not take it below. */
	if (t->keep_min && t->usage < t->keep_min + t->grain)
		level = LEVEL_MIN;
	else if (t->keep_low && t->usage < t->keep_low + t->grain)
		level = LEVEL_LOW;
	else if (p->cfg.share == POLICY_SHARE_FAIR && quota_is_over(t))
		level = LEVEL_OVER;
	if (level == t->level)
		return;
	t->level = level;
	for (uint32_t i = 0; i < t->n_users; i++) {
		t->users[i]->obj->level_stale = true;
		victim_dirty(t->users[i]->obj);
	}
}

/* Everything is resident and nobody was seen for long: worth a probe. */
bool quota_is_probe(const struct policy_object *obj)
{
	if (obj->n_absent || !obj->n_users)
		return false;
	for (uint32_t i = 0; i < obj->n_users; i++)
		if (!obj->users[i]->quiet && !obj->users[i]->idle)
			return false;
	return true;
}

enum policy_level quota_object_level(struct policy_object *obj)
{
	if (obj->level_stale) {
		obj->level_stale = false;
		obj->tenants_level = LEVEL_OVER;
		for (uint32_t i = 0; i < obj->n_users; i++)
			if (obj->users[i]->tenant->level > obj->tenants_level)
				obj->tenants_level = obj->users[i]->tenant->level;
	}
	if (obj->tenants_level == LEVEL_NORMAL && quota_is_probe(obj))
		return LEVEL_OVER;
	return obj->tenants_level;
}

int policy_tenant_set(struct policy *p, uint32_t tenant, uint32_t weight, uint64_t min_bytes,
		      uint64_t low_bytes, uint64_t max_bytes)
{
	struct policy_tenant *t = tenant_get(p, tenant);

	if (!t)
		return -ENOMEM;
	t->configured = true;
	t->weight = weight ? weight : 1;
	t->min = min_bytes;
	t->max = max_bytes;
	t->keep_own = min_bytes;
	t->keep_min = min_bytes;
	t->keep_low = low_bytes;
	p->quotas_dirty = true;
	quota_level(p, t);
	return 0;
}

int policy_tenant_protect(struct policy *p, uint32_t tenant, uint64_t own_bytes, uint64_t min_bytes,
			  uint64_t low_bytes)
{
	struct policy_tenant *t = tenant_find(p, tenant);

	if (!t)
		return -ENOENT;
	t->keep_own = own_bytes;
	t->keep_min = min_bytes;
	t->keep_low = low_bytes;
	quota_level(p, t);
	return 0;
}

void policy_tenant_forget(struct policy *p, uint32_t tenant)
{
	struct policy_tenant *t = tenant_find(p, tenant);

	if (!t || t->n_users)
		return;
	t->configured = false;
	tenant_put(p, t);
}

int policy_tenant_info(struct policy *p, uint32_t tenant, struct policy_tenant_info *out)
{
	const struct policy_tenant *t = tenant_find(p, tenant);

	if (!t)
		return -ENOENT;
	for (uint32_t i = 0; i < t->n_users; i++)
		quota_charge(t->users[i]->obj, true);
	if (p->quotas_dirty)
		quota_recompute(p);
	out->quota_bytes = t->quota;
	out->usage_bytes = t->usage;
	out->need_bytes = t->need;
	out->idle = t->idle;
	return 0;
}

void policy_tenant_due(struct policy *p, uint32_t tenant, bool due)
{
	struct policy_tenant *t = tenant_find(p, tenant);

	if (t)
		t->due = due;
}

int policy_tenant_join(struct policy *p, uint32_t tenant, struct policy_group *group)
{
	struct policy_tenant *t = tenant_get(p, tenant);

	if (!t)
		return -ENOMEM;
	t->configured = true;
	if (t->group == group)
		return 0;
	group_unlink(t);
	t->group = group;
	if (group) {
		t->group_next = group->tenants;
		if (t->group_next)
			t->group_next->group_prev = t;
		group->tenants = t;
	}
	p->quotas_dirty = true;
	return 0;
}

struct policy_group *policy_group_new(struct policy *p)
{
	struct policy_group *g;

	if (fill_grow(p))
		return NULL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->p = p;
	g->weight = WEIGHT_DEFAULT;
	g->max = UINT64_MAX;
	g->next = p->groups;
	if (g->next)
		g->next->prev = g;
	p->groups = g;
	p->n_groups++;
	p->memory_bytes += sizeof(*g);
	return g;
}

static void update_depths(struct policy *p)
{
	for (struct policy_group *g = p->groups; g; g = g->next) {
		g->depth = 0;
		for (const struct policy_group *up = g->parent; up; up = up->parent)
			g->depth++;
	}
}

void policy_group_free(struct policy_group *group)
{
	struct policy *p;

	if (!group)
		return;
	p = group->p;
	while (group->tenants)
		group_unlink(group->tenants);
	for (struct policy_group *g = p->groups; g; g = g->next)
		if (g->parent == group)
			g->parent = NULL;
	if (group->prev)
		group->prev->next = group->next;
	else
		p->groups = group->next;
	if (group->next)
		group->next->prev = group->prev;
	p->n_groups--;
	p->memory_bytes -= sizeof(*group);
	p->quotas_dirty = true;
	free(group);
	update_depths(p);
}

int policy_group_set(struct policy_group *group, struct policy_group *parent, uint32_t weight,
		     uint64_t min_bytes, uint64_t max_bytes)
{
	for (const struct policy_group *up = parent; up; up = up->parent)
		if (up == group)
			return -EINVAL;
	group->parent = parent;
	group->weight = weight ? weight : 1;
	group->min = min_bytes;
	group->max = max_bytes;
	group->p->quotas_dirty = true;
	update_depths(group->p);
	return 0;
}

bool policy_object_is_over(const struct policy_object *obj)
{
	for (uint32_t i = 0; i < obj->n_users; i++)
		if (!quota_is_over(obj->users[i]->tenant))
			return false;
	return true;
}
