// SPDX-License-Identifier: GPL-2.0-only
// links: common/drm_fdinfo.c common/pci.c common/err.c
#include "common/drm_fdinfo.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define K UINT64_C(1024)
#define M (1024 * K)

static char text[1 << 16];

static size_t recorded(const char *name)
{
	const char *src = getenv("VRAM_SRC");
	char path[4096];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/fdinfo/%s", src ? src : ".", name);
	f = fopen(path, "re");
	ck_assert_msg(f != NULL, "%s", path);
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	return n;
}

static int parse(const char *lines, struct drm_fdinfo *out)
{
	return drm_fdinfo_parse(lines, strlen(lines), out);
}

/* ---- drivers ---- */

static const struct {
	const char *file, *driver, *pci;
	uint64_t client_id, vram, other, shared;
	bool known;
} drivers[] = {
	{ "amdgpu-6.1", "amdgpu", "0000:03:00.0", 185, 60060 * K, 17872 * K, 0, true },
	/* drm-memory- and drm-resident- are one figure: not to be added. */
	{ "amdgpu", "amdgpu", "0000:03:00.0", 186, 512 * M, 16 * M, 8 * M, true },
	/* local0 and what is stolen from it. */
	{ "i915", "i915", "0000:04:00.0", 7, 129 * M, 48 * M, 16 * M, true },
	{ "xe", "xe", "0000:05:00.0", 3, 23992 * K, 192 * K, 16 * M, true },
	{ "nouveau", "nouveau", "0000:06:00.0", 21, 0, 0, 0, false },
	{ "msm", "msm", "", 7, 0, 36496 * K, 0, true },
	{ "panfrost", "panfrost", "", 14, 0, 36496 * K, 0, true },
	/* Without drm-resident-memory: the total counts. */
	{ "drm-core-6.12", "drm_vram", "", 20, 4 * M, 4 * M, 0, true },
};

START_TEST(test_driver)
{
	struct drm_fdinfo_sum sum;
	struct drm_fdinfo info;
	size_t len = recorded(drivers[_i].file);

	ck_assert_int_eq(drm_fdinfo_parse(text, len, &info), 0);
	ck_assert_str_eq(info.driver, drivers[_i].driver);
	ck_assert_str_eq(info.pci, drivers[_i].pci);
	ck_assert(info.has_client_id);
	ck_assert_uint_eq(info.client_id, drivers[_i].client_id);
	drm_fdinfo_sum(&info, &sum);
	ck_assert_int_eq(sum.known, drivers[_i].known);
	ck_assert_uint_eq(sum.vram_bytes, drivers[_i].vram);
	ck_assert_uint_eq(sum.other_bytes, drivers[_i].other);
	ck_assert_uint_eq(sum.shared_bytes, drivers[_i].shared);
}
END_TEST

/* ---- the format ---- */

START_TEST(test_no_drm_file)
{
	struct drm_fdinfo info = { .n_regions = 77 };

	ck_assert_int_eq(drm_fdinfo_parse(text, recorded("no-drm"), &info), DRM_FDINFO_E_NONE);
	ck_assert_int_eq(drm_fdinfo_parse("", 0, &info), DRM_FDINFO_E_NONE);
	ck_assert_int_eq(parse("drm-driver:\n", &info), DRM_FDINFO_E_NONE);
	ck_assert_int_eq(parse("drm-driver\n", &info), DRM_FDINFO_E_NONE);
	ck_assert_int_eq(parse("drm-driver: two words\n", &info), DRM_FDINFO_E_NONE);
	/* Written on success only. */
	ck_assert_uint_eq(info.n_regions, 77);
}
END_TEST

static const struct {
	const char *value;
	bool good;
	uint64_t bytes;
} sizes[] = {
	{ "0", true, 0 },
	{ "4096", true, 4096 },
	{ "1 KiB", true, K },
	{ "\t 12 \t MiB \t", true, 12 * M },
	{ "2 GiB", true, 2048 * M },
	{ "18446744073709551615", true, UINT64_MAX },
	{ "18014398509481983 KiB", true, UINT64_MAX - 1023 },
	{ "18014398509481984 KiB", false, 0 },
	{ "18446744073709551616", false, 0 },
	{ "99999999999999999999999999999999999999 MiB", false, 0 },
	{ "", false, 0 },
	{ "KiB", false, 0 },
	{ "-1", false, 0 },
	{ "+1", false, 0 },
	{ "1.5 MiB", false, 0 },
	{ "0x10", false, 0 },
	{ "12KiB", false, 0 },
	{ "12 kB", false, 0 },
	{ "12 KiB more", false, 0 },
	{ "12 34", false, 0 },
};

START_TEST(test_size)
{
	struct drm_fdinfo info;
	char lines[256];

	snprintf(lines, sizeof(lines), "drm-driver: x\ndrm-memory-vram:%s\ndrm-memory-gtt: 5\n",
		 sizes[_i].value);
	ck_assert_int_eq(parse(lines, &info), 0);
	/* What is wrong with one line does not touch the next. */
	ck_assert_uint_eq(info.n_regions, sizes[_i].good ? 2 : 1);
	ck_assert_uint_eq(info.regions[info.n_regions - 1].bytes[DRM_FDINFO_MEMORY], 5);
	if (sizes[_i].good)
		ck_assert_uint_eq(info.regions[0].bytes[DRM_FDINFO_MEMORY], sizes[_i].bytes);
}
END_TEST

START_TEST(test_without_last_newline)
{
	struct drm_fdinfo info;

	ck_assert_int_eq(parse("drm-memory-vram: 7 KiB\ndrm-driver: x", &info), 0);
	ck_assert_str_eq(info.driver, "x");
	ck_assert_int_eq(parse("drm-driver: x\ndrm-memory-vram: 7 KiB", &info), 0);
	ck_assert_uint_eq(info.regions[0].bytes[DRM_FDINFO_MEMORY], 7 * K);
}
END_TEST

START_TEST(test_first_of_two_counts)
{
	struct drm_fdinfo info;

	ck_assert_int_eq(drm_fdinfo_parse(text, recorded("twice"), &info), 0);
	ck_assert_str_eq(info.driver, "first");
	ck_assert_uint_eq(info.client_id, 1);
	ck_assert_str_eq(info.pci, "0000:01:00.0");
	ck_assert_uint_eq(info.n_regions, 1);
	ck_assert_uint_eq(info.regions[0].bytes[DRM_FDINFO_RESIDENT], M);
}
END_TEST

START_TEST(test_hostile)
{
	struct drm_fdinfo_sum sum;
	struct drm_fdinfo info;

	ck_assert_int_eq(drm_fdinfo_parse(text, recorded("hostile"), &info), 0);
	ck_assert(!info.has_client_id);
	ck_assert_str_eq(info.pci, "");
	drm_fdinfo_sum(&info, &sum);
	ck_assert_uint_eq(sum.vram_bytes, 7);
	ck_assert_uint_eq(info.n_regions, 1);

	ck_assert_int_eq(drm_fdinfo_parse(text, recorded("binary"), &info), 0);
	ck_assert_str_eq(info.driver, "ok");
	drm_fdinfo_sum(&info, &sum);
	ck_assert_uint_eq(sum.vram_bytes, 4 * K);
}
END_TEST

START_TEST(test_sums_do_not_overflow)
{
	struct drm_fdinfo_sum sum;
	struct drm_fdinfo info;

	ck_assert_int_eq(parse("drm-driver: x\ndrm-memory-vram0: 18446744073709551615\n"
			       "drm-memory-vram1: 18446744073709551615\n",
			       &info),
			 0);
	drm_fdinfo_sum(&info, &sum);
	ck_assert_uint_eq(sum.vram_bytes, UINT64_MAX);
	ck_assert_uint_eq(sum.other_bytes, 0);
}
END_TEST

/* A hundred thousand lines, each with a region of its own: those that fit are kept. */
START_TEST(test_many_lines)
{
	size_t size = 8 << 20, len = 0, i;
	char *lines = malloc(size);
	struct drm_fdinfo info;

	ck_assert_ptr_nonnull(lines);
	for (i = 0; i < 100000; i++)
		len += (size_t)snprintf(lines + len, size - len, "drm-memory-r%zu: 1 KiB\n", i);
	len += (size_t)snprintf(lines + len, size - len, "drm-driver: x\n");
	ck_assert_int_eq(drm_fdinfo_parse(lines, len, &info), 0);
	ck_assert_uint_eq(info.n_regions, DRM_FDINFO_REGIONS);
	ck_assert_str_eq(info.regions[15].name, "r15");
	free(lines);
}
END_TEST

START_TEST(test_long_words)
{
	struct drm_fdinfo info;
	char lines[4096];

	memset(lines, 'a', sizeof(lines));
	memcpy(lines, "drm-driver:", 11);
	ck_assert_int_eq(drm_fdinfo_parse(lines, sizeof(lines), &info), DRM_FDINFO_E_NONE);
	snprintf(lines, sizeof(lines), "drm-driver: x\ndrm-memory-%0100d: 1\ndrm-memory-vram: 1\n",
		 0);
	ck_assert_int_eq(parse(lines, &info), 0);
	ck_assert_uint_eq(info.n_regions, 1);
	ck_assert_str_eq(info.regions[0].name, "vram");
}
END_TEST

START_TEST(test_best_figure)
{
	struct drm_fdinfo_sum sum;
	struct drm_fdinfo info;

	/* Total only: it counts. Resident of nothing: it counts, too. */
	ck_assert_int_eq(parse("drm-driver: x\ndrm-total-vram: 5\ndrm-total-local0: 9\n"
			       "drm-resident-local0: 0\n",
			       &info),
			 0);
	drm_fdinfo_sum(&info, &sum);
	ck_assert_uint_eq(sum.vram_bytes, 5);
	/* What is shared alone is no memory. */
	ck_assert_int_eq(parse("drm-driver: x\ndrm-shared-vram: 5\n", &info), 0);
	drm_fdinfo_sum(&info, &sum);
	ck_assert(!sum.known);
	ck_assert_uint_eq(sum.shared_bytes, 0);
}
END_TEST

START_TEST(test_engines_are_no_memory)
{
	struct drm_fdinfo info;

	ck_assert_int_eq(parse("drm-driver: xe\ndrm-total-cycles-rcs: 7655183225\n"
			       "drm-cycles-rcs: 1\ndrm-engine-vram: 4 ns\n",
			       &info),
			 0);
	ck_assert_uint_eq(info.n_regions, 0);
}
END_TEST

static const struct {
	const char *name;
	bool vram;
} regions[] = {
	{ "vram", true },    { "vram0", true },		{ "vram15", true },
	{ "local0", true },  { "lmem1", true },		{ "stolen-local0", true },
	{ "gtt", false },    { "system", false },	{ "system0", false },
	{ "memory", false }, { "cpu", false },		{ "stolen", false },
	{ "vrama", false },  { "visible-vram", false }, { "stolen-system0", false },
	{ "", false },
};

START_TEST(test_region)
{
	ck_assert_int_eq(drm_fdinfo_is_vram(regions[_i].name), regions[_i].vram);
}
END_TEST

#define N(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(void)
{
	Suite *s = suite_create("drm_fdinfo");
	TCase *tc = tcase_create("text");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, test_driver, 0, N(drivers));
	tcase_add_test(tc, test_no_drm_file);
	tcase_add_loop_test(tc, test_size, 0, N(sizes));
	tcase_add_test(tc, test_without_last_newline);
	tcase_add_test(tc, test_first_of_two_counts);
	tcase_add_test(tc, test_hostile);
	tcase_add_test(tc, test_sums_do_not_overflow);
	tcase_add_test(tc, test_many_lines);
	tcase_add_test(tc, test_long_words);
	tcase_add_test(tc, test_best_figure);
	tcase_add_test(tc, test_engines_are_no_memory);
	tcase_add_loop_test(tc, test_region, 0, N(regions));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
