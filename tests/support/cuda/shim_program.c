// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program of the driver API that knows nothing of vram: what tests/cuda/test_shim_*.py run under vramrun. Not built
 * with the rest: the tests compile it, once for each way in which programs find the driver.
 *
 *	-DFIND_LINKED, -lcuda	the dynamic linker
 *	-DFIND_DLSYM		dlopen and dlsym
 *	-DFIND_LOOKUP		cuGetProcAddress, which it asks for itself, in the versions of CUDA 12.4
 *	-DFIND_PER_THREAD	the same, with per-thread default streams where the driver has them
 *
 * It reads commands from standard input and answers each with one line, "ok ..." or "error NUMBER".
 * A slot is one of 64 places for an allocation; patterns are made from a seed, so that every byte tells whose it is.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cuda_abi.h"
#include "tests/cuda-standin/kernels.h"

typedef struct module_of_driver *cu_module;
typedef struct function_of_driver *cu_function;

/* X(name without the version, version for the look-up, exported symbol, prototype) */
#define FUNCTIONS(X)                                                                               \
	X(cuInit, 2000, cuInit, (unsigned int))                                                    \
	X(cuDeviceGet, 2000, cuDeviceGet, (cuda_device *, int))                                    \
	X(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2, (size_t *, cuda_device))                    \
	X(cuCtxCreate, 3020, cuCtxCreate_v2, (cuda_context *, unsigned int, cuda_device))          \
	X(cuCtxDestroy, 4000, cuCtxDestroy_v2, (cuda_context))                                     \
	X(cuCtxSetCurrent, 4000, cuCtxSetCurrent, (cuda_context))                                  \
	X(cuCtxSynchronize, 2000, cuCtxSynchronize, (void))                                        \
	X(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain, (cuda_context *, cuda_device)) \
	X(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2, (cuda_device))               \
	X(cuMemGetInfo, 3020, cuMemGetInfo_v2, (size_t *, size_t *))                               \
	X(cuMemAlloc, 3020, cuMemAlloc_v2, (cuda_ptr *, size_t))                                   \
	X(cuMemAllocPitch, 3020, cuMemAllocPitch_v2,                                               \
	  (cuda_ptr *, size_t *, size_t, size_t, unsigned int))                                    \
	X(cuMemAllocManaged, 6000, cuMemAllocManaged, (cuda_ptr *, size_t, unsigned int))          \
	X(cuMemFree, 3020, cuMemFree_v2, (cuda_ptr))                                               \
	X(cuMemAllocAsync, 11020, cuMemAllocAsync, (cuda_ptr *, size_t, cuda_stream))              \
	X(cuMemFreeAsync, 11020, cuMemFreeAsync, (cuda_ptr, cuda_stream))                          \
	X(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2, (cuda_ptr *, size_t *, cuda_ptr))   \
	X(cuPointerGetAttribute, 4000, cuPointerGetAttribute, (void *, int, cuda_ptr))             \
	X(cuIpcGetMemHandle, 4010, cuIpcGetMemHandle, (void *, cuda_ptr))                          \
	X(cuMemRetainAllocationHandle, 11000, cuMemRetainAllocationHandle, (cuda_mem *, void *))   \
	X(cuMemUnmap, 10020, cuMemUnmap, (cuda_ptr, size_t))                                       \
	X(cuGetExportTable, 3000, cuGetExportTable, (const void **, const struct cuda_uuid *))     \
	X(cuStreamCreate, 2000, cuStreamCreate, (cuda_stream *, unsigned int))                     \
	X(cuStreamSynchronize, 2000, cuStreamSynchronize, (cuda_stream))                           \
	X(cuStreamWaitValue32, 11070, cuStreamWaitValue32_v2,                                      \
	  (cuda_stream, cuda_ptr, uint32_t, unsigned int))                                         \
	X(cuMemcpyHtoD, 3020, cuMemcpyHtoD_v2, (cuda_ptr, const void *, size_t))                   \
	X(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2, (void *, cuda_ptr, size_t))                         \
	X(cuMemcpyDtoDAsync, 3020, cuMemcpyDtoDAsync_v2,                                           \
	  (cuda_ptr, cuda_ptr, size_t, cuda_stream))                                               \
	X(cuLaunchHostFunc, 10000, cuLaunchHostFunc, (cuda_stream, cuda_host_fn, void *))          \
	X(cuModuleLoadData, 2000, cuModuleLoadData, (cu_module *, const void *))                   \
	X(cuModuleGetFunction, 2000, cuModuleGetFunction,                                          \
	  (cu_function *, cu_module, const char *))                                                \
	X(cuLaunchKernel, 4000, cuLaunchKernel,                                                    \
	  (cu_function, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,      \
	   unsigned int, unsigned int, cuda_stream, void **, void **))

#ifdef FIND_LINKED
#define EXTERN(name, version, symbol, prototype) cuda_result name prototype __asm__(#symbol);
FUNCTIONS(EXTERN)
#else
#define POINTER(name, version, symbol, prototype) static cuda_result(*name) prototype;
FUNCTIONS(POINTER)
#endif

static _Noreturn void die(const char *what)
{
	printf("fatal %s\n", what);
	exit(1);
}

#ifdef FIND_LINKED
static void find_all(void)
{
}
#else
static void find_all(void)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW);

	if (!driver)
		die(dlerror());
#ifdef FIND_DLSYM
#define BY_NAME(name, version, symbol, prototype)                       \
	if (!(name = (cuda_result(*) prototype)dlsym(driver, #symbol))) \
		die("no " #symbol);
	FUNCTIONS(BY_NAME)
#else
	typedef cuda_result lookup_fn(const char *, void **, int, uint64_t, int *);
#ifdef FIND_PER_THREAD
	uint64_t flags = CUDA_ABI_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
#else
	uint64_t flags = 0;
#endif
	lookup_fn *lookup = (lookup_fn *)dlsym(driver, "cuGetProcAddress_v2");
	int found;
	void *pfn;

	/* As cudart: the function that was found by name is asked for itself. */
	if (!lookup || lookup("cuGetProcAddress", &pfn, 12000, 0, &found) || !pfn)
		die("no cuGetProcAddress");
	lookup = (lookup_fn *)pfn;
#define BY_LOOKUP(name, version, symbol, prototype)                                        \
	if (lookup(#name, &pfn, version < 12040 ? version : 12040, flags, &found) || !pfn) \
		die("no " #name);                                                          \
	name = (cuda_result(*) prototype)pfn;
	FUNCTIONS(BY_LOOKUP)
#endif
}
#endif

#define N_SLOTS 64
static struct {
	cuda_ptr ptr;
	size_t size;
	bool async;
} slots[N_SLOTS];
static cuda_stream stream;
static cuda_device device;
static cuda_context context;
static bool own_context;
static cu_function fill, sum, spin;

static void pattern(uint64_t *to, size_t n, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t x = (seed << 40) + from + i + 1;

		x ^= x >> 31;
		x *= 0x9e3779b97f4a7c15u;
		to[i] = x ^ (x >> 29);
	}
}

#define PIECE (1u << 20)
static uint64_t mine[PIECE / 8], theirs[PIECE / 8];

static cuda_result put(cuda_ptr ptr, size_t size, uint64_t seed)
{
	for (size_t at = 0; at < size; at += PIECE) {
		size_t n = size - at < PIECE ? size - at : PIECE;
		cuda_result r;

		pattern(mine, PIECE / 8, seed, at / 8);
		r = cuMemcpyHtoD(ptr + at, mine, n);
		if (r)
			return r;
	}
	return 0;
}

/* *out_wrong: where the first byte differs, or size. */
static cuda_result check(cuda_ptr ptr, size_t size, uint64_t seed, size_t *out_wrong)
{
	for (size_t at = 0; at < size; at += PIECE) {
		size_t n = size - at < PIECE ? size - at : PIECE;
		cuda_result r;

		pattern(mine, PIECE / 8, seed, at / 8);
		r = cuMemcpyDtoH(theirs, ptr + at, n);
		if (r)
			return r;
		if (memcmp(mine, theirs, n)) {
			*out_wrong = at;
			return 0;
		}
	}
	*out_wrong = size;
	return 0;
}

static cuda_result launch(cu_function function, void **args)
{
	return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL);
}

static cuda_result sum_of(unsigned int slot, uint64_t *out)
{
	cuda_ptr to, from = slots[slot].ptr;
	uint64_t n = slots[slot].size;
	void *args[] = { &to, &from, &n };
	cuda_result r = cuMemAlloc(&to, 8);

	if (r)
		return r;
	r = launch(sum, args);
	if (!r)
		r = cuStreamSynchronize(stream);
	if (!r)
		r = cuMemcpyDtoH(out, to, 8);
	cuMemFree(to);
	return r;
}

static void answer(cuda_result r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void answer(cuda_result r, const char *format, ...)
{
	va_list args;

	if (r) {
		printf("error %d\n", r);
	} else {
		va_start(args, format);
		printf("ok");
		vprintf(format, args);
		printf("\n");
		va_end(args);
	}
	fflush(stdout);
}

static cuda_result allocate(unsigned int slot, size_t size, const char *how, size_t *out_pitch)
{
	cuda_result r;

	slots[slot].size = size;
	slots[slot].async = !strcmp(how, "async");
	*out_pitch = 0;
	if (slots[slot].async)
		return cuMemAllocAsync(&slots[slot].ptr, size, stream);
	if (!strcmp(how, "managed"))
		return cuMemAllocManaged(&slots[slot].ptr, size, 1);
	if (strcmp(how, "pitch"))
		return cuMemAlloc(&slots[slot].ptr, size);
	/* Rows of 1000 bytes. */
	r = cuMemAllocPitch(&slots[slot].ptr, out_pitch, 1000, size / 1000, 4);
	slots[slot].size = *out_pitch * (size / 1000);
	return r;
}

/* ---- threads: what may stand in each other's way at a gate ---- */

static pthread_mutex_t shared = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool stop;
static _Atomic int failure;

static void want_shared(void *data)
{
	(void)data;
	pthread_mutex_lock(&shared);
	pthread_mutex_unlock(&shared);
}

/* Launches with the lock held that the host functions in the stream want. */
static void *hammer(void *arg)
{
	uint64_t ns = 1000;
	void *args[] = { &ns };
	cuda_result r = cuCtxSetCurrent(context);

	(void)arg;
	while (!stop && !r) {
		pthread_mutex_lock(&shared);
		r = launch(spin, args);
		if (!r)
			r = cuLaunchHostFunc(stream, want_shared, NULL);
		if (!r)
			r = launch(spin, args);
		pthread_mutex_unlock(&shared);
		if (!r)
			r = cuStreamSynchronize(stream);
	}
	if (r)
		failure = r;
	return NULL;
}

static void run_threads(unsigned int n, double seconds)
{
	pthread_t threads[16];

	stop = false;
	failure = 0;
	for (unsigned int i = 0; i < n && i < 16; i++)
		pthread_create(&threads[i], NULL, hammer, NULL);
	usleep((unsigned int)(seconds * 1e6));
	stop = true;
	for (unsigned int i = 0; i < n && i < 16; i++)
		pthread_join(threads[i], NULL);
	answer(failure, " ");
}

/* Fills a slot over and over, and looks at it in between: a program at work. Answers how often. */
static void run_work(unsigned int slot, double seconds)
{
	struct timespec begin, now;
	cuda_ptr to = slots[slot].ptr;
	uint64_t n = slots[slot].size, got, rounds = 0;
	cuda_result r = 0;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		uint32_t byte = (uint32_t)(rounds * 7 + slot) % 251 + 1;
		void *args[] = { &to, &n, &byte };

		r = launch(fill, args);
		if (!r)
			r = sum_of(slot, &got);
		if (!r && got != n * byte) {
			answer(0, " wrong %" PRIu64 " %" PRIu64, got, n * byte);
			return;
		}
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!r &&
		 (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 <
			 seconds);
	answer(r, " %" PRIu64, rounds);
}

static void run_fork(void)
{
	cuda_ptr ptr;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		cuda_result r = cuMemAlloc(&ptr, 8u << 20);
		uint64_t ns = 1;
		void *args[] = { &ns };

		_exit(r == launch(spin, args) ? r & 127 : 126);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		answer(0, " died");
	else
		answer(0, " %d", WEXITSTATUS(status));
}

/* The context as the runtime has it, or as programs of old; a stream, the kernels. */
static cuda_result use_device(void)
{
	cu_module module;
	cuda_result r;

	if (own_context)
		r = cuCtxCreate(&context, 0, device);
	else
		r = cuDevicePrimaryCtxRetain(&context, device);
	if (!r)
		r = cuCtxSetCurrent(context);
	if (!r)
		r = cuStreamCreate(&stream, 1);
	if (!r)
		r = cuModuleLoadData(&module, STANDIN_MODULE);
	if (!r)
		r = cuModuleGetFunction(&fill, module, "fill");
	if (!r)
		r = cuModuleGetFunction(&sum, module, "sum");
	return r ? r : cuModuleGetFunction(&spin, module, "spin");
}

static void command(const char *word, unsigned int slot, uint64_t number, const char *how)
{
	struct cuda_uuid table_id;
	const void *table;
	size_t a = 0, b = 0;
	uint64_t value = 0;
	cuda_ptr base = 0;
	char handle[64];
	cuda_mem mem;
	cuda_result r;

	if (!strcmp(word, "alloc")) {
		r = allocate(slot, number, how, &a);
		answer(r, " %llu %zu", slots[slot].ptr, a);
	} else if (!strcmp(word, "free")) {
		r = slots[slot].async ? cuMemFreeAsync(slots[slot].ptr, stream) :
					cuMemFree(slots[slot].ptr);
		answer(r, " ");
	} else if (!strcmp(word, "freesync")) {
		answer(cuMemFree(slots[slot].ptr), " ");
	} else if (!strcmp(word, "put")) {
		answer(put(slots[slot].ptr, slots[slot].size, number), " ");
	} else if (!strcmp(word, "check")) {
		r = check(slots[slot].ptr, slots[slot].size, number, &a);
		answer(r, a == slots[slot].size ? " same" : " differs at %zu", a);
	} else if (!strcmp(word, "fill")) {
		uint64_t n = slots[slot].size;
		uint32_t byte = (uint32_t)number;
		void *args[] = { &slots[slot].ptr, &n, &byte };

		answer(launch(fill, args), " ");
	} else if (!strcmp(word, "sum")) {
		r = sum_of(slot, &value);
		answer(r, " %" PRIu64, value);
	} else if (!strcmp(word, "work")) {
		run_work(slot, (double)number / 1000);
	} else if (!strcmp(word, "threads")) {
		run_threads(slot, (double)number / 1000);
	} else if (!strcmp(word, "spin")) {
		void *args[] = { &number };

		answer(launch(spin, args), " ");
	} else if (!strcmp(word, "wait")) {
		/* For what `fill` has put there. */
		r = cuStreamWaitValue32(NULL, slots[slot].ptr, 0x01010101u * (uint32_t)number,
					CUDA_ABI_STREAM_WAIT_VALUE_EQ);
		answer(r ? r : cuCtxSynchronize(), " ");
	} else if (!strcmp(word, "sync")) {
		answer(cuCtxSynchronize(), " ");
	} else if (!strcmp(word, "info")) {
		r = cuMemGetInfo(&a, &b);
		answer(r, " %zu %zu", a, b);
	} else if (!strcmp(word, "total")) {
		r = cuDeviceTotalMem(&a, device);
		answer(r, " %zu", a);
	} else if (!strcmp(word, "range")) {
		r = cuMemGetAddressRange(&base, &a, slots[slot].ptr + number);
		answer(r, " %llu %zu", base, a);
	} else if (!strcmp(word, "attribute")) {
		r = cuPointerGetAttribute(&value, (int)number, slots[slot].ptr + 64);
		answer(r, " %" PRIu64, value);
	} else if (!strcmp(word, "ipc")) {
		answer(cuIpcGetMemHandle(handle, slots[slot].ptr), " ");
	} else if (!strcmp(word, "retain")) {
		answer(cuMemRetainAllocationHandle(&mem, (void *)(uintptr_t)slots[slot].ptr), " ");
	} else if (!strcmp(word, "unmap")) {
		answer(cuMemUnmap(slots[slot].ptr, slots[slot].size), " ");
	} else if (!strcmp(word, "table")) {
		memcpy(table_id.bytes, "vram stand-in 01", 16);
		r = cuGetExportTable(&table, &table_id);
		answer(r, " %zu", r ? 0 : (size_t)((void *const *)table)[0]);
	} else if (!strcmp(word, "fork")) {
		run_fork();
	} else if (!strcmp(word, "reset")) {
		/* As cudaDeviceReset, and everything made anew. */
		r = cuDevicePrimaryCtxReset(device);
		answer(r ? r : use_device(), " ");
	} else if (!strcmp(word, "destroy")) {
		answer(cuCtxDestroy(context), " ");
	} else {
		printf("fatal unknown command %s\n", word);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	char line[256], word[32], how[32];

	find_all();
	if (cuInit(0))
		die("cuInit");
	if (cuDeviceGet(&device, 0))
		die("cuDeviceGet");
	own_context = argc > 1 && !strcmp(argv[1], "own");
	if (use_device())
		die("use_device");
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned int slot = 0;
		uint64_t number = 0;

		how[0] = '\0';
		if (sscanf(line, "%31s %u %" SCNu64 " %31s", word, &slot, &number, how) < 1 ||
		    slot >= N_SLOTS)
			die("a command");
		command(word, slot, number, how);
	}
	return 0;
}
