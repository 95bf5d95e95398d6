// SPDX-License-Identifier: GPL-2.0-only
/* What the daemon is told of each file of a model. */
// links: libclient/plan.c
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/plan.h"

/*
 * Two files. The embedding is the output head too (tied); block 0 lies in both files; an expert and a vision part
 * in the second.
 */
static struct layout_extent embd[] = { { .file = 0, .offset = 100, .length = 50 } };
static struct layout_extent block[] = { { .file = 0, .offset = 200, .length = 60 },
					{ .file = 1, .offset = 10, .length = 70 },
					{ .file = 0, .offset = 300, .length = 5 } };
static struct layout_extent expert[] = { { .file = 1, .offset = 500, .length = 40 } };
static struct layout_extent other[] = { { .file = 1, .offset = 600, .length = 30 } };

static struct layout_layer layers[] = {
	{ .flags = LAYOUT_EMBEDDING | LAYOUT_OUTPUT | LAYOUT_DENSE,
	  .extents = embd,
	  .n_extents = 1 },
	{ .flags = LAYOUT_DENSE, .extents = block, .n_extents = 3 },
	{ .flags = LAYOUT_EXPERT, .extents = expert, .n_extents = 1 },
	{ .flags = LAYOUT_OTHER, .extents = other, .n_extents = 1 },
};
static struct vram_layout layout = { .n_files = 2, .n_layers = 4, .layers = layers };

START_TEST(first_file)
{
	struct plan plan;

	ck_assert_int_eq(plan_make(&plan, &layout, 0), 0);
	ck_assert_uint_eq(plan.n_layers, 2);
	ck_assert_uint_eq(plan.layer_of[0], 0);
	ck_assert_uint_eq(plan.layer_of[1], 1);
	ck_assert_uint_eq(plan.number_of[0], 0);
	ck_assert_uint_eq(plan.number_of[1], 1);
	ck_assert_uint_eq(plan.number_of[2], PLAN_NONE);
	ck_assert_uint_eq(plan.number_of[3], PLAN_NONE);
	ck_assert_uint_eq(plan.n_extents, 3);
	/* What is read last in a pass comes last, under its own number. */
	ck_assert_uint_eq(plan.extents[0].offset, 200);
	ck_assert_uint_eq(plan.extents[0].layer, 1);
	ck_assert_uint_eq(plan.extents[1].offset, 300);
	ck_assert_uint_eq(plan.extents[2].offset, 100);
	ck_assert_uint_eq(plan.extents[2].length, 50);
	ck_assert_uint_eq(plan.extents[2].layer, 0);
	ck_assert_uint_eq(plan.extents[2].flags, 0);
	plan_deinit(&plan);
	plan_deinit(&plan);
}
END_TEST

START_TEST(second_file)
{
	struct plan plan;

	ck_assert_int_eq(plan_make(&plan, &layout, 1), 0);
	ck_assert_uint_eq(plan.n_layers, 3);
	ck_assert_uint_eq(plan.number_of[0], PLAN_NONE);
	ck_assert_uint_eq(plan.number_of[1], 0);
	ck_assert_uint_eq(plan.n_extents, 3);
	ck_assert_uint_eq(plan.extents[0].offset, 10);
	ck_assert_uint_eq(plan.extents[0].flags, 0);
	ck_assert_uint_eq(plan.extents[1].flags, VRAM_EXTENT_EXPERT);
	ck_assert_uint_eq(plan.extents[2].flags, VRAM_EXTENT_UNORDERED);
	ck_assert_uint_eq(plan.extents[2].layer, 2);
	plan_deinit(&plan);
}
END_TEST

/* Embeddings beside an output head of its own are looked up by rows: not part of the cycle. */
START_TEST(untied_embedding)
{
	struct layout_layer alone = { .flags = LAYOUT_EMBEDDING, .extents = embd, .n_extents = 1 };
	struct vram_layout one = { .n_files = 1, .n_layers = 1, .layers = &alone };
	struct plan plan;

	ck_assert_int_eq(plan_make(&plan, &one, 0), 0);
	ck_assert_uint_eq(plan.extents[0].flags, VRAM_EXTENT_UNORDERED);
	plan_deinit(&plan);
}
END_TEST

START_TEST(nothing_in_it)
{
	struct vram_layout none = { .n_files = 1 };
	struct plan plan;

	ck_assert_int_eq(plan_make(&plan, &none, 0), 0);
	ck_assert_uint_eq(plan.n_layers, 0);
	ck_assert_uint_eq(plan.n_extents, 0);
	plan_deinit(&plan);
	ck_assert_int_eq(plan_make(&plan, &layout, 7), 0);
	ck_assert_uint_eq(plan.n_extents, 0);
	plan_deinit(&plan);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan");
	TCase *tc = tcase_create("plan");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, first_file);
	tcase_add_test(tc, second_file);
	tcase_add_test(tc, untied_embedding);
	tcase_add_test(tc, nothing_in_it);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
