// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compares common/cuda_abi.h with a real <cuda.h>, at compile time: this file compiles if and only
 * if they agree. tests/unit/test_cuda_abi.sh compiles it against every cuda.h that it finds.
 *
 * Entry points are compared twice: with the declaration of the exported symbol, and with the type
 * that <cudaTypedefs.h> gives to the function under the base name and version that we ask
 * cuGetProcAddress for. What only the stand-in exports is compared in the second way.
 */
#include <cuda.h>
#include <cudaTypedefs.h>

#include "common/cuda_abi.h"

#define STANDIN_LISTS_ONLY
#include "tests/cuda-standin/api.h"

#define SAME(what, ours, theirs) _Static_assert((ours) == (theirs), what)

#define RESULT(name, value) SAME("CUDA_" #name, (long)CUDA_ABI_##name, (long)CUDA_##name);
CUDA_ABI_RESULTS(RESULT)

#define CONSTANT(name, value) SAME("CU_" #name, (long)CUDA_ABI_##name, (long)CU_##name);
CUDA_ABI_CONSTANTS(CONSTANT)

SAME("CU_STREAM_LEGACY", CUDA_ABI_STREAM_LEGACY == (void *)CU_STREAM_LEGACY, 1);
SAME("CU_STREAM_PER_THREAD", CUDA_ABI_STREAM_PER_THREAD == (void *)CU_STREAM_PER_THREAD, 1);

#define SIZE(ours, theirs)                                      \
	SAME("size of " #theirs, sizeof(ours), sizeof(theirs)); \
	SAME("alignment of " #theirs, _Alignof(ours), _Alignof(theirs))
#define FIELD(ours, field, theirs, their_field)                               \
	SAME("offset of " #theirs "." #their_field, offsetof(ours, field),    \
	     offsetof(theirs, their_field));                                  \
	SAME("size of " #theirs "." #their_field, sizeof(((ours *)0)->field), \
	     sizeof(((theirs *)0)->their_field))

SIZE(cuda_result, CUresult);
SIZE(cuda_device, CUdevice);
SIZE(cuda_ptr, CUdeviceptr);
SIZE(cuda_mem, CUmemGenericAllocationHandle);
SIZE(cuda_context, CUcontext);
SIZE(cuda_stream, CUstream);
SIZE(cuda_event, CUevent);
SIZE(cuda_device_attribute, CUdevice_attribute);
SIZE(cuda_pointer_attribute, CUpointer_attribute);
SIZE(cuda_granularity_flags, CUmemAllocationGranularity_flags);
SIZE(cuda_handle_type, CUmemAllocationHandleType);
SIZE(cuda_capture_status, CUstreamCaptureStatus);
_Static_assert(__builtin_types_compatible_p(cuda_ptr, CUdeviceptr), "CUdeviceptr");
_Static_assert(__builtin_types_compatible_p(cuda_mem, CUmemGenericAllocationHandle),
	       "CUmemGenericAllocationHandle");
_Static_assert(__builtin_types_compatible_p(cuda_device, CUdevice), "CUdevice");
_Static_assert(__builtin_types_compatible_p(cuda_host_fn, CUhostFn), "CUhostFn");

SIZE(struct cuda_uuid, CUuuid);
FIELD(struct cuda_uuid, bytes, CUuuid, bytes);
SIZE(struct cuda_mem_location, CUmemLocation);
FIELD(struct cuda_mem_location, type, CUmemLocation, type);
FIELD(struct cuda_mem_location, id, CUmemLocation, id);
SIZE(struct cuda_mem_prop, CUmemAllocationProp);
FIELD(struct cuda_mem_prop, type, CUmemAllocationProp, type);
FIELD(struct cuda_mem_prop, handle_types, CUmemAllocationProp, requestedHandleTypes);
FIELD(struct cuda_mem_prop, location, CUmemAllocationProp, location);
FIELD(struct cuda_mem_prop, win32_meta, CUmemAllocationProp, win32HandleMetaData);
FIELD(struct cuda_mem_prop, flags, CUmemAllocationProp, allocFlags);
FIELD(struct cuda_mem_prop, flags.compression, CUmemAllocationProp, allocFlags.compressionType);
FIELD(struct cuda_mem_prop, flags.gpu_direct_rdma, CUmemAllocationProp,
      allocFlags.gpuDirectRDMACapable);
FIELD(struct cuda_mem_prop, flags.usage, CUmemAllocationProp, allocFlags.usage);
FIELD(struct cuda_mem_prop, flags.reserved, CUmemAllocationProp, allocFlags.reserved);
SIZE(struct cuda_mem_access, CUmemAccessDesc);
FIELD(struct cuda_mem_access, location, CUmemAccessDesc, location);
FIELD(struct cuda_mem_access, flags, CUmemAccessDesc, flags);

/* Of the stand-in alone. */
SIZE(struct cuda_ipc_mem, CUipcMemHandle);
SIZE(struct cuda_ipc_event, CUipcEventHandle);
SIZE(struct cuda_launch_config, CUlaunchConfig);
FIELD(struct cuda_launch_config, gx, CUlaunchConfig, gridDimX);
FIELD(struct cuda_launch_config, bz, CUlaunchConfig, blockDimZ);
FIELD(struct cuda_launch_config, shared, CUlaunchConfig, sharedMemBytes);
FIELD(struct cuda_launch_config, stream, CUlaunchConfig, hStream);
FIELD(struct cuda_launch_config, n_attributes, CUlaunchConfig, numAttrs);
SIZE(struct cuda_pool_props, CUmemPoolProps);
FIELD(struct cuda_pool_props, handle_types, CUmemPoolProps, handleTypes);
FIELD(struct cuda_pool_props, location, CUmemPoolProps, location);
FIELD(struct cuda_pool_props, max_size, CUmemPoolProps, maxSize);
SIZE(cuda_capture_mode, CUstreamCaptureMode);

/*
 * From here on our names of types mean the driver's, so that a prototype from the list can be
 * compared as a type.
 */
#define cuda_result	       CUresult
#define cuda_device	       CUdevice
#define cuda_ptr	       CUdeviceptr
#define cuda_mem	       CUmemGenericAllocationHandle
#define cuda_context	       CUcontext
#define cuda_stream	       CUstream
#define cuda_event	       CUevent
#define cuda_host_fn	       CUhostFn
#define cuda_device_attribute  CUdevice_attribute
#define cuda_pointer_attribute CUpointer_attribute
#define cuda_granularity_flags CUmemAllocationGranularity_flags
#define cuda_handle_type       CUmemAllocationHandleType
#define cuda_capture_status    CUstreamCaptureStatus
#define cuda_uuid	       CUuuid_st
#define cuda_mem_prop	       CUmemAllocationProp_st
#define cuda_mem_location      CUmemLocation_st
#define cuda_mem_access	       CUmemAccessDesc_st
#define cuda_query_result      CUdriverProcAddressQueryResult
#define cuda_module	       CUmodule
#define cuda_function	       CUfunction
#define cuda_ipc_mem	       CUipcMemHandle_st
#define cuda_ipc_event	       CUipcEventHandle_st
#define cuda_launch_config     CUlaunchConfig_st
#define cuda_graph	       CUgraph
#define cuda_graph_exec	       CUgraphExec
#define cuda_pool	       CUmemoryPool
#define cuda_pool_props	       CUmemPoolProps_st
#define cuda_capture_mode      CUstreamCaptureMode

#define ENTRY(field, base, symbol, version, need, prototype)                                 \
	typedef cuda_result(*ours_##symbol) prototype;                                       \
	_Static_assert(__builtin_types_compatible_p(ours_##symbol, __typeof__(&symbol)),     \
		       "prototype of " #symbol);                                             \
	_Static_assert(__builtin_types_compatible_p(ours_##symbol, PFN_##base##_v##version), \
		       #symbol " is not what version " #version " brings");
CUDA_ABI_ENTRIES(ENTRY)

#define STANDIN_ENTRY(field, base, symbol, version, need, prototype)                             \
	typedef cuda_result(*standins_##symbol) prototype;                                       \
	_Static_assert(__builtin_types_compatible_p(standins_##symbol, PFN_##base##_v##version), \
		       #symbol " is not what version " #version " brings");
STANDIN_ENTRIES(STANDIN_ENTRY)

#define PER_THREAD(base, version, suffix, kind, prototype)                             \
	typedef cuda_result(*per_thread_##base) prototype;                             \
	_Static_assert(__builtin_types_compatible_p(per_thread_##base,                 \
						    PFN_##base##_v##version##_##kind), \
		       #base "_" #suffix);
STANDIN_PER_THREAD(PER_THREAD)
