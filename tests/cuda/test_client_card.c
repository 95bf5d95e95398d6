// SPDX-License-Identifier: GPL-2.0-only
/*
 * What libvram promises on a card, held against a real daemon and the stand-in driver: attaching, models, buffers, what
 * is mapped and what is not.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

/* ---- attaching ---- */

START_TEST(card_is_told)
{
	struct vram_cuda_device device;
	struct vram_client *c;

	good(vram_connect(d.socket, "test", 0, &c));
	good(vram_client_cuda_device(c, &device));
	ck_assert_mem_eq(device.uuid, card->image->uuid, 16);
	ck_assert_str_eq(device.pci, "0000:65:00.0");
	ck_assert_uint_eq(device.granularity_bytes, 2 * MIB);
	vram_close(c);
}
END_TEST

START_TEST(not_attached)
{
	struct vram_extent extent = { .length = 4096 };
	struct vram_buffer *b = NULL;
	struct vram_model *m = NULL;
	struct vram_client *c;
	int fd = open(world_path(), O_RDONLY);

	good(vram_connect(d.socket, "test", 0, &c));
	ck_assert_int_eq(vram_model_open_extents(c, fd, "m", 1, &extent, 1, &m), -EINVAL);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "vram_client_attach_cuda"));
	ck_assert_int_eq(vram_buffer_new(c, "b", MIB, 0, &b), -EINVAL);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "vram_client_attach_cuda"));
	/* Nothing of it has spoilt the session. */
	good(vram_client_attach_cuda(c, 0));
	good(vram_model_open_extents(c, fd, "m", 1, &extent, 1, &m));
	vram_model_close(m);
	vram_close(c);
	close(fd);
}
END_TEST

START_TEST(attached_once)
{
	struct vram_client *c;

	good(vram_connect(d.socket, "test", 0, &c));
	ck_assert_int_eq(vram_client_attach_cuda(c, 1), -EINVAL);
	good(vram_client_attach_cuda(c, 0));
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), -EINVAL);
	vram_close(c);
}
END_TEST

START_TEST(no_card)
{
	struct vram_cuda_device device;
	struct vram_buffer *b;
	struct vram_client *c;

	vramd_signal(&d, SIGTERM);
	world_settings("host", "2M");
	vramd_start(&d);
	good(vram_connect(d.socket, "test", 0, &c));
	ck_assert_int_eq(vram_client_cuda_device(c, &device), -ENOTSUP);
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "not a card"));
	/* The client is as before. */
	good(vram_buffer_new(c, "b", MIB, 0, &b));
	good(vram_layer_acquire(vram_buffer_layer(b, 0), FOREVER));
	ck_assert_int_eq(vram_layer_release_on(vram_buffer_layer(b, 0), NULL), -EINVAL);
	memset(vram_buffer_ptr(b), 1, MIB);
	vram_layer_release(vram_buffer_layer(b, 0));
	vram_buffer_free(b);
	vram_close(c);
}
END_TEST

/* The daemon's card is another one than this process has. */
START_TEST(another_card)
{
	struct vram_client *c;

	card->image->uuid[0] ^= 1;
	good(vram_connect(d.socket, "test", 0, &c));
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), -EINVAL);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "GPU-"));
	ok(cu.ctx_set_current(NULL));
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), -ENOENT);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "CUDA_VISIBLE_DEVICES"));
	card->image->uuid[0] ^= 1;
	/* Without a current context: the primary one, which then belongs to nobody's thread. */
	good(vram_client_attach_cuda(c, 0));
	model = world_model(c, world_path());
	world_walk(model);
	vram_model_close(model);
	vram_close(c);
}
END_TEST

START_TEST(no_ability)
{
	struct vram_client *c;

	card->image->overrides[0] = (struct standin_override){
		CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 0
	};
	good(vram_connect(d.socket, "test", 0, &c));
	ck_assert_int_eq(vram_client_attach_cuda(c, 0), -ENOTSUP);
	vram_close(c);
}
END_TEST

/* ---- models ---- */

START_TEST(model_larger_than_budget)
{
	struct vram_stats stats;
	void *before[LAYERS];
	uint64_t bytes;

	for (uint32_t i = 0; i < LAYERS; i++)
		vram_layer_extent(vram_model_layer(model, i), 0, &before[i], &bytes);
	for (int pass = 0; pass < 4; pass++)
		world_walk(model);
	for (uint32_t i = 0; i < LAYERS; i++) {
		void *now;

		vram_layer_extent(vram_model_layer(model, i), 0, &now, &bytes);
		ck_assert_ptr_eq(now, before[i]);
		ck_assert_uint_eq((uintptr_t)now - (uintptr_t)before[0], i * LAYER_BYTES);
	}
	good(vram_client_stats(client, &stats));
	ck_assert_uint_le(stats.resident_bytes, stats.budget_bytes);
	ck_assert_uint_gt(stats.evicted_bytes, 0);
}
END_TEST

/* An acquire of what is there asks neither the daemon nor the driver. */
START_TEST(resident_is_free)
{
	static const char *const calls[] = { "cuMemMap",	 "cuMemUnmap",
					     "cuMemSetAccess",	 "cuMemImportFromShareableHandle",
					     "cuCtxPushCurrent", "cuCtxPopCurrent" };
	struct vram_layer *layer = vram_model_layer(model, 1);
	uint64_t before[6];

	good(vram_layer_acquire(layer, FOREVER));
	for (int i = 0; i < 6; i++)
		before[i] = standin_calls(card, calls[i], getpid());
	ck_assert_uint_gt(before[0], 0);
	for (int i = 0; i < 1000; i++) {
		good(vram_layer_acquire(layer, 0));
		vram_layer_release(layer);
	}
	for (int i = 0; i < 6; i++)
		ck_assert_uint_eq(standin_calls(card, calls[i], getpid()), before[i]);
	vram_layer_release(layer);
}
END_TEST

/* One for each contiguous run, here the whole layer, however many chunks it has. */
START_TEST(one_set_access)
{
	uint64_t before = standin_calls(card, "cuMemSetAccess", getpid());
	struct vram_layer *layer = vram_model_layer(model, 5);

	good(vram_layer_acquire(layer, FOREVER));
	ck_assert_uint_eq(standin_calls(card, "cuMemSetAccess", getpid()), before + 1);
	ck_assert_uint_ge(standin_calls(card, "cuMemMap", getpid()), 2);
	vram_layer_release(layer);
}
END_TEST

static unsigned long long access_of(cuda_ptr ptr)
{
	const struct cuda_mem_location here = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 };
	unsigned long long flags = 99;

	ok(cu.mem_get_access(&flags, &here, ptr));
	return flags;
}

START_TEST(access_rights)
{
	struct vram_layer *layer = vram_model_layer(model, 0);
	struct vram_buffer *b;
	uint64_t bytes;
	void *p;

	good(vram_layer_acquire(layer, FOREVER));
	vram_layer_extent(layer, 0, &p, &bytes);
	ck_assert_uint_eq(access_of((uintptr_t)p), CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ);
	vram_layer_release(layer);
	good(vram_buffer_new(client, "b", 3 * MIB, 0, &b));
	good(vram_layer_acquire(vram_buffer_layer(b, 0), FOREVER));
	ck_assert_uint_eq(access_of((uintptr_t)vram_buffer_ptr(b)),
			  CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE);
	vram_layer_release(vram_buffer_layer(b, 0));
	vram_buffer_free(b);
}
END_TEST

/* Neighbours share a chunk: what one maps must not disturb what the other uses. */
START_TEST(shared_chunks)
{
	for (int pass = 0; pass < 3; pass++) {
		for (uint32_t i = 0; i + 1 < LAYERS; i++) {
			struct vram_layer *a = vram_model_layer(model, i),
					  *b = vram_model_layer(model, i + 1);

			good(vram_layer_acquire(b, FOREVER));
			good(vram_layer_acquire(a, FOREVER));
			ck_assert_uint_eq(world_wrong(a), 0);
			ck_assert_uint_eq(world_wrong(b), 0);
			vram_layer_release(b);
			ck_assert_uint_eq(world_wrong(a), 0);
			vram_layer_release(a);
		}
	}
}
END_TEST

struct walker {
	pthread_t thread;
	unsigned int seed;
	uint64_t wrong;
	int failed;
};

static void *walk_randomly(void *arg)
{
	struct walker *w = arg;

	for (int i = 0; i < 60; i++) {
		struct vram_layer *layer =
			vram_model_layer(model, (uint32_t)rand_r(&w->seed) % LAYERS);

		if (vram_layer_acquire(layer, 60 * SECOND) < 0) {
			w->failed++;
			continue;
		}
		w->wrong += world_wrong(layer);
		vram_layer_release(layer);
	}
	return NULL;
}

START_TEST(many_threads)
{
	struct walker walkers[4];

	for (unsigned int i = 0; i < 4; i++) {
		walkers[i] = (struct walker){ .seed = i + 1 };
		pthread_create(&walkers[i].thread, NULL, walk_randomly, &walkers[i]);
	}
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(walkers[i].thread, NULL);
		ck_assert_int_eq(walkers[i].failed, 0);
		ck_assert_uint_eq(walkers[i].wrong, 0);
	}
	for (uint32_t i = 0; i < LAYERS; i++)
		ck_assert_uint_eq(world_pins(vram_model_layer(model, i)), 0);
}
END_TEST

/* The same file twice in one client: two addresses, the same chunks. */
START_TEST(opened_twice)
{
	struct vram_model *again = world_model(client, world_path());
	struct vram_layer *a = vram_model_layer(model, 3), *b = vram_model_layer(again, 3);
	uint64_t imports, bytes;
	void *pa, *pb;

	good(vram_layer_acquire(a, FOREVER));
	imports = standin_calls(card, "cuMemImportFromShareableHandle", getpid());
	good(vram_layer_acquire(b, FOREVER));
	ck_assert_uint_eq(standin_calls(card, "cuMemImportFromShareableHandle", getpid()), imports);
	vram_layer_extent(a, 0, &pa, &bytes);
	vram_layer_extent(b, 0, &pb, &bytes);
	ck_assert_ptr_ne(pa, pb);
	ck_assert_uint_eq(world_wrong(a), 0);
	ck_assert_uint_eq(world_wrong(b), 0);
	vram_layer_release(a);
	vram_model_close(model);
	ck_assert_uint_eq(world_wrong(b), 0);
	vram_layer_release(b);
	model = again;
	world_walk(model);
}
END_TEST

START_TEST(too_early)
{
	struct vram_layer *layer = vram_model_layer(model, LAYERS - 1);

	ck_assert_int_eq(vram_layer_acquire(layer, 0), -EAGAIN);
	EVENTUALLY(vram_layer_acquire(layer, 0) == 0);
	ck_assert_uint_eq(world_wrong(layer), 0);
	vram_layer_release(layer);
	ck_assert_uint_eq(world_pins(layer), 0);
}
END_TEST

/* ---- buffers ---- */

START_TEST(buffer_comes_back)
{
	struct vram_buffer *b;
	void *p;

	good(vram_buffer_new(client, "cache", 8 * MIB, 2 * MIB, &b));
	p = vram_buffer_ptr(b);
	ck_assert_uint_eq(vram_buffer_n_layers(b), 4);
	for (uint32_t i = 0; i < 4; i++) {
		good(vram_layer_acquire(vram_buffer_layer(b, i), FOREVER));
		world_fill(vram_buffer_layer(b, i), 100 + i);
		vram_layer_release(vram_buffer_layer(b, i));
	}
	for (int pass = 0; pass < 2; pass++) {
		world_walk(model);
		for (uint32_t i = 0; i < 4; i++) {
			good(vram_layer_acquire(vram_buffer_layer(b, i), FOREVER));
			ck_assert_uint_eq(world_wrong_fill(vram_buffer_layer(b, i), 100 + i), 0);
			world_fill(vram_buffer_layer(b, i), 100 + i);
			vram_layer_release(vram_buffer_layer(b, i));
		}
	}
	ck_assert_ptr_eq(vram_buffer_ptr(b), p);
	vram_buffer_free(b);
	world_walk(model);
}
END_TEST

START_TEST(fresh_buffer_is_zero)
{
	static unsigned char bytes[5 * MIB + 8];
	struct vram_buffer *b;
	size_t others = 0;

	/* Memory that has held something. */
	world_walk(model);
	good(vram_buffer_new(client, "zero", sizeof(bytes), 0, &b));
	good(vram_layer_acquire(vram_buffer_layer(b, 0), FOREVER));
	memset(bytes, 1, sizeof(bytes));
	ok(cu.memcpy_dtoh(bytes, (uintptr_t)vram_buffer_ptr(b), sizeof(bytes)));
	for (size_t i = 0; i < sizeof(bytes); i++)
		others += bytes[i] != 0;
	ck_assert_uint_eq(others, 0);
	vram_layer_release(vram_buffer_layer(b, 0));
	vram_buffer_free(b);
}
END_TEST

/* ---- giving back ---- */

/* Nobody calls the library: the watch answers, and the daemon can give the card back to others. */
START_TEST(reclaim_while_idle)
{
	uint64_t imported, releases;

	world_walk(model);
	imported = standin_calls(card, "cuMemImportFromShareableHandle", getpid());
	releases = standin_calls(card, "cuMemRelease", getpid());
	ck_assert_uint_gt(imported, releases);
	card->image->outside_bytes = CARD_BYTES - 16 * MIB;
	EVENTUALLY(standin_calls(card, "cuMemRelease", getpid()) > releases);
	/* The process lives, and so does the session. */
	card->image->outside_bytes = 0;
	world_walk(model);
}
END_TEST

/* What is pinned stays where it is, whatever is taken around it. */
START_TEST(reclaim_spares_pins)
{
	struct vram_layer *held = vram_model_layer(model, 4);
	uint64_t releases;

	world_walk(model);
	good(vram_layer_acquire(held, FOREVER));
	releases = standin_calls(card, "cuMemRelease", getpid());
	card->image->outside_bytes = CARD_BYTES - 16 * MIB;
	EVENTUALLY(standin_calls(card, "cuMemRelease", getpid()) > releases);
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(world_wrong(held), 0);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	card->image->outside_bytes = 0;
	vram_layer_release(held);
	world_walk(model);
}
END_TEST

START_TEST(close_gives_all_back)
{
	struct vram_buffer *b;

	world_walk(model);
	good(vram_buffer_new(client, "b", 4 * MIB, 0, &b));
	good(vram_layer_acquire(vram_buffer_layer(b, 0), FOREVER));
	vram_layer_release(vram_buffer_layer(b, 0));
	vram_buffer_free(b);
	vram_model_close(model);
	ck_assert_uint_eq(standin_calls(card, "cuMemImportFromShareableHandle", getpid()),
			  standin_calls(card, "cuMemRelease", getpid()));
	ck_assert_uint_eq(standin_calls(card, "cuMemAddressReserve", getpid()),
			  standin_calls(card, "cuMemAddressFree", getpid()));
	vram_close(client);
	ck_assert_uint_eq(standin_calls(card, "cuMemHostRegister", getpid()),
			  standin_calls(card, "cuMemHostUnregister", getpid()));
	client = world_client();
	model = world_model(client, world_path());
	world_walk(model);
}
END_TEST

START_TEST(child_of_a_fork)
{
	pid_t pid;
	int status;

	good(vram_layer_acquire(vram_model_layer(model, 0), FOREVER));
	pid = fork();
	if (pid == 0) {
		struct vram_layer *layer = vram_model_layer(model, 0);
		int r = 0;

		r |= (vram_layer_acquire(layer, 0) != -ECHILD) << 0;
		r |= (vram_layer_release_on(layer, NULL) != -ECHILD) << 1;
		r |= (vram_client_attach_cuda(client, 0) != -ECHILD) << 2;
		vram_model_close(model);
		vram_close(client);
		_exit(r);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(world_wrong(vram_model_layer(model, 0)), 0);
	vram_layer_release(vram_model_layer(model, 0));
	world_walk(model);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client on a card");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_bare_case(suite, "attaching");
	tcase_add_test(tc, card_is_told);
	tcase_add_test(tc, not_attached);
	tcase_add_test(tc, attached_once);
	tcase_add_test(tc, no_card);
	tcase_add_test(tc, another_card);
	tcase_add_test(tc, no_ability);
	tc = world_case(suite, "models");
	tcase_add_test(tc, model_larger_than_budget);
	tcase_add_test(tc, resident_is_free);
	tcase_add_test(tc, one_set_access);
	tcase_add_test(tc, access_rights);
	tcase_add_test(tc, shared_chunks);
	tcase_add_test(tc, many_threads);
	tcase_add_test(tc, opened_twice);
	tcase_add_test(tc, too_early);
	tc = world_case(suite, "buffers");
	tcase_add_test(tc, buffer_comes_back);
	tcase_add_test(tc, fresh_buffer_is_zero);
	tc = world_case(suite, "giving back");
	tcase_add_test(tc, reclaim_while_idle);
	tcase_add_test(tc, reclaim_spares_pins);
	tcase_add_test(tc, close_gives_all_back);
	tcase_add_test(tc, child_of_a_fork);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
