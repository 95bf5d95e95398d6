// SPDX-License-Identifier: GPL-2.0-only
/*
 * A client on a card whose daemon ends and comes back: what is pinned stays usable, what is not is let go of, what comes
 * again is right, and nothing that streams still owe is lost.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

/* Imports that this process has and has not released. */
static uint64_t imports(void)
{
	return standin_calls(card, "cuMemImportFromShareableHandle", getpid()) -
	       standin_calls(card, "cuMemRelease", getpid());
}

static void restart(int sig)
{
	vramd_signal(&d, sig);
	vramd_start(&d);
}

static const int signals[] = { SIGTERM, SIGKILL };

START_TEST(models_come_back)
{
	void *before, *after;
	uint64_t bytes;

	world_walk(model);
	vram_layer_extent(vram_model_layer(model, 3), 0, &before, &bytes);
	restart(signals[_i]);
	world_walk(model);
	world_walk(model);
	vram_layer_extent(vram_model_layer(model, 3), 0, &after, &bytes);
	ck_assert_ptr_eq(before, after);
	restart(signals[_i]);
	world_walk(model);
}
END_TEST

/* Without a call of the library's: the watch reconnects and gives the old daemon's memory back to the card. */
START_TEST(old_memory_goes)
{
	world_walk(model);
	ck_assert_uint_gt(imports(), 0);
	restart(SIGKILL);
	EVENTUALLY(imports() == 0);
	world_walk(model);
	for (uint32_t i = 0; i < LAYERS; i++)
		ck_assert_uint_eq(world_pins(vram_model_layer(model, i)), 0);
}
END_TEST

START_TEST(held_stays)
{
	struct vram_layer *held = vram_model_layer(model, 4);

	good(vram_layer_acquire(held, FOREVER));
	vramd_signal(&d, SIGKILL);
	ck_assert_uint_eq(world_wrong(held), 0);
	/* What is there can be acquired without a daemon, what is not cannot. */
	good(vram_layer_acquire(held, 0));
	vram_layer_release(held);
	ck_assert_int_lt(vram_layer_acquire(vram_model_layer(model, 11), SECOND / 10), 0);
	vramd_start(&d);
	good(vram_client_reconnect(client, 20 * SECOND));
	/* It has not moved, neither for who holds it nor for who comes now, nor for its neighbours. */
	ck_assert_uint_eq(world_wrong(held), 0);
	world_walk(model);
	ck_assert_uint_eq(world_wrong(held), 0);
	good(vram_layer_acquire(held, FOREVER));
	ck_assert_uint_eq(world_wrong(held), 0);
	vram_layer_release(held);
	ck_assert_uint_eq(world_pins(held), 1);
	vram_layer_release(held);
	ck_assert_uint_eq(world_pins(held), 0);
	world_walk(model);
	world_walk(model);
}
END_TEST

/* The old memory goes when the last pin does, also if nobody acquires the layer any more. */
START_TEST(held_goes_later)
{
	struct vram_layer *held = vram_model_layer(model, 4);

	good(vram_layer_acquire(held, FOREVER));
	restart(SIGKILL);
	good(vram_client_reconnect(client, 20 * SECOND));
	EVENTUALLY(imports() <= 3);
	ck_assert_uint_gt(imports(), 0);
	ck_assert_uint_eq(world_wrong(held), 0);
	vram_layer_release(held);
	EVENTUALLY(imports() == 0);
	world_walk(model);
}
END_TEST

START_TEST(other_chunks)
{
	struct vram_layer *held = vram_model_layer(model, 4);

	world_walk(model);
	vramd_signal(&d, SIGTERM);
	world_settings("cuda", "4M");
	vramd_start(&d);
	world_walk(model);
	/* With a layer held in the old ones the client waits until it is released. */
	good(vram_layer_acquire(held, FOREVER));
	vramd_signal(&d, SIGTERM);
	world_settings("cuda", "2M");
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, SECOND / 2), -ENOTCONN);
	ck_assert_uint_eq(world_wrong(held), 0);
	vram_layer_release(held);
	good(vram_client_reconnect(client, 20 * SECOND));
	world_walk(model);
}
END_TEST

START_TEST(buffers_are_lost)
{
	struct vram_buffer *b;
	struct vram_layer *held, *other;

	good(vram_buffer_new(client, "b", 8 * MIB, 2 * MIB, &b));
	held = vram_buffer_layer(b, 1);
	other = vram_buffer_layer(b, 2);
	good(vram_layer_acquire(other, FOREVER));
	vram_layer_release(other);
	good(vram_layer_acquire(held, FOREVER));
	world_fill(held, 99);
	restart(SIGKILL);
	good(vram_client_reconnect(client, 20 * SECOND));
	ck_assert_int_eq(vram_layer_acquire(other, FOREVER), -ECONNRESET);
	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), -ECONNRESET);
	ck_assert_uint_eq(world_wrong_fill(held, 99), 0);
	world_fill(held, 98);
	ck_assert_uint_eq(world_wrong_fill(held, 98), 0);
	vram_layer_release(held);
	vram_buffer_free(b);
	world_walk(model);
}
END_TEST

/* Another card, or none: the client stays apart, and finds back when the right one is there again. */
START_TEST(another_device)
{
	vramd_signal(&d, SIGTERM);
	world_settings("host", "2M");
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, SECOND / 2), -ENOTCONN);
	ck_assert_str_ne(vram_error_text(), "");
	vramd_signal(&d, SIGTERM);
	world_settings("cuda", "2M");
	vramd_start(&d);
	good(vram_client_reconnect(client, 20 * SECOND));
	world_walk(model);
}
END_TEST

/* Releases that are on their way when the table is exchanged land in the old one, and count in the new one. */
START_TEST(owed_over_a_restart)
{
	struct vram_layer *layer = vram_model_layer(model, 2), *other = vram_model_layer(model, 6);
	unsigned char *pinned;
	cuda_stream stream;
	uint64_t bytes;
	void *p;

	if (_i)
		card->image->overrides[0] = (struct standin_override){
			CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 0
		};
	vram_model_close(model);
	vram_close(client);
	client = world_client();
	model = world_model(client, world_path());
	layer = vram_model_layer(model, 2);
	other = vram_model_layer(model, 6);
	ok(cu.stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.mem_host_alloc((void **)&pinned, 4096, 0));
	for (int i = 0; i < 3; i++)
		good(vram_layer_acquire(layer, FOREVER));
	good(vram_layer_acquire(other, FOREVER));
	vram_layer_extent(layer, 0, &p, &bytes);
	/* The first two releases come through while there is a daemon, or not; the third not before the exchange. */
	card->image->latency_ns = 700000000;
	ok(cu.memcpy_dtoh_async(pinned, (uintptr_t)p, 64, stream));
	good(world_release_on(layer, stream));
	good(world_release_on(layer, stream));
	good(world_release_on(layer, stream));
	restart(SIGKILL);
	good(vram_client_reconnect(client, 20 * SECOND));
	ck_assert_int_eq(cu.stream_query(stream), CUDA_ABI_ERROR_NOT_READY);
	ck_assert_uint_gt(world_pins(layer), 0);
	ck_assert_uint_eq(world_pins(other), 1);
	/* And one more, in the new table. */
	good(vram_layer_acquire(layer, FOREVER));
	good(world_release_on(layer, stream));
	card->image->latency_ns = 20000;
	ok(cu.stream_synchronize(stream));
	EVENTUALLY(world_pins(layer) == 0);
	ck_assert_mem_eq(pinned, &(uint64_t){ vramd_word(2 * LAYER_BYTES, SEED) }, 8);
	vram_layer_release(other);
	ck_assert_uint_eq(world_pins(other), 0);
	world_walk(model);
}
END_TEST

/*
 * The daemon has not ended, only the session, because of pins that others had to wait for: then the memory may hold other bytes by
 * now. It stays mapped for who holds it, and who acquires anew waits for them and gets the right ones.
 */
START_TEST(session_is_ended)
{
	struct vram_layer *held;
	struct vram_client *rival;
	struct vram_model *rivals;
	uint32_t n = 0;

	vram_model_close(model);
	vram_close(client);
	vramd_signal(&d, SIGTERM);
	d.settings[3] = "limits.pin_timeout=1s";
	d.settings[4] = NULL;
	vramd_start(&d);
	client = world_client();
	model = world_model(client, world_path());
	/* What fits comes, however busy the machine is; of the rest some may. */
	while (n < LAYERS && vram_layer_acquire(vram_model_layer(model, n),
						n < FIT ? 20 * SECOND : SECOND / 2) == 0)
		n++;
	ck_assert_uint_ge(n, FIT);
	ck_assert_uint_lt(n, LAYERS);
	rival = world_client();
	rivals = world_model(rival, vramd_make_file(&d, "rival", MODEL_BYTES, SEED));
	world_walk(rivals);
	good(vram_client_reconnect(client, 20 * SECOND));
	held = vram_model_layer(model, 0);
	/* Its bytes are anybody's, but they are there. */
	world_wrong(held);
	ck_assert_int_eq(vram_layer_acquire(held, SECOND / 2), -ETIMEDOUT);
	for (uint32_t i = 0; i < n; i++)
		vram_layer_release(vram_model_layer(model, i));
	for (uint32_t i = 0; i < LAYERS; i++)
		ck_assert_uint_eq(world_pins(vram_model_layer(model, i)), 0);
	world_walk(model);
	world_walk(rivals);
	vram_model_close(rivals);
	vram_close(rival);
}
END_TEST

/* ---- restarts under threads that work ---- */

static atomic_bool stop;

static void *walk_on(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	uint64_t wrong = 0;

	while (!atomic_load(&stop)) {
		struct vram_layer *layer =
			vram_model_layer(model, (uint32_t)rand_r(&seed) % LAYERS);
		int r = vram_layer_acquire(layer, 60 * SECOND);

		/* Layers next to each other share chunks, and pins go on over restarts. */
		wrong += r < 0 ? 1000000 : world_wrong(layer);
		if (r == 0)
			vram_layer_release(layer);
	}
	return (void *)(uintptr_t)wrong;
}

START_TEST(restarts_under_threads)
{
	pthread_t threads[3];
	void *wrong;

	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, walk_on, (void *)(i + 1));
	for (int i = 0; i < 6; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
		restart(signals[i % 2]);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_uint_eq((uintptr_t)wrong, 0);
	}
	for (uint32_t i = 0; i < LAYERS; i++)
		ck_assert_uint_eq(world_pins(vram_model_layer(model, i)), 0);
	world_walk(model);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restarts of the daemon of a card");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "restarts");
	tcase_add_loop_test(tc, models_come_back, 0, 2);
	tcase_add_test(tc, old_memory_goes);
	tcase_add_test(tc, held_stays);
	tcase_add_test(tc, held_goes_later);
	tcase_add_test(tc, other_chunks);
	tcase_add_test(tc, buffers_are_lost);
	tcase_add_test(tc, another_device);
	tcase_add_loop_test(tc, owed_over_a_restart, 0, 2);
	tcase_add_test(tc, session_is_ended);
	tcase_add_test(tc, restarts_under_threads);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
