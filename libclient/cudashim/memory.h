/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The program's allocations that are vramd's buffers.
 *
 * A table by address, which is asked about every pointer that is freed or looked at. What is in it belongs to the program
 * until it frees it, or until the context ends in which it was allocated.
 *
 * FREEING waits for the device, as cuMemFree does. What is freed in a stream's order (cuMemFreeAsync), or during a capture,
 * when nothing may be waited for, is put aside with an event, and freed when that has passed: at the next call that
 * allocates or frees.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_MEMORY_H
#define VRAM_LIBCLIENT_CUDASHIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cuda_abi.h"

struct memory_info {
	cuda_ptr base;
	size_t size; /* as it was asked for */
	uint64_t id; /* never used again */
	cuda_context context;
	bool async; /* from a pool */
};

enum memory_answer {
	MEMORY_OURS,
	MEMORY_REFUSED, /* *out_result says how */
	MEMORY_DRIVER,	/* not for us: the driver's */
};

/* An allocation in the current context. */
enum memory_answer memory_new(size_t size, bool async, cuda_ptr *out_ptr, cuda_result *out_result);

/* The allocation that ptr lies in. */
bool memory_find(cuda_ptr ptr, struct memory_info *out);
/* Whether any byte of the range is ours. */
bool memory_touches(cuda_ptr ptr, size_t size);

/* base: the start of an allocation. Return: SUCCESS, or INVALID_VALUE if there is none. */
cuda_result memory_free(cuda_ptr base);
/* stream: behind whose work; as cuMemFreeAsync. */
cuda_result memory_free_behind(cuda_ptr base, cuda_stream stream);
void memory_free_all_of(cuda_context context);

#endif
