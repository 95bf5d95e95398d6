// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"

#define LAYERS_MAX (1u << 20)
#define NAME_MAX_  16

struct vram_buffer {
	struct vram_client *client;
	struct object *object;
	char *base;
	uint64_t bytes;
	uint32_t n_layers;
	struct buffer_layer {
		struct vram_layer layer;
		struct layer_slot part;
		struct layer_extent extent;
		char name[NAME_MAX_];
	} * layers;
};

static struct vram_layer *buffer_layer_of(struct object *object, uint32_t index)
{
	struct vram_buffer *buffer = object->owner;

	return &buffer->layers[index].layer;
}

static void fill_layers(struct vram_buffer *buffer, uint64_t layer_bytes)
{
	for (uint32_t i = 0; i < buffer->n_layers; i++) {
		struct buffer_layer *b = &buffer->layers[i];
		uint64_t offset = i * layer_bytes, left = buffer->bytes - offset;

		snprintf(b->name, sizeof(b->name), "%u", i);
		b->part.object = buffer->object;
		b->part.slot = i;
		b->extent.ptr = buffer->base + offset;
		b->extent.bytes = left < layer_bytes ? left : layer_bytes;
		b->layer.parts = &b->part;
		b->layer.n_parts = 1;
		b->layer.name = b->name;
		b->layer.index = i;
		b->layer.flags = VRAM_LAYER_BUFFER;
		b->layer.bytes = b->extent.bytes;
		b->layer.extents = &b->extent;
		b->layer.n_extents = 1;
		layer_init(&b->layer, buffer->client);
	}
}

int vram_buffer_new(struct vram_client *client, const char *name, uint64_t bytes,
		    uint64_t layer_bytes, struct vram_buffer **out_buffer)
{
	struct vram_buffer *buffer;
	uint64_t n, addr;
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if (bytes == 0 || bytes > INT64_MAX / 2 || layer_bytes % 4096 ||
	    layer_bytes > INT64_MAX / 2)
		return client_fail(-EINVAL, "the sizes of the buffer make no sense");
	if (layer_bytes == 0)
		layer_bytes = (bytes + 4095) & ~4095ull;
	n = (bytes + layer_bytes - 1) / layer_bytes;
	if (n > LAYERS_MAX)
		return client_fail(-E2BIG, "too many layers: make them larger");
	buffer = calloc(1, sizeof(*buffer));
	if (buffer)
		buffer->layers = calloc(n, sizeof(*buffer->layers));
	if (!buffer || !buffer->layers) {
		free(buffer);
		return client_fail(-ENOMEM, "out of memory");
	}
	buffer->client = client;
	buffer->bytes = bytes;
	buffer->n_layers = (uint32_t)n;
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = object_new_buffer(client, name ? name : "buffer", bytes, layer_bytes,
				      &buffer->object);
	if (r == 0)
		r = object_map_whole(buffer->object, PROT_READ | PROT_WRITE, &addr);
	if (r == 0) {
		buffer->base = (char *)(uintptr_t)addr;
		fill_layers(buffer, layer_bytes);
		buffer->object->owner = buffer;
		buffer->object->layer_of = buffer_layer_of;
	}
	client_unlock(client);
	if (r < 0) {
		vram_buffer_free(buffer);
		return r;
	}
	*out_buffer = buffer;
	return 0;
}

void vram_buffer_free(struct vram_buffer *buffer)
{
	if (!buffer)
		return;
	if (client_check(buffer->client) == 0) {
		if (buffer->object)
			cuda_drain(buffer->client, buffer->object);
		client_lock(buffer->client);
		object_free(buffer->object);
		client_unlock(buffer->client);
	} else if (buffer->object) {
		object_abandon(buffer->object);
	}
	free(buffer->layers);
	free(buffer);
}

void *vram_buffer_ptr(const struct vram_buffer *buffer)
{
	return buffer->base;
}

uint64_t vram_buffer_bytes(const struct vram_buffer *buffer)
{
	return buffer->bytes;
}

uint32_t vram_buffer_n_layers(const struct vram_buffer *buffer)
{
	return buffer->n_layers;
}

struct vram_layer *vram_buffer_layer(struct vram_buffer *buffer, uint32_t index)
{
	return index < buffer->n_layers ? &buffer->layers[index].layer : NULL;
}
