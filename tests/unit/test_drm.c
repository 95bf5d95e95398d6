// SPDX-License-Identifier: GPL-2.0-only
/*
 * links: common/drm.c common/card.c common/pci.c common/err.c
 * libs: -ldrm
 *
 * What i915 and xe answer when asked for their memory, as bytes: right, cut short, and lying.
 */
#include "common/drm.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define G (UINT64_C(1) << 30)

/* struct drm_i915_query_memory_regions: 16 bytes and regions of 88: class u16, instance u16, u32,
 * probed u64, unallocated u64. xe's: 8 bytes and regions of 88: class u16, instance u16, page u32,
 * total u64, used u64. */
#define I915_HEAD 16
#define XE_HEAD	  8
#define REGION	  88

static uint64_t reply[64];

static void put(size_t at, const void *value, size_t size)
{
	memcpy((char *)reply + at, value, size);
}

static void region_put(size_t at, uint16_t class, uint64_t total, uint64_t second)
{
	put(at, &class, sizeof(class));
	put(at + 8, &total, sizeof(total));
	put(at + 16, &second, sizeof(second));
}

static size_t reply_make(size_t head, uint32_t n)
{
	memset(reply, 0, sizeof(reply));
	put(0, &n, sizeof(n));
	return head + (size_t)n * REGION;
}

START_TEST(test_i915)
{
	struct card card = { 0 };
	size_t len = reply_make(I915_HEAD, 3);

	region_put(I915_HEAD, 0, 64 * G, 64 * G);
	region_put(I915_HEAD + REGION, 1, 8 * G, 5 * G);
	region_put(I915_HEAD + 2 * REGION, 1, 8 * G, UINT64_MAX);
	drm_vram_of_i915(reply, len, &card);
	ck_assert(card.has_total && card.has_used);
	ck_assert_uint_eq(card.total_bytes, 16 * G);
	ck_assert_uint_eq(card.used_bytes, 3 * G);
}
END_TEST

/* Without CAP_PERFMON all is free, which nobody should believe. */
START_TEST(test_i915_not_told)
{
	struct card card = { 0 };
	size_t len = reply_make(I915_HEAD, 1);

	region_put(I915_HEAD, 1, 8 * G, 8 * G);
	drm_vram_of_i915(reply, len, &card);
	ck_assert(card.has_total && !card.has_used);
}
END_TEST

START_TEST(test_i915_integrated)
{
	struct card card = { 0 };
	size_t len = reply_make(I915_HEAD, 1);

	region_put(I915_HEAD, 0, 64 * G, 64 * G);
	drm_vram_of_i915(reply, len, &card);
	ck_assert(!card.has_total && !card.has_used);
}
END_TEST

START_TEST(test_xe)
{
	struct card card = { 0 };
	size_t len = reply_make(XE_HEAD, 2);

	region_put(XE_HEAD, 0, 64 * G, 9 * G);
	region_put(XE_HEAD + REGION, 1, 12 * G, 2 * G);
	drm_vram_of_xe(reply, len, &card);
	ck_assert_uint_eq(card.total_bytes, 12 * G);
	ck_assert(card.has_used);
	ck_assert_uint_eq(card.used_bytes, 2 * G);
	/* sysfs came first. */
	card.total_bytes = 11 * G;
	drm_vram_of_xe(reply, len, &card);
	ck_assert_uint_eq(card.total_bytes, 11 * G);
}
END_TEST

START_TEST(test_short_and_lying)
{
	struct card card = { 0 };
	size_t len = reply_make(XE_HEAD, 2);
	uint32_t n = UINT32_MAX;

	region_put(XE_HEAD, 1, 12 * G, 2 * G);
	drm_vram_of_xe(reply, len - 1, &card);
	drm_vram_of_xe(reply, 7, &card);
	drm_vram_of_xe(reply, 0, &card);
	drm_vram_of_i915(reply, len, &card);
	drm_vram_of_i915(reply, 15, &card);
	put(0, &n, sizeof(n));
	drm_vram_of_xe(reply, len, &card);
	drm_vram_of_i915(reply, len, &card);
	ck_assert(!card.has_total && !card.has_used);
}
END_TEST

/* Who is not of the three is not asked; who is, only with a node, awake and unless known. */
START_TEST(test_query_without_node)
{
	struct card card = { .driver = "xe" };

	drm_query_vram(&card);
	strcpy(card.render, "/does/not/exist");
	drm_query_vram(&card);
	strcpy(card.render, "/dev/null");
	drm_query_vram(&card);
	strcpy(card.driver, "i915");
	drm_query_vram(&card);
	strcpy(card.driver, "nouveau");
	drm_query_vram(&card);
	ck_assert(!card.has_total && !card.has_used);
}
END_TEST

/* On this machine, whatever it has. */
START_TEST(test_find)
{
	static struct cards cards;
	size_t i;

	ck_assert_int_eq(drm_find_cards(&cards), 0);
	for (i = 0; i < cards.n; i++)
		ck_assert(cards.card[i].primary[0] || cards.card[i].render[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("drm");
	TCase *tc = tcase_create("drm");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, test_i915);
	tcase_add_test(tc, test_i915_not_told);
	tcase_add_test(tc, test_i915_integrated);
	tcase_add_test(tc, test_xe);
	tcase_add_test(tc, test_short_and_lying);
	tcase_add_test(tc, test_query_without_node);
	tcase_add_test(tc, test_find);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
