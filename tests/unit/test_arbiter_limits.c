// SPDX-License-Identifier: GPL-2.0-only
/*
 * The text form of subjects and settings.
 *
 * links: daemon/limits.c common/size.c
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "daemon/limits.h"

#define G (1ull << 30)

START_TEST(test_subjects)
{
	struct arbiter_subject s;
	const char *name = "?";

	ck_assert_int_eq(limits_subject_parse("default", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_DEFAULT);
	ck_assert_ptr_null(name);
	ck_assert_int_eq(limits_subject_parse("user:1000", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_USER);
	ck_assert_uint_eq(s.id, 1000);
	ck_assert_ptr_null(name);
	ck_assert_int_eq(limits_subject_parse("user:al", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_USER);
	ck_assert_str_eq(name, "al");
	ck_assert_int_eq(limits_subject_parse("user:AD\\al@x.org", &s, &name), 0);
	ck_assert_str_eq(name, "AD\\al@x.org");
	ck_assert_int_eq(limits_subject_parse("session:17", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_SESSION);
	ck_assert_uint_eq(s.id, 17);
	ck_assert_ptr_null(name);
	ck_assert_int_eq(limits_subject_parse("cgroup:/a/b.slice", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_CGROUP);
	ck_assert_str_eq(s.path, "/a/b.slice");
	ck_assert_int_eq(limits_subject_parse("exe:/usr/bin/a b", &s, &name), 0);
	ck_assert_uint_eq(s.kind, ARBITER_EXE);
	ck_assert_str_eq(s.path, "/usr/bin/a b");
}
END_TEST

START_TEST(test_wrong_subjects)
{
	static const char *const wrong[] = {
		"",
		"user",
		"user:",
		"User:1",
		"user:4294967295",
		"user:99999999999999999999",
		"user:-1",
		"user:a:b",
		"user:a b",
		"session:",
		"session:0",
		"session:x",
		"session:18446744073709551616",
		"cgroup:",
		"cgroup:/",
		"cgroup:a",
		"cgroup:/a/",
		"cgroup://a",
		"cgroup:/a//b",
		"exe:bin",
		"exe:/",
		"defaults",
		"default ",
		" default",
		"root",
	};
	struct arbiter_subject s = { .kind = 99 };
	char deep[LIMITS_PATH_MAX + 16] = "exe:/";
	const char *name = "?";
	unsigned int i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(limits_subject_parse(wrong[i], &s, &name) == -EINVAL, "%s", wrong[i]);
	memset(deep + 5, 'x', LIMITS_PATH_MAX);
	ck_assert_int_eq(limits_subject_parse(deep, &s, &name), -EINVAL);
	ck_assert_uint_eq(s.kind, 99);
	ck_assert_str_eq(name, "?");
	deep[4 + LIMITS_PATH_MAX] = '\0';
	ck_assert_int_eq(limits_subject_parse(deep, &s, &name), 0);
}
END_TEST

static struct limits_setting parsed(const char *text)
{
	struct limits_setting s = { .dev = 12345 };

	ck_assert_msg(limits_setting_parse(text, &s) == 0, "%s", text);
	return s;
}

START_TEST(test_settings)
{
	struct limits_setting s = parsed("vram.max=4G");

	ck_assert_uint_eq(s.dev, ARBITER_ALL_DEVICES);
	ck_assert_uint_eq(s.tier, ARBITER_VRAM);
	ck_assert_uint_eq(s.key, ARBITER_MAX);
	ck_assert(!s.clear);
	ck_assert_uint_eq(s.value, 4 * G);
	s = parsed("dev15.host.low=512M");
	ck_assert_uint_eq(s.dev, 15);
	ck_assert_uint_eq(s.tier, ARBITER_HOST);
	ck_assert_uint_eq(s.key, ARBITER_LOW);
	ck_assert_uint_eq(s.value, G / 2);
	s = parsed("disk.weight=250");
	ck_assert_uint_eq(s.tier, ARBITER_DISK);
	ck_assert_uint_eq(s.key, ARBITER_WEIGHT);
	ck_assert_uint_eq(s.value, 250);
	ck_assert_uint_eq(parsed("vram.high=max").value, ARBITER_UNLIMITED);
	ck_assert_uint_eq(parsed("vram.min=0").value, 0);
	ck_assert(parsed("dev0.vram.max=default").clear);
	ck_assert_uint_eq(parsed("vram.weight=1").value, 1);
	ck_assert_uint_eq(parsed("vram.weight=10000").value, 10000);
}
END_TEST

START_TEST(test_wrong_settings)
{
	static const struct {
		const char *text;
		int error;
	} wrong[] = {
		{ "", -EINVAL },
		{ "vram", -EINVAL },
		{ "vram.max", -EINVAL },
		{ "vram.max=", -EINVAL },
		{ "vram=4G", -EINVAL },
		{ "vram.maximum=4G", -EINVAL },
		{ "VRAM.max=4G", -EINVAL },
		{ "ram.max=4G", -EINVAL },
		{ "vram.max = 4G", -EINVAL },
		{ "vram.max=-1", -EINVAL },
		{ "vram.max=4X", -EINVAL },
		{ "vram.max=99999999999T", -ERANGE },
		{ "vram.weight=0", -ERANGE },
		{ "vram.weight=10001", -ERANGE },
		{ "vram.weight=1K", -EINVAL },
		{ "vram.weight=max", -EINVAL },
		{ "vram.weight=", -EINVAL },
		{ "dev.vram.max=4G", -EINVAL },
		{ "dev0vram.max=4G", -EINVAL },
		{ "dev16.vram.max=4G", -ERANGE },
		{ "dev99999999999999999999.vram.max=4G", -ERANGE },
		{ "dev-1.vram.max=4G", -EINVAL },
		{ "dev0", -EINVAL },
	};
	struct limits_setting s = { .dev = 77 };
	unsigned int i;
	int r;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		r = limits_setting_parse(wrong[i].text, &s);
		ck_assert_msg(r == wrong[i].error, "%s: %d", wrong[i].text, r);
		ck_assert_uint_eq(s.dev, 77);
	}
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(limits_tier_name(ARBITER_VRAM), "vram");
	ck_assert_str_eq(limits_tier_name(ARBITER_DISK), "disk");
	ck_assert_ptr_null(limits_tier_name(ARBITER_N_TIERS));
	ck_assert_str_eq(limits_key_name(ARBITER_MIN), "min");
	ck_assert_str_eq(limits_key_name(ARBITER_WEIGHT), "weight");
	ck_assert_ptr_null(limits_key_name(ARBITER_N_KEYS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arbiter_limits");
	TCase *tc = tcase_create("text");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_subjects);
	tcase_add_test(tc, test_wrong_subjects);
	tcase_add_test(tc, test_settings);
	tcase_add_test(tc, test_wrong_settings);
	tcase_add_test(tc, test_names);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
