// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations of the driver's.
 *
 * Each is made so that it can be exported, and mapped for reading and writing in our own address space: offset
 * 0 and in full, because the driver allows nothing else. Addresses are reserved for many at a time and recycled, so that making one
 * is cuMemCreate, cuMemMap and cuMemSetAccess.
 *
 * Which calls may take long: cuMemCreate (the driver may have to clear pages), cuMemSetAccess and cuMemUnmap (documented to
 * synchronise; in our context nothing but copies of ours can be waited for). All are off the hot path: a
 * pool in its steady state makes and frees nothing.
 *
 * Giving memory back must not fail, and the driver may refuse it. What it has not taken is kept and tried again by the
 * watch, so that nothing is lost: neither memory nor the address.
 */
#include "daemon/gpu_cuda.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/log.h"

#define SLOTS_OF_REGION 64u

static uint64_t stride_for(const struct cuda_device *dev, uint64_t bytes)
{
	uint64_t stride = dev->gpu.granularity_bytes;

	while (stride < bytes)
		stride *= 2;
	return stride;
}

static struct cuda_space *space_find(struct cuda_device *dev, uint64_t stride)
{
	struct cuda_space *space;

	for (space = dev->spaces; space; space = space->next)
		if (space->stride == stride)
			return space;
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	space->stride = stride;
	space->next = dev->spaces;
	dev->spaces = space;
	return space;
}

/* Room for the slots of one region more: giving a slot back then needs no memory. */
static int region_new(struct cuda_device *dev, struct cuda_space *space)
{
	size_t n = (size_t)(space->n_regions + 1) * SLOTS_OF_REGION;
	cuda_ptr *slots, *regions, base;
	cuda_result result;

	slots = realloc(space->free_slots, n * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	space->free_slots = slots;
	regions = realloc(space->regions, (space->n_regions + 1) * sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	space->regions = regions;
	result = dev->cuda.mem_address_reserve(&base, space->stride * SLOTS_OF_REGION, 0, 0, 0);
	if (result != CUDA_ABI_SUCCESS)
		return cuda_failed(dev, result, "cuMemAddressReserve");
	regions[space->n_regions++] = base;
	for (uint32_t i = SLOTS_OF_REGION; i-- > 0;)
		slots[space->n_free++] = base + i * space->stride;
	return 0;
}

static int slot_get(struct cuda_device *dev, uint64_t bytes, struct cuda_memory *memory)
{
	struct cuda_space *space = space_find(dev, stride_for(dev, bytes));
	int r;

	if (!space)
		return -ENOMEM;
	if (!space->n_free) {
		r = region_new(dev, space);
		if (r < 0)
			return r;
	}
	memory->space = space;
	memory->at = space->free_slots[--space->n_free];
	return 0;
}

static void slot_put(struct cuda_memory *memory)
{
	memory->space->free_slots[memory->space->n_free++] = memory->at;
	memory->space = NULL;
}

void cuda_spaces_free(struct cuda_device *dev)
{
	struct cuda_space *space = dev->spaces, *next;
	cuda_result result;

	for (; space; space = next) {
		next = space->next;
		for (uint32_t i = 0; i < space->n_regions; i++) {
			result = dev->cuda.mem_address_free(space->regions[i],
							    space->stride * SLOTS_OF_REGION);
			if (result != CUDA_ABI_SUCCESS)
				cuda_failed(dev, result, "cuMemAddressFree");
		}
		free(space->free_slots);
		free(space->regions);
		free(space);
	}
	dev->spaces = NULL;
}

/* Gives back what the driver takes; of a lost device it may take it, too. Return: true if that is everything. */
static bool give_back(struct cuda_device *dev, struct cuda_memory *memory)
{
	cuda_result result;

	if (memory->fd >= 0)
		close(memory->fd);
	memory->fd = -1;
	if (memory->is_mapped) {
		result = dev->cuda.mem_unmap(memory->at, memory->phys.bytes);
		if (result != CUDA_ABI_SUCCESS)
			cuda_failed(dev, result, "cuMemUnmap");
		else
			memory->is_mapped = false;
	}
	if (memory->has_mem) {
		result = dev->cuda.mem_release(memory->mem);
		if (result != CUDA_ABI_SUCCESS)
			cuda_failed(dev, result, "cuMemRelease");
		else
			memory->has_mem = false;
	}
	if (memory->is_mapped || memory->has_mem)
		return false;
	if (memory->space)
		slot_put(memory);
	free(memory);
	return true;
}

static void give_back_or_keep(struct cuda_device *dev, struct cuda_memory *memory)
{
	if (!give_back(dev, memory))
		list_add_tail(&memory->node, &dev->stuck);
}

bool cuda_memory_retry(struct cuda_device *dev)
{
	struct cuda_memory *memory, *tmp;
	struct list_node stuck;

	list_init(&stuck);
	list_splice_tail(&dev->stuck, &stuck);
	list_for_each_safe(memory, tmp, &stuck, node) {
		list_del(&memory->node);
		give_back_or_keep(dev, memory);
	}
	return list_is_empty(&dev->stuck);
}

void cuda_memory_abandon(struct cuda_device *dev)
{
	struct cuda_memory *memory, *tmp;
	uint64_t bytes = 0;

	list_for_each_safe(memory, tmp, &dev->stuck, node) {
		bytes += memory->phys.bytes;
		list_del(&memory->node);
		free(memory);
	}
	if (bytes)
		log_warn("%s: the driver keeps %llu MiB of ours until this process ends",
			 dev->gpu.name, (unsigned long long)(bytes >> 20));
}

int cuda_memory_new(struct cuda_device *dev, uid_t uid, uint64_t bytes, void *object,
		    uint32_t chunk, struct cuda_memory **out)
{
	struct cuda_memory *memory = calloc(1, sizeof(*memory));
	const char *call = "cuMemCreate";
	cuda_result result;
	int r;

	if (!memory)
		return -ENOMEM;
	memory->fd = -1;
	memory->phys.bytes = bytes;
	list_init(&memory->node);
	r = slot_get(dev, bytes, memory);
	if (r < 0)
		goto err_back;
	result = dev->cuda.mem_create(&memory->mem, bytes, &dev->prop, 0);
	memory->has_mem = result == CUDA_ABI_SUCCESS;
	if (result == CUDA_ABI_SUCCESS) {
		call = "cuMemMap";
		result = dev->cuda.mem_map(memory->at, bytes, 0, memory->mem, 0);
		memory->is_mapped = result == CUDA_ABI_SUCCESS;
	}
	if (result == CUDA_ABI_SUCCESS) {
		call = "cuMemSetAccess";
		result = dev->cuda.mem_set_access(memory->at, bytes, &dev->access, 1);
	}
	if (result != CUDA_ABI_SUCCESS) {
		/* No memory is an answer like another, and no news. */
		r = result == CUDA_ABI_ERROR_OUT_OF_MEMORY ? -ENOMEM :
							     cuda_failed(dev, result, call);
		goto err_back;
	}
	r = cuda_pool_add(&dev->pool, &memory->phys, uid, bytes, object, chunk);
	if (r < 0)
		goto err_back;
	*out = memory;
	return 0;

err_back:
	give_back_or_keep(dev, memory);
	return r;
}

void cuda_memory_free(struct cuda_device *dev, struct cuda_memory *memory)
{
	uint64_t now = loop_now();

	cuda_pool_remove(&dev->pool, &memory->phys);
	cuda_pool_given_back(&dev->pool, memory->phys.bytes, now);
	dev->released_ns = now;
	give_back_or_keep(dev, memory);
}

int cuda_memory_export(struct cuda_device *dev, struct cuda_memory *memory, int *out_fd)
{
	cuda_result result;
	int fd = -1;

	if (memory->fd < 0) {
		result = dev->cuda.mem_export(&fd, memory->mem,
					      CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
		if (result != CUDA_ABI_SUCCESS)
			return cuda_failed(dev, result, "cuMemExportToShareableHandle");
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		memory->fd = fd;
	}
	fd = fcntl(memory->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*out_fd = fd;
	return 0;
}
