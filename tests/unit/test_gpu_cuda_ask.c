// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_cuda_pool.c
/* A client that has very much of a card's memory is asked for it back in parts. */
#include "daemon/gpu_cuda_pool.h"

#include <check.h>
#include <stdlib.h>

#define MIB   (1ull << 20)
#define ALICE 1000u
#define BOB   1001u

static struct cuda_pool pool;
static const struct cuda_pool_params params = {
	.configured_bytes = 4096 * MIB,
	.smallest_bytes = 2 * MIB,
};

static struct cuda_phys *add(uid_t uid)
{
	struct cuda_phys *phys = calloc(1, sizeof(*phys));

	ck_assert_int_eq(cuda_pool_add(&pool, phys, uid, MIB, &pool, 0), 0);
	return phys;
}

static void del(struct cuda_phys *phys)
{
	cuda_pool_remove(&pool, phys);
	free(phys);
}

/* What does not fit into a client's socket would be lost, and the client killed for it. */
START_TEST(no_more_is_asked_than_is_answered)
{
	struct cuda_holder holder, other;
	struct cuda_phys *all[3000];
	uint64_t ids[16], deadline_ns, at = 0, asked[3000];
	uint32_t n, total = 0;

	ck_assert_int_eq(cuda_pool_init(&pool, &params), 0);
	cuda_holder_init(&holder, ALICE);
	cuda_holder_init(&other, BOB);
	for (int i = 0; i < 3000; i++) {
		all[i] = add(i < 2999 ? ALICE : BOB);
		ck_assert_int_eq(cuda_pool_export(&pool, all[i], i < 2999 ? &holder : &other), 0);
		cuda_pool_unbind(&pool, all[i], 1);
		cuda_pool_leave(&pool, all[i]);
	}
	/* One that does not answer keeps nobody else from being asked. */
	while (cuda_pool_next_ask(&pool, ids, 16, &n, &deadline_ns))
		for (uint32_t i = 0; i < n; i++)
			asked[total++] = ids[i];
	ck_assert_uint_ge(total, 512);
	ck_assert_uint_lt(total, 2000);
	ck_assert_uint_eq(asked[total - 1], all[2999]->id);
	total--;
	/* Asked once more, as if it were pressed: the first messages may still be there. */
	cuda_pool_press(&pool, 7);
	while (cuda_pool_next_ask(&pool, ids, 16, &n, &deadline_ns))
		ck_assert_uint_eq(deadline_ns, 7);
	/* Each answer lets it be asked for as many more, until all is answered. */
	for (int i = 0; i < 3000; i++)
		asked[i] = all[i]->id;
	for (at = 0; at < 2999; at++) {
		ck_assert_int_eq(cuda_pool_reclaimed(&pool, &holder, asked[at]), 0);
		cuda_pool_next_ask(&pool, ids, 16, &n, &deadline_ns);
	}
	ck_assert_uint_eq(holder.n_exports, 0);
	ck_assert_uint_eq(holder.n_asked, 0);
	for (int i = 0; i < 3000; i++)
		del(all[i]);
	cuda_pool_holder_end(&pool, &holder);
	cuda_pool_holder_end(&pool, &other);
	cuda_pool_deinit(&pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gpu_cuda_ask");
	TCase *tc = tcase_create("ask");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, no_more_is_asked_than_is_answered);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
