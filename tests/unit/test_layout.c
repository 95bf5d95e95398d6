// SPDX-License-Identifier: GPL-2.0-only
/*
 * Layers of made models: what belongs together, in which order, and that every byte of a tensor is in exactly
 * one layer. How names are read is in test_layout_names.c, finding files in test_layout_open.c.
 *
 * links: libclient/layout_open.c libclient/layout.c libclient/layout_names.c libclient/gguf.c
 * links: libclient/safetensors.c libclient/tensors.c common/err.c common/fd.c
 * links: tests/support/modelgen.c tests/support/layout_promises.c
 * libs: -ljansson
 */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/layout.h"
#include "tests/support/layout_promises.h"
#include "tests/support/modelgen.h"

static struct vram_layout *layout_of_buf(struct modelgen_buf *buf)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX] = "not touched";
	int fd = modelgen_memfd(buf);
	int err = layout_open_fd(fd, &layout, text, sizeof(text));

	close(fd);
	modelgen_buf_free(buf);
	ck_assert_msg(err == 0, "%s", text);
	ck_assert_str_eq(text, "");
	ck_assert_msg(!layout_broken_promise(layout), "%s", layout_broken_promise(layout));
	return layout;
}

/* Frees the model. */
static struct vram_layout *layout_of(struct modelgen_gguf *gguf)
{
	struct modelgen_buf buf = { 0 };

	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	return layout_of_buf(&buf);
}

/* A safetensors file of F32 vectors of 16 bytes with these names, in this order. */
static struct vram_layout *layout_of_names(const char *const *names, size_t n)
{
	char *header = modelgen_safetensors_header(names, n, 16);
	struct modelgen_buf buf = { 0 };

	modelgen_safetensors(header, n * 16, 1, &buf);
	free(header);
	return layout_of_buf(&buf);
}
#define LAYOUT_OF_NAMES(...)                                  \
	layout_of_names((const char *const[]){ __VA_ARGS__ }, \
			sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static const struct vram_tensor *part_tensor(const struct vram_layout *layout, uint32_t layer,
					     uint32_t part)
{
	ck_assert_uint_lt(layer, layout->n_layers);
	ck_assert_uint_lt(part, layout->layers[layer].n_parts);
	return &layout->tensors.tensors[layout->layers[layer].parts[part].tensor];
}

static void check_layer_names(const struct vram_layout *layout, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n && i < layout->n_layers; i++)
		ck_assert_str_eq(layout->layers[i].name, names[i]);
	ck_assert_uint_eq(layout->n_layers, n);
}
#define CHECK_LAYERS(layout, ...)                                       \
	check_layer_names(layout, (const char *const[]){ __VA_ARGS__ }, \
			  sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

START_TEST(groups_a_dense_model)
{
	struct vram_layout *layout = layout_of(modelgen_llama(12, 32, 64, 96, 0, false));

	ck_assert_int_eq(layout->format, LAYOUT_GGUF);
	ck_assert_uint_eq(layout->flags, 0);
	ck_assert_str_eq(layout->architecture, "llama");
	ck_assert_str_eq(layout->name, "made for tests");
	ck_assert_uint_eq(layout->n_files, 1);
	CHECK_LAYERS(layout, "token_embd", "blk.0", "blk.1", "blk.2", "blk.3", "blk.4", "blk.5",
		     "blk.6", "blk.7", "blk.8", "blk.9", "blk.10", "blk.11", "output");
	ck_assert_uint_eq(layout->layers[0].flags, LAYOUT_EMBEDDING);
	ck_assert_uint_eq(layout->layers[13].flags, LAYOUT_OUTPUT);
	ck_assert_uint_eq(layout->layers[13].n_parts, 2);
	for (uint32_t i = 1; i <= 12; i++) {
		ck_assert_uint_eq(layout->layers[i].flags, LAYOUT_DENSE);
		ck_assert_int_eq(layout->layers[i].block, (int32_t)i - 1);
		ck_assert_int_eq(layout->layers[i].expert, -1);
		/* In the file as inference wants it, so the block is one piece. */
		ck_assert_uint_eq(layout->layers[i].n_parts, 9);
		ck_assert_uint_eq(layout->layers[i].n_extents, 1);
	}
	layout_free(layout);
}
END_TEST

/* The converters write a block in another order than that of computation. */
START_TEST(orders_a_block)
{
	static const char *const as_converted[] = { "attn_norm",   "ffn_down", "ffn_gate",
						    "ffn_up",	   "ffn_norm", "attn_k",
						    "attn_output", "attn_q",   "attn_v" };
	static const char *const as_computed[] = { "attn_norm", "attn_q",      "attn_k",
						   "attn_v",	"attn_output", "ffn_norm",
						   "ffn_gate",	"ffn_up",      "ffn_down" };
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct vram_layout *layout;
	char name[64];

	for (size_t i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "blk.0.%s.weight", as_converted[i]);
		modelgen_tensor(gguf, name, MODELGEN_F32, 8, 0, 0);
	}
	layout = layout_of(gguf);
	CHECK_LAYERS(layout, "blk.0");
	for (uint32_t i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "blk.0.%s.weight", as_computed[i]);
		ck_assert_str_eq(part_tensor(layout, 0, i)->name, name);
	}
	/* Only ffn_gate and ffn_up follow each other in both orders. */
	ck_assert_uint_eq(layout->layers[0].n_extents, 8);
	ck_assert_uint_eq(layout->layers[0].extents[0].offset, layout->tensors.tensors[0].offset);
	ck_assert_uint_eq(layout->layers[0].bytes, 9 * 32);
	layout_free(layout);
}
END_TEST

START_TEST(cuts_experts)
{
	struct vram_layout *layout = layout_of(modelgen_llama(2, 32, 64, 96, 4, false));
	const struct layout_layer *expert;
	const struct vram_tensor *gate;

	CHECK_LAYERS(layout, "token_embd", "blk.0", "blk.0.expert.0", "blk.0.expert.1",
		     "blk.0.expert.2", "blk.0.expert.3", "blk.1", "blk.1.expert.0",
		     "blk.1.expert.1", "blk.1.expert.2", "blk.1.expert.3", "output");
	ck_assert_uint_eq(layout->layers[1].flags, LAYOUT_DENSE);
	ck_assert_uint_eq(layout->layers[1].n_parts, 7);
	expert = &layout->layers[9];
	ck_assert_uint_eq(expert->flags, LAYOUT_EXPERT);
	ck_assert_int_eq(expert->block, 1);
	ck_assert_int_eq(expert->expert, 2);
	ck_assert_uint_eq(expert->n_parts, 3);
	ck_assert_uint_eq(expert->n_extents, 3);
	gate = part_tensor(layout, 9, 0);
	ck_assert_str_eq(gate->name, "blk.1.ffn_gate_exps.weight");
	ck_assert_uint_eq(gate->dims[0], 4);
	/* 64 rows of one block of 34 bytes; the third quarter of the tensor */
	ck_assert_uint_eq(gate->bytes, 4 * 64 * 34);
	ck_assert_uint_eq(expert->parts[0].length, 64 * 34);
	ck_assert_uint_eq(expert->parts[0].offset, gate->offset + 2 * 64 * 34);
	ck_assert_str_eq(part_tensor(layout, 9, 1)->name, "blk.1.ffn_up_exps.weight");
	ck_assert_str_eq(part_tensor(layout, 9, 2)->name, "blk.1.ffn_down_exps.weight");
	layout_free(layout);
}
END_TEST

START_TEST(takes_experts_of_their_own)
{
	struct vram_layout *layout = LAYOUT_OF_NAMES(
		"model.embed_tokens.weight", "model.layers.0.mlp.experts.10.up_proj.weight",
		"model.layers.0.mlp.experts.10.down_proj.weight",
		"model.layers.0.mlp.experts.10.gate_proj.weight",
		"model.layers.0.mlp.experts.9.up_proj.weight", "model.layers.0.mlp.gate.weight",
		"model.layers.0.mlp.shared_experts.up_proj.weight",
		"model.layers.1.block_sparse_moe.experts.0.w1.weight", "lm_head.weight");

	CHECK_LAYERS(layout, "token_embd", "model.layers.0", "model.layers.0.expert.9",
		     "model.layers.0.expert.10", "model.layers.1.expert.0", "output");
	ck_assert_uint_eq(layout->layers[1].n_parts, 2);
	ck_assert_int_eq(layout->layers[3].expert, 10);
	ck_assert_str_eq(part_tensor(layout, 3, 0)->name,
			 "model.layers.0.mlp.experts.10.gate_proj.weight");
	ck_assert_str_eq(part_tensor(layout, 3, 2)->name,
			 "model.layers.0.mlp.experts.10.down_proj.weight");
	layout_free(layout);
}
END_TEST

/* Hugging Face's fused experts count in the first dimension; a vector or a huge count is no such thing. */
START_TEST(cuts_only_what_is_fused)
{
	struct modelgen_buf buf = { 0 };
	struct vram_layout *layout;

	modelgen_safetensors("{\"model.layers.0.mlp.experts.gate_up_proj\":"
			     "{\"dtype\":\"F32\",\"shape\":[3,2,2],\"data_offsets\":[0,48]},"
			     "\"model.layers.0.mlp.experts.bias\":"
			     "{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[48,64]},"
			     "\"model.layers.1.mlp.experts.down_proj\":"
			     "{\"dtype\":\"U8\",\"shape\":[5000,1],\"data_offsets\":[64,5064]},"
			     "\"model.layers.2.mlp.experts.down_proj\":"
			     "{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[5064,5065]}}",
			     5065, 1, &buf);
	layout = layout_of_buf(&buf);
	CHECK_LAYERS(layout, "model.layers.0", "model.layers.0.expert.0", "model.layers.0.expert.1",
		     "model.layers.0.expert.2", "model.layers.1", "model.layers.2");
	ck_assert_uint_eq(layout->layers[0].bytes, 16);
	ck_assert_uint_eq(layout->layers[1].bytes, 16);
	ck_assert_uint_eq(layout->layers[4].flags, LAYOUT_DENSE);
	ck_assert_int_eq(layout->layers[4].expert, -1);
	layout_free(layout);
}
END_TEST

START_TEST(merges_over_padding)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct vram_layout *layout;

	/* 4 bytes and 28 of padding each */
	modelgen_tensor(gguf, "blk.0.attn_norm.weight", MODELGEN_F32, 1, 0, 0);
	modelgen_tensor(gguf, "blk.0.attn_q.weight", MODELGEN_F32, 1, 0, 0)->bytes = 96;
	modelgen_tensor(gguf, "blk.0.attn_k.weight", MODELGEN_F32, 1, 0, 0);
	layout = layout_of(gguf);
	ck_assert_uint_eq(layout->n_layers, 1);
	ck_assert_uint_eq(layout->layers[0].n_extents, 2);
	ck_assert_uint_eq(layout->layers[0].extents[0].length, 36);
	/* 92 bytes without a tensor are more than padding */
	ck_assert_uint_eq(layout->layers[0].extents[1].length, 4);
	ck_assert_uint_eq(layout->layers[0].bytes, 12);
	layout_free(layout);
}
END_TEST

/* Between slices of one expert lie other experts' slices, however small the gap. */
START_TEST(never_merges_over_other_experts)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct vram_layout *layout;

	gguf->alignment = 64;
	modelgen_key_u32(gguf, "general.alignment", 64);
	modelgen_tensor(gguf, "blk.0.ffn_up_exps.weight", MODELGEN_F32, 2, 2, 3);
	modelgen_tensor(gguf, "blk.0.ffn_down_exps.weight", MODELGEN_F32, 2, 2, 3);
	layout = layout_of(gguf);
	ck_assert_uint_eq(layout->n_layers, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(layout->layers[i].n_extents, 2);
	layout_free(layout);
}
END_TEST

START_TEST(notes_tied_embeddings)
{
	struct vram_layout *layout = layout_of(modelgen_llama(2, 32, 64, 96, 0, true));

	ck_assert_uint_eq(layout->flags, LAYOUT_TIED_EMBEDDINGS);
	ck_assert_uint_eq(layout->layers[0].flags, LAYOUT_EMBEDDING | LAYOUT_OUTPUT);
	CHECK_LAYERS(layout, "token_embd", "blk.0", "blk.1", "output");
	ck_assert_str_eq(part_tensor(layout, 3, 0)->name, "output_norm.weight");
	layout_free(layout);

	layout = LAYOUT_OF_NAMES("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
				 "model.norm.weight");
	ck_assert_uint_eq(layout->flags, LAYOUT_TIED_EMBEDDINGS);
	layout_free(layout);
	layout = LAYOUT_OF_NAMES("wte.weight", "h.0.attn.c_attn.weight", "ln_f.weight");
	ck_assert_uint_eq(layout->flags, LAYOUT_TIED_EMBEDDINGS);
	layout_free(layout);
}
END_TEST

/* Models that make embeddings have no output matrix either, but nothing is tied in them. */
START_TEST(ties_nothing_in_encoders)
{
	struct modelgen_gguf *gguf = modelgen_llama(1, 32, 64, 96, 0, true);
	struct vram_layout *layout;

	modelgen_key_u32(gguf, "llama.pooling_type", 1);
	layout = layout_of(gguf);
	ck_assert_uint_eq(layout->flags, 0);
	ck_assert_uint_eq(layout->layers[0].flags, LAYOUT_EMBEDDING);
	layout_free(layout);

	layout = LAYOUT_OF_NAMES("embeddings.word_embeddings.weight",
				 "encoder.layer.0.attention.self.query.weight",
				 "pooler.dense.weight");
	ck_assert_uint_eq(layout->flags, 0);
	layout_free(layout);
	layout = LAYOUT_OF_NAMES("embed_tokens.weight", "layers.0.mlp.up_proj.weight",
				 "norm.weight");
	ck_assert_uint_eq(layout->flags, 0);
	layout_free(layout);
}
END_TEST

START_TEST(sets_the_rest_aside)
{
	struct vram_layout *layout = LAYOUT_OF_NAMES("vision_tower.encoder.layers.1.mlp.fc1.weight",
						     "vision_tower.encoder.layers.0.mlp.fc1.weight",
						     "vision_tower.post_layernorm.weight",
						     "multi_modal_projector.linear_1.weight",
						     "logit_scale", "model.embed_tokens.weight",
						     "model.layers.0.mlp.up_proj.weight",
						     "strange_blocks.3.w", "lm_head.weight");

	CHECK_LAYERS(layout, "token_embd", "model.layers.0", "strange_blocks.3", "output",
		     "multi_modal_projector", "vision_tower", "vision_tower.encoder.layers.0",
		     "vision_tower.encoder.layers.1", "other");
	/* What is numbered like a block may well be part of the pass. */
	ck_assert_uint_eq(layout->layers[2].flags, LAYOUT_DENSE);
	for (uint32_t i = 4; i < 9; i++)
		ck_assert_uint_eq(layout->layers[i].flags, LAYOUT_OTHER);
	layout_free(layout);
}
END_TEST

/* In a file of nothing else the same layers are what is used. */
START_TEST(takes_a_projector_as_a_whole)
{
	struct vram_layout *layout = LAYOUT_OF_NAMES("v.blk.0.attn_q.weight",
						     "v.blk.1.attn_q.weight", "mm.0.weight",
						     "v.patch_embd.weight");

	CHECK_LAYERS(layout, "mm.0", "v", "v.blk.0", "v.blk.1");
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(layout->layers[i].flags, LAYOUT_DENSE);
	layout_free(layout);
}
END_TEST

START_TEST(leaves_empty_tensors_out)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct vram_layout *layout;

	modelgen_tensor(gguf, "blk.0.attn_q.weight", MODELGEN_F32, 0, 0, 0);
	modelgen_tensor(gguf, "blk.1.attn_q.weight", MODELGEN_F32, 1, 0, 0);
	layout = layout_of(gguf);
	CHECK_LAYERS(layout, "blk.1");
	ck_assert_uint_eq(layout->tensors.n, 2);
	layout_free(layout);

	layout = layout_of(modelgen_gguf_new());
	ck_assert_uint_eq(layout->n_layers, 0);
	ck_assert_ptr_null(layout->architecture);
	layout_free(layout);
}
END_TEST

/* A small header may describe more experts than we want to remember: 2^20 layers and 2^21 parts at most. */
START_TEST(limits_layers_and_parts)
{
	static const struct {
		int n_up, n_down;
		int err;
		const char *words;
	} cases[] = {
		{ 256, 0, 0, "" },
		{ 257, 0, -E2BIG, "make 1052672 layers" },
		{ 256, 257, -E2BIG, "more than 2097152 parts" },
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct modelgen_gguf *gguf = modelgen_gguf_new();
		struct modelgen_buf buf = { 0 };
		struct vram_layout *layout = NULL;
		char text[PARSE_MSG_MAX], name[64];
		int fd, err;

		for (int i = 0; i < cases[c].n_up + cases[c].n_down; i++) {
			bool up = i < cases[c].n_up;

			snprintf(name, sizeof(name), "blk.%d.ffn_%s_exps.weight",
				 up ? i : i - cases[c].n_up, up ? "up" : "down");
			modelgen_tensor(gguf, name, 24, 1, 4096, 0)->bytes = 4096;
		}
		modelgen_gguf_build(gguf, &buf);
		modelgen_gguf_free(gguf);
		fd = modelgen_memfd(&buf);
		err = layout_open_fd(fd, &layout, text, sizeof(text));
		ck_assert_msg(err == cases[c].err, "%d %s", err, text);
		ck_assert_msg(strstr(text, cases[c].words) != NULL, "%s", text);
		ck_assert_int_eq(layout != NULL, err == 0);
		if (layout)
			ck_assert_uint_eq(layout->n_layers, LAYOUT_MAX_LAYERS);
		layout_free(layout);
		close(fd);
		modelgen_buf_free(&buf);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("layout");
	TCase *tcase = tcase_create("core");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, groups_a_dense_model);
	tcase_add_test(tcase, orders_a_block);
	tcase_add_test(tcase, cuts_experts);
	tcase_add_test(tcase, takes_experts_of_their_own);
	tcase_add_test(tcase, cuts_only_what_is_fused);
	tcase_add_test(tcase, merges_over_padding);
	tcase_add_test(tcase, never_merges_over_other_experts);
	tcase_add_test(tcase, notes_tied_embeddings);
	tcase_add_test(tcase, ties_nothing_in_encoders);
	tcase_add_test(tcase, sets_the_rest_aside);
	tcase_add_test(tcase, takes_a_projector_as_a_whole);
	tcase_add_test(tcase, leaves_empty_tensors_out);
	tcase_add_test(tcase, limits_layers_and_parts);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
