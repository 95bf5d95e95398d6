// SPDX-License-Identifier: GPL-2.0-only
/*
 * vram_layer_release_on(): a layer stays pinned until the stream has come so far, and no longer, however the release gets
 * there, from however many streams and threads.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

#define MS 1000000ull

static cuda_stream streams[2];
/* Pinned: a copy to other memory would not be asynchronous. */
static unsigned char *sink;

static void make_streams(void)
{
	for (int i = 0; i < 2; i++)
		ok(cu.stream_create(&streams[i], CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.mem_host_alloc((void **)&sink, 4096, 0));
}

/* Work that takes a while, on what the layer has. */
static void work(struct vram_layer *layer, cuda_stream stream)
{
	uint64_t bytes;
	void *p;

	vram_layer_extent(layer, 0, &p, &bytes);
	ok(cu.memcpy_dtoh_async(sink + (stream == streams[1] ? 64 : 0), (uintptr_t)p, 64, stream));
}

static void slow_down(uint64_t ns)
{
	card->image->latency_ns = ns;
}

/* ---- which way a release goes; each test runs once for each ---- */

enum way {
	BY_WRITE,
	BY_EVENT_NO_OPS,	 /* the driver lacks 64-bit memory operations */
	BY_EVENT_NO_REGISTERING, /* the table cannot be registered */
	BY_EVENT_NO_WRITE,	 /* the driver has promised what it does not do */
	N_WAYS,
};

static void setup_way(int way)
{
	vram_model_close(model);
	vram_close(client);
	if (way == BY_EVENT_NO_OPS)
		card->image->overrides[0] = (struct standin_override){
			CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 0
		};
	else if (way == BY_EVENT_NO_REGISTERING)
		standin_fault(card, "cuMemHostRegister", CUDA_ABI_ERROR_NOT_SUPPORTED, 0, -1,
			      getpid(), 0);
	else if (way == BY_EVENT_NO_WRITE)
		standin_fault(card, "cuStreamWriteValue64", CUDA_ABI_ERROR_NOT_SUPPORTED, 0, -1,
			      getpid(), 0);
	client = world_client();
	model = world_model(client, world_path());
	make_streams();
}

static uint64_t writes(void)
{
	return standin_calls(card, "cuStreamWriteValue64", getpid());
}

START_TEST(pinned_until_the_stream_is_there)
{
	struct vram_layer *layer = vram_model_layer(model, 2);
	uint64_t before, faults;

	setup_way(_i);
	layer = vram_model_layer(model, 2);
	before = writes();
	faults = standin_calls(card, "cuEventRecord", getpid());
	good(vram_layer_acquire(layer, FOREVER));
	slow_down(200 * MS);
	work(layer, streams[0]);
	good(world_release_on(layer, streams[0]));
	ck_assert_uint_eq(world_pins(layer), 1);
	if (_i == BY_WRITE) {
		ck_assert_uint_eq(writes(), before + 1);
		ck_assert_uint_eq(standin_calls(card, "cuEventRecord", getpid()), faults);
	} else {
		ck_assert_uint_eq(standin_calls(card, "cuEventRecord", getpid()), faults + 1);
	}
	ok(cu.stream_synchronize(streams[0]));
	EVENTUALLY(world_pins(layer) == 0);
	slow_down(20000);
	world_walk(model);
}
END_TEST

/* Many of them, in one stream and in two, with and without the processor's own between them. */
START_TEST(every_release_counts)
{
	struct vram_layer *layer;

	setup_way(_i);
	layer = vram_model_layer(model, 2);
	slow_down(1 * MS);
	for (int i = 0; i < 60; i++) {
		good(vram_layer_acquire(layer, FOREVER));
		if (i % 5 == 4) {
			vram_layer_release(layer);
			continue;
		}
		work(layer, streams[i / 7 % 2]);
		good(world_release_on(layer, streams[i / 7 % 2]));
	}
	ok(cu.stream_synchronize(streams[0]));
	ok(cu.stream_synchronize(streams[1]));
	EVENTUALLY(world_pins(layer) == 0);
	slow_down(20000);
	world_walk(model);
}
END_TEST

/* The second stream is done long before the first: neither release is lost, none counts twice. */
START_TEST(streams_out_of_order)
{
	struct vram_layer *layer;

	setup_way(_i);
	layer = vram_model_layer(model, 2);
	good(vram_layer_acquire(layer, FOREVER));
	good(vram_layer_acquire(layer, FOREVER));
	slow_down(300 * MS);
	work(layer, streams[0]);
	good(world_release_on(layer, streams[0]));
	slow_down(20000);
	good(world_release_on(layer, streams[1]));
	ok(cu.stream_synchronize(streams[1]));
	EVENTUALLY(world_pins(layer) <= 1);
	ok(cu.stream_synchronize(streams[0]));
	EVENTUALLY(world_pins(layer) == 0);
	world_walk(model);
}
END_TEST

/* Under pressure: layers are evicted as soon as the stream allows it, and never before. */
START_TEST(walk_by_streams)
{
	enum {
		LANES = 2
	};
	static unsigned char *copies[LANES];

	setup_way(_i);
	for (int i = 0; i < LANES; i++)
		ok(cu.mem_host_alloc((void **)&copies[i], LAYER_BYTES, 0));
	for (uint32_t i = 0; i < 4 * LAYERS; i++) {
		struct vram_layer *layer = vram_model_layer(model, i % LAYERS);
		unsigned int lane = i % LANES;
		uint64_t bytes;
		void *p;

		if (i >= LANES) {
			ok(cu.stream_synchronize(streams[lane]));
			ck_assert_uint_eq(vramd_wrong(copies[lane], LAYER_BYTES,
						      (i - LANES) % LAYERS * LAYER_BYTES, SEED),
					  0);
		}
		good(vram_layer_acquire(layer, 60 * SECOND));
		vram_layer_extent(layer, 0, &p, &bytes);
		memset(copies[lane], 0, LAYER_BYTES);
		ok(cu.memcpy_dtoh_async(copies[lane], (uintptr_t)p, bytes, streams[lane]));
		good(world_release_on(layer, streams[lane]));
	}
	for (int i = 0; i < LANES; i++)
		ok(cu.stream_synchronize(streams[i]));
	for (uint32_t i = 0; i < LAYERS; i++)
		EVENTUALLY(world_pins(vram_model_layer(model, i)) == 0);
}
END_TEST

/* Closing what a stream still uses waits for it: its addresses are good until then. */
START_TEST(closing_waits)
{
	struct vram_layer *layer;

	setup_way(_i);
	layer = vram_model_layer(model, 2);
	good(vram_layer_acquire(layer, FOREVER));
	slow_down(300 * MS);
	work(layer, streams[0]);
	good(world_release_on(layer, streams[0]));
	vram_model_close(model);
	ck_assert_int_eq(cu.stream_query(streams[0]), CUDA_ABI_SUCCESS);
	slow_down(20000);
	model = world_model(client, world_path());
	world_walk(model);
}
END_TEST

struct releaser {
	pthread_t thread;
	cuda_stream stream;
	int failed;
};

static void *release_many(void *arg)
{
	struct releaser *r = arg;

	ok(cu.ctx_set_current(context));
	for (uint32_t i = 0; i < 100; i++) {
		struct vram_layer *layer = vram_model_layer(model, i % FIT);

		if (vram_layer_acquire(layer, 60 * SECOND) < 0 ||
		    world_release_on(layer, r->stream) < 0)
			r->failed++;
	}
	return NULL;
}

START_TEST(threads_release)
{
	struct releaser r[4];

	setup_way(_i);
	for (int i = 0; i < 4; i++) {
		r[i] = (struct releaser){ .stream = streams[i % 2] };
		pthread_create(&r[i].thread, NULL, release_many, &r[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(r[i].thread, NULL);
		ck_assert_int_eq(r[i].failed, 0);
	}
	for (uint32_t i = 0; i < FIT; i++)
		EVENTUALLY(world_pins(vram_model_layer(model, i)) == 0);
	world_walk(model);
}
END_TEST

/* ---- what fails ---- */

START_TEST(refused_keeps_the_pin)
{
	struct vram_layer *layer = vram_model_layer(model, 2);
	static const char *const calls[] = { "cuStreamIsCapturing", "cuStreamWriteValue64",
					     "cuCtxPushCurrent" };

	make_streams();
	good(vram_layer_acquire(layer, FOREVER));
	for (int i = 0; i < 3; i++) {
		standin_fault(card, calls[i], CUDA_ABI_ERROR_UNKNOWN, 0, 1, getpid(), 0);
		ck_assert_int_eq(world_release_on(layer, streams[0]), -EIO);
		ck_assert_str_ne(vram_error_text(), "");
		ck_assert_uint_eq(world_pins(layer), 1);
		standin_clear_faults(card);
	}
	ck_assert_int_eq(world_release_on(layer, (cuda_stream)0x77777), -EINVAL);
	ck_assert_uint_eq(world_pins(layer), 1);
	good(world_release_on(layer, streams[0]));
	ok(cu.stream_synchronize(streams[0]));
	EVENTUALLY(world_pins(layer) == 0);
}
END_TEST

START_TEST(no_event)
{
	struct vram_layer *layer;

	setup_way(BY_EVENT_NO_OPS);
	layer = vram_model_layer(model, 2);
	good(vram_layer_acquire(layer, FOREVER));
	standin_fault(card, "cuEventCreate", CUDA_ABI_ERROR_OUT_OF_MEMORY, 0, 1, getpid(), 0);
	ck_assert_int_eq(world_release_on(layer, streams[0]), -ENOMEM);
	standin_fault(card, "cuEventRecord", CUDA_ABI_ERROR_UNKNOWN, 0, 1, getpid(), 0);
	ck_assert_int_eq(world_release_on(layer, streams[0]), -EIO);
	ck_assert_uint_eq(world_pins(layer), 1);
	good(world_release_on(layer, streams[0]));
	ok(cu.stream_synchronize(streams[0]));
	EVENTUALLY(world_pins(layer) == 0);
}
END_TEST

/* A graph would write the same number whenever it is launched. */
START_TEST(captured_stream)
{
	struct vram_layer *layer = vram_model_layer(model, 2);
	cuda_result (*begin)(cuda_stream stream, int mode);
	cuda_result (*end)(cuda_stream stream, void **out_graph);
	void *pfn, *graph = NULL;

	make_streams();
	pfn = dlsym(cu.library, "cuStreamBeginCapture_v2");
	ck_assert_ptr_nonnull(pfn);
	memcpy(&begin, &pfn, sizeof(pfn));
	pfn = dlsym(cu.library, "cuStreamEndCapture");
	ck_assert_ptr_nonnull(pfn);
	memcpy(&end, &pfn, sizeof(pfn));
	good(vram_layer_acquire(layer, FOREVER));
	ok(begin(streams[0], 2));
	ck_assert_int_eq(world_release_on(layer, streams[0]), -EINVAL);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "captured"));
	ck_assert_uint_eq(world_pins(layer), 1);
	/* The capture has come to no harm, and other streams are free. */
	good(world_release_on(layer, streams[1]));
	ok(end(streams[0], &graph));
	ok(cu.stream_synchronize(streams[1]));
	EVENTUALLY(world_pins(layer) == 0);
}
END_TEST

START_TEST(default_streams)
{
	struct vram_layer *layer = vram_model_layer(model, 2);

	for (int i = 0; i < 3; i++) {
		good(vram_layer_acquire(layer, FOREVER));
		good(world_release_on(layer, (cuda_stream)(intptr_t)i));
		ok(cu.ctx_synchronize());
		EVENTUALLY(world_pins(layer) == 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("releases by streams");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "releases");
	tcase_add_loop_test(tc, pinned_until_the_stream_is_there, 0, N_WAYS);
	tcase_add_loop_test(tc, every_release_counts, 0, N_WAYS);
	tcase_add_loop_test(tc, streams_out_of_order, 0, N_WAYS);
	tcase_add_loop_test(tc, walk_by_streams, 0, N_WAYS);
	tcase_add_loop_test(tc, closing_waits, 0, N_WAYS);
	tcase_add_loop_test(tc, threads_release, 0, N_WAYS);
	tc = world_case(suite, "failures");
	tcase_add_test(tc, refused_keeps_the_pin);
	tcase_add_test(tc, no_event);
	tcase_add_test(tc, captured_stream);
	tcase_add_test(tc, default_streams);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
