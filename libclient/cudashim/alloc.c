// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The functions that allocate and free.
 *
 * POOLS. An allocation from a pool is ours only where nothing could tell: from the device's own pool, or from one that
 * the program made on vramd's card with nothing to export. It is there at once, which is within what a stream's order allows;
 * freeing waits for the stream (memory.h). In a stream that is being captured such a call becomes a node of the graph: the
 * driver's.
 */
#include <pthread.h>
#include <stdlib.h>

#include "libclient/cudashim/capture.h"
#include "libclient/cudashim/context.h"
#include "libclient/cudashim/memory.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/tally.h"

/* CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT; cuMemAllocPitch pitches no finer than PITCH. */
#define ATTRIBUTE_PITCH 51
#define PITCH		512u

static cuda_result counted(cuda_result result, const cuda_ptr *ptr, size_t size)
{
	if (result == CUDA_ABI_SUCCESS)
		tally_add(TALLY_ADDRESS, *ptr, size);
	return result;
}

/* What the driver says first: that an argument is wrong, or that there is no context. */
static bool is_plain(const void *out)
{
	return shim_passes() || !out || !real_path();
}

cuda_result cuMemAlloc_v2(cuda_ptr *out_ptr, size_t size)
{
	cuda_result result;

	if (is_plain(out_ptr))
		return REAL(cuMemAlloc_v2)(out_ptr, size);
	switch (memory_new(size, false, out_ptr, &result)) {
	case MEMORY_OURS:
		return CUDA_ABI_SUCCESS;
	case MEMORY_REFUSED:
		return result;
	default:
		return counted(REAL(cuMemAlloc_v2)(out_ptr, size), out_ptr, size);
	}
}

/* The distance of rows. 0: the driver decides about this call. */
static size_t pitch_of(size_t width, size_t height, unsigned int element)
{
	cuda_result (*attribute)(int *, int, cuda_device) = real_find("cuDeviceGetAttribute");
	size_t pitch = PITCH;
	int value;

	if (element != 4 && element != 8 && element != 16)
		return 0;
	if (attribute && attribute(&value, ATTRIBUTE_PITCH, context_device()) == CUDA_ABI_SUCCESS &&
	    value > 0 && (size_t)value > pitch)
		pitch = (size_t)value;
	if (!width || !height || width > SIZE_MAX - pitch)
		return 0;
	pitch = (width + pitch - 1) / pitch * pitch;
	return pitch > SIZE_MAX / height ? 0 : pitch;
}

cuda_result cuMemAllocPitch_v2(cuda_ptr *out_ptr, size_t *out_pitch, size_t width, size_t height,
			       unsigned int element)
{
	size_t pitch = is_plain(out_ptr) || !out_pitch ? 0 : pitch_of(width, height, element);
	cuda_result result;

	switch (pitch ? memory_new(pitch * height, false, out_ptr, &result) : MEMORY_DRIVER) {
	case MEMORY_OURS:
		*out_pitch = pitch;
		return CUDA_ABI_SUCCESS;
	case MEMORY_REFUSED:
		return result;
	default:
		result = REAL(cuMemAllocPitch_v2)(out_ptr, out_pitch, width, height, element);
		return pitch ? counted(result, out_ptr, pitch * height) : result;
	}
}

/* Both sides address managed memory, and it may be larger than the card: the driver pages it by itself. */
cuda_result cuMemAllocManaged(cuda_ptr *out_ptr, size_t size, unsigned int flags)
{
	cuda_result result = REAL(cuMemAllocManaged)(out_ptr, size, flags);

	return is_plain(out_ptr) ? result : counted(result, out_ptr, size);
}

cuda_result cuMemFree_v2(cuda_ptr ptr)
{
	struct memory_info info;

	if (shim_passes())
		return REAL(cuMemFree_v2)(ptr);
	if (memory_find(ptr, &info))
		return memory_free(ptr);
	tally_remove(TALLY_ADDRESS, ptr);
	return REAL(cuMemFree_v2)(ptr);
}

/* ---- in a stream's order -------------------------------------------------------------- */

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static shim_pool *pools;
static size_t n_pools;

cuda_result cuMemPoolCreate(shim_pool *out_pool, const struct shim_pool_props *props)
{
	cuda_result result = REAL(cuMemPoolCreate)(out_pool, props);
	shim_pool *more;

	if (result != CUDA_ABI_SUCCESS || shim_passes() ||
	    props->type != CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED ||
	    props->handle_types != CUDA_ABI_MEM_HANDLE_TYPE_NONE ||
	    props->location.type != CUDA_ABI_MEM_LOCATION_TYPE_DEVICE)
		return result;
	pthread_mutex_lock(&pools_lock);
	/* One that is not remembered is the driver's. */
	more = reallocarray(pools, n_pools + 1, sizeof(*more));
	if (more) {
		pools = more;
		pools[n_pools++] = *out_pool;
	}
	pthread_mutex_unlock(&pools_lock);
	return result;
}

cuda_result cuMemPoolDestroy(shim_pool pool)
{
	pthread_mutex_lock(&pools_lock);
	for (size_t i = 0; i < n_pools; i++)
		if (pools[i] == pool)
			pools[i--] = pools[--n_pools];
	pthread_mutex_unlock(&pools_lock);
	return REAL(cuMemPoolDestroy)(pool);
}

static bool knows_pool(shim_pool pool)
{
	cuda_result (*get_default)(shim_pool *, cuda_device) =
		real_find("cuDeviceGetDefaultMemPool");
	shim_pool standard;
	bool known = false;

	if (get_default && get_default(&standard, context_device()) == CUDA_ABI_SUCCESS &&
	    pool == standard)
		return true;
	pthread_mutex_lock(&pools_lock);
	for (size_t i = 0; i < n_pools; i++)
		known = known || pools[i] == pool;
	pthread_mutex_unlock(&pools_lock);
	return known;
}

/* The default stream of a _ptsz function is the thread's own. */
static cuda_stream stream_of(cuda_stream stream, bool per_thread)
{
	return !stream && per_thread ? CUDA_ABI_STREAM_PER_THREAD : stream;
}

static enum memory_answer new_async(cuda_ptr *out_ptr, size_t size, cuda_stream stream,
				    cuda_result *out_result)
{
	if (is_plain(out_ptr) || size < SHIM_LARGE || capture_has(stream))
		return MEMORY_DRIVER;
	return memory_new(size, true, out_ptr, out_result);
}

#define ALLOC_ASYNC(name, per_thread)                                                       \
	cuda_result name(cuda_ptr *out_ptr, size_t size, cuda_stream stream)                \
	{                                                                                   \
		cuda_result result;                                                         \
                                                                                            \
		switch (new_async(out_ptr, size, stream_of(stream, per_thread), &result)) { \
		case MEMORY_OURS:                                                           \
			return CUDA_ABI_SUCCESS;                                            \
		case MEMORY_REFUSED:                                                        \
			return result;                                                      \
		default:                                                                    \
			result = REAL(name)(out_ptr, size, stream);                         \
			return is_plain(out_ptr) ? result : counted(result, out_ptr, size); \
		}                                                                           \
	}
ALLOC_ASYNC(cuMemAllocAsync, false)
ALLOC_ASYNC(cuMemAllocAsync_ptsz, true)

#define ALLOC_FROM_POOL(name, per_thread)                                                          \
	cuda_result name(cuda_ptr *out_ptr, size_t size, shim_pool pool, cuda_stream stream)       \
	{                                                                                          \
		cuda_result result;                                                                \
                                                                                                   \
		switch (!is_plain(out_ptr) && knows_pool(pool) ?                                   \
				new_async(out_ptr, size, stream_of(stream, per_thread), &result) : \
				MEMORY_DRIVER) {                                                   \
		case MEMORY_OURS:                                                                  \
			return CUDA_ABI_SUCCESS;                                                   \
		case MEMORY_REFUSED:                                                               \
			return result;                                                             \
		default:                                                                           \
			result = REAL(name)(out_ptr, size, pool, stream);                          \
			return is_plain(out_ptr) ? result : counted(result, out_ptr, size);        \
		}                                                                                  \
	}
ALLOC_FROM_POOL(cuMemAllocFromPoolAsync, false)
ALLOC_FROM_POOL(cuMemAllocFromPoolAsync_ptsz, true)

/* Ours: *out_result is the answer. */
static bool free_async(cuda_ptr ptr, cuda_stream stream, cuda_result *out_result)
{
	struct memory_info info;

	if (shim_passes())
		return false;
	if (!memory_find(ptr, &info)) {
		tally_remove(TALLY_ADDRESS, ptr);
		return false;
	}
	/* A graph that frees what is vramd's, once for each launch, cannot be had. */
	if (capture_has(stream))
		*out_result = CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	else if (!info.async)
		*out_result = CUDA_ABI_ERROR_INVALID_VALUE;
	else
		*out_result = memory_free_behind(ptr, stream);
	return true;
}

#define FREE_ASYNC(name, per_thread)                                         \
	cuda_result name(cuda_ptr ptr, cuda_stream stream)                   \
	{                                                                    \
		cuda_result result;                                          \
                                                                             \
		if (free_async(ptr, stream_of(stream, per_thread), &result)) \
			return result;                                       \
		return REAL(name)(ptr, stream);                              \
	}
FREE_ASYNC(cuMemFreeAsync, false)
FREE_ASYNC(cuMemFreeAsync_ptsz, true)

/* ---- memory without addresses, the program's own --------------------------------------- */

cuda_result cuMemCreate(cuda_mem *out_mem, size_t size, const struct cuda_mem_prop *prop,
			unsigned long long flags)
{
	cuda_result result = REAL(cuMemCreate)(out_mem, size, prop, flags);

	if (result == CUDA_ABI_SUCCESS && !shim_passes() &&
	    prop->location.type == CUDA_ABI_MEM_LOCATION_TYPE_DEVICE)
		tally_add(TALLY_HANDLE, *out_mem, size);
	return result;
}

/* Its memory lives on while it is mapped; that is not followed. */
cuda_result cuMemRelease(cuda_mem mem)
{
	if (!shim_passes())
		tally_remove(TALLY_HANDLE, mem);
	return REAL(cuMemRelease)(mem);
}
