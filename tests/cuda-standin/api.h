/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the stand-in exports beyond common/cuda_abi.h, in lists of the same form. tests/support/cuda/
 * compares them with a real cuda.h, too.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_API_H
#define VRAM_TESTS_CUDA_STANDIN_API_H

#include "common/cuda_abi.h"

typedef struct cuda_module_of_driver *cuda_module;
typedef struct cuda_function_of_driver *cuda_function;
typedef int cuda_query_result;
typedef struct cuda_graph_of_driver *cuda_graph;
typedef struct cuda_graph_exec_of_driver *cuda_graph_exec;
typedef struct cuda_pool_of_driver *cuda_pool;
typedef int cuda_capture_mode;

struct cuda_ipc_mem {
	char reserved[64];
};

struct cuda_ipc_event {
	char reserved[64];
};

struct cuda_launch_config {
	unsigned int gx, gy, gz, bx, by, bz, shared;
	cuda_stream stream;
	void *attributes;
	unsigned int n_attributes;
};

struct cuda_pool_props {
	int type;
	int handle_types;
	struct cuda_mem_location location;
	void *win32_meta;
	size_t max_size;
	unsigned short usage;
	unsigned short gpu_direct_rdma;
	unsigned char reserved[52];
};

/* clang-format off */
/* X(field, base, symbol, version, need, prototype), as CUDA_ABI_ENTRIES; there is no field. */
#define STANDIN_ENTRIES(X) \
	X(, cuGetProcAddress, cuGetProcAddress_v2, 12000, 0, (const char *base, void **out_pfn, int \
	  version, uint64_t flags, cuda_query_result *out_found)) \
	X(, cuDeviceGetByPCIBusId, cuDeviceGetByPCIBusId, 4010, 0, (cuda_device *out_device, const \
	  char *address)) \
	X(, cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000, 0, (cuda_device device)) \
	X(, cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, 11000, 0, (cuda_device \
	  device, unsigned int flags)) \
	X(, cuCtxCreate, cuCtxCreate_v2, 3020, 0, (cuda_context *out_context, unsigned int flags, \
	  cuda_device device)) \
	X(, cuCtxDestroy, cuCtxDestroy_v2, 4000, 0, (cuda_context context)) \
	X(, cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange, 5050, 0, (int *out_least, int \
	  *out_greatest)) \
	X(, cuMemAllocPitch, cuMemAllocPitch_v2, 3020, 0, (cuda_ptr *out_ptr, size_t *out_pitch, \
	  size_t width, size_t height, unsigned int element)) \
	X(, cuMemAllocManaged, cuMemAllocManaged, 6000, 0, (cuda_ptr *out_ptr, size_t size, unsigned \
	  int flags)) \
	X(, cuMemAllocHost, cuMemAllocHost_v2, 3020, 0, (void **out_p, size_t size)) \
	X(, cuPointerGetAttributes, cuPointerGetAttributes, 7000, 0, (unsigned int n, \
	  cuda_pointer_attribute *attributes, void **data, cuda_ptr ptr)) \
	X(, cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, 0, (struct cuda_ipc_mem *out_handle, \
	  cuda_ptr ptr)) \
	X(, cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 11000, 0, (cuda_ptr *out_ptr, struct \
	  cuda_ipc_mem handle, unsigned int flags)) \
	X(, cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, 0, (cuda_ptr ptr)) \
	X(, cuIpcGetEventHandle, cuIpcGetEventHandle, 4010, 0, (struct cuda_ipc_event *out_handle, \
	  cuda_event event)) \
	X(, cuIpcOpenEventHandle, cuIpcOpenEventHandle, 4010, 0, (cuda_event *out_event, struct \
	  cuda_ipc_event handle)) \
	X(, cuStreamGetPriority, cuStreamGetPriority, 5050, 0, (cuda_stream stream, int \
	  *out_priority)) \
	X(, cuStreamGetFlags, cuStreamGetFlags, 5050, 0, (cuda_stream stream, unsigned int \
	  *out_flags)) \
	X(, cuStreamGetCtx, cuStreamGetCtx, 9020, 0, (cuda_stream stream, cuda_context \
	  *out_context)) \
	X(, cuEventElapsedTime, cuEventElapsedTime, 2000, 0, (float *out_ms, cuda_event from, \
	  cuda_event to)) \
	X(, cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020, 0, (cuda_ptr to, cuda_ptr from, size_t size)) \
	X(, cuMemcpy, cuMemcpy, 4000, 0, (cuda_ptr to, cuda_ptr from, size_t size)) \
	X(, cuMemcpyAsync, cuMemcpyAsync, 4000, 0, (cuda_ptr to, cuda_ptr from, size_t size, \
	  cuda_stream stream)) \
	X(, cuMemsetD32, cuMemsetD32_v2, 3020, 0, (cuda_ptr to, unsigned int value, size_t n)) \
	X(, cuModuleLoadData, cuModuleLoadData, 2000, 0, (cuda_module *out_module, const void \
	  *image)) \
	X(, cuModuleUnload, cuModuleUnload, 2000, 0, (cuda_module module)) \
	X(, cuModuleGetFunction, cuModuleGetFunction, 2000, 0, (cuda_function *out_function, \
	  cuda_module module, const char *name)) \
	X(, cuLaunchKernel, cuLaunchKernel, 4000, 0, (cuda_function function, unsigned int gx, \
	  unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, \
	  unsigned int shared, cuda_stream stream, void **params, void **extra)) \
	X(, cuLaunchKernelEx, cuLaunchKernelEx, 11060, 0, (const struct cuda_launch_config *config, \
	  cuda_function function, void **params, void **extra)) \
	X(, cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, 11020, 0, (cuda_pool *out_pool, cuda_device device)) \
	X(, cuMemPoolCreate, cuMemPoolCreate, 11020, 0, \
	  (cuda_pool *out_pool, const struct cuda_pool_props *props)) \
	X(, cuMemPoolDestroy, cuMemPoolDestroy, 11020, 0, (cuda_pool pool)) \
	X(, cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, 11020, 0, \
	  (cuda_ptr *out_ptr, size_t size, cuda_pool pool, cuda_stream stream)) \
	X(, cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010, 0, (cuda_stream stream, cuda_capture_mode mode)) \
	X(, cuStreamEndCapture, cuStreamEndCapture, 10000, 0, (cuda_stream stream, cuda_graph *out_graph)) \
	X(, cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, 11040, 0, \
	  (cuda_graph_exec *out_exec, cuda_graph graph, unsigned long long flags)) \
	X(, cuGraphLaunch, cuGraphLaunch, 10000, 0, (cuda_graph_exec exec, cuda_stream stream)) \
	X(, cuGraphExecDestroy, cuGraphExecDestroy, 10000, 0, (cuda_graph_exec exec)) \
	X(, cuGraphDestroy, cuGraphDestroy, 10000, 0, (cuda_graph graph))

/* X(base, version, suffix, kind, prototype): the forms whose stream NULL is the thread's own. */
#define STANDIN_PER_THREAD(X) \
	X(cuStreamQuery, 7000, ptsz, ptsz, (cuda_stream stream)) \
	X(cuStreamSynchronize, 7000, ptsz, ptsz, (cuda_stream stream)) \
	X(cuStreamWaitEvent, 7000, ptsz, ptsz, (cuda_stream stream, cuda_event event, unsigned int flags)) \
	X(cuStreamIsCapturing, 10000, ptsz, ptsz, (cuda_stream stream, cuda_capture_status *out_status)) \
	X(cuLaunchHostFunc, 10000, ptsz, ptsz, (cuda_stream stream, cuda_host_fn fn, void *data)) \
	X(cuStreamGetPriority, 7000, ptsz, ptsz, (cuda_stream stream, int *out_priority)) \
	X(cuStreamGetFlags, 7000, ptsz, ptsz, (cuda_stream stream, unsigned int *out_flags)) \
	X(cuStreamGetCtx, 9020, ptsz, ptsz, (cuda_stream stream, cuda_context *out_context)) \
	X(cuStreamWriteValue32, 11070, v2_ptsz, ptsz, (cuda_stream stream, cuda_ptr ptr, uint32_t value, \
	  unsigned int flags)) \
	X(cuStreamWriteValue64, 11070, v2_ptsz, ptsz, (cuda_stream stream, cuda_ptr ptr, uint64_t value, \
	  unsigned int flags)) \
	X(cuStreamWaitValue32, 11070, v2_ptsz, ptsz, (cuda_stream stream, cuda_ptr ptr, uint32_t value, \
	  unsigned int flags)) \
	X(cuStreamWaitValue64, 11070, v2_ptsz, ptsz, (cuda_stream stream, cuda_ptr ptr, uint64_t value, \
	  unsigned int flags)) \
	X(cuEventRecord, 7000, ptsz, ptsz, (cuda_event event, cuda_stream stream)) \
	X(cuMemcpyHtoDAsync, 7000, v2_ptsz, ptsz, (cuda_ptr to, const void *from, size_t size, cuda_stream \
	  stream)) \
	X(cuMemcpyDtoHAsync, 7000, v2_ptsz, ptsz, (void *to, cuda_ptr from, size_t size, cuda_stream \
	  stream)) \
	X(cuMemcpyDtoDAsync, 7000, v2_ptsz, ptsz, (cuda_ptr to, cuda_ptr from, size_t size, cuda_stream \
	  stream)) \
	X(cuMemcpyAsync, 7000, ptsz, ptsz, (cuda_ptr to, cuda_ptr from, size_t size, cuda_stream stream)) \
	X(cuMemcpyHtoD, 7000, v2_ptds, ptds, (cuda_ptr to, const void *from, size_t size)) \
	X(cuMemcpyDtoH, 7000, v2_ptds, ptds, (void *to, cuda_ptr from, size_t size)) \
	X(cuMemcpyDtoD, 7000, v2_ptds, ptds, (cuda_ptr to, cuda_ptr from, size_t size)) \
	X(cuMemcpy, 7000, ptds, ptds, (cuda_ptr to, cuda_ptr from, size_t size)) \
	X(cuMemsetD8Async, 7000, ptsz, ptsz, (cuda_ptr to, unsigned char value, size_t n, cuda_stream \
	  stream)) \
	X(cuMemsetD32Async, 7000, ptsz, ptsz, (cuda_ptr to, unsigned int value, size_t n, cuda_stream \
	  stream)) \
	X(cuMemsetD8, 7000, v2_ptds, ptds, (cuda_ptr to, unsigned char value, size_t n)) \
	X(cuMemsetD32, 7000, v2_ptds, ptds, (cuda_ptr to, unsigned int value, size_t n)) \
	X(cuMemAllocAsync, 11020, ptsz, ptsz, (cuda_ptr *out_ptr, size_t size, cuda_stream stream)) \
	X(cuMemFreeAsync, 11020, ptsz, ptsz, (cuda_ptr ptr, cuda_stream stream)) \
	X(cuLaunchKernel, 7000, ptsz, ptsz, (cuda_function function, unsigned int gx, unsigned int gy, \
	  unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, \
	  cuda_stream stream, void **params, void **extra)) \
	X(cuLaunchKernelEx, 11060, ptsz, ptsz, (const struct cuda_launch_config *config, cuda_function \
	  function, void **params, void **extra)) \
	X(cuMemAllocFromPoolAsync, 11020, ptsz, ptsz, \
	  (cuda_ptr *out_ptr, size_t size, cuda_pool pool, cuda_stream stream)) \
	X(cuStreamBeginCapture, 10010, v2_ptsz, ptsz, (cuda_stream stream, cuda_capture_mode mode)) \
	X(cuStreamEndCapture, 10000, ptsz, ptsz, (cuda_stream stream, cuda_graph *out_graph)) \
	X(cuGraphLaunch, 10000, ptsz, ptsz, (cuda_graph_exec exec, cuda_stream stream))

/*
 * X(base, version, newer, prototype, arguments): first forms that differ from the newer one in
 * nothing that shows here. Those with sizes and addresses of 32 bits are not imitated.
 */
#define STANDIN_FIRST(X) \
	X(cuCtxCreate, 2000, cuCtxCreate_v2, (cuda_context *out_context, unsigned int flags, \
	  cuda_device device), (out_context, flags, device)) \
	X(cuCtxDestroy, 2000, cuCtxDestroy_v2, (cuda_context context), (context)) \
	X(cuCtxPushCurrent, 2000, cuCtxPushCurrent_v2, (cuda_context context), (context)) \
	X(cuCtxPopCurrent, 2000, cuCtxPopCurrent_v2, (cuda_context *out_context), (out_context)) \
	X(cuDevicePrimaryCtxRelease, 7000, cuDevicePrimaryCtxRelease_v2, (cuda_device device), \
	  (device)) \
	X(cuDevicePrimaryCtxReset, 7000, cuDevicePrimaryCtxReset_v2, (cuda_device device), (device)) \
	X(cuDevicePrimaryCtxSetFlags, 7000, cuDevicePrimaryCtxSetFlags_v2, (cuda_device device, \
	  unsigned int flags), (device, flags)) \
	X(cuDeviceGetUuid, 9020, cuDeviceGetUuid_v2, (struct cuda_uuid *out_uuid, cuda_device \
	  device), (out_uuid, device)) \
	X(cuStreamDestroy, 2000, cuStreamDestroy_v2, (cuda_stream stream), (stream)) \
	X(cuEventDestroy, 2000, cuEventDestroy_v2, (cuda_event event), (event)) \
	X(cuMemHostRegister, 4000, cuMemHostRegister_v2, (void *p, size_t size, unsigned int flags), \
	  (p, size, flags)) \
	X(cuIpcOpenMemHandle, 4010, cuIpcOpenMemHandle_v2, (cuda_ptr *out_ptr, struct cuda_ipc_mem \
	  handle, unsigned int flags), (out_ptr, handle, flags)) \
	X(cuStreamWriteValue32, 8000, cuStreamWriteValue32_v2, (cuda_stream stream, cuda_ptr ptr, \
	  uint32_t value, unsigned int flags), (stream, ptr, value, flags)) \
	X(cuStreamWriteValue64, 9000, cuStreamWriteValue64_v2, (cuda_stream stream, cuda_ptr ptr, \
	  uint64_t value, unsigned int flags), (stream, ptr, value, flags)) \
	X(cuStreamWaitValue32, 8000, cuStreamWaitValue32_v2, (cuda_stream stream, cuda_ptr ptr, \
	  uint32_t value, unsigned int flags), (stream, ptr, value, flags)) \
	X(cuStreamWaitValue64, 9000, cuStreamWaitValue64_v2, (cuda_stream stream, cuda_ptr ptr, \
	  uint64_t value, unsigned int flags), (stream, ptr, value, flags))
/* clang-format on */

/* A file that also includes <cuda.h> takes the lists alone. */
#ifndef STANDIN_LISTS_ONLY
#define STANDIN_DECLARE(field, base, symbol, version, need, prototype) cuda_result symbol prototype;
CUDA_ABI_ENTRIES(STANDIN_DECLARE)
STANDIN_ENTRIES(STANDIN_DECLARE)
#undef STANDIN_DECLARE
#define STANDIN_DECLARE(base, version, suffix, kind, prototype) \
	cuda_result base##_##suffix prototype;
STANDIN_PER_THREAD(STANDIN_DECLARE)
#undef STANDIN_DECLARE
#define STANDIN_DECLARE(base, version, newer, prototype, arguments) cuda_result base prototype;
STANDIN_FIRST(STANDIN_DECLARE)
#undef STANDIN_DECLARE

/* The first form of cuGetProcAddress. */
cuda_result cuGetProcAddress(const char *base, void **out_pfn, int version, uint64_t flags);
#endif

#endif
