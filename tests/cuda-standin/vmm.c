// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory without addresses, addresses without memory, and the two put together.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/space.h"

/* By handle, a range of one; the item is a struct phys, there while a handle or a mapping is. */
static struct ranges handles;

static bool aligned(uint64_t x)
{
	return x % STANDIN_PAGE == 0;
}

static cuda_result check_prop(const struct cuda_mem_prop *prop)
{
	static const struct cuda_mem_prop zero;

	if (!prop || prop->type != CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED || prop->win32_meta ||
	    memcmp(&prop->flags, &zero.flags, sizeof(prop->flags)) != 0 ||
	    prop->location.type != CUDA_ABI_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (prop->location.id != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	if (prop->handle_types & ~CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ABI_ERROR_NOT_SUPPORTED;
	return CUDA_ABI_SUCCESS;
}

/* Needs va_lock. */
static struct phys *find_handle(cuda_mem mem)
{
	struct range *r = ranges_find(&handles, mem);
	struct phys *phys = r ? r->item : NULL;

	return phys && phys->handles ? phys : NULL;
}

/* Needs va_lock for writing. */
static cuda_mem add_handle(struct phys *phys)
{
	cuda_mem mem = 0x5100000000000000ull + space_next_id() * 16;

	phys->handles = 1;
	ranges_add(&handles, mem, 1, phys);
	return mem;
}

/* Needs va_lock for writing. */
static void drop_if_unused(struct phys *phys, cuda_mem mem)
{
	if (phys->handles || phys->mappings)
		return;
	ranges_remove(&handles, ranges_find(&handles, mem));
	device_release(phys);
}

EXPORT cuda_result cuMemGetAllocationGranularity(size_t *out_bytes,
						 const struct cuda_mem_prop *prop,
						 cuda_granularity_flags flags)
{
	cuda_result result;

	ENTER(cuMemGetAllocationGranularity, ENTER_INIT | ENTER_DEVICE);
	if (!out_bytes || (flags != CUDA_ABI_MEM_ALLOC_GRANULARITY_MINIMUM &&
			   flags != CUDA_ABI_MEM_ALLOC_GRANULARITY_RECOMMENDED))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = check_prop(prop);
	if (result == CUDA_ABI_SUCCESS)
		*out_bytes = STANDIN_PAGE;
	return result;
}

EXPORT cuda_result cuMemCreate(cuda_mem *out_mem, size_t size, const struct cuda_mem_prop *prop,
			       unsigned long long flags)
{
	struct phys *phys;
	cuda_result result;

	ENTER(cuMemCreate, ENTER_INIT | ENTER_DEVICE);
	if (!out_mem || !size || !aligned(size) || flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = check_prop(prop);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (size / STANDIN_PAGE > STANDIN_PAGES)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	result = device_alloc(&phys, size / STANDIN_PAGE, prop);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	pthread_rwlock_wrlock(&va_lock);
	*out_mem = add_handle(phys);
	pthread_rwlock_unlock(&va_lock);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemRelease(cuda_mem mem)
{
	struct phys *phys;

	ENTER(cuMemRelease, ENTER_INIT | ENTER_DEVICE);
	pthread_rwlock_wrlock(&va_lock);
	phys = find_handle(mem);
	if (phys) {
		phys->handles--;
		drop_if_unused(phys, mem);
	}
	pthread_rwlock_unlock(&va_lock);
	return phys ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_VALUE;
}

EXPORT cuda_result cuMemExportToShareableHandle(void *out_fd, cuda_mem mem, cuda_handle_type type,
						unsigned long long flags)
{
	cuda_result result = CUDA_ABI_ERROR_INVALID_VALUE;
	struct phys *phys;

	ENTER(cuMemExportToShareableHandle, ENTER_INIT | ENTER_DEVICE);
	if (!out_fd || flags || type != CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_rdlock(&va_lock);
	phys = find_handle(mem);
	if (phys && phys->prop.handle_types & type) {
		int fd = dup(phys->fd);

		if (fd >= 0)
			memcpy(out_fd, &fd, sizeof(fd));
		result = fd < 0 ? CUDA_ABI_ERROR_OPERATING_SYSTEM : CUDA_ABI_SUCCESS;
	}
	pthread_rwlock_unlock(&va_lock);
	return result;
}

EXPORT cuda_result cuMemImportFromShareableHandle(cuda_mem *out_mem, void *fd,
						  cuda_handle_type type)
{
	struct phys *phys;
	cuda_result result;

	ENTER(cuMemImportFromShareableHandle, ENTER_INIT | ENTER_DEVICE);
	if (!out_mem || type != CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = device_import(&phys, (intptr_t)fd);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	pthread_rwlock_wrlock(&va_lock);
	*out_mem = add_handle(phys);
	pthread_rwlock_unlock(&va_lock);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemGetAllocationPropertiesFromHandle(struct cuda_mem_prop *out_prop,
							  cuda_mem mem)
{
	struct phys *phys;

	ENTER(cuMemGetAllocationPropertiesFromHandle, ENTER_INIT | ENTER_DEVICE);
	pthread_rwlock_rdlock(&va_lock);
	phys = find_handle(mem);
	if (phys && out_prop)
		*out_prop = phys->prop;
	pthread_rwlock_unlock(&va_lock);
	return phys && out_prop ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_VALUE;
}

EXPORT cuda_result cuMemRetainAllocationHandle(cuda_mem *out_mem, void *address)
{
	cuda_result result = CUDA_ABI_ERROR_INVALID_VALUE;
	struct mapping *m;
	struct range *r;

	ENTER(cuMemRetainAllocationHandle, ENTER_INIT | ENTER_DEVICE);
	if (!out_mem)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_wrlock(&va_lock);
	r = ranges_find(&mappings, (uintptr_t)address);
	m = r ? r->item : NULL;
	if (m && m->handle) {
		m->phys->handles++;
		*out_mem = m->handle;
		result = CUDA_ABI_SUCCESS;
	}
	pthread_rwlock_unlock(&va_lock);
	return result;
}

/* ---- addresses ---- */

EXPORT cuda_result cuMemAddressReserve(cuda_ptr *out_ptr, size_t size, size_t alignment,
				       cuda_ptr hint, unsigned long long flags)
{
	cuda_ptr ptr;

	ENTER(cuMemAddressReserve, ENTER_INIT | ENTER_DEVICE);
	if (!out_ptr || !size || !aligned(size) || (alignment & (alignment - 1)) || hint % 4096 ||
	    flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (alignment < STANDIN_PAGE)
		alignment = STANDIN_PAGE;
	/* More than the processor has addresses. */
	if (size > 1ull << 46 || alignment > 1ull << 40)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	pthread_rwlock_wrlock(&va_lock);
	ptr = space_reserve(size, alignment, hint);
	if (ptr)
		ranges_add(&reservations, ptr, size, NULL);
	pthread_rwlock_unlock(&va_lock);
	if (!ptr)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	*out_ptr = ptr;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemAddressFree(cuda_ptr ptr, size_t size)
{
	cuda_result result = CUDA_ABI_ERROR_INVALID_VALUE;
	struct range *r;

	ENTER(cuMemAddressFree, ENTER_INIT | ENTER_DEVICE);
	pthread_rwlock_wrlock(&va_lock);
	r = ranges_find(&reservations, ptr);
	if (r && r->start == ptr && r->size == size && !ranges_overlap(&mappings, ptr, size)) {
		ranges_remove(&reservations, r);
		munmap((void *)(uintptr_t)ptr, size);
		result = CUDA_ABI_SUCCESS;
	}
	pthread_rwlock_unlock(&va_lock);
	return result;
}

EXPORT cuda_result cuMemMap(cuda_ptr ptr, size_t size, size_t offset, cuda_mem mem,
			    unsigned long long flags)
{
	cuda_result result = CUDA_ABI_ERROR_INVALID_VALUE;
	struct mapping *m;
	struct phys *phys;
	struct range *r;

	ENTER(cuMemMap, ENTER_INIT | ENTER_DEVICE);
	if (!size || !aligned(size) || !aligned(ptr) || offset || flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_rwlock_wrlock(&va_lock);
	phys = find_handle(mem);
	r = ranges_find(&reservations, ptr);
	if (phys && size == phys->n_pages * STANDIN_PAGE && r && size <= r->start + r->size - ptr &&
	    !ranges_overlap(&mappings, ptr, size)) {
		space_put(ptr, phys);
		m = calloc(1, sizeof(*m));
		m->phys = phys;
		m->handle = mem;
		phys->mappings++;
		ranges_add(&mappings, ptr, size, m);
		result = CUDA_ABI_SUCCESS;
	}
	pthread_rwlock_unlock(&va_lock);
	return result;
}

/*
 * Return: the first of the mappings that make up the range, each whole and none from cuMemAlloc;
 * NULL if it is no such range. Needs va_lock.
 */
static struct range *whole_mappings(cuda_ptr ptr, size_t size)
{
	struct range *first = ranges_find(&mappings, ptr), *r;

	if (!first || first->start != ptr || !size)
		return NULL;
	for (r = first; r && ((struct mapping *)r->item)->handle; r = ranges_adjacent(&mappings, r))
		if (r->start + r->size - ptr >= size)
			return r->start + r->size - ptr == size ? first : NULL;
	return NULL;
}

EXPORT cuda_result cuMemUnmap(cuda_ptr ptr, size_t size)
{
	struct range *r;
	bool found;

	ENTER(cuMemUnmap, ENTER_INIT | ENTER_DEVICE);
	pthread_rwlock_wrlock(&va_lock);
	r = whole_mappings(ptr, size);
	found = r;
	if (found)
		space_clear(ptr, size);
	while (r && r->start < ptr + size) {
		struct mapping *m = r->item;
		uint64_t next = r->start + r->size;

		ranges_remove(&mappings, r);
		m->phys->mappings--;
		drop_if_unused(m->phys, m->handle);
		free(m);
		r = ranges_find(&mappings, next);
	}
	pthread_rwlock_unlock(&va_lock);
	if (!found)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	device_spend(device_image()->unmap_ns, size / STANDIN_PAGE);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemSetAccess(cuda_ptr ptr, size_t size, const struct cuda_mem_access *access,
				  size_t n)
{
	struct range *r;
	bool found;
	size_t i;

	ENTER(cuMemSetAccess, ENTER_INIT | ENTER_DEVICE);
	if (!access || !n)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	for (i = 0; i < n; i++) {
		if (access[i].location.type != CUDA_ABI_MEM_LOCATION_TYPE_DEVICE ||
		    (access[i].flags != CUDA_ABI_MEM_ACCESS_FLAGS_PROT_NONE &&
		     access[i].flags != CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ &&
		     access[i].flags != CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE))
			return CUDA_ABI_ERROR_INVALID_VALUE;
		if (access[i].location.id != 0)
			return CUDA_ABI_ERROR_INVALID_DEVICE;
	}
	pthread_rwlock_wrlock(&va_lock);
	r = whole_mappings(ptr, size);
	found = r;
	for (; r && r->start < ptr + size; r = ranges_adjacent(&mappings, r))
		((struct mapping *)r->item)->access = access[n - 1].flags;
	pthread_rwlock_unlock(&va_lock);
	if (!found)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	device_spend(device_image()->set_access_ns, size / STANDIN_PAGE);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuMemGetAccess(unsigned long long *out_flags,
				  const struct cuda_mem_location *location, cuda_ptr ptr)
{
	struct range *r;

	ENTER(cuMemGetAccess, ENTER_INIT | ENTER_DEVICE);
	if (!out_flags || !location || location->type != CUDA_ABI_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (location->id != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	pthread_rwlock_rdlock(&va_lock);
	r = ranges_find(&mappings, ptr);
	if (r)
		*out_flags = ((struct mapping *)r->item)->access;
	pthread_rwlock_unlock(&va_lock);
	return r ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_VALUE;
}
