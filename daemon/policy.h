/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_DAEMON_POLICY_H
#define VRAM_DAEMON_POLICY_H

/*
 * policy - which chunk to load ahead and which chunk to give up.
 *
 * A pure module: it reads no clock, does no I/O, keeps no global and takes no
 * lock. The caller (the pager) tells it what happened and asks for plans; all
 * calls for one struct policy come from one thread. Times are nanoseconds of
 * any monotonic clock.
 *
 * The nouns:
 *   object  one model file or one buffer, divided into equal chunks. Chunks
 *           have a place in a cyclic order (an inference pass walks it once).
 *   user    one session's use of one object: a cursor and a pace in that order.
 *   tenant  one session with its limits; it may have users on several objects
 *           and one object may have users of several tenants.
 *   group   tenants that together have what one weight gives them (the sessions of a
 *           user, say). Groups may be in groups.
 *
 * What the pager does:
 *   - a read starts:      policy_evictable(obj, chunk, false)
 *                         policy_resident(obj, chunk, true)
 *     (a chunk is resident for the policy from the moment it takes memory)
 *   - the read is done:   policy_evictable(obj, chunk, true),
 *                         policy_loaded(p, bytes, ns since the read started)
 *   - it is pinned:       policy_evictable(obj, chunk, false), later true
 *   - it is given up:     policy_resident(obj, chunk, false)
 *   - it was seen in use: policy_touch(user, chunk, now). On a fault on an
 *     absent chunk call it at once, before the read starts; one call is enough.
 *   - after a touch, an eviction or a finished read: policy_prefetch() for the
 *     user, and for each chunk that finds no free memory policy_victim().
 *   - every 50 to 250 ms while anything is attached: policy_tick().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;
struct policy_object;
struct policy_user;
struct policy_group;

/* "No prediction": later than anything that is predicted. */
#define POLICY_NEVER UINT64_MAX

enum policy_kind {
	POLICY_MODEL,  /* read-only: eviction drops it */
	POLICY_BUFFER, /* private and written: eviction costs a write too */
};

enum policy_pass {
	POLICY_PASS_UNKNOWN,
	POLICY_PASS_DECODE,
	POLICY_PASS_PREFILL,
	POLICY_N_PASS,
};

enum policy_share {
	POLICY_SHARE_FAIR,  /* weighted quotas between active tenants */
	POLICY_SHARE_BYTES, /* fewest bytes moved over all; may starve */
};

struct policy_config {
	uint64_t capacity_bytes; /* what all objects together may take */
	uint64_t window_bytes;	 /* most bytes loaded ahead for a user; 0: 64 MiB */
	uint64_t protect_ns;	 /* how long an untouched load is kept; 0: 250 ms */
	enum policy_share share;
	bool all_touches; /* every use is reported, not only those of closed chunks */
	bool no_spread;	  /* pure farthest next use: for comparisons only */
};

struct policy_victim {
	struct policy_object *obj;
	uint32_t chunk;
	uint64_t next_ns; /* its predicted next use, or POLICY_NEVER */
};

struct policy_tenant_info {
	uint64_t quota_bytes;
	uint64_t usage_bytes; /* shared objects count in equal parts */
	uint64_t need_bytes;
	bool idle;
};

struct policy_user_info {
	bool started;	       /* it was seen at all */
	uint32_t position;     /* where in the order it was last seen */
	uint32_t n_positions;  /* of a pass */
	uint64_t passes;       /* times it came round */
	uint64_t ns_per_chunk; /* measured pace, stalls included; 0: unknown */
	uint32_t lag;	       /* chunks behind the position that are kept for stragglers */
	uint32_t depth;	       /* chunks that policy_prefetch keeps ahead */
	bool idle;
};

/* Return: NULL when out of memory. */
struct policy *policy_new(const struct policy_config *config);
/* Frees the policy; every object and user must have been freed before. */
void policy_free(struct policy *p);
void policy_set_capacity(struct policy *p, uint64_t capacity_bytes);

/*
 * The order of a new object is the file's; unless it is declared it is
 * corrected by what is seen. Nothing is resident, everything is evictable.
 * Return: NULL when out of memory or if n_chunks or chunk_bytes is 0.
 */
struct policy_object *policy_object_new(struct policy *p, uint32_t n_chunks, uint64_t chunk_bytes,
					enum policy_kind kind, void *owner);
/* Frees it; its users must have been freed before. NULL is allowed. */
void policy_object_free(struct policy_object *obj);
void *policy_object_owner(const struct policy_object *obj);

/*
 * Declares the cyclic order. Chunks that are not in it are used rarely or in
 * no order: they are never loaded ahead and go first.
 * Return: 0, -EINVAL (a chunk out of range or twice; nothing changed), -ENOMEM.
 */
int policy_object_set_order(struct policy_object *obj, const uint32_t *chunk_at_pos, uint32_t n);
/*
 * Says that a chunk belongs to an expert: used in some passes only, chosen
 * anew in each. It keeps a place in the order next to layer_pos (a position);
 * chunks of one group are used together: give every chunk of an expert the same
 * group, or UINT32_MAX for none. Return: 0, -EINVAL, -ENOMEM.
 */
int policy_object_set_expert(struct policy_object *obj, uint32_t chunk, uint32_t layer_pos,
			     uint32_t group);

/*
 * Limits of a tenant, in bytes. weight: its share when memory is short (100 is
 * the usual one, 0 is taken as 1); min: never taken by others below it; low:
 * taken only when nothing else is left; max: above it the tenant gives up its
 * own chunks (UINT64_MAX: none). Return: 0 or -ENOMEM.
 */
int policy_tenant_set(struct policy *p, uint32_t tenant, uint32_t weight, uint64_t min_bytes,
		      uint64_t low_bytes, uint64_t max_bytes);
/*
 * What is protected of a tenant's use now, where that is not what was set for it: min_bytes and low_bytes
 * as above; own_bytes: the part of it that tenants of the same group must respect, too. In force until
 * the next policy_tenant_set() or this. Return: 0 or -ENOENT.
 */
int policy_tenant_protect(struct policy *p, uint32_t tenant, uint64_t own_bytes, uint64_t min_bytes,
			  uint64_t low_bytes);
/* Whether something that protects the tenant has less than its min: it gives nothing itself while others can. */
void policy_tenant_due(struct policy *p, uint32_t tenant, bool due);
/* The group of a tenant; NULL: it stands for itself. Return: 0 or -ENOMEM. */
int policy_tenant_join(struct policy *p, uint32_t tenant, struct policy_group *group);

/* Return: NULL when out of memory. It has weight 100, no limits, and stands for itself. */
struct policy_group *policy_group_new(struct policy *p);
/* Frees it; tenants and groups that are in it stand for themselves then. NULL is allowed. */
void policy_group_free(struct policy_group *group);
/*
 * weight: against the others in its parent (NULL: against all that stand for themselves); min: what its tenants get
 * together at least; max: at most. Return: 0, or -EINVAL if the parent is below the group itself.
 */
int policy_group_set(struct policy_group *group, struct policy_group *parent, uint32_t weight,
		     uint64_t min_bytes, uint64_t max_bytes);
/* Every tenant that uses the object has more than its quota (nobody uses it: true). */
bool policy_object_is_over(const struct policy_object *obj);

/* Forgets the limits of a tenant. Ignored while it has users. */
void policy_tenant_forget(struct policy *p, uint32_t tenant);
/* Return: 0 or -ENOENT. */
int policy_tenant_info(struct policy *p, uint32_t tenant, struct policy_tenant_info *out);

/* A tenant that was never set gets weight 100 and no limits. Return: NULL when out of memory. */
struct policy_user *policy_user_new(struct policy_object *obj, uint32_t tenant, void *owner);
void policy_user_free(struct policy_user *user);
void *policy_user_owner(const struct policy_user *user);
void policy_user_info(const struct policy_user *user, struct policy_user_info *out);

/* The session was seen using the chunk. */
void policy_touch(struct policy_user *user, uint32_t chunk, uint64_t now_ns);
/* A pass of this kind begins. Optional. */
void policy_user_pass(struct policy_user *user, enum policy_pass kind);
/* The session has nothing to do. Optional: it is inferred from missing touches. */
void policy_user_idle(struct policy_user *user, uint64_t now_ns);

void policy_resident(struct policy_object *obj, uint32_t chunk, bool resident);
void policy_evictable(struct policy_object *obj, uint32_t chunk, bool evictable);
/* A load of so many bytes took so long, queueing included. */
void policy_loaded(struct policy *p, uint64_t bytes, uint64_t ns);

/*
 * The chunk to give up so that want_chunk can be loaded for want_user. Changes
 * nothing: asked again it answers the same until policy_resident(.., false).
 * demand: somebody waits; otherwise a chunk is named only if it will be needed
 * later than the wanted one.
 * Return: 0; -EAGAIN (prefetch: nothing that is needed later; demand: all that
 * is left is in use or was just loaded, try again after the next event);
 * -ENOSPC (demand: limits protect everything that could go).
 */
int policy_victim(struct policy *p, uint64_t now_ns, struct policy_object *want_obj,
		  uint32_t want_chunk, struct policy_user *want_user, bool demand,
		  struct policy_victim *out);

/*
 * The best chunk of one object to give up, whatever the limits: for a caller
 * that knows whose memory must shrink. own: for a load into the same object.
 * Return: 0, or -EAGAIN if none may go now.
 */
int policy_object_victim(struct policy_object *obj, uint64_t now_ns, bool own,
			 struct policy_victim *out);

/*
 * Absent chunks to load ahead for the user, the first needed first. Chunks
 * whose loads were started (policy_resident) are not named again.
 */
size_t policy_prefetch(struct policy_user *user, uint64_t now_ns, uint32_t *out_chunks, size_t max);

/*
 * Whether a session that stands at an absent chunk should be left waiting for now, because another one
 * comes the same way shortly behind it and they had better go together. To be asked before the load is
 * started, and again every few milliseconds while the answer is true; it ends by itself.
 */
bool policy_should_wait(struct policy_user *user, uint32_t chunk, uint64_t now_ns);

/*
 * Predicted time of the next use of a chunk, the earliest over the users of its
 * object; not before now_ns; POLICY_NEVER without users.
 */
uint64_t policy_next_use(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns);

/* Finds idle sessions, ends protections, recomputes quotas when something changed. */
void policy_tick(struct policy *p, uint64_t now_ns);

/* Bytes of the policy's own memory, for the books. */
size_t policy_memory(const struct policy *p);

#endif
