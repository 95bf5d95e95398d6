/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The driver's functions with code of ours in front. The rest is in names.h.
 *
 *	SHIM_GATES(X)	X(name, version, n): what gives the device work. Passed on with their n arguments, none of which
 *			is a floating-point number or larger than a register, when the gate lets them through (gate.h).
 *	SHIM_HOOKS(X)	X(name, version, prototype): what this folder has a function for. All return a cuda_result.
 *
 * version: under which cuGetProcAddress knows exactly this form of the function, when it is asked for the name without
 * _v2, _ptsz and the like.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_HOOKS_H
#define VRAM_LIBCLIENT_CUDASHIM_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "common/cuda_abi.h"

typedef struct shim_pool_of_driver *shim_pool;

/* The beginning of CUmemPoolProps. */
struct shim_pool_props {
	int type;
	int handle_types;
	struct cuda_mem_location location;
};

/* clang-format off */
#define SHIM_GATES(X) \
	X(cuFabricCpyBatchAsync, 13050, 4) \
	X(cuFabricCpyBatchAsync_ptsz, 13050, 4) \
	X(cuGraphLaunch, 10000, 2) \
	X(cuGraphLaunch_ptsz, 10000, 2) \
	X(cuLaunch, 2000, 1) \
	X(cuLaunchCooperativeKernel, 9000, 10) \
	X(cuLaunchCooperativeKernelMultiDevice, 9000, 3) \
	X(cuLaunchCooperativeKernel_ptsz, 9000, 10) \
	X(cuLaunchGrid, 2000, 3) \
	X(cuLaunchGridAsync, 2000, 4) \
	X(cuLaunchKernel, 4000, 11) \
	X(cuLaunchKernelEx, 11060, 4) \
	X(cuLaunchKernelEx_ptsz, 11060, 4) \
	X(cuLaunchKernel_ptsz, 7000, 11) \
	X(cuMemBatchDecompressAsync, 12060, 5) \
	X(cuMemBatchDecompressAsync_ptsz, 12060, 5) \
	X(cuMemDiscardAndPrefetchBatchAsync, 13000, 8) \
	X(cuMemDiscardAndPrefetchBatchAsync_ptsz, 13000, 8) \
	X(cuMemDiscardBatchAsync, 13000, 5) \
	X(cuMemDiscardBatchAsync_ptsz, 13000, 5) \
	X(cuMemPrefetchAsync, 8000, 4) \
	X(cuMemPrefetchAsync_ptsz, 8000, 4) \
	X(cuMemPrefetchAsync_v2, 12020, 5) \
	X(cuMemPrefetchAsync_v2_ptsz, 12020, 5) \
	X(cuMemPrefetchBatchAsync, 13000, 8) \
	X(cuMemPrefetchBatchAsync_ptsz, 13000, 8) \
	X(cuMemcpy, 4000, 3) \
	X(cuMemcpy2D, 2000, 1) \
	X(cuMemcpy2DAsync, 2000, 2) \
	X(cuMemcpy2DAsync_v2, 3020, 2) \
	X(cuMemcpy2DAsync_v2_ptsz, 7000, 2) \
	X(cuMemcpy2DUnaligned, 2000, 1) \
	X(cuMemcpy2DUnaligned_v2, 3020, 1) \
	X(cuMemcpy2DUnaligned_v2_ptds, 7000, 1) \
	X(cuMemcpy2D_v2, 3020, 1) \
	X(cuMemcpy2D_v2_ptds, 7000, 1) \
	X(cuMemcpy3D, 2000, 1) \
	X(cuMemcpy3DAsync, 2000, 2) \
	X(cuMemcpy3DAsync_v2, 3020, 2) \
	X(cuMemcpy3DAsync_v2_ptsz, 7000, 2) \
	X(cuMemcpy3DBatchAsync, 12080, 5) \
	X(cuMemcpy3DBatchAsync_ptsz, 12080, 5) \
	X(cuMemcpy3DBatchAsync_v2, 13000, 4) \
	X(cuMemcpy3DBatchAsync_v2_ptsz, 13000, 4) \
	X(cuMemcpy3DPeer, 4000, 1) \
	X(cuMemcpy3DPeerAsync, 4000, 2) \
	X(cuMemcpy3DPeerAsync_ptsz, 7000, 2) \
	X(cuMemcpy3DPeer_ptds, 7000, 1) \
	X(cuMemcpy3DWithAttributesAsync, 13020, 3) \
	X(cuMemcpy3DWithAttributesAsync_ptsz, 13020, 3) \
	X(cuMemcpy3D_v2, 3020, 1) \
	X(cuMemcpy3D_v2_ptds, 7000, 1) \
	X(cuMemcpyAsync, 4000, 4) \
	X(cuMemcpyAsync_ptsz, 7000, 4) \
	X(cuMemcpyAtoA, 2000, 5) \
	X(cuMemcpyAtoA_v2, 3020, 5) \
	X(cuMemcpyAtoA_v2_ptds, 7000, 5) \
	X(cuMemcpyAtoD, 2000, 4) \
	X(cuMemcpyAtoD_v2, 3020, 4) \
	X(cuMemcpyAtoD_v2_ptds, 7000, 4) \
	X(cuMemcpyAtoH, 2000, 4) \
	X(cuMemcpyAtoHAsync, 2000, 5) \
	X(cuMemcpyAtoHAsync_v2, 3020, 5) \
	X(cuMemcpyAtoHAsync_v2_ptsz, 7000, 5) \
	X(cuMemcpyAtoH_v2, 3020, 4) \
	X(cuMemcpyAtoH_v2_ptds, 7000, 4) \
	X(cuMemcpyBatchAsync, 12080, 9) \
	X(cuMemcpyBatchAsync_ptsz, 12080, 9) \
	X(cuMemcpyBatchAsync_v2, 13000, 8) \
	X(cuMemcpyBatchAsync_v2_ptsz, 13000, 8) \
	X(cuMemcpyDtoA, 2000, 4) \
	X(cuMemcpyDtoA_v2, 3020, 4) \
	X(cuMemcpyDtoA_v2_ptds, 7000, 4) \
	X(cuMemcpyDtoD, 2000, 3) \
	X(cuMemcpyDtoDAsync, 3000, 4) \
	X(cuMemcpyDtoDAsync_v2, 3020, 4) \
	X(cuMemcpyDtoDAsync_v2_ptsz, 7000, 4) \
	X(cuMemcpyDtoD_v2, 3020, 3) \
	X(cuMemcpyDtoD_v2_ptds, 7000, 3) \
	X(cuMemcpyDtoH, 2000, 3) \
	X(cuMemcpyDtoHAsync, 2000, 4) \
	X(cuMemcpyDtoHAsync_v2, 3020, 4) \
	X(cuMemcpyDtoHAsync_v2_ptsz, 7000, 4) \
	X(cuMemcpyDtoH_v2, 3020, 3) \
	X(cuMemcpyDtoH_v2_ptds, 7000, 3) \
	X(cuMemcpyHtoA, 2000, 4) \
	X(cuMemcpyHtoAAsync, 2000, 5) \
	X(cuMemcpyHtoAAsync_v2, 3020, 5) \
	X(cuMemcpyHtoAAsync_v2_ptsz, 7000, 5) \
	X(cuMemcpyHtoA_v2, 3020, 4) \
	X(cuMemcpyHtoA_v2_ptds, 7000, 4) \
	X(cuMemcpyHtoD, 2000, 3) \
	X(cuMemcpyHtoDAsync, 2000, 4) \
	X(cuMemcpyHtoDAsync_v2, 3020, 4) \
	X(cuMemcpyHtoDAsync_v2_ptsz, 7000, 4) \
	X(cuMemcpyHtoD_v2, 3020, 3) \
	X(cuMemcpyHtoD_v2_ptds, 7000, 3) \
	X(cuMemcpyPeer, 4000, 5) \
	X(cuMemcpyPeerAsync, 4000, 6) \
	X(cuMemcpyPeerAsync_ptsz, 7000, 6) \
	X(cuMemcpyPeer_ptds, 7000, 5) \
	X(cuMemcpyWithAttributesAsync, 13020, 5) \
	X(cuMemcpyWithAttributesAsync_ptsz, 13020, 5) \
	X(cuMemcpy_ptds, 7000, 3) \
	X(cuMemsetD16, 2000, 3) \
	X(cuMemsetD16Async, 3020, 4) \
	X(cuMemsetD16Async_ptsz, 7000, 4) \
	X(cuMemsetD16_v2, 3020, 3) \
	X(cuMemsetD16_v2_ptds, 7000, 3) \
	X(cuMemsetD2D16, 2000, 5) \
	X(cuMemsetD2D16Async, 3020, 6) \
	X(cuMemsetD2D16Async_ptsz, 7000, 6) \
	X(cuMemsetD2D16_v2, 3020, 5) \
	X(cuMemsetD2D16_v2_ptds, 7000, 5) \
	X(cuMemsetD2D32, 2000, 5) \
	X(cuMemsetD2D32Async, 3020, 6) \
	X(cuMemsetD2D32Async_ptsz, 7000, 6) \
	X(cuMemsetD2D32_v2, 3020, 5) \
	X(cuMemsetD2D32_v2_ptds, 7000, 5) \
	X(cuMemsetD2D8, 2000, 5) \
	X(cuMemsetD2D8Async, 3020, 6) \
	X(cuMemsetD2D8Async_ptsz, 7000, 6) \
	X(cuMemsetD2D8_v2, 3020, 5) \
	X(cuMemsetD2D8_v2_ptds, 7000, 5) \
	X(cuMemsetD32, 2000, 3) \
	X(cuMemsetD32Async, 3020, 4) \
	X(cuMemsetD32Async_ptsz, 7000, 4) \
	X(cuMemsetD32_v2, 3020, 3) \
	X(cuMemsetD32_v2_ptds, 7000, 3) \
	X(cuMemsetD8, 2000, 3) \
	X(cuMemsetD8Async, 3020, 4) \
	X(cuMemsetD8Async_ptsz, 7000, 4) \
	X(cuMemsetD8_v2, 3020, 3) \
	X(cuMemsetD8_v2_ptds, 7000, 3)

#define SHIM_HOOKS(X) \
	X(cuCtxCreate, 2000, (cuda_context *out_context, unsigned int flags, cuda_device device)) \
	X(cuCtxCreate_v2, 3020, \
	  (cuda_context *out_context, unsigned int flags, cuda_device device)) \
	X(cuCtxCreate_v3, 11040, \
	  (cuda_context *out_context, void *affinity, int n, unsigned int flags, \
	   cuda_device device)) \
	X(cuCtxCreate_v4, 12050, \
	  (cuda_context *out_context, void *params, unsigned int flags, cuda_device device)) \
	X(cuCtxDestroy, 2000, (cuda_context context)) \
	X(cuCtxDestroy_v2, 4000, (cuda_context context)) \
	X(cuCtxEnablePeerAccess, 4000, (cuda_context peer, unsigned int flags)) \
	X(cuCtxFromGreenCtx, 12040, (cuda_context *out_context, void *green)) \
	X(cuDeviceCanAccessPeer, 4000, (int *out_can, cuda_device device, cuda_device peer)) \
	X(cuDevicePrimaryCtxReset, 7000, (cuda_device device)) \
	X(cuDevicePrimaryCtxReset_v2, 11000, (cuda_device device)) \
	X(cuDeviceTotalMem_v2, 3020, (size_t *out_bytes, cuda_device device)) \
	X(cuGetProcAddress, 11030, \
	  (const char *name, void **out_pfn, int version, uint64_t flags)) \
	X(cuGetProcAddress_v2, 12000, \
	  (const char *name, void **out_pfn, int version, uint64_t flags, int *out_found)) \
	X(cuGreenCtxDestroy, 12040, (void *green)) \
	X(cuInit, 2000, (unsigned int flags)) \
	X(cuIpcGetMemHandle, 4010, (void *out_handle, cuda_ptr ptr)) \
	X(cuMemAddressFree, 10020, (cuda_ptr ptr, size_t size)) \
	X(cuMemAllocAsync, 11020, (cuda_ptr *out_ptr, size_t size, cuda_stream stream)) \
	X(cuMemAllocAsync_ptsz, 11020, (cuda_ptr *out_ptr, size_t size, cuda_stream stream)) \
	X(cuMemAllocFromPoolAsync, 11020, \
	  (cuda_ptr *out_ptr, size_t size, shim_pool pool, cuda_stream stream)) \
	X(cuMemAllocFromPoolAsync_ptsz, 11020, \
	  (cuda_ptr *out_ptr, size_t size, shim_pool pool, cuda_stream stream)) \
	X(cuMemAllocManaged, 6000, (cuda_ptr *out_ptr, size_t size, unsigned int flags)) \
	X(cuMemAllocPitch_v2, 3020, \
	  (cuda_ptr *out_ptr, size_t *out_pitch, size_t width, size_t height, \
	   unsigned int element)) \
	X(cuMemAlloc_v2, 3020, (cuda_ptr *out_ptr, size_t size)) \
	X(cuMemCreate, 10020, \
	  (cuda_mem *out_mem, size_t size, const struct cuda_mem_prop *prop, \
	   unsigned long long flags)) \
	X(cuMemFreeAsync, 11020, (cuda_ptr ptr, cuda_stream stream)) \
	X(cuMemFreeAsync_ptsz, 11020, (cuda_ptr ptr, cuda_stream stream)) \
	X(cuMemFree_v2, 3020, (cuda_ptr ptr)) \
	X(cuMemGetAddressRange_v2, 3020, (cuda_ptr *out_base, size_t *out_size, cuda_ptr ptr)) \
	X(cuMemGetHandleForAddressRange, 11070, \
	  (void *out_handle, cuda_ptr ptr, size_t size, int type, unsigned long long flags)) \
	X(cuMemGetInfo_v2, 3020, (size_t *out_free, size_t *out_total)) \
	X(cuMemPoolCreate, 11020, (shim_pool *out_pool, const struct shim_pool_props *props)) \
	X(cuMemPoolDestroy, 11020, (shim_pool pool)) \
	X(cuMemPoolExportPointer, 11020, (void *out_data, cuda_ptr ptr)) \
	X(cuMemRelease, 10020, (cuda_mem mem)) \
	X(cuMemRetainAllocationHandle, 11000, (cuda_mem *out_mem, void *address)) \
	X(cuMemSetAccess, 10020, \
	  (cuda_ptr ptr, size_t size, const struct cuda_mem_access *access, size_t n)) \
	X(cuMemUnmap, 10020, (cuda_ptr ptr, size_t size)) \
	X(cuPointerGetAttribute, 4000, \
	  (void *out, cuda_pointer_attribute attribute, cuda_ptr ptr)) \
	X(cuPointerGetAttributes, 7000, \
	  (unsigned int n, cuda_pointer_attribute *attributes, void **out, cuda_ptr ptr)) \
	X(cuStreamBatchMemOp, 8000, \
	  (cuda_stream stream, unsigned int n, void *ops, unsigned int flags)) \
	X(cuStreamBatchMemOp_ptsz, 8000, \
	  (cuda_stream stream, unsigned int n, void *ops, unsigned int flags)) \
	X(cuStreamBatchMemOp_v2, 11070, \
	  (cuda_stream stream, unsigned int n, void *ops, unsigned int flags)) \
	X(cuStreamBatchMemOp_v2_ptsz, 11070, \
	  (cuda_stream stream, unsigned int n, void *ops, unsigned int flags)) \
	X(cuStreamBeginCapture, 10000, (cuda_stream stream)) \
	X(cuStreamBeginCaptureToCig, 13010, (cuda_stream stream, void *params)) \
	X(cuStreamBeginCaptureToCig_ptsz, 13010, (cuda_stream stream, void *params)) \
	X(cuStreamBeginCaptureToGraph, 12030, \
	  (cuda_stream stream, void *graph, const void *dependencies, const void *edges, \
	   size_t n, int mode)) \
	X(cuStreamBeginCaptureToGraph_ptsz, 12030, \
	  (cuda_stream stream, void *graph, const void *dependencies, const void *edges, \
	   size_t n, int mode)) \
	X(cuStreamBeginCapture_ptsz, 10000, (cuda_stream stream)) \
	X(cuStreamBeginCapture_v2, 10010, (cuda_stream stream, int mode)) \
	X(cuStreamBeginCapture_v2_ptsz, 10010, (cuda_stream stream, int mode)) \
	X(cuStreamBeginRecaptureToGraph, 13030, \
	  (cuda_stream stream, int mode, void *graph, void *callback, void *data)) \
	X(cuStreamBeginRecaptureToGraph_ptsz, 13030, \
	  (cuda_stream stream, int mode, void *graph, void *callback, void *data)) \
	X(cuStreamDestroy, 2000, (cuda_stream stream)) \
	X(cuStreamDestroy_v2, 4000, (cuda_stream stream)) \
	X(cuStreamEndCapture, 10000, (cuda_stream stream, void **out_graph)) \
	X(cuStreamEndCaptureToCig, 13010, (cuda_stream stream)) \
	X(cuStreamEndCaptureToCig_ptsz, 13010, (cuda_stream stream)) \
	X(cuStreamEndCapture_ptsz, 10000, (cuda_stream stream, void **out_graph)) \
	X(cuStreamWaitValue32, 8000, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWaitValue32_ptsz, 8000, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWaitValue32_v2, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWaitValue32_v2_ptsz, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWaitValue64, 9000, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWaitValue64_ptsz, 9000, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWaitValue64_v2, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWaitValue64_v2_ptsz, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWriteValue32, 8000, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWriteValue32_ptsz, 8000, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWriteValue32_v2, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWriteValue32_v2_ptsz, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags)) \
	X(cuStreamWriteValue64, 9000, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWriteValue64_ptsz, 9000, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWriteValue64_v2, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags)) \
	X(cuStreamWriteValue64_v2_ptsz, 11070, \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags))
/* clang-format on */

#define SHIM_DECLARE(name, version, prototype) \
	__attribute__((visibility("default"))) cuda_result name prototype;
SHIM_HOOKS(SHIM_DECLARE)
#undef SHIM_DECLARE

#endif
