// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/layout_promises.h"

#include <stdlib.h>
#include <string.h>

#include "libclient/layout.h"

static int compare_extents(const void *a, const void *b)
{
	const struct layout_extent *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static const char *check_layer(const struct vram_layout *layout, const struct layout_layer *layer)
{
	uint64_t bytes = 0, extent_bytes = 0;
	uint32_t e = 0;

	if (!layer->name || !layer->name[0])
		return "a layer has no name";
	if (!layer->n_parts || !layer->n_extents || !layer->flags)
		return "a layer is empty";
	if ((layer->flags & LAYOUT_EXPERT) && (layer->expert < 0 || layer->block < 0))
		return "an expert has no number";
	for (uint32_t i = 0; i < layer->n_parts; i++) {
		const struct layout_part *part = &layer->parts[i];
		const struct vram_tensor *t;

		if (part->tensor >= layout->tensors.n)
			return "a part is of no tensor";
		t = &layout->tensors.tensors[part->tensor];
		if (!part->length || part->offset < t->offset ||
		    part->offset + part->length > t->offset + t->bytes)
			return "a part is outside its tensor";
		/* Extents are the parts in the same order, so one walk finds each part in its extent. */
		while (e < layer->n_extents &&
		       !(layer->extents[e].file == t->file &&
			 part->offset >= layer->extents[e].offset &&
			 part->offset + part->length <=
				 layer->extents[e].offset + layer->extents[e].length))
			e++;
		if (e == layer->n_extents)
			return "a part is in no extent";
		bytes += part->length;
	}
	for (uint32_t i = 0; i < layer->n_extents; i++) {
		const struct layout_extent *x = &layer->extents[i];

		if (x->file >= layout->n_files || !x->length ||
		    x->offset + x->length > layout->files[x->file].size_bytes)
			return "an extent is outside its file";
		extent_bytes += x->length;
	}
	if (bytes != layer->bytes || extent_bytes < bytes)
		return "a layer's bytes are not those of its parts";
	return NULL;
}

const char *layout_broken_promise(const struct vram_layout *layout)
{
	struct layout_extent *all;
	const char *broken = NULL;
	uint64_t layer_bytes = 0, tensor_bytes = 0;
	size_t n = 0;

	for (uint32_t i = 0; i < layout->n_layers; i++) {
		broken = check_layer(layout, &layout->layers[i]);
		if (broken)
			return broken;
		layer_bytes += layout->layers[i].bytes;
		n += layout->layers[i].n_extents;
	}
	for (size_t i = 0; i < layout->tensors.n; i++)
		tensor_bytes += layout->tensors.tensors[i].bytes;
	if (layer_bytes != tensor_bytes || layout->bytes != tensor_bytes)
		return "layers and tensors have different bytes";

	all = calloc(n + 1, sizeof(*all));
	if (!all)
		return "out of memory";
	n = 0;
	for (uint32_t i = 0; i < layout->n_layers; i++)
		for (uint32_t k = 0; k < layout->layers[i].n_extents; k++)
			all[n++] = layout->layers[i].extents[k];
	qsort(all, n, sizeof(*all), compare_extents);
	for (size_t i = 1; i < n; i++)
		if (all[i - 1].file == all[i].file &&
		    all[i - 1].offset + all[i - 1].length > all[i].offset)
			broken = "two extents share bytes";
	free(all);
	return broken;
}
