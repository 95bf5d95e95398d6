// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint32_t extent_flags(uint32_t layer_flags)
{
	uint32_t flags = 0;

	if (layer_flags & LAYOUT_EXPERT)
		flags |= VRAM_EXTENT_EXPERT;
	if ((layer_flags & LAYOUT_OTHER) ||
	    ((layer_flags & LAYOUT_EMBEDDING) && !(layer_flags & LAYOUT_OUTPUT)))
		flags |= VRAM_EXTENT_UNORDERED;
	return flags;
}

/* Embeddings that are the output head too stand first in a layout, but are read whole at the end of a pass. */
static bool used_last(const struct layout_layer *layer)
{
	return (layer->flags & LAYOUT_EMBEDDING) && (layer->flags & LAYOUT_OUTPUT);
}

static bool in_file(const struct layout_layer *layer, uint32_t file)
{
	for (uint32_t i = 0; i < layer->n_extents; i++)
		if (layer->extents[i].file == file)
			return true;
	return false;
}

static void add_extents(struct plan *plan, const struct layout_layer *layer, uint32_t number,
			uint32_t file)
{
	for (uint32_t i = 0; i < layer->n_extents; i++) {
		if (layer->extents[i].file != file)
			continue;
		plan->extents[plan->n_extents++] = (struct vram_msg_extent){
			.offset = layer->extents[i].offset,
			.length = layer->extents[i].length,
			.layer = number,
			.flags = extent_flags(layer->flags),
		};
	}
}

int plan_make(struct plan *plan, const struct vram_layout *layout, uint32_t file)
{
	uint64_t n_extents = 0;

	memset(plan, 0, sizeof(*plan));
	for (uint32_t i = 0; i < layout->n_layers; i++)
		n_extents += layout->layers[i].n_extents;
	if (n_extents > UINT32_MAX / 2)
		return -E2BIG;
	/* One more of each: a file without tensors is no failure of memory. */
	plan->extents = calloc(n_extents + 1, sizeof(*plan->extents));
	plan->layer_of = calloc((size_t)layout->n_layers + 1, sizeof(uint32_t));
	plan->number_of = calloc((size_t)layout->n_layers + 1, sizeof(uint32_t));
	if (!plan->extents || !plan->layer_of || !plan->number_of) {
		plan_deinit(plan);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < layout->n_layers; i++) {
		plan->number_of[i] = PLAN_NONE;
		if (!in_file(&layout->layers[i], file))
			continue;
		plan->number_of[i] = plan->n_layers;
		plan->layer_of[plan->n_layers++] = i;
	}
	for (int last = 0; last < 2; last++)
		for (uint32_t k = 0; k < plan->n_layers; k++) {
			const struct layout_layer *layer = &layout->layers[plan->layer_of[k]];

			if (used_last(layer) == (last == 1))
				add_extents(plan, layer, k, file);
		}
	return 0;
}

void plan_deinit(struct plan *plan)
{
	free(plan->extents);
	free(plan->layer_of);
	free(plan->number_of);
	memset(plan, 0, sizeof(*plan));
}
