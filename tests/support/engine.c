// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/engine.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/device.h"

struct vram_client *engine_connect(const struct vramd *d, const char *name)
{
	struct vram_client *client = NULL;

	ck_assert_msg(vram_connect(d->socket, name, 0, &client) == 0, "%s", vram_error_text());
	device_attach(client);
	return client;
}

struct vram_model *engine_open(struct vram_client *client, const char *path, uint32_t n_layers,
			       uint64_t layer_bytes)
{
	struct vram_extent *extents = calloc(n_layers, sizeof(*extents));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct vram_model *model = NULL;

	ck_assert_ptr_nonnull(extents);
	ck_assert_int_ge(fd, 0);
	for (uint32_t i = 0; i < n_layers; i++)
		extents[i] = (struct vram_extent){
			.offset = i * layer_bytes,
			.length = layer_bytes,
			.layer = i,
		};
	ck_assert_msg(vram_model_open_extents(client, fd, "blob", n_layers, extents, n_layers,
					      &model) == 0,
		      "%s", vram_error_text());
	close(fd);
	free(extents);
	return model;
}

struct vram_buffer *engine_buffer(struct vram_client *client, uint64_t bytes, uint64_t layer_bytes)
{
	struct vram_buffer *buffer = NULL;

	ck_assert_msg(vram_buffer_new(client, "kv", bytes, layer_bytes, &buffer) == 0, "%s",
		      vram_error_text());
	return buffer;
}

static uint64_t *bytes_of(struct vram_layer *layer, uint64_t *out_bytes)
{
	void *p;

	ck_assert_int_eq(vram_layer_extent(layer, 0, &p, out_bytes), 0);
	return p;
}

uint64_t engine_wrong(struct vram_layer *layer, uint64_t layer_bytes, uint64_t seed)
{
	uint64_t bytes, *p = bytes_of(layer, &bytes);

	return vramd_wrong(device_bytes(p, bytes), bytes, vram_layer_index(layer) * layer_bytes,
			   seed);
}

void engine_fill(struct vram_layer *layer, uint64_t layer_bytes, uint64_t seed)
{
	uint64_t bytes, *p = bytes_of(layer, &bytes), *words = malloc(bytes);

	ck_assert_ptr_nonnull(words);
	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = vramd_word(vram_layer_index(layer) * layer_bytes + i * 8, seed);
	device_write(p, words, bytes);
	free(words);
}

static void acquire(struct vram_layer *layer)
{
	ck_assert_msg(vram_layer_acquire(layer, ENGINE_FOREVER) == 0, "layer %u: %s",
		      vram_layer_index(layer), vram_error_text());
}

static void check(struct vram_layer *layer, uint64_t layer_bytes, uint64_t seed)
{
	acquire(layer);
	ck_assert_uint_eq(engine_wrong(layer, layer_bytes, seed), 0);
	vram_layer_release(layer);
}

void engine_walk(struct vram_model *model, uint64_t layer_bytes, uint64_t seed)
{
	for (uint32_t i = 0; i < vram_model_n_layers(model); i++)
		check(vram_model_layer(model, i), layer_bytes, seed);
}

void engine_walk_buffer(struct vram_buffer *buffer, uint64_t layer_bytes, uint64_t seed)
{
	for (uint32_t i = 0; i < vram_buffer_n_layers(buffer); i++)
		check(vram_buffer_layer(buffer, i), layer_bytes, seed);
}

void engine_fill_buffer(struct vram_buffer *buffer, uint64_t layer_bytes, uint64_t seed)
{
	for (uint32_t i = 0; i < vram_buffer_n_layers(buffer); i++) {
		struct vram_layer *layer = vram_buffer_layer(buffer, i);

		acquire(layer);
		engine_fill(layer, layer_bytes, seed);
		vram_layer_release(layer);
	}
}

uint32_t engine_pin_all(struct vram_model *model, uint32_t first, int64_t timeout_ns)
{
	uint32_t n = 0;

	while (first + n < vram_model_n_layers(model) &&
	       vram_layer_acquire(vram_model_layer(model, first + n), timeout_ns) == 0)
		n++;
	return n;
}

void engine_unpin(struct vram_model *model, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		vram_layer_release(vram_model_layer(model, i));
}
