/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is paged, and by whom it is used.
 *
 * An object is one model file (shared by every session that opened it) or one buffer (of one
 * session), divided into chunks. A use is one session's use of one object; it may have layers, each
 * with a slot in the session's residency table and made of runs of chunks.
 *
 * Invariants:
 *   - a layer's `missing` is the number of its chunks that are not RESIDENT;
 *   - its slot is RESIDENT only if missing is 0 (and the chunks are open in the session's mappings);
 *   - a chunk leaves RESIDENT only after object_claim_chunk() took every layer over it from RESIDENT to
 *     ABSENT under the slot protocol, and closed it in every mapping: so no pinned
 *     layer is ever touched, and a stray access waits at a closed chunk;
 *   - the layers' requests hold their chunks (chunk.holds): a held chunk is not evicted.
 *
 * Ownership: the scheduler owns objects; a use belongs to its session and is listed in its object. This
 * module does no I/O; whoever changes a chunk's state tells it.
 */
#ifndef VRAM_DAEMON_OBJECT_H
#define VRAM_DAEMON_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "common/residency.h"
#include "daemon/gpu.h"
#include "daemon/policy.h"
#include "daemon/store.h"

enum chunk_state {
	CHUNK_ABSENT,
	CHUNK_LOADING,
	CHUNK_RESIDENT,
	CHUNK_EVICTING, /* being written out */
};

#define CHUNK_QUEUED   1u   /* in the scheduler's queue of demands */
#define CHUNK_WRITTEN  2u   /* a buffer's: has content that is not zero */
#define CHUNK_DIRTY    4u   /* a buffer's: the content is not in swap */
#define CHUNK_PINNED   8u   /* was found pinned; in the scheduler's list for another look */
#define CHUNK_OPENED   16u  /* some session may touch it without telling us */
#define CHUNK_PREFETCH 32u  /* being loaded ahead: nobody waits */
#define CHUNK_NO_PLACE 64u  /* as PINNED, because there is no place to write it to */
#define CHUNK_BAD      128u /* the last load failed: not loaded ahead until somebody asks for it */

struct chunk {
	uint8_t state;
	uint8_t flags;
	uint8_t tries;	     /* loads that failed in a row while a thread waited */
	uint8_t was_evicted; /* it has been there before: its next load brings it back */
	uint32_t holds;	     /* waiting layers that need it */
	uint32_t swap_slot;  /* + 1; 0: none */
	uint32_t host_slot;  /* + 1; 0: no copy in the host tier */
};

struct scheduler_session;
struct object;

struct chunk_run {
	uint32_t first;
	uint32_t n;
};

struct layer {
	uint32_t missing;
	uint32_t first_run; /* in use.runs */
	uint32_t n_runs;
	struct residency_shadow shadow;
	bool waiting; /* the client asked and has not been answered */
	bool parked;  /* waiting, but without a hold on its chunks */
	bool expert;
	uint64_t since_ns;     /* waiting: when it asked */
	struct list_node node; /* waiting: scheduler.waiting */
	struct use *use;
};

struct use {
	struct scheduler_session *session;
	struct gpu_client *const *client; /* the session's; NULL there: nothing is mapped */
	struct object *object;
	struct policy_user *policy;
	struct list_node in_object;  /* object.uses */
	struct list_node in_session; /* session.uses */
	uint32_t id;		     /* the protocol's object number in this session */

	uint32_t n_layers;
	uint32_t slot_base;
	struct residency_slot *slots;	     /* of layer 0, in the session's table */
	const struct residency_waker *waker; /* the session's; NULL: futexes */
	struct layer *layers;
	struct chunk_run *runs;
	/* Which layers cover a chunk: chunk_layers[chunk_first[c]] .. [chunk_first[c + 1]]. */
	uint32_t *chunk_first;
	uint32_t *chunk_layers;

	uint8_t *waiting; /* a bit a chunk: a thread of the session stands at it */
	uint32_t n_waiting;
	struct list_node active; /* scheduler.active: chunks may have to be loaded ahead for it */

	uint64_t loaded_bytes;
	uint64_t evicted_bytes;

	/* For status, when scheduler_look() came by last. */
	uint64_t acquires; /* of its slots; without slots: chunks that it has passed */
	uint64_t passed;   /* the latter as the policy counts, which may begin anew */
};

/* What the host tier keeps of an object: hostpool.c's. */
struct host_share {
	struct list_node node;	   /* hostpool.owners, while there is anything */
	struct list_node slots[3]; /* that are not busy, by what they are; the oldest first */
	uint32_t n;
	uint32_t round; /* in which it was last passed over */
};

struct object {
	struct list_node node; /* scheduler.objects */
	uint64_t id;	       /* for people; never used twice */
	enum policy_kind kind;
	char name[128];
	uid_t uid; /* of who made it; whose it is, where the device has objects per user */
	uint64_t size_bytes;
	struct gpu_object *mem;
	struct store_file *file; /* NULL: a buffer */
	struct policy_object *policy;
	uint32_t share; /* in the arbiter */
	struct chunk *chunks;
	struct host_share host;
	uint64_t resident_bytes; /* of chunks that take memory: loading and evicting ones too */
	uint64_t leaving_bytes;	 /* of these, of chunks EVICTING */
	uint64_t loaded_bytes;
	uint64_t evicted_bytes;
	uint64_t written_bytes; /* to the host tier or to swap; of a buffer */
	uint64_t tier_bytes
		[3]; /* by enum arbiter_tier, in the ledger when scheduler_look() came by last */
	uint32_t n_moving; /* chunks LOADING or EVICTING: the object must not be freed */
	struct list_node uses;
	uint32_t n_openings;	  /* MODEL_OPENs whose EXTENTS are still coming: not to be freed */
	uint64_t unused_since_ns; /* no uses: since when */
	bool has_order;		  /* a client declared one */
	bool pinned;		  /* by the administrator: never evicted */
	bool dead;		  /* to be freed when nothing moves any more */
};

/* One extent as the client gave it, checked already. */
struct object_extent {
	uint64_t offset;
	uint64_t length;
	uint32_t layer;
	uint32_t flags; /* VRAM_EXTENT_* */
};

static inline uint32_t object_chunk_of(const struct object *object, uint64_t offset)
{
	return (uint32_t)(offset / object->mem->chunk_bytes);
}

static inline bool use_is_waiting(const struct use *use, uint32_t chunk)
{
	return use->waiting[chunk / 8] >> (chunk % 8) & 1;
}

/*
 * use_new() - a use without layers; use_set_layers() gives it some. client is where the session keeps
 * its side of the device; NULL there means that it has no mappings. The caller links the use into
 * its session.
 */
struct use *use_new(struct object *object, struct scheduler_session *session,
		    struct gpu_client *const *client);
/* The layers' slots become ABSENT; the session must not have waiting layers any more. */
struct use *use_free(struct use *use);

/*
 * use_set_layers() - layers from extents; slots slot_base.. of the session's table are initialised.
 * Layers whose chunks are all resident are ABSENT until they are first asked for.
 * Return: 0, -EINVAL (a layer without extents), -E2BIG, -ENOMEM.
 */
int use_set_layers(struct use *use, const struct object_extent *extents, uint32_t n_extents,
		   uint32_t n_layers, struct residency_slot *table, uint32_t slot_base);

/* Declares the extents' order to the policy, unless somebody has done so before. */
int object_declare_order(struct object *object, const struct object_extent *extents,
			 uint32_t n_extents);

/*
 * The order of layers, as learnt or told later: their chunks in this order, the others left out.
 * Return: 0, -EINVAL (no such layer, or one twice), -ENOMEM.
 */
int use_set_order(struct use *use, const uint32_t *layers, uint32_t n);
/* A new mapping begins closed: open what the resident layers promise to be there. */
void use_reopen_layers(struct use *use);

struct layer *use_layer(struct use *use, uint32_t slot);
/* The layer's number in the session's table, and its place there. */
uint32_t layer_slot(const struct layer *layer);
struct residency_slot *layer_residency(const struct layer *layer);

/* The chunk has become RESIDENT (data in place, closed everywhere): layers that are complete now become
 * resident. */
void object_chunk_arrived(struct object *object, uint32_t chunk);

/*
 * object_claim_chunk() - take a RESIDENT chunk away from everybody: all layers over it ABSENT, closed in
 * all mappings. The caller then drops it or writes it out.
 * Return: 0, or -EBUSY with everything as before: pinned, held, or a mapping that cannot be closed.
 */
int object_claim_chunk(struct object *object, uint32_t chunk);

/* While a layer is waited for its chunks, present or not, are held. */
void layer_hold(struct layer *layer);
void layer_unhold(struct layer *layer);

/* Complete and waiting or wished for: open its chunks and let the client go on. */
void layer_make_resident(struct layer *layer);
/* Ends a load of the layer that was begun, with an error for whoever waits. */
void layer_fail(struct layer *layer, int error);

/* Open resident chunks for one session. */
void use_open_run(struct use *use, uint32_t first, uint32_t n);

#endif
