/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A daemon's side of a card over the stand-in driver, without the daemon: the device, its loop, what it
 * told, and other processes that import its memory as clients do.
 *
 * A "far" is such a process. It is forked before this one has used the driver, obeys single orders, and is no more
 * honest than the test tells it to be. It imports for writing, always.
 */
#ifndef VRAM_TESTS_SUPPORT_GPU_CUDA_WORLD_H
#define VRAM_TESTS_SUPPORT_GPU_CUDA_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/gpu.h"
#include "daemon/loop.h"
#include "tests/support/standin.h"

#define WORLD_PAGE  STANDIN_PAGE
#define WORLD_CHUNK (2 * WORLD_PAGE)
#define WORLD_MS    1000000ull

struct world {
	struct standin_card *card;
	struct loop *loop;
	struct gpu *gpu; /* NULL: it could not be had, and reason says why */
	int error;
	char reason[256];

	unsigned int n_ready;
	unsigned int n_budget;
	uint64_t budget_bytes; /* what was told last */
	unsigned int n_lost;
	char lost_reason[256];
};
extern struct world world;

/* The card, before anything uses the driver; and the library is loaded from the build. */
void world_card(uint64_t card_bytes);
/* Reasonable numbers for tests, to be changed: the reserve is 4 pages, nothing becomes idle. */
struct gpu_params world_params(void);
/* Makes the loop and the device. Return: 0 or -errno, as gpu_cuda_new(). */
int world_open(const struct gpu_params *params);
/* The device goes; then nothing of the card may be held by this process. */
void world_close(void);

/* Runs the loop until the expression is true, or fails the test after ten seconds. */
#define world_until(expression)                                                       \
	do {                                                                          \
		uint64_t until_ = loop_now() + 10000 * WORLD_MS;                      \
		while (!(expression)) {                                               \
			ck_assert_msg(loop_now() < until_, "never: %s", #expression); \
			loop_run_once(world.loop, WORLD_MS);                          \
		}                                                                     \
	} while (0)
/* Runs the loop for so long. */
void world_run(uint64_t ns);

/* An object of n chunks. */
struct gpu_object *world_object(uint32_t n_chunks, bool writable, uid_t uid);
/* Copies and waits for the end. Return: its result. */
int world_copy(struct gpu_object *object, uint32_t chunk, enum gpu_copy_direction direction,
	       void *host);
/* Reserves until there is an answer other than -EAGAIN, or for 10 s. */
int world_reserve(struct gpu_object *object, uint32_t chunk);
/* Reserve, and a pattern that is told by `seed` copied in. */
void world_load(struct gpu_object *object, uint32_t chunk, uint64_t seed);
/* The pattern is in the chunk. */
bool world_holds(struct gpu_object *object, uint32_t chunk, uint64_t seed);
void world_pattern(void *host, uint32_t bytes, uint64_t seed);
/* Which id a chunk has, as clients read it. */
uint64_t world_binding(struct gpu_object *object, uint32_t chunk);

struct far {
	pid_t pid;
	int pidfd;
	int sock;
};

/* Before world_open(). */
struct far far_new(void);
/* It uses the driver from now on. */
void far_attach(struct far *far);
/* Takes the descriptor and maps what it is. Return: the driver's result. */
int far_import(struct far *far, uint64_t id, int fd, uint64_t bytes);
uint64_t far_read(struct far *far, uint64_t id, uint64_t offset);
void far_write(struct far *far, uint64_t id, uint64_t offset, uint64_t value);
/* Unmaps and releases. */
void far_drop(struct far *far, uint64_t id);
/* Return: true if it is dead; waits for it if it is to die. */
bool far_is_dead(struct far *far);
void far_end(struct far *far);

#endif
