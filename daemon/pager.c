// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/pager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/trace.h"

/* Most chunks on the move at once, whatever their size. */
#define TRANSFERS 64
/* Slots of swap that only exchanges may take, at most. */
#define SWAP_RESERVE 8
/* After a write to swap failed nothing is written back for so long. */
#define WRITEBACK_PAUSE_NS 100000000ull

enum transfer_kind {
	TRANSFER_LOAD,	    /* file, swap or nothing -> device */
	TRANSFER_EVICT,	    /* device -> swap, or device -> host tier */
	TRANSFER_WRITEBACK, /* host tier -> swap; the chunk is ABSENT all the while */
};

struct transfer {
	struct list_node node; /* pager.free */
	struct pager *pager;
	struct object *object;
	uint32_t chunk;
	enum transfer_kind kind;
	int64_t host_slot; /* or -1 */
	int64_t swap_slot; /* or -1 */
	uint32_t bytes;	   /* counted as in flight */
	uint64_t start_ns;
	uint64_t who;  /* evictions: for which session */
	uint32_t from; /* tiers, for who traces it */
	uint32_t to;
	uint64_t session; /* for whom, likewise */
	bool from_swap;
	struct store_io io;
	struct gpu_copy copy;
	struct loop_op defer;
};

struct pager {
	struct pager_params params;
	struct list_node free;
	int n_moving;
	uint32_t n_to_host; /* evictions on their way to the host tier */
	uint64_t no_writeback_until_ns;
	struct pager_stats stats;
	struct transfer transfers[TRANSFERS];
};

int pager_new(struct pager **out, const struct pager_params *params)
{
	struct pager *pager = calloc(1, sizeof(*pager));

	if (!pager)
		return -ENOMEM;
	pager->params = *params;
	list_init(&pager->free);
	for (int i = 0; i < TRANSFERS; i++) {
		pager->transfers[i].pager = pager;
		list_add_tail(&pager->transfers[i].node, &pager->free);
	}
	*out = pager;
	return 0;
}

struct pager *pager_free(struct pager *pager)
{
	free(pager);
	return NULL;
}

const struct pager_stats *pager_stats(const struct pager *pager)
{
	return &pager->stats;
}

bool pager_is_idle(const struct pager *pager)
{
	return pager->n_moving == 0;
}

bool pager_has_room(const struct pager *pager, const struct object *object)
{
	uint64_t after = pager->stats.inflight_bytes + object->mem->chunk_bytes;

	return !list_is_empty(&pager->free) &&
	       (after <= pager->params.inflight_bytes || pager->n_moving == 0);
}

static struct transfer *transfer_begin(struct pager *pager, enum transfer_kind kind,
				       struct object *object, uint32_t chunk)
{
	struct transfer *t = list_first(&pager->free, struct transfer, node);

	list_del(&t->node);
	t->kind = kind;
	t->object = object;
	t->chunk = chunk;
	t->host_slot = -1;
	t->swap_slot = -1;
	t->from_swap = false;
	t->bytes = gpu_chunk_len(object->mem, chunk);
	t->start_ns = loop_now();
	pager->stats.inflight_bytes += t->bytes;
	pager->n_moving++;
	object->n_moving++;
	return t;
}

static void transfer_end(struct transfer *t)
{
	t->pager->stats.inflight_bytes -= t->bytes;
	t->pager->n_moving--;
	t->object->n_moving--;
	list_add(&t->node, &t->pager->free);
}

static uint64_t tell(const struct transfer *t, bool ended, int res)
{
	const struct pager_params *params = &t->pager->params;
	const struct pager_move move = {
		.object = t->object,
		.chunk = t->chunk,
		.from = t->from,
		.to = t->to,
		.ended = ended,
		.session = t->session,
		.res = res,
		.ns = ended ? loop_now() - t->start_ns : 0,
	};

	if (!params->events->moves)
		return PAGER_NOT_TOLD;
	return params->events->moves(params->owner, &move);
}

static void tell_begin(struct transfer *t, uint32_t from, uint32_t to)
{
	t->from = from;
	t->to = to;
	t->session = PAGER_NOT_TOLD;
	if (trace_on(vram_io_begin))
		t->session = tell(t, false, 0);
}

static void tell_end(const struct transfer *t, int res)
{
	if (trace_on(vram_io_end))
		tell(t, true, res);
}

/* What the chunk holds of the file: the last page of a model may be longer than the file. */
static uint32_t content_len(const struct object *object, uint32_t chunk)
{
	uint64_t left = object->size_bytes - gpu_chunk_offset(object->mem, chunk);
	uint32_t len = gpu_chunk_len(object->mem, chunk);

	return left < len ? (uint32_t)left : len;
}

static void swap_release(struct pager *pager, struct object *object, uint32_t chunk)
{
	struct chunk *c = &object->chunks[chunk];

	if (!c->swap_slot)
		return;
	swap_slot_put(pager->params.swap, c->swap_slot - 1);
	c->swap_slot = 0;
	arbiter_share_uncharge(pager->params.arbiter, object->share, ARBITER_DISK,
			       gpu_chunk_len(object->mem, chunk));
}

static void host_uncharge(struct pager *pager, struct object *object)
{
	if (object)
		arbiter_share_uncharge(pager->params.arbiter, object->share, ARBITER_HOST,
				       hostpool_slot_bytes(pager->params.hostpool));
}

/* Keep the busy slot as a copy, if the limits of the host tier allow. */
static bool host_keep(struct pager *pager, struct object *object, uint32_t slot,
		      enum host_slot_state state)
{
	struct hostpool *pool = pager->params.hostpool;

	if (arbiter_share_charge(pager->params.arbiter, object->share, ARBITER_HOST,
				 hostpool_slot_bytes(pool), NULL) < 0)
		return false;
	hostpool_set_state(pool, slot, state);
	return true;
}

static int64_t host_get(struct pager *pager, struct object *object, uint32_t chunk)
{
	struct object *lost;
	int64_t slot = hostpool_get(pager->params.hostpool, object, chunk, loop_now(), &lost);

	host_uncharge(pager, lost);
	return slot;
}

static bool drop_clean(struct pager *pager, struct object *object)
{
	int64_t slot = hostpool_clean_of(pager->params.hostpool, object, loop_now());

	if (slot < 0)
		return false;
	host_uncharge(pager, object);
	hostpool_put(pager->params.hostpool, (uint32_t)slot);
	return true;
}

static bool may_swap(const struct pager *pager, const struct object *object)
{
	const struct pager_rules *rules = pager->params.rules;

	return !rules || !rules->may_swap || rules->may_swap(pager->params.owner, object);
}

/* A slot of swap for a chunk, charged. Return: -ENOSPC if there is none for it. */
static int64_t swap_get(struct pager *pager, struct object *object, uint32_t chunk)
{
	int64_t slot;

	if (!pager->params.swap || !may_swap(pager, object))
		return -ENOSPC;
	slot = swap_slot_get(pager->params.swap);
	if (slot < 0)
		return slot;
	if (arbiter_share_charge(pager->params.arbiter, object->share, ARBITER_DISK,
				 gpu_chunk_len(object->mem, chunk), NULL) < 0) {
		swap_slot_put(pager->params.swap, (uint32_t)slot);
		return -ENOSPC;
	}
	object->chunks[chunk].swap_slot = (uint32_t)slot + 1;
	return slot;
}

static void load_end(struct transfer *t, int res)
{
	struct pager *pager = t->pager;
	struct object *object = t->object;
	struct chunk *c = &object->chunks[t->chunk];
	uint64_t ns = loop_now() - t->start_ns;
	uint32_t chunk = t->chunk;

	if (t->host_slot >= 0) {
		uint32_t slot = (uint32_t)t->host_slot;
		bool kept_before = hostpool_state(pager->params.hostpool, slot) != HOST_SLOT_BUSY;

		/* A buffer in the device is about to be changed: its copy is worth nothing. */
		if (object->kind == POLICY_BUFFER && res == 0) {
			if (kept_before)
				host_uncharge(pager, object);
			hostpool_put(pager->params.hostpool, slot);
		} else if (kept_before) {
			hostpool_set_state(pager->params.hostpool, slot,
					   object->kind == POLICY_BUFFER ? HOST_SLOT_DIRTY :
					   res == 0			 ? HOST_SLOT_CLEAN_TWICE :
									   HOST_SLOT_CLEAN);
		} else if (res < 0 || !host_keep(pager, object, slot, HOST_SLOT_CLEAN_TWICE)) {
			hostpool_put(pager->params.hostpool, slot);
		}
	}
	if (res == 0) {
		swap_release(pager, object, chunk);
		if (object->kind == POLICY_BUFFER && (c->flags & CHUNK_WRITTEN))
			c->flags |= CHUNK_DIRTY;
	} else {
		/* A read that failed may have left pages behind. */
		gpu_chunk_drop(object->mem, chunk, 1);
	}
	c->state = res == 0 ? CHUNK_RESIDENT : CHUNK_ABSENT;
	tell_end(t, res);
	transfer_end(t);
	pager->params.events->loaded(pager->params.owner, object, chunk, res, ns);
	pager->params.events->ready(pager->params.owner);
}

static void evict_end(struct transfer *t, int res)
{
	struct pager *pager = t->pager;
	struct object *object = t->object;
	struct chunk *c = &object->chunks[t->chunk];
	uint32_t chunk = t->chunk;
	uint32_t len = gpu_chunk_len(object->mem, t->chunk);
	uint64_t who = t->who;

	if (t->host_slot >= 0)
		pager->n_to_host--;
	/* A write by a thread that had not acquired the layer may have come while it was on its way. What is in swap is
	 * not what is here then: keep this, and write it out another time. */
	else if (res == 0 && swap_verify(pager->params.swap, (uint32_t)t->swap_slot,
					 gpu_chunk_addr(object->mem, chunk), len) < 0)
		res = -EBUSY;
	if (res == 0) {
		res = gpu_chunk_drop(object->mem, chunk, 1);
		if (res < 0)
			log_error("cannot drop a chunk of %s: %s", object->name, strerror(-res));
	}
	if (res == 0) {
		c->flags &= (uint8_t)~CHUNK_DIRTY;
		c->state = CHUNK_ABSENT;
		/* It only passed through. */
		if (t->host_slot >= 0 && t->swap_slot >= 0)
			hostpool_put(pager->params.hostpool, (uint32_t)t->host_slot);
	} else {
		c->state = CHUNK_RESIDENT;
		swap_release(pager, object, chunk);
		if (t->host_slot >= 0) {
			if (hostpool_state(pager->params.hostpool, (uint32_t)t->host_slot) !=
			    HOST_SLOT_BUSY)
				host_uncharge(pager, object);
			hostpool_put(pager->params.hostpool, (uint32_t)t->host_slot);
		}
	}
	tell_end(t, res);
	transfer_end(t);
	pager->params.events->evicted(pager->params.owner, object, chunk, res, who);
	pager->params.events->ready(pager->params.owner);
}

static void writeback_end(struct transfer *t, int res)
{
	struct pager *pager = t->pager;
	struct object *object = t->object;
	uint32_t chunk = t->chunk;

	if (res < 0) {
		/* The copy in the host tier stays the only one. */
		log_error_limited("swap: a chunk of %s cannot be written: %s", object->name,
				  strerror(-res));
		pager->no_writeback_until_ns = loop_now() + WRITEBACK_PAUSE_NS;
		hostpool_set_state(pager->params.hostpool, (uint32_t)t->host_slot, HOST_SLOT_DIRTY);
		swap_release(pager, object, chunk);
	} else {
		host_uncharge(pager, object);
		hostpool_put(pager->params.hostpool, (uint32_t)t->host_slot);
	}
	object->chunks[chunk].state = CHUNK_ABSENT;
	tell_end(t, res);
	transfer_end(t);
	pager->params.events->settled(pager->params.owner, object, chunk);
	pager->params.events->ready(pager->params.owner);
}

static void transfer_finish(struct transfer *t, int res)
{
	switch (t->kind) {
	case TRANSFER_LOAD:
		load_end(t, res);
		break;
	case TRANSFER_EVICT:
		evict_end(t, res);
		break;
	case TRANSFER_WRITEBACK:
		writeback_end(t, res);
		break;
	}
}

static void io_done(struct store_io *io, int res);

/* The buffer's chunk stays in the host tier, where clean copies of the same object make way for it. */
static bool keep_dirty(struct transfer *t)
{
	struct pager *pager = t->pager;

	while (!host_keep(pager, t->object, (uint32_t)t->host_slot, HOST_SLOT_DIRTY))
		if (!drop_clean(pager, t->object))
			return false;
	return true;
}

/* The limits of the host tier do not let it stay: on to swap. Return: false if that cannot be either. */
static bool pass_to_swap(struct transfer *t)
{
	struct pager *pager = t->pager;

	if (loop_now() < pager->no_writeback_until_ns)
		return false;
	t->swap_slot = swap_get(pager, t->object, t->chunk);
	if (t->swap_slot < 0)
		return false;
	t->io.done = io_done;
	swap_write(pager->params.swap, &t->io, (uint32_t)t->swap_slot,
		   hostpool_addr(pager->params.hostpool, (uint32_t)t->host_slot),
		   gpu_chunk_len(t->object->mem, t->chunk));
	return true;
}

static void copy_done(struct gpu_copy *copy, int res)
{
	struct transfer *t = list_entry(copy, struct transfer, copy);
	struct pager *pager = t->pager;

	if (res == 0 && t->kind == TRANSFER_LOAD && copy->direction == GPU_COPY_IN)
		pager->stats.link_in_bytes += copy->len;
	if (res == 0 && t->kind == TRANSFER_EVICT) {
		struct object *object = t->object;

		pager->stats.link_out_bytes += copy->len;
		object->written_bytes += copy->len;
		if (!keep_dirty(t)) {
			if (pass_to_swap(t))
				return;
			res = -EDQUOT;
		}
	}
	transfer_finish(t, res);
}

static void start_copy(struct transfer *t, enum gpu_copy_direction direction)
{
	t->copy = (struct gpu_copy){
		.done = copy_done,
		.object = t->object->mem,
		.chunk = t->chunk,
		.direction = direction,
		.host = direction == GPU_COPY_ZERO ?
				NULL :
				hostpool_addr(t->pager->params.hostpool, (uint32_t)t->host_slot),
		.len = gpu_chunk_len(t->object->mem, t->chunk),
	};
	list_init(&t->copy.node);
	gpu_copy_start(&t->copy);
}

static void io_done(struct store_io *io, int res)
{
	struct transfer *t = list_entry(io, struct transfer, io);
	struct pager *pager = t->pager;

	if (io->write) {
		if (res == 0) {
			pager->stats.swap_out_bytes += io->len;
			t->object->written_bytes += io->len;
		}
		transfer_finish(t, res);
		return;
	}
	if (res == 0 && t->from_swap) {
		pager->stats.swap_in_bytes += io->len;
		res = swap_verify(pager->params.swap, (uint32_t)t->swap_slot, io->buf, io->len);
		if (res < 0)
			log_error_limited("swap: the content of a chunk of %s came back changed",
					  t->object->name);
	} else if (res == 0) {
		pager->stats.read_bytes += io->len;
		/* Behind the file's end: what a recycled slot held before is nobody's business. */
		if (t->host_slot >= 0 && io->len < gpu_chunk_len(t->object->mem, t->chunk))
			memset(io->buf + io->len, 0,
			       gpu_chunk_len(t->object->mem, t->chunk) - io->len);
	}
	if (res == 0 && t->host_slot >= 0)
		start_copy(t, GPU_COPY_IN);
	else
		transfer_finish(t, res);
}

static void deferred(struct loop_op *op, int res)
{
	struct transfer *t = list_entry(op, struct transfer, defer);

	(void)res;
	transfer_finish(t, 0);
}

/* Nothing to move: the end of the transfer comes from the loop nevertheless. */
static void finish_later(struct transfer *t)
{
	t->defer.fn = deferred;
	if (loop_defer(t->pager->params.loop, &t->defer) < 0)
		transfer_finish(t, 0);
}

static void start_read(struct transfer *t, void *buf)
{
	struct pager *pager = t->pager;
	struct object *object = t->object;
	uint32_t len = content_len(object, t->chunk);

	t->io.done = io_done;
	if (object->file) {
		store_read(pager->params.store, object->file, &t->io, buf, len,
			   gpu_chunk_offset(object->mem, t->chunk));
		return;
	}
	t->from_swap = true;
	t->swap_slot = object->chunks[t->chunk].swap_slot - 1;
	swap_read(pager->params.swap, &t->io, (uint32_t)t->swap_slot, buf,
		  gpu_chunk_len(object->mem, t->chunk));
}

/* What is in the slot of the host tier alone goes to swap. Return: false if it does not. */
static bool write_back(struct pager *pager, struct object *object, uint32_t chunk, int64_t slot)
{
	struct transfer *t;
	int64_t swap_slot;

	if (list_is_empty(&pager->free) || loop_now() < pager->no_writeback_until_ns)
		return false;
	swap_slot = swap_get(pager, object, chunk);
	if (swap_slot < 0)
		return false;
	/* Nobody loads or evicts it while it is on the way out. */
	object->chunks[chunk].state = CHUNK_EVICTING;
	t = transfer_begin(pager, TRANSFER_WRITEBACK, object, chunk);
	t->host_slot = slot;
	hostpool_set_state(pager->params.hostpool, (uint32_t)slot, HOST_SLOT_BUSY);
	t->io.done = io_done;
	tell_begin(t, ARBITER_HOST, ARBITER_DISK);
	swap_write(pager->params.swap, &t->io, (uint32_t)swap_slot,
		   hostpool_addr(pager->params.hostpool, (uint32_t)slot),
		   gpu_chunk_len(object->mem, chunk));
	return true;
}

/* All host slots are dirty or busy: make one free, the oldest dirty one of who has to give first. */
static void reclaim_host(struct pager *pager, const struct object *want)
{
	uint32_t round = hostpool_round(pager->params.hostpool), chunk;
	struct object *object;
	int64_t slot;

	while ((slot = hostpool_next_dirty(pager->params.hostpool, want, round, &object, &chunk)) >=
	       0) {
		if (write_back(pager, object, chunk, slot))
			return;
		/* Limits, perhaps, do not let it go on; others may. */
		hostpool_pass_over(object, round);
	}
}

uint64_t pager_host_give(struct pager *pager, struct object *object, uint64_t bytes)
{
	uint32_t slot_bytes = hostpool_slot_bytes(pager->params.hostpool), chunk;
	uint64_t given = 0;
	int64_t slot;

	while (given < bytes && drop_clean(pager, object))
		given += slot_bytes;
	while (given < bytes &&
	       (slot = hostpool_dirty_of(pager->params.hostpool, object, &chunk)) >= 0 &&
	       pager_has_room(pager, object) && write_back(pager, object, chunk, slot))
		given += slot_bytes;
	return given;
}

static int rank(void *ctx, const struct object *object, const struct object *want)
{
	const struct pager *pager = ctx;

	return pager->params.rules->rank(pager->params.owner, object, want);
}

void pager_rank_host(struct pager *pager, bool ranked)
{
	if (pager->params.hostpool && pager->params.rules && pager->params.rules->rank)
		hostpool_set_rank(pager->params.hostpool, ranked ? rank : NULL, pager);
}

void pager_empty_host(struct pager *pager, struct object *object)
{
	for (uint32_t i = 0; i < object->mem->n_chunks; i++) {
		const struct chunk *c = &object->chunks[i];
		enum host_slot_state state;

		if (c->state != CHUNK_ABSENT || !c->host_slot)
			continue;
		state = hostpool_state(pager->params.hostpool, c->host_slot - 1);
		if (state == HOST_SLOT_DIRTY && pager_has_room(pager, object)) {
			write_back(pager, object, i, c->host_slot - 1);
		} else if (state == HOST_SLOT_CLEAN || state == HOST_SLOT_CLEAN_TWICE) {
			host_uncharge(pager, object);
			hostpool_put(pager->params.hostpool, c->host_slot - 1);
		}
	}
}

/* Where the content of an absent chunk is. */
static uint32_t load_from(const struct object *object, uint32_t chunk)
{
	const struct chunk *c = &object->chunks[chunk];

	if (c->host_slot)
		return ARBITER_HOST;
	if (object->file)
		return TRACE_TIER_FILE;
	return c->flags & CHUNK_WRITTEN ? ARBITER_DISK : TRACE_TIER_NONE;
}

int pager_load(struct pager *pager, struct object *object, uint32_t chunk)
{
	struct chunk *c = &object->chunks[chunk];
	bool has_content = object->file || (c->flags & CHUNK_WRITTEN);
	uint32_t from = load_from(object, chunk);
	int64_t slot = -1;
	struct transfer *t;
	int r;

	if (!pager_has_room(pager, object))
		return -EAGAIN;
	r = gpu_chunk_reserve(object->mem, chunk);
	if (r < 0)
		return r;
	if (has_content && !object->mem->gpu->direct && !c->host_slot) {
		slot = host_get(pager, object, chunk);
		if (slot < 0) {
			gpu_chunk_drop(object->mem, chunk, 1);
			reclaim_host(pager, object);
			return -EAGAIN;
		}
	}
	t = transfer_begin(pager, TRANSFER_LOAD, object, chunk);
	c->state = CHUNK_LOADING;
	tell_begin(t, from, ARBITER_VRAM);
	if (!has_content && object->mem->gpu->imports) {
		/* A card's memory is not zero by itself. */
		start_copy(t, GPU_COPY_ZERO);
	} else if (!has_content) {
		finish_later(t);
	} else if (object->mem->gpu->direct) {
		start_read(t, gpu_chunk_addr(object->mem, chunk));
	} else if (slot >= 0) {
		t->host_slot = slot;
		start_read(t, hostpool_addr(pager->params.hostpool, (uint32_t)slot));
	} else {
		t->host_slot = c->host_slot - 1;
		/* In no list that could be taken from while it is copied, but kept and charged. */
		hostpool_set_state(pager->params.hostpool, (uint32_t)t->host_slot, HOST_SLOT_HELD);
		start_copy(t, GPU_COPY_IN);
	}
	return 0;
}

static bool needs_writing(const struct object *object, uint32_t chunk)
{
	return object->kind == POLICY_BUFFER && (object->chunks[chunk].flags & CHUNK_DIRTY);
}

/* Free slots of swap, less those that are kept for exchanges. */
static uint64_t swap_room(const struct pager *pager, bool exchange)
{
	const struct swap *swap = pager->params.swap;
	uint64_t n, reserve;

	if (!swap || loop_now() < pager->no_writeback_until_ns)
		return 0;
	n = swap_slot_count(swap);
	reserve = n / 4 < SWAP_RESERVE ? n / 4 : SWAP_RESERVE;
	n -= swap_used_count(swap);
	if (exchange)
		return n;
	return n > reserve ? n - reserve : 0;
}

/*
 * Of the host tier one slot is always left for chunks that pass through, so that models can be loaded
 * when buffers fill everything: what is dirty there beyond that must have a place in swap.
 */
static bool host_takes(const struct pager *pager, const struct chunk *want)
{
	const struct hostpool *pool = pager->params.hostpool;
	uint64_t n = hostpool_count(pool, HOST_SLOT_DIRTY) + pager->n_to_host + 1;
	uint64_t room = hostpool_n_slots(pool) - 1 + swap_room(pager, want && want->swap_slot);

	if (want && want->host_slot && hostpool_state(pool, want->host_slot - 1) == HOST_SLOT_DIRTY)
		room++;
	return n <= room;
}

int pager_may_evict(struct pager *pager, struct object *object, uint32_t chunk,
		    const struct chunk *want)
{
	if (!needs_writing(object, chunk))
		return 0;
	if (!pager_has_room(pager, object))
		return -EAGAIN;
	if (object->mem->gpu->direct)
		return swap_room(pager, want && want->swap_slot) && may_swap(pager, object) ?
			       0 :
			       -ENOSPC;
	return host_takes(pager, want) ? 0 : -ENOSPC;
}

int pager_evict(struct pager *pager, struct object *object, uint32_t chunk, uint64_t who)
{
	struct chunk *c = &object->chunks[chunk];
	uint32_t len = gpu_chunk_len(object->mem, chunk);
	struct transfer *t;

	if (!needs_writing(object, chunk)) {
		int r = gpu_chunk_drop(object->mem, chunk, 1);

		if (r < 0)
			log_error("cannot drop a chunk of %s: %s", object->name, strerror(-r));
		c->state = CHUNK_ABSENT;
		if (c->host_slot && hostpool_state(pager->params.hostpool, c->host_slot - 1) ==
					    HOST_SLOT_CLEAN_TWICE)
			hostpool_set_state(pager->params.hostpool, c->host_slot - 1,
					   HOST_SLOT_CLEAN);
		return 0;
	}
	t = transfer_begin(pager, TRANSFER_EVICT, object, chunk);
	t->who = who;
	c->state = CHUNK_EVICTING;
	if (!object->mem->gpu->direct) {
		t->host_slot = host_get(pager, object, chunk);
		if (t->host_slot >= 0) {
			pager->n_to_host++;
			tell_begin(t, ARBITER_VRAM, ARBITER_HOST);
			start_copy(t, GPU_COPY_OUT);
		} else {
			reclaim_host(pager, object);
			transfer_end(t);
			c->state = CHUNK_RESIDENT;
			return -EAGAIN;
		}
		return 1;
	}
	t->swap_slot = swap_get(pager, object, chunk);
	if (t->swap_slot < 0) {
		transfer_end(t);
		c->state = CHUNK_RESIDENT;
		return -ENOSPC;
	}
	t->io.done = io_done;
	tell_begin(t, ARBITER_VRAM, ARBITER_DISK);
	swap_write(pager->params.swap, &t->io, (uint32_t)t->swap_slot,
		   gpu_chunk_addr(object->mem, chunk), len);
	return 1;
}

void pager_forget(struct pager *pager, struct object *object)
{
	for (uint32_t i = 0; i < object->mem->n_chunks; i++) {
		struct chunk *c = &object->chunks[i];

		swap_release(pager, object, i);
		if (c->host_slot) {
			host_uncharge(pager, object);
			hostpool_put(pager->params.hostpool, c->host_slot - 1);
		}
	}
}
