// SPDX-License-Identifier: GPL-2.0-only
#include "tests/cuda-standin/space.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct ranges reservations, mappings, blocks, hosts;
pthread_rwlock_t va_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

uint64_t space_next_id(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

void *space_access(cuda_ptr ptr, size_t *size, bool write)
{
	struct range *r = ranges_find(&mappings, ptr);
	unsigned int need = write ? CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE :
				    CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ;
	const struct mapping *m;
	size_t offset, left;

	if (!r) {
		const struct host_range *h;

		r = ranges_find(&hosts, ptr);
		h = r ? r->item : NULL;
		if (!h || (write && h->flags & CUDA_ABI_MEMHOSTREGISTER_READ_ONLY &&
			   h->kind == HOST_REGISTERED))
			return NULL;
		left = r->start + r->size - ptr;
		*size = *size < left ? *size : left;
		return (void *)(uintptr_t)ptr;
	}
	m = r->item;
	if ((m->access & need) != need)
		return NULL;
	offset = (ptr - r->start) % STANDIN_PAGE;
	left = STANDIN_PAGE - offset;
	*size = *size < left ? *size : left;
	return (char *)device_page(m->phys->pages[(ptr - r->start) / STANDIN_PAGE]) + offset;
}

static bool inside(const struct range *r, uint64_t start, uint64_t size)
{
	return r && size <= r->start + r->size - start;
}

bool space_knows(cuda_ptr ptr, size_t size)
{
	bool known;

	pthread_rwlock_rdlock(&va_lock);
	known = inside(ranges_find(&reservations, ptr), ptr, size) ||
		inside(ranges_find(&blocks, ptr), ptr, size) ||
		inside(ranges_find(&hosts, ptr), ptr, size);
	pthread_rwlock_unlock(&va_lock);
	return known;
}

bool space_is_pinned(const void *p, size_t size)
{
	bool pinned;

	pthread_rwlock_rdlock(&va_lock);
	pinned = inside(ranges_find(&hosts, (uintptr_t)p), (uintptr_t)p, size);
	pthread_rwlock_unlock(&va_lock);
	return pinned;
}

cuda_ptr space_reserve(size_t size, size_t alignment, cuda_ptr hint)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *p, *start;

	if (hint && hint % alignment == 0) {
		p = mmap((void *)(uintptr_t)hint, size, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1,
			 0);
		if (p == (void *)(uintptr_t)hint)
			return hint;
		if (p != MAP_FAILED)
			munmap(p, size);
	}
	p = mmap(NULL, size + alignment, PROT_NONE, flags, -1, 0);
	if (p == MAP_FAILED)
		return 0;
	start = (char *)(((uintptr_t)p + alignment - 1) / alignment * alignment);
	if (start > p)
		munmap(p, start - p);
	if (start < p + alignment)
		munmap(start + size, p + alignment - start);
	madvise(start, size, MADV_DONTFORK);
	return (uintptr_t)start;
}

/* Not for use, PROT_NONE, but to hold the open file: its locks now last as long as this mapping. */
void space_put(cuda_ptr ptr, const struct phys *phys)
{
	unsigned int i, n;

	for (i = 0; i < phys->n_pages; i += n) {
		void *p = (void *)(uintptr_t)(ptr + i * STANDIN_PAGE);

		for (n = 1; i + n < phys->n_pages && phys->pages[i + n] == phys->pages[i] + n; n++)
			;
		if (mmap(p, n * STANDIN_PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, phys->fd,
			 STANDIN_DATA + phys->pages[i] * STANDIN_PAGE) != p)
			abort();
		madvise(p, n * STANDIN_PAGE, MADV_DONTFORK);
	}
}

void space_clear(cuda_ptr ptr, size_t size)
{
	void *p = (void *)(uintptr_t)ptr;

	if (mmap(p, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) != p)
		abort();
	madvise(p, size, MADV_DONTFORK);
}
