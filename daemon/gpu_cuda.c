// SPDX-License-Identifier: GPL-2.0-only
/*
 * A card, by CUDA's driver interface.
 *
 * The memory of an object's chunk is a physical chunk ("phys", gpu_cuda_pool.h) that is bound to it when it is loaded and
 * goes to the free ones of its user when it is evicted. A chunk that comes back gets the phys that it had last
 * if that is still free, so that clients find it mapped. Across users memory moves only through the driver.
 *
 * chunk_reserve() is the one place where memory is found: a free phys of the user (no call of the driver's); or a new one, if the
 * budget and the card have room; or room is made, by giving back what is free and asking clients to
 * let go of it, and the caller comes again. It never waits.
 *
 * What must not be done inside a call of the owner's (asking clients, telling of another budget) is done in `work`, in the
 * next round of the loop. `watch` looks once a second, and often while something moves: how much of the card is free, what has
 * been idle for too long, whether the budget still holds.
 *
 * LOSS. An error that ends the context ends everything in it. Then copies in flight fail, the owner is told once, and
 * calls return -ENODEV, while what exists can still be freed. Memory that clients imported is theirs until they let go; the
 * driver's own books have it, ours do not any more. When nothing is left the next client or object begins anew with a fresh
 * context.
 *
 * PRIVILEGES. cuInit and the context are made while vramd is still root, where it is; afterwards the device nodes are open, and
 * making, exporting and mapping memory needs none. A fresh context opens nodes again: as root's user id, which owns
 * them. No process is forked after cuInit by anything that uses the driver.
 */
#include "daemon/gpu_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/proto.h"
#include "common/size.h"
#include "daemon/log.h"

/* By what others have measured on cards: large enough for the bus, small enough to be a grain of paging. */
#define CHUNK_DEFAULT (32u << 20)
#define WATCH_NS      1000000000ull
#define WATCH_SOON_NS 100000000ull
#define WATCH_FAST_NS 10000000ull
/* Until others' use of the card counts. */
#define SETTLE_NS 1000000000ull
/* For how long memory that was given back is taken to be on its way, and a driver without memory is asked again. */
#define DRAIN_NS  2000000000ull
#define REFUSE_NS 200000000ull
/* After a loss, between two attempts. */
#define REVIVE_NS 2000000000ull
/* Steps of making room in one call, and of giving back in one round of the loop. */
#define ROOM_STEPS    64
#define RELEASE_STEPS 16

static void work_run(struct loop_op *op, int res);
static void watch_run(struct loop_op *op, int res);
static void reaper_run(struct loop_op *op, int res);
static void lost_run(struct loop_op *op, int res);

/* ---- errors ---- */

void cuda_lose(struct cuda_device *dev, const char *reason)
{
	if (dev->lost)
		return;
	dev->lost = true;
	snprintf(dev->lost_reason, sizeof(dev->lost_reason), "%s", reason);
	if (!dev->closing && !loop_op_armed(&dev->lost_op))
		loop_defer(dev->loop, &dev->lost_op);
}

int cuda_failed(struct cuda_device *dev, cuda_result result, const char *call)
{
	char text[160];

	snprintf(text, sizeof(text), "%s: %s", call, cuda_driver_error_text(&dev->cuda, result));
	if (dev->lost)
		return -ENODEV;
	log_error_limited("%s: %s", dev->gpu.name, text);
	snprintf(dev->last_error, sizeof(dev->last_error), "%s", text);
	/* "Unknown" is what a card that fell off the bus may show, and what a harmless refusal is, too. */
	if (cuda_is_sticky(result) || (result == CUDA_ABI_ERROR_UNKNOWN && dev->context &&
				       dev->cuda.ctx_synchronize() != CUDA_ABI_SUCCESS))
		cuda_lose(dev, text);
	return dev->lost ? -ENODEV : cuda_errno(result);
}

static void lost_run(struct loop_op *op, int res)
{
	struct cuda_device *dev = list_entry(op, struct cuda_device, lost_op);

	(void)res;
	cuda_copy_fail_all(dev, -EIO);
	if (dev->told_lost)
		return;
	dev->told_lost = true;
	dev->tried_ns = loop_now();
	if (dev->events)
		dev->events->lost(dev->owner, -ENODEV, dev->lost_reason);
}

/* ---- start and end of a context ---- */

int cuda_measure(struct cuda_device *dev)
{
	size_t free_bytes = 0, total_bytes = 0;
	cuda_result result;

	if (dev->lost)
		return -ENODEV;
	result = dev->cuda.mem_get_info(&free_bytes, &total_bytes);
	if (result != CUDA_ABI_SUCCESS)
		return cuda_failed(dev, result, "cuMemGetInfo");
	dev->total_bytes = total_bytes;
	cuda_pool_measure(&dev->pool, free_bytes, loop_now());
	return 0;
}

/* What the attributes promise is done once: memory is made, mapped and exported. */
static int try_memory(struct cuda_device *dev)
{
	struct cuda_memory *memory;
	int fd = -1, r;

	r = cuda_memory_new(dev, 0, dev->gpu.granularity_bytes, NULL, 0, &memory);
	if (r == -ENOMEM)
		return 0; /* others have it all at the moment */
	if (r < 0)
		return r;
	r = cuda_memory_export(dev, memory, &fd);
	if (r == 0)
		close(fd);
	cuda_memory_free(dev, memory);
	cuda_measure(dev);
	return r;
}

/* A context that cannot be released now is released before the next one is asked for: else that would be the same one. */
static void context_release(struct cuda_device *dev)
{
	for (int i = 0; i < 2 && dev->is_retained; i++)
		dev->is_retained = dev->cuda.primary_ctx_release(dev->ordinal_device) !=
				   CUDA_ABI_SUCCESS;
	dev->context = NULL;
}

/* Memory is no part of a context, but a dead one may be in the way of giving it back. */
static void context_end(struct cuda_device *dev)
{
	cuda_copy_stop_lanes(dev);
	if (cuda_memory_retry(dev) && !dev->lost)
		cuda_spaces_free(dev);
	context_release(dev);
	/* The watch goes on with what the driver does not take now either. */
	if (!cuda_memory_retry(dev) && !dev->closing)
		return;
	cuda_memory_abandon(dev);
	cuda_spaces_free(dev);
}

static int context_begin(struct cuda_device *dev, char *reason, size_t size)
{
	cuda_result result;
	int r;

	context_release(dev);
	if (dev->is_retained) {
		snprintf(reason, size, "%s: the dead context cannot be released", dev->title);
		return -ENODEV;
	}
	result = dev->cuda.primary_ctx_retain(&dev->context, dev->ordinal_device);
	if (result != CUDA_ABI_SUCCESS) {
		dev->context = NULL;
		snprintf(reason, size, "%s: no context: cuDevicePrimaryCtxRetain: %s", dev->title,
			 cuda_driver_error_text(&dev->cuda, result));
		return cuda_errno(result);
	}
	dev->is_retained = true;
	result = dev->cuda.ctx_set_current(dev->context);
	if (result != CUDA_ABI_SUCCESS) {
		snprintf(reason, size, "%s: cuCtxSetCurrent: %s", dev->title,
			 cuda_driver_error_text(&dev->cuda, result));
		r = cuda_errno(result);
		goto err_end;
	}
	r = cuda_copy_start_lanes(dev, reason, size);
	if (r < 0)
		goto err_end;
	r = cuda_measure(dev);
	if (r == 0)
		r = try_memory(dev);
	if (r < 0) {
		snprintf(reason, size, "%s: %s", dev->title, dev->last_error);
		goto err_end;
	}
	return 0;

err_end:
	context_end(dev);
	return r;
}

/* Memory that is in none of the objects goes, with or without the driver. */
static void forget_memory(struct cuda_device *dev)
{
	struct list_node *const lists[] = { &dev->pool.idle, &dev->pool.calm, &dev->pool.pressed,
					    &dev->pool.released };
	struct cuda_phys *phys;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		while ((phys = list_first(lists[i], struct cuda_phys, in_order)))
			cuda_memory_free(dev, (struct cuda_memory *)phys);
}

int cuda_revive(struct cuda_device *dev)
{
	uint64_t now = loop_now();
	char reason[256];
	int r;

	if (!dev->lost)
		return 0;
	if (!dev->told_lost || !list_is_empty(&dev->objects) || now - dev->tried_ns < REVIVE_NS)
		return -ENODEV;
	dev->tried_ns = now;
	forget_memory(dev);
	cuda_host_forget(dev);
	context_end(dev);
	dev->lost = false;
	r = context_begin(dev, reason, sizeof(reason));
	if (r < 0) {
		dev->lost = true;
		log_warn_limited("%s: still lost: %s", dev->gpu.name, reason);
		return -ENODEV;
	}
	dev->told_lost = false;
	dev->pool.due_bytes = 0;
	log_event(LOG_LEVEL_INFO, &LOG_ID(DEVICE_BACK), 1, "%s is back, with a fresh context",
		  dev->gpu.name);
	return 0;
}

/* ---- memory for chunks ---- */

static int come_again(struct cuda_device *dev)
{
	dev->hungry = true;
	cuda_kick(dev);
	return -EAGAIN;
}

/* There is none, and none will come by itself. */
static int out_of_memory(struct cuda_device *dev, bool refused)
{
	bool anything = dev->pool.n[CUDA_PHYS_BOUND] > 0;

	if (cuda_pool_shortage(&dev->pool, refused, loop_now()))
		dev->tell_budget = true;
	/* With a smaller budget the owner gives something up, of which this can then be made. */
	come_again(dev);
	return anything ? -EAGAIN : -ENOMEM;
}

static int reserve(struct cuda_object *object, uint32_t chunk)
{
	struct cuda_device *dev = cuda_device_of(object->gpu_object.gpu);
	uint64_t bytes = gpu_chunk_len(&object->gpu_object, chunk);
	struct cuda_memory *memory;
	struct cuda_phys *phys = NULL;
	int r;

	for (int step = 0; step < ROOM_STEPS; step++) {
		r = cuda_measure(dev);
		if (r < 0)
			return r;
		switch (cuda_pool_room(&dev->pool, bytes, loop_now(), &phys)) {
		case CUDA_POOL_CREATE:
			r = cuda_memory_new(dev, object->gpu_object.uid, bytes, object, chunk,
					    &memory);
			if (r == 0)
				cuda_object_bound(object, chunk, memory);
			if (r != -ENOMEM)
				return r;
			/* What was asked for in peace is wanted now. */
			cuda_pool_press(&dev->pool, loop_now() + dev->reclaim_timeout_ns);
			if (cuda_pool_is_moving(&dev->pool) ||
			    loop_now() - dev->released_ns < REFUSE_NS)
				return come_again(dev);
			return out_of_memory(dev, true);
		case CUDA_POOL_RELEASE:
			cuda_memory_free(dev, (struct cuda_memory *)phys);
			break;
		case CUDA_POOL_RECLAIM:
			cuda_pool_leave(&dev->pool, phys);
			break;
		case CUDA_POOL_WAIT:
			cuda_pool_press(&dev->pool, loop_now() + dev->reclaim_timeout_ns);
			return come_again(dev);
		case CUDA_POOL_NONE:
			return out_of_memory(dev, false);
		}
	}
	return come_again(dev);
}

static int chunk_reserve(struct gpu_object *gpu_object, uint32_t chunk)
{
	struct cuda_object *object = (struct cuda_object *)gpu_object;
	struct cuda_device *dev = cuda_device_of(gpu_object->gpu);
	struct cuda_phys *phys;

	if (dev->lost)
		return -ENODEV;
	if (object->places[chunk].memory)
		return 0;
	phys = cuda_pool_take(&dev->pool, gpu_object->uid, gpu_chunk_len(gpu_object, chunk),
			      object->places[chunk].last);
	if (!phys)
		return reserve(object, chunk);
	cuda_pool_bind(&dev->pool, phys, object, chunk);
	cuda_object_bound(object, chunk, (struct cuda_memory *)phys);
	return 0;
}

/* ---- from the loop ---- */

void cuda_kick(struct cuda_device *dev)
{
	if (!loop_op_armed(&dev->work))
		loop_defer(dev->loop, &dev->work);
}

static void tell_budget(struct cuda_device *dev)
{
	char text[SIZE_TEXT_MAX];

	dev->tell_budget = false;
	size_format(text, dev->pool.budget_bytes);
	log_info("%s: by what others use of the card, the budget is %s now", dev->gpu.name, text);
	if (dev->events)
		dev->events->budget(dev->owner, dev->pool.budget_bytes);
}

/* Return: true if something was given back. */
static bool release_some(struct cuda_device *dev)
{
	struct cuda_phys *phys;
	int n = 0;

	while (n < RELEASE_STEPS && (phys = cuda_pool_next_release(&dev->pool))) {
		cuda_memory_free(dev, (struct cuda_memory *)phys);
		n++;
	}
	if (n == RELEASE_STEPS)
		cuda_kick(dev);
	if (n)
		cuda_measure(dev);
	return n > 0;
}

static void tell_ready(struct cuda_device *dev)
{
	if (!dev->hungry)
		return;
	dev->hungry = false;
	if (dev->events)
		dev->events->ready(dev->owner);
}

static void watch_arm(struct cuda_device *dev, uint64_t in_ns)
{
	loop_cancel(dev->loop, &dev->watch);
	loop_timer(dev->loop, &dev->watch, loop_now() + in_ns);
}

static void work_run(struct loop_op *op, int res)
{
	struct cuda_device *dev = list_entry(op, struct cuda_device, work);
	bool released;

	(void)res;
	cuda_clients_ask(dev);
	released = release_some(dev);
	cuda_clients_reap(dev);
	if (dev->tell_budget)
		tell_budget(dev);
	if (released)
		tell_ready(dev);
	if (cuda_pool_is_moving(&dev->pool) || !list_is_empty(&dev->stuck))
		watch_arm(dev, WATCH_FAST_NS);
}

static void reaper_run(struct loop_op *op, int res)
{
	(void)res;
	cuda_clients_reap(list_entry(op, struct cuda_device, reaper));
}

static void watch_run(struct loop_op *op, int res)
{
	struct cuda_device *dev = list_entry(op, struct cuda_device, watch);
	uint64_t now = loop_now(), due_bytes = dev->pool.due_bytes;
	struct cuda_phys *phys;
	bool soon;

	(void)res;
	if (dev->lost) {
		if (!dev->told_lost && !loop_op_armed(&dev->lost_op))
			loop_defer(dev->loop, &dev->lost_op);
		watch_arm(dev, WATCH_NS);
		return;
	}
	cuda_copy_watch(dev);
	if (!list_is_empty(&dev->stuck))
		cuda_memory_retry(dev);
	if (cuda_measure(dev) == 0) {
		for (int i = 0; i < RELEASE_STEPS; i++) {
			phys = cuda_pool_next_idle(&dev->pool, now);
			if (!phys)
				break;
			cuda_pool_leave(&dev->pool, phys);
			cuda_kick(dev);
		}
		if (cuda_pool_budget(&dev->pool, now))
			tell_budget(dev);
		if (dev->pool.due_bytes < due_bytes)
			tell_ready(dev);
	}
	/* What the driver does not take back it may never take back: that is not worth looking often. */
	soon = dev->pool.below_ns || dev->pool.above_ns || !list_is_empty(&dev->stuck);
	watch_arm(dev, cuda_pool_is_moving(&dev->pool) ? WATCH_FAST_NS :
		       soon			       ? WATCH_SOON_NS :
							 WATCH_NS);
}

/* ---- the device ---- */

static void *chunk_addr(struct gpu_object *object, uint32_t chunk)
{
	(void)object;
	(void)chunk;
	return NULL; /* not direct */
}

static struct gpu *cuda_free(struct gpu *gpu)
{
	struct cuda_device *dev = cuda_device_of(gpu);

	dev->closing = true;
	loop_cancel(dev->loop, &dev->work);
	loop_cancel(dev->loop, &dev->watch);
	loop_cancel(dev->loop, &dev->reaper);
	loop_cancel(dev->loop, &dev->lost_op);
	if (dev->context)
		forget_memory(dev);
	context_end(dev);
	cuda_pool_deinit(&dev->pool);
	free(dev);
	return NULL;
}

static const struct gpu_ops cuda_ops = {
	.free = cuda_free,
	.object_new = cuda_object_new,
	.object_free = cuda_object_free,
	.object_client_fd = cuda_object_client_fd,
	.object_memory = cuda_object_memory,
	.chunk_addr = chunk_addr,
	.chunk_drop = cuda_chunk_drop,
	.copy_start = cuda_copy_start,
	.chunk_reserve = chunk_reserve,
	.chunk_stamp = cuda_chunk_stamp,
	.chunk_rival = cuda_chunk_rival,
	.chunk_holder = cuda_chunk_holder,
	.chunk_export = cuda_chunk_export,
	.client_reclaimed = cuda_client_reclaimed,
	.host_map = cuda_host_map,
	.host_touch = cuda_host_touch,
	.host_unmap = cuda_host_unmap,
	.client_new = cuda_client_new,
	.client_free = cuda_client_free,
};

/* How much of the card may be ours. */
static int size_pool(struct cuda_device *dev, const struct gpu_params *params, char *reason,
		     size_t size)
{
	struct cuda_pool_params pool = {
		.configured_bytes = params->budget_bytes,
		.reserve_bytes = params->reserve_bytes,
		.idle_ns = params->idle_ns,
		.drain_ns = DRAIN_NS,
		.settle_ns = SETTLE_NS,
		.smallest_bytes = dev->gpu.granularity_bytes,
	};
	char text[SIZE_TEXT_MAX];
	cuda_result result;
	size_t total = 0;

	result = dev->cuda.device_total_mem(&total, dev->ordinal_device);
	if (result != CUDA_ABI_SUCCESS) {
		snprintf(reason, size, "cuDeviceTotalMem: %s",
			 cuda_driver_error_text(&dev->cuda, result));
		return cuda_errno(result);
	}
	if (total < params->reserve_bytes + dev->gpu.granularity_bytes) {
		size_format(text, total);
		snprintf(reason, size, "device.reserve leaves nothing of the %s of %s", text,
			 dev->title);
		return -EINVAL;
	}
	if (!pool.configured_bytes || pool.configured_bytes > total - params->reserve_bytes)
		pool.configured_bytes = total - params->reserve_bytes;
	if (pool.configured_bytes < pool.smallest_bytes)
		pool.configured_bytes = pool.smallest_bytes;
	return cuda_pool_init(&dev->pool, &pool);
}

static int choose_chunk(struct cuda_device *dev, uint64_t wanted, char *reason, size_t size)
{
	uint64_t grain = dev->gpu.granularity_bytes;
	uint64_t bytes = wanted ? wanted : CHUNK_DEFAULT;

	/* What the configuration takes for every device may be finer than memory is here. */
	bytes = (bytes + grain - 1) / grain * grain;
	if (bytes > 1u << 30) {
		snprintf(reason, size, "device.chunk: %llu MiB are more than one chunk may have",
			 (unsigned long long)(bytes >> 20));
		return -EINVAL;
	}
	dev->gpu.chunk_bytes = (uint32_t)bytes;
	return 0;
}

static int start(struct cuda_device *dev, const struct gpu_params *params, char *reason,
		 size_t size)
{
	char budget[SIZE_TEXT_MAX];
	int r;

	r = cuda_driver_open(&dev->cuda, NULL, reason, size);
	if (r < 0)
		return r == -ENODEV ? -ENOENT : r;
	r = cuda_probe(dev, params->card ? params->card : "", reason, size);
	if (r < 0)
		return r;
	if (params->name)
		snprintf(dev->gpu.name, sizeof(dev->gpu.name), "%s", params->name);
	r = choose_chunk(dev, params->chunk_bytes, reason, size);
	if (r == 0)
		r = size_pool(dev, params, reason, size);
	if (r == 0)
		r = context_begin(dev, reason, size);
	if (r < 0)
		return r;
	/* What others have already does not become ours by starting. */
	dev->pool.due_bytes = 0;
	cuda_pool_shortage(&dev->pool, false, loop_now());
	dev->gpu.budget_bytes = dev->pool.budget_bytes;
	r = loop_timer(dev->loop, &dev->watch, loop_now() + WATCH_NS);
	if (r < 0) {
		snprintf(reason, size, "no timer");
		return r;
	}
	size_format(budget, dev->gpu.budget_bytes);
	log_info("%s is %s (CUDA %d.%d): %s of memory for layers", dev->gpu.name, dev->title,
		 dev->cuda.version / 1000, dev->cuda.version % 1000 / 10, budget);
	return 0;
}

int gpu_cuda_new(struct gpu **out, struct loop *loop, const struct gpu_params *params, char *reason,
		 size_t reason_size)
{
	struct cuda_device *dev = calloc(1, sizeof(*dev));
	int r;

	snprintf(reason, reason_size, "out of memory");
	if (!dev)
		return -ENOMEM;
	dev->gpu = (struct gpu){
		.ops = &cuda_ops,
		.kind = VRAM_DEVICE_CUDA,
		.per_user = true,
		.imports = true,
		.huge = true,
	};
	dev->loop = loop;
	dev->events = params->events;
	dev->owner = params->owner;
	dev->reclaim_timeout_ns = params->reclaim_timeout_ns;
	dev->work.fn = work_run;
	dev->watch.fn = watch_run;
	dev->reaper.fn = reaper_run;
	dev->lost_op.fn = lost_run;
	list_init(&dev->stuck);
	list_init(&dev->objects);
	cuda_copy_init(dev);
	r = start(dev, params, reason, reason_size);
	if (r < 0) {
		if (dev->pool.by_id)
			cuda_free(&dev->gpu);
		else
			free(dev);
		return r;
	}
	*out = &dev->gpu;
	return 0;
}
