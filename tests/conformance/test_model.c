// SPDX-License-Identifier: GPL-2.0-only
/* Models of every form through libvram: each tensor's pointer shows the tensor, in files that share layers too. */
// links: tests/support/vramd.c tests/support/modelgen.c libvram.a
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/vram.h"
#include "tests/support/modelgen.h"
#include "tests/support/vramd.h"

static struct vramd d;
static struct vram_client *client;
static struct vram_model *model;
static char path[256];

static void setup(void)
{
	vramd_init(&d, "4M");
	vramd_start(&d);
	ck_assert_int_eq(vram_connect(d.socket, "test", 0, &client), 0);
}

static void teardown(void)
{
	vram_model_close(model);
	vram_close(client);
	vramd_deinit(&d);
}

static void open_path(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", d.dir, name);
	ck_assert_msg(vram_model_open(client, path, &model) == 0, "%s", vram_error_text());
}

static uint64_t wrong_in(const struct vram_tensor_info *t, uint32_t seed)
{
	const uint8_t *p = t->ptr;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < t->bytes; i++)
		wrong += p[i] != modelgen_byte(seed, t->offset + i);
	return wrong;
}

/* Every tensor of every layer, while the layer is held. */
static void check_all(uint32_t seed)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < vram_model_n_layers(model); i++) {
		struct vram_layer *layer = vram_model_layer(model, i);

		ck_assert_uint_eq(vram_layer_index(layer), i);
		ck_assert_ptr_eq(vram_model_layer_by_name(model, vram_layer_name(layer)), layer);
		ck_assert_msg(vram_layer_acquire(layer, -1) == 0, "%s: %s", vram_layer_name(layer),
			      vram_error_text());
		ck_assert(vram_layer_is_resident(layer));
		for (size_t k = 0; k < vram_model_n_tensors(model); k++) {
			struct vram_tensor_info t;

			ck_assert_int_eq(vram_model_tensor(model, k, &t), 0);
			if (t.layer != layer)
				continue;
			ck_assert_uint_eq(wrong_in(&t, seed + t.file), 0);
			seen += t.bytes;
		}
		vram_layer_release(layer);
	}
	ck_assert_uint_gt(seen, 0);
	ck_assert_uint_le(seen, vram_model_bytes(model));
}

START_TEST(one_file)
{
	struct modelgen_gguf *gguf = modelgen_llama(6, 256, 768, 512, 0, false);
	struct modelgen_buf buf = { 0 };
	struct vram_tensor_info t;
	int fd;

	modelgen_gguf_build(gguf, &buf);
	modelgen_write(&buf, d.dir, "model.gguf");
	open_path("model.gguf");
	ck_assert_str_eq(vram_model_architecture(model), "llama");
	ck_assert_uint_eq(vram_model_n_layers(model), 8);
	check_all(gguf->seed);
	ck_assert_int_eq(vram_model_tensor_by_name(model, "blk.3.ffn_up.weight", &t), 0);
	ck_assert_str_eq(vram_layer_name(t.layer), "blk.3");
	ck_assert_int_eq(vram_model_tensor_by_name(model, "blk.3.nothing", &t), -ENOENT);
	ck_assert_int_eq(vram_model_tensor(model, vram_model_n_tensors(model), &t), -ENOENT);
	vram_model_close(model);
	/* The same by a descriptor that is closed at once. */
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(vram_model_open_fd(client, fd, &model), 0);
	close(fd);
	unlink(path);
	check_all(gguf->seed);
	modelgen_buf_free(&buf);
	modelgen_gguf_free(gguf);
}
END_TEST

/* Layers that lie in two files have two slots; and the daemon's end exchanges every file's mapping. */
START_TEST(split)
{
	struct modelgen_gguf *gguf = modelgen_llama(8, 256, 768, 512, 0, false);
	uint32_t order[10], n_layers, shared = 0;

	modelgen_gguf_split(gguf, 3, d.dir, "split");
	open_path("split-00002-of-00003.gguf");
	n_layers = vram_model_n_layers(model);
	ck_assert_uint_eq(n_layers, 10);
	for (uint32_t i = 0; i < n_layers; i++) {
		struct vram_layer *layer = vram_model_layer(model, i);
		char *first, *other;
		uint64_t bytes;

		order[i] = n_layers - 1 - i;
		vram_layer_extent(layer, 0, (void **)&first, &bytes);
		for (uint32_t k = 1; k < vram_layer_n_extents(layer); k++) {
			vram_layer_extent(layer, k, (void **)&other, &bytes);
			if (llabs(other - first) > 4 << 20) {
				shared++;
				break;
			}
		}
	}
	check_all(gguf->seed);
	ck_assert_int_eq(vram_model_set_order(model, order, n_layers), 0);
	ck_assert_int_eq(vram_model_pass(model, VRAM_PASS_PREFILL_START), 0);
	check_all(gguf->seed);
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	check_all(gguf->seed);
	check_all(gguf->seed);
	printf("%u layers in two files\n", shared);
	modelgen_gguf_free(gguf);
}
END_TEST

START_TEST(part_missing)
{
	struct modelgen_gguf *gguf = modelgen_llama(4, 128, 256, 256, 0, false);

	modelgen_gguf_split(gguf, 3, d.dir, "split");
	snprintf(path, sizeof(path), "%s/split-00003-of-00003.gguf", d.dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/split-00001-of-00003.gguf", d.dir);
	ck_assert_int_eq(vram_model_open(client, path, &model), -ENOENT);
	ck_assert_str_ne(vram_error_text(), "");
	ck_assert_ptr_null(model);
	modelgen_gguf_free(gguf);
}
END_TEST

/* Fused experts are layers of their own: their tensor belongs to none of them alone. */
START_TEST(experts)
{
	struct modelgen_gguf *gguf = modelgen_llama(3, 256, 256, 512, 8, false);
	struct modelgen_buf buf = { 0 };
	struct vram_tensor_info t;
	uint32_t n_experts = 0;

	modelgen_gguf_build(gguf, &buf);
	modelgen_write(&buf, d.dir, "moe.gguf");
	open_path("moe.gguf");
	check_all(gguf->seed);
	for (uint32_t i = 0; i < vram_model_n_layers(model); i++)
		n_experts += (vram_layer_flags(vram_model_layer(model, i)) & VRAM_LAYER_EXPERT) !=
			     0;
	ck_assert_uint_eq(n_experts, 24);
	ck_assert_int_eq(vram_model_tensor_by_name(model, "blk.1.ffn_up_exps.weight", &t), 0);
	ck_assert_ptr_null(t.layer);
	ck_assert_uint_eq(wrong_in(&t, gguf->seed), 0);
	modelgen_buf_free(&buf);
	modelgen_gguf_free(gguf);
}
END_TEST

START_TEST(safetensors)
{
	static const char *const first[] = { "model.embed_tokens.weight",
					     "model.layers.0.mlp.weight",
					     "model.layers.1.self_attn.weight" };
	static const char *const second[] = { "model.layers.1.mlp.weight", "lm_head.weight" };
	static const char index[] =
		"{\"weight_map\":{\"model.embed_tokens.weight\":\"model-00001-of-00002.safetensors\","
		"\"model.layers.0.mlp.weight\":\"model-00001-of-00002.safetensors\","
		"\"model.layers.1.self_attn.weight\":\"model-00001-of-00002.safetensors\","
		"\"model.layers.1.mlp.weight\":\"model-00002-of-00002.safetensors\","
		"\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}";
	const size_t bytes = 1 << 20;
	struct modelgen_buf buf = { 0 };
	char *header;

	header = modelgen_safetensors_header(first, 3, bytes);
	modelgen_safetensors(header, 3 * bytes, 20, &buf);
	modelgen_write(&buf, d.dir, "model-00001-of-00002.safetensors");
	modelgen_buf_free(&buf);
	free(header);
	memset(&buf, 0, sizeof(buf));
	header = modelgen_safetensors_header(second, 2, bytes);
	modelgen_safetensors(header, 2 * bytes, 21, &buf);
	modelgen_write(&buf, d.dir, "model-00002-of-00002.safetensors");
	modelgen_buf_free(&buf);
	free(header);
	memset(&buf, 0, sizeof(buf));
	modelgen_put(&buf, index, sizeof(index) - 1);
	modelgen_write(&buf, d.dir, "model.safetensors.index.json");
	modelgen_buf_free(&buf);
	open_path("model.safetensors.index.json");
	ck_assert_uint_eq(vram_model_n_tensors(model), 5);
	ck_assert_ptr_nonnull(vram_model_layer_by_name(model, "model.layers.1"));
	check_all(20);
	check_all(20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("model");
	TCase *tc = tcase_create("model");
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, one_file);
	tcase_add_test(tc, split);
	tcase_add_test(tc, part_missing);
	tcase_add_test(tc, experts);
	tcase_add_test(tc, safetensors);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
