// SPDX-License-Identifier: GPL-2.0-only
/*
 * Uses, layers and claims, with a device that only writes down what was opened and closed, and a policy
 * that only writes down the order it was told.
 *
 * links: daemon/object.c
 */
#include "daemon/object.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/proto.h"

#define CHUNK	 4096u
#define N_CHUNKS 16u
#define N_SLOTS	 32u

/* ---- fakes ---- */

struct gpu_client {
	bool open[N_CHUNKS];
	int close_error;
};

static int fake_open(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		     uint32_t n)
{
	(void)object;
	for (uint32_t c = first; c < first + n; c++)
		client->open[c] = true;
	return 0;
}

static int fake_close(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		      uint32_t n)
{
	(void)object;
	if (client->close_error)
		return client->close_error;
	for (uint32_t c = first; c < first + n; c++)
		client->open[c] = false;
	return 0;
}

static uint64_t stamps[N_CHUNKS];

static uint64_t fake_stamp(struct gpu_object *object, uint32_t chunk)
{
	(void)object;
	return stamps[chunk];
}

static const struct gpu_ops ops = {
	.client_open = fake_open,
	.client_close = fake_close,
	.chunk_stamp = fake_stamp,
};

static uint32_t told_order[N_CHUNKS], n_told;
static uint32_t expert_group[N_CHUNKS], expert_place[N_CHUNKS];
static int policy_error;

int policy_object_set_order(struct policy_object *obj, const uint32_t *chunk_at_pos, uint32_t n)
{
	(void)obj;
	ck_assert_uint_le(n, N_CHUNKS);
	memcpy(told_order, chunk_at_pos, n * sizeof(*chunk_at_pos));
	n_told = n;
	return policy_error;
}

int policy_object_set_expert(struct policy_object *obj, uint32_t chunk, uint32_t layer_pos,
			     uint32_t group)
{
	(void)obj;
	expert_place[chunk] = layer_pos;
	expert_group[chunk] = group;
	return 0;
}

/* ---- the object, and two sessions ---- */

static struct gpu gpu = { .ops = &ops };
static struct gpu_object mem;
static struct object object;
static struct chunk chunks[N_CHUNKS];
static struct gpu_client clients[2];
static struct gpu_client *client_of[2];
static struct residency_slot tables[2][N_SLOTS];
static struct use *uses[2];

static void setup(void)
{
	gpu.imports = false;
	memset(stamps, 0, sizeof(stamps));
	mem = (struct gpu_object){
		.gpu = &gpu,
		.map_bytes = (uint64_t)N_CHUNKS * CHUNK,
		.chunk_bytes = CHUNK,
		.n_chunks = N_CHUNKS,
	};
	object = (struct object){ .kind = POLICY_MODEL, .mem = &mem, .chunks = chunks };
	object.size_bytes = mem.map_bytes;
	list_init(&object.uses);
	memset(chunks, 0, sizeof(chunks));
	memset(clients, 0, sizeof(clients));
	n_told = 0;
	policy_error = 0;
	memset(expert_group, 0xff, sizeof(expert_group));
	for (int i = 0; i < 2; i++) {
		client_of[i] = &clients[i];
		uses[i] = use_new(&object, NULL, &client_of[i]);
		ck_assert_ptr_nonnull(uses[i]);
	}
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		uses[i] = use_free(uses[i]);
	ck_assert(list_is_empty(&object.uses));
}

#define EXTENT(c, n, l)                                                                        \
	{                                                                                      \
		.offset = (c) * (uint64_t)CHUNK, .length = (n) * (uint64_t)CHUNK, .layer = (l) \
	}
#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Layer 0: chunks 0-3; layer 1: chunks 3-5 and 10; layer 2: chunk 15. Chunk 3 is in two layers. */
static const struct object_extent three_layers[] = {
	EXTENT(3, 3, 1), EXTENT(0, 2, 0), EXTENT(15, 1, 2), EXTENT(2, 2, 0), EXTENT(10, 1, 1),
};

static void set_layers(int i, uint32_t base)
{
	ck_assert_int_eq(use_set_layers(uses[i], three_layers, N(three_layers), 3, tables[i], base),
			 0);
}

static struct layer *layer(int i, uint32_t n)
{
	return &uses[i]->layers[n];
}

static enum residency_state state(int i, uint32_t n)
{
	return residency_word_state(atomic_load(&layer_residency(layer(i, n))->word));
}

static void arrive(uint32_t chunk)
{
	chunks[chunk].state = CHUNK_RESIDENT;
	object_chunk_arrived(&object, chunk);
}

static void arrive_all(void)
{
	for (uint32_t c = 0; c < N_CHUNKS; c++)
		arrive(c);
}

/* ---- layers ---- */

START_TEST(runs_and_index)
{
	struct use *use = uses[0];

	set_layers(0, 5);
	/* Extents that touch become one run, in any order. */
	ck_assert_uint_eq(layer(0, 0)->n_runs, 1);
	ck_assert_uint_eq(use->runs[layer(0, 0)->first_run].first, 0);
	ck_assert_uint_eq(use->runs[layer(0, 0)->first_run].n, 4);
	ck_assert_uint_eq(layer(0, 1)->n_runs, 2);
	ck_assert_uint_eq(use->runs[layer(0, 1)->first_run].n, 3);
	ck_assert_uint_eq(use->runs[layer(0, 1)->first_run + 1].first, 10);
	ck_assert_uint_eq(layer(0, 0)->missing, 4);
	ck_assert_uint_eq(layer(0, 1)->missing, 4);
	ck_assert_uint_eq(layer(0, 2)->missing, 1);
	/* Which layers are over a chunk. */
	ck_assert_uint_eq(use->chunk_first[4] - use->chunk_first[3], 2);
	ck_assert_uint_eq(use->chunk_layers[use->chunk_first[3]], 0);
	ck_assert_uint_eq(use->chunk_layers[use->chunk_first[3] + 1], 1);
	ck_assert_uint_eq(use->chunk_first[10] - use->chunk_first[9], 0);
	ck_assert_uint_eq(use->chunk_first[16], 9);
	/* Slots. */
	ck_assert_ptr_null(use_layer(use, 4));
	ck_assert_ptr_eq(use_layer(use, 5), layer(0, 0));
	ck_assert_ptr_eq(use_layer(use, 7), layer(0, 2));
	ck_assert_ptr_null(use_layer(use, 8));
	ck_assert_uint_eq(layer_slot(layer(0, 2)), 7);
	ck_assert_ptr_eq(layer_residency(layer(0, 2)), &tables[0][7]);
}
END_TEST

/* The slot tells where a card has put the layer, before it says that it is there; the host device tells nothing. */
START_TEST(binding_of_a_layer)
{
	set_layers(0, 0);
	for (uint32_t c = 0; c < N_CHUNKS; c++)
		stamps[c] = 100 + c;
	arrive_all();
	layer_make_resident(layer(0, 0));
	ck_assert_uint_eq(residency_binding(layer_residency(layer(0, 0))), 0);

	gpu.imports = true;
	layer_make_resident(layer(0, 1));
	/* Of chunks 3 to 5 and 10 the newest. */
	ck_assert_uint_eq(residency_binding(layer_residency(layer(0, 1))), 110);
	ck_assert_int_eq(object_claim_chunk(&object, 4), 0);
	stamps[4] = 500;
	arrive(4);
	ck_assert_int_eq(state(0, 1), RESIDENCY_ABSENT);
	layer_make_resident(layer(0, 1));
	ck_assert_uint_eq(residency_binding(layer_residency(layer(0, 1))), 500);
}
END_TEST

START_TEST(parts_of_chunks)
{
	/* From the middle of chunk 1 to the first byte of chunk 2, and one byte of chunk 2. */
	const struct object_extent extents[] = {
		{ .offset = CHUNK + 100, .length = CHUNK - 99, .layer = 0 },
		{ .offset = 2 * CHUNK + 7, .length = 1, .layer = 0 },
		{ .offset = 3 * CHUNK - 1, .length = 1, .layer = 1, .flags = VRAM_EXTENT_EXPERT },
	};

	ck_assert_int_eq(use_set_layers(uses[0], extents, N(extents), 2, tables[0], 0), 0);
	ck_assert_uint_eq(layer(0, 0)->n_runs, 1);
	ck_assert_uint_eq(uses[0]->runs[0].first, 1);
	ck_assert_uint_eq(uses[0]->runs[0].n, 2);
	ck_assert_uint_eq(layer(0, 0)->missing, 2);
	ck_assert_uint_eq(layer(0, 1)->missing, 1);
	ck_assert(layer(0, 1)->expert);
	ck_assert(!layer(0, 0)->expert);
}
END_TEST

START_TEST(layer_without_extents)
{
	const struct object_extent extents[] = { EXTENT(0, 1, 0), EXTENT(1, 1, 2) };

	ck_assert_int_eq(use_set_layers(uses[0], extents, N(extents), 3, tables[0], 0), -EINVAL);
	ck_assert_uint_eq(uses[0]->n_layers, 0);
	ck_assert_ptr_null(uses[0]->layers);
	/* It is a use without layers now, which other functions must bear. */
	arrive(0);
	use_reopen_layers(uses[0]);
	ck_assert_int_eq(object_claim_chunk(&object, 0), 0);
}
END_TEST

START_TEST(overlapping_too_often)
{
	static struct object_extent extents[2000];

	for (uint32_t i = 0; i < N(extents); i++)
		extents[i] = (struct object_extent)EXTENT(0, N_CHUNKS, i);
	ck_assert_int_eq(use_set_layers(uses[0], extents, N(extents), N(extents), tables[0], 0),
			 -E2BIG);
	ck_assert_uint_eq(uses[0]->n_layers, 0);
}
END_TEST

START_TEST(what_is_there_already_counts)
{
	arrive(0);
	arrive(1);
	chunks[2].state = CHUNK_LOADING;
	chunks[3].state = CHUNK_EVICTING;
	set_layers(0, 0);
	ck_assert_uint_eq(layer(0, 0)->missing, 2);
	ck_assert_uint_eq(state(0, 0), RESIDENCY_ABSENT);
	arrive(2);
	arrive(3);
	ck_assert_uint_eq(layer(0, 0)->missing, 0);
	ck_assert_uint_eq(layer(0, 1)->missing, 3);
}
END_TEST

/* ---- residency ---- */

START_TEST(made_resident)
{
	set_layers(0, 0);
	arrive_all();
	ck_assert(!clients[0].open[3]);
	layer_make_resident(layer(0, 1));
	ck_assert_uint_eq(state(0, 1), RESIDENCY_RESIDENT);
	ck_assert_uint_eq(state(0, 0), RESIDENCY_ABSENT);
	for (uint32_t c = 0; c < N_CHUNKS; c++)
		ck_assert_int_eq(clients[0].open[c], (c >= 3 && c <= 5) || c == 10);
	ck_assert(!clients[1].open[3]);
	ck_assert(chunks[3].flags & CHUNK_OPENED);
	/* A second mapping begins closed. */
	memset(&clients[0], 0, sizeof(clients[0]));
	use_reopen_layers(uses[0]);
	ck_assert(clients[0].open[10]);
	ck_assert(!clients[0].open[0]);
	/* Asked again it stays what it is. */
	layer_make_resident(layer(0, 1));
	layer_fail(layer(0, 1), -EIO);
	ck_assert_uint_eq(state(0, 1), RESIDENCY_RESIDENT);
}
END_TEST

START_TEST(failed_and_again)
{
	set_layers(0, 0);
	layer_fail(layer(0, 2), -ESTALE);
	ck_assert_uint_eq(state(0, 2), RESIDENCY_FAILED);
	ck_assert_int_eq(residency_error(layer_residency(layer(0, 2))), -ESTALE);
	arrive(15);
	layer_make_resident(layer(0, 2));
	ck_assert_uint_eq(state(0, 2), RESIDENCY_RESIDENT);
}
END_TEST

/* Opening a buffer's chunk means that it may be written to. */
START_TEST(opened_buffer_is_dirty)
{
	object.kind = _i ? POLICY_BUFFER : POLICY_MODEL;
	use_open_run(uses[0], 4, 2);
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		bool opened = c == 4 || c == 5;

		ck_assert_uint_eq(chunks[c].flags, !opened ? 0u :
						   _i ? CHUNK_OPENED | CHUNK_WRITTEN | CHUNK_DIRTY :
							CHUNK_OPENED);
		ck_assert_int_eq(clients[0].open[c], opened);
	}
}
END_TEST

/* ---- claims ---- */

START_TEST(claim_takes_it_from_everybody)
{
	set_layers(0, 0);
	set_layers(1, 4);
	arrive_all();
	layer_make_resident(layer(0, 0));
	layer_make_resident(layer(0, 1));
	layer_make_resident(layer(1, 1));
	ck_assert_int_eq(object_claim_chunk(&object, 3), 0);
	ck_assert_uint_eq(state(0, 0), RESIDENCY_ABSENT);
	ck_assert_uint_eq(state(0, 1), RESIDENCY_ABSENT);
	ck_assert_uint_eq(state(1, 0), RESIDENCY_ABSENT);
	ck_assert_uint_eq(state(1, 1), RESIDENCY_ABSENT);
	for (int i = 0; i < 2; i++) {
		ck_assert(!clients[i].open[3]);
		ck_assert_uint_eq(layer(i, 0)->missing, 1);
		ck_assert_uint_eq(layer(i, 1)->missing, 1);
		ck_assert_uint_eq(layer(i, 2)->missing, 0);
	}
	/* The others of their chunks are still there and open. */
	ck_assert(clients[0].open[0]);
	ck_assert(!(chunks[3].flags & CHUNK_OPENED));
}
END_TEST

/* One pin in any session keeps the chunk; whatever had been claimed before is as it was. */
START_TEST(claim_of_a_pinned_layer)
{
	uint32_t seen;

	set_layers(0, 0);
	set_layers(1, 4);
	arrive_all();
	for (int i = 0; i < 2; i++)
		for (uint32_t n = 0; n < 2; n++)
			layer_make_resident(layer(i, n));
	ck_assert_int_eq(residency_try_acquire(layer_residency(layer(_i / 2, (uint32_t)_i % 2)), 1,
					       &seen),
			 RESIDENCY_OK);
	ck_assert_int_eq(object_claim_chunk(&object, 3), -EBUSY);
	for (int i = 0; i < 2; i++) {
		for (uint32_t n = 0; n < 2; n++) {
			ck_assert_uint_eq(state(i, n), RESIDENCY_RESIDENT);
			ck_assert_uint_eq(layer(i, n)->missing, 0);
		}
		ck_assert(clients[i].open[3]);
	}
	/* The chunks of the layer that others are not over can go. */
	ck_assert_int_eq(object_claim_chunk(&object, _i % 2 ? 0 : 10), 0);
	residency_release(layer_residency(layer(_i / 2, (uint32_t)_i % 2)));
	ck_assert_int_eq(object_claim_chunk(&object, 3), 0);
}
END_TEST

/* A mapping that cannot be closed: nobody loses anything. */
START_TEST(claim_that_cannot_close)
{
	set_layers(0, 0);
	set_layers(1, 4);
	arrive_all();
	layer_make_resident(layer(0, 0));
	layer_make_resident(layer(1, 0));
	clients[1].close_error = -ENOMEM;
	ck_assert_int_eq(object_claim_chunk(&object, 3), -EBUSY);
	ck_assert_uint_eq(state(0, 0), RESIDENCY_RESIDENT);
	ck_assert_uint_eq(state(1, 0), RESIDENCY_RESIDENT);
	ck_assert_uint_eq(layer(0, 0)->missing, 0);
	ck_assert(chunks[3].flags & CHUNK_OPENED);
	clients[1].close_error = 0;
	ck_assert_int_eq(object_claim_chunk(&object, 3), 0);
	ck_assert(!clients[0].open[3] && !clients[1].open[3]);
}
END_TEST

START_TEST(claim_of_what_is_held)
{
	set_layers(0, 0);
	set_layers(1, 4);
	arrive_all();
	layer_hold(layer(0, 1));
	layer_hold(layer(1, 1));
	ck_assert_uint_eq(chunks[3].holds, 2);
	ck_assert_uint_eq(chunks[10].holds, 2);
	ck_assert_uint_eq(chunks[0].holds, 0);
	ck_assert_int_eq(object_claim_chunk(&object, 3), -EBUSY);
	ck_assert_int_eq(object_claim_chunk(&object, 0), 0);
	layer_unhold(layer(0, 1));
	ck_assert_int_eq(object_claim_chunk(&object, 3), -EBUSY);
	layer_unhold(layer(1, 1));
	ck_assert_uint_eq(chunks[3].holds, 0);
	ck_assert_int_eq(object_claim_chunk(&object, 3), 0);
	object.pinned = true;
	ck_assert_int_eq(object_claim_chunk(&object, 4), -EBUSY);
}
END_TEST

/* A session without mappings (a client that has not sent its userfaultfd). */
START_TEST(no_client)
{
	client_of[1] = NULL;
	set_layers(1, 0);
	arrive_all();
	layer_make_resident(layer(1, 0));
	ck_assert_uint_eq(state(1, 0), RESIDENCY_RESIDENT);
	ck_assert_int_eq(object_claim_chunk(&object, 0), 0);
	ck_assert_uint_eq(state(1, 0), RESIDENCY_ABSENT);
}
END_TEST

/* ---- order ---- */

START_TEST(declared_order)
{
	const struct object_extent extents[] = {
		EXTENT(4, 2, 0),
		{ .offset = 7 * CHUNK, .length = 1, .layer = 1, .flags = VRAM_EXTENT_UNORDERED },
		{ .offset = 5 * CHUNK,
		  .length = 2 * CHUNK,
		  .layer = 2,
		  .flags = VRAM_EXTENT_EXPERT },
		EXTENT(0, 1, 3),
	};
	const uint32_t wanted[] = { 4, 5, 6, 0 };

	ck_assert_int_eq(object_declare_order(&object, extents, N(extents)), 0);
	ck_assert_uint_eq(n_told, N(wanted));
	ck_assert_mem_eq(told_order, wanted, sizeof(wanted));
	ck_assert(object.has_order);
	ck_assert_uint_eq(expert_group[5], 2);
	ck_assert_uint_eq(expert_place[6], 2);
	ck_assert_uint_eq(expert_group[4], UINT32_MAX);
	/* The first word counts. */
	n_told = 0;
	ck_assert_int_eq(object_declare_order(&object, extents, 1), 0);
	ck_assert_uint_eq(n_told, 0);
}
END_TEST

START_TEST(order_that_the_policy_refuses)
{
	const struct object_extent extent = EXTENT(4, 2, 0);

	policy_error = -ENOMEM;
	ck_assert_int_eq(object_declare_order(&object, &extent, 1), -ENOMEM);
	ck_assert(!object.has_order);
}
END_TEST

START_TEST(order_of_layers)
{
	const uint32_t order[] = { 2, 1, 0 }, some[] = { 1 }, twice[] = { 1, 1 }, beyond[] = { 3 };
	const uint32_t wanted[] = { 15, 3, 4, 5, 10, 0, 1, 2 };

	set_layers(0, 0);
	ck_assert_int_eq(use_set_order(uses[0], twice, 2), -EINVAL);
	ck_assert_int_eq(use_set_order(uses[0], beyond, 1), -EINVAL);
	ck_assert_uint_eq(n_told, 0);
	ck_assert(!object.has_order);
	ck_assert_int_eq(use_set_order(uses[0], order, 3), 0);
	ck_assert_uint_eq(n_told, N(wanted));
	ck_assert_mem_eq(told_order, wanted, sizeof(wanted));
	ck_assert(object.has_order);
	ck_assert_int_eq(use_set_order(uses[0], some, 1), 0);
	ck_assert_uint_eq(n_told, 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("object");
	TCase *tc = tcase_create("object");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, runs_and_index);
	tcase_add_test(tc, parts_of_chunks);
	tcase_add_test(tc, layer_without_extents);
	tcase_add_test(tc, overlapping_too_often);
	tcase_add_test(tc, what_is_there_already_counts);
	tcase_add_test(tc, made_resident);
	tcase_add_test(tc, failed_and_again);
	tcase_add_loop_test(tc, opened_buffer_is_dirty, 0, 2);
	tcase_add_test(tc, claim_takes_it_from_everybody);
	tcase_add_loop_test(tc, claim_of_a_pinned_layer, 0, 4);
	tcase_add_test(tc, claim_that_cannot_close);
	tcase_add_test(tc, claim_of_what_is_held);
	tcase_add_test(tc, binding_of_a_layer);
	tcase_add_test(tc, no_client);
	tcase_add_test(tc, declared_order);
	tcase_add_test(tc, order_that_the_policy_refuses);
	tcase_add_test(tc, order_of_layers);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
