/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small world around residency slots, for the stress tests: workers that use layers, one
 * daemon that loads, fails, evicts and marks them at random.
 *
 * The layers' data are plain words. Only the slot's protocol orders the daemon's writing
 * and the workers' reading of them: requests and reports pass through relaxed atomics on
 * purpose, because a lock there would hide a hole in the protocol from ThreadSanitizer.
 */
#ifndef VRAM_TESTS_STRESS_RESIDENCY_WORLD_H
#define VRAM_TESTS_STRESS_RESIDENCY_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/residency.h"

enum {
	WORLD_LAYERS = 4,
	WORLD_WORDS = 48
};

struct world {
	struct residency_slot slots[WORLD_LAYERS];
	uint64_t data[WORLD_LAYERS][WORLD_WORDS]; /* plain: the protocol guards it */
	_Atomic uint32_t requests[WORLD_LAYERS];  /* relaxed: instead of a message */
	_Atomic uint32_t reports[WORLD_LAYERS];	  /* relaxed: likewise */
	_Atomic uint32_t stop;
	_Atomic uint32_t workers_left;
	_Atomic uint32_t errors;
	/* What happened, over all workers. */
	_Atomic uint64_t uses, waits, timeouts, failures, n_reports;
};

/* What the daemon did. */
struct world_daemon {
	struct residency_shadow shadows[WORLD_LAYERS];
	struct {
		bool wanted, marked;
		uint64_t mark_uses, mark_ns;
		uint32_t mark_reports;
	} layers[WORLD_LAYERS];
	uint64_t loads, evictions, kept, marks;
	uint64_t generation;
	unsigned int seed;
	/* Evicts without looking at the pins: the mistake that the test must notice. */
	bool broken;
};

void world_init(struct world *world, struct world_daemon *daemon);

/* Uses layers until world->stop. Worker 0 releases the way a device does. */
void world_work(struct world *world, unsigned int id);

/* Runs the daemon for so long and then until all workers have ended. */
void world_serve(struct world *world, struct world_daemon *daemon, double seconds);

/* Prints what happened. Return: 0 if nothing went wrong and everything happened, else 1. */
int world_verdict(struct world *world, const struct world_daemon *daemon, const char *name);

/* STRESS_SECONDS, 5 without it. */
double world_seconds(void);

#endif
