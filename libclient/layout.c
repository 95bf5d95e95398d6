// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Groups tensors into layers. Every tensor becomes one part, a fused expert tensor one part for each
 * expert; the parts are sorted by place (layout_names.c) and every run of parts with the same
 * place is a layer. Nothing is looked up, so the cost is that of one sort whatever the
 * file says.
 */
#include "libclient/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "libclient/layout_internal.h"
#include "libclient/layout_names.h"

/* Of all layers together. The largest models that exist have about 100,000. */
#define MAX_PARTS (1u << 21)

/*
 * A tensor that is named like fused experts but counts more than this in its outermost dimension
 * stores something else there (some quantisers flatten matrices).
 */
#define MAX_EXPERTS 4096

/* Padding between two tensors that is read along rather than splitting an extent. */
#define MAX_PADDING 4096

struct item {
	struct layout_place place;
	uint32_t tensor;
	uint32_t file;
	uint64_t offset;
	uint64_t length;
};

/* Return: how many parts the tensor is cut into; makes the place a dense one if it cannot be cut. */
static uint64_t count_slices(const struct vram_tensor *t, struct layout_place *place)
{
	if (!place->is_sliced)
		return 1;
	if (t->n_dims >= 2 && t->dims[0] && t->dims[0] <= MAX_EXPERTS && t->bytes % t->dims[0] == 0)
		return t->dims[0];
	place->group = GROUP_DENSE;
	place->is_sliced = false;
	return 1;
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = layout_place_compare(&x->place, &y->place);

	if (order)
		return order;
	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return 0;
}

/* What the whole model looks like, seen while the parts are made. */
struct overview {
	bool has_decoder;
	bool has_head;
	bool has_tieable;
	bool has_pass; /* anything that a pass over text would use */
};

static void look_at(struct overview *view, const struct layout_place *place)
{
	view->has_decoder |= place->section == SECTION_BLOCK && place->stack == 1;
	view->has_head |= place->is_head;
	view->has_tieable |= place->is_tieable;
	view->has_pass |= place->section <= SECTION_OUTPUT;
}

static int make_items(const struct tensor_list *list, struct item **out_items, size_t *out_n,
		      struct overview *view, const struct parse_msg *msg)
{
	_cleanup_free_ struct item *items = NULL;
	uint64_t n_items = 0;
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		struct layout_place place;

		layout_place_tensor(list->tensors[i].name, &place);
		n_items += list->tensors[i].bytes ? count_slices(&list->tensors[i], &place) : 0;
	}
	if (n_items > MAX_PARTS)
		return parse_fail(msg, -E2BIG, "the tensors and experts are more than %u parts",
				  MAX_PARTS);
	items = calloc((size_t)n_items + 1, sizeof(*items));
	if (!items)
		return parse_fail(msg, -ENOMEM, "out of memory for %llu parts",
				  (unsigned long long)n_items);

	for (size_t i = 0; i < list->n; i++) {
		const struct vram_tensor *t = &list->tensors[i];
		struct layout_place place;
		uint64_t n_slices;

		if (!t->bytes)
			continue;
		layout_place_tensor(t->name, &place);
		look_at(view, &place);
		n_slices = count_slices(t, &place);
		for (uint64_t k = 0; k < n_slices; k++) {
			struct item *item = &items[n++];

			*item = (struct item){
				.place = place,
				.tensor = (uint32_t)i,
				.file = t->file,
				.length = t->bytes / n_slices,
			};
			item->offset = t->offset + k * item->length;
			if (place.is_sliced)
				item->place.expert = (int32_t)k;
		}
	}
	qsort(items, n, sizeof(*items), compare_items);
	*out_items = steal_ptr(&items);
	*out_n = n;
	return 0;
}

static uint32_t layer_flags(const struct layout_place *place, const struct overview *view,
			    uint32_t layout_flags)
{
	switch (place->section) {
	case SECTION_EMBEDDING:
		return LAYOUT_EMBEDDING |
		       (layout_flags & LAYOUT_TIED_EMBEDDINGS ? LAYOUT_OUTPUT : 0);
	case SECTION_BLOCK:
	case SECTION_UNKNOWN:
		return place->group == GROUP_DENSE ? LAYOUT_DENSE : LAYOUT_EXPERT;
	case SECTION_OUTPUT:
		return LAYOUT_OUTPUT;
	case SECTION_SIDE:
	case SECTION_REST:
	default:
		/* A file of nothing else, such as a vision projector's, is used as a whole. */
		return view->has_pass ? LAYOUT_OTHER : LAYOUT_DENSE;
	}
}

/*
 * Whether b can join the extent that a ends. A gap smaller than the alignment is padding if it
 * lies between two whole tensors; beside a slice it may be another expert's.
 */
static bool is_adjacent(const struct item *a, const struct item *b, uint64_t padding)
{
	uint64_t end = a->offset + a->length;

	if (a->file != b->file || b->offset < end)
		return false;
	return b->offset == end ||
	       (!a->place.is_sliced && !b->place.is_sliced && b->offset - end < padding);
}

/* Fills one layer from its n parts. */
static int fill_layer(struct layout_layer *layer, const struct item *items, size_t n,
		      uint64_t padding)
{
	char name[VRAM_TENSOR_NAME_MAX + 64];

	layout_place_name(&items[0].place, name, sizeof(name));
	layer->name = strdup(name);
	layer->parts = calloc(n, sizeof(*layer->parts));
	layer->extents = calloc(n, sizeof(*layer->extents));
	if (!layer->name || !layer->parts || !layer->extents)
		return -ENOMEM;
	layer->block = items[0].place.block;
	layer->expert = items[0].place.expert;
	layer->n_parts = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		layer->parts[i] = (struct layout_part){
			.tensor = items[i].tensor,
			.offset = items[i].offset,
			.length = items[i].length,
		};
		layer->bytes += items[i].length;
		if (i && is_adjacent(&items[i - 1], &items[i], padding)) {
			struct layout_extent *last = &layer->extents[layer->n_extents - 1];

			last->length = items[i].offset + items[i].length - last->offset;
			continue;
		}
		layer->extents[layer->n_extents++] = (struct layout_extent){
			.file = items[i].file,
			.offset = items[i].offset,
			.length = items[i].length,
		};
	}
	return 0;
}

int layout_group(struct vram_layout *layout, uint32_t alignment, bool is_encoder,
		 const struct parse_msg *msg)
{
	_cleanup_free_ struct item *items = NULL;
	struct overview view = { 0 };
	size_t n_items = 0, n_layers = 0;
	int err;

	err = make_items(&layout->tensors, &items, &n_items, &view, msg);
	if (err < 0)
		return err_trace(err);
	/* The head may be in a part that is not here. */
	if (view.has_decoder && view.has_tieable && !view.has_head && !is_encoder &&
	    !(layout->flags & LAYOUT_PARTIAL))
		layout->flags |= LAYOUT_TIED_EMBEDDINGS;
	for (size_t i = 0; i < n_items; i++) {
		n_layers += !i || !layout_place_same_layer(&items[i - 1].place, &items[i].place);
		layout->bytes += items[i].length;
	}
	if (n_layers > LAYOUT_MAX_LAYERS)
		return parse_fail(msg, -E2BIG, "the tensors make %zu layers, more than %u",
				  n_layers, LAYOUT_MAX_LAYERS);
	layout->layers = calloc(n_layers + 1, sizeof(*layout->layers));
	if (!layout->layers)
		return parse_fail(msg, -ENOMEM, "out of memory for %zu layers", n_layers);

	for (size_t begin = 0, end; begin < n_items; begin = end) {
		struct layout_layer *layer = &layout->layers[layout->n_layers];

		for (end = begin + 1; end < n_items; end++)
			if (!layout_place_same_layer(&items[begin].place, &items[end].place))
				break;
		layout->n_layers++;
		/* Only what is smaller than the alignment is padding and nobody's byte. */
		err = fill_layer(layer, &items[begin], end - begin,
				 alignment < MAX_PADDING ? alignment : MAX_PADDING);
		if (err < 0)
			return parse_fail(msg, err, "out of memory for %zu layers", n_layers);
		layer->flags = layer_flags(&items[begin].place, &view, layout->flags);
	}
	return 0;
}

void layout_free(struct vram_layout *layout)
{
	if (!layout)
		return;
	for (uint32_t i = 0; i < layout->n_layers; i++) {
		free(layout->layers[i].name);
		free(layout->layers[i].extents);
		free(layout->layers[i].parts);
	}
	free(layout->layers);
	for (uint32_t i = 0; i < layout->n_files; i++) {
		cleanup_close(&layout->files[i].fd);
		free(layout->files[i].path);
	}
	free(layout->files);
	tensor_list_deinit(&layout->tensors);
	free(layout->name);
	free(layout->architecture);
	free(layout);
}

int layout_take_fd(struct vram_layout *layout, uint32_t file)
{
	return file < layout->n_files ? steal_fd(&layout->files[file].fd) : -1;
}
