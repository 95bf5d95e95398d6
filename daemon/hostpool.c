// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/hostpool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_BYTES (2u << 20)

struct slot {
	struct list_node node; /* the list of its state */
	struct list_node own;  /* the same, of its object's; not while it is busy or held */
	uint64_t stamp;	       /* when it came there */
	struct object *object;
	uint32_t chunk;
	enum host_slot_state state;
};

struct hostpool {
	struct gpu *gpu; /* whose the memory is; NULL: our own */
	char *reserve;
	uint64_t reserve_bytes;
	char *addr;
	uint32_t slot_bytes;
	uint32_t n_slots;
	uint32_t n_used;
	struct list_node lists[HOST_SLOT_N_STATES]; /* oldest first */
	uint32_t counts[HOST_SLOT_N_STATES];
	struct list_node owners; /* struct object.host.node */
	hostpool_rank_fn rank;
	void *rank_ctx;
	uint64_t stamp;
	uint32_t round;
	struct slot slots[];
};

/* Memory for the slots, at an address that huge pages like. */
static int reserve(struct hostpool *pool, uint64_t bytes, bool huge)
{
	if (pool->gpu) {
		pool->addr = pool->gpu->ops->host_map(pool->gpu, bytes);
		return pool->addr ? 0 : -ENOMEM;
	}
	pool->reserve_bytes = bytes + HUGE_BYTES;
	pool->reserve = mmap(NULL, pool->reserve_bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->reserve == MAP_FAILED)
		return -ENOMEM;
	pool->addr = (char *)(((uintptr_t)pool->reserve + HUGE_BYTES - 1) &
			      ~(uintptr_t)(HUGE_BYTES - 1));
	if (huge)
		madvise(pool->addr, bytes, MADV_HUGEPAGE);
	madvise(pool->addr, bytes, MADV_DONTFORK);
	return 0;
}

int hostpool_new(struct hostpool **out, struct gpu *gpu, uint64_t bytes, uint32_t slot_bytes,
		 bool huge)
{
	uint64_t n = bytes / slot_bytes;
	struct hostpool *pool;
	int r;

	if (n == 0 || n > UINT32_MAX / 2)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool) + n * sizeof(pool->slots[0]));
	if (!pool)
		return -ENOMEM;
	pool->gpu = gpu && gpu->ops->host_map ? gpu : NULL;
	pool->slot_bytes = slot_bytes;
	pool->n_slots = (uint32_t)n;
	r = reserve(pool, n * slot_bytes, huge);
	if (r < 0) {
		free(pool);
		return r;
	}
	for (int i = 0; i < HOST_SLOT_N_STATES; i++)
		list_init(&pool->lists[i]);
	list_init(&pool->owners);
	for (uint32_t i = 0; i < pool->n_slots; i++) {
		list_add_tail(&pool->slots[i].node, &pool->lists[HOST_SLOT_FREE]);
		list_init(&pool->slots[i].own);
	}
	pool->counts[HOST_SLOT_FREE] = pool->n_slots;
	*out = pool;
	return 0;
}

struct hostpool *hostpool_free(struct hostpool *pool)
{
	if (!pool)
		return NULL;
	if (pool->gpu)
		pool->gpu->ops->host_unmap(pool->gpu, pool->addr,
					   (uint64_t)pool->n_slots * pool->slot_bytes);
	else
		munmap(pool->reserve, pool->reserve_bytes);
	free(pool);
	return NULL;
}

uint32_t hostpool_n_slots(const struct hostpool *pool)
{
	return pool->n_slots;
}

uint32_t hostpool_slot_bytes(const struct hostpool *pool)
{
	return pool->slot_bytes;
}

uint64_t hostpool_used(const struct hostpool *pool)
{
	return (uint64_t)pool->n_used * pool->slot_bytes;
}

static uint64_t next_use(const struct slot *slot, uint64_t now_ns)
{
	return policy_next_use(slot->object->policy, slot->chunk, now_ns);
}

/* An object's slots in a state that could go. */
static struct list_node *own_slots(const struct object *object, enum host_slot_state state)
{
	return (struct list_node *)&object->host.slots[state - HOST_SLOT_CLEAN_TWICE];
}

static void own(struct hostpool *pool, struct object *object)
{
	if (object->host.n++)
		return;
	for (int state = HOST_SLOT_CLEAN_TWICE; state <= HOST_SLOT_DIRTY; state++)
		list_init(own_slots(object, (enum host_slot_state)state));
	list_add_tail(&object->host.node, &pool->owners);
}

static void disown(struct object *object)
{
	if (--object->host.n == 0)
		list_del(&object->host.node);
}

static struct slot *clean_of(const struct object *object, uint64_t now_ns)
{
	struct list_node *clean = own_slots(object, HOST_SLOT_CLEAN);
	struct slot *slot, *newest;

	slot = list_last(own_slots(object, HOST_SLOT_CLEAN_TWICE), struct slot, own);
	if (slot)
		return slot;
	slot = list_first(clean, struct slot, own);
	newest = list_last(clean, struct slot, own);
	return slot && next_use(newest, now_ns) > next_use(slot, now_ns) ? newest : slot;
}

/* Of those whose turn it is to give: a copy of what the device has too, else what is needed last. */
static struct slot *find_ranked(const struct hostpool *pool, const struct object *want,
				uint64_t now_ns)
{
	const struct object *object;
	struct slot *best = NULL;
	uint64_t best_next = 0;
	int best_rank = 0;

	list_for_each(object, &pool->owners, host.node) {
		struct slot *slot = clean_of(object, now_ns);
		int r = slot ? pool->rank(pool->rank_ctx, object, want) : -1;
		uint64_t next;

		if (r < 0 || (best && r < best_rank))
			continue;
		next = slot->state == HOST_SLOT_CLEAN_TWICE ? UINT64_MAX : next_use(slot, now_ns);
		if (best && r == best_rank && next <= best_next)
			continue;
		best = slot;
		best_rank = r;
		best_next = next;
	}
	return best;
}

static struct slot *find(struct hostpool *pool, const struct object *want, uint64_t now_ns)
{
	struct list_node *clean = &pool->lists[HOST_SLOT_CLEAN];
	struct slot *slot, *newest;

	slot = list_first(&pool->lists[HOST_SLOT_FREE], struct slot, node);
	if (slot)
		return slot;
	if (pool->rank) {
		slot = find_ranked(pool, want, now_ns);
		/* What is protected makes way for one at a time, or nothing could pass. */
		if (slot || pool->counts[HOST_SLOT_BUSY] + pool->counts[HOST_SLOT_HELD])
			return slot;
	}
	slot = list_last(&pool->lists[HOST_SLOT_CLEAN_TWICE], struct slot, node);
	if (slot)
		return slot;
	slot = list_first(clean, struct slot, node);
	newest = list_last(clean, struct slot, node);
	if (slot && next_use(newest, now_ns) > next_use(slot, now_ns))
		slot = newest;
	return slot;
}

int64_t hostpool_get(struct hostpool *pool, struct object *object, uint32_t chunk, uint64_t now_ns,
		     struct object **out_lost)
{
	struct slot *slot = find(pool, object, now_ns);

	*out_lost = NULL;
	if (!slot)
		return -EAGAIN;
	if (slot->state == HOST_SLOT_FREE) {
		pool->n_used++;
	} else {
		slot->object->chunks[slot->chunk].host_slot = 0;
		*out_lost = slot->object;
		disown(slot->object);
	}
	slot->object = object;
	own(pool, object);
	slot->chunk = chunk;
	hostpool_set_state(pool, (uint32_t)(slot - pool->slots), HOST_SLOT_BUSY);
	if (pool->gpu)
		pool->gpu->ops->host_touch(pool->gpu,
					   hostpool_addr(pool, (uint32_t)(slot - pool->slots)),
					   pool->slot_bytes);
	object->chunks[chunk].host_slot = (uint32_t)(slot - pool->slots) + 1;
	return slot - pool->slots;
}

void hostpool_put(struct hostpool *pool, uint32_t slot)
{
	struct slot *s = &pool->slots[slot];

	s->object->chunks[s->chunk].host_slot = 0;
	disown(s->object);
	/* The next owner overwrites it before it is read: files and copies fill whole chunks. */
	s->object = NULL;
	pool->n_used--;
	hostpool_set_state(pool, slot, HOST_SLOT_FREE);
}

void hostpool_set_state(struct hostpool *pool, uint32_t slot, enum host_slot_state state)
{
	struct slot *s = &pool->slots[slot];

	pool->counts[s->state]--;
	pool->counts[state]++;
	s->state = state;
	list_del(&s->node);
	/* What was used before is used again first: memory that nobody has touched yet costs more. */
	if (state == HOST_SLOT_FREE)
		list_add(&s->node, &pool->lists[state]);
	else
		list_add_tail(&s->node, &pool->lists[state]);
	list_del(&s->own);
	s->stamp = ++pool->stamp;
	if (state >= HOST_SLOT_CLEAN_TWICE)
		list_add_tail(&s->own, own_slots(s->object, state));
}

enum host_slot_state hostpool_state(const struct hostpool *pool, uint32_t slot)
{
	return pool->slots[slot].state;
}

uint32_t hostpool_count(const struct hostpool *pool, enum host_slot_state state)
{
	return pool->counts[state];
}

void *hostpool_addr(const struct hostpool *pool, uint32_t slot)
{
	return pool->addr + (uint64_t)slot * pool->slot_bytes;
}

void hostpool_set_rank(struct hostpool *pool, hostpool_rank_fn rank, void *ctx)
{
	pool->rank = rank;
	pool->rank_ctx = ctx;
}

uint32_t hostpool_round(struct hostpool *pool)
{
	return ++pool->round;
}

int64_t hostpool_next_dirty(struct hostpool *pool, const struct object *want, uint32_t round,
			    struct object **out_object, uint32_t *out_chunk)
{
	const struct slot *best = NULL;
	const struct object *object;
	int best_rank = 0;

	list_for_each(object, &pool->owners, host.node) {
		const struct slot *slot =
			list_first(own_slots(object, HOST_SLOT_DIRTY), const struct slot, own);
		int r;

		if (!slot || object->host.round == round)
			continue;
		/* It goes on, to swap: nobody is to be spared that, but some come first. */
		r = pool->rank ? pool->rank(pool->rank_ctx, object, want) : 0;
		if (best && (r < best_rank || (r == best_rank && slot->stamp > best->stamp)))
			continue;
		best = slot;
		best_rank = r;
	}
	if (!best)
		return -ENOENT;
	*out_object = best->object;
	*out_chunk = best->chunk;
	return best - pool->slots;
}

int64_t hostpool_clean_of(const struct hostpool *pool, const struct object *object, uint64_t now_ns)
{
	const struct slot *slot = object->host.n ? clean_of(object, now_ns) : NULL;

	return slot ? slot - pool->slots : -ENOENT;
}

int64_t hostpool_dirty_of(const struct hostpool *pool, const struct object *object,
			  uint32_t *out_chunk)
{
	const struct slot *slot = object->host.n ? list_first(own_slots(object, HOST_SLOT_DIRTY),
							      const struct slot, own) :
						   NULL;

	if (!slot)
		return -ENOENT;
	*out_chunk = slot->chunk;
	return slot - pool->slots;
}
