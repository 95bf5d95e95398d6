// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * The stand-in driver's work: order on and between streams, events, values, kernels, errors of
 * work, faults on demand, cuMemAlloc and the host's memory, and how functions are found.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STANDIN_LISTS_ONLY
#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/kernels.h"
#include "tests/support/standin.h"

#define PAGE STANDIN_PAGE
#define CARD (64 * PAGE)
#define MS   1000000ull

static struct standin_card *card;
static struct cuda_driver cu;
static cuda_context context;
static unsigned char *pinned;
static void *library;

#define ok(call)	    ck_assert_int_eq(call, CUDA_ABI_SUCCESS)
#define fails(call, result) ck_assert_int_eq(call, CUDA_ABI_##result)

/* A function that is not in struct cuda_driver, by its symbol. */
#define extra(symbol, ...) ((cuda_result(*) __VA_ARGS__)dlsym(library, #symbol))

static void setup(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "";

	card = standin_new(CARD);
	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	library = dlopen(standin_library(), RTLD_NOW | RTLD_NOLOAD);
	ck_assert_ptr_nonnull(library);
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
	ok(cu.mem_host_alloc((void **)&pinned, 4 * PAGE, 0));
}

static void teardown(void)
{
	standin_free(card);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static cuda_stream stream(unsigned int flags)
{
	cuda_stream s;

	ok(cu.stream_create(&s, flags));
	return s;
}

static cuda_ptr alloc(size_t size)
{
	cuda_ptr ptr;

	ok(cu.mem_alloc(&ptr, size));
	return ptr;
}

static cuda_function kernel(const char *name)
{
	cuda_function function;
	cuda_module module;

	ok(extra(cuModuleLoadData, (cuda_module *, const void *))(&module, STANDIN_MODULE));
	ok(extra(cuModuleGetFunction, (cuda_function *, cuda_module, const char *))(&function,
										    module, name));
	return function;
}

typedef cuda_result (*launch_fn)(cuda_function, unsigned int, unsigned int, unsigned int,
				 unsigned int, unsigned int, unsigned int, unsigned int,
				 cuda_stream, void **, void **);

static cuda_result launch(const char *name, cuda_stream s, uint64_t a, uint64_t b, uint64_t c)
{
	void *params[] = { &a, &b, &c };

	return ((launch_fn)dlsym(library, "cuLaunchKernel"))(kernel(name), 1, 1, 1, 32, 1, 1, 0, s,
							     params, NULL);
}

/* A piece of work that takes so long. */
static void spin(cuda_stream s, uint64_t ns)
{
	ok(launch("spin", s, ns, 0, 0));
}

/* Keeps a stream busy until let_go() with the same number, however slow the machine is. */
static _Atomic uint64_t *gate(unsigned int i)
{
	return (_Atomic uint64_t *)(pinned + 3 * PAGE) + i;
}

static void hold(cuda_stream s, unsigned int i)
{
	*gate(i) = 0;
	ok(cu.stream_wait_value64(s, (uintptr_t)gate(i), 1, CUDA_ABI_STREAM_WAIT_VALUE_EQ));
}

static void let_go(unsigned int i)
{
	*gate(i) = 1;
}

/* ---- order ---- */

START_TEST(test_calls_do_not_wait)
{
	cuda_stream s = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	uint64_t start;

	hold(s, 0);
	spin(s, 50 * MS);
	fails(cu.stream_query(s), ERROR_NOT_READY);
	start = now();
	let_go(0);
	ok(cu.stream_synchronize(s));
	ck_assert(now() - start >= 50 * MS);
	ok(cu.stream_query(s));
}
END_TEST

START_TEST(test_work_in_order)
{
	cuda_stream s = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	cuda_ptr ptr = alloc(PAGE);
	unsigned int i;

	for (i = 0; i < 50; i++)
		ok(cu.memset_d8_async(ptr, i, PAGE, s));
	ok(cu.memcpy_dtoh_async(pinned, ptr, PAGE, s));
	ok(cu.stream_synchronize(s));
	for (i = 0; i < PAGE; i += 4096)
		ck_assert_uint_eq(pinned[i], 49);
}
END_TEST

START_TEST(test_the_null_stream_waits_for_blocking_ones)
{
	cuda_stream blocking = stream(CUDA_ABI_STREAM_DEFAULT),
		    other = stream(CUDA_ABI_STREAM_NON_BLOCKING);

	hold(blocking, 0);
	spin(NULL, 0);
	usleep(20000);
	fails(cu.stream_query(NULL), ERROR_NOT_READY);
	let_go(0);
	ok(cu.stream_synchronize(NULL));
	/* And they for it. */
	hold(NULL, 1);
	spin(blocking, 0);
	usleep(20000);
	fails(cu.stream_query(blocking), ERROR_NOT_READY);
	/* The others have nothing to do with it. */
	spin(other, 0);
	ok(cu.stream_synchronize(other));
	let_go(1);
	ok(cu.stream_synchronize(blocking));
	hold(other, 2);
	ok(cu.stream_synchronize(NULL));
	ok(cu.stream_query(NULL));
	let_go(2);
}
END_TEST

START_TEST(test_per_thread_null)
{
	cuda_result (*query)(cuda_stream) = extra(cuStreamQuery_ptsz, (cuda_stream));

	/* It is another stream than NULL, and the same as 2. */
	ok(extra(cuStreamWaitValue64_v2_ptsz, (cuda_stream, cuda_ptr, uint64_t, unsigned int))(
		NULL, (uintptr_t)gate(0), 1, CUDA_ABI_STREAM_WAIT_VALUE_EQ));
	fails(query(NULL), ERROR_NOT_READY);
	fails(cu.stream_query(CUDA_ABI_STREAM_PER_THREAD), ERROR_NOT_READY);
	let_go(0);
	ok(extra(cuStreamSynchronize_ptsz, (cuda_stream))(NULL));
	ok(query(NULL));
	hold(CUDA_ABI_STREAM_LEGACY, 1);
	fails(cu.stream_query(NULL), ERROR_NOT_READY);
	ok(query(NULL));
	let_go(1);
}
END_TEST

START_TEST(test_events)
{
	cuda_stream a = stream(CUDA_ABI_STREAM_NON_BLOCKING),
		    b = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	cuda_ptr ptr = alloc(64);
	cuda_event event;

	fails(cu.event_create(&event, CUDA_ABI_EVENT_INTERPROCESS), ERROR_INVALID_VALUE);
	fails(cu.event_create(&event, 0x80), ERROR_INVALID_VALUE);
	ok(cu.event_create(&event, CUDA_ABI_EVENT_DISABLE_TIMING));
	/* Never recorded: complete. */
	ok(cu.event_query(event));
	ok(cu.event_synchronize(event));
	hold(a, 0);
	ok(cu.memset_d8_async(ptr, 1, 64, a));
	ok(cu.event_record(event, a));
	fails(cu.event_query(event), ERROR_NOT_READY);
	/* b waits for what a had then, not for what comes later. */
	ok(cu.stream_wait_event(b, event, 0));
	ok(cu.memcpy_dtoh_async(pinned, ptr, 64, b));
	hold(a, 1);
	usleep(20000);
	fails(cu.stream_query(b), ERROR_NOT_READY);
	let_go(0);
	ok(cu.stream_synchronize(b));
	ck_assert_uint_eq(pinned[63], 1);
	ok(cu.event_query(event));
	fails(cu.stream_query(a), ERROR_NOT_READY);
	let_go(1);
	fails(cu.stream_wait_event(b, event, 8), ERROR_INVALID_VALUE);
	ok(cu.event_destroy(event));
	fails(cu.event_query(event), ERROR_INVALID_HANDLE);
	fails(cu.event_record(event, a), ERROR_INVALID_HANDLE);
	fails(cu.event_destroy(event), ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(test_streams_end)
{
	cuda_stream s = stream(0);
	cuda_ptr ptr = alloc(64);

	/* What is on it is still done, and waited for. */
	hold(s, 0);
	ok(cu.memset_d8_async(ptr, 9, 64, s));
	ok(cu.stream_destroy(s));
	fails(cu.stream_query(NULL), ERROR_NOT_READY);
	let_go(0);
	fails(cu.stream_query(s), ERROR_INVALID_HANDLE);
	fails(cu.stream_destroy(s), ERROR_INVALID_HANDLE);
	fails(cu.stream_destroy(NULL), ERROR_INVALID_HANDLE);
	fails(cu.stream_create(&s, 2), ERROR_INVALID_VALUE);
	ok(cu.memcpy_dtoh(pinned, ptr, 64));
	ck_assert_uint_eq(pinned[0], 9);
}
END_TEST

START_TEST(test_speed)
{
	cuda_stream up = stream(CUDA_ABI_STREAM_NON_BLOCKING),
		    down = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	cuda_ptr ptr = alloc(4 * PAGE);
	uint64_t start = now();

	/* 8 MiB, 84 ms each way. */
	card->image->h2d_bytes_per_s = card->image->d2h_bytes_per_s = 100000000;
	ok(cu.memcpy_htod_async(ptr, pinned, 2 * PAGE, up));
	ok(cu.memcpy_htod_async(ptr, pinned, 2 * PAGE, up));
	ok(cu.memcpy_dtoh_async(pinned + 2 * PAGE, ptr + 2 * PAGE, 2 * PAGE, down));
	ok(cu.memcpy_dtoh_async(pinned + 2 * PAGE, ptr + 2 * PAGE, 2 * PAGE, down));
	ok(cu.ctx_synchronize());
	ck_assert(now() - start >= 80 * MS);
	/* Two streams one way share it. */
	start = now();
	ok(cu.memcpy_htod_async(ptr, pinned, 2 * PAGE, up));
	ok(cu.memcpy_htod_async(ptr + 2 * PAGE, pinned, 2 * PAGE, down));
	ok(cu.ctx_synchronize());
	ck_assert(now() - start >= 80 * MS);
}
END_TEST

/* ---- values and functions ---- */

START_TEST(test_values_through_registered_memory)
{
	_Atomic uint64_t *word =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cuda_stream s = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	cuda_ptr ptr;

	fails(cu.mem_host_get_device_pointer(&ptr, (void *)word, 0), ERROR_INVALID_VALUE);
	ok(cu.mem_host_register((void *)word, 4096, 0));
	fails(cu.mem_host_register((void *)word, 64, 0), ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	ok(cu.mem_host_get_device_pointer(&ptr, (void *)word, 0));
	hold(s, 0);
	ok(cu.stream_write_value64(s, ptr + 8, 0x123456789abcdefull, 0));
	usleep(20000);
	ck_assert_uint_eq(word[1], 0);
	let_go(0);
	ok(cu.stream_synchronize(s));
	ck_assert_uint_eq(word[1], 0x123456789abcdefull);
	/* Waiting: at least, cyclically. */
	ok(cu.stream_wait_value64(s, ptr, 5, CUDA_ABI_STREAM_WAIT_VALUE_GEQ));
	usleep(20000);
	fails(cu.stream_query(s), ERROR_NOT_READY);
	word[0] = 4;
	usleep(20000);
	fails(cu.stream_query(s), ERROR_NOT_READY);
	word[0] = 6;
	ok(cu.stream_synchronize(s));
	ok(cu.mem_host_unregister((void *)word));
	fails(cu.mem_host_unregister((void *)word), ERROR_HOST_MEMORY_NOT_REGISTERED);
	fails(cu.stream_write_value64(s, ptr, 1, 0), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_registering_refuses)
{
	unsigned char *p =
		mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cuda_stream s = stream(0);
	cuda_ptr ptr;

	munmap(p + 4096, 4096);
	ck_assert_int_eq(mprotect(p + 8192, 4096, PROT_READ), 0);
	fails(cu.mem_host_register(p, 8192, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_host_register(p, 0, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_host_register(NULL, 4096, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_host_register(p, 4096, 0x10), ERROR_INVALID_VALUE);
	/* To be written by the device unless it is said otherwise. */
	fails(cu.mem_host_register(p + 8192, 4096, 0), ERROR_INVALID_VALUE);
	ok(cu.mem_host_register(p + 8192, 4096, CUDA_ABI_MEMHOSTREGISTER_READ_ONLY));
	ok(cu.mem_host_get_device_pointer(&ptr, p + 8192, 0));
	ok(cu.stream_write_value64(s, ptr, 1, 0));
	fails(cu.stream_synchronize(s), ERROR_ILLEGAL_ADDRESS);
}
END_TEST

static _Atomic unsigned int n_called;
static cuda_result inside;

static void called(void *data)
{
	cuda_event event;

	ck_assert_ptr_eq(data, &n_called);
	inside = cu.event_create(&event, 0);
	n_called++;
}

START_TEST(test_host_functions)
{
	cuda_stream s = stream(CUDA_ABI_STREAM_NON_BLOCKING);

	hold(s, 0);
	ok(cu.launch_host_func(s, called, &n_called));
	usleep(20000);
	ck_assert_uint_eq(n_called, 0);
	let_go(0);
	ok(cu.stream_synchronize(s));
	ck_assert_uint_eq(n_called, 1);
	/* It may not call the driver. */
	ck_assert_int_eq(inside, CUDA_ABI_ERROR_NOT_PERMITTED);
	/* After an error it is not called. */
	ok(launch("trap", s, CUDA_ABI_ERROR_LAUNCH_FAILED, 0, 0));
	ok(cu.launch_host_func(s, called, &n_called));
	fails(cu.stream_synchronize(s), ERROR_LAUNCH_FAILED);
	ck_assert_uint_eq(n_called, 1);
}
END_TEST

/* ---- kernels ---- */

START_TEST(test_kernels)
{
	cuda_stream s = stream(0);
	cuda_ptr a = alloc(3 * PAGE), b = alloc(3 * PAGE), sum = alloc(8);
	struct cuda_launch_config config = { 1, 1, 1, 1, 1, 1, 0, s, NULL, 0 };
	uint64_t result, n = 3 * PAGE;
	void *params[] = { &sum, &b, &n };

	ok(launch("fill", s, a, 3 * PAGE, 3));
	ok(launch("copy", s, b, a, 3 * PAGE));
	ok(extra(cuLaunchKernelEx, (const struct cuda_launch_config *, cuda_function, void **,
				    void **))(&config, kernel("sum"), params, NULL));
	ok(cu.memcpy_dtoh(&result, sum, sizeof(result)));
	ck_assert_uint_eq(result, 3 * 3 * PAGE);
	/* An address that is no allocation's, which only the kernel finds. */
	ok(launch("fill", s, a, 1 << 30, 3));
	fails(cu.ctx_synchronize(), ERROR_ILLEGAL_ADDRESS);
}
END_TEST

START_TEST(test_kernels_refused)
{
	launch_fn fn = (launch_fn)dlsym(library, "cuLaunchKernel");
	uint64_t ns = 0;
	void *params[] = { &ns };
	cuda_module module;
	cuda_function f;

	fails(extra(cuModuleLoadData, (cuda_module *, const void *))(&module, "\177ELF"),
	      ERROR_INVALID_IMAGE);
	ok(extra(cuModuleLoadData, (cuda_module *, const void *))(&module, STANDIN_MODULE));
	fails(extra(cuModuleGetFunction, (cuda_function *, cuda_module, const char *))(&f, module,
										       "nothing"),
	      ERROR_NOT_FOUND);
	fails(fn((cuda_function)&card, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL),
	      ERROR_INVALID_HANDLE);
	fails(fn(kernel("spin"), 0, 1, 1, 1, 1, 1, 0, NULL, params, NULL), ERROR_INVALID_VALUE);
	fails(fn(kernel("spin"), 1, 1, 1, 1, 1, 1, 0, (cuda_stream)&card, params, NULL),
	      ERROR_INVALID_HANDLE);
	ok(extra(cuModuleUnload, (cuda_module))(module));
	fails(extra(cuModuleUnload, (cuda_module))(module), ERROR_INVALID_HANDLE);
}
END_TEST

/* ---- faults ---- */

START_TEST(test_fault_of_the_nth_call)
{
	size_t free, total;
	int f = standin_fault(card, "cuMemGetInfo", CUDA_ABI_ERROR_UNKNOWN, 2, 3, 0, 0);
	unsigned int i, failed = 0;

	for (i = 0; i < 10; i++) {
		cuda_result result = cu.mem_get_info(&free, &total);

		ck_assert_int_eq(result,
				 i >= 2 && i < 5 ? CUDA_ABI_ERROR_UNKNOWN : CUDA_ABI_SUCCESS);
		failed += result != CUDA_ABI_SUCCESS;
	}
	ck_assert_uint_eq(failed, 3);
	ck_assert_uint_eq(standin_hits(card, f), 3);
	ck_assert_uint_eq(standin_calls(card, "cuMemGetInfo", 0), 10);
	ck_assert_uint_eq(standin_calls(card, "cuMemGetInfo", getpid()), 10);
	ck_assert_uint_eq(standin_calls(card, "cuMemGetInfo", getppid()), 0);
}
END_TEST

START_TEST(test_fault_of_another_process)
{
	int f = standin_fault(card, "*", CUDA_ABI_ERROR_UNKNOWN, 0, -1, getppid(), 0);

	ok(cu.ctx_synchronize());
	ck_assert_uint_eq(standin_hits(card, f), 0);
	standin_fault(card, "*", CUDA_ABI_ERROR_UNKNOWN, 0, 1, getpid(), 0);
	fails(cu.ctx_synchronize(), ERROR_UNKNOWN);
	ok(cu.ctx_synchronize());
}
END_TEST

START_TEST(test_sticky_fault)
{
	cuda_stream s = stream(0);

	standin_fault(card, "cuStreamSynchronize", CUDA_ABI_ERROR_LAUNCH_FAILED, 0, 1, 0,
		      STANDIN_FAULT_STICKY);
	fails(cu.stream_synchronize(s), ERROR_LAUNCH_FAILED);
	fails(cu.stream_query(s), ERROR_LAUNCH_FAILED);
	fails(cu.ctx_synchronize(), ERROR_LAUNCH_FAILED);
}
END_TEST

START_TEST(test_fault_in_the_work)
{
	cuda_stream s = stream(0);
	cuda_ptr ptr = alloc(PAGE);
	cuda_event event;

	ok(cu.event_create(&event, 0));
	ok(cu.memset_d8_async(ptr, 1, PAGE, s));
	standin_fault(card, "cuMemsetD8Async", CUDA_ABI_ERROR_ECC_UNCORRECTABLE, 0, 1, 0,
		      STANDIN_FAULT_ASYNC);
	hold(s, 0);
	ok(cu.memset_d8_async(ptr, 2, PAGE, s));
	ok(cu.event_record(event, s));
	fails(cu.event_query(event), ERROR_NOT_READY);
	let_go(0);
	fails(cu.event_synchronize(event), ERROR_ECC_UNCORRECTABLE);
	fails(cu.event_query(event), ERROR_ECC_UNCORRECTABLE);
	fails(cu.memcpy_dtoh(pinned, ptr, PAGE), ERROR_ECC_UNCORRECTABLE);
}
END_TEST

START_TEST(test_lost)
{
	cuda_stream s = stream(0);
	cuda_mem mem;

	spin(s, 10000 * MS);
	card->image->lost_error = CUDA_ABI_ERROR_LAUNCH_FAILED;
	fails(cu.mem_create(&mem, PAGE, &(struct cuda_mem_prop){ 0 }, 0), ERROR_LAUNCH_FAILED);
	fails(cu.stream_synchronize(s), ERROR_LAUNCH_FAILED);
	fails(cu.primary_ctx_release(0), ERROR_LAUNCH_FAILED);
}
END_TEST

/* ---- cuMemAlloc ---- */

START_TEST(test_alloc)
{
	size_t before, after, total, size;
	cuda_ptr small[100], large, base, none;
	unsigned int i;

	ok(cu.mem_get_info(&before, &total));
	for (i = 0; i < 100; i++) {
		small[i] = alloc(1000);
		ck_assert_uint_eq(small[i] % 256, 0);
		ok(cu.memset_d8(small[i], i, 1000));
	}
	/* They share a page. */
	ok(cu.mem_get_info(&after, &total));
	ck_assert_uint_eq(before - after, PAGE);
	large = alloc(PAGE + 1);
	ok(cu.mem_get_info(&after, &total));
	ck_assert_uint_eq(before - after, 3 * PAGE);
	ok(cu.mem_get_address_range(&base, &size, large + PAGE));
	ck_assert_uint_eq(base, large);
	ck_assert_uint_eq(size, PAGE + 1);
	for (i = 0; i < 100; i++) {
		ok(cu.memcpy_dtoh(pinned, small[i], 1000));
		ck_assert_uint_eq(pinned[999], i);
		ok(cu.mem_free(small[i]));
	}
	ok(cu.mem_free(large));
	ok(cu.mem_get_info(&after, &total));
	ck_assert_uint_eq(before, after);
	fails(cu.mem_free(large), ERROR_INVALID_VALUE);
	fails(cu.mem_free(small[0] + 8), ERROR_INVALID_VALUE);
	fails(cu.mem_alloc(&none, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_alloc(&none, CARD + 1), ERROR_OUT_OF_MEMORY);
	fails(cu.mem_get_address_range(&base, &size, large), ERROR_NOT_FOUND);
}
END_TEST

START_TEST(test_alloc_is_no_vmm)
{
	struct cuda_mem_access access = { { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
					  CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ };
	cuda_ptr ptr = alloc(2 * PAGE);
	cuda_mem mem;

	fails(cu.mem_unmap(ptr, 2 * PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_set_access(ptr, 2 * PAGE, &access, 1), ERROR_INVALID_VALUE);
	fails(cu.mem_retain(&mem, (void *)(uintptr_t)ptr), ERROR_INVALID_VALUE);
	fails(cu.mem_address_free(ptr, 2 * PAGE), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_alloc_in_order)
{
	cuda_stream s = stream(CUDA_ABI_STREAM_NON_BLOCKING);
	size_t before, after, total;
	cuda_ptr ptr;

	ok(cu.mem_get_info(&before, &total));
	ok(cu.mem_alloc_async(&ptr, 4 * PAGE, s));
	hold(s, 0);
	ok(cu.memset_d8_async(ptr, 1, 4 * PAGE, s));
	ok(cu.mem_free_async(ptr, s));
	/* Not before the stream gets there. */
	usleep(20000);
	ok(cu.mem_get_info(&after, &total));
	ck_assert_uint_eq(before - after, 4 * PAGE);
	let_go(0);
	ok(cu.stream_synchronize(s));
	ok(cu.mem_get_info(&after, &total));
	ck_assert_uint_eq(before, after);
	fails(cu.mem_free_async(ptr, s), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_pointers)
{
	cuda_ptr ptr = alloc(PAGE * 2), value;
	unsigned int type;
	int yes;

	ok(cu.pointer_get_attribute(&type, CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE, ptr + 5));
	ck_assert_uint_eq(type, CUDA_ABI_MEMORYTYPE_DEVICE);
	ok(cu.pointer_get_attribute(&type, CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE,
				    (uintptr_t)pinned));
	ck_assert_uint_eq(type, CUDA_ABI_MEMORYTYPE_HOST);
	ok(cu.pointer_get_attribute(&value, CUDA_ABI_POINTER_ATTRIBUTE_RANGE_START_ADDR, ptr + 5));
	ck_assert_uint_eq(value, ptr);
	ok(cu.pointer_get_attribute(&yes, CUDA_ABI_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
				    ptr));
	ck_assert_int_eq(yes, 1);
	fails(cu.pointer_get_attribute(&type, CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE,
				       (uintptr_t)&card),
	      ERROR_INVALID_VALUE);
	fails(cu.pointer_get_attribute(&type, CUDA_ABI_POINTER_ATTRIBUTE_HOST_POINTER, ptr),
	      ERROR_INVALID_VALUE);
}
END_TEST

/* ---- finding functions ---- */

static void *find(const char *base, int version, uint64_t flags, int *out_found)
{
	void *pfn = &pfn;

	ok(extra(cuGetProcAddress_v2, (const char *, void **, int, uint64_t,
				       int *))(base, &pfn, version, flags, out_found));
	return pfn;
}

START_TEST(test_lookup)
{
	void *pfn;
	int found;

	ck_assert_ptr_eq(find("cuMemAlloc", 3020, 0, &found), dlsym(library, "cuMemAlloc_v2"));
	ck_assert_int_eq(found, CUDA_ABI_GET_PROC_ADDRESS_SUCCESS);
	ck_assert_ptr_eq(find("cuMemAlloc", 12040, 1, &found), dlsym(library, "cuMemAlloc_v2"));
	ck_assert_ptr_eq(find("cuStreamQuery", 12040, 1, &found), dlsym(library, "cuStreamQuery"));
	ck_assert_ptr_eq(find("cuStreamQuery", 12040, 2, &found),
			 dlsym(library, "cuStreamQuery_ptsz"));
	ck_assert_ptr_eq(find("cuMemcpyHtoD", 12040, 2, &found),
			 dlsym(library, "cuMemcpyHtoD_v2_ptds"));
	ck_assert_ptr_eq(find("cuMemAlloc", 12040, 2, &found), dlsym(library, "cuMemAlloc_v2"));
	ck_assert_ptr_eq(find("cuGetProcAddress", 11030, 0, &found),
			 dlsym(library, "cuGetProcAddress"));
	ck_assert_ptr_eq(find("cuGetProcAddress", 12000, 0, &found),
			 dlsym(library, "cuGetProcAddress_v2"));
	ck_assert_ptr_eq(find("cuStreamDestroy", 3020, 0, &found),
			 dlsym(library, "cuStreamDestroy"));
	ck_assert_ptr_eq(find("cuStreamDestroy", 4000, 0, &found),
			 dlsym(library, "cuStreamDestroy_v2"));
	ck_assert_ptr_ne(dlsym(library, "cuStreamDestroy"), dlsym(library, "cuStreamDestroy_v2"));
	ck_assert_ptr_null(find("cuMemCreate", 10010, 0, &found));
	ck_assert_int_eq(found, CUDA_ABI_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	ck_assert_ptr_null(find("cuMemAlloc_v2", 12040, 0, &found));
	ck_assert_int_eq(found, CUDA_ABI_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	ck_assert_ptr_null(find("", 12040, 0, NULL));
	fails(extra(cuGetProcAddress_v2,
		    (const char *, void **, int, uint64_t, int *))("cuInit", &pfn, 13050, 0, NULL),
	      ERROR_INVALID_VALUE);
	fails(extra(cuGetProcAddress, (const char *, void **, int, uint64_t))("cuNothing", &pfn,
									      12000, 0),
	      ERROR_NOT_FOUND);
}
END_TEST

START_TEST(test_export_tables)
{
	struct cuda_uuid id = { "vram stand-in 0" };
	const void *table = NULL;

	fails(cu.get_export_table(&table, &id), ERROR_NOT_FOUND);
	id.bytes[15] = '1';
	ok(cu.get_export_table(&table, &id));
	ck_assert_ptr_nonnull(table);
}
END_TEST

START_TEST(test_no_ipc)
{
	struct cuda_ipc_mem handle;

	fails(extra(cuIpcGetMemHandle, (struct cuda_ipc_mem *, cuda_ptr))(&handle, alloc(PAGE)),
	      ERROR_NOT_SUPPORTED);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("standin_streams");
	TCase *t = tcase_create("order");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_calls_do_not_wait);
	tcase_add_test(t, test_work_in_order);
	tcase_add_test(t, test_the_null_stream_waits_for_blocking_ones);
	tcase_add_test(t, test_per_thread_null);
	tcase_add_test(t, test_events);
	tcase_add_test(t, test_streams_end);
	tcase_add_test(t, test_speed);
	suite_add_tcase(s, t);

	t = tcase_create("values");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_values_through_registered_memory);
	tcase_add_test(t, test_registering_refuses);
	tcase_add_test(t, test_host_functions);
	tcase_add_test(t, test_kernels);
	tcase_add_test(t, test_kernels_refused);
	suite_add_tcase(s, t);

	t = tcase_create("faults");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_fault_of_the_nth_call);
	tcase_add_test(t, test_fault_of_another_process);
	tcase_add_test(t, test_sticky_fault);
	tcase_add_test(t, test_fault_in_the_work);
	tcase_add_test(t, test_lost);
	suite_add_tcase(s, t);

	t = tcase_create("alloc");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_alloc);
	tcase_add_test(t, test_alloc_is_no_vmm);
	tcase_add_test(t, test_alloc_in_order);
	tcase_add_test(t, test_pointers);
	tcase_add_test(t, test_lookup);
	tcase_add_test(t, test_export_tables);
	tcase_add_test(t, test_no_ipc);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
