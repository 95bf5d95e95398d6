/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A card of the stand-in driver, a daemon on it with less memory than a model needs, a client that is attached, the model:
 * what tests of libvram on a card begin with. Layers are no multiples of chunks, so neighbours share one.
 */
#ifndef VRAM_TESTS_SUPPORT_CUDA_WORLD_H
#define VRAM_TESTS_SUPPORT_CUDA_WORLD_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "common/cuda_driver.h"
#include "libclient/vram.h"
#include "libclient/vram_cuda.h"
#include "tests/support/standin.h"
#include "tests/support/vramd.h"

#define MIB	    (1ull << 20)
#define CARD_BYTES  (256 * MIB)
#define CHUNK	    (2 * MIB)
#define LAYERS	    12
#define LAYER_BYTES (3 * MIB + 512)
#define MODEL_BYTES (LAYERS * LAYER_BYTES)
#define BUDGET	    "24M"
#define FIT	    3 /* layers that surely fit at once */
#define SEED	    7
#define FOREVER	    (-1)
#define SECOND	    1000000000ll

extern struct standin_card *card;
extern struct cuda_driver cu; /* the test's own view of the driver; the library opens it itself */
extern cuda_context context;  /* the primary one, current in the test's thread */
extern struct vramd d;
extern struct vram_client *client;
extern struct vram_model *model;

#define ok(call)   ck_assert_int_eq(call, CUDA_ABI_SUCCESS)
#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, vram_error_text())

/* A test case whose tests find all of that made, in their own process. */
TCase *world_case(Suite *suite, const char *name);
/* Only the card, the driver with a context, and a daemon. */
TCase *world_bare_case(Suite *suite, const char *name);
/* What a daemon is started with here; of another kind or chunk size, between vramd_init() and start. */
void world_settings(const char *kind, const char *chunk);

/* Connects and attaches. */
struct vram_client *world_client(void);
/* The file as LAYERS layers of LAYER_BYTES, which follow from SEED. */
struct vram_model *world_model(struct vram_client *c, const char *path);
const char *world_path(void);
/* What the layer's addresses on the card hold, compared with the file; the layer is acquired. */
uint64_t world_wrong(struct vram_layer *layer);
/* Acquires every layer, compares it and releases it. */
void world_walk(struct vram_model *m);
/* A buffer's layer: written with, and compared with, what a seed gives. */
void world_fill(struct vram_layer *layer, uint64_t seed);
uint64_t world_wrong_fill(struct vram_layer *layer, uint64_t seed);
/* The same stream, in the words of the public header. */
static inline int world_release_on(struct vram_layer *layer, cuda_stream stream)
{
	return vram_layer_release_on(layer, (struct CUstream_st *)(void *)stream);
}
/* Pins that the daemon sees on the layer (of one part). */
uint64_t world_pins(const struct vram_layer *layer);

/* Waits a while until a condition holds. */
#define EVENTUALLY(condition)                                                       \
	do {                                                                        \
		int left_ = 1000;                                                   \
                                                                                    \
		while (!(condition) && left_-- > 0)                                 \
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL); \
		ck_assert_msg(left_ >= 0, "never: %s", #condition);                 \
	} while (0)

#endif
