// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Tensor names are dotted words. The words before the first number say what it
 * numbers ("blk.3." in GGUF; "model.layers.3.", "transformer.h.3.", "encoder.layer.3." in
 * Hugging Face's models), the words behind it say what the tensor is for. Nothing here
 * depends on which format the name came from: the vocabularies do not contradict each other, and
 * converters mix them.
 *
 * The vocabularies are those of llama.cpp's gguf-py/gguf/constants.py and of the models of Hugging
 * Face's transformers. A name they do not know is no error. It gets a place by its number if it has
 * one (so a diffusion model's blocks become layers too) and by its first word if not; only the
 * order of such layers is then a guess, which the learning of the order corrects at run time.
 */
#include "libclient/layout_names.h"

#include <stdio.h>
#include <string.h>

#define MAX_WORDS 24

struct word {
	const char *text;
	uint16_t len;
};

struct words {
	struct word w[MAX_WORDS];
	size_t n;
};

static bool is(struct word word, const char *text)
{
	return strlen(text) == word.len && !memcmp(word.text, text, word.len);
}

static bool is_any(struct word word, const char *const *texts)
{
	for (; *texts; texts++)
		if (is(word, *texts))
			return true;
	return false;
}

static bool begins(struct word word, const char *text)
{
	return strlen(text) <= word.len && !memcmp(word.text, text, strlen(text));
}

static bool ends(struct word word, const char *text)
{
	size_t n = strlen(text);

	return n <= word.len && !memcmp(word.text + word.len - n, text, n);
}

/* Return: the number that the word is, -1 if it is none or has more than 9 digits. */
static int32_t number(struct word word)
{
	int32_t value = 0;

	if (!word.len || word.len > 9)
		return -1;
	for (uint16_t i = 0; i < word.len; i++) {
		if (word.text[i] < '0' || word.text[i] > '9')
			return -1;
		value = value * 10 + (word.text[i] - '0');
	}
	return value;
}

/* Names end in NUL and have at most VRAM_TENSOR_NAME_MAX bytes. What is beyond MAX_WORDS is one word. */
static void split_words(const char *name, struct words *out)
{
	out->n = 0;
	for (;;) {
		const char *dot = out->n < MAX_WORDS - 1 ? strchr(name, '.') : NULL;
		size_t len = dot ? (size_t)(dot - name) : strlen(name);

		out->w[out->n++] = (struct word){ name, (uint16_t)len };
		if (!dot)
			return;
		name = dot + 1;
	}
}

/*
 * When inside a block a tensor is used: the phase comes from the first word that has one, the detail from the
 * last word that has one. GGUF's words say both.
 */
enum phase {
	BEFORE_ATTENTION,
	ATTENTION,
	BEFORE_FEED_FORWARD,
	ROUTER,
	FEED_FORWARD,
	AFTER_FEED_FORWARD,
	AT_THE_END,
	NO_PHASE,
};

#define NO_DETAIL 99

static const struct order_word {
	const char *text;
	uint8_t phase;
	uint8_t detail;
} order_words[] = {
	/* GGUF */
	{ "attn_norm", BEFORE_ATTENTION, 0 },
	{ "attn_norm_2", BEFORE_ATTENTION, 1 },
	{ "attn_q_a", ATTENTION, 10 },
	{ "attn_q_a_norm", ATTENTION, 11 },
	{ "attn_q_b", ATTENTION, 12 },
	{ "attn_q", ATTENTION, 13 },
	{ "attn_qkv", ATTENTION, 13 },
	{ "attn_q_norm", ATTENTION, 14 },
	{ "attn_kv_a_mqa", ATTENTION, 15 },
	{ "attn_kv_a_norm", ATTENTION, 16 },
	{ "attn_kv_b", ATTENTION, 17 },
	{ "attn_k_b", ATTENTION, 18 },
	{ "attn_v_b", ATTENTION, 19 },
	{ "attn_k", ATTENTION, 20 },
	{ "attn_k_norm", ATTENTION, 21 },
	{ "attn_v", ATTENTION, 22 },
	{ "attn_rot_embd", ATTENTION, 23 },
	{ "indexer", ATTENTION, 24 },
	{ "attn_sinks", ATTENTION, 25 },
	{ "attn_gate", ATTENTION, 26 },
	{ "attn_sub_norm", ATTENTION, 27 },
	{ "attn_output", ATTENTION, 30 },
	{ "attn_o", ATTENTION, 30 },
	{ "attn_output_norm", ATTENTION, 31 },
	{ "post_attention_norm", ATTENTION, 32 },
	{ "cross_attn_norm", ATTENTION, 40 },
	{ "cross_attn_q", ATTENTION, 41 },
	{ "cross_attn_k", ATTENTION, 42 },
	{ "cross_attn_v", ATTENTION, 43 },
	{ "cross_attn_o", ATTENTION, 44 },
	{ "ssm_in", ATTENTION, 10 },
	{ "ssm_conv1d", ATTENTION, 11 },
	{ "ssm_x", ATTENTION, 12 },
	{ "ssm_dt", ATTENTION, 13 },
	{ "ssm_a", ATTENTION, 14 },
	{ "ssm_d", ATTENTION, 15 },
	{ "ssm_norm", ATTENTION, 16 },
	{ "ssm_out", ATTENTION, 30 },
	{ "ffn_norm", BEFORE_FEED_FORWARD, 0 },
	{ "ffn_norm_exps", BEFORE_FEED_FORWARD, 1 },
	{ "ffn_gate_inp", ROUTER, 0 },
	{ "ffn_gate_inp_shexp", ROUTER, 1 },
	{ "exp_probs_b", ROUTER, 2 },
	{ "ffn_gate", FEED_FORWARD, 10 },
	{ "ffn_gate_exps", FEED_FORWARD, 10 },
	{ "ffn_gate_up_exps", FEED_FORWARD, 10 },
	{ "ffn_gate_chexps", FEED_FORWARD, 10 },
	{ "ffn_up", FEED_FORWARD, 11 },
	{ "ffn_up_exps", FEED_FORWARD, 11 },
	{ "ffn_up_chexps", FEED_FORWARD, 11 },
	{ "ffn_sub_norm", FEED_FORWARD, 12 },
	{ "ffn_down", FEED_FORWARD, 13 },
	{ "ffn_down_exps", FEED_FORWARD, 13 },
	{ "ffn_down_chexps", FEED_FORWARD, 13 },
	{ "ffn_gate_shexp", FEED_FORWARD, 20 },
	{ "ffn_up_shexp", FEED_FORWARD, 21 },
	{ "ffn_down_shexp", FEED_FORWARD, 22 },
	{ "post_ffw_norm", AFTER_FEED_FORWARD, 0 },
	{ "ffn_post_norm", AFTER_FEED_FORWARD, 0 },
	{ "layer_output_norm", AT_THE_END, 0 },
	{ "layer_output_scale", AT_THE_END, 1 },
	{ "nextn", AT_THE_END, 2 },
	/* Hugging Face: what a group of tensors is for */
	{ "input_layernorm", BEFORE_ATTENTION, 0 },
	{ "ln_1", BEFORE_ATTENTION, 0 },
	{ "norm1", BEFORE_ATTENTION, 0 },
	{ "norm_1", BEFORE_ATTENTION, 0 },
	{ "attention_norm", BEFORE_ATTENTION, 0 },
	{ "self_attn_layer_norm", BEFORE_ATTENTION, 0 },
	{ "self_attn", ATTENTION, NO_DETAIL },
	{ "self_attention", ATTENTION, NO_DETAIL },
	{ "SelfAttention", ATTENTION, NO_DETAIL },
	{ "attention", ATTENTION, NO_DETAIL },
	{ "attn", ATTENTION, NO_DETAIL },
	{ "linear_attn", ATTENTION, NO_DETAIL },
	{ "mixer", ATTENTION, NO_DETAIL },
	{ "mamba", ATTENTION, NO_DETAIL },
	{ "post_attention_layernorm", BEFORE_FEED_FORWARD, 0 },
	{ "pre_feedforward_layernorm", BEFORE_FEED_FORWARD, 1 },
	{ "ln_2", BEFORE_FEED_FORWARD, 0 },
	{ "norm2", BEFORE_FEED_FORWARD, 0 },
	{ "norm_2", BEFORE_FEED_FORWARD, 0 },
	{ "mlp", FEED_FORWARD, NO_DETAIL },
	{ "feed_forward", FEED_FORWARD, NO_DETAIL },
	{ "block_sparse_moe", FEED_FORWARD, NO_DETAIL },
	{ "ffn", FEED_FORWARD, NO_DETAIL },
	{ "moe", FEED_FORWARD, NO_DETAIL },
	{ "intermediate", FEED_FORWARD, NO_DETAIL },
	{ "output", AFTER_FEED_FORWARD, NO_DETAIL },
	{ "post_feedforward_layernorm", AFTER_FEED_FORWARD, 40 },
	{ "final_layer_norm", AFTER_FEED_FORWARD, 40 },
	/* ... and which one of the group */
	{ "gate", NO_PHASE, 1 },
	{ "router", NO_PHASE, 1 },
	{ "shared_expert_gate", NO_PHASE, 2 },
	{ "q_a_proj", NO_PHASE, 10 },
	{ "q_a_layernorm", NO_PHASE, 11 },
	{ "q_b_proj", NO_PHASE, 12 },
	{ "q_proj", NO_PHASE, 13 },
	{ "query", NO_PHASE, 13 },
	{ "wq", NO_PHASE, 13 },
	{ "q", NO_PHASE, 13 },
	{ "qkv_proj", NO_PHASE, 13 },
	{ "query_key_value", NO_PHASE, 13 },
	{ "c_attn", NO_PHASE, 13 },
	{ "Wqkv", NO_PHASE, 13 },
	{ "q_norm", NO_PHASE, 14 },
	{ "kv_a_proj_with_mqa", NO_PHASE, 15 },
	{ "kv_a_layernorm", NO_PHASE, 16 },
	{ "kv_b_proj", NO_PHASE, 17 },
	{ "k_proj", NO_PHASE, 20 },
	{ "key", NO_PHASE, 20 },
	{ "wk", NO_PHASE, 20 },
	{ "k", NO_PHASE, 20 },
	{ "k_norm", NO_PHASE, 21 },
	{ "v_proj", NO_PHASE, 22 },
	{ "value", NO_PHASE, 22 },
	{ "wv", NO_PHASE, 22 },
	{ "v", NO_PHASE, 22 },
	{ "sinks", NO_PHASE, 25 },
	{ "o_proj", NO_PHASE, 30 },
	{ "out_proj", NO_PHASE, 30 },
	{ "wo", NO_PHASE, 30 },
	{ "o", NO_PHASE, 30 },
	{ "dense", NO_PHASE, 30 },
	{ "c_proj", NO_PHASE, 30 },
	{ "LayerNorm", NO_PHASE, 31 },
	{ "gate_proj", NO_PHASE, 10 },
	{ "gate_up_proj", NO_PHASE, 10 },
	{ "w1", NO_PHASE, 10 },
	{ "wi_0", NO_PHASE, 10 },
	{ "c_fc", NO_PHASE, 10 },
	{ "fc1", NO_PHASE, 10 },
	{ "dense_h_to_4h", NO_PHASE, 10 },
	{ "up_proj", NO_PHASE, 11 },
	{ "w3", NO_PHASE, 11 },
	{ "wi_1", NO_PHASE, 11 },
	{ "down_proj", NO_PHASE, 13 },
	{ "w2", NO_PHASE, 13 },
	{ "fc2", NO_PHASE, 13 },
	{ "dense_4h_to_h", NO_PHASE, 13 },
};

static uint32_t block_rank(const struct words *words, size_t first)
{
	uint32_t phase = NO_PHASE, detail = NO_DETAIL;

	for (size_t i = first; i < words->n; i++) {
		for (size_t k = 0; k < sizeof(order_words) / sizeof(order_words[0]); k++) {
			const struct order_word *o = &order_words[k];

			if (o->text[0] != words->w[i].text[0] || !is(words->w[i], o->text))
				continue;
			if (phase == NO_PHASE)
				phase = o->phase;
			if (o->detail != NO_DETAIL)
				detail = o->detail;
			break;
		}
	}
	/* What is unknown stands in the middle, in the order of the file. */
	return (phase == NO_PHASE ? ROUTER : phase) * 100 + detail;
}

/* Parts beside the text model, whatever they number: a word of these anywhere. */
static bool is_side(const struct words *words)
{
	static const char *const first_words[] = { "v", "a", "mm", "mtp", NULL };
	static const char *const anywhere[] = { "vit",		"vpm",
						"apm",		"resampler",
						"mm_projector", "multi_modal_projector",
						"embed_vision", "embed_audio",
						"mtp",		NULL };
	static const char *const beginnings[] = { "vision", "visual", "audio", "image_", NULL };

	if (is_any(words->w[0], first_words) && words->n > 1)
		return true;
	for (size_t i = 0; i < words->n; i++) {
		if (is_any(words->w[i], anywhere))
			return true;
		for (const char *const *b = beginnings; *b; b++)
			if (begins(words->w[i], *b))
				return true;
	}
	return false;
}

/* Experts inside a block: fused into one tensor, or a tensor for each. */
static void place_expert(const struct words *words, size_t first, struct layout_place *place)
{
	for (size_t i = first; i < words->n; i++) {
		struct word w = words->w[i];
		int32_t n = i + 1 < words->n ? number(words->w[i + 1]) : -1;
		bool is_ffn = begins(w, "ffn_gate") || begins(w, "ffn_up") || begins(w, "ffn_down");

		if (is_ffn && (ends(w, "_exps") || ends(w, "_chexps"))) {
			place->group = ends(w, "_chexps") ? GROUP_CHUNK_EXPERT : GROUP_EXPERT;
			place->is_sliced = true;
			return;
		}
		if (is(w, "experts") && n < 0 && i + 1 < words->n) {
			place->group = GROUP_EXPERT;
			place->is_sliced = true;
			return;
		}
		/* The first GGUF files of Mixtral: blk.0.ffn_gate.7.weight */
		if (n >= 0 && (is(w, "experts") || is(w, "ffn_gate") || is(w, "ffn_up") ||
			       is(w, "ffn_down"))) {
			place->group = GROUP_EXPERT;
			place->expert = n;
			return;
		}
	}
}

/* The prefix includes the dot before the number: words[0..i) and words[i] is the number. */
static void set_prefix(const struct words *words, size_t i, struct layout_place *place)
{
	place->prefix = words->w[0].text;
	place->prefix_len = (uint16_t)(words->w[i].text - words->w[0].text);
	place->block = number(words->w[i]);
}

static bool place_block(const struct words *words, struct layout_place *place)
{
	static const char *const block_words[] = { "blk",   "layers", "layer", "h",
						   "block", "blocks", NULL };

	for (size_t i = 0; i + 1 < words->n; i++) {
		if (number(words->w[i + 1]) < 0 || !is_any(words->w[i], block_words))
			continue;
		place->section = SECTION_BLOCK;
		set_prefix(words, i + 1, place);
		for (size_t k = 0; k < i; k++)
			if (is(words->w[k], "enc") || is(words->w[k], "encoder"))
				place->stack = 0;
		place->rank = block_rank(words, i + 2);
		place_expert(words, i + 2, place);
		return true;
	}
	return false;
}

static bool place_ends(const struct words *words, struct layout_place *place)
{
	static const char *const tieable[] = {
		"token_embd",	  "embed_tokens", "wte",    "word_embeddings",
		"tok_embeddings", "embed_in",	  "shared", NULL
	};
	static const char *const embeddings[] = { "position_embd",
						  "token_types",
						  "token_embd_norm",
						  "per_layer_token_embd",
						  "per_layer_model_proj",
						  "per_layer_proj_norm",
						  "rope_freqs",
						  "rope_factors_long",
						  "rope_factors_short",
						  "altup_proj",
						  "wpe",
						  "embeddings",
						  "embed_positions",
						  "word_embeddings_layernorm",
						  "rotary_emb",
						  "embed_tokens_per_layer",
						  NULL };
	static const char *const heads[] = { "output", "lm_head", "embed_out", NULL };
	static const char *const norms[] = {
		"output_norm", "norm", "ln_f", "final_layernorm", "final_layer_norm", "norm_f", NULL
	};
	static const char *const behind[] = {
		"cls", "pooler", "score", "classifier", "dense_2", "dense_3", "altup_unembd_proj",
		NULL
	};

	for (size_t i = 0; i < words->n; i++) {
		struct word w = words->w[i];

		if (!is_any(w, tieable) && !is_any(w, embeddings))
			continue;
		place->section = SECTION_EMBEDDING;
		/* A bare embed_tokens is a model saved without any head: it makes embeddings. */
		place->is_tieable = is_any(w, tieable) && (i > 0 || !is(w, "embed_tokens"));
		place->rank = !is_any(w, tieable);
		return true;
	}
	for (size_t i = 0; i < words->n; i++) {
		struct word w = words->w[i];

		if (is_any(w, norms)) {
			place->rank = 0;
		} else if (is_any(w, heads)) {
			place->is_head = true;
			place->rank = 1;
		} else if (is_any(w, behind)) {
			place->rank = 2;
		} else {
			continue;
		}
		place->section = SECTION_OUTPUT;
		return true;
	}
	return false;
}

static void place_rest(const struct words *words, uint8_t unnumbered, uint8_t numbered,
		       struct layout_place *place)
{
	for (size_t i = 1; i < words->n; i++) {
		if (number(words->w[i]) < 0)
			continue;
		place->section = numbered;
		set_prefix(words, i, place);
		place->rank = block_rank(words, i + 1);
		return;
	}
	place->section = unnumbered;
	if (words->w[0].len && words->n > (unnumbered == SECTION_SIDE ? 1 : 2)) {
		place->prefix = words->w[0].text;
		place->prefix_len = words->w[0].len;
	} else {
		place->prefix = "other";
		place->prefix_len = (uint16_t)strlen(place->prefix);
	}
}

void layout_place_tensor(const char *name, struct layout_place *out_place)
{
	struct words words;

	*out_place = (struct layout_place){ .stack = 1, .block = -1, .expert = -1, .prefix = "" };
	split_words(name, &words);
	if (is_side(&words))
		place_rest(&words, SECTION_SIDE, SECTION_SIDE, out_place);
	else if (!place_block(&words, out_place) && !place_ends(&words, out_place))
		place_rest(&words, SECTION_REST, SECTION_UNKNOWN, out_place);
}

#define COMPARE(a, b)                              \
	do {                                       \
		if ((a) != (b))                    \
			return (a) < (b) ? -1 : 1; \
	} while (0)

static int compare_layers(const struct layout_place *a, const struct layout_place *b)
{
	size_t n = a->prefix_len < b->prefix_len ? a->prefix_len : b->prefix_len;
	int order;

	COMPARE(a->section, b->section);
	COMPARE(a->stack, b->stack);
	order = memcmp(a->prefix, b->prefix, n);
	if (order)
		return order;
	COMPARE(a->prefix_len, b->prefix_len);
	COMPARE(a->block, b->block);
	COMPARE(a->group, b->group);
	COMPARE(a->expert, b->expert);
	return 0;
}

bool layout_place_same_layer(const struct layout_place *a, const struct layout_place *b)
{
	return !compare_layers(a, b);
}

int layout_place_compare(const struct layout_place *a, const struct layout_place *b)
{
	int order = compare_layers(a, b);

	if (order)
		return order;
	COMPARE(a->rank, b->rank);
	return 0;
}

int layout_place_name(const struct layout_place *place, char *buf, size_t size)
{
	static const char *const groups[] = {
		[GROUP_EXPERT] = "expert",
		[GROUP_CHUNK_EXPERT] = "chunk_expert",
	};

	if (place->section == SECTION_EMBEDDING)
		return snprintf(buf, size, "token_embd");
	if (place->section == SECTION_OUTPUT)
		return snprintf(buf, size, "output");
	if (place->block < 0)
		return snprintf(buf, size, "%.*s", place->prefix_len, place->prefix);
	if (place->group == GROUP_DENSE)
		return snprintf(buf, size, "%.*s%d", place->prefix_len, place->prefix,
				place->block);
	return snprintf(buf, size, "%.*s%d.%s.%d", place->prefix_len, place->prefix, place->block,
			groups[place->group], place->expert);
}
