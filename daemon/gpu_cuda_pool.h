/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The books of a card's memory: which physical chunks there are, who has them, and what is to be done when one
 * is wanted. No driver, no clock, no input or output: the backend asks, does what it is told, and reports.
 *
 * A physical chunk ("phys") is one allocation of the driver's. It has an id that counts up and is never used
 * again, a size, and a user for life. It is
 *
 *	BOUND	 to a chunk of an object of that user;
 *	FREE	 kept for the same user, because clients still have it mapped and find it again there;
 *	LEAVING	 on its way back to the driver. Clients that imported it have been asked to let go; when none has it
 *		 any more (or it never had any) it is taken by cuda_pool_next_release().
 *
 * THE RULE that keeps users apart: a phys never changes its user. What one user gives up reaches another
 * only through the driver, which frees memory when every reference to it is gone. So a client that lies
 * about having let go keeps its own old bytes, and sees nobody's.
 *
 * Within one user phys are recycled without asking the clients: what they have mapped shows other bytes of
 * the same user. Not if it is tainted: if a client ended without having let go of it. What it has started on the card may
 * still run, and write to a buffer that is not its own any more, or, if the client lives and was only sent away, compute
 * with other bytes than those of the layer that it holds. So that memory goes back to the driver, and with it the question
 * when it is over.
 *
 * SIZE. What the pool may have is `budget`: at most what is configured, and so much less as others use of the card
 * beyond `reserve`, which is theirs. Memory that was given back to the driver and has not turned up as free yet ("due")
 * counts as ours for a while, or every change of user would look like a program outside that takes memory.
 *
 * COST. By id and by (user, size): O(1). Nothing here walks all phys but cuda_pool_deinit().
 *
 * OWNERSHIP. A cuda_phys is embedded in the backend's own struct and belongs to the backend; the pool has it in its lists from
 * cuda_pool_add() to cuda_pool_remove(). The records of exports belong to the pool.
 */
#ifndef VRAM_DAEMON_GPU_CUDA_POOL_H
#define VRAM_DAEMON_GPU_CUDA_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"

enum cuda_phys_state {
	CUDA_PHYS_FREE,
	CUDA_PHYS_BOUND,
	CUDA_PHYS_LEAVING,
	CUDA_PHYS_N_STATES,
};

struct cuda_bucket;

struct cuda_phys {
	uint64_t id;
	uint64_t bytes;
	uid_t uid;
	enum cuda_phys_state state;
	bool tainted; /* not to be recycled */
	bool written; /* in full since it was made: nothing of an earlier owner can be read there */
	void *object; /* BOUND: whose; FREE: whose it was last, NULL once that is gone */
	uint32_t chunk;
	uint64_t since_ns; /* FREE: since when; LEAVING and pressed: until when */
	uint32_t n_exports;
	struct list_node exports; /* struct cuda_export.in_phys */
	/* the pool's */
	struct list_node in_bucket; /* FREE */
	struct list_node in_order;  /* FREE: pool.idle; LEAVING: one of calm, pressed, released */
	struct cuda_phys *next_of_id;
	struct cuda_bucket *bucket;
};

/* A client, as far as the books are concerned: embedded in the backend's. */
struct cuda_holder {
	uid_t uid;
	uint32_t n_exports;
	uint32_t n_asked;	  /* exports that it was asked for and has not answered */
	uint32_t n_spare;	  /* answers that may come for what it does not have any more */
	struct list_node exports; /* struct cuda_export.in_holder; those to be asked are first */
	struct list_node in_pool; /* pool.to_ask, while it is to be asked for something */
};

/* One client has (or may have) one phys mapped. */
struct cuda_export {
	struct cuda_phys *phys;
	struct cuda_holder *holder;
	bool asked; /* to let go of it */
	struct list_node in_phys;
	struct list_node in_holder;
};

struct cuda_pool_params {
	uint64_t configured_bytes;
	uint64_t reserve_bytes;
	uint64_t idle_ns;
	uint64_t drain_ns;	 /* how long memory may take to come back from the driver */
	uint64_t settle_ns;	 /* how long others' use must last before the budget follows */
	uint64_t smallest_bytes; /* the budget is never less */
};

struct cuda_pool {
	struct cuda_pool_params params;
	uint64_t next_id;
	uint64_t bytes[CUDA_PHYS_N_STATES];
	uint32_t n[CUDA_PHYS_N_STATES];
	uint64_t budget_bytes; /* what was announced */

	struct cuda_phys **by_id;
	size_t by_id_size; /* a power of two */
	struct cuda_bucket **buckets;
	struct list_node idle;	   /* FREE, the longest first */
	struct list_node calm;	   /* LEAVING, and nobody waits for it */
	struct list_node pressed;  /* LEAVING, with a deadline; the nearest first */
	struct list_node released; /* LEAVING, and no client has it any more */
	struct list_node to_ask;   /* struct cuda_holder.in_pool */

	uint64_t free_bytes; /* of the card, as measured last */
	uint64_t due_bytes;  /* given back to the driver, not seen as free yet */
	uint64_t due_ns;     /* since when the latest of them */
	uint64_t below_ns; /* since when there is too little for what was announced; 0: it is not so */
	uint64_t above_ns; /* since when there is clearly more */
	uint64_t no_growth_until_ns;
	uint64_t growth_pause_ns;
};

enum cuda_pool_verdict {
	CUDA_POOL_CREATE,  /* there is room: make one */
	CUDA_POOL_RELEASE, /* give this one back to the driver at once, then ask again */
	CUDA_POOL_RECLAIM, /* cuda_pool_leave() this one, then ask again */
	CUDA_POOL_WAIT,	   /* memory is on its way */
	CUDA_POOL_NONE,	   /* there is none, and none will come */
};

int cuda_pool_init(struct cuda_pool *pool, const struct cuda_pool_params *params);
/* No phys and no exports may be left. */
void cuda_pool_deinit(struct cuda_pool *pool);

/* ---- phys ---- */

/* A new one, BOUND; gives it its id. Return: 0 or -ENOMEM. */
int cuda_pool_add(struct cuda_pool *pool, struct cuda_phys *phys, uid_t uid, uint64_t bytes,
		  void *object, uint32_t chunk);
/* Out of the books, whatever its state; exports of it are forgotten. */
void cuda_pool_remove(struct cuda_pool *pool, struct cuda_phys *phys);
struct cuda_phys *cuda_pool_find(const struct cuda_pool *pool, uint64_t id);
/* A FREE one for this user: the one with the id `last` if that is possible. NULL: none. */
struct cuda_phys *cuda_pool_take(struct cuda_pool *pool, uid_t uid, uint64_t bytes, uint64_t last);
void cuda_pool_bind(struct cuda_pool *pool, struct cuda_phys *phys, void *object, uint32_t chunk);
/* BOUND to FREE, or to LEAVING if it must not be recycled. */
void cuda_pool_unbind(struct cuda_pool *pool, struct cuda_phys *phys, uint64_t now_ns);
/* The object that a FREE one belonged to is gone: it serves everybody of the user alike. */
void cuda_pool_unclaim(struct cuda_pool *pool, struct cuda_phys *phys);

/* ---- making room ---- */

/* What to do so that `bytes` more can be had. cuda_pool_measure() first. */
enum cuda_pool_verdict cuda_pool_room(struct cuda_pool *pool, uint64_t bytes, uint64_t now_ns,
				      struct cuda_phys **out_phys);
/* FREE to LEAVING; its holders are to be asked. */
void cuda_pool_leave(struct cuda_pool *pool, struct cuda_phys *phys);
/* Somebody waits: those that are LEAVING have until then, and their holders are told so. */
void cuda_pool_press(struct cuda_pool *pool, uint64_t deadline_ns);
/* One that no client has any more, to be given to the driver and removed. NULL: none. */
struct cuda_phys *cuda_pool_next_release(struct cuda_pool *pool);
/* One that has been FREE for too long, or that is kept while others lack memory; to be left. NULL: none. */
struct cuda_phys *cuda_pool_next_idle(const struct cuda_pool *pool, uint64_t now_ns);
/* The nearest deadline; 0: none. */
uint64_t cuda_pool_deadline(const struct cuda_pool *pool);

/* ---- clients ---- */

void cuda_holder_init(struct cuda_holder *holder, uid_t uid);
/* The client gets this phys; it may have it already. Return: 0 or -ENOMEM. */
int cuda_pool_export(struct cuda_pool *pool, struct cuda_phys *phys, struct cuda_holder *holder);
/*
 * The client says that it has let go. It may do so unasked, and so may answer twice when both cross.
 * Return: 0; -EPROTO for an id that it was never given.
 */
int cuda_pool_reclaimed(struct cuda_pool *pool, struct cuda_holder *holder, uint64_t id);
/* The client is gone. What it has not let go of is tainted. */
void cuda_pool_holder_end(struct cuda_pool *pool, struct cuda_holder *holder);
/* Whom to ask, and for which ids (at most max; the deadline is 0 where nobody waits). Return: NULL if nobody. */
struct cuda_holder *cuda_pool_next_ask(struct cuda_pool *pool, uint64_t *ids, uint32_t max,
				       uint32_t *out_n, uint64_t *out_deadline_ns);
/* A client that has not obeyed in time; NULL: none. It stays so until cuda_pool_holder_end(). */
struct cuda_holder *cuda_pool_overdue(const struct cuda_pool *pool, uint64_t now_ns);

/* ---- size ---- */

uint64_t cuda_pool_own_bytes(const struct cuda_pool *pool);
/* The driver says how much of the card is free. */
void cuda_pool_measure(struct cuda_pool *pool, uint64_t free_bytes, uint64_t now_ns);
/* So many bytes have been given to the driver. */
void cuda_pool_given_back(struct cuda_pool *pool, uint64_t bytes, uint64_t now_ns);
/* Is something on its way that makes it worth looking soon? */
bool cuda_pool_is_moving(const struct cuda_pool *pool);
/* Does what was announced still hold? Return: true if budget_bytes has changed. */
bool cuda_pool_budget(struct cuda_pool *pool, uint64_t now_ns);
/*
 * cuda_pool_room() said NONE, or the driver had no memory although it said so (`refused`): follow at once.
 * Return: true if budget_bytes has changed.
 */
bool cuda_pool_shortage(struct cuda_pool *pool, bool refused, uint64_t now_ns);

#endif
