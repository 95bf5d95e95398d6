/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small engine for tests: a model of equal layers whose bytes follow from their place
 * (vramd_make_file), and what is done with it over and over.
 */
#ifndef VRAM_TESTS_SUPPORT_ENGINE_H
#define VRAM_TESTS_SUPPORT_ENGINE_H

#include <stdint.h>

#include "libclient/vram.h"
#include "tests/support/vramd.h"

#define ENGINE_FOREVER (-1)
#define ENGINE_SECOND  1000000000ll

/* Each fails the test if it does not succeed. */
struct vram_client *engine_connect(const struct vramd *d, const char *name);
struct vram_model *engine_open(struct vram_client *client, const char *path, uint32_t n_layers,
			       uint64_t layer_bytes);
struct vram_buffer *engine_buffer(struct vram_client *client, uint64_t bytes, uint64_t layer_bytes);

/* Words of the (acquired) layer that are not those of vramd_word() with the seed. */
uint64_t engine_wrong(struct vram_layer *layer, uint64_t layer_bytes, uint64_t seed);
/* Writes them, to a buffer's layer. */
void engine_fill(struct vram_layer *layer, uint64_t layer_bytes, uint64_t seed);

/* Acquires every layer in turn, checks its bytes, releases it. */
void engine_walk(struct vram_model *model, uint64_t layer_bytes, uint64_t seed);
void engine_walk_buffer(struct vram_buffer *buffer, uint64_t layer_bytes, uint64_t seed);
void engine_fill_buffer(struct vram_buffer *buffer, uint64_t layer_bytes, uint64_t seed);

/* Acquires layers first.. until one does not come at once. Return: how many are held now. */
uint32_t engine_pin_all(struct vram_model *model, uint32_t first, int64_t timeout_ns);
void engine_unpin(struct vram_model *model, uint32_t first, uint32_t n);

#endif
