// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tensor names tell, by example: names as they stand in models of llama.cpp and Hugging Face.
 *
 * links: libclient/layout_names.c
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/layout_names.h"

enum {
	SLICED = 1,
	HEAD = 2,
	TIEABLE = 4,
	ENCODER = 8,
};

static const struct {
	const char *name;
	const char *layer;
	int section;
	int flags;
} places[] = {
	/* GGUF */
	{ "token_embd.weight", "token_embd", SECTION_EMBEDDING, TIEABLE },
	{ "token_embd_norm.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "position_embd.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "per_layer_token_embd.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "rope_freqs.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "blk.0.attn_q.weight", "blk.0", SECTION_BLOCK, 0 },
	{ "blk.123.ffn_down.bias", "blk.123", SECTION_BLOCK, 0 },
	{ "blk.3.ffn_gate_inp.weight", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.ffn_gate_shexp.weight", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.exp_probs_b.bias", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.ffn_norm_exps.weight", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.nextn.embed_tokens.weight", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.vis_attn_qkv.weight", "blk.3", SECTION_BLOCK, 0 },
	{ "blk.3.ffn_gate_up_exps.weight", "blk.3.expert.-1", SECTION_BLOCK, SLICED },
	{ "blk.3.ffn_down_exps.bias", "blk.3.expert.-1", SECTION_BLOCK, SLICED },
	{ "blk.3.ffn_up_chexps.weight", "blk.3.chunk_expert.-1", SECTION_BLOCK, SLICED },
	{ "blk.3.ffn_gate.7.weight", "blk.3.expert.7", SECTION_BLOCK, 0 },
	{ "enc.blk.2.attn_q.weight", "enc.blk.2", SECTION_BLOCK, ENCODER },
	{ "dec.blk.2.cross_attn_q.weight", "dec.blk.2", SECTION_BLOCK, 0 },
	{ "output_norm.weight", "output", SECTION_OUTPUT, 0 },
	{ "enc.output_norm.weight", "output", SECTION_OUTPUT, 0 },
	{ "output.weight", "output", SECTION_OUTPUT, HEAD },
	{ "cls.output.weight", "output", SECTION_OUTPUT, 0 },
	{ "v.blk.3.attn_q.weight", "v.blk.3", SECTION_SIDE, 0 },
	{ "v.patch_embd.weight", "v", SECTION_SIDE, 0 },
	{ "a.position_embd.weight", "a", SECTION_SIDE, 0 },
	{ "mm.model.mlp.2.weight", "mm.model.mlp.2", SECTION_SIDE, 0 },
	{ "resampler.query", "resampler", SECTION_SIDE, 0 },
	/* Hugging Face */
	{ "model.embed_tokens.weight", "token_embd", SECTION_EMBEDDING, TIEABLE },
	{ "embed_tokens.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "transformer.wte.weight", "token_embd", SECTION_EMBEDDING, TIEABLE },
	{ "wpe.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "bert.embeddings.word_embeddings.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "embeddings.LayerNorm.weight", "token_embd", SECTION_EMBEDDING, 0 },
	{ "model.language_model.embed_tokens.weight", "token_embd", SECTION_EMBEDDING, TIEABLE },
	{ "model.layers.17.self_attn.q_proj.weight", "model.layers.17", SECTION_BLOCK, 0 },
	{ "model.layers.17.self_attn.rotary_emb.inv_freq", "model.layers.17", SECTION_BLOCK, 0 },
	{ "model.language_model.layers.4.mlp.up_proj.weight", "model.language_model.layers.4",
	  SECTION_BLOCK, 0 },
	{ "transformer.h.1.attn.c_attn.weight", "transformer.h.1", SECTION_BLOCK, 0 },
	{ "h.1.attn.c_attn.weight", "h.1", SECTION_BLOCK, 0 },
	{ "gpt_neox.layers.9.mlp.dense_h_to_4h.weight", "gpt_neox.layers.9", SECTION_BLOCK, 0 },
	{ "bert.encoder.layer.5.output.dense.bias", "bert.encoder.layer.5", SECTION_BLOCK,
	  ENCODER },
	{ "encoder.block.0.layer.1.DenseReluDense.wo.weight", "encoder.block.0", SECTION_BLOCK,
	  ENCODER },
	{ "model.decoder.layers.0.fc1.weight", "model.decoder.layers.0", SECTION_BLOCK, 0 },
	{ "model.layers.3.mlp.gate.weight", "model.layers.3", SECTION_BLOCK, 0 },
	{ "model.layers.3.mlp.shared_experts.up_proj.weight", "model.layers.3", SECTION_BLOCK, 0 },
	{ "model.layers.3.mlp.experts.200.up_proj.weight", "model.layers.3.expert.200",
	  SECTION_BLOCK, 0 },
	{ "model.layers.3.block_sparse_moe.experts.7.w2.weight", "model.layers.3.expert.7",
	  SECTION_BLOCK, 0 },
	{ "model.layers.3.mlp.experts.gate_up_proj_blocks", "model.layers.3.expert.-1",
	  SECTION_BLOCK, SLICED },
	{ "model.layers.3.feed_forward.experts.down_proj", "model.layers.3.expert.-1",
	  SECTION_BLOCK, SLICED },
	{ "model.norm.weight", "output", SECTION_OUTPUT, 0 },
	{ "transformer.ln_f.bias", "output", SECTION_OUTPUT, 0 },
	{ "lm_head.weight", "output", SECTION_OUTPUT, HEAD },
	{ "embed_out.weight", "output", SECTION_OUTPUT, HEAD },
	{ "pooler.dense.weight", "output", SECTION_OUTPUT, 0 },
	{ "visual.blocks.3.attn.qkv.weight", "visual.blocks.3", SECTION_SIDE, 0 },
	{ "model.vision_tower.encoder.layers.3.fc1.weight", "model.vision_tower.encoder.layers.3",
	  SECTION_SIDE, 0 },
	{ "multi_modal_projector.linear_1.weight", "multi_modal_projector", SECTION_SIDE, 0 },
	{ "mtp.layers.0.mlp.up_proj.weight", "mtp.layers.0", SECTION_SIDE, 0 },
	/* neither */
	{ "double_blocks.18.img_attn.qkv.weight", "double_blocks.18", SECTION_UNKNOWN, 0 },
	{ "down_blocks.0.resnets.1.conv1.weight", "down_blocks.0", SECTION_UNKNOWN, 0 },
	{ "time_embedding.linear_1.weight", "time_embedding", SECTION_REST, 0 },
	{ "logit_scale", "other", SECTION_REST, 0 },
	{ "conv_in.weight", "other", SECTION_REST, 0 },
	{ "..", "other", SECTION_REST, 0 },
	{ "", "other", SECTION_REST, 0 },
	{ "blk.1234567890.x", "blk", SECTION_REST, 0 },
	{ "blk.-1.x", "blk", SECTION_REST, 0 },
	{ "blk.3", "blk.3", SECTION_BLOCK, 0 },
	{ "blk..attn_q", "blk", SECTION_REST, 0 },
};

START_TEST(names_have_places)
{
	struct layout_place place;
	char layer[256];
	int flags;

	layout_place_tensor(places[_i].name, &place);
	flags = (place.is_sliced ? SLICED : 0) | (place.is_head ? HEAD : 0) |
		(place.is_tieable ? TIEABLE : 0) | (place.stack ? 0 : ENCODER);
	layout_place_name(&place, layer, sizeof(layer));
	ck_assert_msg(place.section == places[_i].section, "%s: section %d", places[_i].name,
		      place.section);
	ck_assert_str_eq(layer, places[_i].layer);
	ck_assert_msg(flags == places[_i].flags, "%s: flags %d", places[_i].name, flags);
}
END_TEST

/* Each of these comes before the next, in a pass. */
static const char *const passes[][20] = {
	{ "token_embd.weight",		 "rope_freqs.weight",
	  "blk.0.attn_norm.weight",	 "blk.0.attn_q_a.weight",
	  "blk.0.attn_q_b.weight",	 "blk.0.attn_kv_a_mqa.weight",
	  "blk.0.attn_kv_b.weight",	 "blk.0.attn_output.weight",
	  "blk.0.ffn_norm.weight",	 "blk.0.ffn_gate_inp.weight",
	  "blk.0.ffn_gate_shexp.weight", "blk.0.ffn_up_shexp.weight",
	  "blk.0.ffn_down_shexp.weight", "blk.0.ffn_gate.0.weight",
	  "blk.0.ffn_up.0.weight",	 "blk.0.ffn_gate.1.weight",
	  "blk.2.attn_norm.weight",	 "blk.10.attn_norm.weight",
	  "output_norm.weight",		 "output.weight" },
	{ "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
	  "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
	  "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
	  "model.layers.0.post_attention_layernorm.weight", "model.layers.0.mlp.gate.weight",
	  "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight",
	  "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.experts.0.gate_proj.weight",
	  "model.layers.0.mlp.experts.0.down_proj.weight",
	  "model.layers.0.mlp.experts.10.gate_proj.weight", "model.layers.1.input_layernorm.weight",
	  "model.norm.weight", "lm_head.weight", "visual.merger.mlp.weight", NULL },
	{ "encoder.layer.0.attention.self.query.weight",
	  "encoder.layer.0.attention.self.key.weight",
	  "encoder.layer.0.attention.self.value.weight",
	  "encoder.layer.0.attention.output.dense.weight",
	  "encoder.layer.0.attention.output.LayerNorm.weight",
	  "encoder.layer.0.intermediate.dense.weight", "encoder.layer.0.output.dense.weight",
	  "encoder.layer.0.output.LayerNorm.weight", "encoder.layer.1.attention.self.query.weight",
	  "pooler.dense.weight", NULL },
	{ "transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.ln_1.weight",
	  "transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight",
	  "transformer.h.0.ln_2.weight", "transformer.h.0.mlp.c_fc.weight",
	  "transformer.h.0.mlp.c_proj.weight", "transformer.h.1.ln_1.weight",
	  "transformer.ln_f.weight", NULL },
	{ "shared.weight", "enc.blk.0.attn_q.weight", "enc.blk.1.attn_q.weight",
	  "dec.blk.0.attn_q.weight", "dec.blk.0.cross_attn_q.weight", "dec.blk.0.ffn_up.weight",
	  "output.weight", NULL },
};

START_TEST(names_have_an_order)
{
	struct layout_place before, place;

	for (size_t i = 0; i < 20 && passes[_i][i]; i++) {
		layout_place_tensor(passes[_i][i], &place);
		if (i) {
			ck_assert_msg(layout_place_compare(&before, &place) < 0,
				      "%s is not before %s", passes[_i][i - 1], passes[_i][i]);
			ck_assert_int_gt(layout_place_compare(&place, &before), 0);
		}
		before = place;
	}
}
END_TEST

START_TEST(same_layers)
{
	struct layout_place a, b;

	layout_place_tensor("blk.1.attn_q.weight", &a);
	layout_place_tensor("blk.1.ffn_down.weight", &b);
	ck_assert(layout_place_same_layer(&a, &b));
	layout_place_tensor("blk.11.ffn_down.weight", &b);
	ck_assert(!layout_place_same_layer(&a, &b));
	layout_place_tensor("blk.1.ffn_gate.1.weight", &b);
	ck_assert(!layout_place_same_layer(&a, &b));
	layout_place_tensor("xblk.1.ffn_down.weight", &b);
	ck_assert(!layout_place_same_layer(&a, &b));
}
END_TEST

START_TEST(long_names_are_fine)
{
	struct layout_place place;
	char name[1025], layer[1100];

	memset(name, '.', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	layout_place_tensor(name, &place);
	ck_assert_int_eq(place.section, SECTION_REST);
	memset(name, 'x', sizeof(name) - 1);
	memcpy(name + 1015, ".blk.3.w", 8);
	layout_place_tensor(name, &place);
	ck_assert_int_eq(place.section, SECTION_BLOCK);
	ck_assert_int_eq(place.block, 3);
	ck_assert_int_eq(layout_place_name(&place, layer, sizeof(layer)), 1021);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("layout_names");
	TCase *tcase = tcase_create("core");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, names_have_places, 0, sizeof(places) / sizeof(places[0]));
	tcase_add_loop_test(tcase, names_have_an_order, 0, sizeof(passes) / sizeof(passes[0]));
	tcase_add_test(tcase, same_layers);
	tcase_add_test(tcase, long_names_are_fine);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
