// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The functions that tell about memory, and those that cannot be had for ours.
 *
 * HONEST NUMBERS. A program sizes its caches by what cuMemGetInfo calls free. The card's own number would make each of several
 * programs take what the others have; so the total is what this tenant may have, and free is that without what it
 * has, whether the others' share is in the card just now or not. Never more than the card has.
 *
 * ABOUT A POINTER of ours we answer by ourselves: the driver knows chunks, which come and go.
 *
 * REFUSED, with CUDA_ERROR_NOT_SUPPORTED: whatever would hand a chunk to somebody whom vramd cannot ask to let it go:
 * cuIpcGetMemHandle, cuMemRetainAllocationHandle, cuMemGetHandleForAddressRange (dma-buf), cuMemPoolExportPointer; and
 * with CUDA_ERROR_INVALID_VALUE, as for any memory of cuMemAlloc, mapping functions upon ours.
 */
#include <string.h>

#include "libclient/cudashim/context.h"
#include "libclient/cudashim/memory.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/tally.h"
#include "libclient/cudashim/turn.h"

cuda_result cuMemGetInfo_v2(size_t *out_free, size_t *out_total)
{
	cuda_result result = REAL(cuMemGetInfo_v2)(out_free, out_total);
	struct turn_room room;
	uint64_t used;

	if (result != CUDA_ABI_SUCCESS || shim_passes() || turn_room(-1, &room) < 0)
		return result;
	used = room.used_bytes + tally_bytes();
	if (out_total && *out_total > room.limit_bytes)
		*out_total = room.limit_bytes;
	/* The driver may free less than that at this moment: what others have there makes room for us. */
	if (out_free)
		*out_free = used < room.limit_bytes ? room.limit_bytes - used : 0;
	if (out_free && out_total && *out_free > *out_total)
		*out_free = *out_total;
	return result;
}

cuda_result cuDeviceTotalMem_v2(size_t *out_bytes, cuda_device device)
{
	cuda_result result = REAL(cuDeviceTotalMem_v2)(out_bytes, device);
	struct turn_room room;

	if (result == CUDA_ABI_SUCCESS && !shim_passes() && turn_room(device, &room) == 0 &&
	    *out_bytes > room.limit_bytes)
		*out_bytes = room.limit_bytes;
	return result;
}

cuda_result cuMemGetAddressRange_v2(cuda_ptr *out_base, size_t *out_size, cuda_ptr ptr)
{
	struct memory_info info;

	if (shim_passes() || !memory_find(ptr, &info))
		return REAL(cuMemGetAddressRange_v2)(out_base, out_size, ptr);
	if (out_base)
		*out_base = info.base;
	if (out_size)
		*out_size = info.size;
	return CUDA_ABI_SUCCESS;
}

/* ---- attributes of a pointer ----------------------------------------------------------- */

/* Of those that only answer with no: */
enum {
	ATTRIBUTE_SYNC_MEMOPS = 6,
	ATTRIBUTE_GPU_DIRECT_RDMA = 15,
	ATTRIBUTE_MEMPOOL = 17,
	ATTRIBUTE_MAPPING_SIZE = 18,
	ATTRIBUTE_MAPPING_BASE = 19,
	ATTRIBUTE_MEMORY_BLOCK = 20,
};

#define PUT(out, type, value)                     \
	do {                                      \
		type put_ = (type)(value);        \
		memcpy(out, &put_, sizeof(put_)); \
		return CUDA_ABI_SUCCESS;          \
	} while (0)

static cuda_result attribute_of(const struct memory_info *info, cuda_ptr ptr, void *out,
				cuda_pointer_attribute attribute)
{
	if (!out)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CUDA_ABI_POINTER_ATTRIBUTE_CONTEXT:
		/* From a pool: memory of the device, of no context. */
		PUT(out, cuda_context, info->async ? NULL : info->context);
	case CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE:
		PUT(out, unsigned int, CUDA_ABI_MEMORYTYPE_DEVICE);
	case CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_POINTER:
		PUT(out, cuda_ptr, ptr);
	case CUDA_ABI_POINTER_ATTRIBUTE_BUFFER_ID:
		/* Far from the driver's own, which count from 1. */
		PUT(out, unsigned long long, info->id + (1ull << 62));
	case CUDA_ABI_POINTER_ATTRIBUTE_IS_MANAGED:
	case CUDA_ABI_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case ATTRIBUTE_SYNC_MEMOPS:
	case ATTRIBUTE_GPU_DIRECT_RDMA:
		/* A bool of the driver's, which may be one byte: one is written, as it does. */
		PUT(out, unsigned char, 0);
	case CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		PUT(out, int, turn_device());
	case CUDA_ABI_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case ATTRIBUTE_MAPPING_BASE:
		PUT(out, cuda_ptr, info->base);
	case CUDA_ABI_POINTER_ATTRIBUTE_RANGE_SIZE:
	case ATTRIBUTE_MAPPING_SIZE:
		PUT(out, size_t, info->size);
	case CUDA_ABI_POINTER_ATTRIBUTE_MAPPED:
		PUT(out, unsigned char, 1);
	case CUDA_ABI_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		PUT(out, uint64_t, CUDA_ABI_MEM_HANDLE_TYPE_NONE);
	case CUDA_ABI_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		PUT(out, int, CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE);
	case ATTRIBUTE_MEMPOOL:
		PUT(out, void *, NULL);
	case ATTRIBUTE_MEMORY_BLOCK:
		PUT(out, uint64_t, info->id);
	default:
		/* The host's pointer, tokens for peers: not for memory of the device. */
		return CUDA_ABI_ERROR_INVALID_VALUE;
	}
}

cuda_result cuPointerGetAttribute(void *out, cuda_pointer_attribute attribute, cuda_ptr ptr)
{
	struct memory_info info;

	if (shim_passes() || !memory_find(ptr, &info))
		return REAL(cuPointerGetAttribute)(out, attribute, ptr);
	return attribute_of(&info, ptr, out, attribute);
}

/* Unlike the single question, this one succeeds with NULL for what does not apply. */
cuda_result cuPointerGetAttributes(unsigned int n, cuda_pointer_attribute *attributes, void **out,
				   cuda_ptr ptr)
{
	struct memory_info info;

	if (shim_passes() || !attributes || !out || !memory_find(ptr, &info))
		return REAL(cuPointerGetAttributes)(n, attributes, out, ptr);
	for (unsigned int i = 0; i < n; i++) {
		if (!out[i])
			return CUDA_ABI_ERROR_INVALID_VALUE;
		if (attributes[i] == CUDA_ABI_POINTER_ATTRIBUTE_HOST_POINTER)
			memset(out[i], 0, sizeof(void *));
		else
			attribute_of(&info, ptr, out[i], attributes[i]);
	}
	return CUDA_ABI_SUCCESS;
}

/* ---- refused ---------------------------------------------------------------------------- */

static bool is_ours(cuda_ptr ptr)
{
	struct memory_info info;

	return !shim_passes() && memory_find(ptr, &info);
}

cuda_result cuIpcGetMemHandle(void *out_handle, cuda_ptr ptr)
{
	return is_ours(ptr) ? CUDA_ABI_ERROR_NOT_SUPPORTED :
			      REAL(cuIpcGetMemHandle)(out_handle, ptr);
}

cuda_result cuMemRetainAllocationHandle(cuda_mem *out_mem, void *address)
{
	return is_ours((uintptr_t)address) ? CUDA_ABI_ERROR_NOT_SUPPORTED :
					     REAL(cuMemRetainAllocationHandle)(out_mem, address);
}

cuda_result cuMemGetHandleForAddressRange(void *out_handle, cuda_ptr ptr, size_t size, int type,
					  unsigned long long flags)
{
	return is_ours(ptr) ?
		       CUDA_ABI_ERROR_NOT_SUPPORTED :
		       REAL(cuMemGetHandleForAddressRange)(out_handle, ptr, size, type, flags);
}

cuda_result cuMemPoolExportPointer(void *out_data, cuda_ptr ptr)
{
	return is_ours(ptr) ? CUDA_ABI_ERROR_NOT_SUPPORTED :
			      REAL(cuMemPoolExportPointer)(out_data, ptr);
}

static bool touches_ours(cuda_ptr ptr, size_t size)
{
	return !shim_passes() && memory_touches(ptr, size);
}

cuda_result cuMemUnmap(cuda_ptr ptr, size_t size)
{
	return touches_ours(ptr, size) ? CUDA_ABI_ERROR_INVALID_VALUE : REAL(cuMemUnmap)(ptr, size);
}

cuda_result cuMemAddressFree(cuda_ptr ptr, size_t size)
{
	return touches_ours(ptr, size) ? CUDA_ABI_ERROR_INVALID_VALUE :
					 REAL(cuMemAddressFree)(ptr, size);
}

cuda_result cuMemSetAccess(cuda_ptr ptr, size_t size, const struct cuda_mem_access *access,
			   size_t n)
{
	return touches_ours(ptr, size) ? CUDA_ABI_ERROR_INVALID_VALUE :
					 REAL(cuMemSetAccess)(ptr, size, access, n);
}

/* ---- values that a stream writes, or waits for -------------------------------------------- */

/*
 * A write into memory of ours is work like any other, and who waits for a value there reads it. One in memory of the
 * host's is how programs signal each other; it is left alone, because who waits for it may be what the gate's closer
 * waits for.
 */
#define GATED_IF(ours, call)                 \
	{                                    \
		cuda_result result;          \
                                             \
		if (!(ours))                 \
			return call;         \
		if (!gate_enter(&shim_gate)) \
			return SHIM_LOST;    \
		result = call;               \
		gate_leave();                \
		return result;               \
	}

#define VALUE(name, type)                                                                  \
	cuda_result name(cuda_stream stream, cuda_ptr ptr, type value, unsigned int flags) \
		GATED_IF(is_ours(ptr), REAL(name)(stream, ptr, value, flags))
#define VALUES(name, type)       \
	VALUE(name, type)        \
	VALUE(name##_v2, type)   \
	VALUE(name##_ptsz, type) \
	VALUE(name##_v2_ptsz, type)
VALUES(cuStreamWriteValue32, uint32_t)
VALUES(cuStreamWriteValue64, uint64_t)
VALUES(cuStreamWaitValue32, uint32_t)
VALUES(cuStreamWaitValue64, uint64_t)

/* CUstreamBatchMemOpParams. The address is the second word of some operations, the third of others; a number that
 * looks like one of ours does no harm. */
#define BATCH_MAX 256u
struct batch_op {
	uint64_t words[6];
};

static bool batch_is_ours(unsigned int n, const void *ops)
{
	const struct batch_op *op = ops;

	/* More than the driver takes is for it to refuse. */
	for (unsigned int i = 0; op && n <= BATCH_MAX && i < n; i++)
		if (is_ours(op[i].words[1]) || is_ours(op[i].words[2]))
			return true;
	return false;
}

#define BATCH(name)                                                                         \
	cuda_result name(cuda_stream stream, unsigned int n, void *ops, unsigned int flags) \
		GATED_IF(batch_is_ours(n, ops), REAL(name)(stream, n, ops, flags))
BATCH(cuStreamBatchMemOp)
BATCH(cuStreamBatchMemOp_ptsz)
BATCH(cuStreamBatchMemOp_v2)
BATCH(cuStreamBatchMemOp_v2_ptsz)
