// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/cuda_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/internal.h"

struct standin_card *card;
struct cuda_driver cu;
cuda_context context;
struct vramd d;
struct vram_client *client;
struct vram_model *model;

void world_settings(const char *kind, const char *chunk)
{
	static char settings[2][64];

	snprintf(settings[0], sizeof(settings[0]), "device.kind=%s", kind);
	snprintf(settings[1], sizeof(settings[1]), "device.chunk=%s", chunk);
	d.settings[0] = settings[0];
	d.settings[1] = settings[1];
	d.settings[2] = "device.reserve=8M";
	d.settings[3] = NULL;
}

static void make_card(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "", folder[4096];

	card = standin_new(CARD_BYTES);
	/* For the daemon; the library finds what is loaded here already. */
	snprintf(folder, sizeof(folder), "%s", standin_library());
	*strrchr(folder, '/') = '\0';
	setenv("LD_LIBRARY_PATH", folder, 1);
	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
}

static void setup_bare(void)
{
	make_card();
	vramd_init(&d, BUDGET);
	world_settings("cuda", "2M");
	vramd_start(&d);
}

struct vram_client *world_client(void)
{
	struct vram_client *c = NULL;

	good(vram_connect(d.socket, "test", 0, &c));
	good(vram_client_attach_cuda(c, 0));
	return c;
}

const char *world_path(void)
{
	static char path[128];

	if (!path[0])
		snprintf(path, sizeof(path), "%s", vramd_make_file(&d, "model", MODEL_BYTES, SEED));
	return path;
}

struct vram_model *world_model(struct vram_client *c, const char *path)
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
	good(vram_model_open_extents(c, fd, "blob", LAYERS, extents, LAYERS, &m));
	close(fd);
	return m;
}

static void setup(void)
{
	setup_bare();
	client = world_client();
	model = world_model(client, world_path());
}

static void teardown_bare(void)
{
	vramd_deinit(&d);
	standin_free(card);
}

static void teardown(void)
{
	vram_model_close(model);
	vram_close(client);
	teardown_bare();
}

static void extent_of(struct vram_layer *layer, cuda_ptr *out_ptr, uint64_t *out_bytes)
{
	void *p;

	ck_assert_int_eq(vram_layer_extent(layer, 0, &p, out_bytes), 0);
	*out_ptr = (uintptr_t)p;
}

static uint64_t compare(struct vram_layer *layer, uint64_t offset, uint64_t seed)
{
	uint64_t bytes, wrong;
	cuda_ptr ptr;
	void *copy;

	/* A thread that was not here before. */
	ok(cu.ctx_set_current(context));
	extent_of(layer, &ptr, &bytes);
	copy = malloc(bytes);
	ck_assert_ptr_nonnull(copy);
	ok(cu.memcpy_dtoh(copy, ptr, bytes));
	wrong = vramd_wrong(copy, bytes, offset, seed);
	free(copy);
	return wrong;
}

uint64_t world_wrong(struct vram_layer *layer)
{
	return compare(layer, vram_layer_index(layer) * LAYER_BYTES, SEED);
}

void world_walk(struct vram_model *m)
{
	for (uint32_t i = 0; i < LAYERS; i++) {
		struct vram_layer *layer = vram_model_layer(m, i);

		good(vram_layer_acquire(layer, FOREVER));
		ck_assert_uint_eq(world_wrong(layer), 0);
		vram_layer_release(layer);
	}
}

void world_fill(struct vram_layer *layer, uint64_t seed)
{
	uint64_t bytes, *words;
	cuda_ptr ptr;

	extent_of(layer, &ptr, &bytes);
	words = malloc(bytes);
	ck_assert_ptr_nonnull(words);
	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = vramd_word(i * 8, seed);
	ok(cu.memcpy_htod(ptr, words, bytes));
	free(words);
}

uint64_t world_wrong_fill(struct vram_layer *layer, uint64_t seed)
{
	return compare(layer, 0, seed);
}

uint64_t world_pins(const struct vram_layer *layer)
{
	return residency_pins(&layer->object->slots[layer->slot]);
}

static TCase *add(Suite *suite, const char *name, SFun begin, SFun end)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(suite, tc);
	return tc;
}

TCase *world_case(Suite *suite, const char *name)
{
	return add(suite, name, setup, teardown);
}

TCase *world_bare_case(Suite *suite, const char *name)
{
	return add(suite, name, setup_bare, teardown_bare);
}
