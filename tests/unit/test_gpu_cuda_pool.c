// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_cuda_pool.c
/*
 * The books of a card's memory: each rule on its own, and then random calls against a model that is too
 * simple to be wrong.
 */
#include "daemon/gpu_cuda_pool.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB   (1ull << 20)
#define C     (32 * MIB)
#define SEC   1000000000ull
#define ALICE 1000u
#define BOB   1001u

static struct cuda_pool pool;
static int object_a, object_b; /* their addresses stand for objects */

static const struct cuda_pool_params params = {
	.configured_bytes = 8 * C,
	.reserve_bytes = 2 * C,
	.idle_ns = 30 * SEC,
	.drain_ns = 2 * SEC,
	.settle_ns = SEC,
	.smallest_bytes = 2 * MIB,
};

static void setup(void)
{
	ck_assert_int_eq(cuda_pool_init(&pool, &params), 0);
	cuda_pool_measure(&pool, 100 * C, 0);
}

static void teardown(void)
{
	cuda_pool_deinit(&pool);
}

static struct cuda_phys *add_for(uid_t uid, uint64_t bytes, void *object, uint32_t chunk)
{
	struct cuda_phys *phys = calloc(1, sizeof(*phys));

	ck_assert_int_eq(cuda_pool_add(&pool, phys, uid, bytes, object, chunk), 0);
	return phys;
}

static struct cuda_phys *add(uid_t uid)
{
	return add_for(uid, C, &object_a, 0);
}

static struct cuda_phys *add_free(uid_t uid, uint64_t now_ns)
{
	struct cuda_phys *phys = add(uid);

	cuda_pool_unbind(&pool, phys, now_ns);
	return phys;
}

static void del(struct cuda_phys *phys)
{
	cuda_pool_remove(&pool, phys);
	free(phys);
}

static enum cuda_pool_verdict room_at(uint64_t bytes, uint64_t now_ns, struct cuda_phys **out)
{
	*out = NULL;
	return cuda_pool_room(&pool, bytes, now_ns, out);
}

static enum cuda_pool_verdict room(uint64_t bytes, struct cuda_phys **out)
{
	return room_at(bytes, SEC, out);
}

/* ---- phys ---- */

START_TEST(ids_are_never_used_again)
{
	struct cuda_phys *a = add(ALICE), *b;
	uint64_t id = a->id;

	ck_assert_uint_ne(id, 0);
	ck_assert_ptr_eq(cuda_pool_find(&pool, id), a);
	del(a);
	ck_assert_ptr_null(cuda_pool_find(&pool, id));
	b = add(ALICE);
	ck_assert_uint_gt(b->id, id);
	del(b);
}
END_TEST

START_TEST(thousands_are_found)
{
	static struct cuda_phys *all[5000];

	for (int i = 0; i < 5000; i++)
		all[i] = add(ALICE + (unsigned int)i % 3);
	for (int i = 0; i < 5000; i++)
		ck_assert_ptr_eq(cuda_pool_find(&pool, all[i]->id), all[i]);
	ck_assert_uint_eq(pool.bytes[CUDA_PHYS_BOUND], 5000 * C);
	for (int i = 0; i < 5000; i++)
		del(all[i]);
	ck_assert_uint_eq(cuda_pool_own_bytes(&pool), 0);
}
END_TEST

START_TEST(a_chunk_gets_what_it_had)
{
	struct cuda_phys *a = add_free(ALICE, 1), *b = add_free(ALICE, 2);

	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, a->id), a);
	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, b->id), b);
	/* Without a wish: what was given up last is wanted last by its chunk. */
	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, 0), b);
	cuda_pool_bind(&pool, b, &object_b, 7);
	ck_assert_ptr_eq(b->object, &object_b);
	ck_assert_uint_eq(b->chunk, 7);
	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, b->id), a);
	del(a);
	del(b);
}
END_TEST

START_TEST(what_nobody_comes_back_for_goes_first)
{
	struct cuda_phys *a = add_free(ALICE, 1), *b = add_free(ALICE, 2);

	cuda_pool_unclaim(&pool, a);
	ck_assert_ptr_null(a->object);
	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, 0), a);
	del(a);
	del(b);
}
END_TEST

START_TEST(nobody_gets_another_users)
{
	struct cuda_phys *a = add_free(ALICE, 1);

	ck_assert_ptr_null(cuda_pool_take(&pool, BOB, C, 0));
	ck_assert_ptr_null(cuda_pool_take(&pool, BOB, C, a->id));
	del(a);
}
END_TEST

START_TEST(nobody_gets_another_size)
{
	struct cuda_phys *a = add_free(ALICE, 1);

	ck_assert_ptr_null(cuda_pool_take(&pool, ALICE, C / 2, 0));
	ck_assert_ptr_null(cuda_pool_take(&pool, ALICE, C / 2, a->id));
	del(a);
}
END_TEST

/* ---- clients ---- */

START_TEST(what_a_client_has_is_not_recycled_when_it_dies)
{
	struct cuda_phys *bound = add(ALICE), *idle = add(ALICE), *others = add(ALICE);
	struct cuda_holder holder;

	cuda_holder_init(&holder, ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, bound, &holder), 0);
	ck_assert_int_eq(cuda_pool_export(&pool, idle, &holder), 0);
	cuda_pool_unbind(&pool, idle, 1);
	cuda_pool_unbind(&pool, others, 1);
	cuda_pool_holder_end(&pool, &holder);
	ck_assert_int_eq(idle->state, CUDA_PHYS_LEAVING);
	ck_assert_ptr_eq(cuda_pool_next_release(&pool), idle);
	ck_assert_int_eq(others->state, CUDA_PHYS_FREE);
	ck_assert_int_eq(bound->state, CUDA_PHYS_BOUND);
	cuda_pool_unbind(&pool, bound, 2);
	ck_assert_int_eq(bound->state, CUDA_PHYS_LEAVING);
	ck_assert_ptr_eq(cuda_pool_take(&pool, ALICE, C, bound->id), others);
	del(bound);
	del(idle);
	del(others);
}
END_TEST

START_TEST(what_a_client_has_let_go_of_is_recycled)
{
	struct cuda_phys *a = add(ALICE);
	struct cuda_holder holder;

	cuda_holder_init(&holder, ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &holder), 0);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, a->id), 0);
	ck_assert_uint_eq(holder.n_exports, 0);
	cuda_pool_holder_end(&pool, &holder);
	cuda_pool_unbind(&pool, a, 1);
	ck_assert_int_eq(a->state, CUDA_PHYS_FREE);
	del(a);
}
END_TEST

START_TEST(exporting_twice_counts_once)
{
	struct cuda_phys *a = add(ALICE);
	struct cuda_holder holder;

	cuda_holder_init(&holder, ALICE);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(cuda_pool_export(&pool, a, &holder), 0);
	ck_assert_uint_eq(a->n_exports, 1);
	ck_assert_uint_eq(holder.n_exports, 1);
	cuda_pool_holder_end(&pool, &holder);
	ck_assert(a->tainted);
	del(a);
}
END_TEST

START_TEST(all_who_have_it_are_asked_and_the_last_frees_it)
{
	struct cuda_phys *a = add(ALICE);
	struct cuda_holder one, two;
	uint64_t ids[4], deadline_ns;
	uint32_t n;

	cuda_holder_init(&one, ALICE);
	cuda_holder_init(&two, ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &one), 0);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &two), 0);
	cuda_pool_unbind(&pool, a, 1);
	cuda_pool_leave(&pool, a);
	ck_assert_ptr_null(cuda_pool_next_release(&pool));
	ck_assert_ptr_eq(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns), &one);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(ids[0], a->id);
	ck_assert_uint_eq(deadline_ns, 0);
	cuda_pool_press(&pool, 5 * SEC);
	ck_assert_ptr_eq(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns), &two);
	ck_assert_uint_eq(deadline_ns, 5 * SEC);
	/* Who was asked in peace is told that there is a deadline now. */
	ck_assert_ptr_eq(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns), &one);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(deadline_ns, 5 * SEC);
	ck_assert_ptr_null(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns));
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &one, a->id), 0);
	ck_assert_ptr_null(cuda_pool_next_release(&pool));
	ck_assert_ptr_null(cuda_pool_overdue(&pool, 5 * SEC - 1));
	ck_assert_ptr_eq(cuda_pool_overdue(&pool, 5 * SEC), &two);
	cuda_pool_holder_end(&pool, &two);
	ck_assert_ptr_eq(cuda_pool_next_release(&pool), a);
	ck_assert_uint_eq(cuda_pool_deadline(&pool), 0);
	del(a);
	cuda_pool_holder_end(&pool, &one);
}
END_TEST

START_TEST(many_ids_take_several_messages)
{
	struct cuda_phys *all[10];
	struct cuda_holder holder;
	uint64_t ids[4], deadline_ns;
	uint32_t n, total = 0, messages = 0;

	cuda_holder_init(&holder, ALICE);
	for (int i = 0; i < 10; i++) {
		all[i] = add(ALICE);
		ck_assert_int_eq(cuda_pool_export(&pool, all[i], &holder), 0);
		cuda_pool_unbind(&pool, all[i], 1);
		if (i != 5)
			cuda_pool_leave(&pool, all[i]);
	}
	while (cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns)) {
		for (uint32_t i = 0; i < n; i++)
			ck_assert_uint_ne(ids[i], all[5]->id);
		total += n;
		messages++;
	}
	ck_assert_uint_eq(total, 9);
	ck_assert_uint_eq(messages, 3);
	for (int i = 0; i < 10; i++)
		del(all[i]);
	ck_assert_uint_eq(holder.n_exports, 0);
	cuda_pool_holder_end(&pool, &holder);
}
END_TEST

START_TEST(one_message_has_one_deadline)
{
	struct cuda_holder holder;
	struct cuda_phys *a, *b;
	uint64_t ids[4], deadline_ns;
	uint32_t n;

	cuda_holder_init(&holder, ALICE);
	a = add(ALICE);
	b = add(ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &holder), 0);
	ck_assert_int_eq(cuda_pool_export(&pool, b, &holder), 0);
	cuda_pool_unbind(&pool, a, 1);
	cuda_pool_unbind(&pool, b, 1);
	cuda_pool_leave(&pool, a);
	cuda_pool_press(&pool, 5 * SEC);
	cuda_pool_leave(&pool, b);
	ck_assert_ptr_eq(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns), &holder);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(ids[0], b->id);
	ck_assert_uint_eq(deadline_ns, 0);
	ck_assert_ptr_eq(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns), &holder);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(ids[0], a->id);
	ck_assert_uint_eq(deadline_ns, 5 * SEC);
	del(a);
	del(b);
	cuda_pool_holder_end(&pool, &holder);
}
END_TEST

START_TEST(letting_go_of_what_one_never_had_is_a_lie)
{
	struct cuda_phys *a = add(ALICE), *b = add(BOB);
	struct cuda_holder holder;

	cuda_holder_init(&holder, ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &holder), 0);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, 0), -EPROTO);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, 999), -EPROTO);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, b->id), -EPROTO);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, a->id), 0);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, a->id), -EPROTO);
	del(a);
	del(b);
}
END_TEST

START_TEST(answers_that_cross_the_question_are_right)
{
	struct cuda_phys *a = add(ALICE);
	struct cuda_holder holder;
	uint64_t ids[4], deadline_ns, id = a->id;
	uint32_t n;

	cuda_holder_init(&holder, ALICE);
	ck_assert_int_eq(cuda_pool_export(&pool, a, &holder), 0);
	cuda_pool_unbind(&pool, a, 1);
	cuda_pool_leave(&pool, a);
	ck_assert_ptr_nonnull(cuda_pool_next_ask(&pool, ids, 4, &n, &deadline_ns));
	/* It had let go by itself before it read the question, and then answers that too. */
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, id), 0);
	del(a);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, id), 0);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, id), -EPROTO);
}
END_TEST

/* ---- room ---- */

START_TEST(with_room_one_is_made)
{
	struct cuda_phys *out;

	ck_assert_int_eq(room(C, &out), CUDA_POOL_CREATE);
}
END_TEST

START_TEST(reserve_is_left_to_others)
{
	struct cuda_phys *out;

	cuda_pool_measure(&pool, 3 * C, 0);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_CREATE);
	cuda_pool_measure(&pool, 3 * C - 1, 0);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_NONE);
}
END_TEST

START_TEST(anothers_free_memory_goes_through_the_driver)
{
	struct cuda_phys *all[8], *out;

	for (int i = 0; i < 8; i++)
		all[i] = add_free(ALICE, (uint64_t)i);
	/* Everything that is configured is Alice's, and free: the longest free goes. */
	ck_assert_int_eq(room(C, &out), CUDA_POOL_RELEASE);
	ck_assert_ptr_eq(out, all[0]);
	for (int i = 0; i < 8; i++)
		del(all[i]);
}
END_TEST

START_TEST(clients_are_asked_first)
{
	struct cuda_phys *all[8], *out;
	struct cuda_holder holder;

	cuda_holder_init(&holder, ALICE);
	for (int i = 0; i < 8; i++) {
		all[i] = add(ALICE);
		ck_assert_int_eq(cuda_pool_export(&pool, all[i], &holder), 0);
		cuda_pool_unbind(&pool, all[i], (uint64_t)i);
	}
	ck_assert_int_eq(room(C, &out), CUDA_POOL_RECLAIM);
	ck_assert_ptr_eq(out, all[0]);
	cuda_pool_leave(&pool, out);
	/* One is on its way, and one is enough. */
	ck_assert_int_eq(room(C, &out), CUDA_POOL_WAIT);
	ck_assert_int_eq(room(2 * C, &out), CUDA_POOL_RECLAIM);
	ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, all[0]->id), 0);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_RELEASE);
	ck_assert_ptr_eq(out, all[0]);
	for (int i = 0; i < 8; i++)
		del(all[i]);
}
END_TEST

START_TEST(memory_that_is_coming_back_is_waited_for)
{
	struct cuda_phys *a = add_free(ALICE, 0), *b = add_free(ALICE, 1), *out;

	cuda_pool_measure(&pool, 2 * C, SEC);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_RELEASE);
	ck_assert_ptr_eq(out, a);
	del(a);
	cuda_pool_given_back(&pool, C, SEC);
	cuda_pool_measure(&pool, 2 * C, SEC);
	/* The other one stays where it is, as long as the first may be late for no reason. */
	ck_assert_int_eq(room(C, &out), CUDA_POOL_WAIT);
	ck_assert_int_eq(room_at(C, SEC + SEC / 20, &out), CUDA_POOL_WAIT);
	ck_assert_int_eq(room_at(C, SEC + SEC / 10, &out), CUDA_POOL_RELEASE);
	ck_assert_ptr_eq(out, b);
	del(b);
	ck_assert(cuda_pool_is_moving(&pool));
	/* Part of it has come. */
	cuda_pool_measure(&pool, 2 * C + C / 2, SEC);
	ck_assert_uint_eq(pool.due_bytes, C / 2);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_WAIT);
	/* The rest never does: whoever keeps it is an outsider now. */
	cuda_pool_measure(&pool, 2 * C + C / 2, 3 * SEC);
	ck_assert_int_eq(room(C, &out), CUDA_POOL_NONE);
	ck_assert(!cuda_pool_is_moving(&pool));
}
END_TEST

/* ---- size ---- */

START_TEST(idle_memory_goes_back)
{
	struct cuda_phys *a = add_free(ALICE, SEC), *b = add_free(ALICE, 2 * SEC);

	ck_assert_ptr_null(cuda_pool_next_idle(&pool, 31 * SEC - 1));
	ck_assert_ptr_eq(cuda_pool_next_idle(&pool, 31 * SEC), a);
	cuda_pool_leave(&pool, a);
	ck_assert_ptr_null(cuda_pool_next_idle(&pool, 31 * SEC));
	ck_assert_ptr_eq(cuda_pool_next_idle(&pool, 32 * SEC), b);
	del(a);
	del(b);
}
END_TEST

START_TEST(idle_memory_goes_back_at_once_when_others_lack_it)
{
	struct cuda_phys *a = add_free(ALICE, SEC);

	cuda_pool_measure(&pool, 2 * C, SEC);
	ck_assert_ptr_null(cuda_pool_next_idle(&pool, SEC));
	cuda_pool_measure(&pool, 2 * C - 1, SEC);
	ck_assert_ptr_eq(cuda_pool_next_idle(&pool, SEC), a);
	cuda_pool_leave(&pool, a);
	ck_assert_ptr_null(cuda_pool_next_idle(&pool, SEC));
	del(a);
}
END_TEST

START_TEST(the_budget_follows_others_slowly)
{
	cuda_pool_measure(&pool, 6 * C, 10 * SEC);
	ck_assert(!cuda_pool_budget(&pool, 10 * SEC));
	ck_assert(!cuda_pool_budget(&pool, 11 * SEC - 1));
	ck_assert_uint_eq(pool.budget_bytes, 8 * C);
	ck_assert(cuda_pool_budget(&pool, 11 * SEC));
	ck_assert_uint_eq(pool.budget_bytes, 4 * C);
	/* And back, slower still. */
	cuda_pool_measure(&pool, 100 * C, 12 * SEC);
	ck_assert(!cuda_pool_budget(&pool, 12 * SEC));
	ck_assert(!cuda_pool_budget(&pool, 14 * SEC));
	ck_assert(cuda_pool_budget(&pool, 15 * SEC));
	ck_assert_uint_eq(pool.budget_bytes, 8 * C);
}
END_TEST

START_TEST(the_budget_does_not_flap)
{
	unsigned int n_changes = 0;

	/* Others take and free every 0.7 s, for a minute. */
	for (uint64_t now = SEC; now < 61 * SEC; now += SEC / 10) {
		cuda_pool_measure(&pool, now / (7 * SEC / 10) % 2 ? 6 * C : 100 * C, now);
		n_changes += cuda_pool_budget(&pool, now);
	}
	ck_assert_uint_eq(n_changes, 0);
	/* Small changes around the reserve are nobody's business. */
	for (uint64_t now = 61 * SEC; now < 121 * SEC; now += SEC) {
		cuda_pool_measure(&pool, 10 * C - 2 * C / 8, now);
		n_changes += cuda_pool_budget(&pool, now);
	}
	ck_assert_uint_eq(n_changes, 0);
}
END_TEST

START_TEST(what_is_ours_does_not_count_against_us)
{
	struct cuda_phys *all[8];

	cuda_pool_measure(&pool, 10 * C, 0);
	for (int i = 0; i < 8; i++)
		all[i] = add(ALICE);
	ck_assert_uint_eq(pool.free_bytes, 2 * C);
	for (uint64_t now = SEC; now < 9 * SEC; now += SEC) {
		cuda_pool_measure(&pool, 2 * C, now);
		ck_assert(!cuda_pool_budget(&pool, now));
	}
	/* Neither does what is on its way back. */
	for (int i = 0; i < 8; i++) {
		del(all[i]);
		cuda_pool_given_back(&pool, C, 9 * SEC);
	}
	cuda_pool_measure(&pool, 2 * C, 10 * SEC);
	ck_assert(!cuda_pool_budget(&pool, 10 * SEC));
	ck_assert_uint_eq(pool.below_ns, 0);
}
END_TEST

START_TEST(a_shortage_is_told_at_once)
{
	struct cuda_phys *a = add(ALICE);

	cuda_pool_measure(&pool, 2 * C + C / 2, SEC);
	ck_assert(cuda_pool_shortage(&pool, false, SEC));
	ck_assert_uint_eq(pool.budget_bytes, C + C / 2);
	ck_assert(!cuda_pool_shortage(&pool, false, SEC));
	/* The driver knows better than its own number of free bytes. */
	ck_assert(cuda_pool_shortage(&pool, true, SEC));
	ck_assert_uint_eq(pool.budget_bytes, C);
	/* And is not asked again at once. */
	cuda_pool_measure(&pool, 100 * C, 2 * SEC);
	ck_assert(!cuda_pool_budget(&pool, 2 * SEC));
	ck_assert(!cuda_pool_budget(&pool, 6 * SEC));
	ck_assert(!cuda_pool_budget(&pool, 8 * SEC));
	ck_assert(cuda_pool_budget(&pool, 10 * SEC));
	ck_assert_uint_eq(pool.budget_bytes, 8 * C);
	del(a);
}
END_TEST

/* ---- everything at random ---- */

#define N_PHYS	64
#define N_HOLD	6
#define N_STEPS 20000
#define N_USERS 3

struct model {
	struct cuda_phys *phys; /* NULL: none */
	uint64_t id;
	uid_t uid;
	uint64_t bytes;
	enum cuda_phys_state state;
	bool tainted;
	bool exported[N_HOLD];
};

static uint64_t seed;

static uint32_t any(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

static unsigned int n_exported(const struct model *m)
{
	unsigned int n = 0;

	for (int h = 0; h < N_HOLD; h++)
		n += m->exported[h];
	return n;
}

static void compare(const struct model *models, uint32_t n_holder_exports[N_HOLD])
{
	uint64_t bytes[CUDA_PHYS_N_STATES] = { 0 };
	uint32_t n_holders[N_HOLD] = { 0 };

	for (int i = 0; i < N_PHYS; i++) {
		const struct model *m = &models[i];

		if (!m->phys)
			continue;
		bytes[m->state] += m->bytes;
		ck_assert_ptr_eq(cuda_pool_find(&pool, m->id), m->phys);
		ck_assert_int_eq(m->phys->state, m->state);
		ck_assert_uint_eq(m->phys->uid, m->uid);
		ck_assert_uint_eq(m->phys->n_exports, n_exported(m));
		ck_assert(!(m->state == CUDA_PHYS_FREE && m->phys->tainted));
		for (int h = 0; h < N_HOLD; h++)
			n_holders[h] += m->exported[h];
	}
	for (int s = 0; s < CUDA_PHYS_N_STATES; s++)
		ck_assert_uint_eq(pool.bytes[s], bytes[s]);
	for (int h = 0; h < N_HOLD; h++)
		ck_assert_uint_eq(n_holder_exports[h], n_holders[h]);
}

static void model_leave(struct model *m)
{
	m->state = CUDA_PHYS_LEAVING;
}

START_TEST(random_calls_agree_with_a_model)
{
	static const uint64_t sizes[] = { 2 * MIB, C };
	struct model models[N_PHYS] = { 0 };
	struct cuda_holder holders[N_HOLD];
	uint64_t ids[16], deadline_ns, now = SEC;
	uint32_t counts[N_HOLD], n;

	seed = 0x5eed + (uint64_t)_i;
	for (int h = 0; h < N_HOLD; h++)
		cuda_holder_init(&holders[h], ALICE + (unsigned int)h % N_USERS);
	for (int step = 0; step < N_STEPS; step++) {
		struct model *m = &models[any(N_PHYS)];
		uint32_t h = any(N_HOLD);
		struct cuda_phys *phys;

		now += any(1000000);
		switch (any(9)) {
		case 0: /* make */
			if (m->phys)
				break;
			m->uid = ALICE + any(N_USERS);
			m->bytes = sizes[any(2)];
			m->phys = add_for(m->uid, m->bytes, &object_a, (uint32_t)(m - models));
			m->id = m->phys->id;
			m->state = CUDA_PHYS_BOUND;
			break;
		case 1: /* evict */
			if (!m->phys || m->state != CUDA_PHYS_BOUND)
				break;
			cuda_pool_unbind(&pool, m->phys, now);
			m->state = CUDA_PHYS_FREE;
			if (m->tainted)
				model_leave(m);
			break;
		case 2: { /* load */
			uid_t uid = ALICE + any(N_USERS);
			uint64_t bytes = sizes[any(2)];
			bool exists = false;

			for (int i = 0; i < N_PHYS; i++)
				exists |= models[i].phys && models[i].state == CUDA_PHYS_FREE &&
					  models[i].uid == uid && models[i].bytes == bytes;
			phys = cuda_pool_take(&pool, uid, bytes, m->id);
			ck_assert_int_eq(phys != NULL, exists);
			if (!phys)
				break;
			ck_assert_uint_eq(phys->uid, uid);
			ck_assert_uint_eq(phys->bytes, bytes);
			ck_assert_int_eq(phys->state, CUDA_PHYS_FREE);
			ck_assert(!phys->tainted);
			if (m->phys && m->state == CUDA_PHYS_FREE && m->uid == uid &&
			    m->bytes == bytes)
				ck_assert_ptr_eq(phys, m->phys);
			cuda_pool_bind(&pool, phys, &object_b, 0);
			for (int i = 0; i < N_PHYS; i++)
				if (models[i].phys == phys)
					models[i].state = CUDA_PHYS_BOUND;
			break;
		}
		case 3: /* export */
			if (!m->phys || m->state != CUDA_PHYS_BOUND || holders[h].uid != m->uid)
				break;
			ck_assert_int_eq(cuda_pool_export(&pool, m->phys, &holders[h]), 0);
			m->exported[h] = true;
			break;
		case 4: /* reclaimed */
			if (!m->phys || !m->exported[h])
				break;
			ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holders[h], m->id), 0);
			m->exported[h] = false;
			break;
		case 5: /* a client ends; seldom */
			if (any(20))
				break;
			cuda_pool_holder_end(&pool, &holders[h]);
			cuda_holder_init(&holders[h], ALICE + h % N_USERS);
			for (int i = 0; i < N_PHYS; i++) {
				if (!models[i].phys || !models[i].exported[h])
					continue;
				models[i].exported[h] = false;
				models[i].tainted = true;
				if (models[i].state == CUDA_PHYS_FREE)
					model_leave(&models[i]);
			}
			break;
		case 6: /* idle */
			phys = cuda_pool_next_idle(&pool, now + 60 * SEC);
			if (!phys)
				break;
			cuda_pool_leave(&pool, phys);
			for (int i = 0; i < N_PHYS; i++)
				if (models[i].phys == phys)
					model_leave(&models[i]);
			break;
		case 7: /* ask; press */
			if (any(2))
				cuda_pool_press(&pool, now + SEC);
			while (cuda_pool_next_ask(&pool, ids, 1 + any(16), &n, &deadline_ns))
				ck_assert_uint_gt(n, 0);
			break;
		default: /* release */
			phys = cuda_pool_next_release(&pool);
			for (int i = 0; i < N_PHYS && !phys; i++)
				ck_assert(!models[i].phys || models[i].state != CUDA_PHYS_LEAVING ||
					  n_exported(&models[i]));
			for (int i = 0; i < N_PHYS && phys; i++) {
				if (models[i].phys != phys)
					continue;
				ck_assert_int_eq(models[i].state, CUDA_PHYS_LEAVING);
				ck_assert_uint_eq(n_exported(&models[i]), 0);
				memset(&models[i], 0, sizeof(models[i]));
			}
			if (phys)
				del(phys);
			break;
		}
		if (step % 64 == 0) {
			for (int i = 0; i < N_HOLD; i++)
				counts[i] = holders[i].n_exports;
			compare(models, counts);
		}
	}
	for (int i = 0; i < N_PHYS; i++)
		if (models[i].phys)
			del(models[i].phys);
	ck_assert_uint_eq(cuda_pool_own_bytes(&pool), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("gpu_cuda_pool");
	TCase *tc = tcase_create("rules");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ids_are_never_used_again);
	tcase_add_test(tc, thousands_are_found);
	tcase_add_test(tc, a_chunk_gets_what_it_had);
	tcase_add_test(tc, what_nobody_comes_back_for_goes_first);
	tcase_add_test(tc, nobody_gets_another_users);
	tcase_add_test(tc, nobody_gets_another_size);
	tcase_add_test(tc, what_a_client_has_is_not_recycled_when_it_dies);
	tcase_add_test(tc, what_a_client_has_let_go_of_is_recycled);
	tcase_add_test(tc, exporting_twice_counts_once);
	tcase_add_test(tc, all_who_have_it_are_asked_and_the_last_frees_it);
	tcase_add_test(tc, many_ids_take_several_messages);
	tcase_add_test(tc, one_message_has_one_deadline);
	tcase_add_test(tc, letting_go_of_what_one_never_had_is_a_lie);
	tcase_add_test(tc, answers_that_cross_the_question_are_right);
	tcase_add_test(tc, with_room_one_is_made);
	tcase_add_test(tc, reserve_is_left_to_others);
	tcase_add_test(tc, anothers_free_memory_goes_through_the_driver);
	tcase_add_test(tc, clients_are_asked_first);
	tcase_add_test(tc, memory_that_is_coming_back_is_waited_for);
	tcase_add_test(tc, idle_memory_goes_back);
	tcase_add_test(tc, idle_memory_goes_back_at_once_when_others_lack_it);
	tcase_add_test(tc, the_budget_follows_others_slowly);
	tcase_add_test(tc, the_budget_does_not_flap);
	tcase_add_test(tc, what_is_ours_does_not_count_against_us);
	tcase_add_test(tc, a_shortage_is_told_at_once);
	suite_add_tcase(s, tc);
	tc = tcase_create("random");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, random_calls_agree_with_a_model, 0, 8);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
