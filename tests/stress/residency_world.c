// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/stress/residency_world.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON UINT64_C(0xdeaddeaddeaddead)

/* Far beyond what a loaded machine needs for one load. */
#define NEVER_NS UINT64_C(30000000000)
#define SLICE_NS UINT64_C(3000000000)

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void complain(struct world *world, const char *what, unsigned int layer)
{
	/* One line tells it; a broken protocol breaks a thousand times a second. */
	if (atomic_fetch_add_explicit(&world->errors, 1, memory_order_relaxed) == 0)
		fprintf(stderr, "layer %u: %s\n", layer, what);
	atomic_store_explicit(&world->stop, 1, memory_order_relaxed);
}

void world_init(struct world *world, struct world_daemon *daemon)
{
	memset((void *)world, 0, sizeof(*world));
	memset(daemon, 0, sizeof(*daemon));
	daemon->seed = 1;
	for (int i = 0; i < WORLD_LAYERS; i++)
		residency_init(&world->slots[i], &daemon->shadows[i]);
}

double world_seconds(void)
{
	const char *text = getenv("STRESS_SECONDS");

	return text && atof(text) > 0 ? atof(text) : 5;
}

/* ---- workers ----------------------------------------------------------------- */

/* Every word of a layer holds the number of its load. */
static uint64_t read_layer(struct world *world, unsigned int layer)
{
	const uint64_t *data = world->data[layer];
	uint64_t first = data[0];

	for (int i = 1; i < WORLD_WORDS; i++) {
		if (data[i] != first)
			complain(world, "a layer in use is torn", layer);
	}
	if (first == 0 || first == POISON)
		complain(world, "a layer in use is gone", layer);
	return first;
}

/* Return: true if the layer is there and may be used. The caller releases in any case. */
static bool wait_for_layer(struct world *world, unsigned int layer, uint32_t seen,
			   unsigned int *rng)
{
	struct residency_slot *slot = &world->slots[layer];
	uint64_t begin = clock_ns();
	bool impatient = rand_r(rng) % 4 == 0;
	/* On a quick machine hardly anything takes 20 us: some only look, so that giving up happens. */
	uint64_t patience_ns = rand_r(rng) % 8 ? 20000 : 0;

	atomic_store_explicit(&world->requests[layer], 1, memory_order_relaxed);
	count(&world->waits);
	for (;;) {
		uint64_t now = clock_ns();
		uint64_t until = !impatient ? now + SLICE_NS : patience_ns ? now + patience_ns : 0;
		int r = residency_wait(slot, seen, until);

		if (r == RESIDENCY_OK || r == RESIDENCY_E_NOTIFY)
			return true;
		if (r == RESIDENCY_E_FAILED) {
			if (residency_error(slot) != -EIO)
				complain(world, "the wrong error", layer);
			count(&world->failures);
			return false;
		}
		if (r != -ETIMEDOUT) {
			complain(world, "the futex call failed", layer);
			return false;
		}
		if (impatient) {
			count(&world->timeouts);
			return false;
		}
		/* Slept through a slice while the answer was there: nobody woke us. */
		if (residency_wait(slot, seen, 0) != -ETIMEDOUT) {
			complain(world, "a wake-up was lost", layer);
			return false;
		}
		if (clock_ns() - begin > NEVER_NS) {
			complain(world, "a request was never answered", layer);
			return false;
		}
	}
}

void world_work(struct world *world, unsigned int id)
{
	uint64_t device_released[WORLD_LAYERS] = { 0 };
	unsigned int rng = 77 * id + 5;

	while (!atomic_load_explicit(&world->stop, memory_order_relaxed)) {
		unsigned int layer = (unsigned int)rand_r(&rng) % WORLD_LAYERS;
		struct residency_slot *slot = &world->slots[layer];
		enum residency_outcome outcome;
		bool there = true;
		uint32_t seen;

		outcome = residency_try_acquire(slot, residency_now_ns(), &seen);
		if (outcome == RESIDENCY_E_NOTIFY) {
			if (residency_claim_report(slot, seen)) {
				atomic_fetch_add_explicit(&world->reports[layer], 1,
							  memory_order_relaxed);
				count(&world->n_reports);
			}
		} else if (outcome == RESIDENCY_E_WAIT ||
			   (outcome == RESIDENCY_E_FAILED && rand_r(&rng) % 2)) {
			there = wait_for_layer(world, layer, seen, &rng);
		} else if (outcome == RESIDENCY_E_FAILED) {
			there = false;
		}

		if (there) {
			uint64_t generation = read_layer(world, layer);

			if (rand_r(&rng) % 8 == 0)
				sched_yield();
			if (read_layer(world, layer) != generation)
				complain(world, "a layer in use was replaced", layer);
			count(&world->uses);
		}
		/* The single writer of this counter, as a GPU's stream is. */
		if (id == 0)
			atomic_store_explicit(&slot->device_released, ++device_released[layer],
					      memory_order_release);
		else
			residency_release(slot);
		/* Time without any pin, so that layers can go. */
		if (rand_r(&rng) % 4 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	}
	atomic_fetch_sub_explicit(&world->workers_left, 1, memory_order_relaxed);
}

/* ---- daemon ------------------------------------------------------------------ */

static void fill(struct world *world, unsigned int layer, uint64_t value)
{
	for (int i = 0; i < WORLD_WORDS; i++)
		world->data[layer][i] = value;
}

/* Whether a mark that should have been reported was. */
static void check_mark(struct world *world, struct world_daemon *daemon, unsigned int layer)
{
	uint32_t reports = atomic_load_explicit(&world->reports[layer], memory_order_relaxed);

	if (!daemon->layers[layer].marked)
		return;
	if (reports != daemon->layers[layer].mark_reports) {
		daemon->layers[layer].marked = false;
		if (rand_r(&daemon->seed) % 2)
			residency_clear_notify(&world->slots[layer], &daemon->shadows[layer]);
		return;
	}
	/* An acquire that set_notify() did not count saw the mark; its report is due. */
	if (!residency_used_since(&world->slots[layer], daemon->layers[layer].mark_uses))
		daemon->layers[layer].mark_ns = clock_ns();
	else if (clock_ns() - daemon->layers[layer].mark_ns > NEVER_NS / 10)
		complain(world, "a mark was lost", layer);
}

static void set_mark(struct world *world, struct world_daemon *daemon, unsigned int layer)
{
	daemon->layers[layer].marked = true;
	daemon->layers[layer].mark_reports =
		atomic_load_explicit(&world->reports[layer], memory_order_relaxed);
	daemon->layers[layer].mark_uses =
		residency_set_notify(&world->slots[layer], &daemon->shadows[layer]);
	daemon->layers[layer].mark_ns = clock_ns();
	daemon->marks++;
}

static void evict(struct world *world, struct world_daemon *daemon, unsigned int layer)
{
	struct residency_slot *slot = &world->slots[layer];
	struct residency_shadow *shadow = &daemon->shadows[layer];

	if (daemon->broken) {
		residency_publish(slot, shadow, RESIDENCY_EVICTING);
	} else if (residency_try_evict(slot, shadow, NULL) == RESIDENCY_E_PINNED) {
		daemon->kept++;
		return;
	}
	/* From here on the data may be destroyed. */
	if (rand_r(&daemon->seed) % 4 == 0) {
		residency_cancel_evict(slot, shadow, NULL);
		return;
	}
	fill(world, layer, POISON);
	daemon->evictions++;
}

/* One step of one layer; a load and an eviction take several visits. */
static void visit(struct world *world, struct world_daemon *daemon, unsigned int layer, bool ending)
{
	struct residency_slot *slot = &world->slots[layer];
	struct residency_shadow *shadow = &daemon->shadows[layer];
	unsigned int dice = (unsigned int)rand_r(&daemon->seed);

	if (atomic_exchange_explicit(&world->requests[layer], 0, memory_order_relaxed))
		daemon->layers[layer].wanted = true;
	check_mark(world, daemon, layer);

	switch (residency_state(shadow)) {
	case RESIDENCY_RESIDENT:
		daemon->layers[layer].wanted = false;
		if (ending)
			break;
		if (dice % 4 == 0)
			evict(world, daemon, layer);
		else if (dice % 32 == 1 && !daemon->layers[layer].marked)
			set_mark(world, daemon, layer);
		break;
	case RESIDENCY_EVICTING:
		residency_finish_evict(slot, shadow);
		break;
	case RESIDENCY_ABSENT:
	case RESIDENCY_FAILED:
		if (daemon->layers[layer].wanted || dice % 16 == 0)
			residency_begin_load(slot, shadow);
		break;
	case RESIDENCY_LOADING:
		if (!daemon->layers[layer].wanted && dice % 8 == 0) {
			residency_cancel_load(slot, shadow);
			break;
		}
		daemon->layers[layer].wanted = false;
		if (dice % 16 == 1) {
			residency_fail(slot, shadow, NULL, -EIO);
			break;
		}
		fill(world, layer, ++daemon->generation);
		residency_finish_load(slot, shadow, NULL);
		daemon->loads++;
		break;
	}
}

void world_serve(struct world *world, struct world_daemon *daemon, double seconds)
{
	uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);

	for (uint64_t round = 0;
	     atomic_load_explicit(&world->workers_left, memory_order_relaxed) > 0; round++) {
		bool ending = atomic_load_explicit(&world->stop, memory_order_relaxed);

		for (unsigned int i = 0; i < WORLD_LAYERS; i++)
			visit(world, daemon, i, ending);
		if (round % 16 == 0)
			sched_yield();
		if (!ending && round % 64 == 0 && clock_ns() >= end)
			atomic_store_explicit(&world->stop, 1, memory_order_relaxed);
	}
}

int world_verdict(struct world *world, const struct world_daemon *daemon, const char *name)
{
	for (unsigned int i = 0; i < WORLD_LAYERS; i++) {
		if (residency_pins(&world->slots[i]) != 0)
			complain(world, "a pin is left", i);
	}
	printf("%s: %" PRIu64 " uses, %" PRIu64 " waits (%" PRIu64 " given up, %" PRIu64
	       " failed), %" PRIu64 " loads, %" PRIu64 " evictions (%" PRIu64 " refused), %" PRIu64
	       " marks, %" PRIu64 " reports, %u errors\n",
	       name, world->uses, world->waits, world->timeouts, world->failures, daemon->loads,
	       daemon->evictions, daemon->kept, daemon->marks, world->n_reports, world->errors);
	if (world->errors)
		return 1;
	/* A run in which the protocol was not exercised proves nothing. */
	if (!world->uses || !world->waits || !world->timeouts || !world->failures ||
	    !daemon->evictions || !daemon->kept || !daemon->marks || !world->n_reports) {
		printf("%s: something never happened\n", name);
		return 1;
	}
	return 0;
}
