// SPDX-License-Identifier: GPL-2.0-only
/*
 * high: who is above it gives something back before it loads, loads nothing ahead, and is slowed down if that is not
 * enough; it is never refused, and nobody else is slowed down. Counted are the bytes that the kernel has given to the files
 * that clients map.
 */
// links: tests/support/tenant.c tests/support/vramd.c tests/support/vramd_ask.c libvram.a
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tenant.h"
#include "tests/support/vramd_ask.h"

#define MIB    (1ull << 20)
#define LAYERS 24
#define LOOKS  60

static struct vramd d;
static char path_a[160], path_b[160];
static struct tenant a, b;

static void setup(void)
{
	vramd_init(&d, "64M");
	d.for_all = true;
	vramd_start(&d);
	snprintf(path_a, sizeof(path_a), "%s", vramd_make_file(&d, "a", LAYERS * TENANT_LAYER, 7));
	snprintf(path_b, sizeof(path_b), "%s", vramd_make_file(&d, "b", LAYERS * TENANT_LAYER, 7));
	a = (struct tenant){ .name = "a", .model = path_a, .layers = LAYERS, .uid = 2001 };
	b = (struct tenant){ .name = "b", .model = path_b, .layers = LAYERS, .uid = 2001 };
}

static void teardown(void)
{
	tenant_end(&a);
	tenant_end(&b);
	limits_end(&d);
	tenant_cgroups_end();
	vramd_deinit(&d);
}

/* Both go round, with twice the memory that they need: of what has a high they have no more than that. */
static void run_below(const char *subject, uint64_t high)
{
	uint64_t begin_a = tenant_ask(&a, "layers"), begin_b = tenant_ask(&b, "layers"), most = 0;

	tenant_ask(&a, "run");
	tenant_ask(&b, "run");
	for (int i = 0; i < looks(LOOKS) || tenant_ask(&a, "layers") < begin_a + 2 * LAYERS ||
			tenant_ask(&b, "layers") < begin_b + 2 * LAYERS;
	     i++) {
		uint64_t is = vramd_usage(&d, subject, "vram");

		most = is > most ? is : most;
		ck_assert_uint_le(tenant_resident(&a), high + MIB);
	}
	tenant_ask(&a, "stop");
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&a, "failures") + tenant_ask(&b, "failures"), 0);
	/* A layer that is in use is there whole. */
	ck_assert_uint_le(most, high + MIB);
	ck_assert_uint_ge(most, high - MIB);
}

START_TEST(of_a_user)
{
	limit_set(&d, "user:2001 vram.high=12M");
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_below("user:2001", 12 * MIB);
	ck_assert_uint_le(tenant_resident(&a) + tenant_resident(&b), 12 * MIB);
}
END_TEST

START_TEST(of_a_session)
{
	char subject[32];

	tenant_start(&a, &d);
	tenant_start(&b, &d);
	snprintf(subject, sizeof(subject), "session:%llu", (unsigned long long)a.session);
	limit_set(&d, "%s vram.high=8M", subject);
	run_below(subject, 8 * MIB);
	/* The other one has no reason to give anything back. */
	ck_assert_uint_eq(tenant_resident(&b), LAYERS * MIB);
}
END_TEST

START_TEST(of_an_executable)
{
	char subject[256];

	a.exe = tenant_other_exe(&d, "engine");
	b.uid = 2002;
	snprintf(subject, sizeof(subject), "exe:%s", a.exe);
	limit_set(&d, "'%s' vram.high=8M", subject);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_below(subject, 8 * MIB);
	ck_assert_uint_eq(tenant_resident(&b), LAYERS * MIB);
}
END_TEST

START_TEST(of_a_cgroup)
{
	const char *folder = tenant_cgroups();
	char one[200], command[600], subject[120];

	if (!folder)
		return;
	snprintf(one, sizeof(one), "%s/svc/one", folder);
	snprintf(command, sizeof(command), "cd /sys/fs/cgroup && mkdir -p .%s", one);
	ck_assert_int_eq(system(command), 0);
	a.cgroup = one;
	snprintf(subject, sizeof(subject), "cgroup:%s/svc", folder);
	limit_set(&d, "%s vram.high=8M", subject);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_below(subject, 8 * MIB);
	ck_assert_uint_eq(tenant_resident(&b), LAYERS * MIB);
}
END_TEST

/* For who has more already. */
START_TEST(lowered)
{
	tenant_start(&a, &d);
	tenant_ask(&a, "use %u", LAYERS);
	ck_assert_uint_eq(tenant_resident(&a), LAYERS * MIB);
	limit_set(&d, "user:2001 vram.high=10M");
	await_at_most(&a, 10 * MIB);
	ck_assert_uint_ge(tenant_resident(&a), 9 * MIB);
	limit_set(&d, "user:2001 vram.high=max");
	tenant_ask(&a, "use %u", LAYERS);
	ck_assert_uint_eq(tenant_resident(&a), LAYERS * MIB);
}
END_TEST

/* Without it the layers to come would be loaded ahead. */
START_TEST(nothing_ahead)
{
	b.uid = 2002;
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "user:2001 vram.high=8M");
	tenant_ask(&a, "hold 9");
	tenant_ask(&b, "hold 9");
	await_at_least(&b, 11 * MIB);
	for (int i = 0; i < looks(LOOKS); i++)
		ck_assert_uint_eq(tenant_resident(&a), 9 * MIB);
	tenant_ask(&a, "let");
	await_at_most(&a, 8 * MIB);
}
END_TEST

/* What is in use cannot go. It gets what it asks for, and others do not notice. */
START_TEST(slowed_down)
{
	uint64_t begin, between;

	b.uid = 2002;
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "user:2001 vram.high=6M");
	limit_set(&d, "user:2002 vram.max=6M");
	tenant_ask(&b, "run");
	begin = tenant_ask(&b, "layers");
	tenant_ask(&a, "hold 12");
	between = tenant_ask(&b, "layers") - begin;
	ck_assert_uint_eq(tenant_resident(&a), 12 * MIB);
	/* Of six layers above high each took a while; b, which has to load as much for each of its own, went on. */
	ck_assert_uint_ge(between, 3 * 12);
	/* One more of a is as slow; without a high it is one among many. */
	tenant_ask(&a, "let");
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	await_at_most(&a, 6 * MIB);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("high");
	TCase *tc = tcase_create("high");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, of_a_user);
	tcase_add_test(tc, of_a_session);
	tcase_add_test(tc, of_an_executable);
	tcase_add_test(tc, of_a_cgroup);
	tcase_add_test(tc, lowered);
	tcase_add_test(tc, nothing_ahead);
	tcase_add_test(tc, slowed_down);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
