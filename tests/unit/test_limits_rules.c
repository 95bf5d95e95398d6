// SPDX-License-Identifier: GPL-2.0-only
/*
 * The text of limits.d, and which rule counts.
 *
 * links: daemon/limits_rules.c daemon/limits_file.c daemon/limits.c common/size.c common/err.c
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/limits_file.h"
#include "daemon/limits_rules.h"

#define G (1ull << 30)

static struct limits_rules files, run_time;
static char reason[LIMITS_REASON_MAX];

static void setup(void)
{
	limits_rules_init(&files);
	limits_rules_init(&run_time);
	memset(reason, 0, sizeof(reason));
}

static void teardown(void)
{
	limits_rules_deinit(&files);
	limits_rules_deinit(&run_time);
}

static int parse(const char *name, const char *text)
{
	int file = limits_rules_file(&files, name);

	ck_assert_int_ge(file, 0);
	return limits_file_parse(&files, text, strlen(text), name, (uint32_t)file, reason);
}

static void take(const char *name, const char *text)
{
	int r = parse(name, text);

	ck_assert_msg(r == 0, "%s", reason);
}

/* Sets at run time, as an administrator does. */
static void set(const char *subject, const char *setting)
{
	struct limits_rule rule = { .file = LIMITS_RUN_TIME, .by = 7, .known = true };
	struct arbiter_subject s;
	const char *name;

	ck_assert_int_eq(limits_subject_parse(subject, &s, &name), 0);
	ck_assert_int_eq(limits_setting_parse(setting, &rule.set), 0);
	ck_assert_ptr_null(name);
	ck_assert_int_eq(limits_rules_add(&run_time, &s, name, &rule), 0);
}

/* What holds for a user, and why. */
static const char *why(uint64_t uid, const uint32_t *gids, size_t n, uint64_t *out)
{
	static char text[LIMITS_TEXT_MAX];
	const struct limits_who who = { ARBITER_USER, uid, NULL, gids, n };
	const struct limits_rules *table = NULL;
	const struct limits_rule *rule;

	rule = limits_rules_find(&run_time, &files, &who, ARBITER_VRAM, ARBITER_MAX, &table);
	*out = rule ? rule->set.value : ARBITER_UNLIMITED;
	return limits_rule_why(table, rule, ARBITER_USER, text);
}

START_TEST(test_reads)
{
	take("a.conf", "\xef\xbb\xbf# lab\n; old style\r\n  [ user:1000 ]  # ann\n"
		       "\tvram.max = 8G # comment\nhost.low=12.5%\n"
		       "[exe:/opt/a]b] ; brackets\ndev0.vram.weight = 300\n"
		       "[default]\ndisk.high=max\n[group:domain users]\nvram.min = 1M");
	ck_assert_uint_eq(files.n, 5);
	ck_assert_uint_eq(files.rules[0].kind, ARBITER_USER);
	ck_assert_uint_eq(files.rules[0].id, 1000);
	ck_assert_uint_eq(files.rules[0].line, 4);
	ck_assert_uint_eq(files.rules[0].set.value, 8 * G);
	ck_assert_uint_eq(files.rules[0].set.dev, ARBITER_ALL_DEVICES);
	ck_assert(files.rules[1].set.percent);
	ck_assert_uint_eq(limits_value_bytes(&files.rules[1].set, 1000), 125);
	ck_assert_str_eq(files.rules[2].name, "/opt/a]b");
	ck_assert_uint_eq(files.rules[2].set.dev, ARBITER_ALL_DEVICES);
	ck_assert_uint_eq(files.rules[2].set.value, 300);
	ck_assert_uint_eq(files.rules[3].kind, ARBITER_DEFAULT);
	ck_assert_uint_eq(files.rules[3].set.value, ARBITER_UNLIMITED);
	ck_assert_uint_eq(files.rules[4].kind, LIMITS_GROUP);
	ck_assert_str_eq(files.rules[4].name, "domain users");
	ck_assert(!files.rules[4].known);
	ck_assert_uint_eq(files.rules[4].line, 11);
}
END_TEST

START_TEST(test_refuses)
{
	static const struct {
		const char *text;
		int error;
		const char *reason;
	} wrong[] = {
		{ "vram.max = 1G\n", -EINVAL, "x.conf:1: a setting before the first [section]" },
		{ "[user:1\n", -EINVAL, "x.conf:1: a section's name ends with ']'" },
		{ "[user:1] x\n", -EINVAL, "x.conf:1: a section's name ends with ']'" },
		{ "\n[people:1]\n", -EINVAL, "x.conf:2: 'people:1' is no subject" },
		{ "[]\n", -EINVAL, "x.conf:1: '' is no subject" },
		{ "[session:3]\n", -EINVAL, "x.conf:1: 'session:3': a session ends" },
		{ "[cgroup:/]\n", -EINVAL, "x.conf:1: everything is in 'cgroup:/'" },
		{ "[cgroup:/a/]\n", -EINVAL, "x.conf:1: 'cgroup:/a/': a path is absolute" },
		{ "[exe:bin/sh]\n", -EINVAL, "x.conf:1: 'exe:bin/sh': a path is absolute" },
		{ "[cgroup:/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17]\n", -E2BIG,
		  "x.conf:1: 'cgroup:/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17' is nested more than "
		  "16 deep" },
		{ "[user:4294967295]\n", -EINVAL, "x.conf:1: 'user:4294967295' is no subject" },
		{ "[default]\nvram.max\n", -EINVAL, "x.conf:2: neither a [section] nor" },
		{ "[default]\nvram.max 4G\n", -EINVAL, "x.conf:2: neither a [section] nor" },
		{ "[default]\nvram.max = 200%\n", -ERANGE,
		  "x.conf:2: vram.max: '200%' is out of range: at most 100%" },
		{ "[default]\nvram.max = 99999999999999999999\n", -ERANGE,
		  "x.conf:2: vram.max: '99999999999999999999' is out of range" },
		{ "[default]\nvram.much = 4G\n", -EINVAL, "x.conf:2: there is no key 'vram.much'" },
		{ "[default]\ndev1.vram.max = 4G\n", -ENOENT,
		  "x.conf:2: 'dev1.vram.max': there is no device 1" },
		{ "[default]\nvram.max =\n", -EINVAL, "x.conf:2: vram.max: '' is no size" },
		{ "[default]\nvram.max = 4Q\n", -EINVAL, "x.conf:2: vram.max: '4Q' is no size" },
		{ "[default]\nvram.max = 1G;x\n", -EINVAL,
		  "x.conf:2: vram.max: '1G;x' is no size" },
		{ "[default]\nvram.max = -1\n", -EINVAL, "x.conf:2: vram.max: '-1' is no size" },
		{ "[default]\nvram.max = 99999999T\n", -ERANGE,
		  "x.conf:2: vram.max: '99999999T' is out of range" },
		{ "[default]\nvram.max = 101%\n", -ERANGE, "x.conf:2: vram.max: '101%' is out" },
		{ "[default]\nvram.max = 5.125%\n", -EINVAL, "x.conf:2: vram.max: '5.125%' is no" },
		{ "[default]\nvram.weight = 50%\n", -EINVAL,
		  "x.conf:2: vram.weight: '50%' is no weight" },
		{ "[default]\nvram.weight = 0\n", -ERANGE,
		  "x.conf:2: vram.weight: '0' is no weight" },
		{ "[default]\nvram.max = default\n", -EINVAL,
		  "x.conf:2: vram.max: 'default' is for" },
		{ "[default]\n# \xff\n", -EILSEQ, "x.conf:2: byte 0xff in column 3 is not UTF-8" },
		{ "[user:\xc3\x28]\n", -EILSEQ, "x.conf:1: byte 0xc3 in column 7 is not UTF-8" },
		{ "# \xed\xa0\x80\n", -EILSEQ, "x.conf:1: byte 0xed in column 3 is not UTF-8" },
		{ "# \xf4\x90\x80\x80\n", -EILSEQ, "x.conf:1: byte 0xf4 in column 3 is not UTF-8" },
		{ "# \xc0\xaf\n", -EILSEQ, "x.conf:1: byte 0xc0 in column 3 is not UTF-8" },
		{ "# \xe2\x82", -EILSEQ, "x.conf:1: byte 0xe2 in column 3 is not UTF-8" },
		{ "# \x1b[31m\n", -EILSEQ, "x.conf:1: a control character (0x1b) in column 3" },
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int r = parse("x.conf", wrong[i].text);

		ck_assert_msg(r == wrong[i].error, "%s: %d %s", wrong[i].text, r, reason);
		ck_assert_msg(!strncmp(reason, wrong[i].reason, strlen(wrong[i].reason)), "%s",
			      reason);
		ck_assert_uint_eq(files.n, 0);
	}
}
END_TEST

START_TEST(test_zero_bytes_are_refused)
{
	static const char text[] = "[default]\nvram.max\0=1G\n";

	ck_assert_int_eq(limits_rules_file(&files, "x"), 0);
	ck_assert_int_eq(limits_file_parse(&files, text, sizeof(text) - 1, "x", 0, reason),
			 -EILSEQ);
	ck_assert_str_eq(reason, "x:2: a control character (0x00) in column 9");
}
END_TEST

/* The longest path works, one byte more is refused with a reason, as is a longer line. */
START_TEST(test_long_paths)
{
	char text[LIMITS_LINE_MAX + 64], path[LIMITS_PATH_MAX + 2];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[LIMITS_PATH_MAX] = '\0';
	snprintf(text, sizeof(text), "[exe:%s]\nvram.max = 1G\n", path);
	take("long.conf", text);
	ck_assert_uint_eq(files.n, 1);
	ck_assert_uint_eq(strlen(files.rules[0].name), LIMITS_PATH_MAX);
	ck_assert_ptr_nonnull(
		limits_rules_at(&files, ARBITER_EXE, 99, path, ARBITER_VRAM, ARBITER_MAX));
	path[LIMITS_PATH_MAX] = 'a';
	path[LIMITS_PATH_MAX + 1] = '\0';
	snprintf(text, sizeof(text), "[exe:%s]\n", path);
	ck_assert_int_eq(parse("long.conf", text), -EINVAL);
	ck_assert_ptr_nonnull(strstr(reason, "4095 bytes"));
	memset(text, ' ', sizeof(text));
	text[LIMITS_LINE_MAX + 1] = '\0';
	ck_assert_int_eq(parse("long.conf", text), -E2BIG);
	ck_assert_ptr_nonnull(strstr(reason, "long.conf:1: the line is longer than"));
}
END_TEST

START_TEST(test_number_of_rules)
{
	char text[64];
	uint32_t i;
	int r = 0;

	ck_assert_int_eq(limits_rules_file(&files, "x"), 0);
	for (i = 0; i <= LIMITS_RULES_MAX && r == 0; i++) {
		snprintf(text, sizeof(text), "[user:%u]\nvram.max=%uM\n", i, i + 1);
		r = limits_file_parse(&files, text, strlen(text), "x", 0, reason);
	}
	ck_assert_int_eq(r, -E2BIG);
	ck_assert_uint_eq(files.n, LIMITS_RULES_MAX);
	ck_assert_str_eq(reason, "x:2: there are more than 4096 rules");
	/* All of them are found. */
	for (i = 0; i < LIMITS_RULES_MAX; i++) {
		const struct limits_rule *rule =
			limits_rules_at(&files, ARBITER_USER, i, NULL, ARBITER_VRAM, ARBITER_MAX);

		ck_assert_ptr_nonnull(rule);
		ck_assert_uint_eq(rule->set.value, (uint64_t)(i + 1) << 20);
	}
}
END_TEST

/* Each step of the ladder, from the bottom up. */
START_TEST(test_precedence)
{
	static const uint32_t gids[] = { 50, 10, 20 };
	uint64_t value;

	ck_assert_str_eq(why(1000, gids, 3, &value), "built in");
	ck_assert_uint_eq(value, ARBITER_UNLIMITED);
	take("l/10.conf", "[default]\nvram.max=1G\n");
	ck_assert_str_eq(why(1000, gids, 3, &value), "default in l/10.conf:2");
	set("default", "vram.max=2G");
	ck_assert_str_eq(why(1000, gids, 3, &value), "default, set at run time by user 7");
	take("l/20.conf", "[group:20]\nvram.max=3G\n");
	ck_assert_str_eq(why(1000, gids, 3, &value), "group:20 in l/20.conf:2");
	take("l/30.conf", "[group:10]\nvram.max=4G\n");
	ck_assert_str_eq(why(1000, gids, 3, &value), "group:10 in l/30.conf:2");
	/* The primary group goes first, whatever its number. */
	set("group:50", "vram.max=5G");
	ck_assert_str_eq(why(1000, gids, 3, &value), "group:50, set at run time by user 7");
	take("l/40.conf", "[user:1000]\nvram.max=6G\nvram.max=7G\n");
	ck_assert_str_eq(why(1000, gids, 3, &value), "l/40.conf:3");
	take("l/50.conf", "[user:1000]\nvram.max=8G\n");
	ck_assert_str_eq(why(1000, gids, 3, &value), "l/50.conf:2");
	ck_assert_uint_eq(value, 8 * G);
	set("user:1000", "vram.max=9G");
	ck_assert_str_eq(why(1000, gids, 3, &value), "set at run time by user 7");
	ck_assert_uint_eq(value, 9 * G);
	/* Somebody else, in another group, and with no group at all. */
	ck_assert_str_eq(why(1001, gids + 2, 1, &value), "group:20 in l/20.conf:2");
	ck_assert_str_eq(why(1001, NULL, 0, &value), "default, set at run time by user 7");
}
END_TEST

/* Each key is looked up for itself. */
START_TEST(test_keys_are_on_their_own)
{
	const struct limits_who who = { ARBITER_USER, 1000, NULL, NULL, 0 };
	const struct limits_rule *rule;

	take("a", "[user:1000]\nvram.max=1G\n[default]\nvram.low=2G\nhost.max=3G\n");
	rule = limits_rules_find(&run_time, &files, &who, ARBITER_VRAM, ARBITER_LOW, NULL);
	ck_assert_uint_eq(rule->set.value, 2 * G);
	rule = limits_rules_find(&run_time, &files, &who, ARBITER_HOST, ARBITER_MAX, NULL);
	ck_assert_uint_eq(rule->set.value, 3 * G);
	ck_assert_ptr_null(
		limits_rules_find(&run_time, &files, &who, ARBITER_DISK, ARBITER_MAX, NULL));
}
END_TEST

/* `default` and groups are for users alone. */
START_TEST(test_others_have_their_own_alone)
{
	const struct limits_who cgroup = { ARBITER_CGROUP, 3, "/a", NULL, 0 };
	const struct limits_who session = { ARBITER_SESSION, 1000, NULL, NULL, 0 };

	take("a", "[default]\nvram.max=1G\n[user:1000]\nvram.max=1G\n[exe:/a]\nvram.max=1G\n");
	ck_assert_ptr_null(
		limits_rules_find(&run_time, &files, &cgroup, ARBITER_VRAM, ARBITER_MAX, NULL));
	ck_assert_ptr_null(
		limits_rules_find(&run_time, &files, &session, ARBITER_VRAM, ARBITER_MAX, NULL));
	take("b", "[cgroup:/a]\nvram.max=2G\n");
	ck_assert_ptr_nonnull(
		limits_rules_find(&run_time, &files, &cgroup, ARBITER_VRAM, ARBITER_MAX, NULL));
}
END_TEST

START_TEST(test_names)
{
	uint64_t value;

	take("l/a", "[user:ann]\nvram.max=1G\n[default]\nvram.max=2G\n");
	ck_assert_str_eq(why(1000, NULL, 0, &value), "default in l/a:4");
	ck_assert(limits_rules_resolve(&files, ARBITER_USER, "ann", 1000));
	ck_assert(!limits_rules_resolve(&files, ARBITER_USER, "ann", 1000));
	ck_assert(!limits_rules_resolve(&files, LIMITS_GROUP, "ann", 1000));
	ck_assert_str_eq(why(1000, NULL, 0, &value), "l/a:2");
	/* By number or name: the later one. */
	take("l/b", "[user:1000]\nvram.max=3G\n");
	ck_assert_str_eq(why(1000, NULL, 0, &value), "l/b:2");
	ck_assert(limits_rules_resolve(&files, ARBITER_USER, "ann", LIMITS_NO_ID));
	ck_assert_str_eq(why(1000, NULL, 0, &value), "l/b:2");
}
END_TEST

START_TEST(test_remove)
{
	struct limits_setting max = { .tier = ARBITER_VRAM, .key = ARBITER_MAX };
	struct arbiter_subject s = { .kind = ARBITER_USER, .id = 1000 };
	uint64_t value;

	set("user:1000", "vram.max=1G");
	set("user:1000", "vram.low=1G");
	set("user:1001", "vram.max=2G");
	ck_assert_uint_eq(limits_rules_remove(&run_time, &s, NULL, &max, LIMITS_RUN_TIME), 1);
	ck_assert_str_eq(why(1000, NULL, 0, &value), "built in");
	ck_assert_uint_eq(run_time.n, 2);
	ck_assert_uint_eq(limits_rules_remove(&run_time, &s, NULL, NULL, LIMITS_RUN_TIME), 1);
	ck_assert_uint_eq(limits_rules_remove(&run_time, &s, NULL, NULL, LIMITS_RUN_TIME), 0);
	ck_assert_str_eq(why(1001, NULL, 0, &value), "set at run time by user 7");
	/* One without a number is found by its name, and by its number once it has one. */
	take("a", "[user:ann]\nvram.max=1G\n");
	s.id = LIMITS_NO_ID;
	ck_assert_uint_eq(limits_rules_remove(&files, &s, "bob", NULL, LIMITS_RUN_TIME), 0);
	ck_assert_uint_eq(limits_rules_remove(&files, &s, "ann", NULL, LIMITS_RUN_TIME), 1);
	take("a", "[user:ann]\nvram.max=1G\n");
	limits_rules_resolve(&files, ARBITER_USER, "ann", 1000);
	s.id = 1000;
	ck_assert_uint_eq(limits_rules_remove(&files, &s, NULL, NULL, LIMITS_RUN_TIME), 1);
}
END_TEST

/* What is written reads back as the same, and is written the same again. */
START_TEST(test_print)
{
	struct limits_rules again;
	char *text = NULL;
	size_t len;
	FILE *f;

	take("x", "[user:ann]\nvram.max=1G\n[group:50]\nhost.low=12.50%\n[user:ann]\n"
		  "vram.weight=300\nvram.max=8G\n[group:50]\nhost.high=max\n"
		  "[exe:/opt/a b]c]\ndisk.min=1537M\n");
	f = open_memstream(&text, &len);
	limits_file_print(&files, 0, f);
	fclose(f);
	ck_assert_str_eq(text, "\n[user:ann]\nvram.weight = 300\nvram.max = 8G\n"
			       "\n[group:50]\nhost.low = 12.5%\nhost.high = max\n"
			       "\n[exe:/opt/a b]c]\ndisk.min = 1537M\n");
	limits_rules_init(&again);
	ck_assert_int_eq(limits_rules_file(&again, "y"), 0);
	ck_assert_int_eq(limits_file_parse(&again, text, len, "y", 0, reason), 0);
	ck_assert_uint_eq(again.n, 5);
	limits_rules_deinit(&again);
	free(text);
}
END_TEST

/* Subjects that would read as others from a file. */
START_TEST(test_can_say)
{
	static const struct {
		const char *text;
		bool can;
	} subjects[] = {
		{ "default", true },	  { "user:7", true },
		{ "user:ann", true },	  { "group:domain users", true },
		{ "exe:/a b]c", true },	  { "cgroup:/a/b", true },
		{ "exe:/a] b", true },	  { "exe:/a b ", false },
		{ "exe:/a] # b", false }, { "exe:/a];", false },
		{ "session:3", false },
	};
	struct arbiter_subject s;
	const char *name;
	size_t i;

	for (i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		ck_assert_int_eq(limits_subject_parse(subjects[i].text, &s, &name), 0);
		ck_assert_msg(limits_file_can_say(&s, name) == subjects[i].can, "%s",
			      subjects[i].text);
	}
	/* A line of its own it can never be. */
	ck_assert_int_eq(limits_subject_parse("exe:/a]\nvram.max=1", &s, &name), -EINVAL);
	ck_assert_int_eq(limits_subject_parse("user:a\x1b", &s, &name), -EINVAL);
}
END_TEST

START_TEST(test_append)
{
	struct limits_rules all;
	char text[LIMITS_TEXT_MAX];

	take("a", "[default]\nvram.max=1G\n");
	take("b", "[default]\nvram.max=2G\n");
	limits_rules_init(&all);
	ck_assert_int_eq(limits_rules_file(&all, "first"), 0);
	ck_assert_int_eq(limits_rules_append(&all, &files), 0);
	ck_assert_uint_eq(all.n, 2);
	ck_assert_str_eq(limits_rule_source(&all, &all.rules[1], text), "b:2");
	limits_rules_deinit(&all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("limits_rules");
	TCase *t = tcase_create("limits_rules");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_reads);
	tcase_add_test(t, test_refuses);
	tcase_add_test(t, test_zero_bytes_are_refused);
	tcase_add_test(t, test_long_paths);
	tcase_add_test(t, test_number_of_rules);
	tcase_add_test(t, test_precedence);
	tcase_add_test(t, test_keys_are_on_their_own);
	tcase_add_test(t, test_others_have_their_own_alone);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_remove);
	tcase_add_test(t, test_print);
	tcase_add_test(t, test_can_say);
	tcase_add_test(t, test_append);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
