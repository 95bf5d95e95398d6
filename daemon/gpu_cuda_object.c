// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects on a card: a row of chunks, each with memory behind it or not, and the bindings that tell clients which.
 *
 * The bindings are a sealed memory file of one number a chunk. We alone can write them: clients get a read-only
 * descriptor, the file's mode keeps other users from opening it for more, and a seal forbids every new writable mapping to everybody,
 * us included. A number is written before the layer over the chunk is published as RESIDENT, which
 * orders it for whoever reads it after that; what it says at other times counts for nothing.
 */
#include "daemon/gpu_cuda.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8u /* Linux 6.3 */
#endif

#define SEALS (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int bindings_new(struct cuda_object *object, const char *name)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	_cleanup_close_ int fd = -1;
	void *addr;

	object->bindings_bytes = (size_t)object->gpu_object.n_chunks * sizeof(uint64_t);
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)object->bindings_bytes) < 0 || fchmod(fd, 0600) < 0)
		return -errno;
	addr = mmap(NULL, object->bindings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		int r = -errno;

		munmap(addr, object->bindings_bytes);
		return r;
	}
	object->bindings = addr;
	object->fd = steal_fd(&fd);
	return 0;
}

int cuda_object_new(struct gpu *gpu, const char *name, uint64_t bytes, uint32_t chunk_bytes,
		    bool writable, uid_t uid, struct gpu_object **out)
{
	struct cuda_device *dev = cuda_device_of(gpu);
	uint64_t grain = gpu->granularity_bytes, n_chunks;
	struct cuda_object *object;
	int r;

	if (bytes == 0 || bytes > INT64_MAX - (1ull << 40) || chunk_bytes < grain ||
	    chunk_bytes % grain)
		return -EINVAL;
	if (dev->lost) {
		r = cuda_revive(dev);
		if (r < 0)
			return r;
	}
	bytes = (bytes + grain - 1) / grain * grain;
	n_chunks = (bytes + chunk_bytes - 1) / chunk_bytes;
	if (n_chunks > UINT32_MAX / 2)
		return -EFBIG;
	object = calloc(1, sizeof(*object) + n_chunks * sizeof(object->places[0]));
	if (!object)
		return -ENOMEM;
	object->gpu_object = (struct gpu_object){
		.gpu = gpu,
		.map_bytes = bytes,
		.chunk_bytes = chunk_bytes,
		.n_chunks = (uint32_t)n_chunks,
		.writable = writable,
		.uid = uid,
	};
	r = bindings_new(object, name);
	if (r < 0) {
		free(object);
		return r;
	}
	list_add_tail(&object->node, &dev->objects);
	*out = &object->gpu_object;
	return 0;
}

struct gpu_object *cuda_object_free(struct gpu_object *gpu_object)
{
	struct cuda_object *object = (struct cuda_object *)gpu_object;
	struct cuda_device *dev = cuda_device_of(gpu_object->gpu);

	cuda_chunk_drop(gpu_object, 0, gpu_object->n_chunks);
	for (uint32_t i = 0; i < gpu_object->n_chunks; i++) {
		struct cuda_phys *phys = NULL;

		if (object->places[i].last)
			phys = cuda_pool_find(&dev->pool, object->places[i].last);
		if (phys && phys->object == object)
			cuda_pool_unclaim(&dev->pool, phys);
	}
	munmap(object->bindings, object->bindings_bytes);
	close(object->fd);
	list_del(&object->node);
	free(object);
	return NULL;
}

int cuda_object_client_fd(struct gpu_object *gpu_object, int *out_fd)
{
	struct cuda_object *object = (struct cuda_object *)gpu_object;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out_fd = fd;
	return 0;
}

uint64_t cuda_object_memory(struct gpu_object *gpu_object)
{
	return ((struct cuda_object *)gpu_object)->bound_bytes;
}

void cuda_object_bound(struct cuda_object *object, uint32_t chunk, struct cuda_memory *memory)
{
	struct cuda_device *dev = cuda_device_of(object->gpu_object.gpu);
	struct cuda_place *place = &object->places[chunk];

	place->memory = memory;
	if (place->last != memory->phys.id)
		place->stamp = ++dev->stamp;
	place->last = memory->phys.id;
	object->bound_bytes += memory->phys.bytes;
	atomic_store_explicit(&object->bindings[chunk], memory->phys.id, memory_order_release);
}

int cuda_chunk_drop(struct gpu_object *gpu_object, uint32_t first, uint32_t n)
{
	struct cuda_object *object = (struct cuda_object *)gpu_object;
	struct cuda_device *dev = cuda_device_of(gpu_object->gpu);
	uint64_t now = loop_now();
	bool leaves = false;

	for (uint32_t i = first; i < first + n; i++) {
		struct cuda_memory *memory = object->places[i].memory;

		if (!memory)
			continue;
		object->places[i].memory = NULL;
		object->bound_bytes -= memory->phys.bytes;
		atomic_store_explicit(&object->bindings[i], 0, memory_order_release);
		cuda_pool_unbind(&dev->pool, &memory->phys, now);
		leaves |= memory->phys.state == CUDA_PHYS_LEAVING;
	}
	if (leaves)
		cuda_kick(dev);
	return 0;
}

uint64_t cuda_chunk_stamp(struct gpu_object *gpu_object, uint32_t chunk)
{
	return ((struct cuda_object *)gpu_object)->places[chunk].stamp;
}

bool cuda_chunk_rival(struct gpu_object *gpu_object, uint32_t chunk, struct gpu_object **out_object,
		      uint32_t *out_chunk)
{
	struct cuda_object *object = (struct cuda_object *)gpu_object;
	struct cuda_device *dev = cuda_device_of(gpu_object->gpu);
	const struct cuda_place *place = &object->places[chunk];
	const struct cuda_phys *phys;

	if (place->memory || !place->last)
		return false;
	phys = cuda_pool_find(&dev->pool, place->last);
	if (!phys || phys->state != CUDA_PHYS_BOUND)
		return false;
	*out_object = phys->object;
	*out_chunk = phys->chunk;
	return true;
}

/* Not before it was written in full: until then it may hold what another process left there. */
struct gpu_object *cuda_chunk_holder(struct gpu *gpu, uint64_t id)
{
	const struct cuda_phys *phys = cuda_pool_find(&cuda_device_of(gpu)->pool, id);

	return phys && phys->state == CUDA_PHYS_BOUND && phys->written ? phys->object : NULL;
}
