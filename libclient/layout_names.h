/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What the name of a tensor tells: which layer it belongs to and when inference needs it.
 */
#ifndef VRAM_LIBCLIENT_LAYOUT_NAMES_H
#define VRAM_LIBCLIENT_LAYOUT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of a pass. */
enum layout_section {
	SECTION_EMBEDDING,
	SECTION_BLOCK,
	SECTION_UNKNOWN, /* numbered like blocks, but by no name that we know */
	SECTION_OUTPUT,
	SECTION_SIDE, /* vision, audio, draft heads: not part of a pass over text */
	SECTION_REST, /* no name that we know and no number */
};

enum layout_group {
	GROUP_DENSE,
	GROUP_EXPERT,
	GROUP_CHUNK_EXPERT, /* grovemoe's second set of experts */
};

struct layout_place {
	uint8_t section;
	uint8_t stack; /* 0 for an encoder, 1 for a decoder or the only stack */
	uint8_t group;
	bool is_sliced;	 /* the outermost dimension counts experts: the tensor is to be cut up */
	bool is_head;	 /* the output matrix itself */
	bool is_tieable; /* embeddings that serve as the output matrix if there is none */
	uint16_t prefix_len;
	uint32_t rank; /* order of computation inside the layer */
	int32_t block;
	int32_t expert;
	const char *prefix; /* within the tensor's name: "blk." of "blk.3.attn_q.weight" */
};

/* The place keeps a pointer into the name. */
void layout_place_tensor(const char *name, struct layout_place *out_place);

/* Orders by layer, then by rank. Return: as for qsort(). */
int layout_place_compare(const struct layout_place *a, const struct layout_place *b);

bool layout_place_same_layer(const struct layout_place *a, const struct layout_place *b);

/* Writes the name of the layer, for example "blk.3.expert.17". Return: its length, as snprintf() does. */
int layout_place_name(const struct layout_place *place, char *buf, size_t size);

#endif
