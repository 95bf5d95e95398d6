/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's addresses in this process: what is reserved, what is mapped where and how it may be
 * used, and the host's memory that the device knows.
 *
 * An address of the device is never an address that the processor can use: reservations are
 * PROT_NONE here. Streams reach the memory through space_access(), which checks every access.
 *
 * LOCKING. va_lock is held for reading while work touches memory, one slice at a time, and for
 * writing while the tables change. So an unmap waits for a slice and no longer: a copy that is
 * still running then meets an address that is not mapped any more, as on a real card.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_SPACE_H
#define VRAM_TESTS_CUDA_STANDIN_SPACE_H

#include <pthread.h>
#include <stdbool.h>

#include "tests/cuda-standin/context.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/ranges.h"

extern pthread_rwlock_t va_lock;

/* All under va_lock. The items: nothing, struct mapping, struct block, struct host_range. */
extern struct ranges reservations, mappings, blocks, hosts;

struct mapping {
	struct phys *phys;
	cuda_mem handle;     /* 0: made by cuMemAlloc, so that the calls for handles refuse it */
	unsigned int access; /* CUDA_ABI_MEM_ACCESS_FLAGS_* */
};

/* What cuMemAlloc gave out: pages of its own, or a part of a slab. */
struct block {
	struct context *context;
	struct slab *slab;
	uint64_t id;
};

enum host_kind {
	HOST_REGISTERED,
	HOST_ALLOCATED,
	HOST_MANAGED
};

struct host_range {
	enum host_kind kind;
	unsigned int flags;
	uint64_t id;
};

/*
 * One stretch of an access by the device; needs va_lock for reading. Return: where the memory is,
 * or NULL where the device would fault. *size is cut to what lies together there.
 */
void *space_access(cuda_ptr ptr, size_t *size, bool write);

/* These take va_lock themselves. */

/* Whether the driver would take this address as one of the device at all. */
bool space_knows(cuda_ptr ptr, size_t size);
/* Whether the device reaches this memory of the host by itself: registered, or made by the driver. */
bool space_is_pinned(const void *p, size_t size);

/* A stretch of addresses without memory, aligned. hint: 0, or where it should be. Return: 0 for none. */
cuda_ptr space_reserve(size_t size, size_t alignment, cuda_ptr hint);
/* Puts memory there, or takes it away. */
void space_put(cuda_ptr ptr, const struct phys *phys);
void space_clear(cuda_ptr ptr, size_t size);

/* Everything of cuMemAlloc that belongs to the context. */
void space_free_context(struct context *context);

uint64_t space_next_id(void);

#endif
