// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which limit holds, when several were set.
 *
 * links: daemon/limit_table.c
 */
#include <check.h>
#include <errno.h>

#include "daemon/limit_table.h"

#define G (1ull << 30)

static struct limit_table own, defaults;

static void setup(void)
{
	own = (struct limit_table){ 0 };
	defaults = (struct limit_table){ 0 };
}

static uint64_t max_on(uint32_t row)
{
	struct arbiter_limits lim;

	limit_table_read(&own, &defaults, row, ARBITER_VRAM, &lim);
	return lim.value[ARBITER_MAX];
}

START_TEST(nothing_set)
{
	struct arbiter_limits lim;
	uint64_t value = 1;

	limit_table_read(NULL, NULL, 3, ARBITER_DISK, &lim);
	ck_assert_uint_eq(lim.set, 0);
	ck_assert_uint_eq(lim.value[ARBITER_MIN], 0);
	ck_assert_uint_eq(lim.value[ARBITER_LOW], 0);
	ck_assert_uint_eq(lim.value[ARBITER_HIGH], ARBITER_UNLIMITED);
	ck_assert_uint_eq(lim.value[ARBITER_MAX], ARBITER_UNLIMITED);
	ck_assert_uint_eq(lim.value[ARBITER_WEIGHT], ARBITER_WEIGHT_DEFAULT);
	ck_assert(!limit_table_find(&own, &defaults, 0, ARBITER_VRAM, ARBITER_MIN, &value));
	ck_assert_uint_eq(value, 0);
	ck_assert_uint_eq(limit_table_mask(NULL, 0, ARBITER_VRAM), 0);
}
END_TEST

START_TEST(the_most_specific_counts)
{
	uint64_t value;

	limit_table_set(&defaults, LIMIT_ROW_ALL, ARBITER_VRAM, ARBITER_MAX, 4 * G);
	ck_assert_uint_eq(max_on(0), 4 * G);
	limit_table_set(&defaults, 1, ARBITER_VRAM, ARBITER_MAX, 3 * G);
	ck_assert_uint_eq(max_on(0), 4 * G);
	ck_assert_uint_eq(max_on(1), 3 * G);
	ck_assert_uint_eq(limit_table_mask(&own, 1, ARBITER_VRAM), 0);
	limit_table_set(&own, LIMIT_ROW_ALL, ARBITER_VRAM, ARBITER_MAX, 2 * G);
	ck_assert_uint_eq(max_on(0), 2 * G);
	ck_assert_uint_eq(max_on(1), 2 * G);
	limit_table_set(&own, 1, ARBITER_VRAM, ARBITER_MAX, G);
	ck_assert_uint_eq(max_on(0), 2 * G);
	ck_assert_uint_eq(max_on(1), G);
	ck_assert_uint_eq(limit_table_mask(&own, 1, ARBITER_VRAM), 1u << ARBITER_MAX);
	ck_assert_uint_eq(limit_table_mask(&own, 1, ARBITER_HOST), 0);
	/* Nobody but users has defaults. */
	own = (struct limit_table){ 0 };
	ck_assert_uint_eq(max_on(1), 3 * G);
	ck_assert(!limit_table_find(&own, NULL, 1, ARBITER_VRAM, ARBITER_MAX, &value));
}
END_TEST

START_TEST(all_devices_take_the_place_of_one)
{
	limit_table_set(&own, 1, ARBITER_VRAM, ARBITER_MAX, G);
	limit_table_set(&own, 2, ARBITER_VRAM, ARBITER_MAX, G);
	limit_table_set(&own, 2, ARBITER_VRAM, ARBITER_LOW, 7);
	ck_assert_uint_eq(own.n_set, 3);
	limit_table_set(&own, LIMIT_ROW_ALL, ARBITER_VRAM, ARBITER_MAX, 3 * G);
	ck_assert_uint_eq(own.n_set, 2);
	ck_assert_uint_eq(max_on(1), 3 * G);
	limit_table_set(&own, 1, ARBITER_VRAM, ARBITER_MAX, 5 * G);
	limit_table_set(&own, 1, ARBITER_VRAM, ARBITER_MAX, 6 * G);
	ck_assert_uint_eq(own.n_set, 3);
	limit_table_clear(&own, 1, ARBITER_VRAM, ARBITER_MAX);
	limit_table_clear(&own, 1, ARBITER_VRAM, ARBITER_MAX);
	ck_assert_uint_eq(max_on(1), 3 * G);
	limit_table_set(&own, 1, ARBITER_VRAM, ARBITER_MAX, 5 * G);
	limit_table_clear(&own, LIMIT_ROW_ALL, ARBITER_VRAM, ARBITER_MAX);
	ck_assert_uint_eq(max_on(1), ARBITER_UNLIMITED);
	ck_assert_uint_eq(own.n_set, 1);
	ck_assert_uint_eq(limit_table_mask(&own, 2, ARBITER_VRAM), 1u << ARBITER_LOW);
}
END_TEST

START_TEST(tiers_and_keys_do_not_mix)
{
	struct arbiter_limits lim;

	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++)
		for (uint32_t key = 0; key < ARBITER_N_KEYS; key++)
			limit_table_set(&own, ARBITER_MAX_DEVICES - 1, tier, key,
					100 * tier + key + 1);
	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++) {
		limit_table_read(&own, NULL, ARBITER_MAX_DEVICES - 1, tier, &lim);
		ck_assert_uint_eq(lim.set, (1u << ARBITER_N_KEYS) - 1);
		for (uint32_t key = 0; key < ARBITER_N_KEYS; key++)
			ck_assert_uint_eq(lim.value[key], 100 * tier + key + 1);
	}
}
END_TEST

START_TEST(refused)
{
	ck_assert_int_eq(limit_check(2, 1, ARBITER_DISK, ARBITER_MAX, G), 0);
	ck_assert_int_eq(limit_check(0, ARBITER_ALL_DEVICES, 0, ARBITER_MAX, G), 0);
	ck_assert_int_eq(limit_check(2, 2, 0, ARBITER_MAX, G), -ENOENT);
	ck_assert_int_eq(limit_check(2, 0, ARBITER_N_TIERS, ARBITER_MAX, G), -EINVAL);
	ck_assert_int_eq(limit_check(2, 0, 0, ARBITER_N_KEYS, G), -EINVAL);
	ck_assert_int_eq(limit_check(2, 0, 0, ARBITER_WEIGHT, 0), -ERANGE);
	ck_assert_int_eq(limit_check(2, 0, 0, ARBITER_WEIGHT, 10001), -ERANGE);
	ck_assert_int_eq(limit_check(2, 0, 0, ARBITER_WEIGHT, 10000), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("limit_table");
	TCase *tc = tcase_create("table");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, nothing_set);
	tcase_add_test(tc, the_most_specific_counts);
	tcase_add_test(tc, all_devices_take_the_place_of_one);
	tcase_add_test(tc, tiers_and_keys_do_not_mix);
	tcase_add_test(tc, refused);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
