// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/gpu_cuda_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define BUCKETS 256u
#define IDS_MIN 1024u
/* What a client is asked for before it has answered: more may not fit into its socket, and would be lost. */
#define ASKED_MAX 1024u
/* After the driver had no memory although there should have been some: longer each time. */
#define GROWTH_PAUSE_NS	    (5ull * 1000000000)
#define GROWTH_PAUSE_MAX_NS (80ull * 1000000000)

/* Memory that was given back is usually there at once. */
#define LATE_NS 100000000ull

/* The phys of one user and one size. Exists while there is any, so that freeing needs no memory. */
struct cuda_bucket {
	struct cuda_bucket *next;
	uid_t uid;
	uint64_t bytes;
	uint32_t n_phys;
	/* FREE, the latest first: of what is used in turn, that is wanted last. Those to which nobody
	 * comes back are taken before those with a claim. */
	struct list_node unclaimed;
	struct list_node claimed;
};

int cuda_pool_init(struct cuda_pool *pool, const struct cuda_pool_params *params)
{
	*pool = (struct cuda_pool){
		.params = *params,
		.next_id = 1,
		.budget_bytes = params->configured_bytes,
		.by_id_size = IDS_MIN,
		.growth_pause_ns = GROWTH_PAUSE_NS,
	};
	list_init(&pool->idle);
	list_init(&pool->calm);
	list_init(&pool->pressed);
	list_init(&pool->released);
	list_init(&pool->to_ask);
	pool->by_id = calloc(pool->by_id_size, sizeof(struct cuda_phys *));
	pool->buckets = calloc(BUCKETS, sizeof(struct cuda_bucket *));
	if (pool->by_id && pool->buckets)
		return 0;
	cuda_pool_deinit(pool);
	return -ENOMEM;
}

void cuda_pool_deinit(struct cuda_pool *pool)
{
	free(pool->by_id);
	free(pool->buckets);
	pool->by_id = NULL;
	pool->buckets = NULL;
}

/* ---- phys ---- */

static struct cuda_bucket **bucket_place(const struct cuda_pool *pool, uid_t uid, uint64_t bytes)
{
	uint64_t hash = (uid * 0x9e3779b97f4a7c15ull) ^ (bytes * 0xc2b2ae3d27d4eb4full);
	struct cuda_bucket **at = &pool->buckets[(hash >> 32) % BUCKETS];

	while (*at && ((*at)->uid != uid || (*at)->bytes != bytes))
		at = &(*at)->next;
	return at;
}

static struct cuda_phys **id_place(const struct cuda_pool *pool, uint64_t id)
{
	struct cuda_phys **at = &pool->by_id[id & (pool->by_id_size - 1)];

	while (*at && (*at)->id != id)
		at = &(*at)->next_of_id;
	return at;
}

static uint32_t n_phys(const struct cuda_pool *pool)
{
	return pool->n[CUDA_PHYS_FREE] + pool->n[CUDA_PHYS_BOUND] + pool->n[CUDA_PHYS_LEAVING];
}

/* Without memory for it the chains just become longer. */
static void ids_grow(struct cuda_pool *pool)
{
	struct cuda_phys **old = pool->by_id, *phys, *next;
	size_t old_size = pool->by_id_size;
	struct cuda_phys **table = calloc(old_size * 2, sizeof(struct cuda_phys *));

	if (!table)
		return;
	pool->by_id = table;
	pool->by_id_size = old_size * 2;
	for (size_t i = 0; i < old_size; i++) {
		for (phys = old[i]; phys; phys = next) {
			struct cuda_phys **at = &table[phys->id & (pool->by_id_size - 1)];

			next = phys->next_of_id;
			phys->next_of_id = *at;
			*at = phys;
		}
	}
	free(old);
}

static void count(struct cuda_pool *pool, struct cuda_phys *phys, enum cuda_phys_state state)
{
	pool->n[phys->state]--;
	pool->bytes[phys->state] -= phys->bytes;
	phys->state = state;
	pool->n[state]++;
	pool->bytes[state] += phys->bytes;
}

int cuda_pool_add(struct cuda_pool *pool, struct cuda_phys *phys, uid_t uid, uint64_t bytes,
		  void *object, uint32_t chunk)
{
	struct cuda_bucket **place = bucket_place(pool, uid, bytes);
	struct cuda_bucket *bucket = *place;

	if (!bucket) {
		bucket = calloc(1, sizeof(*bucket));
		if (!bucket)
			return -ENOMEM;
		bucket->uid = uid;
		bucket->bytes = bytes;
		list_init(&bucket->unclaimed);
		list_init(&bucket->claimed);
		*place = bucket;
	}
	bucket->n_phys++;
	*phys = (struct cuda_phys){
		.id = pool->next_id++,
		.bytes = bytes,
		.uid = uid,
		.state = CUDA_PHYS_BOUND,
		.object = object,
		.chunk = chunk,
		.bucket = bucket,
	};
	list_init(&phys->exports);
	list_init(&phys->in_bucket);
	list_init(&phys->in_order);
	pool->n[CUDA_PHYS_BOUND]++;
	pool->bytes[CUDA_PHYS_BOUND] += bytes;
	pool->free_bytes -= pool->free_bytes < bytes ? pool->free_bytes : bytes;
	if (n_phys(pool) > pool->by_id_size)
		ids_grow(pool);
	*id_place(pool, phys->id) = phys;
	return 0;
}

struct cuda_phys *cuda_pool_find(const struct cuda_pool *pool, uint64_t id)
{
	return *id_place(pool, id);
}

static void export_free(struct cuda_export *export)
{
	export->phys->n_exports--;
	export->holder->n_exports--;
	export->holder->n_asked -= export->asked;
	list_del(&export->in_phys);
	list_del(&export->in_holder);
	free(export);
}

void cuda_pool_remove(struct cuda_pool *pool, struct cuda_phys *phys)
{
	struct cuda_bucket *bucket = phys->bucket;
	struct cuda_export *export, *tmp;

	list_for_each_safe(export, tmp, &phys->exports, in_phys)
		export_free(export);
	list_del(&phys->in_bucket);
	list_del(&phys->in_order);
	*id_place(pool, phys->id) = phys->next_of_id;
	pool->n[phys->state]--;
	pool->bytes[phys->state] -= phys->bytes;
	if (--bucket->n_phys)
		return;
	*bucket_place(pool, bucket->uid, bucket->bytes) = bucket->next;
	free(bucket);
}

struct cuda_phys *cuda_pool_take(struct cuda_pool *pool, uid_t uid, uint64_t bytes, uint64_t last)
{
	struct cuda_phys *phys = last ? cuda_pool_find(pool, last) : NULL;
	struct cuda_bucket *bucket;

	if (phys && phys->state == CUDA_PHYS_FREE && phys->uid == uid && phys->bytes == bytes)
		return phys;
	bucket = *bucket_place(pool, uid, bytes);
	if (!bucket)
		return NULL;
	phys = list_first(&bucket->unclaimed, struct cuda_phys, in_bucket);
	return phys ? phys : list_first(&bucket->claimed, struct cuda_phys, in_bucket);
}

void cuda_pool_bind(struct cuda_pool *pool, struct cuda_phys *phys, void *object, uint32_t chunk)
{
	assert(phys->state == CUDA_PHYS_FREE);
	list_del(&phys->in_bucket);
	list_del(&phys->in_order);
	count(pool, phys, CUDA_PHYS_BOUND);
	phys->object = object;
	phys->chunk = chunk;
}

/* Those that are to be asked come first in their holder's list. */
static void ask_for(struct cuda_pool *pool, struct cuda_phys *phys)
{
	struct cuda_export *export;

	list_for_each(export, &phys->exports, in_phys) {
		export->holder->n_asked -= export->asked;
		export->asked = false;
		list_del(&export->in_holder);
		list_add(&export->in_holder, &export->holder->exports);
		if (!list_is_linked(&export->holder->in_pool))
			list_add_tail(&export->holder->in_pool, &pool->to_ask);
	}
}

void cuda_pool_leave(struct cuda_pool *pool, struct cuda_phys *phys)
{
	assert(phys->state == CUDA_PHYS_FREE);
	list_del(&phys->in_bucket);
	list_del(&phys->in_order);
	count(pool, phys, CUDA_PHYS_LEAVING);
	phys->object = NULL;
	phys->since_ns = 0;
	list_add_tail(&phys->in_order, phys->n_exports ? &pool->calm : &pool->released);
	ask_for(pool, phys);
}

void cuda_pool_unbind(struct cuda_pool *pool, struct cuda_phys *phys, uint64_t now_ns)
{
	assert(phys->state == CUDA_PHYS_BOUND);
	count(pool, phys, CUDA_PHYS_FREE);
	phys->since_ns = now_ns;
	list_add(&phys->in_bucket, &phys->bucket->claimed);
	list_add_tail(&phys->in_order, &pool->idle);
	if (phys->tainted)
		cuda_pool_leave(pool, phys);
}

void cuda_pool_unclaim(struct cuda_pool *pool, struct cuda_phys *phys)
{
	(void)pool;
	phys->object = NULL;
	if (phys->state != CUDA_PHYS_FREE)
		return;
	list_del(&phys->in_bucket);
	list_add(&phys->in_bucket, &phys->bucket->unclaimed);
}

/* ---- making room ---- */

uint64_t cuda_pool_own_bytes(const struct cuda_pool *pool)
{
	return pool->bytes[CUDA_PHYS_FREE] + pool->bytes[CUDA_PHYS_BOUND] +
	       pool->bytes[CUDA_PHYS_LEAVING];
}

static uint64_t excess(uint64_t wanted, uint64_t limit)
{
	return wanted > limit ? wanted - limit : 0;
}

enum cuda_pool_verdict cuda_pool_room(struct cuda_pool *pool, uint64_t bytes, uint64_t now_ns,
				      struct cuda_phys **out_phys)
{
	/* Too much of ours, and too little of the card. Only the second is beyond us: that what is
	 * BOUND fits the budget is the ledger's care. */
	uint64_t ours = excess(cuda_pool_own_bytes(pool) + bytes, pool->params.configured_bytes);
	uint64_t card = excess(pool->params.reserve_bytes + bytes, pool->free_bytes);
	uint64_t leaving = pool->bytes[CUDA_PHYS_LEAVING], due = pool->due_bytes;
	struct cuda_phys *phys = list_first(&pool->released, struct cuda_phys, in_order);

	if (!ours && !card)
		return CUDA_POOL_CREATE;
	/* More goes only for what is not on its way already. But what should have come by now may be with a
	 * client that only says that it has let go. */
	if (now_ns - pool->due_ns >= LATE_NS)
		due = 0;
	if (!phys && (ours > leaving || card > leaving + due)) {
		phys = list_first(&pool->idle, struct cuda_phys, in_order);
		if (phys && phys->n_exports) {
			*out_phys = phys;
			return CUDA_POOL_RECLAIM;
		}
	}
	if (phys) {
		*out_phys = phys;
		return CUDA_POOL_RELEASE;
	}
	if (leaving || (card && pool->due_bytes))
		return CUDA_POOL_WAIT;
	return card ? CUDA_POOL_NONE : CUDA_POOL_CREATE;
}

void cuda_pool_press(struct cuda_pool *pool, uint64_t deadline_ns)
{
	struct cuda_phys *phys;

	list_for_each(phys, &pool->calm, in_order) {
		phys->since_ns = deadline_ns;
		ask_for(pool, phys);
	}
	list_splice_tail(&pool->calm, &pool->pressed);
}

struct cuda_phys *cuda_pool_next_release(struct cuda_pool *pool)
{
	return list_first(&pool->released, struct cuda_phys, in_order);
}

struct cuda_phys *cuda_pool_next_idle(const struct cuda_pool *pool, uint64_t now_ns)
{
	struct cuda_phys *phys = list_first(&pool->idle, struct cuda_phys, in_order);
	uint64_t leaving = pool->bytes[CUDA_PHYS_LEAVING];

	if (!phys)
		return NULL;
	if (now_ns - phys->since_ns >= pool->params.idle_ns ||
	    pool->free_bytes + pool->due_bytes + leaving < pool->params.reserve_bytes ||
	    cuda_pool_own_bytes(pool) - leaving > pool->budget_bytes)
		return phys;
	return NULL;
}

uint64_t cuda_pool_deadline(const struct cuda_pool *pool)
{
	const struct cuda_phys *phys = list_first(&pool->pressed, const struct cuda_phys, in_order);

	return phys ? phys->since_ns : 0;
}

/* ---- clients ---- */

void cuda_holder_init(struct cuda_holder *holder, uid_t uid)
{
	*holder = (struct cuda_holder){ .uid = uid };
	list_init(&holder->exports);
	list_init(&holder->in_pool);
}

static struct cuda_export *export_find(const struct cuda_phys *phys,
				       const struct cuda_holder *holder)
{
	struct cuda_export *export;

	list_for_each(export, &phys->exports, in_phys)
		if (export->holder == holder)
			return export;
	return NULL;
}

int cuda_pool_export(struct cuda_pool *pool, struct cuda_phys *phys, struct cuda_holder *holder)
{
	struct cuda_export *export = export_find(phys, holder);

	(void)pool;
	if (export)
		return 0;
	export = calloc(1, sizeof(*export));
	if (!export)
		return -ENOMEM;
	export->phys = phys;
	export->holder = holder;
	list_add_tail(&export->in_phys, &phys->exports);
	list_add_tail(&export->in_holder, &holder->exports);
	phys->n_exports++;
	holder->n_exports++;
	return 0;
}

/* One holder less. */
static void export_end(struct cuda_pool *pool, struct cuda_export *export)
{
	struct cuda_phys *phys = export->phys;

	export_free(export);
	if (phys->state == CUDA_PHYS_LEAVING && !phys->n_exports)
		list_move_tail(&phys->in_order, &pool->released);
}

int cuda_pool_reclaimed(struct cuda_pool *pool, struct cuda_holder *holder, uint64_t id)
{
	struct cuda_phys *phys = id ? cuda_pool_find(pool, id) : NULL;
	struct cuda_export *export = phys ? export_find(phys, holder) : NULL;

	if (export) {
		export_end(pool, export);
		return 0;
	}
	if (id >= pool->next_id || !holder->n_spare)
		return -EPROTO;
	holder->n_spare--;
	return 0;
}

void cuda_pool_holder_end(struct cuda_pool *pool, struct cuda_holder *holder)
{
	struct cuda_export *export, *tmp;

	list_for_each_safe(export, tmp, &holder->exports, in_holder) {
		struct cuda_phys *phys = export->phys;

		phys->tainted = true;
		export_end(pool, export);
		if (phys->state == CUDA_PHYS_FREE)
			cuda_pool_leave(pool, phys);
	}
	list_del(&holder->in_pool);
}

struct cuda_holder *cuda_pool_next_ask(struct cuda_pool *pool, uint64_t *ids, uint32_t max,
				       uint32_t *out_n, uint64_t *out_deadline_ns)
{
	struct cuda_holder *holder, *tmp;
	struct cuda_export *export;
	uint32_t n = 0;

	*out_n = 0;
	list_for_each_safe(holder, tmp, &pool->to_ask, in_pool) {
		/* The rest when it has answered. */
		while (n < max && holder->n_asked < ASKED_MAX) {
			export = list_first(&holder->exports, struct cuda_export, in_holder);
			if (!export || export->asked || export->phys->state != CUDA_PHYS_LEAVING) {
				list_del(&holder->in_pool);
				break;
			}
			/* One deadline a message. */
			if (n && export->phys->since_ns != *out_deadline_ns)
				break;
			*out_deadline_ns = export->phys->since_ns;
			ids[n++] = export->phys->id;
			export->asked = true;
			holder->n_asked++;
			list_move_tail(&export->in_holder, &holder->exports);
		}
		holder->n_spare += n;
		*out_n = n;
		if (n)
			return holder;
	}
	return NULL;
}

struct cuda_holder *cuda_pool_overdue(const struct cuda_pool *pool, uint64_t now_ns)
{
	const struct cuda_phys *phys = list_first(&pool->pressed, const struct cuda_phys, in_order);

	if (!phys || phys->since_ns > now_ns)
		return NULL;
	return list_entry(phys->exports.next, struct cuda_export, in_phys)->holder;
}

/* ---- size ---- */

void cuda_pool_measure(struct cuda_pool *pool, uint64_t free_bytes, uint64_t now_ns)
{
	uint64_t back = excess(free_bytes, pool->free_bytes);

	pool->due_bytes -= back < pool->due_bytes ? back : pool->due_bytes;
	if (pool->due_bytes && now_ns - pool->due_ns >= pool->params.drain_ns)
		pool->due_bytes = 0;
	pool->free_bytes = free_bytes;
}

void cuda_pool_given_back(struct cuda_pool *pool, uint64_t bytes, uint64_t now_ns)
{
	pool->due_bytes += bytes;
	pool->due_ns = now_ns;
}

/* Not what clients may take their time for: they may take for ever. */
bool cuda_pool_is_moving(const struct cuda_pool *pool)
{
	return pool->due_bytes || !list_is_empty(&pool->pressed) || !list_is_empty(&pool->released);
}

static uint64_t clamp(const struct cuda_pool *pool, uint64_t bytes)
{
	if (bytes < pool->params.smallest_bytes)
		return pool->params.smallest_bytes;
	return bytes < pool->params.configured_bytes ? bytes : pool->params.configured_bytes;
}

bool cuda_pool_budget(struct cuda_pool *pool, uint64_t now_ns)
{
	const struct cuda_pool_params *params = &pool->params;
	uint64_t can =
		clamp(pool, excess(cuda_pool_own_bytes(pool) + pool->due_bytes + pool->free_bytes,
				   params->reserve_bytes));
	uint64_t step = params->reserve_bytes / 4 > params->configured_bytes / 64 ?
				params->reserve_bytes / 4 :
				params->configured_bytes / 64;
	bool below = can + params->reserve_bytes / 8 < pool->budget_bytes;
	bool above = can > pool->budget_bytes && now_ns >= pool->no_growth_until_ns &&
		     (can == params->configured_bytes || can - pool->budget_bytes >= step);

	if (!below)
		pool->below_ns = 0;
	else if (!pool->below_ns)
		pool->below_ns = now_ns;
	if (!above)
		pool->above_ns = 0;
	else if (!pool->above_ns)
		pool->above_ns = now_ns;
	/* Growing is less urgent, and what goes to and fro is only seen from afar. */
	if (!(below && now_ns - pool->below_ns >= params->settle_ns) &&
	    !(above && now_ns - pool->above_ns >= 3 * params->settle_ns))
		return false;
	pool->below_ns = 0;
	pool->above_ns = 0;
	pool->budget_bytes = can;
	return true;
}

bool cuda_pool_shortage(struct cuda_pool *pool, bool refused, uint64_t now_ns)
{
	uint64_t can = cuda_pool_own_bytes(pool);

	if (refused) {
		pool->no_growth_until_ns = now_ns + pool->growth_pause_ns;
		if (pool->growth_pause_ns < GROWTH_PAUSE_MAX_NS)
			pool->growth_pause_ns *= 2;
	} else {
		can += excess(pool->free_bytes, pool->params.reserve_bytes);
	}
	can = clamp(pool, can);
	if (can >= pool->budget_bytes)
		return false;
	pool->below_ns = 0;
	pool->above_ns = 0;
	pool->budget_bytes = can;
	return true;
}
