// SPDX-License-Identifier: GPL-2.0-only
/*
 * libvram on a card whose driver fails: at every call that the library makes, the first time, the second, and so on. Each
 * failure is an errno with a sentence, takes back its pin, and leaves nothing half mapped: what is acquired
 * afterwards is right.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

#define NO_MEMORY CUDA_ABI_ERROR_OUT_OF_MEMORY
#define UNKNOWN	  CUDA_ABI_ERROR_UNKNOWN

/* Enough to reach every call of a kind in one pass over the model. */
#define SKIPS 40

static const struct {
	const char *function;
	uint32_t error;
	int want; /* of an acquire */
} binding_calls[] = {
	{ "cuMemImportFromShareableHandle", NO_MEMORY, -ENOMEM },
	{ "cuMemImportFromShareableHandle", CUDA_ABI_ERROR_INVALID_VALUE, -EIO },
	{ "cuMemMap", NO_MEMORY, -ENOMEM },
	{ "cuMemMap", UNKNOWN, -EIO },
	{ "cuMemSetAccess", NO_MEMORY, -ENOMEM },
	{ "cuMemSetAccess", CUDA_ABI_ERROR_INVALID_DEVICE, -EIO },
	{ "cuMemUnmap", UNKNOWN, -EIO },
	{ "cuCtxPushCurrent", UNKNOWN, -EIO },
};

/* A pass in which failures are allowed, but nothing else that is wrong. Return: how many acquires have failed. */
static int walk_with_failures(int want)
{
	int failures = 0;

	for (uint32_t i = 0; i < LAYERS; i++) {
		struct vram_layer *layer = vram_model_layer(model, i);
		int r = vram_layer_acquire(layer, 20 * SECOND);

		if (r == 0) {
			ck_assert_uint_eq(world_wrong(layer), 0);
			vram_layer_release(layer);
		} else {
			ck_assert_int_eq(r, want);
			ck_assert_str_ne(vram_error_text(), "");
			failures++;
		}
		ck_assert_uint_eq(world_pins(layer), 0);
	}
	return failures;
}

START_TEST(every_call_of_binding)
{
	uint64_t all_hits = 0;

	for (int skip = 0; skip < SKIPS; skip += skip < 8 ? 1 : 5) {
		int fault = standin_fault(card, binding_calls[_i].function, binding_calls[_i].error,
					  skip, 1, getpid(), 0);
		int failures = walk_with_failures(binding_calls[_i].want);

		/* A failure to give something back, in RECLAIM, is nobody's acquire. */
		ck_assert_int_le(failures, (int)standin_hits(card, fault));
		all_hits += standin_hits(card, fault);
		standin_clear_faults(card);
		world_walk(model);
	}
	ck_assert_uint_gt(all_hits, 0);
}
END_TEST

/* For long, not once: every acquire fails while it lasts, and works when it is over. */
START_TEST(driver_fails_for_long)
{
	standin_fault(card, "cuMemMap", NO_MEMORY, 0, -1, getpid(), 0);
	ck_assert_int_eq(walk_with_failures(-ENOMEM), LAYERS);
	ck_assert_int_eq(walk_with_failures(-ENOMEM), LAYERS);
	standin_clear_faults(card);
	world_walk(model);
}
END_TEST

START_TEST(no_addresses)
{
	struct vram_buffer *b = NULL;
	struct vram_stats before, after;

	good(vram_client_stats(client, &before));
	standin_fault(card, "cuMemAddressReserve", NO_MEMORY, 0, 1, getpid(), 0);
	ck_assert_int_eq(vram_buffer_new(client, "b", 4 * MIB, 0, &b), -ENOMEM);
	ck_assert_ptr_null(b);
	/* The daemon has forgotten it, too. */
	good(vram_client_stats(client, &after));
	ck_assert_uint_eq(before.total_bytes, after.total_bytes);
	good(vram_buffer_new(client, "b", 4 * MIB, 0, &b));
	vram_buffer_free(b);
}
END_TEST

/* An import that failed is not one for the daemon: it can be taken back, and tried again. */
START_TEST(reclaim_after_failed_import)
{
	struct vram_layer *layer = vram_model_layer(model, 0);

	standin_fault(card, "cuMemImportFromShareableHandle", UNKNOWN, 1, 1, getpid(), 0);
	ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), -EIO);
	card->image->outside_bytes = CARD_BYTES - 16 * MIB;
	nanosleep(&(struct timespec){ .tv_sec = 2 }, NULL);
	card->image->outside_bytes = 0;
	world_walk(model);
}
END_TEST

/* A kernel of the program has died: every acquire that has to map fails, closing returns, nothing hangs. */
START_TEST(context_dies)
{
	struct vram_layer *held = vram_model_layer(model, 0);
	cuda_stream stream;
	int r;

	good(vram_layer_acquire(held, FOREVER));
	ok(cu.stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING));
	standin_fault(card, "cuMemsetD8Async", CUDA_ABI_ERROR_ILLEGAL_ADDRESS, 0, 1, getpid(),
		      STANDIN_FAULT_STICKY);
	ck_assert_int_ne(cu.memset_d8_async(0x1000, 0, 16, stream), 0);
	r = vram_layer_acquire(vram_model_layer(model, 7), 5 * SECOND);
	ck_assert_int_eq(r, -EIO);
	ck_assert_str_ne(vram_error_text(), "");
	r = world_release_on(held, stream);
	ck_assert_int_eq(r, -EIO);
	ck_assert_uint_eq(world_pins(held), 1);
	vram_layer_release(held);
	for (uint32_t i = 0; i < LAYERS; i++)
		ck_assert_uint_eq(world_pins(vram_model_layer(model, i)), 0);
}
END_TEST

/* The same with releases outstanding: they count as done, and closing does not wait for ever. */
START_TEST(context_dies_owing)
{
	struct vram_layer *held = vram_model_layer(model, 0);
	unsigned char *bytes_here;
	cuda_stream stream;
	uint64_t bytes;
	void *p;

	good(vram_layer_acquire(held, FOREVER));
	vram_layer_extent(held, 0, &p, &bytes);
	ok(cu.stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.mem_host_alloc((void **)&bytes_here, 4096, 0));
	/* The copy runs into an error when its turn comes. */
	card->image->latency_ns = 100000000;
	standin_fault(card, "cuMemcpyDtoHAsync", CUDA_ABI_ERROR_ILLEGAL_ADDRESS, 0, 1, getpid(),
		      STANDIN_FAULT_ASYNC);
	ok(cu.memcpy_dtoh_async(bytes_here, (uintptr_t)p, 64, stream));
	good(world_release_on(held, stream));
	/* Noticed when the library calls the driver next; what is outstanding is over then. */
	ck_assert_int_eq(cu.ctx_synchronize(), CUDA_ABI_ERROR_ILLEGAL_ADDRESS);
	ck_assert_int_lt(vram_layer_acquire(vram_model_layer(model, 3), SECOND), 0);
	EVENTUALLY(world_pins(held) == 0);
	vram_model_close(model);
	model = NULL;
}
END_TEST

/* ---- attaching ---- */

static const struct {
	const char *function;
	int want;
} attach_calls[] = {
	{ "cuCtxGetDevice", -EIO },
	{ "cuDeviceGetUuid", -EIO },
	{ "cuCtxPushCurrent", -EIO },
	{ "cuMemGetAllocationGranularity", -EIO },
};

START_TEST(attach_fails)
{
	struct vram_client *c;

	good(vram_connect(d.socket, "test", 0, &c));
	standin_fault(card, attach_calls[_i].function, UNKNOWN, 0, 1, getpid(), 0);
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), attach_calls[_i].want);
	ck_assert_str_ne(vram_error_text(), "");
	/* As before: it may be tried again. */
	good(vram_client_attach_cuda(c, 0));
	model = world_model(c, world_path());
	world_walk(model);
	vram_model_close(model);
	vram_close(c);
}
END_TEST

/* In a process of its own, which has never loaded a driver. */
START_TEST(no_driver)
{
	char command[600];
	const char *build = getenv("VRAM_BUILD");
	int status;

	ck_assert_ptr_nonnull(build);
	snprintf(command, sizeof(command),
		 "LD_LIBRARY_PATH= '%s/tests/cuda/test_client_faults' --attach '%s'", build,
		 d.socket);
	status = system(command);
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static int attach_without_driver(const char *socket_path)
{
	struct vram_client *c;
	int r;

	if (vram_connect(socket_path, "test", 0, &c) < 0)
		return 1;
	r = vram_client_attach_cuda(c, 0);
	printf("%d: %s\n", r, vram_error_text());
	vram_close(c);
	return r == -ENOTSUP && strstr(vram_error_text(), "libcuda.so.1") ? 0 : 2;
}

int main(int argc, char **argv)
{
	SRunner *runner;
	Suite *suite;
	TCase *tc;
	int failed;

	if (argc == 3 && strcmp(argv[1], "--attach") == 0)
		return attach_without_driver(argv[2]);
	if (!vramd_usable())
		return 77;
	suite = suite_create("client on a card that fails");
	tc = world_case(suite, "binding");
	tcase_add_loop_test(tc, every_call_of_binding, 0,
			    (int)(sizeof(binding_calls) / sizeof(binding_calls[0])));
	tcase_add_test(tc, driver_fails_for_long);
	tcase_add_test(tc, no_addresses);
	tcase_add_test(tc, reclaim_after_failed_import);
	tcase_add_test(tc, context_dies);
	tcase_add_test(tc, context_dies_owing);
	tc = world_bare_case(suite, "attaching");
	tcase_add_loop_test(tc, attach_fails, 0,
			    (int)(sizeof(attach_calls) / sizeof(attach_calls[0])));
	tcase_add_test(tc, no_driver);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
