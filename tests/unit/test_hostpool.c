// SPDX-License-Identifier: GPL-2.0-only
/* The host tier's slots: who gets one, whose copy goes for it, and what the pool counts. */
// links: daemon/hostpool.c
#include "daemon/hostpool.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#define SLOT  4096u
#define SLOTS 4

static struct hostpool *pool;
static struct object object, other;
static struct chunk chunks[32], other_chunks[4];
static uint64_t next_uses[32];

uint64_t policy_next_use(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns)
{
	(void)obj;
	return now_ns + next_uses[chunk];
}

static void setup(void)
{
	object = (struct object){ .chunks = chunks };
	other = (struct object){ .chunks = other_chunks };
	memset(chunks, 0, sizeof(chunks));
	memset(other_chunks, 0, sizeof(other_chunks));
	memset(next_uses, 0, sizeof(next_uses));
	ck_assert_int_eq(hostpool_new(&pool, NULL, SLOTS * SLOT + SLOT / 2, SLOT, false), 0);
}

static void teardown(void)
{
	pool = hostpool_free(pool);
	ck_assert_ptr_null(pool);
}

static int64_t get(struct object *o, uint32_t chunk, struct object **lost)
{
	return hostpool_get(pool, o, chunk, 1000, lost);
}

/* Slots for chunks 0.. of object, all in one state. */
static void fill(enum host_slot_state state)
{
	struct object *lost;

	for (uint32_t c = 0; c < SLOTS; c++) {
		int64_t slot = get(&object, c, &lost);

		ck_assert_int_ge(slot, 0);
		ck_assert_ptr_null(lost);
		ck_assert_uint_eq(chunks[c].host_slot, (uint32_t)slot + 1);
		hostpool_set_state(pool, (uint32_t)slot, state);
	}
	ck_assert_uint_eq(hostpool_used(pool), SLOTS * SLOT);
	ck_assert_uint_eq(hostpool_count(pool, state), SLOTS);
	ck_assert_uint_eq(hostpool_count(pool, HOST_SLOT_FREE), 0);
}

START_TEST(sizes)
{
	struct hostpool *none = NULL;

	ck_assert_uint_eq(hostpool_n_slots(pool), SLOTS);
	ck_assert_uint_eq(hostpool_slot_bytes(pool), SLOT);
	ck_assert_uint_eq(hostpool_used(pool), 0);
	ck_assert_uint_eq(hostpool_count(pool, HOST_SLOT_FREE), SLOTS);
	ck_assert_int_eq(hostpool_new(&none, NULL, SLOT - 1, SLOT, false), -EINVAL);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(slots_do_not_overlap)
{
	struct object *lost;

	for (uint32_t c = 0; c < SLOTS; c++) {
		int64_t slot = get(&object, c, &lost);

		ck_assert_uint_eq((uintptr_t)hostpool_addr(pool, (uint32_t)slot) % 4096, 0);
		memset(hostpool_addr(pool, (uint32_t)slot), 'a' + (int)c, SLOT);
	}
	for (uint32_t c = 0; c < SLOTS; c++) {
		const char *p = hostpool_addr(pool, chunks[c].host_slot - 1);

		ck_assert_int_eq(p[0], 'a' + (int)c);
		ck_assert_int_eq(p[SLOT - 1], 'a' + (int)c);
	}
}
END_TEST

START_TEST(put_gives_back)
{
	struct object *lost;
	uint32_t slot;

	fill(HOST_SLOT_BUSY);
	slot = chunks[2].host_slot - 1;
	hostpool_put(pool, slot);
	ck_assert_uint_eq(chunks[2].host_slot, 0);
	ck_assert_uint_eq(hostpool_used(pool), (SLOTS - 1) * SLOT);
	ck_assert_uint_eq(hostpool_state(pool, slot), HOST_SLOT_FREE);
	ck_assert_int_eq(get(&other, 1, &lost), slot);
	ck_assert_ptr_null(lost);
	ck_assert_uint_eq(other_chunks[1].host_slot, slot + 1);
}
END_TEST

START_TEST(in_use_is_never_taken)
{
	const enum host_slot_state states[] = { HOST_SLOT_BUSY, HOST_SLOT_HELD, HOST_SLOT_DIRTY };
	struct object *lost = &object;

	fill(states[_i]);
	ck_assert_int_eq(get(&other, 0, &lost), -EAGAIN);
	ck_assert_ptr_null(lost);
	ck_assert_uint_eq(other_chunks[0].host_slot, 0);
	for (uint32_t c = 0; c < SLOTS; c++)
		ck_assert_uint_ne(chunks[c].host_slot, 0);
}
END_TEST

/* A copy of what the device has as well goes first, the latest of them. */
START_TEST(copies_of_the_device_go_first)
{
	struct object *lost;
	int64_t slot;

	fill(HOST_SLOT_CLEAN);
	hostpool_set_state(pool, chunks[1].host_slot - 1, HOST_SLOT_CLEAN_TWICE);
	hostpool_set_state(pool, chunks[2].host_slot - 1, HOST_SLOT_CLEAN_TWICE);
	next_uses[0] = 99; /* the farthest, but the only copy outside the file */
	slot = chunks[2].host_slot - 1;
	ck_assert_int_eq(get(&other, 0, &lost), slot);
	ck_assert_ptr_eq(lost, &object);
	ck_assert_uint_eq(chunks[2].host_slot, 0);
	ck_assert_uint_eq(hostpool_used(pool), SLOTS * SLOT);
	slot = chunks[1].host_slot - 1;
	ck_assert_int_eq(get(&other, 1, &lost), slot);
}
END_TEST

/* Of the oldest and the newest the one that is needed later: cyclic use is not LRU's friend. */
START_TEST(the_later_needed_goes)
{
	struct object *lost;
	uint32_t victim = _i ? SLOTS - 1 : 0;
	int64_t slot;

	fill(HOST_SLOT_CLEAN);
	next_uses[victim] = 50;
	next_uses[1] = 99; /* neither the oldest nor the newest */
	slot = chunks[victim].host_slot - 1;
	ck_assert_int_eq(get(&other, 0, &lost), slot);
	ck_assert_ptr_eq(lost, &object);
	ck_assert_uint_eq(chunks[victim].host_slot, 0);
	ck_assert_uint_eq(hostpool_count(pool, HOST_SLOT_CLEAN), SLOTS - 1);
	ck_assert_uint_eq(hostpool_count(pool, HOST_SLOT_BUSY), 1);
}
END_TEST

START_TEST(oldest_dirty)
{
	struct object *found = NULL;
	uint32_t chunk = 77;

	ck_assert_int_eq(hostpool_next_dirty(pool, NULL, hostpool_round(pool), &found, &chunk),
			 -ENOENT);
	ck_assert_uint_eq(chunk, 77);
	fill(HOST_SLOT_BUSY);
	hostpool_set_state(pool, chunks[3].host_slot - 1, HOST_SLOT_DIRTY);
	hostpool_set_state(pool, chunks[0].host_slot - 1, HOST_SLOT_DIRTY);
	ck_assert_int_eq(hostpool_next_dirty(pool, NULL, hostpool_round(pool), &found, &chunk),
			 chunks[3].host_slot - 1);
	ck_assert_ptr_eq(found, &object);
	ck_assert_uint_eq(chunk, 3);
	/* One that could not be written goes to the end. */
	hostpool_set_state(pool, chunks[3].host_slot - 1, HOST_SLOT_BUSY);
	hostpool_set_state(pool, chunks[3].host_slot - 1, HOST_SLOT_DIRTY);
	ck_assert_int_eq(hostpool_next_dirty(pool, NULL, hostpool_round(pool), &found, &chunk),
			 chunks[0].host_slot - 1);
	ck_assert_uint_eq(chunk, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostpool");
	TCase *tc = tcase_create("hostpool");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, slots_do_not_overlap);
	tcase_add_test(tc, put_gives_back);
	tcase_add_loop_test(tc, in_use_is_never_taken, 0, 3);
	tcase_add_test(tc, copies_of_the_device_go_first);
	tcase_add_loop_test(tc, the_later_needed_goes, 0, 2);
	tcase_add_test(tc, oldest_dirty);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
