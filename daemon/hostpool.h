/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host tier of a device behind a link: a pool of chunk-sized slots of host memory, taken once, touched
 * once and recycled. A slot is where chunks pass through on their way to and from files, and
 * where copies stay as long as there is room.
 *
 * A slot is FREE; BUSY (a transfer fills or empties it); HELD; CLEAN (a copy of what a file or the device
 * holds as well: may be taken at any time); or DIRTY (the only copy of a buffer's chunk:
 * must be written to swap first). A chunk knows its slot (chunk.host_slot), a slot its chunk.
 *
 * Which clean slot goes first: a copy of a chunk that the device holds too, the latest first; then the
 * one whose chunk the policy expects later, among the oldest and the newest. Taking the oldest
 * alone would be LRU, which for cyclic use drops just what comes next.
 * Where several share the pool the owner may say whose copies go first (hostpool_set_rank()).
 */
#ifndef VRAM_DAEMON_HOSTPOOL_H
#define VRAM_DAEMON_HOSTPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/object.h"

enum host_slot_state {
	HOST_SLOT_FREE,
	HOST_SLOT_BUSY,
	HOST_SLOT_HELD,	       /* a kept copy while it is copied to the device */
	HOST_SLOT_CLEAN_TWICE, /* the device has it too */
	HOST_SLOT_CLEAN,
	HOST_SLOT_DIRTY,
	HOST_SLOT_N_STATES,
};

struct hostpool;

/* gpu: whose copies the slots are for, if its backend wants to provide the memory; or NULL. Return: 0, -EINVAL, -ENOMEM. */
int hostpool_new(struct hostpool **out, struct gpu *gpu, uint64_t bytes, uint32_t slot_bytes,
		 bool huge);
struct hostpool *hostpool_free(struct hostpool *pool);
uint32_t hostpool_n_slots(const struct hostpool *pool);
uint32_t hostpool_slot_bytes(const struct hostpool *pool);
uint64_t hostpool_used(const struct hostpool *pool);

/*
 * A slot for the chunk, BUSY. What a clean slot held is forgotten: *out_lost is the object whose copy
 * it was (for its charge), or NULL. Return: the slot, or -EAGAIN if all are busy or dirty.
 */
int64_t hostpool_get(struct hostpool *pool, struct object *object, uint32_t chunk, uint64_t now_ns,
		     struct object **out_lost);
void hostpool_put(struct hostpool *pool, uint32_t slot);
void hostpool_set_state(struct hostpool *pool, uint32_t slot, enum host_slot_state state);
enum host_slot_state hostpool_state(const struct hostpool *pool, uint32_t slot);
/* Slots in a state. */
uint32_t hostpool_count(const struct hostpool *pool, enum host_slot_state state);
void *hostpool_addr(const struct hostpool *pool, uint32_t slot);

/*
 * Whose copies go first for `want`: the higher before the lower, of equals as without; below 0: not for this one.
 * What passes through gets a slot all the same. NULL: nobody before anybody.
 */
typedef int (*hostpool_rank_fn)(void *ctx, const struct object *object, const struct object *want);
void hostpool_set_rank(struct hostpool *pool, hostpool_rank_fn rank, void *ctx);
/*
 * The dirty slot to be written out first: of those ranked highest the one that has waited longest. round: objects that
 * were passed over in it (hostpool_pass_over()) are left out. Return: -ENOENT if there is none.
 */
int64_t hostpool_next_dirty(struct hostpool *pool, const struct object *want, uint32_t round,
			    struct object **out_object, uint32_t *out_chunk);
/* A new round of hostpool_next_dirty(). */
uint32_t hostpool_round(struct hostpool *pool);
static inline void hostpool_pass_over(struct object *object, uint32_t round)
{
	object->host.round = round;
}
/* The object's own clean slot that goes first, or its oldest dirty one. Return: -ENOENT if there is none. */
int64_t hostpool_clean_of(const struct hostpool *pool, const struct object *object,
			  uint64_t now_ns);
int64_t hostpool_dirty_of(const struct hostpool *pool, const struct object *object,
			  uint32_t *out_chunk);

#endif
