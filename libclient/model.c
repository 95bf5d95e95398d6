// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Models: files as objects, tensors as layers.
 *
 * One object a file, each mapped once and whole. A layer has one part for every file that it has extents
 * in; with the usual single file that is one.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/layout.h"
#include "libclient/plan.h"

struct vram_model {
	struct vram_client *client;
	struct vram_layout *layout; /* NULL for a model of the caller's extents */
	char *name;
	uint64_t bytes;
	uint32_t n_files;
	struct model_file {
		struct object *object;
		char *base;
		uint32_t n_layers;
		uint32_t *layer_of; /* as in struct plan */
		uint32_t *number_of;
	} * files;
	uint32_t n_layers;
	struct vram_layer *layers;
	struct vram_layer **by_name; /* sorted */
	size_t n_tensors;
	uint32_t *tensor_by_name; /* sorted */
	uint32_t *tensor_layer;	  /* PLAN_NONE: none, or more than one */
};

#define NO_MEMORY() client_fail(-ENOMEM, "out of memory")

static struct vram_layer *model_layer_of(struct object *object, uint32_t index)
{
	struct vram_model *model = object->owner;

	for (uint32_t f = 0; f < model->n_files; f++)
		if (model->files[f].object == object)
			return &model->layers[model->files[f].layer_of[index]];
	return NULL;
}

void vram_model_close(struct vram_model *model)
{
	bool forked;

	if (!model)
		return;
	forked = client_check(model->client) < 0;
	for (uint32_t f = 0; f < model->n_files && !forked; f++)
		if (model->files[f].object)
			cuda_drain(model->client, model->files[f].object);
	if (!forked)
		client_lock(model->client);
	for (uint32_t f = 0; f < model->n_files; f++) {
		struct model_file *file = &model->files[f];

		if (!forked)
			object_free(file->object);
		else if (file->object)
			object_abandon(file->object);
		free(file->layer_of);
		free(file->number_of);
	}
	if (!forked)
		client_unlock(model->client);
	for (uint32_t i = 0; model->layers && i < model->n_layers; i++) {
		free(model->layers[i].parts);
		free(model->layers[i].extents);
		if (!model->layout)
			free((char *)(uintptr_t)model->layers[i].name);
	}
	free(model->layers);
	free(model->by_name);
	free(model->tensor_by_name);
	free(model->tensor_layer);
	free(model->files);
	free(model->name);
	layout_free(model->layout);
	free(model);
}

/* Opens and maps one file; takes fd. The lock is held. */
static int open_file(struct vram_model *model, struct model_file *file, int fd, uint64_t size_bytes,
		     const struct plan *plan)
{
	const char *slash = strrchr(model->name, '/');
	uint64_t addr;
	int r;

	r = object_new_model(model->client, fd, size_bytes, slash ? slash + 1 : model->name,
			     VRAM_MODEL_SLOTS, plan->n_layers, plan->extents, plan->n_extents,
			     &file->object);
	if (r < 0)
		return r;
	file->object->owner = model;
	file->n_layers = plan->n_layers;
	r = object_map_whole(file->object, PROT_READ, &addr);
	if (r < 0)
		return r;
	file->base = (char *)(uintptr_t)addr;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct vram_layer *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Parts and extents of layer i, from what its files are. */
static int fill_layer(struct vram_model *model, struct vram_layer *layer,
		      const struct layout_extent *extents, uint32_t n_extents)
{
	uint32_t n_parts = 0;

	for (uint32_t f = 0; f < model->n_files; f++)
		if (model->files[f].number_of[layer->index] != PLAN_NONE)
			n_parts++;
	layer->parts = calloc(n_parts, sizeof(*layer->parts));
	layer->extents = calloc(n_extents, sizeof(*layer->extents));
	if (!layer->parts || !layer->extents)
		return NO_MEMORY();
	for (uint32_t f = 0; f < model->n_files; f++) {
		uint32_t number = model->files[f].number_of[layer->index];

		if (number == PLAN_NONE)
			continue;
		layer->parts[layer->n_parts].object = model->files[f].object;
		layer->parts[layer->n_parts++].slot = number;
	}
	for (uint32_t i = 0; i < n_extents; i++) {
		layer->extents[i].ptr = model->files[extents[i].file].base + extents[i].offset;
		layer->extents[i].bytes = extents[i].length;
		layer->bytes += extents[i].length;
	}
	layer->n_extents = n_extents;
	model->bytes += layer->bytes;
	layer_init(layer, model->client);
	return 0;
}

static int sort_layers(struct vram_model *model)
{
	model->by_name = calloc((size_t)model->n_layers + 1, sizeof(*model->by_name));
	if (!model->by_name)
		return NO_MEMORY();
	for (uint32_t i = 0; i < model->n_layers; i++)
		model->by_name[i] = &model->layers[i];
	qsort(model->by_name, model->n_layers, sizeof(*model->by_name), compare_names);
	return 0;
}

static int compare_tensors(const void *a, const void *b, void *arg)
{
	const struct vram_tensor *tensors = arg;

	return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

static int index_tensors(struct vram_model *model)
{
	const struct vram_layout *layout = model->layout;
	size_t n = layout->tensors.n;

	model->tensor_by_name = calloc(n + 1, sizeof(uint32_t));
	model->tensor_layer = calloc(n + 1, sizeof(uint32_t));
	if (!model->tensor_by_name || !model->tensor_layer)
		return NO_MEMORY();
	model->n_tensors = n;
	for (size_t i = 0; i < n; i++) {
		model->tensor_by_name[i] = (uint32_t)i;
		model->tensor_layer[i] = PLAN_NONE;
	}
	qsort_r(model->tensor_by_name, n, sizeof(uint32_t), compare_tensors,
		layout->tensors.tensors);
	for (uint32_t i = 0; i < layout->n_layers; i++) {
		const struct layout_layer *layer = &layout->layers[i];

		/* A layer that has only a slice of the tensor is not the tensor's layer. */
		for (uint32_t k = 0; k < layer->n_parts; k++)
			if (layer->parts[k].length ==
			    layout->tensors.tensors[layer->parts[k].tensor].bytes)
				model->tensor_layer[layer->parts[k].tensor] = i;
	}
	return 0;
}

/* Everything of a model with a layout. The lock is held. */
static int build(struct vram_model *model)
{
	struct vram_layout *layout = model->layout;
	int r;

	model->files = calloc(layout->n_files, sizeof(*model->files));
	model->layers = calloc((size_t)layout->n_layers + 1, sizeof(*model->layers));
	if (!model->files || !model->layers)
		return NO_MEMORY();
	for (uint32_t f = 0; f < layout->n_files; f++) {
		struct model_file *file = &model->files[f];
		struct plan plan;

		r = plan_make(&plan, layout, f);
		if (r < 0)
			return client_fail(r, "the model's layers do not fit into memory");
		model->n_files++;
		r = open_file(model, file, layout_take_fd(layout, f), layout->files[f].size_bytes,
			      &plan);
		file->layer_of = plan.layer_of;
		file->number_of = plan.number_of;
		plan.layer_of = NULL;
		plan.number_of = NULL;
		plan_deinit(&plan);
		if (r < 0)
			return r;
		file->object->layer_of = model_layer_of;
	}
	for (uint32_t i = 0; i < layout->n_layers; i++) {
		struct vram_layer *layer = &model->layers[i];

		layer->index = i;
		layer->name = layout->layers[i].name;
		layer->flags = layout->layers[i].flags;
		model->n_layers++;
		r = fill_layer(model, layer, layout->layers[i].extents,
			       layout->layers[i].n_extents);
		if (r < 0)
			return r;
	}
	r = sort_layers(model);
	return r < 0 ? r : index_tensors(model);
}

_Static_assert(VRAM_LAYER_DENSE == LAYOUT_DENSE && VRAM_LAYER_EMBEDDING == LAYOUT_EMBEDDING &&
		       VRAM_LAYER_OUTPUT == LAYOUT_OUTPUT && VRAM_LAYER_EXPERT == LAYOUT_EXPERT &&
		       VRAM_LAYER_OTHER == LAYOUT_OTHER,
	       "a layout's flags are the layer's");

static int model_new(struct vram_client *client, struct vram_layout *layout, const char *name,
		     struct vram_model **out_model)
{
	struct vram_model *model = calloc(1, sizeof(*model));
	int r;

	if (model)
		model->name = strdup(layout->name && *layout->name ? layout->name : name);
	if (!model || !model->name) {
		free(model);
		layout_free(layout);
		return NO_MEMORY();
	}
	model->client = client;
	model->layout = layout;
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = build(model);
	client_unlock(client);
	if (r < 0) {
		vram_model_close(model);
		return r;
	}
	*out_model = model;
	return 0;
}

int vram_model_open(struct vram_client *client, const char *path, struct vram_model **out_model)
{
	struct vram_layout *layout;
	char text[200];
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	r = layout_open(path, &layout, text, sizeof(text));
	if (r < 0)
		return client_fail(client_errno(r), "%s", text);
	return model_new(client, layout, path, out_model);
}

int vram_model_open_fd(struct vram_client *client, int fd, struct vram_model **out_model)
{
	struct vram_layout *layout;
	char text[200];
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	r = layout_open_fd(fd, &layout, text, sizeof(text));
	if (r < 0)
		return client_fail(client_errno(r), "%s", text);
	return model_new(client, layout, "model", out_model);
}

/* ---- models of the caller's extents -------------------------------------------- */

/* As a plan and as a layout would have it: one file, layers by number. */
static int plan_extents(struct plan *plan, uint32_t n_layers, const struct vram_extent *extents,
			size_t n_extents)
{
	memset(plan, 0, sizeof(*plan));
	plan->extents = calloc(n_extents + 1, sizeof(*plan->extents));
	plan->layer_of = calloc((size_t)n_layers + 1, sizeof(uint32_t));
	plan->number_of = calloc((size_t)n_layers + 1, sizeof(uint32_t));
	if (!plan->extents || !plan->layer_of || !plan->number_of)
		return NO_MEMORY();
	for (size_t i = 0; i < n_extents; i++) {
		plan->extents[i].offset = extents[i].offset;
		plan->extents[i].length = extents[i].length;
		plan->extents[i].layer = extents[i].layer;
	}
	plan->n_extents = (uint32_t)n_extents;
	plan->n_layers = n_layers;
	for (uint32_t i = 0; i < n_layers; i++)
		plan->layer_of[i] = plan->number_of[i] = i;
	return 0;
}

static int check_extents(uint64_t size, uint32_t n_layers, const struct vram_extent *extents,
			 size_t n_extents, uint32_t *counts)
{
	for (size_t i = 0; i < n_extents; i++) {
		const struct vram_extent *e = &extents[i];

		if (e->layer >= n_layers || e->length == 0 || e->reserved || e->offset > size ||
		    e->length > size - e->offset)
			return client_fail(-EINVAL, "extent %zu is not within the file", i);
		counts[e->layer]++;
	}
	for (uint32_t i = 0; i < n_layers; i++)
		if (counts[i] == 0)
			return client_fail(-EINVAL, "layer %u has no extent", i);
	return 0;
}

static int fill_layers(struct vram_model *model, uint32_t n_layers,
		       const struct vram_extent *extents, size_t n_extents, const uint32_t *counts)
{
	struct layout_extent *mine = calloc(n_extents, sizeof(*mine));
	uint32_t *ends = calloc(n_layers, sizeof(*ends));
	uint32_t begin = 0;
	int r = mine && ends ? 0 : NO_MEMORY();

	/* Sorted by layer, in the caller's order within each. */
	for (uint32_t i = 1; r == 0 && i < n_layers; i++)
		ends[i] = ends[i - 1] + counts[i - 1];
	for (size_t i = 0; r == 0 && i < n_extents; i++)
		mine[ends[extents[i].layer]++] = (struct layout_extent){
			.offset = extents[i].offset,
			.length = extents[i].length,
		};
	for (uint32_t i = 0; r == 0 && i < n_layers; i++) {
		struct vram_layer *layer = &model->layers[i];
		char *name;

		layer->index = i;
		layer->flags = VRAM_LAYER_DENSE;
		model->n_layers++;
		if (asprintf(&name, "%u", i) < 0) {
			r = NO_MEMORY();
			break;
		}
		layer->name = name;
		r = fill_layer(model, layer, mine + begin, counts[i]);
		begin = ends[i];
	}
	free(mine);
	free(ends);
	return r < 0 ? r : sort_layers(model);
}

static int build_extents(struct vram_model *model, int fd, uint64_t size, uint32_t n_layers,
			 const struct vram_extent *extents, size_t n_extents,
			 const uint32_t *counts)
{
	struct model_file *file;
	struct plan plan;
	int r;

	model->files = calloc(1, sizeof(*model->files));
	model->layers = calloc((size_t)n_layers + 1, sizeof(*model->layers));
	r = model->files && model->layers ? plan_extents(&plan, n_layers, extents, n_extents) :
					    NO_MEMORY();
	if (r == 0)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (r == 0 && fd < 0)
		r = client_fail(-ENOMEM, "no descriptor: %s", err_text(errno));
	if (r < 0)
		return r;
	model->n_files = 1;
	file = &model->files[0];
	r = open_file(model, file, fd, size, &plan);
	file->layer_of = plan.layer_of;
	file->number_of = plan.number_of;
	free(plan.extents);
	if (r < 0)
		return r;
	file->object->layer_of = model_layer_of;
	return fill_layers(model, n_layers, extents, n_extents, counts);
}

int vram_model_open_extents(struct vram_client *client, int fd, const char *name, uint32_t n_layers,
			    const struct vram_extent *extents, size_t n_extents,
			    struct vram_model **out_model)
{
	struct vram_model *model;
	uint32_t *counts;
	struct stat st;
	int flags, r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY || fstat(fd, &st))
		return client_fail(-EBADF, "the descriptor is not open for reading");
	if (!S_ISREG(st.st_mode))
		return client_fail(S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "not a regular file");
	if (n_layers == 0 || n_layers > LAYOUT_MAX_LAYERS || n_extents > UINT32_MAX / 2)
		return client_fail(n_layers ? -E2BIG : -EINVAL, "too few or too many layers");
	counts = calloc(n_layers, sizeof(*counts));
	model = calloc(1, sizeof(*model));
	if (model)
		model->name = strdup(name ? name : "model");
	r = counts && model && model->name ? 0 : NO_MEMORY();
	if (r == 0) {
		model->client = client;
		r = check_extents((uint64_t)st.st_size, n_layers, extents, n_extents, counts);
	}
	if (r == 0) {
		client_lock(client);
		r = client_reconnect(client);
		if (r == 0)
			r = build_extents(model, fd, (uint64_t)st.st_size, n_layers, extents,
					  n_extents, counts);
		client_unlock(client);
	}
	free(counts);
	if (r < 0) {
		if (model && model->client) {
			vram_model_close(model);
		} else if (model) {
			free(model->name);
			free(model);
		}
		return r;
	}
	*out_model = model;
	return 0;
}

/* ---- looking at models ----------------------------------------------------------- */

const char *vram_model_name(const struct vram_model *model)
{
	return model->name;
}

const char *vram_model_architecture(const struct vram_model *model)
{
	return model->layout && model->layout->architecture ? model->layout->architecture : "";
}

uint64_t vram_model_bytes(const struct vram_model *model)
{
	return model->bytes;
}

uint32_t vram_model_n_layers(const struct vram_model *model)
{
	return model->n_layers;
}

struct vram_layer *vram_model_layer(struct vram_model *model, uint32_t index)
{
	return index < model->n_layers ? &model->layers[index] : NULL;
}

struct vram_layer *vram_model_layer_by_name(struct vram_model *model, const char *name)
{
	const struct vram_layer key = { .name = name }, *wanted = &key;
	struct vram_layer **found = bsearch(&wanted, model->by_name, model->n_layers,
					    sizeof(*model->by_name), compare_names);

	return found ? *found : NULL;
}

size_t vram_model_n_tensors(const struct vram_model *model)
{
	return model->n_tensors;
}

int vram_model_tensor(const struct vram_model *model, size_t index,
		      struct vram_tensor_info *out_info)
{
	const struct vram_tensor *t;
	uint32_t layer;

	if (index >= model->n_tensors)
		return -ENOENT;
	t = &model->layout->tensors.tensors[index];
	layer = model->tensor_layer[index];
	*out_info = (struct vram_tensor_info){
		.name = t->name,
		.type = t->type,
		.n_dims = t->n_dims,
		.file = t->file,
		.offset = t->offset,
		.bytes = t->bytes,
		.ptr = model->files[t->file].base + t->offset,
		.layer = layer == PLAN_NONE ? NULL : &model->layers[layer],
	};
	_Static_assert(sizeof(out_info->dims) == sizeof(t->dims), "dims are copied");
	memcpy(out_info->dims, t->dims, sizeof(out_info->dims));
	return 0;
}

int vram_model_tensor_by_name(const struct vram_model *model, const char *name,
			      struct vram_tensor_info *out_info)
{
	size_t low = 0, high = model->n_tensors;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint32_t index = model->tensor_by_name[mid];
		int order = strcmp(name, model->layout->tensors.tensors[index].name);

		if (order == 0)
			return vram_model_tensor(model, index, out_info);
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -ENOENT;
}

/* ---- hints ------------------------------------------------------------------------ */

/* The order of one file's layers, from that of the model's. */
static int set_file_order(struct model_file *file, const uint32_t *layers, uint32_t n)
{
	struct object *object = file->object;
	uint32_t *order = calloc((size_t)file->n_layers + 1, sizeof(*order));
	uint32_t count = 0;

	if (!order)
		return NO_MEMORY();
	for (uint32_t i = 0; i < n; i++)
		if (file->number_of[layers[i]] != PLAN_NONE)
			order[count++] = file->number_of[layers[i]];
	if (count > VRAM_ORDER_PER_MSG) {
		free(order);
		return client_fail(-E2BIG, "more than %u layers in order", VRAM_ORDER_PER_MSG);
	}
	free(object->order);
	object->order = order;
	object->n_order = count;
	object->has_order = true;
	return object->error ? object->error : object_send_order(object);
}

int vram_model_set_order(struct vram_model *model, const uint32_t *layers, uint32_t n)
{
	struct vram_client *client = model->client;
	bool *seen;
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	seen = calloc((size_t)model->n_layers + 1, sizeof(*seen));
	if (!seen)
		return NO_MEMORY();
	for (uint32_t i = 0; i < n && r == 0; i++) {
		if (layers[i] >= model->n_layers || seen[layers[i]])
			r = client_fail(-EINVAL, "layer %u is not there, or twice", layers[i]);
		else
			seen[layers[i]] = true;
	}
	free(seen);
	if (r < 0)
		return r;
	client_lock(client);
	r = client_reconnect(client);
	for (uint32_t f = 0; f < model->n_files && r == 0; f++)
		r = set_file_order(&model->files[f], layers, n);
	client_unlock(client);
	return r;
}

int vram_model_pass(struct vram_model *model, enum vram_pass pass)
{
	struct vram_client *client = model->client;
	int r;

	_Static_assert((int)VRAM_PASS_IDLE_NOW == (int)VRAM_PASS_IDLE &&
			       (int)VRAM_PASS_PREFILL_START == (int)VRAM_PASS_PREFILL &&
			       (int)VRAM_PASS_DECODE_START == (int)VRAM_PASS_DECODE,
		       "the wire has the same numbers");
	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if ((unsigned int)pass > VRAM_PASS_IDLE_NOW)
		return client_fail(-EINVAL, "unknown kind of pass");
	client_lock(client);
	r = client_reconnect(client);
	for (uint32_t f = 0; f < model->n_files && r == 0; f++) {
		struct vram_msg_pass body = { .object = model->files[f].object->id, .kind = pass };

		r = request_post(client, VRAM_MSG_PASS, &body, sizeof(body), NULL, 0);
	}
	client_unlock(client);
	return r;
}
