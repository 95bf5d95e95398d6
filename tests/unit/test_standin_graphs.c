// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * Captures, graphs and pools of the stand-in driver.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define STANDIN_LISTS_ONLY
#include "tests/cuda-standin/api.h"
#include "tests/support/standin.h"

#define PAGE STANDIN_PAGE
#define CARD (32 * PAGE)

enum mode {
	GLOBAL,
	THREAD_LOCAL,
	RELAXED
};

static struct standin_card *card;
static struct cuda_driver cu;
static cuda_context context;
static unsigned char *pinned;
static cuda_stream s, other;
static cuda_ptr ptr;
static cuda_event event;

/* What only the stand-in's own lists have. */
#define POINTER(field, base, symbol, version, need, prototype) \
	static cuda_result(*base##_fn) prototype;
STANDIN_ENTRIES(POINTER)

#define ok(call)	    ck_assert_int_eq(call, CUDA_ABI_SUCCESS)
#define fails(call, result) ck_assert_int_eq(call, CUDA_ABI_##result)

static void setup(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "";
	void *library;

	card = standin_new(CARD);
	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	library = dlopen(standin_library(), RTLD_NOW | RTLD_NOLOAD);
#define FIND(field, base, symbol, version, need, prototype) \
	*(void **)&base##_fn = dlsym(library, #symbol);     \
	ck_assert_msg(base##_fn != NULL, "%s", #symbol);
	STANDIN_ENTRIES(FIND)
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
	ok(cu.mem_host_alloc((void **)&pinned, PAGE, 0));
	ok(cu.stream_create(&s, CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.stream_create(&other, CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.event_create(&event, CUDA_ABI_EVENT_DISABLE_TIMING));
	ok(cu.mem_alloc(&ptr, PAGE));
	ok(cu.memset_d8(ptr, 0, PAGE));
	/* A fill may still run when its call returns, and s waits for nobody. */
	ok(cu.ctx_synchronize());
}

static void teardown(void)
{
	standin_free(card);
}

static unsigned char byte(unsigned int i)
{
	unsigned char b;

	ok(cu.ctx_synchronize());
	ok(cu.memcpy_dtoh(&b, ptr + i, 1));
	return b;
}

static cuda_capture_status status(cuda_stream stream)
{
	cuda_capture_status status = 99;

	ok(cu.stream_is_capturing(stream, &status));
	return status;
}

START_TEST(test_a_graph_is_done_when_it_is_launched)
{
	cuda_graph_exec exec;
	cuda_graph graph;

	ok(cuStreamBeginCapture_fn(s, GLOBAL));
	ck_assert_int_eq(status(s), CUDA_ABI_STREAM_CAPTURE_STATUS_ACTIVE);
	ok(cu.memset_d8_async(ptr, 7, 16, s));
	ok(cu.memcpy_dtod_async(ptr + 64, ptr, 16, s));
	ok(cuStreamEndCapture_fn(s, &graph));
	ck_assert_int_eq(status(s), CUDA_ABI_STREAM_CAPTURE_STATUS_NONE);
	ck_assert_uint_eq(byte(0), 0);
	ok(cuGraphInstantiateWithFlags_fn(&exec, graph, 0));
	ok(cuGraphDestroy_fn(graph));
	fails(cuGraphDestroy_fn(graph), ERROR_INVALID_VALUE);
	ok(cuGraphLaunch_fn(exec, s));
	ck_assert_uint_eq(byte(64), 7);
	/* And again. */
	ok(cu.memset_d8(ptr, 0, PAGE));
	ok(cu.ctx_synchronize());
	ok(cuGraphLaunch_fn(exec, other));
	ck_assert_uint_eq(byte(79), 7);
	ck_assert_uint_eq(byte(80), 0);
	ok(cuGraphExecDestroy_fn(exec));
	fails(cuGraphLaunch_fn(exec, s), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_another_stream_joins_by_an_event)
{
	cuda_graph_exec exec;
	cuda_graph graph;

	ok(cuStreamBeginCapture_fn(s, GLOBAL));
	ok(cu.memset_d8_async(ptr, 1, 16, s));
	ok(cu.event_record(event, s));
	fails(cu.event_query(event), ERROR_CAPTURED_EVENT);
	ck_assert_int_eq(status(other), CUDA_ABI_STREAM_CAPTURE_STATUS_NONE);
	ok(cu.stream_wait_event(other, event, 0));
	ck_assert_int_eq(status(other), CUDA_ABI_STREAM_CAPTURE_STATUS_ACTIVE);
	ok(cu.memset_d8_async(ptr, 2, 8, other));
	ok(cu.event_record(event, other));
	ok(cu.stream_wait_event(s, event, 0));
	fails(cuStreamEndCapture_fn(other, &graph), ERROR_STREAM_CAPTURE_UNMATCHED);
	ok(cuStreamEndCapture_fn(s, &graph));
	ck_assert_int_eq(status(other), CUDA_ABI_STREAM_CAPTURE_STATUS_NONE);
	ok(cuGraphInstantiateWithFlags_fn(&exec, graph, 0));
	ok(cuGraphLaunch_fn(exec, s));
	ck_assert_uint_eq(byte(0), 2);
	ck_assert_uint_eq(byte(8), 1);
}
END_TEST

/* Each of these spoils a capture, and is refused. */
static cuda_result forbidden(int i)
{
	cuda_ptr p;

	switch (i) {
	case 0:
		return cu.stream_synchronize(s);
	case 1:
		return cu.stream_query(s);
	case 2:
		return cu.ctx_synchronize();
	case 3:
		return cu.mem_alloc(&p, PAGE);
	case 4:
		return cu.mem_free(ptr);
	default:
		return cu.memcpy_htod(ptr, pinned, 16);
	}
}

START_TEST(test_what_spoils_a_capture)
{
	cuda_graph graph = (cuda_graph)&graph;

	ok(cuStreamBeginCapture_fn(s, GLOBAL));
	ok(cu.memset_d8_async(ptr, 7, 16, s));
	fails(forbidden(_i), ERROR_STREAM_CAPTURE_UNSUPPORTED);
	ck_assert_int_eq(status(s), CUDA_ABI_STREAM_CAPTURE_STATUS_INVALIDATED);
	fails(cuStreamEndCapture_fn(s, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
	ck_assert_ptr_null(graph);
	/* That is all: everything works again, and nothing was done. */
	ck_assert_uint_eq(byte(0), 0);
}
END_TEST

START_TEST(test_relaxed_captures_mind_less)
{
	cuda_graph graph;
	cuda_ptr p;

	ok(cuStreamBeginCapture_fn(s, RELAXED));
	ok(cu.mem_alloc(&p, PAGE));
	ok(cu.memcpy_htod(ptr, pinned, 16));
	fails(cu.stream_synchronize(s), ERROR_STREAM_CAPTURE_UNSUPPORTED);
	fails(cuStreamEndCapture_fn(s, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

START_TEST(test_the_null_stream_and_a_blocking_one)
{
	cuda_stream blocking;
	cuda_graph graph;

	ok(cu.stream_create(&blocking, CUDA_ABI_STREAM_DEFAULT));
	fails(cuStreamBeginCapture_fn(NULL, GLOBAL), ERROR_STREAM_CAPTURE_UNSUPPORTED);
	ok(cuStreamBeginCapture_fn(blocking, GLOBAL));
	fails(cu.memset_d8_async(ptr, 1, 1, NULL), ERROR_STREAM_CAPTURE_IMPLICIT);
	fails(cuStreamEndCapture_fn(blocking, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
	ok(cu.memset_d8_async(ptr, 1, 1, NULL));
}
END_TEST

START_TEST(test_captures_refuse)
{
	cuda_graph graph;
	cuda_ptr p;

	fails(cuStreamBeginCapture_fn(s, 3), ERROR_INVALID_VALUE);
	fails(cuStreamEndCapture_fn(s, &graph), ERROR_ILLEGAL_STATE);
	ok(cuStreamBeginCapture_fn(s, THREAD_LOCAL));
	fails(cuStreamBeginCapture_fn(s, THREAD_LOCAL), ERROR_ILLEGAL_STATE);
	fails(cu.mem_alloc_async(&p, PAGE, s), ERROR_NOT_SUPPORTED);
	/* An event of no capture. */
	ok(cu.event_record(event, other));
	fails(cu.stream_wait_event(s, event, 0), ERROR_STREAM_CAPTURE_ISOLATION);
	fails(cuStreamEndCapture_fn(s, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

START_TEST(test_pools)
{
	struct cuda_pool_props props = { .type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
					 .location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 } };
	cuda_pool pool, standard;
	cuda_ptr a, b;

	ok(cuMemPoolCreate_fn(&pool, &props));
	ok(cuDeviceGetDefaultMemPool_fn(&standard, 0));
	ok(cuMemAllocFromPoolAsync_fn(&a, 2 * PAGE, pool, s));
	ok(cuMemAllocFromPoolAsync_fn(&b, 2 * PAGE, standard, s));
	ok(cu.memset_d8_async(a, 1, 2 * PAGE, s));
	ok(cu.memset_d8_async(b, 1, 2 * PAGE, s));
	ok(cu.mem_free_async(a, s));
	ok(cu.mem_free_async(b, s));
	ok(cu.stream_synchronize(s));
	ck_assert_uint_eq(standin_used_bytes(card), PAGE);
	fails(cuMemAllocFromPoolAsync_fn(&a, PAGE, (cuda_pool)&a, s), ERROR_INVALID_VALUE);
	ok(cuMemPoolDestroy_fn(pool));
	fails(cuMemPoolDestroy_fn(pool), ERROR_INVALID_VALUE);
	props.location.id = 1;
	fails(cuMemPoolCreate_fn(&pool, &props), ERROR_INVALID_VALUE);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("standin_graphs");
	TCase *t = tcase_create("graphs");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_a_graph_is_done_when_it_is_launched);
	tcase_add_test(t, test_another_stream_joins_by_an_event);
	tcase_add_loop_test(t, test_what_spoils_a_capture, 0, 6);
	tcase_add_test(t, test_relaxed_captures_mind_less);
	tcase_add_test(t, test_the_null_stream_and_a_blocking_one);
	tcase_add_test(t, test_captures_refuse);
	tcase_add_test(t, test_pools);
	suite_add_tcase(suite, t);
	return suite;
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
