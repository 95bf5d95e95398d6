/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The base names of what the stand-in answers to. A fault and a counter are of a base name: all
 * versions of a function, and its form for per-thread streams, count as one.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_FUNCTIONS_H
#define VRAM_TESTS_CUDA_STANDIN_FUNCTIONS_H

/* clang-format off */
#define STANDIN_FUNCTION_LIST(X) \
	X(cuInit) X(cuDriverGetVersion) X(cuGetProcAddress) X(cuGetExportTable) X(cuGetErrorName) \
	X(cuGetErrorString) X(cuDeviceGetCount) X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetUuid) \
	X(cuDeviceGetPCIBusId) X(cuDeviceGetByPCIBusId) X(cuDeviceTotalMem) X(cuDeviceGetAttribute) \
	X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) X(cuDevicePrimaryCtxReset) \
	X(cuDevicePrimaryCtxGetState) X(cuDevicePrimaryCtxSetFlags) X(cuCtxCreate) X(cuCtxDestroy) \
	X(cuCtxSetCurrent) X(cuCtxGetCurrent) X(cuCtxPushCurrent) X(cuCtxPopCurrent) X(cuCtxGetDevice) \
	X(cuCtxSynchronize) X(cuCtxGetStreamPriorityRange) \
	X(cuMemGetInfo) X(cuMemGetAllocationGranularity) X(cuMemCreate) X(cuMemRelease) \
	X(cuMemExportToShareableHandle) X(cuMemImportFromShareableHandle) X(cuMemAddressReserve) \
	X(cuMemAddressFree) X(cuMemMap) X(cuMemUnmap) X(cuMemSetAccess) X(cuMemGetAccess) \
	X(cuMemRetainAllocationHandle) X(cuMemGetAllocationPropertiesFromHandle) \
	X(cuMemAlloc) X(cuMemAllocPitch) X(cuMemAllocManaged) X(cuMemFree) X(cuMemAllocAsync) \
	X(cuMemFreeAsync) X(cuMemGetAddressRange) X(cuPointerGetAttribute) X(cuPointerGetAttributes) \
	X(cuIpcGetMemHandle) X(cuIpcOpenMemHandle) X(cuIpcCloseMemHandle) X(cuIpcGetEventHandle) \
	X(cuIpcOpenEventHandle) \
	X(cuMemHostRegister) X(cuMemHostUnregister) X(cuMemHostGetDevicePointer) X(cuMemHostAlloc) \
	X(cuMemAllocHost) X(cuMemFreeHost) \
	X(cuStreamCreate) X(cuStreamCreateWithPriority) X(cuStreamDestroy) X(cuStreamQuery) \
	X(cuStreamSynchronize) X(cuStreamWaitEvent) X(cuStreamWriteValue32) X(cuStreamWriteValue64) \
	X(cuStreamWaitValue32) X(cuStreamWaitValue64) X(cuStreamIsCapturing) X(cuStreamGetPriority) \
	X(cuStreamGetFlags) X(cuStreamGetCtx) X(cuLaunchHostFunc) \
	X(cuEventCreate) X(cuEventRecord) X(cuEventQuery) X(cuEventSynchronize) X(cuEventDestroy) \
	X(cuEventElapsedTime) \
	X(cuMemcpyHtoD) X(cuMemcpyDtoH) X(cuMemcpyDtoD) X(cuMemcpy) X(cuMemcpyHtoDAsync) \
	X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuMemcpyAsync) X(cuMemsetD8) X(cuMemsetD32) \
	X(cuMemsetD8Async) X(cuMemsetD32Async) \
	X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) X(cuLaunchKernel) \
	X(cuLaunchKernelEx) \
	X(cuDeviceGetDefaultMemPool) X(cuMemPoolCreate) X(cuMemPoolDestroy) X(cuMemAllocFromPoolAsync) \
	X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) \
	X(cuGraphExecDestroy) X(cuGraphDestroy)
/* clang-format on */

enum function {
#define STANDIN_ENUMERATOR(base) FN_##base,
	STANDIN_FUNCTION_LIST(STANDIN_ENUMERATOR)
#undef STANDIN_ENUMERATOR
};

#endif
