// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/client_world.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/device.h"

struct vramd d;
struct vram_client *client;
struct vram_model *model;

struct vram_model *open_model(struct vram_client *c, const char *path)
{
	struct vram_extent extents[LAYERS];
	struct vram_model *m = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(extents, 0, sizeof(extents));
	for (uint32_t i = 0; i < LAYERS; i++) {
		extents[i].offset = i * LAYER_BYTES;
		extents[i].length = LAYER_BYTES;
		extents[i].layer = i;
	}
	ck_assert_int_ge(fd, 0);
	ck_assert_msg(vram_model_open_extents(c, fd, "blob", LAYERS, extents, LAYERS, &m) == 0,
		      "%s", vram_error_text());
	close(fd);
	return m;
}

static void setup(void)
{
	vramd_init(&d, BUDGET);
	vramd_start(&d);
	ck_assert_msg(vram_connect(d.socket, "test", 0, &client) == 0, "%s", vram_error_text());
	device_attach(client);
	model = open_model(client, vramd_make_file(&d, "model", MODEL_BYTES, 7));
}

static void teardown(void)
{
	vram_model_close(model);
	vram_close(client);
	vramd_deinit(&d);
}

uint64_t wrong_in(struct vram_layer *layer)
{
	uint64_t bytes;
	void *p;

	ck_assert_int_eq(vram_layer_extent(layer, 0, &p, &bytes), 0);
	ck_assert_uint_eq(bytes, LAYER_BYTES);
	return vramd_wrong(device_bytes(p, bytes), bytes, vram_layer_index(layer) * LAYER_BYTES, 7);
}

void walk(struct vram_model *m)
{
	for (uint32_t i = 0; i < LAYERS; i++) {
		struct vram_layer *layer = vram_model_layer(m, i);

		ck_assert_msg(vram_layer_acquire(layer, FOREVER) == 0, "%s", vram_error_text());
		ck_assert_uint_eq(wrong_in(layer), 0);
		vram_layer_release(layer);
	}
}

void fill(struct vram_layer *layer, uint64_t seed)
{
	uint64_t *words, bytes, offset = vram_layer_index(layer) * MIB;
	void *p;

	ck_assert_int_eq(vram_layer_extent(layer, 0, &p, &bytes), 0);
	words = malloc(bytes);
	ck_assert_ptr_nonnull(words);
	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = vramd_word(offset + i * 8, seed);
	device_write(p, words, bytes);
	free(words);
}

uint64_t wrong_in_buffer(struct vram_layer *layer, uint64_t seed)
{
	uint64_t bytes;
	void *p;

	ck_assert_int_eq(vram_layer_extent(layer, 0, &p, &bytes), 0);
	return vramd_wrong(device_bytes(p, bytes), bytes, vram_layer_index(layer) * MIB, seed);
}

void world_add(Suite *suite, TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(suite, tc);
}

TCase *world_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	world_add(suite, tc);
	return tc;
}
