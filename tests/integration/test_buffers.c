// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers that are larger than the device together, of several clients at once, beside models: what was
 * written comes back byte for byte, through two tiers and through three, and when all is
 * over nothing is charged in any of them.
 *
 * links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/engine.c libvram.a
 * links: tests/support/device.c common/cuda_driver.c common/err.c
 * libs: -ljansson -lpthread
 * timeout: 240
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/engine.h"
#include "tests/support/vramd_ask.h"

#define MIB	     (1ull << 20)
#define CLIENTS	     4
#define ROUNDS	     6
#define LAYERS	     12 /* of a buffer of 6 MiB and a bit */
#define LAYER_BYTES  (512ull << 10)
#define BUFFER_BYTES (LAYERS * LAYER_BYTES + 8192)
#define MODEL_LAYERS 16
#define SEED	     21

static struct vramd d;

static const char *const tiers[][8] = {
	{ "policy.keep=0", "swap.size=64M" },
	/* The host tier holds less than the buffers, swap the rest. */
	{ "policy.keep=0", "swap.size=64M", "device.link=2G/s", "device.host_budget=4M" },
	/* A host tier that can hardly work. */
	{ "policy.keep=0", "swap.size=64M", "device.link=2G/s", "device.host_budget=512K" },
	/* Writes to swap are slow in coming to an end: they are done in pieces of half a chunk. */
	{ "policy.keep=0", "swap.size=64M", "device.link=2G/s", "device.host_budget=2M",
	  "io.fault=write:short:every=2", "io.read_size=128K" },
	/* Some writes fail. */
	{ "policy.keep=0", "swap.size=64M", "device.link=2G/s", "device.host_budget=2M",
	  "io.fault=write:eio:every=5" },
};
#define N_TIERS ((int)(sizeof(tiers) / sizeof(tiers[0])))

/* The same on a card, whose chunks have 2 MiB. */
static const char *const card_tiers[][8] = {
	{ "policy.keep=0", "swap.size=128M", "device.host_budget=2M" },
	{ "policy.keep=0", "swap.size=128M", "device.host_budget=8M",
	  "io.fault=write:eio:every=5" },
};
#define N_CARD_TIERS ((int)(sizeof(card_tiers) / sizeof(card_tiers[0])))

static void start(int i)
{
	memcpy(d.settings, vramd_wants_card() ? card_tiers[i] : tiers[i], sizeof(tiers[i]));
	vramd_start(&d);
}

static void setup(void)
{
	vramd_init(&d, "8M");
}

static void teardown(void)
{
	vramd_deinit(&d);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Which writing each layer holds, so that an older one is found out, too. */
struct engine_buffer {
	struct vram_buffer *buffer;
	uint64_t seeds[LAYERS + 1];
};

static void touch_buffer(struct engine_buffer *b, uint32_t i, uint64_t seed, bool write)
{
	struct vram_layer *layer = vram_buffer_layer(b->buffer, i);

	ck_assert_msg(vram_layer_acquire(layer, ENGINE_FOREVER) == 0, "%s", vram_error_text());
	ck_assert_msg(engine_wrong(layer, LAYER_BYTES, b->seeds[i]) == 0 || b->seeds[i] == 0,
		      "layer %u is not what was written", i);
	if (write) {
		engine_fill(layer, LAYER_BYTES, seed);
		b->seeds[i] = seed;
	}
	vram_layer_release(layer);
}

static void client(uint32_t number, const char *path)
{
	struct engine_buffer buffers[2] = { 0 };
	uint32_t random = number;
	struct vram_client *c;
	struct vram_model *m;
	char name[16];

	snprintf(name, sizeof(name), "client%u", number);
	c = engine_connect(&d, name);
	m = engine_open(c, path, MODEL_LAYERS, MIB);
	for (int i = 0; i < 2; i++)
		buffers[i].buffer = engine_buffer(c, BUFFER_BYTES, LAYER_BYTES);
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		for (uint32_t i = 0; i <= LAYERS; i++)
			touch_buffer(&buffers[round % 2], i, number * 1000 + round, round < 4);
		for (int i = 0; i < 20; i++) {
			uint32_t r = next_random(&random);

			touch_buffer(&buffers[r % 2], r / 2 % (LAYERS + 1),
				     number * 1000 + round * 30 + (uint32_t)i, r & 0x1000);
		}
		if (round % 3 == number % 3)
			engine_walk(m, MIB, SEED);
	}
	for (int i = 0; i < 2; i++)
		vram_buffer_free(buffers[i].buffer);
	vram_model_close(m);
	vram_close(c);
}

START_TEST(several_clients)
{
	pid_t pids[CLIENTS];
	char path[160];

	start(_i);
	snprintf(path, sizeof(path), "%s", vramd_make_file(&d, "model", MODEL_LAYERS * MIB, SEED));
	for (uint32_t i = 0; i < CLIENTS; i++) {
		fflush(NULL);
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			client(i + 1, path);
			_exit(0);
		}
	}
	for (int i = 0; i < CLIENTS; i++) {
		int status;

		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "client %d ended with %#x", i + 1, (unsigned int)status);
	}
	EVENTUALLY(vramd_holds_nothing(&d));
	vramd_signal(&d, SIGTERM);
}
END_TEST

/* The clients are killed in the middle: everything comes back. */
START_TEST(killed_clients)
{
	pid_t pids[CLIENTS];
	char path[160];

	start(_i);
	snprintf(path, sizeof(path), "%s", vramd_make_file(&d, "model", MODEL_LAYERS * MIB, SEED));
	for (int round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < CLIENTS; i++) {
			fflush(NULL);
			pids[i] = fork();
			ck_assert_int_ge(pids[i], 0);
			if (pids[i] == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				client(i + 1, path);
				_exit(0);
			}
		}
		nanosleep(&(struct timespec){ .tv_nsec = 70000000 + round * 50000000 }, NULL);
		for (int i = 0; i < CLIENTS; i++) {
			int status;

			kill(pids[i], SIGKILL);
			ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
			ck_assert(status == 0 || WIFSIGNALED(status));
		}
		EVENTUALLY(vramd_holds_nothing(&d));
	}
	vramd_signal(&d, SIGTERM);
}
END_TEST

/* Swap is full to the last slot, but what is in it can still be reached. */
START_TEST(full_swap_is_no_trap)
{
	struct vram_buffer *b;
	struct vram_client *c;
	uint32_t n = 0;
	int r;

	d.settings[0] = "swap.size=4M";
	if (_i) {
		d.settings[1] = "device.link=2G/s";
		d.settings[2] = "device.host_budget=2M";
	}
	vramd_start(&d);
	c = engine_connect(&d, "one");
	b = engine_buffer(c, 40 * MIB, LAYER_BYTES);
	while ((r = vram_layer_acquire(vram_buffer_layer(b, n), ENGINE_FOREVER)) == 0) {
		engine_fill(vram_buffer_layer(b, n), LAYER_BYTES, 9);
		vram_layer_release(vram_buffer_layer(b, n));
		n++;
		ck_assert_uint_lt(n, 80);
	}
	ck_assert_int_eq(r, -ENOSPC);
	/* 8 MiB of device, 4 of swap, 2 of host tier; some of it is kept for exchanges. */
	ck_assert_uint_ge(n, _i ? 22 : 20);
	for (int pass = 0; pass < 3; pass++)
		for (uint32_t i = 0; i < n; i++) {
			struct vram_layer *layer = vram_buffer_layer(b, pass == 1 ? n - 1 - i : i);

			ck_assert_msg(vram_layer_acquire(layer, ENGINE_FOREVER) == 0,
				      "layer %u of %u: %s", i, n, vram_error_text());
			ck_assert_uint_eq(engine_wrong(layer, LAYER_BYTES, 9), 0);
			vram_layer_release(layer);
		}
	vram_buffer_free(b);
	vram_close(c);
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test, int n)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 200);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test, 0, n);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("buffers");
	SRunner *runner;
	int failed, n_tiers;

	if (!vramd_usable())
		return 77;
	n_tiers = vramd_wants_card() ? N_CARD_TIERS : N_TIERS;
	add(suite, "clients", several_clients, n_tiers);
	add(suite, "killed", killed_clients, n_tiers);
	/* Of a card's chunks such small tiers hold too few for an exchange. */
	if (!vramd_wants_card())
		add(suite, "full", full_swap_is_no_trap, 2);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
