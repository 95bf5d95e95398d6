// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/proto.h"

struct use *use_new(struct object *object, struct scheduler_session *session,
		    struct gpu_client *const *client)
{
	struct use *use = calloc(1, sizeof(*use));

	if (!use)
		return NULL;
	use->waiting = calloc(1, (object->mem->n_chunks + 7) / 8);
	if (!use->waiting) {
		free(use);
		return NULL;
	}
	use->object = object;
	use->session = session;
	use->client = client;
	list_add_tail(&use->in_object, &object->uses);
	list_init(&use->in_session);
	list_init(&use->active);
	return use;
}

struct use *use_free(struct use *use)
{
	if (!use)
		return NULL;
	list_del(&use->in_object);
	list_del(&use->in_session);
	free(use->layers);
	free(use->runs);
	free(use->chunk_first);
	free(use->chunk_layers);
	free(use->waiting);
	free(use);
	return NULL;
}

struct layer *use_layer(struct use *use, uint32_t slot)
{
	if (slot < use->slot_base || slot - use->slot_base >= use->n_layers)
		return NULL;
	return &use->layers[slot - use->slot_base];
}

uint32_t layer_slot(const struct layer *layer)
{
	return layer->use->slot_base + (uint32_t)(layer - layer->use->layers);
}

struct residency_slot *layer_residency(const struct layer *layer)
{
	return &layer->use->slots[layer - layer->use->layers];
}

static int compare_extents(const void *a, const void *b)
{
	const struct object_extent *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return 0;
}

/* Runs of chunks of each layer, ascending and disjoint. sorted is by layer, then offset. */
static int make_runs(struct use *use, const struct object_extent *sorted, uint32_t n)
{
	uint32_t n_runs = 0;

	use->runs = calloc(n, sizeof(*use->runs));
	if (!use->runs)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct layer *layer = &use->layers[sorted[i].layer];
		uint32_t first = object_chunk_of(use->object, sorted[i].offset);
		uint32_t last =
			object_chunk_of(use->object, sorted[i].offset + sorted[i].length - 1);
		struct chunk_run *run;

		if (layer->n_runs == 0)
			layer->first_run = n_runs;
		if (sorted[i].flags & VRAM_EXTENT_EXPERT)
			layer->expert = true;
		run = layer->n_runs ? &use->runs[n_runs - 1] : NULL;
		if (run && first <= run->first + run->n) {
			if (last >= run->first + run->n)
				run->n = last - run->first + 1;
			continue;
		}
		use->runs[n_runs++] = (struct chunk_run){ .first = first, .n = last - first + 1 };
		layer->n_runs++;
	}
	for (uint32_t i = 0; i < use->n_layers; i++)
		if (use->layers[i].n_runs == 0)
			return -EINVAL;
	return 0;
}

static int make_index(struct use *use)
{
	uint32_t n_chunks = use->object->mem->n_chunks;
	uint64_t total = 0;
	uint32_t *fill;

	use->chunk_first = calloc((size_t)n_chunks + 1, sizeof(*use->chunk_first));
	fill = calloc(n_chunks, sizeof(*fill));
	if (!use->chunk_first || !fill)
		goto err_memory;
	for (uint32_t i = 0; i < use->n_layers; i++) {
		const struct layer *layer = &use->layers[i];

		for (uint32_t j = 0; j < layer->n_runs; j++) {
			const struct chunk_run *run = &use->runs[layer->first_run + j];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				fill[c]++;
			total += run->n;
		}
	}
	/* Layers may overlap, but not so often that one message costs gigabytes. */
	if (total > 64ull * n_chunks + 4ull * use->n_layers) {
		free(fill);
		return -E2BIG;
	}
	use->chunk_layers = calloc(total, sizeof(*use->chunk_layers));
	if (!use->chunk_layers)
		goto err_memory;
	for (uint32_t c = 0; c < n_chunks; c++) {
		use->chunk_first[c + 1] = use->chunk_first[c] + fill[c];
		fill[c] = use->chunk_first[c];
	}
	for (uint32_t i = 0; i < use->n_layers; i++) {
		const struct layer *layer = &use->layers[i];

		for (uint32_t j = 0; j < layer->n_runs; j++) {
			const struct chunk_run *run = &use->runs[layer->first_run + j];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				use->chunk_layers[fill[c]++] = i;
		}
	}
	free(fill);
	return 0;

err_memory:
	free(fill);
	return -ENOMEM;
}

int use_set_layers(struct use *use, const struct object_extent *extents, uint32_t n_extents,
		   uint32_t n_layers, struct residency_slot *table, uint32_t slot_base)
{
	struct object_extent *sorted;
	int r;

	sorted = calloc(n_extents, sizeof(*sorted));
	use->layers = calloc(n_layers, sizeof(*use->layers));
	if (!sorted || !use->layers) {
		r = -ENOMEM;
		goto out;
	}
	memcpy(sorted, extents, n_extents * sizeof(*sorted));
	qsort(sorted, n_extents, sizeof(*sorted), compare_extents);
	use->n_layers = n_layers;
	use->slot_base = slot_base;
	use->slots = table + slot_base;
	r = make_runs(use, sorted, n_extents);
	if (r == 0)
		r = make_index(use);
	if (r < 0)
		goto out;
	for (uint32_t i = 0; i < n_layers; i++) {
		struct layer *layer = &use->layers[i];

		layer->use = use;
		list_init(&layer->node);
		for (uint32_t j = 0; j < layer->n_runs; j++) {
			const struct chunk_run *run = &use->runs[layer->first_run + j];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				layer->missing += use->object->chunks[c].state != CHUNK_RESIDENT;
		}
		residency_init(layer_residency(layer), &layer->shadow);
	}
out:
	free(sorted);
	if (r < 0) {
		free(use->layers);
		use->layers = NULL;
		use->n_layers = 0;
	}
	return r;
}

int object_declare_order(struct object *object, const struct object_extent *extents,
			 uint32_t n_extents)
{
	uint32_t n_chunks = object->mem->n_chunks, n = 0;
	uint32_t *order, *place;
	int r = 0;

	if (object->has_order)
		return 0;
	order = calloc(n_chunks, sizeof(*order));
	place = calloc(n_chunks, sizeof(*place)); /* position + 1 */
	if (!order || !place) {
		r = -ENOMEM;
		goto out;
	}
	for (uint32_t i = 0; i < n_extents; i++) {
		uint32_t last = object_chunk_of(object, extents[i].offset + extents[i].length - 1);

		if (extents[i].flags & VRAM_EXTENT_UNORDERED)
			continue;
		for (uint32_t c = object_chunk_of(object, extents[i].offset); c <= last; c++) {
			if (place[c])
				continue;
			order[n++] = c;
			place[c] = n;
		}
	}
	r = policy_object_set_order(object->policy, order, n);
	for (uint32_t i = 0; r == 0 && i < n_extents; i++) {
		uint32_t first = object_chunk_of(object, extents[i].offset);
		uint32_t last = object_chunk_of(object, extents[i].offset + extents[i].length - 1);

		if (!(extents[i].flags & VRAM_EXTENT_EXPERT))
			continue;
		for (uint32_t c = first; r == 0 && c <= last; c++)
			r = policy_object_set_expert(object->policy, c, place[c] ? place[c] - 1 : 0,
						     extents[i].layer);
	}
	if (r == 0)
		object->has_order = true;
out:
	free(order);
	free(place);
	return r;
}

int use_set_order(struct use *use, const uint32_t *layers, uint32_t n)
{
	uint32_t n_chunks = use->object->mem->n_chunks, n_order = 0;
	uint8_t *seen_layers, *seen_chunks;
	uint32_t *order;
	int r = 0;

	seen_layers = calloc((size_t)use->n_layers + 1, 1);
	seen_chunks = calloc(n_chunks, 1);
	order = calloc(n_chunks, sizeof(*order));
	if (!seen_layers || !seen_chunks || !order) {
		r = -ENOMEM;
		goto out;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct layer *layer;

		if (layers[i] >= use->n_layers || seen_layers[layers[i]]++) {
			r = -EINVAL;
			goto out;
		}
		layer = &use->layers[layers[i]];
		for (uint32_t j = 0; j < layer->n_runs; j++) {
			const struct chunk_run *run = &use->runs[layer->first_run + j];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				if (!seen_chunks[c]++)
					order[n_order++] = c;
		}
	}
	r = policy_object_set_order(use->object->policy, order, n_order);
	if (r == 0)
		use->object->has_order = true;
out:
	free(seen_layers);
	free(seen_chunks);
	free(order);
	return r;
}

void use_open_run(struct use *use, uint32_t first, uint32_t n)
{
	struct object *object = use->object;
	uint8_t flags = CHUNK_OPENED;

	if (object->kind == POLICY_BUFFER)
		flags |= CHUNK_WRITTEN | CHUNK_DIRTY;
	for (uint32_t c = first; c < first + n; c++)
		object->chunks[c].flags |= flags;
	if (*use->client)
		gpu_client_open(*use->client, object->mem, first, n);
}

static void open_layer(const struct layer *layer)
{
	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		use_open_run(layer->use, run->first, run->n);
	}
}

void use_reopen_layers(struct use *use)
{
	for (uint32_t i = 0; i < use->n_layers; i++)
		if (residency_state(&use->layers[i].shadow) == RESIDENCY_RESIDENT)
			open_layer(&use->layers[i]);
}

static void hold_layer(struct layer *layer, uint32_t by)
{
	struct use *use = layer->use;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			use->object->chunks[c].holds += by;
	}
}

void layer_hold(struct layer *layer)
{
	hold_layer(layer, 1);
}

void layer_unhold(struct layer *layer)
{
	hold_layer(layer, UINT32_MAX); /* minus one, modulo 2^32 */
}

/* When any of the layer's chunks was bound to other memory last. */
static uint64_t layer_stamp(const struct layer *layer)
{
	struct gpu_object *mem = layer->use->object->mem;
	uint64_t newest = 0;

	if (!mem->gpu->imports)
		return 0;
	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &layer->use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++) {
			uint64_t stamp = gpu_chunk_stamp(mem, c);

			if (stamp > newest)
				newest = stamp;
		}
	}
	return newest;
}

void layer_make_resident(struct layer *layer)
{
	struct residency_slot *slot = layer_residency(layer);

	open_layer(layer);
	switch (residency_state(&layer->shadow)) {
	case RESIDENCY_ABSENT:
	case RESIDENCY_FAILED:
		residency_begin_load(slot, &layer->shadow);
		break;
	case RESIDENCY_LOADING:
		break;
	default:
		return;
	}
	residency_bind(slot, layer_stamp(layer));
	residency_finish_load(slot, &layer->shadow, layer->use->waker);
}

void layer_fail(struct layer *layer, int error)
{
	if (residency_state(&layer->shadow) != RESIDENCY_RESIDENT)
		residency_fail(layer_residency(layer), &layer->shadow, layer->use->waker, error);
}

void object_chunk_arrived(struct object *object, uint32_t chunk)
{
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++)
			use->layers[use->chunk_layers[i]].missing--;
	}
}

/* RESIDENT -> EVICTING for every layer over the chunk. Return: false at the first that is pinned. */
static bool claim_layers(struct object *object, uint32_t chunk)
{
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];

			if (residency_state(&layer->shadow) == RESIDENCY_RESIDENT &&
			    residency_try_evict(layer_residency(layer), &layer->shadow, use->waker))
				return false;
		}
	}
	return true;
}

/* EVICTING -> ABSENT with one more chunk missing, or back to RESIDENT. Nobody else leaves a layer in EVICTING. */
static void settle_layers(struct object *object, uint32_t chunk, bool evicted)
{
	struct use *use;

	list_for_each(use, &object->uses, in_object) {
		if (!use->n_layers)
			continue;
		for (uint32_t i = use->chunk_first[chunk]; i < use->chunk_first[chunk + 1]; i++) {
			struct layer *layer = &use->layers[use->chunk_layers[i]];

			layer->missing += evicted;
			if (residency_state(&layer->shadow) != RESIDENCY_EVICTING)
				continue;
			if (evicted)
				residency_finish_evict(layer_residency(layer), &layer->shadow);
			else
				residency_cancel_evict(layer_residency(layer), &layer->shadow,
						       use->waker);
		}
	}
}

int object_claim_chunk(struct object *object, uint32_t chunk)
{
	struct use *use;
	bool ok;

	if (object->chunks[chunk].holds || object->pinned)
		return -EBUSY;
	ok = claim_layers(object, chunk);
	if (ok && object->chunks[chunk].flags & CHUNK_OPENED) {
		/* Closed for some when it fails for another: a touch finds it resident and opens it. */
		list_for_each(use, &object->uses, in_object)
			if (*use->client &&
			    gpu_client_close(*use->client, object->mem, chunk, 1) < 0)
				ok = false;
	}
	settle_layers(object, chunk, ok);
	if (!ok)
		return -EBUSY;
	object->chunks[chunk].flags &= (uint8_t)~CHUNK_OPENED;
	return 0;
}
