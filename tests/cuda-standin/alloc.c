// SPDX-License-Identifier: GPL-2.0-only
/*
 * cuMemAlloc and its relatives, the host's memory that the device may reach, and what can be asked
 * about a pointer.
 *
 * Large allocations have pages of their own. Small ones share a page, a slab, as on a real card.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/graph.h"
#include "tests/cuda-standin/space.h"
#include "tests/cuda-standin/stream.h"

#define SMALL (STANDIN_PAGE / 2)
#define UNIT  512

struct slab {
	struct slab *next;
	struct context *context;
	cuda_ptr ptr;
	unsigned int used;
	unsigned char taken[STANDIN_PAGE / UNIT];
};

static struct slab *slabs; /* under va_lock */

/* Memory with an address, accessible. Needs va_lock for writing. Return: success or why not. */
static cuda_result add_pages(cuda_ptr *out_ptr, unsigned int n_pages)
{
	const struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.location.type = CUDA_ABI_MEM_LOCATION_TYPE_DEVICE,
	};
	struct mapping *m;
	struct phys *phys;
	cuda_result result = device_alloc(&phys, n_pages, &prop);
	cuda_ptr ptr;

	if (result != CUDA_ABI_SUCCESS)
		return result;
	ptr = space_reserve(n_pages * STANDIN_PAGE, STANDIN_PAGE, 0);
	if (!ptr) {
		device_release(phys);
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	}
	space_put(ptr, phys);
	m = calloc(1, sizeof(*m));
	m->phys = phys;
	m->access = CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE;
	ranges_add(&mappings, ptr, n_pages * STANDIN_PAGE, m);
	*out_ptr = ptr;
	return CUDA_ABI_SUCCESS;
}

/* Needs va_lock for writing. */
static void drop_pages(cuda_ptr ptr)
{
	struct range *r = ranges_find(&mappings, ptr);
	struct mapping *m = r->item;

	munmap((void *)(uintptr_t)r->start, r->size);
	ranges_remove(&mappings, r);
	device_release(m->phys);
	free(m);
}

/* Return: where n free units begin in the slab, -1 for nowhere. */
static int find_units(const struct slab *slab, unsigned int n)
{
	unsigned int i, run = 0;

	for (i = 0; i < sizeof(slab->taken); i++) {
		run = slab->taken[i] ? 0 : run + 1;
		if (run == n)
			return i + 1 - n;
	}
	return -1;
}

/* Needs va_lock for writing. */
static cuda_result alloc_small(struct context *context, size_t size, cuda_ptr *out_ptr,
			       struct slab **out_slab)
{
	unsigned int n = (size + UNIT - 1) / UNIT;
	cuda_result result;
	struct slab *slab;
	int at = -1;

	for (slab = slabs; slab; slab = slab->next)
		if (slab->context == context && (at = find_units(slab, n)) >= 0)
			break;
	if (!slab) {
		slab = calloc(1, sizeof(*slab));
		slab->context = context;
		result = add_pages(&slab->ptr, 1);
		if (result != CUDA_ABI_SUCCESS) {
			free(slab);
			return result;
		}
		slab->next = slabs;
		slabs = slab;
		at = 0;
	}
	memset(slab->taken + at, 1, n);
	slab->used += n;
	*out_ptr = slab->ptr + at * UNIT;
	*out_slab = slab;
	return CUDA_ABI_SUCCESS;
}

/* Needs va_lock for writing. */
static void free_block(struct range *r)
{
	struct block *b = r->item;
	struct slab *slab = b->slab, **p;

	if (!slab) {
		drop_pages(r->start);
	} else {
		unsigned int n = (r->size + UNIT - 1) / UNIT;

		memset(slab->taken + (r->start - slab->ptr) / UNIT, 0, n);
		slab->used -= n;
		if (!slab->used) {
			for (p = &slabs; *p != slab; p = &(*p)->next)
				;
			*p = slab->next;
			drop_pages(slab->ptr);
			free(slab);
		}
	}
	free(b);
	ranges_remove(&blocks, r);
}

static cuda_result alloc(cuda_ptr *out_ptr, size_t size)
{
	struct context *context = context_current();
	struct slab *slab = NULL;
	cuda_result result;
	struct block *b;
	cuda_ptr ptr;

	if (!out_ptr || !size)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (size > STANDIN_PAGES * STANDIN_PAGE)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	pthread_rwlock_wrlock(&va_lock);
	if (size <= SMALL)
		result = alloc_small(context, size, &ptr, &slab);
	else
		result = add_pages(&ptr, (size + STANDIN_PAGE - 1) / STANDIN_PAGE);
	if (result == CUDA_ABI_SUCCESS) {
		b = calloc(1, sizeof(*b));
		b->context = context;
		b->slab = slab;
		b->id = space_next_id();
		ranges_add(&blocks, ptr, size, b);
		*out_ptr = ptr;
	}
	pthread_rwlock_unlock(&va_lock);
	return result;
}

void space_free_context(struct context *context)
{
	size_t i;

	pthread_rwlock_wrlock(&va_lock);
	for (i = blocks.n; i-- > 0;)
		if (((struct block *)blocks.ranges[i].item)->context == context)
			free_block(&blocks.ranges[i]);
	pthread_rwlock_unlock(&va_lock);
}

EXPORT cuda_result cuMemAlloc_v2(cuda_ptr *out_ptr, size_t size)
{
	ENTER(cuMemAlloc, ENTER_INIT | ENTER_CONTEXT);
	return alloc(out_ptr, size);
}

EXPORT cuda_result cuMemAllocPitch_v2(cuda_ptr *out_ptr, size_t *out_pitch, size_t width,
				      size_t height, unsigned int element)
{
	size_t pitch = (width + UNIT - 1) / UNIT * UNIT;
	cuda_result result;

	ENTER(cuMemAllocPitch, ENTER_INIT | ENTER_CONTEXT);
	if (!out_pitch || !width || !height || (element != 4 && element != 8 && element != 16) ||
	    height > SIZE_MAX / pitch)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = alloc(out_ptr, pitch * height);
	if (result == CUDA_ABI_SUCCESS)
		*out_pitch = pitch;
	return result;
}

/* Return: whether there was an allocation that begins at ptr. */
static bool free_at(cuda_ptr ptr)
{
	struct range *r;
	bool found;

	pthread_rwlock_wrlock(&va_lock);
	r = ranges_find(&blocks, ptr);
	found = r && r->start == ptr;
	if (found)
		free_block(r);
	pthread_rwlock_unlock(&va_lock);
	return found;
}

static bool drop_host(uintptr_t p, enum host_kind kind);

EXPORT cuda_result cuMemFree_v2(cuda_ptr ptr)
{
	ENTER(cuMemFree, ENTER_INIT | ENTER_CONTEXT);
	if (!ptr)
		return CUDA_ABI_SUCCESS;
	/* What still runs may use it. */
	stream_wait_all(context_current());
	if (context_error(context_current()) != CUDA_ABI_SUCCESS)
		return context_error(context_current());
	return free_at(ptr) || drop_host(ptr, HOST_MANAGED) ? CUDA_ABI_SUCCESS :
							      CUDA_ABI_ERROR_INVALID_VALUE;
}

static cuda_result alloc_async(cuda_ptr *out_ptr, size_t size, cuda_stream handle, bool per_thread)
{
	struct stream *s;
	cuda_result result;

	ENTER(cuMemAllocAsync, ENTER_INIT | ENTER_CONTEXT);
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	/* Memory of graphs is not imitated. */
	return capture_id(s) ? CUDA_ABI_ERROR_NOT_SUPPORTED : alloc(out_ptr, size);
}

EXPORT cuda_result cuMemAllocAsync(cuda_ptr *out_ptr, size_t size, cuda_stream stream)
{
	return alloc_async(out_ptr, size, stream, false);
}

EXPORT cuda_result cuMemAllocAsync_ptsz(cuda_ptr *out_ptr, size_t size, cuda_stream stream)
{
	return alloc_async(out_ptr, size, stream, true);
}

/* ---- pools, which are names and nothing else: memory goes back to the card when it is freed ---- */

struct pool {
	char nothing;
};

static struct pool default_pool;
static struct ranges pools = { 0 }; /* under va_lock */

EXPORT cuda_result cuDeviceGetDefaultMemPool(cuda_pool *out_pool, cuda_device dev)
{
	ENTER(cuDeviceGetDefaultMemPool, ENTER_INIT);
	if (!out_pool)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	*out_pool = (cuda_pool)&default_pool;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemPoolCreate(cuda_pool *out_pool, const struct cuda_pool_props *props)
{
	struct pool *pool;

	ENTER(cuMemPoolCreate, ENTER_INIT);
	if (!out_pool || !props || props->type != CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED ||
	    props->win32_meta || props->location.type != CUDA_ABI_MEM_LOCATION_TYPE_DEVICE ||
	    props->location.id != 0)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (props->handle_types)
		return CUDA_ABI_ERROR_NOT_SUPPORTED;
	pool = calloc(1, sizeof(*pool));
	pthread_rwlock_wrlock(&va_lock);
	ranges_add(&pools, (uintptr_t)pool, sizeof(*pool), pool);
	pthread_rwlock_unlock(&va_lock);
	*out_pool = (cuda_pool)pool;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemPoolDestroy(cuda_pool pool)
{
	struct range *r;

	ENTER(cuMemPoolDestroy, ENTER_INIT);
	pthread_rwlock_wrlock(&va_lock);
	r = ranges_find(&pools, (uintptr_t)pool);
	if (r) {
		free(r->item);
		ranges_remove(&pools, r);
	}
	pthread_rwlock_unlock(&va_lock);
	return r ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_VALUE;
}

static cuda_result alloc_from_pool(cuda_ptr *out_ptr, size_t size, cuda_pool pool,
				   cuda_stream handle, bool per_thread)
{
	struct stream *s;
	cuda_result result;
	bool known;

	ENTER(cuMemAllocFromPoolAsync, ENTER_INIT | ENTER_CONTEXT);
	pthread_rwlock_rdlock(&va_lock);
	known = pool == (cuda_pool)&default_pool || ranges_find(&pools, (uintptr_t)pool);
	pthread_rwlock_unlock(&va_lock);
	if (!known)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	return capture_id(s) ? CUDA_ABI_ERROR_NOT_SUPPORTED : alloc(out_ptr, size);
}

EXPORT cuda_result cuMemAllocFromPoolAsync(cuda_ptr *out_ptr, size_t size, cuda_pool pool,
					   cuda_stream stream)
{
	return alloc_from_pool(out_ptr, size, pool, stream, false);
}

EXPORT cuda_result cuMemAllocFromPoolAsync_ptsz(cuda_ptr *out_ptr, size_t size, cuda_pool pool,
						cuda_stream stream)
{
	return alloc_from_pool(out_ptr, size, pool, stream, true);
}

static cuda_result run_free(struct stream *stream, struct op *op)
{
	(void)stream;
	free_at(op->freed);
	return CUDA_ABI_SUCCESS;
}

static cuda_result free_async(cuda_ptr ptr, cuda_stream handle, bool per_thread)
{
	struct stream *s;
	struct range *r;
	struct op *op;
	cuda_result result;
	bool known;

	ENTER(cuMemFreeAsync, ENTER_INIT | ENTER_CONTEXT);
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	pthread_rwlock_rdlock(&va_lock);
	r = ranges_find(&blocks, ptr);
	known = r && r->start == ptr;
	pthread_rwlock_unlock(&va_lock);
	if (!known)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (capture_id(s))
		return CUDA_ABI_ERROR_NOT_SUPPORTED;
	op = op_new(run_free);
	op->freed = ptr;
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemFreeAsync(cuda_ptr ptr, cuda_stream stream)
{
	return free_async(ptr, stream, false);
}

EXPORT cuda_result cuMemFreeAsync_ptsz(cuda_ptr ptr, cuda_stream stream)
{
	return free_async(ptr, stream, true);
}

/* ---- the host's memory ---- */

/* Needs va_lock for writing. */
static void add_host(uintptr_t p, size_t size, enum host_kind kind, unsigned int flags)
{
	struct host_range *h = calloc(1, sizeof(*h));

	h->kind = kind;
	h->flags = flags;
	h->id = space_next_id();
	ranges_add(&hosts, p, size, h);
}

static bool drop_host(uintptr_t p, enum host_kind kind)
{
	struct range *r;
	bool found;

	pthread_rwlock_wrlock(&va_lock);
	r = ranges_find(&hosts, p);
	found = r && r->start == p && ((struct host_range *)r->item)->kind == kind;
	if (found) {
		if (kind != HOST_REGISTERED)
			munmap((void *)p, (r->size + 4095) / 4096 * 4096);
		free(r->item);
		ranges_remove(&hosts, r);
	}
	pthread_rwlock_unlock(&va_lock);
	return found;
}

EXPORT cuda_result cuMemHostRegister_v2(void *p, size_t size, unsigned int flags)
{
	const unsigned int all =
		CUDA_ABI_MEMHOSTREGISTER_PORTABLE | CUDA_ABI_MEMHOSTREGISTER_DEVICEMAP |
		CUDA_ABI_MEMHOSTREGISTER_IOMEMORY | CUDA_ABI_MEMHOSTREGISTER_READ_ONLY;
	uintptr_t start = (uintptr_t)p & ~4095ul;
	uintptr_t end = ((uintptr_t)p + size + 4095) & ~4095ul;
	cuda_result result = CUDA_ABI_SUCCESS;

	ENTER(cuMemHostRegister, ENTER_INIT | ENTER_CONTEXT);
	if (!p || !size || (uintptr_t)p + size < size || flags & ~all)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (flags & CUDA_ABI_MEMHOSTREGISTER_IOMEMORY)
		return CUDA_ABI_ERROR_NOT_PERMITTED;
	/* The driver pins the pages, to be written unless it is told otherwise. */
	if (madvise((void *)start, end - start,
		    flags & CUDA_ABI_MEMHOSTREGISTER_READ_ONLY ? MADV_POPULATE_READ :
								 MADV_POPULATE_WRITE) < 0)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_wrlock(&va_lock);
	if (ranges_overlap(&hosts, (uintptr_t)p, size))
		result = CUDA_ABI_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	else
		add_host((uintptr_t)p, size, HOST_REGISTERED, flags);
	pthread_rwlock_unlock(&va_lock);
	return result;
}

EXPORT cuda_result cuMemHostUnregister(void *p)
{
	ENTER(cuMemHostUnregister, ENTER_INIT | ENTER_CONTEXT);
	if (!p)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	return drop_host((uintptr_t)p, HOST_REGISTERED) ? CUDA_ABI_SUCCESS :
							  CUDA_ABI_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

EXPORT cuda_result cuMemHostGetDevicePointer_v2(cuda_ptr *out_ptr, void *p, unsigned int flags)
{
	struct range *r;

	ENTER(cuMemHostGetDevicePointer, ENTER_INIT | ENTER_CONTEXT);
	if (!out_ptr || flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_rdlock(&va_lock);
	r = ranges_find(&hosts, (uintptr_t)p);
	pthread_rwlock_unlock(&va_lock);
	if (!r)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_ptr = (uintptr_t)p;
	return CUDA_ABI_SUCCESS;
}

static cuda_result alloc_host(void **out_p, size_t size, unsigned int flags, enum host_kind kind)
{
	void *p;

	if (!out_p || !size)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	p = mmap(NULL, (size + 4095) / 4096 * 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	pthread_rwlock_wrlock(&va_lock);
	add_host((uintptr_t)p, size, kind, flags);
	pthread_rwlock_unlock(&va_lock);
	*out_p = p;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemHostAlloc(void **out_p, size_t size, unsigned int flags)
{
	ENTER(cuMemHostAlloc, ENTER_INIT | ENTER_CONTEXT);
	if (flags & ~7u)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	return alloc_host(out_p, size, flags, HOST_ALLOCATED);
}

EXPORT cuda_result cuMemAllocHost_v2(void **out_p, size_t size)
{
	ENTER(cuMemAllocHost, ENTER_INIT | ENTER_CONTEXT);
	return alloc_host(out_p, size, 0, HOST_ALLOCATED);
}

EXPORT cuda_result cuMemFreeHost(void *p)
{
	ENTER(cuMemFreeHost, ENTER_INIT | ENTER_CONTEXT);
	stream_wait_all(context_current());
	return drop_host((uintptr_t)p, HOST_ALLOCATED) ? CUDA_ABI_SUCCESS :
							 CUDA_ABI_ERROR_INVALID_VALUE;
}

EXPORT cuda_result cuMemAllocManaged(cuda_ptr *out_ptr, size_t size, unsigned int flags)
{
	cuda_result result;
	void *p;

	ENTER(cuMemAllocManaged, ENTER_INIT | ENTER_CONTEXT);
	/* To be attached to everything or to the host. */
	if (!out_ptr || (flags != 1 && flags != 2))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = alloc_host(&p, size, 0, HOST_MANAGED);
	if (result == CUDA_ABI_SUCCESS)
		*out_ptr = (uintptr_t)p;
	return result;
}

/* ---- questions ---- */

EXPORT cuda_result cuMemGetAddressRange_v2(cuda_ptr *out_base, size_t *out_size, cuda_ptr ptr)
{
	struct range *r;

	ENTER(cuMemGetAddressRange, ENTER_INIT | ENTER_CONTEXT);
	pthread_rwlock_rdlock(&va_lock);
	r = ranges_find(&blocks, ptr);
	if (!r)
		r = ranges_find(&hosts, ptr);
	if (r && out_base)
		*out_base = r->start;
	if (r && out_size)
		*out_size = r->size;
	pthread_rwlock_unlock(&va_lock);
	return r ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_NOT_FOUND;
}

/* Needs va_lock. */
static cuda_result attribute_of(void *out, cuda_pointer_attribute attribute, cuda_ptr ptr)
{
	struct range *block = ranges_find(&blocks, ptr), *host = ranges_find(&hosts, ptr);
	struct range *mapping = ranges_find(&mappings, ptr);
	struct range *whole = block ? block : host ? host : mapping;
	const struct host_range *h = host ? host->item : NULL;
	const struct mapping *m = mapping ? mapping->item : NULL;
	bool vmm = !block && m && m->handle;

	if (!whole)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CUDA_ABI_POINTER_ATTRIBUTE_CONTEXT:
		*(cuda_context *)out =
			block ? (cuda_context)((struct block *)block->item)->context : NULL;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)out = h && h->kind != HOST_MANAGED ? CUDA_ABI_MEMORYTYPE_HOST :
								      CUDA_ABI_MEMORYTYPE_DEVICE;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(cuda_ptr *)out = ptr;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_HOST_POINTER:
		if (!h)
			return CUDA_ABI_ERROR_INVALID_VALUE;
		*(cuda_ptr *)out = ptr;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)out = block ? ((struct block *)block->item)->id :
					     h	   ? h->id :
						     m->phys->id;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_IS_MANAGED:
		*(int *)out = h && h->kind == HOST_MANAGED;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)out = 0;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(int *)out = block != NULL;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(cuda_ptr *)out = whole->start;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)out = whole->size;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_MAPPED:
		*(int *)out = 1;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)out = vmm ? m->phys->prop.handle_types : 0;
		return CUDA_ABI_SUCCESS;
	case CUDA_ABI_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(int *)out = m ? m->access : CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE;
		return CUDA_ABI_SUCCESS;
	default:
		return CUDA_ABI_ERROR_NOT_SUPPORTED;
	}
}

EXPORT cuda_result cuPointerGetAttribute(void *out_value, cuda_pointer_attribute attribute,
					 cuda_ptr ptr)
{
	cuda_result result;

	ENTER(cuPointerGetAttribute, ENTER_INIT | ENTER_CONTEXT);
	if (!out_value)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_rdlock(&va_lock);
	result = attribute_of(out_value, attribute, ptr);
	pthread_rwlock_unlock(&va_lock);
	return result;
}

/* Unlike the other, this one leaves zeros for an address that it does not know. */
EXPORT cuda_result cuPointerGetAttributes(unsigned int n, cuda_pointer_attribute *attributes,
					  void **data, cuda_ptr ptr)
{
	unsigned int i;

	ENTER(cuPointerGetAttributes, ENTER_INIT | ENTER_CONTEXT);
	if (!n || !attributes || !data)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_rdlock(&va_lock);
	for (i = 0; i < n; i++) {
		if (attribute_of(data[i], attributes[i], ptr) == CUDA_ABI_SUCCESS)
			continue;
		switch (attributes[i]) {
		case CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE:
		case CUDA_ABI_POINTER_ATTRIBUTE_IS_MANAGED:
		case CUDA_ABI_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		case CUDA_ABI_POINTER_ATTRIBUTE_MAPPED:
		case CUDA_ABI_POINTER_ATTRIBUTE_ACCESS_FLAGS:
			*(int *)data[i] = 0;
			break;
		case CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
			*(int *)data[i] = -2;
			break;
		default:
			*(uint64_t *)data[i] = 0;
		}
	}
	pthread_rwlock_unlock(&va_lock);
	return CUDA_ABI_SUCCESS;
}
