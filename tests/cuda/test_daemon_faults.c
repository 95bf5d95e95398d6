// SPDX-License-Identifier: GPL-2.0-only
/*
 * A daemon whose driver fails, with a client that goes on: every call that vramd makes while it pages, failing at
 * several places. Whatever the client gets is right or an errno, and when the failure is over everything works again.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

static const char *const calls[] = {
	"cuMemGetInfo",
	"cuMemCreate",
	"cuMemMap",
	"cuMemSetAccess",
	"cuMemExportToShareableHandle",
	"cuMemUnmap",
	"cuMemRelease",
	"cuMemHostRegister",
	"cuMemcpyHtoDAsync",
	"cuMemcpyDtoHAsync",
	"cuMemsetD8Async",
	"cuEventRecord",
	"cuEventQuery",
};
#define N_CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

/* Acquires every layer and compares it. Return: how many could not be had. */
static int walk(struct vram_model *m)
{
	int failures = 0;

	for (uint32_t i = 0; i < LAYERS; i++) {
		struct vram_layer *layer = vram_model_layer(m, i);
		int r = vram_layer_acquire(layer, 3 * SECOND);

		if (r < 0) {
			ck_assert_str_ne(vram_error_text(), "");
			failures++;
			continue;
		}
		ck_assert_uint_eq(world_wrong(layer), 0);
		vram_layer_release(layer);
	}
	return failures;
}

/* Acquires what can be had, and writes it or finds it as it was written. Return: how many could not be had. */
static int use_buffer(struct vram_buffer *b, uint32_t n, bool written)
{
	int failures = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct vram_layer *layer = vram_buffer_layer(b, i);

		if (vram_layer_acquire(layer, 3 * SECOND) < 0) {
			failures++;
			continue;
		}
		if (written)
			ck_assert_uint_eq(world_wrong_fill(layer, 500 + i), 0);
		else
			world_fill(layer, 500 + i);
		vram_layer_release(layer);
	}
	return failures;
}

/* Models and buffers in turn, in too little memory, and for a while less: everything comes and goes. */
START_TEST(each_call_of_the_daemon)
{
	uint64_t hits = 0;

	for (int skip = 0; skip < 16; skip = skip * 4 + 3) {
		struct vram_buffer *b = NULL, *fresh = NULL;
		int fault;

		good(vram_buffer_new(client, "b", 8 * MIB, 2 * MIB, &b));
		ck_assert_int_eq(use_buffer(b, 4, false), 0);
		fault = standin_fault(card, calls[_i], CUDA_ABI_ERROR_INVALID_VALUE, skip, 1, d.pid,
				      0);
		walk(model);
		use_buffer(b, 4, true);
		good(vram_buffer_new(client, "fresh", 40 * MIB, 2 * MIB, &fresh));
		use_buffer(fresh, 20, false);
		vram_buffer_free(fresh);
		/* Others take the card, the budget shrinks, and memory goes back to the driver. */
		card->image->outside_bytes = CARD_BYTES - 20 * MIB;
		nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500000000 }, NULL);
		walk(model);
		card->image->outside_bytes = 0;
		walk(model);
		hits += standin_hits(card, fault);
		standin_clear_faults(card);
		ck_assert_int_eq(walk(model), 0);
		ck_assert_int_eq(use_buffer(b, 4, true), 0);
		vram_buffer_free(b);
	}
	ck_assert_msg(hits > 0, "%s: never called", calls[_i]);
}
END_TEST

/* The daemon's context dies, and with it all that was resident. Sessions end, and the next get a fresh one: nobody finds what
 * only seems to be resident. */
START_TEST(lost_and_back)
{
	struct vram_client *other;
	struct vram_model *m;
	int fault, tries = 0;

	ck_assert_int_eq(walk(model), 0);
	fault = standin_fault(card, "cuMemcpyHtoDAsync", CUDA_ABI_ERROR_ILLEGAL_ADDRESS, 1, 1,
			      d.pid, STANDIN_FAULT_STICKY);
	/* The library comes back by itself, as soon as it is let in. */
	do {
		ck_assert_int_lt(tries++, 5);
	} while (walk(model));
	ck_assert_uint_eq(standin_hits(card, fault), 1);
	ck_assert_uint_eq(standin_calls(card, "cuDevicePrimaryCtxRetain", d.pid), 2);
	world_walk(model);
	other = world_client();
	m = world_model(other, world_path());
	world_walk(m);
	vram_model_close(m);
	vram_close(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("daemon_faults");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = world_case(suite, "calls");
	tcase_set_timeout(tc, 200);
	tcase_add_loop_test(tc, each_call_of_the_daemon, 0, N_CALLS);
	tc = world_case(suite, "loss");
	tcase_add_test(tc, lost_and_back);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
