/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The part of the CUDA driver's binary interface that this project uses.
 *
 * No toolkit is needed to build: this header declares the types, constants and entry points of
 * libcuda.so.1 under names of our own, so that a file may include NVIDIA's <cuda.h> beside it.
 * tests/unit/test_cuda_abi.c does that and compares every line of the lists below: constants by
 * value, structures by size and offset, entry points by prototype and by the version under which
 * the driver hands them out. Only what stands in a list exists here, so nothing escapes it.
 *
 * An enumeration of the driver is an int here: both are four bytes and passed alike, and a driver
 * newer than this header returns values that it does not list.
 *
 *	CUDA_ABI_RESULTS	what a call returns:	CUDA_ABI_X is the driver's CUDA_X
 *	CUDA_ABI_CONSTANTS	everything else:	CUDA_ABI_X is the driver's CU_X
 *	CUDA_ABI_ENTRIES	entry points, see there
 */
#ifndef VRAM_COMMON_CUDA_ABI_H
#define VRAM_COMMON_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

/* ---- types ---- */

typedef int cuda_result;
typedef int cuda_device;
typedef unsigned long long cuda_ptr; /* an address on the device */
typedef unsigned long long cuda_mem; /* what cuMemCreate makes: memory without an address */
typedef struct cuda_context_of_driver *cuda_context;
typedef struct cuda_stream_of_driver *cuda_stream;
typedef struct cuda_event_of_driver *cuda_event;
typedef void (*cuda_host_fn)(void *data);

/* Enumerations in prototypes, by name, so that the test can put the driver's in their place. */
typedef int cuda_device_attribute;
typedef int cuda_pointer_attribute;
typedef int cuda_granularity_flags;
typedef int cuda_handle_type;
typedef int cuda_capture_status;

struct cuda_uuid {
	char bytes[16];
};

struct cuda_mem_location {
	int type; /* CUDA_ABI_MEM_LOCATION_TYPE_* */
	int id;	  /* the ordinal of a device */
};

/* Everything that is not asked for is zero. */
struct cuda_mem_prop {
	int type;	  /* CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED */
	int handle_types; /* CUDA_ABI_MEM_HANDLE_TYPE_* that it may be exported as */
	struct cuda_mem_location location;
	void *win32_meta;
	struct {
		unsigned char compression;
		unsigned char gpu_direct_rdma;
		unsigned short usage;
		unsigned char reserved[4];
	} flags;
};

struct cuda_mem_access {
	struct cuda_mem_location location;
	int flags; /* CUDA_ABI_MEM_ACCESS_FLAGS_* */
};

/* ---- constants ---- */

#define CUDA_ABI_RESULTS(X)                          \
	X(SUCCESS, 0)                                \
	X(ERROR_INVALID_VALUE, 1)                    \
	X(ERROR_OUT_OF_MEMORY, 2)                    \
	X(ERROR_NOT_INITIALIZED, 3)                  \
	X(ERROR_DEINITIALIZED, 4)                    \
	X(ERROR_STUB_LIBRARY, 34)                    \
	X(ERROR_DEVICE_UNAVAILABLE, 46)              \
	X(ERROR_NO_DEVICE, 100)                      \
	X(ERROR_INVALID_DEVICE, 101)                 \
	X(ERROR_DEVICE_NOT_LICENSED, 102)            \
	X(ERROR_INVALID_IMAGE, 200)                  \
	X(ERROR_INVALID_CONTEXT, 201)                \
	X(ERROR_MAP_FAILED, 205)                     \
	X(ERROR_UNMAP_FAILED, 206)                   \
	X(ERROR_ALREADY_MAPPED, 208)                 \
	X(ERROR_NO_BINARY_FOR_GPU, 209)              \
	X(ERROR_NOT_MAPPED, 211)                     \
	X(ERROR_ECC_UNCORRECTABLE, 214)              \
	X(ERROR_NVLINK_UNCORRECTABLE, 220)           \
	X(ERROR_CONTAINED, 226)                      \
	X(ERROR_FILE_NOT_FOUND, 301)                 \
	X(ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, 302) \
	X(ERROR_SHARED_OBJECT_INIT_FAILED, 303)      \
	X(ERROR_OPERATING_SYSTEM, 304)               \
	X(ERROR_INVALID_HANDLE, 400)                 \
	X(ERROR_ILLEGAL_STATE, 401)                  \
	X(ERROR_NOT_FOUND, 500)                      \
	X(ERROR_NOT_READY, 600)                      \
	X(ERROR_ILLEGAL_ADDRESS, 700)                \
	X(ERROR_LAUNCH_OUT_OF_RESOURCES, 701)        \
	X(ERROR_LAUNCH_TIMEOUT, 702)                 \
	X(ERROR_PRIMARY_CONTEXT_ACTIVE, 708)         \
	X(ERROR_CONTEXT_IS_DESTROYED, 709)           \
	X(ERROR_ASSERT, 710)                         \
	X(ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712) \
	X(ERROR_HOST_MEMORY_NOT_REGISTERED, 713)     \
	X(ERROR_HARDWARE_STACK_ERROR, 714)           \
	X(ERROR_ILLEGAL_INSTRUCTION, 715)            \
	X(ERROR_MISALIGNED_ADDRESS, 716)             \
	X(ERROR_INVALID_ADDRESS_SPACE, 717)          \
	X(ERROR_INVALID_PC, 718)                     \
	X(ERROR_LAUNCH_FAILED, 719)                  \
	X(ERROR_TENSOR_MEMORY_LEAK, 721)             \
	X(ERROR_NOT_PERMITTED, 800)                  \
	X(ERROR_NOT_SUPPORTED, 801)                  \
	X(ERROR_SYSTEM_NOT_READY, 802)               \
	X(ERROR_SYSTEM_DRIVER_MISMATCH, 803)         \
	X(ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, 804) \
	X(ERROR_MPS_CONNECTION_FAILED, 805)          \
	X(ERROR_MPS_RPC_FAILURE, 806)                \
	X(ERROR_MPS_SERVER_NOT_READY, 807)           \
	X(ERROR_MPS_CLIENT_TERMINATED, 810)          \
	X(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900)     \
	X(ERROR_STREAM_CAPTURE_INVALIDATED, 901)     \
	X(ERROR_STREAM_CAPTURE_UNMATCHED, 903)       \
	X(ERROR_STREAM_CAPTURE_ISOLATION, 905)       \
	X(ERROR_STREAM_CAPTURE_IMPLICIT, 906)        \
	X(ERROR_CAPTURED_EVENT, 907)                 \
	X(ERROR_STREAM_CAPTURE_WRONG_THREAD, 908)    \
	X(ERROR_TIMEOUT, 909)                        \
	X(ERROR_EXTERNAL_DEVICE, 911)                \
	X(ERROR_UNKNOWN, 999)

#define CUDA_ABI_CONSTANTS(X)                                                \
	/* for cuGetProcAddress */                                           \
	X(GET_PROC_ADDRESS_DEFAULT, 0)                                       \
	X(GET_PROC_ADDRESS_LEGACY_STREAM, 1)                                 \
	X(GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, 2)                     \
	X(GET_PROC_ADDRESS_SUCCESS, 0)                                       \
	X(GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, 1)                              \
	X(GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT, 2)                        \
	/* of a device */                                                    \
	X(DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                         \
	X(DEVICE_ATTRIBUTE_INTEGRATED, 18)                                   \
	X(DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 19)                          \
	X(DEVICE_ATTRIBUTE_COMPUTE_MODE, 20)                                 \
	X(DEVICE_ATTRIBUTE_ECC_ENABLED, 32)                                  \
	X(DEVICE_ATTRIBUTE_PCI_BUS_ID, 33)                                   \
	X(DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 34)                                \
	X(DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 40)                           \
	X(DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 41)                           \
	X(DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 50)                                \
	X(DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                     \
	X(DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                     \
	X(DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 78)                  \
	X(DEVICE_ATTRIBUTE_MANAGED_MEMORY, 83)                               \
	X(DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 90)                 \
	X(DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 91)      \
	X(DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES, 98)                      \
	X(DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 99)                      \
	X(DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 102)         \
	X(DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 103) \
	X(DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 110)     \
	X(DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 113)           \
	X(DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115)                      \
	X(DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 122)               \
	X(DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 123)               \
	X(DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 125)                         \
	X(DEVICE_ATTRIBUTE_MPS_ENABLED, 133)                                 \
	X(COMPUTEMODE_DEFAULT, 0)                                            \
	X(COMPUTEMODE_PROHIBITED, 2)                                         \
	X(COMPUTEMODE_EXCLUSIVE_PROCESS, 3)                                  \
	/* of memory */                                                      \
	X(MEM_HANDLE_TYPE_NONE, 0)                                           \
	X(MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 1)                          \
	X(MEM_LOCATION_TYPE_INVALID, 0)                                      \
	X(MEM_LOCATION_TYPE_DEVICE, 1)                                       \
	X(MEM_LOCATION_TYPE_HOST, 2)                                         \
	X(MEM_ALLOCATION_TYPE_INVALID, 0)                                    \
	X(MEM_ALLOCATION_TYPE_PINNED, 1)                                     \
	X(MEM_ALLOCATION_COMP_NONE, 0)                                       \
	X(MEM_ACCESS_FLAGS_PROT_NONE, 0)                                     \
	X(MEM_ACCESS_FLAGS_PROT_READ, 1)                                     \
	X(MEM_ACCESS_FLAGS_PROT_READWRITE, 3)                                \
	X(MEM_ALLOC_GRANULARITY_MINIMUM, 0)                                  \
	X(MEM_ALLOC_GRANULARITY_RECOMMENDED, 1)                              \
	X(MEMHOSTALLOC_PORTABLE, 1)                                          \
	X(MEMHOSTALLOC_DEVICEMAP, 2)                                         \
	X(MEMHOSTALLOC_WRITECOMBINED, 4)                                     \
	X(MEMHOSTREGISTER_PORTABLE, 1)                                       \
	X(MEMHOSTREGISTER_DEVICEMAP, 2)                                      \
	X(MEMHOSTREGISTER_IOMEMORY, 4)                                       \
	X(MEMHOSTREGISTER_READ_ONLY, 8)                                      \
	X(MEMORYTYPE_HOST, 1)                                                \
	X(MEMORYTYPE_DEVICE, 2)                                              \
	/* of a pointer */                                                   \
	X(POINTER_ATTRIBUTE_CONTEXT, 1)                                      \
	X(POINTER_ATTRIBUTE_MEMORY_TYPE, 2)                                  \
	X(POINTER_ATTRIBUTE_DEVICE_POINTER, 3)                               \
	X(POINTER_ATTRIBUTE_HOST_POINTER, 4)                                 \
	X(POINTER_ATTRIBUTE_BUFFER_ID, 7)                                    \
	X(POINTER_ATTRIBUTE_IS_MANAGED, 8)                                   \
	X(POINTER_ATTRIBUTE_DEVICE_ORDINAL, 9)                               \
	X(POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, 10)                  \
	X(POINTER_ATTRIBUTE_RANGE_START_ADDR, 11)                            \
	X(POINTER_ATTRIBUTE_RANGE_SIZE, 12)                                  \
	X(POINTER_ATTRIBUTE_MAPPED, 13)                                      \
	X(POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES, 14)                        \
	X(POINTER_ATTRIBUTE_ACCESS_FLAGS, 16)                                \
	/* of streams and events */                                          \
	X(STREAM_DEFAULT, 0)                                                 \
	X(STREAM_NON_BLOCKING, 1)                                            \
	X(STREAM_CAPTURE_STATUS_NONE, 0)                                     \
	X(STREAM_CAPTURE_STATUS_ACTIVE, 1)                                   \
	X(STREAM_CAPTURE_STATUS_INVALIDATED, 2)                              \
	X(STREAM_WAIT_VALUE_GEQ, 0)                                          \
	X(STREAM_WAIT_VALUE_EQ, 1)                                           \
	X(STREAM_WAIT_VALUE_AND, 2)                                          \
	X(STREAM_WAIT_VALUE_NOR, 3)                                          \
	X(STREAM_WAIT_VALUE_FLUSH, 1 << 30)                                  \
	X(STREAM_WRITE_VALUE_DEFAULT, 0)                                     \
	X(EVENT_DEFAULT, 0)                                                  \
	X(EVENT_BLOCKING_SYNC, 1)                                            \
	X(EVENT_DISABLE_TIMING, 2)                                           \
	X(EVENT_INTERPROCESS, 4)                                             \
	X(EVENT_WAIT_DEFAULT, 0)

#define CUDA_ABI_ENUMERATOR(name, value) CUDA_ABI_##name = (value),
enum cuda_abi_result {
	CUDA_ABI_RESULTS(CUDA_ABI_ENUMERATOR)
};
enum cuda_abi_constant {
	CUDA_ABI_CONSTANTS(CUDA_ABI_ENUMERATOR)
};
#undef CUDA_ABI_ENUMERATOR

/* The streams that exist without being made; NULL is the first of them. */
#define CUDA_ABI_STREAM_LEGACY	   ((cuda_stream)0x1)
#define CUDA_ABI_STREAM_PER_THREAD ((cuda_stream)0x2)

/* ---- entry points ---- */

/*
 * X(field, base, symbol, version, need, prototype)
 *
 *	field		its name in struct cuda_driver
 *	base, version	what cuGetProcAddress_v2 is asked for: the newest form of `base` that is not
 *			newer than CUDA `version`. Asked with the version that brought this form, a
 *			driver of any later day gives this form and no other.
 *	symbol		the name under which libcuda.so.1 exports the same function
 *	need		1: a driver without it is refused. 0: NULL where the driver has none
 *
 * Every function returns a cuda_result.
 */
/* clang-format off */
#define CUDA_ABI_ENTRIES(X)                                                                        \
	/* before a context */                                                                     \
	X(init, cuInit, cuInit, 2000, 1, (unsigned int flags))                                     \
	X(driver_get_version, cuDriverGetVersion, cuDriverGetVersion, 2020, 1, (int *out_version)) \
	X(get_error_name, cuGetErrorName, cuGetErrorName, 6000, 1,                                 \
	  (cuda_result result, const char **out_name))                                             \
	X(get_error_string, cuGetErrorString, cuGetErrorString, 6000, 1,                           \
	  (cuda_result result, const char **out_text))                                             \
	X(get_export_table, cuGetExportTable, cuGetExportTable, 3000, 0,                           \
	  (const void **out_table, const struct cuda_uuid *id))                                    \
	X(device_get_count, cuDeviceGetCount, cuDeviceGetCount, 2000, 1, (int *out_count))         \
	X(device_get, cuDeviceGet, cuDeviceGet, 2000, 1, (cuda_device *out_device, int ordinal))   \
	X(device_get_name, cuDeviceGetName, cuDeviceGetName, 2000, 1,                              \
	  (char *out_name, int size, cuda_device device))                                          \
	X(device_get_uuid, cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040, 1,                          \
	  (struct cuda_uuid *out_uuid, cuda_device device))                                        \
	X(device_get_pci_bus_id, cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, 1,                \
	  (char *out_address, int size, cuda_device device))                                       \
	X(device_total_mem, cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020, 1,                        \
	  (size_t *out_bytes, cuda_device device))                                                 \
	X(device_get_attribute, cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, 1,               \
	  (int *out_value, cuda_device_attribute attribute, cuda_device device))                   \
	/* contexts */                                                                             \
	X(primary_ctx_retain, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, 1,         \
	  (cuda_context *out_context, cuda_device device))                                         \
	X(primary_ctx_release, cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, 1,  \
	  (cuda_device device))                                                                    \
	X(primary_ctx_get_state, cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, 1,  \
	  (cuda_device device, unsigned int *out_flags, int *out_active))                          \
	X(ctx_set_current, cuCtxSetCurrent, cuCtxSetCurrent, 4000, 1, (cuda_context context))      \
	X(ctx_get_current, cuCtxGetCurrent, cuCtxGetCurrent, 4000, 1, (cuda_context *out_context)) \
	X(ctx_push_current, cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, 1,                        \
	  (cuda_context context))                                                                  \
	X(ctx_pop_current, cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, 1,                           \
	  (cuda_context *out_context))                                                             \
	X(ctx_get_device, cuCtxGetDevice, cuCtxGetDevice, 2000, 1, (cuda_device *out_device))      \
	X(ctx_synchronize, cuCtxSynchronize, cuCtxSynchronize, 2000, 1, (void))                    \
	/* memory with and without addresses */                                                    \
	X(mem_get_info, cuMemGetInfo, cuMemGetInfo_v2, 3020, 1,                                    \
	  (size_t *out_free, size_t *out_total))                                                   \
	X(mem_get_allocation_granularity, cuMemGetAllocationGranularity,                           \
	  cuMemGetAllocationGranularity, 10020, 1,                                                 \
	  (size_t *out_bytes, const struct cuda_mem_prop *prop, cuda_granularity_flags flags))     \
	X(mem_create, cuMemCreate, cuMemCreate, 10020, 1,                                          \
	  (cuda_mem *out_mem, size_t size, const struct cuda_mem_prop *prop,                       \
	   unsigned long long flags))                                                              \
	X(mem_release, cuMemRelease, cuMemRelease, 10020, 1, (cuda_mem mem))                       \
	X(mem_export, cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, 1,        \
	  (void *out_fd, cuda_mem mem, cuda_handle_type type, unsigned long long flags))           \
	X(mem_import, cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, 1,    \
	  (cuda_mem *out_mem, void *fd, cuda_handle_type type))                                    \
	X(mem_address_reserve, cuMemAddressReserve, cuMemAddressReserve, 10020, 1,                 \
	  (cuda_ptr *out_ptr, size_t size, size_t alignment, cuda_ptr hint,                        \
	   unsigned long long flags))                                                              \
	X(mem_address_free, cuMemAddressFree, cuMemAddressFree, 10020, 1,                          \
	  (cuda_ptr ptr, size_t size))                                                             \
	X(mem_map, cuMemMap, cuMemMap, 10020, 1,                                                   \
	  (cuda_ptr ptr, size_t size, size_t offset, cuda_mem mem, unsigned long long flags))      \
	X(mem_unmap, cuMemUnmap, cuMemUnmap, 10020, 1, (cuda_ptr ptr, size_t size))                \
	X(mem_set_access, cuMemSetAccess, cuMemSetAccess, 10020, 1,                                \
	  (cuda_ptr ptr, size_t size, const struct cuda_mem_access *access, size_t n))             \
	X(mem_get_access, cuMemGetAccess, cuMemGetAccess, 10020, 1,                                \
	  (unsigned long long *out_flags, const struct cuda_mem_location *location, cuda_ptr ptr)) \
	X(mem_retain, cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, 1,          \
	  (cuda_mem *out_mem, void *address))                                                      \
	X(mem_get_prop, cuMemGetAllocationPropertiesFromHandle,                                    \
	  cuMemGetAllocationPropertiesFromHandle, 10020, 1,                                        \
	  (struct cuda_mem_prop *out_prop, cuda_mem mem))                                          \
	X(mem_alloc, cuMemAlloc, cuMemAlloc_v2, 3020, 1, (cuda_ptr *out_ptr, size_t size))         \
	X(mem_free, cuMemFree, cuMemFree_v2, 3020, 1, (cuda_ptr ptr))                              \
	X(mem_alloc_async, cuMemAllocAsync, cuMemAllocAsync, 11020, 0,                             \
	  (cuda_ptr *out_ptr, size_t size, cuda_stream stream))                                    \
	X(mem_free_async, cuMemFreeAsync, cuMemFreeAsync, 11020, 0,                                \
	  (cuda_ptr ptr, cuda_stream stream))                                                      \
	X(mem_get_address_range, cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, 1,           \
	  (cuda_ptr *out_base, size_t *out_size, cuda_ptr ptr))                                    \
	X(pointer_get_attribute, cuPointerGetAttribute, cuPointerGetAttribute, 4000, 1,            \
	  (void *out_value, cuda_pointer_attribute attribute, cuda_ptr ptr))                       \
	/* memory of the host that the device may reach */                                         \
	X(mem_host_register, cuMemHostRegister, cuMemHostRegister_v2, 6050, 1,                     \
	  (void *p, size_t size, unsigned int flags))                                              \
	X(mem_host_unregister, cuMemHostUnregister, cuMemHostUnregister, 4000, 1, (void *p))       \
	X(mem_host_get_device_pointer, cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2,    \
	  3020, 1, (cuda_ptr *out_ptr, void *p, unsigned int flags))                               \
	X(mem_host_alloc, cuMemHostAlloc, cuMemHostAlloc, 2020, 1,                                 \
	  (void **out_p, size_t size, unsigned int flags))                                         \
	X(mem_free_host, cuMemFreeHost, cuMemFreeHost, 2000, 1, (void *p))                         \
	/* streams */                                                                              \
	X(stream_create, cuStreamCreate, cuStreamCreate, 2000, 1,                                  \
	  (cuda_stream *out_stream, unsigned int flags))                                           \
	X(stream_create_with_priority, cuStreamCreateWithPriority, cuStreamCreateWithPriority,     \
	  5050, 1, (cuda_stream *out_stream, unsigned int flags, int priority))                    \
	X(stream_destroy, cuStreamDestroy, cuStreamDestroy_v2, 4000, 1, (cuda_stream stream))      \
	X(stream_query, cuStreamQuery, cuStreamQuery, 2000, 1, (cuda_stream stream))               \
	X(stream_synchronize, cuStreamSynchronize, cuStreamSynchronize, 2000, 1,                   \
	  (cuda_stream stream))                                                                    \
	X(stream_wait_event, cuStreamWaitEvent, cuStreamWaitEvent, 3020, 1,                        \
	  (cuda_stream stream, cuda_event event, unsigned int flags))                              \
	X(stream_write_value32, cuStreamWriteValue32, cuStreamWriteValue32_v2, 11070, 1,           \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags))                  \
	X(stream_write_value64, cuStreamWriteValue64, cuStreamWriteValue64_v2, 11070, 1,           \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags))                  \
	X(stream_wait_value32, cuStreamWaitValue32, cuStreamWaitValue32_v2, 11070, 1,              \
	  (cuda_stream stream, cuda_ptr ptr, uint32_t value, unsigned int flags))                  \
	X(stream_wait_value64, cuStreamWaitValue64, cuStreamWaitValue64_v2, 11070, 1,              \
	  (cuda_stream stream, cuda_ptr ptr, uint64_t value, unsigned int flags))                  \
	X(stream_is_capturing, cuStreamIsCapturing, cuStreamIsCapturing, 10000, 1,                 \
	  (cuda_stream stream, cuda_capture_status *out_status))                                   \
	X(launch_host_func, cuLaunchHostFunc, cuLaunchHostFunc, 10000, 1,                          \
	  (cuda_stream stream, cuda_host_fn fn, void *data))                                       \
	/* events */                                                                               \
	X(event_create, cuEventCreate, cuEventCreate, 2000, 1,                                     \
	  (cuda_event *out_event, unsigned int flags))                                             \
	X(event_record, cuEventRecord, cuEventRecord, 2000, 1,                                     \
	  (cuda_event event, cuda_stream stream))                                                  \
	X(event_query, cuEventQuery, cuEventQuery, 2000, 1, (cuda_event event))                    \
	X(event_synchronize, cuEventSynchronize, cuEventSynchronize, 2000, 1, (cuda_event event))  \
	X(event_destroy, cuEventDestroy, cuEventDestroy_v2, 4000, 1, (cuda_event event))           \
	/* copies */                                                                               \
	X(memcpy_htod_async, cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020, 1,                     \
	  (cuda_ptr to, const void *from, size_t size, cuda_stream stream))                        \
	X(memcpy_dtoh_async, cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020, 1,                     \
	  (void *to, cuda_ptr from, size_t size, cuda_stream stream))                              \
	X(memcpy_dtod_async, cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020, 1,                     \
	  (cuda_ptr to, cuda_ptr from, size_t size, cuda_stream stream))                           \
	X(memcpy_htod, cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020, 1,                                     \
	  (cuda_ptr to, const void *from, size_t size))                                            \
	X(memcpy_dtoh, cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, 1,                                     \
	  (void *to, cuda_ptr from, size_t size))                                                  \
	X(memset_d8_async, cuMemsetD8Async, cuMemsetD8Async, 3020, 1,                              \
	  (cuda_ptr to, unsigned char value, size_t n, cuda_stream stream))                        \
	X(memset_d32_async, cuMemsetD32Async, cuMemsetD32Async, 3020, 1,                           \
	  (cuda_ptr to, unsigned int value, size_t n, cuda_stream stream))                         \
	X(memset_d8, cuMemsetD8, cuMemsetD8_v2, 3020, 1,                                           \
	  (cuda_ptr to, unsigned char value, size_t n))
/* clang-format on */

#endif
