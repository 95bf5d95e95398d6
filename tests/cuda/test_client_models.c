// SPDX-License-Identifier: GPL-2.0-only
/* Models of every form on a card: each tensor's address shows the tensor, in files that share layers too. */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c tests/support/modelgen.c
// links: common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"
#include "tests/support/modelgen.h"

#define MODEL_SEED 30

static cuda_stream stream;

static uint64_t wrong_in(const struct vram_tensor_info *t, uint32_t seed)
{
	uint8_t *copy = malloc(t->bytes);
	uint64_t wrong = 0;

	ck_assert_ptr_nonnull(copy);
	ok(cu.memcpy_dtoh(copy, (uintptr_t)t->ptr, t->bytes));
	for (uint64_t i = 0; i < t->bytes; i++)
		wrong += copy[i] != modelgen_byte(seed, t->offset + i);
	free(copy);
	return wrong;
}

/* Every tensor of every layer, while the layer is held. Return: bytes compared. */
static uint64_t check_all(bool by_stream)
{
	uint64_t seen = 0, bytes;
	void *copy, *p;

	for (uint32_t i = 0; i < vram_model_n_layers(model); i++) {
		struct vram_layer *layer = vram_model_layer(model, i);

		good(vram_layer_acquire(layer, 60 * SECOND));
		for (size_t k = 0; k < vram_model_n_tensors(model); k++) {
			struct vram_tensor_info t;

			ck_assert_int_eq(vram_model_tensor(model, k, &t), 0);
			if (t.layer != layer)
				continue;
			ck_assert_uint_eq(wrong_in(&t, MODEL_SEED + t.file), 0);
			seen += t.bytes;
		}
		/* Slices of tensors, too: at least they are there. */
		for (uint32_t k = 0; k < vram_layer_n_extents(layer); k++) {
			vram_layer_extent(layer, k, &p, &bytes);
			copy = malloc(bytes);
			ok(cu.memcpy_dtoh(copy, (uintptr_t)p, bytes));
			free(copy);
		}
		if (by_stream)
			good(world_release_on(layer, stream));
		else
			vram_layer_release(layer);
	}
	return seen;
}

/* Layers whose tensors lie in several files have a part, and a slot, in each. */
static void open_model(uint32_t n_parts, uint32_t n_experts)
{
	struct modelgen_gguf *gguf = modelgen_llama(4, 512, 4096, 1024, n_experts, false);
	char path[160];

	gguf->seed = MODEL_SEED;
	modelgen_gguf_split(gguf, n_parts, d.dir, "m");
	modelgen_gguf_free(gguf);
	snprintf(path, sizeof(path), "%s/m-00001-of-%05u.gguf", d.dir, n_parts);
	client = world_client();
	ok(cu.stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING));
	good(vram_model_open(client, path, &model));
}

static void close_model(void)
{
	vram_model_close(model);
	vram_close(client);
}

static const struct {
	uint32_t n_parts, n_experts;
} forms[] = { { 1, 0 }, { 3, 0 }, { 7, 0 }, { 1, 4 }, { 3, 4 } };

START_TEST(every_form)
{
	uint64_t seen;

	open_model(forms[_i].n_parts, forms[_i].n_experts);
	seen = check_all(false);
	ck_assert_uint_gt(seen, forms[_i].n_experts ? 5 * MIB : 20 * MIB);
	ck_assert_uint_eq(check_all(true), seen);
	ck_assert_uint_eq(check_all(true), seen);
	close_model();
}
END_TEST

START_TEST(split_over_a_restart)
{
	struct vram_layer *held;

	open_model(3, 0);
	held = vram_model_layer(model, 1);
	check_all(true);
	good(vram_layer_acquire(held, FOREVER));
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	check_all(false);
	vram_layer_release(held);
	check_all(true);
	close_model();
}
END_TEST

/* All parts or none, also when the driver fails between them. */
START_TEST(split_that_fails)
{
	open_model(3, 0);
	for (int skip = 0; skip < 24; skip += 3) {
		int failures = 0;

		standin_fault(card, "cuMemMap", CUDA_ABI_ERROR_UNKNOWN, skip, 1, getpid(), 0);
		for (uint32_t i = 0; i < vram_model_n_layers(model); i++) {
			struct vram_layer *layer = vram_model_layer(model, i);

			if (vram_layer_acquire(layer, 60 * SECOND) < 0)
				failures++;
			else
				vram_layer_release(layer);
		}
		ck_assert_int_le(failures, 1);
		standin_clear_faults(card);
	}
	check_all(false);
	close_model();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("models on a card");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_bare_case(suite, "models");
	tcase_add_loop_test(tc, every_form, 0, (int)(sizeof(forms) / sizeof(forms[0])));
	tcase_add_test(tc, split_over_a_restart);
	tcase_add_test(tc, split_that_fails);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
