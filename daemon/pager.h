/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Moves chunks: file or swap -> (host tier -> link ->) device, and back for buffers.
 *
 * The pager decides nothing. The scheduler says which chunk to load (with room charged for it) and
 * which to evict (claimed, that is closed and unpinned); the pager moves the bytes, keeps
 * chunk.state, swap slots and host slots right, and reports. What is in flight is bounded by bytes; every
 * transfer comes from a fixed pool, so the steady state allocates nothing.
 *
 * A weight is never written anywhere: evicting it is a drop. A buffer's chunk that was never
 * written is a drop too, and its load is the zero page that the device gives by itself.
 */
#ifndef VRAM_DAEMON_PAGER_H
#define VRAM_DAEMON_PAGER_H

#include "daemon/arbiter.h"
#include "daemon/gpu.h"
#include "daemon/hostpool.h"
#include "daemon/object.h"
#include "daemon/store.h"

struct pager;

#define PAGER_NOT_TOLD UINT64_MAX

/* A transfer, for who traces it. */
struct pager_move {
	const struct object *object;
	uint32_t chunk;
	uint32_t from; /* enum arbiter_tier or TRACE_TIER_* */
	uint32_t to;
	bool ended;
	uint64_t session; /* ended: what `moves` returned at the begin; PAGER_NOT_TOLD: it was not called */
	int res;	  /* ended: 0 or -errno */
	uint64_t ns; /* ended: how long it took */
};

struct pager_events {
	/* LOADING ended: RESIDENT (res 0), or ABSENT with res -errno. */
	void (*loaded)(void *owner, struct object *object, uint32_t chunk, int res, uint64_t ns);
	/* EVICTING ended: ABSENT (0), or RESIDENT again with the bytes untouched. who as it was
	 * given to pager_evict(). */
	void (*evicted)(void *owner, struct object *object, uint32_t chunk, int res, uint64_t who);
	/* An ABSENT chunk's copy in the host tier was on its way to swap, so that nobody could load
	 * the chunk (it was EVICTING). Now it is ABSENT again. */
	void (*settled)(void *owner, struct object *object, uint32_t chunk);
	/* Something became free: a transfer or a host slot. */
	void (*ready)(void *owner);
	/* A transfer begins or has ended; only while somebody traces that. NULL: not of interest. Return: for whom it is. */
	uint64_t (*moves)(void *owner, const struct pager_move *move);
};

/* Who has to give, and who may take, where a lower tier is short. Any may be NULL. */
struct pager_rules {
	/* As hostpool_rank_fn. */
	int (*rank)(void *owner, const struct object *object, const struct object *want);
	/* May another chunk of the object be written to swap? */
	bool (*may_swap)(void *owner, const struct object *object);
};

struct pager_params {
	struct loop *loop;
	struct gpu *gpu;
	struct store *store;
	struct arbiter *arbiter;
	uint32_t dev;		   /* in the arbiter */
	struct swap *swap;	   /* NULL: buffers cannot be evicted once written */
	struct hostpool *hostpool; /* NULL exactly if the device is direct */
	uint64_t inflight_bytes;
	const struct pager_events *events;
	const struct pager_rules *rules; /* or NULL */
	void *owner;
};

struct pager_stats {
	uint64_t read_bytes; /* from model files */
	uint64_t swap_in_bytes;
	uint64_t swap_out_bytes;
	uint64_t link_in_bytes;
	uint64_t link_out_bytes;
	uint64_t inflight_bytes;
};

int pager_new(struct pager **out, const struct pager_params *params);
struct pager *pager_free(struct pager *pager);
const struct pager_stats *pager_stats(const struct pager *pager);
bool pager_is_idle(const struct pager *pager);

/* Can one more load start now? */
bool pager_has_room(const struct pager *pager, const struct object *object);

/* An ABSENT chunk whose memory is charged. Return: 0 (LOADING; loaded comes later) or -EAGAIN
 * (nothing changed; ready comes), -ENOMEM (the device has less memory than it said), -ENODEV. */
int pager_load(struct pager *pager, struct object *object, uint32_t chunk);

/*
 * Would pager_evict() find a place for the content? want: what room is made for, or NULL. A little of swap, and a
 * slot of the host tier, are kept for exchanges: else what is there could not come back once they are full.
 * Return: 0, -EAGAIN (later), -ENOSPC (there is no place).
 */
int pager_may_evict(struct pager *pager, struct object *object, uint32_t chunk,
		    const struct chunk *want);

/* A claimed chunk for which pager_may_evict() said 0. who: the session that needs the room, for the
 * caller's books. Return: 0 (dropped: ABSENT already, no event), 1 (EVICTING; evicted comes later), or
 * -EAGAIN or -ENOSPC (still RESIDENT: there is no place after all). */
int pager_evict(struct pager *pager, struct object *object, uint32_t chunk, uint64_t who);

/* What the host tier keeps of an object that is not in the device goes: copies at once, what is nowhere else to
 * swap, as far as there is room now. */
void pager_empty_host(struct pager *pager, struct object *object);
/*
 * Clean copies of the object in the host tier are dropped, dirty ones begin to be written to swap, until so many bytes
 * are on their way. Return: how many are.
 */
uint64_t pager_host_give(struct pager *pager, struct object *object, uint64_t bytes);
/* Whether the ranks of the rules matter now. */
void pager_rank_host(struct pager *pager, bool ranked);

/* Everything that an object without moving chunks keeps in the host tier and in swap goes. */
void pager_forget(struct pager *pager, struct object *object);

#endif
