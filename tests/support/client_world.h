/* SPDX-License-Identifier: GPL-2.0-only */
/* A daemon with half the memory that a model needs, a client, the model: what tests of libvram begin with. */
#ifndef VRAM_TESTS_SUPPORT_CLIENT_WORLD_H
#define VRAM_TESTS_SUPPORT_CLIENT_WORLD_H

#include <check.h>
#include <stdint.h>
#include <time.h>

#include "libclient/vram.h"
#include "tests/support/vramd.h"

#define MIB	    (1ull << 20)
#define LAYERS	    12
#define LAYER_BYTES (2 * MIB)
#define MODEL_BYTES (LAYERS * LAYER_BYTES)
#define BUDGET	    "12M" /* half of the model */
#define FIT	    4	  /* layers that surely fit at once */
#define FOREVER	    (-1)
#define SECOND	    1000000000

extern struct vramd d;
extern struct vram_client *client;
extern struct vram_model *model;

/* A test case whose tests find all three made, in their own process. */
TCase *world_case(Suite *suite, const char *name);
/* The same for a case that has something else to do first. */
void world_add(Suite *suite, TCase *tc);

/* The file as LAYERS layers of LAYER_BYTES, which follow from the seed 7. */
struct vram_model *open_model(struct vram_client *c, const char *path);
uint64_t wrong_in(struct vram_layer *layer);
/* Acquires every layer and compares it. */
void walk(struct vram_model *m);

/* The same for layers of a buffer, of MIB each. */
void fill(struct vram_layer *layer, uint64_t seed);
uint64_t wrong_in_buffer(struct vram_layer *layer, uint64_t seed);

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
